package api_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/catalog"
	"justlogistics/internal/id"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/picking"
	"justlogistics/internal/warehouse/place"
	"justlogistics/internal/warehouse/receiving"
)

// smallHall is a tenant with few units in few bins, so that commands are often
// refused: "P" is told apart by nothing, "L" by lots, "S" by serial numbers, and an
// order that wants some of each is on a pick list.
type smallHall struct {
	*shoptest.Shop
	tenant, key, url, list, receipt string
	lines                           map[string]int // of the list, by SKU
}

var hallBins = []floor.BinInput{
	{Code: "A", Kind: floor.Pick}, {Code: "B", Kind: floor.Reserve}, {Code: "ONE", Kind: floor.Pick, LotRule: floor.OneSKU}, {Code: "LOT", Kind: floor.Pick, LotRule: floor.OneLot},
	{Code: "FULL", Kind: floor.Pick, MaxUnits: 2}, {Code: "PACK", Kind: floor.Packing}, {Code: "DMG", Kind: floor.Damaged}, {Code: "DOOR", Kind: floor.Receiving},
}

func newSmallHall(t require.TestingT, tb testing.TB, s *shoptest.Shop, url, name string) smallHall {
	h := smallHall{Shop: s, tenant: name, url: url}
	s.AddTenant(tb, name)
	ctx := tb.Context()
	require.NoError(t, s.DB.InTenant(ctx, name, func(tx pgx.Tx) (err error) {
		if h.key, _, err = tenant.IssueKey(ctx, tx, name, "scanners", []tenant.Scope{tenant.Warehouse}, nil); err != nil {
			return err
		}
		for _, p := range []struct{ sku, tracking string }{{"P", "none"}, {"L", "lot"}, {"S", "serial"}} {
			if _, err := catalog.PutProduct(ctx, tx, name, p.sku, catalog.ProductInput{Name: p.sku, Product: p.sku, WeightGrams: 100, Prices: []catalog.Price{{Currency: "CLP", Amount: 1000}}, Tracking: &p.tracking, Barcodes: []string{"code-" + p.sku}}); err != nil {
				return err
			}
		}
		for _, b := range hallBins {
			if _, err := place.PutBin(ctx, tx, name, "SCL-1", b, true); err != nil {
				return err
			}
		}
		for _, lot := range []string{"L1", "L2"} {
			if _, err := stock.PutLot(ctx, tx, name, stock.Lot{SKU: "L", Lot: lot}); err != nil {
				return err
			}
		}
		for _, m := range hallStock() {
			if _, err := stock.Move(ctx, tx, name, m); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, s.DB.InTenant(ctx, name, func(tx pgx.Tx) error {
		return sell(ctx, tx, name, []stock.Want{{SKU: "P", Quantity: 4}, {SKU: "L", Quantity: 4}, {SKU: "S", Quantity: 2}})
	}))
	h.receipt = id.New()
	require.NoError(t, s.DB.InTenant(ctx, name, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, name)
		if err != nil {
			return err
		}
		order, by := id.New(), stock.By{Person: "test"}
		lines := []receiving.OrderLineInput{{SKU: "P", Quantity: 3}, {SKU: "L", Quantity: 2, Lot: "L1"}, {SKU: "S", Quantity: 2}}
		if _, err := receiving.CreateOrder(ctx, tx, shop, order, receiving.OrderInput{Number: "PO-1", Supplier: "x", Warehouse: "SCL-1", Lines: lines}, by); err != nil {
			return err
		}
		_, err = receiving.StartReceipt(ctx, tx, shop, h.receipt, receiving.ReceiptInput{Warehouse: "SCL-1", PurchaseOrderID: order, Bin: "DOOR"}, by)
		return err
	}))
	require.NoError(t, s.DB.InTenant(ctx, name, func(tx pgx.Tx) error {
		out, err := picking.Release(ctx, tx, name, picking.Wave{Warehouse: "SCL-1", By: picking.ByOrder, Trolley: batch.Load{Orders: 1}, Seed: 1, Who: stock.By{Person: "test"}})
		if err == nil {
			h.list = out.Lists[0].ID
		}
		return err
	}))
	rows, err := s.Super.Query(ctx, `SELECT sku, line FROM pick_lines WHERE tenant = $1`, name)
	require.NoError(t, err)
	h.lines = map[string]int{}
	var sku string
	var line int
	_, err = pgx.ForEachRow(rows, []any{&sku, &line}, func() error { h.lines[sku] = line; return nil })
	require.NoError(t, err)
	return h
}

func hallStock() (out []stock.BinMovement) {
	put := func(sku, lot, serial, bin string, units int) {
		out = append(out, stock.BinMovement{SKU: sku, Warehouse: "SCL-1", Lot: lot, Serial: serial, Quantity: units, To: stock.In(bin, stock.Available), Reason: "receipt", By: stock.By{Person: "test"}})
	}
	put("P", "", "", "A", 6)
	put("P", "", "", "B", 5)
	put("L", "L1", "", "A", 3)
	put("L", "L2", "", "B", 5)
	for i := range 5 {
		put("S", "", fmt.Sprintf("S-%d", i), []string{"A", "B"}[i%2], 1)
	}
	return out
}

var kinds = []string{"move", "put_away", "pick", "receive"}

// hallCommands draws what scanners send: mostly several of a kind in a row, and
// often such as go well.
func hallCommands(t *rapid.T) (out []map[string]any) {
	picked := false
	for range rapid.IntRange(1, 6).Draw(t, "runs") {
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		careful := rapid.IntRange(0, 9).Draw(t, "careful") < 6
		for range rapid.IntRange(1, 5).Draw(t, "in a row") {
			c := hallCommand(t, kind, careful)
			// Picks that are counted together are one version of a pile, not several.
			picked = picked || kind == "pick"
			if !careful && (kind == "pick" || kind != "receive" && !picked) && rapid.IntRange(0, 5).Draw(t, "with version") == 0 {
				c["expected_version"] = rapid.IntRange(1, 6).Draw(t, "version")
			}
			out = append(out, c)
		}
	}
	return out
}

func hallCommand(t *rapid.T, kind string, careful bool) map[string]any {
	// Whoever is careful does the first.
	pick := func(label string, of ...string) string {
		if careful {
			return of[0]
		}
		return rapid.SampledFrom(of).Draw(t, label)
	}
	sku := rapid.SampledFrom([]string{"P", "P", "L", "L", "S"}).Draw(t, "sku")
	scanned := map[string]any{"quantity": 1}
	lies := []string{"A", "B"}[rapid.IntRange(0, 1).Draw(t, "bin")]
	switch sku {
	case "L":
		scanned["lot"] = map[string]string{"A": "L1", "B": "L2"}[lies]
		if !careful {
			scanned["lot"] = pick("lot", "L1", "L2")
		}
	case "S":
		n := rapid.IntRange(0, 4).Draw(t, "serial")
		scanned["serials"] = []string{fmt.Sprintf("S-%d", n)}
		lies = []string{"A", "B"}[n%2]
	}
	if sku != "S" && !careful {
		scanned["quantity"] = rapid.IntRange(1, 3).Draw(t, "quantity")
	}
	from := pick("from", lies, "A", "B", "FULL", "PACK", "DMG", "NONE")
	to := rapid.SampledFrom([]string{"A", "B", "ONE", "LOT", "FULL"}).Draw(t, "to")
	if !careful {
		to = pick("odd to", to, "PACK", "DMG", "NONE")
	}
	c := map[string]any{"kind": kind, "scanned": scanned}
	switch kind {
	case "move":
		scanned["warehouse"], scanned["sku"] = "SCL-1", sku
		scanned["from"], scanned["to"] = map[string]any{"bin": from}, map[string]any{"bin": to}
		scanned["reason"] = pick("reason", "move", "move", "damage")
		scanned["force"] = rapid.IntRange(0, 4).Draw(t, "force") == 0
	case "put_away":
		scanned["warehouse"], scanned["code"] = "SCL-1", pick("code", sku, "code-"+sku)
		scanned["from"], scanned["to"] = from, to
	case "receive":
		goods := map[string]any{"code": pick("product", sku, "code-"+sku, "nobody's"), "quantity": scanned["quantity"], "condition": pick("condition", "good", "good", "damaged")}
		if lot := scanned["lot"]; lot != nil {
			goods["lot"] = pick("new lot", lot.(string), "L3")
		}
		if sku == "S" {
			goods["serials"] = []string{fmt.Sprintf("S-%d", rapid.IntRange(0, 30).Draw(t, "new serial"))}
		}
		c["scanned"], c["task"] = map[string]any{"scans": []any{goods}}, "receipt"
	case "pick":
		scanned["bin"], scanned["product"], scanned["line"] = from, pick("product", sku, "code-"+sku, "P"), sku
		scanned["swap"] = !careful && rapid.Bool().Draw(t, "swap")
		c["scanned"] = map[string]any{"picks": []any{scanned}, "to": pick("into", "PACK", "PACK", "A")}
		c["task"] = "pick"
	}
	return c
}

// send posts commands, so many in a request, and returns the answers without what
// differs between any two tenants.
func (h smallHall) send(t require.TestingT, commands []map[string]any, each int) []string {
	var out []string
	for n, some := range slices.Collect(slices.Chunk(commands, each)) {
		list := make([]map[string]any, len(some))
		for i, c := range some {
			list[i] = map[string]any{"id": id.New(), "seq": n*each + i, "kind": c["kind"], "scanned": c["scanned"]}
			switch c["task"] {
			case "receipt":
				list[i]["task"] = "receipt:" + h.receipt
			case "pick":
				list[i]["task"], list[i]["scanned"] = "pick:"+h.list, h.ofList(c["scanned"].(map[string]any))
			}
			if c["expected_version"] != nil {
				list[i]["expected_version"] = c["expected_version"]
			}
		}
		for _, a := range h.post(t, list) {
			if each == 1 {
				h.requireVersions(t, a)
			}
			delete(a, "id")
			if a["exception_id"] != nil {
				a["exception_id"] = "some"
			}
			if current, is := a["current"].(map[string]any); is && current["number"] != nil {
				delete(current, "id")
				delete(current, "number")
			}
			withoutPileVersions(a)
			if drops, is := a["current"].([]any); is {
				a["current"] = len(drops) // of another tenant's reservations
			}
			if current, is := a["current"].(map[string]any); is && current["dropped"] != nil {
				for _, d := range current["dropped"].([]any) {
					for _, name := range []string{"allocation_id", "reservation_id", "pick_list"} {
						delete(d.(map[string]any), name)
					}
				}
				for _, d := range current["shorted"].([]any) {
					for _, name := range []string{"reservation_id", "checkout_id", "order_id"} {
						delete(d.(map[string]any), name)
					}
				}
			}
			text, err := json.Marshal(a)
			require.NoError(t, err)
			out = append(out, string(text))
		}
	}
	return out
}

// withoutPileVersions leaves out how often a pile has changed.
func withoutPileVersions(answer map[string]any) {
	current, is := answer["current"].(map[string]any)
	if !is {
		return
	}
	if current["bin"] != nil {
		delete(current, "version")
	}
	for _, end := range []string{"from", "to"} {
		if at, is := current[end].(map[string]any); is {
			delete(at, "version")
		}
	}
}

// ofList names the line of a pick by its number, where the draw names its SKU.
func (h smallHall) ofList(scanned map[string]any) map[string]any {
	pick := maps.Clone(scanned["picks"].([]any)[0].(map[string]any))
	pick["line"] = h.lines[pick["line"].(string)]
	return map[string]any{"picks": []any{pick}, "to": scanned["to"]}
}

// requireVersions demands that an answer says what is in the books.
func (h smallHall) requireVersions(t require.TestingT, a map[string]any) {
	current, is := a["current"].(map[string]any)
	if !is || a["status"] != "applied" {
		return
	}
	if current["number"] != nil {
		var version float64
		require.NoError(t, h.Super.QueryRow(context.Background(), `SELECT version FROM pick_lists WHERE tenant = $1`, h.tenant).Scan(&version))
		require.Equal(t, version, current["version"])
		return
	}
	for _, end := range []string{"from", "to"} {
		at := current[end].(map[string]any)
		status := cmp.Or(at["status"], current["status"])
		var quantity, version float64
		err := h.Super.QueryRow(context.Background(), `SELECT quantity, version FROM bin_stock WHERE tenant = $1 AND bin = $2 AND sku = $3 AND lot = $4 AND status = $5`,
			h.tenant, at["bin"], current["sku"], cmp.Or(current["lot"], any("")), status).Scan(&quantity, &version)
		require.NoError(t, err)
		require.Equal(t, []any{quantity, version}, []any{at["quantity"], at["version"]}, "%s of %v", end, a)
	}
}

func (h smallHall) post(t require.TestingT, commands []map[string]any) []map[string]any {
	body, err := json.Marshal(map[string]any{"device": "scanner", "commands": commands})
	require.NoError(t, err)
	r, err := http.NewRequest(http.MethodPost, h.url+"/v1/scans", strings.NewReader(string(body)))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+h.key)
	r.Header.Set("X-Operator", "ana")
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.StatusCode, string(text))
	var answer struct {
		Results []map[string]any `json:"results"`
	}
	require.NoError(t, json.Unmarshal(text, &answer))
	require.Len(t, answer.Results, len(commands))
	return answer.Results
}

