package workflows_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/shipping"
	"justlogistics/workflows"
)

const theShipment = "01JCQZ5Y3N8W2K4T6V7X9ABCDF"

// box is the world of a shipment's run: how it stands, and what the run did.
type box struct {
	env *testsuite.TestWorkflowEnvironment

	mu     sync.Mutex
	row    activities.Standing
	read   []time.Duration
	did    []string // the steps, with their time
	on     map[string]func() error
	parked map[string]activities.ParkedCase
	asked  []string
	ends   []string
	answer []string
	took   []activities.FulfillmentDecision
}

func newBox(t *testing.T, row activities.Standing) *box {
	t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	b := &box{env: suite.NewTestWorkflowEnvironment(), row: row, on: map[string]func() error{}, parked: map[string]activities.ParkedCase{}}
	b.row.OrderID = lorryID
	b.env.SetStartTime(dawn)
	b.env.SetTestTimeout(20 * time.Second)
	b.env.RegisterWorkflowWithOptions(workflows.Fulfillment, workflow.RegisterOptions{Name: workflows.FulfillmentName})
	b.env.SetStartWorkflowOptions(workflows.StartOptions(workflows.KindFulfillment, demo, theShipment))
	step := func(name string) func(context.Context, activities.FulfillmentRef) error {
		return func(context.Context, activities.FulfillmentRef) error { return b.does(name) }
	}
	for name, fn := range map[string]any{
		"StandShipment": b.stand, "DecideShipment": b.decide, "ParkStep": b.park, "UnparkStep": b.unpark,
		"ChooseCarrier": func(context.Context, activities.FulfillmentRef) (activities.ChosenCarrier, error) {
			return activities.ChosenCarrier{Compare: true}, b.does("choose")
		},
		"CompareCarriers": step("compare"), "BookParcel": step("book"), "VoidLabel": step("void"), "FinishLabels": step("finish"), "WithdrawShipment": step("withdraw"), "TellDelayed": step("tell"),
	} {
		b.env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	return b
}

func (b *box) since() time.Duration { return b.env.Now().Sub(dawn).Round(time.Second) }

func (b *box) stand(context.Context, activities.FulfillmentRef) (activities.Standing, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = append(b.read, b.since())
	return b.row, nil
}

// does notes a step, and what comes of it.
func (b *box) does(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.did = append(b.did, name+" "+b.since().String())
	if on := b.on[name]; on != nil {
		return on()
	}
	return nil
}

func (b *box) decide(_ context.Context, in activities.FulfillmentDecision) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.took = append(b.took, in)
	if on := b.on["decide"]; on != nil {
		return "done", on()
	}
	return "done", nil
}

func (b *box) park(_ context.Context, c activities.ParkedCase) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parked[c.Step] = c
	b.asked = append(b.asked, c.Reason+": "+c.Message)
	return nil
}

func (b *box) unpark(_ context.Context, c activities.ParkedCase, _ string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.parked, c.Step)
	b.ends = append(b.ends, c.Step)
	return nil
}

// at changes the row, and tells the run unless silent.
func (b *box) at(after time.Duration, tell bool, do func()) {
	b.env.RegisterDelayedCallback(func() {
		b.mu.Lock()
		do()
		b.mu.Unlock()
		if tell {
			b.env.SignalWorkflow(workflows.SignalChanged, nil)
		}
	}, after)
}

func (b *box) verb(after time.Duration, step, verb, outcome string) {
	b.env.RegisterDelayedCallback(func() {
		b.env.UpdateWorkflow(workflows.UpdateSupport, step+verb+after.String(), &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: func(err error) { b.answer = append(b.answer, err.Error()) }, OnComplete: func(out any, err error) {
			if answer, ok := out.(workflows.SupportAnswer); ok && err == nil {
				b.answer = append(b.answer, answer.Result)
			}
		}}, workflows.SupportRequest{ActionID: "ACTION", Step: step, Verb: verb, Outcome: outcome})
	}, after)
}

func (b *box) arrives() { b.row = activities.Standing{Status: shipping.Arrived, Over: true} }

func (b *box) run(t *testing.T, told ...workflows.ToldCase) {
	t.Helper()
	b.env.ExecuteWorkflow(workflows.FulfillmentName, workflows.FulfillmentInput{Tenant: demo, ShipmentID: theShipment, Told: told})
	require.True(t, b.env.IsWorkflowCompleted())
	require.NoError(t, b.env.GetWorkflowError())
	require.Empty(t, b.parked)
}

// overdue is a shipment that is late since a while ago.
func overdue(message string) shipping.Trouble {
	return shipping.Trouble{Step: shipping.StepLate, Reason: "delivery_late", Message: message, Tried: "waited", Verbs: []string{"retry", "resolve"}}
}

