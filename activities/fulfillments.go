package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/carriers"
	"justlogistics/internal/id"
	"justlogistics/internal/postgres"
	"justlogistics/internal/refund"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// Fulfillments are the steps of a shipment's run: reading how it stands, finding a
// carrier, buying its labels, cancelling those that are not wanted.
type Fulfillments struct {
	DB       *postgres.DB
	Carriers *carriers.Registry
	// Able tells what the gateways of an order's payments can give back.
	Able func(ctx context.Context, tenantID, orderID string) (refund.Able, error)
}

// FulfillmentRef names a shipment.
type FulfillmentRef struct {
	Tenant     string `json:"tenant"`
	ShipmentID string `json:"shipment_id"`
}

// Standing is how far a shipment is.
type Standing = shipping.Standing

func (a *Fulfillments) in(ctx context.Context, ref FulfillmentRef, do func(tx pgx.Tx, shop tenant.Tenant) error) error {
	return inShop(ctx, a.DB, ref.Tenant, do)
}

// StandShipment reads how a shipment stands, after it has done what is due and needs
// nobody else: choosing a carrier, labelling, telling the buyer, undoing. What that wrote is
// undone where the step fails, and the step is then named as what is next, so that it fails
// on its own and says why. Done again it finds nothing to do.
func (a *Fulfillments) StandShipment(ctx context.Context, ref FulfillmentRef) (out Standing, err error) {
	var failed error
	err = a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error {
		out, failed, err = a.advance(ctx, tx, ref)
		return errors.Join(err, failed)
	})
	if failed != nil && ctx.Err() == nil {
		err = a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error {
			out, err = shipping.Stand(ctx, tx, ref.Tenant, ref.ShipmentID)
			return err
		})
	}
	return out, classify(err)
}

// stepsAtOnce bounds how many steps follow each other in one transaction.
const stepsAtOnce = 6

// advance does a shipment's own steps until it waits for somebody. failed is what went
// wrong in one of them.
func (a *Fulfillments) advance(ctx context.Context, tx pgx.Tx, ref FulfillmentRef) (out Standing, failed, err error) {
	var shop tenant.Tenant
	for n := 1; ; n++ {
		if out, err = shipping.Stand(ctx, tx, ref.Tenant, ref.ShipmentID); err != nil {
			return out, nil, err
		}
		step := a.alone(out.Next, ref)
		if step == nil || !out.NextAt.IsZero() || n == stepsAtOnce {
			return out, nil, nil
		}
		if n == 1 {
			if shop, err = tenant.Get(ctx, tx, ref.Tenant); err != nil {
				return out, nil, err
			}
		}
		next, err := step(ctx, tx, shop)
		if err != nil {
			return out, err, nil
		}
		if next != "" {
			out.Next = next
			return out, nil, nil
		}
	}
}

// alone is the step that needs only the database, nil where another is next. It says what
// must follow where that does not show in the rows.
func (a *Fulfillments) alone(next string, ref FulfillmentRef) func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (string, error) {
	plain := func(step func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string) error) func(context.Context, pgx.Tx, tenant.Tenant) (string, error) {
		return func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (string, error) {
			return "", step(ctx, tx, shop, ref.ShipmentID)
		}
	}
	switch next {
	case shipping.NextChoose:
		return func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (string, error) {
			chosen, err := a.labels(ref).chooseIn(ctx, tx, shop)
			if err == nil && chosen.Compare {
				return shipping.NextCompare, nil
			}
			return "", err
		}
	case shipping.NextFinish:
		return plain(shipping.Finish)
	case shipping.NextTell:
		return plain(shipping.TellDelayed)
	case shipping.NextWithdraw:
		return plain(shipping.WithdrawShipment)
	}
	return nil
}

// labels is the desk at which a shipment's labels are bought.
func (a *Fulfillments) labels(ref FulfillmentRef) labelDesk {
	return labelDesk{db: a.DB, carriers: a.Carriers, tenant: ref.Tenant, of: shipping.OfShipment(ref.ShipmentID),
		read: func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (shipping.Unbooked, error) {
			return shipping.ToBook(ctx, tx, shop, ref.ShipmentID)
		},
		order: func(ctx context.Context, tx pgx.Tx) (string, error) {
			s, err := shipping.Get(ctx, tx, ref.Tenant, ref.ShipmentID)
			return s.OrderID, err
		},
		fetched: func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, u shipping.Unbooked) error {
			_, err := shipping.LabelParcels(ctx, tx, shop, ref.ShipmentID, shipping.Labelling{Carrier: shipping.Manual, By: stock.By{Person: u.WantedBy}})
			if refusedWith(err) != "" {
				return nil // changed meanwhile: it is read again
			}
			return err
		}}
}

// ChooseCarrier writes the intent to book a shipment's parcels with the carrier that a
// person or the buyer has chosen. It calls nobody. Where there is a choice, or the
// chosen one has said no, it says so.
func (a *Fulfillments) ChooseCarrier(ctx context.Context, ref FulfillmentRef) (ChosenCarrier, error) {
	return a.labels(ref).choose(ctx)
}

// CompareCarriers asks all carriers for prices, each for at most some seconds, and writes
// the intent to book with the best that has room. Nobody: it writes down why, and the
// shipment is tried again later.
func (a *Fulfillments) CompareCarriers(ctx context.Context, ref FulfillmentRef) error {
	return a.labels(ref).compare(ctx)
}

