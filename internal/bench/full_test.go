package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"justlogistics/workflows"
)

const (
	// fullBuyers is how many orders are under way at once: enough that the machine is
	// the limit, since an order spends most of its time with the carrier.
	fullBuyers = 150
	clerks     = 4
	trolley    = 20
	fullSpan   = 75 * time.Second
	fullWarmUp = 25 * time.Second
)

// BenchmarkFullOrders_BesideBareWorkflows takes orders from their checkout to the door, as
// many as go: buyers pay, clerks pick them in waves of twenty, pack them and ask for a
// carrier's label by their scanners, the sandbox's carrier takes and delivers them. It
// reports orders delivered a second, bare workflows a second in the same run, and
// history events and Temporal's actions of an order.
func BenchmarkFullOrders_BesideBareWorkflows(b *testing.B) {
	s := start(b)
	skus := s.stocked(b, 20)
	s.shelved(b, skus)
	bare := s.bare(b)
	for b.Loop() {
		f := &full{stack: s, skus: skus, packed: make(chan string, 10_000)}
		empty := saturate(b, 50, 8*time.Second, bare)
		perSecond := f.run(b)
		empty = (empty + saturate(b, 50, 8*time.Second, bare)) / 2
		events, actions := f.histories(b)
		b.ReportMetric(perSecond, "delivered/s")
		b.ReportMetric(empty, "bare/s")
		b.ReportMetric(perSecond/empty, "ratio")
		b.ReportMetric(events, "events/order")
		b.ReportMetric(actions, "actions/order")
	}
}

// shelved puts the stock into one bin and lets the sandbox's carrier hurry.
func (s *stack) shelved(b *testing.B, skus []string) {
	b.Helper()
	do := func(method, url string, body any) {
		b.Helper()
		status, err := s.call(method, url, body, nil)
		require.NoError(b, err)
		require.Less(b, status, 300, url)
	}
	do("PUT", s.info.APIURL+"/v1/warehouses/SCL-1/bins/BENCH", map[string]any{"kind": "pick"})
	for _, sku := range skus {
		do("POST", s.info.APIURL+"/v1/stock/moves", map[string]any{"warehouse": "SCL-1", "sku": sku, "quantity": 1_000_000, "to": map[string]any{"bin": "BENCH"}, "reason": "put_away"})
	}
	do("PUT", s.info.SandboxURL+"/config/bluexpress", map[string]any{"moves_ms": map[string]int{"handed_over": 300, "in_transit": 200, "out_for_delivery": 200, "delivered": 200}})
}

// full is one run of the benchmark.
type full struct {
	*stack
	skus   []string
	packed chan string // shipments to pick and pack
	n      atomic.Int64
	done   atomic.Int64
	over   atomic.Bool

	mu     sync.Mutex
	sample [][2]string // an order and its shipment
	failed []error
}

func (f *full) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, err)
}

// run returns how many orders a second were delivered once all were at work.
func (f *full) run(b *testing.B) float64 {
	b.Helper()
	var buyers, warehouse sync.WaitGroup
	stop := make(chan struct{})
	for i := range clerks {
		warehouse.Go(func() { f.clerk(stop, fmt.Sprintf("clerk-%d", i)) })
	}
	for range fullBuyers {
		buyers.Go(func() {
			for !f.over.Load() {
				if err := f.order(); err != nil {
					f.fail(err)
					return
				}
			}
		})
	}
	time.Sleep(fullWarmUp)
	before, began := f.done.Load(), time.Now()
	time.Sleep(fullSpan - fullWarmUp)
	perSecond := float64(f.done.Load()-before) / time.Since(began).Seconds()
	f.over.Store(true)
	buyers.Wait()
	close(stop)
	warehouse.Wait()
	require.NoError(b, errors.Join(f.failed...))
	return perSecond
}

// order buys one thing and waits for it.
func (f *full) order() error {
	n := f.n.Add(1)
	c, err := f.checkout(f.skus[n%int64(len(f.skus))], n)
	if err != nil {
		return err
	}
	if err := f.approve(c); err != nil {
		return err
	}
	for sent, until := false, time.Now().Add(2*time.Minute); ; {
		var o struct {
			Status    string `json:"status"`
			Shipments []struct {
				ID string `json:"id"`
			} `json:"shipments"`
		}
		if _, err := f.call("GET", f.info.APIURL+"/v1/orders/"+c.ID, nil, &o); err != nil {
			return err
		}
		if len(o.Shipments) == 1 && !sent {
			sent = true
			f.packed <- o.Shipments[0].ID
			if n%50 == 0 {
				f.mu.Lock()
				f.sample = append(f.sample, [2]string{c.ID, o.Shipments[0].ID})
				f.mu.Unlock()
			}
		}
		if o.Status == "delivered" {
			f.done.Add(1)
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("order %s is still %q", c.ID, o.Status)
		}
		time.Sleep(time.Second)
	}
}

