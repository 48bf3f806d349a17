package workflows_test

import (
	"fmt"
	"time"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// ledger is what the providers know. One of them is like Webpay: the buyer
// fills in a form, and only our commit moves the money. The other is like
// Stripe Checkout: the buyer's payment moves it, and closing is a call that is
// refused once the buyer has paid.
type ledger struct {
	now      func() time.Time
	sessions []*session
	// committing is asked at the moment in which a commit takes the money.
	committing func(s *session)
	// charge does what a storefront's token asks for.
	charge func(s *session, token string)
	// defers: approvals are only authorized, with all of them but Flow.
	defers bool
	// blind: it captures again what is captured.
	blind bool
	// lapses has an authorization end in its time.
	lapses func(s *session)
	// untraced: a refund is found only by its reference.
	untraced bool
}

// session is one attempt as its provider sees it.
type session struct {
	reference, paymentID string
	gateway              payment.Name
	amount               int64
	begunAt              time.Time
	state                sessionState
	declined             bool // Stripe: the last card was refused, another may be tried
	wrong                int64
	paidAt               time.Time
	refunds              map[string]*moneyBack
	// taken is what was captured, captures and voids how often that was done.
	taken           int64
	captures, voids int
	// elsewhere went back without us, by the panel.
	elsewhere []*moneyBack
	disputes  []*payment.Dispute
}

type sessionState string

const (
	open       sessionState = "open"
	filled     sessionState = "filled"  // Webpay: the form is paid, nothing is charged yet
	refused    sessionState = "refused" // Webpay: the form is done, the commit will tell of the bank's refusal
	aborted    sessionState = "aborted" // Webpay: the buyer pressed cancel
	processing sessionState = "processing"
	authorized sessionState = "authorized"
	charged    sessionState = "charged"
	voided     sessionState = "voided"
	lapsed     sessionState = "lapsed" // authorized, and not captured in time
	failed     sessionState = "failed"
	expired    sessionState = "expired"
)

type moneyBack struct {
	amount    int64
	reference string
	pending   bool
	failed    bool // it had succeeded
}

const (
	webpayForm   = 10 * time.Minute
	webpayCommit = 5 * time.Minute // after the form; later Webpay gives the money up
	stripeLife   = 35 * time.Minute
	flowLife     = 15 * time.Minute
	captureFor   = 5 * time.Hour
)

func capabilities(g payment.Name) payment.Capabilities {
	if g == payment.Transbank {
		return payment.Capabilities{SettleMovesMoney: true, CloseIsOurs: true, PayableFor: webpayForm + 5*time.Minute}
	}
	if g == payment.Flow {
		return payment.Capabilities{Notifications: true, CloseIsOurs: true, PayableFor: flowLife + 2*time.Minute}
	}
	return payment.Capabilities{Notifications: true, PayableFor: 2 * time.Hour}
}

// of finds an attempt by the provider's name for it, or, where that was lost
// and the provider looks by ours, by that.
func (l *ledger) of(p payment.Payment) *session {
	if p.Reference != "" || p.Gateway != payment.MercadoPago {
		return l.find(p.Reference)
	}
	for _, s := range l.sessions {
		if s.paymentID == p.ID {
			return s
		}
	}
	return nil
}

func (l *ledger) find(reference string) *session {
	for _, s := range l.sessions {
		if s.reference == reference && reference != "" {
			return s
		}
	}
	return nil
}

// begin creates an attempt. A repetition brings Stripe's session back by its
// idempotency key, and another token of Webpay's.
func (l *ledger) begin(p payment.Payment, token string, before payment.Looked) payment.Answer {
	if a, asked := before.Answer(); asked && (a.Outcome == payment.OutcomeApproved || a.Outcome == payment.OutcomeDeclined && a.Code != payment.CodeNoSuchAttempt) {
		return a
	}
	var s *session
	if p.Gateway == payment.Stripe || p.Gateway == payment.MercadoPago {
		for _, known := range l.sessions {
			if known.paymentID == p.ID {
				s = known
			}
		}
	}
	if s == nil {
		s = &session{reference: fmt.Sprintf("%s-%d", p.Gateway, len(l.sessions)+1), paymentID: p.ID, gateway: p.Gateway, amount: p.Amount, begunAt: l.now(), state: open, refunds: map[string]*moneyBack{}}
		l.sessions = append(l.sessions, s)
		if token != "" {
			l.charge(s, token)
		}
	}
	if token != "" {
		p.Reference = s.reference
		return l.lookup(p)
	}
	return payment.Answer{Outcome: payment.OutcomePending, Reference: s.reference, CaptureRef: s.reference, PaymentID: p.ID}
}

// lapse lets time act: Stripe's sessions and Flow's links end by themselves.
func (l *ledger) lapse(s *session) {
	life, ends := map[payment.Name]time.Duration{payment.Stripe: stripeLife, payment.MercadoPago: stripeLife, payment.Flow: flowLife}[s.gateway]
	if ends && s.state == open && l.now().Sub(s.begunAt) > life {
		s.state = expired
	}
}

// payable reports whether money can still move that we could have kept from
// moving: for Webpay nothing moves without us, and of Flow's links nobody can
// close any.
func (l *ledger) payable(s *session) bool {
	l.lapse(s)
	return (s.gateway == payment.Stripe || s.gateway == payment.MercadoPago) && (s.state == open || s.state == processing)
}

func (l *ledger) lookup(p payment.Payment) payment.Answer {
	s := l.of(p)
	if s == nil {
		return payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, PaymentID: p.ID, Code: payment.CodeNoSuchAttempt}
	}
	l.lapse(s)
	a := payment.Answer{Outcome: payment.OutcomePending, Reference: s.reference, CaptureRef: s.reference, PaymentID: s.paymentID, Amount: s.amount, Currency: money.CLP}
	switch s.state {
	case charged:
		a.Outcome, a.Captured, a.Amount, a.ApprovedAt = payment.OutcomeApproved, true, s.taken, s.paidAt
		s.tell(&a)
	case authorized:
		a.Outcome, a.Amount, a.ApprovedAt = payment.OutcomeApproved, s.amount+s.wrong, s.paidAt
	case voided:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeClosed
	case lapsed:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeExpired
	case processing:
		a.Processing = true
	case failed:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, "-1"
	case expired:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeExpired
	case open:
		if s.declined {
			a.Outcome, a.Code = payment.OutcomeDeclined, "card_declined"
		}
	}
	return a
}

