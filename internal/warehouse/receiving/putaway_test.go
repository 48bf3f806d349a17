package receiving_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/id"
	"justlogistics/internal/label"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/receiving"
)

func TestPutAway_MovesUnitsAndSaysWhatLiesThere(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	r := d.begin("")
	d.scanned(r, lot("L1", "2027-01-31", 5), receiving.Scan{Code: "PHONE", Serials: []string{"S1", "S2"}})
	out, err := d.putAway(receiving.ToPutAway{Code: "CHEESE|L1", Quantity: 3, From: "IN", To: "A-01-A", ReceiptID: r})
	require.NoError(t, err)
	require.Equal(t, receiving.PutAwayDone{SKU: "CHEESE", Lot: "L1", Quantity: 3, Status: "available", From: receiving.Pile{Bin: "IN", Quantity: 2, Version: 2}, To: receiving.Pile{Bin: "A-01-A", Quantity: 3, Version: 1}}, out)
	_, err = d.putAway(receiving.ToPutAway{SKU: "PHONE", Serials: []string{"S2"}, From: "IN", To: "A-02-A"})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"IN/CHEESE/L1/available": 2, "A-01-A/CHEESE/L1/available": 3, "IN/PHONE/available": 1, "A-02-A/PHONE/available": 1}, d.bins())
	require.Equal(t, "receipt:"+r, shoptest.Value[string](t, d.Shop, `SELECT document FROM bin_movements WHERE reason = 'put_away' AND sku = 'CHEESE'`))
	d.CheckBooks(t)
}

func TestPutAway_RefusesWhatTheBinsForbid(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.Exec(t, `UPDATE bins SET max_units = 4 WHERE code = 'A-01-A'`)
	d.Exec(t, `UPDATE bins SET lot_rule = 'one_lot' WHERE code = 'A-02-A'`)
	d.Exec(t, `UPDATE bins SET lot_rule = 'one_sku', max_weight_grams = 250 WHERE code = 'R-01-A'`)
	d.Exec(t, `INSERT INTO bins (tenant, warehouse, code, kind, active) VALUES ('acme', 'SCL-1', 'OLD', 'pick', false)`)
	r := d.begin("")
	d.scanned(r, code("PLAIN", 20), lot("L1", "2027-01-31", 5), lot("L2", "2027-02-28", 5), lot("OLD", "2026-06-01", 1), receiving.Scan{Code: "PHONE", Serials: []string{"S1"}})
	three := int64(3)
	for _, c := range []struct {
		in   receiving.ToPutAway
		code string
	}{
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 5, To: "A-01-A"}, "bin_full"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 4, To: "A-01-A"}, ""},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "A-01-A"}, "bin_full"},
		{receiving.ToPutAway{SKU: "CHEESE", Lot: "L1", Quantity: 1, To: "A-02-A"}, ""},
		{receiving.ToPutAway{SKU: "CHEESE", Lot: "L2", Quantity: 1, To: "A-02-A"}, "lot_rule"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "A-02-A"}, ""},
		{receiving.ToPutAway{SKU: "CHEESE", Lot: "L1", Quantity: 3, To: "R-01-A"}, "bin_full"},
		{receiving.ToPutAway{SKU: "CHEESE", Lot: "L1", Quantity: 1, To: "R-01-A"}, ""},
		{receiving.ToPutAway{SKU: "CHEESE", Lot: "L2", Quantity: 1, To: "R-01-A"}, ""},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "R-01-A"}, "lot_rule"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "Q-01"}, "wrong_kind"},
		{receiving.ToPutAway{SKU: "CHEESE", Lot: "OLD", Quantity: 1, Status: "expired", To: "A-02-A"}, "wrong_kind"},
		{receiving.ToPutAway{SKU: "CHEESE", Lot: "OLD", Quantity: 1, Status: "expired", To: "Q-01"}, ""},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "NO"}, "unknown_bin"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "OLD"}, "unknown_bin"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "IN"}, "invalid"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, From: "PACK", To: "A-02-A"}, "wrong_kind"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, From: "NO", To: "A-02-A"}, "not_in_bin"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 100, To: "A-02-A"}, "not_in_bin"},
		{receiving.ToPutAway{SKU: "PHONE", Serials: []string{"S9"}, To: "A-02-A"}, "not_in_bin"},
		{receiving.ToPutAway{SKU: "PHONE", Quantity: 1, To: "A-02-A"}, "required"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "A-02-A", Version: &three}, ""},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "A-02-A", Version: &three}, "version_changed"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "A-01-A", Force: true}, "required"},
		{receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, To: "A-01-A", Force: true, Reason: "on top of it"}, ""},
		{receiving.ToPutAway{SKU: "NONE", Quantity: 1, To: "A-01-A"}, "unknown_item"},
	} {
		if c.in.From == "" {
			c.in.From = "IN"
		}
		_, err := d.putAway(c.in)
		if c.code == "" {
			require.NoError(t, err, "%+v", c.in)
			continue
		}
		refused(t, err, c.code)
	}
	require.Equal(t, "forced: on top of it", shoptest.Value[string](t, d.Shop, `SELECT note FROM bin_movements ORDER BY id DESC LIMIT 1`))
	d.CheckBooks(t)
}

