package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/workflows"
)

// captureDue is how long a capture or void that was asked for may take.
const captureDue = 10 * time.Minute

// wanted reports whether something is wanted of an authorization.
func wanted(p *payment.Payment) bool { return p.CaptureAmount > 0 || p.VoidReason != "" }

func (d *database) voidedByRefund(paymentID string) bool {
	return slices.ContainsFunc(d.refunds, func(r *payment.RefundRecord) bool {
		return r.PaymentID == paymentID && r.Method == payment.MethodVoid && r.Status != "failed"
	})
}

// askCapture is payment.AskCapture.
func (d *database) askCapture(p *payment.Payment, amount int64) (done bool, err error) {
	if amount == 0 {
		amount = p.Amount
	}
	switch {
	case p.Captured > 0 && p.Captured == amount:
		return true, nil
	case p.Captured > 0:
		return false, payment.ErrCapturedOtherwise
	case p.Status != payment.StatusAuthorized:
		return false, payment.ErrNotAuthorized
	case p.VoidReason != "" || p.VoidTriedAt != nil:
		return false, payment.ErrVoidAsked
	case amount > p.Amount:
		return false, payment.ErrCaptureAmount
	case p.CaptureAmount != 0 && p.CaptureAmount != amount:
		return false, payment.ErrCaptureAsked
	case p.CaptureAmount == 0 && p.CaptureUntil != nil && p.CaptureUntil.Before(d.now()):
		return false, payment.ErrCaptureWindowOver
	case p.CaptureAmount == amount:
		return false, nil
	case d.voidedByRefund(p.ID):
		return false, payment.ErrVoidAsked
	}
	p.CaptureAmount, d.due[p.ID] = amount, d.now().Add(captureDue)
	return false, nil
}

// askVoid is payment.AskVoid.
func (d *database) askVoid(p *payment.Payment, reason string) (done bool, err error) {
	switch {
	case p.Status == payment.StatusCancelled && p.VoidTriedAt != nil:
		return true, nil
	case p.Captured > 0:
		return false, payment.ErrAlreadyCaptured
	case p.Status != payment.StatusAuthorized:
		return false, payment.ErrNotAuthorized
	case p.CaptureAmount != 0:
		return false, payment.ErrCaptureAsked
	case p.VoidReason != "":
		return false, nil
	}
	p.VoidReason, d.due[p.ID] = reason, d.now().Add(captureDue)
	return false, nil
}

// notVoided is what stays of a void that is given up: that something was tried.
func (d *database) notVoided(p *payment.Payment) {
	if p.Status == payment.StatusAuthorized && p.CaptureAmount == 0 && p.VoidReason == "" && p.VoidTriedAt != nil {
		if p.CaptureTriedAt == nil {
			p.CaptureTriedAt = p.VoidTriedAt
		}
		p.VoidTriedAt = nil
	}
}

// unask is payment.Unask.
func (d *database) unask(p *payment.Payment) {
	if p.Status == payment.StatusAuthorized {
		p.CaptureAmount, p.VoidReason = 0, ""
		d.notVoided(p)
	}
}

func (d *database) captureView(p *payment.Payment) activities.CaptureView {
	return activities.CaptureView{CheckoutID: p.CheckoutID, Gateway: p.Gateway, Status: p.Status, Authorized: p.Amount, Currency: p.Currency, Capture: p.CaptureAmount, Void: p.VoidReason != ""}
}

func (s *simulation) loadCapture(ctx context.Context, in activities.CaptureRef) (activities.CaptureView, error) {
	return call(ctx, s, "LoadCapture", func() (activities.CaptureView, error) { return s.db.captureView(s.db.payment(in.PaymentID)), nil })
}

func (s *simulation) withdrawCapture(ctx context.Context, in activities.CaptureRef) (activities.CaptureView, error) {
	return call(ctx, s, "WithdrawCapture", func() (activities.CaptureView, error) {
		p := s.db.payment(in.PaymentID)
		if wanted(p) {
			s.db.unask(p)
		}
		return s.db.captureView(p), nil
	})
}

