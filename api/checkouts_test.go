package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

func TestCheckout_AnswersWithStockHeldAndAWayToPay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.do("POST", "/v1/checkouts", basket(nil))
	require.Equal(t, 201, a.status, a.body)
	c := a.json()
	id := c["id"].(string)
	require.Equal(t, "/v1/checkouts/"+id, a.header.Get("Location"))
	require.Equal(t, "awaiting_payment", c["status"])
	require.Equal(t, "SHOP-000001", c["number"])
	require.Nil(t, c["order_id"])
	require.Equal(t, map[string]any{"items": 25980., "discount": 0., "shipping": 3990., "tax": 4785., "total": 29970., "currency": "CLP"}, c["totals"])
	require.Equal(t, "held", c["reservation"].(map[string]any)["status"])
	require.Equal(t, []any{map[string]any{"sku": "POL-ROJO-S", "quantity": 2., "warehouse": "SCL-1"}}, c["reservation"].(map[string]any)["lines"])
	p := c["payment"].(map[string]any)
	require.Equal(t, "pending", p["status"])
	require.Equal(t, "POST", p["redirect"].(map[string]any)["method"])
	require.Len(t, c["payments"], 1)
	require.Equal(t, "checkout:shop:"+id, c["workflow"].(map[string]any)["id"])
	require.Contains(t, c["workflow"].(map[string]any)["url"], "https://temporal.example/namespaces/default/workflows/checkout")
	require.Equal(t, "ana@example.cl", c["customer"].(map[string]any)["email"])
	require.Equal(t, "11111111-1", c["customer"].(map[string]any)["rut"])

	started := b.temporal.started[0]
	require.Equal(t, "SHOP-000001: 2 units, $29.970", started.StaticSummary)
	require.Equal(t, shop, started.Priority.FairnessKey)

	got := b.do("GET", "/v1/checkouts/"+id, nil)
	require.Equal(t, 200, got.status)
	plain := b.do("GET", "/v1/checkouts/"+id, nil, as(b.keys[tenant.Storefront])...)
	require.Equal(t, 200, plain.status)
	require.NotContains(t, plain.json(), "workflow", "only support and admin see runs")
	require.NotContains(t, b.logs.String(), "example.cl", "no personal data in logs")
}

