// Package receiving books goods that come into a warehouse: purchase orders, the
// receipts in which their goods are scanned, and the way from the receiving bin
// to a shelf.
//
// What is scanned is booked at once, since it lies there; what is wrong with it
// is kept beside it and decided by the person who closes the receipt. Functions
// take the caller's transaction and lock in one order: purchase order, receipt,
// stock levels, bins. Quantities are units, times UTC.
package receiving

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

const (
	// mostLines and mostUnits bound what one request may name.
	mostLines = 1000
	mostUnits = 1_000_000
)

var (
	visible = regexp.MustCompile(`^[!-~]( ?[!-~]){0,63}$`)
	lotForm = regexp.MustCompile(`^[!-~]{1,40}$`)
)

// OrderInput is a purchase order as it was sent to a supplier.
type OrderInput struct {
	Number    string `json:"number"`
	Supplier  string `json:"supplier"`
	Warehouse string `json:"warehouse"`
	// ExpectedAt is when the goods should come, RFC 3339.
	ExpectedAt *string          `json:"expected_at"`
	Lines      []OrderLineInput `json:"lines"`
}

// OrderLineInput is units of a SKU, of a lot where one was agreed on.
type OrderLineInput struct {
	SKU       string  `json:"sku"`
	Quantity  int     `json:"quantity"`
	Lot       string  `json:"lot"`
	ExpiresOn *string `json:"expires_on"` // a day
}

// PurchaseOrder is what was ordered and what of it has come.
type PurchaseOrder struct {
	ID        string `json:"id"`
	Number    string `json:"number"`
	Supplier  string `json:"supplier"`
	Warehouse string `json:"warehouse"`
	// Status is open, partially_received, received or cancelled.
	Status     string     `json:"status"`
	WaitsFor   string     `json:"waits_for"`
	ExpectedAt *time.Time `json:"expected_at"`
	DueAt      *time.Time `json:"due_at"`
	Version    int64      `json:"version"`
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	UpdatedAt  time.Time  `json:"updated_at"`
	EndedAt    *time.Time `json:"ended_at"`
	EndedBy    *string    `json:"ended_by"`
	EndReason  string     `json:"end_reason,omitempty"`
	Lines      []Ordered  `json:"lines"`
}

// Ordered is a line of a purchase order.
type Ordered struct {
	Line      int     `json:"line"`
	SKU       string  `json:"sku"`
	Lot       string  `json:"lot,omitempty"`
	ExpiresOn *string `json:"expires_on,omitempty"`
	Ordered   int     `json:"ordered"`
	// Received is all that came, Damaged those of them that came damaged.
	Received int `json:"received"`
	Damaged  int `json:"damaged"`
	// Expected is what is still to come.
	Expected int `json:"expected"`
}

// open reports whether more of the order's goods are expected.
func (p PurchaseOrder) open() bool { return p.Status == "open" || p.Status == "partially_received" }

// day reads a day, or nothing.
func day(f *problem.Fields, field string, value *string) *time.Time {
	if value == nil {
		return nil
	}
	t, err := time.Parse(time.DateOnly, *value)
	if err != nil {
		f.Add(field, "invalid", "want a day like 2026-12-31")
		return nil
	}
	return &t
}

func text(f *problem.Fields, field, value string, longest int) {
	switch {
	case value == "":
		f.Add(field, "required", "must not be empty")
	case len(value) > longest:
		f.Add(field, "too_long", "at most %d bytes", longest)
	}
}

func units(f *problem.Fields, field string, n int) {
	if n < 1 || n > mostUnits {
		f.Add(field, "out_of_range", "1 to %d", mostUnits)
	}
}

