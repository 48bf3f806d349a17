// Package place knows what lies where in a warehouse: its plan and its bins,
// the units in them by lot, serial and status, and the way that each of them
// came and went. The quantities themselves are package stock's; what is done by
// hand with units in bins is here, one function for each thing that an operator
// does.
//
// Every function works in a transaction of its caller that sees one tenant.
// Refusals are problem.Errors, and after one the caller's transaction can go on.
package place

import (
	"context"
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // a host without zones would end lots on another day

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/tenant"
)

// Today is the day by the tenant's clock, as midnight UTC: the form in which
// days of expiry are kept.
func Today(ctx context.Context, tx pgx.Tx, tenantID string) (time.Time, error) {
	t, err := tenant.Get(ctx, tx, tenantID)
	if err != nil {
		return time.Time{}, err
	}
	zone, err := time.LoadLocation(t.Settings.TimeZone)
	if err != nil {
		return time.Time{}, fmt.Errorf("time zone of tenant %s: %w", tenantID, err)
	}
	var now time.Time
	if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return time.Time{}, fmt.Errorf("database time: %w", err)
	}
	y, m, d := now.In(zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC), nil
}

// exists demands that the tenant has the warehouse.
func exists(ctx context.Context, tx pgx.Tx, tenantID, warehouse string) error {
	var there bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM warehouses WHERE tenant = $1 AND code = $2)`, tenantID, warehouse).Scan(&there)
	if err != nil {
		return fmt.Errorf("warehouse %s: %w", warehouse, err)
	}
	if !there {
		return problem.Missing("warehouse")
	}
	return nil
}

// lockLevels locks what all warehouses have of a SKU, in their order, and
// demands that there is such a product. Stock is locked before anything else.
func lockLevels(ctx context.Context, tx pgx.Tx, tenantID, sku string) error {
	if _, err := tx.Exec(ctx, `SELECT FROM stock_levels WHERE tenant = $1 AND sku = $2 ORDER BY warehouse FOR UPDATE`, tenantID, sku); err != nil {
		return fmt.Errorf("stock of %s: %w", sku, err)
	}
	return nil
}

// in runs fn in a savepoint, so that a refusal leaves the caller's transaction
// as it was.
func in[T any](ctx context.Context, tx pgx.Tx, fn func(tx pgx.Tx) (T, error)) (T, error) {
	var out T
	err := pgx.BeginFunc(ctx, tx, func(sub pgx.Tx) (err error) {
		out, err = fn(sub)
		return err
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return out, nil
}

// day is a date as the API writes it; nil stays nil.
func day(t *time.Time) *string {
	if t == nil {
		return nil
	}
	s := t.Format(time.DateOnly)
	return &s
}

func none(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
