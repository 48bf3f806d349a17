package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func stripeHeader(key string) http.Header {
	h := http.Header{}
	h.Set("Authorization", "Bearer sk_test_sandbox_demo")
	h.Set("Stripe-Version", "2023-10-16")
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	if key != "" {
		h.Set("Idempotency-Key", key)
	}
	return h
}

func (b *bundle) stripePost(path string, form url.Values, key string) answer {
	return b.do(http.MethodPost, "/stripe"+path, stripeHeader(key), form.Encode())
}

func (b *bundle) stripeGet(path string) answer {
	return b.do(http.MethodGet, "/stripe"+path, stripeHeader(""), "")
}

func sessionForm(paymentID string, amount int64) url.Values {
	return url.Values{
		"mode":                 {"payment"},
		"success_url":          {"https://shop.example/ok?session={CHECKOUT_SESSION_ID}"},
		"cancel_url":           {"https://shop.example/cancel"},
		"client_reference_id":  {paymentID},
		"metadata[payment_id]": {paymentID},
		"payment_intent_data[metadata][payment_id]":     {paymentID},
		"line_items[0][price_data][currency]":           {"clp"},
		"line_items[0][price_data][unit_amount]":        {strconv.FormatInt(amount, 10)},
		"line_items[0][price_data][product_data][name]": {"Pedido DEMO-000123"},
		"line_items[0][quantity]":                       {"1"},
	}
}

// sessionHere is a session whose returns come to the test's merchant.
func (b *bundle) session(paymentID string, amount int64, change ...string) string {
	b.t.Helper()
	form := sessionForm(paymentID, amount)
	form.Set("success_url", b.merchant.url+"/return?session={CHECKOUT_SESSION_ID}")
	form.Set("cancel_url", b.merchant.url+"/return?cancelled=1")
	for i := 0; i+1 < len(change); i += 2 {
		form.Set(change[i], change[i+1])
	}
	got := b.stripePost("/v1/checkout/sessions", form, "")
	require.Equal(b.t, 200, got.status, string(got.raw))
	return got.json["id"].(string)
}

func stripeErrorOf(a answer) map[string]any {
	e, _ := a.json["error"].(map[string]any)
	return e
}

func stripeText(t *testing.T, name string) string {
	t.Helper()
	var all map[string]string
	readJSON(t, "stripe_errors.json", &all)
	require.Contains(t, all, name)
	return all[name]
}

// documented: the object has no field that the API does not have, expanded
// ones included.
func requireDocumented(t *testing.T, object map[string]any) {
	t.Helper()
	var all map[string][]string
	readJSON(t, "stripe_fields.json", &all)
	kind := object["object"].(string)
	require.Subset(t, all[kind], sortedKeys(object), kind)
	for _, value := range object {
		if below, ok := value.(map[string]any); ok {
			if _, is := all[fmt.Sprint(below["object"])]; is {
				requireDocumented(t, below)
			}
		}
	}
}

func TestStripe_SignatureMatchesThePublishedVector(t *testing.T) {
	t.Parallel()
	body := "{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\",\n  \"api_version\": \"2023-10-16\"\n}"
	require.Len(t, body, 82)
	require.Equal(t, "t=12345,v1=572216dccb0f666a923a8948f5e2bf5006a681edc6f90707ff98a6206699322a",
		signStripe("whsec_test_secret", time.Unix(12345, 0), []byte(body)))
}

