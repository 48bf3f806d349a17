package activities_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/activities"
	"justlogistics/internal/carriers"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/order"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/refund"
	"justlogistics/internal/sandbox"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/picking"
)

// bench is a shop that packs, with accounts at all carriers of a sandbox of its own.
type bench struct {
	*shoptest.Shop
	t        *testing.T
	url      string
	registry *carriers.Registry
	steps    *activities.Fulfillments
}

// driver drives the sandbox, by a connection of its own each time.
var driver = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

var ana = stock.By{Person: "ana", Device: "bench-1"}

var allCarriers = []shipping.Name{shipping.BlueExpress, shipping.Chilexpress, shipping.Correos, shipping.Starken}

// call is the sandbox's name of what may go wrong at a carrier.
var bookCall = map[shipping.Name]string{shipping.BlueExpress: "emit", shipping.Chilexpress: "create_order", shipping.Correos: "admit", shipping.Starken: "issue"}

func newBench(t *testing.T, change ...func(*tenant.Settings)) *bench {
	t.Helper()
	ships := func(s *tenant.Settings) {
		s.Sender = tenant.Sender{Name: "Tienda", Phone: "+56221234567", Email: "despacho@example.cl"}
		s.Fulfillment.Labels = tenant.Automatic
	}
	b := &bench{Shop: shoptest.New(t, append([]func(*tenant.Settings){ships}, change...)...), t: t}
	server, err := sandbox.Open(sandbox.Options{Dir: t.TempDir(), NoSync: true, AnswerLimit: 3 * time.Second})
	require.NoError(t, err)
	web := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		web.CloseClientConnections()
		web.Close()
	})
	b.url = web.URL
	keys, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	for name, value := range map[shipping.Name]map[string]any{
		shipping.Chilexpress: {"coverage_key": "sandbox-coverage-acme", "rating_key": "sandbox-rating-acme", "shipping_key": "sandbox-shipping-acme", "card": "18578680", "rut": "96756430-3"},
		shipping.BlueExpress: {"client_id": "sandbox-client-acme", "client_secret": "sandbox-secret-acme", "api_key": "sandbox-key-acme", "token": "sandbox-token-acme", "user_code": "sandbox-user-acme", "account": "account-acme"},
		shipping.Correos:     {"token": "sandbox-token-acme", "client_code": "sap-acme"},
		shipping.Starken:     {"token": "sandbox-bearer-acme", "rut": "76192083-9", "origin_agency": 1411, "current_account": "41966-8"},
	} {
		value["base_url"] = web.URL + "/" + string(name)
		raw, err := json.Marshal(value)
		require.NoError(t, err)
		b.Do(t, func(tx pgx.Tx) error {
			return tenant.SetCredentials(t.Context(), tx, keys, shoptest.Tenant, string(name), raw)
		})
		never := map[string]int{"handed_over": 0, "in_transit": 0, "out_for_delivery": 0, "delivered": 0, "returned_to_sender": 0}
		b.send(http.MethodPut, "/config/"+string(name), map[string]any{"moves_ms": never, "issue_ms": 0})
	}
	b.registry = carriers.New(b.DB, keys)
	able := func(context.Context, string, string) (refund.Able, error) {
		return func(payment.Name) (payment.Capabilities, bool) {
			return payment.Capabilities{Currencies: []money.Currency{"CLP"}, Refunds: true, PartialRefunds: true}, true
		}, nil
	}
	b.steps = &activities.Fulfillments{DB: b.DB, Carriers: b.registry, Able: able}
	b.Product(t, "MUG", 5000)
	b.Exec(t, `UPDATE warehouses SET comuna = 'Quilicura', street = 'Las Esteras', number = '100' WHERE code = 'SCL-1'`)
	b.Bin(t, "SCL-1", "A-01", "pick")
	b.Bin(t, "SCL-1", "PACK", "packing")
	b.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, shoptest.Tenant, stock.BinMovement{SKU: "MUG", Warehouse: "SCL-1", Quantity: 10_000, To: stock.In("A-01", stock.Available), Reason: "receipt", By: ana})
		return err
	})
	return b
}

func (b *bench) send(method, path string, in any) []byte {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		require.NoError(b.t, err)
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, b.url+path, body)
	require.NoError(b.t, err)
	resp, err := driver.Do(req)
	require.NoError(b.t, err)
	raw, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	require.NoError(b.t, resp.Body.Close())
	require.Less(b.t, resp.StatusCode, 300, "%s %s: %s", method, path, raw)
	return raw
}

// fault makes the next calls of an operation go wrong.
func (b *bench) fault(c shipping.Name, op, kind string) {
	b.send(http.MethodPut, "/faults/"+string(c), map[string]any{"next": []any{map[string]any{"op": op, "kind": kind, "count": 1}}})
}

func (b *bench) faults(c shipping.Name, all map[string]any) {
	b.send(http.MethodPut, "/faults/"+string(c), all)
}

// entry is a label in the carriers' own books.
type entry struct {
	Carrier   shipping.Name `json:"carrier"`
	Reference string        `json:"reference"`
	Tracking  string        `json:"tracking"`
	Voided    bool          `json:"voided"`
}

func (b *bench) ledger() []entry {
	var all struct {
		Labels []entry `json:"labels"`
	}
	require.NoError(b.t, json.Unmarshal(b.send(http.MethodGet, "/ledger", nil), &all))
	// Starken is not told our reference but inside a text; what it issued is told apart
	// by its number.
	return all.Labels
}

