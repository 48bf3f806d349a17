package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/postgres"
	"justlogistics/internal/shoptest"
)

func TestInTenant_TriesADeadlockAgain(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.AddTenant(t, "other")
	s.Exec(t, `ALTER DATABASE `+s.Database.Name+` SET deadlock_timeout = '50ms'`)
	db, err := postgres.Open(t.Context(), s.Database.AppURL, postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	take := func(tx pgx.Tx, warehouse string) error {
		_, err := tx.Exec(t.Context(), `UPDATE warehouses SET position = position + 1 WHERE tenant = $1 AND code = $2`, shoptest.Tenant, warehouse)
		return err
	}
	before := shoptest.Value[int](t, s, `SELECT sum(position) FROM warehouses WHERE tenant = $1`, shoptest.Tenant)
	var both sync.WaitGroup // each has its first row before either asks for the other's
	both.Add(2)
	var g errgroup.Group
	var mu sync.Mutex
	runs := 0
	for _, order := range [][]string{{"SCL-1", "CCP-1"}, {"CCP-1", "SCL-1"}} {
		first := true
		g.Go(func() error {
			return db.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				mu.Lock()
				runs++
				mu.Unlock()
				if err := take(tx, order[0]); err != nil {
					return err
				}
				if first {
					first = false
					both.Done()
					both.Wait()
				}
				return take(tx, order[1])
			})
		})
	}
	require.NoError(t, g.Wait())
	require.Greater(t, runs, 2, "there was no deadlock")
	require.Equal(t, before+4, shoptest.Value[int](t, s, `SELECT sum(position) FROM warehouses WHERE tenant = $1`, shoptest.Tenant))
}

func TestInTenant_GivesUpAfterFourTries(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	runs := 0
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(pgx.Tx) error {
		runs++
		return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: "40001"})
	})
	require.Error(t, err)
	require.Equal(t, 4, runs)

	ctx, cancel := context.WithCancel(t.Context())
	runs = 0
	err = s.DB.InTenant(ctx, shoptest.Tenant, func(pgx.Tx) error {
		runs++
		cancel()
		return &pgconn.PgError{Code: "40P01"}
	})
	require.Error(t, err)
	require.Equal(t, 1, runs, "nobody waits for it any more")
}

func TestInTenant_UndoesWhatFailed(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	failed := errors.New("no")
	insert := func(tx pgx.Tx) {
		_, err := tx.Exec(t.Context(), `INSERT INTO events (tenant, subject, kind) VALUES ('acme', 's', 'k')`)
		require.NoError(t, err)
	}
	runs := 0
	require.ErrorIs(t, s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error { runs++; insert(tx); return failed }), failed)
	require.Equal(t, 1, runs, "only what the database asks for is tried again")
	require.Panics(t, func() {
		_ = s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error { insert(tx); panic("bug") })
	})
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM events`))
}

func TestSnapshot_SeesOneMomentAndWritesNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	require.NoError(t, s.DB.Snapshot(t.Context(), func(tx pgx.Tx) error {
		require.Equal(t, 1, count(t, tx, "tenants"))
		s.AddTenant(t, "later")
		require.Equal(t, 1, count(t, tx, "tenants"))
		return nil
	}))
	err := s.DB.Snapshot(t.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO events (tenant, subject, kind) VALUES ('acme', 's', 'k')`)
		return err
	})
	require.ErrorContains(t, err, "read-only")
}

