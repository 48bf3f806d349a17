// Package counting compares bins with the books: a count is a document with a
// task a bin, a task is counted blind by one person or two, and a difference
// that stands is booked or waits for somebody who did not count.
//
// Every function works inside a transaction of the caller and changes nothing
// when it returns an error. Refusals are problem.Errors. Stock levels are locked
// before the task, in the order that package stock demands.
package counting

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// States of a task. The first three wait for a counter.
const (
	Open     = "open"
	Counting = "counting"
	// Recount waits for another person than the first.
	Recount          = "recount"
	AwaitingApproval = "awaiting_approval"
	Done             = "done"
	Cancelled        = "cancelled"
)

// States lists them.
var States = []string{Open, Counting, Recount, AwaitingApproval, Done, Cancelled}

// Document is a count as its makers see it.
type Document struct {
	ID               string     `json:"id"`
	Warehouse        string     `json:"warehouse"`
	Origin           string     `json:"origin"` // person, plan or request
	Plan             string     `json:"plan,omitempty"`
	Reason           string     `json:"reason"`
	ToleranceUnits   *int       `json:"tolerance_units"`
	TolerancePercent *int       `json:"tolerance_percent"`
	Recount          bool       `json:"recount"`
	Status           string     `json:"status"` // open, done or cancelled
	CreatedBy        string     `json:"created_by"`
	CompleteBy       time.Time  `json:"complete_by"`
	CreatedAt        time.Time  `json:"created_at"`
	EndedAt          *time.Time `json:"ended_at"`
	Tasks            Tally      `json:"tasks"`
}

// Tally is how many tasks of a count are in which state.
type Tally struct {
	Total            int `json:"total"`
	Open             int `json:"open"` // recounts and those being counted included
	AwaitingApproval int `json:"awaiting_approval"`
	Right            int `json:"right"`
	Adjusted         int `json:"adjusted"`
	Cancelled        int `json:"cancelled"`
}

// Task is a bin to be counted, without what the books say of it.
type Task struct {
	ID        string     `json:"id"`
	CountID   string     `json:"count_id"`
	Warehouse string     `json:"warehouse"`
	Bin       string     `json:"bin"`
	Zone      string     `json:"zone"`
	Status    string     `json:"status"`
	Outcome   string     `json:"outcome,omitempty"` // right or adjusted, once it is done
	Attempts  int        `json:"attempts"`
	Person    string     `json:"person,omitempty"` // who counts now
	BeganAt   *time.Time `json:"began_at"`
	Version   int64      `json:"version"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
}

const taskColumns = `t.id, t.count_id, t.warehouse, t.bin, t.zone, t.status, t.outcome, t.attempts, CASE WHEN t.status = 'counting' THEN t.person ELSE '' END,
  CASE WHEN t.status = 'counting' THEN t.began_at END, t.version, t.created_at, t.updated_at`

// Get reads a count.
func Get(ctx context.Context, tx pgx.Tx, tenant, countID string) (Document, error) {
	d := Document{ID: countID}
	err := tx.QueryRow(ctx, `SELECT warehouse, origin, plan, reason, tolerance_units, tolerance_percent, recount, status, created_by, complete_by, created_at, ended_at FROM counts WHERE tenant = $1 AND id = $2`, tenant, countID).
		Scan(&d.Warehouse, &d.Origin, &d.Plan, &d.Reason, &d.ToleranceUnits, &d.TolerancePercent, &d.Recount, &d.Status, &d.CreatedBy, &d.CompleteBy, &d.CreatedAt, &d.EndedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, problem.Missing("count")
	}
	if err != nil {
		return d, fmt.Errorf("count %s: %w", countID, err)
	}
	err = tx.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE status IN ('open','counting','recount')), count(*) FILTER (WHERE status = 'awaiting_approval'),
	    count(*) FILTER (WHERE outcome = 'right'), count(*) FILTER (WHERE outcome = 'adjusted'), count(*) FILTER (WHERE status = 'cancelled') FROM count_tasks WHERE tenant = $1 AND count_id = $2`, tenant, countID).
		Scan(&d.Tasks.Total, &d.Tasks.Open, &d.Tasks.AwaitingApproval, &d.Tasks.Right, &d.Tasks.Adjusted, &d.Tasks.Cancelled)
	if err != nil {
		return d, fmt.Errorf("tasks of count %s: %w", countID, err)
	}
	return d, nil
}

// TaskFilter chooses tasks; what is empty chooses all.
type TaskFilter struct {
	CountID, Warehouse, Zone, Status string
	// After is the last task of the page before.
	After string
	Limit int
}

