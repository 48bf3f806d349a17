package audit

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/id"
	"justlogistics/internal/order"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/picking"
)

// shipLamps gives two lamps away and lets them leave in one parcel.
func (s *shop) shipLamps() {
	s.in(func(tx pgx.Tx) error {
		_, err := tx.Exec(s.t.Context(), `INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', 'L-01', 'pick'), ($1, 'SCL-1', 'L-PACK', 'packing')`, shopID)
		return err
	})
	s.packTwo("lamp", "LAMP")
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		if _, err := shipping.LabelParcels(s.t.Context(), tx, shop, s.ids["lamp_shipment"], shipping.Labelling{Carrier: shipping.Manual, By: ana}); err != nil {
			return err
		}
		_, err := shipping.HandOver(s.t.Context(), tx, shop, s.ids["lamp_shipment"], shipping.Handing{By: ana})
		return err
	})
}

var ana = stock.By{Person: "ana"}

func (s *shop) inShop(fn func(tx pgx.Tx, shop tenant.Tenant) error) {
	s.t.Helper()
	s.in(func(tx pgx.Tx) error {
		shop, err := tenant.Get(s.t.Context(), tx, shopID)
		if err != nil {
			return err
		}
		return fn(tx, shop)
	})
}

// packTwo gives two units of a new SKU away and packs them in one parcel.
func (s *shop) packTwo(name, sku string) {
	hold := id.New()
	s.ids[name+"s"] = hold
	s.in(func(tx pgx.Tx) error {
		ctx := s.t.Context()
		if _, err := catalog.PutProduct(ctx, tx, shopID, sku, catalog.ProductInput{Name: sku, WeightGrams: 400, Prices: []catalog.Price{{Currency: "CLP", Amount: 990}}}); err != nil {
			return err
		}
		if _, err := stock.Move(ctx, tx, shopID, stock.BinMovement{SKU: sku, Warehouse: "SCL-1", Quantity: 5, To: stock.In("L-01", stock.Available), Reason: "receipt", By: ana}); err != nil {
			return err
		}
		p, err := stock.Place(ctx, tx, shopID, stock.Request{HoldID: hold, Channel: "counter", Wants: []stock.Want{{SKU: sku, Quantity: 2}}, Seconds: 900, Warehouses: []string{"SCL-1"}})
		if err != nil {
			return err
		}
		if _, err := stock.Confirm(ctx, tx, shopID, hold, hold); err != nil {
			return err
		}
		n := order.New{ID: hold, Number: sku + "-1", Channel: "counter", Currency: "CLP", HoldID: hold, DispatchHours: 24, Lines: []order.NewLine{{SKU: sku, Name: sku, Quantity: 2, Tax: "iva"}}}
		return order.Create(ctx, tx, shopID, n, []stock.HeldLine{{Line: p.Lines[0]}})
	})
	s.pack(name, sku, hold)
}

// pack picks and packs two units of an order.
func (s *shop) pack(name, sku, orderID string) {
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		ctx := s.t.Context()
		var shipment string
		if err := tx.QueryRow(ctx, `SELECT id FROM shipments WHERE order_id = $1`, orderID).Scan(&shipment); err != nil {
			return err
		}
		s.ids[name+"_shipment"] = shipment
		out, err := picking.Release(ctx, tx, shopID, picking.Wave{Warehouse: "SCL-1", By: picking.ByOrder, ShipmentIDs: []string{shipment}, Who: ana})
		if err != nil {
			return err
		}
		list := out.Lists[0].ID
		if _, err := picking.Pick(ctx, tx, shopID, picking.Picking{ListID: list, Picks: []picking.Scan{{Line: 1, Bin: "L-01", Product: sku, Quantity: 2}}, To: "L-PACK", By: ana}); err != nil {
			return err
		}
		if _, err := picking.Complete(ctx, tx, shopID, list, ana, 0); err != nil {
			return err
		}
		_, err = shipping.Pack(ctx, tx, shop, shipment, shipping.Packing{Parcels: []shipping.ParcelInput{{WeightGrams: 900}}, By: ana})
		return err
	})
}

func TestAudit_NamesWhatWasBrokenOfAShipment(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ check, subject, breaks string }{
		{"shipments.units_left_once", "lamp_shipment", `UPDATE bin_movements SET quantity = 1 WHERE document = 'shipment:{lamp_shipment}'`},
		{"shipments.units_left_once", "lamp_shipment", `DELETE FROM bin_movements WHERE document = 'shipment:{lamp_shipment}'`},
		{"shipments.units_left_once", "lamp_shipment", `INSERT INTO bin_movements (tenant, warehouse, sku, quantity, from_bin, from_status, reason, document, person) VALUES ('demo', 'SCL-1', 'LAMP', 2, 'L-01', 'available', 'handed_over', 'shipment:{lamp_shipment}', 'ana')`},
		{"shipments.units_left_once", "open_shipment", `UPDATE bin_movements SET document = 'shipment:{open_shipment}' WHERE document = 'shipment:{lamp_shipment}'`},
		{"shipments.order_follows", "lamps", `ALTER TABLE orders DISABLE TRIGGER USER; UPDATE orders SET status = 'in_fulfillment' WHERE id = '{lamps}'`},
		{"shipments.order_follows", "lamps", `ALTER TABLE orders DISABLE TRIGGER USER; UPDATE orders SET status = 'delivered' WHERE id = '{lamps}'`},
		{"shipments.parcels_are_named", "lamp_shipment", `UPDATE parcels SET tracking = ''`},
		{"shipments.parcels_are_named", "lamp_shipment", `UPDATE parcels SET unpacked_at = now()`},
	} {
		t.Run(tc.check, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			var open string
			require.NoError(t, s.super.QueryRow(t.Context(), `SELECT id FROM shipments WHERE handed_over_at IS NULL ORDER BY id LIMIT 1`).Scan(&open))
			s.ids["open_shipment"] = open
			whole := s.audit()
			require.True(t, whole.OK(), "%+v", whole.Checks)
			s.broken(tc.breaks)
			requireNamed(t, s.audit(), tc.check, s.ids[tc.subject])
		})
	}
}

func TestAudit_LateParcelsAreOnTheSupportList(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.broken(`UPDATE shipments SET due_at = now() - interval '1 minute' WHERE id = '{lamp_shipment}'`)
	require.True(t, s.audit().OK())
}
