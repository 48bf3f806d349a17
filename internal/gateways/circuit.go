package gateways

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
)

// State of a circuit: closed lets calls through, open refuses to begin
// payments, half-open lets one of all processes through to see.
type State string

// The states, as the API and metrics show them.
const (
	Closed   State = "closed"
	Open     State = "open"
	HalfOpen State = "half_open"
)

// Circuit is how one tenant's gateway fares.
type Circuit struct {
	Tenant  string
	Gateway payment.Name
	State   State
	// Since is when it last changed, UTC; zero: never, or not known.
	Since time.Time
	// RetryAt, of one that is not closed, is from when one call may try.
	RetryAt time.Time
	// How often it changed to each state.
	Opened, HalfOpened, Closed int64
}

// refuses tells whether nothing may begin now, not even to try.
func (c Circuit) refuses(now time.Time) bool { return c.State != Closed && now.Before(c.RetryAt) }

// circuit is what this process alone has seen of one tenant's gateway. It
// decides while the state that all share cannot be read.
type circuit struct {
	breaker circuitbreaker.CircuitBreaker[any]
}

func newCircuit(o Options, k key) *circuit {
	log := o.Logger.With("tenant", k.tenant, "gateway", string(k.name))
	return &circuit{breaker: circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(o.FailureRate, o.MinCalls, o.Window).
		WithSuccessThreshold(1).
		WithDelay(o.Delay).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			log.Info("circuit of the gateway changed, as this process alone sees it", "from", e.OldState.String(), "to", e.NewState.String())
		}).
		Build()}
}

func (c *circuit) state() State {
	switch c.breaker.State() {
	case circuitbreaker.OpenState:
		if c.breaker.RemainingDelay() <= 0 {
			return HalfOpen // the next call makes it so
		}
		return Open
	case circuitbreaker.HalfOpenState:
		return HalfOpen
	default:
		return Closed
	}
}

// leave gives back the leave to begin when no call came of it, which matters
// while one call at a time is let through. The breaker has no such method: it
// forgets its permits only when it enters the state anew.
func (c *circuit) leave() {
	if c.breaker.IsHalfOpen() {
		c.breaker.Open()
		c.breaker.HalfOpen()
	}
}

// verdict is what the end of a call says of the provider.
type verdict int

const (
	saysNothing verdict = iota // we gave the call up
	isThere
	isAway
)

// judge tells how a call ended. A provider that refuses, for whatever reason,
// the tenant's credentials included, is there; one that was not reached, or
// whose effect is not known, is away.
func judge(ctx context.Context, outcome payment.Outcome, err error) verdict {
	var f *payment.Failure
	failed := err == nil && outcome == payment.OutcomeUnknown || errors.As(err, &f) && f.Class == payment.ClassUnavailable
	switch {
	case !failed:
		return isThere
	case errors.Is(err, context.Canceled), errors.Is(ctx.Err(), context.Canceled):
		return saysNothing
	}
	return isAway
}

// count books how a call ended, here and for all.
func (r *Registry) count(e *entry, v verdict) {
	switch v {
	case isThere:
		e.circuit.breaker.RecordSuccess()
	case isAway:
		e.circuit.breaker.RecordFailure()
	default:
		return
	}
	if r.shared != nil {
		r.shared.count(e.key, v == isAway)
	}
}

// permit is leave to begin one payment.
type permit struct {
	probe string // of the one call that tries a circuit that is not closed
	local bool   // given by this process alone
}

// enter asks leave to begin a payment. When it is refused the failure says when
// to come again.
func (r *Registry) enter(ctx context.Context, e *entry) (permit, *payment.Failure) {
	if r.shared != nil {
		if c, ok := r.shared.look(ctx, e.key); ok {
			if c.State == Closed {
				return permit{}, nil
			}
			if c.refuses(r.now()) {
				return permit{}, refusal(e.name, c.RetryAt.Sub(r.now()))
			}
			probe := id.New()
			c, taken, ok := r.shared.probe(ctx, e.key, probe)
			switch {
			case taken:
				return permit{probe: probe}, nil
			case ok && c.State == Closed:
				return permit{}, nil
			case ok:
				return permit{}, refusal(e.name, c.RetryAt.Sub(r.now()))
			}
		}
	}
	if e.circuit.breaker.TryAcquirePermit() {
		return permit{local: true}, nil
	}
	return permit{}, refusal(e.name, e.circuit.breaker.RemainingDelay())
}

func refusal(name payment.Name, wait time.Duration) *payment.Failure {
	return &payment.Failure{
		Gateway: name, Class: payment.ClassUnavailable, Code: "circuit_open",
		Message: "the gateway has failed too often; payments begin elsewhere for a while", RetryAfter: max(wait, time.Second),
	}
}

// leave says what came of the leave to begin.
func (r *Registry) leave(e *entry, p permit, v verdict) {
	switch {
	case p.local && v == saysNothing:
		e.circuit.leave()
	case p.probe != "":
		r.shared.probed(e.key, p.probe, v)
	}
}

// Open tells whether the circuit of a tenant's gateway is open: nothing should
// begin there. It is false again as soon as a call may try.
func (r *Registry) Open(ctx context.Context, tenant string, name payment.Name) bool {
	k := key{tenant, name}
	if r.shared != nil {
		if c, ok := r.shared.look(ctx, k); ok {
			return c.refuses(r.now())
		}
	}
	r.mu.Lock()
	e := r.entries[k]
	r.mu.Unlock()
	return e != nil && e.circuit.state() == Open
}

// Circuits lists the circuits of all gateways used so far, by tenant and name:
// those that all processes share, else this process's own.
func (r *Registry) Circuits(ctx context.Context) (out []Circuit, err error) {
	if r.shared != nil {
		out, err = r.shared.all(ctx)
	} else {
		out = r.own()
	}
	slices.SortFunc(out, func(a, b Circuit) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Gateway, b.Gateway))
	})
	return out, err
}

func (r *Registry) own() []Circuit {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Circuit, 0, len(r.entries))
	for k, e := range r.entries {
		out = append(out, Circuit{Tenant: k.tenant, Gateway: k.name, State: e.circuit.state()})
	}
	return out
}

// Close waits for what is being told to other processes, at most some seconds,
// and tells nothing more.
func (r *Registry) Close() {
	if r.shared != nil {
		r.shared.close()
	}
}
