// Package pgserver runs a private PostgreSQL as a child process: found on the
// machine or installed from the distribution, in a data folder of its own, on a
// loopback port with a password, and gone when its parent is gone.
package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"justlogistics/internal/childproc"
)

const superuser = "postgres"

// startLimit bounds the start of the server itself, crash recovery included.
const startLimit = 90 * time.Second

// Options of Start.
type Options struct {
	// DataDir is made when it does not exist. Data, password and all stay in it,
	// or beside it where the system user of PostgreSQL may not enter it.
	DataDir string
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// Logger hears what a person should know; nil means slog.Default().
	Logger *slog.Logger
	// Output receives the server's own log lines; nil drops them. An error at the
	// start shows the last of them in any case.
	Output io.Writer
	// FastUnsafe turns off all that protects the data from a power cut: for tests.
	FastUnsafe bool
	// MaxConnections is PostgreSQL's max_connections; 0 means 200.
	MaxConnections int
	// Settings are further server settings, which win over those set here.
	Settings map[string]string
}

// Server is a running PostgreSQL.
type Server struct {
	process  *childproc.Process
	port     int
	password string
	unsafe   bool
}

// Start starts the server and returns once it takes connections. The context
// bounds the start only; the server runs until Stop, or until this process ends.
//
// A server that a killed process left behind on the same folder is waited for.
// Errors name what a person can change: the taken port, the folder that is not
// writable, the package to install; what initdb or the server printed is shown.
func Start(ctx context.Context, opts Options) (*Server, error) {
	log := opts.Logger
	if log == nil {
		log = slog.Default()
	}
	bin, err := findBinaries(ctx, existingMajor(opts.DataDir), log)
	if err != nil {
		return nil, err
	}
	who, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dirs, err := openFolder(ctx, opts.DataDir, who, bin, log)
	if err != nil {
		return nil, err
	}
	if err := endPredecessor(ctx, dirs.cluster, log); err != nil {
		return nil, err
	}
	exists, err := dirs.exists()
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := dirs.initialise(ctx, who, bin, opts.FastUnsafe); err != nil {
			return nil, err
		}
	}
	password, err := dirs.password()
	if err != nil {
		return nil, err
	}
	port, err := claimPort(opts.Port)
	if err != nil {
		return nil, err
	}

	args := []string{"-D", dirs.cluster}
	for name, value := range settings(opts, port) {
		args = append(args, "-c", name+"="+value)
	}
	output := &startupLog{next: opts.Output, ready: make(chan struct{})}
	// The context must not reach the command: it would kill the server when the
	// start is long over.
	cmd := who.command(context.WithoutCancel(ctx), dirs.cluster, bin.path("postgres"), args...)
	cmd.Stdout, cmd.Stderr = output, output
	deathSignal := syscall.SIGINT
	if opts.FastUnsafe {
		deathSignal = syscall.SIGQUIT
	}
	process, err := childproc.Start(cmd, deathSignal)
	if err != nil {
		return nil, err
	}

	server := &Server{process: process, port: port, password: password, unsafe: opts.FastUnsafe}
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case <-output.ready:
		output.settle()
		return server, nil
	case <-process.Done():
		if strings.Contains(output.tail(), "could not bind IPv4 address") {
			return nil, fmt.Errorf("port %d for PostgreSQL is taken", port)
		}
		return nil, fmt.Errorf("PostgreSQL ended at its start: %w\n%s", orNormalExit(process.Wait()), output.tail())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w", ctx.Err()), server.Stop())
	case <-limit.C:
		return nil, errors.Join(fmt.Errorf("PostgreSQL was not ready within %s\n%s", startLimit, output.tail()), server.Stop())
	}
}

func orNormalExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Port is the server's port on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// PID is the process id of the server's first process.
func (s *Server) PID() int { return s.process.PID() }

// URL addresses database db as the given role.
func (s *Server) URL(db, user, password string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(user, password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + db,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// SuperuserURL addresses database db as the superuser, for migrations and tests.
func (s *Server) SuperuserURL(db string) string { return s.URL(db, superuser, s.password) }

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.process.Done() }

// Wait blocks until the server has ended; nil means that it was asked to.
func (s *Server) Wait() error { return s.process.Wait() }

// Stop ends the server: open transactions are rolled back, data are written out.
// It returns when the server is gone; calling it again is harmless.
func (s *Server) Stop() error {
	if s.unsafe {
		return s.process.Stop(syscall.SIGQUIT, 5*time.Second)
	}
	if err := s.process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	timer := time.NewTimer(8 * time.Second)
	defer timer.Stop()
	select {
	case <-s.process.Done():
		return nil
	case <-timer.C:
	}
	// What an immediate shutdown leaves is recovered at the next start.
	return s.process.Stop(syscall.SIGQUIT, 4*time.Second)
}

// settings are the server's settings, all given on its command line so that an
// old data folder follows a newer program.
func settings(opts Options, port int) map[string]string {
	connections := opts.MaxConnections
	if connections == 0 {
		connections = 200
	}
	s := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": "",
		"max_connections":         strconv.Itoa(connections),
		"password_encryption":     "scram-sha-256",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"log_destination":         "stderr",
		"logging_collector":       "off",
		"lc_messages":             "C",
		"jit":                     "off",
	}
	if opts.FastUnsafe {
		s["fsync"] = "off"
		s["synchronous_commit"] = "off"
		s["full_page_writes"] = "off"
		s["shared_buffers"] = "64MB"
	}
	for name, value := range opts.Settings {
		s[name] = value
	}
	return s
}

// claimPort proves that the port is free, or finds a free one.
func claimPort(port int) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return 0, fmt.Errorf("port %d for PostgreSQL is taken", port)
	}
	if err != nil {
		return 0, fmt.Errorf("port %d for PostgreSQL: %w", port, err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		return 0, fmt.Errorf("port %d for PostgreSQL: %w", port, err)
	}
	if !ok {
		return 0, fmt.Errorf("port %d for PostgreSQL: %s is no TCP address", port, l.Addr())
	}
	return addr.Port, nil
}

// startupLog passes the server's lines on, keeps them during the start and
// notices the line that ends it.
type startupLog struct {
	next  io.Writer
	ready chan struct{}

	mu      sync.Mutex
	kept    bytes.Buffer
	settled bool
	opened  bool
}

// Write never fails for the server: a full disk under the log file must not stop it.
func (l *startupLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.settled {
		l.kept.Write(p)
		if !l.opened && bytes.Contains(l.kept.Bytes(), []byte("database system is ready to accept connections")) {
			l.opened = true
			close(l.ready)
		}
	}
	if l.next == nil {
		return len(p), nil
	}
	if _, err := l.next.Write(p); err != nil {
		slog.Warn("a log line of PostgreSQL was lost", "error", err)
	}
	return len(p), nil
}

func (l *startupLog) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled = true
	l.kept = bytes.Buffer{}
}

func (l *startupLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return lastLines(l.kept.String(), 15)
}
