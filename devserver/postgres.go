package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/server/common/config"
	temporallog "go.temporal.io/server/common/log"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql"
	"go.temporal.io/server/tools/common/schema"
	sqltool "go.temporal.io/server/tools/sql"
)

const (
	// Each of the four services opens its own pool on each database, so these
	// add up to 60 connections at most, below PostgreSQL's default of 100.
	mainConnections       = 10
	visibilityConnections = 5

	// lockPatience covers a predecessor that was just killed: PostgreSQL
	// takes a moment to notice that its connection is gone.
	lockPatience = 3 * time.Second
)

// openPostgres brings the schemas of both databases up to this server version
// and takes a lock on the main one, because two dev servers on one database
// would take the shards from each other.
func openPostgres(ctx context.Context, mainURL, visibilityURL string, shards int, log temporallog.Logger) (*store, error) {
	main, err := postgresConfig(mainURL, mainConnections)
	if err != nil {
		return nil, fmt.Errorf("--postgres: %w", err)
	}
	visibility, err := postgresConfig(visibilityURL, visibilityConnections)
	if err != nil {
		return nil, fmt.Errorf("--postgres-visibility: %w", err)
	}
	if main.DatabaseName == visibility.DatabaseName && main.ConnectAddr == visibility.ConnectAddr {
		return nil, errors.New("--postgres and --postgres-visibility must name two databases: both keep their own schema version")
	}

	unlock, err := lockDatabase(ctx, mainURL)
	if err != nil {
		return nil, fmt.Errorf("--postgres: %w", err)
	}
	if err := upgradeSchema(main, "postgresql/v12/temporal", log); err != nil {
		unlock()
		return nil, fmt.Errorf("--postgres: %w", err)
	}
	if err := upgradeSchema(visibility, "postgresql/v12/visibility", log); err != nil {
		unlock()
		return nil, fmt.Errorf("--postgres-visibility: %w", err)
	}
	return &store{main: main, visibility: visibility, shards: shards, close: unlock}, nil
}

// postgresConfig accepts what libpq calls a connection URI; its parameters
// (sslmode, host for a socket's folder) are handed to the driver as they are.
func postgresConfig(rawURL string, connections int) (config.SQL, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The parser's message would repeat the URL with its password.
		return config.SQL{}, errors.New("not a URL like postgres://user:password@host:5432/database")
	}
	database := strings.TrimPrefix(u.Path, "/")
	if (u.Scheme != "postgres" && u.Scheme != "postgresql") || database == "" {
		return config.SQL{}, errors.New("not a URL like postgres://user:password@host:5432/database")
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "5432"
	}
	password, _ := u.User.Password()
	attributes := make(map[string]string)
	for name, values := range u.Query() {
		attributes[name] = values[0]
	}
	return config.SQL{
		PluginName:        postgresql.PluginNamePGX,
		ConnectAddr:       net.JoinHostPort(host, port),
		User:              u.User.Username(),
		Password:          password,
		DatabaseName:      database,
		ConnectAttributes: attributes,
		MaxConns:          connections,
		MaxIdleConns:      connections,
	}, nil
}

// lockDatabase holds an advisory lock on a connection of its own until the
// returned function is called or the process ends.
func lockDatabase(ctx context.Context, databaseURL string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	closeConn := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}

	key := fnv.New64a()
	_, _ = key.Write([]byte(program))
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for deadline := time.Now().Add(lockPatience); ; {
		var locked bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", int64(key.Sum64())).Scan(&locked); err != nil {
			closeConn()
			return nil, fmt.Errorf("lock the database: %w", err)
		}
		if locked {
			return closeConn, nil
		}
		if time.Now().After(deadline) {
			closeConn()
			return nil, fmt.Errorf("database %s is in use by another %s: stop it, or choose another database", conn.Config().Database, program)
		}
		select {
		case <-ctx.Done():
			closeConn()
			return nil, ctx.Err()
		case <-retry.C:
		}
	}
}

// upgradeSchema applies the migrations that the server module embeds. It can
// be repeated; an interrupted run is continued by the next one.
func upgradeSchema(db config.SQL, name string, log temporallog.Logger) error {
	conn, err := sqltool.NewConnection(&db, log)
	if err != nil {
		return err
	}
	defer conn.Close()

	if _, err := conn.ReadSchemaVersion(); err != nil {
		setup := schema.NewSetupSchemaTask(conn, &schema.SetupConfig{InitialVersion: "0.0"}, log)
		if err := setup.Run(); err != nil {
			return fmt.Errorf("set up schema %s: %w", path.Base(name), err)
		}
	}
	update := schema.NewUpdateSchemaTask(conn, &schema.UpdateConfig{DBName: db.DatabaseName, SchemaName: name}, log)
	if err := update.Run(); err != nil {
		return fmt.Errorf("upgrade schema %s: %w", path.Base(name), err)
	}
	return nil
}
