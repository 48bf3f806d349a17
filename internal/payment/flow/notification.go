package flow

import (
	"fmt"
	"mime"
	"net/url"
	"regexp"
	"time"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
)

// Types of notification; Flow's body does not say which it is.
const (
	TypePayment = "payment"
	TypeRefund  = "refund"
)

// refundMark is the query parameter by which we tell the confirmation of a
// refund from that of a payment: both are a token and nothing else.
const refundMark = "refund"

// tokenText is what a token may look like. The samples have 40 letters and
// digits (PayResponse in the OpenAPI file); more is let through, because Flow
// promises no form.
var tokenText = regexp.MustCompile(`^[A-Za-z0-9_-]{10,128}$`)

// ParseNotification reads the form that Flow posts to urlConfirmation and
// urlCallBack: the field token, and no signature
// (https://developers.flow.cl/docs/tutorial-basics/order-confirmation). It
// proves nothing and is a reason to look. Of a refund's, RefundID is from the
// address that we gave Flow, a hint as the rest. A body without exactly one
// token of the right shape is ErrUnreadable.
func (*Gateway) ParseNotification(in payment.Delivery, now time.Time) (payment.Notification, error) {
	if kind := in.Header.Get("Content-Type"); kind != "" {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/x-www-form-urlencoded" {
			return payment.Notification{}, fmt.Errorf("%w: not a form", payment.ErrUnreadable)
		}
	}
	form, err := url.ParseQuery(string(in.Body))
	if err != nil {
		return payment.Notification{}, fmt.Errorf("%w: not a form", payment.ErrUnreadable)
	}
	tokens := form["token"]
	if len(tokens) != 1 || !tokenText.MatchString(tokens[0]) {
		return payment.Notification{}, fmt.Errorf("%w: no token", payment.ErrUnreadable)
	}
	n := payment.Notification{Type: TypePayment, Claim: payment.OutcomeUnknown, Relevant: true, At: now.UTC()}
	if !in.Query.Has(refundMark) {
		n.Reference = tokens[0]
		return n, nil
	}
	ours := in.Query[refundMark]
	if len(ours) != 1 || !id.Valid(ours[0]) {
		return payment.Notification{}, fmt.Errorf("%w: not a refund of ours", payment.ErrUnreadable)
	}
	n.Type, n.RefundID, n.RefundReference = TypeRefund, ours[0], tokens[0]
	return n, nil
}

// callback is the address that Flow is given for the news of a refund.
func callback(notifyURL, refundID string) (string, error) {
	address, err := url.Parse(notifyURL)
	if err != nil || address.Host == "" {
		return "", fmt.Errorf("the address for notifications is none")
	}
	query := address.Query()
	query.Set(refundMark, refundID)
	address.RawQuery = query.Encode()
	return address.String(), nil
}