// paid makes a paid order of mugs and picks it.
func (b *bench) picked(units int) (orderID string, ref activities.FulfillmentRef) {
	orderID = id.New()
	ctx := context.Background()
	require.NoError(b.t, b.DB.InTenant(ctx, shoptest.Tenant, func(tx pgx.Tx) error {
		p, err := stock.Place(ctx, tx, shoptest.Tenant, stock.Request{HoldID: orderID, Channel: "web", Wants: []stock.Want{{SKU: "MUG", Quantity: units}}, Seconds: 900, Warehouses: []string{"SCL-1"}})
		if err != nil {
			return err
		}
		if _, err := stock.Confirm(ctx, tx, shoptest.Tenant, orderID, orderID); err != nil {
			return err
		}
		n := order.New{ID: orderID, Number: "N-" + orderID[18:], Channel: "web", Currency: "CLP", HoldID: orderID, DispatchHours: 24,
			Customer: []byte(`{"name":"Ana Rojas Soto","phone":"+56961234567","email":"ana@example.cl","rut":"11.111.111-1"}`),
			Shipping: []byte(`{"street":"Av. Providencia","number":"1234","comuna":"Providencia","region":"RM","country":"CL"}`)}
		var held []stock.HeldLine
		for _, l := range p.Lines {
			n.Lines = append(n.Lines, order.NewLine{SKU: l.SKU, Name: l.SKU, Quantity: l.Quantity, UnitPrice: 5000, Tax: "iva"})
			held = append(held, stock.HeldLine{Line: l})
		}
		if err := order.Create(ctx, tx, shoptest.Tenant, n, held); err != nil {
			return err
		}
		out, err := picking.Release(ctx, tx, shoptest.Tenant, picking.Wave{Warehouse: "SCL-1", By: picking.ByBatch, Trolley: batch.Load{Orders: 1}, Seed: 1, Rounds: 1, Who: ana})
		if err != nil {
			return err
		}
		for _, l := range out.Lists {
			if _, err := picking.Pick(ctx, tx, shoptest.Tenant, picking.Picking{ListID: l.ID, Picks: []picking.Scan{{Line: 1, Bin: "A-01", Product: "MUG", Quantity: units}}, To: "PACK", By: ana}); err != nil {
				return err
			}
			if _, err := picking.Complete(ctx, tx, shoptest.Tenant, l.ID, ana, 0); err != nil {
				return err
			}
		}
		return nil
	}))
	return orderID, activities.FulfillmentRef{Tenant: shoptest.Tenant, ShipmentID: b.one(`SELECT id FROM shipments WHERE order_id = $1`, orderID)}
}

func (b *bench) one(sql string, args ...any) string {
	var out string
	require.NoError(b.t, b.Super.QueryRow(context.Background(), sql, args...).Scan(&out), sql)
	return out
}

func (b *bench) count(sql string, args ...any) (n int) {
	require.NoError(b.t, b.Super.QueryRow(context.Background(), sql, args...).Scan(&n), sql)
	return n
}

// do runs a step of a person's.
func (b *bench) do(fn func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error) error {
	ctx := context.Background()
	return b.DB.InTenant(ctx, shoptest.Tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, shoptest.Tenant)
		if err != nil {
			return err
		}
		return fn(ctx, tx, shop)
	})
}

// pack puts a shipment of two mugs into so many parcels.
func (b *bench) pack(ref activities.FulfillmentRef, parcels int) error {
	in := shipping.Packing{By: ana, ConfirmWeight: true}
	for range parcels {
		in.Parcels = append(in.Parcels, shipping.ParcelInput{WeightGrams: 300, Dimensions: shipping.Dimensions{Length: 300, Width: 200, Height: 100}})
	}
	return b.do(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := shipping.Pack(ctx, tx, shop, ref.ShipmentID, in)
		return err
	})
}

// want says who carries it; "" is whoever suits best.
func (b *bench) want(ref activities.FulfillmentRef, c shipping.Name) error {
	return b.do(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := shipping.LabelParcels(ctx, tx, shop, ref.ShipmentID, shipping.Labelling{Carrier: c, By: ana})
		return err
	})
}

func (b *bench) unpack(ref activities.FulfillmentRef) error {
	return b.do(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := shipping.Unpack(ctx, tx, shop, ref.ShipmentID, shipping.Undoing{By: ana})
		return err
	})
}

// packed is a shipment in parcels whose label is wanted of a carrier, and its booking
// written, but not tried.
func (b *bench) packed(parcels int, of shipping.Name) (orderID string, ref activities.FulfillmentRef) {
	orderID, ref = b.picked(2)
	require.NoError(b.t, b.pack(ref, parcels))
	if of == "" {
		return orderID, ref
	}
	require.NoError(b.t, b.want(ref, of))
	chosen, err := b.steps.ChooseCarrier(b.t.Context(), ref)
	require.NoError(b.t, err)
	require.True(b.t, chosen.Compare, "its service is not fixed")
	require.NoError(b.t, b.steps.CompareCarriers(b.t.Context(), ref))
	return orderID, ref
}

func (b *bench) stand(ref activities.FulfillmentRef) activities.Standing {
	out, err := b.steps.StandShipment(context.Background(), ref)
	require.NoError(b.t, err)
	return out
}

// pass lets time go by for the bookings of a shipment: what waits is due.
func (b *bench) pass() {
	_, err := b.Super.Exec(context.Background(), `UPDATE bookings SET next_at = least(next_at, now()), tried_at = tried_at - interval '20 minutes' WHERE next_at IS NOT NULL`)
	require.NoError(b.t, err)
	_, err = b.Super.Exec(context.Background(), `UPDATE shipments SET book_at = now() WHERE book_at > now()`)
	require.NoError(b.t, err)
}

