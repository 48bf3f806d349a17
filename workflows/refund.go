package workflows

import (
	"fmt"
	"math"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/payment"
)

const (
	// refundPatience is how long a refund is tried by itself before a person is
	// asked.
	refundPatience = 2 * time.Hour
	// untracedPatience is that of a refund whose answer was lost at a provider
	// that cannot be asked for it: only its notification, or a person, tells.
	untracedPatience = 10 * time.Minute
	// acceptedPatience is that of a refund which the provider has accepted:
	// banks take days.
	acceptedPatience = 15 * 24 * time.Hour
	// frozenPatience is how long a dispute may last before somebody is told
	// what waits for it.
	frozenPatience = time.Hour
	// settlePatience is how long a refund waits for its payment to be settled
	// before a person is asked.
	settlePatience = 24 * time.Hour
)

// How often a gateway is asked at the least: while its answer is missing, or lost
// for good, while
// it works on an accepted refund, while a dispute runs, while the payment is not
// settled.
const (
	askEvery      = 10 * time.Minute
	untracedEvery = time.Minute
	acceptedEvery = 4 * time.Hour
	frozenEvery   = 12 * time.Hour
	settleEvery   = 10 * time.Minute
)

// Refund gives money back: the parts of a request beside each other, or one
// refund that nobody asked for. It asks the gateway until the money is on its
// way, and a person when the gateway refuses. What is unknown is asked for,
// never sent twice.
func Refund(ctx workflow.Context, in RefundInput) error {
	d, err := newDesk(ctx, in.Tenant, in.RefundID)
	if err != nil {
		return err
	}
	r := &refundRun{in: in, ref: activities.RefundRef{Tenant: in.Tenant, RefundID: in.RefundID}, desk: d, parts: map[string]*refundPart{}}
	r.listen(ctx)
	if r.view, err = r.load(ctx); err != nil {
		return err
	}
	if r.view.CheckoutID != "" {
		d.subject = r.view.CheckoutID
	}
	if r.view.Request {
		err = r.request(ctx)
	} else {
		err = r.part("refund", r.ref, r.view).run(ctx)
	}
	if err != nil {
		return err
	}
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// refundRun is one request, or one refund that nobody asked for.
type refundRun struct {
	in   RefundInput
	ref  activities.RefundRef
	desk *desk
	view activities.RefundView
	// heard counts the news: whoever waits goes on when it grows.
	heard int
	parts map[string]*refundPart
	open  int
	// broke is why a part could not go on: the run was cancelled.
	broke error
}

// listen takes news of the refund's payments: a reason to ask again now.
func (r *refundRun) listen(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			if more := workflow.GetSignalChannel(ctx, SignalNews).Receive(ctx, nil); !more {
				return
			}
			r.heard++
		}
	})
}

func (r *refundRun) load(ctx workflow.Context) (activities.RefundView, error) {
	return certain[activities.RefundView](ctx, r.desk, "load", "read the refund", payments.LoadRefund, r.ref)
}

// request runs the parts of a request beside each other. A part may be added
// while it runs: one that takes the place of a part which had succeeded.
func (r *refundRun) request(ctx workflow.Context) error {
	if r.view.Waits {
		if err := r.settle(ctx); err != nil {
			return err
		}
	}
	for {
		for _, p := range r.view.Parts {
			if r.parts[p.ID] != nil || p.Status == "succeeded" || p.Status == "failed" {
				continue
			}
			part := r.part("refund:"+p.ID, activities.RefundRef{Tenant: r.in.Tenant, RefundID: p.ID}, p.RefundView)
			r.parts[p.ID] = part
			r.open++
			workflow.Go(ctx, func(ctx workflow.Context) {
				if err := part.run(ctx); err != nil {
					r.broke = err
				}
				r.open--
			})
		}
		if r.open == 0 {
			return r.broke
		}
		heard, open := r.heard, r.open
		if err := workflow.Await(ctx, func() bool { return r.heard > heard || r.open < open }); err != nil {
			return err
		}
		if r.broke != nil {
			return r.broke
		}
		view, err := r.load(ctx)
		if err != nil {
			return err
		}
		r.view = view
	}
}

