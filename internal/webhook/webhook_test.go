package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/feed"
	"justlogistics/internal/id"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/timeline"
	"justlogistics/internal/webhook"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

type bundle struct {
	*shoptest.Shop
	t       *testing.T
	ring    *secretbox.Keyring
	sender  *webhook.Sender
	subject string
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{Shop: shoptest.New(t), t: t}
	var err error
	b.ring, err = secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	b.sender = webhook.NewSender(b.ring, true)
	b.subject = b.checkout(shoptest.Tenant)
	return b
}

func (b *bundle) checkout(tenant string) string {
	checkoutID := id.New()
	b.Exec(b.t, `INSERT INTO checkouts (tenant, id, number, status, channel, currency, email, customer, shipping, gateway, return_url, hold_seconds, items_total, discount_total, shipping_total, tax_total, total, caller_waits_until, closed_at)
	  VALUES ($1, $2, 'N-1', 'expired', 'web', 'CLP', 'ana@example.cl', '{}', '{}', 'stripe', '', 900, 1, 0, 0, 0, 1, now(), now())`, tenant, checkoutID)
	return checkoutID
}

func (b *bundle) in(tenant string, fn func(ctx context.Context, tx pgx.Tx) error) {
	b.t.Helper()
	require.NoError(b.t, b.DB.InTenant(b.t.Context(), tenant, func(tx pgx.Tx) error { return fn(b.t.Context(), tx) }))
}

func (b *bundle) endpoint(url string, types ...string) (endpointID, secret string) {
	b.t.Helper()
	b.in(shoptest.Tenant, func(ctx context.Context, tx pgx.Tx) error {
		e, s, err := webhook.Create(ctx, tx, b.ring, shoptest.Tenant, id.New(), url, types, "")
		endpointID, secret = e.ID, s
		return err
	})
	return endpointID, secret
}

func (b *bundle) get(endpointID string) (e webhook.Endpoint) {
	b.t.Helper()
	b.in(shoptest.Tenant, func(ctx context.Context, tx pgx.Tx) (err error) {
		e, err = webhook.Get(ctx, tx, shoptest.Tenant, endpointID)
		return err
	})
	return e
}

