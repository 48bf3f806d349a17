package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// How far a run drives its orders.
const (
	toPaid      = "paid"
	toPicked    = "picked"
	toDelivered = "delivered"
	toReturned  = "returned"
)

// floorPlan is that of the run's first warehouse: two blocks of three aisles,
// the upper level for reserve. The second has bins and no plan.
const floorPlan = `{"kind":"aisles",
  "aisles":{"count":3,"first_name":"A","first_x_mm":2000,"pitch_mm":3600,"width_mm":1500},
  "cross_aisles":{"y_mm":[0,4000,8000],"width_mm":2000},
  "racks":{"width_mm":1000,"depth_mm":1000,"levels":2,"level_height_mm":1500,"pick_levels":1},
  "zones":[{"name":"Norte","color":"#5b8def","aisles":["A","B"]},{"name":"Sur","color":"#6fae75","aisles":["C"]},{"name":"Patio"}],
  "depot":{"cross":0,"x_mm":5600}}`

// The bins that both warehouses have beside their shelves.
const (
	dock     = "RECV-1"
	cage     = "DAM-1"
	packing  = "PACK-1"
	packing2 = "PACK-2"
)

// shift is a day's work in warehouses that only this run has: goods come in and
// go from one to the other, paid orders are picked, bins are counted; and what was
// picked is packed and brought to the door, where the run goes as far as that.
type shift struct {
	run     *run
	goods   *goods
	north   string // has the plan
	south   string
	shelves map[string][]string // by warehouse: bins for goods
	hired   int
	people  []string
	roster  bool      // the tenant says what its operators may do
	last    *scanner  // who looks after what is left when no buyer comes any more
	since   time.Time // when the shift began, by this machine's clock
	// out is the way to the buyers; nil where orders are only picked.
	out *outbound

	stop     context.CancelFunc
	workers  sync.WaitGroup
	counters sync.WaitGroup
	errands  chan errand
	walking  sync.WaitGroup // lists that were released and not brought back
	closing  chan struct{}  // no more buyers come
	closed   chan struct{}  // everything is counted

	mu         sync.Mutex
	record     shiftRecord
	exceptions map[string]bool
	onList     map[onList]int // picked units of shipments on lists
	lastCount  map[string]map[spot]int
	rejected   map[string]bool
	inHand     map[string]bool // shipments that a packer has
}

// onList is where picked units of a shipment are.
type onList struct {
	list, shipment string
	at             spot
}

// shiftRecord is what the operators did and were told.
type shiftRecord struct {
	commands   map[string]map[string]int // by kind, "applied" or the refusal's code
	did        map[string]int
	troubles   []Difference
	picks      []pickedUnits
	deliveries []*delivery
	transfers  []*journey
	counts     map[string]bool // the ids of counts that were seen
	lists      []string
	waves      int
	// consignments are the shipments that were seen by packers.
	consignments map[string]*consignment
	// skipped are our references of labels that support left to lapse, refunded the
	// shipments for which it wanted the buyer to have the money back.
	skipped, refunded map[string]bool
	// returns are what buyers sent back.
	returns map[string]*sentBack
}

// pickedUnits is what an applied command picked for an order, or took back.
type pickedUnits struct {
	order, shipment, list, sku string
	at                         spot // the packing bin
	units                      int
	sent                       time.Time // when the command was sent first
}

func newShift(r *run) *shift {
	north, south := r.warehouse("N"), r.warehouse("S")
	s := &shift{run: r, since: time.Now().Add(-time.Second), goods: newGoods([]string{north, south}), north: north, south: south, shelves: map[string][]string{},
		errands: make(chan errand, 10_000), closing: make(chan struct{}), closed: make(chan struct{}),
		record:     shiftRecord{commands: map[string]map[string]int{}, did: map[string]int{}, counts: map[string]bool{}, consignments: map[string]*consignment{}, skipped: map[string]bool{}, refunded: map[string]bool{}, returns: map[string]*sentBack{}},
		exceptions: map[string]bool{}, onList: map[onList]int{}, lastCount: map[string]map[spot]int{}, rejected: map[string]bool{}, inHand: map[string]bool{}}
	if r.To == toDelivered || r.To == toReturned {
		s.out = newOutbound(r.Seed)
	}
	return s
}

