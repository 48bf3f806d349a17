// Package floor says what a warehouse looks like: where one can walk, where the
// bins are, what they may hold, and how to draw it. It knows no database and no
// route; it gives both the plain numbers they need.
//
// Lengths and coordinates are whole millimetres. x grows to the right, y away
// from the front of the building, z upwards from the floor.
package floor

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// Kind tells how a plan describes where one can walk.
type Kind string

// The kinds of plans.
const (
	ByAisles Kind = "aisles" // parallel aisles between two or three cross aisles
	ByGraph  Kind = "graph"  // places and the ways between them, for every other building
)

// Plan describes the floor of one warehouse. It comes from ParsePlan, or is
// checked with Check; the other methods expect a plan that has passed.
type Plan struct {
	Kind  Kind   `json:"kind"`
	Zones []Zone `json:"zones,omitempty"`

	// Of a plan by aisles.
	Aisles      *Aisles      `json:"aisles,omitempty"`
	CrossAisles *CrossAisles `json:"cross_aisles,omitempty"`
	Racks       *Racks       `json:"racks,omitempty"`

	// Of a plan by graph.
	Nodes []Node `json:"nodes,omitempty"`
	Edges []Edge `json:"edges,omitempty"`

	Depot Depot `json:"depot"`
}

// Zone is a part of the warehouse that people have a name for.
type Zone struct {
	Name string `json:"name"`
	// Color tints the zone on the map, as in "#cfe8ff"; empty takes one of ours.
	Color string `json:"color,omitempty"`
	// Aisles are the names of those whose generated bins belong to the zone.
	Aisles []string `json:"aisles,omitempty"`
}

// Aisles are the parallel ways between the racks: count of them at one pitch,
// or a list.
type Aisles struct {
	Count int `json:"count,omitempty"`
	// FirstName is counted up for the others: A, B, ... Z, AA, or 01, 02, ...
	FirstName string `json:"first_name,omitempty"`
	FirstXMM  int64  `json:"first_x_mm,omitempty"`
	PitchMM   int64  `json:"pitch_mm,omitempty"` // from one centre line to the next

	List []Aisle `json:"list,omitempty"` // from left to right

	WidthMM int64 `json:"width_mm"` // free for walking, from rack to rack
}

// Aisle is one aisle of a list, at its centre line.
type Aisle struct {
	Name string `json:"name"`
	XMM  int64  `json:"x_mm"`
}

// CrossAisles are the ways at right angles to the aisles, at their centre
// lines, from the front to the back. Two make one block, three make two.
type CrossAisles struct {
	YMM     []int64 `json:"y_mm"`
	WidthMM int64   `json:"width_mm"`
}

// Side tells where the racks of an aisle stand for somebody who walks to the
// back of the building.
type Side string

// The sides; an empty one means both.
const (
	BothSides Side = "both"
	LeftSide  Side = "left"
	RightSide Side = "right"
)

// Racks are the same along all aisles of a plan. Bins that are otherwise are
// imported with coordinates.
type Racks struct {
	Side Side `json:"side,omitempty"`
	// PerSide is how many stand along one side of an aisle, over all blocks;
	// zero is as many as fit.
	PerSide       int   `json:"per_side,omitempty"`
	WidthMM       int64 `json:"width_mm"` // along the aisle
	DepthMM       int64 `json:"depth_mm"` // from the aisle to the back
	Levels        int   `json:"levels"`
	LevelHeightMM int64 `json:"level_height_mm"`
	// PickLevels are the lowest ones, whose bins are for picking; those above
	// are reserve. Zero makes all of them for picking.
	PickLevels int `json:"pick_levels,omitempty"`
	// Capacity and LotRule are those of each generated bin.
	Capacity Capacity `json:"capacity,omitzero"`
	LotRule  LotRule  `json:"lot_rule,omitempty"`
}

