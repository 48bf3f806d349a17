package transfer_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/id"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/transfer"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var ana = stock.By{Person: "ana", Device: "scanner-1", KeyID: "k"}

// world is a shop with receiving and picking bins in two warehouses.
type world struct {
	*shoptest.Shop
	t *testing.T
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Shop: shoptest.New(t), t: t}
	w.Product(t, "A", 1_000, 10)
	w.Product(t, "L", 1_000)
	w.Tracked(t, "L", "lot", "fefo")
	w.Product(t, "S", 1_000)
	w.Tracked(t, "S", "serial", "fifo")
	for _, warehouse := range []string{"SCL-1", "CCP-1"} {
		w.Bin(t, warehouse, "REC-1", "receiving")
		w.Bin(t, warehouse, "A-01", "pick")
	}
	return w
}

// put brings units into a bin of SCL-1.
func (w *world) put(sku, lot, serial string, units int) {
	w.t.Helper()
	w.Do(w.t, func(tx pgx.Tx) error {
		if lot != "" {
			if _, err := stock.PutLot(w.t.Context(), tx, shoptest.Tenant, stock.Lot{SKU: sku, Lot: lot}); err != nil {
				return err
			}
		}
		_, err := stock.Move(w.t.Context(), tx, shoptest.Tenant, stock.BinMovement{SKU: sku, Warehouse: "SCL-1", Lot: lot, Serial: serial, Quantity: units, To: stock.In("A-01", stock.Available), Reason: "receipt", Document: "receipt:1", By: ana})
		return err
	})
}

// ask requests units of SKUs from SCL-1 to CCP-1.
func (w *world) ask(lines ...transfer.RequestLine) string {
	w.t.Helper()
	transferID := id.New()
	w.Do(w.t, func(tx pgx.Tx) error {
		return transfer.Ask(w.t.Context(), tx, shoptest.Tenant, transferID, transfer.Request{From: "SCL-1", To: "CCP-1", Lines: lines}, ana)
	})
	return transferID
}

// sent is a transfer of units of A, from no bin, that is on the way.
func (w *world) sent(units int) string {
	w.t.Helper()
	transferID := w.ask(transfer.RequestLine{SKU: "A", Quantity: units})
	w.must(transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "A", Quantity: units}}})
	return transferID
}

type doing[T any] func(ctx context.Context, tx pgx.Tx, tenant, transferID string, in T, by stock.By) (transfer.Result, error)

// try runs an action in a transaction of its own.
func try[T any](w *world, do doing[T], transferID string, in T) (out transfer.Result, err error) {
	err = w.DB.InTenant(w.t.Context(), shoptest.Tenant, func(tx pgx.Tx) (err error) {
		out, err = do(w.t.Context(), tx, shoptest.Tenant, transferID, in, ana)
		return err
	})
	return out, err
}

func must[T any](w *world, do doing[T], transferID string, in T) transfer.Result {
	w.t.Helper()
	out, err := try(w, do, transferID, in)
	require.NoError(w.t, err)
	return out
}

// must dispatches; the other actions use the function.
func (w *world) must(do doing[transfer.Dispatching], transferID string, in transfer.Dispatching) transfer.Result {
	w.t.Helper()
	return must(w, do, transferID, in)
}

func refused(t *testing.T, err error, code string) *problem.Error {
	t.Helper()
	p, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, p.Code, p.Detail)
	return p
}

func (w *world) level(sku, warehouse string) stock.Level {
	w.t.Helper()
	var out stock.Level
	w.Do(w.t, func(tx pgx.Tx) error {
		list, err := stock.Levels(w.t.Context(), tx, shoptest.Tenant, sku)
		for _, l := range list {
			if l.Warehouse == warehouse {
				out = l
			}
		}
		return err
	})
	return out
}

func arrived(units int) []transfer.ArrivedLine {
	return []transfer.ArrivedLine{{SKU: "A", Quantity: units}}
}

