package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mpShop records notifications with the query that they came with.
type mpShop struct {
	url    string
	mu     sync.Mutex
	news   []received
	query  []url.Values
	refuse int
}

func newMPShop(t *testing.T) *mpShop {
	t.Helper()
	s := &mpShop{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		event := map[string]any{}
		if err != nil || json.Unmarshal(raw, &event) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.news, s.query = append(s.news, received{r.Header.Clone(), raw, event}), append(s.query, r.URL.Query())
		if s.refuse > 0 {
			s.refuse--
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *mpShop) await(t *testing.T, n int) ([]received, []url.Values) {
	t.Helper()
	var news []received
	var query []url.Values
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		news, query = append(news[:0], s.news...), append(query[:0], s.query...)
		return len(news) >= n
	}, 10*time.Second, 5*time.Millisecond)
	return news, query
}

func (b *bundle) mp(method, path, key, body string) answer {
	h := http.Header{"Authorization": {"Bearer TEST-sandbox-demo"}, "Content-Type": {"application/json"}}
	if key != "" {
		h.Set("X-Idempotency-Key", key)
	}
	return b.do(method, "/mercadopago"+path, h, body)
}

func (b *bundle) mpPreference(id string, more string) map[string]any {
	b.t.Helper()
	got := b.mp(http.MethodPost, "/checkout/preferences", "", fmt.Sprintf(
		`{"items":[{"title":"Pedido","quantity":1,"currency_id":"CLP","unit_price":12990}],"external_reference":%q,
		"back_urls":{"success":%[2]q,"pending":%[2]q,"failure":%[2]q},"auto_return":"approved"%s}`, id, b.merchant.url+"/return", more))
	require.Equal(b.t, 201, got.status, string(got.raw))
	return got.json
}

func (b *bundle) mpCard(name string) string {
	b.t.Helper()
	got := b.do(http.MethodPost, "/mercadopago/v1/card_tokens?public_key=TEST-sandbox-demo", http.Header{"Content-Type": {"application/json"}},
		`{"card_number":"4168 8188 4444 7115","security_code":"123","expiration_month":11,"expiration_year":2030,"cardholder":{"name":"`+name+`"}}`)
	require.Equal(b.t, 201, got.status, string(got.raw))
	require.NotContains(b.t, string(got.raw), "4168818844447115")
	return got.json["id"].(string)
}

func mpPaymentBody(token, reference, more string) string {
	return fmt.Sprintf(`{"transaction_amount":12990,"token":%q,"installments":1,"payment_method_id":"visa","external_reference":%q,"payer":{"email":"ana@example.cl"}%s}`,
		token, reference, more)
}

func (b *bundle) mpPaid(reference, key string) string {
	b.t.Helper()
	got := b.mp(http.MethodPost, "/v1/payments", key, mpPaymentBody(b.mpCard("APRO"), reference, ""))
	require.Equal(b.t, 201, got.status, string(got.raw))
	require.Equal(b.t, "approved", got.json["status"])
	return fmt.Sprintf("%.0f", got.json["id"])
}

// requireHas: the answer has the sample's fields, each of the sample's type
// where neither is null.
func requireHas(t *testing.T, name string, got map[string]any) {
	t.Helper()
	var all map[string]map[string]any
	readJSON(t, "mercadopago_samples.json", &all)
	require.Contains(t, all, name)
	for field, want := range all[name] {
		value, has := got[field]
		require.True(t, has, "%s.%s", name, field)
		if want != nil && value != nil {
			require.IsType(t, want, value, "%s.%s", name, field)
		}
	}
}

func requireCause(t *testing.T, got answer, status, code int) {
	t.Helper()
	require.Equal(t, status, got.status, string(got.raw))
	require.EqualValues(t, status, got.json["status"])
	cause := got.json["cause"].([]any)
	if code == 0 {
		require.Empty(t, cause)
		return
	}
	require.EqualValues(t, code, cause[0].(map[string]any)["code"])
}

func TestMercadoPago_TheSignatureIsThatOfTheOfficialVector(t *testing.T) {
	t.Parallel()
	require.Equal(t, "633f91233312dd391ec75fa0bea539cfc2d6c4918873305b84a96cc1c58db71c",
		signMercadoPago("your_secret_key_here", "ord01jq4s4ky8hwq6na5pxb65b3d3", "2066ca19-c6f1-498a-be75-1923005edd06", "1742505638683"))
}

