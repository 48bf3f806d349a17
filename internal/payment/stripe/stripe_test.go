package stripe_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	stripesdk "github.com/stripe/stripe-go/v76"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/stripe"
)

const (
	secretKey     = "sk_test_sandbox_demo"
	webhookSecret = "whsec_test_secret"
	sessionID     = "cs_test_a1YS1URlnyQCN5fUUduORoQ7Pw41PJqDWkIVQCpJPqkfIhd6tVY8XB1OLY"
	intentID      = "pi_1PgafyB7WZ01zgkWSjxsAJo3"
)

// service answers calls in order with documented samples and keeps what it was
// sent.
type service struct {
	mu      sync.Mutex
	answers []answer
	calls   []call
}

type answer struct {
	status int
	body   string
	header map[string]string
	cut    bool // takes the request and hangs up
}

type call struct {
	method, path string
	header       http.Header
	form         url.Values
	query        url.Values
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call{r.Method, r.URL.Path, r.Header, form, r.URL.Query()})
	if len(s.answers) == 0 {
		http.Error(w, "no call was expected here", http.StatusTeapot)
		return
	}
	next := s.answers[0]
	s.answers = s.answers[1:]
	if next.cut {
		panic(http.ErrAbortHandler)
	}
	for name, value := range next.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(next.status)
	_, _ = io.WriteString(w, next.body)
}

func (s *service) made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var made []string
	for _, c := range s.calls {
		made = append(made, c.method+" "+c.path)
	}
	return made
}

func setup(t *testing.T, answers ...answer) (*stripe.Gateway, *service) {
	t.Helper()
	s := &service{answers: answers}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return gateway(t, server.URL), s
}

func gateway(t *testing.T, address string) *stripe.Gateway {
	t.Helper()
	g, err := stripe.New(stripe.Config{
		BaseURL: address, SecretKey: secretKey, WebhookSecret: webhookSecret, Account: "acct_1demo",
	}, httpclient.New(httpclient.Options{Timeout: 5 * time.Second}))
	require.NoError(t, err)
	return g
}

// sample reads a published object and changes fields of it.
func sample(t *testing.T, name string, changes map[string]any) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(raw, &fields))
	for field, value := range changes {
		fields[field] = value
	}
	return fields
}

func ok(t *testing.T, object map[string]any) answer {
	t.Helper()
	raw, err := json.Marshal(object)
	require.NoError(t, err)
	return answer{status: 200, body: string(raw)}
}

func refusal(status int, kind, code, message string) answer {
	raw, err := json.Marshal(map[string]any{"error": map[string]string{"type": kind, "code": code, "message": message}})
	if err != nil {
		panic(err)
	}
	return answer{status: status, body: string(raw)}
}

// session is one with an expanded intent, or without any when intent is nil.
func session(t *testing.T, status, paid, paymentID string, intent map[string]any) map[string]any {
	t.Helper()
	s := sample(t, "checkout_session", map[string]any{
		"status": status, "payment_status": paid, "client_reference_id": paymentID,
		"amount_total": 29970, "currency": "clp", "payment_intent": nil,
	})
	if intent != nil {
		s["payment_intent"] = intent
	}
	return s
}

func paidIntent(t *testing.T, changes map[string]any) map[string]any {
	t.Helper()
	charge := sample(t, "charge", map[string]any{
		"amount": 29970, "currency": "clp", "created": 1700000000, "amount_refunded": 0,
		"payment_method_details": map[string]any{
			"type": "card", "card": map[string]any{"last4": "4242", "installments": map[string]any{"plan": map[string]any{"count": 3, "type": "fixed_count"}}},
		},
		"outcome": map[string]any{"type": "authorized"},
	})
	pi := sample(t, "payment_intent", map[string]any{
		"status": "succeeded", "amount": 29970, "amount_received": 29970, "currency": "clp",
		"last_payment_error": nil, "latest_charge": charge,
	})
	for field, value := range changes {
		pi[field] = value
	}
	return pi
}

func intent() payment.Intent {
	return payment.Intent{
		PaymentID: id.New(), Tenant: "demo", Number: "DEMO-000123", Amount: 29970, Currency: money.CLP,
		Description: "Pedido DEMO-000123", ReturnURL: "https://api.example/payments/demo/stripe/X/return",
		Deadline: time.Now().Add(15 * time.Minute), Email: "ana@example.cl", At: time.Now(),
	}
}

func attempt() payment.Attempt {
	return payment.Attempt{
		PaymentID: id.New(), Reference: sessionID, CaptureRef: intentID, Amount: 29970, Currency: money.CLP,
	}
}

func failure(t *testing.T, err error) *payment.Failure {
	t.Helper()
	var f *payment.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, payment.Stripe, f.Gateway)
	return f
}

