package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/workflows"
)

// play runs a story to its end; every invariant of the simulation must hold.
func play(t *testing.T, plan schedule, directions ...func(*simulation)) *simulation {
	t.Helper()
	if plan.Units == 0 {
		plan.Units, plan.SCL = 1, max(plan.SCL, 1)
	}
	if plan.Hold == 0 {
		plan.Hold = 900
	}
	s := simulate(plan, directions...)
	require.Empty(t, s.failed, s.story())
	return s
}

// at is a stage direction: what is looked at, or done, at a time.
func at(d time.Duration, do func(s *simulation)) func(*simulation) {
	return func(s *simulation) { s.later(d, func() { do(s) }) }
}

// verb is what a person does with a parked step.
func verb(d time.Duration, workflowID, step, verb, outcome string) func(*simulation) {
	return at(d, func(s *simulation) {
		s.update(workflowID, workflows.UpdateSupport, nil, workflows.SupportRequest{ActionID: s.db.id("ACTION"), Step: step, Verb: verb, Outcome: outcome, Reference: "reference-1"})
	})
}

// answer is what an update was answered with.
func answer[T any](t *testing.T, s *simulation, what string, nth int) T {
	t.Helper()
	for _, a := range s.asked {
		if a.what != what {
			continue
		}
		if nth--; nth == 0 {
			require.NoError(t, a.err)
			out, ok := a.answer.(T)
			require.True(t, ok, "%T", a.answer)
			return out
		}
	}
	require.Failf(t, "no such update", "%s", what)
	panic("unreachable")
}

func (s *simulation) reserved() int {
	n := 0
	for _, l := range s.db.levels {
		n += l.reserved
	}
	return n
}

func (s *simulation) parkedSteps() (out []string) {
	for _, c := range s.db.parkedEver {
		out = append(out, c.Step+" "+c.Reason)
	}
	return out
}

func TestCheckout_PaidInTimeTakesSixSteps(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 30 * time.Second, Do: approve}}})
	require.Equal(t, map[string]int{"HoldStock": 1, "BeginPayment": 1, "ReadCheckout": 1, "SettleReturn": 1, "RecordAnswer": 1, "EndRun": 1}, s.calls)
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Equal(t, "confirmed", s.db.hold(s.db.checkout.HoldID).status)
	require.Equal(t, "awaiting_payment", answer[workflows.BeginAnswer](t, s, workflows.UpdateBegin, 1).Status)
	require.Equal(t, workflows.SettleAnswer{PaymentStatus: "captured", CheckoutStatus: "paid"}, answer[workflows.SettleAnswer](t, s, workflows.UpdateSettle, 1))
}

func TestCheckout_NotificationAloneIsEnough(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 5 * time.Second, Do: approve, N: 1}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Zero(t, s.calls["SettleReturn"])
}

func TestCheckout_PollFindsAPaymentOfWhichNobodyTells(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 5 * time.Second, Do: approve, N: 3}}},
		at(41*time.Second, func(s *simulation) {
			if s.db.checkout.Status != checkout.Paid {
				s.broken("the first poll did not find the payment")
			}
		}))
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
}

func TestCheckout_AutoTakesTheNextGatewayWhenOneIsAway(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "auto", Steps: []step{{At: 30 * time.Second, Do: approve}}, Outages: []outage{{What: "transbank", For: time.Hour}}})
	require.Len(t, s.db.payments, 2)
	require.Equal(t, payment.StatusCancelled, s.db.payments[0].Status)
	require.Equal(t, checkout.FailGatewayUnavailable, s.db.payments[0].Code)
	require.True(t, s.db.payments[1].Applied)
	require.Equal(t, payment.Stripe, s.db.payments[1].Gateway)
}

func TestCheckout_NamedGatewayAwayGivesUpAndHoldsNothing(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Outages: []outage{{What: "transbank", For: time.Hour}}})
	require.Equal(t, workflows.BeginAnswer{Status: "cancelled", FailureCode: checkout.FailGatewayUnavailable}, answer[workflows.BeginAnswer](t, s, workflows.UpdateBegin, 1))
	require.Zero(t, s.reserved())
}

