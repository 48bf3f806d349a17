package receiving

import (
	"cmp"
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
	done, err := PutAwayAll(ctx, tx, shop, []ToPutAway{in}, now)
	if err != nil {
		return PutAwayDone{}, err
	}
	return done[0], nil
}

// PutAwayAll books put-aways one after the other, as PutAway does each, in few
// round trips however many there are. Either all stand or none: of a refusal nobody
// knows to which it belongs, and among others those of another warehouse are refused
// (several_warehouses), and those that take units from promises (units_allocated);
// so a caller with more than one books them by PutAway then.
func PutAwayAll(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, list []ToPutAway, now time.Time) ([]PutAwayDone, error) {
	list = slices.Clone(list)
	for i := range list {
		if err := list[i].check(); err != nil {
			return nil, err
		}
		if list[i].Warehouse != list[0].Warehouse {
			return nil, problem.New(problem.Conflict, "several_warehouses", "These are put-aways in several warehouses.")
		}
	}
	bySerial, err := identify(ctx, tx, shop.ID, list, now)
	if err != nil {
		return nil, err
	}
	c, err := lockHall(ctx, tx, shop.ID, list)
	if err != nil {
		return nil, err
	}
	out := make([]PutAwayDone, len(list))
	var movements []stock.BinMovement
	var of []int // the put-away of each
	for i := range list {
		in := &list[i]
		if err := c.check(in); err != nil {
			return nil, err
		}
		for _, m := range in.movements(bySerial[i]) {
			movements, of = append(movements, m), append(of, i)
			c.carry(in, m.Quantity)
		}
		out[i] = PutAwayDone{SKU: in.SKU, Lot: in.Lot, Serials: in.Serials, Quantity: in.Quantity, Status: in.Status, From: c.pile(in, in.From), To: c.pile(in, in.To)}
	}
	moved, at, err := stock.MoveAll(ctx, tx, shop.ID, movements)
	if errors.Is(err, stock.ErrNotInBin) || errors.Is(err, stock.ErrSerialAbsent) {
		in := &list[of[max(at, 0)]]
		return nil, in.notThere(Pile{Bin: in.From})
	}
	if err != nil {
		return nil, err
	}
	var dropped []stock.Dropped
	for _, m := range moved {
		dropped = append(dropped, m.Dropped...)
	}
	switch {
	case len(dropped) == 0:
		return out, nil
	case len(list) > 1:
		return nil, problem.New(problem.Conflict, "units_allocated", "Those units are chosen for orders.")
	}
	in := &list[0]
	if out[0].Reallocated, out[0].Unallocated, err = promiseAgain(ctx, tx, shop, in.SKU, in.Warehouse, dropped, now); err != nil {
		return nil, err
	}
	return out, in.readPiles(ctx, tx, shop.ID, &out[0])
}

// ReadPutAway is what lies in both bins today, for a put-away that was booked and
// whose answer was lost.
func ReadPutAway(ctx context.Context, tx pgx.Tx, tenantID string, in ToPutAway, now time.Time) (PutAwayDone, error) {
	if err := in.check(); err != nil {
		return PutAwayDone{}, err
	}
	list := []ToPutAway{in}
	if _, err := identify(ctx, tx, tenantID, list, now); err != nil {
		return PutAwayDone{}, err
	}
	in = list[0]
	out := PutAwayDone{SKU: in.SKU, Lot: in.Lot, Serials: in.Serials, Quantity: in.Quantity, Status: in.Status}
	err := in.readPiles(ctx, tx, tenantID, &out)
	return out, err
}

// readPiles reads both bins as they are now.
func (in *ToPutAway) readPiles(ctx context.Context, tx pgx.Tx, tenantID string, out *PutAwayDone) error {
	h := hall{piles: map[pileAt]Pile{}}
	b := &pgx.Batch{}
	h.queuePiles(b, tenantID, []ToPutAway{*in})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("bins %s and %s: %w", in.From, in.To, err)
	}
	out.From, out.To = h.pile(in, in.From), h.pile(in, in.To)
	return nil
}

