package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"justlogistics/internal/checkout"
	"justlogistics/internal/postgres"
)

// counts are the API's measurements.
type counts struct {
	requests  *prometheus.HistogramVec
	refused   *prometheus.CounterVec
	returns   *prometheus.CounterVec
	temporal  prometheus.Gauge
	unstarted prometheus.Counter
	cards     *prometheus.CounterVec
}

func newCounts(r prometheus.Registerer, db *postgres.DB) (*counts, error) {
	c := &counts{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "justlogistics_http_request_duration_seconds", Help: "Time to answer a request, by route.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20}}, []string{"route", "method", "status"}),
		refused:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "justlogistics_notifications_refused_total", Help: "Payment notifications that were not stored, by reason."}, []string{"gateway", "reason"}),
		returns:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "justlogistics_returns_total", Help: "Returns of buyers' browsers, by what they were answered."}, []string{"gateway", "answer"}),
		temporal:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "justlogistics_temporal_up", Help: "1 when Temporal answered the last readiness check."}),
		unstarted: prometheus.NewCounter(prometheus.CounterOpts{Name: "justlogistics_checkouts_unanswered_total", Help: "Checkouts that had no answer within the caller's time."}),
		cards:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "justlogistics_card_numbers_refused_total", Help: "Requests that were refused because they carried the number of a payment card."}, []string{"route"}),
	}
	conns := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "justlogistics_database_connections_used", Help: "Database connections in use."}, func() float64 { return float64(db.Stats().AcquiredConns()) })
	for _, m := range []prometheus.Collector{c.requests, c.refused, c.returns, c.temporal, c.unstarted, c.cards, conns} {
		if err := r.Register(m); err != nil {
			return nil, fmt.Errorf("register a metric of the API: %w", err)
		}
	}
	return c, nil
}

// request counts one by its route. A method that HTTP does not know is the
// caller's invention and gets no series of its own.
func (c *counts) request(route, method string, status int, took time.Duration) {
	if !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodHead, http.MethodOptions}, method) {
		method = "other"
	}
	c.requests.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}

// returned counts a buyer's return. A gateway that does not exist is whatever
// somebody wrote into an address.
func (c *counts) returned(gateway, answer string) {
	if !checkout.KnownGateway(gateway) {
		gateway = "other"
	}
	c.returns.WithLabelValues(gateway, answer).Inc()
}

// senders limits what is accepted from one address without a signature.
type senders struct {
	mu    sync.Mutex
	known map[string]*sender
	swept time.Time
}

type sender struct {
	bucket *rate.Limiter
	seen   time.Time
}

const (
	hintsPerSecond = 10
	hintsAtOnce    = 50
	forgetSender   = 10 * time.Minute
)

func newSenders() *senders { return &senders{known: map[string]*sender{}, swept: time.Now()} }

// allow takes a token from an address's bucket.
func (s *senders) allow(address string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) > forgetSender {
		for a, known := range s.known {
			if now.Sub(known.seen) > forgetSender {
				delete(s.known, a)
			}
		}
		s.swept = now
	}
	known, ok := s.known[address]
	if !ok {
		known = &sender{bucket: rate.NewLimiter(hintsPerSecond, hintsAtOnce)}
		s.known[address] = known
	}
	known.seen = now
	return known.bucket.AllowN(now, 1)
}
