package place

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

// Reasons are those of a move by hand.
var Reasons = []string{"put_away", "move", "damage", "hold", "release", "adjustment", "loss"}

// Moving is units that somebody moves by hand.
type Moving struct {
	Warehouse string
	// SKU names the product, or Scanned does: any code on it. A label that says
	// lot, expiry or serial stands in for what is not named.
	SKU, Scanned string
	Lot          string
	// ExpiresOn is a day, UTC midnight, for a lot that is not known yet.
	ExpiresOn *time.Time
	// Serials are the units' numbers, one each, where the SKU has them; Quantity
	// may then be left out.
	Serials  []string
	Quantity int
	// From and To are spots; an empty bin is inside the warehouse and in no bin,
	// nil is outside. An empty status is what the reason makes of it.
	From, To *stock.Spot
	Reason   string
	Document string
	Note     string
	// Force puts units where the bin's kind, lot rule or limits do not want them,
	// and moves what is allocated to orders.
	Force bool
	// Version is that of the pile in From which the operator has seen; zero demands
	// nothing.
	Version int64
	stock.By
}

// SpotNow is one end of a move, with what lies there afterwards.
type SpotNow struct {
	Bin      string `json:"bin"`
	Status   string `json:"status"`
	Quantity int    `json:"quantity"`
	Version  int64  `json:"version"`
}

// Lost is units that an allocation lost: its order needs them from elsewhere.
type Lost struct {
	AllocationID  string `json:"allocation_id"`
	ReservationID string `json:"reservation_id"`
	PickList      string `json:"pick_list,omitempty"`
	Line          int    `json:"line,omitempty"`
	Units         int    `json:"units"`
}

// Move is what a move by hand did.
type Move struct {
	Warehouse string   `json:"warehouse"`
	SKU       string   `json:"sku"`
	Lot       string   `json:"lot"`
	Serials   []string `json:"serials"`
	Quantity  int      `json:"quantity"`
	Reason    string   `json:"reason"`
	// From and To are null outside the warehouse.
	From *SpotNow `json:"from"`
	To   *SpotNow `json:"to"`
	// Shorted are holds that lost units: whoever calls tells their runs.
	Shorted []stock.Shorted `json:"shorted"`
	Dropped []Lost          `json:"dropped"`
}

// MoveUnits moves units between bins by hand: puts them away, marks them damaged
// or held and frees them, books what was found or lost. The shelf wins: holds and
// allocations that lose their units are named in the answer.
//
// Refused are (409) not_in_bin, version_changed, bin_inactive, lot_not_available,
// other_expiry, serial_in_stock and serial_elsewhere, and without Force also
// wrong_bin_kind, lot_rule, bin_full and units_allocated; each with `current`. A
// move is not the same move when it is made again: a caller that repeats demands
// Version.
func MoveUnits(ctx context.Context, tx pgx.Tx, tenant string, m Moving) (Move, error) {
	return in(ctx, tx, func(tx pgx.Tx) (Move, error) {
		done, err := MoveAll(ctx, tx, tenant, []Moving{m})
		if err != nil {
			return Move{}, err
		}
		return done[0], nil
	})
}

