package sandbox

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// emit stores an event and, if the account listens for its type, a delivery,
// in the transaction of what caused it. r is the API call behind it, nil when
// there was none.
func (p *stripe) emit(t *tx, account, kind string, object map[string]any, r *request) {
	raw, err := json.Marshal(object)
	if err != nil {
		t.fail(fmt.Errorf("event %s: %w", kind, err))
		return
	}
	x := stripeEvent{ID: "evt_1" + randomText(23, alphanumeric), Account: account, Type: kind, Created: p.s.now().Unix(), Object: raw}
	if r != nil {
		x.RequestID, x.IdempotencyKey = r.id, r.header.Get("Idempotency-Key")
	}
	hook := p.webhook(t, account)
	if hook.WebhookURL != "" && slices.Contains(hook.Events, kind) {
		x.Pending = 1
		p.courier.post(t, delivery{Event: x.ID, CreatedAt: time.Now().UTC()})
	}
	put(t, bucketEvents, x.ID, x)
	p.index(t, "event", account, x.ID)
}

// signStripe is the value of Stripe-Signature: t=<unix>,v1=<hex HMAC-SHA256 of
// "t.body"> with the whole whsec_ text as key (docs.stripe.com/webhooks).
func signStripe(secret string, at time.Time, body []byte) string {
	unix := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(unix + "."))
	mac.Write(body)
	return "t=" + unix + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// letter is the request that brings an event to the account's endpoint, signed
// anew at each try.
func (p *stripe) letter(t *tx, d delivery) (*http.Request, error) {
	event, found := get[stripeEvent](t, bucketEvents, d.Event)
	hook := p.webhook(t, event.Account)
	if !found || hook.WebhookURL == "" {
		return nil, errors.New("no webhook endpoint is configured any more")
	}
	body, err := json.MarshalIndent(viewEvent(event), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	request, err := http.NewRequest(http.MethodPost, hook.WebhookURL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	request.Header.Set("Accept", "*/*; q=0.5, application/xml")
	request.Header.Set("Stripe-Signature", signStripe(hook.WebhookSecret, p.s.now(), body))
	return request, nil
}

// delivered marks an event that waits for no answer any more.
func (p *stripe) delivered(t *tx, d delivery) {
	if event, found := get[stripeEvent](t, bucketEvents, d.Event); found && event.Pending > 0 {
		event.Pending = 0
		put(t, bucketEvents, event.ID, event)
	}
}

// known reports whether there is such an event, for sending it again.
func (p *stripe) known(t *tx, event string) bool {
	_, found := get[stripeEvent](t, bucketEvents, event)
	return found
}
