package api_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

// picked is an order of two units that lie in the packing bin, and the path of its
// shipment.
func (b *bundle) picked() (orderID, path string) {
	b.t.Helper()
	b.shelves(map[string]int{"A-01-A": 10})
	o := b.bought()
	list, listPath := b.listed()
	a := b.do("POST", listPath+"/picks", map[string]any{"to": "PACK", "picks": []any{map[string]any{"line": 1, "bin": "A-01-A", "product": "POL-ROJO-S", "quantity": 2}}}, b.ana()...)
	require.Equal(b.t, 200, a.status, a.body)
	require.Equal(b.t, 200, b.do("POST", "/v1/pick-lists/"+list+"/complete", nil, b.ana()...).status)
	return o["id"].(string), "/v1/shipments/" + o["shipments"].([]any)[0].(map[string]any)["id"].(string)
}

var parcel = map[string]any{"parcels": []any{map[string]any{"weight_grams": 640, "dimensions_mm": map[string]any{"length": 300, "width": 200, "height": 80}}}}

func TestShipments_ArePackedLabelledHandedOverAndDelivered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	orderID, path := b.picked()
	do := func(step string, body any) map[string]any {
		t.Helper()
		a := b.do("POST", path+"/"+step, body, b.ana("Idempotency-Key", step)...)
		require.Equal(t, 200, a.status, a.body)
		// A process that died before it answered: the step is not done again.
		b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second' WHERE key = $1`, step)
		again := b.do("POST", path+"/"+step, body, b.ana("Idempotency-Key", step)...)
		require.Equal(t, a.json(), again.json())
		return a.json()
	}
	require.Equal(t, "in_fulfillment", b.do("GET", "/v1/orders/"+orderID, nil).json()["status"])
	s := do("pack", parcel)
	require.Equal(t, "packed", s["status"])
	require.Equal(t, 409, b.do("GET", path+"/labels.zpl", nil, b.ana()...).status)
	s = do("label", map[string]any{"carrier": "manual", "tracking": []string{"MOTO-7"}})
	require.Equal(t, "MOTO-7", s["parcels"].([]any)[0].(map[string]any)["tracking"])
	zpl := b.do("GET", path+"/labels.zpl?dpi=300&language=en", nil, b.ana()...)
	require.Equal(t, 200, zpl.status, zpl.body)
	require.Equal(t, 1, strings.Count(zpl.body, "^XA"))
	s = do("handover", nil)
	require.Equal(t, "handed_over", s["status"])
	require.Equal(t, "shipped", b.do("GET", "/v1/orders/"+orderID, nil).json()["status"])
	require.Equal(t, 0, value[int](b, `SELECT reserved FROM stock_levels WHERE sku = 'POL-ROJO-S' AND warehouse = 'SCL-1'`))
	do("status", map[string]any{"status": "delivered"})
	o := b.do("GET", "/v1/orders/"+orderID, nil).json()
	require.Equal(t, "delivered", o["status"])
	shipped := o["shipments"].([]any)[0].(map[string]any)
	require.Equal(t, []any{"MOTO-7"}, shipped["tracking"])
	require.Equal(t, "manual", shipped["carrier"])
	require.Equal(t, "wrong_status", b.do("POST", path+"/unpack", map[string]any{"reason": "x"}, b.ana()...).code())

	for query, n := range map[string]int{"": 1, "?status=delivered": 1, "?status=packed": 0, "?warehouse=SCL-1&carrier=manual": 1, "?carrier=starken": 0, "?order=" + orderID: 1} {
		require.Len(t, b.do("GET", "/v1/shipments"+query, nil, as(b.keys[tenant.Support])...).json()["data"], n, query)
	}
	require.Equal(t, map[string]string{"status": "invalid", "carrier": "invalid"}, b.do("GET", "/v1/shipments?status=gone&carrier=pigeon", nil, b.ana()...).fields())
	require.Equal(t, map[string]string{"cursor": "invalid"}, b.do("GET", "/v1/shipments?cursor=x", nil, b.ana()...).fields())
}

