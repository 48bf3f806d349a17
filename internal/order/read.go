package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/timeline"
)

// Summary is an order as lists show it. Amounts are in minor units.
type Summary struct {
	ID     string `json:"id"`
	Number string `json:"number"`
	Status string `json:"status"`
	// Attention is the first of AttentionReasons, nil when there are none.
	Attention        *string         `json:"attention"`
	AttentionReasons []string        `json:"attention_reasons"`
	Channel          string          `json:"channel"`
	Totals           Totals          `json:"totals"`
	Customer         json.RawMessage `json:"customer"`
	PaidAt           time.Time       `json:"paid_at"`
	CreatedAt        time.Time       `json:"created_at"`
	UpdatedAt        time.Time       `json:"updated_at"`
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

// Resource is an order with everything that belongs to it.
type Resource struct {
	Summary
	Shipping      json.RawMessage   `json:"shipping"`
	ReservationID string            `json:"reservation_id"`
	Metadata      json.RawMessage   `json:"metadata"`
	Lines         []Line            `json:"lines"`
	Payments      []Payment         `json:"payments"`
	Refunds       []refund.Resource `json:"refunds"`
	Shipments     []Shipment        `json:"shipments"`
	Returns       []Return          `json:"returns"`
	Timeline      []timeline.Event  `json:"timeline"`
}

// Line is what was bought, with its share of the order's discount.
type Line struct {
	LineID    string `json:"line_id"`
	SKU       string `json:"sku"`
	Name      string `json:"name"`
	Quantity  int    `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
	Discount  int64  `json:"discount"`
	Total     int64  `json:"total"`
	Tax       int64  `json:"tax"`
	// NotShipped are units that were nowhere and do not leave.
	NotShipped int `json:"not_shipped"`
}

// Payment is an attempt at paying the order, whatever became of it.
type Payment struct {
	ID        string `json:"id"`
	Gateway   string `json:"gateway"`
	Status    string `json:"status"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Method    string `json:"method,omitempty"`
	CardLast4 string `json:"card_last4,omitempty"`
	Captured  int64  `json:"captured"`
	Refunded  int64  `json:"refunded"`
	Applied   bool   `json:"applied"`
	// Fee and Risk are the provider's, for staff: see ForBuyers.
	Fee       int64     `json:"fee,omitempty"`
	Risk      string    `json:"risk,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Shipment is what leaves one warehouse.
type Shipment struct {
	ID        string          `json:"id"`
	Warehouse string          `json:"warehouse"`
	Status    string          `json:"status"`
	Lines     json.RawMessage `json:"lines"`
	// Frozen says why it must not leave, null when it may.
	Frozen *string `json:"frozen"`
	// Carrier and Tracking, the number of each parcel, are empty until there is a
	// label.
	Carrier   string    `json:"carrier"`
	Tracking  []string  `json:"tracking"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Return is what comes back of an order.
type Return struct {
	ID     string `json:"id"`
	Number string `json:"number"`
	Status string `json:"status"`
	// Units are how many it is about.
	Units     int       `json:"units"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Filter narrows a list; empty fields do not.
type Filter struct {
	Status, Channel, Warehouse string
	From, To                   *time.Time // of payment; From included, To not
	// Search matches the order's number (its beginning, in either case), id, or
	// the buyer's whole e-mail address.
	Search string
	// Before is the id of the last order of the page before.
	Before string
	Limit  int
}

// reasons are all that a person is needed for, as the trigger show_attention
// orders them.
const reasons = `CASE WHEN o.attention IS NULL THEN '{}'::text[] ELSE ARRAY(SELECT a.reason FROM order_attention a WHERE a.tenant = o.tenant AND a.order_id = o.id
  ORDER BY a.reason = o.attention DESC, coalesce(array_position(ARRAY['charged_back','disputed','authorization_lapsed','authorization_voided'], a.reason), 9), a.since, a.reason) END`

const summaryColumns = `o.id, o.number, o.status, o.attention, ` + reasons + `, o.channel, o.items_total, o.discount_total, o.shipping_total, o.tax_total, o.total, o.currency, o.customer, o.paid_at, o.created_at, o.updated_at`

func (s *Summary) fields() []any {
	return []any{&s.ID, &s.Number, &s.Status, &s.Attention, &s.AttentionReasons, &s.Channel, &s.Totals.Items, &s.Totals.Discount, &s.Totals.Shipping, &s.Totals.Tax, &s.Totals.Total, &s.Totals.Currency, &s.Customer, &s.PaidAt, &s.CreatedAt, &s.UpdatedAt}
}

// ForBuyers leaves out what is meant for staff: what a payment costs the shop,
// how its provider rates the buyer, and what people wrote about the order.
func (r Resource) ForBuyers() Resource {
	r.Payments = slices.Clone(r.Payments)
	for i := range r.Payments {
		r.Payments[i].Fee, r.Payments[i].Risk = 0, ""
	}
	r.Timeline = unsigned(r.Timeline)
	return r
}

// List reads a page of orders, the newest checkout first, in one statement.
func List(ctx context.Context, tx pgx.Tx, tenant string, f Filter) ([]Summary, error) {
	where := []string{"o.tenant = $1"}
	args := []any{tenant}
	arg := func(condition string, value any) {
		args = append(args, value)
		where = append(where, strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(args))))
	}
	if f.Status != "" {
		arg("o.status = ?", f.Status)
	}
	if f.Channel != "" {
		arg("o.channel = ?", f.Channel)
	}
	if f.Warehouse != "" {
		arg("EXISTS (SELECT FROM shipments s WHERE s.tenant = o.tenant AND s.order_id = o.id AND s.warehouse = ?)", f.Warehouse)
	}
	if f.From != nil {
		arg("o.paid_at >= ?", *f.From)
	}
	if f.To != nil {
		arg("o.paid_at < ?", *f.To)
	}
	switch {
	case f.Search == "":
	case id.Valid(f.Search):
		arg("o.id = ?", f.Search)
	case strings.Contains(f.Search, "@"):
		arg("o.email = lower(?)", f.Search)
	default:
		arg("starts_with(o.number, upper(?))", f.Search)
	}
	if f.Before != "" {
		arg("o.id < ?", f.Before)
	}
	args = append(args, f.Limit)
	rows, err := tx.Query(ctx, `SELECT `+summaryColumns+` FROM orders o WHERE `+strings.Join(where, " AND ")+fmt.Sprintf(` ORDER BY o.id DESC LIMIT $%d`, len(args)), args...)
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Summary, err error) {
		err = row.Scan(s.fields()...)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	return list, nil
}

// Read reads an order with everything that happened to it and to the checkout
// before it.
func Read(ctx context.Context, tx pgx.Tx, tenant, orderID string) (Resource, error) {
	r := Resource{Lines: []Line{}, Payments: []Payment{}, Refunds: []refund.Resource{}, Shipments: []Shipment{}, Returns: []Return{}}
	b := &pgx.Batch{}
	b.Queue(`SELECT `+summaryColumns+`, o.shipping, o.hold_id, o.metadata FROM orders o WHERE o.tenant = $1 AND o.id = $2`, tenant, orderID).QueryRow(func(row pgx.Row) error {
		return row.Scan(append(r.fields(), &r.Shipping, &r.ReservationID, &r.Metadata)...)
	})
	b.Queue(`SELECT line_id, sku, name, quantity, unit_price, discount, total, tax, not_shipped FROM order_lines WHERE tenant = $1 AND order_id = $2 ORDER BY position`, tenant, orderID).Query(func(rows pgx.Rows) (err error) {
		r.Lines, err = pgx.AppendRows(r.Lines, rows, pgx.RowToStructByPos[Line])
		return err
	})
	// An order has its checkout's id, so a stray payment of the checkout shows too.
	b.Queue(`SELECT id, gateway, status, amount, currency, method, card_last4, captured_amount, refunded_amount, applied, fee_amount, risk, created_at, updated_at
	   FROM payments WHERE tenant = $1 AND (checkout_id = $2 OR order_id = $2) ORDER BY id`, tenant, orderID).Query(func(rows pgx.Rows) (err error) {
		r.Payments, err = pgx.AppendRows(r.Payments, rows, pgx.RowToStructByPos[Payment])
		return err
	})
	refund.OfOrder(b, tenant, orderID, &r.Refunds)
	b.Queue(`SELECT s.id, s.warehouse, s.status, s.lines, s.frozen_reason, s.carrier,
	    ARRAY(SELECT p.tracking FROM parcels p WHERE p.tenant = s.tenant AND p.shipment_id = s.id AND p.unpacked_at IS NULL AND p.tracking <> '' ORDER BY p.position), s.created_at, s.updated_at
	  FROM shipments s WHERE s.tenant = $1 AND s.order_id = $2 ORDER BY s.id`, tenant, orderID).Query(func(rows pgx.Rows) (err error) {
		r.Shipments, err = pgx.AppendRows(r.Shipments, rows, pgx.RowToStructByPos[Shipment])
		return err
	})
	b.Queue(`SELECT r.id, r.number, r.status, (SELECT count(*) FROM return_units u WHERE u.tenant = r.tenant AND u.return_id = r.id), r.created_at, r.updated_at FROM returns r WHERE r.tenant = $1 AND r.order_id = $2 ORDER BY r.id`, tenant, orderID).Query(func(rows pgx.Rows) (err error) {
		r.Returns, err = pgx.AppendRows(r.Returns, rows, pgx.RowToStructByPos[Return])
		return err
	})
	err := tx.SendBatch(ctx, b).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return r, problem.Missing("order")
	}
	if err != nil {
		return r, fmt.Errorf("read order %s: %w", orderID, err)
	}
	r.Timeline, err = timeline.Of(ctx, tx, tenant, orderID)
	if r.Timeline == nil {
		r.Timeline = []timeline.Event{}
	}
	return r, err
}
