package picking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/scancode"
)

// confirmation is scans that are compared with what is open on a list, one after
// the other. What they need to know is read once, and what they take is written
// at the end.
type confirmation struct {
	*list
	lines   []int // that the scans are about
	open    []work
	items   scancode.Items
	lots    map[[2]string]lotNow // by SKU and lot
	stopped map[string]stop
	seen    map[[2]string]bool // SKU and serial that were scanned
	// What is not written yet, and the scan of each.
	taken []stock.Taken
	of    []hand
}

// lotNow is a lot as far as it matters to a picker.
type lotNow struct {
	known   bool
	status  string
	expired bool // or will be too soon
}

func (c *confirmation) read(ctx context.Context, tx pgx.Tx, scans []Scan) error {
	var err error
	if c.stopped, err = c.list.stopped(ctx, tx, c.lines); err != nil {
		return err
	}
	if c.open, err = c.openWork(ctx, tx, c.lines, nil); err != nil {
		return err
	}
	var codes []string
	for _, s := range scans {
		codes = append(codes, s.Product)
	}
	if c.items, err = scancode.Find(ctx, tx, c.tenant, codes, time.Now()); err != nil {
		return err
	}
	var lots []string
	for _, w := range c.open {
		lots = append(lots, w.Lot)
	}
	for _, s := range scans {
		lots = append(lots, s.Lot)
		if item, err := c.items.Resolve(s.Product); err == nil {
			lots = append(lots, item.Lot)
		}
	}
	return c.readLots(ctx, tx, lots)
}

// readLots reads lots of these names of whatever SKU is open.
func (c *confirmation) readLots(ctx context.Context, tx pgx.Tx, lots []string) error {
	lots = slices.DeleteFunc(lots, func(lot string) bool { return lot == "" })
	if len(lots) == 0 {
		return nil
	}
	var skus []string
	for _, w := range c.open {
		skus = append(skus, w.SKU)
	}
	rows, err := tx.Query(ctx, `SELECT t.sku, t.lot, t.status, t.status = 'expired' OR coalesce(t.expires_on <= $4::date + p.pick_days_left, false) FROM lots t JOIN products p ON p.tenant = t.tenant AND p.sku = t.sku
	  WHERE t.tenant = $1 AND t.sku = ANY($2) AND t.lot = ANY($3)`, c.tenant, skus, lots, c.today)
	if err != nil {
		return fmt.Errorf("lots %v: %w", lots, err)
	}
	var sku, lot string
	now := lotNow{known: true}
	_, err = pgx.ForEachRow(rows, []any{&sku, &lot, &now.status, &now.expired}, func() error {
		c.lots[[2]string{sku, lot}] = now
		return nil
	})
	if err != nil {
		return fmt.Errorf("lots %v: %w", lots, err)
	}
	return nil
}

// openFor is what is open for a scan, in walking order.
func (c *confirmation) openFor(s Scan) []work {
	var out []work
	for _, w := range c.open {
		if w.Quantity > 0 && (w.AllocationID == s.AllocationID || w.Line == s.Line) {
			out = append(out, w)
		}
	}
	return out
}

// take confirms one scan.
func (c *confirmation) take(ctx context.Context, tx pgx.Tx, h hand) error {
	if h.open = c.openFor(h.Scan); len(h.open) == 0 {
		return c.notOpen(ctx, tx, h.AllocationID, h.Line)
	}
	if s := c.stopped[h.open[0].OrderID]; s.code != "" {
		return c.refuse(h, s.code, "Nothing may leave for this order now: "+s.reason+".").With("reason", s.reason)
	}
	if err := c.scanned(ctx, tx, &h); err != nil {
		return err
	}
	if err := c.serials(ctx, tx, &h); err != nil {
		return err
	}
	fit, err := c.match(ctx, tx, h)
	if err != nil {
		return err
	}
	if total := units(fit); h.Quantity > total {
		return c.refuse(h, "too_many_units", fmt.Sprintf("%d units wait there, not %d.", total, h.Quantity)).With("open", total)
	}
	left, serials := h.Quantity, h.Serials
	for _, w := range fit {
		n := min(left, w.Quantity)
		if n == 0 {
			break
		}
		t := stock.Taken{AllocationID: w.AllocationID, Units: n, Lot: h.Lot, To: h.in.To, Document: c.document(), By: h.in.By}
		if len(serials) > 0 {
			t.Serials, serials = serials[:n], serials[n:]
		}
		c.taken, c.of = append(c.taken, t), append(c.of, h)
		for i := range c.open {
			if c.open[i].AllocationID == w.AllocationID {
				c.open[i].Quantity -= n
			}
		}
		left -= n
	}
	return nil
}

// write moves the units of the scans so far.
func (c *confirmation) write(ctx context.Context, tx pgx.Tx) error {
	if len(c.taken) == 0 {
		return nil
	}
	_, at, err := stock.PickAll(ctx, tx, c.tenant, c.taken)
	if err != nil {
		// Where the database did not say which, it is one of them.
		return c.told(c.of[max(at, 0)], err)
	}
	c.taken, c.of = nil, nil
	return nil
}