func TestNew_RefusesConfigurationsThatCannotWork(t *testing.T) {
	t.Parallel()
	good := stripe.Config{SecretKey: secretKey, WebhookSecret: webhookSecret}
	client := httpclient.New(httpclient.Options{})
	_, err := stripe.New(good, client)
	require.NoError(t, err)
	for name, spoil := range map[string]func(*stripe.Config){
		"address without scheme": func(c *stripe.Config) { c.BaseURL = "api.stripe.com" },
		"Stripe without TLS":     func(c *stripe.Config) { c.BaseURL = "http://api.stripe.com" },
		"publishable key":        func(c *stripe.Config) { c.SecretKey = "pk_test_x" },
		"key with a blank":       func(c *stripe.Config) { c.SecretKey += " " },
		"no webhook secret":      func(c *stripe.Config) { c.WebhookSecret = "" },
		"account of words":       func(c *stripe.Config) { c.Account = "demo" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := good
			spoil(&cfg)
			_, err := stripe.New(cfg, client)
			require.Error(t, err)
		})
	}
	_, err = stripe.New(good, nil)
	require.Error(t, err)
}

func TestNew_TouchesNothingGlobalOfTheSDK(t *testing.T) {
	t.Parallel()
	_, s := setup(t)
	require.Empty(t, stripesdk.Key)
	require.Empty(t, s.made())
}

func TestBegin_SendsTheDocumentedRequest(t *testing.T) {
	t.Parallel()
	created := sample(t, "checkout_session", map[string]any{"expires_at": time.Now().Add(time.Hour).Unix()})
	g, s := setup(t, ok(t, created))
	in := intent()
	a, err := g.Begin(t.Context(), in, payment.Untried)
	require.NoError(t, err)

	require.Equal(t, []string{"POST /v1/checkout/sessions"}, s.made())
	c := s.calls[0]
	require.Equal(t, "Bearer "+secretKey, c.header.Get("Authorization"))
	require.Equal(t, "2023-10-16", c.header.Get("Stripe-Version"))
	require.Equal(t, in.PaymentID+":begin", c.header.Get("Idempotency-Key"))
	require.Empty(t, c.header.Get("X-Stripe-Client-Telemetry"))
	expires, err := strconv.ParseInt(c.form.Get("expires_at"), 10, 64)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(35*time.Minute), time.Unix(expires, 0), 5*time.Second)
	c.form.Del("expires_at")
	require.Equal(t, url.Values{
		"mode":                 {"payment"},
		"locale":               {"es-419"},
		"client_reference_id":  {in.PaymentID},
		"metadata[payment_id]": {in.PaymentID},
		"customer_email":       {"ana@example.cl"},
		"success_url":          {in.ReturnURL + "?session_id={CHECKOUT_SESSION_ID}"},
		"cancel_url":           {in.ReturnURL + "?cancelled=1"},

		"line_items[0][quantity]":                       {"1"},
		"line_items[0][price_data][currency]":           {"clp"},
		"line_items[0][price_data][unit_amount]":        {"29970"},
		"line_items[0][price_data][product_data][name]": {"Pedido DEMO-000123"},
		"payment_intent_data[description]":              {"DEMO-000123"},
		"payment_intent_data[metadata][payment_id]":     {in.PaymentID},
	}, c.form)

	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.Equal(t, sessionID, a.Reference)
	require.Equal(t, http.MethodGet, a.Redirect.Method)
	require.Equal(t, created["url"], a.Redirect.URL)
	require.Equal(t, time.UTC, a.ExpiresAt.Location())
	require.False(t, a.LiveMode)
}

func TestBegin_ARepetitionSendsTheSameRequest(t *testing.T) {
	t.Parallel()
	created := ok(t, sample(t, "checkout_session", nil))
	g, s := setup(t, answer{cut: true}, created)
	in := intent()
	in.At = time.Now().Add(-3 * time.Minute)
	a, err := g.Begin(t.Context(), in, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome)

	looked, err := g.Lookup(t.Context(), payment.Attempt{PaymentID: in.PaymentID})
	require.NoError(t, err)
	a, _ = looked.Answer()
	require.Equal(t, payment.CodeNoSuchAttempt, a.Code)
	require.True(t, a.Closed)

	a, err = g.Begin(t.Context(), in, looked)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.Len(t, s.calls, 2)
	require.Equal(t, s.calls[0].form, s.calls[1].form)
	require.Equal(t, s.calls[0].header.Get("Idempotency-Key"), s.calls[1].header.Get("Idempotency-Key"))
}

func TestBegin_TheLinkLivesAsLongAsTheHoldWhereStripeAllowsIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ hold, life time.Duration }{
		"a hold of 15 minutes": {15 * time.Minute, 35 * time.Minute},
		"a hold of 2 hours":    {2 * time.Hour, 2 * time.Hour},
		"a hold of 3 days":     {72 * time.Hour, 24*time.Hour - 5*time.Minute},
		"no hold":              {-time.Hour, 35 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := setup(t, ok(t, sample(t, "checkout_session", nil)))
			in := intent()
			in.Deadline = time.Now().Add(c.hold)
			_, err := g.Begin(t.Context(), in, payment.Untried)
			require.NoError(t, err)
			expires, err := strconv.ParseInt(s.calls[0].form.Get("expires_at"), 10, 64)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(c.life), time.Unix(expires, 0), 5*time.Second)
		})
	}
}

