package stripe

import (
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	stripesdk "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhook"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
)

// ParseNotification checks the header Stripe-Signature over body
// (https://docs.stripe.com/webhooks#verify-manually): one of its v1 signatures
// must be ours, several stand there while the secret is being rotated. A
// genuine one from more than 300 seconds before now is ErrStale. Stripe-go has
// the same check, but only by the machine's clock, and it refuses events of
// another API version; those are accepted here as a hint: Claim is then
// OutcomeUnknown, whatever they say.
//
// Reference is the session's id for checkout.session events and the payment
// intent's for all others.
func (g *Gateway) ParseNotification(in payment.Delivery, now time.Time) (payment.Notification, error) {
	signed, err := g.verify(in.Header.Get("Stripe-Signature"), in.Body)
	if err != nil {
		return payment.Notification{}, err
	}
	if now.Sub(signed) > webhook.DefaultTolerance {
		return payment.Notification{}, fmt.Errorf("%w: signed at %s", payment.ErrStale, signed.UTC().Format(time.RFC3339))
	}
	var e event
	if err := json.Unmarshal(in.Body, &e); err != nil {
		return payment.Notification{}, fmt.Errorf("%w: %w", payment.ErrUnreadable, err)
	}
	if e.ID == "" || e.Type == "" {
		return payment.Notification{}, fmt.Errorf("%w: no id or type", payment.ErrUnreadable)
	}
	n := payment.Notification{
		EventID:  e.ID,
		Type:     e.Type,
		Signed:   true,
		Claim:    payment.OutcomeUnknown,
		Relevant: relevant(e.Type),
		At:       time.Unix(e.Created, 0).UTC(),
	}
	if !n.Relevant {
		return n, nil
	}
	var o object
	if err := json.Unmarshal(e.Data.Object, &o); err != nil {
		return payment.Notification{}, fmt.Errorf("%w: its object: %w", payment.ErrUnreadable, err)
	}
	n.Reference = string(o.PaymentIntent)
	if o.Object == "checkout.session" || o.Object == "payment_intent" {
		n.Reference = o.ID
	}
	n.PaymentID = ours(o.Metadata)
	if id.Valid(o.ClientReferenceID) {
		n.PaymentID = o.ClientReferenceID
	}
	if o.Object == "refund" {
		n.RefundReference = o.ID
		if refundID := o.Metadata["refund_id"]; id.Valid(refundID) {
			n.RefundID = refundID
		}
	}
	if e.APIVersion == stripesdk.APIVersion {
		n.Claim = claim(e.Type, o)
	}
	return n, nil
}

// verify returns the moment of signing, or ErrForged.
func (g *Gateway) verify(header string, body []byte) (time.Time, error) {
	var stamp string
	var signatures [][]byte
	for pair := range strings.SplitSeq(header, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return time.Time{}, fmt.Errorf("%w: the header cannot be read", payment.ErrForged)
		}
		switch strings.TrimSpace(key) {
		case "t":
			stamp = value
		case "v1":
			if signature, err := hex.DecodeString(value); err == nil {
				signatures = append(signatures, signature)
			}
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: no time of signing", payment.ErrForged)
	}
	signed := time.Unix(seconds, 0)
	expected := webhook.ComputeSignature(signed, body, g.config.WebhookSecret)
	for _, signature := range signatures {
		if hmac.Equal(expected, signature) {
			return signed, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: no v1 signature matches", payment.ErrForged)
}

// ours is our payment id in an object's metadata. Other programs may use the
// same account, with references of their own.
func ours(metadata map[string]string) string {
	if paymentID := metadata["payment_id"]; id.Valid(paymentID) {
		return paymentID
	}
	return ""
}

// event is as much of an Event as every API version has.
type event struct {
	ID         string `json:"id"`
	Type       string `json:"type"`
	APIVersion string `json:"api_version"`
	Created    int64  `json:"created"`
	Data       struct {
		Object json.RawMessage `json:"object"`
	} `json:"data"`
}

// object is the part that sessions, intents, charges, refunds and disputes
// share.
type object struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	ClientReferenceID string            `json:"client_reference_id"`
	Metadata          map[string]string `json:"metadata"`
	PaymentIntent     expandable        `json:"payment_intent"`
	PaymentStatus     string            `json:"payment_status"`
}

// expandable is the id of an object that is sent as its id, whole, or as null.
type expandable string

func (x *expandable) UnmarshalJSON(raw []byte) error {
	var text *string
	if json.Unmarshal(raw, &text) == nil {
		if text != nil {
			*x = expandable(*text)
		}
		return nil
	}
	var whole struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(raw, &whole); err != nil {
		return err
	}
	*x = expandable(whole.ID)
	return nil
}

func relevant(kind string) bool {
	switch kind {
	case "checkout.session.completed", "checkout.session.expired",
		"checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed",
		"payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled",
		"payment_intent.amount_capturable_updated", "payment_intent.processing",
		"charge.captured", "charge.expired", "charge.refunded", "charge.refund.updated", "refund.created", "refund.updated", "refund.failed",
		"review.opened", "review.closed":
		return true
	}
	return strings.HasPrefix(kind, "charge.dispute.")
}

// claim is what an event says of the payment; refunds and disputes say nothing
// of whether it was paid.
func claim(kind string, o object) payment.Outcome {
	switch kind {
	case "checkout.session.completed":
		if o.PaymentStatus == string(stripesdk.CheckoutSessionPaymentStatusUnpaid) {
			return payment.OutcomePending
		}
		return payment.OutcomeApproved
	case "checkout.session.async_payment_succeeded", "payment_intent.succeeded", "payment_intent.amount_capturable_updated":
		return payment.OutcomeApproved
	case "checkout.session.expired", "checkout.session.async_payment_failed", "payment_intent.payment_failed", "payment_intent.canceled":
		return payment.OutcomeDeclined
	case "payment_intent.processing":
		return payment.OutcomePending
	default:
		return payment.OutcomeUnknown
	}
}