func TestCheckout_RefusesBadFieldsByName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	item := func(sku string, n any) func(map[string]any) {
		return func(m map[string]any) { m["items"] = []any{map[string]any{"sku": sku, "quantity": n}} }
	}
	in := func(object, field string, v any) func(map[string]any) {
		return func(m map[string]any) { m[object].(map[string]any)[field] = v }
	}
	top := func(field string, v any) func(map[string]any) { return func(m map[string]any) { m[field] = v } }
	for name, tc := range map[string]struct {
		change      func(map[string]any)
		field, code string
	}{
		"unknown SKU":           {item("NADA", 1), "items[0].sku", "unknown_sku"},
		"inactive SKU":          {item("VIEJO", 1), "items[0].sku", "inactive_sku"},
		"SKU of no form":        {item("a b", 1), "items[0].sku", "invalid"},
		"zero":                  {item("TAZA", 0), "items[0].quantity", "out_of_range"},
		"negative":              {item("TAZA", -1), "items[0].quantity", "out_of_range"},
		"absurd":                {item("TAZA", 10001), "items[0].quantity", "out_of_range"},
		"nothing":               {top("items", []any{}), "items", "required"},
		"more than an order":    {item("POL-ROJO-S", 21), "items[0].quantity", "max_per_order"},
		"repeated over the max": {top("items", []any{map[string]any{"sku": "POL-ROJO-S", "quantity": 11}, map[string]any{"sku": "POL-ROJO-S", "quantity": 10}}), "items[0].quantity", "max_per_order"},
		"no price":              {top("currency", "USD"), "items[0].sku", "no_price"},
		"no currency":           {top("currency", ""), "currency", "required"},
		"made-up currency":      {top("currency", "XXY"), "currency", "unknown_currency"},
		"RUT":                   {in("customer", "rut", "11.111.111-2"), "customer.rut", "invalid_rut"},
		"phone":                 {in("customer", "phone", "12"), "customer.phone", "invalid_phone"},
		"e-mail":                {in("customer", "email", "ana"), "customer.email", "invalid_email"},
		"no e-mail":             {in("customer", "email", ""), "customer.email", "required"},
		"comuna":                {in("shipping", "comuna", "Springfield"), "shipping.comuna", "unknown_comuna"},
		"region":                {in("shipping", "region", "ZZ"), "shipping.region", "unknown_region"},
		"comuna elsewhere":      {in("shipping", "region", "BI"), "shipping.comuna", "comuna_outside_region"},
		"country":               {in("shipping", "country", "PE"), "shipping.country", "unsupported_country"},
		"service":               {in("shipping", "service", "drone"), "shipping.service", "no_freight"},
		"street":                {in("shipping", "street", " "), "shipping.street", "required"},
		"gateway":               {in("payment", "gateway", "paypal"), "payment.gateway", "unknown_gateway"},
		"gateway not set up":    {in("payment", "gateway", "khipu"), "payment.gateway", "gateway_not_configured"},
		"plain return_url":      {in("payment", "return_url", "http://shop.example/x"), "payment.return_url", "invalid_url"},
		"foreign return_url":    {in("payment", "return_url", "https://evil.example/x"), "payment.return_url", "origin_not_allowed"},
		"token":                 {in("payment", "token", "tok"), "payment.token", "unsupported"},
		"channel":               {top("channel", "Web Shop"), "channel", "invalid"},
		"client_ip":             {top("client_ip", "1.2.3"), "client_ip", "invalid"},
		"hold of nothing":       {top("hold_seconds", 0), "hold_seconds", "out_of_range"},
		"hold beyond the limit": {top("hold_seconds", 3601), "hold_seconds", "out_of_range"},
		"discount":              {top("discount_code", "nada"), "discount_code", "unknown_discount_code"},
		"replaces nothing":      {func(m map[string]any) { m["replaces"], m["customer_ref"] = "01JCQZ5Y3N8W2K4T6V7X9ABCDE", "c1" }, "replaces", "unknown_checkout"},
		"replaces for nobody":   {top("replaces", "01JCQZ5Y3N8W2K4T6V7X9ABCDE"), "customer_ref", "required"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.do("POST", "/v1/checkouts", basket(tc.change), as(b.keys[tenant.Storefront])...)
			require.Equal(t, 422, a.status, a.body)
			require.Equal(t, tc.code, a.fields()[tc.field], a.body)
			require.Equal(t, "application/problem+json; charset=utf-8", a.header.Get("Content-Type"))
		})
	}
	all := b.do("POST", "/v1/checkouts", map[string]any{})
	require.Equal(t, 422, all.status)
	require.Equal(t, "invalid_request", all.code())
	for _, field := range []string{"items", "currency", "customer.email", "shipping", "payment"} {
		require.Equal(t, "required", all.fields()[field])
	}
	require.Zero(t, value[int](b, `SELECT count(*) FROM checkouts`), "a refusal leaves nothing")
	require.Zero(t, b.temporal.count(""), "and starts nothing")
}

func TestCheckout_MalformedBodiesAreNamedByTheirFields(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, tc := range map[string]struct {
		body        string
		field, code string
	}{
		"not JSON":           {`{"items":`, "", "not_json"},
		"empty":              {` `, "", "not_json"},
		"two values":         {`{} {}`, "", "not_json"},
		"unknown field":      {`{"item":[]}`, "item", "unknown_field"},
		"deep unknown field": {`{"items":[{"sku":"A","quantity":1},{"qty":1}]}`, "items[1].qty", "unknown_field"},
		"other case":         {`{"Items":[]}`, "Items", "unknown_field"},
		"text for a number":  {`{"items":[{"sku":"A","quantity":"2"}]}`, "items[0].quantity", "wrong_type"},
		"a fraction":         {`{"items":[{"sku":"A","quantity":1.5}]}`, "items[0].quantity", "wrong_type"},
		"beyond 64 bits":     {`{"hold_seconds":99999999999999999999}`, "hold_seconds", "wrong_type"},
		"an array":           {`[]`, "(body)", "wrong_type"},
		"a number for text":  {`{"currency":1}`, "currency", "wrong_type"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.do("POST", "/v1/checkouts", tc.body)
			require.Equal(t, 400, a.status, a.body)
			require.Equal(t, tc.code, a.code())
			if tc.field != "" {
				require.Equal(t, tc.code, a.fields()[tc.field], a.body)
			}
		})
	}
}

