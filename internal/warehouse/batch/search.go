package batch

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
)

// How the search divides its work, chosen on waves of 40 to 500 orders. Plans
// differ by some thousandths when one of them is halved or doubled.
const (
	// groupItems is about how many orders are searched together.
	groupItems = 50
	// groupsPerRound is how many groups a round searches at most, so that rounds
	// of large waves are short too.
	groupsPerRound = 8
	// shakes is how often a round disturbs and mends a group.
	shakes = 5
	// taken is how many orders a shake takes off their trolleys at most, beside
	// those of the trolley that one in dissolved shakes empties.
	taken     = 6
	dissolved = 4
	// overlooked is how often an insertion does not see a trolley: one in so many.
	overlooked = 10
	// slack is the part of a trolley's mean length, one in so many, by which a
	// group may grow for a while.
	slack = 50
	// movesMeasured is how many moves between two trolleys are measured; the
	// guess chooses them.
	movesMeasured = 3
	// patience is how many rounds without a better plan end the search.
	patience = 400
)

// search improves the plan in rounds. Each round deals the trolleys into groups
// that have nothing in common, so that all processors work and which of them is
// quicker makes no difference; each group's chance comes from seed, round and
// number.
func (w *wave) search(ctx context.Context, best solution, seed uint64, limit int) (solution, int) {
	rounds, idle := 1, 0
	for ; rounds < limit && idle < patience && len(best.trolleys) > 1; rounds++ {
		chance := rand.New(rand.NewPCG(seed, uint64(rounds)))
		groups, rest := w.deal(best.trolleys, chance)
		seeds := make([]uint64, len(groups))
		for i := range seeds {
			seeds[i] = chance.Uint64()
		}
		done := w.spread(ctx, len(groups), func(r *ruler, i int) {
			g := group{w: w, r: r, chance: rand.New(rand.NewPCG(seed, seeds[i]))}
			groups[i] = g.improve(ctx, groups[i])
		})
		if !done {
			break
		}
		found := w.total(slices.Concat(append(groups, rest)...))
		idle++
		if found.length < best.length {
			idle = 0
		}
		best = found
	}
	return best, rounds
}

// deal makes groups of trolleys: one by chance, with those that seem to share
// most of its way or with others by chance. The rest is in no group. Small waves
// make two groups, so that two processors have work.
func (w *wave) deal(trolleys []trolley, chance *rand.Rand) (groups [][]trolley, rest []trolley) {
	wanted := min(groupItems, (len(w.items)+1)/2)
	left := slices.Clone(trolleys)
	for len(left) > 0 && len(groups) < groupsPerRound {
		chance.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		if chance.IntN(2) == 0 {
			w.sortByShared(left[0], left[1:])
		}
		size, items := 0, 0
		for size < len(left) && (size < 2 || items < wanted) {
			items += len(left[size].items)
			size++
		}
		if len(left)-size == 1 {
			size++
		}
		groups = append(groups, left[:size:size])
		left = left[size:]
	}
	return groups, left
}

