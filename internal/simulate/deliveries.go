package simulate

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// arrival is what comes of a line of a purchase order.
type arrival struct {
	sku           string
	ordered       int
	good, damaged int
}

func (a arrival) kind() string {
	switch {
	case a.damaged > 0:
		return "lines_damaged"
	case a.good < a.ordered:
		return "lines_short"
	case a.good > a.ordered:
		return "lines_over"
	}
	return "lines_exact"
}

// delivery is a purchase order and what really comes for it.
type delivery struct {
	warehouse string
	lines     []arrival
	// corrected: one unit too many is scanned, and taken back.
	corrected bool

	orderID, receiptID string
	found              *receiptFound
}

// receiptFound is what the API says of a delivery in the end.
type receiptFound struct {
	order, receipt string // statuses
	lines          map[string]receiptLine
	discrepancies  map[string]map[string]int // by SKU: kind to units
}

type receiptLine struct{ received, damaged int }

// drawArrival draws what is ordered so that so many whole units come.
func drawArrival(r *rand.Rand, sku string, good, kind int) arrival {
	a := arrival{sku: sku, ordered: good, good: good}
	switch kind % 4 {
	case 1:
		a.ordered += 1 + r.IntN(3)
	case 2:
		a.ordered = max(1, good-1-r.IntN(3))
	case 3:
		a.damaged = 1 + r.IntN(2)
		a.ordered += a.damaged
	}
	return a
}

// drawDeliveries draws those with which the shop opens: of each SKU as many whole
// units as are needed, most of them in the north. Lines that are exact, short,
// over and damaged take turns.
func drawDeliveries(r *rand.Rand, north, south string, coming map[string]int) []*delivery {
	first, second, third := &delivery{warehouse: north, corrected: true}, &delivery{warehouse: north}, &delivery{warehouse: south}
	turn := r.IntN(4)
	for _, sku := range slices.Sorted(maps.Keys(coming)) {
		n := coming[sku]
		to := first
		if r.IntN(2) == 0 {
			to = second
		}
		if turn++; n > 4 {
			third.lines = append(third.lines, drawArrival(r, sku, 4, turn+1))
			n -= 4
		}
		to.lines = append(to.lines, drawArrival(r, sku, n, turn))
	}
	return slices.DeleteFunc([]*delivery{first, second, third}, func(d *delivery) bool { return len(d.lines) == 0 })
}

// drawMore draws what comes while the shop is open.
func drawMore(r *rand.Rand, north string) []*delivery {
	var out []*delivery
	for range 2 {
		d := &delivery{warehouse: north}
		for _, i := range r.Perm(len(plenty))[:1+r.IntN(3)] {
			d.lines = append(d.lines, drawArrival(r, plenty[i].name, 2+r.IntN(4), r.IntN(4)))
		}
		out = append(out, d)
	}
	return out
}

// takeIn receives a delivery and puts it away: the order is written, what comes
// is scanned, what differs is accepted, and the order is closed when something is
// missing that will not come.
func (o *scanner) takeIn(ctx context.Context, d *delivery) {
	if !o.order(ctx, d) {
		return
	}
	o.scanIn(ctx, d)
	if d.corrected {
		o.takeBack(ctx, d)
	}
	first := o.chance(50)
	if first {
		o.putAway(ctx, d)
	}
	o.closeReceipt(ctx, d)
	if !first {
		o.putAway(ctx, d)
	}
}

func (o *scanner) order(ctx context.Context, d *delivery) bool {
	var lines []map[string]any
	for _, a := range d.lines {
		lines = append(lines, map[string]any{"sku": o.shift.run.sku(a.sku), "quantity": a.ordered})
		o.shift.did(a.kind())
	}
	var made struct {
		ID string `json:"id"`
	}
	number := fmt.Sprintf("SIM-%s-%d", o.name, o.keys)
	if _, ok := o.ask(ctx, "/v1/purchase-orders", map[string]any{"number": number, "supplier": "Simulated supplier", "warehouse": d.warehouse, "lines": lines}, &made); !ok {
		return false
	}
	d.orderID = made.ID
	if _, ok := o.ask(ctx, "/v1/receipts", map[string]any{"warehouse": d.warehouse, "purchase_order_id": made.ID, "bin": dock, "document": "G-" + number}, &made); !ok {
		return false
	}
	d.receiptID = made.ID
	return true
}

