package batch_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/warehouse/batch"
)

func TestBuild_PutsEveryOrderOnOneTrolleyThatCarriesIt(t *testing.T) {
	t.Parallel()
	measures := map[string]func([]batch.Stop) int64{"optimal": optimalRoute, "s-shape": sShape}
	rapid.Check(t, func(t *rapid.T) {
		orders := rapid.SliceOfN(drawOrder(), 0, 25).Draw(t, "orders")
		capacity := drawCapacity().Draw(t, "capacity")
		o := batch.Options{Seed: rapid.Uint64().Draw(t, "seed"), Rounds: rapid.IntRange(0, 6).Draw(t, "rounds")}
		for name, measure := range measures {
			plan, err := batch.Build(context.Background(), orders, capacity, measure, o)
			require.NoError(t, err, name)
			requireSound(t, orders, capacity, measure, plan)
			require.LessOrEqual(t, plan.Length, oneEach(orders, plan, measure), name)
			require.LessOrEqual(t, plan.Length, asTheyCome(orders, capacity, plan, measure), name)
		}
	})
}

func drawOrder() *rapid.Generator[batch.Order] {
	return rapid.Custom(func(t *rapid.T) batch.Order {
		stop := rapid.Custom(func(t *rapid.T) batch.Stop {
			return batch.Stop{Aisle: rapid.IntRange(0, 5).Draw(t, "aisle"), Y: cell * rapid.Int64Range(1, cells).Draw(t, "cell")}
		})
		return batch.Order{
			Load: batch.Load{
				Units: rapid.IntRange(0, 12).Draw(t, "units"), WeightGrams: rapid.Int64Range(0, 9000).Draw(t, "grams"),
				VolumeMM3: rapid.Int64Range(0, 1e9).Draw(t, "mm3"), Orders: rapid.IntRange(0, 2).Draw(t, "boxes"),
			},
			Stops: rapid.SliceOfN(stop, 0, 6).Draw(t, "stops"),
		}
	})
}

func drawCapacity() *rapid.Generator[batch.Load] {
	return rapid.Custom(func(t *rapid.T) batch.Load {
		return batch.Load{
			Units: rapid.IntRange(0, 30).Draw(t, "units"), WeightGrams: rapid.Int64Range(0, 20000).Draw(t, "grams"),
			VolumeMM3: rapid.Int64Range(0, 3e9).Draw(t, "mm3"), Orders: rapid.IntRange(0, 6).Draw(t, "boxes"),
		}
	})
}

// requireSound asks of a plan all that must be true of any.
func requireSound(t require.TestingT, orders []batch.Order, capacity batch.Load, measure func([]batch.Stop) int64, p batch.Plan) {
	seen := slices.Clone(p.TooLarge)
	for _, i := range p.TooLarge {
		require.False(t, fits(orders, capacity, i), "order %d is not too large", i)
	}
	total, first := int64(0), -1
	for _, b := range p.Batches {
		require.NotEmpty(t, b.Orders)
		require.True(t, slices.IsSorted(b.Orders))
		require.Greater(t, b.Orders[0], first, "batches are in the order of their first orders")
		first = b.Orders[0]
		require.True(t, fits(orders, capacity, b.Orders...), "%v is too much for a trolley", b.Orders)
		require.Equal(t, routeOf(orders, measure, b.Orders), b.Length)
		total += b.Length
		seen = append(seen, b.Orders...)
	}
	require.Equal(t, total, p.Length)
	slices.Sort(seen)
	require.Len(t, seen, len(orders))
	for i := range seen {
		require.Equal(t, i, seen[i])
	}
}

func fits(orders []batch.Order, capacity batch.Load, on ...int) bool {
	var sum batch.Load
	for _, i := range on {
		l := orders[i].Load
		sum = batch.Load{
			Units: sum.Units + l.Units, WeightGrams: sum.WeightGrams + l.WeightGrams,
			VolumeMM3: sum.VolumeMM3 + l.VolumeMM3, Orders: sum.Orders + max(l.Orders, 1),
		}
	}
	return (capacity.Units == 0 || sum.Units <= capacity.Units) &&
		(capacity.WeightGrams == 0 || sum.WeightGrams <= capacity.WeightGrams) &&
		(capacity.VolumeMM3 == 0 || sum.VolumeMM3 <= capacity.VolumeMM3) &&
		(capacity.Orders == 0 || sum.Orders <= capacity.Orders)
}