// settle is what a return asks for: Webpay's commit, Stripe's state.
func (l *ledger) settle(p payment.Payment, ret payment.Return, before payment.Looked) payment.Answer {
	if looked, asked := before.Answer(); asked && (looked.Outcome == payment.OutcomeApproved || p.Gateway == payment.Transbank && looked.Outcome != payment.OutcomePending) {
		return looked
	}
	s := l.find(p.Reference)
	if s == nil || p.Gateway != payment.Transbank {
		return l.lookup(p)
	}
	if ret.Kind != payment.ReturnFinished {
		code := payment.CodeAborted
		if ret.Kind == payment.ReturnTimedOut {
			code = payment.CodeFormTimeout
		}
		return l.abandon(p, code)
	}
	switch s.state {
	case open:
		return payment.Answer{Outcome: payment.OutcomePending, Reference: s.reference, PaymentID: s.paymentID, Code: "not_paid_yet"}
	case aborted:
		return payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Reference: s.reference, PaymentID: s.paymentID, Code: "aborted"}
	case authorized:
		return l.lookup(p)
	case charged, voided, lapsed, failed: // "already locked by another process"
		return payment.Answer{Outcome: payment.OutcomeUnknown, Reference: s.reference, PaymentID: s.paymentID, Code: "locked"}
	case refused:
		s.state = failed
	case filled:
		if l.now().Sub(s.paidAt) > webpayCommit {
			s.state = failed
			break
		}
		l.committing(s)
		l.take(s)
	}
	return l.lookup(p)
}

func (l *ledger) abandon(p payment.Payment, code string) payment.Answer {
	a := l.lookup(p)
	if a.Outcome == payment.OutcomePending {
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, code
	}
	return a
}

// close makes an attempt unpayable. Webpay and Flow have no such call, and
// Flow's link lives on.
func (l *ledger) close(p payment.Payment, before payment.Looked) payment.Answer {
	looked, asked := before.Answer()
	if p.Gateway == payment.Flow {
		if asked {
			return looked
		}
		return l.lookup(p)
	}
	if p.Gateway == payment.Transbank {
		if asked && looked.Outcome == payment.OutcomeApproved {
			return looked
		}
		return l.abandon(p, payment.CodeClosed)
	}
	if asked && (looked.Closed || looked.Outcome == payment.OutcomeApproved) {
		return looked
	}
	s := l.of(p)
	if s == nil {
		return l.lookup(p)
	}
	if l.lapse(s); s.state != open {
		return l.lookup(p)
	}
	s.state = expired
	a := l.lookup(p)
	a.Code = payment.CodeClosed
	return a
}

func (l *ledger) refund(in payment.RefundIntent, pending bool) payment.RefundAnswer {
	s := l.find(in.Attempt.Reference)
	if s == nil || s.state != charged {
		return payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: "nothing_charged"}
	}
	if s.refunds[in.RefundID] == nil {
		if s.back()+in.Amount > s.taken {
			return payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: "more_than_charged"}
		}
		s.refunds[in.RefundID] = &moneyBack{amount: in.Amount, reference: "back-" + in.RefundID, pending: pending}
	}
	in.Reference = s.refunds[in.RefundID].reference // the call's own answer names it
	return l.lookupRefund(in)
}

func (l *ledger) lookupRefund(in payment.RefundIntent) payment.RefundAnswer {
	if l.untraced && in.Reference == "" {
		return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: payment.CodeRefundUntraced}
	}
	s := l.find(in.Attempt.Reference)
	if s == nil || s.refunds[in.RefundID] == nil {
		return payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: payment.CodeNoSuchRefund}
	}
	r := s.refunds[in.RefundID]
	if r.failed {
		return payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Reference: r.reference, Code: "failed_later"}
	}
	if r.pending {
		return payment.RefundAnswer{Outcome: payment.OutcomePending, Reference: r.reference}
	}
	return payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: r.reference, Amount: r.amount}
}

// back is what went back of it, whoever asked for that.
func (s *session) back() (sum int64) {
	for _, r := range s.elsewhere {
		if !r.failed {
			sum += r.amount
		}
	}
	return sum + s.byUs()
}

// byUs is what went back of it because we asked.
func (s *session) byUs() (sum int64) {
	for _, r := range s.refunds {
		if !r.failed {
			sum += r.amount
		}
	}
	return sum
}
