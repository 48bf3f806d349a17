package audit

import (
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/payment"
	"justlogistics/internal/reconcile"
)

// compared is a day that was compared with its provider's books: most of it
// differs, because the provider lists nothing; a person has said what one of the
// differences is.
func (s *shop) compared() {
	ctx := s.t.Context()
	s.in(func(tx pgx.Tx) error {
		zone, err := reconcile.Zone(ctx, tx, shopID)
		require.NoError(s.t, err)
		day := reconcile.DayOf(time.Now(), zone)
		if s.ids["reconciliation"], _, err = reconcile.Open(ctx, tx, shopID, payment.Transbank, day, "test", false); err != nil {
			return err
		}
		paid := s.ids["paid_payment_1"]
		line := func(key string, amount int64) reconcile.Line {
			return reconcile.LineOf(reconcile.FromAPI, payment.Transaction{Kind: payment.ChargeTransaction, PaymentID: key, Reference: key, Amount: amount, Currency: "CLP", Outcome: payment.OutcomeApproved, Captured: true, At: time.Now()})
		}
		if err := reconcile.StoreLines(ctx, tx, shopID, payment.Transbank, []reconcile.Line{line(paid, 1), line("nobody", 2)}); err != nil {
			return err
		}
		if _, err := reconcile.Settle(ctx, tx, shopID, s.ids["reconciliation"], reconcile.Terms{Source: reconcile.FromAPI}); err != nil {
			return err
		}
		var raised, resolved string
		if err := tx.QueryRow(ctx, `SELECT (SELECT id FROM reconciliation_items WHERE result = 'different_amount'), (SELECT id FROM reconciliation_items WHERE result = 'missing_here')`).Scan(&raised, &resolved); err != nil {
			return err
		}
		s.ids["difference"], s.ids["resolved_difference"] = raised, resolved
		if _, err := reconcile.Resolve(ctx, tx, reconcile.Use{Tenant: shopID, ItemID: resolved, Actor: "ana", KeyID: "k", Reason: "a sale of the other shop"}); err != nil {
			return err
		}
		_, err = reconcile.Finish(ctx, tx, shopID, s.ids["reconciliation"])
		return err
	})
}
