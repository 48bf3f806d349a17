package floor

import (
	"slices"
	"strings"
)

// Check names everything that is wrong with a plan, each with the path of its
// field, as a problem.Error; nil when there is nothing. Nodes that can't be
// reached from the depot are wrong.
func (p *Plan) Check() error {
	var f faults
	switch p.Kind {
	case ByAisles:
		p.checkAisles(&f)
	case ByGraph:
		p.checkGraph(&f)
	case "":
		f.add("kind", "required", "aisles or graph")
	default:
		f.add("kind", "invalid", "aisles or graph")
	}
	p.checkZones(&f)
	return f.err()
}

func (p *Plan) checkZones(f *faults) {
	if len(p.Zones) > mostZones {
		f.add("zones", "too_many", "at most %d", mostZones)
		return
	}
	seen, ofAisle := map[string]bool{}, map[string]string{}
	var known []string
	if p.Kind == ByAisles && p.aislesCanBeListed() {
		known = p.AisleNames()
	}
	for i, z := range p.Zones {
		at := item("zones", i)
		if !zoneForm.MatchString(z.Name) {
			f.add(at+".name", "invalid", "1 to 40 letters, digits, spaces, dots, slashes, underscores and hyphens, a letter or digit first and no space last")
		} else if seen[z.Name] {
			f.add(at+".name", "duplicate", "there are two zones %q", z.Name)
		}
		seen[z.Name] = true
		if z.Color != "" && !colorForm.MatchString(z.Color) {
			f.add(at+".color", "invalid", "want a color like #cfe8ff")
		}
		for n, a := range z.Aisles {
			field := item(at+".aisles", n)
			switch other, taken := ofAisle[a]; {
			case !slices.Contains(known, a):
				f.add(field, "unknown_aisle", "there is no aisle %q", clip(a))
			case taken:
				f.add(field, "duplicate", "aisle %s is in zone %q already", a, clip(other))
			}
			ofAisle[a] = z.Name
		}
	}
}

// aislesCanBeListed tells whether it is safe to list the aisles of a plan with
// faults.
func (p *Plan) aislesCanBeListed() bool {
	return p.Aisles != nil && (len(p.Aisles.List) > 0 || p.Aisles.Count <= mostAisles && firstForm.MatchString(p.Aisles.FirstName))
}

func (p *Plan) checkAisles(f *faults) {
	f.empty("nodes", len(p.Nodes) > 0, p.Kind)
	f.empty("edges", len(p.Edges) > 0, p.Kind)
	f.empty("depot.node", p.Depot.Node != "", p.Kind)
	f.within("depot.x_mm", p.Depot.XMM, -farthestMM, farthestMM)
	before := len(f.fields)
	p.checkCrossAisles(f)
	p.checkRacks(f)
	p.checkAisleForm(f)
	if len(f.fields) > before {
		return // what follows compares numbers that make sense by themselves
	}
	p.checkAisleSpacing(f)
	p.checkRoomForRacks(f)
}

func (p *Plan) checkCrossAisles(f *faults) {
	c := p.CrossAisles
	if c == nil {
		f.add("cross_aisles", "required", "say where the ways across the aisles are")
		return
	}
	f.within("cross_aisles.width_mm", c.WidthMM, 1, farthestMM)
	if n := len(c.YMM); n < 2 || n > 3 {
		f.add("cross_aisles.y_mm", "out_of_range", "two for one block of racks, three for two; describe a building with more as a graph")
		return
	}
	for i, y := range c.YMM {
		if f.within(item("cross_aisles.y_mm", i), y, -farthestMM, farthestMM) && i > 0 && y <= c.YMM[i-1] {
			f.add(item("cross_aisles.y_mm", i), "not_in_order", "from the front to the back, each greater than the one before")
		}
	}
	f.within("depot.cross", int64(p.Depot.Cross), 0, int64(len(c.YMM)-1))
}

func (p *Plan) checkRacks(f *faults) {
	r := p.Racks
	if r == nil {
		f.add("racks", "required", "say how large the racks are")
		return
	}
	switch r.Side {
	case "", BothSides, LeftSide, RightSide:
	default:
		f.add("racks.side", "invalid", "both, left or right")
	}
	f.within("racks.per_side", int64(r.PerSide), 0, mostRacks)
	f.within("racks.width_mm", r.WidthMM, 1, farthestMM)
	f.within("racks.depth_mm", r.DepthMM, 1, farthestMM)
	if f.within("racks.levels", int64(r.Levels), 1, mostLevels) {
		f.within("racks.level_height_mm", r.LevelHeightMM, 1, int64(highestMM/r.Levels))
		f.within("racks.pick_levels", int64(r.PickLevels), 0, int64(r.Levels))
	}
	checkCapacity(f, "racks.capacity.", r.Capacity)
	checkLotRule(f, "racks.lot_rule", r.LotRule)
}