func TestMercadoPago_AnswersHaveTheDocumentedFields(t *testing.T) {
	t.Parallel()
	b := setup(t)
	requireHas(t, "preference", b.mpPreference("PAY-1", ""))
	token := b.do(http.MethodPost, "/mercadopago/v1/card_tokens", http.Header{"Authorization": {"Bearer TEST-sandbox-demo"}, "Content-Type": {"application/json"}},
		`{"card_number":"4168818844447115","security_code":"123","expiration_month":11,"expiration_year":2030,"cardholder":{"name":"APRO","identification":{"type":"Otro","number":"1"}}}`)
	requireHas(t, "card_token", token.json)
	id := b.mpPaid("PAY-1", "k1")
	requireHas(t, "payment", b.mp(http.MethodGet, "/v1/payments/"+id, "", "").json)
	requireHas(t, "refund", b.mp(http.MethodPost, "/v1/payments/"+id+"/refunds", "r1", `{"amount":990}`).json)
	b.own(http.MethodPost, "/disputes/"+id+"/open", "")
	found := b.mp(http.MethodGet, "/v1/chargebacks/search?payment_id="+id, "", "").json["results"].([]any)
	require.Len(t, found, 1)
	requireHas(t, "chargeback", found[0].(map[string]any))
	one := b.mp(http.MethodGet, "/v1/chargebacks/"+found[0].(map[string]any)["id"].(string), "", "")
	requireHas(t, "chargeback", one.json)
}

func TestMercadoPago_IsRefundedAfterAWonDisputeAndNotBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.mpPaid("PAY-1", "k1")
	refunds := "/v1/payments/" + id + "/refunds"
	state := func() string {
		x := b.mp(http.MethodGet, "/v1/payments/"+id, "", "").json
		return fmt.Sprint(x["status"], " ", x["status_detail"], " ", b.ledger("").Charges[0].Status)
	}
	b.own(http.MethodPost, "/disputes/"+id+"/open", "")
	requireCause(t, b.mp(http.MethodPost, refunds, "r1", `{"amount":990}`), 400, 2063)
	b.own(http.MethodPost, "/disputes/"+id+"/won", "")
	require.Equal(t, "charged_back reimbursed captured", state())
	require.Equal(t, 201, b.mp(http.MethodPost, refunds, "r2", `{"amount":990}`).status)
	require.Equal(t, "charged_back reimbursed partially_refunded", state(), "a refund does not open the dispute again")
	require.Equal(t, 201, b.mp(http.MethodPost, refunds, "r3", "").status)
	require.Equal(t, "refunded refunded refunded", state())

	lost := b.mpPaid("PAY-2", "k2")
	b.own(http.MethodPost, "/disputes/"+lost+"/open", "")
	b.own(http.MethodPost, "/disputes/"+lost+"/lost", "")
	requireCause(t, b.mp(http.MethodPost, "/v1/payments/"+lost+"/refunds", "r4", ""), 400, 2063)
}

func TestMercadoPago_ABrowserMayAskForCardTokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked := b.do(http.MethodOptions, "/mercadopago/v1/card_tokens", nil, "")
	require.Equal(t, 204, asked.status)
	require.Equal(t, "*", asked.header.Get("Access-Control-Allow-Origin"))
	got := b.do(http.MethodPost, "/mercadopago/v1/card_tokens?public_key=TEST-sandbox-demo", http.Header{"Content-Type": {"application/json"}},
		`{"card_number":"4168818844447115","security_code":"123","expiration_month":11,"expiration_year":2030,"cardholder":{"name":"APRO"}}`)
	require.Equal(t, "*", got.header.Get("Access-Control-Allow-Origin"))
}

