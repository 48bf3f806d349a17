package stock

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Free gives up what a paid order's hold keeps in a warehouse and what nobody has picked
// or is picking: the units are for sale again. What was picked stays reserved until it is
// put back. A hold that keeps nothing any more is released. picked are the units that
// stay. Freeing again changes nothing.
func Free(ctx context.Context, tx pgx.Tx, tenant, holdID, warehouse string) (picked int, err error) {
	if err := LockHold(ctx, tx, tenant, holdID); err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, `WITH line AS (
	    UPDATE hold_lines l SET quantity = l.left_stock + l.allocated, shorted = 0, from_set_aside = least(l.from_set_aside, l.left_stock + l.allocated)
	      FROM (SELECT sku, quantity - shorted - left_stock - allocated AS units FROM hold_lines WHERE tenant = $1 AND hold_id = $2 AND warehouse = $3 AND quantity > left_stock + allocated) f
	     WHERE l.tenant = $1 AND l.hold_id = $2 AND l.warehouse = $3 AND l.sku = f.sku RETURNING l.sku, f.units)
	  UPDATE stock_levels s SET reserved = s.reserved - line.units, updated_at = now() FROM line WHERE s.tenant = $1 AND s.warehouse = $3 AND s.sku = line.sku`, tenant, holdID, warehouse)
	if err != nil {
		return 0, fmt.Errorf("free hold %s: %w", holdID, err)
	}
	var keeps, short int
	err = tx.QueryRow(ctx, `SELECT coalesce(sum(picked) FILTER (WHERE warehouse = $3), 0), coalesce(sum(quantity - shorted - left_stock), 0), coalesce(sum(shorted), 0) FROM hold_lines WHERE tenant = $1 AND hold_id = $2`, tenant, holdID, warehouse).Scan(&picked, &keeps, &short)
	if err != nil {
		return 0, fmt.Errorf("free hold %s: %w", holdID, err)
	}
	switch {
	case keeps == 0:
		_, err = tx.Exec(ctx, `UPDATE holds SET status = 'released', ended_at = now(), due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2 AND status IN ('confirmed','short')`, tenant, holdID)
	case short == 0:
		_, err = tx.Exec(ctx, `UPDATE holds SET status = 'confirmed', due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'short'`, tenant, holdID)
	}
	if err != nil {
		return 0, fmt.Errorf("free hold %s: %w", holdID, err)
	}
	return picked, nil
}
