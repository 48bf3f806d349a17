// Package picking makes pick lists of paid orders' shipments and carries out what
// operators do with them: waves, the walk, picks by scan, shorts, and the end.
//
// A list's lines say what is wanted for which shipment; the work itself is the
// allocations of its lines, units of a lot in a bin, which package stock keeps. So
// a bin that loses units takes them from the list by itself, and the list looks
// for other bins with the next thing that is done with it (Refresh). The promise
// to the buyer is never touched here.
//
// Every function works in a transaction of the caller and refuses with a
// problem.Error, whose member "current" is the list as it stands. Rows are locked
// in the order of list, stock level, shipment. Lengths are millimetres.
package picking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// Kinds of lists: one order, several orders on one trolley, what a wave needs of
// one zone.
const (
	ByOrder = "order"
	ByBatch = "batch"
	ByZone  = "zone"
)

// Kinds are all of them.
var Kinds = []string{ByOrder, ByBatch, ByZone}

// Statuses of a list. It is picked when each line was picked or given up, and
// completed when a person has said so.
const (
	Open       = "open"
	InProgress = "in_progress"
	Picked     = "picked"
	Completed  = "completed"
	Cancelled  = "cancelled"
)

// attentionShort is why an order asks for a person: a picker has not found
// everything.
const attentionShort = "short_pick"

// reasonLost is on lines whose units the order has lost meanwhile: a count found
// fewer than were promised.
const reasonLost = "promise_lost"

// State is a list as an operator's command leaves it.
type State struct {
	ID         string `json:"id"`
	Number     string `json:"number"`
	Status     string `json:"status"`
	AssignedTo string `json:"assigned_to"`
	// Version goes up with every command; a command may name the one it expects.
	Version int64 `json:"version"`
}

// list is a list whose row is locked.
type list struct {
	State
	found     State // when it was locked: whoever is refused has changed nothing
	tenant    string
	warehouse string
	stops     []Stop
	today     time.Time // of the tenant
	policy    []string
}

func (l list) document() string { return "pick:" + l.ID }

func (l list) live() bool { return l.Status == Open || l.Status == InProgress || l.Status == Picked }

// conflict refuses a command and says how the list stands.
func (l list) conflict(code, detail string) *problem.Error {
	return problem.New(problem.Conflict, code, detail).With("current", l.found)
}

func (l list) versionChanged(has, expected int64) *problem.Error {
	return l.conflict("version_changed", fmt.Sprintf("The list has version %d, not %d.", has, expected))
}

