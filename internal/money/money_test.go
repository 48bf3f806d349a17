package money_test

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"justlogistics/internal/money"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMul_IsExactOrAnError(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		unit, qty := rapid.Int64().Draw(t, "unit"), rapid.Int().Draw(t, "qty")
		want := new(big.Int).Mul(big.NewInt(unit), big.NewInt(int64(qty)))
		got, err := money.Mul(unit, qty)
		if !want.IsInt64() {
			require.ErrorIs(t, err, money.ErrOverflow)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want.Int64(), got)
	})
}

func TestMul_HandlesTheEdgesOfInt64(t *testing.T) {
	t.Parallel()
	got, err := money.Mul(math.MinInt64, 1)
	require.NoError(t, err)
	require.Equal(t, int64(math.MinInt64), got)
	_, err = money.Mul(math.MinInt64, -1)
	require.ErrorIs(t, err, money.ErrOverflow)
	got, err = money.Mul(12990, 2)
	require.NoError(t, err)
	require.Equal(t, int64(25980), got)
}

func TestSum_IsExactOrAnErrorInWhateverOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amounts := rapid.SliceOfN(rapid.Int64(), 0, 20).Draw(t, "amounts")
		want := new(big.Int)
		for _, a := range amounts {
			want.Add(want, big.NewInt(a))
		}
		got, err := money.Sum(rapid.Permutation(amounts).Draw(t, "order")...)
		if !want.IsInt64() {
			require.ErrorIs(t, err, money.ErrOverflow)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want.Int64(), got)
	})
}

func TestSpread_SumsExactlyAndStaysNearTheExactShare(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64().Draw(t, "total")
		weights := rapid.SliceOfN(rapid.Int64Range(0, math.MaxInt64/20), 1, 20).Draw(t, "weights")
		parts := money.Spread(total, weights)
		require.Len(t, parts, len(weights))
		require.Equal(t, parts, money.Spread(total, weights), "deterministic")

		sum, err := money.Sum(parts...)
		require.NoError(t, err)
		require.Equal(t, total, sum)

		weightSum, err := money.Sum(weights...)
		require.NoError(t, err)
		for i, p := range parts {
			require.False(t, p > 0 && total < 0 || p < 0 && total > 0, "part %d has the other sign", i)
			if weightSum == 0 {
				continue
			}
			// |p*sum - total*w| < sum is |p - share| < 1 without division.
			off := new(big.Int).Mul(big.NewInt(p), big.NewInt(weightSum))
			off.Sub(off, new(big.Int).Mul(big.NewInt(total), big.NewInt(weights[i])))
			require.Negative(t, off.CmpAbs(big.NewInt(weightSum)), "part %d is %d", i, p)
		}
	})
}

func TestSpread_NeverMakesADiscountedLineNegative(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.Int64Range(0, 1000), 1, 30).Draw(t, "lines")
		sum, err := money.Sum(lines...)
		require.NoError(t, err)
		discount := rapid.Int64Range(0, sum).Draw(t, "discount")
		for i, part := range money.Spread(discount, lines) {
			require.LessOrEqual(t, part, lines[i])
		}
	})
}

func TestSpread_MirrorsForRefunds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(0, math.MaxInt64).Draw(t, "total")
		weights := rapid.SliceOfN(rapid.Int64Range(0, 1_000_000), 1, 10).Draw(t, "weights")
		negative := money.Spread(-total, weights)
		for i := range negative {
			negative[i] = -negative[i]
		}
		require.Equal(t, money.Spread(total, weights), negative)
	})
}

func TestSpread_GivesTheRestToTheLargestRemainderThenToTheEarlier(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		total         int64
		weights, want []int64
	}{
		"ties go to the earlier":        {100, []int64{1, 1, 1}, []int64{34, 33, 33}},
		"the largest remainder first":   {10, []int64{30, 30, 45}, []int64{3, 3, 4}},
		"a weight of zero gets nothing": {7, []int64{0, 3, 0, 3}, []int64{0, 4, 0, 3}},
		"everything":                    {25980, []int64{12990, 12990}, []int64{12990, 12990}},
		"nothing":                       {0, []int64{5, 9}, []int64{0, 0}},
		"no weight at all: evenly":      {5, []int64{0, 0}, []int64{3, 2}},
		"the smallest int64":            {math.MinInt64, []int64{7}, []int64{math.MinInt64}},
		"nothing over nothing":          {0, nil, []int64{}},
	} {
		require.Equal(t, c.want, money.Spread(c.total, c.weights), name)
	}
}

func TestSpread_LeavesItsWeightsAlone(t *testing.T) {
	t.Parallel()
	weights := []int64{0, 0, 0}
	money.Spread(10, weights)
	require.True(t, slices.Equal([]int64{0, 0, 0}, weights))
}

func TestSpread_PanicsRatherThanLoseMoney(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { money.Spread(1, nil) })
	require.Panics(t, func() { money.Spread(1, []int64{5, -1}) })
	require.Panics(t, func() { money.Spread(1, []int64{math.MaxInt64, math.MaxInt64, math.MaxInt64}) })
}

func TestIncludedTax_IsGrossMinusRoundedNet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ gross, rate, want int64 }{
		{29970, 19, 4785}, {12990, 19, 2074}, {119, 19, 19}, {1, 19, 0}, {0, 19, 0}, {12990, 0, 0},
		{-29970, 19, -4785}, {200, 100, 100},
		// The net of 3 at 100 % is 1.5, which rounds up.
		{3, 100, 1}, {-3, 100, -1},
	} {
		require.Equal(t, c.want, money.IncludedTax(c.gross, c.rate), "%d at %d %%", c.gross, c.rate)
	}
	require.Panics(t, func() { money.IncludedTax(100, -1) })
}

func TestIncludedTax_AgreesWithExactArithmetic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		gross := rapid.Int64Range(0, math.MaxInt64).Draw(t, "gross")
		rate := rapid.Int64Range(0, 1000).Draw(t, "rate")
		// round(a/b) of non-negatives is floor((2a+b)/2b).
		a := new(big.Int).Mul(big.NewInt(gross), big.NewInt(200))
		a.Add(a, big.NewInt(100+rate))
		net := a.Div(a, big.NewInt(2*(100+rate)))
		want := new(big.Int).Sub(big.NewInt(gross), net)
		require.Equal(t, want.Int64(), money.IncludedTax(gross, rate))
		require.Equal(t, -want.Int64(), money.IncludedTax(-gross, rate))
	})
}
