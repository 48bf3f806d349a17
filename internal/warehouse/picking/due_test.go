package picking_test

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/picking"
)

// byThemselves has waves begin with three shipments, or after half an hour.
func byThemselves(s *tenant.Settings) {
	s.Fulfillment.Waves = tenant.Automatic
	s.Fulfillment.Wave.AtLeast = 3
}

func tryDue(s *shoptest.Shop) (out picking.Released, made bool, err error) {
	ctx := context.Background()
	err = s.DB.InTenant(ctx, acme, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, acme)
		if err != nil {
			return err
		}
		out, made, err = picking.ReleaseDue(ctx, tx, shop, "SCL-1")
		return err
	})
	return out, made, err
}

func due(t testing.TB, s *shoptest.Shop) (picking.Released, bool) {
	t.Helper()
	out, made, err := tryDue(s)
	require.NoError(t, err)
	return out, made
}

// older lets so many minutes pass for what waits.
func older(t testing.TB, s *shoptest.Shop, minutes int) {
	t.Helper()
	s.Exec(t, `UPDATE shipments SET created_at = created_at - make_interval(mins => $1), unallocated_at = unallocated_at - make_interval(mins => $1)`, minutes)
}

func waves(t testing.TB, s *shoptest.Shop) int {
	t.Helper()
	return shoptest.Value[int](t, s, `SELECT count(*)::int FROM waves`)
}

func TestReleaseDue_WithEnoughShipmentsOrWhenTheOldestHasWaited(t *testing.T) {
	t.Parallel()
	s := building(t, byThemselves, func(s *tenant.Settings) { s.Fulfillment.Wave.Rounds = 1 })
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 50)
	_, made := due(t, s)
	require.False(t, made, "nothing waits")
	for n := range 3 {
		_, made = due(t, s)
		require.False(t, made, "%d wait", n)
		paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	}
	out, made := due(t, s)
	require.True(t, made)
	require.Equal(t, 3, out.Lists[0].Orders)
	require.Equal(t, picking.ByBatch, out.By)
	require.Equal(t, picking.ByItself, shoptest.Value[string](t, s, `SELECT person FROM waves`))

	paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	older(t, s, 29)
	_, made = due(t, s)
	require.False(t, made)
	paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	older(t, s, 1)
	out, made = due(t, s)
	require.True(t, made)
	require.Equal(t, 2, out.Lists[0].Orders, "the younger one goes along")
	_, made = due(t, s)
	require.False(t, made)
	s.CheckBooks(t)
}

func TestReleaseDue_CountsOnlyWhatCanBePicked(t *testing.T) {
	t.Parallel()
	s := building(t, byThemselves)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 50)
	frozen, refunded := paid(t, s, stock.Want{SKU: "A", Quantity: 1}), paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	s.Exec(t, `UPDATE shipments SET frozen_reason = 'disputed' WHERE order_id = $1`, frozen)
	refund(t, s, refunded)
	paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	_, made := due(t, s)
	require.False(t, made)
	s.Exec(t, `DELETE FROM shipments WHERE order_id NOT IN ($1, $2)`, frozen, refunded)
	older(t, s, 60)
	_, made = due(t, s)
	require.False(t, made, "what must not leave waits for ever")
}

