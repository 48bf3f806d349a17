package api_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/payment"
	"justlogistics/workflows"
)

// event is a notification as Stripe signs it
// (https://docs.stripe.com/webhooks#verify-manually).
func event(id, paymentID string) string {
	return fmt.Sprintf(`{"id":%q,"object":"event","api_version":"2023-10-16","created":1700000000,"type":"checkout.session.completed","data":{"object":{"id":"cs_1","object":"checkout.session","client_reference_id":%q,"payment_intent":"pi_1","payment_status":"paid"}}}`, id, paymentID)
}

func sign(body, secret string, at time.Time) string {
	t := fmt.Sprint(at.Unix())
	m := hmac.New(sha256.New, []byte(secret))
	_, _ = m.Write([]byte(t + "." + body))
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

func (b *bundle) notify(body, signature string) answer {
	b.t.Helper()
	return b.do("POST", "/webhooks/shop/stripe", body, "Stripe-Signature", signature, "Authorization", "")
}

// byStripe is a checkout whose first attempt is at Stripe.
func (b *bundle) byStripe() (checkoutID, paymentID string) {
	b.t.Helper()
	a := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) { m["payment"].(map[string]any)["gateway"] = "stripe" }))
	require.Equal(b.t, 201, a.status, a.body)
	return a.json()["id"].(string), a.json()["payment"].(map[string]any)["id"].(string)
}

func TestWebhook_IsStoredOnceAndTheRunIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	checkoutID, paymentID := b.byStripe()
	body := event("evt_1", paymentID)
	for range 3 {
		require.Equal(t, 200, b.notify(body, sign(body, webhookSecret, time.Now())).status)
	}
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM inbox WHERE event_id = 'evt_1' AND payment_id = $1 AND signed AND status = 'pending'`, paymentID))
	require.Eventually(t, func() bool {
		s := b.temporal.signalled()
		return len(s) > 0 && strings.HasPrefix(s[0], "news checkout:shop:"+checkoutID) && strings.Contains(s[0], paymentID)
	}, 5*time.Second, 10*time.Millisecond)
}

func TestWebhook_ForgedOrStaleIsRefusedAndNotStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, paymentID := b.byStripe()
	body := event("evt_2", paymentID)
	for name, signature := range map[string]string{
		"none": "", "nonsense": "t=1,v1=00", "another secret": sign(body, "whsec_other", time.Now()),
		"another body": sign(body+" ", webhookSecret, time.Now()), "stale": sign(body, webhookSecret, time.Now().Add(-6*time.Minute)),
	} {
		require.Equal(t, 401, b.notify(body, signature).status, name)
	}
	require.Zero(t, value[int](b, `SELECT count(*) FROM inbox`))
	require.Contains(t, b.do("GET", "/metrics", nil).body, `justlogistics_notifications_refused_total{gateway="stripe",reason="forged"} 4`)
}

func TestWebhook_UnsignedThatCanNotBeReadIsAcknowledgedAndCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, body := range []string{"token=forged", "x=y", "", "{"} {
		a := b.do("POST", "/webhooks/shop/flow", body, "Content-Type", "application/x-www-form-urlencoded")
		require.Equal(t, 200, a.status, body+a.body)
	}
	require.Zero(t, value[int](b, `SELECT count(*) FROM inbox`))
	require.Contains(t, b.do("GET", "/metrics", nil).body, `justlogistics_notifications_refused_total{gateway="flow",reason="unreadable"} 4`)
}

func TestWebhook_EarlyNewsOfAnUnknownPaymentIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := event("evt_3", "01JCQZ5Y3N8W2K4T6V7X9ABCDE")
	require.Equal(t, 200, b.notify(body, sign(body, webhookSecret, time.Now())).status)
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM inbox WHERE status = 'pending' AND payment_id = '01JCQZ5Y3N8W2K4T6V7X9ABCDE'`))
}

func TestWebhook_NewsThatAreDoneAlreadyAreIgnoredWithAReason(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, paymentID := b.byStripe()
	b.sql(`UPDATE payments SET status = 'captured', captured_amount = amount, applied = true, applied_at = now() WHERE id = $1`, paymentID)
	body := event("evt_4", paymentID)
	require.Equal(t, 200, b.notify(body, sign(body, webhookSecret, time.Now())).status)
	irrelevant := `{"id":"evt_5","object":"event","api_version":"2023-10-16","type":"customer.created","data":{"object":{}}}`
	require.Equal(t, 200, b.notify(irrelevant, sign(irrelevant, webhookSecret, time.Now())).status)
	require.Equal(t, 200, b.notify(irrelevant, sign(irrelevant, webhookSecret, time.Now())).status)
	require.Equal(t, 2, value[int](b, `SELECT count(*) FROM inbox WHERE status = 'ignored' AND reason <> ''`))
	require.Empty(t, b.temporal.signalled())
}

