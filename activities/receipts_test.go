package activities_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/internal/id"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/support"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/receiving"
)

var atTheDoor = stock.By{Person: "ana"}

// door does something as a person who receives goods.
func door(t *testing.T, s *shoptest.Shop, do func(tx pgx.Tx, shop tenant.Tenant) error) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
		if err != nil {
			return err
		}
		return do(tx, shop)
	})
}

// begunReceipt is a receipt for a purchase order of three units of A, of which
// none was scanned.
func begunReceipt(t *testing.T, s *shoptest.Shop) (receiptID string) {
	t.Helper()
	s.Bin(t, "SCL-1", "IN", "receiving")
	receiptID = id.New()
	door(t, s, func(tx pgx.Tx, shop tenant.Tenant) error {
		in := receiving.OrderInput{Number: "PO-1", Supplier: "Textiles", Warehouse: "SCL-1", Lines: []receiving.OrderLineInput{{SKU: "A", Quantity: 3}}}
		order, err := receiving.CreateOrder(t.Context(), tx, shop, id.New(), in, atTheDoor)
		if err != nil {
			return err
		}
		_, err = receiving.StartReceipt(t.Context(), tx, shop, receiptID, receiving.ReceiptInput{Warehouse: "SCL-1", PurchaseOrderID: order.ID, Bin: "IN"}, atTheDoor)
		return err
	})
	return receiptID
}

func TestWatches_ReadAndPostponeAReceiptAndNeverCloseIt(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	receiptID := begunReceipt(t, s)
	w := &activities.Watches{DB: s.DB}
	ref := activities.WatchRef{Kind: "receipt", Tenant: shoptest.Tenant, ID: receiptID}
	got, err := w.LoadWatched(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, "open", got.Status)
	require.False(t, got.Over)
	require.Regexp(t, `^Goods for purchase order PO-1 are being received in bin IN of SCL-1 since \d{4}-\d\d-\d\d \d\d:\d\d UTC: the receipt waits for the first scan\.$`, got.WaitsFor)
	require.WithinDuration(t, time.Now().Add(12*time.Hour), got.DueAt, time.Minute)

	s.Exec(t, `UPDATE receipts SET due_at = now() - interval '1 hour'`)
	for range 2 { // a worker that died after the effect
		require.NoError(t, w.PostponeWatched(t.Context(), ref))
	}
	got, err = w.LoadWatched(t.Context(), ref)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), got.DueAt, time.Minute)
	require.Equal(t, []int{1}, shoptest.List[int](t, s, `SELECT version::int FROM receipts`), "what a person sees has not changed")

	three := 3
	require.Equal(t, activities.TypeBug, activities.ErrorType(w.ResolveWatched(t.Context(), ref, "none")))
	door(t, s, func(tx pgx.Tx, shop tenant.Tenant) error {
		_, err := receiving.ScanGoods(t.Context(), tx, shop, receiving.Scans{ReceiptID: receiptID, Batch: id.New(), Scans: []receiving.Scan{{Code: "A", Quantity: &three}}, By: atTheDoor}, time.Now())
		return err
	})
	got, err = w.LoadWatched(t.Context(), ref)
	require.NoError(t, err)
	require.Contains(t, got.WaitsFor, "waits for a person to close it.")
	door(t, s, func(tx pgx.Tx, shop tenant.Tenant) error {
		_, err := receiving.CloseReceipt(t.Context(), tx, shop, receiving.Closing{ReceiptID: receiptID, By: atTheDoor})
		return err
	})
	require.NoError(t, w.PostponeWatched(t.Context(), ref))
	got, err = w.LoadWatched(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, activities.Watched{Status: "closed", Over: true}, got)
	s.CheckBooks(t)

	ref.ID = id.New()
	_, err = w.LoadWatched(t.Context(), ref)
	require.Error(t, err, "there is none of that id")
}

// The API that dies between the receipt and the start of its run leaves a row:
// whoever looks over all rows finds it at once, the sweep when it is due, and the
// support list shows it once.
func TestSweep_FindsReceiptsThatNobodyLooksAfter(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	receiptID := begunReceipt(t, s.Shop)
	watcher := "receipt:acme:" + receiptID
	require.NoError(t, s.Sweep(t.Context()))
	require.Empty(t, s.restarted, "not due yet")
	require.NoError(t, s.CheckAll(t.Context()))
	require.Equal(t, []string{watcher}, s.restarted)

	s.restarted = nil
	s.Exec(t, `UPDATE receipts SET due_at = now() - interval '1 minute'`)
	s.Do(t, func(tx pgx.Tx) error {
		list, err := support.Stuck(t.Context(), tx, shoptest.Tenant, "", 10)
		require.Len(t, list, 1)
		require.Equal(t, "receipt", list[0].Of)
		require.Equal(t, watcher, *list[0].WorkflowID)
		return err
	})
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, []string{watcher}, s.restarted)

	s.restarted = nil
	s.temporal.runs[watcher] = run(running, 0)
	require.NoError(t, s.Sweep(t.Context()))
	require.Empty(t, s.restarted)

	s.Exec(t, `INSERT INTO parked (tenant, workflow_id, step, subject, reason, message, verbs, due_at) VALUES ('acme', $1, 'reception', $2, 'receipt_overdue', 'm', '{retry}', now())`, watcher, receiptID)
	s.Do(t, func(tx pgx.Tx) error {
		list, err := support.Stuck(t.Context(), tx, shoptest.Tenant, "", 10)
		require.Len(t, list, 1)
		require.Equal(t, "parked", list[0].Kind)
		return err
	})
}
