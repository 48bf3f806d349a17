package stock_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/id"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
)

// aisle is a machine of random operations on the bins of one warehouse: a SKU
// with lots, one with serials, and one with neither.
type aisle struct {
	shelf
	plain, lots, serials string
	bins                 []string
	next                 int
}

var (
	ana   = stock.By{Person: "ana", Device: "scanner-1"}
	today = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
)

func (m *aisle) sku(t *rapid.T) string {
	return rapid.SampledFrom([]string{m.plain, m.lots, m.serials}).Draw(t, "sku")
}

func (m *aisle) bin(t *rapid.T, what string) string {
	return rapid.SampledFrom(m.bins).Draw(t, what)
}

// try runs a step; what the ledger refuses by name is no failure.
func (m *aisle) try(t *rapid.T, fn func(ctx context.Context, tx pgx.Tx) error) bool {
	err := m.in(fn)
	for _, known := range []error{stock.ErrNotInBin, stock.ErrBelowZero, stock.ErrPromised, stock.ErrAllocationGone, stock.ErrSerialAbsent} {
		if errors.Is(err, known) {
			return false
		}
	}
	require.NoError(t, err)
	return true
}

// receive brings units of a SKU in, from outside.
func (m *aisle) receive(t *rapid.T) {
	sku, bin := m.sku(t), m.bin(t, "bin")
	b := stock.BinMovement{SKU: sku, Warehouse: "SCL-1", Quantity: rapid.IntRange(1, 5).Draw(t, "units"), To: stock.In(bin, rapid.SampledFrom([]string{stock.Available, stock.Available, stock.Damaged}).Draw(t, "status")), Reason: "receipt", Document: "receipt:1", By: ana}
	if sku != m.plain {
		day := rapid.IntRange(-1, 3).Draw(t, "day")
		b.Lot = fmt.Sprintf("L%d", day)
		expires := today.AddDate(0, 0, day)
		require.True(t, m.try(t, func(ctx context.Context, tx pgx.Tx) error {
			same, err := stock.PutLot(ctx, tx, shoptest.Tenant, stock.Lot{SKU: sku, Lot: b.Lot, ExpiresOn: &expires})
			require.True(t, same)
			return err
		}))
	}
	if sku == m.serials {
		m.next++
		b.Serial, b.Quantity = fmt.Sprintf("S%d", m.next), 1
	}
	require.True(t, m.try(t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := stock.Move(ctx, tx, shoptest.Tenant, b)
		return err
	}))
}

// pile draws units that lie in a bin.
func (m *aisle) pile(t *rapid.T) stock.BinMovement {
	type pile struct {
		SKU, Bin, Lot, Status, Serial string
		Quantity                      int
	}
	rows, err := m.shop.Super.Query(context.Background(), `SELECT s.sku, s.bin, s.lot, s.status, coalesce(n.serial, ''), CASE WHEN n.serial IS NULL THEN s.quantity ELSE 1 END
	    FROM bin_stock s LEFT JOIN serials n ON (n.tenant, n.warehouse, n.bin, n.sku, n.lot, n.status) = (s.tenant, s.warehouse, s.bin, s.sku, s.lot, s.status)
	   WHERE s.sku = ANY($1) AND s.quantity > 0 ORDER BY 1, 2, 3, 4, 5`, []string{m.plain, m.lots, m.serials})
	require.NoError(t, err)
	piles, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pile])
	require.NoError(t, err)
	if len(piles) == 0 {
		t.Skip("the bins are empty")
	}
	p := piles[rapid.IntRange(0, len(piles)-1).Draw(t, "pile")]
	return stock.BinMovement{SKU: p.SKU, Warehouse: "SCL-1", Lot: p.Lot, Serial: p.Serial, Quantity: rapid.IntRange(1, p.Quantity).Draw(t, "units"), From: stock.In(p.Bin, p.Status), By: ana}
}

