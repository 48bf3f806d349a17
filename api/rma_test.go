package api_test

import (
	"bytes"
	"image"
	"image/png"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

// home is a paid order whose two units were delivered just now.
func (b *bundle) home() map[string]any {
	b.t.Helper()
	o := b.bought()
	b.sql(`UPDATE payments SET method = 'VN'`) // by a credit card
	for _, set := range []string{`status = 'picking'`, `status = 'packed', packed_at = now(), picked_at = now()`, `status = 'labelled', labelled_at = now(), carrier = 'manual'`,
		`status = 'handed_over', handed_over_at = now(), due_at = now() + interval '1 day'`, `status = 'delivered', due_at = NULL, ended_at = now()`} {
		b.sql(`UPDATE shipments SET `+set+` WHERE order_id = $1`, o["id"])
	}
	b.sql(`INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', 'BACK-1', 'pick') ON CONFLICT DO NOTHING`, shop)
	return o
}

func returnOf(o map[string]any, units int, more map[string]any) map[string]any {
	body := map[string]any{"order_id": o["id"], "lines": []any{map[string]any{"line_id": lineOf(o), "quantity": units, "reason": "changed_mind"}}}
	for k, v := range more {
		body[k] = v
	}
	return body
}

func TestReturns_FromTheBuyersPageToTheShelf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.home()
	web := as(b.keys[tenant.Storefront])
	buyer := map[string]any{"order_number": strings.ToLower(o["number"].(string)), "email": o["customer"].(map[string]any)["email"]}
	asked := returnOf(o, 1, buyer)
	delete(asked, "order_id")

	v := b.do("POST", "/v1/returns/eligibility", asked, web...)
	require.Equal(t, 200, v.status, v.body)
	require.Equal(t, true, v.json()["eligible"])
	require.Equal(t, 12990., v.json()["amount"])
	require.Equal(t, 0, value[int](b, `SELECT count(*) FROM returns`), "it writes nothing")

	a := b.do("POST", "/v1/returns", asked, append(web, "Idempotency-Key", "back-1")...)
	require.Equal(t, 201, a.status, a.body)
	r := a.json()
	require.Equal(t, "approved", r["status"])
	require.Empty(t, r["decided_by"], "what is meant for staff is not for buyers")
	path := "/v1/returns/" + r["id"].(string)
	require.Equal(t, path, a.header.Get("Location"))
	again := b.do("POST", "/v1/returns", asked, append(web, "Idempotency-Key", "back-1")...)
	require.Equal(t, r["id"], again.json()["id"])
	require.Equal(t, 1, value[int](b, `SELECT count(DISTINCT subject) FROM wakes WHERE kind = 'return' AND subject = $1`, r["id"]), "its run begins with its row")

	require.Equal(t, "in_transit", b.do("POST", path+"/sent", map[string]any{"carrier": "Starken", "tracking": "123"}, web...).json()["status"])
	require.Equal(t, 403, b.do("POST", path+"/receive", map[string]any{"rest_missing": true}, web...).status)
	line := map[string]any{"line_id": lineOf(o), "quantity": 1}
	for range 2 {
		require.Equal(t, "received", b.do("POST", path+"/receive", map[string]any{"lines": []any{line}}, append(b.ana(), "Idempotency-Key", "door-0")...).json()["status"])
	}
	a = b.do("POST", path+"/inspect", map[string]any{"units": []any{map[string]any{"line_id": lineOf(o), "quantity": 1, "grade": "A", "disposition": "restock", "bin": "NADA"}}}, b.ana()...)
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, "unknown_bin", a.code())
	unit := map[string]any{"line_id": lineOf(o), "quantity": 1, "grade": "A", "disposition": "restock", "bin": "BACK-1"}
	for range 2 { // sent twice, under one key
		a = b.do("POST", path+"/inspect", map[string]any{"units": []any{unit}}, append(b.ana(), "Idempotency-Key", "seen-0")...)
		require.Equal(t, 200, a.status, a.body)
	}
	require.Equal(t, "inspected", a.json()["status"])
	// The scanner did not hear it and says it again; then a person does.
	again = b.do("POST", path+"/inspect", map[string]any{"units": []any{unit}}, append(b.ana(), "Idempotency-Key", "seen-1")...)
	require.Equal(t, "out_of_range", again.code(), "a unit enters stock once")
	require.Equal(t, 1, value[int](b, `SELECT quantity FROM bin_stock WHERE bin = 'BACK-1'`))

	staff := b.do("GET", path, nil, as(b.keys[tenant.Support])...).json()
	require.Equal(t, "BACK-1", staff["units"].([]any)[0].(map[string]any)["bin"])
	require.Equal(t, "", b.do("GET", path, nil, web...).json()["units"].([]any)[0].(map[string]any)["bin"])
	shown := b.do("GET", "/v1/orders/"+o["id"].(string), nil).json()["returns"].([]any)
	require.Len(t, shown, 1)
	require.Equal(t, "inspected", shown[0].(map[string]any)["status"])
	require.Len(t, b.do("GET", "/v1/returns?status=inspected&order_id="+o["id"].(string), nil).json()["data"], 1)
	require.Empty(t, b.do("GET", "/v1/returns?status=closed", nil).json()["data"])
	require.Equal(t, 422, b.do("GET", "/v1/returns?status=nowhere", nil).status)
}