// next does the next step of a run; false when it has none now.
func (b *bench) next(ctx context.Context, ref activities.FulfillmentRef, now activities.Standing) (bool, error) {
	if now.Next == "" || now.NextAt.After(time.Now()) {
		return false, nil
	}
	switch now.Next {
	case shipping.NextChoose:
		chosen, err := b.steps.ChooseCarrier(ctx, ref)
		if err != nil || !chosen.Compare {
			return true, err
		}
		return true, b.steps.CompareCarriers(ctx, ref)
	case shipping.NextCompare:
		return true, b.steps.CompareCarriers(ctx, ref)
	case shipping.NextBook:
		return true, b.steps.BookParcel(ctx, ref)
	case shipping.NextVoid:
		return true, b.steps.VoidLabel(ctx, ref)
	case shipping.NextFinish:
		return true, b.steps.FinishLabels(ctx, ref)
	case shipping.NextWithdraw:
		return true, b.steps.WithdrawShipment(ctx, ref)
	}
	return false, fmt.Errorf("no step %q", now.Next)
}

// rest does all that a run would, until it waits for somebody.
func (b *bench) rest(ref activities.FulfillmentRef) activities.Standing {
	for range 60 {
		now := b.stand(ref)
		went, err := b.next(context.Background(), ref, now)
		require.NoError(b.t, err)
		if !went {
			// What a person is asked may go on by itself, or never.
			asked := slices.ContainsFunc(now.Troubles, func(t shipping.Trouble) bool { return t.Step != shipping.StepCarrier })
			if now.Next == "" || asked {
				return now
			}
			b.pass()
		}
	}
	require.Fail(b.t, "the run goes round in circles", "%+v %s", b.stand(ref), b.rows(ref))
	return activities.Standing{}
}

func (b *bench) rows(ref activities.FulfillmentRef) string {
	return b.one(`SELECT coalesce(string_agg(format('%s %s %s tracking=%s tries=%s next=%s void=%s code=%s', carrier, reference, status, tracking, tries, next_at, void_at, code), E'\n' ORDER BY id), '') FROM bookings WHERE shipment_id = $1`, ref.ShipmentID)
}

// held runs do until a carrier has done what it was asked and holds its answer back;
// then the worker dies by kill, and the answer comes. It reports whether anything was
// held at all.
func (b *bench) held(c shipping.Name, op string, do func(ctx context.Context) error, kill func(cancel func())) bool {
	b.fault(c, op, "hold_answer")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = do(ctx) // a worker that dies says nothing
	}()
	reached := make(chan bool, 1)
	go func() {
		raw, err := driver.Get(b.url + "/faults/" + string(c) + "/held?min=1&timeout_ms=5000")
		if err != nil {
			reached <- false
			return
		}
		defer func() { _ = raw.Body.Close() }()
		var is struct {
			Reached bool `json:"reached"`
		}
		reached <- json.NewDecoder(raw.Body).Decode(&is) == nil && is.Reached
	}()
	was := false
	select {
	case was = <-reached:
		kill(cancel)
	case <-done:
	}
	b.send(http.MethodPost, "/faults/"+string(c)+"/release", nil)
	b.faults(c, map[string]any{})
	<-done
	return was
}

// apart is the same worker with a connection to the database of its own.
func (b *bench) apart() (*activities.Fulfillments, func()) {
	db, err := postgres.Open(context.Background(), b.Database.AppURL, postgres.Options{})
	require.NoError(b.t, err)
	return &activities.Fulfillments{DB: db, Carriers: b.registry, Able: b.steps.Able}, db.Close
}

// killed runs a step of a worker that dies at a point.
func (b *bench) killed(point string, c shipping.Name, op string, step func(a *activities.Fulfillments, ctx context.Context) error) {
	switch point {
	case "before the call":
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.Error(b.t, step(b.steps, ctx))
	case "connection cut":
		b.fault(c, op, "cut_after")
		require.NoError(b.t, step(b.steps, context.Background()))
		b.faults(c, map[string]any{})
	case "before the answer":
		require.True(b.t, b.held(c, op, func(ctx context.Context) error { return step(b.steps, ctx) }, func(cancel func()) { cancel() }))
	case "before it is written down":
		a, end := b.apart()
		defer end()
		require.True(b.t, b.held(c, op, func(ctx context.Context) error { return step(a, ctx) }, func(func()) { end() }))
	}
}

var points = []string{"before the call", "connection cut", "before the answer", "before it is written down"}

func book(ref activities.FulfillmentRef) func(*activities.Fulfillments, context.Context) error {
	return func(a *activities.Fulfillments, ctx context.Context) error { return a.BookParcel(ctx, ref) }
}

func TestStandShipment_DoesWhatNeedsNobodyElse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, ref := b.picked(2)
	require.NoError(t, b.pack(ref, 1))
	require.NoError(t, b.want(ref, shipping.BlueExpress))
	now := b.stand(ref)
	require.Equal(t, shipping.NextCompare, now.Next, "its service is not fixed")
	require.Equal(t, now, b.stand(ref), "read again nothing is done")
	require.NoError(t, b.steps.CompareCarriers(t.Context(), ref))
	service := b.one(`SELECT service FROM bookings`)
	require.NoError(t, b.unpack(ref))
	require.NoError(t, b.pack(ref, 1))
	require.NoError(t, b.do(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := shipping.LabelParcels(ctx, tx, shop, ref.ShipmentID, shipping.Labelling{Carrier: shipping.BlueExpress, Service: service, By: ana})
		return err
	}))
	for now = b.stand(ref); now.Next == shipping.NextVoid; now = b.stand(ref) { // the one before
		require.NoError(t, b.steps.VoidLabel(t.Context(), ref))
	}
	require.Equal(t, shipping.NextBook, now.Next, "chosen with the reading")
	require.Equal(t, "1", b.one(`SELECT count(*)::text FROM bookings WHERE status = 'intended'`))
	require.NoError(t, b.steps.BookParcel(t.Context(), ref))
	now = b.stand(ref)
	require.Equal(t, shipping.Labelled, now.Status, "labelled with the reading")
	require.Empty(t, now.Next)
	require.Equal(t, now, b.stand(ref))
	require.Equal(t, "1", b.one(`SELECT count(*)::text FROM events WHERE kind = 'labelled'`))
	b.agree(ref)
}

