package notice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/timeline"
)

// Statuses lists those of a notice.
var Statuses = []string{"queued", "sending", "sent", "failed", "suppressed"}

const (
	// leaseFor is how long a sender may work on what it has claimed; then another
	// takes it. sendFor is when it stops by itself, so that two never send the same
	// while both live.
	leaseFor = 5 * time.Minute
	sendFor  = 3 * time.Minute
	// lateAfter is when news are old: what was never tried by then is not sent, and
	// what was tried is given up.
	lateAfter = 72 * time.Hour
	// firstWait and longestWait bound the back-off between tries.
	firstWait   = 30 * time.Second
	longestWait = 4 * time.Hour
)

// Codes of what was not sent, beside those of servers and providers.
const (
	codeLate       = "too_late"     // nobody could send it for three days
	codeGaveUp     = "gave_up"      // three days of tries
	codeOff        = "switched_off" // by the tenant since
	codeNoServer   = "no_mail_server"
	codeNoProvider = "no_provider" // the tenant has no credentials for texts
	codeNoAddress  = "no_address"
	codeMoot       = "moot" // a later step was told of already
)

// claimed is a notice in a sender's hands.
type claimed struct {
	Tenant, ID, Subject string
	Kind                Kind
	Channel             Channel
	Data                Data
	// Attempts counts this one.
	Attempts int
	Late     bool
	lease    string
	// publicURL is the sender's.
	publicURL string
}

// claim takes up to n notices whose turn it is, those first that wait longest. A
// lease that has ended is somebody's who died: the notice may have been sent.
func claim(ctx context.Context, tx pgx.Tx, lease string, n int) ([]claimed, error) {
	rows, err := tx.Query(ctx, `WITH due AS (
	    SELECT tenant, id FROM notices WHERE status IN ('queued','sending') AND next_at <= now() ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED)
	  UPDATE notices n SET status = 'sending', lease = $1, attempts = attempts + 1, next_at = now() + $3::interval, updated_at = now()
	    FROM due WHERE n.tenant = due.tenant AND n.id = due.id
	  RETURNING n.tenant, n.id, n.subject, n.kind, n.channel, n.data, n.attempts, n.queued_at < now() - $4::interval`, lease, n, leaseFor, lateAfter)
	if err != nil {
		return nil, fmt.Errorf("claim notices: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (claimed, error) {
		c := claimed{lease: lease}
		var data []byte
		if err := row.Scan(&c.Tenant, &c.ID, &c.Subject, &c.Kind, &c.Channel, &data, &c.Attempts, &c.Late); err != nil {
			return c, err
		}
		return c, json.Unmarshal(data, &c.Data)
	})
	if err != nil {
		return nil, fmt.Errorf("claim notices: %w", err)
	}
	return list, nil
}

// end writes what became of a notice, if the lease is still this sender's.
func (c claimed) end(ctx context.Context, tx pgx.Tx, status, messageID, code string) (mine bool, err error) {
	tag, err := tx.Exec(ctx, `UPDATE notices SET status = $4, lease = '', next_at = NULL, message_id = $5, error = $6, updated_at = now(), sent_at = CASE WHEN $4 = 'sent' THEN now() END
	  WHERE tenant = $1 AND id = $2 AND lease = $3`, c.Tenant, c.ID, c.lease, status, messageID, code)
	if err != nil {
		return false, fmt.Errorf("notice %s is %s: %w", c.ID, status, err)
	}
	return tag.RowsAffected() == 1, nil
}

// fail gives a notice up and tells the order's timeline.
func (c claimed) fail(ctx context.Context, tx pgx.Tx, code string) error {
	mine, err := c.end(ctx, tx, "failed", "", code)
	if err != nil || !mine {
		return err
	}
	return timeline.Add(ctx, tx, c.Tenant, c.Subject, "notice_failed", "system", map[string]any{"notice_id": c.ID, "notice": c.Kind, "channel": c.Channel, "code": code, "attempts": c.Attempts})
}

