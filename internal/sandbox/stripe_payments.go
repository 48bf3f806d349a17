package sandbox

import (
	"fmt"
	"iter"
	"math"
	"regexp"
	"slices"
	"strings"
)

var (
	captureShape = hash(map[string]*shape{"amount_to_capture": nil, "final_capture": nil, "metadata": freeText, "expand": texts, "statement_descriptor": nil, "statement_descriptor_suffix": nil}).with("application_fee_amount", "transfer_data")
	refundShape  = hash(map[string]*shape{"payment_intent": nil, "charge": nil, "amount": nil, "reason": nil, "metadata": freeText, "expand": texts}).
			with("currency", "customer", "instructions_email", "origin", "refund_application_fee", "reverse_transfer")
)

// index puts an object at the end of its account's list of a kind.
func (p *stripe) index(t *tx, kind, account, id string) {
	put(t, bucketTimeline, kind+"/"+account+"/"+ordered(t.next("stripe_timeline")), id)
}

func (p *stripe) intent(t *tx, account, id, param string) (stripeIntent, *stripeError) {
	x, found := get[stripeIntent](t, bucketIntents, id)
	if !found || x.Account != account {
		return x, missing("payment_intent", id, param)
	}
	return x, nil
}

func (p *stripe) getIntent(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, "payment_intent", false)
	if refused != nil {
		return nil, refused
	}
	x, refused := p.intent(t, r.account, r.arg, "intent")
	if refused != nil {
		return nil, refused
	}
	return p.viewIntent(t, x, e), nil
}

func unexpectedState(format string, args ...any) *stripeError {
	return &stripeError{code: "payment_intent_unexpected_state", message: fmt.Sprintf(format, args...), executed: true}
}

func (p *stripe) captureIntent(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, "payment_intent", false)
	if refused != nil {
		return nil, refused
	}
	amount, partial, refused := r.form.integer("amount_to_capture")
	if refused != nil {
		return nil, refused
	}
	x, refused := p.intent(t, r.account, r.arg, "intent")
	if refused != nil {
		return nil, refused
	}
	if x.Status != "requires_capture" {
		return nil, unexpectedState("This PaymentIntent could not be captured because it has a status of %s. Only a PaymentIntent with one of the following statuses may be captured: requires_capture.", x.Status)
	}
	if !partial {
		amount = x.Amount
	}
	if amount <= 0 || amount > x.Amount {
		return nil, &stripeError{code: "amount_too_large", param: "amount_to_capture", executed: true,
			message: "The provided amount_to_capture is greater than the amount that can be captured."}
	}
	charge, _ := get[stripeCharge](t, bucketStripeCharges, x.Charges[len(x.Charges)-1])
	if charge.CaptureBefore != 0 && p.s.now().Unix() > charge.CaptureBefore {
		return nil, &stripeError{code: "capture_charge_authorization_expired", executed: true, message: "The authorization on this charge has expired and it can no longer be captured."}
	}
	if refused := wrongUnits(amount, x.Currency, "amount_to_capture"); refused != nil {
		return nil, refused
	}
	x.Status, x.Captured, charge.Captured, charge.CapturedAt = "succeeded", amount, amount, p.s.now().Unix()
	t.remove(bucketStripeHolds, holdKey(charge))
	for key, value := range r.form.at("metadata").metadata() {
		x.Metadata = metadataOf(x.Metadata)
		x.Metadata[key] = value
	}
	if charge.Released = x.Amount - amount; charge.Released > 0 {
		x.Refunds = append(x.Refunds, p.release(t, charge))
	}
	put(t, bucketIntents, x.ID, x)
	put(t, bucketStripeCharges, charge.ID, charge)
	if session, found := get[stripeSession](t, bucketSessions, x.Session); found {
		session.PaymentStatus = "paid"
		put(t, bucketSessions, session.ID, session)
	}
	t.book(ledgerCharge{
		PaymentID: x.PaymentID, Gateway: stripeName, Amount: isoAmount(amount, x.Currency), Currency: strings.ToUpper(x.Currency),
		Status: chargeCaptured, Reference: x.ID, CreatedAt: p.s.now(), Account: x.Account,
	})
	p.emit(t, x.Account, "charge.captured", p.viewCharge(t, charge, nil), r)
	p.emit(t, x.Account, "payment_intent.succeeded", p.viewIntent(t, x, nil), r)
	return p.viewIntent(t, x, e), nil
}