func TestCheckout_BodiesTooLargeOrOfAnotherType(t *testing.T) {
	t.Parallel()
	b := setup(t)
	large := `{"metadata":{"x":"` + strings.Repeat("a", 1<<20) + `"}}`
	require.Equal(t, 413, b.do("POST", "/v1/checkouts", large).status)
	require.Equal(t, 415, b.do("POST", "/v1/checkouts", `{}`, "Content-Type", "text/plain").status)
	require.Equal(t, 422, b.do("POST", "/v1/checkouts", basket(func(m map[string]any) { m["metadata"] = map[string]any{"x": strings.Repeat("a", 20<<10)} })).status)
}

func TestKeys_WrongRevokedForeignAndWithoutScope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	path := "/v1/checkouts/" + c["id"].(string)

	none := b.do("GET", path, nil, "Authorization", "")
	require.Equal(t, 401, none.status)
	require.Equal(t, `Bearer realm="justlogistics"`, none.header.Get("WWW-Authenticate"))
	require.Equal(t, 401, b.do("GET", path, nil, as("jl_wrong")...).status)

	b.sql(`UPDATE api_keys SET revoked_at = now() WHERE tenant = 'shop' AND name = 'storefront'`)
	revoked := b.do("GET", path, nil, as(b.keys[tenant.Storefront])...)
	require.Equal(t, 401, revoked.status)
	require.Equal(t, "bad_key", revoked.code())

	scope := b.do("POST", "/v1/checkouts", basket(nil), as(b.keys[tenant.Warehouse])...)
	require.Equal(t, 403, scope.status)
	require.Equal(t, "missing_scope", scope.code())
	require.Equal(t, []any{"storefront", "admin"}, scope.json()["scopes"])

	require.Equal(t, 404, b.do("GET", path, nil, as(b.otherKey)...).status, "another tenant's id does not exist")
	require.Equal(t, 404, b.do("POST", path+"/cancel", nil, as(b.otherKey)...).status)
	require.Equal(t, 403, b.do("GET", path, nil, "X-Tenant", otherShop).status)
	require.Equal(t, 404, b.do("GET", "/v1/checkouts/nonsense", nil).status)

	b.sql(`UPDATE api_keys SET also_for = '{other}' WHERE tenant = 'shop' AND name = 'admin'`)
	require.Equal(t, 400, b.do("GET", path, nil).status, "an operator says for whom")
	require.Equal(t, 200, b.do("GET", path, nil, "X-Tenant", shop).status)
	require.Equal(t, 404, b.do("GET", path, nil, "X-Tenant", otherShop).status)
}

func TestRouter_AnswersProblemsForUnknownAddressesAndMethods(t *testing.T) {
	t.Parallel()
	b := setup(t)
	missing := b.do("GET", "/v1/nothing", nil, "X-Request-Id", "mine-1")
	require.Equal(t, 404, missing.status)
	require.Equal(t, "mine-1", missing.json()["request_id"])
	require.Equal(t, "mine-1", missing.header.Get("X-Request-Id"))
	insane := b.do("GET", "/v1/nothing", nil, "X-Request-Id", "a b")
	require.Len(t, insane.header.Get("X-Request-Id"), 26)
	method := b.do("DELETE", "/v1/checkouts", nil)
	require.Equal(t, 405, method.status)
	slash := b.do("GET", "/v1/refunds/", nil)
	require.Equal(t, 404, slash.status, "not a redirect without a name")
	require.Equal(t, "not_found", slash.code())
	require.NotEmpty(t, slash.header.Get("X-Request-Id"))
	require.Equal(t, "method_not_allowed", method.code())
}

