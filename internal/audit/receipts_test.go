package audit

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/id"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/receiving"
)

// receiveGoods has two receipts of one purchase order, at the bin DOOR-1 of SCL-1:
// a closed one, of units of which one was taken back and one is damaged, and an
// open one.
func (s *shop) receiveGoods() {
	s.ids["delivery"], s.ids["door"], s.ids["purchase"] = id.New(), id.New(), id.New()
	by := stock.By{Person: "ana"}
	s.in(func(tx pgx.Tx) error {
		ctx := s.t.Context()
		shop, err := tenant.Get(ctx, tx, shopID)
		require.NoError(s.t, err)
		_, err = tx.Exec(ctx, `INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', 'DOOR-1', 'receiving')`, shopID)
		require.NoError(s.t, err)
		_, err = catalog.PutProduct(ctx, tx, shopID, "FARO", catalog.ProductInput{Name: "Faro", Prices: []catalog.Price{{Currency: "CLP", Amount: 990}}})
		require.NoError(s.t, err)
		order := receiving.OrderInput{Number: "PO-1", Supplier: "Faros", Warehouse: "SCL-1", Lines: []receiving.OrderLineInput{{SKU: "FARO", Quantity: 9}}}
		_, err = receiving.CreateOrder(ctx, tx, shop, s.ids["purchase"], order, by)
		require.NoError(s.t, err)
		for _, receiptID := range []string{s.ids["delivery"], s.ids["door"]} {
			_, err = receiving.StartReceipt(ctx, tx, shop, receiptID, receiving.ReceiptInput{Warehouse: "SCL-1", PurchaseOrderID: s.ids["purchase"], Bin: "DOOR-1"}, by)
			require.NoError(s.t, err)
		}
		five, one := 5, 1
		scans := []receiving.Scan{{Code: "FARO", Quantity: &five}, {Code: "FARO", Quantity: &one, Condition: "damaged"}, {Code: "NADIE"}}
		_, err = receiving.ScanGoods(ctx, tx, shop, receiving.Scans{ReceiptID: s.ids["delivery"], Batch: id.New(), Scans: scans, By: by}, time.Now())
		require.NoError(s.t, err)
		_, _, err = receiving.Correct(ctx, tx, shop, receiving.Correction{ReceiptID: s.ids["delivery"], Batch: id.New(), SKU: "FARO", Quantity: 1, Condition: "good", Reason: "counted twice", By: by}, time.Now())
		require.NoError(s.t, err)
		_, err = receiving.CloseReceipt(ctx, tx, shop, receiving.Closing{ReceiptID: s.ids["delivery"], Accept: []string{receiving.UnknownItem}, By: by})
		return err
	})
}

func TestAudit_NamesWhatWasBrokenAtTheDoor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ check, subject, breaks string }{
		{"receipts.entries_are_their_movements", "delivery", `UPDATE receipt_entries SET quantity = quantity + 1 WHERE kind = 'scan' AND condition = 'good'`},
		{"receipts.entries_are_their_movements", "delivery", `UPDATE receipt_entries SET bin = 'A-99' WHERE kind = 'correction'`},
		{"receipts.entries_are_their_movements", "delivery", `DELETE FROM receipt_entries WHERE kind = 'correction'`},
		{"receipts.entries_are_their_movements", "delivery", `DELETE FROM receipt_entries`},
		{"receipts.entries_are_their_movements", "delivery", `DELETE FROM bin_movements WHERE sku = 'FARO' AND from_bin IS NULL`},
		{"receipts.entries_are_their_movements", "door", `UPDATE bin_movements SET document = 'receipt:{door}' WHERE sku = 'FARO'`},
		{"receipts.orders_count_what_came", "purchase", `UPDATE purchase_order_lines SET received = received + 1`},
		{"receipts.orders_count_what_came", "purchase", `UPDATE purchase_order_lines SET damaged = 0`},
		{"receipts.orders_count_what_came", "purchase", `UPDATE receipt_entries SET line = NULL`},
		{"due.everything_open_has_its_time", "door", `ALTER TABLE receipts DROP CONSTRAINT an_open_receipt_is_due; UPDATE receipts SET due_at = NULL`},
	} {
		t.Run(tc.check, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			s.broken(tc.breaks)
			requireNamed(t, s.audit(), tc.check, s.ids[tc.subject])
		})
	}
}

func TestAudit_LateReceiptsAreOnTheSupportList(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.broken(`UPDATE receipts SET due_at = now() - interval '1 minute' WHERE status = 'open'`)
	require.True(t, s.audit().OK())
}
