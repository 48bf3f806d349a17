package khipu

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
)

// reconciled is what we call Khipu's one event, which has no name of its own.
const reconciled = "payment.reconciled"

// ParseNotification checks the header x-khipu-signature over the body's bytes,
// in which slashes come escaped (notifications 3.0,
// https://docs.khipu.com/payment-solutions/instant-payments/payment-webhook).
// Khipu publishes no tolerance and repeats for two days, so an old one is as
// good as a new one: it is a reason to ask, and the same event twice has one
// id. Notifications 1.3, a form with a token, are ErrUnreadable.
func (g *Gateway) ParseNotification(in payment.Delivery, _ time.Time) (payment.Notification, error) {
	header := in.Header.Get("X-Khipu-Signature")
	if header == "" && oldVersion(in.Body) {
		return payment.Notification{}, fmt.Errorf("%w: notifications of version 1.3 are not used", payment.ErrUnreadable)
	}
	signed, err := g.verify(header, in.Body)
	if err != nil {
		return payment.Notification{}, err
	}
	var e struct {
		PaymentID        string `json:"payment_id"`
		TransactionID    string `json:"transaction_id"`
		ConciliationDate string `json:"conciliation_date"`
	}
	if err := json.Unmarshal(in.Body, &e); err != nil {
		// The error of encoding/json can quote what it read.
		return payment.Notification{}, fmt.Errorf("%w: its body is not the JSON of a payment", payment.ErrUnreadable)
	}
	if !reference.MatchString(e.PaymentID) {
		return payment.Notification{}, fmt.Errorf("%w: no payment_id", payment.ErrUnreadable)
	}
	n := payment.Notification{
		EventID:   e.PaymentID + ":" + firstRunes(e.ConciliationDate, 40),
		Type:      reconciled,
		Reference: e.PaymentID,
		Signed:    true,
		Claim:     payment.OutcomeUnknown,
		Relevant:  true,
		At:        signed,
	}
	// Other programs may use the same account, with references of their own.
	if id.Valid(e.TransactionID) {
		n.PaymentID = e.TransactionID
	}
	if at, known := moment(e.ConciliationDate); known {
		n.Claim, n.At = payment.OutcomeApproved, at
	}
	return n, nil
}

func oldVersion(body []byte) bool {
	form, err := url.ParseQuery(string(body))
	return err == nil && form.Get("notification_token") != ""
}

// verify returns the moment of signing, or ErrForged. The header is
// t=<milliseconds>,s=<base64>; base64 may end in "=", so each part is cut at
// its first one.
func (g *Gateway) verify(header string, body []byte) (time.Time, error) {
	var stamp, signature string
	for part := range strings.SplitSeq(header, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch strings.TrimSpace(key) {
		case "t":
			stamp = strings.TrimSpace(value)
		case "s":
			signature = strings.TrimSpace(value)
		}
	}
	milliseconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || milliseconds < 0 {
		return time.Time{}, fmt.Errorf("%w: no time of signing", payment.ErrForged)
	}
	mac := hmac.New(sha256.New, []byte(g.config.Secret))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	// The texts are compared: more than one text decodes to the same bytes.
	if !hmac.Equal([]byte(base64.StdEncoding.EncodeToString(mac.Sum(nil))), []byte(signature)) {
		return time.Time{}, fmt.Errorf("%w: the signature does not match", payment.ErrForged)
	}
	return time.UnixMilli(milliseconds).UTC(), nil
}
