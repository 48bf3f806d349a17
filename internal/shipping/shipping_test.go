package shipping_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/label"
	"justlogistics/internal/lifecycle"
	"justlogistics/internal/order"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/picking"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const acme = shoptest.Tenant

var ana = stock.By{Person: "ana", Device: "bench-1"}

// dock is a shop whose SKU MUG, 300 g, lies in bins of two warehouses.
type dock struct {
	*shoptest.Shop
	t *testing.T
}

func newDock(t *testing.T, change ...func(*tenant.Settings)) *dock {
	t.Helper()
	s := shoptest.New(t, change...)
	s.Product(t, "MUG", 5000)
	s.Exec(t, `UPDATE products SET weight_grams = 300`)
	for _, w := range []string{"SCL-1", "CCP-1"} {
		s.Bin(t, w, "A-01", "pick")
		s.Bin(t, w, "PACK", "packing")
		s.Do(t, func(tx pgx.Tx) error {
			_, err := stock.Move(t.Context(), tx, acme, stock.BinMovement{SKU: "MUG", Warehouse: w, Quantity: 10, To: stock.In("A-01", stock.Available), Reason: "receipt", By: ana})
			return err
		})
	}
	return &dock{s, t}
}

// paid makes a paid order of so many mugs of each warehouse, and returns its
// shipments by warehouse.
func (d *dock) paid(units map[string]int) (orderID string, shipments map[string]string) {
	d.t.Helper()
	orderID = id.New()
	d.Do(d.t, func(tx pgx.Tx) error {
		n := order.New{ID: orderID, Number: "N-" + orderID[18:], Channel: "web", Currency: "CLP", HoldID: orderID, DispatchHours: 24,
			Customer: []byte(`{"name":"Ana Rojas","phone":"+56961234567"}`), Shipping: []byte(`{"street":"Av. Providencia","number":"1234","comuna":"Providencia","region":"RM","country":"CL"}`)}
		var held []stock.HeldLine
		total := 0
		var warehouses []string
		for w, u := range units {
			total += u
			warehouses = append(warehouses, w)
		}
		if len(warehouses) == 2 {
			warehouses = []string{"SCL-1", "CCP-1"}
			// Each has only what is wanted of it.
			for _, w := range warehouses {
				if _, err := stock.Adjust(d.t.Context(), tx, acme, stock.Change{SKU: "MUG", Warehouse: w, Delta: units[w] - 10, Reason: "adjustment", Actor: "test"}); err != nil {
					return err
				}
			}
		}
		p, err := stock.Place(d.t.Context(), tx, acme, stock.Request{HoldID: orderID, Channel: "web", Wants: []stock.Want{{SKU: "MUG", Quantity: total}}, Seconds: 900, Warehouses: warehouses})
		if err != nil {
			return err
		}
		if _, err := stock.Confirm(d.t.Context(), tx, acme, orderID, orderID); err != nil {
			return err
		}
		for _, l := range p.Lines {
			n.Lines = append(n.Lines, order.NewLine{SKU: l.SKU, Name: l.SKU, Quantity: l.Quantity, UnitPrice: 5000, Tax: "iva"})
			held = append(held, stock.HeldLine{Line: l})
		}
		return order.Create(d.t.Context(), tx, acme, n, held)
	})
	shipments = map[string]string{}
	for w := range units {
		shipments[w] = shoptest.Value[string](d.t, d.Shop, `SELECT id FROM shipments WHERE order_id = $1 AND warehouse = $2`, orderID, w)
	}
	return orderID, shipments
}

