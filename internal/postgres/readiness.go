package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
)

// Ready says whether the program may serve on this database: it answers, its
// migrations are those of this build, and the role we connect as can neither
// step over row-level security nor own what it guards.
func (db *DB) Ready(ctx context.Context) error {
	return db.NoTenant(ctx, func(tx pgx.Tx) error {
		var super, bypass bool
		var user string
		var owned int
		err := tx.QueryRow(ctx, `SELECT rolname, rolsuper, rolbypassrls,
			(SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			  WHERE n.nspname IN ('public','jl') AND c.relkind IN ('r','p') AND pg_has_role(c.relowner, 'USAGE'))
			FROM pg_roles WHERE rolname = current_user`).Scan(&user, &super, &bypass, &owned)
		if err != nil {
			return err
		}
		switch {
		case super || bypass:
			return fmt.Errorf("database role %q is a superuser or may bypass row-level security: connect as jl_app, or a role like it", user)
		case owned > 0:
			return fmt.Errorf("database role %q owns %d tables, so row-level security would be its to switch off: connect as jl_app", user, owned)
		}
		var version int64
		err = tx.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM jl_migrations.done WHERE is_applied`).Scan(&version)
		if err != nil {
			return fmt.Errorf("migrations have not run (justlogistics migrate up): %w", err)
		}
		want, err := latestVersion()
		if err != nil {
			return err
		}
		if version < want {
			return fmt.Errorf("database is at migration %d, this build needs %d: justlogistics migrate up", version, want)
		}
		return nil
	})
}

func isNetwork(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
