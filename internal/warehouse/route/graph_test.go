package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// asGraph describes a floor of aisles place by place. The name of a stop is its
// place.
func asGraph(t require.TestingT, a *Aisles, stops []Stop) (*Graph, []string) {
	seen := map[Point]bool{}
	var nodes []Node
	var edges []Edge
	add := func(p Point) string {
		if !seen[p] {
			seen[p] = true
			nodes = append(nodes, Node{name(p), p})
		}
		return name(p)
	}
	depot := add(a.depot())
	var names []string
	for _, s := range stops {
		names = append(names, add(Point{a.X[s.Aisle], s.Y}))
	}
	for _, x := range a.X {
		for _, y := range a.Cross {
			add(Point{x, y})
		}
	}
	// Each line's places, one joined to the next.
	line := func(on func(p Point) bool) {
		var places []Point
		for p := range seen {
			if on(p) {
				places = append(places, p)
			}
		}
		slices.SortFunc(places, func(p, q Point) int { return int(p.X - q.X + p.Y - q.Y) })
		for i := 1; i < len(places); i++ {
			edges = append(edges, Edge{name(places[i-1]), name(places[i]), apart(places[i-1], places[i])})
		}
	}
	for _, x := range a.X {
		line(func(p Point) bool { return p.X == x })
	}
	for _, y := range a.Cross {
		line(func(p Point) bool { return p.Y == y })
	}
	g, err := NewGraph(nodes, edges, depot)
	require.NoError(t, err)
	return g, names
}

func name(p Point) string { return fmt.Sprintf("%d/%d", p.X, p.Y) }

func TestGraph_IsExactForAFewStops(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 5))
	for range 500 {
		a, stops := floor(r, 2+r.IntN(2), 9)
		g, names := asGraph(t, a, stops)
		tour, err := g.Tour(names, 1)
		require.NoError(t, err)
		require.Equal(t, a.Length(stops), tour.Length, "%+v %v", a, stops)
		require.Equal(t, tour.Length, g.Length(names, 1))
		requireWalk(t, a, stops, tour)
	}
}

func TestGraph_IsExactOnFloorsOfAnyForm(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(6, 6))
	for range 300 {
		n := 2 + r.IntN(14)
		d := make([][]int64, n)
		nodes, edges := make([]Node, n), []Edge{}
		for i := range n {
			nodes[i] = Node{Name: fmt.Sprint(i)}
			d[i] = slices.Repeat([]int64{unreachable}, n)
			d[i][i] = 0
		}
		join := func(i, j int) {
			length := 1 + r.Int64N(50)
			edges = append(edges, Edge{nodes[i].Name, nodes[j].Name, length})
			d[i][j] = min(d[i][j], length)
			d[j][i] = d[i][j]
		}
		for i := 1; i < n; i++ {
			join(i, r.IntN(i))
		}
		for range r.IntN(n) {
			if i, j := r.IntN(n), r.IntN(n); i != j {
				join(i, j)
			}
		}
		floydWarshall(d)
		g, err := NewGraph(nodes, edges, "0")
		require.NoError(t, err)
		places := append([]int{0}, r.Perm(n)[:min(n, 1+r.IntN(8))]...)
		between := make([][]int64, len(places))
		var stops []string
		for i, p := range places {
			for _, q := range places {
				between[i] = append(between[i], d[p][q])
			}
			if i > 0 {
				stops = append(stops, nodes[p].Name)
			}
		}
		tour, err := g.Tour(stops, 1)
		require.NoError(t, err)
		require.Equal(t, bruteForce(between), tour.Length)
		require.ElementsMatch(t, intsBelow(len(stops)), tour.Order)
	}
}

func intsBelow(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestGraph_IsWithinOnePercentOfTheShortestOnTwoBlocks(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(11, 11))
	const floors = 120
	gap, worst := 0.0, 0.0
	for range floors {
		a, stops := hall(r, 3, 5+r.IntN(16), 10+r.IntN(31))
		g, names := asGraph(t, a, stops)
		tour, err := g.Tour(names, 1)
		require.NoError(t, err)
		requireWalk(t, a, stops, tour)
		shortest := a.Length(stops)
		require.GreaterOrEqual(t, tour.Length, shortest)
		over := float64(tour.Length)/float64(shortest) - 1
		gap += over / floors
		worst = max(worst, over)
	}
	t.Logf("over the shortest: %.3f %% in the mean, %.2f %% at most", 100*gap, 100*worst)
	require.Less(t, gap, 0.01)
	require.Less(t, worst, 0.05)
}

