package khipu_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/khipu"
)

// The worked example of Khipu's documentation
// (https://docs.khipu.com/payment-solutions/instant-payments/payment-webhook).
const (
	exampleSecret = "1a4cbbbeb8bdb7e1d73572b9cc43ce4ce18f79d9"
	exampleHeader = "t=1711965600393,s=GYzpjnXlTKQ+BJY7pZJmrM6DZgWMSJdtOr/dleBKTdg="
)

func reader(t testing.TB) *khipu.Gateway {
	t.Helper()
	g, err := khipu.New(khipu.Config{APIKey: "k", Secret: exampleSecret}, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)
	return g
}

func delivery(header, body string) payment.Delivery {
	return payment.Delivery{Header: http.Header{"X-Khipu-Signature": {header}}, Body: []byte(body)}
}

func sign(at time.Time, body string) string {
	stamp := strconv.FormatInt(at.UnixMilli(), 10)
	mac := hmac.New(sha256.New, []byte(exampleSecret))
	mac.Write([]byte(stamp + "." + body))
	return "t=" + stamp + ",s=" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestParseNotification_AcceptsTheExampleOfTheDocumentation(t *testing.T) {
	t.Parallel()
	body := sample(t, "notification.json")
	require.Len(t, body, 655)
	for _, header := range []string{exampleHeader, " t=1711965600393 , s=GYzpjnXlTKQ+BJY7pZJmrM6DZgWMSJdtOr/dleBKTdg= ", "s=GYzpjnXlTKQ+BJY7pZJmrM6DZgWMSJdtOr/dleBKTdg=,t=1711965600393"} {
		// Two years later too: there is no tolerance, and Khipu repeats for days.
		n, err := reader(t).ParseNotification(delivery(header, body), time.Now())
		require.NoError(t, err)
		require.Equal(t, payment.Notification{
			EventID: "zfxnocsow6mz:2024-04-18T13:56:54.859Z", Type: "payment.reconciled", Reference: "zfxnocsow6mz", Signed: true, Relevant: true,
			Claim: payment.OutcomeApproved, At: time.Date(2024, 4, 18, 13, 56, 54, 859_000_000, time.UTC),
		}, n, "its transaction_id is no payment of ours")
	}
}

func TestParseNotification_RefusesTheExampleWithOneByteChanged(t *testing.T) {
	t.Parallel()
	g, body := reader(t), sample(t, "notification.json")
	for i := range body {
		changed := []byte(body)
		changed[i] ^= 1
		_, err := g.ParseNotification(delivery(exampleHeader, string(changed)), time.Now())
		require.ErrorIs(t, err, payment.ErrForged, "byte %d", i)
	}
	for i := range exampleHeader {
		changed := []byte(exampleHeader)
		changed[i] ^= 1
		_, err := g.ParseNotification(delivery(string(changed), body), time.Now())
		require.ErrorIs(t, err, payment.ErrForged, "byte %d of the header", i)
	}
	for _, header := range []string{"", "t=1711965600393", "s=GYzpjnXlTKQ+BJY7pZJmrM6DZgWMSJdtOr/dleBKTdg=", "t=,s=", "t=1711965600393,s=", "t=-1,s=x", "t=x,s=eA=="} {
		_, err := g.ParseNotification(delivery(header, body), time.Now())
		require.ErrorIs(t, err, payment.ErrForged, header)
	}
}

func TestParseNotification_NamesOurPaymentAndClaimsOnlyWhatWasReconciled(t *testing.T) {
	t.Parallel()
	g, ours, now := reader(t), id.New(), time.Now().UTC().Truncate(time.Millisecond)
	body := `{"payment_id":"zfxnocsow6mz","transaction_id":"` + ours + `","notify_url":"https:\/\/x"}`
	n, err := g.ParseNotification(delivery(sign(now, body), body), now)
	require.NoError(t, err)
	require.Equal(t, ours, n.PaymentID)
	require.Equal(t, payment.OutcomeUnknown, n.Claim)
	require.Equal(t, now, n.At)
	require.NotEmpty(t, n.EventID)
}

func TestParseNotification_WhatIsNotAPaymentCannotBeRead(t *testing.T) {
	t.Parallel()
	g := reader(t)
	for _, body := range []string{``, `[]`, `{}`, `null`, `{"payment_id":7}`, `{"payment_id":"../../x"}`, `{"payment_id":"zfxnocsow6mz"`} {
		_, err := g.ParseNotification(delivery(sign(time.Now(), body), body), time.Now())
		require.ErrorIs(t, err, payment.ErrUnreadable, body)
	}
	// Version 1.3, a form that nobody signs.
	_, err := g.ParseNotification(payment.Delivery{Body: []byte("api_version=1.3&notification_token=9dec8aa1")}, time.Now())
	require.ErrorIs(t, err, payment.ErrUnreadable)
}

func FuzzParseNotification(f *testing.F) {
	body := `{"payment_id":"zfxnocsow6mz","transaction_id":"01JCQZ5Y3N8W2K4T6V7X9ABCDE","conciliation_date":"2024-04-18T13:56:54.859Z"}`
	f.Add(exampleHeader, body, false)
	f.Add("t=1,s==", `{"payment_id":"a"}`, true)
	f.Add(",,t=1=2,s=a=b", `\/`, true)
	g := reader(f)
	f.Fuzz(func(t *testing.T, header, body string, signed bool) {
		if signed {
			header = sign(time.UnixMilli(1711965600393), body)
		}
		n, err := g.ParseNotification(delivery(header, body), time.Now())
		if err != nil {
			if !errors.Is(err, payment.ErrForged) && !errors.Is(err, payment.ErrUnreadable) {
				t.Fatalf("an error of its own: %v", err)
			}
			if signed && errors.Is(err, payment.ErrForged) {
				t.Fatalf("genuine, and refused: %v", err)
			}
			return
		}
		if !signed {
			t.Fatal("accepted without a signature")
		}
		if n.EventID == "" || n.Reference == "" || !n.Signed || n.PaymentID != "" && !id.Valid(n.PaymentID) {
			t.Fatalf("incomplete: %+v", n)
		}
	})
}
