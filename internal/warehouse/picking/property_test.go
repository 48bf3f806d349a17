package picking_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/id"
	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/picking"
)

func init() {
	// Each step is a transaction on a real database.
	if f := flag.Lookup("rapid.checks"); f != nil {
		f.DefValue = "15"
		_ = f.Value.Set(f.DefValue)
	}
}

// hall is a machine of random operations of a warehouse that picks.
type hall struct {
	s    *shoptest.Shop
	skus []string // one without lots, one with
	// done counts what was carried out and not refused.
	done map[string]int
}

var hallBins = []string{"A-03-A", "A-09-A", "B-05-A", "C-01-A"}

// try runs a step. A refusal is fine and changes nothing; an error is not.
func (m *hall) try(t *rapid.T, what string, fn func(ctx context.Context, tx pgx.Tx) error) bool {
	ctx := context.Background()
	err := m.s.DB.InTenant(ctx, acme, func(tx pgx.Tx) error { return fn(ctx, tx) })
	if _, ok := problem.As(err); ok {
		return false
	}
	require.NoError(t, err)
	m.done[what]++
	return true
}

func rowsOf[T any](t *rapid.T, s *shoptest.Shop, sql string, args ...any) []T {
	rows, err := s.Super.Query(context.Background(), sql, args...)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	require.NoError(t, err)
	return list
}

// draw takes one of a list, or leaves the step out.
func draw[T any](t *rapid.T, what string, list []T) T {
	if len(list) == 0 {
		t.Skip("no " + what)
	}
	return list[rapid.IntRange(0, len(list)-1).Draw(t, what)]
}

func (m *hall) receive(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "sku")
	b := stock.BinMovement{SKU: m.skus[i], Warehouse: "SCL-1", Quantity: rapid.IntRange(1, 6).Draw(t, "units"), To: stock.In(draw(t, "bin", hallBins), stock.Available), Reason: "receipt", By: ana}
	require.True(t, m.try(t, "receive", func(ctx context.Context, tx pgx.Tx) error {
		if i == 1 {
			days := rapid.IntRange(2, 4).Draw(t, "days")
			b.Lot = fmt.Sprintf("L%d", days)
			day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, days)
			if _, err := stock.PutLot(ctx, tx, acme, stock.Lot{SKU: b.SKU, Lot: b.Lot, ExpiresOn: &day}); err != nil {
				return err
			}
		}
		_, err := stock.Move(ctx, tx, acme, b)
		return err
	}))
}

// begin gives every story some stock, some orders and a wave.
func (m *hall) begin(t *rapid.T) {
	for range 6 {
		m.receive(t)
	}
	for range 3 {
		m.try(t, "buy", func(ctx context.Context, tx pgx.Tx) error {
			levels, err := stock.Levels(ctx, tx, acme, m.skus[1])
			require.NoError(t, err)
			if len(levels) == 0 || levels[0].Available < 2 {
				return problem.New(problem.Conflict, "insufficient_stock", "")
			}
			return buy(ctx, tx, id.New(), []stock.Want{{SKU: m.skus[1], Quantity: 2}})
		})
	}
	m.wave(t)
}

// finish picks all that is open of a list and completes it.
func (m *hall) finish(t *rapid.T) {
	listID := m.list(t)
	for _, w := range rowsOf[openWork](t, m.s, `SELECT list_id, id, sku, bin, lot, line, quantity FROM allocations WHERE list_id = $1 AND state = 'open' AND quantity > 0 ORDER BY id`, listID) {
		m.try(t, "pick", func(ctx context.Context, tx pgx.Tx) error {
			_, err := picking.Pick(ctx, tx, acme, picking.Picking{ListID: w.List, To: "PACK", By: ana, Picks: []picking.Scan{{AllocationID: w.ID, Bin: w.Bin, Product: w.SKU, Lot: w.Lot, Quantity: w.Units}}})
			return err
		})
	}
	m.try(t, "complete", func(ctx context.Context, tx pgx.Tx) error {
		_, err := picking.Complete(ctx, tx, acme, listID, ana, 0)
		return err
	})
}

func (m *hall) buy(t *rapid.T) {
	var wants []stock.Want
	for _, sku := range m.skus {
		if n := rapid.IntRange(0, 3).Draw(t, "units"); n > 0 {
			wants = append(wants, stock.Want{SKU: sku, Quantity: n})
		}
	}
	if len(wants) == 0 {
		t.Skip("nothing wanted")
	}
	m.try(t, "buy", func(ctx context.Context, tx pgx.Tx) error {
		free := map[string]int{}
		for _, w := range wants {
			levels, err := stock.Levels(ctx, tx, acme, w.SKU)
			require.NoError(t, err)
			for _, l := range levels {
				free[w.SKU] += l.Available
			}
			if free[w.SKU] < w.Quantity {
				return problem.New(problem.Conflict, "insufficient_stock", "")
			}
		}
		return buy(ctx, tx, id.New(), wants)
	})
}

