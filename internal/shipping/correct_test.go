package shipping_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

// correct sends the order to another street of another comuna.
func (d *dock) correct(orderID string) error {
	return d.DB.InTenant(d.t.Context(), acme, func(tx pgx.Tx) error {
		return shipping.CorrectDelivery(d.t.Context(), tx, acme, orderID, shipping.Correction{Name: "Rosa Soto", By: "eva",
			To: shipping.Place{Street: "Irarrázaval", Number: "2401", Comuna: "Ñuñoa", Region: "RM"}})
	})
}

// codeOf is a problem's code, and empty for anything else.
func codeOf(err error) string {
	if p, is := problem.As(err); is {
		return p.Code
	}
	return ""
}

func (d *dock) toBook(shipment string) (u shipping.Unbooked) {
	d.Do(d.t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(d.t.Context(), tx, acme)
		require.NoError(d.t, err)
		u, err = shipping.ToBook(d.t.Context(), tx, shop, shipment)
		return err
	})
	return u
}

func TestCorrectDelivery_AsksEverybodyAnewForWhatIsPackedAndWantsALabel(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 2})
	shipment := of["SCL-1"]
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(700))
	must(d, shipping.LabelParcels, shipment, shipping.Labelling{By: ana})
	d.Exec(t, `UPDATE shipments SET not_booked = 'the address is not known', book_at = now() + interval '10 minutes'`)
	before := d.read(shipment).Label.WantedAt
	d.wakes()

	require.NoError(t, d.correct(orderID))
	u := d.toBook(shipment)
	require.Equal(t, shipping.Place{Street: "Irarrázaval", Number: "2401", Comuna: "Ñuñoa", Region: "RM"}, u.To)
	require.Equal(t, "Rosa Soto", u.Receiver.Name)
	require.NotEmpty(t, u.Receiver.Phone, "what is left out stays")
	now := d.read(shipment)
	require.Empty(t, now.Label.NotBooked)
	require.True(t, now.Label.WantedAt.After(before), "a round of its own")
	require.Equal(t, shipping.NextChoose, d.stand(shipment).Next)
	require.Positive(t, d.wakes())
	require.Equal(t, []string{`{"by": "eva"}`}, shoptest.List[string](t, d.Shop, `SELECT data::text FROM events WHERE kind = 'address_corrected'`), "and no address")
}

func TestCorrectDelivery_IsRefusedWhereALabelNamesTheOldAddress(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 2})
	shipment := of["SCL-1"]
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(700))
	must(d, shipping.LabelParcels, shipment, byHand)
	was := d.toBook(shipment).To
	refusedWith := func(code string) {
		t.Helper()
		require.Equal(t, code, codeOf(d.correct(orderID)))
		require.Equal(t, was, d.toBook(shipment).To)
	}
	refusedWith("already_labelled")
	must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	refusedWith("already_shipped")
}

func TestCorrectDelivery_OfABookingUnderWayWaits(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	shipment := twoUnwanted(d)
	d.Exec(t, `UPDATE bookings SET status = 'intended', void_at = NULL, tried_at = NULL WHERE id = (SELECT min(id) FROM bookings)`)
	require.Equal(t, "already_labelled", codeOf(d.correct(d.read(shipment).OrderID)))
}

func TestCorrectDelivery_OfWhatIsFetchedHasNoAddress(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, _ := d.paid(map[string]int{"SCL-1": 1})
	for _, how := range []string{`{"method":"pickup_point"}`, `{"service":"pickup"}`} {
		d.Exec(t, `UPDATE orders SET shipping = shipping - 'method' || $1::jsonb`, how)
		require.Equal(t, "not_to_an_address", codeOf(d.correct(orderID)))
	}
}