// settle waits until the payment that the refund was asked for is settled: only
// then it is known what there is to give back.
func (r *refundRun) settle(ctx workflow.Context) error {
	const step = "settle"
	since := workflow.Now(ctx)
	for wait := 30 * time.Second; ; wait = min(2*wait, settleEvery) {
		what := "wait until payment " + r.view.PaymentID + " is settled"
		r.desk.describe(ctx, fmt.Sprintf("A refund of %s: %s.", amount(r.view.Amount, r.view.Currency), what))
		view, err := r.settled(ctx, what, wait, false)
		if err != nil {
			return err
		}
		if r.view = view; !view.Waits {
			return r.desk.unpark(ctx, step, "the payment is settled")
		}
		heard := r.heard
		if workflow.Now(ctx).Sub(since) < settlePatience {
			if err := r.pause(ctx, wait, heard, what); err != nil {
				return err
			}
			continue
		}
		req, decided, err := r.ask(ctx, Case{Step: step, Reason: "refund_waits_for_payment", Tried: "asked since " + clock(since), Verbs: []string{VerbRetry, VerbCancel},
			Message: fmt.Sprintf("A refund of %s waits for payment %s, which is not settled. Settle the payment, or cancel the refund.", amount(r.view.Amount, r.view.Currency), r.view.PaymentID)}, settleEvery, heard, what)
		if err != nil {
			return err
		}
		if decided && req.Verb == VerbCancel {
			r.view, err = r.settled(ctx, "give the refund up", wait, true)
			return err
		}
	}
}

func (r *refundRun) settled(ctx workflow.Context, what string, wait time.Duration, giveUp bool) (activities.RefundView, error) {
	return certain[activities.RefundView](ctx, r.desk, "record", what, payments.SettleRefund, r.ref, int(overdueAfter(wait).Seconds()), giveUp)
}

// overdueAfter is the time by which a refund that is looked at again after wait
// must have moved.
func overdueAfter(wait time.Duration) time.Duration { return 2*wait + time.Minute }

// pause waits, or until there is more news than was heard.
func (r *refundRun) pause(ctx workflow.Context, d time.Duration, heard int, why string) error {
	timed, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(timed, d, workflow.TimerOptions{Summary: why})
	return workflow.Await(ctx, func() bool { return timer.IsReady() || r.heard > heard })
}

// ask waits for a person, for news, and, with again, at most that long.
func (r *refundRun) ask(ctx workflow.Context, c Case, again time.Duration, heard int, why string) (SupportRequest, bool, error) {
	elapsed := func() bool { return false }
	if again > 0 {
		timed, cancel := workflow.WithCancel(ctx)
		defer cancel()
		elapsed = workflow.NewTimerWithOptions(timed, again, workflow.TimerOptions{Summary: why}).IsReady
	}
	return r.desk.waitUntil(ctx, c, func() bool { return elapsed() || r.heard > heard })
}

// refundPart gives back what one payment pays of a refund.
type refundPart struct {
	*refundRun
	step string
	ref  activities.RefundRef
	view activities.RefundView
	// since when it waits for the same thing, and which one that is.
	since time.Time
	state string
	// doing is what a person reads of it.
	doing string
}

func (r *refundRun) part(step string, ref activities.RefundRef, view activities.RefundView) *refundPart {
	return &refundPart{refundRun: r, step: step, ref: ref, view: view}
}

// describe shows what each part of the refund is doing.
func (p *refundPart) describe(ctx workflow.Context, doing string) {
	p.doing = doing
	all := []string{}
	for _, v := range p.refundRun.view.Parts {
		if o := p.parts[v.ID]; o != nil && o.doing != "" {
			all = append(all, "- "+o.doing)
		}
	}
	if len(all) > 1 {
		doing = strings.Join(all, "\n")
	}
	p.desk.describe(ctx, doing)
}

