package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
)

// capturePatience is how long a capture or void is tried by itself before a
// person is asked.
const capturePatience = 2 * time.Hour

// Capture takes an authorization's money, or gives the authorization back, as
// its row says that somebody wants. It asks the gateway until that is certain;
// what is unknown is asked for and never sent twice, and what the gateway
// refuses waits for a person. A run that starts on a payment of which nothing is
// wanted (any more) ends.
func Capture(ctx workflow.Context, in CaptureInput) error {
	d, err := newDesk(ctx, in.Tenant, in.PaymentID)
	if err != nil {
		return err
	}
	r := &captureRun{in: in, ref: activities.CaptureRef{Tenant: in.Tenant, PaymentID: in.PaymentID}, desk: d}
	if err := r.register(ctx); err != nil {
		return err
	}
	if r.view, err = certain[activities.CaptureView](ctx, d, "load", "read the payment", captures.LoadCapture, r.ref); err != nil {
		return err
	}
	d.subject = r.view.CheckoutID
	if err := r.run(ctx); err != nil {
		return err
	}
	r.told = true
	d.describe(ctx, fmt.Sprintf("Payment %s is %s, %s.", in.PaymentID, r.view.Status, clock(workflow.Now(ctx))))
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

type captureRun struct {
	in   CaptureInput
	ref  activities.CaptureRef
	desk *desk
	view activities.CaptureView
	// told: there is something to say to the caller who waits.
	told    bool
	refused string
}

func (r *captureRun) register(ctx workflow.Context) error {
	begin := func(ctx workflow.Context) (CaptureAnswer, error) {
		err := workflow.Await(ctx, func() bool { return r.told })
		return CaptureAnswer{Status: string(r.view.Status), Refused: r.refused}, err
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, UpdateBegin, begin, workflow.UpdateHandlerOptions{Description: "answers once the gateway has spoken, or a person is needed"})
}

// wanted reports whether there is still something to do.
func (r *captureRun) wanted() bool {
	return r.view.Status == payment.StatusAuthorized && (r.view.Capture > 0 || r.view.Void)
}

func (r *captureRun) what() string {
	if r.view.Void {
		return fmt.Sprintf("%s: give back the authorization of payment %s", title(r.view.Gateway), r.in.PaymentID)
	}
	return fmt.Sprintf("%s: capture %s of payment %s", title(r.view.Gateway), amount(r.view.Capture, r.view.Currency), r.in.PaymentID)
}

func (r *captureRun) run(ctx workflow.Context) error {
	since := workflow.Now(ctx)
	for wait := 2 * time.Second; r.wanted(); wait = min(2*wait, 10*time.Minute) {
		r.desk.describe(ctx, r.what()+".")
		refused, tried, err := r.try(ctx)
		if err != nil {
			return err
		}
		if !r.wanted() {
			return nil
		}
		if refused == "" && workflow.Now(ctx).Sub(since) > capturePatience {
			refused, tried = "capture_unanswered", "asked since "+clock(since)
		}
		if refused != "" {
			if err := r.ask(ctx, refused, tried); err != nil {
				return err
			}
			since, wait = workflow.Now(ctx), time.Second
			continue
		}
		if _, err := certain[any](ctx, r.desk, "later", "not answered yet", captures.PutCaptureOff, r.ref, int((2*wait + time.Minute).Seconds())); err != nil {
			return err
		}
		if err := workflow.NewTimerWithOptions(ctx, wait, workflow.TimerOptions{Summary: "ask again"}).Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// try calls the gateway once and records what it says. refused names what time
// alone does not cure.
func (r *captureRun) try(ctx workflow.Context) (refused, tried string, err error) {
	call := gatewayCall(ctx, r.view.Gateway, r.what())
	activity, lapse := captures.CapturePayment, payment.StatusExpired
	if r.view.Void {
		activity, lapse = captures.VoidAuthorization, payment.StatusCancelled
	}
	var asked activities.Asked
	if failed := workflow.ExecuteActivity(call, activity, r.ref).Get(ctx, &asked); failed != nil {
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		switch class := activities.ErrorType(failed); class {
		case activities.TypeUnavailable, activities.TypeRateLimited, activities.TypeDatabase, activities.TypeUnknown:
			return "", "", nil
		default:
			return "capture_" + class, cause(failed), nil
		}
	}
	if asked.Answer.Outcome == payment.OutcomeUnknown {
		return "", "", nil // nothing to record: it may have ended meanwhile, and is asked for again
	}
	ref := activities.CheckoutRef{Tenant: r.in.Tenant, CheckoutID: r.view.CheckoutID}
	ruling, err := certain[checkout.Ruling](ctx, r.desk, "record", "record: payment is "+string(asked.Answer.Outcome), checkouts.RecordAnswer, ref,
		checkout.News{PaymentID: r.in.PaymentID, Answer: asked.Answer, AskedAt: asked.AskedAt, Lapse: lapse})
	if err != nil {
		return "", "", err
	}
	if a, ok := ruling.View.Attempt(r.in.PaymentID); ok {
		r.view.Status = a.Status
	}
	if err := startBooked(ctx, r.in.Tenant, ruling); err != nil {
		return "", "", err
	}
	if ruling.Mismatch != "" || ruling.CameBack > 0 {
		// Money that pays nothing: the run that asks a person about it.
		if err := startLatePayment(ctx, r.checkout()); err != nil {
			return "", "", err
		}
	}
	switch {
	case !r.wanted():
		return "", "", nil
	case asked.Answer.Outcome == payment.OutcomeDeclined:
		return "capture_refused", strings.TrimSpace(asked.Answer.Code + " " + asked.Answer.Message), nil
	}
	return "", "", nil
}

// ask waits for a person.
func (r *captureRun) ask(ctx workflow.Context, reason, tried string) error {
	r.told, r.refused = true, reason
	if _, err := certain[any](ctx, r.desk, "parked", "waits for a person", captures.PutCaptureOff, r.ref, int((24 * time.Hour).Seconds())); err != nil {
		return err
	}
	req, err := r.desk.wait(ctx, Case{Step: "capture", Reason: reason, Tried: tried, Verbs: []string{VerbRetry, VerbCancel},
		Message: r.what() + " is not done. Retry when the cause is cured, or cancel: the authorization then stands as before, and lapses by itself."})
	if err != nil {
		return err
	}
	if req.Verb == VerbCancel {
		r.view, err = certain[activities.CaptureView](ctx, r.desk, "withdraw", "nothing is wanted any more", captures.WithdrawCapture, r.ref)
		if err != nil || r.view.Status != payment.StatusAuthorized {
			return err
		}
		// A try may have had its effect all the same.
		return startLatePayment(ctx, r.checkout())
	}
	r.view, err = certain[activities.CaptureView](ctx, r.desk, "load", "read the payment", captures.LoadCapture, r.ref)
	return err
}

// startCapture starts the run that looks after an authorization, which outlives
// this one. One that runs already is left alone.
func startCapture(ctx workflow.Context, tenant, paymentID string) error {
	return startAbandoned(ctx, ID(KindCapture, tenant, paymentID), "authorization of payment "+paymentID, CaptureName, CaptureInput{Tenant: tenant, PaymentID: paymentID})
}

func (r *captureRun) checkout() CheckoutInput {
	return CheckoutInput{Tenant: r.in.Tenant, CheckoutID: r.view.CheckoutID, PaymentID: r.in.PaymentID}
}

// startLatePayment starts the run that asks the gateway what became of one payment
// until it is told, and a person when its money is not what was asked for.
func startLatePayment(ctx workflow.Context, in CheckoutInput) error {
	return startAbandoned(ctx, ID(KindLatePayment, in.Tenant, in.PaymentID), "what became of payment "+in.PaymentID, LatePaymentName, in)
}

// startBooked starts what a ruling has booked.
func startBooked(ctx workflow.Context, tenant string, ruling checkout.Ruling) error {
	if ruling.RefundID != "" {
		if err := startRefund(ctx, tenant, ruling.RefundID); err != nil {
			return err
		}
	}
	for _, refundID := range ruling.RefundIDs {
		if err := startRefund(ctx, tenant, refundID); err != nil {
			return err
		}
	}
	for _, paymentID := range ruling.VoidIDs {
		if err := startCapture(ctx, tenant, paymentID); err != nil {
			return err
		}
	}
	return nil
}