func (s *simulation) putCaptureOff(ctx context.Context, in activities.CaptureRef, seconds int) error {
	_, err := s.step(ctx, "PutCaptureOff", func() { s.db.due[in.PaymentID] = s.db.now().Add(time.Duration(seconds) * time.Second) })
	return err
}

func (s *simulation) capturePayment(ctx context.Context, in activities.CaptureRef) (activities.Asked, error) {
	return s.captureEffect(ctx, "CapturePayment", in, func(p *payment.Payment, at *time.Time) {
		if p.CaptureTriedAt == nil {
			p.CaptureTriedAt = at
		}
	}, func(p payment.Payment, before payment.Looked) (payment.Answer, error) {
		if p.CaptureAmount == 0 {
			return payment.Answer{}, temporal.NewNonRetryableApplicationError("nothing_to_capture", activities.TypeInvalid, nil)
		}
		return s.bank.capture(p, p.CaptureAmount, before)
	})
}

func (s *simulation) voidAuthorization(ctx context.Context, in activities.CaptureRef) (activities.Asked, error) {
	return s.captureEffect(ctx, "VoidAuthorization", in, func(p *payment.Payment, at *time.Time) {
		if p.VoidTriedAt == nil {
			p.VoidTriedAt = at
		}
	}, func(p payment.Payment, before payment.Looked) (payment.Answer, error) {
		return s.bank.cancel(p, before)
	})
}

// captureEffect is activities.Captures.effect.
func (s *simulation) captureEffect(ctx context.Context, name string, in activities.CaptureRef, announce func(p *payment.Payment, at *time.Time), act func(payment.Payment, payment.Looked) (payment.Answer, error)) (activities.Asked, error) {
	return asking(ctx, s, name, in.PaymentID, func(p *payment.Payment) {
		if now := s.db.now(); p.Status == payment.StatusAuthorized {
			announce(p, &now)
		}
	}, func(p payment.Payment, at time.Time) (out activities.Asked, err error) {
		out.AskedAt = at
		if _, ok := s.as(name, s.calls[name], refusesIt); ok {
			out.Answer = payment.Answer{Outcome: payment.OutcomeDeclined, Code: "not_capturable"}
			return out, nil
		}
		before := payment.Untried
		if (p.CaptureTriedAt != nil || p.VoidTriedAt != nil || p.Status != payment.StatusAuthorized) && !s.db.omits(ruleAsk) {
			before = s.looked(p)
			said, _ := before.Answer()
			if settled := said.Outcome != payment.OutcomeApproved || said.Captured; settled || p.Status != payment.StatusAuthorized {
				out.Answer = said
				return out, nil
			}
		}
		out.Answer, err = act(p, before)
		return out, err
	}, s.unknownAnswer)
}

// authorization is the state of an attempt that is to be captured or voided.
func (l *ledger) authorization(p payment.Payment, before payment.Looked) (x *session, a payment.Answer, ok bool) {
	a, asked := before.Answer()
	if !asked {
		a = l.lookup(p)
	}
	x = l.of(p)
	return x, a, x != nil && (x.state == authorized || x.state == charged && l.blind)
}

func (l *ledger) capture(p payment.Payment, amount int64, before payment.Looked) (payment.Answer, error) {
	x, said, ok := l.authorization(p, before)
	if !ok {
		return said, nil
	}
	if amount > x.amount+x.wrong {
		return said, temporal.NewNonRetryableApplicationError("more than was authorized", activities.TypeInvalid, nil)
	}
	x.capture(amount, l.now())
	return l.lookup(p), nil
}

func (x *session) capture(amount int64, at time.Time) {
	x.state, x.taken, x.paidAt = charged, amount, at
	x.captures++
}

