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

// MostPicks is how many picks one command may confirm.
const MostPicks = 200

// Scan is what an operator has taken and scanned. What the tenant's policy wants
// scanned must be here; whatever is here must be right.
type Scan struct {
	// AllocationID or Line says what it is for.
	AllocationID string
	Line         int
	Bin          string   // scanned
	Product      string   // scanned: SKU, barcode, GTIN or a GS1 label
	Lot          string   // scanned, where the product's label doesn't say it
	Serials      []string // of the units, where the SKU has serial numbers
	Quantity     int
	// Swap takes units of another bin or lot than was allocated. OverrideReason is
	// needed when a lot stays behind that should leave before.
	Swap           bool
	OverrideReason string
}

// Picking is an operator's command to confirm picks of a list.
type Picking struct {
	ListID string
	Picks  []Scan
	To     string // the packing bin that they were put into
	// Version is the list's that the operator has seen; zero is any.
	Version int64
	By      stock.By
}

// work is open units of a line, as a pick finds them.
type work struct {
	AllocationID    string
	Line            int
	HoldID, OrderID string
	SKU, Bin, Lot   string
	Quantity        int
	Tracking        string
}

// hand is a scan with what it turned out to be.
type hand struct {
	Scan
	field string
	item  scancode.Item
	open  []work // what it is for
}

// Pick confirms what an operator has taken: bin, product and lot as the tenant's
// policy has them scanned, each compared with what was allocated. Either all
// picks of the command stand or none.
//
// Refusals are 409 with the list in current: list_over, list_claimed,
// version_changed, scan_required (with next, what to scan), wrong_bin,
// wrong_product, wrong_lot, not_open, too_many_units, lot_held, lot_expired,
// serials_required, serial_repeated, wrong_serial, not_in_bin, not_free,
// earlier_lot (an override_reason is needed), order_frozen, order_cancelled,
// order_refunded, not_a_packing_bin; and the 422 of scancode for a code that
// nobody knows. A pick that is sent again finds its units picked: not_open, or
// version_changed.
func Pick(ctx context.Context, tx pgx.Tx, tenantID string, in Picking) (State, error) {
	if err := in.check(); err != nil {
		return State{}, err
	}
	l, err := lockLive(ctx, tx, tenantID, in.ListID, in.Version)
	if err != nil {
		return l.State, err
	}
	if err := l.claim(ctx, tx, in.By.Person); err != nil {
		return l.State, err
	}
	if err := l.packingBin(ctx, tx, in.To); err != nil {
		return l.State, err
	}
	lines, skus, err := l.linesOf(ctx, tx, in.Picks)
	if err != nil {
		return l.State, err
	}
	if _, err := l.refill(ctx, tx, skus); err != nil {
		return l.State, err
	}
	stopped, err := l.stopped(ctx, tx, lines)
	if err != nil {
		return l.State, err
	}
	seen := map[[2]string]bool{}
	for i, scan := range in.Picks {
		h := hand{Scan: scan, field: fmt.Sprintf("picks[%d]", i)}
		if err := l.take(ctx, tx, h, in, stopped, seen); err != nil {
			return l.State, err
		}
	}
	err = l.settle(ctx, tx)
	return l.State, err
}

func (in Picking) check() error {
	var f problem.Fields
	if len(in.Picks) == 0 {
		f.Add("picks", "required", "name one at least")
	}
	if len(in.Picks) > MostPicks {
		f.Add("picks", "too_many", "at most %d", MostPicks)
	}
	if in.To == "" {
		f.Add("to", "required", "scan the packing bin")
	}
	for i, p := range in.Picks {
		at := fmt.Sprintf("picks[%d]", i)
		if (p.AllocationID == "") == (p.Line == 0) {
			f.Add(at+".line", "required", "name a line or an allocation_id, and not both")
		}
		if p.Quantity < 1 {
			f.Add(at+".quantity", "out_of_range", "at least 1")
		}
		if len(p.OverrideReason) > 500 {
			f.Add(at+".override_reason", "too_long", "at most 500 bytes")
		}
	}
	return f.Err()
}

