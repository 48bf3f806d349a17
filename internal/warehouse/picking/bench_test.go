package picking_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/picking"
)

// largePlan is twenty aisles in two blocks, 1600 bins on two levels.
const largePlan = `{"kind":"aisles","aisles":{"count":20,"first_name":"A","first_x_mm":2000,"pitch_mm":5000,"width_mm":2000},"cross_aisles":{"y_mm":[1000,13000,25000],"width_mm":2000},
  "racks":{"width_mm":1000,"depth_mm":1000,"levels":2,"level_height_mm":2000},"depot":{"cross":0,"x_mm":2000}}`

// large is a warehouse where each SKU lies in two bins, with paid orders of five
// lines each.
func large(b *testing.B, skus, orders int) *shoptest.Shop {
	b.Helper()
	s := shoptest.New(b)
	bins := describe(b, s, largePlan)
	s.Bin(b, "SCL-1", "PACK", "packing")
	r := rand.New(rand.NewPCG(1, 2))
	s.Exec(b, `INSERT INTO products (tenant, sku, name, product, weight_grams, length_mm, width_mm, height_mm) SELECT $1, 'S' || i, 'Producto ' || i, 'P', 300, 200, 100, 50 FROM generate_series(1, $2) i`, acme, skus)
	s.Do(b, func(tx pgx.Tx) error {
		for i := 1; i <= skus; i++ {
			for range 2 {
				m := stock.BinMovement{SKU: fmt.Sprintf("S%d", i), Warehouse: "SCL-1", Quantity: 200, To: stock.In(bins[r.IntN(len(bins))].Code, stock.Available), Reason: "receipt", By: ana}
				if _, err := stock.Move(b.Context(), tx, acme, m); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for range orders {
		var wants []stock.Want
		for _, i := range r.Perm(skus)[:5] {
			wants = append(wants, stock.Want{SKU: fmt.Sprintf("S%d", i+1), Quantity: 1 + r.IntN(2)})
		}
		s.Do(b, func(tx pgx.Tx) error { return buy(b.Context(), tx, id.New(), wants) })
	}
	s.Exec(b, `ANALYZE`)
	return s
}

var errUndo = errors.New("undo")

// BenchmarkWave_500Orders5Lines is allocation, batching for 300 ms and routing of
// a wave, written to the database and rolled back.
func BenchmarkWave_500Orders5Lines(b *testing.B) {
	s := large(b, 800, 500)
	for b.Loop() {
		_, err := in(s, func(ctx context.Context, tx pgx.Tx) (picking.Released, error) {
			out, err := picking.Release(ctx, tx, acme, picking.Wave{Warehouse: "SCL-1", By: picking.ByBatch, Trolley: batch.Load{Orders: 12}, Seed: 1, Budget: 300 * time.Millisecond, Who: ana})
			require.NoError(b, err)
			var mm, saved int64
			for _, l := range out.Lists {
				mm, saved = mm+*l.LengthMM, saved+*l.SavedMM
			}
			b.ReportMetric(float64(len(out.Lists)), "lists")
			b.ReportMetric(float64(mm)/1000, "metres")
			b.ReportMetric(float64(saved)/1000, "metres-saved")
			return out, errUndo
		})
		require.ErrorIs(b, err, errUndo)
	}
}

// BenchmarkAllocate_10000Lines allocates the lines of two thousand orders at once.
func BenchmarkAllocate_10000Lines(b *testing.B) {
	s := large(b, 800, 2000)
	type row struct {
		HoldID, SKU string
		Units       int
	}
	rows, err := s.Super.Query(b.Context(), `SELECT hold_id, sku, quantity FROM hold_lines ORDER BY hold_id, sku`)
	require.NoError(b, err)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	require.NoError(b, err)
	require.Len(b, list, 10000)
	var ask []stock.ToAllocate
	for _, l := range list {
		ask = append(ask, stock.ToAllocate{HoldID: l.HoldID, SKU: l.SKU, Warehouse: "SCL-1", Units: l.Units})
	}
	for b.Loop() {
		_, err := in(s, func(ctx context.Context, tx pgx.Tx) (int, error) {
			got, none, err := stock.Allocate(ctx, tx, acme, "SCL-1", ask, time.Now())
			require.NoError(b, err)
			require.Empty(b, none)
			return len(got), errUndo
		})
		require.ErrorIs(b, err, errUndo)
	}
}
