package route

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// floor draws a small warehouse with stops, some of them twice, on crossings or
// at the depot.
func floor(r *rand.Rand, crosses, stops int) (*Aisles, []Stop) {
	a := &Aisles{Depot: Depot{Cross: r.IntN(crosses)}}
	x, y := int64(r.IntN(5)), int64(r.IntN(5))
	for range 1 + r.IntN(5) {
		a.X = append(a.X, x)
		x += 1 + int64(r.IntN(6))
	}
	for range crosses {
		a.Cross = append(a.Cross, y)
		y += 1 + int64(r.IntN(14))
	}
	a.Depot.X = a.X[r.IntN(len(a.X))]
	if r.IntN(2) == 0 {
		a.Depot.X = a.X[0] - 3 + int64(r.IntN(int(x-a.X[0]+6)))
	}
	depth := int(a.Cross[crosses-1] - a.Cross[0])
	var list []Stop
	for range r.IntN(stops + 1) {
		s := Stop{r.IntN(len(a.X)), a.Cross[0] + int64(r.IntN(depth+1))}
		switch r.IntN(12) {
		case 0:
			s.Y = a.Cross[r.IntN(crosses)]
		case 1:
			if len(list) > 0 {
				s = list[r.IntN(len(list))]
			}
		}
		list = append(list, s)
	}
	return a, list
}

// distances are the shortest ways between the depot, which is the first, and
// the stops, found by Floyd and Warshall over every place of the floor.
func distances(a *Aisles, stops []Stop) [][]int64 {
	places := []Point{a.depot()}
	for _, s := range stops {
		places = append(places, Point{a.X[s.Aisle], s.Y})
	}
	ends := len(places)
	for _, x := range a.X {
		for _, y := range a.Cross {
			places = append(places, Point{x, y})
		}
	}
	d := make([][]int64, len(places))
	for i, p := range places {
		d[i] = make([]int64, len(places))
		for j, q := range places {
			d[i][j] = unreachable
			if onOneLine(a, p, q) {
				d[i][j] = apart(p, q)
			}
		}
	}
	floydWarshall(d)
	for i := range ends {
		d[i] = d[i][:ends]
	}
	return d[:ends]
}

func floydWarshall(d [][]int64) {
	for k := range d {
		for i := range d {
			for j := range d {
				d[i][j] = min(d[i][j], d[i][k]+d[k][j])
			}
		}
	}
}

func onOneLine(a *Aisles, p, q Point) bool {
	return p.X == q.X && slices.Contains(a.X, p.X) || p.Y == q.Y && slices.Contains(a.Cross, p.Y)
}

// bruteForce is the length of a shortest closed walk through all places, by
// Held and Karp.
func bruteForce(d [][]int64) int64 {
	n := len(d) - 1
	if n == 0 {
		return 0
	}
	best := make([][]int64, 1<<n)
	for set := range best {
		best[set] = slices.Repeat([]int64{unreachable}, n)
		for last := range n {
			if set&(1<<last) == 0 {
				continue
			}
			rest := set &^ (1 << last)
			if rest == 0 {
				best[set][last] = d[0][last+1]
				continue
			}
			for before := range n {
				if rest&(1<<before) != 0 {
					best[set][last] = min(best[set][last], best[rest][before]+d[before+1][last+1])
				}
			}
		}
	}
	shortest := unreachable
	for last, length := range best[len(best)-1] {
		shortest = min(shortest, length+d[last+1][0])
	}
	return shortest
}

// requireWalk demands that a tour can be walked: along aisles and cross aisles,
// from the depot to the depot, past every stop in its order.
func requireWalk(t require.TestingT, a *Aisles, stops []Stop, tour Tour) {
	require.NotEmpty(t, tour.Path)
	require.Equal(t, a.depot(), tour.Path[0])
	require.Equal(t, a.depot(), tour.Path[len(tour.Path)-1])
	length, met := int64(0), 0
	for i, to := range tour.Path {
		from := tour.Path[max(i-1, 0)]
		if i > 0 {
			require.NotEqual(t, from, to)
			require.True(t, onOneLine(a, from, to), "%v to %v", from, to)
		}
		length += apart(from, to)
		for ; met < len(tour.Order); met++ {
			p := Point{a.X[stops[tour.Order[met]].Aisle], stops[tour.Order[met]].Y}
			if !between(from.X, p.X, to.X) || !between(from.Y, p.Y, to.Y) {
				break
			}
			from = p
		}
	}
	require.Equal(t, tour.Length, length)
	require.Equal(t, len(stops), met)
	require.ElementsMatch(t, intsBelow(len(stops)), tour.Order)
}

