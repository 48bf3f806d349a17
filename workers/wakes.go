package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"justlogistics/internal/postgres"
	"justlogistics/workflows"
)

const (
	wakesIdle  = 150 * time.Millisecond
	wakesBatch = 100
	// wakesAtOnce is how many runs are told at the same time.
	wakesAtOnce = 8
	// wakesWithin bounds a batch, whose rows are locked meanwhile.
	wakesWithin = 10 * time.Second
)

// wakeLoop tells runs that their rows have changed. The word is written in the
// transaction of the change and goes when Temporal has it: a process that dies between
// leaves it to the next one, and while Temporal is away all of it waits here.
type wakeLoop struct {
	db       *postgres.DB
	temporal client.Client
	log      *slog.Logger
}

func (l *wakeLoop) run(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := l.round(ctx)
		if err != nil && ctx.Err() == nil {
			l.log.Warn("runs that are to be told: will be tried again", "error", err)
		}
		if n < wakesBatch || err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(wakesIdle):
			}
		}
	}
}

// wake is a run that is to be told, once for all the changes of its row.
type wake struct {
	Tenant, Kind, Subject string
	IDs                   []int64
}

// round tells one batch and reports how many words it took off the list.
func (l *wakeLoop) round(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, wakesWithin)
	defer cancel()
	told := 0
	err := l.db.AsSystem(ctx, func(tx pgx.Tx) error {
		told = 0
		rows, err := tx.Query(ctx, `WITH next AS (SELECT id, tenant, kind, subject FROM wakes ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
		  SELECT tenant, kind, subject, array_agg(id) FROM next GROUP BY tenant, kind, subject ORDER BY min(id)`, wakesBatch)
		if err != nil {
			return fmt.Errorf("runs that are to be told: %w", err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[wake])
		if err != nil {
			return fmt.Errorf("runs that are to be told: %w", err)
		}
		done, failed := l.tellAll(ctx, list)
		if len(done) > 0 {
			if _, err := tx.Exec(context.WithoutCancel(ctx), `DELETE FROM wakes WHERE id = ANY($1)`, done); err != nil {
				return fmt.Errorf("runs that were told: %w", err)
			}
		}
		told = len(done)
		if len(failed) > 0 {
			l.log.Warn("runs that are to be told: will be tried again", "error", errors.Join(failed...))
		}
		return nil
	})
	return told, err
}

// tellAll tells several runs at once, since each answer is waited for, and returns which
// words were told. What fails is that run's trouble: nobody else waits for it, unless
// Temporal is away.
func (l *wakeLoop) tellAll(ctx context.Context, list []wake) (done []int64, failed []error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	gone, places := false, make(chan struct{}, wakesAtOnce)
	for _, w := range list {
		places <- struct{}{}
		mu.Lock()
		stop := gone
		mu.Unlock()
		if stop {
			break
		}
		all.Go(func() {
			defer func() { <-places }()
			err := l.tell(ctx, w)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done = append(done, w.IDs...)
				return
			}
			failed, gone = append(failed, err), gone || away(err)
		})
	}
	all.Wait()
	return done, failed
}

// away reports whether Temporal answers nobody now, or too slowly.
func away(err error) bool {
	var unavailable *serviceerror.Unavailable
	var late *serviceerror.DeadlineExceeded
	return errors.As(err, &unavailable) || errors.As(err, &late) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func (l *wakeLoop) tell(ctx context.Context, w wake) error {
	switch w.Kind {
	case workflows.KindFulfillment:
		return workflows.Wake(ctx, l.temporal, w.Tenant, w.Subject)
	case workflows.KindReturn:
		return workflows.WakeReturn(ctx, l.temporal, w.Tenant, w.Subject)
	case workflows.KindRefund:
		return workflows.WakeRefund(ctx, l.temporal, w.Tenant, w.Subject)
	case workflows.KindShortage:
		return workflows.WakeShortage(ctx, l.temporal, w.Tenant, w.Subject)
	}
	return workflows.Restart(ctx, l.temporal, w.Kind, w.Tenant, w.Subject, false)
}
