package tenant_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

func TestRouteFor_TheFirstRuleThatFitsWins(t *testing.T) {
	t.Parallel()
	s := tenant.Defaults("demo")
	require.Equal(t, []string{"transbank", "mercadopago", "stripe", "flow", "khipu"}, s.RouteFor(tenant.RouteQuery{Currency: "CLP", Amount: 1}))
	s.Routes = []tenant.Route{
		{Currency: "USD", Gateways: []string{"stripe"}},
		{Currency: "CLP", MinAmount: 500_000, MaxAmount: 2_000_000, Gateways: []string{"khipu"}},
		{Method: "servipag", Gateways: []string{"flow"}},
		{Country: "CL", Currency: "CLP", Gateways: []string{"transbank", "flow"}},
	}
	require.NoError(t, s.Validate())
	for _, c := range []struct {
		q    tenant.RouteQuery
		want []string
	}{
		{tenant.RouteQuery{Currency: "USD", Amount: 990, Country: "CL"}, []string{"stripe"}},
		{tenant.RouteQuery{Currency: "CLP", Amount: 500_000, Country: "CL"}, []string{"khipu"}},
		{tenant.RouteQuery{Currency: "CLP", Amount: 2_000_000, Method: "servipag"}, []string{"khipu"}},
		{tenant.RouteQuery{Currency: "CLP", Amount: 2_000_001, Method: "servipag", Country: "CL"}, []string{"flow"}},
		{tenant.RouteQuery{Currency: "CLP", Amount: 499_999, Country: "CL"}, []string{"transbank", "flow"}},
		{tenant.RouteQuery{Currency: "CLP", Amount: 499_999, Country: "PE"}, s.Gateways},
		{tenant.RouteQuery{Currency: "EUR", Amount: 1, Country: "CL"}, s.Gateways},
	} {
		require.Equal(t, c.want, s.RouteFor(c.q), c.q)
	}
	s.Gateways = []string{"mercadopago"}
	require.Equal(t, []string{"mercadopago", "stripe", "khipu", "flow", "transbank"}, s.Routed())
}

func TestRoutes_ThatContradictThemselvesAreRefused(t *testing.T) {
	t.Parallel()
	for says, r := range map[string]tenant.Route{
		"routes[0].currency":              {Currency: "XYZ", Gateways: []string{"flow"}},
		"routes[0].currency: \"clp\"":     {Currency: "clp", Gateways: []string{"flow"}},
		"routes[0].currency: needed":      {MinAmount: 1, Gateways: []string{"flow"}},
		"the first is not above":          {Currency: "CLP", MinAmount: 2, MaxAmount: 1, Gateways: []string{"flow"}},
		"not negative":                    {Currency: "CLP", MinAmount: -1, Gateways: []string{"flow"}},
		"routes[0].country":               {Country: "Chile", Gateways: []string{"flow"}},
		"routes[0].gateways: at least":    {Currency: "CLP"},
		"routes[0].gateways: there is no": {Gateways: []string{"auto"}},
		"routes[0].gateways: flow":        {Gateways: []string{"flow", "flow"}},
	} {
		s := tenant.Defaults("demo")
		s.Routes = []tenant.Route{r}
		require.ErrorContains(t, s.Validate(), says)
	}
}
