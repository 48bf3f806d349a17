package workers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/feed"
	"justlogistics/internal/postgres"
	"justlogistics/internal/webhook"
)

const (
	eventsIdle = 500 * time.Millisecond
	// unsentFor is the pause after a try that was not made by our own fault.
	unsentFor = time.Minute
)

// feedLoop publishes what the timelines have for storefronts. It needs no
// Temporal, and any number of workers may run it.
type feedLoop struct {
	db  *postgres.DB
	log *slog.Logger
}

func (l *feedLoop) run(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := l.round(ctx)
		if err != nil && ctx.Err() == nil {
			l.log.Warn("events: will be published later", "error", err)
		}
		if n > 0 && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(eventsIdle):
		}
	}
}

// round publishes a batch of each tenant that has something, and reports how
// many entries were looked at. A tenant that fails keeps no other from it.
func (l *feedLoop) round(ctx context.Context) (looked int, err error) {
	var tenants []string
	err = l.db.AsSystem(ctx, func(tx pgx.Tx) (err error) {
		tenants, err = feed.Waiting(ctx, tx)
		return err
	})
	failed := []error{err}
	for _, t := range tenants {
		var n int
		failed = append(failed, l.db.AsSystem(ctx, func(tx pgx.Tx) (err error) {
			n, err = feed.Publish(ctx, tx, t)
			return err
		}))
		looked += n
	}
	return looked, errors.Join(failed...)
}

// deliveryLoop makes the calls to the tenants' endpoints.
type deliveryLoop struct {
	db     *postgres.DB
	sender *webhook.Sender
	log    *slog.Logger
	calls  sync.WaitGroup
	// ended wakes the loop after a call, since its endpoint may have more.
	ended chan struct{}
}

func newDeliveryLoop(db *postgres.DB, sender *webhook.Sender, log *slog.Logger) *deliveryLoop {
	return &deliveryLoop{db: db, sender: sender, log: log, ended: make(chan struct{}, 1)}
}

// run claims and calls until ctx ends. Calls that are under way then are cut off
// and given back: they may have arrived, and are made again under the same id.
func (l *deliveryLoop) run(ctx context.Context) {
	defer l.calls.Wait()
	slots := make(chan struct{}, webhook.Together)
	for ctx.Err() == nil {
		n, err := l.round(ctx, slots)
		if err != nil && ctx.Err() == nil {
			l.log.Warn("deliveries: will be tried later", "error", err)
		}
		if n > 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-l.ended:
		case <-time.After(eventsIdle):
		}
	}
}

// round claims as many deliveries as there are slots and begins the calls.
func (l *deliveryLoop) round(ctx context.Context, slots chan struct{}) (int, error) {
	n := cap(slots) - len(slots)
	if n == 0 {
		return 0, nil
	}
	var claimed []webhook.Claimed
	err := l.db.AsSystem(ctx, func(tx pgx.Tx) (err error) {
		claimed, err = webhook.Claim(ctx, tx, n)
		return err
	})
	for _, c := range claimed {
		slots <- struct{}{}
		l.calls.Go(func() {
			l.call(ctx, c)
			<-slots
			select {
			case l.ended <- struct{}{}:
			default:
			}
		})
	}
	return len(claimed), err
}

// call makes one call and writes down how it ended. What can't be written lapses
// with its lease and is called again.
func (l *deliveryLoop) call(ctx context.Context, c webhook.Claimed) {
	result, err := l.sender.Send(ctx, c)
	stopping := ctx.Err() != nil
	record, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err != nil && !stopping {
		l.log.Error("an event was not sent", "tenant", c.Tenant, "endpoint_id", c.EndpointID, "event_id", c.EventID, "error", err)
	}
	if failed := l.db.InTenant(record, c.Tenant, func(tx pgx.Tx) error {
		switch {
		case err != nil && stopping:
			return webhook.Release(record, tx, c, 0)
		case err != nil:
			return webhook.Release(record, tx, c, unsentFor)
		}
		return webhook.Record(record, tx, c, result)
	}); failed != nil {
		l.log.Warn("a delivery was not recorded and is made again", "tenant", c.Tenant, "endpoint_id", c.EndpointID, "event_id", c.EventID, "error", failed)
	}
}
