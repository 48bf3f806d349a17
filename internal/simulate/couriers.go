package simulate

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// fate is what becomes of a shipment on its way.
type fate string

const (
	arrives       fate = "arrived"
	secondTime    fate = "arrived_the_second_time"
	lost          fate = "lost"
	lostAndFound  fate = "lost_and_found"
	comesBack     fate = "came_back"
	toldTwice     fate = "told_by_two"
	toldTooLate   fate = "told_too_late"
	withoutAStop  fate = "told_only_of_the_end"
	failsAndWaits fate = "failed_and_stays"
)

// fates have each kind in them as often as a shift should show it.
var fates = []fate{arrives, secondTime, lost, lostAndFound, comesBack, toldTwice, toldTooLate, withoutAStop, failsAndWaits, arrives, arrives, secondTime, toldTwice, arrives}

// ways are what a driver tells of a shipment, in order.
var ways = map[fate][]string{
	arrives:       {"in_transit", "out_for_delivery", "delivered"},
	secondTime:    {"in_transit", "out_for_delivery", "delivery_failed", "out_for_delivery", "delivered"},
	lost:          {"in_transit", "lost"},
	lostAndFound:  {"in_transit", "lost", "in_transit", "out_for_delivery", "delivered"},
	comesBack:     {"out_for_delivery", "delivery_failed", "returned_to_sender"},
	toldTwice:     {"in_transit", "out_for_delivery", "delivered"},
	toldTooLate:   {"out_for_delivery", "delivered"},
	withoutAStop:  {"delivered"},
	failsAndWaits: {"in_transit", "out_for_delivery", "delivery_failed"},
}

// reasonFor is why an order asks for a person when one of its shipments has this
// status.
var reasonFor = map[string]string{"delivery_failed": "delivery_failed", "returned_to_sender": "returned_to_sender", "lost": "parcel_lost"}

// driveRounds brings shipments away until the shift is over.
func (o *scanner) driveRounds(ctx context.Context) {
	for {
		select {
		case <-o.shift.closed:
			return
		case <-ctx.Done():
			return
		case c := <-o.shift.out.rounds:
			o.shift.mu.Lock()
			now := *c
			o.shift.mu.Unlock()
			switch {
			case now.bought == "":
				o.bringAway(ctx, c)
			case !now.taken:
				o.dawdle(ctx, 100*time.Millisecond, time.Second)
				o.vanTakes(ctx, now)
			}
			o.shift.out.driving.Done()
		}
	}
}

// bringAway tells of a shipment whatever its fate wants.
func (o *scanner) bringAway(ctx context.Context, c *consignment) {
	for _, status := range ways[c.fate] {
		o.dawdle(ctx, 100*time.Millisecond, 700*time.Millisecond)
		if c.fate == toldTwice && status == "delivered" {
			o.bothTell(ctx, c, status)
		} else if _, ok := o.tell(ctx, c, status); !ok {
			return
		}
		if !o.toldOf(ctx, c, status) {
			return
		}
		if o.chance(20) {
			o.shift.did("news_told_again")
			if _, ok := o.tell(ctx, c, status); !ok {
				return
			}
		}
	}
	if c.fate == toldTooLate {
		if code, ok := o.tell(ctx, c, "in_transit", "wrong_status"); ok {
			o.shift.trouble("delivered_and_moved", "shipment %s was delivered, and then in_transit", c.shipment)
		} else if code != "wrong_status" {
			return
		}
	}
	o.shift.did(string(c.fate))
}

// tell makes a driver's word known, until it is answered. Refusals other than the
// codes given are trouble.
func (o *scanner) tell(ctx context.Context, c *consignment, status string, codes ...string) (code string, ok bool) {
	var now shipment
	path := shipmentsPath + "/" + c.shipment + "/status"
	code, ok = o.ask(ctx, path, map[string]any{"status": status, "note": "by " + o.person}, &now, codes...)
	if ok && now.Status != status {
		o.shift.trouble("unexpected_answer", "POST %s with %s: the shipment is %s", path, status, now.Status)
	}
	return code, ok
}

// bothTell has two people tell the same at the same moment: one of them is heard, and
// the other may be.
func (o *scanner) bothTell(ctx context.Context, c *consignment, status string) {
	path, body := shipmentsPath+"/"+c.shipment+"/status", map[string]any{"status": status}
	shops := []*storefront{o.shift.run.shop.as(o.person), o.shift.run.shop.as(o.person + "-mate")}
	keys := []string{o.key(), o.key()}
	answers := make(chan answer, 2)
	for i, shop := range shops {
		go func() {
			a, err := shop.insist(ctx, http.MethodPost, path, keys[i], body)
			if err != nil {
				o.shift.trouble("unanswered", "%s: %v", o.person, err)
			}
			answers <- a
		}()
	}
	heard := 0
	for range shops {
		switch a := <-answers; {
		case a.ok():
			heard++
		case a.status != 0 && a.problem.Code != "version_changed":
			o.shift.trouble("unexpected_answer", "POST %s by two at once: %s", path, a)
		}
	}
	if heard == 0 && ctx.Err() == nil {
		o.shift.trouble("unexpected_answer", "POST %s by two at once: neither was heard", path)
	}
}

// toldOf notes a driver's word, and for what reasons the order asks for a person
// then.
func (o *scanner) toldOf(ctx context.Context, c *consignment, status string) bool {
	var now order
	if !o.shift.read(ctx, "/v1/orders/"+c.order, &now) {
		return false
	}
	o.shift.mu.Lock()
	defer o.shift.mu.Unlock()
	c.status = status
	c.news = append(c.news, news{status, slices.Clone(now.Reasons)})
	return true
}
