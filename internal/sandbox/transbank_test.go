package sandbox

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const webpayPath = "/transbank/rswebpaytransaction/api/webpay/v1.2"

func webpayHeader() http.Header {
	h := http.Header{}
	h.Set("Tbk-Api-Key-Id", "597055555532")
	h.Set("Tbk-Api-Key-Secret", "579B532A7440BB0C9079DED94D31EA1615BACEB56610332264630D42D0A36B1C")
	h.Set("Content-Type", "application/json")
	return h
}

func (b *bundle) webpay(method, path, body string) answer {
	return b.do(method, webpayPath+path, webpayHeader(), body)
}

func (b *bundle) webpayCreate(buyOrder string, amount int64) string {
	b.t.Helper()
	got := b.webpay(http.MethodPost, "/transactions", fmt.Sprintf(
		`{"buy_order":%q,"session_id":"session-1","amount":%d,"return_url":%q}`, buyOrder, amount, b.merchant.url+"/return"))
	require.Equal(b.t, 200, got.status, string(got.raw))
	return got.json["token"].(string)
}

// paid is a committed transaction.
func (b *bundle) webpayPaid(buyOrder string, amount int64, query string) string {
	b.t.Helper()
	token := b.webpayCreate(buyOrder, amount)
	require.Equal(b.t, 200, b.buyer(buyOrder, "approve"+query).status)
	require.Equal(b.t, 200, b.webpay(http.MethodPut, "/transactions/"+token, "").status)
	return token
}

func sample(t *testing.T, name string) map[string]any {
	t.Helper()
	var all map[string]map[string]any
	readJSON(t, "webpay_samples.json", &all)
	require.Contains(t, all, name)
	return all[name]
}

// like: the answer has the sample's fields, each of the sample's JSON type.
func requireLike(t *testing.T, want, got map[string]any) {
	t.Helper()
	require.Equal(t, sortedKeys(want), sortedKeys(got))
	for name := range want {
		require.IsType(t, want[name], got[name], name)
	}
}

func requireText(t *testing.T, name string, got answer) {
	t.Helper()
	var all map[string][2]any
	readJSON(t, "webpay_errors.json", &all)
	require.Contains(t, all, name)
	require.Equal(t, all[name][0], float64(got.status), name)
	require.Equal(t, all[name][1], got.json["error_message"], name)
}