// pick picks everything that is pending in a warehouse.
func (d *dock) pick(warehouse string) {
	d.t.Helper()
	d.Do(d.t, func(tx pgx.Tx) error {
		out, err := picking.Release(d.t.Context(), tx, acme, picking.Wave{Warehouse: warehouse, By: picking.ByBatch, Trolley: batch.Load{Orders: 10}, Seed: 1, Rounds: 1, Who: ana})
		if err != nil {
			return err
		}
		for _, l := range out.Lists {
			all, err := picking.Read(d.t.Context(), tx, acme, l.ID)
			if err != nil {
				return err
			}
			var scans []picking.Scan
			for _, n := range all.Work {
				scans = append(scans, picking.Scan{Line: n.Line, Bin: "A-01", Product: "MUG", Quantity: n.Quantity})
			}
			if _, err := picking.Pick(d.t.Context(), tx, acme, picking.Picking{ListID: l.ID, Picks: scans, To: "PACK", By: ana}); err != nil {
				return err
			}
			if _, err := picking.Complete(d.t.Context(), tx, acme, l.ID, ana, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// labelled is an order of so many mugs whose shipment is picked, packed and labelled.
func (d *dock) labelled(units int) (orderID, shipment string) {
	d.t.Helper()
	orderID, of := d.paid(map[string]int{"SCL-1": units})
	d.pick("SCL-1")
	must(d, shipping.Pack, of["SCL-1"], packing(300*units+100))
	must(d, shipping.LabelParcels, of["SCL-1"], byHand)
	return orderID, of["SCL-1"]
}

type stepFunc[T any] func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in T) (shipping.Shipment, error)

// try does a step in a transaction of its own.
func try[T any](d *dock, do stepFunc[T], shipmentID string, in T) (out shipping.Shipment, err error) {
	err = d.DB.InTenant(context.Background(), acme, func(tx pgx.Tx) error {
		shop, err := tenant.Get(context.Background(), tx, acme)
		if err != nil {
			return err
		}
		out, err = do(context.Background(), tx, shop, shipmentID, in)
		return err
	})
	return out, err
}

func must[T any](d *dock, do stepFunc[T], shipmentID string, in T) shipping.Shipment {
	d.t.Helper()
	out, err := try(d, do, shipmentID, in)
	require.NoError(d.t, err)
	return out
}

// refused demands a refusal and returns it.
func refused[T any](d *dock, code string, do stepFunc[T], shipmentID string, in T) *problem.Error {
	d.t.Helper()
	_, err := try(d, do, shipmentID, in)
	p, is := problem.As(err)
	require.True(d.t, is, "%v", err)
	require.Equal(d.t, code, p.Code, p.Detail)
	return p
}

func (d *dock) status(orderID string) string {
	return shoptest.Value[string](d.t, d.Shop, `SELECT status FROM orders WHERE id = $1`, orderID)
}

func (d *dock) attention(orderID string) []string {
	return shoptest.List[string](d.t, d.Shop, `SELECT reason FROM order_attention WHERE order_id = $1 ORDER BY 1`, orderID)
}

func packing(grams ...int) shipping.Packing {
	in := shipping.Packing{By: ana}
	for _, g := range grams {
		in.Parcels = append(in.Parcels, shipping.ParcelInput{WeightGrams: g, Dimensions: shipping.Dimensions{Length: 200, Width: 150, Height: 100}})
	}
	return in
}

var byHand = shipping.Labelling{Carrier: shipping.Manual, By: ana}

func TestShipment_GoesFromThePackingBinToTheDoor(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 2})
	shipment := of["SCL-1"]
	refused(d, "wrong_status", shipping.Pack, shipment, packing(700))
	d.pick("SCL-1")
	require.Equal(t, "in_fulfillment", d.status(orderID))

	s := must(d, shipping.Pack, shipment, packing(700))
	require.Equal(t, "packed", s.Status)
	require.Len(t, s.Parcels, 1)
	require.Equal(t, shipping.Dimensions{Length: 200, Width: 150, Height: 100}, s.Parcels[0].Dimensions)
	require.Equal(t, "ana", s.Parcels[0].PackedBy)
	refused(d, "wrong_status", shipping.HandOver, shipment, shipping.Handing{By: ana})
	refused(d, "wrong_status", shipping.Pack, shipment, packing(700))

	s = must(d, shipping.LabelParcels, shipment, byHand)
	require.Equal(t, "manual", s.Carrier)
	require.Equal(t, s.Parcels[0].Reference, s.Parcels[0].Tracking)

	require.Equal(t, []int{10, 2}, d.level("SCL-1"))
	s = must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	require.Equal(t, []int{8, 0}, d.level("SCL-1"), "on hand and reserved fall together")
	require.NotNil(t, s.HandedOverAt)
	require.NotNil(t, s.DueAt)
	require.Equal(t, "shipped", d.status(orderID))
	refused(d, "wrong_status", shipping.HandOver, shipment, shipping.Handing{By: ana})
	require.Equal(t, []int{8, 0}, d.level("SCL-1"))
	require.Equal(t, 2, shoptest.Value[int](t, d.Shop, `SELECT sum(quantity)::int FROM bin_movements WHERE document = 'shipment:' || $1 AND from_bin = 'PACK' AND to_bin IS NULL`, shipment))

	must(d, shipping.Report, shipment, shipping.News{Status: "out_for_delivery", By: ana})
	s = must(d, shipping.Report, shipment, shipping.News{Status: "delivered", By: ana})
	require.Nil(t, s.DueAt)
	require.NotNil(t, s.EndedAt)
	require.Equal(t, "delivered", d.status(orderID))
	again := must(d, shipping.Report, shipment, shipping.News{Status: "delivered", By: ana})
	require.Equal(t, s, again, "the same again changes nothing")
	refused(d, "wrong_status", shipping.Report, shipment, shipping.News{Status: "lost", By: ana})

	var kinds []string
	d.Do(t, func(tx pgx.Tx) error {
		events, err := timeline.Of(t.Context(), tx, acme, orderID)
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		return err
	})
	require.Equal(t, []string{"order_in_fulfillment", "picked", "packed", "labelled", "handed_over", "order_shipped", "out_for_delivery", "delivered", "order_delivered"}, kinds)
	d.CheckBooks(t)
}

func (d *dock) level(warehouse string) []int {
	return []int{shoptest.Value[int](d.t, d.Shop, `SELECT on_hand FROM stock_levels WHERE sku = 'MUG' AND warehouse = $1`, warehouse), shoptest.Value[int](d.t, d.Shop, `SELECT reserved FROM stock_levels WHERE sku = 'MUG' AND warehouse = $1`, warehouse)}
}

func TestPack_TheScaleMustAgreeWithTheCatalogue(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	_, of := d.paid(map[string]int{"SCL-1": 2})
	shipment := of["SCL-1"]
	d.pick("SCL-1")
	// 600 g of goods: 10 % either way, and 500 g for each box.
	for _, grams := range []int{539, 1161} {
		p := refused(d, "weight_differs", shipping.Pack, shipment, packing(grams))
		require.Equal(t, grams, p.More["weighed_grams"])
		require.Equal(t, map[string]int64{"goods": 600, "least": 540, "most": 1160}, p.More["expected_grams"])
	}
	refused(d, "weight_differs", shipping.Pack, shipment, packing(1000, 661))
	sure := packing(300)
	sure.ConfirmWeight = true
	must(d, shipping.Pack, shipment, sure)
	must(d, shipping.Unpack, shipment, shipping.Undoing{By: ana})
	s := must(d, shipping.Pack, shipment, packing(1000, 660))
	require.Len(t, s.Parcels, 2)

	must(d, shipping.Unpack, shipment, shipping.Undoing{By: ana})
	d.Exec(t, `UPDATE products SET weight_grams = 0`)
	must(d, shipping.Pack, shipment, packing(1))
}

func TestUnpack_TakesTheLabelBackAndTheParcelsWithIt(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 2})
	shipment := of["SCL-1"]
	d.pick("SCL-1")
	packed := must(d, shipping.Pack, shipment, packing(700))
	must(d, shipping.LabelParcels, shipment, byHand)
	d.Exec(t, `UPDATE shipments SET frozen_reason = 'disputed'`)
	s := must(d, shipping.Unpack, shipment, shipping.Undoing{Reason: "the wrong box", By: ana})
	require.Equal(t, "picking", s.Status)
	require.Empty(t, s.Parcels)
	require.Empty(t, s.Carrier)
	require.Nil(t, s.PackedAt)
	require.NotNil(t, s.PickedAt, "it lies in the packing bin")
	d.Exec(t, `UPDATE shipments SET frozen_reason = NULL`)
	s = must(d, shipping.Pack, shipment, packing(700))
	require.NotEqual(t, packed.Parcels[0].Reference, s.Parcels[0].Reference)
	must(d, shipping.LabelParcels, shipment, byHand)
	must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	refused(d, "wrong_status", shipping.Unpack, shipment, shipping.Undoing{By: ana})
	require.Equal(t, "shipped", d.status(orderID))
	d.CheckBooks(t)
}

