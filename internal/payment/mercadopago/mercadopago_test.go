package mercadopago_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/mercadopago"
	"justlogistics/internal/sandbox"
)

// seen is a request as the provider gets it.
type seen struct {
	method, path, query string
	header              http.Header
	body                map[string]any
}

// provider is a server of which a test says what it answers.
type provider struct {
	url     string
	mu      sync.Mutex
	calls   []seen
	answers map[string]func(http.ResponseWriter) // by method and path
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{answers: map[string]func(http.ResponseWriter){}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s := seen{method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, header: r.Header}
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &s.body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
		}
		p.mu.Lock()
		p.calls = append(p.calls, s)
		answer := p.answers[r.Method+" "+r.URL.Path]
		p.mu.Unlock()
		if answer == nil {
			w.WriteHeader(http.StatusNotImplemented)
			return
		}
		answer(w)
	}))
	t.Cleanup(server.Close)
	p.url = server.URL + "/api"
	return p
}

func (p *provider) on(route string, status int, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	method, path, _ := strings.Cut(route, " ")
	p.answers[method+" /api"+path] = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func (p *provider) seen() []seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]seen(nil), p.calls...)
}

func gateway(t *testing.T, cfg mercadopago.Config) *mercadopago.Gateway {
	t.Helper()
	if cfg.AccessToken == "" {
		cfg.AccessToken = accessToken
	}
	if cfg.WebhookSecret == "" {
		cfg.WebhookSecret = webhookSecret
	}
	g, err := mercadopago.New(cfg, httpclient.New(httpclient.Options{Timeout: 5 * time.Second}))
	require.NoError(t, err)
	return g
}

func intent() payment.Intent {
	paymentID := id.New()
	return payment.Intent{
		PaymentID: paymentID, Tenant: "demo", Number: "DEMO-000123", Amount: 29970, Currency: money.CLP, Description: "Pedido DEMO-000123",
		ReturnURL: "https://shop.example/return/" + paymentID, NotifyURL: "https://shop.example/webhooks/demo/mercadopago",
		Deadline: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), At: time.Now().UTC(), Email: "ana@example.cl", RUT: "12.345.678-k",
	}
}

const (
	preferenceAnswer = `{"id":"335829814-aa","init_point":"https://www.mercadopago.cl/checkout/v1/redirect?pref_id=335829814-aa","collector_id":335829814}`
	approvedAnswer   = `{"id":7,"status":"approved","status_detail":"accredited","currency_id":"CLP","transaction_amount":29970,"external_reference":"%s","collector_id":335829814}`
)

