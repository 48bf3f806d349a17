package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

const smallPlan = `{"kind":"aisles","aisles":{"count":2,"first_name":"A","first_x_mm":2000,"pitch_mm":3600,"width_mm":1500},
	"cross_aisles":{"y_mm":[0,4000],"width_mm":2000},"racks":{"width_mm":1000,"depth_mm":1000,"levels":2,"level_height_mm":1500,"pick_levels":1,"capacity":{"max_units":10}},
	"zones":[{"name":"Ropa","aisles":["A"]}],"depot":{"cross":0,"x_mm":2000}}`

func csvType() []string { return []string{"Content-Type", "text/csv"} }

// planned is a setup whose SCL-1 has a plan and a cage for damaged goods.
func planned(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	a := b.do("PUT", "/v1/warehouses/SCL-1/plan", smallPlan)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, 201, b.do("PUT", "/v1/warehouses/SCL-1/bins/DAM-1", map[string]any{"kind": "damaged"}).status)
	return b
}

// moved moves units by hand, which must succeed.
func (b *bundle) moved(body map[string]any) map[string]any {
	b.t.Helper()
	body["warehouse"] = "SCL-1"
	a := b.do("POST", "/v1/stock/moves", body)
	require.Equal(b.t, 201, a.status, a.body)
	return a.json()
}

func at(bin string) map[string]any { return map[string]any{"bin": bin} }

func TestPlan_IsWrittenReadAndRefusedByName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 404, b.do("GET", "/v1/warehouses/SCL-1/plan", nil).status)
	a := b.do("PUT", "/v1/warehouses/SCL-1/plan", smallPlan, as(b.keys[tenant.Warehouse])...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, map[string]any{"warehouse": "SCL-1", "generated": 16., "new": 16., "kept": 0., "retired": []any{}}, a.json())
	got := b.do("GET", "/v1/warehouses/SCL-1/plan", nil, as(b.keys[tenant.Support])...)
	require.JSONEq(t, strings.Replace(smallPlan, `"cross":0,`, "", 1), got.body)

	require.Equal(t, "unknown_field", b.do("PUT", "/v1/warehouses/SCL-1/plan", strings.Replace(smallPlan, `"depot"`, `"x":1,"depot"`, 1)).fields()["x"])
	require.Equal(t, 400, b.do("PUT", "/v1/warehouses/SCL-1/plan", `{`).status)
	require.Equal(t, 422, b.do("PUT", "/v1/warehouses/SCL-1/plan", `{"kind":"graph","depot":{}}`).status)
	small := strings.Replace(smallPlan, `"count":2`, `"count":1`, 1)
	bad := b.do("PUT", "/v1/warehouses/SCL-1/plan", small)
	require.Equal(t, 409, bad.status)
	require.Equal(t, "bins_out_of_plan", bad.code())
	require.Equal(t, "unreachable", bad.fields()["bins.B-01-A.x_mm"])
	require.Equal(t, 422, b.do("PUT", "/v1/warehouses/SCL-1/plan?retire=maybe", small).status)
	a = b.do("PUT", "/v1/warehouses/SCL-1/plan?retire=true", small)
	require.Len(t, a.json()["retired"], 8)

	require.Equal(t, 404, b.do("PUT", "/v1/warehouses/NO/plan", smallPlan).status)
	require.Equal(t, 403, b.do("PUT", "/v1/warehouses/SCL-1/plan", smallPlan, as(b.keys[tenant.Support])...).status)
	require.Equal(t, 404, b.do("GET", "/v1/warehouses/SCL-1/plan", nil, as(b.otherKey)...).status)
}

