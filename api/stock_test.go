package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

func TestProduct_IsCreatedReplacedAndRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := `{"name":"Polera roja S","prices":[{"currency":"CLP","amount":12990},{"currency":"USD","amount":1500}],"weight_grams":250,"dimensions_mm":{"length":300,"width":200,"height":20},"options":{"talla":"S","color":"rojo"},"product":"POL","category":"ropa/poleras","barcodes":["7801234567894"],"images":[],"tax":"iva","active":true,"max_per_order":20}`
	a := b.do("PUT", "/v1/products/NUEVA-1", body)
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, "/v1/products/NUEVA-1", a.header.Get("Location"))
	again := b.do("PUT", "/v1/products/NUEVA-1", `{"name":"Polera","prices":[{"currency":"CLP","amount":9990}]}`)
	require.Equal(t, 200, again.status, again.body)
	got := b.do("GET", "/v1/products/NUEVA-1", nil, as(b.keys[tenant.Warehouse])...)
	require.Equal(t, 200, got.status)
	require.Equal(t, []any{map[string]any{"currency": "CLP", "amount": 9990.}}, got.json()["prices"], "a price that is not named is gone")
	require.Equal(t, "NUEVA-1", got.json()["product"])
	require.Equal(t, true, got.json()["active"])
	require.Nil(t, got.json()["max_per_order"])
	require.Equal(t, "ropa/poleras", got.json()["category"], "it stays where nothing is said of it")

	require.Equal(t, 404, b.do("GET", "/v1/products/NADA", nil).status)
	require.Equal(t, 403, b.do("PUT", "/v1/products/NUEVA-1", body, as(b.keys[tenant.Warehouse])...).status)
	bad := b.do("PUT", "/v1/products/NUEVA-1", `{"prices":[{"currency":"CLP","amount":-1},{"currency":"clp","amount":1}],"tax":"vat","weight_grams":-1,"category":"Ropa"}`)
	require.Equal(t, map[string]string{"name": "required", "prices[0].amount": "out_of_range", "prices[1].currency": "repeated", "tax": "invalid", "weight_grams": "out_of_range", "category": "invalid"}, bad.fields())
}

func TestWarehouseAndDiscount_AreCreatedReplacedAndRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 201, b.do("PUT", "/v1/warehouses/VAP-1", map[string]any{"name": "Valparaíso", "region": "Valparaíso", "comuna": "vina del mar"}, as(b.keys[tenant.Warehouse])...).status)
	w := b.do("PUT", "/v1/warehouses/VAP-1", map[string]any{"name": "Valparaíso", "region": "V", "active": false})
	require.Equal(t, 200, w.status, w.body)
	require.Equal(t, "VS", w.json()["region"])
	require.Equal(t, 200, b.do("GET", "/v1/warehouses/VAP-1", nil).status)
	require.Equal(t, 404, b.do("GET", "/v1/warehouses/NO", nil).status)
	require.Equal(t, map[string]string{"name": "required", "region": "unknown_region"}, b.do("PUT", "/v1/warehouses/X", `{}`).fields())

	d := b.do("PUT", "/v1/discount-codes/verano", map[string]any{"kind": "percent", "value": 1050, "starts_at": "2026-01-01T00:00:00Z"})
	require.Equal(t, 201, d.status, d.body)
	require.Equal(t, "VERANO", d.json()["code"])
	require.Equal(t, 200, b.do("GET", "/v1/discount-codes/Verano", nil, as(b.keys[tenant.Storefront])...).status)
	bad := b.do("PUT", "/v1/discount-codes/X", map[string]any{"kind": "amount", "value": 0, "ends_at": "yesterday"})
	require.Equal(t, map[string]string{"value": "out_of_range", "currency": "required", "ends_at": "invalid"}, bad.fields())
}

func TestStock_CountNamesWhoLosesUnitsAndTellsTheirRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	id := c["id"].(string)
	before := b.do("GET", "/v1/stock/POL-ROJO-S", nil)
	require.Equal(t, map[string]any{"sku": "POL-ROJO-S", "available": 18., "warehouses": []any{map[string]any{"warehouse": "SCL-1", "on_hand": 20., "reserved": 2., "available": 18.}}}, before.json())

	a := b.do("PUT", "/v1/stock/POL-ROJO-S", map[string]any{"warehouse": "SCL-1", "on_hand": 1, "counted_at": time.Now().UTC().Format(time.RFC3339Nano)}, as(b.keys[tenant.Warehouse])...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, []any{map[string]any{"reservation_id": c["reservation"].(map[string]any)["id"], "checkout_id": id, "units": 1.}}, a.json()["shorted"])
	require.Equal(t, 0., a.json()["available"])
	require.Eventually(t, func() bool {
		s := b.temporal.signalled()
		return len(s) == 1 && strings.HasPrefix(s[0], "short checkout:shop:"+id)
	}, 5*time.Second, 10*time.Millisecond)

	b.sql(`UPDATE holds SET confirmed_at = now(), order_id = checkout_id`)
	lost := b.do("PUT", "/v1/stock/POL-ROJO-S", map[string]any{"warehouse": "SCL-1", "on_hand": 0})
	require.Equal(t, id, lost.json()["shorted"].([]any)[0].(map[string]any)["order_id"])
	require.Eventually(t, func() bool { return b.temporal.count("execute Shortage shortage:shop:"+id) == 1 }, 5*time.Second, 10*time.Millisecond)
}

