package workflows_test

import (
	"fmt"
	"slices"
	"strings"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
)

// order is what people see of a paid order.
type order struct {
	// attention is what it shows of its reasons for a person.
	attention, frozen string
	reasons           []string
}

// urgent are the reasons that an order shows before all others.
var urgent = []string{checkout.ReasonChargedBack, checkout.ReasonDisputed, payment.ReasonLapsed, payment.ReasonVoided}

func (o *order) raise(reason string) {
	if !slices.Contains(o.reasons, reason) {
		o.reasons = append(o.reasons, reason)
	}
	o.show()
}

func (o *order) show() {
	o.attention = ""
	for _, reason := range append(slices.Clone(urgent), o.reasons...) {
		if slices.Contains(o.reasons, reason) {
			o.attention = reason
			return
		}
	}
}

func (o *order) freeze(reason string) {
	if o.frozen == "" {
		o.frozen = reason
	}
}

// over takes a reason back that has ended.
func (o *order) over(reason string) {
	if o.frozen == reason {
		o.frozen = ""
	}
	o.reasons = slices.DeleteFunc(o.reasons, func(r string) bool { return r == reason })
	o.show()
}

// record is checkout.Record.
func (d *database) record(n checkout.News) (out checkout.Ruling, err error) {
	p := d.payment(n.PaymentID)
	if err := d.move(*p, p, n, &out); err != nil {
		return checkout.Ruling{}, err
	}
	a := n.Answer
	if a.Outcome != payment.OutcomeUnknown {
		for _, e := range d.inbox {
			stays := a.Outcome == payment.OutcomePending && (e.claim == payment.OutcomeApproved || e.kind == inbox.Return && e.ret.Kind == payment.ReturnFinished)
			if e.paymentID == p.ID && e.status == "pending" && !e.receivedAt.After(n.AskedAt) && !stays {
				e.status = "ignored"
				if out.Changed {
					e.status = "applied"
				}
			}
		}
	}
	out.View = d.view()
	out.Paid = out.View.Status == checkout.Paid
	return out, nil
}

// move is what Record does with a payment; before is as it was.
func (d *database) move(before payment.Payment, p *payment.Payment, n checkout.News, out *checkout.Ruling) error {
	a, lapse := n.Answer, n.Lapse
	if lapse == "" {
		lapse = payment.StatusExpired
	}
	over := before.Status == payment.StatusChargedBack || before.Status == payment.StatusDeclined || before.Status == payment.StatusCancelled || before.Status == payment.StatusExpired
	if n.Person && strings.HasPrefix(before.NotAppliedReason, "mismatch_") && over {
		return nil
	}
	switch {
	case before.Status == payment.StatusAuthorized, before.Status == payment.StatusCancelled && before.VoidTriedAt != nil && before.Captured == 0:
		a, lapse = onAuthorization(before, n)
	case n.Person && before.CaptureUntil != nil && before.Captured == 0 && !d.omits(ruleWord):
		a.Captured = false
	}
	to := payment.After(p.Status, a, lapse)
	if to == payment.StatusPending && p.Closed {
		to = lapse
	}
	closed, money := a.Closed || a.Outcome == payment.OutcomeApproved, payment.NewMoney(before, a)
	out.Changed = to != p.Status || closed && !p.Closed || money
	if out.Changed || a.Code != p.Code {
		d.put(p, a, to, closed)
	}
	switch {
	case !to.Approved():
		if before.Status == payment.StatusAuthorized && before.Applied && !d.voidedByRefund(p.ID) && !d.omits(ruleLapse) {
			reason := payment.ReasonLapsed
			if before.VoidTriedAt != nil {
				reason = payment.ReasonVoided
			}
			d.order.freeze(reason)
			d.order.raise(reason)
		}
		return nil
	case !before.Applied:
		if err := d.rule(before, p, n, out); err != nil {
			return err
		}
	case money && a.Amount > 0 && a.Amount < p.Amount:
		d.order.raise(payment.ReasonCapturedLess)
	}
	d.aftermath(p, a, out)
	d.cameBack(p, out)
	return nil
}

