// Package postgres connects to the database, runs its migrations and opens the
// transactions through which everything else reads and writes.
//
// Every table carries its tenant and is under row-level security with FORCE.
// A transaction belongs to one tenant (InTenant) or to the system
// (AsSystem: sweeper, inbox loop, audit), never to nobody: without a tenant
// the program sees no row.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DB is a pool of connections as the application's role and a smaller one that
// acts as the system's role.
type DB struct {
	app    *pgxpool.Pool
	system *pgxpool.Pool
}

// Options of Open. Zero values are the defaults.
type Options struct {
	MaxConns       int32 // of the application's pool; 16
	MaxSystemConns int32 // 4
}

// Open prepares the pools; it does not connect yet, so that a process can
// start while its database restarts.
func Open(ctx context.Context, url string, o Options) (*DB, error) {
	if o.MaxConns == 0 {
		o.MaxConns = 16
	}
	if o.MaxSystemConns == 0 {
		o.MaxSystemConns = 4
	}
	app, err := newPool(ctx, url, o.MaxConns, "")
	if err != nil {
		return nil, err
	}
	system, err := newPool(ctx, url, o.MaxSystemConns, "jl_system")
	if err != nil {
		app.Close()
		return nil, err
	}
	return &DB{app: app, system: system}, nil
}

func newPool(ctx context.Context, url string, maxConns int32, role string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// pgx hides the password in its message.
		return nil, fmt.Errorf("database URL: %w", err)
	}
	cfg.MaxConns = maxConns
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.HealthCheckPeriod = 15 * time.Second
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	p := cfg.ConnConfig.RuntimeParams
	p["application_name"] = "justlogistics"
	p["timezone"] = "UTC"
	// No statement of ours is long but the audit's, which sets its own.
	p["statement_timeout"] = "30s"
	p["idle_in_transaction_session_timeout"] = "30s"
	p["lock_timeout"] = "10s"
	if role != "" {
		p["role"] = role
	}
	// Times are read in UTC wherever the process runs.
	cfg.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database pool: %w", err)
	}
	return pool, nil
}

// Close closes both pools.
func (db *DB) Close() {
	db.app.Close()
	db.system.Close()
}

var slug = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// ErrNoTenant is returned for a tenant whose name is not one.
var ErrNoTenant = errors.New("not a tenant")

// InTenant runs fn in one transaction that sees one tenant's rows, and commits
// it unless fn fails. A deadlock or a serialization failure is tried again, so
// fn may run more than once.
func (db *DB) InTenant(ctx context.Context, tenant string, fn func(tx pgx.Tx) error) error {
	if !slug.MatchString(tenant) {
		return fmt.Errorf("%w: %q", ErrNoTenant, tenant)
	}
	// One round trip for both statements; the setting ends with the
	// transaction and so cannot leak through the pool.
	opts := pgx.TxOptions{BeginQuery: "begin; set local app.tenant = '" + tenant + "'"}
	return run(ctx, db.app, opts, fn)
}

// AsSystem runs fn in one transaction that sees all tenants' rows.
func (db *DB) AsSystem(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return run(ctx, db.system, pgx.TxOptions{}, fn)
}

// Snapshot runs fn in one read-only transaction over a single snapshot of all
// tenants' rows.
func (db *DB) Snapshot(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return run(ctx, db.system, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, fn)
}

// NoTenant runs fn in a transaction without a tenant: only the look-up
// functions that need none answer there.
func (db *DB) NoTenant(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return run(ctx, db.app, pgx.TxOptions{}, fn)
}

func run(ctx context.Context, pool *pgxpool.Pool, opts pgx.TxOptions, fn func(tx pgx.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := pgx.BeginTxFunc(ctx, pool, opts, fn)
		if err == nil || attempt == 4 || !again(err) || ctx.Err() != nil {
			return err
		}
	}
}

// again reports errors after which PostgreSQL has undone everything and asks
// for another try.
func again(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

// Violates reports whether err is a violation of the named constraint or
// unique index; any of them when no name is given.
func Violates(err error, constraint ...string) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 || pg.Code[:2] != "23" {
		return false
	}
	for _, c := range constraint {
		if pg.ConstraintName == c {
			return true
		}
	}
	return len(constraint) == 0
}

// Unavailable reports whether err says that the database could not be used
// now (down, restarting, full, or too slow) rather than that the statement was
// wrong: the same call may succeed later.
func Unavailable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "53", "57", "58":
			return true
		}
		return pg.Code == "55P03" || again(err)
	}
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded) || isNetwork(err)
}

// Stats of the application's pool, for metrics.
func (db *DB) Stats() *pgxpool.Stat { return db.app.Stat() }
