package shipping_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

// twoIntended is a shipment in two parcels for which Starken is to be asked for labels.
func twoIntended(d *dock) (shipment string) {
	_, of := d.paid(map[string]int{"SCL-1": 2})
	shipment = of["SCL-1"]
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(350, 350))
	must(d, shipping.LabelParcels, shipment, shipping.Labelling{By: ana})
	d.Do(d.t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(d.t.Context(), tx, acme)
		require.NoError(d.t, err)
		u, err := shipping.ToBook(d.t.Context(), tx, shop, shipment)
		require.NoError(d.t, err)
		_, intended, err := u.Intend(d.t.Context(), tx, []shipping.Choice{{Carrier: shipping.Starken, Service: "0"}})
		require.True(d.t, intended)
		return err
	})
	return shipment
}

// twoUnwanted is a shipment in two parcels that was unpacked after their labels were asked
// for: nobody knows whether they are cancelled.
func twoUnwanted(d *dock) (shipment string) {
	shipment = twoIntended(d)
	must(d, shipping.Unpack, shipment, shipping.Undoing{By: ana})
	d.Exec(d.t, `UPDATE bookings SET tried_at = now(), status = 'unknown', next_at = NULL`)
	return shipment
}

func (d *dock) decide(shipment string, decision shipping.Decision) {
	d.t.Helper()
	d.Do(d.t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(d.t.Context(), tx, acme)
		require.NoError(d.t, err)
		_, err = shipping.Decide(d.t.Context(), tx, shop, shipment, decision)
		return err
	})
}

func TestDecide_ALabelThatIsCalledCancelledGivesItsRoomBack(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	shipment := twoUnwanted(d)
	statuses := func() []string {
		return shoptest.List[string](t, d.Shop, `SELECT status FROM bookings ORDER BY id`)
	}
	day := func() int { return shoptest.Value[int](t, d.Shop, `SELECT parcels FROM carrier_days`) }
	require.Equal(t, 2, day())
	d.decide(shipment, shipping.Decision{Step: shipping.StepVoid, Verb: "resolve", Outcome: "voided", By: "eva"})
	require.Equal(t, []string{"voided", "unknown"}, statuses(), "one case is about one label")
	require.Equal(t, 1, day())
	d.decide(shipment, shipping.Decision{Step: shipping.StepVoid, Verb: "skip", By: "eva"})
	require.Equal(t, []string{"voided", "lapsed"}, statuses())
	require.Equal(t, 1, day(), "a label that lapses was given to the carrier")
}

// TestDecide_CancellingTheLabelFreesTheOtherParcelsToo: one of two parcels was refused and
// nobody else takes it. Whoever gives the shipment up hands it to somebody else at once,
// whatever has become of the other parcel's label.
func TestDecide_CancellingTheLabelFreesTheOtherParcelsToo(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]string{
		"not tried": `updated_at = now()`, "in doubt": `status = 'unknown', tried_at = now()`, "bought": `status = 'booked', tried_at = now(), booked_at = now(), tracking = '91', next_at = NULL`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDock(t)
			shipment := twoIntended(d)
			d.Exec(t, `UPDATE bookings SET status = 'failed', tried_at = now(), next_at = NULL WHERE id = (SELECT min(id) FROM bookings)`)
			d.Exec(t, `UPDATE bookings SET `+other+` WHERE status = 'intended'`)
			d.Exec(t, `UPDATE shipments SET not_booked = 'Nobody carries it yet', book_at = now() + interval '10 minutes'`)
			require.Equal(t, shipping.StepCarrier, d.stand(shipment).Troubles[0].Step)
			d.decide(shipment, shipping.Decision{Step: shipping.StepCarrier, Verb: "cancel", By: "eva"})
			at := d.stand(shipment)
			require.Equal(t, shipping.NextVoid, at.Next, "what it costs is taken back")
			require.Empty(t, at.Troubles)
			require.Equal(t, shipping.Labelled, must(d, shipping.LabelParcels, shipment, byHand).Status)
		})
	}
}

