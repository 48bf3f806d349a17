package workflows_test

import (
	"slices"
	"strings"
	"time"

	"justlogistics/internal/checkout"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/stock"
	"justlogistics/workflows"
)

// attempt is the begun attempt that a step concerns: the buyer has seen its
// page.
func (s *simulation) attempt(on int) (*payment.Payment, *session) {
	var begun []*payment.Payment
	for _, p := range s.db.payments {
		if p.BegunAt != nil {
			begun = append(begun, p)
		}
	}
	switch {
	case len(begun) == 0:
		return nil, nil
	case on < 1 || on > len(begun):
		on = len(begun)
	}
	p := begun[on-1]
	x := s.bank.find(p.Reference)
	s.bank.lapse(x)
	return p, x
}

// do carries out a step of the schedule.
func (s *simulation) do(st step) {
	s.note("--- %s (on %d, n %d)", st.Do, st.On, st.N)
	if slices.Contains(buyersActs, st.Do) && s.buyer(st) {
		return
	}
	switch st.Do {
	case cancel:
		s.db.requestCancel()
		s.update(theCheckout, workflows.UpdateCancel, nil, workflows.CancelRequest{})
	case try:
		gateway := []string{"transbank", "stripe", "auto"}[st.N%3]
		id := s.db.id("TRY")
		s.tries = append(s.tries, id)
		s.update(theCheckout, workflows.UpdateTry, nil, workflows.TryRequest{PaymentID: id, Gateway: gateway})
	case tryAgain:
		if n := len(s.tries); n > 0 {
			s.update(theCheckout, workflows.UpdateTry, nil, workflows.TryRequest{PaymentID: s.tries[n-1], Gateway: "auto"})
		}
	case beginAgain:
		s.update(theCheckout, workflows.UpdateBegin, nil)
	case othersBuy:
		id := s.db.id("OTHER")
		if s.db.place(id, "", []stock.Want{{SKU: sku, Quantity: st.N + 1}}, int(horizon/time.Second)) == nil {
			s.db.confirm(id, id)
			s.buys = append(s.buys, id)
		}
	case othersReturn:
		if n := len(s.buys); n > 0 {
			h := s.db.hold(s.buys[n-1])
			s.buys = s.buys[:n-1]
			for i, l := range h.lines {
				units := l.Quantity - l.Shorted - l.Left
				s.db.level(l.SKU, l.Warehouse).reserved -= units
				h.lines[i].Left += units
			}
			s.db.set(h, "released")
			s.db.check()
		}
	case count:
		for _, h := range s.db.count(sku, "SCL-1", st.N) {
			id := theCheckout
			switch {
			case h.checkoutID == "" && h.id != reservationID:
				continue
			case h.confirmed:
				order := h.orderID
				s.soon(func() { s.shortage(order, h.id) })
				continue
			case h.id == reservationID:
				id = theReservation
			}
			s.soon(func() { s.signal(id, workflows.SignalShort, nil) })
		}
	case restock:
		s.db.level(sku, "CCP-1").onHand += st.N
	case replace:
		if s.db.takeOver() {
			s.soon(func() { s.signal(theCheckout, workflows.SignalNews, workflows.News{}) })
		}
	case operator:
		s.soon(func() {
			if s.up[theCheckout] {
				if s.plan.Lossy {
					s.lostAt = s.env.Now()
				}
				s.env.CancelWorkflowByID(theCheckout, "")
			}
		})
	case giveBack:
		s.askRefund(st.N)
	case refundLost:
		s.refundFails(st.N)
	case dispute:
		s.disputeIt(st.On, st.N)
	case captureIt:
		s.askCapture(st.On, st.N)
	case voidIt:
		s.askVoid(st.On)
	case panelCapture:
		s.panelCapture(st.On, st.N)
	case panelVoid:
		s.panelVoid(st.On, st.N)
	case panelRefund:
		s.panelRefund(st.On, st.N)
	case panelLost:
		s.panelRefundFails(st.On)
	case loseCapture:
		s.loseCapture()
	case refundTold:
		s.refundNews()
	case support:
		s.soon(func() { s.decide(st.N, false) })
	case wrongVerb:
		s.update(theCheckout, workflows.UpdateSupport, nil, workflows.SupportRequest{ActionID: s.db.id("ACTION"), Verb: []string{"restart", workflows.VerbCancel, "dance"}[st.N%3]})
	case reserveMore:
		s.update(theReservation, workflows.UpdateExtend, nil, workflows.ReservationRequest{Seconds: st.N * 900})
	case confirmIt:
		id := s.db.id("REQUEST")
		if st.N%2 == 1 && len(s.db.requests) == 1 {
			for known := range s.db.requests {
				id = known // the same request again
			}
		}
		if s.db.requests[id] == nil {
			s.db.requests[id] = &confirmRequest{status: "open"}
		}
		s.update(theReservation, workflows.UpdateConfirm, nil, workflows.ReservationRequest{RequestID: id})
	case releaseIt:
		s.update(theReservation, workflows.UpdateRelease, nil, workflows.ReservationRequest{})
	}
}

