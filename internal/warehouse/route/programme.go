package route

import "slices"

// programme is the dynamic programme over the columns of a floor with so many
// cross aisles. What a partial tour, all of whose edges are left of a line, has
// to tell about itself is only its shape; two of one shape can be completed by
// the same edges, so the shorter one is enough.
type programme struct {
	crosses int
	shapes  []shape
	// aisle[b][w][s] is the shape after walking part b of an aisle by way w.
	aisle [2][wayCount][]uint8
	// across[s] are the edges that may follow shape s to the next column.
	across [][]crossing
	// whole[s]: s is one connected tour, or several pieces of nothing.
	whole []bool
	// bare[s] has the crossings that no edge touches.
	bare []uint8
}

// shape is what a partial tour looks like from the right: for each crossing of
// the column whether edges end there, an even or an odd number, and which of
// them hang together.
type shape struct {
	degree [3]degree
	piece  [3]uint8 // pieces are numbered by their lowest crossing, from 1
}

type degree uint8

const (
	none degree = iota
	odd
	even
)

// crossing is a set of edges between two columns.
type crossing struct {
	next  uint8    // the shape at the next column
	edges int64    // how many, all of one length
	each  [3]uint8 // how many on each cross aisle
	bare  uint8    // crossings of the left column that stay without any edge
}

// start is the shape of no edges; explore lists it first.
const start = 0

// most is no less than the number of shapes: 24 for three cross aisles.
const most = 32

// programmes by the number of cross aisles.
var programmes = [4]*programme{2: newProgramme(2), 3: newProgramme(3)}

// newProgramme explores all shapes that a partial tour can have.
func newProgramme(crosses int) *programme {
	p := &programme{crosses: crosses, shapes: []shape{{}}}
	for s := 0; s < len(p.shapes); s++ {
		from := p.shapes[s]
		for b := range crosses - 1 {
			for w := range wayCount {
				p.aisle[b][w] = append(p.aisle[b][w], p.index(from.walk(b, w)))
			}
		}
		p.across = append(p.across, p.crossings(from))
		p.whole = append(p.whole, from.isWhole())
		p.bare = append(p.bare, from.untouched(crosses))
	}
	return p
}

// index finds a shape, or adds it to those to be explored.
func (p *programme) index(s shape) uint8 {
	i := slices.Index(p.shapes, s)
	if i < 0 {
		i = len(p.shapes)
		p.shapes = append(p.shapes, s)
	}
	return uint8(i) //nolint:gosec // there are fewer than most
}

// walk is the shape after part b of the aisle was walked.
func (s shape) walk(b int, w way) shape {
	below, above := b, b+1
	switch w {
	case through:
		s.degree[below], s.degree[above] = s.degree[below].plusOne(), s.degree[above].plusOne()
	case twice, aroundGap:
		s.degree[below], s.degree[above] = s.degree[below].plusTwo(), s.degree[above].plusTwo()
	case fromBelow:
		s.degree[below] = s.degree[below].plusTwo()
	case fromAbove:
		s.degree[above] = s.degree[above].plusTwo()
	}
	// Crossings that had no edge begin a piece of their own.
	for c := range s.piece {
		if s.degree[c] != none && s.piece[c] == 0 {
			s.piece[c] = uint8(10 + c)
		}
	}
	if w == through || w == twice {
		joined, into := s.piece[below], s.piece[above]
		for c := range s.piece {
			if s.piece[c] == joined {
				s.piece[c] = into
			}
		}
	}
	return s.renumbered()
}

func (d degree) plusOne() degree {
	if d == odd {
		return even
	}
	return odd
}

func (d degree) plusTwo() degree {
	if d == odd {
		return odd
	}
	return even
}

// renumbered gives equal partitions equal numbers.
func (s shape) renumbered() shape {
	var names [16]uint8
	next := uint8(1)
	for c, piece := range s.piece {
		if piece == 0 {
			continue
		}
		if names[piece] == 0 {
			names[piece] = next
			next++
		}
		s.piece[c] = names[piece]
	}
	return s
}

// crossings lists the edges that can lead from a shape to the next column: they
// make every degree even, and leave no piece behind.
func (p *programme) crossings(s shape) []crossing {
	var out []crossing
	for chosen := range 1 << p.crosses {
		var x crossing
		var next shape
		fits := true
		for c := range p.crosses {
			switch here := chosen&(1<<c) != 0; {
			case s.degree[c] == odd && here:
				x.each[c], next.degree[c], next.piece[c] = 1, odd, s.piece[c]
			case s.degree[c] == odd:
				fits = false
			case here:
				x.each[c], next.degree[c], next.piece[c] = 2, even, s.piece[c]
				if s.degree[c] == none {
					next.piece[c] = uint8(10 + c)
				}
			case s.degree[c] == none:
				x.bare |= 1 << c
			}
			x.edges += int64(x.each[c])
		}
		if !fits || x.edges == 0 || s.leavesBehind(next) {
			continue
		}
		x.next = p.index(next.renumbered())
		out = append(out, x)
	}
	return out
}