func TestWebpay_AnswersHaveTheDocumentedFields(t *testing.T) {
	t.Parallel()
	b := setup(t)
	created := b.webpay(http.MethodPost, "/transactions", `{"buy_order":"PAY-1","session_id":"s-1","amount":10000,"return_url":"`+b.merchant.url+`/return"}`)
	require.Equal(t, 200, created.status)
	requireLike(t, sample(t, "create"), created.json)
	token := created.json["token"].(string)
	require.Len(t, token, 64)
	require.Equal(t, b.url+"/transbank/webpayserver/initTransaction", created.json["url"])

	before := b.webpay(http.MethodGet, "/transactions/"+token, "").json
	require.Equal(t, "INITIALIZED", before["status"])
	require.NotContains(t, before, "response_code")
	b.buyer("PAY-1", "approve")
	require.Equal(t, "INITIALIZED", b.webpay(http.MethodGet, "/transactions/"+token, "").json["status"], "no money before the commit")
	require.Empty(t, b.ledger("").Charges)

	committed := b.webpay(http.MethodPut, "/transactions/"+token, "")
	require.Equal(t, 200, committed.status)
	requireLike(t, sample(t, "commit"), committed.json)
	require.Equal(t, "AUTHORIZED", committed.json["status"])
	require.Equal(t, 0.0, committed.json["response_code"])
	require.Equal(t, "PAY-1", committed.json["buy_order"])
	require.Equal(t, "s-1", committed.json["session_id"])
	require.Equal(t, 10000.0, committed.json["amount"])
	require.Equal(t, committed.json, b.webpay(http.MethodGet, "/transactions/"+token, "").json)

	charge := b.ledger("?gateway=transbank").Charges[0]
	require.Equal(t, ledgerCharge{PaymentID: "PAY-1", Gateway: "transbank", Amount: 10000, Currency: "CLP", Status: chargeCaptured,
		Reference: token, CreatedAt: b.clock.Now(), Account: "597055555532"}, charge)

	partial := b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":4000}`)
	requireLike(t, sample(t, "nullified"), partial.json)
	require.Equal(t, 6000.0, partial.json["balance"])
	after := b.webpay(http.MethodGet, "/transactions/"+token, "").json
	require.Equal(t, "PARTIALLY_NULLIFIED", after["status"])
	require.Equal(t, 6000.0, after["balance"])
	require.Equal(t, "NULLIFIED", b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":6000}`).json["type"])
	require.Equal(t, "NULLIFIED", b.webpay(http.MethodGet, "/transactions/"+token, "").json["status"])
	require.Equal(t, chargeRefunded, b.ledger("").Charges[0].Status)
	require.Len(t, b.ledger("").Refunds, 2)
}

func TestWebpay_WholeRefundWithinThreeHoursIsAReversal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayPaid("PAY-1", 10000, "")
	b.clock.advance(179 * time.Minute)
	got := b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":10000}`)
	require.Equal(t, sample(t, "reversed"), got.json)
	require.Equal(t, "REVERSED", b.webpay(http.MethodGet, "/transactions/"+token, "").json["status"])
	require.Equal(t, chargeReversed, b.ledger("").Charges[0].Status)
	require.Equal(t, int64(10000), b.ledger("").Refunds[0].Amount)

	late := b.webpayPaid("PAY-2", 10000, "")
	b.clock.advance(3 * time.Hour)
	require.Equal(t, "NULLIFIED", b.webpay(http.MethodPost, "/transactions/"+late+"/refunds", `{"amount":10000}`).json["type"])
}

func TestWebpay_ErrorsHaveTheirTexts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	requireText(t, "unknown_token", b.webpay(http.MethodPut, "/transactions/unknown", ""))
	wrongVersion := b.do(http.MethodGet, strings.Replace(webpayPath, "v1.2", "v1.0", 1)+"/transactions/x", webpayHeader(), "")
	requireText(t, "wrong_version", wrongVersion)
	for _, change := range []func(http.Header){
		func(h http.Header) { h.Del("Tbk-Api-Key-Id") },
		func(h http.Header) { h.Set("Tbk-Api-Key-Id", "597") },
		func(h http.Header) { h.Set("Tbk-Api-Key-Secret", "wrong") },
		func(h http.Header) { h.Del("Tbk-Api-Key-Secret"); h.Set("Tbk-Api-Key", "misspelled") },
	} {
		header := webpayHeader()
		change(header)
		requireText(t, "bad_credentials", b.do(http.MethodGet, webpayPath+"/transactions/x", header, ""))
	}

	token := b.webpayCreate("PAY-1", 10000)
	requireText(t, "commit_unpaid", b.webpay(http.MethodPut, "/transactions/"+token, ""))
	requireText(t, "refund_unfinished", b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":1}`))
	aborted := b.webpayCreate("PAY-2", 10000)
	b.buyer("PAY-2", "abort")
	requireText(t, "commit_aborted", b.webpay(http.MethodPut, "/transactions/"+aborted, ""))
	require.Equal(t, "INITIALIZED", b.webpay(http.MethodGet, "/transactions/"+aborted, "").json["status"])

	paid := b.webpayPaid("PAY-3", 10000, "")
	requireText(t, "commit_again", b.webpay(http.MethodPut, "/transactions/"+paid, ""))
	requireText(t, "refund_too_much", b.webpay(http.MethodPost, "/transactions/"+paid+"/refunds", `{"amount":10001}`))
	requireText(t, "missing_amount", b.webpay(http.MethodPost, "/transactions/"+paid+"/refunds", `{}`))
	for _, amount := range []string{`0`, `-1`, `10.5`, `"1000"`, `true`, `123456789012345678`} {
		requireText(t, "bad_amount", b.webpay(http.MethodPost, "/transactions/"+paid+"/refunds", `{"amount":`+amount+`}`))
	}
	require.Equal(t, 200, b.webpay(http.MethodPost, "/transactions/"+paid+"/refunds", `{"amount":10000}`).status)
	requireText(t, "refund_again", b.webpay(http.MethodPost, "/transactions/"+paid+"/refunds", `{"amount":10000}`))
	requireText(t, "capture_not_deferred", b.webpay(http.MethodPut, "/transactions/"+paid+"/capture", `{"buy_order":"PAY-3","authorization_code":"1","capture_amount":1}`))

	b.clock.advance(7*24*time.Hour + time.Second)
	requireText(t, "too_late_for_status", b.webpay(http.MethodGet, "/transactions/"+paid, ""))
}