func routeOf(orders []batch.Order, measure func([]batch.Stop) int64, on []int) int64 {
	var stops []batch.Stop
	for _, i := range on {
		stops = append(stops, orders[i].Stops...)
	}
	if len(stops) == 0 {
		return 0
	}
	slices.SortFunc(stops, func(a, b batch.Stop) int { return (a.Aisle-b.Aisle)*1_000_000 + int(a.Y-b.Y) })
	return measure(slices.Compact(stops))
}

// oneEach is the length when every order has a trolley to itself.
func oneEach(orders []batch.Order, p batch.Plan, measure func([]batch.Stop) int64) int64 {
	total := int64(0)
	for i := range orders {
		if !slices.Contains(p.TooLarge, i) {
			total += routeOf(orders, measure, []int{i})
		}
	}
	return total
}

// asTheyCome is the length when a trolley takes the orders in their sequence
// until the next one does not fit.
func asTheyCome(orders []batch.Order, capacity batch.Load, p batch.Plan, measure func([]batch.Stop) int64) int64 {
	total := int64(0)
	var on []int
	for i := range orders {
		if slices.Contains(p.TooLarge, i) {
			continue
		}
		if !fits(orders, capacity, append(slices.Clone(on), i)...) {
			total += routeOf(orders, measure, on)
			on = nil
		}
		on = append(on, i)
	}
	return total + routeOf(orders, measure, on)
}

// No t.Parallel: it sets how many processors the program has.
func TestBuild_SameSeedAndRoundsGiveTheSamePlanOnAnyProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	orders, capacity := wave(90, 10, 1, 9, 5), batch.Load{Units: 30, Orders: 7}
	for seed := range uint64(3) {
		o := batch.Options{Seed: seed, Rounds: 12}
		runtime.GOMAXPROCS(1)
		one, err := batch.Build(context.Background(), orders, capacity, optimalRoute, o)
		require.NoError(t, err)
		runtime.GOMAXPROCS(2)
		two, err := batch.Build(context.Background(), orders, capacity, optimalRoute, o)
		require.NoError(t, err)
		require.Equal(t, one, two)
		require.Equal(t, 12, one.Rounds)
	}
}

func TestBuild_MoreRoundsAreNeverLonger(t *testing.T) {
	t.Parallel()
	orders, capacity := wave(60, 10, 5, 25, 3), batch.Load{Units: 60}
	last := int64(math.MaxInt64)
	for rounds := range 15 {
		plan, err := batch.Build(context.Background(), orders, capacity, optimalRoute, batch.Options{Seed: 2, Rounds: rounds})
		require.NoError(t, err)
		require.LessOrEqual(t, plan.Length, last, "%d rounds", rounds)
		require.Equal(t, rounds, plan.Rounds)
		last = plan.Length
	}
}

func TestBuild_StoppedAnywhereHasACompletePlanThatCanBeToldAgain(t *testing.T) {
	t.Parallel()
	orders, capacity := wave(50, 10, 1, 9, 7), batch.Load{Units: 30}
	for _, calls := range []int64{0, 30, 100, 500, 1000, 2000, 4000, 8000} {
		ctx, cancel := context.WithCancel(context.Background())
		var called atomic.Int64
		measure := func(stops []batch.Stop) int64 {
			if called.Add(1) > calls {
				cancel()
			}
			return optimalRoute(stops)
		}
		stopped, err := batch.Build(ctx, orders, capacity, measure, batch.Options{Seed: 4, Rounds: math.MaxInt})
		cancel()
		require.NoError(t, err)
		requireSound(t, orders, capacity, optimalRoute, stopped)
		again, err := batch.Build(context.Background(), orders, capacity, optimalRoute, batch.Options{Seed: 4, Rounds: stopped.Rounds})
		require.NoError(t, err)
		require.Equal(t, stopped, again, "%d calls", calls)
	}
}