// identify finds the products, completes what their codes say, and tells which
// have serial numbers.
func identify(ctx context.Context, tx pgx.Tx, tenantID string, list []ToPutAway, now time.Time) ([]bool, error) {
	codes := make([]string, len(list))
	for i, in := range list {
		codes[i] = cmp.Or(in.Code, in.SKU)
	}
	found, err := find(ctx, tx, tenantID, slices.Clone(codes), now)
	if err != nil {
		return nil, err
	}
	bySerial := make([]bool, len(list))
	for i := range list {
		item, err := labelled(found, codes[i])
		if err != nil {
			return nil, err
		}
		bySerial[i] = item.Tracking == "serial"
		if err := list[i].complete(item); err != nil {
			return nil, err
		}
		if err := list[i].known(ctx, tx, tenantID); err != nil {
			return nil, err
		}
	}
	return bySerial, nil
}

// complete joins what the person said with what the code says.
func (in *ToPutAway) complete(item scancode.Item) error {
	var f problem.Fields
	if in.SKU != "" && item.SKU != in.SKU {
		f.Add("sku", "unknown_sku", "there is no such SKU")
	}
	if in.Lot != "" && item.Lot != "" && in.Lot != item.Lot {
		f.Add("lot", "invalid", "the code says lot %s", item.Lot)
	}
	in.Lot = cmp.Or(in.Lot, item.Lot)
	if item.Tracking == "none" {
		in.Lot = ""
	}
	in.SKU = item.SKU
	in.fill(&f, item, item.Tracking == "serial")
	return f.Err()
}

