package activities_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/refund"
	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// inspected is a return of one of two units, whose money is owed.
func inspected(t *testing.T) (*shoptest.Shop, activities.ReturnRef) {
	t.Helper()
	s := shoptest.New(t)
	s.Product(t, "A", 5_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	_, err := checkout.Record(t.Context(), s.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: paymentID, AskedAt: s.Now(t), Answer: shoptest.Approved(paymentID, shoptest.Value[int64](t, s, `SELECT amount FROM payments`))})
	require.NoError(t, err)
	for _, set := range []string{`status = 'picking'`, `status = 'packed', packed_at = now(), picked_at = now()`, `status = 'labelled', labelled_at = now(), carrier = 'manual'`,
		`status = 'handed_over', handed_over_at = now(), due_at = now() + interval '1 day'`, `status = 'delivered', due_at = NULL, ended_at = now()`} {
		s.Exec(t, `UPDATE shipments SET `+set)
	}
	ref := activities.ReturnRef{Tenant: shoptest.Tenant, ReturnID: id.New()}
	line := shoptest.Value[string](t, s, `SELECT line_id FROM order_lines`)
	by := stock.By{Person: "ana"}
	s.Do(t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
		require.NoError(t, err)
		_, err = returns.Open(t.Context(), tx, shop, ref.ReturnID, returns.Request{OrderID: checkoutID, Refund: "original", Lines: []returns.LineAsked{{LineID: line, Quantity: 1, Reason: "changed_mind"}}}, nil, "web")
		require.NoError(t, err)
		_, err = returns.Receive(t.Context(), tx, shop, ref.ReturnID, returns.Reception{Lines: []returns.ReceivedLine{{LineID: line, Quantity: 1}}, By: by})
		require.NoError(t, err)
		_, _, err = returns.Inspect(t.Context(), tx, shop, ref.ReturnID, returns.Inspection{By: by, Units: []returns.InspectedUnits{{LineID: line, Quantity: 1, Grade: "A", Disposition: returns.Restock}}})
		return err
	})
	return s, ref
}

func TestPayReturn_CutOffHalfWayBooksOnce(t *testing.T) {
	t.Parallel()
	s, ref := inspected(t)
	can := func(payment.Name) (payment.Capabilities, bool) {
		return payment.Capabilities{Refunds: true, PartialRefunds: true}, true
	}
	ctx, kill := context.WithCancel(t.Context())
	dies := &activities.Returns{DB: s.DB, Able: func(context.Context, string, string) (refund.Able, error) {
		kill()
		return can, nil
	}}
	require.Error(t, dies.PayReturn(ctx, ref))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM refund_requests`))
	lives := &activities.Returns{DB: s.DB, Able: func(context.Context, string, string) (refund.Able, error) { return can, nil }}
	for range 3 { // its answer was lost
		require.NoError(t, lives.PayReturn(t.Context(), ref))
	}
	require.Equal(t, []int64{5_000}, shoptest.List[int64](t, s, `SELECT amount FROM refund_requests`))
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM wakes WHERE kind = 'refund'`))
	s.Exec(t, `UPDATE refunds SET status = 'succeeded', due_at = NULL`)
	for range 2 {
		require.NoError(t, lives.CloseReturn(t.Context(), ref))
	}
	at, err := lives.StandReturn(t.Context(), ref)
	require.NoError(t, err)
	require.True(t, at.Over)
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM events WHERE kind = 'return_closed'`))
}

func TestPayReturn_WhatCannotGoIsWrittenDown(t *testing.T) {
	t.Parallel()
	s, ref := inspected(t)
	whole := &activities.Returns{DB: s.DB, Able: func(context.Context, string, string) (refund.Able, error) {
		return func(payment.Name) (payment.Capabilities, bool) { return payment.Capabilities{Refunds: true}, true }, nil
	}}
	require.NoError(t, whole.PayReturn(t.Context(), ref))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM refund_requests`))
	at, err := whole.StandReturn(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, "refund_refused", at.Troubles[0].Reason)
	said, err := whole.DecideReturn(t.Context(), activities.ReturnDecision{ReturnRef: ref, Step: returns.StepMoney, Verb: "resolve", Outcome: "closed", Reference: "paid in the shop"})
	require.NoError(t, err)
	require.Contains(t, said, "settled")
	at, err = whole.StandReturn(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, returns.NextSettle, at.Next)
}

