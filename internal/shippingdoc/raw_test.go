package shippingdoc_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shippingdoc"
	"justlogistics/internal/shoptest"
)

// carrying is a labelled shipment of Starken's with a parcel for each label; one without
// data was printed in the carrier's panel.
func carrying(t *testing.T, s *shoptest.Shop, labels ...shipping.Label) (shipmentID string) {
	t.Helper()
	orderID := id.New()
	shipmentID = id.New()
	s.Exec(t, `INSERT INTO orders (tenant, id, number, status, channel, currency, shipping, hold_id, items_total, discount_total, shipping_total, tax_total, total) VALUES ($1,$2::text,$2::text,'in_fulfillment','web','CLP','{}',$2::text,0,0,0,0,0)`, shoptest.Tenant, orderID)
	s.Exec(t, `INSERT INTO shipments (tenant, id, order_id, warehouse, status, lines, carrier, packed_at, labelled_at) VALUES ($1,$2,$3,'SCL-1','labelled','[]','starken',now(),now())`, shoptest.Tenant, shipmentID, orderID)
	// The last parcel's rows come first: the order is that of the positions.
	for i := len(labels) - 1; i >= 0; i-- {
		parcelID, bookingID, reference := id.New(), id.New(), "ABCDEFGHIJ23456"+string(rune('0'+i))
		s.Exec(t, `INSERT INTO parcels (tenant, id, shipment_id, position, reference, weight_grams, tracking, packed_by) VALUES ($1,$2,$3,$4,$5,1500,$6,'ana')`, shoptest.Tenant, parcelID, shipmentID, i+1, reference, shipmentID+reference)
		s.Exec(t, `INSERT INTO bookings (tenant, id, shipment_id, parcel_id, carrier, service, reference, day, status, tracking, tried_at, booked_at) VALUES ($1,$2,$3,$4,'starken','0',$5,now(),'booked',$6,now(),now())`, shoptest.Tenant, bookingID, shipmentID, parcelID, reference, shipmentID+reference)
		if labels[i].Data != nil {
			s.Exec(t, `INSERT INTO carrier_labels (tenant, booking_id, format, data) VALUES ($1,$2,$3,$4)`, shoptest.Tenant, bookingID, labels[i].Format, labels[i].Data)
		}
	}
	return shipmentID
}

// raw asks for a shipment's labels; code is that of the refusal.
func raw(t *testing.T, s *shoptest.Shop, tenantID, shipmentID string, position int) (out shipping.Label, code string) {
	t.Helper()
	err := s.DB.InTenant(t.Context(), tenantID, func(tx pgx.Tx) (err error) {
		out, err = shippingdoc.RawLabels(t.Context(), tx, tenantID, shipmentID, position)
		return err
	})
	if p, is := problem.As(err); is {
		return out, p.Code
	}
	require.NoError(t, err)
	return out, ""
}

func TestRawLabels_AreTheCarriersBytesInTheOrderOfTheParcels(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	one := carrying(t, s, shipping.Label{Format: shipping.EPL, Data: []byte("N\nA50,0,0,1,1,1,N,\"\xd1u\xf1oa\"\nP1")})
	got, code := raw(t, s, shoptest.Tenant, one, 0)
	require.Empty(t, code)
	require.Equal(t, shipping.Label{Format: shipping.EPL, Data: []byte("N\nA50,0,0,1,1,1,N,\"\xd1u\xf1oa\"\nP1")}, got, "one label is not touched, whatever its letters are")

	s = shoptest.New(t)
	three := carrying(t, s, shipping.Label{Format: shipping.ZPL, Data: []byte("^XA^FDone^XZ")}, shipping.Label{Format: shipping.ZPL, Data: []byte("^XA^FDtwo^XZ\r\n")}, shipping.Label{Format: shipping.ZPL, Data: []byte("^XA^FDthree^XZ")})
	got, _ = raw(t, s, shoptest.Tenant, three, 0)
	require.Equal(t, "^XA^FDone^XZ\n^XA^FDtwo^XZ\r\n^XA^FDthree^XZ", string(got.Data), "a label ends with its line")
	require.Equal(t, shipping.ZPL, got.Format)
	got, _ = raw(t, s, shoptest.Tenant, three, 2)
	require.Equal(t, "^XA^FDtwo^XZ\r\n", string(got.Data))
	_, code = raw(t, s, shoptest.Tenant, three, 4)
	require.Equal(t, "no_label", code)
	s.AddTenant(t, "other")
	_, code = raw(t, s, "other", three, 0)
	require.Equal(t, "not_found", code, "another tenant's")
}

func TestRawLabels_OfSeveralFormatsAreAskedForOneByOne(t *testing.T) {
	t.Parallel()
	zpl, pdf := shipping.Label{Format: shipping.ZPL, Data: []byte("^XA^XZ")}, shipping.Label{Format: shipping.PDF, Data: []byte("%PDF-1.4")}
	for name, labels := range map[string][]shipping.Label{"two formats": {zpl, pdf}, "two files": {pdf, pdf}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shoptest.New(t)
			shipmentID := carrying(t, s, labels...)
			_, code := raw(t, s, shoptest.Tenant, shipmentID, 0)
			require.Equal(t, "labels_apart", code)
			for i, want := range labels {
				got, code := raw(t, s, shoptest.Tenant, shipmentID, i+1)
				require.Empty(t, code)
				require.Equal(t, want, got)
			}
		})
	}
}

func TestRawLabels_AreOnlyThoseThatCount(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	zpl := shipping.Label{Format: shipping.ZPL, Data: []byte("^XA^XZ")}
	shipmentID := carrying(t, s, zpl, shipping.Label{})
	got, code := raw(t, s, shoptest.Tenant, shipmentID, 0)
	require.Empty(t, code)
	require.Equal(t, zpl, got, "the other was printed in the carrier's panel")
	_, code = raw(t, s, shoptest.Tenant, shipmentID, 2)
	require.Equal(t, "no_label", code)
	s.Exec(t, `UPDATE bookings SET void_at = now()`)
	_, code = raw(t, s, shoptest.Tenant, shipmentID, 0)
	require.Equal(t, "no_label", code)
	s.Exec(t, `UPDATE shipments SET carrier = 'manual'`)
	_, code = raw(t, s, shoptest.Tenant, shipmentID, 0)
	require.Equal(t, "no_label", code)
	s.Exec(t, `UPDATE shipments SET status = 'packed', carrier = '', labelled_at = NULL`)
	_, code = raw(t, s, shoptest.Tenant, shipmentID, 0)
	require.Equal(t, "wrong_status", code)
}
