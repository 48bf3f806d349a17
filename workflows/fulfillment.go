package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/shipping"
)

var fulfillments *activities.Fulfillments

const (
	// restUntil bounds how long a run rests when nothing has a time.
	restUntil = 24 * time.Hour
	// behind is how soon a run looks again for what is late by Temporal's clock and not
	// yet by the database's.
	behind = 5 * time.Second
)

// FulfillmentInput starts a Fulfillment; all else is in the shipment's rows.
type FulfillmentInput struct {
	Tenant     string `json:"tenant"`
	ShipmentID string `json:"shipment_id"`
	// Told are the cases that an earlier history of this run has on the desk.
	Told []ToldCase `json:"told,omitempty"`
}

// Fulfillment looks after a shipment from the paid order to the door: it waits for the
// warehouse, finds a carrier and buys its labels when they are wanted, cancels those that
// are not wanted any more, waits for the carrier's word, and asks a person about what is
// late, lost, refused or in doubt. What people and carriers do meanwhile is in the rows;
// the run is told of what it must act on and rests otherwise.
func Fulfillment(ctx workflow.Context, in FulfillmentInput) error {
	d, err := newDesk(ctx, in.Tenant, in.ShipmentID)
	if err != nil {
		return err
	}
	r := &fulfillmentRun{desk: d, ref: activities.FulfillmentRef{Tenant: in.Tenant, ShipmentID: in.ShipmentID}, changed: workflow.GetSignalChannel(ctx, SignalChanged), told: in.Told}
	for {
		for r.changed.ReceiveAsync(nil) { // all that was said so far is about to be read
		}
		now, err := certain[activities.Standing](ctx, d, "load", "see how the shipment stands and do what is due", fulfillments.StandShipment, r.ref)
		if err != nil {
			return err
		}
		if err := r.show(ctx, now); err != nil {
			return err
		}
		if now.Over {
			d.describe(ctx, now.WaitsFor)
			return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
		}
		if dec, ok := d.next(); ok {
			if err := r.decide(ctx, dec); err != nil {
				return err
			}
			continue
		}
		// What is due is so by the database's clock, as the step will see it.
		if now.Next != "" && now.NextAt.IsZero() {
			if err := r.do(ctx, now); err != nil {
				return err
			}
		} else if err := r.rest(ctx, now); err != nil {
			return err
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() && len(d.decided) == 0 && workflow.AllHandlersFinished(ctx) && r.changed.Len() == 0 {
			return workflow.NewContinueAsNewError(ctx, FulfillmentName, FulfillmentInput{Tenant: in.Tenant, ShipmentID: in.ShipmentID, Told: r.desk.all()})
		}
	}
}

type fulfillmentRun struct {
	desk    *desk
	ref     activities.FulfillmentRef
	changed workflow.ReceiveChannel
	told    []ToldCase
}

// fulfillmentSteps are those at which a shipment can wait for a person.
var fulfillmentSteps = []string{shipping.StepCarrier, shipping.StepBooking, shipping.StepVoid, shipping.StepParcel, shipping.StepLate, shipping.StepPromise}

// show tells people what the shipment waits for, and asks them what it cannot decide.
func (r *fulfillmentRun) show(ctx workflow.Context, now activities.Standing) error {
	told := r.told
	r.told = nil
	var cases []Case
	for _, t := range now.Troubles {
		cases = append(cases, Case{Step: t.Step, Subject: now.OrderID, Reason: t.Reason, Message: t.Message, Tried: t.Tried, Verbs: t.Verbs})
	}
	if err := r.desk.stand(ctx, now.OrderID, fulfillmentSteps, cases, told); err != nil {
		return err
	}
	if r.desk.details != now.WaitsFor {
		r.desk.describe(ctx, now.WaitsFor)
	}
	return nil
}

// do takes the next step of the run itself. What came of it is in the rows. What needs only
// the database was done with the reading, unless it failed there.
func (r *fulfillmentRun) do(ctx workflow.Context, now activities.Standing) error {
	switch now.Next {
	case shipping.NextChoose:
		chosen, err := certain[activities.ChosenCarrier](ctx, r.desk, "choose", "who carries it", fulfillments.ChooseCarrier, r.ref)
		if err != nil || !chosen.Compare {
			return err
		}
		return r.compare(ctx)
	case shipping.NextCompare:
		return r.compare(ctx)
	case shipping.NextBook:
		return callCarrier(ctx, r.desk, CarrierTaskQueue(now.Carrier), "buy a label of "+now.Carrier.Title(), fulfillments.BookParcel, r.ref)
	case shipping.NextVoid:
		return callCarrier(ctx, r.desk, CarrierTaskQueue(now.Carrier), "cancel a label of "+now.Carrier.Title(), fulfillments.VoidLabel, r.ref)
	case shipping.NextWithdraw:
		_, err := certain[any](ctx, r.desk, "withdraw", "the order is cancelled: undo what was done", fulfillments.WithdrawShipment, r.ref)
		return err
	case shipping.NextFinish:
		_, err := certain[any](ctx, r.desk, "finish", "labelled", fulfillments.FinishLabels, r.ref)
		return err
	case shipping.NextTell:
		_, err := certain[any](ctx, r.desk, "tell", "the promise is broken: tell the buyer", fulfillments.TellDelayed, r.ref)
		return err
	}
	return nil
}

func (r *fulfillmentRun) compare(ctx workflow.Context) error {
	return callCarrier(ctx, r.desk, TaskQueue, "compare the carriers' prices", fulfillments.CompareCarriers, r.ref)
}

// callCarrier runs a step that calls a carrier: what came of the call is written down by
// the step, which fails only when the database or the worker does, and asks first when it
// is done again. A bug in it waits for a person.
func callCarrier(ctx workflow.Context, d *desk, queue, summary string, step, ref any) error {
	call := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           queue,
		StartToCloseTimeout: 75 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second},
		Summary:             summary,
	})
	for {
		err := workflow.ExecuteActivity(call, step, ref).Get(ctx, nil)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if _, err = d.wait(ctx, Case{Step: "carrier_call", Reason: "step_failed", Message: "A step that calls a carrier failed in a way that trying again does not cure by itself.", Tried: "it fails with: " + cause(err), Verbs: []string{VerbRetry}}); err != nil {
			return err
		}
	}
}

