package workflows_test

import (
	"context"
	"fmt"
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
	"justlogistics/workflows"
)

// shortDesk is the world of a shortage's run: how the order stands by its rows, and what
// people were asked.
type shortDesk struct {
	env *testsuite.TestWorkflowEnvironment

	mu sync.Mutex
	// stands is the order at a time after the start.
	stands  func(since time.Duration) activities.ShortView
	decides func(outcome string, since time.Duration) activities.ShortView
	looks   int
	asked   []string // with their time
	ends    []string
	states  []string
	results []string
}

func newShortDesk(t *testing.T, old bool) *shortDesk {
	t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	d := &shortDesk{env: suite.NewTestWorkflowEnvironment()}
	d.env.SetStartTime(dawn)
	d.env.SetTestTimeout(30 * time.Second)
	d.env.RegisterWorkflowWithOptions(workflows.Shortage, workflow.RegisterOptions{Name: workflows.ShortageName})
	d.env.SetStartWorkflowOptions(workflows.StartOptions(workflows.KindShortage, demo, lorryID))
	if old {
		d.env.OnGetVersion("shortage-has-rules", workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
		d.env.OnGetVersion("shortage-takes-outcomes", workflow.DefaultVersion, workflow.Version(1)).Return(workflow.Version(1))
	}
	for name, fn := range map[string]any{
		"CureShort": func(context.Context, string, string) (bool, error) { return d.look().Over, nil },
		"MendShort": func(context.Context, activities.ShortRef) (activities.ShortView, error) { return d.look(), nil },
		"DecideShort": func(_ context.Context, _ activities.ShortRef, outcome string) (activities.ShortView, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.states = append(d.states, outcome)
			return d.decides(outcome, d.since()), nil
		},
		"ParkStep": func(_ context.Context, c activities.ParkedCase) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.asked = append(d.asked, fmt.Sprintf("%s %s: %s", d.since(), c.Reason, c.Message))
			return nil
		},
		"UnparkStep": func(_ context.Context, _ activities.ParkedCase, how string) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.ends = append(d.ends, how)
			return nil
		},
	} {
		d.env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	return d
}

func (d *shortDesk) since() time.Duration { return d.env.Now().Sub(dawn).Round(time.Second) }

func (d *shortDesk) look() activities.ShortView {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks++
	return d.stands(d.since())
}

// says uses a verb at a time and keeps its answer.
func (d *shortDesk) says(at time.Duration, verb, outcome string) {
	d.env.RegisterDelayedCallback(func() {
		note := func(what string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.results = append(d.results, what)
		}
		d.env.UpdateWorkflow(workflows.UpdateSupport, fmt.Sprint(at), &testsuite.TestUpdateCallback{
			OnReject: func(err error) { note("refused: " + err.Error()) }, OnAccept: func() {},
			OnComplete: func(answer any, err error) {
				if err != nil {
					note(err.Error())
					return
				}
				note(answer.(workflows.SupportAnswer).Result)
			},
		}, workflows.SupportRequest{Verb: verb, Outcome: outcome})
	}, at)
}

func (d *shortDesk) run(t *testing.T) {
	t.Helper()
	d.env.ExecuteWorkflow(workflows.ShortageName, workflows.ShortageInput{Tenant: demo, OrderID: lorryID, HoldID: theShipment})
	require.True(t, d.env.IsWorkflowCompleted())
	require.NoError(t, d.env.GetWorkflowError())
}

var (
	foundUnits = activities.ShortView{Over: true, WaitsFor: "Order DEMO-1: the missing units were found."}
	asksPerson = activities.ShortView{WaitsFor: "a person is asked", Asks: "units are missing"}
	takenOff   = activities.ShortView{Over: true, WaitsFor: "Order DEMO-1: 1 unit of SKU-2 taken off.", Result: "1 unit of SKU-2 taken off"}
)

func waitsFor(d *shortDesk, until time.Duration) activities.ShortView {
	at := d.env.Now().Add(-d.since()).Add(until)
	return activities.ShortView{Until: at, WaitsFor: "Back-ordered until " + at.Format("2006-01-02 15:04 UTC") + "; 1 unit of SKU-2 is missing."}
}

const tenDays = 10 * 24 * time.Hour

func TestShortageRules_BackOrderAsksNobodyWhenStockArrives(t *testing.T) {
	t.Parallel()
	d := newShortDesk(t, false)
	d.stands = func(since time.Duration) activities.ShortView {
		if since < 3*24*time.Hour {
			return waitsFor(d, tenDays)
		}
		return foundUnits
	}
	d.says(time.Hour, workflows.VerbRetry, "")
	d.run(t)
	require.Empty(t, d.asked)
	require.Len(t, d.results, 1)
	require.Contains(t, d.results[0], "refused: this verb does not apply here")
	require.Equal(t, 3*24*time.Hour, d.since(), "it is cured with the next look")
	require.Equal(t, 3*24*4+1, d.looks)
}

