package main

import (
	"context"
	"database/sql"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/server/schema"
)

func indexes(t *testing.T, db *sql.DB) (names []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'executions_visibility' AND sql IS NOT NULL")
	require.NoError(t, err)
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	require.NoError(t, rows.Close())
	return names
}

func TestSQLiteFile_HasIndexesOnlyOnWhatIsSearchedBy(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"a new file": false, "a file of before": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "temporal.db")
			db, err := sql.Open("sqlite", "file:"+escapePath(path))
			require.NoError(t, err)
			defer func() { require.NoError(t, db.Close()) }()
			if before {
				statements, err := fs.ReadFile(schema.Assets(), "sqlite/v3/visibility/schema.sql")
				require.NoError(t, err)
				_, err = db.ExecContext(t.Context(), string(statements))
				require.NoError(t, err)
				require.Greater(t, len(indexes(t, db)), 50)
			}
			for range 2 { // again it has nothing to do
				require.NoError(t, createSchema(context.Background(), path))
				// Each of them is there: another version of Temporal may name them otherwise.
				require.ElementsMatch(t, searchedBy, indexes(t, db))
			}
		})
	}
}
