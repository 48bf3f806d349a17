package dev

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain doubles as the child processes and as a parent that a test kills.
func TestMain(m *testing.M) {
	switch role, arg, _ := strings.Cut(os.Getenv("DEV_TEST_ROLE"), " "); role {
	case "listener":
		os.Exit(listener(arg))
	case "crasher":
		fmt.Println("no such thing as a free port")
		os.Exit(3)
	case "parent":
		os.Exit(parent(arg))
	case "program":
		os.Exit(program(os.Args[1:]))
	default:
		os.Exit(m.Run())
	}
}

// listener answers each connection with its process id until SIGTERM.
func listener(addr string) int {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready on", addr)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, os.Getpid())
			conn.Close()
		}
	}()
	<-terminated
	return 0
}

// parent supervises two listeners and says their ids.
func parent(arg string) int {
	ports := strings.Fields(arg)
	s := newSupervisor(func(string, ...any) {}, func() {})
	for _, addr := range ports {
		svc := &service{name: addr, spawn: fake("listener "+addr, io.Discard)}
		if err := s.start(context.Background(), svc); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("supervising")
	select {}
}

func fake(role string, out io.Writer) func(context.Context) (process, error) {
	return command{
		path:     os.Args[0],
		env:      append(os.Environ(), "DEV_TEST_ROLE="+role),
		patience: 5 * time.Second,
	}.spawner(out)
}

// pidAt asks a listener who it is; 0 when nobody answers.
func pidAt(port int) int {
	conn, err := net.DialTimeout("tcp", local(port), time.Second)
	if err != nil {
		return 0
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0
	}
	return pid
}

type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *said) sayf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.buf, format+"\n", args...)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

type bundle struct {
	supervisor *supervisor
	said       *said
	changes    chan map[string]int
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{said: &said{}, changes: make(chan map[string]int, 100)}
	b.supervisor = newSupervisor(b.said.sayf, func() { b.changes <- b.supervisor.pids() })
	t.Cleanup(func() { require.NoError(t, b.supervisor.stop()) })
	return b
}

func (b *bundle) listener(t *testing.T, name string) (svc *service, port int) {
	t.Helper()
	port, err := freePort()
	require.NoError(t, err)
	log, err := openOutput(t.TempDir(), name, nil)
	require.NoError(t, err)
	svc = &service{name: name, spawn: fake("listener "+local(port), log), ready: accepts(port), log: log}
	require.NoError(t, b.supervisor.start(t.Context(), svc))
	require.NoError(t, b.supervisor.await(t.Context(), svc))
	return svc, port
}

func TestSupervisor_AKilledChildComesBackOnItsPortWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, port := b.listener(t, "api")
	_, otherPort := b.listener(t, "worker")
	before, other := pidAt(port), pidAt(otherPort)

	require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		pid := pidAt(port)
		return pid != 0 && pid != before
	}, 2*time.Second, 10*time.Millisecond)
	pids := <-b.changes
	require.Equal(t, pidAt(port), pids["api"])
	require.Equal(t, other, pidAt(otherPort), "the other child is left alone")
	require.Contains(t, b.said.String(), fmt.Sprintf("api (process %d) ended: signal: killed; starting it again", before))
	require.Contains(t, b.said.String(), fmt.Sprintf("api runs again (process %d)", pids["api"]))
}

func TestSupervisor_AChildKilledTwiceIsBackWithinTwoSecondsEachTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, port := b.listener(t, "temporal")
	for range 3 {
		before := pidAt(port)
		require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
		require.Eventually(t, func() bool {
			pid := pidAt(port)
			return pid != 0 && pid != before
		}, 2*time.Second, 10*time.Millisecond)
	}
}

func TestSupervisor_AChildThatNeverComesUpIsShownWithItsLastLines(t *testing.T) {
	t.Parallel()
	b := setup(t)
	port, err := freePort()
	require.NoError(t, err)
	log, err := openOutput(t.TempDir(), "worker", nil)
	require.NoError(t, err)
	svc := &service{name: "worker", spawn: fake("crasher", log), ready: accepts(port), log: log}
	require.NoError(t, b.supervisor.start(t.Context(), svc))
	err = b.supervisor.await(t.Context(), svc)
	require.ErrorContains(t, err, "worker ended 3 times at its start")
	require.ErrorContains(t, err, "no such thing as a free port")
	require.Contains(t, b.said.String(), "exit status 3; starting it again in ")
}

