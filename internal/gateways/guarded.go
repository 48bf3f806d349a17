package gateways

import (
	"context"
	"errors"
	"net/url"
	"time"

	"justlogistics/internal/circuit"
	"justlogistics/internal/payment"
	"justlogistics/internal/telemetry"
)

// guarded is a gateway of the registry. What has to do with money that may
// have moved always passes, circuit open or not: only Begin is refused.
type guarded struct {
	registry *Registry
	entry    *entry
}

var _ payment.Gateway = (*guarded)(nil)

// call runs do with the current adapter, and once more when the provider
// refused credentials that have been replaced meanwhile: a refusal of the
// credentials is certain to have had no effect.
func call[T any](ctx context.Context, g *guarded, outcome func(T) payment.Outcome, do func(context.Context, payment.Gateway) (T, error)) (T, error) {
	var none T
	used, err := g.registry.current(ctx, g.entry, g.registry.options.Recheck)
	if err != nil {
		return none, err
	}
	out, _, err := run(ctx, g, used, outcome, do)
	return out, err
}

// run calls, counts the call for the circuit and tells what it says of the
// provider.
func run[T any](ctx context.Context, g *guarded, used payment.Gateway, outcome func(T) payment.Outcome, do func(context.Context, payment.Gateway) (T, error)) (out T, v circuit.Verdict, err error) {
	ctx, dialled := circuit.Watch(ctx)
	out, err = do(ctx, used)
	var f *payment.Failure
	if errors.As(err, &f) && f.Class == payment.ClassCredentials {
		if newer, ok := g.registry.replaced(ctx, g.entry, used); ok {
			out, err = do(ctx, newer)
		}
	}
	if dialled() {
		v = judge(ctx, outcome(out), err)
	}
	g.registry.circuits.Count(g.entry.circuit(), v)
	return out, v, quiet(err)
}

// quiet takes what a provider quotes of the buyer out of a failure's text:
// failures end up in logs and histories.
func quiet(err error) error {
	var f *payment.Failure
	if !errors.As(err, &f) {
		return err
	}
	clean := *f
	clean.Code, clean.Message = telemetry.Scrub(f.Code), telemetry.Scrub(f.Message)
	if f.Err != nil {
		clean.Err = quietError{f.Err}
	}
	return &clean
}

// quietError is an error whose text is scrubbed.
type quietError struct{ error }

func (e quietError) Error() string { return telemetry.Scrub(e.error.Error()) }
func (e quietError) Unwrap() error { return e.error }

// quietAnswer is quiet for an answer: it is kept with the payment and in the
// history.
func quietAnswer(a payment.Answer) payment.Answer {
	a.Code, a.Message = telemetry.Scrub(a.Code), telemetry.Scrub(a.Message)
	return a
}

// quieted applies quiet to what a call answered.
func quieted[T any](quiet func(T) T) func(T, error) (T, error) {
	return func(out T, err error) (T, error) { return quiet(out), err }
}

func quietLooked(l payment.Looked) payment.Looked {
	if a, asked := l.Answer(); asked {
		return payment.Asked(quietAnswer(a))
	}
	return l
}

func quietLookedRefund(l payment.LookedRefund) payment.LookedRefund {
	if a, asked := l.Answer(); asked {
		return payment.AskedRefund(quietRefund(a))
	}
	return l
}

func quietRefund(a payment.RefundAnswer) payment.RefundAnswer {
	a.Code, a.Message = telemetry.Scrub(a.Code), telemetry.Scrub(a.Message)
	return a
}

func ofAnswer(a payment.Answer) payment.Outcome       { return a.Outcome }
func ofRefund(a payment.RefundAnswer) payment.Outcome { return a.Outcome }

// A question that is answered "unknown" was answered: the provider is there.
func ofLooked(payment.Looked) payment.Outcome             { return payment.OutcomePending }
func ofPage(payment.StatementPage) payment.Outcome        { return payment.OutcomePending }
func ofLookedRefund(payment.LookedRefund) payment.Outcome { return payment.OutcomePending }

