package place

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/floor"
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
	if err := exists(ctx, tx, tenant, m.Warehouse); err != nil {
		return Move{}, unknownWarehouse(err)
	}
	item, err := m.resolve(ctx, tx, tenant)
	if err != nil {
		return Move{}, err
	}
	if err := m.check(item); err != nil {
		return Move{}, err
	}
	return in(ctx, tx, func(tx pgx.Tx) (Move, error) { return m.do(ctx, tx, tenant, item) })
}

// AfterMove reads the ends of a move as they are now: for a repetition of a
// request whose answer was lost.
func AfterMove(ctx context.Context, tx pgx.Tx, tenant string, m Moving) (Move, error) {
	item, err := m.resolve(ctx, tx, tenant)
	if err != nil {
		return Move{}, err
	}
	if err := m.check(item); err != nil {
		return Move{}, err
	}
	return m.answer(ctx, tx, tenant, item, stock.Moved{})
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
func (m *Moving) resolve(ctx context.Context, tx pgx.Tx, tenant string) (scancode.Item, error) {
	item := scancode.Item{SKU: m.SKU}
	var err error
	if m.Scanned != "" {
		if item, err = scancode.Resolve(ctx, tx, tenant, m.Scanned, time.Now()); err != nil {
			return item, err
		}
		if m.SKU != "" && m.SKU != item.SKU {
			var f problem.Fields
			f.Add("code", "wrong_item", "the code is that of %s", item.SKU)
			return item, f.Err()
		}
	} else {
		err = tx.QueryRow(ctx, `SELECT name, tracking FROM products WHERE tenant = $1 AND sku = $2`, tenant, m.SKU).Scan(&item.Name, &item.Tracking)
		if none(err) {
			var f problem.Fields
			f.Add("sku", "unknown_sku", "there is no such SKU")
			return item, f.Err()
		}
		if err != nil {
			return item, fmt.Errorf("product %s: %w", m.SKU, err)
		}
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

func (m Moving) do(ctx context.Context, tx pgx.Tx, tenant string, item scancode.Item) (Move, error) {
	// Stock before bins, in every function that locks both.
	if _, err := tx.Exec(ctx, `SELECT FROM stock_levels WHERE tenant = $1 AND sku = $2 AND warehouse = $3 FOR UPDATE`, tenant, item.SKU, m.Warehouse); err != nil {
		return Move{}, fmt.Errorf("stock of %s: %w", item.SKU, err)
	}
	if err := m.checkFrom(ctx, tx, tenant, item); err != nil {
		return Move{}, err
	}
	if err := m.checkLot(ctx, tx, tenant, item); err != nil {
		return Move{}, err
	}
	if err := m.checkTo(ctx, tx, tenant, item); err != nil {
		return Move{}, err
	}
	var moved stock.Moved
	err := m.each(func(serial string, units int) error {
		one, err := stock.Move(ctx, tx, tenant, stock.BinMovement{SKU: item.SKU, Warehouse: m.Warehouse, Lot: m.Lot, Serial: serial, Quantity: units,
			From: m.From, To: m.To, Reason: m.Reason, Document: m.Document, Note: m.Note, By: m.By})
		moved.Shorted = append(moved.Shorted, one.Shorted...)
		moved.Dropped = append(moved.Dropped, one.Dropped...)
		return err
	})
	if err != nil {
		return Move{}, refusal(err)
	}
	if len(moved.Dropped) > 0 && !m.Force && (m.Reason == "move" || m.Reason == "put_away") {
		return Move{}, problem.New(problem.Conflict, "units_allocated", "Those units are chosen for orders. Move others, or say that it must be.").With("current", lostOf(moved.Dropped))
	}
	return m.answer(ctx, tx, tenant, item, moved)
}

// each runs fn for every serial, or once for all units.
func (m Moving) each(fn func(serial string, units int) error) error {
	if len(m.Serials) == 0 {
		return fn("", m.Quantity)
	}
	for _, serial := range m.Serials {
		if err := fn(serial, 1); err != nil {
			return err
		}
	}
	return nil
}

// checkFrom demands the version that the operator saw, and that a serial is
// where it is taken from.
func (m Moving) checkFrom(ctx context.Context, tx pgx.Tx, tenant string, item scancode.Item) error {
	now, err := spotNow(ctx, tx, tenant, m.Warehouse, item.SKU, m.Lot, m.From)
	if err != nil || now == nil {
		return err
	}
	if m.Version != 0 && now.Version != m.Version {
		return problem.New(problem.Conflict, "version_changed", fmt.Sprintf("The bin %s has changed since.", now.Bin)).With("current", now)
	}
	if now.Quantity < m.Quantity {
		return problem.New(problem.Conflict, "not_in_bin", fmt.Sprintf("%d units of %s lie there as %s.", now.Quantity, item.SKU, now.Status)).With("current", now)
	}
	return nil
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

// checkLot makes a lot known that comes in, and keeps units of one that is held
// or expired from being offered.
func (m Moving) checkLot(ctx context.Context, tx pgx.Tx, tenant string, item scancode.Item) error {
	if m.Lot == "" || m.To == nil || m.To.Bin == "" {
		return nil
	}
	if m.From == nil || m.From.Bin == "" {
		same, err := stock.PutLot(ctx, tx, tenant, stock.Lot{SKU: item.SKU, Lot: m.Lot, ExpiresOn: m.ExpiresOn})
		if err != nil {
			return err
		}
		if !same {
			return problem.New(problem.Conflict, "other_expiry", "The lot is known with another day of expiry.")
		}
	}
	if m.To.Status != stock.Available || m.From != nil && m.From.Bin != "" && m.From.Status == stock.Available {
		return nil
	}
	var status, reason string
	err := tx.QueryRow(ctx, `SELECT status, reason FROM lots WHERE tenant = $1 AND sku = $2 AND lot = $3`, tenant, item.SKU, m.Lot).Scan(&status, &reason)
	if err != nil && !none(err) {
		return fmt.Errorf("lot %s: %w", m.Lot, err)
	}
	if status == stock.Held || status == stock.Expired {
		return problem.New(problem.Conflict, "lot_not_available", "The lot is "+status+": its units can't be offered.").With("current", map[string]string{"status": status, "reason": reason})
	}
	return nil
}

// kindsFor are the kinds of bins in which units of a status may be put by hand.
// Units may change their status where they lie.
var kindsFor = map[string][]floor.BinKind{
	stock.Available: forSale,
	stock.Held:      {floor.Pick, floor.Reserve, floor.Receiving, floor.Quarantine},
	stock.Expired:   {floor.Quarantine, floor.Damaged},
	stock.Damaged:   {floor.Quarantine, floor.Damaged},
}

// checkTo locks the bin that takes the units and holds its rules.
func (m Moving) checkTo(ctx context.Context, tx pgx.Tx, tenant string, item scancode.Item) error {
	if m.To == nil || m.To.Bin == "" {
		return nil
	}
	var active bool
	err := tx.QueryRow(ctx, `SELECT active FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = $3 FOR NO KEY UPDATE`, tenant, m.Warehouse, m.To.Bin).Scan(&active)
	if none(err) {
		var f problem.Fields
		f.Add("to.bin", "unknown_bin", "the warehouse has no such bin")
		return f.Err()
	}
	if err != nil {
		return fmt.Errorf("bin %s: %w", m.To.Bin, err)
	}
	stays := m.From != nil && m.From.Bin == m.To.Bin
	if !active && !stays {
		return problem.New(problem.Conflict, "bin_inactive", "The bin "+m.To.Bin+" is switched off.")
	}
	if m.Force || stays {
		return nil
	}
	return Fits(ctx, tx, tenant, m.Warehouse, m.To.Bin, item.SKU, m.Lot, m.To.Status, m.Quantity)
}

// Fits tells whether units may be put into a bin: its kind, its lot rule, and
// its limits of units, weight and volume. It is 409 wrong_bin_kind, lot_rule or
// bin_full when they may not, with `current`, and 404 for a bin that is not there.
// Nothing is locked.
func Fits(ctx context.Context, tx pgx.Tx, tenant, warehouse, code, sku, lot, status string, units int) error {
	b, err := theBin(ctx, tx, tenant, warehouse, code)
	if err != nil {
		return err
	}
	if !slices.Contains(kindsFor[status], b.Kind) {
		return problem.New(problem.Conflict, "wrong_bin_kind", fmt.Sprintf("The bin %s is for %s: units that are %s do not belong there.", code, b.Kind, status)).
			With("current", map[string]any{"kind": b.Kind})
	}
	if err := fitsRule(ctx, tx, tenant, b, sku, lot); err != nil {
		return err
	}
	var l load
	err = tx.QueryRow(ctx, `SELECT c.units + $5, c.grams + $5::bigint * p.weight_grams, c.mm3 + $5::float8 * p.length_mm * p.width_mm * p.height_mm
	    FROM products p, LATERAL (SELECT coalesce(sum(s.quantity), 0)::bigint AS units, coalesce(sum(s.quantity::bigint * q.weight_grams), 0)::bigint AS grams,
	           coalesce(sum(s.quantity::numeric * q.length_mm * q.width_mm * q.height_mm), 0)::float8 AS mm3
	      FROM bin_stock s JOIN products q ON q.tenant = s.tenant AND q.sku = s.sku WHERE s.tenant = $1 AND s.warehouse = $2 AND s.bin = $3) c
	   WHERE p.tenant = $1 AND p.sku = $4`, tenant, warehouse, code, sku, units).Scan(&l.units, &l.grams, &l.mm3)
	if err != nil {
		return fmt.Errorf("what bin %s holds: %w", code, err)
	}
	if fill := l.fill(b); fill != nil && *fill > 1000 {
		return problem.New(problem.Conflict, "bin_full", fmt.Sprintf("The bin %s would be %d %% full.", code, (*fill+9)/10)).
			With("current", map[string]any{"units": b.Units, "max_units": b.MaxUnits, "max_weight_grams": b.MaxWeightGrams, "max_volume_mm3": b.MaxVolumeMM3, "fill_permille": *fill})
	}
	return nil
}

// fitsRule holds a bin's lot rule.
func fitsRule(ctx context.Context, tx pgx.Tx, tenant string, b Bin, sku, lot string) error {
	against := ""
	switch b.LotRule {
	case floor.OneLot:
		against = `sku = $4 AND lot <> $5`
	case floor.OneSKU:
		against = `sku <> $4 AND $5 = $5`
	default:
		return nil
	}
	var other, otherLot string
	err := tx.QueryRow(ctx, `SELECT sku, lot FROM bin_stock WHERE tenant = $1 AND warehouse = $2 AND bin = $3 AND quantity > 0 AND `+against+` ORDER BY sku, lot LIMIT 1`,
		tenant, b.Warehouse, b.Code, sku, lot).Scan(&other, &otherLot)
	if none(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("what lies in bin %s: %w", b.Code, err)
	}
	return problem.New(problem.Conflict, "lot_rule", fmt.Sprintf("The bin %s takes %s at a time.", b.Code, map[floor.LotRule]string{floor.OneLot: "one lot of a SKU", floor.OneSKU: "one SKU"}[b.LotRule])).
		With("current", map[string]any{"sku": other, "lot": otherLot, "lot_rule": b.LotRule})
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
func (m Moving) answer(ctx context.Context, tx pgx.Tx, tenant string, item scancode.Item, moved stock.Moved) (Move, error) {
	out := Move{Warehouse: m.Warehouse, SKU: item.SKU, Lot: m.Lot, Serials: m.Serials, Quantity: m.Quantity, Reason: m.Reason, Shorted: together(moved.Shorted), Dropped: lostOf(moved.Dropped)}
	if out.Serials == nil {
		out.Serials = []string{}
	}
	var err error
	if out.From, err = spotNow(ctx, tx, tenant, m.Warehouse, item.SKU, m.Lot, m.From); err != nil {
		return Move{}, err
	}
	if out.To, err = spotNow(ctx, tx, tenant, m.Warehouse, item.SKU, m.Lot, m.To); err != nil {
		return Move{}, err
	}
	return out, nil
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