func TestStripe_PaidSessionFromCreationToRefund(t *testing.T) {
	t.Parallel()
	b := setup(t)
	form := sessionForm("PAY-1", 12990)
	form.Set("success_url", b.merchant.url+"/return?session={CHECKOUT_SESSION_ID}")
	created := b.stripePost("/v1/checkout/sessions", form, "")
	require.Equal(t, 200, created.status, string(created.raw))
	requireDocumented(t, created.json)
	require.True(t, strings.HasPrefix(created.header.Get("Request-Id"), "req_"))
	require.Equal(t, "2023-10-16", created.header.Get("Stripe-Version"))
	id := created.json["id"].(string)
	require.True(t, strings.HasPrefix(id, "cs_test_"))
	require.Equal(t, "open", created.json["status"])
	require.Equal(t, "unpaid", created.json["payment_status"])
	require.Nil(t, created.json["payment_intent"], "made at confirmation")
	require.Equal(t, 12990.0, created.json["amount_total"])
	require.Equal(t, float64(b.clock.Now().Add(24*time.Hour).Unix()), created.json["expires_at"])
	hosted := b.do(http.MethodGet, strings.TrimPrefix(created.json["url"].(string), b.url), nil, "")
	require.Equal(t, "/buyer/"+id, hosted.header.Get("Location"))

	got := b.buyer("PAY-1", "approve")
	require.Equal(t, 200, got.status, string(got.raw))
	require.Equal(t, id, b.merchant.lastReturn(t).fields.Get("session"))
	require.Equal(t, 409, b.buyer("PAY-1", "approve").status)

	session := b.stripeGet("/v1/checkout/sessions/" + id + "?expand[]=payment_intent.latest_charge").json
	requireDocumented(t, session)
	require.Equal(t, "complete", session["status"])
	require.Equal(t, "paid", session["payment_status"])
	require.Nil(t, session["url"])
	intent := session["payment_intent"].(map[string]any)
	require.Equal(t, "succeeded", intent["status"])
	require.Equal(t, 12990.0, intent["amount_received"])
	require.Equal(t, "PAY-1", intent["metadata"].(map[string]any)["payment_id"])
	charge := intent["latest_charge"].(map[string]any)
	require.Equal(t, true, charge["captured"])
	pi := intent["id"].(string)
	require.Equal(t, pi, b.stripeGet("/v1/checkout/sessions/" + id).json["payment_intent"])
	require.Equal(t, charge["id"], b.stripeGet("/v1/payment_intents/" + pi).json["latest_charge"])
	requireDocumented(t, b.stripeGet("/v1/charges/"+charge["id"].(string)).json)

	refund := b.stripePost("/v1/refunds", url.Values{"payment_intent": {pi}, "amount": {"5000"}, "reason": {"requested_by_customer"}, "metadata[refund_id]": {"R1"}}, "refund-1")
	require.Equal(t, 200, refund.status, string(refund.raw))
	requireDocumented(t, refund.json)
	require.Equal(t, "succeeded", refund.json["status"])
	require.Equal(t, chargePartiallyRefunded, b.ledger("").Charges[0].Status)
	tooMuch := b.stripePost("/v1/refunds", url.Values{"payment_intent": {pi}, "amount": {"7991"}}, "")
	require.Equal(t, 400, tooMuch.status)
	require.Equal(t, "Refund amount ($7.991) is greater than unrefunded amount on charge ($7.990)", stripeErrorOf(tooMuch)["message"])
	require.Equal(t, 200, b.stripePost("/v1/refunds", url.Values{"charge": {charge["id"].(string)}}, "").status)
	again := b.stripePost("/v1/refunds", url.Values{"payment_intent": {pi}}, "")
	require.Equal(t, "charge_already_refunded", stripeErrorOf(again)["code"])

	listed := b.stripeGet("/v1/refunds?payment_intent=" + pi).json
	require.Len(t, listed["data"], 2)
	require.Equal(t, 7990.0, listed["data"].([]any)[0].(map[string]any)["amount"], "newest first")
	all := b.ledger("?gateway=stripe")
	require.Equal(t, chargeRefunded, all.Charges[0].Status)
	require.Equal(t, "PAY-1", all.Charges[0].PaymentID)
	require.Equal(t, "acct_sandbox_demo", all.Charges[0].Account)
	require.Equal(t, int64(12990), all.Refunds[0].Amount+all.Refunds[1].Amount)
}

