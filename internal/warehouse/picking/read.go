package picking

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// Summary is a list without its lines. Lengths are millimetres and null where
// the warehouse has no plan; those against S-shape also where it has no aisles.
type Summary struct {
	State
	WaveID    string `json:"wave_id"`
	Warehouse string `json:"warehouse"`
	Kind      string `json:"kind"`
	Zone      string `json:"zone"`
	// LengthMM is the way as it was planned when the list was made, LeftMM through
	// what was left when it was last planned.
	LengthMM    *int64     `json:"length_mm"`
	SShapeMM    *int64     `json:"sshape_mm"`
	SavedMM     *int64     `json:"saved_mm"`
	LeftMM      *int64     `json:"left_mm"`
	Seed        int64      `json:"seed"`
	Rounds      int        `json:"rounds"`
	Orders      int        `json:"orders"`
	Lines       int        `json:"line_count"`
	Units       int        `json:"units"`
	Picked      int        `json:"picked"`
	Shorted     int        `json:"shorted"`
	DueAt       *time.Time `json:"due_at"`
	StartedAt   *time.Time `json:"started_at"`
	CompletedAt *time.Time `json:"completed_at"`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
}

// List is a pick list with its lines in walking order: those with work left come
// in the order of their next bin.
type List struct {
	Summary
	Path  []Point `json:"path"`
	Stops []Stop  `json:"stops"`
	Work  []Line  `json:"lines"`
}

// Line is what is wanted of a SKU for a shipment.
type Line struct {
	Line        int    `json:"line"`
	OrderID     string `json:"order_id"`
	OrderNumber string `json:"order_number"`
	ShipmentID  string `json:"shipment_id"`
	SKU         string `json:"sku"`
	Name        string `json:"name"`
	Tracking    string `json:"tracking"`
	Quantity    int    `json:"quantity"`
	Picked      int    `json:"picked"`
	Shorted     int    `json:"shorted"`
	ShortReason string `json:"short_reason,omitempty"`
	// Open units wait in bins, Unallocated ones have none.
	Open        int  `json:"open"`
	Unallocated int  `json:"unallocated"`
	Cancelled   bool `json:"cancelled"`
	// Stopped says why nothing may be picked for the order now, or is empty.
	Stopped string `json:"stopped,omitempty"`
	Box     string `json:"box,omitempty"`
	// Allocations are the open and picked ones, in walking order.
	Allocations []Units `json:"allocations"`
}

// Units are allocated units of a line in a bin.
type Units struct {
	ID string `json:"id"`
	// Bin is null for units that are in the warehouse and in no bin.
	Bin       *string `json:"bin"`
	Lot       string  `json:"lot,omitempty"`
	ExpiresOn *string `json:"expires_on,omitempty"`
	Serial    string  `json:"serial,omitempty"`
	Quantity  int     `json:"quantity"`
	State     string  `json:"state"`
	// Unfit says that the lot may not leave any more: lot_held or lot_expired.
	Unfit string `json:"unfit,omitempty"`
}

func (u Units) bin() string {
	if u.Bin == nil {
		return ""
	}
	return *u.Bin
}

const summary = `SELECT l.id, l.number, l.status, l.assigned_to, l.version, l.wave_id, l.warehouse, l.kind, l.zone, l.length_mm, l.sshape_mm, l.saved_mm, l.left_mm, l.seed, l.rounds,
       n.orders, n.lines, n.units, n.picked, n.shorted, l.due_at, l.started_at, l.completed_at, l.created_at, l.updated_at
  FROM pick_lists l, LATERAL (SELECT count(DISTINCT order_id) AS orders, count(*) AS lines, coalesce(sum(quantity), 0) AS units, coalesce(sum(picked), 0) AS picked, coalesce(sum(shorted), 0) AS shorted
                                FROM pick_lines p WHERE p.tenant = l.tenant AND p.list_id = l.id AND p.cancelled_at IS NULL) n
 WHERE l.tenant = $1 AND `