func (p *refundPart) what() string {
	verb := "give back"
	if p.view.Method == payment.MethodVoid {
		verb = "give up the authorization of"
	}
	return fmt.Sprintf("%s: %s %s of payment %s (%s)", title(p.view.Gateway), verb, amount(p.view.Amount, p.view.Currency), p.view.PaymentID, strings.ReplaceAll(p.view.Reason, "_", " "))
}

func (p *refundPart) run(ctx workflow.Context) error {
	p.since = workflow.Now(ctx)
	if done, err := p.handedOver(ctx); done || err != nil {
		return err
	}
	for wait := 2 * time.Second; !p.over(); wait = min(2*wait, p.every()) {
		what := p.what()
		p.describe(ctx, what+".")
		heard := p.heard
		answer, failed := p.call(ctx, what)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		status, refused, tried, again := "", "", "", time.Duration(0)
		switch class := activities.ErrorType(failed); {
		case class == activities.TypeFrozen:
			p.waitsFor(ctx, frozen)
			answer = payment.RefundAnswer{Code: "payment_disputed", Message: "it goes on when the dispute has ended"}
			if status = "pending"; workflow.Now(ctx).Sub(p.since) >= frozenPatience {
				refused, tried, again = "payment_disputed", "waits since "+clock(p.since), frozenEvery
			}
		case class == activities.TypeChargedBack:
			return p.end(ctx, "failed", payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: "payment_charged_back", Message: "the buyer has the money by the bank's decision"}, "the payment was charged back")
		case class == activities.TypeUnavailable, class == activities.TypeRateLimited, class == activities.TypeDatabase, class == activities.TypeUnknown:
			p.waitsFor(ctx, answered)
		case failed != nil:
			refused, tried = "refund_"+class, cause(failed)
		case answer.Outcome == payment.OutcomeApproved:
			return p.end(ctx, "succeeded", answer, "the gateway has given it back")
		case answer.Outcome == payment.OutcomeDeclined:
			refused, tried = "refund_refused", answer.Code+" "+answer.Message
		case answer.Outcome == payment.OutcomeUnknown:
			switch answer.Code {
			case activities.CodeCaptured:
				p.view.Method = payment.MethodOriginal
			case activities.CodeCaptureNotRecorded:
				if err := startLatePayment(ctx, CheckoutInput{Tenant: p.in.Tenant, CheckoutID: p.view.CheckoutID, PaymentID: p.view.PaymentID}); err != nil {
					return err
				}
			}
			waits := answered
			if answer.Code == payment.CodeRefundUntraced && workflow.GetVersion(ctx, "untraced-refund", workflow.DefaultVersion, 1) >= 1 {
				waits = untraced
			}
			p.waitsFor(ctx, waits)
			status = "unknown"
		default:
			p.waitsFor(ctx, carriedOut)
			status = "pending"
		}
		if refused == "" && workflow.Now(ctx).Sub(p.since) > p.patience() {
			if refused, tried, again = payment.CodeUnanswered, "asked since "+clock(p.since), time.Hour; p.state == untraced {
				refused = payment.CodeRefundUntraced
			} else {
				answer.Message = strings.TrimSpace(answer.Code + " " + answer.Message)
			}
			answer.Code = refused
		}
		if refused == "" {
			if err := p.goOn(ctx, status, answer, wait); err != nil {
				return err
			}
			if err := p.pause(ctx, wait, heard, "ask again about the refund"); err != nil {
				return err
			}
			continue
		}
		if answer.Code == "" {
			answer.Code = refused
		}
		if answer.Message == "" && failed != nil {
			answer.Message = cause(failed)
		}
		done, decided, err := p.park(ctx, refused, tried, answer, again, heard)
		if err != nil || done {
			return err
		}
		if decided {
			p.since, p.state, wait = workflow.Now(ctx), "", time.Second
		}
	}
	return nil
}

