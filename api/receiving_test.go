package api_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

// withBins gives the shop a warehouse with a bin of each kind, and SKUs with lots
// and serials.
func withBins(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	for code, kind := range map[string]string{"IN": "receiving", "A-01-A": "pick", "R-01-A": "reserve", "Q-01": "quarantine"} {
		b.sql(`INSERT INTO bins (tenant, warehouse, code, kind, max_units) VALUES ('shop', 'SCL-1', $1, $2, 100)`, code, kind)
	}
	b.sql(`UPDATE products SET tracking = 'lot', barcodes = '{4006381333931}' WHERE sku = 'TAZA'`)
	b.sql(`UPDATE products SET tracking = 'serial' WHERE sku = 'VIEJO'`)
	return b
}

func (b *bundle) made(path string, body any, headers ...string) map[string]any {
	b.t.Helper()
	a := b.do("POST", path, body, headers...)
	require.Equal(b.t, 201, a.status, a.body)
	return a.json()
}

func purchase(number string, lines ...any) map[string]any {
	return map[string]any{"number": number, "supplier": "Textiles Ñuble", "warehouse": "SCL-1", "expected_at": "2026-12-04T12:00:00Z", "lines": lines}
}

func line(sku string, quantity int) map[string]any {
	return map[string]any{"sku": sku, "quantity": quantity}
}

func scans(list ...map[string]any) map[string]any { return map[string]any{"scans": list} }

func (b *bundle) receive(order string) string {
	b.t.Helper()
	body := map[string]any{"warehouse": "SCL-1", "bin": "IN", "document": "GD-88121"}
	if order != "" {
		body["purchase_order_id"] = order
	}
	return b.made("/v1/receipts", body)["id"].(string)
}

func TestPurchaseOrders_AreWrittenListedAndEnded(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	warehouse, support := as(b.keys[tenant.Warehouse]), as(b.keys[tenant.Support])
	first := b.do("POST", "/v1/purchase-orders", purchase("PO-1", line("POL-ROJO-S", 10)), append(slices.Clone(warehouse), "X-Operator", "ana", "Idempotency-Key", "po-1")...)
	require.Equal(t, 201, first.status, first.body)
	p := first.json()
	require.Equal(t, "/v1/purchase-orders/"+p["id"].(string), first.header.Get("Location"))
	require.Equal(t, "ana", p["created_by"])
	require.Equal(t, "2026-12-05T12:00:00Z", p["due_at"], "a day after it was expected")
	// A process that died before it answered.
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second'`)
	again := b.do("POST", "/v1/purchase-orders", purchase("PO-1", line("POL-ROJO-S", 10)), append(slices.Clone(warehouse), "X-Operator", "ana", "Idempotency-Key", "po-1")...)
	require.Equal(t, 201, again.status, again.body)
	require.Equal(t, p["id"], again.json()["id"])
	taken := b.do("POST", "/v1/purchase-orders", purchase("PO-1", line("TAZA", 1)))
	require.Equal(t, 409, taken.status)
	require.Equal(t, "number_taken", taken.code())
	require.Equal(t, p["id"], taken.json()["purchase_order_id"])

	second := b.made("/v1/purchase-orders", purchase("PO-2", map[string]any{"sku": "TAZA", "quantity": 2, "lot": "L1", "expires_on": "2027-01-31"}, line("TAZA", 3)))
	require.Equal(t, p, b.do("GET", "/v1/purchase-orders/"+p["id"].(string), nil, support...).json())
	page := b.do("GET", "/v1/purchase-orders?limit=1", nil, support...).json()
	require.Equal(t, second["id"], page["data"].([]any)[0].(map[string]any)["id"])
	page = b.do("GET", "/v1/purchase-orders?limit=1&cursor="+page["next_cursor"].(string), nil).json()
	require.Equal(t, p["id"], page["data"].([]any)[0].(map[string]any)["id"])
	require.Nil(t, page["next_cursor"])

	path := "/v1/purchase-orders/" + p["id"].(string)
	for range 2 {
		ended := b.do("POST", path+"/cancel", map[string]any{"reason": "too late"}, warehouse...)
		require.Equal(t, 200, ended.status, ended.body)
		require.Equal(t, "cancelled", ended.json()["status"])
	}
	require.Equal(t, "order_cancelled", b.do("POST", path+"/close", nil).code())
	closed := b.do("POST", "/v1/purchase-orders/"+second["id"].(string)+"/close", nil)
	require.Equal(t, "received", closed.json()["status"])
	require.Equal(t, "order_received", b.do("POST", "/v1/purchase-orders/"+second["id"].(string)+"/cancel", nil).code())
	for query, n := range map[string]int{"status=cancelled": 1, "status=open": 0, "supplier=Nadie": 0, "supplier=Textiles+%C3%91uble": 2, "warehouse=CCP-1": 0, "warehouse=SCL-1": 2} {
		require.Len(t, b.do("GET", "/v1/purchase-orders?"+query, nil).json()["data"], n, query)
	}
}