// packingBin demands a bin where picked units may lie.
func (l list) packingBin(ctx context.Context, tx pgx.Tx, code string) error {
	var kind string
	err := tx.QueryRow(ctx, `SELECT kind FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = $3 AND active`, l.tenant, l.warehouse, code).Scan(&kind)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return l.conflict("not_a_packing_bin", "The warehouse has no such bin.").With("to", clip(code))
	case err != nil:
		return fmt.Errorf("bin %s: %w", code, err)
	case kind != "packing":
		return l.conflict("not_a_packing_bin", "That bin is for "+kind+".").With("to", code)
	}
	return nil
}

// clip keeps what was scanned from filling an answer.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}

// linesOf are the lines that scans are about and their SKUs, to lock the stock
// before anything.
func (l list) linesOf(ctx context.Context, tx pgx.Tx, scans []Scan) ([]int, []string, error) {
	var ids, skus []string
	var asked []int
	for _, s := range scans {
		ids, asked = append(ids, s.AllocationID), append(asked, s.Line)
	}
	rows, err := tx.Query(ctx, `SELECT line, sku FROM pick_lines WHERE tenant = $1 AND list_id = $2 AND (line = ANY($3) OR line IN (SELECT line FROM allocations WHERE tenant = $1 AND list_id = $2 AND id = ANY($4)))`, l.tenant, l.ID, asked, ids)
	if err != nil {
		return nil, nil, fmt.Errorf("lines of pick list %s: %w", l.ID, err)
	}
	lines := []int{} // not nil, which would be all
	var line int
	var sku string
	_, err = pgx.ForEachRow(rows, []any{&line, &sku}, func() error {
		lines, skus = append(lines, line), append(skus, sku)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("lines of pick list %s: %w", l.ID, err)
	}
	return lines, skus, nil
}

// openWork reads what is open of a line or an allocation, in walking order. It is
// not_open, with what has become of it, when nothing is.
func (l list) openWork(ctx context.Context, tx pgx.Tx, allocationID string, line int) ([]work, error) {
	rows, err := tx.Query(ctx, `SELECT a.id, a.line, a.hold_id, p.order_id, a.sku, a.bin, a.lot, a.quantity, d.tracking
	    FROM allocations a JOIN pick_lines p ON p.tenant = a.tenant AND p.list_id = a.list_id AND p.line = a.line JOIN products d ON d.tenant = a.tenant AND d.sku = a.sku
	   WHERE a.tenant = $1 AND a.list_id = $2 AND a.state = 'open' AND a.quantity > 0 AND p.cancelled_at IS NULL AND (a.id = $3 OR a.line = $4) ORDER BY a.id`, l.tenant, l.ID, allocationID, line)
	if err != nil {
		return nil, fmt.Errorf("work of pick list %s: %w", l.ID, err)
	}
	open, err := pgx.CollectRows(rows, pgx.RowToStructByPos[work])
	if err != nil {
		return nil, fmt.Errorf("work of pick list %s: %w", l.ID, err)
	}
	if len(open) == 0 {
		return nil, l.notOpen(ctx, tx, allocationID, line)
	}
	inOrder(open, places(l.stops), func(w work) string { return w.Bin }, func(work, work) int { return 0 })
	return open, nil
}

// notOpen says what has become of a line, or of an allocation's line.
func (l list) notOpen(ctx context.Context, tx pgx.Tx, allocationID string, number int) error {
	all, err := l.lines(ctx, tx)
	if err != nil {
		return err
	}
	if number == 0 {
		err := tx.QueryRow(ctx, `SELECT coalesce(line, 0) FROM allocations WHERE tenant = $1 AND list_id = $2 AND id = $3`, l.tenant, l.ID, allocationID).Scan(&number)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("allocation %s: %w", allocationID, err)
		}
	}
	for _, n := range all {
		if n.Line == number {
			return l.conflict("not_open", "Those units do not wait to be picked any more.").With("line", n.Line).With("is", n)
		}
	}
	return l.conflict("not_open", "The list has no such line or allocation.")
}

