package route

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFromDepot_IsTheSameOnAislesAndOnTheirGraph(t *testing.T) {
	t.Parallel()
	a := &Aisles{X: []int64{0, 4000, 8000}, Cross: []int64{0, 10_000, 20_000}, Depot: Depot{Cross: 0, X: 2000}}
	rapid.Check(t, func(t *rapid.T) {
		s := Stop{Aisle: rapid.IntRange(0, 2).Draw(t, "aisle"), Y: rapid.Int64Range(0, 20_000).Draw(t, "y")}
		g, names := asGraph(t, a, []Stop{s})
		onAisles, err := a.FromDepot(s)
		require.NoError(t, err)
		onGraph, err := g.FromDepot(names[0])
		require.NoError(t, err)
		require.Equal(t, onGraph, onAisles)
	})
	_, err := a.FromDepot(Stop{Aisle: 3})
	require.Error(t, err)
	g, _ := asGraph(t, a, nil)
	_, err = g.FromDepot("nowhere")
	require.ErrorIs(t, err, ErrNoNode)
}
