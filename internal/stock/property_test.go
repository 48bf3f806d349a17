package stock_test

import (
	"context"
	"errors"
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/id"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
)

func init() {
	// Each step is a transaction on a real database.
	if f := flag.Lookup("rapid.checks"); f != nil {
		f.DefValue = "25"
		_ = f.Value.Set(f.DefValue)
	}
}

// shelf is a machine of random operations on two SKUs in three warehouses.
type shelf struct {
	tb    testing.TB
	shop  *shoptest.Shop
	skus  []string
	holds []string
}

func (m *shelf) in(fn func(ctx context.Context, tx pgx.Tx) error) error {
	ctx := context.Background()
	return m.shop.DB.InTenant(ctx, shoptest.Tenant, func(tx pgx.Tx) error { return fn(ctx, tx) })
}

func (m *shelf) hold(t *rapid.T) string {
	if len(m.holds) == 0 {
		t.Skip("no hold yet")
	}
	return rapid.SampledFrom(m.holds).Draw(t, "hold")
}

// place demands that a request is refused exactly when the sum over warehouses
// is short.
func (m *shelf) place(t *rapid.T) {
	channel := rapid.SampledFrom([]string{"web", "mercadolibre"}).Draw(t, "channel")
	var wants []stock.Want
	wanted := map[string]int{}
	for range rapid.IntRange(1, 3).Draw(t, "lines") {
		w := stock.Want{SKU: rapid.SampledFrom(m.skus).Draw(t, "sku"), Quantity: rapid.IntRange(1, 4).Draw(t, "quantity")}
		wants = append(wants, w)
		wanted[w.SKU] += w.Quantity
	}
	r := stock.Request{HoldID: id.New(), Channel: channel, Wants: wants, Seconds: 900, Warehouses: rapid.Permutation(shoptest.Warehouses).Draw(t, "order"), Balanced: rapid.Bool().Draw(t, "balanced")}
	require.NoError(t, m.in(func(ctx context.Context, tx pgx.Tx) error {
		short := map[string]int{}
		for sku, n := range wanted {
			levels, err := stock.Levels(ctx, tx, shoptest.Tenant, sku)
			require.NoError(t, err)
			free := 0
			for _, l := range levels {
				mine := l.Available
				for c, n := range l.SetAside {
					if c != channel {
						mine -= n
					}
				}
				free += max(0, mine)
			}
			if free < n {
				short[sku] = free
			}
		}
		p, err := stock.Place(ctx, tx, shoptest.Tenant, r)
		require.NoError(t, err)
		require.Len(t, p.Shortages, len(short))
		for _, s := range p.Shortages {
			require.Equal(t, short[s.SKU], s.Available)
			require.Equal(t, wanted[s.SKU], s.Requested)
		}
		if len(short) > 0 {
			require.Empty(t, p.Lines)
			return nil
		}
		for _, l := range p.Lines {
			wanted[l.SKU] -= l.Quantity
		}
		for _, left := range wanted {
			require.Zero(t, left)
		}
		m.holds = append(m.holds, r.HoldID)
		return nil
	}))
}

func (m *shelf) end(fn ending) func(*rapid.T) {
	return func(t *rapid.T) {
		holdID := m.hold(t)
		require.NoError(t, m.in(func(ctx context.Context, tx pgx.Tx) error {
			ok, err := fn(ctx, tx, shoptest.Tenant, holdID)
			require.NoError(t, err)
			if ok {
				again, err := fn(ctx, tx, shoptest.Tenant, holdID)
				require.NoError(t, err)
				require.False(t, again)
			}
			return nil
		}))
	}
}

func (m *shelf) spot(t *rapid.T) (sku, warehouse string) {
	return rapid.SampledFrom(m.skus).Draw(t, "sku"), rapid.SampledFrom(shoptest.Warehouses).Draw(t, "warehouse")
}

// total is what all live holds of the machine keep of both SKUs.
func (m *shelf) total(ctx context.Context, t *rapid.T, tx pgx.Tx) (n int) {
	for _, h := range m.holds {
		s, err := stock.Get(ctx, tx, shoptest.Tenant, h)
		require.NoError(t, err)
		if s.Live() {
			n += s.Units()
		}
	}
	return n
}

