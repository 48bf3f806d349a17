package refund

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// partial marks sources of which a part can go back.
func partial(which ...bool) func(s source, amount int64) bool {
	return func(s source, amount int64) bool { return which[s.Installments] || amount >= s.Captured }
}

func lefts(amounts ...int64) []source {
	out := make([]source, len(amounts))
	for i, a := range amounts {
		out[i] = source{Left: a, Captured: a, Installments: i}
	}
	return out
}

func TestSpread_TakesFromTheFirstThatCan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		total   int64
		from    []source
		partial []bool
		want    []int64
	}{
		"the first has enough":                        {70, lefts(100, 50), []bool{true, true}, []int64{70, 0}},
		"the first is not enough":                     {120, lefts(100, 50), []bool{true, true}, []int64{100, 20}},
		"a whole of the first, which can do no part":  {100, lefts(100, 50), []bool{false, true}, []int64{100, 0}},
		"a part, which the first can't do":            {30, lefts(100, 50), []bool{false, true}, []int64{0, 30}},
		"the rest is less than the older one can do":  {120, lefts(100, 50), []bool{true, false}, []int64{70, 50}},
		"neither can do a part, both wholes fit":      {150, lefts(100, 50), []bool{false, false}, []int64{100, 50}},
		"neither can do a part, the older whole fits": {50, lefts(100, 50), []bool{false, false}, []int64{0, 50}},
		"no way":                    {60, lefts(100, 50), []bool{false, false}, nil},
		"more than there is":        {151, lefts(100, 50), []bool{true, true}, nil},
		"nothing left of the first": {20, lefts(0, 50), []bool{true, true}, []int64{0, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := spread(c.total, c.from, partial(c.partial...))
			require.Equal(t, c.want != nil, ok)
			require.Equal(t, c.want, got)
		})
	}
}

func TestSpread_GivesTheSumAndOnlyWhatCanBeDone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "payments")
		amounts, can := make([]int64, n), make([]bool, n)
		for i := range n {
			amounts[i] = rapid.Int64Range(0, 60).Draw(t, "left")
			can[i] = rapid.Bool().Draw(t, "partial")
		}
		total := rapid.Int64Range(1, 200).Draw(t, "total")
		got, ok := spread(total, lefts(amounts...), partial(can...))
		if !ok {
			return
		}
		sum := int64(0)
		for i, a := range got {
			sum += a
			require.GreaterOrEqual(t, a, int64(0))
			require.LessOrEqual(t, a, amounts[i])
			require.True(t, a == 0 || a == amounts[i] || can[i])
		}
		require.Equal(t, total, sum)
	})
}