// lock takes a list's row. A version of zero is any; another than the list's is a
// conflict, since whoever sent it has seen another list.
func lock(ctx context.Context, tx pgx.Tx, tenantID, listID string, version int64) (list, error) {
	l := list{State: State{ID: listID}, tenant: tenantID}
	var stops []byte
	err := tx.QueryRow(ctx, `SELECT number, status, assigned_to, version, warehouse, stops FROM pick_lists WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenantID, listID).
		Scan(&l.Number, &l.Status, &l.AssignedTo, &l.Version, &l.warehouse, &stops)
	if errors.Is(err, pgx.ErrNoRows) {
		return l, problem.Missing("pick list")
	}
	if err != nil {
		return l, fmt.Errorf("pick list %s: %w", listID, err)
	}
	if err := json.Unmarshal(stops, &l.stops); err != nil {
		return l, fmt.Errorf("stops of pick list %s: %w", listID, err)
	}
	l.found = l.State
	if version != 0 && version != l.Version {
		return l, l.versionChanged(l.Version, version)
	}
	shop, today, err := rules(ctx, tx, tenantID)
	l.today, l.policy = today, shop.Settings.ScanPolicy
	return l, err
}

// rules are the tenant's, and its day by the database's clock.
func rules(ctx context.Context, tx pgx.Tx, tenantID string) (tenant.Tenant, time.Time, error) {
	shop, err := tenant.Get(ctx, tx, tenantID)
	if err != nil {
		return shop, time.Time{}, err
	}
	var today time.Time
	if err := tx.QueryRow(ctx, `SELECT (now() AT TIME ZONE $1)::date`, shop.Settings.TimeZone).Scan(&today); err != nil {
		return shop, today, fmt.Errorf("the day in %s: %w", shop.Settings.TimeZone, err)
	}
	return shop, today, nil
}

// lockLive is lock for what can only be done with a list that is not over.
func lockLive(ctx context.Context, tx pgx.Tx, tenantID, listID string, version int64) (list, error) {
	l, err := lock(ctx, tx, tenantID, listID, version)
	if err == nil && !l.live() {
		err = l.conflict("list_over", "The list is "+l.Status+".")
	}
	return l, err
}

// claim makes the list the operator's who works on it.
func (l *list) claim(ctx context.Context, tx pgx.Tx, person string) error {
	if l.AssignedTo != "" && l.AssignedTo != person {
		return l.conflict("list_claimed", "The list is "+l.AssignedTo+"'s.")
	}
	if l.Status != Open && l.AssignedTo == person {
		return nil
	}
	return l.set(ctx, tx, InProgress, person)
}

// set writes status and operator; a list that is over is due no more.
func (l *list) set(ctx context.Context, tx pgx.Tx, status, person string) error {
	return l.write(ctx, tx, `SELECT $5::text AS status`, person, 1, status)
}

// settle writes what a list's lines say: picked when nothing is left to do,
// cancelled when no line is on it any more. The version goes up by the commands
// that did it.
func (l *list) settle(ctx context.Context, tx pgx.Tx, commands int) error {
	return l.write(ctx, tx, `SELECT CASE WHEN count(*) = 0 THEN 'cancelled' WHEN count(*) FILTER (WHERE picked + shorted < quantity) = 0 THEN 'picked' WHEN $3 = '' THEN 'open' ELSE 'in_progress' END AS status
	    FROM pick_lines WHERE tenant = $1 AND list_id = $2 AND cancelled_at IS NULL`, l.AssignedTo, commands)
}

// write gives a list to a person, and the status that a query finds. Its
// parameters are the tenant, the list, the person, the steps of the version, and
// those from $5.
func (l *list) write(ctx context.Context, tx pgx.Tx, status, person string, steps int, args ...any) error {
	err := tx.QueryRow(ctx, `WITH found AS (`+status+`)
	  UPDATE pick_lists l SET status = f.status, assigned_to = $3, version = l.version + $4, updated_at = now(),
	    started_at = CASE WHEN f.status = 'open' THEN l.started_at ELSE coalesce(l.started_at, now()) END,
	    completed_at = CASE WHEN f.status = 'completed' THEN now() END,
	    due_at = CASE WHEN f.status IN ('completed','cancelled') THEN NULL ELSE l.due_at END
	  FROM found f WHERE l.tenant = $1 AND l.id = $2 RETURNING l.status, l.version`, append([]any{l.tenant, l.ID, person, steps}, args...)...).Scan(&l.Status, &l.Version)
	if err != nil {
		return fmt.Errorf("state of pick list %s: %w", l.ID, err)
	}
	l.AssignedTo = person
	return nil
}

// wanting is SQL for the lines p of a list ($2, of tenant $1) with the units of each
// that have no bin. What is open is summed once for the list: asked for line by line
// it costs as much as the list is long.
const wanting = `pick_lines p LEFT JOIN (SELECT line, sum(quantity) AS units FROM allocations WHERE tenant = $1 AND list_id = $2 AND state = 'open' GROUP BY line) o ON o.line = p.line,
	  LATERAL (SELECT (p.quantity - p.picked - p.shorted - coalesce(o.units, 0))::int AS units) w
	 WHERE p.tenant = $1 AND p.list_id = $2 AND p.cancelled_at IS NULL AND w.units > 0`

// lockLevels locks the levels of SKUs, and of those for which lines of the list
// still want a bin, all in the one order that everybody keeps.
func (l list) lockLevels(ctx context.Context, tx pgx.Tx, skus []string) error {
	_, err := tx.Exec(ctx, `SELECT FROM stock_levels v WHERE v.tenant = $1 AND v.warehouse = $3 AND v.sku IN (SELECT unnest($4::text[]) UNION SELECT p.sku FROM `+wanting+`)
	  ORDER BY v.sku, v.warehouse FOR UPDATE`, l.tenant, l.ID, l.warehouse, skus)
	if err != nil {
		return fmt.Errorf("stock of pick list %s: %w", l.ID, err)
	}
	return nil
}

// Assign gives a list to an operator, or back to everybody when the name is
// empty. Whoever had it loses it. The same again changes nothing.
func Assign(ctx context.Context, tx pgx.Tx, tenantID, listID, operator string, version int64) (State, error) {
	l, err := lockLive(ctx, tx, tenantID, listID, version)
	if err != nil || l.AssignedTo == operator {
		return l.State, err
	}
	status := l.Status
	if status == InProgress && operator == "" {
		status = Open
	}
	err = l.set(ctx, tx, status, operator)
	return l.State, err
}

// Start claims a list for the operator who begins to walk, and looks for bins for
// what has none. 409 list_claimed when it is another's. Starting again changes
// nothing.
func Start(ctx context.Context, tx pgx.Tx, tenantID, listID string, by stock.By, version int64) (State, error) {
	l, err := lockLive(ctx, tx, tenantID, listID, version)
	if err != nil {
		return l.State, err
	}
	if l.Status != Open && l.AssignedTo == by.Person {
		return l.State, nil
	}
	if err := l.claim(ctx, tx, by.Person); err != nil {
		return l.State, err
	}
	if _, err := l.refill(ctx, tx, nil); err != nil {
		return l.State, err
	}
	err = l.settle(ctx, tx, 1)
	return l.State, err
}

// Refresh looks for bins for what the list's lines have lost: units of lots that
// are held or expired now, units that a count took from their bin, and what had
// no bin from the beginning. It reports what still has none. Whoever moves stock
// may call it for the lists named in stock.Moved, afterwards and in another
// transaction: it locks the list before the stock. Every command of an operator
// does the same by itself.
func Refresh(ctx context.Context, tx pgx.Tx, tenantID, listID string) (State, []Missing, error) {
	l, err := lockLive(ctx, tx, tenantID, listID, 0)
	if err != nil {
		return l.State, nil, err
	}
	missing, err := l.refill(ctx, tx, nil)
	if err != nil {
		return l.State, nil, err
	}
	err = l.settle(ctx, tx, 1)
	return l.State, missing, err
}

// Missing is units of a line for which there is no bin.
type Missing struct {
	Line    int    `json:"line"`
	OrderID string `json:"order_id"`
	SKU     string `json:"sku"`
	Units   int    `json:"units"`
}

// want is a line with units that have no bin.
type want struct {
	Line            int
	HoldID, OrderID string
	SKU             string
	Units           int // that the line wants
	Promised        int // that the hold still has and nobody has allocated
}

// refill allocates what the list's lines want, and plans the way anew when a bin
// has come or gone. skus are further levels that the command will touch.
func (l *list) refill(ctx context.Context, tx pgx.Tx, skus []string) ([]Missing, error) {
	gone, err := l.dropUnfit(ctx, tx, skus)
	if err != nil {
		return nil, err
	}
	wants, err := l.wants(ctx, tx)
	if err != nil || len(wants) == 0 {
		return nil, err
	}
	var ask []stock.ToAllocate
	var of []want
	for _, w := range wants {
		if lost := w.Units - w.Promised; lost > 0 {
			if err := l.giveUp(ctx, tx, w.Line, lost, reasonLost); err != nil {
				return nil, err
			}
			w.Units = w.Promised
		}
		if w.Units > 0 {
			ask = append(ask, stock.ToAllocate{HoldID: w.HoldID, SKU: w.SKU, Warehouse: l.warehouse, Units: w.Units, ListID: l.ID, Line: w.Line})
			of = append(of, w)
		}
	}
	got, none, err := stock.Allocate(ctx, tx, l.tenant, l.warehouse, ask, l.today)
	if err != nil {
		return nil, err
	}
	if gone || len(got) > 0 {
		if err := l.plan(ctx, tx); err != nil {
			return nil, err
		}
	}
	var out []Missing
	for i, w := range of {
		if none[i] > 0 {
			out = append(out, Missing{Line: w.Line, OrderID: w.OrderID, SKU: w.SKU, Units: none[i]})
		}
	}
	return out, nil
}

// dropUnfit gives up units of lots that may not leave any more, and locks what
// the command needs before.
func (l list) dropUnfit(ctx context.Context, tx pgx.Tx, skus []string) (bool, error) {
	rows, err := tx.Query(ctx, `SELECT a.id, a.sku FROM allocations a JOIN lots t ON t.tenant = a.tenant AND t.sku = a.sku AND t.lot = a.lot JOIN products p ON p.tenant = a.tenant AND p.sku = a.sku
	  WHERE a.tenant = $1 AND a.list_id = $2 AND a.state = 'open' AND a.lot <> '' AND (t.status <> 'available' OR t.expires_on <= $3::date + p.pick_days_left)`, l.tenant, l.ID, l.today)
	if err != nil {
		return false, fmt.Errorf("lots of pick list %s: %w", l.ID, err)
	}
	type unfit struct{ ID, SKU string }
	bad, err := pgx.CollectRows(rows, pgx.RowToStructByPos[unfit])
	if err != nil {
		return false, fmt.Errorf("lots of pick list %s: %w", l.ID, err)
	}
	ids := make([]string, len(bad))
	for i, a := range bad {
		ids[i] = a.ID
		skus = append(skus, a.SKU)
	}
	if err := l.lockLevels(ctx, tx, skus); err != nil || len(ids) == 0 {
		return false, err
	}
	return true, closeOpen(ctx, tx, l.tenant, ids)
}

// closeOpen gives up open allocations whose levels are locked.
func closeOpen(ctx context.Context, tx pgx.Tx, tenantID string, ids []string) error {
	_, err := tx.Exec(ctx, `UPDATE allocations SET quantity = 0, state = 'closed', updated_at = now() WHERE tenant = $1 AND id = ANY($2) AND state = 'open'`, tenantID, ids)
	if err != nil {
		return fmt.Errorf("give up allocations: %w", err)
	}
	return nil
}

// wants lists the lines with units that have no bin. Those of shipments that must
// not leave are left alone.
func (l list) wants(ctx context.Context, tx pgx.Tx) ([]want, error) {
	rows, err := tx.Query(ctx, `SELECT p.line, p.hold_id, p.order_id, p.sku, p.units, h.quantity - h.shorted - h.left_stock - h.allocated
	    FROM hold_lines h JOIN (SELECT p.line, p.hold_id, p.order_id, p.sku, p.warehouse, w.units FROM `+wanting+`) p ON h.hold_id = p.hold_id AND h.sku = p.sku AND h.warehouse = p.warehouse
	   WHERE h.tenant = $1 ORDER BY p.line`, l.tenant, l.ID)
	if err != nil {
		return nil, fmt.Errorf("lines of pick list %s: %w", l.ID, err)
	}
	wants, err := pgx.CollectRows(rows, pgx.RowToStructByPos[want])
	if err != nil {
		return nil, fmt.Errorf("lines of pick list %s: %w", l.ID, err)
	}
	if len(wants) == 0 {
		return nil, nil
	}
	stopped, err := l.stopped(ctx, tx, nil)
	return slices.DeleteFunc(wants, func(w want) bool { return stopped[w.OrderID].code != "" }), err
}

// giveUp takes units that will not be picked off a line.
func (l list) giveUp(ctx context.Context, tx pgx.Tx, line, units int, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE pick_lines SET shorted = shorted + $4, short_reason = $5 WHERE tenant = $1 AND list_id = $2 AND line = $3`, l.tenant, l.ID, line, units, reason)
	if err != nil {
		return fmt.Errorf("line %d of pick list %s: %w", line, l.ID, err)
	}
	return nil
}

// stop is why nothing may be picked for an order.
type stop struct{ code, reason string }

// stopped are the orders on a list of which nothing may leave now: those of the
// lines given, of all lines when they are nil.
func (l list) stopped(ctx context.Context, tx pgx.Tx, lines []int) (map[string]stop, error) {
	// The lines first, and each order once: joined freely all payments of the tenant are
	// read for every line.
	rows, err := tx.Query(ctx, `WITH line AS MATERIALIZED (SELECT DISTINCT p.tenant, p.order_id, p.shipment_id FROM pick_lines p
	     WHERE p.tenant = $1 AND p.list_id = $2 AND p.cancelled_at IS NULL AND ($3::int[] IS NULL OR p.line = ANY($3)))
	  SELECT o.id, coalesce(s.frozen_reason, ''), o.status = 'cancelled', `+order.WhollyRefunded+`
	    FROM line p JOIN shipments s ON s.tenant = p.tenant AND s.id = p.shipment_id JOIN orders o ON o.tenant = p.tenant AND o.id = p.order_id`, l.tenant, l.ID, lines)
	if err != nil {
		return nil, fmt.Errorf("orders of pick list %s: %w", l.ID, err)
	}
	out := map[string]stop{}
	var orderID, frozen string
	var cancelled, refunded bool
	_, err = pgx.ForEachRow(rows, []any{&orderID, &frozen, &cancelled, &refunded}, func() error {
		switch {
		case frozen != "":
			out[orderID] = stop{"order_frozen", frozen}
		case cancelled:
			out[orderID] = stop{"order_cancelled", "cancelled"}
		case refunded:
			out[orderID] = stop{"order_refunded", "refunded"}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("orders of pick list %s: %w", l.ID, err)
	}
	return out, nil
}