func TestBegin_AsksForAPageThatDiesWithTheHold(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.on("POST /checkout/preferences", 201, preferenceAnswer)
	in := intent()
	in.Installments, in.Method = 6, "visa"
	a, err := gateway(t, mercadopago.Config{BaseURL: p.url, CollectorID: collectorID}).Begin(t.Context(), in, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.Equal(t, "335829814-aa", a.Reference)
	require.Equal(t, collectorID, a.Account)
	require.Equal(t, http.MethodGet, a.Redirect.Method)
	require.Equal(t, in.Deadline, a.ExpiresAt)

	calls := p.seen()
	require.Len(t, calls, 1)
	require.Equal(t, in.PaymentID, calls[0].header.Get("X-Idempotency-Key"), "ours, not the SDK's random one")
	require.Equal(t, "Bearer "+accessToken, calls[0].header.Get("Authorization"))
	body := calls[0].body
	require.Equal(t, in.PaymentID, body["external_reference"])
	require.Equal(t, true, body["expires"])
	require.Equal(t, "2027-01-02T03:04:05.000+00:00", body["expiration_date_to"])
	require.Equal(t, body["expiration_date_to"], body["date_of_expiration"])
	require.Equal(t, "approved", body["auto_return"])
	require.Equal(t, map[string]any{"success": in.ReturnURL, "pending": in.ReturnURL, "failure": in.ReturnURL}, body["back_urls"])
	require.Equal(t, true, body["binary_mode"])
	item := body["items"].([]any)[0].(map[string]any)
	require.EqualValues(t, 29970, item["unit_price"])
	require.EqualValues(t, 1, item["quantity"])
	require.Equal(t, "CLP", item["currency_id"])
	methods := body["payment_methods"].(map[string]any)
	require.EqualValues(t, 6, methods["installments"])
	require.Equal(t, "visa", methods["default_payment_method_id"])
	notify, err := url.Parse(body["notification_url"].(string))
	require.NoError(t, err)
	require.Equal(t, in.PaymentID, notify.Query().Get("payment"))
	require.Equal(t, "webhooks", notify.Query().Get("source_news"))
}

func TestBegin_ATokenIsChargedUnderOurKey(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	in := intent()
	in.Token, in.Method, in.Installments = "tok", "visa", 3
	p.on("POST /v1/payments", 201, fmt.Sprintf(approvedAnswer, in.PaymentID))
	a, err := gateway(t, mercadopago.Config{BaseURL: p.url}).Begin(t.Context(), in, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.Equal(t, "7", a.Reference)
	require.Equal(t, "7", a.CaptureRef)
	require.Nil(t, a.Redirect)
	call := p.seen()[0]
	require.Equal(t, in.PaymentID, call.header.Get("X-Idempotency-Key"))
	require.NotContains(t, call.body, "capture", "Mercado Pago captures by itself")
	require.Equal(t, map[string]any{"email": in.Email, "identification": map[string]any{"type": "RUT", "number": "12345678K"}}, call.body["payer"])
	require.EqualValues(t, 3, call.body["installments"])
}

func TestBegin_ManualCaptureSaysSoAlthoughTheSDKCannot(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	in := intent()
	in.Token, in.Method = "tok", "visa"
	p.on("POST /v1/payments", 201, strings.Replace(fmt.Sprintf(approvedAnswer, in.PaymentID), "approved", "authorized", 1))
	g := gateway(t, mercadopago.Config{BaseURL: p.url, Capture: mercadopago.CaptureManual})
	require.True(t, g.Capabilities().DefersCapture)
	a, err := g.Begin(t.Context(), in, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.False(t, a.Captured)
	require.Equal(t, false, p.seen()[0].body["capture"])

	in.Token = ""
	_, err = g.Begin(t.Context(), in, payment.Untried)
	requireFailure(t, err, payment.ClassInvalid, mercadopago.CodeNeedsToken)
	require.Len(t, p.seen(), 1)
}

func TestBegin_AChallengeIsTheOnlyRedirectOfAToken(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.on("POST /v1/payments", 201, `{"id":7,"status":"pending","status_detail":"pending_challenge","currency_id":"CLP","transaction_amount":29970,
		"three_ds_info":{"external_resource_url":"https://acs.example/challenge","creq":"eyJ"}}`)
	in := intent()
	in.Token, in.Method = "tok", "master"
	a, err := gateway(t, mercadopago.Config{BaseURL: p.url, ThreeDSecure: true}).Begin(t.Context(), in, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.Equal(t, &payment.Redirect{URL: "https://acs.example/challenge", Method: http.MethodPost, Fields: map[string]string{"creq": "eyJ"}}, a.Redirect)
	require.Equal(t, "optional", p.seen()[0].body["three_d_secure_mode"])
}

func TestCalls_AreSentOnceWhateverComesBack(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]struct {
		class payment.Class // empty: in doubt
		code  string
	}{
		400: {payment.ClassInvalid, "4292"}, 401: {payment.ClassCredentials, "4292"}, 403: {payment.ClassCredentials, "4292"},
		404: {payment.ClassInvalid, "4292"}, 429: {payment.ClassRateLimited, "4292"}, 409: {code: "4292"}, 423: {code: "4292"},
		500: {code: "4292"}, 502: {code: "4292"}, 503: {code: "4292"}, 504: {code: "4292"}, 302: {code: "http_302"},
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			p.on("POST /v1/payments", status, `{"message":"no","error":"bad_request","status":400,"cause":[{"code":4292,"description":"key of ana@example.cl 4168818844447115"}]}`)
			in := intent()
			in.Token, in.Method = "tok", "visa"
			a, err := gateway(t, mercadopago.Config{BaseURL: p.url}).Begin(t.Context(), in, payment.Untried)
			require.Len(t, p.seen(), 1, "no retries")
			if want.class == "" {
				require.NoError(t, err)
				require.Equal(t, payment.OutcomeUnknown, a.Outcome)
				require.Equal(t, want.code, a.Code)
				return
			}
			f := requireFailure(t, err, want.class, want.code)
			require.NotContains(t, f.Error(), "ana@example.cl")
			require.NotContains(t, f.Error(), "4168818844447115")
		})
	}
}

func TestCalls_AnAnswerThatCannotBeReadIsADoubt(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"no JSON":              `<html>`,
		"cut":                  `{"id":7,"sta`,
		"nothing":              ``,
		"another shape":        `[]`,
		"more than is allowed": `{"id":7,"x":"` + strings.Repeat("x", 2<<20) + `"}`,
		"no id":                `{"status":"approved"}`,
		"an amount in words":   `{"id":7,"status":"approved","currency_id":"CLP","transaction_amount":"much"}`,
		"half a peso":          `{"id":7,"status":"approved","currency_id":"CLP","transaction_amount":0.5}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			p.on("POST /v1/payments", 201, body)
			in := intent()
			in.Token, in.Method = "tok", "visa"
			a, err := gateway(t, mercadopago.Config{BaseURL: p.url}).Begin(t.Context(), in, payment.Untried)
			require.NoError(t, err)
			require.Equal(t, payment.OutcomeUnknown, a.Outcome)
			require.NotEmpty(t, a.Code)
		})
	}
}

func TestCalls_WhatTheSDKCannotDecodeIsReadAllTheSame(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	in := intent()
	in.Token, in.Method = "tok", "visa"
	p.on("POST /v1/payments", 201, strings.Replace(fmt.Sprintf(approvedAnswer, in.PaymentID), `"id":7`, `"id":7,"date_of_expiration":"","issuer_id":24`, 1))
	a, err := gateway(t, mercadopago.Config{BaseURL: p.url}).Begin(t.Context(), in, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
}

func TestRefund_CarriesItsIDAsKeyAndAsksForThoseInProcess(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.on("POST /v1/payments/7/refunds", 201, `{"id":9,"payment_id":7,"amount":970,"status":"in_process"}`)
	p.on("GET /v1/payments/7/refunds", 200, `[]`)
	g := gateway(t, mercadopago.Config{BaseURL: p.url})
	in := payment.RefundIntent{RefundID: id.New(), Attempt: payment.Attempt{PaymentID: id.New(), CaptureRef: "7"}, Amount: 970, Currency: money.CLP}
	a, err := g.Refund(t.Context(), in, payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.RefundAnswer{Outcome: payment.OutcomePending, Reference: "9", Amount: 970}, a)
	_, err = g.LookupRefund(t.Context(), in)
	require.NoError(t, err)
	calls := p.seen()
	require.Equal(t, in.RefundID, calls[0].header.Get("X-Idempotency-Key"))
	require.EqualValues(t, 970, calls[0].body["amount"], "without an amount the rest would be given back")
	require.Empty(t, calls[1].header.Get("X-Idempotency-Key"))
	for _, c := range calls {
		require.Equal(t, "true", c.header.Get("X-Render-In-Process-Refunds"))
	}
}

func TestBegin_AnotherAccountsPageIsNotOffered(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.on("POST /checkout/preferences", 201, preferenceAnswer)
	_, err := gateway(t, mercadopago.Config{BaseURL: p.url, CollectorID: "1"}).Begin(t.Context(), intent(), payment.Untried)
	requireFailure(t, err, payment.ClassInvalid, "collector_id")
}

func TestNew_RefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	good := mercadopago.Config{AccessToken: "APP_USR-1", WebhookSecret: "s"}
	for name, change := range map[string]func(*mercadopago.Config){
		"no token":            func(c *mercadopago.Config) { c.AccessToken = "" },
		"a token of another":  func(c *mercadopago.Config) { c.AccessToken = "sk_test_1" },
		"a token of lines":    func(c *mercadopago.Config) { c.AccessToken = "TEST-1\n2" },
		"no secret":           func(c *mercadopago.Config) { c.WebhookSecret = "" },
		"another scheme":      func(c *mercadopago.Config) { c.BaseURL = "ftp://x" },
		"a query":             func(c *mercadopago.Config) { c.BaseURL = "https://x/?a=b" },
		"their host in clear": func(c *mercadopago.Config) { c.BaseURL = "http://api.mercadopago.com" },
		"a collector's name":  func(c *mercadopago.Config) { c.CollectorID = "ana" },
		"another capture":     func(c *mercadopago.Config) { c.Capture = "later" },
	} {
		cfg := good
		change(&cfg)
		_, err := mercadopago.New(cfg, http.DefaultClient)
		require.Error(t, err, name)
		if cfg.AccessToken != "" {
			require.NotContains(t, err.Error(), cfg.AccessToken, name)
		}
	}
	_, err := mercadopago.New(good, http.DefaultClient)
	require.NoError(t, err)
	_, err = mercadopago.New(good, nil)
	require.Error(t, err)
}

func requireFailure(t *testing.T, err error, class payment.Class, code string) *payment.Failure {
	t.Helper()
	var f *payment.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, class, f.Class)
	require.Equal(t, code, f.Code)
	require.Equal(t, payment.MercadoPago, f.Gateway)
	return f
}

// world is a sandbox and an adapter of its demo account.
type world struct {
	t     *testing.T
	url   string
	later *atomic.Int64
	g     *mercadopago.Gateway
}

func newWorld(t *testing.T, cfg mercadopago.Config) *world {
	t.Helper()
	var later atomic.Int64
	s, err := sandbox.Open(sandbox.Options{Dir: t.TempDir(), NoSync: true, Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		server.Close()
	})
	cfg.BaseURL = server.URL + "/mercadopago"
	return &world{t: t, url: server.URL, later: &later, g: gateway(t, cfg)}
}

func (w *world) send(method, path, body string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	raw, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	require.NoError(w.t, resp.Body.Close())
	return resp.StatusCode, string(raw)
}

func (w *world) must(method, path, body string) string {
	w.t.Helper()
	status, answer := w.send(method, path, body)
	require.Less(w.t, status, 300, answer)
	return answer
}

func (w *world) intent() payment.Intent {
	in := intent()
	in.ReturnURL, in.NotifyURL, in.Deadline = w.url+"/healthz?p="+in.PaymentID, "", time.Now().Add(15*time.Minute).UTC()
	return in
}

func (w *world) begin(in payment.Intent) payment.Attempt {
	w.t.Helper()
	a, err := w.g.Begin(w.t.Context(), in, payment.Untried)
	require.NoError(w.t, err)
	return payment.Attempt{PaymentID: in.PaymentID, Reference: a.Reference, Amount: in.Amount, Currency: in.Currency, BegunAt: in.At, ByToken: in.Token != ""}
}

func (w *world) charge(name string) (payment.Attempt, payment.Answer) {
	w.t.Helper()
	in := w.intent()
	in.Token, in.Method = cardToken(w.t, w.url+"/mercadopago", name), "visa"
	a, err := w.g.Begin(w.t.Context(), in, payment.Untried)
	require.NoError(w.t, err)
	return payment.Attempt{PaymentID: in.PaymentID, Reference: a.Reference, CaptureRef: a.CaptureRef, Amount: in.Amount, Currency: in.Currency, ByToken: true}, a
}

func (w *world) lookup(at payment.Attempt) payment.Answer {
	w.t.Helper()
	looked, err := w.g.Lookup(w.t.Context(), at)
	require.NoError(w.t, err)
	a, _ := looked.Answer()
	return a
}

// paidTwice begins an attempt whose page takes two payments.
func (w *world) paidTwice() (in payment.Intent, at payment.Attempt, first, second string) {
	w.t.Helper()
	w.must(http.MethodPut, "/config/mercadopago", `{"payable_again":true}`)
	in = w.intent()
	at = w.begin(in)
	w.must(http.MethodPost, "/buyer/"+at.PaymentID+"/decline", "")
	w.must(http.MethodPost, "/buyer/"+at.PaymentID+"/approve", "")
	a := w.lookup(at)
	require.Equal(w.t, payment.OutcomeApproved, a.Outcome, "an approval outweighs a rejection")
	require.Empty(w.t, a.Others)
	w.must(http.MethodPost, "/buyer/"+at.PaymentID+"/approve", "")
	page, err := w.g.Transactions(w.t.Context(), payment.StatementQuery{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)})
	require.NoError(w.t, err)
	require.Len(w.t, page.Transactions, 2)
	require.Equal(w.t, a.CaptureRef, page.Transactions[0].CaptureRef)
	return in, at, a.CaptureRef, page.Transactions[1].CaptureRef
}

func TestLookup_EveryFurtherApprovalUnderOneReferenceIsAnAnswerBesideTheOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	in, at, first, second := w.paidTwice()
	for known, one := range map[string]string{"": first, first: first, second: second} {
		at.CaptureRef = known
		a := w.lookup(at)
		require.Equal(t, payment.OutcomeApproved, a.Outcome)
		require.Equal(t, one, a.CaptureRef, "the known one, else the first")
		require.Empty(t, a.Code)
		require.Len(t, a.Others, 1)
		other := a.Others[0]
		require.Equal(t, map[string]string{first: second, second: first}[one], other.CaptureRef)
		require.Equal(t, payment.OutcomeApproved, other.Outcome)
		require.True(t, other.Captured)
		require.Equal(t, in.Amount, other.Amount)
		require.Equal(t, in.PaymentID, other.PaymentID)
		require.Equal(t, other.CaptureRef, other.Reference)
		require.NotZero(t, other.Fee)
		require.Empty(t, other.Others)
	}
}

func TestLookup_AFurtherApprovalIsFoundAndGivenBackUnderItsOwnName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	in, at, first, second := w.paidTwice()
	further := payment.Attempt{PaymentID: at.PaymentID, Reference: second, CaptureRef: second, Amount: in.Amount, Currency: money.CLP}
	a := w.lookup(further)
	require.Equal(t, second, a.CaptureRef)
	require.Equal(t, in.PaymentID, a.PaymentID)
	require.Empty(t, a.Others, "it is asked for by its own name")

	refund := payment.RefundIntent{RefundID: id.New(), Attempt: further, Amount: in.Amount, Currency: money.CLP}
	looked, err := w.g.LookupRefund(t.Context(), refund)
	require.NoError(t, err)
	none, _ := looked.Answer()
	require.Equal(t, payment.CodeNoSuchRefund, none.Code)
	back, err := w.g.Refund(t.Context(), refund, looked)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, back.Outcome)
	looked, err = w.g.LookupRefund(t.Context(), refund)
	require.NoError(t, err)
	made, _ := looked.Answer()
	require.Equal(t, back.Reference, made.Reference)

	at.CaptureRef = first
	a = w.lookup(at)
	require.Equal(t, first, a.CaptureRef)
	require.Zero(t, a.Refunded)
	require.Len(t, a.Others, 1)
	require.Equal(t, in.Amount, a.Others[0].Refunded, "it stays told, with what became of it")
	at.CaptureRef = second
	require.Equal(t, second, w.lookup(at).CaptureRef, "what is known as the attempt's money stays it, also when it has gone back")
}

// listed is a provider whose search knows what it is told, and whose payments
// are found by their ids.
func listed(t *testing.T, in payment.Intent, search string, charges map[string]string) (*provider, *mercadopago.Gateway, payment.Attempt) {
	t.Helper()
	p := newProvider(t)
	p.on("GET /v1/payments/search", 200, search)
	p.on("GET /checkout/preferences/335829814-aa", 200, preferenceAnswer)
	for name, body := range charges {
		p.on("GET /v1/payments/"+name, 200, body)
	}
	return p, gateway(t, mercadopago.Config{BaseURL: p.url}), payment.Attempt{PaymentID: in.PaymentID, Reference: "335829814-aa", Amount: in.Amount, Currency: in.Currency}
}

const nothingFound = `{"paging":{"total":0,"limit":50,"offset":0},"results":[]}`

func TestLookup_AHintFindsWhatTheSearchDoesNotHaveYet(t *testing.T) {
	t.Parallel()
	in := intent()
	_, g, at := listed(t, in, nothingFound, map[string]string{"7": fmt.Sprintf(approvedAnswer, in.PaymentID)})
	lookup := func(at payment.Attempt) payment.Answer {
		looked, err := g.Lookup(t.Context(), at)
		require.NoError(t, err)
		a, _ := looked.Answer()
		return a
	}
	require.Equal(t, payment.OutcomePending, lookup(at).Outcome)
	at.Hint = "7"
	a := lookup(at)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.Equal(t, "7", a.CaptureRef)
	require.Equal(t, at.Reference, a.Reference)

	at.Reference = "" // Begin's answer was lost, and somebody has paid all the same
	require.Equal(t, "7", lookup(at).CaptureRef)
}

func TestLookup_AHintThatNamesAnothersPaymentChangesNothing(t *testing.T) {
	t.Parallel()
	for name, hint := range map[string]struct {
		id     string
		status int
		body   string
	}{
		"another order of the shop":     {"7", 200, fmt.Sprintf(approvedAnswer, id.New())},
		"another shop's":                {"7", 404, `{"message":"Payment not found","error":"not_found","status":404,"cause":[]}`},
		"another shop's, forbidden":     {"7", 403, `{"message":"forbidden","error":"forbidden","status":403,"cause":[]}`},
		"not what was asked for":        {"8", 200, fmt.Sprintf(approvedAnswer, "")},
		"a path":                        {"../checkout/preferences", 200, `{}`},
		"without any reference at all":  {"7", 200, fmt.Sprintf(approvedAnswer, "")},
		"a number that is not readable": {"99999999999999999999", 200, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := intent()
			p, g, at := listed(t, in, nothingFound, nil)
			p.on("GET /v1/payments/"+hint.id, hint.status, hint.body)
			at.Hint = hint.id
			looked, err := g.Lookup(t.Context(), at)
			require.NoError(t, err)
			a, _ := looked.Answer()
			require.Equal(t, payment.OutcomePending, a.Outcome)
			require.Empty(t, a.CaptureRef)
			require.Empty(t, a.Others)
		})
	}
}

func TestLookup_AHintBringsTheSecondApprovalBeforeTheSearchDoes(t *testing.T) {
	t.Parallel()
	in := intent()
	one := fmt.Sprintf(approvedAnswer, in.PaymentID)
	two := strings.Replace(one, `"id":7`, `"id":8,"date_approved":"2030-01-01T00:00:00.000Z"`, 1)
	_, g, at := listed(t, in, `{"paging":{"total":1,"limit":50,"offset":0},"results":[`+one+`]}`, map[string]string{"7": one, "8": two})
	at.CaptureRef, at.Hint = "7", "8"
	looked, err := g.Lookup(t.Context(), at)
	require.NoError(t, err)
	a, _ := looked.Answer()
	require.Equal(t, "7", a.CaptureRef)
	require.Len(t, a.Others, 1)
	require.Equal(t, "8", a.Others[0].CaptureRef)
}

func TestLookup_WithoutAnAnswerAboutAHintNothingIsSaid(t *testing.T) {
	t.Parallel()
	in := intent()
	p, g, at := listed(t, in, nothingFound, nil)
	p.on("GET /v1/payments/7", 503, `{}`)
	at.Hint = "7"
	_, err := g.Lookup(t.Context(), at)
	requireFailure(t, err, payment.ClassUnavailable, "http_503")
}

func TestToken_EachCardholderHasItsOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	for name, want := range map[string]struct {
		outcome    payment.Outcome
		code       string
		processing bool
	}{
		"APRO": {outcome: payment.OutcomeApproved},
		"OTHE": {outcome: payment.OutcomeDeclined, code: "cc_rejected_other_reason"},
		"CONT": {outcome: payment.OutcomePending, processing: true},
		"CALL": {outcome: payment.OutcomeDeclined, code: "cc_rejected_call_for_authorize"},
		"FUND": {outcome: payment.OutcomeDeclined, code: "cc_rejected_insufficient_amount"},
		"SECU": {outcome: payment.OutcomeDeclined, code: "cc_rejected_bad_filled_security_code"},
		"EXPI": {outcome: payment.OutcomeDeclined, code: "cc_rejected_bad_filled_date"},
		"FORM": {outcome: payment.OutcomeDeclined, code: "cc_rejected_bad_filled_other"},
	} {
		at, a := w.charge(name)
		require.Equal(t, want.outcome, a.Outcome, name)
		require.Equal(t, want.code, a.Code, name)
		require.Equal(t, want.processing, a.Processing, name)
		require.Equal(t, want.outcome == payment.OutcomeDeclined, a.Closed, name)
		require.Equal(t, a.Outcome, w.lookup(at).Outcome, name)
		require.Equal(t, at.PaymentID, a.PaymentID)
	}
}

func TestToken_APaymentUnderReviewIsCancelledByClosing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	at, _ := w.charge("CONT")
	closed, err := w.g.Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDeclined, closed.Outcome)
	require.True(t, closed.Closed)
	require.Equal(t, payment.CodeClosed, closed.Code)
	status, _ := w.send(http.MethodPost, "/buyer/"+at.PaymentID+"/approve", "")
	require.Equal(t, http.StatusConflict, status)

	// One that was approved meanwhile is an approval.
	at, _ = w.charge("CONT")
	w.must(http.MethodPost, "/buyer/"+at.PaymentID+"/approve", "")
	paid, err := w.g.Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, paid.Outcome)
}

func TestClose_TellsTheRejectionOfThePagesLastCard(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	at := payment.Attempt{PaymentID: id.New(), Reference: "1-page"}
	under := func(status, detail string) string {
		return fmt.Sprintf(`{"id":7,"status":%q,"status_detail":%q,"external_reference":%q,"currency_id":"CLP","transaction_amount":29970}`, status, detail, at.PaymentID)
	}
	for status, want := range map[string]string{"cancelled": payment.CodeClosed, "rejected": "cc_rejected_insufficient_amount"} {
		detail := "by_collector"
		if status == "rejected" {
			detail = want
		}
		p.on("PUT /checkout/preferences/1-page", 200, `{"id":"1-page","expires":true,"expiration_date_to":"2024-01-01T00:00:00.000-04:00"}`)
		p.on("GET /checkout/preferences/1-page", 200, `{"id":"1-page","expires":true,"expiration_date_to":"2024-01-01T00:00:00.000-04:00"}`)
		p.on("GET /v1/payments/search", 200, `{"paging":{"total":1},"results":[`+under(status, detail)+`]}`)
		a, err := gateway(t, mercadopago.Config{BaseURL: p.url}).Close(t.Context(), at, payment.Untried)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeDeclined, a.Outcome)
		require.True(t, a.Closed)
		require.Equal(t, want, a.Code, status)
	}
}

func TestToken_ABeginWithoutAnAnswerIsFoundByOurReference(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	w.must(http.MethodPut, "/faults/mercadopago", `{"next":[{"op":"create_payment","kind":"cut_after"}]}`)
	at, a := w.charge("CONT")
	require.Equal(t, payment.OutcomeUnknown, a.Outcome)
	require.Empty(t, at.Reference)
	require.Equal(t, payment.OutcomePending, w.lookup(at).Outcome)
	closed, err := w.g.Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.True(t, closed.Closed)
	require.Equal(t, payment.OutcomeDeclined, closed.Outcome)
}

func TestCapture_OfAnAuthorizationByToken(t *testing.T) {
	t.Parallel()
	for name, amount := range map[string]int64{"whole": 29970, "part": 20000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mercadopago.Config{Capture: mercadopago.CaptureManual})
			at, a := w.charge("APRO")
			require.Equal(t, payment.OutcomeApproved, a.Outcome)
			require.False(t, a.Captured)
			_, err := w.g.Capture(t.Context(), at, at.Amount+1, payment.Untried)
			requireFailure(t, err, payment.ClassInvalid, "invalid_amount")

			w.must(http.MethodPut, "/faults/mercadopago", `{"next":[{"op":"update_payment","kind":"cut_after"}]}`)
			doubt, err := w.g.Capture(t.Context(), at, amount, payment.Untried)
			require.NoError(t, err)
			require.Equal(t, payment.OutcomeUnknown, doubt.Outcome)
			looked, err := w.g.Lookup(t.Context(), at)
			require.NoError(t, err)
			got, err := w.g.Capture(t.Context(), at, amount, looked)
			require.NoError(t, err)
			require.True(t, got.Captured)
			require.Equal(t, amount, got.Amount)
			require.Contains(t, w.must(http.MethodGet, "/ledger", ""), fmt.Sprintf(`"amount": %d`, amount))
			_, err = w.g.Cancel(t.Context(), at, payment.Untried)
			requireFailure(t, err, payment.ClassInvalid, "captured")
		})
	}
}

func TestCancel_VoidsAnAuthorizationAndALapsedOneIsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{Capture: mercadopago.CaptureManual})
	at, _ := w.charge("APRO")
	a, err := w.g.Cancel(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDeclined, a.Outcome)
	require.True(t, a.Closed)
	looked, err := w.g.Lookup(t.Context(), at)
	require.NoError(t, err)
	a, err = w.g.Cancel(t.Context(), at, looked)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDeclined, a.Outcome)

	late, _ := w.charge("APRO")
	w.later.Add(int64(w.g.Capabilities().CaptureFor + time.Hour))
	require.Eventually(t, func() bool { return w.lookup(late).Outcome == payment.OutcomeDeclined }, 10*time.Second, 20*time.Millisecond)
	a, err = w.g.Capture(t.Context(), late, late.Amount, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.CodeExpired, a.Code)
}

func TestRefund_InProcessIsPendingUntilItIsDecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	w.must(http.MethodPut, "/config/mercadopago", `{"refunds_in_process":true}`)
	at, _ := w.charge("APRO")
	for i, end := range []string{"succeed", "fail"} {
		in := payment.RefundIntent{RefundID: id.New(), Attempt: at, Amount: 970, Currency: money.CLP, RefundedBefore: int64(i) * 970}
		a, err := w.g.Refund(t.Context(), in, payment.UntriedRefund)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomePending, a.Outcome)
		looked, err := w.g.LookupRefund(t.Context(), in)
		require.NoError(t, err)
		said, _ := looked.Answer()
		require.Equal(t, payment.OutcomePending, said.Outcome, "found without its reference")
		require.Equal(t, a.Reference, said.Reference)

		w.must(http.MethodPost, "/ledger/refunds/"+a.Reference+"/"+end, "")
		in.Reference = a.Reference
		looked, err = w.g.LookupRefund(t.Context(), in)
		require.NoError(t, err)
		said, _ = looked.Answer()
		if end == "succeed" {
			require.Equal(t, payment.OutcomeApproved, said.Outcome)
		} else {
			require.Equal(t, payment.OutcomeDeclined, said.Outcome)
			require.Equal(t, "rejected", said.Code)
		}
	}
	state := w.lookup(at)
	require.EqualValues(t, 970, state.Refunded)
	require.Len(t, state.Refunds, 2)
}

func TestRefund_WhatTheProviderWillNotDoIsAFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	w.must(http.MethodPut, "/config/mercadopago", `{"whole_refunds_only":["visa"]}`)
	at, _ := w.charge("APRO")
	in := payment.RefundIntent{RefundID: id.New(), Attempt: at, Amount: 970, Currency: money.CLP}
	_, err := w.g.Refund(t.Context(), in, payment.UntriedRefund)
	requireFailure(t, err, payment.ClassInvalid, "3024")
	w.later.Add(int64(181 * 24 * time.Hour))
	in.Amount = at.Amount
	_, err = w.g.Refund(t.Context(), in, payment.UntriedRefund)
	requireFailure(t, err, payment.ClassInvalid, "2024")
}

func TestLookup_AChargebackHasItsDeadlineAndKeepsItsNameWithoutIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	at, _ := w.charge("APRO")
	w.must(http.MethodPost, "/disputes/"+at.PaymentID+"/open", "")
	a := w.lookup(at)
	require.Equal(t, payment.DisputeOpen, a.Dispute.Status)
	require.WithinDuration(t, time.Now().Add(10*24*time.Hour), a.Dispute.AnswerBy, time.Minute)
	require.Equal(t, "fraud", a.Dispute.Reason)
	require.Equal(t, at.Amount, a.Dispute.Amount)

	w.must(http.MethodPut, "/faults/mercadopago", `{"next":[{"op":"search_chargebacks","kind":"error_500"}]}`)
	bare := w.lookup(at)
	require.Equal(t, payment.OutcomeApproved, bare.Outcome)
	require.Equal(t, a.Dispute.Reference, bare.Dispute.Reference)
	require.True(t, bare.Dispute.AnswerBy.IsZero())
}

func TestSettle_TheReturnNamesAPaymentThatTheSearchDoesNotKnowYet(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	at := payment.Attempt{PaymentID: id.New(), Reference: "335829814-aa", Amount: 29970, Currency: money.CLP}
	p.on("GET /v1/payments/search", 200, `{"paging":{"total":0},"results":[]}`)
	p.on("GET /v1/payments/7", 200, fmt.Sprintf(approvedAnswer, at.PaymentID))
	p.on("GET /v1/payments/8", 200, fmt.Sprintf(approvedAnswer, id.New()))
	p.on("GET /v1/payments/9", 404, `{"message":"Payment not found","error":"not_found","status":404,"cause":[{"code":2000}]}`)
	p.on("GET /checkout/preferences/335829814-aa", 200, preferenceAnswer)
	g := gateway(t, mercadopago.Config{BaseURL: p.url})
	for number, want := range map[string]payment.Outcome{"7": payment.OutcomeApproved, "8": payment.OutcomePending, "9": payment.OutcomePending} {
		ret, err := g.ParseReturn(at, url.Values{"payment_id": {number}, "external_reference": {at.PaymentID}, "status": {"approved"}})
		require.NoError(t, err)
		a, err := g.Settle(t.Context(), at, ret, payment.Untried)
		require.NoError(t, err)
		require.Equal(t, want, a.Outcome, "another's payment, or nobody's, proves nothing")
	}
}

func TestParseReturn_ReadsNullAsNothing(t *testing.T) {
	t.Parallel()
	g := gateway(t, mercadopago.Config{BaseURL: "http://127.0.0.1:1"})
	at := payment.Attempt{PaymentID: ourID, Reference: "335829814-aa"}
	gone := url.Values{}
	for _, name := range []string{"collection_id", "collection_status", "payment_id", "status", "external_reference", "payment_type", "merchant_order_id", "merchant_account_id"} {
		gone.Set(name, "null")
	}
	gone.Set("preference_id", at.Reference)
	ret, err := g.ParseReturn(at, gone)
	require.NoError(t, err)
	require.Equal(t, payment.ReturnCancelled, ret.Kind)
	ret, err = g.ParseReturn(at, url.Values{"collection_id": {"7"}, "external_reference": {ourID}})
	require.NoError(t, err)
	require.Equal(t, payment.Return{Kind: payment.ReturnFinished, Token: "7"}, ret)
	ret, err = g.ParseReturn(at, url.Values{"payment_id": {"7"}, "external_reference": {ourID}, "preference_id": {"335829814-made-by-a-lost-answer"}})
	require.NoError(t, err, "our reference speaks for every preference that has it")
	require.Equal(t, payment.Return{Kind: payment.ReturnFinished, Token: "7"}, ret)
	for name, params := range map[string]url.Values{
		"another payment":    {"payment_id": {"7"}, "external_reference": {id.New()}},
		"another preference": {"payment_id": {"7"}, "preference_id": {"335829814-bb"}},
		"a path":             {"payment_id": {"../7"}, "external_reference": {ourID}},
		"nothing":            {},
		"nothing but null":   {"external_reference": {"null"}, "preference_id": {"null"}},
	} {
		_, err := g.ParseReturn(at, params)
		require.ErrorIs(t, err, payment.ErrForeignReturn, name)
	}
}

func TestSettle_BelievesAPageWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	in := w.intent()
	lost, at := w.begin(in), w.begin(in)
	require.NotEqual(t, lost.Reference, at.Reference, "Mercado Pago makes a preference for each call")
	var step struct {
		ReturnURL string `json:"return_url"`
	}
	require.NoError(t, json.Unmarshal([]byte(w.must(http.MethodPost, "/buyer/"+lost.Reference+"/approve", "")), &step))
	back, err := url.Parse(step.ReturnURL)
	require.NoError(t, err)
	require.Equal(t, lost.Reference, back.Query().Get("preference_id"))
	ret, err := w.g.ParseReturn(at, back.Query())
	require.NoError(t, err)
	a, err := w.g.Settle(t.Context(), at, ret, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.Equal(t, ret.Token, a.CaptureRef)
}

func TestTransactions_PagesThroughTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mercadopago.Config{})
	const many = 53
	for range many {
		w.charge("APRO")
	}
	_, declined := w.charge("FUND")
	require.Equal(t, payment.OutcomeDeclined, declined.Outcome)
	q := payment.StatementQuery{From: time.Now().Add(-time.Hour).UTC(), To: time.Now().Add(time.Hour).UTC()}
	lines := map[string]payment.Transaction{}
	pages := 0
	for {
		page, err := w.g.Transactions(t.Context(), q)
		require.NoError(t, err)
		pages++
		for _, line := range page.Transactions {
			lines[line.CaptureRef] = line
			require.Positive(t, line.Fee)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	require.Equal(t, 2, pages)
	require.Len(t, lines, many)
	_, err := w.g.Transactions(t.Context(), payment.StatementQuery{From: q.From, To: q.To, Cursor: "x"})
	requireFailure(t, err, payment.ClassInvalid, "request")
}

func TestClose_CancelsEachPaymentThatIsStillUnderWay(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	at := payment.Attempt{PaymentID: id.New(), Reference: "335829814-aa", Amount: 29970, Currency: money.CLP}
	row := func(number int, status string) string {
		return fmt.Sprintf(`{"id":%d,"status":%q,"currency_id":"CLP","transaction_amount":29970,"external_reference":%q}`, number, status, at.PaymentID)
	}
	p.on("PUT /checkout/preferences/335829814-aa", 200, preferenceAnswer)
	p.on("GET /v1/payments/search", 200, `{"paging":{"total":4},"results":[`+row(5, "rejected")+`,`+row(6, "in_process")+`,`+row(7, "pending")+`,`+strings.Replace(row(8, "approved"), at.PaymentID, id.New(), 1)+`]}`)
	p.on("PUT /v1/payments/6", 200, row(6, "cancelled"))
	p.on("PUT /v1/payments/7", 500, `{}`)
	a, err := gateway(t, mercadopago.Config{BaseURL: p.url}).Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome, "one of them may still be approved")
	keys := map[string]bool{}
	for _, c := range p.seen() {
		if c.method == http.MethodPut {
			keys[c.header.Get("X-Idempotency-Key")] = true
			require.LessOrEqual(t, len(c.header.Get("X-Idempotency-Key")), 64)
		}
	}
	require.Len(t, keys, 3, "a key a change")
}
