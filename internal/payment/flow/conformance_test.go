package flow_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/conformance"
	"justlogistics/internal/payment/flow"
)

func TestGateway_Conforms(t *testing.T) {
	t.Parallel()
	account := func(cfg flow.Config) func(*testing.T, string) payment.Gateway {
		return func(t *testing.T, base string) payment.Gateway {
			cfg := cfg
			cfg.BaseURL = base
			g, err := flow.New(cfg, httpclient.New(httpclient.Options{}))
			require.NoError(t, err)
			return g
		}
	}
	conformance.Run(t, conformance.Provider{
		Name:       payment.Flow,
		New:        account(flow.Config{APIKey: "sandbox-key-demo", SecretKey: "sandbox-secret-demo"}),
		NewRefused: account(flow.Config{APIKey: "sandbox-key-demo", SecretKey: "wrong"}),
		Operations: conformance.Operations{
			Begin: "create", Settle: "status", Lookup: "status", Refund: "refund", LookupRefund: "refund_status",
		},
		DeclineEnds:     true,
		OneReturn:       true,
		RefundsUntraced: true,
		RefundsUntold:   true,
		EventIDsDiffer:  true,
	})
}