func TestBins_AreImportedAllOrNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := "/v1/warehouses/SCL-1/bins"
	good := "code;zone;kind;x_mm;y_mm;max_units\nA-01-A;Ropa;;;;7\nPACK-1;;packing;2000;0;\n"
	require.Equal(t, 404, b.do("PUT", path, good, csvType()...).status, "there is no plan yet")
	require.Equal(t, 200, b.do("PUT", "/v1/warehouses/SCL-1/plan", smallPlan).status)
	a := b.do("PUT", path, good, append(csvType(), as(b.keys[tenant.Warehouse])...)...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, map[string]any{"bins": 2., "created": 1.}, a.json())

	bad := b.do("PUT", path, "code;x_mm;y_mm;max_units\nA-01-A;;;99\nFAR;99000;2000;\nX;x;;\n", csvType()...)
	require.Equal(t, 422, bad.status, bad.body)
	require.Equal(t, map[string]string{"line 3.x_mm": "unreachable", "line 4.x_mm": "not_a_number"}, bad.fields())
	require.Equal(t, 7., b.do("GET", path+"/A-01-A", nil).json()["max_units"], "nothing of the file was kept")
	require.Equal(t, "card_number_refused", b.do("PUT", path, "code;x_mm;y_mm\n4111111111111111;2000;0\n", csvType()...).code())
	require.Equal(t, 415, b.do("PUT", path, "{}").status)
	require.Equal(t, 413, b.do("PUT", path, "code\n"+strings.Repeat(" ", 33<<20), csvType()...).status)
	require.Equal(t, 403, b.do("PUT", path, good, append(csvType(), as(b.keys[tenant.Support])...)...).status)
	require.Equal(t, 404, b.do("PUT", path, good, append(csvType(), as(b.otherKey)...)...).status)
}

func TestBins_AreListedReadAndReplaced(t *testing.T) {
	t.Parallel()
	b := planned(t)
	b.moved(map[string]any{"sku": "TAZA", "quantity": 4, "from": at(""), "to": at("A-01-A"), "reason": "put_away"})
	path := "/v1/warehouses/SCL-1/bins"
	var codes []string
	cursor := ""
	for {
		page := b.do("GET", path+"?limit=7&q=a-&zone=Ropa&kind=pick&cursor="+cursor, nil, as(b.keys[tenant.Support])...)
		require.Equal(t, 200, page.status, page.body)
		for _, bin := range page.json()["data"].([]any) {
			codes = append(codes, bin.(map[string]any)["code"].(string))
		}
		next, more := page.json()["next_cursor"].(string)
		if !more {
			break
		}
		cursor = next
	}
	require.Equal(t, []string{"A-01-A", "A-02-A", "A-03-A", "A-04-A"}, codes)
	require.Len(t, b.do("GET", path+"?limit=10", nil).json()["data"], 10)

	bin := b.do("GET", path+"/A-01-A", nil).json()
	require.Equal(t, 400., bin["fill_permille"])
	contents := bin["contents"].([]any)[0].(map[string]any)
	require.Equal(t, []any{"TAZA", "", "available", 4., 0., 1.}, []any{contents["sku"], contents["lot"], contents["status"], contents["quantity"], contents["allocated"], contents["version"]})
	off := b.do("PUT", path+"/A-01-A", map[string]any{"active": false}, as(b.keys[tenant.Warehouse])...)
	require.Equal(t, 409, off.status)
	require.Equal(t, "bin_not_empty", off.code())

	alone := b.do("PUT", "/v1/warehouses/CCP-1/bins/E-1", map[string]any{"zone": "Sala", "lot_rule": "one_sku"})
	require.Equal(t, 201, alone.status, alone.body)
	require.Equal(t, "/v1/warehouses/CCP-1/bins/E-1", alone.header.Get("Location"))
	require.Nil(t, alone.json()["position"])
	require.Equal(t, 200, b.do("PUT", "/v1/warehouses/CCP-1/bins/E-1", map[string]any{"active": false}).status)
	require.Equal(t, map[string]string{"code": "invalid", "kind": "invalid"}, b.do("PUT", "/v1/warehouses/CCP-1/bins/E%201", map[string]any{"kind": "x"}).fields())
	require.Equal(t, 400, b.do("PUT", path+"/X", `{"color":"red"}`).status)

	require.Equal(t, map[string]string{"kind": "invalid", "limit": "out_of_range"}, b.do("GET", path+"?kind=x&limit=0", nil).fields())
	require.Equal(t, 404, b.do("GET", path+"/NO", nil).status)
	require.Equal(t, 404, b.do("GET", "/v1/warehouses/NO/bins", nil).status)
	for _, p := range []string{path, path + "/A-01-A"} {
		require.Equal(t, 404, b.do("GET", p, nil, as(b.otherKey)...).status)
		require.Equal(t, 403, b.do("GET", p, nil, as(b.keys[tenant.Storefront])...).status)
	}
	require.Equal(t, 403, b.do("PUT", path+"/X", `{}`, as(b.keys[tenant.Support])...).status)
	require.Equal(t, 404, b.do("PUT", path+"/X", `{}`, as(b.otherKey)...).status)
}

