// Package dev runs everything on one machine: PostgreSQL, Temporal, the
// providers' sandbox, the API and the worker, each a child process that comes
// back when it dies and is gone when its parent is.
package dev

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/config"
	"justlogistics/internal/devfolder"
	"justlogistics/internal/pgserver"
	"justlogistics/internal/postgres"
	"justlogistics/internal/secretbox"
)

const (
	database  = "justlogistics"
	namespace = "default"
	tenant    = "demo"
	appRole   = "jl_app"
)

// Options of Run.
type Options struct {
	DataDir string
	Ports   Ports
	// Program is this program, whose sandbox, api and worker commands are the
	// children; TemporalProgram is the embedded Temporal server.
	Program         string
	TemporalProgram string
	// SearchAttributes are those of Temporal's namespace, names with their types.
	SearchAttributes map[string]string
	// Seed makes the demo tenant where it is missing and returns its API key.
	// keptKey is the key of an earlier start, "" at the first: it goes on working.
	Seed func(ctx context.Context, c *config.Config, keptKey string) (apiKey string, err error)
	// PublicURL is what providers and buyers are told; "" means the API's own address.
	PublicURL string
	// Verbose shows what the children print, beside writing it to their logs.
	Verbose bool
	// Out is where a person reads.
	Out io.Writer
}

// Run starts everything and keeps it running until ctx ends, then stops it in
// order and returns nil. An error means that it could not start, or not stop
// cleanly; nothing is left running in either case.
//
// A start after a stop, or after a kill -9 of everything, goes on with the data
// that it finds in the folder. While another dev holds the folder the error is a
// *devfolder.HeldError.
func Run(ctx context.Context, opts Options) (err error) {
	dir, err := filepath.Abs(opts.DataDir)
	if err != nil {
		return fmt.Errorf("data folder %s: %w", opts.DataDir, err)
	}
	release, err := devfolder.Lock(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := devfolder.RemoveInfo(dir); err != nil {
		return err
	}
	if err := opts.Ports.probe(ctx); err != nil {
		return err
	}

	d := &dev{opts: opts, dir: dir, out: &lockedWriter{w: opts.Out}}
	d.supervisor = newSupervisor(d.say, d.republish)
	defer func() {
		err = errors.Join(err, d.unpublish(), d.supervisor.stop(), d.closeLogs())
	}()

	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			d.say("stopped before everything was up")
			return nil
		}
		return err
	}
	<-ctx.Done()
	d.say("stopping: worker, API, sandbox, Temporal, PostgreSQL")
	return nil
}

// dev is one run.
type dev struct {
	opts       Options
	dir        string
	out        io.Writer
	supervisor *supervisor
	logs       []*output

	postgresPort int
	workerPort   int
	mailPort     int
	secrets      devfolder.Secrets

	mu   sync.Mutex
	info *devfolder.Info // nil until everything is ready
}

func (d *dev) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

func (d *dev) start(ctx context.Context) error {
	began := time.Now()
	if err := os.MkdirAll(d.logDir(), 0o700); err != nil {
		return fmt.Errorf("folder for logs: %w", err)
	}
	if err := d.openSecrets(); err != nil {
		return err
	}
	var err error
	if d.workerPort, err = freePort(); err != nil {
		return err
	}
	if d.mailPort = d.opts.Ports.Mail; d.mailPort == 0 {
		if d.mailPort, err = freePort(); err != nil {
			return err
		}
	}

	temporal, err := d.startTemporal(ctx)
	if err != nil {
		return err
	}
	if err := d.startPostgres(ctx); err != nil {
		return err
	}
	if err := d.migrate(ctx); err != nil {
		return err
	}
	d.say("PostgreSQL is up on port %d, database %s is migrated", d.postgresPort, database)
	if err := d.supervisor.await(ctx, temporal); err != nil {
		return err
	}
	d.say("Temporal is up on port %d", d.opts.Ports.Temporal)
	if err := d.seed(ctx); err != nil {
		return err
	}
	if err := d.startProgram(ctx); err != nil {
		return err
	}
	if err := d.publish(); err != nil {
		return err
	}
	d.welcome(time.Since(began))
	return nil
}

func (d *dev) logDir() string { return filepath.Join(d.dir, "logs") }