func (l *ledger) cancel(p payment.Payment, before payment.Looked) (payment.Answer, error) {
	x, said, ok := l.authorization(p, before)
	switch {
	case ok:
		x.state = voided
		x.voids++
		return l.lookup(p), nil
	case said.Outcome == payment.OutcomeApproved:
		return said, temporal.NewNonRetryableApplicationError("captured: refund it instead", activities.TypeInvalid, nil)
	}
	return said, nil
}

// take is an approval: of the money, or of an authorization that lapses.
func (l *ledger) take(x *session) {
	if !l.defers || x.gateway == payment.Flow {
		x.capture(x.amount+x.wrong, l.now())
		return
	}
	x.state = authorized
	l.lapses(x)
}

// tell adds what a provider says of money that it took.
func (x *session) tell(a *payment.Answer) {
	if n := len(x.disputes); n > 0 {
		told := *x.disputes[n-1]
		a.Dispute = &told
	}
	if a.Refunded = x.back(); x.gateway == payment.Transbank || x.gateway == payment.Flow {
		return // only the sum
	}
	seen := func(r *moneyBack, id string) {
		out := payment.RefundSeen{Reference: r.reference, RefundID: id, Amount: r.amount, Outcome: payment.OutcomeApproved}
		if r.pending {
			out.Outcome = payment.OutcomePending
		}
		if r.failed {
			out.Outcome = payment.OutcomeDeclined
		}
		a.Refunds = append(a.Refunds, out)
	}
	ids := []string{}
	for id := range x.refunds {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		named := id
		if x.gateway == payment.MercadoPago {
			named = "" // it keeps no name of ours
		}
		seen(x.refunds[id], named)
	}
	for _, r := range x.elsewhere {
		seen(r, "")
	}
}

// lapses has an authorization end that nobody captures. Webpay tells nobody.
func (s *simulation) lapses(x *session) {
	s.later(captureFor, func() {
		if x.state == authorized {
			x.state = lapsed
			s.tellOf(x, 0)
		}
	})
}

// tellOf is a provider's notification of what became of an attempt; n&2: late.
func (s *simulation) tellOf(x *session, n int) {
	if x.gateway != payment.Transbank {
		s.notify(s.db.payment(x.paymentID), payment.OutcomeUnknown, n&2 != 0)
	}
}

// approved is the session that people at the provider's panel, or a bank, act
// on: of the On-th approved one, or the newest.
func (s *simulation) approved(on int, states ...sessionState) *session {
	var list []*session
	for _, x := range s.bank.sessions {
		if slices.Contains(states, x.state) {
			list = append(list, x)
		}
	}
	switch {
	case len(list) == 0:
		return nil
	case on < 1 || on > len(list):
		on = len(list)
	}
	return list[on-1]
}

// authorizedPayment is the payment of which a capture or void is asked.
func (s *simulation) authorizedPayment(on int) *payment.Payment {
	var list []*payment.Payment
	for _, p := range s.db.payments {
		if p.Status == payment.StatusAuthorized {
			list = append(list, p)
		}
	}
	switch {
	case len(list) == 0:
		return nil
	case on < 1 || on > len(list):
		on = len(list)
	}
	return list[on-1]
}

// part is a share of an amount: the whole, a half, a little.
func part(amount int64, n int) int64 { return []int64{amount, amount / 2, 1000}[n%3] }

// askCapture is POST /v1/payments/{id}/capture.
func (s *simulation) askCapture(on, n int) {
	if p := s.authorizedPayment(on); p != nil {
		done, err := s.db.askCapture(p, part(p.Amount, n))
		s.runCapture(p, "capture", done, err)
	}
}

func (s *simulation) askVoid(on int) {
	if p := s.authorizedPayment(on); p != nil {
		done, err := s.db.askVoid(p, "somebody wants it")
		s.runCapture(p, "void", done, err)
	}
}