func TestCheckout_AutoGivesUpWhenEveryGatewayIsAway(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "auto", Outages: []outage{{What: "transbank", For: time.Hour}, {What: "stripe", For: time.Hour}}})
	require.Equal(t, checkout.FailGatewayUnavailable, answer[workflows.BeginAnswer](t, s, workflows.UpdateBegin, 1).FailureCode)
	require.Zero(t, s.reserved())
}

func TestCheckout_AttemptThatBeganAndWhoseAnswerWasLostIsOffered(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "auto", Steps: []step{{At: 30 * time.Second, Do: approve}}, Faults: []fault{{Call: "BeginPayment", Nth: 1, Times: 3, When: after, As: timesOut}}})
	require.Equal(t, "awaiting_payment", answer[workflows.BeginAnswer](t, s, workflows.UpdateBegin, 1).Status)
	require.Len(t, s.db.payments, 1)
	require.True(t, s.db.payments[0].Applied)
}

func TestCheckout_TooLittleStockIsRefusedWithWhatThereIs(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Units: 3, SCL: 1, CCP: 1})
	a := answer[workflows.BeginAnswer](t, s, workflows.UpdateBegin, 1)
	require.Equal(t, checkout.FailInsufficientStock, a.FailureCode)
	require.Len(t, a.Shortages, 1)
	require.Equal(t, 2, a.Shortages[0].Available)
	require.Zero(t, s.calls["BeginPayment"])
}

func TestCheckout_UnitsOfTwoWarehousesAreHeldTogether(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Units: 3, SCL: 1, CCP: 2, Steps: []step{{At: 3 * time.Second, Do: approve}}})
	require.Len(t, s.db.hold(s.db.checkout.HoldID).lines, 2)
}

func TestCheckout_DeclinedBuyerPaysWithAnotherAttempt(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 10 * time.Second, Do: decline}, {At: 20 * time.Second, Do: try, N: 1}, {At: 30 * time.Second, Do: approve}}})
	require.Equal(t, payment.StatusDeclined, s.db.payments[0].Status)
	require.True(t, s.db.payments[1].Applied)
	require.Empty(t, answer[workflows.TryAnswer](t, s, workflows.UpdateTry, 1).Refused)
}

func TestCheckout_AnotherAttemptClosesTheFirst(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 20 * time.Second, Do: try, N: 0}, {At: 25 * time.Second, Do: tryAgain}, {At: 30 * time.Second, Do: approve, On: 1}, {At: 40 * time.Second, Do: approve, On: 2}}})
	require.Len(t, s.db.payments, 2, "a repetition finds the attempt")
	require.Equal(t, payment.StatusCancelled, s.db.payments[0].Status)
	require.True(t, s.db.payments[1].Applied)
	require.Empty(t, s.db.refunds)
}

func TestCheckout_DeclinedAndExpiredIsPaymentFailed(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 10 * time.Second, Do: decline}}})
	require.Equal(t, checkout.PaymentFailed, s.db.checkout.Status)
	require.Zero(t, s.reserved())
}

func TestCheckout_HoldEndsInTimeAndStockIsFree(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", SCL: 2, Units: 2},
		at(899*time.Second, func(s *simulation) {
			if s.reserved() != 2 {
				s.broken("the hold ended early")
			}
		}),
		at(902*time.Second, func(s *simulation) {
			if s.reserved() != 0 {
				s.broken("the hold outlived its time")
			}
		}))
	require.Equal(t, checkout.Expired, s.db.checkout.Status)
	require.Equal(t, payment.StatusExpired, s.db.payments[0].Status)
}

func TestCheckout_GatewayThatIsAwayAtTheEndKeepsTheStockForTheGrace(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Outages: []outage{{What: "stripe", At: 880 * time.Second, For: 140 * time.Second}}},
		at(1000*time.Second, func(s *simulation) {
			if s.reserved() != 1 {
				s.broken("stock was freed while nobody knew of the payment")
			}
		}))
	require.Equal(t, checkout.Expired, s.db.checkout.Status)
	require.Positive(t, s.calls["Grace"])
}

func TestCheckout_GraceIsNotForEver(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Outages: []outage{{What: "stripe", At: 880 * time.Second, For: time.Hour}}},
		at(1230*time.Second, func(s *simulation) {
			if s.reserved() != 0 {
				s.broken("stock is held beyond the tenant's grace")
			}
		}))
	require.Equal(t, checkout.Expired, s.db.checkout.Status)
	require.True(t, s.db.payments[0].Closed, "it is closed when the gateway is back")
}