func TestCheckout_NotEnoughStockNamesTheLinesAndHoldsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) {
		m["items"] = []any{map[string]any{"sku": "TAZA", "quantity": 15}, map[string]any{"sku": "LIBRO", "quantity": 1}, map[string]any{"sku": "TAZA", "quantity": 6}}
	}))
	require.Equal(t, 409, a.status, a.body)
	require.Equal(t, "insufficient_stock", a.code())
	require.Equal(t, []any{map[string]any{"sku": "TAZA", "requested": 21., "available": 20.}}, a.json()["lines"])
	require.Zero(t, value[int](b, `SELECT sum(reserved) FROM stock_levels`))
}

func TestCheckout_TaxLeavesOutExemptGoodsAndDiscountsAreCountedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 201, b.do("PUT", "/v1/discount-codes/cyber", map[string]any{"kind": "percent", "value": 1000, "max_uses": 1}).status)
	body := basket(func(m map[string]any) {
		m["items"] = []any{map[string]any{"sku": "LIBRO", "quantity": 1}, map[string]any{"sku": "TAZA", "quantity": 1}}
		m["discount_code"] = " cyber "
	})
	a := b.do("POST", "/v1/checkouts", body)
	require.Equal(t, 201, a.status, a.body)
	// 10 % of 16980 is 1698: 999 of it off the book, 699 off the cup.
	require.Equal(t, map[string]any{"items": 16980., "discount": 1698., "shipping": 3990., "tax": 1642., "total": 19272., "currency": "CLP"}, a.json()["totals"])
	require.Equal(t, "CYBER", a.json()["discount_code"])
	second := b.do("POST", "/v1/checkouts", body)
	require.Equal(t, 422, second.status)
	require.Equal(t, "discount_exhausted", second.fields()["discount_code"])
}

func TestCheckout_DiscountUsesAreCountedUnderConcurrency(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 201, b.do("PUT", "/v1/discount-codes/THREE", map[string]any{"kind": "amount", "value": 1000, "currency": "CLP", "max_uses": 3}).status)
	statuses := b.together(10, func(i int) (answer, error) {
		return b.try("POST", "/v1/checkouts", basket(func(m map[string]any) {
			m["discount_code"] = "THREE"
			m["items"] = []any{map[string]any{"sku": "TAZA", "quantity": 1}}
		}))
	})
	require.Equal(t, map[int]int{201: 3, 422: 7}, statuses)
	require.Equal(t, 3, value[int](b, `SELECT used FROM discount_codes WHERE code = 'THREE'`))
}

// together sends n requests at once and counts their statuses.
func (b *bundle) together(n int, send func(i int) (answer, error)) map[int]int {
	b.t.Helper()
	var wg sync.WaitGroup
	answers, errs := make([]answer, n), make([]error, n)
	for i := range n {
		wg.Go(func() { answers[i], errs[i] = send(i) })
	}
	wg.Wait()
	statuses := map[int]int{}
	for i := range n {
		require.NoError(b.t, errs[i])
		statuses[answers[i].status]++
	}
	return statuses
}

func TestCheckout_TheLastUnitsAreSoldOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	statuses := b.together(30, func(i int) (answer, error) {
		return b.try("POST", "/v1/checkouts", basket(func(m map[string]any) {
			items := []any{map[string]any{"sku": "TAZA", "quantity": 1}, map[string]any{"sku": "LIBRO", "quantity": 1}}
			if i%2 == 0 {
				items[0], items[1] = items[1], items[0]
			}
			m["items"] = items
		}))
	})
	require.Equal(t, map[int]int{201: 20, 409: 10}, statuses)
}

