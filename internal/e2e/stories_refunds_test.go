package e2e_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/secretbox"
	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// boughtForGood is an order paid by Stripe, whose checkout's run has ended.
func boughtForGood(t *testing.T, s *stacktest.Shop) stacktest.Checkout {
	t.Helper()
	c := s.Checkout("stripe")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	c = s.AwaitStatus(c.ID, "paid")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return c
}

// awaitParked waits until a refund's run is on the support list.
func awaitParked(s *stacktest.Shop, run string) {
	s.Eventually(func() (string, bool) {
		list := s.Stuck()
		return "the support list lacks " + run, slices.ContainsFunc(list, func(i stacktest.Stuck) bool { return i.Kind == "parked" && i.WorkflowID == run })
	})
}

func refundRequested(t *testing.T, s *stacktest.Shop) map[string]string {
	c := boughtForGood(t, s)
	r := s.Refund(c.ID, nil)
	require.Equal(t, c.Totals.Total, r.Amount)
	r = s.AwaitRefund(r.ID, "succeeded")
	require.Len(t, r.Parts, 1)
	require.NotEmpty(t, r.Parts[0].Reference)
	s.AwaitClosed(s.RefundRun(r.ID))
	requireRefundedOnce(t, s, c, c.Payment.ID, "requested")
	require.Equal(t, r.ID, s.Order(c.ID).Refunds[0].ID)
	require.Equal(t, 409, s.AskRefund(c.ID, nil).Status)
	nothingStuck(s)
	return map[string]string{"refund": s.RefundRun(r.ID)}
}

func refundOfAUnitAndTheRest(t *testing.T, s *stacktest.Shop) map[string]string {
	c := boughtForGood(t, s)
	line := s.Order(c.ID).Lines[0]
	unit := s.Refund(c.ID, map[string]any{"lines": []any{map[string]any{"line_id": line.LineID, "quantity": 1, "amount": 1000}}, "amount": 500})
	require.EqualValues(t, 1500, unit.Amount)
	require.EqualValues(t, 500, unit.GoodwillAmount)
	s.AwaitRefund(unit.ID, "succeeded")
	require.Equal(t, "partially_refunded", s.Get(c.ID).Payment.Status)
	rest := s.Refund(c.ID, nil)
	require.Equal(t, c.Totals.Total-1500, rest.Amount)
	s.AwaitRefund(rest.ID, "succeeded")
	require.Equal(t, "refunded", s.Get(c.ID).Payment.Status)
	s.AwaitClosed(s.RefundRun(rest.ID))
	return map[string]string{"refund": s.RefundRun(rest.ID)}
}

func refundByTransfer(t *testing.T, s *stacktest.Shop) map[string]string {
	c := boughtForGood(t, s)
	r := s.Refund(c.ID, map[string]any{"method": "bank_transfer",
		"bank_account": map[string]any{"holder": "Ana Rojas", "rut": "11.111.111-1", "bank": "Banco Estado", "type": "vista", "number": "001234567"}})
	run := s.RefundRun(r.ID)
	s.AwaitRefund(r.ID, "needs_attention")
	awaitParked(s, run)
	use(t, s, run, "resolve", map[string]any{"outcome": "succeeded", "reference": "TEF 4711"})
	r = s.AwaitRefund(r.ID, "succeeded")
	require.Equal(t, "TEF 4711", r.Parts[0].Reference)
	s.AwaitClosed(run)
	require.Empty(t, refundsOf(s, c), "the gateway was not asked")
	nothingStuck(s)
	return map[string]string{"refund": run}
}

func requestedRefundRefused(t *testing.T, s *stacktest.Shop) map[string]string {
	c := boughtForGood(t, s)
	s.Sandbox.Next("stripe", "create_refund", "refuse", 1)
	r := s.Refund(c.ID, nil)
	run := s.RefundRun(r.ID)
	s.AwaitRefund(r.ID, "needs_attention")
	awaitParked(s, run)
	use(t, s, run, "cancel", nil)
	r = s.AwaitRefund(r.ID, "failed")
	require.Equal(t, "given_up_by_support", r.Failure.Code)
	s.AwaitClosed(run)
	require.Empty(t, refundsOf(s, c))
	// What it was booked on can be given back by another.
	again := s.Refund(c.ID, nil)
	s.AwaitRefund(again.ID, "succeeded")
	s.AwaitClosed(s.RefundRun(again.ID))
	return map[string]string{"refund": run}
}

func refundVoids(t *testing.T, s *stacktest.Shop) map[string]string {
	authorizesOnly(t, s)
	c := s.Checkout("stripe")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	c = s.AwaitStatus(c.ID, "paid")
	require.Equal(t, "authorized", c.Payment.Status)
	require.Equal(t, 409, s.AskRefund(c.ID, map[string]any{"amount": 100}).Status)
	r := s.Refund(c.ID, nil)
	require.Equal(t, "void", r.Parts[0].Method)
	s.AwaitRefund(r.ID, "succeeded")
	require.Equal(t, "cancelled", s.Get(c.ID).Payment.Status)
	s.AwaitClosed(s.RefundRun(r.ID))
	require.Empty(t, refundsOf(s, c))
	charges := chargesOf(s, c)
	require.Len(t, charges, 1)
	require.Equal(t, "voided", charges[0].Status)
	return map[string]string{"refund": s.RefundRun(r.ID)}
}

// authorizesOnly has the shop's Stripe account put captures off.
func authorizesOnly(t *testing.T, s *stacktest.Shop) {
	t.Helper()
	keys, err := secretbox.ParseKeyring(s.CredentialKeys)
	require.NoError(t, err)
	account := s.Credentials()["stripe"]
	account["capture"] = "manual"
	raw, err := json.Marshal(account)
	require.NoError(t, err)
	s.Do(func(tx pgx.Tx) error {
		return tenant.SetCredentials(t.Context(), tx, keys, s.Tenant, "stripe", raw)
	})
}