func TestEffects_TellFailureFromDoubt(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		answer answer
		class  payment.Class // of a failure; empty means OutcomeUnknown
		code   string
	}{
		"key in use":         {answer: refusal(409, "invalid_request_error", "idempotency_key_in_use", "try later"), code: "idempotency_key_in_use"},
		"500":                {answer: refusal(500, "api_error", "", "oops"), code: "api_error"},
		"502 with a page":    {answer: answer{status: 502, body: "<html>"}, code: "http_502"},
		"cut":                {answer: answer{cut: true}, code: stripe.CodeNoAnswer},
		"half an answer":     {answer: answer{status: 200, body: `{"id": "cs_`}, code: stripe.CodeUnreadable},
		"wrong key":          {answer: refusal(401, "invalid_request_error", "", "Invalid API Key provided: sk_test_***demo"), class: payment.ClassCredentials, code: "invalid_request_error"},
		"key without rights": {answer: refusal(403, "invalid_request_error", "", "no"), class: payment.ClassCredentials, code: "invalid_request_error"},
		"too many": {
			answer: answer{status: 429, body: `{"error":{"type":"invalid_request_error","code":"rate_limit","message":"x"}}`, header: map[string]string{"Retry-After": "2"}},
			class:  payment.ClassRateLimited, code: "rate_limit",
		},
		"locked":       {answer: refusal(429, "invalid_request_error", "lock_timeout", "x"), class: payment.ClassRateLimited, code: "lock_timeout"},
		"away":         {answer: answer{status: 503, body: "<html>"}, class: payment.ClassUnavailable, code: "http_503"},
		"bad argument": {answer: refusal(400, "invalid_request_error", "amount_too_small", "Invalid e-mail: ana@example.cl"), class: payment.ClassInvalid, code: "amount_too_small"},
	}
	effects := map[string]func(context.Context, *stripe.Gateway) (payment.Outcome, string, error){
		"begin": func(ctx context.Context, g *stripe.Gateway) (payment.Outcome, string, error) {
			a, err := g.Begin(ctx, intent(), payment.Untried)
			return a.Outcome, a.Code, err
		},
		"refund": func(ctx context.Context, g *stripe.Gateway) (payment.Outcome, string, error) {
			a, err := g.Refund(ctx, refundIntent(), payment.UntriedRefund)
			return a.Outcome, a.Code, err
		},
		"capture": func(ctx context.Context, g *stripe.Gateway) (payment.Outcome, string, error) {
			a, err := g.Capture(ctx, attempt(), 100, payment.Asked(payment.Answer{Outcome: payment.OutcomeApproved, Amount: 100, CaptureRef: intentID}))
			return a.Outcome, a.Code, err
		},
		"cancel": func(ctx context.Context, g *stripe.Gateway) (payment.Outcome, string, error) {
			a, err := g.Cancel(ctx, attempt(), payment.Asked(payment.Answer{Outcome: payment.OutcomeApproved, Amount: 100, CaptureRef: intentID}))
			return a.Outcome, a.Code, err
		},
	}
	for name, c := range cases {
		for effect, do := range effects {
			t.Run(effect+": "+name, func(t *testing.T) {
				t.Parallel()
				g, s := setup(t, c.answer)
				outcome, code, err := do(t.Context(), g)
				require.Len(t, s.made(), 1, "an adapter never tries twice")
				if c.class == "" {
					require.NoError(t, err)
					require.Equal(t, payment.OutcomeUnknown, outcome)
					require.Equal(t, c.code, code)
					return
				}
				if effect == "refund" && c.class == payment.ClassInvalid {
					require.NoError(t, err)
					require.Equal(t, payment.OutcomeDeclined, outcome, "a refund that is refused is an answer")
					require.Equal(t, c.code, code)
					return
				}
				f := failure(t, err)
				require.Equal(t, c.class, f.Class)
				require.Equal(t, c.code, f.Code)
				require.NotContains(t, err.Error(), "@")
				require.NotContains(t, err.Error(), "sk_test")
				if name == "too many" {
					require.Equal(t, 2*time.Second, f.RetryAfter)
				}
			})
		}
	}
}

func TestEffects_NothingSentIsAFailure(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.URL
	server.Close()
	g := gateway(t, address)
	_, err := g.Begin(t.Context(), intent(), payment.Untried)
	require.Equal(t, payment.ClassUnavailable, failure(t, err).Class)
	_, err = g.Refund(t.Context(), refundIntent(), payment.UntriedRefund)
	require.Equal(t, payment.ClassUnavailable, failure(t, err).Class)
	_, err = g.Close(t.Context(), attempt(), payment.Untried)
	require.Equal(t, payment.ClassUnavailable, failure(t, err).Class)
}

