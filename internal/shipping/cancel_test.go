package shipping_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/picking"
)

// cancel ends an order, and reports whether it was over already.
func (d *dock) cancel(orderID string) (already bool, err error) {
	err = d.DB.InTenant(context.Background(), acme, func(tx pgx.Tx) (err error) {
		shop, err := tenant.Get(context.Background(), tx, acme)
		if err != nil {
			return err
		}
		already, err = shipping.CancelOrder(context.Background(), tx, shop, orderID, "changed my mind", "ana")
		return err
	})
	return already, err
}

func (d *dock) cancelled(orderID string) {
	d.t.Helper()
	already, err := d.cancel(orderID)
	require.NoError(d.t, err)
	require.False(d.t, already)
}

// withdraw is what the shipment's run does.
func (d *dock) withdraw(shipment string) error {
	return d.DB.InTenant(context.Background(), acme, func(tx pgx.Tx) error {
		shop, err := tenant.Get(context.Background(), tx, acme)
		if err != nil {
			return err
		}
		return shipping.WithdrawShipment(context.Background(), tx, shop, shipment)
	})
}

func (d *dock) stand(shipment string) (out shipping.Standing) {
	d.t.Helper()
	d.Do(d.t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(d.t.Context(), tx, acme)
		require.NoError(d.t, err)
		out, err = shipping.Stand(d.t.Context(), tx, shop.ID, shipment)
		return err
	})
	return out
}

// undone does what the run does until nothing of it is left for a program, and again.
func (d *dock) undone(shipment string) shipping.Standing {
	d.t.Helper()
	for range 2 {
		require.NoError(d.t, d.withdraw(shipment))
		require.NotEqual(d.t, shipping.NextWithdraw, d.stand(shipment).Next, "it would be done for ever")
		d.CheckBooks(d.t)
	}
	return d.stand(shipment)
}

// free is how many mugs of a warehouse can be sold.
func (d *dock) free(warehouse string) int {
	l := d.level(warehouse)
	return l[0] - l[1]
}

// put is an operator's word that everything lies in A-01 again.
func (d *dock) put(shipment string) shipping.Shipment {
	d.t.Helper()
	s := must(d, shipping.PutBack, shipment, shipping.PuttingBack{To: "A-01", By: ana})
	d.CheckBooks(d.t)
	return s
}

// wave releases what is pending in a warehouse and returns its lists.
func (d *dock) wave(warehouse string) (ids []string) {
	d.t.Helper()
	d.Do(d.t, func(tx pgx.Tx) error {
		out, err := picking.Release(d.t.Context(), tx, acme, picking.Wave{Warehouse: warehouse, By: picking.ByBatch, Trolley: batch.Load{Orders: 10}, Seed: 1, Rounds: 1, Who: ana})
		for _, l := range out.Lists {
			ids = append(ids, l.ID)
		}
		return err
	})
	return ids
}

// take picks units of a list's first line.
func (d *dock) take(listID string, units int) {
	d.t.Helper()
	d.Do(d.t, func(tx pgx.Tx) error {
		_, err := picking.Pick(d.t.Context(), tx, acme, picking.Picking{ListID: listID, Picks: []picking.Scan{{Line: 1, Bin: "A-01", Product: "MUG", Quantity: units}}, To: "PACK", By: ana})
		return err
	})
}

func (d *dock) holdStatus(orderID string) string {
	return shoptest.Value[string](d.t, d.Shop, `SELECT status FROM holds WHERE id = $1`, orderID)
}

func TestCancelOrder_WhatNobodyHasTouchedIsForSaleAtOnce(t *testing.T) {
	t.Parallel()
	for name, listed := range map[string]bool{"pending": false, "on a list": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDock(t)
			orderID, of := d.paid(map[string]int{"SCL-1": 4})
			var lists []string
			if listed {
				lists = d.wave("SCL-1")
				require.Len(t, lists, 1)
			}
			d.cancelled(orderID)
			require.Equal(t, 6, d.free("SCL-1"))
			at := d.undone(of["SCL-1"])
			require.True(t, at.Over)
			require.Equal(t, shipping.Cancelled, at.Status)
			require.Equal(t, []int{10, 0}, d.level("SCL-1"))
			require.Equal(t, "released", d.holdStatus(orderID))
			require.Nil(t, d.read(of["SCL-1"]).DueAt)
			for _, l := range lists {
				require.Empty(t, shoptest.List[int](t, d.Shop, `SELECT line FROM pick_lines WHERE list_id = $1 AND cancelled_at IS NULL`, l), "nobody is sent for it")
			}
			require.Zero(t, shoptest.Value[int](t, d.Shop, `SELECT count(*)::int FROM allocations WHERE state = 'open'`))
			again, err := d.cancel(orderID)
			require.NoError(t, err)
			require.True(t, again)
			require.Equal(t, 1, strings.Count(strings.Join(d.kinds(orderID), " "), "order_cancelled"))
		})
	}
}