// The contract shows times in UTC; the process may run anywhere.
func TestTimes_AreReadInUTC(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	read := func(tx pgx.Tx) error {
		var at time.Time
		var maybe *time.Time
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT created_at, updated_at FROM tenants`).Scan(&at, &maybe))
		require.Equal(t, time.UTC, at.Location())
		require.Equal(t, time.UTC, maybe.Location())
		return nil
	}
	s.Do(t, read)
	require.NoError(t, s.DB.AsSystem(t.Context(), read))
}

func TestViolates_NamesTheConstraint(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	exec := func(sql string) error {
		return s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), sql)
			if err != nil {
				return fmt.Errorf("wrapped: %w", err)
			}
			return nil
		})
	}
	oversold := exec(`UPDATE stock_levels SET reserved = 6`)
	require.True(t, postgres.Violates(oversold))
	require.True(t, postgres.Violates(oversold, "another", "no_unit_promised_twice"))
	require.False(t, postgres.Violates(oversold, "another"))
	require.False(t, postgres.Unavailable(oversold))

	twice := exec(`INSERT INTO warehouses (tenant, code, name, region) VALUES ('acme', 'SCL-1', 'x', 'RM')`)
	require.True(t, postgres.Violates(twice, "warehouses_pkey"))
	require.True(t, postgres.Violates(exec(`INSERT INTO prices VALUES ('acme', 'nothing', 'CLP', 1)`)))

	for _, err := range []error{nil, errors.New("other"), exec(`SELECT nonsense`), &pgconn.PgError{}} {
		require.False(t, postgres.Violates(err), "%v", err)
	}
}

func TestUnavailable_TellsADatabaseThatIsAwayFromAWrongStatement(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	in := func(ctx context.Context, statements ...string) error {
		return s.DB.InTenant(ctx, shoptest.Tenant, func(tx pgx.Tx) error {
			for _, sql := range statements {
				if _, err := tx.Exec(ctx, sql); err != nil {
					return fmt.Errorf("wrapped: %w", err)
				}
			}
			return nil
		})
	}
	killed := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		var pid int
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
		require.True(t, shoptest.Value[bool](t, s, `SELECT pg_terminate_backend($1, 5000)`, pid))
		_, err := tx.Exec(t.Context(), `SELECT 1`)
		return err
	})
	canceled, cancel := context.WithDeadline(t.Context(), s.Now(t).Add(-1))
	defer cancel()
	nowhere, err := postgres.Open(t.Context(), "postgres://jl_app:x@127.0.0.1:1/none", postgres.Options{})
	require.NoError(t, err, "a process may start before its database")
	t.Cleanup(nowhere.Close)
	for name, err := range map[string]error{
		"the backend was killed":  killed,
		"the statement took long": in(t.Context(), `SET LOCAL statement_timeout = '1ms'`, `SELECT pg_sleep(10)`),
		"a lock was not free":     lockedOut(t, s),
		"the caller's time":       in(canceled, `SELECT 1`),
		"nobody listens":          nowhere.NoTenant(t.Context(), func(pgx.Tx) error { return nil }),
		"the disk is full":        fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: "53100"}),
		"it is starting up":       &pgconn.PgError{Code: "57P03"},
		"a deadlock":              &pgconn.PgError{Code: "40P01"},
		"the connection broke":    io.ErrUnexpectedEOF,
	} {
		require.True(t, postgres.Unavailable(err), "%s: %v", name, err)
	}
	for name, err := range map[string]error{
		"nothing":      nil,
		"a typo":       in(t.Context(), `SELEC 1`),
		"no such row":  pgx.ErrNoRows,
		"no right":     in(t.Context(), `TRUNCATE payments`),
		"another bug":  errors.New("index out of range"),
		"nobody waits": context.Canceled,
	} {
		require.False(t, postgres.Unavailable(err), "%s: %v", name, err)
	}
}

// lockedOut asks for a row that another transaction keeps.
func lockedOut(t *testing.T, s *shoptest.Shop) (err error) {
	t.Helper()
	const lock = `SELECT FROM tenants WHERE tenant = 'acme' FOR UPDATE`
	s.Do(t, func(tx pgx.Tx) error {
		_, lockErr := tx.Exec(t.Context(), lock)
		require.NoError(t, lockErr)
		err = s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `SET LOCAL lock_timeout = '10ms'; `+lock)
			return err
		})
		return nil
	})
	return err
}
