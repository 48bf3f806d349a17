package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/server/common/headers"
)

func TestVersionedName_KeepsFolderAndExtension(t *testing.T) {
	t.Parallel()
	require.Equal(t, ".dev/temporal-"+headers.ServerVersion+".db", versionedName(".dev/temporal.db"))
	require.Equal(t, "a.b/temporal-"+headers.ServerVersion, versionedName("a.b/temporal"))
}

func TestPostgresConfig_ReadsConnectionURIs(t *testing.T) {
	t.Parallel()
	db, err := postgresConfig("postgres://jl:p%40ss@db.example:6000/temporal?sslmode=require", 3)
	require.NoError(t, err)
	require.Equal(t, "db.example:6000", db.ConnectAddr)
	require.Equal(t, "jl", db.User)
	require.Equal(t, "p@ss", db.Password)
	require.Equal(t, "temporal", db.DatabaseName)
	require.Equal(t, map[string]string{"sslmode": "require"}, db.ConnectAttributes)
	require.Equal(t, 3, db.MaxConns)

	db, err = postgresConfig("postgresql:///temporal?host=/run/postgresql", 3)
	require.NoError(t, err)
	require.Equal(t, "localhost:5432", db.ConnectAddr)
	require.Equal(t, "/run/postgresql", db.ConnectAttributes["host"])

	for _, wrong := range []string{"", "host=x dbname=y", "mysql://h/d", "postgres://h:1", "postgres://u:secret@h:x/d"} {
		_, err := postgresConfig(wrong, 3)
		require.Error(t, err, wrong)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestOptions_ContradictionsAreRefused(t *testing.T) {
	t.Parallel()
	valid := options{IP: "127.0.0.1", Shards: 4, VisibilityRPS: 10}
	require.NoError(t, valid.Validate())
	for name, change := range map[string]func(*options){
		"host name as IP":           func(o *options) { o.IP = "localhost" },
		"no visibility database":    func(o *options) { o.Postgres = "postgres://h/d" },
		"two stores":                func(o *options) { o.DB, o.Postgres, o.PostgresVisibility = "x", "y", "z" },
		"schema of nothing":         func(o *options) { o.SchemaOnly = true },
		"no shards":                 func(o *options) { o.Shards = 0 },
		"no visibility requests":    func(o *options) { o.VisibilityRPS = 0 },
		"unknown type of attribute": func(o *options) { o.SearchAttribute = map[string]string{"JLTenant": "String"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := valid
			change(&o)
			require.Error(t, o.Validate())
		})
	}
}
