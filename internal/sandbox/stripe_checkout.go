package sandbox

import (
	"context"
	"fmt"
	"net/http"
	"net/mail"
	"strings"
	"time"
)

// sessionShape are the parameters of a session. Names that Stripe knows and
// that would change what happens are refused rather than ignored.
var sessionShape = hash(map[string]*shape{
	"mode": nil, "success_url": nil, "cancel_url": nil, "client_reference_id": nil, "customer_email": nil, "currency": nil,
	"expires_at": nil, "locale": nil, "submit_type": nil, "ui_mode": nil, "billing_address_collection": nil, "customer_creation": nil,
	"metadata": freeText, "expand": texts, "payment_method_types": texts,
	"phone_number_collection": hash(map[string]*shape{"enabled": nil}),
	"line_items": list(hash(map[string]*shape{
		"quantity": nil,
		"price_data": hash(map[string]*shape{
			"currency": nil, "unit_amount": nil,
			"product_data": hash(map[string]*shape{"name": nil, "description": nil, "images": texts, "metadata": freeText}).with("tax_code"),
		}).with("product", "recurring", "tax_behavior", "unit_amount_decimal"),
	}).with("price", "adjustable_quantity", "dynamic_tax_rates", "tax_rates")),
	"payment_intent_data": hash(map[string]*shape{
		"capture_method": nil, "description": nil, "metadata": freeText, "receipt_email": nil,
		"statement_descriptor": nil, "statement_descriptor_suffix": nil,
	}).with("application_fee_amount", "on_behalf_of", "setup_future_usage", "shipping", "transfer_data", "transfer_group"),
}).with("after_expiration", "allow_promotion_codes", "automatic_tax", "consent_collection", "customer", "customer_update",
	"custom_fields", "custom_text", "discounts", "invoice_creation", "payment_method_collection", "payment_method_configuration",
	"payment_method_options", "redirect_on_completion", "return_url", "setup_intent_data", "shipping_address_collection",
	"shipping_options", "subscription_data", "tax_id_collection")

var stripeLocales = strings.Fields("auto bg cs da de el en en-GB es es-419 et fi fil fr fr-CA hr hu id it ja ko lt lv ms mt nb nl pl pt pt-BR ro ru sk sl sv th tr vi zh zh-HK zh-TW")

func (p *stripe) createSession(t *tx, r *request) (map[string]any, *stripeError) {
	x, refused := p.readSession(r)
	if refused != nil {
		return nil, refused
	}
	e, refused := expansionOf(r, "checkout.session", false)
	if refused != nil {
		return nil, refused
	}
	put(t, bucketSessions, x.ID, x)
	put(t, bucketOpenSessions, openKey(x), x.ID)
	p.index(t, "session", x.Account, x.ID)
	t.addPage(pageRef{stripeName, x.ID}, paymentID(x), x.ID)
	return p.viewSession(t, x, e), nil
}

func openKey(x stripeSession) string { return ordered(uint64(x.ExpiresAt)) + x.ID }

// paymentID is the merchant's own name for a session, else the session's id.
func paymentID(x stripeSession) string {
	if x.ClientReferenceID != "" {
		return x.ClientReferenceID
	}
	if id := x.Metadata["payment_id"]; id != "" {
		return id
	}
	return x.ID
}

