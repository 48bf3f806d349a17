package correos_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/conformance"
	"justlogistics/internal/shipping/correos"
)

func TestCarrier_Conforms(t *testing.T) {
	t.Parallel()
	account := func(cfg correos.Config) func(*testing.T, string) shipping.Carrier {
		return func(t *testing.T, base string) shipping.Carrier {
			cfg := cfg
			cfg.BaseURL = base
			c, err := correos.New(cfg, httpclient.New(httpclient.Options{}))
			require.NoError(t, err)
			return c
		}
	}
	suite := conformance.Carrier{
		Name:       shipping.Correos,
		Operations: conformance.Operations{Quote: "rate", Book: "admit", Lookup: "track", Void: "void", Track: "track"},
		States: map[string]shipping.State{
			"handed_over": shipping.InTransit, "in_transit": shipping.InTransit, "delivered": shipping.Delivered, "delivery_failed": shipping.DeliveryFailed,
			// Its code is one of those on the way, and a return is told by its number.
			"out_for_delivery": shipping.InTransit, "returned_to_sender": shipping.Returning,
			// No code for it is known.
			"lost": shipping.Unmapped,
		},
		ByCode: true, AnnouncesNothing: true,
	}
	t.Run("with a token", func(t *testing.T) {
		t.Parallel()
		row := suite
		row.New = account(correos.Config{Token: "sandbox-token-demo", ClientCode: "sap-demo"})
		row.NewRefused = account(correos.Config{Token: "wrong", ClientCode: "sap-demo"})
		conformance.Run(t, row)
	})
	t.Run("with user and password", func(t *testing.T) {
		t.Parallel()
		row := suite
		row.New = account(correos.Config{User: "sandbox-user-demo", Password: "sandbox-secret-demo", ClientCode: "sap-demo"})
		row.NewRefused = account(correos.Config{User: "sandbox-user-demo", Password: "wrong", ClientCode: "sap-demo"})
		conformance.Run(t, row)
	})
}