// refuse is a conflict about one scan.
func (l list) refuse(h hand, code, detail string) *problem.Error {
	e := l.conflict(code, h.field+": "+detail).With("at", h.field).With("line", h.open[0].Line)
	var where []map[string]any
	for _, w := range h.open {
		where = append(where, map[string]any{"allocation_id": w.AllocationID, "sku": w.SKU, "bin": w.Bin, "lot": w.Lot, "quantity": w.Quantity})
	}
	return e.With("expected", where)
}

// told says what the ledger's refusals mean to a picker.
func (l list) told(h hand, err error) error {
	switch {
	case errors.Is(err, stock.ErrAllocationGone):
		return l.refuse(h, "not_open", "Those units do not wait to be picked any more.")
	case errors.Is(err, stock.ErrNotInBin):
		return l.refuse(h, "not_in_bin", "By the books the bin has not so many of them.")
	case errors.Is(err, stock.ErrNeedsSerial):
		return l.refuse(h, "serials_required", "Each unit has a serial number: scan them all.")
	case errors.Is(err, stock.ErrWrongLot):
		return l.refuse(h, "scan_required", "The units belong to lots: scan the lot.").With("next", "lot")
	case errors.Is(err, stock.ErrSerialAbsent), errors.Is(err, stock.ErrSerialThere):
		return l.refuse(h, "wrong_serial", "A serial is not where it was scanned.")
	}
	return err
}

// scanned demands what the policy has scanned, in its order, and that the product
// is the right one. A bin alone says nothing about what was taken from it.
func (c *confirmation) scanned(ctx context.Context, tx pgx.Tx, h *hand) error {
	inBins := slices.ContainsFunc(h.open, func(w work) bool { return w.Bin != "" })
	for _, what := range c.policy {
		switch what {
		case "bin":
			if h.Bin == "" && inBins {
				return c.refuse(*h, "scan_required", "Scan the bin.").With("next", "bin")
			}
			if err := c.binKnown(ctx, tx, *h); err != nil {
				return err
			}
		case "product":
			if err := c.product(h); err != nil {
				return err
			}
		case "lot":
			// A serial number tells the lot of its unit.
			if h.Lot == "" && h.item.Lot == "" && len(h.Serials) == 0 && h.item.Serial == "" && h.hasLots() {
				return c.refuse(*h, "scan_required", "Scan the lot.").With("next", "lot")
			}
		}
	}
	if err := c.binKnown(ctx, tx, *h); err != nil {
		return err
	}
	if h.item.Lot != "" && h.Lot != "" && h.item.Lot != h.Lot {
		return c.refuse(*h, "wrong_lot", "The label and the scanned lot differ.").With("scanned", []string{h.item.Lot, h.Lot})
	}
	if h.Lot == "" {
		h.Lot = h.item.Lot
	}
	return nil
}

func (h hand) hasLots() bool {
	return h.open[0].Tracking == "lot" || slices.ContainsFunc(h.open, func(w work) bool { return w.Lot != "" })
}