func TestAsk_RefusesWhatCannotBeSentAndNamesEachFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	past := "2020-01-01T00:00:00Z"
	err := w.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		return transfer.Ask(t.Context(), tx, shoptest.Tenant, id.New(), transfer.Request{From: "SCL-1", To: "SCL-1", ExpectedAt: &past,
			Lines: []transfer.RequestLine{{SKU: "A", Quantity: 1}, {SKU: "A", Quantity: 1}, {SKU: "NADA", Quantity: 0}, {SKU: "L", Lot: "L9", Quantity: 1}}}, ana)
	})
	p := refused(t, err, "invalid_request")
	codes := map[string]string{}
	for _, f := range p.Fields {
		codes[f.Field] = f.Code
	}
	require.Equal(t, map[string]string{"to": "invalid", "expected_at": "out_of_range", "lines[1]": "repeated", "lines[2].quantity": "out_of_range", "lines[2].sku": "unknown_sku", "lines[3].lot": "unknown_lot"}, codes)
	err = w.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		return transfer.Ask(t.Context(), tx, shoptest.Tenant, id.New(), transfer.Request{From: "SCL-1", To: "NADA", Lines: []transfer.RequestLine{{SKU: "A", Quantity: 1}}}, ana)
	})
	refused(t, err, "unknown_warehouse")
}

func TestTransfer_GoesFromShelfToShelfAndIsNobodysStockBetween(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	transferID := w.ask(transfer.RequestLine{SKU: "A", Quantity: 5})
	require.Equal(t, 10, w.level("A", "SCL-1").OnHand, "nothing moves yet")
	out := w.must(transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "A", Quantity: 4}}})
	require.Equal(t, transfer.InTransit, out.Status, "less than requested may leave")
	require.Equal(t, 4, out.InTransit)
	require.WithinDuration(t, time.Now().Add(96*time.Hour), *out.DueAt, time.Minute, "the usual journey and the tenant's grace")
	require.Contains(t, out.WaitsFor(), "On the way from SCL-1 to CCP-1 since ")
	require.Equal(t, 6, w.level("A", "SCL-1").OnHand)
	require.Zero(t, w.level("A", "CCP-1").OnHand)
	w.Do(t, func(tx pgx.Tx) error {
		coming, err := transfer.Coming(t.Context(), tx, shoptest.Tenant, "A")
		require.Equal(t, map[string]int{"CCP-1": 4}, coming)
		return err
	})

	out = must(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: arrived(1)})
	require.Equal(t, transfer.PartiallyReceived, out.Status)
	out = must(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: arrived(3)})
	require.Equal(t, transfer.Received, out.Status)
	require.Nil(t, out.DueAt)
	require.NotNil(t, out.ClosedAt)
	require.Equal(t, 4, w.level("A", "CCP-1").OnHand)
	require.Equal(t, 4, w.level("A", "CCP-1").Placed)
	require.Equal(t, []string{"transfer_out", "transfer_in", "transfer_in"}, shoptest.List[string](t, w.Shop, `SELECT reason FROM bin_movements WHERE document = $1 AND person = 'ana' ORDER BY id`, "transfer:"+transferID))
	w.CheckBooks(t)
}

func TestTransfer_ReceivedShortEndsWhenAPersonNamesWhatWasLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	transferID := w.sent(5)
	must(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: arrived(2)})
	_, err := try(w, transfer.Close, transferID, transfer.Closing{})
	refused(t, err, "units_on_the_way")
	_, err = try(w, transfer.Close, transferID, transfer.Closing{Lost: []transfer.LostLine{{SKU: "A", Quantity: 3}}})
	refused(t, err, "required")
	_, err = try(w, transfer.Close, transferID, transfer.Closing{Lost: []transfer.LostLine{{SKU: "A", Quantity: 4, Reason: "fell off"}}})
	refused(t, err, "more_than_sent")

	out := must(w, transfer.Close, transferID, transfer.Closing{Lost: []transfer.LostLine{{SKU: "A", Quantity: 1, Reason: "fell off"}}})
	require.Equal(t, transfer.PartiallyReceived, out.Status, "what is not named stays on the way")
	require.Equal(t, 2, out.InTransit)
	out = must(w, transfer.Close, transferID, transfer.Closing{Lost: []transfer.LostLine{{SKU: "A", Quantity: 2, Reason: "stolen"}}})
	require.Equal(t, transfer.ReceivedShort, out.Status)
	require.Equal(t, []transfer.Unit{{SKU: "A", Sent: 5, Received: 2, Lost: 3}}, out.Units)
	w.Do(t, func(tx pgx.Tx) error {
		entries, err := transfer.Entries(t.Context(), tx, shoptest.Tenant, transferID)
		require.Len(t, entries, 4)
		require.Equal(t, "stolen", entries[3].Reason)
		require.Equal(t, "ana", entries[3].Person)
		return err
	})
	_, err = try(w, transfer.Close, transferID, transfer.Closing{Lost: []transfer.LostLine{{SKU: "A", Quantity: 1, Reason: "again"}}})
	refused(t, err, "transfer_status")
	w.CheckBooks(t)
}

