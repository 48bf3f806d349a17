package sandbox

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// paid is a session that the buyer has paid, and its expanded intent and charge.
func (b *bundle) paidSession(paymentID string, amount int64, query string, change ...string) (intent, charge map[string]any) {
	b.t.Helper()
	id := b.session(paymentID, amount, change...)
	require.Equal(b.t, 200, b.buyer(paymentID, "approve"+query).status)
	return b.intentOf(id)
}

func (b *bundle) intentOf(session string) (intent, charge map[string]any) {
	b.t.Helper()
	got := b.stripeGet("/v1/checkout/sessions/" + session + "?expand[]=payment_intent.latest_charge.balance_transaction&expand[]=payment_intent.latest_charge.refunds&expand[]=payment_intent.review").json
	requireDocumented(b.t, got)
	intent = got["payment_intent"].(map[string]any)
	return intent, intent["latest_charge"].(map[string]any)
}

// hears waits for notifications of each of these types.
func (b *bundle) hears(kinds ...string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		told := b.types()
		return !slices.ContainsFunc(kinds, func(kind string) bool { return !slices.Contains(told, kind) })
	}, 10*time.Second, 5*time.Millisecond, "%v", kinds)
}

func (b *bundle) disputed(paymentID, status string) answer {
	return b.own(http.MethodPost, "/disputes/"+paymentID+"/"+status, "")
}

func TestStripe_DisputeTakesTheMoneyAndWinningBringsItBack(t *testing.T) {
	t.Parallel()
	for end, booked := range map[string]chargeStatus{"won": chargeCaptured, "lost": chargeChargedBack} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			require.Equal(t, 404, b.disputed("PAY-1", "open").status)
			b.session("PAY-1", 12990)
			require.Equal(t, 409, b.disputed("PAY-1", "open").status, "nobody has paid")
			b.buyer("PAY-1", "approve")
			require.Equal(t, 409, b.disputed("PAY-1", end).status, "none is open")
			require.Equal(t, 404, b.disputed("PAY-1", "settled").status)
			require.Equal(t, 200, b.disputed("PAY-1", "open").status)
			require.Equal(t, 409, b.disputed("PAY-1", "open").status)
			require.Equal(t, chargeDisputed, b.ledger("").Charges[0].Status)

			listed := b.stripeGet("/v1/disputes").json["data"].([]any)
			require.Len(t, listed, 1)
			dispute := listed[0].(map[string]any)
			requireDocumented(t, dispute)
			require.Equal(t, 12990.0, dispute["amount"])
			require.Equal(t, "needs_response", dispute["status"])
			charge := b.stripeGet("/v1/charges/" + dispute["charge"].(string)).json
			require.Equal(t, true, charge["disputed"])
			require.Len(t, b.stripeGet("/v1/disputes?payment_intent=" + dispute["payment_intent"].(string)).json["data"], 1)
			require.Empty(t, b.stripeGet("/v1/disputes?charge=ch_other").json["data"])
			refused := b.stripePost("/v1/refunds", url.Values{"charge": {dispute["charge"].(string)}}, "")
			require.Equal(t, "charge_disputed", stripeErrorOf(refused)["code"])

			require.Equal(t, 200, b.disputed("PAY-1", end).status)
			require.Equal(t, booked, b.ledger("").Charges[0].Status)
			require.Equal(t, end, b.stripeGet("/v1/disputes/" + dispute["id"].(string)).json["status"])
			require.Equal(t, 409, b.disputed("PAY-1", end).status)
			b.hears("charge.dispute.created", "charge.dispute.closed")
			after := b.stripePost("/v1/refunds", url.Values{"charge": {dispute["charge"].(string)}}, "")
			require.Equal(t, end == "won", after.status == 200)
		})
	}
}

func TestDisputes_OnlyWhereTheProviderHasThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webpayPaid("PAY-1", 1000, "")
	require.Equal(t, 409, b.disputed("PAY-1", "open").status)
}

func TestStripe_ARiskyPaymentIsHeldUpForAPerson(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.session("PAY-1", 12990)
	require.Equal(t, 400, b.buyer("PAY-1", "approve?risk=huge").status)
	require.Equal(t, 200, b.buyer("PAY-1", "approve?risk=elevated&review=true").status)
	intent, charge := b.intentOf(id)
	review := intent["review"].(map[string]any)
	require.Equal(t, true, review["open"])
	outcome := charge["outcome"].(map[string]any)
	require.Equal(t, "elevated", outcome["risk_level"])
	require.Equal(t, "manual_review", outcome["type"])
	closed := b.stripePost("/v1/reviews/"+review["id"].(string)+"/approve", nil, "")
	require.Equal(t, 200, closed.status)
	require.Equal(t, "approved", closed.json["closed_reason"])
	require.Equal(t, 400, b.stripePost("/v1/reviews/"+review["id"].(string)+"/approve", nil, "").status)
	require.Equal(t, false, b.stripeGet("/v1/reviews/" + review["id"].(string)).json["open"])
	b.hears("review.opened", "review.closed")
}

func TestStripe_ChargesNameTheirFee(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, charge := b.paidSession("PAY-1", 29970, "")
	balance := charge["balance_transaction"].(map[string]any)
	require.Equal(t, 1079.0, balance["fee"])
	require.Equal(t, 28891.0, balance["net"])
	require.Equal(t, "clp", balance["currency"])
}