func TestStripe_AMisspelledParameterIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, c := range []struct{ name, value, code, param string }{
		{"client_reference", "x", "parameter_unknown", "client_reference"},
		{"line_items[0][price_data][unit_ammount]", "1", "parameter_unknown", "line_items[0][price_data][unit_ammount]"},
		{"payment_intent_data[metadatas][x]", "1", "parameter_unknown", "payment_intent_data[metadatas]"},
		{"allow_promotion_codes", "true", "sandbox_unsupported", "allow_promotion_codes"},
		{"line_items[0][price_data][unit_amount]", "12.5", "parameter_invalid_integer", "line_items[0][price_data][unit_amount]"},
		{"line_items[0][price_data][unit_amount]", "499", "amount_too_small", ""},
		{"line_items[0][price_data][unit_amount]", "100000000", "parameter_invalid_integer", "line_items[0]"},
		{"line_items[0][price_data][currency]", "CLP", "", "line_items[0][price_data][currency]"},
		{"line_items[0][price_data][product_data][name]", "", "parameter_invalid_empty", "line_items[0][price_data][product_data][name]"},
		{"line_items[0][quantity]", "0", "parameter_invalid_integer", "line_items[0]"},
		{"success_url", "/ok", "url_invalid", "success_url"},
		{"success_url", "", "parameter_invalid_empty", "success_url"},
		{"customer_email", "ana", "email_invalid", "customer_email"},
		{"locale", "es-CL", "", "locale"},
		{"metadata[k]", strings.Repeat("x", 501), "", "metadata[k]"},
		{"metadata", "x", "", "metadata"},
		{"payment_method_types[0]", "cash", "", "payment_method_types[0]"},
		{"payment_method_types", "card", "", "payment_method_types"},
		{"payment_intent_data[capture_method]", "later", "", "payment_intent_data[capture_method]"},
		{"expand[0]", "payment_intents", "", "expand"},
		{"client_reference_id", strings.Repeat("x", 201), "", "client_reference_id"},
		{"mode", "subscription", "sandbox_unsupported", "mode"},
	} {
		form := sessionForm("PAY-1", 12990)
		form.Set(c.name, c.value)
		got := b.stripePost("/v1/checkout/sessions", form, "")
		require.Equal(t, 400, got.status, "%s: %s", c.name, got.raw)
		e := stripeErrorOf(got)
		require.Equal(t, "invalid_request_error", e["type"])
		code, _ := e["code"].(string)
		param, _ := e["param"].(string)
		require.Equal(t, c.code, code, "%s: %s", c.name, got.raw)
		require.Equal(t, c.param, param, "%s: %s", c.name, got.raw)
	}
	for _, name := range []string{"mode", "success_url", "line_items[0][quantity]", "line_items[0][price_data][currency]"} {
		form := sessionForm("PAY-1", 12990)
		form.Del(name)
		e := stripeErrorOf(b.stripePost("/v1/checkout/sessions", form, ""))
		require.Equal(t, "parameter_missing", e["code"], name)
		require.Equal(t, "Missing required param: "+name+".", e["message"])
	}
	header := stripeHeader("")
	header.Set("Content-Type", "application/json")
	require.Equal(t, 400, b.do(http.MethodPost, "/stripe/v1/checkout/sessions", header, `{}`).status)
	require.Equal(t, "parameter_unknown", stripeErrorOf(b.stripeGet("/v1/refunds?payment_intnt=x"))["code"])
	require.Equal(t, 404, b.stripeGet("/v1/checkout/session").status)
}

func TestStripe_ExpiryLiesBetweenHalfAnHourAndADay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	try := func(after time.Duration) answer {
		form := sessionForm("PAY-1", 12990)
		form.Set("expires_at", strconv.FormatInt(b.clock.Now().Add(after).Unix(), 10))
		return b.stripePost("/v1/checkout/sessions", form, "")
	}
	require.Equal(t, stripeText(t, "expires_at_soon"), stripeErrorOf(try(30*time.Minute - time.Second))["message"])
	require.Equal(t, 200, try(30*time.Minute).status)
	require.Equal(t, 200, try(24*time.Hour).status)
	require.Equal(t, stripeText(t, "expires_at_late"), stripeErrorOf(try(24*time.Hour + time.Second))["message"])
}

func TestStripe_KeysAreCheckedAndAccountsKeptApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.session("PAY-1", 12990)
	call := func(name, value string) answer {
		header := stripeHeader("")
		header.Set(name, value)
		return b.do(http.MethodGet, "/stripe/v1/checkout/sessions/"+id, header, "")
	}
	require.Equal(t, 401, call("Authorization", "").status)
	require.Equal(t, 401, call("Authorization", "Bearer sk_live_x").status)
	require.Equal(t, "Invalid API Key provided: sk_live_********************2345", stripeErrorOf(call("Authorization", "Bearer sk_live_abcdefghijklmnopqrst2345"))["message"])
	other := call("Authorization", "Bearer sk_test_sandbox_other")
	require.Equal(t, 404, other.status)
	require.Equal(t, "resource_missing", stripeErrorOf(other)["code"])
	require.Equal(t, "No such checkout.session: '"+id+"'", stripeErrorOf(other)["message"])
	require.Equal(t, 400, call("Stripe-Version", "2020-08-27").status)
	require.Equal(t, 403, call("Stripe-Account", "acct_other").status)
	require.Equal(t, 200, call("Stripe-Account", "acct_sandbox_demo").status)
	account := b.stripeGet("/v1/account").json
	require.Equal(t, "acct_sandbox_demo", account["id"])
	requireDocumented(t, account)
}

