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
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/workflows"
)

const theCount = "01JCQZ5Y3N8W2K4T6V7X9ABCDF"

// counted is the world of a count's run: the rows, which people and days change,
// and what the run made of them.
type counted struct {
	env *testsuite.TestWorkflowEnvironment

	mu         sync.Mutex
	begun      time.Time
	completeBy time.Duration // since begun
	restUntil  time.Duration
	total      int
	left       int
	waiting    []time.Duration // since when each difference waits
	cancelled  bool
	looks      []time.Duration
	parked     map[string]activities.ParkedCase
	reasons    []string
	answers    []string
}

func newCounted(t *testing.T, total int) *counted {
	t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	c := &counted{env: suite.NewTestWorkflowEnvironment(), begun: dawn, completeBy: 24 * time.Hour, total: total, left: total, parked: map[string]activities.ParkedCase{}}
	c.env.SetStartTime(dawn)
	c.env.SetTestTimeout(20 * time.Second)
	c.env.RegisterWorkflowWithOptions(workflows.Count, workflow.RegisterOptions{Name: workflows.CountName})
	c.env.SetStartWorkflowOptions(workflows.StartOptions(workflows.KindCount, demo, theCount))
	for name, fn := range map[string]any{
		"LookAtCount": c.look,
		"ExtendCount": c.extend,
		"CancelCount": func(context.Context, activities.CountRef) error {
			c.set(func() { c.cancelled = true })
			return nil
		},
		"ParkStep": func(_ context.Context, p activities.ParkedCase) error {
			c.set(func() { c.parked[p.Step], c.reasons = p, append(c.reasons, p.Reason) })
			return nil
		},
		"UnparkStep": func(_ context.Context, p activities.ParkedCase, _ string) error {
			c.set(func() { delete(c.parked, p.Step) })
			return nil
		},
	} {
		c.env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	return c
}

func (c *counted) set(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
}

func (c *counted) since() time.Duration { return c.env.Now().Sub(c.begun) }

func (c *counted) look(context.Context, activities.CountRef) (activities.CountView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.since()
	c.looks = append(c.looks, now)
	v := activities.CountView{Warehouse: "SCL-1", Total: c.total, Left: c.left, Waiting: len(c.waiting), Which: "A-01", Over: c.cancelled || c.left+len(c.waiting) == 0}
	next := time.Hour
	if v.PastDue = c.left > 0 && now >= c.completeBy; !v.PastDue && c.left > 0 {
		next = min(next, c.completeBy-now)
	}
	if len(c.waiting) > 0 {
		until := max(c.waiting[0]+4*time.Hour, c.restUntil)
		if v.Unapproved = now >= until; !v.Unapproved {
			next = min(next, until-now)
		}
	}
	v.NextSeconds = int(max(time.Second, next).Seconds())
	return v, nil
}

func (c *counted) extend(_ context.Context, _ activities.CountRef, approvals bool) error {
	c.set(func() {
		if approvals {
			c.restUntil = c.since() + 24*time.Hour
		} else {
			c.completeBy = c.since() + 24*time.Hour
		}
	})
	return nil
}

// at changes the rows, and tells the run.
func (c *counted) at(after time.Duration, tell bool, fn func()) {
	c.env.RegisterDelayedCallback(func() {
		c.set(fn)
		if tell {
			c.env.SignalWorkflow(workflows.SignalChanged, nil)
		}
	}, after)
}

func (c *counted) verb(after time.Duration, step, verb string) {
	c.env.RegisterDelayedCallback(func() {
		c.env.UpdateWorkflow(workflows.UpdateSupport, fmt.Sprint(verb, after), &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { c.set(func() { c.answers = append(c.answers, "refused") }) },
			OnComplete: func(answer any, _ error) {
				c.set(func() { c.answers = append(c.answers, answer.(workflows.SupportAnswer).Result) })
			},
		}, workflows.SupportRequest{ActionID: "A", Step: step, Verb: verb})
	}, after)
}

func (c *counted) run(t *testing.T) {
	t.Helper()
	c.runWith(t, workflows.CountInput{Tenant: demo, CountID: theCount})
}

func (c *counted) runWith(t *testing.T, in workflows.CountInput) {
	t.Helper()
	c.env.ExecuteWorkflow(workflows.CountName, in)
	require.True(t, c.env.IsWorkflowCompleted())
	require.NoError(t, c.env.GetWorkflowError())
	require.Empty(t, c.parked)
}

func TestCount_EndsWhenTheLastBinIsDone(t *testing.T) {
	t.Parallel()
	c := newCounted(t, 2)
	c.at(20*time.Minute, false, func() { c.left = 1 })
	c.at(30*time.Minute, true, func() { c.left = 0 })
	c.run(t)
	require.Equal(t, []time.Duration{0, 30*time.Minute + 10*time.Second}, c.looks)
	require.Empty(t, c.reasons)
}

func TestCount_LooksByItselfWhenNobodyTellsIt(t *testing.T) {
	t.Parallel()
	c := newCounted(t, 1)
	c.at(90*time.Minute, false, func() { c.left = 0 })
	c.run(t)
	require.Equal(t, []time.Duration{0, time.Hour, 2 * time.Hour}, c.looks)
}

