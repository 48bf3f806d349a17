package sandbox

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// stripeSession is a stored checkout.session.
type stripeSession struct {
	ID                  string            `json:"id"`
	Account             string            `json:"account"`
	Created             int64             `json:"created"`
	ExpiresAt           int64             `json:"expires_at"`
	Status              string            `json:"status"` // open, complete, expired
	PaymentStatus       string            `json:"payment_status"`
	Currency            string            `json:"currency"`
	Amount              int64             `json:"amount"`
	Description         string            `json:"description"` // of the first item
	SuccessURL          string            `json:"success_url"`
	CancelURL           string            `json:"cancel_url"`
	ClientReferenceID   string            `json:"client_reference_id"`
	Metadata            map[string]string `json:"metadata"`
	CustomerEmail       string            `json:"customer_email"`
	Locale              string            `json:"locale"`
	SubmitType          string            `json:"submit_type"`
	BillingAddress      string            `json:"billing_address_collection"`
	PhoneNumber         bool              `json:"phone_number"`
	PaymentMethodTypes  []string          `json:"payment_method_types"`
	Intent              string            `json:"intent"` // made when the buyer confirms
	IntentMetadata      map[string]string `json:"intent_metadata"`
	IntentDescription   string            `json:"intent_description"`
	CaptureMethod       string            `json:"capture_method"`
	ReceiptEmail        string            `json:"receipt_email"`
	StatementDescriptor string            `json:"statement_descriptor"`
	StatementSuffix     string            `json:"statement_suffix"`
	Base                string            `json:"base"` // of the hosted page
}

// stripeIntent is a stored payment_intent.
type stripeIntent struct {
	ID                  string            `json:"id"`
	Account             string            `json:"account"`
	Session             string            `json:"session"`
	PaymentID           string            `json:"payment_id"`
	Created             int64             `json:"created"`
	Amount              int64             `json:"amount"`
	Captured            int64             `json:"captured"`
	Currency            string            `json:"currency"`
	Status              string            `json:"status"`
	CaptureMethod       string            `json:"capture_method"`
	Description         string            `json:"description"`
	Metadata            map[string]string `json:"metadata"`
	ReceiptEmail        string            `json:"receipt_email"`
	StatementDescriptor string            `json:"statement_descriptor"`
	StatementSuffix     string            `json:"statement_suffix"`
	PaymentMethod       string            `json:"payment_method"`
	Charges             []string          `json:"charges"` // oldest first
	Refunds             []string          `json:"refunds"` // oldest first
	CanceledAt          int64             `json:"canceled_at"`
	CancellationReason  string            `json:"cancellation_reason"`
	LastError           map[string]any    `json:"last_error"`
	Review              string            `json:"review"`
	Secret              string            `json:"secret"`
}

// stripeCharge is a stored charge.
type stripeCharge struct {
	ID            string `json:"id"`
	Account       string `json:"account"`
	Intent        string `json:"intent"`
	Created       int64  `json:"created"`
	Amount        int64  `json:"amount"`
	Captured      int64  `json:"captured"`
	Refunded      int64  `json:"refunded"`
	Currency      string `json:"currency"`
	Status        string `json:"status"` // succeeded, failed
	CaptureBefore int64  `json:"capture_before"`
	DeclineCode   string `json:"decline_code"`
	Email         string `json:"email"`
	Voided        bool   `json:"voided"`
	Risk          string `json:"risk"`
	Review        bool   `json:"review"`  // was put under one
	Dispute       string `json:"dispute"` // its id
	CapturedAt    int64  `json:"captured_at"`
	Released      int64  `json:"released"` // authorized, not captured
}

// stripeRefund is a stored refund.
type stripeRefund struct {
	ID            string            `json:"id"`
	Account       string            `json:"account"`
	Intent        string            `json:"intent"`
	Charge        string            `json:"charge"`
	Created       int64             `json:"created"`
	Amount        int64             `json:"amount"`
	Currency      string            `json:"currency"`
	Status        string            `json:"status"`
	Reason        string            `json:"reason"`
	FailureReason string            `json:"failure_reason"`
	Release       bool              `json:"release"` // of what was not captured: no money of the merchant's
	Metadata      map[string]string `json:"metadata"`
}

