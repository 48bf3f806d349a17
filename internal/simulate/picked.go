package simulate

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// floorEvidence is what the rules compare of a shift: what the operators know by
// their own doing, and what the API says.
type floorEvidence struct {
	// before and booked are what the API said lies where when all was picked, and
	// what its books had to have then; after and real are what it said when all
	// was counted, and what lay there. A map that is nil could not be read.
	before, booked, after, real map[spot]int
	sums                        tallies
	record                      shiftRecord
	lists                       map[string]listFound
	counts                      map[string]string // statuses
	// shipments are those of the run's warehouses by id, as the API has them in the
	// end; nil where nothing was to leave.
	shipments map[string]shipment
	// labels are what the carriers have made since the shift began, owners how many
	// parcels go by a number by the API, and lapsed those that it calls unused. Nil where
	// no carrier was asked or could not be read.
	labels         []label
	owners, lapsed map[numbered]int
}

// listFound is what the API says of a list.
type listFound struct {
	status string
	picked map[orderSKU]int
}

type orderSKU struct{ order, sku string }

// gather reads what became of everything that the shift has begun.
func (s *shift) gather(ctx context.Context, e *floorEvidence) {
	ctx, cancel := context.WithTimeout(ctx, gathering)
	defer cancel()
	s.await(ctx)
	e.lists, e.counts = map[string]listFound{}, map[string]string{}
	for _, w := range s.warehouses() {
		s.findLists(ctx, w, e)
	}
	s.awaitCounts(ctx, e)
	for _, r := range s.run.records {
		if r.order != nil {
			var o order
			if s.read(ctx, "/v1/orders/"+r.order.ID, &o) {
				r.order = &o
			}
		}
	}
	if s.out != nil {
		s.findShipments(ctx, e)
		s.findLabels(ctx, e)
	}
	e.sums = s.goods.sums()
	s.mu.Lock()
	defer s.mu.Unlock()
	e.record = s.record
}

// gathering bounds how long the ends of everything are waited for.
const gathering = 3 * time.Minute

// awaitCounts waits for the runs that end counts: they are told of the last bin,
// look some seconds later, and may be late where workers are killed.
func (s *shift) awaitCounts(ctx context.Context, e *floorEvidence) {
	patience, cancel := context.WithTimeout(ctx, gathering/2)
	defer cancel()
	for _, id := range slices.Sorted(maps.Keys(s.record.counts)) {
		var c struct {
			Status string `json:"status"`
		}
		for s.read(ctx, "/v1/counts/"+id, &c) && c.Status == "open" && rest(patience, 500*time.Millisecond) == nil {
		}
		e.counts[id] = c.Status
	}
}

func (s *shift) findLists(ctx context.Context, warehouse string, e *floorEvidence) {
	for cursor := ""; ; {
		var page struct {
			Data []struct {
				ID string `json:"id"`
			} `json:"data"`
			NextCursor *string `json:"next_cursor"`
		}
		if !s.read(ctx, listsPath+"?limit=100&warehouse="+url.QueryEscape(warehouse)+cursor, &page) {
			return
		}
		for _, l := range page.Data {
			var list pickList
			if !s.read(ctx, listsPath+"/"+l.ID, &list) {
				return
			}
			found := listFound{list.Status, map[orderSKU]int{}}
			for _, n := range list.Lines {
				if !n.Cancelled && n.Picked > 0 {
					found.picked[orderSKU{n.OrderID, s.run.name(n.SKU)}] += n.Picked
				}
			}
			e.lists[l.ID] = found
		}
		if page.NextCursor == nil {
			return
		}
		cursor = "&cursor=" + url.QueryEscape(*page.NextCursor)
	}
}

