package shipping

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// Statuses of a shipment. Its moves are in package lifecycle.
const (
	Pending        = "pending"
	Picking        = "picking"
	Packed         = "packed"
	Labelled       = "labelled"
	HandedOver     = "handed_over"
	OnTheWay       = "in_transit"
	Delivering     = "out_for_delivery"
	Arrived        = "delivered"
	NotDelivered   = "delivery_failed"
	ReturnedToShop = "returned_to_sender"
	Missing        = "lost"
	Cancelled      = "cancelled"
)

// Statuses lists them in the order of a parcel's life.
var Statuses = []string{Pending, Picking, Packed, Labelled, HandedOver, OnTheWay, Delivering, Arrived, NotDelivered, ReturnedToShop, Missing, Cancelled}

// Shipment is what leaves one warehouse for an order.
type Shipment struct {
	ID        string       `json:"id"`
	OrderID   string       `json:"order_id"`
	Number    string       `json:"number"` // of the order
	Warehouse string       `json:"warehouse"`
	Status    string       `json:"status"`
	Version   int64        `json:"version"`
	Lines     []stock.Want `json:"lines"`
	// Frozen says why it must not leave, null when it may.
	Frozen *string `json:"frozen"`
	// Carrier is empty until there is a label.
	Carrier string `json:"carrier"`
	// Label is what was asked for, null when nobody has.
	Label   *WantedLabel   `json:"label"`
	Parcels []PackedParcel `json:"parcels"`
	// PickedAt is when all of it lay in packing bins.
	PickedAt     *time.Time `json:"picked_at"`
	PackedAt     *time.Time `json:"packed_at"`
	LabelledAt   *time.Time `json:"labelled_at"`
	HandedOverAt *time.Time `json:"handed_over_at"`
	EndedAt      *time.Time `json:"ended_at"`
	// DueAt is when the shipment is late where it is.
	DueAt *time.Time `json:"due_at"`
	// PromisedAt is until when the buyer was told to have it, null when nobody has told
	// them; AtRisk: it can no longer or only just be there by then.
	PromisedAt *time.Time `json:"promised_at"`
	AtRisk     bool       `json:"at_risk"`
	// DelayedAt is when the promise was broken and the buyer told.
	DelayedAt *time.Time `json:"delayed_at"`
	// Settled is what a person has decided about a parcel that is lost or came back:
	// refunded or closed.
	Settled string `json:"settled,omitempty"`
	// TrackingKey names the public page that tells the buyer where it is.
	TrackingKey *string   `json:"tracking_key"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`

	holdID string
	// riskAt is from when it may miss its promise, riskKnownAt when a person said that
	// they know.
	riskAt, riskKnownAt *time.Time
	// carrierDays are the working days of the carrier that was chosen, nil while none is
	// or it does not say; orderDays those of the rate that the buyer has paid for.
	carrierDays *int
	orderDays   int
}

// PackedParcel is one parcel of a shipment.
type PackedParcel struct {
	ID          string     `json:"id"`
	Position    int        `json:"position"`
	Reference   string     `json:"reference"`
	WeightGrams int        `json:"weight_grams"`
	Dimensions  Dimensions `json:"dimensions_mm"`
	// Tracking is the carrier's number, or ours where it has none.
	Tracking string `json:"tracking"`
	// State is where the carrier says it is, and ToldAt when it last had news.
	State    State      `json:"state"`
	ToldAt   *time.Time `json:"told_at"`
	PackedBy string     `json:"packed_by"`
}

// WantedLabel is somebody's wish for a carrier's labels.
type WantedLabel struct {
	WantedAt time.Time `json:"wanted_at"`
	WantedBy string    `json:"wanted_by"`
	// Carrier and Service are empty where any will do.
	Carrier Name   `json:"carrier"`
	Service string `json:"service"`
	// NotBooked says why nobody carries it yet, in words.
	NotBooked string `json:"not_booked"`
}

// Dimensions are a parcel's outer lengths in millimetres; zero is not known.
type Dimensions struct {
	Length int `json:"length"`
	Width  int `json:"width"`
	Height int `json:"height"`
}

const shipmentColumns = `SELECT s.id, s.order_id, o.number, s.warehouse, s.status, s.version, s.lines, s.frozen_reason, s.carrier, s.picked_at, s.packed_at, s.labelled_at, s.handed_over_at, s.ended_at, s.due_at, s.promised_at, s.risk_at, coalesce(s.risk_at <= now(), false), s.risk_known_at, s.delayed_at, s.settled, s.tracking_key::text, s.wanted_at, s.wanted_by, s.wanted_carrier, s.wanted_service, s.not_booked, s.created_at, s.updated_at, o.hold_id, s.promised_days, coalesce((o.shipping->>'promised_days')::int, 0)
  FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id WHERE s.tenant = $1 AND `

