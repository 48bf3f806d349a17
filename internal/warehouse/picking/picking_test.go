package picking_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/order"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/picking"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const acme = shoptest.Tenant

var (
	ana  = stock.By{Person: "ana", Device: "scanner-1"}
	beto = stock.By{Person: "beto", Device: "scanner-2"}
)

// plan is four aisles with two cross aisles; each aisle has ten racks a side.
const plan = `{"kind":"aisles","aisles":{"count":4,"first_name":"A","first_x_mm":2000,"pitch_mm":5000,"width_mm":2000},"cross_aisles":{"y_mm":[1000,13000],"width_mm":2000},
  "racks":{"width_mm":1000,"depth_mm":1000,"levels":1,"level_height_mm":2000},"depot":{"cross":0,"x_mm":2000},"zones":[{"name":"left","aisles":["A","B"]},{"name":"right","aisles":["C","D"]}]}`

// building is a shop with a floor plan for SCL-1, its bins, and a packing bin.
func building(t testing.TB, change ...func(*tenant.Settings)) *shoptest.Shop {
	t.Helper()
	s := shoptest.New(t, change...)
	describe(t, s, plan)
	s.Bin(t, "SCL-1", "PACK", "packing")
	return s
}

func describe(t testing.TB, s *shoptest.Shop, body string) []floor.Bin {
	t.Helper()
	p, err := floor.ParsePlan([]byte(body))
	require.NoError(t, err)
	s.Exec(t, `UPDATE warehouses SET plan = $1 WHERE code = 'SCL-1'`, body)
	bins := p.Bins()
	b := &pgx.Batch{}
	for _, bin := range bins {
		b.Queue(`INSERT INTO bins (tenant, warehouse, code, kind, zone, stop_aisle, stop_y_mm) VALUES ($1, 'SCL-1', $2, $3, $4, $5, $6)`, acme, bin.Code, bin.Kind, bin.Zone, bin.Stop.Aisle, bin.Stop.YMM)
	}
	require.NoError(t, s.Super.SendBatch(t.Context(), b).Close())
	return bins
}

// put brings units of a SKU from outside into a bin.
func put(t testing.TB, s *shoptest.Shop, sku, bin, lot string, units int) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, acme, stock.BinMovement{SKU: sku, Warehouse: "SCL-1", Lot: lot, Quantity: units, To: stock.In(bin, stock.Available), Reason: "receipt", By: ana})
		return err
	})
}

// lot makes a lot known that expires so many days from today.
func lot(t testing.TB, s *shoptest.Shop, sku, name string, days int) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, days)
		same, err := stock.PutLot(t.Context(), tx, acme, stock.Lot{SKU: sku, Lot: name, ExpiresOn: &day})
		require.True(t, same)
		return err
	})
}

// paid makes a paid order and returns its id, which is its hold's too.
func paid(t testing.TB, s *shoptest.Shop, wants ...stock.Want) string {
	t.Helper()
	orderID := id.New()
	s.Do(t, func(tx pgx.Tx) error { return buy(t.Context(), tx, orderID, wants) })
	return orderID
}

func buy(ctx context.Context, tx pgx.Tx, orderID string, wants []stock.Want) error {
	p, err := stock.Place(ctx, tx, acme, stock.Request{HoldID: orderID, Channel: "web", Wants: wants, Seconds: 900, Warehouses: []string{"SCL-1"}})
	if err != nil {
		return err
	}
	if len(p.Shortages) > 0 {
		return fmt.Errorf("not enough stock: %v", p.Shortages)
	}
	if _, err := stock.Confirm(ctx, tx, acme, orderID, orderID); err != nil {
		return err
	}
	n := order.New{ID: orderID, Number: "N-" + orderID[14:], Channel: "web", Currency: "CLP", HoldID: orderID, DispatchHours: 24}
	var held []stock.HeldLine
	for _, l := range p.Lines {
		n.Lines = append(n.Lines, order.NewLine{SKU: l.SKU, Name: l.SKU, Quantity: l.Quantity, UnitPrice: 1000, Tax: "iva"})
		held = append(held, stock.HeldLine{Line: l})
	}
	return order.Create(ctx, tx, acme, n, held)
}

func shipmentOf(t testing.TB, s *shoptest.Shop, orderID string) string {
	t.Helper()
	return shoptest.Value[string](t, s, `SELECT id FROM shipments WHERE order_id = $1`, orderID)
}

// in runs a command in a transaction of its own.
func in[T any](s *shoptest.Shop, fn func(ctx context.Context, tx pgx.Tx) (T, error)) (out T, err error) {
	ctx := context.Background()
	err = s.DB.InTenant(ctx, acme, func(tx pgx.Tx) (err error) {
		out, err = fn(ctx, tx)
		return err
	})
	return out, err
}

func release(t testing.TB, s *shoptest.Shop, w picking.Wave) picking.Released {
	t.Helper()
	out, err := tryRelease(s, w)
	require.NoError(t, err)
	return out
}

func tryRelease(s *shoptest.Shop, w picking.Wave) (picking.Released, error) {
	w.Warehouse, w.Who = "SCL-1", ana
	if w.By == "" {
		w.By = picking.ByBatch
	}
	return in(s, func(ctx context.Context, tx pgx.Tx) (picking.Released, error) {
		return picking.Release(ctx, tx, acme, w)
	})
}

// one releases a wave that makes one list.
func one(t testing.TB, s *shoptest.Shop) string {
	t.Helper()
	out := release(t, s, picking.Wave{})
	require.Len(t, out.Lists, 1)
	return out.Lists[0].ID
}

func read(t testing.TB, s *shoptest.Shop, listID string) picking.List {
	t.Helper()
	out, err := in(s, func(ctx context.Context, tx pgx.Tx) (picking.List, error) { return picking.Read(ctx, tx, acme, listID) })
	require.NoError(t, err)
	return out
}

func pick(s *shoptest.Shop, listID string, by stock.By, scans ...picking.Scan) (picking.State, error) {
	return in(s, func(ctx context.Context, tx pgx.Tx) (picking.State, error) {
		return picking.Pick(ctx, tx, acme, picking.Picking{ListID: listID, Picks: scans, To: "PACK", By: by})
	})
}

