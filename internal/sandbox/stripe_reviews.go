package sandbox

import "net/http"

// stripeReview is a payment that Radar holds up for a person.
type stripeReview struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	Intent  string `json:"intent"`
	Charge  string `json:"charge"`
	Created int64  `json:"created"`
	Open    bool   `json:"open"`
	Closed  string `json:"closed"` // reason
}

// openReview puts a payment under review, as an account's rules ask for where
// the risk is elevated (docs.stripe.com/radar/reviews).
func (p *stripe) openReview(t *tx, intent *stripeIntent, charge stripeCharge) {
	x := stripeReview{ID: "prv_1" + randomText(23, alphanumeric), Account: intent.Account, Intent: intent.ID, Charge: charge.ID, Created: p.s.now().Unix(), Open: true}
	intent.Review = x.ID
	put(t, bucketStripeReviews, x.ID, x)
	p.emit(t, x.Account, "review.opened", viewReview(x), nil)
}

// closeReview ends the review of a payment, if one is open.
func (p *stripe) closeReview(t *tx, id, reason string, r *request) {
	x, found := get[stripeReview](t, bucketStripeReviews, id)
	if !found || !x.Open {
		return
	}
	x.Open, x.Closed = false, reason
	put(t, bucketStripeReviews, x.ID, x)
	p.emit(t, x.Account, "review.closed", viewReview(x), r)
}

func viewReview(x stripeReview) map[string]any {
	reason := x.Closed
	if x.Open {
		reason = "rule"
	}
	return map[string]any{
		"id": x.ID, "object": "review", "billing_zip": nil, "charge": x.Charge, "closed_reason": orNull(x.Closed), "created": x.Created,
		"ip_address": nil, "ip_address_location": nil, "livemode": false, "open": x.Open, "opened_reason": "rule",
		"payment_intent": x.Intent, "reason": reason, "session": nil,
	}
}

func (p *stripe) getReview(t *tx, r *request) (map[string]any, *stripeError) {
	x, refused := p.review(t, r)
	if refused != nil {
		return nil, refused
	}
	return viewReview(x), nil
}

func (p *stripe) approveReview(t *tx, r *request) (map[string]any, *stripeError) {
	x, refused := p.review(t, r)
	if refused != nil {
		return nil, refused
	}
	if !x.Open {
		return nil, &stripeError{status: http.StatusBadRequest, executed: true, message: "This review is already closed."}
	}
	p.closeReview(t, x.ID, "approved", r)
	x, _ = get[stripeReview](t, bucketStripeReviews, x.ID)
	return viewReview(x), nil
}

func (p *stripe) review(t *tx, r *request) (stripeReview, *stripeError) {
	x, found := get[stripeReview](t, bucketStripeReviews, r.arg)
	if !found || x.Account != r.account {
		return x, missing("review", r.arg, "review")
	}
	return x, nil
}
