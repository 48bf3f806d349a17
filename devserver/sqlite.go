package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/headers"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/schema"
)

// minimumFreeBytes must fit beside the database at the start: the schema, the
// write-ahead log and its index take about two megabytes before any workflow.
const minimumFreeBytes = 4 << 20

func openSQLiteMemory() *store {
	db := config.SQL{
		PluginName:   sqliteplugin.PluginName,
		DatabaseName: "devserver-" + rand.Text(),
		// The database lives as long as its only connection.
		ConnectAttributes: map[string]string{"mode": "memory", "cache": "shared"},
	}
	return &store{main: db, visibility: db, shards: 1, inSQLite: true, close: func() {}}
}

// openSQLiteFile locks the file that belongs to path and this server version,
// and creates it when it isn't there. A process that is killed loses nothing
// that was committed; a power cut may lose the last commits.
func openSQLiteFile(ctx context.Context, path string) (*store, error) {
	path, err := filepath.Abs(versionedName(path))
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("database folder: %w", err)
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	if err := probeFolder(filepath.Dir(path)); err != nil {
		unlock()
		return nil, err
	}
	if err := createSchema(ctx, path); err != nil {
		unlock()
		return nil, fmt.Errorf("%s: %w (to start with a new one, move this file away)", path, err)
	}
	db := config.SQL{
		PluginName:   sqliteplugin.PluginName,
		DatabaseName: escapePath(path),
		ConnectAttributes: map[string]string{
			"mode":         "rwc",
			"journal_mode": "wal",
			"synchronous":  "normal",
			"busy_timeout": "10000",
		},
		// One connection, although the plugin allows more with a write-ahead
		// log: its transactions read before they write, and two of them at
		// once end in "database is locked" at half the throughput.
		MaxConns:     1,
		MaxIdleConns: 1,
	}
	return &store{main: db, visibility: db, shards: 1, inSQLite: true, close: unlock}, nil
}

// versionedName puts the server version into the file's name. Temporal has no
// migrations for SQLite, so each version needs a file of its own.
func versionedName(path string) string {
	extension := filepath.Ext(path)
	return strings.TrimSuffix(path, extension) + "-" + headers.ServerVersion + extension
}

// escapePath makes a path safe inside the file: URI that the plugin builds.
func escapePath(path string) string {
	return (&url.URL{Path: path}).EscapedPath()
}

// lockFile holds path until the returned function is called or the process
// ends in whatever way. Nothing in the server itself keeps a second process
// from writing to the same SQLite file.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("database folder is not writable: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by another %s: stop it, or choose another file with --db", strings.TrimSuffix(path, ".lock"), program)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// probeFolder writes what a start needs and removes it again: permissions,
// read-only mounts, quotas and full disks all show up here, in one line,
// rather than as a stream of persistence errors.
func probeFolder(dir string) (err error) {
	f, err := os.CreateTemp(dir, ".space-*")
	if err != nil {
		return fmt.Errorf("database folder is not writable: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(make([]byte, minimumFreeBytes))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return fmt.Errorf("disk full: %s has no %d MiB left", dir, minimumFreeBytes>>20)
		}
		return fmt.Errorf("write to %s: %w", dir, err)
	}
	return nil
}

// createSchema sets up an empty database in one transaction, so that a process
// killed in the middle leaves an empty database and not half a schema.
func createSchema(ctx context.Context, path string) (err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		// Leftovers of a database that someone deleted must not be replayed
		// into the new one.
		for _, suffix := range []string{"-wal", "-shm", "-journal"} {
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}

	db, err := sql.Open("sqlite", "file:"+escapePath(path)+"?mode=rwc&_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { _ = tx.Rollback() }()

	var tables int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'table'").Scan(&tables); err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	if tables > 0 {
		if err := trimVisibility(ctx, tx); err != nil {
			return err
		}
		return tx.Commit()
	}
	for _, name := range []string{"sqlite/v3/temporal/schema.sql", "sqlite/v3/visibility/schema.sql"} {
		statements, err := fs.ReadFile(schema.Assets(), name)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(statements)); err != nil {
			return fmt.Errorf("create schema: %w", err)
		}
	}
	if err := trimVisibility(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// searchedBy are the indexes of visibility that stay: what the web UI
// and operations staff filter by, what Temporal's own schedules and batches list by, and
// the columns that the first attributes of each type get.
var searchedBy = []string{
	"default_idx", "by_execution_time", "by_workflow_id", "by_workflow_type", "by_status", "by_parent_workflow_id", "by_root_workflow_id",
	"by_temporal_scheduled_by_id", "by_temporal_namespace_division",
	"by_keyword_01", "by_keyword_02", "by_keyword_03", "by_keyword_04", "by_keyword_05", "by_bool_01",
}

// trimVisibility leaves an index only on what is searched by. Temporal's schema has 58,
// one for every column that somebody might search by; SQLite plans and writes all of them at
// every change of a run: visibility was a fifth of all that this server did, and a third of
// that went with them. What has no index is found all the same, by reading the namespace's
// rows.
func trimVisibility(ctx context.Context, tx *sql.Tx) error {
	keep := "'" + strings.Join(searchedBy, "','") + "'"
	rows, err := tx.QueryContext(ctx, "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'executions_visibility' AND sql IS NOT NULL AND name NOT IN ("+keep+")")
	if err != nil {
		return fmt.Errorf("read indexes: %w", err)
	}
	var spare []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return errors.Join(fmt.Errorf("read indexes: %w", err), rows.Close())
		}
		spare = append(spare, name)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("read indexes: %w", err)
	}
	for _, name := range spare {
		if _, err := tx.ExecContext(ctx, "DROP INDEX "+name); err != nil {
			return fmt.Errorf("drop index %s: %w", name, err)
		}
	}
	return nil
}