func (p *Plan) checkAisleForm(f *faults) {
	a := p.Aisles
	if a == nil {
		f.add("aisles", "required", "count the aisles or list them")
		return
	}
	f.within("aisles.width_mm", a.WidthMM, 1, farthestMM)
	if len(a.List) > 0 {
		checkListedAisles(f, *a)
		return
	}
	f.within("aisles.first_x_mm", a.FirstXMM, -farthestMM, farthestMM)
	if f.within("aisles.count", int64(a.Count), 1, mostAisles) && a.Count > 1 {
		f.within("aisles.pitch_mm", a.PitchMM, 1, farthestMM/int64(a.Count))
	}
	if !firstForm.MatchString(a.FirstName) {
		f.add("aisles.first_name", "invalid", "one or two capital letters, or up to four digits, as in A or 01")
	}
}

func checkListedAisles(f *faults, a Aisles) {
	if a.Count != 0 || a.FirstName != "" || a.FirstXMM != 0 || a.PitchMM != 0 {
		f.add("aisles", "ambiguous", "either a list, or count, first_name, first_x_mm and pitch_mm")
	}
	if len(a.List) > mostAisles {
		f.add("aisles.list", "too_many", "at most %d", mostAisles)
		return
	}
	seen := map[string]bool{}
	for i, one := range a.List {
		at := item("aisles.list", i)
		if !aisleForm.MatchString(one.Name) {
			f.add(at+".name", "invalid", "1 to 8 letters, digits, dots and underscores")
		} else if seen[one.Name] {
			f.add(at+".name", "duplicate", "there are two aisles %s", one.Name)
		}
		seen[one.Name] = true
		if f.within(at+".x_mm", one.XMM, -farthestMM, farthestMM) && i > 0 && one.XMM <= a.List[i-1].XMM {
			f.add(at+".x_mm", "not_in_order", "from left to right, each greater than the one before")
		}
	}
}

// checkAisleSpacing demands that the racks between two aisles have room there.
func (p *Plan) checkAisleSpacing(f *faults) {
	all := p.aisles()
	need := 2*p.Aisles.half() + int64(len(p.Racks.sides()))*p.Racks.DepthMM
	for i := 1; i < len(all); i++ {
		if have := all[i].XMM - all[i-1].XMM; have < need {
			field := "aisles.pitch_mm"
			if len(p.Aisles.List) > 0 {
				field = item("aisles.list", i) + ".x_mm"
			}
			f.add(field, "no_room", "aisles %s and %s are %d mm apart, and an aisle with the racks beside it takes %d mm", all[i-1].Name, all[i].Name, have, need)
			if len(p.Aisles.List) == 0 {
				return // the pitch is the same everywhere
			}
		}
	}
}

func (p *Plan) checkRoomForRacks(f *faults) {
	c := p.CrossAisles
	for i := 1; i < len(c.YMM); i++ {
		if c.YMM[i]-c.YMM[i-1] < c.WidthMM {
			f.add(item("cross_aisles.y_mm", i), "no_room", "the cross aisles overlap: they are %d mm wide and %d mm apart", c.WidthMM, c.YMM[i]-c.YMM[i-1])
			return
		}
	}
	room := len(p.roomForRacks())
	switch {
	case room == 0:
		f.add("racks.width_mm", "no_room", "no rack fits between the cross aisles")
	case room > mostRacks:
		f.add("racks.width_mm", "too_many", "more than %d racks would fit along an aisle; is the width in millimetres?", mostRacks)
	case p.Racks.PerSide > room:
		f.add("racks.per_side", "no_room", "only %d fit between the cross aisles", room)
	default:
		bins := len(p.aisles()) * len(p.rackCentres()) * len(p.Racks.sides()) * p.Racks.Levels
		if bins > mostBins {
			f.add("racks", "too_many", "these are %d bins, and a warehouse has at most %d", bins, mostBins)
		}
	}
}