func TestTransfer_TheSameOperationTwiceIsDoneOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	transferID := w.ask(transfer.RequestLine{SKU: "A", Quantity: 5})
	send := transfer.Dispatching{OperationID: "op-1", Lines: []transfer.DispatchLine{{SKU: "A", Quantity: 5}}}
	require.False(t, must(w, transfer.Dispatch, transferID, send).Duplicate)
	require.True(t, must(w, transfer.Dispatch, transferID, send).Duplicate)

	in := transfer.Receiving{OperationID: "op-2", Bin: "REC-1", Lines: arrived(3)}
	require.False(t, must(w, transfer.Receive, transferID, in).Duplicate)
	out := must(w, transfer.Receive, transferID, in)
	require.True(t, out.Duplicate)
	require.Equal(t, 2, out.InTransit)
	require.Empty(t, out.Moved)

	in.Lines = arrived(2)
	_, err := try(w, transfer.Receive, transferID, in)
	refused(t, err, "operation_reused")
	in.OperationID, in.Lines = "op-3", arrived(3)
	_, err = try(w, transfer.Receive, transferID, in)
	p := refused(t, err, "more_than_sent")
	require.NotNil(t, p.More["units"])
	require.Equal(t, 3, w.level("A", "CCP-1").OnHand)

	in.Version = 1
	_, err = try(w, transfer.Receive, transferID, in)
	refused(t, err, "stale_version")
	in.Version, in.OperationID = 0, "with space"
	_, err = try(w, transfer.Receive, transferID, in)
	refused(t, err, "invalid")
	w.CheckBooks(t)
}

func TestTransfer_PromisedUnitsStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	holdID := id.New()
	w.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Place(t.Context(), tx, shoptest.Tenant, stock.Request{HoldID: holdID, Channel: "web", Buyer: "ana@example.cl", Wants: []stock.Want{{SKU: "A", Quantity: 7}}, Seconds: 900, Warehouses: shoptest.Warehouses})
		return err
	})
	transferID := w.ask(transfer.RequestLine{SKU: "A", Quantity: 10})
	_, err := try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "A", Quantity: 4}}})
	p := refused(t, err, "units_promised")
	require.Equal(t, []map[string]any{{"sku": "A", "wanted": 4, "free": 3}}, p.More["units"])
	must(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "A", Quantity: 3}}})
	require.Equal(t, 7, w.level("A", "SCL-1").Reserved)
	w.CheckBooks(t)
}

func TestTransfer_UnitsThatAreChosenForAnOrderStayInTheirBin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put("L", "L1", "", 5)
	holdID := id.New()
	w.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Place(t.Context(), tx, shoptest.Tenant, stock.Request{HoldID: holdID, Channel: "web", Wants: []stock.Want{{SKU: "L", Quantity: 2}}, Seconds: 900, Warehouses: shoptest.Warehouses})
		return err
	})
	w.Exec(t, `UPDATE holds SET status = 'confirmed', confirmed_at = now(), order_id = id, due_at = NULL WHERE id = $1`, holdID)
	w.Do(t, func(tx pgx.Tx) error {
		got, _, err := stock.Allocate(t.Context(), tx, shoptest.Tenant, "SCL-1", []stock.ToAllocate{{HoldID: holdID, SKU: "L", Warehouse: "SCL-1", Units: 2}}, time.Now())
		require.Len(t, got, 1)
		return err
	})
	// Three more lie elsewhere, so that the warehouse could spare all five of the bin.
	w.Bin(t, "SCL-1", "A-02", "reserve")
	w.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, shoptest.Tenant, stock.BinMovement{SKU: "L", Warehouse: "SCL-1", Lot: "L1", Quantity: 3, To: stock.In("A-02", stock.Available), Reason: "receipt", By: ana})
		return err
	})
	transferID := w.ask(transfer.RequestLine{SKU: "L", Quantity: 5})
	_, err := try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "L", Lot: "L1", Bin: "A-01", Quantity: 5}}})
	p := refused(t, err, "units_promised")
	require.Equal(t, []map[string]any{{"sku": "L", "bin": "A-01", "wanted": 5, "free": 3}}, p.More["units"])
	must(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "L", Lot: "L1", Bin: "A-01", Quantity: 3}, {SKU: "L", Lot: "L1", Bin: "A-02", Quantity: 2}}})
	w.CheckBooks(t)
}

func TestTransfer_OnlyWhatWasAskedForLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put("L", "L1", "", 5)
	w.put("L", "L2", "", 5)
	transferID := w.ask(transfer.RequestLine{SKU: "L", Lot: "L1", Quantity: 2}, transfer.RequestLine{SKU: "L", Quantity: 1})
	line := func(lot string, units int) transfer.DispatchLine {
		return transfer.DispatchLine{SKU: "L", Lot: lot, Bin: "A-01", Quantity: units}
	}
	for _, lines := range [][]transfer.DispatchLine{{line("L2", 2)}, {line("L1", 4)}, {line("L1", 3), line("L2", 1)}, {{SKU: "A", Quantity: 1}}} {
		_, err := try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: lines})
		refused(t, err, "more_than_requested")
	}
	_, err := try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "L", Quantity: 1}}})
	refused(t, err, "required")
	_, err = try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "L", Lot: "L1", Quantity: 1}}})
	refused(t, err, "not_on_shelf")
	must(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{line("L2", 1), line("L1", 2)}})
	_, err = try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{line("L1", 1)}})
	refused(t, err, "transfer_status")
	w.CheckBooks(t)
}

func TestTransfer_DamagedOnTheWayArrivesAndCannotBeSold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	transferID := w.sent(5)
	lines := []transfer.ArrivedLine{{SKU: "A", Quantity: 3}, {SKU: "A", Quantity: 2, Damaged: true}}
	_, err := try(w, transfer.Receive, transferID, transfer.Receiving{Lines: lines})
	refused(t, err, "required")
	_, err = try(w, transfer.Receive, transferID, transfer.Receiving{Lines: lines, Bin: "NO"})
	refused(t, err, "unknown_bin")
	out := must(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: lines})
	require.Equal(t, transfer.Received, out.Status)
	require.Equal(t, []transfer.Unit{{SKU: "A", Sent: 5, Received: 3, Damaged: 2}}, out.Units)
	require.Equal(t, 3, w.level("A", "CCP-1").OnHand)
	require.Equal(t, 2, shoptest.Value[int](t, w.Shop, `SELECT quantity FROM bin_stock WHERE warehouse = 'CCP-1' AND status = 'damaged'`))
	w.CheckBooks(t)
}

func TestTransfer_ALotThatExpiresOnTheWayArrivesExpired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put("L", "L1", "", 3)
	w.put("L", "L2", "", 1)
	transferID := w.ask(transfer.RequestLine{SKU: "L", Quantity: 4})
	must(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "L", Lot: "L1", Bin: "A-01", Quantity: 3}, {SKU: "L", Lot: "L2", Bin: "A-01", Quantity: 1}}})
	w.Exec(t, `UPDATE lots SET expires_on = current_date - 2 WHERE lot = 'L1'`)
	w.Exec(t, `UPDATE lots SET status = 'held', reason = 'recall of the maker' WHERE lot = 'L2'`)
	out := must(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: []transfer.ArrivedLine{{SKU: "L", Lot: "L1", Quantity: 3}, {SKU: "L", Lot: "L2", Quantity: 1}}})
	require.Equal(t, transfer.Received, out.Status)
	require.Equal(t, []transfer.Placed{{SKU: "L", Lot: "L1", Quantity: 3, Bin: "REC-1", Status: "expired"}, {SKU: "L", Lot: "L2", Quantity: 1, Bin: "REC-1", Status: "held"}}, out.Moved)
	require.Zero(t, w.level("L", "CCP-1").OnHand)
	w.CheckBooks(t)
}

