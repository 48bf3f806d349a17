package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/postgres"
)

// Reasons of refunds that we decide ourselves. A payment gets one of these at
// most once (a unique index), however often the news of it comes.
const (
	ReasonDuplicate = "duplicate_payment"
	ReasonLate      = "late_payment"
	ReasonCancelled = "cancelled_checkout"
	ReasonMismatch  = "mismatch"
)

// RefundRecord is a refund as it is recorded.
type RefundRecord struct {
	ID             string
	PaymentID      string
	CheckoutID     string
	OrderID        string
	Amount         int64 // minor units
	Currency       money.Currency
	Reason         string
	Status         string
	Reference      string
	RefundedBefore int64
	TriedAt        *time.Time
	Code           string
	CreatedAt      time.Time
}

// IntendRefund books amount of a payment to be given back and returns the
// refund's id; the same reason for the same payment again returns the first
// one's. The database refuses a sum beyond what was captured.
func IntendRefund(ctx context.Context, tx pgx.Tx, tenant string, p Payment, amount int64, reason string) (string, error) {
	var existing string
	err := tx.QueryRow(ctx, `SELECT id FROM refunds WHERE tenant = $1 AND payment_id = $2 AND reason = $3 AND origin = 'ours' AND status <> 'failed'`, tenant, p.ID, reason).Scan(&existing)
	if err == nil {
		return existing, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("refund of payment %s: %w", p.ID, err)
	}
	refundID := id.New()
	_, err = tx.Exec(ctx, `INSERT INTO refunds (tenant, id, payment_id, order_id, amount, currency, reason, status, refunded_before, due_at)
	  SELECT $1, $2, p.id, p.order_id, $4, p.currency, $5, 'pending', p.refunded_amount, now() + interval '10 minutes' FROM payments p WHERE p.tenant = $1 AND p.id = $3`,
		tenant, refundID, p.ID, amount, reason)
	if err != nil {
		return "", fmt.Errorf("book refund of payment %s: %w", p.ID, err)
	}
	return refundID, nil
}

const refundColumns = `r.id, r.payment_id, coalesce(p.checkout_id,''), coalesce(r.order_id,''), r.amount, r.currency, r.reason, r.status, r.reference, r.refunded_before, r.tried_at, r.code, r.created_at`

// LoadRefund reads a refund and its payment.
func LoadRefund(ctx context.Context, tx pgx.Tx, tenant, refundID string) (RefundRecord, Payment, error) {
	var r RefundRecord
	err := tx.QueryRow(ctx, `SELECT `+refundColumns+` FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE r.tenant = $1 AND r.id = $2`, tenant, refundID).
		Scan(&r.ID, &r.PaymentID, &r.CheckoutID, &r.OrderID, &r.Amount, &r.Currency, &r.Reason, &r.Status, &r.Reference, &r.RefundedBefore, &r.TriedAt, &r.Code, &r.CreatedAt)
	if err != nil {
		return r, Payment{}, fmt.Errorf("refund %s: %w", refundID, err)
	}
	p, err := Load(ctx, tx, tenant, r.PaymentID)
	return r, p, err
}

// AnnounceRefund writes that the provider is about to be asked and returns
// whether it may have been asked before.
func AnnounceRefund(ctx context.Context, tx pgx.Tx, tenant, refundID string) (tried bool, err error) {
	err = tx.QueryRow(ctx, `UPDATE refunds r SET tried_at = coalesce(r.tried_at, now()), updated_at = now() FROM (SELECT tried_at FROM refunds WHERE tenant = $1 AND id = $2 FOR UPDATE) before
	   WHERE r.tenant = $1 AND r.id = $2 RETURNING before.tried_at IS NOT NULL`, tenant, refundID).Scan(&tried)
	if err != nil {
		return false, fmt.Errorf("announce refund %s: %w", refundID, err)
	}
	return tried, nil
}

// PutRefund records a refund's status and, when money went back, moves the
// payment along. dueIn is when it must have moved if it is not settled.
func PutRefund(ctx context.Context, tx pgx.Tx, tenant, refundID, status string, a RefundAnswer, dueIn time.Duration) error {
	var paymentID string
	var amount int64
	err := tx.QueryRow(ctx, `UPDATE refunds SET status = $3, reference = CASE WHEN $4 = '' THEN reference ELSE $4 END, code = $5, message = $6, updated_at = now(),
	     due_at = CASE WHEN $3 IN ('pending','unknown') THEN now() + make_interval(secs => $7) END
	   WHERE tenant = $1 AND id = $2 RETURNING payment_id, amount`, tenant, refundID, status, a.Reference, a.Code, clip(a.Message, 300), dueIn.Seconds()).Scan(&paymentID, &amount)
	if err != nil {
		return fmt.Errorf("record %s on refund %s: %w", status, refundID, err)
	}
	if status != "succeeded" && status != "failed" {
		return nil
	}
	_, err = tx.Exec(ctx, `UPDATE payments p SET updated_at = now(), status = CASE
	       WHEN p.captured_amount = 0 THEN p.status
	       WHEN back.sum >= p.captured_amount THEN 'refunded' WHEN back.sum > 0 THEN 'partially_refunded' ELSE 'captured' END
	  FROM (SELECT coalesce(sum(amount), 0) AS sum FROM refunds WHERE tenant = $1 AND payment_id = $2 AND status = 'succeeded') back
	 WHERE p.tenant = $1 AND p.id = $2 AND p.status IN ('captured','partially_refunded','refunded')`, tenant, paymentID)
	if err != nil {
		return fmt.Errorf("payment %s after refund %s: %w", paymentID, refundID, err)
	}
	return nil
}

// TooMuchBack reports whether err is the database's refusal to give back more
// than was taken.
func TooMuchBack(err error) bool { return postgres.Violates(err, "no_more_back_than_taken") }
