package workflows_test

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/lifecycle"
	"justlogistics/internal/stock"
)

// shelves are stock as package stock keeps it, in memory: levels by SKU and
// warehouse, and the holds that promise their units.
type shelves struct {
	now    func() time.Time
	levels map[shelf]*level
	holds  []*hold // in the order they were placed
	// backOrders is how long paid orders wait for stock; zero asks at once.
	backOrders time.Duration
	// broken takes what must never be; a simulation collects it.
	broken func(format string, args ...any)
}

type shelf struct{ sku, warehouse string }

type level struct{ onHand, reserved int }

type hold struct {
	id, checkoutID, orderID string
	status                  string
	startedAt               time.Time
	expiresAt, heldUntil    time.Time
	confirmed               bool
	// shortUntil is until when it waits for what it has lost.
	shortUntil time.Time
	lines      []stock.HeldLine
}

var warehouses = []string{"SCL-1", "CCP-1"}

func (h *hold) live() bool {
	return h.status == "held" || h.status == "confirmed" || h.status == "short"
}

func (h *hold) held() (out []stock.Line) {
	for _, l := range h.lines {
		if n := l.Quantity - l.Shorted - l.Left; n > 0 {
			out = append(out, stock.Line{SKU: l.SKU, Warehouse: l.Warehouse, Quantity: n})
		}
	}
	return out
}

func (s *shelves) set(h *hold, status string) {
	if !lifecycle.Allowed(lifecycle.Reservation, h.status, status) {
		s.broken("hold %s may not go from %s to %s", h.id, h.status, status)
	}
	h.status = status
}

func (s *shelves) hold(id string) *hold {
	i := slices.IndexFunc(s.holds, func(h *hold) bool { return h.id == id })
	if i < 0 {
		return nil
	}
	return s.holds[i]
}

func (s *shelves) level(sku, warehouse string) *level {
	k := shelf{sku, warehouse}
	if s.levels[k] == nil {
		s.levels[k] = &level{}
	}
	return s.levels[k]
}

// place is stock.Place: all units or none, a warehouse that can give
// everything alone first.
func (s *shelves) place(id, checkoutID string, wants []stock.Want, seconds int) (shortages []stock.Shortage) {
	free := func(sku, warehouse string) int {
		l := s.level(sku, warehouse)
		return max(0, l.onHand-l.reserved)
	}
	order := slices.Clone(warehouses)
	complete := func(w string) bool {
		return !slices.ContainsFunc(wants, func(want stock.Want) bool { return free(want.SKU, w) < want.Quantity })
	}
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(btoi(complete(b)), btoi(complete(a))) })
	h := &hold{id: id, checkoutID: checkoutID, status: "held", startedAt: s.now(), expiresAt: s.now().Add(time.Duration(seconds) * time.Second)}
	h.heldUntil = h.expiresAt
	for _, want := range wants {
		missing, available := want.Quantity, 0
		for _, w := range order {
			available += free(want.SKU, w)
			if n := min(missing, free(want.SKU, w)); n > 0 {
				h.lines = append(h.lines, stock.HeldLine{Line: stock.Line{SKU: want.SKU, Warehouse: w, Quantity: n}})
				missing -= n
			}
		}
		if missing > 0 {
			shortages = append(shortages, stock.Shortage{SKU: want.SKU, Requested: want.Quantity, Available: available})
		}
	}
	if len(shortages) > 0 {
		return shortages
	}
	if checkoutID != "" && slices.ContainsFunc(s.holds, func(o *hold) bool { return o.checkoutID == checkoutID && o.live() }) {
		s.broken("a second live hold for checkout %s (holds_one_live_per_checkout)", checkoutID)
	}
	for _, l := range h.lines {
		s.level(l.SKU, l.Warehouse).reserved += l.Quantity
	}
	s.holds = append(s.holds, h)
	s.check()
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// release and expire are stock.Release and stock.Expire.
func (s *shelves) release(id string) bool { return s.end(id, "released") }

func (s *shelves) expire(id string) bool { return s.end(id, "expired") }

func (s *shelves) end(id, status string) bool {
	h := s.hold(id)
	if h == nil || h.status != "held" && h.status != "short" || h.confirmed || status == "expired" && h.heldUntil.After(s.now()) {
		return false
	}
	s.set(h, status)
	for _, l := range h.lines {
		s.level(l.SKU, l.Warehouse).reserved -= l.Quantity - l.Shorted - l.Left
	}
	s.check()
	return true
}

// confirm is stock.Confirm.
func (s *shelves) confirm(id, orderID string) bool {
	h := s.hold(id)
	if h == nil || h.status != "held" && h.status != "short" || h.confirmed {
		return false
	}
	if h.status == "held" {
		s.set(h, "confirmed")
	}
	h.confirmed, h.orderID = true, orderID
	return true
}

// grace is stock.Grace; false when there is no hold that could be kept longer.
func (s *shelves) grace(id string, seconds, most int) bool {
	h := s.hold(id)
	if h == nil || h.status != "held" && h.status != "short" || h.confirmed {
		return false
	}
	until := s.now().Add(time.Duration(seconds) * time.Second)
	if last := h.expiresAt.Add(time.Duration(most) * time.Second); until.After(last) {
		until = last
	}
	if until.After(h.heldUntil) {
		h.heldUntil = until
	}
	return true
}

