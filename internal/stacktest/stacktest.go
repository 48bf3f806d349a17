// Package stacktest gives tests the whole product: a real PostgreSQL, a real
// Temporal server, the providers' sandbox, the API and the worker.
//
// Shared is one stack for all tests of a binary, its API and worker inside the
// test's own process: cheap, and tests take a tenant each. New is a stack of a
// test's own whose parts are processes of the real binaries, so that they can
// be killed.
package stacktest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"justlogistics/api"
	"justlogistics/internal/audit"
	"justlogistics/internal/carriers"
	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shipping"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/temporalclient"
	"justlogistics/internal/tenant"
	"justlogistics/internal/webhook"
	"justlogistics/workers"
)

// StartLimit bounds the start, or the coming back, of one part of a stack.
const StartLimit = 60 * time.Second

// Stack is a running product.
type Stack struct {
	// APIURL is the API's, without a slash at the end, and what providers and
	// buyers are told.
	APIURL string
	// AppURL connects to the database as the program does.
	AppURL string
	// DB is as the program sees it; Super steps over row-level security and
	// rights, to arrange and to inspect.
	DB    *postgres.DB
	Super *pgxpool.Pool
	// Temporal decodes what the product has encrypted.
	Temporal        client.Client
	TemporalAddress string
	Namespace       string

	PayloadKeys    string
	CredentialKeys string

	// sandboxURL is set where all shops share a sandbox, so that an audit can
	// compare everything with its ledger; else each has its own, and its own faults.
	sandboxURL string
	// gone is when each shop's test was over, by its tenant.
	gone    sync.Map
	logs    *logs
	closers []func()
}

// Main runs a package's tests and stops what they share. When all have passed,
// the database of the shared stack is audited, and searched for personal data and
// secrets together with its logs and histories: whatever is found fails the run.
// Use it as
//
//	func TestMain(m *testing.M) { os.Exit(stacktest.Main(m)) }
func Main(m *testing.M) int {
	return pgtest.Main(stopping{m})
}

// stopping stops the shared parts while PostgreSQL still runs.
type stopping struct{ m *testing.M }

func (s stopping) Run() int {
	// The tests wait more than they work; -parallel still overrides this.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, "stacktest:", err)
	}
	// Not while tests run: the linker takes all of a small machine for as long as
	// buyers wait for an answer.
	if os.Getenv(EnvNoSticky) == "" { // that process starts no other
		if _, err := program(); err != nil {
			fmt.Fprintln(os.Stderr, "stacktest:", err)
			return 1
		}
	}
	code := s.m.Run()
	for _, stop := range []func(code int) error{stopShared, stopSharedTemporal, removeProgram} {
		if err := stop(code); err != nil {
			fmt.Fprintln(os.Stderr, "stacktest:", err)
			code = max(code, 1)
		}
	}
	return code
}

var shared struct {
	mu    sync.Mutex
	stack *Stack
	err   error
	dir   string
}

// EnvNoSticky, when set, has the shared stack's worker forget a workflow after
// each of its tasks, so that every task replays the history from its beginning.
const EnvNoSticky = "JL_TEST_NO_STICKY_CACHE"

// Shared returns the stack that all tests of the binary share. Its parts may
// not be stopped.
func Shared(t testing.TB) *Stack {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.stack == nil && shared.err == nil {
		shared.stack, shared.err = startShared()
	}
	require.NoError(t, shared.err, "start the shared stack")
	return shared.stack
}

func stopShared(code int) error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.stack == nil {
		return nil
	}
	var err error
	if code == 0 {
		err = errors.Join(auditShared(shared.stack), searchShared(shared.stack))
	}
	shared.stack.close()
	return errors.Join(err, os.RemoveAll(shared.dir))
}

func searchShared(s *Stack) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaksIn)
	defer cancel()
	return s.Leaks(ctx)
}

func auditShared(s *Stack) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var late error
	s.gone.Range(func(tenant, at any) bool {
		_, late = s.Super.Exec(ctx, `DELETE FROM inbox WHERE tenant = $1 AND status = 'pending' AND received_at > $2`, tenant, at)
		return late == nil
	})
	if late != nil {
		return fmt.Errorf("news for shops that are gone: %w", late)
	}
	report, err := audit.Run(ctx, s.DB, audit.Options{})
	if err != nil {
		return err
	}
	if !report.OK() {
		return errors.Join(fmt.Errorf("audit of the shared stack: %d violations", report.Violations), report.WriteText(os.Stderr))
	}
	return nil
}

func startShared() (_ *Stack, err error) {
	if shared.dir, err = os.MkdirTemp("", "justlogistics-stacktest-"); err != nil {
		return nil, err
	}
	database, drop, err := pgtest.Create()
	if err != nil {
		return nil, err
	}
	s := &Stack{AppURL: database.AppURL, PayloadKeys: "test1:" + secretbox.GenerateKey(), CredentialKeys: "test1:" + secretbox.GenerateKey(), logs: newLogs(shared.dir)}
	s.closers = append(s.closers, func() {
		if err := drop(); err != nil {
			fmt.Fprintln(os.Stderr, "stacktest:", err)
		}
	})
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	ctx := context.Background()
	if err := s.connect(ctx, database.SuperuserURL); err != nil {
		return nil, err
	}
	server, err := sharedTemporal()
	if err != nil {
		return nil, err
	}
	s.TemporalAddress, s.Namespace = server.address, server.namespace
	if err := s.dial(); err != nil {
		return nil, err
	}
	return s, s.startInside(ctx)
}