// openSecrets reads what must stay the same over restarts, and makes what is missing.
func (d *dev) openSecrets() error {
	s, err := devfolder.ReadSecrets(d.dir)
	if err != nil {
		return err
	}
	if s.PayloadKeys == "" {
		s.PayloadKeys = "dev1:" + secretbox.GenerateKey()
	}
	if s.CredentialKeys == "" {
		s.CredentialKeys = "dev1:" + secretbox.GenerateKey()
	}
	if s.AppPassword == "" {
		b := make([]byte, 24)
		if _, err := rand.Read(b); err != nil {
			return fmt.Errorf("make a password: %w", err)
		}
		s.AppPassword = hex.EncodeToString(b)
	}
	d.secrets = s
	return devfolder.WriteSecrets(d.dir, s)
}

func (d *dev) openLog(name string) (*output, error) {
	var terminal io.Writer
	if d.opts.Verbose {
		terminal = d.out
	}
	o, err := openOutput(d.logDir(), name, terminal)
	if err != nil {
		return nil, err
	}
	d.logs = append(d.logs, o)
	return o, nil
}

func (d *dev) closeLogs() error {
	var wrong []error
	for _, o := range d.logs {
		wrong = append(wrong, o.close())
	}
	return errors.Join(wrong...)
}

func (d *dev) startPostgres(ctx context.Context) error {
	log, err := d.openLog("postgres")
	if err != nil {
		return err
	}
	// Chosen once: the port is in everybody's URL, so every life must have the same.
	d.postgresPort = d.opts.Ports.Postgres
	if d.postgresPort == 0 {
		if d.postgresPort, err = freePort(); err != nil {
			return err
		}
	}
	ownerURL := make(chan string, 1)
	svc := &service{name: "postgres", log: log}
	svc.spawn = func(ctx context.Context) (process, error) {
		server, err := pgserver.Start(ctx, pgserver.Options{
			DataDir: filepath.Join(d.dir, "postgres"),
			Port:    d.postgresPort,
			Logger:  slog.New(slog.NewTextHandler(d.out, nil)),
			Output:  log,
		})
		if err != nil {
			return nil, err
		}
		select {
		case ownerURL <- server.SuperuserURL(database):
		default: // a later life; nothing in its URL is new
		}
		return server, nil
	}
	if err := d.supervisor.start(ctx, svc); err != nil {
		return err
	}
	d.secrets.OwnerURL = <-ownerURL
	return devfolder.WriteSecrets(d.dir, d.secrets)
}

func (d *dev) appURL() string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", appRole, d.secrets.AppPassword, local(d.postgresPort), database)
}

func (d *dev) migrate(ctx context.Context) error {
	if err := createDatabase(ctx, d.secrets.OwnerURL); err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, d.secrets.OwnerURL); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return postgres.EnableLogin(ctx, d.secrets.OwnerURL, d.secrets.AppPassword)
}

func createDatabase(ctx context.Context, ownerURL string) error {
	cfg, err := pgx.ParseConfig(ownerURL)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	cfg.Database = "postgres"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&exists); err != nil {
		return fmt.Errorf("look for database %s: %w", database, err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+database); err != nil {
		return fmt.Errorf("create database %s: %w", database, err)
	}
	return nil
}

func (d *dev) startTemporal(ctx context.Context) (*service, error) {
	args := []string{
		"--db", filepath.Join(d.dir, "temporal.db"),
		"--port", strconv.Itoa(d.opts.Ports.Temporal),
		"--ui-port", strconv.Itoa(d.opts.Ports.TemporalUI),
		"--namespace", namespace,
		"--codec-endpoint", d.apiURL() + "/codec",
	}
	for _, name := range slices.Sorted(maps.Keys(d.opts.SearchAttributes)) {
		args = append(args, "--search-attribute", name+"="+d.opts.SearchAttributes[name])
	}
	svc, err := d.service("temporal", command{path: d.opts.TemporalProgram, args: args, env: environment(nil), patience: 6 * time.Second})
	if err != nil {
		return nil, err
	}
	svc.ready = func(context.Context) error {
		if !svc.log.saidReady() {
			return errors.New("it has not said that it is ready")
		}
		return nil
	}
	return svc, d.supervisor.start(ctx, svc)
}