func (p *Plan) checkGraph(f *faults) {
	f.empty("aisles", p.Aisles != nil, p.Kind)
	f.empty("cross_aisles", p.CrossAisles != nil, p.Kind)
	f.empty("racks", p.Racks != nil, p.Kind)
	f.empty("depot.cross", p.Depot.Cross != 0, p.Kind)
	f.empty("depot.x_mm", p.Depot.XMM != 0, p.Kind)
	switch {
	case len(p.Nodes) == 0:
		f.add("nodes", "required", "name the places where one can stand")
		return
	case len(p.Nodes) > mostNodes:
		f.add("nodes", "too_many", "at most %d", mostNodes)
		return
	case len(p.Edges) > mostEdges:
		f.add("edges", "too_many", "at most %d", mostEdges)
		return
	}
	index := map[string]int{}
	for i, n := range p.Nodes {
		at := item("nodes", i)
		if !codeForm.MatchString(n.Name) {
			f.add(at+".name", "invalid", "1 to 32 letters, digits, dots, underscores and hyphens")
		} else if _, taken := index[n.Name]; taken {
			f.add(at+".name", "duplicate", "there are two nodes %s", n.Name)
		}
		index[n.Name] = i
		f.within(at+".x_mm", n.XMM, -farthestMM, farthestMM)
		f.within(at+".y_mm", n.YMM, -farthestMM, farthestMM)
	}
	before := len(f.fields)
	p.checkEdges(f, index)
	depot, known := index[p.Depot.Node]
	switch {
	case p.Depot.Node == "":
		f.add("depot.node", "required", "name the node where walks begin and end")
	case !known:
		f.add("depot.node", "unknown_node", "there is no node %q", clip(p.Depot.Node))
	case len(f.fields) == before: // a wrong edge would make half the building unreachable
		for i, ok := range p.reached(index, depot) {
			if !ok {
				f.add(item("nodes", i), "unreachable", "no way leads from the depot %s to %s", p.Depot.Node, clip(p.Nodes[i].Name))
			}
		}
	}
}

func (p *Plan) checkEdges(f *faults, index map[string]int) {
	seen := map[[2]int]bool{}
	for i, e := range p.Edges {
		at := item("edges", i)
		from, knownFrom := index[e.From]
		to, knownTo := index[e.To]
		if !knownFrom {
			f.add(at+".from", "unknown_node", "there is no node %q", clip(e.From))
		}
		if !knownTo {
			f.add(at+".to", "unknown_node", "there is no node %q", clip(e.To))
		}
		f.within(at+".length_mm", e.LengthMM, 0, farthestMM)
		if !knownFrom || !knownTo {
			continue
		}
		pair := [2]int{min(from, to), max(from, to)}
		switch {
		case from == to:
			f.add(at, "invalid", "a way from %s to itself", e.From)
		case seen[pair]:
			f.add(at, "duplicate", "there are two ways between %s and %s", e.From, e.To)
		case e.LengthMM == 0 && straight(p.Nodes[from], p.Nodes[to]) == 0:
			f.add(at+".length_mm", "required", "%s and %s lie at one place, so say how long the way is", e.From, e.To)
		}
		seen[pair] = true
	}
}

// reached tells for each node whether one can walk there from the depot.
func (p *Plan) reached(index map[string]int, depot int) []bool {
	next := make([][]int, len(p.Nodes))
	for _, e := range p.Edges {
		a, b := index[e.From], index[e.To]
		next[a], next[b] = append(next[a], b), append(next[b], a)
	}
	reached := make([]bool, len(p.Nodes))
	reached[depot] = true
	for open := []int{depot}; len(open) > 0; {
		at := open[len(open)-1]
		open = open[:len(open)-1]
		for _, n := range next[at] {
			if !reached[n] {
				reached[n] = true
				open = append(open, n)
			}
		}
	}
	return reached
}

func checkCapacity(f *faults, at string, c Capacity) {
	f.within(at+"max_units", c.MaxUnits, 0, 1e9)
	f.within(at+"max_weight_grams", c.MaxWeightGrams, 0, 1e9)
	f.within(at+"max_volume_mm3", c.MaxVolumeMM3, 0, 1e15)
}

func checkLotRule(f *faults, at string, r LotRule) {
	switch r {
	case "", Mixed, OneLot, OneSKU:
	default:
		f.add(at, "invalid", "mixed, one_lot or one_sku")
	}
}

func checkBinKind(f *faults, at string, k BinKind) {
	if k != "" && !slices.Contains(BinKinds, k) {
		names := make([]string, len(BinKinds))
		for i, one := range BinKinds {
			names[i] = string(one)
		}
		f.add(at, "invalid", "one of %s", strings.Join(names, ", "))
	}
}
