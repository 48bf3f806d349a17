package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
	"pgregory.net/rapid"

	"justlogistics/activities"
	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
	"justlogistics/workflows"
)

// returnRow is a return as the database would have it, as far as its run goes: the rules
// of packages returns and shipping in a few lines, so that the run can be tried against
// schedules that nobody has thought of.
type returnRow struct {
	status  string
	expires time.Time
	label   string // "", wanted, intended, booked, issued
	voids   int    // labels that are to be cancelled
	owed    bool   // money that is to be booked
	pending bool   // money that is on its way
	lost    bool   // a person is asked

	bought, cancelled, paid, refunded int
	wrong                             []string // what must not have happened
}

func (r *returnRow) say(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

func (r *returnRow) over() bool {
	return slices.Contains([]string{returns.Closed, returns.Cancelled, returns.Expired}, r.status)
}

// drop gives the label up, where there is one.
func (r *returnRow) drop() {
	if r.label == "booked" || r.label == "issued" {
		r.voids++
	}
	r.label = ""
	if r.status == returns.LabelIssued {
		r.status = returns.Approved
	}
}

// stand is what the run reads at a moment.
func (r *returnRow) stand(now time.Time) activities.ReturnStanding {
	out := activities.ReturnStanding{OrderID: "o", Status: r.status, WaitsFor: r.status + " " + r.label}
	if !r.over() {
		out.DueAt = dawn.Add(60 * 24 * time.Hour)
	}
	later := func(step string, at time.Time) {
		if !at.After(now) {
			at = time.Time{}
		}
		if out.Next == "" || out.NextAt.After(at) {
			out.Next, out.NextAt = step, at
		}
	}
	if r.voids > 0 {
		later(returns.NextVoid, time.Time{})
		out.Carrier = shipping.Correos
	}
	switch {
	case r.status == returns.Approved && r.label == "wanted":
		later(returns.NextChoose, time.Time{})
	case r.status == returns.Approved && r.label == "intended":
		later(returns.NextBook, time.Time{})
		out.Carrier = shipping.Correos
	case r.status == returns.Approved && r.label == "booked":
		later(returns.NextFinish, time.Time{})
	}
	switch r.status {
	case returns.Approved, returns.LabelIssued:
		later(returns.NextExpire, r.expires)
	case returns.InTransit:
		if r.lost {
			out.Troubles = []returns.Trouble{{Step: returns.StepGoods, Reason: "return_lost", Message: "x", Verbs: []string{"resolve"}}}
		}
	case returns.Inspected:
		switch {
		case r.label == "issued":
			later(returns.NextScan, time.Time{})
		case r.owed:
			later(returns.NextPay, time.Time{})
		case !r.pending:
			later(returns.NextSettle, time.Time{})
		}
	}
	out.Over = r.over() && out.Next == ""
	return out
}

// step is what a step of the run does, where it is still to be done.
func (r *returnRow) step(name string, now time.Time) {
	switch name {
	case "choose":
		if r.label == "wanted" {
			r.label = "intended"
		}
	case "book":
		if r.label == "intended" {
			r.label = "booked"
			r.bought++
		}
	case "finish":
		if r.label == "booked" && r.status == returns.Approved {
			r.label, r.status = "issued", returns.LabelIssued
		}
	case "void":
		if r.voids > 0 {
			r.voids--
			r.cancelled++
		}
	case "expire":
		if r.status != returns.Approved && r.status != returns.LabelIssued {
			return
		}
		if now.Before(r.expires) {
			r.say("expired before its time")
		}
		r.drop()
		r.status = returns.Expired
	case "scan":
		r.drop()
	case "pay":
		if r.owed {
			r.owed, r.pending = false, true
			r.paid++
		}
	case "settle":
		if r.status == returns.Inspected && !r.owed && !r.pending && r.label != "issued" {
			r.status = returns.Closed
		}
	}
}

// happens is what people and carriers do, where it can be done.
func (r *returnRow) happens(what string) {
	atHome := r.status == returns.Approved || r.status == returns.LabelIssued
	switch what {
	case "asks for a label":
		if r.status == returns.Approved && r.label == "" {
			r.label = "wanted"
		}
	case "gives the label up":
		if atHome {
			r.drop()
		}
	case "sends it":
		if atHome {
			r.status = returns.InTransit
		}
	case "loses it":
		r.lost = r.lost || r.status == returns.InTransit
	case "opens it":
		if atHome || r.status == returns.InTransit || r.status == returns.Expired {
			r.status, r.lost = returns.Received, false
		}
	case "looks at it":
		if r.status == returns.Received {
			r.status, r.owed = returns.Inspected, true
		}
	case "cancels":
		if atHome {
			r.drop()
			r.status = returns.Cancelled
		}
	case "pays":
		if r.pending {
			r.pending = false
			r.refunded++
		}
	}
}

var returnEvents = []string{"asks for a label", "gives the label up", "sends it", "loses it", "opens it", "looks at it", "cancels", "pays"}

// returnSchedule is what happens when, and which steps fail how often: before their effect
// or after it.
type returnSchedule struct {
	Events []returnEvent
	Fails  []returnFault
}

type returnEvent struct {
	After time.Duration
	What  string
}

type returnFault struct {
	Step  string
	Times int
	After bool
}

func drawReturnSchedule(t *rapid.T) returnSchedule {
	event := rapid.Custom(func(t *rapid.T) returnEvent {
		return returnEvent{time.Duration(rapid.IntRange(0, 20*24*60).Draw(t, "minutes")) * time.Minute, rapid.SampledFrom(returnEvents).Draw(t, "event")}
	})
	fault := rapid.Custom(func(t *rapid.T) returnFault {
		return returnFault{rapid.SampledFrom([]string{"choose", "book", "finish", "void", "expire", "scan", "pay", "settle"}).Draw(t, "step"), rapid.IntRange(1, 4).Draw(t, "times"), rapid.Bool().Draw(t, "after its effect")}
	})
	return returnSchedule{rapid.SliceOfN(event, 0, 14).Draw(t, "events"), rapid.SliceOfN(fault, 0, 5).Draw(t, "faults")}
}

// simulateReturn has the real workflow look after a row under a schedule. At the end
// everything that is still to be done by people is.
func simulateReturn(plan returnSchedule) (row *returnRow, reads int, err error) {
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(dawn)
	env.SetTestTimeout(20 * time.Second)
	env.RegisterWorkflowWithOptions(workflows.Return, workflow.RegisterOptions{Name: workflows.ReturnName})
	env.SetStartWorkflowOptions(workflows.StartOptions(workflows.KindReturn, demo, theShipment))
	row = &returnRow{status: returns.Approved, expires: dawn.Add(14 * 24 * time.Hour)}
	var mu sync.Mutex
	var parked []string
	cases := 0
	fails := slices.Clone(plan.Fails)
	step := func(name string) func(context.Context, activities.ReturnRef) error {
		return func(context.Context, activities.ReturnRef) error {
			mu.Lock()
			defer mu.Unlock()
			i := slices.IndexFunc(fails, func(f returnFault) bool { return f.Step == name && f.Times > 0 })
			if i >= 0 {
				fails[i].Times--
				if fails[i].After {
					row.step(name, env.Now())
				}
				return errors.New("the database is gone")
			}
			row.step(name, env.Now())
			return nil
		}
	}
	for name, fn := range map[string]any{
		"StandReturn": func(context.Context, activities.ReturnRef) (activities.ReturnStanding, error) {
			mu.Lock()
			defer mu.Unlock()
			reads++
			return row.stand(env.Now()), nil
		},
		"DecideReturn": func(context.Context, activities.ReturnDecision) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			if row.status == returns.InTransit {
				row.status, row.owed, row.lost = returns.Inspected, true, false
				row.label = "" // it was scanned
			}
			return "the buyer gets the money", nil
		},
		"ParkStep": func(_ context.Context, c activities.ParkedCase) error {
			mu.Lock()
			defer mu.Unlock()
			parked = append(parked, c.Step)
			cases++
			verb := workflows.SupportRequest{ActionID: fmt.Sprint("a", cases), Step: c.Step, Verb: "retry"}
			if c.Step == returns.StepGoods {
				verb.Verb, verb.Outcome = "resolve", "lost"
			}
			env.RegisterDelayedCallback(func() {
				env.UpdateWorkflow(workflows.UpdateSupport, verb.ActionID, &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: func(error) {}, OnComplete: func(any, error) {}}, verb)
			}, time.Hour)
			return nil
		},
		"UnparkStep": func(_ context.Context, c activities.ParkedCase, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			parked = slices.DeleteFunc(parked, func(s string) bool { return s == c.Step })
			return nil
		},
		"ExpireReturn": step("expire"), "PayReturn": step("pay"), "CloseReturn": step("settle"), "BookReturnParcel": step("book"), "FinishReturnLabel": step("finish"), "VoidReturnLabel": step("void"), "ScanReturnLabel": step("scan"),
		"ChooseReturnCarrier": func(ctx context.Context, ref activities.ReturnRef) (activities.ChosenCarrier, error) {
			return activities.ChosenCarrier{}, step("choose")(ctx, ref)
		},
	} {
		env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	happens := func(after time.Duration, what ...string) {
		env.RegisterDelayedCallback(func() {
			mu.Lock()
			for _, w := range what {
				row.happens(w)
			}
			mu.Unlock()
			env.SignalWorkflow(workflows.SignalChanged, nil)
		}, after)
	}
	for _, e := range plan.Events {
		happens(e.After, e.What)
	}
	// Whoever waits for people has them in the end.
	for day := 21; day < 26; day++ {
		happens(time.Duration(day)*24*time.Hour, "opens it", "looks at it", "pays")
	}
	env.ExecuteWorkflow(workflows.ReturnName, workflows.ReturnInput{Tenant: demo, ReturnID: theShipment})
	switch {
	case !env.IsWorkflowCompleted():
		return row, reads, errors.New("the run never ends")
	case env.GetWorkflowError() != nil:
		return row, reads, env.GetWorkflowError()
	case len(parked) > 0:
		return row, reads, fmt.Errorf("a person is still asked about %v", parked)
	}
	return row, reads, nil
}

func TestSimulation_ReturnsKeepTheirInvariants(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		row, reads, err := simulateReturn(drawReturnSchedule(t))
		require.NoError(t, err)
		require.Empty(t, row.wrong)
		require.True(t, row.over(), "it ended and is %s", row.status)
		require.Zero(t, row.voids, "a label that nobody wants was left")
		require.False(t, row.owed || row.pending, "money was left")
		require.LessOrEqual(t, row.paid, 1)
		require.Equal(t, row.paid, row.refunded)
		require.LessOrEqual(t, row.cancelled, row.bought)
		require.Less(t, reads, 200, "it rests between")
	})
}

func TestSimulation_NoticesAReturnThatExpiredBeforeItsTime(t *testing.T) {
	t.Parallel()
	row := &returnRow{status: returns.Approved, expires: dawn.Add(time.Hour)}
	row.step("expire", dawn)
	require.NotEmpty(t, row.wrong)
}
