package returns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// What came of a unit.
const (
	Arrived   = "arrived"
	WrongItem = "wrong_item" // something else lay in its place
	Gone      = "missing"    // it was not in the parcel
	Lost      = "lost"       // its carrier has lost it, with the shop's label on
)

// Reception is what somebody found in a parcel.
type Reception struct {
	Lines []ReceivedLine `json:"lines"`
	// Extras are things that nobody had asked for.
	Extras []Extra `json:"extras"`
	// RestMissing: no other parcel comes, and what has not come is missing. An empty parcel
	// is this and no lines.
	RestMissing bool  `json:"rest_missing"`
	Version     int64 `json:"version"`
	// Late is why a parcel is taken that came after late_arrival_days.
	Late string   `json:"late"`
	By   stock.By `json:"-"`
}

// ReceivedLine is units of a line.
type ReceivedLine struct {
	LineID   string `json:"line_id"`
	Quantity int    `json:"quantity"`
	// Came is arrived (default), wrong_item or missing.
	Came string `json:"came"`
}

// Extra is a thing that nobody had asked for, in words or as a SKU.
type Extra struct {
	What     string `json:"what"`
	Quantity int    `json:"quantity"`
}

func (in *Reception) check() error {
	var f problem.Fields
	if len(in.Lines) == 0 && len(in.Extras) == 0 && !in.RestMissing {
		f.Add("lines", "required", "say what was in the parcel; of an empty one, rest_missing")
	}
	for i := range in.Lines {
		l, at := &in.Lines[i], fmt.Sprintf("lines[%d].", i)
		if !id.Valid(l.LineID) {
			f.Add(at+"line_id", "unknown_line", "the return has no such line")
		}
		if l.Quantity < 1 {
			f.Add(at+"quantity", "out_of_range", "1 or more")
		}
		switch l.Came {
		case "":
			l.Came = Arrived
		case Arrived, WrongItem, Gone:
		default:
			f.Add(at+"came", "invalid", "arrived, wrong_item or missing")
		}
	}
	for i, e := range in.Extras {
		at := fmt.Sprintf("extras[%d].", i)
		if e.What == "" || len(e.What) > 200 {
			f.Add(at+"what", "required", "say what it is: 1 to 200 bytes")
		}
		if e.Quantity < 1 {
			f.Add(at+"quantity", "out_of_range", "1 or more")
		}
	}
	if len(in.Extras) > 100 {
		f.Add("extras", "out_of_range", "at most 100")
	}
	if len(in.Late) > 500 {
		f.Add("late", "too_long", "at most 500 bytes")
	}
	return f.Err()
}

// receivable are the statuses in which goods may come.
var receivable = []string{Approved, LabelIssued, InTransit, Expired, Received}

// Receive writes what was in a parcel. A return may come in several. Nothing is in stock
// before it was looked at.
//
// 409 with the return in current: wrong_status, version_changed; arrived_too_late where it
// had expired longer ago than the rules put up with, unless late says why it is taken all
// the same; unit_in_another_return where another return has a unit by now. 422 for more
// units than are still to come.
func Receive(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, in Reception) (Return, error) {
	if err := in.check(); err != nil {
		return Return{}, err
	}
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return r, err
	}
	if err := r.may(in.Version, receivable...); err != nil {
		return r, err
	}
	if r.Status == Expired {
		if err := r.revive(ctx, tx, shop.ID, in.Late); err != nil {
			return r, err
		}
	}
	var f problem.Fields
	arrived := 0
	for i, l := range in.Lines {
		var of []Unit
		for _, u := range r.Units {
			if u.LineID == l.LineID && u.Came == "" {
				of = append(of, u)
			}
		}
		if l.Quantity > len(of) {
			f.Add(fmt.Sprintf("lines[%d].quantity", i), "out_of_range", "%d of it are still to come; put the rest under extras", len(of))
			continue
		}
		for _, u := range of[:l.Quantity] {
			r.unit(u).Came = l.Came
		}
		if l.Came == Arrived {
			arrived += l.Quantity
		}
	}
	if err := f.Err(); err != nil {
		return r, err
	}
	if in.RestMissing {
		r.end(Gone)
	}
	if err := r.save(ctx, tx, shop.ID); err != nil {
		return r, err
	}
	for _, e := range in.Extras {
		_, err := tx.Exec(ctx, `INSERT INTO return_extras (tenant, return_id, n, what, quantity, person) SELECT $1, $2, 1 + count(*), $3, $4, $5 FROM return_extras WHERE tenant = $1 AND return_id = $2`, shop.ID, r.ID, e.What, e.Quantity, in.By.Person)
		if err != nil {
			return r, fmt.Errorf("extras of return %s: %w", r.ID, err)
		}
	}
	first := r.Status != Received
	_, err = tx.Exec(ctx, `UPDATE returns SET status = 'received', version = version + 1, received_at = coalesce(received_at, now()), expires_at = NULL, ended_at = NULL, updated_at = now(),
	    due_at = now() + make_interval(hours => (policy->>'inspect_within_hours')::int) WHERE tenant = $1 AND id = $2`, shop.ID, r.ID)
	if err != nil {
		return r, fmt.Errorf("receive return %s: %w", r.ID, err)
	}
	if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_received", "warehouse", map[string]any{"return_id": r.ID, "arrived": arrived, "extras": len(in.Extras), "by": in.By.Person}); err != nil {
		return r, err
	}
	if r, err = r.over(ctx, tx, shop, in.By.Person); err != nil || !first {
		return r, err
	}
	return r, r.tell(ctx, tx, shop, noticeReceived)
}

