package workflows

import (
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/payment"
	"justlogistics/internal/reconcile"
	"justlogistics/internal/temporalclient"
)

var reconciliations *activities.Reconciliations

const (
	// statementPatience is how long a provider that does not answer is tried
	// before a person is told; it is tried further, more slowly.
	statementPatience = 2 * time.Hour
	statementRetry    = time.Hour
)

// repairWaits are the pauses after which a day is compared again, so that what
// was sent the normal ways is seen to have arrived: most of it does in seconds.
var repairWaits = []time.Duration{6 * time.Second, 30 * time.Second, 3 * time.Minute, 20 * time.Minute}

// Reconciliation compares one gateway's books of one day with ours: it fetches
// the provider's side, compares, sends the safe differences the normal ways and
// looks whether they have arrived. A person is told of what is left, and of a
// provider that does not give its side.
func Reconciliation(ctx workflow.Context, in ReconciliationInput) error {
	d, err := newDesk(ctx, in.Tenant, in.ReconciliationID)
	if err != nil {
		return err
	}
	r := &reconciliationRun{desk: d, ref: activities.ReconciliationRef{Tenant: in.Tenant, ReconciliationID: in.ReconciliationID}, again: workflow.GetSignalChannel(ctx, SignalAgain)}
	if r.view, err = certain[activities.ReconciliationView](ctx, d, "load", "read the reconciliation", reconciliations.LoadReconciliation, r.ref); err != nil {
		return err
	}
	r.what = title(r.view.Gateway) + ", " + r.view.Date
	for again := true; again; {
		for r.again.ReceiveAsync(nil) { // what is asked for so far is about to be done
		}
		given, err := r.once(ctx)
		if err != nil {
			return err
		}
		again = false
		if given {
			if again, err = certain[bool](ctx, d, "finish", "finish the reconciliation", reconciliations.FinishReconciliation, r.ref); err != nil {
				return err
			}
		}
		if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }); err != nil {
			return err
		}
		// Somebody may have asked for the day again just now, and found this run.
		again = again || r.again.Len() > 0
	}
	return nil
}

type reconciliationRun struct {
	desk  *desk
	ref   activities.ReconciliationRef
	view  activities.ReconciliationView
	what  string
	again workflow.ReceiveChannel
}

// once fetches and compares. given is false when a person has given the day up.
func (r *reconciliationRun) once(ctx workflow.Context) (given bool, err error) {
	got, given, err := r.fetch(ctx)
	if err != nil || !given {
		return false, err
	}
	for _, wait := range append([]time.Duration{0}, repairWaits...) {
		if wait > 0 {
			if err := workflow.NewTimerWithOptions(ctx, wait, workflow.TimerOptions{Summary: "let the repairs arrive"}).Get(ctx, nil); err != nil {
				return false, err
			}
		}
		done, err := r.compare(ctx, got, wait == repairWaits[len(repairWaits)-1])
		if err != nil {
			return false, err
		}
		if done.OnTheWay == 0 {
			break
		}
	}
	return true, nil
}

func (r *reconciliationRun) compare(ctx workflow.Context, got activities.Fetched, final bool) (done activities.Compared, err error) {
	options := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute},
		Summary:             "compare " + r.what,
	})
	for {
		err = workflow.ExecuteActivity(options, reconciliations.CompareBooks, r.ref, got, final).Get(ctx, &done)
		if err == nil || ctx.Err() != nil {
			break
		}
		_, err = r.desk.wait(ctx, Case{Step: "compare", Reason: "step_failed", Message: "Comparing " + r.what + " failed in a way that trying again does not cure by itself.", Tried: "once, it fails with: " + cause(err), Verbs: []string{VerbRetry}})
		if err != nil {
			return done, err
		}
	}
	if err == nil {
		r.desk.describe(ctx, fmt.Sprintf("%s: %d transactions compared, %d differences on their way to be repaired, %d wait for a person.", r.what, done.Transactions, done.OnTheWay, done.Raised))
	}
	return done, err
}

// fetch reads the provider's side, turn by turn. A provider that is away is
// tried again; when that takes too long, or it refuses us, a person is told, who
// may give the day up (given is false).
func (r *reconciliationRun) fetch(ctx workflow.Context) (got activities.Fetched, given bool, err error) {
	cursor, total := "", 0
	since := workflow.Now(ctx)
	parked := false
	for wait := time.Minute; ; {
		r.desk.describe(ctx, fmt.Sprintf("%s: reading the provider's side, %d transactions so far.", r.what, total))
		var turn activities.Fetched // a new one each time: decoding leaves what an answer does not have
		err := workflow.ExecuteActivity(statementCall(ctx, r.view.Gateway, r.what), reconciliations.FetchStatement, r.ref, cursor).Get(ctx, &turn)
		if ctx.Err() != nil {
			return got, false, ctx.Err()
		}
		if err == nil {
			if parked {
				if err := r.desk.unpark(ctx, "statement", "the provider gives its side"); err != nil {
					return got, false, err
				}
				parked = false
			}
			got = turn
			total += turn.Transactions
			since, wait = workflow.Now(ctx), time.Minute
			if cursor = turn.Next; cursor == "" {
				return got, true, nil
			}
			continue
		}
		class := activities.ErrorType(err)
		refused := class != activities.TypeUnavailable && class != activities.TypeRateLimited && class != activities.TypeDatabase
		if !parked && (refused || workflow.Now(ctx).Sub(since) >= statementPatience) {
			if err := r.park(ctx, class, cause(err), since); err != nil {
				return got, false, err
			}
			parked = true
		}
		if parked {
			wait = statementRetry
		} else if _, err := certain[any](ctx, r.desk, "resume", "the reconciliation is still tried", reconciliations.ResumeReconciliation, r.ref); err != nil {
			return got, false, err
		}
		dec, err := r.pause(ctx, wait)
		if err != nil {
			return got, false, err
		}
		wait = min(2*wait, 15*time.Minute)
		if dec == nil {
			continue
		}
		dec.result, dec.done = dec.Verb+" of the statement is under way", true
		if err := r.desk.unpark(ctx, "statement", dec.Verb); err != nil {
			return got, false, err
		}
		parked, since, wait = false, workflow.Now(ctx), time.Minute
		if dec.Verb == VerbSkip {
			return got, false, nil
		}
		if _, err := certain[any](ctx, r.desk, "resume", "try the reconciliation again", reconciliations.ResumeReconciliation, r.ref); err != nil {
			return got, false, err
		}
	}
}

