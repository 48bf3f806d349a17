package sprp

import (
	"cmp"
	"slices"

	"justlogistics/internal/warehouse/route"
)

// proofLengths is how many walks are measured, those of the search among them,
// before a proof is given up: a second or few.
const proofLengths = 120_000

// proof tries the choices that may be better than the best one known (branch and
// bound). A walk never gets shorter by one more stop, so whatever is longer
// already with some lines chosen needs no look at the others.
type proof struct {
	*selection
	best     []Location
	shortest int64
}

// prove starts from the choice made and returns the best one, and whether that
// was seen to the end.
func (s *selection) prove() ([]Location, bool) {
	p := &proof{selection: s, best: s.all(), shortest: s.length()}
	var open []int
	var stops []route.Stop
	for line := range s.sets {
		if len(s.sets[line]) > 1 {
			open = append(open, line)
			continue
		}
		s.chosen[line] = s.sets[line][0]
		stops = append(stops, s.in.stops(s.chosen[line])...)
	}
	complete := p.descend(stops, open)
	return p.best, complete
}

// candidate is a set of locations with the length of the walk that has them too.
type candidate struct {
	set    []Location
	length int64
}

// descend chooses for one more of the open lines. It reports false when it had
// to give up.
func (p *proof) descend(stops []route.Stop, open []int) bool {
	if len(open) == 0 {
		p.best, p.shortest = p.all(), p.measure(stops)
		return true
	}
	line, candidates, ok := p.hardest(stops, open)
	if !ok {
		return false
	}
	rest := slices.DeleteFunc(slices.Clone(open), func(l int) bool { return l == line })
	for _, c := range candidates {
		if c.length >= p.shortest {
			return true
		}
		p.chosen[line] = c.set
		if !p.descend(slices.Concat(stops, p.in.stops(c.set)), rest) {
			return false
		}
	}
	return true
}

// hardest is the open line that makes the walk longest at best, with its sets in
// the order of the walks. When one makes every walk too long it looks no
// further.
func (p *proof) hardest(stops []route.Stop, open []int) (line int, candidates []candidate, ok bool) {
	for _, l := range open {
		if p.measured+len(p.sets[l]) > proofLengths {
			return 0, nil, false
		}
		these := make([]candidate, 0, len(p.sets[l]))
		for _, set := range p.sets[l] {
			these = append(these, candidate{set, p.measure(stops, set...)})
		}
		slices.SortStableFunc(these, func(a, b candidate) int { return cmp.Compare(a.length, b.length) })
		if candidates == nil || these[0].length > candidates[0].length {
			line, candidates = l, these
		}
		if these[0].length >= p.shortest {
			break
		}
	}
	return line, candidates, true
}
