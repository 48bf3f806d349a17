package simulate

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/httpclient"
)

// delivered is worked after its shipment went to the buyer, who was not there the
// first time.
func delivered() (evidence, *Record) {
	e, r := worked()
	f := e.floor
	packed := f.record.picks[0].at
	for _, m := range []map[spot]int{f.before, f.booked, f.after, f.real} {
		delete(m, packed)
	}
	f.sums.left = map[string]int{"A": 2}
	level := e.stock["A"]
	level.Warehouses[0].OnHand, level.Warehouses[0].Reserved = 7, 0
	e.stock["A"] = level
	f.record.consignments = map[string]*consignment{"s1": {shipment: "s1", order: "c1", status: "delivered", handed: 1,
		sent: f.record.picks[0].sent.Add(time.Minute), left: []gone{{packed, 2}},
		packed: []parcel{{Position: 1, WeightGrams: 250, PackedBy: "ana"}}, tracking: []string{"T-1"},
		news: []news{{"delivery_failed", []string{"delivery_failed"}}, {"delivered", nil}}}}
	x := shipment{ID: "s1", OrderID: "c1", Warehouse: north, Status: "delivered", Carrier: "manual",
		Parcels: []parcel{{Position: 1, Reference: "R1", WeightGrams: 250, Tracking: "T-1", PackedBy: "ana"}}}
	x.Lines = append(x.Lines, struct {
		SKU      string `json:"sku"`
		Quantity int    `json:"quantity"`
	}{"A", 2})
	f.shipments = map[string]shipment{"s1": x}
	r.order.Status, r.order.Shipments[0].Status = "delivered", "delivered"
	return e, r
}

// kept makes of it a shipment that was packed, and that its order keeps.
func kept(e evidence, r *Record) {
	f := e.floor
	packed := f.record.picks[0].at
	for _, m := range []map[spot]int{f.before, f.booked, f.after, f.real} {
		m[packed] = 2
	}
	f.sums.left = nil
	e.stock["A"].Warehouses[0].OnHand, e.stock["A"].Warehouses[0].Reserved = 9, 2
	c := f.record.consignments["s1"]
	c.status, c.handed, c.left, c.tracking, c.news, c.refusals, c.stopped = "packed", 0, nil, nil, nil, []string{"order_frozen"}, true
	x := f.shipments["s1"]
	x.Status, x.Carrier, x.Parcels[0].Tracking = "packed", "", ""
	f.shipments["s1"] = x
	r.order.Status, r.order.Shipments[0].Status, r.Dispute = "in_fulfillment", "packed", "open"
	r.order.Payments[0].Status = "disputed"
}

func TestDifferences_WhatArrivedAsItWasToldIsNone(t *testing.T) {
	t.Parallel()
	e, _ := delivered()
	require.Empty(t, e.differences())

	e, r := delivered()
	kept(e, r)
	require.Empty(t, e.differences())

	e, r = delivered() // given back on its way
	r.Refunds = []AskedRefund{{ID: "b1", Amount: 29970, Status: "succeeded", asked: e.floor.record.consignments["s1"].sent.Add(time.Second)}}
	require.Empty(t, e.floorIsRight())

	// Trouble after trouble: a person sees to the first.
	for _, reasons := range [][]string{{"returned_to_sender"}, {"delivery_failed", "returned_to_sender"}} {
		e, r = delivered()
		c := e.floor.record.consignments["s1"]
		c.status, c.news[1] = "returned_to_sender", news{"returned_to_sender", reasons}
		x := e.floor.shipments["s1"]
		x.Status = c.status
		e.floor.shipments["s1"] = x
		r.order.Status, r.order.Shipments[0].Status, r.order.Reasons = "shipped", c.status, reasons
		require.Empty(t, e.differences())
	}
}

