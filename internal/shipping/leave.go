package shipping

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/notice"
	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// Labelling chooses who carries a shipment.
type Labelling struct {
	Carrier Name `json:"carrier"`
	// Service is the carrier's code of a service; left out, it is the one that suits
	// the shop's policy best. Not for manual.
	Service string `json:"service"`
	// Tracking are the numbers under which the courier of manual knows the parcels, in
	// their order; left out, they are our references.
	Tracking []string `json:"tracking"`
	Version  int64    `json:"version"`
	By       stock.By `json:"-"`
}

func (in Labelling) check() error {
	var f problem.Fields
	switch {
	case in.Carrier != "" && !slices.Contains(Names(), in.Carrier):
		f.Add("carrier", "invalid", "chilexpress, starken, correos, bluexpress or manual")
	case in.Carrier != Manual && len(in.Tracking) > 0:
		f.Add("tracking", "not_allowed", "a carrier gives its own numbers")
	case in.Service != "" && (in.Carrier == "" || in.Carrier == Manual):
		f.Add("service", "not_allowed", "a service belongs to a carrier: name it")
	case len(in.Service) > 80:
		f.Add("service", "too_long", "at most 80 bytes")
	}
	for i, number := range in.Tracking {
		if !printable(number, 40) {
			f.Add(fmt.Sprintf("tracking[%d]", i), "invalid", "1 to 40 visible characters")
		}
		if slices.Contains(in.Tracking[:i], number) {
			f.Add(fmt.Sprintf("tracking[%d]", i), "repeated", "each parcel has a number of its own")
		}
	}
	return f.Err()
}

// printable reports whether a text is 1 to so many visible ASCII characters.
func printable(text string, longest int) bool {
	if text == "" || len(text) > longest {
		return false
	}
	for i := range len(text) {
		if text[i] < '!' || text[i] > '~' {
			return false
		}
	}
	return true
}

// LabelParcels says who carries a packed shipment. With manual its parcels have tracking
// numbers from now on and labels can be printed. Of any other carrier, or of none, the
// labels are wanted from now on: the shipment's run buys them, and the shipment is
// labelled when it has them all. Without a carrier it is the one that the buyer has paid
// for, else the shop's best.
//
// 409 with the shipment in current: wrong_status, order_frozen, order_cancelled,
// order_refunded, label_under_way (another carrier is being asked), version_changed; 422
// for a carrier that this shop cannot use, or another count of tracking numbers than of
// parcels.
func LabelParcels(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in Labelling) (Shipment, error) {
	if err := in.check(); err != nil {
		return Shipment{}, err
	}
	if in.Carrier != Manual {
		return want(ctx, tx, shop, shipmentID, in)
	}
	t := step{tenant: shop.ID, shipmentID: shipmentID, version: in.Version, from: []string{Packed}, to: Labelled, set: `, labelled_at = now(), carrier = $7`, args: []any{string(in.Carrier)}}
	s, err := t.look(ctx, tx)
	if err != nil {
		return s, err
	}
	if err := s.stopped(ctx, tx, shop.ID); err != nil {
		return s, err
	}
	if err := s.free(ctx, tx, shop.ID); err != nil {
		return s, err
	}
	numbers := in.Tracking
	if len(numbers) == 0 {
		for _, p := range s.Parcels {
			numbers = append(numbers, p.Reference)
		}
	}
	if len(numbers) != len(s.Parcels) {
		var f problem.Fields
		f.Add("tracking", "out_of_range", "the shipment has %d parcels: a number for each", len(s.Parcels))
		return s, f.Err()
	}
	for i, p := range s.Parcels {
		if _, err := tx.Exec(ctx, `UPDATE parcels SET tracking = $3 WHERE tenant = $1 AND id = $2`, shop.ID, p.ID, numbers[i]); err != nil {
			return s, fmt.Errorf("tracking of parcel %s: %w", p.ID, err)
		}
	}
	if s, err = t.take(ctx, tx, s); err != nil {
		return s, err
	}
	return s, timeline.Add(ctx, tx, shop.ID, s.OrderID, "labelled", "warehouse", map[string]any{"shipment_id": s.ID, "carrier": s.Carrier, "tracking": numbers, "by": in.By.Person})
}

