package route

import "slices"

// SShape is the tour of pickers without a planner: into every aisle that has
// stops and out at its other end, one aisle after the other. With two blocks the
// picker goes through the leftmost aisle to the farthest block and comes back
// block by block (Roodbergen and de Koster 2001); from a depot between the
// blocks, first one and then the other. It is what savings are compared with.
// Errors are those of Shortest.
func (a *Aisles) SShape(stops []Stop) (Tour, error) {
	if err := a.check(stops); err != nil {
		return Tour{}, err
	}
	w := &serpentine{a: a, cross: a.Depot.Cross, x: a.Depot.X, path: []Point{a.depot()}}
	w.sort(stops)
	var behind, before []int // blocks, nearest first
	for b := a.Depot.Cross; b < len(a.Cross)-1; b++ {
		behind = append(behind, b)
	}
	for b := a.Depot.Cross - 1; b >= 0; b-- {
		before = append(before, b)
	}
	w.side(behind)
	w.side(before)
	w.toX(a.Depot.X)
	return tourAlong(w.path, a, stops), nil
}

// serpentine is a picker on the way.
type serpentine struct {
	a     *Aisles
	cross int // the cross aisle where the picker is
	x     int64
	path  []Point
	todo  [2]map[int]*span // stops of each block by aisle, of aisles not yet walked
}

// span is where in a part of an aisle its stops are.
type span struct{ low, high int64 }

// sort gives every stop to its block; one on the cross aisle between blocks to
// the block before it, unless it is the front of all.
func (w *serpentine) sort(stops []Stop) {
	w.todo = [2]map[int]*span{{}, {}}
	for _, s := range stops {
		b := 0
		if len(w.a.Cross) == 3 && s.Y > w.a.Cross[1] {
			b = 1
		}
		at := w.todo[b][s.Aisle]
		if at == nil {
			w.todo[b][s.Aisle] = &span{s.Y, s.Y}
			continue
		}
		at.low, at.high = min(at.low, s.Y), max(at.high, s.Y)
	}
}

// side picks all blocks on one side of the depot, which come nearest first.
func (w *serpentine) side(blocks []int) {
	far := len(blocks) - 1
	for far >= 0 && len(w.todo[blocks[far]]) == 0 {
		far--
	}
	if far < 0 {
		return
	}
	home := w.cross
	if far > 0 {
		w.toAisle(w.leftmost(blocks[:far+1]))
		for _, b := range blocks[:far] {
			w.through(w.aisle(), b)
		}
	}
	for i := far; i >= 0; i-- {
		w.block(blocks[i], nearEnd(blocks[i], home), i == 0 && far == 0)
	}
}

// nearEnd is the cross aisle of a block that is nearer to home.
func nearEnd(block, home int) int {
	if block >= home {
		return block
	}
	return block + 1
}

// leftmost is the first aisle with stops in any of the blocks.
func (w *serpentine) leftmost(blocks []int) int {
	first := len(w.a.X)
	for _, b := range blocks {
		for aisle := range w.todo[b] {
			first = min(first, aisle)
		}
	}
	return first
}

// aisle is the aisle at which the picker is.
func (w *serpentine) aisle() int {
	i, _ := slices.BinarySearch(w.a.X, w.x)
	return i
}

// block picks a block and ends at its near end. From the depot it begins on the
// left, later at the end that is nearer.
func (w *serpentine) block(b, near int, fromDepot bool) {
	aisles := make([]int, 0, len(w.todo[b]))
	for aisle := range w.todo[b] {
		aisles = append(aisles, aisle)
	}
	slices.Sort(aisles)
	if len(aisles) == 0 {
		if w.cross != near {
			w.through(w.aisle(), b)
		}
		return
	}
	left, right := w.a.X[aisles[0]], w.a.X[aisles[len(aisles)-1]]
	if !fromDepot && max(right-w.x, w.x-right) < max(left-w.x, w.x-left) {
		slices.Reverse(aisles)
	}
	for i, aisle := range aisles {
		w.toAisle(aisle)
		if i == len(aisles)-1 && w.cross == near {
			w.thereAndBack(aisle, b)
			continue
		}
		w.through(aisle, b)
	}
}

func (w *serpentine) toAisle(aisle int) { w.toX(w.a.X[aisle]) }

func (w *serpentine) toX(x int64) {
	w.x = x
	w.path = extended(w.path, Point{x, w.a.Cross[w.cross]})
}

// through walks an aisle from one end of a block to the other.
func (w *serpentine) through(aisle, b int) {
	delete(w.todo[b], aisle)
	w.cross = 2*b + 1 - w.cross
	w.path = extended(w.path, Point{w.x, w.a.Cross[w.cross]})
}

// thereAndBack goes as far as the last stop of the aisle and turns.
func (w *serpentine) thereAndBack(aisle, b int) {
	s := w.todo[b][aisle]
	delete(w.todo[b], aisle)
	turn := s.high
	if w.cross > b {
		turn = s.low
	}
	w.path = extended(w.path, Point{w.x, turn})
	w.path = extended(w.path, Point{w.x, w.a.Cross[w.cross]})
}
