package api_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

func TestScans_EachCommandHasItsAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := map[string]any{"device": "scanner-1", "commands": []any{
		map[string]any{"id": "c-2", "seq": 2, "kind": "dance", "scanned": map[string]any{"code": "4006381333931"}},
		map[string]any{"id": "c-1", "seq": 1, "kind": "dance", "at": time.Now().Add(-24 * time.Hour).UTC().Format(time.RFC3339)},
	}}
	a := b.do("POST", "/v1/scans", body, as(b.keys[tenant.Warehouse])...)
	require.Equal(t, 200, a.status, a.body)
	results := a.json()["results"].([]any)
	require.Len(t, results, 2)
	require.Equal(t, "c-2", results[0].(map[string]any)["id"])
	require.Equal(t, "conflict", results[0].(map[string]any)["status"])
	require.Equal(t, "unknown_kind", results[0].(map[string]any)["code"])
	again := b.do("POST", "/v1/scans", body)
	require.Equal(t, "duplicate", again.json()["results"].([]any)[1].(map[string]any)["status"])

	require.Equal(t, 403, b.do("POST", "/v1/scans", body, as(b.keys[tenant.Storefront])...).status)
	bad := b.do("POST", "/v1/scans", map[string]any{"device": "", "commands": []any{
		map[string]any{"id": "x", "kind": "", "task": "no task", "at": "2020-01-01T00:00:00Z"}, map[string]any{"id": "x", "seq": 1, "kind": "move", "operator": " "}}})
	require.Equal(t, map[string]string{"device": "required", "commands[0].seq": "required", "commands[0].kind": "required", "commands[0].task": "invalid", "commands[0].at": "out_of_range",
		"commands[1].id": "repeated", "commands[1].operator": "invalid"}, bad.fields())
	require.Equal(t, map[string]string{"commands": "out_of_range"}, b.do("POST", "/v1/scans", map[string]any{"device": "d", "commands": []any{}}).fields())
	require.Equal(t, map[string]string{"X-Operator": "invalid"}, b.do("POST", "/v1/scans", body, "X-Operator", "bad  name").fields())
}

func TestOperators_TasksAndExceptions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.do("PUT", "/v1/operators/ana", map[string]any{"may": []string{"pick"}})
	require.Equal(t, 201, o.status, o.body)
	require.Equal(t, 200, b.do("PUT", "/v1/operators/ana", map[string]any{"may": []string{"pick", "count"}, "active": true}).status)
	require.Equal(t, 403, b.do("PUT", "/v1/operators/ana", map[string]any{"may": []string{}}, as(b.keys[tenant.Warehouse])...).status)
	require.Equal(t, map[string]string{"may[0]": "invalid"}, b.do("PUT", "/v1/operators/luis", map[string]any{"may": []string{"dance"}}).fields())
	all := b.do("GET", "/v1/operators", nil, as(b.keys[tenant.Warehouse])...)
	require.Len(t, all.json()["data"], 1)

	claim := b.do("POST", "/v1/tasks/pick:1/claim", map[string]any{"seconds": 60, "device": "scanner-1"}, "X-Operator", "ana")
	require.Equal(t, 200, claim.status, claim.body)
	require.Equal(t, "ana", claim.json()["person"])
	taken := b.do("POST", "/v1/tasks/pick:1/claim", nil, "X-Operator", "luis")
	require.Equal(t, 409, taken.status, taken.body)
	require.Equal(t, "task_taken", taken.json()["code"])
	require.Equal(t, 200, b.do("POST", "/v1/tasks/pick:1/release", nil, "X-Operator", "ana").status)
	require.Equal(t, 200, b.do("POST", "/v1/tasks/pick:1/claim", nil, "X-Operator", "luis").status)
	require.Equal(t, map[string]string{"task": "invalid", "seconds": "out_of_range"}, b.do("POST", "/v1/tasks/Pick/claim", map[string]any{"seconds": 0}).fields())

	none := b.do("GET", "/v1/exceptions?status=open", nil)
	require.Equal(t, 200, none.status, none.body)
	require.Empty(t, none.json()["data"])
	require.Equal(t, 422, b.do("GET", "/v1/exceptions?status=lost", nil).status)
	require.Equal(t, 404, b.do("POST", "/v1/exceptions/01ARZ3NDEKTSV4RRFFQ69G5FAV/resolve", map[string]any{"resolution": "found"}).status)
}

// scan sends commands of one device and returns the answers.
func (b *bundle) scan(device string, commands ...map[string]any) []map[string]any {
	b.t.Helper()
	a := b.do("POST", "/v1/scans", map[string]any{"device": device, "commands": commands}, b.ana()...)
	require.Equal(b.t, 200, a.status, a.body)
	var out []map[string]any
	for _, r := range a.json()["results"].([]any) {
		out = append(out, r.(map[string]any))
	}
	require.Len(b.t, out, len(commands))
	return out
}

