package childproc_test

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/childproc"
)

// start runs a shell script and waits for its first line, so that its traps stand.
func start(t *testing.T, script string) *childproc.Process {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stdout = w
	p, err := childproc.Start(cmd, syscall.SIGKILL)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	t.Cleanup(func() { require.NoError(t, p.Signal(syscall.SIGKILL)) })
	_, err = bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	return p
}

func TestStop_AChildThatListensEndsByItself(t *testing.T) {
	t.Parallel()
	p := start(t, `tail -f /dev/null & trap "kill $!; exit 0" TERM; echo up; wait`)
	require.NoError(t, p.Stop(syscall.SIGTERM, 10*time.Second))
	require.NoError(t, p.Wait())
	require.NoError(t, p.Stop(syscall.SIGTERM, time.Second), "a second stop is harmless")
}

func TestStop_AChildThatDoesNotListenIsKilledAndNamed(t *testing.T) {
	t.Parallel()
	p := start(t, `trap '' TERM; echo up; exec tail -f /dev/null`)
	require.ErrorContains(t, p.Stop(syscall.SIGTERM, 50*time.Millisecond), "was killed")
	require.ErrorContains(t, p.Wait(), "signal: killed")
}

func TestStart_AMissingProgramIsAnError(t *testing.T) {
	t.Parallel()
	_, err := childproc.Start(exec.Command("/no/such/program"), syscall.SIGKILL)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Threads of Go come and go; a child tied to one that ends would be killed with it.
func TestStart_AChildOutlivesTheThreadsOfItsParent(t *testing.T) {
	t.Parallel()
	p := start(t, `echo up; exec tail -f /dev/null`)
	for range 50 {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		}()
		<-ended
	}
	require.NoError(t, syscall.Kill(p.PID(), 0))
	select {
	case <-p.Done():
		t.Fatal("the child was killed with a thread")
	default:
	}
}