func TestFulfillment_IsOverAtOnceWhenItIs(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Arrived, Over: true})
	b.run(t)
	require.Len(t, b.read, 1)
	require.Empty(t, b.did)
	require.Empty(t, b.asked)
}

func TestFulfillment_BuysALabelStepByStepAndRests(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Pending})
	b.at(time.Hour, true, func() { b.row.Status, b.row.Next = shipping.Packed, shipping.NextChoose })
	b.on["compare"] = func() error { b.row.Next, b.row.Carrier = shipping.NextBook, shipping.Correos; return nil }
	b.on["book"] = func() error { b.row.Next = shipping.NextFinish; return nil }
	b.on["finish"] = func() error { b.row.Status, b.row.Next = shipping.Labelled, ""; return nil }
	b.at(30*time.Hour, true, b.arrives)
	b.run(t)
	require.Equal(t, []string{"choose 1h0m0s", "compare 1h0m0s", "book 1h0m0s", "finish 1h0m0s"}, b.did)
	require.Equal(t, 30*time.Hour, b.read[len(b.read)-1])
	require.LessOrEqual(t, len(b.read), 8, "it rests")
}

func TestFulfillment_WhatNeedsOnlyTheDatabaseComesWithTheReading(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Packed, Next: shipping.NextCompare})
	b.on["compare"] = func() error { b.row.Next, b.row.Carrier = shipping.NextBook, shipping.Correos; return nil }
	b.on["book"] = func() error { b.row.Status, b.row.Next = shipping.Labelled, ""; return nil }
	b.at(time.Hour, true, b.arrives)
	b.run(t)
	require.Equal(t, []string{"compare 0s", "book 0s"}, b.did)
	require.Len(t, b.read, 4, "before each, after the last, and at the end")
}

func TestFulfillment_WaitsUntilTheNextStepIsDue(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Packed, Next: shipping.NextBook, NextAt: dawn.Add(10 * time.Minute), Carrier: shipping.Chilexpress})
	b.at(10*time.Minute-time.Second, false, func() { b.row.NextAt = time.Time{} })
	b.on["book"] = func() error { b.row.Next = ""; return nil }
	b.at(time.Hour, true, b.arrives)
	b.run(t)
	require.Equal(t, []string{"book 10m0s"}, b.did)
	require.Equal(t, []time.Duration{0, 10 * time.Minute, 10 * time.Minute, time.Hour}, b.read)
}

func TestFulfillment_WhatIsDueByTemporalsClockAloneIsNotTriedOverAndOver(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Packed, Next: shipping.NextBook, NextAt: dawn.Add(10 * time.Minute), Carrier: shipping.Chilexpress})
	// The database is ten seconds behind.
	b.at(10*time.Minute+10*time.Second, false, func() { b.row.NextAt = time.Time{} })
	b.on["book"] = func() error { b.row.Next = ""; return nil }
	b.at(time.Hour, true, b.arrives)
	b.run(t)
	require.Len(t, b.did, 1)
	require.Less(t, len(b.read), 16)
}

func TestFulfillment_LateIsToldAndCuredByNews(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.OnTheWay, DueAt: dawn.Add(2 * time.Hour)})
	b.at(2*time.Hour-time.Second, false, func() { b.row.Troubles = []shipping.Trouble{overdue("three days late")} })
	b.at(3*time.Hour, false, func() {
		require.Equal(t, []string{"retry", "resolve"}, b.parked[shipping.StepLate].Verbs)
		require.Equal(t, lorryID, b.parked[shipping.StepLate].Subject)
	})
	b.at(4*time.Hour, true, func() { b.row.Troubles = []shipping.Trouble{overdue("nobody at home, and late")} })
	b.at(5*time.Hour, true, func() { b.row.Troubles, b.row.DueAt = nil, dawn.Add(50*time.Hour) })
	b.at(6*time.Hour, true, b.arrives)
	b.run(t)
	require.Equal(t, []string{"delivery_late: three days late", "delivery_late: nobody at home, and late"}, b.asked)
	require.Equal(t, []string{shipping.StepLate}, b.ends)
	require.Equal(t, 2*time.Hour, b.read[1])
}

func TestFulfillment_AClockThatIsBehindOursMakesNothingLateByADay(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.OnTheWay, DueAt: dawn.Add(2 * time.Hour)})
	// By the database's clock it is late some seconds after it is by Temporal's.
	b.at(2*time.Hour+3*time.Second, false, func() { b.row.Troubles = []shipping.Trouble{overdue("late")} })
	b.at(3*time.Hour, false, func() { require.Len(t, b.parked, 1) })
	b.at(4*time.Hour, true, b.arrives)
	b.run(t)
	require.Less(t, len(b.read), 20)
}