// scanIn scans what has come, in several commands.
func (o *scanner) scanIn(ctx context.Context, d *delivery) {
	task := "receipt:" + d.receiptID
	var list []command
	for i, a := range d.lines {
		whole := a.good
		if d.corrected && i == 0 {
			whole++ // by mistake
		}
		for whole > 0 {
			n := 1 + o.rand.IntN(whole)
			whole -= n
			at := spot{d.warehouse, dock, a.sku, sellable}
			list = append(list, o.command("receive", task, map[string]any{"scans": []map[string]any{{"code": o.shift.run.sku(a.sku), "quantity": n}}}, load{nil, &at, n}))
		}
		if a.damaged > 0 {
			at := spot{d.warehouse, cage, a.sku, broken}
			list = append(list, o.command("receive", task, map[string]any{"scans": []map[string]any{{"code": o.shift.run.sku(a.sku), "quantity": a.damaged, "condition": broken}}}, load{nil, &at, a.damaged}))
		}
	}
	// Batches leave the device in any order: what is scanned adds up.
	batches := slices.Collect(slices.Chunk(list, 3))
	o.rand.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	for _, batch := range batches {
		answers, err := o.work(ctx, d.warehouse, batch...)
		if err != nil {
			return
		}
		for _, c := range batch {
			if answers[c.ID].applied() {
				o.shift.goods.came(c.loads[0].to.sku, c.loads[0].units)
			}
		}
	}
}

// takeBack corrects the scan of a unit that never was.
func (o *scanner) takeBack(ctx context.Context, d *delivery) {
	at := spot{d.warehouse, dock, d.lines[0].sku, sellable}
	loads := []load{{&at, nil, 1}}
	door := o.shift.goods.doors[d.warehouse]
	door.RLock()
	defer door.RUnlock()
	if !o.shift.goods.pickUp(loads) {
		// Its scan had no answer: then it is one more that may have come.
		d.lines[0].good++
		return
	}
	_, ok := o.ask(ctx, "/v1/receipts/"+d.receiptID+"/corrections", map[string]any{"sku": o.shift.run.sku(at.sku), "quantity": 1, "condition": "good", "reason": "scanned twice"}, nil)
	o.shift.goods.putDown(loads, ok)
	if ok {
		o.shift.goods.came(at.sku, -1)
		o.shift.did("scans_corrected")
	}
}

func (o *scanner) closeReceipt(ctx context.Context, d *delivery) {
	path := "/v1/receipts/" + d.receiptID + "/close"
	code, ok := o.ask(ctx, path, map[string]any{}, nil, "acceptance_needed")
	if code == "acceptance_needed" {
		o.shift.did("discrepancies_accepted")
		_, ok = o.ask(ctx, path, map[string]any{"accept": []string{"over"}}, nil)
	}
	short := slices.ContainsFunc(d.lines, func(a arrival) bool { return a.good+a.damaged < a.ordered })
	if ok && short {
		o.ask(ctx, "/v1/purchase-orders/"+d.orderID+"/close", map[string]any{"reason": "the supplier has no more"}, nil)
	}
}

// putAway carries what lies at the dock to the shelves, as proposed or elsewhere.
func (o *scanner) putAway(ctx context.Context, d *delivery) {
	var proposed struct {
		Data []struct {
			SKU      string `json:"sku"`
			Status   string `json:"status"`
			Quantity int    `json:"quantity"`
			From     string `json:"from"`
			To       string `json:"to"`
		} `json:"data"`
	}
	if !o.shift.read(ctx, "/v1/receipts/"+d.receiptID+"/put-away", &proposed) {
		return
	}
	var list []command
	for _, p := range proposed.Data {
		name := o.shift.run.name(p.SKU)
		from, to := spot{d.warehouse, p.From, name, p.Status}, spot{d.warehouse, p.To, name, p.Status}
		if p.Status == sellable && o.chance(30) {
			to.bin = o.shift.shelves[d.warehouse][o.rand.IntN(len(o.shift.shelves[d.warehouse]))]
			o.shift.did("put_away_elsewhere")
		}
		// Somebody may have picked from the dock meanwhile.
		n := min(p.Quantity, o.shift.goods.at(from))
		if n < 1 || from.bin == to.bin {
			continue
		}
		scanned := map[string]any{"warehouse": d.warehouse, "code": p.SKU, "quantity": n, "from": from.bin, "to": to.bin, "status": p.Status, "receipt_id": d.receiptID}
		list = append(list, o.command("put_away", "", scanned, load{&from, &to, n}))
	}
	for batch := range slices.Chunk(list, 2) {
		if _, err := o.work(ctx, d.warehouse, batch...); err != nil {
			return
		}
	}
}

// journey is a transfer between the run's warehouses and what becomes of its
// goods.
type journey struct {
	from, to string
	kind     string
	wants    []string // SKUs
	units    int      // of each

	id        string
	sent      map[string]int // by SKU, as the operators know it
	arrived   map[string]int
	damaged   map[string]int
	lost      map[string]int
	cancelled bool
	found     *journeyFound
}

