package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"justlogistics/internal/telemetry"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	temporallog "go.temporal.io/sdk/log"
)

// lines decodes one JSON object per line.
func lines(t *testing.T, buf *bytes.Buffer) []map[string]any {
	var all []map[string]any
	for line := range strings.Lines(buf.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		all = append(all, m)
	}
	return all
}

func setup(t *testing.T, level string) (*slog.Logger, *bytes.Buffer) {
	t.Helper()
	var buf bytes.Buffer
	return telemetry.Logger(&buf, level), &buf
}

func TestLogger_RedactsWhatItsKeyCallsPersonalOrSecret(t *testing.T) {
	t.Parallel()
	logger, buf := setup(t, "")
	const leak = "LEAK"
	for _, key := range []string{
		"email", "Email", "customer_email", "customerEmail", "phone", "rut", "RUT", "authorization", "Authorization", "api_key", "apiKey",
		"APIKey", "api-key", "X-Api-Key", "token", "token_ws", "accessToken", "tokens", "secret", "webhook_secret", "client-secret", "card",
		"cards", "card_number", "password", "cookie", "Set-Cookie", "JL_PAYLOAD_KEYS", "JL_CREDENTIAL_KEYS", "DATABASE_URL", "Tbk-Api-Key-Secret",
		"Stripe-Signature", "client_ip", "secret_key", "credentials",
	} {
		logger.Info("message", key, leak)
		logger.With(key, leak).Info("message")
		logger.WithGroup(key).Info("message", "inner", leak)
		logger.Info("message", slog.Group("customer", key, leak))
		logger.Info("message", slog.Group(key, "inner", leak))
		logger.Info("message", "request", map[string]any{"deep": []any{map[string]string{key: leak}}})
		logger.Info("message", key, []string{leak})
		logger.Info("message", key, errors.New(leak))
		logger.InfoContext(telemetry.With(t.Context(), slog.String(key, leak)), "message")
		require.NotContains(t, buf.String(), leak, key)
		require.Contains(t, buf.String(), "[redacted]")
		buf.Reset()
	}
}

func TestLogger_KeepsWhatIsNeededToFindAFault(t *testing.T) {
	t.Parallel()
	logger, buf := setup(t, "info")
	logger.Info("held", "sku", "POL-ROJO-S", "other", "TEST-SKU_00000001", "warehouse", "SCL-1", "cardinality", 3, "discarded", true, "temporal_address", "127.0.0.1:7233",
		"checkout_id", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "idempotency_key", "k-1", "keys", 2, "lines", []map[string]int{{"quantity": 2}})
	require.NotContains(t, buf.String(), "redacted")
	line := lines(t, buf)[0]
	require.Equal(t, "held", line["msg"])
	require.Equal(t, "POL-ROJO-S", line["sku"])
	require.InDelta(t, 3, line["cardinality"], 0)
	require.Equal(t, []any{map[string]any{"quantity": 2.0}}, line["lines"])
}

type buyer struct {
	Name  string
	Email string `json:"email"`
	Card  struct{ Number string }
}

func TestLogger_RedactsInsideStructuresAndHeaders(t *testing.T) {
	t.Parallel()
	logger, buf := setup(t, "info")
	b := buyer{Name: "kept", Email: "ana@example.cl"}
	b.Card.Number = "4051885600446623"
	logger.Info("message", "buyer", b, "pointer", &b, "headers", http.Header{"Authorization": {"Bearer abc.def"}, "Accept": {"json"}})
	for _, leak := range []string{"ana@", "4051", "abc.def"} {
		require.NotContains(t, buf.String(), leak)
	}
	require.Contains(t, buf.String(), "kept")
	require.Contains(t, buf.String(), "Accept")
}

func TestLogger_CutsSecretsOutOfTexts(t *testing.T) {
	t.Parallel()
	for text, leak := range map[string]string{
		`dial "postgres://jl_app:hunter2@127.0.0.1/db": refused`:           "hunter2",
		"dial postgres://jl_app:p:w/x@127.0.0.1/db":                        "p:w/x",
		"GET https://api.example/v1/payments?token=tok123&apiKey=ak456":    "tok123",
		"GET https://api.example/v1/payments?token=tok12&apiKey=ak456&s=1": "ak456",
		"POST /return?token_ws=01ab23cd failed":                            "01ab23cd",
		"key TEST-1234567890-abc expired":                                  "1234567890",
		"no mailbox ana.rojas+x@example.cl":                                "ana.rojas",
		"header Authorization: Bearer eyJhbGciOi.J9":                       "eyJhbGciOi",
		"invalid API key sk_live_51abcdefgh":                               "51abcdefgh",
		"bad secret whsec_sandbox_demo":                                    "sandbox_demo",
		"key APP_USR-1234567890-abc expired":                               "1234567890",
	} {
		for name, log := range map[string]func(*slog.Logger){
			"message":    func(l *slog.Logger) { l.Error(text) },
			"string":     func(l *slog.Logger) { l.Error("failed", "detail", text) },
			"error":      func(l *slog.Logger) { l.Error("failed", "error", fmt.Errorf("call: %w", errors.New(text))) },
			"nested":     func(l *slog.Logger) { l.Error("failed", "detail", map[string]string{"cause": text}) },
			"in a group": func(l *slog.Logger) { l.WithGroup("g").Error("failed", "detail", text) },
		} {
			logger, buf := setup(t, "info")
			log(logger)
			require.NotContains(t, buf.String(), leak, name)
			require.Contains(t, buf.String(), "[redacted]", name)
		}
	}
}

