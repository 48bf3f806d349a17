package picking

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	in    Picking
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
	states, err := PickAll(ctx, tx, tenantID, []Picking{in})
	if err != nil {
		return State{}, err
	}
	return states[0], nil
}

// PickAll carries out commands that one operator gave for one list, in their order
// and as Pick does each, in few round trips however many there are. It returns the
// list as each command left it. Either all stand or none: of a refusal nobody knows
// to which command it belongs, so a caller with more than one does them by Pick
// then.
func PickAll(ctx context.Context, tx pgx.Tx, tenantID string, commands []Picking) ([]State, error) {
	first := commands[0]
	var scans []Scan
	for _, in := range commands {
		if in.ListID != first.ListID || in.By.Person != first.By.Person {
			return nil, fmt.Errorf("picks of list %s and of %s: together go those of one list and one person", first.ListID, in.ListID)
		}
		if err := in.check(); err != nil {
			return nil, err
		}
		scans = append(scans, in.Picks...)
	}
	l, err := lockLive(ctx, tx, tenantID, first.ListID, first.Version)
	if err != nil {
		return nil, err
	}
	if err := l.claim(ctx, tx, first.By.Person); err != nil {
		return nil, err
	}
	if err := l.packingBins(ctx, tx, commands); err != nil {
		return nil, err
	}
	lines, skus, err := l.linesOf(ctx, tx, scans)
	if err != nil {
		return nil, err
	}
	if _, err := l.refill(ctx, tx, skus); err != nil {
		return nil, err
	}
	c := confirmation{list: &l, lines: lines, lots: map[[2]string]lotNow{}, seen: map[[2]string]bool{}}
	if err := c.read(ctx, tx, scans); err != nil {
		return nil, err
	}
	states := make([]State, len(commands))
	for i, in := range commands {
		if version := l.Version + int64(i); i > 0 && in.Version != 0 && in.Version != version {
			return nil, l.versionChanged(version, in.Version)
		}
		for j, scan := range in.Picks {
			if err := c.take(ctx, tx, hand{Scan: scan, in: in, field: fmt.Sprintf("picks[%d]", j)}); err != nil {
				return nil, err
			}
		}
		states[i] = l.State
		states[i].Version += int64(i) + 1
	}
	if err := c.write(ctx, tx); err != nil {
		return nil, err
	}
	err = l.settle(ctx, tx, len(commands))
	states[len(states)-1] = l.State
	return states, err
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

// packingBins demands that commands name bins where picked units may lie.
func (l list) packingBins(ctx context.Context, tx pgx.Tx, commands []Picking) error {
	codes := make([]string, len(commands))
	for i, in := range commands {
		codes[i] = in.To
	}
	slices.Sort(codes)
	codes = slices.Compact(codes)
	rows, err := tx.Query(ctx, `SELECT code, kind FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = ANY($3) AND active`, l.tenant, l.warehouse, codes)
	if err != nil {
		return fmt.Errorf("bins %v: %w", codes, err)
	}
	kinds := map[string]string{}
	var code, kind string
	_, err = pgx.ForEachRow(rows, []any{&code, &kind}, func() error {
		kinds[code] = kind
		return nil
	})
	if err != nil {
		return fmt.Errorf("bins %v: %w", codes, err)
	}
	for _, code := range codes {
		switch kind, there := kinds[code]; {
		case !there:
			return l.conflict("not_a_packing_bin", "The warehouse has no such bin.").With("to", clip(code))
		case kind != "packing":
			return l.conflict("not_a_packing_bin", "That bin is for "+kind+".").With("to", code)
		}
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

// openWork reads what is open of lines or allocations, in walking order.
func (l list) openWork(ctx context.Context, tx pgx.Tx, lines []int, allocations []string) ([]work, error) {
	rows, err := tx.Query(ctx, `SELECT a.id, a.line, a.hold_id, p.order_id, a.sku, a.bin, a.lot, a.quantity, d.tracking
	    FROM allocations a JOIN pick_lines p ON p.tenant = a.tenant AND p.list_id = a.list_id AND p.line = a.line JOIN products d ON d.tenant = a.tenant AND d.sku = a.sku
	   WHERE a.tenant = $1 AND a.list_id = $2 AND a.state = 'open' AND a.quantity > 0 AND p.cancelled_at IS NULL AND (a.id = ANY($3) OR a.line = ANY($4)) ORDER BY a.id`, l.tenant, l.ID, allocations, lines)
	if err != nil {
		return nil, fmt.Errorf("work of pick list %s: %w", l.ID, err)
	}
	open, err := pgx.CollectRows(rows, pgx.RowToStructByPos[work])
	if err != nil {
		return nil, fmt.Errorf("work of pick list %s: %w", l.ID, err)
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

func units(list []work) (n int) {
	for _, w := range list {
		n += w.Quantity
	}
	return n
}
