// Package operator is the work of people in a warehouse as their scanners send
// it: commands that arrive late, twice or out of order and take effect once,
// leases on tasks, and exceptions for what could not be applied. What a command
// does is its subject's affair; this package decides whether it may, and keeps
// the answer.
package operator

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// Abilities are what an operator may be allowed. Supervise is the approval of
// what others did.
var Abilities = []string{"receive", "put_away", "move", "pick", "pack", "count", "transfer", "supervise"}

// Name is the form of an operator's name: a badge's text or a person's name.
var Name = regexp.MustCompile(`^[!-~]( ?[!-~]){0,63}$`)

// Operator is a person who works in a tenant's warehouses.
type Operator struct {
	Name      string    `json:"name"`
	May       []string  `json:"may"`
	Active    bool      `json:"active"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Put makes an operator known, or changes what he may do; created tells which. A
// tenant that has none lets everybody do everything that the key may.
func Put(ctx context.Context, tx pgx.Tx, tenant string, o Operator) (created bool, err error) {
	var f problem.Fields
	if !Name.MatchString(o.Name) {
		f.Add("name", "invalid", "an operator's name is 1 to 64 visible characters")
	}
	if o.May == nil {
		f.Add("may", "required", "say what the operator may do")
	}
	for i, m := range o.May {
		if !slices.Contains(Abilities, m) {
			f.Add(fmt.Sprintf("may[%d]", i), "invalid", "one of receive, put_away, move, pick, pack, count, transfer and supervise")
		}
	}
	if err := f.Err(); err != nil {
		return false, err
	}
	err = tx.QueryRow(ctx, `INSERT INTO operators (tenant, name, may, active) VALUES ($1,$2,$3,$4)
	  ON CONFLICT (tenant, name) DO UPDATE SET may = excluded.may, active = excluded.active, updated_at = now() RETURNING xmax = 0`, tenant, o.Name, o.May, o.Active).Scan(&created)
	if err != nil {
		return false, fmt.Errorf("operator: %w", err)
	}
	return created, nil
}

// List reads a tenant's operators by name.
func List(ctx context.Context, tx pgx.Tx, tenant string) ([]Operator, error) {
	rows, err := tx.Query(ctx, `SELECT name, may, active, created_at, updated_at FROM operators WHERE tenant = $1 ORDER BY name`, tenant)
	if err != nil {
		return nil, fmt.Errorf("operators: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Operator])
	if err != nil {
		return nil, fmt.Errorf("operators: %w", err)
	}
	return list, nil
}

// Get reads one of them.
func Get(ctx context.Context, tx pgx.Tx, tenant, name string) (Operator, error) {
	rows, err := tx.Query(ctx, `SELECT name, may, active, created_at, updated_at FROM operators WHERE tenant = $1 AND name = $2`, tenant, name)
	if err != nil {
		return Operator{}, fmt.Errorf("operator: %w", err)
	}
	o, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Operator])
	if errors.Is(err, pgx.ErrNoRows) {
		return o, problem.Missing("operator")
	}
	if err != nil {
		return o, fmt.Errorf("operator: %w", err)
	}
	return o, nil
}

// Allow refuses what a person may not do: 403 unknown_operator for one that the
// tenant does not have although it has others, 403 not_allowed for one whose
// work this is not.
func Allow(ctx context.Context, tx pgx.Tx, tenant, person, ability string) error {
	r, err := readRoster(ctx, tx, tenant, []string{person}, nil)
	if err != nil {
		return err
	}
	return r.allow(person, ability)
}

// roster is what persons may do, and who has which tasks, as it was read once for
// many commands.
type roster struct {
	any       bool // the tenant says what its operators may do
	operators map[string]Operator
	leases    map[string]Lease // that have not ended, by task
}

func readRoster(ctx context.Context, tx pgx.Tx, tenant string, persons, tasks []string) (roster, error) {
	r := roster{operators: map[string]Operator{}, leases: map[string]Lease{}}
	b := &pgx.Batch{}
	b.Queue(`SELECT EXISTS (SELECT FROM operators WHERE tenant = $1)`, tenant).QueryRow(func(row pgx.Row) error { return row.Scan(&r.any) })
	b.Queue(`SELECT name, may, active FROM operators WHERE tenant = $1 AND name = ANY($2)`, tenant, persons).Query(func(rows pgx.Rows) error {
		var o Operator
		_, err := pgx.ForEachRow(rows, []any{&o.Name, &o.May, &o.Active}, func() error {
			r.operators[o.Name] = Operator{Name: o.Name, May: slices.Clone(o.May), Active: o.Active}
			return nil
		})
		return err
	})
	if len(tasks) > 0 {
		b.Queue(`SELECT task, person, device, until FROM task_leases WHERE tenant = $1 AND task = ANY($2) AND until > now()`, tenant, tasks).Query(func(rows pgx.Rows) error {
			var l Lease
			_, err := pgx.ForEachRow(rows, []any{&l.Task, &l.Person, &l.Device, &l.Until}, func() error {
				r.leases[l.Task] = l
				return nil
			})
			return err
		})
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return r, fmt.Errorf("what operators may do: %w", err)
	}
	return r, nil
}

func (r roster) allow(person, ability string) error {
	o, known := r.operators[person]
	switch {
	case !r.any:
		return nil
	case !known || !o.Active:
		return problem.New(problem.Forbidden, "unknown_operator", "This tenant has no such operator at work: name one in X-Operator.")
	case !slices.Contains(o.May, ability):
		return problem.New(problem.Forbidden, "not_allowed", "This operator may not "+ability+".").With("may", o.May)
	}
	return nil
}

// inOthersHands refuses work on a task that another person has.
func (r roster) inOthersHands(task, person string) error {
	if l, has := r.leases[task]; has && l.Person != person {
		return l.refusal()
	}
	return nil
}

func (l Lease) refusal() error {
	return problem.New(problem.Conflict, "task_taken", "Somebody else has this task.").With("current", l)
}

// Lease is a task in somebody's hands.
type Lease struct {
	Task   string    `json:"task"`
	Person string    `json:"person"`
	Device string    `json:"device"`
	Until  time.Time `json:"until"`
}

// Task is the form of a task's name: kind:id.
var Task = regexp.MustCompile(`^[a-z-]+:[A-Za-z0-9._-]{1,80}$`)

// Claim takes a task for a person until seconds from now, or keeps it longer.
// 409 task_taken while somebody else has it.
func Claim(ctx context.Context, tx pgx.Tx, tenant, task, person, device string, seconds int) (Lease, error) {
	var f problem.Fields
	if !Task.MatchString(task) {
		f.Add("task", "invalid", "a task is named kind:id")
	}
	if seconds < 1 || seconds > 24*3600 {
		f.Add("seconds", "out_of_range", "1 to 86400")
	}
	if err := f.Err(); err != nil {
		return Lease{}, err
	}
	l := Lease{Task: task, Person: person, Device: device}
	err := tx.QueryRow(ctx, `INSERT INTO task_leases AS l (tenant, task, person, device, until) VALUES ($1,$2,$3,$4, now() + make_interval(secs => $5))
	  ON CONFLICT (tenant, task) DO UPDATE SET person = excluded.person, device = excluded.device, until = excluded.until WHERE l.person = excluded.person OR l.until <= now()
	  RETURNING until`, tenant, task, person, device, seconds).Scan(&l.Until)
	if errors.Is(err, pgx.ErrNoRows) {
		return Lease{}, taken(ctx, tx, tenant, task)
	}
	if err != nil {
		return Lease{}, fmt.Errorf("take task %s: %w", task, err)
	}
	return l, nil
}

// LetGo gives a task back before its time. One that somebody else has stays his.
func LetGo(ctx context.Context, tx pgx.Tx, tenant, task, person string) error {
	_, err := tx.Exec(ctx, `DELETE FROM task_leases WHERE tenant = $1 AND task = $2 AND person = $3`, tenant, task, person)
	if err != nil {
		return fmt.Errorf("give task %s back: %w", task, err)
	}
	return nil
}

func taken(ctx context.Context, tx pgx.Tx, tenant, task string) error {
	l := Lease{Task: task}
	err := tx.QueryRow(ctx, `SELECT person, device, until FROM task_leases WHERE tenant = $1 AND task = $2`, tenant, task).Scan(&l.Person, &l.Device, &l.Until)
	if err != nil {
		return fmt.Errorf("lease of %s: %w", task, err)
	}
	return l.refusal()
}
