package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Difference is something that the API says and that is not what a buyer did,
// was told, or was charged.
type Difference struct {
	Rule     string `json:"rule"`
	Buyer    *int   `json:"buyer,omitempty"`
	Kind     Kind   `json:"kind,omitempty"`
	Checkout string `json:"checkout_id,omitempty"`
	Words    string `json:"words"`
}

// evidence is everything that a run's rules look at.
type evidence struct {
	records []*Record
	ledger  ledger
	shelves []shelf
	stock   map[string]stockOf // by the short name of the SKU
	prefix  string             // of the run's SKUs
	books   []Books
	// clean: nothing was made to fail, so nobody may be turned away for it.
	clean bool
	// floor is what became of a shift in the warehouses; nil where there was none.
	floor *floorEvidence
}

// differences applies every rule.
func (e evidence) differences() []Difference {
	var all []Difference
	for _, r := range e.records {
		say := func(rule, format string, args ...any) {
			d := Difference{Rule: rule, Buyer: &r.Buyer.N, Kind: r.Buyer.Kind, Words: fmt.Sprintf(format, args...)}
			if r.checkout != nil {
				d.Checkout = r.checkout.ID
			}
			all = append(all, d)
		}
		e.answered(r, say)
		e.refused(r, say)
		if r.checkout != nil {
			e.ended(r, say)
			e.asked(r, say)
			e.money(r, say)
			e.promises(r, say)
			e.order(r, say)
			e.afterSales(r, say)
		}
	}
	return append(append(append(all, e.shelvesAreRight()...), e.booksAgree()...), e.floorIsRight()...)
}

type sayFunc func(rule, format string, args ...any)

// answered: everybody gets one final answer, and no browser a server error.
func (e evidence) answered(r *Record, say sayFunc) {
	if r.Unanswered != "" {
		say("unanswered", "never got a final answer: %s", r.Unanswered)
	}
	if len(r.CheckoutIDs) > 1 {
		say("two_checkouts_for_one_order", "was given %s", strings.Join(r.CheckoutIDs, " and "))
	}
	for _, s := range r.ServerErrors {
		say("buyer_saw_a_server_error", "%s", s)
	}
	for _, s := range r.Trouble {
		say("unexpected_answer", "%s", s)
	}
}

// refused: only for the reasons that there are.
func (e evidence) refused(r *Record, say sayFunc) {
	if r.Buyer.Kind == WantsTooMuch && len(r.CheckoutIDs) > 0 {
		say("sold_what_there_is_not", "asked for %d of %s and was not refused; there are %d", tooMany, few.name, fewUnits)
	}
	switch r.Refused {
	case "", "too_many_holds":
	case "insufficient_stock":
		if len(r.Shortage) == 0 {
			say("refusal_without_lines", "insufficient_stock names no SKU")
		}
		for _, s := range r.Shortage {
			name := strings.TrimPrefix(s.SKU, e.prefix)
			if s.Available >= s.Requested {
				say("refused_with_stock", "refused %d of %s although %d were available", s.Requested, name, s.Available)
			}
			if name != few.name && name != scarce.name {
				say("refused_with_stock", "refused %d of %s, of which there is plenty", s.Requested, name)
			}
		}
	case "gateway_unavailable":
		if e.clean {
			say("refused_without_cause", "no gateway was available, and none was made to fail: %s", r.Reason)
		}
	default:
		say("refused_without_cause", "%s", r.Reason)
	}
}

// ended: every checkout has an end, and no money is still on its way.
func (e evidence) ended(r *Record, say sayFunc) {
	if r.checkout.endedBut(r.Doubted) {
		return
	}
	var payments []string
	for _, p := range r.checkout.Payments {
		payments = append(payments, p.ID+" "+p.Status)
	}
	say("not_ended", "the checkout is %s, its payments: %s", r.checkout.Status, strings.Join(payments, ", "))
}

// asked: the checkout is what was asked for, at the catalogue's prices.
func (e evidence) asked(r *Record, say sayFunc) {
	want := map[string]int{}
	for _, i := range r.Buyer.Items {
		want[i.SKU] += i.Quantity
	}
	got := map[string]int{}
	var items int64
	for _, i := range r.checkout.Items {
		got[strings.TrimPrefix(i.SKU, e.prefix)] += i.Quantity
		items += i.UnitPrice * int64(i.Quantity)
	}
	if !maps.Equal(want, got) {
		say("items_differ", "asked for %v, the checkout has %v", want, got)
	}
	var expected int64
	for name, n := range want {
		expected += price(name) * int64(n)
	}
	discount := int64(0)
	if r.Buyer.Code {
		discount = (expected*codeBasis + 5000) / 10000
	}
	t := r.checkout.Totals
	if t.Items != expected || items != expected {
		say("totals_differ", "the items cost %d, the checkout says %d", expected, t.Items)
	}
	if t.Discount != discount {
		say("discount_differs", "%d off %d are due, the checkout says %d", discount, expected, t.Discount)
	}
	if t.Total != t.Items-t.Discount+t.Shipping {
		say("totals_differ", "%d less %d plus %d is not %d", t.Items, t.Discount, t.Shipping, t.Total)
	}
}

func price(name string) int64 {
	for _, g := range append(slices.Clone(plenty), few, scarce) {
		if g.name == name {
			return g.price
		}
	}
	return 0
}

