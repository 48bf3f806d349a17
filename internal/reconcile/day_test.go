package reconcile

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var santiago = func() *time.Location {
	zone, err := time.LoadLocation("America/Santiago")
	if err != nil {
		panic(err)
	}
	return zone
}()

func TestDay_IsCutByTheTenantsClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		date, from, to string
		hours          float64
	}{
		{"2026-06-10", "2026-06-10T04:00:00Z", "2026-06-11T04:00:00Z", 24},
		{"2026-11-20", "2026-11-20T03:00:00Z", "2026-11-21T03:00:00Z", 24},
		// The clocks of Chile change at midnight: at 24:00 back to 23:00, and in
		// spring from 24:00 to 01:00.
		{"2026-04-04", "2026-04-04T03:00:00Z", "2026-04-05T04:00:00Z", 25},
		{"2026-04-05", "2026-04-05T04:00:00Z", "2026-04-06T04:00:00Z", 24},
		{"2026-09-05", "2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z", 24},
		{"2026-09-06", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z", 23},
	} {
		d, err := DayIn(c.date, santiago)
		require.NoError(t, err)
		require.Equal(t, c.from, d.From.Format(time.RFC3339), c.date)
		require.Equal(t, c.to, d.To.Format(time.RFC3339), c.date)
		require.InDelta(t, c.hours, d.To.Sub(d.From).Hours(), 0, c.date)
		require.Equal(t, d, DayOf(d.From, santiago))
		require.Equal(t, d, DayOf(d.To.Add(-time.Second), santiago))
		next, err := DayIn(DayOf(d.To, santiago).Date, santiago)
		require.NoError(t, err)
		require.Equal(t, d, next.Before(santiago))
	}
}

func TestDay_RefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "2026-13-01", "2026-02-30", "20261120", "1999-12-31", "2026-11-20T00:00:00Z"} {
		_, err := DayIn(s, santiago)
		require.ErrorIs(t, err, ErrDay, s)
	}
}
