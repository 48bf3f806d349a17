package workflows_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/mock"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/stock"
	"justlogistics/workflows"
)

const (
	rootName      = "World"
	checkoutID    = "C1"
	reservationID = "R1"
	horizon       = 40 * time.Hour
	// patience is after how long the person at the support desk stops trying
	// things out and brings every case to its end.
	patience = 6 * time.Hour
)

var (
	// The environment holds a local activity's deadline against the real clock:
	// virtual time begins after it.
	dawn           = time.Date(2126, 3, 2, 12, 0, 0, 0, time.UTC)
	theCheckout    = workflows.ID(workflows.KindCheckout, demo, checkoutID)
	theReservation = workflows.ID(workflows.KindReservation, demo, reservationID)
)

// simulation runs the real workflows against a world in memory, in virtual
// time: a root workflow starts them as Temporal's clients would, and they find
// by their names the activities that act on the world.
type simulation struct {
	mu   sync.Mutex // guards everything below; activities run beside each other
	env  *testsuite.TestWorkflowEnvironment
	plan schedule
	db   *database
	bank *ledger

	calls     map[string]int
	lately    map[string][]time.Time
	wanted    []run
	running   map[string]bool // wanted or at work
	up        map[string]bool // able to take messages
	lostAt    time.Time       // when the checkout's run was lost
	asked     []*asked
	greetings map[string]*asked // updates that come with a run's start
	buys      []string          // holds of other buyers
	tries     []string
	doubted   map[string]bool // payments by token of which nobody knew
	orphans   map[string]int  // second halves of calls that were given up
	refusals  map[string]int  // of captures and voids that were asked for
	// reconciled is how often the days' books made us ask about a payment.
	reconciled map[string]int
	offered    int // what other events are still to come
	failed     []string
	trace      []string
	// spoil makes the world wrong on purpose at a call, to prove that it is
	// noticed; workflows are used in place of the real ones.
	spoil     func(s *simulation, name string)
	workflows map[string]any
}

// run is a workflow that the root is to start.
type run struct {
	id, name string
	input    any
}

// asked is an update and what became of it.
type asked struct {
	what, workflowID string
	accepted         bool
	done             bool
	lost             bool
	err              error
	answer           any
}

// simulate runs a schedule to the end of everything and returns what it found.
func simulate(plan schedule, options ...func(*simulation)) *simulation {
	s := &simulation{plan: plan, calls: map[string]int{}, lately: map[string][]time.Time{}, running: map[string]bool{}, up: map[string]bool{}, greetings: map[string]*asked{}, doubted: map[string]bool{}, orphans: map[string]int{}, refusals: map[string]int{}, reconciled: map[string]int{}}
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	s.env = suite.NewTestWorkflowEnvironment()
	s.env.SetStartTime(dawn)
	// Of the wall clock: a busy machine is no broken invariant.
	s.env.SetTestTimeout(3 * time.Minute)
	s.env.SetDetachedChildWait(false)
	now := func() time.Time { return s.env.Now().Add(plan.Skew) }
	s.db = &database{shelves: &shelves{now: now, levels: map[shelf]*level{}, broken: s.broken, backOrders: plan.BackOrders}, requests: map[string]*confirmRequest{}, revives: map[string]string{}, disputes: map[string][]*payment.Dispute{}, elsewhere: map[string]bool{}, changed: map[string]int{}, withdrawn: map[string]bool{}, due: map[string]time.Time{}, decided: map[string]bool{}, route: []payment.Name{payment.Transbank, payment.Stripe}}
	s.db.level(sku, "SCL-1").onHand, s.db.level(sku, "CCP-1").onHand = plan.SCL, plan.CCP
	s.db.checkout = &checkoutRow{ID: checkoutID, wants: []stock.Want{{SKU: sku, Quantity: plan.Units}}, seconds: plan.Hold,
		View: checkout.View{Status: checkout.Reserving, Number: "DEMO-000001", Channel: "web", Currency: "CLP", Total: total, Requested: plan.Gateway}}
	s.db.reservation = &reservationRow{id: reservationID, wants: []stock.Want{{SKU: sku, Quantity: plan.Reservation}}, seconds: plan.Hold}
	s.bank = &ledger{now: s.env.Now, committing: s.committing, charge: s.charge, defers: plan.Defers, untraced: plan.Untraced}
	s.bank.lapses = s.lapses
	s.db.token, s.db.defers = plan.Token, plan.Defers
	for _, o := range options {
		o(s)
	}
	s.register(s.env)
	s.env.OnRequestCancelExternalWorkflow(mock.Anything, mock.Anything, mock.Anything).Return(nil) // a run that has just ended
	s.env.SetOnChildWorkflowStartedListener(func(info *workflow.Info, _ workflow.Context, _ converter.EncodedValues) {
		s.started(info.WorkflowExecution.ID)
	})
	s.env.SetOnChildWorkflowCompletedListener(func(info *workflow.Info, _ converter.EncodedValue, err error) {
		s.ended(info.WorkflowExecution.ID, err)
	})
	s.mu.Lock()
	s.want(run{theCheckout, workflows.CheckoutName, workflows.CheckoutInput{Tenant: demo, CheckoutID: checkoutID}})
	s.greet(theCheckout)
	if plan.Reservation > 0 {
		s.want(run{theReservation, workflows.ReservationName, workflows.ReservationInput{Tenant: demo, ReservationID: reservationID}})
		s.greet(theReservation)
	}
	last := time.Duration(0)
	for _, st := range plan.Steps {
		if st.In == "" {
			last = max(last, st.At)
			s.later(st.At, func() { s.do(st) })
		}
	}
	s.later(time.Minute, func() { s.minute(last) })
	s.mu.Unlock()
	s.env.ExecuteWorkflow(rootName)
	if err := s.env.GetWorkflowError(); err != nil {
		s.broken("the simulation itself failed: %v", err)
	}
	s.verdict()
	return s
}

