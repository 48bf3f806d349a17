package stacktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/sandbox"
)

// Sandbox plays a shop's providers.
type Sandbox struct {
	URL string
	t   testing.TB
}

func openSandbox(t testing.TB, apiURL string) (address string) {
	t.Helper()
	server, err := sandbox.Open(sandbox.Options{NoSync: true, StripeWebhookURL: apiURL + "/webhooks/{tenant}/stripe", WebhookBackoff: 100 * time.Millisecond, WebhookBackoffLimit: time.Second})
	require.NoError(t, err)
	web := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		// Held answers are cut first, else their connections would be waited for.
		require.NoError(t, server.Close())
		web.CloseClientConnections()
		web.Close()
	})
	// Mercado Pago tells of chargebacks at the account's address, not the payment's.
	(&Sandbox{URL: web.URL, t: t}).Configure("mercadopago", map[string]any{"webhook_url": apiURL + "/webhooks/{tenant}/mercadopago"})
	return web.URL
}

// Step is what became of a buyer's step.
type Step struct {
	Gateway        string `json:"gateway"`
	Status         string `json:"status"`
	Returned       bool   `json:"returned"`
	ReturnURL      string `json:"return_url"`
	ReturnMethod   string `json:"return_method"`
	ReturnStatus   int    `json:"return_status"`
	ReturnLocation string `json:"return_location"`
	ReturnError    string `json:"return_error"`
}

// Buyer takes a step on a payment's page; query is as the sandbox documents it.
func (s *Sandbox) Buyer(paymentID, step string, query ...string) Step {
	s.t.Helper()
	out, err := s.TryBuyer(paymentID, step, query...)
	require.NoError(s.t, err)
	return out
}

// TryBuyer is Buyer for other goroutines than the test's.
func (s *Sandbox) TryBuyer(paymentID, step string, query ...string) (out Step, err error) {
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	a, err := s.send(http.MethodPost, "/buyer/"+paymentID+"/"+step+"?"+q.Encode(), nil)
	if err != nil {
		return out, err
	}
	if a.Status != http.StatusOK {
		return out, fmt.Errorf("the sandbox answers %d to %s: %s", a.Status, step, a.Body)
	}
	return out, json.Unmarshal(a.Body, &out)
}

// Faults sets all of a provider's.
func (s *Sandbox) Faults(provider string, settings map[string]any) {
	s.t.Helper()
	s.ask(http.MethodPut, "/faults/"+provider, settings)
}

// Next asks for one fault on the next count calls of an operation.
func (s *Sandbox) Next(provider, op, kind string, count int) {
	s.t.Helper()
	s.Faults(provider, map[string]any{"next": []any{map[string]any{"op": op, "kind": kind, "count": count}}})
}

// AwaitHeld waits until the sandbox holds n answers back.
func (s *Sandbox) AwaitHeld(provider string, n int) {
	s.t.Helper()
	a := s.ask(http.MethodGet, fmt.Sprintf("/faults/%s/held?min=%d&timeout_ms=%d", provider, n, Patience.Milliseconds()), nil)
	require.True(s.t, Decode[struct {
		Reached bool `json:"reached"`
	}](s.t, a).Reached, "no answer of %s is held back", provider)
}

// Release lets the answers go that are held back.
func (s *Sandbox) Release(provider string) {
	s.t.Helper()
	s.ask(http.MethodPost, "/faults/"+provider+"/release", nil)
}

// Configure sets what a provider does.
func (s *Sandbox) Configure(provider string, settings map[string]any) {
	s.t.Helper()
	s.ask(http.MethodPut, "/config/"+provider, settings)
}

// Calls counts how often an operation of a provider was called; without
// operations, all calls.
func (s *Sandbox) Calls(provider string, operations ...string) (n int) {
	s.t.Helper()
	counts := Decode[struct {
		Calls map[string]int `json:"calls"`
	}](s.t, s.ask(http.MethodGet, "/faults/"+provider, nil)).Calls
	for operation, calls := range counts {
		if len(operations) == 0 || slices.Contains(operations, operation) {
			n += calls
		}
	}
	return n
}

// Parcel lets something happen to a carrier's parcel: handed_over, in_transit,
// out_for_delivery, delivered, delivery_failed, returned_to_sender or lost.
func (s *Sandbox) Parcel(tracking, status string) {
	s.t.Helper()
	s.ask(http.MethodPost, "/carriers/"+tracking+"/"+status, nil)
}

// Dispute has the buyer's bank open a dispute over a payment, or end it: status
// is open, won or lost.
func (s *Sandbox) Dispute(paymentID, status string) {
	s.t.Helper()
	s.ask(http.MethodPost, "/disputes/"+paymentID+"/"+status, nil)
}

// PanelRefund gives amount of a payment back as a person does in the provider's
// own panel; 0 is what is left of it.
func (s *Sandbox) PanelRefund(gateway, paymentID string, amount int64) Entry {
	s.t.Helper()
	return Decode[Entry](s.t, s.ask(http.MethodPost, "/ledger/refunds", map[string]any{"gateway": gateway, "payment_id": paymentID, "amount": amount}))
}