func TestCheckout_GatewayDownOffersOthersAndTheSameKeyTriesAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.temporal.begin = func(ctx context.Context, in workflows.CheckoutInput) (any, error) {
		if _, err := checkout.Start(ctx, b.db, in.Tenant, in.CheckoutID, payment.Transbank); err != nil {
			return nil, err
		}
		v, err := checkout.GiveUp(ctx, b.db, in.Tenant, in.CheckoutID, checkout.FailGatewayUnavailable, "no gateway could be reached")
		return workflows.BeginAnswer{Status: string(v.Status), FailureCode: v.FailureCode}, err
	}
	key := []string{"Idempotency-Key", "again-1"}
	a := b.do("POST", "/v1/checkouts", basket(nil), key...)
	require.Equal(t, 503, a.status, a.body)
	require.Equal(t, "gateway_unavailable", a.code())
	require.Equal(t, []any{"stripe", "flow"}, a.json()["alternatives"])
	require.Equal(t, "30", a.header.Get("Retry-After"))
	require.Zero(t, value[int](b, `SELECT sum(reserved) FROM stock_levels`))

	b.temporal.set(func(f *fakeTemporal) { f.begin = nil })
	a = b.do("POST", "/v1/checkouts", basket(nil), key...)
	require.Equal(t, 201, a.status, a.body)
	require.Empty(t, a.header.Get("Idempotent-Replayed"))
	require.Equal(t, 2, value[int](b, `SELECT count(*) FROM checkouts`), "a 5xx is not kept: a new checkout")
}

func TestCheckout_TooManyHoldsIsNotKeptAndNotForAdmins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one := basket(func(m map[string]any) { m["items"] = []any{map[string]any{"sku": "TAZA", "quantity": 1}} })
	store := as(b.keys[tenant.Storefront])
	for range 5 {
		require.Equal(t, 201, b.do("POST", "/v1/checkouts", one, store...).status)
	}
	a := b.do("POST", "/v1/checkouts", one, append(store, "Idempotency-Key", "k")...)
	require.Equal(t, 429, a.status, a.body)
	require.Equal(t, "too_many_holds", a.code())
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, 429, b.do("POST", "/v1/checkouts", one, append(store, "Idempotency-Key", "k")...).status)
	require.Equal(t, 201, b.do("POST", "/v1/checkouts", one).status, "an admin's checkouts have no limit")
}

func TestCheckout_WithoutTemporalIsAcceptedAndReserving(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.temporal.down = true
	a := b.do("POST", "/v1/checkouts", basket(nil))
	require.Equal(t, 202, a.status, a.body)
	require.Equal(t, "reserving", a.json()["status"])
	require.Equal(t, "/v1/checkouts/"+a.json()["id"].(string), a.header.Get("Location"))
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM checkouts WHERE due_at > now() AND caller_waits_until > now()`), "the sweeper will start it")
}

func TestIdempotency_TheFirstFinalAnswerIsGivenAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := []string{"Idempotency-Key", "order-1"}
	first := b.do("POST", "/v1/checkouts", basket(nil), key...)
	require.Equal(t, 201, first.status)
	again := b.do("POST", "/v1/checkouts", basket(nil), key...)
	require.Equal(t, 201, again.status)
	require.Equal(t, first.body, again.body)
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, first.header.Get("Location"), again.header.Get("Location"))
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM checkouts`))

	other := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) { m["channel"] = "app" }), key...)
	require.Equal(t, 422, other.status)
	require.Equal(t, "idempotency_key_reused", other.code())
	path := b.do("POST", "/v1/checkouts/"+first.json()["id"].(string)+"/cancel", basket(nil), key...)
	require.Equal(t, "idempotency_key_reused", path.code())

	bad := []string{"Idempotency-Key", "bad-1"}
	refused := b.do("POST", "/v1/checkouts", `{}`, bad...)
	require.Equal(t, 422, refused.status)
	replay := b.do("POST", "/v1/checkouts", ` {} `, bad...)
	require.Equal(t, refused.body, replay.body, "a final refusal is kept too")
	require.Equal(t, "true", replay.header.Get("Idempotent-Replayed"))
	require.Equal(t, 400, b.do("POST", "/v1/checkouts", basket(nil), "Idempotency-Key", strings.Repeat("k", 256)).status)
	require.Equal(t, 201, b.do("POST", "/v1/checkouts", basket(nil), "Idempotency-Key", strings.Repeat("k", 255)).status)
}

