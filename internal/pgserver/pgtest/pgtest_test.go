package pgtest_test

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func open(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	return conn
}

func TestNew_EachTestHasItsOwnMigratedDatabase(t *testing.T) {
	t.Parallel()
	one, two := pgtest.New(t), pgtest.New(t)
	require.NotEqual(t, one.Name, two.Name)
	conn := open(t, one.SuperuserURL)
	_, err := conn.Exec(t.Context(), "CREATE TABLE mine ()")
	require.NoError(t, err)

	var there bool
	require.NoError(t, open(t, two.SuperuserURL).QueryRow(t.Context(), "SELECT to_regclass('mine') IS NOT NULL").Scan(&there))
	require.False(t, there)
	require.NoError(t, open(t, two.SuperuserURL).QueryRow(t.Context(), "SELECT to_regclass('jl_migrations.done') IS NOT NULL").Scan(&there))
	require.True(t, there)
}

func TestNew_AppURLIsBoundByRowLevelSecurity(t *testing.T) {
	t.Parallel()
	conn := open(t, pgtest.New(t).AppURL)
	var role string
	var above bool
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user").Scan(&role, &above))
	require.Equal(t, "jl_app", role)
	require.False(t, above)
}

func TestNewEmpty_HasNoTables(t *testing.T) {
	t.Parallel()
	var n int
	require.NoError(t, open(t, pgtest.NewEmpty(t).SuperuserURL).QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog','information_schema')").Scan(&n))
	require.Zero(t, n)
}