// release writes the refund under which a charge shows what was authorized and
// not captured
// (github.com/woocommerce/woocommerce-gateway-stripe issue 1073 and pull request 861).
func (p *stripe) release(t *tx, charge stripeCharge) string {
	x := stripeRefund{
		ID: "re_3" + randomText(23, alphanumeric), Account: charge.Account, Intent: charge.Intent, Charge: charge.ID, Created: charge.CapturedAt,
		Amount: charge.Released, Currency: charge.Currency, Status: "succeeded", Release: true,
	}
	put(t, bucketStripeRefunds, x.ID, x)
	p.index(t, "refund", x.Account, x.ID)
	return x.ID
}

var cancelable = []string{"requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing"}

func (p *stripe) cancelIntent(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, "payment_intent", false)
	if refused != nil {
		return nil, refused
	}
	reason, refused := r.form.oneOf([]string{"duplicate", "fraudulent", "requested_by_customer", "abandoned"}, "cancellation_reason")
	if refused != nil {
		return nil, refused
	}
	x, refused := p.intent(t, r.account, r.arg, "intent")
	if refused != nil {
		return nil, refused
	}
	if !slices.Contains(cancelable, x.Status) {
		return nil, unexpectedState("You cannot cancel this PaymentIntent because it has a status of %s. Only a PaymentIntent with one of the following statuses may be canceled: %s.", x.Status, strings.Join(cancelable, ", "))
	}
	if session, found := get[stripeSession](t, bucketSessions, x.Session); found && session.Status == "open" {
		return nil, unexpectedState("You cannot cancel a PaymentIntent that was created by an open Checkout Session. Expire the Checkout Session instead.")
	}
	return p.viewIntent(t, p.cancel(t, x, reason, r), e), nil
}

// cancel ends an intent that took no money; an authorization is given up.
func (p *stripe) cancel(t *tx, x stripeIntent, reason string, r *request) stripeIntent {
	if x.Status == "requires_capture" {
		t.rebook(stripeName, x.ID, chargeVoided)
		if charge, ok := get[stripeCharge](t, bucketStripeCharges, x.Charges[len(x.Charges)-1]); ok {
			charge.Voided, charge.Refunded = true, charge.Amount
			put(t, bucketStripeCharges, charge.ID, charge)
			t.remove(bucketStripeHolds, holdKey(charge))
		}
	}
	x.Status, x.CancellationReason, x.CanceledAt = "canceled", reason, p.s.now().Unix()
	put(t, bucketIntents, x.ID, x)
	p.emit(t, x.Account, "payment_intent.canceled", p.viewIntent(t, x, nil), r)
	return x
}

// lapse lets go of an authorization that nobody captured in time
// (docs.stripe.com/payments/place-a-hold-on-a-payment-method).
func (p *stripe) lapse(t *tx, x stripeIntent) {
	charge, found := get[stripeCharge](t, bucketStripeCharges, x.Charges[len(x.Charges)-1])
	if !found || x.Status != "requires_capture" {
		return
	}
	p.cancel(t, x, "automatic", nil)
	charge, _ = get[stripeCharge](t, bucketStripeCharges, charge.ID)
	p.emit(t, x.Account, "charge.expired", p.viewCharge(t, charge, nil), nil)
}

