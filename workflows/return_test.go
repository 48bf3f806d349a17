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
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
	"justlogistics/workflows"
)

// parcelBack is a return's run in virtual time, with a row that the test changes.
type parcelBack struct {
	mu     sync.Mutex
	env    *testsuite.TestWorkflowEnvironment
	row    activities.ReturnStanding
	reads  int
	did    []string // the steps, with their time
	on     map[string]func() error
	parked map[string]activities.ParkedCase
	asked  []string
	answer []string
	took   []activities.ReturnDecision
}

func newParcelBack(t *testing.T, row activities.ReturnStanding) *parcelBack {
	t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	b := &parcelBack{env: suite.NewTestWorkflowEnvironment(), row: row, on: map[string]func() error{}, parked: map[string]activities.ParkedCase{}}
	b.env.SetStartTime(dawn)
	b.env.SetTestTimeout(20 * time.Second)
	b.env.RegisterWorkflowWithOptions(workflows.Return, workflow.RegisterOptions{Name: workflows.ReturnName})
	b.env.SetStartWorkflowOptions(workflows.StartOptions(workflows.KindReturn, demo, theShipment))
	step := func(name string) func(context.Context, activities.ReturnRef) error {
		return func(context.Context, activities.ReturnRef) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.did = append(b.did, name+" "+b.env.Now().Sub(dawn).Round(time.Second).String())
			if on := b.on[name]; on != nil {
				return on()
			}
			return nil
		}
	}
	for name, fn := range map[string]any{
		"StandReturn": func(context.Context, activities.ReturnRef) (activities.ReturnStanding, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.reads++
			return b.row, nil
		},
		"DecideReturn": func(_ context.Context, in activities.ReturnDecision) (string, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.took = append(b.took, in)
			return "done", b.on["decide"]()
		},
		"ParkStep": func(_ context.Context, c activities.ParkedCase) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.parked[c.Step] = c
			b.asked = append(b.asked, c.Reason)
			return nil
		},
		"UnparkStep": func(_ context.Context, c activities.ParkedCase, _ string) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			delete(b.parked, c.Step)
			return nil
		},
		"RemindReturn": step("remind"), "ExpireReturn": step("expire"), "PayReturn": step("pay"), "CloseReturn": step("settle"),
		"CompareReturnCarriers": step("compare"), "BookReturnParcel": step("book"), "FinishReturnLabel": step("finish"), "VoidReturnLabel": step("void"), "ScanReturnLabel": step("scan"),
		"ChooseReturnCarrier": func(ctx context.Context, ref activities.ReturnRef) (activities.ChosenCarrier, error) {
			return activities.ChosenCarrier{Compare: true}, step("choose")(ctx, ref)
		},
	} {
		b.env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	return b
}

func (b *parcelBack) becomes(row activities.ReturnStanding) func() error {
	return func() error { b.row = row; return nil }
}

func (b *parcelBack) at(after time.Duration, row activities.ReturnStanding) {
	b.env.RegisterDelayedCallback(func() {
		b.mu.Lock()
		b.row = row
		b.mu.Unlock()
		b.env.SignalWorkflow(workflows.SignalChanged, nil)
	}, after)
}

func (b *parcelBack) run(t *testing.T) {
	t.Helper()
	b.env.ExecuteWorkflow(workflows.ReturnName, workflows.ReturnInput{Tenant: demo, ReturnID: theShipment})
	require.True(t, b.env.IsWorkflowCompleted())
	require.NoError(t, b.env.GetWorkflowError())
	require.Empty(t, b.parked)
}

var overWith = activities.ReturnStanding{Status: returns.Closed, Over: true}

func TestReturn_FromTheRequestToTheMoney(t *testing.T) {
	t.Parallel()
	b := newParcelBack(t, activities.ReturnStanding{Status: returns.Approved, Next: returns.NextExpire, NextAt: dawn.Add(14 * 24 * time.Hour), DueAt: dawn.Add(14*24*time.Hour + time.Hour)})
	b.at(24*time.Hour, activities.ReturnStanding{Status: returns.Received, DueAt: dawn.Add(96 * time.Hour)})
	b.at(30*time.Hour, activities.ReturnStanding{Status: returns.Inspected, Next: returns.NextPay, DueAt: dawn.Add(54 * time.Hour)})
	b.on["pay"] = b.becomes(activities.ReturnStanding{Status: returns.Inspected, DueAt: dawn.Add(400 * time.Hour)})
	b.at(31*time.Hour, activities.ReturnStanding{Status: returns.Inspected, Next: returns.NextSettle})
	b.on["settle"] = b.becomes(overWith)
	b.run(t)
	require.Equal(t, []string{"pay 30h0m0s", "settle 31h0m0s"}, b.did)
	require.Less(t, b.reads, 10, "it rests between")
	require.Empty(t, b.asked)
}

