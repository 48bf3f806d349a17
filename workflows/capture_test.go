package workflows_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/workflows"
)

// till is one authorized payment, and the gateway that has it.
type till struct {
	mu     sync.Mutex
	view   activities.CaptureView
	says   []payment.Answer // of the gateway, one a call; the last one stays
	fails  []error          // of the calls, before they say anything; nil is none
	calls  []string
	told   []payment.Outcome // what was recorded
	parked []activities.ParkedCase
	ruling checkout.Ruling
	runs   []string // other workflows that were started
}

func (c *till) play(t *testing.T, during func(env *testsuite.TestWorkflowEnvironment)) error {
	t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(dawn)
	env.RegisterWorkflowWithOptions(workflows.Capture, workflow.RegisterOptions{Name: workflows.CaptureName})
	env.RegisterWorkflowWithOptions(func(workflow.Context, workflows.RefundInput) error { return nil }, workflow.RegisterOptions{Name: workflows.RefundName})
	env.RegisterWorkflowWithOptions(func(workflow.Context, workflows.CheckoutInput) error { return nil }, workflow.RegisterOptions{Name: workflows.LatePaymentName})
	note := func(call string) { c.calls = append(c.calls, call) }
	act := func(name string) func(context.Context, activities.CaptureRef) (activities.Asked, error) {
		return func(context.Context, activities.CaptureRef) (activities.Asked, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			note(name)
			if len(c.fails) > 0 {
				err := c.fails[0]
				if c.fails = c.fails[1:]; err != nil {
					return activities.Asked{}, err
				}
			}
			a := c.says[0]
			if len(c.says) > 1 {
				c.says = c.says[1:]
			}
			return activities.Asked{Answer: a}, nil
		}
	}
	view := func(change func()) func(context.Context, activities.CaptureRef) (activities.CaptureView, error) {
		return func(context.Context, activities.CaptureRef) (activities.CaptureView, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			change()
			return c.view, nil
		}
	}
	for name, fn := range map[string]any{
		"LoadCapture":       view(func() {}),
		"WithdrawCapture":   view(func() { note("WithdrawCapture"); c.view.Capture, c.view.Void = 0, false }),
		"CapturePayment":    act("CapturePayment"),
		"VoidAuthorization": act("VoidAuthorization"),
		"PutCaptureOff":     func(context.Context, activities.CaptureRef, int) error { return nil },
		"RecordAnswer": func(_ context.Context, _ activities.CheckoutRef, n checkout.News) (checkout.Ruling, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.told = append(c.told, n.Answer.Outcome)
			c.view.Status = payment.After(c.view.Status, n.Answer, n.Lapse)
			r := c.ruling
			r.View.Attempts = []checkout.AttemptView{{PaymentID: n.PaymentID, Status: c.view.Status}}
			return r, nil
		},
		"ParkStep":   func(_ context.Context, p activities.ParkedCase) error { c.parked = append(c.parked, p); return nil },
		"UnparkStep": func(context.Context, activities.ParkedCase, string) error { return nil },
	} {
		env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	env.SetOnChildWorkflowStartedListener(func(info *workflow.Info, _ workflow.Context, _ converter.EncodedValues) {
		c.runs = append(c.runs, info.WorkflowExecution.ID)
	})
	if during != nil {
		during(env)
	}
	env.ExecuteWorkflow(workflows.CaptureName, workflows.CaptureInput{Tenant: demo, PaymentID: "PAY1"})
	require.True(t, env.IsWorkflowCompleted())
	return env.GetWorkflowError()
}

var (
	taken   = payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Amount: total}
	nothing = payment.Answer{Outcome: payment.OutcomeUnknown}
	given   = payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: payment.CodeClosed}
	refuses = payment.Answer{Outcome: payment.OutcomeDeclined, Code: "not_capturable"}
)