// BookParcel does the next thing about one parcel of a shipment that is to be booked:
// it books, asks what became of a booking whose answer was lost, or fetches a label. The
// intent stands in the database before the carrier hears of it, and what was tried is
// asked about before it is tried again: however often this runs, and wherever it is
// killed, a parcel has one label.
func (a *Fulfillments) BookParcel(ctx context.Context, ref FulfillmentRef) error {
	return a.labels(ref).book(ctx)
}

// FinishLabels labels the shipment when every parcel has its label.
func (a *Fulfillments) FinishLabels(ctx context.Context, ref FulfillmentRef) error {
	return classify(a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error { return shipping.Finish(ctx, tx, shop, ref.ShipmentID) }))
}

// TellDelayed tells the buyer, once, that a shipment is not there as was promised.
func (a *Fulfillments) TellDelayed(ctx context.Context, ref FulfillmentRef) error {
	return classify(a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		return shipping.TellDelayed(ctx, tx, shop, ref.ShipmentID)
	}))
}

// WithdrawShipment undoes what was done for a shipment whose order is cancelled.
func (a *Fulfillments) WithdrawShipment(ctx context.Context, ref FulfillmentRef) error {
	return classify(a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		return shipping.WithdrawShipment(ctx, tx, shop, ref.ShipmentID)
	}))
}

// VoidLabel cancels one label of a shipment that is not wanted any more, asking first
// what became of it. What the carrier cannot cancel lapses unused.
func (a *Fulfillments) VoidLabel(ctx context.Context, ref FulfillmentRef) error {
	return a.labels(ref).void(ctx)
}

// FulfillmentDecision is a person's verb at a step of a shipment's run.
type FulfillmentDecision struct {
	FulfillmentRef
	ActionID  string `json:"action_id"`
	Step      string `json:"step"`
	Verb      string `json:"verb"`
	Outcome   string `json:"outcome,omitempty"`
	Reference string `json:"reference,omitempty"`
}

// DecideShipment carries a person's decision out, once for each use of a verb, and says
// in words what it did. Money that goes back is booked in the same transaction; the
// refund's own run pays it.
func (a *Fulfillments) DecideShipment(ctx context.Context, in FulfillmentDecision) (result string, err error) {
	var able refund.Able
	var s shipping.Shipment
	if in.Step == shipping.StepParcel && in.Verb == "resolve" && in.Outcome == shipping.OutcomeOfRefund {
		err := a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) (err error) {
			s, err = shipping.Get(ctx, tx, in.Tenant, in.ShipmentID)
			return err
		})
		if err != nil {
			return "", classify(err)
		}
		if able, err = a.Able(ctx, in.Tenant, s.OrderID); err != nil {
			return "", classify(err)
		}
	}
	err = a.in(ctx, in.FulfillmentRef, func(tx pgx.Tx, shop tenant.Tenant) error {
		by := "support"
		err := tx.QueryRow(ctx, `SELECT actor FROM support_actions WHERE tenant = $1 AND id = $2`, in.Tenant, in.ActionID).Scan(&by)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("support action %s: %w", in.ActionID, err)
		}
		if able != nil {
			if result, err = refundShipment(ctx, tx, in.Tenant, s, able); err != nil || result != "" {
				return err
			}
		}
		result, err = shipping.Decide(ctx, tx, shop, in.ShipmentID, shipping.Decision{Step: in.Step, Verb: in.Verb, Outcome: in.Outcome, Reference: in.Reference, By: by})
		return err
	})
	if refused := refusedWith(err); refused != "" {
		return "nothing done: " + refused, nil
	}
	return result, classify(err)
}

// refundShipment books the money for a shipment's goods. result says why nothing can be
// given back; the shipment then waits on. Asked again after it was settled, it books
// nothing.
func refundShipment(ctx context.Context, tx pgx.Tx, tenantID string, s shipping.Shipment, able refund.Able) (result string, err error) {
	var open bool
	err = tx.QueryRow(ctx, `SELECT settled = '' AND status IN ('lost','returned_to_sender') FROM shipments WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenantID, s.ID).Scan(&open)
	if err != nil {
		return "", fmt.Errorf("shipment %s: %w", s.ID, err)
	}
	if !open {
		return "nothing done: it is settled already, or the parcel was found", nil
	}
	lines, err := linesOf(ctx, tx, tenantID, s)
	if err != nil {
		return "", err
	}
	requestID := id.New()
	if _, err := refund.Book(ctx, tx, tenantID, requestID, refund.Request{OrderID: s.OrderID, Reason: "parcel " + strings.ReplaceAll(s.Status, "_", " "), Lines: lines}, nil, "fulfillment", able); err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, `INSERT INTO wakes (tenant, kind, subject) VALUES ($1, 'refund', $2)`, tenantID, requestID)
	if err != nil {
		return "", fmt.Errorf("run of refund %s: %w", requestID, err)
	}
	return "", nil
}

// linesOf are a shipment's units by the order's lines.
func linesOf(ctx context.Context, tx pgx.Tx, tenantID string, s shipping.Shipment) ([]refund.LineAsked, error) {
	rows, err := tx.Query(ctx, `SELECT sku, line_id, quantity - not_shipped FROM order_lines WHERE tenant = $1 AND order_id = $2 ORDER BY position`, tenantID, s.OrderID)
	if err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", s.OrderID, err)
	}
	left := map[string]int{}
	for _, l := range s.Lines {
		left[l.SKU] += l.Quantity
	}
	var out []refund.LineAsked
	var sku, line string
	var quantity int
	_, err = pgx.ForEachRow(rows, []any{&sku, &line, &quantity}, func() error {
		if n := min(left[sku], quantity); n > 0 {
			left[sku] -= n
			out = append(out, refund.LineAsked{LineID: line, Quantity: n})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", s.OrderID, err)
	}
	return out, nil
}