func TestStock_SetAsideIsKeptForItsChannel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.do("PUT", "/v1/stock/TAZA", map[string]any{"warehouse": "SCL-1", "on_hand": 20, "set_aside": map[string]int{"counter": 15}})
	require.Equal(t, 200, a.status, a.body)
	want := func(channel string, n int) int {
		return b.do("POST", "/v1/checkouts", basket(func(m map[string]any) {
			m["items"], m["channel"] = []any{map[string]any{"sku": "TAZA", "quantity": n}}, channel
		})).status
	}
	require.Equal(t, 409, want("web", 6))
	require.Equal(t, 201, want("counter", 6))
}

func TestStock_BadRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 404, b.do("GET", "/v1/stock/NADA", nil).status)
	require.Equal(t, 404, b.do("PUT", "/v1/stock/NADA", map[string]any{"warehouse": "SCL-1", "on_hand": 1}).status)
	require.Equal(t, "unknown_warehouse", b.do("PUT", "/v1/stock/TAZA", map[string]any{"warehouse": "NO", "on_hand": 1}).fields()["warehouse"])
	require.Equal(t, map[string]string{"warehouse": "required", "on_hand": "required", "counted_at": "invalid"}, b.do("PUT", "/v1/stock/TAZA", map[string]any{"counted_at": "x"}).fields())
	require.Equal(t, "out_of_range", b.do("PUT", "/v1/stock/TAZA", map[string]any{"warehouse": "SCL-1", "on_hand": -1}).fields()["on_hand"])
	require.Equal(t, 409, b.do("POST", "/v1/stock/adjustments", map[string]any{"sku": "TAZA", "warehouse": "SCL-1", "delta": -21, "reason": "loss"}).status)
	require.Equal(t, "wrong_direction", b.do("POST", "/v1/stock/adjustments", map[string]any{"sku": "TAZA", "warehouse": "SCL-1", "delta": 1, "reason": "damage"}).fields()["delta"])
	require.Equal(t, "units_promised", b.do("POST", "/v1/stock/transfers", map[string]any{"sku": "TAZA", "from": "SCL-1", "to": "CCP-1", "quantity": 21}).code())
	require.Equal(t, 403, b.do("POST", "/v1/stock/transfers", `{}`, as(b.keys[tenant.Storefront])...).status)
}

func TestStock_MovementsArePagedNewestFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	adjust := map[string]any{"sku": "TAZA", "warehouse": "SCL-1", "delta": 5, "reason": "receipt", "reference": "PO-1", "note": "a box"}
	first := b.do("POST", "/v1/stock/adjustments", adjust, "Idempotency-Key", "po-1")
	require.Equal(t, 201, first.status, first.body)
	require.Equal(t, 25., first.json()["available"])
	// A process that died before it answered: the change does not come twice.
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second'`)
	again := b.do("POST", "/v1/stock/adjustments", adjust, "Idempotency-Key", "po-1")
	require.Equal(t, 201, again.status, again.body)
	require.Equal(t, 25., again.json()["available"])
	moved := b.do("POST", "/v1/stock/transfers", map[string]any{"sku": "TAZA", "from": "SCL-1", "to": "CCP-1", "quantity": 3})
	require.Equal(t, 201, moved.status, moved.body)

	var seen []string
	cursor := ""
	for {
		page := b.do("GET", "/v1/stock/TAZA/movements?limit=2&cursor="+cursor, nil)
		require.Equal(t, 200, page.status, page.body)
		for _, m := range page.json()["data"].([]any) {
			seen = append(seen, fmt.Sprint(m.(map[string]any)["reason"], m.(map[string]any)["delta"]))
		}
		next, more := page.json()["next_cursor"].(string)
		if !more {
			break
		}
		cursor = next
	}
	require.Equal(t, []string{"transfer_in3", "transfer_out-3", "receipt5", "count20"}, seen)
	require.Equal(t, 422, b.do("GET", "/v1/stock/TAZA/movements?limit=0", nil).status)
	require.Equal(t, 422, b.do("GET", "/v1/stock/TAZA/movements?cursor=xx", nil).status)
}