func TestTransfer_SerialsTravelByTheirNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, serial := range []string{"S1", "S2", "S3"} {
		w.put("S", "", serial, 1)
	}
	transferID := w.ask(transfer.RequestLine{SKU: "S", Quantity: 3})
	_, err := try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "S", Quantity: 1}}})
	refused(t, err, "required")
	_, err = try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "S", Serials: []string{"S1", "S1"}}}})
	refused(t, err, "repeated")
	_, err = try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "S", Serials: []string{"S9"}}}})
	refused(t, err, "not_on_shelf")
	must(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "S", Serials: []string{"S1", "S2"}}}})
	require.Equal(t, []string{"left", "left", "in_stock"}, shoptest.List[string](t, w.Shop, `SELECT state FROM serials ORDER BY serial`))

	for _, accept := range []bool{false, true} {
		_, err = try(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", AcceptOver: accept, Lines: []transfer.ArrivedLine{{SKU: "S", Serials: []string{"S1", "S3"}}}})
		refused(t, err, "more_than_sent")
	}
	must(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: []transfer.ArrivedLine{{SKU: "S", Serials: []string{"S2"}, Damaged: true}}})
	_, err = try(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: []transfer.ArrivedLine{{SKU: "S", Serials: []string{"S2"}}}})
	refused(t, err, "more_than_sent")
	require.Equal(t, "CCP-1", shoptest.Value[string](t, w.Shop, `SELECT warehouse FROM serials WHERE serial = 'S2' AND status = 'damaged'`))
	out := must(w, transfer.Close, transferID, transfer.Closing{Lost: []transfer.LostLine{{SKU: "S", Serials: []string{"S1"}, Reason: "stolen"}}})
	require.Equal(t, transfer.ReceivedShort, out.Status)
	require.Equal(t, "left", shoptest.Value[string](t, w.Shop, `SELECT state FROM serials WHERE serial = 'S1'`))
	w.CheckBooks(t)
}

func TestTransfer_MoreThanWasSentIsTakenInOnlyWhenAPersonSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Product(t, "B", 1_000)
	transferID := w.sent(5)
	in := transfer.Receiving{Bin: "REC-1", Lines: []transfer.ArrivedLine{{SKU: "A", Quantity: 6}, {SKU: "B", Quantity: 2}}}
	_, err := try(w, transfer.Receive, transferID, in)
	p := refused(t, err, "more_than_sent")
	require.Equal(t, map[string]any{"status": "in_transit", "version": int64(2), "in_transit": 5}, p.More["current"])
	in.AcceptOver = true
	out := must(w, transfer.Receive, transferID, in)
	require.Equal(t, transfer.Received, out.Status)
	require.Equal(t, []transfer.Unit{{SKU: "A", Sent: 5, Received: 5, Over: 1}, {SKU: "B", Over: 2}}, out.Units)
	require.Equal(t, 6, w.level("A", "CCP-1").OnHand)
	require.Equal(t, 2, w.level("B", "CCP-1").OnHand)
	require.Equal(t, []string{"A 1", "B 2"}, shoptest.List[string](t, w.Shop, `SELECT sku || ' ' || quantity FROM bin_movements WHERE reason = 'adjustment' AND document = $1 ORDER BY 1`, "transfer:"+transferID))

	// One more is found in the lorry when the transfer is over.
	out = must(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", AcceptOver: true, Lines: arrived(1)})
	require.Equal(t, transfer.Received, out.Status)
	require.Equal(t, 2, out.Units[0].Over)
	_, err = try(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: arrived(1)})
	refused(t, err, "more_than_sent")
	_, err = try(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: []transfer.ArrivedLine{{Code: "no such code", Quantity: 1}}})
	refused(t, err, "unknown_item")
	w.CheckBooks(t)
}

func TestTransfer_IsCancelledBeforeItLeavesAndRecalledAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	transferID := w.ask(transfer.RequestLine{SKU: "A", Quantity: 5})
	_, err := try(w, transfer.Receive, transferID, transfer.Receiving{Lines: arrived(1)})
	refused(t, err, "transfer_status")
	_, err = try(w, transfer.Cancel, transferID, transfer.Cancelling{Recall: true})
	refused(t, err, "transfer_status")
	require.Equal(t, transfer.Cancelled, must(w, transfer.Cancel, transferID, transfer.Cancelling{}).Status)
	_, err = try(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "A", Quantity: 1}}})
	refused(t, err, "transfer_status")

	transferID = w.sent(5)
	_, err = try(w, transfer.Cancel, transferID, transfer.Cancelling{})
	refused(t, err, "transfer_status")
	out := must(w, transfer.Cancel, transferID, transfer.Cancelling{Recall: true, Bin: "REC-1", Lines: arrived(2)})
	require.Equal(t, transfer.InTransit, out.Status)
	out = must(w, transfer.Cancel, transferID, transfer.Cancelling{Recall: true, Bin: "REC-1"})
	require.Equal(t, transfer.Cancelled, out.Status)
	require.Equal(t, []transfer.Unit{{SKU: "A", Sent: 5, Recalled: 5}}, out.Units)
	require.Equal(t, 10, w.level("A", "SCL-1").OnHand)

	transferID = w.sent(5)
	must(w, transfer.Receive, transferID, transfer.Receiving{Lines: arrived(1)})
	require.Equal(t, transfer.ReceivedShort, must(w, transfer.Cancel, transferID, transfer.Cancelling{Recall: true}).Status, "a part of it has arrived")
	w.CheckBooks(t)
}