func TestLookup_ReadsSessionIntentAndCharge(t *testing.T) {
	t.Parallel()
	ours := id.New()
	failed := func(changes map[string]any) map[string]any {
		pi := paidIntent(t, map[string]any{
			"status": "requires_payment_method", "amount_received": 0, "latest_charge": nil,
			"last_payment_error": map[string]any{"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "message": "Your card has insufficient funds."},
		})
		for field, value := range changes {
			pi[field] = value
		}
		return pi
	}
	with := func(pi map[string]any, field string, value any) map[string]any {
		pi[field] = value
		return pi
	}
	charge := func(changes map[string]any) map[string]any {
		pi := paidIntent(t, nil)
		for field, value := range changes {
			pi["latest_charge"].(map[string]any)[field] = value
		}
		return pi
	}
	approved := payment.Answer{
		Outcome: payment.OutcomeApproved, Captured: true, Reference: sessionID, CaptureRef: intentID, PaymentID: ours,
		Amount: 29970, Currency: money.CLP, Account: "acct_1demo", CardLast4: "4242", Method: "card", Installments: 3,
		ApprovedAt: time.Unix(1700000000, 0).UTC(),
	}
	change := func(a payment.Answer, do func(*payment.Answer)) payment.Answer { do(&a); return a }
	plain := payment.Answer{Reference: sessionID, PaymentID: ours, Amount: 29970, Currency: money.CLP}

	for name, c := range map[string]struct {
		session map[string]any
		want    payment.Answer
	}{
		"nobody has paid": {session(t, "open", "unpaid", ours, nil), change(plain, func(a *payment.Answer) { a.Outcome = payment.OutcomePending })},
		"paid":            {session(t, "complete", "paid", ours, paidIntent(t, nil)), approved},
		"paid, the session not told yet": {
			session(t, "open", "unpaid", ours, paidIntent(t, nil)), approved,
		},
		"paid less than asked": {
			session(t, "complete", "paid", ours, paidIntent(t, map[string]any{"amount_received": 100})),
			change(approved, func(a *payment.Answer) { a.Amount = 100 }),
		},
		"paid in dollars": {
			session(t, "complete", "paid", ours, paidIntent(t, map[string]any{"currency": "usd"})),
			change(approved, func(a *payment.Answer) { a.Currency = money.USD }),
		},
		"paid for real": {
			session(t, "complete", "paid", ours, paidIntent(t, map[string]any{"livemode": true})),
			change(approved, func(a *payment.Answer) { a.LiveMode = true }),
		},
		"paid and held for review": {
			session(t, "complete", "paid", ours, paidIntent(t, map[string]any{"review": map[string]any{"id": "prv_1", "object": "review", "open": true}})),
			change(approved, func(a *payment.Answer) { a.Review = true }),
		},
		"paid, its review not expanded": {
			session(t, "complete", "paid", ours, paidIntent(t, map[string]any{"review": "prv_1"})),
			change(approved, func(a *payment.Answer) { a.Review = true }),
		},
		"paid, its review closed": {
			session(t, "complete", "paid", ours, with(charge(map[string]any{"outcome": map[string]any{"type": "manual_review"}}),
				"review", map[string]any{"id": "prv_1", "object": "review", "open": false})),
			approved,
		},
		"paid, for manual review by its outcome": {
			session(t, "complete", "paid", ours, charge(map[string]any{"outcome": map[string]any{"type": "manual_review"}})),
			change(approved, func(a *payment.Answer) { a.Review = true }),
		},
		"paid and partly given back": {
			session(t, "complete", "paid", ours, charge(map[string]any{"captured": true, "amount": 29970, "amount_captured": 29970, "amount_refunded": 970, "refunds": map[string]any{
				"object": "list", "has_more": false, "data": []any{
					map[string]any{"id": "re_2", "object": "refund", "amount": 700, "currency": "clp", "status": "succeeded", "metadata": map[string]any{}},
					map[string]any{"id": "re_1", "object": "refund", "amount": 270, "currency": "clp", "status": "pending", "metadata": map[string]any{"refund_id": ours}},
					map[string]any{"id": "re_0", "object": "refund", "amount": 500, "currency": "clp", "status": "failed", "failure_reason": "declined", "metadata": map[string]any{}},
				},
			}})),
			change(approved, func(a *payment.Answer) {
				a.Refunded = 970
				a.Refunds = []payment.RefundSeen{
					{Reference: "re_2", Amount: 700, Outcome: payment.OutcomeApproved},
					{Reference: "re_1", RefundID: ours, Amount: 270, Outcome: payment.OutcomePending},
					{Reference: "re_0", Amount: 500, Outcome: payment.OutcomeDeclined},
				}
			}),
		},
		"captured in part, the rest shown as given back": {
			session(t, "complete", "paid", ours, with(charge(map[string]any{
				"captured": true, "amount": 29970, "amount_captured": 29000, "amount_refunded": 970,
				"balance_transaction": map[string]any{"id": "txn_1", "object": "balance_transaction", "created": 1700000100, "currency": "clp", "fee": 1044},
				"refunds": map[string]any{"object": "list", "has_more": false, "data": []any{
					map[string]any{"id": "re_1", "object": "refund", "amount": 970, "created": 1700009999, "currency": "clp", "status": "succeeded", "metadata": map[string]any{}},
					map[string]any{"id": "re_0", "object": "refund", "amount": 970, "created": 1700000100, "currency": "clp", "status": "succeeded", "metadata": map[string]any{}},
				}},
			}), "amount_received", 29000)),
			change(approved, func(a *payment.Answer) {
				a.Amount, a.Fee, a.Refunded = 29000, 1044, 970
				a.Refunds = []payment.RefundSeen{{Reference: "re_1", Amount: 970, Outcome: payment.OutcomeApproved}}
			}),
		},
		"paid, the fee in another currency": {
			session(t, "complete", "paid", ours, charge(map[string]any{
				"balance_transaction": map[string]any{"id": "txn_1", "object": "balance_transaction", "currency": "usd", "fee": 130},
			})), approved,
		},
		"paid at a risk": {
			session(t, "complete", "paid", ours, charge(map[string]any{"outcome": map[string]any{"type": "authorized", "risk_level": "elevated"}})),
			change(approved, func(a *payment.Answer) { a.Risk = "elevated" }),
		},
		"paid in krónur, which Stripe writes in hundredths": {
			session(t, "complete", "paid", ours, paidIntent(t, map[string]any{"currency": "isk", "amount_received": 2997000})),
			change(approved, func(a *payment.Answer) { a.Currency = "ISK" }),
		},
		"authorized": {
			session(t, "complete", "unpaid", ours, paidIntent(t, map[string]any{"status": "requires_capture", "amount_received": 0, "amount_capturable": 29970})),
			change(approved, func(a *payment.Answer) { a.Captured = false }),
		},
		"paid, its intent not expanded": {
			session(t, "complete", "paid", ours, nil), change(plain, func(a *payment.Answer) {
				a.Outcome, a.Captured, a.Account = payment.OutcomeApproved, true, "acct_1demo"
			}),
		},
		"a card declined, the page still open": {
			session(t, "open", "unpaid", ours, failed(nil)), change(plain, func(a *payment.Answer) {
				a.Outcome, a.CaptureRef, a.Code, a.Message = payment.OutcomeDeclined, intentID, "insufficient_funds", "Your card has insufficient funds."
			}),
		},
		"a slow method failed, the page gone": {
			session(t, "complete", "unpaid", ours, failed(map[string]any{"last_payment_error": nil})), change(plain, func(a *payment.Answer) {
				a.Outcome, a.CaptureRef, a.Closed, a.Code = payment.OutcomeDeclined, intentID, true, stripe.CodePaymentFailed
			}),
		},
		"a slow method declined, the page gone": {
			session(t, "complete", "unpaid", ours, failed(nil)), change(plain, func(a *payment.Answer) {
				a.Outcome, a.CaptureRef, a.Closed, a.Code, a.Message = payment.OutcomeDeclined, intentID, true, "insufficient_funds", "Your card has insufficient funds."
			}),
		},
		"at work": {
			session(t, "complete", "unpaid", ours, failed(map[string]any{"status": "processing", "last_payment_error": nil})), change(plain, func(a *payment.Answer) {
				a.Outcome, a.CaptureRef, a.Processing = payment.OutcomePending, intentID, true
			}),
		},
		"at work, the page open": {
			session(t, "open", "unpaid", ours, failed(map[string]any{"status": "processing", "last_payment_error": nil})), change(plain, func(a *payment.Answer) {
				a.Outcome, a.CaptureRef, a.Processing = payment.OutcomePending, intentID, true
			}),
		},
		"expired": {session(t, "expired", "unpaid", ours, nil), change(plain, func(a *payment.Answer) {
			a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeExpired
		})},
		"expired after a declined card": {session(t, "expired", "unpaid", ours, failed(nil)), change(plain, func(a *payment.Answer) {
			a.Outcome, a.Closed, a.CaptureRef, a.Code, a.Message = payment.OutcomeDeclined, true, intentID, "insufficient_funds", "Your card has insufficient funds."
		})},
		"expired after a declined card, its intent canceled with it": {session(t, "expired", "unpaid", ours, failed(map[string]any{"status": "canceled"})), change(plain, func(a *payment.Answer) {
			a.Outcome, a.Closed, a.CaptureRef, a.Code, a.Message = payment.OutcomeDeclined, true, intentID, "insufficient_funds", "Your card has insufficient funds."
		})},
		"expired after a declined card that only its charge tells": {
			session(t, "expired", "unpaid", ours, failed(map[string]any{"status": "canceled", "last_payment_error": nil, "latest_charge": sample(t, "charge", map[string]any{
				"status": "failed", "paid": false, "captured": false, "failure_code": "card_declined", "failure_message": "Your card was declined.",
				"outcome": map[string]any{"type": "issuer_declined", "reason": "do_not_honor"},
			})})), change(plain, func(a *payment.Answer) {
				a.Outcome, a.Closed, a.CaptureRef, a.Code, a.Message = payment.OutcomeDeclined, true, intentID, "do_not_honor", "Your card was declined."
			}),
		},
		"expired, nothing tried, its intent canceled with it": {session(t, "expired", "unpaid", ours, failed(map[string]any{"status": "canceled", "last_payment_error": nil})), change(plain, func(a *payment.Answer) {
			a.Outcome, a.Closed, a.CaptureRef, a.Code = payment.OutcomeDeclined, true, intentID, payment.CodeExpired
		})},
		"the intent canceled": {session(t, "open", "unpaid", ours, failed(map[string]any{"status": "canceled"})), change(plain, func(a *payment.Answer) {
			a.Outcome, a.Closed, a.CaptureRef, a.Code = payment.OutcomeDeclined, true, intentID, stripe.CodeCanceled
		})},
		"a status of another version": {session(t, "paused", "unpaid", ours, nil), change(plain, func(a *payment.Answer) {
			a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, stripe.CodeUnreadable, "unknown status paused"
		})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := setup(t, ok(t, c.session))
			looked, err := g.Lookup(t.Context(), attempt())
			require.NoError(t, err)
			a, asked := looked.Answer()
			require.True(t, asked)
			require.Equal(t, c.want, a)
			require.Equal(t, []string{"GET /v1/checkout/sessions/" + sessionID}, s.made())
			var expanded []string
			for i := range 4 {
				expanded = append(expanded, s.calls[0].query.Get("expand["+strconv.Itoa(i)+"]"))
			}
			require.Equal(t, []string{
				"payment_intent.latest_charge", "payment_intent.latest_charge.balance_transaction",
				"payment_intent.latest_charge.refunds", "payment_intent.review",
			}, expanded)
			require.Empty(t, s.calls[0].header.Get("Idempotency-Key"))
		})
	}
}

