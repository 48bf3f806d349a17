package counting

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// startIn is by when a run must have taken a count up.
const startIn = "5 minutes"

// mostBins are the most bins that a request may name.
const mostBins = 10_000

// Selection chooses bins of a warehouse; what is empty chooses all. Bins of
// packing and of goods on their way are counted only when they are named.
type Selection struct {
	Zone string
	Bins []string
	// Class is A for the bins that make up the first 80 % of the picks of the last
	// 90 days, B for the next 15 %, C for all others.
	Class string
	// OlderThanDays leaves out bins that were counted since.
	OlderThanDays int
}

// Request asks for a count.
type Request struct {
	Warehouse string
	Selection
	Reason string
	// A difference is booked without being approved when it has at most so many
	// units, over and under added up, and at most so many per cent of what was
	// expected: each limit that is given must hold.
	ToleranceUnits   *int
	TolerancePercent *int
	// Recount has a second person count a bin that differs; default true.
	Recount *bool
}

// Check tells what is wrong with the request by itself.
func (r *Request) Check() error {
	var f problem.Fields
	checkWarehouse(&f, r.Warehouse)
	r.check(&f)
	if r.Reason == "" {
		f.Add("reason", "required", "say why differences are booked: a code of the adjustment reasons")
	}
	if r.ToleranceUnits != nil && (*r.ToleranceUnits < 0 || *r.ToleranceUnits > 1_000_000) {
		f.Add("tolerance_units", "out_of_range", "0 to 1000000")
	}
	if r.TolerancePercent != nil && (*r.TolerancePercent < 0 || *r.TolerancePercent > 100) {
		f.Add("tolerance_percent", "out_of_range", "0 to 100")
	}
	return f.Err()
}

func (s Selection) check(f *problem.Fields) {
	if s.Zone != "" && len(s.Bins) > 0 {
		f.Add("bins", "invalid", "name a zone or bins, not both")
	}
	if len(s.Bins) > mostBins {
		f.Add("bins", "too_many", "at most %d", mostBins)
	}
	seen := map[string]bool{}
	for i, b := range s.Bins {
		if seen[b] {
			f.Add("bins["+strconv.Itoa(i)+"]", "repeated", "named twice")
		}
		seen[b] = true
	}
	if !slices.Contains([]string{"", "A", "B", "C"}, s.Class) {
		f.Add("class", "invalid", "A, B or C")
	}
	if s.OlderThanDays < 0 || s.OlderThanDays > 3650 {
		f.Add("older_than_days", "out_of_range", "0 to 3650")
	}
}

func checkWarehouse(f *problem.Fields, code string) {
	switch {
	case code == "":
		f.Add("warehouse", "required", "name the warehouse")
	case !catalog.WarehouseCode.MatchString(code):
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	}
}

// Create writes a count and a task for each bin of the selection, in one
// statement whatever their number. Bins that have an open task already are left
// out. It is 422 unknown_warehouse, unknown_bin or unknown_reason, and 409
// nothing_to_count when no bin is left. countID is new and chosen by the caller.
func Create(ctx context.Context, tx pgx.Tx, tenant, countID string, r Request, by stock.By) (Document, error) {
	if err := r.Check(); err != nil {
		return Document{}, err
	}
	var f problem.Fields
	if err := knownReason(ctx, tx, tenant, r.Reason, &f); err != nil {
		return Document{}, err
	}
	if err := knownPlaces(ctx, tx, tenant, r, &f); err != nil {
		return Document{}, err
	}
	if err := f.Err(); err != nil {
		return Document{}, err
	}
	tasks, err := write(ctx, tx, tenant, countID, "person", "", r, mostBins*100, by.Person)
	if err != nil {
		return Document{}, err
	}
	if tasks == 0 {
		return Document{}, problem.New(problem.Conflict, "nothing_to_count", "No bin is left to count: none fits, or all that do have an open task.")
	}
	return Get(ctx, tx, tenant, countID)
}

