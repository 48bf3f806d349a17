package api_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/feed"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// happened writes entries into a checkout's timeline and publishes them.
func (b *bundle) happened(subject string, kinds ...string) {
	b.t.Helper()
	ctx := b.t.Context()
	require.NoError(b.t, b.db.InTenant(ctx, shop, func(tx pgx.Tx) error {
		for _, k := range kinds {
			if err := timeline.Add(ctx, tx, shop, subject, k, "system", map[string]any{"reason": "Ana Rojas", "refund_id": subject, "amount": 12}); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(b.t, b.db.AsSystem(ctx, func(tx pgx.Tx) error {
		_, err := feed.Publish(ctx, tx, shop)
		return err
	}))
}

func typesOf(a answer) (out []string) {
	list, _ := a.json()["data"].([]any)
	for _, e := range list {
		out = append(out, e.(map[string]any)["type"].(string))
	}
	return out
}

func TestEvents_AreFollowedFromTheOldestOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := as(b.keys[tenant.Storefront])
	empty := b.do("GET", "/v1/events", nil, key...)
	require.Equal(t, 200, empty.status)
	require.Nil(t, empty.json()["after"])

	c, _ := b.checkout()["id"].(string)
	b.happened(c, "refund_succeeded", "stock_held", "refund_failed", "expired")
	first := b.do("GET", "/v1/events?limit=2", nil, key...)
	require.Equal(t, []string{"refund.succeeded", "refund.failed"}, typesOf(first))
	require.Equal(t, true, first.json()["more"])
	require.NotContains(t, first.body, "Ana Rojas")
	require.Contains(t, first.body, `"currency":"CLP"`)
	second := b.do("GET", "/v1/events?limit=2&after="+first.json()["after"].(string), nil, key...)
	require.Equal(t, []string{"checkout.expired"}, typesOf(second))
	require.Equal(t, false, second.json()["more"])
	after := second.json()["after"].(string)
	require.Empty(t, typesOf(b.do("GET", "/v1/events?after="+after, nil, key...)))
	b.happened(c, "cancelled")
	require.Equal(t, []string{"checkout.cancelled"}, typesOf(b.do("GET", "/v1/events?after="+after, nil, key...)))
	require.Equal(t, []string{"checkout.expired", "refund.failed"}, sorted(typesOf(b.do("GET", "/v1/events?types=refund.failed,checkout.expired&subject="+c, nil, key...))))

	require.Empty(t, typesOf(b.do("GET", "/v1/events", nil, as(b.otherKey)...)), "another tenant's are not seen")
	require.Equal(t, "unknown_event", b.do("GET", "/v1/events?after="+after, nil, as(b.otherKey)...).code())
	require.Equal(t, 403, b.do("GET", "/v1/events", nil, as(b.keys[tenant.Warehouse])...).status)
	bad := b.do("GET", "/v1/events?after=x&types=order.lost&subject=y&limit=0", nil, key...)
	require.Equal(t, map[string]string{"after": "invalid", "types": "unknown_type", "subject": "invalid", "limit": "out_of_range"}, bad.fields())
}

func sorted(list []string) []string {
	if len(list) == 2 && list[0] > list[1] {
		list[0], list[1] = list[1], list[0]
	}
	return list
}

func TestEventEndpoints_AreMadeChangedAndDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.do("POST", "/v1/event-endpoints", map[string]any{"url": "https://hooks.shop.example/x", "types": []string{"order.paid"}, "description": "ERP"})
	require.Equal(t, 201, made.status, made.body)
	path := made.header.Get("Location")
	require.True(t, strings.HasPrefix(made.json()["secret"].(string), "whsec_"))
	shown := b.do("GET", path, nil)
	require.NotContains(t, shown.body, "whsec_")
	require.NotContains(t, b.do("GET", "/v1/event-endpoints", nil).body, "whsec_")

	changed := b.do("PATCH", path, map[string]any{"types": []string{}, "active": false})
	require.Equal(t, "disabled", changed.json()["status"])
	require.Equal(t, "switched", changed.json()["disabled_reason"])
	require.Equal(t, "https://hooks.shop.example/x", changed.json()["url"])
	for _, path := range []string{path + "/test", path + "/resend"} {
		var body any
		if strings.HasSuffix(path, "resend") {
			body = map[string]any{"since": value[string](b, `SELECT to_char(now() - interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`)}
		}
		require.Equal(t, "endpoint_disabled", b.do("POST", path, body).code())
	}
	require.Equal(t, "active", b.do("PATCH", path, map[string]any{"active": true}).json()["status"])

	test := b.do("POST", path+"/test", nil)
	require.Equal(t, 202, test.status, test.body)
	c, _ := b.checkout()["id"].(string)
	b.happened(c, "expired", "refund_failed")
	listed := b.do("GET", path+"/deliveries?limit=2", nil)
	require.Len(t, listed.json()["data"], 2)
	rest := b.do("GET", path+"/deliveries?limit=2&status=pending&cursor="+listed.json()["next_cursor"].(string), nil)
	require.Equal(t, []string{"endpoint.test"}, typesOf(rest))
	require.Equal(t, test.json()["event_id"], rest.json()["data"].([]any)[0].(map[string]any)["event_id"])

	b.sql(`UPDATE event_deliveries SET status = 'given_up', ended_at = now(), next_try_at = NULL`)
	again := b.do("POST", path+"/resend", map[string]any{"since": "2026-01-01T00:00:00Z"})
	require.Equal(t, map[string]string{"since": "out_of_range"}, again.fields())
	again = b.do("POST", path+"/resend", map[string]any{"since": value[string](b, `SELECT to_char(now() - interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`)})
	require.EqualValues(t, 2, again.json()["events"], again.body)
	require.Equal(t, 404, b.do("POST", path+"/resend", map[string]any{"event_id": "01JCQZ5Y3N8W2K4T6V7X9ABCDE"}).status)
	require.Equal(t, map[string]string{"since": "invalid"}, b.do("POST", path+"/resend", map[string]any{}).fields())

	for _, call := range [][2]string{{"GET", path}, {"PATCH", path}, {"DELETE", path}, {"POST", path + "/test"}, {"POST", path + "/rotate-secret"}, {"GET", path + "/deliveries"}} {
		var body any
		if call[0] == "PATCH" {
			body = map[string]any{"active": false}
		}
		require.Equal(t, 404, b.do(call[0], call[1], body, as(b.otherKey)...).status, call)
		require.Equal(t, 403, b.do(call[0], call[1], body, as(b.keys[tenant.Support])...).status, call)
	}
	require.Equal(t, 204, b.do("DELETE", path, nil).status)
	require.Equal(t, 404, b.do("GET", path, nil).status)
	require.Zero(t, value[int](b, `SELECT count(*) FROM event_deliveries`))
}

func TestEventEndpoints_RefuseWhatIsNotOnThePublicInternet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, url := range []string{"http://shop.example/x", "https://127.0.0.1/x", "https://localhost/x", "https://[::ffff:10.0.0.1]/x", "https://a:b@shop.example/", "https://shop.example/#x", "ftp://shop.example", "x"} {
		a := b.do("POST", "/v1/event-endpoints", map[string]any{"url": url})
		require.Equal(t, map[string]string{"url": "invalid_url"}, a.fields(), url)
	}
	a := b.do("POST", "/v1/event-endpoints", map[string]any{"types": []string{"order.paid", "order.paid"}, "description": strings.Repeat("x", 201)})
	require.Equal(t, map[string]string{"url": "required", "types": "duplicate", "description": "too_long"}, a.fields())
	for range 20 {
		require.Equal(t, 201, b.do("POST", "/v1/event-endpoints", map[string]any{"url": "https://shop.example/x"}).status)
	}
	require.Equal(t, "too_many_endpoints", b.do("POST", "/v1/event-endpoints", map[string]any{"url": "https://shop.example/x"}).code())
}

func TestEventEndpoints_SecretsAreToldAgainUnderTheirIdempotencyKeyAndKeptEncrypted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := map[string]any{"url": "https://shop.example/x"}
	made := b.do("POST", "/v1/event-endpoints", in, "Idempotency-Key", "k1")
	again := b.do("POST", "/v1/event-endpoints", in, "Idempotency-Key", "k1")
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, made.body, again.body)
	path := made.header.Get("Location")
	rotated := b.do("POST", path+"/rotate-secret", nil, "Idempotency-Key", "k2")
	require.Equal(t, 200, rotated.status, rotated.body)
	require.NotEqual(t, made.json()["secret"], rotated.json()["secret"])
	require.NotNil(t, rotated.json()["old_secret_until"])
	require.Zero(t, value[int](b, `SELECT count(*) FROM idempotency_keys WHERE position('whsec_'::bytea IN body) > 0`))
	// A process that died after the change and before its answer.
	b.sql(`UPDATE idempotency_keys SET status = NULL, body = NULL, lease_until = now() - interval '1 second'`)
	require.Equal(t, rotated.json()["secret"], b.do("POST", path+"/rotate-secret", nil, "Idempotency-Key", "k2").json()["secret"])
	require.Equal(t, rotated.json()["secret"], b.do("POST", "/v1/event-endpoints", in, "Idempotency-Key", "k1").json()["secret"])
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM event_endpoints`))
}
