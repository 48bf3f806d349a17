package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/carriers"
	"justlogistics/internal/postgres"
	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
)

const (
	trackingIdle  = 500 * time.Millisecond
	trackingBatch = 200
	// trackingLease is how long a batch belongs to one worker.
	trackingLease = 2 * time.Minute
	// trackingWithin bounds the questions of a batch, trackingAtOnce those under way.
	trackingWithin = 90 * time.Second
	trackingAtOnce = 8
)

// trackingLoop asks one carrier about parcels: many at once, each at its own pace, and no
// run is told before something has happened that it must act on.
type trackingLoop struct {
	db       *postgres.DB
	carriers *carriers.Registry
	// carrier is whom this loop asks: one that hangs holds up no other.
	carrier shipping.Name
	pace    shipping.Pace
	log     *slog.Logger
}

func (l *trackingLoop) run(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := l.round(ctx)
		if err != nil && ctx.Err() == nil {
			l.log.Warn("tracking: will be tried again", "error", err)
		}
		if n < trackingBatch {
			select {
			case <-ctx.Done():
			case <-time.After(trackingIdle):
			}
		}
	}
}

// account is one tenant's at one carrier.
type account struct {
	tenant  string
	carrier shipping.Name
}

// round asks about one batch and reports how many parcels it had.
func (l *trackingLoop) round(ctx context.Context) (int, error) {
	var due []shipping.Followed
	err := l.db.AsSystem(ctx, func(tx pgx.Tx) (err error) {
		due, err = shipping.ClaimFollowed(ctx, tx, l.carrier, trackingBatch, trackingLease)
		return err
	})
	if err != nil || len(due) == 0 {
		return 0, err
	}
	of := map[account][]shipping.Followed{}
	for _, f := range due {
		a := account{f.Tenant, f.Carrier}
		of[a] = append(of[a], f)
	}
	ctx, cancel := context.WithTimeout(ctx, trackingWithin)
	defer cancel()
	var mu sync.Mutex
	var failed []error
	var asking sync.WaitGroup
	room := make(chan struct{}, trackingAtOnce)
	for a, list := range of {
		c, err := l.carriers.Carrier(ctx, a.tenant, a.carrier)
		if err != nil {
			err = l.postpone(ctx, list, err)
			mu.Lock() // others are being asked already
			failed = append(failed, err)
			mu.Unlock()
			continue
		}
		for chunk := range slices.Chunk(list, max(1, c.Capabilities().TrackAtOnce)) {
			room <- struct{}{}
			asking.Go(func() {
				defer func() { <-room }()
				if err := l.ask(ctx, c, chunk); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			})
		}
	}
	asking.Wait()
	return len(due), errors.Join(failed...)
}

// ask asks a carrier about some parcels and keeps what it says.
func (l *trackingLoop) ask(ctx context.Context, c shipping.Carrier, list []shipping.Followed) error {
	numbers := make([]string, 0, len(list))
	for _, f := range list {
		numbers = append(numbers, f.Tracking)
	}
	tracks, err := c.Track(ctx, numbers)
	if err != nil {
		return l.postpone(ctx, list, err)
	}
	var failed []error
	for _, f := range list {
		if err := l.keep(ctx, f, tracks[f.Tracking]); err != nil {
			failed = append(failed, fmt.Errorf("parcel %s of %s: %w", f.ParcelID, f.Carrier, err))
		}
	}
	return errors.Join(failed...)
}

func (l *trackingLoop) keep(ctx context.Context, f shipping.Followed, t shipping.Track) error {
	return l.db.InTenant(ctx, f.Tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, f.Tenant)
		if err != nil {
			return err
		}
		if f.ReturnID != "" {
			return returns.Heard(ctx, tx, shop, f, t, l.pace)
		}
		return f.Heard(ctx, tx, shop, t, l.pace)
	})
}

// postpone leaves parcels to a later round whose carrier did not answer, and says why.
func (l *trackingLoop) postpone(ctx context.Context, list []shipping.Followed, why error) error {
	failed := []error{fmt.Errorf("%s of %s about %d parcels: %w", list[0].Carrier, list[0].Tenant, len(list), why)}
	for _, f := range list {
		failed = append(failed, l.db.InTenant(context.WithoutCancel(ctx), f.Tenant, func(tx pgx.Tx) error { return f.Postpone(ctx, tx, l.pace) }))
	}
	return errors.Join(failed...)
}