func TestReturns_WhatIsRefusedSaysWhy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.home()
	a := b.do("POST", "/v1/returns", returnOf(o, 3, nil))
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, "not_eligible", a.code())
	require.Equal(t, "too_many", a.json()["verdict"].(map[string]any)["lines"].([]any)[0].(map[string]any)["code"])
	require.Equal(t, 404, b.do("POST", "/v1/returns", returnOf(o, 1, map[string]any{"order_id": "01M8P8DG0W0YY85TQG6GXV2SW0"})).status)
	require.Equal(t, map[string]string{"lines": "required"}, b.do("POST", "/v1/returns", map[string]any{"order_id": o["id"]}).fields())
	require.Equal(t, map[string]string{"order_id": "required"}, b.do("POST", "/v1/returns", map[string]any{"email": "a@b.cl"}).fields())
	require.Equal(t, map[string]string{"exception": "not_allowed"}, b.do("POST", "/v1/returns", returnOf(o, 1, map[string]any{"exception": "please"}), as(b.keys[tenant.Storefront])...).fields())
	require.Equal(t, 403, b.do("POST", "/v1/returns", returnOf(o, 1, nil), as(b.keys[tenant.Warehouse])...).status)
	require.Equal(t, 404, b.do("GET", "/v1/returns/01M8P8DG0W0YY85TQG6GXV2SW0", nil).status)
}

func TestReturns_WhatAGatewayCannotGiveBackIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.home() // paid by a debit card, which takes back all or nothing
	b.sql(`UPDATE payments SET method = 'VD'`)
	require.Equal(t, []any{"bank_transfer"}, b.do("POST", "/v1/returns/eligibility", returnOf(o, 1, nil)).json()["refunds"])
	a := b.do("POST", "/v1/returns", returnOf(o, 1, nil))
	require.Equal(t, 409, a.status, a.body)
	require.Equal(t, "refund_not_possible", a.code())
	require.Equal(t, []any{"bank_transfer"}, a.json()["alternatives"])
	require.Equal(t, 0, value[int](b, `SELECT count(*) FROM returns`))
	require.Equal(t, []any{"original", "bank_transfer"}, b.do("POST", "/v1/returns/eligibility", returnOf(o, 2, nil)).json()["refunds"], "all of it, with the freight")
	require.Equal(t, 201, b.do("POST", "/v1/returns", returnOf(o, 1, map[string]any{"refund": "bank_transfer"})).status)
}

