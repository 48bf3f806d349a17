package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// carriersPlayed are the carriers of the sandbox.
var carriersPlayed = []string{"chilexpress", "starken", "correos", "bluexpress"}

// route is how a packer sends a shipment.
type route string

const (
	byBest   route = "sent_by_the_best_carrier"
	byNamed  route = "sent_by_a_named_carrier"
	byManual route = "sent_by_manual"
)

var routes = []route{byBest, byNamed, byManual, byNamed, byBest, byNamed, byManual}

// wish is how a packer asks for a carrier's label.
type wish string

const (
	askedOnce      wish = "label_asked_once"
	askedByKey     wish = "label_asked_twice_with_one_key"
	askedAgain     wish = "label_asked_twice_without_a_key"
	twoAsked       wish = "label_asked_by_two"
	byFirstScan         = "handed_over_by_the_first_scan"
	slowerThanScan      = "said_after_the_first_scan"
)

var wishes = []wish{askedOnce, askedByKey, askedAgain, twoAsked, askedOnce}

// kindsByCarrier are what packers, carriers and support should show besides, of a run
// that goes to the door.
var kindsByCarrier = []string{string(byBest), string(byNamed), string(byManual), "rates_chosen", "sent_as_the_buyer_chose", string(askedByKey), string(askedAgain), string(twoAsked),
	byFirstScan, slowerThanScan, "unpacked_with_a_carriers_label", "unpacked_while_a_carrier_was_asked", "carrier_delivered", "carrier_delivery_failed", "carrier_lost", "carrier_returned", "labels_voided", "labels_lapsed",
	"support_parcel_lost", "support_returned_to_sender"}

// kindsOfCarrierTrouble occur only where carriers are made to fail.
var kindsOfCarrierTrouble = []string{"carrier_error_500", "carrier_timeout_after_effect", "carrier_outage", "label_was_waited_for", "support_booking_unknown", "support_no_carrier"}

// weather is how the carriers of a level of faults do: their faults, and what share of
// parcels finds nobody at home or is lost.
type weather struct {
	faults          settings
	failing, losing float64
	longOutage      time.Duration
}

var weathers = map[Faults]weather{
	NoFaults:    {failing: 0.35, losing: 0.12},
	LightFaults: {settings{LatencyMS: 40, ErrorRate: 0.03, TimeoutRate: 0.02}, 0.35, 0.12, time.Second},
	HeavyFaults: {settings{LatencyMS: 150, ErrorRate: 0.1, TimeoutRate: 0.06}, 0.45, 0.15, 15 * time.Second},
}

// depots are the carriers while the run is on: parcels move fast once a van has taken
// them, and not before.
type depots struct {
	run    *run
	before map[string]json.RawMessage
	fired  map[string]int
	out    string // who is away for a while
	stop   context.CancelFunc
	done   chan struct{}
	ended  sync.Once
	failed error
}

// openDepots sets the carriers up for the run, and makes them fail.
func (r *run) openDepots(ctx context.Context) (*depots, error) {
	d := &depots{run: r, before: map[string]json.RawMessage{}, done: make(chan struct{})}
	close(d.done)
	w := weathers[r.Faults]
	w.faults.Seed = r.Seed
	var err error
	if d.fired, err = d.count(ctx); err != nil {
		return d, err
	}
	for _, c := range carriersPlayed {
		var was json.RawMessage
		if err := r.world.want(ctx, http.MethodGet, "/config/"+c, "", &was); err != nil {
			return d, fmt.Errorf("how %s is set: %w", c, err)
		}
		d.before[c] = was
		moves := map[string]int{"handed_over": 0, "in_transit": 900, "out_for_delivery": 1400, "delivered": 1100, "delivery_failed": 1100, "returned_to_sender": 1500, "lost": 1500}
		if err := d.put(ctx, "/config/"+c, map[string]any{"moves_ms": moves, "fail_rate": w.failing, "lost_rate": w.losing, "issue_ms": 1200}); err != nil {
			return d, err
		}
		if r.Faults != NoFaults {
			if err := d.put(ctx, "/faults/"+c, w.faults); err != nil {
				return d, err
			}
		}
	}
	if r.Faults != NoFaults {
		inner, stop := context.WithCancel(ctx)
		d.stop, d.done = stop, make(chan struct{})
		d.out = carriersPlayed[rand.New(rand.NewPCG(r.Seed, 0xca11)).IntN(len(carriersPlayed))]
		go d.outage(inner, w)
	}
	return d, nil
}

