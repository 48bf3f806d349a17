package workflows_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/payment"
	"justlogistics/internal/reconcile"
	"justlogistics/workflows"
)

const dayID = "01JCQZ5Y3N8W2K4T6V7X9ABCDE"

// bookDay is a reconciliation's world: what the provider answers to each turn,
// what comparing finds each time, and what the run wrote.
type bookDay struct {
	env *testsuite.TestWorkflowEnvironment

	mu      sync.Mutex
	fetch   func(n int, cursor string) (activities.Fetched, error)
	compare func(n int, final bool) (activities.Compared, error)
	again   []bool
	cursors []string
	finals  []bool
	status  string
	parked  map[string]activities.ParkedCase
	wereOn  []string
	at      []time.Duration
	begun   time.Time
}

func newBookDay(t *testing.T) *bookDay {
	t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	d := &bookDay{env: suite.NewTestWorkflowEnvironment(), status: "running", parked: map[string]activities.ParkedCase{}, begun: dawn,
		fetch: func(int, string) (activities.Fetched, error) {
			return activities.Fetched{Source: reconcile.FromAPI, Transactions: 2}, nil
		},
		compare: func(int, bool) (activities.Compared, error) { return activities.Compared{Transactions: 2}, nil },
	}
	d.env.SetStartTime(dawn)
	d.env.SetTestTimeout(20 * time.Second)
	d.env.RegisterWorkflowWithOptions(workflows.Reconciliation, workflow.RegisterOptions{Name: workflows.ReconciliationName})
	d.env.SetStartWorkflowOptions(workflows.StartOptions(workflows.KindReconciliation, demo, dayID))
	for name, fn := range map[string]any{
		"LoadReconciliation": func(context.Context, activities.ReconciliationRef) (activities.ReconciliationView, error) {
			return activities.ReconciliationView{Gateway: payment.Stripe, Date: "2126-03-01"}, nil
		},
		"ResumeReconciliation": func(context.Context, activities.ReconciliationRef) error { d.set("running"); return nil },
		"FailReconciliation":   func(context.Context, activities.ReconciliationRef, string) error { d.set("failed"); return nil },
		"FinishReconciliation": d.finish,
		"FetchStatement":       d.fetched,
		"CompareBooks":         d.compared,
		"ParkStep":             d.park,
		"UnparkStep":           d.unpark,
	} {
		d.env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	return d
}

func (d *bookDay) set(status string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = status
}

func (d *bookDay) fetched(_ context.Context, _ activities.ReconciliationRef, cursor string) (activities.Fetched, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cursors = append(d.cursors, cursor)
	d.at = append(d.at, d.env.Now().Sub(d.begun))
	return d.fetch(len(d.cursors), cursor)
}

func (d *bookDay) compared(_ context.Context, _ activities.ReconciliationRef, _ activities.Fetched, final bool) (activities.Compared, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.finals = append(d.finals, final)
	return d.compare(len(d.finals), final)
}

func (d *bookDay) finish(context.Context, activities.ReconciliationRef) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.again) > 0 {
		more := d.again[0]
		d.again = d.again[1:]
		return more, nil
	}
	d.status = "done"
	return false, nil
}

func (d *bookDay) park(_ context.Context, c activities.ParkedCase) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.parked[c.Step] = c
	d.wereOn = append(d.wereOn, c.Reason)
	return nil
}

func (d *bookDay) unpark(_ context.Context, c activities.ParkedCase, _ string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.parked, c.Step)
	return nil
}

func (d *bookDay) run(t *testing.T) {
	t.Helper()
	d.env.ExecuteWorkflow(workflows.ReconciliationName, workflows.ReconciliationInput{Tenant: demo, ReconciliationID: dayID})
	require.True(t, d.env.IsWorkflowCompleted())
	require.NoError(t, d.env.GetWorkflowError())
}

func (d *bookDay) verb(after time.Duration, verb string) {
	d.env.RegisterDelayedCallback(func() {
		d.env.UpdateWorkflow(workflows.UpdateSupport, verb, &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: func(error) {}, OnComplete: func(any, error) {}},
			workflows.SupportRequest{ActionID: "A", Verb: verb})
	}, after)
}

func refusal(class string) error {
	return temporal.NewNonRetryableApplicationError("stripe: "+class, class, nil)
}

func TestReconciliation_ReadsEveryPageAndCompares(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	d.fetch = func(n int, _ string) (activities.Fetched, error) {
		return activities.Fetched{Source: reconcile.FromAPI, Transactions: 100, Next: []string{"b", "c", ""}[n-1]}, nil
	}
	d.run(t)
	require.Equal(t, []string{"", "b", "c"}, d.cursors)
	require.Equal(t, []bool{false}, d.finals)
	require.Equal(t, "done", d.status)
	require.Empty(t, d.wereOn)
}

func TestReconciliation_RepairsAreLookedAtAgainUntilTheyHaveArrived(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	d.compare = func(n int, _ bool) (activities.Compared, error) { return activities.Compared{OnTheWay: 2 - n}, nil }
	d.run(t)
	require.Equal(t, []bool{false, false}, d.finals)
	require.Len(t, d.cursors, 1)
}

func TestReconciliation_RepairsThatNeverArriveAreRaised(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	d.compare = func(int, bool) (activities.Compared, error) { return activities.Compared{OnTheWay: 1}, nil }
	d.run(t)
	require.Equal(t, []bool{false, false, false, false, true}, d.finals)
	require.Equal(t, "done", d.status)
}

