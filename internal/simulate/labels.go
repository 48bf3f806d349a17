package simulate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// label is one that a carrier has made, as its panel shows it.
type label struct {
	Carrier   string `json:"carrier"`
	Reference string `json:"reference"`
	Tracking  string `json:"tracking"`
	Status    string `json:"status"`
	Voided    bool   `json:"voided"`
}

func (l label) number() numbered { return numbered{l.Carrier, l.Tracking} }

// numbered is a carrier's number of a parcel.
type numbered struct{ carrier, tracking string }

// labels reads what the carriers have made since then.
func (w *world) labels(ctx context.Context, since time.Time) ([]label, error) {
	var raw struct {
		Labels []label `json:"labels"`
	}
	if err := w.want(ctx, http.MethodGet, "/ledger?since="+url.QueryEscape(since.UTC().Format(time.RFC3339)), "", &raw); err != nil {
		return nil, fmt.Errorf("the carriers' panels: %w", err)
	}
	return raw.Labels, nil
}

// said is where a shipment must be by what its carrier can say of its parcels in the end.
// Carriers have no word for some of it: the parcel then is where the last word left it.
// More than one where parcels of one shipment have different ends.
func said(carrier string, parcels []label) []string {
	ends := map[string]bool{}
	for _, p := range parcels {
		switch end := p.Status; {
		case end == "lost" && carrier != "chilexpress":
			ends["in_transit"] = true
		case end == "returned_to_sender" && carrier == "correos":
			ends["delivery_failed"] = true
		default:
			ends[end] = true
		}
	}
	if len(ends) > 1 {
		// One that arrived says nothing of the other.
		delete(ends, "delivered")
	}
	return slices.Sorted(maps.Keys(ends))
}

// over: the carrier has brought it where it will stay.
func (l label) over() bool {
	return l.Voided || slices.Contains([]string{"delivered", "returned_to_sender", "lost"}, l.Status)
}

// inPanel are the labels of a shipment's parcels, those that the carrier knows.
func inPanel(x shipment, all map[numbered]label) (found []label) {
	for _, p := range x.Parcels {
		if l, is := all[numbered{x.Carrier, p.Tracking}]; is {
			found = append(found, l)
		}
	}
	return found
}

func byNumber(all []label) map[numbered]label {
	out := map[numbered]label{}
	for _, l := range all {
		if l.Tracking != "" {
			out[l.number()] = l
		}
	}
	return out
}

// carriersTakeAtMost bounds how long the ends of parcels are waited for.
const carriersTakeAtMost = 4 * time.Minute

// awaitCarriers waits until the API says of every parcel of a carrier what its panel says,
// until what is not wanted is cancelled or has lapsed, and until nothing waits for
// support. What has not come about by then is a difference.
func (s *shift) awaitCarriers(ctx context.Context) error {
	s.run.say("the carriers bring their parcels home")
	s.out.depots.clear()
	patience, cancel := context.WithTimeout(ctx, carriersTakeAtMost)
	defer cancel()
	for rest(patience, time.Second) == nil {
		e := &floorEvidence{}
		s.findShipments(patience, e)
		s.findLabels(patience, e)
		cases, ok := s.cases(patience)
		s.mu.Lock()
		e.record = s.record
		open := len(e.openParcels()) + len(cases)
		if e.shipments != nil && e.labels != nil {
			evidence{floor: e}.carriersRight(func(string, string, ...any) { open++ })
		} else {
			open++
		}
		s.mu.Unlock()
		if ok && open == 0 {
			break
		}
	}
	return ctx.Err()
}

// openParcels are those that are still on their way by their carrier's panel.
func (f floorEvidence) openParcels() (open []string) {
	all := byNumber(f.labels)
	for _, id := range slices.Sorted(maps.Keys(f.record.consignments)) {
		x, c := f.shipments[id], f.record.consignments[id]
		if c.bought == "" || !c.taken {
			continue
		}
		for _, l := range inPanel(x, all) {
			if !l.over() {
				open = append(open, l.Tracking)
			}
		}
	}
	return open
}

// settleRefunds waits for the money that support has given back for parcels that were
// lost or came back, and books it with what was asked for. A run whose time is over gets
// this minute all the same: it would call all of that money wrong.
func (s *shift) settleRefunds(ctx context.Context) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	orders := map[string]bool{}
	s.mu.Lock()
	for id := range s.record.refunded {
		orders[s.record.consignments[id].order] = true
	}
	s.mu.Unlock()
	for _, r := range s.run.records {
		if r.order == nil || !orders[r.order.ID] {
			continue
		}
		var o order
		if !s.read(ctx, "/v1/orders/"+r.order.ID, &o) {
			continue
		}
		r.order = &o
		for _, refund := range o.Refunds {
			if strings.HasPrefix(refund.Reason, "parcel ") && !slices.ContainsFunc(r.Refunds, func(a AskedRefund) bool { return a.ID == refund.ID }) {
				r.Refunds = append(r.Refunds, AskedRefund{ID: refund.ID, Amount: refund.Amount, Status: refund.Status})
				s.did("refunds_of_parcels")
			}
		}
		for {
			if done, err := s.run.refunds(ctx, r); err == nil && done || rest(ctx, 300*time.Millisecond) != nil {
				break
			}
		}
	}
}

