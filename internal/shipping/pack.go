package shipping

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// Packing is an operator's word that a shipment lies in parcels.
type Packing struct {
	Parcels []ParcelInput `json:"parcels"`
	// ConfirmWeight accepts a weight that the catalogue does not explain.
	ConfirmWeight bool `json:"confirm_weight"`
	// Version is the shipment's that the operator has seen; zero is any.
	Version int64    `json:"version"`
	By      stock.By `json:"-"`
}

// ParcelInput is a parcel as it was weighed and measured.
type ParcelInput struct {
	WeightGrams int        `json:"weight_grams"`
	Dimensions  Dimensions `json:"dimensions_mm"`
}

// MostParcels is how many a shipment has at most.
const MostParcels = 50

const (
	// mostGrams and mostMM are more than any carrier here takes.
	mostGrams = 1_000_000
	mostMM    = 10_000
)

func (in Packing) check() error {
	var f problem.Fields
	if len(in.Parcels) == 0 || len(in.Parcels) > MostParcels {
		f.Add("parcels", "out_of_range", "1 to %d", MostParcels)
	}
	for i, p := range in.Parcels {
		p.Check(&f, fmt.Sprintf("parcels[%d].", i))
	}
	return f.Err()
}

// Check says what is wrong with a parcel that a request names at a place.
func (p ParcelInput) Check(f *problem.Fields, at string) {
	if p.WeightGrams < 1 || p.WeightGrams > mostGrams {
		f.Add(at+"weight_grams", "out_of_range", "1 to %d", mostGrams)
	}
	for name, mm := range map[string]int{"length": p.Dimensions.Length, "width": p.Dimensions.Width, "height": p.Dimensions.Height} {
		if mm < 0 || mm > mostMM {
			f.Add(at+"dimensions_mm."+name, "out_of_range", "0 to %d", mostMM)
		}
	}
}

// Pack puts a shipment that was picked as a whole into parcels and weighs them.
//
// 409 with the shipment in current: wrong_status, not_picked (something is still
// to be picked), order_frozen, order_cancelled, order_refunded, weight_differs
// (with what was weighed and expected; confirm_weight accepts it),
// version_changed. Packing again is wrong_status: a caller keeps its idempotency
// key.
func Pack(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in Packing) (Shipment, error) {
	if err := in.check(); err != nil {
		return Shipment{}, err
	}
	t := step{tenant: shop.ID, shipmentID: shipmentID, version: in.Version, from: []string{Picking}, to: Packed, set: `, packed_at = now(), wanted_at = CASE WHEN $7 THEN clock_timestamp() END, wanted_by = CASE WHEN $7 THEN 'automatic' ELSE '' END, wanted_carrier = '', wanted_service = '', book_at = NULL, not_booked = ''`,
		args: []any{shop.Settings.Fulfillment.Labels == tenant.Automatic}}
	s, err := t.look(ctx, tx)
	if err != nil {
		return s, err
	}
	wanted, whole, err := s.wanted(ctx, tx, shop.ID)
	switch {
	case err != nil:
		return s, err
	case s.PickedAt == nil:
		return s, s.conflict("not_picked", "Not everything of this shipment lies in a packing bin yet.")
	case !whole:
		return s, s.conflict("not_picked", "Units are not in their packing bin any more. Unpack the shipment: the next wave looks for what is missing.")
	}
	if err := s.stopped(ctx, tx, shop.ID); err != nil {
		return s, err
	}
	if err := s.weigh(ctx, tx, shop, in, wanted); err != nil {
		return s, err
	}
	if err := OfShipment(s.ID).AddParcels(ctx, tx, shop.ID, in.Parcels, in.By.Person); err != nil {
		return s, err
	}
	if s, err = t.take(ctx, tx, s); err != nil {
		return s, err
	}
	if err := timeline.Add(ctx, tx, shop.ID, s.OrderID, "packed", "warehouse", map[string]any{"shipment_id": s.ID, "warehouse": s.Warehouse, "parcels": len(in.Parcels), "by": in.By.Person}); err != nil {
		return s, err
	}
	return s, order.Follow(ctx, tx, shop.ID, s.OrderID)
}