func TestMap_IsDrawnFromWhatLiesThere(t *testing.T) {
	t.Parallel()
	b := planned(t)
	b.moved(map[string]any{"sku": "TAZA", "quantity": 4, "from": at(""), "to": at("A-01-A"), "reason": "put_away"})
	a := b.do("GET", "/v1/warehouses/SCL-1/map.svg?mode=fill&lang=en", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "image/svg+xml", a.header.Get("Content-Type"))
	require.Contains(t, a.body, "TAZA: 4")
	require.Contains(t, a.body, "40 %")
	require.Contains(t, b.do("GET", "/v1/warehouses/SCL-1/map.svg?mode=picks", nil).body, "Retiros")
	require.Equal(t, map[string]string{"mode": "invalid", "lang": "invalid"}, b.do("GET", "/v1/warehouses/SCL-1/map.svg?mode=x&lang=fr", nil).fields())
	require.Equal(t, 404, b.do("GET", "/v1/warehouses/CCP-1/map.svg", nil).status)
	require.Equal(t, 404, b.do("GET", "/v1/warehouses/SCL-1/map.svg", nil, as(b.otherKey)...).status)
	require.Equal(t, 403, b.do("GET", "/v1/warehouses/SCL-1/map.svg", nil, as(b.keys[tenant.Storefront])...).status)
}

func TestMap_ShowsTheWayOfAPickList(t *testing.T) {
	t.Parallel()
	b := planned(t)
	b.moved(map[string]any{"sku": "POL-ROJO-S", "quantity": 1, "from": at(""), "to": at("A-01-A"), "reason": "put_away"})
	b.moved(map[string]any{"sku": "POL-ROJO-S", "quantity": 1, "from": at(""), "to": at("B-02-A"), "reason": "put_away"})
	b.bought()
	list, _ := b.listed()
	const path = "/v1/warehouses/SCL-1/map.svg?lang=en"
	require.NotContains(t, b.do("GET", path, nil).body, "Walk")
	a := b.do("GET", path+"&pick_list="+list, nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, a.body, "<title>Walk</title>")
	for _, number := range []string{">1</text>", ">2</text>"} {
		require.Contains(t, a.body, number, "a stop at each bin")
	}

	require.Equal(t, map[string]string{"pick_list": "invalid"}, b.do("GET", path+"&pick_list=7", nil).fields())
	require.Equal(t, 404, b.do("GET", path+"&pick_list="+strings.Repeat("0", 26), nil).status)
	require.Equal(t, 404, b.do("GET", path+"&pick_list="+list, nil, as(b.otherKey)...).status)
	require.Equal(t, 200, b.do("PUT", "/v1/warehouses/CCP-1/plan", smallPlan).status)
	require.Equal(t, 404, b.do("GET", "/v1/warehouses/CCP-1/map.svg?pick_list="+list, nil).status, "a list is drawn on its own floor")
}

