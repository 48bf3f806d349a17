package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const (
	childEnv = "JL_DEVSERVER_TEST_CHILD"
	// serverTimeout bounds every wait on a server in these tests.
	serverTimeout = 25 * time.Second
)

// TestMain lets the test binary be the dev server too: each test runs real
// processes, which can be killed, without linking a second 200 MB binary.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestDevServer_WorkflowGoesOnAfterKillAndRestart(t *testing.T) {
	t.Parallel()
	db := filepath.Join(t.TempDir(), "temporal.db")
	tenant := temporal.NewSearchAttributeKeyKeyword("JLTenant")
	attention := temporal.NewSearchAttributeKeyBool("JLAttention")

	first := startServer(t, "--db", db, "--search-attribute", "JLTenant=Keyword")
	c := first.client(t)
	w := startWorker(t, c)
	start := c.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
		ID:                       "greeting:demo:1",
		TaskQueue:                testQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		TypedSearchAttributes:    temporal.NewSearchAttributes(tenant.ValueSet("demo")),
	}, greetingWorkflow)
	update, err := c.UpdateWithStartWorkflow(t.Context(), client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: start,
		UpdateOptions: client.UpdateWorkflowOptions{
			UpdateName:   greetUpdate,
			Args:         []any{"Rosa"},
			WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	require.NoError(t, err)
	var greeting string
	require.NoError(t, update.Get(t.Context(), &greeting))
	require.Equal(t, "hello Rosa", greeting)
	w.Stop()
	first.kill(t)

	second := startServer(t, "--db", db, "--search-attribute", "JLTenant=Keyword", "--search-attribute", "JLAttention=Bool")
	c = second.client(t)
	startWorker(t, c)
	require.NoError(t, c.SignalWorkflow(t.Context(), "greeting:demo:1", "", endSignal, nil))
	var greeted []string
	require.NoError(t, c.GetWorkflow(t.Context(), "greeting:demo:1", "").Get(t.Context(), &greeted))
	require.Equal(t, []string{"Rosa"}, greeted)

	// The attribute that came with the second start can be used at once.
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID:                    "greeting:demo:2",
		TaskQueue:             testQueue,
		TypedSearchAttributes: temporal.NewSearchAttributes(tenant.ValueSet("demo"), attention.ValueSet(true)),
	}, greetingWorkflow)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		count, err := c.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: "JLTenant = 'demo' AND JLAttention = true"})
		return err == nil && count.Count == 1
	}, serverTimeout, 200*time.Millisecond)
	require.NoError(t, c.CancelWorkflow(t.Context(), run.GetID(), run.GetRunID()))

	described, err := c.WorkflowService().DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{Namespace: "default"})
	require.NoError(t, err)
	require.Equal(t, namespaceRetention, described.Config.WorkflowExecutionRetentionTtl.AsDuration())
	second.stop(t)
}

func TestDevServer_SmallTenantIsServedBeforeTheRestOfALongQueue(t *testing.T) {
	t.Parallel()
	c := startServer(t).client(t)
	const backlog = 20
	begin := func(tenant string, n int) {
		_, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID:        fmt.Sprintf("greeting:%s:%d", tenant, n),
			TaskQueue: "fairness",
			Priority:  temporal.Priority{FairnessKey: tenant},
		}, greetingWorkflow)
		require.NoError(t, err)
	}
	for n := range backlog {
		begin("large", n)
	}
	begin("small", 0)

	ctx, cancel := context.WithTimeout(t.Context(), serverTimeout)
	defer cancel()
	position := 0
	for polled := 1; position == 0 && polled <= backlog+1; polled++ {
		task, err := c.WorkflowService().PollWorkflowTaskQueue(ctx, &workflowservice.PollWorkflowTaskQueueRequest{
			Namespace: "default",
			TaskQueue: &taskqueuepb.TaskQueue{Name: "fairness"},
			Identity:  "fairness test",
		})
		require.NoError(t, err)
		require.NotNil(t, task.WorkflowExecution)
		if strings.HasPrefix(task.WorkflowExecution.WorkflowId, "greeting:small:") {
			position = polled
		}
	}
	require.LessOrEqual(t, position, backlog/2, "without fairness the small tenant comes last, as number %d", backlog+1)
}

func TestDevServer_DeletedFileLeadsToAFreshOne(t *testing.T) {
	t.Parallel()
	db := filepath.Join(t.TempDir(), "temporal.db")
	first := startServer(t, "--db", db)
	_, err := first.client(t).ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "greeting:demo:1", TaskQueue: testQueue}, greetingWorkflow)
	require.NoError(t, err)
	require.NoError(t, os.Remove(versionedName(db)))
	first.kill(t)

	_, err = startServer(t, "--db", db).client(t).DescribeWorkflowExecution(t.Context(), "greeting:demo:1", "")
	require.ErrorContains(t, err, "not found")
}

