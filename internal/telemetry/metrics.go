package telemetry

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
)

// Metrics is a process's own Prometheus registry: what libraries put into the
// default one by themselves does not appear in it.
type Metrics struct{ *prometheus.Registry }

// NewMetrics returns a registry that already reports the Go runtime and the
// process.
func NewMetrics() *Metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return &Metrics{registry}
}

// Handler serves the registry in Prometheus's formats. When one collector fails
// the others are still served, and the failure is counted and logged.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelError),
		ErrorHandling:     promhttp.ContinueOnError,
		Registry:          m.Registry,
		EnableOpenMetrics: true,
	})
}

// temporalBuckets, in seconds, reach from a local activity to a workflow task
// that is about to time out.
var temporalBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// TemporalMetricsHandler puts the metrics of Temporal's SDK
// (https://docs.temporal.io/references/sdk-metrics) into the registry, timers
// in seconds, counters ending in _total. Call it once per registry and share
// the handler between clients: a second one would report every series twice,
// which makes the whole registry unreadable.
//
// It goes through OpenTelemetry because the SDK reports one metric under
// differing sets of labels, which a Prometheus vector refuses.
func TemporalMetricsHandler(registry prometheus.Registerer) (client.MetricsHandler, error) {
	exporter, err := otelprometheus.New(
		otelprometheus.WithRegisterer(registry),
		otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithoutTargetInfo(),
	)
	if err != nil {
		return nil, fmt.Errorf("export temporal metrics: %w", err)
	}
	provider := metric.NewMeterProvider(
		metric.WithReader(exporter),
		metric.WithView(metric.NewView(
			metric.Instrument{Kind: metric.InstrumentKindHistogram},
			metric.Stream{Aggregation: metric.AggregationExplicitBucketHistogram{Boundaries: temporalBuckets, NoMinMax: true}},
		)),
	)
	return opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
		Meter:                provider.Meter("temporal-sdk-go"),
		UseMonotonicCounters: true,
		// The default panics in the middle of a workflow task.
		OnError: func(err error) { slog.Error("a metric of the temporal sdk is lost", "error", err) },
	}), nil
}
