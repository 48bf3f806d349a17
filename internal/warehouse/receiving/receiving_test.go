package receiving_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/receiving"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var (
	ana = stock.By{Person: "ana", Device: "scanner-1"}
	now = time.Date(2026, 6, 1, 15, 0, 0, 0, time.UTC)
)

// dock is a warehouse's door: a SKU with lots, one with serials and one with
// neither, and a bin of each kind.
type dock struct {
	*shoptest.Shop
	t testing.TB
}

func newDock(t testing.TB, change ...func(*tenant.Settings)) *dock {
	t.Helper()
	s := shoptest.New(t, change...)
	for sku, tracking := range map[string]string{"PLAIN": "none", "CHEESE": "lot", "PHONE": "serial"} {
		s.Product(t, sku, 1000)
		s.Tracked(t, sku, tracking, "fefo")
	}
	s.Exec(t, `UPDATE products SET receive_days_left = 30 WHERE sku = 'CHEESE'`)
	for code, kind := range map[string]string{"IN": "receiving", "A-01-A": "pick", "A-02-A": "pick", "R-01-A": "reserve", "Q-01": "quarantine", "D-01": "damaged", "PACK": "packing"} {
		s.Bin(t, "SCL-1", code, kind)
	}
	return &dock{Shop: s, t: t}
}

func (d *dock) in(fn func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error) error {
	ctx := context.Background()
	return d.DB.InTenant(ctx, shoptest.Tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, shoptest.Tenant)
		if err != nil {
			return err
		}
		return fn(ctx, tx, shop)
	})
}

func (d *dock) order(lines ...receiving.OrderLineInput) receiving.PurchaseOrder {
	d.t.Helper()
	var out receiving.PurchaseOrder
	require.NoError(d.t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
		out, err = receiving.CreateOrder(ctx, tx, shop, id.New(), receiving.OrderInput{Number: "PO-" + id.New(), Supplier: "Lácteos del Sur", Warehouse: "SCL-1", Lines: lines}, ana)
		return err
	}))
	return out
}

func (d *dock) readOrder(orderID string) (out receiving.PurchaseOrder) {
	d.t.Helper()
	require.NoError(d.t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
		out, err = receiving.ReadOrder(ctx, tx, shop.ID, orderID)
		return err
	}))
	return out
}

func (d *dock) start(orderID string) (out receiving.Detail, err error) {
	err = d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
		out, err = receiving.StartReceipt(ctx, tx, shop, id.New(), receiving.ReceiptInput{Warehouse: "SCL-1", PurchaseOrderID: orderID, Bin: "IN"}, ana)
		return err
	})
	return out, err
}

func (d *dock) begin(orderID string) string {
	d.t.Helper()
	r, err := d.start(orderID)
	require.NoError(d.t, err)
	return r.ID
}

func (d *dock) scan(receiptID string, scans ...receiving.Scan) (entries []receiving.Entry, out receiving.Detail, err error) {
	err = d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
		if entries, err = receiving.ScanGoods(ctx, tx, shop, receiving.Scans{ReceiptID: receiptID, Batch: id.New(), Scans: scans, By: ana}, now); err != nil {
			return err
		}
		out, err = receiving.ReadReceipt(ctx, tx, shop, receiptID)
		return err
	})
	return entries, out, err
}

func (d *dock) scanned(receiptID string, scans ...receiving.Scan) ([]receiving.Entry, receiving.Detail) {
	d.t.Helper()
	entries, out, err := d.scan(receiptID, scans...)
	require.NoError(d.t, err)
	return entries, out
}

func (d *dock) correct(c receiving.Correction) (entries []receiving.Entry, out receiving.Detail, err error) {
	c.Batch, c.Reason, c.By = id.New(), "scanned twice", ana
	err = d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
		if entries, _, err = receiving.Correct(ctx, tx, shop, c, now); err != nil {
			return err
		}
		out, err = receiving.ReadReceipt(ctx, tx, shop, c.ReceiptID)
		return err
	})
	return entries, out, err
}

func (d *dock) close(receiptID string, accept ...string) (out receiving.Detail, err error) {
	err = d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
		out, err = receiving.CloseReceipt(ctx, tx, shop, receiving.Closing{ReceiptID: receiptID, Accept: accept, By: ana})
		return err
	})
	return out, err
}

func (d *dock) closed(receiptID string, accept ...string) receiving.Detail {
	d.t.Helper()
	out, err := d.close(receiptID, accept...)
	require.NoError(d.t, err)
	return out
}