func short(s *shoptest.Shop, c picking.Shorting) (picking.Shortage, error) {
	c.By = ana
	return in(s, func(ctx context.Context, tx pgx.Tx) (picking.Shortage, error) { return picking.Short(ctx, tx, acme, c) })
}

func complete(s *shoptest.Shop, listID string) (picking.Completion, error) {
	return in(s, func(ctx context.Context, tx pgx.Tx) (picking.Completion, error) {
		return picking.Complete(ctx, tx, acme, listID, ana, 0)
	})
}

func cancel(s *shoptest.Shop, c picking.Cancelling) (picking.State, error) {
	c.By, c.Reason = ana, "a test"
	return in(s, func(ctx context.Context, tx pgx.Tx) (picking.State, error) { return picking.Cancel(ctx, tx, acme, c) })
}

// pickAll picks every open unit of a list as it should be.
func pickAll(t testing.TB, s *shoptest.Shop, listID string) {
	t.Helper()
	for _, n := range read(t, s, listID).Work {
		for _, u := range n.Allocations {
			if u.State == "open" {
				_, err := pick(s, listID, ana, right(n, u))
				require.NoError(t, err)
			}
		}
	}
}

// right is the scan that an allocation wants.
func right(n picking.Line, u picking.Units) picking.Scan {
	scan := picking.Scan{AllocationID: u.ID, Product: n.SKU, Lot: u.Lot, Quantity: u.Quantity}
	if u.Bin != nil {
		scan.Bin = *u.Bin
	}
	return scan
}

// refused demands a refusal with its code and returns it.
func refused(t testing.TB, err error, code string) *problem.Error {
	t.Helper()
	p, ok := problem.As(err)
	require.True(t, ok, "%s is no refusal: %v", code, err)
	require.Equal(t, code, p.Code, p.Error())
	if p.Kind == problem.Conflict {
		require.Contains(t, p.More, "current")
	}
	return p
}

func count(t testing.TB, s *shoptest.Shop, bin, sku, lot string, lose int) stock.Moved {
	t.Helper()
	out, err := in(s, func(ctx context.Context, tx pgx.Tx) (stock.Moved, error) {
		return stock.Move(ctx, tx, acme, stock.BinMovement{SKU: sku, Warehouse: "SCL-1", Lot: lot, Quantity: lose, From: stock.In(bin, stock.Available), Reason: "count", By: beto})
	})
	require.NoError(t, err)
	return out
}

func TestRelease_PlansTheShortestWayAndNumbersLinesAlongIt(t *testing.T) {
	t.Parallel()
	s := building(t)
	for i, bin := range []string{"C-05-A", "A-03-A", "A-09-A"} {
		sku := fmt.Sprintf("S%d", i)
		s.Product(t, sku, 1000)
		put(t, s, sku, bin, "", 10)
	}
	orderID := paid(t, s, stock.Want{SKU: "S0", Quantity: 2}, stock.Want{SKU: "S1", Quantity: 1}, stock.Want{SKU: "S2", Quantity: 3})
	out := release(t, s, picking.Wave{By: picking.ByOrder})
	require.Len(t, out.Lists, 1)
	require.Empty(t, out.Unallocated)
	l := read(t, s, out.Lists[0].ID)
	require.Equal(t, "PL-000001", l.Number)
	require.Equal(t, picking.Open, l.Status)
	require.NotNil(t, l.DueAt)
	require.Equal(t, *l.SShapeMM-*l.LengthMM, *l.SavedMM)
	require.GreaterOrEqual(t, *l.SavedMM, int64(0))
	require.Positive(t, *l.LengthMM)
	require.Len(t, l.Stops, 3)
	require.Equal(t, l.Path[0], l.Path[len(l.Path)-1], "the way ends where it begins")
	var length int64
	for i := 1; i < len(l.Path); i++ {
		length += abs(l.Path[i].X-l.Path[i-1].X) + abs(l.Path[i].Y-l.Path[i-1].Y)
	}
	require.Equal(t, *l.LengthMM, length, "the path is as long as it says")
	for i, n := range l.Work {
		require.Equal(t, i+1, n.Line)
		require.Equal(t, l.Stops[i].Bin, *n.Allocations[0].Bin)
		require.Equal(t, orderID, n.OrderID)
	}
	require.Equal(t, "picking", shoptest.Value[string](t, s, `SELECT status FROM shipments`))
	require.Equal(t, l.ID, shoptest.Value[string](t, s, `SELECT pick_list FROM shipments`))
	_, err := tryRelease(s, picking.Wave{})
	require.Equal(t, "nothing_to_pick", err.(*problem.Error).Code)

	pickAll(t, s, l.ID)
	require.Equal(t, picking.Picked, read(t, s, l.ID).Status)
	done, err := complete(s, l.ID)
	require.NoError(t, err)
	require.Empty(t, done.Short)
	require.Equal(t, picking.Completed, done.Status)
	require.True(t, shoptest.Value[bool](t, s, `SELECT status = 'picking' AND picked_at IS NOT NULL FROM shipments`))
	again, err := complete(s, l.ID)
	require.NoError(t, err)
	require.Equal(t, done, again)
	require.Equal(t, 6, shoptest.Value[int](t, s, `SELECT sum(quantity) FROM bin_stock WHERE bin = 'PACK'`))
	s.CheckBooks(t)
}

func abs(n int64) int64 { return max(n, -n) }