func TestMercadoPago_AKeyIsNeededAndHasOneEffect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := mpPaymentBody(b.mpCard("APRO"), "PAY-1", "")
	requireCause(t, b.mp(http.MethodPost, "/v1/payments", "", body), 400, 4292)
	first := b.mp(http.MethodPost, "/v1/payments", "k", body)
	require.Equal(t, 201, first.status)
	again := b.mp(http.MethodPost, "/v1/payments", "k", body)
	require.Equal(t, 200, again.status)
	require.Equal(t, first.raw, again.raw)
	require.Equal(t, 409, b.mp(http.MethodPost, "/v1/payments", "k", mpPaymentBody(b.mpCard("APRO"), "PAY-2", "")).status)
	requireCause(t, b.mp(http.MethodPost, "/v1/payments", "k2", body), 400, 3003)

	refunds := fmt.Sprintf("/v1/payments/%.0f/refunds", first.json["id"])
	requireCause(t, b.mp(http.MethodPost, refunds, "", `{"amount":90}`), 400, 4292)
	require.Equal(t, 201, b.mp(http.MethodPost, refunds, "r", `{"amount":90}`).status)
	require.Equal(t, 200, b.mp(http.MethodPost, refunds, "r", `{"amount":90}`).status)
	require.Len(t, b.ledger("").Refunds, 1)
	require.Len(t, b.ledger("").Charges, 1)
}

func TestMercadoPago_RefusesWithCauseCodes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.mpPaid("PAY-1", "k1")
	card := b.mpCard("APRO")
	for name, c := range map[string]struct {
		got          answer
		status, code int
	}{
		"no such payment":         {b.mp(http.MethodGet, "/v1/payments/1", "", ""), 404, 2000},
		"no such refund":          {b.mp(http.MethodGet, "/v1/payments/"+id+"/refunds/1", "", ""), 404, 2000},
		"cancel what is paid":     {b.mp(http.MethodPut, "/v1/payments/"+id, "", `{"status":"cancelled"}`), 400, 2018},
		"capture what is taken":   {b.mp(http.MethodPut, "/v1/payments/"+id, "", `{"capture":true}`), 400, 2063},
		"refund too much":         {b.mp(http.MethodPost, "/v1/payments/"+id+"/refunds", "a", `{"amount":12991}`), 400, 2017},
		"no such card":            {b.mp(http.MethodPost, "/v1/payments", "b", mpPaymentBody("nope", "P", "")), 400, 2006},
		"too many instalments":    {b.mp(http.MethodPost, "/v1/payments", "c", mpPaymentBody(card, "P", `,"installments":37`)), 400, 4025},
		"no e-mail":               {b.mp(http.MethodPost, "/v1/payments", "d", mpPaymentBody(card, "P", `,"payer":{"email":"x"}`)), 400, 4050},
		"a reference too long":    {b.mp(http.MethodPost, "/v1/payments", "e", mpPaymentBody(card, strings.Repeat("x", 65), "")), 400, 4033},
		"a method that is none":   {b.mp(http.MethodPost, "/v1/payments", "f", mpPaymentBody(card, "P", `,"payment_method_id":"gold"`)), 400, 3011},
		"half a peso":             {b.mp(http.MethodPost, "/v1/payments", "g", mpPaymentBody(card, "P", `,"transaction_amount":0.5`)), 400, 4037},
		"a date that is none":     {b.mp(http.MethodGet, "/v1/payments/search?begin_date=yesterday", "", ""), 400, 1001},
		"an unknown path":         {b.mp(http.MethodGet, "/v1/nothing", "", ""), 404, 0},
		"auto_return to nowhere":  {b.mp(http.MethodPost, "/checkout/preferences", "", `{"items":[{"title":"x","quantity":1,"unit_price":1}],"auto_return":"approved"}`), 400, 0},
		"another currency":        {b.mp(http.MethodPost, "/checkout/preferences", "", `{"items":[{"title":"x","quantity":1,"unit_price":1,"currency_id":"USD"}]}`), 400, 0},
		"an address of 249 bytes": {b.mp(http.MethodPost, "/checkout/preferences", "", `{"items":[{"title":"x","quantity":1,"unit_price":1}],"notification_url":"https://x/`+strings.Repeat("x", 239)+`"}`), 400, 0},
	} {
		t.Run(name, func(t *testing.T) { requireCause(t, c.got, c.status, c.code) })
	}
	require.Equal(t, 401, b.do(http.MethodGet, "/mercadopago/v1/payments/"+id, http.Header{"Authorization": {"Bearer APP_USR-1"}}, "").status)
	other := b.do(http.MethodGet, "/mercadopago/v1/payments/"+id, http.Header{"Authorization": {"Bearer TEST-sandbox-other"}}, "")
	require.Equal(t, 404, other.status)
	b.clock.advance(181 * 24 * time.Hour)
	requireCause(t, b.mp(http.MethodPost, "/v1/payments/"+id+"/refunds", "z", `{"amount":1}`), 400, 2024)
}

