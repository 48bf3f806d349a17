package api_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

func init() {
	// A sheet is a PDF: nothing to decode.
	openapi3filter.RegisterBodyDecoder("application/pdf", openapi3filter.FileBodyDecoder)
}

// shelves puts the shop's POL-ROJO-S into bins: so many units into each.
func (b *bundle) shelves(units map[string]int) {
	b.t.Helper()
	b.sql(`INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', 'PACK', 'packing'), ($1, 'SCL-1', 'EMPTY', 'pick')`, shop)
	// In one order: what came first leaves first.
	for _, bin := range slices.Sorted(maps.Keys(units)) {
		n := units[bin]
		b.sql(`INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', $2, 'pick')`, shop, bin)
		require.NoError(b.t, b.db.InTenant(b.t.Context(), shop, func(tx pgx.Tx) error {
			_, err := stock.Move(b.t.Context(), tx, shop, stock.BinMovement{SKU: "POL-ROJO-S", Warehouse: "SCL-1", Quantity: n, From: stock.Unplaced(), To: stock.In(bin, stock.Available), Reason: "put_away", By: stock.By{Person: "test"}})
			return err
		}))
	}
}

// ana is an operator with the warehouse's key.
func (b *bundle) ana(more ...string) []string {
	return append(append(as(b.keys[tenant.Warehouse]), "X-Operator", "ana"), more...)
}

// listed makes a wave of what is pending and returns its only list.
func (b *bundle) listed() (id, path string) {
	b.t.Helper()
	a := b.do("POST", "/v1/waves", map[string]any{"warehouse": "SCL-1", "by": "batch", "rounds": 1}, b.ana()...)
	require.Equal(b.t, 201, a.status, a.body)
	lists := a.json()["lists"].([]any)
	require.Len(b.t, lists, 1)
	id = lists[0].(map[string]any)["id"].(string)
	return id, "/v1/pick-lists/" + id
}

func lines(a answer) []any { return a.json()["lines"].([]any) }

func TestWave_IsMadeOnceUnderItsKeyAndReadAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shelves(map[string]int{"A-01-A": 10})
	b.bought()
	b.bought()
	wave := map[string]any{"warehouse": "SCL-1", "max_orders": 5, "by": "batch", "trolley": map[string]any{"orders": 1}, "seed": 7, "budget_ms": 50}
	a := b.do("POST", "/v1/waves", wave, b.ana("Idempotency-Key", "wave-1")...)
	require.Equal(t, 201, a.status, a.body)
	made := a.json()
	require.Equal(t, "/v1/waves/"+made["id"].(string), a.header.Get("Location"))
	require.Len(t, made["lists"], 2)
	require.Equal(t, []any{}, made["too_large"])
	// A process that died before it answered: no second wave.
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second' WHERE key = 'wave-1'`)
	again := b.do("POST", "/v1/waves", wave, b.ana("Idempotency-Key", "wave-1")...)
	require.Equal(t, 201, again.status, again.body)
	require.Equal(t, made, again.json())
	require.Equal(t, made, b.do("GET", a.header.Get("Location"), nil, as(b.keys[tenant.Support])...).json())

	require.Equal(t, "nothing_to_pick", b.do("POST", "/v1/waves", wave, b.ana()...).code())
	require.Equal(t, map[string]string{"warehouse": "required", "by": "invalid", "budget_ms": "out_of_range", "seed": "out_of_range", "max_orders": "invalid", "shipment_ids[0]": "invalid"},
		b.do("POST", "/v1/waves", `{"shipment_ids":["x"],"max_orders":1,"budget_ms":0,"seed":-1}`, b.ana()...).fields())
	require.Equal(t, "invalid", b.do("POST", "/v1/waves", map[string]any{"warehouse": "SCL-1", "by": "colour"}, b.ana()...).fields()["by"])
	require.Equal(t, "unknown_warehouse", b.do("POST", "/v1/waves", map[string]any{"warehouse": "NO", "by": "zone"}, b.ana()...).fields()["warehouse"])
	require.Equal(t, 403, b.do("POST", "/v1/waves", wave, as(b.keys[tenant.Support])...).status)
	require.Equal(t, 404, b.do("GET", "/v1/waves/"+strings.Repeat("0", 26), nil, b.ana()...).status)
	require.Equal(t, 404, b.do("GET", a.header.Get("Location"), nil, as(b.otherKey)...).status)
}