func TestStripe_IdempotencyKeyReplaysTheFirstAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const key = "the-key-goes-here"
	first := b.stripePost("/v1/checkout/sessions", sessionForm("PAY-1", 12990), key)
	require.Equal(t, 200, first.status)
	require.Empty(t, first.header.Get("Idempotent-Replayed"))
	again := b.stripePost("/v1/checkout/sessions", sessionForm("PAY-1", 12990), key)
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, first.header.Get("Request-Id"), again.header.Get("Original-Request"))
	require.Equal(t, first.raw, again.raw)
	require.Len(t, b.stripeGet("/v1/checkout/sessions").json["data"], 1)

	params := b.stripePost("/v1/checkout/sessions", sessionForm("PAY-1", 12991), key)
	require.Equal(t, 400, params.status)
	require.Equal(t, "idempotency_error", stripeErrorOf(params)["type"])
	require.Equal(t, stripeText(t, "idempotency_params"), stripeErrorOf(params)["message"])
	endpoint := b.stripePost("/v1/refunds", url.Values{"payment_intent": {"pi_x"}}, key)
	require.Equal(t, 400, endpoint.status)
	require.Equal(t, stripeText(t, "idempotency_endpoint"), stripeErrorOf(endpoint)["message"])
	require.Equal(t, 400, b.stripePost("/v1/refunds", url.Values{"payment_intent": {"x"}}, strings.Repeat("k", 256)).status)

	b.clock.advance(24*time.Hour + time.Second)
	require.Empty(t, b.stripePost("/v1/checkout/sessions", sessionForm("PAY-1", 12990), key).header.Get("Idempotent-Replayed"), "keys are pruned")
}

func TestStripe_RefusedParametersLeaveTheKeyFreeAndARefusedStateDoesNot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	wrong := sessionForm("PAY-1", 12990)
	wrong.Set("success_url", "x")
	require.Equal(t, 400, b.stripePost("/v1/checkout/sessions", wrong, "k1").status)
	require.Equal(t, 200, b.stripePost("/v1/checkout/sessions", sessionForm("PAY-1", 12990), "k1").status)

	id := b.session("PAY-2", 12990)
	b.buyer("PAY-2", "approve")
	refused := b.stripePost("/v1/checkout/sessions/"+id+"/expire", nil, "k2")
	require.Equal(t, 400, refused.status)
	again := b.stripePost("/v1/checkout/sessions/"+id+"/expire", nil, "k2")
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, refused.raw, again.raw)
}

func TestStripe_OneKeyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const key = "the-key-goes-here"
	b.faults("stripe", `{"latency_ms":150}`)
	answers := make([]answer, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = b.stripePost("/v1/checkout/sessions", sessionForm("PAY-1", 12990), key) })
	}
	all.Wait()
	inUse := 0
	for _, a := range answers {
		if a.status == http.StatusConflict {
			inUse++
			require.Equal(t, "idempotency_key_in_use", stripeErrorOf(a)["code"])
			require.Equal(t, stripeText(t, "idempotency_in_use"), stripeErrorOf(a)["message"])
			continue
		}
		require.Equal(t, 200, a.status)
	}
	require.NotZero(t, inUse)
	b.faults("stripe", `{}`)
	require.Len(t, b.stripeGet("/v1/checkout/sessions").json["data"], 1)
}

func TestStripe_AnAnswerThatNeverCameIsReplayedOnRetry(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) { o.AnswerLimit = 10 * time.Millisecond })
	b.session("PAY-1", 12990)
	b.buyer("PAY-1", "approve")
	pi := b.ledger("").Charges[0].Reference
	b.faults("stripe", `{"next":[{"op":"create_refund","kind":"error_500"},{"op":"create_refund","kind":"timeout_after_effect"}]}`)
	form := url.Values{"payment_intent": {pi}, "amount": {"1000"}}
	require.Equal(t, 500, b.stripePost("/v1/refunds", form, "r1").status)
	require.Empty(t, b.ledger("").Refunds)
	// The transport may try again by itself: the key makes that harmless.
	b.stripePost("/v1/refunds", form, "r1")
	require.Equal(t, "true", b.stripePost("/v1/refunds", form, "r1").header.Get("Idempotent-Replayed"))
	require.Len(t, b.ledger("").Refunds, 1)
}

func TestStripe_DeclineLeavesTheSessionOpen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.session("PAY-1", 12990)
	got := b.buyer("PAY-1", "decline?decline_code=insufficient_funds")
	require.Equal(t, 200, got.status)
	require.Equal(t, "declined", got.json["status"])
	require.Equal(t, false, got.json["returned"], "the buyer stays on the page")
	session := b.stripeGet("/v1/checkout/sessions/" + id + "?expand[0]=payment_intent").json
	require.Equal(t, "open", session["status"])
	require.NotNil(t, session["url"])
	intent := session["payment_intent"].(map[string]any)
	require.Equal(t, "requires_payment_method", intent["status"])
	failure := intent["last_payment_error"].(map[string]any)
	require.Equal(t, "card_declined", failure["code"])
	require.Equal(t, "insufficient_funds", failure["decline_code"])
	cancel := b.stripePost("/v1/payment_intents/"+intent["id"].(string)+"/cancel", nil, "")
	require.Equal(t, 400, cancel.status, "the session is expired instead")
	require.Empty(t, b.ledger("").Charges)

	require.Equal(t, 200, b.buyer("PAY-1", "approve").status)
	paid := b.stripeGet("/v1/payment_intents/" + intent["id"].(string)).json
	require.Equal(t, "succeeded", paid["status"], "the same intent")
	require.Nil(t, paid["last_payment_error"])
	require.Len(t, b.stripeGet("/v1/charges?payment_intent=" + intent["id"].(string)).json["data"], 2)
	require.Eventually(t, func() bool { return len(b.types()) == 2 }, 5*time.Second, time.Millisecond)
	require.ElementsMatch(t, []string{"payment_intent.payment_failed", "checkout.session.completed"}, b.types())
}

