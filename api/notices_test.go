package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

func TestNotices_AreListedWithoutAddresses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	support := as(b.keys[tenant.Support])
	a := b.do("GET", "/v1/notices?status=queued&order_id="+o["id"].(string), nil, support...)
	require.Equal(t, 200, a.status, a.body)
	data := a.json()["data"].([]any)
	require.Len(t, data, 1)
	n := data[0].(map[string]any)
	require.Equal(t, "order_paid", n["kind"])
	require.Equal(t, "email", n["channel"])
	require.Equal(t, o["id"], n["order_id"])
	require.NotContains(t, a.body, "@example")
	require.Empty(t, b.do("GET", "/v1/notices?status=failed", nil, support...).json()["data"])
	require.Equal(t, map[string]string{"status": "invalid", "order_id": "invalid"}, b.do("GET", "/v1/notices?status=lost&order_id=x", nil).fields())
	require.Equal(t, 403, b.do("GET", "/v1/notices", nil, as(b.keys[tenant.Storefront])...).status)

	resend := "/v1/notices/" + n["id"].(string) + "/resend"
	again := b.do("POST", resend, nil, support...)
	require.Equal(t, 409, again.status, again.body)
	require.Equal(t, "notice_not_failed", again.code())
	b.sql(`UPDATE notices SET status = 'failed', next_at = NULL, error = 'smtp_550_5.1.1', attempts = 7`)
	failed := b.do("GET", "/v1/notices?status=failed", nil, support...).json()["data"].([]any)[0].(map[string]any)
	require.Equal(t, "smtp_550_5.1.1", failed["error"])
	again = b.do("POST", resend, nil, support...)
	require.Equal(t, 200, again.status, again.body)
	require.Equal(t, "queued", again.json()["status"])
	require.Equal(t, 0., again.json()["attempts"])
	require.Equal(t, 403, b.do("POST", resend, nil, as(b.keys[tenant.Storefront])...).status)
	require.Equal(t, 404, b.do("POST", "/v1/notices/01ARZ3NDEKTSV4RRFFQ69G5FAV/resend", nil).status)
}

func TestNotices_PagesAreWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 3 {
		b.bought()
	}
	seen := map[string]bool{}
	for path := "/v1/notices?limit=2"; path != ""; {
		page := b.do("GET", path, nil).json()
		for _, n := range page["data"].([]any) {
			seen[n.(map[string]any)["id"].(string)] = true
		}
		path = ""
		if next, more := page["next_cursor"].(string); more {
			path = "/v1/notices?limit=2&cursor=" + next
		}
	}
	require.Len(t, seen, 3)
}

func TestTextProviders_KeepTheirCredentialsSecret(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const path = "/v1/text-providers/twilio/credentials"
	good := map[string]any{"account_sid": "AC0123", "auth_token": "s3cret-token", "sms_from": "+56912345678"}
	a := b.do("PUT", path, good)
	require.Equal(t, 200, a.status, a.body)
	require.NotContains(t, a.body, "s3cret")
	require.Equal(t, 0, value[int](b, `SELECT count(*) FROM provider_credentials WHERE encode(box, 'escape') LIKE '%s3cret%'`))
	require.Equal(t, map[string]string{"(body)": "invalid_credentials"}, b.do("PUT", path, map[string]any{"account_sid": "x"}).fields())
	require.Equal(t, 404, b.do("PUT", "/v1/text-providers/other/credentials", good).status)
	require.Equal(t, 403, b.do("PUT", path, good, as(b.keys[tenant.Support])...).status)
	require.Equal(t, 200, b.do("DELETE", path, nil).status)
	require.Equal(t, 404, b.do("DELETE", path, nil).status)
	require.NotContains(t, b.logs.String(), "s3cret")
}
