package id

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGenerator_StaysInOrderWhenTheClockGoesBack(t *testing.T) {
	t.Parallel()
	var g generator
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ids := []string{g.make(now), g.make(now.Add(-time.Hour)), g.make(now.Add(-time.Second)), g.make(now.Add(time.Second))}
	require.True(t, slices.IsSorted(ids), ids)
	at, err := Time(ids[3])
	require.NoError(t, err)
	require.Equal(t, now.Add(time.Second), at)
}

func TestGenerator_RunsAheadOfAFullMillisecond(t *testing.T) {
	t.Parallel()
	var g generator
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ids := make([]string, 1<<16+10)
	for i := range ids {
		ids[i] = g.make(now)
	}
	require.True(t, slices.IsSorted(ids))
	require.Len(t, slices.Compact(ids), 1<<16+10)
	at, err := Time(ids[len(ids)-1])
	require.NoError(t, err)
	require.Equal(t, now.Add(time.Millisecond), at)
}
