package chilexpress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/chilexpress"
	"justlogistics/internal/shipping/conformance"
)

func TestCarrier_Conforms(t *testing.T) {
	t.Parallel()
	account := func(cfg chilexpress.Config) func(*testing.T, string) shipping.Carrier {
		return func(t *testing.T, base string) shipping.Carrier {
			cfg := cfg
			cfg.BaseURL = base
			c, err := chilexpress.New(cfg, httpclient.New(httpclient.Options{}))
			require.NoError(t, err)
			return c
		}
	}
	wrong := demo
	// Keys of the wrong product are as bad as none.
	wrong.CoverageKey, wrong.RatingKey, wrong.ShippingKey = demo.RatingKey, demo.ShippingKey, demo.CoverageKey
	conformance.Run(t, conformance.Carrier{
		Name: shipping.Chilexpress, New: account(demo), NewRefused: account(wrong),
		Operations: conformance.Operations{
			Quote: "rate", Points: "offices", Book: "create_order", Lookup: "lookup", Label: "label", Track: "track",
		},
		States: map[string]shipping.State{
			"handed_over": shipping.InTransit, "in_transit": shipping.InTransit, "out_for_delivery": shipping.OutForDelivery,
			"delivered": shipping.Delivered, "returned_to_sender": shipping.Returned, "lost": shipping.Lost,
			// No word for it is known.
			"delivery_failed": shipping.Unmapped,
		},
	})
}

// demo is the sandbox's account; the numbers of its contract are those of
// Chilexpress's published test data.
var demo = chilexpress.Config{
	CoverageKey: "sandbox-coverage-demo", RatingKey: "sandbox-rating-demo", ShippingKey: "sandbox-shipping-demo", Card: "18578680", RUT: "96756430-3",
}
