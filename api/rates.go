package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/carriers"
	"justlogistics/internal/chile"
	"justlogistics/internal/circuit"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// Carriers finds a tenant's carriers.
type Carriers interface {
	Carrier(ctx context.Context, tenant string, name shipping.Name) (shipping.Carrier, error)
	All(ctx context.Context, tenant string) (map[shipping.Name]shipping.Carrier, error)
	// VerifyCourier checks the signature of whoever carries for the shop itself.
	VerifyCourier(ctx context.Context, tenant string, header http.Header, body []byte) error
}

const (
	// quotesWithin is how long carriers have for their prices: a buyer looks at a
	// spinner.
	quotesWithin = 4 * time.Second
	mostRated    = 200
)

// rateRoutes are what it costs to reach a buyer, and by whom.
func (s *Server) rateRoutes() {
	s.handle(http.MethodPost, "/v1/rates", s.compareRates, tenant.Storefront)
	s.handle(http.MethodGet, "/v1/pickup-points", s.listPoints, tenant.Storefront, tenant.Warehouse, tenant.Support)
	s.handle(http.MethodGet, "/v1/carriers", s.listCarriers, tenant.Storefront, tenant.Warehouse, tenant.Support)
	s.handle(http.MethodPut, "/v1/carriers/:carrier/credentials", s.putCarrier)
	s.handle(http.MethodDelete, "/v1/carriers/:carrier/credentials", s.deleteCarrier)
}

type ratesBody struct {
	To struct {
		Comuna string `json:"comuna"`
		Region string `json:"region"`
	} `json:"to"`
	Items []struct {
		SKU      string `json:"sku"`
		Quantity int    `json:"quantity"`
	} `json:"items"`
	Method        shipping.Method `json:"method"`
	PickupPointID string          `json:"pickup_point_id"`
	// Warehouse that the parcel leaves from; empty: the tenant's first.
	Warehouse string `json:"warehouse"`
}

type ratesAnswer struct {
	Rates  []shipping.Rate   `json:"rates"`
	Silent []shipping.Silent `json:"silent"`
}

// compareRates asks all carriers at once. When none has an offer the tenant's own
// table speaks.
func (s *Server) compareRates(r *request) (reply, error) {
	var in ratesBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	q, skus, quantities, err := in.question()
	if err != nil {
		return reply{}, err
	}
	var shop tenant.Tenant
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if shop, err = tenant.Get(r.ctx, tx, r.tenant); err != nil {
			return err
		}
		var unknown []string
		if q.Parcel, q.DeclaredValue, unknown, err = shipping.Contents(r.ctx, tx, r.tenant, skus, quantities); err != nil {
			return err
		}
		if len(unknown) > 0 {
			var f problem.Fields
			f.Add("items", "unknown_sku", "there is no such SKU: %s", clip(unknown[0]))
			return f.Err()
		}
		q.From, err = shipping.Origin(r.ctx, tx, r.tenant, in.Warehouse)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	all, err := s.carriers.All(r.ctx, r.tenant)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, quotesWithin)
	defer cancel()
	out := ratesAnswer{Rates: []shipping.Rate{}, Silent: []shipping.Silent{}}
	found, silent := shipping.Compare(ctx, all, q)
	if len(found) == 0 {
		found = slices.DeleteFunc(shipping.FromTable(shop.Settings, q.To.Region, q.Parcel.WeightGrams), func(r shipping.Rate) bool { return r.Method != q.Method })
	}
	shipping.Sort(found, shop.Settings.Rates.Prefer, shop.Settings.Rates.DayValue)
	out.Rates, out.Silent = append(out.Rates, found...), append(out.Silent, silent...)
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		return shipping.Keep(r.ctx, tx, r.tenant, out.Rates, q.To, q.Parcel.WeightGrams)
	})
	return ok(out), err
}

func (in ratesBody) question() (q shipping.QuoteRequest, skus []string, quantities []int, err error) {
	var f problem.Fields
	q.To = official(&f, "to.", in.To.Comuna, in.To.Region)
	q.To.PointID = in.PickupPointID
	if q.Method = in.Method; q.Method == "" {
		q.Method = shipping.ToDoor
	}
	switch {
	case !slices.Contains([]shipping.Method{shipping.ToDoor, shipping.ToPoint, shipping.InShop}, q.Method):
		f.Add("method", "invalid", "home, pickup_point or pickup_in_shop")
	case in.PickupPointID != "" && (q.Method != shipping.ToPoint || !visible(in.PickupPointID, 64)):
		f.Add("pickup_point_id", "invalid", "the id of a pickup point, for that method")
	case in.PickupPointID == "" && q.Method == shipping.ToPoint:
		f.Add("pickup_point_id", "required", "let the buyer choose a point first (GET /v1/pickup-points)")
	}
	if len(in.Items) == 0 || len(in.Items) > mostRated {
		f.Add("items", "out_of_range", "1 to %d", mostRated)
	}
	for i, item := range in.Items {
		if item.Quantity < 1 || item.Quantity > 10_000 {
			f.Add(fmt.Sprintf("items[%d].quantity", i), "out_of_range", "1 to 10000")
		}
		skus, quantities = append(skus, item.SKU), append(quantities, item.Quantity)
	}
	return q, skus, quantities, f.Err()
}