func (p *stripe) createRefund(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, "refund", false)
	if refused != nil {
		return nil, refused
	}
	amount, _, refused := r.form.integer("amount")
	if refused != nil {
		return nil, refused
	}
	if r.form.at("amount") != nil && amount <= 0 {
		return nil, &stripeError{param: "amount", code: "parameter_invalid_integer", message: "This value must be greater than or equal to 1."}
	}
	reason, refused := r.form.oneOf([]string{"duplicate", "fraudulent", "requested_by_customer"}, "reason")
	if refused != nil {
		return nil, refused
	}
	intentID, chargeID := r.form.str("payment_intent"), r.form.str("charge")
	if intentID == "" && chargeID == "" {
		return nil, &stripeError{code: "parameter_missing", message: "One of the following params should be provided for this request: payment_intent or charge."}
	}
	if intentID == "" {
		charge, found := get[stripeCharge](t, bucketStripeCharges, chargeID)
		if !found || charge.Account != r.account {
			return nil, missing("charge", chargeID, "charge")
		}
		intentID = charge.Intent
	}
	intent, refused := p.intent(t, r.account, intentID, "payment_intent")
	if refused != nil {
		return nil, refused
	}
	refund, refused := p.giveBack(t, intent, amount, reason, r.form.at("metadata").metadata(), r)
	if refused != nil {
		return nil, refused
	}
	return p.viewRefund(t, refund, e), nil
}

// giveBack refunds amount, or the rest when it is 0.
func (p *stripe) giveBack(t *tx, intent stripeIntent, amount int64, reason string, metadata map[string]string, r *request) (stripeRefund, *stripeError) {
	if intent.Captured == 0 {
		return stripeRefund{}, unexpectedState("This PaymentIntent (%s) does not have a successful charge to refund.", intent.ID)
	}
	charge, _ := get[stripeCharge](t, bucketStripeCharges, intent.Charges[len(intent.Charges)-1])
	left := charge.Captured - charge.Refunded
	if dispute, found := get[stripeDispute](t, bucketStripeDisputes, charge.Dispute); found && dispute.Status != "won" {
		return stripeRefund{}, &stripeError{code: "charge_disputed", executed: true, message: "Charge " + charge.ID + " has been charged back; cannot issue a refund."}
	}
	if left == 0 {
		return stripeRefund{}, &stripeError{code: "charge_already_refunded", message: "Charge " + charge.ID + " has already been refunded.", executed: true}
	}
	if amount == 0 {
		amount = left
	}
	if amount > left {
		return stripeRefund{}, &stripeError{param: "amount", executed: true, message: fmt.Sprintf(
			"Refund amount (%s) is greater than unrefunded amount on charge (%s)", showAmount(isoAmount(amount, charge.Currency), charge.Currency), showAmount(isoAmount(left, charge.Currency), charge.Currency))}
	}
	if refused := wrongUnits(amount, charge.Currency, "amount"); refused != nil {
		return stripeRefund{}, refused
	}
	x := stripeRefund{
		ID: "re_3" + randomText(23, alphanumeric), Account: intent.Account, Intent: intent.ID, Charge: charge.ID, Created: p.s.now().Unix(),
		Amount: amount, Currency: charge.Currency, Status: "succeeded", Reason: reason, Metadata: metadata,
	}
	if conf := p.webhook(t, intent.Account); conf.Refunds != "" {
		x.Status = conf.Refunds
	}
	charge.Refunded += amount
	intent.Refunds = append(intent.Refunds, x.ID)
	put(t, bucketStripeRefunds, x.ID, x)
	put(t, bucketStripeCharges, charge.ID, charge)
	put(t, bucketIntents, intent.ID, intent)
	p.index(t, "refund", x.Account, x.ID)
	p.bookRefund(t, intent, charge, x)
	p.closeReview(t, intent.Review, "refunded", r)
	p.emit(t, x.Account, "charge.refunded", p.viewCharge(t, charge, nil), r)
	return x, nil
}

