package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

// money is a payment as support sees it.
type money struct {
	Status            string `json:"status"`
	Captured          int64  `json:"captured"`
	RefundedElsewhere int64  `json:"refunded_elsewhere"`
	Disputes          []struct {
		Status string `json:"status"`
	} `json:"disputes"`
}

func moneyOf(t *testing.T, s *stacktest.Shop, paymentID string) money {
	t.Helper()
	a := s.Call(tenant.Support, "GET", "/v1/payments/"+paymentID, nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	return stacktest.Decode[money](t, a)
}

func awaitMoney(t *testing.T, s *stacktest.Shop, paymentID, status string) (m money) {
	t.Helper()
	s.Eventually(func() (string, bool) {
		m = moneyOf(t, s, paymentID)
		return m.Status, m.Status == status
	})
	return m
}

// bought is an order whose run is over: what its provider tells from now on is
// looked after by a run of its own.
func bought(t *testing.T, s *stacktest.Shop, gateway string) stacktest.Checkout {
	t.Helper()
	c := s.Checkout(gateway)
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	c = s.AwaitStatus(c.ID, "paid")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return c
}

func lateRun(s *stacktest.Shop, c stacktest.Checkout) map[string]string {
	return map[string]string{"late-payment": s.WorkflowID(workflows.KindLatePayment, c.Payment.ID)}
}

func disputedAndWon(t *testing.T, s *stacktest.Shop) map[string]string {
	c := bought(t, s, "stripe")
	s.Sandbox.Dispute(c.Payment.ID, "open")
	awaitMoney(t, s, c.Payment.ID, "disputed")
	o := s.Order(c.ID)
	require.Equal(t, "disputed", *o.Attention)
	require.NotNil(t, o.Shipments[0].Frozen)
	named := 0
	for _, item := range s.Stuck() {
		if item.Kind == "dispute" && item.Subject == c.Payment.ID {
			named++
		}
	}
	require.Equal(t, 1, named, "support is told while there is time to answer")

	s.Sandbox.Dispute(c.Payment.ID, "won")
	awaitMoney(t, s, c.Payment.ID, "captured")
	o = s.Order(c.ID)
	require.Nil(t, o.Attention)
	require.Nil(t, o.Shipments[0].Frozen)
	requirePaid(t, s, c.ID)
	s.AwaitClosed(lateRun(s, c)["late-payment"])
	return lateRun(s, c)
}

func chargedBack(t *testing.T, s *stacktest.Shop) map[string]string {
	c := bought(t, s, "stripe")
	s.Sandbox.Dispute(c.Payment.ID, "open")
	awaitMoney(t, s, c.Payment.ID, "disputed")
	s.Sandbox.Dispute(c.Payment.ID, "lost")
	m := awaitMoney(t, s, c.Payment.ID, "charged_back")
	require.Equal(t, "lost", m.Disputes[0].Status)
	require.Equal(t, "charged_back", *s.Order(c.ID).Attention)
	require.Equal(t, "paid", s.Get(c.ID).Status)
	s.AwaitClosed(lateRun(s, c)["late-payment"])
	return lateRun(s, c)
}

func refundedInThePanel(t *testing.T, s *stacktest.Shop) map[string]string {
	c := bought(t, s, "stripe")
	s.Sandbox.PanelRefund("stripe", c.Payment.ID, 990)
	m := awaitMoney(t, s, c.Payment.ID, "partially_refunded")
	require.EqualValues(t, 990, m.RefundedElsewhere)
	require.Equal(t, "refunded_at_provider", *s.Order(c.ID).Attention)
	s.AwaitClosed(lateRun(s, c)["late-payment"])
	return lateRun(s, c)
}

func capturedLater(t *testing.T, s *stacktest.Shop) map[string]string {
	authorizesOnly(t, s)
	c := bought(t, s, "stripe")
	require.Equal(t, "authorized", c.Payment.Status)
	path := "/v1/payments/" + c.Payment.ID
	a := s.Call(tenant.Support, "POST", path+"/capture", map[string]any{"amount": c.Totals.Total - 1000})
	require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
	require.Equal(t, c.Totals.Total-1000, awaitMoney(t, s, c.Payment.ID, "captured").Captured)
	require.Equal(t, 200, s.Call(tenant.Support, "POST", path+"/capture", map[string]any{"amount": c.Totals.Total - 1000}).Status)
	require.Equal(t, 409, s.Call(tenant.Support, "POST", path+"/void", map[string]any{"reason": "fraud"}).Status)
	charges := chargesOf(s, c)
	require.Len(t, charges, 1)
	require.Equal(t, c.Totals.Total-1000, charges[0].Amount)
	run := s.WorkflowID(workflows.KindCapture, c.Payment.ID)
	s.AwaitClosed(run)
	return map[string]string{"capture": run}
}

func authorizationVoided(t *testing.T, s *stacktest.Shop) map[string]string {
	authorizesOnly(t, s)
	c := bought(t, s, "stripe")
	// The answer is lost, and the gateway is asked before anything is tried again.
	s.Sandbox.Next("stripe", "cancel_intent", "cut_after", 1)
	a := s.Call(tenant.Support, "POST", "/v1/payments/"+c.Payment.ID+"/void", map[string]any{"reason": "fraud"})
	require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
	awaitMoney(t, s, c.Payment.ID, "cancelled")
	require.Equal(t, "authorization_voided", *s.Order(c.ID).Attention)
	charges := chargesOf(s, c)
	require.Len(t, charges, 1)
	require.Equal(t, "voided", charges[0].Status)
	run := s.WorkflowID(workflows.KindCapture, c.Payment.ID)
	s.AwaitClosed(run)
	return map[string]string{"capture": run}
}