func TestWebpay_CreateChecksEachField(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good := map[string]any{"buy_order": "PAY-1", "session_id": "s", "amount": 1000, "return_url": "https://shop.example/r"}
	for _, c := range []struct {
		field  string
		value  any
		status int
		text   string
	}{
		{"buy_order", "", 422, "buy_order is required!"},
		{"buy_order", strings.Repeat("x", 27), 422, "Invalid value for parameter: buy_order"},
		{"buy_order", "con ñ", 422, "Invalid value for parameter: buy_order"},
		{"buy_order", 5, 422, "Invalid value for parameter: buy_order"},
		{"buy_order", "aZ09|_=&%.,~:/?[+!@()>-", 200, ""},
		{"session_id", strings.Repeat("x", 62), 422, "Invalid value for parameter: session_id"},
		{"session_id", nil, 422, "session_id is required!"},
		{"amount", nil, 422, "amount is required!"},
		{"amount", 0.5, 422, "Invalid value for parameter: amount"},
		{"return_url", "/return", 422, "Invalid value for parameter: return_url"},
		{"return_url", "https://shop.example/" + strings.Repeat("x", 255), 422, "Invalid value for parameter: return_url"},
		{"returnUrl", "https://shop.example/r", 400, "Unexpected field: returnUrl"},
	} {
		body := map[string]any{}
		for k, v := range good {
			body[k] = v
		}
		body[c.field] = c.value
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		got := b.webpay(http.MethodPost, "/transactions", string(raw))
		require.Equal(t, c.status, got.status, "%s=%v", c.field, c.value)
		if c.text != "" {
			require.Equal(t, c.text, got.json["error_message"])
		}
	}
	require.Equal(t, 400, b.webpay(http.MethodPost, "/transactions", `{"buy_order":`).status)
	require.Equal(t, 400, b.webpay(http.MethodPost, "/transactions", `[]`).status)
	require.Equal(t, 405, b.webpay(http.MethodDelete, "/transactions", ``).status)
	require.Equal(t, 404, b.webpay(http.MethodPost, "/transaction", `{}`).status)
	form := webpayHeader()
	form.Set("Content-Type", "application/x-www-form-urlencoded")
	require.Equal(t, 415, b.do(http.MethodPost, webpayPath+"/transactions", form, "buy_order=1").status)
}

func TestWebpay_StrictModeRefusesABuyOrderUsedBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 200, b.own(http.MethodPut, "/config/transbank", `{"strict_buy_order":true}`).status)
	b.webpayCreate("PAY-1", 1000)
	got := b.webpay(http.MethodPost, "/transactions", `{"buy_order":"PAY-1","session_id":"s","amount":1000,"return_url":"https://shop.example/r"}`)
	require.Equal(t, 422, got.status)
	require.Equal(t, 600.0, b.own(http.MethodGet, "/config/transbank", "").json["form_lifetime_seconds"])
	require.Equal(t, 400, b.own(http.MethodPut, "/config/transbank", `{"strict":true}`).status)
}

