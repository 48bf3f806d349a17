package e2e_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

// paidByToken is a checkout whose buyer has paid before its answer.
func paidByToken(t *testing.T, s *stacktest.Shop) map[string]string {
	c := payByToken(t, s, "APRO")
	require.Equal(t, "paid", s.AwaitStatus(c.ID, "paid").Status)
	s.AwaitClosed(s.CheckoutRun(c.ID))
	nothingStuck(s)
	return map[string]string{"checkout": s.CheckoutRun(c.ID)}
}

// declinedToken is one whose card is refused, and who then pays on a page.
func declinedToken(t *testing.T, s *stacktest.Shop) map[string]string {
	c := payByToken(t, s, "FUND")
	c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment != nil && c.Payment.Status == "declined" })
	require.Equal(t, "awaiting_payment", c.Status)
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts/"+c.ID+"/payments", map[string]any{"gateway": "khipu", "return_url": "https://shop.example/thanks"})
	require.Equal(t, 201, a.Status, "%s", a.Body)
	s.Sandbox.Buyer(stacktest.Decode[stacktest.Checkout](t, a).Payment.ID, "approve")
	s.AwaitStatus(c.ID, "paid")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	nothingStuck(s)
	return map[string]string{"checkout": s.CheckoutRun(c.ID)}
}

// booksCompared finds what was given back in the provider's panel.
func booksCompared(t *testing.T, s *stacktest.Shop) map[string]string {
	c := boughtForGood(t, s)
	p := bought(t, s, "transbank")
	s.Sandbox.PanelRefund("transbank", p.Payment.ID, 1000)
	date := reconcile(t, s, "transbank")
	require.Equal(t, "done", reconciled(t, s, "transbank", date).Status)
	reconcile(t, s, "stripe")
	require.Equal(t, "done", reconciled(t, s, "stripe", date).Status)
	require.Equal(t, "paid", s.Get(c.ID).Status)
	runs := map[string]string{}
	s.Do(func(tx pgx.Tx) error {
		rows, err := tx.Query(t.Context(), `SELECT gateway, id FROM reconciliations`)
		if err != nil {
			return err
		}
		var gateway, id string
		_, err = pgx.ForEachRow(rows, []any{&gateway, &id}, func() error {
			runs[gateway] = s.WorkflowID(workflows.KindReconciliation, id)
			return nil
		})
		return err
	})
	require.Len(t, runs, 2)
	for _, run := range runs {
		s.AwaitClosed(run)
	}
	return runs
}