func (r *run) warehouse(which string) string { return "SIM-" + r.id + "-" + which }

func (s *shift) warehouses() []string { return []string{s.north, s.south} }

// trouble notes what must not happen.
func (s *shift) trouble(rule, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record.troubles = append(s.record.troubles, Difference{Rule: rule, Words: fmt.Sprintf(format, args...)})
}

// did counts something that a shift should have shown.
func (s *shift) did(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record.did[what]++
}

func (s *shift) count(kind string, a taken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record.commands[kind] == nil {
		s.record.commands[kind] = map[string]int{}
	}
	what := a.Code
	if a.applied() {
		what = a.Status
	}
	s.record.commands[kind][what]++
}

func (s *shift) remember(exceptionID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exceptions[exceptionID] = true
}

// noted keeps what a command has picked.
func (s *shift) noted(c command, sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range c.picks {
		p.sent = sent
		s.record.picks = append(s.record.picks, p)
		s.onList[onList{p.list, p.shipment, p.at}] += p.units
	}
}

// open makes the run's warehouses and their bins, and says who works there where
// the tenant wants to know.
func (s *shift) open(ctx context.Context) error {
	shop := s.run.shop
	for i, w := range []map[string]any{{"name": "Simulation north", "region": "RM", "comuna": "Quilicura"}, {"name": "Simulation south", "region": "BI", "comuna": "Concepción"}} {
		w["position"] = 1000 + i
		if err := shop.put(ctx, "/v1/warehouses/"+s.warehouses()[i], w); err != nil {
			return err
		}
	}
	if err := shop.put(ctx, "/v1/warehouses/"+s.north+"/plan", json.RawMessage(floorPlan)); err != nil {
		return err
	}
	type place struct {
		code, kind string
		x, y       int64
	}
	stations := []place{{dock, "receiving", 2000, 0}, {packing, "packing", 5600, 0}, {packing2, "packing", 7400, 0}, {cage, "damaged", 2000, 8000}, {"QUAR-1", "quarantine", 5600, 8000}}
	for _, p := range stations {
		if err := shop.put(ctx, "/v1/warehouses/"+s.north+"/bins/"+p.code, map[string]any{"kind": p.kind, "zone": "Patio", "x_mm": p.x, "y_mm": p.y}); err != nil {
			return err
		}
		if err := shop.put(ctx, "/v1/warehouses/"+s.south+"/bins/"+p.code, map[string]any{"kind": p.kind}); err != nil {
			return err
		}
	}
	for i := range 6 {
		kind, code := "pick", fmt.Sprintf("E-%02d", i+1)
		if i == 5 {
			kind = "reserve"
		}
		if err := shop.put(ctx, "/v1/warehouses/"+s.south+"/bins/"+code, map[string]any{"kind": kind}); err != nil {
			return err
		}
	}
	for _, w := range s.warehouses() {
		for _, kind := range []string{"pick", "reserve"} {
			var page struct {
				Data []struct {
					Code string `json:"code"`
				} `json:"data"`
			}
			if err := shop.get(ctx, "/v1/warehouses/"+w+"/bins?kind="+kind+"&limit=100", &page); err != nil {
				return err
			}
			for _, b := range page.Data {
				s.shelves[w] = append(s.shelves[w], b.Code)
			}
		}
		if len(s.shelves[w]) == 0 {
			return fmt.Errorf("warehouse %s has no shelves", w)
		}
	}
	var known struct {
		Data []struct{} `json:"data"`
	}
	if err := shop.get(ctx, "/v1/operators", &known); err != nil {
		return err
	}
	s.roster = len(known.Data) > 0
	return nil
}