func TestCount_ResultsThatComeTogetherAreOneLook(t *testing.T) {
	t.Parallel()
	c := newCounted(t, 100)
	for i := range 100 {
		c.at(time.Minute+time.Duration(i)*50*time.Millisecond, true, func() { c.left-- })
	}
	c.run(t)
	require.Len(t, c.looks, 2)
}

func TestCount_BinsThatAreLeftPastTheirTimeAreTold(t *testing.T) {
	t.Parallel()
	c := newCounted(t, 40)
	c.at(time.Hour, false, func() { c.left = 12 })
	c.env.RegisterDelayedCallback(func() {
		c.set(func() {
			p := c.parked["tasks"]
			require.Equal(t, "count_past_due", p.Reason)
			require.Equal(t, []string{"retry", "cancel"}, p.Verbs)
			require.Contains(t, p.Message, "12 bins are to be counted in SCL-1")
		})
	}, 24*time.Hour+time.Minute)
	c.verb(25*time.Hour, "", workflows.VerbRetry)
	c.env.RegisterDelayedCallback(func() { c.set(func() { require.Empty(t, c.parked) }) }, 26*time.Hour)
	c.at(51*time.Hour, true, func() { c.left = 0 })
	c.run(t)
	require.Equal(t, []string{"count_past_due", "count_past_due"}, c.reasons, "again, a day later")
	require.Equal(t, []string{"the count has a day more"}, c.answers)
}

func TestCount_DifferencesThatWaitTooLongAreToldBesideBinsThatAreLeft(t *testing.T) {
	t.Parallel()
	c := newCounted(t, 5)
	c.at(time.Hour, true, func() { c.left, c.waiting = 4, []time.Duration{time.Hour} })
	c.at(23*time.Hour, false, func() {
		require.Contains(t, c.parked["approvals"].Message, "1 bin waits for somebody to approve or reject a difference in SCL-1: A-01")
	})
	c.verb(25*time.Hour, "approvals", workflows.VerbRetry)
	c.at(26*time.Hour, true, func() {
		require.NotContains(t, c.parked, "approvals")
		require.Contains(t, c.parked, "tasks")
		c.left, c.waiting = 0, nil
	})
	c.run(t)
	require.Equal(t, []string{"count_waits_for_approval", "count_past_due"}, c.reasons)
}

func TestCount_PersonMayCancelWhatIsLeft(t *testing.T) {
	t.Parallel()
	c := newCounted(t, 5)
	c.verb(time.Hour, "", workflows.VerbCancel)
	c.verb(25*time.Hour, "", workflows.VerbSkip)
	c.verb(26*time.Hour, "", workflows.VerbCancel)
	c.run(t)
	require.True(t, c.cancelled)
	require.Equal(t, []string{"refused", "refused", "the count is cancelled: what was counted stays"}, c.answers)
	require.Less(t, c.looks[len(c.looks)-1], 27*time.Hour)
}

func TestCount_BegunAnewItGoesOnFromItsRows(t *testing.T) {
	t.Parallel()
	c := newCounted(t, 5)
	c.completeBy, c.left, c.waiting = -time.Hour, 1, []time.Duration{-9 * time.Hour}
	c.at(time.Minute, true, func() {
		require.Len(t, c.parked, 2, "it tells at once what is late")
		c.left, c.waiting = 0, nil
	})
	c.run(t)
	require.Equal(t, []string{"count_past_due", "count_waits_for_approval"}, c.reasons)
}

func TestCount_LongLifeHasAShortHistory(t *testing.T) {
	t.Parallel()
	c := newCounted(t, 10_000)
	c.env.SetCurrentHistoryLength(2001)
	c.completeBy = -time.Hour
	c.env.ExecuteWorkflow(workflows.CountName, workflows.CountInput{Tenant: demo, CountID: theCount})
	require.True(t, c.env.IsWorkflowCompleted())
	var anew *workflow.ContinueAsNewError
	require.ErrorAs(t, c.env.GetWorkflowError(), &anew)
	require.Equal(t, workflows.CountName, anew.WorkflowType.Name)
	var in workflows.CountInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(anew.Input, &in))
	told := []workflows.ToldCase{{Step: "tasks", Message: c.parked["tasks"].Message}}
	require.Equal(t, workflows.CountInput{Tenant: demo, CountID: theCount, Told: told}, in, "the next history knows what was told")
	require.Len(t, c.looks, 1)

	next := newCounted(t, 10_000)
	next.completeBy, next.parked = -time.Hour, c.parked
	next.at(2*time.Minute, false, func() { next.left = 9000 })
	next.at(61*time.Minute, false, func() { require.Contains(t, next.parked["tasks"].Message, "9000 bins are to be counted in SCL-1") })
	next.at(2*time.Hour, true, func() { next.left = 0 })
	next.runWith(t, in)
	require.Equal(t, []string{"count_past_due"}, next.reasons, "in other words, and only when there are others")
}

func TestCount_VerbForACountThatSomebodyElseCancelsIsToldThatItIsOver(t *testing.T) {
	t.Parallel()
	c := newCounted(t, 5)
	c.completeBy, c.left, c.waiting = -time.Hour, 4, []time.Duration{-9 * time.Hour}
	c.verb(time.Minute, "tasks", workflows.VerbCancel)
	c.verb(time.Minute, "approvals", workflows.VerbRetry)
	c.run(t)
	require.Equal(t, []string{"the count is cancelled: what was counted stays", "nothing done: the count is over"}, c.answers)
	require.Zero(t, c.restUntil)
}