func (p *stripe) readSession(r *request) (stripeSession, *stripeError) {
	form, now := r.form, p.s.now()
	x := stripeSession{
		ID: "cs_test_a1" + randomText(56, alphanumeric), Account: r.account, Created: now.Unix(), Status: "open", PaymentStatus: "unpaid",
		ExpiresAt: now.Add(24 * time.Hour).Unix(), Metadata: form.at("metadata").metadata(), Base: r.base,
		IntentMetadata: form.at("payment_intent_data", "metadata").metadata(), IntentDescription: form.str("payment_intent_data", "description"),
		StatementDescriptor: form.str("payment_intent_data", "statement_descriptor"), StatementSuffix: form.str("payment_intent_data", "statement_descriptor_suffix"),
		CaptureMethod: "automatic", PaymentMethodTypes: []string{"card"}, PhoneNumber: form.str("phone_number_collection", "enabled") == "true",
	}
	mode, refused := form.required("mode")
	if refused != nil {
		return x, refused
	}
	if mode != "payment" {
		return x, &stripeError{param: "mode", code: "sandbox_unsupported", message: "The sandbox only knows mode payment."}
	}
	for _, read := range []func() *stripeError{
		func() (e *stripeError) { x.SuccessURL, e = webURL(form, "success_url", true); return },
		func() (e *stripeError) { x.CancelURL, e = webURL(form, "cancel_url", false); return },
		func() (e *stripeError) { x.CustomerEmail, e = emailAddress(form, "customer_email"); return },
		func() (e *stripeError) {
			x.ReceiptEmail, e = emailAddress(form, "payment_intent_data", "receipt_email")
			return
		},
		func() (e *stripeError) { x.Locale, e = form.oneOf(stripeLocales, "locale"); return },
		func() (e *stripeError) {
			x.SubmitType, e = form.oneOf([]string{"auto", "book", "donate", "pay"}, "submit_type")
			return
		},
		func() (e *stripeError) {
			x.BillingAddress, e = form.oneOf([]string{"auto", "required"}, "billing_address_collection")
			return
		},
		func() (e *stripeError) { _, e = form.oneOf([]string{"if_required"}, "customer_creation"); return },
		func() (e *stripeError) { _, e = form.oneOf([]string{"hosted"}, "ui_mode"); return },
		func() (e *stripeError) {
			_, e = form.oneOf([]string{"true", "false"}, "phone_number_collection", "enabled")
			return
		},
		func() *stripeError { return p.readItems(form, &x) },
		func() *stripeError { return readExpiry(form, now, &x) },
	} {
		if refused := read(); refused != nil {
			return x, refused
		}
	}
	method, refused := form.oneOf([]string{"automatic", "automatic_async", "manual"}, "payment_intent_data", "capture_method")
	if refused != nil {
		return x, refused
	}
	if method != "" {
		x.CaptureMethod = method
	}
	for _, element := range form.at("payment_method_types").elements() {
		if element.text != "card" {
			return x, &stripeError{param: element.name, message: "The payment method type provided: " + element.text +
				" is invalid. Please ensure the provided type is activated in your dashboard (https://dashboard.stripe.com/account/payments/settings) and your account is enabled for any preview features that you are trying to use."}
		}
	}
	x.ClientReferenceID = form.str("client_reference_id")
	if len([]rune(x.ClientReferenceID)) > 200 {
		return x, &stripeError{param: "client_reference_id", message: "Invalid string: client_reference_id; must be at most 200 characters"}
	}
	return x, nil
}

func (p *stripe) readItems(form *formNode, x *stripeSession) *stripeError {
	items := form.at("line_items").elements()
	if len(items) == 0 {
		_, refused := form.required("line_items")
		if refused == nil {
			refused = &stripeError{param: "line_items", message: "Invalid array"}
		}
		return refused
	}
	if len(items) > 100 {
		return &stripeError{param: "line_items", message: "A Checkout Session can have at most 100 line items."}
	}
	for i, item := range items {
		if item.at("price_data") == nil {
			return &stripeError{code: "parameter_missing", param: item.name + "[price]", message: "Missing required param: " + item.name + "[price]."}
		}
		price := item.at("price_data")
		currency, refused := price.required("currency")
		if refused != nil {
			return refused
		}
		if _, known := minimumAmount[currency]; !known {
			return &stripeError{param: price.name + "[currency]", message: "Invalid currency: " + currency + ". Stripe currently supports these currencies: " + strings.Join(sortedKeys(minimumAmount), ", ")}
		}
		if i > 0 && currency != x.Currency {
			return &stripeError{param: price.name + "[currency]", message: "All line items must have the same currency."}
		}
		x.Currency = currency
		if wanted := form.str("currency"); wanted != "" && wanted != currency {
			return &stripeError{param: "currency", message: "The currency of the session and of its prices differ."}
		}
		if _, refused := price.required("unit_amount"); refused != nil {
			return refused
		}
		unit, _, refused := price.integer("unit_amount")
		if refused != nil {
			return refused
		}
		if unit < 0 {
			return &stripeError{param: price.name + "[unit_amount]", code: "parameter_invalid_integer", message: "This value must be greater than or equal to 0."}
		}
		name, refused := price.required("product_data", "name")
		if refused != nil {
			return refused
		}
		if i == 0 {
			x.Description = name
		}
		if _, refused := item.required("quantity"); refused != nil {
			return refused
		}
		quantity, _, refused := item.integer("quantity")
		if refused != nil {
			return refused
		}
		if quantity < 1 || quantity > 999_999 || unit > maximumAmount {
			return &stripeError{param: item.name, code: "parameter_invalid_integer", message: "This value must be greater than or equal to 1."}
		}
		x.Amount += unit * quantity
		if x.Amount > maximumAmount {
			return &stripeError{code: "amount_too_large", message: fmt.Sprintf("The Checkout Session's total amount must convert to at most %d.", maximumAmount)}
		}
	}
	if x.Amount < minimumAmount[x.Currency] {
		least := isoAmount(minimumAmount[x.Currency], x.Currency)
		return &stripeError{code: "amount_too_small", message: "The Checkout Session's total amount due must add up to at least " + showAmount(least, x.Currency)}
	}
	return wrongUnits(x.Amount, x.Currency, "line_items")
}

