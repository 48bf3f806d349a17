package workflows_test

import (
	"context"
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

const lorryID = "01JCQZ5Y3N8W2K4T6V7X9ABCDF"

// lorry is the world of a run that watches: its row, and what the run does.
type lorry struct {
	env        *testsuite.TestWorkflowEnvironment
	kind, name string

	mu     sync.Mutex
	row    activities.Watched
	looked []time.Duration
	parked map[string]activities.ParkedCase
	asked  []string
	ends   []string
	closer []string
	answer []string
	fail   int
}

func newLorry(t *testing.T, due time.Duration) *lorry {
	t.Helper()
	return newWatched(t, workflows.KindTransfer, workflows.TransferName, workflows.Transfer, activities.Watched{Status: "in_transit", WaitsFor: "On the way from SCL-1 to CCP-1 since yesterday: 3 of A.", DueAt: dawn.Add(due)})
}

func newWatched(t *testing.T, kind, name string, fn any, row activities.Watched) *lorry {
	t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	l := &lorry{env: suite.NewTestWorkflowEnvironment(), kind: kind, name: name, parked: map[string]activities.ParkedCase{}, row: row}
	l.env.SetStartTime(dawn)
	l.env.SetTestTimeout(20 * time.Second)
	l.env.RegisterWorkflowWithOptions(fn, workflow.RegisterOptions{Name: name})
	l.env.SetStartWorkflowOptions(workflows.StartOptions(kind, demo, lorryID))
	for name, fn := range map[string]any{"LoadWatched": l.load, "PostponeWatched": l.postpone, "ResolveWatched": l.resolve, "ParkStep": l.park, "UnparkStep": l.unpark} {
		l.env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	return l
}

func (l *lorry) load(_ context.Context, ref activities.WatchRef) (activities.Watched, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ref != (activities.WatchRef{Kind: l.kind, Tenant: demo, ID: lorryID}) {
		return activities.Watched{}, refusal(activities.TypeBug)
	}
	if l.fail > 0 {
		l.fail--
		return activities.Watched{}, refusal(activities.TypeBug)
	}
	l.looked = append(l.looked, l.env.Now().Sub(dawn))
	return l.row, nil
}

func (l *lorry) postpone(context.Context, activities.WatchRef) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.row.DueAt = l.env.Now().Add(24 * time.Hour)
	return nil
}

func (l *lorry) resolve(_ context.Context, _ activities.WatchRef, actionID string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closer = append(l.closer, actionID)
	l.row = activities.Watched{Status: "received_short", Over: true}
	return nil
}

func (l *lorry) park(_ context.Context, c activities.ParkedCase) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked[c.Step] = c
	l.asked = append(l.asked, c.Reason+": "+c.Message)
	return nil
}

func (l *lorry) unpark(_ context.Context, c activities.ParkedCase, how string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.parked, c.Step)
	l.ends = append(l.ends, how)
	return nil
}

// at does something to the row, and tells the run unless silent.
func (l *lorry) at(after time.Duration, tell bool, do func()) {
	l.env.RegisterDelayedCallback(func() {
		l.mu.Lock()
		do()
		l.mu.Unlock()
		if tell {
			l.env.SignalWorkflow(workflows.SignalChanged, nil)
		}
	}, after)
}

func (l *lorry) arrives() { l.row = activities.Watched{Status: "received", Over: true} }

func (l *lorry) verb(after time.Duration, verb string) {
	l.env.RegisterDelayedCallback(func() {
		l.env.UpdateWorkflow(workflows.UpdateSupport, verb+after.String(), &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: func(err error) { l.answer = append(l.answer, err.Error()) }, OnComplete: func(out any, err error) {
			if answer, ok := out.(workflows.SupportAnswer); ok && err == nil {
				l.answer = append(l.answer, answer.Result)
			}
		}}, workflows.SupportRequest{ActionID: "ACTION", Verb: verb})
	}, after)
}

func (l *lorry) run(t *testing.T, in workflows.WatchInput) {
	t.Helper()
	in.Tenant, in.ID = demo, lorryID
	l.env.ExecuteWorkflow(l.name, in)
	require.True(t, l.env.IsWorkflowCompleted())
	require.NoError(t, l.env.GetWorkflowError())
	require.Empty(t, l.parked)
}

func TestTransfer_EndsWhenTheGoodsArriveAndAsksNobody(t *testing.T) {
	t.Parallel()
	l := newLorry(t, 48*time.Hour)
	l.at(5*time.Hour+30*time.Minute, true, l.arrives)
	l.run(t, workflows.WatchInput{})
	require.Empty(t, l.asked)
	require.Equal(t, 5*time.Hour+30*time.Minute, l.looked[len(l.looked)-1], "it was told")
	require.Len(t, l.looked, 7)
}

