package stock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
)

// ToAllocate asks for units of bins for a line of a confirmed hold.
type ToAllocate struct {
	HoldID    string
	SKU       string
	Warehouse string
	Units     int
	// Lot is a lot asked for; empty takes what the SKU's removal rule says.
	Lot string
	// Bin is a bin asked for; empty takes any.
	Bin string
	// NotBin leaves a bin out: the one that turned out to be short.
	NotBin string
	ListID string
	Line   int
}

// Allocation is units of a bin for a line of a hold.
type Allocation struct {
	ID        string `json:"id"`
	HoldID    string `json:"-"`
	SKU       string `json:"sku"`
	Warehouse string `json:"-"`
	Bin       string `json:"bin"`
	Lot       string `json:"lot,omitempty"`
	Serial    string `json:"serial,omitempty"`
	Quantity  int    `json:"quantity"`
	State     string `json:"state"`
	ListID    string `json:"-"`
	Line      int    `json:"-"`
}

// candidate is free units in a bin, in the order in which they should leave.
type candidate struct {
	SKU, Bin, Lot string
	Free          int
}

// Allocate chooses bins and lots for lines that were promised, and returns what
// it could not find a bin for, by the index of the line. Lots leave by expiry
// (fefo) or in the order in which they came (fifo), never one that is held,
// expired, or has fewer days left on today (of the tenant) than the SKU's
// pick_days_left; among equals pick bins come before reserve and receiving. A bin
// that somebody wants counted for the SKU gives nothing. Units that lie in no bin
// are the last resort and have the bin "".
//
// All lines are of one warehouse. The promise itself is not touched. Lines of
// one SKU are served in the order given.
func Allocate(ctx context.Context, tx pgx.Tx, tenant, warehouse string, lines []ToAllocate, today time.Time) ([]Allocation, map[int]int, error) {
	out, missing, err := Choose(ctx, tx, tenant, warehouse, lines, today)
	if err != nil {
		return nil, nil, err
	}
	return out, missing, Keep(ctx, tx, tenant, out)
}

// Choose is Allocate without writing: for a wave, which knows only afterwards
// which of its lines stay. The stock is locked until the transaction ends; what is
// wanted of the answer is written by Keep before anything else is allocated.
func Choose(ctx context.Context, tx pgx.Tx, tenant, warehouse string, lines []ToAllocate, today time.Time) ([]Allocation, map[int]int, error) {
	var skus []string
	for _, l := range lines {
		if l.Warehouse != warehouse {
			return nil, nil, fmt.Errorf("allocate in %s: a line is of %s", warehouse, l.Warehouse)
		}
		skus = append(skus, l.SKU)
	}
	slices.Sort(skus)
	skus = slices.Compact(skus)
	if _, err := tx.Exec(ctx, `SELECT FROM stock_levels WHERE tenant = $1 AND sku = ANY($2) AND warehouse = $3 ORDER BY sku, warehouse FOR UPDATE`, tenant, skus, warehouse); err != nil {
		return nil, nil, fmt.Errorf("allocate in %s: %w", warehouse, err)
	}
	free, err := candidates(ctx, tx, tenant, warehouse, skus, today)
	if err != nil {
		return nil, nil, err
	}
	var out []Allocation
	missing := map[int]int{}
	for i, l := range lines {
		left := l.Units
		pool := free[l.SKU]
		for j := range pool {
			c := &pool[j]
			if left == 0 {
				break
			}
			if c.Free == 0 || l.Bin != "" && c.Bin != l.Bin || l.NotBin != "" && c.Bin == l.NotBin || l.Lot != "" && c.Lot != l.Lot {
				continue
			}
			n := min(left, c.Free)
			left -= n
			c.Free -= n
			out = append(out, Allocation{ID: id.New(), HoldID: l.HoldID, SKU: l.SKU, Warehouse: warehouse, Bin: c.Bin, Lot: c.Lot, Quantity: n, State: "open", ListID: l.ListID, Line: l.Line})
		}
		if left > 0 {
			missing[i] = left
		}
	}
	return out, missing, nil
}

