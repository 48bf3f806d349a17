package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/payment"
)

// refundPatience is how long a refund is tried by itself before a person is
// asked.
const refundPatience = 2 * time.Hour

// Refund gives one booked refund back: it asks the gateway until the money is
// on its way, and a person when the gateway refuses. What is unknown is asked
// for, never sent twice.
func Refund(ctx workflow.Context, in RefundInput) error {
	d, err := newDesk(ctx, in.Tenant, in.RefundID)
	if err != nil {
		return err
	}
	r := &refundRun{in: in, ref: activities.RefundRef{Tenant: in.Tenant, RefundID: in.RefundID}, desk: d}
	if r.view, err = certain[activities.RefundView](ctx, d, "load", "read the refund", payments.LoadRefund, r.ref); err != nil {
		return err
	}
	if r.view.CheckoutID != "" {
		d.subject = r.view.CheckoutID
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

type refundRun struct {
	in   RefundInput
	ref  activities.RefundRef
	desk *desk
	view activities.RefundView
}

func (r *refundRun) run(ctx workflow.Context) error {
	since := workflow.Now(ctx)
	for wait := 2 * time.Second; r.view.Status != "succeeded"; wait = min(2*wait, 10*time.Minute) {
		what := fmt.Sprintf("%s: give back %s of payment %s (%s)", title(r.view.Gateway), amount(r.view.Amount, r.view.Currency), r.view.PaymentID, strings.ReplaceAll(r.view.Reason, "_", " "))
		r.desk.describe(ctx, what+".")
		var answer payment.RefundAnswer
		failed := workflow.ExecuteActivity(gatewayCall(ctx, r.view.Gateway, what), payments.RefundPayment, r.ref).Get(ctx, &answer)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		refused, tried := "", ""
		switch {
		case failed != nil:
			switch class := activities.ErrorType(failed); class {
			case activities.TypeUnavailable, activities.TypeRateLimited, activities.TypeDatabase, activities.TypeUnknown:
			default:
				refused, tried = "refund_"+class, cause(failed)
			}
		case answer.Outcome == payment.OutcomeApproved:
			return r.put(ctx, "succeeded", answer, 0)
		case answer.Outcome == payment.OutcomeDeclined:
			refused, tried = "refund_refused", answer.Code+" "+answer.Message
		case answer.Outcome == payment.OutcomeUnknown:
			if err := r.put(ctx, "unknown", answer, 2*wait+time.Minute); err != nil {
				return err
			}
		default: // accepted, on its way
			if err := r.put(ctx, "pending", answer, 2*wait+time.Minute); err != nil {
				return err
			}
		}
		if refused == "" && workflow.Now(ctx).Sub(since) > refundPatience {
			refused, tried = "refund_unanswered", "asked since "+clock(since)
		}
		if refused != "" {
			done, err := r.ask(ctx, refused, tried, answer)
			if err != nil || done {
				return err
			}
			since, wait = workflow.Now(ctx), time.Second
			continue
		}
		if err := workflow.NewTimerWithOptions(ctx, wait, workflow.TimerOptions{Summary: "ask again about the refund"}).Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// ask waits for a person. done means that the refund needs nothing more.
func (r *refundRun) ask(ctx workflow.Context, reason, tried string, answer payment.RefundAnswer) (done bool, err error) {
	if err := r.put(ctx, "needs_attention", answer, 0); err != nil {
		return false, err
	}
	req, err := r.desk.wait(ctx, Case{Step: "refund", Reason: reason, Tried: tried, Verbs: []string{VerbRetry, VerbResolve, VerbCancel},
		Message: fmt.Sprintf("%s does not give back %s of payment %s. Retry, or pay it back another way and resolve it as succeeded with the reference of the transfer, or cancel the refund.",
			title(r.view.Gateway), amount(r.view.Amount, r.view.Currency), r.view.PaymentID)})
	if err != nil {
		return false, err
	}
	switch {
	case req.Verb == VerbResolve && req.Outcome == "succeeded":
		return true, r.put(ctx, "succeeded", payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: req.Reference, Code: "resolved_by_support"}, 0)
	case req.Verb == VerbCancel, req.Verb == VerbResolve && req.Outcome == "failed":
		return true, r.put(ctx, "failed", payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: "given_up_by_support"}, 0)
	}
	return false, r.put(ctx, "pending", payment.RefundAnswer{}, 10*time.Minute)
}

func (r *refundRun) put(ctx workflow.Context, status string, answer payment.RefundAnswer, due time.Duration) error {
	_, err := certain[any](ctx, r.desk, "record", "record: refund "+status, payments.PutRefund, r.ref, status, answer, int(due.Seconds()))
	r.view.Status = status
	return err
}
