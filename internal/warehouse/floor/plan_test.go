package floor_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/problem"
	"justlogistics/internal/warehouse/floor"
)

const twoBlocks = `{"kind":"aisles",
  "aisles":{"count":3,"first_name":"A","first_x_mm":2000,"pitch_mm":3600,"width_mm":1400},
  "cross_aisles":{"y_mm":[0,6000,12000],"width_mm":2000},
  "racks":{"per_side":7,"width_mm":1000,"depth_mm":1000,"levels":3,"level_height_mm":1500,"pick_levels":2,
           "capacity":{"max_units":100,"max_weight_grams":50000,"max_volume_mm3":800000000},"lot_rule":"one_lot"},
  "zones":[{"name":"Ropa","color":"#cfe8ff","aisles":["A","B"]},{"name":"Operación"}],
  "depot":{"cross":0,"x_mm":5600}}`

const graph = `{"kind":"graph",
  "nodes":[{"name":"puerta","x_mm":0,"y_mm":0},{"name":"mesa","x_mm":3000,"y_mm":4000},{"name":"patio","x_mm":3000,"y_mm":9000}],
  "edges":[{"from":"puerta","to":"mesa"},{"from":"mesa","to":"patio","length_mm":7000}],
  "zones":[{"name":"Sala"}],
  "depot":{"node":"puerta"}}`

func parse(t testing.TB, body string) *floor.Plan {
	t.Helper()
	p, err := floor.ParsePlan([]byte(body))
	require.NoError(t, err)
	return p
}

// faultsOf returns the faults of a refusal as "field code".
func faultsOf(t testing.TB, err error) []string {
	t.Helper()
	refusal, ok := problem.As(err)
	require.True(t, ok, "no refusal: %v", err)
	var all []string
	for _, f := range refusal.Fields {
		all = append(all, f.Field+" "+f.Code)
	}
	return all
}

func TestParsePlan_GivesTheNumbersOfAisles(t *testing.T) {
	t.Parallel()
	p := parse(t, twoBlocks)
	require.Equal(t, []int64{2000, 5600, 9200}, p.AisleX())
	require.Equal(t, []string{"A", "B", "C"}, p.AisleNames())
	require.Equal(t, []int64{0, 6000, 12000}, p.CrossY())
	require.Equal(t, floor.Depot{XMM: 5600}, p.Depot)
}

func TestParsePlan_GivesTheNumbersOfAGraph(t *testing.T) {
	t.Parallel()
	p := parse(t, graph)
	require.Equal(t, []floor.Edge{{From: "puerta", To: "mesa", LengthMM: 5000}, {From: "mesa", To: "patio", LengthMM: 7000}}, p.Ways())
	require.Zero(t, p.Edges[0].LengthMM, "the plan stays what its owner wrote")
	require.Empty(t, p.Bins())
	require.Empty(t, p.AisleX())
	require.Empty(t, p.CrossY())
}

func TestAisleNames_AreCountedUp(t *testing.T) {
	t.Parallel()
	for first, want := range map[string]string{"Y": "Y Z AA AB", "AZ": "AZ BA BB BC", "ZZ": "ZZ AAA AAB AAC", "08": "08 09 10 11", "9": "9 10 11 12"} {
		p := floor.Plan{Kind: floor.ByAisles, Aisles: &floor.Aisles{Count: 4, FirstName: first, PitchMM: 1}}
		require.Equal(t, want, strings.Join(p.AisleNames(), " "))
	}
}

func TestBins_StandWhereTheRacksDo(t *testing.T) {
	t.Parallel()
	bins := parse(t, twoBlocks).Bins()
	require.Len(t, bins, 3*7*2*3)
	byCode := map[string]floor.Bin{}
	for _, b := range bins {
		byCode[b.Code] = b
	}
	capacity := floor.Capacity{MaxUnits: 100, MaxWeightGrams: 50_000, MaxVolumeMM3: 800_000_000}
	require.Equal(t, floor.Bin{
		Code: "A-01-A", Zone: "Ropa", Kind: floor.Pick, Aisle: "A", Rack: 1, Level: "A", XMM: 800, YMM: 1500, ZMM: 0,
		Capacity: capacity, LotRule: floor.OneLot, Stop: floor.Stop{Aisle: 0, YMM: 1500},
	}, byCode["A-01-A"])
	require.Equal(t, floor.Bin{
		Code: "C-10-C", Kind: floor.Reserve, Aisle: "C", Rack: 10, Level: "C", XMM: 10_400, YMM: 7500, ZMM: 3000,
		Capacity: capacity, LotRule: floor.OneLot, Stop: floor.Stop{Aisle: 2, YMM: 7500},
	}, byCode["C-10-C"], "the fifth on the right is the first behind the cross aisle in the middle")
}

