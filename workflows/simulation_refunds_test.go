package workflows_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"

	"justlogistics/activities"
	"justlogistics/internal/money"
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
	askWholeAgain
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
	left := s.db.left(p)
	switch kind %= askKinds; {
	case kind == askUnsettled:
		j := slices.IndexFunc(s.db.payments, s.db.unsettled)
		if j < 0 {
			return
		}
		q.paymentID, q.amount, q.waits = s.db.payments[j].ID, s.db.payments[j].Amount, true
	case s.db.unsettled(p):
		q.amount, q.waits = p.Amount, true
	case p.Status == payment.StatusAuthorized:
		if left != p.Amount {
			return // being given up already
		}
		q.amount = p.Amount
		s.db.addPart(q, p, p.Amount, refund.Void)
	default:
		if p.Status != payment.StatusCaptured && p.Status != payment.StatusPartiallyRefunded || left < 2 {
			return
		}
		q.amount = left
		first, second := left, int64(0)
		methods := [2]string{refund.Original, refund.Original}
		switch kind {
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
	q.booked = q.amount
	s.db.asked = append(s.db.asked, q)
	s.runRefund(q.id)
}

// left is what may still go back of a payment, or be given up of an
// authorization.
func (d *database) left(p *payment.Payment) int64 {
	if p.Status != payment.StatusAuthorized {
		return max(p.Captured-p.Refunded-p.RefundedElsewhere, 0)
	}
	left := p.Amount
	for _, r := range d.refunds {
		if r.PaymentID == p.ID && r.Method == refund.Void && r.Status != "failed" {
			left -= r.Amount
		}
	}
	return left
}

// unsettled: nobody knows yet what will have been taken.
func (d *database) unsettled(p *payment.Payment) bool {
	return p.Status == payment.StatusPending || p.Status.InDoubt() || p.Status == payment.StatusAuthorized && p.CaptureAmount > 0
}

func (s *simulation) runRefund(id string) {
	s.want(run{workflows.ID(workflows.KindRefund, demo, id), workflows.RefundName, workflows.RefundInput{Tenant: demo, RefundID: id}})
}

func (d *database) addPart(q *request, p *payment.Payment, amount int64, method string) *payment.RefundRecord {
	r := &payment.RefundRecord{ID: d.id("PART"), RequestID: q.id, Method: method, PaymentID: p.ID, CheckoutID: p.CheckoutID, Amount: amount, Currency: p.Currency, Reason: refund.Requested, Status: "pending", CreatedAt: d.now()}
	if method != refund.Void {
		p.Refunded += amount
		d.backWithin(p)
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

// settleRefund is refund.Settle and refund.GiveUp.
func (s *simulation) settleRefund(ctx context.Context, in activities.RefundRef, _ int, giveUp bool) (activities.RefundView, error) {
	return call(ctx, s, "SettleRefund", func() (activities.RefundView, error) {
		q := s.db.request(in.RefundID)
		if p := s.db.payment(q.paymentID); q.waits && (giveUp || !s.db.unsettled(p)) {
			q.waits = false
			s.db.settle(q, p, giveUp)
		}
		return s.db.loadRefund(in.RefundID), nil
	})
}

// settle gives a request its part, or a part that was never made and says why.
func (d *database) settle(q *request, p *payment.Payment, giveUp bool) {
	code, method := "", refund.Original
	switch left := d.left(p); {
	case giveUp:
		code = payment.CodeGivenUp
	case !p.Status.Approved():
		code = refund.CodeNotCaptured
	case p.Status == payment.StatusChargedBack:
		code = refund.CodeChargedBack
	case p.Status == payment.StatusDisputed:
		code = refund.CodeDisputed
	case !p.Applied:
		code = refund.CodeNotApplied
	case p.Status == payment.StatusAuthorized && q.amount < p.Amount:
		code = refund.CodeNotCaptured
	case q.amount > left:
		code = refund.CodeNothingLeft
	case p.Status == payment.StatusAuthorized:
		method = refund.Void
	}
	if code == "" {
		d.addPart(q, p, q.amount, method)
		return
	}
	q.booked = 0
	d.refunds = append(d.refunds, &payment.RefundRecord{ID: d.id("PART"), RequestID: q.id, Method: refund.Original, PaymentID: p.ID, CheckoutID: p.CheckoutID, Amount: q.amount, Currency: p.Currency, Reason: refund.Requested, Status: "failed", Code: code})
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
		doubt := o.Status == "unknown" || o.Status == "pending" && o.Reference == "" || askedInVain(o)
		if o != r && o.PaymentID == r.PaymentID && o.Method != refund.BankTransfer && o.Method != refund.Void && o.TriedAt != nil && doubt && r.TriedAt == nil {
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
	captured, refused := false, error(nil)
	var tried bool
	return asking(ctx, s, "VoidPayment", r.PaymentID, func(p *payment.Payment) {
		tried = r.TriedAt != nil || p.VoidTriedAt != nil || p.CaptureTriedAt != nil
		captured, refused = s.db.announceVoid(r, p)
	}, func(p payment.Payment, _ time.Time) (payment.RefundAnswer, error) {
		switch {
		case refused != nil:
			return payment.RefundAnswer{}, refused
		case captured:
			return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: activities.CodeCaptured}, nil
		case s.plan.RefundRefused:
			return payment.RefundAnswer{}, temporal.NewNonRetryableApplicationError("simulated: it can't be voided", activities.TypeInvalid, nil)
		}
		before := payment.Untried
		if tried {
			before = s.looked(p)
			if said, _ := before.Answer(); said.Outcome != payment.OutcomeApproved || said.Captured {
				return voidAnswer(said), nil
			}
		}
		a, err := s.bank.cancel(p, before)
		return voidAnswer(a), err
	}, func() (payment.RefundAnswer, error) {
		return payment.RefundAnswer{Outcome: payment.OutcomeUnknown}, nil
	})
}

func voidAnswer(a payment.Answer) payment.RefundAnswer {
	switch {
	case a.Outcome == payment.OutcomeDeclined && a.Closed:
		return payment.RefundAnswer{Outcome: payment.OutcomeApproved, Code: a.Code}
	case a.Outcome == payment.OutcomeApproved && a.Captured:
		return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: activities.CodeCaptureNotRecorded}
	}
	return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: a.Code}
}

// announceVoid is payment.AnnounceVoid.
func (d *database) announceVoid(r *payment.RefundRecord, p *payment.Payment) (captured bool, err error) {
	switch {
	case p.Status.Approved() && p.Status != payment.StatusAuthorized:
		if r.Method == refund.Void {
			if p.Refunded+p.RefundedElsewhere+r.Amount > p.Captured {
				return false, temporal.NewNonRetryableApplicationError("no_more_back_than_taken", activities.TypeBug, nil)
			}
			p.Refunded += r.Amount
		}
		r.Method, r.TriedAt = refund.Original, nil
		return true, nil
	case p.Status == payment.StatusAuthorized && p.CaptureAmount > 0:
		return false, temporal.NewApplicationErrorWithOptions("a capture is under way", activities.TypeRateLimited, temporal.ApplicationErrorOptions{NextRetryDelay: 5 * time.Second})
	}
	now := d.now()
	if r.TriedAt == nil {
		r.TriedAt = &now
	}
	if p.VoidTriedAt == nil {
		p.VoidTriedAt = &now
	}
	return false, nil
}

// refundFails is that the provider says, days later, that a refund of ours has
// failed after all.
func (s *simulation) refundFails(n int) {
	for _, r := range s.db.refunds {
		x := s.bank.find(s.db.payment(r.PaymentID).Reference)
		if r.Status != "succeeded" || x == nil || x.refunds[r.ID] == nil || x.refunds[r.ID].failed || x.gateway == payment.Transbank || x.gateway == payment.Flow {
			continue
		}
		x.refunds[r.ID].failed = true
		s.tellOf(x, n)
		return
	}
}

// revived is the sweeper's look at refunds that were taken up again while their
// run was about to end.
func (s *simulation) revived() {
	for _, r := range s.db.refunds {
		if id := s.db.runOf(r); s.db.toTakeUp(r) && r.CreatedAt.Add(10*time.Minute).Before(s.db.now()) {
			s.runRefund(id)
		}
	}
}

func (d *database) toTakeUp(r *payment.RefundRecord) bool {
	return d.revives[r.ID] != "" && r.Status != "succeeded" && r.Status != "failed"
}

// disputeIt has a bank dispute a charge for n hours; it wins when n is odd.
func (s *simulation) disputeIt(on, n int) {
	x := s.approved(on, charged)
	if x == nil || len(x.disputes) > 0 && x.disputes[len(x.disputes)-1].Status != payment.DisputeWon {
		return
	}
	d := &payment.Dispute{Reference: fmt.Sprintf("dispute-%d", len(x.disputes)+1), Status: payment.DisputeOpen, Amount: x.taken, Currency: money.CLP}
	x.disputes = append(x.disputes, d)
	s.tellDispute(x)
	s.later(time.Duration(n)*time.Hour+time.Minute, func() {
		if d.Status = payment.DisputeWon; n%2 == 1 {
			d.Status = payment.DisputeLost
		}
		s.tellDispute(x)
	})
}

// tellDispute: of a gateway that tells nothing, a person enters what the bank
// wrote.
func (s *simulation) tellDispute(x *session) {
	s.notify(s.db.payment(x.paymentID), payment.OutcomeUnknown, false)
	s.later(time.Minute, s.refundNews)
}

// refundNews tells every refund that is at work to ask now.
func (s *simulation) refundNews() {
	for _, id := range slices.Sorted(maps.Keys(s.up)) {
		if s.up[id] && strings.HasPrefix(id, workflows.KindRefund+":") {
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