func TestGraph_GivesTheSameTourForTheSameSeed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "floor"), 2))
		seed := rapid.Uint64().Draw(t, "seed")
		a, stops := floor(r, 3, 24)
		g, names := asGraph(t, a, stops)
		tour, err := g.Tour(names, seed)
		require.NoError(t, err)
		requireWalk(t, a, stops, tour)
		require.GreaterOrEqual(t, tour.Length, a.Length(stops))
		again, err := g.Tour(names, seed)
		require.NoError(t, err)
		require.Equal(t, tour, again)
		require.Equal(t, tour.Length, g.Length(names, seed))
	})
}

func TestGraph_GoesByLengthsAndNotByPoints(t *testing.T) {
	t.Parallel()
	// The straight way to the loft is a stair that is slower than the ramp.
	g, err := NewGraph(
		[]Node{{"depot", Point{}}, {"ramp", Point{0, 5}}, {"loft", Point{5, 0}}},
		[]Edge{{"depot", "loft", 100}, {"depot", "ramp", 20}, {"ramp", "loft", 30}}, "depot")
	require.NoError(t, err)
	tour, err := g.Tour([]string{"loft", "depot", "loft"}, 1)
	require.NoError(t, err)
	require.Equal(t, Tour{Length: 100, Order: []int{1, 0, 2}, Path: []Point{{0, 0}, {0, 5}, {5, 0}, {0, 5}, {0, 0}}}, tour)
	nowhere, err := g.Tour(nil, 1)
	require.NoError(t, err)
	require.Equal(t, Tour{Order: []int{}, Path: []Point{{}}}, nowhere)
}

func TestGraph_NamesTheNodesThatCantBeReached(t *testing.T) {
	t.Parallel()
	nodes := []Node{{Name: "depot"}, {Name: "B-2"}, {Name: "A-1"}, {Name: "B-1"}}
	_, err := NewGraph(nodes, []Edge{{"depot", "A-1", 5}, {"B-1", "B-2", 5}}, "depot")
	var lost *UnreachableError
	require.ErrorAs(t, err, &lost)
	require.Equal(t, []string{"B-1", "B-2"}, lost.Nodes)
	require.EqualError(t, err, "no way leads from the depot to B-1, B-2; join each of them to a node that can be reached")

	for i := range 30 {
		nodes = append(nodes, Node{Name: fmt.Sprintf("C-%02d", i)})
	}
	_, err = NewGraph(nodes, []Edge{{"depot", "A-1", 5}}, "depot")
	require.ErrorAs(t, err, &lost)
	require.Len(t, lost.Nodes, 32)
	require.ErrorContains(t, err, "and 22 more")
}

func TestGraph_RefusesWhatIsNoFloor(t *testing.T) {
	t.Parallel()
	ab := []Node{{Name: "a"}, {Name: "b"}}
	for want, make := range map[string]func() (*Graph, error){
		"node 1 has no name":        func() (*Graph, error) { return NewGraph([]Node{{Name: "a"}, {}}, nil, "a") },
		`node "a" is there twice`:   func() (*Graph, error) { return NewGraph([]Node{{Name: "a"}, {Name: "a"}}, nil, "a") },
		`depot: no such node: "c"`:  func() (*Graph, error) { return NewGraph(ab, []Edge{{"a", "b", 1}}, "c") },
		`no such node: "d"`:         func() (*Graph, error) { return NewGraph(ab, []Edge{{"a", "d", 1}}, "a") },
		"is 0 mm long":              func() (*Graph, error) { return NewGraph(ab, []Edge{{"a", "b", 0}}, "a") },
		"is -5 mm long":             func() (*Graph, error) { return NewGraph(ab, []Edge{{"a", "b", -5}}, "a") },
		"from the origin":           func() (*Graph, error) { return NewGraph([]Node{{"a", Point{1 << 50, 0}}}, nil, "a") },
		`depot: no such node: ""`:   func() (*Graph, error) { return NewGraph(nil, nil, "") },
		"no way leads from the dep": func() (*Graph, error) { return NewGraph(ab, nil, "a") },
	} {
		_, err := make()
		require.ErrorContains(t, err, want)
	}
	g, err := NewGraph(ab, []Edge{{"a", "b", 1}}, "a")
	require.NoError(t, err)
	_, err = g.Tour([]string{"b", strings.Repeat("x", 3)}, 1)
	require.ErrorIs(t, err, ErrNoNode)
	require.Equal(t, int64(-1), g.Length([]string{"x"}, 1))
}

func BenchmarkGraphTour_30StopsTwoBlocks(b *testing.B) {
	a, stops := hall(rand.New(rand.NewPCG(7, 7)), 3, 20, 30)
	g, names := asGraph(b, a, stops)
	for b.Loop() {
		if _, err := g.Tour(names, 1); err != nil {
			b.Fatal(err)
		}
	}
}