func TestCheckout_ApprovalInTheExpiryStepIsPaid(t *testing.T) {
	t.Parallel()
	for _, when := range []phase{before, announced} {
		s := play(t, schedule{Gateway: "stripe", Steps: []step{{In: "CloseAttempt", Nth: 1, When: when, Do: approve}}})
		require.Equal(t, checkout.Paid, s.db.checkout.Status)
		require.Empty(t, s.db.refunds)
	}
}

// lateApproval is a buyer who pays after the stock was freed, because the
// gateway was away and could not be told that the time was over.
func lateApproval(soldOut bool) schedule {
	p := schedule{Gateway: "stripe", Outages: []outage{{What: "stripe", At: 880 * time.Second, For: 900 * time.Second}}, Steps: []step{{At: 1250 * time.Second, Do: approve}}}
	if soldOut {
		p.Steps = append(p.Steps, step{At: 1245 * time.Second, Do: othersBuy})
	}
	return p
}

func TestCheckout_LateApprovalHoldsAgain(t *testing.T) {
	t.Parallel()
	s := play(t, lateApproval(false))
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Len(t, s.db.holds, 2)
}

func TestCheckout_LateApprovalWithoutStockIsRefunded(t *testing.T) {
	t.Parallel()
	s := play(t, lateApproval(true))
	require.Equal(t, checkout.Expired, s.db.checkout.Status)
	require.Len(t, s.db.refunds, 1)
	require.Equal(t, payment.ReasonLate, s.db.refunds[0].Reason)
	require.Equal(t, payment.StatusRefunded, s.db.payments[0].Status)
}

// lateReturn is a buyer who filled in Webpay's form in time and comes back
// after the end.
func lateReturn(soldOut bool) schedule {
	p := schedule{Gateway: "transbank", Hold: 300, Steps: []step{{At: 290 * time.Second, Do: approve, N: 1}, {At: 320 * time.Second, Do: returnAgain}}}
	if soldOut {
		p.Steps = append(p.Steps, step{At: 310 * time.Second, Do: othersBuy})
	}
	return p
}

func TestCheckout_LateWebpayReturnHoldsAgainAndThenCommits(t *testing.T) {
	t.Parallel()
	s := play(t, lateReturn(false))
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Equal(t, 1, s.calls["HoldAgain"])
}

func TestCheckout_LateWebpayReturnWithoutStockIsNotCommitted(t *testing.T) {
	t.Parallel()
	s := play(t, lateReturn(true))
	require.Equal(t, checkout.Expired, s.db.checkout.Status)
	require.Equal(t, filled, s.bank.sessions[0].state, "nothing was charged")
	require.Equal(t, payment.StatusExpired, s.db.payments[0].Status)
	require.Empty(t, s.db.refunds)
	require.Equal(t, 1, s.calls["NotCommitted"])
}

func TestCheckout_ReturnAfterTheRunHasEndedHasARunOfItsOwn(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Hold: 900, Steps: []step{{At: 595 * time.Second, Do: approve, N: 1}, {At: 620 * time.Second, Do: cancel}, {At: 630 * time.Second, Do: returnAgain}}})
	require.Equal(t, checkout.Cancelled, s.db.checkout.Status)
	require.Contains(t, s.running, workflows.ID(workflows.KindLatePayment, demo, s.db.payments[0].ID))
	require.Equal(t, filled, s.bank.sessions[0].state, "a cancelled checkout is not charged")
}

func TestCheckout_SecondApprovalOfOneOrderIsRefunded(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 20 * time.Second, Do: try, N: 1}, {At: 40 * time.Second, Do: approve, On: 1}, {At: 40 * time.Second, Do: approve, On: 2}},
		Faults: []fault{{Call: "CloseAttempt", Nth: 1, Times: 3, When: announced, As: unavailable}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Len(t, s.db.refunds, 1)
	require.Equal(t, payment.ReasonDuplicate, s.db.refunds[0].Reason)
	require.Equal(t, "succeeded", s.db.refunds[0].Status)
}

