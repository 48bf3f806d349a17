package simulate

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
)

// byStarken is delivered with a label of Starken's in the place of the courier's; what
// was bought before has lapsed, been cancelled, or was left by support.
func byStarken() (evidence, *Record) {
	e, r := delivered()
	f := e.floor
	c := f.record.consignments["s1"]
	c.bought, c.route, c.wishes, c.taken, c.status, c.news = "starken", byBest, 2, true, "handed_over", nil
	x := f.shipments["s1"]
	x.Carrier = "starken"
	f.shipments["s1"] = x
	f.labels = []label{{"starken", "REF1", "T-1", "delivered", false}, {"correos", "REF2", "88", "announced", true}, {"bluexpress", "REF3", "61", "announced", false},
		{"bluexpress", "REF4", "62", "announced", false}, {"chilexpress", "REF5", "71", "announced", false}}
	f.owners = map[numbered]int{{"starken", "T-1"}: 1}
	f.lapsed = map[numbered]int{{"bluexpress", "61"}: 1, {"chilexpress", ""}: 1}
	f.record.skipped = map[string]bool{"REF4": true}
	return e, r
}

func TestDifferences_WhatACarrierBroughtIsNone(t *testing.T) {
	t.Parallel()
	e, _ := byStarken()
	require.Empty(t, e.differences())
}

func TestDifferences_EachOfALabelIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule  string
		spoil func(f *floorEvidence)
	}{
		"cancelled":          {"label_cancelled_in_use", func(f *floorEvidence) { f.labels[0].Voided = true }},
		"cancelled and used": {"label_missing_there", func(f *floorEvidence) { f.labels[0].Voided = true }},
		"on two parcels":     {"label_used_twice", func(f *floorEvidence) { f.owners[numbered{"starken", "T-1"}] = 2 }},
		"on no parcel":       {"label_of_nobody", func(f *floorEvidence) { clear(f.owners) }},
		"bought once more": {"label_of_nobody", func(f *floorEvidence) {
			f.labels = append(f.labels, label{"starken", "REF6", "T-2", "announced", false})
		}},
		"without a number":       {"label_of_nobody", func(f *floorEvidence) { f.labels = append(f.labels, label{"starken", "REF6", "", "announced", false}) }},
		"did not lapse":          {"label_of_nobody", func(f *floorEvidence) { delete(f.lapsed, numbered{"bluexpress", "61"}) }},
		"support did not see it": {"label_of_nobody", func(f *floorEvidence) { clear(f.record.skipped) }},
		"two lapsed, one is told": {"label_of_nobody", func(f *floorEvidence) {
			f.labels = append(f.labels, label{"chilexpress", "REF6", "72", "announced", false})
		}},
		"not at the carrier": {"label_missing_there", func(f *floorEvidence) { f.labels = f.labels[1:] }},
		"came back there":    {"carrier_says_otherwise", func(f *floorEvidence) { f.labels[0].Status = "returned_to_sender" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _ := byStarken()
			c.spoil(e.floor)
			var named []string
			for _, d := range e.differences() {
				named = append(named, d.Rule)
			}
			require.Contains(t, named, c.rule)
		})
	}
}

func TestSaid_IsWhatTheCarrierHasAWordFor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		carrier string
		ends    []string
		want    []string
	}{
		{"starken", []string{"delivered"}, []string{"delivered"}},
		{"starken", []string{"lost"}, []string{"in_transit"}},
		{"chilexpress", []string{"lost"}, []string{"lost"}},
		{"correos", []string{"returned_to_sender"}, []string{"delivery_failed"}},
		{"bluexpress", []string{"delivered", "returned_to_sender"}, []string{"returned_to_sender"}},
		{"chilexpress", []string{"lost", "returned_to_sender"}, []string{"lost", "returned_to_sender"}},
	} {
		var parcels []label
		for _, end := range tc.ends {
			parcels = append(parcels, label{Status: end})
		}
		require.Equal(t, tc.want, said(tc.carrier, parcels), "%s %v", tc.carrier, tc.ends)
	}
}

