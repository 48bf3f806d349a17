// Package transactions shows the money of all gateways in one place: charges and
// refunds as a list, and what was sold day by day. It only reads.
package transactions

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
)

// Kinds of transactions.
const (
	Payment = "payment"
	Refund  = "refund"
)

// Transaction is a charge, or an attempt at one, or money that went back.
// Amounts are in minor units.
type Transaction struct {
	ID          string  `json:"id"`
	Kind        string  `json:"kind"`
	PaymentID   string  `json:"payment_id"`
	OrderID     *string `json:"order_id"`
	OrderNumber *string `json:"order_number"`
	Gateway     string  `json:"gateway"`
	// Method is the card's kind or the like of a payment, and how a refund was
	// paid.
	Method   string `json:"method"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	// Fee is what the provider keeps, as far as it has told.
	Fee       int64     `json:"fee"`
	Status    string    `json:"status"`
	Reference string    `json:"reference"`
	CreatedAt time.Time `json:"created_at"`
}

// Filter narrows the list. Zero values narrow nothing.
type Filter struct {
	Gateway  string
	From, To *time.Time // From <= created < To
	// MinAmount and MaxAmount are in minor units, both included.
	MinAmount, MaxAmount *int64
	Status               string
	// Order is an order's id or number.
	Order string
	Kind  string
	// Before is the Position of the last entry of the page before.
	Before string
	Limit  int
}

// ErrPosition is returned for a position that Position did not make.
var ErrPosition = errors.New("not a position in the list of transactions")

// Position names an entry's place in the list.
func (t Transaction) Position() string {
	return strconv.FormatInt(t.CreatedAt.UnixMicro(), 10) + "|" + t.ID
}

func parsePosition(s string) (time.Time, string, error) {
	micros, after, found := strings.Cut(s, "|")
	n, err := strconv.ParseInt(micros, 10, 64)
	if !found || err != nil || !id.Valid(after) {
		return time.Time{}, "", ErrPosition
	}
	return time.UnixMicro(n).UTC(), after, nil
}

// List reads a page, newest first.
func List(ctx context.Context, tx pgx.Tx, tenant string, f Filter) ([]Transaction, error) {
	sql, args, err := query(tenant, f)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("transactions: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Transaction])
	if err != nil {
		return nil, fmt.Errorf("transactions: %w", err)
	}
	return list, nil
}

// query asks each of the two tables for a page in the order of its index and
// merges them. Only the conditions that are wanted stand in it, so that the
// planner sees which index serves.
func query(tenant string, f Filter) (sql string, args []any, err error) {
	args = []any{tenant, f.Limit}
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	// Of a payment, what was taken is its amount, once something was.
	const paid = `CASE WHEN p.captured_amount > 0 THEN p.captured_amount ELSE p.amount END`
	payments, refunds := []string{"p.tenant = $1"}, []string{"r.tenant = $1"}
	both := func(ofPayment, ofRefund string) {
		payments, refunds = append(payments, ofPayment), append(refunds, ofRefund)
	}
	if f.Gateway != "" {
		a := arg(f.Gateway)
		both("p.gateway = "+a, "p.gateway = "+a)
	}
	if f.From != nil {
		a := arg(*f.From)
		both("p.created_at >= "+a, "r.created_at >= "+a)
	}
	if f.To != nil {
		a := arg(*f.To)
		both("p.created_at < "+a, "r.created_at < "+a)
	}
	if f.MinAmount != nil {
		a := arg(*f.MinAmount)
		both(paid+" >= "+a, "r.amount >= "+a)
	}
	if f.MaxAmount != nil {
		a := arg(*f.MaxAmount)
		both(paid+" <= "+a, "r.amount <= "+a)
	}
	if f.Status != "" {
		a := arg(f.Status)
		both("p.status = "+a, "r.status = "+a)
	}
	if f.Order != "" {
		a := arg(f.Order)
		// An order has its checkout's id, and a number is drawn with the checkout.
		of := `SELECT id FROM payments WHERE tenant = $1 AND (checkout_id = o.id OR order_id = o.id)`
		named := `SELECT ` + a + `::text AS id UNION SELECT id FROM checkouts WHERE tenant = $1 AND number = ` + a + ` UNION SELECT id FROM orders WHERE tenant = $1 AND number = ` + a
		ids := `ARRAY(SELECT x.id FROM (` + named + `) o CROSS JOIN LATERAL (` + of + `) x)`
		both("p.id = ANY("+ids+")", "r.payment_id = ANY("+ids+")")
	}
	if f.Before != "" {
		at, after, err := parsePosition(f.Before)
		if err != nil {
			return "", nil, err
		}
		t, i := arg(at), arg(after)
		both("(p.created_at, p.id) < ("+t+", "+i+")", "(r.created_at, r.id) < ("+t+", "+i+")")
	}
	parts := []string{}
	if f.Kind != Refund {
		parts = append(parts, `(SELECT p.id, 'payment' AS kind, p.id AS payment_id, p.order_id, p.checkout_id, p.gateway, p.method, `+paid+` AS amount, p.currency, p.fee_amount AS fee, p.status,
		   coalesce(nullif(p.capture_ref, ''), p.reference) AS reference, p.created_at FROM payments p WHERE `+strings.Join(payments, " AND ")+` ORDER BY p.created_at DESC, p.id DESC LIMIT $2)`)
	}
	if f.Kind != Payment {
		parts = append(parts, `(SELECT r.id, 'refund' AS kind, r.payment_id, coalesce(p.order_id, r.order_id) AS order_id, p.checkout_id, p.gateway, r.method, r.amount, r.currency, 0::bigint AS fee, r.status,
		   r.reference, r.created_at FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE `+strings.Join(refunds, " AND ")+` ORDER BY r.created_at DESC, r.id DESC LIMIT $2)`)
	}
	sql = `SELECT t.id, t.kind, t.payment_id, t.order_id,
	   coalesce((SELECT c.number FROM checkouts c WHERE c.tenant = $1 AND c.id = t.checkout_id), (SELECT o.number FROM orders o WHERE o.tenant = $1 AND o.id = t.order_id)),
	   t.gateway, t.method, t.amount, t.currency, t.fee, t.status, t.reference, t.created_at
	  FROM (SELECT * FROM (` + strings.Join(parts, " UNION ALL ") + `) u ORDER BY created_at DESC, id DESC LIMIT $2) t ORDER BY t.created_at DESC, t.id DESC`
	return sql, args, nil
}
