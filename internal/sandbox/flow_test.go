package sandbox

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// flowShop is where Flow posts its confirmations in a test.
type flowShop struct {
	url string

	mu   sync.Mutex
	news []string // path?query token
}

func newFlowShop(t *testing.T) *flowShop {
	shop := &flowShop{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.ParseForm() != nil || len(r.PostForm) != 1 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		shop.mu.Lock()
		defer shop.mu.Unlock()
		shop.news = append(shop.news, r.URL.String()+" "+r.PostForm.Get("token"))
	}))
	t.Cleanup(server.Close)
	shop.url = server.URL
	return shop
}

func (s *flowShop) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.news...)
}

// flow signs and makes a call of the demo account.
func (b *bundle) flow(method, path string, values url.Values) answer {
	b.t.Helper()
	values.Set("apiKey", "sandbox-key-demo")
	var text strings.Builder
	for _, name := range sortedKeys(values) {
		text.WriteString(name + values.Get(name))
	}
	values.Set("s", flowMAC(text.String(), "sandbox-secret-demo"))
	return b.flowRaw(method, path, values)
}

func (b *bundle) flowRaw(method, path string, values url.Values) answer {
	if method == http.MethodGet {
		return b.do(method, "/flow"+path+"?"+values.Encode(), nil, "")
	}
	return b.do(method, "/flow"+path, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, values.Encode())
}

func flowForm(id string, amount int64, back string) url.Values {
	return url.Values{"commerceOrder": {id}, "subject": {"Pedido " + id}, "currency": {"CLP"}, "amount": {strconv.FormatInt(amount, 10)},
		"email": {"ana+x@example.cl"}, "urlConfirmation": {back + "/confirm"}, "urlReturn": {back + "/return"}, "timeout": {"900"}}
}

func (b *bundle) flowCreate(id string, amount int64, shop *flowShop) string {
	b.t.Helper()
	form := flowForm(id, amount, b.merchant.url)
	if shop != nil {
		form.Set("urlConfirmation", shop.url+"/confirm")
	}
	got := b.flow(http.MethodPost, "/payment/create", form)
	require.Equal(b.t, 200, got.status, string(got.raw))
	return got.json["token"].(string)
}

func (b *bundle) flowStatus(token string) map[string]any {
	b.t.Helper()
	got := b.flow(http.MethodGet, "/payment/getStatusExtended", url.Values{"token": {token}})
	require.Equal(b.t, 200, got.status, string(got.raw))
	return got.json
}

