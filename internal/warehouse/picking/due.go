package picking

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/batch"
)

// UsualBudget is how long a wave looks for a better batching when nobody says.
const UsualBudget = 500 * time.Millisecond

// ByItself is who made a wave that began by itself.
const ByItself = "automatic"

// pickable is SQL that is true of a shipment s of an order o that a wave may take.
const pickable = `(s.status = 'pending' AND s.frozen_reason IS NULL AND o.status IN ('paid','in_fulfillment') AND NOT ` + order.WhollyRefunded + `)`

// Place is a tenant's warehouse.
type Place struct{ Tenant, Warehouse string }

// Automatic are the warehouses with pending shipments whose tenants have waves begin by
// themselves. tx is the system's.
func Automatic(ctx context.Context, tx pgx.Tx) ([]Place, error) {
	rows, err := tx.Query(ctx, `SELECT t.tenant, s.warehouse FROM tenants t JOIN shipments s ON s.tenant = t.tenant AND s.status = 'pending'
	  WHERE t.settings->'fulfillment'->>'waves' = $1 GROUP BY 1, 2 ORDER BY 1, 2`, tenant.Automatic)
	if err != nil {
		return nil, fmt.Errorf("warehouses with automatic waves: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Place])
	if err != nil {
		return nil, fmt.Errorf("warehouses with automatic waves: %w", err)
	}
	return list, nil
}

// ReleaseDue makes a wave in a warehouse when its tenant's rule says so: enough shipments
// wait, or the oldest has waited long enough. made is false when not, and while another
// does the same for this warehouse.
//
// A shipment that the wave could not list (no bin has a unit of it, no trolley carries
// it, nothing of it is left to pick) counts again after the tenant's oldest_minutes: what
// cannot be picked begins no wave after wave. A wave without any list leaves nothing.
func ReleaseDue(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, warehouse string) (out Released, made bool, err error) {
	rule := shop.Settings.Fulfillment.Wave
	if _, due, err := waiting(ctx, tx, shop.ID, warehouse, rule); err != nil || !due {
		return out, false, err
	}
	// One at a time decides here. That no shipment is in two waves is for Release.
	var mine bool
	err = tx.QueryRow(ctx, `SELECT true FROM warehouses WHERE tenant = $1 AND code = $2 FOR NO KEY UPDATE SKIP LOCKED`, shop.ID, warehouse).Scan(&mine)
	if errors.Is(err, pgx.ErrNoRows) {
		return out, false, nil
	}
	if err != nil {
		return out, false, fmt.Errorf("warehouse %s: %w", warehouse, err)
	}
	tried, due, err := waiting(ctx, tx, shop.ID, warehouse, rule)
	if err != nil || !due {
		return out, false, err
	}
	if out, made, err = releaseAny(ctx, tx, shop.ID, automatic(warehouse, rule)); err != nil {
		return out, false, err
	}
	// What another wave is taking meanwhile is none of ours.
	_, err = tx.Exec(ctx, `UPDATE shipments SET unallocated_at = now() WHERE tenant = $1 AND id IN (SELECT id FROM shipments WHERE tenant = $1 AND id = ANY($2) AND status = 'pending' FOR NO KEY UPDATE SKIP LOCKED)`, shop.ID, tried)
	if err != nil {
		return out, false, fmt.Errorf("shipments of %s that cannot be picked: %w", warehouse, err)
	}
	return out, made, nil
}

func automatic(warehouse string, rule tenant.Wave) Wave {
	return Wave{Warehouse: warehouse, By: rule.By, Rounds: rule.Rounds, Budget: UsualBudget, Who: stock.By{Person: ByItself},
		Trolley: batch.Load{Orders: rule.Trolley.Orders, Units: rule.Trolley.Units, WeightGrams: rule.Trolley.WeightGrams, VolumeMM3: rule.Trolley.VolumeMM3}}
}

// waiting are the shipments that a wave would take now and that count, those first that it
// would take first, and whether the rule wants a wave for them.
func waiting(ctx context.Context, tx pgx.Tx, tenantID, warehouse string, rule tenant.Wave) (ids []string, due bool, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce(array_agg(id), '{}'), count(*) >= $4 OR coalesce(min(since) <= now() - make_interval(mins => $3), false) FROM (
	    SELECT s.id, coalesce(s.unallocated_at, s.created_at) AS since FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id
	     WHERE s.tenant = $1 AND s.warehouse = $2 AND s.status = 'pending' AND (s.unallocated_at IS NULL OR s.unallocated_at <= now() - make_interval(mins => $3)) AND `+pickable+`
	     ORDER BY s.unallocated_at NULLS FIRST, s.created_at, s.id LIMIT $5) w`, tenantID, warehouse, rule.OldestMinutes, rule.AtLeast, MostOrders).Scan(&ids, &due)
	if err != nil {
		return nil, false, fmt.Errorf("shipments that wait in %s: %w", warehouse, err)
	}
	return ids, due, nil
}

// releaseAny is Release of a wave that nobody has asked for: without any list it leaves
// nothing.
func releaseAny(ctx context.Context, tx pgx.Tx, tenantID string, in Wave) (out Released, made bool, err error) {
	nested, err := tx.Begin(ctx)
	if err != nil {
		return out, false, fmt.Errorf("wave of %s: %w", in.Warehouse, err)
	}
	out, err = Release(ctx, nested, tenantID, in)
	if err == nil && len(out.Lists) > 0 {
		return out, true, wrapWave(nested.Commit(ctx), in.Warehouse)
	}
	if p, is := problem.As(err); is && p.Code == "nothing_to_pick" {
		err = nil
	}
	return out, false, errors.Join(err, wrapWave(nested.Rollback(ctx), in.Warehouse))
}

func wrapWave(err error, warehouse string) error {
	if err != nil {
		return fmt.Errorf("wave of %s: %w", warehouse, err)
	}
	return nil
}