// MoveAll makes moves one after the other, as MoveUnits does each, in few round
// trips however many there are. Either all stand or none: of a refusal nobody knows
// to which move it belongs, and moves that take units from promises are refused
// among others, so a caller with more than one makes them by MoveUnits then. After
// an error the transaction may be over.
func MoveAll(ctx context.Context, tx pgx.Tx, tenant string, list []Moving) ([]Move, error) {
	list = slices.Clone(list)
	items, err := identify(ctx, tx, tenant, list)
	if err != nil {
		return nil, err
	}
	g, err := lockGround(ctx, tx, tenant, list, items)
	if err != nil {
		return nil, err
	}
	out := make([]Move, len(list))
	var movements []stock.BinMovement
	var of []int // the move of each
	for i, m := range list {
		if err := g.check(ctx, m, items[i]); err != nil {
			return nil, err
		}
		m.each(func(serial string, units int) {
			movements = append(movements, stock.BinMovement{SKU: items[i].SKU, Warehouse: m.Warehouse, Lot: m.Lot, Serial: serial, Quantity: units,
				From: m.From, To: m.To, Reason: m.Reason, Document: m.Document, Note: m.Note, By: m.By})
			of = append(of, i)
			g.shift(m, items[i].SKU, units)
		})
		out[i] = m.done(items[i].SKU, g.spotNow(m, items[i].SKU, m.From), g.spotNow(m, items[i].SKU, m.To))
	}
	moved, _, err := stock.MoveAll(ctx, tx, tenant, movements)
	if err != nil {
		return nil, refusal(err)
	}
	lost := map[int]*stock.Moved{}
	for i, one := range moved {
		if len(one.Dropped)+len(one.Shorted) == 0 {
			continue
		}
		if lost[of[i]] == nil {
			lost[of[i]] = &stock.Moved{}
		}
		sum := lost[of[i]]
		sum.Dropped, sum.Shorted = append(sum.Dropped, one.Dropped...), append(sum.Shorted, one.Shorted...)
	}
	for i, sum := range lost {
		m := list[i]
		if len(list) > 1 || len(sum.Dropped) > 0 && !m.Force && (m.Reason == "move" || m.Reason == "put_away") {
			return nil, problem.New(problem.Conflict, "units_allocated", "Those units are chosen for orders. Move others, or say that it must be.").With("current", lostOf(sum.Dropped))
		}
		if out[i], err = m.answer(ctx, tx, tenant, items[i].SKU, *sum); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// identify finds the products of moves, completes the moves and refuses what makes
// no sense whatever lies where.
func identify(ctx context.Context, tx pgx.Tx, tenant string, list []Moving) ([]scancode.Item, error) {
	for i, m := range list {
		if slices.ContainsFunc(list[:i], func(earlier Moving) bool { return earlier.Warehouse == m.Warehouse }) {
			continue
		}
		if err := exists(ctx, tx, tenant, m.Warehouse); err != nil {
			return nil, unknownWarehouse(err)
		}
	}
	var codes []string
	for _, m := range list {
		codes = append(codes, cmp.Or(m.Scanned, m.SKU))
	}
	found, err := scancode.Find(ctx, tx, tenant, codes, time.Now())
	if err != nil {
		return nil, err
	}
	items := make([]scancode.Item, len(list))
	for i := range list {
		if items[i], err = list[i].resolve(found); err != nil {
			return nil, err
		}
		if err := list[i].check(items[i]); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// AfterMove reads the ends of a move as they are now: for a repetition of a
// request whose answer was lost.
func AfterMove(ctx context.Context, tx pgx.Tx, tenant string, m Moving) (Move, error) {
	list := []Moving{m}
	items, err := identify(ctx, tx, tenant, list)
	if err != nil {
		return Move{}, err
	}
	return list[0].answer(ctx, tx, tenant, items[0].SKU, stock.Moved{})
}

func unknownWarehouse(err error) error {
	if p, ok := problem.As(err); !ok || p.Kind != problem.NotFound {
		return err
	}
	var f problem.Fields
	f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	return f.Err()
}

// resolve finds the product and takes from the label what was not named.
func (m *Moving) resolve(found scancode.Items) (scancode.Item, error) {
	var f problem.Fields
	item, known := found.SKU(m.SKU)
	if m.Scanned != "" {
		var err error
		if item, err = found.Resolve(m.Scanned); err != nil {
			return item, err
		}
		if m.SKU != "" && m.SKU != item.SKU {
			f.Add("code", "wrong_item", "the code is that of %s", item.SKU)
		}
	} else if !known {
		f.Add("sku", "unknown_sku", "there is no such SKU")
	}
	if err := f.Err(); err != nil {
		return item, err
	}
	// What a label says of a product that is not told apart so is of no use here.
	if m.Lot == "" && item.Tracking != "none" {
		m.Lot = item.Lot
	}
	if m.ExpiresOn == nil && m.Lot != "" && m.Lot == item.Lot {
		m.ExpiresOn = item.ExpiresOn
	}
	if len(m.Serials) == 0 && item.Serial != "" && item.Tracking == "serial" {
		m.Serials = []string{item.Serial}
	}
	if m.Quantity == 0 {
		m.Quantity = len(m.Serials)
	}
	return item, nil
}

var (
	statuses = []string{stock.Available, stock.Held, stock.Expired, stock.Damaged}
	// becomes is the status that a reason gives to units.
	becomes = map[string]string{"damage": stock.Damaged, "hold": stock.Held, "release": stock.Available}
)

// check completes the ends of a move and refuses what makes no sense whatever
// lies where.
func (m *Moving) check(item scancode.Item) error {
	var f problem.Fields
	if !slices.Contains(Reasons, m.Reason) {
		f.Add("reason", "invalid", "put_away, move, damage, hold, release, adjustment or loss")
		return f.Err()
	}
	m.complete()
	switch {
	case m.From == nil && m.To == nil, m.From == nil && m.Reason != "adjustment":
		f.Add("from", "required", "say where the units are")
	case m.To == nil && !slices.Contains([]string{"adjustment", "loss", "damage"}, m.Reason):
		f.Add("to", "required", "say where the units go")
	case m.To != nil && m.Reason == "loss":
		f.Add("to", "wrong_direction", "what is lost goes nowhere")
	case m.From != nil && m.To != nil && *m.From == *m.To:
		f.Add("to", "invalid", "must be another place or another status")
	}
	for _, end := range []struct {
		name string
		at   *stock.Spot
		far  *stock.Spot
	}{{"from", m.From, m.To}, {"to", m.To, m.From}} {
		switch {
		case end.at == nil:
		case !slices.Contains(statuses, end.at.Status):
			f.Add(end.name+".status", "invalid", "available, held, expired or damaged")
		case end.at.Bin == "" && end.at.Status != stock.Available:
			f.Add(end.name+".bin", "required", "units that are %s lie in a bin", end.at.Status)
		case end.at.Bin == "" && (end.far == nil || end.far.Bin == ""):
			f.Add(end.name+".bin", "required", "for units in no bin there are adjustments of stock")
		}
	}
	if want := becomes[m.Reason]; want != "" && m.To != nil && m.To.Status != want {
		f.Add("to.status", "wrong_direction", "a %s makes units %s", m.Reason, want)
	}
	if m.From != nil && m.To != nil && (m.Reason == "move" || m.Reason == "put_away") && m.From.Status != m.To.Status {
		f.Add("to.status", "wrong_direction", "a %s changes no status", m.Reason)
	}
	m.checkUnits(&f, item)
	return f.Err()
}

// complete says where units are and become what the reason implies.
func (m *Moving) complete() {
	if m.From != nil && m.From.Status == "" {
		from := *m.From
		from.Status = stock.Available
		if m.Reason == "release" {
			from.Status = stock.Held
		}
		m.From = &from
	}
	if m.To == nil && m.From != nil && (m.Reason == "hold" || m.Reason == "release") {
		m.To = &stock.Spot{Bin: m.From.Bin}
	}
	if m.To != nil && m.To.Status == "" {
		to := *m.To
		to.Status = becomes[m.Reason]
		if to.Status == "" && m.From != nil {
			to.Status = m.From.Status
		}
		if to.Status == "" {
			to.Status = stock.Available
		}
		m.To = &to
	}
}

func (m *Moving) checkUnits(f *problem.Fields, item scancode.Item) {
	switch item.Tracking {
	case "none":
		if m.Lot != "" {
			f.Add("lot", "not_tracked", "units of this SKU belong to no lots")
		}
	case "lot":
		if m.Lot == "" {
			f.Add("lot", "required", "units of this SKU belong to lots")
		}
	}
	if m.Lot != "" && !lotForm.MatchString(m.Lot) {
		f.Add("lot", "invalid", "1 to 40 visible ASCII characters")
	}
	if item.Tracking != "serial" {
		if len(m.Serials) > 0 {
			f.Add("serials", "not_tracked", "units of this SKU have no serial numbers")
		}
	} else if len(m.Serials) == 0 {
		f.Add("serials", "required", "units of this SKU have serial numbers")
	} else if m.Quantity != len(m.Serials) {
		f.Add("quantity", "invalid", "%d serials were named", len(m.Serials))
	}
	for i, s := range m.Serials {
		at := fmt.Sprintf("serials[%d]", i)
		if !lotForm.MatchString(s) {
			f.Add(at, "invalid", "1 to 40 visible ASCII characters")
		}
		if slices.Contains(m.Serials[:i], s) {
			f.Add(at, "repeated", "named twice")
		}
	}
	if m.Quantity < 1 || m.Quantity > mostUnits {
		f.Add("quantity", "out_of_range", "1 to %d", mostUnits)
	}
}

// mostUnits bounds one move.
const mostUnits = 1_000_000

// each runs fn for every serial, or once for all units.
func (m Moving) each(fn func(serial string, units int)) {
	if len(m.Serials) == 0 {
		fn("", m.Quantity)
	}
	for _, serial := range m.Serials {
		fn(serial, 1)
	}
}

// refusal says what the ledger does not allow.
func refusal(err error) error {
	var f problem.Fields
	switch {
	case errors.Is(err, stock.ErrNotInBin), errors.Is(err, stock.ErrBelowZero):
		return problem.New(problem.Conflict, "not_in_bin", "There are not that many units.")
	case errors.Is(err, stock.ErrSerialThere):
		return problem.New(problem.Conflict, "serial_in_stock", "A unit with this serial number is in stock already.")
	case errors.Is(err, stock.ErrSerialAbsent):
		return problem.New(problem.Conflict, "serial_elsewhere", "The unit with this serial number is not there.")
	case errors.Is(err, stock.ErrNoSuchBin):
		f.Add("to.bin", "unknown_bin", "the warehouse has no such bin")
	case errors.Is(err, stock.ErrNoSuchPlace):
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	case errors.Is(err, stock.ErrWrongLot):
		f.Add("lot", "required", "units of this SKU belong to lots")
	case errors.Is(err, stock.ErrNeedsSerial):
		f.Add("serials", "required", "units of this SKU have serial numbers")
	default:
		return err
	}
	return f.Err()
}

func lostOf(dropped []stock.Dropped) []Lost {
	out := []Lost{}
	for _, d := range dropped {
		out = append(out, Lost{AllocationID: d.AllocationID, ReservationID: d.HoldID, PickList: d.ListID, Line: d.Line, Units: d.Units})
	}
	return out
}

// answer reads the ends of a move as they are now.
func (m Moving) answer(ctx context.Context, tx pgx.Tx, tenant, sku string, moved stock.Moved) (Move, error) {
	from, err := spotNow(ctx, tx, tenant, m.Warehouse, sku, m.Lot, m.From)
	if err != nil {
		return Move{}, err
	}
	to, err := spotNow(ctx, tx, tenant, m.Warehouse, sku, m.Lot, m.To)
	if err != nil {
		return Move{}, err
	}
	out := m.done(sku, from, to)
	out.Shorted, out.Dropped = together(moved.Shorted), lostOf(moved.Dropped)
	return out, nil
}

func (m Moving) done(sku string, from, to *SpotNow) Move {
	out := Move{Warehouse: m.Warehouse, SKU: sku, Lot: m.Lot, Serials: m.Serials, Quantity: m.Quantity, Reason: m.Reason, From: from, To: to, Shorted: []stock.Shorted{}, Dropped: []Lost{}}
	if out.Serials == nil {
		out.Serials = []string{}
	}
	return out
}

// spotNow reads what lies at a spot; nil outside the warehouse.
func spotNow(ctx context.Context, tx pgx.Tx, tenant, warehouse, sku, lot string, at *stock.Spot) (*SpotNow, error) {
	if at == nil {
		return nil, nil
	}
	now := &SpotNow{Bin: at.Bin, Status: at.Status}
	var err error
	if at.Bin == "" {
		err = tx.QueryRow(ctx, `SELECT on_hand - placed FROM stock_levels WHERE tenant = $1 AND warehouse = $2 AND sku = $3`, tenant, warehouse, sku).Scan(&now.Quantity)
	} else {
		err = tx.QueryRow(ctx, `SELECT quantity, version FROM bin_stock WHERE tenant = $1 AND warehouse = $2 AND bin = $3 AND sku = $4 AND lot = $5 AND status = $6`,
			tenant, warehouse, at.Bin, sku, lot, at.Status).Scan(&now.Quantity, &now.Version)
	}
	if err != nil && !none(err) {
		return nil, fmt.Errorf("what lies in %q: %w", at.Bin, err)
	}
	return now, nil
}

// together sums what each hold lost, so that its run is told once.
func together(lost []stock.Shorted) []stock.Shorted {
	out := []stock.Shorted{}
	for _, l := range lost {
		i := slices.IndexFunc(out, func(s stock.Shorted) bool { return s.HoldID == l.HoldID })
		if i < 0 {
			out = append(out, l)
			continue
		}
		out[i].Units += l.Units
	}
	return out
}
