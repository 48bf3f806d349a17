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
