package transbank_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/conformance"
	"justlogistics/internal/payment/transbank"
)

func TestGateway_Conforms(t *testing.T) {
	t.Parallel()
	account := func(cfg transbank.Config) func(*testing.T, string) payment.Gateway {
		return func(t *testing.T, base string) payment.Gateway {
			cfg := cfg
			cfg.BaseURL = base
			g, err := transbank.New(cfg, httpclient.New(httpclient.Options{}))
			require.NoError(t, err)
			return g
		}
	}
	conformance.Run(t, conformance.Provider{
		Name:        payment.Transbank,
		New:         account(transbank.Config{CommerceCode: integrationCode, APIKey: integrationKey}),
		NewRefused:  account(transbank.Config{CommerceCode: integrationCode, APIKey: "wrong"}),
		NewDeferred: account(transbank.Config{CommerceCode: "597055555540", APIKey: integrationKey, Capture: "manual"}),
		Account:     integrationCode,
		Operations: conformance.Operations{
			Begin: "create", Settle: "commit", Lookup: "status", Refund: "refund", LookupRefund: "status", Capture: "capture", Cancel: "refund",
		},
		DeclineEnds: true, AbortEnds: true, FormErrors: true,
	})
}
