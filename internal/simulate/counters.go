package simulate

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"time"
)

// countTask is a bin that somebody is to count.
type countTask struct {
	ID        string `json:"id"`
	CountID   string `json:"count_id"`
	Warehouse string `json:"warehouse"`
	Bin       string `json:"bin"`
	Status    string `json:"status"`
	Outcome   string `json:"outcome"`
	Attempts  int    `json:"attempts"`
}

// planCounts has some bins counted while orders are picked from them.
func (o *scanner) planCounts(ctx context.Context) {
	for i, w := range []string{o.shift.north, o.shift.south, o.shift.north, o.shift.north} {
		o.dawdle(ctx, 500*time.Millisecond, 3*time.Second)
		bins := o.shift.goods.bins(w)
		bins = slices.DeleteFunc(bins, func(b string) bool { return b == packing || b == packing2 })
		o.rand.Shuffle(len(bins), func(i, j int) { bins[i], bins[j] = bins[j], bins[i] })
		o.planCount(ctx, w, bins[:min(len(bins), 6)], i)
	}
}

// planCount asks for a count; with a tolerance of 0 units every difference waits
// for approval.
func (o *scanner) planCount(ctx context.Context, warehouse string, bins []string, tolerance int) {
	if len(bins) == 0 {
		return
	}
	body := map[string]any{"warehouse": warehouse, "bins": bins, "reason": "miscount", "tolerance_units": tolerance}
	var made struct {
		ID string `json:"id"`
	}
	if _, ok := o.ask(ctx, "/v1/counts", body, &made, "nothing_to_count"); ok {
		o.shift.mu.Lock()
		o.shift.record.counts[made.ID] = true
		o.shift.mu.Unlock()
	}
}