func TestIdempotency_TwoAtOnceMakeOneCheckout(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	ids := map[string]int{}
	statuses := b.together(8, func(int) (answer, error) {
		a, err := b.try("POST", "/v1/checkouts", basket(nil), "Idempotency-Key", "twins")
		if err == nil {
			mu.Lock()
			ids[a.header.Get("Location")]++
			mu.Unlock()
		}
		return a, err
	})
	require.Equal(t, map[int]int{201: 8}, statuses)
	require.Len(t, ids, 1)
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM checkouts`))
}

func TestIdempotency_AProcessKilledInTheMiddleIsContinued(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := []string{"Idempotency-Key", "killed"}
	first := b.do("POST", "/v1/checkouts", basket(nil), key...)
	require.Equal(t, 201, first.status)
	// As a process leaves it that dies before it answers.
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second'`)
	b.sql(`UPDATE checkouts SET status = 'expired'`)
	again := b.do("POST", "/v1/checkouts", basket(nil), key...)
	require.Equal(t, 201, again.status, again.body)
	require.Equal(t, first.json()["id"], again.json()["id"])
	require.Equal(t, "expired", again.json()["status"], "today's status")
	require.Empty(t, again.header.Get("Idempotent-Replayed"))
	require.Equal(t, 2, b.temporal.count("start-and-begin checkout:shop:"+first.json()["id"].(string)), "the same update is sent again")
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM checkouts`))
}

func TestIdempotency_ALeaseThatIsHeldAnswersInProgress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := []string{"Idempotency-Key", "busy"}
	require.Equal(t, 201, b.do("POST", "/v1/checkouts", basket(nil), key...).status)
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'alive', lease_until = now() + interval '1 minute'`)
	a := b.do("POST", "/v1/checkouts", basket(nil), key...)
	require.Equal(t, 409, a.status)
	require.Equal(t, "idempotency_key_in_progress", a.code())
	require.NotEmpty(t, a.header.Get("Retry-After"))
}

