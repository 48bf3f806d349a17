package simulate

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// spot is where units of a SKU lie alike. An empty bin is in the warehouse and
// in no bin.
type spot struct {
	warehouse, bin, sku, status string // the SKU by its short name
}

// The statuses that units of a run have.
const (
	sellable = "available"
	broken   = "damaged"
)

func (s spot) compare(o spot) int {
	return cmp.Or(cmp.Compare(s.warehouse, o.warehouse), cmp.Compare(s.bin, o.bin), cmp.Compare(s.sku, o.sku), cmp.Compare(s.status, o.status))
}

// load is units that somebody carries. A spot that is nil is outside.
type load struct {
	from, to *spot
	units    int
}

// goods is what the operators know of the run's units by their own doing: where
// they really lie, and what the API must say, which is another thing from the
// moment when a unit is lost until somebody has counted the bin.
//
// Who moves units holds the door of the warehouse for reading until the books
// have it; who takes note of a bin at the beginning of a count holds it for
// writing. So what was noted is what the bin had then, in both.
type goods struct {
	doors map[string]*sync.RWMutex

	mu     sync.Mutex
	real   map[spot]int
	booked map[spot]int
	tallies
}

// tallies are the units of each SKU that came into the run's warehouses and that
// left them for good.
type tallies struct {
	stocked, received, lost, left map[string]int
}

func newGoods(warehouses []string) *goods {
	g := &goods{doors: map[string]*sync.RWMutex{}, real: map[spot]int{}, booked: map[spot]int{},
		tallies: tallies{stocked: map[string]int{}, received: map[string]int{}, lost: map[string]int{}, left: map[string]int{}}}
	for _, w := range warehouses {
		g.doors[w] = &sync.RWMutex{}
	}
	return g
}

// pickUp takes loads in hand, all of them or none: false when they are not
// there.
func (g *goods) pickUp(loads []load) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, l := range loads {
		if l.from == nil {
			continue
		}
		if g.real[*l.from] < l.units {
			for _, back := range loads[:i] {
				if back.from != nil {
					g.real[*back.from] += back.units
				}
			}
			return false
		}
		g.real[*l.from] -= l.units
	}
	return true
}

// putDown ends the way of loads in hand: where they were going when the books
// have it, else back where they came from.
func (g *goods) putDown(loads []load, applied bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range loads {
		switch {
		case !applied && l.from != nil:
			g.real[*l.from] += l.units
		case applied:
			if l.from != nil {
				g.booked[*l.from] -= l.units
			}
			if l.to != nil {
				g.booked[*l.to] += l.units
				g.real[*l.to] += l.units
			}
		}
	}
}

// stock notes units that were put into a warehouse's books without a bin.
func (g *goods) stock(warehouse, sku string, units int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := spot{warehouse, "", sku, sellable}
	g.real[at] += units
	g.booked[at] += units
	g.stocked[sku] += units
}

// came and went note units that came from outside and were lost on their way, leave
// those that went to a buyer.
func (g *goods) came(sku string, units int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.received[sku] += units
}

func (g *goods) went(sku string, units int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost[sku] += units
}

func (g *goods) leave(sku string, units int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left[sku] += units
}

// lose takes a unit away without a word to anybody; false when there is none.
func (g *goods) lose(at spot) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.real[at] < 1 {
		return false
	}
	g.real[at]--
	g.lost[at.sku]++
	return true
}

func (g *goods) at(s spot) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.real[s]
}

// in lists what really lies in a bin, and what the books have in it.
func (g *goods) in(warehouse, bin string) (really, booked map[spot]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := func(all map[spot]int) map[spot]int {
		out := map[spot]int{}
		for s, n := range all {
			if s.warehouse == warehouse && s.bin == bin && n != 0 {
				out[s] = n
			}
		}
		return out
	}
	return of(g.real), of(g.booked)
}

// where lists the spots of a warehouse that really have units that can be sold,
// in order.
func (g *goods) where(warehouse string) []spot {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []spot
	for s, n := range g.real {
		if s.warehouse == warehouse && s.status == sellable && n > 0 {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, spot.compare)
	return out
}

// bins lists the bins of a warehouse that have units, really or by the books.
func (g *goods) bins(warehouse string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := map[string]bool{}
	for _, all := range []map[spot]int{g.real, g.booked} {
		for s, n := range all {
			if s.warehouse == warehouse && s.bin != "" && n != 0 {
				found[s.bin] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// correct books what a count differed in: what is found comes in, what is
// missing leaves as far as the books still have it.
func (g *goods) correct(differs map[spot]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s, n := range differs {
		g.booked[s] = max(0, g.booked[s]+n)
	}
}

// snapshot copies what really lies where, and what the books must have.
func (g *goods) snapshot() (really, booked map[spot]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.real), maps.Clone(g.booked)
}

// sums are copies of the tallies.
func (g *goods) sums() tallies {
	g.mu.Lock()
	defer g.mu.Unlock()
	return tallies{stocked: maps.Clone(g.stocked), received: maps.Clone(g.received), lost: maps.Clone(g.lost), left: maps.Clone(g.left)}
}
