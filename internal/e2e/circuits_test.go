package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
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

func TestHint_ForgedOnesMakeUsAskOncePerMinute(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("flow"))
	require.Equal(t, 201, a.Status, "%s", a.Body)
	c := stacktest.Decode[stacktest.Checkout](t, a)
	begun := s.Sandbox.Calls("flow")
	form := url.Values{"token": {s.Reference(c.Payment.ID)}}.Encode()
	for range 20 {
		res, err := http.Post(stacktest.Shared(t).APIURL+"/webhooks/"+s.Tenant+"/flow", "application/x-www-form-urlencoded", strings.NewReader(form))
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, 200, res.StatusCode)
	}
	require.Eventually(t, func() bool { return s.Sandbox.Calls("flow") > begun }, 5*time.Second, 10*time.Millisecond, "the first is a reason to look")
	// Longer than the loop takes for other news, shorter than the first poll.
	require.Never(t, func() bool { return s.Sandbox.Calls("flow") > begun+1 }, 8*time.Second, 100*time.Millisecond)
	a = s.Call(tenant.Storefront, "GET", "/v1/checkouts/"+c.ID, nil)
	require.Equal(t, "awaiting_payment", stacktest.Decode[stacktest.Checkout](t, a).Status, "and changes nothing")
}