func TestRelease_WithoutAPlanGoesByBinCodeAndTellsNoLength(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Bin(t, "SCL-1", "PACK", "packing")
	s.Product(t, "A", 1000, 2) // in no bin
	for _, bin := range []string{"Z-1", "B-1"} {
		s.Bin(t, "SCL-1", bin, "pick")
		s.Product(t, "S"+bin, 1000)
		put(t, s, "S"+bin, bin, "", 5)
	}
	paid(t, s, stock.Want{SKU: "SZ-1", Quantity: 1}, stock.Want{SKU: "A", Quantity: 2}, stock.Want{SKU: "SB-1", Quantity: 1})
	l := read(t, s, one(t, s))
	require.Nil(t, l.LengthMM)
	require.Nil(t, l.SavedMM)
	require.Equal(t, []picking.Stop{{Bin: "B-1"}, {Bin: "Z-1"}}, l.Stops)
	require.Nil(t, l.Work[2].Allocations[0].Bin, "what lies in no bin comes last")
	pickAll(t, s, l.ID)
	_, err := complete(s, l.ID)
	require.NoError(t, err)
	s.CheckBooks(t)
}

func TestRelease_OnAGraphHasALengthAndNothingToCompareItWith(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Exec(t, `UPDATE warehouses SET plan = '{"kind":"graph","nodes":[{"name":"door","x_mm":0,"y_mm":0},{"name":"hall","x_mm":4000,"y_mm":0},{"name":"end","x_mm":4000,"y_mm":3000}],"edges":[{"from":"door","to":"hall"},{"from":"hall","to":"end"}],"depot":{"node":"door"}}' WHERE code = 'SCL-1'`)
	for bin, node := range map[string]string{"H-1": "hall", "E-1": "end"} {
		s.Exec(t, `INSERT INTO bins (tenant, warehouse, code, kind, stop_node) VALUES ($1, 'SCL-1', $2, 'pick', $3)`, acme, bin, node)
		s.Product(t, "S"+bin, 1000)
		put(t, s, "S"+bin, bin, "", 5)
	}
	for range 3 {
		paid(t, s, stock.Want{SKU: "SE-1", Quantity: 1}, stock.Want{SKU: "SH-1", Quantity: 1})
	}
	out := release(t, s, picking.Wave{Trolley: batch.Load{Orders: 2}, Rounds: 3})
	require.Len(t, out.Lists, 2)
	l := read(t, s, out.Lists[0].ID)
	require.EqualValues(t, 14000, *l.LengthMM)
	require.Nil(t, l.SShapeMM)
}