func (d *dock) cancelOrder(orderID string) receiving.PurchaseOrder {
	d.t.Helper()
	var out receiving.PurchaseOrder
	require.NoError(d.t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
		out, err = receiving.CancelOrder(ctx, tx, shop.ID, receiving.End{OrderID: orderID, Reason: "too late", By: ana})
		return err
	}))
	return out
}

func (d *dock) putAway(in receiving.ToPutAway) (out receiving.PutAwayDone, err error) {
	in.Warehouse, in.By = "SCL-1", ana
	err = d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
		out, err = receiving.PutAway(ctx, tx, shop, in, now)
		return err
	})
	return out, err
}

func (d *dock) propose(receiptID string) (out receiving.Proposals) {
	d.t.Helper()
	require.NoError(d.t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
		out, err = receiving.Propose(ctx, tx, shop, receiptID, time.Now())
		return err
	}))
	return out
}

// bins tells what lies where, as bin/sku/lot/status: units.
func (d *dock) bins() map[string]int {
	d.t.Helper()
	out := map[string]int{}
	rows, err := d.Super.Query(context.Background(), `SELECT concat_ws('/', bin, sku, nullif(lot, ''), status), quantity FROM bin_stock WHERE quantity > 0`)
	require.NoError(d.t, err)
	var at string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&at, &n}, func() error { out[at] = n; return nil })
	require.NoError(d.t, err)
	return out
}

func kinds(list []receiving.Discrepancy) map[string]int {
	out := map[string]int{}
	for _, d := range list {
		out[d.Kind] += d.Quantity
	}
	return out
}

func refused(t require.TestingT, err error, code string) *problem.Error {
	p, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, p.Code, p.Detail)
	return p
}

func many(n int) *int                     { return &n }
func on(day string) *string               { return &day }
func code(c string, n int) receiving.Scan { return receiving.Scan{Code: c, Quantity: many(n)} }
func lot(l, expires string, n int) receiving.Scan {
	return receiving.Scan{Code: "CHEESE", Lot: l, ExpiresOn: on(expires), Quantity: many(n)}
}

func TestReceipt_WhatIsMissingStaysExpectedUntilItCame(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 10}, receiving.OrderLineInput{SKU: "CHEESE", Quantity: 5})
	require.Equal(t, "open", p.Status)
	first := d.begin(p.ID)
	entries, r := d.scanned(first, code("PLAIN", 6), receiving.Scan{Code: "PLAIN", Quantity: many(2), Condition: "damaged"}, lot("L1", "2027-01-31", 5))
	require.Len(t, entries, 3)
	require.Equal(t, map[string]int{"damaged": 2}, kinds(r.Discrepancies), "what may still come is not missing yet")
	require.Equal(t, "a person to close it", r.WaitsFor)
	require.Equal(t, map[string]int{"IN/PLAIN/available": 6, "D-01/PLAIN/damaged": 2, "IN/CHEESE/L1/available": 5}, d.bins())
	require.Equal(t, "partially_received", d.readOrder(p.ID).Status)

	r = d.closed(first)
	require.Equal(t, map[string]int{"damaged": 2, "short": 2}, kinds(r.Discrepancies))
	require.Equal(t, r, d.closed(first), "closing again changes nothing")
	p = d.readOrder(p.ID)
	require.Equal(t, "partially_received", p.Status)
	require.Equal(t, []int{2, 0}, []int{p.Lines[0].Expected, p.Lines[1].Expected})
	require.Equal(t, 2, p.Lines[0].Damaged)

	second := d.begin(p.ID)
	d.scanned(second, code("PLAIN", 2))
	require.Empty(t, d.closed(second).Discrepancies)
	require.Equal(t, "received", d.readOrder(p.ID).Status)
	_, err := d.start(p.ID)
	refused(t, err, "order_received")
	d.CheckBooks(t)
}

func TestPurchaseOrder_IsClosedWhenNoMoreIsExpected(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 10})
	r := d.begin(p.ID)
	d.scanned(r, code("PLAIN", 4))
	d.closed(r)
	for range 2 {
		require.NoError(t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (err error) {
			p, err = receiving.CloseOrder(ctx, tx, shop.ID, receiving.End{OrderID: p.ID, Reason: "the supplier has no more", By: ana})
			return err
		}))
		require.Equal(t, "received", p.Status)
		require.Zero(t, p.Lines[0].Expected)
	}
	err := d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := receiving.CancelOrder(ctx, tx, shop.ID, receiving.End{OrderID: p.ID, By: ana})
		return err
	})
	refused(t, err, "order_received")
}

