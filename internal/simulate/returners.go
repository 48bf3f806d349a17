package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// comeback is how somebody sends goods back.
type comeback string

const (
	byLabel      comeback = "back_by_the_shops_label" // faulty: a label comes with the approval
	byPaidLabel  comeback = "back_by_a_label_the_buyer_pays"
	byThemselves comeback = "back_by_their_own_means"
	brokenBack   comeback = "back_broken"
	wrongThing   comeback = "back_another_thing"
	inPart       comeback = "back_in_part"
	inTwoParcels comeback = "back_in_two_parcels"
	neverSent    comeback = "back_never_sent"
	sentLate     comeback = "back_after_it_expired"
	givenUp      comeback = "back_given_up"
	askedForBoth comeback = "back_asked_twice_at_once"
	corrected    comeback = "back_inspected_wrong_and_corrected"
	decided      comeback = "back_decided_by_a_person"
	labelUnused  comeback = "back_without_the_label"
)

// comebacks have each kind in them as often as a run should show it.
var comebacks = []comeback{byLabel, byThemselves, byPaidLabel, brokenBack, wrongThing, inPart, inTwoParcels, neverSent, sentLate, givenUp, askedForBoth, corrected, decided, labelUnused, byLabel, byPaidLabel, byThemselves}

// kindsOfReturn are what buyers and the bench for returns should show, of a run that goes
// that far.
var kindsOfReturn = []string{string(byLabel), string(byPaidLabel), string(byThemselves), string(brokenBack), string(wrongThing), string(inPart), string(inTwoParcels), string(neverSent), string(sentLate), string(givenUp),
	string(askedForBoth), string(corrected), string(decided), string(labelUnused), "scanned_back_by_a_carrier", "return_rejected", "return_said_twice"}

// sentBack is a return of the run and what must come of it.
type sentBack struct {
	rec    *Record
	order  order
	kind   comeback
	line   int
	units  int
	reason string
	bin    string // where what can be sold is put

	id, number, warehouse string
	// arrived units earn their money, less deducted of all of them.
	arrived  int
	deducted int64
	// ends are the statuses in which it may end.
	ends []string
	// doubted: the provider cannot be asked what became of its refund.
	doubted bool
	found   *returned
}

// returned is a return as the API has it.
type returned struct {
	ID        string `json:"id"`
	Number    string `json:"number"`
	Status    string `json:"status"`
	Warehouse string `json:"warehouse"`
	Refunded  int64  `json:"refunded"`
	FreightBy string `json:"freight_by"`
	Units     []struct {
		Came        string `json:"came"`
		Disposition string `json:"disposition"`
		Paid        int64  `json:"paid"`
		Deducted    int64  `json:"deducted"`
		Unit        int    `json:"unit"`
	} `json:"units"`
	Label *struct {
		Carrier   string `json:"carrier"`
		NotBooked string `json:"not_booked"`
		Fee       int64  `json:"fee"`
	} `json:"label"`
	Parcels []struct {
		Tracking string `json:"tracking"`
		State    string `json:"state"`
	} `json:"parcels"`
	RefundIDs []string   `json:"refund_ids"`
	ArrivedAt *time.Time `json:"arrived_at"`
}

const returnsPath = "/v1/returns"

// takeBack has a share of what was delivered come back: buyers ask, carriers bring it,
// people at the bench look at it, support decides, while providers fail again. Nobody
// counts meanwhile.
func (s *shift) takeBack(ctx context.Context) {
	list := s.drawReturns(ctx)
	if len(list) == 0 {
		s.trouble("nothing_came_back", "no order that was delivered could come back")
		return
	}
	s.run.say("%d buyers send things back", len(list))
	clear, err := s.failAgain(ctx)
	if err != nil {
		s.trouble("unanswered", "faults: %v", err)
	}
	var people []*scanner
	for range 4 {
		people = append(people, s.hire("returns"))
	}
	supporter := s.hire("supporter")
	if err := s.allow(ctx, true); err != nil {
		s.trouble("unanswered", "%v", err)
	}
	work := make(chan *sentBack, len(list))
	for _, b := range list {
		work <- b
	}
	close(work)
	var all, desk sync.WaitGroup
	over := make(chan struct{})
	desk.Go(func() { supporter.cure(ctx, over, stuck.returned) })
	for _, o := range people {
		all.Go(func() {
			for b := range work {
				if ctx.Err() == nil {
					o.sendBack(ctx, b)
				}
			}
		})
	}
	all.Wait()
	clear()
	s.run.say("faults are cleared, waiting for every return to end")
	s.awaitReturns(ctx, list)
	close(over)
	desk.Wait()
}

