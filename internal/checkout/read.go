package checkout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/payment"
	"justlogistics/internal/stock"
)

// Resource is a checkout as the API shows it. Amounts are in minor units.
type Resource struct {
	ID                string           `json:"id"`
	Status            Status           `json:"status"`
	Number            string           `json:"number"`
	Channel           string           `json:"channel"`
	ExpiresAt         *time.Time       `json:"expires_at"`
	OrderID           *string          `json:"order_id"`
	Items             []ResourceItem   `json:"items"`
	Totals            Totals           `json:"totals"`
	Customer          json.RawMessage  `json:"customer"`
	Shipping          json.RawMessage  `json:"shipping"`
	Reservation       *HeldStock       `json:"reservation"`
	Payment           *Attempt         `json:"payment"`
	Payments          []Attempt        `json:"payments"`
	Failure           *Failure         `json:"failure"`
	CancelRequestedAt *time.Time       `json:"cancel_requested_at"`
	DiscountCode      *string          `json:"discount_code"`
	CustomerRef       string           `json:"customer_ref,omitempty"`
	Replaces          *string          `json:"replaces,omitempty"`
	Metadata          json.RawMessage  `json:"metadata"`
	CreatedAt         time.Time        `json:"created_at"`
	UpdatedAt         time.Time        `json:"updated_at"`
	Workflow          *Workflow        `json:"workflow,omitempty"`
	RunID             string           `json:"-"`
	ReturnURL         string           `json:"-"`
	Gateway           string           `json:"-"` // as asked for: a name, or auto
	Shortages         []stock.Shortage `json:"-"`
}