func TestDifferences_EachOfWhatLeftIsNamed(t *testing.T) {
	t.Parallel()
	packed := spot{north, packing, "A", sellable}
	change := func(e *evidence, fn func(x *shipment)) {
		x := e.floor.shipments["s1"]
		fn(&x)
		e.floor.shipments["s1"] = x
	}
	for name, c := range map[string]struct {
		rule  string
		spoil func(e *evidence, c *consignment, r *Record)
	}{
		"no such shipment":      {"shipment_unknown", func(e *evidence, _ *consignment, _ *Record) { delete(e.floor.shipments, "s1") }},
		"handed over twice":     {"left_twice", func(_ *evidence, c *consignment, _ *Record) { c.handed = 2 }},
		"a unit too few":        {"left_differs", func(_ *evidence, c *consignment, _ *Record) { c.left[0].units = 1 }},
		"frozen when it left":   {"left_while_frozen", func(_ *evidence, c *consignment, _ *Record) { c.frozen = "disputed" }},
		"nobody handed it over": {"left_by_itself", func(_ *evidence, c *consignment, _ *Record) { c.handed, c.left = 0, nil }},
		"nobody knows of it":    {"left_by_itself", func(e *evidence, _ *consignment, _ *Record) { clear(e.floor.record.consignments) }},
		"another status":        {"shipment_differs", func(e *evidence, _ *consignment, _ *Record) { change(e, func(x *shipment) { x.Status = "in_transit" }) }},
		"a parcel too many": {"parcels_differ", func(e *evidence, _ *consignment, _ *Record) {
			change(e, func(x *shipment) { x.Parcels = append(x.Parcels, x.Parcels[0]) })
		}},
		"another weight": {"parcels_differ", func(e *evidence, _ *consignment, _ *Record) {
			change(e, func(x *shipment) { x.Parcels[0].WeightGrams = 1 })
		}},
		"another number": {"parcels_differ", func(e *evidence, _ *consignment, _ *Record) {
			change(e, func(x *shipment) { x.Parcels[0].Tracking = "R1" })
		}},
		"a number of nobody's": {"parcels_differ", func(_ *evidence, c *consignment, _ *Record) { c.tracking = nil }},
		"another packer": {"parcels_differ", func(e *evidence, _ *consignment, _ *Record) {
			change(e, func(x *shipment) { x.Parcels[0].PackedBy = "" })
		}},
		"another carrier":          {"parcels_differ", func(e *evidence, _ *consignment, _ *Record) { change(e, func(x *shipment) { x.Carrier = "starken" }) }},
		"nobody was called":        {"attention_not_raised", func(_ *evidence, c *consignment, _ *Record) { c.news[0].reasons = []string{"short_pick"} }},
		"called for too long":      {"attention_not_lowered", func(_ *evidence, _ *consignment, r *Record) { r.order.Reasons = []string{"delivery_failed"} }},
		"called for nothing":       {"attention_not_lowered", func(_ *evidence, _ *consignment, r *Record) { r.order.Reasons = []string{"parcel_lost"} }},
		"nobody is called":         {"attention_not_raised", func(_ *evidence, c *consignment, _ *Record) { c.news = c.news[:1] }},
		"left in its bin":          {"packing_bin_differs", func(e *evidence, _ *consignment, _ *Record) { e.floor.before[packed] = 2 }},
		"books keep it":            {"bin_differs", func(e *evidence, _ *consignment, _ *Record) { e.floor.before[packed] = 2 }},
		"still on hand":            {"on_hand_differs", func(e *evidence, _ *consignment, _ *Record) { e.stock["A"].Warehouses[0].OnHand = 9 }},
		"still reserved":           {"reserved_differs", func(e *evidence, _ *consignment, _ *Record) { e.stock["A"].Warehouses[0].Reserved = 2 }},
		"left and is there":        {"units_unaccounted", func(e *evidence, _ *consignment, _ *Record) { e.floor.after[packed] = 2 }},
		"order stays behind":       {"order_does_not_follow", func(_ *evidence, _ *consignment, r *Record) { r.order.Status = "shipped" }},
		"order runs ahead":         {"order_does_not_follow", func(_ *evidence, c *consignment, _ *Record) { c.status = "in_transit" }},
		"order left by itself":     {"order_does_not_follow", func(e *evidence, _ *consignment, r *Record) { kept(*e, r); r.order.Status = "shipped" }},
		"kept for nothing":         {"kept_without_cause", func(e *evidence, _ *consignment, r *Record) { kept(*e, r); r.Dispute = "" }},
		"refused as refunded":      {"kept_without_cause", func(_ *evidence, c *consignment, _ *Record) { c.refusals = []string{"order_refunded"} }},
		"refused as cancelled":     {"kept_without_cause", func(_ *evidence, c *consignment, _ *Record) { c.refusals = []string{"order_cancelled"} }},
		"forgotten":                {"left_behind", func(e *evidence, c *consignment, r *Record) { kept(*e, r); c.stopped = false }},
		"forgotten from the start": {"left_behind", func(e *evidence, _ *consignment, r *Record) { kept(*e, r); clear(e.floor.record.consignments) }},
		"given back before": {"left_after_refund", func(_ *evidence, c *consignment, r *Record) {
			r.Refunds = []AskedRefund{{ID: "b1", Amount: 29970, Status: "succeeded", asked: c.sent.Add(-time.Second)}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, r := delivered()
			c.spoil(&e, e.floor.record.consignments["s1"], r)
			var named []string
			for _, d := range e.differences() {
				require.NotEmpty(t, d.Words)
				named = append(named, d.Rule)
			}
			require.Contains(t, named, c.rule)
		})
	}
}

func TestFaultsOfLabels_APageForEachParcelWithItsReference(t *testing.T) {
	t.Parallel()
	two := []parcel{{Position: 1, Reference: "AAA"}, {Position: 2, Reference: "BBB"}}
	require.Empty(t, faultsOfLabels("^XA^FDMA,AAA^FS^XZ\n^XA^FDMA,BBB^FS^XZ", two))
	for _, zpl := range []string{"", "^XA^FDMA,AAA^FS^XZ", "^XA^FDMA,AAA^FS^XZ^XA^FDMA,AAA^FS^XZ", "^XAAAA^XZ^XABBB^XZ^XA^XZ"} {
		require.NotEmpty(t, faultsOfLabels(zpl, two), zpl)
	}
}

func TestDeck_DealsEveryKindBeforeItRepeats(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		d, same := newDeck(seed, 1, fates), newDeck(seed, 1, fates)
		for range 3 {
			var dealt []fate
			for range fates {
				dealt = append(dealt, d.deal())
				require.Equal(t, dealt[len(dealt)-1], same.deal())
			}
			require.ElementsMatch(t, fates, dealt)
		}
	})
	for _, f := range fates {
		require.NotEmpty(t, ways[f], f)
		require.Contains(t, kindsOfDelivery, string(f))
	}
	for _, w := range twists {
		require.Contains(t, kindsOfDelivery, string(w))
	}
}

