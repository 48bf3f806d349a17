package sandbox

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEvents_ADroppedOneIsListedAndItsRequestCanBeDeliveredByHand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.faults("stripe", `{"drop_webhooks":true}`)
	b.session("PAY-1", 12990)
	require.Equal(t, 200, b.buyer("PAY-1", "approve").status)
	require.Eventually(t, func() bool {
		return b.own(http.MethodGet, "/deliveries/stripe", "").json["pending"] == 0.0
	}, 10*time.Second, 5*time.Millisecond)
	require.Empty(t, b.merchant.received())

	events := b.own(http.MethodGet, "/events/stripe", "").json["events"].([]any)
	require.NotEmpty(t, events)
	letter := b.own(http.MethodGet, "/events/stripe/"+events[0].(string), "").json
	require.Equal(t, "POST", letter["method"])
	require.Equal(t, b.merchant.url+"/webhook", letter["url"])
	require.Empty(t, b.merchant.received(), "showing it does not send it")
	body := letter["body"].(string)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, letter["url"].(string), bytes.NewBufferString(body))
	require.NoError(t, err)
	for name, values := range letter["header"].(map[string]any) {
		request.Header.Set(name, values.([]any)[0].(string))
	}
	res, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	news := b.merchant.received()
	require.Len(t, news, 1)
	require.Equal(t, events[0], news[0].event["id"])
	require.NotEmpty(t, news[0].header.Get("Stripe-Signature"))

	// Sending it again lists nothing new.
	b.faults("stripe", `{}`)
	require.Equal(t, 202, b.own(http.MethodPost, "/events/stripe/"+events[0].(string)+"/resend", "").status)
	require.Eventually(t, func() bool { return len(b.merchant.received()) == 2 }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, events, b.own(http.MethodGet, "/events/stripe", "").json["events"])

	require.Equal(t, 404, b.own(http.MethodGet, "/events/stripe/evt_none", "").status)
	require.Equal(t, 404, b.own(http.MethodGet, "/events/transbank", "").status)
}
