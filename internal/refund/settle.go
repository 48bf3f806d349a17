package refund

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
	"justlogistics/internal/timeline"
)

// Settle gives a request that waits for its payment the parts that it is paid
// by, or ends it as failed when there is nothing to give back. While the payment
// is not settled it only moves due_at, to dueIn from now. A request that waits
// no more is left alone. able must know the payment's gateway.
func Settle(ctx context.Context, tx pgx.Tx, tenant, requestID string, able Able, dueIn time.Duration) error {
	var orderID, paymentID, method string
	var amount int64
	var currency money.Currency
	var waits bool
	err := tx.QueryRow(ctx, `SELECT q.order_id, coalesce(q.payment_id, ''), q.method, q.amount, q.currency, q.waits
	   FROM refund_requests q JOIN orders o ON o.tenant = q.tenant AND o.id = q.order_id WHERE q.tenant = $1 AND q.id = $2 FOR UPDATE OF o, q`, tenant, requestID).
		Scan(&orderID, &paymentID, &method, &amount, &currency, &waits)
	if err != nil {
		return fmt.Errorf("refund %s: %w", requestID, err)
	}
	if !waits {
		return nil
	}
	from, err := sources(ctx, tx, tenant, orderID, paymentID)
	if err != nil {
		return err
	}
	if len(from) == 1 && from[0].Unsettled {
		_, err := tx.Exec(ctx, `UPDATE refund_requests SET due_at = now() + $3::interval WHERE tenant = $1 AND id = $2`, tenant, requestID, dueIn)
		if err != nil {
			return fmt.Errorf("refund %s waits: %w", requestID, err)
		}
		return nil
	}
	if _, err := tx.Exec(ctx, `UPDATE refund_requests SET waits = false, due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2`, tenant, requestID); err != nil {
		return fmt.Errorf("refund %s waits no more: %w", requestID, err)
	}
	if len(from) == 0 || !from[0].Status.Approved() {
		return fail(ctx, tx, tenant, requestID, orderID, paymentID, amount, currency, CodeNotCaptured, "the payment came to nothing")
	}
	if amount <= from[0].Left {
		var parts []part
		if parts, err = pay(amount, from, method, currency, able); err == nil {
			return addParts(ctx, tx, tenant, requestID, orderID, parts)
		}
	} else {
		err = nothingLeft(from[0].Left)
	}
	var p *problem.Error
	if !errors.As(err, &p) {
		return err
	}
	code := p.Code
	if r := from[0].refusal(min(amount, from[0].Left), method, currency, able); r != "" {
		code = r
	}
	return fail(ctx, tx, tenant, requestID, orderID, paymentID, amount, currency, code, p.Detail)
}

// GiveUp ends a request that waits for its payment and has no parts yet,
// because a person decided so.
func GiveUp(ctx context.Context, tx pgx.Tx, tenant, requestID string) error {
	var orderID, paymentID string
	var amount int64
	var currency money.Currency
	err := tx.QueryRow(ctx, `UPDATE refund_requests SET waits = false, due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2 AND waits RETURNING order_id, payment_id, amount, currency`, tenant, requestID).
		Scan(&orderID, &paymentID, &amount, &currency)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("give up refund %s: %w", requestID, err)
	}
	return fail(ctx, tx, tenant, requestID, orderID, paymentID, amount, currency, payment.CodeGivenUp, "given up by support")
}

// fail ends a request without parts: a part that was never made says why.
func fail(ctx context.Context, tx pgx.Tx, tenant, requestID, orderID, paymentID string, amount int64, currency money.Currency, code, message string) error {
	_, err := tx.Exec(ctx, `INSERT INTO refunds (tenant, id, payment_id, order_id, request_id, amount, currency, reason, status, code, message) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,'failed',$9,$10)`,
		tenant, id.New(), paymentID, orderID, requestID, amount, currency, Requested, code, message)
	if err != nil {
		return fmt.Errorf("end refund %s: %w", requestID, err)
	}
	if err := payment.ReleaseBookings(ctx, tx, tenant, requestID, amount); err != nil {
		return err
	}
	return timeline.Add(ctx, tx, tenant, orderID, "refund_failed", "system", map[string]any{"refund_id": requestID, "amount": amount, "code": code})
}