// over reports whether the part has come to an end, perhaps before this run.
func (p *refundPart) over() bool { return p.view.Status == "succeeded" || p.view.Status == "failed" }

// goOn records that the part waits for the gateway, and no more for a person.
func (p *refundPart) goOn(ctx workflow.Context, status string, answer payment.RefundAnswer, wait time.Duration) error {
	if status == "" && p.view.Status == "needs_attention" {
		status = "pending"
	}
	if status != "" {
		if err := p.put(ctx, status, answer, overdueAfter(wait)); err != nil {
			return err
		}
	}
	return p.desk.unpark(ctx, p.step, "it goes on by itself")
}

// call asks the gateway for what the part needs.
func (p *refundPart) call(ctx workflow.Context, what string) (answer payment.RefundAnswer, failed error) {
	ctx = gatewayCall(ctx, p.view.Gateway, what)
	if p.view.Method == payment.MethodVoid {
		return answer, workflow.ExecuteActivity(ctx, payments.VoidPayment, p.ref).Get(ctx, &answer)
	}
	return answer, workflow.ExecuteActivity(ctx, payments.RefundPayment, p.ref).Get(ctx, &answer)
}

// What a part waits for.
const (
	answered   = "answer"
	untraced   = "untraced"    // the provider cannot be asked what became of it
	carriedOut = "carried out" // the provider has accepted it
	frozen     = "frozen"      // the end of a dispute
)

// waitsFor notes what the part waits for; the patience with it begins anew when
// it is another thing.
func (p *refundPart) waitsFor(ctx workflow.Context, state string) {
	if p.state != state && (p.state != "" || state != answered) {
		p.since = workflow.Now(ctx)
	}
	p.state = state
}

func (p *refundPart) patience() time.Duration {
	switch p.state {
	case untraced:
		return untracedPatience
	case carriedOut:
		return acceptedPatience
	case frozen:
		return math.MaxInt64 // it has a patience of its own
	}
	return refundPatience
}

func (p *refundPart) every() time.Duration {
	switch p.state {
	case untraced:
		return untracedEvery
	case carriedOut:
		return acceptedEvery
	case frozen:
		return frozenEvery
	}
	return askEvery
}

// handedOver is what a person does from the start: a bank transfer, and a refund
// that has failed after it had succeeded, twice.
func (p *refundPart) handedOver(ctx workflow.Context) (done bool, err error) {
	reason, tried, answer := "", "", payment.RefundAnswer{}
	switch {
	case p.over():
		return true, nil
	case p.view.Method == payment.MethodBankTransfer:
		reason, answer.Message = "bank_transfer_due", "a person makes the transfer"
	case p.view.FailedAgain:
		reason, tried, answer.Message = "refund_failed_again", "it was given back, and the provider said later that this had failed", p.view.Code
	default:
		return false, nil
	}
	answer.Code = reason
	for decided := false; !decided; {
		if done, decided, err = p.park(ctx, reason, tried, answer, 0, p.heard); err != nil {
			return false, err
		}
		// Only a person can say that a transfer was made.
		decided = decided && (done || p.view.Method != payment.MethodBankTransfer)
	}
	return done, nil
}

// park waits for a person. done means that the part needs nothing more; decided
// is false when it goes on because there is news, or after again.
func (p *refundPart) park(ctx workflow.Context, reason, tried string, answer payment.RefundAnswer, again time.Duration, heard int) (done, decided bool, err error) {
	if p.view.Status != "needs_attention" || !p.desk.parked(p.step) {
		if err := p.put(ctx, "needs_attention", answer, 0); err != nil {
			return false, false, err
		}
	}
	req, decided, err := p.ask(ctx, p.parked(reason, tried), again, heard, "ask again about the refund")
	switch {
	case err != nil || !decided:
		return false, false, err
	case req.Verb == VerbResolve && req.Outcome == "succeeded":
		made := payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: req.Reference, Code: payment.CodeBankTransfer}
		if reason == payment.CodeRefundUntraced { // found at the provider, not paid otherwise
			made.Code = payment.CodeFoundBySupport
		}
		return true, true, p.put(ctx, "succeeded", made, 0)
	case req.Verb == VerbResolve && req.Outcome == OutcomeNotMade && personSaysNotMade(ctx):
		done, err = p.remake(ctx)
		if done || err != nil {
			return done, true, err
		}
	case req.Verb == VerbCancel, req.Verb == VerbResolve && req.Outcome == "failed":
		return true, true, p.put(ctx, "failed", payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: payment.CodeGivenUp}, 0)
	}
	return false, true, p.put(ctx, "pending", payment.RefundAnswer{}, 10*time.Minute)
}