func scanShipment(row pgx.CollectableRow) (Shipment, error) {
	s := Shipment{Parcels: []PackedParcel{}}
	var lines []byte
	var wantedAt *time.Time
	var w WantedLabel
	err := row.Scan(&s.ID, &s.OrderID, &s.Number, &s.Warehouse, &s.Status, &s.Version, &lines, &s.Frozen, &s.Carrier, &s.PickedAt, &s.PackedAt, &s.LabelledAt, &s.HandedOverAt, &s.EndedAt, &s.DueAt, &s.PromisedAt, &s.riskAt, &s.AtRisk, &s.riskKnownAt, &s.DelayedAt, &s.Settled, &s.TrackingKey, &wantedAt, &w.WantedBy, &w.Carrier, &w.Service, &w.NotBooked, &s.CreatedAt, &s.UpdatedAt, &s.holdID, &s.carrierDays, &s.orderDays)
	if err != nil {
		return s, err
	}
	if wantedAt != nil {
		w.WantedAt = *wantedAt
		s.Label = &w
	}
	return s, json.Unmarshal(lines, &s.Lines)
}

// Get reads a shipment. 404 for another tenant's.
func Get(ctx context.Context, tx pgx.Tx, tenantID, shipmentID string) (Shipment, error) {
	b := &pgx.Batch{}
	s := queueGet(b, tenantID, shipmentID)
	return s.found(tx.SendBatch(ctx, b).Close())
}

// asked is a shipment that a batch reads.
type asked struct {
	id   string
	list []Shipment
}

// found is the shipment once the batch is closed, with err. 404 for another tenant's, of
// which whatever else the batch reads finds nothing either.
func (a *asked) found(err error) (Shipment, error) {
	switch {
	case len(a.list) == 0 && (err == nil || errors.Is(err, pgx.ErrNoRows)):
		return Shipment{}, problem.Missing("shipment")
	case err != nil:
		return Shipment{}, fmt.Errorf("shipment %s: %w", a.id, err)
	}
	return a.list[0], nil
}

// queueGet is Get in a batch, whose statements take one way to the database and back.
func queueGet(b *pgx.Batch, tenantID, shipmentID string) *asked {
	a := &asked{id: shipmentID}
	b.Queue(shipmentColumns+`s.id = $2`, tenantID, shipmentID).Query(func(rows pgx.Rows) (err error) {
		a.list, err = pgx.CollectRows(rows, scanShipment)
		return err
	})
	query, args := parcelsOf(tenantID, "shipment_id", []string{shipmentID})
	b.Queue(query, args...).Query(func(rows pgx.Rows) error {
		return scanParcels(rows, func(_ string, p PackedParcel) {
			if len(a.list) == 1 {
				a.list[0].Parcels = append(a.list[0].Parcels, p)
			}
		})
	})
	return a
}

// Filter chooses shipments; what is empty chooses all.
type Filter struct {
	Status, Warehouse, OrderID, Carrier string
	// Before is the id of the last of the page before.
	Before string
	Limit  int
}

// List reads a page of shipments, the newest first.
func List(ctx context.Context, tx pgx.Tx, tenantID string, f Filter) ([]Shipment, error) {
	return read(ctx, tx, tenantID, `($2 = '' OR s.status = $2) AND ($3 = '' OR s.warehouse = $3) AND ($4 = '' OR s.order_id = $4) AND ($5 = '' OR s.carrier = $5) AND ($6 = '' OR s.id < $6) ORDER BY s.id DESC LIMIT $7`,
		f.Status, f.Warehouse, f.OrderID, f.Carrier, f.Before, f.Limit)
}

