package floor_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/warehouse/floor"
)

func mm(v int64) *int64 { return &v }

func TestAccept_FindsABinByItsCode(t *testing.T) {
	t.Parallel()
	p := parse(t, twoBlocks)
	bins, err := p.Accept([]floor.BinInput{{Code: "B-03-2"}, {Code: "B-0004-A", ZMM: mm(77), Kind: floor.Damaged, LotRule: floor.OneSKU}})
	require.NoError(t, err)
	require.Equal(t, floor.Bin{Code: "B-03-2", Kind: floor.Pick, Aisle: "B", Rack: 3, Level: "2", XMM: 4400, YMM: 2500, ZMM: 1500, LotRule: floor.Mixed, Stop: floor.Stop{Aisle: 1, YMM: 2500}}, bins[0])
	require.Equal(t, floor.Bin{Code: "B-0004-A", Kind: floor.Damaged, Aisle: "B", Rack: 4, Level: "A", XMM: 6800, YMM: 2500, ZMM: 77, LotRule: floor.OneSKU, Stop: floor.Stop{Aisle: 1, YMM: 2500}}, bins[1])
}

func TestAccept_FindsTheAisleOfAPosition(t *testing.T) {
	t.Parallel()
	p := parse(t, twoBlocks)
	bins, err := p.Accept([]floor.BinInput{
		{Code: "jaula", XMM: mm(7900), YMM: mm(3000)},
		{Code: "A-99-Z", XMM: mm(3700), YMM: mm(3000)},
		{Code: "recepcion", Kind: floor.Receiving, Zone: "Operación", XMM: mm(3790), YMM: mm(-400)},
		{Code: "X-01-A", XMM: mm(10_899), YMM: mm(11_999)},
	})
	require.NoError(t, err)
	require.Equal(t, floor.Stop{Aisle: 2, YMM: 3000}, bins[0].Stop)
	require.Equal(t, "C", bins[0].Aisle)
	require.Equal(t, floor.Stop{Aisle: 0, YMM: 3000}, bins[1].Stop)
	require.Equal(t, 99, bins[1].Rack)
	require.Equal(t, floor.Stop{Aisle: 0, YMM: 0}, bins[2].Stop, "a place on a cross aisle is reached from the crossing")
	require.Equal(t, floor.Stop{Aisle: 2, YMM: 12_000}, bins[3].Stop)
	require.Equal(t, "C", bins[3].Aisle)
	require.Zero(t, bins[3].Rack, "the plan has no aisle X")
	requireAccepted(t, p, bins)
}

func TestAccept_NamesTheBinsThatNobodyCanReach(t *testing.T) {
	t.Parallel()
	_, err := parse(t, twoBlocks).Accept([]floor.BinInput{
		{Code: "lejos", XMM: mm(90_000), YMM: mm(3000)},
		{Code: "afuera", XMM: mm(2000), YMM: mm(-1000)},
		{Code: "detras", XMM: mm(2000), YMM: mm(13_000)},
		{Code: "A-15-A"},
		{Code: "A-01-D"},
		{Code: "nada"},
		{Code: "A-01-A"},
		{Code: "A-01-A"},
		{Code: "B-01-A", XMM: mm(2000), YMM: mm(3000)},
		{Code: "media", XMM: mm(2000)},
		{Code: "nodo", Node: "mesa", XMM: mm(2000), YMM: mm(3000)},
	})
	require.Equal(t, []string{
		"bins[0].x_mm unreachable", "bins[1].y_mm unreachable", "bins[2].y_mm unreachable", "bins[3].code unreachable", "bins[4].code unreachable",
		"bins[5].x_mm required", "bins[7].code duplicate", "bins[8].x_mm wrong_aisle", "bins[9].x_mm incomplete", "bins[9].x_mm required", "bins[10].node not_of_this_kind",
	}, faultsOf(t, err))
	for _, code := range []string{"lejos", "afuera", "detras", "A-15-A", "A-01-D", "nada", "B-01-A", "nodo"} {
		require.ErrorContains(t, err, "bin "+code)
	}
}

