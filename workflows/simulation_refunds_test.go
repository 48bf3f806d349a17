package workflows_test

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"

	"justlogistics/activities"
	"justlogistics/internal/payment"
	"justlogistics/internal/refund"
	"justlogistics/workflows"
)

// request is a refund that somebody asked for, with what package refund does for
// it. An order of the simulation has one payment, so several parts go back by
// the same one: for the workflow they are as good as those of several.
type request struct {
	id, paymentID string
	amount        int64
	booked        int64 // of units, freight and goodwill, not released
	waits         bool
}

// kinds of refunds that the shop's support asks for.
const (
	askWhole = iota
	askTwoParts
	askPartByTransfer
	askTransfer
	askVoid
	askUnsettled
	askKinds
)

// askRefund is POST /v1/refunds on the order; kind says of what.
func (s *simulation) askRefund(kind int) {
	i := slices.IndexFunc(s.db.payments, func(p *payment.Payment) bool { return p.Applied })
	if i < 0 {
		return
	}
	p := s.db.payments[i]
	q := &request{id: s.db.id("REQUEST"), paymentID: p.ID}
	left := p.Captured - p.Refunded
	switch kind % askKinds {
	case askUnsettled:
		j := slices.IndexFunc(s.db.payments, func(p *payment.Payment) bool { return p.Status == payment.StatusPending || p.Status.InDoubt() })
		if j < 0 {
			return
		}
		q.paymentID, q.amount, q.waits = s.db.payments[j].ID, s.db.payments[j].Amount, true
	case askVoid:
		// As if its capture had been put off.
		if x := s.bank.find(p.Reference); p.Refunded == 0 && p.Status == payment.StatusCaptured && x.wrong == 0 {
			x.state, p.Status, p.Captured = authorized, payment.StatusAuthorized, 0
			q.amount = p.Amount
			s.db.addPart(q, p, p.Amount, refund.Void)
		}
	default:
		if p.Status != payment.StatusCaptured && p.Status != payment.StatusPartiallyRefunded || left < 2 {
			return
		}
		q.amount = left
		first, second := left, int64(0)
		methods := [2]string{refund.Original, refund.Original}
		switch kind % askKinds {
		case askTwoParts:
			first, second = left/2, left-left/2
		case askPartByTransfer:
			first, second, methods[1] = left/2, left-left/2, refund.BankTransfer
		case askTransfer:
			methods[0] = refund.BankTransfer
		}
		s.db.addPart(q, p, first, methods[0])
		if second > 0 {
			s.db.addPart(q, p, second, methods[1])
		}
	}
	if q.amount == 0 {
		return
	}
	q.booked = q.amount
	s.db.asked = append(s.db.asked, q)
	s.runRefund(q.id)
}

func (s *simulation) runRefund(id string) {
	s.want(run{workflows.ID(workflows.KindRefund, demo, id), workflows.RefundName, workflows.RefundInput{Tenant: demo, RefundID: id}})
}

func (d *database) addPart(q *request, p *payment.Payment, amount int64, method string) *payment.RefundRecord {
	r := &payment.RefundRecord{ID: d.id("PART"), RequestID: q.id, Method: method, PaymentID: p.ID, CheckoutID: p.CheckoutID, Amount: amount, Currency: p.Currency, Reason: refund.Requested, Status: "pending", CreatedAt: d.now()}
	if method != refund.Void {
		p.Refunded += amount
	}
	if p.Refunded > p.Captured && method != refund.Void {
		d.broken("payment %s: %d to be given back of %d taken", p.ID, p.Refunded, p.Captured)
	}
	d.refunds = append(d.refunds, r)
	return r
}

func (d *database) request(id string) *request {
	for _, q := range d.asked {
		if q.id == id {
			return q
		}
	}
	return nil
}

// successor is the part that has taken the place of one.
func (d *database) successor(id string) *payment.RefundRecord {
	for _, r := range d.refunds {
		if d.revives[r.ID] == id {
			return r
		}
	}
	return nil
}

