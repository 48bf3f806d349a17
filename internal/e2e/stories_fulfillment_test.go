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

// carriers of the sandbox, each with the fault that keeps it out.
var carriersOut = []string{"chilexpress", "bluexpress", "correos", "starken"}

// ships is a shop whose parcels carriers take: they want a telephone.
func ships(s *tenant.Settings) {
	s.Sender = tenant.Sender{Name: "Tienda", Phone: "+56221234567", Email: "despacho@example.cl"}
}

func automatic(s *tenant.Settings) {
	ships(s)
	s.Fulfillment.Labels = tenant.Automatic
}

// still keeps the sandbox's parcels where they are until a test moves them.
func still(s *stacktest.Shop) {
	never := map[string]int{}
	for _, status := range []string{"handed_over", "in_transit", "out_for_delivery", "delivered", "delivery_failed", "returned_to_sender", "lost"} {
		never[status] = 0
	}
	for _, carrier := range carriersOut {
		s.Sandbox.Configure(carrier, map[string]any{"moves_ms": never, "issue_ms": 0})
	}
}

// boxed is a shipment of a paid order that was picked and packed, and its run.
func boxed(t *testing.T, s *stacktest.Shop) (order, path, run string) {
	t.Helper()
	still(s)
	s.Do(func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `UPDATE warehouses SET comuna = 'Quilicura', street = 'Las Esteras', number = '100' WHERE tenant = $1 AND code = 'SCL-1'`, s.Tenant); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', 'A-01', 'pick'), ($1, 'SCL-1', 'PACK', 'packing')`, s.Tenant)
		return err
	})
	c := s.Checkout("transbank")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	s.Do(func(tx pgx.Tx) error {
		for _, l := range s.Order(c.ID).Lines {
			move := stock.BinMovement{SKU: l.SKU, Warehouse: "SCL-1", Quantity: l.Quantity, From: stock.Unplaced(), To: stock.In("A-01", stock.Available), Reason: "put_away", By: stock.By{Person: "ana"}}
			if _, err := stock.Move(t.Context(), tx, s.Tenant, move); err != nil {
				return err
			}
		}
		return nil
	})
	id := s.Order(c.ID).Shipments[0].ID
	work := func(path string, body any) stacktest.Answer {
		t.Helper()
		a := s.Call(tenant.Warehouse, "POST", path, body, "X-Operator", "ana")
		require.Less(t, a.Status, 300, "%s", a.Body)
		return a
	}
	wave := stacktest.Decode[struct {
		Lists []struct {
			ID string `json:"id"`
		} `json:"lists"`
	}](t, work("/v1/waves", map[string]any{"warehouse": "SCL-1", "by": "batch", "rounds": 1}))
	grams := 0
	for _, list := range wave.Lists {
		var picks []any
		for i, l := range s.Order(c.ID).Lines {
			picks = append(picks, map[string]any{"line": i + 1, "bin": "A-01", "product": l.SKU, "quantity": l.Quantity})
			grams += 100 * l.Quantity
		}
		work("/v1/pick-lists/"+list.ID+"/picks", map[string]any{"to": "PACK", "picks": picks})
		work("/v1/pick-lists/"+list.ID+"/complete", nil)
	}
	path = "/v1/shipments/" + id
	work(path+"/pack", map[string]any{"parcels": []any{map[string]any{"weight_grams": grams + 100, "dimensions_mm": map[string]int{"length": 300, "width": 200, "height": 100}}}})
	return c.ID, path, s.WorkflowID(workflows.KindFulfillment, id)
}