// newReference is 80 bits of chance, written so that a person can read it out.
func newReference() string {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	return base32.StdEncoding.EncodeToString(random[:])
}

// weigh compares the scale with the catalogue. Where a product has no weight there
// is nothing to compare.
func (s Shipment) weigh(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, in Packing, goods []stock.Want) error {
	weighed := 0
	for _, p := range in.Parcels {
		weighed += p.WeightGrams
	}
	var skus []string
	var quantities []int
	for _, l := range goods {
		skus, quantities = append(skus, l.SKU), append(quantities, l.Quantity)
	}
	var expected int64
	var known bool
	err := tx.QueryRow(ctx, `SELECT coalesce(sum(p.weight_grams::bigint * w.quantity), 0), coalesce(bool_and(p.weight_grams > 0), false) FROM unnest($2::text[], $3::int[]) AS w (sku, quantity)
	    JOIN products p ON p.tenant = $1 AND p.sku = w.sku`, shop.ID, skus, quantities).Scan(&expected, &known)
	if err != nil {
		return fmt.Errorf("weight of shipment %s: %w", s.ID, err)
	}
	least, most := shop.Settings.Packing.Bounds(expected, len(in.Parcels))
	if !known || in.ConfirmWeight || int64(weighed) >= least && int64(weighed) <= most {
		return nil
	}
	return s.conflict("weight_differs", fmt.Sprintf("The parcels weigh %d g; %d to %d g were expected. See whether all of it is in, and nothing else.", weighed, least, most)).
		With("weighed_grams", weighed).With("expected_grams", map[string]int64{"goods": expected, "least": least, "most": most})
}

// Undoing takes a step back.
type Undoing struct {
	Reason  string   `json:"reason"`
	Version int64    `json:"version"`
	By      stock.By `json:"-"`
}

func (in Undoing) check() error {
	var f problem.Fields
	if len(in.Reason) > 400 {
		f.Add("reason", "too_long", "at most 400 bytes")
	}
	return f.Err()
}

// Unpack takes a shipment out of its parcels: its units lie in the packing bin as
// picked. A label that was bought for it is
// cancelled at its carrier by the shipment's run, where the carrier can. One of which units are missing
// there, packed or not, is pending again: the next wave looks for just those. 409
// wrong_status once it was handed over, and version_changed.
func Unpack(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in Undoing) (Shipment, error) {
	if err := in.check(); err != nil {
		return Shipment{}, err
	}
	t := step{tenant: shop.ID, shipmentID: shipmentID, version: in.Version, from: []string{Picking, Packed, Labelled}, to: Picking, set: `, packed_at = NULL, labelled_at = NULL, carrier = '', wanted_at = NULL, wanted_by = '', not_booked = '', book_at = NULL, promised_days = NULL`, evenFrozen: true}
	s, err := t.look(ctx, tx)
	if err != nil {
		return s, err
	}
	if s.Status == Labelled {
		// The table of moves has one step at a time.
		back := step{tenant: shop.ID, shipmentID: shipmentID, to: Packed, evenFrozen: true}
		if s, err = back.take(ctx, tx, s); err != nil {
			return s, err
		}
	}
	if err := OfShipment(s.ID).DropParcels(ctx, tx, shop.ID); err != nil {
		return s, err
	}
	_, whole, err := s.wanted(ctx, tx, shop.ID)
	switch {
	case err != nil:
		return s, err
	case s.Status == Picking && (s.PickedAt == nil || whole):
		return s, s.conflict("wrong_status", "The shipment is not packed.")
	case s.Status == Packed:
		if s, err = t.take(ctx, tx, s); err != nil {
			return s, err
		}
	}
	if !whole {
		again := step{tenant: shop.ID, shipmentID: shipmentID, to: Pending, set: `, picked_at = NULL, pick_list = NULL`, evenFrozen: true}
		if s, err = again.take(ctx, tx, s); err != nil {
			return s, err
		}
	}
	if err := s.reckon(ctx, tx, shop); err != nil {
		return s, err
	}
	return s, timeline.Add(ctx, tx, shop.ID, s.OrderID, "unpacked", "warehouse", map[string]any{"shipment_id": s.ID, "by": in.By.Person, "reason": in.Reason})
}