func TestReturns_TheAccountOfATransferIsForSupportAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.home()
	account := map[string]any{"holder": "Ana Rojas", "rut": "11.111.111-1", "bank": "Banco de Chile", "type": "vista", "number": "99887766554"}
	a := b.do("POST", "/v1/returns", returnOf(o, 1, map[string]any{"refund": "bank_transfer", "bank_account": account}), as(b.keys[tenant.Storefront])...)
	require.Equal(t, 201, a.status, a.body)
	path := "/v1/returns/" + a.json()["id"].(string)
	require.Contains(t, b.do("GET", path, nil, as(b.keys[tenant.Support])...).body, "99887766554")
	for _, scope := range []tenant.Scope{tenant.Storefront, tenant.Warehouse} {
		require.NotContains(t, b.do("GET", path, nil, as(b.keys[scope])...).body, "99887766554")
	}
	require.NotContains(t, value[string](b, `SELECT encode(bank_account, 'escape') FROM returns`), "99887766554")
	require.NotContains(t, b.logs.String(), "99887766554")
	wrong := map[string]any{"holder": "Ana Rojas", "rut": "11.111.111-2", "bank": "Banco de Chile", "type": "vista", "number": "99887766554"}
	require.Equal(t, "invalid_rut", b.do("POST", "/v1/returns", returnOf(o, 1, map[string]any{"refund": "bank_transfer", "bank_account": wrong})).fields()["bank_account.rut"])
}

func TestReturns_SupportDecidesAndASupervisorCorrects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.home()
	p := b.do("GET", "/v1/policies/returns", nil).json()
	require.Equal(t, 0., p["version"])
	policy := p["policy"].(map[string]any)
	policy["review"] = map[string]any{"above_amount": 1}
	require.Equal(t, 403, b.do("PUT", "/v1/policies/returns", policy, as(b.keys[tenant.Support])...).status)
	require.Equal(t, 1., b.do("PUT", "/v1/policies/returns", policy).json()["version"])
	require.Equal(t, 1., b.do("PUT", "/v1/policies/returns", policy).json()["version"])
	policy["send_within_days"] = 0
	require.Contains(t, b.do("PUT", "/v1/policies/returns", policy).fields(), "send_within_days")

	desk := as(b.keys[tenant.Support])
	made := b.do("POST", "/v1/returns", returnOf(o, 1, nil), desk...)
	require.Equal(t, 201, made.status, made.body)
	path := "/v1/returns/" + made.json()["id"].(string)
	require.Equal(t, "requested", b.do("GET", path, nil).json()["status"])
	require.Equal(t, 403, b.do("POST", path+"/approve", nil, as(b.keys[tenant.Storefront])...).status)
	a := b.do("POST", path+"/reject", map[string]any{"reason": "usado", "version": 99}, desk...)
	require.Equal(t, 409, a.status)
	require.Equal(t, "version_changed", a.code())
	require.Equal(t, "approved", b.do("POST", path+"/approve", nil, desk...).json()["status"])
	require.Equal(t, map[string]string{"reason": "too_long"}, b.do("POST", path+"/cancel", map[string]any{"reason": strings.Repeat("x", 501)}, desk...).fields())
	a = b.do("POST", path+"/reject", map[string]any{"reason": "usado"}, desk...)
	require.Equal(t, "wrong_status", a.code())
	require.Equal(t, "approved", a.json()["current"].(map[string]any)["status"])

	b.sql(`INSERT INTO operators (tenant, name, may) VALUES ($1, 'ana', '{receive}'), ($1, 'jefa', '{receive,supervise}')`, shop)
	jefa := append(as(b.keys[tenant.Warehouse]), "X-Operator", "jefa")
	line := map[string]any{"line_id": lineOf(o), "quantity": 1}
	require.Equal(t, 200, b.do("POST", path+"/receive", map[string]any{"lines": []any{line}}, b.ana()...).status)
	bad := map[string]any{"line_id": lineOf(o), "quantity": 1, "grade": "D", "disposition": "scrap", "deducted": 990, "deduction": "roto"}
	seen := b.do("POST", path+"/inspect", map[string]any{"units": []any{bad}}, b.ana()...)
	require.Equal(t, 200, seen.status, seen.body)
	n := seen.json()["units"].([]any)[0].(map[string]any)["unit"]
	good := map[string]any{"units": []any{map[string]any{"line_id": lineOf(o), "correct": []any{n}, "grade": "A", "disposition": "restock", "bin": "BACK-1"}}}
	require.Equal(t, 403, b.do("POST", path+"/inspect", good, b.ana()...).status)
	a = b.do("POST", path+"/inspect", good, jefa...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, 0., a.json()["units"].([]any)[0].(map[string]any)["deducted"])
	require.Equal(t, 1, value[int](b, `SELECT quantity FROM bin_stock WHERE bin = 'BACK-1'`))
}

