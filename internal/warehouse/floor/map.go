package floor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mode tells what the colours of the bins on a map mean.
type Mode string

// The modes; an empty one means ByFill.
const (
	ByFill  Mode = "fill"  // how full a bin is
	ByPicks Mode = "picks" // how often it is picked from, beside the others
)

// NoLimit is the fill of a bin that has no capacity to compare with.
const NoLimit = -1

// MapBin is a bin with what is known of it today.
type MapBin struct {
	Bin
	// FillPermille is 0 for empty and 1000 for full; more is overfull. NoLimit
	// when there is no capacity.
	FillPermille int
	// Picks in whatever span of time the caller looks at.
	Picks int
	// Contents are lines for a person, as in "POL-ROJO-S: 12".
	Contents []string
}

// Point is a place on the floor, in mm.
type Point struct {
	XMM int64 `json:"x_mm"`
	YMM int64 `json:"y_mm"`
}

// MapInput is what a map shows. The plan must have passed its checks.
type MapInput struct {
	Name string // of the warehouse, for the title; may be empty
	Plan *Plan
	Bins []MapBin
	// Route is a walk from point to point, Stops are numbered along it from 1;
	// both may be empty.
	Route []Point
	Stops []Point
	Mode  Mode
	Lang  string // a language tag; Spanish when empty, English for any but "es"
}

// Map draws a warehouse from above as SVG: the racks by level, coloured by Mode
// and tinted by zone, the ways, the depot, and a route when there is one. What
// lies in a bin is its tooltip. The same input gives the same bytes. The unit of
// the drawing is a millimetre.
//
// It is refused with a problem.Error for a plan with faults, and with another
// error for a mode that does not exist or a point that is nowhere on the floor.
func Map(in MapInput) ([]byte, error) {
	if err := in.Plan.Check(); err != nil {
		return nil, err
	}
	if in.Mode == "" {
		in.Mode = ByFill
	}
	if in.Mode != ByFill && in.Mode != ByPicks {
		return nil, fmt.Errorf("draw a map: there is no mode %q", clip(string(in.Mode)))
	}
	d := drawing{in: in, plan: in.Plan, aisles: in.Plan.aisles(), say: wordsOf(in.Lang), footprints: footprintsOf(in.Plan, in.Bins)}
	for _, b := range in.Bins {
		d.mostPicks = max(d.mostPicks, b.Picks)
	}
	if err := d.measure(); err != nil {
		return nil, err
	}
	d.ground()
	d.tints()
	d.racks()
	d.aisleNames()
	d.route()
	d.depot()
	d.stops()
	bottom := d.legend()
	return d.document(bottom), nil
}

// drawing is a map in the making.
type drawing struct {
	in         MapInput
	plan       *Plan
	say        words
	aisles     []Aisle // none on a graph
	footprints []footprint
	mostPicks  int

	box       box
	px        int64 // one pixel in mm, on a screen of about 1200 by 900
	left, top int64 // where the box is on the drawing
	width     int64
	body      strings.Builder
}

// box is a rectangle on the floor.
type box struct{ left, front, right, back int64 }

func (b *box) include(x, y, by int64) {
	b.left, b.right = min(b.left, x-by), max(b.right, x+by)
	b.front, b.back = min(b.front, y-by), max(b.back, y+by)
}

// footprint is what one rack or one place covers of the floor, with its bins
// from the lowest to the highest.
type footprint struct {
	x, y, width, depth int64 // depth goes along y
	bins               []MapBin
}

// sizeInGraph is how wide and deep a place of a graph is drawn, where nothing
// else says it.
const sizeInGraph = 1200

