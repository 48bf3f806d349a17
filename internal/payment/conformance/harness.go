// Package conformance is the suite that every payment adapter passes: it runs
// an adapter against the sandbox's stand-in of its provider, lets a buyer act,
// breaks connections before, during and after each effect, and compares what
// the adapter says with the sandbox's ledger. A new provider is one more call
// of Run.
package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/sandbox"
)

// Provider is what the suite must know of an adapter beside its Capabilities.
type Provider struct {
	Name payment.Name
	// New makes the adapter of the demo account; base is the provider's base
	// URL at the sandbox.
	New func(t *testing.T, base string) payment.Gateway
	// NewRefused makes one whose credentials the provider refuses.
	NewRefused func(t *testing.T, base string) payment.Gateway
	// Account is the receiver that approvals must name.
	Account string
	// Operations are the sandbox's names for the provider's calls.
	Operations Operations
	// DeclineEnds: a declined card ends the attempt; otherwise the buyer may
	// try another on the same page.
	DeclineEnds bool
	// AbortEnds: pressing cancel ends the attempt.
	AbortEnds bool
	// FormErrors: the provider's page can break and send the buyer back.
	FormErrors bool
	// RefundsAreIdempotent: a refund repeated under its id has one effect even
	// without a question in between.
	RefundsAreIdempotent bool
	// RefundsCanFailLater: a refund that succeeded may fail days later.
	RefundsCanFailLater bool
	// NewDeferred, when set, makes an adapter whose approvals are only
	// authorized.
	NewDeferred func(t *testing.T, base string) payment.Gateway
	// OneReturn: the way back is the same however the buyer left the page.
	OneReturn bool
	// NoCards: approvals name no card, for the buyer pays by transfer.
	NoCards bool
	// Signs is what a signed notification's signature covers.
	Signs Signs
	// NeverStale: the provider documents no tolerance, so an old notification
	// is as good as a new one.
	NeverStale bool
	// RefundsUntraced: a refund can be asked about only by the provider's name of
	// it, so that one whose answer was lost stays in doubt.
	RefundsUntraced bool
	// RefundsUntold: neither a payment nor the statement tells of refunds.
	RefundsUntold bool
	// EventIDsDiffer: a notification that is sent again has another id, or none.
	EventIDsDiffer bool
	// Token makes a single-use token of a card that approves or declines, as
	// the provider's script would in the storefront. Needed where
	// Capabilities.Tokens is set.
	Token func(t *testing.T, sandbox string, approves bool) string
	// Settings, when set, are what PUT /config/{name} of the sandbox gets before
	// each case, for a provider whose own pace is slower than a test's.
	Settings map[string]any
	// PaidTwice, when set, are settings of the sandbox under which a page that was
	// paid takes another payment, under the same reference of ours.
	PaidTwice map[string]any
	// TellsLostOnly: the provider tells of a dispute only when it is lost, and
	// notifies nobody.
	TellsLostOnly bool
}

// Signs names the parts of a notification that the provider signs, the
// signature itself among them: a byte changed in any of them is a forgery.
type Signs struct {
	Headers []string
	Query   []string
	Body    bool
}

// Operations of a provider; Close is empty where Capabilities.CloseIsOurs,
// Capture and Cancel are where there is no NewDeferred. Token is the Begin of a
// payment by token.
type Operations struct {
	Begin, Settle, Lookup, Close, Refund, LookupRefund, Capture, Cancel, Token string
}

// bundle is one test's sandbox, merchant and adapter.
type bundle struct {
	t        *testing.T
	provider Provider
	gateway  payment.Gateway
	sandbox  string // URL
	merchant *merchant
	later    *atomic.Int64 // how far the sandbox's clock is ahead of ours
}

// pass lets time go by at the provider.
func (b *bundle) pass(d time.Duration) { b.later.Add(int64(d)) }

// merchant is where the provider sends browsers and notifications.
type merchant struct {
	server *httptest.Server

	mu      sync.Mutex
	returns map[string]url.Values // by payment id, the newest
	notes   []note
}

// note is a notification as it came.
type note struct {
	header http.Header
	query  url.Values
	body   []byte
}

// delivery is a copy: a test that forges one leaves the note as it came.
func (n note) delivery() payment.Delivery {
	return payment.Delivery{Header: n.header.Clone(), Query: url.Values(http.Header(n.query).Clone()), Body: bytes.Clone(n.body)}
}

func (m *merchant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.URL.Path == "/webhook" {
		m.notes = append(m.notes, note{r.Header, r.URL.Query(), body})
		return
	}
	params := r.URL.Query()
	if r.Method == http.MethodPost {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for name, values := range form {
			params[name] = append(params[name], values...)
		}
	}
	m.returns[r.URL.Path] = params
}

