package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/lifecycle"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/shoptest"
)

func TestMigrate_GoesUpAndDownAndUpAgain(t *testing.T) {
	t.Parallel()
	d := pgtest.NewEmpty(t)
	ctx := t.Context()
	all, err := postgres.Migrations(ctx, d.SuperuserURL)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, m := range all {
		require.False(t, m.Applied, m.File)
	}
	ready := func() error {
		db, err := postgres.Open(ctx, d.AppURL, postgres.Options{MaxConns: 1, MaxSystemConns: 1})
		require.NoError(t, err)
		defer db.Close()
		return db.Ready(ctx)
	}
	for range 2 {
		require.NoError(t, postgres.Migrate(ctx, d.SuperuserURL))
		require.NoError(t, postgres.Migrate(ctx, d.SuperuserURL), "again changes nothing")
		require.NoError(t, postgres.EnableLogin(ctx, d.SuperuserURL, "app-role-of-the-tests"))
		require.NoError(t, ready())
		all, err = postgres.Migrations(ctx, d.SuperuserURL)
		require.NoError(t, err)
		for i := len(all) - 1; i >= 0; i-- {
			require.True(t, all[i].Applied, all[i].File)
			require.NoError(t, postgres.MigrateDown(ctx, d.SuperuserURL))
			require.ErrorContains(t, ready(), "justlogistics migrate up")
		}
		conn, err := pgx.Connect(ctx, d.SuperuserURL)
		require.NoError(t, err)
		var left int
		require.NoError(t, conn.QueryRow(ctx, `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r','p','v','S')`).Scan(&left))
		require.Zero(t, left)
		require.NoError(t, conn.Close(ctx))
	}
}

func TestMigrate_ManyAtOnceTakeTurns(t *testing.T) {
	t.Parallel()
	d := pgtest.NewEmpty(t)
	var g errgroup.Group
	for range 8 {
		g.Go(func() error { return postgres.Migrate(t.Context(), d.SuperuserURL) })
	}
	require.NoError(t, g.Wait())
}

func TestMigrate_IsRefusedToTheProgramsRole(t *testing.T) {
	t.Parallel()
	d := pgtest.New(t)
	require.ErrorContains(t, postgres.Migrate(t.Context(), d.AppURL), "owner")
}

func TestMigrate_WritesTheTableOfMoves(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	rows, err := s.Super.Query(t.Context(), `SELECT machine, from_status, to_status FROM status_moves`)
	require.NoError(t, err)
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[lifecycle.Move])
	require.NoError(t, err)
	require.ElementsMatch(t, lifecycle.Moves(), got)

	// A copy that somebody has changed is put right by the next migrate.
	s.Exec(t, `DELETE FROM status_moves WHERE machine = 'payment'`)
	s.Exec(t, `INSERT INTO status_moves VALUES ('checkout', 'cancelled', 'paid')`)
	require.NoError(t, postgres.Migrate(t.Context(), s.Database.SuperuserURL))
	rows, err = s.Super.Query(t.Context(), `SELECT machine, from_status, to_status FROM status_moves`)
	require.NoError(t, err)
	got, err = pgx.CollectRows(rows, pgx.RowToStructByPos[lifecycle.Move])
	require.NoError(t, err)
	require.ElementsMatch(t, lifecycle.Moves(), got)
}

func TestMigrate_StatusColumnsAllowExactlyTheStatusesOfTheMoves(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	for machine, table := range map[lifecycle.Machine]string{lifecycle.Checkout: "checkouts", lifecycle.Payment: "payments", lifecycle.Order: "orders", lifecycle.Refund: "refunds", lifecycle.Reservation: "holds", lifecycle.Transfer: "transfers"} {
		check := shoptest.Value[string](t, s, `SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::text::regclass AND conname = $2`, table, table+"_status_check")
		for _, m := range lifecycle.Moves() {
			if m.Machine == machine {
				require.Contains(t, check, "'"+m.From+"'", table)
				require.Contains(t, check, "'"+m.To+"'", table)
			}
		}
		require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM pg_trigger WHERE tgrelid = $1::text::regclass AND tgname = 'check_move' AND tgenabled = 'O'`, table), table)
	}
}

func TestEnableLogin_RefusesAPasswordThatWouldNeedQuoting(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"", "short", "long-enough-but-'quoted'", "with spaces in between it"} {
		require.Error(t, postgres.EnableLogin(t.Context(), "postgres://127.0.0.1:1/none", password), password)
	}
}