// candidates lists the free units of SKUs in the order in which they should
// leave. That a pile is not empty is said for the index.
func candidates(ctx context.Context, tx pgx.Tx, tenant, warehouse string, skus []string, today time.Time) (map[string][]candidate, error) {
	rows, err := tx.Query(ctx, `
	SELECT s.sku, s.bin, s.lot, s.quantity - s.allocated
	  FROM bin_stock s JOIN bins b ON b.tenant = s.tenant AND b.warehouse = s.warehouse AND b.code = s.bin
	  JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku
	  LEFT JOIN lots l ON l.tenant = s.tenant AND l.sku = s.sku AND l.lot = s.lot AND s.lot <> ''
	 WHERE s.tenant = $1 AND s.warehouse = $2 AND s.sku = ANY($3) AND s.status = 'available' AND s.quantity > s.allocated AND s.quantity > 0
	   AND b.active AND b.kind IN ('pick','reserve','receiving') AND coalesce(l.status, 'available') = 'available'
	   AND (l.expires_on IS NULL OR l.expires_on > $4::date + p.pick_days_left)
	   AND NOT EXISTS (SELECT FROM count_requests c WHERE c.tenant = s.tenant AND c.warehouse = s.warehouse AND c.bin = s.bin AND c.sku = s.sku)
	 ORDER BY s.sku, CASE WHEN p.removal = 'fefo' THEN l.expires_on END NULLS LAST, coalesce(l.received_at, s.since), array_position(ARRAY['pick','reserve','receiving'], b.kind), s.bin, s.lot`,
		tenant, warehouse, skus, today)
	if err != nil {
		return nil, fmt.Errorf("units in bins of %s: %w", warehouse, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[candidate])
	if err != nil {
		return nil, fmt.Errorf("units in bins of %s: %w", warehouse, err)
	}
	out := map[string][]candidate{}
	for _, c := range list {
		out[c.SKU] = append(out[c.SKU], c)
	}
	rows, err = tx.Query(ctx, `SELECT l.sku, '', '', (l.on_hand - l.placed - coalesce((SELECT sum(a.quantity) FROM allocations a
	      WHERE a.tenant = l.tenant AND a.warehouse = l.warehouse AND a.bin = '' AND a.sku = l.sku AND a.state = 'open'), 0))::int
	  FROM stock_levels l WHERE l.tenant = $1 AND l.warehouse = $2 AND l.sku = ANY($3) AND l.on_hand > l.placed`, tenant, warehouse, skus)
	if err != nil {
		return nil, fmt.Errorf("units in no bin of %s: %w", warehouse, err)
	}
	loose, err := pgx.CollectRows(rows, pgx.RowToStructByPos[candidate])
	if err != nil {
		return nil, fmt.Errorf("units in no bin of %s: %w", warehouse, err)
	}
	for _, c := range loose {
		if c.Free > 0 {
			out[c.SKU] = append(out[c.SKU], c)
		}
	}
	return out, nil
}

// Keep writes allocations as Choose has returned them, in the same transaction.
func Keep(ctx context.Context, tx pgx.Tx, tenant string, list []Allocation) error {
	b := newBook(tx, tenant)
	b.kept = list
	return b.write(ctx)
}

func keep(b *pgx.Batch, tenant string, list []Allocation) {
	var ids, holds, skus, warehouses, bins, lots, serials, states, lists []string
	var quantities, lines []int
	for _, a := range list {
		ids, holds, skus, warehouses = append(ids, a.ID), append(holds, a.HoldID), append(skus, a.SKU), append(warehouses, a.Warehouse)
		bins, lots, serials, states, lists = append(bins, a.Bin), append(lots, a.Lot), append(serials, a.Serial), append(states, a.State), append(lists, a.ListID)
		quantities, lines = append(quantities, a.Quantity), append(lines, a.Line)
	}
	b.Queue(`INSERT INTO allocations (tenant, id, hold_id, sku, warehouse, bin, lot, serial, quantity, state, list_id, line)
	  SELECT $1, id, hold_id, sku, warehouse, bin, lot, nullif(serial, ''), quantity, state, nullif(list_id, ''), nullif(line, 0)
	    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[], $10::text[], $11::text[], $12::int[])
	      AS a (id, hold_id, sku, warehouse, bin, lot, serial, quantity, state, list_id, line)`,
		tenant, ids, holds, skus, warehouses, bins, lots, serials, quantities, states, lists, lines)
}

// ErrAllocationGone is returned for an allocation that has not so many units any
// more: it was picked, or the bin lost them.
var ErrAllocationGone = errors.New("those units are not allocated any more")

// readAllocations reads allocations whose levels it locks, in the order of SKU and
// warehouse.
func readAllocations(ctx context.Context, tx pgx.Tx, tenant string, ids ...string) (map[string]Allocation, error) {
	out := map[string]Allocation{}
	b := &pgx.Batch{}
	b.Queue(`SELECT FROM stock_levels l WHERE l.tenant = $1 AND (l.sku, l.warehouse) IN (SELECT sku, warehouse FROM allocations WHERE tenant = $1 AND id = ANY($2)) ORDER BY l.sku, l.warehouse FOR UPDATE`, tenant, ids)
	// A statement of its own, since it must see what the locks have waited for.
	b.Queue(`SELECT id, hold_id, sku, warehouse, bin, lot, coalesce(serial, ''), quantity, state, coalesce(list_id, ''), coalesce(line, 0) FROM allocations WHERE tenant = $1 AND id = ANY($2)`, tenant, ids).
		Query(func(rows pgx.Rows) error {
			list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Allocation])
			for _, a := range list {
				out[a.ID] = a
			}
			return err
		})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("allocations %v: %w", ids, err)
	}
	return out, nil
}