func TestReturns_TheReportIsForSupport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.home()
	path := "/v1/returns/" + b.do("POST", "/v1/returns", returnOf(o, 1, nil)).json()["id"].(string)
	require.Equal(t, 200, b.do("POST", path+"/receive", map[string]any{"lines": []any{map[string]any{"line_id": lineOf(o), "quantity": 1}}}, b.ana()...).status)
	require.Equal(t, 403, b.do("GET", "/v1/reports/returns", nil, as(b.keys[tenant.Storefront])...).status)
	a := b.do("GET", "/v1/reports/returns", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, 50., a.json()["skus"].([]any)[0].(map[string]any)["percent"])
	sheet := b.do("GET", "/v1/reports/returns?format=csv", nil, as(b.keys[tenant.Support])...).body
	require.Contains(t, sheet, "by,of,currency,delivered,returned,percent,refunded,not_restocked,labels,label_price,label_charged")
	require.Contains(t, sheet, ",CLP,2,1,50.0,0,0")
	require.Equal(t, 422, b.do("GET", "/v1/reports/returns?from=2026-13-01", nil).status)
}

func TestReturns_PicturesAreWhatTheirBytesSay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.home()
	path := "/v1/returns/" + b.do("POST", "/v1/returns", returnOf(o, 1, nil)).json()["id"].(string)
	var cup bytes.Buffer
	require.NoError(t, png.Encode(&cup, image.NewGray(image.Rect(0, 0, 4, 4))))
	web := as(b.keys[tenant.Storefront])
	send := func(body, kind string) answer {
		return b.do("POST", path+"/photos?line_id="+lineOf(o), body, append(web, "Content-Type", kind)...)
	}
	a := send(cup.String(), "image/jpeg")
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, path+"/photos/1", a.header.Get("Location"))
	shown := a.json()["photos"].([]any)[0].(map[string]any)
	require.Equal(t, "image/png", shown["type"], "whatever it is called")
	require.Len(t, send(cup.String(), "image/png").json()["photos"], 1, "the same is kept once")
	got := b.do("GET", path+"/photos/1", nil, web...)
	require.Equal(t, "image/png", got.header.Get("Content-Type"))
	require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
	require.Equal(t, cup.String(), got.body)
	require.Equal(t, 404, b.do("GET", path+"/photos/2", nil, web...).status)
	a = send("<html><script>alert(1)</script></html>", "image/png")
	require.Equal(t, 422, a.status)
	require.Equal(t, "not_a_picture", a.code())
	require.Equal(t, 415, send(cup.String(), "text/html").status)
	require.Equal(t, 413, send(cup.String()+strings.Repeat("x", 5<<20), "image/png").status)
	require.Equal(t, "unknown_line", b.do("POST", path+"/photos?line_id=nothing", cup.String(), append(web, "Content-Type", "image/png")...).code())
}

// labels is the run's part: it has Correos make a label, a picture, for the parcel of the
// return that wants one.
func (b *bundle) labels(returnID any) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		return value[int](b, `SELECT count(*) FROM returns WHERE id = $1 AND label_wanted_at IS NOT NULL`, returnID) == 1
	}, 30*time.Second, 10*time.Millisecond)
	var picture bytes.Buffer
	require.NoError(b.t, png.Encode(&picture, image.NewGray(image.Rect(0, 0, 400, 600))))
	b.sql(`INSERT INTO bookings (tenant, id, return_id, parcel_id, carrier, service, reference, day, status, tracking, tried_at, booked_at, price)
	  SELECT tenant, '01ARZ3NDEKTSV4RRFFQ69G5FAV', return_id, id, 'correos', '24', 'AAAAAAAAAAAAAAAA', current_date, 'booked', '960012', now(), now(), 2345 FROM parcels WHERE return_id = $1`, returnID)
	b.sql(`INSERT INTO carrier_labels (tenant, booking_id, format, data) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'png', $2)`, shop, picture.Bytes())
	b.sql(`UPDATE parcels SET tracking = '960012', state = 'announced' WHERE return_id = $1`, returnID)
	b.sql(`UPDATE returns SET status = 'label_issued', version = version + 1, label_carrier = 'correos', label_price = 2345, label_fee = 2345, labelled_at = now(), label_key = gen_random_uuid() WHERE id = $1`, returnID)
}