func TestWebhook_UnknownAddresses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"/webhooks/shop/transbank", "/webhooks/shop/khipu", "/webhooks/nobody/stripe", "/webhooks/Not-A-Tenant/stripe"} {
		require.Equal(t, 404, b.do("POST", path, `{}`).status, path)
	}
}

func TestWebhook_IsStoredWhileTemporalIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, paymentID := b.byStripe()
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	body := event("evt_6", paymentID)
	require.Equal(t, 200, b.notify(body, sign(body, webhookSecret, time.Now())).status)
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM inbox WHERE status = 'pending' AND next_attempt_at <= now() + interval '3 seconds'`))
}

func (b *bundle) returned(checkout map[string]any) (path string, params url.Values, paymentID string) {
	paymentID = checkout["payment"].(map[string]any)["id"].(string)
	return "/payments/shop/transbank/" + paymentID + "/return", url.Values{"token_ws": {"tok_" + paymentID}}, paymentID
}

const form = "application/x-www-form-urlencoded"

func TestReturn_IsSettledThenSentOnToTheShop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	id := c["id"].(string)
	path, params, paymentID := b.returned(c)
	b.temporal.update = map[string]func(context.Context, string, any) (any, error){workflows.UpdateSettle: func(ctx context.Context, _ string, arg any) (any, error) {
		req := arg.(workflows.SettleRequest)
		if req.PaymentID != paymentID || value[int](b, `SELECT count(*) FROM inbox WHERE id = $1 AND kind = 'return' AND event_type = 'finished' AND detail->>'kind' = 'finished'`, req.InboxID) != 1 {
			return nil, fmt.Errorf("not the stored return: %+v", req)
		}
		b.sql(`UPDATE payments SET status = 'captured', captured_amount = amount, applied = true, applied_at = now() WHERE id = $1`, paymentID)
		b.sql(`UPDATE checkouts SET status = 'paid', order_id = id WHERE id = $1`, id)
		b.sql(`UPDATE inbox SET status = 'applied', settled_at = now() WHERE id = $1`, req.InboxID)
		return workflows.SettleAnswer{PaymentStatus: "captured", CheckoutStatus: "paid"}, nil
	}}
	a := b.do("POST", path, params.Encode(), "Content-Type", form, "Authorization", "")
	require.Equal(t, http.StatusSeeOther, a.status, a.body)
	require.Equal(t, "https://shop.example/thanks?checkout_id="+id+"&lang=es&status=paid", a.header.Get("Location"))

	// The page opened again, and a cancel-type return after the commit.
	for _, query := range []string{params.Encode(), params.Encode(), url.Values{"TBK_TOKEN": {"tok_" + paymentID}, "TBK_ORDEN_COMPRA": {paymentID}, "TBK_ID_SESION": {"x"}}.Encode()} {
		again := b.do("GET", path+"?"+query, nil)
		require.Equal(t, http.StatusSeeOther, again.status, again.body)
		require.Contains(t, again.header.Get("Location"), "status=paid")
	}
	require.Equal(t, 1, b.temporal.count(workflows.UpdateSettle+" "), "settled once")
	require.Equal(t, 2, value[int](b, `SELECT count(*) FROM inbox WHERE status = 'ignored' AND reason <> ''`), "one of each kind of return is kept")
}

func TestReturn_TenAtOnceAreOneStoredReturn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	path, params, _ := b.returned(c)
	b.temporal.update = map[string]func(context.Context, string, any) (any, error){workflows.UpdateSettle: func(context.Context, string, any) (any, error) {
		return workflows.SettleAnswer{}, nil
	}}
	require.Equal(t, map[int]int{303: 10}, b.together(10, func(int) (answer, error) { return b.try("GET", path+"?"+params.Encode(), nil) }))
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM inbox`))
	b.temporal.mu.Lock()
	defer b.temporal.mu.Unlock()
	updates := map[string]bool{}
	for _, call := range b.temporal.calls {
		if strings.HasPrefix(call, workflows.UpdateSettle+" ") {
			updates[call] = true
		}
	}
	require.Len(t, updates, 1, "all send one update")
}

