package activities_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

func routed(s *shoptest.Shop, route ...payment.Name) *activities.Checkouts {
	return &activities.Checkouts{DB: s.DB, Route: func(_ context.Context, tenantID string, q tenant.RouteQuery) ([]payment.Name, error) {
		if tenantID != shoptest.Tenant || q.Currency != "CLP" || q.Amount < 10_000 || q.Country != "CL" {
			return nil, errors.New("asked for another")
		}
		return route, nil
	}}
}

func submitted(t *testing.T, s *shoptest.Shop, gateway string) activities.CheckoutRef {
	t.Helper()
	s.Product(t, "A", 10_000, 9)
	checkoutID := s.Submit(t, shoptest.Submission("A", 1))
	s.Exec(t, `UPDATE checkouts SET gateway = $2 WHERE id = $1`, checkoutID, gateway)
	return activities.CheckoutRef{Tenant: shoptest.Tenant, CheckoutID: checkoutID}
}

func notBegun(t *testing.T, s *shoptest.Shop, in activities.CheckoutRef, paymentID string) {
	t.Helper()
	p := &activities.Payments{DB: s.DB}
	require.NoError(t, p.NotBegun(t.Context(), activities.PaymentRef{Tenant: in.Tenant, CheckoutID: in.CheckoutID, PaymentID: paymentID}, activities.TypeUnavailable))
}

func TestHoldStock_TakesTheGatewayThatWasNamed(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	in := submitted(t, s, "stripe")
	v, err := routed(s, payment.Transbank).HoldStock(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, payment.Stripe, v.Attempts[0].Gateway)
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	a := routed(s)
	env.RegisterActivity(a.HoldStock)
	result, err := env.ExecuteActivity(a.HoldStock, in)
	require.NoError(t, err)
	var again checkout.View
	require.NoError(t, result.Get(&again))
	require.Equal(t, v, again)
}

func TestHoldStock_AutoWithoutAnyGatewayHoldsNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	v, err := routed(s).HoldStock(t.Context(), submitted(t, s, "auto"))
	require.NoError(t, err)
	require.Equal(t, checkout.Cancelled, v.Status)
	require.Equal(t, checkout.FailGatewayUnavailable, v.FailureCode)
	require.Empty(t, v.HoldID)
}

func TestNextGateway_GoesDownTheRouteAndPassesNoneTwice(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	in := submitted(t, s, "auto")
	a := routed(s, payment.Stripe, payment.Transbank)
	v, err := a.HoldStock(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, payment.Stripe, v.Attempts[0].Gateway)
	notBegun(t, s, in, v.Attempts[0].PaymentID)
	for range 2 { // the same step twice is one attempt
		next, err := a.NextGateway(t.Context(), in, 2)
		require.NoError(t, err)
		require.True(t, next.OK)
		require.Len(t, next.View.Attempts, 2)
		require.Equal(t, payment.Transbank, next.View.Attempts[1].Gateway)
		v = next.View
	}
	notBegun(t, s, in, v.Attempts[1].PaymentID)
	next, err := a.NextGateway(t.Context(), in, 3)
	require.NoError(t, err)
	require.False(t, next.OK, "none is left")
	require.Len(t, next.View.Attempts, 2)
}

func TestAddAttempt_WithAutoTakesTheFirstThatDidNotFail(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	in := submitted(t, s, "stripe")
	a := routed(s, payment.Stripe, payment.Transbank)
	v, err := a.HoldStock(t.Context(), in)
	require.NoError(t, err)
	notBegun(t, s, in, v.Attempts[0].PaymentID)
	mine := id.New()
	for range 2 {
		next, err := a.AddAttempt(t.Context(), in, mine, "auto")
		require.NoError(t, err)
		require.True(t, next.OK)
		require.Len(t, next.View.Attempts, 2)
		got, ok := next.View.Attempt(mine)
		require.True(t, ok)
		require.Equal(t, payment.Transbank, got.Gateway)
	}
	next, err := a.AddAttempt(t.Context(), in, id.New(), "stripe")
	require.NoError(t, err)
	require.Len(t, next.View.Attempts, 3, "one that is named is tried again")
}

func TestReadCheckout_OfAnotherTenantIsABug(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.AddTenant(t, "other")
	in := submitted(t, s, "stripe")
	in.Tenant = "other"
	_, err := routed(s).ReadCheckout(t.Context(), in)
	require.Equal(t, activities.TypeBug, activities.ErrorType(err))
}
