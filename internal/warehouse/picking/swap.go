package picking

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/stock"
)

// swap gives up what was allocated and takes units of the scanned bin and lot
// instead. The promise is not touched. That a lot stays behind which should leave
// before needs a reason.
func (c *confirmation) swap(ctx context.Context, tx pgx.Tx, h hand) ([]work, error) {
	if h.Bin == "" {
		return nil, c.refuse(h, "scan_required", "Scan the bin from which you take them.").With("next", "bin")
	}
	if h.Lot == "" && h.hasLots() {
		return nil, c.refuse(h, "scan_required", "Scan the lot.").With("next", "lot")
	}
	if h.Lot != "" {
		if err := c.lotFit(ctx, tx, h, h.Lot); err != nil {
			return nil, err
		}
	}
	if total := units(h.open); h.Quantity > total {
		return nil, c.refuse(h, "too_many_units", fmt.Sprintf("%d units wait to be picked, not %d.", total, h.Quantity)).With("open", total)
	}
	if err := c.write(ctx, tx); err != nil {
		return nil, err
	}
	left := h.Quantity
	// What lies in the very bin and lot stays; the last on the way goes first.
	given := slices.Clone(h.open)
	slices.Reverse(given)
	slices.SortStableFunc(given, func(a, b work) int { return h.asTaken(a) - h.asTaken(b) })
	for _, w := range given {
		n := min(left, w.Quantity)
		if n == 0 {
			break
		}
		if err := stock.Drop(ctx, tx, c.tenant, w.AllocationID, n); err != nil {
			return nil, c.told(h, err)
		}
		left -= n
	}
	if err := c.leavesFirst(ctx, tx, h); err != nil {
		return nil, err
	}
	w := h.open[0]
	got, none, err := stock.Allocate(ctx, tx, c.tenant, c.warehouse, []stock.ToAllocate{{HoldID: w.HoldID, SKU: w.SKU, Warehouse: c.warehouse, Units: h.Quantity, Bin: h.Bin, Lot: h.Lot, ListID: c.ID, Line: w.Line}}, c.today)
	if err != nil {
		return nil, err
	}
	if none[0] > 0 {
		return nil, c.refuse(h, "not_free", "The bin has not so many units that nobody else waits for.").With("free", h.Quantity-none[0])
	}
	var out []work
	for _, a := range got {
		if h.OverrideReason != "" {
			if _, err := tx.Exec(ctx, `UPDATE allocations SET override_reason = $3 WHERE tenant = $1 AND id = $2`, c.tenant, a.ID, h.OverrideReason); err != nil {
				return nil, fmt.Errorf("reason of a swap: %w", err)
			}
		}
		out = append(out, work{AllocationID: a.ID, Line: w.Line, HoldID: w.HoldID, OrderID: w.OrderID, SKU: a.SKU, Bin: a.Bin, Lot: a.Lot, Quantity: a.Quantity, Tracking: w.Tracking})
	}
	if c.open, err = c.openWork(ctx, tx, c.lines, nil); err != nil {
		return nil, err
	}
	return out, nil
}

// asTaken is 1 for work in the very bin and lot that were scanned.
func (h hand) asTaken(w work) int {
	if w.Bin == h.Bin && w.Lot == h.Lot {
		return 1
	}
	return 0
}

// leavesFirst refuses to take a lot while another is free that should leave
// before, unless somebody says why.
func (c *confirmation) leavesFirst(ctx context.Context, tx pgx.Tx, h hand) error {
	if h.Lot == "" || h.OverrideReason != "" {
		return nil
	}
	var lot, bin string
	err := tx.QueryRow(ctx, `
	SELECT s.lot, s.bin FROM bin_stock s JOIN bins b ON b.tenant = s.tenant AND b.warehouse = s.warehouse AND b.code = s.bin JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku
	  JOIN lots t ON t.tenant = s.tenant AND t.sku = s.sku AND t.lot = s.lot JOIN lots mine ON mine.tenant = s.tenant AND mine.sku = s.sku AND mine.lot = $4
	 WHERE s.tenant = $1 AND s.warehouse = $2 AND s.sku = $3 AND s.lot <> $4 AND s.status = 'available' AND s.quantity > s.allocated AND s.quantity > 0
	   AND b.active AND b.kind IN ('pick','reserve','receiving') AND t.status = 'available' AND (t.expires_on IS NULL OR t.expires_on > $5::date + p.pick_days_left)
	   AND NOT EXISTS (SELECT FROM count_requests c WHERE c.tenant = s.tenant AND c.warehouse = s.warehouse AND c.bin = s.bin AND c.sku = s.sku)
	   AND CASE WHEN p.removal = 'fefo' THEN t.expires_on < coalesce(mine.expires_on, 'infinity') ELSE t.received_at < mine.received_at END
	 ORDER BY t.expires_on, t.received_at, s.bin LIMIT 1`, c.tenant, c.warehouse, h.open[0].SKU, h.Lot, c.today).Scan(&lot, &bin)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lots of %s: %w", h.open[0].SKU, err)
	}
	return c.refuse(h, "earlier_lot", "Another lot should leave before: take it, or say in override_reason why not.").With("earlier", map[string]any{"lot": lot, "bin": bin})
}
