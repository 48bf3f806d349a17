package refund

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/timeline"
)

// startIn is by when a run must have taken a refund up.
const startIn = 5 * time.Minute

// unit is a unit of a line, or the freight (an empty line), and what was paid
// for it.
type unit struct {
	Line  string
	N     int
	Paid  int64
	Left  int64
	taken int64 // by this request
}

// Booked is a request that was written.
type Booked struct {
	ID string
	// Amount in minor units.
	Amount   int64
	Currency money.Currency
	Number   string // the order's
}

// Book writes a request, what it is booked on and, when the payments are
// settled, the parts by which it is paid. requestID is new and chosen by the
// caller; sealed is the account of a bank transfer, by is who asks. It takes the
// order's lock, so that requests for one order are decided one after the other.
// Refusals are problem.Errors; nothing is written then.
func Book(ctx context.Context, tx pgx.Tx, tenant, requestID string, in Request, sealed []byte, by string, able Able) (Booked, error) {
	if err := in.Check(); err != nil {
		return Booked{}, err
	}
	b := Booked{ID: requestID}
	err := tx.QueryRow(ctx, `SELECT currency, number FROM orders WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenant, in.OrderID).Scan(&b.Currency, &b.Number)
	if errors.Is(err, pgx.ErrNoRows) {
		return b, problem.Missing("order")
	}
	if err != nil {
		return b, fmt.Errorf("order %s: %w", in.OrderID, err)
	}
	units, err := fill(ctx, tx, tenant, in.OrderID)
	if err != nil {
		return b, err
	}
	from, err := sources(ctx, tx, tenant, in.OrderID, in.PaymentID)
	if err != nil {
		return b, err
	}
	if in.PaymentID != "" && len(from) == 0 {
		var f problem.Fields
		f.Add("payment_id", "unknown_payment", "the order has no such payment")
		return b, f.Err()
	}
	waits := len(from) == 1 && from[0].Unsettled
	if waits {
		in.PaymentID = from[0].PaymentID
	}
	left := int64(0)
	for _, s := range from {
		left += s.Left
	}
	if in.AtMost {
		in.lower(left)
	}
	goodwill, err := in.choose(units, left, &b.Amount)
	if err != nil {
		return b, err
	}
	var parts []part
	if !waits {
		if b.Amount > left {
			return b, nothingLeft(left)
		}
		if parts, err = pay(b.Amount, from, in.Method, b.Currency, able); err != nil {
			return b, err
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO refund_requests (tenant, id, order_id, reason, amount, currency, method, bank_account, requested_by, payment_id, waits, due_at)
	  VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,nullif($10,''),$11, CASE WHEN $11 THEN now() + $12::interval END)`,
		tenant, requestID, in.OrderID, in.Reason, b.Amount, b.Currency, in.Method, sealed, by, in.PaymentID, waits, startIn)
	if err != nil {
		return b, fmt.Errorf("write refund %s: %w", requestID, err)
	}
	if err := book(ctx, tx, tenant, requestID, in.OrderID, units, goodwill); err != nil {
		return b, err
	}
	if err := addParts(ctx, tx, tenant, requestID, in.OrderID, parts); err != nil {
		return b, err
	}
	return b, timeline.Add(ctx, tx, tenant, in.OrderID, "refund_requested", by, map[string]any{"refund_id": requestID, "amount": b.Amount, "method": in.Method, "parts": len(parts)})
}