// restsFor names what a shipment waits for while nothing is due, by its status.
var restsFor = map[shipping.State]string{
	shipping.Pending: "a wave", shipping.Picking: "its picker", shipping.Packed: "its label", shipping.Labelled: "the carrier",
	shipping.HandedOver: "the carrier's word", shipping.InTransit: "the carrier's word", shipping.Delivering: "the carrier's word", shipping.NotDelivered: "the carrier's next try",
	shipping.Returned: "a person", shipping.Lost: "a person", shipping.Delivered: "its labels to be settled", shipping.Cancelled: "its labels to be settled",
}

// rest waits until something has changed, is due, or a person has decided.
func (r *fulfillmentRun) rest(ctx workflow.Context, now activities.Standing) error {
	until, why := restUntil, "waits for "+restsFor[shipping.State(now.Status)]+", looked at again"
	for _, at := range []struct {
		moment time.Time
		why    string
	}{{now.DueAt, "late from then on"}, {now.NextAt, "tried again: " + now.Next}, {now.WakeAt, "the promise to the buyer"}} {
		if left := at.moment.Sub(workflow.Now(ctx)); left > 0 && left < until {
			until, why = left, at.why
		}
	}
	if now.Next != "" && !now.NextAt.After(workflow.Now(ctx)) {
		until, why = time.Second, "tried again at once: "+now.Next
	}
	told := slices.ContainsFunc(now.Troubles, func(t shipping.Trouble) bool { return t.Step == shipping.StepLate })
	if !told && !now.DueAt.IsZero() && !now.DueAt.After(workflow.Now(ctx)) {
		until, why = min(until, behind), "late by now"
	}
	// What a row says is to come is so by the database's clock; histories of before have
	// no such moment.
	if !now.WakeAt.IsZero() && !now.WakeAt.After(workflow.Now(ctx)) {
		until, why = min(until, behind), "the promise to the buyer, by now"
	}
	timed, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(timed, until, workflow.TimerOptions{Summary: why + ", " + workflow.Now(ctx).Add(until).UTC().Format("2006-01-02 15:04") + " UTC"})
	return workflow.Await(ctx, func() bool { return timer.IsReady() || r.changed.Len() > 0 || len(r.desk.decided) > 0 })
}

// decide carries a person's verb out.
func (r *fulfillmentRun) decide(ctx workflow.Context, dec *decision) error {
	result, err := certain[string](ctx, r.desk, "decide", dec.Verb+" of "+dec.Step, fulfillments.DecideShipment, activities.FulfillmentDecision{
		FulfillmentRef: r.ref, ActionID: dec.ActionID, Step: dec.Step, Verb: dec.Verb, Outcome: dec.Outcome, Reference: dec.Reference})
	if err != nil {
		return err
	}
	dec.result, dec.done = result, true
	return nil
}
