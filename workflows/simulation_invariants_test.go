package workflows_test

import (
	"strings"

	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/workflows"
)

func cutStep(step string) (what, subject string, ok bool) {
	what, subject, ok = strings.Cut(step, ":")
	return what, subject, ok
}

// verdict looks at the world when everything is over.
func (s *simulation) verdict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db.check()
	s.verdictOnCheckout()
	s.verdictOnMoney()
	s.verdictOnAuthorizations()
	s.verdictOnRequests()
	s.verdictOnReservation()
	for _, a := range s.asked {
		if !a.done && !a.lost {
			s.broken("update %s of %s was never answered", a.what, a.workflowID)
		}
		if a.done && a.err != nil && a.what != workflows.UpdateSupport && a.what != workflows.UpdateExtend && !a.lost && !s.cancels() {
			s.broken("update %s of %s failed: %v", a.what, a.workflowID, a.err)
		}
	}
	for _, e := range s.db.inbox {
		if e.status == "pending" {
			s.broken("news %s (%s) of payment %s were neither applied nor ignored", e.id, e.kind, e.paymentID)
		}
	}
}

// cancels reports whether an operator cancels runs in this schedule: what then
// was asked may be answered by the cancellation.
func (s *simulation) cancels() bool {
	for _, st := range s.plan.Steps {
		if st.Do == operator || st.Do == loseCapture {
			return true
		}
	}
	return false
}

func (s *simulation) verdictOnCheckout() {
	c := s.db.checkout
	if c.Status.Open() {
		s.broken("the checkout is still %s", c.Status)
	}
	if c.ClosedAt.IsZero() {
		s.broken("the checkout was never closed: the sweeper would look at it for ever")
	}
	for _, h := range s.db.holds {
		if h.checkoutID == checkoutID && h.live() && !h.confirmed {
			s.broken("hold %s is still %s", h.id, h.status)
		}
		if h.checkoutID == checkoutID && h.confirmed && c.Status != checkout.Paid {
			s.broken("hold %s is %s and the checkout %s", h.id, h.status, c.Status)
		}
	}
	applied := 0
	for _, p := range s.db.payments {
		applied += btoi(p.Applied || p.OrderID != "")
		switch p.Status {
		case payment.StatusPending, payment.StatusProcessing, payment.StatusUnknown:
			s.broken("payment %s is left %s", p.ID, p.Status)
		}
	}
	if applied != btoi(c.Status == checkout.Paid) {
		s.broken("the checkout is %s and %d payments are applied", c.Status, applied)
	}
	if h := s.db.hold(c.HoldID); c.Status == checkout.Paid && (h == nil || !h.confirmed) {
		s.broken("the order is paid and holds nothing")
	}
}

// verdictOnMoney compares the providers' ledger with our books: whatever was
// charged pays the order or goes back, or a person said what becomes of it.
func (s *simulation) verdictOnMoney() {
	for _, x := range s.bank.sessions {
		p := s.db.payment(x.paymentID)
		back, given, panel := int64(0), int64(0), int64(0)
		stated, misjudged := false, false // by a person; misjudged: the provider had made it
		for _, r := range s.db.refunds {
			if r.PaymentID != p.ID {
				continue
			}
			switch {
			case s.db.elsewhere[r.ID]:
				if r.Status == "succeeded" {
					panel += r.Amount
				}
			case r.Code == payment.CodeNotMade && r.Status == "failed":
				// Another took its place; the first may be made all the same by a
				// worker that was taken for dead.
				stated, misjudged = stated || x.refunds[r.ID] != nil, misjudged || x.refunds[r.ID] != nil
			case r.Method == payment.MethodVoid, r.Status == "failed" && (s.db.successor(r.ID) != nil || r.Code == "payment_charged_back" || r.Code == "failed_later"), r.RequestID != "" && r.TriedAt == nil && r.Status == "failed":
			case r.Code == payment.CodeBankTransfer || r.Code == payment.CodeGivenUp:
				stated, misjudged = true, misjudged || x.refunds[r.ID] != nil
			case r.Status == "succeeded":
				back += r.Amount
			default:
				s.broken("refund %s of payment %s ended %s", r.ID, p.ID, r.Status)
			}
			if b := x.refunds[r.ID]; b != nil && !b.failed {
				given += b.amount
			}
		}
		if x.state != charged {
			if p.Status.Approved() && p.Reference == x.reference && p.Status != payment.StatusAuthorized {
				s.broken("payment %s is %s and nothing was charged (%s)", p.ID, p.Status, x.state)
			}
			continue
		}
		lost := p.Status == payment.StatusChargedBack
		told := s.db.decided["mismatch:"+p.ID] || s.db.decided["came-back:"+p.ID] // and a person said what becomes of it
		switch {
		case p.Status == payment.StatusCancelled && p.VoidTriedAt != nil && x.back() == x.taken:
			// To be voided, and given back whole: that is how some providers void.
		case !p.Status.Approved() || p.Captured == 0:
			s.broken("payment %s was charged and is %s in our books", p.ID, p.Status)
		case x.taken != p.Captured && !s.db.decided["mismatch:"+p.ID]:
			s.broken("payment %s: %d charged, %d in our books", p.ID, x.taken, p.Captured)
		case panel != p.RefundedElsewhere:
			s.broken("payment %s: %d are in our books as given back by the panel, %d on the payment", p.ID, panel, p.RefundedElsewhere)
		case !misjudged && panel != x.back()-x.byUs():
			s.broken("payment %s: %d went back by the panel, %d are in our books", p.ID, x.back()-x.byUs(), panel)
		case !p.Applied && !lost && s.db.withdrawn[p.ID] && !told && p.Captured > p.Refunded+p.RefundedElsewhere:
			s.broken("payment %s: %d came back from the panel, and nobody was told", p.ID, p.Captured-p.Refunded-p.RefundedElsewhere)
		case stated:
		case p.Applied && x.byUs() != back:
			s.broken("payment %s is applied, %d of it were given back, and %d are in our books", p.ID, x.byUs(), back)
		case p.Applied, lost:
		case back+panel < x.taken && !told:
			s.broken("payment %s: %d charged, not applied (%s), %d given back, and %d by the panel", p.ID, x.taken, p.NotAppliedReason, back, panel)
		}
		if x.byUs() != given || given > x.taken {
			s.broken("payment %s: the provider gave back %d of %d, we booked %d", p.ID, x.byUs(), x.taken, given)
		}
	}
	for _, p := range s.db.payments {
		if p.Status.Approved() && p.BegunAt == nil {
			s.broken("payment %s is %s and was never begun", p.ID, p.Status)
		}
	}
}

func (s *simulation) verdictOnReservation() {
	r := s.db.reservation
	if s.plan.Reservation == 0 {
		return
	}
	if r.orderConfirmed > 1 {
		s.broken("the reservation became %d orders", r.orderConfirmed)
	}
	h := s.db.hold(r.id)
	switch {
	case h == nil && r.failure == "":
		s.broken("the reservation holds nothing and nobody was told why")
	case h != nil && h.live() && !h.confirmed:
		s.broken("the reservation is still %s", h.status)
	case h != nil && h.confirmed != (r.orderConfirmed == 1):
		s.broken("the reservation is %s and %d orders were made of it", h.status, r.orderConfirmed)
	}
}
