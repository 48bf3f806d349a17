package shipping

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/timeline"
)

// Correction is who gets an order, and where. An empty Name or Phone stays as it is; To
// was checked, and its comuna and region are as the state names them.
type Correction struct {
	Name, Phone string
	To          Place
	// By is who corrects it.
	By string
}

// CorrectDelivery changes where an order goes that a carrier would not take, or that its
// buyer wants elsewhere, while something of it is in a warehouse and has no label. All
// carriers are asked anew for what is packed and wants one. The freight stays as it was
// paid. The same correction again only asks once more.
//
// 409 already_shipped when all has left, already_labelled while a label names the old
// address (unpack the shipment first), not_to_an_address for what is fetched.
func CorrectDelivery(ctx context.Context, tx pgx.Tx, tenantID, orderID string, c Correction) error {
	// The shipments first, as those who label and hand over lock them.
	rows, err := tx.Query(ctx, `SELECT s.status, EXISTS (SELECT FROM bookings WHERE tenant = s.tenant AND shipment_id = s.id AND `+live+`)
	    FROM shipments s WHERE s.tenant = $1 AND s.order_id = $2 ORDER BY s.id FOR UPDATE`, tenantID, orderID)
	if err != nil {
		return fmt.Errorf("shipments of order %s: %w", orderID, err)
	}
	type parcel struct {
		Status string
		Named  bool // by a label, or one that is being bought
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[parcel])
	if err != nil {
		return fmt.Errorf("shipments of order %s: %w", orderID, err)
	}
	var status, method string
	err = tx.QueryRow(ctx, `SELECT status, coalesce(shipping->>'method', CASE shipping->>'service' WHEN 'pickup' THEN 'pickup_in_shop' END, 'home') FROM orders WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenantID, orderID).Scan(&status, &method)
	inside := slices.DeleteFunc(list, func(p parcel) bool { return !slices.Contains(inWarehouse, p.Status) })
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return problem.Missing("order")
	case err != nil:
		return fmt.Errorf("order %s: %w", orderID, err)
	case status != "paid" && status != "in_fulfillment" || len(inside) == 0:
		return problem.New(problem.Conflict, "already_shipped", "Nothing of the order is in a warehouse any more.").With("status", status)
	case Method(method) != ToDoor:
		return problem.New(problem.Conflict, "not_to_an_address", "The buyer fetches this order.").With("method", method)
	case slices.ContainsFunc(inside, func(p parcel) bool { return p.Named || p.Status == Labelled }):
		return problem.New(problem.Conflict, "already_labelled", "A label names the old address, or is being bought. Unpack that shipment first.")
	}
	b := &pgx.Batch{}
	b.Queue(`UPDATE orders SET shipping = shipping || jsonb_build_object('street', $3::text, 'number', $4::text, 'unit', $5::text, 'comuna', $6::text, 'region', $7::text),
	    customer = customer || jsonb_strip_nulls(jsonb_build_object('name', nullif($8::text, ''), 'phone', nullif($9::text, ''))), updated_at = now() WHERE tenant = $1 AND id = $2`,
		tenantID, orderID, c.To.Street, c.To.Number, c.To.Unit, c.To.Comuna, c.To.Region, c.Name, c.Phone)
	// A new round: who has said no to the old address may take it to this one.
	b.Queue(`UPDATE shipments SET wanted_at = clock_timestamp(), not_booked = '', book_at = NULL, updated_at = now() WHERE tenant = $1 AND order_id = $2 AND status = 'packed' AND wanted_at IS NOT NULL`, tenantID, orderID)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("address of order %s: %w", orderID, err)
	}
	return timeline.Add(ctx, tx, tenantID, orderID, "address_corrected", "support", map[string]any{"by": c.By})
}
