// Package telemetry makes the program's logs, metrics and traces. Nothing that
// names a person or opens a door leaves through it.
package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// Logger returns a logger that writes one JSON object per line to w, from level
// ("debug", "info", "warn" or "error", in either case) upwards. Each line
// carries what With put into the context of the call, and the ids of its trace.
// Values under keys that name personal data or secrets are replaced; see Redact.
//
// An empty level is info. So is one that does not exist, and the first line says
// so: a typing error must not stop or silence a service.
func Logger(w io.Writer, level string) *slog.Logger {
	var lowest slog.Level
	err := lowest.UnmarshalText([]byte(level))
	logger := slog.New(&contextHandler{base: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: lowest, ReplaceAttr: Redact})})
	if err != nil && level != "" {
		logger.Warn("unknown log level, using info: want debug, info, warn or error", "level_given", level)
	}
	return logger
}

// Tenant is the attribute for the slug of the tenant a line is about.
func Tenant(slug string) slog.Attr { return slog.String("tenant", slug) }

// CheckoutID is the attribute for a checkout.
func CheckoutID(id string) slog.Attr { return slog.String("checkout_id", id) }

// OrderID is the attribute for an order.
func OrderID(id string) slog.Attr { return slog.String("order_id", id) }

// WorkflowID is the attribute for a workflow's id, as Temporal's UI finds it.
func WorkflowID(id string) slog.Attr { return slog.String("workflow_id", id) }

// RequestID is the attribute for what the answer has in X-Request-Id.
func RequestID(id string) slog.Attr { return slog.String("request_id", id) }

type attrsKey struct{}

// With returns a context whose log lines carry attrs, besides those of ctx. An
// attribute given again replaces the earlier one of its key.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	merged := slices.Clone(contextAttrs(ctx))
	for _, a := range attrs {
		merged = slices.DeleteFunc(merged, func(old slog.Attr) bool { return old.Key == a.Key })
		merged = append(merged, a)
	}
	return context.WithValue(ctx, attrsKey{}, merged)
}

func contextAttrs(ctx context.Context) []slog.Attr {
	attrs, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	return attrs
}

// contextHandler adds the context's attributes at the top level of each line,
// also for a logger with open groups, and leaves out those that the line or its
// logger names itself.
type contextHandler struct {
	base slog.Handler
	// named are the top-level keys that base already writes.
	named []string
	// grouped has the WithGroup and WithAttrs calls since the first group; they
	// are applied after the context's attributes.
	grouped []func(slog.Handler) slog.Handler
}

func (h *contextHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.base.Enabled(ctx, level)
}

func (h *contextHandler) Handle(ctx context.Context, r slog.Record) error {
	var attrs []slog.Attr
	for _, a := range contextAttrs(ctx) {
		if !slices.Contains(h.named, a.Key) && (len(h.grouped) > 0 || !recordHas(r, a.Key)) {
			attrs = append(attrs, a)
		}
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		attrs = append(attrs, slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	if len(h.grouped) == 0 {
		if len(attrs) > 0 {
			r = r.Clone()
			r.AddAttrs(attrs...)
		}
		return h.base.Handle(ctx, r)
	}
	handler := h.base
	if len(attrs) > 0 {
		handler = handler.WithAttrs(attrs)
	}
	for _, apply := range h.grouped {
		handler = apply(handler)
	}
	return handler.Handle(ctx, r)
}

func (h *contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	if len(h.grouped) > 0 {
		return h.grouping(func(base slog.Handler) slog.Handler { return base.WithAttrs(attrs) })
	}
	named := slices.Clone(h.named)
	for _, a := range attrs {
		named = append(named, a.Key)
	}
	return &contextHandler{base: h.base.WithAttrs(attrs), named: named}
}

func (h *contextHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.grouping(func(base slog.Handler) slog.Handler { return base.WithGroup(name) })
}

func (h *contextHandler) grouping(apply func(slog.Handler) slog.Handler) slog.Handler {
	return &contextHandler{base: h.base, named: h.named, grouped: append(slices.Clone(h.grouped), apply)}
}

func recordHas(r slog.Record, key string) bool {
	found := false
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == key
		return !found
	})
	return found
}
