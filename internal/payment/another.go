package payment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
)

// Another records an approval that the provider has under the reference of p
// beside the one that p is: a payment of its own, under the provider's name for
// it, that nobody began and that can be paid no more. The caller holds the lock
// of p's checkout. recorded is true the first time; ok is false when the
// approval is that of an attempt which has its own row.
func Another(ctx context.Context, tx pgx.Tx, tenant string, p Payment, a Answer) (other Payment, recorded, ok bool, err error) {
	if a.CaptureRef == "" || a.Outcome != OutcomeApproved {
		return other, false, false, nil
	}
	var knownID, under string
	err = tx.QueryRow(ctx, `SELECT coalesce(max(id), ''), coalesce(max(under_payment), '') FROM payments WHERE tenant = $1 AND gateway = $2 AND capture_ref = $3`, tenant, p.Gateway, a.CaptureRef).Scan(&knownID, &under)
	if err != nil {
		return other, false, false, fmt.Errorf("approval %s beside payment %s: %w", a.CaptureRef, p.ID, err)
	}
	if knownID != "" {
		if under != p.ID {
			return other, false, false, nil
		}
		other, err = Lock(ctx, tx, tenant, knownID)
		return other, false, err == nil, err
	}
	amount, currency := a.Amount, a.Currency
	if amount <= 0 {
		amount = p.Amount
	}
	if currency == "" {
		currency = p.Currency
	}
	otherID := id.New()
	_, err = tx.Exec(ctx, `INSERT INTO payments (tenant, id, checkout_id, attempt, gateway, amount, currency, status, account, live_mode, reference, capture_ref, begun_at, closed, under_payment, due_at)
	  SELECT tenant, $3, checkout_id, (SELECT max(attempt) + 1 FROM payments n WHERE n.tenant = p.tenant AND n.checkout_id = p.checkout_id), gateway, $4, $5, 'pending', account, live_mode, $6, $6,
	         coalesce(begun_at, now()), true, id, now() + interval '10 minutes' FROM payments p WHERE tenant = $1 AND id = $2`,
		tenant, p.ID, otherID, amount, currency, a.CaptureRef)
	if err != nil {
		return other, false, false, fmt.Errorf("record approval %s beside payment %s: %w", a.CaptureRef, p.ID, err)
	}
	if other, err = Lock(ctx, tx, tenant, otherID); err != nil {
		return other, false, false, err
	}
	a.Reference = a.CaptureRef // p's own names what the buyer was sent to
	if err := Put(ctx, tx, tenant, other, a, After(other.Status, a, StatusExpired), true); err != nil {
		return other, false, false, err
	}
	other, err = Lock(ctx, tx, tenant, otherID)
	return other, true, err == nil, err
}
