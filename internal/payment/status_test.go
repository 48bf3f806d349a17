package payment_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/lifecycle"
	"justlogistics/internal/payment"
)

var statuses = []payment.Status{payment.StatusPending, payment.StatusProcessing, payment.StatusAuthorized, payment.StatusCaptured, payment.StatusDeclined, payment.StatusCancelled, payment.StatusExpired,
	payment.StatusUnknown, payment.StatusPartiallyRefunded, payment.StatusRefunded, payment.StatusDisputed, payment.StatusChargedBack}

// answers are all that a gateway can say, as far as it matters for the status.
func answers() (all []payment.Answer) {
	for _, outcome := range []payment.Outcome{payment.OutcomePending, payment.OutcomeApproved, payment.OutcomeDeclined, payment.OutcomeUnknown} {
		for _, code := range []string{"", "-1", payment.CodeAborted, payment.CodeFormTimeout, payment.CodeExpired, payment.CodeClosed, payment.CodeNoSuchAttempt} {
			for _, captured := range []bool{false, true} {
				for _, processing := range []bool{false, true} {
					for _, closed := range []bool{false, true} {
						all = append(all, payment.Answer{Outcome: outcome, Code: code, Captured: captured, Processing: processing, Closed: closed})
					}
				}
			}
		}
	}
	return all
}

func each(t *testing.T, check func(t *testing.T, from payment.Status, a payment.Answer, lapse, to payment.Status)) {
	t.Helper()
	for _, from := range statuses {
		for _, a := range answers() {
			for _, lapse := range []payment.Status{payment.StatusExpired, payment.StatusCancelled} {
				check(t, from, a, lapse, payment.After(from, a, lapse))
			}
		}
	}
}

func TestAfter_NeverLeavesTheTableOfMoves(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, from payment.Status, a payment.Answer, lapse, to payment.Status) {
		require.True(t, lifecycle.Allowed(lifecycle.Payment, string(from), string(to)), "%s -> %s by %+v", from, to, a)
	})
}

func TestAfter_AnApprovalIsForwardFromEveryUnpaidStatus(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, from payment.Status, a payment.Answer, lapse, to payment.Status) {
		if from.Approved() || a.Outcome != payment.OutcomeApproved {
			return
		}
		want := payment.StatusAuthorized
		if a.Captured {
			want = payment.StatusCaptured
		}
		require.Equal(t, want, to, "from %s", from)
	})
}

func TestAfter_NothingTakesAnApprovalBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, from payment.Status, a payment.Answer, lapse, to payment.Status) {
		if !from.Approved() {
			return
		}
		if from == payment.StatusAuthorized && a.Outcome == payment.OutcomeApproved && a.Captured {
			require.Equal(t, payment.StatusCaptured, to)
			return
		}
		if from == payment.StatusAuthorized && a.Outcome == payment.OutcomeDeclined && a.Closed && a.Code != payment.CodeAborted && a.Code != payment.CodeFormTimeout && a.Code != payment.CodeNoSuchAttempt {
			require.Equal(t, lapse, to, "an authorization can be voided, or lapse: %+v", a)
			return
		}
		require.Equal(t, from, to, "by %+v", a)
	})
}

func TestAfter_SaysTheSameToTheSameNews(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, from payment.Status, a payment.Answer, lapse, to payment.Status) {
		require.Equal(t, to, payment.After(to, a, lapse), "from %s by %+v", from, a)
	})
}

func TestAfter_AnEndedAttemptOpensAgainOnlyForMoney(t *testing.T) {
	t.Parallel()
	ended := map[payment.Status]bool{payment.StatusDeclined: true, payment.StatusCancelled: true, payment.StatusExpired: true}
	each(t, func(t *testing.T, from payment.Status, a payment.Answer, lapse, to payment.Status) {
		if !ended[from] || to == from {
			return
		}
		require.True(t, to.Approved() || to.InDoubt(), "%s -> %s by %+v", from, to, a)
	})
}