func readExpiry(form *formNode, now time.Time, x *stripeSession) *stripeError {
	at, sent, refused := form.integer("expires_at")
	switch {
	case refused != nil || !sent:
		return refused
	case at < now.Add(30*time.Minute).Unix():
		return &stripeError{param: "expires_at", message: "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation."}
	case at > now.Add(24*time.Hour).Unix():
		return &stripeError{param: "expires_at", message: "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation."}
	}
	x.ExpiresAt = at
	return nil
}

func webURL(form *formNode, name string, must bool) (string, *stripeError) {
	if must {
		if _, refused := form.required(name); refused != nil {
			return "", refused
		}
	}
	text := form.str(name)
	if form.at(name) != nil && !isWebURL(strings.ReplaceAll(text, "{CHECKOUT_SESSION_ID}", "x")) {
		return "", &stripeError{code: "url_invalid", param: name, message: "Not a valid URL"}
	}
	return text, nil
}

func emailAddress(form *formNode, path ...string) (string, *stripeError) {
	found := form.at(path...)
	if found == nil {
		return "", nil
	}
	if parsed, err := mail.ParseAddress(found.text); err != nil || parsed.Address != found.text {
		return "", &stripeError{code: "email_invalid", param: found.name, message: "Invalid email address: " + found.text}
	}
	return found.text, nil
}

// session reads the account's session of the path.
func (p *stripe) session(t *tx, r *request) (stripeSession, *stripeError) {
	x, found := get[stripeSession](t, bucketSessions, r.arg)
	if !found || x.Account != r.account {
		return x, missing("checkout.session", r.arg, "session")
	}
	return x, nil
}

func missing(object, id, param string) *stripeError {
	return &stripeError{status: http.StatusNotFound, code: "resource_missing", param: param, message: "No such " + object + ": '" + id + "'", executed: true}
}

func (p *stripe) getSession(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, "checkout.session", false)
	if refused != nil {
		return nil, refused
	}
	x, refused := p.session(t, r)
	if refused != nil {
		return nil, refused
	}
	return p.viewSession(t, x, e), nil
}

func (p *stripe) expireSession(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, "checkout.session", false)
	if refused != nil {
		return nil, refused
	}
	x, refused := p.session(t, r)
	if refused != nil {
		return nil, refused
	}
	if x.expired(p.s.now()) {
		x = p.expire(t, x, nil)
	} else if x.Status == "open" {
		x = p.expire(t, x, r)
		return p.viewSession(t, x, e), nil
	}
	return nil, &stripeError{executed: true, message: fmt.Sprintf(
		"Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of `%s`.", x.Status)}
}

// expire closes an open session; an intent that the buyer began is canceled.
func (p *stripe) expire(t *tx, x stripeSession, r *request) stripeSession {
	x.Status = "expired"
	put(t, bucketSessions, x.ID, x)
	t.remove(bucketOpenSessions, openKey(x))
	if x.Intent != "" {
		if intent, ok := get[stripeIntent](t, bucketIntents, x.Intent); ok {
			p.cancel(t, intent, "automatic", r)
		}
	}
	p.emit(t, x.Account, "checkout.session.expired", p.viewSession(t, x, nil), r)
	return x
}

// holdKey orders the authorizations by the end of their time.
func holdKey(x stripeCharge) string { return ordered(uint64(x.CaptureBefore)) + x.ID }

// runClock closes the sessions and lets the authorizations go whose time is up,
// until ctx ends.
func (p *stripe) runClock(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.expireDue(); err != nil {
			p.s.log.Error("expire Stripe sessions and authorizations", "error", err)
		}
	}
}

