package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// The activities, named through nil receivers.
var (
	checkouts    *activities.Checkouts
	payments     *activities.Payments
	reservations *activities.Reservations
	supports     *activities.Support
	sweeps       *activities.Sweeps
	captures     *activities.Captures
	shortages    *activities.Shortages
)

// databaseStep is for short, idempotent transactions: run by the worker that
// holds the workflow, at almost no cost.
func databaseStep(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout:    5 * time.Second,
		ScheduleToCloseTimeout: 6 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: time.Second, MaximumAttempts: 10},
		Summary:                summary,
	})
}

// gatewayCall is for a call that leaves the machine: a regular activity on the
// gateway's queue. A worker that dies in the middle is noticed after the
// start-to-close time and the call is tried again, asking first.
func gatewayCall(ctx workflow.Context, g payment.Name, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              GatewayTaskQueue(g),
		StartToCloseTimeout:    12 * time.Second,
		ScheduleToCloseTimeout: 40 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second},
		Summary:                summary,
	})
}

// Patience of a question: what is not answered by then is asked again later.
const (
	mostPatience  = 15 * time.Second
	leastPatience = 3 * time.Second
)

// askCall is gatewayCall for a question, or for closing an attempt, while the
// stock may be kept for left longer: a gateway that is away must not keep it
// past its time, nor keep other messages waiting for long.
func askCall(ctx workflow.Context, g payment.Name, summary string, left time.Duration) workflow.Context {
	ctx = gatewayCall(ctx, g, summary)
	patience := min(max(left, leastPatience), mostPatience)
	ctx = workflow.WithScheduleToCloseTimeout(ctx, patience)
	return workflow.WithStartToCloseTimeout(ctx, min(patience, 12*time.Second))
}

// beginCall is gatewayCall for the step that the buyer waits for: a gateway
// that is away is not waited for, the next one is used.
//
// within bounds all tries together; 0 is no bound of its own.
func beginCall(ctx workflow.Context, g payment.Name, summary string, left, within time.Duration) workflow.Context {
	once, all := 5*time.Second, min(max(left, leastPatience), 20*time.Second)
	if within > 0 {
		once, all = min(once, within), min(all, within)
	}
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              GatewayTaskQueue(g),
		StartToCloseTimeout:    once,
		ScheduleToCloseTimeout: all,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 300 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 2 * time.Second, MaximumAttempts: 3,
			NonRetryableErrorTypes: []string{activities.TypeUnavailable, activities.TypeRateLimited}},
		Summary: summary,
	})
}

// A storefront waits 10 s for its answer. walkPatience is what the gateways of
// auto have of that together, the rest is for the steps around them; a gateway
// has leastBegin in any case.
const (
	walkPatience = 8500 * time.Millisecond
	leastBegin   = time.Second
)

// beginsWithin is how long one gateway of auto may take while the walk lasts
// until the given time: two fifths of what is left. So the first has 3.4 s, which
// is plenty for a gateway that works at all, and when four hang (3.4, 2, 1.2 and
// 1 s) the fifth is still asked in time. When the time is used up, 0: the
// storefront gets a 202, and whoever is left is given all the patience of a named
// one, since a late answer is better than none. Nothing is lost by giving one up:
// what it began is not shown to the buyer, and beginning moves no money.
func beginsWithin(now, until time.Time) time.Duration {
	left := until.Sub(now)
	if left < leastBegin {
		return 0
	}
	return max(left*2/5, leastBegin)
}

// certain runs a database step until it has happened. A database that is away
// is waited for; a bug parks the step until a person lets it try again. It
// returns an error only when the workflow itself is cancelled.
func certain[T any](ctx workflow.Context, d *desk, step, summary string, activity any, args ...any) (T, error) {
	var out T
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := workflow.ExecuteLocalActivity(databaseStep(ctx, summary), activity, args...).Get(ctx, &out)
		switch {
		case err == nil:
			return out, nil
		case ctx.Err() != nil:
			return out, ctx.Err()
		case activities.ErrorType(err) == activities.TypeBug:
			workflow.GetLogger(ctx).Error("step failed", "step", step, "error", err)
			_, err = d.wait(ctx, Case{Step: step, Reason: "step_failed", Message: "The step \"" + summary + "\" failed in a way that trying again does not cure by itself.",
				Tried: "once, it fails with: " + cause(err), Verbs: []string{VerbRetry}})
			if err != nil {
				return out, err
			}
			wait = time.Second
		default:
			workflow.GetLogger(ctx).Warn("database away, trying again", "step", step, "in", wait)
			if err := workflow.NewTimerWithOptions(ctx, wait, workflow.TimerOptions{Summary: "database away: " + summary}).Get(ctx, nil); err != nil {
				return out, err
			}
		}
	}
}

// cause is what went wrong in the words of where it did, for people.
func cause(err error) string {
	s := err.Error()
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		s = app.Message()
	}
	if len(s) > 300 {
		s = s[:300]
	}
	return s
}

// clock formats a time for the Temporal UI.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

// amount formats an amount as people read it.
func amount(minor int64, currency money.Currency) string { return money.Format(minor, currency) }

// title is what people call a gateway.
func title(g payment.Name) string { return g.Title() }

// databaseActivity is for database steps that must outlive a long outage: a
// regular activity that is tried for as long as it takes.
func databaseActivity(summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second},
		Summary:             summary,
	}
}
