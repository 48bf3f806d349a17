package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

// asked is a transfer of units of TAZA from SCL-1 to CCP-1.
func (b *bundle) asked(units int) string {
	b.t.Helper()
	a := b.do("POST", "/v1/transfers", map[string]any{"from": "SCL-1", "to": "CCP-1", "lines": []any{map[string]any{"sku": "TAZA", "quantity": units}}, "reference": "weekly"}, "X-Operator", "ana")
	require.Equal(b.t, 201, a.status, a.body)
	id := a.json()["id"].(string)
	require.Equal(b.t, "/v1/transfers/"+id, a.header.Get("Location"))
	return id
}

func tazas(units int) []any { return []any{map[string]any{"sku": "TAZA", "quantity": units}} }

// onTheWay is one that was dispatched.
func (b *bundle) onTheWay(units int) string {
	b.t.Helper()
	id := b.asked(units)
	a := b.do("POST", "/v1/transfers/"+id+"/dispatch", map[string]any{"lines": tazas(units)}, "X-Operator", "ana")
	require.Equal(b.t, 200, a.status, a.body)
	return id
}

func TestTransfers_AreAskedForDispatchedReceivedAndRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sql(`INSERT INTO bins (tenant, warehouse, code, kind) VALUES ('shop', 'CCP-1', 'REC-1', 'receiving')`)
	warehouse := as(b.keys[tenant.Warehouse])
	id := b.asked(5)
	a := b.do("POST", "/v1/transfers/"+id+"/dispatch", map[string]any{"lines": tazas(5), "operation_id": "op-1"}, warehouse...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "in_transit", a.json()["status"])
	require.Equal(t, 1, b.temporal.count("execute Transfer transfer:shop:"+id))
	again := b.do("POST", "/v1/transfers/"+id+"/dispatch", map[string]any{"lines": tazas(5), "operation_id": "op-1"}, warehouse...)
	require.Equal(t, 200, again.status, again.body)
	require.Equal(t, true, again.json()["duplicate"])

	stock := b.do("GET", "/v1/stock/TAZA", nil)
	require.Equal(t, map[string]any{"CCP-1": 5.}, stock.json()["in_transit"])
	require.Equal(t, 15., stock.json()["available"])

	a = b.do("POST", "/v1/transfers/"+id+"/receive", map[string]any{"bin": "REC-1", "lines": []any{map[string]any{"sku": "TAZA", "quantity": 4}, map[string]any{"code": "TAZA", "quantity": 1, "damaged": true}}}, warehouse...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "received", a.json()["status"])
	require.Len(t, a.json()["moved"], 2)
	require.Eventually(t, func() bool {
		return len(b.temporal.signalled()) == 1 && strings.HasPrefix(b.temporal.signalled()[0], "changed transfer:shop:"+id)
	}, 5*time.Second, 10*time.Millisecond)
	require.NotContains(t, b.do("GET", "/v1/stock/TAZA", nil).json(), "in_transit")

	got := b.do("GET", "/v1/transfers/"+id, nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, "ana", got.json()["requested_by"])
	require.Len(t, got.json()["entries"], 3)
	require.Equal(t, 403, b.do("GET", "/v1/transfers/"+id, nil, as(b.keys[tenant.Storefront])...).status)
	require.Equal(t, 404, b.do("GET", "/v1/transfers/"+id, nil, as(b.otherKey)...).status)
	require.Equal(t, 403, b.do("POST", "/v1/transfers/"+id+"/close", map[string]any{}, as(b.keys[tenant.Support])...).status)
}

func TestTransfers_RefuseWithTheReason(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad := b.do("POST", "/v1/transfers", map[string]any{"from": "SCL-1", "to": "SCL-1", "lines": []any{map[string]any{"sku": "NADA", "quantity": 1}}, "expected_at": "2020-01-01T00:00:00Z"})
	require.Equal(t, 422, bad.status, bad.body)
	require.Equal(t, map[string]string{"to": "invalid", "lines[0].sku": "unknown_sku", "expected_at": "out_of_range"}, bad.fields())
	require.Equal(t, map[string]string{"X-Operator": "invalid"}, b.do("POST", "/v1/transfers", map[string]any{"from": "SCL-1", "to": "CCP-1", "lines": tazas(1)}, "X-Operator", "a  b").fields())

	id := b.asked(30)
	a := b.do("POST", "/v1/transfers/"+id+"/dispatch", map[string]any{"lines": tazas(21)})
	require.Equal(t, 409, a.status, a.body)
	require.Equal(t, "units_promised", a.code())
	require.Equal(t, []any{map[string]any{"sku": "TAZA", "wanted": 21., "free": 20.}}, a.json()["units"])
	require.Equal(t, "more_than_requested", b.do("POST", "/v1/transfers/"+id+"/dispatch", map[string]any{"lines": tazas(31)}).code())
	require.Equal(t, "stale_version", b.do("POST", "/v1/transfers/"+id+"/dispatch", map[string]any{"lines": tazas(1), "version": 7}).code())
	a = b.do("POST", "/v1/transfers/"+id+"/receive", map[string]any{"lines": tazas(1)})
	require.Equal(t, "transfer_status", a.code())
	require.Equal(t, map[string]any{"status": "requested", "version": 1., "in_transit": 0.}, a.json()["current"])
	require.Equal(t, 400, b.do("POST", "/v1/transfers/"+id+"/receive", map[string]any{"lines": tazas(1), "where": "x"}).status)
	require.Equal(t, 404, b.do("POST", "/v1/transfers/NO/close", map[string]any{}).status)

	id = b.onTheWay(2)
	require.Equal(t, "more_than_sent", b.do("POST", "/v1/transfers/"+id+"/receive", map[string]any{"lines": tazas(3)}).code())
	require.Equal(t, "unknown_bin", b.do("POST", "/v1/transfers/"+id+"/receive", map[string]any{"lines": tazas(1), "bin": "NO"}).code())
	over := b.do("POST", "/v1/transfers/"+id+"/receive", map[string]any{"lines": tazas(3), "accept_over": true})
	require.Equal(t, 200, over.status, over.body)
	require.Equal(t, 1., over.json()["units"].([]any)[0].(map[string]any)["over"])
}

func TestTransfers_AreClosedWithWhatWasLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.onTheWay(3)
	a := b.do("POST", "/v1/transfers/"+id+"/close", map[string]any{})
	require.Equal(t, "units_on_the_way", a.code())
	require.Equal(t, []any{map[string]any{"sku": "TAZA", "lot": "", "serial": "", "quantity": 3., "in_transit": 3.}}, a.json()["units"])
	a = b.do("POST", "/v1/transfers/"+id+"/close", map[string]any{"lost": []any{map[string]any{"sku": "TAZA", "quantity": 3, "reason": "the lorry burned"}}}, "X-Operator", "Ana Rojas")
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "received_short", a.json()["status"])
	entries := b.do("GET", "/v1/transfers/"+id, nil).json()["entries"].([]any)
	require.Equal(t, "Ana Rojas", entries[1].(map[string]any)["person"])
}

func TestTransfers_AreCancelledOrRecalled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.asked(3)
	a := b.do("POST", "/v1/transfers/"+id+"/cancel", map[string]any{})
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "cancelled", a.json()["status"])
	require.Empty(t, b.temporal.signalled(), "it has no run")

	id = b.onTheWay(3)
	require.Equal(t, "transfer_status", b.do("POST", "/v1/transfers/"+id+"/cancel", map[string]any{}).code())
	a = b.do("POST", "/v1/transfers/"+id+"/cancel", map[string]any{"recall": true})
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "cancelled", a.json()["status"])
	require.Equal(t, 20., b.do("GET", "/v1/stock/TAZA", nil).json()["available"])
}

func TestTransfers_AreListedByStatusAndWarehouse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second, third := b.asked(1), b.onTheWay(1), b.asked(1)
	page := b.do("GET", "/v1/transfers?limit=2", nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, page.status, page.body)
	ids := func(a answer) (out []string) {
		for _, x := range a.json()["data"].([]any) {
			out = append(out, x.(map[string]any)["id"].(string))
		}
		return out
	}
	require.Equal(t, []string{third, second}, ids(page))
	require.Equal(t, []string{first}, ids(b.do("GET", "/v1/transfers?limit=2&cursor="+page.json()["next_cursor"].(string), nil)))
	require.Equal(t, []string{second}, ids(b.do("GET", "/v1/transfers?status=in_transit&warehouse=CCP-1", nil)))
	require.Equal(t, map[string]string{"status": "invalid"}, b.do("GET", "/v1/transfers?status=x", nil).fields())
}

func TestTransfers_OneWhoseAnswerWasLostIsNotMadeTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := map[string]any{"from": "SCL-1", "to": "CCP-1", "lines": tazas(2)}
	first := b.do("POST", "/v1/transfers", body, "Idempotency-Key", "k1")
	require.Equal(t, 201, first.status, first.body)
	id := first.json()["id"].(string)
	send := map[string]any{"lines": tazas(2)}
	require.Equal(t, 200, b.do("POST", "/v1/transfers/"+id+"/dispatch", send, "Idempotency-Key", "k2").status)
	// The answers were never kept: the requests were cut off after their work.
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second'`)
	again := b.do("POST", "/v1/transfers", body, "Idempotency-Key", "k1")
	require.Equal(t, id, again.json()["id"], again.body)
	a := b.do("POST", "/v1/transfers/"+id+"/dispatch", send, "Idempotency-Key", "k2")
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, true, a.json()["duplicate"])
	require.Equal(t, 2., a.json()["in_transit"])
}

func TestTransfers_LeaveWhenTemporalIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.asked(1)
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	a := b.do("POST", "/v1/transfers/"+id+"/dispatch", map[string]any{"lines": tazas(1)})
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "in_transit", value[string](b, `SELECT status FROM transfers WHERE id = $1`, id))
	require.Contains(t, b.logs.String(), "a run was not begun and is left to the workers")
	require.Equal(t, "transfer "+id, value[string](b, `SELECT kind || ' ' || subject FROM wakes`))
}
