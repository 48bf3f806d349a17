package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

// countOfTwoBins has five units in bin P-1 and none in P-2, and a count of both.
func countOfTwoBins(t *testing.T, s *stacktest.Shop) (countID, run string, tasks map[string]string) {
	t.Helper()
	s.Product("CONTADA", 9990, 5)
	s.Do(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO bins (tenant, warehouse, code, kind) SELECT $1, 'SCL-1', c, 'pick' FROM unnest(ARRAY['P-1','P-2']) c`, s.Tenant)
		if err != nil {
			return err
		}
		_, err = stock.Move(t.Context(), tx, s.Tenant, stock.BinMovement{SKU: "CONTADA", Warehouse: "SCL-1", Quantity: 5, From: stock.Unplaced(), To: stock.In("P-1", stock.Available), Reason: "put_away", By: stock.By{Person: "bodega"}})
		return err
	})
	a := s.Call(tenant.Warehouse, "POST", "/v1/counts", map[string]any{"warehouse": "SCL-1", "bins": []string{"P-1", "P-2"}, "reason": "miscount"}, "X-Operator", "jefa")
	require.Equal(t, 201, a.Status, "%s", a.Body)
	countID = stacktest.Decode[struct{ ID string }](t, a).ID
	list := stacktest.Decode[struct{ Data []struct{ ID, Bin string } }](t, s.Call(tenant.Warehouse, "GET", "/v1/counts/"+countID+"/tasks", nil))
	tasks = map[string]string{}
	for _, task := range list.Data {
		tasks[task.Bin] = task.ID
	}
	require.Len(t, tasks, 2)
	s.Eventually(func() (string, bool) {
		watched := false
		s.Do(func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT watched FROM counts WHERE tenant = $1 AND id = $2`, s.Tenant, countID).Scan(&watched)
		})
		return "the run has not looked yet", watched
	})
	return countID, s.WorkflowID(workflows.KindCount, countID), tasks
}

// sees sends what a person sees in a bin and returns how the task stands.
func sees(t *testing.T, s *stacktest.Shop, taskID, who string, units int) string {
	t.Helper()
	body := map[string]any{"empty": true}
	if units > 0 {
		body = map[string]any{"lines": []any{map[string]any{"sku": "CONTADA", "quantity": units}}}
	}
	a := s.Call(tenant.Warehouse, "POST", "/v1/count-tasks/"+taskID+"/results", body, "X-Operator", who)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	return stacktest.Decode[struct{ Task struct{ Status string } }](t, a).Task.Status
}

// binsCounted: one bin is right, two people agree that the other is not, and a
// third lets the books be corrected.
func binsCounted(t *testing.T, s *stacktest.Shop) map[string]string {
	countID, run, tasks := countOfTwoBins(t, s)
	require.Equal(t, "done", sees(t, s, tasks["P-2"], "ana", 0))
	require.Equal(t, "recount", sees(t, s, tasks["P-1"], "ana", 4))
	require.Equal(t, "awaiting_approval", sees(t, s, tasks["P-1"], "beto", 4))
	a := s.Call(tenant.Support, "POST", "/v1/count-tasks/"+tasks["P-1"]+"/approve", map[string]any{"reason": "theft"}, "X-Operator", "jefa")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	s.AwaitClosed(run)
	require.Equal(t, 4, s.Available("CONTADA"))
	require.Equal(t, "done", countStatus(t, s, countID))
	nothingStuck(s)
	return map[string]string{"count": run}
}

func countStatus(t *testing.T, s *stacktest.Shop, countID string) string {
	t.Helper()
	a := s.Call(tenant.Support, "GET", "/v1/counts/"+countID, nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	return stacktest.Decode[struct{ Status string }](t, a).Status
}

// lateCount makes a count as old as one that nobody has cared for, and has a
// difference wait in it.
func lateCount(t *testing.T, s *stacktest.Shop) (countID, run string, tasks map[string]string) {
	t.Helper()
	countID, run, tasks = countOfTwoBins(t, s)
	s.Do(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE counts SET complete_by = now() - interval '1 hour', created_at = now() - interval '2 days', recount = false WHERE tenant = $1 AND id = $2`, s.Tenant, countID)
		return err
	})
	require.Equal(t, "awaiting_approval", sees(t, s, tasks["P-1"], "ana", 1))
	s.Do(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE count_tasks SET waits_since = now() - interval '5 hours' WHERE tenant = $1 AND id = $2`, s.Tenant, tasks["P-1"])
		return err
	})
	awaitAsked(s, run, "count_past_due", "count_waits_for_approval")
	return countID, run, tasks
}

// awaitAsked waits until a run has parked these steps, and no other.
func awaitAsked(s *stacktest.Shop, run string, reasons ...string) {
	s.Eventually(func() (string, bool) {
		n, list := 0, s.Stuck()
		for _, i := range list {
			for _, reason := range reasons {
				if i.Kind == "parked" && i.WorkflowID == run && i.Reason == reason {
					n++
				}
			}
		}
		return fmt.Sprintf("%+v", list), n == len(reasons) && len(list) == n
	})
}

// countCancelled: a count that is late gets a day more, and is then given up.
func countCancelled(t *testing.T, s *stacktest.Shop) map[string]string {
	countID, run, _ := lateCount(t, s)
	use(t, s, run, "retry", map[string]any{"step": "tasks"})
	awaitAsked(s, run, "count_waits_for_approval")
	use(t, s, run, "cancel", nil)
	s.AwaitClosed(run)
	require.Equal(t, "cancelled", countStatus(t, s, countID))
	require.Equal(t, 5, s.Available("CONTADA"), "nothing was booked")
	nothingStuck(s)
	return map[string]string{"count": run}
}

// countRestarted: a run that was lost goes on from its rows, and tells again what
// is late.
func countRestarted(t *testing.T, s *stacktest.Shop) map[string]string {
	countID, run, _ := lateCount(t, s)
	s.Terminate(run)
	use(t, s, run, "restart", nil)
	awaitAsked(s, run, "count_past_due", "count_waits_for_approval")
	a := s.Call(tenant.Support, "POST", "/v1/counts/"+countID+"/cancel", nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	s.AwaitClosed(run)
	nothingStuck(s)
	return map[string]string{"count": run}
}

// countReworded: while a person is asked for a difference, another bin differs
// too, and the case names both.
func countReworded(t *testing.T, s *stacktest.Shop) map[string]string {
	_, run, tasks := lateCount(t, s)
	require.Equal(t, "awaiting_approval", sees(t, s, tasks["P-2"], "ana", 1))
	use(t, s, run, "retry", map[string]any{"step": "tasks"})
	s.Eventually(func() (string, bool) {
		list := string(s.Call(tenant.Support, "GET", "/v1/support/stuck", nil).Body)
		return list, strings.Contains(list, "2 bins wait for somebody to approve or reject a difference in SCL-1: ")
	})
	use(t, s, run, "cancel", nil)
	s.AwaitClosed(run)
	nothingStuck(s)
	return map[string]string{"count": run}
}