func (p *stripe) bookRefund(t *tx, intent stripeIntent, charge stripeCharge, x stripeRefund) ledgerRefund {
	entry := ledgerRefund{
		PaymentID: intent.PaymentID, Gateway: stripeName, Amount: isoAmount(x.Amount, x.Currency), Currency: strings.ToUpper(x.Currency),
		Status: refundStatus(x.Status), Reference: x.ID, CreatedAt: p.s.now(), Account: x.Account,
	}
	t.bookRefund(entry)
	status := chargePartiallyRefunded
	switch charge.Refunded {
	case 0:
		status = chargeCaptured
	case charge.Captured:
		status = chargeRefunded
	}
	t.rebook(stripeName, intent.ID, status)
	return entry
}

func (p *stripe) refundByHand(t *tx, session string, amount int64) (ledgerRefund, error) {
	x, found := get[stripeSession](t, bucketSessions, session)
	if !found {
		return ledgerRefund{}, fmt.Errorf("session %s: %w", session, errNotFound)
	}
	intent, _ := get[stripeIntent](t, bucketIntents, x.Intent)
	amount = stripeUnits(amount, intent.Currency)
	refund, refused := p.giveBack(t, intent, amount, "requested_by_customer", nil, nil)
	if refused != nil {
		return ledgerRefund{}, fmt.Errorf("%w: %s", errNotRefundable, refused.message)
	}
	entry, _ := get[ledgerRefund](t, bucketRefunds, t.ledgerKey(bucketRefunds, stripeName, refund.ID))
	return entry, nil
}

// settleRefund ends a refund that is pending, or turns one that succeeded into
// one that failed, as happens when the buyer's bank sends the money back days
// later.
func (p *stripe) settleRefund(t *tx, reference string, succeed bool, reason string) (ledgerRefund, error) {
	x, found := get[stripeRefund](t, bucketStripeRefunds, reference)
	switch {
	case !found || x.Release:
		return ledgerRefund{}, fmt.Errorf("refund %s: %w", reference, errNotFound)
	case x.Status != "pending" && (succeed || x.Status != "succeeded"):
		return ledgerRefund{}, fmt.Errorf("%w: the refund is %s", errNotRefundable, x.Status)
	}
	intent, _ := get[stripeIntent](t, bucketIntents, x.Intent)
	charge, _ := get[stripeCharge](t, bucketStripeCharges, x.Charge)
	if x.Status = "succeeded"; !succeed {
		x.Status, x.FailureReason = "failed", reason
		if reason == "" {
			x.FailureReason = "expired_or_canceled_card"
		}
		charge.Refunded -= x.Amount
	}
	put(t, bucketStripeRefunds, x.ID, x)
	put(t, bucketStripeCharges, charge.ID, charge)
	entry := p.bookRefund(t, intent, charge, x)
	p.emit(t, x.Account, "charge.refund.updated", p.viewRefund(t, x, nil), nil)
	return entry, nil
}

func (p *stripe) getRefund(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, "refund", false)
	if refused != nil {
		return nil, refused
	}
	x, found := get[stripeRefund](t, bucketStripeRefunds, r.arg)
	if !found || x.Account != r.account {
		return nil, missing("refund", r.arg, "id")
	}
	return p.viewRefund(t, x, e), nil
}

func (p *stripe) getCharge(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, "charge", false)
	if refused != nil {
		return nil, refused
	}
	x, found := get[stripeCharge](t, bucketStripeCharges, r.arg)
	if !found || x.Account != r.account {
		return nil, missing("charge", r.arg, "id")
	}
	return p.viewCharge(t, x, e), nil
}

func (p *stripe) getEvent(t *tx, r *request) (map[string]any, *stripeError) {
	x, found := get[stripeEvent](t, bucketEvents, r.arg)
	if !found || x.Account != r.account {
		return nil, missing("event", r.arg, "id")
	}
	return viewEvent(x), nil
}