// fill makes the rows of what each unit of an order and its freight cost, when somebody
// first asks, and reads what is left of them.
func fill(ctx context.Context, tx pgx.Tx, tenant, orderID string) ([]*unit, error) {
	units, err := readUnits(ctx, tx, tenant, orderID)
	if err != nil || len(units) > 0 {
		return units, err
	}
	type line struct {
		ID       string
		Quantity int
		Total    int64
	}
	rows, err := tx.Query(ctx, `SELECT line_id, quantity, total FROM order_lines WHERE tenant = $1 AND order_id = $2 ORDER BY position`, tenant, orderID)
	if err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", orderID, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[line])
	if err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", orderID, err)
	}
	b := &pgx.Batch{}
	const put = `INSERT INTO refundable (tenant, order_id, line_id, unit, paid) VALUES ($1,$2,$3,$4,$5) ON CONFLICT DO NOTHING`
	for _, l := range lines {
		for n, paid := range money.Spread(l.Total, slices.Repeat([]int64{1}, l.Quantity)) {
			b.Queue(put, tenant, orderID, l.ID, n, paid)
		}
	}
	b.Queue(`INSERT INTO refundable (tenant, order_id, line_id, unit, paid) SELECT tenant, id, '', 0, shipping_total FROM orders WHERE tenant = $1 AND id = $2 ON CONFLICT DO NOTHING`, tenant, orderID)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("what order %s cost: %w", orderID, err)
	}
	return readUnits(ctx, tx, tenant, orderID)
}

func readUnits(ctx context.Context, tx pgx.Tx, tenant, orderID string) ([]*unit, error) {
	rows, err := tx.Query(ctx, `SELECT r.line_id, r.unit, r.paid, r.paid - r.refunded FROM refundable r LEFT JOIN order_lines l ON l.tenant = r.tenant AND l.line_id = r.line_id
	   WHERE r.tenant = $1 AND r.order_id = $2 ORDER BY l.position NULLS LAST, r.unit`, tenant, orderID)
	if err != nil {
		return nil, fmt.Errorf("what order %s cost: %w", orderID, err)
	}
	units, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*unit, error) {
		var u unit
		err := row.Scan(&u.Line, &u.N, &u.Paid, &u.Left)
		return &u, err
	})
	if err != nil {
		return nil, fmt.Errorf("what order %s cost: %w", orderID, err)
	}
	return units, nil
}

// sources are the payments that money of an order may go back from, the newest
// capture first: those that are applied, or the one that is named.
func sources(ctx context.Context, tx pgx.Tx, tenant, orderID, named string) ([]source, error) {
	rows, err := tx.Query(ctx, `WITH p AS (
	    SELECT * FROM payments WHERE tenant = $1 AND (order_id = $2 OR checkout_id = $2) AND CASE WHEN $3 = '' THEN applied ELSE id = $3 END ORDER BY id FOR UPDATE
	  )
	  SELECT p.id, p.gateway, p.status, p.applied, p.currency, p.amount, p.captured_amount,
	         CASE WHEN p.status IN ('pending','processing','unknown') THEN p.amount
	              WHEN p.status = 'authorized' THEN p.amount - coalesce((SELECT sum(v.amount) FROM refunds v WHERE v.tenant = p.tenant AND v.payment_id = p.id AND v.method = 'void' AND v.status <> 'failed'), 0)
	              ELSE greatest(p.captured_amount - p.refunded_amount - p.refunded_elsewhere, 0) END,
	         p.status IN ('pending','processing','unknown') OR p.status = 'authorized' AND p.capture_amount IS NOT NULL,
	         p.method, p.installments, (SELECT max(c.captured_at) FROM captures c WHERE c.tenant = p.tenant AND c.payment_id = p.id), now()
	    FROM p`, tenant, orderID, named)
	if err != nil {
		return nil, fmt.Errorf("payments of order %s: %w", orderID, err)
	}
	from, err := pgx.CollectRows(rows, pgx.RowToStructByPos[source])
	if err != nil {
		return nil, fmt.Errorf("payments of order %s: %w", orderID, err)
	}
	slices.SortStableFunc(from, func(a, b source) int {
		if a.CapturedAt == nil || b.CapturedAt == nil {
			return cmp.Compare(b.PaymentID, a.PaymentID)
		}
		return b.CapturedAt.Compare(*a.CapturedAt)
	})
	return from, nil
}