func TestCancelOrder_WhatWasPickedIsForSaleWhenItWasPutBack(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		until func(d *dock, shipment string)
		lie   int // in the packing bin
	}{
		{"partly picked", func(d *dock, _ string) { d.take(d.wave("SCL-1")[0], 1) }, 1},
		{"picked", func(d *dock, _ string) { d.pick("SCL-1") }, 4},
		{"packed", func(d *dock, shipment string) {
			d.pick("SCL-1")
			must(d, shipping.Pack, shipment, packing(1300))
		}, 4},
		{"labelled", func(d *dock, shipment string) {
			d.pick("SCL-1")
			must(d, shipping.Pack, shipment, packing(1300))
			must(d, shipping.LabelParcels, shipment, byHand)
		}, 4},
		{"frozen", func(d *dock, shipment string) {
			d.pick("SCL-1")
			must(d, shipping.Pack, shipment, packing(1300))
			d.Exec(d.t, `UPDATE shipments SET frozen_reason = 'disputed'`)
		}, 4},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := newDock(t)
			orderID, of := d.paid(map[string]int{"SCL-1": 4})
			shipment := of["SCL-1"]
			row.until(d, shipment)
			refused(d, "wrong_status", shipping.PutBack, shipment, shipping.PuttingBack{To: "A-01", By: ana})
			d.cancelled(orderID)
			_, err := try(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
			require.Error(t, err, "nothing leaves any more")
			at := d.undone(shipment)
			require.False(t, at.Over)
			require.Contains(t, at.WaitsFor, "go back into their bins")
			require.False(t, at.DueAt.IsZero(), "somebody is told when nobody does it")
			require.Equal(t, 10-row.lie, d.free("SCL-1"))
			require.Equal(t, "confirmed", d.holdStatus(orderID))
			_, err = try(d, shipping.PutBack, shipment, shipping.PuttingBack{By: ana})
			p, is := problem.As(err)
			require.True(t, is, "%v", err)
			require.NotEmpty(t, p.Fields)

			require.Equal(t, shipping.Cancelled, d.put(shipment).Status)
			require.Equal(t, []int{10, 0}, d.level("SCL-1"))
			require.Equal(t, 10, shoptest.Value[int](t, d.Shop, `SELECT quantity FROM bin_stock WHERE bin = 'A-01' AND warehouse = 'SCL-1'`))
			require.Equal(t, "released", d.holdStatus(orderID))
			require.True(t, d.stand(shipment).Over)
			again := d.put(shipment)
			require.Equal(t, shipping.Cancelled, again.Status)
			require.Equal(t, 1, strings.Count(strings.Join(d.kinds(orderID), " "), "put_back"))
		})
	}
}

func TestCancelOrder_PutBackWithoutTheRunDoesWhatTheRunWouldHave(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, shipment := d.labelled(4)
	d.cancelled(orderID)
	require.Equal(t, shipping.Cancelled, d.put(shipment).Status)
	require.Equal(t, []int{10, 0}, d.level("SCL-1"))
	require.NoError(t, d.withdraw(shipment), "the run comes too late")
	require.True(t, d.stand(shipment).Over)
	d.CheckBooks(t)
}

func TestCancelOrder_OfTwoWarehousesEachIsUndoneByItself(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 2, "CCP-1": 3})
	d.pick("SCL-1")
	d.cancelled(orderID)
	require.True(t, d.undone(of["CCP-1"]).Over)
	require.Equal(t, []int{3, 0}, d.level("CCP-1"))
	require.Equal(t, "confirmed", d.holdStatus(orderID), "the other's lie in a packing bin")
	require.False(t, d.undone(of["SCL-1"]).Over)
	require.Equal(t, []int{2, 2}, d.level("SCL-1"))
	d.put(of["SCL-1"])
	require.Equal(t, []int{2, 0}, d.level("SCL-1"))
	require.Equal(t, "released", d.holdStatus(orderID))
}