// journeyFound is what the API says of it in the end.
type journeyFound struct {
	status                        string
	sent, received, damaged, lost map[string]int
}

var journeyKinds = []string{"transfers_whole", "transfers_short", "transfers_damaged", "transfers_in_parts"}

func drawJourneys(r *rand.Rand, north, south string) []*journey {
	var out []*journey
	for _, i := range r.Perm(len(journeyKinds)) {
		j := &journey{from: north, to: south, kind: journeyKinds[i], units: 2 + r.IntN(2), sent: map[string]int{}, arrived: map[string]int{}, damaged: map[string]int{}, lost: map[string]int{}}
		for _, k := range r.Perm(len(plenty))[:1+r.IntN(2)] {
			j.wants = append(j.wants, plenty[k].name)
		}
		out = append(out, j)
	}
	return out
}

// drive sends goods to the other warehouse and receives them there.
func (o *scanner) drive(ctx context.Context, j *journey) {
	var lines []map[string]any
	for _, sku := range j.wants {
		lines = append(lines, map[string]any{"sku": o.shift.run.sku(sku), "quantity": j.units})
	}
	var made struct {
		ID string `json:"id"`
	}
	if _, ok := o.ask(ctx, "/v1/transfers", map[string]any{"from": j.from, "to": j.to, "lines": lines, "reference": o.name + " " + j.kind}, &made); !ok {
		return
	}
	j.id = made.ID
	if !o.dispatchGoods(ctx, j) {
		return
	}
	o.dawdle(ctx, 200*time.Millisecond, 2*time.Second)
	o.shift.did(j.kind)
	o.arrive(ctx, j)
}

// dispatchGoods takes the goods from shelves that have them. What is promised to
// buyers stays; then the transfer is cancelled.
func (o *scanner) dispatchGoods(ctx context.Context, j *journey) bool {
	var lines []map[string]any
	var loads []load
	lie := o.shift.goods.where(j.from)
	for _, sku := range j.wants {
		at := slices.IndexFunc(lie, func(s spot) bool {
			return s.sku == sku && slices.Contains(o.shift.shelves[j.from], s.bin) && o.shift.goods.at(s) >= j.units
		})
		if at < 0 {
			continue
		}
		loads = append(loads, load{&lie[at], nil, j.units})
		lines = append(lines, map[string]any{"code": o.shift.run.sku(sku), "bin": lie[at].bin, "quantity": j.units})
	}
	if len(lines) > 0 {
		c := o.command("dispatch", "transfer:"+j.id, map[string]any{"lines": lines}, loads...)
		answers, err := o.work(ctx, j.from, c)
		if err != nil {
			return false
		}
		if answers[c.ID].applied() {
			for _, l := range loads {
				j.sent[l.from.sku] += l.units
			}
			return true
		}
	}
	if _, ok := o.ask(ctx, "/v1/transfers/"+j.id+"/cancel", map[string]any{}, nil); ok {
		j.cancelled = true
		o.shift.did("transfers_cancelled")
	}
	return false
}

// arrive receives what has come of the goods, whole, damaged or in two parts, and
// writes off what was lost.
func (o *scanner) arrive(ctx context.Context, j *journey) {
	var parts [][]load
	var first, second []load
	var lost []map[string]any
	for _, sku := range slices.Sorted(maps.Keys(j.sent)) {
		n := j.sent[sku]
		whole, hurt := spot{j.to, dock, sku, sellable}, spot{j.to, dock, sku, broken}
		switch j.kind {
		case "transfers_short":
			lost = append(lost, map[string]any{"sku": o.shift.run.sku(sku), "quantity": 1, "reason": "fell off the lorry"})
			j.lost[sku]++
			first = append(first, load{nil, &whole, n - 1})
		case "transfers_damaged":
			first = append(first, load{nil, &whole, n - 1}, load{nil, &hurt, 1})
		case "transfers_in_parts":
			first, second = append(first, load{nil, &whole, 1}), append(second, load{nil, &whole, n - 1})
		default:
			first = append(first, load{nil, &whole, n})
		}
	}
	for _, part := range append(parts, first, second) {
		if len(part) > 0 && !o.receivePart(ctx, j, part) {
			return
		}
	}
	if len(lost) > 0 {
		if _, ok := o.ask(ctx, "/v1/transfers/"+j.id+"/close", map[string]any{"lost": lost, "operation_id": o.key()}, nil); !ok {
			return
		}
		for sku, n := range j.lost {
			o.shift.goods.went(sku, n)
		}
	}
	o.shelveArrived(ctx, j)
}

