package timeline_test

import (
	"errors"
	"math"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/timeline"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestTimeline_KeepsWhatHappenedInItsOrder(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.AddTenant(t, "other")
	add := func(name, subject, kind string, data map[string]any) {
		require.NoError(t, s.DB.InTenant(t.Context(), name, func(tx pgx.Tx) error {
			return timeline.Add(t.Context(), tx, name, subject, kind, "system", data)
		}))
	}
	add(shoptest.Tenant, "one", "first", map[string]any{"amount": 1})
	add(shoptest.Tenant, "two", "elsewhere", nil)
	add("other", "one", "not ours", nil)
	add(shoptest.Tenant, "one", "second", nil)
	s.Do(t, func(tx pgx.Tx) error {
		list, err := timeline.Of(t.Context(), tx, shoptest.Tenant, "one")
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, "first", list[0].Kind)
		require.Equal(t, map[string]any{"amount": 1.0}, list[0].Data)
		require.Equal(t, "second", list[1].Kind)
		require.Equal(t, "system", list[1].Actor)
		require.False(t, list[1].At.Before(list[0].At))
		none, err := timeline.Of(t.Context(), tx, shoptest.Tenant, "nothing")
		require.NoError(t, err)
		require.Empty(t, none)
		return nil
	})
}

func TestTimeline_TellsNothingThatDidNotHappen(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	undone := errors.New("undone")
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		require.NoError(t, timeline.Add(t.Context(), tx, shoptest.Tenant, "one", "paid", "system", nil))
		return undone
	})
	require.ErrorIs(t, err, undone)
	err = s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		return timeline.Add(t.Context(), tx, shoptest.Tenant, "one", "paid", "system", map[string]any{"x": math.NaN()})
	})
	require.ErrorContains(t, err, "event paid")
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM events`))
}
