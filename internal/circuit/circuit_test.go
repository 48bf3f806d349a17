package circuit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/circuit"
)

// How processes share circuits is tested with PostgreSQL beside those that call providers.

var key = circuit.Key{Tenant: "shop", Name: "starken"}

func away(s *circuit.Set, times int) {
	for range times {
		s.Count(key, circuit.IsAway)
	}
}

func TestSet_WithoutADatabaseJudgesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := circuit.New(circuit.Options{Kind: "carrier", Names: []string{"starken"}, Lease: time.Minute})
		defer s.Close()
		away(s, 9)
		_, _, ok := s.Enter(t.Context(), key)
		require.True(t, ok, "nine calls are too few to judge by")
		require.False(t, s.Open(t.Context(), key))
		away(s, 1)
		require.True(t, s.Open(t.Context(), key))
		_, wait, ok := s.Enter(t.Context(), key)
		require.False(t, ok)
		require.Greater(t, wait, 14*time.Second)
		require.LessOrEqual(t, wait, 15*time.Second)
		require.False(t, s.Open(t.Context(), circuit.Key{Tenant: "another", Name: key.Name}), "each tenant has its own account there")

		<-time.After(15 * time.Second) // of the bubble's clock
		require.False(t, s.Open(t.Context(), key), "a call may try")
		p, _, ok := s.Enter(t.Context(), key)
		require.True(t, ok)
		_, wait, ok = s.Enter(t.Context(), key)
		require.False(t, ok, "one at a time")
		require.GreaterOrEqual(t, wait, time.Second)
		s.Leave(key, p, circuit.SaysNothing)
		_, _, ok = s.Enter(t.Context(), key)
		require.True(t, ok, "the first came to nothing")

		s.Count(key, circuit.IsThere)
		all, err := s.All(t.Context())
		require.NoError(t, err)
		require.Equal(t, []circuit.Circuit{{Tenant: key.Tenant, Name: key.Name, Standing: circuit.Standing{State: circuit.Closed}}}, all)
	})
}

func TestSet_ATryThatFailsShutsItAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := circuit.New(circuit.Options{Kind: "carrier", Names: []string{"starken"}, Lease: time.Minute})
		defer s.Close()
		away(s, 10)
		<-time.After(15 * time.Second)
		_, _, ok := s.Enter(t.Context(), key)
		require.True(t, ok)
		away(s, 1)
		require.True(t, s.Open(t.Context(), key))
	})
}

func TestSet_HalfOfTheCallsIsTheLimit(t *testing.T) {
	t.Parallel()
	for failing, open := range map[int]bool{4: false, 5: true} {
		s := circuit.New(circuit.Options{Kind: "carrier", Names: []string{"starken"}, Lease: time.Minute})
		for range 10 - failing {
			s.Count(key, circuit.IsThere)
		}
		s.Count(key, circuit.SaysNothing)
		away(s, failing)
		require.Equal(t, open, s.Open(t.Context(), key), failing)
		s.Close()
	}
}

func TestJudge_WhoGaveUpHasSeenNothing(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	refused := errors.New("connection refused")
	require.Equal(t, circuit.IsThere, circuit.Judge(gone, false, nil))
	require.Equal(t, circuit.IsAway, circuit.Judge(t.Context(), true, refused))
	require.Equal(t, circuit.IsAway, circuit.Judge(t.Context(), true, context.DeadlineExceeded))
	require.Equal(t, circuit.SaysNothing, circuit.Judge(t.Context(), true, context.Canceled))
	require.Equal(t, circuit.SaysNothing, circuit.Judge(gone, true, refused))
}
