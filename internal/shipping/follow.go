package shipping

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/order"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// FollowHold lets the shipments of an order that have not left follow what its hold has
// in their warehouses by now, after units were taken off it or were found for it. One
// with nothing left is cancelled; one of which the rest lies in packing bins is picked;
// one that wants more than was picked for it is unpacked, and pending again for the next
// wave. What is being picked stays on its list. The caller has locked the stock of the
// hold. Doing it again changes nothing.
func FollowHold(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, orderID string) error {
	rows, err := tx.Query(ctx, `SELECT id FROM shipments WHERE tenant = $1 AND order_id = $2 AND status = ANY($3) ORDER BY id FOR UPDATE`, shop.ID, orderID, inWarehouse)
	if err != nil {
		return fmt.Errorf("shipments of order %s: %w", orderID, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("shipments of order %s: %w", orderID, err)
	}
	for _, shipmentID := range ids {
		s, err := Get(ctx, tx, shop.ID, shipmentID)
		if err == nil {
			err = s.followHold(ctx, tx, shop)
		}
		if err != nil {
			return err
		}
	}
	return order.Follow(ctx, tx, shop.ID, orderID)
}

func (s Shipment) followHold(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
	wants, whole, err := s.wanted(ctx, tx, shop.ID)
	if err != nil {
		return err
	}
	if !whole && (s.Status == Packed || s.Status == Labelled) {
		if s, err = Unpack(ctx, tx, shop, s.ID, Undoing{Reason: "more units of the order are to be packed", By: stock.By{Person: "system"}}); err != nil {
			return err
		}
	}
	var listed bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pick_lines p JOIN pick_lists k ON k.tenant = p.tenant AND k.id = p.list_id WHERE p.tenant = $1 AND p.shipment_id = $2 AND p.cancelled_at IS NULL AND k.status IN ('open','in_progress','picked'))`, shop.ID, s.ID).Scan(&listed)
	if err != nil {
		return wrap(err, "lists of shipment "+s.ID)
	}
	to, set := s.Status, ``
	switch {
	case len(wants) == 0:
		to, set = Cancelled, `, due_at = NULL`
	case whole && s.PickedAt == nil && !listed && (s.Status == Pending || s.Status == Picking):
		to, set = Picking, `, picked_at = now()`
	case !whole && s.PickedAt != nil && s.Status == Picking && listed:
		set = `, picked_at = NULL`
	case !whole && s.PickedAt != nil && s.Status == Picking:
		to, set = Pending, `, picked_at = NULL, pick_list = NULL`
	}
	if len(wants) == 0 {
		wants = s.Lines // they say what it was
	}
	if to == s.Status && set == `` && slices.Equal(wants, s.Lines) {
		return nil
	}
	lines, err := json.Marshal(wants)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE shipments SET status = $3, lines = $4, version = version + 1, updated_at = now()`+set+` WHERE tenant = $1 AND id = $2`, shop.ID, s.ID, to, lines)
	if err != nil {
		return wrap(err, "shipment "+s.ID)
	}
	if to == Picking && s.PickedAt == nil && whole && !listed {
		return timeline.Add(ctx, tx, shop.ID, s.OrderID, "picked", "warehouse", map[string]any{"shipment_id": s.ID, "warehouse": s.Warehouse, "by": "system"})
	}
	return nil
}

// SetDue says when an order's shipments that have not left are late: what waits for stock
// is not, before its time.
func SetDue(ctx context.Context, tx pgx.Tx, tenantID, orderID string, due time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE shipments SET due_at = $3, updated_at = now() WHERE tenant = $1 AND order_id = $2 AND status = ANY($4) AND due_at IS NOT NULL`, tenantID, orderID, due, inWarehouse)
	return wrap(err, "shipments of order "+orderID)
}