func TestRelease_AWaveLargerThanTheTrolleysMakesSeveralListsAndNamesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 50)
	for range 5 {
		paid(t, s, stock.Want{SKU: "A", Quantity: 2})
	}
	large := paid(t, s, stock.Want{SKU: "A", Quantity: 9})
	out := release(t, s, picking.Wave{Trolley: batch.Load{Units: 4}})
	require.Len(t, out.Lists, 3)
	require.Len(t, out.TooLarge, 1)
	require.Equal(t, large, out.TooLarge[0].OrderID)
	require.Equal(t, "pending", shoptest.Value[string](t, s, `SELECT status FROM shipments WHERE order_id = $1`, large))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT allocated FROM hold_lines WHERE hold_id = $1`, large))
	for _, l := range out.Lists {
		require.LessOrEqual(t, l.Units, 4)
		boxes := map[string]bool{}
		for _, n := range read(t, s, l.ID).Work {
			boxes[n.Box] = true
		}
		require.Len(t, boxes, l.Orders)
	}
	again, err := in(s, func(ctx context.Context, tx pgx.Tx) (picking.Released, error) {
		return picking.ReadWave(ctx, tx, acme, out.ID)
	})
	require.NoError(t, err)
	require.Equal(t, out.TooLarge, again.TooLarge)
	require.Equal(t, out.Lists, again.Lists)
	s.CheckBooks(t)
}

func TestRelease_ByZoneSplitsAnOrderAndItIsPickedWhenAllItsListsAre(t *testing.T) {
	t.Parallel()
	s := building(t)
	for sku, bin := range map[string]string{"L": "A-03-A", "R": "D-03-A"} {
		s.Product(t, sku, 1000)
		put(t, s, sku, bin, "", 9)
	}
	orderID := paid(t, s, stock.Want{SKU: "L", Quantity: 1}, stock.Want{SKU: "R", Quantity: 2})
	out := release(t, s, picking.Wave{By: picking.ByZone})
	require.Len(t, out.Lists, 2)
	require.Equal(t, []string{"left", "right"}, []string{out.Lists[0].Zone, out.Lists[1].Zone})
	pickAll(t, s, out.Lists[0].ID)
	_, err := complete(s, out.Lists[0].ID)
	require.NoError(t, err)
	status := func() string {
		return shoptest.Value[string](t, s, `SELECT status || ' ' || (picked_at IS NOT NULL) || ' ' || coalesce(pick_list, '') FROM shipments`)
	}
	require.Equal(t, "picking false "+out.Lists[1].ID, status())
	// The other list is taken back: the next wave lists only what it had.
	_, err = cancel(s, picking.Cancelling{ListID: out.Lists[1].ID})
	require.NoError(t, err)
	require.Equal(t, "pending false ", status())
	next := release(t, s, picking.Wave{ShipmentIDs: []string{shipmentOf(t, s, orderID)}})
	require.Equal(t, 2, next.Lists[0].Units)
	pickAll(t, s, next.Lists[0].ID)
	_, err = complete(s, next.Lists[0].ID)
	require.NoError(t, err)
	require.Equal(t, "picking true "+next.Lists[0].ID, status())
	s.CheckBooks(t)
}

func TestRelease_LeavesFrozenAndRefundedOrdersAlone(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 50)
	frozen, refunded, good := paid(t, s, stock.Want{SKU: "A", Quantity: 1}), paid(t, s, stock.Want{SKU: "A", Quantity: 1}), paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	freeze(t, s, frozen)
	refund(t, s, refunded)
	gone := id.New()
	out := release(t, s, picking.Wave{ShipmentIDs: []string{shipmentOf(t, s, frozen), shipmentOf(t, s, refunded), shipmentOf(t, s, good), gone}})
	require.Len(t, out.Lists, 1)
	require.Equal(t, 1, out.Lists[0].Units)
	var why []string
	for _, p := range out.Skipped {
		why = append(why, p.Reason)
	}
	require.Equal(t, []string{"frozen", "refunded", "unknown"}, why)
	require.Equal(t, "PL-000001", out.Lists[0].Number)
}

func freeze(t testing.TB, s *shoptest.Shop, orderID string) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error { return order.Freeze(t.Context(), tx, acme, orderID, "disputed") })
}

// refund gives everything of an order back.
func refund(t testing.TB, s *shoptest.Shop, orderID string) {
	t.Helper()
	s.Exec(t, `INSERT INTO payments (tenant, id, order_id, attempt, gateway, amount, currency, status, captured_amount, applied, applied_at) SELECT tenant, id, id, 1, 'flow', total, 'CLP', 'captured', total, true, now() FROM orders WHERE id = $1`, orderID)
	s.Exec(t, `INSERT INTO refunds (tenant, id, payment_id, order_id, amount, currency, reason, status, due_at) SELECT tenant, id, id, id, total, 'CLP', 'r', 'pending', now() FROM orders WHERE id = $1`, orderID)
}

func TestRelease_WhatHasNoUnitsWaitsBehindTheOthers(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	s.Tracked(t, "A", "lot", "fefo")
	lot(t, s, "A", "L1", 30)
	put(t, s, "A", "A-03-A", "L1", 5)
	s.Product(t, "B", 1000)
	put(t, s, "B", "A-05-A", "", 5)
	stuck := paid(t, s, stock.Want{SKU: "A", Quantity: 2})
	good := paid(t, s, stock.Want{SKU: "B", Quantity: 1})
	s.Exec(t, `UPDATE lots SET status = 'held'`)
	out := release(t, s, picking.Wave{MaxOrders: 1})
	require.Empty(t, out.Lists)
	require.Equal(t, []picking.Unallocated{{ShipmentID: shipmentOf(t, s, stuck), OrderID: stuck, SKU: "A", Units: 2}}, out.Unallocated)
	out = release(t, s, picking.Wave{MaxOrders: 1})
	require.Equal(t, good, read(t, s, out.Lists[0].ID).Work[0].OrderID)
	s.Exec(t, `UPDATE lots SET status = 'available'`)
	require.Len(t, release(t, s, picking.Wave{MaxOrders: 1}).Lists, 1)
	s.CheckBooks(t)
}

func TestRelease_TwoWavesAtOnceShareTheShipments(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 50)
	for range 10 {
		paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { _, errs[i] = tryRelease(s, picking.Wave{MaxOrders: 5}) })
	}
	wg.Wait()
	for _, err := range errs {
		if p, ok := problem.As(err); !ok || p.Code != "nothing_to_pick" {
			require.NoError(t, err)
		}
	}
	for {
		if _, err := tryRelease(s, picking.Wave{}); err != nil {
			break
		}
	}
	require.Equal(t, 10, shoptest.Value[int](t, s, `SELECT count(*) FROM pick_lines`))
	require.Equal(t, 10, shoptest.Value[int](t, s, `SELECT count(DISTINCT shipment_id) FROM pick_lines`))
	s.CheckBooks(t)
}

func TestRelease_RefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	_, err := in(s, func(ctx context.Context, tx pgx.Tx) (picking.Released, error) {
		return picking.Release(ctx, tx, acme, picking.Wave{Warehouse: "NO", By: "colour", MaxOrders: -1, Trolley: batch.Load{Units: -1}, Budget: -1})
	})
	p := refused(t, err, "invalid_request")
	require.Len(t, p.Fields, 5)
}

func TestPick_NothingIsValidatedByAccident(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	s.Tracked(t, "A", "lot", "fefo")
	s.Product(t, "B", 1000)
	s.Exec(t, `UPDATE products SET barcodes = '{7801234567894}' WHERE sku = 'A'`)
	lot(t, s, "A", "L1", 30)
	lot(t, s, "A", "L2", 60)
	put(t, s, "A", "A-03-A", "L1", 5)
	put(t, s, "A", "A-05-A", "L2", 5)
	put(t, s, "B", "A-03-A", "", 5)
	paid(t, s, stock.Want{SKU: "A", Quantity: 3})
	listID := one(t, s)
	u := read(t, s, listID).Work[0].Allocations[0]
	require.Equal(t, "L1", u.Lot)
	for _, c := range []struct {
		code, next string
		scan       picking.Scan
	}{
		{"scan_required", "bin", picking.Scan{Line: 1, Product: "A", Lot: "L1", Quantity: 3}},
		{"scan_required", "product", picking.Scan{Line: 1, Bin: "A-03-A", Quantity: 3}},
		{"scan_required", "lot", picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Quantity: 3}},
		{"wrong_bin", "", picking.Scan{Line: 1, Bin: "A-05-A", Product: "A", Lot: "L2", Quantity: 3}},
		{"wrong_product", "", picking.Scan{Line: 1, Bin: "A-03-A", Product: "B", Lot: "L1", Quantity: 3}},
		{"wrong_lot", "", picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Lot: "L2", Quantity: 3}},
		{"wrong_lot", "", picking.Scan{Line: 1, Bin: "A-03-A", Product: "(01)07801234567894(10)L2", Quantity: 3}},
		{"wrong_lot", "", picking.Scan{Line: 1, Bin: "A-03-A", Product: "(01)07801234567894(10)L2", Lot: "L1", Quantity: 3}},
		{"unknown_item", "", picking.Scan{Line: 1, Bin: "A-03-A", Product: "what", Lot: "L1", Quantity: 3}},
		{"too_many_units", "", picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 4}},
		{"wrong_serial", "", picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 1, Serials: []string{"S1"}}},
		{"not_open", "", picking.Scan{Line: 2, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 1}},
		{"required", "", picking.Scan{Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 1}},
	} {
		_, err := pick(s, listID, ana, c.scan)
		p := refused(t, err, c.code)
		if c.next != "" {
			require.Equal(t, c.next, p.More["next"])
		}
	}
	require.Equal(t, picking.Open, read(t, s, listID).Status, "a refused command changes nothing, and claims nothing")

	_, err := in(s, func(ctx context.Context, tx pgx.Tx) (picking.State, error) {
		return picking.Pick(ctx, tx, acme, picking.Picking{ListID: listID, To: "A-03-A", By: ana, Picks: []picking.Scan{{Line: 1, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 1}}})
	})
	refused(t, err, "not_a_packing_bin")
	// A label with GTIN and lot is product and lot at once.
	state, err := pick(s, listID, ana, picking.Scan{Line: 1, Bin: "A-03-A", Product: "(01)07801234567894(10)L1", Quantity: 2})
	require.NoError(t, err)
	require.Equal(t, picking.InProgress, state.Status)
	require.Equal(t, "ana", state.AssignedTo)
	_, err = in(s, func(ctx context.Context, tx pgx.Tx) (picking.State, error) {
		return picking.Pick(ctx, tx, acme, picking.Picking{ListID: listID, To: "PACK", By: ana, Version: state.Version + 1, Picks: []picking.Scan{{Line: 1, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 1}}})
	})
	refused(t, err, "version_changed")
	_, err = pick(s, listID, beto, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 1})
	require.Equal(t, state, refused(t, err, "list_claimed").More["current"])
	state, err = pick(s, listID, ana, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 1})
	require.NoError(t, err)
	require.Equal(t, picking.Picked, state.Status)
	_, err = pick(s, listID, ana, picking.Scan{AllocationID: u.ID, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 1})
	require.Equal(t, 3, refused(t, err, "not_open").More["is"].(picking.Line).Picked)
	s.CheckBooks(t)
}

func TestPick_APolicyOfProductAloneStillComparesWhatIsScanned(t *testing.T) {
	t.Parallel()
	s := building(t, func(r *tenant.Settings) { r.ScanPolicy = []string{"product"} })
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 5)
	paid(t, s, stock.Want{SKU: "A", Quantity: 3})
	listID := one(t, s)
	_, err := pick(s, listID, ana, picking.Scan{Line: 1, Bin: "A-05-A", Product: "A", Quantity: 1})
	refused(t, err, "wrong_bin")
	_, err = pick(s, listID, ana, picking.Scan{Line: 1, Quantity: 1})
	refused(t, err, "scan_required")
	_, err = pick(s, listID, ana, picking.Scan{Line: 1, Product: "A", Quantity: 3})
	require.NoError(t, err)
}

func TestPick_TwoOperatorsTakeTheLastUnitOfABinAndOneGetsIt(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 1)
	put(t, s, "A", "A-05-A", "", 2)
	for range 2 {
		paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	}
	s.Exec(t, `UPDATE bins SET active = false WHERE code = 'A-03-A'`)
	lists := release(t, s, picking.Wave{By: picking.ByOrder}).Lists
	require.Len(t, lists, 2)
	s.Exec(t, `UPDATE bins SET active = true WHERE code = 'A-03-A'`)
	// Both stand before A-03-A, whose one unit was allocated to nobody.
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, by := range []stock.By{ana, beto} {
		wg.Go(func() {
			_, errs[i] = pick(s, lists[i].ID, by, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Quantity: 1, Swap: true})
		})
	}
	wg.Wait()
	lost := 0
	if errs[0] == nil {
		lost = 1
	}
	require.NoError(t, errs[1-lost])
	require.Equal(t, 0, refused(t, errs[lost], "not_free").More["free"])
	require.Equal(t, 1, read(t, s, lists[lost].ID).Work[0].Open, "the other still has its unit elsewhere")
	s.CheckBooks(t)
}

func TestPick_TwoOperatorsOnOneListAndOneHasIt(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 1)
	paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	listID := one(t, s)
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, by := range []stock.By{ana, beto} {
		wg.Go(func() {
			_, errs[i] = pick(s, listID, by, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Quantity: 1})
		})
	}
	wg.Wait()
	lost := 0
	if errs[0] == nil {
		lost = 1
	}
	require.NoError(t, errs[1-lost])
	refused(t, errs[lost], "list_claimed")
	require.Equal(t, 1, read(t, s, listID).Picked)
	s.CheckBooks(t)
}

func TestPick_ALotThatIsHeldOrExpiresMeanwhileIsRefusedAndReplaced(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"lot_held":    `UPDATE lots SET status = 'held' WHERE lot = 'L1'`,
		"lot_expired": `UPDATE lots SET expires_on = current_date - 2 WHERE lot = 'L1'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := building(t)
			s.Product(t, "A", 1000)
			s.Tracked(t, "A", "lot", "fefo")
			lot(t, s, "A", "L1", 30)
			lot(t, s, "A", "L2", 60)
			put(t, s, "A", "A-03-A", "L1", 5)
			put(t, s, "A", "A-05-A", "L2", 2)
			paid(t, s, stock.Want{SKU: "A", Quantity: 3})
			listID := one(t, s)
			s.Exec(t, change)
			require.Equal(t, name, read(t, s, listID).Work[0].Allocations[0].Unfit, "the list shows it")
			_, err := pick(s, listID, ana, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 3})
			refused(t, err, "wrong_bin")
			_, missing, err := refresh(s, listID)
			require.NoError(t, err)
			require.Equal(t, 1, missing[0].Units)
			n := read(t, s, listID).Work[0]
			require.Equal(t, "L2", n.Allocations[0].Lot)
			require.Equal(t, 1, n.Unallocated)
			_, err = pick(s, listID, ana, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Lot: "L1", Quantity: 1, Swap: true})
			refused(t, err, name)
			_, err = pick(s, listID, ana, right(n, n.Allocations[0]))
			require.NoError(t, err)
			s.CheckBooks(t)
		})
	}
}