func (p *stripe) getAccount(_ *tx, r *request) (map[string]any, *stripeError) {
	return map[string]any{
		"id": r.account, "object": "account", "business_profile": map[string]any{"name": "Sandbox " + r.account, "url": nil},
		"business_type": "company", "capabilities": map[string]any{"card_payments": "active", "transfers": "active"}, "charges_enabled": true,
		"country": "CL", "default_currency": "clp", "details_submitted": true, "email": "sandbox@example.com", "metadata": map[string]any{},
		"payouts_enabled": true, "settings": map[string]any{"dashboard": map[string]any{"display_name": r.account, "timezone": "America/Santiago"}}, "type": "standard",
	}, nil
}

// newestFirst walks an account's objects of a kind.
func newestFirst(t *tx, kind, account string) iter.Seq[string] {
	return func(yield func(string) bool) {
		eachBack(t, bucketTimeline, kind+"/"+account+"/", func(_ string, id string) bool { return yield(id) })
	}
}

// backward walks ids kept with another object, the newest first.
func backward(ids []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, id := range slices.Backward(ids) {
			if !yield(id) {
				return
			}
		}
	}
}

// listing describes a list of objects of type T.
type listing[T any] struct {
	ids     iter.Seq[string] // newest first
	bucket  string
	object  string
	accept  func(T) bool
	created func(T) int64
	view    func(T, expansion) map[string]any
}

// answer is one page: limit 1 to 100 (10), starting_after an id.
func (l listing[T]) answer(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, l.object, true)
	if refused != nil {
		return nil, refused
	}
	limit, sent, refused := r.form.integer("limit")
	if refused != nil {
		return nil, refused
	}
	if !sent {
		limit = 10
	}
	if limit < 1 || limit > 100 {
		return nil, &stripeError{param: "limit", code: "parameter_invalid_integer", message: fmt.Sprintf("Invalid integer: %d. This value must be between 1 and 100.", limit)}
	}
	from, until, refused := createdRange(r.form)
	if refused != nil {
		return nil, refused
	}
	after := r.form.str("starting_after")
	data, more := []any{}, false
	for id := range l.ids {
		if after != "" {
			if id == after {
				after = ""
			}
			continue
		}
		x, found := get[T](t, l.bucket, id)
		if !found {
			continue
		}
		if l.created(x) < from {
			break
		}
		if l.created(x) > until || !l.accept(x) {
			continue
		}
		if int64(len(data)) == limit {
			more = true
			break
		}
		data = append(data, l.view(x, e))
	}
	if after != "" {
		return nil, missing(l.object, after, "starting_after")
	}
	return listObject(r.path, data, more), nil
}

// createdRange reads created[gt|gte|lt|lte] as an inclusive range.
func createdRange(form *formNode) (from, until int64, refused *stripeError) {
	from, until = math.MinInt64, math.MaxInt64
	for _, name := range []string{"gt", "gte", "lt", "lte"} {
		bound, sent, refused := form.integer("created", name)
		if refused != nil {
			return 0, 0, refused
		}
		if !sent {
			continue
		}
		switch name {
		case "gt":
			from = max(from, bound+1)
		case "gte":
			from = max(from, bound)
		case "lt":
			until = min(until, bound-1)
		case "lte":
			until = min(until, bound)
		}
	}
	return from, until, nil
}

func (p *stripe) listSessions(t *tx, r *request) (map[string]any, *stripeError) {
	status, refused := r.form.oneOf([]string{"open", "complete", "expired"}, "status")
	if refused != nil {
		return nil, refused
	}
	ids := newestFirst(t, "session", r.account)
	if id := r.form.str("payment_intent"); id != "" {
		intent, refused := p.intent(t, r.account, id, "payment_intent")
		if refused != nil {
			return nil, refused
		}
		ids = backward([]string{intent.Session})
	}
	return listing[stripeSession]{
		ids: ids, bucket: bucketSessions, object: "checkout.session",
		accept: func(x stripeSession) bool {
			now := x.Status
			if x.expired(p.s.now()) {
				now = "expired"
			}
			return status == "" || now == status
		},
		created: func(x stripeSession) int64 { return x.Created },
		view:    func(x stripeSession, e expansion) map[string]any { return p.viewSession(t, x, e) },
	}.answer(t, r)
}

