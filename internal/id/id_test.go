package id_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"justlogistics/internal/id"

	"github.com/stretchr/testify/require"
)

func TestNew_IsValidAndCarriesTheTime(t *testing.T) {
	t.Parallel()
	before := time.Now().Truncate(time.Millisecond)
	s := id.New()
	require.True(t, id.Valid(s), s)
	at, err := id.Time(s)
	require.NoError(t, err)
	require.Equal(t, time.UTC, at.Location())
	require.False(t, at.Before(before))
	require.WithinDuration(t, before, at, time.Minute)
}

func TestNew_OrdersTheIdsOfOneProcess(t *testing.T) {
	t.Parallel()
	ids := make([]string, 50_000)
	for i := range ids {
		ids[i] = id.New()
	}
	require.True(t, slices.IsSorted(ids))
	require.Len(t, slices.Compact(ids), 50_000)
}

func TestNew_NeverRepeatsUnderConcurrency(t *testing.T) {
	t.Parallel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		seen = map[string]bool{}
	)
	for range 8 {
		wg.Go(func() {
			mine := make([]string, 2000)
			for i := range mine {
				mine[i] = id.New()
			}
			mu.Lock()
			defer mu.Unlock()
			for _, s := range mine {
				seen[s] = true
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 16_000)
}

func TestNew_HasNeighboursThatDoNotPredictIt(t *testing.T) {
	t.Parallel()
	// The last 12 characters are 60 random bits: neighbours share none of them
	// beyond chance.
	a, b := id.New(), id.New()
	require.NotEqual(t, a[14:], b[14:])
}

func TestValid_RefusesEverythingButTheOneForm(t *testing.T) {
	t.Parallel()
	require.True(t, id.Valid("01ARZ3NDEKTSV4RRFFQ69G5FAV"))
	for _, s := range []string{
		"", "01ARZ3NDEKTSV4RRFFQ69G5FA", "01ARZ3NDEKTSV4RRFFQ69G5FAVV", "01arz3ndektsv4rrffq69g5fav",
		"81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAI", "01ARZ3NDEKTSV4RRFFQ69G5FAL",
		"01ARZ3NDEKTSV4RRFFQ69G5FAO", "01ARZ3NDEKTSV4RRFFQ69G5FAU", "01ARZ3NDEKTSV4RRFFQ69G5FA-",
		"01ARZ3NDEKTSV4RRFFQ69G5F\x00V", "01ARZ3NDEKTSV4RRFFQ69G5FÑ",
	} {
		require.False(t, id.Valid(s), "%q", s)
		_, err := id.Time(s)
		require.Error(t, err, "%q", s)
	}
	_, err := id.Time(strings.Repeat("A", 1<<20))
	require.Less(t, len(err.Error()), 200)
}

func FuzzValid_AgreesWithTime(f *testing.F) {
	f.Add("01ARZ3NDEKTSV4RRFFQ69G5FAV")
	f.Add("7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
	f.Fuzz(func(t *testing.T, s string) {
		_, err := id.Time(s)
		require.Equal(t, id.Valid(s), err == nil)
	})
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		id.New()
	}
}

func TestFor_IsTheSameForTheSameAndValid(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	one := id.For(at, "a", "b")
	require.True(t, id.Valid(one), one)
	require.Equal(t, one, id.For(at.In(time.Local), "a", "b"))
	for _, other := range []string{id.For(at, "ab"), id.For(at, "b", "a"), id.For(at, "a", "b", ""), id.For(at.Add(time.Millisecond), "a", "b")} {
		require.NotEqual(t, one, other)
	}
	carried, err := id.Time(one)
	require.NoError(t, err)
	require.Equal(t, at, carried)
}
