package transbank_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/transbank"
)

// The public integration credentials
// (https://www.transbankdevelopers.cl/documentacion/como_empezar).
const (
	integrationCode = "597055555532"
	integrationKey  = "579B532A7440BB0C9079DED94D31EA1615BACEB56610332264630D42D0A36B1C"

	paymentID   = "01K9ZV7Q3M8N4T6W2X5Y7Z9ABC"
	sampleToken = "e9d555262db0f989e49d724b4db0b0af367cc415cde41f500a776550fc5fddd3"
)

// service answers calls in order with documented samples and keeps what it was
// sent.
type service struct {
	t       *testing.T
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
	body         string
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call{r.Method, r.URL.Path, r.Header, string(body)})
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

func setup(t *testing.T, answers ...answer) (*transbank.Gateway, *service) {
	t.Helper()
	return setupWith(t, transbank.Config{CommerceCode: integrationCode, APIKey: integrationKey}, answers...)
}

func setupWith(t *testing.T, cfg transbank.Config, answers ...answer) (*transbank.Gateway, *service) {
	t.Helper()
	s := &service{t: t, answers: answers}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	cfg.BaseURL = server.URL
	g, err := transbank.New(cfg, httpclient.New(httpclient.Options{Timeout: 5 * time.Second}))
	require.NoError(t, err)
	return g, s
}

func sample(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(raw)
}

// with changes fields of a sample.
func with(t *testing.T, text string, changes map[string]any) string {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &fields))
	for name, value := range changes {
		if value == nil {
			delete(fields, name)
			continue
		}
		fields[name] = value
	}
	raw, err := json.Marshal(fields)
	require.NoError(t, err)
	return string(raw)
}

func refusal(text string) answer {
	raw, err := json.Marshal(map[string]string{"error_message": text})
	if err != nil {
		panic(err)
	}
	return answer{status: 422, body: string(raw)}
}

func intent() payment.Intent {
	return payment.Intent{
		PaymentID: paymentID, Tenant: "demo", Number: "DEMO-000123", Amount: 10000, Currency: money.CLP,
		ReturnURL: "http://www.comercio.cl/webpay/retorno",
	}
}

func attempt() payment.Attempt {
	return payment.Attempt{
		PaymentID: paymentID, Reference: sampleToken, CaptureRef: sampleToken, Amount: 10000, Currency: money.CLP,
	}
}

func failure(t *testing.T, err error) *payment.Failure {
	t.Helper()
	var f *payment.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, payment.Transbank, f.Gateway)
	return f
}

const base = "/rswebpaytransaction/api/webpay/v1.2/transactions"

func TestNew_RefusesConfigurationsThatCannotWork(t *testing.T) {
	t.Parallel()
	good := transbank.Config{BaseURL: "https://webpay3gint.transbank.cl", CommerceCode: integrationCode, APIKey: integrationKey}
	client := httpclient.New(httpclient.Options{})
	_, err := transbank.New(good, client)
	require.NoError(t, err)
	for name, spoil := range map[string]func(*transbank.Config){
		"host without scheme":     func(c *transbank.Config) { c.BaseURL = "webpay3gint.transbank.cl" },
		"another scheme":          func(c *transbank.Config) { c.BaseURL = "ftp://webpay3gint.transbank.cl" },
		"user in the address":     func(c *transbank.Config) { c.BaseURL = "https://a:b@webpay3gint.transbank.cl" },
		"production without TLS":  func(c *transbank.Config) { c.BaseURL = "http://webpay3g.transbank.cl" },
		"commerce code too short": func(c *transbank.Config) { c.CommerceCode = "59705555553" },
		"commerce code of words":  func(c *transbank.Config) { c.CommerceCode = "59705555553x" },
		"no key":                  func(c *transbank.Config) { c.APIKey = "" },
		"key with a line break":   func(c *transbank.Config) { c.APIKey += "\n" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := good
			spoil(&cfg)
			_, err := transbank.New(cfg, client)
			require.Error(t, err)
		})
	}
	_, err = transbank.New(good, nil)
	require.Error(t, err)
}

func TestBegin_SendsTheDocumentedRequest(t *testing.T) {
	t.Parallel()
	g, s := setup(t, answer{status: 200, body: sample(t, "create.json")})
	before := time.Now()
	a, err := g.Begin(t.Context(), intent(), payment.Untried)
	require.NoError(t, err)

	require.Equal(t, []string{"POST " + base}, s.made())
	c := s.calls[0]
	require.Equal(t, integrationCode, c.header.Get("Tbk-Api-Key-Id"))
	require.Equal(t, integrationKey, c.header.Get("Tbk-Api-Key-Secret"))
	require.Equal(t, "application/json", c.header.Get("Content-Type"))
	require.JSONEq(t, `{"buy_order":"`+paymentID+`","session_id":"`+paymentID+`","amount":10000,"return_url":"http://www.comercio.cl/webpay/retorno"}`, c.body)

	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.Equal(t, sampleToken, a.Reference)
	require.Equal(t, &payment.Redirect{
		URL: "https://webpay3gint.transbank.cl/webpayserver/initTransaction", Method: "POST",
		Fields: map[string]string{"token_ws": sampleToken},
	}, a.Redirect)
	require.WithinDuration(t, before.Add(10*time.Minute), a.ExpiresAt, time.Minute)
	require.False(t, a.LiveMode)
}