// leftBehind counts free units of a lot that should have left before one of those
// that a list now wants or has.
const leftBehind = `SELECT count(*) FROM allocations a JOIN lots mine ON mine.tenant = a.tenant AND mine.sku = a.sku AND mine.lot = a.lot
    JOIN bin_stock s ON s.tenant = a.tenant AND s.warehouse = a.warehouse AND s.sku = a.sku JOIN lots l ON l.tenant = s.tenant AND l.sku = s.sku AND l.lot = s.lot
    JOIN bins b ON b.tenant = s.tenant AND b.warehouse = s.warehouse AND b.code = s.bin
  WHERE a.list_id = $1 AND a.state = $2 AND a.created_at = now() AND s.status = 'available' AND s.quantity > s.allocated AND b.kind = 'pick' AND l.status = 'available' AND l.expires_on > current_date + 1
    AND l.expires_on < mine.expires_on AND NOT EXISTS (SELECT FROM count_requests c WHERE c.tenant = s.tenant AND c.bin = s.bin AND c.sku = s.sku)`

func keepsFEFO(ctx context.Context, t *rapid.T, tx pgx.Tx, listID, state string) {
	var n int
	require.NoError(t, tx.QueryRow(ctx, leftBehind, listID, state).Scan(&n))
	require.Zero(t, n, "a lot that expires earlier stayed behind")
}

func (m *hall) wave(t *rapid.T) {
	w := picking.Wave{Warehouse: "SCL-1", By: rapid.SampledFrom(picking.Kinds).Draw(t, "by"), MaxOrders: rapid.IntRange(0, 3).Draw(t, "orders"), Rounds: 2, Who: ana,
		Trolley: batch.Load{Units: rapid.SampledFrom([]int{0, 3, 6}).Draw(t, "units")}}
	m.try(t, "wave", func(ctx context.Context, tx pgx.Tx) error {
		out, err := picking.Release(ctx, tx, acme, w)
		if err != nil {
			return err
		}
		for _, l := range out.Lists {
			require.True(t, w.Trolley.Units == 0 || l.Units-unallocatedOn(out, l.ID) <= w.Trolley.Units)
			if len(out.TooLarge) == 0 {
				// What was given back to the shelf for a trolley came after the others had chosen.
				keepsFEFO(ctx, t, tx, l.ID, "open")
			}
		}
		return nil
	})
}

func unallocatedOn(out picking.Released, listID string) (n int) {
	for _, u := range out.Unallocated {
		if u.ListID == listID {
			n += u.Units
		}
	}
	return n
}

type openWork struct {
	List, ID, SKU, Bin, Lot string
	Line, Units             int
}

func (m *hall) open(t *rapid.T) openWork {
	return draw(t, "open work", rowsOf[openWork](t, m.s, `SELECT a.list_id, a.id, a.sku, a.bin, a.lot, a.line, a.quantity FROM allocations a JOIN pick_lists l ON l.tenant = a.tenant AND l.id = a.list_id
	   WHERE a.state = 'open' AND a.quantity > 0 AND a.sku = ANY($1) ORDER BY a.id`, m.skus))
}

func (m *hall) pick(t *rapid.T) {
	w := m.open(t)
	n := rapid.IntRange(1, w.Units).Draw(t, "units")
	m.try(t, "pick", func(ctx context.Context, tx pgx.Tx) error {
		_, err := picking.Pick(ctx, tx, acme, picking.Picking{ListID: w.List, To: "PACK", By: ana, Picks: []picking.Scan{{AllocationID: w.ID, Bin: w.Bin, Product: w.SKU, Lot: w.Lot, Quantity: n}}})
		return err
	})
}

