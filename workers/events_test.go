package workers

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/timeline"
	"justlogistics/internal/webhook"
)

type told struct {
	*shoptest.Shop
	t       *testing.T
	ring    *secretbox.Keyring
	subject string
}

func tell(t *testing.T) *told {
	t.Helper()
	s := &told{Shop: shoptest.New(t), t: t}
	var err error
	s.ring, err = secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	s.Product(t, "A", 1_000, 5)
	s.subject, _ = s.Offer(t, shoptest.Submission("A", 1))
	return s
}

func (s *told) endpoint(url string) (secret string) {
	s.t.Helper()
	s.Do(s.t, func(tx pgx.Tx) (err error) {
		_, secret, err = webhook.Create(s.t.Context(), tx, s.ring, shoptest.Tenant, id.New(), url, nil, "")
		return err
	})
	return secret
}

func (s *told) happens(n int) {
	s.t.Helper()
	s.Do(s.t, func(tx pgx.Tx) error {
		for i := range n {
			if err := timeline.Add(s.t.Context(), tx, shoptest.Tenant, s.subject, "refund_failed", "system", map[string]any{"refund_id": fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// worker runs both loops until its stop is called.
func (s *told) worker() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var all sync.WaitGroup
	all.Go(func() { (&feedLoop{s.DB, log}).run(ctx) })
	all.Go(func() { newDeliveryLoop(s.DB, webhook.NewSender(s.ring, true), log).run(ctx) })
	return func() {
		cancel()
		all.Wait()
	}
}

// receiver counts what it is told, by id.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]int
}

func (r *receiver) events() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// receive begins a server that answers when answer does.
func receive(t *testing.T, answer func(w http.ResponseWriter, body []byte, r *http.Request)) *receiver {
	t.Helper()
	out := &receiver{seen: map[string]int{}}
	out.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		out.mu.Lock()
		out.seen[r.Header.Get("webhook-id")]++
		out.mu.Unlock()
		answer(w, body, r)
	}))
	t.Cleanup(out.Close)
	return out
}

func TestEventLoops_TwoWorkersTellEverythingOnce(t *testing.T) {
	t.Parallel()
	s := tell(t)
	verify := make(chan func([]byte, http.Header) error, 1)
	var wrong sync.Map
	shop := receive(t, func(w http.ResponseWriter, body []byte, r *http.Request) {
		check := <-verify
		verify <- check
		if err := check(body, r.Header); err != nil {
			wrong.Store(r.Header.Get("webhook-id"), err)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	wh, err := standardwebhooks.NewWebhook(s.endpoint(shop.URL))
	require.NoError(t, err)
	verify <- wh.Verify
	defer s.worker()()
	defer s.worker()()
	const n = 60
	for range n / 4 {
		s.happens(4)
	}
	require.Eventually(t, func() bool {
		return shoptest.Value[int](t, s.Shop, `SELECT count(*) FROM event_deliveries WHERE status = 'delivered'`) == n
	}, 30*time.Second, 50*time.Millisecond)
	require.Len(t, shop.seen, n)
	for eventID, times := range shop.seen {
		require.Equal(t, 1, times, eventID)
	}
	wrong.Range(func(eventID, err any) bool {
		t.Errorf("%v: %v", eventID, err)
		return true
	})
}

func TestEventLoops_AnEndpointThatHangsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s := tell(t)
	hold := make(chan struct{})
	hangs := receive(t, func(_ http.ResponseWriter, _ []byte, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	shop := receive(t, func(w http.ResponseWriter, _ []byte, _ *http.Request) { w.WriteHeader(200) })
	s.endpoint(hangs.URL)
	s.endpoint("http://127.0.0.1:1/dead")
	s.endpoint(shop.URL)
	stop := s.worker()
	s.happens(40)
	require.Eventually(t, func() bool { return shop.events() == 40 }, 12*time.Second, 20*time.Millisecond)
	require.LessOrEqual(t, hangs.events(), 4)
	// Stopping cuts off what hangs, and gives it back.
	begin := time.Now()
	stop()
	require.Less(t, time.Since(begin), 10*time.Second)
	close(hold)
	require.Zero(t, shoptest.Value[int](t, s.Shop, `SELECT count(*) FROM event_deliveries d JOIN event_endpoints e ON e.id = d.endpoint_id WHERE e.url = $1 AND (d.tries > 0 OR d.leased_until IS NOT NULL)`, hangs.URL))
	// The next worker goes on there.
	defer s.worker()()
	require.Eventually(t, func() bool { return hangs.events() == 40 }, 15*time.Second, 20*time.Millisecond)
	hangs.mu.Lock()
	defer hangs.mu.Unlock()
	twice := 0
	for _, n := range hangs.seen {
		twice += n - 1
	}
	require.LessOrEqual(t, twice, 4)
}
