package e2e_test

import (
	"context"
	"net/url"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

func TestGatewayDown_NamedOneIs503AndTheSameKeyTriesAgain(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Faults("transbank", map[string]any{"outage": true})
	key := []string{"Idempotency-Key", "down-" + s.Tenant}
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("transbank"), key...)
	require.Equal(t, 503, a.Status, "%s", a.Body)
	require.Equal(t, "gateway_unavailable", a.Code())
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	require.Equal(t, []string{"stripe"}, stacktest.Decode[struct {
		Alternatives []string `json:"alternatives"`
	}](t, a).Alternatives)
	require.Equal(t, 30, s.Available(stacktest.Product), "nothing stays held")

	s.Sandbox.Faults("transbank", map[string]any{})
	a = s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("transbank"), key...)
	require.Equal(t, 201, a.Status, "%s", a.Body)
	require.Empty(t, a.Header.Get("Idempotent-Replayed"))
	c := stacktest.Decode[stacktest.Checkout](t, a)
	require.Equal(t, 28, s.Available(stacktest.Product))

	again := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("transbank"), key...)
	require.Equal(t, 201, again.Status)
	require.Equal(t, "true", again.Header.Get("Idempotent-Replayed"))
	require.JSONEq(t, string(a.Body), string(again.Body))
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
}

func TestGatewayRefuses_ThePaymentIsRefusedAndNothingIsHeld(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	for gateway, op := range map[string]string{"transbank": "create", "stripe": "create_session"} {
		s.Sandbox.Next(gateway, op, "refuse", 1)
		a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket(gateway))
		require.Equal(t, 422, a.Status, "%s", a.Body)
		require.Equal(t, "payment_refused", a.Code())
		require.Equal(t, 30, s.Available(stacktest.Product))
	}
}

func TestBegin_WhoseAnswerIsLostIsFoundAgain(t *testing.T) {
	t.Parallel()
	for gateway, op := range map[string]string{"transbank": "create", "stripe": "create_session"} {
		for _, kind := range []string{"error_500", "cut_after", "timeout_after_effect"} {
			t.Run(gateway+" "+kind, func(t *testing.T) {
				t.Parallel()
				s := stacktest.Shared(t).Shop(t)
				s.Sandbox.Next(gateway, op, kind, 1)
				a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket(gateway))
				require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
				c := s.AwaitStatus(stacktest.Decode[stacktest.Checkout](t, a).ID, "awaiting_payment")
				require.Len(t, c.Payments, 1)
				require.Equal(t, 28, s.Available(stacktest.Product))
				s.Sandbox.Buyer(c.Payment.ID, "approve")
				s.AwaitStatus(c.ID, "paid")
				requirePaid(t, s, c.ID)
			})
		}
	}
}

func TestCommit_WhateverBecomesOfItsAnswerTheBuyerIsChargedOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"error_500", "error_503", "rate_limited", "cut_before", "cut_after", "timeout_after_effect"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := stacktest.Shared(t).Shop(t)
			c := s.Checkout("transbank")
			s.Sandbox.Next("transbank", "commit", kind, 1)
			step := s.Sandbox.Buyer(c.Payment.ID, "approve")
			require.Contains(t, []int{200, 303}, step.ReturnStatus, step.ReturnError)
			s.AwaitStatus(c.ID, "paid")
			requirePaid(t, s, c.ID)
		})
	}
}

func TestCommit_OfADeclinedCardWhoseAnswerIsLostIsADecline(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("transbank")
	s.Sandbox.Next("transbank", "commit", "cut_after", 1)
	s.Sandbox.Buyer(c.Payment.ID, "decline")
	c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "declined" })
	require.Equal(t, "awaiting_payment", c.Status)
	requireUncharged(t, s, c)
}

func TestReturn_OpenedTenTimesAtOnceCommitsOnce(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("transbank")
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	answers := make(chan stacktest.Answer, 10)
	for range 10 {
		go func() {
			a, err := s.TryReturn(t.Context(), *c.Payment, url.Values{"token_ws": {c.Payment.Token()}})
			if err != nil {
				a.Body = []byte(err.Error())
			}
			answers <- a
		}()
	}
	for range 10 {
		a := <-answers
		require.Equal(t, 303, a.Status, "%s", a.Body)
		require.Contains(t, a.Header.Get("Location"), "status=paid")
	}
	require.Equal(t, 303, s.Return(*c.Payment, url.Values{"token_ws": {c.Payment.Token()}}).Status, "and once more, later")
	requirePaid(t, s, c.ID)
}

