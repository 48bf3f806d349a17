package simulate

import (
	"context"
	"net/url"
	"slices"
	"time"
)

// errand is a list that somebody is to walk. Sometimes two go for the same one.
type errand struct {
	list      string
	contested bool
}

// pickList is what an operator's scanner shows of a list.
type pickList struct {
	ID         string     `json:"id"`
	Status     string     `json:"status"`
	Warehouse  string     `json:"warehouse"`
	AssignedTo string     `json:"assigned_to"`
	Version    int64      `json:"version"`
	Lines      []pickLine `json:"lines"`
}

type pickLine struct {
	Line        int    `json:"line"`
	OrderID     string `json:"order_id"`
	ShipmentID  string `json:"shipment_id"`
	SKU         string `json:"sku"`
	Quantity    int    `json:"quantity"`
	Picked      int    `json:"picked"`
	Open        int    `json:"open"`
	Unallocated int    `json:"unallocated"`
	Cancelled   bool   `json:"cancelled"`
	Stopped     string `json:"stopped"`
	Allocations []struct {
		ID       string  `json:"id"`
		Bin      *string `json:"bin"`
		Quantity int     `json:"quantity"`
		State    string  `json:"state"`
	} `json:"allocations"`
}

func (l pickList) over() bool { return l.Status == "completed" || l.Status == "cancelled" }

const listsPath = "/v1/pick-lists"

// dispatch releases waves while the shop is open.
func (o *scanner) dispatch(ctx context.Context) {
	for {
		select {
		case <-o.shift.closing:
			return
		case <-ctx.Done():
			return
		case <-time.After(time.Second + time.Duration(o.rand.IntN(1000))*time.Millisecond):
		}
		if _, err := o.release(ctx, false); err != nil {
			return
		}
	}
}

// release makes a wave in each warehouse and hands out its lists. It reports
// whether there was nothing to do.
func (o *scanner) release(ctx context.Context, final bool) (idle bool, err error) {
	idle = true
	for _, w := range o.shift.warehouses() {
		body := map[string]any{"warehouse": w, "by": []string{"order", "batch", "zone"}[o.rand.IntN(3)], "trolley": map[string]any{"orders": 1 + o.rand.IntN(4)}, "budget_ms": 100, "seed": o.rand.IntN(1000)}
		var wave struct {
			Lists []struct {
				ID string `json:"id"`
			} `json:"lists"`
			Unallocated []struct{} `json:"unallocated"`
		}
		if code, ok := o.ask(ctx, "/v1/waves", body, &wave, "nothing_to_pick"); !ok {
			idle = idle && code == "nothing_to_pick"
			continue
		}
		if final && len(wave.Unallocated) > 0 {
			idle = false
		}
		o.shift.mu.Lock()
		if len(wave.Lists) > 0 {
			idle = false
			o.shift.record.waves++
		}
		for _, l := range wave.Lists {
			o.shift.record.lists = append(o.shift.record.lists, l.ID)
		}
		o.shift.mu.Unlock()
		for _, l := range wave.Lists {
			e := errand{list: l.ID, contested: o.chance(20)}
			o.shift.hand(e)
			if e.contested {
				o.shift.did("lists_two_went_for")
				o.shift.hand(e)
			}
		}
	}
	return idle, ctx.Err()
}

func (s *shift) hand(e errand) {
	s.walking.Add(1)
	s.errands <- e
}

// pickLists walks lists until the shift is over.
func (o *scanner) pickLists(ctx context.Context) {
	for {
		select {
		case <-o.shift.closed:
			return
		case <-ctx.Done():
			return
		case e := <-o.shift.errands:
			o.walk(ctx, e)
			o.shift.walking.Done()
		}
	}
}

// mostSteps bounds what one list may ask of an operator.
const mostSteps = 150

