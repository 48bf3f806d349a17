// Package feed tells a tenant's storefront what happened: the public part of the
// timelines as one stream per tenant, in an order that can be followed and never
// changes.
//
// Transactions commit out of order, so the order of the timeline's rows is not
// one to follow: a reader that has seen the row 7 may have missed 6, which is not
// committed yet. So positions are given afterwards, by one writer per tenant at a
// time (Publish), to what is committed. Whoever sees an event sees all that come
// before it, and no event is ever put before one that was seen.
package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
)

// Event is what a storefront is told. It holds ids, numbers, codes and amounts
// (minor units) and no personal data; its JSON is the body of a webhook too, the
// same at each try.
type Event struct {
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	Timestamp time.Time      `json:"timestamp"` // when it happened, UTC
	Data      map[string]any `json:"data"`
}

// batch is how many entries one transaction publishes.
const batch = 200

// Waiting lists tenants that have something to publish. tx is the system's.
func Waiting(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT tenant FROM events WHERE outbound ORDER BY tenant`)
	if err != nil {
		return nil, fmt.Errorf("tenants with events to publish: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("tenants with events to publish: %w", err)
	}
	return list, nil
}

// Publish gives positions to some of a tenant's entries that wait, and makes the
// deliveries of each to the endpoints that want it, all in the caller's
// transaction: what is undone is published by the next one, under other ids. It
// reports how many entries it looked at; none when another writer is at it. tx is
// the system's.
func Publish(ctx context.Context, tx pgx.Tx, tenant string) (looked int, err error) {
	position, free, err := lock(ctx, tx, tenant)
	if err != nil || !free {
		return 0, err
	}
	entries, err := waiting(ctx, tx, tenant)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	out := columns{}
	for _, e := range entries {
		out.seen = append(out.seen, e.Seq)
		typ, data, ok := e.tell()
		if !ok {
			continue
		}
		raw, err := json.Marshal(data)
		if err != nil {
			return 0, fmt.Errorf("event %d of %s: %w", e.Seq, tenant, err)
		}
		position++
		out.add(position, e.Seq, typ, string(raw))
	}
	if err := out.write(ctx, tx, tenant, position); err != nil {
		return 0, fmt.Errorf("publish events of %s: %w", tenant, err)
	}
	return len(entries), nil
}

// lock makes the caller the only writer of a tenant's positions.
func lock(ctx context.Context, tx pgx.Tx, tenant string) (position int64, free bool, err error) {
	const take = `SELECT position FROM feeds WHERE tenant = $1 FOR UPDATE SKIP LOCKED`
	err = tx.QueryRow(ctx, take, tenant).Scan(&position)
	if errors.Is(err, pgx.ErrNoRows) {
		// The tenant's first event, or another writer has the row, for which an
		// insert would wait.
		if _, err := tx.Exec(ctx, `INSERT INTO feeds (tenant) SELECT $1 WHERE NOT EXISTS (SELECT FROM feeds WHERE tenant = $1) ON CONFLICT DO NOTHING`, tenant); err != nil {
			return 0, false, fmt.Errorf("feed of %s: %w", tenant, err)
		}
		err = tx.QueryRow(ctx, take, tenant).Scan(&position)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("feed of %s: %w", tenant, err)
	}
	return position, true, nil
}

// waiting reads entries in the order in which they were recorded. Of two changes
// to one thing the second sees the first, so it is recorded and committed later.
func waiting(ctx context.Context, tx pgx.Tx, tenant string) ([]entry, error) {
	rows, err := tx.Query(ctx, `SELECT e.seq, e.subject, e.kind, e.data, c.id IS NOT NULL, o.id IS NOT NULL, coalesce(o.number, c.number, ''), coalesce(o.currency, c.currency, '')
	   FROM events e LEFT JOIN orders o ON o.tenant = e.tenant AND o.id = e.subject LEFT JOIN checkouts c ON c.tenant = e.tenant AND c.id = e.subject
	  WHERE e.tenant = $1 AND e.outbound ORDER BY e.seq LIMIT $2`, tenant, batch)
	if err != nil {
		return nil, fmt.Errorf("events of %s to publish: %w", tenant, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[entry])
	if err != nil {
		return nil, fmt.Errorf("events of %s to publish: %w", tenant, err)
	}
	return list, nil
}

// columns are public events as the arrays of one statement.
type columns struct {
	seen       []int64
	positions  []int64
	seqs       []int64
	ids, types []string
	data       []string
}

func (c *columns) add(position, seq int64, typ, data string) {
	c.positions = append(c.positions, position)
	c.seqs = append(c.seqs, seq)
	c.ids = append(c.ids, id.New())
	c.types = append(c.types, typ)
	c.data = append(c.data, data)
}

func (c *columns) write(ctx context.Context, tx pgx.Tx, tenant string, position int64) error {
	b := &pgx.Batch{}
	if len(c.ids) > 0 {
		b.Queue(`INSERT INTO public_events (tenant, position, id, seq, type, subject, data, created_at)
		  SELECT $1, n.position, n.id, n.seq, n.type, e.subject, n.data::jsonb, e.created_at FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[]) AS n (position, id, seq, type, data)
		    JOIN events e ON e.tenant = $1 AND e.seq = n.seq`, tenant, c.positions, c.ids, c.seqs, c.types, c.data)
		// Locked, so that one which is disabled at this moment gets nothing afterwards.
		b.Queue(`WITH wants AS (SELECT id, types FROM event_endpoints WHERE tenant = $1 AND status <> 'disabled' ORDER BY id FOR SHARE)
		  INSERT INTO event_deliveries (tenant, endpoint_id, event_id, position)
		  SELECT $1, w.id, n.id, n.position FROM wants w, unnest($2::bigint[], $3::text[], $4::text[]) AS n (position, id, type) WHERE w.types = '{}' OR n.type = ANY(w.types)`, tenant, c.positions, c.ids, c.types)
		b.Queue(`UPDATE feeds SET position = $2 WHERE tenant = $1`, tenant, position)
	}
	b.Queue(`UPDATE events SET outbound = false WHERE tenant = $1 AND seq = ANY($2)`, tenant, c.seen)
	return tx.SendBatch(ctx, b).Close()
}