func TestDevServer_UIKnowsNamespaceAndCodec(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	server := startServer(t, "--ui-port", strconv.Itoa(port), "--namespace", "tienda", "--codec-endpoint", "http://127.0.0.1:8080/codec")
	require.Equal(t, fmt.Sprintf("http://127.0.0.1:%d", port), server.ui)

	require.Contains(t, get(t, server.ui+"/"), "<!doctype html>")
	var settings struct {
		DefaultNamespace string
		DisableNewsFetch bool
		Codec            struct {
			Endpoint                            string
			PassAccessToken, IncludeCredentials bool
		}
	}
	require.NoError(t, json.Unmarshal([]byte(get(t, server.ui+"/api/v1/settings")), &settings))
	require.Equal(t, "tienda", settings.DefaultNamespace)
	require.True(t, settings.DisableNewsFetch)
	require.Equal(t, "http://127.0.0.1:8080/codec", settings.Codec.Endpoint)
	require.False(t, settings.Codec.PassAccessToken)
	require.False(t, settings.Codec.IncludeCredentials)
}

func TestDevServer_RefusesToStartWithOneLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	takenPort := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	broken := filepath.Join(dir, "broken.db")
	require.NoError(t, os.WriteFile(versionedName(broken), bytes.Repeat([]byte("no database "), 1000), 0o600))
	used := filepath.Join(dir, "used.db")
	unlock, err := lockFile(versionedName(used) + ".lock")
	require.NoError(t, err)
	t.Cleanup(unlock)

	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"frontend port taken": {[]string{"--port", takenPort}, "port " + takenPort + " of 127.0.0.1 is taken"},
		"UI port taken":       {[]string{"--ui-port", takenPort}, "port " + takenPort + " of 127.0.0.1 is taken"},
		"folder is a file":    {[]string{"--db", filepath.Join(file, "temporal.db")}, "database folder"},
		"not a database":      {[]string{"--db", broken}, "not a database"},
		"database in use":     {[]string{"--db", used}, "is in use by another"},
		"PostgreSQL does not answer": {[]string{
			"--postgres", "postgres://u:secret@127.0.0.1:1/a", "--postgres-visibility", "postgres://u:secret@127.0.0.1:1/b",
		}, "--postgres: failed to connect"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, test.args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Run(), &exit)
			require.Equal(t, 1, exit.ExitCode())
			require.Contains(t, stderr.String(), test.says)
			require.Equal(t, 1, strings.Count(stderr.String(), "\n"), stderr.String())
			require.NotContains(t, stderr.String(), "secret")
		})
	}
}

const (
	testQueue   = "greetings"
	greetUpdate = "greet"
	endSignal   = "end"
)

// greetingWorkflow greets whoever an update names, until it is told to end.
func greetingWorkflow(ctx workflow.Context) ([]string, error) {
	var greeted []string
	err := workflow.SetUpdateHandler(ctx, greetUpdate, func(_ workflow.Context, name string) (string, error) {
		greeted = append(greeted, name)
		return "hello " + name, nil
	})
	if err != nil {
		return nil, err
	}
	workflow.GetSignalChannel(ctx, endSignal).Receive(ctx, nil)
	return greeted, nil
}

func startWorker(t *testing.T, c client.Client) worker.Worker {
	t.Helper()
	w := worker.New(c, testQueue, worker.Options{})
	w.RegisterWorkflow(greetingWorkflow)
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	return w
}

// server is a dev server in a process of its own.
type server struct {
	cmd          *exec.Cmd
	frontend, ui string
	ended        chan error
}

// startServer returns when the server says that it is ready. It takes a free
// port and has no UI unless args say otherwise.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	cmd := command(t, args...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	s := &server{cmd: cmd, ended: make(chan error, 1)}
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		ready <- line
		s.ended <- cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.ended
	})
	select {
	case line := <-ready:
		_, err := fmt.Sscanf(line, "ready frontend=%s ui=%s", &s.frontend, &s.ui)
		if s.ui != "" {
			require.NoError(t, err)
		}
		require.NotEmpty(t, s.frontend, "first line: %q", line)
	case <-time.After(serverTimeout):
		require.FailNow(t, "the server did not get ready")
	}
	return s
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{"--port", "0", "--ui-port", "0", "--log-level", "error"}, args...)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	return cmd
}

func (s *server) client(t *testing.T) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{
		HostPort: s.frontend,
		Logger:   log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func (s *server) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Kill())
	require.Error(t, <-s.ended)
}

// stop asks for an orderly end, with a worker still polling.
func (s *server) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-s.ended:
		require.NoError(t, err)
	case <-time.After(stopPatience + 2*time.Second):
		require.FailNow(t, "the server did not stop")
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().(*net.TCPAddr).Port
}

func get(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), serverTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}
