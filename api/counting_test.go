package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// shelves puts five cups into bin P-1 and leaves P-2 empty.
func (b *bundle) countedShelves() {
	b.t.Helper()
	b.sql(`INSERT INTO bins (tenant, warehouse, code, kind, zone) VALUES ('shop', 'SCL-1', 'P-1', 'pick', 'P'), ('shop', 'SCL-1', 'P-2', 'pick', 'P')`)
	require.NoError(b.t, b.db.InTenant(b.t.Context(), shop, func(tx pgx.Tx) error {
		_, err := stock.Move(b.t.Context(), tx, shop, stock.BinMovement{SKU: "TAZA", Warehouse: "SCL-1", Quantity: 5, From: stock.Unplaced(), To: stock.In("P-1", stock.Available), Reason: "put_away", Document: "test:1", By: stock.By{Person: "bodega"}})
		return err
	}))
}

// floor sends as the warehouse's key, in an operator's name.
func (b *bundle) floor(who, method, path string, body any, headers ...string) answer {
	b.t.Helper()
	return b.do(method, path, body, append([]string{"Authorization", "Bearer " + b.keys[tenant.Warehouse], "X-Operator", who}, headers...)...)
}

func (b *bundle) desk(who, method, path string, body any) answer {
	b.t.Helper()
	return b.do(method, path, body, "Authorization", "Bearer "+b.keys[tenant.Support], "X-Operator", who)
}

// aCount makes a count of P-1 and returns its id and its task's.
func (b *bundle) aCount(change map[string]any) (countID, taskID string) {
	b.t.Helper()
	body := map[string]any{"warehouse": "SCL-1", "bins": []string{"P-1"}, "reason": "miscount"}
	for k, v := range change {
		body[k] = v
	}
	a := b.floor("jefa", "POST", "/v1/counts", body)
	require.Equal(b.t, 201, a.status, a.body)
	countID = a.json()["id"].(string)
	return countID, value[string](b, `SELECT id FROM count_tasks WHERE count_id = $1`, countID)
}

func cups(n int) map[string]any {
	return map[string]any{"lines": []any{map[string]any{"sku": "TAZA", "quantity": n}}}
}