func setup(t *testing.T, p Provider) *bundle {
	t.Helper()
	m := &merchant{returns: map[string]url.Values{}}
	m.server = httptest.NewServer(m)
	t.Cleanup(m.server.Close)
	var later atomic.Int64
	s, err := sandbox.Open(sandbox.Options{
		Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
		Dir:   t.TempDir(), NoSync: true, StripeWebhookURL: m.server.URL + "/webhook",
		WebhookBackoff: 20 * time.Millisecond, AnswerLimit: 5 * time.Second,
	})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		server.Close()
	})
	b := &bundle{
		t: t, provider: p, sandbox: server.URL, merchant: m, later: &later,
		gateway: p.New(t, server.URL+"/"+string(p.Name)),
	}
	if p.Settings != nil {
		status, body := b.send(http.MethodPut, "/config/"+string(p.Name), p.Settings)
		require.Equal(t, http.StatusOK, status, "%s", body)
	}
	return b
}

// intent is a new payment of 29,970 pesos.
func (b *bundle) intent() payment.Intent {
	paymentID := id.New()
	return payment.Intent{
		PaymentID: paymentID, Tenant: "demo", Number: "DEMO-000123", Amount: 29970, Currency: money.CLP,
		Description: "Pedido DEMO-000123", ReturnURL: b.merchant.server.URL + "/return/" + paymentID,
		Deadline: time.Now().Add(15 * time.Minute).UTC(), At: time.Now().UTC(), Email: "ana@example.cl", RUT: "11.111.111-1",
		NotifyURL: b.merchant.server.URL + "/webhook",
	}
}

// begin begins a payment that works.
func (b *bundle) begin() payment.Attempt {
	b.t.Helper()
	in := b.intent()
	a, err := b.gateway.Begin(b.t.Context(), in, payment.Untried)
	require.NoError(b.t, err)
	return b.begun(in, a)
}

// begun checks Begin's answer and makes the attempt of it.
func (b *bundle) begun(in payment.Intent, a payment.Answer) payment.Attempt {
	b.t.Helper()
	require.Equal(b.t, payment.OutcomePending, a.Outcome, "code %s", a.Code)
	require.NotEmpty(b.t, a.Reference)
	require.NotNil(b.t, a.Redirect)
	require.True(b.t, a.ExpiresAt.After(time.Now()), "the link has died before it was born")
	return payment.Attempt{
		PaymentID: in.PaymentID, Reference: a.Reference, CaptureRef: a.CaptureRef,
		Amount: in.Amount, Currency: in.Currency, BegunAt: time.Now().UTC(),
	}
}

// pay lets the buyer approve and settles; the attempt comes back with what
// captures and refunds need.
func (b *bundle) pay() payment.Attempt {
	b.t.Helper()
	at := b.begin()
	b.buyer(at, "approve")
	a, err := b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	at.CaptureRef = a.CaptureRef
	return at
}

// buyer takes a step on the provider's page, which must be open.
func (b *bundle) buyer(at payment.Attempt, step string) {
	b.t.Helper()
	require.Equal(b.t, http.StatusOK, b.tries(at, step), "step %s", step)
}

// tries takes a step and returns the sandbox's status.
func (b *bundle) tries(at payment.Attempt, step string) int {
	b.t.Helper()
	status, _ := b.send(http.MethodPost, "/buyer/"+at.PaymentID+"/"+step, nil)
	return status
}

// returned is the newest way back of the buyer, read by the adapter.
func (b *bundle) returned(at payment.Attempt) payment.Return {
	b.t.Helper()
	ret, err := b.gateway.ParseReturn(at, b.params(at))
	require.NoError(b.t, err)
	return ret
}

func (b *bundle) params(at payment.Attempt) url.Values {
	b.merchant.mu.Lock()
	defer b.merchant.mu.Unlock()
	return b.merchant.returns["/return/"+at.PaymentID]
}

// lookup asks, which must work.
func (b *bundle) lookup(at payment.Attempt) (payment.Looked, payment.Answer) {
	b.t.Helper()
	looked, err := b.gateway.Lookup(b.t.Context(), at)
	require.NoError(b.t, err)
	a, asked := looked.Answer()
	require.True(b.t, asked, "a Lookup without an error was answered")
	return looked, a
}

// lookupRefund asks for a refund, which must work.
func (b *bundle) lookupRefund(in payment.RefundIntent) (payment.LookedRefund, payment.RefundAnswer) {
	b.t.Helper()
	looked, err := b.gateway.LookupRefund(b.t.Context(), in)
	require.NoError(b.t, err)
	a, asked := looked.Answer()
	require.True(b.t, asked)
	return looked, a
}

// refundOf is a new refund of ours; before is what was given back already.
func (b *bundle) refundOf(at payment.Attempt, amount, before int64) payment.RefundIntent {
	return payment.RefundIntent{
		RefundID: id.New(), Attempt: at, Amount: amount, Currency: at.Currency, Reason: "late_payment", RefundedBefore: before,
		Email: "ana@example.cl", NotifyURL: b.merchant.server.URL + "/webhook",
	}
}

