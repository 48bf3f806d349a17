package api_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

func (b *bundle) gateway(name string) map[string]any {
	b.t.Helper()
	a := b.do("GET", "/v1/gateways", nil, as(b.keys[tenant.Storefront])...)
	require.Equal(b.t, 200, a.status, a.body)
	for _, g := range a.json()["data"].([]any) {
		if g := g.(map[string]any); g["gateway"] == name {
			return g
		}
	}
	b.t.Fatalf("no %s in %s", name, a.body)
	return nil
}

func (b *bundle) change(fn func(s *tenant.Settings)) {
	b.t.Helper()
	require.NoError(b.t, b.db.InTenant(b.t.Context(), shop, func(tx pgx.Tx) error {
		t, err := tenant.Get(b.t.Context(), tx, shop)
		if err != nil {
			return err
		}
		fn(&t.Settings)
		return tenant.Put(b.t.Context(), tx, t)
	}))
}

// opened makes a circuit open, as the workers would.
func (b *bundle) opened(gateway string) {
	b.t.Helper()
	b.sql(`INSERT INTO gateway_circuits (tenant, gateway, state, opened_at, probe_after, times_opened) VALUES ($1, $2, 'open', now(), now() + interval '1 hour', 1)`, shop, gateway)
}

func TestGateways_TellWhatABuyerCanPayWith(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.change(func(s *tenant.Settings) { s.Gateways = []string{"stripe", "khipu", "transbank"} })
	b.opened("transbank")
	a := b.do("GET", "/v1/gateways", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	var order []string
	for _, g := range a.json()["data"].([]any) {
		order = append(order, g.(map[string]any)["gateway"].(string))
	}
	require.Equal(t, []string{"stripe", "khipu", "transbank", "mercadopago", "flow"}, order)

	g := b.gateway("transbank")
	require.Equal(t, "Webpay", g["title"])
	require.Equal(t, true, g["configured"])
	require.EqualValues(t, 3, g["position"])
	require.Equal(t, []any{"CLP"}, g["currencies"])
	require.Equal(t, true, g["refunds"].(map[string]any)["supported"])
	circuit := g["circuit"].(map[string]any)
	require.Equal(t, "open", circuit["state"])
	require.NotNil(t, circuit["since"])
	at, err := time.Parse(time.RFC3339, circuit["retry_at"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), at, time.Minute)

	g = b.gateway("khipu")
	require.Equal(t, false, g["configured"])
	require.EqualValues(t, 2, g["position"])
	require.Equal(t, map[string]any{"state": "closed", "since": nil, "retry_at": nil}, g["circuit"])
	require.Nil(t, b.gateway("flow")["position"])
	require.Equal(t, 403, b.do("GET", "/v1/gateways", nil, as(b.keys[tenant.Warehouse])...).status)
}

func TestGatewayEvents_AreNewestFirstAndPaged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, kind := range []string{"circuit_opened", "circuit_half_open", "circuit_closed"} {
		b.sql(`INSERT INTO events (tenant, subject, kind) VALUES ($1, 'gateway:flow', $2), ($1, 'gateway:khipu', 'circuit_opened')`, shop, kind)
	}
	path, seen := "/v1/gateways/flow/events?limit=2", []string{}
	for path != "" {
		a := b.do("GET", path, nil, as(b.keys[tenant.Support])...)
		require.Equal(t, 200, a.status, a.body)
		for _, e := range a.json()["data"].([]any) {
			seen = append(seen, e.(map[string]any)["kind"].(string))
		}
		path = ""
		if next := a.json()["next_cursor"]; next != nil {
			path = "/v1/gateways/flow/events?limit=2&cursor=" + next.(string)
		}
	}
	require.Equal(t, []string{"circuit_closed", "circuit_half_open", "circuit_opened"}, seen)
	require.Equal(t, 404, b.do("GET", "/v1/gateways/paypal/events", nil).status)
	require.Equal(t, 422, b.do("GET", "/v1/gateways/flow/events?cursor=MTp4", nil).status)
	require.Equal(t, 403, b.do("GET", "/v1/gateways/flow/events", nil, as(b.keys[tenant.Storefront])...).status)
}