func TestBegin_RefusesWhatWebpayCannotTakeWithoutACall(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*payment.Intent){
		"dollars":        func(in *payment.Intent) { in.Currency = money.USD },
		"nothing to pay": func(in *payment.Intent) { in.Amount = 0 },
		"id too long":    func(in *payment.Intent) { in.PaymentID += "X" },
		"long address":   func(in *payment.Intent) { in.ReturnURL = "https://a.cl/" + strings.Repeat("x", 250) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := setup(t)
			in := intent()
			spoil(&in)
			_, err := g.Begin(t.Context(), in, payment.Untried)
			require.Equal(t, payment.ClassInvalid, failure(t, err).Class)
			require.Empty(t, s.made())
		})
	}
}

func TestBegin_AfterALostAnswerCreatesAnotherTransaction(t *testing.T) {
	t.Parallel()
	g, s := setup(t, answer{cut: true}, answer{status: 200, body: sample(t, "create.json")})
	a, err := g.Begin(t.Context(), intent(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome)

	looked, err := g.Lookup(t.Context(), payment.Attempt{PaymentID: paymentID})
	require.NoError(t, err)
	a, _ = looked.Answer()
	require.Equal(t, payment.OutcomeDeclined, a.Outcome)
	require.True(t, a.Closed)
	require.Equal(t, payment.CodeNoSuchAttempt, a.Code)

	a, err = g.Begin(t.Context(), intent(), looked)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.Len(t, s.made(), 2)
}

func TestBegin_AnAnswerWithoutATokenIsUnknown(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty":            `{}`,
		"not JSON":         `<html>`,
		"address of words": `{"token":"` + sampleToken + `","url":"javascript:alert(1)"}`,
		"token of a path":  `{"token":"../../x","url":"https://webpay3gint.transbank.cl/webpayserver/initTransaction"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := setup(t, answer{status: 200, body: body})
			a, err := g.Begin(t.Context(), intent(), payment.Untried)
			require.NoError(t, err)
			require.Equal(t, payment.OutcomeUnknown, a.Outcome)
			require.Nil(t, a.Redirect)
		})
	}
}

func TestSettle_CommitsAFinishedReturn(t *testing.T) {
	t.Parallel()
	g, s := setup(t, answer{status: 200, body: sample(t, "commit.json")})
	a, err := g.Settle(t.Context(), attempt(), payment.Return{Kind: payment.ReturnFinished, Token: sampleToken}, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, []string{"PUT " + base + "/" + sampleToken}, s.made())
	require.Empty(t, s.calls[0].body)
	require.Equal(t, payment.Answer{
		Outcome: payment.OutcomeApproved, Captured: true,
		Reference: sampleToken, CaptureRef: sampleToken,
		PaymentID: "ordenCompra12345678", Amount: 10000, Currency: money.CLP, Account: integrationCode,
		AuthorizationCode: "1213", CardLast4: "6623", Method: "VN",
		ApprovedAt: time.Date(2019, 5, 22, 16, 41, 21, 63_000_000, time.UTC),
	}, a)
}

func TestSettle_IsApprovedOnlyByStatusAndResponseCode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		changes map[string]any
		outcome payment.Outcome
		code    string
	}{
		"rejected by the issuer":       {map[string]any{"status": "FAILED", "response_code": -4}, payment.OutcomeDeclined, "-4"},
		"authorized with a refusal":    {map[string]any{"response_code": -1}, payment.OutcomeDeclined, "-1"},
		"failed with code 0":           {map[string]any{"status": "FAILED"}, payment.OutcomeDeclined, "0"},
		"no response code":             {map[string]any{"response_code": nil}, payment.OutcomeUnknown, transbank.CodeUnreadable},
		"no amount":                    {map[string]any{"amount": nil}, payment.OutcomeUnknown, transbank.CodeUnreadable},
		"a fraction of a peso":         {map[string]any{"amount": 10000.5}, payment.OutcomeUnknown, transbank.CodeUnreadable},
		"an amount beyond counting":    {map[string]any{"amount": json.Number("1e999999999")}, payment.OutcomeUnknown, transbank.CodeUnreadable},
		"a status of another version":  {map[string]any{"status": "PREAUTHORIZED"}, payment.OutcomeUnknown, transbank.CodeUnreadable},
		"code and amount as texts":     {map[string]any{"response_code": "0", "amount": "10000.00"}, payment.OutcomeApproved, ""},
		"no card and no authorization": {map[string]any{"card_detail": nil, "authorization_code": nil}, payment.OutcomeApproved, ""},
		"not committed after all":      {map[string]any{"status": "INITIALIZED", "response_code": nil}, payment.OutcomePending, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := setup(t, answer{status: 200, body: with(t, sample(t, "commit.json"), c.changes)})
			a, err := g.Settle(t.Context(), attempt(), payment.Return{Kind: payment.ReturnFinished}, payment.Untried)
			require.NoError(t, err)
			require.Equal(t, c.outcome, a.Outcome)
			require.Equal(t, c.code, a.Code)
			require.Equal(t, c.outcome == payment.OutcomeDeclined, a.Closed)
		})
	}
}

func TestSettle_CommitsOnlyWhatIsNotCommittedYet(t *testing.T) {
	t.Parallel()
	finished := payment.Return{Kind: payment.ReturnFinished, Token: sampleToken}
	for _, outcome := range []payment.Outcome{payment.OutcomeApproved, payment.OutcomeDeclined, payment.OutcomeUnknown} {
		g, s := setup(t)
		said := payment.Answer{Outcome: outcome, Code: "said before"}
		a, err := g.Settle(t.Context(), attempt(), finished, payment.Asked(said))
		require.NoError(t, err)
		require.Equal(t, said, a)
		require.Empty(t, s.made())
	}

	g, s := setup(t, answer{status: 200, body: sample(t, "commit.json")})
	a, err := g.Settle(t.Context(), attempt(), finished, payment.Asked(payment.Answer{Outcome: payment.OutcomePending}))
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.Equal(t, []string{"PUT " + base + "/" + sampleToken}, s.made())
}

func TestSettle_OtherReturnsAreNeverCommitted(t *testing.T) {
	t.Parallel()
	initialized := map[string]any{"status": "INITIALIZED", "response_code": nil, "authorization_code": nil, "card_detail": nil}
	for kind, code := range map[payment.ReturnKind]string{
		payment.ReturnCancelled: payment.CodeAborted,
		payment.ReturnTimedOut:  payment.CodeFormTimeout,
		payment.ReturnFormError: transbank.CodeFormError,
	} {
		g, s := setup(t,
			answer{status: 200, body: with(t, sample(t, "commit.json"), initialized)},
			// The buyer's way back by "cancel", 49 s after a commit of the same
			// token, as a shop once logged it.
			answer{status: 200, body: sample(t, "commit.json")})
		a, err := g.Settle(t.Context(), attempt(), payment.Return{Kind: kind}, payment.Untried)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeDeclined, a.Outcome)
		require.True(t, a.Closed)
		require.Equal(t, code, a.Code)

		a, err = g.Settle(t.Context(), attempt(), payment.Return{Kind: kind}, payment.Untried)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeApproved, a.Outcome, "a committed payment is not undone by a return")
		require.Equal(t, []string{"GET " + base + "/" + sampleToken, "GET " + base + "/" + sampleToken}, s.made())
	}
}

func TestSettle_TellsFailureFromDoubt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer  answer
		class   payment.Class   // of a failure, or
		outcome payment.Outcome // of an answer
		code    string
	}{
		"locked":                 {answer: refusal("Transaction already locked by another process"), outcome: payment.OutcomeUnknown, code: transbank.CodeLocked},
		"a text nobody knows":    {answer: refusal("Error 77"), outcome: payment.OutcomeUnknown, code: "http_422"},
		"500":                    {answer: answer{status: 500, body: `{"description":"Internal server error"}`}, outcome: payment.OutcomeUnknown, code: "http_500"},
		"502 with a page":        {answer: answer{status: 502, body: `<html>bad gateway</html>`}, outcome: payment.OutcomeUnknown, code: "http_502"},
		"answer cut":             {answer: answer{cut: true}, outcome: payment.OutcomeUnknown, code: "no_answer"},
		"redirect":               {answer: answer{status: 302, header: map[string]string{"Location": "/"}}, outcome: payment.OutcomeUnknown, code: "http_302"},
		"half an answer":         {answer: answer{status: 200, body: `{"status":"AUTHO`}, outcome: payment.OutcomeUnknown, code: transbank.CodeUnreadable},
		"not paid yet":           {answer: refusal("Invalid status '0' for transaction while authorizing"), outcome: payment.OutcomePending, code: transbank.CodeNotPaidYet},
		"aborted":                {answer: refusal("Transaction has an invalid finished state: aborted"), outcome: payment.OutcomeDeclined, code: payment.CodeAborted},
		"aborted, older text":    {answer: refusal("Invalid status '10' for transaction while authorizing"), outcome: payment.OutcomeDeclined, code: payment.CodeAborted},
		"given up, uncommitted":  {answer: refusal("Transaction has an invalid finished state: reversed"), outcome: payment.OutcomeDeclined, code: transbank.CodeReversed},
		"authentication dropped": {answer: refusal("Invalid status '19' for transaction while authorizing"), outcome: payment.OutcomeDeclined, code: payment.CodeAborted},
		"wrong key":              {answer: answer{status: 401, body: `{"error_message":"Not Authorized"}`}, class: payment.ClassCredentials, code: "http_401"},
		"too many":               {answer: answer{status: 429, header: map[string]string{"Retry-After": "3"}}, class: payment.ClassRateLimited, code: "http_429"},
		"away":                   {answer: answer{status: 503}, class: payment.ClassUnavailable, code: "http_503"},
		"no such path":           {answer: answer{status: 404}, class: payment.ClassInvalid, code: "http_404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := setup(t, c.answer)
			a, err := g.Settle(t.Context(), attempt(), payment.Return{Kind: payment.ReturnFinished}, payment.Untried)
			require.Len(t, s.made(), 1, "an adapter never tries twice")
			if c.class != "" {
				f := failure(t, err)
				require.Equal(t, c.class, f.Class)
				require.Equal(t, c.code, f.Code)
				if c.class == payment.ClassRateLimited {
					require.Equal(t, 3*time.Second, f.RetryAfter)
				}
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.outcome, a.Outcome)
			require.Equal(t, c.code, a.Code)
			require.Equal(t, sampleToken, a.Reference)
		})
	}
}

