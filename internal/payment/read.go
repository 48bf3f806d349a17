package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Resource is a payment as support sees it in the API. Amounts are in minor
// units, times UTC.
type Resource struct {
	ID               string  `json:"id"`
	CheckoutID       *string `json:"checkout_id"`
	OrderID          *string `json:"order_id"`
	Number           *string `json:"number"` // the order number that people read
	Gateway          Name    `json:"gateway"`
	Status           Status  `json:"status"`
	Amount           int64   `json:"amount"`
	Currency         string  `json:"currency"`
	Method           string  `json:"method,omitempty"`
	Installments     int     `json:"installments"`
	CardLast4        string  `json:"card_last4,omitempty"`
	Reference        string  `json:"reference,omitempty"`
	Applied          bool    `json:"applied"`
	NotAppliedReason *string `json:"not_applied_reason"`
	// UnderPayment is set on a further approval that the provider has under the
	// reference of that payment.
	UnderPayment *string `json:"under_payment,omitempty"`
	Captured     int64   `json:"captured"`
	// Refunded is ours, RefundedElsewhere what went back at the provider
	// without our asking.
	Refunded          int64  `json:"refunded"`
	RefundedElsewhere int64  `json:"refunded_elsewhere"`
	Fee               int64  `json:"fee"`
	Risk              string `json:"risk,omitempty"`
	Review            bool   `json:"review"`
	// CaptureUntil is when an authorization lapses; CaptureAmount what somebody
	// wants captured of it, VoidReason why it is to be given back.
	CaptureUntil  *time.Time      `json:"capture_until"`
	CaptureAmount *int64          `json:"capture_amount"`
	VoidReason    *string         `json:"void_reason"`
	Code          string          `json:"code,omitempty"`
	Captures      []CaptureRecord `json:"captures"`
	Disputes      []DisputeRecord `json:"disputes"`
	CreatedAt     time.Time       `json:"created_at"`
	UpdatedAt     time.Time       `json:"updated_at"`
}

// CaptureRecord is money that was taken.
type CaptureRecord struct {
	Amount     int64     `json:"amount"`
	Currency   string    `json:"currency"`
	Reference  string    `json:"reference,omitempty"`
	CapturedAt time.Time `json:"captured_at"`
}

// Read reads a payment with what was taken and what is disputed.
// ErrNoPayment when there is none.
func Read(ctx context.Context, tx pgx.Tx, tenant, paymentID string) (Resource, error) {
	r := Resource{Captures: []CaptureRecord{}, Disputes: []DisputeRecord{}}
	err := tx.QueryRow(ctx, `SELECT p.id, p.checkout_id, p.order_id, coalesce(c.number, o.number), p.gateway, p.status, p.amount, p.currency, p.method, p.installments, p.card_last4, p.reference, p.applied, p.not_applied_reason, p.under_payment,
	     p.captured_amount, p.refunded_amount, p.refunded_elsewhere, p.fee_amount, p.risk, p.review, CASE WHEN p.status = 'authorized' THEN p.capture_until END, p.capture_amount, p.void_reason, p.code, p.created_at, p.updated_at
	  FROM payments p LEFT JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id LEFT JOIN orders o ON o.tenant = p.tenant AND o.id = p.order_id WHERE p.tenant = $1 AND p.id = $2`, tenant, paymentID).
		Scan(&r.ID, &r.CheckoutID, &r.OrderID, &r.Number, &r.Gateway, &r.Status, &r.Amount, &r.Currency, &r.Method, &r.Installments, &r.CardLast4, &r.Reference, &r.Applied, &r.NotAppliedReason, &r.UnderPayment,
			&r.Captured, &r.Refunded, &r.RefundedElsewhere, &r.Fee, &r.Risk, &r.Review, &r.CaptureUntil, &r.CaptureAmount, &r.VoidReason, &r.Code, &r.CreatedAt, &r.UpdatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, fmt.Errorf("%w: %s", ErrNoPayment, paymentID)
	}
	if err != nil {
		return r, fmt.Errorf("read payment %s: %w", paymentID, err)
	}
	rows, err := tx.Query(ctx, `SELECT amount, currency, reference, captured_at FROM captures WHERE tenant = $1 AND payment_id = $2 ORDER BY id`, tenant, paymentID)
	if err != nil {
		return r, fmt.Errorf("captures of payment %s: %w", paymentID, err)
	}
	if r.Captures, err = pgx.AppendRows(r.Captures, rows, pgx.RowToStructByPos[CaptureRecord]); err != nil {
		return r, fmt.Errorf("captures of payment %s: %w", paymentID, err)
	}
	disputes, err := DisputesOf(ctx, tx, tenant, paymentID)
	r.Disputes = append(r.Disputes, disputes...)
	return r, err
}