func TestPurchaseOrders_ThatEndTellTheReceiptsThatAreOpen(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	order := b.made("/v1/purchase-orders", purchase("PO-1", line("TAZA", 5)))["id"].(string)
	open, over := b.receive(order), b.receive(order)
	require.Equal(t, 200, b.do("POST", "/v1/receipts/"+over+"/cancel", nil).status)
	told := func(receipt string) (n int) {
		for _, s := range b.temporal.signalled() {
			if strings.Contains(s, "receipt:shop:"+receipt) {
				n++
			}
		}
		return n
	}
	before := []int{told(open), told(over)}
	require.Equal(t, 200, b.do("POST", "/v1/purchase-orders/"+order+"/cancel", map[string]any{"reason": "too late"}).status)
	require.Equal(t, []int{before[0] + 1, before[1]}, []int{told(open), told(over)})
}

func TestPurchaseOrders_BadRequests(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	a := b.do("POST", "/v1/purchase-orders", map[string]any{"number": " ", "warehouse": "NO", "expected_at": "soon", "lines": []any{
		map[string]any{"sku": "TAZA", "quantity": 0, "expires_on": "2027-01-31"}, line("TAZA", 1), line("a b", 1), map[string]any{"sku": "TAZA", "quantity": 1, "lot": "ñ", "expires_on": "x"}}})
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, map[string]string{"number": "invalid", "supplier": "required", "expected_at": "invalid", "lines[0].quantity": "out_of_range", "lines[0].lot": "required", "lines[1]": "repeated",
		"lines[2].sku": "unknown_sku", "lines[3].lot": "invalid", "lines[3].expires_on": "invalid"}, a.fields())
	a = b.do("POST", "/v1/purchase-orders", purchase("PO-1", line("NADA", 1), map[string]any{"sku": "POL-ROJO-S", "quantity": 1, "lot": "L1"}))
	require.Equal(t, map[string]string{"lines[0].sku": "unknown_sku", "lines[1].lot": "unsupported"}, a.fields())
	a = b.do("POST", "/v1/purchase-orders", map[string]any{"number": "PO-1", "supplier": "x", "warehouse": "NO-1", "lines": []any{}})
	require.Equal(t, map[string]string{"lines": "required"}, a.fields())
	require.Equal(t, "unknown_warehouse", b.do("POST", "/v1/purchase-orders", map[string]any{"number": "PO-1", "supplier": "x", "warehouse": "NO-1", "lines": []any{line("TAZA", 1)}}).code())
	require.Equal(t, map[string]string{"X-Operator": "invalid"}, b.do("POST", "/v1/purchase-orders", purchase("PO-1", line("TAZA", 1)), "X-Operator", "ana  rojas").fields())
	require.Equal(t, 403, b.do("POST", "/v1/purchase-orders", `{}`, as(b.keys[tenant.Support])...).status)
	require.Equal(t, 404, b.do("GET", "/v1/purchase-orders/x", nil).status)
	require.Equal(t, 404, b.do("POST", "/v1/purchase-orders/01JCQZ5Y3N8W2K4T6V7X9ABCDE/cancel", nil).status)
	require.Equal(t, map[string]string{"status": "invalid", "cursor": "invalid", "limit": "out_of_range"}, b.do("GET", "/v1/purchase-orders?status=lost&cursor=MTp4&limit=0", nil).fields())
	require.Equal(t, 422, b.do("GET", "/v1/purchase-orders?warehouse=a+b", nil).status)
}

