package route

import (
	"math/bits"
	"math/rand/v2"
	"slices"
)

// matrix is the distances between places, of which the first is the depot.
type matrix struct {
	n     int
	cells []int64
}

func (d matrix) between(i, j int) int64 { return d.cells[i*d.n+j] }

// around is the length of a round trip past places in an order.
func (d matrix) around(round []int) int64 {
	sum := int64(0)
	for i, p := range round {
		sum += d.between(p, round[(i+1)%len(round)])
	}
	return sum
}

// mostExact is up to how many places, the depot among them, all orders are
// weighed against each other.
const mostExact = 10

// short finds a short round trip past all places that begins with the depot.
func short(d matrix, seed uint64) []int {
	if d.n <= mostExact {
		return heldKarp(d)
	}
	s := &search{d: d, r: rand.New(rand.NewPCG(seed, uint64(d.n)))}
	return s.run()
}

// heldKarp finds the shortest round trip: for every set of places and every last
// one of them, the shortest way that ends there.
func heldKarp(d matrix) []int {
	n := d.n - 1
	if n == 0 {
		return []int{0}
	}
	length := make([]int64, n<<n)
	before := make([]int8, n<<n)
	for set := 1; set < 1<<n; set++ {
		for lasts := uint(set); lasts != 0; lasts &= lasts - 1 {
			last := bits.TrailingZeros(lasts)
			rest := set &^ (1 << last)
			at := set*n + last
			if rest == 0 {
				length[at] = d.between(0, last+1)
				continue
			}
			length[at] = unreachable
			for m := uint(rest); m != 0; m &= m - 1 {
				b := bits.TrailingZeros(m)
				if sum := length[rest*n+b] + d.between(b+1, last+1); sum < length[at] {
					length[at], before[at] = sum, int8(b)
				}
			}
		}
	}
	set, last := 1<<n-1, 0
	for end := range n {
		if length[set*n+end]+d.between(end+1, 0) < length[set*n+last]+d.between(last+1, 0) {
			last = end
		}
	}
	round := []int{}
	for set != 0 {
		round = append(round, last+1)
		set, last = set&^(1<<last), int(before[set*n+last])
	}
	return append([]int{0}, round...)
}

// search improves a round trip: it changes it to the best that 2-opt and Or-opt
// can make of it, then takes it apart at random and does so again.
type search struct {
	d     matrix
	r     *rand.Rand
	round []int
}

// kicks is how often a round trip is taken apart: often for a picker's list,
// fewer times for lists so long that each time takes long.
func kicks(n int) int { return max(20, min(5*n, 50_000/n)) }

func (s *search) run() []int {
	s.insertCheapest()
	s.improve()
	best, shortest := slices.Clone(s.round), s.d.around(s.round)
	for range kicks(s.d.n) {
		s.kick()
		s.improve()
		if length := s.d.around(s.round); length <= shortest {
			shortest = length
			copy(best, s.round)
		} else {
			copy(s.round, best)
		}
	}
	start := slices.Index(best, 0)
	return slices.Concat(best[start:], best[:start])
}

// insertCheapest begins with the depot and puts in each time the place that
// makes the round trip longer by least.
func (s *search) insertCheapest() {
	s.round = []int{0}
	left := make([]int, 0, s.d.n-1)
	for p := 1; p < s.d.n; p++ {
		left = append(left, p)
	}
	for len(left) > 0 {
		which, where, least := 0, 0, unreachable
		for w, p := range left {
			for i, a := range s.round {
				b := s.round[(i+1)%len(s.round)]
				if more := s.d.between(a, p) + s.d.between(p, b) - s.d.between(a, b); more < least {
					which, where, least = w, i+1, more
				}
			}
		}
		s.round = slices.Insert(s.round, where, left[which])
		left = slices.Delete(left, which, which+1)
	}
}

// improve changes the round trip until neither move makes it shorter.
func (s *search) improve() {
	for s.reverse() || s.move() {
	}
}

// reverse walks a part the other way round wherever that is shorter (2-opt).
func (s *search) reverse() bool {
	better := false
	n, t := len(s.round), s.round
	for i := range n - 1 {
		for j := i + 1; j < n; j++ {
			a, b, c, d := t[(i+n-1)%n], t[i], t[j], t[(j+1)%n]
			if a == c || b == d {
				continue
			}
			if s.d.between(a, c)+s.d.between(b, d) < s.d.between(a, b)+s.d.between(c, d) {
				slices.Reverse(t[i : j+1])
				better = true
			}
		}
	}
	return better
}

// longest is the longest run of places that is moved as a whole.
const longest = 3

// move takes up to three places that follow each other to another point of the
// round trip, either way round, wherever that is shorter (Or-opt).
func (s *search) move() bool {
	better := false
	for size := 1; size <= longest; size++ {
		for from := range s.round {
			better = s.moveFrom(from, size) || better
		}
	}
	return better
}

func (s *search) moveFrom(from, size int) bool {
	n, t := len(s.round), s.round
	first, last := t[from], t[(from+size-1)%n]
	before, after := t[(from+n-1)%n], t[(from+size)%n]
	saved := s.d.between(before, first) + s.d.between(last, after) - s.d.between(before, after)
	if saved <= 0 {
		return false
	}
	gain, where, turned := int64(0), 0, false
	for k := size; k < n-1; k++ {
		a, b := t[(from+k)%n], t[(from+k+1)%n]
		free := s.d.between(a, b)
		if g := saved - (s.d.between(a, first) + s.d.between(last, b) - free); g > gain {
			gain, where, turned = g, k, false
		}
		if g := saved - (s.d.between(a, last) + s.d.between(first, b) - free); g > gain {
			gain, where, turned = g, k, true
		}
	}
	if gain == 0 {
		return false
	}
	// Begin the list with the run, which makes the move a rotation.
	rotate(t, from)
	rotate(t[:where+1], size)
	if turned {
		slices.Reverse(t[where+1-size : where+1])
	}
	return true
}

// rotate brings element k to the front.
func rotate(t []int, k int) {
	slices.Reverse(t[:k])
	slices.Reverse(t[k:])
	slices.Reverse(t)
}

// kick exchanges two neighbouring parts of the round trip, which 2-opt and
// Or-opt seldom undo (a double bridge). The parts are short, so that the rest
// stays as good as it is.
func (s *search) kick() {
	n := len(s.round)
	rotate(s.round, s.r.IntN(n))
	reach := max(3, min(n-1, 30))
	a := 1 + s.r.IntN(reach/2)
	b := a + 1 + s.r.IntN(reach-a)
	rotate(s.round[:b], a)
}
