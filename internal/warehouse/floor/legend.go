package floor

import (
	"fmt"
	"unicode/utf8"
)

// legend explains the colours and signs below the map, in rows that break where
// the drawing ends. It returns where the drawing ends below.
func (d *drawing) legend() (bottom int64) {
	l := legend{d: d, x: 40 * d.px, y: d.top + (d.box.back - d.box.front) + 62*d.px}
	l.scale()
	if d.in.Mode == ByPicks {
		l.picks()
	} else {
		l.fill()
	}
	l.row()
	l.zones()
	l.signs()
	return l.y + 28*d.px
}

type legend struct {
	d    *drawing
	x, y int64
	used bool // something stands in this row
}

func (l *legend) row() {
	if l.used {
		l.x, l.y, l.used = 40*l.d.px, l.y+24*l.d.px, false
	}
}

// textWidth is about what a text takes at the size of the legend.
func (l *legend) textWidth(s string) int64 {
	return int64(utf8.RuneCountInString(s)) * 64 * l.d.px / 10
}

// entry makes room for a sign of a width with a text behind it.
func (l *legend) entry(width int64, text string, draw func(x, y int64)) {
	need := width + 6*l.d.px + l.textWidth(text) + 16*l.d.px
	if l.used && l.x+need > l.d.width-40*l.d.px {
		l.row()
	}
	draw(l.x, l.y)
	l.d.put(`<text x="%d" y="%d">%s</text>`, l.x+width+6*l.d.px, l.y+4*l.d.px, escape(text))
	l.x, l.used = l.x+need, true
}

func (l *legend) heading(text string) {
	l.d.put(`<text x="%d" y="%d" font-weight="600">%s</text>`, l.x, l.y+4*l.d.px, escape(text))
	l.x, l.used = l.x+l.textWidth(text)+26*l.d.px, true
}

func (l *legend) swatch(colour, frame string, text string) {
	px := l.d.px
	l.entry(16*px, text, func(x, y int64) {
		l.d.put(`<rect x="%d" y="%d" width="%d" height="%d" fill="%s" %s/>`, x, y-7*px, 16*px, 14*px, colour, frame)
	})
}

func (l *legend) thin() string {
	return fmt.Sprintf(`stroke="%s" stroke-width="%d"`, outlineColor, max(1, l.d.px*2/3))
}

func (l *legend) fill() {
	l.heading(l.d.say.fill)
	for _, permille := range []int64{0, 250, 500, 750, 1000} {
		l.swatch(fillRamp.at(permille, 1000), l.thin(), fmt.Sprintf("%d %%", permille/10))
	}
	over, unlimited := false, false
	for _, b := range l.d.in.Bins {
		over, unlimited = over || b.FillPermille > 1000, unlimited || b.FillPermille < 0
	}
	if over {
		l.swatch(overfullColor, l.thin(), l.d.say.overfull)
	}
	if unlimited {
		l.swatch(noLimitColor, l.thin(), l.d.say.noLimit)
	}
}

func (l *legend) picks() {
	l.heading(l.d.say.picks)
	most, shown := int64(l.d.mostPicks), int64(-1)
	for quarter := range int64(5) {
		if n := most * quarter / 4; n != shown {
			l.swatch(heatRamp.at(n, max(1, most)), l.thin(), fmt.Sprint(n))
			shown = n
		}
	}
}

func (l *legend) zones() {
	if len(l.d.plan.Zones) == 0 {
		return
	}
	l.heading(l.d.say.zones)
	for _, z := range l.d.plan.Zones {
		colour, _ := l.d.zoneColor(z.Name)
		l.swatch(colour, `fill-opacity="0.4"`, z.Name)
	}
	l.row()
}

// signs explains what stands on the map, and only that.
func (l *legend) signs() {
	d, px := l.d, l.d.px
	l.entry(20*px, d.say.depot, func(x, y int64) { d.house(x+10*px, y, "") })
	if len(d.in.Route) > 1 {
		l.entry(28*px, d.say.walk, func(x, y int64) {
			d.put(`<path d="M%d %d h%d" stroke="%s" stroke-width="%d"/><path d="M%d %d l%d %d l%d %d z" fill="%s"/>`,
				x, y, 28*px, walkColor, 5*px/2, x+20*px, y, -10*px, 5*px, 0, -10*px, walkColor)
		})
	}
	if len(d.in.Stops) > 0 {
		l.entry(16*px, d.say.stop, func(x, y int64) {
			d.put(`<g font-size="%d" font-weight="700" text-anchor="middle">`, 10*px)
			d.sign(x+8*px, y, "1")
			d.put(`</g>`)
		})
	}
	there := map[BinKind]bool{}
	levels := 0
	for _, f := range d.footprints {
		there[f.bins[0].Kind] = true
		levels = max(levels, len(f.bins))
	}
	for _, k := range BinKinds {
		if colour, station := stationColors[k]; station && there[k] {
			l.swatch("#ffffff", fmt.Sprintf(`stroke="%s" stroke-width="%d"`, colour, 5*px/2), d.say.kinds[k])
		}
	}
	if levels > 1 {
		l.levels()
	}
}

// levels shows a rack that is cut into its levels.
func (l *legend) levels() {
	d, px, text := l.d, l.d.px, l.d.say.lowest
	if d.plan.Kind == ByGraph {
		text = d.say.lowestInGraph
	}
	l.entry(18*px, text, func(x, y int64) {
		d.put(`<g fill="#ffffff" %s>`, l.thin())
		for i := range int64(3) {
			if d.plan.Kind == ByGraph {
				d.put(`<rect x="%d" y="%d" width="%d" height="%d"/>`, x, y-8*px+i*5*px, 18*px, 5*px)
			} else {
				d.put(`<rect x="%d" y="%d" width="%d" height="%d"/>`, x+i*6*px, y-7*px, 6*px, 14*px)
			}
		}
		d.put(`</g>`)
	})
}

// scale draws a round length of about an eighth of a screen, at the right above
// the map.
func (l *legend) scale() {
	d, px := l.d, l.d.px
	length := int64(1000)
	for _, m := range []int64{2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000} {
		if m*1000 <= 160*px {
			length = m * 1000
		}
	}
	right, y := d.width-40*px, 48*px
	d.put(`<path d="M%d %d v%d h%d v%d" fill="none" stroke="%s" stroke-width="%d"/>`, right-length, y-5*px, 5*px, length, -5*px, outlineColor, px)
	d.put(`<text x="%d" y="%d" text-anchor="middle" fill="#52606d">%d m</text>`, right-length/2, y-6*px, length/1000)
}