// cameBack is money that may not be kept and whose refund in the panel has
// failed.
func (d *database) cameBack(p *payment.Payment, out *checkout.Ruling) {
	left := p.Captured - p.Refunded - p.RefundedElsewhere
	if d.omits(ruleCameBack) || out.Mismatch != "" || p.Applied || p.NotAppliedReason == "" || p.Status != payment.StatusCaptured && p.Status != payment.StatusPartiallyRefunded || left <= 0 {
		return
	}
	failed := false
	for _, r := range d.refunds {
		switch {
		case r.PaymentID != p.ID:
		case d.elsewhere[r.ID]:
			failed = failed || r.Status == "failed"
		case r.Status != "succeeded" && r.Status != "failed":
			return
		}
	}
	switch {
	case !failed:
	case strings.HasPrefix(p.NotAppliedReason, "mismatch_"):
		out.Mismatch = p.NotAppliedReason
	default:
		out.CameBack = left
	}
}

func onAuthorization(p payment.Payment, n checkout.News) (a payment.Answer, lapse payment.Status) {
	a, lapse = n.Answer, payment.StatusExpired
	if p.VoidTriedAt != nil {
		lapse = payment.StatusCancelled
		if a.Outcome == payment.OutcomeApproved && p.Captured == 0 && a.Amount > 0 && a.Refunded >= a.Amount && a.Dispute == nil {
			a = payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: payment.CodeClosed, Reference: a.Reference, CaptureRef: a.CaptureRef}
		}
	}
	if n.Person {
		a.Captured = false
	}
	return a, lapse
}

// put is payment.Put.
func (d *database) put(p *payment.Payment, a payment.Answer, to payment.Status, closed bool) {
	if payment.NewMoney(*p, a) {
		p.Captured += a.Amount
		if a.Amount <= 0 {
			p.Captured += p.Amount
		}
	}
	if p.Applied && !to.Approved() {
		p.Applied, p.NotAppliedReason = false, payment.LostReason(*p)
	}
	d.setPayment(p, to)
	p.Closed = p.Closed || closed
	if !p.Applied || a.Code != "" {
		p.Code = a.Code
	}
	if a.Reference != "" {
		p.Reference = a.Reference
		if p.ByToken && p.BegunAt == nil {
			p.BegunAt = p.BeginTriedAt
		}
	}
}

func (d *database) rule(before payment.Payment, p *payment.Payment, n checkout.News, out *checkout.Ruling) error {
	captured := before.Status == payment.StatusAuthorized && n.Answer.Captured && n.Answer.Outcome == payment.OutcomeApproved
	if before.Status.Approved() && before.NotAppliedReason != "" && !n.Person && !captured {
		out.RefundID = d.bookedRefund(p.ID)
		out.Void = before.Status == payment.StatusAuthorized && before.VoidReason != ""
		allBack := before.Captured > 0 && before.Refunded+before.RefundedElsewhere >= before.Captured
		if out.RefundID == "" && !allBack && strings.HasPrefix(before.NotAppliedReason, "mismatch_") {
			out.Mismatch = before.NotAppliedReason
		}
		return nil
	}
	if wrong := payment.Mismatch(before, n.Answer); wrong != "" && !n.Person {
		out.Mismatch, out.Changed = "mismatch_"+wrong, true
		p.NotAppliedReason = out.Mismatch
		return nil
	}
	refund := func(reason string) error {
		p.NotAppliedReason = reason
		if p.Status == payment.StatusAuthorized {
			out.Void = true
			_, err := d.askVoid(p, reason)
			return err
		}
		back := p.Captured - p.Refunded - p.RefundedElsewhere
		if n.Answer.Dispute != nil && n.Answer.Dispute.Status == payment.DisputeLost {
			back = 0
		}
		if back > 0 {
			out.RefundID, out.Changed = d.intendRefund(p, back, reason), true
		} else {
			out.RefundID = d.bookedRefund(p.ID)
		}
		return nil
	}
	c := d.checkout
	switch c.Status {
	case checkout.Paid:
		if d.paysAgain(before, p) {
			out.Changed = true
			return nil
		}
		return refund(payment.ReasonDuplicate)
	case checkout.Cancelled:
		return refund(payment.ReasonCancelled)
	}
	if !d.confirm(c.HoldID, c.ID) {
		id := d.id("HOLD")
		if d.place(id, c.ID, c.wants, againFor) != nil {
			return refund(payment.ReasonLate)
		}
		d.confirm(id, c.ID)
		c.HoldID = id
	}
	out.Changed = true
	for _, o := range d.payments {
		if o.Applied {
			d.broken("payments %s and %s would both be applied", o.ID, p.ID)
		}
	}
	p.Applied, p.NotAppliedReason, p.OrderID = true, "", c.ID
	d.setCheckout(checkout.Paid)
	c.FailureCode = ""
	if before.Status == payment.StatusDisputed {
		d.order.freeze(checkout.ReasonDisputed)
		d.order.raise(checkout.ReasonDisputed)
	}
	return nil
}

