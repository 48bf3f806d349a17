package counting

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Accuracy is how well the books fitted what was counted.
type Accuracy struct {
	BinsCounted int `json:"bins_counted"`
	BinsRight   int `json:"bins_right"`
	// Share is BinsRight by BinsCounted, 0 to 1; null when nothing was counted.
	Share *float64 `json:"share"`
	// UnitsExpected is what the books had of the counted bins; UnitsOver and
	// UnitsUnder are what was booked in and out, and UnitVariance both together.
	UnitsExpected int `json:"units_expected"`
	UnitsOver     int `json:"units_over"`
	UnitsUnder    int `json:"units_under"`
	UnitVariance  int `json:"unit_variance"`
}

// AccuracyOf is the accuracy of a class of bins, or of a zone.
type AccuracyOf struct {
	Name string `json:"name"`
	Accuracy
}

// Report is the accuracy of what was counted in a time, as a whole and by class
// and zone. The class of a bin is that of the day on which its count was made,
// "" where a request made it.
type Report struct {
	Total   Accuracy     `json:"total"`
	ByClass []AccuracyOf `json:"by_class"`
	ByZone  []AccuracyOf `json:"by_zone"`
}

// Measure reads the accuracy of a warehouse, or of all when that is empty, from
// tasks that ended at or after from and before to.
func Measure(ctx context.Context, tx pgx.Tx, tenant, warehouse string, from, to time.Time) (Report, error) {
	out := Report{ByClass: []AccuracyOf{}, ByZone: []AccuracyOf{}}
	rows, err := tx.Query(ctx, `SELECT CASE WHEN grouping(class) = 0 THEN 'class' WHEN grouping(zone) = 0 THEN 'zone' ELSE 'total' END, coalesce(class, zone, ''),
	    count(*), count(*) FILTER (WHERE outcome = 'right'), coalesce(sum(expected_units), 0), coalesce(sum(units_over), 0), coalesce(sum(units_under), 0)
	  FROM count_tasks WHERE tenant = $1 AND ($2 = '' OR warehouse = $2) AND status = 'done' AND ended_at >= $3 AND ended_at < $4
	  GROUP BY GROUPING SETS ((), (class), (zone)) ORDER BY 1, 2`, tenant, warehouse, from, to)
	if err != nil {
		return out, fmt.Errorf("count accuracy: %w", err)
	}
	var kind string
	var a AccuracyOf
	_, err = pgx.ForEachRow(rows, []any{&kind, &a.Name, &a.BinsCounted, &a.BinsRight, &a.UnitsExpected, &a.UnitsOver, &a.UnitsUnder}, func() error {
		one := a
		one.UnitVariance = one.UnitsOver + one.UnitsUnder
		if one.BinsCounted > 0 {
			share := float64(one.BinsRight) / float64(one.BinsCounted)
			one.Share = &share
		}
		switch kind {
		case "class":
			out.ByClass = append(out.ByClass, one)
		case "zone":
			out.ByZone = append(out.ByZone, one)
		default:
			out.Total = one.Accuracy
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("count accuracy: %w", err)
	}
	return out, nil
}
