package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/api"
	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/order"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/picking"
	"justlogistics/internal/warehouse/receiving"
)

const (
	scanners = 2
	// A request is as long as it may be.
	commandsEach = 500
)

// scanFloor is a warehouse in which scanners work over HTTP: SKUs S1, S2, ... lie
// in bins B1, B2, ... and none in the bins T1, T2, ...
type scanFloor struct {
	*shoptest.Shop
	url, key string
	seq      int
}

const floorSKUs = 500

func newScanFloor(b *testing.B) *scanFloor {
	b.Helper()
	s := shoptest.New(b)
	listener := httptest.NewServer(newServer(b, s))
	b.Cleanup(listener.Close)
	f := &scanFloor{Shop: s, url: listener.URL}
	s.Do(b, func(tx pgx.Tx) (err error) {
		f.key, _, err = tenant.IssueKey(b.Context(), tx, shoptest.Tenant, "scanners", []tenant.Scope{tenant.Warehouse}, nil)
		return err
	})
	s.Exec(b, `INSERT INTO products (tenant, sku, name, product, weight_grams) SELECT $1, 'S' || i, 'Producto ' || i, 'P', 300 FROM generate_series(1, $2) i`, shoptest.Tenant, floorSKUs)
	s.Exec(b, `INSERT INTO bins (tenant, warehouse, code, kind) SELECT $1, 'SCL-1', k || i, 'pick' FROM unnest(ARRAY['B','T']) k, generate_series(1, $2) i UNION ALL VALUES ($1, 'SCL-1', 'PACK', 'packing')`, shoptest.Tenant, floorSKUs)
	s.Do(b, func(tx pgx.Tx) error {
		for i := 1; i <= floorSKUs; i++ {
			m := stock.BinMovement{SKU: fmt.Sprintf("S%d", i), Warehouse: "SCL-1", Quantity: 100_000, To: stock.In(fmt.Sprintf("B%d", i), stock.Available), Reason: "receipt", By: stock.By{Person: "test"}}
			if _, err := stock.Move(b.Context(), tx, shoptest.Tenant, m); err != nil {
				return err
			}
		}
		return nil
	})
	s.Exec(b, `ANALYZE`)
	return f
}

// newServer is the API over a shop's database.
func newServer(t testing.TB, s *shoptest.Shop) http.Handler {
	t.Helper()
	ring, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	registry := gateways.New(credentials, gateways.Options{Client: httpclient.New(httpclient.Options{}), DB: s.DB})
	t.Cleanup(registry.Close)
	server, err := api.New(api.Config{MetricsHere: true, PublicURL: "https://api.example", TemporalUIURL: "https://temporal.example", Namespace: "default", CredentialKeys: ring},
		api.Deps{DB: s.DB, Temporal: &fakeTemporal{db: s.DB, runs: map[string]bool{}}, Gateways: registry, Metrics: telemetry.NewMetrics(), Logger: telemetry.Logger(io.Discard, "info")})
	require.NoError(t, err)
	t.Cleanup(func() { server.Close(context.Background()) })
	return server.Handler()
}

// command is the scanners' next one; what was scanned in it is kind's.
func (f *scanFloor) command(kind, task string, scanned map[string]any) map[string]any {
	f.seq++
	return map[string]any{"id": id.New(), "seq": f.seq, "kind": kind, "task": task, "scanned": scanned}
}

