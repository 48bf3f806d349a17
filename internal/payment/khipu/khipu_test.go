package khipu_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/khipu"
	"justlogistics/internal/sandbox"
)

const sampleID = "gqzdy6chjne9" // of the reference's examples

// bundle is an adapter and a server that answers what the test says.
type bundle struct {
	*khipu.Gateway
	mu      sync.Mutex
	answers map[string]canned // by method and path
	asked   []asked
}

type canned struct {
	status int
	body   string
}

type asked struct {
	call   string
	header http.Header
	body   string
}

func setup(t *testing.T, change ...func(*khipu.Config)) *bundle {
	t.Helper()
	b := &bundle{answers: map[string]canned{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		call := r.Method + " " + r.URL.Path
		b.asked = append(b.asked, asked{call, r.Header, string(body)})
		answer, known := b.answers[call]
		if !known {
			answer.status = http.StatusNotFound
		}
		w.WriteHeader(answer.status)
		_, _ = io.WriteString(w, answer.body) // a caller that has gone is the test's own doing
	}))
	t.Cleanup(server.Close)
	cfg := khipu.Config{BaseURL: server.URL, APIKey: "the-key", Secret: "the-secret"}
	for _, fn := range change {
		fn(&cfg)
	}
	g, err := khipu.New(cfg, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)
	b.Gateway = g
	return b
}

func withWallet(cfg *khipu.Config) { cfg.RefundWallet = true }

func (b *bundle) answer(call string, status int, body string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[call] = canned{status, body}
}

func (b *bundle) last() asked {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[len(b.asked)-1]
}

func (b *bundle) calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.asked)
}

// tells makes the payment of the sample say something else.
func (b *bundle) tells(t *testing.T, change map[string]any) {
	t.Helper()
	var p map[string]any
	require.NoError(t, json.Unmarshal([]byte(sample(t, "payment.json")), &p))
	maps.Copy(p, change)
	raw, err := json.Marshal(p)
	require.NoError(t, err)
	b.answer("GET /v3/payments/"+sampleID, 200, string(raw))
}

func (b *bundle) look(t *testing.T) payment.Answer {
	t.Helper()
	looked, err := b.Lookup(t.Context(), attempt())
	require.NoError(t, err)
	a, asked := looked.Answer()
	require.True(t, asked)
	return a
}

func (b *bundle) lookRefund(t *testing.T, in payment.RefundIntent) payment.RefundAnswer {
	t.Helper()
	looked, err := b.LookupRefund(t.Context(), in)
	require.NoError(t, err)
	a, asked := looked.Answer()
	require.True(t, asked)
	return a
}

func sample(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return string(raw)
}

func attempt() payment.Attempt {
	return payment.Attempt{PaymentID: "zwo3wqz6uulcvajt", Reference: sampleID, CaptureRef: sampleID, Amount: 1000, Currency: money.CLP}
}

func intent() payment.Intent {
	return payment.Intent{
		PaymentID: "01JCQZ5Y3N8W2K4T6V7X9ABCDE", Number: "DEMO-000123", Amount: 29970, Currency: money.CLP, Description: "Pedido DEMO-000123",
		ReturnURL: "https://pay.example/return", NotifyURL: "https://pay.example/webhooks/demo/khipu",
		Deadline: time.Now().Add(time.Hour), Email: "ana@example.cl", RUT: "11.111.111-1",
	}
}

func class(t *testing.T, err error) payment.Class {
	t.Helper()
	var f *payment.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, payment.Khipu, f.Gateway)
	return f.Class
}

func TestNew_RefusesCredentialsThatCannotWorkAndNamesNoSecret(t *testing.T) {
	t.Parallel()
	client := httpclient.New(httpclient.Options{})
	for name, cfg := range map[string]khipu.Config{
		"no key":             {Secret: "secret-77"},
		"blank in the key":   {APIKey: "secret-77 ", Secret: "s"},
		"no secret":          {APIKey: "secret-77"},
		"blank in it":        {APIKey: "k", Secret: "secret-77\n"},
		"a receiver in text": {APIKey: "k", Secret: "s", ReceiverID: "secret-77"},
		"a currency":         {APIKey: "k", Secret: "s", Currencies: []string{"JPY"}},
		"plain http":         {APIKey: "k", Secret: "s", BaseURL: "http://payment-api.khipu.com"},
		"no host":            {APIKey: "k", Secret: "s", BaseURL: "payment-api.khipu.com"},
		"a query":            {APIKey: "k", Secret: "s", BaseURL: "https://payment-api.khipu.com?x=1"},
	} {
		_, err := khipu.New(cfg, client)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret-77", name)
	}
	_, err := khipu.New(khipu.Config{APIKey: "k", Secret: "s"}, nil)
	require.Error(t, err)
	var cfg khipu.Config
	for _, text := range []string{`{"api_key":"k","secret":"s","receiver_id":985101}`, `{"api_key":"k","secret":"s","receiver_id":"985101"}`} {
		require.NoError(t, json.Unmarshal([]byte(text), &cfg))
		require.EqualValues(t, "985101", cfg.ReceiverID)
		_, err = khipu.New(cfg, client)
		require.NoError(t, err)
	}
}

