package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Why a captured sum is not what an order is worth, or an order has no money
// any more: codes of an order's attention.
const (
	// ReasonLapsed: nobody captured the authorization in time. It is also why such
	// a payment is applied to nothing.
	ReasonLapsed = "authorization_lapsed"
	// ReasonVoided: we gave the authorization back.
	ReasonVoided = "authorization_voided"
	// ReasonCapturedLess: less was captured than the order costs.
	ReasonCapturedLess = "captured_less_than_total"
)

// Refusals of AskCapture and AskVoid; the texts are codes of the API.
var (
	ErrNotAuthorized     = errors.New("not_authorized")
	ErrCaptureWindowOver = errors.New("capture_window_over")
	ErrCapturedOtherwise = errors.New("captured_another_amount")
	ErrAlreadyCaptured   = errors.New("already_captured")
	ErrCaptureAsked      = errors.New("capture_in_progress")
	ErrVoidAsked         = errors.New("void_in_progress")
	ErrCaptureAmount     = errors.New("above_authorized")
)

// captureDue is how long a capture or void that was asked for may take before
// it is late.
const captureDue = 10 * time.Minute

// AskCapture writes that amount (minor units; zero: all) of an authorization is
// to be captured. done is true when exactly that was captured before. The same
// again changes nothing; the errors are the refusals above.
func AskCapture(ctx context.Context, tx pgx.Tx, tenant, paymentID string, amount int64) (p Payment, done bool, err error) {
	if p, err = Lock(ctx, tx, tenant, paymentID); err != nil {
		return p, false, err
	}
	if amount == 0 {
		amount = p.Amount
	}
	switch {
	case p.Captured > 0 && p.Captured == amount:
		return p, true, nil
	case p.Captured > 0:
		return p, false, ErrCapturedOtherwise
	case p.Status != StatusAuthorized:
		return p, false, ErrNotAuthorized
	case p.VoidReason != "" || p.VoidTriedAt != nil:
		return p, false, ErrVoidAsked
	case amount > p.Amount:
		return p, false, ErrCaptureAmount
	case p.CaptureAmount != 0 && p.CaptureAmount != amount:
		return p, false, ErrCaptureAsked
	case p.CaptureAmount == 0 && p.CaptureUntil != nil && p.CaptureUntil.Before(time.Now()):
		return p, false, ErrCaptureWindowOver
	case p.CaptureAmount == amount:
		return p, false, nil
	}
	voids, err := VoidedByRefund(ctx, tx, tenant, paymentID)
	if err != nil {
		return p, false, err
	}
	if voids {
		return p, false, ErrVoidAsked
	}
	p.CaptureAmount = amount
	_, err = tx.Exec(ctx, `UPDATE payments SET capture_amount = $3, due_at = now() + make_interval(secs => $4), updated_at = now() WHERE tenant = $1 AND id = $2`,
		tenant, paymentID, amount, captureDue.Seconds())
	if err != nil {
		return p, false, fmt.Errorf("ask for the capture of payment %s: %w", paymentID, err)
	}
	return p, false, nil
}

// AskVoid writes that an authorization is to be given back, and why. done is
// true when we gave it back before.
func AskVoid(ctx context.Context, tx pgx.Tx, tenant, paymentID, reason string) (p Payment, done bool, err error) {
	if p, err = Lock(ctx, tx, tenant, paymentID); err != nil {
		return p, false, err
	}
	switch {
	case p.Status == StatusCancelled && p.VoidTriedAt != nil:
		return p, true, nil
	case p.Captured > 0:
		return p, false, ErrAlreadyCaptured
	case p.Status != StatusAuthorized:
		return p, false, ErrNotAuthorized
	case p.CaptureAmount != 0:
		return p, false, ErrCaptureAsked
	case p.VoidReason != "":
		return p, false, nil
	}
	p.VoidReason = reason
	_, err = tx.Exec(ctx, `UPDATE payments SET void_reason = $3, due_at = now() + make_interval(secs => $4), updated_at = now() WHERE tenant = $1 AND id = $2`,
		tenant, paymentID, reason, captureDue.Seconds())
	if err != nil {
		return p, false, fmt.Errorf("ask for the void of payment %s: %w", paymentID, err)
	}
	return p, false, nil
}

// VoidedByRefund reports whether a refund of the order gives the authorization
// up, or did.
func VoidedByRefund(ctx context.Context, tx pgx.Tx, tenant, paymentID string) (yes bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM refunds WHERE tenant = $1 AND payment_id = $2 AND method = 'void' AND status <> 'failed')`, tenant, paymentID).Scan(&yes)
	if err != nil {
		return false, fmt.Errorf("voids of payment %s: %w", paymentID, err)
	}
	return yes, nil
}

// Unask takes back what AskCapture or AskVoid wrote and is not done: the
// authorization stands as before. That something was tried is remembered, so
// that the gateway is asked before anything is tried again.
func Unask(ctx context.Context, tx pgx.Tx, tenant, paymentID string) error {
	_, err := tx.Exec(ctx, `UPDATE payments SET capture_amount = NULL, void_reason = NULL, capture_tried_at = coalesce(capture_tried_at, void_tried_at), void_tried_at = NULL, due_at = `+authorizedDue+`, updated_at = now()
	   WHERE tenant = $1 AND id = $2 AND status = 'authorized'`, tenant, paymentID)
	if err != nil {
		return fmt.Errorf("payment %s is neither captured nor voided: %w", paymentID, err)
	}
	return nil
}

// authorizedDue is when a person must hear of an authorization that nobody
// captures: a day before it lapses, or after six days where nobody knows when
// that is.
const authorizedDue = `coalesce(capture_until - interval '24 hours', now() + interval '6 days')`

// unapply takes an authorization that is gone off the order that it paid. The
// order stays, and a person decides about it.
func unapply(ctx context.Context, tx pgx.Tx, tenant, paymentID, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE payments SET applied = false, not_applied_reason = $3, updated_at = now() WHERE tenant = $1 AND id = $2`, tenant, paymentID, reason)
	if err != nil {
		return fmt.Errorf("payment %s pays nothing any more: %w", paymentID, err)
	}
	return nil
}