func refresh(s *shoptest.Shop, listID string) (state picking.State, missing []picking.Missing, err error) {
	ctx := context.Background()
	err = s.DB.InTenant(ctx, acme, func(tx pgx.Tx) (err error) {
		state, missing, err = picking.Refresh(ctx, tx, acme, listID)
		return err
	})
	return state, missing, err
}

func TestPick_ABinThatIsCountedDownMeanwhileIsReplacedByAnother(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 3)
	put(t, s, "A", "B-05-A", "", 5)
	paid(t, s, stock.Want{SKU: "A", Quantity: 3})
	listID := one(t, s)
	_, err := pick(s, listID, ana, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Quantity: 1})
	require.NoError(t, err)
	moved := count(t, s, "A-03-A", "A", "", 2)
	require.Equal(t, listID, moved.Dropped[0].ListID)
	n := read(t, s, listID).Work[0]
	require.Equal(t, 2, n.Unallocated, "the list shows it")
	_, missing, err := refresh(s, listID)
	require.NoError(t, err)
	require.Empty(t, missing)
	l := read(t, s, listID)
	require.Equal(t, []picking.Stop{{Bin: "B-05-A"}}, l.Stops, "the way of what is left")
	require.Positive(t, *l.LeftMM)
	pickAll(t, s, listID)
	_, err = complete(s, listID)
	require.NoError(t, err)
	s.CheckBooks(t)
}