func TestLookup_AsksForTheAccountOnce(t *testing.T) {
	t.Parallel()
	paid := ok(t, session(t, "complete", "paid", id.New(), paidIntent(t, nil)))
	s := &service{answers: []answer{paid, {status: 500}, paid, ok(t, sample(t, "account", map[string]any{"id": "acct_asked"})), paid}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	g, err := stripe.New(stripe.Config{BaseURL: server.URL, SecretKey: secretKey, WebhookSecret: webhookSecret}, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)

	_, err = g.Lookup(t.Context(), attempt())
	require.Equal(t, payment.ClassUnavailable, failure(t, err).Class, "an approval without its account can't be compared")
	for range 2 {
		looked, err := g.Lookup(t.Context(), attempt())
		require.NoError(t, err)
		a, _ := looked.Answer()
		require.Equal(t, "acct_asked", a.Account)
	}
	require.Equal(t, 2, strings.Count(strings.Join(s.made(), ","), "GET /v1/account"))
}

func TestLookup_WithoutAnAnswerIsAnError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer answer
		class  payment.Class
	}{
		"500":          {refusal(500, "api_error", "", "x"), payment.ClassUnavailable},
		"cut":          {answer{cut: true}, payment.ClassUnavailable},
		"not JSON":     {answer{status: 200, body: "<html>"}, payment.ClassUnavailable},
		"too many":     {refusal(429, "invalid_request_error", "rate_limit", "x"), payment.ClassRateLimited},
		"wrong key":    {refusal(401, "invalid_request_error", "", "x"), payment.ClassCredentials},
		"no such page": {refusal(404, "invalid_request_error", "resource_missing", "x"), payment.ClassInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := setup(t, c.answer)
			_, err := g.Lookup(t.Context(), attempt())
			require.Equal(t, c.class, failure(t, err).Class)
		})
	}
}