// move takes units of a bin elsewhere; whoever loses a promise is named.
func (m *aisle) move(to func(t *rapid.T, b *stock.BinMovement)) func(*rapid.T) {
	return func(t *rapid.T) {
		b := m.pile(t)
		to(t, &b)
		if b.To != nil && *b.To == *b.From {
			t.Skip("to the same bin")
		}
		require.True(t, m.try(t, func(ctx context.Context, tx pgx.Tx) error {
			before := m.total(ctx, t, tx)
			moved, err := stock.Move(ctx, tx, shoptest.Tenant, b)
			if err != nil {
				return err
			}
			for _, l := range moved.Shorted {
				before -= l.Units
			}
			require.Equal(t, before, m.total(ctx, t, tx), "whoever loses units is named")
			return nil
		}), "units that lie in a bin can leave it")
	}
}

// allocate chooses bins for a confirmed hold and demands that no unit which
// should have left before stays behind.
func (m *aisle) allocate(t *rapid.T) {
	holdID := m.hold(t)
	m.try(t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := confirm(ctx, tx, shoptest.Tenant, holdID); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT l.sku, l.quantity - l.shorted - l.left_stock - l.allocated FROM hold_lines l JOIN holds h ON h.tenant = l.tenant AND h.id = l.hold_id
		   WHERE l.hold_id = $1 AND l.warehouse = 'SCL-1' AND h.confirmed_at IS NOT NULL AND h.status IN ('confirmed','short') ORDER BY l.sku`, holdID)
		require.NoError(t, err)
		wants, err := pgx.CollectRows(rows, pgx.RowToStructByPos[stock.Want])
		require.NoError(t, err)
		var lines []stock.ToAllocate
		for _, w := range wants {
			if w.Quantity > 0 {
				lines = append(lines, stock.ToAllocate{HoldID: holdID, SKU: w.SKU, Warehouse: "SCL-1", Units: w.Quantity})
			}
		}
		got, _, err := stock.Allocate(ctx, tx, shoptest.Tenant, "SCL-1", lines, today)
		require.NoError(t, err)
		for _, a := range got {
			var expired bool
			require.NoError(t, tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM lots WHERE sku = $1 AND lot = $2 AND expires_on <= $3)`, a.SKU, a.Lot, today).Scan(&expired))
			require.False(t, expired, "an expired lot was allocated")
			if a.Lot == "" {
				continue
			}
			var earlier bool
			require.NoError(t, tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM bin_stock s JOIN lots l ON l.tenant = s.tenant AND l.sku = s.sku AND l.lot = s.lot JOIN bins b ON b.tenant = s.tenant AND b.warehouse = s.warehouse AND b.code = s.bin
			     WHERE s.sku = $1 AND s.warehouse = 'SCL-1' AND s.status = 'available' AND s.quantity > s.allocated AND b.kind = 'pick' AND l.expires_on > $3
			       AND l.expires_on < (SELECT expires_on FROM lots WHERE sku = $1 AND lot = $2))`, a.SKU, a.Lot, today).Scan(&earlier))
			require.False(t, earlier, "a lot that expires earlier stayed behind")
		}
		return nil
	})
}

// live draws an allocation in a state.
func (m *aisle) live(t *rapid.T, state string) (allocationID, sku, lot, bin string, units int) {
	type row struct {
		ID, SKU, Lot, Bin string
		Units             int
	}
	rows, err := m.shop.Super.Query(context.Background(), `SELECT id, sku, lot, bin, quantity FROM allocations WHERE hold_id = ANY($1) AND state = $2 AND quantity > 0 ORDER BY id`, m.holds, state)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	require.NoError(t, err)
	if len(list) == 0 {
		t.Skip("nothing is " + state)
	}
	a := list[rapid.IntRange(0, len(list)-1).Draw(t, "allocation")]
	return a.ID, a.SKU, a.Lot, a.Bin, rapid.IntRange(1, a.Units).Draw(t, "units")
}

func (m *aisle) pick(t *rapid.T) {
	allocationID, sku, lot, bin, units := m.live(t, "open")
	p := stock.Taken{AllocationID: allocationID, Units: units, To: "PACK", Document: "pick:1", By: ana}
	if bin == "" {
		if sku != m.plain {
			t.Skip("nobody knows which lots lie in no bin")
		}
	} else if sku == m.serials {
		p.Serials = shoptest.List[string](m.tb, m.shop, `SELECT serial FROM serials WHERE sku = $1 AND lot = $2 AND bin = $3 AND status = 'available' AND state = 'in_stock' ORDER BY serial LIMIT $4`, sku, lot, bin, units)
	}
	done := m.try(t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := stock.Pick(ctx, tx, shoptest.Tenant, p)
		return err
	})
	require.True(t, done || bin == "", "units that are allocated in a bin can be picked")
}

func TestBins_RandomOperationsKeepTheBooks(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	for _, bin := range []string{"A-01-A", "A-01-B", "B-01-A"} {
		s.Bin(t, "SCL-1", bin, "pick")
	}
	s.Bin(t, "SCL-1", "PACK", "packing")
	rapid.Check(t, func(rt *rapid.T) {
		m := &aisle{shelf: shelf{shop: s, tb: t}, plain: id.New(), lots: id.New(), serials: id.New(), bins: []string{"A-01-A", "A-01-B", "B-01-A"}}
		m.skus = []string{m.plain, m.lots, m.serials}
		s.Product(t, m.plain, 1000, 3, 1, 0)
		s.Product(t, m.lots, 1000, 0, 1, 0)
		s.Product(t, m.serials, 1000, 0, 1, 0)
		s.Tracked(t, m.lots, "lot", "fefo")
		s.Tracked(t, m.serials, "serial", "fifo")
		rt.Repeat(map[string]func(*rapid.T){
			"receive":  m.receive,
			"receive2": m.receive,
			"place":    m.place,
			"place2":   m.place,
			"allocate": m.allocate,
			"pick":     m.pick,
			"pick2":    m.pick,
			"unpick": func(t *rapid.T) {
				allocationID, _, _, _, units := m.live(t, "picked")
				bin := m.bin(t, "bin")
				require.True(t, m.try(t, func(ctx context.Context, tx pgx.Tx) error {
					return stock.Unpick(ctx, tx, shoptest.Tenant, allocationID, units, bin, "pick:1", ana)
				}))
			},
			"short": func(t *rapid.T) {
				allocationID, _, _, _, units := m.live(t, "open")
				require.True(t, m.try(t, func(ctx context.Context, tx pgx.Tx) error {
					return stock.Drop(ctx, tx, shoptest.Tenant, allocationID, units)
				}))
			},
			"put away": func(t *rapid.T) {
				bin, units := m.bin(t, "bin"), rapid.IntRange(1, 3).Draw(t, "units")
				m.try(t, func(ctx context.Context, tx pgx.Tx) error {
					_, err := stock.Move(ctx, tx, shoptest.Tenant, stock.BinMovement{SKU: m.plain, Warehouse: "SCL-1", Quantity: units, From: stock.Unplaced(), To: stock.In(bin, stock.Available), Reason: "put_away", By: ana})
					return err
				})
			},
			"move": m.move(func(t *rapid.T, b *stock.BinMovement) {
				b.To, b.Reason = stock.In(m.bin(t, "to"), b.From.Status), "move"
			}),
			"damage": m.move(func(t *rapid.T, b *stock.BinMovement) {
				b.To, b.Reason = stock.In(b.From.Bin, stock.Damaged), "damage"
			}),
			"lost": m.move(func(_ *rapid.T, b *stock.BinMovement) { b.Reason = "count" }),
			"hand over": func(t *rapid.T) {
				holdID := m.hold(t)
				require.True(t, m.try(t, func(ctx context.Context, tx pgx.Tx) error {
					return stock.HandOverFrom(ctx, tx, shoptest.Tenant, holdID, rapid.SampledFrom([]string{"", "SCL-1"}).Draw(t, "warehouse"), "shipment:1", ana)
				}))
			},
			"release": m.end(stock.Release),
			"count": m.change(func(ctx context.Context, tx pgx.Tx, sku, warehouse string, n int) ([]stock.Shorted, error) {
				return stock.Count(ctx, tx, shoptest.Tenant, sku, warehouse, max(0, n), time.Now(), "test")
			}),
			"transfer": m.change(func(ctx context.Context, tx pgx.Tx, sku, from string, n int) ([]stock.Shorted, error) {
				return nil, stock.Transfer(ctx, tx, shoptest.Tenant, sku, from, map[string]string{"SCL-1": "CCP-1", "CCP-1": "ANF-1", "ANF-1": "SCL-1"}[from], max(0, n), "", "test")
			}),
			"": func(t *rapid.T) { s.CheckBooks(t) },
		})
	})
}
