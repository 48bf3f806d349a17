package mercadopago

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/payment"
)

// ParseNotification checks the header x-signature
// (https://www.mercadopago.cl/developers/en/docs/your-integrations/notifications/webhooks).
// It signs the id in the query, the header x-request-id and a time, and nothing
// of the body: so a notification claims nothing, it says what to look at. There
// is no tolerance for the time of signing, because none is documented and
// deliveries are repeated for days.
//
// The old kind (IPN: ?topic=&id=) is not signed; it comes back as a hint with
// Signed false, whatever signature it carries.
//
// Reference is Mercado Pago's id of the payment; PaymentID is ours, which Begin
// has put into the address (see notifyURL). EventID is made of what is signed:
// the same delivery twice is one event, while a repetition by Mercado Pago has
// new ids and is another one.
func (g *Gateway) ParseNotification(in payment.Delivery, now time.Time) (payment.Notification, error) {
	n := payment.Notification{Claim: payment.OutcomeUnknown, PaymentID: ours(in.Query.Get("payment"))}
	named := in.Query.Get("data.id")
	if named == "" && in.Query.Get("topic") != "" && in.Query.Get("id") != "" {
		n.Type, n.At = in.Query.Get("topic"), now.UTC()
		return g.about(n, in.Query.Get("id"), message{})
	}
	signed, err := g.verify(in, named)
	if err != nil {
		return payment.Notification{}, err
	}
	n.Signed, n.At, n.EventID = true, signed.at, signed.event(named)
	var body message
	if err := json.Unmarshal(in.Body, &body); err != nil {
		body = message{} // it is not signed either: the query has to do
	}
	n.Type = firstOf(in.Query.Get("type"), in.Query.Get("topic"), body.Type, body.Topic)
	if n.Type == "" || named == "" {
		return payment.Notification{}, fmt.Errorf("%w: no type or no data.id", payment.ErrUnreadable)
	}
	return g.about(n, named, body)
}

// message is the body: {id, live_mode, type, date_created, user_id, api_version,
// action, data}. Of chargebacks data names the payment too.
type message struct {
	Type  string `json:"type"`
	Topic string `json:"topic"`
	Data  struct {
		PaymentID identifier `json:"payment_id"`
	} `json:"data"`
}

// about says which payment a notification names, if any. The ids of orders,
// chargebacks and claims are not payments: they are worth a look only where the
// address or the body names the payment.
func (g *Gateway) about(n payment.Notification, named string, body message) (payment.Notification, error) {
	if !topic.MatchString(n.Type) {
		return payment.Notification{}, fmt.Errorf("%w: its type", payment.ErrUnreadable)
	}
	switch n.Type {
	case "payment":
		if !isCharge(named) {
			return payment.Notification{}, fmt.Errorf("%w: a payment's id is a number", payment.ErrUnreadable)
		}
		n.Reference, n.Relevant = named, true
	case "topic_chargebacks_wh", "chargebacks":
		n.Reference = string(body.Data.PaymentID)
		n.Relevant = n.Reference != "" || n.PaymentID != ""
	case "merchant_order", "topic_merchant_order_wh", "topic_claims_integration_wh", "stop_delivery_op_wh":
		n.Relevant = n.PaymentID != ""
	}
	return n, nil
}

// signature is what the header says, once it has proved right.
type signature struct {
	request string
	stamp   string // as it was sent
	at      time.Time
}

func (s signature) event(named string) string {
	if s.request == "" {
		return named + ":" + s.stamp
	}
	return s.request + ":" + s.stamp
}

// verify compares the header with what we would have signed. The documentation
// wants letters of an id in lower case, Mercado Pago's own validators sign it as
// it came: both are tried.
func (g *Gateway) verify(in payment.Delivery, named string) (signature, error) {
	var stamp, hash string
	for pair := range strings.SplitSeq(in.Header.Get("x-signature"), ",") {
		key, value, _ := strings.Cut(pair, "=")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "ts":
			stamp = strings.TrimSpace(value)
		case "v1":
			hash = strings.TrimSpace(value)
		}
	}
	at, ok := moment(stamp)
	switch {
	case stamp == "" || hash == "":
		return signature{}, fmt.Errorf("%w: x-signature has no ts or no v1", payment.ErrForged)
	case !ok:
		return signature{}, fmt.Errorf("%w: ts is not a time", payment.ErrForged)
	}
	// A separator in a value would let one manifest stand for another.
	if strings.ContainsAny(named+in.Header.Get("x-request-id")+stamp, ";") {
		return signature{}, fmt.Errorf("%w: a separator in what is signed", payment.ErrForged)
	}
	s := signature{request: strings.TrimSpace(in.Header.Get("x-request-id")), stamp: stamp, at: at}
	for _, spelled := range []string{named, strings.ToLower(named)} {
		if hmac.Equal([]byte(g.sign(spelled, s)), []byte(hash)) {
			return s, nil
		}
	}
	return signature{}, fmt.Errorf("%w: v1 does not match", payment.ErrForged)
}

// sign is the lower-case hex HMAC-SHA256 of id:<data.id>;request-id:<id>;ts:<ts>;
// without the pairs whose value did not come.
func (g *Gateway) sign(named string, s signature) string {
	var manifest strings.Builder
	for _, pair := range [][2]string{{"id", named}, {"request-id", s.request}, {"ts", s.stamp}} {
		if pair[1] != "" {
			manifest.WriteString(pair[0] + ":" + pair[1] + ";")
		}
	}
	mac := hmac.New(sha256.New, []byte(g.config.WebhookSecret))
	mac.Write([]byte(manifest.String()))
	return hex.EncodeToString(mac.Sum(nil))
}

// moment reads ts, which is seconds in some of Mercado Pago's samples and
// milliseconds in others.
func moment(stamp string) (time.Time, bool) {
	n, err := strconv.ParseInt(stamp, 10, 64)
	switch {
	case err != nil || n <= 0 || n >= 1e15:
		return time.Time{}, false
	case n >= 1e12:
		return time.UnixMilli(n).UTC(), true
	default:
		return time.Unix(n, 0).UTC(), true
	}
}

var topic = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,60}$`)
