package api

import (
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"justlogistics/internal/idempotency"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
)

const (
	typeJSON    = "application/json; charset=utf-8"
	typeProblem = "application/problem+json; charset=utf-8"
	typeHTML    = "text/html; charset=utf-8"
)

// reply is an answer before it is written, so that it can be kept under an
// idempotency key.
type reply struct {
	status     int
	body       any
	location   string
	retryAfter time.Duration
	// text is the answer as it stands, of contentType, in the place of body.
	text        []byte
	contentType string
	// filename is what a browser calls the answer when it is kept.
	filename string
	// secret says that the body tells a secret: what is kept of it under an
	// idempotency key is encrypted.
	secret bool
}

func ok(body any) reply { return reply{status: http.StatusOK, body: body} }

func created(location string, body any) reply {
	return reply{status: http.StatusCreated, body: body, location: location}
}

// written is a reply whose body is bytes.
type written struct {
	status     int
	location   string
	body       []byte
	retryAfter time.Duration
	headers    map[string]string
	// contentType is JSON's, or a problem's, when empty.
	contentType string
	secret      bool
}

func (w written) send(c *gin.Context) {
	h := c.Writer.Header()
	for name, value := range w.headers {
		h.Set(name, value)
	}
	if w.location != "" {
		h.Set("Location", w.location)
	}
	if w.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(w.retryAfter.Seconds()))))
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if w.status == http.StatusNoContent {
		c.Status(w.status)
		c.Writer.WriteHeaderNow()
		return
	}
	contentType := typeJSON
	switch {
	case w.status >= 400:
		contentType = typeProblem
	case w.contentType != "":
		contentType = w.contentType
	}
	c.Data(w.status, contentType, w.body)
}

// encode turns what a handler returned into an answer. An error that is no
// problem.Error is logged, and its caller learns only that something broke.
func (s *Server) encode(c *gin.Context, r reply, err error) written {
	if err != nil {
		return s.problem(c, err)
	}
	if r.contentType != "" {
		out := written{status: r.status, location: r.location, body: r.text, retryAfter: r.retryAfter, contentType: r.contentType}
		if r.filename != "" {
			out.headers = map[string]string{"Content-Disposition": mime.FormatMediaType("inline", map[string]string{"filename": r.filename})}
		}
		return out
	}
	body, err := json.Marshal(r.body)
	if err != nil {
		return s.problem(c, err)
	}
	return written{status: r.status, location: r.location, body: body, retryAfter: r.retryAfter, secret: r.secret}
}

// statuses of kinds that are not one of problem's.
const (
	kindUnauthorized problem.Kind = http.StatusUnauthorized
	kindNoMethod     problem.Kind = http.StatusMethodNotAllowed
	kindTooLarge     problem.Kind = http.StatusRequestEntityTooLarge
	kindMediaType    problem.Kind = http.StatusUnsupportedMediaType
	kindInternal     problem.Kind = http.StatusInternalServerError
)

func (s *Server) problem(c *gin.Context, err error) written {
	p, isProblem := problem.As(err)
	if !isProblem {
		s.log.ErrorContext(c.Request.Context(), "a request failed", slog.String("route", c.FullPath()), slog.Any("error", err))
		switch {
		case errors.Is(err, idempotency.ErrLost):
			p = problem.New(problem.Conflict, "idempotency_key_in_progress", "A request with this Idempotency-Key is still being worked on.").After(2 * time.Second)
		case postgres.Unavailable(err):
			p = problem.New(problem.Unavailable, "temporarily_unavailable", "The database can't be used at this moment. Nothing was changed that a repetition would repeat.").After(2 * time.Second)
		default:
			p = problem.New(kindInternal, "internal_error", "Something broke on our side. The request id names it in our logs.")
		}
	}
	return s.describe(c, p)
}

// problemType is where the codes are documented.
const problemType = "/docs#code-"

func (s *Server) describe(c *gin.Context, p *problem.Error) written {
	members := map[string]any{}
	maps.Copy(members, p.More)
	fields := p.Fields
	if fields == nil {
		fields = []problem.Field{}
	}
	status := int(p.Kind)
	maps.Copy(members, map[string]any{
		"type": s.cfg.PublicURL + problemType + p.Code, "title": http.StatusText(status), "status": status,
		"detail": p.Detail, "code": p.Code, "errors": fields, "request_id": requestID(c),
	})
	body, err := json.Marshal(members)
	if err != nil {
		// Only a member that we made ourselves can't be written.
		s.log.ErrorContext(c.Request.Context(), "a problem can't be written as JSON", slog.Any("error", err))
		body = []byte(`{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"","code":"internal_error","errors":[],"request_id":""}`)
		status = http.StatusInternalServerError
	}
	w := written{status: status, body: body, retryAfter: p.RetryAfter}
	if p.Kind == kindUnauthorized {
		w.headers = map[string]string{"WWW-Authenticate": `Bearer realm="justlogistics"`}
	}
	return w
}

// tooLarge reports whether reading a body ended at its limit.
func tooLarge(err error) bool {
	var limit *http.MaxBytesError
	return errors.As(err, &limit)
}