func TestReleaseDue_AShortShipmentBeginsNoWaveAfterWave(t *testing.T) {
	t.Parallel()
	s := building(t, byThemselves)
	s.Product(t, "A", 1000)
	s.Tracked(t, "A", "lot", "fefo")
	lot(t, s, "A", "L1", 30)
	put(t, s, "A", "A-03-A", "L1", 5)
	s.Product(t, "B", 1000)
	put(t, s, "B", "A-05-A", "", 50)
	stuck := paid(t, s, stock.Want{SKU: "A", Quantity: 2})
	half := paid(t, s, stock.Want{SKU: "A", Quantity: 2}, stock.Want{SKU: "B", Quantity: 1})
	s.Exec(t, `UPDATE lots SET status = 'held'`)
	older(t, s, 30)

	out, made := due(t, s)
	require.True(t, made)
	require.Equal(t, half, read(t, s, out.Lists[0].ID).Work[0].OrderID, "what is there of it is picked")
	require.Len(t, out.Unallocated, 2)
	for range 3 {
		_, made = due(t, s)
		require.False(t, made, "it was looked for just now")
	}
	require.Equal(t, 1, waves(t, s))

	// Beside it others go on, and it counts for none of them.
	paid(t, s, stock.Want{SKU: "B", Quantity: 1})
	paid(t, s, stock.Want{SKU: "B", Quantity: 1})
	_, made = due(t, s)
	require.False(t, made)
	paid(t, s, stock.Want{SKU: "B", Quantity: 1})
	_, made = due(t, s)
	require.True(t, made)

	// Half an hour later it is looked for again, in vain: no wave is left of that.
	older(t, s, 31)
	for range 2 {
		_, made = due(t, s)
		require.False(t, made)
	}
	require.Equal(t, 2, waves(t, s))
	require.True(t, shoptest.Value[bool](t, s, `SELECT unallocated_at > now() - interval '1 minute' AND status = 'pending' FROM shipments WHERE order_id = $1`, stuck))
	s.Exec(t, `UPDATE lots SET status = 'available'`)
	older(t, s, 31)
	out, made = due(t, s)
	require.True(t, made)
	require.Equal(t, stuck, read(t, s, out.Lists[0].ID).Work[0].OrderID)
	s.CheckBooks(t)
}

func TestReleaseDue_WhatNoTrolleyCarriesOrNothingIsLeftOfBeginsNoWave(t *testing.T) {
	t.Parallel()
	s := building(t, byThemselves, func(s *tenant.Settings) { s.Fulfillment.Wave.Trolley.Units = 4 })
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 50)
	paid(t, s, stock.Want{SKU: "A", Quantity: 9})
	gone := paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	s.Exec(t, `UPDATE hold_lines SET shorted = quantity WHERE hold_id = $1`, gone)
	older(t, s, 30)
	for range 2 {
		_, made := due(t, s)
		require.False(t, made)
	}
	require.Zero(t, waves(t, s))
	require.Equal(t, 2, shoptest.Value[int](t, s, `SELECT count(*)::int FROM shipments WHERE unallocated_at > now() - interval '1 minute'`))
	s.Exec(t, `DELETE FROM shipments WHERE order_id <> $1`, gone)
	older(t, s, 31)
	_, made := due(t, s)
	require.False(t, made, "nothing to pick is no error")
}

func TestReleaseDue_SeveralAtOnceMakeOneWave(t *testing.T) {
	t.Parallel()
	s := building(t, byThemselves)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 50)
	for range 12 {
		paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 6 {
		wg.Go(func() {
			_, mine, err := tryDue(s)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if mine {
				made++
			}
		})
	}
	// Somebody makes one by hand at the same moment.
	wg.Go(func() {
		if _, err := tryRelease(s, picking.Wave{MaxOrders: 5}); err != nil {
			mu.Lock()
			defer mu.Unlock()
			t.Log(err) // the others were faster
		}
	})
	wg.Wait()
	require.LessOrEqual(t, made, 2, "two only when the wave by hand came between")
	for range 3 {
		older(t, s, 31)
		due(t, s)
	}
	require.Equal(t, 12, shoptest.Value[int](t, s, `SELECT count(*)::int FROM pick_lines`))
	require.Equal(t, 12, shoptest.Value[int](t, s, `SELECT count(DISTINCT shipment_id)::int FROM pick_lines`))
	s.CheckBooks(t)
}

func TestAutomatic_NamesOnlyWarehousesWhoseShopWantsIt(t *testing.T) {
	t.Parallel()
	s := building(t)
	s.Product(t, "A", 1000)
	put(t, s, "A", "A-03-A", "", 50)
	s.AddTenant(t, "other", byThemselves)
	places := func() (out []picking.Place) {
		require.NoError(t, s.DB.AsSystem(t.Context(), func(tx pgx.Tx) (err error) {
			out, err = picking.Automatic(t.Context(), tx)
			return err
		}))
		return out
	}
	paid(t, s, stock.Want{SKU: "A", Quantity: 1})
	require.Empty(t, places(), "by hand")
	s.Change(t, byThemselves)
	require.Equal(t, []picking.Place{{Tenant: acme, Warehouse: "SCL-1"}}, places(), "the other has nothing to pick")
	one(t, s)
	require.Empty(t, places())
}
