package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// shipmentRoutes are shipments, from the packing bin to the door.
func (s *Server) shipmentRoutes() {
	const (
		warehouse = tenant.Warehouse
		support   = tenant.Support
	)
	s.handle(http.MethodGet, "/v1/shipments", s.listShipments, warehouse, support)
	s.handle(http.MethodGet, "/v1/shipments/:id", s.getShipment, warehouse, support)
	s.handle(http.MethodGet, "/v1/shipments/:id/tracking", s.getPassages, warehouse, support)
	s.handle(http.MethodGet, "/v1/shipments/:id/labels.zpl", s.getParcelLabels, warehouse)
	s.work("pack", http.MethodPost, "/v1/shipments/:id/pack", changeShipment(s, shipping.Pack, func(in *shipping.Packing, by stock.By) { in.By = by }), warehouse)
	s.work("pack", http.MethodPost, "/v1/shipments/:id/unpack", changeShipment(s, shipping.Unpack, func(in *shipping.Undoing, by stock.By) { in.By = by }), warehouse)
	s.work("pack", http.MethodPost, "/v1/shipments/:id/label", s.labelShipment, warehouse)
	s.work("pack", http.MethodPost, "/v1/shipments/:id/handover", changeShipment(s, shipping.HandOver, func(in *shipping.Handing, by stock.By) { in.By = by }), warehouse)
	s.work("pack", http.MethodPost, "/v1/shipments/:id/put-back", changeShipment(s, shipping.PutBack, func(in *shipping.PuttingBack, by stock.By) { in.By = by }), warehouse)
	s.handle(http.MethodPost, "/v1/shipments/:id/status", changeShipment(s, shipping.Report, func(in *shipping.News, by stock.By) { in.By = by }), warehouse, support)
}

// changeShipment answers a step of a shipment with the shipment after it.
func changeShipment[T any](s *Server, do func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in T) (shipping.Shipment, error), sign func(in *T, by stock.By)) endpoint {
	return change(s, "shipment", shipping.Get, do, func(in *T, r *request) { sign(in, r.by()) })
}

// change answers a step of what an id names with what it is afterwards. Under a key whose
// answer was lost the step is not done again.
func change[In, Out any](s *Server, what string, get func(ctx context.Context, tx pgx.Tx, tenantID, id string) (Out, error),
	do func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, id string, in In) (Out, error), sign func(in *In, r *request)) endpoint {
	return func(r *request) (reply, error) {
		subject, err := idParam(r, "id", what)
		if err != nil {
			return reply{}, err
		}
		var in In
		if len(r.body) > 0 {
			if err := decode(r.body, &in); err != nil {
				return reply{}, err
			}
		}
		if err := r.checkOperator(); err != nil {
			return reply{}, err
		}
		sign(&in, r)
		var out Out
		err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
			if r.begun() != "" {
				out, err = get(r.ctx, tx, r.tenant, subject)
				return err
			}
			shop, err := tenant.Get(r.ctx, tx, r.tenant)
			if err != nil {
				return err
			}
			if out, err = do(r.ctx, tx, shop, subject, in); err != nil {
				return err
			}
			return r.claim.Begun(r.ctx, tx, subject)
		})
		return ok(out), err
	}
}

// labelIn is how long the answer to a label waits for the carrier, and labelEvery how
// often the shipment is read meanwhile.
const (
	labelIn    = 8 * time.Second
	labelEvery = 100 * time.Millisecond
)

// labelShipment asks for a shipment's labels and waits some seconds for the carrier: 202
// with the packed shipment when it takes longer.
func (s *Server) labelShipment(r *request) (reply, error) {
	answer, err := changeShipment(s, shipping.LabelParcels, func(in *shipping.Labelling, by stock.By) { in.By = by })(r)
	return whileLabelled(s, r, answer, err, shipping.Get, func(out shipping.Shipment) (string, bool) {
		return out.ID, out.Status == shipping.Packed && (out.Label == nil || out.Label.NotBooked == "")
	}, func(out shipping.Shipment) bool { return out.Status == shipping.Packed })
}

// whileLabelled waits some seconds for the labels that an answer's subject wants: 202 with
// what it is by then when they take longer.
func whileLabelled[T any](s *Server, r *request, answer reply, err error, get func(ctx context.Context, tx pgx.Tx, tenantID, id string) (T, error),
	waits func(T) (id string, waits bool), missing func(T) bool) (reply, error) {
	out, is := answer.body.(T)
	if err != nil || !is {
		return answer, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.left(labelIn))
	defer cancel()
	for {
		id, still := waits(out)
		if !still {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(labelEvery):
		}
		if ctx.Err() != nil {
			break
		}
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
			out, err = get(r.ctx, tx, r.tenant, id)
			return err
		})
		if err != nil {
			return reply{}, err
		}
	}
	if answer = ok(out); missing(out) {
		answer.status = http.StatusAccepted
	}
	return answer, nil
}

func (s *Server) listShipments(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	filter := shipping.Filter{Status: r.Query("status"), Warehouse: r.Query("warehouse"), OrderID: r.Query("order"), Carrier: r.Query("carrier"), Before: after, Limit: limit + 1}
	if filter.Status != "" && !slices.Contains(shipping.Statuses, filter.Status) {
		f.Add("status", "invalid", "no such status of a shipment")
	}
	if filter.Carrier != "" && !slices.Contains(shipping.Names(), shipping.Name(filter.Carrier)) {
		f.Add("carrier", "invalid", "no such carrier")
	}
	if len(f) == 0 && after != "" && !id.Valid(after) {
		f.Add("cursor", "invalid", "use next_cursor as it was given")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []shipping.Shipment
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = shipping.List(r.ctx, tx, r.tenant, filter)
		return err
	})
	return ok(paged(all, limit, func(s shipping.Shipment) string { return s.ID })), err
}

func (s *Server) getShipment(r *request) (reply, error) {
	shipmentID, err := idParam(r, "id", "shipment")
	if err != nil {
		return reply{}, err
	}
	var out shipping.Shipment
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = shipping.Get(r.ctx, tx, r.tenant, shipmentID)
		return err
	})
	return ok(out), err
}

func (s *Server) getParcelLabels(r *request) (reply, error) {
	shipmentID, err := idParam(r, "id", "shipment")
	if err != nil {
		return reply{}, err
	}
	var f problem.Fields
	p := printing(r, &f)
	return s.printed(r, f, func(tx pgx.Tx) (string, error) {
		return shipping.Labels(r.ctx, tx, r.tenant, shipmentID, p)
	})
}
