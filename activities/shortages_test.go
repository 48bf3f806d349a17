package activities_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/internal/refund"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// Gateways are asked what they can do only where money may go back, and one that can't be
// asked changes nothing.
func TestShortages_AskGatewaysOnlyWhereMoneyMayGoBack(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 5_000, 2)
	orderID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	amount := shoptest.Value[int64](t, s, `SELECT amount FROM payments WHERE id = $1`, paymentID)
	_, err := checkout.Record(t.Context(), s.DB, shoptest.Tenant, orderID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, amount), AskedAt: s.Now(t)})
	require.NoError(t, err)
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Count(t.Context(), tx, shoptest.Tenant, "A", "SCL-1", 1, time.Now(), "ana")
		return err
	})
	ref := activities.ShortRef{Tenant: shoptest.Tenant, OrderID: orderID, HoldID: shoptest.Value[string](t, s, `SELECT hold_id FROM orders`)}
	asked, away := 0, errors.New("away")
	steps := &activities.Shortages{DB: s.DB, Able: func(context.Context, string, string) (refund.Able, error) {
		asked++
		return func(payment.Name) (payment.Capabilities, bool) {
			return payment.Capabilities{Refunds: true, PartialRefunds: true}, true
		}, away
	}}
	v, err := steps.MendShort(t.Context(), ref)
	require.NoError(t, err)
	require.NotEmpty(t, v.Asks)
	_, err = steps.DecideShort(t.Context(), ref, checkout.ShortBackOrder)
	require.NoError(t, err)
	_, err = steps.DecideShort(t.Context(), ref, "agreed with the buyer")
	require.NoError(t, err)
	require.Zero(t, asked)

	s.Change(t, func(rules *tenant.Settings) { rules.Fulfillment.Short = tenant.RefundShort })
	_, err = steps.MendShort(t.Context(), ref)
	require.Error(t, err)
	_, err = steps.DecideShort(t.Context(), ref, checkout.ShortRefund)
	require.Error(t, err)
	require.Equal(t, 2, asked)
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*)::int FROM refunds`))
	away = nil
	v, err = steps.DecideShort(t.Context(), ref, checkout.ShortRefund)
	require.NoError(t, err)
	require.True(t, v.Over)
	require.EqualValues(t, 5_000, shoptest.Value[int64](t, s, `SELECT amount FROM refunds`))
}
