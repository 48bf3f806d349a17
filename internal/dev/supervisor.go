package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"justlogistics/internal/childproc"
)

// process is one life of a service.
type process interface {
	PID() int
	Done() <-chan struct{}
	Wait() error
	// Stop ends it and returns when it is gone.
	Stop() error
}

// service is something that dev keeps running, in one process after another.
type service struct {
	name  string
	spawn func(ctx context.Context) (process, error)
	// ready asks once whether the service does its work; nil: it does as soon as
	// spawn returns.
	ready func(ctx context.Context) error
	log   *output

	watched chan struct{} // closed when nobody starts it again any more

	mu      sync.Mutex
	current process
	ends    int
}

func (s *service) set(p process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = p
}

func (s *service) get() (current process, ends int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.ends
}

func (s *service) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends++
}

const (
	healthyAfter = 10 * time.Second // a life this long owes nothing to earlier crashes
	longestPause = 2 * time.Second
	startLimit   = 90 * time.Second // for one service to become ready
	startTries   = 3                // lives that a service may lose before it was ever ready
)

// supervisor keeps services running until it is stopped.
type supervisor struct {
	say func(format string, args ...any)
	// changed is called after a service got another process.
	changed func()

	ctx      context.Context
	stopping context.CancelFunc

	mu       sync.Mutex
	services []*service
}

func newSupervisor(say func(string, ...any), changed func()) *supervisor {
	ctx, cancel := context.WithCancel(context.Background())
	return &supervisor{say: say, changed: changed, ctx: ctx, stopping: cancel}
}

// start gives the service its first process and watches it from then on.
func (s *supervisor) start(ctx context.Context, svc *service) error {
	p, err := svc.spawn(ctx)
	if err != nil {
		return fmt.Errorf("start %s: %w", svc.name, err)
	}
	svc.set(p)
	svc.watched = make(chan struct{})
	s.mu.Lock()
	s.services = append(s.services, svc)
	s.mu.Unlock()
	go s.watch(svc)
	return nil
}

func (s *supervisor) started() []*service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.services)
}

// watch starts the service again whenever its process ends: at once the first
// time, and later with pauses that grow to longestPause while it keeps ending.
func (s *supervisor) watch(svc *service) {
	defer close(svc.watched)
	var pause time.Duration
	for {
		born := time.Now()
		p, _ := svc.get()
		select {
		case <-p.Done():
		case <-s.ctx.Done():
			return
		}
		if s.ctx.Err() != nil {
			return
		}
		svc.ended()
		if time.Since(born) > healthyAfter {
			pause = 0
		}
		s.say("%s (process %d) ended: %s; starting it again%s", svc.name, p.PID(), howEnded(p.Wait()), in(pause))
		for {
			if !s.wait(pause) {
				return
			}
			pause = min(max(2*pause, 250*time.Millisecond), longestPause)
			next, err := svc.spawn(s.ctx)
			if err == nil {
				svc.set(next)
				s.say("%s runs again (process %d)", svc.name, next.PID())
				s.changed()
				break
			}
			if s.ctx.Err() != nil {
				return
			}
			s.say("%s does not start: %v; trying again%s", svc.name, err, in(pause))
		}
	}
}

func in(pause time.Duration) string {
	if pause == 0 {
		return ""
	}
	return " in " + pause.String()
}

func howEnded(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// wait pauses, and returns false when the supervisor is stopped meanwhile.
func (s *supervisor) wait(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// await blocks until the service is ready for the first time. It gives up on one
// that keeps ending or takes too long, and shows what it printed last.
func (s *supervisor) await(ctx context.Context, svc *service) error {
	if svc.ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := svc.ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if _, ends := svc.get(); ends >= startTries {
			return fmt.Errorf("%s ended %d times at its start; its log is %s and ends with:\n%s", svc.name, ends, svc.log.path, svc.log.last())
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("%s was not ready within %s (%w); its log is %s and ends with:\n%s", svc.name, startLimit, last, svc.log.path, svc.log.last())
		case <-tick.C:
		}
	}
}

// stop ends all services, the last started first, and returns when they are gone.
func (s *supervisor) stop() error {
	s.stopping()
	var wrong []error
	for _, svc := range slices.Backward(s.started()) {
		<-svc.watched
		p, _ := svc.get()
		if err := p.Stop(); err != nil {
			wrong = append(wrong, fmt.Errorf("stop %s: %w", svc.name, err))
		}
	}
	return errors.Join(wrong...)
}

func (s *supervisor) pids() map[string]int {
	pids := map[string]int{}
	for _, svc := range s.started() {
		if p, _ := svc.get(); p != nil {
			pids[svc.name] = p.PID()
		}
	}
	return pids
}

// command is a service's program.
type command struct {
	path     string
	args     []string
	env      []string // the whole environment
	patience time.Duration
}

type commandProcess struct {
	*childproc.Process
	patience time.Duration
}

func (p commandProcess) Stop() error { return p.Process.Stop(syscall.SIGTERM, p.patience) }

// spawner starts the command with its output going to out. The process is killed
// by the kernel when dev ends, so that the next dev finds all ports free.
func (c command) spawner(out io.Writer) func(context.Context) (process, error) {
	return func(context.Context) (process, error) {
		if _, err := os.Stat(c.path); err != nil {
			return nil, fmt.Errorf("%w (`make build` makes it)", err)
		}
		cmd := exec.Command(c.path, c.args...)
		cmd.Env = c.env
		cmd.Stdout, cmd.Stderr = out, out
		p, err := childproc.Start(cmd, syscall.SIGKILL)
		if err != nil {
			return nil, err
		}
		return commandProcess{p, c.patience}, nil
	}
}
