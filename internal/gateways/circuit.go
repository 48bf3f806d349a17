package gateways

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/circuit"
	"justlogistics/internal/payment"
)

// kind is what the providers of this registry are called in logs and the timeline.
const kind = "gateway"

// beginsWithin is longer than any Begin.
const beginsWithin = 15 * time.Second

// State of a circuit: closed lets calls through, open refuses to begin
// payments, half-open lets one of all processes through to see.
type State = circuit.State

// The states, as the API and metrics show them.
const (
	Closed   = circuit.Closed
	Open     = circuit.Open
	HalfOpen = circuit.HalfOpen
)

// Circuit is how one tenant's gateway fares.
type Circuit struct {
	Tenant  string
	Gateway payment.Name
	circuit.Standing
}

// judge tells how a call ended. A provider that refuses, for whatever reason,
// the tenant's credentials included, is there; one that was not reached, or
// whose effect is not known, is away.
func judge(ctx context.Context, outcome payment.Outcome, err error) circuit.Verdict {
	var f *payment.Failure
	failed := err == nil && outcome == payment.OutcomeUnknown || errors.As(err, &f) && f.Class == payment.ClassUnavailable
	return circuit.Judge(ctx, failed, err)
}

func refusal(name payment.Name, wait time.Duration) *payment.Failure {
	return &payment.Failure{
		Gateway: name, Class: payment.ClassUnavailable, Code: "circuit_open",
		Message: "the gateway has failed too often; payments begin elsewhere for a while", RetryAfter: wait,
	}
}

// Open tells whether the circuit of a tenant's gateway is open: nothing should
// begin there. It is false again as soon as a call may try.
func (r *Registry) Open(ctx context.Context, tenant string, name payment.Name) bool {
	return r.circuits.Open(ctx, circuit.Key{Tenant: tenant, Name: string(name)})
}

// Circuits lists the circuits of all gateways used so far, by tenant and name:
// those that all processes share, else this process's own.
func (r *Registry) Circuits(ctx context.Context) ([]Circuit, error) {
	all, err := r.circuits.All(ctx)
	out := make([]Circuit, 0, len(all))
	for _, c := range all {
		out = append(out, Circuit{c.Tenant, payment.Name(c.Name), c.Standing})
	}
	return out, err
}

// TenantCircuits reads the circuits of one tenant; a gateway that was never
// used has none.
func TenantCircuits(ctx context.Context, tx pgx.Tx, tenant string) (map[payment.Name]Circuit, error) {
	all, err := circuit.OfTenant(ctx, tx, tenant)
	if err != nil {
		return nil, err
	}
	out := map[payment.Name]Circuit{}
	for _, name := range payment.Names() {
		if c, used := all[string(name)]; used {
			out[name] = Circuit{tenant, name, c}
		}
	}
	return out, nil
}

// Subject is under which name the timeline keeps what happens to a gateway.
func Subject(name payment.Name) string { return circuit.Subject(kind, string(name)) }

// Close waits for what is being told to other processes, at most some seconds,
// and tells nothing more.
func (r *Registry) Close() { r.circuits.Close() }
