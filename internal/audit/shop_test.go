package audit

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/feed"
	"justlogistics/internal/id"
	"justlogistics/internal/inbox"
	"justlogistics/internal/money"
	"justlogistics/internal/order"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/refund"
	"justlogistics/internal/sandbox"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/webhook"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const shopID = "demo"

// shop is a tenant with a day's orders behind it, made by the product's own
// steps, and the ledger of a provider that agrees with it.
type shop struct {
	t       *testing.T
	db      *postgres.DB
	super   *pgx.Conn
	sandbox string
	// ids by what they are, for statements like "... WHERE id = '{paid}'".
	ids map[string]string
}

func openShop(t *testing.T) *shop {
	t.Helper()
	database := pgtest.New(t)
	db, err := postgres.Open(t.Context(), database.AppURL, postgres.Options{MaxConns: 2, MaxSystemConns: 2})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	super, err := pgx.Connect(t.Context(), database.SuperuserURL)
	require.NoError(t, err)
	played, err := sandbox.Open(sandbox.Options{NoSync: true})
	require.NoError(t, err)
	server := httptest.NewServer(played.Handler())
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, played.Close())
	})
	s := &shop{t: t, db: db, super: super, sandbox: server.URL, ids: map[string]string{}}
	s.stockUp()
	s.trade()
	s.receiveGoods()
	s.shipLamps()
	s.sendCups()
	s.takeBack()
	s.tell()
	return s
}

// tell publishes the day's events and has one endpoint that took some of them.
func (s *shop) tell() {
	ctx := s.t.Context()
	ring, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(s.t, err)
	s.ids["endpoint"] = id.New()
	s.in(func(tx pgx.Tx) error {
		_, _, err := webhook.Create(ctx, tx, ring, shopID, s.ids["endpoint"], "https://shop.example/hooks", nil, "")
		return err
	})
	for n := 1; n > 0; {
		require.NoError(s.t, s.db.AsSystem(ctx, func(tx pgx.Tx) (err error) {
			n, err = feed.Publish(ctx, tx, shopID)
			return err
		}))
	}
	var claimed []webhook.Claimed
	require.NoError(s.t, s.db.AsSystem(ctx, func(tx pgx.Tx) (err error) {
		claimed, err = webhook.Claim(ctx, tx, 2)
		return err
	}))
	require.Len(s.t, claimed, 2)
	for i, c := range claimed {
		s.in(func(tx pgx.Tx) error { return webhook.Record(ctx, tx, c, webhook.Result{Status: 200 + 300*i}) })
	}
}

func (s *shop) in(fn func(tx pgx.Tx) error) {
	s.t.Helper()
	require.NoError(s.t, s.db.InTenant(s.t.Context(), shopID, fn))
}

func (s *shop) stockUp() {
	ctx := s.t.Context()
	s.in(func(tx pgx.Tx) error {
		rules := tenant.Defaults(shopID)
		rules.AllowedOrigins = []string{"*"}
		require.NoError(s.t, tenant.Put(ctx, tx, tenant.Tenant{ID: shopID, Name: "Demo", Settings: rules}))
		for i, code := range []string{"SCL-1", "CCP-1"} {
			_, err := catalog.PutWarehouse(ctx, tx, shopID, code, catalog.WarehouseInput{Name: code, Region: "RM", Position: i})
			require.NoError(s.t, err)
		}
		for _, sku := range []string{"POL", "TAZA", "RARO"} {
			_, err := catalog.PutProduct(ctx, tx, shopID, sku, catalog.ProductInput{Name: sku, Prices: []catalog.Price{{Currency: "CLP", Amount: 9990}}})
			require.NoError(s.t, err)
		}
		for _, shelf := range []struct {
			sku, warehouse string
			units          int
		}{{"POL", "SCL-1", 3}, {"POL", "CCP-1", 30}, {"TAZA", "SCL-1", 20}, {"RARO", "SCL-1", 4}} {
			_, err := stock.Count(ctx, tx, shopID, shelf.sku, shelf.warehouse, shelf.units, time.Now(), "test")
			require.NoError(s.t, err)
		}
		uses := 10
		_, err := catalog.PutDiscount(ctx, tx, shopID, "DIEZ", catalog.DiscountInput{Kind: "percent", Value: 1000, MaxUses: &uses})
		return err
	})
}

