package e2e_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/audit"
	"justlogistics/internal/stacktest"
)

// payableAgain is a shop at whose Mercado Pago a page takes a second payment.
func payableAgain(t *testing.T) *stacktest.Shop {
	t.Helper()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Configure("mercadopago", map[string]any{"payable_again": true})
	return s
}

// requireSecondBack demands two charges under the reference of one payment, of
// which the order keeps one, and that the other went back whole, once.
func requireSecondBack(t *testing.T, s *stacktest.Shop, c stacktest.Checkout) {
	t.Helper()
	var other string
	c = s.Await(c.ID, func(c stacktest.Checkout) bool {
		other = ""
		for _, p := range c.Payments {
			if p.ID != c.Payment.ID && p.Status == "refunded" {
				other = p.ID
			}
		}
		return other != ""
	})
	require.Equal(t, "paid", c.Status)
	require.Len(t, c.Payments, 2)
	require.True(t, c.Payment.Applied, "the buyer's attempt is the one that paid")
	require.Equal(t, "captured", c.Payment.Status)
	require.False(t, c.Attempt(other).Applied)
	require.Equal(t, c.Totals.Total, c.Attempt(other).Refunded)

	statuses := map[string]int{}
	for _, charge := range chargesOf(s, c) {
		require.Equal(t, c.Payment.ID, charge.PaymentID)
		require.Equal(t, c.Totals.Total, charge.Amount)
		statuses[charge.Status]++
	}
	require.Equal(t, map[string]int{"captured": 1, "refunded": 1}, statuses)
	refunds := refundsOf(s, c)
	require.Len(t, refunds, 1)
	require.Equal(t, c.Totals.Total, refunds[0].Amount)

	o := s.Order(c.ID)
	require.Nil(t, o.Attention)
	require.Len(t, o.Refunds, 1)
	require.Equal(t, "duplicate_payment", o.Refunds[0].Reason)
	report, err := audit.Run(t.Context(), s.DB, audit.Options{SandboxURL: s.Sandbox.URL, Patience: time.Millisecond})
	require.NoError(t, err)
	for _, check := range report.Checks {
		for _, v := range check.Violations {
			require.NotEqual(t, s.Tenant, v.Tenant, "%s: %s", check.Name, v.Words)
		}
	}
}

func TestMercadoPago_APagePaidTwiceKeepsOnePaymentAndGivesTheOtherBack(t *testing.T) {
	t.Parallel()
	s := payableAgain(t)
	c := bought(t, s, "mercadopago")
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	requireSecondBack(t, s, c)
	date := reconcile(t, s, "mercadopago")
	r := reconciled(t, s, "mercadopago", date)
	require.Empty(t, r.Items, "nothing differs")
	require.Equal(t, 3, r.Counts["matched"], "two charges and a refund")
}

func TestMercadoPago_BothPaymentsOfAPageAreKnownAtOnce(t *testing.T) {
	t.Parallel()
	s := payableAgain(t)
	s.Sandbox.Faults("mercadopago", map[string]any{"drop_webhooks": true})
	c := s.Checkout("mercadopago")
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requireSecondBack(t, s, c)
}

func TestMercadoPago_ASecondPaymentThatNobodyToldOfIsFoundByTheReconciliation(t *testing.T) {
	t.Parallel()
	s := payableAgain(t)
	c := bought(t, s, "mercadopago")
	s.Sandbox.Faults("mercadopago", map[string]any{"drop_webhooks": true})
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	date := reconcile(t, s, "mercadopago")
	requireSecondBack(t, s, c)
	r := reconciled(t, s, "mercadopago", date)
	require.Zero(t, r.Counts["raised"], "%+v", r)
}
