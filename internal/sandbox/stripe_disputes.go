package sandbox

import (
	"fmt"
	"strings"
	"time"
)

// stripeDispute is a stored dispute.
type stripeDispute struct {
	ID       string `json:"id"`
	Account  string `json:"account"`
	Intent   string `json:"intent"`
	Charge   string `json:"charge"`
	Created  int64  `json:"created"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Reason   string `json:"reason"`
	Status   string `json:"status"` // needs_response, won, lost
	DueBy    int64  `json:"due_by"`
}

// evidenceTime is how long the merchant has to answer a dispute.
const evidenceTime = 7 * 24 * time.Hour

// dispute opens a dispute over what is left of the session's charge, or ends it
// (docs.stripe.com/disputes/how-disputes-work): its money leaves the account at
// once and comes back when it is won.
func (p *stripe) dispute(t *tx, session, status string) error {
	x, found := get[stripeSession](t, bucketSessions, session)
	if !found {
		return fmt.Errorf("session %s: %w", session, errNotFound)
	}
	intent, _ := get[stripeIntent](t, bucketIntents, x.Intent)
	if intent.Captured == 0 {
		return fmt.Errorf("%w: no money was taken", errNotDisputable)
	}
	charge, _ := get[stripeCharge](t, bucketStripeCharges, intent.Charges[len(intent.Charges)-1])
	if status == "open" {
		return p.openDispute(t, intent, charge)
	}
	return p.endDispute(t, intent, charge, status)
}

func (p *stripe) openDispute(t *tx, intent stripeIntent, charge stripeCharge) error {
	left := charge.Captured - charge.Refunded
	if charge.Dispute != "" || left == 0 {
		return fmt.Errorf("%w: it was disputed before, or nothing is left of it", errNotDisputable)
	}
	now := p.s.now()
	d := stripeDispute{
		ID: "dp_1" + randomText(23, alphanumeric), Account: charge.Account, Intent: intent.ID, Charge: charge.ID, Created: now.Unix(),
		Amount: left, Currency: charge.Currency, Reason: "fraudulent", Status: "needs_response", DueBy: now.Add(evidenceTime).Unix(),
	}
	charge.Dispute = d.ID
	put(t, bucketStripeDisputes, d.ID, d)
	put(t, bucketStripeCharges, charge.ID, charge)
	p.index(t, "dispute", d.Account, d.ID)
	t.rebook(stripeName, intent.ID, chargeDisputed)
	p.emit(t, d.Account, "charge.dispute.created", p.viewDispute(t, d, nil), nil)
	p.emit(t, d.Account, "charge.dispute.funds_withdrawn", p.viewDispute(t, d, nil), nil)
	return nil
}

func (p *stripe) endDispute(t *tx, intent stripeIntent, charge stripeCharge, status string) error {
	d, found := get[stripeDispute](t, bucketStripeDisputes, charge.Dispute)
	if !found || d.Status == "won" || d.Status == "lost" {
		return fmt.Errorf("%w: no dispute of it is open", errNotDisputable)
	}
	d.Status = status
	put(t, bucketStripeDisputes, d.ID, d)
	booked := chargeChargedBack
	if status == "won" {
		booked = chargeCaptured
		if charge.Refunded > 0 {
			booked = chargePartiallyRefunded
		}
		p.emit(t, d.Account, "charge.dispute.funds_reinstated", p.viewDispute(t, d, nil), nil)
	}
	t.rebook(stripeName, intent.ID, booked)
	p.emit(t, d.Account, "charge.dispute.closed", p.viewDispute(t, d, nil), nil)
	return nil
}

func (p *stripe) viewDispute(t *tx, x stripeDispute, e expansion) map[string]any {
	txn := "txn_d" + strings.TrimPrefix(x.ID, "dp_")
	balances := []any{viewBalance(txn, "dispute", x.ID, x.Currency, -x.Amount, 0, x.Created)}
	if x.Status == "won" {
		balances = append(balances, viewBalance(txn+"r", "dispute_reversal", x.ID, x.Currency, x.Amount, 0, x.Created))
	}
	out := map[string]any{
		"id": x.ID, "object": "dispute", "amount": x.Amount, "balance_transactions": balances, "charge": x.Charge, "created": x.Created,
		"currency": x.Currency, "evidence": map[string]any{},
		"evidence_details":     map[string]any{"due_by": x.DueBy, "has_evidence": false, "past_due": p.s.now().Unix() > x.DueBy, "submission_count": 0},
		"is_charge_refundable": false, "livemode": false, "metadata": map[string]string{}, "network_reason_code": "10.4",
		"payment_intent":         x.Intent,
		"payment_method_details": map[string]any{"card": map[string]any{"brand": "visa", "network_reason_code": "10.4"}, "type": "card"},
		"reason":                 x.Reason, "status": x.Status,
	}
	if e.has("charge") {
		if charge, ok := get[stripeCharge](t, bucketStripeCharges, x.Charge); ok {
			out["charge"] = p.viewCharge(t, charge, e.below("charge"))
		}
	}
	return out
}

func (p *stripe) getDispute(t *tx, r *request) (map[string]any, *stripeError) {
	e, refused := expansionOf(r, "dispute", false)
	if refused != nil {
		return nil, refused
	}
	x, found := get[stripeDispute](t, bucketStripeDisputes, r.arg)
	if !found || x.Account != r.account {
		return nil, missing("dispute", r.arg, "dispute")
	}
	return p.viewDispute(t, x, e), nil
}

func (p *stripe) listDisputes(t *tx, r *request) (map[string]any, *stripeError) {
	intent, charge := r.form.str("payment_intent"), r.form.str("charge")
	return listing[stripeDispute]{
		ids: newestFirst(t, "dispute", r.account), bucket: bucketStripeDisputes, object: "dispute",
		accept: func(x stripeDispute) bool {
			return (intent == "" || x.Intent == intent) && (charge == "" || x.Charge == charge)
		},
		created: func(x stripeDispute) int64 { return x.Created },
		view:    func(x stripeDispute, e expansion) map[string]any { return p.viewDispute(t, x, e) },
	}.answer(t, r)
}