// take confirms one scan.
func (l *list) take(ctx context.Context, tx pgx.Tx, h hand, in Picking, stopped map[string]stop, seen map[[2]string]bool) error {
	var err error
	if h.open, err = l.openWork(ctx, tx, h.AllocationID, h.Line); err != nil {
		return err
	}
	if s := stopped[h.open[0].OrderID]; s.code != "" {
		return l.refuse(h, s.code, "Nothing may leave for this order now: "+s.reason+".").With("reason", s.reason)
	}
	if err := l.scanned(ctx, tx, &h); err != nil {
		return err
	}
	if err := l.serials(ctx, tx, &h, seen); err != nil {
		return err
	}
	fit, err := l.match(ctx, tx, h)
	if err != nil {
		return err
	}
	if total := units(fit); h.Quantity > total {
		return l.refuse(h, "too_many_units", fmt.Sprintf("%d units wait there, not %d.", total, h.Quantity)).With("open", total)
	}
	left, serials := h.Quantity, h.Serials
	for _, w := range fit {
		n := min(left, w.Quantity)
		if n == 0 {
			break
		}
		t := stock.Taken{AllocationID: w.AllocationID, Units: n, Lot: h.Lot, To: in.To, Document: l.document(), By: in.By}
		if len(serials) > 0 {
			t.Serials, serials = serials[:n], serials[n:]
		}
		if _, err := stock.Pick(ctx, tx, l.tenant, t); err != nil {
			return l.told(h, err)
		}
		left -= n
	}
	return nil
}