func TestWork_OfWhatLeftIsTold(t *testing.T) {
	t.Parallel()
	e, _ := delivered()
	s := newShift(&run{id: "x", Options: Options{Seed: 1, To: toDelivered}})
	w := s.account(e.floor)
	require.Equal(t, map[string]int{"delivered": 1}, w.Shipments)
	require.Equal(t, []GoodsAccount{{SKU: "A", Stocked: 4, Received: 8, Lost: 2, Left: 2, OnHand: 7, Damaged: 1}}, w.Goods)
	require.Contains(t, w.Never, "two_handed_over")
}

// loadingBay is an API that keeps one shipment, and gives it away as often as it is
// asked when it is careless.
type loadingBay struct {
	mu       sync.Mutex
	careless bool
	now      shipment
}

func (k *loadingBay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	send := func(status int, v any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	var body struct {
		Commands []struct{ ID string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		send(http.StatusBadRequest, problem{Code: "no_json"})
		return
	}
	taken := k.now.Status == "labelled" || k.careless
	if taken {
		k.now.Status = "handed_over"
	}
	switch {
	case r.URL.Path != scansPath && taken:
		send(http.StatusOK, k.now)
	case r.URL.Path != scansPath:
		send(http.StatusConflict, problem{Code: "wrong_status"})
	case taken:
		send(http.StatusOK, map[string]any{"results": []any{map[string]any{"id": body.Commands[0].ID, "status": "applied", "current": k.now}}})
	default:
		send(http.StatusOK, map[string]any{"results": []any{map[string]any{"id": body.Commands[0].ID, "status": "conflict", "code": "version_changed", "exception_id": "x1"}}})
	}
}

func TestBothTakeOut_TheGoodsLeaveOnceHoweverManyAreTold(t *testing.T) {
	t.Parallel()
	for handed, careless := range map[int]bool{1: false, 2: true} {
		for seed := range uint64(12) {
			bay := &loadingBay{careless: careless, now: shipment{ID: "s1", OrderID: "c1", Warehouse: "SIM-x-N", Status: "labelled"}}
			server := httptest.NewServer(bay)
			t.Cleanup(server.Close)
			client := httpclient.New(httpclient.Options{Timeout: 5 * time.Second, MaxAnswer: 1 << 20, MaxConnsPerHost: 4})
			t.Cleanup(client.CloseIdleConnections)
			s := newShift(&run{id: "x", shop: newStorefront(server.URL, "a-key", client), Options: Options{Seed: seed, To: toDelivered}})
			at := spot{s.north, packing, "A", sellable}
			s.goods.real[at], s.goods.booked[at] = 5, 5
			s.onList[onList{"k1", "s1", at}] = 2
			s.consignment(bay.now)
			b := &bench{scanner: s.hire("packer"), mate: s.hire("packer"), id: "s1"}
			require.NoError(t, b.bothTakeOut(t.Context(), bay.now))
			require.Equal(t, 3, s.goods.at(at))
			require.Equal(t, 2, s.goods.sums().left["A"])
			require.Equal(t, handed, b.known().handed)
			require.Equal(t, []gone{{at, 2}}, b.known().left)
			require.Empty(t, s.lyingFor("s1"))
			for _, trouble := range s.record.troubles { // this bay does not know what it was sent before
				require.Equal(t, "command_not_once", trouble.Rule, trouble.Words)
			}
		}
	}
}

func TestDoubts_ThePackerGoesOnWhenTheBuyerHasSpoken(t *testing.T) {
	t.Parallel()
	r := &run{id: "x", shop: newStorefront("", "", nil), Options: Options{Seed: 3, To: toDelivered}}
	r.shift = newShift(r)
	b := &bench{scanner: r.shift.hire("packer"), id: "s1", mindsAt: "packed"}
	x := shipment{ID: "s1", OrderID: "c1", Status: "packed"}
	require.False(t, b.minds(t.Context(), x), "nobody has doubts")

	spoke := make(chan struct{})
	go func() {
		spoken := (&visit{run: r, rec: &Record{Buyer: Buyer{N: 1}}}).doubts(t.Context(), "c1")
		close(spoke)
		spoken()
		spoken()
	}()
	require.Eventually(t, func() bool {
		r.shift.mu.Lock()
		defer r.shift.mu.Unlock()
		return r.shift.out.doubts["c1"] != nil
	}, 10*time.Second, time.Millisecond)
	x.Status = "picking"
	require.False(t, b.minds(t.Context(), x), "it is another step at which this packer waits")
	x.Status = "packed"
	require.True(t, b.minds(t.Context(), x))
	select {
	case <-spoke:
	default:
		require.Fail(t, "the packer went on before the buyer had spoken")
	}
	require.False(t, b.minds(t.Context(), x), "once")
	require.Equal(t, 1, r.shift.record.did["buyers_minded_while_packed"])

	onlyPaid := &visit{run: &run{}, rec: &Record{Buyer: Buyer{N: 1}}}
	onlyPaid.doubts(t.Context(), "c1")()
}
