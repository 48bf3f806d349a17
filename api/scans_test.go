package api_test

import (
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