func (d *depots) put(ctx context.Context, path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return d.run.world.want(ctx, http.MethodPut, path, string(raw), nil)
}

// outage takes one carrier away for a while, again and again until the faults end.
func (d *depots) outage(ctx context.Context, w weather) {
	defer close(d.done)
	for rest(ctx, 5*time.Second) == nil {
		away := w.faults
		away.Outage = true
		if err := d.put(ctx, "/faults/"+d.out, away); err != nil {
			d.failed = err
			return
		}
		if rest(ctx, w.longOutage) != nil {
			return // end clears it
		}
		if err := d.put(ctx, "/faults/"+d.out, w.faults); err != nil && ctx.Err() == nil {
			d.failed = err
			return
		}
	}
}

// clear ends the carriers' faults; parcels go on moving fast. What it can't undo is told.
func (d *depots) clear() {
	d.ended.Do(func() {
		if d.stop != nil {
			d.stop()
		}
		<-d.done
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		failed := d.failed
		for _, c := range carriersPlayed {
			if d.run.Faults != NoFaults {
				failed = errors.Join(failed, (&trouble{world: d.run.world}).clear(ctx, c))
			}
		}
		after, err := d.count(ctx)
		for kind, n := range after {
			if n > d.fired[kind] {
				d.run.shift.didMany(kind, n-d.fired[kind])
			}
		}
		if err := errors.Join(failed, err); err != nil {
			d.run.shift.trouble("unanswered", "faults of carriers: %v", err)
		}
	})
}

// close gives the carriers back as they were.
func (d *depots) close() {
	if d == nil {
		return // the shift was not begun
	}
	d.clear()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, c := range slices.Sorted(maps.Keys(d.before)) {
		if err := d.run.world.want(ctx, http.MethodPut, "/config/"+c, string(d.before[c]), nil); err != nil {
			d.run.shift.trouble("unanswered", "%s could not be set as it was: %v", c, err)
		}
	}
}

// count reads how often carriers have failed so far.
func (d *depots) count(ctx context.Context) (map[string]int, error) {
	n := map[string]int{}
	for _, c := range carriersPlayed {
		var state struct {
			Fired map[string]int `json:"fired"`
		}
		if err := d.run.world.want(ctx, http.MethodGet, "/faults/"+c, "", &state); err != nil {
			return nil, fmt.Errorf("faults of %s: %w", c, err)
		}
		for kind, fired := range state.Fired {
			if kind == "cut_before" {
				kind = "outage"
			}
			n["carrier_"+kind] += fired
		}
	}
	return n, nil
}

func (s *shift) didMany(what string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record.did[what] += n
}

// choosesARate has some buyers ask what the ways to them cost, and take one of a carrier.
func (v *visit) choosesARate(ctx context.Context) {
	if !v.run.toTheDoor() || v.buyer().N%3 != 1 {
		return
	}
	var items []map[string]any
	for _, i := range v.buyer().Items {
		items = append(items, map[string]any{"sku": v.run.sku(i.SKU), "quantity": i.Quantity})
	}
	a, err := v.shop.insist(ctx, http.MethodPost, "/v1/rates", v.key(), map[string]any{"to": map[string]any{"comuna": "Providencia", "region": "RM"}, "items": items, "warehouse": v.run.shift.north})
	if err != nil || !a.ok() {
		v.rec.Trouble = append(v.rec.Trouble, fmt.Sprintf("rates: %s %v", a, err))
		return
	}
	var found struct {
		Rates []struct {
			ID      string `json:"id"`
			Carrier string `json:"carrier"`
		} `json:"rates"`
	}
	if err := a.into(&found); err != nil {
		v.rec.Trouble = append(v.rec.Trouble, "rates: "+err.Error())
		return
	}
	rates := found.Rates[:0]
	for _, r := range found.Rates {
		if slices.Contains(carriersPlayed, r.Carrier) {
			rates = append(rates, r)
		}
	}
	if len(rates) > 0 {
		chosen := rates[v.buyer().Delay%len(rates)]
		v.rate, v.rateOf = chosen.ID, chosen.Carrier
		v.run.shift.did("rates_chosen")
	}
}

