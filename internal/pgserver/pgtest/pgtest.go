// Package pgtest gives each test a migrated database of its own on a real
// PostgreSQL. `make test` starts one server for all packages and names it in
// JL_TEST_DATABASE_URL; without it, each test binary starts its own.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/pgserver"
	"justlogistics/internal/postgres"
)

// EnvURL names the superuser's URL of the server that all test binaries share.
const EnvURL = "JL_TEST_DATABASE_URL"

// appRole is the role that the program connects as. Roles belong to the whole
// server, so every test binary gives it the same password.
const (
	appRole     = "jl_app"
	appPassword = "app-role-of-the-tests"
)

// setupLimit bounds the making or dropping of one database.
const setupLimit = 2 * time.Minute

// Database is one test's own.
type Database struct {
	// Name of the database.
	Name string
	// AppURL connects as the program does: a role that owns nothing and is bound
	// by row-level security.
	AppURL string
	// SuperuserURL connects past all of that, to arrange and to inspect.
	SuperuserURL string
}

// New returns an empty migrated database that is dropped when the test ends. It
// is a copy of a template, which takes some tens of milliseconds.
func New(t testing.TB) *Database {
	t.Helper()
	d, drop, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return d
}

// Create is New for a database that several tests share: the caller drops it.
func Create() (d *Database, drop func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupLimit)
	defer cancel()
	server, err := sharedServer()
	if err != nil {
		return nil, nil, fmt.Errorf("PostgreSQL for the tests: %w", err)
	}
	tmpl, err := template()
	if err != nil {
		return nil, nil, fmt.Errorf("migrate the template database: %w", err)
	}
	name := "jlt_" + randomName()
	if err := execute(ctx, server, "CREATE DATABASE "+name+" TEMPLATE "+tmpl); err != nil {
		return nil, nil, fmt.Errorf("copy the template database: %w", err)
	}
	d = &Database{Name: name, AppURL: onDatabase(server, name, appRole, appPassword), SuperuserURL: onDatabase(server, name, "", "")}
	return d, func() error { return dropDatabase(server, name) }, nil
}

// NewEmpty returns a database without any migration, for tests of the migrations
// themselves. AppURL is usable once they have run and let the role in.
func NewEmpty(t testing.TB) *Database {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), setupLimit)
	defer cancel()
	server, err := sharedServer()
	if err != nil {
		t.Fatalf("PostgreSQL for the tests: %v", err)
	}
	name := "jlt_" + randomName()
	if err := execute(ctx, server, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("make an empty database: %v", err)
	}
	dropLater(t, server, name)
	return &Database{Name: name, AppURL: onDatabase(server, name, appRole, appPassword), SuperuserURL: onDatabase(server, name, "", "")}
}

// Main runs a package's tests and then stops the server that they started, if
// they did. Use it as
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
// A package without it works too: its server ends with its process, and the next
// run removes the data.
func Main(m interface{ Run() int }) int {
	code := m.Run()
	if err := stopOwn(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the PostgreSQL of the tests:", err)
		return max(code, 1)
	}
	return code
}

// StartServer starts a fresh server for tests in a temporary folder. The caller
// calls stop, which ends it and removes its data.
func StartServer(ctx context.Context) (server *pgserver.Server, stop func() error, err error) {
	if err := removeLeftovers(); err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", folderPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, nil, fmt.Errorf("folder for the test server: %w", err)
	}
	// MkdirTemp makes it 0700, where the system user of PostgreSQL can't go.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("folder for the test server: %w", err), os.RemoveAll(dir))
	}
	server, err = pgserver.Start(ctx, pgserver.Options{
		DataDir:        dir,
		Logger:         slog.New(slog.NewTextHandler(os.Stderr, nil)),
		FastUnsafe:     true,
		MaxConnections: 400,
	})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return server, func() error { return errors.Join(server.Stop(), os.RemoveAll(dir)) }, nil
}

const folderPrefix = "justlogistics-pgtest-"

// removeLeftovers removes the folders of test binaries that are gone.
func removeLeftovers() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	if err != nil {
		return fmt.Errorf("look for old test servers: %w", err)
	}
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
		pid, err := strconv.Atoi(owner)
		if err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		// Another user's, or one that another binary removes at this moment, is
		// no reason to fail a test.
		if err := os.RemoveAll(dir); err != nil {
			slog.Debug("an old test server's folder stays", "folder", dir, "error", err)
		}
	}
	return nil
}

var own struct {
	mu   sync.Mutex
	stop func() error
}

// sharedServer is the superuser's URL of the server that this binary's tests use.
var sharedServer = sync.OnceValues(func() (*url.URL, error) {
	if given := os.Getenv(EnvURL); given != "" {
		u, err := url.Parse(given)
		if err != nil {
			return nil, fmt.Errorf("%s is not a URL: %w", EnvURL, err)
		}
		return u, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	server, stop, err := StartServer(ctx)
	if err != nil {
		return nil, err
	}
	own.mu.Lock()
	own.stop = stop
	own.mu.Unlock()
	return url.Parse(server.SuperuserURL("postgres"))
})

func stopOwn() error {
	own.mu.Lock()
	defer own.mu.Unlock()
	if own.stop == nil {
		return nil
	}
	err := own.stop()
	own.stop = nil
	return err
}

// template is the name of the migrated database that the others are copied from.
// One of a name serves all binaries that share the server and its migrations.
var template = sync.OnceValues(func() (name string, err error) {
	server, err := sharedServer()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.String())
	if err != nil {
		return "", fmt.Errorf("connect to the test server: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()

	// Held by this connection until it closes: the migrations also make roles,
	// which belong to the whole server.
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(7461001)"); err != nil {
		return "", fmt.Errorf("lock the template: %w", err)
	}
	name = "jl_template_" + randomName()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("make the template: %w", err)
	}
	owner := onDatabase(server, name, "", "")
	if err := postgres.Migrate(ctx, owner); err != nil {
		return "", fmt.Errorf("migrate the template: %w", err)
	}
	if err := postgres.EnableLogin(ctx, owner, appPassword); err != nil {
		return "", fmt.Errorf("let the program's role in: %w", err)
	}
	// A template with a connection can't be copied, so nobody may connect.
	if _, err := conn.Exec(ctx, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false"); err != nil {
		return "", fmt.Errorf("close the template: %w", err)
	}
	return name, nil
})

func dropLater(t testing.TB, server *url.URL, name string) {
	t.Cleanup(func() {
		if err := dropDatabase(server, name); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
}

func dropDatabase(server *url.URL, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupLimit)
	defer cancel()
	return execute(ctx, server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

// onDatabase is the server's URL with another database and, unless user is
// empty, another role.
func onDatabase(server *url.URL, db, user, password string) string {
	u := *server
	u.Path = "/" + db
	if user != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

func execute(ctx context.Context, server *url.URL, sql string) error {
	conn, err := pgx.Connect(ctx, server.String())
	if err != nil {
		return fmt.Errorf("connect to the test server: %w", err)
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

func randomName() string {
	b := make([]byte, 8)
	// crypto/rand.Read never fails on the platforms that Go supports.
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
