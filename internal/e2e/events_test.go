package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/feed"
	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// storefront is a server of the shop's that keeps what it is told and can prove.
type storefront struct {
	mu     sync.Mutex
	verify *standardwebhooks.Webhook
	down   bool
	told   map[string]feed.Event
}

func (f *storefront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil || f.down || f.verify == nil:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case f.verify.Verify(body, r.Header) != nil:
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var e feed.Event
	if json.Unmarshal(body, &e) == nil && e.ID == r.Header.Get("webhook-id") {
		f.told[e.Type] = e
	}
	w.WriteHeader(http.StatusNoContent)
}

func (f *storefront) set(down bool, verify *standardwebhooks.Webhook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.verify = down, verify
}

func (f *storefront) heard(types ...string) (saw string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range types {
		if _, there := f.told[t]; !there {
			return fmt.Sprintf("%v", f.told), false
		}
	}
	return "", true
}

// A storefront hears that an order was paid and given back, once after it was down,
// and finds the same in the stream.
func TestEvents_AStorefrontHearsOfItsOrdersAndReadsTheSame(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	front := &storefront{told: map[string]feed.Event{}}
	server := httptest.NewServer(front)
	defer server.Close()
	made := s.Call(tenant.Admin, http.MethodPost, "/v1/event-endpoints", map[string]any{"url": server.URL})
	require.Equal(t, http.StatusCreated, made.Status, "%s", made.Body)
	verify, err := standardwebhooks.NewWebhook(stacktest.Decode[struct {
		Secret string `json:"secret"`
	}](t, made).Secret)
	require.NoError(t, err)
	front.set(true, verify)

	c := s.Checkout("transbank")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	s.AwaitStatus(c.ID, "paid")
	path := made.Header.Get("Location")
	s.Eventually(func() (string, bool) {
		a := s.Call(tenant.Admin, http.MethodGet, path+"/deliveries", nil)
		list := stacktest.Decode[struct {
			Data []struct {
				Attempts []struct{ Status int } `json:"attempts"`
			} `json:"data"`
		}](t, a)
		return string(a.Body), len(list.Data) == 1 && len(list.Data[0].Attempts) > 0 && list.Data[0].Attempts[0].Status == 503
	})
	front.set(false, verify)
	s.Eventually(func() (string, bool) { return front.heard("order.paid") })
	refund := s.Refund(c.ID, nil)
	s.AwaitRefund(refund.ID, "succeeded")
	s.Eventually(func() (string, bool) { return front.heard("refund.succeeded") })

	page := stacktest.Decode[struct{ Data []feed.Event }](t, s.Call(tenant.Storefront, http.MethodGet, "/v1/events?subject="+c.ID, nil))
	require.Len(t, page.Data, 2)
	for i, typ := range []string{"order.paid", "refund.succeeded"} {
		require.Equal(t, front.told[typ], page.Data[i])
		require.Equal(t, c.ID, page.Data[i].Data["order_id"])
	}
	require.Equal(t, float64(c.Totals.Total), page.Data[0].Data["amount"])
	require.Equal(t, refund.ID, page.Data[1].Data["refund_id"])
}
