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
		"resolved as succeeded": {workflows.VerbResolve, "succeeded", "succeeded", payment.CodeBankTransfer},
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

// bought is an order that its buyer has paid by Stripe.
func bought(p schedule) schedule {
	p.Gateway = "stripe"
	p.Steps = append([]step{{At: 5 * time.Second, Do: approve}}, p.Steps...)
	return p
}

func asksFor(d time.Duration, kind int) step { return step{At: d, Do: giveBack, N: kind} }

// parts are those of the first request, by their end.
func parts(s *simulation) (out []string) {
	for _, r := range s.db.refunds {
		if r.RequestID == s.db.asked[0].id {
			out = append(out, r.Method+" "+r.Status)
		}
	}
	return out
}

func TestRefund_PartsGoBackBesideEachOther(t *testing.T) {
	t.Parallel()
	s := play(t, bought(schedule{Steps: []step{asksFor(time.Minute, askTwoParts)}}))
	require.Equal(t, []string{"original succeeded", "original succeeded"}, parts(s))
	require.Equal(t, total, s.bank.sessions[0].back())
	require.Equal(t, payment.StatusRefunded, s.db.payments[0].Status)
	require.Empty(t, s.parkedSteps())
}

func TestRefund_OfAPartWhoseAnswerIsLostIsGivenBackOnce(t *testing.T) {
	t.Parallel()
	for _, as := range []failure{unknownActed, unknown, timesOut} {
		s := play(t, bought(schedule{Steps: []step{asksFor(time.Minute, askTwoParts)}, Faults: []fault{{Call: "RefundPayment", Nth: 1, Times: 2, When: after, As: as}}}))
		require.Equal(t, []string{"original succeeded", "original succeeded"}, parts(s))
		require.Len(t, s.bank.sessions[0].refunds, 2)
		require.Equal(t, total, s.bank.sessions[0].back())
	}
}

func TestRefund_ABankTransferWaitsForAPersonFromTheStart(t *testing.T) {
	t.Parallel()
	s := play(t, bought(schedule{Steps: []step{asksFor(time.Minute, askPartByTransfer)}}))
	require.Equal(t, []string{"original succeeded", "bank_transfer succeeded"}, parts(s))
	require.Equal(t, total/2, s.bank.sessions[0].back(), "the provider gives back its own part alone")
	require.Len(t, s.parkedSteps(), 1)
	require.Contains(t, s.parkedSteps()[0], "bank_transfer_due")
	require.Equal(t, []string{workflows.VerbResolve, workflows.VerbCancel}, s.db.parkedEver[0].Verbs)
}

func TestRefund_OneRefusedPartDoesNotHoldUpTheOther(t *testing.T) {
	t.Parallel()
	s := play(t, bought(schedule{Steps: []step{asksFor(time.Minute, askTwoParts)}, Faults: []fault{{Call: "RefundPayment", Nth: 1, When: before, As: credentials}}}),
		at(10*time.Minute, func(s *simulation) {
			done := 0
			for _, r := range s.db.refunds {
				done += btoi(r.Status == "succeeded")
			}
			if done != 1 || len(s.db.parkedEver) != 1 {
				s.broken("%d parts are done, %v are parked", done, s.parkedSteps())
			}
		}))
	require.Contains(t, s.parkedSteps()[0], "refund_credentials")
}

func TestRefund_AnAuthorizationIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, as := range []failure{"", unknownActed, unknown, timesOut} {
		s := play(t, bought(schedule{Defers: true, Steps: []step{asksFor(time.Minute, askWhole)}, Faults: []fault{{Call: "VoidPayment", Nth: 1, When: after, As: as}}}))
		require.Equal(t, []string{"void succeeded"}, parts(s))
		require.Equal(t, payment.StatusCancelled, s.db.payments[0].Status)
		require.Empty(t, s.bank.sessions[0].refunds)
		require.Zero(t, s.calls["RefundPayment"])
	}
}