// tasks lists the bins of a warehouse that wait in one of the states.
func (s *shift) tasks(ctx context.Context, warehouse string, states ...string) (all []countTask, ok bool) {
	for _, state := range states {
		var page struct {
			Data []countTask `json:"data"`
		}
		if !s.read(ctx, "/v1/count-tasks?limit=100&warehouse="+url.QueryEscape(warehouse)+"&status="+state, &page) {
			return nil, false
		}
		all = append(all, page.Data...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range all {
		s.record.counts[t.CountID] = true
	}
	return all, true
}

// counted waits until no bin waits for anybody.
func (s *shift) counted(ctx context.Context) error {
	for {
		waiting := 0
		for _, w := range s.warehouses() {
			all, ok := s.tasks(ctx, w, "open", "counting", "recount", "awaiting_approval")
			if !ok {
				return ctx.Err()
			}
			waiting += len(all)
		}
		if waiting == 0 {
			return nil
		}
		if err := rest(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

// countBins counts what waits to be counted, until the shift is over.
func (o *scanner) countBins(ctx context.Context) {
	for o.goesOn(ctx) {
		for _, w := range o.shift.warehouses() {
			all, _ := o.shift.tasks(ctx, w, "open", "recount")
			o.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for _, t := range all[:min(len(all), 3)] {
				o.countBin(ctx, t)
			}
		}
	}
}

// goesOn rests a little and reports whether there is still work.
func (o *scanner) goesOn(ctx context.Context) bool {
	select {
	case <-o.shift.closed:
		return false
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(300+o.rand.IntN(700)) * time.Millisecond):
		return true
	}
}

// countBin begins a bin, looks at what is there, and tells it a while later.
//
// Of a bin's first count nothing is ever booked where two people must agree, so
// whoever counts first may be careless: see another number, or look only when
// pickers have been there. Whoever counts after a difference looks at the very
// moment of the beginning, since that is what the books are compared with.
func (o *scanner) countBin(ctx context.Context, t countTask) {
	s := o.shift
	door := s.goods.doors[t.Warehouse]
	first := t.Status == "open"
	door.Lock()
	begin := o.command("begin_count", "count-task:"+t.ID, map[string]any{})
	answers, err := o.deliver(ctx, []command{begin})
	seen, booked := s.goods.in(t.Warehouse, t.Bin)
	door.Unlock()
	if err != nil || !answers[begin.ID].applied() {
		return
	}
	var begun countTask
	if json.Unmarshal(answers[begin.ID].Current, &begun) != nil || begun.Attempts != t.Attempts {
		// Another has counted it since the list was read: then this is not the first.
		first = false
	}
	o.dawdle(ctx, 50*time.Millisecond, s.patience())
	if now, _ := s.goods.in(t.Warehouse, t.Bin); len(difference(now, seen)) > 0 {
		s.did("bins_moved_while_counted")
	}
	if first {
		seen = o.carelessly(t, seen, booked)
	}
	count := o.command("count", "count-task:"+t.ID, o.told(seen))
	// A first count never moves anything, so others may go on meanwhile.
	lock, unlock := door.Lock, door.Unlock
	if first {
		lock, unlock = door.RLock, door.RUnlock
	}
	lock()
	defer unlock()
	differs := difference(seen, booked)
	s.mu.Lock()
	s.lastCount[t.ID] = differs
	s.mu.Unlock()
	answers, err = o.deliver(ctx, []command{count})
	if err != nil || !answers[count.ID].applied() {
		return
	}
	var after countTask
	if err := json.Unmarshal(answers[count.ID].Current, &after); err != nil {
		s.trouble("unexpected_answer", "count of bin %s: %v", t.Bin, err)
		return
	}
	o.concluded(t, after, differs, first)
}

// patience is how long a bin takes at most: long enough for pickers to come while
// there are any.
func (s *shift) patience() time.Duration {
	select {
	case <-s.closing:
		return 500 * time.Millisecond
	default:
		return 2500 * time.Millisecond
	}
}

// carelessly is what a first counter has seen: in some cases another thing than
// what was there when it began. A mistake that happens to hide what is missing
// would leave it missing, so nobody makes that one.
func (o *scanner) carelessly(t countTask, seen, booked map[spot]int) map[spot]int {
	out, how := maps.Clone(seen), "bins_counted_at_once"
	switch {
	case o.chance(25) && len(seen) > 0:
		all := slices.SortedFunc(maps.Keys(seen), spot.compare)
		at := all[o.rand.IntN(len(all))]
		out[at] = max(0, out[at]-1+2*o.rand.IntN(2))
		how = "bins_counted_wrong"
	case o.chance(20):
		out, _ = o.shift.goods.in(t.Warehouse, t.Bin)
		how = "bins_counted_late"
	}
	if len(difference(out, booked)) == 0 && len(difference(seen, booked)) > 0 {
		out, how = seen, "bins_counted_at_once"
	}
	o.shift.did(how)
	return out
}

// told is what a counter says of a bin.
func (o *scanner) told(seen map[spot]int) map[string]any {
	lines := []map[string]any{}
	for s, n := range seen {
		if n > 0 {
			lines = append(lines, map[string]any{"code": o.shift.run.sku(s.sku), "status": s.status, "quantity": n})
		}
	}
	if len(lines) == 0 {
		return map[string]any{"empty": true}
	}
	return map[string]any{"lines": lines}
}

// difference is what was seen less what the books had, where it is not nothing.
func difference(seen, booked map[spot]int) map[spot]int {
	out := map[spot]int{}
	for s, n := range seen {
		out[s] += n
	}
	for s, n := range booked {
		out[s] -= n
	}
	for s, n := range out {
		if n == 0 {
			delete(out, s)
		}
	}
	return out
}

// concluded books what a count has changed, and counts how it went.
func (o *scanner) concluded(t, after countTask, differs map[spot]int, first bool) {
	switch {
	case after.Status == "recount":
		o.shift.did("bins_recounted")
	case after.Status == "awaiting_approval":
		o.shift.did("differences_to_approve")
	case after.Status == "done" && after.Outcome == "adjusted":
		if first {
			o.shift.trouble("first_count_booked", "bin %s of %s was adjusted by the first count of task %s", t.Bin, t.Warehouse, t.ID)
		}
		o.shift.did("bins_adjusted")
		o.shift.goods.correct(differs)
	case after.Status == "done" && len(differs) > 0:
		o.shift.trouble("count_wrongly_right", "bin %s of %s differs by %v, and task %s says right", t.Bin, t.Warehouse, differs, t.ID)
	}
}

// decide approves what others have counted; now and then a bin is counted anew
// first.
func (o *scanner) decide(ctx context.Context) {
	for o.goesOn(ctx) {
		for _, w := range o.shift.warehouses() {
			all, _ := o.shift.tasks(ctx, w, "awaiting_approval")
			for _, t := range all {
				o.approve(ctx, t)
			}
		}
	}
}

func (o *scanner) approve(ctx context.Context, t countTask) {
	s := o.shift
	s.mu.Lock()
	differs := s.lastCount[t.ID]
	again := !s.rejected[t.ID] && o.chance(30)
	if again {
		s.rejected[t.ID] = true
	}
	s.mu.Unlock()
	if again {
		if _, ok := o.ask(ctx, "/v1/count-tasks/"+t.ID+"/reject", map[string]any{}, nil); ok {
			s.did("differences_rejected")
		}
		return
	}
	door := s.goods.doors[t.Warehouse]
	door.Lock()
	defer door.Unlock()
	if _, ok := o.ask(ctx, "/v1/count-tasks/"+t.ID+"/approve", map[string]any{}, nil); ok {
		s.did("differences_approved")
		s.goods.correct(differs)
	}
}