func TestReceipts_GoFromTheDoorToTheShelf(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	warehouse := append(as(b.keys[tenant.Warehouse]), "X-Operator", "ana")
	order := b.made("/v1/purchase-orders", purchase("PO-1", line("POL-ROJO-S", 10), line("TAZA", 5)))["id"].(string)
	id := b.receive(order)
	path := "/v1/receipts/" + id
	require.Equal(t, 1, b.temporal.count("execute Receipt receipt:shop:"+id))
	body := scans(map[string]any{"code": "POL-ROJO-S", "quantity": 8}, map[string]any{"code": "(01)04006381333931(17)271231(10)AB-12", "quantity": 5}, map[string]any{"code": "NADIE"})
	a := b.do("POST", path+"/scans", body, append(slices.Clone(warehouse), "Idempotency-Key", "scan-1")...)
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, path, a.header.Get("Location"))
	entries := a.json()["entries"].([]any)
	require.Equal(t, map[string]any{"scan": 0., "kind": "scan", "scanned": "POL-ROJO-S", "sku": "POL-ROJO-S", "quantity": 8., "condition": "good", "bin": "IN", "status": "available", "line": 1., "discrepancies": []any{}}, entries[0])
	require.Equal(t, "AB-12", entries[1].(map[string]any)["lot"])
	require.Equal(t, "unknown", entries[2].(map[string]any)["kind"])
	replayed := b.do("POST", path+"/scans", body, append(slices.Clone(warehouse), "Idempotency-Key", "scan-1")...)
	require.Equal(t, "true", replayed.header.Get("Idempotent-Replayed"))
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second'`)
	lost := b.do("POST", path+"/scans", body, append(slices.Clone(warehouse), "Idempotency-Key", "scan-1")...)
	require.Equal(t, a.json(), lost.json(), "the same request books once")
	require.Equal(t, 28, value[int](b, `SELECT on_hand FROM stock_levels WHERE sku = 'POL-ROJO-S' AND warehouse = 'SCL-1'`))
	require.Equal(t, "ana", value[string](b, `SELECT DISTINCT person FROM bin_movements WHERE document = $1`, "receipt:"+id))

	fixed := b.do("POST", path+"/corrections", map[string]any{"sku": "POL-ROJO-S", "quantity": 1, "reason": "counted twice"}, append(slices.Clone(warehouse), "Idempotency-Key", "fix-1")...)
	require.Equal(t, 201, fixed.status, fixed.body)
	require.Equal(t, "correction", fixed.json()["entries"].([]any)[0].(map[string]any)["kind"])
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second' WHERE key = 'fix-1'`)
	require.Equal(t, fixed.json(), b.do("POST", path+"/corrections", map[string]any{"sku": "POL-ROJO-S", "quantity": 1, "reason": "counted twice"}, append(slices.Clone(warehouse), "Idempotency-Key", "fix-1")...).json())
	require.Equal(t, "not_scanned", b.do("POST", path+"/corrections", map[string]any{"sku": "POL-ROJO-S", "quantity": 8, "reason": "x"}).code())
	require.Equal(t, map[string]string{"sku": "required", "quantity": "invalid", "reason": "required", "condition": "invalid"}, b.do("POST", path+"/corrections", map[string]any{"serial": "S", "quantity": 2, "condition": "wet"}).fields())

	proposed := b.do("GET", path+"/put-away", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, proposed.status, proposed.body)
	require.Empty(t, proposed.json()["unplaced"])
	for _, raw := range proposed.json()["data"].([]any) {
		p := raw.(map[string]any)
		put := map[string]any{"warehouse": "SCL-1", "sku": p["sku"], "lot": p["lot"], "quantity": p["quantity"], "from": p["from"], "to": p["to"], "version": p["version"], "receipt_id": id}
		if p["lot"] == nil {
			delete(put, "lot")
		}
		key := "put-" + p["sku"].(string)
		done := b.do("POST", "/v1/put-aways", put, append(slices.Clone(warehouse), "Idempotency-Key", key)...)
		require.Equal(t, 200, done.status, done.body)
		require.Equal(t, map[string]any{"bin": "A-01-A", "quantity": p["quantity"], "version": 1.}, done.json()["to"])
		require.Equal(t, "version_changed", b.do("POST", "/v1/put-aways", put).code(), "without the key it is another one")
		b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second' WHERE key = $1`, key)
		require.Equal(t, done.json(), b.do("POST", "/v1/put-aways", put, append(slices.Clone(warehouse), "Idempotency-Key", key)...).json())
	}
	require.Empty(t, b.do("GET", path+"/put-away", nil).json()["data"])

	need := b.do("POST", path+"/close", nil, warehouse...)
	require.Equal(t, 409, need.status)
	require.Equal(t, []any{"unknown_item"}, need.json()["needs"])
	require.Equal(t, 422, b.do("POST", path+"/close", map[string]any{"accept": []string{"all"}}).status)
	require.Equal(t, "version_changed", b.do("POST", path+"/close", map[string]any{"accept": []string{"unknown_item"}, "version": 1}).code())
	closed := b.do("POST", path+"/close", map[string]any{"accept": []string{"unknown_item"}}, warehouse...)
	require.Equal(t, 200, closed.status, closed.body)
	require.Equal(t, "closed", closed.json()["status"])
	told := func() (n int) {
		for _, said := range b.temporal.signalled() {
			if strings.HasPrefix(said, "changed receipt:shop:"+id) {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return told() == 5 }, 5*time.Second, 10*time.Millisecond, "two scans, two corrections and the end")
	require.Equal(t, closed.json(), b.do("GET", path, nil, as(b.keys[tenant.Support])...).json())
	require.Equal(t, "receipt_closed", b.do("POST", path+"/scans", scans(map[string]any{"code": "TAZA"})).code())
	p := b.do("GET", "/v1/purchase-orders/"+order, nil).json()
	require.Equal(t, "partially_received", p["status"])
	require.Equal(t, 3., p["lines"].([]any)[0].(map[string]any)["expected"])

	labels := b.do("GET", path+"/labels.zpl?dpi=300&copies=2&language=en", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, labels.status, labels.body)
	require.Equal(t, 2, strings.Count(labels.body, "^XA"))
	require.Contains(t, labels.body, "AB-12")
}