func (m *hall) swap(t *rapid.T) {
	w := m.open(t)
	type pile struct{ Bin, Lot string }
	p := draw(t, "pile", rowsOf[pile](t, m.s, `SELECT bin, lot FROM bin_stock WHERE sku = $1 AND status = 'available' AND quantity > allocated AND bin <> 'PACK' ORDER BY 1, 2`, w.SKU))
	scan := picking.Scan{Line: w.Line, Bin: p.Bin, Product: w.SKU, Lot: p.Lot, Quantity: rapid.IntRange(1, w.Units).Draw(t, "units"), Swap: true}
	if rapid.Bool().Draw(t, "with a reason") {
		scan.OverrideReason = "a test"
	}
	m.try(t, "swap", func(ctx context.Context, tx pgx.Tx) error {
		if _, err := picking.Pick(ctx, tx, acme, picking.Picking{ListID: w.List, To: "PACK", By: ana, Picks: []picking.Scan{scan}}); err != nil {
			return err
		}
		var swapped bool
		require.NoError(t, tx.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM allocations WHERE list_id = $1 AND line = $2 AND state IN ('open','closed') AND bin = $3 AND lot = $4 AND created_at < now())`, w.List, w.Line, p.Bin, p.Lot).Scan(&swapped))
		if swapped && scan.OverrideReason == "" {
			keepsFEFO(ctx, t, tx, w.List, "picked")
		}
		return nil
	})
}

func (m *hall) list(t *rapid.T) string {
	type row struct{ ID string }
	return draw(t, "list", rowsOf[row](t, m.s, `SELECT DISTINCT l.id FROM pick_lists l JOIN pick_lines p ON p.tenant = l.tenant AND p.list_id = l.id WHERE p.sku = ANY($1) ORDER BY 1`, m.skus)).ID
}

// lose takes units out of a bin, or makes them unfit to be sold.
func (m *hall) lose(reason string) func(*rapid.T) {
	return func(t *rapid.T) {
		type pile struct {
			SKU, Bin, Lot string
			Units         int
		}
		p := draw(t, "pile", rowsOf[pile](t, m.s, `SELECT sku, bin, lot, quantity FROM bin_stock WHERE sku = ANY($1) AND status = 'available' AND quantity > 0 ORDER BY 1, 2, 3`, m.skus))
		b := stock.BinMovement{SKU: p.SKU, Warehouse: "SCL-1", Lot: p.Lot, Quantity: rapid.IntRange(1, p.Units).Draw(t, "units"), From: stock.In(p.Bin, stock.Available), Reason: reason, By: beto}
		if reason == "damage" {
			b.To = stock.In(p.Bin, stock.Damaged)
		}
		require.True(t, m.try(t, reason, func(ctx context.Context, tx pgx.Tx) error {
			moved, err := stock.Move(ctx, tx, acme, b)
			if err != nil {
				return err
			}
			for _, d := range moved.Dropped {
				if d.ListID == "" {
					continue
				}
				if _, _, err := picking.Refresh(ctx, tx, acme, d.ListID); err != nil {
					if p, ok := problem.As(err); !ok || p.Code != "list_over" {
						return err
					}
				}
			}
			return nil
		}))
	}
}

// check is what must be true after every step.
func (m *hall) check(t *rapid.T) {
	m.s.CheckBooks(t)
	for what, sql := range map[string]string{
		"a line's picked units are its allocations'": `SELECT count(*) FROM pick_lines p WHERE picked <> (SELECT coalesce(sum(quantity), 0) FROM allocations a WHERE a.list_id = p.list_id AND a.line = p.line AND a.state IN ('picked','shipped'))`,
		"no line has more work than it wants":        `SELECT count(*) FROM pick_lines p WHERE picked + shorted + (SELECT coalesce(sum(quantity), 0) FROM allocations a WHERE a.list_id = p.list_id AND a.line = p.line AND a.state = 'open') > quantity`,
		"a list that is over has no work":            `SELECT count(*) FROM allocations a JOIN pick_lists l ON l.id = a.list_id WHERE a.state = 'open' AND l.status IN ('completed','cancelled')`,
		"a shipment that is being picked has a list": `SELECT count(*) FROM shipments s WHERE status = 'picking' AND picked_at IS NULL AND NOT EXISTS (SELECT FROM pick_lines p JOIN pick_lists l ON l.id = p.list_id WHERE p.shipment_id = s.id AND p.cancelled_at IS NULL AND l.due_at IS NOT NULL)`,
	} {
		type n struct{ N int }
		require.Zero(t, rowsOf[n](t, m.s, sql)[0].N, what)
	}
}

func TestPicking_RandomOperationsKeepTheBooks(t *testing.T) {
	t.Parallel()
	s := building(t, func(r *tenant.Settings) { r.TimeZone = "UTC" })
	done := map[string]int{}
	kinds := []string{"buy", "wave", "pick", "count", "short", "complete", "cancel"}
	unseen := func(what string) bool { return done[what] == 0 }
	for round := 0; round == 0 || round < 5 && slices.ContainsFunc(kinds, unseen); round++ { // chance may leave a kind out
		rapid.Check(t, func(rt *rapid.T) {
			m := &hall{s: s, skus: []string{id.New(), id.New()}, done: done}
			// What an earlier run left pending is none of this one's business.
			s.Exec(t, `UPDATE shipments SET status = 'cancelled' WHERE status IN ('pending','picking')`)
			s.Exec(t, `DELETE FROM count_requests`)
			for _, sku := range m.skus {
				s.Product(t, sku, 1000)
			}
			s.Tracked(t, m.skus[1], "lot", "fefo")
			m.begin(rt)
			rt.Repeat(map[string]func(*rapid.T){
				"receive":  m.receive,
				"receive2": m.receive,
				"buy":      m.buy,
				"buy2":     m.buy,
				"wave":     m.wave,
				"pick":     m.pick,
				"pick2":    m.pick,
				"pick3":    m.pick,
				"swap":     m.swap,
				"swap2":    m.swap,
				"finish":   m.finish,
				"finish2":  m.finish,
				"count":    m.lose("count"),
				"damage":   m.lose("damage"),
				"short": func(t *rapid.T) {
					w := m.open(t)
					c := picking.Shorting{ListID: w.List, AllocationID: w.ID, Bin: w.Bin, Found: rapid.IntRange(0, w.Units-1).Draw(t, "found"), Reason: "empty", By: ana}
					m.try(t, "short", func(ctx context.Context, tx pgx.Tx) error {
						_, err := picking.Short(ctx, tx, acme, c)
						return err
					})
				},
				"short of what has no bin": func(t *rapid.T) {
					listID := m.list(t)
					line := rapid.IntRange(1, 3).Draw(t, "line")
					m.try(t, "short of what has no bin", func(ctx context.Context, tx pgx.Tx) error {
						_, err := picking.Short(ctx, tx, acme, picking.Shorting{ListID: listID, Line: line, Reason: "nowhere", By: ana})
						return err
					})
				},
				"counted": func(*rapid.T) { s.Exec(t, `DELETE FROM count_requests`) },
				"hold a lot": func(t *rapid.T) {
					status := rapid.SampledFrom([]string{"held", "available"}).Draw(t, "status")
					m.try(t, "hold a lot", func(ctx context.Context, tx pgx.Tx) error {
						_, err := tx.Exec(ctx, `UPDATE lots SET status = $2 WHERE sku = $1 AND lot = 'L3'`, m.skus[1], status)
						return err
					})
				},
				"freeze": func(t *rapid.T) {
					type row struct{ ID string }
					o := draw(t, "order", rowsOf[row](t, m.s, `SELECT DISTINCT order_id FROM pick_lines WHERE sku = ANY($1) ORDER BY 1`, m.skus))
					frozen := rapid.Bool().Draw(t, "frozen")
					m.try(t, "freeze", func(ctx context.Context, tx pgx.Tx) error {
						if frozen {
							return order.Freeze(ctx, tx, acme, o.ID, "disputed")
						}
						return order.Thaw(ctx, tx, acme, o.ID, "disputed")
					})
				},
				"unpick": func(t *rapid.T) {
					w := draw(t, "picked", rowsOf[openWork](t, m.s, `SELECT list_id, id, sku, bin, lot, line, quantity FROM allocations WHERE state = 'picked' AND quantity > 0 AND sku = ANY($1) ORDER BY id`, m.skus))
					back := picking.PutBack{AllocationID: w.ID, Quantity: rapid.IntRange(1, w.Units).Draw(t, "units"), Bin: draw(t, "bin", hallBins)}
					m.try(t, "unpick", func(ctx context.Context, tx pgx.Tx) error {
						_, err := picking.Unpick(ctx, tx, acme, picking.Unpicking{ListID: w.List, Units: []picking.PutBack{back}, By: ana})
						return err
					})
				},
				"complete": func(t *rapid.T) {
					listID := m.list(t)
					m.try(t, "complete", func(ctx context.Context, tx pgx.Tx) error {
						_, err := picking.Complete(ctx, tx, acme, listID, ana, 0)
						return err
					})
				},
				"cancel": func(t *rapid.T) {
					listID, to := m.list(t), draw(t, "to", append([]string{""}, hallBins...))
					m.try(t, "cancel", func(ctx context.Context, tx pgx.Tx) error {
						_, err := picking.Cancel(ctx, tx, acme, picking.Cancelling{ListID: listID, To: to, Reason: "a test", By: ana})
						return err
					})
				},
				"": m.check,
			})
		})
	}
	for _, what := range kinds {
		require.NotZero(t, done[what], "no %s was carried out: %v", what, done)
	}
}