// number reads a number that comes as one or as text.
func number(v any) float64 {
	if text, isText := v.(string); isText {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	return v.(float64)
}

func TestFlow_TheSignatureIsThatOfTheDocuments(t *testing.T) {
	t.Parallel()
	// The string is the documents' (developers.flow.cl/api); they print no
	// signature for it, this one is openssl's for the key "my secret".
	require.Equal(t, "dc3f67215dc89404aedc1deed0be7c2b49d810ca1a6e3feab3b799d77c4a9950", flowMAC("amount5000apiKeyXXXX-XXXX-XXXXcurrencyCLP", "my secret"))

	b := setup(t)
	good := flowForm("PAY-1", 1000, b.merchant.url)
	require.Equal(t, 200, b.flow(http.MethodPost, "/payment/create", good).status)
	for name, change := range map[string]func(url.Values){
		"another amount":     func(v url.Values) { v.Set("amount", "1") },
		"one more parameter": func(v url.Values) { v.Set("optional", "{}") },
		"an empty one more":  func(v url.Values) { v.Set("optional", "") },
		"no signature":       func(v url.Values) { v.Del("s") },
		"another account":    func(v url.Values) { v.Set("apiKey", "sandbox-key-other") },
		"no account":         func(v url.Values) { v.Set("apiKey", "1F90971E-8276-4715-97FF-2BLG5030EE3B") },
	} {
		forged := url.Values(http.Header(good).Clone())
		change(forged)
		got := b.flowRaw(http.MethodPost, "/payment/create", forged)
		require.Equal(t, 401, got.status, name)
		require.NotEmpty(t, got.json["message"])
	}
	require.Equal(t, 404, b.flow(http.MethodGet, "/payment/create", url.Values{}).status)
	require.Equal(t, 404, b.flow(http.MethodGet, "/payments", url.Values{}).status)
}

func TestFlow_AnswersHaveTheDocumentedFields(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var samples map[string]map[string]any
	readJSON(t, "flow_samples.json", &samples)
	created := b.flow(http.MethodPost, "/payment/create", flowForm("PAY-1", 12000, b.merchant.url))
	requireLike(t, samples["create"], created.json)
	require.Equal(t, b.url+"/flow/app/web/pay.php", created.json["url"])
	token := created.json["token"].(string)
	require.Len(t, token, 40)
	require.Equal(t, 303, b.do(http.MethodGet, "/flow/app/web/pay.php?token="+token, nil, "").status)
	page := b.own(http.MethodGet, "/buyer/"+token, "")
	require.Contains(t, string(page.raw), "<strong>Flow</strong>")
	require.Contains(t, string(page.raw), "$12.000")

	before := b.flowStatus(token)
	require.Equal(t, float64(flowPending), number(before["status"]))
	for name, value := range before["paymentData"].(map[string]any) {
		require.Nil(t, value, name)
	}
	require.Equal(t, 200, b.buyer("PAY-1", "approve?card=debit").status)
	plain := b.flow(http.MethodGet, "/payment/getStatus", url.Values{"token": {token}}).json
	require.Equal(t, sortedKeys(samples["status"]), sortedKeys(plain))
	require.Equal(t, sortedKeys(samples["status"]["paymentData"].(map[string]any)), sortedKeys(plain["paymentData"].(map[string]any)))
	extended := b.flowStatus(token)
	paid := extended["paymentData"].(map[string]any)
	require.Equal(t, sortedKeys(samples["extended_payment"]), sortedKeys(paid))
	require.Equal(t, sortedKeys(samples["last_error"]), sortedKeys(extended["lastError"].(map[string]any)))
	require.Equal(t, "Débito", paid["mediaType"])
	require.Equal(t, 12000.0, number(paid["amount"]))
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	require.Equal(t, b.clock.Now().In(zone).Format(time.DateTime), paid["date"])
	for path, values := range map[string]url.Values{
		"/payment/getStatusByCommerceId":        {"commerceId": {"PAY-1"}},
		"/payment/getStatusByFlowOrder":         {"flowOrder": {fmt.Sprint(int64(created.json["flowOrder"].(float64)))}},
		"/payment/getStatusByFlowOrderExtended": {"flowOrder": {fmt.Sprint(int64(created.json["flowOrder"].(float64)))}},
	} {
		got := b.flow(http.MethodGet, path, values)
		require.Equal(t, 200, got.status, path)
		require.Equal(t, "PAY-1", got.json["commerceOrder"])
		require.Equal(t, strings.HasSuffix(path, "Extended"), got.json["lastError"] != nil)
		for name := range values {
			values.Set(name, "404")
		}
		values.Del("s")
		got = b.flow(http.MethodGet, path, values)
		require.Equal(t, 400, got.status)
		require.Equal(t, "Transaction not found", got.json["message"])
	}
	charge := b.ledger("?gateway=flow").Charges[0]
	require.Equal(t, ledgerCharge{PaymentID: "PAY-1", Gateway: "flow", Amount: 12000, Currency: "CLP", Status: chargeCaptured, Reference: token, CreatedAt: b.clock.Now()}, charge)
}

func TestFlow_NumbersComeAsTextForEveryOtherOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	kinds := map[string]int{}
	for _, id := range []string{"PAY-1", "PAY-2"} {
		status := b.flowStatus(b.flowCreate(id, 1000, nil))
		kinds[fmt.Sprintf("%T", status["amount"])]++
		require.Equal(t, 1000.0, number(status["amount"]))
		require.Equal(t, 1.0, number(status["status"]))
	}
	require.Equal(t, map[string]int{"string": 1, "float64": 1}, kinds)
}