// happened publishes n events about the tenant's checkout.
func (b *bundle) happened(tenant, subject string, kinds ...string) {
	b.t.Helper()
	b.in(tenant, func(ctx context.Context, tx pgx.Tx) error {
		for _, k := range kinds {
			if err := timeline.Add(ctx, tx, tenant, subject, k, "system", map[string]any{"refund_id": subject, "amount": 12990}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(b.t, b.DB.AsSystem(b.t.Context(), func(tx pgx.Tx) error {
		_, err := feed.Publish(b.t.Context(), tx, tenant)
		return err
	}))
}

func (b *bundle) claim(n int) (list []webhook.Claimed) {
	b.t.Helper()
	require.NoError(b.t, b.DB.AsSystem(b.t.Context(), func(tx pgx.Tx) (err error) {
		list, err = webhook.Claim(b.t.Context(), tx, n)
		return err
	}))
	return list
}

func (b *bundle) send(c webhook.Claimed) webhook.Result {
	b.t.Helper()
	r, err := b.sender.Send(b.t.Context(), c)
	require.NoError(b.t, err)
	return r
}

func (b *bundle) record(c webhook.Claimed, r webhook.Result) {
	b.t.Helper()
	b.in(c.Tenant, func(ctx context.Context, tx pgx.Tx) error { return webhook.Record(ctx, tx, c, r) })
}

// round claims, sends and records what is due.
func (b *bundle) round() (results []webhook.Result) {
	b.t.Helper()
	for _, c := range b.claim(100) {
		r := b.send(c)
		b.record(c, r)
		results = append(results, r)
	}
	return results
}

// due makes everything that waits be due.
func (b *bundle) due() {
	b.t.Helper()
	b.Exec(b.t, `UPDATE event_deliveries SET next_try_at = now(), leased_until = NULL WHERE status = 'pending'`)
	b.Exec(b.t, `UPDATE event_endpoints SET resting_until = NULL`)
}

func (b *bundle) status(endpointID string) []string {
	return shoptest.List[string](b.t, b.Shop, `SELECT status FROM event_deliveries WHERE endpoint_id = $1 ORDER BY event_id`, endpointID)
}

// waits is in how many seconds the only delivery is tried again.
func (b *bundle) waits() float64 {
	return shoptest.Value[float64](b.t, b.Shop, `SELECT extract(epoch FROM next_try_at - now())::float8 FROM event_deliveries WHERE status = 'pending'`)
}

// receiver is a server of a shop that keeps what it was told.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	ids     []string
	headers []http.Header
	bodies  [][]byte
}

func receive(t *testing.T, answer http.HandlerFunc) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		r.mu.Lock()
		r.ids = append(r.ids, req.Header.Get("webhook-id"))
		r.headers = append(r.headers, req.Header.Clone())
		r.bodies = append(r.bodies, body)
		r.mu.Unlock()
		answer(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func answers(statuses ...int) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(statuses[min(n, len(statuses)-1)])
		n++
	}
}

func (r *receiver) verify(t *testing.T, n int, secret string) error {
	wh, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	return wh.Verify(r.bodies[n], r.headers[n])
}

func TestDelivery_IsSignedAsStandardWebhooksSays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := receive(t, answers(204))
	endpointID, secret := b.endpoint(shop.URL)
	b.happened(shoptest.Tenant, b.subject, "refund_succeeded")
	require.True(t, b.round()[0].OK())
	require.NoError(t, shop.verify(t, 0, secret))
	_, other := b.endpoint(shop.URL)
	require.Error(t, shop.verify(t, 0, other))
	eventID := shoptest.Value[string](t, b.Shop, `SELECT id FROM public_events`)
	require.Equal(t, eventID, shop.ids[0])
	at := shoptest.Value[time.Time](t, b.Shop, `SELECT created_at FROM public_events`).UTC().Format(time.RFC3339Nano)
	require.JSONEq(t, fmt.Sprintf(`{"id":%q,"type":"refund.succeeded","timestamp":%q,"data":{"checkout_id":%q,"number":"N-1","refund_id":%q,"amount":12990,"currency":"CLP"}}`, eventID, at, b.subject, b.subject), string(shop.bodies[0]))
	require.Equal(t, []string{"delivered"}, b.status(endpointID))
	require.Empty(t, b.round())
	require.NotNil(t, b.get(endpointID).LastSuccessAt)
}

func TestDelivery_GoesToThoseWhoWantTheTypeAndToNoOtherTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.AddTenant(t, "other")
	shop := receive(t, answers(200))
	all, _ := b.endpoint(shop.URL)
	some, _ := b.endpoint(shop.URL, "checkout.expired", "order.paid")
	b.happened("other", b.checkout("other"), "expired")
	require.Zero(t, shoptest.Value[int](t, b.Shop, `SELECT count(*) FROM event_deliveries`), "of another tenant")
	b.happened(shoptest.Tenant, b.subject, "expired", "refund_failed", "stock_held")
	require.Len(t, b.status(all), 2)
	require.Len(t, b.status(some), 1)
	require.ErrorIs(t, b.DB.InTenant(t.Context(), "other", func(tx pgx.Tx) error {
		return webhook.ResendEvent(t.Context(), tx, "other", all, id.New())
	}), webhook.ErrNotFound)
}

func TestDelivery_500Then200IsToldTwiceUnderOneID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := receive(t, answers(500, 200))
	endpointID, _ := b.endpoint(shop.URL)
	b.happened(shoptest.Tenant, b.subject, "expired")
	b.round()
	require.Empty(t, b.round(), "not before its time")
	require.InDelta(t, 5, b.waits(), 1)
	b.due()
	require.True(t, b.round()[0].OK())
	require.Len(t, shop.ids, 2)
	require.Equal(t, shop.ids[0], shop.ids[1])
	require.Equal(t, shop.bodies[0], shop.bodies[1])
	var list []webhook.Delivery
	b.in(shoptest.Tenant, func(ctx context.Context, tx pgx.Tx) (err error) {
		list, err = webhook.Deliveries(ctx, tx, shoptest.Tenant, endpointID, "", "", 10)
		return err
	})
	require.Len(t, list, 1)
	require.Len(t, list[0].Attempts, 2)
	require.Equal(t, 500, *list[0].Attempts[0].Status)
	require.Equal(t, 200, *list[0].Attempts[1].Status)
	require.Nil(t, list[0].NextTryAt)
}

