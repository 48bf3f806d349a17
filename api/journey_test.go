package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

// courierSecret is what the shop's own courier signs with.
const courierSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// underWay is a shipment that a courier whom somebody called carries as MOTO-77.
func (b *bundle) underWay() (orderID, path string) {
	b.t.Helper()
	orderID, path = b.picked()
	for _, step := range []struct {
		name string
		body any
	}{{"pack", parcel}, {"label", map[string]any{"carrier": "manual", "tracking": []string{"MOTO-77"}}}, {"handover", nil}} {
		a := b.do("POST", path+"/"+step.name, step.body, b.ana()...)
		require.Equal(b.t, 200, a.status, a.body)
	}
	return orderID, path
}

// courier sends what a courier says, signed at a moment with a secret.
func (b *bundle) courier(body, secret string, at time.Time) answer {
	b.t.Helper()
	w, err := webhooks.NewWebhook(secret)
	require.NoError(b.t, err)
	signature, err := w.Sign("msg_1", at, []byte(body))
	require.NoError(b.t, err)
	return b.do("POST", "/webhooks/"+shop+"/manual", body, "Authorization", "", "webhook-id", "msg_1", "webhook-timestamp", fmt.Sprint(at.Unix()), "webhook-signature", signature)
}

func TestCourier_IsBelievedWhenItSigns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, path := b.underWay()
	news := `{"tracking":"MOTO-77","status":"out_for_delivery","note":"van 3"}`
	require.Equal(t, 404, b.courier(news, courierSecret, time.Now()).status, "there is no secret yet")
	require.Equal(t, 422, b.do("PUT", "/v1/carriers/manual/credentials", map[string]any{"webhook_secret": "short"}).status)
	require.Equal(t, 200, b.do("PUT", "/v1/carriers/manual/credentials", map[string]any{"webhook_secret": courierSecret}).status)
	require.Equal(t, "bad_signature", b.courier(news, "whsec_"+strings.Repeat("A", 32), time.Now()).code())
	require.Equal(t, "bad_signature", b.courier(news, courierSecret, time.Now().Add(-time.Hour)).code(), "too old")
	require.Equal(t, "bad_signature", b.do("POST", "/webhooks/"+shop+"/manual", news, "Authorization", "").code())
	require.Equal(t, "handed_over", b.do("GET", path, nil).json()["status"])
	for range 2 {
		require.Equal(t, 200, b.courier(news, courierSecret, time.Now()).status)
	}
	require.Equal(t, "out_for_delivery", b.do("GET", path, nil).json()["status"])
	require.Equal(t, 200, b.courier(`{"tracking":"MOTO-77","status":"delivered"}`, courierSecret, time.Now()).status)
	require.Equal(t, 200, b.courier(news, courierSecret, time.Now()).status, "too late: taken, and without effect")
	require.Equal(t, 200, b.courier(`{"tracking":"nobody's","status":"lost"}`, courierSecret, time.Now()).status)
	require.Equal(t, 422, b.courier(`{"tracking":"MOTO-77","status":"eaten"}`, courierSecret, time.Now()).status)
	require.Equal(t, 400, b.courier(`{`, courierSecret, time.Now()).status)
	require.Equal(t, "delivered", b.do("GET", path, nil).json()["status"])
	require.Equal(t, 1, value[int](b, `SELECT count(*)::int FROM events WHERE kind = 'out_for_delivery'`))
}

