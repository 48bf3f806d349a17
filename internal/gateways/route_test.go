package gateways_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	tenants "justlogistics/internal/tenant"
)

// configured is a registry whose tenant has credentials for some gateways.
func configured(away func() string) *gateways.Registry {
	credentials := map[payment.Name]string{
		payment.Transbank: `{"base_url":"%s","commerce_code":"597055555532","api_key":"k"}`,
		payment.Stripe:    `{"base_url":"%s","secret_key":"sk_test_x","webhook_secret":"whsec_x","account":"acct_1"}`,
		payment.Flow:      `{"base_url":"%s","api_key":"k","secret_key":"s"}`,
	}
	return gateways.New(func(_ context.Context, _ string, name payment.Name) ([]byte, int64, error) {
		text, ok := credentials[name]
		if !ok {
			return nil, 0, gateways.ErrNotConfigured
		}
		return fmt.Appendf(nil, text, away()), 1, nil
	}, gateways.Options{Client: httpclient.New(httpclient.Options{}), Recheck: time.Hour, MinCalls: minimum, Delay: time.Hour})
}

func TestRoute_ListsThoseThatTakeThePaymentAndAreNotDown(t *testing.T) {
	t.Parallel()
	r := configured(func() string { return "http://127.0.0.1:1" })
	rules := tenants.Defaults(tenant)
	route := func(q tenants.RouteQuery) (ready, down []payment.Name) {
		t.Helper()
		ready, down, err := r.Route(t.Context(), tenant, rules, q)
		require.NoError(t, err)
		return ready, down
	}
	ready, down := route(tenants.RouteQuery{Currency: money.CLP, Amount: 10_000})
	require.Equal(t, []payment.Name{payment.Transbank, payment.Stripe, payment.Flow}, ready, "those with credentials, in the tenant's order")
	require.Empty(t, down)
	ready, _ = route(tenants.RouteQuery{Currency: money.USD, Amount: 10_000})
	require.Equal(t, []payment.Name{payment.Stripe}, ready, "those that charge in it")
	g, err := r.Gateway(t.Context(), tenant, payment.Stripe)
	require.NoError(t, err)
	least := g.Capabilities().MinAmount[money.CLP]
	require.Positive(t, least)
	ready, _ = route(tenants.RouteQuery{Currency: money.CLP, Amount: least - 1})
	require.NotContains(t, ready, payment.Stripe, "less than it charges")

	flow, err := r.Gateway(t.Context(), tenant, payment.Flow)
	require.NoError(t, err)
	if methods := flow.Capabilities().Methods; len(methods) > 0 {
		ready, _ = route(tenants.RouteQuery{Currency: money.CLP, Amount: 10_000, Method: methods[0]})
		require.Contains(t, ready, payment.Flow)
		require.NotContains(t, ready, payment.Transbank, "its page asks, and another takes the method")
	}
	ready, _ = route(tenants.RouteQuery{Currency: money.CLP, Amount: 10_000, Method: "no such method"})
	require.Contains(t, ready, payment.Transbank, "nobody lists it: a page that asks will do")
	rules.Routes = []tenants.Route{{Currency: "CLP", Gateways: []string{"khipu", "flow"}}}
	ready, _ = route(tenants.RouteQuery{Currency: money.CLP, Amount: 10_000})
	require.Equal(t, []payment.Name{payment.Flow}, ready, "of the rule that fits")
	require.Equal(t, []payment.Name{payment.Stripe}, gateways.Without([]payment.Name{payment.Flow, payment.Stripe}, payment.Flow))

	rules.Routes = nil
	transbank, err := r.Gateway(t.Context(), tenant, payment.Transbank)
	require.NoError(t, err)
	for range minimum {
		_, err = transbank.Begin(t.Context(), intent(), payment.Untried)
		require.Error(t, err)
	}
	ready, down = route(tenants.RouteQuery{Currency: money.CLP, Amount: 10_000})
	require.Equal(t, []payment.Name{payment.Stripe, payment.Flow}, ready)
	require.Equal(t, []payment.Name{payment.Transbank}, down)
}