func TestBegin_SendsWhatKhipuNeedsAndNothingOfTheBuyer(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *khipu.Config) { cfg.ReceiverID = "985101" })
	b.answer("POST /v3/payments", 200, sample(t, "create.json"))
	in := intent()
	a, err := b.Begin(t.Context(), in, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.Equal(t, sampleID, a.Reference)
	require.Equal(t, "985101", a.Account)
	require.Equal(t, &payment.Redirect{URL: "https://khipu.com/payment/info/" + sampleID, Method: "GET", Fields: map[string]string{}}, a.Redirect)
	require.Equal(t, in.Deadline.UTC().Truncate(time.Second), a.ExpiresAt)

	sent := b.last()
	require.Equal(t, "the-key", sent.header.Get("x-api-key"))
	require.Equal(t, "application/json", sent.header.Get("Content-Type"))
	require.Contains(t, sent.body, `"amount":29970,`)
	var body map[string]any
	require.NoError(t, json.Unmarshal([]byte(sent.body), &body))
	require.Equal(t, map[string]any{
		"amount": 29970.0, "currency": "CLP", "subject": "Pedido DEMO-000123", "transaction_id": in.PaymentID,
		"return_url":   "https://pay.example/return?khipu=finished&khipu_payment=" + in.PaymentID,
		"cancel_url":   "https://pay.example/return?khipu=cancelled&khipu_payment=" + in.PaymentID,
		"expires_date": in.Deadline.UTC().Truncate(time.Second).Format(time.RFC3339),
		"notify_url":   in.NotifyURL, "notify_api_version": "3.0",
	}, body)
}

func TestBegin_WritesEachCurrencyWithItsDecimals(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *khipu.Config) { cfg.Currencies = []string{"CLP", "USD", "CLF"} })
	require.Equal(t, []money.Currency{"CLP", "USD", "CLF"}, b.Capabilities().Currencies)
	b.answer("POST /v3/payments", 200, sample(t, "create.json"))
	for want, in := range map[string]struct {
		amount   int64
		currency money.Currency
	}{"12990": {12990, "CLP"}, "12.34": {1234, "USD"}, "0.05": {5, "USD"}, "38123.4567": {381234567, "CLF"}, "0.0001": {1, "CLF"}} {
		at := intent()
		at.Amount, at.Currency = in.amount, in.currency
		_, err := b.Begin(t.Context(), at, payment.Untried)
		require.NoError(t, err)
		require.Contains(t, b.last().body, `"amount":`+want+`,`)
	}
}

func TestBegin_RefusesWithoutACallWhatCannotBeCharged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, change := range map[string]func(*payment.Intent){
		"currency":          func(in *payment.Intent) { in.Currency = "USD" },
		"amount":            func(in *payment.Intent) { in.Amount = 0 },
		"no return":         func(in *payment.Intent) { in.ReturnURL = "" },
		"no id":             func(in *payment.Intent) { in.PaymentID = "" },
		"a hold that ended": func(in *payment.Intent) { in.Deadline = time.Now().Add(-time.Second) },
	} {
		in := intent()
		change(&in)
		_, err := b.Begin(t.Context(), in, payment.Untried)
		require.Equal(t, payment.ClassInvalid, class(t, err), name)
	}
	require.Zero(t, b.calls())
}

func TestBegin_AnAnswerWithoutAUsableLinkIsADoubt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, body := range []string{``, `<html>`, `{}`, `{"payment_id":"../x","payment_url":"https://khipu.com/x"}`, `{"payment_id":"gqzdy6chjne9","payment_url":"javascript:alert(1)"}`} {
		b.answer("POST /v3/payments", 200, body)
		a, err := b.Begin(t.Context(), intent(), payment.Untried)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeUnknown, a.Outcome, body)
		require.Nil(t, a.Redirect)
	}
}

