package flow

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

func TestSign_AgreesWithTheDocumentedString(t *testing.T) {
	t.Parallel()
	require.Equal(t, "dc3f67215dc89404aedc1deed0be7c2b49d810ca1a6e3feab3b799d77c4a9950",
		sign(params{"apiKey": "XXXX-XXXX-XXXX", "currency": "CLP", "amount": "5000"}, "my secret"))
	// Capitals sort before small letters: A, a, b.
	require.Equal(t, sign(params{"A1b3a": "2"}, "k"), sign(params{"A": "1", "b": "3a2"}, "k"), "names and values run together")
	require.NotEqual(t, sign(params{"a": "1", "B": "2"}, "k"), sign(params{"a": "1B2"}, "k"), "B stands before a")
	// An empty value counts as its name, as in Flow's own PHP client.
	require.Equal(t, "94c8bc89763053f4acbfd40130cf2fd8c6889e92bce4fa8b7e93eb3c3a53a407",
		sign(params{"apiKey": "XXXX-XXXX-XXXX", "currency": ""}, "my secret"))
}

func TestSigned_SendsNoEmptyValues(t *testing.T) {
	t.Parallel()
	g, err := New(Config{APIKey: "XXXX-XXXX-XXXX", SecretKey: "my-secret"}, http.DefaultClient)
	require.NoError(t, err)
	sent, err := url.ParseQuery(g.signed(params{"amount": "5000", "currency": "CLP", "optional": "", "email": "a+b@example.cl"}))
	require.NoError(t, err)
	require.Equal(t, url.Values{
		"apiKey": {"XXXX-XXXX-XXXX"}, "amount": {"5000"}, "currency": {"CLP"}, "email": {"a+b@example.cl"},
		"s": {sign(params{"apiKey": "XXXX-XXXX-XXXX", "amount": "5000", "currency": "CLP", "email": "a+b@example.cl"}, "my-secret")},
	}, sent)
}

func TestMinor_IsExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text     string
		currency money.Currency
		want     int64
	}{{"0", money.CLP, 0}, {"350", money.CLP, 350}, {"12000.00", money.CLP, 12000}, {"12000.", money.CLP, 12000}, {"12.5", money.USD, 1250}, {"12.500", money.USD, 1250}, {"12", money.USD, 1200}} {
		got, err := minor(c.text, c.currency)
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, got, c.text)
	}
	for _, bad := range []string{"", ".5", "12.5", "0.01", "1e3", "+5", "-5", " 5", "5 ", "1.000.000", "12,5", "1234567890123456789"} {
		_, err := minor(bad, money.CLP)
		require.Error(t, err, bad)
	}
}

const token = "33373581FC32576FAF33C46FC6454B1FFEBD7E1H"

func delivery(body, query string) payment.Delivery {
	values, err := url.ParseQuery(query)
	if err != nil {
		panic(err)
	}
	return payment.Delivery{Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, Query: values, Body: []byte(body)}
}

func TestParseNotification_IsAHintAndNoMore(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	g := &Gateway{}
	got, err := g.ParseNotification(delivery("token="+token, ""), now)
	require.NoError(t, err)
	require.Equal(t, payment.Notification{Type: TypePayment, Reference: token, Claim: payment.OutcomeUnknown, Relevant: true, At: now}, got)

	const ours = "01K9ZV7Q3M8N4T6W2X5Y7Z9ABC"
	got, err = g.ParseNotification(delivery("token="+token, "refund="+ours), now)
	require.NoError(t, err)
	require.Equal(t, payment.Notification{Type: TypeRefund, RefundID: ours, RefundReference: token, Claim: payment.OutcomeUnknown, Relevant: true, At: now}, got)

	address, err := callback("https://shop.example/webhooks/demo/flow?a=1", ours)
	require.NoError(t, err)
	require.Equal(t, "https://shop.example/webhooks/demo/flow?a=1&refund="+ours, address)

	for _, bad := range []payment.Delivery{
		delivery("", ""), delivery("token=", ""), delivery("token=short", ""), delivery("token="+token+"%00", ""), delivery("token=../../etc/passwd", ""),
		delivery("token="+token+"&token="+token, ""), delivery("tok%en=1", ""), delivery(`{"token":"`+token+`"}`, ""),
		delivery("token="+token, "refund="), delivery("token="+token, "refund=x"), delivery("token="+token, "refund="+ours+"&refund="+ours),
		{Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte("token=" + token)},
	} {
		_, err := g.ParseNotification(bad, now)
		require.ErrorIs(t, err, payment.ErrUnreadable, "%s", bad.Body)
	}
}

func FuzzParseNotification(f *testing.F) {
	f.Add("token="+token, "", "application/x-www-form-urlencoded")
	f.Add("token="+token, "refund=01K9ZV7Q3M8N4T6W2X5Y7Z9ABC", "")
	f.Add("token=%zz", "refund=%", "text/plain")
	f.Add("a=b;token=c", "", "multipart/form-data; boundary=x")
	f.Fuzz(func(t *testing.T, body, query, contentType string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		n, err := (&Gateway{}).ParseNotification(payment.Delivery{Header: http.Header{"Content-Type": {contentType}}, Query: values, Body: []byte(body)}, time.Now())
		if err != nil {
			require.ErrorIs(t, err, payment.ErrUnreadable)
			require.Empty(t, n)
			return
		}
		require.False(t, n.Signed)
		require.Equal(t, payment.OutcomeUnknown, n.Claim)
		require.Empty(t, n.PaymentID+n.EventID)
		require.Regexp(t, tokenText, n.Reference+n.RefundReference)
		require.NotEqual(t, n.Reference == "", n.RefundReference == "", "one of the two")
		require.Equal(t, n.RefundID == "", n.RefundReference == "")
	})
}