func (o *scanner) receivePart(ctx context.Context, j *journey, part []load) bool {
	var lines []map[string]any
	for _, l := range part {
		lines = append(lines, map[string]any{"code": o.shift.run.sku(l.to.sku), "quantity": l.units, "damaged": l.to.status == broken})
	}
	c := o.command("receive_transfer", "transfer:"+j.id, map[string]any{"lines": lines, "bin": dock, "operation_id": o.key()}, part...)
	answers, err := o.work(ctx, j.to, c)
	if err != nil || !answers[c.ID].applied() {
		return false
	}
	for _, l := range part {
		if l.to.status == broken {
			j.damaged[l.to.sku] += l.units
		} else {
			j.arrived[l.to.sku] += l.units
		}
	}
	return true
}

// shelveArrived puts away what has arrived.
func (o *scanner) shelveArrived(ctx context.Context, j *journey) {
	var list []command
	for _, sku := range slices.Sorted(maps.Keys(j.sent)) {
		for _, status := range []string{sellable, broken} {
			n := j.arrived[sku]
			if status == broken {
				n = j.damaged[sku]
			}
			from, to := spot{j.to, dock, sku, status}, spot{j.to, cage, sku, status}
			if status == sellable {
				to.bin = o.shift.shelves[j.to][o.rand.IntN(len(o.shift.shelves[j.to]))]
			}
			if n = min(n, o.shift.goods.at(from)); n > 0 {
				list = append(list, o.command("put_away", "", map[string]any{"warehouse": j.to, "code": o.shift.run.sku(sku), "quantity": n, "from": dock, "to": to.bin, "status": status}, load{&from, &to, n}))
			}
		}
	}
	// What became of them is judged and counted by work.
	_, _ = o.work(ctx, j.to, list...)
}

// settled reports whether the deliveries and journeys of the shift have come to
// their ends, and keeps what the API says of them.
func (s *shift) settled(ctx context.Context) bool {
	done := true
	for _, d := range s.record.deliveries {
		if d.receiptID != "" {
			done = s.lookAtDelivery(ctx, d) && done
		}
	}
	for _, j := range s.record.transfers {
		if j.id != "" {
			done = s.lookAtJourney(ctx, j) && done
		}
	}
	return done
}

func (s *shift) lookAtDelivery(ctx context.Context, d *delivery) bool {
	var order struct {
		Status string `json:"status"`
	}
	var receipt struct {
		Status string `json:"status"`
		Lines  []struct {
			SKU       string `json:"sku"`
			Received  int    `json:"received"`
			Corrected int    `json:"corrected"`
			Damaged   int    `json:"damaged"`
		} `json:"lines"`
		Discrepancies []struct {
			Kind     string `json:"kind"`
			SKU      string `json:"sku"`
			Quantity int    `json:"quantity"`
		} `json:"discrepancies"`
	}
	if !s.read(ctx, "/v1/purchase-orders/"+d.orderID, &order) || !s.read(ctx, "/v1/receipts/"+d.receiptID, &receipt) {
		return true
	}
	d.found = &receiptFound{order: order.Status, receipt: receipt.Status, lines: map[string]receiptLine{}, discrepancies: map[string]map[string]int{}}
	for _, l := range receipt.Lines {
		d.found.lines[s.run.name(l.SKU)] = receiptLine{l.Received - l.Corrected, l.Damaged}
	}
	for _, x := range receipt.Discrepancies {
		sku := s.run.name(x.SKU)
		if d.found.discrepancies[sku] == nil {
			d.found.discrepancies[sku] = map[string]int{}
		}
		d.found.discrepancies[sku][x.Kind] += x.Quantity
	}
	return order.Status == "received" && receipt.Status == "closed"
}

func (s *shift) lookAtJourney(ctx context.Context, j *journey) bool {
	var t struct {
		Status string `json:"status"`
		Units  []struct {
			SKU                           string `json:"sku"`
			Sent, Received, Damaged, Lost int
		} `json:"units"`
	}
	if !s.read(ctx, "/v1/transfers/"+j.id, &t) {
		return true
	}
	j.found = &journeyFound{t.Status, map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}}
	for _, u := range t.Units {
		sku := s.run.name(u.SKU)
		j.found.sent[sku] += u.Sent
		j.found.received[sku] += u.Received
		j.found.damaged[sku] += u.Damaged
		j.found.lost[sku] += u.Lost
	}
	return slices.Contains([]string{"received", "received_short", "cancelled"}, t.Status)
}

// await reads the ends of deliveries and journeys until all are there, for a
// while: what has none by then is a difference.
func (s *shift) await(ctx context.Context) {
	for range 20 {
		if s.settled(ctx) || rest(ctx, 500*time.Millisecond) != nil {
			return
		}
	}
}
