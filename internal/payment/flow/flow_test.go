package flow_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/flow"
)

const (
	paymentID   = "01K9ZV7Q3M8N4T6W2X5Y7Z9ABC"
	refundID    = "01K9ZV7Q3M8N4T6W2X5Y7Z9REF"
	sampleToken = "33373581FC32576FAF33C46FC6454B1FFEBD7E1H"
	apiKey      = "1F90971E-8276-4715-97FF-2BLG5030EE3B"
	secretKey   = "not-a-real-secret"
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
	values       url.Values
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	values := r.URL.Query()
	if r.Method == http.MethodPost {
		if values, err = url.ParseQuery(string(body)); err != nil {
			panic(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call{r.Method, r.URL.Path, values})
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

func (s *service) made() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]call(nil), s.calls...)
}

func setup(t *testing.T, answers ...answer) (*flow.Gateway, *service) {
	t.Helper()
	s := &service{answers: answers}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	g, err := flow.New(flow.Config{BaseURL: server.URL + "/api/", APIKey: apiKey, SecretKey: secretKey, PaymentMethods: map[string]int{"webpay": 1, "mach": 15}},
		httpclient.New(httpclient.Options{Timeout: 5 * time.Second}))
	require.NoError(t, err)
	return g, s
}

func sample(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(raw)
}

// ok is a sample as it would come, with top-level fields changed.
func ok(t *testing.T, name string, changes map[string]any) answer {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(sample(t, name)), &fields))
	for name, value := range changes {
		fields[name] = value
	}
	raw, err := json.Marshal(fields)
	require.NoError(t, err)
	return answer{status: http.StatusOK, body: string(raw)}
}

// refusal is a documented error.
func refusal(t *testing.T, name string) answer {
	t.Helper()
	var all map[string][2]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(sample(t, "errors.json")), &all))
	require.Contains(t, all, name)
	var status int
	require.NoError(t, json.Unmarshal(all[name][0], &status))
	return answer{status: status, body: string(all[name][1])}
}

func intent() payment.Intent {
	at := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	return payment.Intent{
		PaymentID: paymentID, Tenant: "demo", Number: "DEMO-000123", Amount: 29970, Currency: money.CLP,
		Description: "Pedido DEMO-000123", ReturnURL: "https://shop.example/return", NotifyURL: "https://shop.example/webhooks/demo/flow",
		At: at, Deadline: at.Add(15 * time.Minute), Email: "ana+compras@example.cl",
	}
}

func attempt() payment.Attempt {
	return payment.Attempt{PaymentID: "sf12377", Reference: sampleToken, CaptureRef: "3567899", Amount: 12000, Currency: money.CLP}
}

func failure(t *testing.T, err error, class payment.Class) *payment.Failure {
	t.Helper()
	var f *payment.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, class, f.Class, "%v", err)
	return f
}

func TestNew_RefusesCredentialsThatCannotWork(t *testing.T) {
	t.Parallel()
	good := flow.Config{APIKey: apiKey, SecretKey: secretKey}
	for name, change := range map[string]func(*flow.Config){
		"no key":                  func(c *flow.Config) { c.APIKey = "" },
		"no secret":               func(c *flow.Config) { c.SecretKey = "" },
		"a blank":                 func(c *flow.Config) { c.SecretKey = "a b" },
		"no host":                 func(c *flow.Config) { c.BaseURL = "flow.cl/api" },
		"production by http":      func(c *flow.Config) { c.BaseURL = "http://www.flow.cl/api" },
		"a query":                 func(c *flow.Config) { c.BaseURL = "https://www.flow.cl/api?x=1" },
		"a negative method":       func(c *flow.Config) { c.PaymentMethod = -1 },
		"a nameless method":       func(c *flow.Config) { c.PaymentMethods = map[string]int{"": 1} },
		"a method without number": func(c *flow.Config) { c.PaymentMethods = map[string]int{"webpay": 0} },
	} {
		cfg := good
		change(&cfg)
		_, err := flow.New(cfg, http.DefaultClient)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), secretKey, name)
	}
	_, err := flow.New(good, nil)
	require.Error(t, err)
	g, err := flow.New(good, http.DefaultClient)
	require.NoError(t, err)
	require.Equal(t, payment.Flow, g.Name())
	require.Nil(t, g.Capabilities().Methods, "its page asks")
}

