package shipping

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/notice"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
	"justlogistics/internal/warehouse/picking"
)

// inWarehouse are the statuses of a shipment that has not left.
var inWarehouse = []string{Pending, Picking, Packed, Labelled}

// NextWithdraw: the order is cancelled, and something of the shipment can be undone.
const NextWithdraw = "withdraw"

// CancelOrder ends an order of which nothing has left. From now on nothing does: its
// shipments' runs undo what was done for them (units that nobody has picked are for sale
// at once, those in packing bins when they are put back, labels are cancelled at the
// carrier). The money is the caller's, in the same transaction. already says that the
// order was cancelled before; nothing changes then.
//
// 409 with the shipments in the answer: already_shipped for an order of which something
// has left, or that left at the counter: what is to come back is a return.
func CancelOrder(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, orderID, reason, by string) (already bool, err error) {
	tenantID := shop.ID
	// The shipments first, as those who hand over lock them: of the two one is told no.
	rows, err := tx.Query(ctx, `SELECT id, status, handed_over_at IS NOT NULL FROM shipments WHERE tenant = $1 AND order_id = $2 ORDER BY id FOR UPDATE`, tenantID, orderID)
	if err != nil {
		return false, fmt.Errorf("shipments of order %s: %w", orderID, err)
	}
	type leaving struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Left   bool   `json:"-"`
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[leaving])
	if err != nil {
		return false, fmt.Errorf("shipments of order %s: %w", orderID, err)
	}
	var status string
	err = tx.QueryRow(ctx, `SELECT status FROM orders WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenantID, orderID).Scan(&status)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, problem.Missing("order")
	case err != nil:
		return false, fmt.Errorf("order %s: %w", orderID, err)
	case status == "cancelled":
		return true, nil
	case status != "paid" && status != "in_fulfillment", slices.ContainsFunc(list, func(s leaving) bool { return s.Left }):
		return false, problem.New(problem.Conflict, "already_shipped", "Something of the order has left. Give money back by a refund, or take the goods back by a return.").With("status", status).With("shipments", list)
	}
	b := &pgx.Batch{}
	b.Queue(`UPDATE orders SET status = 'cancelled', updated_at = now() WHERE tenant = $1 AND id = $2`, tenantID, orderID)
	b.Queue(`UPDATE shipments SET version = version + 1, updated_at = now(), due_at = now() + interval '1 day' WHERE tenant = $1 AND order_id = $2 AND status <> 'cancelled'`, tenantID, orderID)
	b.Queue(`INSERT INTO wakes (tenant, kind, subject) SELECT tenant, 'fulfillment', id FROM shipments WHERE tenant = $1 AND order_id = $2 AND status <> 'cancelled'`, tenantID, orderID)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, fmt.Errorf("cancel order %s: %w", orderID, err)
	}
	if err := notice.Queue(ctx, tx, shop, orderID, notice.OrderCancelled, orderID, notice.Data{}); err != nil {
		return false, err
	}
	return false, timeline.Add(ctx, tx, tenantID, orderID, "order_cancelled", "support", map[string]any{"reason": reason, "by": by})
}

// WithdrawShipment undoes what was done for a shipment whose order is cancelled, as far
// as a program can: it takes it out of its parcels and its work off the pickers' lists,
// and frees the units that nobody has picked. What lies in packing bins is put back by a
// person; without any the shipment is cancelled. Doing it again changes nothing.
func WithdrawShipment(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string) error {
	by := stock.By{Person: "system"}
	s, cancelled, err := lockCancelled(ctx, tx, shop.ID, shipmentID)
	if err != nil || !cancelled {
		return err
	}
	if s.Status == Packed || s.Status == Labelled {
		if s, err = Unpack(ctx, tx, shop, s.ID, Undoing{Reason: "the order is cancelled", By: by}); err != nil {
			return err
		}
	}
	if err := picking.Withdraw(ctx, tx, shop.ID, s.ID, "the order is cancelled", by); err != nil {
		return err
	}
	return s.endCancelled(ctx, tx, shop.ID)
}

// lockCancelled is ofCancelled once nobody else is at it: neither another who undoes it,
// nor a packer.
func lockCancelled(ctx context.Context, tx pgx.Tx, tenantID, shipmentID string) (Shipment, bool, error) {
	s, cancelled, err := ofCancelled(ctx, tx, tenantID, shipmentID)
	if err != nil || !cancelled {
		return s, cancelled, err
	}
	// Stock before lists and shipments, as everybody who locks them.
	if err := stock.LockHold(ctx, tx, tenantID, s.holdID); err != nil {
		return s, false, err
	}
	_, err = tx.Exec(ctx, `SELECT FROM shipments WHERE tenant = $1 AND id = $2 AND status IN ('packed','labelled') FOR UPDATE`, tenantID, shipmentID)
	if err != nil {
		return s, false, wrap(err, "shipment "+shipmentID)
	}
	return ofCancelled(ctx, tx, tenantID, shipmentID)
}

func ofCancelled(ctx context.Context, tx pgx.Tx, tenantID, shipmentID string) (Shipment, bool, error) {
	s, err := Get(ctx, tx, tenantID, shipmentID)
	if err != nil {
		return s, false, err
	}
	var cancelled bool
	if err := tx.QueryRow(ctx, `SELECT status = 'cancelled' FROM orders WHERE tenant = $1 AND id = $2`, tenantID, s.OrderID).Scan(&cancelled); err != nil {
		return s, false, fmt.Errorf("order %s: %w", s.OrderID, err)
	}
	return s, cancelled && slices.Contains(inWarehouse, s.Status), nil
}

// endCancelled frees what nobody has picked, and ends the shipment when nothing of it
// lies in a packing bin.
func (s Shipment) endCancelled(ctx context.Context, tx pgx.Tx, tenantID string) error {
	picked, err := stock.Free(ctx, tx, tenantID, s.holdID, s.Warehouse)
	if err != nil || picked > 0 {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE shipments SET status = 'cancelled', due_at = NULL, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = ANY($3)`, tenantID, s.ID, inWarehouse)
	return wrap(err, "shipment "+s.ID)
}