func TestRefund_WaitsForTheEndOfADisputeAndTellsAPerson(t *testing.T) {
	t.Parallel()
	plan := func(hours int) schedule {
		return bought(schedule{Steps: []step{asksFor(time.Minute, askWhole), {At: 61 * time.Second, Do: dispute, N: hours}}, Faults: []fault{{Call: "RefundPayment", Nth: 1, Times: 6, When: before, As: unavailable}}})
	}
	s := play(t, plan(4), at(90*time.Minute, func(s *simulation) {
		if len(s.db.parkedEver) != 1 || s.db.parkedEver[0].Reason != "payment_disputed" {
			s.broken("nobody was told: %v", s.parkedSteps())
		}
	}))
	require.Equal(t, []string{"original succeeded"}, parts(s), "it went on by itself, or a person decided")
	s = play(t, plan(1))
	require.Equal(t, []string{"original failed"}, parts(s))
	require.Empty(t, s.bank.sessions[0].refunds)
	require.Equal(t, "payment_charged_back", s.db.refunds[0].Code)
	require.Equal(t, payment.StatusChargedBack, s.db.payments[0].Status)
}

func TestRefund_MadeBeforeADisputeIsFoundInTheMiddleOfIt(t *testing.T) {
	t.Parallel()
	s := play(t, bought(schedule{RefundTakes: 2 * time.Minute, Steps: []step{asksFor(time.Minute, askWhole), {At: 61 * time.Second, Do: dispute, N: 1}}}))
	require.Equal(t, []string{"original succeeded"}, parts(s))
}

func TestRefund_ThatIsAcceptedIsWaitedForForDays(t *testing.T) {
	t.Parallel()
	s := play(t, bought(schedule{RefundTakes: 30 * time.Hour, Steps: []step{asksFor(time.Minute, askWhole)}}))
	require.Equal(t, []string{"original succeeded"}, parts(s))
	require.Empty(t, s.parkedSteps())
	require.Less(t, s.calls["RefundPayment"], 25, "it is asked less and less often")
}

func TestRefund_NewsMakesItAskNow(t *testing.T) {
	t.Parallel()
	told := time.Duration(0)
	s := play(t, bought(schedule{RefundTakes: 10 * time.Hour, Steps: []step{asksFor(time.Minute, askWhole), {At: 10*time.Hour + 2*time.Minute, Do: refundTold}}}),
		at(10*time.Hour+3*time.Minute, func(s *simulation) {
			if s.db.refunds[0].Status == "succeeded" {
				told = s.env.Now().Sub(dawn)
			}
		}))
	require.Equal(t, []string{"original succeeded"}, parts(s))
	require.NotZero(t, told)
}

func TestRefund_ThatFailsDaysLaterIsTriedOnceMoreAndThenWaitsForAPerson(t *testing.T) {
	t.Parallel()
	s := play(t, bought(schedule{Steps: []step{asksFor(time.Minute, askWhole), {At: 3 * time.Hour, Do: refundLost}, {At: 4*time.Hour + time.Minute, Do: refundLost}}}),
		at(4*time.Hour+10*time.Minute, func(s *simulation) {
			if n := s.calls["RefundPayment"]; n != 2 {
				s.broken("it was tried %d times before a person has decided", n)
			}
		}))
	require.Equal(t, []string{"original failed", "original failed"}, parts(s)[:2])
	require.Len(t, parts(s), 3)
	require.Contains(t, s.parkedSteps()[0], "refund_failed_again")
}

func TestRefund_OfAPaymentThatIsNotSettledWaitsForIt(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Faults: []fault{{Call: "CloseAttempt", Nth: 1, Times: 20, When: announced, As: unavailable}}, Steps: []step{
		{At: 20 * time.Second, Do: try, N: 1}, {At: 31 * time.Second, Do: process, On: 1, N: 8}, {At: 40 * time.Second, Do: approve, On: 2}, asksFor(50*time.Second, askUnsettled)}})
	require.Len(t, s.db.asked, 1)
	require.False(t, s.db.asked[0].waits)
	require.Equal(t, []string{"original failed"}, parts(s), "it pays no order: it goes back as a duplicate")
	require.Greater(t, s.calls["SettleRefund"], 1)
}