func (s *simulation) broken(format string, args ...any) {
	if len(s.failed) < 20 {
		s.failed = append(s.failed, s.clock()+fmt.Sprintf(format, args...))
	}
}

func (s *simulation) clock() string {
	d := s.env.Now().Sub(dawn)
	return fmt.Sprintf("%02d:%02d:%02d ", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

func (s *simulation) note(format string, args ...any) {
	if len(s.trace) < 2000 {
		s.trace = append(s.trace, s.clock()+fmt.Sprintf(format, args...))
	}
}

// story is what happened, for a failure's message.
func (s *simulation) story() string {
	return "broken:\n  " + strings.Join(s.failed, "\n  ") + "\nschedule:\n" + s.plan.String() + "\nwhat happened:\n  " + strings.Join(s.trace, "\n  ")
}

// later does something at a time from now, on the environment's own loop.
func (s *simulation) later(d time.Duration, f func()) {
	s.offered++
	s.env.RegisterDelayedCallback(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.offered--
		f()
	}, d)
}

// root starts the runs that are wanted until the world is quiet.
func (s *simulation) root(ctx workflow.Context) error {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON, WaitForCancellation: !s.plan.Lossy,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE})
	starts, quiet := workflow.GetSignalChannel(ctx, "start"), workflow.GetSignalChannel(ctx, "quiet")
	start := func() {
		s.mu.Lock()
		wanted := s.wanted
		s.wanted = nil
		s.mu.Unlock()
		for _, r := range wanted {
			child := workflow.WithWorkflowID(ctx, r.id)
			workflow.ExecuteChildWorkflow(child, r.name, r.input)
		}
	}
	start()
	for over := false; !over; {
		workflow.NewSelector(ctx).
			AddReceive(starts, func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil); start() }).
			AddReceive(quiet, func(workflow.ReceiveChannel, bool) { over = true }).Select(ctx)
	}
	return nil
}

// want starts a run unless one with its id is at work.
func (s *simulation) want(r run) {
	if s.running[r.id] {
		return
	}
	s.running[r.id] = true
	s.note("start %s", r.id)
	s.wanted = append(s.wanted, r)
	if s.env.Now().After(dawn) {
		s.env.SignalWorkflow("start", nil)
	}
}

