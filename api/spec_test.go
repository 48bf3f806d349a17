package api_test

import (
	"context"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"justlogistics/api"
	"justlogistics/internal/postgres"
	"justlogistics/internal/telemetry"
)

func TestSpec_IsValidAndItsExamplesFit(t *testing.T) {
	t.Parallel()
	doc, err := api.Spec()
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
}

func TestSpec_DescribesEveryRouteAndNoOther(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(context.Background(), "postgres://nobody@127.0.0.1:1/none", postgres.Options{})
	require.NoError(t, err)
	defer db.Close()
	s, err := api.New(api.Config{MetricsHere: true}, api.Deps{DB: db, Metrics: telemetry.NewMetrics(), Logger: telemetry.Logger(&syncBuffer{}, "")})
	require.NoError(t, err)
	engine, ok := s.Handler().(*gin.Engine)
	require.True(t, ok)
	var served []string
	param := regexp.MustCompile(`:(\w+)`)
	for _, r := range engine.Routes() {
		served = append(served, r.Method+" "+param.ReplaceAllString(r.Path, "{$1}"))
	}
	doc, err := api.Spec()
	require.NoError(t, err)
	var described []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	sort.Strings(served)
	sort.Strings(described)
	require.Equal(t, described, served)
}
