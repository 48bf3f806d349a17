package e2e_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/shipping"
	"justlogistics/internal/stacktest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

func refundsShort(s *tenant.Settings) {
	ships(s)
	s.Fulfillment.Short = tenant.RefundShort
}

func backOrders(s *tenant.Settings) { s.Fulfillment.Short = tenant.BackOrder }

// told waits until the timeline of an order has an entry, so many times.
func told(s *stacktest.Shop, orderID, kind string, times int) {
	s.Eventually(func() (string, bool) {
		n := 0
		for _, e := range s.Order(orderID).Timeline {
			if e.Kind == kind {
				n++
			}
		}
		return fmt.Sprint(kind, " ", n), n == times
	})
}

// noticesOf are what the buyer of an order is told, the oldest first.
func noticesOf(t *testing.T, s *stacktest.Shop, orderID string) (kinds []string) {
	t.Helper()
	list := stacktest.Decode[struct {
		Data []struct {
			Kind string `json:"kind"`
		} `json:"data"`
	}](t, s.Call(tenant.Support, "GET", "/v1/notices?order_id="+orderID, nil))
	for _, n := range list.Data {
		kinds = append(kinds, n.Kind)
	}
	slices.Reverse(kinds)
	return kinds
}

// shortageRefunded: a picker finds one of two units, the bin is counted, and the shop's
// rule gives the money for the other one back. The rest is packed and arrives.
func shortageRefunded(t *testing.T, s *stacktest.Shop) map[string]string {
	s.Product("ULTIMA", 9990, 2)
	c := s.Checkout("transbank", stacktest.Items("ULTIMA", 2))
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	s.Do(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', 'A-01', 'pick'), ($1, 'SCL-1', 'PACK', 'packing')`, s.Tenant)
		if err != nil {
			return err
		}
		_, err = stock.Move(t.Context(), tx, s.Tenant, stock.BinMovement{SKU: "ULTIMA", Warehouse: "SCL-1", Quantity: 2, From: stock.Unplaced(), To: stock.In("A-01", stock.Available), Reason: "put_away", By: stock.By{Person: "ana"}})
		return err
	})
	work := func(path string, body any) stacktest.Answer {
		t.Helper()
		a := s.Call(tenant.Warehouse, "POST", path, body, "X-Operator", "ana")
		require.Less(t, a.Status, 300, "%s", a.Body)
		return a
	}
	list := "/v1/pick-lists/" + stacktest.Decode[struct {
		Lists []struct {
			ID string `json:"id"`
		} `json:"lists"`
	}](t, work("/v1/waves", map[string]any{"warehouse": "SCL-1", "by": "order", "rounds": 1})).Lists[0].ID
	work(list+"/picks", map[string]any{"to": "PACK", "picks": []any{map[string]any{"line": 1, "bin": "A-01", "product": "ULTIMA", "quantity": 1}}})
	work(list+"/short", map[string]any{"line": 1, "bin": "A-01", "found": 0, "reason": "the bin is empty"})
	work(list+"/complete", nil)
	require.Equal(t, "short_pick", *s.Order(c.ID).Attention)
	require.Equal(t, 1, s.Count("ULTIMA", "SCL-1", 1))
	run := s.WorkflowID(workflows.KindShortage, c.ID)
	s.AwaitClosed(run)

	o := s.Order(c.ID)
	require.Nil(t, o.Attention)
	require.Len(t, o.Refunds, 1)
	require.EqualValues(t, 9990, o.Refunds[0].Amount)
	s.AwaitRefund(o.Refunds[0].ID, "succeeded")
	back := refundsOf(s, c)
	require.Len(t, back, 1)
	require.EqualValues(t, 9990, back[0].Amount, "at the provider")
	require.Equal(t, []string{"order_paid", "partially_refunded"}, noticesOf(t, s, c.ID))

	path := "/v1/shipments/" + o.Shipments[0].ID
	require.Equal(t, []stock.Want{{SKU: "ULTIMA", Quantity: 1}}, shipment(t, s, path).Lines)
	require.Zero(t, s.Count("ULTIMA", "SCL-1", 3))
	require.Equal(t, 2, s.Available("ULTIMA"), "what comes in afterwards is for others")
	work(path+"/pack", map[string]any{"confirm_weight": true, "parcels": []any{map[string]any{"weight_grams": 200}}})
	work(path+"/label", map[string]any{"carrier": "manual"})
	gone(t, s, path)
	work(path+"/status", map[string]any{"status": shipping.Arrived})
	require.Equal(t, "delivered", s.Order(c.ID).Status)
	nothingStuck(s)
	return map[string]string{"shortage": run}
}

// shortageBackOrdered: the order waits for stock, the buyer is told, nobody is asked, and
// stock that comes in is the order's at once.
func shortageBackOrdered(t *testing.T, s *stacktest.Shop) map[string]string {
	s.Product("ULTIMA", 9990, 2)
	c := s.Checkout("transbank", stacktest.Items("ULTIMA", 2))
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	require.Equal(t, 1, s.Count("ULTIMA", "SCL-1", 1))
	told(s, c.ID, "back_ordered", 1)
	run := s.WorkflowID(workflows.KindShortage, c.ID)
	nothingStuck(s)
	require.Equal(t, []string{"order_paid", "back_ordered"}, noticesOf(t, s, c.ID))
	require.Zero(t, s.Count("ULTIMA", "CCP-1", 5))
	s.AwaitClosed(run)
	nothingStuck(s)
	require.Equal(t, 4, s.Available("ULTIMA"))
	require.Len(t, s.Order(c.ID).Shipments, 2)
	require.Empty(t, s.Order(c.ID).Refunds)
	return map[string]string{"shortage": run}
}

// shortageDecided: a person has the order wait, and gives it up when that took too long.
func shortageDecided(t *testing.T, s *stacktest.Shop) map[string]string {
	orderID, run := shortage(t, s)
	use(t, s, run, "resolve", map[string]any{"outcome": "back_order"})
	told(s, orderID, "back_ordered", 1)
	nothingStuck(s)
	require.Nil(t, s.Order(orderID).Attention)
	s.Do(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE holds SET short_until = now() - interval '1 minute' WHERE tenant = $1 AND status = 'short'`, s.Tenant)
		return err
	})
	s.Changed(run)
	parked(s, run, "short_stock")
	use(t, s, run, "resolve", map[string]any{"outcome": "refund"})
	s.AwaitClosed(run)
	o := s.Order(orderID)
	require.Len(t, o.Refunds, 1)
	require.EqualValues(t, 9990, o.Refunds[0].Amount)
	s.AwaitRefund(o.Refunds[0].ID, "succeeded")
	require.Nil(t, o.Attention)
	nothingStuck(s)
	return map[string]string{"shortage": run}
}