func (s *simulation) started(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[id], s.up[id] = true, true
	if a := s.greetings[id]; a != nil {
		delete(s.greetings, id)
		s.send(a, s.db.id("UPDATE"), nil)
	}
}

// greet has a run started with an update, as by Temporal's update-with-start.
func (s *simulation) greet(workflowID string) {
	a := &asked{what: workflows.UpdateBegin, workflowID: workflowID}
	s.asked = append(s.asked, a)
	s.greetings[workflowID] = a
}

func (s *simulation) ended(id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("%s has ended: %v", id, err)
	s.running[id], s.up[id] = false, false
	lost := (s.plan.Lossy || strings.HasPrefix(id, workflows.KindCapture+":")) && temporal.IsCanceledError(err)
	if err != nil && !lost {
		s.broken("run %s failed: %v", id, err)
	}
	for _, a := range s.asked {
		if a.workflowID == id && !a.done {
			a.lost = a.lost || lost || !a.accepted
		}
	}
}

// update sends an update to a run. A run that is gone does not answer it.
func (s *simulation) update(workflowID, name string, gone func(), args ...any) *asked {
	a := &asked{what: name, workflowID: workflowID}
	s.asked = append(s.asked, a)
	s.soon(func() { s.send(a, s.db.id("UPDATE"), gone, args...) })
	return a
}

func (s *simulation) send(a *asked, id string, gone func(), args ...any) {
	if s.running[a.workflowID] && !s.up[a.workflowID] {
		s.later(time.Millisecond, func() { s.send(a, id, gone, args...) })
		return
	}
	s.note("update %s of %s %+v", a.what, a.workflowID, args)
	err := s.env.UpdateWorkflowByID(a.workflowID, a.what, id, &testsuite.TestUpdateCallback{
		OnAccept: func() { s.locked(func() { a.accepted = true }) },
		OnReject: func(err error) { s.locked(func() { a.done, a.err = true, err }) },
		OnComplete: func(answer any, err error) {
			s.locked(func() {
				a.done, a.answer, a.err = true, answer, err
				s.note("update %s of %s is answered: %+v %v", a.what, a.workflowID, answer, err)
			})
		},
	}, args...)
	if err != nil {
		a.lost = true
		if gone != nil {
			gone()
		}
	}
}

func (s *simulation) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// signal sends a signal from the environment's loop; false when the run is gone.
func (s *simulation) signal(workflowID, name string, arg any) bool {
	if s.running[workflowID] && !s.up[workflowID] {
		s.later(time.Millisecond, func() { s.signal(workflowID, name, arg) })
		return true
	}
	return s.running[workflowID] && s.env.SignalWorkflowByID(workflowID, name, arg) == nil
}

// soon does something on the environment's loop, before time goes on.
func (s *simulation) soon(f func()) { s.later(0, f) }

// minute is what goes on beside the buyer: the sweeper, the person at the
// support desk, and the look whether everything is over.
func (s *simulation) minute(last time.Duration) {
	age := s.env.Now().Sub(dawn)
	s.db.sweep()
	s.overdue()
	if age%(30*time.Minute) == 0 {
		s.visit(age > patience)
	}
	if age > last && s.quiet() && !s.reconcile() {
		s.env.SignalWorkflow("quiet", nil)
		return
	}
	if age >= horizon {
		s.unquiet()
		s.env.SignalWorkflow("quiet", nil)
		return
	}
	pause := time.Minute
	if age >= 30*time.Minute {
		pause = 5 * time.Minute
	}
	s.later(pause, func() { s.minute(last) })
}

// overdue is the sweeper's look at runs that are lost.
func (s *simulation) overdue() {
	c := s.db.checkout
	waits := slices.ContainsFunc(s.db.parked, func(p *parkedRow) bool { return p.open && p.WorkflowID == theCheckout })
	if !s.running[theCheckout] && (waits || c.ClosedAt.IsZero()) && s.env.Now().Sub(s.lostAt) > time.Minute {
		s.db.inheritDesk(theCheckout)
		s.want(run{theCheckout, workflows.CheckoutName, workflows.CheckoutInput{Tenant: demo, CheckoutID: checkoutID}})
	}
	s.lateCaptures()
	s.revived()
	h := s.db.hold(reservationID)
	if s.plan.Reservation > 0 && !s.running[theReservation] && (!s.db.reservation.decided || h != nil && h.live() && !h.confirmed) {
		s.want(run{theReservation, workflows.ReservationName, workflows.ReservationInput{Tenant: demo, ReservationID: reservationID}})
	}
}