func TestReconciliation_RefusedCredentialsWaitForAPersonAndGoOn(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	cured := false
	d.fetch = func(n int, _ string) (activities.Fetched, error) {
		if !cured {
			return activities.Fetched{}, refusal(activities.TypeCredentials)
		}
		return activities.Fetched{Source: reconcile.FromAPI}, nil
	}
	d.env.RegisterDelayedCallback(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		require.Equal(t, "failed", d.status)
		require.Equal(t, []string{"retry", "skip"}, d.parked["statement"].Verbs)
		cured = true
	}, 5*time.Minute)
	d.verb(6*time.Minute, workflows.VerbRetry)
	d.run(t)
	require.Equal(t, []string{"statement_credentials"}, d.wereOn)
	require.Empty(t, d.parked)
	require.Equal(t, "done", d.status)
	require.Less(t, d.at[len(d.at)-1], 10*time.Minute)
}

func TestReconciliation_CuredCredentialsAreNoticedWithoutAPerson(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	d.fetch = func(n int, _ string) (activities.Fetched, error) {
		if n < 3 {
			return activities.Fetched{}, refusal(activities.TypeCredentials)
		}
		return activities.Fetched{Source: reconcile.FromAPI}, nil
	}
	d.run(t)
	require.Equal(t, []string{"statement_credentials"}, d.wereOn)
	require.Empty(t, d.parked)
	require.Equal(t, "done", d.status)
}

func TestReconciliation_SilenceForHoursIsToldAndTheDayGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	d.fetch = func(n int, cursor string) (activities.Fetched, error) {
		switch {
		case n == 1:
			return activities.Fetched{Source: reconcile.FromAPI, Next: "b"}, nil
		case d.env.Now().Sub(d.begun) < 5*time.Hour:
			return activities.Fetched{}, refusal(activities.TypeUnavailable)
		}
		return activities.Fetched{Source: reconcile.FromAPI}, nil
	}
	d.env.RegisterDelayedCallback(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		require.Empty(t, d.wereOn)
		require.Equal(t, "running", d.status)
	}, 90*time.Minute)
	d.run(t)
	require.Equal(t, []string{"statement_unanswered"}, d.wereOn)
	require.Equal(t, "b", d.cursors[len(d.cursors)-1])
	require.Equal(t, "done", d.status)
}

func TestReconciliation_PersonMayGiveTheDayUp(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	d.fetch = func(int, string) (activities.Fetched, error) {
		return activities.Fetched{}, refusal(activities.TypeCredentials)
	}
	d.verb(3*time.Minute, workflows.VerbSkip)
	d.run(t)
	require.Empty(t, d.finals)
	require.Empty(t, d.parked)
	require.Equal(t, "failed", d.status)
}

func TestReconciliation_AskedForAgainWhileItWaitsItTriesAtOnce(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	d.fetch = func(n int, _ string) (activities.Fetched, error) {
		if n == 1 {
			return activities.Fetched{}, refusal(activities.TypeCredentials)
		}
		return activities.Fetched{Source: reconcile.FromAPI}, nil
	}
	d.env.RegisterDelayedCallback(func() { d.env.SignalWorkflow(workflows.SignalAgain, nil) }, 2*time.Minute)
	d.run(t)
	require.Less(t, d.at[1], 3*time.Minute)
}

func TestReconciliation_WhatCameMeanwhileIsComparedToo(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	d.again = []bool{true}
	d.run(t)
	require.Len(t, d.cursors, 2)
	require.Equal(t, "done", d.status)
}

func TestReconciliation_BugInComparingWaitsForAPerson(t *testing.T) {
	t.Parallel()
	d := newBookDay(t)
	d.compare = func(n int, _ bool) (activities.Compared, error) {
		if n == 1 {
			return activities.Compared{}, refusal(activities.TypeBug)
		}
		return activities.Compared{}, nil
	}
	d.verb(time.Minute, workflows.VerbRetry)
	d.run(t)
	require.Equal(t, []string{"step_failed"}, d.wereOn)
	require.Equal(t, "done", d.status)
}

func TestReconcileAll_StartsARunForEachAndGoesOnPageByPage(t *testing.T) {
	t.Parallel()
	suite := testsuite.WorkflowTestSuite{}
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(dawn)
	env.SetDetachedChildWait(false)
	next := reconcile.Due{Tenant: demo, Gateway: payment.Stripe}
	env.RegisterActivityWithOptions(func(_ context.Context, now time.Time, after reconcile.Due) (activities.DuePage, error) {
		if !now.Equal(dawn) || after != (reconcile.Due{}) {
			return activities.DuePage{}, errors.New("another beginning")
		}
		return activities.DuePage{Opened: []activities.ReconciliationRef{{Tenant: demo, ReconciliationID: "D1"}, {Tenant: demo, ReconciliationID: "D2"}}, Next: &next}, nil
	}, activity.RegisterOptions{Name: "OpenYesterday"})
	env.RegisterWorkflowWithOptions(workflows.ReconcileAll, workflow.RegisterOptions{Name: workflows.ReconcileAllName})
	env.RegisterWorkflowWithOptions(workflows.Reconciliation, workflow.RegisterOptions{Name: workflows.ReconciliationName})
	var started []string
	env.OnWorkflow(workflows.ReconciliationName, mock.Anything, mock.Anything).Return(func(_ workflow.Context, in workflows.ReconciliationInput) error {
		started = append(started, in.ReconciliationID)
		return nil
	})
	env.ExecuteWorkflow(workflows.ReconcileAllName, workflows.ReconcileAllInput{})
	var more *workflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &more)
	require.Equal(t, []string{"D1", "D2"}, started)
}