// paysAgain is money that was taken for gone and has come after all.
func (d *database) paysAgain(before payment.Payment, p *payment.Payment) bool {
	if before.OrderID != checkoutID || before.NotAppliedReason != payment.ReasonLapsed && before.NotAppliedReason != payment.NotAppliedVoided {
		return false
	}
	if slices.ContainsFunc(d.payments, func(o *payment.Payment) bool { return o.Applied }) {
		return false
	}
	p.Applied, p.NotAppliedReason = true, ""
	d.order.over(payment.ReasonLapsed)
	d.order.over(payment.ReasonVoided)
	return true
}

func (d *database) runOf(r *payment.RefundRecord) string {
	if r.RequestID != "" {
		return r.RequestID
	}
	return r.ID
}

func (d *database) bookedRefund(paymentID string) (id string) {
	for _, r := range d.refunds {
		switch {
		case r.PaymentID != paymentID || r.Status == "failed" || d.elsewhere[r.ID]:
		case r.Status != "succeeded":
			return d.runOf(r)
		case id == "":
			id = d.runOf(r)
		}
	}
	return id
}

// strays are reasons of which a payment has one refund at most.
var strays = []string{payment.ReasonDuplicate, payment.ReasonLate, payment.ReasonCancelled}

func (d *database) intendRefund(p *payment.Payment, amount int64, reason string) string {
	for _, r := range d.refunds {
		if r.PaymentID != p.ID || r.Status == "failed" || d.elsewhere[r.ID] {
			continue
		}
		if r.Reason == reason {
			return r.ID
		}
		if slices.Contains(strays, reason) && slices.Contains(strays, r.Reason) {
			d.broken("a second refund of payment %s: %s after %s (refunds_once_per_stray)", p.ID, reason, r.Reason)
		}
	}
	return d.bookRefund(p, amount, reason)
}

// bookRefund is payment.BookRefund.
func (d *database) bookRefund(p *payment.Payment, amount int64, reason string) string {
	r := &payment.RefundRecord{ID: d.id("REFUND"), Method: payment.MethodOriginal, PaymentID: p.ID, CheckoutID: p.CheckoutID, Amount: amount, Currency: p.Currency, Reason: reason, Status: "pending", RefundedBefore: p.Refunded, CreatedAt: d.now()}
	p.Refunded += amount
	d.backWithin(p)
	d.refunds = append(d.refunds, r)
	return r.ID
}

// refundStray is checkout.RefundStray.
func (d *database) refundStray(p *payment.Payment) (string, error) {
	if p.Status == payment.StatusAuthorized {
		_, err := d.askVoid(p, payment.ReasonMismatch)
		return "", err
	}
	back := p.Captured - p.Refunded - p.RefundedElsewhere
	switch {
	case back > 0 && strings.HasPrefix(p.NotAppliedReason, "mismatch_"):
		return d.intendRefund(p, back, payment.ReasonMismatch), nil
	case back > 0:
		return d.bookRefund(p, back, payment.ReasonCameBack), nil
	}
	return d.bookedRefund(p.ID), nil
}

