package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/sandbox"
	"justlogistics/internal/tenant"
)

// carriers sets the shop's four carriers up at a sandbox, and returns its address.
func (b *bundle) carriers() string {
	b.t.Helper()
	played, err := sandbox.Open(sandbox.Options{NoSync: true})
	require.NoError(b.t, err)
	server := httptest.NewServer(played.Handler())
	b.t.Cleanup(func() {
		server.Close()
		require.NoError(b.t, played.Close())
	})
	for carrier, credentials := range map[string]map[string]any{
		"chilexpress": {"coverage_key": "sandbox-coverage-demo", "rating_key": "sandbox-rating-demo", "shipping_key": "sandbox-shipping-demo", "card": "18578680", "rut": "96756430-3"},
		"bluexpress":  {"client_id": "sandbox-client-demo", "client_secret": "sandbox-secret-demo", "api_key": "sandbox-key-demo", "token": "sandbox-token-demo", "user_code": "sandbox-user-demo", "account": "account-demo"},
		"correos":     {"token": "sandbox-token-demo", "client_code": "sap-demo"},
		"starken":     {"token": "sandbox-bearer-demo", "rut": "76192083-9", "origin_agency": 1411, "current_account": "41966-8"},
	} {
		credentials["base_url"] = server.URL + "/" + carrier
		a := b.do("PUT", "/v1/carriers/"+carrier+"/credentials", credentials)
		require.Equal(b.t, 200, a.status, a.body)
		require.NotContains(b.t, a.body, "demo")
	}
	require.Equal(b.t, 200, b.do("PUT", "/v1/warehouses/SCL-1", map[string]any{"name": "Bodega", "region": "RM", "comuna": "Quilicura"}).status)
	return server.URL
}

// fault sets a fault of a carrier's stand-in.
func fault(t *testing.T, at, carrier, faults string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, at+"/faults/"+carrier, strings.NewReader(faults))
	require.NoError(t, err)
	a, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, a.Body.Close())
	require.Less(t, a.StatusCode, 300)
}

var toConcepcion = map[string]any{"to": map[string]any{"comuna": "concepcion", "region": "BI"}, "items": []any{map[string]any{"sku": "POL-ROJO-S", "quantity": 2}}}

func rates(a answer) (carriers map[string]int, list []map[string]any) {
	carriers = map[string]int{}
	for _, r := range a.json()["rates"].([]any) {
		list = append(list, r.(map[string]any))
		carriers[r.(map[string]any)["carrier"].(string)]++
	}
	return carriers, list
}

func TestRates_AllCarriersAreAskedAtOnceAndTheCheckoutIsPricedByOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := b.carriers()
	storefront := as(b.keys[tenant.Storefront])
	a := b.do("POST", "/v1/rates", toConcepcion, storefront...)
	require.Equal(t, 200, a.status, a.body)
	of, list := rates(a)
	for _, carrier := range []string{"chilexpress", "bluexpress", "correos", "starken"} {
		require.Positive(t, of[carrier], "%s: %s", carrier, a.body)
	}
	require.Empty(t, a.json()["silent"])
	for i := 1; i < len(list); i++ {
		require.LessOrEqual(t, list[i-1]["price"].(float64), list[i]["price"].(float64), "the cheapest first")
	}

	fault(t, at, "starken", `{"outage":true}`)
	a = b.do("POST", "/v1/rates", toConcepcion, storefront...)
	of, list = rates(a)
	require.Zero(t, of["starken"])
	require.Positive(t, of["chilexpress"])
	require.Equal(t, []any{map[string]any{"carrier": "starken", "why": "unavailable"}}, a.json()["silent"])

	chosen := list[len(list)-1]
	body := basket(nil)
	shipping := map[string]any{"street": "O'Higgins", "number": "1", "comuna": "Concepción", "region": "BI", "rate_id": chosen["id"]}
	body["shipping"] = shipping
	c := b.do("POST", "/v1/checkouts", body)
	require.Equal(t, 201, c.status, c.body)
	require.Equal(t, chosen["price"], c.json()["totals"].(map[string]any)["shipping"])
	require.Equal(t, chosen["carrier"], c.json()["shipping"].(map[string]any)["carrier"])
	require.Equal(t, chosen["service"], c.json()["shipping"].(map[string]any)["service"])

	for code, change := range map[string]map[string]any{
		"unknown_rate":    {"rate_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
		"rate_mismatch":   {"comuna": "Talcahuano"},
		"comes_with_rate": {"rate_id": "", "carrier": "starken"},
	} {
		wrong := map[string]any{}
		for k, v := range shipping {
			wrong[k] = v
		}
		for k, v := range change {
			wrong[k] = v
		}
		body["shipping"] = wrong
		c := b.do("POST", "/v1/checkouts", body)
		require.Equal(t, 422, c.status, c.body)
		require.Contains(t, c.body, code)
	}
	body["shipping"] = shipping
	body["items"] = []any{map[string]any{"sku": "POL-ROJO-S", "quantity": 5}}
	require.Contains(t, b.do("POST", "/v1/checkouts", body).body, "the basket weighs")
	body["items"] = []any{map[string]any{"sku": "POL-ROJO-S", "quantity": 1}}
	b.sql(`UPDATE rates SET expires_at = now() - interval '1 second'`)
	require.Contains(t, b.do("POST", "/v1/checkouts", body).body, "rate_expired")
	b.sql(`UPDATE rates SET expires_at = now() - interval '2 days'`)
	require.Equal(t, 200, b.do("POST", "/v1/rates", toConcepcion, storefront...).status)
	require.Zero(t, value[int](b, `SELECT count(*)::int FROM rates WHERE expires_at < now()`), "what has ended long ago goes")
}