func TestSettle_NothingSentIsAFailureAndASlowAnswerADoubt(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	g, err := transbank.New(transbank.Config{BaseURL: server.URL, CommerceCode: integrationCode, APIKey: integrationKey}, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	a, err := g.Settle(ctx, attempt(), payment.Return{Kind: payment.ReturnFinished}, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome)

	_, err = g.Settle(ctx, attempt(), payment.Return{Kind: payment.ReturnFinished}, payment.Untried)
	f := failure(t, err)
	require.Equal(t, payment.ClassUnavailable, f.Class)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestLookup_ReadsWhatWasGivenBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		changes  map[string]any
		refunded int64
	}{
		"nothing":           {nil, 0},
		"reversed":          {map[string]any{"status": "REVERSED"}, 10000},
		"all nullified":     {map[string]any{"status": "NULLIFIED", "balance": 0}, 10000},
		"all, not balanced": {map[string]any{"status": "NULLIFIED"}, 10000},
		"a part":            {map[string]any{"status": "PARTIALLY_NULLIFIED", "balance": 7000.00}, 3000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := setup(t, answer{status: 200, body: with(t, sample(t, "commit.json"), c.changes)})
			looked, err := g.Lookup(t.Context(), attempt())
			require.NoError(t, err)
			a, asked := looked.Answer()
			require.True(t, asked)
			require.Equal(t, payment.OutcomeApproved, a.Outcome)
			require.True(t, a.Captured)
			require.Equal(t, c.refunded, a.Refunded)
			require.Equal(t, []string{"GET " + base + "/" + sampleToken}, s.made())
		})
	}
}