// aftermath is what checkout.Record keeps beside the approval.
func (d *database) aftermath(p *payment.Payment, a payment.Answer, out *checkout.Ruling) {
	if !a.TellsMore() && a.Outcome != payment.OutcomeApproved || !p.Status.Approved() {
		return
	}
	back := d.wentBack(p, a, out)
	if disputed := d.putDispute(p, a.Dispute); !back && !disputed {
		return
	}
	out.Changed = true
	was := p.Status
	if d.restateAll(p); p.Status == was || !p.Applied {
		return
	}
	switch {
	case p.Status == payment.StatusChargedBack:
		d.order.freeze(checkout.ReasonDisputed)
		d.order.reasons = slices.DeleteFunc(d.order.reasons, func(r string) bool { return r == checkout.ReasonDisputed })
		d.order.raise(checkout.ReasonChargedBack)
	case p.Status == payment.StatusDisputed:
		d.order.freeze(checkout.ReasonDisputed)
		d.order.raise(checkout.ReasonDisputed)
	case was == payment.StatusDisputed:
		d.order.over(checkout.ReasonDisputed)
	}
}

func (d *database) putDispute(p *payment.Payment, told *payment.Dispute) (changed bool) {
	if told == nil || told.Status == payment.DisputeLost && d.omits(ruleDispute) {
		return false
	}
	for _, known := range d.disputes[p.ID] {
		if known.Reference == told.Reference {
			if known.Status != payment.DisputeOpen || known.Status == told.Status {
				return false
			}
			known.Status = told.Status
			return true
		}
	}
	row := *told
	d.disputes[p.ID] = append(d.disputes[p.ID], &row)
	return true
}

// restateAll is payment.Restate.
func (d *database) restateAll(p *payment.Payment) {
	switch p.Status {
	case payment.StatusAuthorized, payment.StatusCaptured, payment.StatusPartiallyRefunded, payment.StatusRefunded, payment.StatusDisputed:
	default:
		return
	}
	open, lost := false, false
	for _, x := range d.disputes[p.ID] {
		open, lost = open || x.Status == payment.DisputeOpen, lost || x.Status == payment.DisputeLost
	}
	back, to := d.givenBack(p), payment.StatusCaptured
	switch {
	case lost:
		to = payment.StatusChargedBack
		if p.Status != payment.StatusDisputed {
			d.setPayment(p, payment.StatusDisputed)
		}
	case open:
		to = payment.StatusDisputed
	case p.Captured == 0:
		to = payment.StatusAuthorized
	case back >= p.Captured:
		to = payment.StatusRefunded
	case back > 0:
		to = payment.StatusPartiallyRefunded
	}
	d.setPayment(p, to)
}

func (d *database) givenBack(p *payment.Payment) (sum int64) {
	for _, o := range d.refunds {
		if o.PaymentID == p.ID && o.Status == "succeeded" && o.Method != payment.MethodVoid {
			sum += o.Amount
		}
	}
	return sum
}

// restate sets a captured payment's status to what its refunds tell.
func (d *database) restate(p *payment.Payment) {
	switch p.Status {
	case payment.StatusCaptured, payment.StatusPartiallyRefunded, payment.StatusRefunded:
		switch back := d.givenBack(p); {
		case p.Captured == 0:
		case back >= p.Captured:
			d.setPayment(p, payment.StatusRefunded)
		case back > 0:
			d.setPayment(p, payment.StatusPartiallyRefunded)
		default:
			d.setPayment(p, payment.StatusCaptured)
		}
	}
}

// wentBack is what became of refunds that are not ours, and of ours that have
// failed after all: payment.RecordRefunds and payment.ReviveRefund.
func (d *database) wentBack(p *payment.Payment, a payment.Answer, out *checkout.Ruling) (found bool) {
	added := false
	var failed []payment.RefundSeen
	if (a.Refunded != 0 || len(a.Refunds) > 0) && !d.omits(rulePanel) {
		if len(a.Refunds) == 0 {
			added = d.bySum(p, a.Refunded)
		} else {
			added, failed, found = d.byName(p, a.Refunds)
		}
	}
	for _, r := range failed {
		d.revive(d.refund(r.RefundID), "failed_later")
	}
	if (added || found) && p.Applied {
		d.order.raise(checkout.ReasonRefundedElsewhere)
	}
	for _, r := range d.refunds {
		if id := d.runOf(r); r.PaymentID == p.ID && d.revives[r.ID] != "" && r.Status != "succeeded" && r.Status != "failed" && !slices.Contains(out.RefundIDs, id) {
			out.RefundIDs = append(out.RefundIDs, id)
		}
	}
	return found || added || len(failed) > 0
}