// sortByShared sorts trolleys by what they seem to share with the first.
func (w *wave) sortByShared(first trolley, others []trolley) {
	type guess struct {
		trolley trolley
		shared  int64
	}
	var o, p outline
	w.outline(&o, first.items, everything)
	guesses := make([]guess, len(others))
	for i, t := range others {
		w.outline(&p, t.items, everything)
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
	chance   *rand.Rand
	trolleys []trolley // some may be empty
	changed  []bool    // since all moves of the trolley were looked at
	sketches []*sketch // of the trolley at the same place
	moves    []move    // the most promising of those between two trolleys
}

// improve is iterated local search. Its answer is never longer than the trolleys
// it was given, and of no use when ctx has ended.
func (g *group) improve(ctx context.Context, start []trolley) []trolley {
	g.adopt(start)
	g.descend(ctx)
	best, shortest := g.kept(), g.length()
	current, length := best, shortest
	worse := shortest / int64(len(best)) / slack
	for range shakes {
		if ctx.Err() != nil {
			break
		}
		g.shake()
		g.descend(ctx)
		if l := g.length(); l <= length+g.chance.Int64N(worse+1) {
			current, length = g.kept(), l
		} else {
			g.adopt(current)
			clear(g.changed)
		}
		if length <= shortest {
			best, shortest = current, length
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
		g.add(t)
	}
	g.add(trolley{})
}

func (g *group) add(t trolley) {
	g.trolleys, g.changed = append(g.trolleys, t), append(g.changed, true)
	if len(g.sketches) < len(g.trolleys) {
		g.sketches = append(g.sketches, &sketch{})
	}
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

// shake takes orders off their trolleys by chance, at times all of one trolley,
// and lays each where it lengthens the way least.
func (g *group) shake() {
	var loose []int32
	if g.chance.IntN(dissolved) == 0 {
		a := g.chance.IntN(len(g.trolleys))
		for _, out := range slices.Clone(g.trolleys[a].items) {
			g.takeOff(a, out)
			loose = append(loose, out)
		}
	}
	for range 2 + g.chance.IntN(taken-1) {
		a := g.chance.IntN(len(g.trolleys))
		if items := g.trolleys[a].items; len(items) > 0 {
			out := items[g.chance.IntN(len(items))]
			g.takeOff(a, out)
			loose = append(loose, out)
		}
	}
	g.chance.Shuffle(len(loose), func(i, j int) { loose[i], loose[j] = loose[j], loose[i] })
	for _, in := range loose {
		g.insert(in)
	}
}

func (g *group) takeOff(a int, out int32) {
	g.r.exchange(&g.trolleys[a], out, none)
	g.changed[a] = true
}

func (g *group) insert(in int32) {
	best, cost := -1, int64(0)
	for b := range g.trolleys {
		t := &g.trolleys[b]
		if len(t.items) == 0 || !g.w.takes(t, none, in) || g.chance.IntN(overlooked) == 0 {
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
	g.add(trolley{})
	return len(g.trolleys) - 1
}

// descend makes moves between two trolleys that shorten them until it finds no
// more. Two trolleys are looked at again when one of them has changed.
func (g *group) descend(ctx context.Context) {
	for a := 0; a < len(g.trolleys); a++ {
		if !g.changed[a] {
			continue
		}
		moved := false
		for b := range g.trolleys {
			if b == a || b < a && g.changed[b] {
				continue
			}
			for ctx.Err() == nil && g.improvePair(a, b) {
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

// move shifts x from the first of two trolleys to the second and y from the
// second to the first; one of them may be none.
type move struct {
	x, y int32
	gain int64 // guessed
}

// improvePair makes the shortest of the promising moves between two trolleys;
// false when none of them shortens the way.
func (g *group) improvePair(a, b int) bool {
	t, u := &g.trolleys[a], &g.trolleys[b]
	if len(t.items) == 0 && len(u.items) == 0 {
		return false
	}
	g.choose(a, b)
	best := move{none, none, 0}
	for _, m := range g.moves {
		m.gain = t.length + u.length - g.r.swapped(t, m.x, m.y) - g.r.swapped(u, m.y, m.x)
		if m.gain > best.gain {
			best = m
		}
	}
	if best.gain == 0 {
		return false
	}
	g.r.exchange(t, best.x, best.y)
	g.r.exchange(u, best.y, best.x)
	return true
}

// choose guesses all moves between two trolleys that fit.
func (g *group) choose(a, b int) {
	f := &g.w.floor
	t, u := &g.trolleys[a], &g.trolleys[b]
	st, su := g.sketch(a), g.sketch(b)
	before := st.whole.length() + su.whole.length()
	g.moves = g.moves[:0]
	for i, x := range t.items {
		visits := g.w.items[x].visits
		if g.w.takes(u, none, x) {
			g.consider(move{x, none, before - st.without[i].length() - su.whole.with(f, visits)})
		}
		for j, y := range u.items {
			if g.w.takes(u, y, x) && g.w.takes(t, x, y) {
				g.consider(move{x, y, before - st.without[i].with(f, g.w.items[y].visits) - su.without[j].with(f, visits)})
			}
		}
	}
	for j, y := range u.items {
		if g.w.takes(t, none, y) {
			g.consider(move{none, y, before - su.without[j].length() - st.whole.with(f, g.w.items[y].visits)})
		}
	}
}

// consider keeps the most promising moves.
func (g *group) consider(m move) {
	at := len(g.moves)
	for at > 0 && g.moves[at-1].gain < m.gain {
		at--
	}
	if at == movesMeasured {
		return
	}
	if len(g.moves) == movesMeasured {
		g.moves = g.moves[:movesMeasured-1]
	}
	g.moves = slices.Insert(g.moves, at, m)
}

// sketch is what is guessed of a trolley, and of it without each of its orders.
type sketch struct {
	items   []int32
	whole   outline
	without []outline
}

// sketch of a trolley, made anew when its orders are not those of the last one.
func (g *group) sketch(a int) *sketch {
	s, t := g.sketches[a], &g.trolleys[a]
	if s.whole.aisles != nil && slices.Equal(s.items, t.items) {
		return s
	}
	s.items = append(s.items[:0], t.items...)
	g.w.outline(&s.whole, t.items, everything)
	for len(s.without) < len(t.items) {
		s.without = append(s.without, outline{})
	}
	for i := range t.items {
		g.w.outline(&s.without[i], t.items, i)
	}
	return s
}
