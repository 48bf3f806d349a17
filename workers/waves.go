package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/postgres"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/picking"
)

const (
	// wavesIdle is how often it is looked whether a wave is due: its rule counts minutes.
	wavesIdle = 3 * time.Second
	// wavesWithin bounds one warehouse's wave, whose stock is locked meanwhile.
	wavesWithin = 30 * time.Second
)

// waveLoop makes the waves that begin by themselves. Each worker has one: who is first in
// a warehouse makes its wave, and the others find nothing that is due any more.
type waveLoop struct {
	db  *postgres.DB
	log *slog.Logger
}

func (l *waveLoop) run(ctx context.Context) {
	for ctx.Err() == nil {
		if _, err := l.round(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("waves: will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wavesIdle):
		}
	}
}

// round makes what is due in every warehouse and reports how many waves there are. One
// that fails holds up no other.
func (l *waveLoop) round(ctx context.Context) (made int, err error) {
	var places []picking.Place
	err = l.db.AsSystem(ctx, func(tx pgx.Tx) (err error) {
		places, err = picking.Automatic(ctx, tx)
		return err
	})
	if err != nil {
		return 0, err
	}
	var failed []error
	for _, at := range places {
		began, err := l.release(ctx, at)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s of %s: %w", at.Warehouse, at.Tenant, err))
		}
		if began {
			made++
		}
	}
	return made, errors.Join(failed...)
}

func (l *waveLoop) release(ctx context.Context, at picking.Place) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, wavesWithin)
	defer cancel()
	var wave picking.Released
	err = l.db.InTenant(ctx, at.Tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, at.Tenant)
		if err != nil {
			return err
		}
		wave, made, err = picking.ReleaseDue(ctx, tx, shop, at.Warehouse)
		return err
	})
	if err != nil {
		return false, err
	}
	if made {
		l.log.Info("a wave began by itself", "tenant", at.Tenant, "warehouse", at.Warehouse, "wave", wave.ID, "lists", len(wave.Lists))
	}
	return made, nil
}
