package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/internal/stock"
	"justlogistics/internal/temporalclient"
)

// Waits of a checkout. Tests of the whole stack shorten none of them: they
// shorten the hold.
const (
	firstPoll   = 40 * time.Second
	longestPoll = 5 * time.Minute
	firstDoubt  = 2 * time.Second
	longDoubt   = time.Minute
	// doubtUntilParked is how long the workflow asks by itself before it says
	// that a person is needed; it goes on asking.
	doubtUntilParked = 10 * time.Minute
	graceStep        = 30 // seconds
)

// stepCameBack begins the step of money that pays nothing and that its provider
// has not given back after all.
const stepCameBack = "came-back"

// Checkout holds stock, offers the buyer a way to pay, waits for the money or
// the time, and ends when no attempt can be approved any more. A run that
// starts on a checkout which is under way (restart) goes on from its rows.
func Checkout(ctx workflow.Context, in CheckoutInput) error {
	r, err := newCheckoutRun(ctx, in)
	if err != nil {
		return err
	}
	if err = r.open(ctx); err == nil {
		err = r.run(ctx)
	}
	if ctx.Err() == nil {
		return err
	}
	// Cancelled in the Temporal UI: that is a wish to cancel the checkout, and
	// the same rules decide it. What must be undone is undone.
	dctx, stop := workflow.NewDisconnectedContext(ctx)
	defer stop()
	if err := r.desk.giveUp(dctx); err != nil {
		return err
	}
	if err := r.reload(dctx); err != nil {
		return err
	}
	r.opened, r.timer, r.timerAt = true, nil, time.Time{}
	r.enqueue(&command{kind: commandCancel})
	return r.run(dctx)
}

// LatePayment looks after one payment of a checkout whose run has ended: money
// that appears, or a buyer who comes back, after the end.
func LatePayment(ctx workflow.Context, in CheckoutInput) error {
	r, err := newCheckoutRun(ctx, in)
	if err != nil {
		return err
	}
	if r.view, err = certain[checkout.View](ctx, r.desk, "load", "read the checkout", checkouts.ReadCheckout, r.ref); err != nil {
		return err
	}
	r.opened, r.late = true, true
	r.enqueue(&command{kind: commandNews, paymentID: in.PaymentID, inboxID: in.ReturnID})
	return r.run(ctx)
}

type commandKind int

const (
	commandNews commandKind = iota
	commandSettle
	commandTry
	commandCancel
	commandShort
)

// command is a message that waits for its turn: messages are handled one at a
// time, in the order in which they came.
type command struct {
	kind      commandKind
	paymentID string
	inboxID   string
	gateway   string
	done      bool
	refused   string
}

// doubt is an attempt of which nobody knows whether it moved money.
type doubt struct {
	paymentID string
	since     time.Time
	next      time.Time
	wait      time.Duration
}

type checkoutRun struct {
	in   CheckoutInput
	ref  activities.CheckoutRef
	desk *desk
	view checkout.View

	opened   bool
	late     bool
	queue    []*command
	cancels  []*command // accepted, waiting for the end of a doubt
	doubts   []*doubt
	pollAt   time.Time
	polls    int
	endAt    time.Time // before this the end of the hold is not tried again
	walkEnds time.Time // the gateways of auto are tried until then; zero for a named one
	bell     workflow.Channel
	news     workflow.ReceiveChannel
	short    workflow.ReceiveChannel
	state    checkout.Status // last written to the search attribute
	// lingering are attempts, by payment, that nobody can close: they are over
	// at the end of their links.
	lingering map[string]bool

	timer       workflow.Future
	timerAt     time.Time
	cancelTimer workflow.CancelFunc
}

func newCheckoutRun(ctx workflow.Context, in CheckoutInput) (*checkoutRun, error) {
	d, err := newDesk(ctx, in.Tenant, in.CheckoutID)
	if err != nil {
		return nil, err
	}
	r := &checkoutRun{in: in, lingering: map[string]bool{}, ref: activities.CheckoutRef{Tenant: in.Tenant, CheckoutID: in.CheckoutID}, desk: d,
		bell: workflow.NewBufferedChannel(ctx, 1000), news: workflow.GetSignalChannel(ctx, SignalNews), short: workflow.GetSignalChannel(ctx, SignalShort)}
	d.bell = r.ring
	return r, r.register(ctx)
}

// register sets the handlers. They only queue and wait: the loop acts.
func (r *checkoutRun) register(ctx workflow.Context) error {
	begin := func(ctx workflow.Context) (BeginAnswer, error) {
		if err := workflow.Await(ctx, func() bool { return r.opened }); err != nil {
			return BeginAnswer{}, err
		}
		return BeginAnswer{Status: string(r.view.Status), FailureCode: r.view.FailureCode, Shortages: r.view.Shortages}, nil
	}
	settle := func(ctx workflow.Context, req SettleRequest) (SettleAnswer, error) {
		c := &command{kind: commandSettle, paymentID: req.PaymentID, inboxID: req.InboxID}
		err := r.await(ctx, c)
		a, _ := r.view.Attempt(req.PaymentID)
		return SettleAnswer{PaymentStatus: string(a.Status), CheckoutStatus: string(r.view.Status)}, err
	}
	try := func(ctx workflow.Context, req TryRequest) (TryAnswer, error) {
		c := &command{kind: commandTry, paymentID: req.PaymentID, gateway: req.Gateway}
		err := r.await(ctx, c)
		return TryAnswer{Refused: c.refused}, err
	}
	cancel := func(ctx workflow.Context, _ CancelRequest) (CancelAnswer, error) {
		c := &command{kind: commandCancel}
		err := r.await(ctx, c)
		return CancelAnswer{Status: string(r.view.Status)}, err
	}
	for _, h := range []struct {
		name, about string
		fn          any
	}{
		{UpdateBegin, "answers the storefront once stock is held and the payment exists", begin},
		{UpdateSettle, "the buyer came back from the gateway", settle},
		{UpdateTry, "another attempt at payment", try},
		{UpdateCancel, "cancel if nothing was paid", cancel},
	} {
		if err := workflow.SetUpdateHandlerWithOptions(ctx, h.name, h.fn, workflow.UpdateHandlerOptions{Description: h.about}); err != nil {
			return err
		}
	}
	return nil
}