// again puts a notice off: by wait where the other side has asked for it, else
// longer with each try, and never all at the same moment.
func (c claimed) again(ctx context.Context, tx pgx.Tx, code string, wait time.Duration) error {
	if wait == 0 {
		wait = min(firstWait<<min(c.Attempts-1, 20), longestWait)
	}
	_, err := tx.Exec(ctx, `UPDATE notices SET status = 'queued', lease = '', next_at = now() + $4::interval * (0.9 + 0.2 * random()), error = $5, updated_at = now() WHERE tenant = $1 AND id = $2 AND lease = $3`,
		c.Tenant, c.ID, c.lease, wait, code)
	if err != nil {
		return fmt.Errorf("notice %s is put off: %w", c.ID, err)
	}
	return nil
}

// untouched gives a notice back that this sender did not come to.
func (c claimed) untouched(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE notices SET status = 'queued', lease = '', attempts = attempts - 1, next_at = now(), updated_at = now() WHERE tenant = $1 AND id = $2 AND lease = $3`, c.Tenant, c.ID, c.lease)
	if err != nil {
		return fmt.Errorf("notice %s is given back: %w", c.ID, err)
	}
	return nil
}

// Resource is a notice as the API shows it. It has no address.
type Resource struct {
	ID string `json:"id"`
	// OrderID is the order's, or the checkout's when it became none.
	OrderID  string  `json:"order_id"`
	Kind     Kind    `json:"kind"`
	Channel  Channel `json:"channel"`
	Status   string  `json:"status"`
	Attempts int     `json:"attempts"`
	// Error is why it was not sent, or not yet: a code.
	Error *string `json:"error"`
	// MessageID is the mail's, or the provider's name for the text.
	MessageID *string `json:"message_id"`
	// NextAt is when it is tried next.
	NextAt    *time.Time `json:"next_at"`
	CreatedAt time.Time  `json:"created_at"`
	SentAt    *time.Time `json:"sent_at"`
}

// Filter narrows a list; empty fields do not.
type Filter struct {
	OrderID, Status string
	// Before is the id of the last of the page before.
	Before string
	Limit  int
}

const columns = `SELECT id, subject, kind, channel, status, attempts, nullif(error, ''), nullif(message_id, ''), next_at, created_at, sent_at FROM notices WHERE tenant = $1`

// List reads a page of notices, the newest first.
func List(ctx context.Context, tx pgx.Tx, tenantID string, f Filter) ([]Resource, error) {
	sql, args := f.statement(tenantID)
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("notices: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Resource])
	if err != nil {
		return nil, fmt.Errorf("notices: %w", err)
	}
	return list, nil
}

// statement leaves out what is not asked for, so that each question finds its index.
func (f Filter) statement(tenantID string) (sql string, args []any) {
	sql, args = columns, []any{tenantID}
	for _, c := range []struct{ condition, value string }{{"subject = ", f.OrderID}, {"status = ", f.Status}, {"id < ", f.Before}} {
		if c.value != "" {
			args = append(args, c.value)
			sql += " AND " + c.condition + "$" + strconv.Itoa(len(args))
		}
	}
	args = append(args, f.Limit)
	return sql + " ORDER BY id DESC LIMIT $" + strconv.Itoa(len(args)), args
}

// Resend queues a notice again that was given up or suppressed, as if it were new.
// 404 for another tenant's, 409 notice_not_failed for one that waits or was sent.
func Resend(ctx context.Context, tx pgx.Tx, tenantID, noticeID, by string) (Resource, error) {
	tag, err := tx.Exec(ctx, `UPDATE notices SET status = 'queued', attempts = 0, queued_at = now(), next_at = now(), error = '', updated_at = now() WHERE tenant = $1 AND id = $2 AND status IN ('failed','suppressed')`, tenantID, noticeID)
	if err != nil {
		return Resource{}, fmt.Errorf("resend notice %s: %w", noticeID, err)
	}
	rows, err := tx.Query(ctx, columns+` AND id = $2`, tenantID, noticeID)
	if err != nil {
		return Resource{}, fmt.Errorf("notice %s: %w", noticeID, err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Resource])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return n, problem.Missing("notice")
	case err != nil:
		return n, fmt.Errorf("notice %s: %w", noticeID, err)
	case tag.RowsAffected() == 0:
		return n, problem.New(problem.Conflict, "notice_not_failed", "The notice is "+n.Status+": only one that failed or was suppressed is sent again.").With("current", n)
	}
	return n, timeline.Add(ctx, tx, tenantID, n.OrderID, "notice_queued_again", by, map[string]any{"notice_id": n.ID, "notice": n.Kind, "channel": n.Channel})
}