// drawReturns chooses who sends back, and how. It needs orders that came home whole and of
// whose money nothing has gone back, so that what must go back is known.
func (s *shift) drawReturns(ctx context.Context) []*sentBack {
	chance := rand.New(rand.NewPCG(s.run.Seed, 0x2e7a))
	kinds := newDeck(s.run.Seed, 0x2e7b, comebacks)
	var list []*sentBack
	for _, r := range s.run.records {
		if r.order == nil || !plain(r.Buyer.Kind) || len(r.Refunds) > 0 || r.Panel > 0 || r.Dispute != "" || len(r.Doubted) > 0 {
			continue
		}
		if chance.Float64() >= s.run.ReturnRate {
			continue
		}
		var o order
		if !s.read(ctx, "/v1/orders/"+r.order.ID, &o) || !o.cameHome() {
			continue
		}
		b := &sentBack{rec: r, order: o, kind: kinds.deal(), line: chance.IntN(len(o.Lines))}
		b.units = 1 + chance.IntN(o.Lines[b.line].Quantity)
		switch b.kind {
		case inPart, inTwoParcels:
			i := o.severalOf()
			if i < 0 {
				b.kind = byThemselves
				break
			}
			b.line, b.units = i, o.Lines[i].Quantity
		case askedForBoth:
			b.units = o.Lines[b.line].Quantity
		case neverSent, sentLate:
			if s.run.Later == nil { // nobody can wait that long
				b.kind = byThemselves
			}
		}
		b.reason = "changed_mind"
		switch b.kind {
		case byLabel, labelUnused:
			b.reason = "defective"
		case neverSent:
			b.reason = "damaged"
		case decided:
			b.reason = "not_as_described"
		}
		list = append(list, b)
	}
	return list
}

// cameHome: all of it was delivered, and none of its money has gone back.
func (o order) cameHome() bool {
	for _, s := range o.Shipments {
		if s.Status != "delivered" {
			return false
		}
	}
	return o.Status == "delivered" && len(o.Refunds) == 0
}

// severalOf is the first line with more than one unit, -1 where there is none.
func (o order) severalOf() int {
	for i, l := range o.Lines {
		if l.Quantity > 1 {
			return i
		}
	}
	return -1
}

// failAgain makes gateways and carriers fail until clear is called.
func (s *shift) failAgain(ctx context.Context) (clear func(), err error) {
	if s.run.Faults == NoFaults {
		return func() {}, nil
	}
	t, err := s.run.world.begin(ctx, s.run.Faults, s.run.Gateways, s.run.Seed+1, 40*time.Second)
	if t == nil {
		return func() {}, err
	}
	w := weathers[s.run.Faults]
	w.faults.Seed = s.run.Seed + 1
	for _, c := range carriersPlayed {
		err = errors.Join(err, s.out.depots.put(ctx, "/faults/"+c, w.faults))
	}
	return func() {
		_, failed := t.end(ctx)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		for _, c := range carriersPlayed {
			failed = errors.Join(failed, (&trouble{world: s.run.world}).clear(last, c))
		}
		if failed != nil {
			s.trouble("unanswered", "faults: %v", failed)
		}
	}, err
}