// extend is stock.Extend.
func (s *shelves) extend(id string, seconds, most int) bool {
	h := s.hold(id)
	until := s.now().Add(time.Duration(seconds) * time.Second)
	if h == nil || h.status != "held" && h.status != "short" || h.confirmed || !h.heldUntil.After(s.now()) || until.After(h.startedAt.Add(time.Duration(most)*time.Second)) {
		return false
	}
	h.expiresAt, h.heldUntil = until, until
	return true
}

// count is stock.Count: the shelf wins. It returns the holds that lost units,
// unpaid before paid, the newest first.
func (s *shelves) count(sku, warehouse string, counted int) (losers []*hold) {
	l := s.level(sku, warehouse)
	missing := l.reserved - counted
	candidates := slices.Clone(s.holds)
	slices.Reverse(candidates)
	slices.SortStableFunc(candidates, func(a, b *hold) int { return cmp.Compare(btoi(a.confirmed), btoi(b.confirmed)) })
	for _, h := range candidates {
		for i := range h.lines {
			hl := &h.lines[i]
			if missing <= 0 || !h.live() || hl.SKU != sku || hl.Warehouse != warehouse {
				continue
			}
			cut := min(missing, hl.Quantity-hl.Shorted-hl.Left)
			if cut == 0 {
				continue
			}
			hl.Shorted += cut
			missing -= cut
			l.reserved -= cut
			s.set(h, "short")
			losers = append(losers, h)
		}
	}
	l.onHand = counted
	s.check()
	return losers
}

// cure is stock.Cure: all that was lost from other shelves, or nothing.
func (s *shelves) cure(id string) bool {
	h := s.hold(id)
	taken := map[shelf]int{}
	for _, l := range h.lines {
		missing := l.Shorted
		for _, w := range warehouses {
			k := shelf{l.SKU, w}
			n := min(missing, max(0, s.level(l.SKU, w).onHand-s.level(l.SKU, w).reserved-taken[k]))
			taken[k] += n
			missing -= n
		}
		if missing > 0 {
			return false
		}
	}
	if h.status != "short" {
		return len(taken) == 0
	}
	for i := range h.lines {
		h.lines[i].Quantity -= h.lines[i].Shorted
		h.lines[i].Shorted = 0
	}
	for k, n := range taken {
		if n == 0 {
			continue
		}
		s.level(k.sku, k.warehouse).reserved += n
		i := slices.IndexFunc(h.lines, func(l stock.HeldLine) bool { return l.SKU == k.sku && l.Warehouse == k.warehouse })
		if i < 0 {
			h.lines = append(h.lines, stock.HeldLine{Line: stock.Line{SKU: k.sku, Warehouse: k.warehouse}})
			i = len(h.lines) - 1
		}
		h.lines[i].Quantity += n
	}
	to := "held"
	if h.confirmed {
		to = "confirmed"
	}
	s.set(h, to)
	s.check()
	return true
}

// mendShort is checkout.MendShort of a shop that back-orders for backOrders, or of one
// that asks when that is zero.
func (s *shelves) mendShort(id string) activities.ShortView {
	h := s.hold(id)
	switch {
	case h.status != "short" || s.cure(id):
		return activities.ShortView{Over: true, WaitsFor: "whole"}
	case h.shortUntil.IsZero() && s.backOrders > 0:
		h.shortUntil = s.now().Add(s.backOrders)
		fallthrough
	case h.shortUntil.After(s.now()):
		return activities.ShortView{WaitsFor: "Back-ordered", Until: h.shortUntil}
	}
	return activities.ShortView{WaitsFor: "short", Asks: "units are missing"}
}

// decideShort is checkout.DecideShort without money: what is given up is taken off the
// hold.
func (s *shelves) decideShort(id, outcome string) activities.ShortView {
	h := s.hold(id)
	switch {
	case h.status != "short":
		return activities.ShortView{Over: true, WaitsFor: "whole", Result: "nothing done"}
	case outcome == checkout.ShortRefund:
		for i := range h.lines {
			h.lines[i].Quantity -= h.lines[i].Shorted
			h.lines[i].Shorted = 0
		}
		s.set(h, "confirmed")
		s.check()
		return activities.ShortView{Over: true, WaitsFor: "taken off", Result: "taken off"}
	case outcome == checkout.ShortBackOrder:
		h.shortUntil = s.now().Add(10 * 24 * time.Hour)
		return activities.ShortView{WaitsFor: "Back-ordered", Until: h.shortUntil, Result: "back-ordered"}
	}
	h.shortUntil = time.Time{}
	return activities.ShortView{WaitsFor: "settled"}
}

// check compares the counters with the promises after every change.
func (s *shelves) check() {
	promised := map[shelf]int{}
	for _, h := range s.holds {
		if h.live() {
			for _, l := range h.lines {
				promised[shelf{l.SKU, l.Warehouse}] += l.Quantity - l.Shorted - l.Left
			}
		}
	}
	for k, l := range s.levels {
		if l.reserved < 0 || l.reserved > l.onHand {
			s.broken("%s in %s: %d promised, %d on hand", k.sku, k.warehouse, l.reserved, l.onHand)
		}
		if promised[k] != l.reserved {
			s.broken("%s in %s: %d reserved, live holds have %d", k.sku, k.warehouse, l.reserved, promised[k])
		}
	}
}

func (s *shelves) String() string {
	out := ""
	for _, w := range warehouses {
		for k, l := range s.levels {
			if k.warehouse == w {
				out += fmt.Sprintf("%s in %s: %d of %d promised; ", k.sku, w, l.reserved, l.onHand)
			}
		}
	}
	return out
}