func TestStandShipment_NamesAStepThatFailsAndWritesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, ref := b.packed(1, shipping.BlueExpress)
	require.NoError(t, b.steps.BookParcel(t.Context(), ref))
	_, err := b.Super.Exec(t.Context(), `ALTER TABLE parcels ADD CONSTRAINT nobody_follows CHECK (track_at IS NULL)`)
	require.NoError(t, err)
	now := b.stand(ref)
	require.Equal(t, shipping.Packed, now.Status)
	require.Equal(t, shipping.NextFinish, now.Next, "the run does it as a step of its own, which says why it fails")
	require.ErrorContains(t, b.steps.FinishLabels(t.Context(), ref), "nobody_follows")
	_, err = b.Super.Exec(t.Context(), `ALTER TABLE parcels DROP CONSTRAINT nobody_follows`)
	require.NoError(t, err)
	require.Equal(t, shipping.Labelled, b.stand(ref).Status)
}

func TestBookParcel_KilledAnywhereAParcelHasOneLabel(t *testing.T) {
	t.Parallel()
	for _, c := range allCarriers {
		for _, point := range points {
			t.Run(string(c)+" "+point, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				_, ref := b.packed(1, c)
				b.killed(point, c, bookCall[c], book(ref))
				now := b.rest(ref)
				if c == shipping.Starken && point != "before the call" {
					require.Equal(t, shipping.Packed, now.Status)
					require.Len(t, now.Troubles, 1)
					require.Equal(t, "booking_unknown", now.Troubles[0].Reason)
					require.Equal(t, "unknown true", b.one(`SELECT status || ' ' || (next_at IS NULL)::text FROM bookings`), "nobody can be asked")
				} else {
					require.Equal(t, shipping.Labelled, now.Status, b.rows(ref))
					require.Empty(t, now.Troubles)
				}
				labels := b.ledger()
				if c == shipping.Correos && point == "connection cut" || c == shipping.Correos && strings.HasPrefix(point, "before ") && point != "before the call" {
					// Its label comes with the booking only: the first is cancelled.
					require.Len(t, labels, 2)
					require.True(t, labels[0].Voided)
					labels = labels[1:]
				}
				require.Len(t, labels, 1)
				require.False(t, labels[0].Voided)
				b.agree(ref)
			})
		}
	}
}

// agree demands that our books and the carriers' say the same.
func (b *bench) agree(refs ...activities.FulfillmentRef) {
	require.Empty(b.t, b.disagreements(), b.rows(refs[0]))
}

func (b *bench) disagreements() (wrong []string) {
	ctx := context.Background()
	type row struct {
		Carrier                               shipping.Name
		Reference, Tracking, Status, ParcelID string
		Unwanted, Unpacked                    bool
	}
	rows, err := b.Super.Query(ctx, `SELECT b.carrier, b.reference, b.tracking, b.status, b.parcel_id, b.void_at IS NOT NULL, p.unpacked_at IS NOT NULL FROM bookings b JOIN parcels p USING (tenant) WHERE p.id = b.parcel_id`)
	require.NoError(b.t, err)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	require.NoError(b.t, err)
	live, labels := map[string]int{}, map[string]int{}
	books := b.ledger()
	for _, e := range books {
		i := slices.IndexFunc(list, func(r row) bool {
			return r.Carrier == e.Carrier && (r.Reference == e.Reference || strings.Contains(e.Reference, r.Reference))
		})
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("nobody booked %+v", e))
			continue
		}
		r := list[i]
		if labels[r.Reference]++; labels[r.Reference] > 1 {
			wrong = append(wrong, "two labels for one reference: "+r.Reference)
		}
		if e.Voided {
			continue
		}
		if r.Status == "lapsed" || r.Unwanted && slices.Contains([]string{"intended", "unknown", "pending", "booked"}, r.Status) {
			continue // it is known that it is there and not wanted
		}
		if slices.Contains([]string{"failed", "refused", "voided"}, r.Status) {
			wrong = append(wrong, fmt.Sprintf("%s says %s of a label that is there: %+v", r.Reference, r.Status, e))
		}
		if live[r.ParcelID]++; live[r.ParcelID] > 1 {
			wrong = append(wrong, "two labels for one parcel: "+r.ParcelID)
		}
		if r.Unpacked {
			wrong = append(wrong, "a label of what was unpacked is wanted: "+r.Reference)
		}
	}
	for sql, what := range map[string]string{
		`SELECT s.id || ': ' || p.tracking FROM shipments s JOIN parcels p ON p.shipment_id = s.id AND p.unpacked_at IS NULL WHERE s.status = 'labelled' AND s.carrier <> 'manual'
		   AND NOT EXISTS (SELECT FROM bookings b WHERE b.parcel_id = p.id AND b.status = 'booked' AND b.void_at IS NULL AND b.tracking = p.tracking AND b.carrier = s.carrier)`: "labelled without a label that counts: ",
		`SELECT coalesce(d.carrier, n.carrier) || ' ' || coalesce(d.parcels, 0) || ' for ' || coalesce(n.count, 0) FROM (SELECT carrier, sum(parcels) AS parcels FROM carrier_days GROUP BY carrier) d
		   FULL JOIN (SELECT carrier, count(*) FROM bookings WHERE status NOT IN ('failed','refused','voided') GROUP BY carrier) n USING (carrier) WHERE coalesce(d.parcels, 0) <> coalesce(n.count, 0)`: "the days count wrongly: ",
	} {
		rows, err := b.Super.Query(ctx, sql)
		require.NoError(b.t, err)
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(b.t, err)
		for _, f := range found {
			wrong = append(wrong, what+f)
		}
	}
	rows, err = b.Super.Query(ctx, `SELECT p.tracking FROM shipments s JOIN parcels p ON p.shipment_id = s.id AND p.unpacked_at IS NULL WHERE s.status = 'labelled' AND s.carrier <> 'manual'`)
	require.NoError(b.t, err)
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	for _, n := range numbers {
		if !slices.ContainsFunc(books, func(e entry) bool { return e.Tracking == n && !e.Voided }) {
			wrong = append(wrong, "no carrier knows "+n)
		}
	}
	return wrong
}