// connect opens the database, for the test and for parts inside its process.
func (s *Stack) connect(ctx context.Context, superuserURL string) (err error) {
	if s.DB, err = postgres.Open(ctx, s.AppURL, postgres.Options{MaxConns: 24}); err != nil {
		return err
	}
	s.closers = append(s.closers, s.DB.Close)
	cfg, err := pgxpool.ParseConfig(superuserURL)
	if err != nil {
		return err
	}
	cfg.MaxConns = 4
	if s.Super, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return err
	}
	s.closers = append(s.closers, s.Super.Close)
	return nil
}

func (s *Stack) dial() error {
	keys, err := secretbox.ParseKeyring(s.PayloadKeys)
	if err != nil {
		return err
	}
	s.Temporal, err = temporalclient.Dial(context.Background(), temporalclient.Options{Keyring: keys, Address: s.TemporalAddress, Namespace: s.Namespace,
		Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		s.closers = append(s.closers, s.Temporal.Close)
	}
	return err
}

// startInside runs the API and the worker in the test's own process.
func (s *Stack) startInside(ctx context.Context) error {
	log := telemetry.Logger(s.logs.open("inside"), "debug")
	keys, err := secretbox.ParseKeyring(s.PayloadKeys)
	if err != nil {
		return err
	}
	temporal, err := temporalclient.Dial(ctx, temporalclient.Options{Keyring: keys, Address: s.TemporalAddress, Namespace: s.Namespace, Logger: log})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, temporal.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.APIURL = "http://" + listener.Addr().String()
	credentialKeys, err := secretbox.ParseKeyring(s.CredentialKeys)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	// The API's registries and the worker's are apart, as they are in two processes.
	registry := func() *gateways.Registry {
		r := gateways.New(credentials(s.DB, credentialKeys), gateways.Options{Client: httpclient.New(httpclient.Options{}), DB: s.DB, Logger: log})
		s.closers = append(s.closers, r.Close)
		return r
	}
	forAPI, forWorker := registry(), registry()
	couriers := func() *carriers.Registry {
		r := carriers.New(s.DB, credentialKeys)
		s.closers = append(s.closers, r.Close)
		return r
	}
	server, err := api.New(api.Config{PublicURL: s.APIURL, TemporalUIURL: "https://temporal.example", Namespace: s.Namespace, PayloadKeys: keys, CredentialKeys: credentialKeys, LocalEndpoints: true},
		api.Deps{DB: s.DB, Temporal: temporal, Gateways: forAPI, Carriers: couriers(), Metrics: telemetry.NewMetrics(), Logger: log})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	web := &http.Server{Handler: server.Handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = web.Serve(listener) }()
	s.closers = append(s.closers, func() {
		_ = web.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Close(ctx)
	})
	if os.Getenv(EnvNoSticky) != "" {
		worker.SetStickyWorkflowCacheSize(0)
	}
	stop, err := workers.Start(ctx, workers.Deps{DB: s.DB, Temporal: temporal, Namespace: s.Namespace, Gateways: forWorker, Carriers: couriers(), Tracking: shipping.Pace{Least: 200 * time.Millisecond, Longest: 2 * time.Second}, Webhooks: webhook.NewSender(credentialKeys, true), PublicURL: s.APIURL, Logger: log})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, stop)
	return nil
}

// credentials reads a tenant's credentials as the program does.
func credentials(db *postgres.DB, keys *secretbox.Keyring) func(context.Context, string, payment.Name) ([]byte, int64, error) {
	return func(ctx context.Context, tenantID string, name payment.Name) (value []byte, version int64, err error) {
		err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) (err error) {
			value, version, err = tenant.Credentials(ctx, tx, keys, tenantID, string(name))
			return err
		})
		if errors.Is(err, tenant.ErrNoCredentials) {
			return nil, 0, fmt.Errorf("%w: %s of tenant %s", gateways.ErrNotConfigured, name, tenantID)
		}
		return value, version, err
	}
}

func (s *Stack) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.logs.close()
}

// Audit demands that every invariant holds in the stack's database and, where
// its shops share a sandbox, against the providers' ledger.
func (s *Stack) Audit(t testing.TB) {
	t.Helper()
	report, err := audit.Run(t.Context(), s.DB, audit.Options{Patience: 15 * time.Second, SandboxURL: s.sandboxURL})
	require.NoError(t, err)
	if !report.OK() {
		var text strings.Builder
		require.NoError(t, report.WriteText(&text))
		t.Error(text.String())
	}
}

// Value reads one value past all rights.
func Value[T any](t testing.TB, s *Stack, sql string, args ...any) T {
	t.Helper()
	rows, err := s.Super.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return v
}

// Exec runs a statement past all rights.
func (s *Stack) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := s.Super.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// logs are what the parts of a stack print, a file each.
type logs struct {
	dir string

	mu    sync.Mutex
	files map[string]*os.File
}

func newLogs(dir string) *logs { return &logs{dir: dir, files: map[string]*os.File{}} }

// open returns where a part writes; later lives append.
func (l *logs) open(name string) io.Writer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.files[name]; f != nil {
		return f
	}
	f, err := os.OpenFile(filepath.Join(l.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return os.Stderr
	}
	l.files[name] = f
	return f
}

func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		_ = f.Close()
	}
}

// show prints the last lines that hold word, without the many of tests that look
// whether something has come about.
func (l *logs) show(t testing.TB, word string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, f := range l.files {
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Logf("log of %s: %v", name, err)
			continue
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, word) && !(strings.Contains(line, `"method":"GET"`) && strings.Contains(line, `"status":200`)) {
				lines = append(lines, line)
			}
		}
		t.Logf("last lines of %s:\n%s", name, strings.Join(lines[max(0, len(lines)-40):], ""))
	}
}