func TestStripe_CaptureInPartShowsTheRestAsGivenBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.session("PAY-1", 1000, "payment_intent_data[capture_method]", "manual")
	b.buyer("PAY-1", "approve")
	intent, _ := b.intentOf(id)
	pi := intent["id"].(string)
	require.Equal(t, 200, b.stripePost("/v1/payment_intents/"+pi+"/capture", url.Values{"amount_to_capture": {"700"}}, "").status)
	_, charge := b.intentOf(id)
	require.Equal(t, 700.0, charge["amount_captured"])
	require.Equal(t, 300.0, charge["amount_refunded"])
	require.Equal(t, false, charge["refunded"])
	refunds := charge["refunds"].(map[string]any)["data"].([]any)
	require.Len(t, refunds, 1)
	require.Empty(t, refunds[0].(map[string]any)["metadata"])
	require.Empty(t, b.ledger("").Refunds, "no money of the merchant's")
	require.Equal(t, 200, b.stripePost("/v1/refunds", url.Values{"payment_intent": {pi}, "amount": {"700"}}, "").status)
	require.Equal(t, chargeRefunded, b.ledger("").Charges[0].Status)
}

func TestStripe_AnAuthorizationLapsesAfterSevenDays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.session("PAY-1", 1000, "payment_intent_data[capture_method]", "manual")
	b.buyer("PAY-1", "approve")
	b.clock.advance(7*24*time.Hour + time.Second)
	require.Eventually(t, func() bool { return b.ledger("").Charges[0].Status == chargeVoided }, 10*time.Second, 20*time.Millisecond)
	intent, charge := b.intentOf(id)
	require.Equal(t, "canceled", intent["status"])
	require.Equal(t, "automatic", intent["cancellation_reason"])
	require.Equal(t, true, charge["refunded"])
	b.hears("charge.expired")
	late := b.stripePost("/v1/payment_intents/"+intent["id"].(string)+"/capture", nil, "")
	require.Equal(t, "payment_intent_unexpected_state", stripeErrorOf(late)["code"])
}

func TestStripe_ARefundCanWaitForTheBank(t *testing.T) {
	t.Parallel()
	for end, status := range map[string]refundStatus{"succeed": refundSucceeded, "fail": refundFailed} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			got := b.own(http.MethodPut, "/config/stripe", `{"secret_key":"sk_test_sandbox_demo","webhook_url":"","webhook_secret":"","refunds":"pending"}`)
			require.Equal(t, 200, got.status, string(got.raw))
			intent, _ := b.paidSession("PAY-1", 1000, "")
			refund := b.stripePost("/v1/refunds", url.Values{"payment_intent": {intent["id"].(string)}}, "")
			require.Equal(t, "pending", refund.json["status"])
			require.Equal(t, refundPending, b.ledger("").Refunds[0].Status)
			path := "/ledger/refunds/" + refund.json["id"].(string) + "/"
			require.Equal(t, 200, b.own(http.MethodPost, path+end, "").status)
			require.Equal(t, status, b.ledger("").Refunds[0].Status)
			require.Equal(t, 409, b.own(http.MethodPost, path+"succeed", "").status)
			require.Equal(t, 404, b.own(http.MethodPost, path+"forget", "").status)
			require.Equal(t, 404, b.own(http.MethodPost, "/ledger/refunds/re_other/"+end, "").status)
		})
	}
	b := setup(t)
	require.Equal(t, 400, b.own(http.MethodPut, "/config/stripe", `{"refunds":"later"}`).status)
}

func TestStripe_AmountsFollowTheDecimalsOfTheCurrency(t *testing.T) {
	t.Parallel()
	for currency, c := range map[string]struct {
		amount int64
		code   string // of a refusal
		booked int64
	}{
		"jpy": {500, "", 500}, "usd": {1234, "", 1234}, "kwd": {5120, "", 5120},
		"bhd": {5124, "invalid_charge_amount_no_decimal_compatible", 0},
		"isk": {50000, "", 500}, "ugx": {1_000_050, "invalid_charge_amount_no_decimal_compatible", 0},
	} {
		t.Run(currency, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			form := sessionForm("PAY-1", c.amount)
			form.Set("line_items[0][price_data][currency]", currency)
			got := b.stripePost("/v1/checkout/sessions", form, "")
			if c.code != "" {
				require.Equal(t, 400, got.status)
				require.Equal(t, c.code, stripeErrorOf(got)["code"])
				return
			}
			require.Equal(t, 200, got.status, string(got.raw))
			require.Equal(t, 200, b.buyer("PAY-1", "approve?return=false").status)
			require.Equal(t, c.booked, b.ledger("").Charges[0].Amount, "the ledger is in ISO's minor units")
		})
	}
	require.Equal(t, "KWD 5,120", showAmount(5120, "kwd"))
	require.Equal(t, "ISK 500", showAmount(500, "isk"))
}

func TestFaults_AnswerCutInTheMiddle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(http.MethodPut, "/faults/stripe", `{"next":[{"op":"create_session","kind":"cut_during"}]}`)
	got := b.stripePost("/v1/checkout/sessions", sessionForm("PAY-1", 12990), "key")
	require.Error(t, got.err)
	require.Equal(t, 200, got.status)
	require.NotEmpty(t, got.raw)
	require.Equal(t, 200, b.buyer("PAY-1", "approve?return=false").status, "it has acted")
}
