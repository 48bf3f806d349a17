package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// TestSecrets_AreInNoHistoryLogOrEvent walks a buyer's data and a shop's
// credentials past everything that writes them down. What all other tests have
// left behind is searched at the end of the package's run.
func TestSecrets_AreInNoHistoryLogOrEvent(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t, shortGrace)
	c := payByToken(t, s, "APRO")
	s.AwaitStatus(c.ID, "paid")
	payByToken(t, s, "FUND")

	// The provider quotes what it was told, and refuses everything.
	for _, p := range providers {
		s.Sandbox.Faults(p.name, map[string]any{"next": []any{map[string]any{"op": "*", "kind": "refuse", "count": 1, "message": "no, ana@example.cl (11.111.111-1)"}}})
		s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket(p.name))
	}
	// A storefront that sends a card's number, and one with a wrong key.
	card := stacktest.Basket("mercadopago", func(m map[string]any) {
		m["payment"] = map[string]any{"gateway": "mercadopago", "return_url": "https://shop.example/thanks", "token": stacktest.TestCard}
	})
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", card)
	require.Equal(t, 422, a.Status, "%s", a.Body)
	require.NotContains(t, string(a.Body), stacktest.TestCard)

	// Credentials that are changed while the shop works.
	for gateway, value := range s.Credentials() {
		a := s.Call(tenant.Admin, "PUT", "/v1/gateways/"+gateway+"/credentials", value)
		require.Equal(t, 204, a.Status, "%s", a.Body)
	}
	refund := s.Refund(c.ID, map[string]any{"method": "bank_transfer", "shipping_amount": 3990,
		"bank_account": map[string]any{"holder": "Ana Rojas", "rut": "11.111.111-1", "bank": "Banco de Chile", "type": "vista", "number": "99887766554", "email": "ana@example.cl"}})
	parked(s, s.RefundRun(refund.ID), "bank_transfer_due")
	require.NoError(t, s.Leaks(t.Context()))
	use(t, s, s.RefundRun(refund.ID), "resolve", map[string]any{"outcome": "succeeded", "reference": "transfer 4714"})
}
