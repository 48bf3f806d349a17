package e2e_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

// atHome is an order that own delivery has brought home.
func atHome(t *testing.T, s *stacktest.Shop) stacktest.Order {
	t.Helper()
	order, path, run := boxed(t, s)
	s.Do(func(tx pgx.Tx) error {
		// A credit card's payment can go back in parts.
		_, err := tx.Exec(t.Context(), `UPDATE payments SET method = 'VN' WHERE tenant = $1`, s.Tenant)
		return err
	})
	labelled(t, s, path, map[string]any{"carrier": "manual"})
	gone(t, s, path)
	a := s.Call(tenant.Warehouse, "POST", path+"/status", map[string]any{"status": "delivered"}, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	awaitShipment(t, s, path, shipping.Arrived)
	s.AwaitClosed(run)
	return s.Order(order)
}

// backAsked is a return of units of an order's first line, and its run.
func backAsked(t *testing.T, s *stacktest.Shop, o stacktest.Order, units int, more map[string]any) (path, run string) {
	t.Helper()
	body := map[string]any{"order_id": o.ID, "lines": []any{map[string]any{"line_id": o.Lines[0].LineID, "quantity": units, "reason": "changed_mind"}}}
	for k, v := range more {
		body[k] = v
	}
	a := s.Call(tenant.Support, "POST", "/v1/returns", body)
	require.Equal(t, 201, a.Status, "%s", a.Body)
	id := stacktest.Decode[returns.Return](t, a).ID
	return "/v1/returns/" + id, s.WorkflowID(workflows.KindReturn, id)
}

func awaitReturn(t *testing.T, s *stacktest.Shop, path, status string) (out returns.Return) {
	t.Helper()
	s.Eventually(func() (string, bool) {
		a := s.Call(tenant.Support, "GET", path, nil)
		require.Equal(t, 200, a.Status, "%s", a.Body)
		out = stacktest.Decode[returns.Return](t, a)
		return out.Status + " " + out.Refused, out.Status == status
	})
	return out
}

// bench does what somebody at the bench for returns does.
func bench(t *testing.T, s *stacktest.Shop, path string, body map[string]any) returns.Return {
	t.Helper()
	a := s.Call(tenant.Warehouse, "POST", path, body, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	return stacktest.Decode[returns.Return](t, a)
}

func line(o stacktest.Order, units int, more map[string]any) []any {
	l := map[string]any{"line_id": o.Lines[0].LineID, "quantity": units}
	for k, v := range more {
		l[k] = v
	}
	return []any{l}
}

// returnRefunded: half of an order comes back, and half of its money with it.
func returnRefunded(t *testing.T, s *stacktest.Shop) map[string]string {
	o := atHome(t, s)
	sku, free := o.Lines[0].SKU, s.Available(o.Lines[0].SKU)
	path, run := backAsked(t, s, o, 1, nil)
	awaitReturn(t, s, path, returns.Approved)
	a := s.Call(tenant.Storefront, "POST", path+"/sent", map[string]any{"carrier": "Starken", "tracking": "123"})
	require.Equal(t, 200, a.Status, "%s", a.Body)
	bench(t, s, path+"/receive", map[string]any{"lines": line(o, 1, nil)})
	require.Equal(t, free, s.Available(sku))
	bench(t, s, path+"/inspect", map[string]any{"units": line(o, 1, map[string]any{"grade": "A", "disposition": "restock", "bin": "A-01"})})
	out := awaitReturn(t, s, path, returns.Closed)
	require.Equal(t, free+1, s.Available(sku))
	s.AwaitClosed(run)
	require.Len(t, out.RefundIDs, 1)
	require.Equal(t, out.Units[0].Paid, out.Refunded)
	s.AwaitRefund(out.RefundIDs[0], "succeeded")
	back := int64(0)
	for _, r := range s.Sandbox.Ledger().Refunds {
		back += r.Amount
	}
	require.Equal(t, out.Units[0].Paid, back, "to the peso")
	nothingStuck(s)
	return map[string]string{"return": run}
}

// returnDecided: a person lets it in; its refund is refused, and goes again by a person's
// word.
func returnDecided(t *testing.T, s *stacktest.Shop) map[string]string {
	o := atHome(t, s)
	policy := returns.Defaults()
	policy.Review.AboveAmount = 1
	a := s.Call(tenant.Admin, "PUT", "/v1/policies/returns", policy)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	path, run := backAsked(t, s, o, 1, nil)
	awaitReturn(t, s, path, returns.Requested)
	a = s.Call(tenant.Support, "POST", path+"/approve", nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	bench(t, s, path+"/receive", map[string]any{"lines": line(o, 1, nil)})
	s.Sandbox.Next("transbank", "refund", "refuse", 1)
	bench(t, s, path+"/inspect", map[string]any{"units": line(o, 1, map[string]any{"grade": "B", "disposition": "scrap"})})
	var refundID string
	s.Eventually(func() (string, bool) {
		all := s.Order(o.ID).Refunds
		if len(all) == 1 {
			refundID = all[0].ID
		}
		return fmt.Sprint(all), len(all) == 1
	})
	s.AwaitRefund(refundID, "needs_attention")
	of := s.RefundRun(refundID)
	waitsForAPerson(s, of)
	use(t, s, of, "cancel", nil)
	parked(s, run, "return_not_refunded")
	require.Equal(t, 422, s.Use(run, "resolve", map[string]any{"outcome": "closed"}).Status, "how it was settled is needed")
	use(t, s, run, "retry", nil)
	out := awaitReturn(t, s, path, returns.Closed)
	require.Len(t, out.RefundIDs, 2)
	s.AwaitClosed(run)
	nothingStuck(s)
	return map[string]string{"return": run}
}

// returnExpired is not sent in time, and its parcel comes after all, with other things.
func returnExpired(t *testing.T, s *stacktest.Shop) map[string]string {
	o := atHome(t, s)
	path, run := backAsked(t, s, o, 2, nil)
	later := func(sql string) {
		s.Do(func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE returns SET version = version + 1, `+sql+` WHERE tenant = $1`, s.Tenant)
			return err
		})
	}
	later(`expires_at = now() + interval '6 days'`)
	s.Eventually(func() (string, bool) {
		var n int
		s.Do(func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT reminded FROM returns WHERE tenant = $1`, s.Tenant).Scan(&n)
		})
		return fmt.Sprint(n), n == 1
	})
	later(`expires_at = now() - interval '1 hour', due_at = now() + interval '1 hour'`)
	awaitReturn(t, s, path, returns.Expired)
	s.AwaitClosed(run)
	bench(t, s, path+"/receive", map[string]any{"lines": line(o, 1, nil), "extras": []any{map[string]any{"what": "a blue cup", "quantity": 1}}, "rest_missing": true})
	bench(t, s, path+"/inspect", map[string]any{"units": line(o, 1, map[string]any{"grade": "A", "disposition": "restock", "bin": "A-01"})})
	parked(s, run, "unexpected_goods")
	use(t, s, run, "resolve", map[string]any{"outcome": "closed", "reference": "the buyer fetches it"})
	out := awaitReturn(t, s, path, returns.Closed)
	require.Equal(t, out.Units[0].Paid, out.Refunded, "for the one that came")
	s.AwaitClosed(run)
	nothingStuck(s)
	return map[string]string{"return": run}
}

func TestReturn_KilledBetweenRestockAndRefundPaysOnce(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t, ships)
	o := atHome(t, s)
	path, run := backAsked(t, s, o, 1, nil)
	awaitReturn(t, s, path, returns.Approved)
	bench(t, s, path+"/receive", map[string]any{"lines": line(o, 1, nil)})
	// Its run is lost with the goods on the shelf and the money not yet booked.
	s.Terminate(run)
	bench(t, s, path+"/inspect", map[string]any{"units": line(o, 1, map[string]any{"grade": "A", "disposition": "restock", "bin": "A-01"})})
	out := awaitReturn(t, s, path, returns.Closed)
	require.Len(t, out.RefundIDs, 1)
	require.Len(t, s.Sandbox.Ledger().Refunds, 1)
	s.AwaitClosed(run)
}