// buyer does what the buyer does at the gateway's page; false when the step is
// none of that.
func (s *simulation) buyer(st step) bool {
	p, x := s.attempt(st.On)
	if p == nil {
		return st.Do != cancel && st.Do != try && st.Do != tryAgain && st.Do != beginAgain
	}
	webpay := p.Gateway == payment.Transbank
	alive := x.state == open && (!webpay || s.env.Now().Sub(x.begunAt) <= webpayForm)
	away, tardy, dies := st.N&1 != 0, st.N&2 != 0, st.N&4 != 0
	back := func(kind payment.ReturnKind) {
		if !away {
			s.comeBack(p, kind, dies)
		}
	}
	switch st.Do {
	case approve, approveWrong:
		if !alive {
			return true
		}
		if st.Do == approveWrong {
			x.wrong = 100
		}
		x.paidAt = s.env.Now()
		if webpay {
			x.state = filled
		} else {
			s.bank.take(x)
			s.notify(p, payment.OutcomeApproved, tardy)
		}
		back(payment.ReturnFinished)
	case decline:
		switch {
		case !alive:
		case webpay:
			x.state = refused
			back(payment.ReturnFinished)
		default: // the buyer stays on the page
			x.declined = true
			s.notify(p, payment.OutcomeDeclined, tardy)
		}
	case abort:
		if alive {
			if webpay {
				x.state = aborted
			}
			back(payment.ReturnCancelled)
		}
	case formTimeout:
		if alive && webpay {
			x.state = aborted
			back(payment.ReturnTimedOut)
		}
	case process:
		if alive && !webpay {
			x.state = processing
			s.notify(p, payment.OutcomeUnknown, tardy)
			s.later(time.Duration(st.N)*time.Minute+time.Second, func() {
				if x.paidAt = s.env.Now(); st.N%2 == 1 {
					x.state = failed
				} else {
					s.bank.take(x)
				}
				s.notify(p, payment.OutcomeUnknown, tardy)
			})
		}
	case returnAgain:
		s.comeBack(p, payment.ReturnFinished, dies)
	case notifyAgain:
		if !webpay {
			s.keep(newsRow{paymentID: p.ID, kind: inbox.Webhook, claim: payment.OutcomeUnknown, eventID: s.db.id("EVENT")}, true)
		}
	default:
		return false
	}
	return true
}

// notify is a provider's notification, sent twice.
func (s *simulation) notify(p *payment.Payment, claim payment.Outcome, tardy bool) {
	n := newsRow{paymentID: p.ID, kind: inbox.Webhook, claim: claim, eventID: s.db.id("EVENT")}
	delay := time.Second
	if tardy {
		delay = 25 * time.Minute
	}
	s.later(delay, func() { s.keep(n, true) })
	s.later(delay+30*time.Second, func() { s.keep(n, true) })
}

func (s *simulation) shortage(orderID, holdID string) {
	s.want(run{workflows.ID(workflows.KindShortage, demo, orderID), workflows.ShortageName, workflows.ShortageInput{Tenant: demo, OrderID: orderID, HoldID: holdID}})
}

// visit is a person's turn at the support desk.
func (s *simulation) visit(earnest bool) {
	for i := range s.db.parked {
		s.decide(i, earnest)
	}
}

