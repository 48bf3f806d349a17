// Package batch decides which orders a picker takes along on one trolley, so
// that the trolleys of a wave walk as little as possible.
//
// Build makes a quick plan first, then one by savings (Clarke and Wright), and
// improves it by iterated local search. Every plan is measured by the caller's
// router and by nothing else; estimates only choose what is worth measuring. It
// may be stopped at any moment and answers with the best complete plan by then.
// docs/warehouse/batching.md has the method, its sources and its figures.
package batch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Stop is a place where a picker takes something: Y is its distance in
// millimetres along the aisle, from an origin that is the same for all aisles.
type Stop struct {
	Aisle int
	Y     int64
}

// Load is what a trolley carries at most, or what an order needs of it: units,
// grams, cubic millimetres, and the boxes that keep orders apart. A zero in a
// trolley's capacity is no limit. An order that names no box takes one.
type Load struct {
	Units       int
	WeightGrams int64
	VolumeMM3   int64
	Orders      int
}

// Order is what is picked together: it is never split over two trolleys.
type Order struct {
	ID    string
	Load  Load
	Stops []Stop
}

// Batch is the orders of one trolley, as indices into the orders given to
// Build, ascending, and the length of its route in millimetres.
type Batch struct {
	Orders []int
	Length int64
}

// Plan has every order in exactly one batch or in TooLarge.
type Plan struct {
	// Batches are in the order of their first orders.
	Batches []Batch
	// Length is the sum over the batches, in millimetres.
	Length int64
	// TooLarge are the orders that no trolley carries, ascending: somebody must
	// split them or take a larger trolley.
	TooLarge []int
	// Rounds is how many rounds were completed. Building again from the same
	// orders, with the same seed and these rounds, gives the same plan.
	Rounds int
}

// Options limit the search. With neither limit there is only the quick plan.
type Options struct {
	Seed uint64
	// Rounds is how many rounds at most: the first is the plan by savings, each
	// further one searches all batches once. Zero leaves the end to Budget.
	Rounds int
	// Budget is for how long. Zero leaves the end to Rounds; a negative one is
	// over before it begins.
	Budget time.Duration
}

// Build plans the trolleys of a wave.
//
// measure is the length in millimetres of a route from the depot through the
// stops and back. It gets the distinct stops of a batch, sorted by aisle and Y,
// may neither change nor keep the slice, must answer the same for the same
// stops, and is called by several goroutines at once, as many as GOMAXPROCS. It
// is never asked about an empty list: an order without stops costs no way. A
// negative length says that there is no route, which is an error here.
//
// The plan is never longer than one order per trolley, nor than orders batched
// as they come, and never longer for more rounds. The search ends with the
// rounds, the budget or ctx, whichever is first, or when it has found nothing
// better for long. None of these is an error; a round that is cut short leaves
// no trace, so that plans can be told again. An error is a fault of the input.
func Build(ctx context.Context, orders []Order, capacity Load, measure func(stops []Stop) int64, o Options) (Plan, error) {
	if measure == nil {
		return Plan{}, errors.New("batch orders: no measure was given")
	}
	if err := check(orders, capacity, o); err != nil {
		return Plan{}, err
	}
	w := newWave(orders, capacity, measure)
	if err := w.checkRoutes(orders); err != nil {
		return Plan{}, err
	}
	best := w.quick()
	rounds := 0
	if limit := o.roundLimit(); limit > 0 {
		if o.Budget != 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, o.Budget)
			defer cancel()
		}
		best, rounds = w.improve(ctx, best, o.Seed, limit)
	}
	return w.plan(best, rounds), nil
}

func (o Options) roundLimit() int {
	if o.Rounds == 0 && o.Budget != 0 {
		return math.MaxInt
	}
	return o.Rounds
}

// improve runs the rounds: savings, then the search.
func (w *wave) improve(ctx context.Context, best solution, seed uint64, limit int) (solution, int) {
	saved, ok := w.savings(ctx)
	if !ok {
		return best, 0
	}
	if saved.length < best.length {
		best = saved
	}
	return w.search(ctx, best, seed, limit)
}

func check(orders []Order, capacity Load, o Options) error {
	if o.Rounds < 0 {
		return fmt.Errorf("batch orders: %d rounds; zero or more are possible", o.Rounds)
	}
	if capacity.negative() {
		return fmt.Errorf("batch orders: a trolley's capacity is negative: %+v", capacity)
	}
	for i, order := range orders {
		if order.Load.negative() {
			return fmt.Errorf("batch orders: order %d (%s) has a negative load: %+v", i, order.ID, order.Load)
		}
	}
	return nil
}

func (l Load) negative() bool {
	return l.Units < 0 || l.WeightGrams < 0 || l.VolumeMM3 < 0 || l.Orders < 0
}

func (l Load) plus(m Load) Load {
	return Load{l.Units + m.Units, l.WeightGrams + m.WeightGrams, l.VolumeMM3 + m.VolumeMM3, l.Orders + m.Orders}
}

func (l Load) minus(m Load) Load {
	return Load{l.Units - m.Units, l.WeightGrams - m.WeightGrams, l.VolumeMM3 - m.VolumeMM3, l.Orders - m.Orders}
}

func (l Load) fits(capacity Load) bool {
	return (capacity.Units == 0 || l.Units <= capacity.Units) &&
		(capacity.WeightGrams == 0 || l.WeightGrams <= capacity.WeightGrams) &&
		(capacity.VolumeMM3 == 0 || l.VolumeMM3 <= capacity.VolumeMM3) &&
		(capacity.Orders == 0 || l.Orders <= capacity.Orders)
}
