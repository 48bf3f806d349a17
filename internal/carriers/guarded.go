package carriers

import (
	"context"
	"errors"
	"time"

	"justlogistics/internal/circuit"
	"justlogistics/internal/shipping"
)

// guarded is a carrier of the registry. Every call counts for its circuit. While
// that is open, what can go to another carrier or wait is refused: prices, points
// and bookings of which the carrier never heard. A booking that was begun is
// brought to its end, and asking about parcels does no harm.
type guarded struct {
	carrier  shipping.Carrier
	circuits *circuit.Set
	key      circuit.Key
}

var _ shipping.Carrier = (*guarded)(nil)

// call calls, counts the call for the circuit and tells what it says of the
// carrier. doubtful tells an answer that leaves open what the carrier did.
func call[T any](ctx context.Context, g *guarded, doubtful func(T) bool, do func(context.Context) (T, error)) (out T, v circuit.Verdict, err error) {
	ctx, dialled := circuit.Watch(ctx)
	out, err = do(ctx)
	if dialled() {
		v = circuit.Judge(ctx, err == nil && doubtful(out) || away(err), err)
	}
	g.circuits.Count(g.key, v)
	return out, v, err
}

// away tells an error of a carrier that does not work from a no. One that wants us
// to wait, or does not know the account, is there.
func away(err error) bool {
	var f *shipping.Failure
	return errors.As(err, &f) && f.Reason == shipping.Unavailable || errors.Is(err, context.DeadlineExceeded)
}

// begin is call for what is refused while the circuit is open.
func begin[T any](ctx context.Context, g *guarded, doubtful func(T) bool, do func(context.Context) (T, error)) (T, error) {
	leave, wait, ok := g.circuits.Enter(ctx, g.key)
	if !ok {
		var none T
		return none, refusal(wait)
	}
	out, v, err := call(ctx, g, doubtful, do)
	g.circuits.Leave(g.key, leave, v)
	return out, err
}

func refusal(wait time.Duration) *shipping.Failure {
	return &shipping.Failure{Reason: shipping.Unavailable, Code: shipping.CodeCircuitOpen, Message: "the carrier has failed too often; it is left out for a while", RetryAfter: wait}
}

// ask is call for what always passes.
func ask[T any](ctx context.Context, g *guarded, doubtful func(T) bool, do func(context.Context) (T, error)) (T, error) {
	out, _, err := call(ctx, g, doubtful, do)
	return out, err
}

func inDoubt(a shipping.Answer) bool { return a.Outcome == shipping.OutcomeUnknown }

// answered is for questions: whatever the answer, the carrier is there.
func answered[T any](T) bool { return false }

func (g *guarded) Name() shipping.Name { return g.carrier.Name() }

func (g *guarded) Capabilities() shipping.Capabilities { return g.carrier.Capabilities() }

func (g *guarded) Quote(ctx context.Context, q shipping.QuoteRequest) ([]shipping.Offer, error) {
	return begin(ctx, g, answered, func(ctx context.Context) ([]shipping.Offer, error) { return g.carrier.Quote(ctx, q) })
}

func (g *guarded) Points(ctx context.Context, comuna, region string) ([]shipping.Point, error) {
	return begin(ctx, g, answered, func(ctx context.Context) ([]shipping.Point, error) { return g.carrier.Points(ctx, comuna, region) })
}

func (g *guarded) Book(ctx context.Context, b shipping.Booking, before shipping.Looked) (shipping.Answer, error) {
	book := func(ctx context.Context) (shipping.Answer, error) { return g.carrier.Book(ctx, b, before) }
	if before.Tried() {
		return ask(ctx, g, inDoubt, book)
	}
	return begin(ctx, g, inDoubt, book)
}

func (g *guarded) Lookup(ctx context.Context, at shipping.Booked) (shipping.Looked, error) {
	return ask(ctx, g, answered, func(ctx context.Context) (shipping.Looked, error) { return g.carrier.Lookup(ctx, at) })
}

func (g *guarded) Label(ctx context.Context, at shipping.Booked) (shipping.Label, error) {
	return ask(ctx, g, answered, func(ctx context.Context) (shipping.Label, error) { return g.carrier.Label(ctx, at) })
}

func (g *guarded) Void(ctx context.Context, at shipping.Booked, before shipping.Looked) (shipping.Answer, error) {
	return ask(ctx, g, inDoubt, func(ctx context.Context) (shipping.Answer, error) { return g.carrier.Void(ctx, at, before) })
}

func (g *guarded) Track(ctx context.Context, numbers []string) (map[string]shipping.Track, error) {
	return ask(ctx, g, answered, func(ctx context.Context) (map[string]shipping.Track, error) { return g.carrier.Track(ctx, numbers) })
}
