// Package circuit leaves a provider out while it is away, for all processes
// together: a circuit for each tenant and provider counts how calls end, opens
// when too many fail, and lets one call through now and then to see. While the
// state that all share cannot be had, each process judges by itself.
//
// What is refused while a circuit is open is the caller's affair: it asks leave
// (Enter) only for what may as well be begun elsewhere or later.
package circuit

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"justlogistics/internal/id"
	"justlogistics/internal/postgres"
)

// State of a circuit: closed lets calls through, open refuses to begin anything,
// half-open lets one of all processes through to see.
type State string

// The states, as the API and metrics show them.
const (
	Closed   State = "closed"
	Open     State = "open"
	HalfOpen State = "half_open"
)

// Key names a circuit: a tenant's provider.
type Key struct{ Tenant, Name string }

// Standing is how a circuit stands.
type Standing struct {
	State State
	// Since is when it last changed, UTC; zero: never, or not known.
	Since time.Time
	// RetryAt, of one that is not closed, is from when one call may try, UTC.
	RetryAt time.Time
	// How often it changed to each state.
	Opened, HalfOpened, Closed int64
}

// Circuit is how one tenant's provider fares.
type Circuit struct {
	Tenant, Name string
	Standing
}

// refuses tells whether nothing may begin now, not even to try.
func (s Standing) refuses(now time.Time) bool { return s.State != Closed && now.Before(s.RetryAt) }

// Options are the providers of a Set, and when their circuits open. A zero field
// after Lease takes its default.
type Options struct {
	// Kind of the providers in a word ("gateway"), for logs and the timeline.
	Kind string
	// Names of all providers of that kind. Those of other kinds are kept beside
	// them: no two kinds may have a name in common.
	Names []string
	// Lease is how long one process may try a circuit alone: longer than any call
	// that needs leave, since then another may try too.
	Lease time.Duration
	// FailureRate (default 0.5) of at least MinCalls (default 10) within Window
	// (default 30 s) opens a circuit; after Delay (default 15 s) one call is let
	// through to see.
	FailureRate float64
	MinCalls    uint
	Window      time.Duration
	Delay       time.Duration
	// ReadWithin bounds how long a call waits for the shared state (default
	// 300 ms); after that the process judges alone.
	ReadWithin time.Duration
	// DB is where processes share what they see; nil: each judges alone.
	DB *postgres.DB
	// Logger takes each change of a circuit; nil discards them.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.FailureRate = cmp.Or(o.FailureRate, 0.5)
	o.MinCalls = cmp.Or(o.MinCalls, 10)
	o.Window = cmp.Or(o.Window, 30*time.Second)
	o.Delay = cmp.Or(o.Delay, 15*time.Second)
	o.ReadWithin = cmp.Or(o.ReadWithin, 300*time.Millisecond)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o
}

// Set are the circuits of all providers of a kind, as one process has them. It is
// safe for concurrent use.
type Set struct {
	o      Options
	shared *shared // nil: without a database

	mu   sync.Mutex
	seen map[Key]*alone
}

// New makes a Set. Close it when nobody calls any more.
func New(o Options) *Set {
	o = o.withDefaults()
	s := &Set{o: o, seen: map[Key]*alone{}}
	if o.DB != nil {
		s.shared = newShared(o)
	}
	return s
}

// of is what this process alone has seen; made when it is first asked for.
func (s *Set) of(k Key) *alone {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.seen[k]
	if a == nil {
		a = newAlone(s.o, k)
		s.seen[k] = a
	}
	return a
}

// Verdict is what the end of a call says of the provider.
type Verdict int

// Verdicts.
const (
	SaysNothing Verdict = iota // we gave the call up, or made none
	IsThere
	IsAway
)

// Judge tells how a call ended that failed as one to a provider fails that is
// away, or not: a caller that gave up has not seen how it would have ended. A
// deadline that passed is the provider's fault.
func Judge(ctx context.Context, failed bool, err error) Verdict {
	switch {
	case !failed:
		return IsThere
	case errors.Is(err, context.Canceled), errors.Is(ctx.Err(), context.Canceled):
		return SaysNothing
	}
	return IsAway
}

// Watch returns a context for a call over HTTP, and what tells afterwards whether
// a connection was asked for: what an adapter answers by itself says nothing of
// the provider.
func Watch(ctx context.Context) (watched context.Context, dialled func() bool) {
	var seen atomic.Bool
	watched = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(string) { seen.Store(true) }})
	return watched, seen.Load
}

// Count books how a call ended, here and for all.
func (s *Set) Count(k Key, v Verdict) {
	switch v {
	case IsThere:
		s.of(k).breaker.RecordSuccess()
	case IsAway:
		s.of(k).breaker.RecordFailure()
	default:
		return
	}
	if s.shared != nil {
		s.shared.count(k, v == IsAway)
	}
}

// Permit is leave to begin one thing. It is given back with Leave.
type Permit struct {
	probe string // of the one call that tries a circuit that is not closed
	local bool   // given by this process alone
}

// Enter asks leave to begin something. When ok is false it is refused, and may be
// asked for again after wait, a second or more.
func (s *Set) Enter(ctx context.Context, k Key) (p Permit, wait time.Duration, ok bool) {
	if s.shared != nil {
		if c, known := s.shared.look(ctx, k); known {
			if c.State == Closed {
				return Permit{}, 0, true
			}
			if c.refuses(time.Now()) {
				return refused(time.Until(c.RetryAt))
			}
			probe := id.New()
			c, taken, known := s.shared.probe(ctx, k, probe)
			switch {
			case taken:
				return Permit{probe: probe}, 0, true
			case known && c.State == Closed:
				return Permit{}, 0, true
			case known:
				return refused(time.Until(c.RetryAt))
			}
		}
	}
	a := s.of(k)
	if a.breaker.TryAcquirePermit() {
		return Permit{local: true}, 0, true
	}
	return refused(a.breaker.RemainingDelay())
}

func refused(wait time.Duration) (Permit, time.Duration, bool) {
	return Permit{}, max(wait, time.Second), false
}

// Leave says what came of the leave to begin. Count has booked the call itself.
func (s *Set) Leave(k Key, p Permit, v Verdict) {
	switch {
	case p.local && v == SaysNothing:
		s.of(k).leave()
	case p.probe != "":
		s.shared.probed(k, p.probe, v)
	}
}

// Open tells whether a circuit is open: nothing should begin there. It is false
// again as soon as a call may try.
func (s *Set) Open(ctx context.Context, k Key) bool {
	if s.shared != nil {
		if c, ok := s.shared.look(ctx, k); ok {
			return c.refuses(time.Now())
		}
	}
	s.mu.Lock()
	a := s.seen[k]
	s.mu.Unlock()
	return a != nil && a.state() == Open
}

// All lists the circuits of all providers used so far, by tenant and name: those
// that all processes share, else this process's own.
func (s *Set) All(ctx context.Context) (out []Circuit, err error) {
	if s.shared != nil {
		out, err = s.shared.all(ctx)
	} else {
		out = s.own()
	}
	slices.SortFunc(out, func(a, b Circuit) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Name, b.Name))
	})
	return out, err
}

func (s *Set) own() []Circuit {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Circuit, 0, len(s.seen))
	for k, a := range s.seen {
		out = append(out, Circuit{k.Tenant, k.Name, Standing{State: a.state()}})
	}
	return out
}

// Close waits for what is being told to other processes, at most some seconds,
// and tells nothing more.
func (s *Set) Close() {
	if s.shared != nil {
		s.shared.close()
	}
}