func TestLookup_WithoutAnAnswerIsAnErrorAndForgottenIsADoubt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer answer
		class  payment.Class
	}{
		"500":           {answer{status: 500}, payment.ClassUnavailable},
		"cut":           {answer{cut: true}, payment.ClassUnavailable},
		"not JSON":      {answer{status: 200, body: "<html>"}, payment.ClassUnavailable},
		"too many":      {answer{status: 429}, payment.ClassRateLimited},
		"wrong key":     {answer{status: 401}, payment.ClassCredentials},
		"unknown token": {refusal("Invalid value for parameter: token"), payment.ClassInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := setup(t, c.answer)
			_, err := g.Lookup(t.Context(), attempt())
			require.Equal(t, c.class, failure(t, err).Class)
		})
	}

	g, _ := setup(t, refusal("The transactions date has passed max time (7 days) to recover the status"))
	looked, err := g.Lookup(t.Context(), attempt())
	require.NoError(t, err)
	a, _ := looked.Answer()
	require.Equal(t, payment.OutcomeUnknown, a.Outcome)
	require.Equal(t, transbank.CodeStatusTooOld, a.Code)
}

func TestClose_AnswersFromTheStatus(t *testing.T) {
	t.Parallel()
	g, s := setup(t,
		answer{status: 200, body: with(t, sample(t, "commit.json"), map[string]any{"status": "INITIALIZED", "response_code": nil})},
		answer{status: 200, body: sample(t, "commit.json")},
		answer{status: 503})
	a, err := g.Close(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDeclined, a.Outcome)
	require.True(t, a.Closed)
	require.Equal(t, payment.CodeClosed, a.Code)

	a, err = g.Close(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)

	_, err = g.Close(t.Context(), attempt(), payment.Untried)
	require.Equal(t, payment.ClassUnavailable, failure(t, err).Class)

	a, err = g.Close(t.Context(), payment.Attempt{PaymentID: paymentID}, payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Closed, "what was never received can't be paid")
	require.Len(t, s.made(), 3)
}

func refundIntent(amount, before int64) payment.RefundIntent {
	return payment.RefundIntent{
		RefundID: "01K9ZV7Q3M8N4T6W2X5Y7Z9REF", Attempt: attempt(), Amount: amount, Currency: money.CLP, RefundedBefore: before,
	}
}

