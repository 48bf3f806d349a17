// Package shippingdoc makes the papers of shipments as PDF: the slip that lies in the
// box, the label on it, and the manifest that the driver signs. They are made when they
// are asked for and kept nowhere: they name the buyer.
package shippingdoc

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/label"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
)

// PackingSlip is the slip of a shipment, from the moment when all of it lies in a
// packing bin. 404 for another tenant's; 409 wrong_status before that, and for a
// cancelled one.
func PackingSlip(ctx context.Context, tx pgx.Tx, tenantID, shipmentID string, language label.Language, now time.Time) ([]byte, error) {
	s, err := shipping.Get(ctx, tx, tenantID, shipmentID)
	if err != nil {
		return nil, err
	}
	if s.Status == shipping.Cancelled || s.PickedAt == nil {
		return nil, problem.New(problem.Conflict, "wrong_status", "The shipment is "+s.Status+": what is in it is not known yet, or nothing is.").With("current", s)
	}
	p, err := printing(ctx, tx, tenantID, language, now)
	if err != nil {
		return nil, err
	}
	between, err := s.Parties(ctx, tx, tenantID)
	if err != nil {
		return nil, err
	}
	slip := Slip{Shop: between.Shop, Warehouse: between.Warehouse, Order: s.Number, Shipment: s.ID, Recipient: between.Recipient, Address: between.Address}
	for _, parcel := range s.Parcels {
		slip.Parcels = append(slip.Parcels, SlipParcel{Reference: parcel.Reference, Tracking: parcel.Tracking, Grams: parcel.WeightGrams})
	}
	if slip.Lines, err = slipLines(ctx, tx, tenantID, s); err != nil {
		return nil, err
	}
	pdf, err := slip.PDF(p)
	if err != nil {
		return nil, fmt.Errorf("shipment %s: %w", s.ID, err)
	}
	return pdf, nil
}

// slipLines are the order's products: what is in the shipment first, then what is in
// others or in none.
func slipLines(ctx context.Context, tx pgx.Tx, tenantID string, s shipping.Shipment) ([]SlipLine, error) {
	rows, err := tx.Query(ctx, `SELECT sku, min(name), sum(quantity)::int, 0, 0, 0 FROM order_lines WHERE tenant = $1 AND order_id = $2 GROUP BY sku ORDER BY min(position)`, tenantID, s.OrderID)
	if err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", s.OrderID, err)
	}
	// What was ordered stands in OutOfStock until it is found in a shipment.
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l SlipLine, err error) {
		err = row.Scan(&l.SKU, &l.Name, &l.OutOfStock, &l.Quantity, &l.Follows, &l.Sent)
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", s.OrderID, err)
	}
	all, err := shipping.List(ctx, tx, tenantID, shipping.Filter{OrderID: s.OrderID, Limit: mostShipments})
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		units, err := one.Contents(ctx, tx, tenantID)
		if err != nil {
			return nil, err
		}
		for _, u := range units {
			i := slices.IndexFunc(lines, func(l SlipLine) bool { return l.SKU == u.SKU })
			if i < 0 {
				continue // never ordered: nothing that a buyer waits for
			}
			l := &lines[i]
			l.OutOfStock -= u.Quantity
			switch {
			case one.ID == s.ID:
				l.Quantity += u.Quantity
			case one.HandedOverAt != nil:
				l.Sent += u.Quantity
			default:
				l.Follows += u.Quantity
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b SlipLine) int { return cmp.Compare(min(b.Quantity, 1), min(a.Quantity, 1)) })
	return lines, nil
}

// mostShipments of one order: there is one for each warehouse.
const mostShipments = 1000

// labelled are the statuses in which a shipment's parcels have labels that matter.
var labelled = []string{shipping.Labelled, shipping.HandedOver, shipping.OnTheWay, shipping.Delivering, shipping.NotDelivered}