func TestPurchaseOrder_ANumberNamesOne(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 10})
	err := d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := receiving.CreateOrder(ctx, tx, shop, id.New(), receiving.OrderInput{Number: p.Number, Supplier: "x", Warehouse: "SCL-1", Lines: []receiving.OrderLineInput{{SKU: "PLAIN", Quantity: 1}}}, ana)
		return err
	})
	require.Equal(t, p.ID, refused(t, err, "number_taken").More["purchase_order_id"])
}

func TestReceipt_TooMuchIsBookedAndNamedAndAcceptedBeyondTheTolerance(t *testing.T) {
	t.Parallel()
	d := newDock(t, func(s *tenant.Settings) { s.Receiving.OverPercent = 10 })
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 10})
	r := d.begin(p.ID)
	_, out := d.scanned(r, code("PLAIN", 11))
	require.Equal(t, []receiving.Discrepancy{{Kind: "over", SKU: "PLAIN", Quantity: 1}}, out.Discrepancies, "a tenth is tolerated")
	_, out = d.scanned(r, code("PLAIN", 1))
	require.Equal(t, []receiving.Discrepancy{{Kind: "over", SKU: "PLAIN", Quantity: 2, NeedsAcceptance: true}}, out.Discrepancies)
	require.Equal(t, 12, d.bins()["IN/PLAIN/available"])
	_, err := d.close(r)
	require.Equal(t, []string{"over"}, refused(t, err, "acceptance_needed").More["needs"])
	out = d.closed(r, "over")
	require.Equal(t, []string{"over"}, out.Accepted)
	require.Zero(t, d.readOrder(p.ID).Lines[0].Expected, "never below nothing")
	d.CheckBooks(t)
}

func TestReceipt_AnUnknownCodeBooksNothingAndMustBeAccepted(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 1})
	r := d.begin(p.ID)
	entries, out := d.scanned(r, code("7800000000001", 3), code("PHONE-X", 1))
	require.Equal(t, "unknown", entries[0].Kind)
	require.Equal(t, []receiving.Discrepancy{{Kind: "unknown_item", Scanned: "7800000000001", Quantity: 3, NeedsAcceptance: true}, {Kind: "unknown_item", Scanned: "PHONE-X", Quantity: 1, NeedsAcceptance: true}}, out.Discrepancies)
	require.Empty(t, d.bins())
	_, err := d.close(r)
	refused(t, err, "acceptance_needed")
	require.Equal(t, map[string]int{"unknown_item": 4, "short": 1}, kinds(d.closed(r, "unknown_item").Discrepancies))
}

func TestReceipt_AProductThatWasNotOrderedIsBookedAndMustBeAccepted(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "CHEESE", Quantity: 1})
	r := d.begin(p.ID)
	_, out := d.scanned(r, code("PLAIN", 2))
	require.Equal(t, map[string]int{"not_ordered": 2}, kinds(out.Discrepancies))
	require.Equal(t, 2, d.bins()["IN/PLAIN/available"])
	_, err := d.close(r)
	refused(t, err, "acceptance_needed")
	d.closed(r, "not_ordered")
	d.CheckBooks(t)
}

func TestReceipt_AnotherLotThanOrderedIsHeld(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "CHEESE", Quantity: 5, Lot: "L1", ExpiresOn: on("2027-03-01")})
	r := d.begin(p.ID)
	_, out := d.scanned(r, lot("L2", "2027-01-31", 3), receiving.Scan{Code: "CHEESE|L1", Quantity: many(2)})
	require.Equal(t, map[string]int{"wrong_lot": 3}, kinds(out.Discrepancies))
	require.Equal(t, map[string]int{"IN/CHEESE/L2/held": 3, "IN/CHEESE/L1/available": 2}, d.bins())
	require.Equal(t, "2027-03-01", *out.Lines[0].ExpiresOn, "the day that was agreed on with the supplier")
	require.Equal(t, 3, d.readOrder(p.ID).Lines[0].Expected, "another lot is not what was ordered")
	d.closed(r)
	require.Equal(t, 3, d.bins()["IN/CHEESE/L2/held"], "nobody accepted it")
	d.CheckBooks(t)
}