func toCapture(says ...payment.Answer) *till {
	return &till{says: says, view: activities.CaptureView{CheckoutID: checkoutID, Gateway: payment.Stripe, Status: payment.StatusAuthorized, Authorized: total, Currency: "CLP", Capture: total}}
}

func toVoid(says ...payment.Answer) *till {
	c := toCapture(says...)
	c.view.Capture, c.view.Void = 0, true
	return c
}

// captureVerb is what a person does with the parked step.
func captureVerb(d time.Duration, verb string) func(env *testsuite.TestWorkflowEnvironment) {
	return func(env *testsuite.TestWorkflowEnvironment) {
		env.RegisterDelayedCallback(func() {
			env.UpdateWorkflow(workflows.UpdateSupport, "", &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: func(error) {}, OnComplete: func(any, error) {}},
				workflows.SupportRequest{ActionID: "A", Step: "capture", Verb: verb})
		}, d)
	}
}

func TestCapture_TakesTheMoneyAndTellsItsCaller(t *testing.T) {
	t.Parallel()
	c := toCapture(taken)
	var told workflows.CaptureAnswer
	require.NoError(t, c.play(t, func(env *testsuite.TestWorkflowEnvironment) {
		env.RegisterDelayedCallback(func() {
			env.UpdateWorkflow(workflows.UpdateBegin, "", &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: func(error) {}, OnComplete: func(a any, err error) {
				require.NoError(t, err)
				told = a.(workflows.CaptureAnswer)
			}})
		}, 0)
	}))
	require.Equal(t, []string{"CapturePayment"}, c.calls)
	require.Equal(t, workflows.CaptureAnswer{Status: "captured"}, told)
	require.Empty(t, c.parked)
}

func TestCapture_GivesAnAuthorizationBack(t *testing.T) {
	t.Parallel()
	c := toVoid(given)
	require.NoError(t, c.play(t, nil))
	require.Equal(t, []string{"VoidAuthorization"}, c.calls)
	require.Equal(t, payment.StatusCancelled, c.view.Status)
}

func TestCapture_AsksAgainWhileNobodyKnows(t *testing.T) {
	t.Parallel()
	away := temporal.NewNonRetryableApplicationError("away", activities.TypeUnavailable, nil)
	c := toCapture(nothing, nothing, taken)
	c.fails = []error{away, away}
	require.NoError(t, c.play(t, nil))
	require.Len(t, c.calls, 5)
	require.Equal(t, payment.StatusCaptured, c.view.Status)
	require.Empty(t, c.parked)
}

func TestCapture_UnansweredForHoursWaitsForAPerson(t *testing.T) {
	t.Parallel()
	c := toCapture(nothing)
	require.NoError(t, c.play(t, captureVerb(5*time.Hour, workflows.VerbCancel)))
	require.Equal(t, "capture_unanswered", c.parked[0].Reason)
	require.Contains(t, c.calls, "WithdrawCapture")
}

func TestCapture_RefusedWaitsForAPersonWhoTriesAgainOrGivesUp(t *testing.T) {
	t.Parallel()
	c := toCapture(refuses, taken)
	require.NoError(t, c.play(t, captureVerb(time.Minute, workflows.VerbRetry)))
	require.Equal(t, "capture_refused", c.parked[0].Reason)
	require.Equal(t, checkoutID, c.parked[0].Subject)
	require.Equal(t, payment.StatusCaptured, c.view.Status)

	c = toCapture(refuses)
	require.NoError(t, c.play(t, captureVerb(time.Minute, workflows.VerbCancel)))
	require.Equal(t, []string{"CapturePayment", "WithdrawCapture"}, c.calls)
	require.Equal(t, payment.StatusAuthorized, c.view.Status)

	invalid := temporal.NewNonRetryableApplicationError("captured: refund it instead", activities.TypeInvalid, nil)
	c = toVoid(given)
	c.fails = []error{invalid}
	require.NoError(t, c.play(t, captureVerb(time.Minute, workflows.VerbRetry)))
	require.Equal(t, "capture_invalid", c.parked[0].Reason)
	require.Equal(t, payment.StatusCancelled, c.view.Status)
}

func TestCapture_OfWhatNobodyWantsEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, change := range []func(c *till){func(c *till) { c.view.Capture = 0 }, func(c *till) { c.view.Status = payment.StatusCaptured }} {
		c := toCapture(taken)
		change(c)
		require.NoError(t, c.play(t, nil))
		require.Empty(t, c.calls)
	}
}

func TestCapture_WhatNobodyKnowsIsNotRecorded(t *testing.T) {
	t.Parallel()
	c := toCapture(nothing, taken)
	require.NoError(t, c.play(t, nil))
	require.Equal(t, []payment.Outcome{payment.OutcomeApproved}, c.told, "the payment may have ended meanwhile")
}

func TestCapture_OnceGivenUpIsAskedForWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	c := toCapture(refuses)
	require.NoError(t, c.play(t, captureVerb(time.Minute, workflows.VerbCancel)))
	require.Equal(t, []string{"late-payment:demo:PAY1"}, c.runs)
}

func TestCapture_OfAnotherSumThanAskedForIsAskedAbout(t *testing.T) {
	t.Parallel()
	c := toVoid(payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Amount: total / 2})
	c.ruling = checkout.Ruling{Mismatch: "mismatch_amount"}
	require.NoError(t, c.play(t, nil))
	require.Equal(t, []string{"late-payment:demo:PAY1"}, c.runs)
}

func TestCapture_StartsWhatItsRulingHasBooked(t *testing.T) {
	t.Parallel()
	c := toCapture(taken) // captured while it was to be given back
	c.ruling = checkout.Ruling{RefundID: "REFUND1", RefundIDs: []string{"REFUND2"}}
	require.NoError(t, c.play(t, nil))
	require.Equal(t, []string{"refund:demo:REFUND1", "refund:demo:REFUND2"}, c.runs)
}

// captureGivenUp is a capture whose answer was lost and that a person gave up after
// hours; then nobody knows what has become of it for a while.
func captureGivenUp(unknowns int) (schedule, func(*simulation)) {
	p := authorizedAndThen(step{At: time.Minute, Do: captureIt})
	p.Faults = []fault{{Call: "CapturePayment", Nth: 1, Times: 1, When: after, As: unknownActed}, {Call: "CapturePayment", Nth: 2, Times: 300, When: after, As: unknown}}
	return p, at(150*time.Minute, func(s *simulation) {
		s.plan.Faults = append(s.plan.Faults, fault{Call: "AskGateway", Nth: s.calls["AskGateway"] + 1, Times: unknowns, When: after, As: unknown})
		s.update(captureRun(s.db.payments[0]), workflows.UpdateSupport, nil, workflows.SupportRequest{ActionID: s.db.id("ACTION"), Step: "capture", Verb: workflows.VerbCancel})
	})
}

func TestCapture_GivenUpIsAskedForUntilTheGatewayTells(t *testing.T) {
	t.Parallel()
	plan, cancels := captureGivenUp(4)
	s := play(t, plan, cancels, at(153*time.Minute, func(s *simulation) {
		if p := s.db.payments[0]; p.Status != payment.StatusCaptured {
			s.broken("payment %s is %s", p.ID, p.Status)
		}
	}))
	require.Equal(t, []string{"capture capture_unanswered"}, s.parkedSteps())
}

func TestCapture_GivenUpAndNeverToldWaitsForAPersonAndIsAskedForAllTheSame(t *testing.T) {
	t.Parallel()
	plan, cancels := captureGivenUp(20)
	s := play(t, plan, cancels, at(165*time.Minute, func(s *simulation) {
		if parked := s.parkedSteps(); parked[len(parked)-1] != "doubt:"+s.db.payments[0].ID+" payment_unknown" {
			s.broken("it waits for %v", parked)
		}
	}))
	require.Equal(t, payment.StatusCaptured, s.db.payments[0].Status)
}
