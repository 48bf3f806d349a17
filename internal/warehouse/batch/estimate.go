package batch

import "math"

// floor is what can be guessed of the warehouse from the wave's own stops. A
// guess chooses which routes are worth measuring, never which plan is better.
type floor struct {
	aisle       []int32 // of each stop of the wave: 0..aisles-1
	stops       []Stop
	front, back int64   // the lowest and the highest Y
	reach       []int64 // the way to the foremost stop of each aisle and back
}

// newFloor measures one stop of each aisle.
func newFloor(stops []Stop, measure func([]Stop) int64) floor {
	f := floor{stops: stops, front: math.MaxInt64, back: math.MinInt64}
	for i, s := range stops {
		f.front, f.back = min(f.front, s.Y), max(f.back, s.Y)
		if i == 0 || s.Aisle != stops[i-1].Aisle {
			f.reach = append(f.reach, measure([]Stop{s}))
		}
		f.aisle = append(f.aisle, int32(len(f.reach)-1))
	}
	return f
}

// visit is how far a set of stops reaches into an aisle, from the front and from
// the back.
type visit struct {
	aisle       int32
	front, back int64
}

// visits has the aisles of some stops, which are ascending.
func (f *floor) visits(stops []int32) []visit {
	var vs []visit
	for _, s := range stops {
		front, back := f.stops[s].Y-f.front, f.back-f.stops[s].Y
		last := len(vs) - 1
		if last < 0 || vs[last].aisle != f.aisle[s] {
			vs = append(vs, visit{f.aisle[s], front, back})
			continue
		}
		vs[last].front, vs[last].back = max(vs[last].front, front), max(vs[last].back, back)
	}
	return vs
}

// walk guesses the way inside an aisle: in and back from either end, or through.
func (f *floor) walk(front, back int64) int64 {
	return min(2*front, 2*back, f.back-f.front)
}

// outline is the visits of a set of orders, and the guess of its route: the way
// to the farthest aisle and the walks inside the aisles.
type outline struct {
	aisles       []depth
	walks, reach int64
}

// depth is a visit to an aisle; a walk of zero and no depth when there is none.
type depth struct{ front, back, walk int64 }

func (o *outline) length() int64 { return o.walks + o.reach }

// reset makes the outline one of no orders.
func (o *outline) reset(f *floor) {
	if o.aisles == nil {
		o.aisles = make([]depth, len(f.reach))
	}
	for a := range o.aisles {
		o.aisles[a] = depth{math.MinInt64, math.MinInt64, 0}
	}
	o.walks, o.reach = 0, 0
}

// add adds an order.
func (o *outline) add(f *floor, vs []visit) {
	for _, v := range vs {
		d := &o.aisles[v.aisle]
		d.front, d.back = max(d.front, v.front), max(d.back, v.back)
		walk := f.walk(d.front, d.back)
		o.walks += walk - d.walk
		d.walk = walk
		o.reach = max(o.reach, f.reach[v.aisle])
	}
}

// with is the guessed length when an order is added.
func (o *outline) with(f *floor, vs []visit) int64 {
	walks, reach := o.walks, o.reach
	for _, v := range vs {
		d := &o.aisles[v.aisle]
		walks += f.walk(max(d.front, v.front), max(d.back, v.back)) - d.walk
		reach = max(reach, f.reach[v.aisle])
	}
	return walks + reach
}

// shared guesses how much shorter one route through both sets is than two.
func (o *outline) shared(f *floor, p *outline) int64 {
	shared := min(o.reach, p.reach)
	for a := range o.aisles {
		d, e := &o.aisles[a], &p.aisles[a]
		if d.front >= 0 && e.front >= 0 {
			shared += d.walk + e.walk - f.walk(max(d.front, e.front), max(d.back, e.back))
		}
	}
	return shared
}

// everything is the place of no order.
const everything = -1

// outline makes the outline of some orders, without the one at a place.
func (w *wave) outline(o *outline, items []int32, except int) {
	o.reset(&w.floor)
	for i, item := range items {
		if i != except {
			o.add(&w.floor, w.items[item].visits)
		}
	}
}