func TestLookup_ReadsTheExampleOfTheReference(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answer("GET /v3/payments/"+sampleID, 200, sample(t, "payment.json"))
	a := b.look(t)
	require.Equal(t, payment.Answer{
		Outcome: payment.OutcomeApproved, Captured: true, Reference: sampleID, CaptureRef: sampleID, PaymentID: "zwo3wqz6uulcvajt",
		Amount: 1000, Currency: money.CLP, Account: "985101", Method: "simplified_transfer", ApprovedAt: time.Date(2017, 3, 1, 13, 0, 0, 0, time.UTC),
	}, a)
}

func TestLookup_TellsEachStatus(t *testing.T) {
	t.Parallel()
	past, soon := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	longAgo := time.Now().Add(-3*time.Hour - time.Minute)
	for name, c := range map[string]struct {
		status, detail string
		expires        time.Time
		want           payment.Answer
	}{
		"pending": {"pending", "pending", soon, payment.Answer{Outcome: payment.OutcomePending}},
		"expired, perhaps with somebody at the bank": {"pending", "pending", past, payment.Answer{Outcome: payment.OutcomeDeclined, Code: payment.CodeExpired}},
		"expired":         {"pending", "pending", longAgo, payment.Answer{Outcome: payment.OutcomeDeclined, Code: payment.CodeExpired, Closed: true}},
		"verifying":       {"verifying", "pending", past, payment.Answer{Outcome: payment.OutcomePending, Processing: true}},
		"deleted":         {"deleted", "pending", soon, payment.Answer{Outcome: payment.OutcomeDeclined, Code: payment.CodeClosed, Closed: true}},
		"rejected":        {"done", "rejected-by-payer", soon, payment.Answer{Outcome: payment.OutcomeDeclined, Code: khipu.CodeRejected, Closed: true}},
		"rejected, open":  {"pending", "rejected-by-payer", soon, payment.Answer{Outcome: payment.OutcomeDeclined, Code: khipu.CodeRejected, Closed: true}},
		"abuse":           {"done", "marked-as-abuse", soon, payment.Answer{Outcome: payment.OutcomeDeclined, Code: khipu.CodeAbuse, Closed: true}},
		"paid by hand":    {"done", "marked-paid-by-receiver", past, payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Amount: 1000, Method: "marked-paid-by-receiver"}},
		"a new status":    {"frozen", "normal", soon, payment.Answer{Outcome: payment.OutcomeUnknown, Code: khipu.CodeUnreadable, Message: "unknown status frozen"}},
		"a new detail":    {"done", "settled-twice", soon, payment.Answer{Outcome: payment.OutcomeUnknown, Code: khipu.CodeUnreadable, Message: "unknown detail settled-twice"}},
		"whole back":      {"done", "fully-refunded", soon, payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Amount: 1000, Refunded: 1000, Method: "simplified_transfer"}},
		"some back":       {"done", "partially-refunded", soon, payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Amount: 1000, Code: khipu.CodeRefundsUntold, Method: "simplified_transfer"}},
		"some back (old)": {"done", "", soon, payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Amount: 1000, Code: khipu.CodeRefundsUntold, Method: "simplified_transfer"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.tells(t, map[string]any{"status": c.status, "status_detail": c.detail, "expires_date": c.expires.Format(time.RFC3339)})
			a := b.look(t)
			require.Equal(t, "zwo3wqz6uulcvajt", a.PaymentID)
			c.want.Reference, c.want.CaptureRef, c.want.PaymentID, c.want.Account = sampleID, sampleID, a.PaymentID, "985101"
			if c.want.Captured {
				c.want.Currency, c.want.ApprovedAt = money.CLP, a.ApprovedAt
			}
			require.Equal(t, c.want, a)
		})
	}
}