func TestVoidLabel_KilledAnywhereTheLabelIsCancelledOrLapses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		carrier shipping.Name
		points  []string
		op      string
	}{{shipping.Correos, points, "void"}, {shipping.BlueExpress, points[:1], "lookup"}, {shipping.BlueExpress, points[2:], "lookup"}, {shipping.Chilexpress, points[2:], "lookup"}} {
		for _, point := range row.points {
			t.Run(string(row.carrier)+" "+point, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				_, ref := b.packed(1, row.carrier)
				require.Equal(t, shipping.Labelled, b.rest(ref).Status)
				require.NoError(t, b.unpack(ref))
				require.Equal(t, shipping.NextVoid, b.stand(ref).Next)
				b.killed(point, row.carrier, row.op, func(a *activities.Fulfillments, ctx context.Context) error { return a.VoidLabel(ctx, ref) })
				b.rest(ref)
				want := map[bool]string{true: "voided", false: "lapsed"}[row.carrier == shipping.Correos]
				require.Equal(t, want, b.one(`SELECT status FROM bookings`))
				require.Equal(t, want == "voided", b.ledger()[0].Voided)
				require.Len(t, b.ledger(), 1)
				b.agree(ref)
			})
		}
	}
}

func TestVoidLabel_OfABookingWhoseWorkerDiedEnds(t *testing.T) {
	t.Parallel()
	for _, c := range allCarriers {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			_, ref := b.packed(1, c)
			b.killed("before it is written down", c, bookCall[c], book(ref))
			require.Equal(t, "intended", b.one(`SELECT status FROM bookings`))
			require.NoError(t, b.unpack(ref))
			now := b.rest(ref)
			require.Empty(t, now.Troubles)
			require.Equal(t, map[bool]string{true: "voided", false: "lapsed"}[c == shipping.Correos], b.one(`SELECT status FROM bookings`))
			b.agree(ref)
		})
	}
}

func TestCompareCarriers_OneThatHangsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, ref := b.packed(1, "")
	b.fault(shipping.Chilexpress, "rate", "hold_answer")
	begun := time.Now()
	require.NoError(t, b.steps.CompareCarriers(t.Context(), ref))
	require.Less(t, time.Since(begun), 20*time.Second)
	require.NotEqual(t, "chilexpress", b.one(`SELECT carrier FROM bookings`))
	require.Equal(t, shipping.Labelled, b.rest(ref).Status)
	b.agree(ref)
}

func TestCompareCarriers_AllOutSaysWhyAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, ref := b.packed(1, "")
	for _, c := range allCarriers {
		b.faults(c, map[string]any{"outage": true})
	}
	require.NoError(t, b.steps.CompareCarriers(t.Context(), ref))
	now := b.stand(ref)
	require.Equal(t, shipping.NextChoose, now.Next)
	require.True(t, now.NextAt.After(time.Now()), "later")
	require.Len(t, now.Troubles, 1)
	require.Equal(t, "no_carrier", now.Troubles[0].Reason)
	for _, c := range allCarriers {
		require.Contains(t, now.Troubles[0].Message, c.Title()+" does not answer")
		b.faults(c, map[string]any{})
	}
	require.Equal(t, shipping.Labelled, b.rest(ref).Status)
	b.agree(ref)
}

func TestCompareCarriers_ADayIsUsedUpExactlyByHoweverManyWorkers(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(s *tenant.Settings) {
		s.CarrierCapacity = map[string]int{"correos": 3, "chilexpress": 1, "bluexpress": 1, "starken": 1}
	})
	var refs []activities.FulfillmentRef
	for range 10 {
		_, ref := b.packed(1, "")
		refs = append(refs, ref)
	}
	errs := make([]error, 2*len(refs))
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() { errs[i] = b.steps.CompareCarriers(context.Background(), refs[i/2]) })
	}
	wait.Wait()
	for _, err := range errs {
		require.NoError(t, err, "two workers at one shipment")
	}
	require.Equal(t, 6, b.count(`SELECT count(*) FROM bookings`))
	require.Equal(t, 6, b.count(`SELECT sum(parcels) FROM carrier_days`))
	require.Equal(t, 4, b.count(`SELECT count(*) FROM shipments WHERE not_booked LIKE '%takes no more parcels today%'`))
	for _, ref := range refs[:3] {
		require.NoError(t, b.unpack(ref))
	}
	b.agree(refs...)
}

func TestChooseCarrier_TwoWorkersAtOnceBookOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, ref := b.packed(2, "")
	b.Exec(t, `UPDATE shipments SET wanted_carrier = 'correos', wanted_service = '24'`)
	errs := make([]error, 6)
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() { _, errs[i] = b.steps.ChooseCarrier(context.Background(), ref) })
	}
	wait.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, 2, b.count(`SELECT count(*) FROM bookings`))
	require.Equal(t, 2, b.count(`SELECT parcels FROM carrier_days`))
}

func TestFinishLabels_OrUnpackOneAfterTheOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 6 {
		_, ref := b.packed(1, shipping.BlueExpress)
		require.NoError(t, b.steps.BookParcel(t.Context(), ref))
		var wait sync.WaitGroup
		var finished, stood error
		wait.Go(func() { finished = b.steps.FinishLabels(context.Background(), ref) })
		wait.Go(func() { _, stood = b.steps.StandShipment(context.Background(), ref) }) // it labels too
		wait.Go(func() { _ = b.unpack(ref) })                                           // it may be told that somebody was faster
		wait.Wait()
		require.NoError(t, finished)
		require.NoError(t, stood)
		b.agree(ref)
	}
}

