package carriers

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/circuit"
	"justlogistics/internal/shipping"
)

// kind is what the providers of this registry are called in logs and the timeline.
const kind = "carrier"

// beginsWithin is longer than any quote or booking: a step of a shipment's run ends
// before.
const beginsWithin = 80 * time.Second

// Circuits lists the circuits of all carriers used so far, by tenant and name, as
// all processes share them.
func (r *Registry) Circuits(ctx context.Context) ([]circuit.Circuit, error) {
	return r.circuits.All(ctx)
}

// TenantCircuits reads the circuits of one tenant; a carrier that was never used
// has none.
func TenantCircuits(ctx context.Context, tx pgx.Tx, tenant string) (map[shipping.Name]circuit.Standing, error) {
	all, err := circuit.OfTenant(ctx, tx, tenant)
	if err != nil {
		return nil, err
	}
	out := map[shipping.Name]circuit.Standing{}
	for _, name := range Adapters() {
		if c, used := all[string(name)]; used {
			out[name] = c
		}
	}
	return out, nil
}

// Subject is under which name the timeline keeps what happens to a carrier.
func Subject(name shipping.Name) string { return circuit.Subject(kind, string(name)) }

// Close waits for what is being told to other processes, at most some seconds, and
// tells nothing more.
func (r *Registry) Close() { r.circuits.Close() }