// sendBack takes a return from the request to what its kind has for it.
func (o *scanner) sendBack(ctx context.Context, b *sentBack) {
	if !o.asks(ctx, b) {
		return
	}
	o.shift.did(string(b.kind))
	switch b.kind {
	case decided:
		if !o.decides(ctx, b) {
			return
		}
	case neverSent:
		b.ends = []string{"expired"}
		o.expires(ctx, b)
		return
	case givenUp:
		if o.steps(ctx, b, "/cancel", map[string]any{"reason": "keeps it"}) {
			b.ends = []string{"cancelled"}
		}
		return
	case sentLate:
		if !o.expires(ctx, b) {
			return
		}
	}
	switch b.kind {
	case byLabel, byPaidLabel:
		if !o.byVan(ctx, b) {
			return
		}
	case labelUnused:
		o.labelOf(ctx, b) // and is not stuck on the parcel
	case byThemselves, corrected:
		o.steps(ctx, b, "/sent", map[string]any{"carrier": "a neighbour"})
	}
	o.opens(ctx, b)
}

// asks begins the return, where its money can go as it came.
func (o *scanner) asks(ctx context.Context, b *sentBack) bool {
	line := b.order.Lines[b.line]
	body := map[string]any{"order_id": b.order.ID, "lines": []map[string]any{{"line_id": line.LineID, "quantity": b.units, "reason": b.reason}}}
	var verdict struct {
		Eligible bool     `json:"eligible"`
		Refunds  []string `json:"refunds"`
	}
	if _, ok := o.ask(ctx, returnsPath+"/eligibility", body, &verdict); !ok {
		return false
	}
	if !verdict.Eligible {
		o.shift.trouble("not_eligible", "%d of order %s were delivered just now, and can't come back", b.units, b.order.ID)
		return false
	}
	if !slices.Contains(verdict.Refunds, "original") {
		o.shift.did("returns_that_no_gateway_pays_in_part")
		return false
	}
	var made returned
	if b.kind == askedForBoth {
		if !o.bothAsk(ctx, b, body, &made) {
			return false
		}
	} else if _, ok := o.ask(ctx, returnsPath, body, &made); !ok {
		return false
	}
	b.id, b.number, b.warehouse = made.ID, made.Number, made.Warehouse
	o.shift.mu.Lock()
	o.shift.record.returns[b.id] = b
	o.shift.mu.Unlock()
	shelves := o.shift.shelves[b.warehouse]
	if len(shelves) == 0 {
		o.shift.trouble("comes_back_elsewhere", "return %s of order %s goes to %s", b.id, b.order.ID, b.warehouse)
		return false
	}
	b.bin = shelves[o.rand.IntN(len(shelves))]
	return true
}

// bothAsk has the same units asked for twice at once: one of the two has them.
func (o *scanner) bothAsk(ctx context.Context, b *sentBack, body map[string]any, made *returned) bool {
	var both sync.WaitGroup
	var answers [2]answer
	var errs [2]error
	keys := []string{o.key(), o.key()}
	for i := range answers {
		both.Go(func() {
			answers[i], errs[i] = o.shift.run.shop.insist(ctx, http.MethodPost, returnsPath, keys[i], body)
		})
	}
	both.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		o.shift.trouble("unanswered", "%s: %v", o.person, err)
		return false
	}
	won := 0
	for _, a := range answers {
		switch {
		case a.ok():
			won++
			if err := a.into(made); err != nil {
				o.shift.trouble("unexpected_answer", "POST %s: %v", returnsPath, err)
			}
		case a.problem.Code != "not_eligible" && a.problem.Code != "unit_in_another_return":
			o.shift.trouble("unexpected_answer", "POST %s by two at once: %s", returnsPath, a)
		}
	}
	if won != 1 {
		o.shift.trouble("units_in_two_returns", "the same %d units of order %s were asked for twice at once, and %d returns have them", b.units, b.order.ID, won)
	}
	return won == 1
}