// quiet reports whether nothing is to come any more.
func (s *simulation) quiet() bool { return len(s.waiting()) == 0 }

func (s *simulation) waiting() (out []string) {
	for id, at := range s.running {
		if at {
			out = append(out, "run "+id+" is at work")
		}
	}
	for _, e := range s.db.inbox {
		if e.status == "pending" {
			out = append(out, fmt.Sprintf("news %s (%s) of payment %s wait", e.id, e.kind, e.paymentID))
		}
	}
	for _, p := range s.db.parked {
		if p.open {
			out = append(out, fmt.Sprintf("step %s of %s is parked (%s)", p.Step, p.WorkflowID, p.Reason))
		}
	}
	for _, h := range s.db.holds {
		if h.checkoutID != "" && h.live() && !h.confirmed {
			out = append(out, "hold "+h.id+" is "+h.status+" until the sweeper finds it")
		}
	}
	for _, r := range s.db.refunds {
		if s.db.toTakeUp(r) {
			out = append(out, "refund "+r.ID+" has failed later and is "+r.Status)
		}
	}
	for _, p := range s.db.payments {
		if p.Status == payment.StatusAuthorized && wanted(p) {
			out = append(out, "payment "+p.ID+" is to be captured or voided")
		}
	}
	if s.db.checkout.ClosedAt.IsZero() {
		out = append(out, "the checkout is "+string(s.db.checkout.Status)+" and was never closed")
	}
	if s.offered > 0 {
		out = append(out, fmt.Sprintf("%d things are still to happen", s.offered))
	}
	slices.Sort(out)
	return out
}

func (s *simulation) unquiet() {
	s.broken("after %s it is not over", horizon)
	for _, w := range s.waiting() {
		s.broken("%s", w)
	}
}

// count counts a call and looks whether something runs in circles.
func (s *simulation) count(name string) int {
	s.calls[name]++
	s.note("%s #%d", name, s.calls[name])
	now := s.env.Now()
	list := append(s.lately[name], now)
	for len(list) > 0 && now.Sub(list[0]) > 10*time.Second {
		list = list[1:]
	}
	s.lately[name] = list
	if len(list) == 60 {
		s.broken("%s ran 60 times in 10 seconds", name)
	}
	if s.spoil != nil {
		s.spoil(s, name)
	}
	return s.calls[name]
}

func (s *simulation) happen(name string, n int, when phase) {
	for _, st := range s.plan.Steps {
		if st.In == name && st.Nth == n && st.When == when {
			s.do(st)
		}
	}
}

func (f fault) hits(name string, n int) bool {
	return f.Call == name && n >= f.Nth && n < f.Nth+max(f.Times, 1)
}

// fault is the error that the schedule has for this moment of a call.
func (s *simulation) fault(name string, n int, when phase, what string) error {
	age := s.env.Now().Sub(dawn)
	for _, o := range s.plan.Outages {
		hit := when == before && o.What == "database" || when == announced && o.What == what
		if hit && age >= o.At && age < o.At+o.For {
			return asError(map[bool]failure{true: databaseAway, false: unavailable}[o.What == "database"])
		}
	}
	for _, f := range s.plan.Faults {
		if f.hits(name, n) && f.When == when {
			if err := asError(f.As); err != nil {
				s.note("%s #%d fails %s: %s", name, n, when, f.As)
				return err
			}
		}
	}
	return nil
}

