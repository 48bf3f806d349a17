package audit

import (
	"cmp"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/correos"
	"justlogistics/internal/tenant"
)

// sendCups has a carrier take two cups, by its own label.
func (s *shop) sendCups() {
	ctx := s.t.Context()
	s.packTwo("cup", "CUP")
	shipment := s.ids["cup_shipment"]
	s.still("correos")
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		_, err := tx.Exec(ctx, `UPDATE warehouses SET comuna = 'Quilicura', street = 'Las Esteras', number = '100' WHERE code = 'SCL-1'`)
		require.NoError(s.t, err)
		_, err = shipping.LabelParcels(ctx, tx, shop, shipment, shipping.Labelling{By: ana})
		return err
	})
	k, tracking := s.label(shipping.OfShipment(shipment), func(tx pgx.Tx, shop tenant.Tenant) (shipping.Unbooked, error) {
		return shipping.ToBook(ctx, tx, shop, shipment)
	})
	s.ids["cup_booking"], s.ids["cup_parcel"], s.ids["cup_reference"], s.ids["cup_tracking"] = k.ID, k.ParcelID, k.Reference, tracking
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		require.NoError(s.t, shipping.Finish(ctx, tx, shop, shipment))
		_, err := shipping.HandOver(ctx, tx, shop, shipment, shipping.Handing{By: ana})
		return err
	})
	var day string
	require.NoError(s.t, s.super.QueryRow(ctx, `SELECT carrier || ' ' || day FROM carrier_days`).Scan(&day))
	s.ids["cup_day"] = day
}

// label buys a label of Correos for something's only parcel.
func (s *shop) label(of shipping.Owner, toBook func(tx pgx.Tx, shop tenant.Tenant) (shipping.Unbooked, error)) (k shipping.Kept, tracking string) {
	ctx := s.t.Context()
	carrier, err := correos.New(correos.Config{BaseURL: s.sandbox + "/correos", Token: "sandbox-token-demo", ClientCode: "sap-demo"}, httpclient.New(httpclient.Options{}))
	require.NoError(s.t, err)
	var u shipping.Unbooked
	days := 2
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) (err error) {
		u, err = toBook(tx, shop)
		require.NoError(s.t, err)
		_, intended, err := u.Intend(ctx, tx, []shipping.Choice{{Carrier: shipping.Correos, Service: "24", Days: &days}})
		require.True(s.t, intended)
		require.NoError(s.t, err)
		all, err := shipping.Bookings(ctx, tx, shopID, of)
		require.NoError(s.t, err)
		k = all[0]
		begun, err := k.Begin(ctx, tx, shopID, false)
		require.True(s.t, begun)
		return err
	})
	booking, ok := u.Booking(k, shipping.PDF)
	require.True(s.t, ok)
	for _, end := range []*shipping.Place{&booking.From, &booking.To} {
		if end.Street == "" {
			end.Street, end.Number, end.Comuna, end.Region = "Av. Providencia", "1234", "Providencia", "RM"
		}
	}
	for _, who := range []*shipping.Contact{&booking.Sender, &booking.Receiver} {
		who.Name, who.Phone, who.Email = cmp.Or(who.Name, "Ana"), cmp.Or(who.Phone, "+56961234567"), cmp.Or(who.Email, "ana@example.cl")
	}
	answer, err := carrier.Book(ctx, booking, shipping.Untried)
	require.NoError(s.t, err)
	require.Equal(s.t, shipping.OutcomeBooked, answer.Outcome, answer.Message)
	s.in(func(tx pgx.Tx) error { return k.Save(ctx, tx, shopID, answer, 0) })
	return k, answer.Tracking
}

// still keeps a carrier's parcels where they are until a test moves them.
func (s *shop) still(carrier string) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, s.sandbox+"/config/"+carrier, strings.NewReader(`{"moves_ms":{"handed_over":0,"in_transit":0,"out_for_delivery":0,"delivered":0}}`))
	require.NoError(s.t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	require.NoError(s.t, res.Body.Close())
	require.Equal(s.t, http.StatusOK, res.StatusCode)
}

// there lets something happen to the cups at their carrier.
func (s *shop) there(status string) {
	if status == "" {
		return
	}
	res, err := http.Post(s.sandbox+"/carriers/"+s.ids["cup_tracking"]+"/"+status, "application/json", nil)
	require.NoError(s.t, err)
	require.NoError(s.t, res.Body.Close())
	require.Equal(s.t, http.StatusOK, res.StatusCode)
}