func (d *database) refundView(r *payment.RefundRecord) activities.RefundView {
	p := d.payment(r.PaymentID)
	return activities.RefundView{Status: r.Status, Amount: r.Amount, Currency: r.Currency, Reason: r.Reason, Gateway: p.Gateway, PaymentID: p.ID, CheckoutID: r.CheckoutID,
		Code: r.Code, Method: r.Method, FailedAgain: r.Revived && r.Status == "needs_attention" && r.TriedAt == nil}
}

// loadRefund is activities.Payments.LoadRefund.
func (d *database) loadRefund(id string) activities.RefundView {
	q := d.request(id)
	if q == nil {
		return d.refundView(d.refund(id))
	}
	v := activities.RefundView{Status: "pending", Amount: q.amount, Currency: "CLP", Reason: refund.Requested, PaymentID: q.paymentID, CheckoutID: checkoutID, Request: true, Waits: q.waits}
	for _, r := range d.refunds {
		if r.RequestID == id && d.successor(r.ID) == nil {
			v.Parts = append(v.Parts, activities.RefundPart{ID: r.ID, RefundView: d.refundView(r)})
		}
	}
	return v
}

// settleRefund is refund.Settle and refund.GiveUp: the attempt that is waited
// for is never the one that pays the order.
func (s *simulation) settleRefund(ctx context.Context, in activities.RefundRef, _ int, giveUp bool) (activities.RefundView, error) {
	return call(ctx, s, "SettleRefund", func() (activities.RefundView, error) {
		q := s.db.request(in.RefundID)
		p := s.db.payment(q.paymentID)
		if q.waits && (giveUp || p.Status != payment.StatusPending && !p.Status.InDoubt()) {
			q.waits, q.booked = false, 0
			code := refund.CodeNotCaptured
			switch {
			case giveUp:
				code = payment.CodeGivenUp
			case p.Status.Approved():
				code = refund.CodeNotApplied
			}
			s.db.refunds = append(s.db.refunds, &payment.RefundRecord{ID: s.db.id("PART"), RequestID: q.id, Method: refund.Original, PaymentID: p.ID, CheckoutID: p.CheckoutID, Amount: q.amount, Currency: p.Currency, Reason: refund.Requested, Status: "failed", Code: code})
		}
		return s.db.loadRefund(in.RefundID), nil
	})
}

// mayGiveBack is what payment.AnnounceRefund forbids.
func (d *database) mayGiveBack(r *payment.RefundRecord) error {
	switch d.payment(r.PaymentID).Status {
	case payment.StatusDisputed:
		return temporal.NewNonRetryableApplicationError("disputed", activities.TypeFrozen, nil)
	case payment.StatusChargedBack:
		return temporal.NewNonRetryableApplicationError("charged back", activities.TypeChargedBack, nil)
	}
	for _, o := range d.refunds {
		doubt := o.Status == "pending" || o.Status == "unknown" || o.Status == "needs_attention" && o.Code == payment.CodeUnanswered
		if o != r && o.PaymentID == r.PaymentID && o.Method != refund.BankTransfer && o.Method != refund.Void && o.TriedAt != nil && o.Reference == "" && doubt && r.TriedAt == nil {
			return temporal.NewApplicationErrorWithOptions("another refund is under way", activities.TypeRateLimited, temporal.ApplicationErrorOptions{NextRetryDelay: 5 * time.Second})
		}
	}
	return nil
}

// voidPayment is activities.Payments.VoidPayment.
func (s *simulation) voidPayment(ctx context.Context, in activities.RefundRef) (payment.RefundAnswer, error) {
	s.mu.Lock()
	r := s.db.refund(in.RefundID)
	s.mu.Unlock()
	return asking(ctx, s, "VoidPayment", r.PaymentID, func(*payment.Payment) {
		if now := s.db.now(); r.TriedAt == nil {
			r.TriedAt = &now
		}
	}, func(p payment.Payment, _ time.Time) (payment.RefundAnswer, error) {
		if s.plan.RefundRefused {
			return payment.RefundAnswer{}, temporal.NewNonRetryableApplicationError("simulated: it can't be voided", activities.TypeInvalid, nil)
		}
		x := s.bank.find(p.Reference)
		if x.state == authorized {
			x.state = failed
		}
		return payment.RefundAnswer{Outcome: payment.OutcomeApproved, Code: payment.CodeClosed}, nil
	}, func() (payment.RefundAnswer, error) {
		return payment.RefundAnswer{Outcome: payment.OutcomeUnknown}, nil
	})
}

