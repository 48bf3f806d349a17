package picking

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// liveLists are the lists that somebody may still work on and that have a shipment.
func liveLists(ctx context.Context, tx pgx.Tx, tenantID, shipmentID string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM pick_lists k WHERE tenant = $1 AND status IN ('open','in_progress','picked')
	   AND EXISTS (SELECT FROM pick_lines p WHERE p.tenant = k.tenant AND p.list_id = k.id AND p.shipment_id = $2 AND p.cancelled_at IS NULL) ORDER BY id`, tenantID, shipmentID)
	if err != nil {
		return nil, fmt.Errorf("pick lists of shipment %s: %w", shipmentID, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("pick lists of shipment %s: %w", shipmentID, err)
	}
	return ids, nil
}

// Withdraw takes what was not picked yet of a shipment off every list: nobody is sent for
// it any more. What was picked stays where it lies. Doing it again changes nothing.
func Withdraw(ctx context.Context, tx pgx.Tx, tenantID, shipmentID, reason string, by stock.By) error {
	ids, err := liveLists(ctx, tx, tenantID, shipmentID)
	if err != nil {
		return err
	}
	for _, listID := range ids {
		l, err := lock(ctx, tx, tenantID, listID, 0)
		if err != nil {
			return err
		}
		if !l.live() {
			continue
		}
		lines, skus, err := l.leaving(ctx, tx, []string{shipmentID})
		if p, is := problem.As(err); is && p.Code == "not_on_list" {
			continue
		}
		if err != nil {
			return err
		}
		if err := l.lockLevels(ctx, tx, skus); err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`UPDATE allocations SET quantity = 0, state = 'closed', updated_at = now() WHERE tenant = $1 AND list_id = $2 AND line = ANY($3) AND state = 'open'`, tenantID, listID, lines)
		b.Queue(`UPDATE pick_lines SET cancelled_at = now(), short_reason = $4 WHERE tenant = $1 AND list_id = $2 AND line = ANY($3) AND picked = 0`, tenantID, listID, lines, reason)
		// What is left of a line that was begun is nobody's any more, and no short.
		b.Queue(`UPDATE pick_lines SET shorted = quantity - picked, short_reason = $4 WHERE tenant = $1 AND list_id = $2 AND line = ANY($3) AND picked > 0`, tenantID, listID, lines, reasonLost)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("lines of pick list %s: %w", listID, err)
		}
		if err := l.plan(ctx, tx); err != nil {
			return err
		}
		if err := l.settle(ctx, tx, 1); err != nil {
			return err
		}
		if err := l.settleShipments(ctx, tx, by.Person); err != nil {
			return err
		}
	}
	return nil
}

// PutBackAll carries everything that was picked for a shipment back into a bin: off the
// lists that are worked on, and out of the packing bins of those that are done. Refusals
// are 409: wrong_bin, wrong_serial, not_picked.
func PutBackAll(ctx context.Context, tx pgx.Tx, tenantID, shipmentID, holdID, warehouse, to string, by stock.By) error {
	if err := stock.LockHold(ctx, tx, tenantID, holdID); err != nil {
		return err
	}
	ids, err := liveLists(ctx, tx, tenantID, shipmentID)
	if err != nil {
		return err
	}
	for _, listID := range ids {
		if _, err := Cancel(ctx, tx, tenantID, Cancelling{ListID: listID, ShipmentIDs: []string{shipmentID}, To: to, Reason: "the order is cancelled", By: by}); err != nil {
			return err
		}
	}
	rows, err := tx.Query(ctx, `SELECT id, quantity, list_id FROM allocations WHERE tenant = $1 AND hold_id = $2 AND warehouse = $3 AND state = 'picked' AND quantity > 0 ORDER BY id`, tenantID, holdID, warehouse)
	if err != nil {
		return fmt.Errorf("picked units of shipment %s: %w", shipmentID, err)
	}
	type lying struct {
		ID    string
		Units int
		List  *string
	}
	left, err := pgx.CollectRows(rows, pgx.RowToStructByPos[lying])
	if err != nil {
		return fmt.Errorf("picked units of shipment %s: %w", shipmentID, err)
	}
	for _, u := range left {
		if u.List == nil {
			return errors.New("units were picked without a list: allocation " + u.ID)
		}
		l, err := lock(ctx, tx, tenantID, *u.List, 0)
		if err != nil {
			return err
		}
		if err := l.putBack(ctx, tx, PutBack{AllocationID: u.ID, Quantity: u.Units, Bin: to}, by); err != nil {
			return err
		}
	}
	return nil
}