func TestClose_ExpiresTheSession(t *testing.T) {
	t.Parallel()
	at := attempt()
	g, s := setup(t, ok(t, session(t, "expired", "unpaid", at.PaymentID, nil)))
	a, err := g.Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDeclined, a.Outcome)
	require.True(t, a.Closed)
	require.Equal(t, payment.CodeClosed, a.Code)
	require.Equal(t, []string{"POST /v1/checkout/sessions/" + sessionID + "/expire"}, s.made())
	require.Equal(t, at.PaymentID+":expire", s.calls[0].header.Get("Idempotency-Key"))
}

func TestClose_TellsThatTheLastCardWasDeclined(t *testing.T) {
	t.Parallel()
	at := attempt()
	declined := sample(t, "payment_intent", map[string]any{
		"id": intentID, "status": "canceled", "amount": 29970, "currency": "clp",
		"last_payment_error": map[string]any{"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "message": "Your card has insufficient funds."},
	})
	g, s := setup(t, ok(t, session(t, "expired", "unpaid", at.PaymentID, declined)))
	a, err := g.Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDeclined, a.Outcome)
	require.True(t, a.Closed)
	require.Equal(t, "insufficient_funds", a.Code)
	require.Equal(t, "payment_intent.latest_charge", s.calls[0].form.Get("expand[0]"))
	require.Equal(t, payment.StatusDeclined, payment.After(payment.StatusPending, a, payment.StatusExpired))
}

func TestClose_RefusedBecauseItWasPaidIsAnApproval(t *testing.T) {
	t.Parallel()
	at := attempt()
	g, s := setup(t,
		refusal(400, "invalid_request_error", "", "Only Checkout Sessions with a status in [\"open\"] can be expired."),
		ok(t, session(t, "complete", "paid", at.PaymentID, paidIntent(t, nil))))
	a, err := g.Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.Equal(t, []string{"POST /v1/checkout/sessions/" + sessionID + "/expire", "GET /v1/checkout/sessions/" + sessionID}, s.made())
}