func TestCredentials_AreStoredEncryptedAndNeverShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const secret = "579B532A7440BB0C9079DED94D31EA16"
	body := map[string]any{"commerce_code": "597055555532", "api_key": secret}
	a := b.do("PUT", "/v1/gateways/transbank/credentials", body)
	require.Equal(t, 204, a.status, a.body)
	require.Empty(t, a.body)
	require.NoError(t, b.db.InTenant(t.Context(), shop, func(tx pgx.Tx) error {
		got, _, err := tenant.Credentials(t.Context(), tx, b.ring, shop, "transbank")
		require.JSONEq(t, `{"commerce_code":"597055555532","api_key":"`+secret+`"}`, string(got))
		return err
	}))
	version := value[int64](b, `SELECT version FROM provider_credentials WHERE provider = 'transbank'`)

	for _, bad := range []string{`{"commerce_code":"1","api_key":"` + secret + `"}`, `{}`} {
		a = b.do("PUT", "/v1/gateways/transbank/credentials", bad)
		require.Equal(t, 422, a.status, a.body)
		require.Equal(t, "invalid_credentials", a.code())
		require.NotContains(t, a.body, secret)
	}
	for _, bad := range []string{`[]`, `"` + secret + `"`, `{"api_key":"` + secret} {
		a = b.do("PUT", "/v1/gateways/transbank/credentials", bad)
		require.Equal(t, 400, a.status, a.body)
		require.NotContains(t, a.body, secret)
	}
	require.Equal(t, 404, b.do("PUT", "/v1/gateways/paypal/credentials", body).status)
	require.Equal(t, 403, b.do("PUT", "/v1/gateways/transbank/credentials", body, as(b.keys[tenant.Support])...).status)
	require.Equal(t, version, value[int64](b, `SELECT version FROM provider_credentials WHERE provider = 'transbank'`), "what is refused changes nothing")

	require.Equal(t, 204, b.do("DELETE", "/v1/gateways/transbank/credentials", nil).status)
	require.Equal(t, 404, b.do("DELETE", "/v1/gateways/transbank/credentials", nil).status)
	require.Zero(t, value[int](b, `SELECT count(*) FROM provider_credentials WHERE provider = 'transbank'`))
	require.Equal(t, 204, b.do("PUT", "/v1/gateways/transbank/credentials", body).status)
	require.Greater(t, value[int64](b, `SELECT version FROM provider_credentials WHERE provider = 'transbank'`), version, "set again is something new")

	events := b.do("GET", "/v1/gateways/transbank/events", nil).body
	require.Equal(t, 2, strings.Count(events, "credentials_set"))
	require.Equal(t, 1, strings.Count(events, "credentials_withdrawn"))
	require.NotContains(t, events+b.logs.String(), secret)
	require.NotContains(t, value[string](b, `SELECT coalesce(string_agg(e::text, ' '), '') FROM events e`), secret)
}

// notBegun makes every attempt fail to begin.
func (b *bundle) notBegun() {
	b.temporal.begin = func(ctx context.Context, in workflows.CheckoutInput) (any, error) {
		if _, err := checkout.Start(ctx, b.db, in.Tenant, in.CheckoutID, payment.Transbank); err != nil {
			return nil, err
		}
		v, err := checkout.GiveUp(ctx, b.db, in.Tenant, in.CheckoutID, checkout.FailGatewayUnavailable, "no gateway could be reached")
		return workflows.BeginAnswer{Status: string(v.Status), FailureCode: v.FailureCode}, err
	}
}

func TestAlternatives_AreTheRoutesOthersThatTakeItAndAreNotDown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.notBegun()
	alternatives := func() any {
		t.Helper()
		a := b.do("POST", "/v1/checkouts", basket(nil))
		require.Equal(t, 503, a.status, a.body)
		return a.json()["alternatives"]
	}
	require.Equal(t, []any{"stripe", "flow"}, alternatives(), "khipu and mercadopago are not set up")
	b.change(func(s *tenant.Settings) {
		s.Routes = []tenant.Route{
			{Currency: "CLP", MinAmount: 1_000_000, Gateways: []string{"khipu"}},
			{Currency: "CLP", Country: "CL", Gateways: []string{"flow", "transbank", "stripe"}},
		}
	})
	require.Equal(t, []any{"flow", "stripe"}, alternatives(), "in the order of the rule that fits")
	b.change(func(s *tenant.Settings) { s.Routes[1].Gateways = []string{"transbank"} })
	require.Equal(t, []any{}, alternatives())
}

func TestNamedGateway_IsToldTheLeastAndMostThatItCharges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.do("PUT", "/v1/products/CHICLE", map[string]any{"name": "Chicle", "prices": []any{map[string]any{"currency": "CLP", "amount": 10}}})
	b.do("PUT", "/v1/stock/CHICLE", map[string]any{"warehouse": "SCL-1", "on_hand": 5})
	b.change(func(s *tenant.Settings) {
		s.Freight = []tenant.Freight{{Region: "*", Service: "standard", Currency: "CLP"}}
	})
	a := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) {
		m["items"] = []any{map[string]any{"sku": "CHICLE", "quantity": 1}}
		m["payment"].(map[string]any)["gateway"] = "stripe"
	}))
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, map[string]string{"payment.gateway": "below_minimum"}, a.fields())

	a = b.do("POST", "/v1/checkouts", basket(func(m map[string]any) {
		m["items"] = []any{map[string]any{"sku": "CHICLE", "quantity": 1}}
		m["payment"].(map[string]any)["gateway"] = "auto"
	}))
	require.Less(t, a.status, 300, a.body)
	a = b.do("POST", "/v1/checkouts/"+a.json()["id"].(string)+"/payments", map[string]any{"gateway": "stripe"})
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, map[string]string{"gateway": "below_minimum"}, a.fields())
}