// have demands that an allocation is in the state given and has the units.
func (a Allocation) have(state string, units int) error {
	if a.State != state || a.Quantity < units || units < 1 {
		return fmt.Errorf("%w: %d units of %s, which is %s with %d", ErrAllocationGone, units, a.ID, a.State, a.Quantity)
	}
	return nil
}

// reduction is units taken from an allocation, which has them and is locked.
type reduction struct {
	id    string
	units int
}

func reduce(b *pgx.Batch, tenant string, list []reduction) {
	ids, units := make([]string, len(list)), make([]int, len(list))
	for i, r := range list {
		ids[i], units[i] = r.id, r.units
	}
	b.Queue(`UPDATE allocations a SET quantity = a.quantity - r.units, state = CASE WHEN a.quantity = r.units THEN 'closed' ELSE a.state END, updated_at = now()
	    FROM unnest($2::text[], $3::int[]) AS r (id, units) WHERE a.tenant = $1 AND a.id = r.id`, tenant, ids, units)
}

// reduce takes units from an allocation.
func (b *book) reduce(a Allocation, units int) {
	if i := slices.IndexFunc(b.reduced, func(r reduction) bool { return r.id == a.ID }); i >= 0 {
		b.reduced[i].units += units
	} else {
		b.reduced = append(b.reduced, reduction{a.ID, units})
	}
	at := spot{a.Warehouse, a.Bin, a.SKU, a.Lot, Available}
	if p, known := b.piles[at]; known {
		p.free += units
		b.piles[at] = p
	}
}

// Drop gives up units of an open allocation: the promise stands and needs other
// units. ErrAllocationGone when it has not so many.
func Drop(ctx context.Context, tx pgx.Tx, tenant, allocationID string, units int) error {
	found, err := readAllocations(ctx, tx, tenant, allocationID)
	if err != nil {
		return err
	}
	a := found[allocationID]
	if err := a.have("open", units); err != nil {
		return err
	}
	b := newBook(tx, tenant)
	b.reduce(a, units)
	return b.write(ctx)
}

// Taken is units that a picker has taken from the bin of an allocation.
type Taken struct {
	AllocationID string
	Units        int
	// Lot is what the picker has in hand where the allocation's bin is "" and the
	// SKU has lots.
	Lot string
	// Serials are the units' numbers, one each, where the SKU has them.
	Serials []string
	// To is the packing bin.
	To       string
	Document string
	By
}

// Pick moves units of an open allocation from its bin to a packing bin, where
// they stay promised to the same line. It returns the picked allocations.
// ErrAllocationGone when the allocation has not so many units any more,
// ErrNotInBin when its bin has not, and the errors of Move.
func Pick(ctx context.Context, tx pgx.Tx, tenant string, p Taken) ([]Allocation, error) {
	out, _, err := PickAll(ctx, tx, tenant, []Taken{p})
	return out, err
}

