package e2e_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// circuit is what the API says of a gateway's circuit.
func circuit(t *testing.T, s *stacktest.Shop, gateway string) string {
	t.Helper()
	a := s.Call(tenant.Storefront, "GET", "/v1/gateways", nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	for _, g := range stacktest.Decode[struct {
		Data []struct {
			Gateway string `json:"gateway"`
			Circuit struct {
				State string `json:"state"`
			} `json:"circuit"`
		} `json:"data"`
	}](t, a).Data {
		if g.Gateway == gateway {
			return g.Circuit.State
		}
	}
	return ""
}

func TestCircuit_OpensInAnOutageAndClosesByItself(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	auto := func() string {
		t.Helper()
		a := s.Call(tenant.Admin, "POST", "/v1/checkouts", stacktest.Basket("auto"))
		require.Equal(t, 201, a.Status, "with auto no checkout fails: %s", a.Body)
		c := stacktest.Decode[stacktest.Checkout](t, a)
		require.Equal(t, 200, s.Call(tenant.Admin, "POST", "/v1/checkouts/"+c.ID+"/cancel", nil).Status)
		return c.Payment.Gateway
	}
	require.Equal(t, "transbank", auto())
	s.Sandbox.Faults("transbank", map[string]any{"outage": true})
	require.Eventually(t, func() bool {
		require.NotEqual(t, "transbank", auto())
		return circuit(t, s, "transbank") == "open"
	}, time.Minute, 10*time.Millisecond)
	s.Sandbox.Faults("transbank", map[string]any{})
	require.Eventually(t, func() bool { return auto() == "transbank" }, time.Minute, 500*time.Millisecond)
	require.Eventually(t, func() bool { return circuit(t, s, "transbank") == "closed" }, 10*time.Second, 50*time.Millisecond)

	a := s.Call(tenant.Support, "GET", "/v1/gateways/transbank/events", nil)
	require.Equal(t, 200, a.Status)
	var kinds []string
	for _, e := range stacktest.Decode[struct {
		Data []struct {
			Kind string `json:"kind"`
		} `json:"data"`
	}](t, a).Data {
		kinds = append(kinds, e.Kind)
	}
	require.Equal(t, "circuit_closed", kinds[0])
	require.Equal(t, "circuit_opened", kinds[len(kinds)-1])
}