// decided uses a verb and returns what is said of it.
func (b *bench) decided(ref activities.FulfillmentRef, step, verb, outcome, reference string) string {
	out, err := b.steps.DecideShipment(context.Background(), activities.FulfillmentDecision{FulfillmentRef: ref, ActionID: id.New(), Step: step, Verb: verb, Outcome: outcome, Reference: reference})
	require.NoError(b.t, err, "%s of %s", verb, step)
	return out
}

func TestDecideShipment_AboutADoubtOfABooking(t *testing.T) {
	t.Parallel()
	doubt := func(t *testing.T) (*bench, activities.FulfillmentRef) {
		b := newBench(t)
		_, ref := b.packed(1, shipping.Starken)
		b.killed("connection cut", shipping.Starken, "issue", book(ref))
		require.Equal(t, "booking_unknown", b.stand(ref).Troubles[0].Reason)
		return b, ref
	}
	t.Run("retry asks again, and in vain", func(t *testing.T) {
		t.Parallel()
		b, ref := doubt(t)
		for range 2 {
			require.Equal(t, "the carrier is asked again", b.decided(ref, shipping.StepBooking, "retry", "", ""))
			require.Equal(t, "booking_unknown", b.rest(ref).Troubles[0].Reason)
		}
		require.Len(t, b.ledger(), 1)
	})
	t.Run("booked, once", func(t *testing.T) {
		t.Parallel()
		b, ref := doubt(t)
		require.Contains(t, b.decided(ref, shipping.StepBooking, "resolve", "booked", ""), "nothing done")
		require.Contains(t, b.decided(ref, shipping.StepBooking, "resolve", "who knows", ""), "nothing done")
		var number string
		require.Eventually(t, func() bool { number = b.ledger()[0].Tracking; return number != "" }, 10*time.Second, 20*time.Millisecond)
		for range 2 {
			b.decided(ref, shipping.StepBooking, "resolve", "booked", number)
		}
		require.Equal(t, shipping.Labelled, b.rest(ref).Status)
		require.Equal(t, number, b.one(`SELECT tracking FROM parcels`))
		require.Equal(t, 1, b.count(`SELECT count(*) FROM bookings`))
	})
	t.Run("a number that another parcel has is no answer", func(t *testing.T) {
		t.Parallel()
		b, ref := doubt(t)
		_, other := b.packed(1, shipping.Starken)
		require.Equal(t, shipping.Labelled, b.rest(other).Status)
		taken := b.one(`SELECT tracking FROM bookings WHERE status = 'booked'`)
		require.Contains(t, b.decided(ref, shipping.StepBooking, "resolve", "booked", taken), "nothing done: ")
		require.Equal(t, "booking_unknown", b.stand(ref).Troubles[0].Reason)
	})
	t.Run("not made is booked anew, once", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		_, ref := b.packed(1, shipping.Starken)
		b.fault(shipping.Starken, "issue", "cut_before")
		require.NoError(t, b.steps.BookParcel(t.Context(), ref))
		b.faults(shipping.Starken, map[string]any{})
		if b.one(`SELECT status FROM bookings`) != "failed" { // it may be known that nothing was sent
			for range 2 {
				b.decided(ref, shipping.StepBooking, "resolve", "not_made", "")
			}
			require.Equal(t, 0, b.count(`SELECT parcels FROM carrier_days`))
		}
		b.decided(ref, shipping.StepCarrier, "retry", "", "")
		require.Equal(t, shipping.Labelled, b.rest(ref).Status)
		require.Len(t, b.ledger(), 1)
		b.agree(ref)
	})
}

func TestDecideShipment_AboutALabelThatIsNotWanted(t *testing.T) {
	t.Parallel()
	unwanted := func(t *testing.T) (*bench, activities.FulfillmentRef) {
		b := newBench(t)
		_, ref := b.packed(1, shipping.Correos)
		require.Equal(t, shipping.Labelled, b.rest(ref).Status)
		require.NoError(t, b.unpack(ref))
		b.fault(shipping.Correos, "void", "refuse")
		require.NoError(t, b.steps.VoidLabel(t.Context(), ref))
		require.Equal(t, "label_not_voided", b.stand(ref).Troubles[0].Reason)
		return b, ref
	}
	for verb, row := range map[string][2]string{"resolve": {"voided", "voided"}, "skip": {"", "lapsed"}, "retry": {"", "voided"}} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			b, ref := unwanted(t)
			require.Contains(t, b.decided(ref, shipping.StepVoid, "resolve", "booked", ""), "nothing done")
			for range 2 {
				b.decided(ref, shipping.StepVoid, verb, row[0], "")
			}
			require.Empty(t, b.rest(ref).Troubles)
			require.Equal(t, row[1], b.one(`SELECT status FROM bookings`))
			require.Equal(t, map[string]int{"voided": 0, "lapsed": 1}[row[1]], b.count(`SELECT parcels FROM carrier_days`), "what is cancelled takes no room")
		})
	}
}

func TestDecideShipment_AboutNoCarrier(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, ref := b.packed(1, "")
	for _, c := range allCarriers {
		b.faults(c, map[string]any{"outage": true})
	}
	require.NoError(t, b.steps.CompareCarriers(t.Context(), ref))
	for range 2 {
		require.Equal(t, "all carriers are asked again", b.decided(ref, shipping.StepCarrier, "retry", "", ""))
		now := b.stand(ref)
		require.Empty(t, now.Troubles)
		require.True(t, now.NextAt.IsZero(), "at once")
	}
	for range 2 {
		require.Contains(t, b.decided(ref, shipping.StepCarrier, "cancel", "", ""), "no label is wanted")
		require.Empty(t, b.stand(ref).Next)
	}
	b.decided(ref, shipping.StepCarrier, "retry", "", "")
	require.Empty(t, b.stand(ref).Next, "what nobody wants is not tried again")
}

