package floor

import (
	"slices"
)

// Accept checks bins that somebody lists against a plan and completes them:
// where they are, where one stands to reach them, what their code says. It
// names every bin that is wrong, that is listed twice or that nobody can reach,
// by its code and with the path of the field, up to a hundred faults, as a
// problem.Error. Bins that a plan had generated pass it unchanged.
//
// A new plan for a warehouse that has bins is safe when it accepts them all.
func (p *Plan) Accept(bins []BinInput) ([]Bin, error) {
	var f faults
	in := p.newIntake()
	accepted := make([]Bin, 0, len(bins))
	for i, b := range bins {
		if bin, ok := in.take(&f, item("bins", i), b); ok {
			accepted = append(accepted, bin)
		}
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return accepted, nil
}

// intake is a plan in the form that checks many bins quickly, with what it has
// seen of them.
type intake struct {
	plan    *Plan
	aisles  []Aisle
	byName  map[string]int
	centres []int64
	nodes   map[string]int
	zones   map[string]bool
	seen    map[string]string // code to where it was listed first
}

func (p *Plan) newIntake() *intake {
	in := &intake{plan: p, aisles: p.aisles(), byName: map[string]int{}, nodes: p.nodeIndex(), zones: map[string]bool{}, seen: map[string]string{}}
	for i, a := range in.aisles {
		in.byName[a.Name] = i
	}
	if p.Kind == ByAisles {
		in.centres = p.rackCentres()
	}
	for _, z := range p.Zones {
		in.zones[z.Name] = true
	}
	return in
}

// take checks one bin that was listed at a place like bins[3] or line 17.
func (in *intake) take(f *faults, at string, b BinInput) (Bin, bool) {
	before, cut := len(f.fields), f.more
	at += "."
	in.checkOwn(f, at, b)
	bin := Bin{
		Code: b.Code, Zone: b.Zone, Kind: b.Kind, LotRule: b.LotRule.orMixed(),
		Capacity: Capacity{MaxUnits: b.MaxUnits, MaxWeightGrams: b.MaxWeightGrams, MaxVolumeMM3: b.MaxVolumeMM3},
	}
	if bin.Kind == "" {
		bin.Kind = Pick
	}
	if in.plan.Kind == ByGraph {
		in.placeAtNode(f, at, b, &bin)
	} else {
		in.placeAtAisle(f, at, b, &bin)
	}
	return bin, len(f.fields) == before && f.more == cut
}

// checkOwn checks what has nothing to do with where a bin is.
func (in *intake) checkOwn(f *faults, at string, b BinInput) {
	if !codeForm.MatchString(b.Code) {
		f.add(at+"code", "invalid", "1 to 32 letters, digits, dots, underscores and hyphens")
	} else if first, taken := in.seen[b.Code]; taken {
		f.add(at+"code", "duplicate", "bin %s is listed already, at %s", b.Code, first)
	} else {
		in.seen[b.Code] = at[:len(at)-1]
	}
	if b.Zone != "" && !in.zones[b.Zone] {
		f.add(at+"zone", "unknown_zone", "bin %s: the plan has no zone %q", clip(b.Code), clip(b.Zone))
	}
	checkBinKind(f, at+"kind", b.Kind)
	checkLotRule(f, at+"lot_rule", b.LotRule)
	checkCapacity(f, at, Capacity{MaxUnits: b.MaxUnits, MaxWeightGrams: b.MaxWeightGrams, MaxVolumeMM3: b.MaxVolumeMM3})
	for _, c := range []struct {
		name        string
		mm          *int64
		least, most int64
	}{{"x_mm", b.XMM, -farthestMM, farthestMM}, {"y_mm", b.YMM, -farthestMM, farthestMM}, {"z_mm", b.ZMM, 0, highestMM}} {
		if c.mm != nil {
			f.within(at+c.name, *c.mm, c.least, c.most)
		}
	}
	if (b.XMM == nil) != (b.YMM == nil) {
		f.add(at+"x_mm", "incomplete", "bin %s: x and y belong together", clip(b.Code))
	}
}

func (in *intake) placeAtNode(f *faults, at string, b BinInput, bin *Bin) {
	if spot, ok := ParseCode(b.Code); ok {
		bin.Aisle, bin.Rack, bin.Level = spot.Aisle, spot.Rack, spot.Level
	}
	n, known := in.nodes[b.Node]
	switch {
	case b.Node == "":
		f.add(at+"node", "required", "bin %s: name the node where one stands to reach it", clip(b.Code))
		return
	case !known:
		f.add(at+"node", "unreachable", "bin %s can't be reached: there is no node %q", clip(b.Code), clip(b.Node))
		return
	}
	bin.Stop = Stop{Node: b.Node}
	bin.XMM, bin.YMM = in.plan.Nodes[n].XMM, in.plan.Nodes[n].YMM
	if b.XMM != nil && b.YMM != nil {
		bin.XMM, bin.YMM = *b.XMM, *b.YMM
	}
	if b.ZMM != nil {
		bin.ZMM = *b.ZMM
	}
}

func (in *intake) placeAtAisle(f *faults, at string, b BinInput, bin *Bin) {
	if b.Node != "" {
		f.add(at+"node", "not_of_this_kind", "bin %s: a plan of kind %s has no nodes", clip(b.Code), ByAisles)
	}
	spot, ok := ParseCode(b.Code)
	named, inPlan := in.byName[spot.Aisle]
	if ok = ok && inPlan; ok {
		bin.Aisle, bin.Rack, bin.Level = spot.Aisle, spot.Rack, spot.Level
	} else {
		named = -1
	}
	switch {
	case b.XMM != nil && b.YMM != nil:
		bin.XMM, bin.YMM = *b.XMM, *b.YMM
		if b.ZMM != nil {
			bin.ZMM = *b.ZMM
		}
		in.stopByPosition(f, at, bin, named)
	case !ok:
		f.add(at+"x_mm", "required", "bin %s: its code names no rack of the plan, so say where it is", clip(b.Code))
	default:
		in.stopByCode(f, at, bin, named, spot, b.ZMM)
	}
}

// stopByPosition finds the aisle from which a position is reached. An aisle that
// the code names goes before a nearer one: bins of racks that stand back to back
// may lie on the border between two. A place on a cross aisle, such as a packing
// table, is reached from where the nearest aisle meets it.
func (in *intake) stopByPosition(f *faults, at string, bin *Bin, named int) {
	i := named
	if named < 0 || away(in.aisles[named], bin.XMM) > in.plan.reach() {
		i = in.nearest(bin.XMM)
	}
	if named < 0 {
		bin.Aisle = in.aisles[i].Name
	}
	bin.Stop = Stop{Aisle: i, YMM: bin.YMM}
	cross, onCross := in.crossAt(bin.YMM)
	left, right := in.aisles[0].XMM-in.plan.reach(), in.aisles[len(in.aisles)-1].XMM+in.plan.reach()
	if onCross {
		bin.Stop.YMM = cross
	}
	switch d := away(in.aisles[i], bin.XMM); {
	case d > in.plan.reach() && (!onCross || bin.XMM < left || bin.XMM > right):
		f.add(at+"x_mm", "unreachable", "bin %s can't be reached: it lies in no aisle, and the nearest, %s, is %d mm away", clip(bin.Code), in.aisles[i].Name, d)
	case named >= 0 && i != named:
		f.add(at+"x_mm", "wrong_aisle", "bin %s lies at aisle %s, and its code says %s", clip(bin.Code), in.aisles[i].Name, in.aisles[named].Name)
	}
	y := in.plan.CrossAisles.YMM
	if front, back := y[0], y[len(y)-1]; !onCross && (bin.YMM < front || bin.YMM > back) {
		f.add(at+"y_mm", "unreachable", "bin %s can't be reached: the aisles go from %d to %d mm", clip(bin.Code), front, back)
	}
}

// crossAt is the centre line of the cross aisle that a position lies on.
func (in *intake) crossAt(y int64) (centre int64, ok bool) {
	half := in.plan.CrossAisles.half()
	for _, centre := range in.plan.CrossAisles.YMM {
		if max(y-centre, centre-y) < half {
			return centre, true
		}
	}
	return 0, false
}

// stopByCode finds a bin in the racks of the plan.
func (in *intake) stopByCode(f *faults, at string, bin *Bin, aisle int, spot Spot, z *int64) {
	racks := in.plan.Racks
	sides := racks.sides()
	if spot.Rack > len(in.centres)*len(sides) {
		f.add(at+"code", "unreachable", "bin %s can't be reached: aisle %s has %d racks; for any other place give x_mm and y_mm", bin.Code, spot.Aisle, len(in.centres)*len(sides))
		return
	}
	if spot.levelNumber() > racks.Levels {
		f.add(at+"code", "unreachable", "bin %s can't be reached: the racks have %d levels; for any other place give x_mm and y_mm", bin.Code, racks.Levels)
		return
	}
	n := spot.Rack - 1
	bin.XMM = in.plan.rackX(in.aisles[aisle].XMM, sides[n%len(sides)])
	bin.YMM = in.centres[n/len(sides)]
	bin.ZMM = int64(spot.levelNumber()-1) * racks.LevelHeightMM
	if z != nil {
		bin.ZMM = *z
	}
	bin.Stop = Stop{Aisle: aisle, YMM: bin.YMM}
}

func (in *intake) nearest(x int64) int {
	i, exact := slices.BinarySearchFunc(in.aisles, x, func(a Aisle, x int64) int { return int(a.XMM - x) })
	if exact || i == 0 {
		return i
	}
	if i == len(in.aisles) || x-in.aisles[i-1].XMM <= in.aisles[i].XMM-x {
		return i - 1
	}
	return i
}

func away(a Aisle, x int64) int64 { return max(a.XMM-x, x-a.XMM) }