func TestReceipts_AreListedAndCancelled(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	order := b.made("/v1/purchase-orders", purchase("PO-1", line("POL-ROJO-S", 10)))["id"].(string)
	first, second := b.receive(""), b.receive(order)
	all := b.do("GET", "/v1/receipts?limit=1", nil, as(b.keys[tenant.Support])...).json()
	require.Equal(t, "PO-1", all["data"].([]any)[0].(map[string]any)["purchase_order_number"])
	rest := b.do("GET", "/v1/receipts?limit=1&cursor="+all["next_cursor"].(string), nil).json()
	require.Equal(t, first, rest["data"].([]any)[0].(map[string]any)["id"])
	for range 2 {
		a := b.do("POST", "/v1/receipts/"+first+"/cancel", nil, as(b.keys[tenant.Warehouse])...)
		require.Equal(t, 200, a.status, a.body)
		require.Equal(t, "cancelled", a.json()["status"])
	}
	for query, n := range map[string]int{"status=cancelled": 1, "status=open": 1, "warehouse=SCL-1": 2, "warehouse=CCP-1": 0, "purchase_order_id=" + order: 1} {
		require.Len(t, b.do("GET", "/v1/receipts?"+query, nil).json()["data"], n, query)
	}
	require.Equal(t, "receipt_cancelled", b.do("POST", "/v1/receipts/"+first+"/scans", scans(map[string]any{"code": "TAZA"})).code())
	b.made("/v1/receipts/"+second+"/scans", scans(map[string]any{"code": "POL-ROJO-S"}))
	require.Equal(t, "receipt_has_scans", b.do("POST", "/v1/receipts/"+second+"/cancel", nil).code())
	require.Equal(t, map[string]string{"status": "invalid", "purchase_order_id": "invalid", "warehouse": "unknown_warehouse"}, b.do("GET", "/v1/receipts?status=x&purchase_order_id=x&warehouse=a+b", nil).fields())
	require.Equal(t, 404, b.do("GET", "/v1/receipts/"+second, nil, as(b.otherKey)...).status, "another tenant's are its own")
	for _, path := range []string{"", "/put-away", "/labels.zpl"} {
		require.Equal(t, 404, b.do("GET", "/v1/receipts/x"+path, nil).status)
		require.Equal(t, 404, b.do("GET", "/v1/receipts/01JCQZ5Y3N8W2K4T6V7X9ABCDE"+path, nil).status)
	}
	for _, path := range []string{"/scans", "/corrections", "/close", "/cancel"} {
		require.Equal(t, 404, b.do("POST", "/v1/receipts/x"+path, `{}`).status, path)
		require.Equal(t, 403, b.do("POST", "/v1/receipts/"+second+path, `{}`, as(b.keys[tenant.Support])...).status, path)
	}
}