// refundFails is the provider's news, days later, that a refund has failed after
// all: payment.ReviveRefund, and the run that it asks for.
func (s *simulation) refundFails() {
	for _, r := range s.db.refunds {
		x := s.bank.find(s.db.payment(r.PaymentID).Reference)
		if r.Status != "succeeded" || r.Method == refund.BankTransfer || r.Method == refund.Void || x == nil || x.refunds[r.ID] == nil || x.refunds[r.ID].failed || s.db.successor(r.ID) != nil {
			continue
		}
		x.refunds[r.ID].failed = true
		again := r.Revived
		s.db.setRefund(r, "failed")
		r.Code = "failed_later"
		s.db.restate(s.db.payment(r.PaymentID))
		n := *r
		n.ID, n.Status, n.TriedAt, n.Reference, n.Revived = s.db.id("PART"), "pending", nil, "", true
		if again {
			n.Status = "needs_attention"
		}
		s.db.revives[n.ID] = r.ID
		s.db.payment(r.PaymentID).Refunded += n.Amount
		s.db.refunds = append(s.db.refunds, &n)
		id := n.ID
		if n.RequestID != "" {
			id = n.RequestID
		}
		s.runAgain(id)
		return
	}
}

// runAgain begins a run, now or, if one is just about to end without having
// seen what there is to do, with the sweeper.
func (s *simulation) runAgain(refundID string) {
	s.runRefund(refundID)
	s.later(5*time.Minute, func() {
		v := s.db.loadRefund(refundID)
		open := !v.Request && v.Status != "succeeded" && v.Status != "failed"
		for _, p := range v.Parts {
			open = open || p.Status != "succeeded" && p.Status != "failed"
		}
		if open && !s.running[workflows.ID(workflows.KindRefund, demo, refundID)] {
			s.runAgain(refundID)
		}
	})
}

// disputeIt has the bank dispute the payment of the order for n hours; it wins
// when n is odd.
func (s *simulation) disputeIt(n int) {
	for _, p := range s.db.payments {
		if !p.Applied || p.Status != payment.StatusCaptured && p.Status != payment.StatusPartiallyRefunded && p.Status != payment.StatusRefunded {
			continue
		}
		s.db.setPayment(p, payment.StatusDisputed)
		s.later(time.Duration(n)*time.Hour+time.Minute, func() {
			s.db.setPayment(p, payment.StatusCaptured)
			s.db.restate(p)
			if n%2 == 1 {
				s.db.setPayment(p, payment.StatusDisputed)
				s.db.setPayment(p, payment.StatusChargedBack)
			}
			s.refundNews()
		})
		return
	}
}

// refundNews tells every refund that is at work to ask now.
func (s *simulation) refundNews() {
	for id, up := range s.up {
		if up && strings.HasPrefix(id, workflows.KindRefund+":") {
			s.soon(func() { s.signal(id, workflows.SignalNews, workflows.News{}) })
		}
	}
}

// verdictOnRequests: what a request is booked on is what its parts give back,
// and every part has come to an end.
func (s *simulation) verdictOnRequests() {
	for _, q := range s.db.asked {
		asked, back := int64(0), int64(0)
		for _, r := range s.db.refunds {
			if r.RequestID != q.id {
				continue
			}
			if r.Status != "succeeded" && r.Status != "failed" {
				s.broken("part %s of refund %s ended %s", r.ID, q.id, r.Status)
			}
			if s.db.successor(r.ID) == nil {
				asked += r.Amount
			}
			if r.Status != "failed" {
				back += r.Amount
			}
		}
		if q.waits {
			s.broken("refund %s still waits for payment %s", q.id, q.paymentID)
		}
		if asked != q.amount || back != q.booked {
			s.broken("refund %s of %d: its parts are %d, %d went back and %d are booked", q.id, q.amount, asked, back, q.booked)
		}
	}
}