// choose decides what of each unit goes back, and how much of it is goodwill.
// left is what the payments can still give.
func (r Request) choose(units []*unit, left int64, total *int64) (goodwill int64, err error) {
	if r.whole() {
		for _, u := range units {
			u.taken = min(u.Left, left-*total)
			*total += u.taken
		}
		if *total == 0 {
			return 0, nothingLeft(0)
		}
		return 0, nil
	}
	var f problem.Fields
	short := false
	take := func(field string, of []*unit, asked *int64) {
		lefts, paid, there := make([]int64, len(of)), int64(0), int64(0)
		for i, u := range of {
			lefts[i] = u.Left
			paid += u.Paid
			there += u.Left
		}
		amount := there
		if asked != nil {
			amount = *asked
		}
		switch {
		case amount > paid:
			f.Add(field, "out_of_range", "at most %d was paid for it", paid)
		case amount > there, amount == 0:
			short = true
		default:
			for i, n := range money.Spread(amount, lefts) {
				of[i].taken = n
			}
			*total += amount
		}
	}
	for i, l := range r.Lines {
		at := fmt.Sprintf("lines[%d].", i)
		of := ofLine(units, l.LineID)
		rest, worth := refundableOf(of)
		switch {
		case len(of) == 0:
			f.Add(at+"line_id", "unknown_line", "the order has no such line")
		case l.Quantity > len(of):
			f.Add(at+"quantity", "out_of_range", "the line has %d", len(of))
		case l.Quantity > len(rest) && worth > 0:
			f.Add(at+"quantity", "out_of_range", "%d of the line have something left to give back", len(rest))
		case l.Quantity > len(rest):
			short = true
		default:
			take(at+"amount", rest[:l.Quantity], l.Amount)
		}
	}
	for _, a := range r.Units {
		if u := unitOf(units, a); u != nil && a.Amount > 0 {
			take("units", []*unit{u}, &a.Amount)
		}
	}
	if r.ShippingAmount != nil {
		take("shipping_amount", ofLine(units, ""), r.ShippingAmount)
	}
	if err := f.Err(); err != nil {
		return 0, err
	}
	if r.Amount != nil {
		if goodwill = *r.Amount; goodwill > left {
			return 0, nothingLeft(left)
		}
		*total += goodwill
	}
	if short || r.Units != nil && *total == 0 {
		return 0, nothingLeft(left)
	}
	return goodwill, nil
}

// lower has units and freight ask for no more than is left, those that come first before
// the others.
func (r *Request) lower(left int64) {
	take := func(amount int64) int64 {
		amount = min(amount, left)
		left -= amount
		return amount
	}
	r.Units = slices.Clone(r.Units)
	for i := range r.Units {
		r.Units[i].Amount = take(r.Units[i].Amount)
	}
	if r.ShippingAmount != nil {
		freight := take(*r.ShippingAmount)
		if r.ShippingAmount = &freight; freight == 0 {
			r.ShippingAmount = nil
		}
	}
}

func unitOf(units []*unit, a UnitAsked) *unit {
	i := slices.IndexFunc(units, func(u *unit) bool { return u.Line == a.Line && u.N == a.N })
	if i < 0 {
		return nil
	}
	return units[i]
}

// Unit is a unit of a line, or the freight (an empty line), what was paid for it and what
// of that has not gone back, in minor units of the order's currency.
type Unit struct {
	Line string
	N    int
	Paid int64
	Left int64
}

// Units are those of an order, in the order of its lines.
func Units(ctx context.Context, tx pgx.Tx, tenant, orderID string) ([]Unit, error) {
	units, err := fill(ctx, tx, tenant, orderID)
	if err != nil {
		return nil, err
	}
	out := make([]Unit, len(units))
	for i, u := range units {
		out[i] = Unit{Line: u.Line, N: u.N, Paid: u.Paid, Left: u.Left}
	}
	return out, nil
}