type brokenError struct{ text *string }

func (e *brokenError) Error() string { return *e.text }

func TestLogger_SurvivesValuesThatCanNotBePrinted(t *testing.T) {
	t.Parallel()
	logger, buf := setup(t, "info")
	var nothing *brokenError
	logger.Info("message", "error", error(nothing), "broken", &brokenError{}, "channel", make(chan int), "nil", nil,
		"keep", struct {
			Email string
			F     func()
		}{Email: "ana@example.cl"})
	require.NotContains(t, buf.String(), "ana@example.cl")
	require.Len(t, lines(t, buf), 1)
}

func TestWith_PutsTheContextIntoEveryLine(t *testing.T) {
	t.Parallel()
	logger, buf := setup(t, "debug")
	ctx := telemetry.With(t.Context(), telemetry.Tenant("demo"), telemetry.RequestID("r1"))
	ctx = telemetry.With(ctx, telemetry.CheckoutID("c1"), telemetry.OrderID("o1"), telemetry.WorkflowID("checkout:demo:c1"), telemetry.RequestID("r2"))

	logger.InfoContext(ctx, "plain")
	logger.With("sku", "A").WithGroup("g").With("x", 1).InfoContext(ctx, "grouped", "y", 2)
	logger.With("tenant", "own").InfoContext(ctx, "named by the logger")
	logger.InfoContext(ctx, "named by the line", "tenant", "own")
	logger.Info("without")

	all := lines(t, buf)
	for _, line := range all[:4] {
		require.Equal(t, "r2", line["request_id"])
		require.Equal(t, "c1", line["checkout_id"])
		require.Equal(t, "o1", line["order_id"])
		require.Equal(t, "checkout:demo:c1", line["workflow_id"])
	}
	require.Equal(t, "demo", all[0]["tenant"])
	require.Equal(t, "demo", all[1]["tenant"])
	require.Equal(t, map[string]any{"x": 1.0, "y": 2.0}, all[1]["g"])
	require.Equal(t, "A", all[1]["sku"])
	require.Equal(t, "own", all[2]["tenant"])
	require.Equal(t, "own", all[3]["tenant"])
	require.NotContains(t, all[4], "tenant")
	require.Equal(t, 4, strings.Count(buf.String(), `"tenant"`), "no key twice in a line")
}

func TestWith_DoesNotChangeTheContextItCameFrom(t *testing.T) {
	t.Parallel()
	logger, buf := setup(t, "info")
	parent := telemetry.With(t.Context(), telemetry.Tenant("demo"))
	telemetry.With(parent, telemetry.Tenant("other"), telemetry.OrderID("o1"))
	logger.InfoContext(parent, "message")
	require.Equal(t, "demo", lines(t, buf)[0]["tenant"])
	require.NotContains(t, buf.String(), "o1")
}

func TestLogger_NamesTheTraceOfTheCall(t *testing.T) {
	t.Parallel()
	logger, buf := setup(t, "info")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	logger.InfoContext(trace.ContextWithSpanContext(context.Background(), span), "message")
	require.Equal(t, span.TraceID().String(), lines(t, buf)[0]["trace_id"])
	require.Equal(t, span.SpanID().String(), lines(t, buf)[0]["span_id"])
}

func TestLogger_KeepsToItsLevelAndSaysWhenThereIsNoSuchLevel(t *testing.T) {
	t.Parallel()
	logger, buf := setup(t, "WARN")
	logger.Info("no")
	logger.Warn("yes")
	require.Len(t, lines(t, buf), 1)

	logger, buf = setup(t, "loud")
	logger.Debug("no")
	logger.Info("yes")
	all := lines(t, buf)
	require.Len(t, all, 2)
	require.Equal(t, "WARN", all[0]["level"])
	require.Equal(t, "loud", all[0]["level_given"])
}

func TestLogger_ServesTemporalsSDK(t *testing.T) {
	t.Parallel()
	logger, buf := setup(t, "info")
	temporallog.With(temporallog.NewStructuredLogger(logger), "WorkflowID", "checkout:demo:c1").Error("activity error", "Error", errors.New("no mailbox ana@example.cl"))
	require.NotContains(t, buf.String(), "ana@")
	require.Contains(t, buf.String(), "checkout:demo:c1")
}

func FuzzRedact_KeepsTheLineJSONAndTheSecretOut(f *testing.F) {
	f.Add("api_key", "x")
	f.Add("\xff", "Bearer \n")
	f.Fuzz(func(t *testing.T, key, text string) {
		var buf bytes.Buffer
		telemetry.Logger(&buf, "info").Info(text, slog.Group(key, "token", "LEAK-"+"0123456789"), "k", text)
		require.NotContains(t, buf.String(), "LEAK-0123456789")
		require.True(t, json.Valid(buf.Bytes()))
	})
}
