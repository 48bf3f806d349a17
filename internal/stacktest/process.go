package stacktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/childproc"
	"justlogistics/internal/pgserver"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/secretbox"
)

// Options of New.
type Options struct {
	// Workers is how many worker processes there are; 0 means one.
	Workers int
	// OwnPostgres starts a PostgreSQL that the test may stop.
	OwnPostgres bool
	// TemporalOnPostgres keeps Temporal's data in PostgreSQL, as in production,
	// instead of an SQLite file.
	TemporalOnPostgres bool
}

// Processes is a stack whose parts are processes of a test's own.
type Processes struct {
	*Stack
	API      *Process
	Workers  []*Process
	Temporal *Process
	// Postgres is nil unless it is the test's own.
	Postgres *Postgres
	// Dir holds Temporal's data.
	Dir string
}

// New starts a stack of processes and stops it when the test ends. Its shops
// share one sandbox. When the test fails it shows the last lines of each part.
func New(t testing.TB, o Options) *Processes {
	t.Helper()
	program, err := program()
	require.NoError(t, err)
	temporal, err := devserver()
	require.NoError(t, err)
	p := &Processes{Dir: t.TempDir()}
	p.Stack = &Stack{PayloadKeys: "test1:" + secretbox.GenerateKey(), CredentialKeys: "test1:" + secretbox.GenerateKey(), Namespace: namespace, logs: newLogs(p.Dir)}
	t.Cleanup(func() {
		if t.Failed() {
			p.logs.show(t, "")
		} else if found := p.logs.leaks(); len(found) > 0 {
			t.Errorf("personal data or secrets:\n%s", strings.Join(found, "\n"))
		}
		p.Stack.close()
	})
	superuser := p.openDatabase(t, o)
	ports := map[string]int{}
	for _, name := range []string{"temporal", "api"} {
		ports[name], err = freePort()
		require.NoError(t, err)
	}
	p.APIURL, p.TemporalAddress = "http://"+local(ports["api"]), local(ports["temporal"])

	data := []string{"--db", filepath.Join(p.Dir, "temporal.db")}
	if o.TemporalOnPostgres {
		data = []string{"--postgres", pgtest.NewEmpty(t).SuperuserURL, "--postgres-visibility", pgtest.NewEmpty(t).SuperuserURL}
	}
	p.sandboxURL = openSandbox(t, p.APIURL)
	p.startTemporal(t, temporal, temporalArgs(ports["temporal"], data...))
	require.NoError(t, p.connect(t.Context(), superuser))
	require.NoError(t, p.dial())

	settings := map[string]string{
		"DATABASE_URL": p.AppURL, "TEMPORAL_ADDRESS": p.TemporalAddress, "TEMPORAL_NAMESPACE": p.Namespace, "JL_API_HOST": "127.0.0.1", "JL_API_PORT": strconv.Itoa(ports["api"]),
		"PUBLIC_URL": p.APIURL, "JL_PAYLOAD_KEYS": p.PayloadKeys, "JL_CREDENTIAL_KEYS": p.CredentialKeys, "JL_LOG_LEVEL": "debug",
	}
	p.API = p.process(t, "api", program, []string{"api"}, settings, func(ctx context.Context) error { return apiReady(ctx, p.APIURL) })
	for i := range max(1, o.Workers) {
		port, err := freePort()
		require.NoError(t, err)
		own := maps.Clone(settings)
		own["JL_METRICS_ADDR"] = local(port)
		p.Workers = append(p.Workers, p.process(t, "worker-"+strconv.Itoa(i+1), program, []string{"worker"}, own, func(ctx context.Context) error {
			_, err := get(ctx, "http://"+local(port)+"/readyz")
			return err
		}))
	}
	for _, part := range append([]*Process{p.API}, p.Workers...) {
		part.Start()
	}
	for _, part := range append([]*Process{p.API}, p.Workers...) {
		part.AwaitReady()
	}
	return p
}

// Worker is the only worker, or the first of them.
func (p *Processes) Worker() *Process { return p.Workers[0] }

// startTemporal starts Temporal and waits for it.
func (p *Processes) startTemporal(t testing.TB, program string, args []string) {
	t.Helper()
	var said *readyLine
	p.Temporal = p.process(t, "temporal", program, args, nil, func(context.Context) error {
		select {
		case <-said.ready:
			return nil
		default:
			return errors.New("it has not said that it is ready")
		}
	})
	p.Temporal.output = func(w io.Writer) io.Writer {
		said = newReadyLine(w)
		return said
	}
	p.Temporal.Start()
	p.Temporal.AwaitReady()
}

func (p *Processes) openDatabase(t testing.TB, o Options) (superuserURL string) {
	t.Helper()
	if !o.OwnPostgres {
		d := pgtest.New(t)
		p.AppURL = d.AppURL
		return d.SuperuserURL
	}
	p.Postgres = startPostgres(t, p.logs.open("postgres"))
	const name, password = "justlogistics", "app-role-of-the-tests"
	conn, err := pgx.Connect(t.Context(), p.Postgres.server.SuperuserURL("postgres"))
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, errors.Join(err, conn.Close(t.Context())))
	superuserURL = p.Postgres.server.SuperuserURL(name)
	require.NoError(t, postgres.Migrate(t.Context(), superuserURL))
	require.NoError(t, postgres.EnableLogin(t.Context(), superuserURL, password))
	p.AppURL = p.Postgres.server.URL(name, "jl_app", password)
	return superuserURL
}