func TestPutAway_PromisesFollowTheUnits(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	r := d.begin("")
	d.scanned(r, code("PLAIN", 5))
	holdID := id.New()
	require.NoError(t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		p, err := stock.Place(ctx, tx, shop.ID, stock.Request{HoldID: holdID, Channel: "web", Buyer: "ana@example.cl", Wants: []stock.Want{{SKU: "PLAIN", Quantity: 4}}, Seconds: 900, Warehouses: shoptest.Warehouses})
		require.NoError(t, err)
		require.Empty(t, p.Shortages)
		_, err = stock.Confirm(ctx, tx, shop.ID, holdID, holdID)
		require.NoError(t, err)
		_, _, err = stock.Allocate(ctx, tx, shop.ID, "SCL-1", []stock.ToAllocate{{HoldID: holdID, SKU: "PLAIN", Warehouse: "SCL-1", Units: 4}}, now)
		return err
	}))
	out, err := d.putAway(receiving.ToPutAway{SKU: "PLAIN", Quantity: 3, From: "IN", To: "A-01-A"})
	require.NoError(t, err)
	require.Equal(t, 2, out.Reallocated)
	require.Zero(t, out.Unallocated)
	allocated := `SELECT allocated FROM hold_lines WHERE hold_id = $1`
	require.Equal(t, 4, shoptest.Value[int](t, d.Shop, allocated, holdID))
	// The two that are left at the door were never there: one of them was promised
	// and is missing now.
	_, _, err = d.correct(receiving.Correction{ReceiptID: r, SKU: "PLAIN", Quantity: 2})
	require.NoError(t, err)
	require.Equal(t, []int{3, 1}, []int{shoptest.Value[int](t, d.Shop, allocated, holdID), shoptest.Value[int](t, d.Shop, `SELECT shorted FROM hold_lines WHERE hold_id = $1`, holdID)})
	d.CheckBooks(t)
}

// picked writes so many picks of a SKU, a day apart.
func (d *dock) picked(sku string, picks int) {
	d.t.Helper()
	d.Exec(d.t, `INSERT INTO bin_movements (tenant, warehouse, sku, quantity, to_bin, to_status, reason, person) VALUES ('acme', 'SCL-1', $1, $2, 'A-02-A', 'available', 'receipt', 'test')`, sku, picks)
	for i := range picks {
		d.Exec(d.t, `INSERT INTO bin_movements (tenant, warehouse, sku, quantity, from_bin, from_status, to_bin, to_status, reason, document, person, created_at) VALUES ('acme', 'SCL-1', $1, 1, 'A-02-A', 'available', 'PACK', 'available', 'pick', 'pick:1', 'test', now() - make_interval(days => $2))`, sku, i+1)
	}
	d.Exec(d.t, `INSERT INTO bin_movements (tenant, warehouse, sku, quantity, from_bin, from_status, reason, person) VALUES ('acme', 'SCL-1', $1, $2, 'PACK', 'available', 'loss', 'test')`, sku, picks)
}

