package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/payment"
	"justlogistics/workflows"
)

// strayMoney is a payment that may not be kept: the checkout was replaced by
// another in the moment in which its buyer paid.
func strayMoney(p schedule) schedule {
	p.Gateway = "stripe"
	p.Steps = append(p.Steps, step{At: 10 * time.Second, Do: replace}, step{In: "CloseAttempt", Nth: 1, When: before, Do: approve, N: 3})
	return p
}

func theRefund(s *simulation) string {
	return workflows.ID(workflows.KindRefund, demo, s.db.refunds[0].ID)
}

// refundVerb is a person's verb on the parked refund.
func refundVerb(d time.Duration, verb, outcome string) func(*simulation) {
	return at(d, func(s *simulation) {
		s.update(theRefund(s), workflows.UpdateSupport, nil, workflows.SupportRequest{ActionID: s.db.id("ACTION"), Step: "refund", Verb: verb, Outcome: outcome, Reference: "transfer"})
	})
}

func TestRefund_GivesTheMoneyBack(t *testing.T) {
	t.Parallel()
	s := play(t, strayMoney(schedule{}))
	require.Equal(t, "succeeded", s.db.refunds[0].Status)
	require.Equal(t, payment.ReasonCancelled, s.db.refunds[0].Reason)
	require.Equal(t, total, s.bank.sessions[0].back())
	require.Equal(t, 1, s.calls["RefundPayment"])
}

func TestRefund_UnknownIsAskedForAndNotSentTwice(t *testing.T) {
	t.Parallel()
	for _, as := range []failure{unknownActed, unknown, timesOut} {
		s := play(t, strayMoney(schedule{Faults: []fault{{Call: "RefundPayment", Nth: 1, Times: 2, When: after, As: as}}}))
		require.Equal(t, "succeeded", s.db.refunds[0].Status)
		require.Len(t, s.bank.sessions[0].refunds, 1)
		require.Equal(t, total, s.bank.sessions[0].back())
	}
}

func TestRefund_PendingIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := play(t, strayMoney(schedule{RefundTakes: 40 * time.Minute}),
		at(20*time.Minute, func(s *simulation) {
			if s.db.refunds[0].Status != "pending" {
				s.broken("the refund is %s", s.db.refunds[0].Status)
			}
		}))
	require.Equal(t, "succeeded", s.db.refunds[0].Status)
	require.Empty(t, s.parkedSteps())
}

func TestRefund_RefusedWaitsForAPerson(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ verb, outcome, ends, code string }{
		"resolved as succeeded": {workflows.VerbResolve, "succeeded", "succeeded", "resolved_by_support"},
		"resolved as failed":    {workflows.VerbResolve, "failed", "failed", "given_up_by_support"},
		"cancelled":             {workflows.VerbCancel, "", "failed", "given_up_by_support"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := play(t, strayMoney(schedule{RefundRefused: true}), refundVerb(5*time.Minute, c.verb, c.outcome))
			require.Equal(t, []string{"refund refund_refused"}, s.parkedSteps())
			require.Equal(t, c.ends, s.db.refunds[0].Status)
			require.Equal(t, c.code, s.db.refunds[0].Code)
		})
	}
}

func TestRefund_RetryTriesAgain(t *testing.T) {
	t.Parallel()
	s := play(t, strayMoney(schedule{RefundRefused: true}),
		at(4*time.Minute, func(s *simulation) { s.plan.RefundRefused = false }), refundVerb(5*time.Minute, workflows.VerbRetry, ""))
	require.Equal(t, "succeeded", s.db.refunds[0].Status)
	require.Equal(t, total, s.bank.sessions[0].back())
}

func TestRefund_TwoVerbsAtOnceAreBothAnswered(t *testing.T) {
	t.Parallel()
	s := play(t, strayMoney(schedule{RefundRefused: true}),
		refundVerb(5*time.Minute, workflows.VerbResolve, "succeeded"), refundVerb(5*time.Minute, workflows.VerbCancel, ""))
	require.Equal(t, "succeeded", s.db.refunds[0].Status)
	for _, a := range s.asked {
		require.True(t, a.done || a.lost, a.what)
	}
}

func TestRefund_GatewayThatIsAwayForHoursWaitsForAPersonAndGoesOn(t *testing.T) {
	t.Parallel()
	s := play(t, strayMoney(schedule{Faults: []fault{{Call: "RefundPayment", Nth: 1, Times: 250, When: announced, As: unavailable}}}))
	require.Contains(t, s.parkedSteps(), "refund refund_unanswered")
	require.Len(t, s.db.refunds, 1)
}