// known demands that the receipt is there which the units came with.
func (in *ToPutAway) known(ctx context.Context, tx pgx.Tx, tenantID string) error {
	if in.ReceiptID == "" {
		return nil
	}
	var exists bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM receipts WHERE tenant = $1 AND id = $2 AND warehouse = $3)`, tenantID, in.ReceiptID, in.Warehouse).Scan(&exists); err != nil {
		return fmt.Errorf("receipt %s: %w", in.ReceiptID, err)
	}
	if !exists {
		return problem.Missing("receipt")
	}
	return nil
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

func (in *ToPutAway) notThere(current Pile) error {
	return problem.New(problem.Conflict, "not_in_bin", "Those units are not in bin "+in.From+".").With("current", current)
}

// movements are the ledger's, one for each serial.
func (in *ToPutAway) movements(bySerial bool) []stock.BinMovement {
	m := stock.BinMovement{SKU: in.SKU, Warehouse: in.Warehouse, Lot: in.Lot, Quantity: in.Quantity, From: stock.In(in.From, in.Status), To: stock.In(in.To, in.Status), Reason: "put_away", Note: in.Reason, By: in.By}
	if in.Force {
		m.Note = "forced: " + in.Reason
	}
	if in.ReceiptID != "" {
		m.Document = document(in.ReceiptID)
	}
	if !bySerial {
		return []stock.BinMovement{m}
	}
	m.Quantity = 1
	var out []stock.BinMovement
	for _, m.Serial = range in.Serials {
		out = append(out, m)
	}
	return out
}

// hall is the bins between which units are carried, as they are when everything
// that put-aways touch is locked, kept up with each of them.
type hall struct {
	shelves map[string]*shelf // that take units
	kinds   map[string]string // of the bins that they are taken from
	sizes   map[string]size   // of a unit, by SKU
	piles   map[pileAt]Pile
}

type pileAt struct{ bin, sku, lot, status string }

// lockHall locks what put-aways of one warehouse touch and reads it: stock before
// bins. Two that fill the same bin take turns.
func lockHall(ctx context.Context, tx pgx.Tx, tenantID string, list []ToPutAway) (*hall, error) {
	h := &hall{shelves: map[string]*shelf{}, kinds: map[string]string{}, sizes: map[string]size{}, piles: map[pileAt]Pile{}}
	warehouse := list[0].Warehouse
	var skus, from, to []string
	for _, in := range list {
		skus, from, to = append(skus, in.SKU), append(from, in.From), append(to, in.To)
	}
	b := &pgx.Batch{}
	b.Queue(lockSKUs, tenantID, skus, warehouse)
	b.Queue(`SELECT FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = ANY($3) ORDER BY code FOR NO KEY UPDATE`, tenantID, warehouse, to)
	// Statements of their own, since they must see what the locks have waited for.
	b.Queue(`SELECT code, kind FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = ANY($3) AND active`, tenantID, warehouse, from).Query(func(rows pgx.Rows) error {
		var code, kind string
		_, err := pgx.ForEachRow(rows, []any{&code, &kind}, func() error { h.kinds[code] = kind; return nil })
		return err
	})
	b.Queue(`SELECT sku, weight_grams, length_mm::bigint * width_mm * height_mm FROM products WHERE tenant = $1 AND sku = ANY($2)`, tenantID, skus).Query(func(rows pgx.Rows) error {
		var sku string
		var of size
		_, err := pgx.ForEachRow(rows, []any{&sku, &of.grams, &of.mm3}, func() error { h.sizes[sku] = of; return nil })
		return err
	})
	h.queuePiles(b, tenantID, list)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("bins of put-aways: %w", err)
	}
	found, err := shelves(ctx, tx, tenantID, warehouse, []string{}, to...)
	for _, s := range found {
		h.shelves[s.code] = s
	}
	return h, err
}

// queuePiles reads what there is of the units at both ends.
func (h *hall) queuePiles(b *pgx.Batch, tenantID string, list []ToPutAway) {
	var bins, skus, lots, statuses []string
	for _, in := range list {
		for _, bin := range []string{in.From, in.To} {
			bins, skus, lots, statuses = append(bins, bin), append(skus, in.SKU), append(lots, in.Lot), append(statuses, in.Status)
		}
	}
	b.Queue(`SELECT s.bin, s.sku, s.lot, s.status, s.quantity, s.version FROM (SELECT DISTINCT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[])) AS w (bin, sku, lot, status)
	    JOIN bin_stock s ON s.tenant = $1 AND s.warehouse = $2 AND s.bin = w.bin AND s.sku = w.sku AND s.lot = w.lot AND s.status = w.status`,
		tenantID, list[0].Warehouse, bins, skus, lots, statuses).Query(func(rows pgx.Rows) error {
		var at pileAt
		var p Pile
		_, err := pgx.ForEachRow(rows, []any{&at.bin, &at.sku, &at.lot, &at.status, &p.Quantity, &p.Version}, func() error {
			p.Bin = at.bin
			h.piles[at] = p
			return nil
		})
		return err
	})
}

// pile is what there is of the units in a bin; nothing is version 0.
func (h *hall) pile(in *ToPutAway, bin string) Pile {
	p := h.piles[pileAt{bin, in.SKU, in.Lot, in.Status}]
	p.Bin = bin
	return p
}

// carry moves units as the ledger will; each movement is a version of both piles.
func (h *hall) carry(in *ToPutAway, units int) {
	for bin, n := range map[string]int{in.From: -units, in.To: units} {
		p := h.pile(in, bin)
		p.Quantity += n
		p.Version++
		h.piles[pileAt{bin, in.SKU, in.Lot, in.Status}] = p
		if s := h.shelves[bin]; s != nil {
			of := h.sizes[in.SKU]
			s.put(pile{SKU: in.SKU, Lot: in.Lot, Units: n, Grams: of.grams, MM3: of.mm3})
		}
	}
}

func (h *hall) check(in *ToPutAway) error {
	if err := h.checkTarget(in); err != nil {
		return err
	}
	return h.checkSource(in)
}

// checkTarget demands that the bin which the units go to takes them.
func (h *hall) checkTarget(in *ToPutAway) error {
	s := h.shelves[in.To]
	if s == nil {
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
	switch room := s.room(h.sizes[in.SKU]); {
	case !slices.Contains(kindsFor(in.Status), s.kind):
		return problem.New(problem.Conflict, "wrong_kind", "Bin "+in.To+" is a "+s.kind+" bin: "+in.Status+" units do not belong there.").With("bin", in.To).With("kind", s.kind)
	case !s.suits(in.SKU, in.Lot):
		return problem.New(problem.Conflict, "lot_rule", "What lies in bin "+in.To+" must not be mixed with these units.").With("bin", in.To).With("lot_rule", s.rule)
	case room < in.Quantity:
		return problem.New(problem.Conflict, "bin_full", "Bin "+in.To+" has no room for so many.").With("bin", in.To).With("room", room)
	}
	return nil
}

// checkSource demands that the units are where the person took them.
func (h *hall) checkSource(in *ToPutAway) error {
	switch kind := h.kinds[in.From]; kind {
	case "packing", "in_transit":
		return problem.New(problem.Conflict, "wrong_kind", "What lies in a "+kind+" bin belongs to an order or a transfer and is not put away.").With("bin", in.From).With("kind", kind)
	}
	switch p := h.pile(in, in.From); {
	case in.Version != nil && *in.Version != p.Version:
		return problem.New(problem.Conflict, "version_changed", "What lies in bin "+in.From+" has changed since.").With("current", p)
	case p.Quantity < in.Quantity:
		return in.notThere(p)
	}
	return nil
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