func TestAccept_NamesTheBinsWhoseNodeIsGone(t *testing.T) {
	t.Parallel()
	p := parse(t, graph)
	bins, err := p.Accept([]floor.BinInput{
		{Code: "estante-1", Node: "mesa", Zone: "Sala"},
		{Code: "A-01-B", Node: "patio", XMM: mm(1), YMM: mm(2), ZMM: mm(3)},
	})
	require.NoError(t, err)
	require.Equal(t, floor.Bin{Code: "estante-1", Zone: "Sala", Kind: floor.Pick, XMM: 3000, YMM: 4000, LotRule: floor.Mixed, Stop: floor.Stop{Node: "mesa"}}, bins[0])
	require.Equal(t, floor.Bin{Code: "A-01-B", Kind: floor.Pick, Aisle: "A", Rack: 1, Level: "B", XMM: 1, YMM: 2, ZMM: 3, LotRule: floor.Mixed, Stop: floor.Stop{Node: "patio"}}, bins[1])
	requireAccepted(t, p, bins)

	without := parse(t, `{"kind":"graph","nodes":[{"name":"puerta","x_mm":0,"y_mm":0}],"depot":{"node":"puerta"}}`)
	_, err = without.Accept([]floor.BinInput{bins[0].Input(), bins[1].Input(), {Code: "suelto"}})
	require.Equal(t, []string{"bins[0].zone unknown_zone", "bins[0].node unreachable", "bins[1].node unreachable", "bins[2].node required"}, faultsOf(t, err))
	require.ErrorContains(t, err, "bin estante-1 can't be reached")
	require.ErrorContains(t, err, "bin A-01-B can't be reached")
}

func TestParseCode_ReadsTheUsualScheme(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]floor.Spot{
		"A-01-B": {Aisle: "A", Rack: 1, Level: "B"}, "AA-120-12": {Aisle: "AA", Rack: 120, Level: "12"}, "07-3-C": {Aisle: "07", Rack: 3, Level: "C"},
	} {
		spot, ok := floor.ParseCode(code)
		require.True(t, ok, code)
		require.Equal(t, want, spot)
	}
	for _, code := range []string{"", "A", "A-01", "A-00-B", "A-01-b", "A-01-BB", "A-01-0", "A-01-B-1", "-01-B", "A--B", "A-12345-B"} {
		_, ok := floor.ParseCode(code)
		require.False(t, ok, code)
	}
}

func TestWalkKey_GoesUpOneAisleAndDownTheNext(t *testing.T) {
	t.Parallel()
	p := parse(t, strings.Replace(strings.Replace(twoBlocks, `"per_side":7`, `"per_side":2`, 1), `"count":3`, `"count":2`, 1))
	bins, key := p.Bins(), p.WalkKey()
	slices.SortFunc(bins, func(a, b floor.Bin) int { return strings.Compare(key(a), key(b)) })
	var codes []string
	for _, b := range bins {
		if b.Kind == floor.Pick {
			codes = append(codes, b.Code)
		}
	}
	require.Equal(t, "A-01-A A-02-A A-01-B A-02-B A-03-A A-04-A A-03-B A-04-B B-03-A B-04-A B-03-B B-04-B B-01-A B-02-A B-01-B B-02-B", strings.Join(codes, " "))

	g := parse(t, graph)
	bins, err := g.Accept([]floor.BinInput{{Code: "c", Node: "patio"}, {Code: "b", Node: "mesa", ZMM: mm(100)}, {Code: "a", Node: "mesa", ZMM: mm(200)}})
	require.NoError(t, err)
	key = g.WalkKey()
	require.Less(t, key(bins[1]), key(bins[2]))
	require.Less(t, key(bins[2]), key(bins[0]))
}