func TestReceipt_AnotherLotThatIsAcceptedBecomesAvailable(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "CHEESE", Quantity: 5, Lot: "L1"})
	r := d.begin(p.ID)
	d.scanned(r, lot("L2", "2027-01-31", 3), lot("L3", "2026-06-20", 1))
	d.closed(r, "wrong_lot")
	require.Equal(t, map[string]int{"IN/CHEESE/L2/available": 3, "IN/CHEESE/L3/held": 1}, d.bins(), "L3 expires too soon as well")
	d.CheckBooks(t)
}

func TestReceipt_ALotThatExpiresTooSoonIsHeldAndAnExpiredOneExpired(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	r := d.begin("")
	_, out := d.scanned(r, lot("GOOD", "2026-07-02", 1), lot("NEAR", "2026-07-01", 2), lot("TODAY", "2026-06-01", 3))
	require.Equal(t, map[string]int{"expiry_too_near": 2, "expired": 3}, kinds(out.Discrepancies))
	require.Equal(t, map[string]int{"IN/CHEESE/GOOD/available": 1, "IN/CHEESE/NEAR/held": 2, "IN/CHEESE/TODAY/expired": 3}, d.bins())
	d.Exec(t, `UPDATE lots SET status = 'held' WHERE lot = 'GOOD'`)
	_, out = d.scanned(r, receiving.Scan{Code: "CHEESE", Lot: "GOOD"})
	require.Equal(t, 1, kinds(out.Discrepancies)["lot_held"])
	d.closed(r, "expiry_too_near")
	require.Equal(t, map[string]int{"IN/CHEESE/GOOD/available": 1, "IN/CHEESE/GOOD/held": 1, "IN/CHEESE/NEAR/available": 2, "IN/CHEESE/TODAY/expired": 3}, d.bins())
	d.CheckBooks(t)
}

func TestReceipt_ALotWithAnotherDayThanKnownIsAConflict(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	r := d.begin("")
	d.scanned(r, lot("L1", "2027-01-31", 1))
	_, _, err := d.scan(r, code("PLAIN", 1), lot("L1", "2027-02-28", 1))
	p := refused(t, err, "lot_expiry_differs")
	require.Equal(t, 1, p.More["scan"])
	require.Equal(t, map[string]any{"sku": "CHEESE", "lot": "L1", "expires_on": "2027-01-31"}, p.More["current"])
	require.Equal(t, map[string]int{"IN/CHEESE/L1/available": 1}, d.bins(), "nothing of the request was booked")
	d.scanned(r, receiving.Scan{Code: "CHEESE", Lot: "L1"})
	d.CheckBooks(t)
}

func TestReceipt_WhatIsSaidMayNotContradictTheCode(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.Exec(t, `UPDATE products SET barcodes = '{09501101530003}' WHERE sku = 'CHEESE'`)
	r := d.begin("")
	gs1 := "(01)09501101530003(17)271231(10)AB-12"
	_, _, err := d.scan(r, receiving.Scan{Code: gs1, Lot: "AB-13"})
	refused(t, err, "invalid")
	_, _, err = d.scan(r, receiving.Scan{Code: gs1, ExpiresOn: on("2027-12-30")})
	refused(t, err, "invalid")
	_, out := d.scanned(r, receiving.Scan{Code: gs1, Lot: "AB-12", ExpiresOn: on("2027-12-31"), Quantity: many(2)})
	require.Equal(t, "2027-12-31", *out.Lines[0].ExpiresOn)
	require.Equal(t, map[string]int{"IN/CHEESE/AB-12/available": 2}, d.bins())
}

func TestReceipt_TheLineOfTheVeryLotComesFirst(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "CHEESE", Quantity: 4}, receiving.OrderLineInput{SKU: "CHEESE", Lot: "L1", Quantity: 3})
	r := d.begin(p.ID)
	entries, out := d.scanned(r, lot("L1", "2027-01-31", 5), lot("L2", "2027-02-28", 3))
	require.Len(t, entries, 3)
	require.Equal(t, [][2]int{{2, 3}, {1, 2}, {1, 3}}, [][2]int{{entries[0].Line, entries[0].Quantity}, {entries[1].Line, entries[1].Quantity}, {entries[2].Line, entries[2].Quantity}})
	require.Equal(t, []receiving.Discrepancy{{Kind: "over", SKU: "CHEESE", Quantity: 1, NeedsAcceptance: true}}, out.Discrepancies)
}

