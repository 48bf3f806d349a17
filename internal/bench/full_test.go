package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"justlogistics/workflows"
)

const (
	// fullUnderWay is how many orders are under way at once: enough that the machine is
	// the limit, since an order spends most of its time with the carrier. fullTills is
	// how many of them are being paid.
	fullUnderWay = 150
	fullTills    = 24
	clerks       = 4
	trolley      = 20
	fullSample   = 20
	// fullWarmUp is until every connection has planned its statements: a third of the
	// database's work before that, which a system that runs for longer than minutes has
	// behind it.
	fullWarmUp = 100 * time.Second
	fullSpan   = 40 * time.Second
)

// BenchmarkFullOrders_BesideBareWorkflows takes orders from their checkout to the door, as
// many as go: buyers pay, clerks pick them in waves of twenty, pack them and ask for a
// carrier's label by their scanners, the sandbox's carrier takes and delivers them. It
// reports orders delivered a second and, in the same run, bare workflows and hollow orders
// a second, and history events and Temporal's actions of an order.
func BenchmarkFullOrders_BesideBareWorkflows(b *testing.B) {
	s := start(b)
	skus := s.stocked(b, 20)
	s.shelved(b, skus)
	bare, hollow := s.bare(b), s.hollow(b)
	for b.Loop() {
		f := newFull(s, skus)
		empty, shapes := saturate(b, 50, 8*time.Second, bare), saturate(b, 50, 12*time.Second, hollow)
		perSecond := f.run(b)
		empty, shapes = (empty+saturate(b, 50, 8*time.Second, bare))/2, (shapes+saturate(b, 50, 12*time.Second, hollow))/2
		events, actions := f.histories(b)
		b.ReportMetric(perSecond, "delivered/s")
		b.ReportMetric(empty, "bare/s")
		b.ReportMetric(shapes, "hollow/s")
		b.ReportMetric(perSecond/empty, "ratio")
		b.ReportMetric(perSecond/shapes, "of-hollow")
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
	lists    chan string   // pick lists to work through
	over     chan struct{} // closed when no more is to be bought
	home     chan struct{} // closed when all that was bought is delivered
	broken   chan struct{} // closed at the first error

	mu     sync.Mutex
	sample [][2]string // an order and its shipment
	failed []error
}

func newFull(s *stack, skus []string) *full {
	return &full{stack: s, skus: skus, underWay: make(chan struct{}, fullUnderWay), lists: make(chan string, fullUnderWay),
		over: make(chan struct{}), home: make(chan struct{}), broken: make(chan struct{})}
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
	from := f.soFar(b)
	var tills, warehouse, door sync.WaitGroup
	for range fullTills {
		tills.Go(func() { f.fail(f.buyers()) })
	}
	warehouse.Go(func() { f.fail(f.lead()) })
	for i := range clerks {
		warehouse.Go(func() { f.fail(f.clerk(fmt.Sprintf("clerk-%d", i))) })
	}
	door.Go(func() { f.fail(f.doorbell(from)) })
	f.passes(fullWarmUp)
	before, began := f.done.Load(), time.Now()
	f.passes(fullSpan)
	perSecond := float64(f.done.Load()-before) / time.Since(began).Seconds()
	close(f.over)
	tills.Wait()
	door.Wait()
	close(f.home)
	warehouse.Wait()
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
		c, _, err := f.submit(f.skus[n%int64(len(f.skus))], n)
		for err == nil && c.Status == "reserving" && f.passes(250*time.Millisecond) {
			_, err = f.call("GET", f.info.APIURL+"/v1/checkouts/"+c.ID, nil, &c)
		}
		if err == nil {
			err = f.approve(c)
		}
		if err != nil {
			return err
		}
	}
}

// lead makes waves of whatever is paid, twice a second.
func (f *full) lead() error {
	defer close(f.lists)
	for f.passes(500 * time.Millisecond) {
		select {
		case <-f.home:
			return nil
		default:
		}
		var wave struct {
			Lists []struct {
				ID string `json:"id"`
			} `json:"lists"`
		}
		status, err := f.call("POST", f.info.APIURL+"/v1/waves", map[string]any{"warehouse": "SCL-1", "by": "batch", "rounds": 1, "trolley": map[string]any{"orders": trolley}}, &wave)
		if err != nil && status != http.StatusConflict { // nothing is paid and not picked
			return err
		}
		for _, l := range wave.Lists {
			f.lists <- l.ID
		}
	}
	return nil
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

// clerk works through one list after the other: picks, packs, and asks for labels.
func (f *full) clerk(name string) error {
	seq := 1
	for list := range f.lists {
		if err := f.serve(name, list, &seq); err != nil {
			return err
		}
	}
	return nil
}

func (f *full) serve(name, listID string, seq *int) error {
	ok := func(path string, body, out any) error {
		_, err := f.call("POST", f.info.APIURL+path, body, out)
		return err
	}
	var list struct {
		Lines []struct {
			Line       int    `json:"line"`
			OrderID    string `json:"order_id"`
			ShipmentID string `json:"shipment_id"`
			SKU        string `json:"sku"`
			Quantity   int    `json:"quantity"`
		} `json:"lines"`
	}
	if _, err := f.call("GET", f.info.APIURL+"/v1/pick-lists/"+listID, nil, &list); err != nil {
		return err
	}
	var picks, commands []any
	for _, line := range list.Lines {
		picks = append(picks, map[string]any{"line": line.Line, "bin": "BENCH", "product": line.SKU, "quantity": line.Quantity})
		for _, step := range []struct {
			kind    string
			scanned any
		}{{"pack", map[string]any{"parcels": []any{map[string]any{"weight_grams": 300}}}}, {"label", map[string]any{"carrier": "bluexpress"}}} {
			commands = append(commands, map[string]any{"id": fmt.Sprintf("%s-%s-%d", name, line.ShipmentID, *seq), "seq": *seq, "kind": step.kind, "task": "shipment:" + line.ShipmentID, "scanned": step.scanned})
			*seq++
		}
		if f.mu.Lock(); len(f.sample) < fullSample && *seq%10 == 1 {
			f.sample = append(f.sample, [2]string{line.OrderID, line.ShipmentID})
		}
		f.mu.Unlock()
	}
	if err := ok("/v1/pick-lists/"+listID+"/picks", map[string]any{"to": "PACK-1", "picks": picks}, nil); err != nil {
		return err
	}
	if err := ok("/v1/pick-lists/"+listID+"/complete", nil, nil); err != nil {
		return err
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
	c := f.temporal(b)
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
