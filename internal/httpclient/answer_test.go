package httpclient_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
)

func TestRetryAfter_IsSecondsOrADateAndNotMoreThanADay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 18, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "0": 0, "-1": 0, "86401": 0, "soon": 0,
		"Fri, 18 Sep 2026 12:00:30 GMT": 30 * time.Second, "Fri, 18 Sep 2026 11:59:30 GMT": 0, "Sun, 20 Sep 2026 12:00:00 GMT": 0,
	} {
		require.Equal(t, want, httpclient.RetryAfter(http.Header{"Retry-After": {value}}, now), value)
	}
}

func TestReadable_KeepsOneShortLineWithoutAddresses(t *testing.T) {
	t.Parallel()
	require.Equal(t, "no: … is unknown", httpclient.Readable("no:\n\tana@example.cl\x00 is \xffunknown "))
	long := httpclient.Readable(strings.Repeat("ñ", 300))
	require.Equal(t, strings.Repeat("ñ", 200)+"…", long)
}