// stripeEvent is a stored event; Object is its object as it was then.
type stripeEvent struct {
	ID             string          `json:"id"`
	Account        string          `json:"account"`
	Type           string          `json:"type"`
	Created        int64           `json:"created"`
	Object         json.RawMessage `json:"object"`
	RequestID      string          `json:"request_id"`
	IdempotencyKey string          `json:"idempotency_key"`
	Pending        int             `json:"pending"`
}

// expandable names what can be expanded in an object, and to what; "" is a
// property that is always null here.
var expandable = map[string]map[string]string{
	"checkout.session": {"payment_intent": "payment_intent", "customer": "", "invoice": "", "setup_intent": "", "subscription": "", "payment_link": ""},
	"payment_intent":   {"latest_charge": "charge", "customer": "", "invoice": "", "review": "review", "application": "", "on_behalf_of": ""},
	"charge":           {"payment_intent": "payment_intent", "refunds": "", "customer": "", "invoice": "", "review": "review", "balance_transaction": ""},
	"refund":           {"payment_intent": "payment_intent", "charge": "charge", "balance_transaction": ""},
	"dispute":          {"charge": "charge", "payment_intent": "payment_intent"},
}

// expansion are the paths of one object to expand.
type expansion []string

func (e expansion) has(name string) bool {
	return slices.ContainsFunc(e, func(path string) bool { return path == name || strings.HasPrefix(path, name+".") })
}

func (e expansion) below(name string) expansion {
	var out expansion
	for _, path := range e {
		if rest, ok := strings.CutPrefix(path, name+"."); ok {
			out = append(out, rest)
		}
	}
	return out
}