func TestABC_ClassesFollowThePicksOfNinetyDays(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	for sku, picks := range map[string]int{"F1": 60, "F2": 25, "F3": 12, "F4": 3} {
		d.Product(t, sku, 1000, 0)
		d.picked(sku, picks)
	}
	d.Product(t, "OLD", 1000, 0)
	d.picked("OLD", 5)
	d.Exec(t, `UPDATE bin_movements SET created_at = now() - interval '91 days' WHERE sku = 'OLD' AND reason = 'pick'`)
	require.NoError(t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		abc, err := receiving.ReadABC(ctx, tx, shop.ID, "SCL-1", time.Now())
		require.NoError(t, err)
		require.Equal(t, 100, abc.Picks)
		require.Equal(t, []receiving.Class{{SKU: "F1", Picks: 60, Class: "A"}, {SKU: "F2", Picks: 25, Class: "A"}, {SKU: "F3", Picks: 12, Class: "B"}, {SKU: "F4", Picks: 3, Class: "C"}}, abc.Data)
		_, err = receiving.ReadABC(ctx, tx, shop.ID, "NO", time.Now())
		refused(t, err, "not_found")
		return nil
	}))
}

// floorPlan has one aisle of five racks; the depot is at its front.
const floorPlan = `{"kind":"aisles","aisles":{"count":1,"first_name":"A","first_x_mm":2000,"pitch_mm":4000,"width_mm":1500},"cross_aisles":{"y_mm":[0,12000],"width_mm":2000},
  "racks":{"side":"right","width_mm":1000,"depth_mm":1000,"levels":1,"level_height_mm":1500},"depot":{"cross":0,"x_mm":2000}}`

// lay gives the warehouse a plan and pick bins along its aisle, farther and
// farther from the depot, and takes the others out of use.
func (d *dock) lay(bins int) {
	d.t.Helper()
	d.Exec(d.t, `UPDATE warehouses SET plan = $1 WHERE code = 'SCL-1'`, floorPlan)
	d.Exec(d.t, `UPDATE bins SET active = false WHERE kind = 'pick'`)
	for i := range bins {
		// The codes go the other way, so that they can't be what sorts.
		d.Exec(d.t, `INSERT INTO bins (tenant, warehouse, code, kind, stop_aisle, stop_y_mm, max_units) VALUES ('acme', 'SCL-1', $1, 'pick', 0, $2, 10)`, fmt.Sprintf("P-%d", bins-i), 1000*(i+1))
	}
}

func targets(list []receiving.Proposal) (out []string) {
	for _, p := range list {
		out = append(out, fmt.Sprintf("%d %s %s to %s", p.Quantity, p.SKU, p.Class, p.To))
	}
	return out
}

func TestProposals_FastMoversLieNearTheDepotAndTheRestInReserve(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	for sku, picks := range map[string]int{"FAST": 80, "MIDDLE": 15, "SLOW": 5} {
		d.Product(t, sku, 1000, 0)
		d.picked(sku, picks)
	}
	d.lay(5)
	r := d.begin("")
	d.scanned(r, code("SLOW", 12), code("MIDDLE", 4), code("FAST", 15))
	out := d.propose(r)
	require.Equal(t, []string{"10 FAST A to P-5", "5 FAST A to P-4", "4 MIDDLE B to P-4", "10 SLOW C to P-3", "2 SLOW C to P-2"}, targets(out.Data))
	require.Equal(t, int64(1000), *out.Data[0].DistanceMM)
	require.Empty(t, out.Unplaced)
	d.scanned(r, code("FAST", 100))
	out = d.propose(r)
	require.Equal(t, "reserve", out.Data[5].Kind, "pick bins are full: the rest is reserve")
	require.Nil(t, out.Data[5].DistanceMM)
	d.Exec(t, `UPDATE bins SET max_units = 3 WHERE code = 'R-01-A'`)
	out = d.propose(r)
	total := 0
	for _, u := range out.Unplaced {
		total += u.Quantity
	}
	require.Equal(t, 131-50-3, total, "what fits nowhere is named")
}

