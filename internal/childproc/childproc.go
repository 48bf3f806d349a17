// Package childproc starts child processes that never outlive the process that
// started them, not even when that one is killed with -9. Linux only: it rests
// on the parent-death signal of the kernel (prctl(2), PR_SET_PDEATHSIG).
package childproc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is a running child. Its methods may be called from any goroutine.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error

	mu    sync.Mutex
	ended bool
}

// Start starts cmd as a child that receives deathSignal from the kernel when
// this process ends in whatever way. The child gets a process group of its own,
// so that Ctrl-C in a terminal reaches only the parent, which then stops its
// children in the order it wants.
//
// cmd must not have been started, and must not be waited for by the caller.
func Start(cmd *exec.Cmd, deathSignal syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = deathSignal
	if cmd.WaitDelay == 0 {
		// A grandchild that keeps the output pipe open must not hide that the
		// child itself is gone.
		cmd.WaitDelay = time.Second
	}

	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel ties the death signal to the thread that forked, not to the
		// process: were the thread to end earlier, the child would be killed with
		// it. So this goroutine keeps its thread until the child is gone, and
		// leaves it locked so that the runtime ends the thread with it.
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		err := cmd.Wait()
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.err = err
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// PID is the child's process id; it stays the same after the child has ended.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended and all its output was read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait blocks until the child has ended and returns how: nil for exit status 0,
// an *exec.ExitError otherwise.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends sig to the child. A child that has ended already is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.PID(), err)
	}
	return nil
}

// Stop sends sig, waits up to patience and then kills the child. It returns once
// the child has ended; the error names a child that had to be killed.
func (p *Process) Stop(sig syscall.Signal, patience time.Duration) error {
	if err := p.Signal(sig); err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return fmt.Errorf("process %d did not end within %s of %s and was killed", p.PID(), patience, sig)
}