func TestShortest_IsAsShortAsTryingEverything(t *testing.T) {
	t.Parallel()
	for name, crosses := range map[string]int{"one block": 2, "two blocks": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, uint64(crosses)))
			for range 8000 {
				a, stops := floor(r, crosses, 8)
				tour, err := a.Shortest(stops)
				require.NoError(t, err, "%+v %v", a, stops)
				require.Equal(t, bruteForce(distances(a, stops)), tour.Length, "%+v %v", a, stops)
				require.Equal(t, tour.Length, a.Length(stops), "%+v %v", a, stops)
				requireWalk(t, a, stops, tour)
			}
		})
	}
}

func TestShortest_IsAWalkOnAnyFloor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		a, stops := floor(r, rapid.IntRange(2, 3).Draw(t, "crosses"), rapid.IntRange(0, 60).Draw(t, "stops"))
		shortest, err := a.Shortest(stops)
		require.NoError(t, err)
		requireWalk(t, a, stops, shortest)
		snake, err := a.SShape(stops)
		require.NoError(t, err)
		requireWalk(t, a, stops, snake)
		require.LessOrEqual(t, shortest.Length, snake.Length)
	})
}

func TestShortest_NeverGrowsWhenAStopIsLeftOut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		a, stops := floor(r, rapid.IntRange(2, 3).Draw(t, "crosses"), 40)
		if len(stops) == 0 {
			return
		}
		out := r.IntN(len(stops))
		require.LessOrEqual(t, a.Length(slices.Delete(slices.Clone(stops), out, out+1)), a.Length(stops))
	})
}

func TestShortest_HasNowhereToGo(t *testing.T) {
	t.Parallel()
	a := &Aisles{X: []int64{0, 3000}, Cross: []int64{0, 10000}, Depot: Depot{Cross: 0, X: 3000}}
	for name, stops := range map[string][]Stop{
		"no stops":              nil,
		"stops at the depot":    {{Aisle: 1}, {Aisle: 1}},
		"many stops, all there": slices.Repeat([]Stop{{Aisle: 1}}, 50),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tour, err := a.Shortest(stops)
			require.NoError(t, err)
			require.Zero(t, tour.Length)
			require.Len(t, tour.Order, len(stops))
			require.Equal(t, []Point{{3000, 0}}, tour.Path)
			require.Zero(t, a.Length(stops))
			snake, err := a.SShape(stops)
			require.NoError(t, err)
			require.Zero(t, snake.Length)
		})
	}
}

func TestShortest_WalksAFloorThatCanBeDoneByHand(t *testing.T) {
	t.Parallel()
	a := &Aisles{X: []int64{0, 5, 10}, Cross: []int64{0, 20}, Depot: Depot{}}
	// Up the left aisle, down the right one, and a step into the middle one from
	// the front: 20 + 10 + 20 + 10 + 2.
	stops := []Stop{{1, 1}, {2, 15}, {0, 5}, {0, 15}, {2, 4}}
	tour, err := a.Shortest(stops)
	require.NoError(t, err)
	require.Equal(t, int64(62), tour.Length)
	require.Contains(t, [][]int{{2, 3, 1, 4, 0}, {0, 4, 1, 3, 2}}, tour.Order)
	require.Equal(t, int64(20+5+20+5+30+10), must(t)(a.SShape(stops)).Length)
}

func must(t *testing.T) func(Tour, error) Tour {
	return func(tour Tour, err error) Tour {
		t.Helper()
		require.NoError(t, err)
		return tour
	}
}

func TestSShape_ComesBackFromTheFarBlockThroughTheNearOne(t *testing.T) {
	t.Parallel()
	a := &Aisles{X: []int64{0, 5, 10}, Cross: []int64{0, 10, 20}, Depot: Depot{X: 5}}
	stops := []Stop{{0, 4}, {1, 15}, {2, 12}, {2, 7}, {1, 3}}
	tour, err := a.SShape(stops)
	require.NoError(t, err)
	require.Equal(t, []Point{{5, 0}, {0, 0}, {0, 10}, {5, 10}, {5, 20}, {10, 20}, {10, 0}, {5, 0}, {5, 3}, {5, 0}}, tour.Path)
	require.Equal(t, int64(5+10+5+10+5+20+5+6), tour.Length)
}