func (s *shop) trade() {
	ctx := s.t.Context()
	// An order over two warehouses with a discount.
	s.begin("paid", 900, "DIEZ", checkout.Item{SKU: "POL", Quantity: 5}, checkout.Item{SKU: "TAZA", Quantity: 1})
	s.approve("paid", 1, true)
	s.giveBack("paid", 2_000)
	// One that was paid twice: the second goes back.
	s.begin("twice", 900, "", checkout.Item{SKU: "POL", Quantity: 1})
	s.attempt("twice", 2)
	s.approve("twice", 1, true)
	s.refund("twice", s.approve("twice", 2, true))
	// One that was cancelled and paid all the same: its refund is on its way.
	s.begin("cancelled", 900, "DIEZ", checkout.Item{SKU: "TAZA", Quantity: 2})
	_, err := checkout.EndUnpaid(ctx, s.db, shopID, s.ids["cancelled"], checkout.Cancelled)
	require.NoError(s.t, err)
	s.ids["cancelled_refund"] = s.approve("cancelled", 1, true).RefundID
	// One that is open, kept longer because its payment is in doubt.
	s.begin("open", 900, "DIEZ", checkout.Item{SKU: "POL", Quantity: 2})
	_, err = checkout.Record(ctx, s.db, shopID, s.ids["open"], checkout.News{PaymentID: s.ids["open_payment_1"], Answer: payment.Answer{Outcome: payment.OutcomeUnknown}, AskedAt: time.Now()})
	require.NoError(s.t, err)
	_, err = checkout.Grace(ctx, s.db, shopID, s.ids["open"], 930)
	require.NoError(s.t, err)
	// One that lost units to a count.
	s.begin("short", 900, "", checkout.Item{SKU: "RARO", Quantity: 4})
	s.in(func(tx pgx.Tx) error {
		_, err := stock.Count(ctx, tx, shopID, "RARO", "SCL-1", 3, time.Now(), "test")
		return err
	})
	s.aftermath()
	s.sellAtCounter()
	// Stock and no payment at all.
	s.reserve("reservation")
	s.news()
	s.compared()
	s.sendGoods()
	s.work()
}

// work is what lies in the bins of one warehouse: a lot and two serials, of which
// two orders have some.
func (s *shop) work() {
	ctx := s.t.Context()
	ana := stock.By{Person: "ana"}
	s.in(func(tx pgx.Tx) error {
		for _, sql := range []string{
			`INSERT INTO bins (tenant, warehouse, code, kind) VALUES ('demo', 'CCP-1', 'A-01-A', 'pick'), ('demo', 'CCP-1', 'PACK-1', 'packing')`,
			`UPDATE products SET tracking = 'lot' WHERE sku = 'POL'`,
		} {
			_, err := tx.Exec(ctx, sql)
			require.NoError(s.t, err)
		}
		tracked := "serial"
		_, err := catalog.PutProduct(ctx, tx, shopID, "RELOJ", catalog.ProductInput{Name: "RELOJ", Prices: []catalog.Price{{Currency: "CLP", Amount: 9990}}, Tracking: &tracked})
		require.NoError(s.t, err)
		_, err = stock.PutLot(ctx, tx, shopID, stock.Lot{SKU: "POL", Lot: "L1"})
		require.NoError(s.t, err)
		for _, m := range []stock.BinMovement{
			{SKU: "POL", Lot: "L1", Quantity: 10, From: stock.Unplaced(), To: stock.In("A-01-A", stock.Available), Reason: "put_away"},
			{SKU: "RELOJ", Serial: "S-1", Quantity: 1, To: stock.In("A-01-A", stock.Available), Reason: "receipt"},
			{SKU: "RELOJ", Serial: "S-2", Quantity: 1, To: stock.In("A-01-A", stock.Available), Reason: "receipt"},
			{SKU: "RELOJ", Serial: "S-2", Quantity: 1, From: stock.In("A-01-A", stock.Available), Reason: "loss"},
			{SKU: "POL", Lot: "L1", Quantity: 1, From: stock.In("A-01-A", stock.Available), To: stock.In("A-01-A", stock.Damaged), Reason: "damage"},
		} {
			m.Warehouse, m.By = "CCP-1", ana
			_, err := stock.Move(ctx, tx, shopID, m)
			require.NoError(s.t, err)
		}
		wants := []stock.ToAllocate{{HoldID: s.ids["twice_hold"], SKU: "POL", Warehouse: "CCP-1", Units: 1}, {HoldID: s.ids["panel_hold"], SKU: "POL", Warehouse: "CCP-1", Units: 1}}
		list, missing, err := stock.Allocate(ctx, tx, shopID, "CCP-1", wants, time.Now())
		require.NoError(s.t, err)
		require.Empty(s.t, missing)
		_, err = stock.Pick(ctx, tx, shopID, stock.Taken{AllocationID: list[0].ID, Units: 1, To: "PACK-1", Document: "pick:x", By: ana})
		return err
	})
}