func TestProposals_PreferABinWithTheSameLotAndKeepItsRule(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.lay(3)
	d.Exec(t, `UPDATE bins SET lot_rule = 'one_lot' WHERE code LIKE 'P-%'`)
	d.Exec(t, `UPDATE bins SET lot_rule = 'one_sku' WHERE code = 'R-01-A'`)
	r := d.begin("")
	d.scanned(r, lot("L1", "2027-01-31", 10), lot("L2", "2027-02-28", 2), code("PLAIN", 1))
	_, err := d.putAway(receiving.ToPutAway{SKU: "CHEESE", Lot: "L1", Quantity: 6, From: "IN", To: "P-1", ReceiptID: r})
	require.NoError(t, err)
	_, err = d.putAway(receiving.ToPutAway{SKU: "PLAIN", Quantity: 1, From: "IN", To: "R-01-A", ReceiptID: r})
	require.NoError(t, err)
	require.Equal(t, []string{"4 CHEESE C to P-1", "2 CHEESE C to P-2"}, targets(d.propose(r).Data))
	d.Exec(t, `UPDATE bins SET active = false WHERE code IN ('P-2', 'P-3')`)
	out := d.propose(r)
	require.Equal(t, []string{"4 CHEESE C to P-1"}, targets(out.Data))
	require.Equal(t, []receiving.Unplaced{{SKU: "CHEESE", Lot: "L2", Status: "available", Quantity: 2, From: "IN", Why: "the bins with room have a rule against what lies in them"}}, out.Unplaced)
}

func TestProposals_WithoutAPlanGoByCodeAndApartWhatIsNotForSale(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.Exec(t, `UPDATE products SET weight_grams = 100, length_mm = 100, width_mm = 100, height_mm = 100`)
	d.Exec(t, `UPDATE bins SET max_volume_mm3 = 2500000 WHERE code = 'A-01-A'`)
	d.Exec(t, `UPDATE bins SET max_weight_grams = 150 WHERE code = 'A-02-A'`)
	r := d.begin("")
	d.scanned(r, code("PLAIN", 5), lot("NEAR", "2026-06-10", 1), receiving.Scan{Code: "PLAIN", Condition: "damaged"})
	// The half from the second of two bins on is for what is seldom picked.
	require.Equal(t, []string{"1 CHEESE C to Q-01", "1 PLAIN C to A-02-A", "2 PLAIN C to A-01-A", "2 PLAIN C to R-01-A"}, targets(d.propose(r).Data), "what is in the damaged bin stays there")
}

func TestProposals_ForAGraph(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.Exec(t, `UPDATE warehouses SET plan = '{"kind":"graph","nodes":[{"name":"d","x_mm":0,"y_mm":0},{"name":"m","x_mm":6000,"y_mm":0},{"name":"f","x_mm":6000,"y_mm":5000}],"edges":[{"from":"d","to":"m"},{"from":"m","to":"f","length_mm":9000}],"depot":{"node":"d"}}' WHERE code = 'SCL-1'`)
	d.Exec(t, `UPDATE bins SET stop_node = 'f', max_units = 1 WHERE code = 'A-01-A'`)
	d.Exec(t, `UPDATE bins SET stop_node = 'm', max_units = 1 WHERE code = 'A-02-A'`)
	r := d.begin("")
	d.scanned(r, code("PLAIN", 2))
	out := d.propose(r)
	require.Equal(t, []string{"1 PLAIN C to A-01-A", "1 PLAIN C to A-02-A"}, targets(out.Data))
	require.Equal(t, []int64{15000, 6000}, []int64{*out.Data[0].DistanceMM, *out.Data[1].DistanceMM})
}

