package simulate

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// kindsOfDelivery are what packers and drivers should show, of a run that goes to
// the door.
var kindsOfDelivery = []string{string(plainly), string(tooHeavy), string(tooLight), string(twoParcels), string(unpacked), string(labelledTwice), string(offline),
	"asked_directly", "keys_used_twice", "labels_read", "two_handed_over", "buyers_minded_while_picking", "buyers_minded_while_packed", "buyers_minded_while_labelled", "kept_order_frozen", "kept_order_refunded", "news_told_again",
	string(arrives), string(secondTime), string(lost), string(lostAndFound), string(comesBack), string(failsAndWaits), string(toldTwice), string(toldTooLate), string(withoutAStop)}

// findShipments reads all shipments of the run's warehouses.
func (s *shift) findShipments(ctx context.Context, e *floorEvidence) {
	e.shipments = map[string]shipment{}
	for _, w := range s.warehouses() {
		all, ok := s.shipments(ctx, "&warehouse="+url.QueryEscape(w))
		if !ok {
			return // which is told
		}
		for _, x := range all {
			for i, l := range x.Lines {
				x.Lines[i].SKU = s.run.name(l.SKU)
			}
			e.shipments[x.ID] = x
		}
	}
}

// onTheirWay are the statuses after the warehouse.
var onTheirWay = []string{"handed_over", "in_transit", "out_for_delivery", "delivered", "delivery_failed", "returned_to_sender", "lost"}

// deliveredRight applies every rule about what left.
func (e evidence) deliveredRight(say sayFunc) {
	f := e.floor
	if f.shipments == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(f.record.consignments)) {
		c := f.record.consignments[id]
		x, known := f.shipments[id]
		if !known {
			say("shipment_unknown", "shipment %s was packed and is not among those of its warehouse", id)
			continue
		}
		c.settled = x.Settled != ""
		if c.byCarrier(x) {
			c.status = x.Status // its carrier tells, see carriersRight
		}
		c.leftOnce(x, say)
		c.isWhereItWasTold(x, say)
		c.liesInItsParcels(x, say)
		c.askedForAPerson(say)
	}
	for _, id := range slices.Sorted(maps.Keys(f.shipments)) {
		x := f.shipments[id]
		c := f.record.consignments[id]
		if slices.Contains(onTheirWay, x.Status) && (c == nil || c.handed == 0) {
			say("left_by_itself", "shipment %s is %s, and nobody handed it over", id, x.Status)
		}
	}
	e.carriersRight(say)
	f.cameBackRight(say)
	f.nothingStaysBehind(say)
	for _, r := range e.records {
		if r.order == nil || r.checkout == nil || r.checkout.Status != "paid" {
			continue
		}
		e.leftInTime(r, say)
		f.orderFollows(r, say)
	}
}

// byCarrier: a carrier's label was wanted for it, and neither a person nor a courier tells
// where it is.
func (c consignment) byCarrier(x shipment) bool {
	return c.bought != "" || x.Label != nil && x.Carrier != "manual"
}

// leftOnce: a hand-over was done once, and what was carried out is what the shipment
// has.
func (c consignment) leftOnce(x shipment, say sayFunc) {
	if c.handed > 1 {
		say("left_twice", "shipment %s was handed over %d times", c.shipment, c.handed)
	}
	if c.handed == 0 {
		return
	}
	out, has := map[string]int{}, map[string]int{}
	for _, l := range c.left {
		out[l.at.sku] += l.units
	}
	for _, l := range x.Lines {
		has[l.SKU] += l.Quantity
	}
	if !maps.Equal(out, has) {
		say("left_differs", "%v were carried out for shipment %s, which has %v", out, c.shipment, has)
	}
	if c.frozen != "" {
		say("left_while_frozen", "shipment %s was handed over although its order is %s", c.shipment, c.frozen)
	}
}

// isWhereItWasTold: the status is what was last done or told.
func (c consignment) isWhereItWasTold(x shipment, say sayFunc) {
	if c.status != "" && x.Status != c.status {
		say("shipment_differs", "shipment %s is %s by the last who had to do with it, the API says %s", c.shipment, c.status, x.Status)
	}
}

// liesInItsParcels: the parcels are those that were weighed, by whom they were, with
// the numbers that were written on them.
func (c consignment) liesInItsParcels(x shipment, say sayFunc) {
	if len(c.packed) != len(x.Parcels) {
		say("parcels_differ", "shipment %s was packed in %d parcels, the API says %d", c.shipment, len(c.packed), len(x.Parcels))
		return
	}
	labelled := c.status == "labelled" || slices.Contains(onTheirWay, c.status)
	for i, p := range c.packed {
		is := x.Parcels[i]
		p.Reference, p.Tracking = is.Reference, is.Tracking
		if labelled {
			p.Tracking = is.Reference
			if c.bought != "" && i >= len(c.tracking) {
				p.Tracking = ""
			} else if c.tracking != nil {
				p.Tracking = c.tracking[i]
			}
		}
		if is != p || is.Reference == "" {
			say("parcels_differ", "parcel %d of shipment %s should be %+v, the API says %+v", i+1, c.shipment, p, is)
		}
	}
	if labelled && c.bought == "" && x.Carrier != "manual" {
		say("parcels_differ", "shipment %s was given to manual, the API says %q", c.shipment, x.Carrier)
	}
}