func TestCancelOrder_OfWhichSomethingHasLeftIsRefused(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 2, "CCP-1": 3})
	d.pick("SCL-1")
	must(d, shipping.Pack, of["SCL-1"], packing(700))
	must(d, shipping.LabelParcels, of["SCL-1"], byHand)
	must(d, shipping.HandOver, of["SCL-1"], shipping.Handing{By: ana})
	_, err := d.cancel(orderID)
	p, is := problem.As(err)
	require.True(t, is, "%v", err)
	require.Equal(t, "already_shipped", p.Code)
	require.NotEqual(t, "cancelled", d.status(orderID))
	require.NoError(t, d.withdraw(of["CCP-1"]), "nothing is undone of an order that lives")
	require.Equal(t, shipping.Pending, d.read(of["CCP-1"]).Status)
	require.Equal(t, []int{3, 3}, d.level("CCP-1"))
	_, err = d.cancel(strings.Repeat("0", 26))
	require.ErrorContains(t, err, "not_found")
}

func TestCancelOrder_OfAShortHoldFreesWhatIsLeftOfIt(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 10})
	// Three of ten are not there.
	d.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, acme, stock.BinMovement{SKU: "MUG", Warehouse: "SCL-1", Quantity: 3, From: stock.In("A-01", stock.Available), Reason: "loss", By: ana})
		return err
	})
	require.Equal(t, "short", d.holdStatus(orderID))
	d.cancelled(orderID)
	require.True(t, d.undone(of["SCL-1"]).Over)
	require.Equal(t, []int{7, 0}, d.level("SCL-1"))
	require.Equal(t, "released", d.holdStatus(orderID))
}

func TestCancelOrder_TheOthersOnTheListStay(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	first, of := d.paid(map[string]int{"SCL-1": 2})
	_, others := d.paid(map[string]int{"SCL-1": 3})
	list := d.wave("SCL-1")
	require.Len(t, list, 1)
	d.cancelled(first)
	require.True(t, d.undone(of["SCL-1"]).Over)
	require.Equal(t, []int{10, 3}, d.level("SCL-1"))
	require.Equal(t, 3, shoptest.Value[int](t, d.Shop, `SELECT sum(quantity)::int FROM allocations WHERE state = 'open'`))
	d.Do(t, func(tx pgx.Tx) error {
		all, err := picking.Read(t.Context(), tx, acme, list[0])
		require.NoError(t, err)
		line := 0
		for _, w := range all.Work {
			if w.OrderID != first {
				line = w.Line
			}
		}
		if _, err := picking.Pick(t.Context(), tx, acme, picking.Picking{ListID: list[0], Picks: []picking.Scan{{Line: line, Bin: "A-01", Product: "MUG", Quantity: 3}}, To: "PACK", By: ana}); err != nil {
			return err
		}
		_, err = picking.Complete(t.Context(), tx, acme, list[0], ana, 0)
		return err
	})
	must(d, shipping.Pack, others["SCL-1"], packing(1000))
	d.CheckBooks(t)
}

func TestCancelOrder_OrHandOverOneOfThemWins(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	for range 8 {
		orderID, shipment := d.labelled(1)
		var wait sync.WaitGroup
		var cancelled, left error
		wait.Go(func() { _, cancelled = d.cancel(orderID) })
		wait.Go(func() { _, left = try(d, shipping.HandOver, shipment, shipping.Handing{By: ana}) })
		wait.Wait()
		require.NotEqual(t, cancelled == nil, left == nil, "cancelled: %v, left: %v", cancelled, left)
		for _, err := range []error{cancelled, left} {
			if _, refused := problem.As(err); err != nil {
				require.True(t, refused, "%v", err)
			}
		}
		s := d.read(shipment)
		require.Equal(t, left == nil, s.Status == shipping.HandedOver)
		if left != nil {
			require.Equal(t, "cancelled", d.status(orderID))
			d.put(shipment)
		}
		d.CheckBooks(t)
	}
}

func TestCancelOrder_WhileSomebodyUnpacksOrPicks(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	for range 6 {
		orderID, shipment := d.labelled(1)
		d.cancelled(orderID)
		var wait sync.WaitGroup
		errs := make([]error, 3)
		for i := range 2 {
			wait.Go(func() { errs[i] = d.withdraw(shipment) })
		}
		wait.Go(func() {
			if _, err := try(d, shipping.Unpack, shipment, shipping.Undoing{By: ana}); err != nil {
				if _, is := problem.As(err); !is {
					errs[2] = err
				}
			}
		})
		wait.Wait()
		for _, err := range errs {
			require.NoError(t, err, "the run would wait for a person")
		}
		require.Equal(t, shipping.Cancelled, d.put(shipment).Status)
	}
	require.Equal(t, []int{10, 0}, d.level("SCL-1"))
}