func TestShipment_NothingLeavesForAnOrderThatIsStopped(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 2})
	shipment := of["SCL-1"]
	d.pick("SCL-1")
	stopped := func(code string) {
		t.Helper()
		refused(d, code, shipping.Pack, shipment, packing(700))
	}
	d.Exec(t, `UPDATE shipments SET frozen_reason = 'disputed'`)
	stopped("order_frozen")
	d.Exec(t, `UPDATE shipments SET frozen_reason = NULL`)
	must(d, shipping.Pack, shipment, packing(700))
	d.Exec(t, `INSERT INTO payments (tenant, id, order_id, attempt, gateway, amount, currency, status, captured_amount, applied, applied_at) SELECT tenant, id, id, 1, 'flow', total, 'CLP', 'captured', total, true, now() FROM orders`)
	d.Exec(t, `INSERT INTO refunds (tenant, id, payment_id, order_id, amount, currency, reason, status, due_at) SELECT tenant, id, id, id, total, 'CLP', 'r', 'pending', now() FROM orders`)
	refused(d, "order_refunded", shipping.LabelParcels, shipment, byHand)
	d.Exec(t, `UPDATE refunds SET amount = amount - 1`)
	must(d, shipping.LabelParcels, shipment, byHand)
	d.Exec(t, `UPDATE refunds SET amount = amount + 1`)
	refused(d, "order_refunded", shipping.HandOver, shipment, shipping.Handing{By: ana})
	d.Exec(t, `DELETE FROM refunds`)
	d.Exec(t, `UPDATE orders SET status = 'cancelled'`)
	refused(d, "order_cancelled", shipping.HandOver, shipment, shipping.Handing{By: ana})
	require.Equal(t, []int{10, 2}, d.level("SCL-1"))
	require.Equal(t, "cancelled", d.status(orderID))
}