func TestReturn_ForeignTokensAndUnknownPaymentsCallNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mine, other := b.checkout(), b.checkout()
	path, _, paymentID := b.returned(mine)
	_, foreign, _ := b.returned(other)
	for _, query := range []string{foreign.Encode(), "token_ws=guess", ""} {
		a := b.do("GET", path+"?"+query, nil)
		require.Equal(t, 400, a.status)
		require.Contains(t, a.body, `lang="es-CL"`)
	}
	for _, p := range []string{"/payments/shop/transbank/01JCQZ5Y3N8W2K4T6V7X9ABCDE/return", "/payments/shop/stripe/" + paymentID + "/return", "/payments/other/transbank/" + paymentID + "/return", "/payments/shop/transbank/nonsense/return", "/payments/Nobody!/transbank/" + paymentID + "/return"} {
		require.Equal(t, 404, b.do("GET", p+"?token_ws=x", nil).status, p)
	}
	require.Zero(t, b.temporal.count(workflows.UpdateSettle))
	require.Zero(t, value[int](b, `SELECT count(*) FROM inbox`))
}

func TestReturn_AfterTheRunHasEndedBeginsALatePayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	path, params, paymentID := b.returned(c)
	b.sql(`UPDATE checkouts SET status = 'expired', closed_at = now()`)
	b.sql(`UPDATE payments SET status = 'expired', closed = true`)
	b.temporal.set(func(f *fakeTemporal) {
		f.runs = map[string]bool{}
		f.update = map[string]func(context.Context, string, any) (any, error){workflows.UpdateSettle: func(context.Context, string, any) (any, error) {
			return workflows.SettleAnswer{PaymentStatus: "expired"}, nil
		}}
	})
	a := b.do("GET", path+"?"+params.Encode(), nil)
	require.Equal(t, 303, a.status)
	require.Contains(t, a.header.Get("Location"), "status=expired")
	require.Equal(t, 1, b.temporal.count("start-and-settle late-payment:shop:"+paymentID))
}

func TestReturn_WhileTemporalIsAwayWaitsOnAPageThatSendsOnLater(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	path, params, paymentID := b.returned(c)
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	a := b.do("GET", path+"?"+params.Encode(), nil)
	require.Equal(t, 200, a.status)
	require.Contains(t, a.body, "Estamos confirmando tu pago")
	inboxID := value[string](b, `SELECT id FROM inbox WHERE status = 'pending'`)
	wait := path + "/wait?t=" + inboxID
	require.Contains(t, a.body, `content="3;url=`+wait+`"`)
	require.NotContains(t, a.body, "tok_", "the page has no token")

	require.Equal(t, 200, b.do("GET", wait, nil).status)
	require.Equal(t, 404, b.do("GET", path+"/wait?t=01JCQZ5Y3N8W2K4T6V7X9ABCDE", nil).status)
	b.sql(`UPDATE inbox SET status = 'applied', settled_at = now()`)
	b.sql(`UPDATE payments SET status = 'captured', captured_amount = amount, applied = true, applied_at = now() WHERE id = $1`, paymentID)
	done := b.do("GET", wait, nil)
	require.Equal(t, 303, done.status)
	require.Contains(t, done.header.Get("Location"), "https://shop.example/thanks?")
}

func TestReturn_WhileTheDatabaseIsAwayKeepsTheParametersInTheBrowser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	path, params, _ := b.returned(c)
	b.db.Close()
	get := b.do("GET", path+"?"+params.Encode(), nil)
	require.Equal(t, 200, get.status, get.body)
	require.Contains(t, get.body, "url="+path+"?"+params.Encode())
	post := b.do("POST", path, params.Encode(), "Content-Type", form)
	require.Equal(t, 200, post.status)
	require.Contains(t, post.body, `<input type="hidden" name="token_ws" value="`+params.Get("token_ws")+`">`)
	require.Equal(t, 200, b.do("GET", path+"/wait?t=01JCQZ5Y3N8W2K4T6V7X9ABCDE", nil).status)
}

func TestReturn_CancelledByTheBuyerIsToldAsSuch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	path, _, paymentID := b.returned(c)
	var kind string
	b.temporal.update = map[string]func(context.Context, string, any) (any, error){workflows.UpdateSettle: func(_ context.Context, _ string, arg any) (any, error) {
		kind = value[string](b, `SELECT event_type FROM inbox WHERE id = $1`, arg.(workflows.SettleRequest).InboxID)
		return workflows.SettleAnswer{}, nil
	}}
	q := url.Values{"TBK_TOKEN": {"tok_" + paymentID}, "TBK_ORDEN_COMPRA": {paymentID}, "TBK_ID_SESION": {"x"}}
	a := b.do("GET", path+"?"+q.Encode(), nil)
	require.Equal(t, 303, a.status)
	require.Equal(t, string(payment.ReturnCancelled), kind)
	require.Contains(t, a.header.Get("Location"), "status=awaiting_payment")
}