func (b *bundle) types() (out []string) {
	for _, n := range b.merchant.received() {
		out = append(out, n.event["type"].(string))
	}
	return out
}

func TestStripe_AbortGoesToTheCancelAddressAndCanBePaidLater(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session("PAY-1", 12990)
	require.Equal(t, 200, b.buyer("PAY-1", "abort").status)
	require.Equal(t, "1", b.merchant.lastReturn(t).fields.Get("cancelled"))
	require.Equal(t, 200, b.buyer("PAY-1", "return").status)
	require.Len(t, b.merchant.returns, 2)
	require.Equal(t, 200, b.buyer("PAY-1", "approve").status)
	require.Len(t, b.ledger("").Charges, 1)
}

func TestStripe_ExpireClosesTheSessionForTheBuyer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.session("PAY-1", 12990)
	b.buyer("PAY-1", "decline")
	got := b.stripePost("/v1/checkout/sessions/"+id+"/expire", nil, "")
	require.Equal(t, 200, got.status)
	require.Equal(t, "expired", got.json["status"])
	require.Nil(t, got.json["url"])
	require.Equal(t, 409, b.buyer("PAY-1", "approve").status)
	again := b.stripePost("/v1/checkout/sessions/"+id+"/expire", nil, "")
	require.Equal(t, 400, again.status)
	require.Equal(t, stripeText(t, "expire_expired"), stripeErrorOf(again)["message"])
	intent := b.stripeGet("/v1/payment_intents/" + got.json["payment_intent"].(string)).json
	require.Equal(t, "canceled", intent["status"])
	require.Equal(t, "automatic", intent["cancellation_reason"])

	b.session("PAY-2", 12990)
	require.Equal(t, "expired", b.buyer("PAY-2", "timeout").json["status"])
	require.Equal(t, 409, b.buyer("PAY-2", "approve").status)
}

func TestStripe_SessionExpiresByItselfAndSaysSo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.session("PAY-1", 12990, "expires_at", strconv.FormatInt(b.clock.Now().Add(30*time.Minute).Unix(), 10))
	b.clock.advance(30 * time.Minute)
	require.Equal(t, 409, b.buyer("PAY-1", "approve").status)
	require.Equal(t, "expired", b.stripeGet("/v1/checkout/sessions/" + id).json["status"])
	require.Eventually(t, func() bool { return len(b.types()) == 1 }, 5*time.Second, 5*time.Millisecond)
	require.Equal(t, []string{"checkout.session.expired"}, b.types())
}

func TestStripe_OfApprovalAndExpiryAtOnceOneWins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 10 {
		payment := fmt.Sprintf("PAY-%d", i)
		id := b.session(payment, 12990)
		var paid, expired answer
		var both sync.WaitGroup
		both.Go(func() { paid = b.do(http.MethodPost, "/buyer/"+payment+"/approve", nil, "") })
		both.Go(func() { expired = b.stripePost("/v1/checkout/sessions/"+id+"/expire", nil, "") })
		both.Wait()
		require.NotEqual(t, paid.status == 200, expired.status == 200)
		require.Equal(t, paid.status == 200, b.stripeGet("/v1/checkout/sessions/" + id).json["payment_status"] == "paid")
	}
}