// EndRefund decides on a refund that is pending, or lets one fail that had
// succeeded: outcome is succeed or fail.
func (s *Sandbox) EndRefund(reference, outcome string) {
	s.t.Helper()
	s.ask(http.MethodPost, "/ledger/refunds/"+reference+"/"+outcome, nil)
}

// CardToken tokenizes a card as Mercado Pago's script does in the buyer's
// browser. The cardholder's name decides what becomes of the payment
// (https://www.mercadopago.cl/developers/es/docs/checkout-api/additional-content/your-integrations/test/cards).
func (s *Sandbox) CardToken(accessToken, cardholder string) string {
	s.t.Helper()
	a := s.ask(http.MethodPost, "/mercadopago/v1/card_tokens?public_key="+url.QueryEscape(accessToken), map[string]any{
		"card_number": TestCard, "security_code": "123", "expiration_month": 11, "expiration_year": 2035,
		"cardholder": map[string]any{"name": cardholder, "identification": map[string]string{"type": "Otro", "number": "123456789"}},
	})
	token := Decode[struct {
		ID string `json:"id"`
	}](s.t, a).ID
	secret(token)
	return token
}

// TestCard is the number of Mercado Pago's test card. It goes from the buyer's
// browser to Mercado Pago, and never to us.
const TestCard = "4168818844447115"

// Entry is money that a provider took or gave back.
type Entry struct {
	Reference string `json:"reference"`
	PaymentID string `json:"payment_id"`
	Gateway   string `json:"gateway"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Status    string `json:"status"`
}

// Ledger is what the providers believe.
type Ledger struct {
	Charges []Entry `json:"charges"`
	Refunds []Entry `json:"refunds"`
	Labels  []Label `json:"labels"`
}

// Label is a parcel that a carrier believes to have taken.
type Label struct {
	Carrier   string `json:"carrier"`
	Reference string `json:"reference"`
	Tracking  string `json:"tracking"`
	Status    string `json:"status"`
	Voided    bool   `json:"voided"`
	Account   string `json:"account"`
}

// Ledger reads it.
func (s *Sandbox) Ledger() Ledger {
	s.t.Helper()
	return Decode[Ledger](s.t, s.ask(http.MethodGet, "/ledger", nil))
}

// Events lists the ids of Stripe's events of an account, the newest first.
func (s *Sandbox) Events(secretKey string) []string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+"/stripe/v1/events?limit=100", nil)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer "+secretKey)
	a, err := send(req)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, a.Status, "%s", a.Body)
	list := Decode[struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}](s.t, a)
	var ids []string
	for _, e := range list.Data {
		ids = append(ids, e.ID)
	}
	return ids
}

// Resend sends one of Stripe's events once more.
func (s *Sandbox) Resend(eventID string) {
	s.t.Helper()
	s.ResendNotice("stripe", eventID)
}

// ResendNotice has a provider tell of an event once more.
func (s *Sandbox) ResendNotice(provider, event string) {
	s.t.Helper()
	s.ask(http.MethodPost, "/events/"+provider+"/"+event+"/resend", nil)
}

// Letter is the request of a notification.
type Letter struct {
	Method string      `json:"method"`
	URL    string      `json:"url"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

// Clone is a copy to be changed.
func (l Letter) Clone() Letter {
	l.Header = l.Header.Clone()
	return l
}

// Notices lists the events that a provider has told of, or would have, had no
// fault dropped them; the oldest first.
func (s *Sandbox) Notices(provider string) []string {
	s.t.Helper()
	return Decode[struct {
		Events []string `json:"events"`
	}](s.t, s.ask(http.MethodGet, "/events/"+provider, nil)).Events
}

// Letter is the genuine request, signed as of now, that tells of an event.
func (s *Sandbox) Letter(provider, event string) Letter {
	s.t.Helper()
	return Decode[Letter](s.t, s.ask(http.MethodGet, "/events/"+provider+"/"+event, nil))
}

// Letters are those of all events of a provider.
func (s *Sandbox) Letters(provider string) (out []Letter) {
	s.t.Helper()
	for _, event := range s.Notices(provider) {
		out = append(out, s.Letter(provider, event))
	}
	return out
}

// Post delivers a letter, or what somebody has made of one.
func (s *Sandbox) Post(l Letter) Answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), l.Method, l.URL, strings.NewReader(l.Body))
	require.NoError(s.t, err)
	req.Header = l.Header.Clone()
	a, err := send(req)
	require.NoError(s.t, err)
	return a
}

func (s *Sandbox) ask(method, path string, body any) Answer {
	s.t.Helper()
	a, err := s.send(method, path, body)
	require.NoError(s.t, err)
	require.Less(s.t, a.Status, 300, "%s %s: %s", method, path, a.Body)
	return a
}

func (s *Sandbox) send(method, path string, body any) (Answer, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return Answer{}, err
	}
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, bytes.NewReader(raw))
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return send(req)
}