// want writes down that a carrier's labels are wanted. Wanted again it is tried at once.
func want(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in Labelling) (Shipment, error) {
	t := step{tenant: shop.ID, shipmentID: shipmentID, version: in.Version, from: []string{Packed}, to: Packed,
		set: `, wanted_at = clock_timestamp(), wanted_by = $7, wanted_carrier = $8, wanted_service = $9, book_at = NULL, not_booked = ''`, args: []any{in.By.Person, string(in.Carrier), in.Service}}
	s, err := t.look(ctx, tx)
	if err != nil {
		return s, err
	}
	if err := s.stopped(ctx, tx, shop.ID); err != nil {
		return s, err
	}
	if in.Carrier != "" {
		if err := configured(ctx, tx, shop.ID, in.Carrier); err != nil {
			return s, err
		}
		if err := s.free(ctx, tx, shop.ID); err != nil {
			return s, err
		}
	}
	return t.take(ctx, tx, s)
}

// configured demands that the tenant has an account at a carrier.
func configured(ctx context.Context, tx pgx.Tx, tenantID string, carrier Name) error {
	var has bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM provider_credentials WHERE tenant = $1 AND provider = $2)`, tenantID, carrier).Scan(&has); err != nil {
		return fmt.Errorf("credentials of %s: %w", carrier, err)
	}
	var f problem.Fields
	if !has {
		f.Add("carrier", "not_configured", "there are no credentials for it: PUT /v1/carriers/{carrier}/credentials")
	}
	return f.Err()
}

// free demands that no carrier is being asked for the shipment's labels, or has made one.
func (s Shipment) free(ctx context.Context, tx pgx.Tx, tenantID string) error {
	var carrier Name
	err := tx.QueryRow(ctx, `SELECT coalesce((SELECT carrier FROM bookings WHERE tenant = $1 AND shipment_id = $2 AND `+live+` LIMIT 1), '')`, tenantID, s.ID).Scan(&carrier)
	switch {
	case err != nil:
		return fmt.Errorf("bookings of shipment %s: %w", s.ID, err)
	case carrier != "":
		return s.conflict("label_under_way", carrier.Title()+" is being asked for its labels, or has made one. Unpack the shipment to give it to another.")
	}
	return nil
}

// Handing is an operator's word that the carrier has taken the parcels.
type Handing struct {
	Version int64    `json:"version"`
	By      stock.By `json:"-"`
}

// HandOver lets a labelled shipment leave: its units leave their packing bins, and
// on hand and reserved fall together. Once, whoever asks how often.
//
// 409 with the shipment in current: wrong_status, order_frozen, order_cancelled,
// order_refunded, not_picked (units were taken back since), version_changed.
func HandOver(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in Handing) (Shipment, error) {
	t := step{tenant: shop.ID, shipmentID: shipmentID, version: in.Version, from: []string{Labelled}, to: HandedOver,
		set: `, handed_over_at = now(), due_at = now() + make_interval(hours => $7) * CASE WHEN promised_days IS NULL THEN 1 ELSE 0 END
		    + make_interval(days => coalesce(promised_days + promised_days / 5 * 2, 0)), lines = $8`}
	s, err := t.look(ctx, tx)
	if err != nil {
		return s, err
	}
	if err := s.stopped(ctx, tx, shop.ID); err != nil {
		return s, err
	}
	// Stock before shipments, in every function that locks both.
	left, err := s.leaveStock(ctx, tx, shop.ID, in.By)
	if err != nil {
		return s, err
	}
	// From now on the lines are what is in the parcels.
	lines, err := json.Marshal(left)
	if err != nil {
		return s, err
	}
	t.args = []any{shop.Settings.DeliveryHours, lines}
	if s, err = t.take(ctx, tx, s); err != nil {
		return s, err
	}
	if err := s.reckon(ctx, tx, shop); err != nil {
		return s, err
	}
	if err := order.LowerAttention(ctx, tx, shop.ID, s.OrderID, leftUntold); err != nil {
		return s, err
	}
	if err := timeline.Add(ctx, tx, shop.ID, s.OrderID, "handed_over", "warehouse", map[string]any{"shipment_id": s.ID, "carrier": s.Carrier, "by": in.By.Person}); err != nil {
		return s, err
	}
	if err := s.tell(ctx, tx, shop, notice.Shipped, left); err != nil {
		return s, err
	}
	return s, order.Follow(ctx, tx, shop.ID, s.OrderID)
}

// leaveStock takes the shipment's units out of their packing bins, and returns them.
// Nothing is taken from wherever else it lies.
func (s Shipment) leaveStock(ctx context.Context, tx pgx.Tx, tenantID string, by stock.By) ([]stock.Want, error) {
	if err := stock.LockHold(ctx, tx, tenantID, s.holdID); err != nil {
		return nil, err
	}
	left, whole, err := s.wanted(ctx, tx, tenantID)
	switch {
	case err != nil:
		return nil, err
	case !whole:
		return nil, s.conflict("not_picked", "Not all of it lies in a packing bin any more. Unpack the shipment: the next wave looks for what is missing.")
	}
	return left, stock.HandOverFrom(ctx, tx, tenantID, s.holdID, s.Warehouse, s.document(), by)
}

// document names the shipment in the ledger of bins.
func (s Shipment) document() string { return "shipment:" + s.ID }

// News is a person's word about a shipment that nobody else tells of.
type News struct {
	Status string `json:"status"`
	Note   string `json:"note"`
	// Version is the shipment's that the person has seen; zero is any.
	Version int64    `json:"version"`
	By      stock.By `json:"-"`
}

// underWay are the statuses after the warehouse.
var underWay = []string{HandedOver, OnTheWay, Delivering, NotDelivered, Missing}

func (in News) check() error {
	var f problem.Fields
	if !slices.Contains([]string{OnTheWay, Delivering, Arrived, NotDelivered, ReturnedToShop, Missing}, in.Status) {
		f.Add("status", "invalid", "in_transit, out_for_delivery, delivered, delivery_failed, returned_to_sender or lost")
	}
	if len(in.Note) > 400 {
		f.Add("note", "too_long", "at most 400 bytes")
	}
	return f.Err()
}

// troubles are statuses for which a person is needed, with the order's reason.
var troubles = map[string]string{NotDelivered: "delivery_failed", ReturnedToShop: "returned_to_sender", Missing: "parcel_lost"}

// heardOf are statuses of which the buyer is told. That a parcel is lost is for a
// person to say.
var heardOf = map[string]notice.Kind{
	Delivering: notice.OutForDelivery, Arrived: notice.Delivered, NotDelivered: notice.DeliveryFailed, ReturnedToShop: notice.ReturnedToSender,
}

// tell queues a notice of the shipment's, once for each kind. units are what is in
// its parcels, where the buyer is told that too.
func (s Shipment) tell(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, kind notice.Kind, units []stock.Want) error {
	data := notice.Data{ShipmentID: s.ID}
	if s.Carrier != string(Manual) && s.Carrier != "" {
		data.Carrier = Name(s.Carrier).Title()
	}
	for _, p := range s.Parcels {
		// Our own references tell a buyer nothing.
		if p.Tracking != "" && (p.Tracking != p.Reference || s.Carrier != string(Manual)) {
			data.Tracking = append(data.Tracking, p.Tracking)
		}
	}
	for _, u := range units {
		data.Units = append(data.Units, notice.Units{SKU: u.SKU, Quantity: u.Quantity})
	}
	return notice.Queue(ctx, tx, shop, s.OrderID, kind, s.ID, data)
}

// Report moves a shipment of own delivery by a person's word. The same status
// again changes nothing. A delivery that failed, a parcel that came back or is lost
// raise the order's attention, and the next good news lowers it.
//
// 409 with the shipment in current: wrong_status, carrier_tells (another carrier's
// parcels move by its own word), version_changed.
func Report(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in News) (Shipment, error) {
	if err := in.check(); err != nil {
		return Shipment{}, err
	}
	t := step{tenant: shop.ID, shipmentID: shipmentID, version: in.Version, from: append(slices.Clone(underWay), Arrived, ReturnedToShop)}
	s, err := t.look(ctx, tx)
	if err != nil {
		return s, err
	}
	switch {
	case s.Carrier != string(Manual):
		return s, s.conflict("carrier_tells", "Where these parcels are is told by "+Name(s.Carrier).Title()+".")
	case s.Status == in.Status:
		return s, nil
	case !slices.Contains(underWay, s.Status):
		return s, s.conflict("wrong_status", "The shipment is "+s.Status+".")
	}
	return s.advance(ctx, tx, shop, in.Status, map[string]any{"by": in.By.Person, "note": in.Note})
}

// advance moves a shipment that has left, tells the timeline and lets the order follow.
func (s Shipment) advance(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, to string, data map[string]any) (Shipment, error) {
	t := step{tenant: shop.ID, shipmentID: s.ID, to: to, evenFrozen: true,
		set: `, ended_at = CASE WHEN $7 THEN now() END, settled = CASE WHEN $3 IN ('lost','returned_to_sender') THEN settled ELSE '' END,
		  due_at = CASE WHEN $7 THEN NULL WHEN $3 = 'delivery_failed' THEN now() + make_interval(hours => $8) ELSE coalesce(due_at, now() + make_interval(hours => $9)) END`,
		args: []any{slices.Contains([]string{Arrived, ReturnedToShop, Missing}, to), shop.Settings.SecondTryHours, shop.Settings.DeliveryHours}}
	s, err := t.take(ctx, tx, s)
	if err != nil {
		return s, err
	}
	if err := s.reckon(ctx, tx, shop); err != nil {
		return s, err
	}
	data["shipment_id"], data["carrier"] = s.ID, s.Carrier
	if err := timeline.Add(ctx, tx, shop.ID, s.OrderID, s.Status, "shipping", data); err != nil {
		return s, err
	}
	if kind, heard := heardOf[s.Status]; heard {
		if err := s.tell(ctx, tx, shop, kind, nil); err != nil {
			return s, err
		}
	}
	if err := s.attend(ctx, tx, shop.ID); err != nil {
		return s, err
	}
	return s, order.Follow(ctx, tx, shop.ID, s.OrderID)
}

// attend raises the order's attention for trouble, and lowers what this shipment has
// raised before, unless another of the order's is in that trouble.
func (s Shipment) attend(ctx context.Context, tx pgx.Tx, tenantID string) error {
	var statuses, reasons []string
	for status, reason := range troubles {
		if status == s.Status {
			if err := order.RaiseAttention(ctx, tx, tenantID, s.OrderID, reason); err != nil {
				return err
			}
			continue
		}
		statuses, reasons = append(statuses, status), append(reasons, reason)
	}
	_, err := tx.Exec(ctx, `DELETE FROM order_attention a USING unnest($4::text[], $5::text[]) AS t (status, reason)
	   WHERE a.tenant = $1 AND a.order_id = $2 AND a.reason = t.reason
	     AND NOT EXISTS (SELECT FROM shipments s WHERE s.tenant = $1 AND s.order_id = $2 AND s.id <> $3 AND s.status = t.status)`, tenantID, s.OrderID, s.ID, statuses, reasons)
	if err != nil {
		return fmt.Errorf("attention of order %s: %w", s.OrderID, err)
	}
	return nil
}