func TestShipments_RefuseWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, path := b.picked()
	light := map[string]any{"parcels": []any{map[string]any{"weight_grams": 10}}}
	a := b.do("POST", path+"/pack", light, b.ana()...)
	require.Equal(t, "weight_differs", a.code(), a.body)
	require.Equal(t, 10., a.json()["weighed_grams"])
	require.Equal(t, "picking", a.json()["current"].(map[string]any)["status"])
	light["confirm_weight"] = true
	require.Equal(t, 200, b.do("POST", path+"/pack", light, b.ana()...).status)
	require.Equal(t, 200, b.do("POST", path+"/unpack", nil, b.ana()...).status)
	require.Equal(t, "wrong_status", b.do("POST", path+"/handover", nil, b.ana()...).code())
	require.Equal(t, map[string]string{"parcels": "out_of_range"}, b.do("POST", path+"/pack", `{"parcels":[]}`, b.ana()...).fields())
	require.Equal(t, 200, b.do("POST", path+"/pack", parcel, b.ana()...).status)
	require.Equal(t, map[string]string{"carrier": "not_configured"}, b.do("POST", path+"/label", map[string]any{"carrier": "chilexpress"}, b.ana()...).fields())
	require.Equal(t, "version_changed", b.do("POST", path+"/label", map[string]any{"carrier": "manual", "version": 99}, b.ana()...).code())
	require.Equal(t, map[string]string{"status": "invalid"}, b.do("POST", path+"/status", map[string]any{"status": "packed"}, b.ana()...).fields())
	for _, step := range []string{"pack", "unpack", "label", "handover", "status"} {
		require.Equal(t, 404, b.do("POST", path+"/"+step, bodyOf[step], as(b.otherKey)...).status, step)
		require.Equal(t, 403, b.do("POST", path+"/"+step, bodyOf[step], as(b.keys[tenant.Storefront])...).status, step)
	}
	require.Equal(t, 404, b.do("GET", path, nil, as(b.otherKey)...).status)
	require.Equal(t, 404, b.do("GET", path+"/labels.zpl", nil, as(b.otherKey)...).status)
	require.Equal(t, 403, b.do("GET", path+"/labels.zpl", nil, as(b.keys[tenant.Support])...).status, "an address is for those who ship")

	require.Equal(t, 201, b.do("PUT", "/v1/operators/ana", map[string]any{"may": []string{"pick"}}).status)
	require.Equal(t, "not_allowed", b.do("POST", path+"/label", bodyOf["label"], b.ana()...).code())
	require.Equal(t, 200, b.do("PUT", "/v1/operators/ana", map[string]any{"may": []string{"pack"}}).status)
	require.Equal(t, 200, b.do("POST", path+"/label", bodyOf["label"], b.ana()...).status)
}

// bodyOf is a good body of each step.
var bodyOf = map[string]any{"pack": parcel, "unpack": map[string]any{}, "label": map[string]any{"carrier": "manual"}, "handover": map[string]any{}, "status": map[string]any{"status": "delivered"}}

func TestShipments_AreShippedByScannersToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, path := b.picked()
	task := "shipment:" + strings.TrimPrefix(path, "/v1/shipments/")
	var commands []map[string]any
	for i, step := range []string{"pack", "label", "handover"} {
		commands = append(commands, command(i+1, step, task, bodyOf[step].(map[string]any)))
	}
	commands = append(commands, command(4, "handover", "pick:01ARZ3NDEKTSV4RRFFQ69G5FAV", map[string]any{}))
	for i, a := range b.scan("bench-1", commands...) {
		if i == 3 {
			require.Equal(t, "wrong_task", a["code"])
			require.NotEmpty(t, a["exception_id"])
			continue
		}
		require.Equal(t, "applied", a["status"], a)
	}
	for _, a := range b.scan("bench-2", commands[:3]...) {
		require.Equal(t, "duplicate", a["status"])
	}
	require.Equal(t, "handed_over", b.do("GET", path, nil, b.ana()...).json()["status"])
}
