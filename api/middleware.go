package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"justlogistics/internal/cardnumber"
	"justlogistics/internal/id"
	"justlogistics/internal/idempotency"
	"justlogistics/internal/problem"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/tenant"
)

// maxBody is the most that a request may carry.
const maxBody = 1 << 20

const requestIDKey = "request_id"

func requestID(c *gin.Context) string { return c.GetString(requestIDKey) }

// identify names the request, by the caller's name for it when that is sane.
func (s *Server) identify(c *gin.Context) {
	name := c.GetHeader("X-Request-Id")
	if len(name) > 100 || !idempotency.ValidKey(name) || cardnumber.In(name) {
		name = id.New()
	}
	c.Set(requestIDKey, name)
	c.Header("X-Request-Id", name)
	c.Request = c.Request.WithContext(telemetry.With(c.Request.Context(), telemetry.RequestID(name)))
}

// observe measures, traces and logs a request by its route: paths and queries
// carry tokens and ids of buyers.
func (s *Server) observe(c *gin.Context) {
	begin := time.Now()
	route := c.FullPath()
	if route == "" {
		route = "(none)"
	}
	ctx := otel.GetTextMapPropagator().Extract(c.Request.Context(), propagation.HeaderCarrier(c.Request.Header))
	ctx, span := otel.Tracer("justlogistics/api").Start(ctx, c.Request.Method+" "+route, trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
	status := c.Writer.Status()
	took := time.Since(begin)
	span.SetAttributes(attribute.String("http.request.method", c.Request.Method), attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
	if status >= 500 {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
	s.counts.request(route, c.Request.Method, status, took)
	level := slog.LevelInfo
	switch {
	case status >= 500:
		level = slog.LevelWarn
	case strings.HasPrefix(route, "/healthz"), strings.HasPrefix(route, "/readyz"), strings.HasPrefix(route, "/metrics"):
		level = slog.LevelDebug
	}
	s.log.LogAttrs(c.Request.Context(), level, "request", slog.String("method", c.Request.Method), slog.String("route", route), slog.Int("status", status),
		slog.Int64("took_ms", took.Milliseconds()), slog.Int("bytes", c.Writer.Size()))
}

// recover turns a panic into a 500.
func (s *Server) recover(c *gin.Context) {
	defer func() {
		if cause := recover(); cause != nil {
			s.log.ErrorContext(c.Request.Context(), "a handler panicked", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			if !c.Writer.Written() {
				s.describe(c, problem.New(kindInternal, "internal_error", "Something broke on our side. The request id names it in our logs.")).send(c)
			}
			c.Abort()
		}
	}()
	c.Next()
}

func (s *Server) noRoute(c *gin.Context) {
	s.describe(c, problem.New(problem.NotFound, "not_found", "There is nothing at this address.")).send(c)
}

func (s *Server) noMethod(c *gin.Context) {
	s.describe(c, problem.New(kindNoMethod, "method_not_allowed", "This address does not take "+c.Request.Method+".")).send(c)
}

// request is an authenticated request of /v1.
type request struct {
	*gin.Context
	ctx    context.Context
	key    tenant.Key
	tenant string
	body   []byte
	began  time.Time
	// claim is the request's right to answer for its idempotency key; nil
	// without a key.
	claim *idempotency.Claim
}

// admin reports whether the key may do everything.
func (r *request) admin() bool { return r.key.Has(tenant.Admin) }

// sees reports whether the key belongs to staff who look into workflows.
func (r *request) seesWorkflows() bool { return r.key.Has(tenant.Support) }

// begun is what an earlier request with the same idempotency key had begun.
func (r *request) begun() string {
	if r.claim == nil {
		return ""
	}
	return r.claim.ResourceID
}

// left is the time until the caller must have an answer, of a budget counted
// from the request's arrival, and at least a second.
func (r *request) left(budget time.Duration) time.Duration {
	return max(time.Second, budget-time.Since(r.began))
}

type endpoint func(r *request) (reply, error)

// handle registers an endpoint of /v1 for keys that carry one of the scopes, or
// admin.
func (s *Server) handle(method, path string, h endpoint, scopes ...tenant.Scope) {
	s.router.Handle(method, path, func(c *gin.Context) {
		r, err := s.admit(c, scopes)
		switch {
		case err != nil:
			s.problem(c, err).send(c)
		case method == http.MethodPost:
			s.once(r, h).send(c)
		default:
			s.answer(r, h).send(c)
		}
	})
}

func (s *Server) answer(r *request, h endpoint) written {
	out, err := h(r)
	return s.encode(r.Context, out, err)
}

// admit authenticates a request and reads its body. One that carries the number
// of a card goes no further.
func (s *Server) admit(c *gin.Context, scopes []tenant.Scope) (*request, error) {
	r, err := s.authenticate(c, scopes)
	if err != nil {
		return nil, err
	}
	if r.body, err = readBody(c); err != nil {
		return nil, err
	}
	if err := s.refuseCards(c, cardsInBody(r.body)); err != nil {
		return nil, err
	}
	return r, refuseBody(r.body)
}

// authenticate is admit without the body.
func (s *Server) authenticate(c *gin.Context, scopes []tenant.Scope) (*request, error) {
	r := &request{Context: c, began: time.Now()}
	if err := s.refuseCards(c, cardsInAddress(c)); err != nil {
		return nil, err
	}
	scheme, key, found := strings.Cut(c.GetHeader("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || key == "" {
		return nil, problem.New(kindUnauthorized, "missing_key", "Send an API key: Authorization: Bearer <key>.")
	}
	var err error
	r.key, err = tenant.Authenticate(c.Request.Context(), s.db, strings.TrimSpace(key))
	if errors.Is(err, tenant.ErrBadKey) {
		return nil, problem.New(kindUnauthorized, "bad_key", "This API key does not exist or was revoked.")
	}
	if err != nil {
		return nil, err
	}
	if r.tenant, err = tenantOf(r.key, c.GetHeader("X-Tenant")); err != nil {
		return nil, err
	}
	r.ctx = telemetry.With(c.Request.Context(), telemetry.Tenant(r.tenant))
	c.Request = c.Request.WithContext(r.ctx)
	if !r.key.Has(scopes...) {
		return nil, missingScope(scopes)
	}
	return r, refuseAddress(c)
}

func missingScope(scopes []tenant.Scope) error {
	names := []string{}
	for _, sc := range append(slices.Clone(scopes), tenant.Admin) {
		names = append(names, string(sc))
	}
	return problem.New(problem.Forbidden, "missing_scope", "This needs a key with one of the scopes "+strings.Join(names, ", ")+".").With("scopes", names)
}

// tenantOf is whom a key acts for. One that may act for several says for whom.
func tenantOf(key tenant.Key, named string) (string, error) {
	switch {
	case named == "" && len(key.AlsoFor) > 0:
		return "", problem.New(problem.Malformed, "missing_tenant", "This key acts for several tenants: say which in X-Tenant.")
	case named == "" || named == key.Tenant:
		return key.Tenant, nil
	case slices.Contains(key.AlsoFor, named):
		return named, nil
	}
	return "", problem.New(problem.Forbidden, "wrong_tenant", "This key does not act for that tenant.")
}

func readBody(c *gin.Context) ([]byte, error) {
	if c.Request.Method == http.MethodGet {
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	if tooLarge(err) {
		return nil, problem.New(kindTooLarge, "body_too_large", "A body has at most 1 MiB.")
	}
	if err != nil {
		return nil, problem.New(problem.Malformed, "body_cut_off", "The body ended early.")
	}
	if len(body) == 0 {
		return nil, nil
	}
	if mediaType, _, err := mime.ParseMediaType(c.GetHeader("Content-Type")); err != nil || mediaType != "application/json" {
		return nil, problem.New(kindMediaType, "unsupported_media_type", "Send Content-Type: application/json.")
	}
	return body, nil
}
