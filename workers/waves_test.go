package workers

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/order"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// mugs are so many paid orders of a mug each, which lies in a bin.
func mugs(t *testing.T, s *shoptest.Shop, orders int) {
	t.Helper()
	for range orders {
		orderID := id.New()
		s.Do(t, func(tx pgx.Tx) error {
			p, err := stock.Place(t.Context(), tx, shoptest.Tenant, stock.Request{HoldID: orderID, Channel: "web", Wants: []stock.Want{{SKU: "MUG", Quantity: 1}}, Seconds: 900, Warehouses: []string{"SCL-1"}})
			if err != nil {
				return err
			}
			if _, err := stock.Confirm(t.Context(), tx, shoptest.Tenant, orderID, orderID); err != nil {
				return err
			}
			n := order.New{ID: orderID, Number: "N-" + orderID[14:], Channel: "web", Currency: "CLP", HoldID: orderID, DispatchHours: 24,
				Lines: []order.NewLine{{SKU: "MUG", Name: "MUG", Quantity: 1, UnitPrice: 1000, Tax: "iva"}}}
			return order.Create(t.Context(), tx, shoptest.Tenant, n, []stock.HeldLine{{Line: p.Lines[0]}})
		})
	}
}

func TestWaves_TwoLoopsPutEachShipmentIntoOneWave(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(s *tenant.Settings) {
		s.Fulfillment.Waves, s.Fulfillment.Wave.AtLeast, s.Fulfillment.Wave.By = tenant.Automatic, 2, "order"
	})
	s.Product(t, "MUG", 1000)
	s.Bin(t, "SCL-1", "A-01", "pick")
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, shoptest.Tenant, stock.BinMovement{SKU: "MUG", Warehouse: "SCL-1", Quantity: 100, To: stock.In("A-01", stock.Available), Reason: "receipt", By: stock.By{Person: "ana"}})
		return err
	})
	loops := []*waveLoop{{db: s.DB, log: slog.New(slog.DiscardHandler)}, {db: s.DB, log: slog.New(slog.DiscardHandler)}}
	made, err := loops[0].round(t.Context())
	require.NoError(t, err)
	require.Zero(t, made, "nothing waits anywhere")
	for round := range 5 {
		mugs(t, s, 4)
		var all sync.WaitGroup
		for _, l := range loops {
			all.Go(func() {
				if _, err := l.round(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.Equal(t, round+1, shoptest.Value[int](t, s, `SELECT count(*)::int FROM waves`), "one wave for what waited")
	}
	require.Equal(t, 20, shoptest.Value[int](t, s, `SELECT count(*)::int FROM pick_lines`))
	require.Equal(t, 20, shoptest.Value[int](t, s, `SELECT count(DISTINCT shipment_id)::int FROM pick_lines`))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*)::int FROM shipments WHERE status = 'pending'`))
	s.CheckBooks(t)
}

func TestWaves_AShopInTroubleHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(s *tenant.Settings) { s.Fulfillment.Waves, s.Fulfillment.Wave.AtLeast = tenant.Automatic, 1 })
	s.Product(t, "MUG", 1000, 10)
	mugs(t, s, 1)
	s.AddTenant(t, "aaa", func(s *tenant.Settings) { s.Fulfillment.Waves = tenant.Automatic })
	s.Exec(t, `INSERT INTO orders (tenant, id, number, status, channel, currency, hold_id, items_total, discount_total, shipping_total, tax_total, total) SELECT 'aaa', id, number, status, channel, currency, hold_id, items_total, discount_total, shipping_total, tax_total, total FROM orders`)
	s.Exec(t, `INSERT INTO shipments (tenant, id, order_id, warehouse, status, lines) SELECT 'aaa', id, order_id, warehouse, 'pending', lines FROM shipments`)
	s.Exec(t, `UPDATE tenants SET settings = settings || '{"time_zone": 7}' WHERE tenant = 'aaa'`)
	l := &waveLoop{db: s.DB, log: slog.New(slog.DiscardHandler)}
	made, err := l.round(t.Context())
	require.ErrorContains(t, err, "SCL-1 of aaa")
	require.Equal(t, 1, made)
}
