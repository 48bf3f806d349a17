package floor

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// The colours of a map.
const (
	groundColor   = "#f7f8fa"
	wayColor      = "#e4e8ed"
	outlineColor  = "#7b8794"
	noLimitColor  = "#c4cbd3"
	overfullColor = "#c62828"
	depotColor    = "#1f2933"
	walkColor     = "#d6246e"
)

// ramp is a scale of colours from nothing to most, at equal distances.
type ramp [][3]int64

var (
	fillRamp = ramp{{0xff, 0xff, 0xff}, {0xa8, 0xdc, 0xd1}, {0x3a, 0x9d, 0x8f}, {0x12, 0x5b, 0x5b}}
	heatRamp = ramp{{0xff, 0xff, 0xff}, {0xff, 0xe0, 0x8a}, {0xf5, 0x8a, 0x3c}, {0xa6, 0x1b, 0x1b}}
)

// at is the colour of a part of the whole, both in the same unit.
func (r ramp) at(part, whole int64) string {
	steps := int64(len(r) - 1)
	part = min(max(part, 0), whole)
	i := min(part*steps/whole, steps-1)
	over := part*steps - i*whole // of whole
	var c [3]int64
	for n := range c {
		c[n] = r[i][n] + (r[i+1][n]-r[i][n])*over/whole
	}
	return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2])
}

// zoneColors are those of zones that have named none.
var zoneColors = []string{"#5b8def", "#e0a526", "#7bb662", "#b47fd6", "#e07a5f", "#4db6c4", "#9c8b6e", "#d66ba0"}

func (d *drawing) zoneColor(name string) (string, bool) {
	for i, z := range d.plan.Zones {
		switch {
		case z.Name != name:
		case z.Color != "":
			return z.Color, true
		default:
			return zoneColors[i%len(zoneColors)], true
		}
	}
	return "", false
}

// stationColors frame what is neither for picking nor a reserve.
var stationColors = map[BinKind]string{
	Receiving: "#2563eb", Packing: "#7c3aed", Quarantine: "#d97706", Damaged: "#b91c1c", InTransit: "#0e7490",
}

func escape(s string) string {
	var b strings.Builder
	// EscapeText fails only when its writer does, and a Builder never does.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func (d *drawing) put(format string, args ...any) {
	fmt.Fprintf(&d.body, format+"\n", args...)
}

// rect draws a rectangle of the floor.
func (d *drawing) rect(b box, attributes string) {
	d.put(`<rect x="%d" y="%d" width="%d" height="%d" %s/>`, d.x(b.left), d.y(b.back), b.right-b.left, b.back-b.front, attributes)
}

// ground draws where one can walk.
func (d *drawing) ground() {
	d.put(`<g fill="%s">`, wayColor)
	if d.plan.Kind == ByGraph {
		d.groundOfGraph()
	} else {
		d.groundOfAisles()
	}
	d.put(`</g>`)
}

func (d *drawing) groundOfAisles() {
	x, y := d.plan.AisleX(), d.plan.CrossY()
	half, across := d.plan.Aisles.half(), d.plan.CrossAisles.half()
	left, right := x[0]-d.plan.reach(), x[len(x)-1]+d.plan.reach()
	d.rect(box{left, y[0] - across, right, y[len(y)-1] + across}, fmt.Sprintf(`fill="%s"`, groundColor))
	for _, at := range x {
		d.rect(box{at - half, y[0], at + half, y[len(y)-1]}, "")
	}
	for i, at := range y {
		l, r := left, right
		if i == d.plan.Depot.Cross {
			l, r = min(l, d.plan.Depot.XMM), max(r, d.plan.Depot.XMM)
		}
		d.rect(box{l, at - across, r, at + across}, "")
	}
}

