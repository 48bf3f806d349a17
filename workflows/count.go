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
	for _, c := range in.Told {
		d.resume(r.late(c.Step), c.Message)
	}
	for {
		over, err := r.look(ctx)
		if err != nil {
			return err
		}
		if over {
			return r.end(ctx)
		}
		if workflow.GetInfo(ctx).GetCurrentHistoryLength() > countEvents && len(d.decided) == 0 {
			if anew, err := r.goOnAnew(ctx); anew || err != nil {
				return err
			}
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
	if err := r.tell(ctx, countTasksStep, !v.Over && v.PastDue); err != nil {
		return false, err
	}
	return v.Over, r.tell(ctx, countApprovalsStep, !v.Over && v.Unapproved)
}

// late is what a person is asked about a step, in the words of the last look.
func (r *countRun) late(step string) Case {
	v := r.view
	if step == countApprovalsStep {
		return Case{Step: step, Reason: "count_waits_for_approval", Verbs: []string{VerbRetry, VerbCancel}, Tried: "waited some hours",
			Message: fmt.Sprintf("%s for somebody to approve or reject a difference in %s: %s. Decide them, retry to be asked again in a day, or cancel the count: nothing of these bins is booked then.", bins(v.Waiting, "waits", "wait"), v.Warehouse, some(v.Which, v.Waiting))}
	}
	return Case{Step: step, Reason: "count_past_due", Verbs: []string{VerbRetry, VerbCancel}, Tried: "looked once an hour",
		Message: fmt.Sprintf("%s to be counted in %s, and the time for it is over. Have them counted, retry to give the count a day more, or cancel it: what was counted stays.", bins(v.Left, "is", "are"), v.Warehouse)}
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

func (r *countRun) tell(ctx workflow.Context, step string, late bool) error {
	if !late {
		return r.desk.unpark(ctx, step, "it is not late any more")
	}
	c := r.late(step)
	if r.desk.parked(step) && r.desk.told(step) != c.Message && rewordsCase(ctx) {
		return r.desk.reword(ctx, c)
	}
	return r.desk.park(ctx, c)
}

// rewordsCase is the gate of telling what has become of a case that is parked:
// runs of before left it in the words of the day on which it was.
func rewordsCase(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "count-rewords-case", workflow.DefaultVersion, 1) >= 1
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
		if dec.Verb == VerbCancel && len(r.desk.decided) > 0 && endsWithCancel(ctx) {
			r.nothingDone()
		}
	}
}

// endsWithCancel is the gate of that: runs of before gave the cancelled count a
// day more, and said so.
func endsWithCancel(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "count-ends-with-cancel", workflow.DefaultVersion, 1) >= 1
}

func (r *countRun) end(ctx workflow.Context) error {
	r.nothingDone()
	r.desk.describe(ctx, "Done.")
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// nothingDone answers the verbs that came too late.
func (r *countRun) nothingDone() {
	for dec, ok := r.desk.next(); ok; dec, ok = r.desk.next() {
		dec.result, dec.done = "nothing done: the count is over", true
	}
}

// goOnAnew ends this history and begins another, to which it hands its cases. A
// verb that is still being answered comes first; then it is for the next look.
func (r *countRun) goOnAnew(ctx workflow.Context) (anew bool, err error) {
	if !handsCasesOn(ctx) {
		return true, r.goOnUntold(ctx)
	}
	if !workflow.AllHandlersFinished(ctx) {
		return false, nil
	}
	in := CountInput{Tenant: r.in.Tenant, CountID: r.in.CountID}
	for _, c := range r.desk.cases {
		in.Told = append(in.Told, ToldCase{Step: c.Step, Message: c.Message})
	}
	return true, workflow.NewContinueAsNewError(ctx, CountName, in)
}

// handsCasesOn is the gate of goOnAnew.
func handsCasesOn(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "count-hands-cases-on", workflow.DefaultVersion, 1) >= 1
}

// goOnUntold is goOnAnew of runs of before: it took its cases off the desk, for
// the next history to tell them again. A verb that came meanwhile was lost.
func (r *countRun) goOnUntold(ctx workflow.Context) error {
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