// official is a comuna and its region by their official names.
func official(f *problem.Fields, at, comuna, region string) shipping.Place {
	c, err := chile.ValidatePlace(comuna, region)
	switch {
	case errors.Is(err, chile.ErrUnknownRegion):
		f.Add(at+"region", "unknown_region", "not a region of Chile")
	case err != nil:
		f.Add(at+"comuna", "unknown_comuna", "not a comuna of that region")
	}
	return shipping.Place{Comuna: c.Name, Region: string(c.Region)}
}

type carrierPoint struct {
	Carrier shipping.Name `json:"carrier"`
	shipping.Point
}

type pointsAnswer struct {
	Data   []carrierPoint    `json:"data"`
	Silent []shipping.Silent `json:"silent"`
}

// listPoints asks all carriers for the points of a comuna.
func (s *Server) listPoints(r *request) (reply, error) {
	var f problem.Fields
	at := official(&f, "", r.Query("comuna"), r.Query("region"))
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	all, err := s.carriers.All(r.ctx, r.tenant)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, quotesWithin)
	defer cancel()
	points, silent := shipping.AllPoints(ctx, all, at)
	out := pointsAnswer{Data: []carrierPoint{}, Silent: append([]shipping.Silent{}, silent...)}
	for _, name := range shipping.Names() {
		for _, p := range points[name] {
			if p.Hours == nil {
				p.Hours = []string{}
			}
			out.Data = append(out.Data, carrierPoint{name, p})
		}
	}
	return ok(out), nil
}

type carrierResource struct {
	Carrier    shipping.Name     `json:"carrier"`
	Title      string            `json:"title"`
	Configured bool              `json:"configured"`
	Methods    []shipping.Method `json:"methods"`
	Circuit    circuitResource   `json:"circuit"`
}

// listCarriers tells who can carry, and who is left out at the moment.
func (s *Server) listCarriers(r *request) (reply, error) {
	all, err := s.carriers.All(r.ctx, r.tenant)
	if err != nil {
		return reply{}, err
	}
	var circuits map[shipping.Name]circuit.Standing
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		circuits, err = carriers.TenantCircuits(r.ctx, tx, r.tenant)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	out := list[carrierResource]{Data: []carrierResource{}}
	for _, name := range shipping.Names() {
		c := carrierResource{Carrier: name, Title: name.Title(), Configured: name == shipping.Manual, Methods: []shipping.Method{shipping.ToDoor}, Circuit: circuitOf(circuits[name])}
		if name != shipping.Manual {
			c.Methods = []shipping.Method{}
			if adapter := all[name]; adapter != nil {
				c.Configured, c.Methods = true, append(c.Methods, adapter.Capabilities().Methods...)
			}
		}
		out.Data = append(out.Data, c)
	}
	return ok(out), nil
}

func carrierParam(r *request) (shipping.Name, error) {
	name := shipping.Name(r.Param("carrier"))
	if name != shipping.Manual && !slices.Contains(carriers.Adapters(), name) {
		return "", problem.Missing("carrier")
	}
	return name, nil
}

// putCarrier stores a tenant's credentials at a carrier, encrypted. Every process
// uses them within seconds. Nothing of them is ever shown again.
func (s *Server) putCarrier(r *request) (reply, error) {
	name, err := carrierParam(r)
	if err != nil {
		return reply{}, err
	}
	check := func() error { return carriers.Check(name, r.body) }
	if name == shipping.Manual {
		check = func() error { return carriers.CheckCourier(r.body) }
	}
	if err := check(); err != nil {
		var f problem.Fields
		f.Add("(body)", "invalid_credentials", "%v", err)
		return reply{}, f.Err()
	}
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		if err := tenant.SetCredentials(r.ctx, tx, s.cfg.CredentialKeys, r.tenant, string(name), json.RawMessage(r.body)); err != nil {
			return err
		}
		return timeline.Add(r.ctx, tx, r.tenant, carriers.Subject(name), "credentials_set", r.actor(), nil)
	})
	return ok(map[string]any{"carrier": name, "configured": true}), err
}

func (s *Server) deleteCarrier(r *request) (reply, error) {
	name, err := carrierParam(r)
	if err != nil {
		return reply{}, err
	}
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		if err := tenant.WithdrawCredentials(r.ctx, tx, r.tenant, string(name)); err != nil {
			return err
		}
		return timeline.Add(r.ctx, tx, r.tenant, carriers.Subject(name), "credentials_withdrawn", r.actor(), nil)
	})
	if errors.Is(err, tenant.ErrNoCredentials) {
		return reply{}, problem.Missing("carrier with credentials")
	}
	return ok(map[string]any{"carrier": name, "configured": false}), err
}