// PickAll does several picks, one after the other, in few round trips. An error
// comes with the index of the pick that is refused, as with MoveAll.
func PickAll(ctx context.Context, tx pgx.Tx, tenant string, list []Taken) ([]Allocation, int, error) {
	ids := make([]string, len(list))
	for i, p := range list {
		ids[i] = p.AllocationID
	}
	live, err := readAllocations(ctx, tx, tenant, ids...)
	if err != nil {
		return nil, which(list), err
	}
	movements := make([]BinMovement, len(list))
	for i, p := range list {
		a, there := live[p.AllocationID]
		if !there {
			return nil, i, fmt.Errorf("%w: %s", ErrAllocationGone, p.AllocationID)
		}
		movements[i] = p.movement(a)
	}
	b := newBook(tx, tenant)
	if err := b.open(ctx, movements); err != nil {
		return nil, which(list), err
	}
	var out []Allocation
	for i, p := range list {
		a := live[p.AllocationID]
		if err := a.have("open", p.Units); err != nil {
			return nil, i, err
		}
		picked, err := b.pick(ctx, a, p, movements[i])
		if err != nil {
			return nil, i, err
		}
		out = append(out, picked...)
		if a.Quantity -= p.Units; a.Quantity == 0 {
			a.State = "closed"
		}
		live[a.ID] = a
	}
	return out, which(list), b.write(ctx)
}

// movement is what a pick does with the units of its allocation.
func (p Taken) movement(a Allocation) BinMovement {
	m := BinMovement{SKU: a.SKU, Warehouse: a.Warehouse, Lot: a.Lot, Quantity: p.Units, From: In(a.Bin, Available), To: In(p.To, Available), Reason: "pick", Document: p.Document, By: p.By}
	if a.Bin == "" && a.Lot == "" {
		m.Lot = p.Lot
	}
	return m
}

func (b *book) pick(ctx context.Context, a Allocation, p Taken, m BinMovement) ([]Allocation, error) {
	serials := p.Serials
	if len(serials) == 0 {
		serials = []string{""}
	} else if len(serials) != p.Units {
		return nil, fmt.Errorf("%w: %d serials for %d units", ErrNeedsSerial, len(serials), p.Units)
	} else {
		m.Quantity = 1
	}
	b.reduce(a, p.Units)
	var out []Allocation
	for _, m.Serial = range serials {
		if _, err := b.move(ctx, m); err != nil {
			return nil, err
		}
		out = append(out, Allocation{ID: id.New(), HoldID: a.HoldID, SKU: a.SKU, Warehouse: a.Warehouse, Bin: p.To, Lot: m.Lot, Serial: m.Serial, Quantity: m.Quantity, State: "picked", ListID: a.ListID, Line: a.Line})
	}
	b.kept = append(b.kept, out...)
	return out, nil
}

// Unpick puts picked units back into a bin: the order was changed or cancelled,
// or the wrong thing was taken. The promise stands and is not allocated.
func Unpick(ctx context.Context, tx pgx.Tx, tenant, allocationID string, units int, to, document string, by By) error {
	found, err := readAllocations(ctx, tx, tenant, allocationID)
	if err != nil {
		return err
	}
	a := found[allocationID]
	if err := a.have("picked", units); err != nil {
		return err
	}
	m := BinMovement{SKU: a.SKU, Warehouse: a.Warehouse, Lot: a.Lot, Serial: a.Serial, Quantity: units, From: In(a.Bin, Available), To: In(to, Available), Reason: "unpick", Document: document, By: by}
	b := newBook(tx, tenant)
	if err := b.open(ctx, []BinMovement{m}); err != nil {
		return err
	}
	b.reduce(a, units)
	if _, err := b.move(ctx, m); err != nil {
		return err
	}
	return b.write(ctx)
}

// HandOver takes all units of a confirmed hold off the shelf: on hand and
// reserved fall together. Picked units leave their packing bins; of the others
// nobody knows the bin, so they leave by what unplace finds. Handing over twice
// moves nothing.
func HandOver(ctx context.Context, tx pgx.Tx, tenant, holdID, reason, actor string) error {
	return handOver(ctx, tx, tenant, holdID, "", reason, "hold:"+holdID, By{Person: actor})
}