// end says what became of the units that have not come.
func (r *Return) end(came string) {
	for i := range r.Units {
		if r.Units[i].Came == "" {
			r.Units[i].Came = came
		}
	}
}

// revive takes the units of an expired return back, whose parcel has come after all.
func (r Return) revive(ctx context.Context, tx pgx.Tx, tenantID, why string) error {
	var late bool
	err := tx.QueryRow(ctx, `SELECT now() > approved_at + make_interval(days => (policy->>'send_within_days')::int + (policy->>'late_arrival_days')::int) FROM returns WHERE tenant = $1 AND id = $2`, tenantID, r.ID).Scan(&late)
	if err != nil {
		return fmt.Errorf("return %s: %w", r.ID, err)
	}
	if late && why == "" {
		return r.conflict(CodeTooLate, "It expired, and the days in which a late parcel is taken are over. Say in late why it is taken all the same, or send it back to the buyer.")
	}
	var taken bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM return_units mine JOIN return_units o ON o.tenant = mine.tenant AND o.order_id = mine.order_id AND o.line_id = mine.line_id AND o.unit = mine.unit AND o.live
	  WHERE mine.tenant = $1 AND mine.return_id = $2 AND o.return_id <> $2)`, tenantID, r.ID).Scan(&taken)
	if err != nil {
		return fmt.Errorf("units of return %s: %w", r.ID, err)
	}
	if taken {
		return r.conflict(CodeUnitTaken, "Another return of the order has units of it by now: receive them there.")
	}
	if _, err := tx.Exec(ctx, `UPDATE return_units SET live = true WHERE tenant = $1 AND return_id = $2`, tenantID, r.ID); err != nil {
		return fmt.Errorf("units of return %s: %w", r.ID, err)
	}
	return nil
}

// over moves a return on once all of its units have come, or will not, and were looked at.
func (r Return) over(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, person string) (Return, error) {
	r, err := Get(ctx, tx, shop.ID, r.ID)
	if err != nil || r.Status != Received {
		return r, err
	}
	if slices.ContainsFunc(r.Units, func(u Unit) bool { return u.Came == "" || u.Came == Arrived && u.Disposition == "" }) {
		return r, nil
	}
	if _, err := tx.Exec(ctx, `UPDATE returns SET status = 'inspected', version = version + 1, inspected_at = now(), due_at = now() + interval '1 day', updated_at = now() WHERE tenant = $1 AND id = $2`, shop.ID, r.ID); err != nil {
		return r, fmt.Errorf("return %s: %w", r.ID, err)
	}
	// What did not come may be asked for again.
	if _, err := tx.Exec(ctx, `UPDATE return_units SET live = false WHERE tenant = $1 AND return_id = $2 AND came NOT IN ('arrived','lost')`, shop.ID, r.ID); err != nil {
		return r, fmt.Errorf("units of return %s: %w", r.ID, err)
	}
	if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_inspected", "warehouse", map[string]any{"return_id": r.ID, "by": person}); err != nil {
		return r, err
	}
	return Get(ctx, tx, shop.ID, r.ID)
}

// Dispositions of a unit that was looked at.
const (
	Restock    = "restock"    // can be sold again
	Refurbish  = "refurbish"  // after work
	Quarantine = "quarantine" // nobody knows yet
	Supplier   = "supplier"   // goes back to whoever made it
	Scrap      = "scrap"
)

var (
	dispositions = []string{Restock, Refurbish, Quarantine, Supplier, Scrap}
	grades       = []string{"A", "B", "C", "D"}
)

// Inspection is what somebody thinks of units that came.
type Inspection struct {
	Units   []InspectedUnits `json:"units"`
	Version int64            `json:"version"`
	By      stock.By         `json:"-"`
	// Supervisor may correct what was said before.
	Supervisor bool `json:"-"`
}

// InspectedUnits are units of a line that are alike.
type InspectedUnits struct {
	LineID   string `json:"line_id"`
	Quantity int    `json:"quantity"`
	// Correct names units that were inspected before, as GET shows them; it is a supervisor's
	// right. Quantity is then how many there are.
	Correct []int `json:"correct"`
	// Grade is A (as new) to D (worthless), Disposition what becomes of them.
	Grade       string `json:"grade"`
	Disposition string `json:"disposition"`
	// Bin is where they are put. Only what can be sold may lie in none, and only scrap
	// lies nowhere.
	Bin    string `json:"bin"`
	Lot    string `json:"lot"`
	Serial string `json:"serial"`
	// Deducted of the money of each, in minor units, and why. The buyer is told.
	Deducted  int64  `json:"deducted"`
	Deduction string `json:"deduction"`
	Note      string `json:"note"`
}

func (in *Inspection) check() error {
	var f problem.Fields
	if len(in.Units) == 0 || len(in.Units) > 500 {
		f.Add("units", "out_of_range", "1 to 500")
	}
	for i := range in.Units {
		u, at := &in.Units[i], fmt.Sprintf("units[%d].", i)
		if len(u.Correct) > 0 {
			u.Quantity = len(u.Correct)
		}
		if !id.Valid(u.LineID) {
			f.Add(at+"line_id", "unknown_line", "the return has no such line")
		}
		if u.Quantity < 1 {
			f.Add(at+"quantity", "out_of_range", "1 or more")
		}
		choice(&f, at+"grade", u.Grade, grades...)
		choice(&f, at+"disposition", u.Disposition, dispositions...)
		switch {
		case u.Bin == "" && u.Disposition != Restock && u.Disposition != Scrap:
			f.Add(at+"bin", "required", "say where it was put")
		case u.Bin != "" && u.Disposition == Scrap:
			f.Add(at+"bin", "not_allowed", "scrap lies nowhere")
		case u.Serial != "" && u.Quantity != 1:
			f.Add(at+"serial", "invalid", "a serial number is one unit's")
		case u.Deducted < 0:
			f.Add(at+"deducted", "out_of_range", "not negative")
		case u.Deducted > 0 && u.Deduction == "":
			f.Add(at+"deduction", "required", "say why; the buyer is told")
		case len(u.Deduction) > 300 || len(u.Note) > 500:
			f.Add(at+"note", "too_long", "deduction at most 300 bytes, note 500")
		}
		if u.Deducted == 0 {
			u.Deduction = ""
		}
	}
	return f.Err()
}

// Inspect books what becomes of units that came: their stock and what goes back for them,
// in one transaction. The return is inspected with the last of them.
//
// 409 with the return in current: wrong_status, version_changed. 422 for units that did not
// come, a lot or serial number that this order did not have, or a place that does not take
// them.
func Inspect(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, in Inspection) (Return, stock.Moved, error) {
	var none stock.Moved
	if err := in.check(); err != nil {
		return Return{}, none, err
	}
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return r, none, err
	}
	if err := r.may(in.Version, Received, Inspected, Refunded, Closed); err != nil {
		return r, none, err
	}
	var f problem.Fields
	var moves []stock.BinMovement
	var fields []int
	for i, asked := range in.Units {
		of := r.toInspect(i, asked, in.Supervisor, &f)
		for _, u := range of {
			move, err := r.judgeUnit(ctx, tx, shop, u, asked, i, in.By, &f)
			if err != nil {
				return r, none, err
			}
			for _, m := range move {
				moves, fields = append(moves, m), append(fields, i)
			}
		}
	}
	if err := f.Err(); err != nil {
		return r, none, err
	}
	moved, err := book(ctx, tx, shop.ID, moves, fields)
	if err != nil {
		return r, none, err
	}
	if err := r.save(ctx, tx, shop.ID); err != nil {
		return r, none, err
	}
	_, err = tx.Exec(ctx, `UPDATE returns SET version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2`, shop.ID, r.ID)
	if err != nil {
		return r, none, fmt.Errorf("inspect return %s: %w", r.ID, err)
	}
	if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_units_inspected", "warehouse", map[string]any{"return_id": r.ID, "units": summary(in.Units), "by": in.By.Person}); err != nil {
		return r, none, err
	}
	r, err = r.over(ctx, tx, shop, in.By.Person)
	return r, moved, err
}

// summary is what the timeline tells of an inspection.
func summary(list []InspectedUnits) []map[string]any {
	out := []map[string]any{}
	for _, u := range list {
		one := map[string]any{"line_id": u.LineID, "quantity": u.Quantity, "grade": u.Grade, "disposition": u.Disposition}
		if u.Deducted > 0 {
			one["deducted"] = u.Deducted
		}
		if len(u.Correct) > 0 {
			one["corrected"] = true
		}
		out = append(out, one)
	}
	return out
}

// toInspect chooses the units that a line of an inspection is about.
func (r *Return) toInspect(i int, asked InspectedUnits, supervisor bool, f *problem.Fields) (of []*Unit) {
	at := fmt.Sprintf("units[%d].", i)
	if len(asked.Correct) > 0 {
		if !supervisor {
			f.Add(at+"correct", "not_allowed", "a supervisor corrects an inspection")
			return nil
		}
		for _, n := range asked.Correct {
			k := slices.IndexFunc(r.Units, func(u Unit) bool { return u.LineID == asked.LineID && u.Unit == n && u.Disposition != "" })
			if k < 0 {
				f.Add(at+"correct", "unknown_unit", "unit %d of the line was not inspected", n)
				return nil
			}
			of = append(of, &r.Units[k])
		}
		return of
	}
	for k := range r.Units {
		if u := &r.Units[k]; u.LineID == asked.LineID && u.Came == Arrived && u.Disposition == "" && len(of) < asked.Quantity {
			of = append(of, u)
		}
	}
	if len(of) < asked.Quantity {
		f.Add(at+"quantity", "out_of_range", "%d of it came and were not inspected yet", len(of))
		return nil
	}
	return of
}

// judgeUnit writes what was said of a unit into the return, and returns how its stock
// moves: in, or from where it was put before.
func (r *Return) judgeUnit(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, u *Unit, asked InspectedUnits, i int, by stock.By, f *problem.Fields) ([]stock.BinMovement, error) {
	at := fmt.Sprintf("units[%d].", i)
	if asked.Deducted > u.Paid {
		f.Add(at+"deducted", "out_of_range", "%d was paid for it", u.Paid)
		return nil, nil
	}
	lot, serial := asked.Lot, asked.Serial
	if u.Disposition != "" { // corrected: it is the same thing
		if lot != "" && lot != u.Lot || serial != "" && serial != u.Serial {
			f.Add(at+"serial", "invalid", "a correction is about the same lot and serial number")
			return nil, nil
		}
		lot, serial = u.Lot, u.Serial
	} else if err := r.left(ctx, tx, shop.ID, u.SKU, lot, serial, at, f); err != nil {
		return nil, err
	}
	from, to := spot(u.Disposition, u.Bin), spot(asked.Disposition, asked.Bin)
	was := u.Disposition != ""
	u.Grade, u.Disposition, u.Bin, u.Lot, u.Serial = asked.Grade, asked.Disposition, asked.Bin, lot, serial
	u.Deducted, u.Deduction, u.Note, u.InspectedBy = asked.Deducted, asked.Deduction, asked.Note, by.Person
	if !was {
		from = nil
	}
	if from == nil && to == nil || from != nil && to != nil && *from == *to {
		return nil, nil
	}
	return []stock.BinMovement{{SKU: u.SKU, Warehouse: r.Warehouse, Lot: lot, Serial: serial, Quantity: 1, From: from, To: to, Reason: "return", Document: "return:" + r.ID, By: by}}, nil
}

// spot is where units of a disposition lie; nil is nowhere.
func spot(disposition, bin string) *stock.Spot {
	switch {
	case disposition == "" || disposition == Scrap:
		return nil
	case disposition == Restock && bin == "":
		return stock.Unplaced()
	case disposition == Restock:
		return stock.In(bin, stock.Available)
	}
	return stock.In(bin, stock.Held)
}

// left demands of a lot or serial number that it left for this order, as far as that is
// known: what left by no picking has none.
func (r *Return) left(ctx context.Context, tx pgx.Tx, tenantID, sku, lot, serial, at string, f *problem.Fields) error {
	var tracking string
	var known, same bool
	err := tx.QueryRow(ctx, `SELECT p.tracking, EXISTS (SELECT FROM allocations a WHERE a.tenant = $1 AND a.hold_id = o.hold_id AND a.sku = $3 AND a.state = 'shipped' AND (a.lot <> '' OR a.serial IS NOT NULL)),
	    EXISTS (SELECT FROM allocations a WHERE a.tenant = $1 AND a.hold_id = o.hold_id AND a.sku = $3 AND a.state = 'shipped' AND ($4 = '' OR a.lot = $4) AND ($5 = '' OR a.serial = $5))
	  FROM orders o JOIN products p ON p.tenant = o.tenant AND p.sku = $3 WHERE o.tenant = $1 AND o.id = $2`, tenantID, r.OrderID, sku, lot, serial).Scan(&tracking, &known, &same)
	switch {
	case err != nil:
		return fmt.Errorf("what left of %s for order %s: %w", sku, r.OrderID, err)
	case tracking == "lot" && lot == "":
		f.Add(at+"lot", "required", "units of this SKU belong to lots")
	case tracking == "serial" && serial == "":
		f.Add(at+"serial", "required", "units of this SKU have serial numbers")
	case tracking == "none" && (lot != "" || serial != ""):
		f.Add(at+"lot", "not_allowed", "units of this SKU have no lots and serial numbers")
	case known && !same:
		f.Add(at+"serial", "not_of_this_order", "no such lot or serial number left for this order: it is a wrong_item")
	}
	return nil
}

// book moves the stock of units, and says of which of them it can't be.
func book(ctx context.Context, tx pgx.Tx, tenantID string, moves []stock.BinMovement, fields []int) (out stock.Moved, err error) {
	if len(moves) == 0 {
		return out, nil
	}
	all, at, err := stock.MoveAll(ctx, tx, tenantID, moves)
	if code := refusedAs(err); code != "" {
		field := "units"
		if at >= 0 {
			field = fmt.Sprintf("units[%d].bin", fields[at])
		}
		var f problem.Fields
		f.Add(field, code, "%v", err)
		return out, f.Err()
	}
	if err != nil {
		return out, err
	}
	for _, one := range all {
		out.Shorted, out.Dropped = append(out.Shorted, one.Shorted...), append(out.Dropped, one.Dropped...)
	}
	return out, nil
}

// refusedAs is the code of a refusal by the ledger of bins, "" for any other error.
func refusedAs(err error) string {
	for _, r := range []struct {
		err  error
		code string
	}{{stock.ErrNoSuchBin, "unknown_bin"}, {stock.ErrNotInBin, "not_in_bin"}, {stock.ErrWrongLot, "wrong_lot"}, {stock.ErrNeedsSerial, "serial_required"},
		{stock.ErrSerialThere, "serial_in_stock"}, {stock.ErrSerialAbsent, "serial_absent"}, {stock.ErrPromised, "not_in_bin"}} {
		if errors.Is(err, r.err) {
			return r.code
		}
	}
	return ""
}

// Expire ends a return that was not sent in time. Its units may be asked for again.
func Expire(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string) error {
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil || r.Status != Approved && r.Status != LabelIssued || r.ExpiresAt == nil || r.ExpiresAt.After(r.now) {
		return err
	}
	if err := r.release(ctx, tx, shop.ID); err != nil {
		return err
	}
	if err := r.dropLabel(ctx, tx, shop.ID, "system"); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE returns SET status = 'expired', version = version + 1, due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2`, shop.ID, r.ID)
	if err != nil {
		return fmt.Errorf("expire return %s: %w", r.ID, err)
	}
	if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_expired", "system", map[string]any{"return_id": r.ID}); err != nil {
		return err
	}
	return r.tell(ctx, tx, shop, noticeExpired)
}

// Remind tells the buyer until when the goods must be sent, once for each of the policy's
// days.
func Remind(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string) error {
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return err
	}
	at, due := r.remindAt()
	if !due || at.After(r.now) {
		return nil
	}
	// Those that went by meanwhile are one.
	n := r.Reminded
	for n < len(r.Policy.RemindDays) && !r.ExpiresAt.AddDate(0, 0, -r.Policy.RemindDays[n]).After(r.now) {
		n++
	}
	if _, err := tx.Exec(ctx, `UPDATE returns SET reminded = $3, updated_at = now() WHERE tenant = $1 AND id = $2`, shop.ID, r.ID, n); err != nil {
		return fmt.Errorf("return %s: %w", r.ID, err)
	}
	r.Reminded = n
	return r.tell(ctx, tx, shop, noticeReminder)
}

// remindAt is when the buyer is reminded next.
func (r Return) remindAt() (at time.Time, ok bool) {
	if r.ExpiresAt == nil || r.Status != Approved && r.Status != LabelIssued || r.Reminded >= len(r.Policy.RemindDays) {
		return at, false
	}
	return r.ExpiresAt.AddDate(0, 0, -r.Policy.RemindDays[r.Reminded]).UTC(), true
}