func TestBegin_AsksForALinkThatLivesAsLongAsTheHold(t *testing.T) {
	t.Parallel()
	g, s := setup(t, ok(t, "create.json", nil), ok(t, "create.json", nil), ok(t, "create.json", map[string]any{"url": "https://www.flow.cl/app/web/pay.php?lang=es", "flowOrder": "8765457"}))
	for range 2 {
		a, err := g.Begin(t.Context(), intent(), payment.Untried)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomePending, a.Outcome)
		require.Equal(t, sampleToken, a.Reference)
		require.Equal(t, "8765456", a.CaptureRef)
		require.Equal(t, &payment.Redirect{URL: "https://api.flow.cl?token=" + sampleToken, Method: "GET", Fields: map[string]string{}}, a.Redirect)
		require.WithinDuration(t, time.Now().Add(15*time.Minute), a.ExpiresAt, time.Minute)
		require.False(t, a.LiveMode)
	}
	sent := s.made()
	require.Equal(t, "/api/payment/create", sent[0].path)
	require.Equal(t, sent[0], sent[1], "a repetition asks for the same")
	sent[0].values.Del("s")
	require.Equal(t, url.Values{
		"apiKey": {apiKey}, "commerceOrder": {paymentID}, "subject": {"Pedido DEMO-000123"}, "currency": {"CLP"}, "amount": {"29970"},
		"email": {"ana+compras@example.cl"}, "paymentMethod": {"9"}, "urlConfirmation": {"https://shop.example/webhooks/demo/flow"},
		"urlReturn": {"https://shop.example/return"}, "timeout": {"900"},
	}, sent[0].values)

	chosen := intent()
	chosen.Method = "mach"
	a, err := g.Begin(t.Context(), chosen, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, "15", s.made()[2].values.Get("paymentMethod"))
	require.Equal(t, "https://www.flow.cl/app/web/pay.php?lang=es&token="+sampleToken, a.Redirect.URL)
	require.Equal(t, "8765457", a.CaptureRef)
}

func TestBegin_RefusesWhatFlowCannotDoWithoutACall(t *testing.T) {
	t.Parallel()
	g, s := setup(t)
	for name, change := range map[string]func(*payment.Intent){
		"dollars":           func(in *payment.Intent) { in.Currency = money.USD },
		"nothing":           func(in *payment.Intent) { in.Amount = 0 },
		"no id":             func(in *payment.Intent) { in.PaymentID = "" },
		"no e-mail":         func(in *payment.Intent) { in.Email = "" },
		"no return":         func(in *payment.Intent) { in.ReturnURL = "" },
		"no confirmation":   func(in *payment.Intent) { in.NotifyURL = "" },
		"an unknown method": func(in *payment.Intent) { in.Method = "khipu" },
		"no time left":      func(in *payment.Intent) { in.Deadline = in.At },
		"no deadline":       func(in *payment.Intent) { in.Deadline = time.Time{} },
	} {
		in := intent()
		change(&in)
		_, err := g.Begin(t.Context(), in, payment.Untried)
		require.Equal(t, payment.ClassInvalid, failure(t, err, payment.ClassInvalid).Class, name)
	}
	require.Empty(t, s.made())
}

func TestBegin_DocumentedErrorsHaveTheirClass(t *testing.T) {
	t.Parallel()
	for name, class := range map[string]payment.Class{
		"bad_signature": payment.ClassCredentials, "bad_request": payment.ClassCredentials,
		"missing_params": payment.ClassInvalid, "already_paid": payment.ClassInvalid, "bad_email": payment.ClassInvalid,
		"decimals": payment.ClassInvalid, "minimum": payment.ClassInvalid, "no_funds": payment.ClassInvalid,
	} {
		g, _ := setup(t, refusal(t, name))
		_, err := g.Begin(t.Context(), intent(), payment.Untried)
		f := failure(t, err, class)
		require.NotEmpty(t, f.Code, name)
		require.NotContains(t, err.Error(), "ana@example", "no e-mail in an error")
	}
	for status, class := range map[int]payment.Class{403: payment.ClassCredentials, 404: payment.ClassInvalid, 429: payment.ClassRateLimited, 503: payment.ClassUnavailable} {
		g, _ := setup(t, answer{status: status, body: "<html>", header: map[string]string{"Retry-After": "7"}})
		_, err := g.Begin(t.Context(), intent(), payment.Untried)
		require.Equal(t, 7*time.Second, failure(t, err, class).RetryAfter)
	}
	for _, doubtful := range []answer{
		{cut: true}, {status: 500}, {status: 502}, {status: 408}, {status: 409}, {status: 302},
		{status: 200, body: "<html>"}, {status: 200, body: `{}`}, {status: 200, body: `{"code":1,"message":"x"}`},
		ok(t, "create.json", map[string]any{"token": "../../x"}), ok(t, "create.json", map[string]any{"url": "javascript:alert(1)"}),
	} {
		g, _ := setup(t, doubtful)
		a, err := g.Begin(t.Context(), intent(), payment.Untried)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeUnknown, a.Outcome, "%+v", doubtful)
		require.NotEmpty(t, a.Code)
	}
}

func TestErrors_CarryNoKeyAndNoAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.URL
	server.Close()
	g, err := flow.New(flow.Config{BaseURL: address, APIKey: apiKey, SecretKey: secretKey}, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)
	_, err = g.Lookup(t.Context(), attempt())
	failure(t, err, payment.ClassUnavailable)
	require.NotContains(t, err.Error(), apiKey)
	require.NotContains(t, err.Error(), sampleToken)
}

func TestLookup_ReadsTheDocumentedAnswers(t *testing.T) {
	t.Parallel()
	g, s := setup(t, ok(t, "status_extended.json", nil), ok(t, "status_pending.json", nil), ok(t, "status.json", nil))
	looked, err := g.Lookup(t.Context(), attempt())
	require.NoError(t, err)
	a, asked := looked.Answer()
	require.True(t, asked)
	require.Equal(t, payment.Answer{
		Outcome: payment.OutcomeApproved, Captured: true, Closed: true, Reference: sampleToken, CaptureRef: "3567899", PaymentID: "sf12377",
		Amount: 12000, Currency: money.CLP, Fee: 551, AuthorizationCode: "123456", CardLast4: "9876", Method: "webpay", Installments: 3,
		ApprovedAt: time.Date(2017, 7, 21, 16, 32, 11, 0, time.UTC),
	}, a)
	require.Equal(t, "/api/payment/getStatusExtended", s.made()[0].path)
	require.Equal(t, sampleToken, s.made()[0].values.Get("token"))

	looked, err = g.Lookup(t.Context(), attempt())
	require.NoError(t, err)
	a, _ = looked.Answer()
	require.Equal(t, payment.Answer{Outcome: payment.OutcomePending, Reference: sampleToken, CaptureRef: "3567899", PaymentID: "sf12377", Amount: 12000, Currency: money.CLP}, a)

	looked, err = g.Lookup(t.Context(), attempt())
	require.NoError(t, err)
	a, _ = looked.Answer()
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.Empty(t, a.CardLast4, "the plain status has none")
}

func TestLookup_ReadsNumbersInEveryFormExactly(t *testing.T) {
	t.Parallel()
	status := func(value, amount, paid any) answer {
		return ok(t, "status_extended.json", map[string]any{"status": value, "amount": amount,
			"paymentData": map[string]any{"date": "2017-12-21 12:32:11", "media": "webpay", "amount": paid, "currency": "CLP"}})
	}
	for _, c := range []struct {
		answer answer
		amount int64
	}{
		{status(2, 12000, 12000), 12000},
		{status("2", "12000", "12000.00"), 12000},
		{status(2, json.Number("12000.0000"), nil), 12000},
		{status(2, "12000", "100"), 100}, // what was charged counts
		{ok(t, "status.json", map[string]any{"status": 2, "paymentData": []any{}}), 12000},
	} {
		g, _ := setup(t, c.answer)
		looked, err := g.Lookup(t.Context(), attempt())
		require.NoError(t, err)
		a, _ := looked.Answer()
		require.Equal(t, payment.OutcomeApproved, a.Outcome)
		require.Equal(t, c.amount, a.Amount)
	}
	g, _ := setup(t, status(2, 1, 1))
	looked, err := g.Lookup(t.Context(), attempt())
	require.NoError(t, err)
	a, _ := looked.Answer()
	require.Equal(t, time.Date(2017, 12, 21, 15, 32, 11, 0, time.UTC), a.ApprovedAt, "summer time")

	for _, unreadable := range []any{"12000.50", "12,000", "1.2e4", "-5", "", nil, true, "99999999999999999999", map[string]any{}} {
		g, _ := setup(t, ok(t, "status_pending.json", map[string]any{"amount": unreadable}))
		_, err := g.Lookup(t.Context(), attempt())
		failure(t, err, payment.ClassUnavailable)
	}
	g, _ = setup(t, ok(t, "status_pending.json", map[string]any{"currency": "UF"}))
	_, err = g.Lookup(t.Context(), attempt())
	failure(t, err, payment.ClassUnavailable)
	g, _ = setup(t, ok(t, "status_pending.json", map[string]any{"currency": "USD", "amount": "12.5"}))
	looked, err = g.Lookup(t.Context(), attempt())
	require.NoError(t, err)
	a, _ = looked.Answer()
	require.EqualValues(t, 1250, a.Amount)
}

