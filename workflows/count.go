package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
)

var counts *activities.Counts

const (
	// countPause gathers the results that come together with a first one.
	countPause = 10 * time.Second
	// countEvents is the length at which a run's history ends and another begins:
	// some days of looking once an hour.
	countEvents = 2000
)

// Steps of a Count that wait for a person.
const (
	countTasksStep     = "tasks"
	countApprovalsStep = "approvals"
)

// Count looks after a count until all its bins are counted: it looks at the rows
// when it is told to and once an hour, and asks a person when bins are left past
// their time or a difference waits too long for approval. What counters send
// never passes through it, so its history does not grow with the bins.
func Count(ctx workflow.Context, in CountInput) error {
	d, err := newDesk(ctx, in.Tenant, in.CountID)
	if err != nil {
		return err
	}
	r := &countRun{in: in, ref: activities.CountRef{Tenant: in.Tenant, CountID: in.CountID}, desk: d, changed: workflow.GetSignalChannel(ctx, SignalChanged)}
	for {
		over, err := r.look(ctx)
		if err != nil {
			return err
		}
		if over {
			return r.end(ctx)
		}
		if workflow.GetInfo(ctx).GetCurrentHistoryLength() > countEvents && len(d.decided) == 0 {
			return r.goOnAnew(ctx)
		}
		if err := r.pause(ctx); err != nil {
			return err
		}
		if err := r.act(ctx); err != nil {
			return err
		}
	}
}

type countRun struct {
	in      CountInput
	ref     activities.CountRef
	desk    *desk
	view    activities.CountView
	changed workflow.ReceiveChannel
}

// look reads how far the count is and tells, or no longer tells, what is late.
func (r *countRun) look(ctx workflow.Context) (over bool, err error) {
	for r.changed.ReceiveAsync(nil) { // what has changed so far is about to be seen
	}
	if r.view, err = certain[activities.CountView](ctx, r.desk, "look", "see how far the count is", counts.LookAtCount, r.ref); err != nil {
		return false, err
	}
	v := r.view
	r.desk.describe(ctx, fmt.Sprintf("Count in %s: %d of %d bins are left, %d wait for approval.", v.Warehouse, v.Left, v.Total, v.Waiting))
	if err := r.tell(ctx, !v.Over && v.PastDue, Case{Step: countTasksStep, Reason: "count_past_due", Verbs: []string{VerbRetry, VerbCancel}, Tried: "looked once an hour",
		Message: fmt.Sprintf("%s to be counted in %s, and the time for it is over. Have them counted, retry to give the count a day more, or cancel it: what was counted stays.", bins(v.Left, "is", "are"), v.Warehouse)}); err != nil {
		return false, err
	}
	return v.Over, r.tell(ctx, !v.Over && v.Unapproved, Case{Step: countApprovalsStep, Reason: "count_waits_for_approval", Verbs: []string{VerbRetry, VerbCancel}, Tried: "waited some hours",
		Message: fmt.Sprintf("%s for somebody to approve or reject a difference in %s: %s. Decide them, retry to be asked again in a day, or cancel the count: nothing of these bins is booked then.", bins(v.Waiting, "waits", "wait"), v.Warehouse, some(v.Which, v.Waiting))})
}

func bins(n int, one, many string) string {
	if n == 1 {
		return "1 bin " + one
	}
	return fmt.Sprintf("%d bins %s", n, many)
}

// some names the first bins of n.
func some(which string, n int) string {
	if n > 3 {
		return fmt.Sprintf("%s and %d more", which, n-3)
	}
	return which
}

func (r *countRun) tell(ctx workflow.Context, late bool, c Case) error {
	if late {
		return r.desk.park(ctx, c)
	}
	return r.desk.unpark(ctx, c.Step, "it is not late any more")
}

// pause waits until it is time to look, a person has decided, or something has
// changed; then it lets what comes along with that come.
func (r *countRun) pause(ctx workflow.Context) error {
	if err := r.wait(ctx, time.Duration(r.view.NextSeconds)*time.Second, "look at the count again", func() bool { return r.changed.Len() > 0 || len(r.desk.decided) > 0 }); err != nil {
		return err
	}
	if len(r.desk.decided) > 0 || r.changed.Len() == 0 {
		return nil
	}
	return r.wait(ctx, countPause, "let more results come", func() bool { return len(r.desk.decided) > 0 })
}

func (r *countRun) wait(ctx workflow.Context, d time.Duration, why string, until func() bool) error {
	timed, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(timed, d, workflow.TimerOptions{Summary: why})
	return workflow.Await(ctx, func() bool { return timer.IsReady() || until() })
}

// act carries out what a person has decided.
func (r *countRun) act(ctx workflow.Context) error {
	for {
		dec, ok := r.desk.next()
		if !ok {
			return nil
		}
		var err error
		if dec.Verb == VerbCancel {
			_, err = certain[any](ctx, r.desk, "cancel", "cancel what is left of the count", counts.CancelCount, r.ref)
			dec.result = "the count is cancelled: what was counted stays"
		} else {
			_, err = certain[any](ctx, r.desk, "extend", "give the count a day more", counts.ExtendCount, r.ref, dec.Step == countApprovalsStep)
			dec.result = "the count has a day more"
		}
		if err != nil {
			return err
		}
		dec.done = true
		if err := r.desk.unpark(ctx, dec.Step, dec.Verb); err != nil {
			return err
		}
	}
}

func (r *countRun) end(ctx workflow.Context) error {
	for dec, ok := r.desk.next(); ok; dec, ok = r.desk.next() {
		dec.result, dec.done = "nothing done: the count is over", true
	}
	r.desk.describe(ctx, "Done.")
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// goOnAnew ends this history and begins another, which tells again what is late.
func (r *countRun) goOnAnew(ctx workflow.Context) error {
	for _, step := range []string{countTasksStep, countApprovalsStep} {
		if err := r.desk.unpark(ctx, step, "told again at once: the run goes on with a new history"); err != nil {
			return err
		}
	}
	if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }); err != nil {
		return err
	}
	return workflow.NewContinueAsNewError(ctx, CountName, r.in)
}