func TestStripe_ManualCaptureTakesMoneyAtCapture(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.session("PAY-1", 12990, "payment_intent_data[capture_method]", "manual")
	b.buyer("PAY-1", "approve")
	session := b.stripeGet("/v1/checkout/sessions/" + id + "?expand[]=payment_intent").json
	require.Equal(t, "unpaid", session["payment_status"])
	intent := session["payment_intent"].(map[string]any)
	require.Equal(t, "requires_capture", intent["status"])
	require.Equal(t, 12990.0, intent["amount_capturable"])
	require.Equal(t, chargeAuthorized, b.ledger("").Charges[0].Status)
	pi := intent["id"].(string)
	require.Equal(t, "payment_intent_unexpected_state", stripeErrorOf(b.stripePost("/v1/refunds", url.Values{"payment_intent": {pi}}, ""))["code"])
	require.Equal(t, 400, b.stripePost("/v1/payment_intents/"+pi+"/capture", url.Values{"amount_to_capture": {"12991"}}, "").status)
	captured := b.stripePost("/v1/payment_intents/"+pi+"/capture", url.Values{"amount_to_capture": {"10000"}}, "")
	require.Equal(t, "succeeded", captured.json["status"])
	require.Equal(t, 10000.0, captured.json["amount_received"])
	require.Equal(t, int64(10000), b.ledger("").Charges[0].Amount)
	require.Equal(t, "paid", b.stripeGet("/v1/checkout/sessions/" + id).json["payment_status"])
	require.Equal(t, 400, b.stripePost("/v1/payment_intents/"+pi+"/capture", nil, "").status)
	require.Equal(t, 400, b.stripePost("/v1/payment_intents/"+pi+"/cancel", nil, "").status)

	other := b.session("PAY-2", 12990, "payment_intent_data[capture_method]", "manual")
	b.buyer("PAY-2", "approve")
	held := b.stripeGet("/v1/checkout/sessions/" + other).json["payment_intent"].(string)
	voided := b.stripePost("/v1/payment_intents/"+held+"/cancel", url.Values{"cancellation_reason": {"requested_by_customer"}}, "")
	require.Equal(t, "canceled", voided.json["status"])
	require.Equal(t, chargeVoided, b.ledger("").Charges[1].Status)
}

func TestStripe_ListsAndSearchFindWhatWasLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	start := b.clock.Now()
	for i := range 3 {
		b.session(fmt.Sprintf("PAY-%d", i), 12990)
		b.clock.advance(time.Minute)
	}
	b.buyer("PAY-1", "approve")
	page := b.stripeGet("/v1/checkout/sessions?limit=2").json
	require.Equal(t, true, page["has_more"])
	data := page["data"].([]any)
	require.Equal(t, "PAY-2", data[0].(map[string]any)["client_reference_id"])
	next := b.stripeGet("/v1/checkout/sessions?limit=2&starting_after=" + data[1].(map[string]any)["id"].(string)).json
	require.Len(t, next["data"], 1)
	require.Equal(t, false, next["has_more"])
	since := b.stripeGet(fmt.Sprintf("/v1/checkout/sessions?created[gte]=%d&created[lt]=%d", start.Add(time.Minute).Unix(), start.Add(2*time.Minute).Unix())).json
	require.Len(t, since["data"], 1)
	require.Len(t, b.stripeGet("/v1/checkout/sessions?status=complete").json["data"], 1)
	expanded := b.stripeGet("/v1/checkout/sessions?status=complete&expand[]=data.payment_intent").json["data"].([]any)[0].(map[string]any)
	pi := expanded["payment_intent"].(map[string]any)["id"].(string)
	require.Len(t, b.stripeGet("/v1/checkout/sessions?payment_intent=" + pi).json["data"], 1)
	require.Len(t, b.stripeGet("/v1/payment_intents").json["data"], 1)
	found := b.stripeGet("/v1/payment_intents/search?query=" + url.QueryEscape(`metadata["payment_id"]:"PAY-1" AND status:"succeeded"`)).json
	require.Equal(t, "search_result", found["object"])
	require.Len(t, found["data"], 1)
	require.Equal(t, 400, b.stripeGet("/v1/payment_intents/search?query=nonsense").status)
	require.Equal(t, 400, b.stripeGet("/v1/checkout/sessions?limit=101").status)
	require.Equal(t, 404, b.stripeGet("/v1/refunds?payment_intent=pi_none").status)
}

// verified checks a notification as docs.stripe.com/webhooks tells merchants.
func requireSigned(t *testing.T, n received, secret string) int64 {
	t.Helper()
	stamp, mac, ok := strings.Cut(n.header.Get("Stripe-Signature"), ",v1=")
	require.True(t, ok)
	stamp = strings.TrimPrefix(stamp, "t=")
	sum := hmac.New(sha256.New, []byte(secret))
	sum.Write([]byte(stamp + "." + string(n.body)))
	require.Equal(t, hex.EncodeToString(sum.Sum(nil)), mac)
	at, err := strconv.ParseInt(stamp, 10, 64)
	require.NoError(t, err)
	return at
}