func TestFlow_CreateChecksEachField(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, c := range []struct {
		field, value string
		code         float64
	}{
		{"commerceOrder", "", 100}, {"subject", "", 100}, {"email", "", 100}, {"urlReturn", "", 100}, {"urlConfirmation", "", 100}, {"amount", "", 100},
		{"amount", "1000.50", 108}, {"amount", "-1", 107}, {"amount", "x", 107}, {"amount", "349", 109},
		{"currency", "USD", 106}, {"email", "ana@example", 1620}, {"urlReturn", "/return", 107},
		{"optional", "{", 110}, {"timeout", "0", 107}, {"paymentMethod", "webpay", 107},
	} {
		form := flowForm("PAY-1", 1000, b.merchant.url)
		form.Set(c.field, c.value)
		got := b.flow(http.MethodPost, "/payment/create", form)
		require.Equal(t, 400, got.status, "%s=%s", c.field, c.value)
		require.Equal(t, c.code, got.json["code"], "%s=%s", c.field, c.value)
	}
	b.flowCreate("PAY-1", 1000, nil)
	second := b.flowCreate("PAY-1", 1000, nil)
	b.buyer(second, "approve")
	got := b.flow(http.MethodPost, "/payment/create", flowForm("PAY-1", 1000, b.merchant.url))
	require.Equal(t, 1605.0, got.json["code"], "only a paid order refuses another")
}

func TestFlow_EachStepLeavesItsStatusAndGoesBackAlike(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, c := range []struct {
		step    string
		returns bool
		status  float64
		again   int
	}{
		{"approve", true, flowPaid, 409}, {"decline", true, flowRejected, 409}, {"abort", true, flowPending, 200},
		{"timeout", false, flowCancelled, 409}, {"error", false, flowPending, 200},
	} {
		id := "PAY-" + c.step
		token := b.flowCreate(id, 1000, nil)
		got := b.buyer(id, c.step)
		require.Equal(t, 200, got.status, string(got.raw))
		require.Equal(t, c.returns, got.json["returned"])
		if c.returns {
			back := b.merchant.lastReturn(t)
			require.Equal(t, "POST", back.method)
			require.Equal(t, url.Values{"token": {token}}, back.fields)
		}
		require.Equal(t, c.status, number(b.flowStatus(token)["status"]), c.step)
		require.Equal(t, c.again, b.buyer(id, "approve").status, c.step)
	}
	require.Len(t, b.ledger("").Charges, 3)
	require.Equal(t, 409, b.buyer("PAY-timeout", "return?variant=timeout").status, "nobody is sent back")
	require.Equal(t, 200, b.buyer("PAY-timeout", "return?variant=abort").status)
	declined := b.flow(http.MethodGet, "/payment/getStatusByCommerceId", url.Values{"commerceId": {"PAY-decline"}}).json
	require.NotContains(t, declined, "lastError", "that is the extended status's")
}

func TestFlow_ALinkDiesAtItsTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.flowCreate("PAY-1", 1000, nil)
	forever := flowForm("PAY-2", 1000, b.merchant.url)
	forever.Del("timeout")
	require.Equal(t, 200, b.flow(http.MethodPost, "/payment/create", forever).status)
	b.clock.advance(899 * time.Second)
	require.Equal(t, 1.0, number(b.flowStatus(token)["status"]))
	b.clock.advance(time.Second)
	require.Equal(t, 4.0, number(b.flowStatus(token)["status"]))
	require.Equal(t, 409, b.buyer("PAY-1", "approve").status)
	b.clock.advance(1000 * time.Hour)
	require.Equal(t, 200, b.buyer("PAY-2", "approve").status, "without a timeout it never dies")
	require.Len(t, b.ledger("").Charges, 1)
}

