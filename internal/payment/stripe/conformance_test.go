package stripe_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/conformance"
	"justlogistics/internal/payment/stripe"
)

func TestGateway_Conforms(t *testing.T) {
	t.Parallel()
	account := func(cfg stripe.Config) func(*testing.T, string) payment.Gateway {
		return func(t *testing.T, base string) payment.Gateway {
			cfg := cfg
			cfg.BaseURL = base
			g, err := stripe.New(cfg, httpclient.New(httpclient.Options{}))
			require.NoError(t, err)
			return g
		}
	}
	conformance.Run(t, conformance.Provider{
		Name:        payment.Stripe,
		New:         account(stripe.Config{SecretKey: secretKey, WebhookSecret: "whsec_sandbox_demo"}),
		NewRefused:  account(stripe.Config{SecretKey: "sk_live_refused", WebhookSecret: "whsec_sandbox_demo"}),
		NewDeferred: account(stripe.Config{SecretKey: secretKey, WebhookSecret: "whsec_sandbox_demo", Capture: "manual"}),
		Account:     "acct_sandbox_demo",
		Operations: conformance.Operations{
			Begin: "create_session", Settle: "get_session", Lookup: "get_session", Close: "expire_session",
			Refund: "create_refund", LookupRefund: "list_refunds", Capture: "capture_intent", Cancel: "cancel_intent",
		},
		RefundsAreIdempotent: true, RefundsCanFailLater: true,
		Signs: conformance.Signs{Headers: []string{"Stripe-Signature"}, Body: true},
	})
}