func TestHandOver_OnlyWhatLiesInThePackingBinLeaves(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	_, shipment := d.labelled(2)
	// Somebody carries a unit back to the shelf.
	allocation := shoptest.Value[string](t, d.Shop, `SELECT id FROM allocations WHERE state = 'picked'`)
	d.Do(t, func(tx pgx.Tx) error {
		return stock.Unpick(t.Context(), tx, acme, allocation, 1, "A-01", "test", ana)
	})
	refused(d, "not_picked", shipping.HandOver, shipment, shipping.Handing{By: ana})
	require.Equal(t, []int{10, 2}, d.level("SCL-1"))
	d.CheckBooks(t)
}

func TestUnpack_WhatIsMissingInThePackingBinIsPickedAgain(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	d.Bin(t, "SCL-1", "DMG", "damaged")
	orderID, shipment := d.labelled(2)
	// A mug breaks on the packing bench; others lie on the shelf.
	d.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, acme, stock.BinMovement{SKU: "MUG", Warehouse: "SCL-1", Quantity: 1, From: stock.In("PACK", stock.Available), To: stock.In("DMG", stock.Damaged), Reason: "damage", By: ana})
		return err
	})
	refused(d, "not_picked", shipping.HandOver, shipment, shipping.Handing{By: ana})
	s := must(d, shipping.Unpack, shipment, shipping.Undoing{By: ana})
	require.Equal(t, "pending", s.Status)
	require.Nil(t, s.PickedAt)
	d.pick("SCL-1")
	require.Equal(t, 1, shoptest.Value[int](t, d.Shop, `SELECT sum(quantity)::int FROM pick_lines WHERE list_id = (SELECT max(id) FROM pick_lists)`), "just the one that is missing")
	must(d, shipping.Pack, shipment, packing(700))
	must(d, shipping.LabelParcels, shipment, byHand)
	must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	require.Equal(t, []int{7, 0}, d.level("SCL-1"))
	require.Equal(t, "shipped", d.status(orderID))
	d.CheckBooks(t)
}

func TestPack_WhatBrokeBeforeItWasPackedIsPickedAgain(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	_, of := d.paid(map[string]int{"SCL-1": 2})
	shipment := of["SCL-1"]
	d.pick("SCL-1")
	refused(d, "wrong_status", shipping.Unpack, shipment, shipping.Undoing{By: ana})
	d.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, acme, stock.BinMovement{SKU: "MUG", Warehouse: "SCL-1", Quantity: 1, From: stock.In("PACK", stock.Available), Reason: "loss", By: ana})
		return err
	})
	refused(d, "not_picked", shipping.Pack, shipment, packing(700))
	require.Equal(t, "pending", must(d, shipping.Unpack, shipment, shipping.Undoing{By: ana}).Status)
}

func TestHandOver_TellsTheRunWhenItWouldLookTooLate(t *testing.T) {
	t.Parallel()
	for due, told := range map[string]bool{"1 hour": false, "-1 hour": true, "900 days": true} {
		t.Run(due, func(t *testing.T) {
			t.Parallel()
			d := newDock(t)
			_, shipment := d.labelled(2)
			d.Exec(t, `UPDATE shipments SET due_at = now() + $2::interval WHERE id = $1`, shipment, due)
			d.wakes()
			must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
			require.Equal(t, told, d.wakes() > 0)
			require.Contains(t, d.stand(shipment).WaitsFor, "has the parcels")
		})
	}
}

