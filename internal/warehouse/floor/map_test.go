package floor_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/warehouse/floor"
)

var update = flag.Bool("update", false, "write the maps of testdata anew")

func at(x, y int64) floor.Point { return floor.Point{XMM: x, YMM: y} }

// smallMap has something of everything: two blocks, levels, zones, a station,
// bins that are overfull and without a limit, and a walk that turns back.
func smallMap(t testing.TB) floor.MapInput {
	p := parse(t, strings.Replace(twoBlocks, `"per_side":7`, `"per_side":5`, 1))
	in := floor.MapInput{Name: "SCL-1", Plan: p}
	for i, b := range p.Bins() {
		in.Bins = append(in.Bins, floor.MapBin{Bin: b, FillPermille: i * 37 % 1001, Picks: i * 7 % 40})
	}
	in.Bins[4].FillPermille, in.Bins[4].Contents = 1250, []string{"POL-ROJO-S: 12", "POL-AZUL-M: 8"}
	stations, err := p.Accept([]floor.BinInput{{Code: "EMBALAJE", Zone: "Operación", Kind: floor.Packing, XMM: mm(9200), YMM: mm(0)}})
	require.NoError(t, err)
	in.Bins = append(in.Bins, floor.MapBin{Bin: stations[0], FillPermille: floor.NoLimit})
	in.Route = []floor.Point{at(5600, 0), at(2000, 0), at(2000, 3500), at(2000, 6000), at(5600, 6000), at(5600, 7500), at(5600, 6000), at(9200, 6000), at(9200, 0), at(5600, 0)}
	in.Stops = []floor.Point{at(2000, 3500), at(2000, 3500), at(5600, 7500), at(9200, 2500)}
	return in
}

func draw(t require.TestingT, in floor.MapInput) []byte {
	svg, err := floor.Map(in)
	require.NoError(t, err)
	requireWellFormed(t, svg)
	return svg
}

func requireWellFormed(t require.TestingT, svg []byte) {
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		if start, ok := token.(xml.StartElement); ok {
			require.NotEqual(t, "script", start.Name.Local)
			for _, a := range start.Attr {
				require.False(t, strings.HasPrefix(a.Name.Local, "on"), "%s is code", a.Name.Local)
			}
		}
	}
}

func TestMap_DrawsTheSamePictureEveryTime(t *testing.T) {
	t.Parallel()
	picks := smallMap(t)
	picks.Mode, picks.Lang, picks.Route, picks.Stops = floor.ByPicks, "en-US", nil, nil
	for name, in := range map[string]floor.MapInput{"fill.svg": smallMap(t), "picks.svg": picks} {
		svg, file := draw(t, in), filepath.Join("testdata", name)
		if *update {
			require.NoError(t, os.WriteFile(file, svg, 0o644))
		}
		golden, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(golden), string(svg), "look at it, and write it anew with -update when it is right")
	}
}

func TestMap_EscapesWhatPeopleWrite(t *testing.T) {
	t.Parallel()
	in := smallMap(t)
	in.Name = `<&"'>`
	in.Bins[0].Code = `<&"</title><script>`
	in.Bins[0].Contents = []string{`a < b & "c"`, "\x00\xff]]>"}
	svg := string(draw(t, in))
	require.NotContains(t, svg, "<script")
	require.Contains(t, svg, "&lt;&amp;&#34;&lt;/title&gt;&lt;script&gt;")
	require.Contains(t, svg, "a &lt; b &amp; &#34;c&#34;")
}

func TestMap_TellsWhatLiesInABin(t *testing.T) {
	t.Parallel()
	in := smallMap(t)
	for i := range 25 {
		in.Bins[0].Contents = append(in.Bins[0].Contents, fmt.Sprintf("SKU-%d: 1", i))
	}
	svg := string(draw(t, in))
	require.Contains(t, svg, "A-02-B · Picking · Ropa&#xA;Ocupación: 125 %&#xA;Retiros: 28&#xA;POL-ROJO-S: 12&#xA;POL-AZUL-M: 8")
	require.Contains(t, svg, "SKU-19: 1&#xA;y 5 más")
	require.NotContains(t, svg, "SKU-20")
	require.Contains(t, svg, "EMBALAJE · Embalaje · Operación&#xA;Ocupación: sin límite")
}