func TestJourney_TellsWhereAndNotWho(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, path := b.underWay()
	s := b.do("GET", path, nil).json()
	key := s["tracking_key"].(string)
	b.sql(`INSERT INTO tracking_events (tenant, parcel_id, digest, at, state, code, words, place) SELECT tenant, id, 'a', now(), 'in_transit', '', '<b>Salió</b> de la sucursal', 'Quilicura' FROM parcels`)
	b.sql(`INSERT INTO tracking_events (tenant, parcel_id, digest, at, state, code, words, place) SELECT tenant, id, 'b', NULL, '', '77', 'Algo <i>raro</i>', '' FROM parcels`)
	at := "/track/" + shop + "/" + key
	page := b.do("GET", at, nil, "Authorization", "", "Accept", "text/html")
	require.Equal(t, 200, page.status, page.body)
	for _, text := range []string{"Tu pedido va en camino", "MOTO-77", "Quilicura", "En camino", "Algo &lt;i&gt;raro", s["number"].(string)} {
		require.Contains(t, page.body, text)
	}
	for _, private := range []string{"Ana", "ana@", "Providencia", "5696", "<i>"} {
		require.NotContains(t, page.body, private)
	}
	require.Contains(t, page.header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Contains(t, b.do("GET", at+"?lang=en", nil, "Accept", "text/html").body, "Your order is on its way")
	data := b.do("GET", at, nil, "Authorization", "", "Accept", "application/json")
	require.Equal(t, "handed_over", data.json()["status"])
	require.Len(t, data.json()["events"], 2)
	require.Len(t, b.do("GET", path+"/tracking", nil).json()["data"], 2)
	require.Equal(t, 404, b.do("GET", path+"/tracking", nil, as(b.otherKey)...).status)
	for _, wrong := range []string{"/track/" + shop + "/" + strings.Repeat("0", 36), "/track/" + shop + "/00000000-0000-0000-0000-000000000000", "/track/nobody/" + key, "/track/No-Tenant/" + key} {
		require.Equal(t, http.StatusNotFound, b.do("GET", wrong, nil, "Authorization", "").status, wrong)
	}
}

func TestCarrierNews_AreOnlyARequestToLook(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, path := b.underWay()
	b.sql(`UPDATE shipments SET carrier = 'bluexpress'`)
	b.sql(`UPDATE parcels SET track_at = now() + interval '1 hour'`)
	send := func() int {
		return b.do("POST", "/webhooks/"+shop+"/bluexpress", `{"os":"MOTO-77","fields":{"status":"DELIVERED"}}`, "Authorization", "").status
	}
	require.Equal(t, 404, send(), "the shop has no account there")
	b.carriers()
	require.Equal(t, 200, send())
	due := `SELECT count(*)::int FROM parcels WHERE track_at <= now()`
	require.Equal(t, 1, value[int](b, due))
	require.Equal(t, "handed_over", b.do("GET", path, nil).json()["status"], "nothing that it says is believed")
	b.sql(`UPDATE parcels SET track_at = now() + interval '1 hour'`)
	require.Equal(t, 200, send())
	require.Equal(t, 0, value[int](b, due), "once a minute")
}

func TestOrders_AreCancelledWhileNothingHasLeft(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	path := "/v1/orders/" + o["id"].(string)
	require.Equal(t, 403, b.do("POST", path+"/cancel", nil, as(b.keys[tenant.Storefront])...).status)
	require.Equal(t, 404, b.do("POST", path+"/cancel", nil, as(b.otherKey)...).status)
	require.Equal(t, map[string]string{"reason": "too_long"}, b.do("POST", path+"/cancel", map[string]any{"reason": strings.Repeat("x", 401)}).fields())
	a := b.do("POST", path+"/cancel", map[string]any{"reason": "changed her mind"}, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "cancelled", a.json()["status"])
	require.Len(t, a.json()["refunds"], 1)
	require.Len(t, b.do("POST", path+"/cancel", nil).json()["refunds"], 1, "once")
	require.Equal(t, 1, value[int](b, `SELECT count(*)::int FROM notices WHERE kind = 'order_cancelled'`))
	require.Equal(t, 1, value[int](b, `SELECT count(*)::int FROM wakes WHERE kind = 'refund'`))
}

func TestOrders_OfWhichSomethingHasLeftAreNotCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	orderID, _ := b.underWay()
	a := b.do("POST", "/v1/orders/"+orderID+"/cancel", nil)
	require.Equal(t, "already_shipped", a.code(), a.body)
	require.Len(t, a.json()["shipments"], 1)
	require.Equal(t, "shipped", b.do("GET", "/v1/orders/"+orderID, nil).json()["status"])
}
