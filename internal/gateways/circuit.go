package gateways

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"justlogistics/internal/payment"
)

// State of a circuit: closed lets calls through, open refuses to begin
// payments, half-open lets one through to see.
type State string

// The states, as metrics show them.
const (
	Closed   State = "closed"
	Open     State = "open"
	HalfOpen State = "half-open"
)

// Circuit is how one tenant's gateway fares, as this process has seen it.
type Circuit struct {
	Tenant  string
	Gateway payment.Name
	State   State
}

// circuit counts the calls of one tenant's gateway. It lives in this process:
// others find out by themselves.
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
			log.Warn("circuit of the gateway changed", "from", e.OldState.String(), "to", e.NewState.String())
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

// enter asks leave to begin a payment. When it is refused the failure says when
// to come again.
func (c *circuit) enter(name payment.Name) *payment.Failure {
	if c.breaker.TryAcquirePermit() {
		return nil
	}
	return &payment.Failure{
		Gateway: name, Class: payment.ClassUnavailable, Code: "circuit_open",
		Message: "the gateway has failed too often; payments begin elsewhere for a while", RetryAfter: max(c.breaker.RemainingDelay(), time.Second),
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

// count books how a call ended. A provider that refuses, for whatever reason,
// is there; one that was not reached, or whose effect is not known, is not.
func (c *circuit) count(outcome payment.Outcome, err error) {
	var f *payment.Failure
	switch {
	case outcome == payment.OutcomeUnknown && err == nil:
		c.breaker.RecordFailure()
	case errors.As(err, &f) && f.Class == payment.ClassUnavailable && !errors.Is(err, context.Canceled):
		c.breaker.RecordFailure()
	default:
		c.breaker.RecordSuccess()
	}
}

// Open tells whether the circuit of a tenant's gateway is open: nothing should
// begin there. It is false again as soon as a call may try.
func (r *Registry) Open(tenant string, name payment.Name) bool {
	r.mu.Lock()
	e := r.entries[key{tenant, name}]
	r.mu.Unlock()
	return e != nil && e.circuit.state() == Open
}

// Circuits lists the circuits of all gateways used so far, by tenant and name.
func (r *Registry) Circuits() []Circuit {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Circuit, 0, len(r.entries))
	for k, e := range r.entries {
		out = append(out, Circuit{Tenant: k.tenant, Gateway: k.name, State: e.circuit.state()})
	}
	slices.SortFunc(out, func(a, b Circuit) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Gateway, b.Gateway))
	})
	return out
}