func TestRefund_ReadsReversalAndNullification(t *testing.T) {
	t.Parallel()
	g, s := setup(t,
		answer{status: 200, body: sample(t, "refund_reversed.json")},
		answer{status: 200, body: sample(t, "refund_nullified.json")},
		answer{status: 200, body: with(t, sample(t, "refund_nullified.json"), map[string]any{"response_code": 53})},
		answer{status: 200, body: `{}`})
	a, err := g.Refund(t.Context(), refundIntent(10000, 0), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.EqualValues(t, 10000, a.Amount)
	require.Equal(t, "POST "+base+"/"+sampleToken+"/refunds", s.made()[0])
	require.JSONEq(t, `{"amount":10000}`, s.calls[0].body)

	a, err = g.Refund(t.Context(), refundIntent(1000, 0), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "123456", Amount: 1000}, a)

	a, err = g.Refund(t.Context(), refundIntent(1000, 0), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDeclined, a.Outcome)
	require.Equal(t, "53", a.Code)

	a, err = g.Refund(t.Context(), refundIntent(1000, 0), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome, "an answer without a type tells nothing")
}

func TestRefund_IsNotIdempotentSoEveryServerErrorIsADoubt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer answer
		class  payment.Class
		code   string // of a refund that is declined
	}{
		"500":               {answer: answer{status: 500}},
		"503":               {answer: answer{status: 503}},
		"cut":               {answer: answer{cut: true}},
		"locked":            {answer: refusal("Transaction already locked by another process")},
		"fully refunded":    {answer: refusal("Transaction already fully refunded"), code: "310"},
		"more than was":     {answer: refusal("Amount to refund is bigger than authorized"), code: "311"},
		"not finished":      {answer: refusal("Transaction is unfinished, it is not possible to refund it yet"), code: "unfinished"},
		"too late":          {answer: refusal("Nullification period has expired (284)"), code: "284"},
		"instalments":       {answer: refusal("53: no parts of instalments"), code: "53"},
		"a part of a debit": {answer: refusal("Debit or prepaid transactions only allow reverses, not nullifications."), code: "53"},
		"its code apart":    {answer: answer{status: 422, body: `{"code":311,"description":"El monto excede el saldo"}`}, code: "311"},
		"a text not known":  {answer: refusal("Something about 22 things"), code: "http_422"},
		"wrong credential":  {answer: answer{status: 401}, class: payment.ClassCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := setup(t, c.answer)
			a, err := g.Refund(t.Context(), refundIntent(1000, 0), payment.UntriedRefund)
			require.Len(t, s.made(), 1)
			if c.class != "" {
				require.Equal(t, c.class, failure(t, err).Class)
				return
			}
			require.NoError(t, err)
			if c.code != "" {
				require.Equal(t, payment.OutcomeDeclined, a.Outcome)
				require.Equal(t, c.code, a.Code)
				return
			}
			require.Equal(t, payment.OutcomeUnknown, a.Outcome)
		})
	}
}

func TestRefund_IsNotMadeAgainUnlessTheQuestionFoundNone(t *testing.T) {
	t.Parallel()
	for _, said := range []payment.RefundAnswer{
		{Outcome: payment.OutcomeApproved, Amount: 1000},
		{Outcome: payment.OutcomeUnknown, Code: transbank.CodeRefundMismatch},
		{Outcome: payment.OutcomeDeclined, Code: "other"},
	} {
		g, s := setup(t)
		a, err := g.Refund(t.Context(), refundIntent(1000, 0), payment.AskedRefund(said))
		require.NoError(t, err)
		require.Equal(t, said, a)
		require.Empty(t, s.made())
	}
}

func TestLookupRefund_ComparesWithWhatWasKnownBefore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status         map[string]any
		amount, before int64
		outcome        payment.Outcome
		code           string
	}{
		"none made":               {nil, 3000, 0, payment.OutcomeDeclined, payment.CodeNoSuchRefund},
		"the first made":          {map[string]any{"status": "PARTIALLY_NULLIFIED", "balance": 7000}, 3000, 0, payment.OutcomeApproved, ""},
		"the second not made":     {map[string]any{"status": "PARTIALLY_NULLIFIED", "balance": 7000}, 2000, 3000, payment.OutcomeDeclined, payment.CodeNoSuchRefund},
		"the second made":         {map[string]any{"status": "PARTIALLY_NULLIFIED", "balance": 5000}, 2000, 3000, payment.OutcomeApproved, ""},
		"all reversed":            {map[string]any{"status": "REVERSED"}, 10000, 0, payment.OutcomeApproved, ""},
		"reversed for a part":     {map[string]any{"status": "REVERSED"}, 3000, 0, payment.OutcomeUnknown, transbank.CodeRefundMismatch},
		"another sum, by others":  {map[string]any{"status": "PARTIALLY_NULLIFIED", "balance": 9500}, 3000, 0, payment.OutcomeUnknown, transbank.CodeRefundMismatch},
		"less than before":        {nil, 3000, 2000, payment.OutcomeUnknown, transbank.CodeRefundMismatch},
		"a part without balance":  {map[string]any{"status": "PARTIALLY_NULLIFIED"}, 3000, 0, payment.OutcomeUnknown, transbank.CodeUnreadable},
		"made twice by a mistake": {map[string]any{"status": "PARTIALLY_NULLIFIED", "balance": 4000}, 3000, 0, payment.OutcomeUnknown, transbank.CodeRefundMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := setup(t, answer{status: 200, body: with(t, sample(t, "commit.json"), c.status)})
			looked, err := g.LookupRefund(t.Context(), refundIntent(c.amount, c.before))
			require.NoError(t, err)
			a, asked := looked.Answer()
			require.True(t, asked)
			require.Equal(t, c.outcome, a.Outcome)
			require.Equal(t, c.code, a.Code)
		})
	}
}