// comesBack is a return whose label is wanted of a carrier, and its booking written, but
// not tried.
func (b *bench) comesBack(of shipping.Name) (*activities.Returns, activities.ReturnRef) {
	b.t.Helper()
	orderID, ref := b.picked(2)
	for _, set := range []string{`status = 'packed', packed_at = now()`, `status = 'labelled', labelled_at = now(), carrier = 'manual'`,
		`status = 'handed_over', handed_over_at = now(), due_at = now() + interval '1 day'`, `status = 'delivered', due_at = NULL, ended_at = now()`} {
		b.Exec(b.t, `UPDATE shipments SET `+set+` WHERE id = $1`, ref.ShipmentID)
	}
	back := activities.ReturnRef{Tenant: shoptest.Tenant, ReturnID: id.New()}
	line := b.one(`SELECT line_id FROM order_lines WHERE order_id = $1`, orderID)
	require.NoError(b.t, b.do(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := returns.Open(ctx, tx, shop, back.ReturnID, returns.Request{OrderID: orderID, Refund: "original", Lines: []returns.LineAsked{{LineID: line, Quantity: 1, Reason: "changed_mind"}}}, nil, "web")
		require.NoError(b.t, err)
		_, err = returns.AskLabel(ctx, tx, shop, back.ReturnID, returns.LabelAsked{Carrier: of, By: "web", Shopper: true})
		return err
	}))
	steps := &activities.Returns{DB: b.DB, Carriers: b.registry, Able: b.steps.Able}
	chosen, err := steps.ChooseReturnCarrier(b.t.Context(), back)
	require.NoError(b.t, err)
	require.True(b.t, chosen.Compare)
	require.NoError(b.t, steps.CompareReturnCarriers(b.t.Context(), back))
	return steps, back
}

// works does what the run would, with all that is to come being now, until it has another
// next step than these.
func (b *bench) works(steps *activities.Returns, ref activities.ReturnRef, while map[string]func(context.Context, activities.ReturnRef) error) activities.ReturnStanding {
	b.t.Helper()
	for range 20 {
		b.Exec(b.t, `UPDATE bookings SET next_at = now(), tried_at = tried_at - interval '1 hour', created_at = created_at - interval '1 hour' WHERE next_at IS NOT NULL`)
		b.Exec(b.t, `UPDATE returns SET label_round_at = now() WHERE label_round_at IS NOT NULL`)
		at, err := steps.StandReturn(b.t.Context(), ref)
		require.NoError(b.t, err)
		step := while[at.Next]
		if step == nil || len(at.Troubles) > 0 { // a person is asked
			return at
		}
		require.NoError(b.t, step(b.t.Context(), ref))
	}
	b.t.Fatal("it never ends")
	return activities.ReturnStanding{}
}

// counting are the numbers of the labels that carriers have made and not cancelled.
func (b *bench) counting() (out []string) {
	for _, l := range b.ledger() {
		if !l.Voided {
			out = append(out, l.Tracking)
		}
	}
	return out
}