func TestDelivery_IsGivenUpAfterDaysAndTheEndpointFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := receive(t, answers(500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 200))
	endpointID, _ := b.endpoint(shop.URL)
	b.happened(shoptest.Tenant, b.subject, "expired")
	for i, want := range []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour} {
		require.Len(t, b.round(), 1, i)
		require.InDelta(t, want.Seconds()*1.05, b.waits(), want.Seconds()*0.06+1, i)
		require.Equal(t, webhook.Active, b.get(endpointID).Status)
		b.due()
	}
	require.Len(t, b.round(), 1)
	require.Equal(t, []string{"given_up"}, b.status(endpointID))
	require.Equal(t, webhook.Failing, b.get(endpointID).Status)
	require.NotNil(t, b.get(endpointID).FailingSince)
	// It is told all the same what happens next, and is well again when it takes it.
	b.happened(shoptest.Tenant, b.subject, "cancelled")
	require.True(t, b.round()[0].OK())
	require.Equal(t, webhook.Active, b.get(endpointID).Status)
}

func TestDelivery_410DisablesTheEndpointAndCancelsTheRest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := receive(t, answers(410))
	endpointID, _ := b.endpoint(shop.URL)
	b.happened(shoptest.Tenant, b.subject, "expired", "cancelled", "refund_failed")
	b.record(b.claim(1)[0], webhook.Result{Status: 410})
	e := b.get(endpointID)
	require.Equal(t, webhook.Disabled, e.Status)
	require.Equal(t, webhook.Gone, *e.DisabledReason)
	require.Equal(t, []string{"cancelled", "cancelled", "cancelled"}, b.status(endpointID))
	b.happened(shoptest.Tenant, b.subject, "expired")
	require.Len(t, b.status(endpointID), 3, "nothing more is made for it")
	on := true
	b.in(shoptest.Tenant, func(ctx context.Context, tx pgx.Tx) error {
		_, err := webhook.Update(ctx, tx, shoptest.Tenant, endpointID, webhook.Change{Active: &on})
		require.NoError(t, err)
		n, err := webhook.ResendSince(ctx, tx, shoptest.Tenant, endpointID, time.Now().Add(-time.Hour))
		require.Equal(t, 4, n)
		return err
	})
	require.Len(t, b.claim(10), 4)
}

func TestDelivery_RestsWhenItIsAskedTo(t *testing.T) {
	t.Parallel()
	for _, status := range []int{429, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			shop := receive(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "600")
				w.WriteHeader(status)
			})
			endpointID, _ := b.endpoint(shop.URL)
			b.happened(shoptest.Tenant, b.subject, "expired")
			b.round()
			require.InDelta(t, 600, b.waits(), 5)
			require.NotNil(t, b.get(endpointID).RestingUntil)
			// Nothing else is told to it meanwhile.
			b.happened(shoptest.Tenant, b.subject, "cancelled")
			require.Empty(t, b.claim(10))
		})
	}
}

func TestSend_NamesWhyThereWasNoAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	encrypted := httptest.NewTLSServer(answers(200))
	defer encrypted.Close()
	reached := false
	target := receive(t, func(http.ResponseWriter, *http.Request) { reached = true })
	moved := receive(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
	})
	cut := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for url, want := range map[string]webhook.Result{
		encrypted.URL: {Problem: webhook.NoTLS},
		"https" + strings.TrimPrefix(target.URL, "http"): {Problem: webhook.NoTLS},
		moved.URL:                          {Status: 307},
		cut.URL:                            {Problem: webhook.BrokenOff},
		"http://" + closed.Addr().String(): {Problem: webhook.NotReached},
		"http://nowhere.invalid/":          {Problem: webhook.NoName},
	} {
		b.endpoint(url)
		b.happened(shoptest.Tenant, b.subject, "expired")
		list := b.claim(1)
		require.Len(t, list, 1)
		got := b.send(list[0])
		got.Took = 0
		require.Equal(t, want, got, url)
		b.Exec(t, `DELETE FROM event_endpoints`)
	}
	require.False(t, reached, "a redirect was followed")
}

func TestSend_CallsNoAddressThatIsNotPublicWhateverItsName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	reached := false
	inside := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer inside.Close()
	_, port, err := net.SplitHostPort(inside.Listener.Addr().String())
	require.NoError(t, err)
	outside := webhook.NewSender(b.ring, false)
	for _, url := range []string{inside.URL, "https://localhost:" + port, "https://[::ffff:127.0.0.1]:" + port, "http://shop.example/"} {
		b.endpoint(url)
		b.happened(shoptest.Tenant, b.subject, "expired")
		r, err := outside.Send(t.Context(), b.claim(1)[0])
		require.NoError(t, err)
		require.Equal(t, webhook.NotAllowed, r.Problem, url)
		b.Exec(t, `DELETE FROM event_endpoints`)
	}
	require.False(t, reached)
}