func TestHandOver_WhatTheOrderHasLostIsNotInTheParcel(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	_, of := d.paid(map[string]int{"SCL-1": 10})
	shipment := of["SCL-1"]
	d.pick("SCL-1")
	// There are no others: the order loses one unit for good.
	d.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, acme, stock.BinMovement{SKU: "MUG", Warehouse: "SCL-1", Quantity: 1, From: stock.In("PACK", stock.Available), Reason: "loss", By: ana})
		return err
	})
	s := must(d, shipping.Pack, shipment, packing(2800))
	require.Equal(t, 10, s.Lines[0].Quantity)
	must(d, shipping.LabelParcels, shipment, byHand)
	s = must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	require.Equal(t, []stock.Want{{SKU: "MUG", Quantity: 9}}, s.Lines, "from now on the lines are what is in the parcels")
	require.Equal(t, []int{0, 0}, d.level("SCL-1"))
	d.CheckBooks(t)
}

func TestReport_TroubleAsksForAPersonUntilItIsOver(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, shipment := d.labelled(2)
	refused(d, "wrong_status", shipping.Report, shipment, shipping.News{Status: "delivered", By: ana})
	must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	s := must(d, shipping.Report, shipment, shipping.News{Status: "delivery_failed", Note: "nobody at home", By: ana})
	require.NotNil(t, s.DueAt)
	require.Equal(t, []string{"delivery_failed"}, d.attention(orderID))
	s = must(d, shipping.Report, shipment, shipping.News{Status: "lost", By: ana})
	require.Nil(t, s.DueAt)
	require.Equal(t, []string{"parcel_lost"}, d.attention(orderID))
	s = must(d, shipping.Report, shipment, shipping.News{Status: "in_transit", By: ana})
	require.NotNil(t, s.DueAt, "found: it is due again")
	require.Nil(t, s.EndedAt)
	require.Empty(t, d.attention(orderID), "the trouble is over")
	must(d, shipping.Report, shipment, shipping.News{Status: "returned_to_sender", By: ana})
	require.Contains(t, d.attention(orderID), "returned_to_sender")
	require.Equal(t, "shipped", d.status(orderID))

	d.Exec(t, `UPDATE shipments SET carrier = 'starken'`)
	refused(d, "carrier_tells", shipping.Report, shipment, shipping.News{Status: "delivered", By: ana})
}

func TestOrder_FollowsItsShipments(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 2, "CCP-1": 3})
	require.Equal(t, "paid", d.status(orderID))
	want := []string{"in_fulfillment", "shipped"}
	for i, w := range []string{"SCL-1", "CCP-1"} {
		d.pick(w)
		require.Equal(t, "in_fulfillment", d.status(orderID))
		must(d, shipping.Pack, of[w], packing(300*(2+i)))
		must(d, shipping.LabelParcels, of[w], byHand)
		must(d, shipping.HandOver, of[w], shipping.Handing{By: ana})
		require.Equal(t, want[i], d.status(orderID))
	}
	must(d, shipping.Report, of["CCP-1"], shipping.News{Status: "delivered", By: ana})
	require.Equal(t, "shipped", d.status(orderID))
	must(d, shipping.Report, of["SCL-1"], shipping.News{Status: "delivered", By: ana})
	require.Equal(t, "delivered", d.status(orderID))
}