func TestStripe_NotificationsAreSignedAndRepeatedUntilTaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.merchant.refuse = 2
	b.session("PAY-1", 12990)
	b.buyer("PAY-1", "approve")
	require.Eventually(t, func() bool { return len(b.merchant.received()) == 3 }, 5*time.Second, time.Millisecond)
	news := b.merchant.received()
	for _, n := range news {
		requireSigned(t, n, "whsec_sandbox_demo")
		require.Equal(t, news[0].event["id"], n.event["id"], "one event, tried again")
	}
	event := news[0].event
	requireDocumented(t, event)
	require.Equal(t, "checkout.session.completed", event["type"])
	require.Equal(t, "2023-10-16", event["api_version"])
	require.Equal(t, false, event["livemode"])
	require.Equal(t, "acct_sandbox_demo", event["account"])
	object := event["data"].(map[string]any)["object"].(map[string]any)
	require.Equal(t, "PAY-1", object["client_reference_id"])
	require.Equal(t, "paid", object["payment_status"])
	require.Eventually(t, func() bool {
		counts := b.own(http.MethodGet, "/deliveries/stripe", "").json
		return counts["pending"] == 0.0 && counts["delivered"] == 1.0 && counts["failed_attempts"] == 2.0
	}, 5*time.Second, 5*time.Millisecond)

	fetched := b.stripeGet("/v1/events/" + event["id"].(string)).json
	require.Equal(t, event["data"], fetched["data"])
	require.Equal(t, 202, b.own(http.MethodPost, "/events/stripe/"+event["id"].(string)+"/resend", "").status)
	require.Eventually(t, func() bool { return len(b.merchant.received()) == 4 }, 5*time.Second, time.Millisecond)
	require.Equal(t, 404, b.own(http.MethodPost, "/events/stripe/evt_none/resend", "").status)
	require.Len(t, b.stripeGet("/v1/events?type=payment_intent.succeeded").json["data"], 1, "kept though nobody listens")
}

func TestStripe_NotificationsGoOnAfterARestartWithANewSignature(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shop := newMerchant(t)
	shop.refuse = 1 << 30
	clock := &testClock{now: time.Now().UTC()}
	opts := Options{Dir: dir, Clock: clock.Now, NoSync: true, WebhookBackoff: time.Millisecond, WebhookBackoffLimit: 5 * time.Millisecond, StripeWebhookURL: shop.url + "/webhook"}
	first, err := Open(opts)
	require.NoError(t, err)
	b := &bundle{t: t, server: first, merchant: shop, clock: clock}
	require.NoError(t, first.store.update(func(tx *tx) {
		p := first.providers[stripeName].(*stripe)
		p.emit(tx, "acct_sandbox_demo", "checkout.session.expired", map[string]any{"id": "cs_test_x", "object": "checkout.session"}, nil)
	}))
	require.Eventually(t, func() bool { return len(shop.received()) >= 2 }, 5*time.Second, time.Millisecond)
	require.NoError(t, first.Close())

	before := len(shop.received())
	clock.advance(time.Hour)
	shop.mu.Lock()
	shop.refuse = 0
	shop.mu.Unlock()
	b.open(opts)
	require.Eventually(t, func() bool { return len(shop.received()) == before+1 }, 5*time.Second, time.Millisecond)
	news := shop.received()
	require.Equal(t, news[0].event["id"], news[before].event["id"])
	require.Equal(t, requireSigned(t, news[0], "whsec_sandbox_demo")+3600, requireSigned(t, news[before], "whsec_sandbox_demo"))
}

func TestStripe_EachAccountHasItsOwnEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	set := b.own(http.MethodPut, "/config/stripe", `{"secret_key":"sk_test_sandbox_demo","webhook_url":"`+b.merchant.url+`/webhook?tenant={tenant}","webhook_secret":"whsec_other","events":["payment_intent.succeeded"]}`)
	require.Equal(t, 200, set.status, string(set.raw))
	require.Equal(t, "acct_sandbox_demo", set.json["account"])
	require.Contains(t, set.json["webhook_url"], "?tenant=demo")
	require.Equal(t, "whsec_sandbox_acme", b.own(http.MethodGet, "/config/stripe?secret_key=sk_test_sandbox_acme", "").json["webhook_secret"])
	require.Equal(t, 400, b.own(http.MethodPut, "/config/stripe", `{"webhook_url":"nowhere"}`).status)
	require.Equal(t, 400, b.own(http.MethodPut, "/config/stripe", `{"secret_key":"sk_live_x"}`).status)
	b.session("PAY-1", 12990)
	b.buyer("PAY-1", "approve")
	require.Eventually(t, func() bool { return len(b.merchant.received()) == 1 }, 5*time.Second, time.Millisecond)
	require.Equal(t, []string{"payment_intent.succeeded"}, b.types())
	requireSigned(t, b.merchant.received()[0], "whsec_other")
}