func (d *drawing) groundOfGraph() {
	d.rect(d.box, fmt.Sprintf(`fill="%s"`, groundColor))
	d.put(`<g stroke="%s" stroke-width="%d" stroke-linecap="round">`, wayColor, 14*d.px)
	index := d.plan.nodeIndex()
	for _, e := range d.plan.Edges {
		a, b := d.plan.Nodes[index[e.From]], d.plan.Nodes[index[e.To]]
		d.put(`<line x1="%d" y1="%d" x2="%d" y2="%d"/>`, d.x(a.XMM), d.y(a.YMM), d.x(b.XMM), d.y(b.YMM))
	}
	d.put(`</g>`)
	for _, n := range d.plan.Nodes {
		d.put(`<circle cx="%d" cy="%d" r="%d" fill="#b3bcc6"><title>%s</title></circle>`, d.x(n.XMM), d.y(n.YMM), 4*d.px, escape(n.Name))
	}
}

// tints lays the colour of a zone under its bins: along an aisle up to the
// centre line, elsewhere around the place.
func (d *drawing) tints() {
	d.put(`<g fill-opacity="0.28">`)
	for _, f := range d.footprints {
		colour, ok := d.zoneColor(f.bins[0].Zone)
		if !ok {
			continue
		}
		area := f.box()
		if at, beside := d.aisleBeside(f); beside && !f.isStation() {
			area.left, area.right = min(area.left, at), max(area.right, at)
		} else {
			area = box{area.left - 5*d.px, area.front - 5*d.px, area.right + 5*d.px, area.back + 5*d.px}
		}
		d.rect(area, fmt.Sprintf(`fill="%s"`, colour))
	}
	d.put(`</g>`)
}

func (f footprint) box() box {
	return box{f.x - f.width/2, f.y - f.depth/2, f.x + f.width - f.width/2, f.y + f.depth - f.depth/2}
}

// isStation tells whether work is done there that is no picking.
func (f footprint) isStation() bool {
	_, ok := stationColors[f.bins[0].Kind]
	return ok
}

// aisleBeside is the centre line that a rack stands at, when it stands beside
// one.
func (d *drawing) aisleBeside(f footprint) (x int64, ok bool) {
	at := f.bins[0].Stop.Aisle
	if at < 0 || at >= len(d.aisles) {
		return 0, false
	}
	x = d.aisles[at].XMM
	distance := away(d.aisles[at], f.x)
	return x, distance >= f.width/2 && distance <= d.plan.reach()
}

// racks draws each footprint cut into its levels: beside an aisle the lowest is
// next to it, elsewhere the lowest is at the front.
func (d *drawing) racks() {
	d.put(`<g stroke="#ffffff" stroke-width="%d">`, max(1, d.px/3))
	for _, f := range d.footprints {
		for i, b := range f.bins {
			d.rectWithTitle(d.stripe(f, i), d.colour(b), d.tooltip(b))
		}
	}
	d.put(`</g>`)
	d.put(`<g fill="none" stroke="%s" stroke-width="%d">`, outlineColor, max(1, d.px*2/3))
	for _, f := range d.footprints {
		if colour, ok := stationColors[f.bins[0].Kind]; ok {
			d.rect(f.box(), fmt.Sprintf(`stroke="%s" stroke-width="%d"`, colour, 2*d.px+d.px/2))
			continue
		}
		d.rect(f.box(), "")
	}
	d.put(`</g>`)
}

func (d *drawing) rectWithTitle(b box, colour, title string) {
	d.put(`<rect x="%d" y="%d" width="%d" height="%d" fill="%s"><title>%s</title></rect>`, d.x(b.left), d.y(b.back), b.right-b.left, b.back-b.front, colour, escape(title))
}

// stripe is the part of a footprint that shows its i-th bin.
func (d *drawing) stripe(f footprint, i int) box {
	b, n := f.box(), int64(len(f.bins))
	from, to := int64(i), int64(i+1)
	aisle, beside := d.aisleBeside(f)
	if !beside {
		return box{b.left, b.front + f.depth*from/n, b.right, b.front + f.depth*to/n}
	}
	if f.x < aisle {
		from, to = n-to, n-from
	}
	return box{b.left + f.width*from/n, b.front, b.left + f.width*to/n, b.back}
}

