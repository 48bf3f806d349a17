package bluexpress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/bluexpress"
	"justlogistics/internal/shipping/conformance"
)

func TestCarrier_Conforms(t *testing.T) {
	t.Parallel()
	account := func(cfg bluexpress.Config) func(*testing.T, string) shipping.Carrier {
		return func(t *testing.T, base string) shipping.Carrier {
			cfg := cfg
			cfg.BaseURL = base
			c, err := bluexpress.New(cfg, httpclient.New(httpclient.Options{}))
			require.NoError(t, err)
			return c
		}
	}
	demo := bluexpress.Config{
		ClientID: "sandbox-client-demo", ClientSecret: "sandbox-secret-demo", APIKey: "sandbox-key-demo",
		Token: "sandbox-token-demo", UserCode: "sandbox-user-demo", Account: "account-demo",
	}
	suite := conformance.Carrier{
		Name: shipping.BlueExpress, New: account(demo),
		Operations: conformance.Operations{Quote: "price", Book: "emit", Lookup: "lookup", Label: "label", Track: "track"},
		States: map[string]shipping.State{
			"handed_over": shipping.InTransit, "in_transit": shipping.InTransit, "out_for_delivery": shipping.OutForDelivery,
			"delivered": shipping.Delivered, "delivery_failed": shipping.DeliveryFailed, "returned_to_sender": shipping.Returned,
			// No code for it is known.
			"lost": shipping.Unmapped,
		},
		ByCode: true,
	}
	t.Run("a secret that is wrong", func(t *testing.T) {
		t.Parallel()
		wrong, row := demo, suite
		wrong.ClientSecret = "wrong"
		row.NewRefused = account(wrong)
		conformance.Run(t, row)
	})
	t.Run("a key that is not enabled", func(t *testing.T) {
		t.Parallel()
		wrong, row := demo, suite
		wrong.APIKey = "wrong"
		row.NewRefused = account(wrong)
		conformance.Run(t, row)
	})
}
