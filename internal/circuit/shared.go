package circuit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/postgres"
	"justlogistics/internal/timeline"
)

const (
	// sharedFor is how long the state that was read last is used.
	sharedFor = time.Second
	// retryRead is how long nobody waits for it to be read after that failed.
	retryRead = 3 * time.Second
	// tellIn bounds what is written while nobody waits.
	tellIn = 2 * time.Second
)

// shared is what all processes together know of the providers. Each tells how
// its calls ended, failures at once and the rest within a second; every change
// of a circuit is one conditional update, so that one process makes it and
// records it in the timeline of <kind>:<name> in the same transaction.
//
// The tables and their column are called after gateways, which had circuits
// first; every kind of provider stands in them. A name belongs to one kind, so
// that no two meet in a row. Another name for the tables would need a migration
// that the build which serves meanwhile does not survive.
type shared struct {
	db   *postgres.DB
	o    Options
	log  *slog.Logger
	work sync.WaitGroup

	mu      sync.Mutex
	known   map[Key]Circuit // those that are not closed
	until   time.Time       // when known is to be read again
	usable  bool            // known could be read
	reading bool
	unsent  map[Key]*unsent
	closed  bool
}

// unsent are calls of which the others have not been told.
type unsent struct {
	calls, failures int
	sending         bool
	timer           *time.Timer
}

func newShared(o Options) *shared {
	return &shared{db: o.DB, o: o, log: o.Logger, unsent: map[Key]*unsent{}}
}

const columns = `tenant, gateway, state, changed_at, CASE WHEN state <> 'closed' THEN greatest(extract(epoch FROM greatest(probe_after, probe_until) - now()), 0)::float8 END, times_opened, times_half_opened, times_closed`

func scan(row pgx.CollectableRow) (c Circuit, err error) {
	var wait *float64
	if err := row.Scan(&c.Tenant, &c.Name, &c.State, &c.Since, &wait, &c.Opened, &c.HalfOpened, &c.Closed); err != nil {
		return c, err
	}
	if wait != nil { // by the database's clock, which need not be ours
		c.RetryAt = time.Now().Add(time.Duration(*wait * float64(time.Second))).UTC()
	}
	return c, nil
}

