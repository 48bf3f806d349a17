package simulate

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const (
	north = "SIM-x-N"
	south = "SIM-x-S"
)

// worked is bought after a shift: two units of A were picked for the buyer, one
// delivery came with a broken unit too many, and a transfer lost a unit.
func worked() (evidence, *Record) {
	e, r := bought()
	at := r.Approvals[0].At.Add(time.Minute)
	r.order.Lines = append(r.order.Lines, struct {
		LineID   string `json:"line_id"`
		SKU      string `json:"sku"`
		Quantity int    `json:"quantity"`
		Total    int64  `json:"total"`
	}{"l1", somePrefix + "A", 2, 25980})
	r.order.Shipments = append(r.order.Shipments, struct {
		ID     string  `json:"id"`
		Status string  `json:"status"`
		Frozen *string `json:"frozen"`
	}{"s1", "picking", nil})
	packed := spot{north, packing, "A", sellable}
	lie := func() map[spot]int {
		return map[spot]int{packed: 2, {north, "A-01-A", "A", sellable}: 5, {south, "E-01", "A", sellable}: 2, {north, cage, "A", broken}: 1}
	}
	before := lie()
	before[spot{north, "A-01-A", "A", sellable}]++ // one was lost there, and nobody had counted yet
	e.floor = &floorEvidence{before: before, booked: map[spot]int{}, after: lie(), real: lie(),
		sums: tallies{stocked: map[string]int{"A": 4}, received: map[string]int{"A": 8}, lost: map[string]int{"A": 2}},
		record: shiftRecord{commands: map[string]map[string]int{}, did: map[string]int{},
			picks: []pickedUnits{{order: "c1", shipment: "s1", list: "k1", sku: "A", at: packed, units: 2, sent: at}},
			deliveries: []*delivery{{warehouse: north, lines: []arrival{{sku: "A", ordered: 7, good: 7, damaged: 1}}, orderID: "o1", receiptID: "r1",
				found: &receiptFound{"received", "closed", map[string]receiptLine{"A": {8, 1}}, map[string]map[string]int{"A": {"damaged": 1, "over": 1}}}}},
			transfers: []*journey{{from: north, to: south, wants: []string{"A"}, id: "t1", sent: map[string]int{"A": 3}, arrived: map[string]int{"A": 2}, lost: map[string]int{"A": 1},
				found: &journeyFound{"received_short", map[string]int{"A": 3}, map[string]int{"A": 2}, map[string]int{}, map[string]int{"A": 1}}}},
			lists: []string{"k1"}},
		lists:  map[string]listFound{"k1": {"completed", map[orderSKU]int{{"c1", "A"}: 2}}},
		counts: map[string]string{"n1": "done"}}
	for s, n := range before {
		e.floor.booked[s] = n
	}
	e.stock["A"].Warehouses[0].OnHand = 9
	level := e.stock["A"]
	level.Available = 7
	e.stock["A"] = level
	return e, r
}

func TestDifferences_AShiftThatEndsAsItWasWorkedIsNone(t *testing.T) {
	t.Parallel()
	e, _ := worked()
	require.Empty(t, e.differences())
}