// personSaysNotMade is the gate of OutcomeNotMade, which runs of before asked
// about again.
func personSaysNotMade(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "refund-not-made", workflow.DefaultVersion, 1) >= 1
}

// remake has another part make anew what a person did not find in the provider's
// panel. done is false when the word came too late: there is news to ask for
// first.
func (p *refundPart) remake(ctx workflow.Context) (done bool, err error) {
	step := strings.Replace(p.step, "refund", "record", 1)
	remade, err := certain[activities.Remade](ctx, p.desk, step, "not made, says a person: it is made anew", payments.RemakeRefund, p.ref)
	if err != nil || !remade.OK {
		return false, err
	}
	p.view.Status = "failed"
	if p.refundRun.view.Request || remade.RefundID == "" {
		return true, nil // the request takes its new part up
	}
	return true, startRefund(ctx, p.in.Tenant, remade.RefundID)
}

func (p *refundPart) parked(reason, tried string) Case {
	sum := amount(p.view.Amount, p.view.Currency)
	c := Case{Step: p.step, Reason: reason, Tried: tried, Verbs: []string{VerbRetry, VerbResolve, VerbCancel}}
	switch reason {
	case "bank_transfer_due":
		c.Verbs = []string{VerbResolve, VerbCancel}
		c.Message = fmt.Sprintf("Pay %s back by bank transfer; GET /v1/refunds/%s shows the account. Then resolve it as succeeded with the reference of the transfer, or cancel the refund.", sum, p.in.RefundID)
	case payment.CodeRefundUntraced:
		c.Message = fmt.Sprintf("Nobody knows whether %[1]s has given back %[2]s of payment %[3]s: its answer was lost, and it cannot be asked by our id. Look in its panel for the refund %[4]s. If it is there, resolve it as succeeded with its reference. If it is certainly not there, resolve it as not_made: it is then made anew under another id. Retry only asks again. It goes on by itself if %[1]s sends news of it.",
			title(p.view.Gateway), sum, p.view.PaymentID, p.ref.RefundID)
	case "payment_disputed":
		c.Message = fmt.Sprintf("The buyer's bank disputes payment %s, so %s are not given back now. It goes on by itself when the dispute has ended. Or cancel the refund.", p.view.PaymentID, sum)
	default:
		c.Message = fmt.Sprintf("%s does not give back %s of payment %s. Retry, or pay it back another way and resolve it as succeeded with the reference of the transfer, or cancel the refund.",
			title(p.view.Gateway), sum, p.view.PaymentID)
	}
	return c
}

// end records the end of a part that a person may have been asked about.
func (p *refundPart) end(ctx workflow.Context, status string, answer payment.RefundAnswer, resolution string) error {
	if err := p.put(ctx, status, answer, 0); err != nil {
		return err
	}
	return p.desk.unpark(ctx, p.step, resolution)
}

func (p *refundPart) put(ctx workflow.Context, status string, answer payment.RefundAnswer, due time.Duration) error {
	// A step that can't be recorded parks by its own name, beside other parts'.
	step := strings.Replace(p.step, "refund", "record", 1)
	_, err := certain[any](ctx, p.desk, step, "record: refund "+status, payments.PutRefund, p.ref, status, answer, int(due.Seconds()))
	p.view.Status = status
	return err
}