// aftermath is what providers tell of money that was taken: a dispute, a refund
// made in the panel, and an authorization that nobody has captured yet.
func (s *shop) aftermath() {
	hear := func(name string, change func(a *payment.Answer)) {
		v, err := checkout.Load(s.t.Context(), s.db, shopID, s.ids[name])
		require.NoError(s.t, err)
		p := s.ids[name+"_payment_1"]
		a := payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, PaymentID: p, Amount: v.Total, Currency: v.Currency, Reference: "token-" + p}
		change(&a)
		_, err = checkout.Record(s.t.Context(), s.db, shopID, s.ids[name], checkout.News{PaymentID: p, AskedAt: time.Now(), Answer: a})
		require.NoError(s.t, err)
	}
	s.begin("disputed", 900, "", checkout.Item{SKU: "POL", Quantity: 1})
	s.approve("disputed", 1, true)
	hear("disputed", func(a *payment.Answer) {
		a.Dispute = &payment.Dispute{Reference: "dp_1", Status: payment.DisputeOpen, Amount: a.Amount, Currency: a.Currency}
	})
	for _, name := range []string{"disputed", "paid"} {
		s.in(func(tx pgx.Tx) error {
			var parcel string
			err := tx.QueryRow(s.t.Context(), `SELECT id FROM shipments WHERE order_id = $1 ORDER BY id LIMIT 1`, s.ids[name]).Scan(&parcel)
			s.ids[name+"_parcel"] = parcel
			return err
		})
	}
	s.in(func(tx pgx.Tx) error {
		var dispute string
		err := tx.QueryRow(s.t.Context(), `SELECT id FROM disputes`).Scan(&dispute)
		s.ids["disputed_dispute"] = dispute
		return err
	})
	s.begin("panel", 900, "", checkout.Item{SKU: "POL", Quantity: 1})
	s.approve("panel", 1, true)
	hear("panel", func(a *payment.Answer) {
		a.Refunds = []payment.RefundSeen{{Reference: "re_panel", Amount: 990, Outcome: payment.OutcomeApproved}}
	})
	s.post("/ledger/refunds", map[string]any{"payment_id": s.ids["panel_payment_1"], "gateway": "transbank", "amount": 990})
	s.begin("allowed", 900, "", checkout.Item{SKU: "POL", Quantity: 1})
	hear("allowed", func(a *payment.Answer) { a.Captured = false })
	s.in(func(tx pgx.Tx) error {
		_, err := tx.Exec(s.t.Context(), `UPDATE payments SET capture_until = now() + interval '5 days', due_at = now() + interval '4 days' WHERE id = $1`, s.ids["allowed_payment_1"])
		return err
	})
}