// HandOverFrom is HandOver for what one warehouse has of the hold: a shipment.
func HandOverFrom(ctx context.Context, tx pgx.Tx, tenant, holdID, warehouse, document string, by By) error {
	return handOver(ctx, tx, tenant, holdID, warehouse, "handed_over", document, by)
}

func handOver(ctx context.Context, tx pgx.Tx, tenant, holdID, warehouse, reason, document string, by By) error {
	if err := LockHold(ctx, tx, tenant, holdID); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `SELECT sku, warehouse, quantity - shorted - left_stock, picked, allocated > picked FROM hold_lines
	  WHERE tenant = $1 AND hold_id = $2 AND left_stock < quantity - shorted AND ($3 = '' OR warehouse = $3)
	    AND EXISTS (SELECT FROM holds WHERE tenant = $1 AND id = $2 AND confirmed_at IS NOT NULL AND status IN ('confirmed','short')) ORDER BY sku, warehouse`, tenant, holdID, warehouse)
	if err != nil {
		return fmt.Errorf("hand over hold %s: %w", holdID, err)
	}
	type line struct {
		SKU, Warehouse string
		Units, Picked  int
		Open           bool
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[line])
	if err != nil {
		return fmt.Errorf("hand over hold %s: %w", holdID, err)
	}
	for _, l := range lines {
		var picked []Allocation
		if l.Picked > 0 || l.Open {
			if picked, err = shipPicked(ctx, tx, tenant, holdID, l.SKU, l.Warehouse); err != nil {
				return err
			}
		}
		if loose := l.Units - l.Picked; loose > 0 {
			if _, err := unplace(ctx, tx, tenant, l.SKU, l.Warehouse, loose, document, by); err != nil {
				return err
			}
		}
		b := &pgx.Batch{}
		b.Queue(`UPDATE hold_lines SET left_stock = left_stock + $5 WHERE tenant = $1 AND hold_id = $2 AND sku = $3 AND warehouse = $4`, tenant, holdID, l.SKU, l.Warehouse, l.Units)
		b.Queue(`UPDATE stock_levels SET reserved = reserved - $4, updated_at = now() WHERE tenant = $1 AND sku = $2 AND warehouse = $3`, tenant, l.SKU, l.Warehouse, l.Units)
		if loose := l.Units - l.Picked; loose > 0 {
			b.Queue(`INSERT INTO stock_movements (tenant, sku, warehouse, delta, reason, reference, actor) VALUES ($1,$2,$3,$4,$5,$6,$7)`, tenant, l.SKU, l.Warehouse, -loose, reason, holdID, by.Person)
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("hand over hold %s: %w", holdID, err)
		}
		gone := newBook(tx, tenant)
		for _, a := range picked {
			gone.movements = append(gone.movements, BinMovement{SKU: a.SKU, Warehouse: a.Warehouse, Lot: a.Lot, Serial: a.Serial, Quantity: a.Quantity, From: In(a.Bin, Available), Reason: reason, Document: document, By: by})
		}
		if err := gone.write(ctx); err != nil {
			return err
		}
	}
	return nil
}

// shipPicked marks what was picked for a line as shipped, gives up what was only
// allocated, and returns the former.
func shipPicked(ctx context.Context, tx pgx.Tx, tenant, holdID, sku, warehouse string) ([]Allocation, error) {
	rows, err := tx.Query(ctx, `UPDATE allocations SET state = CASE state WHEN 'open' THEN 'closed' ELSE 'shipped' END, quantity = CASE state WHEN 'open' THEN 0 ELSE quantity END, updated_at = now()
	   WHERE tenant = $1 AND hold_id = $2 AND sku = $3 AND warehouse = $4 AND state IN ('open','picked')
	  RETURNING id, hold_id, sku, warehouse, bin, lot, coalesce(serial, ''), quantity, state, coalesce(list_id, ''), coalesce(line, 0)`, tenant, holdID, sku, warehouse)
	if err != nil {
		return nil, fmt.Errorf("allocations of hold %s: %w", holdID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Allocation])
	if err != nil {
		return nil, fmt.Errorf("allocations of hold %s: %w", holdID, err)
	}
	return slices.DeleteFunc(list, func(a Allocation) bool { return a.State != "shipped" }), nil
}
