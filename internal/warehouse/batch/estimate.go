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

// outline is how far a set of stops reaches into each aisle, from the front and
// from the back; both are unvisited where the set has no stop in the aisle.
type outline []depth

type depth struct{ front, back int64 }

const unvisited = math.MinInt64

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

func (f *floor) outline(stops []int32) outline {
	o := make(outline, len(f.reach))
	for a := range o {
		o[a] = depth{unvisited, unvisited}
	}
	for _, s := range stops {
		d := &o[f.aisle[s]]
		d.front = max(d.front, f.stops[s].Y-f.front)
		d.back = max(d.back, f.back-f.stops[s].Y)
	}
	return o
}

// join makes the outline cover another one too.
func (o outline) join(p outline) {
	for a := range o {
		o[a].front, o[a].back = max(o[a].front, p[a].front), max(o[a].back, p[a].back)
	}
}

// shared guesses how much shorter one route through both sets is than two: in
// every aisle that both visit the way in is walked once, and the way to the
// farthest aisle too.
func (f *floor) shared(o, p outline) int64 {
	var saving, reachO, reachP int64
	for a := range o {
		inO, inP := o[a].front != unvisited, p[a].front != unvisited
		if inO {
			reachO = max(reachO, f.reach[a])
		}
		if inP {
			reachP = max(reachP, f.reach[a])
		}
		if inO && inP {
			both := depth{max(o[a].front, p[a].front), max(o[a].back, p[a].back)}
			saving += f.walk(o[a]) + f.walk(p[a]) - f.walk(both)
		}
	}
	return saving + min(reachO, reachP)
}

// walk guesses the way inside an aisle: in and back from either end, or through.
func (f *floor) walk(d depth) int64 {
	return min(2*d.front, 2*d.back, f.back-f.front)
}