// gone is a shipment that left and of which the carrier says so.
func (b *bench) gone(status string) (orderID string, ref activities.FulfillmentRef) {
	b.t.Helper()
	orderID, ref = b.packed(1, shipping.BlueExpress)
	require.Equal(b.t, shipping.Labelled, b.rest(ref).Status)
	require.NoError(b.t, b.do(func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
		_, err := shipping.HandOver(ctx, tx, shop, ref.ShipmentID, shipping.Handing{By: ana})
		return err
	}))
	b.Exec(b.t, `INSERT INTO payments (tenant, id, order_id, attempt, gateway, amount, currency, status, captured_amount, applied, applied_at) SELECT tenant, id, id, 1, 'flow', total, 'CLP', 'captured', total, true, now() FROM orders`)
	if status != "" {
		require.Contains(b.t, b.decided(ref, shipping.StepLate, "resolve", status, ""), "the shipment is ")
	}
	return orderID, ref
}

func TestDecideShipment_TheMoneyOfALostParcelIsBookedOnce(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"lost", "returned"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			_, ref := b.gone(status)
			require.Equal(t, shipping.StepParcel, b.stand(ref).Troubles[0].Step)
			// Another verb that carries the word gives nothing back.
			b.decided(ref, shipping.StepParcel, "retry", "refund", "")
			b.decided(ref, shipping.StepLate, "retry", "refund", "")
			require.Zero(t, b.count(`SELECT count(*) FROM refunds`))
			require.Equal(t, "the buyer gets the money for these goods", b.decided(ref, shipping.StepParcel, "resolve", "refund", ""))
			require.Contains(t, b.decided(ref, shipping.StepParcel, "resolve", "refund", ""), "nothing done")
			require.Contains(t, b.decided(ref, shipping.StepParcel, "resolve", "closed", ""), "nothing done")
			require.Equal(t, 1, b.count(`SELECT count(*) FROM refunds`))
			require.Equal(t, 10_000, b.count(`SELECT amount FROM refunds`))
			require.Equal(t, 1, b.count(`SELECT count(*) FROM wakes WHERE kind = 'refund'`))
			require.Equal(t, "refunded", b.one(`SELECT settled FROM shipments`))
			require.True(t, b.stand(ref).Over)
		})
	}
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		_, ref := b.gone("lost")
		var wait sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			wait.Go(func() {
				_, errs[i] = b.steps.DecideShipment(context.Background(), activities.FulfillmentDecision{FulfillmentRef: ref, ActionID: id.New(), Step: shipping.StepParcel, Verb: "resolve", Outcome: "refund"})
			})
		}
		wait.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		require.Equal(t, 1, b.count(`SELECT count(*) FROM refunds`))
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		orderID, ref := b.gone("lost")
		require.Equal(t, "settled", b.decided(ref, shipping.StepParcel, "resolve", "closed", ""))
		require.Contains(t, b.decided(ref, shipping.StepParcel, "resolve", "closed", ""), "nothing done")
		require.Equal(t, 1, b.count(`SELECT count(*) FROM events WHERE subject = $1 AND kind = 'shipment_settled'`, orderID))
		require.Zero(t, b.count(`SELECT count(*) FROM refunds`))
	})
}

func TestDecideShipment_AboutALateOne(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, ref := b.gone("")
	b.Exec(t, `UPDATE shipments SET due_at = now() - interval '1 hour'`)
	require.Equal(t, "delivery_late", b.stand(ref).Troubles[0].Reason)
	for range 2 {
		require.Equal(t, "waits another day", b.decided(ref, shipping.StepLate, "retry", "", ""))
		require.Empty(t, b.stand(ref).Troubles)
	}
	require.Contains(t, b.decided(ref, shipping.StepLate, "resolve", "refund", ""), "nothing done")
	require.Equal(t, "the shipment is delivered", b.decided(ref, shipping.StepLate, "resolve", "delivered", ""))
	require.Contains(t, b.decided(ref, shipping.StepLate, "resolve", "delivered", ""), "nothing done")
	require.Contains(t, b.decided(ref, shipping.StepLate, "resolve", "lost", ""), "nothing done")
	require.True(t, b.stand(ref).Over)
}

// truth is what a person reads in the carriers' panels about the oldest doubt.
func (b *bench) truth(ref activities.FulfillmentRef) {
	now := b.stand(ref)
	for _, trouble := range now.Troubles {
		switch trouble.Step {
		case shipping.StepCarrier:
			b.decided(ref, trouble.Step, "retry", "", "")
		case shipping.StepVoid:
			b.decided(ref, trouble.Step, "skip", "", "")
		case shipping.StepBooking:
			reference := strings.TrimSuffix(strings.SplitN(strings.SplitN(trouble.Message, "our reference ", 2)[1], " ", 2)[0], ",")
			i := slices.IndexFunc(b.ledger(), func(e entry) bool { return strings.Contains(e.Reference, reference) && !e.Voided })
			switch {
			case i < 0:
				b.decided(ref, trouble.Step, "resolve", "not_made", "")
			case b.ledger()[i].Tracking == "":
				b.decided(ref, trouble.Step, "retry", "", "")
			default:
				b.decided(ref, trouble.Step, "resolve", "booked", b.ledger()[i].Tracking)
			}
		}
	}
}