// promiseAt asks about a promise to the buyer.
func promiseAt(reason string) shipping.Trouble {
	return shipping.Trouble{Step: shipping.StepPromise, Reason: reason, Message: reason, Tried: "waited", Verbs: []string{"resolve", "skip"}}
}

func TestFulfillment_APromiseHasOneTimerAPersonIsAskedAndTheBuyerIsTold(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Pending, DueAt: dawn.Add(90 * time.Hour), WakeAt: dawn.Add(20 * time.Hour)})
	b.at(20*time.Hour-time.Second, false, func() {
		b.row.WakeAt, b.row.Troubles = dawn.Add(23*time.Hour), []shipping.Trouble{promiseAt("promise_at_risk")}
	})
	b.at(21*time.Hour, false, func() { require.Equal(t, []string{"resolve", "skip"}, b.parked[shipping.StepPromise].Verbs) })
	b.at(23*time.Hour-time.Second, false, func() {
		b.row.WakeAt, b.row.Next, b.row.Troubles = time.Time{}, shipping.NextTell, []shipping.Trouble{promiseAt("promise_broken")}
	})
	b.on["tell"] = func() error { b.row.Next = ""; return nil }
	b.at(40*time.Hour, true, b.arrives)
	b.run(t)
	require.Equal(t, []time.Duration{0, 20 * time.Hour, 23 * time.Hour, 23 * time.Hour, 40 * time.Hour}, b.read, "nothing is polled")
	require.Equal(t, []string{"tell 23h0m0s"}, b.did)
	require.Equal(t, []string{"promise_at_risk: promise_at_risk", "promise_broken: promise_broken"}, b.asked)
	require.Equal(t, []string{shipping.StepPromise}, b.ends)
}

func TestFulfillment_APromiseByAClockThatIsBehindOursIsLookedAtSoon(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.OnTheWay, DueAt: dawn.Add(90 * time.Hour), WakeAt: dawn.Add(2 * time.Hour)})
	b.at(2*time.Hour+12*time.Second, false, func() { b.row.WakeAt, b.row.Next = time.Time{}, shipping.NextTell })
	b.on["tell"] = func() error { b.row.Next = ""; return nil }
	b.at(4*time.Hour, true, b.arrives)
	b.run(t)
	require.Equal(t, []string{"tell 2h0m15s"}, b.did)
	require.Less(t, len(b.read), 9)
}

func TestFulfillment_APromiseThatIsKnownOrKeptLeavesTheList(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Pending, Troubles: []shipping.Trouble{promiseAt("promise_at_risk")}})
	b.on["decide"] = func() error { b.row.Troubles = nil; return nil }
	b.verb(time.Hour, shipping.StepPromise, "retry", "")
	b.verb(2*time.Hour, "", "skip", "")
	b.at(3*time.Hour, true, func() { b.row.Troubles = []shipping.Trouble{promiseAt("promise_broken")} })
	b.at(4*time.Hour, true, func() { b.row.Troubles, b.row.Status = nil, shipping.OnTheWay })
	b.at(5*time.Hour, true, b.arrives)
	b.run(t)
	require.Len(t, b.took, 1)
	require.Equal(t, shipping.StepPromise, b.took[0].Step)
	require.Contains(t, b.answer[0], "does not apply here")
	require.Equal(t, []string{shipping.StepPromise, shipping.StepPromise}, b.ends)
}

func TestFulfillment_ADecisionInTheMiddleOfARestIsCarriedOut(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Missing, Troubles: []shipping.Trouble{{Step: shipping.StepParcel, Reason: "parcel_lost", Message: "lost", Verbs: []string{"resolve", "retry"}}}})
	b.on["decide"] = func() error {
		if len(b.took) == 2 {
			b.row = activities.Standing{Status: shipping.Missing, Over: true}
		}
		return nil
	}
	b.verb(time.Hour, shipping.StepLate, "retry", "")
	b.verb(2*time.Hour, "", "retry", "")
	b.verb(3*time.Hour, shipping.StepParcel, "resolve", "refund")
	b.run(t)
	require.Len(t, b.took, 2)
	require.Equal(t, activities.FulfillmentDecision{FulfillmentRef: activities.FulfillmentRef{Tenant: demo, ShipmentID: theShipment}, ActionID: "ACTION", Step: shipping.StepParcel, Verb: "resolve", Outcome: "refund"}, b.took[1])
	require.Equal(t, shipping.StepParcel, b.took[0].Step)
	require.Contains(t, b.answer[0], "does not apply here")
	require.Equal(t, []string{"done", "done"}, b.answer[1:])
	require.Equal(t, []string{"parcel_lost: lost"}, b.asked, "told once")
}