// Node is a place of a graph where one can stand.
type Node struct {
	Name string `json:"name"`
	XMM  int64  `json:"x_mm"`
	YMM  int64  `json:"y_mm"`
}

// Edge is a way between two nodes that is walked in both directions.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	// LengthMM is walked from one end to the other; zero is the straight line.
	LengthMM int64 `json:"length_mm,omitempty"`
}

// Depot is where a walk begins and ends: a point of a cross aisle, counted from
// zero at the front, or a node.
type Depot struct {
	Cross int    `json:"cross,omitempty"`
	XMM   int64  `json:"x_mm,omitempty"`
	Node  string `json:"node,omitempty"`
}

// What one plan may hold. They bound what a request can cost and are far above
// any building.
const (
	mostAisles = 200
	mostRacks  = 1000 // along one side of an aisle
	mostLevels = 26   // as many as there are letters
	mostBins   = 100_000
	mostNodes  = 5000
	mostEdges  = 20_000
	mostZones  = 100
	farthestMM = 10_000_000
	highestMM  = 100_000
)

var (
	codeForm  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)
	aisleForm = regexp.MustCompile(`^[A-Za-z0-9._]{1,8}$`)
	firstForm = regexp.MustCompile(`^([A-Z]{1,2}|[0-9]{1,4})$`)
	zoneForm  = regexp.MustCompile(`^[\p{L}\p{N}]([\p{L}\p{M}\p{N} ._/-]{0,38}[\p{L}\p{M}\p{N}._/-])?$`)
	colorForm = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)
)

// AisleX returns the centre lines of the aisles from left to right, in mm.
func (p *Plan) AisleX() []int64 {
	all := p.aisles()
	x := make([]int64, len(all))
	for i, a := range all {
		x[i] = a.XMM
	}
	return x
}

// AisleNames returns the aisles' names in the order of AisleX.
func (p *Plan) AisleNames() []string {
	all := p.aisles()
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = a.Name
	}
	return names
}

// CrossY returns the centre lines of the cross aisles from front to back, in mm.
func (p *Plan) CrossY() []int64 {
	if p.CrossAisles == nil {
		return nil
	}
	return p.CrossAisles.YMM
}

// Ways returns the edges, each with the length that is walked, in mm.
func (p *Plan) Ways() []Edge {
	index := p.nodeIndex()
	ways := slices.Clone(p.Edges)
	for i, e := range ways {
		if e.LengthMM == 0 {
			ways[i].LengthMM = straight(p.Nodes[index[e.From]], p.Nodes[index[e.To]])
		}
	}
	return ways
}

// nodeIndex tells which node of Nodes has a name.
func (p *Plan) nodeIndex() map[string]int {
	index := make(map[string]int, len(p.Nodes))
	for i, n := range p.Nodes {
		index[n.Name] = i
	}
	return index
}

func straight(a, b Node) int64 {
	return int64(math.Round(math.Hypot(float64(a.XMM-b.XMM), float64(a.YMM-b.YMM))))
}

// aisles lists what a plan says in either form.
func (p *Plan) aisles() []Aisle {
	switch {
	case p.Aisles == nil:
		return nil
	case len(p.Aisles.List) > 0:
		return p.Aisles.List
	}
	all := make([]Aisle, 0, p.Aisles.Count)
	name := p.Aisles.FirstName
	for i := range p.Aisles.Count {
		all = append(all, Aisle{Name: name, XMM: p.Aisles.FirstXMM + int64(i)*p.Aisles.PitchMM})
		name = nameAfter(name)
	}
	return all
}

// nameAfter counts a name up the way the columns of a spreadsheet are counted:
// the last place that can grow does, and those behind it begin anew.
func nameAfter(name string) string {
	b := []byte(name)
	for i := len(b) - 1; i >= 0; i-- {
		switch b[i] {
		case 'Z':
			b[i] = 'A'
		case '9':
			b[i] = '0'
		default:
			b[i]++
			return string(b)
		}
	}
	if b[0] == 'A' {
		return "A" + string(b)
	}
	return "1" + string(b)
}