func TestDifferences_EachOfAShiftIsNamed(t *testing.T) {
	t.Parallel()
	shelf := spot{north, "A-01-A", "A", sellable}
	frozen := "disputed"
	for rule, spoil := range map[string]func(e *evidence, r *Record){
		"command_not_once": func(e *evidence, _ *Record) {
			e.floor.record.troubles = []Difference{{Rule: "command_not_once", Words: "twice"}}
		},
		"bins_unknown":            func(e *evidence, _ *Record) { e.floor.before = nil },
		"bin_differs":             func(e *evidence, _ *Record) { e.floor.before[shelf]-- },
		"count_left_a_difference": func(e *evidence, _ *Record) { e.floor.after[shelf]++ },
		"units_unaccounted":       func(e *evidence, _ *Record) { e.floor.sums.lost["A"] = 1 },
		"on_hand_differs":         func(e *evidence, _ *Record) { e.floor.real[shelf]-- },
		"oversold":                func(e *evidence, _ *Record) { e.floor.sums.stocked["A"], e.floor.sums.received["A"] = 1, 0 },
		"delivery_unknown":        func(e *evidence, _ *Record) { e.floor.record.deliveries[0].found = nil },
		"delivery_not_ended":      func(e *evidence, _ *Record) { e.floor.record.deliveries[0].found.order = "partially_received" },
		"receipt_differs":         func(e *evidence, _ *Record) { e.floor.record.deliveries[0].found.lines["A"] = receiptLine{8, 0} },
		"discrepancies_differ":    func(e *evidence, _ *Record) { delete(e.floor.record.deliveries[0].found.discrepancies["A"], "over") },
		"transfer_unknown":        func(e *evidence, _ *Record) { e.floor.record.transfers[0].id = "" },
		"transfer_not_ended":      func(e *evidence, _ *Record) { e.floor.record.transfers[0].found.status = "partially_received" },
		"transfer_differs":        func(e *evidence, _ *Record) { e.floor.record.transfers[0].found.received["A"] = 3 },
		"list_not_ended":          func(e *evidence, _ *Record) { e.floor.lists["k2"] = listFound{status: "in_progress"} },
		"list_unknown":            func(e *evidence, _ *Record) { e.floor.record.lists = append(e.floor.record.lists, "k9") },
		"count_not_ended":         func(e *evidence, _ *Record) { e.floor.counts["n1"] = "open" },
		"picked_more_than_paid": func(e *evidence, _ *Record) {
			e.floor.record.picks[0].units, e.floor.lists["k1"].picked[orderSKU{"c1", "A"}] = 3, 3
		},
		"picks_differ": func(e *evidence, _ *Record) { e.floor.lists["k1"].picked[orderSKU{"c1", "A"}] = 1 },
		"left_unpicked": func(e *evidence, _ *Record) {
			e.floor.record.picks, e.floor.lists["k1"] = nil, listFound{status: "cancelled"}
		},
		"picked_after_refund": func(e *evidence, r *Record) {
			r.Refunds = []AskedRefund{{ID: "b1", Amount: 29970, Status: "succeeded", asked: e.floor.record.picks[0].sent.Add(-time.Second)}}
		},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			e, r := worked()
			spoil(&e, r)
			var named []string
			for _, d := range e.differences() {
				require.NotEmpty(t, d.Words)
				named = append(named, d.Rule)
			}
			require.Contains(t, named, rule)
		})
	}

	// What is frozen, or was given back, need not be picked.
	for _, stop := range []func(r *Record){
		func(r *Record) { r.order.Shipments[0].Frozen = &frozen },
		func(r *Record) { r.order.Totals.Total = 0 },
	} {
		e, r := worked()
		e.floor.record.picks, e.floor.lists["k1"] = nil, listFound{status: "cancelled"}
		stop(r)
		for _, d := range e.floorIsRight() {
			require.NotEqual(t, "left_unpicked", d.Rule)
		}
	}

	// A refund that was asked for after the pick, or that failed, is no matter.
	for _, refund := range []AskedRefund{{ID: "b1", Amount: 29970, Status: "succeeded", asked: time.Now()}, {ID: "b1", Amount: 29970, Status: "failed", asked: time.Unix(1, 0)}, {ID: "b1", Amount: 100, Status: "succeeded", asked: time.Unix(1, 0)}} {
		e, r := worked()
		r.Refunds = []AskedRefund{refund}
		require.Empty(t, e.floorIsRight())
	}
}

func TestWork_IsTold(t *testing.T) {
	t.Parallel()
	e, _ := worked()
	e.floor.record.commands["pick"] = map[string]int{"applied": 2, "order_refunded": 1}
	e.floor.record.did["picked_short"] = 1
	s := newShift(&run{id: "x", Options: Options{Seed: 1}})
	w := s.account(e.floor)
	require.Equal(t, []GoodsAccount{{SKU: "A", Stocked: 4, Received: 8, Lost: 2, OnHand: 9, Damaged: 1, Picked: 2}}, w.Goods)
	require.Contains(t, w.Never, "units_lost")
	require.NotContains(t, w.Never, "picked_short")
	report := Report{Work: w}
	var text textOf
	require.NoError(t, report.WriteText(&text))
	require.Contains(t, string(text), "pick: applied 2, order_refunded 1")
	require.Contains(t, string(text), "A: stocked 4, received 8, lost 2, left 0; on hand 9 (picked 2 of them), damaged 1")
}