func TestProduct_SaysHowItsUnitsAreToldApart(t *testing.T) {
	t.Parallel()
	b := planned(t)
	put := func(sku, more string) answer {
		return b.do("PUT", "/v1/products/"+sku, `{"name":"Leche","prices":[{"currency":"CLP","amount":990}]`+more+`}`)
	}
	require.Equal(t, []any{"none", "fefo", 0.}, []any{put("LECHE", "").json()["tracking"], put("LECHE", "").json()["removal"], put("LECHE", "").json()["pick_days_left"]})
	a := put("LECHE", `,"tracking":"lot","removal":"fifo","receive_days_left":30,"pick_days_left":5`)
	require.Equal(t, 200, a.status, a.body)
	got := put("LECHE", "").json()
	require.Equal(t, []any{"lot", "fifo", 30., 5.}, []any{got["tracking"], got["removal"], got["receive_days_left"], got["pick_days_left"]}, "who says nothing changes nothing")
	require.Equal(t, map[string]string{"tracking": "invalid", "removal": "invalid", "receive_days_left": "out_of_range", "pick_days_left": "out_of_range"},
		put("LECHE", `,"tracking":"x","removal":"lifo","receive_days_left":-1,"pick_days_left":10001`).fields())
	require.Equal(t, 400, put("LECHE", `,"tracking":1`).status)

	b.moved(map[string]any{"sku": "TAZA", "quantity": 4, "from": at(""), "to": at("A-01-A"), "reason": "put_away"})
	bad := put("TAZA", `,"tracking":"serial"`)
	require.Equal(t, 409, bad.status)
	require.Equal(t, "units_in_bins", bad.code())
	require.Equal(t, 200, put("TAZA", `,"tracking":"none"`).status)
	b.moved(map[string]any{"sku": "TAZA", "quantity": 4, "from": at("A-01-A"), "to": at(""), "reason": "move"})
	require.Equal(t, 200, put("TAZA", `,"tracking":"serial"`).status)
}

func TestMoves_ChangeBinsOnceAndTellWhoLosesUnits(t *testing.T) {
	t.Parallel()
	b := planned(t)
	body := map[string]any{"warehouse": "SCL-1", "code": "POL-ROJO-S", "quantity": 10, "from": at(""), "to": at("A-01-A"), "reason": "put_away", "note": "from the dock"}
	a := b.do("POST", "/v1/stock/moves", body, "Idempotency-Key", "move-1", "X-Operator", "Ana R.", "Authorization", "Bearer "+b.keys[tenant.Warehouse])
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, "/v1/stock/POL-ROJO-S/bins", a.header.Get("Location"))
	require.Equal(t, map[string]any{"bin": "A-01-A", "status": "available", "quantity": 10., "version": 1.}, a.json()["to"])
	// A process that died before it answered: the units are not moved twice.
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second'`)
	again := b.do("POST", "/v1/stock/moves", body, "Idempotency-Key", "move-1", "X-Operator", "Ana R.", "Authorization", "Bearer "+b.keys[tenant.Warehouse])
	require.Equal(t, 201, again.status, again.body)
	require.Equal(t, 10., again.json()["to"].(map[string]any)["quantity"])
	require.Equal(t, "Ana R. from the dock", value[string](b, `SELECT string_agg(person || ' ' || note, ',') FROM bin_movements`))

	where := b.do("GET", "/v1/stock/POL-ROJO-S/bins", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, where.status, where.body)
	w := where.json()["warehouses"].([]any)[0].(map[string]any)
	require.Equal(t, []any{20., 10., 10., 0.}, []any{w["on_hand"], w["placed"], w["in_no_bin"], w["reserved"]})
	require.Equal(t, "Ropa", w["bins"].([]any)[0].(map[string]any)["zone"])

	c := b.checkout()
	b.moved(map[string]any{"sku": "POL-ROJO-S", "quantity": 9, "from": at("A-01-A"), "to": at("DAM-1"), "reason": "damage"})
	lost := b.do("POST", "/v1/stock/moves", map[string]any{"warehouse": "SCL-1", "sku": "POL-ROJO-S", "quantity": 1, "from": at("A-01-A"), "reason": "loss", "version": 99})
	require.Equal(t, "version_changed", lost.code())
	require.Equal(t, 1., lost.json()["current"].(map[string]any)["quantity"])
	require.Equal(t, 200, b.do("PUT", "/v1/stock/POL-ROJO-S", map[string]any{"warehouse": "SCL-1", "on_hand": 2}).status)
	out := b.moved(map[string]any{"sku": "POL-ROJO-S", "quantity": 1, "from": at("A-01-A"), "reason": "loss"})
	require.Equal(t, []any{map[string]any{"reservation_id": c["reservation"].(map[string]any)["id"], "checkout_id": c["id"], "units": 1.}}, out["shorted"])
	require.Eventually(t, func() bool {
		for _, s := range b.temporal.signalled() {
			if strings.HasPrefix(s, "short checkout:shop:"+c["id"].(string)) {
				return true
			}
		}
		return false
	}, 5*time.Second, 10*time.Millisecond)
}

