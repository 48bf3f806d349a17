package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/workflows"
)

// card is a story whose storefront brings a token for Mercado Pago.
func card(p schedule) schedule {
	p.Gateway = "mercadopago"
	return p
}

func TestCheckout_TokenThatIsApprovedPaysAtOnce(t *testing.T) {
	t.Parallel()
	s := play(t, card(schedule{Token: tokenApproves}))
	require.Equal(t, map[string]int{"HoldStock": 1, "BeginPayment": 1, "ReadCheckout": 1, "RecordAnswer": 1, "EndRun": 1}, s.calls)
	require.Equal(t, "paid", answer[workflows.BeginAnswer](t, s, workflows.UpdateBegin, 1).Status, "the storefront hears it in its answer")
	require.Empty(t, s.db.token)
}

func TestCheckout_TokenThatIsDeclinedLeavesTheBuyerAnotherTry(t *testing.T) {
	t.Parallel()
	s := play(t, card(schedule{Token: tokenDeclines, Steps: []step{{At: 10 * time.Second, Do: try, N: 1}, {At: 20 * time.Second, Do: approve}}}))
	require.Equal(t, "awaiting_payment", answer[workflows.BeginAnswer](t, s, workflows.UpdateBegin, 1).Status)
	require.Equal(t, payment.StatusDeclined, s.db.payments[0].Status)
	require.True(t, s.db.payments[1].Applied)
}

func TestCheckout_TokenThatIsWorkedOnIsWaitedFor(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]checkout.Status{tokenProcesses: checkout.Paid, tokenFails: checkout.PaymentFailed} {
		s := play(t, card(schedule{Token: token, TokenTardy: true}))
		require.Equal(t, want, s.db.checkout.Status, token)
	}
}

func TestCheckout_TokenWhoseAnswerWasLostIsAskedForAndChargedOnce(t *testing.T) {
	t.Parallel()
	for _, as := range []failure{unknownActed, timesOut} {
		s := play(t, card(schedule{Token: tokenApproves, TokenTardy: true, Faults: []fault{{Call: "BeginPayment", Nth: 1, Times: 3, When: after, As: as}}}))
		require.Len(t, s.bank.sessions, 1, as)
		require.Equal(t, checkout.Paid, s.db.checkout.Status, as)
		require.Empty(t, s.db.refunds, as)
	}
}

func TestCheckout_TokenInDoubtKeepsOtherGatewaysAway(t *testing.T) {
	t.Parallel()
	s := play(t, card(schedule{Token: tokenApproves, TokenTardy: true, Steps: []step{{At: 3 * time.Second, Do: try, N: 1}}, Faults: []fault{
		{Call: "BeginPayment", Nth: 1, Times: 3, When: announced, As: unknownActed}, {Call: "AskGateway", Nth: 1, Times: 20, When: announced, As: unavailable}}}))
	require.Equal(t, "payment_in_progress", answer[workflows.TryAnswer](t, s, workflows.UpdateTry, 1).Refused)
	require.Len(t, s.db.payments, 1)
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
}

func TestCheckout_TokenThatWasNeverUsedEndsTheDoubtAndTheBuyerMayTryAgain(t *testing.T) {
	t.Parallel()
	s := play(t, card(schedule{Token: tokenApproves, Steps: []step{{At: 30 * time.Second, Do: try, N: 1}, {At: 60 * time.Second, Do: approve}}, Faults: []fault{{Call: "BeginPayment", Nth: 1, Times: 3, When: announced, As: unknown}}}))
	require.Equal(t, payment.StatusExpired, s.db.payments[0].Status)
	require.True(t, s.db.payments[1].Applied)
	require.Len(t, s.bank.sessions, 1)
}

func TestCheckout_TokenChargedAfterItsAttemptWasGivenUpIsNotLost(t *testing.T) {
	t.Parallel()
	// The worker hangs before it reaches the gateway; the run asks, hears of
	// nothing, and the buyer pays in another way. Then the worker goes on.
	s := play(t, card(schedule{Token: tokenApproves, Steps: []step{{At: 20 * time.Second, Do: try, N: 1}, {At: 30 * time.Second, Do: approve}}, Faults: []fault{
		{Call: "BeginPayment", Nth: 1, Times: 3, When: announced, As: outlived, For: time.Minute}}}))
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Equal(t, payment.StatusRefunded, s.db.payments[0].Status)
	require.Equal(t, payment.ReasonDuplicate, s.db.refunds[0].Reason)
}

func TestCheckout_LinkOfATryThatWasTakenForDeadDoesNotReplaceTheBuyers(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 30 * time.Second, Do: approve}}, Faults: []fault{{Call: "BeginPayment", Nth: 1, Times: 1, When: announced, As: outlived, For: 10 * time.Second}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Len(t, s.bank.sessions, 2)
	require.Equal(t, "transbank-1", s.db.payments[0].Reference)
}