func TestReceipts_RefuseWhatContradictsTheRecords(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	order := b.made("/v1/purchase-orders", purchase("PO-1", line("POL-ROJO-S", 10)))["id"].(string)
	b.do("POST", "/v1/purchase-orders/"+order+"/cancel", nil)
	a := b.do("POST", "/v1/receipts", map[string]any{"warehouse": "SCL-1", "bin": "IN", "purchase_order_id": order})
	require.Equal(t, 409, a.status)
	require.Equal(t, "order_cancelled", a.code())
	require.Equal(t, "unknown_bin", b.do("POST", "/v1/receipts", map[string]any{"warehouse": "SCL-1", "bin": "NO"}).code())
	require.Equal(t, "wrong_kind", b.do("POST", "/v1/receipts", map[string]any{"warehouse": "SCL-1", "bin": "A-01-A"}).code())
	path := "/v1/receipts/" + b.receive("") + "/scans"
	b.made(path, scans(map[string]any{"code": "VIEJO", "serials": []string{"S1"}}, map[string]any{"code": "TAZA", "lot": "L1", "expires_on": "2027-01-31"}))
	twice := b.do("POST", path, scans(map[string]any{"code": "VIEJO", "serials": []string{"S1"}}))
	require.Equal(t, 409, twice.status)
	require.Equal(t, "serial_in_stock", twice.code())
	require.Equal(t, map[string]any{"warehouse": "SCL-1", "bin": "IN", "status": "available"}, twice.json()["current"])
	differs := b.do("POST", path, scans(map[string]any{"code": "TAZA", "lot": "L1", "expires_on": "2027-02-28"}))
	require.Equal(t, "lot_expiry_differs", differs.code())
	b.sql(`UPDATE products SET barcodes = '{4006381333931}' WHERE sku = 'LIBRO'`)
	require.Equal(t, map[string]string{"scans[0].code": "required", "scans[1].quantity": "out_of_range", "scans[2].lot": "required", "scans[3].serials": "required", "scans[4].code": "ambiguous_item", "scans[5].condition": "invalid"},
		b.do("POST", path, scans(map[string]any{"code": ""}, map[string]any{"code": "TAZA", "quantity": 0}, map[string]any{"code": "TAZA"}, map[string]any{"code": "VIEJO"}, map[string]any{"code": "4006381333931"}, map[string]any{"code": "TAZA", "condition": "wet"})).fields())
	require.Equal(t, "required", b.do("POST", path, `{"scans":[]}`).code())
	require.Equal(t, 400, b.do("POST", path, `{"scans":[{"kode":"x"}]}`).status)
}

func TestScans_TakeABarcodeThatLooksLikeACard(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	// An EAN of 13 digits that begins like a Visa and passes Luhn as well.
	b.sql(`UPDATE products SET barcodes = '{4000000000006}' WHERE sku = 'LIBRO'`)
	path := "/v1/receipts/" + b.receive("") + "/scans"
	a := b.do("POST", path, scans(map[string]any{"code": "4000000000006"}))
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, "LIBRO", a.json()["entries"].([]any)[0].(map[string]any)["sku"])
}

func TestPutAways_NameWhatTheBinForbids(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	b.made("/v1/receipts/"+b.receive("")+"/scans", scans(map[string]any{"code": "POL-ROJO-S", "quantity": 120}))
	put := func(change map[string]any) answer {
		body := map[string]any{"warehouse": "SCL-1", "sku": "POL-ROJO-S", "quantity": 101, "from": "IN", "to": "A-01-A"}
		maps.Copy(body, change)
		return b.do("POST", "/v1/put-aways", body, as(b.keys[tenant.Warehouse])...)
	}
	full := put(nil)
	require.Equal(t, 409, full.status, full.body)
	require.Equal(t, "bin_full", full.code())
	require.Equal(t, 100., full.json()["room"])
	require.Equal(t, "wrong_kind", put(map[string]any{"to": "Q-01"}).code())
	require.Equal(t, "unknown_bin", put(map[string]any{"to": "ZZ"}).code())
	require.Equal(t, "not_in_bin", put(map[string]any{"from": "R-01-A", "quantity": 1}).code())
	require.Equal(t, "required", put(map[string]any{"force": true}).code())
	forced := put(map[string]any{"force": true, "reason": "stacked higher"})
	require.Equal(t, 200, forced.status, forced.body)
	require.Equal(t, 19., forced.json()["from"].(map[string]any)["quantity"])
	b.sql(`UPDATE bins SET lot_rule = 'one_sku', max_units = 0 WHERE code = 'A-01-A'`)
	b.made("/v1/receipts/"+b.receive("")+"/scans", scans(map[string]any{"code": "LIBRO"}))
	require.Equal(t, "lot_rule", put(map[string]any{"sku": "LIBRO", "quantity": 1}).code())
	require.Equal(t, 403, b.do("POST", "/v1/put-aways", `{}`, as(b.keys[tenant.Support])...).status)
	require.Equal(t, map[string]string{"warehouse": "unknown_warehouse", "sku": "required", "quantity": "out_of_range", "from": "required", "to": "required"}, b.do("POST", "/v1/put-aways", `{}`).fields())
}