func (d *dev) seed(ctx context.Context) error {
	c := &config.Config{
		DatabaseURL:       d.appURL(),
		OwnerURL:          d.secrets.OwnerURL,
		TemporalAddress:   local(d.opts.Ports.Temporal),
		TemporalNamespace: namespace,
		APIPort:           d.opts.Ports.API,
		PublicURL:         d.publicURL(),
		TemporalUIURL:     d.temporalUIURL(),
		SandboxURL:        d.sandboxURL(),
	}
	var err error
	if c.PayloadKeys, err = secretbox.ParseKeyring(d.secrets.PayloadKeys); err != nil {
		return fmt.Errorf("payload keys in the secrets of dev: %w", err)
	}
	if c.CredentialKeys, err = secretbox.ParseKeyring(d.secrets.CredentialKeys); err != nil {
		return fmt.Errorf("credential keys in the secrets of dev: %w", err)
	}
	key, err := d.opts.Seed(ctx, c, d.secrets.APIKey)
	if err != nil {
		return fmt.Errorf("demo tenant: %w", err)
	}
	if key == d.secrets.APIKey {
		return nil
	}
	d.secrets.APIKey = key
	return devfolder.WriteSecrets(d.dir, d.secrets)
}

// startProgram starts this program's own children and waits until all of them work.
func (d *dev) startProgram(ctx context.Context) error {
	settings := map[string]string{
		"DATABASE_URL":       d.appURL(),
		"TEMPORAL_ADDRESS":   local(d.opts.Ports.Temporal),
		"TEMPORAL_NAMESPACE": namespace,
		"JL_API_HOST":        "127.0.0.1",
		"JL_API_PORT":        strconv.Itoa(d.opts.Ports.API),
		"JL_METRICS_ADDR":    config.MetricsOnAPI,
		"PUBLIC_URL":         d.publicURL(),
		"JL_PAYLOAD_KEYS":    d.secrets.PayloadKeys,
		"JL_CREDENTIAL_KEYS": d.secrets.CredentialKeys,
		"JL_TEMPORAL_UI_URL": d.temporalUIURL(),
		"JL_CODEC_ORIGIN":    d.temporalUIURL(),
		"JL_SANDBOX_URL":     d.sandboxURL(),
		"WORKER_BUILD_ID":    "",
		// The sandbox's parcels are home within two minutes.
		"JL_TRACKING_LEAST":   "1s",
		"JL_TRACKING_LONGEST": "10s",
	}
	workerSettings := maps.Clone(settings)
	workerSettings["JL_METRICS_ADDR"] = local(d.workerPort)
	workerSettings["SMTP_URL"] = "smtp://" + local(d.mailPort) + "?tls=none"
	workerSettings["MAIL_FROM"] = "pedidos@tienda.example"

	children := []struct {
		name  string
		what  command
		ready func(context.Context) error
	}{
		{"sandbox", command{
			args: []string{
				"sandbox", "--listen", local(d.opts.Ports.Sandbox), "--state-dir", filepath.Join(d.dir, "sandbox"),
				"--url", d.sandboxURL(), "--webhooks", d.publicURL(), "--mail", local(d.mailPort),
			},
			env: environment(nil), patience: 2 * time.Second,
		}, accepts(d.opts.Ports.Sandbox)},
		{"api", command{args: []string{"api"}, env: environment(settings), patience: 4 * time.Second}, d.apiReady},
		{"worker", command{args: []string{"worker"}, env: environment(workerSettings), patience: 6 * time.Second}, d.workerReady},
	}
	var services []*service
	for _, child := range children {
		child.what.path = d.opts.Program
		svc, err := d.service(child.name, child.what)
		if err != nil {
			return err
		}
		svc.ready = child.ready
		if err := d.supervisor.start(ctx, svc); err != nil {
			return err
		}
		services = append(services, svc)
	}
	for _, svc := range services {
		if err := d.supervisor.await(ctx, svc); err != nil {
			return err
		}
	}
	return nil
}

func (d *dev) service(name string, c command) (*service, error) {
	log, err := d.openLog(name)
	if err != nil {
		return nil, err
	}
	return &service{name: name, log: log, spawn: c.spawner(log)}, nil
}