// money: who pays gets the order once, and nobody else pays.
func (e evidence) money(r *Record, say sayFunc) {
	c := r.checkout
	var kept int64
	for _, p := range c.Payments {
		keeps := e.ledger.kept(p.ID)
		kept += max(keeps-r.Doubted[p.ID], 0)
		for _, charge := range e.ledger.charges[p.ID] {
			if charge.Amount != c.Totals.Total || charge.Currency != c.Totals.Currency {
				say("charged_another_amount", "%s took %d %s, the total is %d %s", charge.Gateway, charge.Amount, charge.Currency, c.Totals.Total, c.Totals.Currency)
			}
		}
		if n := len(e.ledger.charges[p.ID]); n > 1 {
			say("charged_twice", "%s took the money of payment %s %d times", p.Gateway, p.ID, n)
		}
		if keeps < 0 {
			say("refunded_too_much", "more of payment %s went back than was taken", p.ID)
		}
		if p.Applied && keeps <= 0 && c.Status == "paid" && len(e.ledger.charges[p.ID]) == 0 {
			say("paid_without_charge", "payment %s pays the order, and %s has taken nothing for it", p.ID, p.Gateway)
		}
	}
	switch {
	case c.Status == "paid" && kept > c.Totals.Total:
		say("charged_twice", "%d were taken for a total of %d and did not go back", kept, c.Totals.Total)
	case c.Status == "paid" && len(r.Approvals) == 0:
		say("paid_without_paying", "the buyer never approved anything, and the checkout is paid")
	case c.Status != "paid" && kept > 0:
		rule := "charged_and_not_paid"
		if r.ToldCancelled {
			rule = "told_cancelled_and_charged"
		}
		say(rule, "%d were taken and did not go back, the checkout is %s", kept, c.Status)
	}
}

// inTimeBy is how long before the end of the hold a return must be stored for
// the buyer to have a right to the order.
const inTimeBy = 2 * time.Second

// promises: what the API told the buyer stays true.
func (e evidence) promises(r *Record, say sayFunc) {
	c := r.checkout
	if r.ToldCancelled && c.Status != "cancelled" {
		say("told_cancelled_and_is_not", "the buyer was told cancelled, the checkout is %s", c.Status)
	}
	if r.ToldPaid && c.Status != "paid" {
		say("told_paid_and_is_not", "the buyer was told paid, the checkout is %s", c.Status)
	}
	if r.Cancelled || c.Status == "paid" || len(c.Payments) == 0 || c.ExpiresAt == nil {
		return
	}
	// An attempt that a newer one took the place of has no such right.
	last := c.Payments[len(c.Payments)-1].ID
	for _, a := range r.Approvals {
		if a.PaymentID == last && a.Taken && !a.StoredAt.IsZero() && a.StoredAt.Before(c.ExpiresAt.Add(-inTimeBy)) {
			say("approved_in_time_and_not_paid", "the buyer approved %s before the end of the hold and was back, the checkout is %s", c.ExpiresAt.Sub(a.StoredAt).Round(time.Second), c.Status)
		}
	}
}

// order: a paid checkout is an order of the same id and total.
func (e evidence) order(r *Record, say sayFunc) {
	c := r.checkout
	if c.Status != "paid" {
		if c.OrderID != nil {
			say("order_without_payment", "the checkout is %s and names order %s", c.Status, *c.OrderID)
		}
		return
	}
	switch {
	case c.OrderID == nil || *c.OrderID != c.ID:
		say("order_missing", "the checkout is paid and its order_id is not its id")
	case r.order == nil:
		say("order_missing", "the checkout is paid and there is no order")
	case r.order.Totals.Total != c.Totals.Total:
		say("order_differs", "the order's total is %d, the checkout's %d", r.order.Totals.Total, c.Totals.Total)
	}
	held := 0
	if c.Reservation != nil {
		for _, l := range c.Reservation.Lines {
			held += l.Quantity
		}
	}
	if want := units(r.Buyer); held != want {
		say("units_differ", "%d units were bought, %d are held for the order", want, held)
	}
}

func units(b Buyer) (n int) {
	for _, i := range b.Items {
		n += i.Quantity
	}
	return n
}

// shelvesAreRight: what is reserved at the end is what was sold and has not left, and
// nothing was sold that is not there.
func (e evidence) shelvesAreRight() (all []Difference) {
	sold := map[string]int{}
	for _, r := range e.records {
		if r.checkout != nil && r.checkout.Status == "paid" {
			for _, i := range r.Buyer.Items {
				sold[i.SKU] += i.Quantity
			}
		}
	}
	say := func(rule, format string, args ...any) {
		all = append(all, Difference{Rule: rule, Words: fmt.Sprintf(format, args...)})
	}
	for _, s := range e.shelves {
		level, known := e.stock[s.name]
		if !known {
			say("stock_unknown", "the stock of %s could not be read", s.name)
			continue
		}
		onHand, reserved := 0, 0
		for _, w := range level.Warehouses {
			onHand += w.OnHand
			reserved += w.Reserved
		}
		had, has, left := s.units, s.units, 0
		if e.floor != nil {
			had, has = e.floor.supply(s.name)
			left = e.floor.sums.left[s.name]
		}
		if sold[s.name] > had {
			say("oversold", "%d of %s were sold, there were %d", sold[s.name], s.name, had)
		}
		if onHand != has && (e.floor == nil || e.floor.real != nil) {
			say("on_hand_differs", "%d of %s are there that can be sold, the API says %d", has, s.name, onHand)
		}
		if reserved != sold[s.name]-left {
			say("reserved_differs", "%d of %s were sold and %d of them left, %d are reserved", sold[s.name], s.name, left, reserved)
		}
		if level.Available != onHand-reserved {
			say("available_differs", "%d of %s on hand and %d reserved, available %d", onHand, s.name, reserved, level.Available)
		}
	}
	return all
}