func (in OrderInput) check() (*time.Time, problem.Fields) {
	var f problem.Fields
	if !visible.MatchString(in.Number) {
		f.Add("number", "invalid", "1 to 64 visible characters")
	}
	text(&f, "supplier", in.Supplier, 200)
	if !catalog.WarehouseCode.MatchString(in.Warehouse) {
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	}
	expected := catalog.Moment(&f, "expected_at", in.ExpectedAt)
	switch {
	case len(in.Lines) == 0:
		f.Add("lines", "required", "name one at least")
	case len(in.Lines) > mostLines:
		f.Add("lines", "too_many", "at most %d", mostLines)
		return expected, f
	}
	seen := map[[2]string]bool{}
	for i, l := range in.Lines {
		at := fmt.Sprintf("lines[%d]", i)
		if !catalog.SKU.MatchString(l.SKU) {
			f.Add(at+".sku", "unknown_sku", "there is no such SKU")
		}
		units(&f, at+".quantity", l.Quantity)
		if l.Lot != "" && !lotForm.MatchString(l.Lot) {
			f.Add(at+".lot", "invalid", "a lot is 1 to 40 visible characters")
		}
		if day(&f, at+".expires_on", l.ExpiresOn) != nil && l.Lot == "" {
			f.Add(at+".lot", "required", "a day of expiry is a lot's")
		}
		if seen[[2]string{l.SKU, l.Lot}] {
			f.Add(at, "repeated", "one line for each SKU and lot")
		}
		seen[[2]string{l.SKU, l.Lot}] = true
	}
	return expected, f
}

// CreateOrder writes a purchase order under an id of the caller's. It refuses an
// order's number that the tenant has used with 409 number_taken, which names the
// other order.
func CreateOrder(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, orderID string, in OrderInput, by stock.By) (PurchaseOrder, error) {
	expected, f := in.check()
	if len(f) == 0 {
		if err := known(ctx, tx, shop.ID, in, &f); err != nil {
			return PurchaseOrder{}, err
		}
	}
	if err := f.Err(); err != nil {
		return PurchaseOrder{}, err
	}
	var due *time.Time
	if expected != nil {
		late := expected.Add(time.Duration(shop.Settings.Receiving.LateHours) * time.Hour)
		due = &late
	}
	tag, err := tx.Exec(ctx, `INSERT INTO purchase_orders (tenant, id, number, supplier, warehouse, expected_at, due_at, waits_for, person) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)
	  ON CONFLICT (tenant, number) DO NOTHING`, shop.ID, orderID, in.Number, in.Supplier, in.Warehouse, expected, due, waitsForGoods, by.Person)
	if err != nil {
		return PurchaseOrder{}, fmt.Errorf("purchase order %s: %w", in.Number, err)
	}
	if tag.RowsAffected() == 0 {
		return PurchaseOrder{}, numberTaken(ctx, tx, shop.ID, in.Number)
	}
	for i, l := range in.Lines {
		_, err := tx.Exec(ctx, `INSERT INTO purchase_order_lines (tenant, purchase_order_id, line, sku, lot, expires_on, ordered) VALUES ($1,$2,$3,$4,$5,$6::date,$7)`,
			shop.ID, orderID, i+1, l.SKU, l.Lot, day(&f, "", l.ExpiresOn), l.Quantity)
		if err != nil {
			return PurchaseOrder{}, fmt.Errorf("line %d of purchase order %s: %w", i+1, in.Number, err)
		}
	}
	return ReadOrder(ctx, tx, shop.ID, orderID)
}

const (
	waitsForGoods = "the goods"
	waitsForRest  = "the rest of the goods"
)

func numberTaken(ctx context.Context, tx pgx.Tx, tenantID, number string) error {
	var other string
	if err := tx.QueryRow(ctx, `SELECT id FROM purchase_orders WHERE tenant = $1 AND number = $2`, tenantID, number).Scan(&other); err != nil {
		return fmt.Errorf("purchase order %s: %w", number, err)
	}
	return problem.New(problem.Conflict, "number_taken", "There is a purchase order with this number.").With("purchase_order_id", other)
}