// walk picks a list to its end, unless it is another's.
func (o *scanner) walk(ctx context.Context, e errand) {
	task := "pick:" + e.list
	if o.chance(40) {
		leased := o.lease(ctx, task)
		if !leased {
			o.shift.did("beaten_to_a_list")
			return
		}
		defer func() {
			o.ask(ctx, "/v1/tasks/"+url.PathEscape(task)+"/release", nil, nil)
		}()
	}
	away := o.chance(25) // without a network: what is picked is told later, all at once
	for step := range mostSteps {
		var l pickList
		if ctx.Err() != nil || !o.shift.read(ctx, listsPath+"/"+e.list, &l) || l.over() {
			return
		}
		if l.AssignedTo != "" && l.AssignedTo != o.person {
			if e.contested {
				o.shift.did("beaten_to_a_list")
			} else {
				o.shift.trouble("list_of_another", "list %s was handed to %s and is %s's", l.ID, o.person, l.AssignedTo)
			}
			return
		}
		if step == 0 && o.chance(70) {
			if !o.start(ctx, l) {
				// Another's lease or list: the next look tells.
				o.dawdle(ctx, 50*time.Millisecond, 300*time.Millisecond)
			}
			continue
		}
		if step > 20 {
			o.dawdle(ctx, 50*time.Millisecond, 500*time.Millisecond)
		}
		if o.step(ctx, l, away) != nil {
			return
		}
		away = false
	}
	if !e.contested {
		o.shift.trouble("list_without_end", "%s took %d steps with list %s and could not end it", o.person, mostSteps, e.list)
	}
}

func (o *scanner) lease(ctx context.Context, task string) bool {
	_, ok := o.ask(ctx, "/v1/tasks/"+url.PathEscape(task)+"/claim", map[string]any{"seconds": 120, "device": o.name}, nil, "task_taken")
	return ok
}

func (o *scanner) start(ctx context.Context, l pickList) bool {
	c := o.command("start_list", "pick:"+l.ID, map[string]any{})
	answers, err := o.work(ctx, l.Warehouse, c)
	return err == nil && answers[c.ID].applied()
}

// step does the next thing that a list asks for.
func (o *scanner) step(ctx context.Context, l pickList, away bool) error {
	var stopped []string
	var without *pickLine
	open := false
	for i, n := range l.Lines {
		switch {
		case n.Cancelled:
		case n.Stopped != "":
			if !slices.Contains(stopped, n.ShipmentID) {
				stopped = append(stopped, n.ShipmentID)
			}
		case n.Open > 0:
			open = true
		case n.Unallocated > 0:
			without = &l.Lines[i]
		}
	}
	switch {
	case len(stopped) > 0:
		o.takeOff(ctx, l, stopped)
	case open && away:
		return o.pickAway(ctx, l)
	case open:
		return o.pick(ctx, l)
	case without != nil:
		return o.giveUp(ctx, l, *without)
	default:
		_, err := o.work(ctx, l.Warehouse, o.command("complete_list", "pick:"+l.ID, map[string]any{}))
		return err
	}
	return ctx.Err()
}

// pick picks from the next bins, in one command or in several.
func (o *scanner) pick(ctx context.Context, l pickList) error {
	list := o.picks(l, 1+o.rand.IntN(3))
	if len(list) == 0 {
		o.dawdle(ctx, 50*time.Millisecond, 200*time.Millisecond)
		return ctx.Err()
	}
	if len(list) > 1 && !slices.ContainsFunc(list, func(c command) bool { return c.Kind == "short" }) && o.chance(30) {
		// The second half leaves the device before the first.
		half := len(list) / 2
		o.shift.did("batches_out_of_order")
		if _, err := o.work(ctx, l.Warehouse, list[half:]...); err != nil {
			return err
		}
		list = list[:half]
	}
	if len(list) == 1 && o.chance(30) {
		list[0].ExpectedVersion = l.Version
		o.shift.did("versions_named")
	}
	_, err := o.work(ctx, l.Warehouse, list...)
	return err
}

// pickAway picks all of a list without a network and tells of it later. What has
// changed meanwhile is refused, and those units go back where they came from.
func (o *scanner) pickAway(ctx context.Context, l pickList) error {
	o.shift.did("picked_offline")
	list := o.picks(l, mostSteps)
	door := o.shift.goods.doors[l.Warehouse]
	door.RLock()
	list = slices.DeleteFunc(list, func(c command) bool { return !o.shift.goods.pickUp(c.loads) })
	door.RUnlock()
	o.dawdle(ctx, 500*time.Millisecond, 3*time.Second)
	door.RLock()
	defer door.RUnlock()
	_, err := o.deliver(ctx, list)
	return err
}

