package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver for goose
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"

	"justlogistics/internal/lifecycle"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// provider runs goose under an advisory lock, so that two deployments that
// migrate at once take turns.
func provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	store, err := database.NewStore(goose.DialectPostgres, "jl_migrations.done")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider("", db, files, goose.WithStore(store), goose.WithSessionLocker(locker))
}

func withProvider(ctx context.Context, ownerURL string, fn func(*sql.DB, *goose.Provider) error) error {
	db, err := sql.Open("pgx", ownerURL)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	defer db.Close()
	if err := createSchema(ctx, db); err != nil {
		return fmt.Errorf("migrations need the database's owner (is this the program's own role?): %w", err)
	}
	p, err := provider(db)
	if err != nil {
		return err
	}
	return fn(db, p)
}

// schemaLock is this program's own advisory lock, beside goose's.
const schemaLock = 0x6a6c5f6d69677261

// createSchema makes the place where goose keeps its table. IF NOT EXISTS alone
// is no protection: of two that look at the same moment one fails on the
// catalog's unique index.
func createSchema(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(schemaLock)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS jl_migrations`); err != nil {
		return err
	}
	return tx.Commit()
}

// Migrate brings the database forward to this build and writes its copy of the
// status moves. ownerURL connects as the schema's owner, who may create roles.
// It may run beside a serving program and again at any time.
func Migrate(ctx context.Context, ownerURL string) error {
	return withProvider(ctx, ownerURL, func(db *sql.DB, p *goose.Provider) error {
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate up: %w", err)
		}
		return writeMoves(ctx, db)
	})
}

func writeMoves(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, `LOCK TABLE status_moves IN EXCLUSIVE MODE`); err != nil {
		return fmt.Errorf("status moves: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM status_moves`); err != nil {
		return fmt.Errorf("status moves: %w", err)
	}
	for _, m := range lifecycle.Moves() {
		if _, err := tx.ExecContext(ctx, `INSERT INTO status_moves VALUES ($1, $2, $3)`, string(m.Machine), m.From, m.To); err != nil {
			return fmt.Errorf("status moves: %w", err)
		}
	}
	return tx.Commit()
}

// MigrateDown takes the newest migration back.
func MigrateDown(ctx context.Context, ownerURL string) error {
	return withProvider(ctx, ownerURL, func(_ *sql.DB, p *goose.Provider) error {
		_, err := p.Down(ctx)
		return err
	})
}

// MigrationStatus is one migration and whether it has run.
type MigrationStatus struct {
	Version int64
	File    string
	Applied bool
}

// Migrations lists the migrations of this build.
func Migrations(ctx context.Context, ownerURL string) ([]MigrationStatus, error) {
	var out []MigrationStatus
	err := withProvider(ctx, ownerURL, func(_ *sql.DB, p *goose.Provider) error {
		list, err := p.Status(ctx)
		for _, s := range list {
			out = append(out, MigrationStatus{s.Source.Version, s.Source.Path, s.State == goose.StateApplied})
		}
		return err
	})
	return out, err
}

func latestVersion() (int64, error) {
	entries, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return 0, err
	}
	var latest int64
	for _, e := range entries {
		v, err := goose.NumericComponent(e.Name())
		if err != nil {
			return 0, err
		}
		latest = max(latest, v)
	}
	return latest, nil
}

var plainPassword = regexp.MustCompile(`^[A-Za-z0-9_-]{16,}$`)

// EnableLogin lets the program's role jl_app connect with the password given
// (letters, digits, - and _, at least 16).
func EnableLogin(ctx context.Context, ownerURL, password string) error {
	if !plainPassword.MatchString(password) {
		return fmt.Errorf("the password of jl_app must be 16 or more letters, digits, - or _")
	}
	conn, err := pgx.Connect(ctx, ownerURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	// ALTER ROLE takes no parameters; the pattern above leaves nothing to quote.
	// Roles are the cluster's: when another database's set-up changes this one at
	// the same moment, PostgreSQL refuses one of the two with an internal error.
	for attempt := 1; ; attempt++ {
		_, err = conn.Exec(ctx, `ALTER ROLE jl_app LOGIN PASSWORD '`+password+`'`)
		var pg *pgconn.PgError
		if err == nil || attempt == 10 || !errors.As(err, &pg) || pg.Code != "XX000" {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("enable login of jl_app: %w", err)
	}
	return nil
}
