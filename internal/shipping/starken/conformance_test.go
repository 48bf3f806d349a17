package starken_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/conformance"
	"justlogistics/internal/shipping/starken"
)

func TestCarrier_Conforms(t *testing.T) {
	t.Parallel()
	account := func(token string) func(*testing.T, string) shipping.Carrier {
		return func(t *testing.T, base string) shipping.Carrier {
			c, err := starken.New(starken.Config{BaseURL: base, Token: token, RUT: "76192083-9", OriginAgency: 1411, CurrentAccount: "41966-8"}, httpclient.New(httpclient.Options{}))
			require.NoError(t, err)
			return c
		}
	}
	conformance.Run(t, conformance.Carrier{
		Name: shipping.Starken, New: account("sandbox-bearer-demo"), NewRefused: account("wrong"),
		Operations: conformance.Operations{Quote: "quote", Points: "agencies", Book: "issue", Lookup: "lookup", Label: "label", Track: "track"},
		States: map[string]shipping.State{
			"in_transit": shipping.InTransit, "delivered": shipping.Delivered, "returned_to_sender": shipping.Returned,
			// Words for these stand in no list.
			"handed_over": shipping.Unmapped, "out_for_delivery": shipping.Unmapped, "delivery_failed": shipping.Unmapped, "lost": shipping.Unmapped,
		},
		AnnouncesNothing: true,
	})
}
