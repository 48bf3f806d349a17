package counting

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// approvalPatience is how long a difference waits for approval before somebody
// is asked for it.
const approvalPatience = 4 * time.Hour

// lookEvery is the longest that a count's run sleeps.
const lookEvery = time.Hour

// View is a count as its run sees it.
type View struct {
	Over      bool   `json:"over"` // done or cancelled: nothing is left to do
	Warehouse string `json:"warehouse"`
	Total     int    `json:"total"`
	Left      int    `json:"left"` // bins that wait for a counter
	Waiting   int    `json:"waiting"`
	// Which names some bins that wait for approval, the first ones.
	Which string `json:"which,omitempty"`
	// PastDue: bins are left after the time by which all should be counted.
	// Unapproved: a difference waits longer than anybody should wait.
	PastDue    bool `json:"past_due"`
	Unapproved bool `json:"unapproved"`
	// NextSeconds is when to look again.
	NextSeconds int `json:"next_seconds"`
}

// Look tells how far a count is, closes it when nothing is left, and notes that
// its run is at work: the row is late when that has not looked for twice the
// time that it was told to sleep.
func Look(ctx context.Context, tx pgx.Tx, tenant, countID string) (View, error) {
	var v View
	var status string
	var now, completeBy, rest time.Time
	err := tx.QueryRow(ctx, `SELECT status, warehouse, now(), complete_by, coalesce(approvals_rest, created_at) FROM counts WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenant, countID).
		Scan(&status, &v.Warehouse, &now, &completeBy, &rest)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, problem.Missing("count")
	}
	if err != nil {
		return v, fmt.Errorf("count %s: %w", countID, err)
	}
	if status != "open" {
		v.Over = true
		return v, nil
	}
	var oldest *time.Time
	var which []string
	err = tx.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE status IN ('open','counting','recount')), count(*) FILTER (WHERE status = 'awaiting_approval'), min(waits_since),
	    (array_agg(bin ORDER BY waits_since, bin) FILTER (WHERE status = 'awaiting_approval'))[1:3] FROM count_tasks WHERE tenant = $1 AND count_id = $2`, tenant, countID).Scan(&v.Total, &v.Left, &v.Waiting, &oldest, &which)
	if err != nil {
		return v, fmt.Errorf("tasks of count %s: %w", countID, err)
	}
	if v.Left+v.Waiting == 0 {
		v.Over = true
		_, err := tx.Exec(ctx, `UPDATE counts SET status = 'done', due_at = NULL, ended_at = now(), watched = true WHERE tenant = $1 AND id = $2`, tenant, countID)
		if err != nil {
			return v, fmt.Errorf("end count %s: %w", countID, err)
		}
		return v, nil
	}
	v.Which = strings.Join(which, ", ")
	v.plan(now, completeBy, rest, oldest)
	_, err = tx.Exec(ctx, `UPDATE counts SET watched = true, due_at = now() + make_interval(secs => $3) WHERE tenant = $1 AND id = $2`, tenant, countID, 2*v.NextSeconds+60)
	if err != nil {
		return v, fmt.Errorf("count %s: %w", countID, err)
	}
	return v, nil
}

// plan says what is late and when to look again.
func (v *View) plan(now, completeBy, rest time.Time, oldest *time.Time) {
	next := lookEvery
	if v.Left > 0 {
		if v.PastDue = !now.Before(completeBy); !v.PastDue {
			next = min(next, completeBy.Sub(now))
		}
	}
	if oldest != nil {
		until := oldest.Add(approvalPatience)
		if rest.After(until) {
			until = rest
		}
		if v.Unapproved = !now.Before(until); !v.Unapproved {
			next = min(next, until.Sub(now))
		}
	}
	v.NextSeconds = int(max(next, time.Second).Round(time.Second).Seconds())
}

// Extend gives a count a day more: to be counted, or with approvals to be
// approved, before anybody is asked again.
func Extend(ctx context.Context, tx pgx.Tx, tenant, countID string, approvals bool) error {
	set := `complete_by = now() + interval '1 day'`
	if approvals {
		set = `approvals_rest = now() + interval '1 day'`
	}
	_, err := tx.Exec(ctx, `UPDATE counts SET `+set+` WHERE tenant = $1 AND id = $2 AND status = 'open'`, tenant, countID)
	if err != nil {
		return fmt.Errorf("extend count %s: %w", countID, err)
	}
	return nil
}

// Cancel ends a count: its open tasks are cancelled, what was counted stays.
// Cancelling again changes nothing; it is 409 count_over when the count is done.
func Cancel(ctx context.Context, tx pgx.Tx, tenant, countID string) error {
	var status string
	err := tx.QueryRow(ctx, `SELECT status FROM counts WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenant, countID).Scan(&status)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return problem.Missing("count")
	case err != nil:
		return fmt.Errorf("count %s: %w", countID, err)
	case status == "cancelled":
		return nil
	case status == "done":
		return problem.New(problem.Conflict, "count_over", "The count is done.")
	}
	b := &pgx.Batch{}
	b.Queue(`UPDATE count_tasks SET status = 'cancelled', person = '', began_at = NULL, waits_since = NULL, version = version + 1, updated_at = now(), ended_at = now()
	  WHERE tenant = $1 AND count_id = $2 AND status NOT IN ('done','cancelled')`, tenant, countID)
	b.Queue(`UPDATE counts SET status = 'cancelled', due_at = NULL, ended_at = now(), watched = true WHERE tenant = $1 AND id = $2`, tenant, countID)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("cancel count %s: %w", countID, err)
	}
	return nil
}
