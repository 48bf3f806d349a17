package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/config"
	"justlogistics/internal/devfolder"
)

// program plays dev's own children and Temporal by their command lines, over a
// real PostgreSQL.
func program(args []string) int {
	value := func(flag string) string {
		if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
			return args[i+1]
		}
		return ""
	}
	addr := ""
	switch args[0] {
	case "sandbox":
		addr = value("--listen")
	case "api":
		addr = "127.0.0.1:" + os.Getenv("JL_API_PORT")
	case "worker":
		addr = os.Getenv("JL_METRICS_ADDR")
	default:
		addr = "127.0.0.1:" + value("--port")
		fmt.Println("ready frontend=" + addr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		conn, err := pgx.Connect(r.Context(), os.Getenv("DATABASE_URL"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_ = conn.Close(r.Context())
		fmt.Fprint(w, `{"temporal":"up"}`)
	})
	server := &http.Server{Addr: addr, Handler: mux}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Println(err)
		return 1
	}
	return 0
}

// runOptions are those of a dev whose program is this test binary.
func runOptions(t *testing.T) Options {
	t.Helper()
	dir, err := os.MkdirTemp("", "dev-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	script := filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nDEV_TEST_ROLE=program exec %s \"$@\"\n", os.Args[0]), 0o755))
	return Options{
		DataDir:          filepath.Join(dir, ".dev"),
		Ports:            freePorts(t),
		Program:          script,
		TemporalProgram:  script,
		SearchAttributes: map[string]string{"TenantId": "Keyword"},
		Seed: func(_ context.Context, _ *config.Config, kept string) (string, error) {
			if kept != "" {
				return kept, nil
			}
			return "jl_first_key", nil
		},
		Out: &said{},
	}
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

// run starts dev and waits for its dev.json; stop ends it as Ctrl-C does.
func run(t *testing.T, opts Options) (info func() devfolder.Info, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, opts) }()
	info = func() devfolder.Info {
		text, err := os.ReadFile(filepath.Join(opts.DataDir, "dev.json"))
		require.NoError(t, err)
		var info devfolder.Info
		require.NoError(t, json.Unmarshal(text, &info))
		return info
	}
	require.Eventually(t, func() bool {
		select {
		case err := <-ended:
			ended <- err
			return true
		default:
		}
		_, err := os.Stat(filepath.Join(opts.DataDir, "dev.json"))
		return !errors.Is(err, fs.ErrNotExist)
	}, startLimit, 20*time.Millisecond)
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(t, <-ended, "%s", opts.Out)
	}
	t.Cleanup(func() { cancel() })
	return info, stop
}

func TestRun_EveryChildComesBackAndNothingIsLeftAfterTheStop(t *testing.T) {
	t.Parallel()
	opts := runOptions(t)
	info, stop := run(t, opts)
	defer stop()
	first := info()
	require.Equal(t, "http://127.0.0.1:"+strconv.Itoa(opts.Ports.API), first.APIURL)
	require.Equal(t, "jl_first_key", first.APIKey)
	require.Len(t, first.PIDs, 5)
	stat, err := os.Stat(filepath.Join(opts.DataDir, "dev.json"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), stat.Mode().Perm())

	for name, pid := range first.PIDs {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		require.Eventually(t, func() bool { return info().PIDs[name] != pid }, 5*time.Second, 10*time.Millisecond, name)
	}
	require.Equal(t, first.DatabaseURL, info().DatabaseURL)
	require.Eventually(t, func() bool {
		_, err := get(t.Context(), first.APIURL+"/readyz")
		return err == nil
	}, 5*time.Second, 10*time.Millisecond)

	last := info()
	stop()
	require.NoFileExists(t, filepath.Join(opts.DataDir, "dev.json"))
	for name, pid := range last.PIDs {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, name)
	}

	info, stop = run(t, opts)
	defer stop()
	require.Equal(t, "jl_first_key", info().APIKey)
	stop()
}

func TestRun_AProgramThatDoesNotComeUpStopsTheStartWithItsLastLines(t *testing.T) {
	t.Parallel()
	opts := runOptions(t)
	broken := filepath.Join(filepath.Dir(opts.DataDir), "broken")
	require.NoError(t, os.WriteFile(broken, []byte("#!/bin/sh\necho the licence of $1 has run out\nexit 7\n"), 0o755))
	opts.Program = broken
	err := Run(t.Context(), opts)
	require.ErrorContains(t, err, "sandbox ended 3 times at its start")
	require.ErrorContains(t, err, "the licence of sandbox has run out")
	require.NoError(t, tryListen(opts.Ports.Temporal), "nothing is left running")
}

func TestRun_IsInterruptedWhileItStarts(t *testing.T) {
	t.Parallel()
	opts := runOptions(t)
	ctx, cancel := context.WithCancel(t.Context())
	opts.Seed = func(context.Context, *config.Config, string) (string, error) {
		cancel()
		return "", ctx.Err()
	}
	require.NoError(t, Run(ctx, opts))
	require.NoFileExists(t, filepath.Join(opts.DataDir, "dev.json"))
	require.Contains(t, fmt.Sprint(opts.Out), "stopped before everything was up")
}

func TestWelcome_ShowsACheckoutThatIsJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := &dev{opts: Options{Ports: Ports{API: 8080}}, out: &out, secrets: devfolder.Secrets{APIKey: "jl_key"}}
	d.welcome(time.Second)
	_, rest, found := bytes.Cut(out.Bytes(), []byte("-d '"))
	require.True(t, found)
	body, _, found := bytes.Cut(rest, []byte("'\n"))
	require.True(t, found)
	require.True(t, json.Valid(body), "%s", body)
	require.NotContains(t, out.String(), "%!")
}
