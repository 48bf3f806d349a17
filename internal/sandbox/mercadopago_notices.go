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
	"net/url"
	"strconv"
	"strings"
	"time"
)

// mpNotice is something that the merchant is told, at one address.
type mpNotice struct {
	Account string    `json:"account"`
	URL     string    `json:"url"`
	Topic   string    `json:"topic"`
	Action  string    `json:"action"`
	ID      string    `json:"id"`
	Payment string    `json:"payment"` // of a chargeback
	IPN     bool      `json:"ipn"`
	Created time.Time `json:"created"`
}

// notify tells of a payment, at its own address or else the account's.
func (p *mercadoPago) notify(t *tx, x mpPayment, action string) {
	conf := p.settings(t, x.Account)
	n := mpNotice{Account: x.Account, URL: x.NotificationURL, Topic: "payment", Action: action, ID: x.ID, Created: p.s.now()}
	if n.URL == "" {
		n.URL = conf.WebhookURL
	}
	p.send(t, n)
	if conf.IPNCopies {
		n.IPN = true
		p.send(t, n)
	}
}

func (p *mercadoPago) send(t *tx, n mpNotice) {
	if n.URL == "" {
		return
	}
	key := "mpn_" + strconv.FormatUint(t.next(bucketMPNotices), 10)
	put(t, bucketMPNotices, key, n)
	p.courier.post(t, delivery{Event: key, CreatedAt: time.Now().UTC()})
}

// letter is the request of one try: each has a new id, a new x-request-id and a
// new signed time, as merchants have measured.
func (p *mercadoPago) letter(t *tx, d delivery) (*http.Request, error) {
	n, found := get[mpNotice](t, bucketMPNotices, d.Event)
	if !found {
		return nil, errors.New("no such notification")
	}
	address, err := url.Parse(n.URL)
	if err != nil {
		return nil, fmt.Errorf("notification_url: %w", err)
	}
	query := address.Query()
	if n.IPN {
		query.Set("topic", n.Topic)
		query.Set("id", n.ID)
	} else {
		query.Set("data.id", n.ID)
		query.Set("type", n.Topic)
	}
	address.RawQuery = query.Encode()
	body := map[string]any{"resource": n.ID, "topic": n.Topic}
	if !n.IPN {
		data := map[string]any{"id": n.ID}
		if n.Payment != "" {
			data = map[string]any{"id": mpNumber(n.ID), "payment_id": mpNumber(n.Payment), "site_id": "MLC"}
		}
		body = map[string]any{
			"id": mpNumber("1" + randomText(10, digits)), "live_mode": false, "type": n.Topic, "date_created": n.Created.Format(time.RFC3339),
			"user_id": mpCollector(n.Account), "api_version": "v1", "action": n.Action, "data": data,
		}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode notification: %w", err)
	}
	request, err := http.NewRequest(http.MethodPost, address.String(), bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	requestID := strings.Join([]string{randomText(8, hexDigits), randomText(4, hexDigits), randomText(4, hexDigits), randomText(4, hexDigits), randomText(12, hexDigits)}, "-")
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "MercadoPago WebHook v1.0 "+n.Topic)
	request.Header.Set("X-Request-Id", requestID)
	request.Header.Set("X-Retry", strconv.Itoa(d.Attempts))
	request.Header.Set("X-Socket-Timeout", "22000")
	if !n.IPN {
		stamp := strconv.FormatInt(p.s.now().UnixMilli(), 10)
		request.Header.Set("X-Signature", "ts="+stamp+",v1="+signMercadoPago(p.settings(t, n.Account).WebhookSecret, n.ID, requestID, stamp))
	}
	return request, nil
}

// signMercadoPago is v1 of x-signature over the id in the query, the header
// x-request-id and ts (mercadopago.cl/developers, "Webhooks").
func signMercadoPago(secret, id, requestID, stamp string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("id:" + id + ";request-id:" + requestID + ";ts:" + stamp + ";"))
	return hex.EncodeToString(mac.Sum(nil))
}

func (*mercadoPago) delivered(*tx, delivery) {}

// known reports whether there is such a notification, for sending it again.
func (p *mercadoPago) known(t *tx, event string) bool {
	_, found := get[mpNotice](t, bucketMPNotices, event)
	return found
}

// dispute opens a chargeback over what the merchant has kept of a payment, or
// ends the one that is open.
func (p *mercadoPago) dispute(t *tx, key, status string) error {
	x, found := p.paidOf(t, key)
	if !found || !x.Captured {
		return fmt.Errorf("%w: no money was taken", errNotDisputable)
	}
	now := p.s.now()
	if status == "open" {
		left := x.Amount - x.given(true)
		if x.Chargeback != nil || left == 0 {
			return fmt.Errorf("%w: it was disputed before, or nothing is left of it", errNotDisputable)
		}
		x.Chargeback = &mpChargeback{ID: "2340000" + randomText(11, digits), Amount: left, Created: now, Updated: now, AnswerBy: now.Add(10 * 24 * time.Hour)}
		x.Status, x.Detail = "charged_back", "in_process"
		t.rebook(mercadoPagoName, x.ID, chargeDisputed)
	} else {
		if x.Chargeback == nil || x.Detail != "in_process" {
			return fmt.Errorf("%w: no dispute of it is open", errNotDisputable)
		}
		won := status == "won"
		x.Chargeback.Covered, x.Chargeback.Updated = &won, now
		x.Detail = "settled"
		booked := chargeChargedBack
		if won {
			x.Detail, booked = "reimbursed", chargeCaptured
			if x.given(false) > 0 {
				booked = chargePartiallyRefunded
			}
		}
		t.rebook(mercadoPagoName, x.ID, booked)
	}
	p.save(t, x)
	p.send(t, mpNotice{
		Account: x.Account, URL: p.settings(t, x.Account).WebhookURL, Topic: "topic_chargebacks_wh", Action: "chargeback." + status,
		ID: x.Chargeback.ID, Payment: x.ID, Created: now,
	})
	return nil
}

func (x mpPayment) viewChargeback() map[string]any {
	c := x.Chargeback
	return map[string]any{
		"id": c.ID, "payments": []any{mpNumber(x.ID)}, "currency": "CLP", "amount": c.Amount, "reason": "fraud", "coverage_applied": c.Covered,
		"coverage_elegible": true, "documentation_required": true, "documentation_status": "not_supplied", "documentation": []any{},
		"date_documentation_deadline": mpTime(c.AnswerBy), "date_created": mpTime(c.Created), "date_last_updated": mpTime(c.Updated), "live_mode": false,
	}
}

func (p *mercadoPago) searchChargebacks(t *tx, r *mpRequest) (int, any, *mpError) {
	x, found := get[mpPayment](t, bucketMPPayments, r.query.Get("payment_id"))
	if !found || x.Account != r.account {
		return 0, nil, mpNotFound
	}
	results := []any{}
	if x.Chargeback != nil {
		results = append(results, x.viewChargeback())
	}
	return http.StatusOK, map[string]any{"paging": map[string]int{"offset": 0, "limit": 25, "total": len(results)}, "results": results}, nil
}

func (p *mercadoPago) getChargeback(t *tx, r *mpRequest) (int, any, *mpError) {
	var out map[string]any
	each(t, bucketMPPayments, "", func(_ string, x mpPayment) bool {
		if x.Account == r.account && x.Chargeback != nil && x.Chargeback.ID == r.args[0] {
			out = x.viewChargeback()
		}
		return out == nil
	})
	if out == nil {
		return 0, nil, &mpError{status: http.StatusNotFound, message: "chargeback not found"}
	}
	return http.StatusOK, out, nil
}
