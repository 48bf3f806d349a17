package khipu_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/conformance"
	"justlogistics/internal/payment/khipu"
)

func TestGateway_Conforms(t *testing.T) {
	t.Parallel()
	account := func(cfg khipu.Config) func(*testing.T, string) payment.Gateway {
		return func(t *testing.T, base string) payment.Gateway {
			cfg := cfg
			cfg.BaseURL = base
			g, err := khipu.New(cfg, httpclient.New(httpclient.Options{}))
			require.NoError(t, err)
			return g
		}
	}
	demo := khipu.Config{APIKey: "sandbox-key-demo", Secret: "sandbox-secret-demo", ReceiverID: demoReceiver}
	provider := conformance.Provider{
		Name:       payment.Khipu,
		New:        account(demo),
		NewRefused: account(khipu.Config{APIKey: "wrong", Secret: "sandbox-secret-demo"}),
		Account:    demoReceiver,
		Operations: conformance.Operations{
			Begin: "create_payment", Settle: "get_payment", Lookup: "get_payment", Close: "delete_payment",
			Refund: "refund_payment", LookupRefund: "get_payment",
		},
		DeclineEnds: true, NoCards: true, NeverStale: true, TellsLostOnly: true,
		Signs: conformance.Signs{Headers: []string{"X-Khipu-Signature"}, Body: true},
		// The suite expects an approval when the buyer comes back, and lets
		// refunds through itself; the waiting has a test of its own.
		Settings: map[string]any{"verifying_ms": 0, "refund_ms": 3_600_000},
	}
	t.Run("refunds of money not paid out", func(t *testing.T) {
		t.Parallel()
		conformance.Run(t, provider)
	})
	t.Run("refunds from the wallet", func(t *testing.T) {
		t.Parallel()
		rich, other := demo, provider
		rich.RefundWallet = true
		other.New, other.Operations.Refund = account(rich), "create_refund"
		conformance.Run(t, other)
	})
}

// demoReceiver is the sandbox's account of sandbox-key-demo.
const demoReceiver = "479651"