// floorIsRight applies every rule about the warehouses.
func (e evidence) floorIsRight() (all []Difference) {
	f := e.floor
	if f == nil {
		return nil
	}
	all = append(all, f.record.troubles...)
	say := func(rule, format string, args ...any) {
		all = append(all, Difference{Rule: rule, Words: fmt.Sprintf(format, args...)})
	}
	f.liesWhereItWasPut(say)
	f.isAllThere(say)
	f.deliveriesEnded(say)
	f.journeysEnded(say)
	f.workEnded(say)
	e.picksAreRight(say)
	e.deliveredRight(say)
	return all
}

// liesWhereItWasPut: what the API says lies in a bin is what was put there and not
// taken, but for units that were lost and not counted yet; after the last count
// it is what really lies there.
func (f floorEvidence) liesWhereItWasPut(say sayFunc) {
	if f.before == nil || f.after == nil {
		say("bins_unknown", "what lies in the bins was not compared to the end")
		return
	}
	for _, c := range []struct {
		rule, words string
		is, must    map[spot]int
	}{{"bin_differs", "by what operators have booked", f.before, f.booked}, {"count_left_a_difference", "really", f.after, f.real}} {
		for _, s := range differing(c.is, c.must) {
			say(c.rule, "%s: %d %s, the API says %d", s, c.must[s], c.words, c.is[s])
		}
	}
}

func (s spot) String() string {
	bin := s.bin
	if bin == "" {
		bin = "no bin"
	}
	return fmt.Sprintf("%s %s in %s of %s", s.status, s.sku, bin, s.warehouse)
}

func differing(a, b map[spot]int) []spot {
	var out []spot
	for s := range difference(a, b) {
		out = append(out, s)
	}
	slices.SortFunc(out, spot.compare)
	return out
}

// isAllThere: what was stocked and came in is there, but for what was lost and what
// went to buyers.
func (f floorEvidence) isAllThere(say sayFunc) {
	there := f.there("")
	for _, sku := range f.skus() {
		if want := f.sums.stocked[sku] + f.sums.received[sku] - f.sums.lost[sku] - f.sums.left[sku]; f.after != nil && there[sku] != want {
			say("units_unaccounted", "%d of %s were stocked, %d came, %d were lost and %d went to buyers: %d should be there, the API says %d", f.sums.stocked[sku], sku, f.sums.received[sku], f.sums.lost[sku], f.sums.left[sku], want, there[sku])
		}
	}
}

func (f floorEvidence) skus() []string {
	known := map[string]bool{}
	for _, m := range []map[string]int{f.sums.stocked, f.sums.received} {
		for sku := range m {
			known[sku] = true
		}
	}
	return slices.Sorted(maps.Keys(known))
}

// there sums the units that the API says are there, by SKU; of one status, or of
// all when it is empty.
func (f floorEvidence) there(status string) map[string]int {
	out := map[string]int{}
	for s, n := range f.after {
		if status == "" || s.status == status {
			out[s.sku] += n
		}
	}
	return out
}

// supply is how many units of a SKU could ever be sold, and how many can be in the
// end, by what the operators know. The second means nothing where the shift was
// cut short and real is nil, which has a rule of its own.
func (f floorEvidence) supply(sku string) (had, has int) {
	had = f.sums.stocked[sku] + f.sums.received[sku]
	for s, n := range f.real {
		if s.sku == sku && s.status == sellable {
			has += n
		}
	}
	return had, has
}

// deliveriesEnded: each receipt is closed, its order is over, and both say what
// came.
func (f floorEvidence) deliveriesEnded(say sayFunc) {
	for _, d := range f.record.deliveries {
		switch {
		case d.receiptID == "" || d.found == nil:
			say("delivery_unknown", "a delivery to %s never had a receipt, or it could not be read", d.warehouse)
			continue
		case d.found.receipt != "closed" || d.found.order != "received":
			say("delivery_not_ended", "receipt %s is %s, its purchase order %s %s", d.receiptID, d.found.receipt, d.orderID, d.found.order)
		}
		for _, a := range d.lines {
			if got := d.found.lines[a.sku]; got.received != a.good+a.damaged || got.damaged != a.damaged {
				say("receipt_differs", "%d of %s came, %d of them damaged; receipt %s says %d and %d", a.good+a.damaged, a.sku, a.damaged, d.receiptID, got.received, got.damaged)
			}
			want := map[string]int{}
			if a.damaged > 0 {
				want["damaged"] = a.damaged
			}
			if over := a.good + a.damaged - a.ordered; over > 0 {
				want["over"] = over
			} else if over < 0 {
				want["short"] = -over
			}
			if got := d.found.discrepancies[a.sku]; !maps.Equal(got, want) {
				say("discrepancies_differ", "of %s %d were ordered and %d came: %v, receipt %s says %v", a.sku, a.ordered, a.good+a.damaged, want, d.receiptID, got)
			}
		}
	}
}

