package refund

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Resource is a refund as the API shows it. Amounts are minor units.
type Resource struct {
	ID string `json:"id"`
	// OrderID is null for money of a checkout that never became an order.
	OrderID        *string   `json:"order_id"`
	Status         string    `json:"status"`
	Reason         string    `json:"reason"`
	Amount         int64     `json:"amount"`
	Currency       string    `json:"currency"`
	Method         string    `json:"method"`
	Lines          []Line    `json:"lines"`
	ShippingAmount int64     `json:"shipping_amount"`
	GoodwillAmount int64     `json:"goodwill_amount"`
	Parts          []Part    `json:"parts"`
	Failure        *Failure  `json:"failure"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
	// BankAccount is set by those who may show it.
	BankAccount *BankAccount `json:"bank_account,omitempty"`

	// Account is the account as it is kept; Seal and OpenAccount are its ways
	// in and out.
	Account []byte `json:"-"`
}

// Line is what of an order line goes back.
type Line struct {
	LineID   string `json:"line_id"`
	Quantity int    `json:"quantity"`
	Amount   int64  `json:"amount"`
}

// Part is what goes back by one payment.
type Part struct {
	ID        string `json:"id"`
	PaymentID string `json:"payment_id"`
	Gateway   string `json:"gateway"`
	Amount    int64  `json:"amount"`
	Status    string `json:"status"`
	Reference string `json:"reference"`
	Method    string `json:"method"`
	Code      string `json:"code,omitempty"`
	Message   string `json:"message,omitempty"`
}

// Failure says why a refund, or a part of it, did not come about or waits.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Filter narrows a list; empty fields do not.
type Filter struct {
	ID, OrderID, Status string
	// Before is the id of the last refund of the page before.
	Before string
	Limit  int
}

// standing is what the parts of r, a refund, come to: those which no other part
// has taken the place of.
const standing = `LATERAL (
      SELECT bool_or(f.status = 'needs_attention') AS needs, bool_or(f.status IN ('pending','unknown')) AS open, bool_or(f.status = 'failed') AS failed, max(f.updated_at) AS changed
        FROM refunds f WHERE f.tenant = r.tenant AND (r.asked AND f.request_id = r.id OR NOT r.asked AND f.id = r.id)
         AND NOT (r.asked AND EXISTS (SELECT FROM refunds n WHERE n.tenant = f.tenant AND n.revives = f.id))) s`

// status is that of r, whose standing is s.
const status = `CASE
           WHEN r.waits AND EXISTS (SELECT FROM parked w WHERE w.tenant = r.tenant AND w.workflow_id = 'refund:' || r.tenant || ':' || r.id AND w.resolved_at IS NULL) THEN 'needs_attention'
           WHEN r.waits THEN 'pending'
           WHEN s.needs THEN 'needs_attention' WHEN s.open THEN 'pending' WHEN s.failed THEN 'failed' ELSE 'succeeded' END`

// ofParts are the statuses of parts of which a refund with a status has one, for
// the statuses that few refunds have.
var ofParts = map[string][]string{
	"pending": {"pending", "unknown"}, "needs_attention": {"needs_attention"}, "failed": {"failed"},
}

// statement reads refunds: the requests, and the refunds that nobody asked for,
// each with its status: that of its parts which no other part has taken the
// place of. A condition that is not asked for is left out, so that each kind of
// question finds its index. A page of one status is found from the parts that
// have it; nearly all have succeeded, so those are read from the newest on until
// the page is full.
func (f Filter) statement(tenant string) (sql string, args []any) {
	args = []any{tenant}
	requests, asked, strays := "", "", ""
	arg := func(value any) string {
		args = append(args, value)
		return fmt.Sprintf("$%d", len(args))
	}
	if f.ID != "" {
		n := arg(f.ID)
		requests += " AND q.id = " + n
		strays += " AND f.id = " + n
	}
	if f.OrderID != "" {
		n := arg(f.OrderID)
		requests += " AND q.order_id = " + n
		strays += " AND f.payment_id IN (SELECT id FROM payments WHERE tenant = $1 AND checkout_id = " + n + " UNION ALL SELECT id FROM payments WHERE tenant = $1 AND coalesce(order_id, checkout_id) = " + n + " AND applied)"
	}
	if f.Before != "" {
		n := arg(f.Before)
		requests += " AND q.id < " + n
		strays += " AND f.id < " + n
	}
	page := " ORDER BY id DESC LIMIT " + arg(f.Limit)
	if f.Status != "" {
		raw := []string{f.Status}
		if of, few := ofParts[f.Status]; few {
			raw = of
			requests += " AND q.id IN (SELECT request_id FROM refunds WHERE tenant = $1 AND status = ANY(" + arg(raw) + ") AND request_id IS NOT NULL UNION ALL SELECT id FROM refund_requests WHERE tenant = $1 AND waits)"
		}
		asked = " CROSS JOIN " + standing + " WHERE " + status + " = " + arg(f.Status)
		strays += " AND f.status = ANY(" + arg(raw) + ")"
	}
	return `
WITH refund AS (
  (SELECT r.tenant, r.id, r.order_id, r.reason, r.amount, r.currency, r.method, r.bank_account, r.created_at, r.updated_at, r.waits, r.asked
     FROM (SELECT q.*, true AS asked FROM refund_requests q WHERE q.tenant = $1` + requests + `) r` + asked + page + `)
  UNION ALL
  (SELECT f.tenant, f.id, coalesce(f.order_id, p.order_id, (SELECT o.id FROM orders o WHERE o.tenant = p.tenant AND o.id = p.checkout_id)), f.reason, f.amount, f.currency, f.method, NULL, f.created_at, f.updated_at, false, false
     FROM refunds f JOIN payments p ON p.tenant = f.tenant AND p.id = f.payment_id WHERE f.tenant = $1 AND f.request_id IS NULL` + strays + page + `)
), told AS (
  SELECT r.*, s.changed, ` + status + ` AS status FROM refund r CROSS JOIN ` + standing + `
)
SELECT t.id, t.order_id, t.status, t.reason, t.amount, t.currency, t.method, t.bank_account, t.created_at, greatest(t.updated_at, t.changed),
       coalesce((SELECT jsonb_agg(jsonb_build_object('id', f.id, 'payment_id', f.payment_id, 'gateway', p.gateway, 'amount', f.amount, 'reference', f.reference, 'method', f.method,
                   'status', CASE f.status WHEN 'unknown' THEN 'pending' ELSE f.status END, 'code', f.code, 'message', f.message) ORDER BY f.id)
          FROM refunds f JOIN payments p ON p.tenant = f.tenant AND p.id = f.payment_id WHERE f.tenant = t.tenant AND (t.asked AND f.request_id = t.id OR NOT t.asked AND f.id = t.id)), '[]'),
       coalesce((SELECT jsonb_agg(jsonb_build_object('line_id', b.line_id, 'quantity', b.n, 'amount', b.amount) ORDER BY b.line_id)
          FROM (SELECT line_id, count(*) AS n, sum(amount) AS amount FROM refund_bookings WHERE tenant = t.tenant AND request_id = t.id AND kind = 'unit' AND NOT released GROUP BY line_id) b), '[]'),
       coalesce((SELECT sum(amount) FROM refund_bookings WHERE tenant = t.tenant AND request_id = t.id AND kind = 'freight' AND NOT released), 0)::bigint,
       coalesce((SELECT sum(amount) FROM refund_bookings WHERE tenant = t.tenant AND request_id = t.id AND kind = 'goodwill' AND NOT released), 0)::bigint
  FROM told t` + page, args
}

// List reads a page of refunds, newest first, in one statement. A refund that
// nobody asked for (a duplicate payment) is there by its own id, with its
// reason's code.
func List(ctx context.Context, tx pgx.Tx, tenant string, f Filter) ([]Resource, error) {
	sql, args := f.statement(tenant)
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("refunds: %w", err)
	}
	return collect(rows)
}

// mostOfOrder bounds the refunds that an order shows.
const mostOfOrder = 1000

// OfOrder are an order's refunds, the oldest first, to be read in a batch with
// the rest of it.
func OfOrder(b *pgx.Batch, tenant, orderID string, to *[]Resource) {
	sql, args := Filter{OrderID: orderID, Limit: mostOfOrder}.statement(tenant)
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		list, err := collect(rows)
		for i := len(list) - 1; i >= 0; i-- {
			*to = append(*to, list[i])
		}
		return err
	})
}

// ErrNone is returned for a refund that does not exist.
var ErrNone = errors.New("no such refund")

// Read reads one refund.
func Read(ctx context.Context, tx pgx.Tx, tenant, refundID string) (Resource, error) {
	list, err := List(ctx, tx, tenant, Filter{ID: refundID, Limit: 1})
	if err != nil {
		return Resource{}, err
	}
	if len(list) == 0 {
		return Resource{}, fmt.Errorf("%w: %s", ErrNone, refundID)
	}
	return list[0], nil
}

func collect(rows pgx.Rows) ([]Resource, error) {
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Resource, error) {
		var r Resource
		var parts, lines json.RawMessage
		err := row.Scan(&r.ID, &r.OrderID, &r.Status, &r.Reason, &r.Amount, &r.Currency, &r.Method, &r.Account, &r.CreatedAt, &r.UpdatedAt, &parts, &lines, &r.ShippingAmount, &r.GoodwillAmount)
		if err = errors.Join(err, json.Unmarshal(parts, &r.Parts), json.Unmarshal(lines, &r.Lines)); err == nil {
			r.explain()
		}
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("refunds: %w", err)
	}
	return list, nil
}

// explain says why a refund did not come about, or waits: in the words of the
// newest of its parts that is so.
func (r *Resource) explain() {
	if r.Status != "failed" && r.Status != "needs_attention" {
		return
	}
	back := int64(0)
	for _, p := range r.Parts {
		if p.Status == r.Status {
			r.Failure = &Failure{Code: p.Code, Message: p.Message}
		}
		if p.Status == "succeeded" {
			back += p.Amount
		}
	}
	switch {
	case r.Failure == nil:
		r.Failure = &Failure{Code: "payment_in_progress", Message: "the payment is not settled"}
	case r.Status == "failed" && back > 0:
		r.Failure = &Failure{Code: CodePartlyGivenBack, Message: fmt.Sprintf("%d of %d went back: %s", back, r.Amount, r.Failure.Code)}
	}
}