// ResourceItem is a line.
type ResourceItem struct {
	SKU       string `json:"sku"`
	Name      string `json:"name"`
	Quantity  int    `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
	Total     int64  `json:"total"`
}

// Totals add up: total is items less discount plus shipping. Tax is the IVA
// within it.
type Totals struct {
	Items    int64  `json:"items"`
	Discount int64  `json:"discount"`
	Shipping int64  `json:"shipping"`
	Tax      int64  `json:"tax"`
	Total    int64  `json:"total"`
	Currency string `json:"currency"`
}

// HeldStock is the hold behind a checkout.
type HeldStock struct {
	ID     string       `json:"id"`
	Status string       `json:"status"`
	Lines  []stock.Line `json:"lines"`
}

// Attempt is one attempt at payment as the API shows it.
type Attempt struct {
	ID        string         `json:"id"`
	Gateway   payment.Name   `json:"gateway"`
	Status    payment.Status `json:"status"`
	Amount    int64          `json:"amount"`
	Currency  string         `json:"currency"`
	Method    string         `json:"method,omitempty"`
	CardLast4 string         `json:"card_last4,omitempty"`
	Captured  int64          `json:"captured"`
	Refunded  int64          `json:"refunded"`
	Applied   bool           `json:"applied"`
	// Fee and Risk are the provider's, for staff: see ForBuyers.
	Fee       int64             `json:"fee,omitempty"`
	Risk      string            `json:"risk,omitempty"`
	ExpiresAt *time.Time        `json:"expires_at"`
	Redirect  *payment.Redirect `json:"redirect,omitempty"`
	Failure   *Failure          `json:"failure"`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
	// begun is false for a further approval under the reference of another.
	begun bool
}

// Failure says why something did not come about.
type Failure struct {
	Code    string           `json:"code"`
	Message string           `json:"message"`
	Lines   []stock.Shortage `json:"lines,omitempty"`
}

// Workflow names the run that looks after something, for support.
type Workflow struct {
	ID    string `json:"id"`
	RunID string `json:"run_id,omitempty"`
	URL   string `json:"url,omitempty"`
}

// Read reads a checkout for the API. ErrNone when there is no such checkout.
func Read(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string) (Resource, error) {
	c := Resource{ID: checkoutID, Items: []ResourceItem{}, Payments: []Attempt{}}
	var failureCode, failureMessage *string
	var failureLines []byte
	b := &pgx.Batch{}
	b.Queue(`SELECT status, number, channel, expires_at, order_id, items_total, discount_total, shipping_total, tax_total, total, currency, customer, shipping,
	    failure_code, failure_message, failure_lines, cancel_requested_at, discount_code, customer_ref, replaces, metadata, created_at, updated_at, run_id, return_url, gateway
	  FROM checkouts WHERE tenant = $1 AND id = $2`, tenantID, checkoutID).QueryRow(func(row pgx.Row) error {
		return row.Scan(&c.Status, &c.Number, &c.Channel, &c.ExpiresAt, &c.OrderID, &c.Totals.Items, &c.Totals.Discount, &c.Totals.Shipping, &c.Totals.Tax, &c.Totals.Total, &c.Totals.Currency, &c.Customer, &c.Shipping,
			&failureCode, &failureMessage, &failureLines, &c.CancelRequestedAt, &c.DiscountCode, &c.CustomerRef, &c.Replaces, &c.Metadata, &c.CreatedAt, &c.UpdatedAt, &c.RunID, &c.ReturnURL, &c.Gateway)
	})
	b.Queue(`SELECT sku, name, quantity, unit_price, total FROM checkout_lines WHERE tenant = $1 AND checkout_id = $2 ORDER BY position`, tenantID, checkoutID).Query(func(rows pgx.Rows) (err error) {
		c.Items, err = pgx.AppendRows(c.Items, rows, pgx.RowToStructByPos[ResourceItem])
		return err
	})
	b.Queue(`SELECT h.id, h.status, l.sku, l.quantity - l.shorted, l.warehouse FROM holds h JOIN hold_lines l ON l.tenant = h.tenant AND l.hold_id = h.id
	  WHERE h.tenant = $1 AND h.id = (SELECT hold_id FROM checkouts WHERE tenant = $1 AND id = $2) ORDER BY l.sku, l.warehouse`, tenantID, checkoutID).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var h HeldStock
			var l stock.Line
			if err := rows.Scan(&h.ID, &h.Status, &l.SKU, &l.Quantity, &l.Warehouse); err != nil {
				return err
			}
			if c.Reservation == nil {
				c.Reservation = &HeldStock{ID: h.ID, Status: h.Status, Lines: []stock.Line{}}
			}
			if l.Quantity > 0 {
				c.Reservation.Lines = append(c.Reservation.Lines, l)
			}
		}
		return rows.Err()
	})
	b.Queue(`SELECT `+AttemptColumns+` FROM payments WHERE tenant = $1 AND checkout_id = $2 ORDER BY attempt`, tenantID, checkoutID).Query(func(rows pgx.Rows) (err error) {
		c.Payments, err = pgx.AppendRows(c.Payments, rows, ScanAttempt)
		return err
	})
	err := tx.SendBatch(ctx, b).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return Resource{}, fmt.Errorf("%w: %s", ErrNone, checkoutID)
	}
	if err != nil {
		return Resource{}, fmt.Errorf("read checkout %s: %w", checkoutID, err)
	}
	if failureCode != nil {
		c.Failure = &Failure{Code: *failureCode}
		if failureMessage != nil {
			c.Failure.Message = *failureMessage
		}
		if failureLines != nil {
			if err := json.Unmarshal(failureLines, &c.Shortages); err != nil {
				return Resource{}, fmt.Errorf("read checkout %s: %w", checkoutID, err)
			}
			c.Failure.Lines = c.Shortages
		}
	}
	for i := range c.Payments {
		// Nobody is sent to pay for what is not offered any more.
		if c.Status != AwaitingPayment || c.Payments[i].Status != payment.StatusPending {
			c.Payments[i].Redirect = nil
		}
	}
	c.Payment = c.newest()
	return c, nil
}

// AttemptColumns are the columns of payments that ScanAttempt reads.
const AttemptColumns = `id, gateway, status, amount, currency, method, card_last4, captured_amount, refunded_amount, applied, fee_amount, risk, expires_at, redirect, code, message, created_at, updated_at, under_payment IS NULL`

// ScanAttempt reads a payment for the API. What the gateway said is shown as a
// failure only when the attempt came to nothing.
func ScanAttempt(row pgx.CollectableRow) (Attempt, error) {
	var a Attempt
	var redirect []byte
	var code, message string
	if err := row.Scan(&a.ID, &a.Gateway, &a.Status, &a.Amount, &a.Currency, &a.Method, &a.CardLast4, &a.Captured, &a.Refunded, &a.Applied, &a.Fee, &a.Risk, &a.ExpiresAt, &redirect, &code, &message, &a.CreatedAt, &a.UpdatedAt, &a.begun); err != nil {
		return a, err
	}
	if redirect != nil && a.Status == payment.StatusPending {
		if err := json.Unmarshal(redirect, &a.Redirect); err != nil {
			return a, err
		}
	}
	switch a.Status {
	case payment.StatusDeclined, payment.StatusCancelled, payment.StatusExpired, payment.StatusUnknown:
		if code != "" || message != "" {
			a.Failure = &Failure{Code: code, Message: message}
		}
	}
	return a, nil
}

// ForBuyers leaves out what is meant for staff: what a payment costs the shop,
// and how its provider rates the buyer.
func (c Resource) ForBuyers() Resource {
	c.Payments = slices.Clone(c.Payments)
	for i := range c.Payments {
		c.Payments[i].Fee, c.Payments[i].Risk = 0, ""
	}
	c.Payment = c.newest()
	return c
}

// newest is the buyer's newest attempt. A second approval under the reference of
// one is no attempt of anybody's.
func (c Resource) newest() *Attempt {
	for i := len(c.Payments) - 1; i >= 0; i-- {
		if c.Payments[i].begun {
			return &c.Payments[i]
		}
	}
	return nil
}

// Refused reports whether a checkout ended without having been offered to its
// buyer, and so was refused rather than cancelled.
func (c Resource) Refused() bool {
	if c.Status != Cancelled || c.Failure == nil {
		return false
	}
	switch c.Failure.Code {
	case FailInsufficientStock, FailTooManyHolds, FailGatewayUnavailable, FailPaymentRefused, FailReplaceRefused:
		return true
	}
	return false
}

// SetReturnURL changes where buyers of later attempts go after paying.
func SetReturnURL(ctx context.Context, tx pgx.Tx, tenantID, checkoutID, returnURL string) error {
	_, err := tx.Exec(ctx, `UPDATE checkouts SET return_url = $3, updated_at = now() WHERE tenant = $1 AND id = $2 AND return_url <> $3`, tenantID, checkoutID, returnURL)
	if err != nil {
		return fmt.Errorf("return URL of checkout %s: %w", checkoutID, err)
	}
	return nil
}

// RequestCancel writes that an open checkout is to end, and why; the first time
// and reason stay. asked is true for the first request.
func RequestCancel(ctx context.Context, tx pgx.Tx, tenantID, checkoutID, reason string) (asked bool, err error) {
	var status Status
	var before *time.Time
	err = tx.QueryRow(ctx, `SELECT status, cancel_requested_at FROM checkouts WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenantID, checkoutID).Scan(&status, &before)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, fmt.Errorf("%w: %s", ErrNone, checkoutID)
	}
	if err != nil {
		return false, fmt.Errorf("cancel checkout %s: %w", checkoutID, err)
	}
	if !status.Open() || before != nil {
		return false, nil
	}
	_, err = tx.Exec(ctx, `UPDATE checkouts SET cancel_requested_at = now(), cancel_reason = nullif($3, ''), updated_at = now() WHERE tenant = $1 AND id = $2`, tenantID, checkoutID, reason)
	if err != nil {
		return false, fmt.Errorf("cancel checkout %s: %w", checkoutID, err)
	}
	return true, nil
}