// Process is one part of a stack. It can be killed and started again.
type Process struct {
	t      testing.TB
	name   string
	path   string
	args   []string
	env    []string
	log    io.Writer
	output func(io.Writer) io.Writer
	ready  func(context.Context) error
	child  *childproc.Process
}

func (p *Processes) process(t testing.TB, name, path string, args []string, settings map[string]string, ready func(context.Context) error) *Process {
	part := &Process{t: t, name: name, path: path, args: args, env: environment(settings), log: p.logs.open(name), ready: ready, output: func(w io.Writer) io.Writer { return w }}
	t.Cleanup(func() {
		if part.child != nil {
			if err := part.child.Stop(syscall.SIGKILL, 5*time.Second); err != nil {
				t.Errorf("stop %s: %v", name, err)
			}
		}
	})
	return part
}

// Start starts the program; AwaitReady waits for it.
func (p *Process) Start() {
	p.t.Helper()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = p.env
	out := p.output(p.log)
	cmd.Stdout, cmd.Stderr = out, out
	child, err := childproc.Start(cmd, syscall.SIGKILL)
	require.NoError(p.t, err, p.name)
	p.child = child
}

// AwaitReady returns when the program works.
func (p *Process) AwaitReady() {
	p.t.Helper()
	require.NoError(p.t, waitReady(p.t.Context(), p.child.Done(), p.ready), p.name)
}

// Kill ends the program with SIGKILL and returns when it is gone.
func (p *Process) Kill() {
	p.t.Helper()
	require.NoError(p.t, p.child.Signal(syscall.SIGKILL), p.name)
	<-p.child.Done()
}

// Restart starts the program and waits until it works.
func (p *Process) Restart() {
	p.t.Helper()
	p.Start()
	p.AwaitReady()
}

// Postgres is a server of a test's own.
type Postgres struct {
	t      testing.TB
	opts   pgserver.Options
	server *pgserver.Server
}

func startPostgres(t testing.TB, log io.Writer) *Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "justlogistics-stacktest-pg-")
	require.NoError(t, err)
	// MkdirTemp makes it 0700, where the system user of PostgreSQL can't go.
	require.NoError(t, os.Chmod(dir, 0o755))
	p := &Postgres{t: t, opts: pgserver.Options{DataDir: dir, Output: log, Logger: slog.New(slog.DiscardHandler)}}
	p.Start()
	p.opts.Port = p.server.Port()
	t.Cleanup(func() {
		require.NoError(t, p.server.Stop())
		require.NoError(t, os.RemoveAll(dir))
	})
	return p
}

// Start starts the server, on the port of its first life, and waits for it.
func (p *Postgres) Start() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), StartLimit)
	defer cancel()
	var err error
	p.server, err = pgserver.Start(ctx, p.opts)
	require.NoError(p.t, err)
}

// Kill ends the server with SIGKILL.
func (p *Postgres) Kill() {
	p.t.Helper()
	require.NoError(p.t, syscall.Kill(p.server.PID(), syscall.SIGKILL))
	<-p.server.Done()
}

var built struct {
	mu   sync.Mutex
	dir  string
	path string
	err  error
}

// program builds the product's binary once.
func program() (string, error) {
	built.mu.Lock()
	defer built.mu.Unlock()
	if built.path == "" && built.err == nil {
		built.path, built.err = build()
	}
	return built.path, built.err
}

func build() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	if built.dir, err = os.MkdirTemp("", "justlogistics-stacktest-bin-"); err != nil {
		return "", err
	}
	path := filepath.Join(built.dir, "justlogistics")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/justlogistics")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the product: %w\n%s", err, out)
	}
	return path, nil
}

func removeProgram(int) error {
	built.mu.Lock()
	defer built.mu.Unlock()
	if built.dir == "" {
		return nil
	}
	return os.RemoveAll(built.dir)
}

// environment is the test's own without what would lead a child elsewhere.
func environment(settings map[string]string) []string {
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return strings.HasPrefix(name, "TEMPORAL_") || strings.HasPrefix(name, "JL_") || strings.HasPrefix(name, "PG") || name == "DATABASE_URL" || name == "WORKER_BUILD_ID"
	})
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		env = append(env, name+"="+settings[name])
	}
	return env
}

// freePort finds a port that nobody listens on, below those that the system
// gives to outgoing connections: a part that was killed finds its own free again.
func freePort() (int, error) {
	for range 200 {
		port := 15_000 + rand.IntN(15_000)
		l, err := net.Listen("tcp", local(port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		return port, l.Close()
	}
	return 0, errors.New("find a free port: all that were tried are taken")
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

var httpClient = &http.Client{
	Timeout:       40 * time.Second,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 10 * time.Second},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func get(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	res, err := httpClient.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", address, res.Status, body)
	}
	return body, nil
}

// apiReady wants Temporal to be up too.
func apiReady(ctx context.Context, base string) error {
	body, err := get(ctx, base+"/readyz")
	if err != nil {
		return err
	}
	var answer struct {
		Temporal string `json:"temporal"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	if answer.Temporal != "up" {
		return fmt.Errorf("/readyz says that Temporal is %q", answer.Temporal)
	}
	return nil
}
