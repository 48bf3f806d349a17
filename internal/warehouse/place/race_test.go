package place_test

import (
	"context"
	"flag"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/place"
)

func init() {
	// Each step is a transaction on a real database.
	if f := flag.Lookup("rapid.checks"); f != nil {
		f.DefValue = "15"
		_ = f.Value.Set(f.DefValue)
	}
}

// together makes moves at once and counts those that came about; each of the
// others was refused with code.
func together(t *testing.T, s *shoptest.Shop, code string, moves ...place.Moving) int {
	t.Helper()
	var done atomic.Int64
	var g errgroup.Group
	for _, m := range moves {
		m.Warehouse, m.By = "SCL-1", ana
		g.Go(func() error {
			err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				_, err := place.MoveUnits(t.Context(), tx, shoptest.Tenant, m)
				return err
			})
			if err == nil {
				done.Add(1)
				return nil
			}
			if p, ok := problem.As(err); ok && p.Code == code {
				return nil
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	return int(done.Load())
}

func TestMoveUnits_TwoOperatorsTakeTheLastUnitOnce(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "A", 1000, 1)
	moved(t, s, place.Moving{SKU: "A", Quantity: 1, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"})
	take := place.Moving{SKU: "A", Quantity: 1, From: spot("P-1", ""), To: spot("P-2", ""), Reason: "move"}
	require.Equal(t, 1, together(t, s, "not_in_bin", take, take, take, take))
	s.CheckBooks(t)
}

func TestMoveUnits_TheLastRoomOfABinIsTakenOnce(t *testing.T) {
	t.Parallel()
	s := house(t)
	_, refused := putBin(t, s, floor.BinInput{Code: "SMALL", MaxUnits: 1}, true)
	require.Nil(t, refused)
	var moves []place.Moving
	for i := range 5 {
		sku := fmt.Sprintf("A-%d", i)
		s.Product(t, sku, 1000, 1)
		moves = append(moves, place.Moving{SKU: sku, Quantity: 1, From: spot("", ""), To: spot("SMALL", ""), Reason: "put_away"})
	}
	require.Equal(t, 1, together(t, s, "bin_full", moves...))
	s.CheckBooks(t)
}

func TestMoveUnits_AVersionIsGoodForOneMove(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "A", 1000, 9)
	out := moved(t, s, place.Moving{SKU: "A", Quantity: 9, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"})
	take := place.Moving{SKU: "A", Quantity: 1, From: spot("P-1", ""), To: spot("P-2", ""), Reason: "move", Version: out.To.Version}
	require.Equal(t, 1, together(t, s, "version_changed", take, take, take))
	s.CheckBooks(t)
}

// Whatever people do by hand, the books agree, and nothing of a lot that is held
// or ended is for sale or chosen for an order.
func TestPlaces_RandomWorkKeepsTheBooks(t *testing.T) {
	t.Parallel()
	s := house(t)
	bins := []string{"P-1", "P-2", "RES-1", "QUAR-1", "DAM-1"}
	start := *date(0)
	rapid.Check(t, func(rt *rapid.T) {
		sku, serials := id.New(), id.New()
		s.Product(t, sku, 1000)
		s.Product(t, serials, 1000)
		s.Tracked(t, sku, "lot", "fefo")
		s.Tracked(t, serials, "serial", "fifo")
		next, today := 0, start
		in := func(t *rapid.T, fn func(ctx context.Context, tx pgx.Tx) error) {
			err := s.DB.InTenant(context.Background(), shoptest.Tenant, func(tx pgx.Tx) error { return fn(context.Background(), tx) })
			if _, refused := problem.As(err); !refused {
				require.NoError(t, err)
			}
		}
		lot := func(t *rapid.T) string { return fmt.Sprintf("L%d", rapid.IntRange(1, 3).Draw(t, "lot")) }
		// Lot n ends on the nth day.
		expires := func(lot string) *time.Time { d := start.AddDate(0, 0, int(lot[1]-'0')); return &d }
		moving := func(t *rapid.T) place.Moving {
			m := place.Moving{Warehouse: "SCL-1", Reason: rapid.SampledFrom(place.Reasons).Draw(t, "reason"), Force: rapid.Bool().Draw(t, "force"), By: ana}
			at := func(what string) *stock.Spot {
				bin := rapid.SampledFrom(append(bins, "", "out")).Draw(t, what)
				if bin == "out" {
					return nil
				}
				return &stock.Spot{Bin: bin, Status: rapid.SampledFrom([]string{"", "available", "held", "damaged"}).Draw(t, what+" status")}
			}
			m.From, m.To = at("from"), at("to")
			m.Lot = lot(t)
			m.ExpiresOn = expires(m.Lot)
			m.SKU, m.Quantity = sku, rapid.IntRange(1, 3).Draw(t, "units")
			if rapid.Bool().Draw(t, "serials") {
				m.SKU, m.Quantity = serials, 0
				m.Serials = []string{fmt.Sprintf("S%d", rapid.IntRange(0, next).Draw(t, "serial"))}
			}
			return m
		}
		work := func(t *rapid.T) {
			m := moving(t)
			in(t, func(ctx context.Context, tx pgx.Tx) error {
				_, err := place.MoveUnits(ctx, tx, shoptest.Tenant, m)
				return err
			})
		}
		change := func(do func(context.Context, pgx.Tx, string, place.LotOrder) (place.LotChange, error)) func(*rapid.T) {
			return func(t *rapid.T) {
				o := place.LotOrder{SKU: rapid.SampledFrom([]string{sku, serials}).Draw(t, "sku"), Lot: lot(t), Reason: "x", By: ana}
				in(t, func(ctx context.Context, tx pgx.Tx) error {
					_, err := do(ctx, tx, shoptest.Tenant, o)
					return err
				})
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"move": work, "move2": work, "move3": work,
			"found": func(t *rapid.T) {
				m := moving(t)
				m.Reason, m.From, m.To, m.Force = "adjustment", nil, spot(rapid.SampledFrom(bins[:3]).Draw(t, "bin"), ""), true
				if len(m.Serials) > 0 {
					next++
					m.Serials = []string{fmt.Sprintf("S%d", next)}
				}
				in(t, func(ctx context.Context, tx pgx.Tx) error {
					_, err := place.MoveUnits(ctx, tx, shoptest.Tenant, m)
					return err
				})
			},
			"hold": change(place.HoldLot), "release": change(place.ReleaseLot),
			"order": func(t *rapid.T) {
				want := stock.Want{SKU: rapid.SampledFrom([]string{sku, serials}).Draw(t, "sku"), Quantity: rapid.IntRange(1, 3).Draw(t, "units")}
				holdID := id.New()
				in(t, func(ctx context.Context, tx pgx.Tx) error {
					p, err := stock.Place(ctx, tx, shoptest.Tenant, stock.Request{HoldID: holdID, Channel: "web", Buyer: "x", Wants: []stock.Want{want}, Seconds: 900, Warehouses: []string{"SCL-1"}})
					if err != nil || len(p.Lines) == 0 {
						return err
					}
					_, _, err = stock.Allocate(ctx, tx, shoptest.Tenant, "SCL-1", []stock.ToAllocate{{HoldID: holdID, SKU: want.SKU, Warehouse: "SCL-1", Units: want.Quantity}}, today)
					return err
				})
			},
			"a day": func(t *rapid.T) {
				today = today.AddDate(0, 0, 1)
				in(t, func(ctx context.Context, tx pgx.Tx) error {
					out, err := place.ExpireLots(ctx, tx, shoptest.Tenant, today)
					require.Empty(t, out.Failed)
					return err
				})
			},
			"": func(t *rapid.T) {
				s.CheckBooks(t)
				rows, err := s.Super.Query(context.Background(), `SELECT s.lot || ' ' || l.status FROM bin_stock s JOIN lots l USING (tenant, sku, lot) WHERE s.status = 'available' AND s.quantity > 0 AND l.status <> 'available'
				   UNION ALL SELECT a.lot || ' ' || l.status FROM allocations a JOIN lots l USING (tenant, sku, lot) WHERE a.state IN ('open','picked') AND a.quantity > 0 AND l.status <> 'available'`)
				require.NoError(t, err)
				wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
				require.NoError(t, err)
				require.Empty(t, wrong)
			},
		})
	})
}
