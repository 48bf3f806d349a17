package api

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"
	"go.temporal.io/sdk/client"

	"justlogistics/internal/codec"
)

//go:embed openapi.yaml
var specYAML []byte

// Spec is the API's description, checked.
func Spec() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(specYAML)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return doc, nil
}

func specJSON() ([]byte, error) {
	doc, err := Spec()
	if err != nil {
		return nil, err
	}
	out, err := doc.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml as JSON: %w", err)
	}
	return out, nil
}

func (s *Server) openAPI(c *gin.Context) {
	c.Data(http.StatusOK, typeJSON, s.spec)
}

// docs is a page that draws openapi.json; it needs nothing from elsewhere.
func (s *Server) docs(c *gin.Context) {
	var b bytes.Buffer
	if err := docsPage.Execute(&b, nil); err != nil {
		s.problem(c, err).send(c)
		return
	}
	c.Data(http.StatusOK, typeHTML, b.Bytes())
}

var docsPage = template.Must(template.New("docs").Parse(docsHTML))

//go:embed pages/docs.html
var docsHTML string

type health struct {
	Status   string `json:"status"`
	Temporal string `json:"temporal,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// healthz says that the process answers.
func (s *Server) healthz(c *gin.Context) { c.JSON(http.StatusOK, health{Status: "ok"}) }

// readyz says whether the database can be used. Temporal's state is told and
// does not count: without it, news and returns are stored all the same.
func (s *Server) readyz(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), 3*time.Second)
	defer cancel()
	up := make(chan bool, 1)
	go func() {
		_, err := s.temporal.CheckHealth(ctx, &client.CheckHealthRequest{})
		up <- err == nil
	}()
	h := health{Status: "ready", Temporal: "down"}
	status := http.StatusOK
	if err := s.db.Ready(ctx); err != nil {
		s.log.WarnContext(ctx, "not ready", slog.Any("error", err))
		h.Status, h.Reason, status = "not_ready", "the database can't be used, or is not what this build needs", http.StatusServiceUnavailable
	}
	s.counts.temporal.Set(0)
	select {
	case isUp := <-up:
		if isUp {
			h.Temporal = "up"
			s.counts.temporal.Set(1)
		}
	case <-ctx.Done():
	}
	c.JSON(status, h)
}

// codecRoutes let Temporal's UI show decrypted payloads.
func (s *Server) codecRoutes() {
	h := gin.WrapH(codec.Handler(s.cfg.PayloadKeys, s.cfg.CodecOrigin))
	s.router.POST("/codec/decode", h)
	s.router.OPTIONS("/codec/decode", h)
}