func TestMoves_BadRequests(t *testing.T) {
	t.Parallel()
	b := planned(t)
	try := func(body map[string]any, headers ...string) answer {
		return b.do("POST", "/v1/stock/moves", body, headers...)
	}
	require.Equal(t, map[string]string{"warehouse": "required", "sku": "required"}, try(map[string]any{}).fields())
	require.Equal(t, "invalid", try(map[string]any{"warehouse": "SCL-1", "sku": "TAZA", "reason": "theft"}).fields()["reason"])
	require.Equal(t, map[string]string{"X-Operator": "invalid"}, try(map[string]any{}, "X-Operator", "ana  r").fields(), "who works is asked first")
	require.Equal(t, map[string]string{"expires_on": "invalid", "serial": "repeated", "version": "out_of_range", "note": "too_long"},
		try(map[string]any{"warehouse": "SCL-1", "sku": "TAZA", "reason": "move", "expires_on": "soon", "serial": "a", "serials": []string{"b"}, "version": -1, "note": strings.Repeat("x", 501)}).fields())
	good := map[string]any{"warehouse": "SCL-1", "sku": "TAZA", "quantity": 11, "from": at(""), "to": at("A-01-A"), "reason": "put_away"}
	full := try(good)
	require.Equal(t, 409, full.status)
	require.Equal(t, "bin_full", full.code())
	require.Equal(t, 1100., full.json()["current"].(map[string]any)["fill_permille"])
	good["force"] = true
	require.Equal(t, 201, try(good).status)
	require.Equal(t, 403, try(good, as(b.keys[tenant.Support])...).status)
	require.Equal(t, map[string]string{"warehouse": "unknown_warehouse"}, try(good, as(b.otherKey)...).fields())
	require.Equal(t, 404, b.do("GET", "/v1/stock/NADA/bins", nil).status)
	require.Equal(t, 404, b.do("GET", "/v1/stock/TAZA/bins", nil, as(b.otherKey)...).status)
	require.Equal(t, 403, b.do("GET", "/v1/stock/TAZA/bins", nil, as(b.keys[tenant.Storefront])...).status)
}