func TestReceipt_ASerialScannedTwiceIsAConflict(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.Bin(t, "CCP-1", "IN", "receiving")
	r := d.begin("")
	d.scanned(r, receiving.Scan{Code: "PHONE", Serials: []string{"S1", "S2"}})
	_, _, err := d.scan(r, receiving.Scan{Code: "PHONE", Serials: []string{"S3", "S1"}})
	require.Equal(t, "S1", refused(t, err, "serial_in_stock").More["serial"])
	_, _, err = d.scan(r, receiving.Scan{Code: "PHONE", Serials: []string{"S4"}}, receiving.Scan{Code: "PHONE", Serials: []string{"S4"}})
	refused(t, err, "serial_in_stock")
	require.Equal(t, map[string]int{"IN/PHONE/available": 2}, d.bins())
	_, _, err = d.scan(r, receiving.Scan{Code: "PHONE", Quantity: many(2), Serials: []string{"S5"}})
	refused(t, err, "invalid")
	_, _, err = d.scan(r, receiving.Scan{Code: "PHONE"})
	refused(t, err, "required")
	_, _, err = d.scan(r, receiving.Scan{Code: "CHEESE"})
	refused(t, err, "required")
	d.CheckBooks(t)
}

func TestReceipt_OfACancelledOrderIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 5})
	d.cancelOrder(p.ID)
	d.cancelOrder(p.ID)
	_, err := d.start(p.ID)
	current, ok := refused(t, err, "order_cancelled").More["current"].(receiving.PurchaseOrder)
	require.True(t, ok)
	require.Equal(t, "cancelled", current.Status)
}

func TestReceipt_OfAnOrderThatIsCancelledMeanwhileHoldsTheGoodsUntilAPersonDecides(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 5}, receiving.OrderLineInput{SKU: "PHONE", Quantity: 2})
	r := d.begin(p.ID)
	d.scanned(r, code("PLAIN", 2))
	d.cancelOrder(p.ID)
	_, out := d.scanned(r, code("PLAIN", 3), receiving.Scan{Code: "PHONE", Serials: []string{"S1", "S2"}})
	require.Equal(t, map[string]int{"order_cancelled": 5}, kinds(out.Discrepancies))
	require.Equal(t, "a person to decide on goods of a cancelled purchase order", out.WaitsFor)
	require.Equal(t, map[string]int{"IN/PLAIN/available": 2, "IN/PLAIN/held": 3, "IN/PHONE/held": 2}, d.bins())
	_, err := d.close(r)
	refused(t, err, "acceptance_needed")
	// One phone goes back to the supplier, the rest is kept.
	_, _, err = d.correct(receiving.Correction{ReceiptID: r, SKU: "PHONE", Serial: "S1", Quantity: 1})
	require.NoError(t, err)
	out = d.closed(r, "order_cancelled")
	require.Equal(t, map[string]int{"order_cancelled": 4}, kinds(out.Discrepancies), "nothing of a cancelled order is missing")
	require.Equal(t, map[string]int{"IN/PLAIN/available": 5, "IN/PHONE/available": 1}, d.bins())
	require.Equal(t, "cancelled", d.readOrder(p.ID).Status)
	d.CheckBooks(t)
}

func TestReceipt_IsCancelledOnlyBeforeTheFirstScan(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	cancel := func(receiptID string) error {
		return d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
			out, err := receiving.CancelReceipt(ctx, tx, shop, receiptID, ana)
			if err == nil {
				require.Equal(t, "cancelled", out.Status)
			}
			return err
		})
	}
	empty, scanned := d.begin(""), d.begin("")
	require.NoError(t, cancel(empty))
	require.NoError(t, cancel(empty))
	_, _, err := d.scan(empty, code("PLAIN", 1))
	refused(t, err, "receipt_cancelled")
	_, err = d.close(empty)
	refused(t, err, "receipt_cancelled")
	d.scanned(scanned, code("PLAIN", 1))
	refused(t, cancel(scanned), "receipt_has_scans")
	d.closed(scanned)
	refused(t, cancel(scanned), "receipt_closed")
	_, _, err = d.scan(scanned, code("PLAIN", 1))
	refused(t, err, "receipt_closed")
}

func TestReceipt_IsNotClosedOnWhatSomebodyDidNotSee(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	r := d.begin("")
	_, seen := d.scanned(r, code("PLAIN", 1))
	d.scanned(r, code("PLAIN", 1))
	err := d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := receiving.CloseReceipt(ctx, tx, shop, receiving.Closing{ReceiptID: r, Version: &seen.Version, By: ana})
		return err
	})
	refused(t, err, "version_changed")
	err = d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := receiving.CloseReceipt(ctx, tx, shop, receiving.Closing{ReceiptID: r, Accept: []string{"everything"}, By: ana})
		return err
	})
	refused(t, err, "invalid")
}