// expansionOf reads expand[] for an object; in lists each path begins with
// data.
func expansionOf(r *request, object string, inList bool) (expansion, *stripeError) {
	var out expansion
	for _, element := range r.form.at("expand").elements() {
		path, ok := element.text, true
		if inList {
			path, ok = strings.CutPrefix(path, "data.")
		}
		kind := object
		for name := range strings.SplitSeq(path, ".") {
			next, known := expandable[kind][name]
			ok = ok && known
			kind = next
		}
		if !ok {
			return nil, &stripeError{message: "This property cannot be expanded (" + element.text + ").", param: "expand"}
		}
		out = append(out, path)
	}
	return out, nil
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func timeOrNull(unix int64) any {
	if unix == 0 {
		return nil
	}
	return unix
}

// expired: the session's time is up, whether or not the clockwork has been by.
func (x *stripeSession) expired(now time.Time) bool {
	return x.Status == "open" && now.Unix() >= x.ExpiresAt
}

func (p *stripe) viewSession(t *tx, x stripeSession, e expansion) map[string]any {
	status, address := x.Status, any(nil)
	if x.expired(p.s.now()) {
		status = "expired"
	}
	if status == "open" {
		address = x.Base + "/" + stripeName + "/c/pay/" + x.ID
	}
	var customer any
	if x.Status == "complete" {
		customer = map[string]any{"address": emptyAddress(), "email": orNull(buyerEmail(x)), "name": "Persona de Prueba", "phone": nil, "tax_exempt": "none", "tax_ids": []any{}}
	} else if x.CustomerEmail != "" {
		customer = map[string]any{"address": nil, "email": x.CustomerEmail, "name": nil, "phone": nil, "tax_exempt": "none", "tax_ids": nil}
	}
	var intent any
	if x.Intent != "" {
		intent = x.Intent
		if e.has("payment_intent") {
			if found, ok := get[stripeIntent](t, bucketIntents, x.Intent); ok {
				intent = p.viewIntent(t, found, e.below("payment_intent"))
			}
		}
	}
	return map[string]any{
		"id": x.ID, "object": "checkout.session", "after_expiration": nil, "allow_promotion_codes": nil,
		"amount_subtotal": x.Amount, "amount_total": x.Amount,
		"automatic_tax":              map[string]any{"enabled": false, "liability": nil, "status": nil},
		"billing_address_collection": orNull(x.BillingAddress), "cancel_url": orNull(x.CancelURL),
		"client_reference_id": orNull(x.ClientReferenceID), "client_secret": nil, "consent": nil, "consent_collection": nil,
		"created": x.Created, "currency": x.Currency, "currency_conversion": nil, "custom_fields": []any{},
		"custom_text": map[string]any{"after_submit": nil, "shipping_address": nil, "submit": nil, "terms_of_service_acceptance": nil},
		"customer":    nil, "customer_creation": "if_required", "customer_details": customer, "customer_email": orNull(x.CustomerEmail),
		"expires_at": x.ExpiresAt, "invoice": nil,
		"invoice_creation": map[string]any{"enabled": false, "invoice_data": map[string]any{"account_tax_ids": nil, "custom_fields": nil, "description": nil, "footer": nil, "issuer": nil, "metadata": map[string]any{}, "rendering_options": nil}},
		"livemode":         false, "locale": orNull(x.Locale), "metadata": metadataOf(x.Metadata), "mode": "payment",
		"payment_intent": intent, "payment_link": nil, "payment_method_collection": "if_required",
		"payment_method_configuration_details": nil, "payment_method_options": map[string]any{},
		"payment_method_types": x.PaymentMethodTypes, "payment_status": x.PaymentStatus,
		"phone_number_collection": map[string]any{"enabled": x.PhoneNumber}, "recovered_from": nil, "setup_intent": nil,
		"shipping_address_collection": nil, "shipping_cost": nil, "shipping_details": nil, "shipping_options": []any{},
		"status": status, "submit_type": orNull(x.SubmitType), "subscription": nil, "success_url": x.SuccessURL,
		"total_details": map[string]any{"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
		"ui_mode":       "hosted", "url": address,
	}
}

func buyerEmail(x stripeSession) string {
	if x.CustomerEmail != "" {
		return x.CustomerEmail
	}
	return "buyer@example.com"
}

func emptyAddress() map[string]any {
	return map[string]any{"city": nil, "country": "CL", "line1": nil, "line2": nil, "postal_code": nil, "state": nil}
}

func metadataOf(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (p *stripe) viewIntent(t *tx, x stripeIntent, e expansion) map[string]any {
	var latest any
	if n := len(x.Charges); n > 0 {
		latest = x.Charges[n-1]
		if e.has("latest_charge") {
			if found, ok := get[stripeCharge](t, bucketStripeCharges, x.Charges[n-1]); ok {
				latest = p.viewCharge(t, found, e.below("latest_charge"))
			}
		}
	}
	capturable := int64(0)
	if x.Status == "requires_capture" {
		capturable = x.Amount
	}
	review := orNull(x.Review)
	if e.has("review") {
		if found, ok := get[stripeReview](t, bucketStripeReviews, x.Review); ok {
			review = viewReview(found)
		}
	}
	var lastError any
	if x.LastError != nil {
		lastError = x.LastError
	}
	return map[string]any{
		"id": x.ID, "object": "payment_intent", "amount": x.Amount, "amount_capturable": capturable,
		"amount_details": map[string]any{"tip": map[string]any{}}, "amount_received": x.Captured, "application": nil,
		"application_fee_amount": nil, "automatic_payment_methods": nil, "canceled_at": timeOrNull(x.CanceledAt),
		"cancellation_reason": orNull(x.CancellationReason), "capture_method": x.CaptureMethod,
		"client_secret": x.ID + "_secret_" + x.Secret, "confirmation_method": "automatic", "created": x.Created,
		"currency": x.Currency, "customer": nil, "description": orNull(x.Description), "invoice": nil,
		"last_payment_error": lastError, "latest_charge": latest, "livemode": false, "metadata": metadataOf(x.Metadata),
		"next_action": nil, "on_behalf_of": nil, "payment_method": orNull(x.PaymentMethod),
		"payment_method_configuration_details": nil,
		"payment_method_options":               map[string]any{"card": map[string]any{"installments": nil, "mandate_options": nil, "network": nil, "request_three_d_secure": "automatic"}},
		"payment_method_types":                 []string{"card"}, "processing": nil, "receipt_email": orNull(x.ReceiptEmail), "review": review,
		"setup_future_usage": nil, "shipping": nil, "source": nil, "statement_descriptor": orNull(x.StatementDescriptor),
		"statement_descriptor_suffix": orNull(x.StatementSuffix), "status": x.Status, "transfer_data": nil, "transfer_group": nil,
	}
}

func (p *stripe) viewCharge(t *tx, x stripeCharge, e expansion) map[string]any {
	intent, _ := get[stripeIntent](t, bucketIntents, x.Intent)
	failed := x.Status == "failed"
	outcome := map[string]any{"network_status": "approved_by_network", "reason": nil, "risk_level": riskOf(x), "seller_message": "Payment complete.", "type": "authorized"}
	if x.Review {
		outcome["type"], outcome["reason"], outcome["seller_message"] = "manual_review", "elevated_risk_level", "Stripe evaluated this payment as having elevated risk, and placed it in your manual review queue."
	}
	var failureCode, failureMessage, balance any
	if failed {
		failureCode, failureMessage = declineError(x.DeclineCode)
		outcome = map[string]any{"network_status": "declined_by_network", "reason": x.DeclineCode, "risk_level": riskOf(x), "seller_message": "The bank did not return any further details with this decline.", "type": "issuer_declined"}
	} else if x.Captured > 0 {
		id := "txn_" + strings.TrimPrefix(x.ID, "ch_")
		balance = id
		if e.has("balance_transaction") {
			balance = viewBalance(id, "charge", x.ID, x.Currency, x.Captured, processingFee(x.Captured), max(x.Created, x.CapturedAt))
		}
	}
	card := map[string]any{
		"amount_authorized": x.Amount, "brand": "visa", "checks": map[string]any{"address_line1_check": nil, "address_postal_code_check": nil, "cvc_check": "pass"},
		"country": "CL", "exp_month": 12, "exp_year": p.s.now().Year() + 3, "fingerprint": "sandbox0000000000", "funding": "credit",
		"installments": nil, "last4": "4242", "mandate": nil, "network": "visa", "three_d_secure": nil, "wallet": nil,
	}
	if x.CaptureBefore != 0 {
		card["capture_before"] = x.CaptureBefore
	}
	out := map[string]any{
		"id": x.ID, "object": "charge", "amount": x.Amount, "amount_captured": x.Captured, "amount_refunded": x.Refunded + x.Released,
		"application": nil, "application_fee": nil, "application_fee_amount": nil, "balance_transaction": balance,
		"billing_details":                 map[string]any{"address": emptyAddress(), "email": orNull(x.Email), "name": "Persona de Prueba", "phone": nil},
		"calculated_statement_descriptor": "SANDBOX", "captured": x.Captured > 0, "created": x.Created, "currency": x.Currency,
		"customer": nil, "description": orNull(intent.Description), "disputed": x.Dispute != "", "failure_balance_transaction": nil,
		"failure_code": failureCode, "failure_message": failureMessage, "fraud_details": map[string]any{}, "invoice": nil,
		"livemode": false, "metadata": metadataOf(intent.Metadata), "on_behalf_of": nil, "outcome": outcome, "paid": !failed,
		"payment_intent": orNull(x.Intent), "payment_method": orNull(intent.PaymentMethod),
		"payment_method_details": map[string]any{"card": card, "type": "card"}, "receipt_email": orNull(intent.ReceiptEmail),
		"receipt_number": nil, "receipt_url": nil, "refunded": x.Voided || (x.Captured > 0 && x.Refunded >= x.Captured), "review": nil, "shipping": nil, "source": nil,
		"source_transfer": nil, "statement_descriptor": orNull(intent.StatementDescriptor),
		"statement_descriptor_suffix": orNull(intent.StatementSuffix), "status": x.Status, "transfer_data": nil, "transfer_group": nil,
	}
	if e.has("payment_intent") && x.Intent != "" {
		out["payment_intent"] = p.viewIntent(t, intent, e.below("payment_intent"))
	}
	if e.has("refunds") {
		data := []any{}
		for _, id := range slices.Backward(intent.Refunds) {
			if refund, ok := get[stripeRefund](t, bucketStripeRefunds, id); ok && refund.Charge == x.ID {
				data = append(data, p.viewRefund(t, refund, nil))
			}
		}
		out["refunds"] = listObject("/v1/charges/"+x.ID+"/refunds", data, false)
	}
	return out
}

// riskOf is Radar's rating, which most payments have as normal.
func riskOf(x stripeCharge) string {
	if x.Risk == "" {
		return "normal"
	}
	return x.Risk
}

func (p *stripe) viewRefund(t *tx, x stripeRefund, e expansion) map[string]any {
	balance := any("txn_" + strings.TrimPrefix(x.ID, "re_"))
	if e.has("balance_transaction") {
		balance = viewBalance("txn_"+strings.TrimPrefix(x.ID, "re_"), "refund", x.ID, x.Currency, -x.Amount, 0, x.Created)
	}
	out := map[string]any{
		"id": x.ID, "object": "refund", "amount": x.Amount, "balance_transaction": balance,
		"charge": x.Charge, "created": x.Created, "currency": x.Currency,
		"destination_details": map[string]any{"card": map[string]any{"reference": nil, "reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}, "type": "card"},
		"metadata":            metadataOf(x.Metadata), "payment_intent": orNull(x.Intent), "reason": orNull(x.Reason),
		"receipt_number": nil, "source_transfer_reversal": nil, "status": x.Status, "transfer_reversal": nil,
	}
	if x.FailureReason != "" {
		out["failure_reason"] = x.FailureReason
		out["failure_balance_transaction"] = "txn_f" + strings.TrimPrefix(x.ID, "re_")
	}
	if e.has("charge") {
		if charge, ok := get[stripeCharge](t, bucketStripeCharges, x.Charge); ok {
			out["charge"] = p.viewCharge(t, charge, e.below("charge"))
		}
	}
	if e.has("payment_intent") {
		if intent, ok := get[stripeIntent](t, bucketIntents, x.Intent); ok {
			out["payment_intent"] = p.viewIntent(t, intent, e.below("payment_intent"))
		}
	}
	return out
}

func viewEvent(x stripeEvent) map[string]any {
	return map[string]any{
		"id": x.ID, "object": "event", "account": x.Account, "api_version": stripeAPIVersion, "created": x.Created,
		"data": map[string]any{"object": x.Object}, "livemode": false, "pending_webhooks": x.Pending,
		"request": map[string]any{"id": orNull(x.RequestID), "idempotency_key": orNull(x.IdempotencyKey)}, "type": x.Type,
	}
}

func listObject(address string, data []any, more bool) map[string]any {
	return map[string]any{"object": "list", "data": data, "has_more": more, "url": address}
}

// declineError is the code and the message of an issuer's refusal
// (docs.stripe.com/declines/codes): most are card_declined with a decline
// code, a few are codes of their own.
func declineError(declineCode string) (code, message string) {
	switch declineCode {
	case "expired_card":
		return "expired_card", "Your card has expired."
	case "incorrect_cvc":
		return "incorrect_cvc", "Your card's security code is incorrect."
	case "processing_error":
		return "processing_error", "An error occurred while processing your card. Try again in a little bit."
	case "insufficient_funds":
		return "card_declined", "Your card has insufficient funds."
	}
	return "card_declined", "Your card was declined."
}
