// Package stock promises units to buyers and keeps the books of what lies on
// the shelves.
//
// Every function works inside a transaction of the caller, locks stock rows in
// the order of SKU and warehouse before anything else, and changes a hold by
// one conditional update: whoever wins the row wins. Quantities are units.
package stock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Want is how many units of a SKU somebody wants.
type Want struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

// Line is units of a SKU promised from one warehouse.
type Line struct {
	SKU       string `json:"sku"`
	Warehouse string `json:"warehouse"`
	Quantity  int    `json:"quantity"`
}

// Shortage is a SKU of which there is too little, summed over warehouses.
type Shortage struct {
	SKU       string `json:"sku"`
	Requested int    `json:"requested"`
	Available int    `json:"available"`
}

// Request asks for a hold.
type Request struct {
	HoldID     string
	CheckoutID string // empty for a reservation of its own
	Channel    string
	Buyer      string // e-mail or customer reference, for the limits
	Wants      []Want
	Seconds    int
	// Warehouses that may give, in order of preference. A warehouse that can
	// give everything alone goes before others.
	Warehouses []string
	// Balanced takes from the fullest shelf first instead.
	Balanced bool
	Details  []byte // JSON kept with a reservation
}

// Placement is the answer to a Request: lines when units are held, shortages
// when they are not.
type Placement struct {
	Lines     []Line     `json:"lines,omitempty"`
	Shortages []Shortage `json:"shortages,omitempty"`
	StartedAt time.Time  `json:"started_at,omitzero"`
	ExpiresAt time.Time  `json:"expires_at,omitzero"`
	HeldUntil time.Time  `json:"held_until,omitzero"`
}

// settleMargin is how long after its time a hold is left to its workflow
// before the sweeper or a person looks at it.
const settleMargin = "60 seconds"

// lockLevels takes the rows of the SKUs in the one order everybody uses. The
// statement after it has a newer snapshot, so it decides on what the locks
// protect and never refuses a buyer for a count that has just changed.
const lockLevels = `SELECT FROM stock_levels WHERE tenant = $1 AND sku = ANY($2) ORDER BY sku, warehouse FOR UPDATE`

const place = `
WITH wanted AS (
  SELECT * FROM unnest($2::text[], $3::int[]) AS w (sku, quantity)
), level AS (
  SELECT l.sku, l.warehouse, w.quantity, coalesce((l.set_aside ->> $4)::int, 0) AS own,
         greatest(0, l.on_hand - l.reserved - coalesce((SELECT sum(value::int) FROM jsonb_each_text(l.set_aside) WHERE key <> $4), 0))::int AS free
    FROM stock_levels l JOIN wanted w USING (sku)
   WHERE l.tenant = $1 AND l.warehouse = ANY($5)
), complete AS (
  SELECT warehouse FROM level WHERE free >= quantity GROUP BY warehouse HAVING count(*) = (SELECT count(*) FROM wanted)
), ranked AS (
  SELECT *, sum(free) OVER (PARTITION BY sku ORDER BY (warehouse IN (SELECT warehouse FROM complete)) DESC,
                            CASE WHEN $6 THEN -free ELSE 0 END, array_position($5, warehouse)
                            ROWS UNBOUNDED PRECEDING) - free AS before
    FROM level
), taken AS (
  SELECT sku, warehouse, least(free, quantity - before)::int AS units, least(own, free, quantity - before)::int AS from_set_aside
    FROM ranked WHERE free > 0 AND before < quantity
), short AS (
  SELECT w.sku, w.quantity, coalesce(sum(l.free), 0)::int AS available
    FROM wanted w LEFT JOIN level l USING (sku) GROUP BY w.sku, w.quantity HAVING coalesce(sum(l.free), 0) < w.quantity
), hold AS (
  INSERT INTO holds (tenant, id, checkout_id, channel, status, started_at, expires_at, held_until, buyer, details, due_at)
  SELECT $1, $7, nullif($8, ''), $4, 'held', now(), now() + make_interval(secs => $9), now() + make_interval(secs => $9), $10, $11,
         now() + make_interval(secs => $9) + interval '` + settleMargin + `'
   WHERE NOT EXISTS (SELECT FROM short)
  RETURNING started_at, expires_at, held_until
), line AS (
  INSERT INTO hold_lines (tenant, hold_id, sku, warehouse, quantity, from_set_aside)
  SELECT $1, $7, sku, warehouse, units, from_set_aside FROM taken WHERE EXISTS (SELECT FROM hold)
), reserve AS (
  UPDATE stock_levels l SET reserved = l.reserved + t.units, updated_at = now(),
         set_aside = CASE WHEN t.from_set_aside = 0 THEN l.set_aside
                          ELSE jsonb_set(l.set_aside, ARRAY[$4], to_jsonb((l.set_aside ->> $4)::int - t.from_set_aside)) END
    FROM taken t
   WHERE l.tenant = $1 AND l.sku = t.sku AND l.warehouse = t.warehouse AND EXISTS (SELECT FROM hold)
)
SELECT 'short', s.sku, '', s.quantity, s.available, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz FROM short s
UNION ALL
SELECT 'line', t.sku, t.warehouse, t.units, 0, h.started_at, h.expires_at, h.held_until FROM taken t, hold h
ORDER BY 2, 3`