func (r *checkoutRun) ring() { r.bell.SendAsync(true) }

func (r *checkoutRun) enqueue(c *command) {
	r.queue = append(r.queue, c)
	r.ring()
}

func (r *checkoutRun) await(ctx workflow.Context, c *command) error {
	r.enqueue(c)
	return workflow.Await(ctx, func() bool { return c.done })
}

// open holds the stock and begins the first attempt that can begin.
func (r *checkoutRun) open(ctx workflow.Context) (err error) {
	r.desk.describe(ctx, "Holding stock.")
	if r.view, err = certain[checkout.View](ctx, r.desk, "hold", "hold stock, write the payment's intent", checkouts.HoldStock, r.ref); err != nil {
		return err
	}
	if r.view.Replaces != "" && r.view.Status.Open() {
		// The replaced checkout wakes, sees that it is cancelled and closes its
		// attempts. If its run is gone there is nobody to tell.
		old := ID(KindCheckout, r.in.Tenant, r.view.Replaces)
		_ = workflow.SignalExternalWorkflow(ctx, old, "", SignalNews, News{}).Get(ctx, nil)
	}
	r.walk(ctx, r.view.Requested)
	for r.view.Status == checkout.Reserving {
		n := len(r.view.Attempts)
		class, err := r.begin(ctx, r.view.Attempts[n-1])
		if err != nil {
			return err
		}
		if class == "" || r.view.Status != checkout.Reserving {
			break // begun, also when only its answer was lost
		}
		if r.view.Requested == "auto" && class != activities.TypeInvalid {
			next, err := certain[activities.NextAttempt](ctx, r.desk, "next-gateway", "take the next gateway of the route", checkouts.NextGateway, r.ref, n+1)
			if err != nil {
				return err
			}
			if r.view = next.View; next.OK {
				continue
			}
		}
		code := checkout.FailGatewayUnavailable
		if class == activities.TypeInvalid {
			code = checkout.FailPaymentRefused
		}
		r.view, err = certain[checkout.View](ctx, r.desk, "give-up", "free the stock: "+code, checkouts.GiveUp, r.ref, code, "no payment could be begun")
		if err != nil {
			return err
		}
	}
	now := workflow.Now(ctx)
	for _, a := range r.view.Attempts {
		// A run begun anew from the rows also takes up money of which an earlier
		// one may not have told anybody.
		if uncertain(a) || a.Status.Approved() && !a.Applied {
			r.doubt(now, a.PaymentID)
		}
	}
	r.pollAt = now.Add(firstPoll)
	r.opened = true
	return nil
}

// walk begins the time that the gateways of auto have together. A named gateway
// has its own, since there is no other to be asked.
func (r *checkoutRun) walk(ctx workflow.Context, gateway string) {
	if r.walkEnds = (time.Time{}); gateway == checkout.GatewayAuto {
		r.walkEnds = workflow.Now(ctx).Add(walkPatience)
	}
}

// begin asks the gateway for the attempt. class is empty when the buyer can
// pay, else the class of what prevented it.
func (r *checkoutRun) begin(ctx workflow.Context, a checkout.AttemptView) (class string, err error) {
	in := r.payment(a.PaymentID)
	within := time.Duration(0)
	if !r.walkEnds.IsZero() {
		within = beginsWithin(workflow.Now(ctx), r.walkEnds)
	}
	call := beginCall(ctx, a.Gateway, fmt.Sprintf("%s: begin payment of %s for %s", title(a.Gateway), amount(r.view.Total, r.view.Currency), r.view.Number), r.left(ctx), within)
	var asked activities.Asked
	failed := workflow.ExecuteActivity(call, payments.BeginPayment, in).Get(ctx, &asked)
	if failed != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		class = activities.ErrorType(failed)
		workflow.GetLogger(ctx).Warn("attempt did not begin", "payment", a.PaymentID, "gateway", a.Gateway, "class", class)
		if _, err := certain[any](ctx, r.desk, "not-begun", "record that the attempt did not begin", payments.NotBegun, in, class); err != nil {
			return class, err
		}
	} else if asked.Answer.Outcome != "" {
		// A token: the buyer has paid, or was declined, already.
		if err := r.reload(ctx); err != nil {
			return "", err
		}
		return "", r.record(ctx, a, asked, "")
	}
	if err := r.reload(ctx); err != nil {
		return class, err
	}
	if after, _ := r.view.Attempt(a.PaymentID); after.Status.InDoubt() {
		r.doubt(workflow.Now(ctx), a.PaymentID)
		return "", nil // money may have moved: no other gateway is tried
	}
	return class, nil
}

func (r *checkoutRun) payment(id string) activities.PaymentRef {
	return activities.PaymentRef{Tenant: r.in.Tenant, CheckoutID: r.in.CheckoutID, PaymentID: id}
}

func (r *checkoutRun) reload(ctx workflow.Context) (err error) {
	r.view, err = certain[checkout.View](ctx, r.desk, "load", "read the checkout", checkouts.ReadCheckout, r.ref)
	return err
}

// run handles one thing at a time until nothing can happen any more.
func (r *checkoutRun) run(ctx workflow.Context) error {
	for {
		if err := r.publish(ctx); err != nil {
			return err
		}
		if r.over(ctx) {
			break
		}
		r.desk.describe(ctx, r.story(ctx))
		if err := r.wait(ctx); err != nil {
			return err
		}
		if err := r.turn(ctx); err != nil {
			return err
		}
	}
	r.stopTimer()
	r.desk.describe(ctx, r.ending(ctx))
	if !r.payable(ctx) {
		if _, err := certain[any](ctx, r.desk, "settled", "no attempt can be approved any more", checkouts.EndRun, r.ref); err != nil {
			return err
		}
	}
	// What came in the meantime has its turn before the run ends.
	if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) || !r.over(ctx) }); err != nil {
		return err
	}
	if !r.over(ctx) {
		return r.run(ctx)
	}
	return nil
}