func TestSupervisor_AMissingProgramSaysHowToMakeIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	svc := &service{name: "temporal", spawn: command{path: t.TempDir() + "/none"}.spawner(io.Discard)}
	err := b.supervisor.start(t.Context(), svc)
	require.ErrorContains(t, err, "start temporal")
	require.ErrorContains(t, err, "make build")
}

// recorded notes when it is stopped.
type recorded struct {
	process
	name  string
	order *[]string
}

func (r recorded) Stop() error {
	*r.order = append(*r.order, r.name)
	return r.process.Stop()
}

func TestSupervisor_StopsInTheReverseOrderAndStartsNothingAgain(t *testing.T) {
	t.Parallel()
	said := &said{}
	s := newSupervisor(said.sayf, func() {})
	var order []string
	var ports []int
	for _, name := range []string{"postgres", "temporal", "sandbox", "api", "worker"} {
		port, err := freePort()
		require.NoError(t, err)
		ports = append(ports, port)
		log, err := openOutput(t.TempDir(), name, nil)
		require.NoError(t, err)
		spawn := fake("listener "+local(port), log)
		svc := &service{name: name, log: log, ready: accepts(port), spawn: func(ctx context.Context) (process, error) {
			p, err := spawn(ctx)
			return recorded{p, name, &order}, err
		}}
		require.NoError(t, s.start(t.Context(), svc))
		require.NoError(t, s.await(t.Context(), svc))
	}
	require.NoError(t, s.stop())
	require.Equal(t, []string{"worker", "api", "sandbox", "temporal", "postgres"}, order)
	for _, port := range ports {
		require.Zero(t, pidAt(port))
	}
	require.Empty(t, said.String())
}

func TestSupervisor_ChildrenAreGoneWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	var ports []int
	var addresses []string
	for range 2 {
		port, err := freePort()
		require.NoError(t, err)
		ports = append(ports, port)
		addresses = append(addresses, local(port))
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DEV_TEST_ROLE=parent "+strings.Join(addresses, " "))
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for _, port := range ports {
		require.Eventually(t, func() bool { return pidAt(port) != 0 }, 10*time.Second, 10*time.Millisecond)
	}

	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	require.Error(t, cmd.Wait())
	for _, port := range ports {
		require.Eventually(t, func() bool { return tryListen(port) == nil }, settling, 10*time.Millisecond)
	}
}

func TestOutput_TellsReadyFromALineWrittenInPieces(t *testing.T) {
	t.Parallel()
	var terminal bytes.Buffer
	o, err := openOutput(t.TempDir(), "temporal", &terminal)
	require.NoError(t, err)
	for _, piece := range []string{"starting\nnot ready \nrea", "dy frontend=127.0.0.1:7233", " ui=x"} {
		_, err := o.Write([]byte(piece))
		require.NoError(t, err)
		require.False(t, o.saidReady())
	}
	_, err = o.Write([]byte("\n"))
	require.NoError(t, err)
	require.True(t, o.saidReady())
	require.NoError(t, o.close())
	require.Contains(t, terminal.String(), "temporal | starting\n")
	kept, err := os.ReadFile(o.path)
	require.NoError(t, err)
	require.Equal(t, "starting\nnot ready \nready frontend=127.0.0.1:7233 ui=x\n", string(kept))
}

func TestOutput_AFullDiskDoesNotStopTheChild(t *testing.T) {
	t.Parallel()
	var terminal bytes.Buffer
	o, err := openOutput(t.TempDir(), "api", &terminal)
	require.NoError(t, err)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	require.NoError(t, o.file.Close())
	o.file = full
	for range 2 {
		n, err := o.Write([]byte("line\n"))
		require.NoError(t, err)
		require.Equal(t, 5, n)
	}
	require.Equal(t, 1, strings.Count(terminal.String(), "no space left on device"))
	require.NoError(t, o.close())
}
