package activities

import (
	"context"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"

	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/tenant"
)

// Checkouts are the database steps of a checkout: short, idempotent, run as
// local activities.
type Checkouts struct {
	DB    *postgres.DB
	Route Route
}

// Route lists the gateways that `auto` may use for a tenant's payment now, in
// the order of its rules: with credentials, able to take it, circuit closed.
type Route func(ctx context.Context, tenantID string, q tenant.RouteQuery) ([]payment.Name, error)

// CheckoutRef names a checkout.
type CheckoutRef struct {
	Tenant     string `json:"tenant"`
	CheckoutID string `json:"checkout_id"`
}

// HoldStock holds stock and writes the first attempt's intent: checkout.Start.
func (a *Checkouts) HoldStock(ctx context.Context, in CheckoutRef) (checkout.View, error) {
	v, err := checkout.Load(ctx, a.DB, in.Tenant, in.CheckoutID)
	if err != nil {
		return v, classify(err)
	}
	if v.Status != checkout.Reserving || v.HoldID != "" {
		return v, classify(a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
			return inheritDesk(ctx, tx, in.Tenant, activity.GetInfo(ctx).WorkflowExecution.ID)
		}))
	}
	gateway := payment.Name(v.Requested)
	if v.Requested == "auto" {
		if gateway, err = a.untried(ctx, in, "", v); err != nil {
			return v, classify(err)
		}
	}
	if gateway == "" {
		v, err = checkout.GiveUp(ctx, a.DB, in.Tenant, in.CheckoutID, checkout.FailGatewayUnavailable, "no gateway can be used now")
		return v, classify(err)
	}
	v, err = checkout.Start(ctx, a.DB, in.Tenant, in.CheckoutID, gateway)
	return v, classify(err)
}

// runID names the run that a step belongs to; empty outside Temporal.
func runID(ctx context.Context) string {
	if !activity.IsActivity(ctx) {
		return ""
	}
	return activity.GetInfo(ctx).WorkflowExecution.RunID
}

// untried is the first gateway of the route that has not failed to begin;
// empty means none is left. paymentID names the attempt that it is for, when the
// buyer has asked for it.
func (a *Checkouts) untried(ctx context.Context, in CheckoutRef, paymentID string, v checkout.View) (payment.Name, error) {
	var q tenant.RouteQuery
	err := a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) (err error) {
		q, err = checkout.RouteQuery(ctx, tx, in.Tenant, in.CheckoutID, paymentID)
		return err
	})
	if err != nil {
		return "", err
	}
	route, err := a.Route(ctx, in.Tenant, q)
	if err != nil {
		return "", err
	}
	tried := map[payment.Name]bool{}
	for _, at := range v.Attempts {
		if !at.Begun {
			tried[at.Gateway] = true
		}
	}
	for _, g := range route {
		if !tried[g] {
			return g, nil
		}
	}
	return "", nil
}

// NextAttempt is the answer of Next and Try.
type NextAttempt struct {
	View checkout.View `json:"view"`
	// OK: an attempt was added (or stands already).
	OK bool `json:"ok"`
}

// NextGateway writes the intent of an attempt with the next gateway of `auto`, as
// attempt Number. OK is false when none is left or the hold is over.
func (a *Checkouts) NextGateway(ctx context.Context, in CheckoutRef, number int) (NextAttempt, error) {
	v, err := checkout.Load(ctx, a.DB, in.Tenant, in.CheckoutID)
	if err != nil {
		return NextAttempt{}, classify(err)
	}
	if len(v.Attempts) >= number {
		return NextAttempt{View: v, OK: true}, nil // written before
	}
	gateway, err := a.untried(ctx, in, "", v)
	if err != nil || gateway == "" {
		return NextAttempt{View: v}, classify(err)
	}
	v, ok, err := checkout.AddAttempt(ctx, a.DB, in.Tenant, in.CheckoutID, "", gateway, number)
	return NextAttempt{View: v, OK: ok}, classify(err)
}

// AddAttempt writes the intent of an attempt that the buyer asked for. With `auto`
// the first gateway of the route is taken that did not fail to begin.
func (a *Checkouts) AddAttempt(ctx context.Context, in CheckoutRef, paymentID, gateway string) (NextAttempt, error) {
	if gateway == "auto" {
		v, err := checkout.Load(ctx, a.DB, in.Tenant, in.CheckoutID)
		if err != nil {
			return NextAttempt{}, classify(err)
		}
		if _, known := v.Attempt(paymentID); known {
			return NextAttempt{View: v, OK: true}, nil
		}
		g, err := a.untried(ctx, in, paymentID, v)
		if err != nil || g == "" {
			return NextAttempt{View: v}, classify(err)
		}
		gateway = string(g)
	}
	v, ok, err := checkout.AddAttempt(ctx, a.DB, in.Tenant, in.CheckoutID, paymentID, payment.Name(gateway), 0)
	return NextAttempt{View: v, OK: ok}, classify(err)
}