// begin makes a checkout that waits for its buyer at Webpay.
func (s *shop) begin(name string, seconds int, code string, items ...checkout.Item) {
	ctx := s.t.Context()
	checkoutID := id.New()
	s.in(func(tx pgx.Tx) error {
		t, err := tenant.Get(ctx, tx, shopID)
		require.NoError(s.t, err)
		_, err = checkout.Create(ctx, tx, t, checkoutID, checkout.Submission{
			Items: items, Currency: "CLP", Customer: checkout.Customer{Email: name + "@example.cl"}, DiscountCode: code, HoldSeconds: &seconds,
			Shipping: &checkout.Address{Street: "Av. Providencia", Comuna: "Providencia", Region: "RM"},
			Payment:  &checkout.PaymentChoice{Gateway: "transbank", ReturnURL: "https://shop.example/gracias"},
		}, checkout.Terms{Admin: true, Gateway: &payment.Capabilities{Currencies: []money.Currency{money.CLP}}})
		return err
	})
	v, err := checkout.Start(ctx, s.db, shopID, checkoutID, payment.Transbank)
	require.NoError(s.t, err)
	require.Equal(s.t, checkout.Reserving, v.Status, v.FailureCode)
	s.ids[name], s.ids[name+"_hold"] = checkoutID, v.HoldID
	s.begun(name, 1, v.Attempts[0].PaymentID)
}

func (s *shop) attempt(name string, n int) {
	v, ok, err := checkout.AddAttempt(s.t.Context(), s.db, shopID, s.ids[name], "", payment.Transbank, n)
	require.NoError(s.t, err)
	require.True(s.t, ok)
	s.begun(name, n, v.Attempts[n-1].PaymentID)
}

func (s *shop) begun(name string, n int, paymentID string) {
	s.ids[name+"_payment_"+string(rune('0'+n))] = paymentID
	s.in(func(tx pgx.Tx) error {
		answer := payment.Answer{Outcome: payment.OutcomePending, Reference: "token-" + paymentID, Redirect: &payment.Redirect{URL: "https://webpay.example", Method: "POST"}}
		if err := payment.Begun(s.t.Context(), tx, shopID, paymentID, answer, payment.Capabilities{PayableFor: 15 * time.Minute}, "", false); err != nil {
			return err
		}
		return checkout.Offer(s.t.Context(), tx, shopID, s.ids[name])
	})
}

// approve records an approval, and charges the buyer at the provider.
func (s *shop) approve(name string, n int, charge bool) checkout.Ruling {
	v, err := checkout.Load(s.t.Context(), s.db, shopID, s.ids[name])
	require.NoError(s.t, err)
	p := s.ids[name+"_payment_"+string(rune('0'+n))]
	ruling, err := checkout.Record(s.t.Context(), s.db, shopID, s.ids[name], checkout.News{PaymentID: p, AskedAt: time.Now(),
		Answer: payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, PaymentID: p, Amount: v.Total, Currency: v.Currency, Reference: "token-" + p}})
	require.NoError(s.t, err)
	if charge {
		s.post("/ledger/charges", map[string]any{"payment_id": p, "gateway": "transbank", "amount": v.Total})
	}
	return ruling
}

// refund gives a stray payment back on both sides.
func (s *shop) refund(name string, ruling checkout.Ruling) {
	ctx := s.t.Context()
	require.NotEmpty(s.t, ruling.RefundID)
	s.ids[name+"_refund"] = ruling.RefundID
	s.in(func(tx pgx.Tx) error {
		r, _, err := payment.LoadRefund(ctx, tx, shopID, ruling.RefundID)
		require.NoError(s.t, err)
		s.post("/ledger/refunds", map[string]any{"payment_id": r.PaymentID, "gateway": "transbank", "amount": r.Amount})
		return payment.PutRefund(ctx, tx, shopID, r.ID, "succeeded", payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "r-1"}, 0)
	})
}

// giveBack books a refund of an order's first unit and some goodwill, which is
// on its way.
func (s *shop) giveBack(name string, goodwill int64) {
	ctx := s.t.Context()
	request := id.New()
	s.ids[name+"_request"] = request
	s.in(func(tx pgx.Tx) error {
		o, err := order.Read(ctx, tx, shopID, s.ids[name])
		require.NoError(s.t, err)
		s.ids[name+"_line"] = o.Lines[0].LineID
		able := func(payment.Name) (payment.Capabilities, bool) {
			return payment.Capabilities{Refunds: true, PartialRefunds: true}, true
		}
		in := refund.Request{OrderID: o.ID, Reason: "broken", Lines: []refund.LineAsked{{LineID: o.Lines[0].LineID, Quantity: 1}}, Amount: &goodwill}
		if _, err := refund.Book(ctx, tx, shopID, request, in, nil, "test", able); err != nil {
			return err
		}
		r, err := refund.Read(ctx, tx, shopID, request)
		require.NoError(s.t, err)
		s.ids[name+"_part"] = r.Parts[0].ID
		return nil
	})
}

