package workflows

import (
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
)

// shortageRetry is how often other shelves are looked at.
const shortageRetry = 15 * time.Minute

// stepShortage is at which a person is asked about missing units.
const stepShortage = "shortage"

// Shortage looks after a paid order that lost units to a count: it takes them
// from other warehouses, and does what the tenant's rule says while there are none:
// it asks a person, waits for stock, or gives the money for them back. New stock
// cures it by itself.
func Shortage(ctx workflow.Context, in ShortageInput) error {
	d, err := newDesk(ctx, in.Tenant, in.OrderID)
	if err != nil {
		return err
	}
	d.describe(ctx, "Looking for other shelves.")
	if in.HoldID == "" { // restarted from its row
		if in.HoldID, err = certain[string](ctx, d, "load", "find the order's hold", checkouts.HoldOf, in.Tenant, in.OrderID); err != nil {
			return err
		}
	}
	r := &shortageRun{desk: d, in: in, changed: workflow.GetSignalChannel(ctx, SignalChanged), ref: activities.ShortRef{Tenant: in.Tenant, OrderID: in.OrderID, HoldID: in.HoldID}}
	if !shortageHasRules(ctx) {
		return r.asking(ctx)
	}
	return r.mend(ctx)
}

// shortageHasRules is the gate of the tenant's rule: runs of before ask a person, and
// nothing else.
func shortageHasRules(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "shortage-has-rules", workflow.DefaultVersion, 1) >= 1
}

// shortageTakesOutcomes is the gate of what a person states, in runs that are older: to
// those of before every resolve was the same.
func shortageTakesOutcomes(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "shortage-takes-outcomes", workflow.DefaultVersion, 1) >= 1
}

type shortageRun struct {
	desk *desk
	in   ShortageInput
	ref  activities.ShortRef
	// changed says that stock has come in.
	changed workflow.ReceiveChannel
}

