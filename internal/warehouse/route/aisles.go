// Package route finds the walk of a picker through a warehouse: the shortest
// one on a floor of parallel aisles, a very short one on any other floor.
//
// All lengths and coordinates are millimetres. Nothing here touches a database
// or a clock; the same floor and the same stops always give the same walk.
package route

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Aisles is a floor of parallel aisles that are joined by two cross aisles (one
// block) or three (two blocks). The pickers walk on centre lines; reaching into
// a shelf on the left or on the right costs no way.
//
// A value that Check accepts may be used by any number of goroutines at once.
type Aisles struct {
	X     []int64 // centre line of each aisle, ascending
	Cross []int64 // y of each cross aisle, ascending, front first
	Depot Depot
}

// Depot is where every tour begins and ends: a point of a cross aisle, which
// need not be at an aisle.
type Depot struct {
	Cross int // index into Aisles.Cross
	X     int64
}

// Stop is a place to pick at, on the centre line of an aisle.
type Stop struct {
	Aisle int // index into Aisles.X
	Y     int64
}

// Point is a place on the floor.
type Point struct {
	X int64 `json:"x"`
	Y int64 `json:"y"`
}

// Tour is a walk from the depot to all stops and back.
type Tour struct {
	Length int64 // millimetres
	// Order has the index of every stop once, in the order of the walk.
	Order []int
	// Path is the walk as a polyline that begins and ends at the depot. It has
	// only the depot when there is nowhere to go.
	Path []Point
}

// farthest bounds coordinates, so that no sum of a tour can overflow: a
// thousand kilometres.
const farthest = 1_000_000_000

// Check tells what is wrong with the floor.
func (a *Aisles) Check() error {
	switch {
	case len(a.X) == 0:
		return errors.New("a floor needs an aisle")
	case len(a.Cross) != 2 && len(a.Cross) != 3:
		return fmt.Errorf("a floor has 2 or 3 cross aisles, not %d", len(a.Cross))
	case a.Depot.Cross < 0 || a.Depot.Cross >= len(a.Cross):
		return fmt.Errorf("the depot is on cross aisle %d of %d", a.Depot.Cross, len(a.Cross))
	case beyond(a.Depot.X):
		return fmt.Errorf("the depot's x, %d mm, is farther than %d mm from the origin", a.Depot.X, int64(farthest))
	}
	if err := ascending("x of aisle", a.X); err != nil {
		return err
	}
	return ascending("y of cross aisle", a.Cross)
}

func beyond(v int64) bool { return v < -farthest || v > farthest }

func ascending(what string, v []int64) error {
	for i := range v {
		if beyond(v[i]) {
			return fmt.Errorf("%s %d, %d mm, is farther than %d mm from the origin", what, i, v[i], int64(farthest))
		}
		if i > 0 && v[i] <= v[i-1] {
			return fmt.Errorf("%s %d, %d mm, is not beyond the one before it, %d mm", what, i, v[i], v[i-1])
		}
	}
	return nil
}

// has reports whether a stop is on the floor.
func (a *Aisles) has(s Stop) bool {
	return s.Aisle >= 0 && s.Aisle < len(a.X) && s.Y >= a.Cross[0] && s.Y <= a.Cross[len(a.Cross)-1]
}

// check tells what is wrong with the floor or the stops.
func (a *Aisles) check(stops []Stop) error {
	if err := a.Check(); err != nil {
		return err
	}
	for i, s := range stops {
		if !a.has(s) {
			return fmt.Errorf("stop %d, aisle %d at %d mm, is not on a floor of %d aisles from %d mm to %d mm",
				i, s.Aisle, s.Y, len(a.X), a.Cross[0], a.Cross[len(a.Cross)-1])
		}
	}
	return nil
}

func (a *Aisles) depot() Point { return Point{a.Depot.X, a.Cross[a.Depot.Cross]} }

// Shortest finds a shortest tour, by the dynamic programme of Ratliff and
// Rosenthal (1983) for one block and its extension to two by Roodbergen and
// de Koster (2001). It takes time in proportion to the aisles that have stops.
// The only errors are those of a floor that Check refuses and of stops that are
// not on it.
func (a *Aisles) Shortest(stops []Stop) (Tour, error) {
	if err := a.check(stops); err != nil {
		return Tour{}, err
	}
	var stopBuffer [40]Stop
	var columnBuffer [40]column
	sorted := inOrder(append(stopBuffer[:0], stops...))
	columns := a.columns(columnBuffer[:0], sorted)
	if staysAtDepot(columns) {
		return tourAlong([]Point{a.depot()}, a, stops), nil
	}
	p := programmes[len(a.Cross)]
	steps := make([]step, len(columns)*len(a.Cross))
	length, last := p.solve(columns, steps)
	walk := a.walk(columns, sorted, p.choices(columns, steps, last))
	tour := tourAlong(walk, a, stops)
	if tour.Length != length || len(tour.Order) != len(stops) {
		return Tour{}, fmt.Errorf("a walk of %d mm past %d of %d stops does not fit the length of the shortest, %d mm: a fault of this package", tour.Length, len(tour.Order), len(stops), length)
	}
	return tour, nil
}

// Length is the length of a shortest tour. It is what batching asks many
// thousand times: it allocates nothing for lists of up to 40 stops. For a floor
// or stops that Shortest refuses it is -1.
func (a *Aisles) Length(stops []Stop) int64 {
	if a.check(stops) != nil {
		return -1
	}
	var stopBuffer [40]Stop
	var columnBuffer [40]column
	columns := a.columns(columnBuffer[:0], inOrder(append(stopBuffer[:0], stops...)))
	if staysAtDepot(columns) {
		return 0
	}
	length, _ := programmes[len(a.Cross)].solve(columns, nil)
	return length
}

func inOrder(stops []Stop) []Stop {
	slices.SortFunc(stops, func(a, b Stop) int {
		if a.Aisle != b.Aisle {
			return a.Aisle - b.Aisle
		}
		return cmp.Compare(a.Y, b.Y)
	})
	return stops
}

// column is a place along the cross aisles where a tour has something to do: an
// aisle with stops, or the depot. Aisles without stops need none: between two
// stops, or a stop and the depot, there is always a shortest way whose only
// aisles are those of its ends.
type column struct {
	x       int64
	first   int // its stops are sorted[first:end]
	end     int
	need    uint8 // bit c: the crossing with cross aisle c has to be visited
	shelves bool  // it has stops
	ways    [2][wayCount]int64
	gap     [2]int // the index of the stop below the widest gap between stops
}

// way is how the part of an aisle between two cross aisles is walked.
type way uint8

const (
	untouched way = iota
	through       // once, from end to end
	twice         // there and back, from end to end
	fromBelow     // from the lower end to the highest stop and back
	fromAbove     // from the upper end to the lowest stop and back
	aroundGap     // from both ends, leaving out the widest gap between stops
	wayCount
)

// unreachable is more than any tour and far from an overflow when added to
// itself.
const unreachable = int64(1) << 60

// columns lists where the tour has something to do, from left to right.
func (a *Aisles) columns(out []column, sorted []Stop) []column {
	depotDone := false
	for first := 0; first < len(sorted); {
		end := first + 1
		for end < len(sorted) && sorted[end].Aisle == sorted[first].Aisle {
			end++
		}
		x := a.X[sorted[first].Aisle]
		if !depotDone && a.Depot.X <= x {
			depotDone = true
			if a.Depot.X < x {
				out = append(out, column{x: a.Depot.X, need: 1 << a.Depot.Cross, first: first, end: first})
			}
		}
		c := column{x: x, first: first, end: end, shelves: true}
		if a.Depot.X == x {
			c.need = 1 << a.Depot.Cross
		}
		a.measure(&c, sorted)
		out = append(out, c)
		first = end
	}
	if !depotDone {
		out = append(out, column{x: a.Depot.X, need: 1 << a.Depot.Cross, first: len(sorted), end: len(sorted)})
	}
	return out
}

// measure computes what each way through the parts of an aisle costs.
func (a *Aisles) measure(c *column, sorted []Stop) {
	i := c.first
	for b := range len(a.Cross) - 1 {
		below, above := a.Cross[b], a.Cross[b+1]
		for ; i < c.end && sorted[i].Y == below; i++ {
			c.need |= 1 << b
		}
		lowest := i
		widest := int64(0)
		for ; i < c.end && sorted[i].Y < above; i++ {
			if i > lowest && sorted[i].Y-sorted[i-1].Y > widest {
				widest, c.gap[b] = sorted[i].Y-sorted[i-1].Y, i-1
			}
		}
		w := &c.ways[b]
		w[through], w[twice] = above-below, 2*(above-below)
		w[untouched], w[fromBelow], w[fromAbove], w[aroundGap] = 0, unreachable, unreachable, unreachable
		if i == lowest {
			continue
		}
		w[untouched] = unreachable
		w[fromBelow] = 2 * (sorted[i-1].Y - below)
		w[fromAbove] = 2 * (above - sorted[lowest].Y)
		if widest > 0 {
			w[aroundGap] = 2 * (above - below - widest)
		}
	}
	if i < c.end {
		c.need |= 1 << (len(a.Cross) - 1)
	}
}

// staysAtDepot reports whether all stops are at the depot itself.
func staysAtDepot(columns []column) bool {
	if len(columns) != 1 {
		return false
	}
	c := columns[0]
	if !c.shelves {
		return true
	}
	// A part of an aisle with no stops in it may stay untouched.
	inside := c.ways[0][untouched] != 0 || c.ways[1][untouched] != 0
	return !inside && bits.OnesCount8(c.need) == 1
}
