package receiving

import (
	"context"
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
	"justlogistics/internal/warehouse/scancode"
)

// ToPutAway is units that a person has carried from one bin to another.
type ToPutAway struct {
	Warehouse string `json:"warehouse"`
	// SKU or Code names the product; a code may say lot and serial too.
	SKU      string   `json:"sku"`
	Code     string   `json:"code"`
	Lot      string   `json:"lot"`
	Serials  []string `json:"serials"`
	Quantity int      `json:"quantity"` // may be left out with serials
	From     string   `json:"from"`
	To       string   `json:"to"` // as it was scanned
	// Status of the units; empty is available.
	Status string `json:"status"`
	// Version is that of the units in From, as the proposal had it; null takes any.
	Version *int64 `json:"version"`
	// Force puts them there against the bin's room, rule or kind; Reason says why.
	Force  bool   `json:"force"`
	Reason string `json:"reason"`
	// ReceiptID is the receipt that they came with, if the person works on one.
	ReceiptID string   `json:"receipt_id"`
	By        stock.By `json:"-"`
}

// PutAwayDone is what lies in both bins afterwards.
type PutAwayDone struct {
	SKU      string   `json:"sku"`
	Lot      string   `json:"lot,omitempty"`
	Serials  []string `json:"serials,omitempty"`
	Quantity int      `json:"quantity"`
	Status   string   `json:"status"`
	From     Pile     `json:"from"`
	To       Pile     `json:"to"`
	// Reallocated is units that were promised from the old bin and are promised
	// again, Unallocated those for which no bin was found.
	Reallocated int `json:"reallocated"`
	Unallocated int `json:"unallocated"`
}

// Pile is the units of a SKU, lot and status in a bin.
type Pile struct {
	Bin      string `json:"bin"`
	Quantity int    `json:"quantity"`
	Version  int64  `json:"version"`
}

var statuses = []string{stock.Available, stock.Held, stock.Expired, stock.Damaged}

func (in *ToPutAway) check() error {
	var f problem.Fields
	if !catalog.WarehouseCode.MatchString(in.Warehouse) {
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	}
	if (in.SKU == "") == (in.Code == "") {
		f.Add("sku", "required", "name the SKU, or send the code that was scanned")
	}
	if in.From == "" {
		f.Add("from", "required", "say from which bin")
	}
	if in.To == "" {
		f.Add("to", "required", "say into which bin")
	}
	if in.Status == "" {
		in.Status = stock.Available
	}
	if !slices.Contains(statuses, in.Status) {
		f.Add("status", "invalid", "available, held, expired or damaged")
	}
	if in.Quantity == 0 {
		in.Quantity = len(in.Serials)
	}
	if in.Quantity != 0 || in.Code == "" {
		units(&f, "quantity", in.Quantity)
	}
	if len(in.Serials) > mostSerials {
		f.Add("serials", "too_many", "at most %d", mostSerials)
	} else if n := len(in.Serials); n > 0 && n != in.Quantity {
		f.Add("quantity", "invalid", "%d serials were scanned", n)
	}
	for i, s := range in.Serials {
		if slices.Contains(in.Serials[:i], s) {
			f.Add(fmt.Sprintf("serials[%d]", i), "repeated", "scanned twice")
		}
	}
	if len(in.Reason) > 400 {
		f.Add("reason", "too_long", "at most 400 bytes")
	}
	if in.Force && in.Reason == "" {
		f.Add("reason", "required", "say why the rule does not hold")
	}
	if in.ReceiptID != "" && !id.Valid(in.ReceiptID) {
		f.Add("receipt_id", "invalid", "not an id")
	}
	return f.Err()
}