// allow tells a tenant that says what its operators may do of the run's, or that
// they are gone.
func (s *shift) allow(ctx context.Context, active bool) error {
	if !s.roster {
		return nil
	}
	for _, person := range s.people {
		body := map[string]any{"may": []string{"receive", "put_away", "move", "pick", "pack", "count", "transfer", "supervise"}, "active": active}
		if err := s.run.shop.put(ctx, "/v1/operators/"+url.PathEscape(person), body); err != nil {
			return err
		}
	}
	return nil
}

// spare is how many units of a SKU are there beyond what buyers may want: what is
// lost, broken or on its way is less.
const spare = 16

// furnish puts the goods there with which the shop opens: some are stocked as in
// any warehouse without bins, the others come with suppliers.
func (s *shift) furnish(ctx context.Context, shelves []shelf) error {
	coming := map[string]int{}
	for _, g := range shelves {
		inNoBin := map[string]int{s.north: g.units}
		if g.name != few.name && g.name != scarce.name {
			// Of these goods more is delivered than anybody wants.
			part := g.units / 4
			inNoBin = map[string]int{s.north: part, s.south: part}
			coming[g.name] = g.units - 2*part + spare
		}
		for _, w := range s.warehouses() {
			if inNoBin[w] == 0 {
				continue
			}
			if err := s.run.shop.put(ctx, "/v1/stock/"+s.run.sku(g.name), map[string]any{"warehouse": w, "on_hand": inNoBin[w]}); err != nil {
				return err
			}
			s.goods.stock(w, g.name, inNoBin[w])
		}
	}
	chance := rand.New(rand.NewPCG(s.run.Seed, 0x6007))
	var opening sync.WaitGroup
	for _, d := range drawDeliveries(chance, s.north, s.south, coming) {
		s.record.deliveries = append(s.record.deliveries, d)
		o := s.hire("receiver")
		if err := s.allow(ctx, true); err != nil {
			return err
		}
		opening.Go(func() { o.takeIn(ctx, d) })
	}
	opening.Wait()
	mover := s.hire("mover")
	if err := s.allow(ctx, true); err != nil {
		return err
	}
	for _, g := range []good{few, scarce, plenty[0]} {
		mover.shelve(ctx, s.north, g.name)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return nil
}

// shelve moves units that lie in no bin into one.
func (o *scanner) shelve(ctx context.Context, warehouse, sku string) {
	from := spot{warehouse, "", sku, sellable}
	n := o.shift.goods.at(from)
	if n == 0 {
		return
	}
	to := from
	to.bin = o.shift.shelves[warehouse][o.rand.IntN(len(o.shift.shelves[warehouse]))]
	n = 1 + o.rand.IntN(n)
	scanned := map[string]any{"warehouse": warehouse, "code": o.shift.run.sku(sku), "quantity": n, "from": map[string]any{"bin": ""}, "to": map[string]any{"bin": to.bin}, "reason": "put_away"}
	// What became of it is judged and counted by work.
	_, _ = o.work(ctx, warehouse, o.command("move", "", scanned, load{&from, &to, n}))
}

// begin has everybody work who works while buyers come.
func (s *shift) begin(ctx context.Context) error {
	chance := rand.New(rand.NewPCG(s.run.Seed, 0x0ad5))
	inner, stop := context.WithCancel(ctx)
	s.stop = stop
	receiver, driver, dispatcher, mishap, planner := s.hire("receiver"), s.hire("driver"), s.hire("dispatcher"), s.hire("mover"), s.hire("planner")
	var pickers, counters []*scanner
	for range 5 {
		pickers = append(pickers, s.hire("picker"))
	}
	for range 3 {
		counters = append(counters, s.hire("counter"))
	}
	supervisor := s.hire("supervisor")
	s.last = s.hire("dispatcher")
	sendOut := func(context.Context) {}
	if s.out != nil {
		var err error
		s.out.depots, err = s.run.openDepots(ctx)
		if err != nil {
			return err
		}
		sendOut = s.staff()
	}
	if err := s.allow(ctx, true); err != nil {
		return err
	}
	journeys := drawJourneys(chance, s.north, s.south)
	s.record.transfers = journeys
	more := drawMore(chance, s.north)
	s.record.deliveries = append(s.record.deliveries, more...)
	s.workers.Go(func() {
		for _, d := range more {
			receiver.dawdle(inner, 500*time.Millisecond, 2*time.Second)
			receiver.takeIn(inner, d)
		}
	})
	s.workers.Go(func() {
		for _, j := range journeys {
			driver.dawdle(inner, 300*time.Millisecond, 2*time.Second)
			driver.drive(inner, j)
		}
	})
	s.workers.Go(func() { dispatcher.dispatch(inner) })
	s.workers.Go(func() { mishap.mislay(inner) })
	s.workers.Go(func() { planner.planCounts(inner) })
	for _, p := range pickers {
		s.counters.Go(func() { p.pickLists(inner) })
	}
	for _, c := range counters {
		s.counters.Go(func() { c.countBins(inner) })
	}
	s.counters.Go(func() { supervisor.decide(inner) })
	sendOut(inner)
	return nil
}

// mislay loses units without a word to anybody, and breaks one.
func (o *scanner) mislay(ctx context.Context) {
	for i := range 4 {
		o.dawdle(ctx, time.Second, 3*time.Second)
		at := o.somewhere(o.shift.north)
		if at == nil {
			continue
		}
		door := o.shift.goods.doors[o.shift.north]
		if i < 3 {
			door.RLock()
			if o.shift.goods.lose(*at) {
				o.shift.did("units_lost")
			}
			door.RUnlock()
			continue
		}
		to := spot{o.shift.north, cage, at.sku, broken}
		c := o.command("move", "", map[string]any{"warehouse": o.shift.north, "code": o.shift.run.sku(at.sku), "quantity": 1, "from": map[string]any{"bin": at.bin},
			"to": map[string]any{"bin": cage, "status": broken}, "reason": "damage", "note": "dropped"}, load{at, &to, 1})
		if answers, err := o.work(ctx, o.shift.north, c); err == nil && answers[c.ID].applied() {
			o.shift.did("units_broken")
		}
	}
}

// somewhere is a shelf with at least two units of goods of which there are enough.
func (o *scanner) somewhere(warehouse string) *spot {
	all := slices.DeleteFunc(o.shift.goods.where(warehouse), func(s spot) bool {
		return s.sku == few.name || s.sku == scarce.name || !slices.Contains(o.shift.shelves[warehouse], s.bin) || o.shift.goods.at(s) < 2
	})
	if len(all) == 0 {
		return nil
	}
	return &all[o.rand.IntN(len(all))]
}

// close works on until nothing is left to pick, compares, and counts everything.
// No buyer comes any more, and every checkout has ended.
func (s *shift) close(ctx context.Context, e *floorEvidence) {
	defer s.abandon()
	defer func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.trouble("out_of_time", "the run's time (--timeout %s) was over before its work: what is named beside this may only have wanted more", s.run.Timeout)
		}
	}()
	s.run.say("no more buyers: everything that is paid is picked")
	close(s.closing)
	s.workers.Wait()
	err := s.pickTheRest(ctx)
	if s.out != nil {
		if err == nil {
			err = s.sendOut(ctx)
		}
		s.settleRefunds(ctx)
	}
	if err != nil {
		return
	}
	s.run.say("comparing what lies in the bins, and counting it")
	e.before, e.booked = s.compared(ctx)
	for _, w := range s.warehouses() {
		s.last.planCount(ctx, w, s.goods.bins(w), 2)
	}
	if s.counted(ctx) != nil {
		return
	}
	close(s.closed)
	s.counters.Wait()
	s.clearExceptions(ctx, s.last)
	if s.run.To == toReturned {
		s.takeBack(ctx)
	}
	e.after = s.lies(ctx)
	e.real, _ = s.goods.snapshot()
}

