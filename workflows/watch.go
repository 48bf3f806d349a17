package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
)

var watches *activities.Watches

// lookEvery is how often a row is read without anybody having said that it
// changed.
const lookEvery = time.Hour

// WatchInput starts a run that watches something: a transfer, for one.
type WatchInput struct {
	Tenant string `json:"tenant"`
	ID     string `json:"id"`
	// Parked: an earlier part of this run has a case on the desk.
	Parked bool `json:"parked,omitempty"`
	// Told is what that case says, so that nobody is told it again.
	Told string `json:"told,omitempty"`
}

// watched is what is particular to a kind.
type watched struct {
	kind, name string
	// step and reason of the case when it is late, and what a person can do.
	step, reason, advice string
	verbs                []string
	// waits names what the timer waits for.
	waits string
}

// watch waits until something in a warehouse is over: for the person who does it,
// and when it is late for one who says how it goes on. All it knows is in the row,
// which is read when somebody says that it has changed, when it is due, and each
// hour besides.
func watch(ctx workflow.Context, w watched, in WatchInput) error {
	d, err := newDesk(ctx, in.Tenant, in.ID)
	if err != nil {
		return err
	}
	r := &watchRun{watched: w, desk: d, ref: activities.WatchRef{Kind: w.kind, Tenant: in.Tenant, ID: in.ID}, changed: workflow.GetSignalChannel(ctx, SignalChanged)}
	if in.Parked {
		d.resume(r.late(activities.Watched{}), in.Told)
	}
	for {
		now, err := certain[activities.Watched](ctx, d, "load", "read the "+w.kind, watches.LoadWatched, r.ref)
		if err != nil {
			return err
		}
		if now.Over {
			return r.end(ctx, now)
		}
		if err := r.show(ctx, now); err != nil {
			return err
		}
		dec, err := r.pause(ctx, now)
		if err != nil {
			return err
		}
		if dec != nil {
			if err := r.act(ctx, dec); err != nil {
				return err
			}
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() && len(d.decided) == 0 && workflow.AllHandlersFinished(ctx) && r.changed.Len() == 0 {
			return workflow.NewContinueAsNewError(ctx, w.name, WatchInput{Tenant: in.Tenant, ID: in.ID, Parked: d.parked(w.step), Told: d.told(w.step)})
		}
	}
}

type watchRun struct {
	watched
	desk    *desk
	ref     activities.WatchRef
	changed workflow.ReceiveChannel
}

func (r *watchRun) late(now activities.Watched) Case {
	return Case{Step: r.step, Reason: r.reason, Verbs: r.verbs, Message: now.WaitsFor + " " + r.advice, Tried: "waited until " + now.DueAt.UTC().Format("2006-01-02 15:04") + " UTC"}
}

// show tells people what is waited for, and asks them when it is late.
func (r *watchRun) show(ctx workflow.Context, now activities.Watched) error {
	r.desk.describe(ctx, now.WaitsFor)
	if now.DueAt.After(workflow.Now(ctx)) {
		return r.desk.unpark(ctx, r.step, "it is waited for again")
	}
	if r.desk.parked(r.step) {
		return r.desk.reword(ctx, r.late(now))
	}
	return r.desk.park(ctx, r.late(now))
}

// pause waits until the row may say something new, or a person has decided.
func (r *watchRun) pause(ctx workflow.Context, now activities.Watched) (*decision, error) {
	wait := lookEvery
	if left := now.DueAt.Sub(workflow.Now(ctx)); left > 0 {
		wait = min(wait, left)
	}
	timed, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(timed, wait, workflow.TimerOptions{Summary: fmt.Sprintf("%s, due %s UTC", r.waits, now.DueAt.UTC().Format("2006-01-02 15:04"))})
	err := workflow.Await(ctx, func() bool { return timer.IsReady() || r.changed.Len() > 0 || len(r.desk.decided) > 0 })
	if err != nil {
		return nil, err
	}
	for r.changed.ReceiveAsync(nil) { // all that was said so far is about to be read
	}
	dec, _ := r.desk.next()
	return dec, nil
}

// act carries a person's verb out.
func (r *watchRun) act(ctx workflow.Context, dec *decision) error {
	var err error
	switch dec.Verb {
	case VerbRetry:
		_, err = certain[any](ctx, r.desk, "postpone", "wait another day", watches.PostponeWatched, r.ref)
		dec.result = "waits another day"
	case VerbResolve:
		_, err = certain[any](ctx, r.desk, "resolve", "close the "+r.kind, watches.ResolveWatched, r.ref, dec.ActionID)
		dec.result = "closed"
	}
	if err != nil {
		return err
	}
	dec.done = true
	return r.desk.unpark(ctx, r.step, dec.Verb)
}

func (r *watchRun) end(ctx workflow.Context, now activities.Watched) error {
	if err := r.desk.unpark(ctx, r.step, "it is "+now.Status); err != nil {
		return err
	}
	r.desk.describe(ctx, "Over: "+now.Status+".")
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}