// Place holds all the units of a request or none. Concurrent requests wait for
// each other's rows; the database's CHECK makes selling a unit twice
// impossible whatever this statement does.
//
// Placing the same hold again is an error of the caller: look it up first.
func Place(ctx context.Context, tx pgx.Tx, tenant string, r Request) (Placement, error) {
	skus, quantities := split(r.Wants)
	if len(skus) == 0 {
		return Placement{}, errors.New("place a hold: nothing wanted")
	}
	if r.Details == nil {
		r.Details = []byte(`{}`)
	}
	var p Placement
	b := &pgx.Batch{}
	b.Queue(lockLevels, tenant, skus)
	b.Queue(place, tenant, skus, quantities, r.Channel, r.Warehouses, r.Balanced, r.HoldID, r.CheckoutID, r.Seconds, r.Buyer, r.Details).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var kind, sku, warehouse string
			var units, available int
			var started, expires, until *time.Time
			if err := rows.Scan(&kind, &sku, &warehouse, &units, &available, &started, &expires, &until); err != nil {
				return err
			}
			if kind == "short" {
				p.Shortages = append(p.Shortages, Shortage{sku, units, available})
				continue
			}
			p.Lines = append(p.Lines, Line{sku, warehouse, units})
			p.StartedAt, p.ExpiresAt, p.HeldUntil = *started, *expires, *until
		}
		return rows.Err()
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return Placement{}, fmt.Errorf("place hold %s: %w", r.HoldID, err)
	}
	return p, nil
}

// split sums the wants by SKU.
func split(wants []Want) (skus []string, quantities []int32) {
	sum := map[string]int32{}
	for _, w := range wants {
		if _, seen := sum[w.SKU]; !seen {
			skus = append(skus, w.SKU)
		}
		sum[w.SKU] += int32(w.Quantity) //nolint:gosec // the API bounds quantities far below
	}
	slices.Sort(skus)
	for _, s := range skus {
		quantities = append(quantities, sum[s])
	}
	return skus, quantities
}

// lockHold locks the levels under a hold before the hold itself is touched.
const lockHold = `SELECT FROM stock_levels l WHERE l.tenant = $1
   AND (l.sku, l.warehouse) IN (SELECT sku, warehouse FROM hold_lines WHERE tenant = $1 AND hold_id = $2)
 ORDER BY l.sku, l.warehouse FOR UPDATE`

// LockHold locks the levels under a hold, before anything of it is read that must
// not change.
func LockHold(ctx context.Context, tx pgx.Tx, tenant, holdID string) error {
	if _, err := tx.Exec(ctx, lockHold, tenant, holdID); err != nil {
		return fmt.Errorf("stock of hold %s: %w", holdID, err)
	}
	return nil
}

