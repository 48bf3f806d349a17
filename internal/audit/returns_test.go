package audit

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/returns"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// takeCupsBack has both cups come back: one is sold again, one is scrap.
func (s *shop) takeCupsBack() {
	ctx := s.t.Context()
	s.broken(`UPDATE shipments SET status = 'delivered', due_at = NULL, ended_at = now() WHERE id = '{cup_shipment}'`)
	line := ""
	require.NoError(s.t, s.super.QueryRow(ctx, `SELECT line_id FROM order_lines l JOIN shipments s USING (tenant, order_id) WHERE s.id = $1`, s.ids["cup_shipment"]).Scan(&line))
	var r returns.Return
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) (err error) {
		var order string
		require.NoError(s.t, tx.QueryRow(ctx, `SELECT order_id FROM shipments WHERE id = $1`, s.ids["cup_shipment"]).Scan(&order))
		r, err = returns.Open(ctx, tx, shop, id.New(), returns.Request{OrderID: order, Refund: "original", Lines: []returns.LineAsked{{LineID: line, Quantity: 2, Reason: "defective"}}}, nil, returns.By{Person: "web"})
		return err
	})
	s.ids["return"], s.ids["cup_order"] = r.ID, r.OrderID
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		_, err := returns.Receive(ctx, tx, shop, r.ID, returns.Reception{Lines: []returns.ReceivedLine{{LineID: line, Quantity: 2}}, By: ana})
		return err
	})
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error {
		_, _, err := returns.Inspect(ctx, tx, shop, r.ID, returns.Inspection{By: stock.By{Person: "ana"}, Units: []returns.InspectedUnits{
			{LineID: line, Quantity: 1, Grade: "A", Disposition: returns.Restock}, {LineID: line, Quantity: 1, Grade: "D", Disposition: returns.Scrap, Deducted: 10, Deduction: "broken"}}})
		return err
	})
	able := func(payment.Name) (payment.Capabilities, bool) {
		return payment.Capabilities{Refunds: true, PartialRefunds: true}, true
	}
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error { return returns.Pay(ctx, tx, shop, r.ID, nil, able) })
	s.broken(`UPDATE refunds SET status = 'succeeded', due_at = NULL WHERE request_id IN (SELECT refund_id FROM return_refunds)`)
	s.inShop(func(tx pgx.Tx, shop tenant.Tenant) error { return returns.Settle(ctx, tx, shop, r.ID) })
}

func TestAudit_NamesWhatIsWrongWithAReturn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ check, subject, breaks string }{
		{"returns.no_more_than_delivered", "{cup_order}", `UPDATE shipments SET lines = '[]' WHERE id = '{cup_shipment}'`},
		{"returns.shelves_have_what_was_inspected", "{return}", `DELETE FROM bin_movements WHERE reason = 'return'`},
		{"returns.shelves_have_what_was_inspected", "{return}", `UPDATE return_units SET disposition = 'restock' WHERE disposition = 'scrap'`},
		{"returns.promised_money_goes", "{return}", `UPDATE refund_bookings SET released = true WHERE request_id IN (SELECT refund_id FROM return_refunds); UPDATE payments SET refunded_amount = 0 WHERE order_id = '{cup_order}' OR checkout_id = '{cup_order}'; UPDATE returns SET updated_at = now() - interval '2 minutes'`},
		{"returns.money_has_its_return", "{return}", `UPDATE return_units SET came = 'missing', grade = '', disposition = '' WHERE disposition = 'scrap'`},
		{"due.everything_open_has_its_time", "{return}", `ALTER TABLE returns DROP CONSTRAINT what_is_open_is_due, DROP CONSTRAINT what_is_over_has_ended; ALTER TABLE returns DISABLE TRIGGER check_move; UPDATE returns SET status = 'received', due_at = NULL`},
	} {
		t.Run(tc.check, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			s.takeCupsBack()
			for _, c := range s.audit().Checks {
				if c.Invariant == 7 {
					require.Empty(t, c.Violations, c.Name)
				}
			}
			s.broken(tc.breaks)
			requireNamed(t, s.audit(), tc.check, s.put(tc.subject))
		})
	}
}