func knownPlaces(ctx context.Context, tx pgx.Tx, tenant string, r Request, f *problem.Fields) error {
	var there bool
	var missing []string
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM warehouses WHERE tenant = $1 AND code = $2),
	    ARRAY(SELECT n FROM unnest($3::text[]) n WHERE NOT EXISTS (SELECT FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = n) LIMIT 20)`, tenant, r.Warehouse, r.Bins).Scan(&there, &missing)
	if err != nil {
		return fmt.Errorf("bins of %s: %w", r.Warehouse, err)
	}
	if !there {
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
		return nil
	}
	for _, b := range missing {
		f.Add("bins["+strconv.Itoa(slices.Index(r.Bins, b))+"]", "unknown_bin", "the warehouse has no such bin")
	}
	return nil
}

// classes are the bins of a warehouse ($2) that were picked from, with their class.
const classes = `picks AS (
    SELECT from_bin AS bin, count(*) AS n FROM bin_movements WHERE tenant = $1 AND warehouse = $2 AND reason = 'pick' AND from_bin <> '' AND created_at > now() - interval '90 days' GROUP BY 1
  ), ranked AS (
    SELECT bin, sum(n) OVER (ORDER BY n DESC, bin ROWS UNBOUNDED PRECEDING) - n AS before, sum(n) OVER () AS total FROM picks
  ), classes AS (
    SELECT bin, CASE WHEN before < total * 0.80 THEN 'A' WHEN before < total * 0.95 THEN 'B' ELSE 'C' END AS class FROM ranked
  )`

// write makes the document and its tasks: of the bins that fit, those that were
// counted longest ago, at most so many. Without any there is no document either.
func write(ctx context.Context, tx pgx.Tx, tenant, countID, origin, plan string, r Request, most int, person string) (tasks int, err error) {
	recount := r.Recount == nil || *r.Recount
	_, err = tx.Exec(ctx, `INSERT INTO counts (tenant, id, warehouse, origin, plan, reason, tolerance_units, tolerance_percent, recount, created_by, complete_by, due_at)
	  VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10, now() + interval '1 day', now() + interval '`+startIn+`')`,
		tenant, countID, r.Warehouse, origin, plan, r.Reason, r.ToleranceUnits, r.TolerancePercent, recount, person)
	if err != nil {
		return 0, fmt.Errorf("write count %s: %w", countID, err)
	}
	tag, err := tx.Exec(ctx, `WITH `+classes+`
	  INSERT INTO count_tasks (tenant, count_id, bin, id, warehouse, zone, class)
	  SELECT b.tenant, $3, b.code, substr($3, 1, 10) || upper(substr(md5($3 || ' ' || b.code), 1, 16)), b.warehouse, b.zone, coalesce(c.class, 'C')
	    FROM bins b LEFT JOIN classes c ON c.bin = b.code
	   WHERE b.tenant = $1 AND b.warehouse = $2
	     AND CASE WHEN cardinality($4::text[]) > 0 THEN b.code = ANY($4) ELSE b.active AND b.kind NOT IN ('packing','in_transit') END
	     AND ($5 = '' OR b.zone = $5) AND ($6 = '' OR coalesce(c.class, 'C') = $6) AND ($7 = 0 OR b.counted_at IS NULL OR b.counted_at < now() - make_interval(days => $7))
	     AND NOT EXISTS (SELECT FROM count_tasks o WHERE o.tenant = b.tenant AND o.warehouse = b.warehouse AND o.bin = b.code AND o.status NOT IN ('done','cancelled'))
	   ORDER BY b.counted_at NULLS FIRST, b.code LIMIT $8
	  ON CONFLICT DO NOTHING`, tenant, r.Warehouse, countID, orEmpty(r.Bins), r.Zone, r.Class, r.OlderThanDays, most)
	if err != nil {
		return 0, fmt.Errorf("tasks of count %s: %w", countID, err)
	}
	return int(tag.RowsAffected()), nil
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