func drawPlan(t *rapid.T) *floor.Plan {
	length := func(name string, most int64) int64 { return rapid.Int64Range(1, most).Draw(t, name) }
	racks := floor.Racks{
		Side:    rapid.SampledFrom([]floor.Side{"", floor.BothSides, floor.LeftSide, floor.RightSide}).Draw(t, "side"),
		WidthMM: rapid.Int64Range(20, 2000).Draw(t, "rack width"), DepthMM: length("depth", 1500),
		Levels: rapid.IntRange(1, 6).Draw(t, "levels"), LevelHeightMM: length("level height", 3000),
		LotRule: rapid.SampledFrom([]floor.LotRule{"", floor.Mixed, floor.OneLot, floor.OneSKU}).Draw(t, "lot rule"),
	}
	racks.PickLevels = rapid.IntRange(0, racks.Levels).Draw(t, "pick levels")
	racks.Capacity = floor.Capacity{MaxUnits: rapid.Int64Range(0, 500).Draw(t, "max units")}
	cross := &floor.CrossAisles{YMM: []int64{rapid.Int64Range(-50_000, 50_000).Draw(t, "front")}, WidthMM: length("cross width", 3000)}
	most := 0
	for range rapid.IntRange(1, 2).Draw(t, "blocks") {
		fit := rapid.Int64Range(1, 8).Draw(t, "racks in the block")
		most += int(fit)
		spare := rapid.Int64Range(1, racks.WidthMM-1).Draw(t, "spare")
		cross.YMM = append(cross.YMM, cross.YMM[len(cross.YMM)-1]+2*((cross.WidthMM+1)/2)+fit*racks.WidthMM+spare)
	}
	racks.PerSide = rapid.IntRange(0, most).Draw(t, "per side")
	aisles := &floor.Aisles{WidthMM: length("aisle width", 3000)}
	need := 2*((aisles.WidthMM+1)/2) + 2*racks.DepthMM
	if rapid.Bool().Draw(t, "listed") {
		x := rapid.Int64Range(-50_000, 50_000).Draw(t, "first x")
		for i := range rapid.IntRange(1, 5).Draw(t, "aisles") {
			aisles.List = append(aisles.List, floor.Aisle{Name: string(rune('a'+i)) + ".1", XMM: x})
			x += need + rapid.Int64Range(0, 4000).Draw(t, "gap")
		}
	} else {
		aisles.Count, aisles.FirstXMM = rapid.IntRange(1, 5).Draw(t, "aisles"), rapid.Int64Range(-50_000, 50_000).Draw(t, "first x")
		aisles.FirstName = rapid.SampledFrom([]string{"A", "Y", "AZ", "08", "9"}).Draw(t, "first name")
		aisles.PitchMM = need + rapid.Int64Range(0, 4000).Draw(t, "gap")
	}
	p := &floor.Plan{Kind: floor.ByAisles, Aisles: aisles, CrossAisles: cross, Racks: &racks, Depot: floor.Depot{Cross: rapid.IntRange(0, len(cross.YMM)-1).Draw(t, "depot")}}
	p.Zones = []floor.Zone{{Name: "Zona 1", Aisles: p.AisleNames()[:1]}}
	return p
}

func TestBins_OfAnyPlanPassTheChecksOfImportedOnesAndLieInTheRacks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		require.NoError(t, p.Check())
		bins := p.Bins()
		requireAccepted(t, p, bins)

		byCode := make([]floor.BinInput, len(bins))
		for i, b := range bins {
			byCode[i] = b.Input()
			byCode[i].XMM, byCode[i].YMM, byCode[i].ZMM = nil, nil, nil
		}
		found, err := p.Accept(byCode)
		require.NoError(t, err)
		require.Equal(t, bins, found, "a code alone leads to the same place")

		type place struct{ x, y int64 }
		racks := map[place]int{}
		half := p.CrossAisles.WidthMM / 2
		for _, b := range bins {
			racks[place{b.XMM, b.YMM}]++
			aisle := p.AisleX()[b.Stop.Aisle]
			distance := max(b.XMM-aisle, aisle-b.XMM)
			require.GreaterOrEqual(t, distance, p.Aisles.WidthMM/2, "not on the way")
			require.LessOrEqual(t, distance, (p.Aisles.WidthMM+1)/2+p.Racks.DepthMM)
			require.Equal(t, b.YMM, b.Stop.YMM)
			for _, y := range p.CrossY() {
				require.GreaterOrEqual(t, max(b.YMM-y, y-b.YMM), half+p.Racks.WidthMM/2, "not on a cross aisle")
			}
			require.Greater(t, b.YMM, p.CrossY()[0])
			require.Less(t, b.YMM, p.CrossY()[len(p.CrossY())-1])
		}
		for at, n := range racks {
			require.Equal(t, p.Racks.Levels, n, "every rack has its levels and stands by itself")
			for other := range racks {
				apart := other == at || max(other.x-at.x, at.x-other.x) >= p.Racks.DepthMM || max(other.y-at.y, at.y-other.y) >= p.Racks.WidthMM
				require.True(t, apart, "%v and %v stand in each other", at, other)
			}
		}
	})
}