func TestABCAndBinLabel_AreRead(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	b.sql(`INSERT INTO bin_movements (tenant, warehouse, sku, quantity, to_bin, to_status, reason, person) VALUES ('shop', 'SCL-1', 'LIBRO', 5, 'A-01-A', 'available', 'receipt', 'x')`)
	b.sql(`INSERT INTO bin_movements (tenant, warehouse, sku, quantity, from_bin, from_status, to_bin, to_status, reason, person) VALUES ('shop', 'SCL-1', 'LIBRO', 5, 'A-01-A', 'available', 'IN', 'available', 'pick', 'x')`)
	abc := b.do("GET", "/v1/warehouses/SCL-1/abc", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, abc.status, abc.body)
	require.Equal(t, []any{map[string]any{"sku": "LIBRO", "picks": 1., "class": "A"}}, abc.json()["data"])
	require.Equal(t, 404, b.do("GET", "/v1/warehouses/NO/abc", nil).status)
	require.Equal(t, 403, b.do("GET", "/v1/warehouses/SCL-1/abc", nil, as(b.keys[tenant.Storefront])...).status)
	l := b.do("GET", "/v1/warehouses/SCL-1/bins/A-01-A/label.zpl?arrow=up", nil, as(b.keys[tenant.Warehouse])...)
	require.Equal(t, 200, l.status, l.body)
	require.Contains(t, l.body, "A-01-A")
	require.Equal(t, 404, b.do("GET", "/v1/warehouses/SCL-1/bins/NO/label.zpl", nil).status)
	require.Equal(t, map[string]string{"dpi": "invalid", "copies": "out_of_range", "language": "invalid", "arrow": "invalid"}, b.do("GET", "/v1/warehouses/SCL-1/bins/A-01-A/label.zpl?dpi=1&copies=0&language=fr&arrow=left", nil).fields())
	require.Equal(t, 422, b.do("GET", "/v1/receipts/"+b.receive("")+"/labels.zpl?copies=x", nil).status)
}

func TestScans_OneKeyFromManyRequestsBooksOnce(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	path := "/v1/receipts/" + b.receive("") + "/scans"
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			a, err := b.try("POST", path, scans(map[string]any{"code": "LIBRO", "quantity": 3}), "Idempotency-Key", "one")
			if err != nil || a.status != 201 {
				t.Error(err, a.status, a.body)
			}
		})
	}
	for i := range 4 {
		wg.Go(func() {
			a, err := b.try("POST", path, scans(map[string]any{"code": "LIBRO"}), "Idempotency-Key", fmt.Sprint("own-", i))
			if err != nil || a.status != 201 {
				t.Error(err, a.status, a.body)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 7, value[int](b, `SELECT quantity FROM bin_stock WHERE bin = 'IN' AND sku = 'LIBRO'`))
}

func TestStuck_NamesPurchaseOrdersAndReceiptsThatAreLate(t *testing.T) {
	t.Parallel()
	b := withBins(t)
	order := b.made("/v1/purchase-orders", purchase("PO-1", line("POL-ROJO-S", 10)))["id"].(string)
	receipt := b.receive(order)
	require.Empty(t, b.stuck())
	b.sql(`UPDATE purchase_orders SET due_at = now() - interval '1 hour'`)
	b.sql(`UPDATE receipts SET due_at = now() - interval '2 hours'`)
	items := b.stuck()
	require.Len(t, items, 2)
	require.Equal(t, []any{"overdue", "purchase order", order, nil}, []any{items[0]["kind"], items[0]["of"], items[0]["subject"], items[0]["workflow_id"]})
	require.Equal(t, "purchase order PO-1 of Textiles Ñuble is open past its time: it waits for the goods", items[0]["why"])
	require.Equal(t, []any{"overdue", "receipt", receipt, "receipt:shop:" + receipt}, []any{items[1]["kind"], items[1]["of"], items[1]["subject"], items[1]["workflow_id"]})
	require.Equal(t, "the receipt in SCL-1 is open past its time: it waits for the first scan", items[1]["why"])
	b.do("POST", "/v1/receipts/"+receipt+"/cancel", nil)
	b.do("POST", "/v1/purchase-orders/"+order+"/cancel", nil)
	require.Empty(t, b.stuck())
}