// steps does a step of a return, now and then twice under one key.
func (o *scanner) steps(ctx context.Context, b *sentBack, step string, body map[string]any, codes ...string) bool {
	path, key := returnsPath+"/"+b.id+step, o.key()
	twice := 1
	if o.chance(25) {
		twice = 2
		o.shift.did("return_said_twice")
	}
	var a answer
	for range twice {
		var err error
		if a, err = o.shift.run.shop.as(o.person).insist(ctx, http.MethodPost, path, key, body); err != nil {
			o.shift.trouble("unanswered", "%s: %v", o.person, err)
			return false
		}
	}
	if !a.ok() && !slices.Contains(codes, a.problem.Code) {
		o.shift.trouble("unexpected_answer", "POST %s by %s: %s", path, o.person, a)
	}
	return a.ok()
}

// decides has support let it in, or not.
func (o *scanner) decides(ctx context.Context, b *sentBack) bool {
	if o.chance(70) {
		return o.steps(ctx, b, "/approve", map[string]any{})
	}
	if o.steps(ctx, b, "/reject", map[string]any{"reason": "it is as it was described"}) {
		b.ends = []string{"rejected"}
		o.shift.did("return_rejected")
	}
	return false
}

// expires lets the time go by in which it was to be sent.
func (o *scanner) expires(ctx context.Context, b *sentBack) bool {
	if b.kind == neverSent {
		o.labelOf(ctx, b)
	}
	for wait, cancel := context.WithTimeout(ctx, 3*time.Minute); ; {
		if err := o.shift.run.Later(ctx, b.id); err != nil {
			o.shift.trouble("unanswered", "the time of return %s: %v", b.id, err)
		}
		var now returned
		if o.shift.read(ctx, returnsPath+"/"+b.id, &now) && now.Status == "expired" {
			cancel()
			return true
		}
		if rest(wait, 2*time.Second) != nil {
			cancel()
			o.shift.trouble("never_expires", "return %s was to be sent long ago, and is %s", b.id, now.Status)
			return false
		}
	}
}

// labelOf waits until the buyer has a label, or nobody makes one.
func (o *scanner) labelOf(ctx context.Context, b *sentBack) (now returned, labelled bool) {
	for wait, cancel := context.WithTimeout(ctx, 4*time.Minute); ; {
		if !o.shift.read(ctx, returnsPath+"/"+b.id, &now) || now.Status != "approved" || now.Label == nil || rest(wait, 400*time.Millisecond) != nil {
			cancel()
			break
		}
	}
	if now.Status == "label_issued" {
		return now, true
	}
	o.shift.did("return_sent_without_a_label")
	return now, false
}

// byVan has a carrier take the parcel by the shop's label, and waits for its end.
func (o *scanner) byVan(ctx context.Context, b *sentBack) bool {
	if b.kind == byPaidLabel && !o.steps(ctx, b, "/label", map[string]any{}) {
		return true // it is brought by hand
	}
	now, labelled := o.labelOf(ctx, b)
	if !labelled {
		return true
	}
	for _, p := range now.Parcels {
		for again := false; ; again = true {
			status, err := o.shift.run.world.call(ctx, http.MethodPost, "/carriers/"+url.PathEscape(p.Tracking)+"/handed_over", "", nil)
			if err == nil && status < 500 {
				if status != http.StatusOK && !(again && status == http.StatusConflict) {
					o.shift.trouble("label_unknown_there", "the van of %s could not scan %s of return %s: %d", now.Label.Carrier, p.Tracking, b.id, status)
				}
				break
			}
			if rest(ctx, 500*time.Millisecond) != nil {
				return false
			}
		}
	}
	o.shift.did("scanned_back_by_a_carrier")
	for wait, cancel := context.WithTimeout(ctx, 3*time.Minute); ; {
		if !o.shift.read(ctx, returnsPath+"/"+b.id, &now) || now.ArrivedAt != nil || now.Status != "label_issued" && now.Status != "in_transit" {
			cancel()
			break
		}
		if gone, there := o.carrierIsDone(ctx, now); gone && rest(wait, 3*time.Second) == nil {
			// What the carrier has no word for stays on its way: the shop gives it up.
			if there == "" && o.stillUnderWay(ctx, b) && o.steps(ctx, b, "/cancel", map[string]any{"reason": "the carrier has lost it"}, "wrong_status") {
				o.shift.did("return_lost_without_a_word")
				b.ends = []string{"cancelled"}
				cancel()
				return false
			}
		}
		if rest(wait, 700*time.Millisecond) != nil {
			cancel()
			o.shift.trouble("return_not_followed", "return %s (%s) never came, it is %s", b.id, now.Parcels[0].Tracking, now.Status)
			return false
		}
	}
	if now.ArrivedAt != nil {
		return true
	}
	// Support has said what became of it: see cure.
	b.ends = []string{"closed"}
	for _, u := range now.Units {
		if u.Came == "lost" {
			b.arrived++
		}
	}
	return false
}

