package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/shoptest"
)

func TestParkStep_IsOnTheListOnceAndKeepsItsSince(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := checkout.Record(t.Context(), b.DB, shoptest.Tenant, b.ref.CheckoutID, checkout.News{PaymentID: b.ref.PaymentID, Answer: shoptest.Approved(b.ref.PaymentID, total)})
	require.NoError(t, err)
	a := &activities.Support{DB: b.DB}
	c := activities.ParkedCase{Tenant: shoptest.Tenant, WorkflowID: "checkout:acme:" + b.ref.CheckoutID, Step: "doubt", Subject: b.ref.CheckoutID, Reason: "payment_unknown", Message: "Nobody knows.", Verbs: []string{"retry"}}
	attention := func() string {
		return shoptest.Value[string](t, b.Shop, `SELECT coalesce(attention, '') FROM orders`)
	}
	since := func() time.Time {
		return shoptest.Value[time.Time](t, b.Shop, `SELECT since FROM parked WHERE resolved_at IS NULL`)
	}
	require.NoError(t, a.ParkStep(t.Context(), c))
	first := since()
	require.Equal(t, "payment_unknown", attention())
	c.Message = "Nobody knows yet."
	require.NoError(t, a.ParkStep(t.Context(), c))
	require.Equal(t, first, since())
	require.Equal(t, "Nobody knows yet.", shoptest.Value[string](t, b.Shop, `SELECT message FROM parked`))

	other := c
	other.Step = "mismatch"
	require.NoError(t, a.ParkStep(t.Context(), other))
	for range 2 {
		require.NoError(t, a.UnparkStep(t.Context(), c, "the gateway has answered"))
		require.Equal(t, "payment_unknown", attention(), "something else still waits")
	}
	require.NoError(t, a.UnparkStep(t.Context(), other, "resolved"))
	require.Empty(t, attention())
	require.Equal(t, 2, shoptest.Value[int](t, b.Shop, `SELECT count(*) FROM events WHERE kind = 'person_decided'`))

	require.NoError(t, a.ParkStep(t.Context(), c))
	require.True(t, since().After(first), "a new wait begins now")
}