func TestTransfer_ScannedCodesNameTheGoods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Exec(t, `UPDATE products SET barcodes = '{07801234567894}' WHERE sku = 'L'`)
	w.put("L", "L1", "", 8)
	transferID := w.ask(transfer.RequestLine{SKU: "L", Quantity: 8})
	code := "(01)07801234567894(10)L1"
	must(w, transfer.Dispatch, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{Code: code, Bin: "A-01", Quantity: 5}}})
	out := must(w, transfer.Receive, transferID, transfer.Receiving{Bin: "REC-1", Lines: []transfer.ArrivedLine{{Code: code, Quantity: 5}}})
	require.Equal(t, []transfer.Unit{{SKU: "L", Lot: "L1", Sent: 5, Received: 5}}, out.Units)
	w.CheckBooks(t)
}

func TestLoseRest_WritesOffWhatIsLeftAndDoesNothingTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	transferID := w.sent(5)
	must(w, transfer.Receive, transferID, transfer.Receiving{Lines: arrived(2)})
	for range 2 {
		w.Do(t, func(tx pgx.Tx) error {
			out, err := transfer.LoseRest(t.Context(), tx, shoptest.Tenant, transferID, "support gave it up", ana)
			require.Equal(t, transfer.ReceivedShort, out.Status)
			require.Equal(t, []transfer.Unit{{SKU: "A", Sent: 5, Received: 2, Lost: 3}}, out.Units)
			return err
		})
	}
	w.CheckBooks(t)
}

func TestPostpone_GivesThemAnotherDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	transferID := w.sent(5)
	w.Exec(t, `UPDATE transfers SET due_at = now() - interval '1 hour'`)
	w.Do(t, func(tx pgx.Tx) error {
		return transfer.Postpone(t.Context(), tx, shoptest.Tenant, transferID, 24*time.Hour)
	})
	require.True(t, shoptest.Value[bool](t, w.Shop, `SELECT due_at > now() + interval '23 hours' FROM transfers`))
}

func TestList_FiltersByStatusAndWarehouseNewestFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.sent(2), w.ask(transfer.RequestLine{SKU: "A", Quantity: 1})
	list := func(f transfer.Filter) (ids []string) {
		f.Limit = 10
		w.Do(t, func(tx pgx.Tx) error {
			all, err := transfer.List(t.Context(), tx, shoptest.Tenant, f)
			for _, x := range all {
				ids = append(ids, x.ID)
				require.Len(t, x.Lines, 1)
			}
			return err
		})
		return ids
	}
	require.Equal(t, []string{second, first}, list(transfer.Filter{}))
	require.Equal(t, []string{first}, list(transfer.Filter{Status: transfer.InTransit}))
	require.Equal(t, []string{first}, list(transfer.Filter{Before: second}))
	require.Empty(t, list(transfer.Filter{Warehouse: "ANF-1"}))
	require.Len(t, list(transfer.Filter{Warehouse: "CCP-1"}), 2)
}

func TestTransfer_ManyScannersAtOnceReceiveOnlyWhatIsOnTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	transferID := w.sent(5)
	var same, others errgroup.Group
	for range 4 {
		same.Go(func() error {
			_, err := try(w, transfer.Receive, transferID, transfer.Receiving{OperationID: "op", Lines: arrived(1)})
			return err
		})
		others.Go(func() error {
			_, err := try(w, transfer.Receive, transferID, transfer.Receiving{Lines: arrived(2)})
			if p, ok := problem.As(err); ok && p.Code == "more_than_sent" {
				return nil
			}
			return err
		})
	}
	require.NoError(t, same.Wait(), "one of them receives it, the others are told so")
	require.NoError(t, others.Wait())
	require.Equal(t, 5, w.level("A", "CCP-1").OnHand)
	w.CheckBooks(t)
}