func TestLabels_AreThoseOfWhatCame(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.Exec(t, `UPDATE products SET barcodes = '{mine,09501101530003}' WHERE sku = 'CHEESE'`)
	r := d.begin("")
	d.scanned(r, lot("L1", "2027-01-31", 5), code("PLAIN", 2), code("NOTHING", 1))
	_, _, err := d.correct(receiving.Correction{ReceiptID: r, SKU: "PLAIN", Quantity: 2})
	require.NoError(t, err)
	want, err := label.Lot{SKU: "CHEESE", Name: "Producto CHEESE", Lot: "L1", Expiry: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), GTIN: "09501101530003"}.ZPL(label.Print{DPI: 300, Copies: 2}, now)
	require.NoError(t, err)
	require.NoError(t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		zpl, err := receiving.Labels(ctx, tx, shop.ID, r, label.Print{DPI: 300, Copies: 2}, now)
		require.NoError(t, err)
		require.Equal(t, want, zpl)
		zpl, err = receiving.BinLabel(ctx, tx, shop.ID, "SCL-1", "A-01-A", label.Print{DPI: 203, Copies: 1}, label.Up)
		require.NoError(t, err)
		require.Contains(t, zpl, "A-01-A")
		_, err = receiving.BinLabel(ctx, tx, shop.ID, "SCL-1", "NO", label.Print{DPI: 203, Copies: 1}, label.NoArrow)
		refused(t, err, "not_found")
		return nil
	}))
}

// inbound is a machine of random deliveries into one warehouse.
type inbound struct {
	*dock
	plain, lots, serials string
	orders, receipts     []string
	next                 int
}

// allowed are refusals that a random step may meet.
var allowed = map[string]bool{"serial_in_stock": true, "receipt_closed": true, "receipt_cancelled": true, "receipt_has_scans": true, "order_cancelled": true, "order_received": true,
	"not_scanned": true, "not_in_bin": true, "bin_full": true, "lot_rule": true, "wrong_kind": true, "acceptance_needed": true}

func (m *inbound) step(t *rapid.T, err error) bool {
	if err == nil {
		return true
	}
	p, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	require.True(t, allowed[p.Code], p.Code)
	return false
}

func (m *inbound) order(t *rapid.T) {
	lines := []receiving.OrderLineInput{{SKU: m.plain, Quantity: rapid.IntRange(1, 8).Draw(t, "plain")}, {SKU: m.lots, Lot: rapid.SampledFrom([]string{"", "L1"}).Draw(t, "lot"), Quantity: rapid.IntRange(1, 8).Draw(t, "lots")}}
	if rapid.Bool().Draw(t, "with serials") {
		lines = append(lines, receiving.OrderLineInput{SKU: m.serials, Quantity: 2})
	}
	m.orders = append(m.orders, m.dock.order(lines...).ID)
}

func (m *inbound) anOrder(t *rapid.T) string {
	if len(m.orders) == 0 {
		t.Skip("nothing was ordered")
	}
	return rapid.SampledFrom(m.orders).Draw(t, "order")
}

func (m *inbound) aReceipt(t *rapid.T) string {
	if len(m.receipts) == 0 {
		t.Skip("nothing has come")
	}
	return rapid.SampledFrom(m.receipts).Draw(t, "receipt")
}

func (m *inbound) begin(t *rapid.T) {
	orderID := ""
	if len(m.orders) > 0 && rapid.IntRange(0, 3).Draw(t, "blind") > 0 {
		orderID = m.anOrder(t)
	}
	r, err := m.start(orderID)
	if m.step(t, err) {
		m.receipts = append(m.receipts, r.ID)
	}
}

func (m *inbound) scanSome(t *rapid.T) {
	receiptID := m.aReceipt(t)
	var scans []receiving.Scan
	for range rapid.IntRange(1, 3).Draw(t, "scans") {
		s := receiving.Scan{Condition: rapid.SampledFrom([]string{"", "good", "damaged"}).Draw(t, "condition"), Quantity: many(rapid.IntRange(1, 6).Draw(t, "units"))}
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 0:
			s.Code = m.plain
		case 1:
			n := rapid.IntRange(1, 3).Draw(t, "lot")
			s.Code, s.Lot, s.ExpiresOn = m.lots, fmt.Sprintf("L%d", n), on(now.AddDate(0, n-1, 5).Format(time.DateOnly))
		case 2:
			m.next++
			s.Code, s.Quantity, s.Serials = m.serials, nil, []string{fmt.Sprintf("S%d", rapid.IntRange(max(1, m.next-3), m.next).Draw(t, "serial"))}
		default:
			s.Code = "NOBODY-KNOWS"
		}
		scans = append(scans, s)
	}
	_, _, err := m.scan(receiptID, scans...)
	m.step(t, err)
}

