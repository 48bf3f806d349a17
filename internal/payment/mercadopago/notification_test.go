package mercadopago_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/mercadopago"
)

// The vector of mercadopago/sdk-go, pkg/webhook/webhook_test.go.
const (
	vectorSecret  = "your_secret_key_here"
	vectorRequest = "2066ca19-c6f1-498a-be75-1923005edd06"
	vectorID      = "ord01jq4s4ky8hwq6na5pxb65b3d3"
	vectorStamp   = "1742505638683"
	vectorHash    = "633f91233312dd391ec75fa0bea539cfc2d6c4918873305b84a96cc1c58db71c"
)

const ourID = "01K9ZC6X9B3S8QJ5T2V7W4YRNM"

func signer(t testing.TB, secret string) *mercadopago.Gateway {
	t.Helper()
	g, err := mercadopago.New(mercadopago.Config{BaseURL: "http://127.0.0.1:1", AccessToken: accessToken, WebhookSecret: secret}, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)
	return g
}

func hashOf(manifest string) string {
	mac := hmac.New(sha256.New, []byte(vectorSecret))
	mac.Write([]byte(manifest))
	return hex.EncodeToString(mac.Sum(nil))
}

func notice(query, signature, requestID, body string) payment.Delivery {
	q, err := url.ParseQuery(query)
	if err != nil {
		panic(err)
	}
	d := payment.Delivery{Header: http.Header{}, Query: q, Body: []byte(body)}
	if signature != "" {
		d.Header.Set("x-signature", signature)
	}
	if requestID != "" {
		d.Header.Set("x-request-id", requestID)
	}
	return d
}

func TestParseNotification_TakesTheOfficialVector(t *testing.T) {
	t.Parallel()
	g := signer(t, vectorSecret)
	n, err := g.ParseNotification(notice("data.id="+vectorID+"&type=order", "ts="+vectorStamp+",v1="+vectorHash, vectorRequest, `{"type":"order"}`), time.Now())
	require.NoError(t, err)
	require.True(t, n.Signed)
	require.False(t, n.Relevant, "orders of the Orders API are none of ours")
	require.Equal(t, time.UnixMilli(1742505638683).UTC(), n.At)
	require.Equal(t, vectorRequest+":"+vectorStamp, n.EventID)

	_, err = signer(t, "another").ParseNotification(notice("data.id="+vectorID+"&type=order", "ts="+vectorStamp+",v1="+vectorHash, vectorRequest, ``), time.Now())
	require.ErrorIs(t, err, payment.ErrForged)
}

func TestParseNotification_TakesEverySpellingThatMercadoPagoSends(t *testing.T) {
	t.Parallel()
	g := signer(t, vectorSecret)
	for name, d := range map[string]payment.Delivery{
		"letters signed in lower case": notice("data.id="+strings.ToUpper(vectorID)+"&type=order", "ts="+vectorStamp+",v1="+vectorHash, vectorRequest, ``),
		"letters signed as they came":  notice("data.id=ORD01&type=order", "ts=1,v1="+hashOf("id:ORD01;request-id:r;ts:1;"), "r", ``),
		"blanks and other versions":    notice("data.id=7&type=payment", " ts = 1742505638 , V1="+hashOf("id:7;request-id:r;ts:1742505638;")+",v2=aaaa", "r", ``),
		"seconds":                      notice("data.id=7&type=payment", "ts=1742505638,v1="+hashOf("id:7;request-id:r;ts:1742505638;"), "r", ``),
		"no request id":                notice("data.id=7&type=payment", "ts=1742505638,v1="+hashOf("id:7;ts:1742505638;"), "", ``),
		"a blank request id":           notice("data.id=7&type=payment", "ts=1742505638,v1="+hashOf("id:7;ts:1742505638;"), "  ", ``),
		"the topic in the body":        notice("data.id=7", "ts=1742505638,v1="+hashOf("id:7;request-id:r;ts:1742505638;"), "r", `{"type":"payment","action":"payment.updated"}`),
		"a body that is no JSON":       notice("data.id=7&type=payment", "ts=1742505638,v1="+hashOf("id:7;request-id:r;ts:1742505638;"), "r", `<html>`),
		"years old":                    notice("data.id=7&type=payment", "ts=1500000000,v1="+hashOf("id:7;request-id:r;ts:1500000000;"), "r", ``),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := g.ParseNotification(d, time.Now())
			require.NoError(t, err)
			require.True(t, n.Signed)
			require.Equal(t, payment.OutcomeUnknown, n.Claim, "nothing of what it says is signed")
			require.NotEmpty(t, n.EventID)
		})
	}
}