// known demands that warehouse and SKUs exist, and that lots are asked for only
// where units belong to lots.
func known(ctx context.Context, tx pgx.Tx, tenantID string, in OrderInput, f *problem.Fields) error {
	if err := warehouseExists(ctx, tx, tenantID, in.Warehouse, f); err != nil {
		return err
	}
	skus := make([]string, len(in.Lines))
	for i, l := range in.Lines {
		skus[i] = l.SKU
	}
	rows, err := tx.Query(ctx, `SELECT sku, tracking FROM products WHERE tenant = $1 AND sku = ANY($2)`, tenantID, skus)
	if err != nil {
		return fmt.Errorf("products of a purchase order: %w", err)
	}
	tracking := map[string]string{}
	var sku, how string
	if _, err := pgx.ForEachRow(rows, []any{&sku, &how}, func() error { tracking[sku] = how; return nil }); err != nil {
		return fmt.Errorf("products of a purchase order: %w", err)
	}
	for i, l := range in.Lines {
		switch tracking[l.SKU] {
		case "":
			f.Add(fmt.Sprintf("lines[%d].sku", i), "unknown_sku", "there is no such SKU")
		case "none":
			if l.Lot != "" {
				f.Add(fmt.Sprintf("lines[%d].lot", i), "unsupported", "units of this SKU belong to no lots")
			}
		}
	}
	return nil
}

func warehouseExists(ctx context.Context, tx pgx.Tx, tenantID, code string, f *problem.Fields) error {
	var exists bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM warehouses WHERE tenant = $1 AND code = $2)`, tenantID, code).Scan(&exists); err != nil {
		return fmt.Errorf("warehouse %s: %w", code, err)
	}
	if !exists {
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	}
	return nil
}

const orderColumns = `SELECT o.id, o.number, o.supplier, o.warehouse, o.status, o.waits_for, o.expected_at, o.due_at, o.version, o.person, o.created_at, o.updated_at, o.ended_at, o.ended_by, o.end_reason,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('line', l.line, 'sku', l.sku, 'lot', l.lot, 'expires_on', l.expires_on, 'ordered', l.ordered, 'received', l.received, 'damaged', l.damaged) ORDER BY l.line), '[]')
     FROM purchase_order_lines l WHERE l.tenant = o.tenant AND l.purchase_order_id = o.id)
  FROM purchase_orders o WHERE o.tenant = $1`

func scanOrder(row pgx.CollectableRow) (p PurchaseOrder, err error) {
	var lines []byte
	err = row.Scan(&p.ID, &p.Number, &p.Supplier, &p.Warehouse, &p.Status, &p.WaitsFor, &p.ExpectedAt, &p.DueAt, &p.Version, &p.CreatedBy, &p.CreatedAt, &p.UpdatedAt, &p.EndedAt, &p.EndedBy, &p.EndReason, &lines)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(lines, &p.Lines); err != nil {
		return p, err
	}
	for i := range p.Lines {
		if l := &p.Lines[i]; p.open() {
			l.Expected = max(0, l.Ordered-l.Received)
		}
	}
	return p, nil
}

func oneOrder(ctx context.Context, tx pgx.Tx, sql string, args ...any) (PurchaseOrder, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return PurchaseOrder{}, fmt.Errorf("purchase order: %w", err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, scanOrder)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, problem.Missing("purchase order")
	}
	if err != nil {
		return p, fmt.Errorf("purchase order: %w", err)
	}
	return p, nil
}

// ReadOrder reads a purchase order.
func ReadOrder(ctx context.Context, tx pgx.Tx, tenantID, orderID string) (PurchaseOrder, error) {
	return oneOrder(ctx, tx, orderColumns+` AND o.id = $2`, tenantID, orderID)
}

func lockOrder(ctx context.Context, tx pgx.Tx, tenantID, orderID string) (PurchaseOrder, error) {
	// The lines are read by a statement that begins when the order is locked.
	if _, err := tx.Exec(ctx, `SELECT FROM purchase_orders WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenantID, orderID); err != nil {
		return PurchaseOrder{}, fmt.Errorf("purchase order %s: %w", orderID, err)
	}
	return ReadOrder(ctx, tx, tenantID, orderID)
}

// OrderFilter chooses purchase orders; what is empty chooses all.
type OrderFilter struct {
	Status, Supplier, Warehouse string
	Before                      string // an id
	Limit                       int
}

