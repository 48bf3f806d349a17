package batch_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/warehouse/batch"
)

// The floor of Henn and Wäscher's instances: 10 aisles of 45 cells a side,
// cells of 1 m, 5 m from aisle to aisle, 1 m from either cross aisle to the
// middle of the first cell, the depot in front of the leftmost aisle.
const (
	cell       = 1000
	cells      = 45
	aislePitch = 5000
	aisleEnd   = (cells + 1) * cell
)

const unreachable = math.MaxInt64 / 4

// tours has the shortest partial tour of each kind, by its degree at the front
// and the back cross aisle of the last aisle and by what hangs together.
type tours [kinds]int64

const (
	nothing = iota
	odd     // at both ends, in one piece
	back    // even at the back, nothing at the front
	front
	whole  // even at both ends, in one piece
	halves // even at both ends, in two pieces
	kinds
)

// optimalRoute is the dynamic program of Ratliff and Rosenthal for one block,
// written for these tests alone.
func optimalRoute(stops []batch.Stop) int64 {
	best := tours{nothing: 0, odd: unreachable, back: unreachable, front: unreachable, whole: unreachable, halves: unreachable}
	next := 0
	var buffer [cells + 3]int64
	for aisle := 0; aisle <= stops[len(stops)-1].Aisle; aisle++ {
		ys := buffer[:0]
		if aisle == 0 {
			ys = append(ys, 0) // the depot
		} else {
			best = best.across()
		}
		for ; next < len(stops) && stops[next].Aisle == aisle; next++ {
			ys = append(ys, stops[next].Y)
		}
		best = best.along(ys)
	}
	return min(best[whole], best[back], best[front])
}

// across goes to the next aisle.
func (t tours) across() tours {
	return tours{
		nothing: unreachable,
		odd:     t[odd] + 2*aislePitch,
		back:    min(t[back], t[whole]) + 2*aislePitch,
		front:   min(t[front], t[whole]) + 2*aislePitch,
		whole:   t[whole] + 4*aislePitch,
		halves:  t[halves] + 4*aislePitch,
	}
}

// along visits the stops of an aisle, ascending.
func (t tours) along(ys []int64) tours {
	out := t
	if len(ys) > 0 {
		fromFront, fromBack := 2*ys[len(ys)-1], 2*(aisleEnd-ys[0])
		gap := int64(0)
		for i := 1; i < len(ys); i++ {
			gap = max(gap, ys[i]-ys[i-1])
		}
		fromBoth := 2 * (aisleEnd - gap)
		least := min(fromFront, fromBack, fromBoth)
		out = tours{
			nothing: unreachable,
			odd:     t[odd] + least,
			front:   min(t[nothing], t[front]) + fromFront,
			back:    min(t[nothing], t[back]) + fromBack,
			whole:   t[whole] + least,
			halves: min(t[halves]+least, t[nothing]+fromBoth, t[front]+min(fromBack, fromBoth),
				t[back]+min(fromFront, fromBoth)),
		}
	}
	out[odd] = min(out[odd], min(t[nothing], t[front], t[back], t[whole], t[halves])+aisleEnd)
	out[whole] = min(out[whole], t[odd]+aisleEnd)
	return out
}

// sShape walks every visited aisle through, and the last one back if need be. A
// stop more may make it shorter, and one trolley for two orders longer.
func sShape(stops []batch.Stop) int64 {
	aisles, last := int64(0), -1
	for _, s := range stops {
		if s.Aisle != last {
			aisles, last = aisles+1, s.Aisle
		}
	}
	length := int64(last)*2*aislePitch + aisles*aisleEnd
	if aisles%2 == 1 {
		length += 2*stops[len(stops)-1].Y - aisleEnd
	}
	return length
}

// wave is orders of so many units, one to a line, from uniformly drawn cells.
func wave(n, aisles, fewest, most int, seed uint64) []batch.Order {
	chance := rand.New(rand.NewPCG(seed, uint64(n)))
	orders := make([]batch.Order, n)
	for i := range orders {
		units := fewest + chance.IntN(most-fewest+1)
		orders[i].Load.Units = units
		for range units {
			orders[i].Stops = append(orders[i].Stops, batch.Stop{Aisle: chance.IntN(aisles), Y: int64(1+chance.IntN(cells)) * cell})
		}
	}
	return orders
}

func TestOptimalRoute_IsTheShortestOfAllOrders(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		stops := make([]batch.Stop, 1+chance.IntN(6))
		for i := range stops {
			stops[i] = batch.Stop{Aisle: chance.IntN(4), Y: int64(1+chance.IntN(cells)) * cell}
		}
		slices.SortFunc(stops, func(a, b batch.Stop) int { return (a.Aisle-b.Aisle)*1_000_000 + int(a.Y-b.Y) })
		stops = slices.Compact(stops)
		require.Equal(t, shortestOfAll(batch.Stop{}, stops), optimalRoute(stops), "%v", stops)
	}
}

// shortestOfAll tries what can come next, and goes back to the depot at the end.
func shortestOfAll(from batch.Stop, stops []batch.Stop) int64 {
	if len(stops) == 0 {
		return distance(from, batch.Stop{})
	}
	best := int64(math.MaxInt64)
	for i, to := range stops {
		best = min(best, distance(from, to)+shortestOfAll(to, slices.Delete(slices.Clone(stops), i, i+1)))
	}
	return best
}

func distance(a, b batch.Stop) int64 {
	if a.Aisle == b.Aisle {
		return max(a.Y-b.Y, b.Y-a.Y)
	}
	return int64(max(a.Aisle-b.Aisle, b.Aisle-a.Aisle))*aislePitch + min(a.Y+b.Y, 2*aisleEnd-a.Y-b.Y)
}