func TestDelivery_KilledBetweenSendAndRecordIsMadeAgainUnderItsID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := receive(t, answers(200))
	endpointID, _ := b.endpoint(shop.URL)
	b.happened(shoptest.Tenant, b.subject, "expired")
	first := b.claim(10)[0]
	require.True(t, b.send(first).OK())
	// Killed here. The lease keeps others away until it lapses.
	require.Empty(t, b.claim(10))
	b.due()
	second := b.claim(10)[0]
	r := b.send(second)
	require.Equal(t, shop.ids[0], shop.ids[1])
	// The first was only slow, and tells of a failure: it has lost its say.
	b.record(first, webhook.Result{Status: 500})
	require.Empty(t, b.claim(10))
	b.record(second, r)
	require.Equal(t, []string{"delivered"}, b.status(endpointID))
	b.record(first, webhook.Result{Status: 500})
	require.Equal(t, []string{"delivered"}, b.status(endpointID))
	require.Len(t, shop.ids, 2)
}

func TestClaim_TwoWorkersNeverHoldTheSameAndAnEndpointGetsAFewAtATime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	slow, _ := b.endpoint("http://127.0.0.1:1/slow")
	well, _ := b.endpoint("http://127.0.0.1:1/well")
	for range 5 {
		b.happened(shoptest.Tenant, b.subject, "expired", "cancelled")
	}
	var mu sync.Mutex
	held := map[string]int{}
	of := map[string]int{}
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			err := b.DB.AsSystem(t.Context(), func(tx pgx.Tx) error {
				list, err := webhook.Claim(t.Context(), tx, 100)
				mu.Lock()
				defer mu.Unlock()
				for _, c := range list {
					held[c.EndpointID+c.EventID]++
					of[c.EndpointID]++
				}
				return err
			})
			if err != nil {
				t.Errorf("claim: %v", err)
			}
		})
	}
	all.Wait()
	for k, n := range held {
		require.Equal(t, 1, n, k)
	}
	require.LessOrEqual(t, of[slow], 8)
	require.Positive(t, of[well])
	require.Empty(t, b.claim(100), "the endpoints have as many as they may")
}

func TestClaim_AnEndpointThatFailsGetsOneAtATimeAndHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead, _ := b.endpoint("http://127.0.0.1:1/dead")
	b.happened(shoptest.Tenant, b.subject, "expired", "expired", "expired")
	for _, c := range b.claim(100) {
		b.record(c, webhook.Result{Problem: webhook.NotReached})
	}
	well, _ := b.endpoint("http://127.0.0.1:1/well")
	for range 10 {
		b.happened(shoptest.Tenant, b.subject, "expired")
	}
	b.due()
	of := map[string]int{}
	for _, c := range b.claim(100) {
		of[c.EndpointID]++
	}
	require.Equal(t, map[string]int{dead: 1, well: 4}, of)
}

func TestClaim_ManyEndpointsThatHangTakeNobodysTurn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, `INSERT INTO event_endpoints (tenant, id, url, key_id, box) SELECT 'acme', lpad(i::text, 26, '0'), 'http://127.0.0.1:1/', 'k', '' FROM generate_series(1, 100) i`)
	for range 3 {
		b.happened(shoptest.Tenant, b.subject, "expired", "expired")
	}
	// All that they may have is under way, and more of theirs is due.
	held := 0
	for n := 1; n > 0; held += n {
		n = len(b.claim(1000))
	}
	require.Equal(t, 400, held)
	well := id.New()
	b.Exec(t, `INSERT INTO event_endpoints (tenant, id, url, key_id, box, claimed_at) VALUES ('acme', $1, 'http://127.0.0.1:1/well', 'k', '', now())`, well)
	b.happened(shoptest.Tenant, b.subject, "expired")
	next := b.claim(1000)
	require.Len(t, next, 1)
	require.Equal(t, well, next[0].EndpointID)
}

