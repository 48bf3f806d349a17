package batch

import (
	"math"
	"math/rand/v2"
	"slices"
)

// The warehouse of Henn and Wäscher's instances: 10 aisles of 45 cells a side,
// cells of 1 m, 5 m from aisle to aisle, 1 m from either cross aisle to the
// first cell, the depot in front of the leftmost aisle.
const (
	cell       = 1000
	cells      = 45
	aislePitch = 5000
	aisleEnd   = (cells + 1) * cell
)

// optimalRoute is Ratliff and Rosenthal's dynamic program for one block,
// written for these tests alone: after each aisle it keeps the shortest partial
// tour by the parity of its degree at both cross aisles and its components.
func optimalRoute(stops []Stop) int64 {
	depot := Stop{0, 0}
	last := stops[len(stops)-1].Aisle
	var costs tours
	for i := range costs {
		costs[i] = math.MaxInt64 / 4
	}
	costs[nothing] = 0
	var ys [cells + 3]int64
	next := 0
	for a := 0; a <= last; a++ {
		in := ys[:0]
		if a == depot.Aisle {
			in = append(in, depot.Y)
		}
		for next < len(stops) && stops[next].Aisle == a {
			in = append(in, stops[next].Y)
			next++
		}
		if a > 0 {
			costs = costs.across()
		}
		costs = costs.along(in)
	}
	return min(costs[bothEvenOne], costs[topOnly], costs[bottomOnly])
}

const (
	nothing = iota
	oddOdd
	topOnly
	bottomOnly
	bothEvenOne
	bothEvenTwo
	toursKept
)

type tours [toursKept]int64

func (c tours) along(ys []int64) tours {
	out := tours{}
	for i := range out {
		out[i] = math.MaxInt64 / 4
	}
	at := func(state int, cost int64) { out[state] = min(out[state], cost) }
	if len(ys) == 0 {
		out = c
	} else {
		bottom, top := 2*ys[len(ys)-1], 2*(aisleEnd-ys[0])
		at(bottomOnly, c[nothing]+bottom)
		at(bottomOnly, c[bottomOnly]+bottom)
		at(bothEvenTwo, c[topOnly]+bottom)
		at(topOnly, c[nothing]+top)
		at(topOnly, c[topOnly]+top)
		at(bothEvenTwo, c[bottomOnly]+top)
		gap := int64(0)
		for i := 1; i < len(ys); i++ {
			gap = max(gap, ys[i]-ys[i-1])
		}
		best := min(bottom, top)
		if len(ys) > 1 {
			both := 2 * (aisleEnd - gap)
			at(bothEvenTwo, c[nothing]+both)
			at(bothEvenTwo, c[topOnly]+both)
			at(bothEvenTwo, c[bottomOnly]+both)
			best = min(best, both)
		}
		for _, s := range []int{oddOdd, bothEvenOne, bothEvenTwo} {
			at(s, c[s]+best)
		}
	}
	at(oddOdd, c[nothing]+aisleEnd)
	at(oddOdd, c[topOnly]+aisleEnd)
	at(oddOdd, c[bottomOnly]+aisleEnd)
	at(oddOdd, c[bothEvenOne]+aisleEnd)
	at(oddOdd, c[bothEvenTwo]+aisleEnd)
	at(bothEvenOne, c[oddOdd]+aisleEnd)
	return out
}

func (c tours) across() tours {
	far := int64(math.MaxInt64 / 4)
	return tours{
		far,
		c[oddOdd] + 2*aislePitch,
		min(c[topOnly], c[bothEvenOne]) + 2*aislePitch,
		min(c[bottomOnly], c[bothEvenOne]) + 2*aislePitch,
		c[bothEvenOne] + 4*aislePitch,
		c[bothEvenTwo] + 4*aislePitch,
	}
}

// hennWaescher is orders of 5 to 25 units from uniformly drawn cells.
func hennWaescher(n int, seed uint64) []Order {
	chance := rand.New(rand.NewPCG(seed, uint64(n)))
	orders := make([]Order, n)
	for i := range orders {
		units := 5 + chance.IntN(21)
		orders[i].Load.Units = units
		for range units {
			orders[i].Stops = append(orders[i].Stops, Stop{chance.IntN(10), int64(1+chance.IntN(cells)) * cell})
		}
	}
	return orders
}

// sShape walks every visited aisle through, the last one back if need be.
func sShape(stops []Stop) int64 {
	aisles, last := 0, math.MinInt
	for _, s := range stops {
		if s.Aisle != last {
			aisles, last = aisles+1, s.Aisle
		}
	}
	length := int64(last)*2*aislePitch + int64(aisles)*aisleEnd
	if aisles%2 == 1 {
		length += 2*slices.MaxFunc(stops, compareY).Y - aisleEnd
	}
	return length
}

func compareY(a, b Stop) int { return int(a.Y - b.Y) }

// hw2 is orders of five lines.
func hw2(n int, seed uint64) []Order {
	chance := rand.New(rand.NewPCG(seed, uint64(n)))
	orders := make([]Order, n)
	for i := range orders {
		orders[i].Load.Units = 5
		for range 5 {
			orders[i].Stops = append(orders[i].Stops, Stop{chance.IntN(20), int64(1+chance.IntN(cells)) * cell})
		}
	}
	return orders
}