func TestLookup_TellsHowAnOrderEnded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		changes map[string]any
		want    payment.Answer
	}{
		{map[string]any{"status": 3, "lastError": map[string]any{"code": "-6", "message": "Rechazo general de ana@example.cl"}},
			payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: "-6", Message: "Rechazo general de …"}},
		{map[string]any{"status": "3", "lastError": nil}, payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: flow.CodeRejected}},
		{map[string]any{"status": 4}, payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: payment.CodeExpired}},
		{map[string]any{"status": 7}, payment.Answer{Outcome: payment.OutcomeUnknown, Code: flow.CodeUnknownStatus, Message: "Flow says 7"}},
	} {
		g, _ := setup(t, ok(t, "status_pending.json", c.changes))
		looked, err := g.Lookup(t.Context(), attempt())
		require.NoError(t, err)
		a, _ := looked.Answer()
		c.want.Reference, c.want.CaptureRef, c.want.PaymentID, c.want.Amount, c.want.Currency = sampleToken, "3567899", "sf12377", 12000, money.CLP
		require.Equal(t, c.want, a)
	}
}

func TestLookup_WithoutALinkAsksByOurId(t *testing.T) {
	t.Parallel()
	lost := payment.Attempt{PaymentID: "sf12377"}
	for _, c := range []answer{refusal(t, "not_found"), ok(t, "status_pending.json", nil), ok(t, "status_pending.json", map[string]any{"status": 4})} {
		g, s := setup(t, c)
		looked, err := g.Lookup(t.Context(), lost)
		require.NoError(t, err)
		a, _ := looked.Answer()
		require.Equal(t, payment.OutcomeDeclined, a.Outcome)
		require.Equal(t, payment.CodeNoSuchAttempt, a.Code)
		require.True(t, a.Closed)
		require.Equal(t, "/api/payment/getStatusByCommerceId", s.made()[0].path)
		require.Equal(t, "sf12377", s.made()[0].values.Get("commerceId"))
	}
	g, _ := setup(t, ok(t, "status.json", nil))
	looked, err := g.Lookup(t.Context(), lost)
	require.NoError(t, err)
	a, _ := looked.Answer()
	require.Equal(t, payment.OutcomeApproved, a.Outcome, "money that Flow has is never called absent")
	again, err := g.Begin(t.Context(), intent(), looked)
	require.NoError(t, err)
	require.Equal(t, a, again, "and no second link is made")

	for _, c := range []answer{refusal(t, "missing_params"), {status: 500}, {cut: true}, {status: 200, body: "null!"}} {
		g, _ := setup(t, c, c) // a GET that is cut is sent again by net/http
		_, err := g.Lookup(t.Context(), lost)
		require.Error(t, err, "%+v", c)
	}
}