const endHold = `
WITH ended AS (
  UPDATE holds SET status = $3, ended_at = now(), updated_at = now(), due_at = NULL
   WHERE tenant = $1 AND id = $2 AND status IN ('held', 'short') AND confirmed_at IS NULL
     AND ($3 <> 'expired' OR held_until <= now())
  RETURNING id, channel
), line AS (
  SELECT hl.*, e.channel FROM hold_lines hl JOIN ended e ON hl.hold_id = e.id WHERE hl.tenant = $1
)
UPDATE stock_levels l SET reserved = l.reserved - (line.quantity - line.shorted - line.left_stock), updated_at = now(),
       set_aside = CASE WHEN line.from_set_aside = 0 THEN l.set_aside
                        ELSE l.set_aside || jsonb_build_object(line.channel, coalesce((l.set_aside ->> line.channel)::int, 0) + line.from_set_aside) END
  FROM line
 WHERE l.tenant = $1 AND l.sku = line.sku AND l.warehouse = line.warehouse`

// State is a hold as it stands.
type State struct {
	ID          string
	CheckoutID  string
	Channel     string
	Status      string
	StartedAt   time.Time
	ExpiresAt   time.Time
	HeldUntil   time.Time
	ConfirmedAt *time.Time
	OrderID     string
	Details     []byte
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Lines       []HeldLine
}

// HeldLine is a line of a hold with what became of its units.
type HeldLine struct {
	Line
	Shorted int
	Left    int
}

// Live reports whether the hold still keeps units.
func (s State) Live() bool {
	return s.Status == "held" || s.Status == "confirmed" || s.Status == "short"
}

// Units counts what the hold still keeps.
func (s State) Units() int {
	n := 0
	for _, l := range s.Lines {
		n += l.Quantity - l.Shorted - l.Left
	}
	return n
}

// ErrNoHold is returned for a hold that does not exist.
var ErrNoHold = errors.New("no such hold")

// Get reads a hold.
func Get(ctx context.Context, tx pgx.Tx, tenant, holdID string) (State, error) {
	s := State{ID: holdID}
	b := &pgx.Batch{}
	b.Queue(`SELECT coalesce(checkout_id,''), channel, status, started_at, expires_at, held_until, confirmed_at, coalesce(order_id,''), details, created_at, updated_at
	           FROM holds WHERE tenant = $1 AND id = $2`, tenant, holdID).QueryRow(func(row pgx.Row) error {
		return row.Scan(&s.CheckoutID, &s.Channel, &s.Status, &s.StartedAt, &s.ExpiresAt, &s.HeldUntil, &s.ConfirmedAt, &s.OrderID, &s.Details, &s.CreatedAt, &s.UpdatedAt)
	})
	b.Queue(`SELECT sku, warehouse, quantity, shorted, left_stock FROM hold_lines WHERE tenant = $1 AND hold_id = $2 ORDER BY sku, warehouse`, tenant, holdID).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var l HeldLine
			if err := rows.Scan(&l.SKU, &l.Warehouse, &l.Quantity, &l.Shorted, &l.Left); err != nil {
				return err
			}
			s.Lines = append(s.Lines, l)
		}
		return rows.Err()
	})
	err := tx.SendBatch(ctx, b).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return State{}, fmt.Errorf("%w: %s", ErrNoHold, holdID)
	}
	if err != nil {
		return State{}, fmt.Errorf("hold %s: %w", holdID, err)
	}
	return s, nil
}

// Release frees what a hold that was not confirmed still keeps. It reports
// whether it was this call that ended the hold; releasing twice changes
// nothing.
func Release(ctx context.Context, tx pgx.Tx, tenant, holdID string) (bool, error) {
	return end(ctx, tx, tenant, holdID, "released")
}

// Expire frees a hold whose held_until has passed by the database's clock; one
// that was extended meanwhile stays.
func Expire(ctx context.Context, tx pgx.Tx, tenant, holdID string) (bool, error) {
	return end(ctx, tx, tenant, holdID, "expired")
}