func asError(as failure) error {
	message := "simulated: " + string(as)
	switch as {
	case databaseAway:
		return temporal.NewApplicationError(message, activities.TypeDatabase)
	case timesOut:
		return temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil)
	case bug:
		return temporal.NewNonRetryableApplicationError(message, activities.TypeBug, nil)
	case unavailable:
		return temporal.NewApplicationError(message, activities.TypeUnavailable)
	case rateLimited:
		return temporal.NewApplicationErrorWithOptions(message, activities.TypeRateLimited, temporal.ApplicationErrorOptions{NextRetryDelay: 3 * time.Second})
	case credentials:
		return temporal.NewNonRetryableApplicationError(message, activities.TypeCredentials, nil)
	}
	return nil
}

func (s *simulation) unknown(name string, n int) (fault, bool) {
	return s.as(name, n, unknown, unknownActed)
}

func (s *simulation) slow(name string, n int) (fault, bool) {
	if !slices.Contains(gatewayCalls, name) {
		return fault{}, false
	}
	return s.as(name, n, slow, late)
}

func (s *simulation) as(name string, n int, kinds ...failure) (fault, bool) {
	for _, f := range s.plan.Faults {
		if f.hits(name, n) && slices.Contains(kinds, f.As) {
			s.note("%s #%d: %s", name, n, f.As)
			return f, true
		}
	}
	return fault{}, false
}

// hand is the inbox loop's turn for an entry.
func (s *simulation) hand(e *newsRow) {
	if e.status != "pending" {
		return
	}
	news := workflows.News{PaymentID: e.paymentID}
	if e.kind == inbox.Return {
		news.ReturnID = e.id
	}
	switch {
	case s.signal(theCheckout, workflows.SignalNews, news):
	case s.db.checkout.Status.Open():
		s.want(run{theCheckout, workflows.CheckoutName, workflows.CheckoutInput{Tenant: demo, CheckoutID: checkoutID}})
	case s.signal(workflows.ID(workflows.KindLatePayment, demo, e.paymentID), workflows.SignalNews, news):
	default:
		s.latePayment(e.paymentID, news.ReturnID)
	}
	e.attempts++
	s.later(min(5*time.Minute, 2*time.Second<<min(e.attempts, 10)), func() { s.hand(e) })
}

func (s *simulation) latePayment(paymentID, returnID string) string {
	id := workflows.ID(workflows.KindLatePayment, demo, paymentID)
	s.want(run{id, workflows.LatePaymentName, workflows.CheckoutInput{Tenant: demo, CheckoutID: checkoutID, PaymentID: paymentID, ReturnID: returnID}})
	return id
}

// keep stores news and has them carried to their run.
func (s *simulation) keep(n newsRow, now bool) *newsRow {
	e, fresh := s.db.store(n)
	if fresh {
		s.later(2*time.Second, func() { s.hand(e) })
	}
	p := s.db.payment(n.paymentID)
	if n.kind == inbox.Webhook && n.claim == payment.OutcomeApproved && p.Status == payment.StatusCaptured && p.Applied {
		e.status = "ignored"
	}
	if e.status == "pending" && now && n.kind == inbox.Webhook {
		s.soon(func() { s.signal(theCheckout, workflows.SignalNews, workflows.News{PaymentID: n.paymentID}) })
	}
	return e
}

// comeBack is the buyer's browser at the API's door.
func (s *simulation) comeBack(p *payment.Payment, kind payment.ReturnKind, apiDies bool) {
	ret := payment.Return{Kind: kind, Token: p.Reference}
	switch {
	case p.Status.Approved() && (p.Applied || p.NotAppliedReason != ""), p.Status == payment.StatusDeclined && p.Closed,
		(p.Status == payment.StatusCancelled || p.Status == payment.StatusExpired) && p.Closed && kind != payment.ReturnFinished:
		return // nothing can come of it: kept and ignored
	}
	e := s.keep(newsRow{paymentID: p.ID, kind: inbox.Return, ret: ret, claim: payment.OutcomeUnknown}, true)
	if apiDies {
		return
	}
	request := workflows.SettleRequest{PaymentID: p.ID, InboxID: e.id}
	s.update(theCheckout, workflows.UpdateSettle, func() {
		id := s.latePayment(p.ID, e.id)
		s.later(time.Millisecond, func() { s.update(id, workflows.UpdateSettle, nil, request) })
	}, request)
}