func TestStripe_NotificationsAreDroppedDoubledAndReordered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	counts := func() map[string]any { return b.own(http.MethodGet, "/deliveries/stripe", "").json }
	b.faults("stripe", `{"drop_webhooks":true}`)
	b.session("PAY-1", 12990)
	b.buyer("PAY-1", "approve")
	require.Eventually(t, func() bool { return counts()["dropped"] == 1.0 }, 5*time.Second, time.Millisecond)
	require.Empty(t, b.merchant.received())

	b.faults("stripe", `{"duplicate_webhooks":1}`)
	b.session("PAY-2", 12990)
	b.buyer("PAY-2", "approve")
	require.Eventually(t, func() bool { return len(b.merchant.received()) == 2 }, 5*time.Second, time.Millisecond)
	require.Equal(t, b.merchant.received()[0].event["id"], b.merchant.received()[1].event["id"])

	// The seed draws many seconds for the first event; the second overtakes it.
	b.faults("stripe", `{"reordered_webhooks":true,"reorder_delay_ms":60000,"seed":1}`)
	b.session("PAY-3", 12990)
	b.buyer("PAY-3", "approve")
	require.Eventually(t, func() bool { return b.delayed() == 1 }, 5*time.Second, time.Millisecond)
	b.faults("stripe", `{}`)
	b.session("PAY-4", 12990)
	b.buyer("PAY-4", "approve")
	require.Eventually(t, func() bool { return len(b.merchant.received()) == 3 }, 5*time.Second, time.Millisecond)
	object := b.merchant.received()[2].event["data"].(map[string]any)["object"].(map[string]any)
	require.Equal(t, "PAY-4", object["client_reference_id"])
	require.Eventually(t, func() bool { return counts()["pending"] == 1.0 }, 5*time.Second, time.Millisecond)
}

// delayed counts the deliveries that wait for a later moment.
func (b *bundle) delayed() int {
	n := 0
	require.NoError(b.t, b.server.store.view(func(t *tx) {
		each(t, deliveriesOf(stripeName), "", func(_ string, d delivery) bool {
			if d.NextAt.After(time.Now()) {
				n++
			}
			return true
		})
	}))
	return n
}

func TestStripe_RefundFromThePanelAndOneThatFailsLater(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session("PAY-1", 12990)
	b.buyer("PAY-1", "approve")
	made := b.own(http.MethodPost, "/ledger/refunds", `{"payment_id":"PAY-1","gateway":"stripe","amount":2990}`)
	require.Equal(t, 201, made.status, string(made.raw))
	id := made.json["reference"].(string)
	require.Equal(t, "succeeded", b.stripeGet("/v1/refunds/" + id).json["status"])
	require.Equal(t, chargePartiallyRefunded, b.ledger("").Charges[0].Status)

	require.Equal(t, 200, b.own(http.MethodPost, "/ledger/refunds/"+id+"/fail", "").status)
	failed := b.stripeGet("/v1/refunds/" + id).json
	requireDocumented(t, failed)
	require.Equal(t, "failed", failed["status"])
	require.Equal(t, "expired_or_canceled_card", failed["failure_reason"])
	require.Equal(t, chargeCaptured, b.ledger("").Charges[0].Status)
	require.Equal(t, refundFailed, b.ledger("").Refunds[0].Status)
	require.Equal(t, 409, b.own(http.MethodPost, "/ledger/refunds/"+id+"/fail", "").status)
	require.Equal(t, 404, b.own(http.MethodPost, "/ledger/refunds/re_none/fail", "").status)
	require.Eventually(t, func() bool { return len(b.types()) == 3 }, 5*time.Second, time.Millisecond)
	require.ElementsMatch(t, []string{"checkout.session.completed", "charge.refunded", "charge.refund.updated"}, b.types())
	require.Equal(t, 200, b.stripePost("/v1/refunds", url.Values{"payment_intent": {b.ledger("").Charges[0].Reference}}, "").status, "the whole is free again")
}

func TestStripe_BrowserStaysOnThePageAfterADecline(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.session("PAY-1", 12990)
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	declined := b.do(http.MethodPost, "/buyer/"+id+"/decline", form, "browser=1")
	require.Equal(t, 303, declined.status)
	require.Equal(t, "/buyer/"+id, declined.header.Get("Location"))
	require.Contains(t, string(b.do(http.MethodGet, "/buyer/"+id, nil, "").raw), "La tarjeta fue rechazada")
	paid := b.do(http.MethodPost, "/buyer/"+id+"/approve", form, "browser=1")
	require.Equal(t, b.merchant.url+"/return?session="+id, paid.header.Get("Location"))
}

func FuzzParseForm(f *testing.F) {
	f.Add(sessionForm("PAY-1", 12990).Encode())
	for _, seed := range []string{"a[b][0]=1&a[b][]=2", "a=1&a[b]=2", "a[", "a[b]c=1", "%zz=1", "expand[]=x&expand[]=y", "[a]=1", "a[b][c][d][e][f][g][h][i]=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		form, refused := parseForm(encoded)
		if refused != nil {
			require.NotEmpty(t, refused.message)
			return
		}
		if refused := form.check(sessionShape); refused != nil {
			require.NotEmpty(t, refused.message)
		}
		require.Equal(t, form.canonical(), form.canonical())
		form.at("line_items").elements()
	})
}