func TestClose_IsNotRefusedForEverByAStoredRefusal(t *testing.T) {
	t.Parallel()
	at := attempt()
	g, s := setup(t,
		refusal(400, "invalid_request_error", "", "a payment is in progress"),
		ok(t, session(t, "open", "unpaid", at.PaymentID, paidIntent(t, map[string]any{"status": "processing"}))),
		ok(t, session(t, "expired", "unpaid", at.PaymentID, nil)))
	a, err := g.Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Processing)
	a, err = g.Close(t.Context(), at, payment.Asked(a))
	require.NoError(t, err)
	require.True(t, a.Closed)
	require.NotEqual(t, s.calls[0].header.Get("Idempotency-Key"), s.calls[2].header.Get("Idempotency-Key"))
}

func TestClose_WithoutAnAnswerIsADoubtAndNeedsNoCallWhenItIsOver(t *testing.T) {
	t.Parallel()
	g, s := setup(t, answer{cut: true})
	a, err := g.Close(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome)
	for _, said := range []payment.Answer{
		{Outcome: payment.OutcomeApproved},
		{Outcome: payment.OutcomeDeclined, Closed: true},
	} {
		a, err = g.Close(t.Context(), attempt(), payment.Asked(said))
		require.NoError(t, err)
		require.Equal(t, said, a)
	}
	a, err = g.Close(t.Context(), payment.Attempt{PaymentID: id.New()}, payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Closed)
	require.Len(t, s.made(), 1)
}

func TestCapture_TakesWhatWasAuthorized(t *testing.T) {
	t.Parallel()
	at := attempt()
	authorized := paidIntent(t, map[string]any{"status": "requires_capture", "amount_received": 0, "amount_capturable": 29970})
	g, s := setup(t,
		ok(t, session(t, "complete", "unpaid", at.PaymentID, authorized)),
		ok(t, paidIntent(t, map[string]any{"amount_received": 20000})))
	a, err := g.Capture(t.Context(), at, 20000, payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Captured)
	require.EqualValues(t, 20000, a.Amount)
	require.Equal(t, "acct_1demo", a.Account)
	require.Equal(t, at.PaymentID, a.PaymentID)
	require.Equal(t, "POST /v1/payment_intents/"+intentID+"/capture", s.made()[1])
	require.Equal(t, "20000", s.calls[1].form.Get("amount_to_capture"))
	require.Equal(t, at.PaymentID+":capture", s.calls[1].header.Get("Idempotency-Key"))

	a, err = g.Capture(t.Context(), at, 20000, payment.Asked(a))
	require.NoError(t, err)
	require.True(t, a.Captured)
	require.Len(t, s.made(), 2)
}

func TestCancel_VoidsAnAuthorization(t *testing.T) {
	t.Parallel()
	at := attempt()
	authorized := paidIntent(t, map[string]any{"status": "requires_capture", "amount_received": 0, "amount_capturable": 29970})
	g, s := setup(t,
		ok(t, session(t, "complete", "unpaid", at.PaymentID, authorized)),
		ok(t, paidIntent(t, map[string]any{"status": "canceled", "latest_charge": nil})),
		ok(t, session(t, "complete", "paid", at.PaymentID, paidIntent(t, nil))))
	a, err := g.Cancel(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDeclined, a.Outcome)
	require.True(t, a.Closed)
	require.Equal(t, stripe.CodeCanceled, a.Code)
	require.Equal(t, at.PaymentID+":cancel", s.calls[1].header.Get("Idempotency-Key"))

	_, err = g.Cancel(t.Context(), at, payment.Untried)
	require.Equal(t, payment.ClassInvalid, failure(t, err).Class, "captured money is refunded, not voided")
}

func refundIntent() payment.RefundIntent {
	return payment.RefundIntent{RefundID: id.New(), Attempt: attempt(), Amount: 1000, Currency: money.CLP, Reason: "duplicate_payment"}
}

func TestRefund_SendsTheDocumentedRequest(t *testing.T) {
	t.Parallel()
	g, s := setup(t, ok(t, sample(t, "refund", map[string]any{"amount": 1000, "currency": "clp"})))
	in := refundIntent()
	a, err := g.Refund(t.Context(), in, payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "re_1Pgc72B7WZ01zgkWqPvrRrPE", Amount: 1000}, a)
	require.Equal(t, []string{"POST /v1/refunds"}, s.made())
	require.Equal(t, in.RefundID+":refund", s.calls[0].header.Get("Idempotency-Key"))
	require.Equal(t, url.Values{
		"payment_intent": {intentID}, "amount": {"1000"}, "reason": {"duplicate"},
		"metadata[refund_id]": {in.RefundID}, "metadata[payment_id]": {in.Attempt.PaymentID}, "metadata[reason]": {"duplicate_payment"},
	}, s.calls[0].form)
}