func TestCheckout_CancelWithNothingInDoubtFreesTheStockAtOnce(t *testing.T) {
	t.Parallel()
	for _, gateway := range []string{"transbank", "stripe"} {
		s := play(t, schedule{Gateway: gateway, Steps: []step{{At: 20 * time.Second, Do: cancel}, {At: 20 * time.Second, Do: cancel}}},
			at(21*time.Second, func(s *simulation) {
				if s.reserved() != 0 {
					s.broken("stock is still held")
				}
			}))
		require.Equal(t, "cancelled", answer[workflows.CancelAnswer](t, s, workflows.UpdateCancel, 1).Status)
		require.Equal(t, "cancelled", answer[workflows.CancelAnswer](t, s, workflows.UpdateCancel, 2).Status)
		require.Equal(t, payment.StatusCancelled, s.db.payments[0].Status)
	}
}

func TestCheckout_CancelDuringAnUnknownCommitWaitsAndTellsThatItIsPaid(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 10 * time.Second, Do: approve}, {At: 11 * time.Second, Do: cancel}},
		Faults: []fault{{Call: "SettleReturn", Nth: 1, Times: 2, When: after, As: unknownActed}}},
		at(11*time.Second+500*time.Millisecond, func(s *simulation) {
			if s.db.checkout.Status != checkout.AwaitingPayment {
				s.broken("decided while nobody knew: %s", s.db.checkout.Status)
			}
		}))
	require.Equal(t, "paid", answer[workflows.CancelAnswer](t, s, workflows.UpdateCancel, 1).Status)
	require.Empty(t, s.db.refunds)
}

func TestCheckout_CancelDuringAnUnknownCommitThatDidNothingCancels(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 10 * time.Second, Do: decline}, {At: 11 * time.Second, Do: cancel}},
		Faults: []fault{{Call: "SettleReturn", Nth: 1, Times: 2, When: after, As: unknown}}})
	require.Equal(t, "cancelled", answer[workflows.CancelAnswer](t, s, workflows.UpdateCancel, 1).Status)
}

func TestCheckout_AnotherTryWhileACommitIsUnknownIsRefused(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 10 * time.Second, Do: approve}, {At: 11 * time.Second, Do: try, N: 1}},
		Faults: []fault{{Call: "SettleReturn", Nth: 1, Times: 2, When: after, As: unknownActed}}})
	require.Equal(t, "payment_in_progress", answer[workflows.TryAnswer](t, s, workflows.UpdateTry, 1).Refused)
	require.Len(t, s.db.payments, 1)
}

func TestCheckout_LostAnswerOfACommitIsAskedForAndNotCommittedTwice(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 10 * time.Second, Do: approve}}, Faults: []fault{{Call: "SettleReturn", Nth: 1, Times: 1, When: after, As: timesOut}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Empty(t, s.parkedSteps())
}

func TestCheckout_DoubtOfTenMinutesWaitsForAPerson(t *testing.T) {
	t.Parallel()
	for outcome, c := range map[string]struct {
		paid bool
		ends checkout.Status
	}{"approved": {true, checkout.Paid}, "declined": {false, checkout.Expired}} {
		does := decline
		as := unknown
		if c.paid {
			does, as = approve, unknownActed
		}
		var inDoubt string
		s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 10 * time.Second, Do: does}}, Faults: []fault{{Call: "SettleReturn", Nth: 1, Times: 1000, When: after, As: as}, {Call: "AskGateway", Nth: 1, Times: 1000, When: after, As: unknown}}},
			at(700*time.Second, func(s *simulation) {
				inDoubt = "doubt:" + s.db.payments[0].ID
				s.update(theCheckout, workflows.UpdateSupport, nil, workflows.SupportRequest{ActionID: "A", Step: inDoubt, Verb: workflows.VerbResolve, Outcome: outcome, Reference: "panel"})
			}))
		require.Contains(t, s.parkedSteps(), inDoubt+" payment_unknown")
		require.Equal(t, "resolve of "+inDoubt+" done", answer[workflows.SupportAnswer](t, s, workflows.UpdateSupport, 1).Result)
		require.Equal(t, c.ends == checkout.Paid, s.db.checkout.Status == checkout.Paid)
	}
}