func (p *stripe) expireDue() error {
	sessions, holds := p.dueIn(bucketOpenSessions), p.dueIn(bucketStripeHolds)
	var some bool
	look := func(t *tx) { some = len(sessions(t))+len(holds(t)) > 0 }
	if err := p.s.store.view(look); err != nil || !some {
		return err
	}
	return p.s.store.update(func(t *tx) {
		for _, id := range sessions(t) {
			if x, found := get[stripeSession](t, bucketSessions, id); found {
				p.expire(t, x, nil)
			}
		}
		for _, id := range holds(t) {
			if x, found := get[stripeIntent](t, bucketIntents, id); found {
				p.lapse(t, x)
			}
		}
	})
}

// dueIn reads the ids of a bucket ordered by time whose time has come, at most
// 100 at once.
func (p *stripe) dueIn(bucket string) func(*tx) []string {
	limit := ordered(uint64(p.s.now().Unix()) + 1)
	return func(t *tx) (due []string) {
		each(t, bucket, "", func(key, id string) bool {
			if key >= limit || len(due) == 100 {
				return false
			}
			due = append(due, id)
			return true
		})
		return due
	}
}

// hosted adds the checkout page.
func (p *stripe) hosted(mux *http.ServeMux) {
	mux.HandleFunc("GET /"+stripeName+"/c/pay/{session}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/buyer/"+r.PathValue("session"), http.StatusSeeOther)
	})
}

func (p *stripe) page(t *tx, id string) (page, bool) {
	x, found := get[stripeSession](t, bucketSessions, id)
	out := page{
		PaymentID: paymentID(x), Merchant: "Comercio " + x.Account, Description: x.Description,
		Amount: isoAmount(x.Amount, x.Currency), Currency: x.Currency, Status: x.Status, Open: x.Status == "open",
	}
	if x.expired(p.s.now()) {
		out.Status, out.Open = "expired", false
	}
	if out.Open && x.Intent != "" {
		out.Notice = "La tarjeta fue rechazada. Puede intentarlo otra vez."
	}
	return out, found
}

func (p *stripe) step(t *tx, id string, in stepInput) (stepResult, error) {
	x, found := get[stripeSession](t, bucketSessions, id)
	if !found {
		return stepResult{}, fmt.Errorf("session %s: %w", id, errNotFound)
	}
	if x.Status != "open" || x.expired(p.s.now()) {
		return stepResult{}, fmt.Errorf("%w: the session is not open", errPageClosed)
	}
	switch in.step {
	case stepApprove:
		p.approve(t, x, in)
		back := browserReturn{Method: http.MethodGet, URL: strings.ReplaceAll(x.SuccessURL, "{CHECKOUT_SESSION_ID}", x.ID)}
		return stepResult{Status: "approved", Return: &back}, nil
	case stepDecline, stepError:
		code := in.declineCode
		if code == "" {
			code = map[buyerStep]string{stepDecline: "generic_decline", stepError: "processing_error"}[in.step]
		}
		p.decline(t, x, code)
		return stepResult{Status: "declined"}, nil
	case stepAbort:
		if x.CancelURL == "" {
			return stepResult{Status: "open"}, nil
		}
		return stepResult{Status: "open", Return: &browserReturn{Method: http.MethodGet, URL: x.CancelURL}}, nil
	}
	p.expire(t, x, nil)
	return stepResult{Status: "expired"}, nil
}

func (p *stripe) returnAs(t *tx, id string, step buyerStep) (browserReturn, error) {
	x, found := get[stripeSession](t, bucketSessions, id)
	if !found {
		return browserReturn{}, fmt.Errorf("session %s: %w", id, errNotFound)
	}
	if step == stepApprove {
		return browserReturn{Method: http.MethodGet, URL: strings.ReplaceAll(x.SuccessURL, "{CHECKOUT_SESSION_ID}", x.ID)}, nil
	}
	if step == stepAbort && x.CancelURL != "" {
		return browserReturn{Method: http.MethodGet, URL: x.CancelURL}, nil
	}
	return browserReturn{}, fmt.Errorf("%w: Stripe sends nobody back after %s", errPageClosed, step)
}