func TestCorrection_TakesBackTheNewestFirstAndIsExpectedAgain(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 10})
	r := d.begin(p.ID)
	d.scanned(r, code("PLAIN", 8), receiving.Scan{Code: "PLAIN", Quantity: many(4), Condition: "damaged"})
	entries, out, err := d.correct(receiving.Correction{ReceiptID: r, SKU: "PLAIN", Quantity: 6})
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.Equal(t, map[string]int{"IN/PLAIN/available": 6}, d.bins())
	require.Empty(t, out.Discrepancies, "neither damaged nor too much any more")
	require.Equal(t, receiving.Line{SKU: "PLAIN", Name: "Producto PLAIN", Received: 12, Corrected: 6}, out.Lines[0])
	require.Equal(t, receiving.Ordered{Line: 1, SKU: "PLAIN", Ordered: 10, Received: 6, Expected: 4}, d.readOrder(p.ID).Lines[0])
	_, _, err = d.correct(receiving.Correction{ReceiptID: r, SKU: "PLAIN", Quantity: 7})
	refused(t, err, "not_scanned")
	_, _, err = d.correct(receiving.Correction{ReceiptID: r, SKU: "PLAIN", Quantity: 1, Condition: "damaged"})
	refused(t, err, "not_scanned")
	_, err = d.putAway(receiving.ToPutAway{SKU: "PLAIN", Quantity: 6, From: "IN", To: "A-01-A"})
	require.NoError(t, err)
	_, _, err = d.correct(receiving.Correction{ReceiptID: r, SKU: "PLAIN", Quantity: 1})
	refused(t, err, "not_in_bin")
	d.CheckBooks(t)
}

func TestReceipt_TwoDevicesScanForOneAtOnce(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 30}, receiving.OrderLineInput{SKU: "CHEESE", Quantity: 30})
	r := d.begin(p.ID)
	var wg sync.WaitGroup
	for device := range 2 {
		wg.Go(func() {
			for i := range 10 {
				if _, _, err := d.scan(r, lot("L1", "2027-01-31", 1), code("PLAIN", 2), receiving.Scan{Code: "PHONE", Serials: []string{fmt.Sprintf("S%d-%d", device, i)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	p = d.readOrder(p.ID)
	require.Equal(t, []int{40, 20}, []int{p.Lines[0].Received, p.Lines[1].Received})
	require.Equal(t, map[string]int{"IN/PLAIN/available": 40, "IN/CHEESE/L1/available": 20, "IN/PHONE/available": 20}, d.bins())
	out := d.closed(r, "over", "not_ordered")
	require.Equal(t, map[string]int{"over": 10, "not_ordered": 20, "short": 10}, kinds(out.Discrepancies))
	d.CheckBooks(t)
}

func TestReceipt_OneSerialFromTwoDevicesIsBookedOnce(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.Bin(t, "CCP-1", "IN", "receiving")
	errs := make([]error, 6)
	receipts := make([]string, len(errs))
	for i := range errs {
		receipts[i] = d.begin("")
	}
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, _, errs[i] = d.scan(receipts[i], receiving.Scan{Code: "PHONE", Serials: []string{"S1"}}) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			refused(t, err, "serial_in_stock")
		}
	}
	require.Equal(t, 1, won)
	d.CheckBooks(t)
}

func TestReceipt_StartsOnlyAtAReceivingBinOfItsWarehouse(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	p := d.order(receiving.OrderLineInput{SKU: "PLAIN", Quantity: 1})
	for in, want := range map[receiving.ReceiptInput]string{
		{Warehouse: "SCL-1", Bin: "A-01-A"}:                        "wrong_kind",
		{Warehouse: "SCL-1", Bin: "NO"}:                            "unknown_bin",
		{Warehouse: "SCL-1"}:                                       "required",
		{Warehouse: "NO", Bin: "IN"}:                               "unknown_warehouse",
		{Warehouse: "SCL-1", Bin: "IN", PurchaseOrderID: "x"}:      "not_found",
		{Warehouse: "CCP-1", Bin: "IN", PurchaseOrderID: p.ID}:     "unknown_bin",
		{Warehouse: "SCL-1", Bin: "IN", PurchaseOrderID: id.New()}: "not_found",
	} {
		err := d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
			_, err := receiving.StartReceipt(ctx, tx, shop, id.New(), in, ana)
			return err
		})
		refused(t, err, want)
	}
}
