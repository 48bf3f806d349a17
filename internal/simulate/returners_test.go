package simulate

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
)

// backAgain is a return of one of two units, by a label for which its buyer has paid.
func backAgain(t *testing.T) *sentBack {
	t.Helper()
	b := &sentBack{id: "r1", kind: byPaidLabel, units: 1, arrived: 1, deducted: 100, ends: []string{"closed"}, found: &returned{}}
	require.NoError(t, json.Unmarshal([]byte(`{"lines":[{"line_id":"l1","sku":"A","quantity":2}],"totals":{"shipping":3990}}`), &b.order))
	require.NoError(t, json.Unmarshal([]byte(`{"id":"r1","status":"closed","refunded":7900,"freight_by":"buyer","label":{"carrier":"starken","fee":2000},"units":[{"came":"arrived","disposition":"restock","paid":10000,"deducted":100}]}`), b.found))
	return b
}

func TestCameBackRight_NamesWhateverIsWrongWithAReturn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule  string
		spoil func(b *sentBack)
	}{
		"all is well": {"", func(*sentBack) {}},
		"lost, with the money": {"", func(b *sentBack) {
			b.found.Units[0].Came = "lost"
		}},
		"all of the order, with the freight": {"", func(b *sentBack) {
			b.order.Lines[0].Quantity = 1
			b.found.Refunded += 3990
		}},
		"nobody knows what became of its refund": {"", func(b *sentBack) { b.doubted, b.found.Status = true, "inspected" }},
		"never seen":                             {"return_unknown", func(b *sentBack) { b.found = nil }},
		"not over":                               {"return_not_ended", func(b *sentBack) { b.found.Status = "inspected" }},
		"more came":                              {"return_differs", func(b *sentBack) { b.arrived = 0 }},
		"more was deducted":                      {"return_differs", func(b *sentBack) { b.deducted = 0 }},
		"too little went back":                   {"return_money_differs", func(b *sentBack) { b.found.Refunded-- }},
		"too much went back":                     {"return_money_differs", func(b *sentBack) { b.found.Refunded++ }},
		"money without goods": {"return_money_differs", func(b *sentBack) {
			b.found.Units[0].Came, b.arrived = "missing", 0
		}},
		"the shop's fault, and charged": {"return_charged_for_the_way", func(b *sentBack) { b.found.FreightBy = "shop" }},
		"expired with a label": {"label_left_over", func(b *sentBack) {
			b.kind, b.ends, b.arrived, b.deducted = neverSent, []string{"expired"}, 0, 0
			b.found.Status, b.found.Refunded, b.found.Units[0].Came, b.found.Units[0].Deducted = "expired", 0, "", 0
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := backAgain(t)
			c.spoil(b)
			e, _ := delivered()
			e.floor.record.returns = map[string]*sentBack{"r1": b}
			var named []string
			for _, d := range e.differences() {
				named = append(named, d.Rule)
			}
			if c.rule == "" {
				require.Empty(t, named)
				return
			}
			require.Contains(t, named, c.rule)
		})
	}
}

func TestCountReturns_SumsThemUp(t *testing.T) {
	t.Parallel()
	f := floorEvidence{record: shiftRecord{returns: map[string]*sentBack{"r1": backAgain(t), "r2": {}}}}
	f.record.returns["r2"].doubted = true
	sum := f.countReturns()
	require.Equal(t, &Returns{Asked: 2, Ends: map[string]int{"closed": 1}, Refunded: 7900, Fees: 2000, InDoubt: 1}, sum)
	require.Contains(t, sum.String(), `2 asked for, ended {"closed":1}; 7900 went back`)
	require.Nil(t, floorEvidence{}.countReturns())
}