func read(ctx context.Context, tx pgx.Tx, tenantID, which string, args ...any) ([]Shipment, error) {
	rows, err := tx.Query(ctx, shipmentColumns+which, append([]any{tenantID}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("shipments: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanShipment)
	if err != nil {
		return nil, fmt.Errorf("shipments: %w", err)
	}
	return list, readParcels(ctx, tx, tenantID, list)
}

func readParcels(ctx context.Context, tx pgx.Tx, tenantID string, list []Shipment) error {
	ids := make([]string, len(list))
	for i, s := range list {
		ids[i] = s.ID
	}
	return eachParcel(ctx, tx, tenantID, "shipment_id", ids, func(id string, p PackedParcel) {
		i := slices.Index(ids, id)
		list[i].Parcels = append(list[i].Parcels, p)
	})
}

// conflict refuses a step and says how the shipment stands.
func (s Shipment) conflict(code, detail string) *problem.Error {
	return problem.New(problem.Conflict, code, detail).With("current", s)
}

// surroundings are what decides about a shipment beside its own row.
type surroundings struct {
	// now is the database's clock.
	now    time.Time
	bookAt *time.Time
	// cancelled and refunded are the order's: refunded when all of its money goes back.
	cancelled, refunded bool
	// backOrdered is until when the order waits for units that are missing, zero when it
	// does not.
	backOrdered time.Time
}

func (s Shipment) around(ctx context.Context, tx pgx.Tx, tenantID string) (a surroundings, err error) {
	b := &pgx.Batch{}
	queueAround(b, tenantID, s.ID, &a)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return a, fmt.Errorf("shipment %s: %w", s.ID, err)
	}
	return a, nil
}

// queueAround reads a shipment's surroundings in a batch.
func queueAround(b *pgx.Batch, tenantID, shipmentID string, a *surroundings) {
	b.Queue(`SELECT now(), s.book_at, o.status = 'cancelled', `+order.WhollyRefunded+`, (SELECT h.short_until FROM holds h WHERE h.tenant = o.tenant AND h.id = o.hold_id AND h.status = 'short')
	    FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id WHERE s.tenant = $1 AND s.id = $2`, tenantID, shipmentID).QueryRow(func(row pgx.Row) error {
		var until *time.Time
		err := row.Scan(&a.now, &a.bookAt, &a.cancelled, &a.refunded, &until)
		if until != nil {
			a.backOrdered = until.UTC()
		}
		return err
	})
}

// stopped says why nothing may leave for the shipment's order now, nil when it may.
func (s Shipment) stopped(ctx context.Context, tx pgx.Tx, tenantID string) error {
	a, err := s.around(ctx, tx, tenantID)
	if err != nil {
		return err
	}
	if why := s.stoppedBy(a); why != nil {
		return why
	}
	return nil
}

// stoppedBy is stopped by what was read already.
func (s Shipment) stoppedBy(a surroundings) *problem.Error {
	switch {
	case s.Frozen != nil:
		return s.conflict("order_frozen", "Nothing may leave for this order now: "+*s.Frozen+".").With("reason", *s.Frozen)
	case a.cancelled:
		return s.conflict("order_cancelled", "The order is cancelled.")
	case a.refunded:
		return s.conflict("order_refunded", "The order's money goes back, or did.")
	case !a.backOrdered.IsZero():
		return s.conflict("order_back_ordered", "Units of this order are missing: it waits for them and leaves as a whole.").With("until", a.backOrdered)
	}
	return nil
}

// step is one change of a shipment's status by a person.
type step struct {
	tenant, shipmentID string
	// version is the shipment's that the person has seen; zero is any.
	version int64
	from    []string
	to      string
	// set is what else changes, as SQL with parameters from $7.
	set  string
	args []any
	// evenFrozen: the step takes something back, or is about what has left.
	evenFrozen bool
}

// take changes the shipment's row if it still is as s was read. Another who was
// faster is a conflict.
func (t step) take(ctx context.Context, tx pgx.Tx, s Shipment) (Shipment, error) {
	b := &pgx.Batch{}
	taken := false
	b.Queue(`UPDATE shipments SET status = $3, version = version + 1, updated_at = now()`+t.set+` WHERE tenant = $1 AND id = $2 AND version = $4 AND status = $6 AND ($5 OR frozen_reason IS NULL)`,
		append([]any{t.tenant, t.shipmentID, t.to, s.Version, t.evenFrozen, s.Status}, t.args...)...).Exec(func(tag pgconn.CommandTag) error {
		taken = tag.RowsAffected() == 1
		return nil
	})
	after := queueGet(b, t.tenant, t.shipmentID)
	now, err := after.found(tx.SendBatch(ctx, b).Close())
	if err != nil {
		return s, err
	}
	if !taken {
		return s, now.conflict("version_changed", "Somebody else has changed the shipment at the same moment.")
	}
	return now, nil
}

// look reads the shipment and demands that the step may be done.
func (t step) look(ctx context.Context, tx pgx.Tx) (Shipment, error) {
	s, err := Get(ctx, tx, t.tenant, t.shipmentID)
	if err != nil {
		return s, err
	}
	switch {
	case t.version != 0 && t.version != s.Version:
		return s, s.conflict("version_changed", fmt.Sprintf("The shipment has version %d, not %d.", s.Version, t.version))
	case !slices.Contains(t.from, s.Status):
		return s, s.conflict("wrong_status", "The shipment is "+s.Status+".")
	}
	return s, nil
}

// wanted is what the order still keeps in the shipment's warehouse, by SKU, and
// whether all of it lies in packing bins. It is less than the lines where the shelf
// had fewer than were promised.
func (s Shipment) wanted(ctx context.Context, tx pgx.Tx, tenantID string) (units []stock.Want, whole bool, err error) {
	rows, err := tx.Query(ctx, `SELECT sku, quantity - shorted, picked + left_stock >= quantity - shorted FROM hold_lines WHERE tenant = $1 AND hold_id = $2 AND warehouse = $3 AND quantity > shorted ORDER BY sku`, tenantID, s.holdID, s.Warehouse)
	if err != nil {
		return nil, false, fmt.Errorf("units of shipment %s: %w", s.ID, err)
	}
	whole = true
	var w stock.Want
	var lies bool
	_, err = pgx.ForEachRow(rows, []any{&w.SKU, &w.Quantity, &lies}, func() error {
		units, whole = append(units, w), whole && lies
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("units of shipment %s: %w", s.ID, err)
	}
	return units, whole && len(units) > 0, nil
}
