package picking

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/counting"
)

// Shorting is an operator's word that a bin has fewer units than the list wants
// from it.
type Shorting struct {
	ListID string
	// AllocationID or Line says what is missing.
	AllocationID string
	Line         int
	Bin          string // scanned; empty for units that have no bin
	Found        int    // units that are there and wait to be picked
	Reason       string
	Version      int64
	By           stock.By
}

// Shortage is what came of it.
type Shortage struct {
	State
	// Elsewhere are the units for which another bin was found at once.
	Elsewhere []Units `json:"elsewhere"`
	// Short are those for which there is none: they are given up on this list, and
	// the promise to the buyer stands.
	Short []Missing `json:"short"`
}

// Short takes units off a bin that has not so many. What the bin has by the books
// stays, and somebody is asked to count it; until then nothing more of the SKU is
// allocated there. Other bins are found at once and the rest of the way is planned
// anew; units that are nowhere are given up on this list.
//
// A line without any bin is given up with no bin named. Refusals are 409:
// list_over, list_claimed, version_changed, scan_required, wrong_bin, not_open,
// nothing_missing.
func Short(ctx context.Context, tx pgx.Tx, tenantID string, in Shorting) (Shortage, error) {
	out := Shortage{Elsewhere: []Units{}, Short: []Missing{}}
	if err := in.check(); err != nil {
		return out, err
	}
	l, err := lockLive(ctx, tx, tenantID, in.ListID, in.Version)
	if err != nil {
		return out, err
	}
	if err := l.claim(ctx, tx, in.By.Person); err != nil {
		return out, err
	}
	_, skus, err := l.linesOf(ctx, tx, []Scan{{AllocationID: in.AllocationID, Line: in.Line}})
	if err != nil {
		return out, err
	}
	if err := l.lockLevels(ctx, tx, skus); err != nil {
		return out, err
	}
	if err := l.short(ctx, tx, in, &out); err != nil {
		return out, err
	}
	if _, err := l.refill(ctx, tx, nil); err != nil {
		return out, err
	}
	if err := l.plan(ctx, tx); err != nil {
		return out, err
	}
	err = l.settle(ctx, tx, 1)
	out.State = l.State
	return out, err
}

func (in Shorting) check() error {
	var f problem.Fields
	if (in.AllocationID == "") == (in.Line == 0) {
		f.Add("line", "required", "name a line or an allocation_id, and not both")
	}
	if in.Found < 0 {
		f.Add("found", "out_of_range", "not below zero")
	}
	if in.Reason == "" {
		f.Add("reason", "required", "say why units are missing")
	}
	if len(in.Reason) > 100 {
		f.Add("reason", "too_long", "at most 100 bytes")
	}
	return f.Err()
}

func (l *list) short(ctx context.Context, tx pgx.Tx, in Shorting, out *Shortage) error {
	if in.Bin == "" && in.Line != 0 {
		done, err := l.giveUpUnallocated(ctx, tx, in, out)
		if err != nil || done {
			return err
		}
	}
	open, err := l.openWork(ctx, tx, []int{in.Line}, []string{in.AllocationID})
	if err != nil {
		return err
	}
	if len(open) == 0 {
		return l.notOpen(ctx, tx, in.AllocationID, in.Line)
	}
	h := hand{field: "bin", open: open}
	inBins := slices.ContainsFunc(open, func(w work) bool { return w.Bin != "" })
	if in.Bin == "" && inBins {
		return l.refuse(h, "scan_required", "Scan the bin.").With("next", "bin")
	}
	there := slices.DeleteFunc(slices.Clone(open), func(w work) bool { return w.Bin != in.Bin })
	if len(there) == 0 {
		return l.refuse(h, "wrong_bin", "Nothing is wanted from that bin.").With("scanned", clip(in.Bin))
	}
	missing := units(there) - in.Found
	if missing <= 0 {
		return l.refuse(h, "nothing_missing", fmt.Sprintf("%d units are wanted there, and %d were found.", units(there), in.Found))
	}
	// The last of the bin's units are those that are missing.
	left := missing
	for _, w := range slices.Backward(there) {
		if n := min(left, w.Quantity); n > 0 {
			if err := stock.Drop(ctx, tx, l.tenant, w.AllocationID, n); err != nil {
				return l.told(h, err)
			}
			left -= n
		}
	}
	w := there[0]
	if err := l.askForCount(ctx, tx, w, in.Reason); err != nil {
		return err
	}
	return l.elsewhere(ctx, tx, w, missing, in.Reason, out)
}

// askForCount leaves a request for those who count; the same list asks once.
func (l list) askForCount(ctx context.Context, tx pgx.Tx, w work, reason string) error {
	if w.Bin == "" {
		return nil
	}
	return counting.Ask(ctx, tx, l.tenant, counting.Asked{Warehouse: l.warehouse, Bin: w.Bin, SKU: w.SKU, Reason: reason, Document: l.document()})
}

// elsewhere looks for units in other bins and gives up what is in none.
func (l list) elsewhere(ctx context.Context, tx pgx.Tx, w work, missing int, reason string, out *Shortage) error {
	got, none, err := stock.Allocate(ctx, tx, l.tenant, l.warehouse, []stock.ToAllocate{{HoldID: w.HoldID, SKU: w.SKU, Warehouse: l.warehouse, Units: missing, NotBin: w.Bin, ListID: l.ID, Line: w.Line}}, l.today)
	if err != nil {
		return err
	}
	nowhere := none[0]
	for _, a := range got {
		// Units that were not found outside of bins are not looked for there again.
		if a.Bin == "" && w.Bin == "" {
			if err := stock.Drop(ctx, tx, l.tenant, a.ID, a.Quantity); err != nil {
				return err
			}
			nowhere += a.Quantity
			continue
		}
		u := Units{ID: a.ID, Lot: a.Lot, Quantity: a.Quantity, State: a.State}
		if a.Bin != "" {
			u.Bin = &a.Bin
		}
		out.Elsewhere = append(out.Elsewhere, u)
	}
	if nowhere == 0 {
		return nil
	}
	out.Short = append(out.Short, Missing{Line: w.Line, OrderID: w.OrderID, SKU: w.SKU, Units: nowhere})
	return l.giveUp(ctx, tx, w.Line, nowhere, reason)
}

// giveUpUnallocated gives up the units of a line for which no bin has any, also
// after one more look. It reports false when the line has none.
func (l *list) giveUpUnallocated(ctx context.Context, tx pgx.Tx, in Shorting, out *Shortage) (bool, error) {
	if _, err := l.refill(ctx, tx, nil); err != nil {
		return false, err
	}
	var orderID, sku string
	var missing, open int
	err := tx.QueryRow(ctx, `SELECT p.order_id, p.sku, p.quantity - p.picked - p.shorted - o.units, o.units FROM pick_lines p,
	      LATERAL (SELECT coalesce(sum(a.quantity), 0)::int AS units FROM allocations a WHERE a.tenant = p.tenant AND a.list_id = p.list_id AND a.line = p.line AND a.state = 'open') o
	   WHERE p.tenant = $1 AND p.list_id = $2 AND p.line = $3 AND p.cancelled_at IS NULL`, l.tenant, l.ID, in.Line).Scan(&orderID, &sku, &missing, &open)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, fmt.Errorf("line %d of pick list %s: %w", in.Line, l.ID, err)
	}
	if err != nil || missing <= 0 || open > 0 {
		return false, nil
	}
	out.Short = append(out.Short, Missing{Line: in.Line, OrderID: orderID, SKU: sku, Units: missing})
	return true, l.giveUp(ctx, tx, in.Line, missing, in.Reason)
}