func TestPickList_IsMadeByHandListedAndPrinted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shelves(map[string]int{"A-01-A": 10})
	o := b.bought()
	shipment := o["shipments"].([]any)[0].(map[string]any)["id"].(string)
	body := map[string]any{"warehouse": "SCL-1", "shipment_ids": []string{shipment}}
	a := b.do("POST", "/v1/pick-lists", body, b.ana("Idempotency-Key", "l")...)
	require.Equal(t, 201, a.status, a.body)
	path := a.header.Get("Location")
	require.Equal(t, a.body, b.do("POST", "/v1/pick-lists", body, b.ana("Idempotency-Key", "l")...).body)
	require.Equal(t, a.json(), b.do("GET", path, nil, as(b.keys[tenant.Support])...).json())
	line := lines(a)[0].(map[string]any)
	require.Equal(t, "A-01-A", line["allocations"].([]any)[0].(map[string]any)["bin"])
	require.Equal(t, 2., line["open"])
	require.Nil(t, a.json()["length_mm"], "there is no plan")
	require.Equal(t, "nothing_to_pick", b.do("POST", "/v1/pick-lists", body, b.ana()...).code())
	require.Equal(t, map[string]string{"warehouse": "required", "shipment_ids": "required"}, b.do("POST", "/v1/pick-lists", `{}`, b.ana()...).fields())

	for query, n := range map[string]int{"": 1, "?warehouse=SCL-1&status=open": 1, "?status=picked": 0, "?assigned_to=ana": 0, "?zone=left": 0, "?wave_id=" + a.json()["wave_id"].(string): 1} {
		require.Len(t, b.do("GET", "/v1/pick-lists"+query, nil, b.ana()...).json()["data"], n, query)
	}
	require.Equal(t, map[string]string{"status": "invalid", "limit": "out_of_range"}, b.do("GET", "/v1/pick-lists?status=gone&limit=0", nil, b.ana()...).fields())

	pdf := b.do("GET", path+"/sheet.pdf?lang=en", nil, b.ana()...)
	require.Equal(t, "application/pdf", pdf.header.Get("Content-Type"))
	require.True(t, strings.HasPrefix(pdf.body, "%PDF-"))
	zpl := b.do("GET", path+"/labels.zpl?dpi=300", nil, b.ana()...)
	require.Equal(t, 200, zpl.status, zpl.body)
	require.Equal(t, 1, strings.Count(zpl.body, "^XA"))
	require.Contains(t, zpl.body, o["number"])
	require.Equal(t, map[string]string{"lang": "invalid"}, b.do("GET", path+"/sheet.pdf?lang=fr", nil, b.ana()...).fields())
	require.Equal(t, map[string]string{"dpi": "out_of_range"}, b.do("GET", path+"/labels.zpl?dpi=72", nil, b.ana()...).fields())
	for _, what := range []string{"", "/sheet.pdf", "/labels.zpl"} {
		require.Equal(t, 404, b.do("GET", path+what, nil, as(b.otherKey)...).status)
		require.Equal(t, 403, b.do("GET", path+what, nil, as(b.keys[tenant.Storefront])...).status)
	}
}