// clerk picks, packs and labels what was paid, a trolley at a time.
func (f *full) clerk(stop chan struct{}, name string) {
	for seq := 1; ; {
		var ids []string
		select {
		case <-stop:
			return
		case id := <-f.packed:
			ids = append(ids, id)
		}
		full := time.After(400 * time.Millisecond)
		for len(ids) < trolley && full != nil {
			select {
			case id := <-f.packed:
				ids = append(ids, id)
			case <-full:
				full = nil
			}
		}
		if err := f.serve(name, ids, &seq); err != nil {
			f.fail(err)
			return
		}
	}
}

func (f *full) serve(name string, ids []string, seq *int) error {
	var wave struct {
		Lists []struct {
			ID string `json:"id"`
		} `json:"lists"`
	}
	ok := func(path string, body, out any) error {
		status, err := f.call("POST", f.info.APIURL+path, body, out)
		if err == nil && status >= 300 {
			err = fmt.Errorf("POST %s answered %d", path, status)
		}
		return err
	}
	if err := ok("/v1/waves", map[string]any{"warehouse": "SCL-1", "by": "batch", "shipment_ids": ids, "rounds": 1}, &wave); err != nil {
		return err
	}
	for _, l := range wave.Lists {
		var list struct {
			Lines []struct {
				Line     int    `json:"line"`
				SKU      string `json:"sku"`
				Quantity int    `json:"quantity"`
			} `json:"lines"`
		}
		if status, err := f.call("GET", f.info.APIURL+"/v1/pick-lists/"+l.ID, nil, &list); err != nil || status != http.StatusOK {
			return fmt.Errorf("pick list %s: %d %w", l.ID, status, err)
		}
		var picks []any
		for _, line := range list.Lines {
			picks = append(picks, map[string]any{"line": line.Line, "bin": "BENCH", "product": line.SKU, "quantity": line.Quantity})
		}
		if err := ok("/v1/pick-lists/"+l.ID+"/picks", map[string]any{"to": "PACK-1", "picks": picks}, nil); err != nil {
			return err
		}
		if err := ok("/v1/pick-lists/"+l.ID+"/complete", nil, nil); err != nil {
			return err
		}
	}
	var commands []any
	for _, id := range ids {
		for _, step := range []struct {
			kind    string
			scanned any
		}{{"pack", map[string]any{"parcels": []any{map[string]any{"weight_grams": 300}}}}, {"label", map[string]any{"carrier": "bluexpress"}}} {
			commands = append(commands, map[string]any{"id": fmt.Sprintf("%s-%s-%d", name, id, *seq), "seq": *seq, "kind": step.kind, "task": "shipment:" + id, "scanned": step.scanned})
			*seq++
		}
	}
	var answers struct {
		Results []struct {
			Status string `json:"status"`
			Code   string `json:"code"`
		} `json:"results"`
	}
	if err := ok("/v1/scans", map[string]any{"device": name, "commands": commands}, &answers); err != nil {
		return err
	}
	for _, a := range answers.Results {
		if a.Status != "applied" {
			return fmt.Errorf("a scan was %s (%s)", a.Status, a.Code)
		}
	}
	return nil
}

// histories are the events, and what Temporal counts as actions, of an order's runs, on
// average over the sample. Actions are those of
// https://docs.temporal.io/cloud/actions: starts, timers, activities, signals, updates,
// markers of local activities (one for each workflow task that has some) and changes of
// search attributes.
func (f *full) histories(b *testing.B) (events, actions float64) {
	b.Helper()
	c, err := client.Dial(client.Options{HostPort: f.info.TemporalAddress, Namespace: f.info.TemporalNamespace})
	require.NoError(b, err)
	defer c.Close()
	require.NotEmpty(b, f.sample)
	for _, at := range f.sample {
		for _, run := range []string{workflows.ID(workflows.KindCheckout, f.info.Tenant, at[0]), workflows.ID(workflows.KindFulfillment, f.info.Tenant, at[1])} {
			task := int64(0)
			for iter := c.GetWorkflowHistory(context.Background(), run, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); iter.HasNext(); {
				e, err := iter.Next()
				require.NoError(b, err)
				events++
				switch e.GetEventType() {
				case enumspb.EVENT_TYPE_MARKER_RECORDED:
					if id := e.GetMarkerRecordedEventAttributes().GetWorkflowTaskCompletedEventId(); id != task {
						task = id
						actions++
					}
				case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, enumspb.EVENT_TYPE_TIMER_STARTED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
					enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
					actions++
				}
			}
		}
	}
	n := float64(len(f.sample))
	return events / n, actions / n
}
