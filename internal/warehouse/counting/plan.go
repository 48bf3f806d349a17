package counting

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
)

// Plan has every bin counted once in so many days, some each day.
type Plan struct {
	Name      string `json:"name"`
	Warehouse string `json:"warehouse"`
	Zone      string `json:"zone"`
	Class     string `json:"class"` // A, B, C, or empty for all
	EveryDays int    `json:"every_days"`
	// BinsPerDay bounds the day's work: the bins that were counted longest ago.
	BinsPerDay int       `json:"bins_per_day"`
	Active     bool      `json:"active"`
	LastDay    *string   `json:"last_day"` // the tenant's day of the last tasks
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
}

var planName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Check tells what is wrong with a plan by itself.
func (p Plan) Check() error {
	var f problem.Fields
	if !planName.MatchString(p.Name) {
		f.Add("name", "invalid", "1 to 64 letters, digits, dots, underscores and hyphens")
	}
	checkWarehouse(&f, p.Warehouse)
	if !slices.Contains([]string{"", "A", "B", "C"}, p.Class) {
		f.Add("class", "invalid", "A, B or C")
	}
	if p.EveryDays < 1 || p.EveryDays > 3650 {
		f.Add("every_days", "out_of_range", "1 to 3650")
	}
	if p.BinsPerDay < 1 || p.BinsPerDay > mostBins {
		f.Add("bins_per_day", "out_of_range", "1 to %d", mostBins)
	}
	return f.Err()
}

// PutPlan makes or replaces a plan and reports whether it is new.
func PutPlan(ctx context.Context, tx pgx.Tx, tenant string, p Plan) (created bool, err error) {
	if err := p.Check(); err != nil {
		return false, err
	}
	there, err := warehouseExists(ctx, tx, tenant, p.Warehouse)
	if err != nil {
		return false, err
	}
	if !there {
		return false, unknownWarehouse()
	}
	err = tx.QueryRow(ctx, `INSERT INTO count_plans AS p (tenant, name, warehouse, zone, class, every_days, bins_per_day, active) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)
	  ON CONFLICT (tenant, name) DO UPDATE SET warehouse = excluded.warehouse, zone = excluded.zone, class = excluded.class, every_days = excluded.every_days, bins_per_day = excluded.bins_per_day,
	    active = excluded.active, updated_at = now() RETURNING xmax = 0`, tenant, p.Name, p.Warehouse, p.Zone, p.Class, p.EveryDays, p.BinsPerDay, p.Active).Scan(&created)
	if err != nil {
		return false, fmt.Errorf("count plan %s: %w", p.Name, err)
	}
	return created, nil
}

func warehouseExists(ctx context.Context, tx pgx.Tx, tenant, code string) (there bool, err error) {
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM warehouses WHERE tenant = $1 AND code = $2)`, tenant, code).Scan(&there); err != nil {
		return false, fmt.Errorf("warehouse %s: %w", code, err)
	}
	return there, nil
}

func unknownWarehouse() error {
	var f problem.Fields
	f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	return f.Err()
}

// GetPlan reads a plan.
func GetPlan(ctx context.Context, tx pgx.Tx, tenant, name string) (Plan, error) {
	p := Plan{Name: name}
	err := tx.QueryRow(ctx, `SELECT warehouse, zone, class, every_days, bins_per_day, active, created_at, updated_at,
	    (SELECT to_char(max(day), 'YYYY-MM-DD') FROM count_plan_days d WHERE d.tenant = p.tenant AND d.plan = p.name) FROM count_plans p WHERE tenant = $1 AND name = $2`, tenant, name).
		Scan(&p.Warehouse, &p.Zone, &p.Class, &p.EveryDays, &p.BinsPerDay, &p.Active, &p.CreatedAt, &p.UpdatedAt, &p.LastDay)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, problem.Missing("count plan")
	}
	if err != nil {
		return p, fmt.Errorf("count plan %s: %w", name, err)
	}
	return p, nil
}

// morning is the tenant's hour from which a day's tasks are made.
const morning = 6

// MakeDay writes a plan's tasks for the tenant's day of now, once a day and not
// before the morning. It returns the count's id, "" when there is none to make:
// the day is made already, or no bin is due.
func MakeDay(ctx context.Context, tx pgx.Tx, tenant, name string, zone *time.Location, now time.Time) (string, error) {
	local := now.In(zone)
	if local.Hour() < morning {
		return "", nil
	}
	p, err := GetPlan(ctx, tx, tenant, name)
	if err != nil {
		return "", err
	}
	if !p.Active {
		return "", nil
	}
	day := local.Format(time.DateOnly)
	tag, err := tx.Exec(ctx, `INSERT INTO count_plan_days (tenant, plan, day) VALUES ($1,$2,$3) ON CONFLICT DO NOTHING`, tenant, name, day)
	if err != nil {
		return "", fmt.Errorf("day %s of count plan %s: %w", day, name, err)
	}
	if tag.RowsAffected() == 0 {
		return "", nil
	}
	return makeTasks(ctx, tx, tenant, p, day)
}

func makeTasks(ctx context.Context, tx pgx.Tx, tenant string, p Plan, day string) (string, error) {
	// A document without tasks is taken back to here.
	nested, err := tx.Begin(ctx)
	if err != nil {
		return "", fmt.Errorf("count plan %s: %w", p.Name, err)
	}
	countID := id.New()
	r := Request{Warehouse: p.Warehouse, Reason: "miscount", Selection: Selection{Zone: p.Zone, Class: p.Class, OlderThanDays: p.EveryDays}}
	tasks, err := write(ctx, nested, tenant, countID, "plan", p.Name, r, p.BinsPerDay, "plan:"+p.Name)
	if err != nil {
		return "", errors.Join(err, nested.Rollback(ctx))
	}
	if tasks == 0 {
		if err := nested.Rollback(ctx); err != nil {
			return "", fmt.Errorf("count plan %s: %w", p.Name, err)
		}
		return "", nil
	}
	if err := nested.Commit(ctx); err != nil {
		return "", fmt.Errorf("count plan %s: %w", p.Name, err)
	}
	_, err = tx.Exec(ctx, `UPDATE count_plan_days SET count_id = $4 WHERE tenant = $1 AND plan = $2 AND day = $3`, tenant, p.Name, day, countID)
	if err != nil {
		return "", fmt.Errorf("day %s of count plan %s: %w", day, p.Name, err)
	}
	return countID, nil
}