// desk is an API of returns that says what a test wants.
type desk struct {
	mu    sync.Mutex
	takes func(path, body string) (int, string)
	asked []string
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, r.URL.Path+" "+string(raw))
	w.Header().Set("Content-Type", "application/json")
	status, body := d.takes(r.URL.Path, string(raw))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func newDesk(t *testing.T, takes func(path, body string) (int, string)) (*desk, *shift) {
	t.Helper()
	d := &desk{takes: takes}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	client := httpclient.New(httpclient.Options{})
	s := newShift(&run{id: "x", shop: newStorefront(server.URL, "a-key", client), world: &world{base: server.URL, client: client}, Options: Options{Seed: 1, To: toReturned}})
	s.shelves["W"] = []string{"A-01"}
	return d, s
}

func TestBothAsk_OneReturnHasTheUnits(t *testing.T) {
	t.Parallel()
	for won, rule := range map[int]string{0: "units_in_two_returns", 1: "", 2: "units_in_two_returns"} {
		n := 0
		_, s := newDesk(t, func(path, _ string) (int, string) {
			switch {
			case strings.HasSuffix(path, "/eligibility"):
				return 200, `{"eligible":true,"refunds":["original"]}`
			case n < won:
				n++
				return 201, `{"id":"r1","warehouse":"W"}`
			}
			return 422, `{"code":"not_eligible"}`
		})
		b := backAgain(t)
		b.kind = askedForBoth
		require.Equal(t, won == 1, s.hire("returns").asks(t.Context(), b))
		var named []string
		for _, d := range s.record.troubles {
			named = append(named, d.Rule)
		}
		if rule == "" {
			require.Empty(t, named)
			require.Contains(t, s.record.returns, "r1")
			continue
		}
		require.Equal(t, []string{rule}, named)
	}
}

func TestAsks_WhatNoGatewayPaysInPartIsLeft(t *testing.T) {
	t.Parallel()
	d, s := newDesk(t, func(string, string) (int, string) { return 200, `{"eligible":true,"refunds":["bank_transfer"]}` })
	require.False(t, s.hire("returns").asks(t.Context(), backAgain(t)))
	require.Len(t, d.asked, 1)
	require.Empty(t, s.record.troubles)
	_, s = newDesk(t, func(string, string) (int, string) { return 200, `{"eligible":false}` })
	require.False(t, s.hire("returns").asks(t.Context(), backAgain(t)))
	require.Equal(t, "not_eligible", s.record.troubles[0].Rule)
}

func TestOpens_SaysWhatWasInTheParcelOfEachKind(t *testing.T) {
	t.Parallel()
	for kind, want := range map[comeback]struct {
		received, arrived int
		shelved           int
		inspected         string
	}{
		byThemselves: {1, 2, 2, `"restock"`},
		brokenBack:   {1, 2, 0, `"scrap"`},
		wrongThing:   {1, 0, 0, ""},
		inPart:       {1, 1, 1, `"restock"`},
		inTwoParcels: {2, 3, 3, `"restock"`},
	} {
		d, s := newDesk(t, func(string, string) (int, string) {
			return 200, `{"id":"r1","status":"received","units":[{"paid":1000},{"paid":999}]}`
		})
		b := backAgain(t)
		b.kind, b.units, b.deducted, b.arrived, b.bin, b.warehouse = kind, 2, 0, 0, "A-01", "W"
		if kind == inTwoParcels {
			b.units = 3
		}
		s.hire("returns").opens(t.Context(), b)
		received, inspected := map[string]bool{}, ""
		for _, a := range d.asked {
			if strings.Contains(a, "/receive ") {
				received[a] = true
			}
			if strings.Contains(a, "/inspect ") {
				inspected = a
			}
		}
		require.Len(t, received, want.received, kind)
		require.Contains(t, inspected, want.inspected, kind)
		require.Equal(t, want.arrived, b.arrived, kind)
		require.Equal(t, want.shelved, s.goods.at(spot{"W", "A-01", "A", sellable}), kind)
		require.Equal(t, []string{"closed"}, b.ends)
		if kind == brokenBack {
			require.EqualValues(t, 2*(999/4), b.deducted)
		}
		require.Empty(t, s.record.troubles)
	}
}
