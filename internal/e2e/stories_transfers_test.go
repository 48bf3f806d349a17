package e2e_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/transfer"
	"justlogistics/workflows"
)

// goods are three boxes on their way from SCL-1 to CCP-1.
func goods(t *testing.T, s *stacktest.Shop) (path, run string) {
	t.Helper()
	s.Product("CAJA", 9990, 5)
	a := s.Call(tenant.Warehouse, "POST", "/v1/transfers", map[string]any{"from": "SCL-1", "to": "CCP-1", "lines": boxes(3)})
	require.Equal(t, 201, a.Status, "%s", a.Body)
	made := stacktest.Decode[transfer.Transfer](t, a)
	path = "/v1/transfers/" + made.ID
	require.Equal(t, transfer.InTransit, act(t, s, path+"/dispatch", map[string]any{"lines": boxes(3)}).Status)
	return path, s.WorkflowID(workflows.KindTransfer, made.ID)
}

func boxes(n int) []any { return []any{map[string]any{"sku": "CAJA", "quantity": n}} }

func act(t *testing.T, s *stacktest.Shop, path string, body any) transfer.Result {
	t.Helper()
	a := s.Call(tenant.Warehouse, "POST", path, body, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	return stacktest.Decode[transfer.Result](t, a)
}

// delayed makes the goods late and has their run look.
func delayed(t *testing.T, s *stacktest.Shop, run string) stacktest.Stuck {
	t.Helper()
	s.Do(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE transfers SET due_at = now() - interval '1 hour' WHERE tenant = $1`, s.Tenant)
		return err
	})
	s.Changed(run)
	return parked(s, run, "transfer_overdue")
}

// goodsLate are asked for twice and arrive in two parts.
func goodsLate(t *testing.T, s *stacktest.Shop) map[string]string {
	path, run := goods(t, s)
	item := delayed(t, s, run)
	require.Contains(t, string(s.Call(tenant.Support, "GET", "/v1/support/stuck", nil).Body), "3 of CAJA")
	require.ElementsMatch(t, []string{"resolve", "retry"}, item.Verbs)
	use(t, s, run, "retry", nil)
	nothingStuck(s)
	delayed(t, s, run)
	require.Equal(t, transfer.PartiallyReceived, act(t, s, path+"/receive", map[string]any{"lines": boxes(1)}).Status)
	nothingStuck(s)
	require.Equal(t, transfer.Received, act(t, s, path+"/receive", map[string]any{"lines": boxes(2)}).Status)
	s.AwaitClosed(run)
	require.Equal(t, 5, s.Available("CAJA"))
	return map[string]string{"transfer": run}
}

// goodsLost never arrive: the support desk closes their transfer.
func goodsLost(t *testing.T, s *stacktest.Shop) map[string]string {
	path, run := goods(t, s)
	delayed(t, s, run)
	use(t, s, run, "resolve", nil)
	s.AwaitClosed(run)
	nothingStuck(s)
	got := stacktest.Decode[transfer.Transfer](t, s.Call(tenant.Warehouse, "GET", path, nil))
	require.Equal(t, transfer.ReceivedShort, got.Status)
	require.Equal(t, 3, got.Units[0].Lost)
	return map[string]string{"transfer": run}
}

// goodsRestarted lose their run and go on from the row.
func goodsRestarted(t *testing.T, s *stacktest.Shop) map[string]string {
	path, run := goods(t, s)
	s.Terminate(run)
	use(t, s, run, "restart", nil)
	delayed(t, s, run)
	require.Equal(t, transfer.Cancelled, act(t, s, path+"/cancel", map[string]any{"recall": true}).Status)
	s.AwaitClosed(run)
	s.Eventually(func() (string, bool) { n := s.Available("CAJA"); return fmt.Sprint(n), n == 5 })
	nothingStuck(s)
	return map[string]string{"transfer": run}
}
