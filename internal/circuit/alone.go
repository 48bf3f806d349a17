package circuit

import "github.com/failsafe-go/failsafe-go/circuitbreaker"

// alone is what this process alone has seen of one tenant's provider. It decides
// while the state that all share cannot be read.
type alone struct {
	breaker circuitbreaker.CircuitBreaker[any]
}

func newAlone(o Options, k Key) *alone {
	log := o.Logger.With("tenant", k.Tenant, o.Kind, k.Name)
	return &alone{breaker: circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(o.FailureRate, o.MinCalls, o.Window).
		WithSuccessThreshold(1).
		WithDelay(o.Delay).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			log.Info("circuit of the "+o.Kind+" changed, as this process alone sees it", "from", e.OldState.String(), "to", e.NewState.String())
		}).
		Build()}
}

func (a *alone) state() State {
	switch a.breaker.State() {
	case circuitbreaker.OpenState:
		if a.breaker.RemainingDelay() <= 0 {
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
func (a *alone) leave() {
	if a.breaker.IsHalfOpen() {
		a.breaker.Open()
		a.breaker.HalfOpen()
	}
}
