package order

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/timeline"
)

// ladder is how an order's status follows its shipments, a step at a time.
var ladder = []string{"paid", "in_fulfillment", "shipped", "delivered"}

// Follow lets an order's status follow its shipments: in fulfillment once one is
// being picked, shipped when none is left in a warehouse, delivered when all that
// were not cancelled have arrived, apart from what was lost or came back and was settled
// with the buyer. It never goes back: a shipment that is unpacked
// leaves the order where it is. An order of another status stays.
func Follow(ctx context.Context, tx pgx.Tx, tenant, orderID string) error {
	var now string
	// Two shipments of one order that move at the same moment take turns.
	if err := tx.QueryRow(ctx, `SELECT status FROM orders WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenant, orderID).Scan(&now); err != nil {
		return fmt.Errorf("order %s: %w", orderID, err)
	}
	var reached int
	err := tx.QueryRow(ctx, `SELECT CASE WHEN count(*) = 0 THEN 0 WHEN bool_and(status = 'delivered' OR settled <> '') AND bool_or(status = 'delivered') THEN 3
	      WHEN bool_and(status IN ('handed_over','in_transit','out_for_delivery','delivered','delivery_failed','returned_to_sender','lost')) THEN 2
	      WHEN bool_or(status <> 'pending') THEN 1 ELSE 0 END
	    FROM shipments WHERE tenant = $1 AND order_id = $2 AND status <> 'cancelled'`, tenant, orderID).Scan(&reached)
	if err != nil {
		return fmt.Errorf("shipments of order %s: %w", orderID, err)
	}
	at := -1
	for i, status := range ladder {
		if status == now {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	for i := at + 1; i <= reached; i++ {
		if _, err := tx.Exec(ctx, `UPDATE orders SET status = $3, updated_at = now() WHERE tenant = $1 AND id = $2`, tenant, orderID, ladder[i]); err != nil {
			return fmt.Errorf("order %s: %w", orderID, err)
		}
		if err := timeline.Add(ctx, tx, tenant, orderID, "order_"+ladder[i], "shipping", nil); err != nil {
			return err
		}
	}
	return nil
}

// Begin is Follow for the orders of shipments that a wave has begun to pick.
func Begin(ctx context.Context, tx pgx.Tx, tenant string, shipments []string) error {
	_, err := tx.Exec(ctx, `WITH begun AS (
	    UPDATE orders SET status = 'in_fulfillment', updated_at = now()
	     WHERE tenant = $1 AND status = 'paid' AND id IN (SELECT order_id FROM shipments WHERE tenant = $1 AND id = ANY($2)) RETURNING id)
	  INSERT INTO events (tenant, subject, kind, actor, data, outbound) SELECT $1, id, 'order_in_fulfillment', 'shipping', '{}', true FROM begun ORDER BY id`, tenant, shipments)
	if err != nil {
		return fmt.Errorf("orders that are being picked: %w", err)
	}
	return nil
}

// WhollyRefunded is SQL that is true of an order o of which everything is being
// given back, or was.
const WhollyRefunded = `(o.total > 0 AND o.total <= (SELECT coalesce(sum(r.amount), 0) FROM payments y JOIN refunds r ON r.tenant = y.tenant AND r.payment_id = y.id
    WHERE y.tenant = o.tenant AND coalesce(y.order_id, y.checkout_id) = o.id AND y.applied AND r.status <> 'failed'))`
