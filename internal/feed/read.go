package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrUnknown is returned for an event that the tenant does not have.
var ErrUnknown = errors.New("no such event")

// Filter chooses events.
type Filter struct {
	After   string   // the id of the event after which the page begins; the oldest when empty
	Types   []string // all when empty
	Subject string   // a checkout's or order's id; all when empty
	Limit   int
}

// Page is some events, the oldest first.
type Page struct {
	Events []Event
	// After is the id from which the next page goes on. Nothing between the page's
	// last event and this one fits the filter; empty when there is no event yet.
	After string
	// More says that there are events after it now.
	More bool
}

// Read returns the events that fit, the oldest first. Following After from page to
// page sees each event that fits exactly once, whatever commits meanwhile.
// ErrUnknown for an id that is not the tenant's.
func Read(ctx context.Context, tx pgx.Tx, tenant string, f Filter) (Page, error) {
	from, err := positionOf(ctx, tx, tenant, f.After)
	if err != nil {
		return Page{}, err
	}
	// Where the stream ends is read first: what is published after that is for the
	// next page.
	end, endID := from, f.After
	err = tx.QueryRow(ctx, `SELECT position, id FROM public_events WHERE tenant = $1 ORDER BY position DESC LIMIT 1`, tenant).Scan(&end, &endID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Page{}, fmt.Errorf("end of the events of %s: %w", tenant, err)
	}
	rows, err := tx.Query(ctx, `SELECT id, type, created_at, data FROM public_events
	   WHERE tenant = $1 AND position > $2 AND position <= $3 AND ($4::text[] IS NULL OR type = ANY($4)) AND ($5 = '' OR subject = $5) ORDER BY position LIMIT $6`,
		tenant, from, end, f.Types, f.Subject, f.Limit+1)
	if err != nil {
		return Page{}, fmt.Errorf("events of %s: %w", tenant, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Event])
	if err != nil {
		return Page{}, fmt.Errorf("events of %s: %w", tenant, err)
	}
	if len(list) > f.Limit {
		list = list[:f.Limit]
		return Page{Events: list, After: list[f.Limit-1].ID, More: true}, nil
	}
	return Page{Events: list, After: endID}, nil
}

func positionOf(ctx context.Context, tx pgx.Tx, tenant, eventID string) (position int64, err error) {
	if eventID == "" {
		return 0, nil
	}
	err = tx.QueryRow(ctx, `SELECT position FROM public_events WHERE tenant = $1 AND id = $2`, tenant, eventID).Scan(&position)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("%w: %s", ErrUnknown, eventID)
	}
	if err != nil {
		return 0, fmt.Errorf("event %s: %w", eventID, err)
	}
	return position, nil
}