func TestAfter_TellsHowAnAttemptEnded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code  string
		lapse payment.Status
		want  payment.Status
	}{
		{"-1", payment.StatusExpired, payment.StatusDeclined},
		{"", payment.StatusExpired, payment.StatusDeclined},
		{payment.CodeAborted, payment.StatusExpired, payment.StatusCancelled},
		{payment.CodeFormTimeout, payment.StatusCancelled, payment.StatusExpired},
		{payment.CodeExpired, payment.StatusCancelled, payment.StatusExpired},
		{payment.CodeClosed, payment.StatusCancelled, payment.StatusCancelled},
		{payment.CodeClosed, payment.StatusExpired, payment.StatusExpired},
		{payment.CodeNoSuchAttempt, payment.StatusExpired, payment.StatusExpired},
	} {
		for _, from := range []payment.Status{payment.StatusPending, payment.StatusProcessing, payment.StatusUnknown} {
			require.Equal(t, c.want, payment.After(from, payment.Answer{Outcome: payment.OutcomeDeclined, Code: c.code}, c.lapse), "%s from %s", c.code, from)
		}
	}
	require.Equal(t, payment.StatusUnknown, payment.After(payment.StatusPending, payment.Answer{Outcome: payment.OutcomeUnknown}, payment.StatusExpired), "no answer is not a refusal")
	require.Equal(t, payment.StatusProcessing, payment.After(payment.StatusPending, payment.Answer{Outcome: payment.OutcomePending, Processing: true}, payment.StatusExpired))
	require.Equal(t, payment.StatusPending, payment.After(payment.StatusUnknown, payment.Answer{Outcome: payment.OutcomePending}, payment.StatusExpired))
}

func TestMismatch_NamesWhatDiffersFromTheIntent(t *testing.T) {
	t.Parallel()
	p := payment.Payment{ID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Amount: 29970, Currency: "CLP", Account: "597055555532"}
	good := payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, PaymentID: p.ID, Amount: 29970, Currency: "CLP", Account: "597055555532"}
	require.Empty(t, payment.Mismatch(p, good))
	silent := good
	silent.PaymentID, silent.Account = "", ""
	require.Empty(t, payment.Mismatch(p, silent), "a provider that does not say")
	for want, change := range map[string]func(*payment.Answer){
		"reference": func(a *payment.Answer) { a.PaymentID = "01ARZ3NDEKTSV4RRFFQ69G5FAW" },
		"amount":    func(a *payment.Answer) { a.Amount-- },
		"currency":  func(a *payment.Answer) { a.Currency = "USD" },
		"account":   func(a *payment.Answer) { a.Account = "597055555533" },
		"live_mode": func(a *payment.Answer) { a.LiveMode = true },
		"refunded":  func(a *payment.Answer) { a.Refunded = 1 },
	} {
		a := good
		change(&a)
		require.Equal(t, want, payment.Mismatch(p, a))
	}
	a := good
	a.Amount = 0
	require.Equal(t, "amount", payment.Mismatch(p, a), "an amount that is not told is not the right one")
}

func TestLooked_IsProofOnlyWhenSomebodyAsked(t *testing.T) {
	t.Parallel()
	_, asked := payment.Untried.Answer()
	require.False(t, asked)
	a, asked := payment.Asked(payment.Answer{Outcome: payment.OutcomeApproved}).Answer()
	require.True(t, asked)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	_, asked = payment.UntriedRefund.Answer()
	require.False(t, asked)
	r, asked := payment.AskedRefund(payment.RefundAnswer{Code: payment.CodeNoSuchRefund}).Answer()
	require.True(t, asked)
	require.Equal(t, payment.CodeNoSuchRefund, r.Code)
}

func TestFailure_SaysWhoWhatAndWhy(t *testing.T) {
	t.Parallel()
	cause := fmt.Errorf("connection refused")
	f := &payment.Failure{Gateway: payment.Stripe, Class: payment.ClassUnavailable, Code: "api_error", Message: "try later", Err: cause}
	require.EqualError(t, f, "stripe: unavailable (api_error): try later: connection refused")
	require.ErrorIs(t, f, cause)
}

func TestAfter_ACardDeclinedOnAClosedPageMayStillBePaid(t *testing.T) {
	t.Parallel()
	refused := payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: "insufficient_funds"}
	for _, from := range []payment.Status{payment.StatusPending, payment.StatusProcessing, payment.StatusUnknown, payment.StatusDeclined} {
		declined := payment.After(from, refused, payment.StatusExpired)
		require.Equal(t, payment.StatusDeclined, declined, "from %s", from)
		require.Equal(t, payment.StatusCaptured, payment.After(declined, payment.Answer{Outcome: payment.OutcomeApproved, Captured: true}, payment.StatusExpired))
	}
}