func TestMap_SpeaksSpanishAndElseEnglish(t *testing.T) {
	t.Parallel()
	in := smallMap(t)
	for lang, want := range map[string]string{"": "Mapa de bodega", "es": "Mapa de bodega", "es-CL": "Mapa de bodega", "ES": "Mapa de bodega", "en": "Warehouse map", "pt-BR": "Warehouse map"} {
		in.Lang = lang
		require.Contains(t, string(draw(t, in)), "<title>"+want+" SCL-1</title>", lang)
	}
}

func TestMap_DrawsAGraph(t *testing.T) {
	t.Parallel()
	p := parse(t, graph)
	bins, err := p.Accept([]floor.BinInput{{Code: "mesa-1", Zone: "Sala", Node: "mesa"}, {Code: "mesa-2", Node: "mesa", ZMM: mm(800)}, {Code: "patio-1", Node: "patio", XMM: mm(4000), YMM: mm(9500)}})
	require.NoError(t, err)
	in := floor.MapInput{Plan: p, Route: []floor.Point{at(0, 0), at(3000, 4000), at(3000, 4000), at(0, 0)}, Stops: []floor.Point{at(3000, 4000)}}
	for _, b := range bins {
		in.Bins = append(in.Bins, floor.MapBin{Bin: b, FillPermille: 500})
	}
	svg := string(draw(t, in))
	require.Contains(t, svg, "<title>puerta</title>")
	require.Contains(t, svg, "Nivel más bajo: abajo")
	require.Contains(t, svg, "<polyline")
}

func TestMap_RefusesWhatItCanNotDraw(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*floor.MapInput){
		"a plan with faults": func(in *floor.MapInput) { in.Plan = &floor.Plan{Kind: floor.ByAisles} },
		"no such mode":       func(in *floor.MapInput) { in.Mode = "smell" },
		"a point far away":   func(in *floor.MapInput) { in.Route = append(in.Route, at(0, -1<<62)) },
	} {
		in := smallMap(t)
		spoil(&in)
		_, err := floor.Map(in)
		require.Error(t, err, name)
	}
}

func TestMap_OfAnyPlanIsWellFormedAndInItsFrame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := floor.MapInput{Plan: drawPlan(t), Name: rapid.String().Draw(t, "name"), Mode: rapid.SampledFrom([]floor.Mode{"", floor.ByFill, floor.ByPicks}).Draw(t, "mode")}
		for _, b := range in.Plan.Bins() {
			in.Bins = append(in.Bins, floor.MapBin{Bin: b, FillPermille: len(in.Bins)%1300 - 1, Picks: len(in.Bins) % 7})
		}
		point := rapid.Custom(func(t *rapid.T) floor.Point {
			return at(rapid.Int64Range(-90_000, 90_000).Draw(t, "x"), rapid.Int64Range(-90_000, 90_000).Draw(t, "y"))
		})
		in.Route = rapid.SliceOfN(point, 0, 6).Draw(t, "route")
		in.Stops = rapid.SliceOfN(point, 0, 6).Draw(t, "stops")
		svg := draw(t, in)
		require.Equal(t, len(in.Bins), strings.Count(string(svg), "&#xA;Retiros: "))

		var root struct {
			ViewBox string `xml:"viewBox,attr"`
		}
		require.NoError(t, xml.Unmarshal(svg, &root))
		var left, top, width, height int64
		_, err := fmt.Sscan(root.ViewBox, &left, &top, &width, &height)
		require.NoError(t, err)
		requireInside(t, svg, width, height)
	})
}

// requireInside demands that no rectangle begins or ends outside a frame.
func requireInside(t require.TestingT, svg []byte, width, height int64) {
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "rect" {
			continue
		}
		place := map[string]int64{}
		for _, a := range start.Attr {
			var n int64
			if _, err := fmt.Sscanf(a.Value+" ", "%d ", &n); err == nil {
				place[a.Name.Local] = n
			}
		}
		if _, background := place["x"]; !background {
			continue
		}
		require.GreaterOrEqual(t, place["x"], int64(0))
		require.GreaterOrEqual(t, place["y"], int64(0))
		require.GreaterOrEqual(t, place["width"], int64(0))
		require.GreaterOrEqual(t, place["height"], int64(0))
		require.LessOrEqual(t, place["x"]+place["width"], width)
		require.LessOrEqual(t, place["y"]+place["height"], height)
	}
}