func TestWebpay_EachReturnCarriesItsOwnFields(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, c := range []struct {
		step, method string
		fields       []string
		commit       int
		status       string
	}{
		{"approve", "GET", []string{"token_ws"}, 200, "AUTHORIZED"},
		{"decline", "GET", []string{"token_ws"}, 200, "FAILED"},
		{"abort", "GET", []string{"TBK_ID_SESION", "TBK_ORDEN_COMPRA", "TBK_TOKEN"}, 422, "INITIALIZED"},
		{"timeout", "GET", []string{"TBK_ID_SESION", "TBK_ORDEN_COMPRA"}, 422, "INITIALIZED"},
		{"error", "GET", []string{"TBK_ID_SESION", "TBK_ORDEN_COMPRA", "TBK_TOKEN", "token_ws"}, 422, "INITIALIZED"},
		{"abort", "POST", []string{"TBK_ID_SESION", "TBK_ORDEN_COMPRA", "TBK_TOKEN"}, 422, "INITIALIZED"},
	} {
		id := "PAY-" + c.step + c.method
		token := b.webpayCreate(id, 1000)
		got := b.buyer(id, c.step+"?return_method="+c.method)
		require.Equal(t, 200, got.status, string(got.raw))
		require.Equal(t, 303.0, got.json["return_status"])
		require.Equal(t, "https://shop.example/thanks", got.json["return_location"])
		back := b.merchant.lastReturn(t)
		require.Equal(t, c.method, back.method)
		require.Equal(t, c.fields, sortedKeys(back.fields))
		values := map[string]string{"token_ws": token, "TBK_TOKEN": token, "TBK_ID_SESION": "session-1", "TBK_ORDEN_COMPRA": id}
		for _, name := range c.fields {
			require.Equal(t, values[name], back.fields.Get(name), name)
		}
		require.Equal(t, 409, b.buyer(id, "approve").status, "the page is used up")
		require.Equal(t, c.commit, b.webpay(http.MethodPut, "/transactions/"+token, "").status, c.step)
		require.Equal(t, c.status, b.webpay(http.MethodGet, "/transactions/"+token, "").json["status"])
	}
	require.Len(t, b.ledger("").Charges, 1)
}

func TestWebpay_DeclinedCommitIsAnAnswerWithoutMoney(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayCreate("PAY-1", 1000)
	b.buyer("PAY-1", "decline")
	got := b.webpay(http.MethodPut, "/transactions/"+token, "")
	require.Equal(t, 200, got.status)
	require.Equal(t, -1.0, got.json["response_code"])
	require.Equal(t, "FAILED", got.json["status"])
	require.NotContains(t, got.json, "authorization_code")
	require.Equal(t, 422, b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":1000}`).status)
	require.Empty(t, b.ledger("").Charges)
}

func TestWebpay_OfParallelCommitsOneSucceeds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayCreate("PAY-1", 1000)
	b.buyer("PAY-1", "approve")
	const n = 20
	answers := make([]answer, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { answers[i] = b.webpay(http.MethodPut, "/transactions/"+token, "") })
	}
	all.Wait()
	done := slices.DeleteFunc(slices.Clone(answers), func(a answer) bool { return a.status != 200 })
	require.Len(t, done, 1)
	for _, a := range answers {
		if a.status != 200 {
			requireText(t, "commit_again", a)
		}
	}
	require.Len(t, b.ledger("").Charges, 1)
}

func TestWebpay_FormThatLapsedOnlyLetsTheBuyerGoBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 200, b.own(http.MethodPut, "/config/transbank", `{"form_lifetime_seconds":60,"commit_window_seconds":90}`).status)
	token := b.webpayCreate("PAY-1", 1000)
	b.clock.advance(time.Minute)
	for _, step := range []string{"approve", "decline", "abort"} {
		require.Equal(t, 409, b.buyer("PAY-1", step).status)
	}
	require.Contains(t, string(b.own(http.MethodGet, "/buyer/PAY-1", "").raw), "El tiempo para pagar se acabó")
	require.Equal(t, 200, b.buyer("PAY-1", "timeout").status)
	require.NotContains(t, b.merchant.lastReturn(t).fields, "token_ws")
	require.Equal(t, 409, b.buyer("PAY-1", "timeout").status)
	requireText(t, "commit_unpaid", b.webpay(http.MethodPut, "/transactions/"+token, ""))

	late := b.webpayCreate("PAY-2", 1000)
	b.buyer("PAY-2", "approve")
	b.clock.advance(90 * time.Second)
	require.Equal(t, 422, b.webpay(http.MethodPut, "/transactions/"+late, "").status, "given up when not committed in time")
	require.Empty(t, b.ledger("").Charges)
}