func TestPick_UnitsThatTheOrderHasLostAreGivenUp(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 3)
	orderID := paid(t, s, stock.Want{SKU: "A", Quantity: 3})
	listID := one(t, s)
	moved := count(t, s, "A-03-A", "A", "", 1)
	require.Equal(t, orderID, moved.Shorted[0].OrderID)
	_, err := pick(s, listID, ana, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Quantity: 2})
	require.NoError(t, err)
	done, err := complete(s, listID)
	require.NoError(t, err)
	require.Empty(t, done.Short, "the shortage has a run of its own")
	require.Equal(t, "promise_lost", read(t, s, listID).Work[0].ShortReason)
	s.CheckBooks(t)
}

func TestPick_ASerialIsPickedOnce(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	s.Tracked(t, "A", "serial", "fifo")
	for i, bin := range []string{"A-03-A", "A-03-A", "A-03-A", "B-05-A"} {
		s.Do(t, func(tx pgx.Tx) error {
			_, err := stock.Move(t.Context(), tx, acme, stock.BinMovement{SKU: "A", Warehouse: "SCL-1", Serial: fmt.Sprintf("S%d", i+1), Quantity: 1, To: stock.In(bin, stock.Available), Reason: "receipt", By: ana})
			return err
		})
	}
	paid(t, s, stock.Want{SKU: "A", Quantity: 3})
	listID := one(t, s)
	scan := func(serials ...string) picking.Scan {
		return picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Quantity: len(serials), Serials: serials}
	}
	_, err := pick(s, listID, ana, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Quantity: 1})
	refused(t, err, "serials_required")
	_, err = pick(s, listID, ana, scan("S1", "S1"))
	refused(t, err, "serial_repeated")
	_, err = pick(s, listID, ana, scan("S1"), scan("S1"))
	refused(t, err, "serial_repeated")
	_, err = pick(s, listID, ana, scan("S4"))
	require.Equal(t, "B-05-A", refused(t, err, "wrong_serial").More["serial"].(map[string]any)["bin"])
	_, err = pick(s, listID, ana, scan("S9"))
	refused(t, err, "wrong_serial")
	_, err = pick(s, listID, ana, scan("S1"))
	require.NoError(t, err)
	_, err = pick(s, listID, ana, scan("S1"))
	refused(t, err, "serial_repeated")
	swap := picking.Scan{Line: 1, Bin: "B-05-A", Product: "A", Quantity: 1, Serials: []string{"S4"}, Swap: true}
	_, err = pick(s, listID, ana, swap, scan("S3"))
	require.NoError(t, err)
	require.Equal(t, picking.Picked, read(t, s, listID).Status)
	s.CheckBooks(t)
}