// picks writes commands for so many of the list's open units, in its order. What
// is not there is said to be short; now and then somebody overlooks a unit.
func (o *scanner) picks(l pickList, most int) []command {
	task, pack := "pick:"+l.ID, []string{packing, packing2}[o.rand.IntN(2)]
	var list []command
	for _, n := range l.Lines {
		if n.Cancelled || n.Stopped != "" {
			continue
		}
		for _, a := range n.Allocations {
			if a.State != "open" || len(list) >= most {
				continue
			}
			from := spot{l.Warehouse, "", o.shift.run.name(n.SKU), sellable}
			if a.Bin != nil {
				from.bin = *a.Bin
			}
			units := min(a.Quantity, o.shift.goods.at(from))
			overlooks := a.Bin != nil && units == a.Quantity && o.chance(4)
			if overlooks {
				units--
				o.shift.did("units_overlooked")
			}
			if units > 0 {
				list = append(list, o.pickCommand(l, n, a.ID, from, pack, units))
			}
			if units < a.Quantity && a.Bin != nil {
				o.shift.did("picked_short")
				list = append(list, o.command("short", task, map[string]any{"allocation_id": a.ID, "bin": from.bin, "found": 0, "reason": "not there"}))
			}
		}
	}
	return list
}

func (o *scanner) pickCommand(l pickList, n pickLine, allocation string, from spot, pack string, units int) command {
	to := from
	to.bin = pack
	scan := map[string]any{"allocation_id": allocation, "bin": from.bin, "product": n.SKU, "quantity": units}
	c := o.command("pick", "pick:"+l.ID, map[string]any{"to": pack, "picks": []map[string]any{scan}}, load{&from, &to, units})
	c.picks = []pickedUnits{{order: n.OrderID, shipment: n.ShipmentID, list: l.ID, sku: from.sku, at: to, units: units}}
	return c
}

// giveUp says that there is nothing of what a line wants, after another look.
func (o *scanner) giveUp(ctx context.Context, l pickList, n pickLine) error {
	if o.chance(50) {
		o.ask(ctx, listsPath+"/"+l.ID+"/refresh", map[string]any{}, nil, "list_over")
		return ctx.Err()
	}
	o.shift.did("lines_given_up")
	_, err := o.work(ctx, l.Warehouse, o.command("short", "pick:"+l.ID, map[string]any{"line": n.Line, "bin": "", "found": 0, "reason": "no bin has any"}))
	return err
}

// takeOff takes shipments off a list of which nothing may leave: what was picked
// for them goes back.
func (o *scanner) takeOff(ctx context.Context, l pickList, shipments []string) {
	o.shift.did("orders_taken_off")
	door := o.shift.goods.doors[l.Warehouse]
	door.RLock()
	defer door.RUnlock()
	back := o.shift.shelves[l.Warehouse][o.rand.IntN(len(o.shift.shelves[l.Warehouse]))]
	var loads []load
	o.shift.mu.Lock()
	for at, n := range o.shift.onList {
		if at.list == l.ID && slices.Contains(shipments, at.shipment) && n > 0 {
			from, to := at.at, at.at
			to.bin = back
			loads = append(loads, load{&from, &to, n})
		}
	}
	o.shift.mu.Unlock()
	if !o.shift.goods.pickUp(loads) {
		o.shift.trouble("packed_units_missing", "what was picked for list %s is not in its packing bins", l.ID)
		return
	}
	_, ok := o.ask(ctx, listsPath+"/"+l.ID+"/cancel", map[string]any{"shipment_ids": shipments, "to": back, "reason": "nothing may leave for the order"}, nil, "list_over", "not_on_list")
	o.shift.goods.putDown(loads, ok)
	if ok {
		o.shift.returned(l.ID, shipments)
	}
}

// returned takes back what was picked for shipments of a list.
func (s *shift) returned(list string, shipments []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.onList {
		if at.list == list && slices.Contains(shipments, at.shipment) {
			delete(s.onList, at)
		}
	}
	for i, p := range s.record.picks {
		if p.list == list && slices.Contains(shipments, p.shipment) {
			s.record.picks[i].units = 0
		}
	}
}