// byFlow is a checkout whose first attempt is at Flow, and its token there.
func (b *bundle) byFlow() (checkoutID, paymentID, token string) {
	b.t.Helper()
	a := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) { m["payment"].(map[string]any)["gateway"] = "flow" }))
	require.Equal(b.t, 201, a.status, a.body)
	paymentID = a.json()["payment"].(map[string]any)["id"].(string)
	return a.json()["id"].(string), paymentID, value[string](b, `SELECT reference FROM payments WHERE id = $1`, paymentID)
}

// hint is what anybody can post who knows, or guesses, a token.
func (b *bundle) hint(token string) answer {
	b.t.Helper()
	return b.do("POST", "/webhooks/shop/flow", url.Values{"token": {token}}.Encode(), "Content-Type", form, "Authorization", "")
}

func (b *bundle) toldOf(paymentID string) (n int) {
	for _, s := range b.temporal.signalled() {
		if strings.Contains(s, paymentID) {
			n++
		}
	}
	return n
}

func TestHint_TheFirstIsToldAtOnceAndForgedOnesOncePerMinute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, paymentID, token := b.byFlow()
	before := value[string](b, `SELECT p::text FROM payments p WHERE id = $1`, paymentID)
	require.Equal(t, 200, b.hint(token).status)
	require.Eventually(t, func() bool { return b.toldOf(paymentID) == 1 }, 5*time.Second, 10*time.Millisecond)
	for range 20 {
		b.sql(`UPDATE inbox SET status = 'ignored', reason = 'asked', settled_at = now(), due_at = NULL, received_at = received_at - interval '10 seconds'`)
		require.Equal(t, 200, b.hint(token).status)
	}
	require.Equal(t, 1, b.toldOf(paymentID))
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM inbox WHERE status = 'pending' AND next_attempt_at BETWEEN now() + interval '30 seconds' AND now() + interval '60 seconds'`), "the loop waits for its minute too")
	require.Equal(t, before, value[string](b, `SELECT p::text FROM payments p WHERE id = $1`, paymentID), "forged hints change nothing")

	b.sql(`UPDATE payment_hints SET asked_at = now() - interval '61 seconds'`)
	b.sql(`UPDATE inbox SET received_at = received_at - interval '61 seconds'`)
	require.Equal(t, 200, b.hint(token).status)
	require.Eventually(t, func() bool { return b.toldOf(paymentID) == 2 }, 5*time.Second, 10*time.Millisecond)
}

func TestHint_AboutNothingOfOursIsAcknowledgedAndCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 3 {
		require.Equal(t, 200, b.hint("0123456789abcdef0123456789abcdef01234567").status)
	}
	require.Zero(t, value[int](b, `SELECT count(*) FROM inbox`))
	require.Contains(t, b.do("GET", "/metrics", nil).body, `justlogistics_notifications_refused_total{gateway="flow",reason="names_nothing_of_ours"} 3`)
}

func TestHint_ThatCouldNotBeToldIsLeftToTheLoop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, token := b.byFlow()
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	require.Equal(t, 200, b.hint(token).status)
	require.Eventually(t, func() bool {
		return value[bool](b, `SELECT count(*) = 1 FROM inbox WHERE status = 'pending' AND next_attempt_at <= now() + interval '3 seconds'`) && value[bool](b, `SELECT count(*) = 0 FROM payment_hints`)
	}, 5*time.Second, 10*time.Millisecond)
}

func TestWebhook_AboutARefundOfOursIsToldItsRunToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	checkoutID, paymentID, _ := b.byFlow()
	const refundID = "01JCQZ5Y3N8W2K4T6V7X9ABCDE"
	b.sql(`UPDATE payments SET status = 'captured', captured_amount = amount, applied = true, applied_at = now() WHERE id = $1`, paymentID)
	b.sql(`INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, due_at) VALUES ('shop', $1, $2, 100, 'CLP', 'goodwill', 'pending', now() + interval '1 hour')`, refundID, paymentID)
	a := b.do("POST", "/webhooks/shop/flow?refund="+refundID, url.Values{"token": {"C93B4FAD6D63ED9A3F25D21E5D6DD0105FA8CAAQ"}}.Encode(), "Content-Type", form, "Authorization", "")
	require.Equal(t, 200, a.status, a.body)
	require.Eventually(t, func() bool { return b.toldOf(paymentID) == 2 }, 5*time.Second, 10*time.Millisecond)
	told := strings.Join(b.temporal.signalled(), "\n")
	require.Contains(t, told, "news refund:shop:"+refundID)
	require.Contains(t, told, "news checkout:shop:"+checkoutID)
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM inbox WHERE status = 'pending' AND payment_id = $1 AND refund_id = $2`, paymentID, refundID))
	require.Equal(t, 200, b.do("POST", "/webhooks/shop/flow?refund=01JCQZ5Y3N8W2K4T6V7X9ABCDF", url.Values{"token": {"C93B4FAD6D63ED9A3F25D21E5D6DD0105FA8CAAQ"}}.Encode(), "Content-Type", form, "Authorization", "").status)
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM inbox`))
}
