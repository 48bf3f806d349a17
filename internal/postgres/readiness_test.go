package postgres_test

import (
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
)

func ready(t *testing.T, url string) error {
	t.Helper()
	db, err := postgres.Open(t.Context(), url, postgres.Options{MaxConns: 1, MaxSystemConns: 1})
	require.NoError(t, err)
	defer db.Close()
	return db.Ready(t.Context())
}

func TestReady_AcceptsTheProgramsRole(t *testing.T) {
	t.Parallel()
	require.NoError(t, ready(t, pgtest.New(t).AppURL))
}

func TestReady_RefusesASuperuser(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, ready(t, pgtest.New(t).SuperuserURL), "superuser")
}

func TestReady_RefusesRolesThatCouldStepOverRowLevelSecurity(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ attributes, says string }{
		"bypass": {"BYPASSRLS", "bypass row-level security"},
		"owner":  {"", "owns 1 tables"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := pgtest.New(t)
			role := d.Name + "_" + name
			conn, err := pgx.Connect(t.Context(), d.SuperuserURL)
			require.NoError(t, err)
			exec := func(sql string) {
				_, err := conn.Exec(t.Context(), sql)
				require.NoError(t, err, sql)
			}
			exec(`CREATE ROLE ` + role + ` LOGIN PASSWORD 'of-the-test' ` + c.attributes)
			exec(`GRANT jl_app TO ` + role)
			if name == "owner" {
				exec(`ALTER TABLE payments OWNER TO ` + role)
			}
			u, err := url.Parse(d.SuperuserURL)
			require.NoError(t, err)
			u.User = url.UserPassword(role, "of-the-test")
			require.ErrorContains(t, ready(t, u.String()), c.says)

			exec(`REASSIGN OWNED BY ` + role + ` TO postgres`)
			exec(`DROP OWNED BY ` + role)
			exec(`DROP ROLE ` + role)
			require.NoError(t, conn.Close(t.Context()))
		})
	}
}

func TestReady_RefusesADatabaseThatIsBehind(t *testing.T) {
	t.Parallel()
	_ = pgtest.New(t) // which lets the program's role in
	empty := pgtest.NewEmpty(t)
	require.ErrorContains(t, ready(t, empty.AppURL), "migrate up")
	behind := pgtest.New(t)
	require.NoError(t, postgres.MigrateDown(t.Context(), behind.SuperuserURL))
	require.ErrorContains(t, ready(t, behind.AppURL), "this build needs")
}

func TestReady_FailsWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	err := ready(t, "postgres://jl_app:secret-of-the-test@127.0.0.1:1/none?sslmode=disable")
	require.True(t, postgres.Unavailable(err), "%v", err)
	require.NotContains(t, err.Error(), "secret-of-the-test")
}