// outside reports whether a refund of ours was made by other means than its
// provider.
func outside(r *payment.RefundRecord) bool {
	return r.Method != "" && r.Method != payment.MethodOriginal || r.Code == "resolved_by_support"
}

// mayBeMade is payment.MayBeMade.
func mayBeMade(r *payment.RefundRecord) bool {
	return r.TriedAt != nil && (r.Status == "pending" || r.Status == "unknown" || askedInVain(r))
}

func askedInVain(r *payment.RefundRecord) bool {
	return r.Status == "needs_attention" && slices.Contains([]string{payment.CodeUnanswered, payment.CodeRefundUntraced, "refund_invalid", "refund_credentials", "refund_bug"}, r.Code)
}

func (d *database) byName(p *payment.Payment, told []payment.RefundSeen) (added bool, failed []payment.RefundSeen, withdrawn bool) {
	seen := map[string]bool{}
	find := func(is func(r *payment.RefundRecord) bool) *payment.RefundRecord {
		for _, r := range d.refunds {
			if r.PaymentID == p.ID && !seen[r.ID] && is(r) {
				seen[r.ID] = true
				return r
			}
		}
		return nil
	}
	var strange []payment.RefundSeen
	for _, x := range told {
		r := find(func(r *payment.RefundRecord) bool {
			return !d.elsewhere[r.ID] && x.RefundID != "" && r.ID == x.RefundID
		})
		if r == nil {
			r = find(func(r *payment.RefundRecord) bool {
				return x.Reference != "" && r.Reference == x.Reference && !outside(r)
			})
		}
		switch {
		case r == nil:
			strange = append(strange, x)
		case !d.elsewhere[r.ID] && r.Status == "failed" && x.Outcome == payment.OutcomeApproved:
			added = d.addElsewhere(p, x.Reference, x.Amount) || added
		case x.Outcome != payment.OutcomeDeclined || r.Status != "succeeded" || outside(r):
		case !d.elsewhere[r.ID]:
			x.RefundID = r.ID
			failed = append(failed, x)
		default:
			r.Status = "failed"
			p.RefundedElsewhere -= r.Amount
			withdrawn, d.withdrawn[p.ID] = true, true
		}
	}
	for _, x := range strange {
		if x.Outcome == payment.OutcomeDeclined {
			continue
		}
		lost := find(func(r *payment.RefundRecord) bool {
			return !d.elsewhere[r.ID] && mayBeMade(r) && !outside(r) && r.Reference == "" && r.Amount == x.Amount
		})
		if lost == nil {
			added = d.addElsewhere(p, x.Reference, x.Amount) || added
		}
	}
	return added, failed, withdrawn
}

func (d *database) bySum(p *payment.Payment, sum int64) bool {
	more, known := sum, int64(0)
	for _, r := range d.refunds {
		if r.PaymentID == p.ID && r.Status != "failed" && !outside(r) && (mayBeMade(r) || d.elsewhere[r.ID] || r.Status == "succeeded") {
			more -= r.Amount
		}
		if r.PaymentID == p.ID && r.Status != "failed" && d.elsewhere[r.ID] {
			known += r.Amount
		}
	}
	if d.omits(ruleSum) {
		known = 0
	}
	return more > 0 && d.addElsewhere(p, fmt.Sprintf("sum:%d:%d", sum, known), more)
}

