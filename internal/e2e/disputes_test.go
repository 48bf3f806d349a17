package e2e_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
)

func disputes(p provider) bool { return p.name == "stripe" || p.name == "mercadopago" }

// disputed is a paid order whose buyer's bank has taken the money back for now.
func disputed(t *testing.T, p provider) (*stacktest.Shop, stacktest.Checkout) {
	t.Helper()
	s := p.open(t)
	c := paid(t, s, p.name)
	s.Sandbox.Dispute(c.Payment.ID, "open")
	s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "disputed" })
	return s, c
}

func shipmentsFrozen(t *testing.T, s *stacktest.Shop, orderID string) bool {
	t.Helper()
	all, frozen := 0, 0
	for _, shipment := range s.Order(orderID).Shipments {
		all++
		if shipment.Frozen != nil {
			frozen++
		}
	}
	require.Positive(t, all)
	return frozen == all
}

func requireDisputed(t *testing.T, s *stacktest.Shop, c stacktest.Checkout) {
	t.Helper()
	charges := chargesOf(s, c)
	require.Len(t, charges, 1)
	require.Equal(t, "disputed", charges[0].Status)
	p := readPayment(t, s, c.Payment.ID)
	require.Len(t, p.Disputes, 1)
	require.Equal(t, "open", p.Disputes[0].Status)
	require.Equal(t, c.Totals.Total, p.Disputes[0].Amount)
	order := s.Order(c.ID)
	require.Equal(t, "paid", order.Status, "paid is never undone")
	require.NotNil(t, order.Attention)
	require.Equal(t, "disputed", *order.Attention)
	require.True(t, shipmentsFrozen(t, s, c.ID), "parcels that have not left stay")
	a := s.AskRefund(c.ID, nil)
	require.Equal(t, 409, a.Status, "%s", a.Body)
	require.Equal(t, "payment_disputed", a.Code())
}

func TestDispute_ThatIsWonLeavesEverythingAsItWas(t *testing.T) {
	t.Parallel()
	each(t, disputes, func(t *testing.T, p provider) {
		s, c := disputed(t, p)
		requireDisputed(t, s, c)
		s.Sandbox.Dispute(c.Payment.ID, "won")
		s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "captured" })
		require.Equal(t, "won", readPayment(t, s, c.Payment.ID).Disputes[0].Status)
		require.Nil(t, s.Order(c.ID).Attention)
		require.False(t, shipmentsFrozen(t, s, c.ID))
		require.Equal(t, "captured", chargesOf(s, c)[0].Status)
		noNewsWaits(t, s)
		r := s.Refund(c.ID, nil)
		s.AwaitRefund(r.ID, "succeeded")
		requireBack(t, s, c, c.Totals.Total)
	})
}

func TestDispute_ThatIsLostIsChargedBack(t *testing.T) {
	t.Parallel()
	each(t, disputes, func(t *testing.T, p provider) {
		s, c := disputed(t, p)
		requireDisputed(t, s, c)
		s.Sandbox.Dispute(c.Payment.ID, "lost")
		s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "charged_back" })
		require.Equal(t, "lost", readPayment(t, s, c.Payment.ID).Disputes[0].Status)
		order := s.Order(c.ID)
		require.Equal(t, "paid", order.Status)
		require.NotNil(t, order.Attention)
		require.Equal(t, "charged_back", *order.Attention)
		require.True(t, shipmentsFrozen(t, s, c.ID), "what was not paid in the end is not sent without a person's word")
		a := s.AskRefund(c.ID, nil)
		require.Equal(t, 409, a.Status, "%s", a.Body)
		require.Equal(t, "nothing_left_to_refund", a.Code())
		require.Equal(t, "charged_back", chargesOf(s, c)[0].Status)
		require.Empty(t, refundsOf(s, c))
		noNewsWaits(t, s)
	})
}

func TestDispute_FreezesARefundThatIsUnderWay(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"won", "lost"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			each(t, disputes, func(t *testing.T, p provider) {
				s := p.open(t)
				c := paid(t, s, p.name)
				s.Sandbox.Next(p.name, p.refund, "refuse", 1)
				r := s.Refund(c.ID, map[string]any{"shipping_amount": 3990})
				run := s.RefundRun(r.ID)
				s.AwaitRefund(r.ID, "needs_attention")
				s.Sandbox.Dispute(c.Payment.ID, "open")
				s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "disputed" })
				asked := s.Sandbox.Calls(p.name, p.refund)
				s.AwaitRefund(r.ID, "pending")
				require.Equal(t, asked, s.Sandbox.Calls(p.name, p.refund), "nothing is asked of the provider meanwhile")
				require.Empty(t, refundsOf(s, c))
				s.Sandbox.Dispute(c.Payment.ID, end)
				if end == "lost" {
					failed := s.AwaitRefund(r.ID, "failed")
					require.Equal(t, "payment_charged_back", failed.Failure.Code, fmt.Sprint(failed))
					require.Empty(t, refundsOf(s, c))
					return
				}
				s.AwaitRefund(r.ID, "succeeded")
				requireBack(t, s, c, 3990)
				s.AwaitClosed(run)
				nothingStuck(s)
			})
		})
	}
}

// Khipu says of a reversal only when it is asked.
func TestDispute_AReversalOfKhipusIsFoundByTheReconciliation(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := paid(t, s, "khipu")
	s.Sandbox.Dispute(c.Payment.ID, "lost")
	// Meanwhile a refund is asked for: it is refused, and nobody here knows why.
	r := s.Refund(c.ID, nil)
	s.AwaitRefund(r.ID, "needs_attention")
	waitsForAPerson(s, s.RefundRun(r.ID))
	reconcile(t, s, "khipu")
	s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "charged_back" })
	require.Equal(t, "charged_back", chargesOf(s, c)[0].Status)
	require.NotNil(t, s.Order(c.ID).Attention)
	require.Equal(t, "payment_charged_back", s.AwaitRefund(r.ID, "failed").Failure.Code)
	s.AwaitClosed(s.RefundRun(r.ID))
	require.Empty(t, refundsOf(s, c))
}
