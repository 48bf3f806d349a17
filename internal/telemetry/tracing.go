package telemetry

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
)

// SetupTracing sends traces by OTLP over HTTP when OTEL_EXPORTER_OTLP_ENDPOINT
// is set, and sets the global tracer provider and propagator; otherwise tracing
// stays off and costs nothing. The other OTEL_* variables of
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
// apply, with OTEL_SERVICE_NAME over serviceName.
//
// Call it before TracingInterceptor and before the first tracer is taken. A
// collector that can not be reached loses spans and nothing else. shutdown sends
// what is buffered, for as long as its context allows.
func SetupTracing(ctx context.Context, serviceName string) (shutdown func(context.Context) error, err error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up tracing: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", serviceName)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("set up tracing: describe this process: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	return provider.Shutdown, nil
}

// TracingInterceptor continues traces through workflows and activities, for
// client.Options.Interceptors (workers made from that client inherit it). It is
// nil, without an error, while SetupTracing has not turned tracing on.
//
// Baggage is not passed on: Temporal stores headers unencrypted.
func TracingInterceptor() (interceptor.Interceptor, error) {
	if _, on := otel.GetTracerProvider().(*sdktrace.TracerProvider); !on {
		return nil, nil
	}
	tracing, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{
		TextMapPropagator: propagation.TraceContext{},
		DisableBaggage:    true,
		// A broken trace header must not fail a task that is about money.
		AllowInvalidParentSpans: true,
	})
	if err != nil {
		return nil, fmt.Errorf("trace temporal: %w", err)
	}
	return tracing, nil
}
