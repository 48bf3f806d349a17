package batch

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
)

// How the search divides its work. Measured on waves of 40 to 500 orders; none
// of them is sharp.
var (
	// groupItems is how many orders are searched together.
	groupItems = 24
	// shakes is how often a round disturbs and mends a group.
	shakes = 20
	// taken is how many orders a disturbance takes off their trolleys at most.
	taken = 6
	// patience is how many rounds without a better plan end the search.
	patience = 200
	// groupsPerRound is how many groups a round searches at most.
	groupsPerRound = 8
	noDescend      = 0
	temper         = 0
	moveTries      = 8
	insertTries    = 100
)

// search improves the plan in rounds. Each round deals the trolleys into groups
// that have nothing in common, so that all processors work and which of them is
// quicker makes no difference; each group's chance comes from seed, round and
// number.
func (w *wave) search(ctx context.Context, best solution, seed uint64, limit int) (solution, int) {
	rounds, idle := 1, 0
	for ; rounds < limit && idle < patience && len(best.trolleys) > 1; rounds++ {
		chance := rand.New(rand.NewPCG(seed, uint64(rounds)))
		groups := w.deal(best.trolleys, chance)
		searched := min(len(groups), groupsPerRound)
		seeds := make([]uint64, len(groups))
		for i := range seeds {
			seeds[i] = chance.Uint64()
		}
		done := w.spread(ctx, searched, func(r *ruler, i int) {
			g := group{w: w, r: r, ctx: ctx, chance: rand.New(rand.NewPCG(seed, seeds[i]))}
			groups[i] = g.improve(groups[i])
		})
		if !done {
			break
		}
		found := w.total(slices.Concat(groups...))
		idle++
		if found.length < best.length {
			idle = 0
		}
		best = found
	}
	return best, rounds
}

// deal puts every trolley into one group: one by chance, and those that seem to
// share most with it, or others by chance.
func (w *wave) deal(trolleys []trolley, chance *rand.Rand) [][]trolley {
	left := slices.Clone(trolleys)
	chance.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	var groups [][]trolley
	for len(left) > 0 {
		if chance.IntN(2) == 0 {
			w.sortByShared(left[0], left[1:])
		}
		size, items := 0, 0
		for size < len(left) && (size < 2 || items < groupItems) {
			items += len(left[size].items)
			size++
		}
		if len(left)-size == 1 {
			size++
		}
		groups = append(groups, left[:size:size])
		left = left[size:]
		chance.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	}
	return groups
}

func (w *wave) sortByShared(first trolley, others []trolley) {
	type guess struct {
		trolley trolley
		shared  int64
	}
	var o, p outline
	w.outline(&o, first.items, -1)
	guesses := make([]guess, len(others))
	for i, t := range others {
		w.outline(&p, t.items, -1)
		guesses[i] = guess{t, o.shared(&w.floor, &p)}
	}
	slices.SortStableFunc(guesses, func(a, b guess) int { return cmp.Compare(b.shared, a.shared) })
	for i, g := range guesses {
		others[i] = g.trolley
	}
}

// group is some trolleys that are improved together, by one goroutine.
type group struct {
	w        *wave
	r        *ruler
	ctx      context.Context
	chance   *rand.Rand
	trolleys []trolley // may be empty ones among them
	sketches []*sketch
	guessed  []guessedMove
	changed  []bool // since all moves of the trolley were looked at
}

// improve is iterated local search. Its answer is never longer than the trolleys
// it was given, and worth nothing when ctx has ended.
func (g *group) improve(start []trolley) []trolley {
	g.adopt(start)
	if noDescend < 2 {
		g.descend()
	}
	best, length := g.kept(), g.length()
	cur, curLength := best, length
	scale := float64(temper) / 10000 * float64(length) / float64(len(best))
	for range shakes {
		if g.ctx.Err() != nil {
			break
		}
		g.shake()
		if noDescend == 0 {
			g.descend()
		}
		l := g.length()
		if float64(l) <= float64(curLength)+scale*g.chance.ExpFloat64() {
			cur, curLength = g.kept(), l
			if l <= length {
				best, length = cur, l
			}
		} else {
			g.adopt(cur)
			clear(g.changed)
		}
	}
	return best
}

// adopt copies trolleys, since the group changes its own in place, and adds an
// empty one.
func (g *group) adopt(trolleys []trolley) {
	g.trolleys, g.changed = g.trolleys[:0], g.changed[:0]
	for _, t := range trolleys {
		t.items = slices.Clone(t.items)
		g.trolleys = append(g.trolleys, t)
		g.changed = append(g.changed, true)
	}
	g.trolleys, g.changed = append(g.trolleys, trolley{}), append(g.changed, true)
}

// kept copies the trolleys that are in use.
func (g *group) kept() []trolley {
	var kept []trolley
	for _, t := range g.trolleys {
		if len(t.items) > 0 {
			t.items = slices.Clone(t.items)
			kept = append(kept, t)
		}
	}
	return kept
}

func (g *group) length() int64 { return g.w.total(g.trolleys).length }

