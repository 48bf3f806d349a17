package sprp

import (
	"math/rand/v2"
	"slices"

	"justlogistics/internal/warehouse/route"
)

// mostChoices is up to how many ways of choosing locations all are tried.
const mostChoices = 50_000

// choose picks, for each line of the order, locations with enough units, so that
// the walk past all of them is short. It reports whether no choice is better.
func (in *Instance) choose(floor *route.Aisles) ([]Location, bool) {
	s := &selection{in: in, floor: floor, chosen: make([][]Location, len(in.Order))}
	byArticle := map[int][]Location{}
	for _, l := range in.Locations {
		byArticle[l.Article] = append(byArticle[l.Article], l)
	}
	for _, line := range in.Order {
		s.offered = append(s.offered, byArticle[line.Article])
	}
	ways := 1
	covers := make([][][]Location, len(in.Order))
	for i, line := range in.Order {
		covers[i] = smallest(s.offered[i], line.Quantity, mostChoices/ways)
		if len(covers[i]) == 0 {
			return s.search(), false
		}
		ways *= len(covers[i])
	}
	return s.tryAll(covers), true
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
	offered [][]Location // by line
	chosen  [][]Location // by line
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

func (s *selection) length() int64 { return s.floor.Length(s.in.stops(s.all())) }

// tryAll tries every way of choosing one set for each line.
func (s *selection) tryAll(covers [][][]Location) []Location {
	var best []Location
	shortest := int64(-1)
	var try func(line int)
	try = func(line int) {
		if line < len(covers) {
			for _, set := range covers[line] {
				s.chosen[line] = set
				try(line + 1)
			}
			return
		}
		if length := s.length(); shortest < 0 || length < shortest {
			shortest, best = length, s.all()
		}
	}
	try(0)
	return best
}

// rounds is how often the search takes a part of the choice back.
const rounds = 400

// search chooses what makes the walk longer by least, line by line, and then
// again and again takes a few lines back and chooses for them anew: in turn those
// of an aisle, which is then avoided, and any. It is the same every time.
func (s *selection) search() []Location {
	r := rand.New(rand.NewPCG(1, uint64(len(s.in.Order))))
	lines := make([]int, len(s.in.Order))
	for i := range lines {
		lines[i] = i
	}
	// Lines with fewest choices come first: the others can go by them.
	slices.SortStableFunc(lines, func(a, b int) int { return len(s.offered[a]) - len(s.offered[b]) })
	s.fill(lines, noAisle)
	shortest := s.length()
	for round := range rounds {
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
	return s.all()
}

const noAisle = -1

// fill chooses locations for lines that have none, in the closed aisle only
// where nothing else is left.
func (s *selection) fill(lines []int, closed int) {
	stops := s.in.stops(s.all())
	for _, line := range lines {
		missing := s.in.Order[line].Quantity
		open, shut := []Location{}, []Location{}
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
			s.chosen[line] = append(s.chosen[line], l)
			stops = append(stops, s.in.stops([]Location{l})...)
			missing -= l.Quantity
			open = slices.Delete(open, i, i+1)
		}
	}
}

// nearest is the location that costs the least way for each unit that it gives.
func (s *selection) nearest(stops []route.Stop, offered []Location, missing int) int {
	before := s.floor.Length(stops)
	best, least := 0, 0.0
	for i, l := range offered {
		more := s.floor.Length(append(stops, s.in.stops([]Location{l})...)) - before
		each := float64(more) / float64(min(l.Quantity, missing))
		if i == 0 || each < least {
			best, least = i, each
		}
	}
	return best
}