// refunded brings what Refund or LookupRefund answered to its end: one that the
// provider has only accepted (Capabilities.RefundsLater) goes through there.
func (b *bundle) refunded(in payment.RefundIntent, a payment.RefundAnswer) payment.RefundAnswer {
	b.t.Helper()
	if a.Outcome != payment.OutcomePending {
		require.Equal(b.t, payment.OutcomeApproved, a.Outcome, "code %s: %s", a.Code, a.Message)
		return a
	}
	require.True(b.t, b.gateway.Capabilities().RefundsLater, "only who says so may be late")
	require.NotEmpty(b.t, a.Reference)
	status, body := b.send(http.MethodPost, "/ledger/refunds/"+url.PathEscape(a.Reference)+"/succeed", nil)
	require.Equal(b.t, http.StatusOK, status, "%s", body)
	in.Reference = a.Reference
	_, said := b.lookupRefund(in)
	require.Equal(b.t, payment.OutcomeApproved, said.Outcome, "code %s", said.Code)
	return said
}

// fault makes the next call of operation go wrong in one way.
func (b *bundle) fault(operation, kind string) {
	b.t.Helper()
	b.faults(map[string]any{"next": []map[string]any{{"op": operation, "kind": kind, "count": 1}}})
}

func (b *bundle) faults(settings map[string]any) {
	b.t.Helper()
	status, body := b.send(http.MethodPut, "/faults/"+string(b.provider.Name), settings)
	require.Equal(b.t, http.StatusOK, status, "%s", body)
}

func (b *bundle) calm() {
	b.t.Helper()
	status, _ := b.send(http.MethodDelete, "/faults/"+string(b.provider.Name), nil)
	require.Equal(b.t, http.StatusNoContent, status)
}

// patience is a context that gives up where a fault lets an answer never come.
func (b *bundle) patience(fault string) context.Context {
	if fault != "timeout_after_effect" {
		return b.t.Context()
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
	b.t.Cleanup(cancel)
	return ctx
}

// entry is a charge or a refund of the sandbox's ledger.
type entry struct {
	PaymentID string `json:"payment_id"`
	Gateway   string `json:"gateway"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Status    string `json:"status"`
	Account   string `json:"account"`
	Reference string `json:"reference"`
}

// ledger is what the outside world believes happened to a payment.
func (b *bundle) ledger(at payment.Attempt) (charges, refunds []entry) {
	b.t.Helper()
	status, body := b.send(http.MethodGet, "/ledger", nil)
	require.Equal(b.t, http.StatusOK, status)
	var all struct {
		Charges []entry `json:"charges"`
		Refunds []entry `json:"refunds"`
	}
	require.NoError(b.t, json.Unmarshal(body, &all))
	own := func(entries []entry) (out []entry) {
		for _, e := range entries {
			if e.PaymentID == at.PaymentID {
				out = append(out, e)
			}
		}
		return out
	}
	return own(all.Charges), own(all.Refunds)
}

// charged demands n charges of the whole amount.
func (b *bundle) charged(at payment.Attempt, n int) {
	b.t.Helper()
	charges, _ := b.ledger(at)
	require.Len(b.t, charges, n, "charges in the ledger")
	for _, c := range charges {
		require.Equal(b.t, at.Amount, c.Amount)
		require.Equal(b.t, string(at.Currency), c.Currency)
	}
}

// givenBack demands n refunds that sum up to amount, under way or done.
func (b *bundle) givenBack(at payment.Attempt, n int, amount int64) {
	b.t.Helper()
	_, refunds := b.ledger(at)
	require.Len(b.t, refunds, n, "refunds in the ledger")
	var sum int64
	for _, r := range refunds {
		sum += r.Amount
	}
	require.Equal(b.t, amount, sum)
}

// notifications waits until n have come.
func (b *bundle) notifications(n int) []note {
	b.t.Helper()
	var notes []note
	require.Eventually(b.t, func() bool {
		b.merchant.mu.Lock()
		defer b.merchant.mu.Unlock()
		notes = append(notes[:0], b.merchant.notes...)
		return len(notes) >= n
	}, 10*time.Second, 5*time.Millisecond, "notifications")
	return notes
}

func (b *bundle) send(method, path string, in any) (int, []byte) {
	b.t.Helper()
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		require.NoError(b.t, err)
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.sandbox+path, body)
	require.NoError(b.t, err)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	raw, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	require.NoError(b.t, resp.Body.Close())
	return resp.StatusCode, raw
}

// failed demands a failure of one of the classes.
func failed(t *testing.T, err error, classes ...payment.Class) *payment.Failure {
	t.Helper()
	var f *payment.Failure
	require.ErrorAs(t, err, &f)
	require.Contains(t, classes, f.Class, "%v", err)
	return f
}
