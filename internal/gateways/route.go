package gateways

import (
	"context"
	"errors"
	"slices"

	"justlogistics/internal/payment"
	"justlogistics/internal/tenant"
)

// Route lists the gateways for a payment in the tenant's order: those that have
// credentials and take its amount, currency and method. ready are those where a
// payment can begin now, down those whose circuit is open.
//
// A gateway that lists no methods asks the buyer on its own page. For a payment
// by a certain method such gateways come after those that list it.
func (r *Registry) Route(ctx context.Context, tenantID string, rules tenant.Settings, q tenant.RouteQuery) (ready, down []payment.Name, err error) {
	var taking, asking []payment.Name
	for _, named := range rules.RouteFor(q) {
		name := payment.Name(named)
		g, err := r.Gateway(ctx, tenantID, name)
		if errors.Is(err, ErrNotConfigured) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		able := g.Capabilities()
		switch {
		case able.Takes(q.Amount, q.Currency, q.Method):
			taking = append(taking, name)
		case able.Methods == nil && able.Takes(q.Amount, q.Currency, ""):
			asking = append(asking, name)
		}
	}
	for _, name := range append(taking, asking...) {
		if r.Open(ctx, tenantID, name) {
			down = append(down, name)
		} else {
			ready = append(ready, name)
		}
	}
	return ready, down, nil
}

// Without is a list of gateways less one.
func Without(names []payment.Name, name payment.Name) []payment.Name {
	return slices.DeleteFunc(slices.Clone(names), func(n payment.Name) bool { return n == name })
}