// sides tells on which sides of an aisle racks stand, as a factor of x.
func (r *Racks) sides() []int64 {
	switch r.Side {
	case LeftSide:
		return []int64{-1}
	case RightSide:
		return []int64{1}
	default:
		return []int64{-1, 1}
	}
}

// rackCentres returns where the racks along one side of every aisle have their
// middle, from the front to the back: those of a block begin where the cross
// aisle before it ends.
func (p *Plan) rackCentres() []int64 {
	all := p.roomForRacks()
	if n := p.Racks.PerSide; n > 0 && n < len(all) {
		return all[:n]
	}
	return all
}

func (p *Plan) roomForRacks() []int64 {
	var centres []int64
	half := p.CrossAisles.half()
	for i := 1; i < len(p.CrossAisles.YMM); i++ {
		from, to := p.CrossAisles.YMM[i-1]+half, p.CrossAisles.YMM[i]-half
		for y := from; y+p.Racks.WidthMM <= to && len(centres) <= mostRacks; y += p.Racks.WidthMM {
			centres = append(centres, y+p.Racks.WidthMM/2)
		}
	}
	return centres
}

// rackX is where the racks on one side of an aisle have their middle.
func (p *Plan) rackX(aisle, side int64) int64 {
	return aisle + side*(p.Aisles.half()+p.Racks.DepthMM/2)
}

// reach is how far from the centre line of an aisle its bins may be.
func (p *Plan) reach() int64 {
	return p.Aisles.half() + p.Racks.DepthMM
}

// half is how far from a centre line the racks begin, in whole millimetres.
func (a *Aisles) half() int64      { return (a.WidthMM + 1) / 2 }
func (c *CrossAisles) half() int64 { return (c.WidthMM + 1) / 2 }

// zoneOfAisle tells to which zone the generated bins of an aisle belong.
func (p *Plan) zoneOfAisle() map[string]string {
	zones := map[string]string{}
	for _, z := range p.Zones {
		for _, a := range z.Aisles {
			zones[a] = z.Name
		}
	}
	return zones
}

func levelName(level int) string { return string(rune('A' + level - 1)) }

// Bins returns the bins of the racks of a plan by aisles, in the order of aisle,
// rack and level; a plan by graph generates none. With racks on both sides the
// odd numbers are on the left.
func (p *Plan) Bins() []Bin {
	if p.Kind != ByAisles {
		return nil
	}
	zones, sides, centres := p.zoneOfAisle(), p.Racks.sides(), p.rackCentres()
	digits := max(2, len(fmt.Sprint(len(centres)*len(sides))))
	bins := make([]Bin, 0, len(p.aisles())*len(centres)*len(sides)*p.Racks.Levels)
	for i, a := range p.aisles() {
		for n, y := range centres {
			for s, side := range sides {
				rack := n*len(sides) + s + 1
				for level := 1; level <= p.Racks.Levels; level++ {
					bins = append(bins, Bin{
						Code: fmt.Sprintf("%s-%0*d-%s", a.Name, digits, rack, levelName(level)),
						Zone: zones[a.Name], Kind: p.Racks.kindOfLevel(level),
						Aisle: a.Name, Rack: rack, Level: levelName(level),
						XMM: p.rackX(a.XMM, side), YMM: y, ZMM: int64(level-1) * p.Racks.LevelHeightMM,
						Capacity: p.Racks.Capacity, LotRule: p.Racks.LotRule.orMixed(),
						Stop: Stop{Aisle: i, YMM: y},
					})
				}
			}
		}
	}
	return bins
}

func (r *Racks) kindOfLevel(level int) BinKind {
	if r.PickLevels > 0 && level > r.PickLevels {
		return Reserve
	}
	return Pick
}

// clip keeps a text that a caller chose from filling the answer.
func clip(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:60], "") + "..."
}