func TestFulfillments_WhateverFailsAParcelHasAtMostOneLabel(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	// Each draw is some hundred calls: as many as are made in that time.
	enough, broken := time.Now().Add(15*time.Second), false
	rapid.Check(t, func(rt *rapid.T) {
		if !broken && time.Now().After(enough) {
			return
		}
		defer func() { broken = broken || rt.Failed() }()
		orderID, ref := b.picked(2)
		require.NotEmpty(rt, orderID)
		for _, c := range allCarriers {
			b.faults(c, map[string]any{})
		}
		if err := b.pack(ref, rapid.IntRange(1, 2).Draw(rt, "parcels")); err != nil {
			rt.Fatal(err)
		}
		carrier := rapid.SampledFrom(append([]shipping.Name{""}, allCarriers...))
		steps := map[string]func(a *activities.Fulfillments, ctx context.Context) error{
			"choose": func(a *activities.Fulfillments, ctx context.Context) error {
				_, err := a.ChooseCarrier(ctx, ref)
				return err
			},
			"compare": func(a *activities.Fulfillments, ctx context.Context) error { return a.CompareCarriers(ctx, ref) },
			"book":    func(a *activities.Fulfillments, ctx context.Context) error { return a.BookParcel(ctx, ref) },
			"void":    func(a *activities.Fulfillments, ctx context.Context) error { return a.VoidLabel(ctx, ref) },
			"finish":  func(a *activities.Fulfillments, ctx context.Context) error { return a.FinishLabels(ctx, ref) },
		}
		names := []string{"book", "choose", "compare", "finish", "void"}
		for range rapid.IntRange(2, 12).Draw(rt, "steps") {
			if c := carrier.Draw(rt, "faulty"); c != "" {
				op := rapid.SampledFrom([]string{"*", bookCall[c]}).Draw(rt, "call")
				b.fault(c, op, rapid.SampledFrom([]string{"error_500", "error_503", "cut_before", "cut_during", "cut_after", "rate_limited", "refuse"}).Draw(rt, "fault"))
			}
			switch what := rapid.SampledFrom([]string{"go on", "go on", "go on", "go on", "any", "killed", "killed", "unpack", "want", "person", "time"}).Draw(rt, "what"); what {
			case "go on":
				if _, err := b.next(context.Background(), ref, b.stand(ref)); err != nil {
					rt.Fatalf("a step fails: %v", err)
				}
			case "any":
				if err := steps[rapid.SampledFrom(names).Draw(rt, "step")](b.steps, context.Background()); err != nil {
					rt.Fatalf("a step fails: %v", err)
				}
			case "killed":
				c := rapid.SampledFrom(allCarriers).Draw(rt, "at")
				step := steps[rapid.SampledFrom([]string{"book", "void"}).Draw(rt, "step")]
				if rapid.Bool().Draw(rt, "before it is written down") {
					a, end := b.apart()
					b.held(c, "*", func(ctx context.Context) error { return step(a, ctx) }, func(func()) { end() })
					end()
				} else {
					b.held(c, "*", func(ctx context.Context) error { return step(b.steps, ctx) }, func(cancel func()) { cancel() })
				}
			case "unpack":
				if b.unpack(ref) == nil {
					if err := b.pack(ref, rapid.IntRange(1, 2).Draw(rt, "parcels")); err != nil {
						rt.Fatal(err)
					}
				}
			case "want":
				_ = b.want(ref, carrier.Draw(rt, "wanted")) // it may be labelled, or under way
			case "person":
				b.truth(ref)
			case "time":
				b.pass()
			}
			if wrong := b.disagreements(); len(wrong) > 0 {
				rt.Fatalf("%s\n%s", strings.Join(wrong, "\n"), b.rows(ref))
			}
		}
		for _, c := range allCarriers {
			b.faults(c, map[string]any{})
		}
		for range 12 {
			now := b.rest(ref)
			if now.Status == shipping.Labelled && len(now.Troubles) == 0 {
				break
			}
			b.truth(ref)
		}
		if now := b.stand(ref); now.Status != shipping.Labelled || len(now.Troubles) > 0 {
			rt.Fatalf("it does not end: %+v\n%s", now, b.rows(ref))
		}
		if wrong := b.disagreements(); len(wrong) > 0 {
			rt.Fatalf("%s\n%s", strings.Join(wrong, "\n"), b.rows(ref))
		}
	})
}

func TestChooseCarrier_InALaterRoundThoseThatFailedAreAskedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, ref := b.packed(1, shipping.Chilexpress)
	b.fault(shipping.Chilexpress, "create_order", "error_503")
	require.NoError(t, b.steps.BookParcel(t.Context(), ref))
	again := func() {
		t.Helper()
		chosen, err := b.steps.ChooseCarrier(t.Context(), ref)
		require.NoError(t, err)
		require.True(t, chosen.Compare)
		require.NoError(t, b.steps.CompareCarriers(t.Context(), ref))
	}
	again()
	require.Equal(t, 1, b.count(`SELECT count(*) FROM bookings`), "in this round it has failed")
	require.Equal(t, "no_carrier", b.stand(ref).Troubles[0].Reason)
	b.pass()
	again()
	require.Equal(t, 2, b.count(`SELECT count(*) FROM bookings`))
	require.NoError(t, b.steps.BookParcel(t.Context(), ref))
	require.NoError(t, b.steps.FinishLabels(t.Context(), ref))
	require.Equal(t, shipping.Labelled, b.stand(ref).Status)
	require.Empty(t, b.stand(ref).Troubles)
}

func TestChooseCarrier_WhatTheBuyerFetchesNeedsNone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, ref := b.picked(2)
	_, err := b.Super.Exec(t.Context(), `UPDATE orders SET shipping = shipping || '{"method":"pickup_in_shop"}'`)
	require.NoError(t, err)
	require.NoError(t, b.pack(ref, 1))
	require.NoError(t, b.want(ref, ""))
	for range 2 {
		chosen, err := b.steps.ChooseCarrier(t.Context(), ref)
		require.NoError(t, err)
		require.False(t, chosen.Compare)
	}
	require.Equal(t, shipping.Labelled, b.stand(ref).Status)
	require.Equal(t, "manual", b.one(`SELECT carrier FROM shipments`))
	require.Zero(t, b.count(`SELECT count(*) FROM bookings`))
}
