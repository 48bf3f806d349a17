package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// stripeEvent is a notification of Stripe's about a payment intent:
// https://docs.stripe.com/api/events/object
func stripeEvent(eventID, paymentID, intent string) []byte {
	return fmt.Appendf(nil, `{"id":%q,"object":"event","api_version":"2023-10-16","created":%d,"livemode":false,"type":"payment_intent.succeeded",
	  "data":{"object":{"id":%q,"object":"payment_intent","amount":29970,"amount_received":29970,"currency":"clp","livemode":false,"metadata":{"payment_id":%q},"status":"succeeded"}}}`,
		eventID, time.Now().Unix(), intent, paymentID)
}

// stripeSignature signs as https://docs.stripe.com/webhooks#verify-manually says.
func stripeSignature(secret string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

func deliver(t *testing.T, s *stacktest.Shop, body []byte, signature string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIURL+"/webhooks/"+s.Tenant+"/stripe", bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Stripe-Signature", signature)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

func stored(t *testing.T, s *stacktest.Shop) int {
	t.Helper()
	return stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM inbox WHERE tenant = $1`, s.Tenant)
}

func TestWebhook_ForgedOrStaleIs401AndStoresNothing(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("stripe")
	body := stripeEvent("evt_forged", c.Payment.ID, "pi_forged")
	require.Equal(t, 401, deliver(t, s, body, stripeSignature("whsec_wrong", time.Now(), body)))
	require.Equal(t, 401, deliver(t, s, body, ""))
	require.Equal(t, 401, deliver(t, s, body, stripeSignature(s.WebhookSecret(), time.Now().Add(-310*time.Second), body)))
	require.Zero(t, stored(t, s))
	c = s.Get(c.ID)
	require.Equal(t, "awaiting_payment", c.Status)
	requireUncharged(t, s, c)
}

func TestWebhook_ThatLiesIsAnsweredByTheProviderAndPaysNothing(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("stripe")
	body := stripeEvent("evt_lie", c.Payment.ID, "pi_lie")
	require.Equal(t, 200, deliver(t, s, body, stripeSignature(s.WebhookSecret(), time.Now(), body)))
	s.Eventually(func() (string, bool) {
		h := s.History(t, s.CheckoutRun(c.ID))
		return s.Story(t, h), len(h.Events) > 22 // it has asked
	})
	require.Equal(t, "awaiting_payment", s.Get(c.ID).Status)
	s.Cancel(c.ID)
	requireUncharged(t, s, c)
}

func TestWebhook_RepeatedHasNoSecondEffect(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Faults("stripe", map[string]any{"duplicate_webhooks": true, "reordered_webhooks": true, "reorder_delay_ms": 300})
	c := s.Checkout("stripe")
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	s.AwaitStatus(c.ID, "paid")
	events := s.Sandbox.Events("sk_test_sandbox_" + s.Tenant)
	require.NotEmpty(t, events)
	for _, e := range events {
		s.Sandbox.Resend(e)
	}
	s.AwaitClosed(s.CheckoutRun(c.ID))
	s.Eventually(func() (string, bool) {
		n := stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM inbox WHERE tenant = $1 AND status = 'pending'`, s.Tenant)
		return fmt.Sprint(n, " pending"), n == 0
	})
	requirePaid(t, s, c.ID)
	require.Equal(t, 28, s.Available(stacktest.Product))
	require.Zero(t, stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM (SELECT event_id FROM inbox WHERE tenant = $1 AND event_id <> '' GROUP BY event_id HAVING count(*) > 1) twice`, s.Tenant))
}

func TestWebhook_BeforeTheAttemptsAnswerIsAppliedWhenItAppears(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Next("stripe", "create_session", "hold_answer", 1)
	answered := make(chan stacktest.Answer, 1)
	go func() {
		a, err := s.Try(t.Context(), tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("stripe"))
		if err != nil {
			a.Body = []byte(err.Error())
		}
		answered <- a
	}()
	s.Sandbox.AwaitHeld("stripe", 1)
	paymentID := stacktest.Value[string](t, s.Stack, `SELECT id FROM payments WHERE tenant = $1`, s.Tenant)
	s.Sandbox.Buyer(paymentID, "approve", "return", "false")
	s.Eventually(func() (string, bool) { n := stored(t, s); return fmt.Sprint(n, " stored"), n > 0 })
	s.Sandbox.Release("stripe")
	a := <-answered
	require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
	c := stacktest.Decode[stacktest.Checkout](t, a)
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
}

func TestWebhook_OfAPaymentThatIsNotKnownIsKept(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	body := stripeEvent("evt_early", id.New(), "pi_early")
	require.Equal(t, 200, deliver(t, s, body, stripeSignature(s.WebhookSecret(), time.Now(), body)))
	require.Equal(t, 1, stored(t, s))
	require.Equal(t, 200, deliver(t, s, body, stripeSignature(s.WebhookSecret(), time.Now(), body)))
	require.Equal(t, 1, stored(t, s))
	require.Equal(t, "pending", stacktest.Value[string](t, s.Stack, `SELECT status FROM inbox WHERE tenant = $1`, s.Tenant))
}