// ListOrders lists purchase orders, the newest first.
func ListOrders(ctx context.Context, tx pgx.Tx, tenantID string, q OrderFilter) ([]PurchaseOrder, error) {
	rows, err := tx.Query(ctx, orderColumns+` AND ($2 = '' OR o.status = $2) AND ($3 = '' OR o.supplier = $3) AND ($4 = '' OR o.warehouse = $4) AND ($5 = '' OR o.id < $5) ORDER BY o.id DESC LIMIT $6`,
		tenantID, q.Status, q.Supplier, q.Warehouse, q.Before, q.Limit)
	if err != nil {
		return nil, fmt.Errorf("purchase orders: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanOrder)
	if err != nil {
		return nil, fmt.Errorf("purchase orders: %w", err)
	}
	return list, nil
}

// End is why and by whom a purchase order ends with goods missing.
type End struct {
	OrderID string
	Reason  string
	stock.By
}

// CancelOrder ends a purchase order that is not received. Goods that come all the
// same are kept apart. One that is cancelled is returned as it is; 409
// order_received when all has come.
func CancelOrder(ctx context.Context, tx pgx.Tx, tenantID string, e End) (PurchaseOrder, error) {
	p, changed, err := endOrder(ctx, tx, tenantID, e, "cancelled")
	if err != nil || !changed {
		return p, err
	}
	_, err = tx.Exec(ctx, `UPDATE receipts SET waits_for = $3, version = version + 1, updated_at = now() WHERE tenant = $1 AND purchase_order_id = $2 AND status = 'open'`, tenantID, e.OrderID, waitsForDecision)
	if err != nil {
		return p, fmt.Errorf("receipts of purchase order %s: %w", e.OrderID, err)
	}
	return p, nil
}

// CloseOrder says that no more of a purchase order is expected: it counts as
// received. One that is received is returned as it is; 409 order_cancelled when
// it was cancelled.
func CloseOrder(ctx context.Context, tx pgx.Tx, tenantID string, e End) (PurchaseOrder, error) {
	p, _, err := endOrder(ctx, tx, tenantID, e, "received")
	return p, err
}

func endOrder(ctx context.Context, tx pgx.Tx, tenantID string, e End, status string) (PurchaseOrder, bool, error) {
	if len(e.Reason) > 500 {
		var f problem.Fields
		f.Add("reason", "too_long", "at most 500 bytes")
		return PurchaseOrder{}, false, f.Err()
	}
	if !id.Valid(e.OrderID) {
		return PurchaseOrder{}, false, problem.Missing("purchase order")
	}
	tag, err := tx.Exec(ctx, `UPDATE purchase_orders SET status = $3, due_at = NULL, waits_for = '', version = version + 1, updated_at = now(), ended_at = now(), ended_by = $4, end_reason = $5
	  WHERE tenant = $1 AND id = $2 AND status IN ('open','partially_received')`, tenantID, e.OrderID, status, e.Person, e.Reason)
	if err != nil {
		return PurchaseOrder{}, false, fmt.Errorf("purchase order %s: %w", e.OrderID, err)
	}
	p, err := ReadOrder(ctx, tx, tenantID, e.OrderID)
	if err == nil && p.Status != status {
		err = orderOver(p)
	}
	return p, tag.RowsAffected() > 0, err
}

// orderOver refuses what only an order that expects goods takes.
func orderOver(p PurchaseOrder) error {
	code, detail := "order_received", "Nothing more of this purchase order is expected."
	if p.Status == "cancelled" {
		code, detail = "order_cancelled", "This purchase order was cancelled."
	}
	return problem.New(problem.Conflict, code, detail).With("current", p)
}

// settleOrder ends an order of which all has come and nobody scans any more.
func settleOrder(ctx context.Context, tx pgx.Tx, tenantID, orderID, person string) error {
	_, err := tx.Exec(ctx, `UPDATE purchase_orders o SET status = 'received', due_at = NULL, waits_for = '', version = version + 1, updated_at = now(), ended_at = now(), ended_by = $3
	  WHERE tenant = $1 AND id = $2 AND status IN ('open','partially_received')
	    AND NOT EXISTS (SELECT FROM purchase_order_lines l WHERE l.tenant = o.tenant AND l.purchase_order_id = o.id AND l.received < l.ordered)
	    AND NOT EXISTS (SELECT FROM receipts r WHERE r.tenant = o.tenant AND r.purchase_order_id = o.id AND r.status = 'open')`, tenantID, orderID, person)
	if err != nil {
		return fmt.Errorf("purchase order %s: %w", orderID, err)
	}
	return nil
}