// Left is what the payments of an order can still give back, in minor units.
func Left(ctx context.Context, tx pgx.Tx, tenant, orderID string) (left int64, err error) {
	from, err := sources(ctx, tx, tenant, orderID, "")
	for _, s := range from {
		left += s.Left
	}
	return left, err
}

// Possible says why an amount, in minor units, could not go back by the order's payments now:
// a problem.Error as Book would answer. More than they have left is as much as they have.
func Possible(ctx context.Context, tx pgx.Tx, tenant, orderID string, amount int64, able Able) error {
	var currency money.Currency
	if err := tx.QueryRow(ctx, `SELECT currency FROM orders WHERE tenant = $1 AND id = $2`, tenant, orderID).Scan(&currency); err != nil {
		return fmt.Errorf("order %s: %w", orderID, err)
	}
	from, err := sources(ctx, tx, tenant, orderID, "")
	if err != nil || len(from) == 1 && from[0].Unsettled {
		return err
	}
	left := int64(0)
	for _, s := range from {
		left += s.Left
	}
	if amount = min(amount, left); amount == 0 {
		return nil
	}
	_, err = pay(amount, from, Original, currency, able)
	return err
}

// ofLine are the units of a line, those with most left first.
func ofLine(units []*unit, line string) []*unit {
	var of []*unit
	for _, u := range units {
		if u.Line == line {
			of = append(of, u)
		}
	}
	slices.SortStableFunc(of, func(a, b *unit) int { return cmp.Compare(b.Left, a.Left) })
	return of
}

// refundableOf leaves out the units that were given back whole; those that cost
// nothing stay. worth is what the rest has left.
func refundableOf(units []*unit) (rest []*unit, worth int64) {
	for _, u := range units {
		if u.Left > 0 || u.Paid == 0 {
			rest = append(rest, u)
			worth += u.Left
		}
	}
	return rest, worth
}

func book(ctx context.Context, tx pgx.Tx, tenant, requestID, orderID string, units []*unit, goodwill int64) error {
	b := &pgx.Batch{}
	const put = `INSERT INTO refund_bookings (tenant, request_id, order_id, kind, line_id, unit, amount) VALUES ($1,$2,$3,$4,$5,$6,$7)`
	for _, u := range units {
		if u.taken == 0 {
			continue
		}
		kind := "unit"
		if u.Line == "" {
			kind = "freight"
		}
		b.Queue(put, tenant, requestID, orderID, kind, u.Line, u.N, u.taken)
	}
	if goodwill > 0 {
		b.Queue(put, tenant, requestID, orderID, "goodwill", "", 0, goodwill)
	}
	return clear(requestID, tx.SendBatch(ctx, b).Close())
}

// addParts writes the parts of a request. The database refuses what a payment
// has not left, also when that has gone back a moment ago without us.
func addParts(ctx context.Context, tx pgx.Tx, tenant, requestID, orderID string, parts []part) error {
	for _, p := range parts {
		_, err := tx.Exec(ctx, `INSERT INTO refunds (tenant, id, payment_id, order_id, request_id, amount, currency, reason, status, method, captured_at, due_at)
		  VALUES ($1,$2,$3,$4,$5,$6,$7,$8,'pending',$9,$10, now() + $11::interval)`,
			tenant, id.New(), p.PaymentID, orderID, requestID, p.amount, p.Currency, Requested, p.method, p.CapturedAt, startIn)
		if err := clear(requestID, err); err != nil {
			return err
		}
	}
	return nil
}

// clear turns the database's refusal of too much into the API's.
func clear(requestID string, err error) error {
	switch {
	case err == nil:
		return nil
	case payment.TooMuchBack(err), postgres.Violates(err, "no_more_back_than_paid_for_it"):
		return nothingLeft(0)
	}
	return fmt.Errorf("book refund %s: %w", requestID, err)
}