// decide uses a verb on a parked step: the Nth possibility, or, in earnest,
// what brings it to an end. It tells the truth about money.
func (s *simulation) decide(n int, earnest bool) {
	var cases []*parkedRow
	for _, c := range s.db.parked {
		if c.open && (s.running[c.WorkflowID] || earnest) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		return
	}
	c := cases[n%len(cases)]
	if !s.running[c.WorkflowID] {
		c.open = false
		s.broken("step %s is on the support list, and its run %s is over", c.Step, c.WorkflowID)
		return
	}
	verb := c.Verbs[n%len(c.Verbs)]
	if c.Step == "capture" {
		verb = c.Verbs[(n+s.plan.Ruling)%len(c.Verbs)]
	}
	if earnest {
		for _, v := range []string{workflows.VerbResolve, workflows.VerbCancel, workflows.VerbRetry} {
			if slices.Contains(c.Verbs, v) {
				verb = v
				break
			}
		}
	}
	ofRefund := strings.HasPrefix(c.Step, "refund")
	if _, id, _ := cutStep(c.Step); verb == workflows.VerbResolve && c.Reason != "payment_mismatch" && c.Reason != "refund_came_back" && id != "" && !ofRefund {
		// Whoever states an approval states the amount that was asked for; with
		// another one the gateway has to be asked again.
		if x := s.bank.find(s.db.payment(id).Reference); x != nil && (x.state == charged || x.state == authorized) && x.wrong != 0 {
			verb = workflows.VerbRetry
		}
	}
	request := workflows.SupportRequest{ActionID: s.db.id("ACTION"), Step: c.Step, Verb: verb}
	if verb == workflows.VerbResolve {
		request.Outcome, request.Reference = s.truth(c, n+s.plan.Ruling)
	}
	s.update(c.WorkflowID, workflows.UpdateSupport, nil, request)
}

// truth is what a person finds in the provider's panel, where an attempt that
// is not paid is closed first.
func (s *simulation) truth(c *parkedRow, n int) (outcome, reference string) {
	switch c.Reason {
	case "payment_mismatch":
		return []string{"accept", "refund"}[n%2], ""
	case "refund_came_back":
		return "refund", ""
	case "short_stock":
		return []string{"", checkout.ShortRefund}[n%2], ""
	}
	if strings.HasPrefix(c.Step, "refund") {
		_, id, _ := cutStep(c.Step)
		if r := s.db.refund(id); r != nil && r.Method == payment.MethodVoid {
			if x := s.bank.find(s.db.payment(r.PaymentID).Reference); x.state == charged {
				return "failed", ""
			}
		}
		if r := s.db.refund(id); c.Reason == payment.CodeRefundUntraced {
			if r == nil {
				r = s.db.refund(s.refundOf(c.WorkflowID))
			}
			if made := s.bank.find(s.db.payment(r.PaymentID).Reference).refunds[r.ID]; made != nil {
				return "succeeded", made.reference
			}
			return []string{workflows.OutcomeNotMade, "failed"}[n%2], ""
		}
		return []string{"succeeded", "failed"}[n%2], "transfer-1"
	}
	_, id, _ := cutStep(c.Step)
	p := s.db.payment(id)
	x := s.bank.find(p.Reference)
	if x == nil {
		return "declined", ""
	}
	switch x.state {
	case charged, authorized:
		return "approved", x.reference
	case voided, lapsed:
		return "declined", ""
	}
	x.state = failed
	return "declined", ""
}

// refundOf is the refund that a run without a request looks after.
func (s *simulation) refundOf(workflowID string) string {
	_, _, id, _ := workflows.ParseID(workflowID)
	return id
}

// committing is the moment in which a commit charges the buyer: units must be
// held for the order, and it must still want the money.
func (s *simulation) committing(x *session) {
	c := s.db.checkout
	h := s.db.hold(c.HoldID)
	if h == nil || !h.live() {
		s.broken("payment %s is charged and nothing is held", x.paymentID)
	}
	if !c.Status.Open() && c.Status != checkout.Expired && c.Status != checkout.PaymentFailed {
		s.broken("payment %s is charged and the checkout is %s", x.paymentID, c.Status)
	}
}

// freeing is the moment in which the hold of an unpaid checkout is about to
// end: no attempt may be payable any more, unless the doubt has outlasted the
// tenant's grace.
func (s *simulation) freeing(what string, graced bool) {
	c := s.db.checkout
	h := s.db.hold(c.HoldID)
	if !c.Status.Open() || h == nil || !h.live() || h.confirmed || graced && h.heldUntil.After(s.db.now()) {
		return
	}
	// Clocks differ a little.
	if !s.db.now().Add(3 * time.Second).Before(h.expiresAt.Add(graceLimit * time.Second)) {
		return
	}
	for _, p := range s.db.payments {
		if x := s.bank.find(p.Reference); p.BegunAt != nil && s.bank.payable(x) {
			s.broken("stock is freed (%s) while payment %s can still be paid (%s)", what, p.ID, x.state)
		}
	}
}