func TestPicks_AreConfirmedByScansAndTheListIsCompleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shelves(map[string]int{"A-01-A": 10})
	o := b.bought()
	id, path := b.listed()
	require.Equal(t, 200, b.do("POST", path+"/assign", map[string]any{"operator": "beto"}, b.ana()...).status)
	claimed := b.do("POST", path+"/start", nil, b.ana()...)
	require.Equal(t, "list_claimed", claimed.code())
	require.Equal(t, "beto", claimed.json()["current"].(map[string]any)["assigned_to"])
	require.Equal(t, 200, b.do("POST", path+"/assign", `{"operator":""}`, b.ana()...).status)
	a := b.do("POST", path+"/start", nil, b.ana()...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "in_progress", a.json()["status"])

	picks := func(change func(p map[string]any)) map[string]any {
		p := map[string]any{"line": 1, "bin": "A-01-A", "product": "POL-ROJO-S", "quantity": 2}
		if change != nil {
			change(p)
		}
		return map[string]any{"picks": []any{p}, "to": "PACK"}
	}
	for code, change := range map[string]func(p map[string]any){
		"scan_required":  func(p map[string]any) { delete(p, "product") },
		"wrong_bin":      func(p map[string]any) { p["bin"] = "EMPTY" },
		"wrong_product":  func(p map[string]any) { p["product"] = "TAZA" },
		"unknown_item":   func(p map[string]any) { p["product"] = "what" },
		"too_many_units": func(p map[string]any) { p["quantity"] = 3 },
		"not_open":       func(p map[string]any) { p["line"] = 9 },
		"not_free":       func(p map[string]any) { p["bin"], p["swap"] = "EMPTY", true },
		"out_of_range":   func(p map[string]any) { p["quantity"] = 0 },
	} {
		require.Equal(t, code, b.do("POST", path+"/picks", picks(change), b.ana()...).code())
	}
	require.Equal(t, "lines_open", b.do("POST", path+"/complete", nil, b.ana()...).code())
	body := picks(nil)
	body["version"] = a.json()["version"]
	done := b.do("POST", path+"/picks", body, b.ana("Idempotency-Key", "p1")...)
	require.Equal(t, 200, done.status, done.body)
	require.Equal(t, "picked", done.json()["status"])
	require.Equal(t, 2., done.json()["picked"])
	// A process that died before it answered: the units are not picked twice.
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, lease = 'dead', lease_until = now() - interval '1 second' WHERE key = 'p1'`)
	require.Equal(t, done.json(), b.do("POST", path+"/picks", body, b.ana("Idempotency-Key", "p1")...).json())
	require.Equal(t, "version_changed", b.do("POST", path+"/picks", body, b.ana()...).code())
	require.Equal(t, "ana", value[string](b, `SELECT person FROM bin_movements WHERE document = $1`, "pick:"+id))

	allocation := lines(done)[0].(map[string]any)["allocations"].([]any)[0].(map[string]any)["id"]
	back := b.do("POST", path+"/unpick", map[string]any{"units": []any{map[string]any{"allocation_id": allocation, "quantity": 1, "bin": "EMPTY"}}}, b.ana()...)
	require.Equal(t, 200, back.status, back.body)
	require.Equal(t, "in_progress", back.json()["status"])
	require.Equal(t, "not_picked", b.do("POST", path+"/unpick", map[string]any{"units": []any{map[string]any{"allocation_id": allocation, "quantity": 5, "bin": "EMPTY"}}}, b.ana()...).code())
	again := b.do("POST", path+"/refresh", nil, b.ana()...)
	require.Equal(t, 200, again.status, again.body)
	bin := ""
	for _, u := range lines(again)[0].(map[string]any)["allocations"].([]any) {
		if u := u.(map[string]any); u["state"] == "open" {
			bin = u["bin"].(string)
		}
	}
	require.Equal(t, 200, b.do("POST", path+"/picks", picks(func(p map[string]any) { p["bin"], p["quantity"] = bin, 1 }), b.ana()...).status)
	end := b.do("POST", path+"/complete", nil, b.ana()...)
	require.Equal(t, 200, end.status, end.body)
	require.Equal(t, "completed", end.json()["status"])
	require.Equal(t, []any{}, end.json()["short"])
	require.Equal(t, 200, b.do("POST", path+"/complete", nil, b.ana()...).status)
	require.Equal(t, "list_over", b.do("POST", path+"/cancel", `{"reason":"x"}`, b.ana()...).code())
	read := b.do("GET", "/v1/orders/"+o["id"].(string), nil)
	require.Equal(t, 200, read.status)
	require.Contains(t, read.body, `"kind":"picked"`)
	require.Equal(t, 403, b.do("POST", path+"/picks", picks(nil), as(b.keys[tenant.Support])...).status)
	require.Equal(t, 404, b.do("POST", "/v1/pick-lists/"+strings.Repeat("0", 26)+"/picks", picks(nil), b.ana()...).status)
	require.Equal(t, "invalid", b.do("POST", path+"/start", nil, append(as(b.keys[tenant.Warehouse]), "X-Operator", "a\tb")...).fields()["X-Operator"])
}

func TestShortPick_IsAnsweredByAnotherBinOrReported(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shelves(map[string]int{"A-01-A": 19, "B-01-A": 1})
	o := b.bought()
	_, path := b.listed()
	require.Equal(t, "nothing_missing", b.do("POST", path+"/short", map[string]any{"line": 1, "bin": "A-01-A", "found": 2, "reason": "empty"}, b.ana()...).code())
	require.Equal(t, map[string]string{"line": "required", "reason": "required"}, b.do("POST", path+"/short", `{"found":1}`, b.ana()...).fields())
	a := b.do("POST", path+"/short", map[string]any{"line": 1, "bin": "A-01-A", "found": 0, "reason": "empty"}, b.ana()...)
	require.Equal(t, 200, a.status, a.body)
	require.NotEmpty(t, a.json()["elsewhere"], a.body)
	require.Equal(t, "B-01-A", a.json()["elsewhere"].([]any)[0].(map[string]any)["bin"])
	require.Equal(t, []any{map[string]any{"line": 1., "order_id": o["id"], "sku": "POL-ROJO-S", "units": 1.}}, a.json()["short"])
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM count_requests`))
	require.Equal(t, 200, b.do("POST", path+"/picks", map[string]any{"to": "PACK", "picks": []any{map[string]any{"line": 1, "bin": "B-01-A", "product": "POL-ROJO-S", "quantity": 1}}}, b.ana()...).status)
	end := b.do("POST", path+"/complete", nil, b.ana()...)
	require.Equal(t, 1., end.json()["short"].([]any)[0].(map[string]any)["units"])
	require.Equal(t, "short_pick", b.do("GET", "/v1/orders/"+o["id"].(string), nil).json()["attention"])
}