func TestMercadoPago_ARejectedCardIsA201AndTheNameDecides(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, want := range mpResults {
		got := b.mp(http.MethodPost, "/v1/payments", "k-"+name, mpPaymentBody(b.mpCard(name), "PAY-"+name, ""))
		require.Equal(t, 201, got.status, name)
		require.Equal(t, want[0], got.json["status"], name)
		require.Equal(t, want[1], got.json["status_detail"], name)
	}
	require.Len(t, b.ledger("").Charges, 1, "only APRO pays")
	typo := b.mp(http.MethodPost, "/v1/payments", "k-x", mpPaymentBody(b.mpCard("Ana"), "PAY-x", ""))
	require.Equal(t, "rejected", typo.json["status"])
}

func TestMercadoPago_ThePageTakesAnotherCardAndGoesBackWithNulls(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.mpPreference("PAY-1", "")
	require.Contains(t, p["init_point"], "/mercadopago/checkout/v1/redirect?pref_id="+p["id"].(string))
	require.Equal(t, 200, b.do(http.MethodGet, "/buyer/"+p["id"].(string), nil, "").status)
	require.Equal(t, 200, b.buyer("PAY-1", "abort").status)
	gone := b.merchant.lastReturn(t)
	require.Equal(t, "null", gone.fields.Get("collection_id"))
	require.Equal(t, "null", gone.fields.Get("status"))
	require.Equal(t, "PAY-1", gone.fields.Get("external_reference"))

	require.Equal(t, 200, b.buyer("PAY-1", "decline?decline_code=cc_rejected_high_risk").status)
	require.Empty(t, b.ledger("").Charges)
	require.Equal(t, 200, b.buyer("PAY-1", "approve").status)
	paid := b.merchant.lastReturn(t)
	require.Equal(t, "approved", paid.fields.Get("status"))
	require.Equal(t, p["id"], paid.fields.Get("preference_id"))
	require.Equal(t, 409, b.buyer("PAY-1", "approve").status)

	found := b.mp(http.MethodGet, "/v1/payments/search?external_reference=PAY-1&sort=date_created&criteria=asc", "", "").json
	require.EqualValues(t, 2, found["paging"].(map[string]any)["total"])
	first := found["results"].([]any)[0].(map[string]any)
	require.Equal(t, "cc_rejected_high_risk", first["status_detail"])
	require.Equal(t, paid.fields.Get("payment_id"), fmt.Sprintf("%.0f", found["results"].([]any)[1].(map[string]any)["id"]))
}

func TestMercadoPago_AnExpiredPreferenceTakesNoMoney(t *testing.T) {
	t.Parallel()
	b := setup(t)
	soon := b.clock.Now().Add(time.Minute).Format(time.RFC3339)
	b.mpPreference("PAY-1", `,"expires":true,"expiration_date_to":"`+soon+`"`)
	closed := b.mpPreference("PAY-2", "")
	b.mpPreference("PAY-3", "")
	b.clock.advance(time.Minute)
	require.Equal(t, 409, b.buyer("PAY-1", "approve").status)
	got := b.mp(http.MethodPut, "/checkout/preferences/"+closed["id"].(string), "", `{"expires":true,"expiration_date_to":"`+soon+`"}`)
	require.Equal(t, 200, got.status)
	require.Equal(t, true, got.json["expires"])
	require.Equal(t, "PAY-2", got.json["external_reference"], "an update leaves the rest alone")
	require.Equal(t, 409, b.buyer("PAY-2", "approve").status)
	require.Equal(t, 200, b.buyer("PAY-3", "timeout").status)
	require.Equal(t, 409, b.buyer("PAY-3", "approve").status)
	require.Empty(t, b.ledger("").Charges)
}

