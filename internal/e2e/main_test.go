// Package e2e_test drives the whole product as storefronts, buyers, warehouses
// and support do, on good days and on bad ones. Each test looks at both sides:
// what the API says, and what the providers' ledger says.
package e2e_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
)

func TestMain(m *testing.M) { os.Exit(stacktest.Main(m)) }

// requirePaid waits until a checkout is paid and demands one charge of the whole total at the provider, one applied
// payment, and an order.
func requirePaid(t *testing.T, s *stacktest.Shop, checkoutID string) stacktest.Checkout {
	t.Helper()
	c := s.AwaitStatus(checkoutID, "paid")
	require.NotNil(t, c.OrderID)
	require.Equal(t, c.ID, *c.OrderID)
	require.Equal(t, "paid", s.Order(c.ID).Status)
	applied := 0
	for _, p := range c.Payments {
		if p.Applied {
			applied++
			require.Equal(t, "captured", p.Status)
			require.Equal(t, c.Totals.Total, p.Captured)
		}
	}
	require.Equal(t, 1, applied, "applied payments")
	charges := chargesOf(s, c)
	require.Len(t, charges, 1)
	require.Equal(t, c.Totals.Total, charges[0].Amount)
	require.Equal(t, "captured", charges[0].Status)
	require.Empty(t, refundsOf(s, c))
	return c
}

// requireUncharged demands that no money was taken for a checkout.
func requireUncharged(t *testing.T, s *stacktest.Shop, c stacktest.Checkout) {
	t.Helper()
	require.Empty(t, chargesOf(s, c))
	require.Empty(t, refundsOf(s, c))
}

func chargesOf(s *stacktest.Shop, c stacktest.Checkout) []stacktest.Entry {
	return of(c, s.Sandbox.Ledger().Charges)
}

func refundsOf(s *stacktest.Shop, c stacktest.Checkout) []stacktest.Entry {
	return of(c, s.Sandbox.Ledger().Refunds)
}

func of(c stacktest.Checkout, entries []stacktest.Entry) (out []stacktest.Entry) {
	for _, e := range entries {
		if c.Attempt(e.PaymentID).ID != "" {
			out = append(out, e)
		}
	}
	return out
}