// publish keeps the search attribute in step with the status.
func (r *checkoutRun) publish(ctx workflow.Context) error {
	if r.late || r.state == r.view.Status || r.state == "" && r.view.Status.Open() {
		r.state = r.view.Status
		return nil
	}
	r.state = r.view.Status
	return workflow.UpsertTypedSearchAttributes(ctx, temporalclient.OrderState.ValueSet(string(r.view.Status)))
}

// alive reports whether an attempt may still be approved.
func alive(a checkout.AttemptView, now time.Time) bool {
	if a.Status.Approved() {
		return false
	}
	return uncertain(a) || a.Begun && !a.Closed
}

// uncertain reports whether money may have moved on an attempt: the gateway
// left an effect unanswered, or a commit was tried and never recorded.
func uncertain(a checkout.AttemptView) bool {
	return a.Status.InDoubt() || a.Settling && a.Status == payment.StatusPending && !a.Closed
}

func (r *checkoutRun) over(ctx workflow.Context) bool {
	if len(r.queue) > 0 || len(r.cancels) > 0 || len(r.desk.cases) > 0 || len(r.desk.decided) > 0 || len(r.doubts) > 0 || r.news.Len() > 0 || r.short.Len() > 0 {
		return false
	}
	return r.late || !r.payable(ctx)
}

// payable reports whether the checkout can still be paid by what others do.
func (r *checkoutRun) payable(ctx workflow.Context) bool {
	return r.view.Status.Open() || slices.ContainsFunc(r.view.Attempts, func(a checkout.AttemptView) bool { return alive(a, workflow.Now(ctx)) })
}

// deadline is the next moment at which the loop must act by itself, and why.
func (r *checkoutRun) deadline(now time.Time) (at time.Time, why string) {
	sooner := func(t time.Time, reason string) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at, why = t, reason
		}
	}
	for _, d := range r.doubts {
		a, _ := r.view.Attempt(d.paymentID)
		sooner(d.next, "ask "+title(a.Gateway)+" again whether it took the money, at "+clock(d.next))
	}
	if r.late {
		return at, why
	}
	if r.view.Status.Open() {
		sooner(r.holdEnds(), "the hold ends at "+clock(r.view.HeldUntil))
	}
	for _, a := range r.view.Attempts {
		if !alive(a, now) {
			continue
		}
		if r.view.Status.Open() {
			sooner(r.pollAt, "waiting for "+title(a.Gateway)+" until "+clock(r.view.ExpiresAt)+"; asks at "+clock(r.pollAt))
		} else if !uncertain(a) && !r.doubted(a.PaymentID) {
			// After the end: close at once what can be closed, and again when
			// the provider's own time is over.
			sooner(r.closeAt(a), "a late buyer may come back from "+title(a.Gateway)+" until "+clock(a.PayableUntil))
		}
	}
	return at, why
}

// closeAt is when an attempt that outlived its checkout is closed.
func (r *checkoutRun) closeAt(a checkout.AttemptView) time.Time {
	if a.Status == payment.StatusExpired || a.Status == payment.StatusDeclined || r.lingering[a.PaymentID] {
		return a.PayableUntil.Add(time.Second)
	}
	return a.PayableUntil.Add(-24 * time.Hour)
}

// wait sleeps until a message comes or the deadline does.
func (r *checkoutRun) wait(ctx workflow.Context) error {
	if r.pending() {
		return nil
	}
	now := workflow.Now(ctx)
	at, why := r.deadline(now)
	if !at.Equal(r.timerAt) || r.timer == nil {
		r.stopTimer()
		if !at.IsZero() {
			timerCtx, cancel := workflow.WithCancel(ctx)
			r.timer = workflow.NewTimerWithOptions(timerCtx, max(at.Sub(now), time.Millisecond), workflow.TimerOptions{Summary: why})
			r.timerAt, r.cancelTimer = at, cancel
		}
	}
	s := workflow.NewSelector(ctx)
	s.AddReceive(r.bell, func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil) })
	s.AddReceive(r.news, func(c workflow.ReceiveChannel, _ bool) { r.takeNews() })
	s.AddReceive(r.short, func(c workflow.ReceiveChannel, _ bool) { r.takeShort() })
	s.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
	if r.timer != nil {
		s.AddFuture(r.timer, func(workflow.Future) { r.timer, r.timerAt = nil, time.Time{} })
	}
	s.Select(ctx)
	r.takeNews()
	r.takeShort()
	return ctx.Err()
}

func (r *checkoutRun) pending() bool {
	r.takeNews()
	r.takeShort()
	return len(r.queue) > 0 || len(r.desk.decided) > 0
}

func (r *checkoutRun) stopTimer() {
	if r.timer != nil {
		r.cancelTimer()
	}
	r.timer, r.timerAt = nil, time.Time{}
}

// takeNews turns signals into commands; the same news twice waits once.
func (r *checkoutRun) takeNews() {
	for {
		var n News
		if !r.news.ReceiveAsync(&n) {
			return
		}
		c := &command{kind: commandNews, paymentID: n.PaymentID, inboxID: n.ReturnID}
		twice := false
		for _, q := range r.queue {
			twice = twice || q.kind == c.kind && q.paymentID == c.paymentID && q.inboxID == c.inboxID
		}
		if !twice {
			r.queue = append(r.queue, c)
		}
	}
}

func (r *checkoutRun) takeShort() {
	for r.short.ReceiveAsync(nil) {
		r.queue = append(r.queue, &command{kind: commandShort})
	}
}

// turn does the next thing: people first, then messages, then the clock.
func (r *checkoutRun) turn(ctx workflow.Context) error {
	if dec, ok := r.desk.next(); ok {
		return r.decide(ctx, dec)
	}
	if len(r.queue) > 0 {
		c := r.queue[0]
		r.queue = r.queue[1:]
		return r.handle(ctx, c)
	}
	if err := r.tick(ctx); err != nil {
		return err
	}
	return r.answerCancels(ctx)
}