func TestMercadoPago_EachTryOfANotificationHasNewIdsAndASignature(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := newMPShop(t)
	shop.refuse = 1
	b.mpPreference("PAY-1", `,"notification_url":"`+shop.url+`/hook?payment=PAY-1&source_news=webhooks"`)
	require.Equal(t, 200, b.buyer("PAY-1", "approve?return=false").status)
	news, query := shop.await(t, 2)
	id := query[0].Get("data.id")
	for i := range 2 {
		require.Equal(t, "PAY-1", query[i].Get("payment"), "the address's own query stays")
		require.Equal(t, "payment", query[i].Get("type"))
		require.Equal(t, id, query[i].Get("data.id"))
		require.Equal(t, map[string]any{"id": id}, news[i].event["data"])
		require.Equal(t, "payment.created", news[i].event["action"])
		stamp, hash, _ := strings.Cut(strings.TrimPrefix(news[i].header.Get("X-Signature"), "ts="), ",v1=")
		require.Equal(t, signMercadoPago("mpsec_sandbox_demo", id, news[i].header.Get("X-Request-Id"), stamp), hash)
	}
	require.NotEqual(t, news[0].event["id"], news[1].event["id"])
	require.NotEqual(t, news[0].header.Get("X-Request-Id"), news[1].header.Get("X-Request-Id"))
	require.Equal(t, "1", news[1].header.Get("X-Retry"))
}

func TestMercadoPago_IPNCopiesAreUnsigned(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := newMPShop(t)
	require.Equal(t, 200, b.own(http.MethodPut, "/config/mercadopago", `{"access_token":"TEST-sandbox-demo","webhook_url":"`+shop.url+`/{tenant}","ipn_copies":true}`).status)
	b.mpPaid("PAY-1", "k")
	_, query := shop.await(t, 2)
	seen := map[string]bool{}
	for i, q := range query {
		seen[q.Get("topic")+q.Get("type")] = true
		require.Equal(t, q.Get("topic") == "", shop.news[i].header.Get("X-Signature") != "")
	}
	require.True(t, seen["payment"])
}

func TestMercadoPago_AChallengeWaitsForTheBuyer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	card := b.do(http.MethodPost, "/mercadopago/v1/card_tokens?public_key=TEST-sandbox-demo", http.Header{"Content-Type": {"application/json"}},
		`{"card_number":"5483928164574623","security_code":"123","expiration_month":11,"expiration_year":2030,"cardholder":{"name":"APRO"}}`).json["id"].(string)
	got := b.mp(http.MethodPost, "/v1/payments", "k", mpPaymentBody(card, "PAY-1", `,"three_d_secure_mode":"optional","payment_method_id":"master"`))
	require.Equal(t, "pending_challenge", got.json["status_detail"])
	info := got.json["three_ds_info"].(map[string]any)
	require.NotEmpty(t, info["creq"])
	require.Contains(t, info["external_resource_url"], "/mercadopago/challenge/")
	require.Empty(t, b.ledger("").Charges)
	require.Equal(t, 200, b.buyer("PAY-1", "approve").status)
	require.Len(t, b.ledger("").Charges, 1)
}

func TestMercadoPago_SearchesThreeMonthsUnlessAsked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.mpPaid("PAY-1", "k")
	b.clock.advance(120 * 24 * time.Hour)
	total := func(query string) float64 {
		got := b.mp(http.MethodGet, "/v1/payments/search?"+query, "", "")
		require.Equal(t, 200, got.status, string(got.raw))
		return got.json["paging"].(map[string]any)["total"].(float64)
	}
	require.Zero(t, total("external_reference=PAY-1"))
	require.EqualValues(t, 1, total("external_reference=PAY-1&range=date_created&begin_date=NOW-12MONTHS&end_date=NOW"))
	require.Zero(t, total("external_reference=PAY&begin_date=NOW-12MONTHS"), "a reference is no prefix")
	from := url.QueryEscape(b.clock.Now().Add(-121 * 24 * time.Hour).Format("2006-01-02T15:04:05.000-07:00"))
	require.EqualValues(t, 1, total("range=date_last_updated&begin_date="+from))
}