func TestCapture_TakesAnAuthorizationOfADeferredCode(t *testing.T) {
	t.Parallel()
	cfg := transbank.Config{CommerceCode: "597055555540", APIKey: integrationKey, Capture: "manual"}
	g, s := setupWith(t, cfg,
		answer{status: 200, body: sample(t, "commit_deferred.json")},
		answer{status: 200, body: sample(t, "capture.json")},
		answer{status: 200, body: with(t, sample(t, "commit_deferred.json"), map[string]any{"status": "CAPTURED"})})
	a, err := g.Capture(t.Context(), attempt(), 1000, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.True(t, a.Captured)
	require.EqualValues(t, 1000, a.Amount)
	require.Equal(t, []string{"GET " + base + "/" + sampleToken, "PUT " + base + "/" + sampleToken + "/capture"}, s.made())
	require.JSONEq(t, `{"buy_order":"`+paymentID+`","authorization_code":"123456","capture_amount":1000}`, s.calls[1].body)

	a, err = g.Capture(t.Context(), attempt(), 1000, payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Captured)
	require.Len(t, s.made(), 3, "what is captured is not captured again")
}

func TestCapture_InPartIsCountedByWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	cfg := transbank.Config{CommerceCode: "597055555540", APIKey: integrationKey, Capture: "manual"}
	status := func(changes map[string]any) answer {
		return answer{status: 200, body: with(t, sample(t, "commit_deferred.json"), changes)}
	}
	at := attempt()
	at.CaptureAmount = 1000 // of 1209
	for name, c := range map[string]struct {
		answer   answer
		refunded int64
	}{
		"captured":                  {status(map[string]any{"status": "CAPTURED"}), 0},
		"a part of it given back":   {status(map[string]any{"status": "PARTIALLY_NULLIFIED", "balance": 700}), 300},
		"given back":                {status(map[string]any{"status": "NULLIFIED", "balance": 0}), 1000},
		"undone on the same day":    {status(map[string]any{"status": "REVERSED"}), 1000},
		"the status tells the part": {status(map[string]any{"status": "PARTIALLY_NULLIFIED", "amount": 1000, "balance": 700}), 300},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := setupWith(t, cfg, c.answer, c.answer)
			looked, err := g.Lookup(t.Context(), at)
			require.NoError(t, err)
			a, _ := looked.Answer()
			require.Equal(t, payment.OutcomeApproved, a.Outcome)
			require.True(t, a.Captured)
			require.EqualValues(t, 1000, a.Amount)
			require.Equal(t, c.refunded, a.Refunded)
			in := refundIntent(300, c.refunded-300)
			in.Attempt = at
			found, err := g.LookupRefund(t.Context(), in)
			require.NoError(t, err)
			if said, _ := found.Answer(); c.refunded > 0 {
				require.Equal(t, payment.OutcomeApproved, said.Outcome)
			}
		})
	}
}

func TestCapture_RefusalsAreFailuresAndTakenBeforeIsADoubt(t *testing.T) {
	t.Parallel()
	cfg := transbank.Config{CommerceCode: "597055555540", APIKey: integrationKey, Capture: "manual"}
	authorized := payment.Asked(payment.Answer{Outcome: payment.OutcomeApproved, Amount: 1209, AuthorizationCode: "123456"})
	for text, code := range map[string]string{"Capture period has expired (284)": "284", "Operation not allowed": "not_allowed", "Transaction not found": "no_such_token"} {
		g, _ := setupWith(t, cfg, refusal(text))
		_, err := g.Capture(t.Context(), attempt(), 1209, authorized)
		f := failure(t, err)
		require.Equal(t, payment.ClassInvalid, f.Class)
		require.Equal(t, code, f.Code)
	}
	g, _ := setupWith(t, cfg, answer{status: 422, body: `{"error_message":"Transaction already captured"}`})
	a, err := g.Capture(t.Context(), attempt(), 1209, authorized)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome, "somebody captured it: the status tells")
	require.Equal(t, "309", a.Code)

	g, s := setupWith(t, cfg)
	_, err = g.Capture(t.Context(), attempt(), 1209, payment.Asked(payment.Answer{Outcome: payment.OutcomeUnknown, Code: transbank.CodeStatusTooOld}))
	require.Equal(t, transbank.CodeStatusTooOld, failure(t, err).Code)
	_, err = g.Capture(t.Context(), attempt(), 1210, authorized)
	require.Equal(t, payment.ClassInvalid, failure(t, err).Class)
	require.Empty(t, s.made())
}