func TestTransfer_LooksEachHourWhenNobodyTellsIt(t *testing.T) {
	t.Parallel()
	l := newLorry(t, 48*time.Hour)
	l.at(5*time.Hour+30*time.Minute, false, l.arrives)
	l.run(t, workflows.WatchInput{})
	require.Equal(t, 6*time.Hour, l.looked[len(l.looked)-1])
}

func TestTransfer_LateGoodsAreToldOfAndGoodsThatArriveCureIt(t *testing.T) {
	t.Parallel()
	l := newLorry(t, 90*time.Minute)
	l.at(91*time.Minute, false, func() {
		require.Equal(t, []string{workflows.VerbRetry, workflows.VerbResolve}, l.parked["reception"].Verbs)
	})
	l.at(100*time.Minute, true, func() { l.row.WaitsFor = "On the way from SCL-1 to CCP-1 since yesterday: 1 of A." })
	l.at(10*time.Hour, true, l.arrives)
	l.run(t, workflows.WatchInput{})
	require.Len(t, l.asked, 2, "a part of them arrived: other words")
	require.Contains(t, l.asked[0], "transfer_overdue: On the way from SCL-1 to CCP-1 since yesterday: 3 of A. Receive them, or close")
	require.Contains(t, l.asked[1], "1 of A")
	require.Equal(t, []string{"it is received"}, l.ends)
}

func TestTransfer_RetryWaitsAnotherDay(t *testing.T) {
	t.Parallel()
	l := newLorry(t, time.Hour)
	l.verb(30*time.Minute, workflows.VerbRetry)
	l.verb(2*time.Hour, workflows.VerbRetry)
	l.at(25*time.Hour, false, func() { require.Empty(t, l.parked) })
	l.at(27*time.Hour, false, func() { require.Len(t, l.parked, 1) })
	l.at(28*time.Hour, true, l.arrives)
	l.run(t, workflows.WatchInput{})
	require.Len(t, l.answer, 2)
	require.Contains(t, l.answer[0], "does not apply here")
	require.Equal(t, "waits another day", l.answer[1])
	require.Len(t, l.asked, 2)
}

func TestTransfer_ResolveClosesItInTheNameOfThePerson(t *testing.T) {
	t.Parallel()
	l := newLorry(t, time.Hour)
	l.verb(2*time.Hour, workflows.VerbResolve)
	l.run(t, workflows.WatchInput{})
	require.Equal(t, []string{"ACTION"}, l.closer)
	require.Equal(t, []string{"closed"}, l.answer)
}

func TestTransfer_RestartedFromItsRowGoesOn(t *testing.T) {
	t.Parallel()
	l := newLorry(t, -time.Hour)
	l.at(3*time.Hour, true, l.arrives)
	l.run(t, workflows.WatchInput{})
	require.Len(t, l.asked, 1, "late already")

	over := newLorry(t, 0)
	over.arrives()
	over.run(t, workflows.WatchInput{})
	require.Len(t, over.looked, 1)
	require.Empty(t, over.asked)
}

func TestTransfer_ALaterPartOfTheRunKnowsItsCase(t *testing.T) {
	t.Parallel()
	l := newLorry(t, 0)
	l.parked["reception"] = activities.ParkedCase{}
	l.arrives()
	l.run(t, workflows.WatchInput{Parked: true})
	require.Equal(t, []string{"it is received"}, l.ends)
}

func TestTransfer_ALaterPartOfTheRunTellsNobodyAgain(t *testing.T) {
	t.Parallel()
	l := newLorry(t, 0)
	told := l.row.WaitsFor + " Receive them, or close the transfer with what was lost. `retry` waits another day, `resolve` writes off what has not arrived."
	l.parked["reception"] = activities.ParkedCase{Message: told}
	l.at(90*time.Minute, false, func() { require.Empty(t, l.asked) })
	l.at(100*time.Minute, true, func() { l.row.WaitsFor = "On the way from SCL-1 to CCP-1 since yesterday: 1 of A." })
	l.at(10*time.Hour, true, l.arrives)
	l.run(t, workflows.WatchInput{Parked: true, Told: told})
	require.Len(t, l.asked, 1, "a part of them arrived: other words")
	require.Equal(t, []string{"it is received"}, l.ends)
}

func TestTransfer_ABugWaitsForAPerson(t *testing.T) {
	t.Parallel()
	l := newLorry(t, 48*time.Hour)
	l.fail = 1
	l.verb(time.Minute, workflows.VerbRetry)
	l.at(2*time.Hour, true, l.arrives)
	l.run(t, workflows.WatchInput{})
	require.Len(t, l.asked, 1)
	require.Contains(t, l.asked[0], "step_failed")
}