func TestReturn_WithSomebodyElsesTokenIsRefusedWithoutACall(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	mine, theirs := s.Checkout("transbank"), s.Checkout("transbank")
	for _, c := range []stacktest.Checkout{mine, theirs} {
		s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	}
	a := s.Return(*mine.Payment, url.Values{"token_ws": {theirs.Payment.Token()}})
	require.Equal(t, 400, a.Status)
	require.Contains(t, string(a.Body), "No se hizo ningún cobro")
	require.Equal(t, "awaiting_payment", s.Get(mine.ID).Status)
	require.Equal(t, "awaiting_payment", s.Get(theirs.ID).Status)
	require.Empty(t, s.Sandbox.Ledger().Charges)

	for _, c := range []stacktest.Checkout{mine, theirs} {
		require.Equal(t, 303, s.Return(*c.Payment, url.Values{"token_ws": {c.Payment.Token()}}).Status)
		requirePaid(t, s, c.ID)
	}
	a, err := s.Visit(context.Background(), "/payments/"+s.Tenant+"/transbank/01J0000000000000000000000A/return?token_ws=x")
	require.NoError(t, err)
	require.Equal(t, 404, a.Status)
}

func TestReturn_OfTheCancelKindAfterASuccessfulCommitUndoesNothing(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("transbank")
	token := c.Payment.Token()
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	for _, params := range []url.Values{
		{"TBK_TOKEN": {token}, "TBK_ORDEN_COMPRA": {c.Payment.ID}, "TBK_ID_SESION": {c.Payment.ID}},
		{"TBK_TOKEN": {token}, "token_ws": {token}, "TBK_ORDEN_COMPRA": {c.Payment.ID}, "TBK_ID_SESION": {c.Payment.ID}},
		{"TBK_ORDEN_COMPRA": {c.Payment.ID}, "TBK_ID_SESION": {c.Payment.ID}},
	} {
		a := s.Return(*c.Payment, params)
		require.Equal(t, 303, a.Status, "%v: %s", params, a.Body)
		require.Contains(t, a.Header.Get("Location"), "status=paid")
	}
	requirePaid(t, s, c.ID)
}

func TestLateReturn_WithoutStockIsNotCommitted(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Product("ULTIMA", 9990, 1)
	c := s.Checkout("transbank", stacktest.Items("ULTIMA", 1), stacktest.Hold(6))
	s.AwaitStatus(c.ID, "expired")
	other := s.Checkout("transbank", stacktest.Items("ULTIMA", 1))
	step := s.Sandbox.Buyer(c.Payment.ID, "approve")
	step = sentOn(t, s, step)
	require.Contains(t, step.ReturnLocation, "status=expired")
	c = s.Get(c.ID)
	require.Equal(t, "expired", c.Status)
	require.Equal(t, "expired", c.Payment.Status)
	requireUncharged(t, s, c)
	s.Sandbox.Buyer(other.Payment.ID, "approve")
	requirePaid(t, s, other.ID)
}

// lateStripe is a checkout that has expired while Stripe could not be told, so
// that its session can still be paid; stock says whether there is any left.
func lateStripe(t *testing.T, s *stacktest.Shop) stacktest.Checkout {
	t.Helper()
	s.Product("ULTIMA", 9990, 1)
	c := s.Checkout("stripe", stacktest.Items("ULTIMA", 1), stacktest.Hold(6))
	s.Sandbox.Faults("stripe", map[string]any{"outage": true})
	return s.AwaitStatus(c.ID, "expired")
}

// shortGrace lets an expiry in doubt end quickly.
func shortGrace(t *tenant.Settings) { t.GraceSeconds = 1 }

func TestLateApproval_WithStockIsPaid(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t, shortGrace)
	c := lateStripe(t, s)
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	s.Sandbox.Faults("stripe", map[string]any{})
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
	require.Zero(t, s.Available("ULTIMA"))
}

// requireRefundedOnce demands one refund of a payment's whole amount, in our
// books and in the provider's.
func requireRefundedOnce(t *testing.T, s *stacktest.Shop, c stacktest.Checkout, paymentID, reason string) {
	t.Helper()
	refunds := slices.DeleteFunc(refundsOf(s, c), func(e stacktest.Entry) bool { return e.PaymentID != paymentID })
	require.Len(t, refunds, 1)
	require.Equal(t, "succeeded", refunds[0].Status)
	require.Equal(t, c.Totals.Total, refunds[0].Amount)
	require.Equal(t, 1, stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM refunds WHERE payment_id = $1`, paymentID))
	require.Equal(t, reason+" succeeded", stacktest.Value[string](t, s.Stack, `SELECT reason || ' ' || status FROM refunds WHERE payment_id = $1`, paymentID))
}