func TestRates_TheTableSpeaksWhenNoCarrierDoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, map[string]string{"warehouse": "no_comuna"}, b.do("POST", "/v1/rates", toConcepcion).fields())
	require.Equal(t, 200, b.do("PUT", "/v1/warehouses/SCL-1", map[string]any{"name": "Bodega", "region": "RM", "comuna": "Quilicura"}).status)
	a := b.do("POST", "/v1/rates", toConcepcion)
	require.Equal(t, 200, a.status, a.body)
	of, list := rates(a)
	require.Equal(t, map[string]int{"": 2}, of)
	require.Equal(t, "standard", list[0]["service"])
	require.Equal(t, 5990., list[0]["price"])
	require.Equal(t, "express", list[1]["service"])

	shop := map[string]any{"to": toConcepcion["to"], "items": toConcepcion["items"], "method": "pickup_in_shop"}
	_, list = rates(b.do("POST", "/v1/rates", shop))
	require.Len(t, list, 1)
	require.Zero(t, list[0]["price"])

	require.Equal(t, map[string]string{"to.comuna": "unknown_comuna", "items[0].quantity": "out_of_range", "method": "invalid"},
		b.do("POST", "/v1/rates", `{"to":{"comuna":"Springfield","region":"RM"},"items":[{"sku":"TAZA","quantity":0}],"method":"drone"}`).fields())
	require.Equal(t, map[string]string{"to.region": "unknown_region", "items": "out_of_range", "pickup_point_id": "invalid"}, b.do("POST", "/v1/rates", `{"to":{"comuna":"Arica","region":"XX"},"items":[],"pickup_point_id":"1"}`).fields())
	require.Equal(t, map[string]string{"pickup_point_id": "required"}, b.do("POST", "/v1/rates", `{"to":{"comuna":"Arica","region":"AP"},"items":[{"sku":"TAZA","quantity":1}],"method":"pickup_point"}`).fields())
	require.Equal(t, map[string]string{"items": "unknown_sku"}, b.do("POST", "/v1/rates", `{"to":{"comuna":"Arica","region":"AP"},"items":[{"sku":"NADA","quantity":1}]}`).fields())
	require.Equal(t, map[string]string{"warehouse": "unknown_warehouse"}, b.do("POST", "/v1/rates", `{"to":{"comuna":"Arica","region":"AP"},"items":[{"sku":"TAZA","quantity":1}],"warehouse":"NO"}`).fields())
	require.Equal(t, 403, b.do("POST", "/v1/rates", toConcepcion, as(b.keys[tenant.Warehouse])...).status)
}

func TestCarriers_AreSetUpAndWithdrawnAndTellTheirPoints(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := b.carriers()
	configured := func() (n int) {
		for _, c := range b.do("GET", "/v1/carriers", nil, as(b.keys[tenant.Storefront])...).json()["data"].([]any) {
			if c.(map[string]any)["configured"].(bool) {
				n++
			}
		}
		return n
	}
	require.Equal(t, 5, configured(), "four, and own delivery")
	a := b.do("GET", "/v1/pickup-points?comuna=Providencia&region=RM", nil, as(b.keys[tenant.Storefront])...)
	require.Equal(t, 200, a.status, a.body)
	require.NotEmpty(t, a.json()["data"])
	fault(t, at, "chilexpress", `{"outage":true}`)
	a = b.do("GET", "/v1/pickup-points?comuna=Providencia&region=RM", nil)
	require.Contains(t, a.body, `{"carrier":"chilexpress","why":"unavailable"}`)
	require.Equal(t, map[string]string{"comuna": "unknown_comuna"}, b.do("GET", "/v1/pickup-points?comuna=X&region=RM", nil).fields())

	require.Contains(t, b.do("GET", "/v1/carriers", nil).body, `"circuit":{"state":"closed","since":null,"retry_at":null}`)
	b.sql(`INSERT INTO gateway_circuits (tenant, gateway, state, opened_at, probe_after, times_opened) VALUES ($1, 'starken', 'open', now(), now() + interval '1 hour', 1)
	  ON CONFLICT (tenant, gateway) DO UPDATE SET state = 'open', opened_at = now(), probe_after = excluded.probe_after`, shop)
	require.Contains(t, b.do("GET", "/v1/carriers", nil).body, `"circuit":{"state":"open","since":"2`)

	require.Equal(t, map[string]string{"(body)": "invalid_credentials"}, b.do("PUT", "/v1/carriers/starken/credentials", map[string]any{"tokn": "x"}).fields())
	require.Equal(t, 422, b.do("PUT", "/v1/carriers/manual/credentials", map[string]any{}).status)
	require.Equal(t, 403, b.do("PUT", "/v1/carriers/starken/credentials", map[string]any{}, as(b.keys[tenant.Support])...).status)
	require.Equal(t, 200, b.do("DELETE", "/v1/carriers/starken/credentials", nil).status)
	require.Equal(t, 404, b.do("DELETE", "/v1/carriers/starken/credentials", nil).status)
	require.Equal(t, 1, value[int](b, `SELECT count(*)::int FROM events WHERE subject = 'carrier:starken' AND kind = 'credentials_withdrawn'`))
}