// patience is how long a packer waits for a carrier's label before somebody else gets
// the parcel: some for a moment, some until support has seen to it.
func (b *bench) patience() time.Duration {
	if b.chance(40) {
		return time.Duration(10+b.rand.IntN(15)) * time.Second
	}
	return 170 * time.Second
}

// wantLabel asks for a carrier's label, once or in one of the ways in which people ask
// twice; it is bought once.
func (b *bench) wantLabel(ctx context.Context, x shipment, c consignment) error {
	body := map[string]any{}
	if c.route == byNamed {
		body["carrier"] = c.carrier
	}
	b.note(func(c *consignment) {
		c.asked, c.patience = time.Now(), b.patience()
		c.wishes++
	})
	way := b.shift.out.wishes.deal()
	defer b.shift.did(string(way))
	switch way {
	case askedByKey:
		_, err := b.twiceByKey(ctx, body)
		return err
	case askedAgain:
		return b.twiceWithoutKey(ctx, body)
	case twoAsked:
		return b.bothWant(ctx, body)
	}
	_, err := b.advance(ctx, x, "label", body)
	return err
}

// twiceWithoutKey asks for a label twice, one after the other: the second is another wish.
func (b *bench) twiceWithoutKey(ctx context.Context, body map[string]any) error {
	path, shop := shipmentsPath+"/"+b.id+"/label", b.shift.run.shop.as(b.person)
	for range 2 {
		a, err := shop.insist(ctx, http.MethodPost, path, "", body)
		if err != nil {
			b.shift.trouble("unanswered", "%s: %v", b.person, err)
			return err
		}
		b.told("label", body, nil, b.takenOf("label", path, a), time.Now(), true)
	}
	return nil
}

// twiceByKey asks for a label twice under one key, at once.
func (b *bench) twiceByKey(ctx context.Context, body map[string]any) (taken, error) {
	path, key := shipmentsPath+"/"+b.id+"/label", b.key()
	var answers [2]answer
	var errs [2]error
	var both sync.WaitGroup
	shop := b.shift.run.shop.as(b.person)
	for i := range answers {
		both.Go(func() { answers[i], errs[i] = shop.insist(ctx, http.MethodPost, path, key, body) })
	}
	both.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		b.shift.trouble("unanswered", "%s: %v", b.person, err)
		return taken{}, err
	}
	if !answers[0].replayed && !answers[1].replayed || answers[0].status != answers[1].status {
		b.shift.trouble("command_not_once", "POST %s twice at once with one key was answered %s and %s", path, answers[0], answers[1])
	}
	a := b.takenOf("label", path, answers[0])
	b.told("label", body, nil, a, time.Now(), true)
	return a, nil
}

// bothWant has two packers ask for one shipment's label at the same moment.
func (b *bench) bothWant(ctx context.Context, body map[string]any) error {
	var answers [2]taken
	var errs [2]error
	var both sync.WaitGroup
	for i, o := range []*scanner{b.scanner, b.mate} {
		both.Go(func() { answers[i], errs[i] = o.directly(ctx, b.id, "label", body) })
	}
	both.Wait()
	heard := false
	for i, a := range answers {
		if errs[i] == nil && a.applied() {
			heard = true
			b.told("label", body, nil, a, time.Now(), true)
		}
	}
	for i, a := range answers {
		if errs[i] == nil && !heard {
			b.told("label", body, nil, a, time.Now(), true)
		}
	}
	return errors.Join(errs[:]...)
}

