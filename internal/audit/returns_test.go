package audit

import (
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// takeBack has two pots that were bought and brought home come back: one is sold again, one
// is scrap, and the money for both has gone, but for ten pesos.
func (s *shop) takeBack() {
	ctx := s.t.Context()
	s.in(func(tx pgx.Tx) error {
		if _, err := catalog.PutProduct(ctx, tx, shopID, "OLLA", catalog.ProductInput{Name: "OLLA", WeightGrams: 400, Prices: []catalog.Price{{Currency: "CLP", Amount: 9990}}}); err != nil {
			return err
		}
		_, err := stock.Move(ctx, tx, shopID, stock.BinMovement{SKU: "OLLA", Warehouse: "SCL-1", Quantity: 5, To: stock.In("L-01", stock.Available), Reason: "receipt", By: ana})
		return err
	})
	s.begin("pots", 900, "", checkout.Item{SKU: "OLLA", Quantity: 2})
	s.approve("pots", 1, true)
	s.pack("pots", "OLLA", s.ids["pots"])
	for _, step := range []func(tx pgx.Tx, shop tenant.Tenant) (shipping.Shipment, error){
		func(tx pgx.Tx, shop tenant.Tenant) (shipping.Shipment, error) {
			return shipping.LabelParcels(ctx, tx, shop, s.ids["pots_shipment"], shipping.Labelling{Carrier: shipping.Manual, By: ana})
		},
		func(tx pgx.Tx, shop tenant.Tenant) (shipping.Shipment, error) {
			return shipping.HandOver(ctx, tx, shop, s.ids["pots_shipment"], shipping.Handing{By: ana})
		},
		func(tx pgx.Tx, shop tenant.Tenant) (shipping.Shipment, error) {
			return shipping.Report(ctx, tx, shop, s.ids["pots_shipment"], shipping.News{Status: shipping.Arrived, By: ana})
		},
	} {
		s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
			_, err := step(tx, shop)
			return err
		})
	}
	var line string
	var r returns.Return
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) (err error) {
		require.NoError(s.t, tx.QueryRow(ctx, `SELECT line_id FROM order_lines WHERE order_id = $1`, s.ids["pots"]).Scan(&line))
		r, err = returns.Open(ctx, tx, shop, id.New(), returns.Request{OrderID: s.ids["pots"], Refund: "original", Lines: []returns.LineAsked{{LineID: line, Quantity: 2, Reason: "defective"}}}, nil, "web")
		return err
	})
	s.ids["return"] = r.ID
	s.labelBack(r.ID)
	able := func(payment.Name) (payment.Capabilities, bool) {
		return payment.Capabilities{Refunds: true, PartialRefunds: true}, true
	}
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		_, err := returns.Receive(ctx, tx, shop, r.ID, returns.Reception{Lines: []returns.ReceivedLine{{LineID: line, Quantity: 2}}, By: ana})
		require.NoError(s.t, err)
		_, _, err = returns.Inspect(ctx, tx, shop, r.ID, returns.Inspection{By: ana, Units: []returns.InspectedUnits{
			{LineID: line, Quantity: 1, Grade: "A", Disposition: returns.Restock, Bin: "L-01"}, {LineID: line, Quantity: 1, Grade: "D", Disposition: returns.Scrap, Deducted: 10, Deduction: "broken"}}})
		require.NoError(s.t, err)
		return returns.Pay(ctx, tx, shop, r.ID, nil, able)
	})
	var part, paidBy string
	var amount int64
	require.NoError(s.t, s.super.QueryRow(ctx, `SELECT r.id, r.payment_id, r.amount FROM refunds r JOIN return_refunds q ON q.refund_id = r.request_id`).Scan(&part, &paidBy, &amount))
	s.post("/ledger/refunds", map[string]any{"payment_id": paidBy, "gateway": "transbank", "amount": amount})
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		if err := payment.PutRefund(ctx, tx, shopID, part, "succeeded", payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "r-pots"}, 0); err != nil {
			return err
		}
		return returns.Settle(ctx, tx, shop, r.ID)
	})
}