// PutAway books that a person has put units into a bin. Their status stays.
// Promises on them move with them as far as units are free.
//
// 409 unknown_bin, not_in_bin (with what is there), version_changed; and, unless
// forced, bin_full (with the room there is), lot_rule and wrong_kind. A repetition
// is refused by the version, or books again: a caller keeps its idempotency key.
// After an error the transaction may be over.
func PutAway(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, in ToPutAway, now time.Time) (PutAwayDone, error) {
	if err := in.check(); err != nil {
		return PutAwayDone{}, err
	}
	bySerial, err := in.identify(ctx, tx, shop.ID, now)
	if err != nil {
		return PutAwayDone{}, err
	}
	if err := lockLevels(ctx, tx, shop.ID, in.Warehouse, []string{in.SKU}); err != nil {
		return PutAwayDone{}, err
	}
	if err := in.target(ctx, tx, shop.ID); err != nil {
		return PutAwayDone{}, err
	}
	if err := in.source(ctx, tx, shop.ID); err != nil {
		return PutAwayDone{}, err
	}
	moved, err := in.carry(ctx, tx, shop.ID, bySerial)
	if err != nil {
		return PutAwayDone{}, err
	}
	out := PutAwayDone{SKU: in.SKU, Lot: in.Lot, Serials: in.Serials, Quantity: in.Quantity, Status: in.Status}
	if out.Reallocated, out.Unallocated, err = promiseAgain(ctx, tx, shop, in.SKU, in.Warehouse, moved, now); err != nil {
		return PutAwayDone{}, err
	}
	err = in.readPiles(ctx, tx, shop.ID, &out)
	return out, err
}

// ReadPutAway is what lies in both bins today, for a put-away that was booked and
// whose answer was lost.
func ReadPutAway(ctx context.Context, tx pgx.Tx, tenantID string, in ToPutAway, now time.Time) (PutAwayDone, error) {
	if err := in.check(); err != nil {
		return PutAwayDone{}, err
	}
	if _, err := in.identify(ctx, tx, tenantID, now); err != nil {
		return PutAwayDone{}, err
	}
	out := PutAwayDone{SKU: in.SKU, Lot: in.Lot, Serials: in.Serials, Quantity: in.Quantity, Status: in.Status}
	err := in.readPiles(ctx, tx, tenantID, &out)
	return out, err
}

func (in *ToPutAway) readPiles(ctx context.Context, tx pgx.Tx, tenantID string, out *PutAwayDone) (err error) {
	if out.From, err = readPile(ctx, tx, tenantID, *in, in.From); err != nil {
		return err
	}
	out.To, err = readPile(ctx, tx, tenantID, *in, in.To)
	return err
}