// waitForLabel waits a moment for a label that somebody wants. What is still missing then
// is left for later; when the packer's patience is over it is unpacked for the courier.
func (b *bench) waitForLabel(ctx context.Context, x shipment, c consignment) error {
	for range 15 {
		if err := rest(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		if !b.shift.read(ctx, shipmentsPath+"/"+b.id, &x) || x.Status != "packed" || x.Label == nil {
			return ctx.Err()
		}
	}
	if time.Since(c.asked) < c.patience {
		b.later = true
		b.shift.did("label_was_waited_for")
		return nil
	}
	a, err := b.advance(ctx, x, "unpack", map[string]any{"reason": "no carrier has answered"})
	if a.applied() {
		b.shift.did("unpacked_while_a_carrier_was_asked")
		b.note(func(c *consignment) { c.route = byManual })
	}
	return err
}

// seen notes what a carrier's label says.
func (b *bench) seen(x shipment) {
	b.note(func(c *consignment) {
		if c.status == "labelled" && c.bought == x.Carrier {
			return
		}
		c.status, c.bought, c.tracking = "labelled", x.Carrier, nil
		for _, p := range x.Parcels {
			c.tracking = append(c.tracking, p.Tracking)
		}
		if c.route == byNamed && x.Carrier != c.carrier {
			b.shift.record.troubles = append(b.shift.record.troubles, Difference{Rule: "carried_by_another", Words: fmt.Sprintf("shipment %s was to go by %s, and goes by %s", b.id, c.carrier, x.Carrier)})
		}
		switch chosen := b.shift.out.chosen[c.order]; {
		case c.route != byBest || chosen == "":
		case chosen == x.Carrier:
			b.shift.record.did["sent_as_the_buyer_chose"]++
		default:
			b.shift.record.did["fell_back_from_the_buyers_choice"]++
		}
	})
}

// plainKinds are buyers whose orders nothing stops once they are paid.
func plain(k Kind) bool {
	return !slices.Contains([]Kind{GetsAllBack, GetsAUnitBack, AsksTwice, RefundedByPanel, Disputes, PaysTwice, ClicksTwice}, k)
}

// scanHeardWithin is how long a first scan may go unheard: what a worker was asking about
// when it was killed is asked about again two minutes later, and a carrier that is away ever
// more seldom.
const scanHeardWithin = 7 * time.Minute

// byScan lets a carrier's van take parcels that nobody hands over: its first scan does.
// Now and then somebody says so after it.
func (b *bench) byScan(ctx context.Context, x shipment) error {
	loads := b.shift.lyingFor(b.id)
	// The books may have it at any moment from now on. Nobody counts packing bins before
	// all has left.
	if !b.shift.goods.pickUp(loads) {
		b.shift.trouble("packed_units_missing", "what was picked for shipment %s is not in its packing bins", b.id)
		return ctx.Err()
	}
	sent := time.Now()
	b.vanTakes(ctx, b.known())
	if b.chance(40) {
		b.dawdle(ctx, 100*time.Millisecond, 2*time.Second)
		a, err := b.directly(ctx, b.id, "handover", map[string]any{})
		if err == nil && (a.applied() || a.Code == "wrong_status") {
			b.shift.did(slowerThanScan)
		}
	}
	for wait, cancel := context.WithTimeout(ctx, scanHeardWithin); ; {
		if !b.shift.read(ctx, shipmentsPath+"/"+b.id, &x) || slices.Contains(onTheirWay, x.Status) || rest(wait, 300*time.Millisecond) != nil {
			cancel()
			break
		}
	}
	gone := slices.Contains(onTheirWay, x.Status)
	b.shift.goods.putDown(loads, gone)
	if !gone {
		b.shift.trouble("first_scan_unheard", "a carrier's van took shipment %s at %s, it is %s", b.id, sent.UTC().Format(time.RFC3339), x.Status)
		return ctx.Err()
	}
	b.shift.did(byFirstScan)
	b.note(func(c *consignment) {
		c.status, c.stopped = "handed_over", false
		c.handed++
		c.sent = sent
		for _, l := range loads {
			c.left = append(c.left, goneUnits(l))
		}
	})
	b.shift.carriedOut(b.id, loads)
	return nil
}

func goneUnits(l load) gone { return gone{*l.from, l.units} }

// vanTakes has a carrier scan the parcels, from when on they move.
func (o *scanner) vanTakes(ctx context.Context, c consignment) {
	for _, number := range c.tracking {
		for again := false; ; again = true {
			status, err := o.shift.run.world.call(ctx, http.MethodPost, "/carriers/"+url.PathEscape(number)+"/handed_over", "", nil)
			if err == nil && status < 500 {
				// A scan whose answer was lost may have taken it, and it is home by now.
				if status != http.StatusOK && !(again && status == http.StatusConflict) {
					o.shift.trouble("label_unknown_there", "the van of %s could not scan %s of shipment %s: %d", c.bought, number, c.shipment, status)
				}
				break
			}
			if rest(ctx, 500*time.Millisecond) != nil {
				return
			}
		}
	}
	o.shift.mu.Lock()
	defer o.shift.mu.Unlock()
	if now := o.shift.record.consignments[c.shipment]; now != nil {
		now.taken = true
	}
}