func TestBins_OfOneSideAreNumberedThrough(t *testing.T) {
	t.Parallel()
	p := parse(t, strings.Replace(twoBlocks, `"per_side":7,`, `"side":"right",`, 1))
	bins := p.Bins()
	require.Len(t, bins, 3*8*3, "as many as fit")
	require.Equal(t, "A-08-C", bins[8*3-1].Code)
	require.Equal(t, int64(3200), bins[0].XMM)
}

func TestParsePlan_NamesEveryUnknownFieldAndWrongType(t *testing.T) {
	t.Parallel()
	_, err := floor.ParsePlan([]byte(`{"kind":"aisles","Aisles":{},"aisles":{"count":"3","list":[{"name":"A","y_mm":1}]},"zones":{},"depot":null}`))
	refusal, ok := problem.As(err)
	require.True(t, ok)
	require.Equal(t, problem.Malformed, refusal.Kind)
	require.Equal(t, []string{
		"Aisles unknown_field", "aisles.count wrong_type", "aisles.list[0].y_mm unknown_field", "depot wrong_type", "zones wrong_type",
	}, faultsOf(t, err))
	for _, body := range []string{``, `{`, `{} {}`, `[]`, `null`, `7`} {
		_, err := floor.ParsePlan([]byte(body))
		refusal, ok := problem.As(err)
		require.True(t, ok, body)
		require.Equal(t, problem.Malformed, refusal.Kind, body)
	}
}

func TestParsePlan_NamesAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := floor.ParsePlan([]byte(`{"kind":"aisles","aisles":{"count":0,"first_name":"a","width_mm":0},
	  "cross_aisles":{"y_mm":[0,0],"width_mm":1},"racks":{"side":"up","width_mm":1,"depth_mm":1,"levels":27,"capacity":{"max_units":-1},"lot_rule":"two"},
	  "nodes":[{"name":"x","x_mm":0,"y_mm":0}],"zones":[{"name":" x"},{"name":"y","color":"red","aisles":["Q"]},{"name":"y"}],"depot":{"cross":2}}`))
	require.Equal(t, []string{
		"nodes not_of_this_kind", "cross_aisles.y_mm[1] not_in_order", "depot.cross out_of_range", "racks.side invalid", "racks.levels out_of_range",
		"racks.capacity.max_units out_of_range", "racks.lot_rule invalid", "aisles.width_mm out_of_range", "aisles.count out_of_range", "aisles.first_name invalid",
		"zones[0].name invalid", "zones[1].color invalid", "zones[1].aisles[0] unknown_aisle", "zones[2].name duplicate",
	}, faultsOf(t, err))
}

func TestCheck_RefusesWhatCannotStandThere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, fault string }{
		"aisles too close":     {`"pitch_mm":3600`, `"pitch_mm":3399`, "aisles.pitch_mm no_room"},
		"too many racks":       {`"per_side":7`, `"per_side":9`, "racks.per_side no_room"},
		"racks too wide":       {`"racks":{"per_side":7,"width_mm":1000`, `"racks":{"width_mm":4001`, "racks.width_mm no_room"},
		"cross aisles overlap": {`[0,6000,12000]`, `[0,1000,12000]`, "cross_aisles.y_mm[1] no_room"},
		"three blocks":         {`[0,6000,12000]`, `[0,6000,12000,18000]`, "cross_aisles.y_mm out_of_range"},
		"zone of two":          {`{"name":"Operación"}`, `{"name":"Operación","aisles":["B"]}`, "zones[1].aisles[0] duplicate"},
		"centimetres":          {`"racks":{"per_side":7,"width_mm":1000`, `"racks":{"width_mm":1`, "racks.width_mm too_many"},
		"both forms":           {`"count":3`, `"list":[{"name":"A","x_mm":0}],"count":3`, "aisles ambiguous"},
		"depot of a graph":     {`"depot":{`, `"depot":{"node":"x",`, "depot.node not_of_this_kind"},
	} {
		require.Contains(t, twoBlocks, c.old)
		_, err := floor.ParsePlan([]byte(strings.Replace(twoBlocks, c.old, c.new, 1)))
		require.Contains(t, faultsOf(t, err), c.fault, name)
	}
}