func TestTry_BeginsAnotherAttemptAndMapsRefusals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	id := c["id"].(string)
	path := "/v1/checkouts/" + id + "/payments"
	refused := ""
	b.temporal.update = map[string]func(context.Context, string, any) (any, error){workflows.UpdateTry: func(ctx context.Context, _ string, arg any) (any, error) {
		if refused != "" {
			return workflows.TryAnswer{Refused: refused}, nil
		}
		req := arg.(workflows.TryRequest)
		_, _, err := checkout.AddAttempt(ctx, b.db, shop, id, req.PaymentID, payment.Name(req.Gateway), 0)
		return workflows.TryAnswer{}, err
	}}
	a := b.do("POST", path, map[string]any{"gateway": "stripe", "return_url": "https://shop.example/again"})
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, "/v1/checkouts/"+id, a.header.Get("Location"))
	require.Len(t, a.json()["payments"], 2)
	require.Equal(t, "stripe", a.json()["payment"].(map[string]any)["gateway"])
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM payments WHERE attempt = 2 AND return_url = 'https://shop.example/again'`))

	for code, status := range map[string]int{"hold_ended": 409, "payment_in_progress": 409, "gateway_unavailable": 503, "payment_refused": 422, "not_awaiting_payment": 409} {
		refused = code
		a := b.do("POST", path, map[string]any{"gateway": "stripe"})
		require.Equal(t, status, a.status, a.body)
		require.Equal(t, code, a.code())
	}
	bad := b.do("POST", path, map[string]any{"gateway": "nope", "return_url": "https://evil.example"})
	require.Equal(t, 422, bad.status)
	require.Equal(t, map[string]string{"gateway": "unknown_gateway", "return_url": "origin_not_allowed"}, bad.fields())

	b.sql(`UPDATE checkouts SET status = 'expired'`)
	over := b.do("POST", path, map[string]any{"gateway": "stripe"})
	require.Equal(t, 409, over.status)
	require.Equal(t, "not_awaiting_payment", over.code())
	b.sql(`UPDATE checkouts SET status = 'paid', order_id = id`)
	paid := b.do("POST", path, map[string]any{"gateway": "stripe"})
	require.Equal(t, "already_paid", paid.code())
	require.Equal(t, id, paid.json()["order_id"])
}

func TestTry_AtAGatewayThatIsKnownToBeDownLeavesTheEarlierAttemptPayable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked := 0
	b.temporal.update = map[string]func(context.Context, string, any) (any, error){workflows.UpdateTry: func(ctx context.Context, id string, arg any) (any, error) {
		asked++
		req := arg.(workflows.TryRequest)
		_, _, checkoutID, _ := workflows.ParseID(id)
		_, _, err := checkout.AddAttempt(ctx, b.db, shop, checkoutID, req.PaymentID, payment.Name(req.Gateway), 0)
		return workflows.TryAnswer{}, err
	}}
	c := b.checkout()
	path := "/v1/checkouts/" + c["id"].(string) + "/payments"
	b.opened("stripe")
	key := []string{"Idempotency-Key", "with-stripe"}
	// What is known of circuits is read once a second.
	require.Eventually(t, func() bool { return b.registry.Open(t.Context(), shop, payment.Stripe) }, 10*time.Second, 50*time.Millisecond)
	a := b.do("POST", path, map[string]any{"gateway": "stripe"}, key...)
	require.Equal(t, 503, a.status, a.body)
	require.Equal(t, "gateway_unavailable", a.code())
	require.Equal(t, []any{"transbank", "flow"}, a.json()["alternatives"])
	require.Zero(t, asked, "the run, which closes the earlier attempt, was not asked")
	now := b.do("GET", "/v1/checkouts/"+c["id"].(string), nil).json()
	require.Equal(t, "awaiting_payment", now["status"])
	require.Len(t, now["payments"], 1)
	require.NotNil(t, now["payment"].(map[string]any)["redirect"])

	b.sql(`UPDATE gateway_circuits SET probe_after = now()`)
	require.Eventually(t, func() bool { return !b.registry.Open(t.Context(), shop, payment.Stripe) }, 10*time.Second, 50*time.Millisecond)
	a = b.do("POST", path, map[string]any{"gateway": "stripe"}, key...)
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, 1, asked, "the same key tries again once a call may try")
}

func TestCancel_FollowsWhatTheWorkflowDecides(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.checkout()["id"].(string)
	path := "/v1/checkouts/" + id + "/cancel"
	b.temporal.update = map[string]func(context.Context, string, any) (any, error){workflows.UpdateCancel: func(context.Context, string, any) (any, error) {
		return workflows.CancelAnswer{Status: "awaiting_payment"}, nil
	}}
	doubt := b.do("POST", path, map[string]any{"reason": "changed my mind"})
	require.Equal(t, 202, doubt.status, doubt.body)
	require.NotNil(t, doubt.json()["cancel_requested_at"])
	require.Equal(t, "changed my mind", value[string](b, `SELECT cancel_reason FROM checkouts`))

	b.temporal.set(func(f *fakeTemporal) {
		f.update[workflows.UpdateCancel] = func(ctx context.Context, _ string, _ any) (any, error) {
			v, err := checkout.EndUnpaid(ctx, b.db, shop, id, checkout.Cancelled)
			return workflows.CancelAnswer{Status: string(v.Status)}, err
		}
	})
	for range 2 {
		a := b.do("POST", path, nil)
		require.Equal(t, 200, a.status, a.body)
		require.Equal(t, "cancelled", a.json()["status"])
		require.NotContains(t, fmt.Sprint(a.json()["payment"]), "redirect", "nobody is sent to pay")
	}

	other := b.checkout()["id"].(string)
	b.sql(`UPDATE checkouts SET status = 'paid', order_id = id WHERE id = $1`, other)
	paid := b.do("POST", "/v1/checkouts/"+other+"/cancel", nil)
	require.Equal(t, 409, paid.status)
	require.Equal(t, "already_paid", paid.code())
	require.Equal(t, other, paid.json()["order_id"])

	third := b.checkout()["id"].(string)
	b.sql(`UPDATE checkouts SET status = 'expired' WHERE id = $1`, third)
	require.Equal(t, "not_cancellable", b.do("POST", "/v1/checkouts/"+third+"/cancel", nil).code())

	fourth := b.checkout()["id"].(string)
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	require.Equal(t, http.StatusAccepted, b.do("POST", "/v1/checkouts/"+fourth+"/cancel", nil).status, "Temporal away: it will be done")
}