// shake takes orders off their trolleys by chance and lays them where they
// lengthen the way least.
func (g *group) shake() {
	var loose []int32
	for range 2 + g.chance.IntN(taken-1) {
		a := g.chance.IntN(len(g.trolleys))
		t := &g.trolleys[a]
		if len(t.items) == 0 {
			continue
		}
		out := t.items[g.chance.IntN(len(t.items))]
		g.r.exchange(t, out, none)
		g.changed[a] = true
		loose = append(loose, out)
	}
	g.chance.Shuffle(len(loose), func(i, j int) { loose[i], loose[j] = loose[j], loose[i] })
	for _, in := range loose {
		g.insert(in)
	}
}

func (g *group) insert(in int32) {
	best, cost := -1, int64(0)
	for b := range g.trolleys {
		t := &g.trolleys[b]
		if len(t.items) == 0 || !g.w.takes(t, none, in) || g.chance.IntN(10) == 0 {
			continue
		}
		if c := g.r.swapped(t, none, in) - t.length; best < 0 || c < cost {
			best, cost = b, c
		}
	}
	if best < 0 {
		best = g.empty()
	}
	g.r.put(&g.trolleys[best], in)
	g.changed[best] = true
}

// empty is the number of an empty trolley.
func (g *group) empty() int {
	for i := range g.trolleys {
		if len(g.trolleys[i].items) == 0 {
			return i
		}
	}
	g.trolleys, g.changed = append(g.trolleys, trolley{}), append(g.changed, true)
	return len(g.trolleys) - 1
}

// descend makes moves between two trolleys that shorten them until there are
// none. A pair of trolleys is looked at again when one of them has changed.
func (g *group) descend() {
	for a := 0; a < len(g.trolleys); a++ {
		if !g.changed[a] {
			continue
		}
		moved := false
		for b := range g.trolleys {
			if b == a || b < a && g.changed[b] {
				continue
			}
			for g.ctx.Err() == nil && g.move(a, b) {
				g.changed[b] = true
				moved = true
			}
		}
		g.changed[a] = moved
		if moved {
			a = -1
		}
	}
}

// move makes the best shift of one order or swap of two; false when none
// shortens the way.
func (g *group) move(a, b int) bool {
	t, u := &g.trolleys[a], &g.trolleys[b]
	if len(t.items) == 0 && len(u.items) == 0 {
		return false
	}
	st, su := g.sketch(a), g.sketch(b)
	before := st.whole.length() + su.whole.length()
	g.guessed = g.guessed[:0]
	f := &g.w.floor
	for i, x := range t.items {
		vx := g.w.items[x].visits
		if g.w.takes(u, none, x) {
			g.consider(guessedMove{x, none, before - st.without[i].length() - su.whole.with(f, vx)})
		}
		for j, y := range u.items {
			if g.w.takes(u, y, x) && g.w.takes(t, x, y) {
				g.consider(guessedMove{x, y, before - st.without[i].with(f, g.w.items[y].visits) - su.without[j].with(f, vx)})
			}
		}
	}
	for j, y := range u.items {
		if g.w.takes(t, none, y) {
			g.consider(guessedMove{none, y, before - su.without[j].length() - st.whole.with(f, g.w.items[y].visits)})
		}
	}
	outT, outU, best := none, none, int64(0)
	for _, m := range g.guessed {
		if gain := g.gain(t, u, m.x, m.y, best); gain > best {
			outT, outU, best = m.x, m.y, gain
		}
	}
	if best == 0 {
		return false
	}
	g.r.exchange(t, outT, outU)
	g.r.exchange(u, outU, outT)
	return true
}

type guessedMove struct {
	x, y int32
	gain int64
}

// consider keeps the moves that are guessed best.
func (g *group) consider(m guessedMove) {
	at := len(g.guessed)
	for at > 0 && g.guessed[at-1].gain < m.gain {
		at--
	}
	if at == moveTries {
		return
	}
	if len(g.guessed) == moveTries {
		g.guessed = g.guessed[:moveTries-1]
	}
	g.guessed = slices.Insert(g.guessed, at, m)
}

// sketch is what is guessed of a trolley and of it without each of its items.
type sketch struct {
	of      mark
	whole   outline
	without []outline
}

func (g *group) sketch(a int) *sketch {
	for len(g.sketches) <= a {
		g.sketches = append(g.sketches, &sketch{})
	}
	s, t := g.sketches[a], &g.trolleys[a]
	if s.of == t.key && s.whole.aisles != nil {
		return s
	}
	s.of = t.key
	g.w.outline(&s.whole, t.items, -1)
	for len(s.without) < len(t.items) {
		s.without = append(s.without, outline{})
	}
	for i := range t.items {
		g.w.outline(&s.without[i], t.items, i)
	}
	return s
}

// gain is by how much x from t to u and y from u to t shorten both; or no more
// than floor, when that is seen before everything is measured. A route hardly
// becomes shorter by a stop more, so what is saved by taking an order off is the
// most that a trolley gains.
func (g *group) gain(t, u *trolley, x, y int32, floor int64) int64 {
	if y != none && !g.w.takes(t, x, y) || x != none && !g.w.takes(u, y, x) {
		return 0
	}
	mostT, mostU := t.length, u.length
	mostT -= g.r.swapped(t, x, none)
	mostU -= g.r.swapped(u, y, none)
	if mostT+mostU <= floor {
		return 0
	}
	if y != none {
		mostT = t.length - g.r.swapped(t, x, y)
		if mostT+mostU <= floor {
			return 0
		}
	}
	if x != none {
		mostU = u.length - g.r.swapped(u, y, x)
	}
	return mostT + mostU
}