func TestWebpay_ReturnCanStayAwayAndComeTwiceOrAsAnother(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayCreate("PAY-1", 1000)
	got := b.buyer("PAY-1", "approve?return=false")
	require.Equal(t, false, got.json["returned"])
	require.Empty(t, b.merchant.returns)
	for range 2 {
		require.Equal(t, 200, b.buyer("PAY-1", "return").status)
		require.Equal(t, token, b.merchant.lastReturn(t).fields.Get("token_ws"))
	}
	require.Len(t, b.merchant.returns, 2)
	require.Equal(t, 200, b.buyer("PAY-1", "return?variant=abort&return_method=POST").status)
	back := b.merchant.lastReturn(t)
	require.Equal(t, "POST", back.method)
	require.Equal(t, []string{"TBK_ID_SESION", "TBK_ORDEN_COMPRA", "TBK_TOKEN"}, sortedKeys(back.fields))
	require.Equal(t, 200, b.webpay(http.MethodPut, "/transactions/"+token, "").status, "a variant changes nothing")
	require.Equal(t, 400, b.buyer("PAY-1", "return?variant=x").status)
}

func TestWebpay_BrowserGoesThroughFormPageAndBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayCreate("PAY-1", 1000)
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	start := b.do(http.MethodPost, "/transbank/webpayserver/initTransaction", form, "token_ws="+token)
	require.Equal(t, 303, start.status)
	require.Equal(t, 303, b.do(http.MethodGet, "/transbank/webpayserver/initTransaction?token_ws="+token, nil, "").status)
	require.Equal(t, 404, b.do(http.MethodGet, "/transbank/webpayserver/initTransaction?token_ws=no", nil, "").status)
	shown := b.do(http.MethodGet, start.header.Get("Location"), nil, "")
	require.Contains(t, string(shown.raw), `action="/buyer/`+token+`/approve"`)

	back := b.do(http.MethodPost, "/buyer/"+token+"/approve", form, "browser=1&card=debit")
	require.Equal(t, 303, back.status)
	require.Equal(t, b.merchant.url+"/return?token_ws="+token, back.header.Get("Location"))
	again := b.do(http.MethodPost, "/buyer/"+token+"/approve", form, "browser=1")
	require.Equal(t, "/buyer/"+token, again.header.Get("Location"), "the closed page is shown")
	require.Contains(t, string(b.do(http.MethodGet, "/buyer/"+token, nil, "").raw), "Volver al comercio")
	require.Equal(t, "VD", b.webpay(http.MethodPut, "/transactions/"+token, "").json["payment_type_code"])

	b.webpayCreate("PAY-2", 1000)
	posted := b.do(http.MethodPost, "/buyer/PAY-2/abort", form, "browser=1&return_method=POST")
	require.Equal(t, 200, posted.status)
	require.Contains(t, string(posted.raw), `name="TBK_ID_SESION" value="session-1"`)
	require.Contains(t, string(posted.raw), `action="`+b.merchant.url+`/return"`)
}

func TestWebpay_DebitIsRefundedWholeOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayPaid("PAY-1", 1000, "?card=debit")
	require.Equal(t, 422, b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":400}`).status)
	b.clock.advance(4 * time.Hour)
	require.Equal(t, "NULLIFIED", b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":1000}`).json["type"])
}

func TestWebpay_InstalmentsShowAndAreRefundedWholeOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for parts, kind := range map[int]string{2: "S2", 3: "SI", 6: "VC"} {
		order := fmt.Sprintf("PAY-%d", parts)
		token := b.webpayPaid(order, 1000, fmt.Sprintf("?installments=%d", parts))
		status := b.webpay(http.MethodGet, "/transactions/"+token, "").json
		require.Equal(t, kind, status["payment_type_code"])
		require.EqualValues(t, parts, status["installments_number"])
		require.EqualValues(t, (1000+parts-1)/parts, status["installments_amount"])
		refused := b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":400}`)
		require.Equal(t, 422, refused.status)
		require.Contains(t, refused.json["error_message"], "(53)")
		require.Equal(t, 200, b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":1000}`).status)
	}
	require.Equal(t, 400, b.own(http.MethodPost, "/buyer/PAY-2/approve?card=debit&installments=3", "").status)
}

func TestWebpay_AnAuthorizationLapsesAfterSevenDays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	header := webpayHeader()
	header.Set("Tbk-Api-Key-Id", "597055555540")
	token := b.do(http.MethodPost, webpayPath+"/transactions", header, `{"buy_order":"PAY-1","session_id":"s","amount":1000,"return_url":"`+b.merchant.url+`/return"}`).json["token"].(string)
	b.clock.advance(time.Minute)
	b.buyer("PAY-1", "approve")
	code := b.do(http.MethodPut, webpayPath+"/transactions/"+token, header, "").json["authorization_code"]
	b.clock.advance(7*24*time.Hour + time.Second)
	require.Eventually(t, func() bool { return b.ledger("").Charges[0].Status == chargeVoided }, 10*time.Second, 20*time.Millisecond)
	late := b.do(http.MethodPut, webpayPath+"/transactions/"+token+"/capture", header, fmt.Sprintf(`{"buy_order":"PAY-1","authorization_code":%q,"capture_amount":1000}`, code))
	require.Equal(t, 422, late.status)
	require.Contains(t, late.json["error_message"], "(284)")
	require.Empty(t, b.ledger("").Refunds)
}

func TestSettlement_HasTheSalesAndRefundsOfAChileanDay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	token := b.webpayPaid("PAY-1", 29970, "")
	require.Equal(t, 200, b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":970}`).status)
	code := b.webpay(http.MethodGet, "/transactions/"+token, "").json["authorization_code"].(string)
	today := b.clock.Now().In(zone)
	file := func(query string) [][]string {
		got := b.own(http.MethodGet, "/settlements/transbank?"+query, "")
		require.Equal(t, 200, got.status)
		records, err := csv.NewReader(strings.NewReader(string(got.raw))).ReadAll()
		require.NoError(t, err)
		require.Equal(t, []string{"date", "commerce_code", "buy_order", "authorization_code", "kind", "amount", "currency", "fee", "reference"}, records[0])
		return records[1:]
	}
	lines := file("date=" + today.Format(time.DateOnly) + "&account=597055555532")
	require.Len(t, lines, 2)
	at := lines[0][0]
	require.Equal(t, []string{at, "597055555532", "PAY-1", code, "charge", "29970", "CLP", "885", token}, lines[0])
	require.Equal(t, []string{"597055555532", "PAY-1"}, lines[1][1:3])
	require.Len(t, lines[1][3], 6)
	require.Equal(t, []string{"refund", "970", "CLP", "0", token + "/1"}, lines[1][4:])
	moment, err := time.Parse(time.RFC3339, at)
	require.NoError(t, err)
	require.WithinDuration(t, today, moment, time.Minute)

	require.Empty(t, file("date="+today.AddDate(0, 0, 1).Format(time.DateOnly)))
	require.Empty(t, file("date="+today.Format(time.DateOnly)+"&account=597000000000"))
	require.Equal(t, 400, b.own(http.MethodGet, "/settlements/transbank?date=today", "").status)
}