func TestLookup_AReversalIsALostDisputeUnlessItIsListedAsRefunded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tells(t, map[string]any{"status_detail": "reversed"})
	a := b.look(t)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.Zero(t, a.Refunded)
	require.Equal(t, &payment.Dispute{Reference: sampleID, Status: payment.DisputeLost, Amount: 1000, Currency: money.CLP, Reason: "reversed"}, a.Dispute)

	b.tells(t, map[string]any{"status_detail": "reversed", "total_refunded": "400.0000"})
	a = b.look(t)
	require.EqualValues(t, 400, a.Refunded)
	require.EqualValues(t, 600, a.Dispute.Amount)

	b.tells(t, map[string]any{"status_detail": "reversed", "total_refunded": "1000.0000"})
	a = b.look(t)
	require.EqualValues(t, 1000, a.Refunded)
	require.Nil(t, a.Dispute)
}

func TestLookup_ReadsAmountsExactlyOrNotAtAll(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		`1000`: 1000, `"1000.0000"`: 1000, `1000.0`: 1000, `"1000"`: 1000, `1.0E7`: 10_000_000, `1.2345678E7`: 12_345_678, `"999999999.0000"`: 999_999_999,
	} {
		b := setup(t)
		b.tells(t, map[string]any{"amount": json.RawMessage(text)})
		require.Equal(t, want, b.look(t).Amount, text)
	}
	for _, text := range []string{`1000.5`, `"1000.0001"`, `null`, `""`, `-5`, `"1.000"`, `1e99`, `true`, `[1000]`, `{"a":1}`, `"1000,00"`} {
		b := setup(t)
		b.tells(t, map[string]any{"amount": json.RawMessage(text)})
		a := b.look(t)
		if text == `"1.000"` {
			require.EqualValues(t, 1, a.Amount, "a point is before decimals")
			continue
		}
		require.Equal(t, payment.OutcomeUnknown, a.Outcome, text)
		require.Equal(t, khipu.CodeUnreadable, a.Code, text)
	}
	b := setup(t)
	b.tells(t, map[string]any{"amount": "12.3400", "currency": "USD"})
	require.EqualValues(t, 1234, b.look(t).Amount)
}

// TestLookup_BelievesANotifiedPaymentThatIsOursAndPaid: one that was begun and whose answer
// was lost is named by nothing but its notification.
func TestLookup_BelievesANotifiedPaymentThatIsOursAndPaid(t *testing.T) {
	t.Parallel()
	const other = "aaaabbbbcccc"
	b := setup(t)
	hinted := func(status int, change map[string]any) (payment.Answer, error) {
		var p map[string]any
		require.NoError(t, json.Unmarshal([]byte(sample(t, "payment.json")), &p))
		p["payment_id"] = other
		maps.Copy(p, change)
		raw, err := json.Marshal(p)
		require.NoError(t, err)
		b.answer("GET /v3/payments/"+other, status, string(raw))
		at := attempt()
		at.Hint = other
		looked, err := b.Lookup(t.Context(), at)
		a, _ := looked.Answer()
		return a, err
	}
	b.tells(t, map[string]any{"status": "pending", "status_detail": "pending", "expires_date": "2999-01-01T00:00:00Z"})
	a, err := hinted(200, nil)
	require.NoError(t, err)
	require.Equal(t, []any{payment.OutcomeApproved, other, other, int64(1000)}, []any{a.Outcome, a.Reference, a.CaptureRef, a.Amount})

	for name, not := range map[string]map[string]any{"of another": {"transaction_id": "01JCQZ5Y3N8W2K4T6V7X9ABCDE"}, "not paid": {"status": "pending", "status_detail": "pending"}} {
		a, err = hinted(200, not)
		require.NoError(t, err, name)
		require.Equal(t, []any{payment.OutcomePending, sampleID}, []any{a.Outcome, a.Reference}, name)
	}
	a, err = hinted(404, nil)
	require.NoError(t, err)
	require.Equal(t, sampleID, a.Reference, "made up")
	_, err = hinted(503, nil)
	require.Equal(t, payment.ClassUnavailable, class(t, err), "asked again")

	b.tells(t, map[string]any{})
	a, err = hinted(200, nil)
	require.NoError(t, err)
	require.Equal(t, sampleID, a.Reference, "the one that the buyer was given comes first")
}

func TestLookup_AnAnswerAboutAnotherPaymentIsNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, body := range []string{`{"payment_id":"zzzzzzzzzzzz","status":"done"}`, `{"message":"ok"}`, `<html>captive portal</html>`, ``} {
		b.answer("GET /v3/payments/"+sampleID, 200, body)
		_, err := b.Lookup(t.Context(), attempt())
		require.Equal(t, payment.ClassUnavailable, class(t, err), body)
	}
}

