package pgserver_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/pgserver"
)

// TestMain doubles as the parent process that a test kills with -9.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PGSERVER_TEST_PARENT"); dir != "" {
		server, err := pgserver.Start(context.Background(), pgserver.Options{DataDir: dir})
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println(server.SuperuserURL("postgres"))
		fmt.Println(server.Wait())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// setup returns options for a small server in a folder that its user may enter.
func setup(t *testing.T) pgserver.Options {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgserver-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return pgserver.Options{
		DataDir:        filepath.Join(dir, "postgres"),
		Logger:         slog.New(slog.DiscardHandler),
		MaxConnections: 20,
	}
}

func start(t *testing.T, opts pgserver.Options) *pgserver.Server {
	t.Helper()
	server, err := pgserver.Start(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.Background())) }()
	var answer string
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&answer))
	return answer
}

func keepARow(t *testing.T, server *pgserver.Server) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.SuperuserURL("postgres"))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.Background())) }()
	_, err = conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 1")
	require.NoError(t, err)
}

func TestStart_DataAndPortSurviveAStop(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	server := start(t, opts)
	keepARow(t, server)
	require.Equal(t, "UTF8", query(t, server.SuperuserURL("postgres"), "SHOW server_encoding"))
	require.NoError(t, server.Stop())
	require.NoError(t, server.Wait())

	opts.Port = server.Port()
	again := start(t, opts)
	require.Equal(t, server.Port(), again.Port())
	require.Equal(t, "1", query(t, again.SuperuserURL("postgres"), "SELECT count(*)::text FROM kept"))
}

func TestStart_AWrongPasswordIsRefused(t *testing.T) {
	t.Parallel()
	server := start(t, setup(t))
	_, err := pgx.Connect(t.Context(), server.URL("postgres", "postgres", "guess"))
	require.ErrorContains(t, err, "password authentication failed")
}

func TestStart_PasswordFileIsPrivate(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	start(t, opts)
	info, err := os.Stat(filepath.Join(opts.DataDir, "superuser.password"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestStart_AfterKill9OfTheServerOnTheSamePortKeepsCommittedRows(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	server := start(t, opts)
	keepARow(t, server)
	require.NoError(t, syscall.Kill(server.PID(), syscall.SIGKILL))
	require.Error(t, server.Wait())

	opts.Port = server.Port()
	again := start(t, opts)
	require.Equal(t, "1", query(t, again.SuperuserURL("postgres"), "SELECT count(*)::text FROM kept"))
}

func TestStart_ServerEndsWhenItsParentIsKilledAndTheNextParentStarts(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "PGSERVER_TEST_PARENT="+opts.DataDir)
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	url := strings.TrimSpace(line)
	require.Equal(t, "ok", query(t, url, "SELECT 'ok'"))

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), url)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		return err != nil
	}, 10*time.Second, 20*time.Millisecond)
	start(t, opts)
}

func TestStart_AServerThatOutlivedItsParentIsReplaced(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	first := start(t, opts)
	second := start(t, opts)
	require.NoError(t, first.Wait())
	require.Equal(t, "ok", query(t, second.SuperuserURL("postgres"), "SELECT 'ok'"))
}

func TestStart_ATakenPortIsNamed(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	opts.Port = l.Addr().(*net.TCPAddr).Port
	_, err = pgserver.Start(t.Context(), opts)
	require.ErrorContains(t, err, fmt.Sprintf("port %d for PostgreSQL is taken", opts.Port))
}

func TestStart_AFolderThatCantBeMadeIsNamed(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	file := filepath.Dir(opts.DataDir) + "/file"
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	opts.DataDir = filepath.Join(file, "postgres")
	_, err := pgserver.Start(t.Context(), opts)
	require.ErrorContains(t, err, "make PostgreSQL's data folder")
	require.ErrorContains(t, err, file)
}

func TestStart_AFolderOnAReadOnlySystemIsNamed(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	opts.DataDir = "/proc/justlogistics"
	_, err := pgserver.Start(t.Context(), opts)
	require.ErrorContains(t, err, "make PostgreSQL's data folder")
}

func TestStart_ABadSettingShowsWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	opts.Settings = map[string]string{"shared_buffers": "many"}
	_, err := pgserver.Start(t.Context(), opts)
	require.ErrorContains(t, err, `invalid value for parameter "shared_buffers"`)
}

func TestStart_AFullDiskShowsWhatInitdbSaid(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	opts := setup(t)
	small := filepath.Dir(opts.DataDir) + "/small"
	require.NoError(t, os.Mkdir(small, 0o755))
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=4m,mode=755"); err != nil {
		t.Skipf("may not mount here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(small, 0)) })
	opts.DataDir = filepath.Join(small, "postgres")
	_, err := pgserver.Start(t.Context(), opts)
	require.ErrorContains(t, err, "No space left on device")
	require.NoDirExists(t, filepath.Join(opts.DataDir, "cluster"))
}

func TestStart_UnderAPrivateHomeTheDataLieElsewhereAndAreFoundAgain(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root starts the server as another user")
	}
	opts := setup(t)
	require.NoError(t, os.Chmod(filepath.Dir(opts.DataDir), 0o700))
	server := start(t, opts)
	note, err := os.ReadFile(filepath.Join(opts.DataDir, "location"))
	require.NoError(t, err)
	cluster := strings.TrimSpace(string(note))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(filepath.Dir(cluster))) })
	require.NotContains(t, cluster, opts.DataDir)
	keepARow(t, server)
	require.NoError(t, server.Stop())

	again := start(t, opts)
	require.Equal(t, "1", query(t, again.SuperuserURL("postgres"), "SELECT count(*)::text FROM kept"))
	require.NoError(t, again.Stop())

	// A folder that was removed and made anew starts with nothing.
	require.NoError(t, os.RemoveAll(opts.DataDir))
	anew := start(t, opts)
	require.Equal(t, "0", query(t, anew.SuperuserURL("postgres"), "SELECT count(*)::text FROM pg_tables WHERE tablename = 'kept'"))
	require.NoError(t, anew.Stop())
}

func TestStart_AnUnfinishedInitialisationIsDoneAgain(t *testing.T) {
	t.Parallel()
	opts := setup(t)
	unfinished := filepath.Join(opts.DataDir, "cluster.new")
	require.NoError(t, os.MkdirAll(unfinished, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(unfinished, "PG_VERSION"), []byte("15\n"), 0o644))
	server := start(t, opts)
	require.Equal(t, "ok", query(t, server.SuperuserURL("postgres"), "SELECT 'ok'"))
	require.NoDirExists(t, unfinished)
}