func TestToBook_AddressesAParcelOfANamelessBuyerToTheOrder(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	shipment := twoUnwanted(d)
	to := func() (out shipping.Contact) {
		d.Do(d.t, func(tx pgx.Tx) error {
			shop, err := tenant.Get(d.t.Context(), tx, acme)
			require.NoError(d.t, err)
			shop.Settings.Sender = tenant.Sender{Name: "Tienda", Phone: "+56221234567", Email: "despacho@example.cl"}
			u, err := shipping.ToBook(d.t.Context(), tx, shop, shipment)
			out = u.Receiver
			return err
		})
		return out
	}
	d.Exec(t, `UPDATE orders SET customer = '{"email":"x@example.cl"}'`)
	require.Equal(t, shipping.Contact{Name: "Pedido " + shoptest.Value[string](t, d.Shop, `SELECT number FROM orders`), Phone: "+56221234567", Email: "x@example.cl"}, to())
	d.Exec(t, `UPDATE orders SET customer = '{"email":"x@example.cl","name":"Rosa Soto","phone":"+56911111111"}'`)
	require.Equal(t, shipping.Contact{Name: "Rosa Soto", Phone: "+56911111111", Email: "x@example.cl"}, to())
}

func TestLapse_OfABookingThatWasTriedAndNeverAnsweredHasAnEnd(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	shipment := twoUnwanted(d)
	d.Exec(t, `UPDATE bookings SET status = 'intended', next_at = now()`)
	order := shoptest.Value[string](t, d.Shop, `SELECT order_id FROM shipments`)
	d.Do(t, func(tx pgx.Tx) error {
		all, err := shipping.Bookings(t.Context(), tx, acme, shipping.OfShipment(shipment))
		require.NoError(t, err)
		all[0].Tracking = "91" // told by the carrier since
		return all[0].Lapse(t.Context(), tx, acme, order)
	})
	require.Equal(t, []string{"lapsed 91", "intended "}, shoptest.List[string](t, d.Shop, `SELECT status || ' ' || tracking FROM bookings ORDER BY id`))
}

// TestDecide_AnOrderIsDeliveredOnceWhatWasLostIsSettled: of two parcels one arrived and
// one was lost. Nothing more comes after somebody has decided about that one.
func TestDecide_AnOrderIsDeliveredOnceWhatWasLostIsSettled(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 1, "CCP-1": 1})
	for warehouse, shipment := range of {
		d.pick(warehouse)
		must(d, shipping.Pack, shipment, packing(350))
		must(d, shipping.LabelParcels, shipment, shipping.Labelling{Carrier: shipping.Manual, By: ana})
		must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	}
	must(d, shipping.Report, of["SCL-1"], shipping.News{Status: "delivered", By: ana})
	must(d, shipping.Report, of["CCP-1"], shipping.News{Status: "lost", By: ana})
	require.Equal(t, "shipped", d.status(orderID))
	d.decide(of["CCP-1"], shipping.Decision{Step: shipping.StepParcel, Verb: "resolve", Outcome: "closed", By: "eva"})
	require.Equal(t, "delivered", d.status(orderID))
}

func TestDecide_AnOrderOfWhichNothingArrivedIsNotDelivered(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, of := d.paid(map[string]int{"SCL-1": 1})
	d.pick("SCL-1")
	must(d, shipping.Pack, of["SCL-1"], packing(350))
	must(d, shipping.LabelParcels, of["SCL-1"], shipping.Labelling{Carrier: shipping.Manual, By: ana})
	must(d, shipping.HandOver, of["SCL-1"], shipping.Handing{By: ana})
	must(d, shipping.Report, of["SCL-1"], shipping.News{Status: "lost", By: ana})
	d.decide(of["SCL-1"], shipping.Decision{Step: shipping.StepParcel, Verb: "resolve", Outcome: "closed", By: "eva"})
	require.Equal(t, "shipped", d.status(orderID))
}