func captureRun(p *payment.Payment) string { return workflows.ID(workflows.KindCapture, demo, p.ID) }

func (s *simulation) runCapture(p *payment.Payment, what string, done bool, err error) {
	s.note("%s of payment %s: done %t, %v", what, p.ID, done, err)
	if err != nil {
		s.refusals[errorCode(err)]++
	}
	if done || err != nil {
		return
	}
	if id := captureRun(p); s.running[id] {
		s.update(id, workflows.UpdateBegin, nil)
	} else {
		s.startCapture(p)
		s.greet(id)
	}
}

func errorCode(err error) string {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err.Error()
}

func (s *simulation) startCapture(p *payment.Payment) {
	s.want(run{captureRun(p), workflows.CaptureName, workflows.CaptureInput{Tenant: demo, PaymentID: p.ID}})
}

// lateCaptures is the sweeper's look at captures and voids that are past due.
func (s *simulation) lateCaptures() {
	for _, p := range s.db.payments {
		if p.Status == payment.StatusAuthorized && wanted(p) && s.db.due[p.ID].Before(s.db.now()) && !s.running[captureRun(p)] {
			s.db.inheritDesk(captureRun(p))
			s.startCapture(p)
		}
	}
	for _, c := range s.db.parked {
		kind, _, subject, _ := workflows.ParseID(c.WorkflowID)
		if c.open && kind == workflows.KindCapture && !s.running[c.WorkflowID] {
			s.db.inheritDesk(c.WorkflowID)
			s.startCapture(s.db.payment(subject))
		}
	}
}

// loseCapture ends the runs of captures from outside.
func (s *simulation) loseCapture() {
	for _, p := range s.db.payments {
		if id := captureRun(p); s.up[id] {
			s.soon(func() {
				if s.up[id] {
					s.env.CancelWorkflowByID(id, "")
				}
			})
		}
	}
}

func (s *simulation) panelCapture(on, n int) {
	if x := s.approved(on, authorized); x != nil {
		x.capture(part(x.amount+x.wrong, n), s.env.Now())
		s.tellOf(x, n)
	}
}

func (s *simulation) panelVoid(on, n int) {
	if x := s.approved(on, authorized); x != nil {
		x.state = voided
		s.tellOf(x, n)
	}
}

func (s *simulation) panelRefund(on, n int) {
	x := s.approved(on, charged)
	if x == nil || x.back() == x.taken {
		return
	}
	amount := min(part(x.taken, n), x.taken-x.back())
	x.elsewhere = append(x.elsewhere, &moneyBack{amount: amount, reference: fmt.Sprintf("panel-%d", len(x.elsewhere)+1)})
	s.tellOf(x, n)
}

// panelRefundFails: the newest refund of the panel comes back. Where only the
// sum is told nobody can know.
func (s *simulation) panelRefundFails(on int) {
	x := s.approved(on, charged)
	if x == nil || x.gateway == payment.Transbank || x.gateway == payment.Flow || len(x.elsewhere) == 0 {
		return
	}
	x.elsewhere[len(x.elsewhere)-1].failed = true
	s.tellOf(x, 0)
}

// reconcile compares the days' books with the providers', once nothing else is
// to come: payments of which more went back than we know are asked about. It
// reports whether there was one.
func (s *simulation) reconcile() (found bool) {
	for _, x := range s.bank.sessions {
		p := s.db.payment(x.paymentID)
		differs := x.state == charged && (p.Captured == 0 || x.back()-x.byUs() != p.RefundedElsewhere) || x.state == voided && p.Status == payment.StatusAuthorized
		if s.reconciled[p.ID] < 60 && p.Status.Approved() && differs {
			s.reconciled[p.ID]++
			found = true
			s.latePayment(p.ID, "")
		}
	}
	return found
}