// Tasks lists tasks by their ids, which puts those of newer counts last.
func Tasks(ctx context.Context, tx pgx.Tx, tenant string, f TaskFilter) ([]Task, error) {
	// Conditions that an index needs are written out. The ids of a count's tasks
	// begin like its own.
	of := `t.tenant = $1 AND ($2 = '' OR t.warehouse = $2) AND ($3 = '' OR t.zone = $3) AND ($4 = '' OR t.status = $4) AND t.id > $5`
	args := []any{tenant, f.Warehouse, f.Zone, f.Status, f.After, f.Limit}
	if f.CountID != "" {
		of += ` AND t.count_id = $7 AND t.id BETWEEN left($7, 10) AND left($7, 10) || 'ZZZZZZZZZZZZZZZZ'`
		args = append(args, f.CountID)
	}
	if f.Status != "" && f.Status != Done && f.Status != Cancelled {
		of += ` AND t.status NOT IN ('done','cancelled')`
	}
	rows, err := tx.Query(ctx, `SELECT `+taskColumns+` FROM count_tasks t WHERE `+of+` ORDER BY t.id LIMIT $6`, args...)
	if err != nil {
		return nil, fmt.Errorf("count tasks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Task])
	if err != nil {
		return nil, fmt.Errorf("count tasks: %w", err)
	}
	return list, nil
}

func getTask(ctx context.Context, tx pgx.Tx, tenant, taskID string) (Task, error) {
	rows, err := tx.Query(ctx, `SELECT `+taskColumns+` FROM count_tasks t WHERE t.tenant = $1 AND t.id = $2`, tenant, taskID)
	if err != nil {
		return Task{}, fmt.Errorf("count task %s: %w", taskID, err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Task])
	if errors.Is(err, pgx.ErrNoRows) {
		return t, problem.Missing("count task")
	}
	if err != nil {
		return t, fmt.Errorf("count task %s: %w", taskID, err)
	}
	return t, nil
}

// Seen is what one person found in a bin, beside what the books said: for those
// who decide about a difference, never for a counter.
type Seen struct {
	Attempt int        `json:"attempt"`
	Person  string     `json:"person"`
	BeganAt time.Time  `json:"began_at"`
	SentAt  time.Time  `json:"sent_at"`
	Moved   bool       `json:"moved"` // units came or went while it was counted
	Strange []string   `json:"strange"`
	Lines   []SeenLine `json:"lines"`
}

// SeenLine is units of one SKU, lot and status.
type SeenLine struct {
	SKU      string   `json:"sku"`
	Lot      string   `json:"lot"`
	Status   string   `json:"status"`
	Expected int      `json:"expected"`
	Counted  int      `json:"counted"`
	Found    []string `json:"found"`   // serials that were not expected
	Missing  []string `json:"missing"` // serials that were
}

// Result is a task with all that was found.
type Result struct {
	Task
	Counts []Seen `json:"counts"`
}

// Read returns a task with what its counters found.
func Read(ctx context.Context, tx pgx.Tx, tenant, taskID string) (Result, error) {
	t, err := getTask(ctx, tx, tenant, taskID)
	if err != nil {
		return Result{}, err
	}
	out := Result{Task: t, Counts: []Seen{}}
	rows, err := tx.Query(ctx, `SELECT attempt, person, began_at, created_at, moved, strange FROM count_attempts WHERE tenant = $1 AND count_id = $2 AND bin = $3 ORDER BY attempt`, tenant, t.CountID, t.Bin)
	if err != nil {
		return out, fmt.Errorf("counts of task %s: %w", taskID, err)
	}
	counts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Seen, err error) {
		s.Lines = []SeenLine{}
		return s, row.Scan(&s.Attempt, &s.Person, &s.BeganAt, &s.SentAt, &s.Moved, &s.Strange)
	})
	if err != nil {
		return out, fmt.Errorf("counts of task %s: %w", taskID, err)
	}
	for i := range counts {
		lines, err := readLines(ctx, tx, tenant, t, counts[i].Attempt)
		if err != nil {
			return out, err
		}
		for _, l := range lines {
			counts[i].Lines = append(counts[i].Lines, SeenLine{SKU: l.SKU, Lot: l.Lot, Status: l.Status, Expected: l.Expected, Counted: l.Counted, Found: l.Found, Missing: l.Missing})
		}
	}
	out.Counts = append(out.Counts, counts...)
	return out, nil
}