func TestCheckout_WrongAmountPaysNothingAndWaitsForARuling(t *testing.T) {
	t.Parallel()
	for outcome, c := range map[string]struct {
		verb    string
		applied bool
		refunds int
	}{
		"accept": {workflows.VerbResolve, true, 0},
		"refund": {workflows.VerbResolve, false, 1},
		"":       {workflows.VerbSkip, false, 0},
	} {
		s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 10 * time.Second, Do: approveWrong}}},
			at(60*time.Second, func(s *simulation) {
				if s.db.checkout.Status != checkout.AwaitingPayment {
					s.broken("paid by another amount")
				}
			}),
			at(90*time.Second, func(s *simulation) {
				s.update(theCheckout, workflows.UpdateSupport, nil, workflows.SupportRequest{ActionID: "A", Step: "mismatch:" + s.db.payments[0].ID, Verb: c.verb, Outcome: outcome})
			}))
		require.Equal(t, []string{"mismatch:" + s.db.payments[0].ID + " payment_mismatch"}, s.parkedSteps())
		require.Equal(t, c.applied, s.db.payments[0].Applied, outcome)
		require.Len(t, s.db.refunds, c.refunds, outcome)
	}
}

func TestCheckout_ResolveWithoutAnOutcomeDoesNothing(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 10 * time.Second, Do: approveWrong}}},
		verb(60*time.Second, theCheckout, "", workflows.VerbResolve, ""), verb(90*time.Second, theCheckout, "", workflows.VerbResolve, "accept"))
	require.Contains(t, answer[workflows.SupportAnswer](t, s, workflows.UpdateSupport, 1).Result, "nothing done")
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
}

func TestCheckout_VerbThatDoesNotApplyIsRejected(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 10 * time.Second, Do: approveWrong}}},
		verb(5*time.Second, theCheckout, "", workflows.VerbRetry, ""), verb(60*time.Second, theCheckout, "", workflows.VerbCancel, ""), verb(61*time.Second, theCheckout, "doubt:other", workflows.VerbResolve, "approved"),
		verb(90*time.Second, theCheckout, "", workflows.VerbResolve, "accept"))
	var refusals []string
	for _, a := range s.asked {
		if a.what == workflows.UpdateSupport && a.err != nil {
			require.False(t, a.accepted)
			refusals = append(refusals, a.err.Error())
		}
	}
	require.Len(t, refusals, 3)
	require.Contains(t, refusals[0], "does not apply")
	require.Contains(t, refusals[1], "resolve, skip")
}

func TestCheckout_BugParksTheStepAndRetryGoesOn(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 10 * time.Second, Do: approve}}, Faults: []fault{{Call: "RecordAnswer", Nth: 1, Times: 1, When: before, As: bug}}},
		verb(60*time.Second, theCheckout, "record", workflows.VerbRetry, ""))
	require.Equal(t, []string{"record step_failed"}, s.parkedSteps())
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
}

func TestCheckout_WrongCredentialsParkTheAttempt(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Faults: []fault{{Call: "AskGateway", Nth: 1, Times: 1, When: announced, As: credentials}}})
	require.Equal(t, []string{"gateway:" + s.db.payments[0].ID + " gateway_credentials"}, s.parkedSteps())
	require.Equal(t, checkout.Expired, s.db.checkout.Status, "it goes on asking, and the case ends with the answer")
}

func TestCheckout_DatabaseThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 10 * time.Second, Do: approve}}, Outages: []outage{{What: "database", At: 10 * time.Second, For: 80 * time.Second}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Empty(t, s.parkedSteps())
}

func TestCheckout_OperatorsCancelCancelsByTheSameRules(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 10 * time.Second, Do: operator}}})
	require.Equal(t, checkout.Cancelled, s.db.checkout.Status)
	require.Zero(t, s.reserved())

	s = play(t, schedule{Gateway: "stripe", Steps: []step{{At: 10 * time.Second, Do: operator}, {In: "CloseAttempt", Nth: 1, When: before, Do: approve}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
}

func TestCheckout_LostRunGoesOnFromItsRows(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Lossy: true, Steps: []step{{At: 100 * time.Second, Do: operator}, {At: 400 * time.Second, Do: approve}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Equal(t, 2, s.calls["HoldStock"])
	require.Len(t, s.db.holds, 1)
	require.Len(t, s.db.payments, 1)
}

func TestCheckout_LostRunTellsOfMoneyThatDidNotFit(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Lossy: true, Steps: []step{{At: 10 * time.Second, Do: approveWrong}, {In: "RecordAnswer", Nth: 1, When: after, Do: operator}}})
	require.True(t, s.db.decided["mismatch:"+s.db.payments[0].ID])
}

func TestCheckout_ReturnOpenedByHandIsNoDoubt(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "transbank", Steps: []step{{At: 10 * time.Second, Do: returnAgain}, {At: 800 * time.Second, Do: cancel}}})
	require.Empty(t, s.parkedSteps())
	require.Equal(t, "cancelled", answer[workflows.CancelAnswer](t, s, workflows.UpdateCancel, 1).Status)
	require.Less(t, s.calls["SettleReturn"], 15)
}

