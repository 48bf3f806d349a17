package receiving

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

const (
	waitsForScan     = "the first scan"
	waitsForClose    = "a person to close it"
	waitsForDecision = "a person to decide on goods of a cancelled purchase order"
)

// Receipt is goods of one delivery that are being scanned, or were.
type Receipt struct {
	ID                  string  `json:"id"`
	Warehouse           string  `json:"warehouse"`
	PurchaseOrderID     *string `json:"purchase_order_id"`
	PurchaseOrderNumber *string `json:"purchase_order_number"`
	Bin                 string  `json:"bin"`
	Document            string  `json:"document"`
	// Status is open, closed or cancelled.
	Status    string     `json:"status"`
	WaitsFor  string     `json:"waits_for"`
	Version   int64      `json:"version"`
	DueAt     *time.Time `json:"due_at"`
	OpenedBy  string     `json:"opened_by"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
	EndedAt   *time.Time `json:"ended_at"`
	EndedBy   *string    `json:"ended_by"`
	Accepted  []string   `json:"accepted"`
	differed  []byte
}

// Detail is a receipt with what came and what is wrong with it.
type Detail struct {
	Receipt
	Lines         []Line        `json:"lines"`
	Discrepancies []Discrepancy `json:"discrepancies"`
}

// Line is what was scanned of a SKU and lot. Corrected units were taken back;
// held, expired and damaged are how those that stay were booked.
type Line struct {
	SKU       string  `json:"sku"`
	Name      string  `json:"name"`
	Lot       string  `json:"lot,omitempty"`
	ExpiresOn *string `json:"expires_on,omitempty"`
	Received  int     `json:"received"`
	Corrected int     `json:"corrected"`
	Held      int     `json:"held"`
	Expired   int     `json:"expired"`
	Damaged   int     `json:"damaged"`
}

// The kinds of discrepancies.
const (
	Over           = "over"
	Short          = "short"
	Damaged        = "damaged"
	UnknownItem    = "unknown_item"
	NotOrdered     = "not_ordered" // a product that the purchase order does not name
	WrongLot       = "wrong_lot"
	ExpiryTooNear  = "expiry_too_near"
	ExpiredAlready = "expired"
	LotHeld        = "lot_held" // nothing of the lot may be sold, wherever it lies
	OrderCancelled = "order_cancelled"
)

// needAcceptance are those that a receipt can't be closed with unless a person
// says so; Over only beyond the tenant's tolerance.
var needAcceptance = []string{UnknownItem, NotOrdered, OrderCancelled}

// holdBack are those for which units are held, and which a person may accept.
var holdBack = []string{WrongLot, ExpiryTooNear, OrderCancelled}

// acceptable is all that may be named when a receipt is closed.
var acceptable = []string{Over, Short, Damaged, UnknownItem, NotOrdered, WrongLot, ExpiryTooNear, ExpiredAlready, LotHeld, OrderCancelled}

// Discrepancy is units that differ from what should have come.
type Discrepancy struct {
	Kind     string `json:"kind"`
	SKU      string `json:"sku,omitempty"`
	Lot      string `json:"lot,omitempty"`
	Scanned  string `json:"scanned,omitempty"` // of an unknown item
	Quantity int    `json:"quantity"`
	// NeedsAcceptance says that the receipt can't be closed without.
	NeedsAcceptance bool `json:"needs_acceptance"`
}

// ReceiptInput begins a receipt.
type ReceiptInput struct {
	Warehouse       string `json:"warehouse"`
	PurchaseOrderID string `json:"purchase_order_id"`
	// Bin is where the goods are put down, of kind receiving.
	Bin string `json:"bin"`
	// Document is the number of the supplier's delivery note.
	Document string `json:"document"`
}

func (in ReceiptInput) check(ctx context.Context, tx pgx.Tx, tenantID string) error {
	var f problem.Fields
	if !catalog.WarehouseCode.MatchString(in.Warehouse) {
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	} else if err := warehouseExists(ctx, tx, tenantID, in.Warehouse, &f); err != nil {
		return err
	}
	if in.Document != "" && len(in.Document) > 128 {
		f.Add("document", "too_long", "at most 128 bytes")
	}
	if in.Bin == "" {
		f.Add("bin", "required", "say where the goods are put down")
	}
	if len(f) > 0 {
		return f.Err()
	}
	kind, err := binKind(ctx, tx, tenantID, in.Warehouse, in.Bin)
	switch {
	case err != nil:
		return err
	case kind == "":
		f.Add("bin", "unknown_bin", "there is no such bin")
	case kind != "receiving":
		f.Add("bin", "wrong_kind", "a %s bin; goods are put down in a receiving bin", kind)
	}
	return f.Err()
}

// binKind is the kind of a bin that is in use, and empty when there is none.
func binKind(ctx context.Context, tx pgx.Tx, tenantID, warehouse, code string) (kind string, err error) {
	err = tx.QueryRow(ctx, `SELECT kind FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = $3 AND active`, tenantID, warehouse, code).Scan(&kind)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("bin %s: %w", code, err)
	}
	return kind, nil
}

// StartReceipt begins a receipt under an id of the caller's. 409 order_cancelled
// or order_received when its purchase order expects nothing.
func StartReceipt(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, receiptID string, in ReceiptInput, by stock.By) (Detail, error) {
	if err := in.check(ctx, tx, shop.ID); err != nil {
		return Detail{}, err
	}
	var orderID *string
	if in.PurchaseOrderID != "" {
		if !id.Valid(in.PurchaseOrderID) {
			return Detail{}, problem.Missing("purchase order")
		}
		p, err := lockOrder(ctx, tx, shop.ID, in.PurchaseOrderID)
		if err != nil {
			return Detail{}, err
		}
		if !p.open() {
			return Detail{}, orderOver(p)
		}
		if p.Warehouse != in.Warehouse {
			var f problem.Fields
			f.Add("warehouse", "invalid", "the purchase order is for %s", p.Warehouse)
			return Detail{}, f.Err()
		}
		orderID = &p.ID
	}
	_, err := tx.Exec(ctx, `INSERT INTO receipts (tenant, id, warehouse, purchase_order_id, bin, document, due_at, waits_for, person) VALUES ($1,$2,$3,$4,$5,$6,now() + make_interval(hours => $7),$8,$9)`,
		shop.ID, receiptID, in.Warehouse, orderID, in.Bin, in.Document, shop.Settings.Receiving.CloseHours, waitsForScan, by.Person)
	if err != nil {
		return Detail{}, fmt.Errorf("receipt %s: %w", receiptID, err)
	}
	return ReadReceipt(ctx, tx, shop, receiptID)
}

const receiptColumns = `SELECT r.id, r.warehouse, r.purchase_order_id, (SELECT number FROM purchase_orders o WHERE o.tenant = r.tenant AND o.id = r.purchase_order_id), r.bin, r.document, r.status, r.waits_for, r.version,
  r.due_at, r.person, r.created_at, r.updated_at, r.ended_at, r.ended_by, r.accepted, r.discrepancies
  FROM receipts r WHERE r.tenant = $1`

func scanReceipt(row pgx.CollectableRow) (r Receipt, err error) {
	return r, row.Scan(&r.ID, &r.Warehouse, &r.PurchaseOrderID, &r.PurchaseOrderNumber, &r.Bin, &r.Document, &r.Status, &r.WaitsFor, &r.Version,
		&r.DueAt, &r.OpenedBy, &r.CreatedAt, &r.UpdatedAt, &r.EndedAt, &r.EndedBy, &r.Accepted, &r.differed)
}

func getReceipt(ctx context.Context, tx pgx.Tx, tenantID, receiptID, lock string) (Receipt, error) {
	rows, err := tx.Query(ctx, receiptColumns+` AND r.id = $2`+lock, tenantID, receiptID)
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt %s: %w", receiptID, err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanReceipt)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, problem.Missing("receipt")
	}
	if err != nil {
		return r, fmt.Errorf("receipt %s: %w", receiptID, err)
	}
	return r, nil
}

// lockReceipt locks a receipt and, before it, its purchase order, which is nil
// when it has none.
func lockReceipt(ctx context.Context, tx pgx.Tx, tenantID, receiptID string) (Receipt, *PurchaseOrder, error) {
	r, err := getReceipt(ctx, tx, tenantID, receiptID, "")
	if err != nil {
		return r, nil, err
	}
	var order *PurchaseOrder
	if r.PurchaseOrderID != nil {
		p, err := lockOrder(ctx, tx, tenantID, *r.PurchaseOrderID)
		if err != nil {
			return r, nil, err
		}
		order = &p
	}
	r, err = getReceipt(ctx, tx, tenantID, receiptID, ` FOR UPDATE OF r`)
	return r, order, err
}

// over refuses what only an open receipt takes.
func (r Receipt) over() error {
	if r.Status == "cancelled" {
		return problem.New(problem.Conflict, "receipt_cancelled", "This receipt was cancelled.").With("current", r)
	}
	return problem.New(problem.Conflict, "receipt_closed", "This receipt is closed: begin another one.").With("current", r)
}

// ReadReceipt reads a receipt; while it is open, its discrepancies are those of
// this moment, without what may still come.
func ReadReceipt(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, receiptID string) (Detail, error) {
	r, err := getReceipt(ctx, tx, shop.ID, receiptID, "")
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Receipt: r}
	if d.Lines, err = lines(ctx, tx, shop.ID, receiptID); err != nil {
		return d, err
	}
	if r.differed != nil {
		err = json.Unmarshal(r.differed, &d.Discrepancies)
	} else {
		d.Discrepancies, err = differences(ctx, tx, shop, r, false)
	}
	if err != nil {
		return d, fmt.Errorf("discrepancies of receipt %s: %w", receiptID, err)
	}
	return d, nil
}

// net is what was scanned for a receipt ($1 tenant, $2 receipt) less what was
// taken back.
const net = `WITH net AS (
  SELECT e.*, e.quantity - coalesce((SELECT sum(c.quantity) FROM receipt_entries c WHERE c.tenant = e.tenant AND c.corrects = e.id), 0)::int AS units
    FROM receipt_entries e WHERE e.tenant = $1 AND e.receipt_id = $2 AND e.kind <> 'correction'
) `

func lines(ctx context.Context, tx pgx.Tx, tenantID, receiptID string) ([]Line, error) {
	rows, err := tx.Query(ctx, net+`SELECT n.sku, p.name, n.lot, (SELECT to_char(l.expires_on, 'YYYY-MM-DD') FROM lots l WHERE l.tenant = $1 AND l.sku = n.sku AND l.lot = n.lot),
	    sum(n.quantity)::int, sum(n.quantity - n.units)::int, coalesce(sum(n.units) FILTER (WHERE n.status = 'held'), 0)::int, coalesce(sum(n.units) FILTER (WHERE n.status = 'expired'), 0)::int,
	    coalesce(sum(n.units) FILTER (WHERE n.status = 'damaged'), 0)::int
	  FROM net n JOIN products p ON p.tenant = n.tenant AND p.sku = n.sku GROUP BY n.sku, p.name, n.lot ORDER BY n.sku, n.lot`, tenantID, receiptID)
	if err != nil {
		return nil, fmt.Errorf("lines of receipt %s: %w", receiptID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Line])
	if err != nil {
		return nil, fmt.Errorf("lines of receipt %s: %w", receiptID, err)
	}
	return list, nil
}

// differences compares what was scanned with what should have come. What is
// missing counts only when the receipt is being closed.
func differences(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, r Receipt, closing bool) ([]Discrepancy, error) {
	rows, err := tx.Query(ctx, net+`, ordered AS (
	  SELECT l.*, o.status IN ('open','partially_received') AS open FROM receipts r JOIN purchase_orders o ON o.tenant = r.tenant AND o.id = r.purchase_order_id
	    JOIN purchase_order_lines l ON l.tenant = o.tenant AND l.purchase_order_id = o.id WHERE r.tenant = $1 AND r.id = $2
	)
	SELECT fault, coalesce(sku, '') AS sku, lot, CASE WHEN kind = 'unknown' THEN scanned ELSE '' END AS scanned, sum(units)::int, fault = ANY($4) FROM net, unnest(faults) AS fault WHERE units > 0 GROUP BY 1, 2, 3, 4
	UNION ALL
	SELECT 'over', o.sku, o.lot, '', least(n.units, o.received - o.ordered), o.received - o.ordered > o.ordered::bigint * $3 / 100
	  FROM ordered o JOIN (SELECT line, sum(units)::int AS units FROM net GROUP BY line) n ON n.line = o.line WHERE o.received > o.ordered AND n.units > 0
	UNION ALL
	SELECT 'short', o.sku, o.lot, '', o.ordered - o.received, false FROM ordered o WHERE $5 AND o.open AND o.received < o.ordered
	ORDER BY 1, 2, 3, 4`, shop.ID, r.ID, shop.Settings.Receiving.OverPercent, needAcceptance, closing)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Discrepancy])
}

// ReceiptFilter chooses receipts; what is empty chooses all.
type ReceiptFilter struct {
	Status, Warehouse, PurchaseOrderID string
	Before                             string // an id
	Limit                              int
}

// ListReceipts lists receipts, the newest first.
func ListReceipts(ctx context.Context, tx pgx.Tx, tenantID string, q ReceiptFilter) ([]Receipt, error) {
	rows, err := tx.Query(ctx, receiptColumns+` AND ($2 = '' OR r.status = $2) AND ($3 = '' OR r.warehouse = $3) AND ($4 = '' OR r.purchase_order_id = $4) AND ($5 = '' OR r.id < $5) ORDER BY r.id DESC LIMIT $6`,
		tenantID, q.Status, q.Warehouse, q.PurchaseOrderID, q.Before, q.Limit)
	if err != nil {
		return nil, fmt.Errorf("receipts: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanReceipt)
	if err != nil {
		return nil, fmt.Errorf("receipts: %w", err)
	}
	return list, nil
}

// OpenReceipts are the ids of the receipts of a purchase order that are open.
func OpenReceipts(ctx context.Context, tx pgx.Tx, tenantID, orderID string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM receipts WHERE tenant = $1 AND purchase_order_id = $2 AND status = 'open' ORDER BY id`, tenantID, orderID)
	if err != nil {
		return nil, fmt.Errorf("receipts of purchase order %s: %w", orderID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("receipts of purchase order %s: %w", orderID, err)
	}
	return list, nil
}