// leavesBehind reports whether a piece of s has no edge to the next column.
func (s shape) leavesBehind(next shape) bool {
	for _, piece := range s.piece {
		if piece != 0 && !slices.Contains(next.piece[:], piece) {
			return true
		}
	}
	return false
}

// isWhole reports whether the edges are one closed tour.
func (s shape) isWhole() bool {
	return !slices.Contains(s.degree[:], odd) && slices.Max(s.piece[:]) == 1
}

func (s shape) untouched(crosses int) uint8 {
	mask := uint8(0)
	for c := range crosses {
		if s.degree[c] == none {
			mask |= 1 << c
		}
	}
	return mask
}

// step remembers, for each shape, from which shape and by which choice the
// shortest partial tour came to it.
type step struct {
	from   [most]uint8
	choice [most]uint8
}

// solve finds the length of a shortest tour over columns and the shape that it
// ends in. It writes how it came there into steps when there are any: for each
// column one for each part of the aisle, and one for the way to the next.
func (p *programme) solve(columns []column, steps []step) (length int64, last uint8) {
	n := len(p.shapes)
	var buffers [2][most]int64
	cost, next := buffers[0][:n], buffers[1][:n]
	for s := range cost {
		cost[s] = unreachable
	}
	cost[start] = 0
	for i := range columns {
		c := &columns[i]
		for b := range p.crosses - 1 {
			if !c.shelves {
				break
			}
			var st *step
			if steps != nil {
				st = &steps[i*p.crosses+b]
			}
			p.stepAlong(cost, next, b, c, st)
			cost, next = next, cost
		}
		if i == len(columns)-1 {
			break
		}
		var st *step
		if steps != nil {
			st = &steps[i*p.crosses+p.crosses-1]
		}
		p.stepAcross(cost, next, c.need, columns[i+1].x-c.x, st)
		cost, next = next, cost
	}
	length = unreachable
	need := columns[len(columns)-1].need
	for s, c := range cost {
		if c < length && p.whole[s] && p.bare[s]&need == 0 {
			length, last = c, uint8(s)
		}
	}
	return length, last
}

// stepAlong walks part b of an aisle in all ways.
func (p *programme) stepAlong(cost, next []int64, b int, c *column, st *step) {
	for s := range next {
		next[s] = unreachable
	}
	for w := range wayCount {
		length := c.ways[b][w]
		if length >= unreachable {
			continue
		}
		to := p.aisle[b][w][:len(cost)]
		for s, before := range cost {
			t := to[s]
			if sum := before + length; sum < next[t] {
				next[t] = sum
				if st != nil {
					st.from[t], st.choice[t] = uint8(s), uint8(w)
				}
			}
		}
	}
}

// stepAcross goes on to the next column, which is distance away.
func (p *programme) stepAcross(cost, next []int64, need uint8, distance int64, st *step) {
	for s := range next {
		next[s] = unreachable
	}
	for s, before := range cost {
		if before >= unreachable {
			continue
		}
		for k := range p.across[s] {
			x := &p.across[s][k]
			if x.bare&need != 0 {
				continue
			}
			if sum := before + x.edges*distance; sum < next[x.next] {
				next[x.next] = sum
				if st != nil {
					st.from[x.next], st.choice[x.next] = uint8(s), uint8(k)
				}
			}
		}
	}
}

// chosen is what a tour does at a column.
type chosen struct {
	ways   [2]way
	across [3]uint8 // edges to the next column on each cross aisle
}

// choices goes back through the steps from the shape at the end.
func (p *programme) choices(columns []column, steps []step, last uint8) []chosen {
	out := make([]chosen, len(columns))
	at := last
	for i := len(columns) - 1; i >= 0; i-- {
		if i < len(columns)-1 {
			st := &steps[i*p.crosses+p.crosses-1]
			from := st.from[at]
			out[i].across = p.across[from][st.choice[at]].each
			at = from
		}
		for b := p.crosses - 2; b >= 0 && columns[i].shelves; b-- {
			st := &steps[i*p.crosses+b]
			out[i].ways[b] = way(st.choice[at])
			at = st.from[at]
		}
	}
	return out
}
