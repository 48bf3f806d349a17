package tenant

import (
	"fmt"
	"regexp"
	"slices"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// Route is a rule about which gateways `auto` tries for a payment, in their
// order. What a rule leaves empty fits every payment.
type Route struct {
	Currency string `json:"currency,omitempty"`
	// MinAmount and MaxAmount in minor units, both included; they need a
	// currency. A MaxAmount of 0 is no limit.
	MinAmount int64 `json:"min_amount,omitempty"`
	MaxAmount int64 `json:"max_amount,omitempty"`
	// Method is the storefront's payment.method.
	Method string `json:"method,omitempty"`
	// Country is where the order goes, two letters (ISO 3166-1).
	Country  string   `json:"country,omitempty"`
	Gateways []string `json:"gateways"`
}

// RouteQuery is what a payment is like for which a gateway is chosen.
type RouteQuery struct {
	Currency money.Currency
	Amount   int64 // minor units
	Method   string
	Country  string
}

// fits reports whether the rule is about such a payment.
func (r Route) fits(q RouteQuery) bool {
	return (r.Currency == "" || r.Currency == string(q.Currency)) && q.Amount >= r.MinAmount && (r.MaxAmount == 0 || q.Amount <= r.MaxAmount) &&
		(r.Method == "" || r.Method == q.Method) && (r.Country == "" || r.Country == q.Country)
}

// RouteFor lists the gateways for a payment in the order in which they are
// tried: those of the first rule that fits, else the tenant's general order.
func (s Settings) RouteFor(q RouteQuery) []string {
	for _, r := range s.Routes {
		if r.fits(q) {
			return r.Gateways
		}
	}
	return s.Gateways
}

// Routed lists every gateway that `auto` can come to, each once.
func (s Settings) Routed() []string {
	all := slices.Clone(s.Gateways)
	for _, r := range s.Routes {
		for _, g := range r.Gateways {
			if !slices.Contains(all, g) {
				all = append(all, g)
			}
		}
	}
	return all
}

func (r Route) validate(at string) error {
	if r.Currency != "" {
		if c, err := money.ParseCurrency(r.Currency); err != nil || string(c) != r.Currency {
			return fmt.Errorf("%s.currency: %q is not an ISO 4217 code in capitals", at, r.Currency)
		}
	}
	switch {
	case r.MinAmount < 0 || r.MaxAmount < 0 || r.MaxAmount > 0 && r.MaxAmount < r.MinAmount:
		return fmt.Errorf("%s: min_amount and max_amount are not negative, and the first is not above the second", at)
	case (r.MinAmount > 0 || r.MaxAmount > 0) && r.Currency == "":
		return fmt.Errorf("%s.currency: needed beside an amount", at)
	case len(r.Method) > 50:
		return fmt.Errorf("%s.method: at most 50 bytes", at)
	case r.Country != "" && !countryForm.MatchString(r.Country):
		return fmt.Errorf("%s.country: two capital letters, as CL", at)
	case len(r.Gateways) == 0:
		return fmt.Errorf("%s.gateways: at least one", at)
	}
	return validGateways(at+".gateways", r.Gateways)
}

var countryForm = regexp.MustCompile(`^[A-Z]{2}$`)

// validGateways refuses a name that is none, and one that is there twice.
func validGateways(at string, names []string) error {
	for i, name := range names {
		if !slices.Contains(payment.Names(), payment.Name(name)) {
			return fmt.Errorf("%s: there is no gateway %q", at, name)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%s: %s is there twice", at, name)
		}
	}
	return nil
}
