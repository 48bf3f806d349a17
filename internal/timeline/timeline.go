// Package timeline is the log of everything that happened to a checkout, its
// order or a reservation, in the order in which it was recorded.
package timeline

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/feed"
)

// Event is one entry. Data holds ids, amounts and codes, no personal data.
type Event struct {
	Seq   int64          `json:"-"` // later events have higher ones
	Kind  string         `json:"kind"`
	At    time.Time      `json:"at"`
	Actor string         `json:"actor"`
	Data  map[string]any `json:"data,omitempty"`
}

// Add appends an event in the caller's transaction, so that it stands exactly
// when what it tells has happened. What the feed tells outside is published
// afterwards, by others.
func Add(ctx context.Context, tx pgx.Tx, tenant, subject, kind, actor string, data map[string]any) error {
	if data == nil {
		data = map[string]any{}
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("event %s: %w", kind, err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO events (tenant, subject, kind, actor, data, outbound) VALUES ($1,$2,$3,$4,$5,$6)`, tenant, subject, kind, actor, raw, feed.Public(kind)); err != nil {
		return fmt.Errorf("event %s of %s: %w", kind, subject, err)
	}
	return nil
}

// Of reads a subject's events, oldest first.
func Of(ctx context.Context, tx pgx.Tx, tenant, subject string) ([]Event, error) {
	return read(ctx, tx, `SELECT seq, kind, created_at, actor, data FROM events WHERE tenant = $1 AND subject = $2 ORDER BY seq`, tenant, subject)
}

// Newest reads up to n of a subject's events, newest first, those before the one
// with seq before; 0 begins with the newest.
func Newest(ctx context.Context, tx pgx.Tx, tenant, subject string, before int64, n int) ([]Event, error) {
	return read(ctx, tx, `SELECT seq, kind, created_at, actor, data FROM events WHERE tenant = $1 AND subject = $2 AND ($3 = 0 OR seq < $3) ORDER BY seq DESC LIMIT $4`, tenant, subject, before, n)
}

func read(ctx context.Context, tx pgx.Tx, query, tenant, subject string, more ...any) ([]Event, error) {
	rows, err := tx.Query(ctx, query, append([]any{tenant, subject}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("timeline of %s: %w", subject, err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Event, error) {
		var e Event
		var raw []byte
		if err := row.Scan(&e.Seq, &e.Kind, &e.At, &e.Actor, &raw); err != nil {
			return e, err
		}
		return e, json.Unmarshal(raw, &e.Data)
	})
}
