package sprp

import (
	"math/rand/v2"
	"slices"

	"justlogistics/internal/warehouse/route"
)

// mostSets is how many sets of locations are weighed for one line of an order.
// A line with more leaves the choice without a proof.
const mostSets = 2000

// choose picks, for each line of the order, locations with enough units, so that
// the walk past all of them is short. It reports whether no choice is better.
func (in *Instance) choose(floor *route.Aisles) ([]Location, bool) {
	s := &selection{in: in, floor: floor, sets: make([][][]Location, len(in.Order)), chosen: make([][]Location, len(in.Order))}
	byArticle := map[int][]Location{}
	for _, l := range in.Locations {
		byArticle[l.Article] = append(byArticle[l.Article], l)
	}
	free, known := false, true
	for i, line := range in.Order {
		s.offered = append(s.offered, byArticle[line.Article])
		s.sets[i] = smallest(s.offered[i], line.Quantity, mostSets)
		known = known && len(s.sets[i]) > 0
		free = free || len(s.sets[i]) != 1
	}
	if !free {
		for i := range s.sets {
			s.chosen[i] = s.sets[i][0]
		}
		return s.all(), true
	}
	s.search()
	if !known {
		return s.all(), false
	}
	return s.prove()
}

// smallest lists the sets of locations that have enough units and of which none
// can be left out. When there are more than limit it lists none.
func smallest(at []Location, quantity, limit int) [][]Location {
	// The fullest come first, so a set is smallest when it lacked something
	// before its last location came.
	at = slices.Clone(at)
	slices.SortStableFunc(at, func(a, b Location) int { return b.Quantity - a.Quantity })
	rest := make([]int, len(at)+1)
	for i := len(at) - 1; i >= 0; i-- {
		rest[i] = rest[i+1] + at[i].Quantity
	}
	var out [][]Location
	var taken []Location
	var add func(i, missing int) bool
	add = func(i, missing int) bool {
		if missing <= 0 {
			out = append(out, slices.Clone(taken))
			return len(out) <= limit
		}
		if rest[i] < missing {
			return true
		}
		taken = append(taken, at[i])
		within := add(i+1, missing-at[i].Quantity)
		taken = taken[:len(taken)-1]
		return within && add(i+1, missing)
	}
	if !add(0, quantity) {
		return nil
	}
	return out
}

// selection is the locations chosen for each line.
type selection struct {
	in      *Instance
	floor   *route.Aisles
	offered [][]Location   // by line
	sets    [][][]Location // by line: the smallest sets, unless they are too many
	chosen  [][]Location   // by line

	measured int // walks
}

func (s *selection) all() []Location {
	out := []Location{}
	for i, at := range s.chosen {
		out = append(out, taken(at, s.in.Order[i].Quantity)...)
	}
	return out
}

// taken says how many units each location gives; one that would give none is
// left out.
func taken(at []Location, quantity int) []Location {
	var out []Location
	for _, l := range at {
		l.Quantity = min(l.Quantity, quantity)
		quantity -= l.Quantity
		if l.Quantity > 0 {
			out = append(out, l)
		}
	}
	return out
}

func (s *selection) length() int64 { return s.measure(s.in.stops(s.all())) }

// measure is the length of the shortest walk past stops and more.
func (s *selection) measure(stops []route.Stop, more ...Location) int64 {
	s.measured++
	for _, l := range more {
		stops = append(stops, s.in.stop(l))
	}
	return s.floor.Length(stops)
}

// rounds is how often the search takes a part of the choice back, and
// searchLengths how many walks it measures before it stops anyway.
const (
	rounds        = 400
	searchLengths = 40_000
)

// search chooses what makes the walk longer by least, line by line, and then
// again and again takes a few lines back and chooses for them anew: in turn those
// of an aisle, which is then avoided, and any. It is the same every time.
func (s *selection) search() {
	r := rand.New(rand.NewPCG(1, uint64(len(s.in.Order))))
	lines := make([]int, len(s.in.Order))
	for i := range lines {
		lines[i] = i
	}
	// Lines with fewest choices come first: the others can go by them.
	slices.SortStableFunc(lines, func(a, b int) int { return len(s.offered[a]) - len(s.offered[b]) })
	s.fill(lines, noAisle)
	shortest := s.length()
	for round := 0; round < rounds && s.measured < searchLengths; round++ {
		before := slices.Clone(s.chosen)
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		again, closed := lines[:1+round%min(len(lines), 6)], noAisle
		if round%2 == 0 {
			closed = s.chosen[lines[0]][0].Aisle
			again = slices.DeleteFunc(slices.Clone(lines), func(line int) bool {
				return !slices.ContainsFunc(s.chosen[line], func(l Location) bool { return l.Aisle == closed })
			})
		}
		for _, line := range again {
			s.chosen[line] = nil
		}
		s.fill(again, closed)
		if length := s.length(); length <= shortest {
			shortest = length
		} else {
			s.chosen = before
		}
	}
}

const noAisle = -1

// handy is up to how many sets of a line the search compares. For a line with
// more it puts a set together place by place.
const handy = 50

// fill chooses locations for lines that have none, in the closed aisle only
// where nothing else is left.
func (s *selection) fill(lines []int, closed int) {
	stops := s.in.stops(s.all())
	for _, line := range lines {
		if n := len(s.sets[line]); n > 0 && n <= handy {
			s.chosen[line] = s.nearestSet(stops, s.sets[line], closed)
		} else {
			s.chosen[line] = s.gather(stops, line, closed)
		}
		stops = append(stops, s.in.stops(s.chosen[line])...)
	}
}

// nearestSet is the set that makes the walk longer by least.
func (s *selection) nearestSet(stops []route.Stop, sets [][]Location, closed int) []Location {
	var best []Location
	var least int64
	bestShut := false
	for _, set := range sets {
		shut := slices.ContainsFunc(set, func(l Location) bool { return l.Aisle == closed })
		if best != nil && shut && !bestShut {
			continue
		}
		length := s.measure(stops, set...)
		if best == nil || bestShut && !shut || length < least {
			best, least, bestShut = set, length, shut
		}
	}
	return best
}

// gather takes the nearest location again and again until there are enough units.
func (s *selection) gather(stops []route.Stop, line, closed int) []Location {
	missing := s.in.Order[line].Quantity
	var out, open, shut []Location
	for _, l := range s.offered[line] {
		if l.Aisle == closed {
			shut = append(shut, l)
		} else {
			open = append(open, l)
		}
	}
	for missing > 0 {
		if len(open) == 0 {
			open, shut = shut, nil
		}
		i := s.nearest(stops, open, missing)
		l := open[i]
		out = append(out, l)
		stops = append(stops, s.in.stop(l))
		missing -= l.Quantity
		open = slices.Delete(open, i, i+1)
	}
	return out
}

// nearest is the location that costs the least way for each unit that it gives.
func (s *selection) nearest(stops []route.Stop, offered []Location, missing int) int {
	before := s.measure(stops)
	best, least := 0, 0.0
	for i, l := range offered {
		more := s.measure(stops, l) - before
		each := float64(more) / float64(min(l.Quantity, missing))
		if i == 0 || each < least {
			best, least = i, each
		}
	}
	return best
}