// shelf is what lies where and for whom, in words.
func (h smallHall) shelf(t require.TestingT, tb testing.TB) string {
	var text string
	err := h.Super.QueryRow(tb.Context(), `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
	    SELECT format('%s %s %s %s: %s, %s allocated', bin, sku, lot, status, quantity, allocated) AS line FROM bin_stock WHERE tenant = $1
	    UNION ALL SELECT format('serial %s %s %s %s', serial, state, bin, status) FROM serials WHERE tenant = $1
	    UNION ALL SELECT format('allocation %s %s %s %s: %s', line, bin, lot, state, sum(quantity)) FROM allocations WHERE tenant = $1 AND quantity > 0 GROUP BY line, bin, lot, state
	    UNION ALL SELECT format('line %s %s picked %s shorted %s', line, sku, picked, shorted) FROM pick_lines WHERE tenant = $1
	    UNION ALL SELECT format('list %s %s version %s', status, assigned_to, version) FROM pick_lists WHERE tenant = $1
	    UNION ALL SELECT format('received %s %s %s: %s, damaged %s', o.status, o.version, l.sku, l.received, l.damaged) FROM purchase_orders o JOIN purchase_order_lines l ON l.tenant = o.tenant AND l.purchase_order_id = o.id WHERE o.tenant = $1
	    UNION ALL SELECT format('receipt %s %s', status, version) FROM receipts WHERE tenant = $1
	    UNION ALL SELECT format('movement of %s %s %s %s %s', sum(quantity), sku, reason, from_bin, to_bin) FROM bin_movements WHERE tenant = $1 GROUP BY sku, reason, from_bin, to_bin) x`, h.tenant).Scan(&text)
	require.NoError(t, err)
	return text
}

func TestScans_TogetherDoWhatEachDoesByItself(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	server := httptest.NewServer(newServer(t, s))
	t.Cleanup(server.Close)
	n := 0
	seen := map[string]int{}
	rapid.Check(t, func(r *rapid.T) {
		n++
		commands := hallCommands(r)
		atOnce, byItself := newSmallHall(r, t, s, server.URL, fmt.Sprintf("once%d", n)), newSmallHall(r, t, s, server.URL, fmt.Sprintf("each%d", n))
		one, many := byItself.send(r, commands, 1), atOnce.send(r, commands, mostAtOnce)
		require.Equal(r, strings.Join(one, "\n"), strings.Join(many, "\n"))
		require.Equal(r, byItself.shelf(r, t), atOnce.shelf(r, t))
		s.CheckBooks(r)
		for i, a := range one {
			var answer struct{ Status string }
			require.NoError(r, json.Unmarshal([]byte(a), &answer))
			seen[commands[i]["kind"].(string)+" "+answer.Status]++
		}
	})
	for _, kind := range kinds {
		require.Greater(t, seen[kind+" applied"], 5, seen)
		require.Greater(t, seen[kind+" conflict"], 1, seen)
	}
}

// mostAtOnce sends everything in one request.
const mostAtOnce = 500