func (s *shop) reserve(name string) string {
	ctx := s.t.Context()
	reservationID := id.New()
	s.ids[name] = reservationID
	s.in(func(tx pgx.Tx) error {
		t, err := tenant.Get(ctx, tx, shopID)
		require.NoError(s.t, err)
		_, err = checkout.CreateReservation(ctx, tx, t, reservationID, checkout.ReservationSubmission{Items: []checkout.Item{{SKU: "TAZA", Quantity: 3}}, Currency: "CLP"}, false)
		return err
	})
	_, err := checkout.Reserve(ctx, s.db, shopID, reservationID)
	require.NoError(s.t, err)
	return reservationID
}

func (s *shop) sellAtCounter() {
	ctx := s.t.Context()
	reservationID, requestID := s.reserve("counter"), id.New()
	s.in(func(tx pgx.Tx) error {
		return checkout.RequestConfirm(ctx, tx, shopID, requestID, reservationID, checkout.ConfirmSubmission{Channel: "counter", Fulfilled: true,
			ExternalPayment: &checkout.ExternalPayment{Method: "cash", Reference: "boleta 1", Amount: 3 * 9990}})
	})
	v, err := checkout.ConfirmReservation(ctx, s.db, shopID, reservationID, requestID)
	require.NoError(s.t, err)
	require.Empty(s.t, v.Refused)
}

func (s *shop) news() {
	ctx := s.t.Context()
	s.in(func(tx pgx.Tx) error {
		for name, n := range map[string]inbox.News{
			"news_applied": {Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: "evt_1", EventType: "checkout.session.completed", PaymentID: s.ids["paid_payment_1"], Signed: true, Claim: payment.OutcomeApproved},
			"news_ignored": {Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: "evt_2", EventType: "charge.updated", PaymentID: s.ids["paid_payment_1"], Signed: true},
			"news_pending": {Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: "evt_3", EventType: "checkout.session.completed", PaymentID: s.ids["open_payment_1"], Signed: true},
		} {
			stored, err := inbox.Store(ctx, tx, shopID, n)
			require.NoError(s.t, err)
			s.ids[name] = stored.ID
		}
		require.NoError(s.t, inbox.MarkApplied(ctx, tx, shopID, s.ids["news_applied"]))
		return inbox.MarkIgnored(ctx, tx, shopID, s.ids["news_ignored"], "nothing new")
	})
}

// post writes to the provider's ledger by hand.
// post writes to the sandbox's ledger and returns the entry's reference.
func (s *shop) post(path string, body map[string]any) (reference string) {
	s.t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(s.t, err)
	res, err := http.Post(s.sandbox+path, "application/json", bytes.NewReader(raw))
	require.NoError(s.t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, res.Body.Close())
	require.Equal(s.t, http.StatusCreated, res.StatusCode, string(text))
	var entry struct {
		Reference string `json:"reference"`
	}
	require.NoError(s.t, json.Unmarshal(text, &entry))
	return entry.Reference
}

// put fills {names} in with their ids.
func (s *shop) put(text string) string {
	for name, value := range s.ids {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// broken runs statements past triggers, foreign keys and row-level security,
// as nobody but the schema's owner could.
func (s *shop) broken(sql string) {
	s.t.Helper()
	_, err := s.super.Exec(s.t.Context(), "SET session_replication_role = replica; "+s.put(sql))
	require.NoError(s.t, err)
}

func (s *shop) audit() Report {
	s.t.Helper()
	r, err := Run(s.t.Context(), s.db, Options{SandboxURL: s.sandbox, UpSince: time.Now().Add(-time.Hour), Patience: time.Millisecond})
	require.NoError(s.t, err)
	return r
}