func TestLookup_AnAuthorizationThatNobodyCapturedWasNeverMoney(t *testing.T) {
	t.Parallel()
	cfg := transbank.Config{CommerceCode: "597055555540", APIKey: integrationKey, Capture: "manual"}
	for _, status := range []string{"REVERSED", "NULLIFIED"} {
		g, _ := setupWith(t, cfg, answer{status: 200, body: with(t, sample(t, "commit_deferred.json"), map[string]any{"status": status})})
		looked, err := g.Lookup(t.Context(), attempt())
		require.NoError(t, err)
		a, _ := looked.Answer()
		require.Equal(t, payment.OutcomeDeclined, a.Outcome)
		require.True(t, a.Closed)
		require.False(t, a.Captured)
		require.Zero(t, a.Refunded)
		require.Equal(t, transbank.CodeVoided, a.Code)
	}
}

func TestCapabilities_FollowTheCommerceCode(t *testing.T) {
	t.Parallel()
	g, _ := setup(t)
	require.False(t, g.Capabilities().DefersCapture)
	deferred, _ := setupWith(t, transbank.Config{CommerceCode: "597055555540", APIKey: integrationKey, Capture: "manual"})
	require.True(t, deferred.Capabilities().DefersCapture)
	require.Equal(t, 7*24*time.Hour, deferred.Capabilities().CaptureFor)

	can, now := g.Capabilities(), time.Now()
	for method, part := range map[string]string{"VN": "", "VD": payment.NoPartialRefund, "VP": payment.NoPartialRefund, "VC": payment.NoPartialRefund, "SI": payment.NoPartialRefund, "S2": payment.NoPartialRefund, "NC": payment.NoPartialRefund} {
		require.Equal(t, part, can.CanRefund(500, 1000, method, 0, now, now), method)
		require.Empty(t, can.CanRefund(1000, 1000, method, 0, now, now), method)
	}
	require.Equal(t, payment.RefundWindowOver, can.CanRefund(1000, 1000, "VN", 0, now.Add(-91*24*time.Hour), now))
}

func TestCancel_GivesAnAuthorizationBack(t *testing.T) {
	t.Parallel()
	cfg := transbank.Config{CommerceCode: "597055555540", APIKey: integrationKey, Capture: "manual"}
	g, s := setupWith(t, cfg,
		answer{status: 200, body: sample(t, "commit_deferred.json")},
		answer{status: 200, body: sample(t, "refund_reversed.json")},
		answer{status: 200, body: with(t, sample(t, "commit_deferred.json"), map[string]any{"status": "REVERSED"})})
	a, err := g.Cancel(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeDeclined, a.Outcome)
	require.True(t, a.Closed)
	require.Equal(t, transbank.CodeVoided, a.Code)
	require.JSONEq(t, `{"amount":1209}`, s.calls[1].body)

	a, err = g.Cancel(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, transbank.CodeVoided, a.Code)
	require.Len(t, s.made(), 3)

	g, _ = setup(t, answer{status: 200, body: sample(t, "commit.json")})
	_, err = g.Cancel(t.Context(), attempt(), payment.Untried)
	require.Equal(t, payment.ClassInvalid, failure(t, err).Class, "captured money is refunded, not voided")
}

func TestParseReturn_KnowsTheFourWaysBack(t *testing.T) {
	t.Parallel()
	g, _ := setup(t)
	own, foreign := sampleToken, strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		query string
		kind  payment.ReturnKind
		token string
	}{
		"finished":                 {"token_ws=" + own, payment.ReturnFinished, own},
		"timed out":                {"TBK_ID_SESION=" + paymentID + "&TBK_ORDEN_COMPRA=" + paymentID, payment.ReturnTimedOut, ""},
		"cancelled":                {"TBK_TOKEN=" + own + "&TBK_ID_SESION=" + paymentID + "&TBK_ORDEN_COMPRA=" + paymentID, payment.ReturnCancelled, own},
		"form error":               {"token_ws=" + own + "&TBK_TOKEN=" + own + "&TBK_ID_SESION=" + paymentID + "&TBK_ORDEN_COMPRA=" + paymentID, payment.ReturnFormError, own},
		"another's token":          {"token_ws=" + foreign, "", ""},
		"another's aborted token":  {"TBK_TOKEN=" + foreign + "&TBK_ORDEN_COMPRA=" + paymentID, "", ""},
		"another's order":          {"TBK_ID_SESION=x&TBK_ORDEN_COMPRA=01K9ZV7Q3M8N4T6W2X5Y7Z9XXX", "", ""},
		"own token, another order": {"TBK_TOKEN=" + own + "&TBK_ORDEN_COMPRA=other", "", ""},
		"own and another's token":  {"token_ws=" + own + "&token_ws=" + foreign, "", ""},
		"one token of two foreign": {"token_ws=" + own + "&TBK_TOKEN=" + foreign + "&TBK_ORDEN_COMPRA=" + paymentID, "", ""},
		"token in another case":    {"token_ws=" + strings.ToUpper(own), "", ""},
		"empty token":              {"token_ws=", "", ""},
		"token with an order":      {"token_ws=" + own + "&TBK_ORDEN_COMPRA=" + paymentID, "", ""},
		"session alone":            {"TBK_ID_SESION=" + paymentID, "", ""},
		"nothing":                  {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			params, err := url.ParseQuery(c.query)
			require.NoError(t, err)
			r, err := g.ParseReturn(attempt(), params)
			if c.kind == "" {
				require.ErrorIs(t, err, payment.ErrForeignReturn)
				return
			}
			require.NoError(t, err)
			require.Equal(t, payment.Return{Kind: c.kind, Token: c.token}, r)
		})
	}

	lost := payment.Attempt{PaymentID: paymentID}
	_, err := g.ParseReturn(lost, url.Values{"token_ws": {""}})
	require.ErrorIs(t, err, payment.ErrForeignReturn, "without a token of ours no token is ours")
}