// askedForAPerson: right after bad news the order asked for a person because of it.
func (c consignment) askedForAPerson(say sayFunc) {
	for _, n := range c.news {
		if reason := reasonFor[n.status]; reason != "" && !slices.Contains(n.reasons, reason) {
			say("attention_not_raised", "shipment %s was told %s, and order %s asked for a person because of %v", c.shipment, n.status, c.order, n.reasons)
		}
	}
}

// nothingStaysBehind: packing bins have what was picked and did not leave, no more.
func (f floorEvidence) nothingStaysBehind(say sayFunc) {
	if f.before == nil {
		return // which has a rule of its own
	}
	must := map[spot]int{}
	for _, p := range f.record.picks {
		must[p.at] += p.units
	}
	for _, c := range f.record.consignments {
		for _, l := range c.left {
			must[l.at] -= l.units
		}
	}
	is := map[spot]int{}
	for s, n := range f.before {
		if s.bin == packing || s.bin == packing2 {
			is[s] = n
		}
	}
	for _, s := range differing(is, must) {
		say("packing_bin_differs", "%s: %d were picked and did not leave, the API says %d", s, must[s], is[s])
	}
}

// leftInTime: what may leave has left, nothing left after all of its order was given
// back, and what was kept had a cause.
func (e evidence) leftInTime(r *Record, say sayFunc) {
	f := e.floor
	since, back := r.givenBack()
	for _, s := range r.order.Shipments {
		c := f.record.consignments[s.ID]
		if c != nil && c.handed > 0 {
			if back && c.sent.After(since) {
				say("left_after_refund", "shipment %s was handed over %s after all of order %s was given back", s.ID, c.sent.Sub(since).Round(time.Millisecond), r.order.ID)
			}
		} else if (c == nil || !c.stopped) && e.mayLeave(r.order.ID) && s.Status != "cancelled" {
			say("left_behind", "shipment %s is %s, nothing keeps it, and it was not handed over", s.ID, s.Status)
		}
		if c == nil {
			continue
		}
		for _, code := range c.refusals {
			if slices.Contains(stops, code) && !r.stoppedBy(code) {
				say("kept_without_cause", "a step of shipment %s was refused with %s, and order %s has no cause for it", s.ID, code, r.order.ID)
			}
		}
	}
}

// stoppedBy reports whether an order may have been stopped for this reason at some
// time.
func (r *Record) stoppedBy(code string) bool {
	switch code {
	case "order_frozen":
		return r.Dispute != ""
	case "order_cancelled":
		return r.order.Status == "cancelled"
	}
	back := int64(0)
	for _, refund := range r.order.Refunds {
		back += refund.Amount
	}
	return back >= r.order.Totals.Total
}

// orderFollows: an order is shipped when all of it left, delivered when all of it arrived
// or its loss is settled, and asks for a person because of its shipments while they are in
// trouble.
func (f floorEvidence) orderFollows(r *Record, say sayFunc) {
	left, arrived, settled, shipments := 0, 0, 0, 0
	must, may := map[string]bool{}, map[string]bool{}
	for _, s := range r.order.Shipments {
		if s.Status == "cancelled" {
			continue
		}
		shipments++
		c := f.record.consignments[s.ID]
		if c == nil {
			continue
		}
		if slices.Contains(onTheirWay, c.status) {
			left++
		}
		switch {
		case c.status == "delivered":
			arrived++
		case c.settled:
			settled++
		}
		c.reasons(must, may)
	}
	want := ""
	switch {
	case shipments == 0 || left < shipments:
	case arrived > 0 && arrived+settled == shipments:
		want = "delivered"
	default:
		want = "shipped"
	}
	out := r.order.Status == "shipped" || r.order.Status == "delivered"
	if want != "" && r.order.Status != want || want == "" && out {
		say("order_does_not_follow", "%d of %d shipments of order %s left and %d arrived, it is %s", left, shipments, r.order.ID, arrived, r.order.Status)
	}
	for _, reason := range slices.Sorted(maps.Values(reasonFor)) {
		asks := slices.Contains(r.order.Reasons, reason)
		if must[reason] && !asks {
			say("attention_not_raised", "a shipment of order %s is in trouble, and it does not ask for a person because of %s but %s", r.order.ID, reason, strings.Join(r.order.Reasons, ", "))
		}
		if asks && !may[reason] {
			say("attention_not_lowered", "order %s asks for a person because of %s, which is over", r.order.ID, reason)
		}
	}
}

// reasons adds why an order must ask for a person because of a shipment, and why it
// may: trouble that was followed by other trouble is for a person to see to.
func (c consignment) reasons(must, may map[string]bool) {
	if c.bought != "" {
		// What it said in between is not known here.
		for _, reason := range reasonFor {
			may[reason] = true
		}
		if reason := reasonFor[c.status]; reason != "" && !c.settled {
			must[reason] = true
		}
		return
	}
	open := map[string]bool{}
	before := ""
	for _, n := range c.news {
		if reason := reasonFor[n.status]; reason != "" {
			open[reason] = true
		} else {
			delete(open, before)
		}
		before = reasonFor[n.status]
	}
	maps.Copy(may, open)
	if before != "" && !c.settled {
		must[before] = true
	}
}