// footprintsOf gathers the bins that lie above each other. A footprint is as
// large as the plan's racks, and smaller where its neighbours leave less room.
func footprintsOf(p *Plan, bins []MapBin) []footprint {
	sorted := slices.Clone(bins)
	slices.SortFunc(sorted, func(a, b MapBin) int {
		return cmp.Or(cmp.Compare(a.XMM, b.XMM), cmp.Compare(a.YMM, b.YMM), cmp.Compare(a.ZMM, b.ZMM), strings.Compare(a.Code, b.Code))
	})
	width, depth := int64(sizeInGraph), int64(sizeInGraph)
	if p.Kind == ByAisles {
		width, depth = p.Racks.DepthMM, p.Racks.WidthMM
	}
	var all []footprint
	for _, b := range sorted {
		if n := len(all); n == 0 || all[n-1].x != b.XMM || all[n-1].y != b.YMM {
			all = append(all, footprint{x: b.XMM, y: b.YMM, width: width, depth: depth})
		}
		last := &all[len(all)-1]
		last.bins = append(last.bins, b)
	}
	for i := 1; i < len(all); i++ {
		if a, b := &all[i-1], &all[i]; a.x == b.x {
			a.depth, b.depth = min(a.depth, b.y-a.y), min(b.depth, b.y-a.y)
		}
	}
	slices.SortFunc(all, func(a, b footprint) int { return cmp.Or(cmp.Compare(a.y, b.y), cmp.Compare(a.x, b.x)) })
	for i := 1; i < len(all); i++ {
		if a, b := &all[i-1], &all[i]; a.y == b.y {
			a.width, b.width = min(a.width, b.x-a.x), min(b.width, b.x-a.x)
		}
	}
	return all
}

// measure finds what the map covers, how large a pixel is, and where the box
// goes. Everything else draws in its coordinates.
func (d *drawing) measure() error {
	d.box = d.coverage()
	for _, list := range [][]Point{d.in.Route, d.in.Stops} {
		for _, p := range list {
			if max(p.XMM, -p.XMM) > 2*farthestMM || max(p.YMM, -p.YMM) > 2*farthestMM {
				return fmt.Errorf("draw a map: the point %d, %d is nowhere on the floor", p.XMM, p.YMM)
			}
			d.box.include(p.XMM, p.YMM, 0)
		}
	}
	wide, high := d.box.right-d.box.left, d.box.back-d.box.front
	d.px = max(1, (wide+1099)/1100, (high+619)/620)
	d.width = max(wide+100*d.px, 800*d.px)
	d.left, d.top = (d.width-wide)/2, 100*d.px
	return nil
}

func (d *drawing) coverage() box {
	p := d.plan
	var b box
	if p.Kind == ByGraph {
		b = box{p.Nodes[0].XMM, p.Nodes[0].YMM, p.Nodes[0].XMM, p.Nodes[0].YMM}
		for _, n := range p.Nodes {
			b.include(n.XMM, n.YMM, sizeInGraph)
		}
	} else {
		x, y, half := p.AisleX(), p.CrossY(), p.CrossAisles.half()
		b = box{x[0] - p.reach(), y[0] - half, x[len(x)-1] + p.reach(), y[len(y)-1] + half}
		b.include(p.Depot.XMM, y[p.Depot.Cross], half)
	}
	for _, f := range d.footprints {
		b.include(f.x, f.y, max(f.width, f.depth)/2)
	}
	return b
}

// x and y turn a place on the floor into one on the drawing, whose y grows
// downwards.
func (d *drawing) x(mm int64) int64 { return d.left + mm - d.box.left }
func (d *drawing) y(mm int64) int64 { return d.top + d.box.back - mm }

func (d *drawing) document(bottom int64) []byte {
	title := d.say.title
	if d.in.Name != "" {
		title += " " + d.in.Name
	}
	colours := d.say.fill
	if d.in.Mode == ByPicks {
		colours = d.say.picks
	}
	var doc strings.Builder
	fmt.Fprintf(&doc, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" xml:lang="%s" font-family="system-ui, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif" font-size="%d" fill="#1f2933">`+"\n",
		d.width, bottom, d.say.lang, 12*d.px)
	fmt.Fprintf(&doc, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n", escape(title))
	fmt.Fprintf(&doc, `<text x="%d" y="%d" font-size="%d" font-weight="600">%s</text>`+"\n", 40*d.px, 36*d.px, 20*d.px, escape(title))
	fmt.Fprintf(&doc, `<text x="%d" y="%d" fill="#52606d">%s · %d %s</text>`+"\n", 40*d.px, 56*d.px, escape(colours), len(d.in.Bins), d.say.bins)
	doc.WriteString(d.body.String())
	doc.WriteString("</svg>\n")
	return []byte(doc.String())
}