// Labels are the labels of a shipment as PDF of 100 x 150 mm: those that its carrier
// gave, laid out by Label10x15; or our own, for a shipment that is carried by
// hand. 404 for another tenant's shipment; 409 wrong_status without a carrier or after
// the end, no_label when the carrier must give one and none is stored, printer_label
// for ZPL and EPL, label_unreadable for what can't be laid out.
func Labels(ctx context.Context, tx pgx.Tx, tenantID, shipmentID string, language label.Language, now time.Time) ([]byte, error) {
	s, err := shipping.Get(ctx, tx, tenantID, shipmentID)
	if err != nil {
		return nil, err
	}
	stored, err := shipping.CarrierLabels(ctx, tx, tenantID, shipping.OfShipment(shipmentID), 0)
	if err != nil {
		return nil, err
	}
	refused := func(code, detail string) error {
		return problem.New(problem.Conflict, code, detail).With("current", s)
	}
	switch {
	case !slices.Contains(labelled, s.Status):
		return nil, refused("wrong_status", "The shipment is "+s.Status+": it has no label.")
	case len(stored) > 0:
		return carriersLabels(stored, refused)
	case s.Carrier != string(shipping.Manual):
		return nil, refused("no_label", shipping.Name(s.Carrier).Title()+" has given no label for this shipment.")
	}
	p, err := printing(ctx, tx, tenantID, language, now)
	if err != nil {
		return nil, err
	}
	between, err := s.Parties(ctx, tx, tenantID)
	if err != nil {
		return nil, err
	}
	var labels []ParcelLabel
	for _, parcel := range s.Parcels {
		labels = append(labels, ParcelLabel{Shop: between.Shop, Warehouse: between.Warehouse, Order: s.Number, Carrier: shipping.Name(s.Carrier), Recipient: between.Recipient, Address: between.Address,
			Reference: parcel.Reference, Tracking: parcel.Tracking, Position: parcel.Position, Of: len(s.Parcels), Grams: parcel.WeightGrams})
	}
	pdf, err := ParcelLabels(labels, p)
	if err != nil {
		return nil, fmt.Errorf("shipment %s: %w", s.ID, err)
	}
	return pdf, nil
}

// Loads is a choice of parcels.
type Loads struct {
	Warehouse string // code
	Carrier   shipping.Name
	Date      string // 2006-01-02, for people
	From, To  time.Time
	// Status is shipping.HandedOver for what left in From <= t < To, whatever became of
	// it since; or shipping.Labelled for what has its label since before To and still
	// waits. What must not leave (a frozen shipment) does not wait.
	Status string
}

// Load reads a manifest, in the order of shipments and their parcels. 422 for a
// warehouse that the tenant doesn't have.
func Load(ctx context.Context, tx pgx.Tx, tenantID string, of Loads) (Manifest, error) {
	m := Manifest{Warehouse: of.Warehouse, Carrier: of.Carrier, Date: of.Date, Status: of.Status, Data: []Loaded{}}
	shop, err := tenant.Get(ctx, tx, tenantID)
	if err != nil {
		return m, err
	}
	m.Shop, m.TimeZone = shop.Name, shop.Settings.TimeZone
	names, err := tx.Query(ctx, `SELECT name FROM warehouses WHERE tenant = $1 AND code = $2`, tenantID, of.Warehouse)
	if err != nil {
		return m, fmt.Errorf("warehouse %s: %w", of.Warehouse, err)
	}
	found, err := pgx.CollectRows(names, pgx.RowTo[string])
	switch {
	case err != nil:
		return m, fmt.Errorf("warehouse %s: %w", of.Warehouse, err)
	case len(found) == 0:
		var f problem.Fields
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
		return m, f.Err()
	}
	m.WarehouseName = found[0]
	which := `s.handed_over_at >= $4 AND s.handed_over_at < $5`
	if of.Status == shipping.Labelled {
		which = `s.status = 'labelled' AND s.frozen_reason IS NULL AND s.labelled_at < $5 AND $4::timestamptz IS NOT NULL`
	}
	rows, err := tx.Query(ctx, `SELECT s.id, s.order_id, o.number, p.id, p.position, count(*) OVER (PARTITION BY s.id), p.reference, p.tracking, p.weight_grams, coalesce(o.shipping->>'comuna', ''), s.labelled_at, s.handed_over_at
	  FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id JOIN parcels p ON p.tenant = s.tenant AND p.shipment_id = s.id AND p.unpacked_at IS NULL
	 WHERE s.tenant = $1 AND s.warehouse = $2 AND s.carrier = $3 AND `+which+` ORDER BY s.id, p.position`, tenantID, of.Warehouse, string(of.Carrier), of.From, of.To)
	if err != nil {
		return m, fmt.Errorf("parcels of a manifest: %w", err)
	}
	data, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Loaded])
	if err != nil {
		return m, fmt.Errorf("parcels of a manifest: %w", err)
	}
	m.Data = append(m.Data, data...)
	for i := range m.Data {
		at := &m.Data[i]
		at.LabelledAt = at.LabelledAt.UTC()
		if at.HandedOverAt != nil {
			left := at.HandedOverAt.UTC()
			at.HandedOverAt = &left
		}
	}
	m.add()
	return m, nil
}

// printing is how papers of a tenant are printed.
func printing(ctx context.Context, tx pgx.Tx, tenantID string, language label.Language, now time.Time) (Print, error) {
	shop, err := tenant.Get(ctx, tx, tenantID)
	if err != nil {
		return Print{}, err
	}
	zone, err := time.LoadLocation(shop.Settings.TimeZone)
	if err != nil {
		return Print{}, fmt.Errorf("time zone of %s: %w", tenantID, err)
	}
	return Print{Language: language, At: now, Zone: zone}, nil
}