func TestFlow_OnlyAPaymentIsConfirmedAndWithoutASignature(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := newFlowShop(t)
	token := b.flowCreate("PAY-1", 1000, shop)
	b.flowCreate("PAY-2", 1000, shop)
	b.buyer("PAY-2", "decline")
	b.faults("flow", `{"duplicate_webhooks":true}`)
	b.buyer("PAY-1", "approve?return=false")
	require.Eventually(t, func() bool { return len(shop.heard()) == 2 }, 5*time.Second, 5*time.Millisecond)
	require.Equal(t, []string{"/confirm " + token, "/confirm " + token}, shop.heard())
	require.Equal(t, 202, b.own(http.MethodPost, "/events/flow/"+token+"/resend", "").status)
	require.Eventually(t, func() bool { return len(shop.heard()) == 3 }, 5*time.Second, 5*time.Millisecond)
	require.Equal(t, 404, b.own(http.MethodPost, "/events/flow/x/resend", "").status)
}

func TestFlow_ListsADayInPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	date := b.clock.Now().In(zone).Format(time.DateOnly)
	for i := range 3 {
		id := "PAY-" + strconv.Itoa(i)
		b.flowCreate(id, 1000, nil)
		if i < 2 {
			b.buyer(id, "approve")
		}
	}
	page := func(path, start, limit string) (float64, float64, []any) {
		got := b.flow(http.MethodGet, path, url.Values{"date": {date}, "start": {start}, "limit": {limit}})
		require.Equal(t, 200, got.status, string(got.raw))
		return got.json["total"].(float64), got.json["hasMore"].(float64), got.json["data"].([]any)
	}
	total, more, data := page("/payment/getPayments", "0", "1")
	require.Equal(t, []any{2.0, 1.0}, []any{total, more})
	require.Equal(t, "PAY-0", data[0].(map[string]any)["commerceOrder"])
	_, more, data = page("/payment/getPayments", "1", "1")
	require.Equal(t, 0.0, more)
	require.Equal(t, "PAY-1", data[0].(map[string]any)["commerceOrder"])
	total, _, _ = page("/payment/getTransactions", "0", "100")
	require.Equal(t, 3.0, total)
	require.Equal(t, 400, b.flow(http.MethodGet, "/payment/getPayments", url.Values{"date": {"today"}}).status)
}

// flowPaid is a paid order.
func (b *bundle) flowPaid(id string, amount int64) string {
	b.t.Helper()
	token := b.flowCreate(id, amount, nil)
	require.Equal(b.t, 200, b.buyer(id, "approve").status)
	return token
}

func (b *bundle) flowRefund(id string, amount int64, shop *flowShop) answer {
	b.t.Helper()
	back := b.merchant.url
	if shop != nil {
		back = shop.url
	}
	return b.flow(http.MethodPost, "/refund/create", url.Values{"refundCommerceOrder": {"REF-1"}, "receiverEmail": {"ana@example.cl"},
		"amount": {strconv.FormatInt(amount, 10)}, "urlCallBack": {back + "/refunds?refund=REF-1"}, "commerceTrxId": {id}})
}

func (b *bundle) flowRefundStatus(token string) string {
	b.t.Helper()
	got := b.flow(http.MethodGet, "/refund/getStatus", url.Values{"token": {token}})
	require.Equal(b.t, 200, got.status, string(got.raw))
	return got.json["status"].(string)
}