// adapter is for what needs no call: the newest adapter built, whatever its age.
func (g *guarded) adapter() payment.Gateway {
	g.entry.mu.Lock()
	defer g.entry.mu.Unlock()
	return g.entry.gateway
}

func (g *guarded) Name() payment.Name { return g.entry.name }

func (g *guarded) Capabilities() payment.Capabilities {
	if a := g.adapter(); a != nil {
		return a.Capabilities()
	}
	return payment.Capabilities{} // the credentials were withdrawn: nothing can be promised
}

func (g *guarded) Begin(ctx context.Context, in payment.Intent, before payment.Looked) (payment.Answer, error) {
	used, err := g.registry.current(ctx, g.entry, g.registry.options.Recheck)
	if err != nil {
		return payment.Answer{}, err
	}
	leave, wait, ok := g.registry.circuits.Enter(ctx, g.entry.circuit())
	if !ok {
		return payment.Answer{}, refusal(g.entry.name, wait)
	}
	a, v, err := run(ctx, g, used, ofAnswer, func(ctx context.Context, a payment.Gateway) (payment.Answer, error) {
		return a.Begin(ctx, in, before)
	})
	g.registry.circuits.Leave(g.entry.circuit(), leave, v)
	return quietAnswer(a), err
}

func (g *guarded) Settle(ctx context.Context, at payment.Attempt, ret payment.Return, before payment.Looked) (payment.Answer, error) {
	return quieted(quietAnswer)(call(ctx, g, ofAnswer, func(ctx context.Context, a payment.Gateway) (payment.Answer, error) {
		return a.Settle(ctx, at, ret, before)
	}))
}

func (g *guarded) Lookup(ctx context.Context, at payment.Attempt) (payment.Looked, error) {
	return quieted(quietLooked)(call(ctx, g, ofLooked, func(ctx context.Context, a payment.Gateway) (payment.Looked, error) { return a.Lookup(ctx, at) }))
}

func (g *guarded) Close(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	return quieted(quietAnswer)(call(ctx, g, ofAnswer, func(ctx context.Context, a payment.Gateway) (payment.Answer, error) { return a.Close(ctx, at, before) }))
}

func (g *guarded) Capture(ctx context.Context, at payment.Attempt, amount int64, before payment.Looked) (payment.Answer, error) {
	return quieted(quietAnswer)(call(ctx, g, ofAnswer, func(ctx context.Context, a payment.Gateway) (payment.Answer, error) {
		return a.Capture(ctx, at, amount, before)
	}))
}

func (g *guarded) Cancel(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	return quieted(quietAnswer)(call(ctx, g, ofAnswer, func(ctx context.Context, a payment.Gateway) (payment.Answer, error) { return a.Cancel(ctx, at, before) }))
}

func (g *guarded) Refund(ctx context.Context, in payment.RefundIntent, before payment.LookedRefund) (payment.RefundAnswer, error) {
	return quieted(quietRefund)(call(ctx, g, ofRefund, func(ctx context.Context, a payment.Gateway) (payment.RefundAnswer, error) {
		return a.Refund(ctx, in, before)
	}))
}

func (g *guarded) LookupRefund(ctx context.Context, in payment.RefundIntent) (payment.LookedRefund, error) {
	return quieted(quietLookedRefund)(call(ctx, g, ofLookedRefund, func(ctx context.Context, a payment.Gateway) (payment.LookedRefund, error) {
		return a.LookupRefund(ctx, in)
	}))
}

func (g *guarded) ParseReturn(at payment.Attempt, params url.Values) (payment.Return, error) {
	if a := g.adapter(); a != nil {
		return a.ParseReturn(at, params)
	}
	return payment.Return{}, ErrNotConfigured
}

func (g *guarded) ParseNotification(in payment.Delivery, now time.Time) (payment.Notification, error) {
	if a := g.adapter(); a != nil {
		return a.ParseNotification(in, now)
	}
	return payment.Notification{}, ErrNotConfigured
}

func (g *guarded) Transactions(ctx context.Context, q payment.StatementQuery) (payment.StatementPage, error) {
	return call(ctx, g, ofPage, func(ctx context.Context, a payment.Gateway) (payment.StatementPage, error) {
		return a.Transactions(ctx, q)
	})
}