func TestLots_AreReadHeldReleasedAndTraced(t *testing.T) {
	t.Parallel()
	b := planned(t)
	require.Equal(t, 201, b.do("PUT", "/v1/products/LECHE", `{"name":"Leche","prices":[{"currency":"CLP","amount":990}],"tracking":"lot"}`).status)
	day := time.Now().UTC().AddDate(0, 0, 60).Format(time.DateOnly)
	for i := range 3 {
		b.moved(map[string]any{"sku": "LECHE", "lot": "L-7", "expires_on": day, "quantity": 2, "to": at(fmt.Sprintf("A-0%d-A", i+1)), "reason": "adjustment"})
	}
	got := b.do("GET", "/v1/lots/L-7", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, got.status, got.body)
	sku := got.json()["skus"].([]any)[0].(map[string]any)
	require.Equal(t, []any{"LECHE", day, "available"}, []any{sku["sku"], sku["expires_on"], sku["status"]})
	require.Len(t, sku["places"], 3)

	order := map[string]any{"sku": "LECHE", "reason": "the supplier recalls it"}
	held := b.do("POST", "/v1/lots/L-7/hold", order, append(as(b.keys[tenant.Warehouse]), "X-Operator", "ana", "Idempotency-Key", "h1")...)
	require.Equal(t, 200, held.status, held.body)
	require.Equal(t, []any{6., "held", "the supplier recalls it"}, []any{held.json()["moved"], held.json()["status"], held.json()["reason"]})
	require.Equal(t, 0., b.do("GET", "/v1/stock/LECHE", nil).json()["available"])
	require.Equal(t, "lot_not_available", b.do("POST", "/v1/stock/moves", map[string]any{"warehouse": "SCL-1", "sku": "LECHE", "lot": "L-7", "quantity": 1, "from": at("A-01-A"), "reason": "release"}).code())
	released := b.do("POST", "/v1/lots/L-7/release", order)
	require.Equal(t, 200, released.status, released.body)
	require.Equal(t, 6., b.do("GET", "/v1/stock/LECHE", nil).json()["available"])

	var seen []string
	cursor := ""
	for {
		page := b.do("GET", "/v1/lots/L-7/trace?sku=LECHE&limit=4&cursor="+cursor, nil, as(b.keys[tenant.Support])...)
		require.Equal(t, 200, page.status, page.body)
		require.Len(t, page.json()["origins"], 3)
		for _, m := range page.json()["movements"].([]any) {
			seen = append(seen, m.(map[string]any)["reason"].(string))
		}
		next, more := page.json()["next_cursor"].(string)
		if !more {
			break
		}
		cursor = next
	}
	require.Equal(t, []string{"adjustment", "adjustment", "adjustment", "hold", "hold", "hold", "release", "release", "release"}, seen)

	require.Equal(t, map[string]string{"sku": "required", "reason": "required"}, b.do("POST", "/v1/lots/L-7/hold", `{}`).fields())
	require.Equal(t, 404, b.do("POST", "/v1/lots/L-8/hold", order).status)
	require.Equal(t, 422, b.do("GET", "/v1/lots/L-7/trace?cursor=xx", nil).status)
	for _, p := range []string{"/v1/lots/L-7", "/v1/lots/L-7/trace"} {
		require.Equal(t, 404, b.do("GET", p, nil, as(b.otherKey)...).status)
		require.Equal(t, 403, b.do("GET", p, nil, as(b.keys[tenant.Storefront])...).status)
	}
	for _, verb := range []string{"hold", "release"} {
		require.Equal(t, 404, b.do("POST", "/v1/lots/L-7/"+verb, order, as(b.otherKey)...).status)
		require.Equal(t, 403, b.do("POST", "/v1/lots/L-7/"+verb, order, as(b.keys[tenant.Support])...).status)
	}
}

func TestSerials_AreTraced(t *testing.T) {
	t.Parallel()
	b := planned(t)
	for _, sku := range []string{"RELOJ", "RADIO"} {
		require.Equal(t, 201, b.do("PUT", "/v1/products/"+sku, `{"name":"x","prices":[{"currency":"CLP","amount":990}],"tracking":"serial"}`).status)
	}
	b.moved(map[string]any{"sku": "RELOJ", "serials": []string{"S-1", "S-2"}, "to": at("A-01-A"), "reason": "adjustment"})
	b.moved(map[string]any{"sku": "RADIO", "serial": "S-2", "to": at("A-01-A"), "reason": "adjustment"})
	a := b.do("GET", "/v1/serials/S-1/trace", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, []any{"RELOJ", "S-1", nil}, []any{a.json()["sku"], a.json()["serial"], a.json()["status"]})
	require.Equal(t, "A-01-A", a.json()["places"].([]any)[0].(map[string]any)["bin"])
	require.Equal(t, map[string]string{"sku": "required"}, b.do("GET", "/v1/serials/S-2/trace", nil).fields())
	require.Equal(t, "RADIO", b.do("GET", "/v1/serials/S-2/trace?sku=RADIO", nil).json()["sku"])
	require.Equal(t, 404, b.do("GET", "/v1/serials/S-9/trace", nil).status)
	require.Equal(t, 404, b.do("GET", "/v1/serials/S-1/trace", nil, as(b.otherKey)...).status)
	require.Equal(t, 403, b.do("GET", "/v1/serials/S-1/trace", nil, as(b.keys[tenant.Storefront])...).status)
}