func (m *inbound) correctSome(t *rapid.T) {
	c := receiving.Correction{ReceiptID: m.aReceipt(t), SKU: rapid.SampledFrom([]string{m.plain, m.lots, m.serials}).Draw(t, "sku"), Quantity: rapid.IntRange(1, 3).Draw(t, "units")}
	if c.SKU == m.lots {
		c.Lot = fmt.Sprintf("L%d", rapid.IntRange(1, 3).Draw(t, "lot"))
	}
	_, _, err := m.correct(c)
	m.step(t, err)
}

func (m *inbound) carry(t *rapid.T) {
	type pile struct {
		SKU, Bin, Lot, Status, Serial string
		Units                         int
	}
	rows, err := m.Super.Query(context.Background(), `SELECT s.sku, s.bin, s.lot, s.status, coalesce(n.serial, ''), CASE WHEN n.serial IS NULL THEN s.quantity ELSE 1 END
	    FROM bin_stock s LEFT JOIN serials n ON (n.tenant, n.warehouse, n.bin, n.sku, n.lot, n.status) = (s.tenant, s.warehouse, s.bin, s.sku, s.lot, s.status)
	   WHERE s.sku = ANY($1) AND s.quantity > 0 ORDER BY 1, 2, 3, 4, 5`, []string{m.plain, m.lots, m.serials})
	require.NoError(t, err)
	piles, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pile])
	require.NoError(t, err)
	if len(piles) == 0 {
		t.Skip("nothing lies anywhere")
	}
	p := rapid.SampledFrom(piles).Draw(t, "pile")
	in := receiving.ToPutAway{SKU: p.SKU, Lot: p.Lot, Status: p.Status, From: p.Bin, To: rapid.SampledFrom([]string{"A-01-A", "A-02-A", "R-01-A", "Q-01", "D-01", "IN"}).Draw(t, "to"), Quantity: rapid.IntRange(1, p.Units).Draw(t, "units")}
	if p.Serial != "" {
		in.Serials = []string{p.Serial}
	}
	if in.To == in.From {
		t.Skip("to the same bin")
	}
	_, err = m.putAway(in)
	m.step(t, err)
}

// follow puts everything where it is proposed: no proposal is refused.
func (m *inbound) follow(t *rapid.T) {
	receiptID := m.aReceipt(t)
	for _, p := range m.propose(receiptID).Data {
		in := receiving.ToPutAway{SKU: p.SKU, Lot: p.Lot, Status: p.Status, From: p.From, To: p.To, Quantity: p.Quantity, ReceiptID: receiptID}
		if p.SKU == m.serials {
			in.Serials = shoptest.List[string](m.t, m.Shop, `SELECT serial FROM serials WHERE sku = $1 AND bin = $2 AND status = $3 AND state = 'in_stock' ORDER BY serial LIMIT $4`, p.SKU, p.From, p.Status, p.Quantity)
		}
		_, err := m.putAway(in)
		require.NoError(t, err, "%+v", p)
	}
}

