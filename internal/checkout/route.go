package checkout

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/tenant"
)

// RouteQuery is what an attempt at paying a checkout is like, for the choice of
// its gateway. paymentID names the attempt whose choice of method counts; empty,
// or without a choice of its own, the checkout's does. ErrNone when there is no
// such checkout.
func RouteQuery(ctx context.Context, tx pgx.Tx, tenantID, checkoutID, paymentID string) (q tenant.RouteQuery, err error) {
	err = tx.QueryRow(ctx, `SELECT c.currency, c.total, coalesce(c.shipping->>'country', ''),
	    coalesce((SELECT p.method FROM payment_choices p WHERE p.tenant = c.tenant AND p.id IN ($2, $3) ORDER BY (p.id = $3) DESC LIMIT 1), '')
	  FROM checkouts c WHERE c.tenant = $1 AND c.id = $2`, tenantID, checkoutID, paymentID).Scan(&q.Currency, &q.Amount, &q.Country, &q.Method)
	if errors.Is(err, pgx.ErrNoRows) {
		return q, fmt.Errorf("%w: %s", ErrNone, checkoutID)
	}
	if err != nil {
		return q, fmt.Errorf("route of checkout %s: %w", checkoutID, err)
	}
	return q, nil
}
