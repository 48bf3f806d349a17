package counting

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/problem"
)

// Threshold is how many units of a SKU should be there to be sold at least.
type Threshold struct {
	SKU       string `json:"sku"`
	Warehouse string `json:"warehouse"`
	Units     *int   `json:"units"` // null: nobody is told
	Available int    `json:"available"`
	Alert     bool   `json:"alert"` // fewer are there now
}

// SetThreshold sets, or with nil removes, the limit below which an alert is
// raised; a level that is below already is one. It is 404 for a SKU that does not
// exist and 422 unknown_warehouse.
func SetThreshold(ctx context.Context, tx pgx.Tx, tenant, sku, warehouse string, units *int) (Threshold, error) {
	t := Threshold{SKU: sku, Warehouse: warehouse, Units: units}
	var f problem.Fields
	checkWarehouse(&f, warehouse)
	if units != nil && (*units < 1 || *units > 1_000_000_000) {
		f.Add("units", "out_of_range", "1 to 1000000000, or null to remove it")
	}
	if err := f.Err(); err != nil {
		return t, err
	}
	exists, err := catalog.Exists(ctx, tx, tenant, sku)
	if err != nil {
		return t, err
	}
	if !exists {
		return t, problem.Missing("product")
	}
	there, err := warehouseExists(ctx, tx, tenant, warehouse)
	if err != nil {
		return t, err
	}
	if !there {
		return t, unknownWarehouse()
	}
	_, err = tx.Exec(ctx, `INSERT INTO stock_levels (tenant, sku, warehouse) VALUES ($1,$2,$3) ON CONFLICT DO NOTHING`, tenant, sku, warehouse)
	if err != nil {
		return t, fmt.Errorf("stock level %s in %s: %w", sku, warehouse, err)
	}
	err = tx.QueryRow(ctx, `UPDATE stock_levels SET alert_below = $4 WHERE tenant = $1 AND sku = $2 AND warehouse = $3 RETURNING on_hand - reserved, coalesce(on_hand - reserved < alert_below, false)`,
		tenant, sku, warehouse, units).Scan(&t.Available, &t.Alert)
	if err != nil {
		return t, fmt.Errorf("threshold of %s in %s: %w", sku, warehouse, err)
	}
	return t, nil
}

// Alert is one time that a SKU fell below its threshold.
type Alert struct {
	ID        int64      `json:"id"`
	SKU       string     `json:"sku"`
	Warehouse string     `json:"warehouse"`
	Threshold int        `json:"threshold"`
	Available int        `json:"available"` // when it fell below
	Now       int        `json:"available_now"`
	OpenedAt  time.Time  `json:"opened_at"`
	ClosedAt  *time.Time `json:"closed_at"` // when there was enough again
}

// Alerts lists crossings, the newest first, those before the id given (0: from
// the newest). open chooses those that are open, or those that are closed; nil all.
func Alerts(ctx context.Context, tx pgx.Tx, tenant string, open *bool, before int64, limit int) ([]Alert, error) {
	rows, err := tx.Query(ctx, `SELECT a.id, a.sku, a.warehouse, a.threshold, a.available, l.on_hand - l.reserved, a.opened_at, a.closed_at FROM stock_alerts a
	    JOIN stock_levels l ON l.tenant = a.tenant AND l.sku = a.sku AND l.warehouse = a.warehouse
	  WHERE a.tenant = $1 AND ($2::boolean IS NULL OR $2 = (a.closed_at IS NULL)) AND ($3 = 0 OR a.id < $3) ORDER BY a.id DESC LIMIT $4`, tenant, open, before, limit)
	if err != nil {
		return nil, fmt.Errorf("stock alerts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Alert])
	if err != nil {
		return nil, fmt.Errorf("stock alerts: %w", err)
	}
	return list, nil
}