// environment is this process's own without what would lead a child elsewhere
// (another database, the TLS of a Temporal in the cloud), and with settings.
func environment(settings map[string]string) []string {
	var env []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "TEMPORAL_") || strings.HasPrefix(name, "JL_DEVSERVER_") || strings.HasPrefix(name, "PG") ||
			name == "DATABASE_URL" || name == "JL_DATABASE_OWNER_URL" {
			continue
		}
		env = append(env, pair)
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		env = append(env, name+"="+settings[name])
	}
	return env
}

func (d *dev) apiURL() string        { return "http://" + local(d.opts.Ports.API) }
func (d *dev) temporalUIURL() string { return "http://" + local(d.opts.Ports.TemporalUI) }
func (d *dev) sandboxURL() string    { return "http://" + local(d.opts.Ports.Sandbox) }
func (d *dev) mailURL() string       { return d.sandboxURL() + "/mail" }
func (d *dev) workerURL() string     { return "http://" + local(d.workerPort) }

func (d *dev) publicURL() string {
	if d.opts.PublicURL != "" {
		return d.opts.PublicURL
	}
	return d.apiURL()
}

func accepts(port int) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", local(port))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// apiReady wants Temporal up too: /readyz is 200 without it, since webhooks are
// taken all the same, but a checkout can't be made.
func (d *dev) apiReady(ctx context.Context) error {
	var answer struct {
		Temporal string `json:"temporal"`
	}
	body, err := get(ctx, d.apiURL()+"/readyz")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("/readyz: %w", err)
	}
	if answer.Temporal != "up" {
		return fmt.Errorf("/readyz says that Temporal is %q", answer.Temporal)
	}
	return nil
}

func (d *dev) workerReady(ctx context.Context) error {
	_, err := get(ctx, d.workerURL()+"/readyz")
	return err
}

var httpClient = &http.Client{Timeout: 5 * time.Second}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return body, nil
}

// publish writes dev.json: from now on others may use this dev.
func (d *dev) publish() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.info = &devfolder.Info{
		APIURL:            d.apiURL(),
		APIKey:            d.secrets.APIKey,
		Tenant:            tenant,
		TemporalAddress:   local(d.opts.Ports.Temporal),
		TemporalNamespace: namespace,
		TemporalUIURL:     d.temporalUIURL(),
		SandboxURL:        d.sandboxURL(),
		MailURL:           d.mailURL(),
		DatabaseURL:       d.appURL(),
		WorkerURL:         d.workerURL(),
		PIDs:              d.supervisor.pids(),
	}
	return devfolder.WriteInfo(d.dir, *d.info)
}

// republish brings the process ids in dev.json up to date.
func (d *dev) republish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.info == nil {
		return
	}
	d.info.PIDs = d.supervisor.pids()
	if err := devfolder.WriteInfo(d.dir, *d.info); err != nil {
		d.say("the process ids in dev.json are old: %v", err)
	}
}

// unpublish removes dev.json before anything is stopped.
func (d *dev) unpublish() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.info = nil
	return devfolder.RemoveInfo(d.dir)
}

func (d *dev) welcome(took time.Duration) {
	fmt.Fprintf(d.out, `
Everything is up after %.1f s.

  API            %s   (documentation: %[2]s/docs)
  Temporal UI    %s
  Sandbox        %s
  Mail           %s
  Logs           %s
  Demo tenant    %s
  Demo key       %s

A first checkout:

  curl -s %[2]s/v1/checkouts -H 'Authorization: Bearer %[8]s' -H 'Content-Type: application/json' -d '{
    "items": [{"sku": "POL-ROJO-S", "quantity": 2}], "currency": "CLP",
    "customer": {"name": "Ana Rojas", "email": "ana@example.cl"},
    "shipping": {"street": "Av. Providencia", "number": "1234", "comuna": "Providencia", "region": "RM", "country": "CL", "service": "standard"},
    "payment": {"gateway": "transbank", "return_url": "https://shop.example/thanks"}}'

Ctrl-C stops everything; the data stay in %[9]s.

`, took.Seconds(), d.apiURL(), d.temporalUIURL(), d.sandboxURL(), d.mailURL(), d.logDir(), tenant, d.secrets.APIKey, d.dir)
}

// lockedWriter keeps the lines of several goroutines whole.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
