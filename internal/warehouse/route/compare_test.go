package route

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// largestGap is the length of the tour by the rule of the largest gap on one
// block: through the first and the last aisle, and into each aisle between from
// both sides as far as the widest part that has no stops.
func largestGap(a *Aisles, stops []Stop) int64 {
	sorted := inOrder(append([]Stop{}, stops...))
	if len(sorted) == 0 {
		return 0
	}
	front, back := a.Cross[0], a.Cross[1]
	left, right := a.X[sorted[0].Aisle], a.X[sorted[len(sorted)-1].Aisle]
	across := max(a.Depot.X-left, left-a.Depot.X) + right - left + max(a.Depot.X-right, right-a.Depot.X)
	if left == right {
		if a.Depot.Cross == 0 {
			return across + 2*(sorted[len(sorted)-1].Y-front)
		}
		return across + 2*(back-sorted[0].Y)
	}
	length := across + 2*(back-front)
	for i := 0; i < len(sorted); {
		aisle, at, widest := sorted[i].Aisle, front, int64(0)
		for ; i < len(sorted) && sorted[i].Aisle == aisle; i++ {
			widest = max(widest, sorted[i].Y-at)
			at = sorted[i].Y
		}
		widest = max(widest, back-at)
		if x := a.X[aisle]; x != left && x != right {
			length += 2 * (back - front - widest)
		}
	}
	return length
}

// TestShortest_SavesOverTheRulesOfPickers measures the table of
// docs/warehouse/routes.md: how much longer than the shortest the rules are.
func TestShortest_SavesOverTheRulesOfPickers(t *testing.T) {
	t.Parallel()
	const floors = 300
	over := func(length, shortest int64) float64 { return 100 * (float64(length)/float64(shortest) - 1) / floors }
	for _, stops := range []int{5, 10, 20, 30} {
		r := rand.New(rand.NewPCG(uint64(stops), 17))
		var snakeOne, gapOne, snakeTwo float64
		for range floors {
			one, list := hall(r, 2, 5+r.IntN(16), stops)
			shortest, gap := one.Length(list), largestGap(one, list)
			require.GreaterOrEqual(t, gap, shortest)
			snakeOne += over(must(t)(one.SShape(list)).Length, shortest)
			gapOne += over(gap, shortest)
			two, list := hall(r, 3, 5+r.IntN(16), stops)
			snakeTwo += over(must(t)(two.SShape(list)).Length, two.Length(list))
		}
		t.Logf("%d stops, over the shortest: one block: S-shape %.1f %%, largest gap %.1f %%; two blocks: S-shape %.1f %%", stops, snakeOne, gapOne, snakeTwo)
		require.Greater(t, min(snakeOne, snakeTwo), 10.0)
		require.Greater(t, gapOne, 3.0)
	}
}