func TestReturnLabel_KilledAnywhereOneIsMadeAndOneIsCancelled(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"", "cut_before", "cut_after", "error_500", "timeout_after_effect"} {
		t.Run("booking "+kind, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			steps, ref := b.comesBack(shipping.Correos)
			if kind != "" {
				b.fault(shipping.Correos, bookCall[shipping.Correos], kind)
			}
			books := map[string]func(context.Context, activities.ReturnRef) error{returns.NextBook: steps.BookReturnParcel, returns.NextFinish: steps.FinishReturnLabel, returns.NextVoid: steps.VoidReturnLabel,
				returns.NextChoose: func(ctx context.Context, ref activities.ReturnRef) error {
					_, err := steps.ChooseReturnCarrier(ctx, ref)
					if err == nil {
						err = steps.CompareReturnCarriers(ctx, ref)
					}
					return err
				}}
			if at := b.works(steps, ref, books); len(at.Troubles) > 0 {
				// Correos is asked and does not find it, which proves nothing: a person looks in its panel.
				require.Equal(t, "booking_unknown", at.Troubles[0].Reason)
				require.Empty(t, b.counting())
				_, err := steps.DecideReturn(t.Context(), activities.ReturnDecision{ReturnRef: ref, Step: returns.StepBooking, Verb: "resolve", Outcome: "not_made"})
				require.NoError(t, err)
				b.works(steps, ref, books)
			}
			for range 2 { // its answer was lost
				require.NoError(t, steps.FinishReturnLabel(t.Context(), ref))
			}
			require.Equal(t, "label_issued correos", b.one(`SELECT status || ' ' || label_carrier FROM returns`))
			require.Equal(t, 1, b.count(`SELECT count(*) FROM events WHERE kind = 'return_labelled'`))
			require.Equal(t, []string{b.one(`SELECT tracking FROM parcels WHERE return_id IS NOT NULL`)}, b.counting(), "one label, and what was lost of it was cancelled")

			// The goods come otherwise: the carrier is asked, and the label cancelled.
			line := b.one(`SELECT line_id FROM return_units`)
			require.NoError(t, b.do(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
				_, err := returns.Receive(ctx, tx, shop, ref.ReturnID, returns.Reception{Lines: []returns.ReceivedLine{{LineID: line, Quantity: 1}}, By: ana})
				require.NoError(t, err)
				_, _, err = returns.Inspect(ctx, tx, shop, ref.ReturnID, returns.Inspection{By: ana, Units: []returns.InspectedUnits{{LineID: line, Quantity: 1, Grade: "A", Disposition: returns.Restock}}})
				return err
			}))
			ctx, kill := context.WithCancel(t.Context())
			kill()
			require.Error(t, steps.ScanReturnLabel(ctx, ref))
			at, err := steps.StandReturn(t.Context(), ref)
			require.NoError(t, err)
			require.Equal(t, returns.NextScan, at.Next)
			require.NoError(t, steps.ScanReturnLabel(t.Context(), ref))
			if kind == "cut_after" || kind == "timeout_after_effect" {
				b.fault(shipping.Correos, "void", kind)
			}
			b.works(steps, ref, map[string]func(context.Context, activities.ReturnRef) error{returns.NextVoid: steps.VoidReturnLabel})
			require.Zero(t, b.count(`SELECT count(*) FROM bookings WHERE status NOT IN ('voided','failed')`))
			require.Empty(t, b.counting())
			require.Zero(t, b.count(`SELECT label_fee::int FROM returns`))
		})
	}
}

func TestScanReturnLabel_OneThatTheCarrierHadStays(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(s *tenant.Settings) { s.Sender.RUT = "76.192.083-9" }) // Starken wants the receiver's
	steps, ref := b.comesBack(shipping.Starken)
	b.works(steps, ref, map[string]func(context.Context, activities.ReturnRef) error{returns.NextBook: steps.BookReturnParcel, returns.NextFinish: steps.FinishReturnLabel})
	b.send("POST", "/carriers/"+b.one(`SELECT tracking FROM parcels WHERE return_id IS NOT NULL`)+"/in_transit", nil)
	line := b.one(`SELECT line_id FROM return_units`)
	require.NoError(t, b.do(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := returns.Receive(ctx, tx, shop, ref.ReturnID, returns.Reception{Lines: []returns.ReceivedLine{{LineID: line, Quantity: 1}}, By: ana})
		require.NoError(t, err)
		_, _, err = returns.Inspect(ctx, tx, shop, ref.ReturnID, returns.Inspection{By: ana, Units: []returns.InspectedUnits{{LineID: line, Quantity: 1, Grade: "A", Disposition: returns.Restock}}})
		return err
	}))
	for range 2 {
		require.NoError(t, steps.ScanReturnLabel(t.Context(), ref))
	}
	require.Equal(t, "starken in_transit", b.one(`SELECT r.label_carrier || ' ' || p.state FROM returns r JOIN parcels p ON p.return_id = r.id`))
	require.Equal(t, 1, b.count(`SELECT count(*) FROM returns WHERE label_fee > 0 AND label_checked_at IS NOT NULL`))
	at, err := steps.StandReturn(t.Context(), ref)
	require.NoError(t, err)
	require.NotEqual(t, returns.NextScan, at.Next)
}