func TestClose_ARefusedOneIsAnsweredFromTheState(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answer("DELETE /v3/payments/"+sampleID, 400, `{"status":400,"message":"no"}`)
	b.tells(t, map[string]any{})
	a, err := b.Close(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome)

	b.tells(t, map[string]any{"status": "verifying", "status_detail": "pending"})
	a, err = b.Close(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Processing)

	b.tells(t, map[string]any{"status": "pending", "status_detail": "pending", "expires_date": time.Now().Add(time.Hour).Format(time.RFC3339)})
	_, err = b.Close(t.Context(), attempt(), payment.Untried)
	require.Equal(t, payment.ClassInvalid, class(t, err), "it can still be paid")

	// Gone already, by an earlier try whose answer was lost.
	b.answer("DELETE /v3/payments/"+sampleID, 404, ``)
	b.answer("GET /v3/payments/"+sampleID, 404, ``)
	a, err = b.Close(t.Context(), attempt(), payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Closed)
	require.Equal(t, payment.CodeClosed, a.Code)
}

func refund(amount, before int64, reference string) payment.RefundIntent {
	return payment.RefundIntent{RefundID: id.New(), Attempt: attempt(), Amount: amount, Currency: money.CLP, RefundedBefore: before, Reference: reference}
}

func TestRefund_NamesItsAmountAndTakesTheNameThatThePaymentLists(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answer("POST /v3/payments/"+sampleID+"/refunds", 200, `{"message":"Message."}`)
	b.tells(t, map[string]any{"status_detail": "partially-refunded", "refunds": []any{
		map[string]any{"id": "r-1", "status": "paid", "amount": "100.0000"},
		map[string]any{"id": "r-2", "status": "authorized", "amount": "205.0000"},
	}})
	a, err := b.Refund(t.Context(), refund(205, 100, ""), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.RefundAnswer{Outcome: payment.OutcomePending, Reference: "r-2", Amount: 205}, a)
	require.JSONEq(t, `{"amount":205}`, b.asked[0].body)

	// A proxy's 200 is not Khipu's.
	b.answer("POST /v3/payments/"+sampleID+"/refunds", 200, `{}`)
	a, err = b.Refund(t.Context(), refund(205, 100, ""), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome)
}

func TestRefund_AcceptedAndUnreadIsADoubt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answer("POST /v3/payments/"+sampleID+"/refunds", 200, `{"message":"Message."}`)
	b.answer("GET /v3/payments/"+sampleID, 500, ``)
	a, err := b.Refund(t.Context(), refund(205, 0, ""), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, a.Outcome)
	require.Equal(t, khipu.CodeAcceptedUnread, a.Code)
}

func TestRefund_FromTheWalletReadsTheAnswerOfKhipusOwnModule(t *testing.T) {
	t.Parallel()
	b := setup(t, withWallet)
	require.Equal(t, 180*24*time.Hour, b.Capabilities().RefundFor)
	body := sample(t, "refund_wallet.json")
	b.answer("POST /v3/refunds", 200, body)
	a, err := b.Refund(t.Context(), refund(205, 0, ""), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.RefundAnswer{
		Outcome: payment.OutcomePending, Reference: "b31bd9aa-273b-4aed-9516-85866d47a931", Amount: 205, Message: "La reversa está en proceso.",
	}, a)
	require.JSONEq(t, `{"type":"partial","payment_id":"gqzdy6chjne9","amount":"205"}`, b.last().body)

	b.answer("POST /v3/refunds", 200, strings.Replace(body, "La reversa está en proceso.", "", 1))
	a, err = b.Refund(t.Context(), refund(205, 0, ""), payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, a.Outcome, "without a message it is done")

	for _, field := range []string{`"id"`, `"payment_id"`, `"refunded_amount"`} {
		b.answer("POST /v3/refunds", 200, strings.Replace(body, field, `"other"`, 1))
		a, err = b.Refund(t.Context(), refund(205, 0, ""), payment.UntriedRefund)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeUnknown, a.Outcome, field)
	}
}

