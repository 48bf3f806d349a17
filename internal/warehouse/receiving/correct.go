package receiving

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// Correction takes back what was scanned wrongly.
type Correction struct {
	ReceiptID string
	// Batch is an id of the caller's under which the entries can be read again.
	Batch    string
	SKU      string
	Lot      string
	Serial   string
	Quantity int
	// Condition is good or damaged; empty takes back whichever was scanned last.
	Condition string
	Reason    string
	stock.By
}

func (c *Correction) check() error {
	var f problem.Fields
	text(&f, "sku", c.SKU, 64)
	units(&f, "quantity", c.Quantity)
	text(&f, "reason", c.Reason, 500)
	if c.Serial != "" && c.Quantity != 1 {
		f.Add("quantity", "invalid", "a serial is one unit")
	}
	if c.Condition != "" && c.Condition != "good" && c.Condition != "damaged" {
		f.Add("condition", "invalid", "good or damaged")
	}
	return f.Err()
}

// Correct takes back units that were scanned for an open receipt, the newest
// first, by new movements from where they were booked to outside. The purchase
// order expects them again. 409 not_scanned when not so many were; not_in_bin when
// they are not where they were booked: bring them back first. Promises on them look
// for other units; holds that lost theirs are returned.
func Correct(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, c Correction, now time.Time) ([]Entry, []stock.Shorted, error) {
	var lost []stock.Shorted
	var dropped []stock.Dropped
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	r, order, err := lockReceipt(ctx, tx, shop.ID, c.ReceiptID)
	if err != nil {
		return nil, nil, err
	}
	if r.Status != "open" {
		return nil, nil, r.over()
	}
	taken, err := takeBack(ctx, tx, shop.ID, r, c)
	if err != nil {
		return nil, nil, err
	}
	came := map[int][2]int{}
	var entries pgx.Batch
	for _, e := range taken {
		m, err := stock.Move(ctx, tx, shop.ID, stock.BinMovement{SKU: e.SKU, Warehouse: r.Warehouse, Lot: e.Lot, Serial: e.Serial, Quantity: e.Quantity, From: stock.In(e.Bin, e.Status),
			Reason: "adjustment", Document: document(r.ID), Note: c.Reason, By: c.By})
		if errors.Is(err, stock.ErrNotInBin) || errors.Is(err, stock.ErrSerialAbsent) {
			return nil, nil, problem.New(problem.Conflict, "not_in_bin", "Those units are not in bin "+e.Bin+" any more: bring them back first.").With("current", map[string]any{"bin": e.Bin, "status": e.Status})
		}
		if err != nil {
			return nil, nil, err
		}
		lost = append(lost, m.Shorted...)
		dropped = append(dropped, m.Dropped...)
		queueEntry(&entries, shop.ID, r.ID, c.Batch, e, c.By)
		if e.Line > 0 {
			sum := came[e.Line]
			sum[0] -= e.Quantity
			if e.Condition == "damaged" {
				sum[1] -= e.Quantity
			}
			came[e.Line] = sum
		}
	}
	if err := tx.SendBatch(ctx, &entries).Close(); err != nil {
		return nil, nil, fmt.Errorf("corrections of receipt %s: %w", r.ID, err)
	}
	if order != nil && len(came) > 0 {
		if err := count(ctx, tx, shop.ID, order.ID, came); err != nil {
			return nil, nil, err
		}
	}
	if err := touch(ctx, tx, shop.ID, r.ID, r.WaitsFor, 1); err != nil {
		return nil, nil, err
	}
	if _, _, err := promiseAgain(ctx, tx, shop, c.SKU, r.Warehouse, dropped, now); err != nil {
		return nil, nil, err
	}
	written, err := ReadBatch(ctx, tx, shop.ID, c.Batch)
	return written, lost, err
}

// takeBack chooses the entries that a correction undoes, and how many units of
// each.
func takeBack(ctx context.Context, tx pgx.Tx, tenantID string, r Receipt, c Correction) ([]Entry, error) {
	rows, err := tx.Query(ctx, net+`SELECT id, coalesce(serial, ''), units, condition, bin, status, coalesce(line, 0), faults FROM net
	  WHERE kind = 'scan' AND sku = $3 AND lot = $4 AND units > 0 AND ($5 = '' OR serial = $5) AND ($6 = '' OR condition = $6) ORDER BY id DESC`, tenantID, r.ID, c.SKU, c.Lot, c.Serial, c.Condition)
	if err != nil {
		return nil, fmt.Errorf("entries of receipt %s: %w", r.ID, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Entry, err error) {
		return e, row.Scan(&e.corrects, &e.Serial, &e.Quantity, &e.Condition, &e.Bin, &e.Status, &e.Line, &e.Discrepancies)
	})
	if err != nil {
		return nil, fmt.Errorf("entries of receipt %s: %w", r.ID, err)
	}
	var out []Entry
	left := c.Quantity
	for _, e := range list {
		if left == 0 {
			break
		}
		e.Kind, e.SKU, e.Lot, e.reason = "correction", c.SKU, c.Lot, c.Reason
		e.Quantity = min(e.Quantity, left)
		left -= e.Quantity
		out = append(out, e)
	}
	if left > 0 {
		return nil, problem.New(problem.Conflict, "not_scanned", "Not so many of those units were scanned for this receipt.").With("current", map[string]any{"sku": c.SKU, "lot": c.Lot, "quantity": c.Quantity - left})
	}
	return out, nil
}