func (d *database) addElsewhere(p *payment.Payment, reference string, amount int64) bool {
	for _, r := range d.refunds {
		if d.elsewhere[r.ID] && r.PaymentID == p.ID && r.Reference == reference {
			return false
		}
	}
	r := &payment.RefundRecord{ID: d.id("PANEL"), Method: payment.MethodOriginal, PaymentID: p.ID, CheckoutID: p.CheckoutID, Amount: amount, Currency: p.Currency, Reason: payment.ReasonPanel, Status: "succeeded", Reference: reference, CreatedAt: d.now()}
	d.elsewhere[r.ID] = true
	p.RefundedElsewhere += amount
	d.refunds = append(d.refunds, r)
	return true
}

// revive is payment.ReviveRefund. The run that it asks for is started by who
// records the news.
func (d *database) revive(r *payment.RefundRecord, code string) {
	if r.Status != "succeeded" || r.Method != payment.MethodOriginal || d.successor(r.ID) != nil || d.omits(ruleRevive) {
		return
	}
	status := "pending"
	if r.Revived {
		status = "needs_attention"
	}
	d.bookAnew(r, code, status)
}

// remake is payment.RemakeRefund.
func (d *database) remake(r *payment.RefundRecord) (out activities.Remade) {
	n := d.successor(r.ID)
	if n == nil {
		if r.Status != "needs_attention" || r.Code != payment.CodeRefundUntraced || r.Method != payment.MethodOriginal || r.TriedAt == nil || r.Reference != "" {
			return out
		}
		n = d.bookAnew(r, payment.CodeNotMade, "pending")
	}
	if out.OK = true; n != nil {
		out.RefundID = d.runOf(n)
	}
	return out
}

// bookAnew ends a refund as failed and books it under another id, unless the
// payment has not that much left.
func (d *database) bookAnew(r *payment.RefundRecord, code, status string) *payment.RefundRecord {
	p := d.payment(r.PaymentID)
	d.setRefund(r, "failed")
	r.Code = code
	d.restate(p)
	left := p.Captured - p.Refunded - p.RefundedElsewhere
	if q := d.request(r.RequestID); left < r.Amount && q != nil {
		q.booked -= r.Amount
		return nil
	}
	if left <= 0 {
		return nil
	}
	n := *r
	n.Amount = min(n.Amount, left)
	n.ID, n.Status, n.TriedAt, n.Reference, n.Revived, n.CreatedAt = d.id("PART"), status, nil, "", true, d.now()
	d.revives[n.ID] = r.ID
	p.Refunded += n.Amount
	d.backWithin(p)
	d.refunds = append(d.refunds, &n)
	return &n
}

// putRefund is activities.Payments.PutRefund and payment.PutRefund.
func (d *database) putRefund(id, status string, a payment.RefundAnswer) {
	r := d.refund(id)
	if r.Status == status && status != "pending" && status != "unknown" || r.Status == "failed" {
		return
	}
	d.setRefund(r, status)
	d.changed[r.ID]++
	if a.Reference != "" {
		r.Reference = a.Reference
	}
	if r.Code = a.Code; status == "succeeded" && a.Code == payment.CodeBankTransfer && r.Method != payment.MethodVoid {
		r.Method = payment.MethodBankTransfer
	}
	if q := d.request(r.RequestID); q != nil && status == "failed" {
		q.booked -= r.Amount
	}
	p := d.payment(r.PaymentID)
	if a.Code == payment.CodeGivenUp || a.Code == payment.CodeBankTransfer {
		d.withdrawn[p.ID] = false // whoever says so knows of it
	}
	switch {
	case status != "succeeded" && status != "failed":
	case r.Method != payment.MethodVoid:
		d.restate(p)
	case status == "failed" && !d.omits(ruleGivenUp):
		d.notVoided(p)
		if p.OrderID != "" && !p.Applied && !p.Status.Approved() {
			reason := payment.ReasonLapsed
			if p.NotAppliedReason == payment.NotAppliedVoided {
				reason = payment.ReasonVoided
			}
			d.order.freeze(reason)
			d.order.raise(reason)
		}
	case p.Status == payment.StatusAuthorized:
		d.setPayment(p, payment.StatusCancelled)
		p.Closed, p.Applied, p.NotAppliedReason = true, false, payment.NotAppliedVoided
	}
}