func end(ctx context.Context, tx pgx.Tx, tenant, holdID, status string) (bool, error) {
	var n int64
	b := &pgx.Batch{}
	b.Queue(lockHold, tenant, holdID)
	b.Queue(endHold, tenant, holdID, status).Exec(func(tag pgconn.CommandTag) error {
		n = tag.RowsAffected()
		return nil
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, fmt.Errorf("end hold %s: %w", holdID, err)
	}
	return n > 0, nil
}

// Confirm turns a live hold into a promise that has been paid for. It reports
// false, and changes nothing, when the hold is over. A hold that lost units to
// a count stays short, confirmed.
func Confirm(ctx context.Context, tx pgx.Tx, tenant, holdID, orderID string) (bool, error) {
	tag, err := tx.Exec(ctx, `UPDATE holds SET status = CASE status WHEN 'short' THEN 'short' ELSE 'confirmed' END,
	       confirmed_at = coalesce(confirmed_at, now()), order_id = $3, updated_at = now(), due_at = CASE status WHEN 'short' THEN now() + interval '1 hour' END
	 WHERE tenant = $1 AND id = $2 AND status IN ('held', 'short') AND confirmed_at IS NULL`, tenant, holdID, orderID)
	if err != nil {
		return false, fmt.Errorf("confirm hold %s: %w", holdID, err)
	}
	return tag.RowsAffected() == 1, nil
}

// Grace moves a hold's authority (not its promise) to a moment seconds from
// now, at most graceSeconds after its promised end, and returns where it stands.
func Grace(ctx context.Context, tx pgx.Tx, tenant, holdID string, seconds, graceSeconds int) (time.Time, error) {
	var until time.Time
	err := tx.QueryRow(ctx, `UPDATE holds SET updated_at = now(),
	       held_until = greatest(held_until, least(now() + make_interval(secs => $3), expires_at + make_interval(secs => $4))),
	       due_at = greatest(held_until, least(now() + make_interval(secs => $3), expires_at + make_interval(secs => $4))) + interval '`+settleMargin+`'
	 WHERE tenant = $1 AND id = $2 AND status IN ('held', 'short') AND confirmed_at IS NULL RETURNING held_until`, tenant, holdID, seconds, graceSeconds).Scan(&until)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, fmt.Errorf("%w that could be kept longer: %s", ErrNoHold, holdID)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("grace for hold %s: %w", holdID, err)
	}
	return until, nil
}

// Extend sets a reservation's end to seconds from now, at most maxSeconds after
// its start; ok is false when the hold is over or the limit forbids it.
func Extend(ctx context.Context, tx pgx.Tx, tenant, holdID string, seconds, maxSeconds int) (expiresAt time.Time, ok bool, err error) {
	err = tx.QueryRow(ctx, `UPDATE holds SET expires_at = now() + make_interval(secs => $3), held_until = now() + make_interval(secs => $3), updated_at = now(),
	       due_at = now() + make_interval(secs => $3) + interval '`+settleMargin+`'
	 WHERE tenant = $1 AND id = $2 AND status IN ('held', 'short') AND confirmed_at IS NULL AND held_until > now()
	   AND now() + make_interval(secs => $3) <= started_at + make_interval(secs => $4)
	 RETURNING expires_at`, tenant, holdID, seconds, maxSeconds).Scan(&expiresAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("extend hold %s: %w", holdID, err)
	}
	return expiresAt, true, nil
}

// Describe says in words what is held where: "2 units in SCL-1, 1 in CCP-1".
func Describe(lines []Line) string {
	units := map[string]int{}
	var order []string
	for _, l := range lines {
		if units[l.Warehouse] == 0 {
			order = append(order, l.Warehouse)
		}
		units[l.Warehouse] += l.Quantity
	}
	var parts []string
	for _, w := range order {
		noun := "units"
		if units[w] == 1 {
			noun = "unit"
		}
		parts = append(parts, fmt.Sprintf("%d %s in %s", units[w], noun, w))
	}
	return strings.Join(parts, ", ")
}