func TestBuild_CancelledBeforehandMakesTheQuickPlan(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	orders, capacity := wave(40, 10, 5, 25, 9), batch.Load{Units: 45}
	plan, err := batch.Build(ctx, orders, capacity, optimalRoute, batch.Options{Rounds: 50, Budget: time.Hour})
	require.NoError(t, err)
	require.Zero(t, plan.Rounds)
	requireSound(t, orders, capacity, optimalRoute, plan)

	quick, err := batch.Build(context.Background(), orders, capacity, optimalRoute, batch.Options{})
	require.NoError(t, err)
	require.Equal(t, plan, quick)
	over, err := batch.Build(context.Background(), orders, capacity, optimalRoute, batch.Options{Budget: -time.Second})
	require.NoError(t, err)
	require.Equal(t, plan, over)
}

func TestBuild_EndsByItselfWhenNothingBetterIsFound(t *testing.T) {
	t.Parallel()
	orders := wave(6, 10, 2, 5, 1)
	plan, err := batch.Build(context.Background(), orders, batch.Load{Orders: 3}, optimalRoute, batch.Options{Budget: time.Hour})
	require.NoError(t, err)
	require.Positive(t, plan.Rounds)
	again, err := batch.Build(context.Background(), orders, batch.Load{Orders: 3}, optimalRoute, batch.Options{Rounds: plan.Rounds})
	require.NoError(t, err)
	require.Equal(t, plan, again)
}

// Small waves are solved by trying all partitions; what the search may lose on
// average is a hundredth of a percent.
func TestBuild_IsWithinAHairOfTheBestOfAllPartitions(t *testing.T) {
	t.Parallel()
	const waves = 120
	gap, missed := 0.0, 0
	for seed := range uint64(waves) {
		orders, capacity := wave(3+int(seed%5), 10, 2, 12, seed), batch.Load{Units: 24}
		plan, err := batch.Build(context.Background(), orders, capacity, optimalRoute, batch.Options{Seed: seed, Rounds: 30})
		require.NoError(t, err)
		best := bestPartition(orders, capacity, nil, 0)
		require.GreaterOrEqual(t, plan.Length, best)
		if plan.Length > best {
			missed++
			gap += float64(plan.Length-best) / float64(best)
		}
	}
	t.Logf("mean gap %.4f %%, %d of %d not optimal", 100*gap/waves, missed, waves)
	require.Less(t, gap/waves, 0.0001)
}

// bestPartition puts the next order on each trolley begun and on a new one.
func bestPartition(orders []batch.Order, capacity batch.Load, trolleys [][]int, next int) int64 {
	if next == len(orders) {
		total := int64(0)
		for _, on := range trolleys {
			total += routeOf(orders, optimalRoute, on)
		}
		return total
	}
	best := bestPartition(orders, capacity, append(slices.Clone(trolleys), []int{next}), next+1)
	for i := range trolleys {
		on := append(slices.Clone(trolleys[i]), next)
		if fits(orders, capacity, on...) {
			with := slices.Clone(trolleys)
			with[i] = on
			best = min(best, bestPartition(orders, capacity, with, next+1))
		}
	}
	return best
}

// The table of docs/warehouse/batching.md is the log of this test.
func TestBuild_WalksMuchLessThanOrdersAsTheyCome(t *testing.T) {
	t.Parallel()
	for _, capacity := range []int{30, 45, 60, 75} {
		var ratio, bySavings float64
		sizes := []int{40, 60, 80, 100}
		for _, n := range sizes {
			orders, trolley := wave(n, 10, 5, 25, 1), batch.Load{Units: capacity}
			first, err := batch.Build(context.Background(), orders, trolley, optimalRoute, batch.Options{Rounds: 1})
			require.NoError(t, err)
			plan, err := batch.Build(context.Background(), orders, trolley, optimalRoute, batch.Options{Rounds: 80})
			require.NoError(t, err)
			asCome := float64(asTheyCome(orders, trolley, plan, optimalRoute))
			ratio += float64(plan.Length) / asCome / float64(len(sizes))
			bySavings += float64(first.Length) / asCome / float64(len(sizes))
		}
		t.Logf("trolleys of %d units: savings alone walks %.1f %% less than orders as they come, the search %.1f %%", capacity, 100*(1-bySavings), 100*(1-ratio))
		require.Less(t, ratio, 0.86)
	}
}