// carrierIsDone reports whether the carrier moves a return's parcels no more; there is what
// the API can know of it, "" when the carrier has no word for that.
func (o *scanner) carrierIsDone(ctx context.Context, now returned) (done bool, there string) {
	panel, err := o.shift.run.world.labels(ctx, o.shift.since)
	if err != nil {
		return false, ""
	}
	all := byNumber(panel)
	var ends []label
	for _, p := range now.Parcels {
		if l, is := all[numbered{now.Label.Carrier, p.Tracking}]; is && l.over() {
			ends = append(ends, l)
		}
	}
	if len(ends) != len(now.Parcels) || len(ends) == 0 {
		return false, ""
	}
	must := said(now.Label.Carrier, ends)
	if slices.ContainsFunc(must, func(m string) bool { return m == "in_transit" || m == "delivery_failed" }) {
		return true, ""
	}
	return true, strings.Join(must, " ")
}

func (o *scanner) stillUnderWay(ctx context.Context, b *sentBack) bool {
	var now returned
	return o.shift.read(ctx, returnsPath+"/"+b.id, &now) && now.ArrivedAt == nil && now.Status == "in_transit"
}

// opens has somebody open the parcel and look at what is in it.
func (o *scanner) opens(ctx context.Context, b *sentBack) {
	line := b.order.Lines[b.line].LineID
	came := func(n int, what string) map[string]any {
		return map[string]any{"line_id": line, "quantity": n, "came": what}
	}
	body := map[string]any{}
	here := b.units
	switch b.kind {
	case wrongThing:
		here = 0
		body["lines"] = []any{came(b.units, "wrong_item")}
		if o.chance(50) {
			body["extras"] = []any{map[string]any{"what": "a blue cup", "quantity": 1}}
		}
	case inPart:
		here = b.units - 1
		body["lines"], body["rest_missing"] = []any{came(here, "arrived")}, true
	case inTwoParcels:
		if !o.steps(ctx, b, "/receive", map[string]any{"lines": []any{came(1, "arrived")}}) {
			return
		}
		body["lines"] = []any{came(b.units-1, "arrived")}
	default:
		body["lines"] = []any{came(b.units, "arrived")}
	}
	if !o.steps(ctx, b, "/receive", body) {
		return
	}
	b.ends, b.arrived = []string{"closed"}, here
	if here == 0 {
		return // support settles it
	}
	o.dawdle(ctx, 50*time.Millisecond, time.Second)
	unit := map[string]any{"line_id": line, "quantity": here, "grade": "A", "disposition": "restock", "bin": b.bin}
	paid := o.paidFor(ctx, b)
	switch b.kind {
	case brokenBack:
		unit["grade"], unit["disposition"] = "D", "scrap"
		delete(unit, "bin")
		fallthrough
	case corrected:
		if off := paid / 4; off > 0 {
			unit["deducted"], unit["deduction"] = off, "scratched"
			b.deducted = off * int64(here)
		}
	}
	if !o.steps(ctx, b, "/inspect", map[string]any{"units": []any{unit}}) {
		return
	}
	if unit["disposition"] == "restock" {
		at := spot{b.warehouse, b.bin, o.shift.run.name(b.order.Lines[b.line].SKU), sellable}
		o.shift.goods.putDown([]load{{nil, &at, here}}, true)
		o.shift.goods.came(at.sku, here)
	}
	if b.kind == corrected && b.deducted > 0 {
		o.corrects(ctx, b)
	}
}