func (r *checkoutRun) handle(ctx workflow.Context, c *command) (err error) {
	switch c.kind {
	case commandNews:
		err = r.heard(ctx, c)
	case commandSettle:
		err = r.settle(ctx, c.paymentID, c.inboxID)
	case commandTry:
		c.refused, err = r.another(ctx, c)
	case commandCancel:
		var decided bool
		if decided, err = r.cancel(ctx); err == nil && !decided {
			r.cancels = append(r.cancels, c)
			return nil
		}
	case commandShort:
		err = r.cure(ctx)
	}
	c.done = err == nil
	if err == nil {
		err = r.answerCancels(ctx)
	}
	return err
}

// heard follows up on news.
func (r *checkoutRun) heard(ctx workflow.Context, c *command) error {
	if c.paymentID == "" {
		return r.reload(ctx)
	}
	if c.inboxID != "" {
		return r.settle(ctx, c.paymentID, c.inboxID)
	}
	return r.ask(ctx, c.paymentID)
}

// tick does what the clock asks for.
func (r *checkoutRun) tick(ctx workflow.Context) error {
	now := workflow.Now(ctx)
	for _, d := range r.doubts {
		if !d.next.After(now) {
			return r.askAgain(ctx, d)
		}
	}
	if r.late {
		return nil
	}
	if r.view.Status.Open() {
		if !r.holdEnds().After(now) {
			return r.timeUp(ctx)
		}
		if !r.pollAt.After(now) {
			return r.poll(ctx)
		}
		return nil
	}
	for _, a := range r.view.Attempts {
		if alive(a, now) && !uncertain(a) && !r.doubted(a.PaymentID) && !r.closeAt(a).After(now) {
			return r.closeLeftover(ctx, a)
		}
	}
	return nil
}

// holdEnds is when the hold is over. Where the database's clock, which decides,
// is behind ours, its refusal is not asked for again at once.
func (r *checkoutRun) holdEnds() time.Time {
	if r.view.HeldUntil.Before(r.endAt) {
		return r.endAt
	}
	return r.view.HeldUntil
}