func command(seq int, kind, task string, scanned map[string]any) map[string]any {
	return map[string]any{"id": fmt.Sprintf("%s-%d", kind, seq), "seq": seq, "kind": kind, "task": task, "scanned": scanned}
}

func TestScans_AShiftThatWasOfflineIsAppliedInOrderAndWhatWasWrongWaitsForAPerson(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shelves(map[string]int{"A-01-A": 10})
	b.bought()
	list, path := b.listed()
	task := "pick:" + list
	picked := func(bin string, quantity int) map[string]any {
		return map[string]any{"picks": []any{map[string]any{"line": 1, "bin": bin, "product": "POL-ROJO-S", "quantity": quantity}}, "to": "PACK"}
	}
	shift := []map[string]any{
		command(1, "start_list", task, nil),
		command(2, "pick", task, picked("EMPTY", 1)), // scanned the wrong bin
		command(3, "pick", task, picked("A-01-A", 2)),
		command(4, "complete_list", task, nil),
		command(5, "move", "", map[string]any{"warehouse": "SCL-1", "code": "POL-ROJO-S", "quantity": 3, "from": map[string]any{"bin": "A-01-A"}, "to": map[string]any{"bin": "EMPTY"}, "reason": "move"}),
		command(6, "pick", "count-task:1", picked("A-01-A", 1)),
		command(7, "move", "", map[string]any{"warehouse": "SCL-1", "quantty": 3}),
	}
	got := b.scan("scanner-1", shift...)
	var statuses, codes []string
	for _, a := range got {
		statuses = append(statuses, a["status"].(string))
		code, _ := a["code"].(string)
		codes = append(codes, code)
	}
	require.Equal(t, []string{"applied", "conflict", "applied", "applied", "applied", "conflict", "conflict"}, statuses, got)
	require.Equal(t, []string{"", "wrong_bin", "", "", "", "wrong_task", "unknown_field"}, codes)
	require.NotEmpty(t, got[1]["exception_id"])
	require.NotNil(t, got[1]["current"], "the list as it stands")
	require.Equal(t, "completed", b.do("GET", path, nil, b.ana()...).json()["status"])
	require.Equal(t, 3, value[int](b, `SELECT quantity FROM bin_stock WHERE bin = 'EMPTY'`))
	require.Equal(t, 2, value[int](b, `SELECT quantity FROM bin_stock WHERE bin = 'PACK'`))
	require.Equal(t, 3, value[int](b, `SELECT count(*)::int FROM exception_tasks WHERE status = 'open'`))

	for _, a := range b.scan("scanner-2", shift...) {
		require.Equal(t, "duplicate", a["status"])
	}
	require.Equal(t, 2, value[int](b, `SELECT quantity FROM bin_stock WHERE bin = 'PACK'`), "the same shift from another device picks nothing again")

	resolved := b.do("POST", "/v1/exceptions/"+got[1]["exception_id"].(string)+"/resolve", map[string]any{"resolution": "nothing was taken"}, b.ana()...)
	require.Equal(t, 200, resolved.status, resolved.body)
	require.Equal(t, "ana", resolved.json()["resolved_by"])
	require.Equal(t, 404, b.do("POST", "/v1/exceptions/"+got[1]["exception_id"].(string)+"/resolve", map[string]any{"resolution": "x"}, as(b.otherKey)...).status)
}

func TestOperators_AreHeldToTheirWorkAtEveryEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shelves(map[string]int{"A-01-A": 10})
	require.Equal(t, 201, b.do("PUT", "/v1/operators/ana", map[string]any{"may": []string{"count"}}).status)
	move := map[string]any{"warehouse": "SCL-1", "sku": "POL-ROJO-S", "quantity": 1, "from": map[string]any{"bin": "A-01-A"}, "to": map[string]any{"bin": "EMPTY"}, "reason": "move"}
	a := b.do("POST", "/v1/stock/moves", move, b.ana()...)
	require.Equal(t, 403, a.status, a.body)
	require.Equal(t, "not_allowed", a.code())
	require.Equal(t, "unknown_operator", b.do("POST", "/v1/stock/moves", move, as(b.keys[tenant.Warehouse])...).code())
	require.Equal(t, 201, b.do("POST", "/v1/stock/moves", move).status, "an administrator who names no operator")
	require.Equal(t, 200, b.do("PUT", "/v1/operators/ana", map[string]any{"may": []string{"count", "move"}}).status)
	require.Equal(t, 201, b.do("POST", "/v1/stock/moves", move, b.ana()...).status)
}