// PuttingBack is an operator's word that a cancelled order's units lie in a bin again.
type PuttingBack struct {
	// To is the bin: one for picking, reserve or receiving.
	To string   `json:"to"`
	By stock.By `json:"-"`
}

// PutBack carries everything that was picked for a shipment of a cancelled order back
// into a bin; the units are for sale again and the shipment is cancelled.
//
// 409 with the shipment in current: wrong_status for one that is not of a cancelled
// order; wrong_bin, wrong_serial, not_picked.
func PutBack(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in PuttingBack) (Shipment, error) {
	if in.To == "" {
		var f problem.Fields
		f.Add("to", "required", "name the bin that they lie in now")
		return Shipment{}, f.Err()
	}
	s, cancelled, err := lockCancelled(ctx, tx, shop.ID, shipmentID)
	switch {
	case err != nil:
		return s, err
	case s.Status == Cancelled:
		return s, nil
	case !cancelled:
		return s, s.conflict("wrong_status", "Only units of a cancelled order go back. Unpack the shipment, or cancel it on its pick list.")
	}
	if err := WithdrawShipment(ctx, tx, shop, s.ID); err != nil {
		return s, err
	}
	if err := picking.PutBackAll(ctx, tx, shop.ID, s.ID, s.holdID, s.Warehouse, in.To, in.By); err != nil {
		return s, err
	}
	if err := s.endCancelled(ctx, tx, shop.ID); err != nil {
		return s, err
	}
	if err := timeline.Add(ctx, tx, shop.ID, s.OrderID, "put_back", "warehouse", map[string]any{"shipment_id": s.ID, "warehouse": s.Warehouse, "by": in.By.Person}); err != nil {
		return s, err
	}
	return Get(ctx, tx, shop.ID, s.ID)
}

// toPutBack are the units of a cancelled order that lie in packing bins, and whether
// something else can be undone by the run.
func (s Shipment) toPutBack(ctx context.Context, tx pgx.Tx, tenantID string) (units []stock.Want, loose bool, err error) {
	rows, err := tx.Query(ctx, `SELECT sku, picked, quantity > left_stock + picked FROM hold_lines WHERE tenant = $1 AND hold_id = $2 AND warehouse = $3 ORDER BY sku`, tenantID, s.holdID, s.Warehouse)
	if err != nil {
		return nil, false, wrap(err, "units of shipment "+s.ID)
	}
	var w stock.Want
	var more bool
	_, err = pgx.ForEachRow(rows, []any{&w.SKU, &w.Quantity, &more}, func() error {
		if w.Quantity > 0 {
			units = append(units, w)
		}
		loose = loose || more
		return nil
	})
	return units, loose, wrap(err, "units of shipment "+s.ID)
}
