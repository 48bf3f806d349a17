package workflows_test

import (
	"fmt"
	"slices"
	"time"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/inbox"
	"justlogistics/internal/lifecycle"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/stock"
)

const (
	demo       = "demo"
	sku        = "POL-ROJO-S"
	total      = int64(29970)
	graceLimit = 300 // seconds, the tenant's
	againFor   = 120 // seconds a late buyer's units are held
	longestRes = 7200
)

// database is what PostgreSQL keeps, with the rules of the packages checkout
// and payment that the real activities carry out in SQL. Each method is one
// transaction. What a constraint would refuse is reported as broken.
type database struct {
	*shelves
	ids         int
	checkout    *checkoutRow
	reservation *reservationRow
	payments    []*payment.Payment
	refunds     []*payment.RefundRecord
	asked       []*request
	revives     map[string]string // of a refund, the one whose place it has taken
	inbox       []*newsRow
	parked      []*parkedRow
	parkedEver  []activities.ParkedCase
	decided     map[string]bool            // steps that a person or the run itself took off the list
	requests    map[string]*confirmRequest // of reservations
	route       []payment.Name
	token       string // of the storefront, for the first attempt; good for one use
	defers      bool
	order       order
	disputes    map[string][]*payment.Dispute // by payment
	elsewhere   map[string]bool               // refunds that were made without us
	due         map[string]time.Time          // of captures and voids
	withdrawn   map[string]bool               // payments of which a panel's refund has failed, and nobody has given one of ours up since
	changed     map[string]int                // how often a refund's row was changed
	omitted     rule                          // of a world that is wrong on purpose
}

// rule is one that a world may leave out, to prove that it is noticed.
type rule string

const (
	ruleLapse    rule = "an order whose authorization is gone asks for a person"
	ruleGivenUp  rule = "a void that is given up leaves what it found"
	ruleWord     rule = "a person's word captures nothing"
	rulePanel    rule = "what went back without us is recorded"
	ruleSum      rule = "a sum is compared with all that is known"
	ruleDispute  rule = "a dispute that is lost takes the money"
	ruleRevive   rule = "a refund that failed later is made again"
	ruleCameBack rule = "money that came back to a stray payment has a person"
	ruleAsk      rule = "a capture that was tried is asked for first"
)

func (d *database) omits(r rule) bool { return d.omitted == r }

type checkoutRow struct {
	checkout.View
	ID      string
	wants   []stock.Want
	seconds int
}

type reservationRow struct {
	id             string
	wants          []stock.Want
	seconds        int
	failure        string
	shortages      []stock.Shortage
	decided        bool
	orderConfirmed int
}

type confirmRequest struct {
	status, failure string
}

// newsRow is an entry of the inbox.
type newsRow struct {
	id, paymentID string
	kind          inbox.Kind
	eventID       string
	claim         payment.Outcome
	ret           payment.Return
	receivedAt    time.Time
	status        string // pending, applied or ignored
	attempts      int
}

type parkedRow struct {
	activities.ParkedCase
	open bool
}

func (d *database) id(kind string) string {
	d.ids++
	return fmt.Sprintf("%s%d", kind, d.ids)
}

func (d *database) setCheckout(to checkout.Status) {
	c := d.checkout
	if !lifecycle.Allowed(lifecycle.Checkout, string(c.Status), string(to)) {
		d.broken("checkout may not go from %s to %s", c.Status, to)
	}
	c.Status = to
}

func (d *database) setPayment(p *payment.Payment, to payment.Status) {
	if !lifecycle.Allowed(lifecycle.Payment, string(p.Status), string(to)) {
		d.broken("payment %s may not go from %s to %s", p.ID, p.Status, to)
	}
	p.Status = to
}

func (d *database) setRefund(r *payment.RefundRecord, to string) {
	if !lifecycle.Allowed(lifecycle.Refund, r.Status, to) {
		d.broken("refund %s may not go from %s to %s", r.ID, r.Status, to)
	}
	p := d.payment(r.PaymentID)
	if r.Method == payment.MethodVoid {
		r.Status = to
		return
	}
	was := p.Refunded
	if r.Status != "failed" {
		p.Refunded -= r.Amount
	}
	if r.Status = to; to != "failed" {
		p.Refunded += r.Amount
	}
	if p.Refunded > was {
		d.backWithin(p)
	}
}