// Closing ends a receipt.
type Closing struct {
	ReceiptID string
	// Accept are the kinds of discrepancies that the person accepts. Units that
	// were held only for accepted ones become available where they still lie in
	// the receiving bin.
	Accept []string
	// Version refuses, with 409 version_changed, a receipt that somebody has
	// changed since; nil takes any.
	Version *int64
	stock.By
}

// CloseReceipt ends a receipt, by a person. What is missing stays expected. A
// closed one is returned as it is. 409 acceptance_needed names what must be
// accepted first, in needs and discrepancies.
func CloseReceipt(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, c Closing) (Detail, error) {
	var f problem.Fields
	for i, kind := range c.Accept {
		if !slices.Contains(acceptable, kind) {
			f.Add(fmt.Sprintf("accept[%d]", i), "invalid", "no such discrepancy")
		}
	}
	if err := f.Err(); err != nil {
		return Detail{}, err
	}
	r, _, err := lockReceipt(ctx, tx, shop.ID, c.ReceiptID)
	if err != nil {
		return Detail{}, err
	}
	switch {
	case r.Status == "closed":
		return ReadReceipt(ctx, tx, shop, r.ID)
	case r.Status != "open":
		return Detail{}, r.over()
	case c.Version != nil && *c.Version != r.Version:
		return Detail{}, problem.New(problem.Conflict, "version_changed", "Somebody has changed this receipt since.").With("current", r)
	}
	list, err := differences(ctx, tx, shop, r, true)
	if err != nil {
		return Detail{}, fmt.Errorf("discrepancies of receipt %s: %w", r.ID, err)
	}
	if err := unaccepted(list, c.Accept); err != nil {
		return Detail{}, err
	}
	if err := release(ctx, tx, shop.ID, r, c); err != nil {
		return Detail{}, err
	}
	differed, err := json.Marshal(list)
	if err != nil {
		return Detail{}, err
	}
	accepted := slices.Compact(slices.Sorted(slices.Values(c.Accept)))
	if accepted == nil {
		accepted = []string{}
	}
	if err := endReceipt(ctx, tx, shop.ID, r, "closed", c.Person, differed, accepted); err != nil {
		return Detail{}, err
	}
	return ReadReceipt(ctx, tx, shop, r.ID)
}