// pickTheRest releases waves until there is nothing left to pick.
func (s *shift) pickTheRest(ctx context.Context) error {
	for range mostWaves {
		if err := errors.Join(s.counted(ctx), s.last.clear(ctx)); err != nil {
			return err
		}
		idle, err := s.last.release(ctx, true)
		if idle || err != nil {
			return errors.Join(err, s.counted(ctx))
		}
		if err := rest(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.Join(s.last.clear(ctx), s.counted(ctx))
}

// compared reads what the API says lies where while nobody moves anything.
func (s *shift) compared(ctx context.Context) (is, booked map[spot]int) {
	for _, w := range s.warehouses() {
		s.goods.doors[w].Lock()
		defer s.goods.doors[w].Unlock()
	}
	_, booked = s.goods.snapshot()
	return s.lies(ctx), booked
}

// abandon sends everybody home: at the end, or when the run was cut short.
func (s *shift) abandon() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.workers.Wait()
	s.counters.Wait()
	s.stop = nil
	for len(s.errands) > 0 { // of a run that was cut short
		<-s.errands
		s.walking.Done()
	}
	if s.out != nil {
		s.out.abandon()
		s.out.depots.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.allow(ctx, false); err != nil {
		s.trouble("unanswered", "%v", err)
	}
}

// mostWaves bounds how often what is paid and not picked is looked for.
const mostWaves = 12

// clear waits until no list is open.
func (o *scanner) clear(ctx context.Context) error { return await(ctx, &o.shift.walking) }

// lies reads what the API says lies where.
func (s *shift) lies(ctx context.Context) map[spot]int {
	out := map[spot]int{}
	for _, g := range s.run.shelves {
		var there struct {
			Warehouses []struct {
				Warehouse string `json:"warehouse"`
				InNoBin   int    `json:"in_no_bin"`
				Bins      []struct {
					Bin      string `json:"bin"`
					Status   string `json:"status"`
					Quantity int    `json:"quantity"`
				} `json:"bins"`
			} `json:"warehouses"`
		}
		if !s.read(ctx, "/v1/stock/"+s.run.sku(g.name)+"/bins", &there) {
			return nil
		}
		for _, w := range there.Warehouses {
			out[spot{w.Warehouse, "", g.name, sellable}] += w.InNoBin
			for _, b := range w.Bins {
				out[spot{w.Warehouse, b.Bin, g.name, b.Status}] += b.Quantity
			}
		}
	}
	return out
}

// clearExceptions has a person look at what was refused. Nothing is left to book:
// the goods were put back and counted.
func (s *shift) clearExceptions(ctx context.Context, o *scanner) {
	s.mu.Lock()
	left := len(s.exceptions)
	s.mu.Unlock()
	for cursor := ""; ; {
		var page struct {
			Data []struct {
				ID     string `json:"id"`
				Device string `json:"device"`
			} `json:"data"`
			NextCursor *string `json:"next_cursor"`
		}
		if !s.read(ctx, "/v1/exceptions?status=open&limit=100"+cursor, &page) {
			return
		}
		for _, x := range page.Data {
			if !strings.HasPrefix(x.Device, "sim-"+s.run.id+"-") {
				continue
			}
			s.mu.Lock()
			known := s.exceptions[x.ID]
			s.mu.Unlock()
			if !known {
				s.trouble("exception_unknown", "exception %s of %s was told to nobody", x.ID, x.Device)
			}
			if _, ok := o.ask(ctx, "/v1/exceptions/"+x.ID+"/resolve", map[string]any{"resolution": "put back, and the bin was counted"}, nil); ok {
				left--
			}
		}
		if page.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + url.QueryEscape(*page.NextCursor)
	}
	if left != 0 {
		s.trouble("exception_missing", "%d exceptions that operators were told of are not on the list", left)
	}
}
