package telemetry_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"justlogistics/internal/telemetry"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
)

// Not parallel: it sets the environment and the process's tracer provider.
func TestSetupTracing_SendsSpansOnlyWhenAnEndpointIsSet(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	shutdown, err := telemetry.SetupTracing(t.Context(), "justlogistics-api")
	require.NoError(t, err)
	require.NoError(t, shutdown(t.Context()))
	off, err := telemetry.TracingInterceptor()
	require.NoError(t, err)
	require.Nil(t, off)

	received := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.URL.Path }))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	before := otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetTracerProvider(before) })

	shutdown, err = telemetry.SetupTracing(t.Context(), "justlogistics-api")
	require.NoError(t, err)
	on, err := telemetry.TracingInterceptor()
	require.NoError(t, err)
	require.NotNil(t, on)

	_, span := otel.Tracer("test").Start(t.Context(), "POST /v1/checkouts")
	span.End()
	require.NoError(t, shutdown(t.Context()))
	require.Equal(t, "/v1/traces", <-received)
}