func TestCounts_FromTheDocumentToTheApprovedDifference(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.countedShelves()
	checkout := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) { m["items"] = []any{map[string]any{"sku": "TAZA", "quantity": 18}} }))
	require.Equal(t, 201, checkout.status, checkout.body)
	countID, taskID := b.aCount(nil)
	require.Equal(t, 1, b.temporal.count("execute Count count:shop:"+countID))
	got := b.floor("jefa", "GET", "/v1/counts/"+countID, nil)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, 1., got.json()["tasks"].(map[string]any)["open"])
	require.Equal(t, "jefa", got.json()["created_by"])

	for _, path := range []string{"/v1/counts/" + countID + "/tasks", "/v1/count-tasks?warehouse=SCL-1&zone=P&status=open"} {
		list := b.floor("ana", "GET", path, nil)
		require.Equal(t, 200, list.status, list.body)
		require.Len(t, list.json()["data"], 1)
		require.NotContains(t, list.body, "expected", "the counter is blind")
		require.NotContains(t, list.body, "TAZA")
	}
	begun := b.floor("ana", "POST", "/v1/count-tasks/"+taskID+"/begin", nil)
	require.Equal(t, 200, begun.status, begun.body)
	require.Equal(t, "ana", begun.json()["person"])
	taken := b.floor("beto", "POST", "/v1/count-tasks/"+taskID+"/begin", map[string]any{})
	require.Equal(t, "count_task_taken", taken.code())
	require.Equal(t, "counting", taken.json()["current"].(map[string]any)["status"])
	old := b.floor("ana", "POST", "/v1/count-tasks/"+taskID+"/begin", map[string]any{"expected_version": 1})
	require.Equal(t, "version_changed", old.code())

	results := "/v1/count-tasks/" + taskID + "/results"
	first := b.floor("ana", "POST", results, cups(1), "Idempotency-Key", "c-1")
	require.Equal(t, 200, first.status, first.body)
	require.Equal(t, "recount", first.json()["task"].(map[string]any)["status"])
	require.NotContains(t, first.body, "expected")
	require.Equal(t, "another_person_needed", b.floor("ana", "POST", results, cups(2)).code())
	second := b.floor("beto", "POST", results, cups(1))
	require.Equal(t, "awaiting_approval", second.json()["task"].(map[string]any)["status"], second.body)
	require.Eventually(t, func() bool {
		s := b.temporal.signalled()
		return len(s) == 1 && strings.HasPrefix(s[0], "changed count:shop:"+countID)
	}, 5*time.Second, 10*time.Millisecond)
	require.Equal(t, second.json()["task"], b.floor("beto", "POST", results, cups(1)).json()["task"], "its answer was lost")
	require.Equal(t, "count_task_over", b.floor("carla", "POST", results, cups(5)).code())

	require.Equal(t, 403, b.floor("jefa", "GET", "/v1/count-tasks/"+taskID, nil).status)
	require.Equal(t, 403, b.floor("jefa", "POST", "/v1/count-tasks/"+taskID+"/approve", nil).status)
	seen := b.desk("jefa", "GET", "/v1/count-tasks/"+taskID, nil)
	require.Equal(t, 200, seen.status, seen.body)
	require.Len(t, seen.json()["counts"], 2)
	require.Equal(t, "another_person_needed", b.desk("ana", "POST", "/v1/count-tasks/"+taskID+"/approve", nil).code())
	require.Equal(t, "unknown_reason", b.desk("jefa", "POST", "/v1/count-tasks/"+taskID+"/approve", map[string]any{"reason": "nada"}).code())
	approved := b.desk("jefa", "POST", "/v1/count-tasks/"+taskID+"/approve", map[string]any{"reason": "theft"})
	require.Equal(t, 200, approved.status, approved.body)
	require.Equal(t, "adjusted", approved.json()["task"].(map[string]any)["outcome"])
	require.Equal(t, checkout.json()["id"], approved.json()["shorted"].([]any)[0].(map[string]any)["checkout_id"])
	require.Equal(t, "theft", value[string](b, `SELECT note FROM bin_movements WHERE reason = 'count'`))
	require.Eventually(t, func() bool {
		return strings.Contains(strings.Join(b.temporal.signalled(), "\n"), "short checkout:shop:"+checkout.json()["id"].(string))
	}, 5*time.Second, 10*time.Millisecond)
	require.Equal(t, "count_task_not_waiting", b.desk("otra", "POST", "/v1/count-tasks/"+taskID+"/reject", nil).code())

	report := b.floor("jefa", "GET", "/v1/reports/count-accuracy?warehouse=SCL-1&from=2026-01-01", nil)
	require.Equal(t, 200, report.status, report.body)
	require.Equal(t, 4., report.json()["total"].(map[string]any)["units_under"])
	require.Equal(t, "P", report.json()["by_zone"].([]any)[0].(map[string]any)["name"])
}

func TestCounts_RejectedBinIsCountedAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.countedShelves()
	_, taskID := b.aCount(map[string]any{"recount": false})
	require.Equal(t, "awaiting_approval", b.floor("ana", "POST", "/v1/count-tasks/"+taskID+"/results", map[string]any{"empty": true}).json()["task"].(map[string]any)["status"])
	rejected := b.desk("jefa", "POST", "/v1/count-tasks/"+taskID+"/reject", nil)
	require.Equal(t, "open", rejected.json()["task"].(map[string]any)["status"], rejected.body)
	done := b.floor("ana", "POST", "/v1/count-tasks/"+taskID+"/results", cups(5))
	require.Equal(t, "right", done.json()["task"].(map[string]any)["outcome"], done.body)
}