func TestParseNotification_RefusesForgeries(t *testing.T) {
	t.Parallel()
	g := signer(t, vectorSecret)
	good := hashOf("id:7;request-id:r;ts:1742505638;")
	for name, d := range map[string]payment.Delivery{
		"no header":              notice("data.id=7&type=payment", "", "r", ``),
		"garbage":                notice("data.id=7&type=payment", "this-is-garbage", "r", ``),
		"no time":                notice("data.id=7&type=payment", "v1="+good, "r", ``),
		"a time that is none":    notice("data.id=7&type=payment", "ts=soon,v1="+good, "r", ``),
		"no hash":                notice("data.id=7&type=payment", "ts=1742505638", "r", ``),
		"only another version":   notice("data.id=7&type=payment", "ts=1742505638,v2="+good, "r", ``),
		"another payment":        notice("data.id=8&type=payment", "ts=1742505638,v1="+good, "r", ``),
		"another request":        notice("data.id=7&type=payment", "ts=1742505638,v1="+good, "s", ``),
		"another time":           notice("data.id=7&type=payment", "ts=1742505639,v1="+good, "r", ``),
		"a cut hash":             notice("data.id=7&type=payment", "ts=1742505638,v1="+good[:63], "r", ``),
		"an id in the body only": notice("type=payment", "ts=1742505638,v1="+good, "r", `{"data":{"id":"7"}}`),
		"the id injected":        notice("data.id=7%3Brequest-id:r&type=order", "ts=1742505638,v1="+good, "", ``),
		"nothing at all":         {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := g.ParseNotification(d, time.Now())
			require.ErrorIs(t, err, payment.ErrForged)
		})
	}
}

func TestParseNotification_SaysWhoseItIs(t *testing.T) {
	t.Parallel()
	g := signer(t, vectorSecret)
	signed := func(named string) string {
		return "ts=1742505638,v1=" + hashOf("id:"+named+";request-id:r;ts:1742505638;")
	}
	for name, c := range map[string]struct {
		in                   payment.Delivery
		paymentID, reference string
		relevant             bool
	}{
		"a payment at our address": {notice("payment="+ourID+"&source_news=webhooks&data.id=7&type=payment", signed("7"), "r", `{}`), ourID, "7", true},
		"a payment at the panel's": {notice("data.id=7&type=payment", signed("7"), "r", `{}`), "", "7", true},
		"somebody else's id":       {notice("payment=X-1&data.id=7&type=payment", signed("7"), "r", `{}`), "", "7", true},
		"an order of ours":         {notice("payment="+ourID+"&data.id=9&type=topic_merchant_order_wh", signed("9"), "r", `{}`), ourID, "", true},
		"an order":                 {notice("data.id=9&type=topic_merchant_order_wh", signed("9"), "r", `{}`), "", "", false},
		"a chargeback":             {notice("data.id=234&type=topic_chargebacks_wh", signed("234"), "r", `{"data":{"id":234,"payment_id":7}}`), "", "7", true},
		"a plan":                   {notice("data.id=1&type=subscription_preapproval_plan", signed("1"), "r", `{}`), "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := g.ParseNotification(c.in, time.Now())
			require.NoError(t, err)
			require.Equal(t, c.paymentID, n.PaymentID)
			require.Equal(t, c.reference, n.Reference)
			require.Equal(t, c.relevant, n.Relevant)
		})
	}
	_, err := g.ParseNotification(notice("data.id=abc&type=payment", signed("abc"), "r", ``), time.Now())
	require.ErrorIs(t, err, payment.ErrUnreadable)
	_, err = g.ParseNotification(notice("data.id=7", signed("7"), "r", ``), time.Now())
	require.ErrorIs(t, err, payment.ErrUnreadable)
}

func TestParseNotification_AnIPNIsAHintWhateverItCarries(t *testing.T) {
	t.Parallel()
	g := signer(t, vectorSecret)
	for _, signature := range []string{"", "ts=1,v1=00"} {
		n, err := g.ParseNotification(notice("payment="+ourID+"&topic=payment&id=7", signature, "r", `{"resource":"7","topic":"payment"}`), time.Now())
		require.NoError(t, err)
		require.False(t, n.Signed)
		require.Empty(t, n.EventID)
		require.True(t, n.Relevant)
		require.Equal(t, "7", n.Reference)
		require.Equal(t, ourID, n.PaymentID)
		require.Equal(t, payment.OutcomeUnknown, n.Claim)
	}
	n, err := g.ParseNotification(notice("topic=merchant_order&id=9", "", "", ``), time.Now())
	require.NoError(t, err)
	require.False(t, n.Relevant)
	_, err = g.ParseNotification(notice("topic=payment&id=../7", "", "", ``), time.Now())
	require.ErrorIs(t, err, payment.ErrUnreadable)
}

func FuzzParseNotification(f *testing.F) {
	f.Add("data.id="+vectorID+"&type=order", "ts="+vectorStamp+",v1="+vectorHash, vectorRequest, []byte(`{"type":"order"}`))
	f.Add("data.id=7&type=payment", "ts=1742505638,v1="+hashOf("id:7;ts:1742505638;"), "", []byte(`{"data":{"payment_id":"7"}}`))
	f.Add("topic=payment&id=7", "", "", []byte{})
	g := signer(f, vectorSecret)
	f.Fuzz(func(t *testing.T, query, signature, requestID string, body []byte) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		n, err := g.ParseNotification(payment.Delivery{Header: http.Header{"X-Signature": {signature}, "X-Request-Id": {requestID}}, Query: q, Body: body}, time.Now())
		if err != nil {
			return
		}
		require.Equal(t, payment.OutcomeUnknown, n.Claim)
		require.Equal(t, n.Signed, n.EventID != "", "a hint has no id, an event has one")
		require.LessOrEqual(t, len(n.Type), 60)
		if n.Signed {
			require.Contains(t, strings.ToLower(signature), "v1")
		}
	})
}