func (m *shelf) change(fn func(ctx context.Context, tx pgx.Tx, sku, warehouse string, n int) ([]stock.Shorted, error)) func(*rapid.T) {
	return func(t *rapid.T) {
		sku, warehouse := m.spot(t)
		n := rapid.IntRange(-4, 8).Draw(t, "n")
		err := m.in(func(ctx context.Context, tx pgx.Tx) error {
			before := m.total(ctx, t, tx)
			lost, err := fn(ctx, tx, sku, warehouse, n)
			if err != nil {
				return err
			}
			for _, l := range lost {
				require.Positive(t, l.Units)
				require.Contains(t, m.holds, l.HoldID)
				before -= l.Units
			}
			require.Equal(t, before, m.total(ctx, t, tx), "whoever loses units is named")
			return nil
		})
		if err != nil && !errors.Is(err, stock.ErrBelowZero) && !errors.Is(err, stock.ErrPromised) {
			require.NoError(t, err)
		}
	}
}

func TestStock_RandomOperationsKeepTheBooks(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := &shelf{shop: s, tb: t, skus: []string{id.New(), id.New()}}
		for _, sku := range m.skus {
			s.Product(t, sku, 1000, 5, 3, 0)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"place":   m.place,
			"again":   m.place, // more often than the rest
			"release": m.end(stock.Release),
			"expire": func(t *rapid.T) {
				holdID := m.hold(t)
				_, err := s.Super.Exec(context.Background(), `UPDATE holds SET expires_at = now() - interval '1 second', held_until = now() - interval '1 second' WHERE id = $1 AND confirmed_at IS NULL`, holdID)
				require.NoError(t, err)
				m.end(stock.Expire)(t)
			},
			"confirm": m.end(confirm),
			"hand over": func(t *rapid.T) {
				holdID := m.hold(t)
				require.NoError(t, m.in(func(ctx context.Context, tx pgx.Tx) error {
					return stock.HandOver(ctx, tx, shoptest.Tenant, holdID, "handed_over", "test")
				}))
			},
			"cure": func(t *rapid.T) {
				holdID := m.hold(t)
				require.NoError(t, m.in(func(ctx context.Context, tx pgx.Tx) error {
					before, err := stock.Get(ctx, tx, shoptest.Tenant, holdID)
					require.NoError(t, err)
					missing := 0
					for _, l := range before.Lines {
						missing += l.Shorted
					}
					ok, err := stock.Cure(ctx, tx, shoptest.Tenant, holdID, shoptest.Warehouses)
					require.NoError(t, err)
					after, err := stock.Get(ctx, tx, shoptest.Tenant, holdID)
					require.NoError(t, err)
					if ok && before.Status == "short" {
						require.Equal(t, before.Units()+missing, after.Units())
						require.NotEqual(t, "short", after.Status)
					} else {
						require.Equal(t, before, after)
					}
					return nil
				}))
			},
			"count": m.change(func(ctx context.Context, tx pgx.Tx, sku, warehouse string, n int) ([]stock.Shorted, error) {
				return stock.Count(ctx, tx, shoptest.Tenant, sku, warehouse, max(0, n), time.Now(), "test")
			}),
			"adjust": m.change(func(ctx context.Context, tx pgx.Tx, sku, warehouse string, n int) ([]stock.Shorted, error) {
				return stock.Adjust(ctx, tx, shoptest.Tenant, stock.Change{SKU: sku, Warehouse: warehouse, Delta: n, Reason: "adjustment"})
			}),
			"transfer": m.change(func(ctx context.Context, tx pgx.Tx, sku, from string, n int) ([]stock.Shorted, error) {
				to := shoptest.Warehouses[(slices.Index(shoptest.Warehouses, from)+1)%3]
				return nil, stock.Transfer(ctx, tx, shoptest.Tenant, sku, from, to, max(0, n), "", "test")
			}),
			"set aside": func(t *rapid.T) {
				sku, warehouse := m.spot(t)
				n := rapid.IntRange(0, 3).Draw(t, "n")
				require.NoError(t, m.in(func(ctx context.Context, tx pgx.Tx) error {
					return stock.SetAside(ctx, tx, shoptest.Tenant, sku, warehouse, "mercadolibre", n)
				}))
			},
			"": func(t *rapid.T) { s.CheckBooks(t) },
		})
	})
}