// backWithin is the constraint no_more_back_than_taken, on what we decide.
func (d *database) backWithin(p *payment.Payment) {
	if p.Refunded+p.RefundedElsewhere > p.Captured {
		d.broken("payment %s: %d to be given back, and %d elsewhere, of %d taken", p.ID, p.Refunded, p.RefundedElsewhere, p.Captured)
	}
}

func (d *database) payment(id string) *payment.Payment {
	for _, p := range d.payments {
		if p.ID == id {
			return p
		}
	}
	return nil
}

func (d *database) refund(id string) *payment.RefundRecord {
	for _, r := range d.refunds {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// view is checkout.Load.
func (d *database) view() checkout.View {
	v := d.checkout.View
	v.Grace, v.Attempts, v.Held = graceLimit, nil, nil
	if h := d.hold(v.HoldID); h != nil {
		v.HoldStatus, v.ExpiresAt, v.HeldUntil, v.Held = h.status, h.expiresAt, h.heldUntil, h.held()
	}
	for _, p := range d.payments {
		a := checkout.AttemptView{PaymentID: p.ID, Gateway: p.Gateway, Status: p.Status, Begun: p.BegunAt != nil, Closed: p.Closed, Settling: p.SettleTriedAt != nil, Applied: p.Applied, Mismatch: p.NotAppliedReason}
		if p.PayableUntil != nil {
			a.PayableUntil = *p.PayableUntil
		}
		v.Attempts = append(v.Attempts, a)
	}
	return v
}

func (d *database) intend(id string, g payment.Name) {
	d.payments = append(d.payments, &payment.Payment{ID: id, CheckoutID: d.checkout.ID, Attempt: len(d.payments) + 1, Gateway: g, Amount: total, Currency: money.CLP, Status: payment.StatusPending, CreatedAt: d.now()})
}

// start is checkout.Start behind activities.Checkouts.Start.
func (d *database) start() checkout.View {
	c := d.checkout
	if c.Status != checkout.Reserving || c.HoldID != "" {
		return d.view()
	}
	g := payment.Name(c.Requested)
	if c.Requested == "auto" {
		g = d.untried()
	}
	switch {
	case g == "":
		d.fail(checkout.FailGatewayUnavailable)
	case c.Cancelling:
		d.fail("cancelled_by_caller")
	default:
		id := d.id("HOLD")
		if c.Shortages = d.place(id, c.ID, c.wants, c.seconds); c.Shortages != nil {
			d.fail(checkout.FailInsufficientStock)
			break
		}
		c.HoldID = id
		d.intend(d.id("PAY"), g)
	}
	return d.view()
}

func (d *database) untried() payment.Name {
	for _, g := range d.route {
		if !slices.ContainsFunc(d.payments, func(p *payment.Payment) bool { return p.BegunAt == nil && p.Gateway == g }) {
			return g
		}
	}
	return ""
}

func (d *database) fail(code string) {
	d.setCheckout(checkout.Cancelled)
	d.checkout.FailureCode, d.checkout.ClosedAt = code, d.now()
}

// addAttempt is checkout.AddAttempt.
func (d *database) addAttempt(paymentID string, g payment.Name, number int) (ok bool) {
	c := d.checkout
	for _, p := range d.payments {
		if p.ID == paymentID || paymentID == "" && p.Attempt == number {
			return true
		}
	}
	h := d.hold(c.HoldID)
	if !c.Status.Open() || c.Cancelling || h == nil || h.status != "held" && h.status != "short" || !h.expiresAt.After(d.now()) {
		return false
	}
	if paymentID == "" {
		paymentID = d.id("PAY")
	}
	d.intend(paymentID, g)
	return true
}

// giveUp is checkout.GiveUp.
func (d *database) giveUp(code string) checkout.View {
	if d.checkout.Status == checkout.Reserving {
		d.release(d.checkout.HoldID)
		d.endAttempts(payment.StatusCancelled)
		d.fail(code)
	}
	return d.view()
}

func (d *database) endAttempts(to payment.Status) {
	for _, p := range d.payments {
		if p.Status == payment.StatusPending && (p.SettleTriedAt == nil || p.Closed) {
			d.setPayment(p, to)
		}
	}
}

// endUnpaid is checkout.EndUnpaid.
func (d *database) endUnpaid(to checkout.Status) {
	c := d.checkout
	if !c.Status.Open() {
		return
	}
	if c.HoldID != "" {
		ended := false
		if to == checkout.Cancelled {
			ended = d.release(c.HoldID)
		} else {
			ended = d.expire(c.HoldID)
		}
		if !ended && d.hold(c.HoldID).live() {
			return // not yet its time by the database's clock
		}
	}
	lapse, code := payment.StatusExpired, "hold_expired"
	if to == checkout.Cancelled {
		lapse, code = payment.StatusCancelled, "cancelled"
	} else {
		to = checkout.Expired
		if n := len(d.payments); n > 0 {
			last := d.payments[n-1]
			if last.Status == payment.StatusDeclined {
				to, code = checkout.PaymentFailed, "payment_declined"
			} else if last.BegunAt == nil && last.Code == checkout.FailGatewayUnavailable {
				to, code = checkout.PaymentFailed, checkout.FailGatewayUnavailable
			}
		}
	}
	d.endAttempts(lapse)
	d.setCheckout(to)
	if c.FailureCode == "" {
		c.FailureCode = code
	}
}

// settled is checkout.Settled.
func (d *database) settled() {
	if c := d.checkout; !c.Status.Open() {
		if c.ClosedAt.IsZero() {
			c.ClosedAt = d.now()
		}
		for _, p := range d.payments {
			if p.Status == payment.StatusPending && p.BegunAt == nil {
				d.setPayment(p, payment.StatusCancelled)
				p.Closed = true
			}
		}
	}
}

// holdAgain is checkout.HoldAgain.
func (d *database) holdAgain() (ok bool) {
	c := d.checkout
	if c.Status == checkout.Paid || c.Status == checkout.Cancelled {
		return false
	}
	if d.hold(c.HoldID).live() {
		return true
	}
	id := d.id("HOLD")
	if d.place(id, c.ID, c.wants, againFor) != nil {
		return false
	}
	c.HoldID = id
	return true
}

// letGo is checkout.LetGo.
func (d *database) letGo() {
	if !d.checkout.Status.Open() {
		d.release(d.checkout.HoldID)
	}
}

// notCommitted is checkout.NotCommitted.
func (d *database) notCommitted(paymentID string) {
	for _, e := range d.inbox {
		if e.paymentID == paymentID && e.kind == inbox.Return && e.status == "pending" {
			e.status = "ignored"
		}
	}
	p, c := d.payment(paymentID), d.checkout
	if p.Status == payment.StatusPending || p.Status.InDoubt() {
		switch {
		case c.Status == checkout.Cancelled:
			d.setPayment(p, payment.StatusCancelled)
		case !c.Status.Open():
			d.setPayment(p, payment.StatusExpired)
		}
	}
}

// shorted is checkout.MarkShorted.
func (d *database) shorted() {
	if c := d.checkout; c.Status.Open() {
		c.Cancelling, c.FailureCode = true, checkout.FailInsufficientStock
	}
}

// committable is checkout.Committable.
func (d *database) committable() bool {
	c, h := d.checkout, d.hold(d.checkout.HoldID)
	return c.Status != checkout.Paid && c.Status != checkout.Cancelled && h != nil && h.live() && !h.confirmed
}

// takeOver is what another checkout does that replaces this one: its hold is
// handed over before its attempts are closed.
func (d *database) takeOver() bool {
	c := d.checkout
	if !c.Status.Open() {
		return false
	}
	for _, p := range d.payments {
		if p.Status.InDoubt() || p.Status.Approved() || p.Status == payment.StatusPending && !p.Closed && p.SettleTriedAt != nil {
			return false
		}
	}
	for _, p := range d.payments {
		if p.Status == payment.StatusPending && p.BegunAt == nil {
			d.setPayment(p, payment.StatusCancelled)
			p.Closed = true
		}
	}
	d.release(c.HoldID)
	d.setCheckout(checkout.Cancelled)
	c.Cancelling, c.FailureCode = true, "replaced"
	return true
}

// requestCancel is checkout.RequestCancel.
func (d *database) requestCancel() {
	if d.checkout.Status.Open() {
		d.checkout.Cancelling = true
	}
}

// sweep is what the sweeper does with holds that outlived their time.
func (d *database) sweep() {
	for _, h := range slices.Clone(d.holds) {
		if h.status != "held" && h.status != "short" || h.confirmed || !h.heldUntil.Before(d.now().Add(-30*time.Second)) {
			continue
		}
		if h.checkoutID == "" {
			d.expire(h.id)
			continue
		}
		if slices.ContainsFunc(d.payments, func(p *payment.Payment) bool {
			return p.Status.InDoubt() || p.Status == payment.StatusPending && !p.Closed && p.SettleTriedAt != nil
		}) {
			continue
		}
		if c := d.checkout; c.Status.Open() && c.HoldID == h.id {
			to := checkout.Expired
			if c.Cancelling {
				to = checkout.Cancelled
			}
			d.endUnpaid(to)
		} else {
			d.expire(h.id)
		}
	}
}

// reservationView is checkout.LoadReservation.
func (d *database) reservationView() checkout.ReservationView {
	r := d.reservation
	h := d.hold(r.id)
	if h == nil {
		return checkout.ReservationView{Refused: r.failure, Shortages: r.shortages}
	}
	return checkout.ReservationView{Status: h.status, Held: h.held(), ExpiresAt: h.expiresAt, HeldUntil: h.heldUntil, Confirmed: h.confirmed, OrderID: h.orderID}
}

func (d *database) reserve() checkout.ReservationView {
	if r := d.reservation; !r.decided {
		r.decided = true
		if r.shortages = d.place(r.id, "", r.wants, r.seconds); r.shortages != nil {
			r.failure = checkout.FailInsufficientStock
		}
	}
	return d.reservationView()
}

func (d *database) endReservation(expire bool) checkout.ReservationView {
	if expire {
		d.expire(d.reservation.id)
	} else {
		d.release(d.reservation.id)
	}
	return d.reservationView()
}

func (d *database) extendReservation(seconds int) checkout.ReservationView {
	ok := d.extend(d.reservation.id, seconds, longestRes)
	v := d.reservationView()
	if !ok {
		v.Refused = "beyond_limit"
		if v.Over() {
			v.Refused = "reservation_over"
		}
	}
	return v
}

func (d *database) confirmReservation(requestID string) checkout.ReservationView {
	q := d.requests[requestID]
	if q.status == "open" {
		q.status = "done"
		h := d.hold(d.reservation.id)
		switch {
		case h.status == "short" && !h.confirmed:
			q.status, q.failure = "refused", "short_stock"
		case !d.confirm(h.id, h.id):
			q.status, q.failure = "refused", "reservation_over"
		default:
			d.reservation.orderConfirmed++
		}
	}
	v := d.reservationView()
	v.Refused = q.failure
	return v
}

// park and unpark are activities.Support.
func (d *database) park(c activities.ParkedCase) {
	d.parkedEver = append(d.parkedEver, c)
	for _, p := range d.parked {
		if p.WorkflowID == c.WorkflowID && p.Step == c.Step {
			p.ParkedCase, p.open = c, true
			return
		}
	}
	d.parked = append(d.parked, &parkedRow{ParkedCase: c, open: true})
}

func (d *database) unpark(c activities.ParkedCase) {
	d.decided[c.Step] = true
	for _, p := range d.parked {
		if p.WorkflowID == c.WorkflowID && p.Step == c.Step {
			p.open = false
		}
	}
}

// inheritDesk takes what an earlier run had parked off the list.
func (d *database) inheritDesk(workflowID string) {
	for _, p := range d.parked {
		if p.WorkflowID == workflowID {
			p.open = false
		}
	}
}

// store is inbox.Store: a signed event once for ever, a return joined with one
// like it that nobody has applied.
func (d *database) store(n newsRow) (row *newsRow, fresh bool) {
	for _, e := range d.inbox {
		if n.eventID != "" && e.eventID == n.eventID || n.eventID == "" && e.eventID == "" && e.status == "pending" && e.kind == n.kind && e.paymentID == n.paymentID && e.ret == n.ret {
			return e, false
		}
	}
	n.id, n.receivedAt, n.status = d.id("NEWS"), d.now(), "pending"
	d.inbox = append(d.inbox, &n)
	return &n, true
}

// newest is the stored return that Settle takes up.
func (d *database) newest(paymentID, inboxID string) *newsRow {
	for _, e := range slices.Backward(d.inbox) {
		if e.paymentID == paymentID && e.kind == inbox.Return && (inboxID == "" || e.id == inboxID) {
			return e
		}
	}
	return nil
}