func TestFlow_ARefundIsDecidedByItsReceiverAfterATime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := newFlowShop(t)
	var samples map[string]map[string]any
	readJSON(t, "flow_samples.json", &samples)
	b.flowPaid("PAY-1", 10000)
	first := b.flowRefund("PAY-1", 4000, shop)
	requireLike(t, samples["refund"], first.json)
	require.Equal(t, "created", first.json["status"])
	require.Equal(t, "4000.00", first.json["amount"])
	require.Equal(t, refundPending, b.ledger("").Refunds[0].Status)
	require.Equal(t, chargeCaptured, b.ledger("").Charges[0].Status, "no money has moved")

	token := first.json["token"].(string)
	b.clock.advance(2 * time.Second)
	require.Eventually(t, func() bool { return b.flowRefundStatus(token) == "refunded" }, 5*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return len(shop.heard()) == 1 }, 5*time.Second, 5*time.Millisecond)
	require.Equal(t, "/refunds?refund=REF-1 "+token, shop.heard()[0])
	require.Equal(t, refundSucceeded, b.ledger("").Refunds[0].Status)
	require.Equal(t, chargePartiallyRefunded, b.ledger("").Charges[0].Status)

	b.own(http.MethodPut, "/config/flow", `{"refund_outcome":"rejected"}`)
	second := b.flowRefund("PAY-1", 6000, nil).json["token"].(string)
	b.clock.advance(2 * time.Second)
	require.Eventually(t, func() bool { return b.flowRefundStatus(second) == "rejected" }, 5*time.Second, 10*time.Millisecond)
	require.Equal(t, refundFailed, b.ledger("").Refunds[1].Status)
	require.Equal(t, 200, b.flowRefund("PAY-1", 6000, nil).status, "what was rejected can be given back again")
}

func TestFlow_RefundsEndByHandAndNeverExceedThePayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 200, b.own(http.MethodPut, "/config/flow", `{"refund_seconds":-1}`).status)
	b.flowPaid("PAY-1", 10000)
	token := b.flowRefund("PAY-1", 9000, nil).json["token"].(string)
	require.Equal(t, 400, b.flowRefund("PAY-1", 1001, nil).status, "what is under way counts")
	require.Equal(t, 200, b.own(http.MethodPost, "/ledger/refunds/"+token+"/succeed", "").status)
	require.Equal(t, 200, b.own(http.MethodPost, "/ledger/refunds/"+token+"/succeed", "").status, "the same again")
	require.Equal(t, 409, b.own(http.MethodPost, "/ledger/refunds/"+token+"/fail", "").status)
	require.Equal(t, "refunded", b.flowRefundStatus(token))

	// The same refundCommerceOrder again is another refund.
	repeated := b.flowRefund("PAY-1", 500, nil).json["token"].(string)
	require.NotEqual(t, token, repeated)
	cancelled := b.flow(http.MethodPost, "/refund/cancel", url.Values{"token": {repeated}})
	require.Equal(t, "canceled", cancelled.json["status"])
	require.Equal(t, 400, b.flow(http.MethodPost, "/refund/cancel", url.Values{"token": {repeated}}).status)
	third := b.flowRefund("PAY-1", 500, nil).json["token"].(string)
	require.Equal(t, 200, b.own(http.MethodPost, "/ledger/refunds/"+third+"/fail", "").status)
	require.Equal(t, "rejected", b.flowRefundStatus(third))

	hand := b.own(http.MethodPost, "/ledger/refunds", `{"payment_id":"PAY-1","gateway":"flow"}`)
	require.Equal(t, 201, hand.status, string(hand.raw))
	require.Equal(t, 1000.0, hand.json["amount"])
	require.Equal(t, chargeRefunded, b.ledger("").Charges[0].Status)
	require.Equal(t, 409, b.own(http.MethodPost, "/ledger/refunds", `{"payment_id":"PAY-1","gateway":"flow","amount":1}`).status)

	b.flowCreate("PAY-2", 1000, nil)
	require.Equal(t, 400, b.flowRefund("PAY-2", 1000, nil).status, "not paid")
	require.Equal(t, 400, b.flowRefund("PAY-404", 1000, nil).status)
	require.Equal(t, 400, b.flow(http.MethodGet, "/refund/getStatus", url.Values{"token": {"x"}}).status)
	b.own(http.MethodPut, "/config/flow", `{"no_funds":true}`)
	require.Equal(t, 501.0, b.flowRefund("PAY-1", 1, nil).json["code"])
	require.Equal(t, 400, b.own(http.MethodPut, "/config/flow", `{"refund_outcome":"lost"}`).status)
}