func units(list []work) (n int) {
	for _, w := range list {
		n += w.Quantity
	}
	return n
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
func (l list) scanned(ctx context.Context, tx pgx.Tx, h *hand) error {
	inBins := slices.ContainsFunc(h.open, func(w work) bool { return w.Bin != "" })
	for _, what := range l.policy {
		switch what {
		case "bin":
			if h.Bin == "" && inBins {
				return l.refuse(*h, "scan_required", "Scan the bin.").With("next", "bin")
			}
			if err := l.binKnown(ctx, tx, *h); err != nil {
				return err
			}
		case "product":
			if err := l.product(ctx, tx, h); err != nil {
				return err
			}
		case "lot":
			// A serial number tells the lot of its unit.
			if h.Lot == "" && h.item.Lot == "" && len(h.Serials) == 0 && h.item.Serial == "" && h.hasLots() {
				return l.refuse(*h, "scan_required", "Scan the lot.").With("next", "lot")
			}
		}
	}
	if err := l.binKnown(ctx, tx, *h); err != nil {
		return err
	}
	if h.item.Lot != "" && h.Lot != "" && h.item.Lot != h.Lot {
		return l.refuse(*h, "wrong_lot", "The label and the scanned lot differ.").With("scanned", []string{h.item.Lot, h.Lot})
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
func (l list) binKnown(ctx context.Context, tx pgx.Tx, h hand) error {
	if h.Bin == "" || slices.ContainsFunc(h.open, func(w work) bool { return w.Bin == h.Bin }) {
		return nil
	}
	if !h.Swap {
		return l.refuse(h, "wrong_bin", "The units are not wanted from that bin.").With("scanned", clip(h.Bin))
	}
	var there bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = $3 AND active)`, l.tenant, l.warehouse, h.Bin).Scan(&there); err != nil {
		return fmt.Errorf("bin %s: %w", h.Bin, err)
	}
	if !there {
		return l.refuse(h, "wrong_bin", "The warehouse has no such bin.").With("scanned", clip(h.Bin))
	}
	return nil
}

// product reads the scanned code and compares it with what is wanted.
func (l list) product(ctx context.Context, tx pgx.Tx, h *hand) error {
	if h.Product == "" {
		return l.refuse(*h, "scan_required", "Scan the product.").With("next", "product")
	}
	item, err := scancode.Resolve(ctx, tx, l.tenant, h.Product, time.Now())
	if refused, ok := problem.As(err); ok {
		return refused.With("current", l.State).With("at", h.field)
	}
	if err != nil {
		return err
	}
	if item.SKU != h.open[0].SKU {
		return l.refuse(*h, "wrong_product", "That is "+item.SKU+".").With("scanned", item.SKU)
	}
	h.item = item
	return nil
}

// serials demands a number for each unit, each once and each where it should be.
// The units' lot is that of their numbers.
func (l list) serials(ctx context.Context, tx pgx.Tx, h *hand, seen map[[2]string]bool) error {
	sku := h.open[0].SKU
	if h.open[0].Tracking != "serial" {
		if len(h.Serials) > 0 {
			return l.refuse(*h, "wrong_serial", "Units of this SKU have no serial numbers.")
		}
		return nil
	}
	if len(h.Serials) == 0 && h.item.Serial != "" {
		h.Serials = []string{h.item.Serial}
	}
	if len(h.Serials) != h.Quantity {
		return l.refuse(*h, "serials_required", fmt.Sprintf("%d serials for %d units.", len(h.Serials), h.Quantity))
	}
	for _, n := range h.Serials {
		if seen[[2]string{sku, n}] {
			return l.refuse(*h, "serial_repeated", "A serial was scanned twice.").With("serial", clip(n))
		}
		seen[[2]string{sku, n}] = true
	}
	rows, err := tx.Query(ctx, `SELECT n.serial, coalesce(s.state, 'unknown'), coalesce(s.warehouse, ''), coalesce(s.bin, ''), coalesce(s.lot, ''), coalesce(s.status, ''),
	      EXISTS (SELECT FROM allocations a WHERE a.tenant = s.tenant AND a.sku = s.sku AND a.serial = s.serial AND a.state = 'picked')
	    FROM unnest($3::text[]) AS n (serial) LEFT JOIN serials s ON s.tenant = $1 AND s.sku = $2 AND s.serial = n.serial`, l.tenant, sku, h.Serials)
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
			return l.refuse(*h, "serial_repeated", "A serial was picked already.").With("serial", where)
		}
		// Units that lie in no bin have numbers that nobody has recorded.
		if loose := h.Bin == "" && h.open[0].Bin == ""; loose {
			if p.State == "in_stock" {
				return l.refuse(*h, "wrong_serial", "That unit lies in a bin.").With("serial", where)
			}
			continue
		}
		if p.State != "in_stock" || p.Warehouse != l.warehouse || p.Status != stock.Available || h.Bin != "" && p.Bin != h.Bin {
			return l.refuse(*h, "wrong_serial", "That unit is not there to be picked.").With("serial", where)
		}
		if h.Lot != "" && h.Lot != p.Lot {
			return l.refuse(*h, "wrong_lot", "The serials belong to another lot.").With("serial", where)
		}
		h.Lot, h.Bin = p.Lot, p.Bin
	}
	return nil
}

// match finds the work that a scan is for. Where it is another bin or lot than was
// allocated, it is a swap or it is refused.
func (l *list) match(ctx context.Context, tx pgx.Tx, h hand) ([]work, error) {
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
		if fit, err = l.swap(ctx, tx, h); err != nil {
			return nil, err
		}
	case len(inBin) == 0:
		return nil, l.refuse(h, "wrong_bin", "The units are not wanted from that bin.").With("scanned", clip(h.Bin))
	default:
		return nil, l.refuse(h, "wrong_lot", "Units of another lot are wanted.").With("scanned", clip(h.Lot))
	}
	if fit[0].Lot == "" && h.Lot == "" {
		return fit, nil
	}
	return fit, l.lotFit(ctx, tx, h, cmp.Or(fit[0].Lot, h.Lot))
}

// lotFit refuses a lot that may not leave now.
func (l list) lotFit(ctx context.Context, tx pgx.Tx, h hand, lot string) error {
	var status string
	var expired bool
	err := tx.QueryRow(ctx, `SELECT t.status, t.status = 'expired' OR coalesce(t.expires_on <= $4::date + p.pick_days_left, false) FROM lots t JOIN products p ON p.tenant = t.tenant AND p.sku = t.sku
	  WHERE t.tenant = $1 AND t.sku = $2 AND t.lot = $3`, l.tenant, h.open[0].SKU, lot, l.today).Scan(&status, &expired)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return l.refuse(h, "wrong_lot", "The SKU has no such lot.").With("scanned", clip(lot))
	case err != nil:
		return fmt.Errorf("lot %s: %w", lot, err)
	case status == "held":
		return l.refuse(h, "lot_held", "The lot is held: nothing of it may leave.").With("lot", lot)
	case expired:
		return l.refuse(h, "lot_expired", "The lot has expired, or will too soon.").With("lot", lot)
	}
	return nil
}

// swap gives up what was allocated and takes units of the scanned bin and lot
// instead. The promise is not touched. That a lot stays behind which should leave
// before needs a reason.
func (l *list) swap(ctx context.Context, tx pgx.Tx, h hand) ([]work, error) {
	if h.Bin == "" {
		return nil, l.refuse(h, "scan_required", "Scan the bin from which you take them.").With("next", "bin")
	}
	if h.Lot == "" && h.hasLots() {
		return nil, l.refuse(h, "scan_required", "Scan the lot.").With("next", "lot")
	}
	if h.Lot != "" {
		if err := l.lotFit(ctx, tx, h, h.Lot); err != nil {
			return nil, err
		}
	}
	if total := units(h.open); h.Quantity > total {
		return nil, l.refuse(h, "too_many_units", fmt.Sprintf("%d units wait to be picked, not %d.", total, h.Quantity)).With("open", total)
	}
	left := h.Quantity
	// What lies in the very bin and lot stays; the last on the way goes first.
	given := slices.Clone(h.open)
	slices.Reverse(given)
	slices.SortStableFunc(given, func(a, b work) int { return h.asTaken(a) - h.asTaken(b) })
	for _, w := range given {
		n := min(left, w.Quantity)
		if n == 0 {
			break
		}
		if err := stock.Drop(ctx, tx, l.tenant, w.AllocationID, n); err != nil {
			return nil, l.told(h, err)
		}
		left -= n
	}
	if err := l.leavesFirst(ctx, tx, h); err != nil {
		return nil, err
	}
	w := h.open[0]
	got, none, err := stock.Allocate(ctx, tx, l.tenant, l.warehouse, []stock.ToAllocate{{HoldID: w.HoldID, SKU: w.SKU, Warehouse: l.warehouse, Units: h.Quantity, Bin: h.Bin, Lot: h.Lot, ListID: l.ID, Line: w.Line}}, l.today)
	if err != nil {
		return nil, err
	}
	if none[0] > 0 {
		return nil, l.refuse(h, "not_free", "The bin has not so many units that nobody else waits for.").With("free", h.Quantity-none[0])
	}
	var out []work
	for _, a := range got {
		if h.OverrideReason != "" {
			if _, err := tx.Exec(ctx, `UPDATE allocations SET override_reason = $3 WHERE tenant = $1 AND id = $2`, l.tenant, a.ID, h.OverrideReason); err != nil {
				return nil, fmt.Errorf("reason of a swap: %w", err)
			}
		}
		out = append(out, work{AllocationID: a.ID, Line: w.Line, HoldID: w.HoldID, OrderID: w.OrderID, SKU: a.SKU, Bin: a.Bin, Lot: a.Lot, Quantity: a.Quantity, Tracking: w.Tracking})
	}
	return out, nil
}

// asTaken is 1 for work in the very bin and lot that were scanned.
func (h hand) asTaken(w work) int {
	if w.Bin == h.Bin && w.Lot == h.Lot {
		return 1
	}
	return 0
}

// leavesFirst refuses to take a lot while another is free that should leave
// before, unless somebody says why.
func (l list) leavesFirst(ctx context.Context, tx pgx.Tx, h hand) error {
	if h.Lot == "" || h.OverrideReason != "" {
		return nil
	}
	var lot, bin string
	err := tx.QueryRow(ctx, `
	SELECT s.lot, s.bin FROM bin_stock s JOIN bins b ON b.tenant = s.tenant AND b.warehouse = s.warehouse AND b.code = s.bin JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku
	  JOIN lots t ON t.tenant = s.tenant AND t.sku = s.sku AND t.lot = s.lot JOIN lots mine ON mine.tenant = s.tenant AND mine.sku = s.sku AND mine.lot = $4
	 WHERE s.tenant = $1 AND s.warehouse = $2 AND s.sku = $3 AND s.lot <> $4 AND s.status = 'available' AND s.quantity > s.allocated AND s.quantity > 0
	   AND b.active AND b.kind IN ('pick','reserve','receiving') AND t.status = 'available' AND (t.expires_on IS NULL OR t.expires_on > $5::date + p.pick_days_left)
	   AND NOT EXISTS (SELECT FROM count_requests c WHERE c.tenant = s.tenant AND c.warehouse = s.warehouse AND c.bin = s.bin AND c.sku = s.sku)
	   AND CASE WHEN p.removal = 'fefo' THEN t.expires_on < coalesce(mine.expires_on, 'infinity') ELSE t.received_at < mine.received_at END
	 ORDER BY t.expires_on, t.received_at, s.bin LIMIT 1`, l.tenant, l.warehouse, h.open[0].SKU, h.Lot, l.today).Scan(&lot, &bin)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lots of %s: %w", h.open[0].SKU, err)
	}
	return l.refuse(h, "earlier_lot", "Another lot should leave before: take it, or say in override_reason why not.").With("earlier", map[string]any{"lot": lot, "bin": bin})
}