func TestAudit_NamesWhatWasBrokenOfALabel(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ check, subject, breaks, there string }{
		{"bookings.one_label_per_parcel", "{cup_parcel}", `DROP INDEX bookings_one_at_a_time; INSERT INTO bookings (tenant, id, shipment_id, parcel_id, carrier, service, reference, day) SELECT tenant, '01ARZ3NDEKTSV4RRFFQ69G5FAV', shipment_id, parcel_id, 'starken', service, 'AAAAAAAAAAAAAAAA', day FROM bookings WHERE id = '{cup_booking}'`, ""},
		{"bookings.labelled_is_booked", "{cup_parcel}", `UPDATE bookings SET tracking = 'X' WHERE id = '{cup_booking}'`, ""},
		{"bookings.labelled_is_booked", "{cup_parcel}", `UPDATE shipments SET carrier = 'starken' WHERE id = '{cup_shipment}'`, ""},
		{"bookings.labelled_is_booked", "{cup_parcel}", `UPDATE bookings SET void_at = now() WHERE id = '{cup_booking}'`, ""},
		{"bookings.return_labels_are_booked", "{pot_parcel}", `UPDATE bookings SET tracking = 'X' WHERE id = '{pot_booking}'`, ""},
		{"bookings.return_labels_are_booked", "{return}", `UPDATE parcels SET unpacked_at = now() WHERE id = '{pot_parcel}'`, ""},
		{"bookings.are_wanted", "{cup_booking}", `UPDATE parcels SET unpacked_at = now() WHERE id = '{cup_parcel}'`, ""},
		{"bookings.are_wanted", "{cup_booking}", `UPDATE shipments SET carrier = 'manual' WHERE id = '{cup_shipment}'`, ""},
		{"bookings.are_wanted", "{cup_booking}", `ALTER TABLE shipments DISABLE TRIGGER USER; UPDATE shipments SET status = 'packed', wanted_at = NULL, wanted_by = '', handed_over_at = NULL, labelled_at = NULL, carrier = '' WHERE id = '{cup_shipment}'`, ""},
		{"bookings.are_wanted", "{pot_booking}", `UPDATE returns SET label_wanted_at = NULL, label_wanted_by = '' WHERE id = '{return}'`, ""},
		{"bookings.doubts_have_their_time", "{pot_booking}", `UPDATE bookings SET void_at = now(), next_at = NULL, updated_at = now() - interval '2 minutes' WHERE id = '{pot_booking}'`, ""},
		{"bookings.doubts_have_their_time", "{cup_booking}", `UPDATE bookings SET status = 'unknown', next_at = NULL, updated_at = now() - interval '2 minutes' WHERE id = '{cup_booking}'`, ""},
		{"bookings.doubts_have_their_time", "{cup_booking}", `UPDATE bookings SET void_at = now(), next_at = NULL, updated_at = now() - interval '2 minutes' WHERE id = '{cup_booking}'`, ""},
		{"bookings.fill_their_days", "{cup_day}", `UPDATE carrier_days SET parcels = parcels + 1`, ""},
		{"bookings.fill_their_days", "{cup_day}", `DELETE FROM carrier_days`, ""},
		{"wakes.are_told", "fulfillment:{cup_shipment}", `UPDATE wakes SET at = now() - interval '2 minutes'`, ""},
		{"shipments.broken_promises_are_told", "{cup_shipment}", `UPDATE shipments SET promised_at = now() - interval '6 minutes', updated_at = now() - interval '6 minutes' WHERE id = '{cup_shipment}'`, ""},
		{"parcels.are_asked_about", "{cup_parcel}", `UPDATE parcels SET track_at = NULL WHERE id = '{cup_parcel}'`, ""},
		{"parcels.are_asked_about", "{cup_parcel}", `UPDATE parcels SET track_at = now() - interval '6 minutes' WHERE id = '{cup_parcel}'`, ""},
		{"ledger.labels_are_known", "{cup_reference}", `DELETE FROM bookings WHERE id = '{cup_booking}'`, ""},
		{"ledger.labels_are_known", "{cup_reference}", `UPDATE bookings SET status = 'failed' WHERE id = '{cup_booking}'`, ""},
		{"ledger.labels_are_known", "{cup_reference}", `UPDATE bookings SET tracking = 'X' WHERE id = '{cup_booking}'`, ""},
		{"ledger.bookings_are_there", "AAAAAAAAAAAAAAAA", `UPDATE bookings SET reference = 'AAAAAAAAAAAAAAAA' WHERE id = '{cup_booking}'`, ""},
		{"ledger.parcels_are_where_carriers_say", "{cup_reference}", `UPDATE parcels SET state = 'delivered' WHERE id = '{cup_parcel}'`, "in_transit"},
		{"ledger.parcels_are_where_carriers_say", "{cup_reference}", `UPDATE parcels SET track_at = NULL WHERE id = '{cup_parcel}'`, "delivered"},
	} {
		t.Run(tc.check, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			s.there(tc.there)
			whole := s.audit()
			require.True(t, whole.OK(), "%+v", whole.Checks)
			s.broken(tc.breaks)
			requireNamed(t, s.audit(), tc.check, s.put(tc.subject))
		})
	}
}

func TestAudit_DoubtsAboutLabelsThatAPersonWasToldOfAreNone(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.broken(`UPDATE bookings SET void_at = now(), next_at = NULL, updated_at = now() - interval '2 minutes' WHERE id = '{cup_booking}';
	          UPDATE shipments SET status = 'picking', carrier = '', handed_over_at = NULL WHERE id = '{cup_shipment}';
	          INSERT INTO parked (tenant, workflow_id, step, subject, reason, message, verbs, due_at) VALUES ('demo', 'fulfillment:demo:{cup_shipment}', 'void', '{cups}', 'label_not_voided', 'x', '{skip}', now())`)
	for _, c := range s.audit().Checks {
		if c.Name == "bookings.doubts_have_their_time" || c.Name == "ledger.labels_are_known" {
			require.Empty(t, c.Violations, c.Name)
		}
	}
	s.broken(`UPDATE bookings SET status = 'lapsed'`)
	for _, c := range s.audit().Checks {
		if c.Name == "ledger.labels_are_known" {
			require.Empty(t, c.Violations)
		}
	}
}