func (p *stripe) listIntents(t *tx, r *request) (map[string]any, *stripeError) {
	return p.intents(t, r, func(stripeIntent) bool { return true })
}

func (p *stripe) intents(t *tx, r *request, accept func(stripeIntent) bool) (map[string]any, *stripeError) {
	return listing[stripeIntent]{
		ids: newestFirst(t, "intent", r.account), bucket: bucketIntents, object: "payment_intent", accept: accept,
		created: func(x stripeIntent) int64 { return x.Created },
		view:    func(x stripeIntent, e expansion) map[string]any { return p.viewIntent(t, x, e) },
	}.answer(t, r)
}

func (p *stripe) listRefunds(t *tx, r *request) (map[string]any, *stripeError) {
	ids := newestFirst(t, "refund", r.account)
	if id := r.form.str("payment_intent"); id != "" {
		intent, refused := p.intent(t, r.account, id, "payment_intent")
		if refused != nil {
			return nil, refused
		}
		ids = backward(intent.Refunds)
	}
	charge := r.form.str("charge")
	return listing[stripeRefund]{
		ids: ids, bucket: bucketStripeRefunds, object: "refund",
		accept:  func(x stripeRefund) bool { return charge == "" || x.Charge == charge },
		created: func(x stripeRefund) int64 { return x.Created },
		view:    func(x stripeRefund, e expansion) map[string]any { return p.viewRefund(t, x, e) },
	}.answer(t, r)
}

func (p *stripe) listCharges(t *tx, r *request) (map[string]any, *stripeError) {
	ids := newestFirst(t, "charge", r.account)
	if id := r.form.str("payment_intent"); id != "" {
		intent, refused := p.intent(t, r.account, id, "payment_intent")
		if refused != nil {
			return nil, refused
		}
		ids = backward(intent.Charges)
	}
	return listing[stripeCharge]{
		ids: ids, bucket: bucketStripeCharges, object: "charge",
		accept:  func(stripeCharge) bool { return true },
		created: func(x stripeCharge) int64 { return x.Created },
		view:    func(x stripeCharge, e expansion) map[string]any { return p.viewCharge(t, x, e) },
	}.answer(t, r)
}

func (p *stripe) listEvents(t *tx, r *request) (map[string]any, *stripeError) {
	kind := r.form.str("type")
	return listing[stripeEvent]{
		ids: newestFirst(t, "event", r.account), bucket: bucketEvents, object: "event",
		accept:  func(x stripeEvent) bool { return kind == "" || x.Type == kind },
		created: func(x stripeEvent) int64 { return x.Created },
		view:    func(x stripeEvent, _ expansion) map[string]any { return viewEvent(x) },
	}.answer(t, r)
}

var searchClause = regexp.MustCompile(`^(?:metadata\[["']([^"']+)["']\]|(status)):["']([^"']*)["']$`)

// searchIntents knows clauses on metadata and status joined by AND
// (docs.stripe.com/search); unlike Stripe's it is never behind.
func (p *stripe) searchIntents(t *tx, r *request) (map[string]any, *stripeError) {
	query, refused := r.form.required("query")
	if refused != nil {
		return nil, refused
	}
	var accept []func(stripeIntent) bool
	for clause := range strings.SplitSeq(query, " AND ") {
		m := searchClause.FindStringSubmatch(strings.TrimSpace(clause))
		if m == nil {
			return nil, &stripeError{param: "query", message: "We were unable to parse your search query."}
		}
		accept = append(accept, func(x stripeIntent) bool {
			if m[2] != "" {
				return x.Status == m[3]
			}
			return x.Metadata[m[1]] == m[3]
		})
	}
	out, refused := p.intents(t, r, func(x stripeIntent) bool {
		return !slices.ContainsFunc(accept, func(holds func(stripeIntent) bool) bool { return !holds(x) })
	})
	if refused != nil {
		return nil, refused
	}
	out["object"], out["next_page"] = "search_result", nil
	return out, nil
}