func TestParseNotification_ThereAreNone(t *testing.T) {
	t.Parallel()
	g, s := setup(t)
	_, err := g.ParseNotification(payment.Delivery{Body: []byte(`{}`)}, time.Now())
	require.ErrorIs(t, err, payment.ErrNoNotifications)
	require.False(t, g.Capabilities().Notifications)
	require.Empty(t, s.made())
}

func TestErrors_NameNoSecret(t *testing.T) {
	t.Parallel()
	g, _ := setup(t, answer{status: 401, body: `{"error_message":"Not Authorized"}`}, answer{cut: true})
	_, err := g.Begin(t.Context(), intent(), payment.Untried)
	require.NotContains(t, err.Error(), integrationKey)
	_, err = g.Lookup(t.Context(), attempt())
	require.NotContains(t, err.Error(), integrationKey)
	require.False(t, errors.Is(err, payment.ErrForeignReturn))
}

func TestErrors_OfTheDocumentsAreUnderstood(t *testing.T) {
	t.Parallel()
	var samples []struct {
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
	}
	require.NoError(t, json.Unmarshal([]byte(sample(t, "errors.json")), &samples))
	require.NotEmpty(t, samples)
	for _, c := range samples {
		g, _ := setup(t, answer{status: c.Status, body: string(c.Body)})
		_, err := g.Begin(t.Context(), intent(), payment.Untried)
		if c.Status == 500 || strings.Contains(string(c.Body), "locked") {
			require.NoError(t, err)
			continue
		}
		f := failure(t, err)
		require.NotEmpty(t, f.Message, string(c.Body))
		require.Contains(t, []payment.Class{payment.ClassInvalid, payment.ClassCredentials}, f.Class)
	}
}

func FuzzParseReturn(f *testing.F) {
	g, err := transbank.New(transbank.Config{CommerceCode: integrationCode, APIKey: integrationKey}, httpclient.New(httpclient.Options{}))
	require.NoError(f, err)
	for _, seed := range []string{"token_ws=" + sampleToken, "TBK_TOKEN=x&TBK_ORDEN_COMPRA=" + paymentID, "token_ws=%ff&token_ws"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		params, _ := url.ParseQuery(query)
		r, err := g.ParseReturn(attempt(), params)
		if err != nil {
			require.ErrorIs(t, err, payment.ErrForeignReturn)
			return
		}
		if r.Kind == payment.ReturnFinished {
			require.Equal(t, []string{sampleToken}, dedupe(params["token_ws"]))
		}
		if r.Kind == payment.ReturnTimedOut {
			require.Equal(t, []string{paymentID}, dedupe(params["TBK_ORDEN_COMPRA"]))
		}
	})
}

func dedupe(values []string) []string {
	var out []string
	for _, v := range values {
		if len(out) == 0 || out[len(out)-1] != v {
			out = append(out, v)
		}
	}
	return out
}

func FuzzErrorBodies(f *testing.F) {
	for _, seed := range []string{`{"error_message":"Not Authorized"}`, `{"error_message":{"a":1}}`, `[]`, `"`, `{"error_message":"Invalid status '99999999999999999999'"}`} {
		f.Add(422, []byte(seed))
		f.Add(500, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 201 || status > 599 || status == 204 || status == 304 {
			t.Skip()
		}
		g, err := transbank.New(transbank.Config{CommerceCode: integrationCode, APIKey: integrationKey}, &http.Client{
			Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
			}),
		})
		require.NoError(t, err)
		a, err := g.Settle(t.Context(), attempt(), payment.Return{Kind: payment.ReturnFinished}, payment.Untried)
		require.NotEqual(t, payment.OutcomeApproved, a.Outcome, "no error is an approval")
		if err != nil {
			f := failure(t, err)
			require.LessOrEqual(t, len([]rune(f.Message)), 201)
		}
		if status >= 500 && status != 503 {
			require.Equal(t, payment.OutcomeUnknown, a.Outcome)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }
