package picking

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/timeline"
)

// PutBack is picked units that go back into a bin.
type PutBack struct {
	AllocationID string
	Quantity     int
	Bin          string // scanned
}

// Unpicking is an operator's command to put picked units back.
type Unpicking struct {
	ListID  string
	Units   []PutBack
	Version int64
	By      stock.By
}

// Unpick puts picked units back into bins: the wrong thing was taken. The line
// wants them again, so the list looks for bins at once. Refusals are 409:
// list_over, list_claimed, version_changed, not_picked, wrong_bin.
func Unpick(ctx context.Context, tx pgx.Tx, tenantID string, in Unpicking) (State, error) {
	var f problem.Fields
	if len(in.Units) == 0 || len(in.Units) > MostPicks {
		f.Add("units", "required", "1 to %d", MostPicks)
	}
	for i, u := range in.Units {
		if u.Quantity < 1 {
			f.Add(fmt.Sprintf("units[%d].quantity", i), "out_of_range", "at least 1")
		}
	}
	if err := f.Err(); err != nil {
		return State{}, err
	}
	l, err := lockLive(ctx, tx, tenantID, in.ListID, in.Version)
	if err != nil {
		return l.State, err
	}
	if err := l.claim(ctx, tx, in.By.Person); err != nil {
		return l.State, err
	}
	var scans []Scan
	for _, u := range in.Units {
		scans = append(scans, Scan{AllocationID: u.AllocationID})
	}
	_, skus, err := l.linesOf(ctx, tx, scans)
	if err != nil {
		return l.State, err
	}
	if err := l.lockLevels(ctx, tx, skus); err != nil {
		return l.State, err
	}
	for i, u := range in.Units {
		if err := l.putBack(ctx, tx, u, in.By); err != nil {
			if refused, ok := problem.As(err); ok {
				return l.State, refused.With("at", fmt.Sprintf("units[%d]", i))
			}
			return l.State, err
		}
	}
	if _, err := l.refill(ctx, tx, nil); err != nil {
		return l.State, err
	}
	err = l.settle(ctx, tx, 1)
	return l.State, err
}

// putBack moves picked units of the list into a bin for goods.
func (l list) putBack(ctx context.Context, tx pgx.Tx, u PutBack, by stock.By) error {
	var picked int
	err := tx.QueryRow(ctx, `SELECT quantity FROM allocations WHERE tenant = $1 AND list_id = $2 AND id = $3 AND state = 'picked'`, l.tenant, l.ID, u.AllocationID).Scan(&picked)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("allocation %s: %w", u.AllocationID, err)
	}
	if err != nil || picked < u.Quantity {
		return l.conflict("not_picked", "Not so many of those units were picked.").With("picked", picked)
	}
	var kind string
	err = tx.QueryRow(ctx, `SELECT kind FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = $3 AND active`, l.tenant, l.warehouse, u.Bin).Scan(&kind)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("bin %s: %w", u.Bin, err)
	}
	if kind != "pick" && kind != "reserve" && kind != "receiving" {
		return l.conflict("wrong_bin", "Units go back into a bin for picking, reserve or receiving.").With("scanned", clip(u.Bin))
	}
	err = stock.Unpick(ctx, tx, l.tenant, u.AllocationID, u.Quantity, u.Bin, l.document(), by)
	switch {
	case errors.Is(err, stock.ErrAllocationGone), errors.Is(err, stock.ErrNotInBin):
		return l.conflict("not_picked", "Not so many of those units were picked.")
	case errors.Is(err, stock.ErrSerialAbsent):
		return l.conflict("wrong_serial", "That unit is not in the packing bin.")
	}
	return err
}

// Completion is how a list ended.
type Completion struct {
	State
	// Short are the units that were not found. Their orders ask for attention, and
	// their shipments wait for another wave.
	Short []Missing `json:"short"`
}

// Complete ends a list of which each line was picked or given up. Shipments whose
// units are all in packing bins stay in status picking, with picked_at, for those
// who pack. Others that are on no further list are pending again, so that the next
// wave looks for what is missing; their orders ask for attention (short_pick).
// Completing again answers the same. Refusals are 409: list_over, list_claimed,
// version_changed, lines_open.
func Complete(ctx context.Context, tx pgx.Tx, tenantID, listID string, by stock.By, version int64) (Completion, error) {
	out := Completion{Short: []Missing{}}
	l, err := lock(ctx, tx, tenantID, listID, 0)
	if err != nil {
		return out, err
	}
	if l.Status == Completed {
		out.State = l.State
		out.Short, err = l.shorted(ctx, tx)
		return out, err
	}
	if l, err = lockLive(ctx, tx, tenantID, listID, version); err != nil {
		return out, err
	}
	if l.AssignedTo != "" && l.AssignedTo != by.Person {
		return out, l.conflict("list_claimed", "The list is "+l.AssignedTo+"'s.")
	}
	// Units may have come or gone since the last command.
	if _, err := l.refill(ctx, tx, nil); err != nil {
		return out, err
	}
	rows, err := tx.Query(ctx, `SELECT line FROM pick_lines WHERE tenant = $1 AND list_id = $2 AND cancelled_at IS NULL AND picked + shorted < quantity ORDER BY line`, tenantID, listID)
	if err != nil {
		return out, fmt.Errorf("lines of pick list %s: %w", listID, err)
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return out, fmt.Errorf("lines of pick list %s: %w", listID, err)
	}
	if len(open) > 0 {
		return out, l.conflict("lines_open", "Lines are neither picked nor given up.").With("open_lines", open)
	}
	if err := l.set(ctx, tx, Completed, by.Person); err != nil {
		return out, err
	}
	out.State = l.State
	if out.Short, err = l.shorted(ctx, tx); err != nil {
		return out, err
	}
	if err := l.ask(ctx, tx, out.Short); err != nil {
		return out, err
	}
	return out, l.settleShipments(ctx, tx, by.Person)
}

// shorted are the units that were given up, but for those which the order had lost
// already: of them a run of its own takes care.
func (l list) shorted(ctx context.Context, tx pgx.Tx) ([]Missing, error) {
	rows, err := tx.Query(ctx, `SELECT line, order_id, sku, shorted FROM pick_lines WHERE tenant = $1 AND list_id = $2 AND cancelled_at IS NULL AND shorted > 0 AND short_reason <> $3 ORDER BY line`, l.tenant, l.ID, reasonLost)
	if err != nil {
		return nil, fmt.Errorf("shorts of pick list %s: %w", l.ID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Missing])
	if err != nil {
		return nil, fmt.Errorf("shorts of pick list %s: %w", l.ID, err)
	}
	return append([]Missing{}, list...), nil
}

// ask raises attention for orders of which units were not found.
func (l list) ask(ctx context.Context, tx pgx.Tx, short []Missing) error {
	units := map[string]int{}
	for _, m := range short {
		if units[m.OrderID] == 0 {
			if err := order.RaiseAttention(ctx, tx, l.tenant, m.OrderID, attentionShort); err != nil {
				return err
			}
		}
		units[m.OrderID] += m.Units
	}
	for _, m := range short {
		if n := units[m.OrderID]; n > 0 {
			if err := timeline.Add(ctx, tx, l.tenant, m.OrderID, "short_picked", "warehouse", map[string]any{"pick_list": l.Number, "pick_list_id": l.ID, "units": n}); err != nil {
				return err
			}
			units[m.OrderID] = 0
		}
	}
	return nil
}

// settleShipments says of each shipment on a list how it goes on: picked as a
// whole, on another list, or pending again.
func (l list) settleShipments(ctx context.Context, tx pgx.Tx, person string) error {
	rows, err := tx.Query(ctx, `
	WITH mine AS (
	  SELECT DISTINCT p.shipment_id, p.order_id, p.hold_id FROM pick_lines p WHERE p.tenant = $1 AND p.list_id = $2
	), way AS (
	  SELECT m.*, NOT EXISTS (SELECT FROM hold_lines h WHERE h.tenant = $1 AND h.hold_id = m.hold_id AND h.warehouse = $3 AND h.quantity - h.shorted - h.left_stock > h.picked)
	             AND EXISTS (SELECT FROM hold_lines h WHERE h.tenant = $1 AND h.hold_id = m.hold_id AND h.warehouse = $3 AND h.picked > 0) AS whole,
	         (SELECT min(k.id) FROM pick_lists k JOIN pick_lines p ON p.tenant = k.tenant AND p.list_id = k.id
	           WHERE k.tenant = $1 AND p.shipment_id = m.shipment_id AND p.cancelled_at IS NULL AND k.status IN ('open','in_progress','picked')) AS next
	    FROM mine m
	)
	UPDATE shipments s SET status = CASE WHEN way.whole OR way.next IS NOT NULL THEN 'picking' ELSE 'pending' END, picked_at = CASE WHEN way.whole THEN coalesce(s.picked_at, now()) END,
	       pick_list = CASE WHEN way.next IS NOT NULL THEN way.next WHEN way.whole THEN s.pick_list END, updated_at = now()
	  FROM way WHERE s.tenant = $1 AND s.id = way.shipment_id AND s.status IN ('pending','picking')
	RETURNING s.id, s.order_id, way.whole`, l.tenant, l.ID, l.warehouse)
	if err != nil {
		return fmt.Errorf("shipments of pick list %s: %w", l.ID, err)
	}
	type settled struct {
		ID, OrderID string
		Whole       bool
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[settled])
	if err != nil {
		return fmt.Errorf("shipments of pick list %s: %w", l.ID, err)
	}
	for _, s := range list {
		if !s.Whole {
			continue
		}
		if err := l.whole(ctx, tx, s.ID, s.OrderID, person); err != nil {
			return err
		}
	}
	return nil
}