func TestRotateSecret_BothSignForADay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := receive(t, answers(200))
	endpointID, old := b.endpoint(shop.URL)
	var now string
	b.in(shoptest.Tenant, func(ctx context.Context, tx pgx.Tx) (err error) {
		_, now, err = webhook.RotateSecret(ctx, tx, b.ring, shoptest.Tenant, endpointID)
		return err
	})
	require.NotEqual(t, old, now)
	b.happened(shoptest.Tenant, b.subject, "expired")
	b.round()
	require.NoError(t, shop.verify(t, 0, old))
	require.NoError(t, shop.verify(t, 0, now))
	require.Len(t, strings.Split(shop.headers[0].Get("webhook-signature"), " "), 2)
	b.Exec(t, `UPDATE event_endpoints SET old_until = now() - interval '1 second'`)
	b.happened(shoptest.Tenant, b.subject, "expired")
	b.round()
	require.Error(t, shop.verify(t, 1, old))
	require.NoError(t, shop.verify(t, 1, now))
	require.Zero(t, shoptest.Value[int](t, b.Shop, `SELECT count(*) FROM event_endpoints WHERE position('whsec_'::bytea IN box) > 0`))
}

func TestReseal_LetsTheOldKeyBeDropped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := receive(t, answers(200))
	before, after := "k1:"+secretbox.GenerateKey(), "k2:"+secretbox.GenerateKey()
	ring := func(s string) *secretbox.Keyring {
		k, err := secretbox.ParseKeyring(s)
		require.NoError(t, err)
		return k
	}
	b.ring = ring(before)
	endpointID, old := b.endpoint(shop.URL)
	_, _ = b.endpoint(shop.URL, "order.paid")
	var now string
	b.in(shoptest.Tenant, func(ctx context.Context, tx pgx.Tx) (err error) {
		_, now, err = webhook.RotateSecret(ctx, tx, b.ring, shoptest.Tenant, endpointID)
		return err
	})
	for _, want := range []int{2, 0} {
		b.in(shoptest.Tenant, func(ctx context.Context, tx pgx.Tx) error {
			n, err := webhook.Reseal(ctx, tx, ring(after+","+before), shoptest.Tenant)
			require.Equal(t, want, n)
			return err
		})
	}
	b.sender = webhook.NewSender(ring(after), true)
	b.happened(shoptest.Tenant, b.subject, "expired")
	b.round()
	require.NoError(t, shop.verify(t, 0, old))
	require.NoError(t, shop.verify(t, 0, now))
	// A process without the key learns nothing about the endpoint.
	b.happened(shoptest.Tenant, b.subject, "expired")
	c := b.claim(1)[0]
	_, err := webhook.NewSender(ring(before), true).Send(t.Context(), c)
	require.ErrorIs(t, err, secretbox.ErrUnknownKey)
	b.in(shoptest.Tenant, func(ctx context.Context, tx pgx.Tx) error { return webhook.Release(ctx, tx, c, time.Minute) })
	require.InDelta(t, 60, b.waits(), 5)
	require.Zero(t, shoptest.Value[int](t, b.Shop, `SELECT tries FROM event_deliveries WHERE status = 'pending'`))
}

func TestTest_IsTriedOnceAndBlamesNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := receive(t, answers(500))
	endpointID, secret := b.endpoint(shop.URL, "order.paid")
	var eventID string
	b.in(shoptest.Tenant, func(ctx context.Context, tx pgx.Tx) (err error) {
		eventID, err = webhook.Test(ctx, tx, shoptest.Tenant, endpointID)
		return err
	})
	b.round()
	require.Equal(t, []string{eventID}, shop.ids)
	require.NoError(t, shop.verify(t, 0, secret))
	require.Contains(t, string(shop.bodies[0]), `"type":"endpoint.test"`)
	require.Equal(t, []string{"given_up"}, b.status(endpointID))
	require.Equal(t, webhook.Active, b.get(endpointID).Status)
}

func TestForget_RemovesWhatEndedThirtyDaysAgo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := receive(t, answers(200))
	endpointID, _ := b.endpoint(shop.URL)
	b.happened(shoptest.Tenant, b.subject, "expired", "cancelled", "refund_failed")
	for _, c := range b.claim(2) {
		b.record(c, webhook.Result{Status: 200})
	}
	b.Exec(t, `UPDATE event_deliveries SET ended_at = now() - interval '31 days' WHERE event_id = (SELECT min(event_id) FROM event_deliveries WHERE status = 'delivered')`)
	require.NoError(t, b.DB.AsSystem(t.Context(), func(tx pgx.Tx) error {
		n, err := webhook.Forget(t.Context(), tx, 100)
		require.Equal(t, 1, n)
		return err
	}))
	require.Len(t, b.status(endpointID), 2)
}