func TestPick_AFrozenOrRefundedOrderIsRefusedAndCanLeaveTheList(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 9)
	a, b, c := paid(t, s, stock.Want{SKU: "A", Quantity: 2}), paid(t, s, stock.Want{SKU: "A", Quantity: 1}), paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	listID := one(t, s)
	lineOf := func(orderID string) (n picking.Line) {
		for _, l := range read(t, s, listID).Work {
			if l.OrderID == orderID {
				n = l
			}
		}
		return n
	}
	scan := func(orderID string) picking.Scan {
		return picking.Scan{Line: lineOf(orderID).Line, Bin: "A-03-A", Product: "A", Quantity: 1}
	}
	_, err := pick(s, listID, ana, scan(a))
	require.NoError(t, err)
	freeze(t, s, a)
	refund(t, s, b)
	require.Equal(t, "order_frozen", lineOf(a).Stopped)
	_, err = pick(s, listID, ana, scan(a))
	require.Equal(t, "disputed", refused(t, err, "order_frozen").More["reason"])
	_, err = pick(s, listID, ana, scan(b))
	refused(t, err, "order_refunded")
	_, err = pick(s, listID, ana, scan(c))
	require.NoError(t, err)
	_, err = complete(s, listID)
	refused(t, err, "lines_open")

	both := []string{shipmentOf(t, s, a), shipmentOf(t, s, b)}
	_, err = cancel(s, picking.Cancelling{ListID: listID, ShipmentIDs: both})
	require.Equal(t, 1, refused(t, err, "put_back_where").More["picked"])
	_, err = cancel(s, picking.Cancelling{ListID: listID, ShipmentIDs: both, To: "PACK"})
	refused(t, err, "wrong_bin")
	state, err := cancel(s, picking.Cancelling{ListID: listID, ShipmentIDs: both, To: "B-05-A"})
	require.NoError(t, err)
	require.Equal(t, picking.Picked, state.Status)
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT quantity FROM bin_stock WHERE bin = 'B-05-A'`))
	require.Equal(t, 2, shoptest.Value[int](t, s, `SELECT count(*) FROM shipments WHERE status = 'pending' AND pick_list IS NULL`))
	_, err = complete(s, listID)
	require.NoError(t, err)
	s.CheckBooks(t)
}

func TestPick_SwapsOnlyWhenAskedAndKeepsFEFOUnlessAPersonSaysWhy(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	s.Tracked(t, "A", "lot", "fefo")
	for i, name := range []string{"L1", "L2"} {
		lot(t, s, "A", name, 30*(i+1))
	}
	put(t, s, "A", "A-03-A", "L1", 3)
	put(t, s, "A", "B-03-A", "L1", 3)
	put(t, s, "A", "A-05-A", "L2", 5)
	paid(t, s, stock.Want{SKU: "A", Quantity: 3})
	listID := one(t, s)
	scan := picking.Scan{Line: 1, Bin: "B-03-A", Product: "A", Lot: "L1", Quantity: 1}
	_, err := pick(s, listID, ana, scan)
	refused(t, err, "wrong_bin")
	scan.Swap = true
	_, err = pick(s, listID, ana, scan)
	require.NoError(t, err, "the same lot from another bin needs no reason")
	scan.Bin, scan.Lot = "A-05-A", "L2"
	_, err = pick(s, listID, ana, scan)
	require.Equal(t, "L1", refused(t, err, "earlier_lot").More["earlier"].(map[string]any)["lot"])
	scan.OverrideReason = "the buyer wants it fresh"
	_, err = pick(s, listID, ana, scan)
	require.NoError(t, err)
	require.Equal(t, "the buyer wants it fresh", shoptest.Value[string](t, s, `SELECT override_reason FROM allocations WHERE override_reason <> ''`))
	n := read(t, s, listID).Work[0]
	require.Equal(t, 2, n.Picked)
	require.Equal(t, 1, n.Open)
	scan.Bin, scan.Lot, scan.Quantity = "B-03-A", "L2", 1
	_, err = pick(s, listID, ana, scan)
	refused(t, err, "not_free")
	scan.Bin, scan.Quantity = "A-05-A", 2
	_, err = pick(s, listID, ana, scan)
	refused(t, err, "too_many_units")
	s.CheckBooks(t)
}

func TestPick_ThatIsKilledBeforeItsEndHasNotHappened(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 3)
	paid(t, s, stock.Want{SKU: "A", Quantity: 3})
	killed := errors.New("killed")
	before := shoptest.Value[int](t, s, `SELECT count(*) FROM bin_movements`)
	_, err := in(s, func(ctx context.Context, tx pgx.Tx) (picking.Released, error) {
		out, err := picking.Release(ctx, tx, acme, picking.Wave{Warehouse: "SCL-1", By: picking.ByBatch, Who: ana})
		require.NoError(t, err)
		return out, killed
	})
	require.ErrorIs(t, err, killed)
	require.Equal(t, "pending", shoptest.Value[string](t, s, `SELECT status FROM shipments`))
	listID := one(t, s)
	list := read(t, s, listID)
	_, err = in(s, func(ctx context.Context, tx pgx.Tx) (picking.State, error) {
		out, err := picking.Pick(ctx, tx, acme, picking.Picking{ListID: listID, To: "PACK", By: ana, Picks: []picking.Scan{{Line: 1, Bin: "A-03-A", Product: "A", Quantity: 2}}})
		require.NoError(t, err)
		return out, killed
	})
	require.ErrorIs(t, err, killed)
	require.Equal(t, list, read(t, s, listID))
	require.Equal(t, before, shoptest.Value[int](t, s, `SELECT count(*) FROM bin_movements`))
	// One bad pick of a command keeps the others from happening.
	_, err = pick(s, listID, ana, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Quantity: 2}, picking.Scan{Line: 1, Bin: "A-03-A", Product: "A", Quantity: 2})
	refused(t, err, "too_many_units")
	require.Equal(t, list, read(t, s, listID))
	s.CheckBooks(t)
}

func TestShort_FindsAnotherBinAtOnceAndAsksForACount(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 5)
	put(t, s, "A", "C-03-A", "", 1)
	orderID := paid(t, s, stock.Want{SKU: "A", Quantity: 4})
	listID := one(t, s)
	_, err := short(s, picking.Shorting{ListID: listID, Line: 1, Found: 1, Reason: "empty"})
	refused(t, err, "scan_required")
	_, err = short(s, picking.Shorting{ListID: listID, Line: 1, Bin: "C-03-A", Found: 1, Reason: "empty"})
	refused(t, err, "wrong_bin")
	_, err = short(s, picking.Shorting{ListID: listID, Line: 1, Bin: "A-03-A", Found: 4, Reason: "empty"})
	refused(t, err, "nothing_missing")
	out, err := short(s, picking.Shorting{ListID: listID, Line: 1, Bin: "A-03-A", Found: 1, Reason: "empty"})
	require.NoError(t, err)
	require.Len(t, out.Elsewhere, 1)
	require.Equal(t, "C-03-A", *out.Elsewhere[0].Bin)
	require.Equal(t, []picking.Missing{{Line: 1, OrderID: orderID, SKU: "A", Units: 2}}, out.Short)
	require.Equal(t, "A-03-A A empty pick:"+listID, shoptest.Value[string](t, s, `SELECT bin || ' ' || sku || ' ' || reason || ' ' || document FROM count_requests`))
	require.Equal(t, 5, shoptest.Value[int](t, s, `SELECT quantity FROM bin_stock WHERE bin = 'A-03-A'`), "the books wait for the count")
	l := read(t, s, listID)
	require.Len(t, l.Stops, 2)
	require.Equal(t, 2, l.Work[0].Open)
	require.Equal(t, 2, l.Work[0].Shorted)
	pickAll(t, s, listID)

	done, err := complete(s, listID)
	require.NoError(t, err)
	require.Equal(t, out.Short, done.Short)
	require.Equal(t, "short_pick", shoptest.Value[string](t, s, `SELECT attention FROM orders`))
	require.Equal(t, "pending", shoptest.Value[string](t, s, `SELECT status FROM shipments`))
	again, err := complete(s, listID)
	require.NoError(t, err)
	require.Equal(t, done.Short, again.Short)

	// The promise stands: the next wave finds nothing in a bin that waits to be counted, then it does.
	require.Equal(t, 2, release(t, s, picking.Wave{}).Unallocated[0].Units)
	s.Exec(t, `DELETE FROM count_requests`)
	next := one(t, s)
	require.Equal(t, 2, read(t, s, next).Units)
	pickAll(t, s, next)
	_, err = complete(s, next)
	require.NoError(t, err)
	require.True(t, shoptest.Value[bool](t, s, `SELECT status = 'picking' AND picked_at IS NOT NULL FROM shipments`))
	require.True(t, shoptest.Value[bool](t, s, `SELECT attention IS NULL FROM orders`), "nobody is needed any more")
	s.CheckBooks(t)
}

func TestShort_GivesUpUnitsThatLieInNoBin(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000, 3)
	paid(t, s, stock.Want{SKU: "A", Quantity: 3})
	listID := one(t, s)
	out, err := short(s, picking.Shorting{ListID: listID, Line: 1, Found: 1, Reason: "nowhere"})
	require.NoError(t, err)
	require.Equal(t, 2, out.Short[0].Units)
	_, err = pick(s, listID, ana, picking.Scan{Line: 1, Product: "A", Quantity: 1})
	require.NoError(t, err)
	done, err := complete(s, listID)
	require.NoError(t, err)
	require.Len(t, done.Short, 1)
	s.CheckBooks(t)
}

func TestShort_GivesUpALineWithoutAnyBin(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 3)
	s.Product(t, "B", 1000)
	put(t, s, "B", "A-05-A", "", 3)
	paid(t, s, stock.Want{SKU: "A", Quantity: 3}, stock.Want{SKU: "B", Quantity: 1})
	s.Exec(t, `UPDATE bins SET active = false WHERE code = 'A-03-A'`)
	out := release(t, s, picking.Wave{})
	require.Equal(t, out.Lists[0].ID, out.Unallocated[0].ListID)
	listID := out.Lists[0].ID
	require.Equal(t, 3, read(t, s, listID).Work[1].Unallocated)
	pickAll(t, s, listID)
	sh, err := short(s, picking.Shorting{ListID: listID, Line: 2, Reason: "no bin"})
	require.NoError(t, err)
	require.Equal(t, 3, sh.Short[0].Units)
	require.Equal(t, picking.Picked, sh.Status)
	s.CheckBooks(t)
}

func TestUnpick_TheLineWantsTheUnitsAgain(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 3)
	paid(t, s, stock.Want{SKU: "A", Quantity: 2})
	listID := one(t, s)
	pickAll(t, s, listID)
	u := read(t, s, listID).Work[0].Allocations[0]
	require.Equal(t, "PACK", *u.Bin)
	unpick := func(units int, bin string) (picking.State, error) {
		return in(s, func(ctx context.Context, tx pgx.Tx) (picking.State, error) {
			return picking.Unpick(ctx, tx, acme, picking.Unpicking{ListID: listID, Units: []picking.PutBack{{AllocationID: u.ID, Quantity: units, Bin: bin}}, By: ana})
		})
	}
	_, err := unpick(3, "B-03-A")
	refused(t, err, "not_picked")
	_, err = unpick(1, "NOWHERE")
	refused(t, err, "wrong_bin")
	state, err := unpick(1, "B-03-A")
	require.NoError(t, err)
	require.Equal(t, picking.InProgress, state.Status)
	n := read(t, s, listID).Work[0]
	require.Equal(t, 1, n.Picked)
	require.Equal(t, 1, n.Open)
	s.CheckBooks(t)
}

func TestAssignAndStart_GiveAListToOneOperator(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 3)
	paid(t, s, stock.Want{SKU: "A", Quantity: 2})
	listID := one(t, s)
	assign := func(name string) picking.State {
		st, err := in(s, func(ctx context.Context, tx pgx.Tx) (picking.State, error) {
			return picking.Assign(ctx, tx, acme, listID, name, 0)
		})
		require.NoError(t, err)
		return st
	}
	start := func(by stock.By) (picking.State, error) {
		return in(s, func(ctx context.Context, tx pgx.Tx) (picking.State, error) {
			return picking.Start(ctx, tx, acme, listID, by, 0)
		})
	}
	require.Equal(t, picking.Open, assign("beto").Status)
	_, err := start(ana)
	refused(t, err, "list_claimed")
	st, err := start(beto)
	require.NoError(t, err)
	require.Equal(t, picking.InProgress, st.Status)
	again, err := start(beto)
	require.NoError(t, err)
	require.Equal(t, st, again)
	require.Equal(t, picking.InProgress, assign("ana").Status)
	require.Equal(t, picking.Open, assign("").Status)
	st, err = cancel(s, picking.Cancelling{ListID: listID})
	require.NoError(t, err)
	require.Equal(t, picking.Cancelled, st.Status)
	again, err = cancel(s, picking.Cancelling{ListID: listID})
	require.NoError(t, err)
	require.Equal(t, st, again)
	_, err = start(ana)
	refused(t, err, "list_over")
	require.Equal(t, "pending", shoptest.Value[string](t, s, `SELECT status FROM shipments`))
	s.CheckBooks(t)
}

func TestLists_AreFilteredAndAnotherTenantSeesNone(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.AddTenant(t, "other")
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 3)
	paid(t, s, stock.Want{SKU: "A", Quantity: 2})
	listID := one(t, s)
	for filter, n := range map[picking.Filter]int{
		{}: 1, {Warehouse: "SCL-1", Status: "open"}: 1, {Status: "picked"}: 0, {Zone: "left"}: 0, {AssignedTo: "ana"}: 0, {Before: listID}: 0,
	} {
		filter.Limit = 10
		list, err := in(s, func(ctx context.Context, tx pgx.Tx) ([]picking.Summary, error) {
			return picking.Lists(ctx, tx, acme, filter)
		})
		require.NoError(t, err)
		require.Len(t, list, n, filter)
	}
	require.NoError(t, s.DB.InTenant(t.Context(), "other", func(tx pgx.Tx) error {
		_, err := picking.Read(t.Context(), tx, "other", listID)
		refused(t, err, "not_found")
		return nil
	}))
	raw, err := json.Marshal(read(t, s, listID))
	require.NoError(t, err)
	require.Contains(t, string(raw), `"saved_mm":`)
}