func TestCountLabels_SumsEachCarrierUp(t *testing.T) {
	t.Parallel()
	e, _ := byStarken()
	did := map[string]int{}
	sums := e.floor.countLabels(did)
	require.Equal(t, Labels{Bought: 1, Delivered: 1}, sums["starken"])
	require.Equal(t, Labels{Bought: 1, Voided: 1}, sums["correos"])
	require.Equal(t, Labels{Bought: 2, Lapsed: 2}, sums["bluexpress"])
	require.Equal(t, 1, did["carrier_delivered"])
	require.Equal(t, 1, did[string(byBest)])
}

// A support person does what the carrier's panel says, and nothing before.
func TestCure_FollowsThePanel(t *testing.T) {
	t.Parallel()
	about := "Starken has not said whether it took a parcel (our reference ABCDEFGHIJKLMNOP, service 1)."
	for _, tc := range []struct{ reason, panel, verb, body string }{
		{"booking_unknown", `{"carrier":"starken","reference":"ABCDEFGHIJKLMNOP","tracking":"91"}`, "resolve", `"outcome":"booked","reason":"seen in the panel","reference":"91"`},
		{"booking_unknown", `{"carrier":"starken","reference":"ABCDEFGHIJKLMNOP","tracking":""}`, "", ""},
		{"booking_unknown", `{"carrier":"starken","reference":"ABCDEFGHIJKLMNOP","tracking":"91","voided":true}`, "resolve", `"outcome":"not_made"`},
		{"label_not_voided", `{"carrier":"starken","reference":"ABCDEFGHIJKLMNOP","tracking":"91"}`, "skip", `"step":"x"`},
		{"label_not_voided", `{"carrier":"starken","reference":"QQQQQQQQQQQQQQQQ","tracking":"92"}`, "resolve", `"outcome":"voided"`},
		{"no_carrier", `{}`, "retry", `"step":"x"`},
		{"no_return_label", `{}`, "retry", `"step":"x"`},
		{"return_lost", `{}`, "resolve", `"outcome":"lost"`},
		{"return_went_back", `{}`, "resolve", `"outcome":"closed"`},
		{"unexpected_goods", `{}`, "resolve", `"reference":"agreed with the buyer"`},
		{"parcel_lost", `{}`, "resolve", `"outcome":`},
	} {
		asked, body := "", ""
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ledger" {
				_, _ = w.Write([]byte(`{"labels":[` + tc.panel + `]}`))
				return
			}
			raw := new(strings.Builder)
			if err := r.Write(raw); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			asked, body = r.URL.Path, raw.String()
			_, _ = w.Write([]byte(`{}`))
		}))
		t.Cleanup(server.Close)
		client := httpclient.New(httpclient.Options{Timeout: 5 * time.Second, MaxAnswer: 1 << 20, MaxConnsPerHost: 4})
		t.Cleanup(client.CloseIdleConnections)
		s := newShift(&run{id: "x", shop: newStorefront(server.URL, "a-key", client), world: &world{base: server.URL, client: client}, Options: Options{Seed: 1, To: toDelivered}})
		run := "fulfillment:demo:s1"
		s.hire("supporter").cureOne(t.Context(), stuck{Kind: "parked", Of: "x", WorkflowID: &run, Reason: tc.reason, Why: about, Verbs: []string{"retry", "resolve", "skip", "cancel"}}, map[string]int{})
		require.Empty(t, s.record.troubles)
		if tc.verb == "" {
			require.Empty(t, asked)
			continue
		}
		require.Equal(t, "/v1/support/workflows/fulfillment:demo:s1/"+tc.verb, asked)
		require.Contains(t, body, tc.body)
		require.Equal(t, tc.verb == "skip", s.record.skipped["ABCDEFGHIJKLMNOP"])
	}
}