// lostTrace is a refund whose answer is lost at a provider that cannot be asked
// for it.
func lostTrace(as failure) (schedule, func(*simulation)) {
	p := schedule{Faults: []fault{{Call: "RefundPayment", Nth: 1, Times: 1, When: after, As: as}}}
	return strayMoney(p), func(s *simulation) { s.bank.untraced = true }
}

func TestRefund_ThatCannotBeTracedWaitsForAPersonWithinMinutes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lost                      failure
		verb, outcome, ends, code string
		back                      int64
	}{
		"found in the panel": {unknownActed, workflows.VerbResolve, "succeeded", "succeeded", payment.CodeFoundBySupport, total},
		"not in the panel":   {unknown, workflows.VerbCancel, "", "failed", payment.CodeGivenUp, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan, untraced := lostTrace(c.lost)
			s := play(t, plan, untraced,
				at(9*time.Minute, func(s *simulation) {
					if len(s.parkedSteps()) > 0 {
						s.broken("a person is asked before its notification had time to come")
					}
				}),
				at(13*time.Minute, func(s *simulation) {
					if parked := s.parkedSteps(); len(parked) != 1 || parked[0] != "refund refund_untraced" {
						s.broken("it waits for %v", parked)
					}
				}),
				refundVerb(14*time.Minute, c.verb, c.outcome))
			require.Equal(t, c.ends, s.db.refunds[0].Status)
			require.Equal(t, c.code, s.db.refunds[0].Code)
			require.NotEqual(t, payment.MethodBankTransfer, s.db.refunds[0].Method)
			require.Equal(t, c.back, s.bank.sessions[0].back())
		})
	}
}

func TestRefund_ThatCouldNotBeTracedGoesOnWithNewsOfItsName(t *testing.T) {
	t.Parallel()
	plan, untraced := lostTrace(unknownActed)
	s := play(t, plan, untraced, at(30*time.Minute, func(s *simulation) { s.bank.untraced = false }))
	require.Equal(t, []string{"refund refund_untraced"}, s.parkedSteps())
	require.Equal(t, "succeeded", s.db.refunds[0].Status)
	require.Equal(t, total, s.bank.sessions[0].back())
}

func TestRefund_ThatAPersonDidNotFindIsMadeAnewUnderAnotherID(t *testing.T) {
	t.Parallel()
	plan, untraced := lostTrace(unknown)
	s := play(t, plan, untraced, refundVerb(14*time.Minute, workflows.VerbResolve, workflows.OutcomeNotMade))
	require.Len(t, s.db.refunds, 2)
	lost, anew := s.db.refunds[0], s.db.refunds[1]
	require.Equal(t, "failed "+payment.CodeNotMade, lost.Status+" "+lost.Code)
	require.Equal(t, "succeeded", anew.Status)
	require.Equal(t, lost.ID, s.db.revives[anew.ID])
	require.Equal(t, []string{"refund refund_untraced"}, s.parkedSteps(), "a person is asked once")
	require.Len(t, s.bank.sessions[0].refunds, 1)
	require.Equal(t, total, s.bank.sessions[0].back())
}

func TestRefund_RetryOfOneThatCannotBeTracedSendsNothing(t *testing.T) {
	t.Parallel()
	plan, untraced := lostTrace(unknown)
	play(t, plan, untraced, refundVerb(14*time.Minute, workflows.VerbRetry, ""),
		at(40*time.Minute, func(s *simulation) {
			if s.bank.sessions[0].back() > 0 || s.parkedSteps()[len(s.parkedSteps())-1] != "refund refund_untraced" {
				s.broken("%d went back; parked %v", s.bank.sessions[0].back(), s.parkedSteps())
			}
		}))
}

