package gateways

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/refund"
)

// Source gives a tenant's gateways: a Registry, for one.
type Source interface {
	Gateway(ctx context.Context, tenantID string, name payment.Name) (payment.Gateway, error)
}

// Refundable reads what the gateways of an order's payments can do, before the
// transaction that decides on a refund. A gateway without credentials is not known.
func Refundable(ctx context.Context, db *postgres.DB, of Source, tenantID, orderID string) (refund.Able, error) {
	var names []payment.Name
	err := db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT DISTINCT gateway FROM payments WHERE tenant = $1 AND (order_id = $2 OR checkout_id = $2)`, tenantID, orderID)
		if err != nil {
			return err
		}
		names, err = pgx.CollectRows(rows, pgx.RowTo[payment.Name])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("gateways of order %s: %w", orderID, err)
	}
	known := map[payment.Name]payment.Capabilities{}
	for _, name := range names {
		g, err := of.Gateway(ctx, tenantID, name)
		switch {
		case err == nil:
			known[name] = g.Capabilities()
		case !errors.Is(err, ErrNotConfigured):
			return nil, err
		}
	}
	return func(name payment.Name) (payment.Capabilities, bool) {
		can, ok := known[name]
		return can, ok
	}, nil
}
