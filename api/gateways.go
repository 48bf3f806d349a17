package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/circuit"
	"justlogistics/internal/gateways"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// gatewayResource is a gateway as the API shows it. What a gateway can do is
// known once the tenant has set it up: some of it depends on the account.
type gatewayResource struct {
	Gateway    payment.Name `json:"gateway"`
	Title      string       `json:"title"`
	Configured bool         `json:"configured"`
	// Position in the tenant's general order, from 1; null outside of it.
	Position        *int                     `json:"position"`
	Currencies      []money.Currency         `json:"currencies"`
	Methods         []string                 `json:"methods"`
	Tokens          bool                     `json:"tokens"`
	MaxInstallments int                      `json:"max_installments"`
	MinAmount       map[money.Currency]int64 `json:"min_amount"`
	MaxAmount       map[money.Currency]int64 `json:"max_amount"`
	Refunds         refundAbility            `json:"refunds"`
	Notifications   bool                     `json:"notifications"`
	Circuit         circuitResource          `json:"circuit"`
}

type refundAbility struct {
	Supported bool `json:"supported"`
	Partial   bool `json:"partial"`
	// PartialMethods limits partial refunds to these methods of approval; null:
	// any.
	PartialMethods []string `json:"partial_methods"`
	// WindowDays after the capture; null: no known limit.
	WindowDays   *int `json:"window_days"`
	Asynchronous bool `json:"asynchronous"`
}

type circuitResource struct {
	State circuit.State `json:"state"`
	Since *time.Time    `json:"since"`
	// RetryAt, of one that is not closed: from when one call may try.
	RetryAt *time.Time `json:"retry_at"`
}

// listGateways tells what a buyer can pay with, in the order in which auto
// tries it.
func (s *Server) listGateways(r *request) (reply, error) {
	var t tenant.Tenant
	var circuits map[payment.Name]gateways.Circuit
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if t, err = tenant.Get(r.ctx, tx, r.tenant); err != nil {
			return err
		}
		circuits, err = gateways.TenantCircuits(r.ctx, tx, r.tenant)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	all := []gatewayResource{}
	for _, name := range payment.Names() {
		g := gatewayResource{Gateway: name, Title: name.Title(), Currencies: []money.Currency{}, Methods: []string{}, Circuit: circuitOf(circuits[name].Standing)}
		if i := slices.Index(t.Settings.Gateways, string(name)); i >= 0 {
			position := i + 1
			g.Position = &position
		}
		adapter, err := s.gateways.Gateway(r.ctx, r.tenant, name)
		switch {
		case err == nil:
			g.Configured = true
			g.able(adapter.Capabilities())
		case !errors.Is(err, gateways.ErrNotConfigured):
			return reply{}, err
		}
		all = append(all, g)
	}
	last := len(t.Settings.Gateways) + 1
	slices.SortStableFunc(all, func(a, b gatewayResource) int { return cmp.Compare(orElse(a.Position, last), orElse(b.Position, last)) })
	return ok(list[gatewayResource]{Data: all}), nil
}

func orElse(n *int, other int) int {
	if n == nil {
		return other
	}
	return *n
}

func (g *gatewayResource) able(c payment.Capabilities) {
	g.Currencies = append(g.Currencies, c.Currencies...)
	g.Methods = append(g.Methods, c.Methods...)
	g.Tokens, g.MaxInstallments, g.Notifications = c.Tokens, c.MaxInstallments, c.Notifications
	g.MinAmount, g.MaxAmount = c.MinAmount, c.MaxAmount
	g.Refunds = refundAbility{Supported: c.Refunds, Partial: c.PartialRefunds, PartialMethods: c.PartialRefundMethods, Asynchronous: c.RefundsLater}
	if c.RefundFor > 0 {
		days := int(c.RefundFor / (24 * time.Hour))
		g.Refunds.WindowDays = &days
	}
}

func circuitOf(c circuit.Standing) circuitResource {
	out := circuitResource{State: cmp.Or(c.State, circuit.Closed)}
	if !c.Since.IsZero() {
		out.Since = &c.Since
	}
	if !c.RetryAt.IsZero() {
		out.RetryAt = &c.RetryAt
	}
	return out
}

// gatewayParam reads a gateway's name from the path.
func gatewayParam(r *request) (payment.Name, error) {
	name := payment.Name(r.Param("gateway"))
	if !slices.Contains(payment.Names(), name) {
		return "", problem.Missing("gateway")
	}
	return name, nil
}

// listGatewayEvents tells when a gateway's circuit opened and closed, and when
// its credentials were changed.
func (s *Server) listGatewayEvents(r *request) (reply, error) {
	name, err := gatewayParam(r)
	if err != nil {
		return reply{}, err
	}
	var f problem.Fields
	limit, after := paging(r, &f)
	before := int64(0)
	if after != "" {
		if before, err = strconv.ParseInt(after, 10, 64); err != nil || before < 1 {
			f.Add("cursor", "invalid", "use next_cursor as it was given")
		}
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []timeline.Event
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		all, err = timeline.Newest(r.ctx, tx, r.tenant, gateways.Subject(name), before, limit+1)
		return err
	})
	return ok(paged(all, limit, func(e timeline.Event) string { return strconv.FormatInt(e.Seq, 10) })), err
}

// putCredentials stores a tenant's credentials at a gateway. Every process uses
// them within seconds. They are never shown again.
func (s *Server) putCredentials(r *request) (reply, error) {
	name, err := gatewayParam(r)
	if err != nil {
		return reply{}, err
	}
	var object map[string]any
	if err := decode(r.body, &object); err != nil {
		return reply{}, err
	}
	if err := gateways.Check(name, r.body); err != nil {
		var f problem.Fields
		f.Add("(body)", "invalid_credentials", "%v", err)
		return reply{}, f.Err()
	}
	return s.changeCredentials(r, name, "credentials_set", func(tx pgx.Tx) error {
		return tenant.SetCredentials(r.ctx, tx, s.cfg.CredentialKeys, r.tenant, string(name), json.RawMessage(r.body))
	})
}

// deleteCredentials withdraws them. Payments under way at the gateway can't be
// asked about any more until there are others.
func (s *Server) deleteCredentials(r *request) (reply, error) {
	name, err := gatewayParam(r)
	if err != nil {
		return reply{}, err
	}
	out, err := s.changeCredentials(r, name, "credentials_withdrawn", func(tx pgx.Tx) error {
		return tenant.WithdrawCredentials(r.ctx, tx, r.tenant, string(name))
	})
	if errors.Is(err, tenant.ErrNoCredentials) {
		return reply{}, problem.Missing("gateway with credentials")
	}
	return out, err
}

func (s *Server) changeCredentials(r *request, name payment.Name, event string, change func(tx pgx.Tx) error) (reply, error) {
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		return timeline.Add(r.ctx, tx, r.tenant, gateways.Subject(name), event, "key:"+r.key.ID, nil)
	})
	return reply{status: http.StatusNoContent}, err
}