func TestRefund_ARefusalSaysWhyAndAServerErrorIsADoubt(t *testing.T) {
	t.Parallel()
	var errors map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(sample(t, "errors.json")), &errors))
	for name, code := range map[string]string{"not refundable": khipu.CodeNotRefundable, "too much": khipu.CodeRefundTooLarge, "no wallet": khipu.CodeRefundsOff} {
		b := setup(t, withWallet)
		b.answer("POST /v3/refunds", 400, string(errors[name]))
		_, err := b.Refund(t.Context(), refund(205, 0, ""), payment.UntriedRefund)
		var f *payment.Failure
		require.ErrorAs(t, err, &f)
		require.Equal(t, payment.ClassInvalid, f.Class)
		require.Equal(t, code, f.Code)
		require.NotEmpty(t, f.Message)
	}
	for _, status := range []int{500, 502, 503, 504, 409, 302} {
		b := setup(t)
		b.answer("POST /v3/payments/"+sampleID+"/refunds", status, ``)
		a, err := b.Refund(t.Context(), refund(205, 0, ""), payment.UntriedRefund)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeUnknown, a.Outcome, status)
		require.Equal(t, 1, b.calls())
	}
}

func TestLookupRefund_TellsOnlyWhatKhipuTells(t *testing.T) {
	t.Parallel()
	none := payment.CodeNoSuchRefund
	listed := func(items ...any) map[string]any {
		return map[string]any{"status_detail": "partially-refunded", "refunds": items}
	}
	item := func(id, status, amount string) any {
		return map[string]any{"id": id, "status": status, "amount": amount}
	}
	for name, c := range map[string]struct {
		tells     map[string]any
		in        payment.RefundIntent
		outcome   payment.Outcome
		code      string
		reference string
	}{
		"nothing went back":                       {map[string]any{}, refund(200, 0, ""), payment.OutcomeDeclined, none, ""},
		"accepted, and nothing went back yet":     {map[string]any{}, refund(200, 0, sampleID), payment.OutcomePending, "", sampleID},
		"less than we knew":                       {map[string]any{}, refund(200, 100, ""), payment.OutcomeUnknown, khipu.CodeRefundMismatch, ""},
		"all of it":                               {map[string]any{"status_detail": "fully-refunded"}, refund(1000, 0, ""), payment.OutcomeApproved, "", ""},
		"the rest of it":                          {map[string]any{"status_detail": "fully-refunded"}, refund(800, 200, ""), payment.OutcomeApproved, "", ""},
		"more than ours":                          {map[string]any{"status_detail": "fully-refunded"}, refund(300, 0, ""), payment.OutcomeUnknown, khipu.CodeRefundMismatch, ""},
		"some, not told how much":                 {map[string]any{"status_detail": "partially-refunded"}, refund(300, 0, ""), payment.OutcomeUnknown, khipu.CodeRefundsUntold, ""},
		"some, not told, and ours was accepted":   {map[string]any{"status_detail": "partially-refunded"}, refund(300, 0, sampleID), payment.OutcomeApproved, "", sampleID},
		"not all yet, and ours was accepted":      {map[string]any{"status_detail": "partially-refunded"}, refund(700, 300, sampleID), payment.OutcomePending, "", sampleID},
		"reversed, as the reference words it":     {map[string]any{"status_detail": "reversed"}, refund(1000, 0, ""), payment.OutcomeApproved, "", ""},
		"reversed, and ours was a part":           {map[string]any{"status_detail": "reversed"}, refund(300, 0, ""), payment.OutcomeUnknown, khipu.CodeRefundsUntold, ""},
		"the sum, ours":                           {map[string]any{"status_detail": "partially-refunded", "total_refunded": "500.0000"}, refund(300, 200, ""), payment.OutcomeApproved, "", ""},
		"the sum, without ours":                   {map[string]any{"status_detail": "partially-refunded", "total_refunded": "200.0000"}, refund(300, 200, ""), payment.OutcomeDeclined, none, ""},
		"listed, by its name":                     {listed(item("a", "paid", "300"), item("b", "pending", "300")), refund(300, 0, "a"), payment.OutcomeApproved, "", "a"},
		"listed, on its way":                      {listed(item("a", "authorized", "300")), refund(300, 0, ""), payment.OutcomePending, "", "a"},
		"listed, and it expired":                  {listed(item("a", "expired", "300")), refund(300, 0, "a"), payment.OutcomeDeclined, khipu.CodeRefundExpired, "a"},
		"accepted without a name, and it expired": {listed(item("a", "expired", "300")), refund(300, 0, sampleID), payment.OutcomeDeclined, khipu.CodeRefundExpired, sampleID},
		"listed, after one that expired":          {listed(item("a", "expired", "300"), item("b", "paid", "300")), refund(300, 0, ""), payment.OutcomeApproved, "", "b"},
		"somebody else's":                         {listed(item("a", "paid", "111")), refund(300, 0, ""), payment.OutcomeUnknown, khipu.CodeRefundMismatch, ""},
		"never paid":                              {map[string]any{"status": "pending", "status_detail": "pending"}, refund(300, 0, ""), payment.OutcomeDeclined, none, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.tells(t, c.tells)
			a := b.lookRefund(t, c.in)
			require.Equal(t, c.outcome, a.Outcome, "%s: %s", a.Code, a.Message)
			require.Equal(t, c.code, a.Code)
			require.Equal(t, c.reference, a.Reference)
		})
	}
}