func TestAisles_RefusesWhatIsNoFloor(t *testing.T) {
	t.Parallel()
	good := func() *Aisles { return &Aisles{X: []int64{0, 10}, Cross: []int64{0, 20}, Depot: Depot{X: 4}} }
	require.NoError(t, good().Check())
	for name, spoil := range map[string]func(a *Aisles){
		"a floor needs an aisle":                      func(a *Aisles) { a.X = nil },
		"2 or 3 cross aisles, not 1":                  func(a *Aisles) { a.Cross = a.Cross[:1] },
		"2 or 3 cross aisles, not 4":                  func(a *Aisles) { a.Cross = []int64{0, 1, 2, 3} },
		"the depot is on cross aisle 2 of 2":          func(a *Aisles) { a.Depot.Cross = 2 },
		"the depot is on cross aisle -1 of 2":         func(a *Aisles) { a.Depot.Cross = -1 },
		"the depot's x":                               func(a *Aisles) { a.Depot.X = 1 << 40 },
		"x of aisle 1, 0 mm, is not beyond":           func(a *Aisles) { a.X[1] = 0 },
		"y of cross aisle 1, 2000000000 mm, is farth": func(a *Aisles) { a.Cross[1] = 2_000_000_000 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := good()
			spoil(a)
			require.ErrorContains(t, a.Check(), name)
			_, err := a.Shortest(nil)
			require.ErrorContains(t, err, name)
			require.Equal(t, int64(-1), a.Length(nil))
		})
	}
	for _, s := range []Stop{{2, 5}, {-1, 5}, {0, -1}, {1, 21}} {
		_, err := good().Shortest([]Stop{{0, 1}, s})
		require.ErrorContains(t, err, "stop 1, aisle")
		_, err = good().SShape([]Stop{s})
		require.ErrorContains(t, err, "is not on a floor of 2 aisles")
		require.Equal(t, int64(-1), good().Length([]Stop{s}))
	}
}

func TestLength_IsTheSameForManyAtOnceAndAllocatesNothing(t *testing.T) {
	// Not parallel: allocations are counted.
	a, stops := hall(rand.New(rand.NewPCG(3, 3)), 3, 20, 30)
	want := a.Length(stops)
	var all sync.WaitGroup
	got := make([]int64, 8)
	for i := range got {
		all.Go(func() { got[i] = a.Length(stops) })
	}
	all.Wait()
	require.Equal(t, slices.Repeat([]int64{want}, len(got)), got)
	require.Zero(t, testing.AllocsPerRun(20, func() { a.Length(stops) }))
}

// hall draws a warehouse of a usual size with stops at its shelves: aisles 3.5 m
// apart, blocks of 30 m, a shelf every metre.
func hall(r *rand.Rand, crosses, aisles, stops int) (*Aisles, []Stop) {
	a := &Aisles{Depot: Depot{X: int64(r.IntN(aisles)) * 3500}}
	for i := range aisles {
		a.X = append(a.X, int64(i)*3500)
	}
	for c := range crosses {
		a.Cross = append(a.Cross, int64(c)*32_000)
	}
	var list []Stop
	for range stops {
		list = append(list, Stop{r.IntN(aisles), int64(r.IntN(crosses-1))*32_000 + 1500 + 1000*int64(r.IntN(30))})
	}
	return a, list
}

func BenchmarkShortest_30LinesOneBlock(b *testing.B)  { benchmarkShortest(b, 2) }
func BenchmarkShortest_30LinesTwoBlocks(b *testing.B) { benchmarkShortest(b, 3) }
func BenchmarkLength_30LinesOneBlock(b *testing.B)    { benchmarkLength(b, 2) }
func BenchmarkLength_30LinesTwoBlocks(b *testing.B)   { benchmarkLength(b, 3) }

func benchmarkShortest(b *testing.B, crosses int) {
	a, stops := hall(rand.New(rand.NewPCG(7, 7)), crosses, 20, 30)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Shortest(stops); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkLength(b *testing.B, crosses int) {
	a, stops := hall(rand.New(rand.NewPCG(7, 7)), crosses, 20, 30)
	b.ReportAllocs()
	for b.Loop() {
		if a.Length(stops) < 0 {
			b.Fatal("no length")
		}
	}
}