// poll asks about every attempt that the buyer may be paying.
func (r *checkoutRun) poll(ctx workflow.Context) error {
	r.polls++
	r.pollAt = workflow.Now(ctx).Add(min(firstPoll<<min(r.polls, 4), longestPoll))
	for _, a := range r.view.Attempts {
		if alive(a, workflow.Now(ctx)) && r.view.Status.Open() {
			if err := r.ask(ctx, a.PaymentID); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask learns what became of an attempt. A commit that was tried and not
// answered is taken up again (which asks first).
func (r *checkoutRun) ask(ctx workflow.Context, paymentID string) error {
	a, err := r.attempt(ctx, paymentID)
	if err != nil || a.PaymentID == "" {
		return err
	}
	if a.Settling && uncertain(a) {
		return r.settle(ctx, paymentID, "")
	}
	var asked activities.Asked
	call := askCall(ctx, a.Gateway, title(a.Gateway)+": what became of payment "+a.PaymentID+"?", r.left(ctx))
	if failed := workflow.ExecuteActivity(call, payments.AskGateway, r.payment(paymentID)).Get(ctx, &asked); failed != nil {
		return r.unanswered(ctx, a, failed)
	}
	return r.record(ctx, a, asked, "")
}

// left is how long the stock is still kept; without stock there is no hurry.
func (r *checkoutRun) left(ctx workflow.Context) time.Duration {
	if !r.view.Status.Open() || r.view.HeldUntil.IsZero() {
		return mostPatience
	}
	return r.view.HeldUntil.Sub(workflow.Now(ctx))
}

// attempt finds an attempt, reading the rows again when it is not known here.
func (r *checkoutRun) attempt(ctx workflow.Context, paymentID string) (checkout.AttemptView, error) {
	if a, ok := r.view.Attempt(paymentID); ok {
		return a, nil
	}
	if err := r.reload(ctx); err != nil {
		return checkout.AttemptView{}, err
	}
	a, _ := r.view.Attempt(paymentID)
	return a, nil
}

// settle does what the buyer's return asks for. Where settling is what charges
// the buyer, it is done only while stock is held: a late buyer's units are
// held again first, and without stock nothing is charged.
func (r *checkoutRun) settle(ctx workflow.Context, paymentID, inboxID string) error {
	a, err := r.attempt(ctx, paymentID)
	if err != nil || a.PaymentID == "" {
		return err
	}
	held := r.view.Status.Open() && !r.superseded(a)
	asked, failed := r.settleCall(ctx, a, inboxID, held)
	if failed != nil {
		return r.unanswered(ctx, a, failed)
	}
	if !asked.NotCommitted {
		return r.record(ctx, a, asked, "")
	}
	if held { // no more: the rows say what happened
		if err := r.reload(ctx); err != nil {
			return err
		}
		a, _ = r.view.Attempt(paymentID)
	}
	if !asked.Answer.Closed && !r.superseded(a) && (r.view.Status == checkout.Expired || r.view.Status == checkout.PaymentFailed) {
		again, err := certain[activities.HeldAgain](ctx, r.desk, "hold-again", "hold stock again for a late buyer", checkouts.HoldAgain, r.ref)
		if err != nil {
			return err
		}
		if r.view = again.View; again.OK {
			asked, failed = r.settleCall(ctx, a, inboxID, true)
			if failed != nil {
				return r.unanswered(ctx, a, failed)
			}
			if err := r.record(ctx, a, asked, ""); err != nil {
				return err
			}
			return r.letGo(ctx, paymentID)
		}
	}
	why := "no stock is left; the buyer was not charged"
	switch {
	case r.view.Status == checkout.Paid:
		why = "the order was paid already; the buyer was not charged again"
	case r.view.Status == checkout.Cancelled:
		why = "the checkout was cancelled; the buyer was not charged"
	case r.superseded(a):
		why = "a newer attempt took its place; the buyer was not charged"
	}
	r.view, err = certain[checkout.View](ctx, r.desk, "not-committed", "not committed: "+why, checkouts.NotCommitted, r.ref, paymentID, why)
	if a, _ = r.view.Attempt(paymentID); err != nil || uncertain(a) {
		return err
	}
	return r.certainNow(ctx, paymentID)
}

// untold reports whether a gateway did not tell what a late payment's
// authorization has become. Nobody else asks about it: its capture or void was
// given up, and may have had its effect all the same.
func (r *checkoutRun) untold(ctx workflow.Context, n checkout.News, a checkout.AttemptView) bool {
	return r.late && n.Answer.Outcome == payment.OutcomeUnknown && a.Status == payment.StatusAuthorized && asksUntilTold(ctx)
}

// doubtsAuthorization reports whether a late payment's authorization is still
// asked about. Its row does not say that it is in doubt.
func (r *checkoutRun) doubtsAuthorization(ctx workflow.Context, a checkout.AttemptView) bool {
	return r.late && a.Status == payment.StatusAuthorized && r.doubted(a.PaymentID) && asksUntilTold(ctx)
}

// asksUntilTold is the gate of untold: runs of before ended with the first
// answer, whatever it was.
func asksUntilTold(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "late-payment-untold", workflow.DefaultVersion, 1) >= 1
}

// letGo frees what was held again when the late attempt came to nothing. While
// it is in doubt the units stay.
func (r *checkoutRun) letGo(ctx workflow.Context, paymentID string) (err error) {
	a, _ := r.view.Attempt(paymentID)
	if r.view.Status == checkout.Paid || uncertain(a) {
		return nil
	}
	r.view, err = certain[checkout.View](ctx, r.desk, "let-go", "free the stock again", checkouts.LetGo, r.ref)
	return err
}

// superseded reports whether an attempt was closed in favour of another or of
// a cancellation, or its provider has ended it.
func (r *checkoutRun) superseded(a checkout.AttemptView) bool {
	return a.Closed && !uncertain(a)
}

func (r *checkoutRun) settleCall(ctx workflow.Context, a checkout.AttemptView, inboxID string, mayCommit bool) (asked activities.Asked, err error) {
	in := r.payment(a.PaymentID)
	in.InboxID, in.MayCommit = inboxID, mayCommit
	call := askCall(ctx, a.Gateway, title(a.Gateway)+": settle the buyer's return of payment "+a.PaymentID, r.left(ctx))
	err = workflow.ExecuteActivity(call, payments.SettleReturn, in).Get(ctx, &asked)
	return asked, err
}

// unanswered notes that the gateway could not be asked or did not answer.
func (r *checkoutRun) unanswered(ctx workflow.Context, a checkout.AttemptView, failed error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	class := activities.ErrorType(failed)
	workflow.GetLogger(ctx).Warn("gateway gave no answer", "payment", a.PaymentID, "gateway", a.Gateway, "class", class)
	if err := r.reload(ctx); err != nil {
		return err
	}
	r.doubt(workflow.Now(ctx), a.PaymentID)
	switch class {
	case activities.TypeUnavailable, activities.TypeRateLimited, activities.TypeDatabase:
		return nil
	}
	// Not cured by time alone.
	return r.desk.park(ctx, Case{Step: "gateway:" + a.PaymentID, Reason: "gateway_" + class, Verbs: []string{VerbRetry, VerbResolve},
		Message: fmt.Sprintf("%s does not tell what became of payment %s.", title(a.Gateway), a.PaymentID), Tried: cause(failed)})
}

// doubt begins, or keeps, asking about an attempt.
func (r *checkoutRun) doubt(now time.Time, paymentID string) {
	if r.doubted(paymentID) {
		return
	}
	r.doubts = append(r.doubts, &doubt{paymentID: paymentID, since: now, next: now.Add(firstDoubt), wait: firstDoubt})
}

func (r *checkoutRun) doubted(paymentID string) bool {
	return slices.ContainsFunc(r.doubts, func(d *doubt) bool { return d.paymentID == paymentID })
}

// askAgain asks about an attempt in doubt, ever more slowly, and calls a
// person when that has not helped for long.
func (r *checkoutRun) askAgain(ctx workflow.Context, d *doubt) error {
	d.wait = min(2*d.wait, longDoubt)
	d.next = workflow.Now(ctx).Add(d.wait)
	if err := r.ask(ctx, d.paymentID); err != nil {
		return err
	}
	a, _ := r.view.Attempt(d.paymentID)
	if len(r.doubts) > 0 && workflow.Now(ctx).Sub(d.since) > doubtUntilParked && (uncertain(a) || r.doubtsAuthorization(ctx, a)) {
		message := "Nobody knows whether payment %s at %s took the buyer's money. Look at the provider's panel and resolve it as approved or declined; we go on asking."
		if a.Status == payment.StatusAuthorized {
			message = "Nobody knows what has become of the authorization of payment %s at %s: its capture or void was given up, and may have had its effect. Look at the provider's panel. Resolve it as approved when it stands as it was, as declined when it was given back. If it was captured, wait or retry: we go on asking, and only the provider's answer books it."
		}
		if err := r.desk.park(ctx, Case{Step: "doubt:" + d.paymentID, Reason: "payment_unknown", Verbs: []string{VerbRetry, VerbResolve},
			Message: fmt.Sprintf(message, d.paymentID, title(a.Gateway)),
			Tried:   fmt.Sprintf("asked since %s", clock(d.since))}); err != nil {
			return err
		}
		d.next = workflow.Now(ctx).Add(longestPoll)
	}
	return r.answerCancels(ctx)
}

// record writes a gateway's answer and acts on the ruling.
func (r *checkoutRun) record(ctx workflow.Context, a checkout.AttemptView, asked activities.Asked, lapse payment.Status) error {
	return r.recordNews(ctx, checkout.News{PaymentID: a.PaymentID, Answer: asked.Answer, AskedAt: asked.AskedAt, Lapse: lapse})
}

func (r *checkoutRun) recordNews(ctx workflow.Context, n checkout.News) error {
	ruling, err := certain[checkout.Ruling](ctx, r.desk, "record", "record: payment is "+string(n.Answer.Outcome), checkouts.RecordAnswer, r.ref, n)
	if err != nil {
		return err
	}
	wasOpen := r.view.Status.Open()
	r.view = ruling.View
	a, _ := r.view.Attempt(n.PaymentID)
	if uncertain(a) || r.untold(ctx, n, a) {
		r.doubt(workflow.Now(ctx), n.PaymentID)
	} else if err := r.certainNow(ctx, n.PaymentID); err != nil {
		return err
	}
	if err := startBooked(ctx, r.in.Tenant, ruling); err != nil {
		return err
	}
	if ruling.Void {
		if err := startCapture(ctx, r.in.Tenant, n.PaymentID); err != nil {
			return err
		}
	}
	if ruling.Mismatch != "" {
		return r.desk.park(ctx, Case{Step: "mismatch:" + n.PaymentID, Reason: "payment_mismatch", Verbs: []string{VerbResolve, VerbSkip},
			Message: fmt.Sprintf("%s approved payment %s, but not as we asked (%s): %s, and we asked for %s. The money is recorded and pays nothing: resolve with outcome accept or refund.",
				title(a.Gateway), n.PaymentID, strings.ReplaceAll(ruling.Mismatch, "_", " "), amount(n.Answer.Amount, n.Answer.Currency), amount(r.view.Total, r.view.Currency)),
			Tried: "compared with the intent"})
	}
	if ruling.CameBack > 0 {
		return r.desk.park(ctx, Case{Step: stepCameBack + ":" + n.PaymentID, Reason: "refund_came_back", Verbs: []string{VerbResolve, VerbSkip},
			Message: fmt.Sprintf("A refund in %s's panel has failed: %s of payment %s, which pays nothing, are with us again. Resolve with outcome refund to give them back, or skip when that is done otherwise.",
				title(a.Gateway), amount(ruling.CameBack, r.view.Currency), n.PaymentID),
			Tried: "asked the gateway"})
	}
	if err := r.review(ctx, n, a); err != nil {
		return err
	}
	if wasOpen && r.view.Status == checkout.Paid {
		return r.closeOthers(ctx, n.PaymentID)
	}
	return nil
}

// review has a person look at an order whose payment its provider still
// reviews: it is paid, and must not be shipped yet.
func (r *checkoutRun) review(ctx workflow.Context, n checkout.News, a checkout.AttemptView) error {
	step := "review:" + n.PaymentID
	switch {
	case !a.Applied || n.Answer.Outcome != payment.OutcomeApproved:
		return nil
	case n.Answer.Review && !n.Person:
		return r.desk.park(ctx, Case{Step: step, Reason: checkout.ReasonReview, Verbs: []string{VerbRetry, VerbResolve},
			Message: fmt.Sprintf("%s reviews payment %s by hand: the order is paid and must not be shipped yet. Retry asks again; resolve as approved when the review is closed.", title(a.Gateway), n.PaymentID),
			Tried:   "asked the gateway"})
	}
	return r.desk.unpark(ctx, step, "the review is closed")
}

// certainNow ends a doubt and what was parked about it.
func (r *checkoutRun) certainNow(ctx workflow.Context, paymentID string) error {
	r.doubts = slices.DeleteFunc(r.doubts, func(d *doubt) bool { return d.paymentID == paymentID })
	for _, step := range []string{"doubt:" + paymentID, "gateway:" + paymentID} {
		if err := r.desk.unpark(ctx, step, "the gateway has answered"); err != nil {
			return err
		}
	}
	return nil
}

// closeOthers closes what else could be paid once the order is paid. What
// cannot be closed now is closed by the loop.
func (r *checkoutRun) closeOthers(ctx workflow.Context, paid string) error {
	for _, a := range r.view.Attempts {
		if a.PaymentID != paid && alive(a, workflow.Now(ctx)) && !uncertain(a) {
			if err := r.closeLeftover(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeLeftover closes an attempt of a checkout that has ended.
func (r *checkoutRun) closeLeftover(ctx workflow.Context, a checkout.AttemptView) error {
	_, err := r.close(ctx, a, payment.StatusCancelled, true, r.left(ctx))
	return err
}

// close makes an attempt unpayable. certain is false when the gateway does not
// answer, or answers that the buyer is in the middle of paying. final means
// that it shall not be settled either if the buyer comes back.
func (r *checkoutRun) close(ctx workflow.Context, a checkout.AttemptView, lapse payment.Status, final bool, left time.Duration) (certain bool, err error) {
	var asked activities.Asked
	call := askCall(ctx, a.Gateway, title(a.Gateway)+": close payment "+a.PaymentID, left)
	if failed := workflow.ExecuteActivity(call, payments.CloseAttempt, r.payment(a.PaymentID)).Get(ctx, &asked); failed != nil {
		return false, r.unanswered(ctx, a, failed)
	}
	r.lingering[a.PaymentID] = asked.Lingers
	if asked.ByUs && !final && workflow.Now(ctx).Before(a.PayableUntil) {
		// The provider's form still lives: the buyer may come back late.
		asked.Answer.Closed = false
	}
	if err := r.record(ctx, a, asked, lapse); err != nil {
		return false, err
	}
	after, _ := r.view.Attempt(a.PaymentID)
	return !uncertain(after), nil
}

// timeUp ends the wait for the buyer: close what can be paid, ask what became
// of it, and only then free the stock. While that is not certain, the hold
// moves on, at most by the tenant's grace.
func (r *checkoutRun) timeUp(ctx workflow.Context) error {
	r.desk.describe(ctx, "The time to pay is over: closing the attempts and asking what became of them.")
	sure := true
	for _, a := range r.view.Attempts {
		if !alive(a, workflow.Now(ctx)) {
			continue
		}
		var certain bool
		var err error
		if uncertain(a) {
			err = r.ask(ctx, a.PaymentID)
			after, _ := r.view.Attempt(a.PaymentID)
			certain = !uncertain(after)
			if err == nil && certain && alive(after, workflow.Now(ctx)) {
				certain, err = r.close(ctx, after, payment.StatusExpired, false, r.left(ctx))
			}
		} else {
			certain, err = r.close(ctx, a, payment.StatusExpired, false, r.left(ctx))
		}
		if err != nil {
			return err
		}
		if !r.view.Status.Open() {
			return r.answerCancels(ctx)
		}
		sure = sure && certain
	}
	graceEnd := r.view.ExpiresAt.Add(time.Duration(r.view.Grace) * time.Second)
	var err error
	if !sure && r.view.HeldUntil.Before(graceEnd) {
		r.view, err = certain[checkout.View](ctx, r.desk, "grace", "keep the stock while the payment is in doubt", checkouts.Grace, r.ref, graceStep)
		return err
	}
	to := checkout.Expired
	if r.view.Cancelling {
		to = checkout.Cancelled
	}
	r.view, err = certain[checkout.View](ctx, r.desk, "end", "free the stock: not paid in time", checkouts.EndUnpaid, r.ref, to)
	if err != nil {
		return err
	}
	r.endAt = workflow.Now(ctx).Add(time.Second)
	return r.answerCancels(ctx)
}

// another begins a further attempt while the hold lives, after closing those
// that stand.
func (r *checkoutRun) another(ctx workflow.Context, c *command) (refused string, err error) {
	if known, ok := r.view.Attempt(c.paymentID); ok && known.Begun {
		return "", nil // a repetition
	}
	if r.view.Status == checkout.Paid {
		return "already_paid", nil
	}
	if !r.view.Status.Open() || r.view.Cancelling {
		return "not_awaiting_payment", nil
	}
	if !r.view.ExpiresAt.After(workflow.Now(ctx)) {
		return "hold_ended", nil
	}
	r.walk(ctx, c.gateway)
	for _, a := range r.view.Attempts {
		if !alive(a, workflow.Now(ctx)) {
			continue
		}
		if uncertain(a) {
			return "payment_in_progress", nil
		}
		// A gateway that is away is why buyers take another one.
		if _, err := r.close(ctx, a, payment.StatusCancelled, true, leastPatience); err != nil {
			return "", err
		}
		after, _ := r.view.Attempt(a.PaymentID)
		switch {
		case r.view.Status == checkout.Paid:
			return "already_paid", nil
		case after.Status.InDoubt():
			return "payment_in_progress", nil
		}
	}
	next, err := certain[activities.NextAttempt](ctx, r.desk, "try", "write the next attempt's intent", checkouts.AddAttempt, r.ref, c.paymentID, c.gateway)
	for err == nil && next.OK {
		r.view = next.View
		a := r.view.Attempts[len(r.view.Attempts)-1]
		class, err := r.begin(ctx, a)
		switch {
		case err != nil:
			return "", err
		case class == "":
			r.polls, r.pollAt = 0, workflow.Now(ctx).Add(firstPoll)
			return "", nil
		case class == activities.TypeInvalid:
			return checkout.FailPaymentRefused, nil
		case c.gateway != "auto":
			return checkout.FailGatewayUnavailable, nil
		}
		next, err = certain[activities.NextAttempt](ctx, r.desk, "next-gateway", "take the next gateway of the route", checkouts.NextGateway, r.ref, len(r.view.Attempts)+1)
		if err != nil {
			return "", err
		}
	}
	if err != nil {
		return "", err
	}
	if r.view = next.View; r.view.Status.Open() && r.view.ExpiresAt.After(workflow.Now(ctx)) {
		return checkout.FailGatewayUnavailable, nil
	}
	return "hold_ended", nil
}

// cancel ends a checkout that nobody has paid. decided is false while money
// may be moving: the answer waits for the end of the doubt.
func (r *checkoutRun) cancel(ctx workflow.Context) (decided bool, err error) {
	if err := r.reload(ctx); err != nil {
		return false, err
	}
	if !r.view.Status.Open() {
		return true, nil
	}
	for _, a := range r.view.Attempts {
		if !alive(a, workflow.Now(ctx)) {
			continue
		}
		if uncertain(a) {
			if err := r.ask(ctx, a.PaymentID); err != nil {
				return false, err
			}
			if a, _ = r.view.Attempt(a.PaymentID); uncertain(a) {
				return false, nil
			}
		}
		if r.view.Status.Open() && alive(a, workflow.Now(ctx)) {
			sure, err := r.close(ctx, a, payment.StatusCancelled, true, r.left(ctx))
			if err != nil {
				return false, err
			}
			after, _ := r.view.Attempt(a.PaymentID)
			if !sure || alive(after, workflow.Now(ctx)) && !r.lingering[a.PaymentID] && r.view.Status.Open() {
				r.doubt(workflow.Now(ctx), a.PaymentID)
				return false, nil
			}
		}
		if !r.view.Status.Open() {
			return true, nil
		}
	}
	r.view, err = certain[checkout.View](ctx, r.desk, "cancel", "cancelled: free the stock", checkouts.EndUnpaid, r.ref, checkout.Cancelled)
	return true, err
}

// answerCancels takes up cancellations that waited for a doubt to end.
func (r *checkoutRun) answerCancels(ctx workflow.Context) error {
	if len(r.cancels) == 0 {
		return nil
	}
	for _, d := range r.doubts {
		if a, _ := r.view.Attempt(d.paymentID); uncertain(a) && r.view.Status.Open() {
			return nil
		}
	}
	decided, err := r.cancel(ctx)
	if err != nil || !decided {
		return err
	}
	for _, c := range r.cancels {
		c.done = true
	}
	r.cancels = nil
	return nil
}

// cure looks for other shelves when a count has taken units from the hold.
// Without them an unpaid checkout is cancelled: it cannot be kept.
func (r *checkoutRun) cure(ctx workflow.Context) error {
	if err := r.reload(ctx); err != nil {
		return err
	}
	if r.view.HoldStatus != "short" {
		return nil
	}
	whole, err := certain[bool](ctx, r.desk, "cure", "hold elsewhere what the shelf did not have", checkouts.CureShort, r.in.Tenant, r.view.HoldID)
	if err != nil {
		return err
	}
	if err := r.reload(ctx); err != nil || whole {
		return err
	}
	if r.view.Status == checkout.Paid {
		return startShortage(ctx, ShortageInput{Tenant: r.in.Tenant, OrderID: r.in.CheckoutID, HoldID: r.view.HoldID})
	}
	if r.view, err = certain[checkout.View](ctx, r.desk, "short", "the shelf has fewer units than were held", checkouts.Shorted, r.ref); err != nil {
		return err
	}
	decided, err := r.cancel(ctx)
	if err == nil && !decided {
		r.cancels = append(r.cancels, &command{kind: commandCancel})
	}
	return err
}

// decide carries out what a person decided about a parked step.
func (r *checkoutRun) decide(ctx workflow.Context, dec *decision) (err error) {
	what, paymentID, _ := strings.Cut(dec.Step, ":")
	dec.result = dec.Verb + " of " + dec.Step + " done"
	switch {
	case dec.Verb == VerbSkip:
		err = r.desk.unpark(ctx, dec.Step, "skipped")
	case dec.Verb == VerbRetry:
		if err = r.desk.unpark(ctx, dec.Step, "asking again"); err == nil {
			err = r.ask(ctx, paymentID)
		}
	case what == stepCameBack && dec.Outcome != "refund":
		dec.result = "nothing done: resolve of " + dec.Step + " needs the outcome refund"
	case (what == "mismatch" || what == stepCameBack) && dec.Outcome == "refund":
		var refundID string
		if refundID, err = certain[string](ctx, r.desk, "refund-stray", "book the refund", checkouts.RefundStray, r.ref, paymentID); err == nil {
			if err = r.desk.unpark(ctx, dec.Step, "refunded"); err == nil && refundID != "" {
				err = startRefund(ctx, r.in.Tenant, refundID)
			} else if a, _ := r.view.Attempt(paymentID); err == nil && a.Status == payment.StatusAuthorized {
				err = startCapture(ctx, r.in.Tenant, paymentID)
			}
		}
	case what == "review" && dec.Outcome == "approved":
		err = r.desk.unpark(ctx, dec.Step, "the review is closed, says a person")
	case what == "mismatch" && dec.Outcome == "accept", dec.Outcome == "approved", dec.Outcome == "declined":
		answer := payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Amount: r.view.Total, Currency: r.view.Currency, Reference: dec.Reference, Code: checkout.CodeAcceptedByPerson}
		if dec.Outcome == "declined" {
			answer = payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: "resolved_by_support"}
		}
		if err = r.desk.unpark(ctx, dec.Step, "resolved as "+dec.Outcome); err == nil {
			err = r.recordNews(ctx, checkout.News{PaymentID: paymentID, Answer: answer, AskedAt: workflow.Now(ctx), Person: true})
		}
	default:
		dec.result = "nothing done: resolve needs an outcome: approved or declined of a payment, accept or refund of a mismatch"
	}
	dec.done = err == nil
	if err == nil {
		err = r.answerCancels(ctx)
	}
	return err
}

// story says in plain words what the checkout waits for.
func (r *checkoutRun) story(ctx workflow.Context) string {
	now := workflow.Now(ctx)
	var b strings.Builder
	// Fprintf would do, but counts as non-deterministic.
	say := func(format string, args ...any) { b.WriteString(fmt.Sprintf(format, args...)) }
	say("**%s** is %s, %s. ", r.view.Number, strings.ReplaceAll(string(r.view.Status), "_", " "), amount(r.view.Total, r.view.Currency))
	for _, a := range r.view.Attempts {
		switch {
		case uncertain(a):
			say("Asking %s whether payment %s took the money. ", title(a.Gateway), a.PaymentID)
		case alive(a, now) && r.view.Status.Open():
			say("Waiting for %s until %s. ", title(a.Gateway), clock(r.view.ExpiresAt))
		case alive(a, now):
			say("A late buyer may still come back from %s until %s. ", title(a.Gateway), clock(a.PayableUntil))
		}
	}
	if r.view.Status.Open() && len(r.view.Held) > 0 {
		say("%s held.", stock.Describe(r.view.Held))
	}
	return b.String()
}

// ending says in plain words what became of the checkout.
func (r *checkoutRun) ending(ctx workflow.Context) string {
	s := fmt.Sprintf("**%s** %s, %s", r.view.Number, strings.ReplaceAll(string(r.view.Status), "_", " "), amount(r.view.Total, r.view.Currency))
	for _, a := range r.view.Attempts {
		if a.Applied {
			s += " by " + title(a.Gateway)
		}
	}
	if r.view.FailureCode != "" {
		s += " (" + strings.ReplaceAll(r.view.FailureCode, "_", " ") + ")"
	}
	return s + ", " + clock(workflow.Now(ctx)) + "."
}

// startRefund starts the refund's own workflow, which outlives this one. One
// that runs already is left alone.
func startRefund(ctx workflow.Context, tenant, refundID string) error {
	return startAbandoned(ctx, ID(KindRefund, tenant, refundID), "refund "+refundID, RefundName, RefundInput{Tenant: tenant, RefundID: refundID})
}

func startShortage(ctx workflow.Context, in ShortageInput) error {
	return startAbandoned(ctx, ID(KindShortage, in.Tenant, in.OrderID), "order "+in.OrderID+" lost units to a count", ShortageName, in)
}

func startAbandoned(ctx workflow.Context, id, summary, name string, in any) error {
	// Cancelling the one that starts it must not cancel it.
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: id, ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, StaticSummary: summary})
	err := workflow.ExecuteChildWorkflow(ctx, name, in).GetChildWorkflowExecution().Get(ctx, nil)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return nil
	}
	return err
}