// findLabels reads what the carriers say, and whose their labels are by the API: those of
// every shipment of the shop, because others may ship beside the run.
func (s *shift) findLabels(ctx context.Context, e *floorEvidence) {
	panel, err := s.run.world.labels(ctx, s.since)
	if err != nil {
		s.trouble("unanswered", "%v", err)
		return
	}
	e.owners, e.lapsed = map[numbered]int{}, map[numbered]int{}
	for _, carrier := range carriersPlayed {
		all, ok := s.shipments(ctx, "&carrier="+carrier)
		if !ok {
			return // which is told
		}
		for _, x := range all {
			for _, p := range x.Parcels {
				e.owners[numbered{carrier, p.Tracking}]++
			}
		}
	}
	if s.run.To == toReturned && !s.findReturns(ctx, e.owners) {
		return
	}
	s.mu.Lock()
	orders := map[string]bool{}
	for _, c := range s.record.consignments {
		if c.wishes > 0 {
			orders[c.order] = true
		}
	}
	for _, b := range s.record.returns {
		orders[b.order.ID] = true
	}
	s.mu.Unlock()
	for id := range orders {
		var o order
		if !s.read(ctx, "/v1/orders/"+id, &o) {
			return
		}
		for _, event := range o.Timeline {
			if event.Kind == "label_lapsed" {
				carrier, _ := event.Data["carrier"].(string)
				tracking, _ := event.Data["tracking"].(string)
				e.lapsed[numbered{carrier, tracking}]++
			}
		}
	}
	// One that was made meanwhile is seen the next time.
	e.labels = append([]label{}, panel...)
}

// carriersRight: the carriers' panels and the API agree.
func (e evidence) carriersRight(say sayFunc) {
	f := e.floor
	if f.labels == nil {
		return
	}
	all := byNumber(f.labels)
	unnamed := map[string]int{} // labels that lapsed before anybody knew their number
	for at, n := range f.lapsed {
		if at.tracking == "" {
			unnamed[at.carrier] += n
		}
	}
	for _, l := range f.labels {
		owners := f.owners[l.number()]
		switch {
		case l.Voided && l.Tracking != "" && owners > 0:
			say("label_cancelled_in_use", "%s has cancelled %s (our reference %s), and a parcel goes by it", l.Carrier, l.Tracking, l.Reference)
		case l.Voided:
		case l.Tracking != "" && owners > 1:
			say("label_used_twice", "%d parcels go by %s of %s (our reference %s)", owners, l.Tracking, l.Carrier, l.Reference)
		case l.Tracking != "" && owners == 1, f.lapsed[l.number()] > 0 && l.Tracking != "", f.record.skipped[l.Reference]:
		case unnamed[l.Carrier] > 0:
			unnamed[l.Carrier]--
		default:
			say("label_of_nobody", "%s has made the label %s (our reference %s), and no parcel goes by it", l.Carrier, l.Tracking, l.Reference)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(f.record.consignments)) {
		x, known := f.shipments[id]
		if !known || x.Carrier == "" || x.Carrier == "manual" {
			continue
		}
		for _, p := range x.Parcels {
			if l, is := all[numbered{x.Carrier, p.Tracking}]; !is || l.Voided {
				say("label_missing_there", "parcel %d of shipment %s goes by %s of %s, which has no such label", p.Position, id, p.Tracking, x.Carrier)
			}
		}
		f.isWhereItsCarrierSays(x, inPanel(x, all), say)
	}
}

// isWhereItsCarrierSays: what the carrier can tell in the end is what the API says.
func (f floorEvidence) isWhereItsCarrierSays(x shipment, parcels []label, say sayFunc) {
	if len(parcels) != len(x.Parcels) || slices.ContainsFunc(parcels, func(l label) bool { return !l.over() }) {
		return // still on the way, or here
	}
	if must := said(x.Carrier, parcels); !slices.Contains(must, x.Status) {
		say("carrier_says_otherwise", "%s says that shipment %s (%s) is %s, the API says %s", x.Carrier, x.ID, x.Parcels[0].Tracking, strings.Join(must, " or "), x.Status)
	}
}

// Labels are what carriers made for a run, as the panels and the API have it in the end.
type Labels struct {
	Bought int `json:"bought"`
	Voided int `json:"voided"`
	Lapsed int `json:"lapsed"` // not used, and not to be cancelled
	// Delivered, Returned and Lost are parcels, UnderWay those on their way by the API
	// for whose end the carrier has no word or that have none yet.
	Delivered int `json:"delivered"`
	Returned  int `json:"returned"`
	Lost      int `json:"lost"`
	UnderWay  int `json:"under_way"`
}

// countLabels sums the carriers up.
func (f floorEvidence) countLabels(did map[string]int) map[string]Labels {
	out := map[string]Labels{}
	for _, l := range f.labels {
		sum := out[l.Carrier]
		sum.Bought++
		switch {
		case l.Voided:
			sum.Voided++
			did["labels_voided"]++
		case f.owners[l.number()] == 0:
			sum.Lapsed++
			did["labels_lapsed"]++
		case l.Status == "delivered":
			sum.Delivered++
			did["carrier_delivered"]++
		case l.Status == "returned_to_sender":
			sum.Returned++
			did["carrier_returned"]++
		case l.Status == "lost":
			sum.Lost++
			did["carrier_lost"]++
		}
		out[l.Carrier] = sum
	}
	for id, x := range f.shipments {
		c := f.record.consignments[id]
		if c == nil || c.bought == "" {
			continue
		}
		if slices.Contains([]string{"handed_over", "in_transit", "out_for_delivery", "delivery_failed"}, x.Status) {
			sum := out[x.Carrier]
			sum.UnderWay += len(x.Parcels)
			out[x.Carrier] = sum
		}
		if c.route != byManual {
			did[string(c.route)]++
		}
		if x.Status == "delivery_failed" {
			did["carrier_delivery_failed"]++
		}
	}
	return out
}
