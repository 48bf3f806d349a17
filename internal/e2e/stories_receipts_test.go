package e2e_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/receiving"
	"justlogistics/workflows"
)

// door is a receipt at SCL-1 for which nothing was scanned yet.
func door(t *testing.T, s *stacktest.Shop) (path, run string) {
	t.Helper()
	s.Product("CAJA", 9990, 5)
	s.Do(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', 'IN', 'receiving')`, s.Tenant)
		return err
	})
	a := s.Call(tenant.Warehouse, "POST", "/v1/receipts", map[string]any{"warehouse": "SCL-1", "bin": "IN", "document": "GD-4711"}, "X-Operator", "ana")
	require.Equal(t, 201, a.Status, "%s", a.Body)
	made := stacktest.Decode[receiving.Detail](t, a)
	return "/v1/receipts/" + made.ID, s.WorkflowID(workflows.KindReceipt, made.ID)
}

// scanBoxes scans boxes that have come.
func scanBoxes(t *testing.T, s *stacktest.Shop, path string, n int) {
	t.Helper()
	a := s.Call(tenant.Warehouse, "POST", path+"/scans", map[string]any{"scans": []any{map[string]any{"code": "CAJA", "quantity": n}}}, "X-Operator", "ana")
	require.Equal(t, 201, a.Status, "%s", a.Body)
}

// ends closes or cancels a receipt.
func ends(t *testing.T, s *stacktest.Shop, path, how string) string {
	t.Helper()
	a := s.Call(tenant.Warehouse, "POST", path+"/"+how, nil, "X-Operator", "ana")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	return stacktest.Decode[receiving.Detail](t, a).Status
}

// leftOpen makes a receipt late and has its run look.
func leftOpen(t *testing.T, s *stacktest.Shop, run string) stacktest.Stuck {
	t.Helper()
	s.Do(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE receipts SET due_at = now() - interval '1 hour' WHERE tenant = $1`, s.Tenant)
		return err
	})
	s.Changed(run)
	return parked(s, run, "receipt_overdue")
}

// goodsReceived are scanned, one box of them twice, and the receipt is closed.
func goodsReceived(t *testing.T, s *stacktest.Shop) map[string]string {
	path, run := door(t, s)
	scanBoxes(t, s, path, 2)
	scanBoxes(t, s, path, 2)
	a := s.Call(tenant.Warehouse, "POST", path+"/corrections", map[string]any{"sku": "CAJA", "quantity": 1, "reason": "scanned twice"}, "X-Operator", "ana")
	require.Equal(t, 201, a.Status, "%s", a.Body)
	require.Equal(t, "closed", ends(t, s, path, "close"))
	s.AwaitClosed(run)
	require.Equal(t, 8, s.Available("CAJA"))
	nothingStuck(s)
	return map[string]string{"receipt": run}
}

// receiptLate: a receipt that nobody closes is asked for, waits another day, loses
// its run, goes on from its row and is cancelled, as nothing came.
func receiptLate(t *testing.T, s *stacktest.Shop) map[string]string {
	path, run := door(t, s)
	item := leftOpen(t, s, run)
	require.Contains(t, string(s.Call(tenant.Support, "GET", "/v1/support/stuck", nil).Body), "the receipt waits for the first scan")
	require.Equal(t, []string{"retry"}, item.Verbs)
	require.Equal(t, 409, s.Use(run, "resolve", nil).Status, "what came is known at the door alone")
	require.Len(t, s.Stuck(), 1, "it is listed once")
	use(t, s, run, "retry", nil)
	nothingStuck(s)
	s.Terminate(run)
	use(t, s, run, "restart", nil)
	leftOpen(t, s, run)
	require.Equal(t, "cancelled", ends(t, s, path, "cancel"))
	s.AwaitClosed(run)
	nothingStuck(s)
	return map[string]string{"receipt": run}
}