func TestStuck_NamesTheShipmentOfItsRun(t *testing.T) {
	t.Parallel()
	run, other := "fulfillment:demo:s1", "refund:demo:s1"
	require.Equal(t, "s1", stuck{Kind: "parked", WorkflowID: &run}.shipment())
	require.Empty(t, stuck{Kind: "parked", WorkflowID: &other}.shipment())
	require.Empty(t, stuck{Kind: "parked", WorkflowID: &run}.returned())
	back := "return:demo:r1"
	require.Equal(t, "r1", stuck{Kind: "parked", WorkflowID: &back}.returned())
	require.Empty(t, stuck{Kind: "overdue", WorkflowID: &run}.shipment())
	require.Empty(t, stuck{Kind: "parked"}.shipment())
}

// TestShift_OutOfTimeStillReadsWhatWentBack: a run whose time is over while carriers bring
// their parcels says so, and does not call right refunds wrong.
func TestShift_OutOfTimeStillReadsWhatWentBack(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/refunds/r1" {
			_, _ = w.Write([]byte(`{"id":"r1","status":"succeeded","amount":990}`))
			return
		}
		_, _ = w.Write([]byte(`{"id":"o1","status":"delivered","refunds":[{"id":"r1","reason":"parcel lost","amount":990,"status":"pending"},{"id":"r2","reason":"late_payment","amount":1,"status":"succeeded"}]}`))
	}))
	t.Cleanup(server.Close)
	client := httpclient.New(httpclient.Options{Timeout: 5 * time.Second, MaxAnswer: 1 << 20, MaxConnsPerHost: 1})
	t.Cleanup(client.CloseIdleConnections)
	r := &run{id: "x", shop: newStorefront(server.URL, "a-key", client), world: &world{base: server.URL, client: client}, Options: Options{Seed: 1, To: toDelivered, Timeout: time.Minute}}
	r.shift = newShift(r)
	rec := &Record{order: &order{ID: "o1"}}
	r.records = []*Record{rec}
	r.shift.last = r.shift.hire("dispatcher")
	r.shift.record.consignments["s1"] = &consignment{shipment: "s1", order: "o1"}
	r.shift.record.refunded["s1"] = true
	over, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	r.shift.close(over, &floorEvidence{})
	require.Equal(t, []AskedRefund{{ID: "r1", Amount: 990, Status: "succeeded"}}, rec.Refunds)
	require.True(t, slices.ContainsFunc(r.shift.record.troubles, func(d Difference) bool {
		return d.Rule == "out_of_time" && strings.Contains(d.Words, "--timeout 1m0s")
	}), "%+v", r.shift.record.troubles)
}

func TestDepots_AreGivenBackAsTheyWere(t *testing.T) {
	t.Parallel()
	set := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			_, _ = w.Write([]byte(`{"issue_ms":7}`))
		case http.MethodPut:
			raw := new(strings.Builder)
			if err := r.Write(raw); err == nil {
				set[r.URL.Path] = raw.String()
			}
		case http.MethodDelete:
			delete(set, r.URL.Path)
		}
	}))
	t.Cleanup(server.Close)
	client := httpclient.New(httpclient.Options{Timeout: 5 * time.Second, MaxAnswer: 1 << 20, MaxConnsPerHost: 1})
	t.Cleanup(client.CloseIdleConnections)
	r := &run{id: "x", world: &world{base: server.URL, client: client}, Options: Options{Seed: 1, To: toDelivered, Faults: HeavyFaults}}
	r.shift = newShift(r)
	d, err := r.openDepots(t.Context())
	require.NoError(t, err)
	require.Len(t, set, 2*len(carriersPlayed))
	d.close()
	d.close()
	require.Empty(t, r.shift.record.troubles)
	require.Len(t, set, len(carriersPlayed), "no faults are left")
	for path, body := range set {
		require.Contains(t, body, `{"issue_ms":7}`, path)
	}
}