func TestRefund_AsksForTheIntentWhenItWasNeverStored(t *testing.T) {
	t.Parallel()
	in := refundIntent()
	in.Attempt.CaptureRef = ""
	g, s := setup(t,
		ok(t, session(t, "complete", "paid", in.Attempt.PaymentID, paidIntent(t, nil))),
		ok(t, sample(t, "refund", nil)),
		ok(t, session(t, "open", "unpaid", in.Attempt.PaymentID, nil)))
	_, err := g.Refund(t.Context(), in, payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, intentID, s.calls[1].form.Get("payment_intent"))

	_, err = g.Refund(t.Context(), in, payment.UntriedRefund)
	require.Equal(t, stripe.CodeNothingCharged, failure(t, err).Code)
}

func TestRefund_KeyUsedWithOtherNumbersIsADoubt(t *testing.T) {
	t.Parallel()
	g, _ := setup(t, refusal(400, "idempotency_error", "", "Keys for idempotent requests can only be used with the same parameters they were first used with."))
	a, err := g.Refund(t.Context(), refundIntent(), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome)
}

func TestRefund_StatusesAreMapped(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]payment.RefundAnswer{
		"succeeded":       {Outcome: payment.OutcomeApproved},
		"pending":         {Outcome: payment.OutcomePending},
		"requires_action": {Outcome: payment.OutcomePending},
		"failed":          {Outcome: payment.OutcomeDeclined, Code: "expired_or_canceled_card"},
		"canceled":        {Outcome: payment.OutcomeDeclined, Code: stripe.CodeCanceled},
		"frozen":          {Outcome: payment.OutcomeUnknown, Code: stripe.CodeUnreadable, Message: "unknown status frozen"},
	} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			g, s := setup(t, ok(t, sample(t, "refund", map[string]any{"status": status, "failure_reason": "expired_or_canceled_card"})))
			in := refundIntent()
			in.Reference = "re_1Pgc72B7WZ01zgkWqPvrRrPE"
			looked, err := g.LookupRefund(t.Context(), in)
			require.NoError(t, err)
			a, _ := looked.Answer()
			want.Reference, want.Amount = in.Reference, 100
			require.Equal(t, want, a)
			require.Equal(t, []string{"GET /v1/refunds/" + in.Reference}, s.made())
		})
	}
}

func TestLookupRefund_FindsItsOwnAmongOthersAndAcrossPages(t *testing.T) {
	t.Parallel()
	in := refundIntent()
	page := func(more bool, refunds ...map[string]any) answer {
		return ok(t, map[string]any{"object": "list", "url": "/v1/refunds", "has_more": more, "data": refunds})
	}
	other := sample(t, "refund", map[string]any{"id": "re_other", "metadata": map[string]any{"refund_id": id.New()}})
	own := sample(t, "refund", map[string]any{"id": "re_own", "amount": 1000, "metadata": map[string]any{"refund_id": in.RefundID}})
	g, s := setup(t, page(true, other), page(false, own), page(false, other), answer{status: 500})
	looked, err := g.LookupRefund(t.Context(), in)
	require.NoError(t, err)
	a, _ := looked.Answer()
	require.Equal(t, payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "re_own", Amount: 1000}, a)
	require.Equal(t, intentID, s.calls[0].query.Get("payment_intent"))
	require.Equal(t, "re_other", s.calls[1].query.Get("starting_after"))

	looked, err = g.LookupRefund(t.Context(), in)
	require.NoError(t, err)
	a, _ = looked.Answer()
	require.Equal(t, payment.CodeNoSuchRefund, a.Code)

	_, err = g.LookupRefund(t.Context(), in)
	require.Equal(t, payment.ClassUnavailable, failure(t, err).Class)
}

func TestParseReturn_KnowsBothWaysBack(t *testing.T) {
	t.Parallel()
	g, _ := setup(t)
	for name, c := range map[string]struct {
		query string
		want  payment.Return
	}{
		"paid":                      {"session_id=" + sessionID, payment.Return{Kind: payment.ReturnFinished, Token: sessionID}},
		"back":                      {"cancelled=1", payment.Return{Kind: payment.ReturnCancelled}},
		"back with the session":     {"cancelled=1&session_id=" + sessionID, payment.Return{Kind: payment.ReturnCancelled, Token: sessionID}},
		"another's session":         {"session_id=cs_test_other", payment.Return{}},
		"back by another's session": {"cancelled=1&session_id=cs_test_other", payment.Return{}},
		"own and another's":         {"session_id=" + sessionID + "&session_id=cs_test_other", payment.Return{}},
		"the template itself":       {"session_id={CHECKOUT_SESSION_ID}", payment.Return{}},
		"empty":                     {"session_id=", payment.Return{}},
		"nothing":                   {"", payment.Return{}},
		"cancelled=0":               {"cancelled=0", payment.Return{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			params, err := url.ParseQuery(c.query)
			require.NoError(t, err)
			r, err := g.ParseReturn(attempt(), params)
			if c.want.Kind == "" {
				require.ErrorIs(t, err, payment.ErrForeignReturn)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, r)
		})
	}
	_, err := g.ParseReturn(payment.Attempt{PaymentID: id.New()}, url.Values{"session_id": {""}})
	require.ErrorIs(t, err, payment.ErrForeignReturn)
}