func TestParseReturn_KnowsTheTwoWaysBackAndWhoseTheyAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := attempt()
	ret, err := b.ParseReturn(at, url.Values{"khipu": {"finished"}, "khipu_payment": {at.PaymentID}, "utm": {"x"}})
	require.NoError(t, err)
	require.Equal(t, payment.Return{Kind: payment.ReturnFinished, Token: sampleID}, ret)
	ret, err = b.ParseReturn(at, url.Values{"khipu": {"cancelled"}, "khipu_payment": {at.PaymentID}})
	require.NoError(t, err)
	require.Equal(t, payment.ReturnCancelled, ret.Kind)
	for _, params := range []url.Values{
		nil, {"khipu": {"finished"}}, {"khipu_payment": {at.PaymentID}}, {"khipu": {"finished"}, "khipu_payment": {"another"}},
		{"khipu": {"paid"}, "khipu_payment": {at.PaymentID}}, {"khipu": {"finished"}, "khipu_payment": {at.PaymentID, "another"}},
	} {
		_, err := b.ParseReturn(at, params)
		require.ErrorIs(t, err, payment.ErrForeignReturn, params)
	}
	require.Zero(t, b.calls())
}

// The whole of what takes minutes in the world: verified, then reconciled and
// told, then given back in Khipu's daily cycle.
func TestGateway_FollowsATransferThatTakesItsTime(t *testing.T) {
	t.Parallel()
	told := make(chan payment.Delivery, 4)
	merchant := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if r.Method == http.MethodPost {
			told <- payment.Delivery{Header: r.Header, Body: body}
		}
	}))
	t.Cleanup(merchant.Close)
	s, err := sandbox.Open(sandbox.Options{Dir: t.TempDir(), NoSync: true})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		server.Close()
	})
	do := func(method, path, body string) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 200, resp.StatusCode, path)
	}
	do("PUT", "/config/khipu", `{"verifying_ms":400,"refund_ms":200}`)
	g, err := khipu.New(khipu.Config{BaseURL: server.URL + "/khipu", APIKey: "sandbox-key-demo", Secret: "sandbox-secret-demo"}, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)
	in := intent()
	in.ReturnURL, in.NotifyURL = merchant.URL+"/return", merchant.URL+"/webhook"
	begun, err := g.Begin(t.Context(), in, payment.Untried)
	require.NoError(t, err)
	at := payment.Attempt{PaymentID: in.PaymentID, Reference: begun.Reference, Amount: in.Amount, Currency: in.Currency}
	do("POST", "/buyer/"+in.PaymentID+"/approve", "")

	a, err := g.Settle(t.Context(), at, payment.Return{Kind: payment.ReturnFinished}, payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.True(t, a.Processing, "the buyer is done and the bank is not")
	a, err = g.Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	require.True(t, a.Processing, "what is being verified cannot be deleted")

	n, err := g.ParseNotification(<-told, time.Now())
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, n.Claim)
	require.Equal(t, in.PaymentID, n.PaymentID)
	looked, err := g.Lookup(t.Context(), at)
	require.NoError(t, err)
	a, _ = looked.Answer()
	require.Equal(t, payment.OutcomeApproved, a.Outcome)

	back := payment.RefundIntent{RefundID: id.New(), Attempt: at, Amount: in.Amount, Currency: in.Currency}
	r, err := g.Refund(t.Context(), back, payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, r.Outcome)
	back.Reference = r.Reference
	require.Eventually(t, func() bool {
		looked, err := g.LookupRefund(t.Context(), back)
		r, _ := looked.Answer()
		return err == nil && r.Outcome == payment.OutcomeApproved
	}, 5*time.Second, 20*time.Millisecond)
}