func TestCheck_RefusesListedAislesThatOverlapOrShareAName(t *testing.T) {
	t.Parallel()
	list := func(aisles string) string {
		return strings.Replace(twoBlocks, `"count":3,"first_name":"A","first_x_mm":2000,"pitch_mm":3600`, `"list":[`+aisles+`]`, 1)
	}
	p := parse(t, list(`{"name":"A","x_mm":0},{"name":"B","x_mm":4000}`))
	require.Equal(t, []int64{0, 4000}, p.AisleX())
	_, err := floor.ParsePlan([]byte(list(`{"name":"A","x_mm":0},{"name":"A","x_mm":4000},{"name":"B-1","x_mm":3000}`)))
	require.Equal(t, []string{"aisles.list[1].name duplicate", "aisles.list[2].name invalid", "aisles.list[2].x_mm not_in_order", "zones[0].aisles[1] unknown_aisle"}, faultsOf(t, err))
	_, err = floor.ParsePlan([]byte(list(`{"name":"A","x_mm":0},{"name":"B","x_mm":3000}`)))
	require.Equal(t, []string{"aisles.list[1].x_mm no_room"}, faultsOf(t, err))
}

func TestCheck_NamesTheNodesThatNoWayLeadsTo(t *testing.T) {
	t.Parallel()
	_, err := floor.ParsePlan([]byte(strings.Replace(graph, `{"from":"mesa","to":"patio","length_mm":7000}`, `{"from":"mesa","to":"puerta"}`, 1)))
	require.Equal(t, []string{"edges[1] duplicate"}, faultsOf(t, err), "first what is wrong by itself")

	_, err = floor.ParsePlan([]byte(strings.Replace(graph, `,{"from":"mesa","to":"patio","length_mm":7000}`, ``, 1)))
	require.Equal(t, []string{"nodes[2] unreachable"}, faultsOf(t, err))
	require.ErrorContains(t, err, "patio")

	_, err = floor.ParsePlan([]byte(`{"kind":"graph","nodes":[{"name":"a","x_mm":0,"y_mm":0},{"name":"a","x_mm":0,"y_mm":0}],"edges":[{"from":"a","to":"b"},{"from":"a","to":"a"}],"depot":{"node":"c","cross":1}}`))
	require.Equal(t, []string{"depot.cross not_of_this_kind", "nodes[1].name duplicate", "edges[0].to unknown_node", "edges[1] invalid", "depot.node unknown_node"}, faultsOf(t, err))
}

func TestCheck_WantsTheLengthOfAWayUpAndDown(t *testing.T) {
	t.Parallel()
	upstairs := func(length string) string {
		return `{"kind":"graph","nodes":[{"name":"abajo","x_mm":0,"y_mm":0},{"name":"arriba","x_mm":0,"y_mm":0}],"edges":[{"from":"abajo","to":"arriba"` + length + `}],"depot":{"node":"abajo"}}`
	}
	_, err := floor.ParsePlan([]byte(upstairs("")))
	require.Equal(t, []string{"edges[0].length_mm required"}, faultsOf(t, err))
	require.Equal(t, int64(4000), parse(t, upstairs(`,"length_mm":4000`)).Ways()[0].LengthMM)
}

func TestCheck_ListsAtMostAHundredFaults(t *testing.T) {
	t.Parallel()
	p := floor.Plan{Kind: floor.ByGraph, Nodes: make([]floor.Node, 300)}
	faults := faultsOf(t, p.Check())
	require.Len(t, faults, 101)
	require.Equal(t, "(more) too_many", faults[100])
}

func FuzzParsePlan_WhatIsAcceptedComesBackTheSame(f *testing.F) {
	for _, seed := range []string{twoBlocks, graph, `{"kind":"graph","nodes":[{"name":"a","x_mm":1,"y_mm":2}],"depot":{"node":"a"}}`, `{"zones":null}`, `{"kind":"aisles","kind":"graph"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := floor.ParsePlan(body)
		if err != nil {
			_, ok := problem.As(err)
			require.True(t, ok, "%v", err)
			return
		}
		written, err := json.Marshal(p)
		require.NoError(t, err)
		again, err := floor.ParsePlan(written)
		require.NoError(t, err)
		rewritten, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(written), string(rewritten))
		requireAccepted(t, p, p.Bins())
	})
}

// requireAccepted demands that bins pass their plan's checks as they are.
func requireAccepted(t require.TestingT, p *floor.Plan, bins []floor.Bin) {
	inputs := make([]floor.BinInput, len(bins))
	for i, b := range bins {
		inputs[i] = b.Input()
	}
	accepted, err := p.Accept(inputs)
	require.NoError(t, err)
	require.Equal(t, len(bins), len(accepted))
	for i := range bins {
		require.Equal(t, bins[i], accepted[i])
	}
}
