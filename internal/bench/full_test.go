package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	// fullUnderWay is how many orders are under way at once: enough that the machine is
	// the limit, since an order spends most of its time with the carrier. fullTills is
	// how many of them are being paid.
	fullUnderWay = 150
	fullTills    = 12
	clerks       = 4
	trolley      = 20
	fullWarmUp   = 15 * time.Second
	fullSpan     = 40 * time.Second
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
		f := newFull(s, skus)
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
		_, err := s.call(method, url, body, nil)
		require.NoError(b, err)
	}
	do("PUT", s.info.APIURL+"/v1/warehouses/SCL-1/bins/BENCH", map[string]any{"kind": "pick"})
	for _, sku := range skus {
		do("POST", s.info.APIURL+"/v1/stock/moves", map[string]any{"warehouse": "SCL-1", "sku": sku, "quantity": 100_000, "to": map[string]any{"bin": "BENCH", "status": "available"}, "reason": "adjustment"})
	}
	do("PUT", s.info.SandboxURL+"/config/bluexpress", map[string]any{"moves_ms": map[string]int{"handed_over": 300, "in_transit": 200, "out_for_delivery": 200, "delivered": 200}})
}

// full is one run of the benchmark.
type full struct {
	*stack
	skus     []string
	n        atomic.Int64
	done     atomic.Int64
	underWay chan struct{} // a place for each order that is not delivered
	paid     chan string   // shipments to pick, pack and label
	over     chan struct{} // closed when no more is to be bought
	broken   chan struct{} // closed at the first error

	mu     sync.Mutex
	sample [][2]string // an order and its shipment
	failed []error
}

func newFull(s *stack, skus []string) *full {
	return &full{stack: s, skus: skus, underWay: make(chan struct{}, fullUnderWay), paid: make(chan string, fullUnderWay), over: make(chan struct{}), broken: make(chan struct{})}
}

// fail keeps an error and ends the run: a figure that some did not work for is none.
func (f *full) fail(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed = append(f.failed, err); len(f.failed) == 1 {
		close(f.broken)
	}
}

// passes waits, and tells whether all goes on.
func (f *full) passes(wait time.Duration) bool {
	select {
	case <-f.broken:
		return false
	case <-time.After(wait):
		return true
	}
}

// run returns how many orders a second were delivered once all were at work.
func (f *full) run(b *testing.B) float64 {
	b.Helper()
	var tills, others sync.WaitGroup
	from := f.soFar(b)
	for range fullTills {
		tills.Go(func() { f.fail(f.buyers()) })
	}
	for i := range clerks {
		others.Go(func() { f.fail(f.clerk(fmt.Sprintf("clerk-%d", i))) })
	}
	others.Go(func() { f.fail(f.doorbell(from)) })
	f.passes(fullWarmUp)
	before, began := f.done.Load(), time.Now()
	f.passes(fullSpan)
	perSecond := float64(f.done.Load()-before) / time.Since(began).Seconds()
	close(f.over)
	tills.Wait()
	close(f.paid)
	others.Wait()
	require.NoError(b, errors.Join(f.failed...))
	return perSecond
}

// buyers buy and pay one thing after the other at one till, while there is room for
// another order.
func (f *full) buyers() error {
	for {
		select {
		case <-f.over:
			return nil
		case <-f.broken:
			return nil
		case f.underWay <- struct{}{}:
		}
		n := f.n.Add(1)
		c, err := f.checkout(f.skus[n%int64(len(f.skus))], n)
		if err != nil {
			return err
		}
		if err := f.approve(c); err != nil {
			return err
		}
		var o struct {
			Shipments []struct {
				ID string `json:"id"`
			} `json:"shipments"`
		}
		if _, err := f.call("GET", f.info.APIURL+"/v1/orders/"+c.ID, nil, &o); err != nil {
			return err
		}
		if len(o.Shipments) != 1 {
			return fmt.Errorf("order %s has %d shipments after its approval", c.ID, len(o.Shipments))
		}
		if n%50 == 0 {
			f.mu.Lock()
			f.sample = append(f.sample, [2]string{c.ID, o.Shipments[0].ID})
			f.mu.Unlock()
		}
		f.paid <- o.Shipments[0].ID
	}
}

type deliveries struct {
	Data  []json.RawMessage `json:"data"`
	After string            `json:"after"`
	More  bool              `json:"more"`
}

func (f *full) delivered(after string) (page deliveries, err error) {
	_, err = f.call("GET", f.info.APIURL+"/v1/events?limit=200&types=order.delivered&after="+after, nil, &page)
	return page, err
}

// soFar is where the stream of events ends now.
func (f *full) soFar(b *testing.B) string {
	b.Helper()
	for page := (deliveries{More: true}); ; {
		var err error
		page, err = f.delivered(page.After)
		require.NoError(b, err)
		if !page.More {
			return page.After
		}
	}
}

// doorbell follows the stream of events as a storefront does and counts what has
// arrived, until all has.
func (f *full) doorbell(after string) error {
	for quiet := time.Now(); ; {
		page, err := f.delivered(after)
		if err != nil {
			return err
		}
		after = page.After
		for range page.Data {
			f.done.Add(1)
			<-f.underWay
			quiet = time.Now()
		}
		select {
		case <-f.over:
			if len(f.underWay) == 0 {
				return nil
			}
		default:
		}
		if time.Since(quiet) > time.Minute {
			return fmt.Errorf("nothing was delivered for a minute, and %d orders are under way", len(f.underWay))
		}
		if !page.More && !f.passes(200*time.Millisecond) {
			return nil
		}
	}
}

// clerk picks, packs and labels what was paid, a trolley at a time, until the shop closes.
func (f *full) clerk(name string) error {
	for seq := 1; ; {
		id, open := <-f.paid
		if !open {
			return nil
		}
		ids := []string{id}
		full := time.After(400 * time.Millisecond)
		for open && len(ids) < trolley && full != nil {
			select {
			case id, open = <-f.paid:
				if open {
					ids = append(ids, id)
				}
			case <-full:
				full = nil
			}
		}
		if err := f.serve(name, ids, &seq); err != nil {
			return err
		}
	}
}

// serve is one round of a clerk.
func (f *full) serve(name string, ids []string, seq *int) error {
	var wave struct {
		Lists []struct {
			ID string `json:"id"`
		} `json:"lists"`
	}
	ok := func(path string, body, out any) error {
		_, err := f.call("POST", f.info.APIURL+path, body, out)
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
		if _, err := f.call("GET", f.info.APIURL+"/v1/pick-lists/"+l.ID, nil, &list); err != nil {
			return err
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