func TestReturn_RemindsAndExpiresInItsTime(t *testing.T) {
	t.Parallel()
	end := dawn.Add(14 * 24 * time.Hour)
	approved := func(next string, at time.Time) activities.ReturnStanding {
		return activities.ReturnStanding{Status: returns.Approved, Next: next, NextAt: at, DueAt: end.Add(time.Hour)}
	}
	b := newParcelBack(t, approved(returns.NextRemind, dawn.Add(7*24*time.Hour)))
	b.on["remind"] = b.becomes(approved(returns.NextExpire, end))
	b.on["expire"] = b.becomes(overWith)
	// What is due is so by the database's clock: the row then says now.
	b.env.RegisterDelayedCallback(func() { b.row.NextAt = time.Time{} }, 7*24*time.Hour-time.Second)
	b.env.RegisterDelayedCallback(func() { b.row.NextAt = time.Time{} }, 14*24*time.Hour-time.Second)
	b.run(t)
	require.Equal(t, []string{"remind 168h0m0s", "expire 336h0m0s"}, b.did)
}

func TestReturn_AsksAPersonAndTakesTheirWord(t *testing.T) {
	t.Parallel()
	lost := activities.ReturnStanding{Status: returns.InTransit, DueAt: dawn.Add(-time.Hour), Troubles: []returns.Trouble{{Step: returns.StepGoods, Reason: "return_late", Message: "It is late.", Verbs: []string{"retry", "resolve"}}}}
	b := newParcelBack(t, lost)
	b.on["decide"] = b.becomes(overWith)
	verb := func(after time.Duration, verb string) {
		b.env.RegisterDelayedCallback(func() {
			b.env.UpdateWorkflow(workflows.UpdateSupport, verb, &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: func(err error) { b.answer = append(b.answer, "no") }, OnComplete: func(out any, err error) {
				if answer, ok := out.(workflows.SupportAnswer); ok && err == nil {
					b.answer = append(b.answer, answer.Result)
				}
			}}, workflows.SupportRequest{ActionID: "ACTION", Step: returns.StepGoods, Verb: verb, Outcome: "closed", Reference: "written off"})
		}, after)
	}
	verb(time.Minute, "skip")
	verb(2*time.Minute, "resolve")
	b.run(t)
	require.Equal(t, []string{"return_late"}, b.asked, "once")
	require.Equal(t, []string{"no", "done"}, b.answer)
	require.Equal(t, []activities.ReturnDecision{{ReturnRef: activities.ReturnRef{Tenant: demo, ReturnID: theShipment}, ActionID: "ACTION", Step: returns.StepGoods, Verb: "resolve", Outcome: "closed", Reference: "written off"}}, b.took)
	require.Equal(t, 3, b.reads, "late and told, it rests")
}

func TestReturn_AStepThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newParcelBack(t, activities.ReturnStanding{Status: returns.Inspected, Next: returns.NextPay})
	failures := 3
	b.on["pay"] = func() error {
		if failures--; failures >= 0 {
			return errors.New("the database is away")
		}
		return b.becomes(overWith)()
	}
	b.run(t)
	require.Len(t, b.did, 4)
}

func TestReturn_BuysALabelAndCancelsIt(t *testing.T) {
	t.Parallel()
	approved := func(next string, carrier shipping.Name) activities.ReturnStanding {
		return activities.ReturnStanding{Status: returns.Approved, Next: next, Carrier: carrier, DueAt: dawn.Add(14 * 24 * time.Hour)}
	}
	b := newParcelBack(t, approved(returns.NextChoose, ""))
	b.on["compare"] = b.becomes(approved(returns.NextBook, shipping.Correos))
	fails := 1
	b.on["book"] = func() error {
		if fails--; fails == 0 {
			return errors.New("the database is gone") // tried again, and asked about first
		}
		b.row = approved(returns.NextFinish, "")
		return nil
	}
	issued := activities.ReturnStanding{Status: returns.LabelIssued, Next: returns.NextExpire, NextAt: dawn.Add(14 * 24 * time.Hour), DueAt: dawn.Add(14*24*time.Hour + time.Hour)}
	b.on["finish"] = b.becomes(issued)
	b.at(time.Hour, activities.ReturnStanding{Status: returns.Cancelled, Next: returns.NextVoid, Carrier: shipping.Correos})
	b.on["void"] = b.becomes(overWith)
	b.run(t)
	require.Equal(t, []string{"choose 0s", "compare 0s", "book 0s", "book 1s", "finish 1s", "void 1h0m0s"}, b.did)
	require.Empty(t, b.asked)
}

func TestReturn_AsksWhetherTheCarrierHadTheParcelBeforeTheMoneyGoes(t *testing.T) {
	t.Parallel()
	b := newParcelBack(t, activities.ReturnStanding{Status: returns.Inspected, Next: returns.NextScan, Carrier: shipping.Starken, DueAt: dawn.Add(24 * time.Hour)})
	b.on["scan"] = b.becomes(activities.ReturnStanding{Status: returns.Inspected, Next: returns.NextPay, DueAt: dawn.Add(24 * time.Hour)})
	b.on["pay"] = b.becomes(overWith)
	b.run(t)
	require.Equal(t, []string{"scan 0s", "pay 0s"}, b.did)
}