func TestFulfillment_TwoDecisionsAtOnceOnOneCaseTheSecondIsTold(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Missing, Troubles: []shipping.Trouble{{Step: shipping.StepParcel, Reason: "parcel_lost", Message: "lost", Verbs: []string{"resolve", "retry"}}}})
	b.on["decide"] = func() error { b.row = activities.Standing{Status: shipping.Missing, Over: true}; return nil }
	b.verb(time.Hour, "", "resolve", "refund")
	b.verb(time.Hour, shipping.StepParcel, "resolve", "closed")
	b.run(t)
	require.Len(t, b.took, 1)
	require.ElementsMatch(t, []string{"done", "nothing done: parcel was decided already"}, b.answer)
}

func TestFulfillment_AStepThatFailsByABugWaitsForAPerson(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Packed, Next: shipping.NextBook, Carrier: shipping.Correos})
	fails := 1
	b.on["book"] = func() error {
		if fails--; fails >= 0 {
			return refusal(activities.TypeBug)
		}
		b.row.Next = ""
		return nil
	}
	b.at(30*time.Minute, true, func() { require.Equal(t, "step_failed", b.parked["carrier_call"].Reason) })
	b.verb(time.Hour, "", "retry", "")
	b.at(2*time.Hour, true, b.arrives)
	b.run(t)
	require.Equal(t, []string{"book 0s", "book 1h0m0s"}, b.did)
	require.Len(t, b.asked, 1)
	require.Equal(t, []string{"retry of carrier_call is under way"}, b.answer)
}

func TestFulfillment_ADatabaseThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Packed, Next: shipping.NextVoid, Carrier: shipping.Correos})
	fails := 4
	b.on["void"] = func() error {
		if fails--; fails >= 0 {
			return errors.New("connection refused")
		}
		b.row.Next = ""
		return nil
	}
	b.at(2*time.Hour, true, b.arrives)
	b.run(t)
	require.Len(t, b.did, 5)
	require.Empty(t, b.asked)
}

func TestFulfillment_WithdrawsWhatIsCancelledAndEnds(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.Pending})
	b.at(time.Hour, true, func() { b.row.Next = shipping.NextWithdraw })
	b.on["withdraw"] = func() error { b.row = activities.Standing{Status: shipping.Cancelled, Over: true}; return nil }
	b.run(t)
	require.Equal(t, []string{"withdraw 1h0m0s"}, b.did)
}

func TestFulfillment_ALaterPartOfTheRunTellsNobodyAgain(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.OnTheWay, Troubles: []shipping.Trouble{overdue("late")}})
	b.parked[shipping.StepLate] = activities.ParkedCase{}
	b.parked[shipping.StepVoid] = activities.ParkedCase{}
	b.at(time.Hour, false, func() {
		require.Empty(t, b.asked)
		require.Equal(t, []string{shipping.StepVoid}, b.ends, "what is over meanwhile leaves the list")
	})
	b.at(2*time.Hour, true, func() { b.row.Troubles = []shipping.Trouble{overdue("later")} })
	b.verb(3*time.Hour, "", "retry", "")
	b.at(4*time.Hour, true, b.arrives)
	b.run(t, workflows.ToldCase{Step: shipping.StepLate, Reason: "delivery_late", Message: "late"}, workflows.ToldCase{Step: shipping.StepVoid, Reason: "label_not_voided", Message: "?"})
	require.Equal(t, []string{"delivery_late: later"}, b.asked)
	require.Len(t, b.took, 1)
	require.Equal(t, []string{shipping.StepVoid, shipping.StepLate}, b.ends)
}

func TestFulfillment_ALongHistoryGoesOnInANewOneWithItsCases(t *testing.T) {
	t.Parallel()
	b := newBox(t, activities.Standing{Status: shipping.OnTheWay, Troubles: []shipping.Trouble{overdue("late")}})
	b.env.SetContinueAsNewSuggested(true)
	b.at(time.Hour, true, func() {})
	b.env.ExecuteWorkflow(workflows.FulfillmentName, workflows.FulfillmentInput{Tenant: demo, ShipmentID: theShipment})
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, b.env.GetWorkflowError(), &next)
	var in workflows.FulfillmentInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
	require.Equal(t, workflows.FulfillmentInput{Tenant: demo, ShipmentID: theShipment, Told: []workflows.ToldCase{{Step: shipping.StepLate, Reason: "delivery_late", Message: "late"}}}, in)
	require.Len(t, b.parked, 1, "the case stays on the list")
	require.Empty(t, b.ends)
}