func (d *drawing) colour(b MapBin) string {
	switch {
	case d.in.Mode == ByPicks:
		return heatRamp.at(int64(b.Picks), int64(max(1, d.mostPicks)))
	case b.FillPermille < 0:
		return noLimitColor
	case b.FillPermille > 1000:
		return overfullColor
	default:
		return fillRamp.at(int64(b.FillPermille), 1000)
	}
}

// mostContents bounds a tooltip, which a screen must hold.
const mostContents = 20

func (d *drawing) tooltip(b MapBin) string {
	first := b.Code + " · " + d.say.kinds[b.Kind]
	if b.Zone != "" {
		first += " · " + b.Zone
	}
	fill := d.say.noLimit
	if b.FillPermille >= 0 {
		fill = fmt.Sprintf("%d %%", (b.FillPermille+5)/10)
	}
	lines := []string{first, d.say.fill + ": " + fill, fmt.Sprintf("%s: %d", d.say.picks, b.Picks)}
	shown := min(len(b.Contents), mostContents)
	lines = append(lines, b.Contents[:shown]...)
	if rest := len(b.Contents) - shown; rest > 0 {
		lines = append(lines, fmt.Sprintf(d.say.more, rest))
	}
	return strings.Join(lines, "\n")
}

// aisleNames stand in front of the first cross aisle and behind the last, and
// shrink where aisles are close.
func (d *drawing) aisleNames() {
	if d.plan.Kind != ByAisles {
		return
	}
	all, y := d.aisles, d.plan.CrossY()
	half := d.plan.CrossAisles.half()
	size := 15 * d.px
	for i := 1; i < len(all); i++ {
		size = min(size, (all[i].XMM-all[i-1].XMM)*3/int64(2*max(len(all[i].Name), len(all[i-1].Name))))
	}
	d.put(`<g font-size="%d" font-weight="600" text-anchor="middle">`, max(1, size))
	for _, a := range all {
		d.put(`<text x="%d" y="%d">%s</text>`, d.x(a.XMM), d.y(y[len(y)-1]+half)-8*d.px, escape(a.Name))
		d.put(`<text x="%d" y="%d">%s</text>`, d.x(a.XMM), d.y(y[0]-half)+8*d.px+size*3/4, escape(a.Name))
	}
	d.put(`</g>`)
}

func (d *drawing) depotAt() Point {
	if d.plan.Kind == ByAisles {
		return Point{d.plan.Depot.XMM, d.plan.CrossY()[d.plan.Depot.Cross]}
	}
	n := d.plan.Nodes[d.plan.nodeIndex()[d.plan.Depot.Node]]
	return Point{n.XMM, n.YMM}
}

// depot draws a house with its title.
func (d *drawing) depot() {
	at := d.depotAt()
	d.house(d.x(at.XMM), d.y(at.YMM), fmt.Sprintf("<title>%s</title>", escape(d.say.depot)))
}

func (d *drawing) house(x, y int64, inside string) {
	s := d.px
	d.put(`<path d="M%d %d l%d %d v%d h%d v%d z" fill="%s" stroke="#ffffff" stroke-width="%d">%s</path>`, x, y-11*s, 11*s, 9*s, 11*s, -22*s, -11*s, depotColor, s, inside)
}

// route draws the walk on the right of its line, so that the way there and the
// way back can be told apart, with arrows.
func (d *drawing) route() {
	line := beside(distinct(d.in.Route), 3*float64(d.px))
	if len(line) < 2 {
		return
	}
	path := make([]string, len(line))
	for i, p := range line {
		path[i] = fmt.Sprintf("%d,%d", d.x(p.XMM), d.y(p.YMM))
	}
	points := strings.Join(path, " ")
	d.put(`<g fill="none" stroke-linejoin="round" stroke-linecap="round">`)
	d.put(`<polyline points="%s" stroke="#ffffff" stroke-width="%d" stroke-opacity="0.8"/>`, points, 5*d.px)
	d.put(`<polyline points="%s" stroke="%s" stroke-width="%d"><title>%s</title></polyline>`, points, walkColor, 5*d.px/2, escape(d.say.walk))
	d.put(`</g>`)
	d.put(`<g fill="%s">`, walkColor)
	for i := 1; i < len(line); i++ {
		d.arrow(line[i-1], line[i])
	}
	d.put(`</g>`)
}