func shipment(t *testing.T, s *stacktest.Shop, path string) shipping.Shipment {
	t.Helper()
	a := s.Call(tenant.Warehouse, "GET", path, nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	return stacktest.Decode[shipping.Shipment](t, a)
}

// awaitShipment waits for a shipment's status.
func awaitShipment(t *testing.T, s *stacktest.Shop, path, status string) (out shipping.Shipment) {
	t.Helper()
	s.Eventually(func() (string, bool) {
		out = shipment(t, s, path)
		return fmt.Sprintf("%s %+v", out.Status, out.Label), out.Status == status
	})
	return out
}

// labelled asks for a label and waits for it.
func labelled(t *testing.T, s *stacktest.Shop, path string, body map[string]any) shipping.Shipment {
	t.Helper()
	a := s.Call(tenant.Warehouse, "POST", path+"/label", body, "X-Operator", "ana")
	require.Contains(t, []int{200, 202}, a.Status, "%s", a.Body)
	return awaitShipment(t, s, path, shipping.Labelled)
}

// labelsOf are the labels that count, of the shop's carriers.
func labelsOf(s *stacktest.Shop, voided bool) (out []stacktest.Label) {
	for _, l := range s.Sandbox.Ledger().Labels {
		if l.Voided == voided {
			out = append(out, l)
		}
	}
	return out
}

// gone hands a labelled shipment to its carrier and returns its number.
func gone(t *testing.T, s *stacktest.Shop, path string) string {
	t.Helper()
	out := shipment(t, s, path)
	a := s.Call(tenant.Warehouse, "POST", path+"/handover", nil, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	return out.Parcels[0].Tracking
}

// shipmentDelivered: the label is bought when the shipment is packed, the carrier's first
// scan hands it over, and it arrives at the second try.
func shipmentDelivered(t *testing.T, s *stacktest.Shop) map[string]string {
	order, path, run := boxed(t, s)
	out := awaitShipment(t, s, path, shipping.Labelled)
	tracking := out.Parcels[0].Tracking
	require.Equal(t, []stacktest.Label{{Carrier: out.Carrier, Reference: labelsOf(s, false)[0].Reference, Tracking: tracking, Status: "announced", Account: labelsOf(s, false)[0].Account}}, labelsOf(s, false))
	for _, step := range [][2]string{{"handed_over", ""}, {"in_transit", shipping.OnTheWay}, {"out_for_delivery", shipping.Delivering}, {"delivery_failed", ""}, {"out_for_delivery", ""}, {"delivered", shipping.Arrived}} {
		s.Sandbox.Parcel(tracking, step[0])
		if step[1] != "" {
			awaitShipment(t, s, path, step[1])
		}
	}
	s.AwaitClosed(run)
	require.Equal(t, "delivered", s.Order(order).Status)
	require.Nil(t, s.Order(order).Attention)
	nothingStuck(s)
	return map[string]string{"fulfillment": run}
}

// shipmentNextCarrier: the carrier that was named first refuses; the next one carries it.
func shipmentNextCarrier(t *testing.T, s *stacktest.Shop) map[string]string {
	_, path, run := boxed(t, s)
	for _, carrier := range []string{"correos", "starken"} {
		s.Sandbox.Faults(carrier, map[string]any{"outage": true})
	}
	// Whichever of the two is cheaper says no once.
	s.Sandbox.Next("chilexpress", "create_order", "refuse", 1)
	s.Sandbox.Next("bluexpress", "emit", "refuse", 1)
	a := s.Call(tenant.Warehouse, "POST", path+"/label", map[string]any{}, "X-Operator", "ana")
	require.Equal(t, 202, a.Status, "%s", a.Body)
	item := parked(s, run, "no_carrier")
	require.ElementsMatch(t, []string{"cancel", "retry"}, item.Verbs)
	use(t, s, run, "retry", nil)
	awaitShipment(t, s, path, shipping.Labelled)
	require.Len(t, labelsOf(s, false), 1)
	nothingStuck(s)
	s.Sandbox.Parcel(gone(t, s, path), "delivered")
	s.AwaitClosed(run)
	return map[string]string{"fulfillment": run}
}

// shipmentLabelCancelled: a shipment is unpacked after its label was bought, and goes with
// another carrier.
func shipmentLabelCancelled(t *testing.T, s *stacktest.Shop) map[string]string {
	_, path, run := boxed(t, s)
	labelled(t, s, path, map[string]any{"carrier": "correos"})
	a := s.Call(tenant.Warehouse, "POST", path+"/unpack", map[string]any{"reason": "wrong box"}, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	s.Eventually(func() (string, bool) {
		v := labelsOf(s, true)
		return fmt.Sprint(v), len(v) == 1 && v[0].Carrier == "correos"
	})
	a = s.Call(tenant.Warehouse, "POST", path+"/pack", map[string]any{"confirm_weight": true, "parcels": []any{map[string]any{"weight_grams": 300}, map[string]any{"weight_grams": 200}}}, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	out := labelled(t, s, path, map[string]any{"carrier": "bluexpress"})
	require.Len(t, out.Parcels, 2)
	require.Len(t, labelsOf(s, false), 2)
	gone(t, s, path)
	s.Sandbox.Parcel(out.Parcels[0].Tracking, "delivered")
	s.Sandbox.Parcel(out.Parcels[1].Tracking, "delivered")
	awaitShipment(t, s, path, shipping.Arrived)
	s.AwaitClosed(run)
	return map[string]string{"fulfillment": run}
}

// shipmentNobody: no carrier answers, a person takes it to a courier.
func shipmentNobody(t *testing.T, s *stacktest.Shop) map[string]string {
	order, path, run := boxed(t, s)
	for _, carrier := range carriersOut {
		s.Sandbox.Faults(carrier, map[string]any{"outage": true})
	}
	a := s.Call(tenant.Warehouse, "POST", path+"/label", map[string]any{}, "X-Operator", "ana")
	require.Equal(t, 202, a.Status, "%s", a.Body)
	parked(s, run, "no_carrier")
	require.Contains(t, shipment(t, s, path).Label.NotBooked, "does not answer")
	require.Equal(t, "no_carrier", *s.Order(order).Attention)
	use(t, s, run, "cancel", nil)
	nothingStuck(s)
	a = s.Call(tenant.Warehouse, "POST", path+"/label", map[string]any{"carrier": "manual"}, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	gone(t, s, path)
	a = s.Call(tenant.Warehouse, "POST", path+"/status", map[string]any{"status": "delivered"}, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	s.AwaitClosed(run)
	require.Empty(t, labelsOf(s, false))
	return map[string]string{"fulfillment": run}
}

// shipmentInDoubt: Starken takes the parcel, and its answer is lost. Nobody can be asked:
// a person looks in its panel.
func shipmentInDoubt(t *testing.T, s *stacktest.Shop) map[string]string {
	_, path, run := boxed(t, s)
	s.Sandbox.Next("starken", "issue", "cut_after", 1)
	a := s.Call(tenant.Warehouse, "POST", path+"/label", map[string]any{"carrier": "starken"}, "X-Operator", "ana")
	require.Equal(t, 202, a.Status, "%s", a.Body)
	item := parked(s, run, "booking_unknown")
	require.ElementsMatch(t, []string{"resolve", "retry"}, item.Verbs)
	require.Equal(t, 422, s.Use(run, "resolve", map[string]any{"outcome": "booked"}).Status, "a number is needed")
	require.Equal(t, 422, s.Use(run, "resolve", map[string]any{"outcome": "who knows"}).Status)
	made := labelsOf(s, false)
	require.Len(t, made, 1)
	s.Eventually(func() (string, bool) {
		made = labelsOf(s, false)
		return fmt.Sprint(made), made[0].Tracking != ""
	})
	use(t, s, run, "resolve", map[string]any{"outcome": "booked", "reference": made[0].Tracking})
	out := awaitShipment(t, s, path, shipping.Labelled)
	require.Equal(t, made[0].Tracking, out.Parcels[0].Tracking)
	require.Len(t, labelsOf(s, false), 1)
	gone(t, s, path)
	s.Sandbox.Parcel(made[0].Tracking, "delivered")
	nothingStuck(s)
	return map[string]string{"fulfillment": run}
}

// shipmentLost: the carrier loses the parcel and the buyer gets the money for the goods.
func shipmentLost(t *testing.T, s *stacktest.Shop) map[string]string {
	order, path, run := boxed(t, s)
	labelled(t, s, path, map[string]any{"carrier": "chilexpress"})
	s.Sandbox.Parcel(gone(t, s, path), "lost")
	item := parked(s, run, "parcel_lost")
	require.Equal(t, order, item.Subject)
	require.Equal(t, "parcel_lost", *s.Order(order).Attention)
	use(t, s, run, "resolve", map[string]any{"outcome": "refund"})
	s.AwaitClosed(run)
	o := s.Order(order)
	require.Len(t, o.Refunds, 1)
	s.AwaitRefund(o.Refunds[0].ID, "succeeded")
	require.Equal(t, "refunded", shipment(t, s, path).Settled)
	nothingStuck(s)
	return map[string]string{"fulfillment": run}
}

// shipmentReturned: nobody was at home, and the parcel comes back.
func shipmentReturned(t *testing.T, s *stacktest.Shop) map[string]string {
	order, path, run := boxed(t, s)
	labelled(t, s, path, map[string]any{"carrier": "bluexpress"})
	tracking := gone(t, s, path)
	s.Sandbox.Parcel(tracking, "delivery_failed")
	awaitShipment(t, s, path, shipping.NotDelivered)
	s.Sandbox.Parcel(tracking, "returned_to_sender")
	parked(s, run, "returned_to_sender")
	use(t, s, run, "resolve", map[string]any{"outcome": "closed"})
	s.AwaitClosed(run)
	require.Empty(t, s.Order(order).Refunds)
	nothingStuck(s)
	return map[string]string{"fulfillment": run}
}

// shipmentLate: the carrier says nothing for too long; somebody calls it.
func shipmentLate(t *testing.T, s *stacktest.Shop) map[string]string {
	order, path, run := boxed(t, s)
	labelled(t, s, path, map[string]any{"carrier": "bluexpress"})
	gone(t, s, path)
	late := func() {
		s.Do(func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE shipments SET due_at = now() - interval '1 hour' WHERE tenant = $1`, s.Tenant)
			return err
		})
		s.Changed(run)
		parked(s, run, "delivery_late")
	}
	late()
	use(t, s, run, "retry", nil)
	nothingStuck(s)
	late()
	use(t, s, run, "resolve", map[string]any{"outcome": "delivered"})
	s.AwaitClosed(run)
	require.Equal(t, "delivered", s.Order(order).Status)
	nothingStuck(s)
	return map[string]string{"fulfillment": run}
}

// shipmentRestarted loses its run and goes on from its rows.
func shipmentRestarted(t *testing.T, s *stacktest.Shop) map[string]string {
	_, path, run := boxed(t, s)
	s.Terminate(run)
	labelled(t, s, path, map[string]any{"carrier": "chilexpress"})
	require.Len(t, slices.Clone(labelsOf(s, false)), 1)
	s.Sandbox.Parcel(gone(t, s, path), "delivered")
	s.AwaitClosed(run)
	return map[string]string{"fulfillment": run}
}

// orderCancelled before anybody has begun: the units are for sale at once, the money goes
// back.
func orderCancelled(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	run := s.WorkflowID(workflows.KindFulfillment, s.Order(c.ID).Shipments[0].ID)
	sku, sold := s.Order(c.ID).Lines[0].SKU, s.Order(c.ID).Lines[0].Quantity
	free := s.Available(sku)
	cancel := func() stacktest.Order {
		t.Helper()
		a := s.Call(tenant.Support, "POST", "/v1/orders/"+c.ID+"/cancel", map[string]any{"reason": "changed my mind"})
		require.Equal(t, 200, a.Status, "%s", a.Body)
		return stacktest.Decode[stacktest.Order](t, a)
	}
	require.Equal(t, "cancelled", cancel().Status)
	require.Len(t, cancel().Refunds, 1, "once")
	s.AwaitRefund(s.Order(c.ID).Refunds[0].ID, "succeeded")
	s.AwaitClosed(run)
	require.Equal(t, free+sold, s.Available(sku))
	require.Equal(t, "cancelled", s.Order(c.ID).Shipments[0].Status)
	nothingStuck(s)
	return map[string]string{"fulfillment": run}
}

// orderCancelledWithALabel: the label is cancelled at its carrier and the units are put
// back by a person; of one that has left nothing is cancelled.
func orderCancelledWithALabel(t *testing.T, s *stacktest.Shop) map[string]string {
	order, path, run := boxed(t, s)
	labelled(t, s, path, map[string]any{"carrier": "correos"})
	sku, sold := s.Order(order).Lines[0].SKU, s.Order(order).Lines[0].Quantity
	free := s.Available(sku)
	require.Equal(t, 409, s.Call(tenant.Warehouse, "POST", path+"/put-back", map[string]any{"to": "A-01"}, "X-Operator", "ana").Status)
	a := s.Call(tenant.Support, "POST", "/v1/orders/"+order+"/cancel", nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	require.Equal(t, 409, s.Call(tenant.Warehouse, "POST", path+"/handover", nil, "X-Operator", "ana").Status)
	s.Eventually(func() (string, bool) { v := labelsOf(s, true); return fmt.Sprint(v), len(v) == 1 })
	awaitShipment(t, s, path, shipping.Picking)
	require.Equal(t, free, s.Available(sku), "they lie in the packing bin")
	require.Equal(t, 409, s.Call(tenant.Warehouse, "POST", path+"/put-back", map[string]any{"to": "PACK"}, "X-Operator", "ana").Status)
	a = s.Call(tenant.Warehouse, "POST", path+"/put-back", map[string]any{"to": "A-01"}, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	require.Equal(t, shipping.Cancelled, stacktest.Decode[shipping.Shipment](t, a).Status)
	require.Equal(t, free+sold, s.Available(sku))
	s.AwaitClosed(run)
	s.AwaitRefund(s.Order(order).Refunds[0].ID, "succeeded")
	require.Empty(t, labelsOf(s, false))
	nothingStuck(s)
	return map[string]string{"fulfillment": run}
}