// journeysEnded: each transfer is over and says what became of its goods.
func (f floorEvidence) journeysEnded(say sayFunc) {
	for _, j := range f.record.transfers {
		if j.id == "" || j.found == nil {
			say("transfer_unknown", "a transfer from %s to %s was never made, or could not be read", j.from, j.to)
			continue
		}
		want := "received"
		switch {
		case j.cancelled:
			want = "cancelled"
		case len(j.lost) > 0:
			want = "received_short"
		}
		if j.found.status != want {
			say("transfer_not_ended", "transfer %s is %s and should be %s", j.id, j.found.status, want)
		}
		for _, c := range []struct {
			what     string
			is, must map[string]int
		}{{"sent", j.found.sent, j.sent}, {"received", j.found.received, j.arrived}, {"damaged", j.found.damaged, j.damaged}, {"lost", j.found.lost, j.lost}} {
			for _, sku := range j.wants {
				if c.is[sku] != c.must[sku] {
					say("transfer_differs", "%d of %s were %s by transfer %s, the API says %d", c.must[sku], sku, c.what, j.id, c.is[sku])
				}
			}
		}
	}
}

// workEnded: no list and no count is left open.
func (f floorEvidence) workEnded(say sayFunc) {
	for _, id := range slices.Sorted(maps.Keys(f.lists)) {
		if status := f.lists[id].status; status != "completed" && status != "cancelled" {
			say("list_not_ended", "pick list %s is %s", id, status)
		}
	}
	for _, id := range f.record.lists {
		if _, known := f.lists[id]; !known {
			say("list_unknown", "pick list %s was released and is not on the list of its warehouse", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(f.counts)) {
		if f.counts[id] != "done" {
			say("count_not_ended", "count %s is %s", id, f.counts[id])
		}
	}
}

// picksAreRight: what was picked for an order is what it paid for, no more, and
// nothing once all of it was given back; what is paid is picked.
func (e evidence) picksAreRight(say sayFunc) {
	f := e.floor
	told := map[orderSKU]int{}
	for _, l := range f.lists {
		for at, n := range l.picked {
			told[at] += n
		}
	}
	done := map[orderSKU]int{}
	for _, p := range f.record.picks {
		if p.units > 0 {
			done[orderSKU{p.order, p.sku}] += p.units
		}
	}
	paid := map[orderSKU]int{}
	for _, r := range e.records {
		if r.order == nil || r.checkout == nil || r.checkout.Status != "paid" {
			continue
		}
		for _, l := range r.order.Lines {
			paid[orderSKU{r.order.ID, strings.TrimPrefix(l.SKU, e.prefix)}] += l.Quantity
		}
		f.refundedFirst(r, say)
	}
	all := map[orderSKU]bool{}
	for _, m := range []map[orderSKU]int{told, done, paid} {
		for at := range m {
			all[at] = true
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(all), func(a, b orderSKU) int { return strings.Compare(a.order+" "+a.sku, b.order+" "+b.sku) }) {
		switch {
		case done[at] > paid[at]:
			say("picked_more_than_paid", "%d of %s were picked for order %s, which paid for %d", done[at], at.sku, at.order, paid[at])
		case done[at] < paid[at] && e.mayLeave(at.order):
			say("left_unpicked", "%d of %s were picked for order %s, which paid for %d", done[at], at.sku, at.order, paid[at])
		}
		if told[at] != done[at] {
			say("picks_differ", "%d of %s were picked for order %s, its lists say %d", done[at], at.sku, at.order, told[at])
		}
	}
}

// mayLeave reports whether nothing keeps an order from being picked.
func (e evidence) mayLeave(orderID string) bool {
	for _, r := range e.records {
		if r.order == nil || r.order.ID != orderID {
			continue
		}
		var back int64
		for _, refund := range r.order.Refunds {
			if refund.Status != "failed" {
				back += refund.Amount
			}
		}
		frozen := false
		for _, s := range r.order.Shipments {
			frozen = frozen || s.Frozen != nil
		}
		return r.order.Status != "cancelled" && !frozen && back < r.order.Totals.Total
	}
	return false
}

// refundedFirst: no command that was sent after all of an order was given back
// has picked anything for it.
func (f floorEvidence) refundedFirst(r *Record, say sayFunc) {
	since, all := r.givenBack()
	if !all {
		return
	}
	for _, p := range f.record.picks {
		if p.order == r.order.ID && p.sent.After(since) {
			say("picked_after_refund", "%s was picked for order %s %s after all of it was given back", p.sku, p.order, p.sent.Sub(since).Round(time.Millisecond))
		}
	}
}

// givenBack is since when all of an order was being given back, by what its buyer
// was answered.
func (r *Record) givenBack() (since time.Time, all bool) {
	var back int64
	for _, a := range r.Refunds {
		if a.Status == "failed" || a.asked.IsZero() {
			continue
		}
		back += a.Amount
		if a.asked.After(since) {
			since = a.asked
		}
	}
	return since, back >= r.order.Totals.Total
}

// Work is what a shift in the run's warehouses came to.
type Work struct {
	Warehouses []string `json:"warehouses"`
	Operators  int      `json:"operators"`
	// Commands counts what scanners sent, by kind: applied, or the code of a
	// refusal that was to be expected.
	Commands map[string]map[string]int `json:"commands"`
	// Did counts what operators did beside, Never what of it never occurred.
	Did        map[string]int `json:"did"`
	Never      []string       `json:"never_occurred"`
	Waves      int            `json:"waves"`
	Lists      map[string]int `json:"pick_lists"`
	Deliveries int            `json:"deliveries"`
	Transfers  map[string]int `json:"transfers"`
	Counts     map[string]int `json:"counts"`
	// Shipments counts those of the run by status, of a run that goes to the door.
	Shipments map[string]int `json:"shipments,omitempty"`
	// Labels are what carriers made, by carrier.
	Labels map[string]Labels `json:"labels,omitempty"`
	// Returns are what came back, of a run that goes that far.
	Returns *Returns       `json:"returns,omitempty"`
	Goods   []GoodsAccount `json:"goods"`
}

// GoodsAccount is what became of the units of a SKU: those that were stocked and
// received, less those that were lost and that went to buyers, should be those that
// the API says are there.
type GoodsAccount struct {
	SKU      string `json:"sku"`
	Stocked  int    `json:"stocked"`
	Received int    `json:"received"`
	Lost     int    `json:"lost"`
	Left     int    `json:"left"` // to buyers
	OnHand   int    `json:"on_hand"`
	Damaged  int    `json:"damaged"`
	Picked   int    `json:"picked"` // of those on hand
}

// kindsOfWork are what a shift should show.
var kindsOfWork = []string{"lines_exact", "lines_short", "lines_over", "lines_damaged", "scans_corrected", "discrepancies_accepted", "put_away_elsewhere",
	"transfers_whole", "transfers_short", "transfers_damaged", "transfers_in_parts", "lists_two_went_for", "beaten_to_a_list", "picked_offline", "picked_short", "units_overlooked", "orders_taken_off",
	"batches_sent_twice", "batches_out_of_order", "units_lost", "units_broken", "bins_moved_while_counted", "bins_counted_wrong", "bins_counted_late", "bins_recounted", "bins_adjusted", "differences_to_approve", "differences_approved", "differences_rejected"}

// account sums a shift up.
func (s *shift) account(f *floorEvidence) *Work {
	w := &Work{Warehouses: s.warehouses(), Operators: s.hired, Commands: f.record.commands, Did: f.record.did, Never: []string{}, Waves: f.record.waves,
		Lists: map[string]int{}, Deliveries: len(f.record.deliveries), Transfers: map[string]int{}, Counts: map[string]int{}, Goods: []GoodsAccount{}}
	kinds := kindsOfWork
	if f.shipments != nil {
		kinds = slices.Concat(kindsOfWork, kindsOfDelivery, kindsByCarrier)
		if s.run.Faults != NoFaults {
			kinds = slices.Concat(kinds, kindsOfCarrierTrouble)
		}
		if s.run.To == toReturned {
			kinds = slices.Concat(kinds, kindsOfReturn)
			w.Returns = f.countReturns()
		}
		w.Labels = f.countLabels(f.record.did)
		w.Shipments = map[string]int{}
		for _, x := range f.shipments {
			w.Shipments[x.Status]++
		}
	}
	for _, kind := range kinds {
		if f.record.did[kind] == 0 {
			w.Never = append(w.Never, kind)
		}
	}
	for _, l := range f.lists {
		w.Lists[l.status]++
	}
	for _, j := range f.record.transfers {
		if j.found != nil {
			w.Transfers[j.found.status]++
		}
	}
	for _, status := range f.counts {
		w.Counts[status]++
	}
	picked := map[string]int{}
	for _, p := range f.record.picks {
		picked[p.sku] += p.units
	}
	for sku, n := range f.sums.left {
		picked[sku] -= n
	}
	onHand, damaged := f.there(sellable), f.there(broken)
	for _, sku := range f.skus() {
		w.Goods = append(w.Goods, GoodsAccount{sku, f.sums.stocked[sku], f.sums.received[sku], f.sums.lost[sku], f.sums.left[sku], onHand[sku], damaged[sku], picked[sku]})
	}
	return w
}

// write prints the work for people.
func (w *Work) write(b *strings.Builder) {
	fmt.Fprintf(b, "Warehouses %s: %d operators; %d deliveries, transfers: %s; %d waves, pick lists: %s; counts: %s.\n",
		strings.Join(w.Warehouses, ", "), w.Operators, w.Deliveries, counts(w.Transfers), w.Waves, counts(w.Lists), counts(w.Counts))
	for _, kind := range slices.Sorted(maps.Keys(w.Commands)) {
		fmt.Fprintf(b, "  %s: %s\n", kind, counts(w.Commands[kind]))
	}
	if len(w.Shipments) > 0 {
		fmt.Fprintf(b, "Shipments: %s\n", counts(w.Shipments))
	}
	for _, carrier := range slices.Sorted(maps.Keys(w.Labels)) {
		l := w.Labels[carrier]
		fmt.Fprintf(b, "  %s: %d labels bought, %d voided, %d lapsed; %d parcels delivered, %d returned, %d lost; %d still under way by the API\n", carrier, l.Bought, l.Voided, l.Lapsed, l.Delivered, l.Returned, l.Lost, l.UnderWay)
	}
	if w.Returns != nil {
		fmt.Fprintf(b, "Returns: %s\n", w.Returns)
	}
	fmt.Fprintf(b, "Operators' days: %s\n", counts(w.Did))
	if len(w.Never) > 0 {
		fmt.Fprintf(b, "Kinds of work that never occurred: %v\n", w.Never)
	}
	for _, g := range w.Goods {
		fmt.Fprintf(b, "  %s: stocked %d, received %d, lost %d, left %d; on hand %d (picked %d of them), damaged %d\n", g.SKU, g.Stocked, g.Received, g.Lost, g.Left, g.OnHand, g.Picked, g.Damaged)
	}
}