// send posts the commands of each device, all devices at once, and demands that
// every one is applied.
func (f *scanFloor) send(b *testing.B, of [][]map[string]any) {
	var g errgroup.Group
	for device, commands := range of {
		g.Go(func() error {
			for some := range slices.Chunk(commands, commandsEach) {
				if err := f.post(b.Context(), fmt.Sprintf("scanner-%d", device), some); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(b, g.Wait())
}

func (f *scanFloor) post(ctx context.Context, device string, commands []map[string]any) error {
	body, err := json.Marshal(map[string]any{"device": device, "commands": commands})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+"/v1/scans", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+f.key)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Operator", device)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	var answer struct {
		Results []struct{ Status, Code, Detail string } `json:"results"`
	}
	if err := json.NewDecoder(a.Body).Decode(&answer); err != nil {
		return err
	}
	if len(answer.Results) != len(commands) {
		return fmt.Errorf("%s: %d answers to %d commands", a.Status, len(answer.Results), len(commands))
	}
	for _, one := range answer.Results {
		if one.Status != "applied" {
			return fmt.Errorf("%s %s: %s", one.Status, one.Code, one.Detail)
		}
	}
	return nil
}

// run measures scans a second of what make returns for each device.
func (f *scanFloor) run(b *testing.B, each func() [][]map[string]any) {
	b.Helper()
	for b.Loop() {
		b.StopTimer()
		of := each()
		b.StartTimer()
		f.send(b, of)
	}
	b.ReportMetric(float64(b.N*scanners*commandsEach)/b.Elapsed().Seconds(), "scans/s")
	b.StopTimer()
	f.CheckBooks(b)
}

// moving has each device move units of its own half of the SKUs.
func (f *scanFloor) moving(kind string, scanned func(i int) map[string]any) [][]map[string]any {
	of := make([][]map[string]any, scanners)
	for device := range of {
		for n := range commandsEach {
			i := 1 + device + scanners*(n%(floorSKUs/scanners))
			of[device] = append(of[device], f.command(kind, "", scanned(i)))
		}
	}
	return of
}

// BenchmarkScans_Move has two scanners send 500 moves between bins each.
func BenchmarkScans_Move(b *testing.B) {
	f := newScanFloor(b)
	f.run(b, func() [][]map[string]any {
		return f.moving("move", func(i int) map[string]any {
			return map[string]any{"warehouse": "SCL-1", "sku": fmt.Sprintf("S%d", i), "quantity": 1, "reason": "move", "from": map[string]any{"bin": fmt.Sprintf("B%d", i)}, "to": map[string]any{"bin": fmt.Sprintf("T%d", i)}}
		})
	})
}

// BenchmarkScans_PutAway has two scanners send 500 put-aways each.
func BenchmarkScans_PutAway(b *testing.B) {
	f := newScanFloor(b)
	f.run(b, func() [][]map[string]any {
		return f.moving("put_away", func(i int) map[string]any {
			return map[string]any{"warehouse": "SCL-1", "code": fmt.Sprintf("S%d", i), "quantity": 1, "from": fmt.Sprintf("B%d", i), "to": fmt.Sprintf("T%d", i)}
		})
	})
}

// BenchmarkScans_Receive has two scanners receive a unit 500 times each, each at a
// receipt of its own.
func BenchmarkScans_Receive(b *testing.B) {
	f := newScanFloor(b)
	f.Bin(b, "SCL-1", "DOOR", "receiving")
	var receipts []string
	f.Do(b, func(tx pgx.Tx) error {
		shop, err := tenant.Get(b.Context(), tx, shoptest.Tenant)
		for range scanners {
			if err == nil {
				receipts = append(receipts, id.New())
				_, err = receiving.StartReceipt(b.Context(), tx, shop, receipts[len(receipts)-1], receiving.ReceiptInput{Warehouse: "SCL-1", Bin: "DOOR"}, stock.By{Person: "test"})
			}
		}
		return err
	})
	f.run(b, func() [][]map[string]any {
		of := make([][]map[string]any, scanners)
		for device := range of {
			for n := range commandsEach {
				sku := fmt.Sprintf("S%d", 1+device+scanners*(n%(floorSKUs/scanners)))
				of[device] = append(of[device], f.command("receive", "receipt:"+receipts[device], map[string]any{"scans": []any{map[string]any{"code": sku}}}))
			}
		}
		return of
	})
}

// BenchmarkScans_Pick has two scanners confirm 500 picks each, one a command, of
// lists of some 50 lines.
func BenchmarkScans_Pick(b *testing.B) {
	f := newScanFloor(b)
	f.run(b, func() [][]map[string]any { return f.picks(b) })
}

// picks makes a wave of orders with five lines each and walks its lists, each
// device the next one.
func (f *scanFloor) picks(b *testing.B) [][]map[string]any {
	b.Helper()
	at := 0
	f.Do(b, func(tx pgx.Tx) error {
		for range scanners * commandsEach / 5 {
			var wants []stock.Want
			for range 5 {
				wants = append(wants, stock.Want{SKU: fmt.Sprintf("S%d", 1+at%floorSKUs), Quantity: 1})
				at += 7
			}
			if err := sell(b.Context(), tx, shoptest.Tenant, wants); err != nil {
				return err
			}
		}
		return nil
	})
	f.Do(b, func(tx pgx.Tx) error {
		_, err := picking.Release(b.Context(), tx, shoptest.Tenant, picking.Wave{Warehouse: "SCL-1", By: picking.ByBatch, Trolley: batch.Load{Orders: 10}, Seed: 1, Rounds: 1, Who: stock.By{Person: "test"}})
		return err
	})
	f.Exec(b, `ANALYZE`) // as a server does that is in use for a minute
	rows, err := f.Super.Query(b.Context(), `SELECT l.list_id, l.line, a.bin, l.sku FROM pick_lines l JOIN allocations a ON a.tenant = l.tenant AND a.list_id = l.list_id AND a.line = l.line AND a.state = 'open' ORDER BY l.list_id, l.line`)
	require.NoError(b, err)
	type work struct {
		List     string
		Line     int
		Bin, SKU string
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[work])
	require.NoError(b, err)
	require.True(b, len(all) == scanners*commandsEach, "%d lines", len(all))
	of := make([][]map[string]any, scanners)
	device := 0
	for i, w := range all {
		// Whoever has done least takes the next list.
		if i > 0 && w.List != all[i-1].List && len(of[device]) > len(of[1-device]) {
			device = 1 - device
		}
		of[device] = append(of[device], f.command("pick", "pick:"+w.List, map[string]any{"to": "PACK", "picks": []any{map[string]any{"line": w.Line, "bin": w.Bin, "product": w.SKU, "quantity": 1}}}))
	}
	return of
}

// sell is a paid order.
func sell(ctx context.Context, tx pgx.Tx, tenantID string, wants []stock.Want) error {
	orderID := id.New()
	p, err := stock.Place(ctx, tx, tenantID, stock.Request{HoldID: orderID, Channel: "web", Wants: wants, Seconds: 900, Warehouses: []string{"SCL-1"}})
	if err != nil {
		return err
	}
	if _, err := stock.Confirm(ctx, tx, tenantID, orderID, orderID); err != nil {
		return err
	}
	n := order.New{ID: orderID, Number: "N-" + orderID[14:], Channel: "web", Currency: "CLP", HoldID: orderID, DispatchHours: 24}
	var held []stock.HeldLine
	for _, l := range p.Lines {
		n.Lines = append(n.Lines, order.NewLine{SKU: l.SKU, Name: l.SKU, Quantity: l.Quantity, UnitPrice: 1000, Tax: "iva"})
		held = append(held, stock.HeldLine{Line: l})
	}
	return order.Create(ctx, tx, tenantID, n, held)
}