// binKnown refuses a bin that is none of those wanted, unless it is a swap.
func (c *confirmation) binKnown(ctx context.Context, tx pgx.Tx, h hand) error {
	if h.Bin == "" || slices.ContainsFunc(h.open, func(w work) bool { return w.Bin == h.Bin }) {
		return nil
	}
	if !h.Swap {
		return c.refuse(h, "wrong_bin", "The units are not wanted from that bin.").With("scanned", clip(h.Bin))
	}
	var there bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = $3 AND active)`, c.tenant, c.warehouse, h.Bin).Scan(&there); err != nil {
		return fmt.Errorf("bin %s: %w", h.Bin, err)
	}
	if !there {
		return c.refuse(h, "wrong_bin", "The warehouse has no such bin.").With("scanned", clip(h.Bin))
	}
	return nil
}

// product compares the scanned code with what is wanted.
func (c *confirmation) product(h *hand) error {
	if h.Product == "" {
		return c.refuse(*h, "scan_required", "Scan the product.").With("next", "product")
	}
	item, err := c.items.Resolve(h.Product)
	if refused, ok := problem.As(err); ok {
		return refused.With("current", c.found).With("at", h.field)
	}
	if err != nil {
		return err
	}
	if item.SKU != h.open[0].SKU {
		return c.refuse(*h, "wrong_product", "That is "+item.SKU+".").With("scanned", item.SKU)
	}
	h.item = item
	return nil
}

// serials demands a number for each unit, each once and each where it should be.
// The units' lot is that of their numbers.
func (c *confirmation) serials(ctx context.Context, tx pgx.Tx, h *hand) error {
	sku := h.open[0].SKU
	if h.open[0].Tracking != "serial" {
		if len(h.Serials) > 0 {
			return c.refuse(*h, "wrong_serial", "Units of this SKU have no serial numbers.")
		}
		return nil
	}
	if len(h.Serials) == 0 && h.item.Serial != "" {
		h.Serials = []string{h.item.Serial}
	}
	if len(h.Serials) != h.Quantity {
		return c.refuse(*h, "serials_required", fmt.Sprintf("%d serials for %d units.", len(h.Serials), h.Quantity))
	}
	for _, n := range h.Serials {
		if c.seen[[2]string{sku, n}] {
			return c.refuse(*h, "serial_repeated", "A serial was scanned twice.").With("serial", clip(n))
		}
		c.seen[[2]string{sku, n}] = true
	}
	rows, err := tx.Query(ctx, `SELECT n.serial, coalesce(s.state, 'unknown'), coalesce(s.warehouse, ''), coalesce(s.bin, ''), coalesce(s.lot, ''), coalesce(s.status, ''),
	      EXISTS (SELECT FROM allocations a WHERE a.tenant = s.tenant AND a.sku = s.sku AND a.serial = s.serial AND a.state = 'picked')
	    FROM unnest($3::text[]) AS n (serial) LEFT JOIN serials s ON s.tenant = $1 AND s.sku = $2 AND s.serial = n.serial`, c.tenant, sku, h.Serials)
	if err != nil {
		return fmt.Errorf("serials of %s: %w", sku, err)
	}
	type place struct {
		Serial, State, Warehouse, Bin, Lot, Status string
		Picked                                     bool
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[place])
	if err != nil {
		return fmt.Errorf("serials of %s: %w", sku, err)
	}
	for _, p := range list {
		where := map[string]any{"serial": clip(p.Serial), "state": p.State, "warehouse": p.Warehouse, "bin": p.Bin, "lot": p.Lot, "status": p.Status}
		if p.Picked {
			return c.refuse(*h, "serial_repeated", "A serial was picked already.").With("serial", where)
		}
		// Units that lie in no bin have numbers that nobody has recorded.
		if loose := h.Bin == "" && h.open[0].Bin == ""; loose {
			if p.State == "in_stock" {
				return c.refuse(*h, "wrong_serial", "That unit lies in a bin.").With("serial", where)
			}
			continue
		}
		if p.State != "in_stock" || p.Warehouse != c.warehouse || p.Status != stock.Available || h.Bin != "" && p.Bin != h.Bin {
			return c.refuse(*h, "wrong_serial", "That unit is not there to be picked.").With("serial", where)
		}
		if h.Lot != "" && h.Lot != p.Lot {
			return c.refuse(*h, "wrong_lot", "The serials belong to another lot.").With("serial", where)
		}
		h.Lot, h.Bin = p.Lot, p.Bin
	}
	return nil
}

// match finds the work that a scan is for. Where it is another bin or lot than was
// allocated, it is a swap or it is refused.
func (c *confirmation) match(ctx context.Context, tx pgx.Tx, h hand) ([]work, error) {
	var inBin, fit []work
	for _, w := range h.open {
		if h.Bin != "" && w.Bin != h.Bin {
			continue
		}
		inBin = append(inBin, w)
		// Units in no bin are of a lot that only the picker sees.
		if h.Lot == "" || w.Lot == h.Lot || w.Bin == "" && w.Lot == "" {
			fit = append(fit, w)
		}
	}
	if len(fit) > 0 && h.Lot == "" && h.Bin == "" {
		// Nobody said which: the first on the way.
		fit = slices.DeleteFunc(fit, func(w work) bool { return w.Bin != fit[0].Bin || w.Lot != fit[0].Lot })
	}
	switch {
	case len(fit) > 0 && (!h.Swap || units(fit) >= h.Quantity):
	case h.Swap:
		var err error
		if fit, err = c.swap(ctx, tx, h); err != nil {
			return nil, err
		}
	case len(inBin) == 0:
		return nil, c.refuse(h, "wrong_bin", "The units are not wanted from that bin.").With("scanned", clip(h.Bin))
	default:
		return nil, c.refuse(h, "wrong_lot", "Units of another lot are wanted.").With("scanned", clip(h.Lot))
	}
	if fit[0].Lot == "" && h.Lot == "" {
		return fit, nil
	}
	return fit, c.lotFit(ctx, tx, h, cmp.Or(fit[0].Lot, h.Lot))
}

// lotFit refuses a lot that may not leave now.
func (c *confirmation) lotFit(ctx context.Context, tx pgx.Tx, h hand, lot string) error {
	key := [2]string{h.open[0].SKU, lot}
	if !c.lots[key].known {
		// A serial has told the lot.
		if err := c.readLots(ctx, tx, []string{lot}); err != nil {
			return err
		}
	}
	switch now := c.lots[key]; {
	case !now.known:
		return c.refuse(h, "wrong_lot", "The SKU has no such lot.").With("scanned", clip(lot))
	case now.status == "held":
		return c.refuse(h, "lot_held", "The lot is held: nothing of it may leave.").With("lot", lot)
	case now.expired:
		return c.refuse(h, "lot_expired", "The lot has expired, or will too soon.").With("lot", lot)
	}
	return nil
}
