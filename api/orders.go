package api

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/checkout"
	"justlogistics/internal/gateways"
	"justlogistics/internal/id"
	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/shipping"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/tenant"
)

var orderStatuses = []string{"paid", "in_fulfillment", "shipped", "delivered", "completed", "cancelled"}

func (s *Server) listOrders(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	filter := order.Filter{Status: r.Query("status"), Channel: r.Query("channel"), Warehouse: r.Query("warehouse"), Search: r.Query("q"),
		From: moment(r, &f, "from"), To: moment(r, &f, "to"), Before: after, Limit: limit + 1}
	if filter.Status != "" && !slices.Contains(orderStatuses, filter.Status) {
		f.Add("status", "invalid", "no such status of an order")
	}
	if after != "" && !id.Valid(after) {
		f.Add("cursor", "invalid", "use next_cursor as it was given")
	}
	if len(filter.Search) > 254 {
		f.Add("q", "too_long", "at most 254 bytes")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []order.Summary
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = order.List(r.ctx, tx, r.tenant, filter)
		return err
	})
	return ok(paged(all, limit, func(o order.Summary) string { return o.ID })), err
}

func (s *Server) getOrder(r *request) (reply, error) {
	orderID, err := idParam(r, "id", "order")
	if err != nil {
		return reply{}, err
	}
	r.ctx = telemetry.With(r.ctx, telemetry.OrderID(orderID))
	var o order.Resource
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		o, err = order.Read(r.ctx, tx, r.tenant, orderID)
		return err
	})
	if !r.seesWorkflows() {
		o = o.ForBuyers()
	}
	return ok(o), err
}

type cancelOrderBody struct {
	// Reason is for people; it stands in the order's timeline.
	Reason string `json:"reason"`
	// Refund false: the money is settled otherwise.
	Refund *bool `json:"refund"`
}

// cancelOrder ends an order of which nothing has left and gives the money back, in one
// transaction. Cancelling it again answers the order.
func (s *Server) cancelOrder(r *request) (reply, error) {
	orderID, err := idParam(r, "id", "order")
	if err != nil {
		return reply{}, err
	}
	r.ctx = telemetry.With(r.ctx, telemetry.OrderID(orderID))
	var in cancelOrderBody
	if len(r.body) > 0 {
		if err := decode(r.body, &in); err != nil {
			return reply{}, err
		}
	}
	if len(in.Reason) > 400 {
		var f problem.Fields
		f.Add("reason", "too_long", "at most 400 bytes")
		return reply{}, f.Err()
	}
	able, err := gateways.Refundable(r.ctx, s.db, s.gateways, r.tenant, orderID)
	if err != nil {
		return reply{}, err
	}
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		shop, err := tenant.Get(r.ctx, tx, r.tenant)
		if err != nil {
			return err
		}
		already, err := shipping.CancelOrder(r.ctx, tx, shop, orderID, in.Reason, r.by().Person)
		if err != nil || already || in.Refund != nil && !*in.Refund {
			return err
		}
		return refundAll(r.ctx, tx, r.tenant, orderID, r.key.ID, able)
	})
	if err != nil {
		return reply{}, err
	}
	return s.getOrder(r)
}

// refundAll books all that is left of an order's money, if anything is.
func refundAll(ctx context.Context, tx pgx.Tx, tenantID, orderID, keyID string, able refund.Able) error {
	refundID := id.New()
	// What it has written when it refuses goes with the savepoint.
	nested, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = refund.Book(ctx, nested, tenantID, refundID, refund.Request{OrderID: orderID, Reason: "order cancelled"}, nil, "key:"+keyID, able)
	if p, is := problem.As(err); is && p.Code == refund.CodeNothingLeft {
		return nested.Rollback(ctx)
	}
	if err != nil {
		return err
	}
	if _, err := nested.Exec(ctx, `INSERT INTO wakes (tenant, kind, subject) VALUES ($1, 'refund', $2)`, tenantID, refundID); err != nil {
		return err
	}
	return nested.Commit(ctx)
}

// addressBody is who gets an order and where.
type addressBody struct {
	Customer struct {
		Name  string `json:"name"`
		Phone string `json:"phone"`
	} `json:"customer"`
	Shipping *struct {
		Street string `json:"street"`
		Number string `json:"number"`
		Unit   string `json:"unit"`
		Comuna string `json:"comuna"`
		Region string `json:"region"`
	} `json:"shipping"`
}

// correctAddress changes where an order goes that has not left.
func (s *Server) correctAddress(r *request) (reply, error) {
	orderID, err := idParam(r, "id", "order")
	if err != nil {
		return reply{}, err
	}
	r.ctx = telemetry.With(r.ctx, telemetry.OrderID(orderID))
	var in addressBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var address *checkout.Address
	if a := in.Shipping; a != nil {
		address = &checkout.Address{Street: a.Street, Number: a.Number, Unit: a.Unit, Comuna: a.Comuna, Region: a.Region}
	}
	customer, to, err := checkout.CheckDelivery(checkout.Customer{Name: in.Customer.Name, Phone: in.Customer.Phone}, address)
	if err != nil {
		return reply{}, err
	}
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		return shipping.CorrectDelivery(r.ctx, tx, r.tenant, orderID, shipping.Correction{Name: customer.Name, Phone: customer.Phone, By: r.by().Person,
			To: shipping.Place{Street: to.Street, Number: to.Number, Unit: to.Unit, Comuna: to.Comuna, Region: to.Region}})
	})
	if err != nil {
		return reply{}, err
	}
	return s.getOrder(r)
}

type attentionBody struct {
	Clear  string `json:"clear"`
	Reason string `json:"reason"`
	Actor  string `json:"actor"`
}

// clearAttention takes back why an order asks for a person, once one has seen to
// it.
func (s *Server) clearAttention(r *request) (reply, error) {
	orderID, err := idParam(r, "id", "order")
	if err != nil {
		return reply{}, err
	}
	r.ctx = telemetry.With(r.ctx, telemetry.OrderID(orderID))
	var in attentionBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var o order.Resource
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if err := order.Clear(r.ctx, tx, order.Clearing{Tenant: r.tenant, OrderID: orderID, Attention: in.Clear, Actor: in.Actor, KeyID: r.key.ID, Reason: in.Reason}); err != nil {
			return err
		}
		o, err = order.Read(r.ctx, tx, r.tenant, orderID)
		return err
	})
	return ok(o), err
}