func TestBuild_HasNothingToDo(t *testing.T) {
	t.Parallel()
	plan, err := batch.Build(context.Background(), nil, batch.Load{}, optimalRoute, batch.Options{Rounds: 9, Budget: time.Second})
	require.NoError(t, err)
	require.Empty(t, plan.Batches)
	require.Zero(t, plan.Length)
}

func TestBuild_NamesOrdersThatNoTrolleyCarries(t *testing.T) {
	t.Parallel()
	orders := wave(5, 10, 3, 3, 1)
	orders[1].Load.Units = 11
	orders[4].Load.WeightGrams = 20_001
	plan, err := batch.Build(context.Background(), orders, batch.Load{Units: 10, WeightGrams: 20_000}, optimalRoute, batch.Options{Rounds: 5})
	require.NoError(t, err)
	require.Equal(t, []int{1, 4}, plan.TooLarge)
	require.Len(t, plan.Batches, 1)
	require.Equal(t, []int{0, 2, 3}, plan.Batches[0].Orders)
}

func TestBuild_WithoutLimitsIsOneTrolleyOnAnOptimalRoute(t *testing.T) {
	t.Parallel()
	orders := wave(30, 10, 1, 9, 1)
	plan, err := batch.Build(context.Background(), orders, batch.Load{}, optimalRoute, batch.Options{Rounds: 10})
	require.NoError(t, err)
	require.Len(t, plan.Batches, 1)
}

func TestBuild_RefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	stop := []batch.Stop{{Aisle: 1, Y: cell}}
	sound := []batch.Order{{ID: "first", Stops: stop}}
	noRoute := func([]batch.Stop) int64 { return -1 }
	for name, c := range map[string]struct {
		orders   []batch.Order
		capacity batch.Load
		measure  func([]batch.Stop) int64
		options  batch.Options
		says     string
	}{
		"no measure":      {orders: sound, says: "no measure"},
		"rounds":          {orders: sound, measure: sShape, options: batch.Options{Rounds: -1}, says: "-1 rounds"},
		"capacity":        {orders: sound, capacity: batch.Load{Units: -1}, measure: sShape, says: "capacity is negative"},
		"load":            {orders: []batch.Order{{ID: "odd", Load: batch.Load{VolumeMM3: -1}}}, measure: sShape, says: "order 0 (odd)"},
		"no way to stops": {orders: sound, measure: noRoute, says: "no route through the stops of order 0 (first)"},
	} {
		_, err := batch.Build(context.Background(), c.orders, c.capacity, c.measure, c.options)
		require.ErrorContains(t, err, c.says, name)
	}
}

// A wave of 500 orders of 5 lines on 20 aisles, 8 orders to a trolley; the calls
// of the router are counted, since a real one is most of the time.
func BenchmarkBuild_500Orders(b *testing.B) {
	orders, capacity := wave(500, 20, 5, 5, 1), batch.Load{Orders: 8}
	for _, rounds := range []int{0, 1, 10, 50} {
		b.Run(fmt.Sprintf("rounds=%d", rounds), func(b *testing.B) {
			var calls atomic.Int64
			measure := func(stops []batch.Stop) int64 {
				calls.Add(1)
				return optimalRoute(stops)
			}
			var plan batch.Plan
			var err error
			for b.Loop() {
				plan, err = batch.Build(context.Background(), orders, capacity, measure, batch.Options{Rounds: rounds})
				require.NoError(b, err)
			}
			b.ReportMetric(float64(calls.Load())/float64(b.N), "routes/op")
			b.ReportMetric(float64(plan.Length)/1000, "metres")
		})
	}
}