func TestRefund_OfAPartThatAPersonDidNotFindIsMadeAnewByItsRequest(t *testing.T) {
	t.Parallel()
	plan := bought(schedule{Untraced: true, Faults: []fault{{Call: "RefundPayment", Nth: 1, Times: 1, When: after, As: unknown}}})
	plan.Steps = append(plan.Steps, asksFor(time.Minute, askTwoParts))
	s := play(t, plan, at(20*time.Minute, func(s *simulation) {
		request := s.db.asked[0].id
		part := s.db.refunds[0].ID
		s.update(workflows.ID(workflows.KindRefund, demo, request), workflows.UpdateSupport, nil, workflows.SupportRequest{ActionID: s.db.id("ACTION"), Step: "refund:" + part, Verb: workflows.VerbResolve, Outcome: workflows.OutcomeNotMade})
	}))
	require.Len(t, s.db.refunds, 3)
	require.Equal(t, payment.CodeNotMade, s.db.refunds[0].Code)
	require.Equal(t, []string{"original failed", "original succeeded", "original succeeded"}, parts(s))
	require.Len(t, s.bank.sessions[0].refunds, 2)
	require.Equal(t, total, s.bank.sessions[0].back())
}

// cameBack: a person gave our refund up because the panel had made one, which
// then fails.
func cameBack(then ...func(*simulation)) (schedule, []func(*simulation)) {
	p := strayMoney(schedule{RefundRefused: true})
	p.Steps = append(p.Steps, step{At: time.Minute, Do: panelRefund}, step{At: 20 * time.Minute, Do: panelLost})
	return p, append([]func(*simulation){refundVerb(10*time.Minute, workflows.VerbCancel, "")}, then...)
}

func TestRefund_InThePanelThatFailsOnMoneyThatMayNotBeKeptWaitsForAPerson(t *testing.T) {
	t.Parallel()
	plan, directions := cameBack(at(25*time.Minute, func(s *simulation) {
		s.plan.RefundRefused = false // now it takes them
		s.update(workflows.ID(workflows.KindLatePayment, demo, s.db.payments[0].ID), workflows.UpdateSupport, nil,
			workflows.SupportRequest{ActionID: s.db.id("ACTION"), Step: "came-back:" + s.db.payments[0].ID, Verb: workflows.VerbResolve, Outcome: "refund"})
	}))
	s := play(t, plan, directions...)
	require.Equal(t, []string{"refund refund_refused", "came-back:" + s.db.payments[0].ID + " refund_came_back"}, s.parkedSteps())
	require.Equal(t, payment.ReasonCameBack, s.db.refunds[len(s.db.refunds)-1].Reason)
	require.Equal(t, "succeeded", s.db.refunds[len(s.db.refunds)-1].Status)
	require.Equal(t, total, s.bank.sessions[0].byUs())
}

func TestRefund_OfMoneyThatCameBackIsNeverAccepted(t *testing.T) {
	t.Parallel()
	plan, directions := cameBack(at(25*time.Minute, func(s *simulation) {
		for _, outcome := range []string{"accept", "approved", "declined"} {
			s.update(workflows.ID(workflows.KindLatePayment, demo, s.db.payments[0].ID), workflows.UpdateSupport, nil,
				workflows.SupportRequest{ActionID: s.db.id("ACTION"), Step: "came-back:" + s.db.payments[0].ID, Verb: workflows.VerbResolve, Outcome: outcome})
		}
	}), at(26*time.Minute, func(s *simulation) {
		if p := s.db.payments[0]; p.Applied || p.NotAppliedReason != payment.ReasonCancelled {
			s.broken("payment %s: applied %t (%s)", p.ID, p.Applied, p.NotAppliedReason)
		}
		s.plan.RefundRefused = false
	}))
	require.Len(t, play(t, plan, directions...).bank.sessions, 1)
}