// statementCall is for reading a provider's books: long, with signs of life, and
// tried again at the place that was reached.
func statementCall(ctx workflow.Context, g payment.Name, what string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              GatewayTaskQueue(g),
		StartToCloseTimeout:    2 * time.Minute,
		ScheduleToCloseTimeout: 10 * time.Minute,
		HeartbeatTimeout:       45 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second, MaximumAttempts: 10},
		Summary:                "read the provider's side: " + what,
	})
}

func (r *reconciliationRun) park(ctx workflow.Context, class, tried string, since time.Time) error {
	reason, message := "statement_"+class, title(r.view.Gateway)+" does not give the transactions of "+r.view.Date+". Cure the cause and retry, or skip: the day then stays without a comparison until it is asked for again."
	switch class {
	case activities.TypeUnavailable, activities.TypeRateLimited, activities.TypeDatabase:
		reason, tried = "statement_unanswered", "asked since "+clock(since)+"; "+tried
	}
	if _, err := certain[any](ctx, r.desk, "fail", "the reconciliation cannot go on", reconciliations.FailReconciliation, r.ref, reason+": "+tried); err != nil {
		return err
	}
	return r.desk.park(ctx, Case{Step: "statement", Reason: reason, Message: message, Tried: tried, Verbs: []string{VerbRetry, VerbSkip}})
}

// pause waits until it is time to try again, a person says so, or the day is
// asked for again. The decision is nil unless a person has made one.
func (r *reconciliationRun) pause(ctx workflow.Context, wait time.Duration) (*decision, error) {
	timerCtx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(timerCtx, wait, workflow.TimerOptions{Summary: "ask the provider again"})
	err := workflow.Await(ctx, func() bool { return timer.IsReady() || len(r.desk.decided) > 0 || r.again.Len() > 0 })
	if err != nil {
		return nil, err
	}
	for r.again.ReceiveAsync(nil) {
	}
	dec, _ := r.desk.next()
	return dec, nil
}

// ReconcileAll is the installation's daily round: it opens yesterday for every
// tenant and gateway and starts a run for each.
func ReconcileAll(ctx workflow.Context, in ReconcileAllInput) error {
	now := in.Now
	if now.IsZero() {
		now = workflow.Now(ctx)
	}
	var page activities.DuePage
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, databaseActivity("open yesterday's reconciliations")), reconciliations.OpenYesterday, now, in.After).Get(ctx, &page)
	if err != nil {
		return err
	}
	for _, ref := range page.Opened {
		child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID:            ID(KindReconciliation, ref.Tenant, ref.ReconciliationID),
			TaskQueue:             TaskQueue,
			ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
			WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
			Priority:              temporal.Priority{FairnessKey: ref.Tenant},
			TypedSearchAttributes: temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet(ref.Tenant), temporalclient.Attention.ValueSet(false)),
			StaticSummary:         "daily reconciliation",
		})
		err := workflow.ExecuteChildWorkflow(child, ReconciliationName, ReconciliationInput{Tenant: ref.Tenant, ReconciliationID: ref.ReconciliationID}).GetChildWorkflowExecution().Get(ctx, nil)
		var running *temporal.ChildWorkflowExecutionAlreadyStartedError
		if errors.As(err, &running) { // it waits for its provider: now is a time to try
			err = workflow.SignalExternalWorkflow(ctx, ID(KindReconciliation, ref.Tenant, ref.ReconciliationID), "", SignalAgain, nil).Get(ctx, nil)
		}
		if err != nil {
			// Its row is open: the sweeper finds that nobody looks after it.
			workflow.GetLogger(ctx).Error("a reconciliation was not started", "tenant", ref.Tenant, "reconciliation_id", ref.ReconciliationID, "error", err)
		}
	}
	if page.Next == nil {
		return nil
	}
	return workflow.NewContinueAsNewError(ctx, ReconcileAllName, ReconcileAllInput{Now: now, After: *page.Next})
}

// ReconcileAllInput is where the round goes on; empty for its beginning.
type ReconcileAllInput struct {
	Now   time.Time     `json:"now,omitzero"`
	After reconcile.Due `json:"after,omitzero"`
}