func summaries(ctx context.Context, tx pgx.Tx, tenantID, condition string, args ...any) ([]Summary, error) {
	rows, err := tx.Query(ctx, summary+condition, append([]any{tenantID}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("pick lists: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Summary, err error) {
		return s, row.Scan(&s.ID, &s.Number, &s.Status, &s.AssignedTo, &s.Version, &s.WaveID, &s.Warehouse, &s.Kind, &s.Zone, &s.LengthMM, &s.SShapeMM, &s.SavedMM, &s.LeftMM, &s.Seed, &s.Rounds,
			&s.Orders, &s.Lines, &s.Units, &s.Picked, &s.Shorted, &s.DueAt, &s.StartedAt, &s.CompletedAt, &s.CreatedAt, &s.UpdatedAt)
	})
	if err != nil {
		return nil, fmt.Errorf("pick lists: %w", err)
	}
	if list == nil {
		list = []Summary{}
	}
	return list, nil
}

// Filter chooses lists; what is empty chooses nothing out.
type Filter struct {
	Warehouse, Status, Zone, AssignedTo, WaveID string
	Before                                      string // the last id of the page before
	Limit                                       int
}

// Lists reads lists, the newest first.
func Lists(ctx context.Context, tx pgx.Tx, tenantID string, f Filter) ([]Summary, error) {
	return summaries(ctx, tx, tenantID, `($2 = '' OR l.warehouse = $2) AND ($3 = '' OR l.status = $3) AND ($4 = '' OR l.zone = $4) AND ($5 = '' OR l.assigned_to = $5)
	   AND ($6 = '' OR l.wave_id = $6) AND ($7 = '' OR l.id < $7) ORDER BY l.id DESC LIMIT $8`, f.Warehouse, f.Status, f.Zone, f.AssignedTo, f.WaveID, f.Before, f.Limit)
}

// ReadWave reads a wave as it was made, with its lists as they are now. It is 404
// when there is none.
func ReadWave(ctx context.Context, tx pgx.Tx, tenantID, waveID string) (Released, error) {
	out := Released{ID: waveID}
	var skipped, tooLarge, unallocated []byte
	err := tx.QueryRow(ctx, `SELECT warehouse, kind, skipped, too_large, unallocated, created_at FROM waves WHERE tenant = $1 AND id = $2`, tenantID, waveID).
		Scan(&out.Warehouse, &out.By, &skipped, &tooLarge, &unallocated, &out.CreatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return out, problem.Missing("wave")
	}
	if err != nil {
		return out, fmt.Errorf("wave %s: %w", waveID, err)
	}
	for _, p := range []struct {
		raw []byte
		to  any
	}{{skipped, &out.Skipped}, {tooLarge, &out.TooLarge}, {unallocated, &out.Unallocated}} {
		if err := json.Unmarshal(p.raw, p.to); err != nil {
			return out, fmt.Errorf("wave %s: %w", waveID, err)
		}
	}
	out.Lists, err = summaries(ctx, tx, tenantID, `l.wave_id = $2 ORDER BY l.id`, waveID)
	return out, err
}

// Read reads a list with its lines. It is 404 when there is none.
func Read(ctx context.Context, tx pgx.Tx, tenantID, listID string) (List, error) {
	found, err := summaries(ctx, tx, tenantID, `l.id = $2`, listID)
	if err != nil {
		return List{}, err
	}
	if len(found) == 0 {
		return List{}, problem.Missing("pick list")
	}
	out := List{Summary: found[0]}
	var path, stops []byte
	if err := tx.QueryRow(ctx, `SELECT path, stops FROM pick_lists WHERE tenant = $1 AND id = $2`, tenantID, listID).Scan(&path, &stops); err != nil {
		return out, fmt.Errorf("pick list %s: %w", listID, err)
	}
	if err := errors.Join(json.Unmarshal(path, &out.Path), json.Unmarshal(stops, &out.Stops)); err != nil {
		return out, fmt.Errorf("way of pick list %s: %w", listID, err)
	}
	l := list{State: out.State, tenant: tenantID, warehouse: out.Warehouse, stops: out.Stops}
	_, l.today, err = rules(ctx, tx, tenantID)
	if err != nil {
		return out, err
	}
	out.Work, err = l.lines(ctx, tx)
	return out, err
}

// lines reads the lines in walking order with their allocations.
func (l list) lines(ctx context.Context, tx pgx.Tx) ([]Line, error) {
	stopped, err := l.stopped(ctx, tx, nil)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT p.line, p.order_id, o.number, p.shipment_id, p.sku, d.name, d.tracking, p.quantity, p.picked, p.shorted, p.short_reason, p.cancelled_at IS NOT NULL, p.box
	    FROM pick_lines p JOIN orders o ON o.tenant = p.tenant AND o.id = p.order_id JOIN products d ON d.tenant = p.tenant AND d.sku = p.sku
	   WHERE p.tenant = $1 AND p.list_id = $2 ORDER BY p.line`, l.tenant, l.ID)
	if err != nil {
		return nil, fmt.Errorf("lines of pick list %s: %w", l.ID, err)
	}
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n Line, err error) {
		n.Allocations = []Units{}
		err = row.Scan(&n.Line, &n.OrderID, &n.OrderNumber, &n.ShipmentID, &n.SKU, &n.Name, &n.Tracking, &n.Quantity, &n.Picked, &n.Shorted, &n.ShortReason, &n.Cancelled, &n.Box)
		n.Stopped = stopped[n.OrderID].code
		return n, err
	})
	if err != nil {
		return nil, fmt.Errorf("lines of pick list %s: %w", l.ID, err)
	}
	at := map[int]*Line{}
	for i := range lines {
		at[lines[i].Line] = &lines[i]
	}
	if err := l.allocations(ctx, tx, at); err != nil {
		return nil, err
	}
	place := places(l.stops)
	next := make(map[int]int, len(lines))
	for i := range lines {
		n := &lines[i]
		if !n.Cancelled {
			n.Unallocated = n.Quantity - n.Picked - n.Shorted - n.Open
		}
		inOrder(n.Allocations, place, Units.bin, func(a, b Units) int { return cmp.Or(-cmp.Compare(a.State, b.State), cmp.Compare(a.ID, b.ID)) })
		next[n.Line] = math.MaxInt
		for _, u := range n.Allocations {
			if u.State == "open" {
				next[n.Line] = min(next[n.Line], place(u.bin()))
			}
		}
	}
	sortLines(lines, next)
	return lines, nil
}

// allocations reads the live allocations of a list into its lines.
func (l list) allocations(ctx context.Context, tx pgx.Tx, at map[int]*Line) error {
	rows, err := tx.Query(ctx, `SELECT a.line, a.id, nullif(a.bin, ''), a.lot, t.expires_on::text, coalesce(a.serial, ''), a.quantity, a.state,
	      CASE WHEN a.state <> 'open' OR t.lot IS NULL THEN '' WHEN t.status = 'held' THEN 'lot_held' WHEN t.status = 'expired' OR t.expires_on <= $3::date + p.pick_days_left THEN 'lot_expired' ELSE '' END
	    FROM allocations a JOIN products p ON p.tenant = a.tenant AND p.sku = a.sku LEFT JOIN lots t ON t.tenant = a.tenant AND t.sku = a.sku AND t.lot = a.lot AND a.lot <> ''
	   WHERE a.tenant = $1 AND a.list_id = $2 AND a.state <> 'closed' AND a.quantity > 0 ORDER BY a.id`, l.tenant, l.ID, l.today)
	if err != nil {
		return fmt.Errorf("allocations of pick list %s: %w", l.ID, err)
	}
	var number int
	var u Units
	_, err = pgx.ForEachRow(rows, []any{&number, &u.ID, &u.Bin, &u.Lot, &u.ExpiresOn, &u.Serial, &u.Quantity, &u.State, &u.Unfit}, func() error {
		if n := at[number]; n != nil {
			n.Allocations = append(n.Allocations, u)
			if u.State == "open" {
				n.Open += u.Quantity
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("allocations of pick list %s: %w", l.ID, err)
	}
	return nil
}

// sortLines puts lines in the order of their next bin; what is done comes last.
func sortLines(lines []Line, next map[int]int) {
	slices.SortStableFunc(lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(next[a.Line], next[b.Line]), cmp.Compare(a.Line, b.Line))
	})
}