func TestShortageRules_BackOrderAsksWhenItsDaysAreOver(t *testing.T) {
	t.Parallel()
	d := newShortDesk(t, false)
	limit := tenDays + 7*time.Minute
	d.stands = func(since time.Duration) activities.ShortView {
		if since < limit {
			return waitsFor(d, limit)
		}
		return asksPerson
	}
	d.decides = func(string, time.Duration) activities.ShortView { return takenOff }
	d.says(tenDays+time.Hour, workflows.VerbResolve, "refund")
	d.run(t)
	require.Equal(t, []string{limit.String() + " short_stock: units are missing"}, d.asked)
	require.Equal(t, []string{"refund"}, d.states)
	require.Equal(t, []string{"1 unit of SKU-2 taken off"}, d.results)
	require.Equal(t, []string{takenOff.WaitsFor}, d.ends)
}

func TestShortageRules_RefundIsTheWholeRun(t *testing.T) {
	t.Parallel()
	d := newShortDesk(t, false)
	d.stands = func(time.Duration) activities.ShortView { return takenOff }
	d.run(t)
	require.Empty(t, d.asked)
	require.Equal(t, 1, d.looks)
}

func TestShortageRules_PersonMayBackOrderAndIsAskedAgainAfterwards(t *testing.T) {
	t.Parallel()
	d := newShortDesk(t, false)
	until := time.Duration(0)
	d.stands = func(since time.Duration) activities.ShortView {
		if since < until {
			return waitsFor(d, until)
		}
		return asksPerson
	}
	d.decides = func(outcome string, since time.Duration) activities.ShortView {
		if outcome == "" {
			return activities.ShortView{WaitsFor: "a person has settled it"}
		}
		until = since + tenDays
		v := waitsFor(d, until)
		v.Result = "back-ordered"
		return v
	}
	d.says(time.Hour, workflows.VerbResolve, "back_order")
	d.says(time.Hour+tenDays+time.Minute, workflows.VerbResolve, "agreed with the buyer")
	d.run(t)
	require.Equal(t, []string{"0s short_stock: units are missing", (time.Hour + tenDays).String() + " short_stock: units are missing"}, d.asked)
	require.Equal(t, []string{"back_order", ""}, d.states)
	require.Equal(t, []string{"back-ordered", "resolve done"}, d.results)
}

func TestShortageRules_RefundThatIsRefusedIsAskedAboutInItsWords(t *testing.T) {
	t.Parallel()
	d := newShortDesk(t, false)
	why := ""
	d.stands = func(since time.Duration) activities.ShortView {
		if since > 2*time.Hour {
			return foundUnits
		}
		v := asksPerson
		v.Asks = why + v.Asks
		return v
	}
	d.decides = func(string, time.Duration) activities.ShortView {
		why = "The bank disputes it. "
		return activities.ShortView{WaitsFor: "a person is asked", Asks: why + asksPerson.Asks, Result: "nothing done: the bank disputes it"}
	}
	d.says(time.Hour, workflows.VerbResolve, "refund")
	d.run(t)
	require.Equal(t, []string{"nothing done: the bank disputes it"}, d.results)
	require.Equal(t, []string{"0s short_stock: units are missing", "1h0m0s short_stock: The bank disputes it. units are missing"}, d.asked)
}

func TestShortageRules_SkipAndResolveWithoutAnOutcomeEndTheRun(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{workflows.VerbSkip, workflows.VerbResolve} {
		d := newShortDesk(t, false)
		d.stands = func(time.Duration) activities.ShortView { return asksPerson }
		d.decides = func(string, time.Duration) activities.ShortView {
			return activities.ShortView{WaitsFor: "a person has settled it"}
		}
		d.says(time.Hour, verb, "")
		d.run(t)
		require.Equal(t, []string{""}, d.states)
		require.Equal(t, []string{verb + " done"}, d.results)
		require.Equal(t, []string{verb}, d.ends)
	}
}

func TestShortageRules_RunOfBeforeTakesWhatAPersonStates(t *testing.T) {
	t.Parallel()
	for _, outcome := range []string{"refund", "back_order", "agreed with the buyer"} {
		d := newShortDesk(t, true)
		decided := false
		d.stands = func(since time.Duration) activities.ShortView {
			switch {
			case decided && since > 5*24*time.Hour:
				return foundUnits
			case decided:
				return waitsFor(d, tenDays)
			}
			return asksPerson
		}
		d.decides = func(outcome string, _ time.Duration) activities.ShortView {
			decided = true
			if outcome == "refund" {
				return takenOff
			}
			v := waitsFor(d, tenDays)
			v.Result = "back-ordered"
			return v
		}
		d.says(time.Hour, workflows.VerbResolve, outcome)
		d.run(t)
		require.Len(t, d.asked, 1)
		switch outcome {
		case "refund":
			require.Equal(t, []string{"refund"}, d.states)
			require.Equal(t, time.Hour, d.since())
		case "back_order":
			require.Equal(t, []string{"back_order"}, d.states)
			require.Greater(t, d.since(), 5*24*time.Hour)
		default:
			require.Empty(t, d.states)
			require.Equal(t, []string{"resolve done"}, d.results)
		}
	}
}