func TestHandOver_OfTwoAtOnceOneDoesIt(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	_, shipment := d.labelled(4)
	var wait sync.WaitGroup
	codes := make([]string, 8)
	for i := range codes {
		wait.Go(func() {
			_, err := try(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
			if p, is := problem.As(err); is {
				codes[i] = p.Code
			} else if err != nil {
				codes[i] = err.Error()
			}
		})
	}
	wait.Wait()
	done := 0
	for _, c := range codes {
		if c == "" {
			done++
		} else {
			require.Contains(t, []string{"version_changed", "wrong_status", "not_picked"}, c)
		}
	}
	require.Equal(t, 1, done, codes)
	require.Equal(t, []int{6, 0}, d.level("SCL-1"))
	d.CheckBooks(t)
}

func TestLabelParcels_NumbersAndWhoCarries(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 2})
	shipment := of["SCL-1"]
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(400, 400))
	for _, in := range []shipping.Labelling{{Service: "express"}, {Carrier: "pigeon"}, {Carrier: shipping.Starken}, {Carrier: shipping.Manual, Tracking: []string{"1"}}, {Carrier: shipping.Manual, Tracking: []string{"1", "1"}}, {Carrier: shipping.Manual, Tracking: []string{"1", "a b"}}} {
		in.By = ana
		_, err := try(d, shipping.LabelParcels, shipment, in)
		p, is := problem.As(err)
		require.True(t, is, "%v: %v", in, err)
		require.NotEmpty(t, p.Fields)
	}
	_, err := labels(d, shipment)
	require.ErrorContains(t, err, "wrong_status")
	s := must(d, shipping.LabelParcels, shipment, shipping.Labelling{Carrier: shipping.Manual, Tracking: []string{"M-1", "M-2"}, By: ana})
	require.Equal(t, "M-2", s.Parcels[1].Tracking)
	zpl, err := labels(d, shipment)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(zpl, "^XA"))
	for _, text := range []string{"Ana Rojas", "Av. Providencia 1234", "Providencia, RM", s.Number + " 2/2", s.Parcels[0].Reference} {
		require.Contains(t, zpl, text)
	}
	d.Do(t, func(tx pgx.Tx) error {
		o, err := order.Read(t.Context(), tx, acme, orderID)
		require.Equal(t, []string{"M-1", "M-2"}, o.Shipments[0].Tracking)
		require.Equal(t, "manual", o.Shipments[0].Carrier)
		return err
	})
}

func labels(d *dock, shipment string) (zpl string, err error) {
	err = d.DB.InTenant(context.Background(), acme, func(tx pgx.Tx) (err error) {
		zpl, err = shipping.Labels(context.Background(), tx, acme, shipment, label.Print{DPI: 203, Copies: 1, Language: label.Spanish})
		return err
	})
	return zpl, err
}

func TestPack_BadInput(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	_, of := d.paid(map[string]int{"SCL-1": 2})
	for _, in := range []shipping.Packing{{By: ana}, packing(0), packing(1_000_001), packing(make([]int, 51)...), {Parcels: []shipping.ParcelInput{{WeightGrams: 1, Dimensions: shipping.Dimensions{Length: -1}}}, By: ana}} {
		_, err := try(d, shipping.Pack, of["SCL-1"], in)
		p, is := problem.As(err)
		require.True(t, is, "%v", err)
		require.NotEmpty(t, p.Fields)
	}
	refused(d, "version_changed", shipping.Pack, of["SCL-1"], shipping.Packing{Parcels: packing(700).Parcels, Version: 9, By: ana})
	_, err := try(d, shipping.Pack, id.New(), packing(700))
	require.ErrorContains(t, err, "not_found")
}

func TestStatuses_AreThoseOfTheMoves(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range lifecycle.Moves() {
		if m.Machine == lifecycle.Shipment {
			seen[m.From], seen[m.To] = true, true
		}
	}
	for _, s := range shipping.Statuses {
		require.True(t, seen[s], fmt.Sprintf("%s is in no move", s))
		delete(seen, s)
	}
	require.Empty(t, seen)
}

func TestReport_TellsTheBuyerOfEachStepOnce(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, shipment := d.labelled(2)
	d.Exec(t, `UPDATE orders SET email = 'ana@example.cl' WHERE id = $1`, orderID)
	must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	for _, status := range []string{"in_transit", "out_for_delivery", "delivery_failed", "out_for_delivery", "delivery_failed", "lost", "out_for_delivery", "delivered"} {
		must(d, shipping.Report, shipment, shipping.News{Status: status, By: ana})
	}
	told := func() []string {
		return shoptest.List[string](t, d.Shop, `SELECT kind FROM notices WHERE subject = $1 AND dedupe = $2 ORDER BY id`, orderID, shipment)
	}
	require.Equal(t, []string{"shipped", "out_for_delivery", "delivery_failed", "delivered"}, told())
	require.JSONEq(t, `{"shipment_id": "`+shipment+`", "units": [{"sku": "MUG", "quantity": 2}]}`, shoptest.Value[string](t, d.Shop, `SELECT data FROM notices WHERE kind = 'shipped'`),
		"our own delivery has neither a carrier nor numbers that a buyer could use")
	_, err := try(d, shipping.Report, shipment, shipping.News{Status: "lost", By: ana})
	require.Error(t, err)
	require.Len(t, told(), 4, "what did not happen is not told")
}
