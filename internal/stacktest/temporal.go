package stacktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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

	"justlogistics/internal/childproc"
	"justlogistics/internal/temporalclient"
)

// EnvDevserver names the embedded Temporal server's binary, when it is not
// bin/justlogistics-devserver of this module.
const EnvDevserver = "JL_DEVSERVER_BIN"

const namespace = "default"

// devserver finds the embedded Temporal server, whose own module takes minutes
// to compile: it is never built by a test.
func devserver() (string, error) {
	path := os.Getenv(EnvDevserver)
	if path == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		path = filepath.Join(root, "bin", "justlogistics-devserver")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the embedded Temporal server is missing: run `make build`, or name it in %s: %w", EnvDevserver, err)
	}
	return path, nil
}

// moduleRoot is the folder of go.mod above the test's working directory.
var moduleRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = up
	}
})

// temporalArgs are what every server of the tests is started with.
func temporalArgs(port int, more ...string) []string {
	args := []string{"--port", strconv.Itoa(port), "--ui-port", "0", "--namespace", namespace, "--visibility-rps", "200"}
	attributes := temporalclient.SearchAttributes()
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		args = append(args, "--search-attribute", name+"="+attributes[name])
	}
	return append(args, more...)
}

// temporalServer is the one that tests share.
type temporalServer struct {
	address, namespace string
	process            *childproc.Process
}

var sharedServer struct {
	mu     sync.Mutex
	server *temporalServer
	err    error
}

// sharedTemporal starts the server with its data in memory.
func sharedTemporal() (*temporalServer, error) {
	sharedServer.mu.Lock()
	defer sharedServer.mu.Unlock()
	if sharedServer.server == nil && sharedServer.err == nil {
		sharedServer.server, sharedServer.err = startTemporal()
	}
	return sharedServer.server, sharedServer.err
}

func startTemporal() (*temporalServer, error) {
	program, err := devserver()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	said := newReadyLine(os.Stderr)
	cmd := exec.Command(program, temporalArgs(port)...)
	cmd.Env = environment(nil)
	cmd.Stdout, cmd.Stderr = said, said
	process, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	s := &temporalServer{address: local(port), namespace: namespace, process: process}
	limit := time.NewTimer(StartLimit)
	defer limit.Stop()
	select {
	case <-said.ready:
		return s, nil
	case <-process.Done():
		return nil, fmt.Errorf("the Temporal server ended at its start: %w", process.Wait())
	case <-limit.C:
		return nil, errors.Join(fmt.Errorf("the Temporal server was not ready within %s", StartLimit), process.Stop(syscall.SIGKILL, time.Second))
	}
}

// stopSharedTemporal kills it: its data end with it.
func stopSharedTemporal(int) error {
	sharedServer.mu.Lock()
	defer sharedServer.mu.Unlock()
	if sharedServer.server == nil {
		return nil
	}
	return sharedServer.server.process.Stop(syscall.SIGKILL, 5*time.Second)
}

// readyLine notices the line with which the server says that it is ready and
// passes everything else on.
type readyLine struct {
	ready chan struct{}

	mu   sync.Mutex
	next io.Writer
	kept []byte
	done bool
}

func newReadyLine(next io.Writer) *readyLine {
	return &readyLine{ready: make(chan struct{}), next: next}
}

// Write is called with what the server prints.
func (r *readyLine) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return r.next.Write(p)
	}
	r.kept = append(r.kept, p...)
	for line := range bytes.Lines(bytes.Clone(r.kept)) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		r.kept = r.kept[len(line):]
		if bytes.HasPrefix(line, []byte("ready ")) {
			r.done = true
			close(r.ready)
			continue
		}
		if _, err := r.next.Write(line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// TemporalData are the files of a server's SQLite database.
func TemporalData(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "temporal-*.db*"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, ".lock") })
}

// waitReady polls until a part says that it is ready.
func waitReady(ctx context.Context, gone <-chan struct{}, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, StartLimit)
	defer cancel()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-gone:
			return errors.Join(errors.New("it has ended"), err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
