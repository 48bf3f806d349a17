package stripe_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/stripe"
)

var signedAt = time.Unix(12345, 0)

// vectorSignature is the v1 of testdata/signed_event.json at signedAt.
const vectorSignature = "572216dccb0f666a923a8948f5e2bf5006a681edc6f90707ff98a6206699322a"

func sign(at time.Time, body []byte, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return hex.EncodeToString(mac.Sum(nil))
}

func signature(values ...string) http.Header {
	return http.Header{"Stripe-Signature": {strings.Join(values, ",")}}
}

func notification(t *testing.T, kind, version string, object map[string]any) []byte {
	t.Helper()
	raw, err := json.Marshal(sample(t, "event", map[string]any{
		"id": "evt_1", "type": kind, "api_version": version, "created": signedAt.Unix(), "data": map[string]any{"object": object},
	}))
	require.NoError(t, err)
	return raw
}

func TestParseNotification_SignatureFollowsThePublishedVector(t *testing.T) {
	t.Parallel()
	g, _ := setup(t)
	body, err := os.ReadFile("testdata/signed_event.json")
	require.NoError(t, err)
	good := "v1=" + vectorSignature
	old := "v1=" + sign(signedAt, body, "whsec_old")

	for name, c := range map[string]struct {
		header http.Header
		body   []byte
		now    time.Time
		want   error
	}{
		"genuine":                         {signature("t=12345", good), body, signedAt, nil},
		"at the end of the tolerance":     {signature("t=12345", good), body, signedAt.Add(300 * time.Second), nil},
		"from a clock that is ahead":      {signature("t=12345", good), body, signedAt.Add(-time.Hour), nil},
		"with the old secret's beside":    {signature("t=12345", old, good), body, signedAt, nil},
		"with a scheme of another day":    {signature("t=12345", "v0=00", good, "v2=11"), body, signedAt, nil},
		"with a v1 that is no hex beside": {signature("t=12345", "v1=zz", good), body, signedAt, nil},
		"stale":                           {signature("t=12345", good), body, signedAt.Add(301 * time.Second), payment.ErrStale},
		"stale and forged":                {signature("t=12345", old), body, signedAt.Add(time.Hour), payment.ErrForged},
		"another secret's":                {signature("t=12345", old), body, signedAt, payment.ErrForged},
		"time changed":                    {signature("t=12346", good), body, signedAt, payment.ErrForged},
		"body changed":                    {signature("t=12345", good), append(bytes.Clone(body), ' '), signedAt, payment.ErrForged},
		"only the test scheme":            {signature("t=12345", "v0="+vectorSignature), body, signedAt, payment.ErrForged},
		"no time":                         {signature(good), body, signedAt, payment.ErrForged},
		"no signature":                    {signature("t=12345"), body, signedAt, payment.ErrForged},
		"empty signature":                 {signature("t=12345", "v1="), body, signedAt, payment.ErrForged},
		"no header":                       {http.Header{}, body, signedAt, payment.ErrForged},
		"nonsense":                        {signature("hello"), body, signedAt, payment.ErrForged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := g.ParseNotification(payment.Delivery{Header: c.header, Body: c.body}, c.now)
			if c.want == nil {
				// The vector's event has no type: genuine, and of no use.
				c.want = payment.ErrUnreadable
			}
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestParseNotification_ReadsWhatIsOurs(t *testing.T) {
	t.Parallel()
	g, _ := setup(t)
	ours, version := id.New(), "2023-10-16"
	metadata := map[string]any{"payment_id": ours}
	foreign := map[string]any{"payment_id": "order-77"}
	sessionOf := func(paid string) map[string]any {
		return sample(t, "checkout_session", map[string]any{"client_reference_id": ours, "payment_status": paid})
	}
	intentOf := func(m map[string]any) map[string]any {
		return sample(t, "payment_intent", map[string]any{"metadata": m})
	}
	for name, c := range map[string]struct {
		kind, version string
		object        map[string]any
		paymentID     string
		reference     string
		claim         payment.Outcome
		relevant      bool
	}{
		"completed and paid":     {"checkout.session.completed", version, sessionOf("paid"), ours, sessionID, payment.OutcomeApproved, true},
		"completed, paid later":  {"checkout.session.completed", version, sessionOf("unpaid"), ours, sessionID, payment.OutcomePending, true},
		"paid later":             {"checkout.session.async_payment_succeeded", version, sessionOf("paid"), ours, sessionID, payment.OutcomeApproved, true},
		"failed later":           {"checkout.session.async_payment_failed", version, sessionOf("unpaid"), ours, sessionID, payment.OutcomeDeclined, true},
		"expired":                {"checkout.session.expired", version, sessionOf("unpaid"), ours, sessionID, payment.OutcomeDeclined, true},
		"intent succeeded":       {"payment_intent.succeeded", version, intentOf(metadata), ours, intentID, payment.OutcomeApproved, true},
		"intent failed":          {"payment_intent.payment_failed", version, intentOf(metadata), ours, intentID, payment.OutcomeDeclined, true},
		"somebody else's intent": {"payment_intent.succeeded", version, intentOf(foreign), "", intentID, payment.OutcomeApproved, true},
		"charge refunded": {
			"charge.refunded", version, sample(t, "charge", map[string]any{"metadata": metadata, "payment_intent": intentID}), ours, intentID, payment.OutcomeUnknown, true,
		},
		"refund failed": {
			"charge.refund.updated", version, sample(t, "refund", map[string]any{"metadata": metadata, "payment_intent": intentID}), ours, intentID, payment.OutcomeUnknown, true,
		},
		"refund with its intent expanded": {
			"refund.updated", version, sample(t, "refund", map[string]any{"payment_intent": map[string]any{"id": intentID, "object": "payment_intent"}}), "", intentID, payment.OutcomeUnknown, true,
		},
		"disputed": {
			"charge.dispute.created", version, sample(t, "dispute", map[string]any{"payment_intent": intentID, "metadata": nil}), "", intentID, payment.OutcomeUnknown, true,
		},
		"of another API version": {"checkout.session.completed", "2025-03-31.basil", sessionOf("paid"), ours, sessionID, payment.OutcomeUnknown, true},
		"of no concern":          {"customer.created", version, map[string]any{"id": "cus_1", "metadata": 7}, "", "", payment.OutcomeUnknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := notification(t, c.kind, c.version, c.object)
			n, err := g.ParseNotification(payment.Delivery{Header: signature("t=12345", "v1="+sign(signedAt, body, webhookSecret)), Body: body}, signedAt)
			require.NoError(t, err)
			n.RefundReference = "" // see TestParseNotification_NamesTheRefund
			require.Equal(t, payment.Notification{
				EventID: "evt_1", Type: c.kind, PaymentID: c.paymentID, Reference: c.reference,
				Signed: true, Claim: c.claim, Relevant: c.relevant, At: signedAt.UTC(),
			}, n)
		})
	}
}

func TestParseNotification_GenuineNonsenseIsUnreadable(t *testing.T) {
	t.Parallel()
	g, _ := setup(t)
	for _, text := range []string{
		``, `[]`, `{}`, `{"id":"evt_1"}`, `{"id":"evt_1","type":"charge.refunded","data":{"object":7}}`,
		`{"id":"evt_1","type":"charge.refunded"}`, `{"id":1,"type":2}`,
	} {
		body := []byte(text)
		_, err := g.ParseNotification(payment.Delivery{Header: signature("t=12345", "v1="+sign(signedAt, body, webhookSecret)), Body: body}, signedAt)
		require.ErrorIs(t, err, payment.ErrUnreadable, text)
	}
}

func FuzzParseNotification(f *testing.F) {
	g, err := stripe.New(stripe.Config{SecretKey: secretKey, WebhookSecret: webhookSecret}, httpclient.New(httpclient.Options{}))
	require.NoError(f, err)
	f.Add("t=12345,v1="+vectorSignature, []byte(`{"id":"evt_1","type":"charge.refunded","data":{"object":{"metadata":null}}}`))
	f.Add("t=12345", []byte(`{}`))
	f.Add("t=-9223372036854775808,v1=", []byte(``))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		// As it comes: nobody without the secret gets past the signature.
		if _, err := g.ParseNotification(payment.Delivery{Header: signature(header), Body: body}, signedAt); err != nil {
			require.True(t, isOneOf(err, payment.ErrForged, payment.ErrStale, payment.ErrUnreadable), err)
		}
		// Signed by us: any body is read or refused, without a panic.
		n, err := g.ParseNotification(payment.Delivery{Header: signature("t=12345", "v1="+sign(signedAt, body, webhookSecret)), Body: body}, signedAt)
		if err != nil {
			require.ErrorIs(t, err, payment.ErrUnreadable)
			return
		}
		require.True(t, n.Signed)
		require.NotEmpty(t, n.EventID)
		require.True(t, n.PaymentID == "" || id.Valid(n.PaymentID))
	})
}

func isOneOf(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
