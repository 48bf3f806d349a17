package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/returns"
)

var returning *activities.Returns

// ReturnName is the workflow's name in histories.
const ReturnName = "Return"

// ReturnInput starts a Return; all else is in its rows.
type ReturnInput struct {
	Tenant   string `json:"tenant"`
	ReturnID string `json:"return_id"`
	// Told are the cases that an earlier history of this run has on the desk.
	Told []ToldCase `json:"told,omitempty"`
}

// Return looks after goods that come back, from the request to the money: it waits for
// whoever decides, for the buyer to send them and for somebody to look at them, reminds the
// buyer, ends what was never sent, has the money go when the rules say so, and asks a person
// about what is late, strange or refused. What people do meanwhile is in the rows; the run
// is told of it and rests otherwise.
func Return(ctx workflow.Context, in ReturnInput) error {
	d, err := newDesk(ctx, in.Tenant, in.ReturnID)
	if err != nil {
		return err
	}
	r := &returnRun{desk: d, ref: activities.ReturnRef{Tenant: in.Tenant, ReturnID: in.ReturnID}, changed: workflow.GetSignalChannel(ctx, SignalChanged), told: in.Told}
	for {
		for r.changed.ReceiveAsync(nil) { // all that was said so far is about to be read
		}
		now, err := certain[activities.ReturnStanding](ctx, d, "load", "read the return", returning.StandReturn, r.ref)
		if err != nil {
			return err
		}
		if err := r.show(ctx, now); err != nil {
			return err
		}
		if now.Over {
			return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
		}
		if dec, ok := d.next(); ok {
			err = r.decide(ctx, dec)
		} else if now.Next != "" && now.NextAt.IsZero() {
			err = r.do(ctx, now)
		} else {
			err = r.rest(ctx, now)
		}
		if err != nil {
			return err
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() && len(d.decided) == 0 && workflow.AllHandlersFinished(ctx) && r.changed.Len() == 0 {
			return workflow.NewContinueAsNewError(ctx, ReturnName, ReturnInput{Tenant: in.Tenant, ReturnID: in.ReturnID, Told: d.all()})
		}
	}
}

type returnRun struct {
	desk    *desk
	ref     activities.ReturnRef
	changed workflow.ReceiveChannel
	told    []ToldCase
}

// returnSteps are those at which a return can wait for a person.
var returnSteps = []string{returns.StepDecision, returns.StepGoods, returns.StepInspect, returns.StepMoney, returns.StepLabel, returns.StepBooking, returns.StepVoid}

// show tells people what the return waits for, and asks them what it cannot decide.
func (r *returnRun) show(ctx workflow.Context, now activities.ReturnStanding) error {
	var cases []Case
	for _, t := range now.Troubles {
		cases = append(cases, Case{Step: t.Step, Subject: now.OrderID, Reason: t.Reason, Message: t.Message, Tried: t.Tried, Verbs: t.Verbs})
	}
	told := r.told
	r.told = nil
	if err := r.desk.stand(ctx, now.OrderID, returnSteps, cases, told); err != nil {
		return err
	}
	if r.desk.details != now.WaitsFor {
		r.desk.describe(ctx, now.WaitsFor)
	}
	return nil
}

// do takes the next step of the run itself. What came of it is in the rows.
func (r *returnRun) do(ctx workflow.Context, now activities.ReturnStanding) (err error) {
	switch now.Next {
	case returns.NextRemind:
		_, err = certain[any](ctx, r.desk, "remind", "remind the buyer", returning.RemindReturn, r.ref)
	case returns.NextExpire:
		_, err = certain[any](ctx, r.desk, "expire", "it was not sent in time", returning.ExpireReturn, r.ref)
	case returns.NextPay:
		_, err = certain[any](ctx, r.desk, "pay", "have the money go back", returning.PayReturn, r.ref)
	case returns.NextSettle:
		_, err = certain[any](ctx, r.desk, "settle", "nothing is left to do", returning.CloseReturn, r.ref)
	case returns.NextChoose:
		chosen, err := certain[activities.ChosenCarrier](ctx, r.desk, "choose", "choose who carries it back", returning.ChooseReturnCarrier, r.ref)
		if err != nil || !chosen.Compare {
			return err
		}
		return callCarrier(ctx, r.desk, TaskQueue, "compare the carriers' prices", returning.CompareReturnCarriers, r.ref)
	case returns.NextBook:
		return callCarrier(ctx, r.desk, CarrierTaskQueue(now.Carrier), "buy a label of "+now.Carrier.Title(), returning.BookReturnParcel, r.ref)
	case returns.NextVoid:
		return callCarrier(ctx, r.desk, CarrierTaskQueue(now.Carrier), "cancel a label of "+now.Carrier.Title(), returning.VoidReturnLabel, r.ref)
	case returns.NextScan:
		return callCarrier(ctx, r.desk, CarrierTaskQueue(now.Carrier), "ask "+now.Carrier.Title()+" whether it has had the parcel", returning.ScanReturnLabel, r.ref)
	case returns.NextFinish:
		_, err = certain[any](ctx, r.desk, "label", "the buyer has a label", returning.FinishReturnLabel, r.ref)
	}
	return err
}

// returnRestsFor names what a return waits for, by its status.
var returnRestsFor = map[string]string{
	returns.Requested: "somebody to approve or reject it", returns.Approved: "the buyer to send it", returns.LabelIssued: "the buyer to send it", returns.InTransit: "the parcel",
	returns.Received: "somebody to look at it", returns.Inspected: "the money to be back", returns.Refunded: "the money to be back", returns.Expired: "a person",
}

// rest waits until something has changed, is due, or a person has decided.
func (r *returnRun) rest(ctx workflow.Context, now activities.ReturnStanding) error {
	until, why := restUntil, "waits for "+returnRestsFor[now.Status]+", looked at again"
	for _, at := range []struct {
		moment time.Time
		why    string
	}{{now.DueAt, "waits for " + returnRestsFor[now.Status] + ", late from then on"}, {now.NextAt, "waits for " + returnRestsFor[now.Status] + ", next: " + now.Next}} {
		switch left := at.moment.Sub(workflow.Now(ctx)); {
		case at.moment.IsZero():
		case left > 0 && left < until:
			until, why = left, at.why
		case left <= 0 && len(now.Troubles) == 0:
			// By Temporal's clock, and not yet by the database's.
			until, why = min(until, behind), at.why
		}
	}
	timed, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(timed, until, workflow.TimerOptions{Summary: why + ", " + workflow.Now(ctx).Add(until).UTC().Format("2006-01-02 15:04") + " UTC"})
	return workflow.Await(ctx, func() bool { return timer.IsReady() || r.changed.Len() > 0 || len(r.desk.decided) > 0 })
}

// decide carries a person's verb out.
func (r *returnRun) decide(ctx workflow.Context, dec *decision) error {
	result, err := certain[string](ctx, r.desk, "decide", dec.Verb+" of "+dec.Step, returning.DecideReturn, activities.ReturnDecision{
		ReturnRef: r.ref, ActionID: dec.ActionID, Step: dec.Step, Verb: dec.Verb, Outcome: dec.Outcome, Reference: dec.Reference})
	if err != nil {
		return err
	}
	dec.result, dec.done = result, true
	return nil
}
