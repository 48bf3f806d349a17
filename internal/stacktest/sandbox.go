package stacktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	return web.URL
}

// Step is what became of a buyer's step.
type Step struct {
	Status         string `json:"status"`
	Returned       bool   `json:"returned"`
	ReturnURL      string `json:"return_url"`
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

// Entry is money that a provider took or gave back.
type Entry struct {
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
	s.ask(http.MethodPost, "/events/stripe/"+eventID+"/resend", nil)
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
	return send(req)
}