func TestReturns_TheBuyerHasALabelAndPrintsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.home()
	web := as(b.keys[tenant.Storefront])
	r := b.do("POST", "/v1/returns", returnOf(o, 1, nil), web...).json()
	require.Nil(t, r["label"])
	path := "/v1/returns/" + r["id"].(string)
	require.Equal(t, "no_carrier", b.do("POST", path+"/label", nil, web...).code())
	require.Equal(t, "wrong_status", b.do("GET", path+"/labels.pdf", nil, web...).code())
	require.Equal(t, map[string]string{"carrier": "invalid"}, b.do("POST", path+"/label", map[string]any{"carrier": "manual"}, web...).fields())
	require.Equal(t, map[string]string{"parcels[0].weight_grams": "out_of_range"}, b.do("POST", path+"/label", map[string]any{"parcels": []any{map[string]any{"weight_grams": 0}}}, web...).fields())
	require.Equal(t, 403, b.do("POST", path+"/label", nil, as(b.keys[tenant.Warehouse])...).status)
	b.sql(`INSERT INTO provider_credentials (tenant, provider, key_id, box) VALUES ($1, 'correos', 'k', '')`, shop)
	b.sql(`UPDATE warehouses SET comuna = 'Renca'`)
	b.sql(`UPDATE orders SET shipping = shipping || '{"street":"Los Robles","number":"22","comuna":"Ñuñoa","region":"RM"}'`)

	asked := make(chan answer, 1)
	go func() {
		a, _ := b.try("POST", path+"/label", map[string]any{"carrier": "correos"}, append(web, "Idempotency-Key", "label-1")...)
		asked <- a
	}()
	b.labels(r["id"])
	a := <-asked
	require.Equal(t, 200, a.status, a.body)
	l := a.json()["label"].(map[string]any)
	require.Equal(t, "correos", l["carrier"])
	require.Equal(t, 2345., l["fee"])
	require.Nil(t, l["price"], "what the shop pays is not for buyers")
	require.Equal(t, 2345., b.do("GET", path, nil, as(b.keys[tenant.Support])...).json()["label"].(map[string]any)["price"])
	require.Equal(t, "has_label", b.do("POST", path+"/label", nil, web...).code())

	for _, at := range []string{path + "/labels.pdf", l["path"].(string)} {
		a = b.do("GET", at, nil, web...)
		require.Equal(t, 200, a.status, a.body)
		require.True(t, strings.HasPrefix(a.body, "%PDF-"), at)
	}
	for _, at := range []string{"/return-label/" + shop + "/nobody", "/return-label/" + shop + "/00000000-0000-0000-0000-000000000000", "/return-label/nobody/" + l["path"].(string)[len("/return-label/"+shop+"/"):]} {
		a = b.do("GET", at, nil)
		require.Equal(t, 404, a.status, a.body)
		require.NotContains(t, a.body, "current")
	}
	b.sql(`INSERT INTO tracking_events (tenant, parcel_id, digest, at, state, code, words, place) SELECT tenant, id, 'x', now(), 'in_transit', 'I', 'Recibido', 'Ñuñoa' FROM parcels WHERE return_id = $1`, r["id"])
	require.Len(t, b.do("GET", path+"/tracking", nil, web...).json()["data"], 1)
	require.Equal(t, 404, b.do("GET", path+"/tracking", nil, as(b.otherKey)...).status)

	require.Equal(t, 403, b.do("POST", path+"/cancel-label", nil, web...).status)
	a = b.do("POST", path+"/cancel-label", map[string]any{"reason": "the buyer brings it"}, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "approved", a.json()["status"])
	require.Nil(t, a.json()["label"])
	require.Equal(t, 404, b.do("GET", l["path"].(string), nil).status)
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM bookings WHERE void_at IS NOT NULL`))
}