// mend looks after the order by the tenant's rule until nothing is missing any more, or
// a person has settled it.
func (r *shortageRun) mend(ctx workflow.Context) error {
	for _, told := range r.in.Told {
		r.desk.resume(shortCase(told.Message), told.Message)
	}
	for {
		r.seen()
		now, err := certain[activities.ShortView](ctx, r.desk, "mend", "look for the missing units, else by the rule", shortages.MendShort, r.ref)
		if err != nil {
			return err
		}
		over, err := r.show(ctx, now)
		if err != nil || over {
			return err
		}
		if err := r.rest(ctx, now.Until); err != nil {
			return err
		}
		if over, err = r.decide(ctx); err != nil || over {
			return err
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() && len(r.desk.decided) == 0 && r.changed.Len() == 0 && workflow.AllHandlersFinished(ctx) {
			return r.goOnAnew(ctx)
		}
	}
}

// seen takes the word of stock that is about to be looked at.
func (r *shortageRun) seen() {
	for r.changed.ReceiveAsync(nil) {
	}
}

// show tells people how the order stands, and asks one of them what the rule leaves to a
// person. over: the run has ended.
func (r *shortageRun) show(ctx workflow.Context, now activities.ShortView) (over bool, err error) {
	switch {
	case now.Over:
		if err := r.desk.unpark(ctx, stepShortage, now.WaitsFor); err != nil {
			return false, err
		}
		return true, r.end(ctx, now.WaitsFor)
	case now.Asks == "":
		err = r.desk.unpark(ctx, stepShortage, now.WaitsFor)
	default:
		c := shortCase(now.Asks)
		if err = r.desk.park(ctx, c); err == nil {
			err = r.desk.reword(ctx, c)
		}
	}
	if err == nil && r.desk.details != now.WaitsFor {
		r.desk.describe(ctx, now.WaitsFor)
	}
	return false, err
}

func shortCase(asks string) Case {
	return Case{Step: stepShortage, Reason: "short_stock", Verbs: []string{VerbRetry, VerbResolve, VerbSkip}, Message: asks, Tried: "all bins and warehouses, again every " + shortageRetry.String()}
}

// rest waits until stock has come in, other shelves are looked at again, the order has
// waited for long enough, or a person has decided.
func (r *shortageRun) rest(ctx workflow.Context, until time.Time) error {
	wait, why := shortageRetry, "look for units again"
	if left := until.Sub(workflow.Now(ctx)); !until.IsZero() && left < wait {
		// By the database's clock it may be a little later.
		wait, why = max(left, behind), "it has waited for stock long enough"
	}
	timed, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(timed, wait, workflow.TimerOptions{Summary: why})
	return workflow.Await(ctx, func() bool { return timer.IsReady() || r.changed.Len() > 0 || len(r.desk.decided) > 0 })
}

// decide carries out what a person has decided, if anything. Retry looks again, which
// comes next anyway.
func (r *shortageRun) decide(ctx workflow.Context) (over bool, err error) {
	dec, ok := r.desk.next()
	if !ok {
		return false, nil
	}
	if dec.Verb == VerbRetry {
		dec.result, dec.done = dec.Verb+" done", true
		return false, nil
	}
	return r.state(ctx, dec)
}

// state carries out what a person states of the missing units. Where it is no outcome
// that is known, the person has settled it.
func (r *shortageRun) state(ctx workflow.Context, dec *decision) (over bool, err error) {
	outcome := ""
	if ruledOutcome(dec) {
		outcome = dec.Outcome
	}
	now, err := certain[activities.ShortView](ctx, r.desk, "decide", "missing units: "+strings.TrimSpace(dec.Verb+" "+outcome), shortages.DecideShort, r.ref, outcome)
	if err != nil {
		return false, err
	}
	dec.result, dec.done = now.Result, true
	if outcome != "" {
		return r.show(ctx, now)
	}
	dec.result = dec.Verb + " done"
	if err := r.desk.unpark(ctx, stepShortage, dec.Verb); err != nil {
		return false, err
	}
	return true, r.end(ctx, now.WaitsFor)
}

func ruledOutcome(dec *decision) bool {
	return dec.Verb == VerbResolve && (dec.Outcome == checkout.ShortRefund || dec.Outcome == checkout.ShortBackOrder)
}

// end says how it ended, and ends the run once everybody was answered.
func (r *shortageRun) end(ctx workflow.Context, how string) error {
	r.desk.describe(ctx, how)
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// goOnAnew ends this history and begins another, to which it hands its case.
func (r *shortageRun) goOnAnew(ctx workflow.Context) error {
	in := r.in
	in.Told = nil
	for _, c := range r.desk.cases {
		in.Told = append(in.Told, ToldCase{Step: c.Step, Message: c.Message})
	}
	return workflow.NewContinueAsNewError(ctx, ShortageName, in)
}

// asking is the run of before the rules: it asks a person at once. What a person states
// since then is carried out all the same.
func (r *shortageRun) asking(ctx workflow.Context) error {
	d := r.desk
	for {
		r.seen()
		whole, err := certain[bool](ctx, d, "cure", "hold elsewhere what the shelf did not have", checkouts.CureShort, r.in.Tenant, r.in.HoldID)
		if err != nil {
			return err
		}
		if whole {
			if err := d.unpark(ctx, stepShortage, "units were found"); err != nil {
				return err
			}
			break
		}
		if err := d.park(ctx, Case{Step: stepShortage, Reason: "short_stock", Verbs: []string{VerbRetry, VerbResolve, VerbSkip},
			Message: "The order is paid and the shelves have fewer units than it needs. Receive stock and retry, or agree with the buyer and resolve.",
			Tried:   "all warehouses, again every " + shortageRetry.String()}); err != nil {
			return err
		}
		if err := r.rest(ctx, time.Time{}); err != nil {
			return err
		}
		dec, ok := d.next()
		if !ok {
			continue
		}
		if ruledOutcome(dec) && shortageTakesOutcomes(ctx) {
			if over, err := r.state(ctx, dec); err != nil || over {
				return err
			}
			return r.mend(ctx)
		}
		dec.result, dec.done = dec.Verb+" done", true
		if dec.Verb != VerbRetry {
			if err := d.unpark(ctx, stepShortage, dec.Verb); err != nil {
				return err
			}
			break
		}
	}
	return r.end(ctx, "Done.")
}