func TestWebpay_DeferredCodeTakesMoneyAtCapture(t *testing.T) {
	t.Parallel()
	b := setup(t)
	header := webpayHeader()
	header.Set("Tbk-Api-Key-Id", "597055555540")
	call := func(method, path, body string) answer { return b.do(method, webpayPath+path, header, body) }
	token := call(http.MethodPost, "/transactions", `{"buy_order":"PAY-1","session_id":"s","amount":1000,"return_url":"`+b.merchant.url+`/return"}`).json["token"].(string)
	capture := func(order, code any, amount int) answer {
		return call(http.MethodPut, "/transactions/"+token+"/capture", fmt.Sprintf(`{"buy_order":%q,"authorization_code":%q,"capture_amount":%d}`, order, code, amount))
	}
	requireText(t, "capture_unpaid", capture("PAY-1", "1", 1000))
	b.buyer("PAY-1", "approve")
	committed := call(http.MethodPut, "/transactions/"+token, "")
	code := committed.json["authorization_code"]
	require.Equal(t, chargeAuthorized, b.ledger("").Charges[0].Status)
	require.Equal(t, 422, b.webpay(http.MethodGet, "/transactions/"+token, "").status, "another commerce's token")
	require.Equal(t, 422, capture("PAY-1", "0", 1000).status)
	require.Equal(t, 422, capture("PAY-1", code, 1001).status)
	got := capture("PAY-1", code, 900)
	requireLike(t, sample(t, "capture"), got.json)
	require.Equal(t, "CAPTURED", call(http.MethodGet, "/transactions/"+token, "").json["status"])
	require.Equal(t, 422, capture("PAY-1", code, 100).status)
	require.Equal(t, int64(900), b.ledger("").Charges[0].Amount)
	require.Equal(t, chargeCaptured, b.ledger("").Charges[0].Status)
	require.Equal(t, 422, call(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":901}`).status)
	require.Equal(t, 200, call(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":900}`).status)
}

func TestWebpay_AnotherAmountThanAskedForCanBeCharged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webpayPaid("PAY-1", 1000, "?amount=1")
	require.Equal(t, int64(1), b.ledger("").Charges[0].Amount)
}

func TestWebpay_RefundFromThePanelShowsInTheStatus(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayPaid("PAY-1", 1000, "")
	require.Equal(t, 201, b.own(http.MethodPost, "/ledger/refunds", `{"payment_id":"PAY-1","gateway":"transbank","amount":300}`).status)
	require.Equal(t, 700.0, b.webpay(http.MethodGet, "/transactions/"+token, "").json["balance"])
	require.Equal(t, 201, b.own(http.MethodPost, "/ledger/refunds", `{"payment_id":"PAY-1","gateway":"transbank"}`).status)
	require.Equal(t, 409, b.own(http.MethodPost, "/ledger/refunds", `{"payment_id":"PAY-1","gateway":"transbank"}`).status)
	require.Len(t, b.ledger("").Refunds, 2)
}

func FuzzWebpayFields(f *testing.F) {
	for _, seed := range []string{`{"buy_order":"a","amount":1000}`, `{"amount":1e3}`, `{"amount":"x"}`, `[]`, `{"x":{}}`, `{"amount":1e999}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fields, refused := webpayFields(body, "buy_order", "amount")
		if refused != nil {
			require.Equal(t, 400, refused.status)
			return
		}
		if amount, refused := webpayAmount(fields, "amount"); refused == nil {
			require.Positive(t, amount)
		}
		if text, refused := webpayText(fields, "buy_order", 26); refused == nil {
			require.NotEmpty(t, text)
		}
	})
}

func TestReturn_KeepsTheQueryOfTheMerchant(t *testing.T) {
	t.Parallel()
	back := browserReturn{Method: http.MethodGet, URL: "https://shop.example/r?a=1", Fields: url.Values{"token_ws": {"x"}}}
	require.Equal(t, "https://shop.example/r?a=1&token_ws=x", back.location())
	back.Method = http.MethodPost
	require.Equal(t, back.URL, back.location())
}