// verdictOnAuthorizations: nothing is captured twice or captured and voided,
// what was authorized has ended as the provider says, and an order without
// money has a person.
func (s *simulation) verdictOnAuthorizations() {
	for _, x := range s.bank.sessions {
		if x.captures > 1 || x.captures+x.voids > 1 {
			s.broken("payment %s was captured %d times and voided %d times", x.paymentID, x.captures, x.voids)
		}
		p := s.db.payment(x.paymentID)
		if p.Reference != x.reference {
			continue
		}
		if gone := x.state == voided || x.state == lapsed; gone && p.Status.Approved() && (x.gateway != payment.Transbank || x.state == voided || wanted(p)) {
			s.broken("payment %s is %s, and %s at its provider", p.ID, p.Status, x.state)
		}
	}
	o := s.db.order
	for _, p := range s.db.payments {
		lost := p.OrderID != "" && !p.Applied
		if lost && !s.db.voidedByRefund(p.ID) && (o.attention == "" || o.frozen == "") {
			s.broken("payment %s does not pay its order any more (%s): attention %q, frozen %q", p.ID, p.NotAppliedReason, o.attention, o.frozen)
		}
		if p.Status == payment.StatusAuthorized && wanted(p) {
			s.broken("payment %s was to be captured or voided and is %s", p.ID, p.Status)
		}
		if p.Applied && p.Captured > 0 && p.Captured < p.Amount && o.attention == "" && !s.db.decided["mismatch:"+p.ID] {
			s.broken("payment %s was captured in part and nobody was told", p.ID)
		}
	}
	s.verdictOnDisputes()
}

func (s *simulation) verdictOnDisputes() {
	o := s.db.order
	for _, x := range s.bank.sessions {
		p := s.db.payment(x.paymentID)
		if p.Reference != x.reference {
			continue // of a try of Begin that was taken for dead
		}
		lost, open := false, false
		for _, d := range x.disputes {
			lost, open = lost || d.Status == payment.DisputeLost, open || d.Status == payment.DisputeOpen
		}
		switch {
		case lost != (p.Status == payment.StatusChargedBack), open != (p.Status == payment.StatusDisputed) && !lost:
			s.broken("payment %s is %s; lost dispute %t, open %t", p.ID, p.Status, lost, open)
		case !p.Applied || len(x.disputes) == 0:
		case lost && (o.attention != checkout.ReasonChargedBack || o.frozen == ""):
			s.broken("payment %s was charged back: attention %q, frozen %q", p.ID, o.attention, o.frozen)
		case !lost && !open && (o.frozen == checkout.ReasonDisputed || o.attention == checkout.ReasonDisputed):
			s.broken("payment %s is disputed no more: attention %q, frozen %q", p.ID, o.attention, o.frozen)
		}
	}
}

// aftermath counts what became of money that was taken or authorized.
func (c *sightings) aftermath(s *simulation) {
	if o := s.db.order; o.attention != "" {
		c.count["attention "+o.attention]++
	}
	for code, n := range s.refusals {
		c.count["refused "+code] += n
	}
	for _, p := range s.db.payments {
		if p.OrderID != "" && !p.Applied {
			c.count["lost to its order: "+p.NotAppliedReason]++
		}
		if s.plan.Defers && p.Captured > 0 && p.Captured < p.Amount {
			c.count["captured in part"]++
		}
		if p.Captured > 0 && p.Refunded+p.RefundedElsewhere > p.Captured {
			c.count["more went back than was taken"]++
		}
		for _, d := range s.db.disputes[p.ID] {
			c.count["dispute "+string(d.Status)]++
		}
	}
	for _, x := range s.bank.sessions {
		if x.state == voided || x.state == lapsed {
			c.count["authorization "+string(x.state)]++
		}
		if s.plan.Defers && x.state == charged {
			c.count["authorization captured"]++
		}
	}
	for _, r := range s.db.refunds {
		if s.db.elsewhere[r.ID] {
			c.count["panel refund "+r.Status]++
		}
	}
}