// arrow stands in the middle of a stretch that is long enough for one.
func (d *drawing) arrow(from, to Point) {
	dx, dy := float64(to.XMM-from.XMM), float64(to.YMM-from.YMM)
	length := math.Hypot(dx, dy)
	if length < 40*float64(d.px) {
		return
	}
	ux, uy, s := dx/length, dy/length, 6*float64(d.px)
	mx, my := float64(from.XMM)+dx/2, float64(from.YMM)+dy/2
	at := func(along, aside float64) string {
		return fmt.Sprintf("%d,%d", d.x(round(mx+ux*along-uy*aside)), d.y(round(my+uy*along+ux*aside)))
	}
	d.put(`<polygon points="%s %s %s"/>`, at(s, 0), at(-s, s*3/4), at(-s, -s*3/4))
}

func distinct(points []Point) []Point {
	return slices.Compact(slices.Clone(points))
}

// beside moves a line to its right by a distance; where the line turns back it
// goes around the end.
func beside(line []Point, by float64) []Point {
	if len(line) < 2 {
		return nil
	}
	type vector struct{ x, y float64 }
	toward := make([]vector, len(line)-1)
	for i := range toward {
		dx, dy := float64(line[i+1].XMM-line[i].XMM), float64(line[i+1].YMM-line[i].YMM)
		length := math.Hypot(dx, dy)
		toward[i] = vector{dx / length, dy / length}
	}
	var moved []Point
	add := func(p Point, x, y float64) {
		moved = append(moved, Point{round(float64(p.XMM) + by*x), round(float64(p.YMM) + by*y)})
	}
	for i, p := range line {
		before, after := toward[max(i-1, 0)], toward[min(i, len(toward)-1)]
		straight := 1 + before.x*after.x + before.y*after.y // 2 straight on, 0 back
		if straight < 0.3 {
			add(p, before.y, -before.x)
			add(p, after.y, -after.x)
			continue
		}
		add(p, (before.y+after.y)/straight, -(before.x+after.x)/straight)
	}
	return moved
}

func round(v float64) int64 { return int64(math.Round(v)) }

// marker is one or more stops that stand so close that they share a sign.
type marker struct {
	at      Point
	numbers []int
}

// stops draws the numbers of the stops.
func (d *drawing) stops() {
	var markers []marker
next:
	for i, p := range d.in.Stops {
		for m := range markers {
			if q := markers[m].at; max(p.XMM-q.XMM, q.XMM-p.XMM, p.YMM-q.YMM, q.YMM-p.YMM) < 14*d.px {
				markers[m].numbers = append(markers[m].numbers, i+1)
				continue next
			}
		}
		markers = append(markers, marker{p, []int{i + 1}})
	}
	d.put(`<g font-size="%d" font-weight="700" text-anchor="middle">`, 10*d.px)
	for _, m := range markers {
		d.sign(d.x(m.at.XMM), d.y(m.at.YMM), numbersText(m.numbers))
	}
	d.put(`</g>`)
}

func (d *drawing) sign(x, y int64, text string) {
	width := max(16, int64(8+6*utf8.RuneCountInString(text))) * d.px
	d.put(`<rect x="%d" y="%d" width="%d" height="%d" rx="%d" fill="#ffffff" stroke="%s" stroke-width="%d"/><text x="%d" y="%d" fill="%s">%s</text>`,
		x-width/2, y-8*d.px, width, 16*d.px, 8*d.px, walkColor, 3*d.px/2, x, y+7*d.px/2, walkColor, text)
}

// numbersText shortens numbers that follow each other: 3-5, 9.
func numbersText(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if j == i {
			parts = append(parts, fmt.Sprint(numbers[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}