type textOf []byte

func (t *textOf) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	return len(p), nil
}

func TestGoods_WhatIsInHandLiesNowhereAndComesBackWhenItIsRefused(t *testing.T) {
	t.Parallel()
	g := newGoods([]string{north})
	g.stock(north, "A", 5)
	loose, shelf := spot{north, "", "A", sellable}, spot{north, "A-01-A", "A", sellable}
	loads := []load{{&loose, &shelf, 3}}
	require.True(t, g.pickUp(loads))
	require.Equal(t, 2, g.at(loose))
	require.False(t, g.pickUp(loads), "there are not so many")
	require.Equal(t, 2, g.at(loose))
	require.False(t, g.pickUp([]load{{&loose, &shelf, 2}, {&loose, &shelf, 1}}), "all of them or none")
	require.Equal(t, 2, g.at(loose))
	g.putDown(loads, false)
	really, booked := g.snapshot()
	require.Empty(t, difference(really, booked))
	require.True(t, g.pickUp(loads))
	g.putDown(loads, true)
	require.Equal(t, 3, g.at(shelf))

	require.True(t, g.lose(shelf))
	really, booked = g.in(north, "A-01-A")
	differs := difference(really, booked)
	require.Equal(t, map[spot]int{shelf: -1}, differs)
	g.correct(differs)
	really, booked = g.snapshot()
	require.Empty(t, difference(really, booked))
	require.Equal(t, []string{"A-01-A"}, g.bins(north))
	require.Equal(t, 1, g.sums().lost["A"])
	g.correct(map[spot]int{shelf: -9})
	_, booked = g.snapshot()
	require.Zero(t, booked[shelf], "a bin loses no more than it has")
}

func TestDrawDeliveries_BringWhatIsNeededInEveryWay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		coming := map[string]int{}
		for _, g := range plenty {
			coming[g.name] = rapid.IntRange(spare, 200).Draw(t, g.name)
		}
		draw := func() []*delivery { return drawDeliveries(rand.New(rand.NewPCG(seed, 1)), north, south, coming) }
		all := draw()
		require.Equal(t, all, draw(), "the same seed draws the same")
		came, kinds := map[string]int{}, map[string]bool{}
		for _, d := range all {
			seen := map[string]bool{}
			for _, a := range d.lines {
				require.False(t, seen[a.sku], "one line for each SKU")
				seen[a.sku] = true
				require.Positive(t, a.ordered)
				came[a.sku] += a.good
				kinds[a.kind()] = true
			}
		}
		require.Equal(t, coming, came)
		require.Len(t, kinds, 4)
	})
}

func TestDrawJourneys_LeaveEnoughForTheBuyers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		gone, kinds := map[string]int{}, map[string]bool{}
		for _, j := range drawJourneys(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), north, south) {
			kinds[j.kind] = true
			for _, sku := range j.wants {
				gone[sku] += j.units
			}
		}
		require.Len(t, kinds, len(journeyKinds))
		for sku, n := range gone {
			require.Less(t, n, spare, sku)
		}
	})
}

func TestCarelessly_NeverHidesWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newShift(&run{id: "x", shop: newStorefront("", "", nil), Options: Options{Seed: 3}})
	o := s.hire("counter")
	shelf := spot{s.north, "A-01-A", "A", sellable}
	task := countTask{Warehouse: s.north, Bin: "A-01-A"}
	seen, booked := map[spot]int{shelf: 4}, map[spot]int{shelf: 5}
	s.goods.booked[shelf], s.goods.real[shelf] = 5, 5 // somebody has brought one since the count began
	wrong := 0
	for range 300 {
		saw := o.carelessly(task, seen, booked)
		require.NotEqual(t, booked, saw)
		if saw[shelf] != 4 {
			wrong++
		}
	}
	require.Positive(t, wrong, "mistakes are made")
	require.Equal(t, map[spot]int{shelf: 4}, seen)
	require.Positive(t, s.record.did["bins_counted_wrong"])
}