// paidFor is what the cheapest of the units that came has cost.
func (o *scanner) paidFor(ctx context.Context, b *sentBack) int64 {
	var now returned
	least := int64(0)
	if o.shift.read(ctx, returnsPath+"/"+b.id, &now) {
		for i, u := range now.Units {
			if i == 0 || u.Paid < least {
				least = u.Paid
			}
		}
	}
	return least
}

// corrects has a supervisor find that nothing was scratched, often when the money has gone.
func (o *scanner) corrects(ctx context.Context, b *sentBack) {
	o.dawdle(ctx, 100*time.Millisecond, 6*time.Second)
	var now returned
	if !o.shift.read(ctx, returnsPath+"/"+b.id, &now) {
		return
	}
	var units []int
	for _, u := range now.Units {
		if u.Disposition != "" {
			units = append(units, u.Unit)
		}
	}
	unit := map[string]any{"line_id": b.order.Lines[b.line].LineID, "correct": units, "grade": "A", "disposition": "restock", "bin": b.bin}
	if o.steps(ctx, b, "/inspect", map[string]any{"units": []any{unit}}) {
		b.deducted = 0
	}
}

// returned is whose run a line of the support list is about; empty: it is no parked case
// of a return's.
func (c stuck) returned() string { return c.runOf("return") }

// returnsTakeAtMost bounds how long the ends of returns are waited for.
const returnsTakeAtMost = 4 * time.Minute

// awaitReturns waits until each return has an end and its labels are settled, and books
// their refunds with what was asked for. What has not come about by then is a difference.
func (s *shift) awaitReturns(ctx context.Context, list []*sentBack) {
	patience, cancel := context.WithTimeout(ctx, returnsTakeAtMost)
	defer cancel()
	for rest(patience, time.Second) == nil {
		open := 0
		for _, b := range list {
			if b.id != "" && !s.hasEnded(patience, b) {
				open++
			}
		}
		e := &floorEvidence{}
		s.findShipments(patience, e)
		s.findLabels(patience, e)
		s.mu.Lock()
		e.record = s.record
		if e.labels == nil || e.shipments == nil {
			open++
		} else {
			evidence{floor: e}.carriersRight(func(string, string, ...any) { open++ })
		}
		s.mu.Unlock()
		if open == 0 {
			return
		}
	}
}

// hasEnded reads a return and its refunds.
func (s *shift) hasEnded(ctx context.Context, b *sentBack) bool {
	var now returned
	if !s.read(ctx, returnsPath+"/"+b.id, &now) {
		return false
	}
	b.found = &now
	for _, id := range now.RefundIDs {
		if !slices.ContainsFunc(b.rec.Refunds, func(a AskedRefund) bool { return a.ID == id }) {
			b.rec.Refunds = append(b.rec.Refunds, AskedRefund{ID: id, Status: "pending"})
		}
	}
	done, err := s.run.refunds(ctx, b.rec)
	if err != nil || !done {
		return false
	}
	for _, a := range b.rec.Refunds {
		b.doubted = b.doubted || a.InDoubt
	}
	return b.doubted || slices.Contains(b.ends, now.Status) && (now.Status != "closed" || now.Refunded >= b.owed())
}

// owed is what must have gone back for a return that is closed, by what came of it.
func (b *sentBack) owed() int64 {
	if b.found == nil {
		return 0
	}
	var sum, fee int64
	for _, u := range b.found.Units {
		if u.Came == "arrived" || u.Came == "lost" {
			sum += u.Paid - u.Deducted
		}
	}
	if b.found.Label != nil {
		fee = b.found.Label.Fee
	}
	if sum > 0 && b.whole() {
		sum += b.order.Totals.Shipping
	}
	return max(0, sum-fee)
}

