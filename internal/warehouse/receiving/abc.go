package receiving

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// abcDays is how far back picks are counted.
const abcDays = 90

// ABC is a warehouse's SKUs by how often they were picked.
type ABC struct {
	Warehouse string    `json:"warehouse"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Picks     int       `json:"picks"`
	// Data has those that were picked, the most often first; all others are C.
	Data []Class `json:"data"`
}

// Class is how often a SKU was picked: A are those of the first 80 % of all
// picks, B those up to 95 %, C the rest.
type Class struct {
	SKU   string `json:"sku"`
	Picks int    `json:"picks"`
	Class string `json:"class"`
}

// ReadABC classifies the SKUs of a warehouse by its picks of the last 90 days. A
// pick is one visit to a bin, however many units were taken.
func ReadABC(ctx context.Context, tx pgx.Tx, tenantID, warehouse string, now time.Time) (ABC, error) {
	out := ABC{Warehouse: warehouse, From: now.UTC().AddDate(0, 0, -abcDays), To: now.UTC()}
	var f problem.Fields
	if err := warehouseExists(ctx, tx, tenantID, warehouse, &f); err != nil {
		return out, err
	}
	if len(f) > 0 {
		return out, problem.Missing("warehouse")
	}
	// Each serial has a movement of its own: those of one visit share their time.
	rows, err := tx.Query(ctx, `SELECT sku, count(DISTINCT (document, from_bin, created_at))::int FROM bin_movements
	  WHERE tenant = $1 AND warehouse = $2 AND reason = 'pick' AND created_at > $3 GROUP BY sku ORDER BY 2 DESC, 1`, tenantID, warehouse, out.From)
	if err != nil {
		return out, fmt.Errorf("picks in %s: %w", warehouse, err)
	}
	out.Data, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Class, err error) {
		return c, row.Scan(&c.SKU, &c.Picks)
	})
	if err != nil {
		return out, fmt.Errorf("picks in %s: %w", warehouse, err)
	}
	if out.Data == nil {
		out.Data = []Class{}
	}
	out.Picks = classify(out.Data)
	return out, nil
}

// classify gives each SKU its class, from the most picked on, and returns the
// picks of all. The SKU that crosses a border belongs to the faster class.
func classify(list []Class) (all int) {
	for _, c := range list {
		all += c.Picks
	}
	before := 0
	for i := range list {
		switch {
		case before*100 < all*80:
			list[i].Class = "A"
		case before*100 < all*95:
			list[i].Class = "B"
		default:
			list[i].Class = "C"
		}
		before += list[i].Picks
	}
	return all
}