func TestCounts_OnePerKeyAndCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.countedShelves()
	body := map[string]any{"warehouse": "SCL-1", "zone": "P", "reason": "miscount", "tolerance_units": 2}
	first := b.floor("jefa", "POST", "/v1/counts", body, "Idempotency-Key", "k")
	require.Equal(t, 201, first.status, first.body)
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, location = NULL, lease = 'dead', lease_until = now() - interval '1 second'`)
	again := b.floor("jefa", "POST", "/v1/counts", body, "Idempotency-Key", "k")
	require.Equal(t, first.json()["id"], again.json()["id"], again.body)
	require.Equal(t, "nothing_to_count", b.floor("jefa", "POST", "/v1/counts", body).code())
	path := "/v1/counts/" + first.json()["id"].(string)
	page := b.floor("ana", "GET", path+"/tasks?limit=1", nil)
	require.NotNil(t, page.json()["next_cursor"])
	require.Len(t, b.floor("ana", "GET", path+"/tasks?limit=1&cursor="+page.json()["next_cursor"].(string), nil).json()["data"], 1)
	require.Equal(t, "cancelled", b.floor("jefa", "POST", path+"/cancel", nil).json()["status"])
	require.Equal(t, "cancelled", b.floor("jefa", "POST", path+"/cancel", map[string]any{}).json()["status"])
	require.Equal(t, 201, b.floor("jefa", "POST", "/v1/counts", body).status, "its bins are free again")
	b.sql(`UPDATE counts SET status = 'done', due_at = NULL, ended_at = now()`)
	require.Equal(t, "count_over", b.floor("jefa", "POST", path+"/cancel", nil).code())
}

func TestCounts_BadRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.countedShelves()
	bad := b.floor("jefa", "POST", "/v1/counts", map[string]any{"warehouse": "", "bins": []string{"P-1", "P-1"}, "zone": "P", "class": "D", "older_than_days": -1, "tolerance_units": -1, "tolerance_percent": 101})
	require.Equal(t, map[string]string{"warehouse": "required", "bins": "invalid", "bins[1]": "repeated", "class": "invalid", "older_than_days": "out_of_range", "reason": "required", "tolerance_units": "out_of_range", "tolerance_percent": "out_of_range"}, bad.fields())
	require.Equal(t, map[string]string{"bins[0]": "unknown_bin"}, b.floor("jefa", "POST", "/v1/counts", map[string]any{"warehouse": "SCL-1", "bins": []string{"NO"}, "reason": "miscount"}).fields())
	require.Equal(t, map[string]string{"X-Operator": "invalid"}, b.floor("  ñ", "POST", "/v1/counts", map[string]any{"warehouse": "SCL-1", "reason": "miscount"}).fields())
	require.Equal(t, 403, b.do("POST", "/v1/counts", `{}`, as(b.keys[tenant.Support])...).status)
	require.Equal(t, 422, b.do("GET", "/v1/count-tasks?status=lost", nil).status)
	for _, path := range []string{"/v1/counts/" + id.New(), "/v1/counts/x", "/v1/counts/" + id.New() + "/tasks", "/v1/count-tasks/" + id.New(), "/v1/count-plans/no", "/v1/adjustment-reasons/no"} {
		require.Equal(t, 404, b.do("GET", path, nil).status, path)
	}
	for _, verb := range []string{"begin", "approve", "reject"} {
		require.Equal(t, 404, b.do("POST", "/v1/count-tasks/"+id.New()+"/"+verb, nil).status, verb)
	}
	_, taskID := b.aCount(nil)
	results := "/v1/count-tasks/" + taskID + "/results"
	require.Equal(t, map[string]string{"lines": "required"}, b.floor("ana", "POST", results, `{}`).fields())
	require.Equal(t, map[string]string{"lines[0].code": "unknown_item"}, b.floor("ana", "POST", results, `{"lines":[{"code":"NADA","quantity":1}]}`).fields())
	require.Equal(t, "unknown_field", b.floor("ana", "POST", results, `{"lines":[{"sku":"TAZA","expected":1}]}`).code())
	require.Equal(t, 422, b.do("GET", "/v1/reports/count-accuracy?from=2026-02-01&to=2026-01-01", nil).status)
}

func TestCountPlans_AreMadeReplacedAndRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := "/v1/count-plans/diario"
	made := b.floor("jefa", "PUT", path, map[string]any{"warehouse": "SCL-1", "class": "A", "every_days": 30, "bins_per_day": 40})
	require.Equal(t, 201, made.status, made.body)
	require.Equal(t, 200, b.floor("jefa", "PUT", path, map[string]any{"warehouse": "SCL-1", "every_days": 7, "bins_per_day": 5, "active": false}).status)
	got := b.desk("x", "GET", path, nil)
	require.Equal(t, 7., got.json()["every_days"])
	require.Equal(t, false, got.json()["active"])
	require.Equal(t, map[string]string{"warehouse": "required", "every_days": "out_of_range", "bins_per_day": "out_of_range"}, b.floor("jefa", "PUT", path, `{}`).fields())
	require.Equal(t, "unknown_warehouse", b.floor("jefa", "PUT", path, map[string]any{"warehouse": "NO-1", "every_days": 7, "bins_per_day": 5}).code())
}

func TestAdjustmentReasons_AreExtendedByTheTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, true, b.desk("x", "GET", "/v1/adjustment-reasons/theft", nil).json()["built_in"])
	require.Equal(t, 201, b.floor("jefa", "PUT", "/v1/adjustment-reasons/ratones", map[string]any{"name_es": "Ratones", "name_en": "Mice"}).status)
	require.Equal(t, 200, b.floor("jefa", "PUT", "/v1/adjustment-reasons/theft", map[string]any{"name_es": "Hurto", "name_en": "Theft", "active": false}).status)
	list := b.desk("x", "GET", "/v1/adjustment-reasons", nil)
	require.Equal(t, 200, list.status, list.body)
	require.Len(t, list.json()["data"], 13)
	require.Equal(t, map[string]string{"code": "invalid", "name_en": "required", "name_es": "required"}, b.floor("jefa", "PUT", "/v1/adjustment-reasons/NO", `{}`).fields())
	b.countedShelves()
	require.Equal(t, map[string]string{"reason": "unknown_reason"}, b.floor("jefa", "POST", "/v1/counts", map[string]any{"warehouse": "SCL-1", "reason": "theft"}).fields())
}

func TestStockAlerts_OnePerCrossing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	set := b.floor("jefa", "PUT", "/v1/stock/TAZA/threshold", map[string]any{"warehouse": "SCL-1", "units": 20})
	require.Equal(t, 200, set.status, set.body)
	require.Equal(t, map[string]any{"sku": "TAZA", "warehouse": "SCL-1", "units": 20., "available": 20., "alert": false}, set.json())
	order := func() {
		a := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) { m["items"] = []any{map[string]any{"sku": "TAZA", "quantity": 1}} }))
		require.Equal(t, 201, a.status, a.body)
	}
	order()
	order()
	open := b.floor("jefa", "GET", "/v1/stock/alerts?open=true", nil)
	require.Equal(t, 200, open.status, open.body)
	require.Len(t, open.json()["data"], 1)
	first := open.json()["data"].([]any)[0].(map[string]any)
	require.Equal(t, []any{19., 18.}, []any{first["available"], first["available_now"]})
	require.Equal(t, 200, b.floor("jefa", "PUT", "/v1/stock/TAZA/threshold", map[string]any{"warehouse": "SCL-1", "units": nil}).status)
	require.Empty(t, b.desk("x", "GET", "/v1/stock/alerts?open=true", nil).json()["data"])
	require.Len(t, b.desk("x", "GET", "/v1/stock/alerts?open=false", nil).json()["data"], 1)
	require.Equal(t, 422, b.do("GET", "/v1/stock/alerts?open=perhaps", nil).status)
	require.Equal(t, 404, b.do("PUT", "/v1/stock/NADA/threshold", map[string]any{"warehouse": "SCL-1", "units": 1}).status)
	require.Equal(t, map[string]string{"warehouse": "required", "units": "out_of_range"}, b.do("PUT", "/v1/stock/TAZA/threshold", map[string]any{"units": 0}).fields())
	require.Equal(t, 403, b.do("PUT", "/v1/stock/TAZA/threshold", `{}`, as(b.keys[tenant.Storefront])...).status)
}

func TestCounts_TemporalIsAwayAndTheRunIsLeftToTheWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.countedShelves()
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	_, taskID := b.aCount(nil)
	require.False(t, value[bool](b, `SELECT watched FROM counts`))
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM wakes JOIN counts ON kind = 'count' AND subject = counts.id`))
	require.Equal(t, 200, b.floor("ana", "POST", "/v1/count-tasks/"+taskID+"/results", cups(5)).status)
}
