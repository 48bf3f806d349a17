package telemetry_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"justlogistics/internal/telemetry"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func scrape(t *testing.T, h http.Handler) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	return w.Body.String()
}

func TestMetrics_ReportsTheProcessAndWhatIsRegistered(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	open := prometheus.NewGauge(prometheus.GaugeOpts{Name: "jl_holds_open", Help: "Holds that stand."})
	m.MustRegister(open)
	open.Set(7)
	page := scrape(t, m.Handler())
	require.Contains(t, page, "jl_holds_open 7\n")
	require.Contains(t, page, "go_goroutines ")
	require.Contains(t, page, "process_start_time_seconds ")
}

func TestMetrics_AreOfOneRegistryOnly(t *testing.T) {
	t.Parallel()
	a, b := telemetry.NewMetrics(), telemetry.NewMetrics()
	a.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "jl_only_a", Help: "A."}))
	require.Contains(t, scrape(t, a.Handler()), "jl_only_a")
	require.NotContains(t, scrape(t, b.Handler()), "jl_only_a")
}

func TestTemporalMetricsHandler_ExportsCountersGaugesAndSeconds(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	h, err := telemetry.TemporalMetricsHandler(m)
	require.NoError(t, err)

	// The SDK reports one metric under differing sets of tags.
	h.WithTags(map[string]string{"namespace": "default"}).Counter("temporal_request").Inc(2)
	h.WithTags(map[string]string{"namespace": "default", "operation": "PollWorkflowTaskQueue"}).Counter("temporal_request").Inc(3)
	h.Gauge("temporal_worker_task_slots_available").Update(99)
	h.Timer("temporal_request_latency").Record(30 * time.Millisecond)

	page := scrape(t, m.Handler())
	for _, line := range []string{
		`temporal_request_total{namespace="default"} 2`,
		`temporal_request_total{namespace="default",operation="PollWorkflowTaskQueue"} 3`,
		"# TYPE temporal_request_total counter",
		"temporal_worker_task_slots_available 99",
		`temporal_request_latency_seconds_bucket{le="0.025"} 0`,
		`temporal_request_latency_seconds_bucket{le="0.05"} 1`,
		"temporal_request_latency_seconds_count 1",
	} {
		require.Contains(t, page, line)
	}
}

func TestTemporalMetricsHandler_NeverPanicsOverAName(t *testing.T) {
	t.Parallel()
	h, err := telemetry.TemporalMetricsHandler(telemetry.NewMetrics())
	require.NoError(t, err)
	require.NotPanics(t, func() {
		h.Counter("").Inc(1)
		h.Gauge("not a name!").Update(1)
		h.Timer("\xff").Record(time.Second)
	})
}