func unaccepted(list []Discrepancy, accept []string) error {
	needs := []string{}
	for _, d := range list {
		if d.NeedsAcceptance && !slices.Contains(accept, d.Kind) && !slices.Contains(needs, d.Kind) {
			needs = append(needs, d.Kind)
		}
	}
	if len(needs) == 0 {
		return nil
	}
	return problem.New(problem.Conflict, "acceptance_needed", "Accept what differs, or correct it, before the receipt is closed.").With("needs", needs).With("discrepancies", list)
}

func endReceipt(ctx context.Context, tx pgx.Tx, tenantID string, r Receipt, status, person string, differed []byte, accepted []string) error {
	_, err := tx.Exec(ctx, `UPDATE receipts SET status = $3, due_at = NULL, waits_for = '', version = version + 1, updated_at = now(), ended_at = now(), ended_by = $4, discrepancies = $5, accepted = $6
	  WHERE tenant = $1 AND id = $2 AND status = 'open'`, tenantID, r.ID, status, person, differed, accepted)
	if err != nil {
		return fmt.Errorf("receipt %s: %w", r.ID, err)
	}
	if r.PurchaseOrderID == nil {
		return nil
	}
	return settleOrder(ctx, tx, tenantID, *r.PurchaseOrderID, person)
}

// release makes held units available that are held for nothing but what the
// person accepts, as far as they still lie where they were put down.
func release(ctx context.Context, tx pgx.Tx, tenantID string, r Receipt, c Closing) error {
	stays := []string{LotHeld}
	for _, kind := range holdBack {
		if !slices.Contains(c.Accept, kind) {
			stays = append(stays, kind)
		}
	}
	rows, err := tx.Query(ctx, net+`SELECT bin, sku, lot, coalesce(serial, ''), sum(units)::int FROM net WHERE units > 0 AND status = 'held' AND NOT faults && $3 GROUP BY 1, 2, 3, 4 ORDER BY 2, 1, 3, 4`, tenantID, r.ID, stays)
	if err != nil {
		return fmt.Errorf("held units of receipt %s: %w", r.ID, err)
	}
	type pile struct {
		Bin, SKU, Lot, Serial string
		Units                 int
	}
	piles, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pile])
	if err != nil {
		return fmt.Errorf("held units of receipt %s: %w", r.ID, err)
	}
	skus := make([]string, len(piles))
	for i, p := range piles {
		skus[i] = p.SKU
	}
	if err := lockLevels(ctx, tx, tenantID, r.Warehouse, skus); err != nil {
		return err
	}
	for _, p := range piles {
		var there int
		err := tx.QueryRow(ctx, `SELECT coalesce((SELECT s.quantity FROM bin_stock s WHERE s.tenant = $1 AND s.warehouse = $2 AND s.bin = $3 AND s.sku = $4 AND s.lot = $5 AND s.status = 'held'
		     AND ($6 = '' OR EXISTS (SELECT FROM serials n WHERE n.tenant = $1 AND n.warehouse = $2 AND n.bin = $3 AND n.sku = $4 AND n.lot = $5 AND n.status = 'held' AND n.serial = $6 AND n.state = 'in_stock'))), 0)`,
			tenantID, r.Warehouse, p.Bin, p.SKU, p.Lot, p.Serial).Scan(&there)
		if err != nil {
			return fmt.Errorf("held units of %s: %w", p.SKU, err)
		}
		if n := min(there, p.Units); n > 0 {
			_, err := stock.Move(ctx, tx, tenantID, stock.BinMovement{SKU: p.SKU, Warehouse: r.Warehouse, Lot: p.Lot, Serial: p.Serial, Quantity: n, From: stock.In(p.Bin, stock.Held), To: stock.In(p.Bin, stock.Available),
				Reason: "release", Document: document(r.ID), Note: "accepted when the receipt was closed", By: c.By})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// document names a receipt in the ledger of bins.
func document(receiptID string) string { return "receipt:" + receiptID }

// lockLevels locks the stock of SKUs in the order that all keep.
func lockLevels(ctx context.Context, tx pgx.Tx, tenantID, warehouse string, skus []string) error {
	if _, err := tx.Exec(ctx, lockSKUs, tenantID, skus, warehouse); err != nil {
		return fmt.Errorf("stock of a receipt: %w", err)
	}
	return nil
}

const lockSKUs = `SELECT FROM stock_levels WHERE tenant = $1 AND sku = ANY($2) AND warehouse = $3 ORDER BY sku, warehouse FOR UPDATE`

// CancelReceipt ends a receipt for which nothing was scanned; a cancelled one is
// returned as it is. 409 receipt_has_scans when something was: take it back with
// Correct, and close it.
func CancelReceipt(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, receiptID string, by stock.By) (Detail, error) {
	r, _, err := lockReceipt(ctx, tx, shop.ID, receiptID)
	if err != nil {
		return Detail{}, err
	}
	switch r.Status {
	case "cancelled":
		return ReadReceipt(ctx, tx, shop, r.ID)
	case "closed":
		return Detail{}, r.over()
	}
	var scans int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM receipt_entries WHERE tenant = $1 AND receipt_id = $2`, shop.ID, r.ID).Scan(&scans); err != nil {
		return Detail{}, fmt.Errorf("receipt %s: %w", r.ID, err)
	}
	if scans > 0 {
		return Detail{}, problem.New(problem.Conflict, "receipt_has_scans", "Something was scanned for this receipt: correct it and close the receipt.").With("current", r)
	}
	if err := endReceipt(ctx, tx, shop.ID, r, "cancelled", by.Person, nil, []string{}); err != nil {
		return Detail{}, err
	}
	return ReadReceipt(ctx, tx, shop, r.ID)
}