func TestCheckout_CountThatTakesUnitsIsCuredFromAnotherShelf(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Units: 1, SCL: 1, CCP: 1, Steps: []step{{At: 10 * time.Second, Do: count}, {At: 60 * time.Second, Do: approve}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Equal(t, "confirmed", s.db.hold(s.db.checkout.HoldID).status)
}

func TestCheckout_CountThatTakesTheLastUnitsCancelsTheUnpaid(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 10 * time.Second, Do: count}}})
	require.Equal(t, checkout.Cancelled, s.db.checkout.Status)
	require.Equal(t, checkout.FailInsufficientStock, s.db.checkout.FailureCode)
}

func TestCheckout_ReplacedOneClosesItsAttempt(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Steps: []step{{At: 10 * time.Second, Do: replace}}})
	require.Equal(t, checkout.Cancelled, s.db.checkout.Status)
	require.Equal(t, expired, s.bank.sessions[0].state)
}

func TestCheckout_LinkThatNobodyCanCloseIsWatchedToItsEnd(t *testing.T) {
	t.Parallel()
	// Cancelled at once, and the link is asked about once more when it is dead.
	s := play(t, schedule{Gateway: "flow", Steps: []step{{At: 20 * time.Second, Do: cancel}}},
		at(21*time.Second, func(s *simulation) {
			if s.reserved() != 0 {
				s.broken("stock is still held")
			}
		}))
	require.Equal(t, "cancelled", answer[workflows.CancelAnswer](t, s, workflows.UpdateCancel, 1).Status)
	require.Equal(t, checkout.Cancelled, s.db.checkout.Status)
	require.Equal(t, payment.StatusCancelled, s.db.payments[0].Status)
	require.True(t, s.db.payments[0].Closed, "by its time")
	require.Equal(t, 2, s.calls["CloseAttempt"], "no circle")

	// Paid all the same: the money goes back.
	s = play(t, schedule{Gateway: "flow", Steps: []step{{At: 20 * time.Second, Do: cancel}, {At: 60 * time.Second, Do: approve}}})
	require.Equal(t, checkout.Cancelled, s.db.checkout.Status)
	require.Len(t, s.db.refunds, 1)
	require.Equal(t, payment.ReasonCancelled, s.db.refunds[0].Reason)

	// Another attempt is paid while the first link lives, and nobody pays that.
	s = play(t, schedule{Gateway: "flow", Steps: []step{{At: 20 * time.Second, Do: try, N: 1}, {At: 40 * time.Second, Do: approve, On: 2}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Empty(t, s.db.refunds)
	require.True(t, s.db.payments[0].Closed)
	require.LessOrEqual(t, s.calls["CloseAttempt"], 3)

	// Both are paid: one of them goes back.
	s = play(t, schedule{Gateway: "flow", Steps: []step{{At: 20 * time.Second, Do: try, N: 1}, {At: 40 * time.Second, Do: approve, On: 2}, {At: 50 * time.Second, Do: approve, On: 1}}})
	require.Equal(t, checkout.Paid, s.db.checkout.Status)
	require.Len(t, s.db.refunds, 1)
	require.Equal(t, payment.ReasonDuplicate, s.db.refunds[0].Reason)

	// Nobody pays anything.
	s = play(t, schedule{Gateway: "flow"})
	require.Equal(t, checkout.Expired, s.db.checkout.Status)
	require.Equal(t, payment.StatusExpired, s.db.payments[0].Status)
	require.True(t, s.db.payments[0].Closed)
	require.LessOrEqual(t, s.calls["CloseAttempt"], 2)
}