// ReadCheckout reads the checkout.
func (a *Checkouts) ReadCheckout(ctx context.Context, in CheckoutRef) (checkout.View, error) {
	v, err := checkout.Load(ctx, a.DB, in.Tenant, in.CheckoutID)
	return v, classify(err)
}

// GiveUp ends a checkout that could not be offered.
func (a *Checkouts) GiveUp(ctx context.Context, in CheckoutRef, code, message string) (checkout.View, error) {
	v, err := checkout.GiveUp(ctx, a.DB, in.Tenant, in.CheckoutID, code, message)
	return v, classify(err)
}

// Grace keeps the stock a little longer while a payment is in doubt.
func (a *Checkouts) Grace(ctx context.Context, in CheckoutRef, seconds int) (checkout.View, error) {
	v, err := checkout.Grace(ctx, a.DB, in.Tenant, in.CheckoutID, seconds)
	return v, classify(err)
}

// EndUnpaid frees the stock and ends the checkout.
func (a *Checkouts) EndUnpaid(ctx context.Context, in CheckoutRef, to checkout.Status) (checkout.View, error) {
	v, err := checkout.EndUnpaid(ctx, a.DB, in.Tenant, in.CheckoutID, to)
	return v, classify(err)
}

// EndRun marks the end of the run.
func (a *Checkouts) EndRun(ctx context.Context, in CheckoutRef) error {
	return classify(checkout.Settled(ctx, a.DB, in.Tenant, in.CheckoutID))
}

// RecordAnswer stores a gateway's answer and rules on it.
func (a *Checkouts) RecordAnswer(ctx context.Context, in CheckoutRef, n checkout.News) (checkout.Ruling, error) {
	r, err := checkout.Record(ctx, a.DB, in.Tenant, in.CheckoutID, n)
	return r, classify(err)
}

// HeldAgain is the answer of HoldAgain.
type HeldAgain struct {
	View checkout.View `json:"view"`
	OK   bool          `json:"ok"`
}

// HoldAgain holds stock for a late return before it is committed.
func (a *Checkouts) HoldAgain(ctx context.Context, in CheckoutRef) (HeldAgain, error) {
	v, ok, err := checkout.HoldAgain(ctx, a.DB, in.Tenant, in.CheckoutID)
	return HeldAgain{v, ok}, classify(err)
}

// LetGo frees what HoldAgain held.
func (a *Checkouts) LetGo(ctx context.Context, in CheckoutRef) (checkout.View, error) {
	v, err := checkout.LetGo(ctx, a.DB, in.Tenant, in.CheckoutID)
	return v, classify(err)
}

// NotCommitted settles a return that is not committed.
func (a *Checkouts) NotCommitted(ctx context.Context, in CheckoutRef, paymentID, why string) (checkout.View, error) {
	v, err := checkout.NotCommitted(ctx, a.DB, in.Tenant, in.CheckoutID, paymentID, why)
	return v, classify(err)
}

// RefundStray books the refund of money that a person ruled out.
func (a *Checkouts) RefundStray(ctx context.Context, in CheckoutRef, paymentID string) (string, error) {
	refundID, err := checkout.RefundStray(ctx, a.DB, in.Tenant, in.CheckoutID, paymentID)
	return refundID, classify(err)
}

// CureShort holds elsewhere what a hold lost to a count.
func (a *Checkouts) CureShort(ctx context.Context, tenant, holdID string) (bool, error) {
	ok, err := checkout.CureShort(ctx, a.DB, tenant, holdID)
	return ok, classify(err)
}

// HoldOf finds the hold behind an order.
func (a *Checkouts) HoldOf(ctx context.Context, tenant, orderID string) (holdID string, err error) {
	err = a.DB.InTenant(ctx, tenant, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT hold_id FROM orders WHERE tenant = $1 AND id = $2`, tenant, orderID).Scan(&holdID)
	})
	return holdID, classify(err)
}

// Shorted notes that an unpaid checkout lost units and must be cancelled.
func (a *Checkouts) Shorted(ctx context.Context, in CheckoutRef) (checkout.View, error) {
	v, err := checkout.MarkShorted(ctx, a.DB, in.Tenant, in.CheckoutID)
	return v, classify(err)
}