// labelBack gives a buyer a label for the way back, by which the parcel comes.
func (s *shop) labelBack(returnID string) {
	ctx := s.t.Context()
	s.in(func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE orders SET shipping = '{"street":"Av. Providencia","number":"1234","comuna":"Providencia","region":"RM"}' WHERE id = $1`, s.ids["pots"])
		require.NoError(s.t, err)
		_, err = tx.Exec(ctx, `UPDATE warehouses SET comuna = 'Quilicura', street = 'Las Esteras', number = '100' WHERE code = 'SCL-1'`)
		return err
	})
	_, err := s.super.Exec(ctx, `INSERT INTO provider_credentials (tenant, provider, key_id, box) VALUES ($1, 'correos', 'k', '')`, shopID)
	require.NoError(s.t, err)
	s.still("correos")
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		_, err := returns.AskLabel(ctx, tx, shop, returnID, returns.LabelAsked{By: "ana"})
		return err
	})
	k, tracking := s.label(shipping.OfReturn(returnID), func(tx pgx.Tx, shop tenant.Tenant) (shipping.Unbooked, error) {
		return returns.ToBook(ctx, tx, shop, returnID)
	})
	s.ids["pot_booking"], s.ids["pot_parcel"] = k.ID, k.ParcelID
	res, err := http.Post(s.sandbox+"/carriers/"+tracking+"/in_transit", "application/json", nil)
	require.NoError(s.t, err)
	require.NoError(s.t, res.Body.Close())
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		require.NoError(s.t, returns.FinishLabel(ctx, tx, shop, returnID))
		f := shipping.Followed{Tenant: shopID, ParcelID: k.ParcelID, ReturnID: returnID, Carrier: shipping.Correos, Tracking: tracking, State: shipping.Announced}
		return returns.Heard(ctx, tx, shop, f, shipping.Track{Number: tracking, Events: []shipping.Event{{State: shipping.InTransit, Code: "x"}}}, shipping.Pace{Least: time.Hour, Longest: time.Hour})
	})
	var status string
	require.NoError(s.t, s.super.QueryRow(ctx, `SELECT status FROM returns`).Scan(&status))
	require.Equal(s.t, returns.InTransit, status)
}

func TestAudit_NamesWhatIsWrongWithAReturn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ check, subject, breaks string }{
		{"returns.no_more_than_delivered", "{pots}", `UPDATE shipments SET lines = '[]' WHERE id = '{pots_shipment}'`},
		{"returns.shelves_have_what_was_inspected", "{return}", `DELETE FROM bin_movements WHERE reason = 'return'`},
		{"returns.shelves_have_what_was_inspected", "{return}", `UPDATE return_units SET disposition = 'restock' WHERE disposition = 'scrap'`},
		{"returns.promised_money_goes", "{return}", `UPDATE refundable SET refunded = 0 WHERE order_id = '{pots}'; UPDATE payments SET refunded_amount = 0 WHERE order_id = '{pots}' OR checkout_id = '{pots}'; UPDATE returns SET updated_at = now() - interval '2 minutes'`},
		{"returns.money_has_its_return", "{return}", `UPDATE return_units SET came = 'missing', grade = '', disposition = '' WHERE disposition = 'scrap'`},
		{"due.everything_open_has_its_time", "{return}", `ALTER TABLE returns DROP CONSTRAINT what_is_open_is_due, DROP CONSTRAINT what_is_over_has_ended; ALTER TABLE returns DISABLE TRIGGER check_move; UPDATE returns SET status = 'received', due_at = NULL`},
	} {
		t.Run(tc.check, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			require.True(t, s.audit().OK())
			s.broken(tc.breaks)
			requireNamed(t, s.audit(), tc.check, s.put(tc.subject))
		})
	}
}