func TestPickList_IsCancelledAndLateOnesAreOnTheSupportList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shelves(map[string]int{"A-01-A": 10})
	o := b.bought()
	id, path := b.listed()
	b.sql(`UPDATE pick_lists SET due_at = now() - interval '1 hour'`)
	found := false
	for _, i := range b.do("GET", "/v1/support/stuck", nil, as(b.keys[tenant.Support])...).json()["data"].([]any) {
		item := i.(map[string]any)
		found = found || item["of"] == "pick_list" && item["subject"] == id
	}
	require.True(t, found)
	require.Equal(t, 200, b.do("POST", path+"/picks", map[string]any{"to": "PACK", "picks": []any{map[string]any{"line": 1, "bin": "A-01-A", "product": "POL-ROJO-S", "quantity": 1}}}, b.ana()...).status)
	require.Equal(t, "put_back_where", b.do("POST", path+"/cancel", `{"reason":"rain"}`, b.ana()...).code())
	require.Equal(t, map[string]string{"reason": "required"}, b.do("POST", path+"/cancel", `{}`, b.ana()...).fields())
	require.Equal(t, "not_on_list", b.do("POST", path+"/cancel", fmt.Sprintf(`{"reason":"rain","shipment_ids":[%q]}`, strings.Repeat("0", 26)), b.ana()...).code())
	a := b.do("POST", path+"/cancel", `{"reason":"rain","to":"EMPTY"}`, b.ana()...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "cancelled", a.json()["status"])
	require.Nil(t, a.json()["due_at"])
	require.Equal(t, "pending", b.do("GET", "/v1/orders/"+o["id"].(string), nil).json()["shipments"].([]any)[0].(map[string]any)["status"])
	next, _ := b.listed()
	require.NotEqual(t, id, next)
	require.WithinDuration(t, time.Now().Add(72*time.Hour), value[time.Time](b, `SELECT due_at FROM pick_lists WHERE id = $1`, next), time.Hour, "a list is due with its shipment")
}
