package stock

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Missing are the units that a hold has lost and that nothing stands in for, by SKU.
func Missing(ctx context.Context, tx pgx.Tx, tenant, holdID string) ([]Want, error) {
	rows, err := tx.Query(ctx, `SELECT sku, sum(shorted)::int FROM hold_lines WHERE tenant = $1 AND hold_id = $2 AND shorted > 0 GROUP BY sku ORDER BY sku`, tenant, holdID)
	if err != nil {
		return nil, fmt.Errorf("what hold %s has lost: %w", holdID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Want])
	if err != nil {
		return nil, fmt.Errorf("what hold %s has lost: %w", holdID, err)
	}
	return list, nil
}

// TakenOff is what TakeOff took off a hold, and what the hold still is for.
type TakenOff struct {
	Units []Want
	// Keeps are units that are still to leave, Left those that have.
	Keeps, Left int
}

// TakeOff ends the promise of what a paid order's short hold has lost: from now on
// nothing is looked for, and what comes in is for others. The hold is confirmed with
// the rest, or released when it is for nothing any more. On a hold that is not short
// it does nothing.
func TakeOff(ctx context.Context, tx pgx.Tx, tenant, holdID string) (TakenOff, error) {
	var out TakenOff
	if err := LockHold(ctx, tx, tenant, holdID); err != nil {
		return out, err
	}
	tag, err := tx.Exec(ctx, `SELECT FROM holds WHERE tenant = $1 AND id = $2 AND status = 'short' AND confirmed_at IS NOT NULL FOR UPDATE`, tenant, holdID)
	if err != nil {
		return out, fmt.Errorf("take units off hold %s: %w", holdID, err)
	}
	if tag.RowsAffected() == 0 {
		return out, nil
	}
	if out.Units, err = Missing(ctx, tx, tenant, holdID); err != nil {
		return out, err
	}
	_, err = tx.Exec(ctx, `UPDATE hold_lines SET quantity = quantity - shorted, shorted = 0, from_set_aside = least(from_set_aside, quantity - shorted) WHERE tenant = $1 AND hold_id = $2 AND shorted > 0`, tenant, holdID)
	if err != nil {
		return out, fmt.Errorf("take units off hold %s: %w", holdID, err)
	}
	err = tx.QueryRow(ctx, `SELECT coalesce(sum(quantity - left_stock), 0), coalesce(sum(left_stock), 0) FROM hold_lines WHERE tenant = $1 AND hold_id = $2`, tenant, holdID).Scan(&out.Keeps, &out.Left)
	if err != nil {
		return out, fmt.Errorf("take units off hold %s: %w", holdID, err)
	}
	_, err = tx.Exec(ctx, `UPDATE holds SET status = CASE WHEN $3 THEN 'confirmed' ELSE 'released' END, ended_at = CASE WHEN $3 THEN ended_at ELSE now() END, due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2`,
		tenant, holdID, out.Keeps+out.Left > 0)
	if err != nil {
		return out, fmt.Errorf("take units off hold %s: %w", holdID, err)
	}
	return out, nil
}
