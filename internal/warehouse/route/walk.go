package route

import (
	"cmp"
	"slices"
)

// walk makes one closed walk of the edges that were chosen, as the places it
// passes one after the other. Every place has an even number of edges and they
// hang together, so there is a walk that uses each edge once.
func (a *Aisles) walk(columns []column, sorted []Stop, choices []chosen) []Point {
	n := newNet(a, columns, sorted, choices)
	var path []Point
	stack := []int{n.depot}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		if to, ok := n.take(at); ok {
			stack = append(stack, to)
			continue
		}
		stack = stack[:len(stack)-1]
		path = extended(path, n.at[at])
	}
	return path
}

// net is the edges of a tour that have not been walked yet. The places of a
// column follow each other from front to back.
type net struct {
	at    []Point
	up    []uint8 // edges from a place to the one after it in its column
	right []uint8 // edges from a place to the next column
	east  []int   // the place where those end
	left  []uint8 // edges to the column before, and where they end
	west  []int
	depot int
}

func newNet(a *Aisles, columns []column, sorted []Stop, choices []chosen) *net {
	size := len(sorted) + len(columns)*len(a.Cross)
	n := &net{
		at: make([]Point, 0, size),
		up: make([]uint8, size), right: make([]uint8, size), left: make([]uint8, size),
		east: make([]int, size), west: make([]int, size),
	}
	var before [3]int
	for i := range columns {
		c := &columns[i]
		crossings := n.addColumn(a, c, sorted, choices[i].ways)
		if c.x == a.Depot.X {
			n.depot = crossings[a.Depot.Cross]
		}
		for k := range a.Cross {
			if i > 0 {
				n.right[before[k]], n.east[before[k]] = choices[i-1].across[k], crossings[k]
				n.left[crossings[k]], n.west[crossings[k]] = choices[i-1].across[k], before[k]
			}
		}
		before = crossings
	}
	return n
}

// addColumn adds the places of a column with the edges among them, and tells
// where its crossings are.
func (n *net) addColumn(a *Aisles, c *column, sorted []Stop, ways [2]way) (crossings [3]int) {
	i := c.first
	for b, y := range a.Cross {
		crossings[b] = len(n.at)
		n.at = append(n.at, Point{c.x, y})
		for ; i < c.end && sorted[i].Y == y; i++ { // on the crossing itself
		}
		if b == len(a.Cross)-1 {
			break
		}
		lowest := i
		for ; i < c.end && sorted[i].Y < a.Cross[b+1]; i++ {
			n.at = append(n.at, Point{c.x, sorted[i].Y})
		}
		n.addEdges(crossings[b], i-lowest, ways[b], c.gap[b]-lowest)
	}
	return crossings
}

// addEdges adds the edges of a part of an aisle: from the crossing at its lower
// end past its stops to the one at its upper end.
func (n *net) addEdges(crossing, stops int, w way, belowGap int) {
	for k := range stops + 1 {
		e := &n.up[crossing+k]
		switch w {
		case through:
			*e = 1
		case twice:
			*e = 2
		case fromBelow:
			if k < stops {
				*e = 2
			}
		case fromAbove:
			if k > 0 {
				*e = 2
			}
		case aroundGap:
			if k != belowGap+1 {
				*e = 2
			}
		}
	}
}

// take uses up an edge of a place and tells where it leads.
func (n *net) take(at int) (int, bool) {
	switch {
	case n.up[at] > 0:
		n.up[at]--
		return at + 1, true
	case at > 0 && n.up[at-1] > 0:
		n.up[at-1]--
		return at - 1, true
	case n.right[at] > 0:
		n.right[at]--
		n.left[n.east[at]]--
		return n.east[at], true
	case n.left[at] > 0:
		n.left[at]--
		n.right[n.west[at]]--
		return n.west[at], true
	}
	return 0, false
}

// extended adds a place to a path and keeps only the corners.
func extended(path []Point, p Point) []Point {
	n := len(path)
	if n > 0 && path[n-1] == p {
		return path
	}
	if n > 1 && straight(path[n-2], path[n-1], p) {
		path[n-1] = p
		return path
	}
	return append(path, p)
}

// straight reports whether q is on the straight way from p to r. All ways are
// parallel to an axis.
func straight(p, q, r Point) bool {
	if p.X == q.X && q.X == r.X {
		return (p.Y < q.Y) == (q.Y < r.Y)
	}
	return p.Y == q.Y && q.Y == r.Y && (p.X < q.X) == (q.X < r.X)
}

// tourAlong is the tour of a path: its length, and the stops in the order in
// which it comes past them first. Stops that it never passes are not in it.
func tourAlong(path []Point, a *Aisles, stops []Stop) Tour {
	t := Tour{Path: path, Order: make([]int, 0, len(stops))}
	left := make([]int, len(stops))
	for i := range left {
		left[i] = i
	}
	for i, to := range path {
		from := path[max(i-1, 0)]
		t.Length += apart(from, to)
		met := len(t.Order)
		left = slices.DeleteFunc(left, func(s int) bool {
			p := Point{a.X[stops[s].Aisle], stops[s].Y}
			on := between(from.X, p.X, to.X) && between(from.Y, p.Y, to.Y)
			if on {
				t.Order = append(t.Order, s)
			}
			return on
		})
		slices.SortStableFunc(t.Order[met:], func(s, r int) int {
			return cmp.Compare(apart(from, Point{a.X[stops[s].Aisle], stops[s].Y}), apart(from, Point{a.X[stops[r].Aisle], stops[r].Y}))
		})
	}
	return t
}

// apart is the length of a way that is parallel to an axis.
func apart(p, q Point) int64 {
	return max(p.X-q.X, q.X-p.X) + max(p.Y-q.Y, q.Y-p.Y)
}

func between(a, v, b int64) bool { return min(a, b) <= v && v <= max(a, b) }