// check demands that what was scanned less what was taken back is what lies in
// bins and what the orders count, and that no order expects less than nothing.
func (m *inbound) check(t *rapid.T) {
	require.Empty(t, shoptest.List[string](m.t, m.Shop, `SELECT s.sku || ': ' || e.units || ' scanned, ' || b.units || ' in bins' FROM unnest($1::text[]) AS s (sku),
	    LATERAL (SELECT coalesce(sum(CASE kind WHEN 'scan' THEN quantity ELSE -quantity END), 0) AS units FROM receipt_entries e WHERE e.sku = s.sku) e,
	    LATERAL (SELECT coalesce(sum(quantity), 0) AS units FROM bin_stock b WHERE b.sku = s.sku) b WHERE e.units <> b.units`, []string{m.plain, m.lots, m.serials}))
	require.Empty(t, shoptest.List[string](m.t, m.Shop, `SELECT l.purchase_order_id || ' line ' || l.line || ': ' || l.received || '/' || l.damaged || ' counted, ' || e.units || '/' || e.damaged || ' scanned' FROM purchase_order_lines l,
	    LATERAL (SELECT coalesce(sum(x.units), 0) AS units, coalesce(sum(x.units) FILTER (WHERE x.condition = 'damaged'), 0) AS damaged
	               FROM (SELECT e.condition, CASE e.kind WHEN 'scan' THEN e.quantity ELSE -e.quantity END AS units FROM receipts r JOIN receipt_entries e ON e.tenant = r.tenant AND e.receipt_id = r.id
	                      WHERE r.purchase_order_id = l.purchase_order_id AND e.line = l.line) x) e
	   WHERE l.purchase_order_id = ANY($1) AND (l.received <> e.units OR l.damaged <> e.damaged)`, m.orders))
	for _, orderID := range m.orders {
		p := m.readOrder(orderID)
		for _, l := range p.Lines {
			want := 0
			if p.Status == "open" || p.Status == "partially_received" {
				want = max(0, l.Ordered-l.Received)
			}
			require.Equal(t, want, l.Expected)
		}
	}
}

func TestReceiving_RandomDeliveriesKeepTheBooks(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.Exec(t, `UPDATE bins SET lot_rule = 'one_lot', max_units = 400 WHERE code = 'A-01-A'`)
	d.Exec(t, `UPDATE bins SET lot_rule = 'one_sku' WHERE code = 'A-02-A'`)
	d.Exec(t, `UPDATE bins SET max_weight_grams = 60000 WHERE code = 'R-01-A'`)
	every := []string{receiving.Over, receiving.UnknownItem, receiving.NotOrdered, receiving.OrderCancelled, receiving.WrongLot, receiving.ExpiryTooNear}
	rapid.Check(t, func(rt *rapid.T) {
		m := &inbound{dock: d, plain: id.New(), lots: id.New(), serials: id.New()}
		for sku, tracking := range map[string]string{m.plain: "none", m.lots: "lot", m.serials: "serial"} {
			d.Product(t, sku, 1000)
			d.Tracked(t, sku, tracking, "fefo")
		}
		d.Exec(t, `UPDATE products SET receive_days_left = 20 WHERE sku = $1`, m.lots)
		rt.Repeat(map[string]func(*rapid.T){
			"order":    m.order,
			"begin":    m.begin,
			"scan":     m.scanSome,
			"scan2":    m.scanSome,
			"correct":  m.correctSome,
			"put away": m.carry,
			"follow":   m.follow,
			"close": func(t *rapid.T) {
				var accept []string
				for _, kind := range every {
					if rapid.IntRange(0, 3).Draw(t, kind) > 0 {
						accept = append(accept, kind)
					}
				}
				_, err := m.close(m.aReceipt(t), accept...)
				m.step(t, err)
			},
			"cancel receipt": func(t *rapid.T) {
				receiptID := m.aReceipt(t)
				m.step(t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
					_, err := receiving.CancelReceipt(ctx, tx, shop, receiptID, ana)
					return err
				}))
			},
			"end order": func(t *rapid.T) {
				e := receiving.End{OrderID: m.anOrder(t), By: ana}
				end := rapid.SampledFrom([]func(context.Context, pgx.Tx, string, receiving.End) (receiving.PurchaseOrder, error){receiving.CancelOrder, receiving.CloseOrder}).Draw(t, "how")
				m.step(t, d.in(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
					_, err := end(ctx, tx, shop.ID, e)
					return err
				}))
			},
			"": m.check,
		})
		d.CheckBooks(rt)
	})
}