func TestClose_IsNotClosedWhileTheLinkLives(t *testing.T) {
	t.Parallel()
	g, s := setup(t, ok(t, "status_pending.json", nil), ok(t, "status_pending.json", map[string]any{"status": 4}), ok(t, "status_extended.json", nil))
	a, err := g.Close(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.False(t, a.Closed)
	again, err := g.Close(t.Context(), attempt(), payment.Asked(a))
	require.NoError(t, err)
	require.Equal(t, a, again)
	require.Len(t, s.made(), 1)
	a, err = g.Close(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Closed)
	a, err = g.Close(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
}

func TestCaptureAndCancel_FindThePaymentTaken(t *testing.T) {
	t.Parallel()
	g, _ := setup(t, ok(t, "status_extended.json", nil), ok(t, "status_extended.json", nil), ok(t, "status_pending.json", nil))
	a, err := g.Capture(t.Context(), attempt(), 12000, payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Captured)
	_, err = g.Cancel(t.Context(), attempt(), payment.Untried)
	failure(t, err, payment.ClassInvalid)
	a, err = g.Cancel(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
}

func TestParseReturn_TakesOnlyItsOwnToken(t *testing.T) {
	t.Parallel()
	g, _ := setup(t)
	ret, err := g.ParseReturn(attempt(), url.Values{"token": {sampleToken}, "utm": {"x"}})
	require.NoError(t, err)
	require.Equal(t, payment.Return{Kind: payment.ReturnFinished, Token: sampleToken}, ret)
	for _, values := range []url.Values{{}, {"token": {"x"}}, {"token": {""}}, {"token": {sampleToken, "x"}}} {
		_, err := g.ParseReturn(attempt(), values)
		require.ErrorIs(t, err, payment.ErrForeignReturn)
	}
}

func refundIntent() payment.RefundIntent {
	return payment.RefundIntent{
		RefundID: refundID, Attempt: attempt(), Amount: 12000, Currency: money.CLP, Email: "ana@example.cl",
		NotifyURL: "https://shop.example/webhooks/demo/flow",
	}
}

func TestRefund_IsAcceptedFirstAndDoneLater(t *testing.T) {
	t.Parallel()
	g, s := setup(t, ok(t, "refund.json", nil), ok(t, "refund.json", map[string]any{"status": "accepted"}), ok(t, "refund.json", map[string]any{"status": "refunded"}))
	in := refundIntent()
	a, err := g.Refund(t.Context(), in, payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.EqualValues(t, 12000, a.Amount)
	require.NotEmpty(t, a.Reference)
	sent := s.made()[0].values
	require.Equal(t, "/api/refund/create", s.made()[0].path)
	sent.Del("s")
	require.Equal(t, url.Values{
		"apiKey": {apiKey}, "refundCommerceOrder": {refundID}, "receiverEmail": {"ana@example.cl"}, "amount": {"12000"},
		"urlCallBack": {"https://shop.example/webhooks/demo/flow?refund=" + refundID}, "flowTrxId": {"3567899"},
	}, sent)
	in.Reference = a.Reference
	for _, want := range []payment.Outcome{payment.OutcomePending, payment.OutcomeApproved} {
		looked, err := g.LookupRefund(t.Context(), in)
		require.NoError(t, err)
		said, _ := looked.Answer()
		require.Equal(t, want, said.Outcome)
		again, err := g.Refund(t.Context(), in, looked)
		require.NoError(t, err)
		require.Equal(t, said, again)
	}
	require.Equal(t, "/api/refund/getStatus", s.made()[2].path)
	require.Len(t, s.made(), 3, "asked, never repeated")
}

func TestRefund_NamesThePaymentByOurIdWhenFlowsIsUnknown(t *testing.T) {
	t.Parallel()
	g, s := setup(t, ok(t, "refund.json", nil))
	in := refundIntent()
	in.Attempt.CaptureRef = ""
	_, err := g.Refund(t.Context(), in, payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, "sf12377", s.made()[0].values.Get("commerceTrxId"))
	require.False(t, s.made()[0].values.Has("flowTrxId"))
}

func TestRefund_TellsWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		changes map[string]any
		outcome payment.Outcome
		code    string
	}{
		{map[string]any{"status": "rejected"}, payment.OutcomeDeclined, flow.CodeRefundRejected},
		{map[string]any{"status": "canceled"}, payment.OutcomeDeclined, flow.CodeRefundCancelled},
		{map[string]any{"status": "expired"}, payment.OutcomeUnknown, flow.CodeUnknownStatus},
		{map[string]any{"status": "refunded", "amount": "970.00"}, payment.OutcomeUnknown, "another_amount"},
		{map[string]any{"status": "refunded", "amount": "970.10"}, payment.OutcomeUnknown, flow.CodeUnreadable},
		{map[string]any{"status": "refunded", "amount": nil}, payment.OutcomeApproved, ""},
	} {
		g, _ := setup(t, ok(t, "refund.json", c.changes))
		in := refundIntent()
		in.Reference = sampleToken
		looked, err := g.LookupRefund(t.Context(), in)
		require.NoError(t, err)
		a, _ := looked.Answer()
		require.Equal(t, c.outcome, a.Outcome, "%+v", c.changes)
		require.Equal(t, c.code, a.Code)
		require.Equal(t, sampleToken, a.Reference)
	}
}

func TestRefund_ADoubtIsNeverRepeated(t *testing.T) {
	t.Parallel()
	for _, doubtful := range []answer{{cut: true}, {status: 500}, {status: 503}, {status: 200, body: "<html>"}, {status: 200, body: `{"status":"created"}`}} {
		g, s := setup(t, doubtful)
		in := refundIntent()
		a, err := g.Refund(t.Context(), in, payment.UntriedRefund)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeUnknown, a.Outcome)
		looked, err := g.LookupRefund(t.Context(), in)
		require.NoError(t, err)
		said, _ := looked.Answer()
		require.Equal(t, payment.OutcomeUnknown, said.Outcome)
		require.Equal(t, payment.CodeRefundUntraced, said.Code)
		require.Contains(t, said.Message, refundID, "a person can find it in the panel")
		_, err = g.Refund(t.Context(), in, looked)
		require.NoError(t, err)
		require.Len(t, s.made(), 1)
	}
	for name, class := range map[string]payment.Class{"no_funds": payment.ClassInvalid, "bad_signature": payment.ClassCredentials} {
		g, _ := setup(t, refusal(t, name))
		_, err := g.Refund(t.Context(), refundIntent(), payment.UntriedRefund)
		failure(t, err, class)
	}
}

func TestRefund_RefusesWhatFlowCannotDoWithoutACall(t *testing.T) {
	t.Parallel()
	g, s := setup(t)
	for name, change := range map[string]func(*payment.RefundIntent){
		"dollars":     func(in *payment.RefundIntent) { in.Currency = money.USD },
		"nothing":     func(in *payment.RefundIntent) { in.Amount = 0 },
		"no id":       func(in *payment.RefundIntent) { in.RefundID = "" },
		"no e-mail":   func(in *payment.RefundIntent) { in.Email = "" },
		"no callback": func(in *payment.RefundIntent) { in.NotifyURL = "" },
		"no payment":  func(in *payment.RefundIntent) { in.Attempt = payment.Attempt{PaymentID: paymentID} },
	} {
		in := refundIntent()
		change(&in)
		_, err := g.Refund(t.Context(), in, payment.UntriedRefund)
		require.NotNil(t, failure(t, err, payment.ClassInvalid), name)
	}
	require.Empty(t, s.made())
}

func TestTransactions_WalksTheDaysOfChile(t *testing.T) {
	t.Parallel()
	day := func(orders []string, more any) answer {
		raw := bytes.NewBufferString(`{"total": 3, "hasMore": `)
		encoded, err := json.Marshal(more)
		require.NoError(t, err)
		raw.Write(encoded)
		raw.WriteString(`, "data": [`)
		for i, o := range orders {
			if i > 0 {
				raw.WriteByte(',')
			}
			raw.WriteString(o)
		}
		raw.WriteString(`]}`)
		return answer{status: 200, body: raw.String()}
	}
	paid := func(commerce, date string) string {
		return ok(t, "status.json", map[string]any{"commerceOrder": commerce,
			"paymentData": map[string]any{"date": date, "media": "webpay", "amount": "12000.00", "currency": "CLP", "fee": "551.00"}}).body
	}
	g, s := setup(t,
		day([]string{paid(paymentID, "2026-11-19 23:30:00"), paid("too early", "2026-11-19 20:59:59")}, 1),
		day([]string{paid("somebody else's", "2026-11-19 23:59:59")}, "0"),
		day([]string{paid(refundID, "2026-11-20 00:00:00"), paid("too late", "2026-11-20 21:00:00")}, false),
	)
	q := payment.StatementQuery{From: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)}
	var lines []payment.Transaction
	for range 3 {
		page, err := g.Transactions(t.Context(), q)
		require.NoError(t, err)
		lines = append(lines, page.Transactions...)
		q.Cursor = page.Next
	}
	require.Empty(t, q.Cursor)
	require.Len(t, lines, 3)
	require.Equal(t, payment.Transaction{
		Kind: payment.ChargeTransaction, PaymentID: paymentID, CaptureRef: "3567899", Amount: 12000, Fee: 551, Currency: money.CLP,
		Outcome: payment.OutcomeApproved, Captured: true, At: time.Date(2026, 11, 20, 2, 30, 0, 0, time.UTC),
	}, lines[0])
	require.Empty(t, lines[1].PaymentID)
	require.Equal(t, refundID, lines[2].PaymentID)
	var asked []string
	for _, c := range s.made() {
		require.Equal(t, "/api/payment/getPayments", c.path)
		asked = append(asked, c.values.Get("date")+" "+c.values.Get("start")+" "+c.values.Get("limit"))
	}
	require.Equal(t, []string{"2026-11-19 0 100", "2026-11-19 100 100", "2026-11-20 0 100"}, asked)

	_, err := g.Transactions(t.Context(), payment.StatementQuery{From: q.From, To: q.To, Cursor: "x"})
	failure(t, err, payment.ClassInvalid)
	page, err := g.Transactions(t.Context(), payment.StatementQuery{From: q.To, To: q.From})
	require.NoError(t, err)
	require.Empty(t, page)
}
