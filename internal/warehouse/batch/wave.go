package batch

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// wave is the orders to batch, made ready, and what is known of lengths.
type wave struct {
	capacity Load
	measure  func([]Stop) int64
	items    []item // the orders that a trolley carries
	tooLarge []int
	stops    []Stop // the distinct stops of all items, sorted
	floor    floor
	lengths  lengths
}

// item is an order.
type item struct {
	index  int // among the orders given
	load   Load
	stops  []int32 // in wave.stops, ascending
	visits []visit
	mark   mark
}

// trolley is a batch on the way to its best. Its key stands for its orders.
type trolley struct {
	items  []int32
	load   Load
	key    mark
	length int64
}

// solution is a complete plan. Its trolleys are never changed in place.
type solution struct {
	trolleys []trolley
	length   int64
}

func newWave(orders []Order, capacity Load, measure func([]Stop) int64) *wave {
	w := &wave{capacity: capacity, measure: measure, lengths: lengths{known: map[mark]int64{}}}
	marks := rand.New(rand.NewPCG(1964, 2010))
	for i, o := range orders {
		load := o.Load
		load.Orders = max(load.Orders, 1)
		if !load.fits(capacity) {
			w.tooLarge = append(w.tooLarge, i)
			continue
		}
		w.items = append(w.items, item{index: i, load: load, mark: mark{marks.Uint64(), marks.Uint64()}})
		w.stops = append(w.stops, o.Stops...)
	}
	slices.SortFunc(w.stops, compareStops)
	w.stops = slices.Compact(w.stops)
	for i := range w.items {
		it := &w.items[i]
		for _, s := range orders[it.index].Stops {
			at, _ := slices.BinarySearchFunc(w.stops, s, compareStops)
			it.stops = append(it.stops, int32(at))
		}
		slices.Sort(it.stops)
		it.stops = slices.Compact(it.stops)
	}
	w.floor = newFloor(w.stops, measure)
	for i := range w.items {
		w.items[i].visits = w.floor.visits(w.items[i].stops)
	}
	return w
}

func compareStops(a, b Stop) int {
	return cmp.Or(cmp.Compare(a.Aisle, b.Aisle), cmp.Compare(a.Y, b.Y))
}

// checkRoutes refuses orders that the router has no route for, before such an
// answer passes for a short way.
func (w *wave) checkRoutes(orders []Order) error {
	r := ruler{w: w}
	for i := range w.items {
		if r.swapped(&trolley{}, none, int32(i)) < 0 {
			at := w.items[i].index
			return fmt.Errorf("batch orders: the router has no route through the stops of order %d (%s)", at, orders[at].ID)
		}
	}
	return nil
}

// plan is the solution in the words of the caller.
func (w *wave) plan(s solution, rounds int) Plan {
	p := Plan{Length: s.length, TooLarge: w.tooLarge, Rounds: rounds}
	for _, t := range s.trolleys {
		b := Batch{Length: t.length}
		for _, i := range t.items {
			b.Orders = append(b.Orders, w.items[i].index)
		}
		slices.Sort(b.Orders)
		p.Batches = append(p.Batches, b)
	}
	slices.SortFunc(p.Batches, func(a, b Batch) int { return cmp.Compare(a.Orders[0], b.Orders[0]) })
	return p
}

// mark stands for an order or, as the XOR of its orders' marks, for a set of
// them. 128 random bits: two sets of a wave do not meet in one by chance.
type mark [2]uint64

func (m mark) with(n mark) mark { return mark{m[0] ^ n[0], m[1] ^ n[1]} }

// lengths remembers routes by their set of orders. It forgets all when it is
// full, which costs time and changes no plan.
type lengths struct {
	mu    sync.Mutex
	known map[mark]int64
}

const lengthsKept = 1 << 18

func (l *lengths) get(key mark) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	length, ok := l.known[key]
	return length, ok
}

func (l *lengths) put(key mark, length int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) >= lengthsKept {
		clear(l.known)
	}
	l.known[key] = length
}

// none is the place of an item where there is none.
const none int32 = -1

// ruler measures trolleys; one goroutine has it to itself.
type ruler struct {
	w     *wave
	ranks []int32
	stops []Stop
}

// swapped is the length of the trolley with one item out and one in.
func (r *ruler) swapped(t *trolley, out, in int32) int64 {
	key := t.key
	if out != none {
		key = key.with(r.w.items[out].mark)
	}
	if in != none {
		key = key.with(r.w.items[in].mark)
	}
	if length, ok := r.w.lengths.get(key); ok {
		return length
	}
	r.ranks = r.ranks[:0]
	for _, i := range t.items {
		if i != out {
			r.ranks = append(r.ranks, r.w.items[i].stops...)
		}
	}
	if in != none {
		r.ranks = append(r.ranks, r.w.items[in].stops...)
	}
	length := r.route()
	r.w.lengths.put(key, length)
	return length
}

// merged is the length of the orders of two trolleys on one.
func (r *ruler) merged(t, u *trolley) int64 {
	key := t.key.with(u.key)
	if length, ok := r.w.lengths.get(key); ok {
		return length
	}
	r.ranks = r.ranks[:0]
	for _, i := range t.items {
		r.ranks = append(r.ranks, r.w.items[i].stops...)
	}
	for _, i := range u.items {
		r.ranks = append(r.ranks, r.w.items[i].stops...)
	}
	length := r.route()
	r.w.lengths.put(key, length)
	return length
}

// route measures the stops in ranks.
func (r *ruler) route() int64 {
	if len(r.ranks) == 0 {
		return 0
	}
	slices.Sort(r.ranks)
	r.stops = r.stops[:0]
	for _, rank := range slices.Compact(r.ranks) {
		r.stops = append(r.stops, r.w.stops[rank])
	}
	return r.w.measure(r.stops)
}

// put lays an item on a trolley.
func (r *ruler) put(t *trolley, in int32) { r.exchange(t, none, in) }

// exchange takes an item off a trolley and lays another on it.
func (r *ruler) exchange(t *trolley, out, in int32) {
	t.length = r.swapped(t, out, in)
	if out != none {
		at := slices.Index(t.items, out)
		t.items = slices.Delete(t.items, at, at+1)
		t.load = t.load.minus(r.w.items[out].load)
		t.key = t.key.with(r.w.items[out].mark)
	}
	if in != none {
		t.items = append(t.items, in)
		t.load = t.load.plus(r.w.items[in].load)
		t.key = t.key.with(r.w.items[in].mark)
	}
}

// takes says whether the item still fits when another is taken off.
func (w *wave) takes(t *trolley, out, in int32) bool {
	load := t.load.plus(w.items[in].load)
	if out != none {
		load = load.minus(w.items[out].load)
	}
	return load.fits(w.capacity)
}

func (w *wave) total(trolleys []trolley) solution {
	s := solution{trolleys: trolleys}
	for i := range trolleys {
		s.length += trolleys[i].length
	}
	return s
}

// spread runs work 0..n-1 on all processors and says whether all was done
// before ctx ended. Which of them runs what is chance, so work must write to a
// place of its own number and depend on nothing else that is being written.
func (w *wave) spread(ctx context.Context, n int, work func(r *ruler, i int)) bool {
	var next atomic.Int64
	run := func() {
		r := ruler{w: w}
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			work(&r, i)
		}
	}
	var others sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) - 1 {
		others.Go(run)
	}
	run()
	others.Wait()
	return ctx.Err() == nil
}