// whole: all of the order came back.
func (b *sentBack) whole() bool {
	units := 0
	for _, l := range b.order.Lines {
		units += l.Quantity
	}
	came := 0
	for _, u := range b.found.Units {
		if u.Came == "arrived" || u.Came == "lost" {
			came++
		}
	}
	return came == units
}

// cameBackRight applies every rule about returns.
func (f floorEvidence) cameBackRight(say sayFunc) {
	for _, b := range f.record.returns {
		switch {
		case b.found == nil:
			say("return_unknown", "return %s of order %s could not be read", b.id, b.order.ID)
			continue
		case b.doubted:
			continue // a person looks into the provider's panel
		case !slices.Contains(b.ends, b.found.Status):
			say("return_not_ended", "return %s (%s) of order %s is %s, and should be %s", b.id, b.kind, b.order.ID, b.found.Status, strings.Join(b.ends, " or "))
			continue
		}
		came, deducted := 0, int64(0)
		for _, u := range b.found.Units {
			if u.Came == "arrived" || u.Came == "lost" {
				came++
			}
			deducted += u.Deducted
		}
		if came != b.arrived || deducted != b.deducted {
			say("return_differs", "of return %s (%s) %d units came and %d were deducted, the API says %d and %d", b.id, b.kind, b.arrived, b.deducted, came, deducted)
		}
		want := int64(0)
		if b.found.Status == "closed" {
			want = b.owed()
		}
		if b.found.Refunded != want {
			say("return_money_differs", "%d were to go back for return %s (%s) of order %s, %d did", want, b.id, b.kind, b.order.ID, b.found.Refunded)
		}
		if b.found.Label != nil && b.found.Label.Fee > 0 && b.found.FreightBy != "buyer" {
			say("return_charged_for_the_way", "return %s is the shop's fault, and its buyer pays %d for the way", b.id, b.found.Label.Fee)
		}
		if slices.Contains([]string{"expired", "cancelled", "rejected"}, b.found.Status) && b.kind != byLabel && b.kind != byPaidLabel && b.found.Label != nil {
			say("label_left_over", "return %s is %s, and its label was not given up", b.id, b.found.Status)
		}
	}
}

// findReturns adds the parcels that come back to those that go by a carrier's number.
func (s *shift) findReturns(ctx context.Context, owners map[numbered]int) bool {
	for cursor := ""; ; {
		var page struct {
			Data       []returned `json:"data"`
			NextCursor *string    `json:"next_cursor"`
		}
		if !s.read(ctx, returnsPath+"?limit=100"+cursor, &page) {
			return false
		}
		for _, r := range page.Data {
			if r.Label == nil || r.Label.Carrier == "" {
				continue
			}
			for _, p := range r.Parcels {
				owners[numbered{r.Label.Carrier, p.Tracking}]++
			}
		}
		if page.NextCursor == nil {
			return true
		}
		cursor = "&cursor=" + url.QueryEscape(*page.NextCursor)
	}
}

// Returns sums up what came back.
type Returns struct {
	Asked    int            `json:"asked"`
	Ends     map[string]int `json:"ends"`
	Refunded int64          `json:"refunded"`
	// Fees are what buyers paid for labels, InDoubt returns of whose refund nobody knows.
	Fees    int64 `json:"fees"`
	InDoubt int   `json:"in_doubt"`
}

func (f floorEvidence) countReturns() *Returns {
	if len(f.record.returns) == 0 {
		return nil
	}
	out := &Returns{Ends: map[string]int{}}
	for _, b := range f.record.returns {
		out.Asked++
		if b.doubted {
			out.InDoubt++
		}
		if b.found == nil {
			continue
		}
		out.Ends[b.found.Status]++
		out.Refunded += b.found.Refunded
		if b.found.Label != nil {
			out.Fees += b.found.Label.Fee
		}
	}
	return out
}

func (r *Returns) String() string {
	raw, err := json.Marshal(r.Ends)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d asked for, ended %s; %d went back, %d were kept for labels, %d in doubt", r.Asked, raw, r.Refunded, r.Fees, r.InDoubt)
}