// confirm gives a session its intent, at the first try, and a charge.
func (p *stripe) confirm(t *tx, x *stripeSession, charge *stripeCharge) stripeIntent {
	now := p.s.now().Unix()
	intent, begun := get[stripeIntent](t, bucketIntents, x.Intent)
	if !begun {
		intent = stripeIntent{
			ID: "pi_3" + randomText(23, alphanumeric), Account: x.Account, Session: x.ID, PaymentID: paymentID(*x), Created: now,
			Currency: x.Currency, CaptureMethod: x.CaptureMethod, Description: x.IntentDescription, Metadata: x.IntentMetadata,
			ReceiptEmail: x.ReceiptEmail, StatementDescriptor: x.StatementDescriptor, StatementSuffix: x.StatementSuffix,
			Secret: randomText(25, alphanumeric),
		}
		p.index(t, "intent", x.Account, intent.ID)
		x.Intent = intent.ID
	}
	intent.Amount = x.Amount
	*charge = stripeCharge{
		ID: "ch_3" + randomText(23, alphanumeric), Account: x.Account, Intent: intent.ID, Created: now, Amount: x.Amount,
		Currency: x.Currency, Email: buyerEmail(*x),
	}
	intent.Charges = append(intent.Charges, charge.ID)
	p.index(t, "charge", x.Account, charge.ID)
	return intent
}

// approve: the buyer pays. With manual capture the money is only held.
func (p *stripe) approve(t *tx, x stripeSession, in stepInput) {
	if in.amount != 0 {
		x.Amount = stripeUnits(in.amount, x.Currency)
	}
	var charge stripeCharge
	intent := p.confirm(t, &x, &charge)
	charge.Status, x.Status = "succeeded", "complete"
	charge.Risk, charge.Review = in.risk, in.review
	intent.LastError, intent.PaymentMethod = nil, "pm_1"+randomText(23, alphanumeric)
	entry := ledgerCharge{
		PaymentID: intent.PaymentID, Gateway: stripeName, Amount: isoAmount(intent.Amount, x.Currency), Currency: strings.ToUpper(x.Currency),
		Status: chargeAuthorized, Reference: intent.ID, CreatedAt: p.s.now(), Account: x.Account,
	}
	if x.CaptureMethod == "manual" {
		intent.Status = "requires_capture"
		charge.CaptureBefore = p.s.now().Add(7 * 24 * time.Hour).Unix()
		put(t, bucketStripeHolds, holdKey(charge), intent.ID)
	} else {
		intent.Status, intent.Captured, charge.Captured = "succeeded", intent.Amount, intent.Amount
		x.PaymentStatus, entry.Status = "paid", chargeCaptured
	}
	if in.review {
		p.openReview(t, &intent, charge)
	}
	put(t, bucketIntents, intent.ID, intent)
	put(t, bucketStripeCharges, charge.ID, charge)
	put(t, bucketSessions, x.ID, x)
	t.remove(bucketOpenSessions, openKey(x))
	t.book(entry)
	p.emit(t, x.Account, "charge.succeeded", p.viewCharge(t, charge, nil), nil)
	if intent.Status == "succeeded" {
		p.emit(t, x.Account, "payment_intent.succeeded", p.viewIntent(t, intent, nil), nil)
	} else {
		p.emit(t, x.Account, "payment_intent.amount_capturable_updated", p.viewIntent(t, intent, nil), nil)
	}
	p.emit(t, x.Account, "checkout.session.completed", p.viewSession(t, x, nil), nil)
}

// decline: the issuer refuses; the buyer stays on the page and may try again.
func (p *stripe) decline(t *tx, x stripeSession, declineCode string) {
	var charge stripeCharge
	intent := p.confirm(t, &x, &charge)
	charge.Status, charge.DeclineCode = "failed", declineCode
	code, message := declineError(declineCode)
	intent.Status = "requires_payment_method"
	intent.LastError = map[string]any{
		"type": "card_error", "code": code, "message": message, "charge": charge.ID,
		"doc_url": "https://stripe.com/docs/error-codes/" + strings.ReplaceAll(code, "_", "-"),
	}
	if code == "card_declined" {
		intent.LastError["decline_code"] = declineCode
	}
	put(t, bucketIntents, intent.ID, intent)
	put(t, bucketStripeCharges, charge.ID, charge)
	put(t, bucketSessions, x.ID, x)
	p.emit(t, x.Account, "charge.failed", p.viewCharge(t, charge, nil), nil)
	p.emit(t, x.Account, "payment_intent.payment_failed", p.viewIntent(t, intent, nil), nil)
}