// whole notes that a shipment is picked, and takes back that its order was short
// when nothing of it waits to be picked any more.
func (l list) whole(ctx context.Context, tx pgx.Tx, shipmentID, orderID, person string) error {
	if err := timeline.Add(ctx, tx, l.tenant, orderID, "picked", "warehouse", map[string]any{"shipment_id": shipmentID, "warehouse": l.warehouse, "pick_list": l.Number, "by": person}); err != nil {
		return err
	}
	var rest bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM shipments WHERE tenant = $1 AND order_id = $2 AND status IN ('pending','picking') AND picked_at IS NULL)`, l.tenant, orderID).Scan(&rest); err != nil {
		return fmt.Errorf("shipments of order %s: %w", orderID, err)
	}
	if rest {
		return nil
	}
	return order.LowerAttention(ctx, tx, l.tenant, orderID, attentionShort)
}

// Cancelling takes a list, or some shipments of it, back.
type Cancelling struct {
	ListID string
	// ShipmentIDs are those that leave the list; without any it is the whole list.
	ShipmentIDs []string
	// To is the bin for what was picked already.
	To      string
	Reason  string
	Version int64
	By      stock.By
}

// Cancel takes shipments off a list: open work is given up, picked units go back
// into the bin named, and the shipments are pending again unless another list has
// them. A list without shipments is cancelled; cancelling it again answers the
// same. Refusals are 409: list_over for one that was completed, version_changed,
// not_on_list, put_back_where (with how many units need a bin), wrong_bin.
func Cancel(ctx context.Context, tx pgx.Tx, tenantID string, in Cancelling) (State, error) {
	if in.Reason == "" || len(in.Reason) > 500 {
		var f problem.Fields
		f.Add("reason", "required", "1 to 500 bytes")
		return State{}, f.Err()
	}
	l, err := lock(ctx, tx, tenantID, in.ListID, 0)
	if err != nil || l.Status == Cancelled {
		return l.State, err
	}
	if l, err = lockLive(ctx, tx, tenantID, in.ListID, in.Version); err != nil {
		return l.State, err
	}
	lines, skus, err := l.leaving(ctx, tx, in.ShipmentIDs)
	if err != nil {
		return l.State, err
	}
	if err := l.lockLevels(ctx, tx, skus); err != nil {
		return l.State, err
	}
	if _, err := tx.Exec(ctx, `UPDATE allocations SET quantity = 0, state = 'closed', updated_at = now() WHERE tenant = $1 AND list_id = $2 AND line = ANY($3) AND state = 'open'`, tenantID, l.ID, lines); err != nil {
		return l.State, fmt.Errorf("give up the work of pick list %s: %w", l.ID, err)
	}
	if err := l.putAllBack(ctx, tx, lines, in); err != nil {
		return l.State, err
	}
	if _, err := tx.Exec(ctx, `UPDATE pick_lines SET cancelled_at = now(), short_reason = $4 WHERE tenant = $1 AND list_id = $2 AND line = ANY($3)`, tenantID, l.ID, lines, in.Reason); err != nil {
		return l.State, fmt.Errorf("lines of pick list %s: %w", l.ID, err)
	}
	if err := l.plan(ctx, tx); err != nil {
		return l.State, err
	}
	if err := l.settle(ctx, tx, 1); err != nil {
		return l.State, err
	}
	return l.State, l.settleShipments(ctx, tx, in.By.Person)
}

// leaving are the lines that a Cancel takes off, and their SKUs.
func (l list) leaving(ctx context.Context, tx pgx.Tx, shipments []string) (lines []int, skus []string, err error) {
	rows, err := tx.Query(ctx, `SELECT line, sku FROM pick_lines WHERE tenant = $1 AND list_id = $2 AND cancelled_at IS NULL AND ($3::text[] IS NULL OR shipment_id = ANY($3)) ORDER BY line`, l.tenant, l.ID, shipments)
	if err != nil {
		return nil, nil, fmt.Errorf("lines of pick list %s: %w", l.ID, err)
	}
	var line int
	var sku string
	_, err = pgx.ForEachRow(rows, []any{&line, &sku}, func() error {
		lines, skus = append(lines, line), append(skus, sku)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("lines of pick list %s: %w", l.ID, err)
	}
	if len(lines) == 0 {
		return nil, nil, l.conflict("not_on_list", "Those shipments are not on the list.")
	}
	return lines, skus, nil
}

func (l list) putAllBack(ctx context.Context, tx pgx.Tx, lines []int, in Cancelling) error {
	rows, err := tx.Query(ctx, `SELECT id, quantity FROM allocations WHERE tenant = $1 AND list_id = $2 AND line = ANY($3) AND state = 'picked' AND quantity > 0 ORDER BY id`, l.tenant, l.ID, lines)
	if err != nil {
		return fmt.Errorf("picked units of pick list %s: %w", l.ID, err)
	}
	back, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u PutBack, err error) {
		u.Bin = in.To
		return u, row.Scan(&u.AllocationID, &u.Quantity)
	})
	if err != nil {
		return fmt.Errorf("picked units of pick list %s: %w", l.ID, err)
	}
	total := 0
	for _, u := range back {
		total += u.Quantity
	}
	if total > 0 && in.To == "" {
		return l.conflict("put_back_where", "Units were picked already: name the bin that they go back into.").With("picked", total)
	}
	for _, u := range back {
		if err := l.putBack(ctx, tx, u, in.By); err != nil {
			return err
		}
	}
	return nil
}
