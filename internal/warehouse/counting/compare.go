package counting

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"justlogistics/internal/stock"
)

// pile is units that are alike in a bin.
type pile struct {
	SKU, Lot, Status string
}

func (p pile) compare(o pile) int {
	return cmp.Or(strings.Compare(p.SKU, o.SKU), strings.Compare(p.Lot, o.Lot), strings.Compare(p.Status, o.Status))
}

// contents is what a bin has, or what was seen in it. Serials are listed for
// SKUs whose units have numbers, sorted.
type contents struct {
	units   map[pile]int
	serials map[pile][]string
}

func newContents() contents {
	return contents{units: map[pile]int{}, serials: map[pile][]string{}}
}

func (c contents) add(p pile, units int, serial string) {
	c.units[p] += units
	if serial != "" {
		c.serials[p] = append(c.serials[p], serial)
	}
}

func (c contents) take(p pile, units int, serial string) {
	c.units[p] -= units
	c.serials[p] = slices.DeleteFunc(c.serials[p], func(s string) bool { return s == serial })
}

func (c contents) piles() []pile {
	return slices.SortedFunc(maps.Keys(c.units), pile.compare)
}

// of are the piles of a SKU that have units.
func (c contents) of(sku string) []pile {
	var out []pile
	for _, p := range c.piles() {
		if p.SKU == sku && c.units[p] > 0 {
			out = append(out, p)
		}
	}
	return out
}

// digest names contents: two that are alike have the same.
func (c contents) digest(strange []string) string {
	var b strings.Builder
	for _, p := range c.piles() {
		fmt.Fprintf(&b, "%s|%s|%s|%d|%s\n", p.SKU, p.Lot, p.Status, c.units[p], strings.Join(slices.Sorted(slices.Values(c.serials[p])), ","))
	}
	return sum(b.String() + strings.Join(strange, "\n"))
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// line is what was counted of a pile beside what was expected.
type line struct {
	pile
	Expected, Counted       int
	Serials, Found, Missing []string
	ExpiresOn               *time.Time
}

// over and under are the units that were not expected, and those that were
// missed; a wrong serial is one of each.
func (l line) over() int {
	if len(l.Found)+len(l.Missing) > 0 {
		return len(l.Found)
	}
	return max(0, l.Counted-l.Expected)
}

func (l line) under() int {
	if len(l.Found)+len(l.Missing) > 0 {
		return len(l.Missing)
	}
	return max(0, l.Expected-l.Counted)
}

func (l line) differs() bool { return l.over()+l.under() > 0 }

// compare puts what was counted beside what was expected, pile by pile.
func compare(expected, counted contents) []line {
	all := map[pile]bool{}
	for p, n := range expected.units {
		all[p] = all[p] || n > 0
	}
	for p := range counted.units {
		all[p] = true
	}
	var out []line
	for _, p := range slices.SortedFunc(maps.Keys(all), pile.compare) {
		if !all[p] {
			continue
		}
		l := line{pile: p, Expected: max(0, expected.units[p]), Counted: counted.units[p], Serials: slices.Sorted(slices.Values(counted.serials[p]))}
		l.Found = without(l.Serials, expected.serials[p])
		l.Missing = without(slices.Sorted(slices.Values(expected.serials[p])), l.Serials)
		out = append(out, l)
	}
	return out
}

func without(list, of []string) []string {
	out := []string{}
	for _, s := range list {
		if !slices.Contains(of, s) {
			out = append(out, s)
		}
	}
	return out
}

// variance names what lines differ in, "" for nothing. Two counts agree when
// theirs is the same: what was moved between them changes both sides alike.
func variance(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		if l.differs() {
			fmt.Fprintf(&b, "%s|%s|%s|%d|%s|%s\n", l.SKU, l.Lot, l.Status, l.Counted-l.Expected, strings.Join(l.Found, ","), strings.Join(l.Missing, ","))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return sum(b.String())
}

// otherStatuses are those that a counter can't see on a unit, in the order in
// which units without a named status are given to them.
var otherStatuses = []string{stock.Held, stock.Expired, stock.Damaged}

// spread gives units whose status was not named to the piles that the books
// have: those with another status than available get what they should have, the
// rest is available. So what is missing is missed of what can be sold.
func (c contents) spread(expected contents, sku, lot string, units int) {
	for _, status := range otherStatuses {
		p := pile{sku, lot, status}
		n := min(units, max(0, expected.units[p]-c.units[p]))
		if n > 0 {
			c.units[p] += n
			units -= n
		}
	}
	c.units[pile{sku, lot, stock.Available}] += units
}

// decision is what becomes of a task after a count.
type decision string

const (
	isRight   decision = "right"
	isBooked  decision = "booked"
	isAgain   decision = "again"
	isWaiting decision = "waiting"
)

// rules are a count's.
type rules struct {
	Recount        bool
	Units, Percent *int
}

// within reports whether a difference needs nobody's approval.
func (r rules) within(lines []line) bool {
	if r.Units == nil && r.Percent == nil {
		return false
	}
	units, expected := 0, 0
	for _, l := range lines {
		units += l.over() + l.under()
		expected += l.Expected
	}
	return (r.Units == nil || units <= *r.Units) && (r.Percent == nil || units*100 <= *r.Percent*expected)
}

// decide tells what becomes of a count, after earlier ones of the same round by
// their variances.
//
// Equal to the books: right. The first count that differs is repeated, by another
// person with Recount; without Recount only when units moved meanwhile, since
// then nobody knows whether the counter saw them. A later count that says the
// same as an earlier one stands; one that says another thing, or something
// strange, waits for approval, and so does what is above the tolerance.
func (r rules) decide(lines []line, strange, moved bool, earlier []string) decision {
	v := variance(lines)
	switch {
	case v == "" && !strange:
		return isRight
	case len(earlier) == 0 && (r.Recount || moved):
		return isAgain
	case strange, len(earlier) > 0 && !slices.Contains(earlier, v), !r.within(lines):
		return isWaiting
	}
	return isBooked
}
