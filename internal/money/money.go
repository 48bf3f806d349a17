// Package money computes with amounts in a currency's minor unit. All of it is
// integer arithmetic: the result never depends on the order of the operations,
// and what does not fit in 64 bits is an error, never a wrong number.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// ErrOverflow tells that a result does not fit in an int64.
var ErrOverflow = errors.New("money: amount too large")

// Mul returns unit*qty in minor units, or ErrOverflow.
func Mul(unit int64, qty int) (int64, error) {
	hi, lo := bits.Mul64(magnitude(unit), magnitude(int64(qty)))
	amount, ok := signed(hi, lo, (unit < 0) != (qty < 0))
	if !ok {
		return 0, fmt.Errorf("%w: %d times %d", ErrOverflow, unit, qty)
	}
	return amount, nil
}

// Sum adds amounts of one currency, or returns ErrOverflow. The sum of nothing
// is zero. Whether the result fits does not depend on the order of the amounts.
func Sum(amounts ...int64) (int64, error) {
	// 128 bits in two's complement: the carry of the low word into the high one.
	var hi, lo uint64
	for _, a := range amounts {
		var carry uint64
		lo, carry = bits.Add64(lo, uint64(a), 0)
		hi += uint64(a>>63) + carry
	}
	if hi != uint64(int64(lo)>>63) {
		return 0, fmt.Errorf("%w: sum of %d amounts", ErrOverflow, len(amounts))
	}
	return int64(lo), nil
}

// Spread divides total over weights in proportion, by largest remainder: the
// parts sum to exactly total, no part has the other sign, each is within one
// minor unit of its exact share, and equal inputs give equal outputs (ties go
// to the earlier weight). While |total| is at most the sum of the weights, no
// part exceeds its weight, so a discount never makes a line negative.
//
// When every weight is zero the total is divided evenly.
//
// Spread panics on what only a bug can ask for: a negative weight, weights
// whose sum passes 2^64, or a total that is not zero with no weights at all,
// since returning anything would lose money in silence.
func Spread(total int64, weights []int64) []int64 {
	parts := make([]int64, len(weights))
	if len(weights) == 0 {
		if total != 0 {
			panic(fmt.Sprintf("money: spread %d over no weights", total))
		}
		return parts
	}
	var sum uint64
	for _, w := range weights {
		if w < 0 {
			panic(fmt.Sprintf("money: spread over the negative weight %d", w))
		}
		var carry uint64
		sum, carry = bits.Add64(sum, uint64(w), 0)
		if carry != 0 {
			panic("money: spread over weights whose sum passes 2^64")
		}
	}
	if sum == 0 {
		weights = slices.Repeat([]int64{1}, len(weights))
		sum = uint64(len(weights))
	}

	left := magnitude(total)
	remainders := make([]uint64, len(weights))
	order := make([]int, len(weights))
	shares := make([]uint64, len(weights))
	for i, w := range weights {
		// |total| <= 2^63 and w <= sum, so the high word is below sum and the
		// quotient fits.
		hi, lo := bits.Mul64(magnitude(total), uint64(w))
		shares[i], remainders[i] = bits.Div64(hi, lo, sum)
		left -= shares[i]
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case remainders[a] > remainders[b]:
			return -1
		case remainders[a] < remainders[b]:
			return 1
		}
		return 0
	})
	// The remainders sum to left*sum, each below sum: more than left of them
	// are positive, so an exact share is never rounded up.
	for _, i := range order[:left] {
		shares[i]++
	}
	for i, s := range shares {
		parts[i] = int64(s)
		if total < 0 {
			parts[i] = -int64(s)
		}
	}
	return parts
}

// IncludedTax returns the tax inside gross, both in minor units, for a rate in
// whole percent (Chile's IVA is 19): gross minus the net rounded half away from
// zero. IncludedTax(29970, 19) is 4785. A negative gross (a refund) gives the
// negative of the same tax. It panics on a negative rate.
func IncludedTax(gross int64, ratePercent int64) int64 {
	if ratePercent < 0 || ratePercent > math.MaxInt64-100 {
		panic(fmt.Sprintf("money: tax rate %d %%", ratePercent))
	}
	divisor := uint64(100 + ratePercent)
	hi, lo := bits.Mul64(magnitude(gross), 100)
	lo, carry := bits.Add64(lo, divisor/2, 0)
	// hi is at most 50, below the divisor.
	net, _ := bits.Div64(hi+carry, lo, divisor)
	tax := magnitude(gross) - net
	if gross < 0 {
		return -int64(tax)
	}
	return int64(tax)
}

// magnitude is |v| without the overflow that -v has for the smallest int64.
func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

func signed(hi, lo uint64, negative bool) (int64, bool) {
	switch {
	case hi != 0:
		return 0, false
	case negative && lo <= 1<<63:
		return int64(-lo), true
	case !negative && lo <= math.MaxInt64:
		return int64(lo), true
	}
	return 0, false
}
