package counting

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/stock"
)

var someContents = rapid.Custom(func(t *rapid.T) contents {
	c := newContents()
	for range rapid.IntRange(0, 6).Draw(t, "piles") {
		p := pile{rapid.SampledFrom([]string{"A", "B"}).Draw(t, "sku"), rapid.SampledFrom([]string{"", "L1", "L2"}).Draw(t, "lot"), rapid.SampledFrom(statuses).Draw(t, "status")}
		c.add(p, rapid.IntRange(0, 9).Draw(t, "units"), "")
	}
	return c
})

func (c contents) total(sku, lot string) (n int) {
	for p, units := range c.units {
		if p.SKU == sku && p.Lot == lot {
			n += units
		}
	}
	return n
}

func TestCompare_EqualContentsDoNotDiffer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := someContents.Draw(t, "contents")
		require.Empty(t, variance(compare(c, c)))
	})
}

func TestCompare_DifferenceAddedToTheBooksGivesWhatWasCounted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		books, seen := someContents.Draw(t, "books"), someContents.Draw(t, "seen")
		for _, l := range compare(books, seen) {
			require.Equal(t, seen.units[l.pile], books.units[l.pile]+l.over()-l.under())
		}
		require.Equal(t, variance(compare(books, seen)) == "", variance(compare(seen, books)) == "")
	})
}

func TestVariance_IsTheSameWhenBothSidesMove(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		books, seen := someContents.Draw(t, "books"), someContents.Draw(t, "seen")
		before := variance(compare(books, seen))
		p := pile{"A", "L1", stock.Available}
		units := rapid.IntRange(0, 5).Draw(t, "moved")
		books.add(p, units, "")
		seen.add(p, units, "")
		require.Equal(t, before, variance(compare(books, seen)))
	})
}

func TestSpread_LosesNoUnitAndFitsTheBooksWhenTheSumDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		books := someContents.Draw(t, "books")
		units := rapid.IntRange(0, 40).Draw(t, "units")
		seen := newContents()
		seen.spread(books, "A", "L1", units)
		require.Equal(t, units, seen.total("A", "L1"))
		whole := newContents()
		for _, sku := range []string{"A", "B"} {
			for _, lot := range []string{"", "L1", "L2"} {
				whole.spread(books, sku, lot, books.total(sku, lot))
			}
		}
		require.Empty(t, variance(compare(books, whole)))
	})
}

func TestDecide_NothingIsBookedOnOneWordWhereTwoAreAskedFor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := compare(someContents.Draw(t, "books"), someContents.Draw(t, "seen"))
		limit := rapid.IntRange(0, 50).Draw(t, "tolerance")
		r := rules{Recount: rapid.Bool().Draw(t, "recount"), Units: &limit}
		strange, moved := rapid.Bool().Draw(t, "strange"), rapid.Bool().Draw(t, "moved")
		earlier := rapid.SampledFrom([][]string{nil, {variance(lines)}, {"another"}}).Draw(t, "earlier")
		switch r.decide(lines, strange, moved, earlier) {
		case isRight:
			require.True(t, variance(lines) == "" && !strange)
		case isBooked:
			require.True(t, r.within(lines) && !strange)
			require.True(t, len(earlier) > 0 && earlier[0] == variance(lines) || !r.Recount && !moved)
		case isAgain:
			require.Empty(t, earlier)
		case isWaiting:
			require.True(t, strange || !r.within(lines) || len(earlier) > 0 && earlier[0] != variance(lines))
		}
	})
}