// identify finds the product and completes what the code says.
func (in *ToPutAway) identify(ctx context.Context, tx pgx.Tx, tenantID string, now time.Time) (bySerial bool, err error) {
	code := in.Code
	if code == "" {
		code = in.SKU
	}
	item, err := resolve(ctx, tx, tenantID, code, now)
	if err != nil {
		return false, err
	}
	var f problem.Fields
	if in.SKU != "" && item.SKU != in.SKU {
		f.Add("sku", "unknown_sku", "there is no such SKU")
	}
	if in.Lot != "" && item.Lot != "" && in.Lot != item.Lot {
		f.Add("lot", "invalid", "the code says lot %s", item.Lot)
	}
	if in.Lot == "" {
		in.Lot = item.Lot
	}
	if item.Tracking == "none" {
		in.Lot = ""
	}
	bySerial = item.Tracking == "serial"
	in.SKU = item.SKU
	in.fill(&f, item, bySerial)
	if in.ReceiptID != "" {
		var exists bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM receipts WHERE tenant = $1 AND id = $2 AND warehouse = $3)`, tenantID, in.ReceiptID, in.Warehouse).Scan(&exists); err != nil {
			return false, fmt.Errorf("receipt %s: %w", in.ReceiptID, err)
		}
		if !exists {
			return false, problem.Missing("receipt")
		}
	}
	return bySerial, f.Err()
}

// fill takes serial and count from the code where the person named none.
func (in *ToPutAway) fill(f *problem.Fields, item scancode.Item, bySerial bool) {
	if bySerial && len(in.Serials) == 0 && item.Serial != "" {
		in.Serials = []string{item.Serial}
	}
	switch {
	case in.Quantity > 0:
	case bySerial:
		in.Quantity = len(in.Serials)
	default:
		in.Quantity = max(1, item.Count)
	}
	switch {
	case bySerial && len(in.Serials) == 0:
		f.Add("serials", "required", "units of %s have serial numbers", in.SKU)
	case bySerial && len(in.Serials) != in.Quantity:
		f.Add("quantity", "invalid", "%d serials were scanned", len(in.Serials))
	case !bySerial && len(in.Serials) > 0:
		f.Add("serials", "unsupported", "units of %s have no serial numbers", in.SKU)
	}
}

// target locks the bin that the units go to and demands that it takes them.
func (in *ToPutAway) target(ctx context.Context, tx pgx.Tx, tenantID string) error {
	// Two that fill the same bin take turns.
	if _, err := tx.Exec(ctx, `SELECT FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = $3 FOR NO KEY UPDATE`, tenantID, in.Warehouse, in.To); err != nil {
		return fmt.Errorf("bin %s: %w", in.To, err)
	}
	list, err := shelves(ctx, tx, tenantID, in.Warehouse, []string{}, in.To)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return problem.New(problem.Conflict, "unknown_bin", "There is no bin "+in.To+" in use in this warehouse.").With("bin", in.To)
	}
	if in.To == in.From {
		var f problem.Fields
		f.Add("to", "invalid", "must be another bin")
		return f.Err()
	}
	if in.Force {
		return nil
	}
	s := list[0]
	var of size
	err = tx.QueryRow(ctx, `SELECT weight_grams, length_mm::bigint * width_mm * height_mm FROM products WHERE tenant = $1 AND sku = $2`, tenantID, in.SKU).Scan(&of.grams, &of.mm3)
	if err != nil {
		return fmt.Errorf("product %s: %w", in.SKU, err)
	}
	switch room := s.room(of); {
	case !slices.Contains(kindsFor(in.Status), s.kind):
		return problem.New(problem.Conflict, "wrong_kind", "Bin "+in.To+" is a "+s.kind+" bin: "+in.Status+" units do not belong there.").With("bin", in.To).With("kind", s.kind)
	case !s.suits(in.SKU, in.Lot):
		return problem.New(problem.Conflict, "lot_rule", "What lies in bin "+in.To+" must not be mixed with these units.").With("bin", in.To).With("lot_rule", s.rule)
	case room < in.Quantity:
		return problem.New(problem.Conflict, "bin_full", "Bin "+in.To+" has no room for so many.").With("bin", in.To).With("room", room)
	}
	return nil
}

// source demands that the units are where the person took them.
func (in *ToPutAway) source(ctx context.Context, tx pgx.Tx, tenantID string) error {
	kind, err := binKind(ctx, tx, tenantID, in.Warehouse, in.From)
	if err != nil {
		return err
	}
	switch kind {
	case "packing", "in_transit":
		return problem.New(problem.Conflict, "wrong_kind", "What lies in a "+kind+" bin belongs to an order or a transfer and is not put away.").With("bin", in.From).With("kind", kind)
	}
	p, err := readPile(ctx, tx, tenantID, *in, in.From)
	if err != nil {
		return err
	}
	switch {
	case in.Version != nil && *in.Version != p.Version:
		return problem.New(problem.Conflict, "version_changed", "What lies in bin "+in.From+" has changed since.").With("current", p)
	case p.Quantity < in.Quantity:
		return in.notThere(p)
	}
	return nil
}

func (in *ToPutAway) notThere(current Pile) error {
	return problem.New(problem.Conflict, "not_in_bin", "Those units are not in bin "+in.From+".").With("current", current)
}

// readPile reads what there is of the units in a bin; nothing is version 0.
func readPile(ctx context.Context, tx pgx.Tx, tenantID string, in ToPutAway, bin string) (Pile, error) {
	p := Pile{Bin: bin}
	err := tx.QueryRow(ctx, `SELECT quantity, version FROM bin_stock WHERE tenant = $1 AND warehouse = $2 AND bin = $3 AND sku = $4 AND lot = $5 AND status = $6`,
		tenantID, in.Warehouse, bin, in.SKU, in.Lot, in.Status).Scan(&p.Quantity, &p.Version)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return p, fmt.Errorf("bin %s: %w", bin, err)
	}
	return p, nil
}

// carry books the movements.
func (in *ToPutAway) carry(ctx context.Context, tx pgx.Tx, tenantID string, bySerial bool) (dropped []stock.Dropped, err error) {
	m := stock.BinMovement{SKU: in.SKU, Warehouse: in.Warehouse, Lot: in.Lot, Quantity: in.Quantity, From: stock.In(in.From, in.Status), To: stock.In(in.To, in.Status), Reason: "put_away", Note: in.Reason, By: in.By}
	if in.Force {
		m.Note = "forced: " + in.Reason
	}
	if in.ReceiptID != "" {
		m.Document = document(in.ReceiptID)
	}
	each := []string{""}
	if bySerial {
		m.Quantity, each = 1, in.Serials
	}
	for _, m.Serial = range each {
		moved, err := stock.Move(ctx, tx, tenantID, m)
		if errors.Is(err, stock.ErrNotInBin) || errors.Is(err, stock.ErrSerialAbsent) {
			return nil, in.notThere(Pile{Bin: in.From})
		}
		if err != nil {
			return nil, err
		}
		dropped = append(dropped, moved.Dropped...)
	}
	return dropped, nil
}

// promiseAgain finds bins for the promises whose units were carried away, as far
// as the promises still stand.
func promiseAgain(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, sku, warehouse string, dropped []stock.Dropped, now time.Time) (again, missing int, err error) {
	if len(dropped) == 0 {
		return 0, 0, nil
	}
	date, err := today(shop, now)
	if err != nil {
		return 0, 0, err
	}
	open, err := unallocated(ctx, tx, shop.ID, sku, warehouse, dropped)
	if err != nil {
		return 0, 0, err
	}
	var want []stock.ToAllocate
	for _, d := range dropped {
		if n := min(d.Units, open[d.HoldID]); n > 0 {
			open[d.HoldID] -= n
			want = append(want, stock.ToAllocate{HoldID: d.HoldID, SKU: sku, Warehouse: warehouse, Units: n, ListID: d.ListID, Line: d.Line})
		}
	}
	found, short, err := stock.Allocate(ctx, tx, shop.ID, warehouse, want, date)
	if err != nil {
		return 0, 0, err
	}
	for _, a := range found {
		again += a.Quantity
	}
	for _, n := range short {
		missing += n
	}
	return again, missing, nil
}

// unallocated is how many promised units of each hold have no bin.
func unallocated(ctx context.Context, tx pgx.Tx, tenantID, sku, warehouse string, dropped []stock.Dropped) (map[string]int, error) {
	holds := make([]string, len(dropped))
	for i, d := range dropped {
		holds[i] = d.HoldID
	}
	rows, err := tx.Query(ctx, `SELECT hold_id, quantity - shorted - left_stock - allocated FROM hold_lines WHERE tenant = $1 AND hold_id = ANY($2) AND sku = $3 AND warehouse = $4`, tenantID, holds, sku, warehouse)
	if err != nil {
		return nil, fmt.Errorf("promises of %s: %w", sku, err)
	}
	out := map[string]int{}
	var hold string
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&hold, &n}, func() error { out[hold] = n; return nil }); err != nil {
		return nil, fmt.Errorf("promises of %s: %w", sku, err)
	}
	return out, nil
}