// OfTenant reads the circuits of one tenant, of every kind, by name; a provider
// that was never used has none.
func OfTenant(ctx context.Context, tx pgx.Tx, tenant string) (map[string]Standing, error) {
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM gateway_circuits WHERE tenant = $1`, tenant)
	if err != nil {
		return nil, fmt.Errorf("circuits: %w", err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("circuits: %w", err)
	}
	out := map[string]Standing{}
	for _, c := range list {
		out[c.Name] = c.Standing
	}
	return out, nil
}

func (s *shared) all(ctx context.Context) ([]Circuit, error) {
	return s.read(ctx, `SELECT `+columns+` FROM gateway_circuits WHERE gateway = ANY($1)`)
}

// read runs a query over all tenants' circuits of this kind.
func (s *shared) read(ctx context.Context, query string) (out []Circuit, err error) {
	err = s.db.AsSystem(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query, s.o.Names)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scan)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("circuits: %w", err)
	}
	return out, nil
}

// look is a circuit as of at most a second ago; ok is false when that cannot be
// had now. One query a second and process is enough for all circuits of a kind: closed
// ones are not read.
func (s *shared) look(ctx context.Context, k Key) (c Circuit, ok bool) {
	s.mu.Lock()
	if !s.reading && !time.Now().Before(s.until) {
		s.reading = true
		s.mu.Unlock()
		s.refresh(ctx)
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	c, found := s.known[k]
	if !found {
		c = Circuit{Tenant: k.Tenant, Name: k.Name, Standing: Standing{State: Closed}}
	}
	return c, s.usable
}

func (s *shared) refresh(ctx context.Context) {
	// The reading is for others too: it does not end with its caller.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.ReadWithin)
	defer cancel()
	list, err := s.read(ctx, `SELECT `+columns+` FROM gateway_circuits WHERE state <> 'closed' AND gateway = ANY($1)`)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	if err != nil {
		if s.usable {
			s.log.Warn("circuits of "+s.o.Kind+"s can't be read: this process judges alone", "error", err)
		}
		s.usable, s.until = false, time.Now().Add(retryRead)
		return
	}
	s.known = map[Key]Circuit{}
	for _, c := range list {
		s.known[Key{c.Tenant, c.Name}] = c
	}
	s.usable, s.until = true, time.Now().Add(sharedFor)
}

// learn keeps what a statement of our own has told.
func (s *shared) learn(c Circuit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		return // nothing was read yet
	}
	if c.State == Closed {
		delete(s.known, Key{c.Tenant, c.Name})
		return
	}
	s.known[Key{c.Tenant, c.Name}] = c
}

// count notes a call, to be told to the others: a failure at once, since it may
// open the circuit, the rest together within a second.
func (s *shared) count(k Key, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	u := s.unsent[k]
	if u == nil {
		u = &unsent{}
		s.unsent[k] = u
	}
	u.calls++
	if failed {
		u.failures++
	}
	_, notClosed := s.known[k]
	switch {
	case u.sending:
	case failed && !notClosed:
		s.send(k, u)
	case u.timer == nil:
		u.timer = time.AfterFunc(sharedFor, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if u.timer = nil; !u.sending && !s.closed {
				s.send(k, u)
			}
		})
	}
}

// send tells the calls of u, and those that come meanwhile. The caller holds
// the lock.
func (s *shared) send(k Key, u *unsent) {
	u.sending = true
	s.work.Go(func() {
		for {
			s.mu.Lock()
			calls, failures := u.calls, u.failures
			u.calls, u.failures = 0, 0
			u.sending = calls > 0
			s.mu.Unlock()
			if calls == 0 {
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), tellIn)
			err := s.tell(ctx, k, calls, failures)
			cancel()
			if err != nil {
				// They are of this moment: told later they would mislead.
				s.log.Info("calls to a "+s.o.Kind+" were not told to other processes", "tenant", k.Tenant, s.o.Kind, k.Name, "calls", calls, "error", err)
			}
		}
	})
}

func (s *shared) close() {
	s.mu.Lock()
	s.closed = true
	for _, u := range s.unsent {
		if u.timer != nil {
			u.timer.Stop()
		}
	}
	s.mu.Unlock()
	s.work.Wait()
}

// tell adds calls to those of all processes and opens the circuit when too many
// of the window's have failed. The circuit's row is locked first, so that of
// two processes at once the second counts what the first has told.
func (s *shared) tell(ctx context.Context, k Key, calls, failures int) error {
	var now *Circuit
	err := s.db.InTenant(ctx, k.Tenant, func(tx pgx.Tx) error {
		now = nil
		b := &pgx.Batch{}
		b.Queue(`INSERT INTO gateway_circuits (tenant, gateway) VALUES ($1,$2) ON CONFLICT DO NOTHING`, k.Tenant, k.Name)
		b.Queue(`SELECT FROM gateway_circuits WHERE tenant = $1 AND gateway = $2 FOR UPDATE`, k.Tenant, k.Name)
		b.Queue(`DELETE FROM gateway_calls WHERE tenant = $1 AND gateway = $2 AND second <= clock_timestamp() - $3::interval`, k.Tenant, k.Name, s.o.Window)
		b.Queue(`INSERT INTO gateway_calls AS c (tenant, gateway, second, calls, failures) VALUES ($1,$2, date_trunc('second', clock_timestamp()), $3,$4)
		  ON CONFLICT (tenant, gateway, second) DO UPDATE SET calls = c.calls + excluded.calls, failures = c.failures + excluded.failures`, k.Tenant, k.Name, calls, failures)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		if failures == 0 {
			return nil
		}
		var seen, failed int64
		c, err := change(ctx, tx, k, `UPDATE gateway_circuits SET state = 'open', changed_at = now(), opened_at = now(), probe_after = clock_timestamp() + $3::interval, times_opened = times_opened + 1
		   FROM (SELECT sum(calls) AS calls, sum(failures) AS failures FROM gateway_calls WHERE tenant = $1 AND gateway = $2) w
		  WHERE tenant = $1 AND gateway = $2 AND state = 'closed' AND w.calls >= $4 AND w.failures >= $5::float8 * w.calls
		  RETURNING `+columns+`, w.calls, w.failures`, []any{&seen, &failed}, s.o.Delay, int64(s.o.MinCalls), s.o.FailureRate)
		if err != nil || c == nil {
			return err
		}
		now = c
		return timeline.Add(ctx, tx, k.Tenant, Subject(s.o.Kind, k.Name), "circuit_opened", "system", map[string]any{"calls": seen, "failures": failed, "seconds": int(s.o.Window.Seconds())})
	})
	if err != nil {
		return fmt.Errorf("tell calls: %w", err)
	}
	if now != nil {
		s.changed(*now)
	}
	return nil
}

// Subject is under which name the timeline keeps what happens to a provider.
func Subject(kind, name string) string { return kind + ":" + name }

// change runs an update of one circuit; nil when its condition does not hold.
func change(ctx context.Context, tx pgx.Tx, k Key, update string, more []any, args ...any) (*Circuit, error) {
	rows, err := tx.Query(ctx, update, append([]any{k.Tenant, k.Name}, args...)...)
	if err != nil {
		return nil, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (Circuit, error) { return scan(withMore{row, more}) })
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &c, err
}

// withMore scans further columns behind those of a circuit.
type withMore struct {
	pgx.CollectableRow
	more []any
}

func (r withMore) Scan(dest ...any) error { return r.CollectableRow.Scan(append(dest, r.more...)...) }

func (s *shared) changed(c Circuit) {
	s.learn(c)
	s.log.Warn("circuit of the "+s.o.Kind+" changed", "tenant", c.Tenant, s.o.Kind, c.Name, "to", string(c.State))
}

// probe takes the leave to try a circuit that is not closed, which one call of
// all processes has at a time. When it is not taken, c is what stands instead:
// another's leave, or a circuit that has closed meanwhile. ok is false when the
// database does not answer.
func (s *shared) probe(ctx context.Context, k Key, probe string) (c Circuit, taken, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, s.o.ReadWithin)
	defer cancel()
	var turned bool
	err := s.db.InTenant(ctx, k.Tenant, func(tx pgx.Tx) error {
		taken, turned = false, false
		won, err := change(ctx, tx, k, `UPDATE gateway_circuits SET state = 'half_open', probe = $3, probe_until = clock_timestamp() + $4::interval,
		    changed_at = CASE WHEN state = 'open' THEN now() ELSE changed_at END, times_half_opened = times_half_opened + (state = 'open')::int
		  WHERE tenant = $1 AND gateway = $2 AND (state = 'open' AND probe_after <= now() OR state = 'half_open' AND (probe IS NULL OR probe_until <= now()))
		  RETURNING `+columns+`, changed_at = now()`, []any{&turned}, probe, s.o.Lease)
		if err != nil {
			return err
		}
		if won != nil {
			if c, taken = *won, true; turned {
				return timeline.Add(ctx, tx, k.Tenant, Subject(s.o.Kind, k.Name), "circuit_half_open", "system", nil)
			}
			return nil
		}
		rows, err := tx.Query(ctx, `SELECT `+columns+` FROM gateway_circuits WHERE tenant = $1 AND gateway = $2`, k.Tenant, k.Name)
		if err != nil {
			return err
		}
		c, err = pgx.CollectExactlyOneRow(rows, scan)
		return err
	})
	switch {
	case err != nil:
		s.log.Info("a circuit can't be tried through the database: this process judges alone", "tenant", k.Tenant, s.o.Kind, k.Name, "error", err)
		return c, false, false
	case taken && turned:
		s.changed(c)
	default:
		s.learn(c)
	}
	return c, taken, true
}

// probed says what came of the leave: the circuit closes, opens anew, or is for
// another call to try. Nobody waits for it. If it gets lost, the leave lapses.
func (s *shared) probed(k Key, probe string, v Verdict) {
	now := Circuit{Tenant: k.Tenant, Name: k.Name, Standing: Standing{State: Closed}}
	switch v {
	case IsAway:
		now.State, now.RetryAt = Open, time.Now().Add(s.o.Delay).UTC()
	case SaysNothing:
		now.State, now.RetryAt = HalfOpen, time.Now().UTC()
	}
	s.learn(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), tellIn)
		defer cancel()
		if err := s.settle(ctx, k, probe, v); err != nil {
			s.log.Warn("what came of trying a circuit was not kept; it will be tried again", "tenant", k.Tenant, s.o.Kind, k.Name, "error", err)
		}
	})
}

func (s *shared) settle(ctx context.Context, k Key, probe string, v Verdict) error {
	var now *Circuit
	err := s.db.InTenant(ctx, k.Tenant, func(tx pgx.Tx) (err error) {
		switch v {
		case IsThere:
			var seconds float64
			now, err = change(ctx, tx, k, `WITH before AS (SELECT opened_at FROM gateway_circuits WHERE tenant = $1 AND gateway = $2 FOR UPDATE)
			  UPDATE gateway_circuits SET state = 'closed', changed_at = now(), opened_at = NULL, probe_after = NULL, probe = NULL, probe_until = NULL, times_closed = times_closed + 1
			    FROM before WHERE tenant = $1 AND gateway = $2 AND probe = $3 RETURNING `+columns+`, extract(epoch FROM now() - before.opened_at)::float8`, []any{&seconds}, probe)
			if err != nil || now == nil {
				return err
			}
			// What failed before does not count against it any more.
			if _, err := tx.Exec(ctx, `DELETE FROM gateway_calls WHERE tenant = $1 AND gateway = $2`, k.Tenant, k.Name); err != nil {
				return err
			}
			return timeline.Add(ctx, tx, k.Tenant, Subject(s.o.Kind, k.Name), "circuit_closed", "system", map[string]any{"open_for_seconds": int64(seconds)})
		case IsAway:
			now, err = change(ctx, tx, k, `UPDATE gateway_circuits SET state = 'open', changed_at = now(), probe_after = clock_timestamp() + $4::interval, probe = NULL, probe_until = NULL, times_opened = times_opened + 1
			  WHERE tenant = $1 AND gateway = $2 AND probe = $3 RETURNING `+columns, nil, probe, s.o.Delay)
			if err != nil || now == nil {
				return err
			}
			return timeline.Add(ctx, tx, k.Tenant, Subject(s.o.Kind, k.Name), "circuit_opened", "system", map[string]any{"tried": true})
		}
		_, err = tx.Exec(ctx, `UPDATE gateway_circuits SET probe = NULL, probe_until = NULL WHERE tenant = $1 AND gateway = $2 AND probe = $3`, k.Tenant, k.Name, probe)
		return err
	})
	if err == nil && now != nil {
		s.changed(*now)
	}
	return err
}
