package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// shipment is what a packer's screen shows of one.
type shipment struct {
	ID        string `json:"id"`
	OrderID   string `json:"order_id"`
	Warehouse string `json:"warehouse"`
	Status    string `json:"status"`
	Version   int64  `json:"version"`
	Lines     []struct {
		SKU      string `json:"sku"`
		Quantity int    `json:"quantity"`
	} `json:"lines"`
	Frozen  *string `json:"frozen"`
	Carrier string  `json:"carrier"`
	// Label is what was asked of carriers, nil when nobody has.
	Label *struct {
		Carrier   string `json:"carrier"`
		NotBooked string `json:"not_booked"`
	} `json:"label"`
	Parcels  []parcel   `json:"parcels"`
	PickedAt *time.Time `json:"picked_at"`
	Settled  string     `json:"settled"`
}

type parcel struct {
	Position    int    `json:"position"`
	Reference   string `json:"reference"`
	WeightGrams int    `json:"weight_grams"`
	Tracking    string `json:"tracking"`
	PackedBy    string `json:"packed_by"`
}

const shipmentsPath = "/v1/shipments"

// unitGrams is what a unit of each of the run's products weighs.
const unitGrams = 100

// consignment is what people did with a shipment and were told of it.
type consignment struct {
	shipment, order string
	fate            fate
	// status is the last that somebody was told is the shipment's; empty until it
	// is packed.
	status   string
	packed   []parcel // as they were weighed
	tracking []string // numbers of the courier's; nil: our references
	// left are the units that were carried out, sent is when the hand-over was asked for.
	left     []gone
	sent     time.Time
	handed   int    // how often a hand-over was said to be done
	frozen   string // why nothing might leave, by the answer to the hand-over
	refusals []string
	stopped  bool // by the last refusal, if nothing came after
	driven   bool // a driver has it
	news     []news

	// route and carrier are how it is to go; bought is the carrier whose labels it had
	// last, empty for a courier.
	route           route
	carrier, bought string
	asked           time.Time // for a carrier's label, the last time
	wishes          int       // how often
	patience        time.Duration
	unpackedOnce    bool // with a carrier's label
	taken           bool // the carrier's van has it
	settled         bool // a person has decided about what is lost or came back
}

// gone are units that left a packing bin.
type gone struct {
	at    spot
	units int
}

// news is what a driver told, with the reasons for which the order asked for a
// person right after.
type news struct {
	status  string
	reasons []string
}

// stops are the codes that keep a shipment where it is because of its order.
var stops = []string{"order_frozen", "order_refunded", "order_cancelled"}

// twist is what is special about how a shipment is packed.
type twist string

const (
	plainly       twist = "packed_plainly"
	tooHeavy      twist = "weighed_wrong_and_again"
	tooLight      twist = "weighed_wrong_and_confirmed"
	twoParcels    twist = "packed_in_two_parcels"
	unpacked      twist = "unpacked_and_packed_again"
	labelledTwice twist = "unpacked_with_its_label"
	offline       twist = "packed_offline"
)

// twists have each kind in them as often as a shift should show it.
var twists = []twist{plainly, tooHeavy, twoParcels, tooLight, unpacked, labelledTwice, offline, plainly}

// deck deals out kinds so that all of them come, and again when it is empty.
type deck[T any] struct {
	mu   sync.Mutex
	rand *rand.Rand
	all  []T
	left []T
}

func newDeck[T any](seed, stream uint64, all []T) *deck[T] {
	return &deck[T]{rand: rand.New(rand.NewPCG(seed, stream)), all: all}
}

func (d *deck[T]) deal() T {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.left) == 0 {
		d.left = slices.Clone(d.all)
		d.rand.Shuffle(len(d.left), func(i, j int) { d.left[i], d.left[j] = d.left[j], d.left[i] })
	}
	last := d.left[len(d.left)-1]
	d.left = d.left[:len(d.left)-1]
	return last
}

// outbound is the way out of the warehouses, of a run that goes to the door.
type outbound struct {
	packs   chan string // shipments that wait for a packer
	rounds  chan *consignment
	packing sync.WaitGroup
	driving sync.WaitGroup
	twists  *deck[twist]
	fates   *deck[fate]
	routes  *deck[route]
	named   *deck[string]
	wishes  *deck[wish]
	depots  *depots
	chosen  map[string]string // carriers that buyers have paid for, by order
	doubts  map[string]*doubt // by order
}

func newOutbound(seed uint64) *outbound {
	return &outbound{packs: make(chan string, 10_000), rounds: make(chan *consignment, 10_000), twists: newDeck(seed, 0x7a15, twists), fates: newDeck(seed, 0xfa7e, fates),
		routes: newDeck(seed, 0x0a7e, routes), named: newDeck(seed, 0x4a3e, carriersPlayed), wishes: newDeck(seed, 0x315e, wishes), chosen: map[string]string{}, doubts: map[string]*doubt{}}
}

// abandon forgets who waits, in a run that was cut short.
func (b *outbound) abandon() {
	for len(b.packs) > 0 {
		<-b.packs
		b.packing.Done()
	}
	for len(b.rounds) > 0 {
		<-b.rounds
		b.driving.Done()
	}
}

// staff hires packers and drivers; they begin to work with the shift.
func (s *shift) staff() (begin func(ctx context.Context)) {
	foreman, supporter := s.hire("foreman"), s.hire("supporter")
	var packers, mates, drivers []*scanner
	for range 4 {
		packers, mates = append(packers, s.hire("packer")), append(mates, s.hire("packer"))
	}
	for range 4 {
		drivers = append(drivers, s.hire("courier"))
	}
	return func(ctx context.Context) {
		s.workers.Go(func() { foreman.bringToPackers(ctx) })
		s.counters.Go(func() { supporter.cure(ctx, s.closed, stuck.shipment) })
		for i, p := range packers {
			s.counters.Go(func() { p.packShipments(ctx, mates[i]) })
		}
		for _, d := range drivers {
			s.counters.Go(func() { d.driveRounds(ctx) })
		}
	}
}

// bringToPackers hands out what was picked while the shop is open.
func (o *scanner) bringToPackers(ctx context.Context) {
	for {
		select {
		case <-o.shift.closing:
			return
		case <-ctx.Done():
			return
		case <-time.After(time.Second + time.Duration(o.rand.IntN(500))*time.Millisecond):
		}
		for _, c := range o.shift.waiting(ctx, "picking", "packed", "labelled") {
			if (c.status == "" || c.waits()) && !c.stopped {
				o.shift.bring(c.shipment)
			}
		}
	}
}

// bring gives a shipment to a packer, unless one has it in hand.
func (s *shift) bring(id string) {
	s.mu.Lock()
	busy := s.inHand[id]
	s.inHand[id] = true
	s.mu.Unlock()
	if !busy {
		s.out.packing.Add(1)
		s.out.packs <- id
	}
}

// waiting lists the shipments of the run's warehouses that were picked and are in
// one of the statuses, with what is known of them.
func (s *shift) waiting(ctx context.Context, statuses ...string) (all []consignment) {
	for _, w := range s.warehouses() {
		for _, status := range statuses {
			found, ok := s.shipments(ctx, "&warehouse="+url.QueryEscape(w)+"&status="+status)
			if !ok {
				return nil
			}
			for _, x := range found {
				if x.PickedAt != nil {
					s.mu.Lock()
					all = append(all, *s.consignment(x))
					s.mu.Unlock()
				}
			}
		}
	}
	return all
}

// shipments reads all pages of a list.
func (s *shift) shipments(ctx context.Context, filter string) (all []shipment, ok bool) {
	for cursor := ""; ; {
		var page struct {
			Data       []shipment `json:"data"`
			NextCursor *string    `json:"next_cursor"`
		}
		if !s.read(ctx, shipmentsPath+"?limit=100"+filter+cursor, &page) {
			return nil, false
		}
		all = append(all, page.Data...)
		if page.NextCursor == nil {
			return all, true
		}
		cursor = "&cursor=" + url.QueryEscape(*page.NextCursor)
	}
}

// consignment is the record of a shipment. mu is held.
func (s *shift) consignment(x shipment) *consignment {
	c := s.record.consignments[x.ID]
	if c == nil {
		c = &consignment{shipment: x.ID, order: x.OrderID, fate: s.out.fates.deal(), route: s.out.routes.deal()}
		if c.route == byNamed {
			c.carrier = s.out.named.deal()
		}
		s.record.consignments[x.ID] = c
	}
	return c
}

// packShipments packs what is brought until the shift is over.
func (o *scanner) packShipments(ctx context.Context, mate *scanner) {
	for {
		select {
		case <-o.shift.closed:
			return
		case <-ctx.Done():
			return
		case id := <-o.shift.out.packs:
			b := &bench{scanner: o, mate: mate, id: id, twist: o.shift.out.twists.deal()}
			b.work(ctx)
			o.shift.mu.Lock()
			o.shift.inHand[id] = false
			o.shift.mu.Unlock()
			o.shift.out.packing.Done()
		}
	}
}

// bench is where a packer has one shipment in hand. The mate goes for it too when it
// is handed over.
type bench struct {
	*scanner
	mate  *scanner
	id    string
	twist twist
	// labelsSeen: its labels were looked at.
	labelsSeen bool
	// mindsAt is the status in which the packer waits for a buyer who has doubts.
	mindsAt string
	minded  bool
	// later: a carrier's label is not there yet, and the packer takes another shipment.
	later bool
}

// mostPackSteps bounds what one shipment may ask of a packer.
const mostPackSteps = 40

// work takes a shipment as far as the door of the warehouse, or to where its order
// keeps it.
func (b *bench) work(ctx context.Context) {
	b.mindsAt = []string{"picking", "packed", "labelled"}[b.rand.IntN(3)]
	if b.twist == offline {
		b.mindsAt = "picking"
	}
	for range mostPackSteps {
		var x shipment
		if ctx.Err() != nil || !b.shift.read(ctx, shipmentsPath+"/"+b.id, &x) {
			return
		}
		if b.minds(ctx, x) {
			continue
		}
		var err error
		switch x.Status {
		case "picking":
			err = b.pack(ctx, x)
		case "packed":
			err = b.label(ctx, x)
		case "labelled":
			if x.Carrier != "manual" {
				b.seen(x)
			}
			err = b.takeOut(ctx, x)
		case "pending", "cancelled":
			return
		default:
			b.toDrivers()
			return
		}
		if err != nil || b.later || b.known().stopped {
			return
		}
		b.dawdle(ctx, 20*time.Millisecond, 200*time.Millisecond)
	}
	b.shift.trouble("shipment_without_end", "%s took %d steps with shipment %s and could not hand it over", b.person, mostPackSteps, b.id)
}

// known copies the record of the shipment.
func (b *bench) known() (c consignment) {
	b.note(func(now *consignment) { c = *now })
	return c
}

// note changes the record of the shipment.
func (b *bench) note(change func(c *consignment)) {
	b.shift.mu.Lock()
	defer b.shift.mu.Unlock()
	change(b.shift.record.consignments[b.id])
}

// toDrivers gives a shipment that left to a driver, once: another packer may have been sent
// for it by a list that was read before it left.
func (b *bench) toDrivers() {
	b.shift.mu.Lock()
	c := b.shift.record.consignments[b.id]
	again := c.driven
	c.driven = true
	b.shift.mu.Unlock()
	if again {
		return
	}
	b.shift.out.driving.Add(1)
	b.shift.out.rounds <- c
}

// once is true for the first of the twist's steps, and counts it.
func (b *bench) once(kinds ...twist) bool {
	if !slices.Contains(kinds, b.twist) {
		return false
	}
	b.shift.did(string(b.twist))
	b.twist = ""
	return true
}

// pack weighs a shipment and puts it into parcels.
func (b *bench) pack(ctx context.Context, x shipment) error {
	goods := 0
	for _, l := range x.Lines {
		goods += unitGrams * l.Quantity
	}
	switch {
	case b.twist == tooHeavy || b.twist == tooLight:
		wrong := 3*goods + 5000
		if b.chance(50) {
			wrong = goods / 2
		}
		body := parcels(wrong)
		a, err := b.advance(ctx, x, "pack", body)
		if err != nil || !a.applied() && a.Code != "weight_differs" {
			return err
		}
		if a.applied() {
			b.shift.trouble("wrong_weight_taken", "shipment %s has goods of %d g, and %d g were taken for it", b.id, goods, wrong)
			return nil
		}
		confirmed := b.twist == tooLight
		b.once(tooHeavy, tooLight)
		if confirmed {
			body["confirm_weight"] = true
			_, err = b.advance(ctx, x, "pack", body)
			return err
		}
		b.dawdle(ctx, 50*time.Millisecond, 300*time.Millisecond)
	case b.twist == offline:
		return b.packAway(ctx, x, goods)
	}
	body := parcels(goods + 20 + b.rand.IntN(300))
	if b.twist == twoParcels {
		first := 50 + b.rand.IntN(goods)
		body = parcels(first, goods+250-min(first, goods))
	}
	a, err := b.advance(ctx, x, "pack", body)
	if a.applied() {
		b.once(twoParcels, plainly)
	}
	if a.Code == "weight_differs" {
		b.shift.trouble("right_weight_refused", "shipment %s has goods of %d g: %v was refused: %s", b.id, goods, body["parcels"], a.Detail)
	}
	return err
}

// parcels is what a packer says of parcels of these weights.
func parcels(grams ...int) map[string]any {
	var all []map[string]any
	for _, g := range grams {
		all = append(all, map[string]any{"weight_grams": g, "dimensions_mm": map[string]int{"length": 300, "width": 200, "height": 100}})
	}
	return map[string]any{"parcels": all}
}

// packAway packs, labels and hands over without a network, and tells of it later,
// all at once.
func (b *bench) packAway(ctx context.Context, x shipment, goods int) error {
	b.once(offline)
	body := parcels(goods + 20 + b.rand.IntN(300))
	list := []command{b.command("pack", b.task(), body), b.command("label", b.task(), b.labelling(1)), b.command("handover", b.task(), map[string]any{}, b.shift.lyingFor(b.id)...)}
	door := b.shift.goods.doors[x.Warehouse]
	door.RLock()
	taken := b.shift.goods.pickUp(list[2].loads)
	door.RUnlock()
	if !taken {
		b.shift.trouble("packed_units_missing", "what was picked for shipment %s is not in its packing bins", b.id)
		return ctx.Err()
	}
	b.dawdle(ctx, 300*time.Millisecond, 2*time.Second)
	door.RLock()
	defer door.RUnlock()
	sent := time.Now()
	answers, err := b.deliver(ctx, list)
	for _, c := range list {
		if a, answered := answers[c.ID]; answered {
			b.told(c.Kind, c.Scanned, c.loads, a, sent, true)
		}
	}
	return err
}

func (b *bench) task() string { return "shipment:" + b.id }

// labelling says who carries so many parcels, now and then with numbers that the
// courier has written on them.
func (b *bench) labelling(parcels int) map[string]any {
	body := map[string]any{"carrier": "manual"}
	if b.chance(40) {
		var numbers []string
		for range parcels {
			b.keys++
			numbers = append(numbers, fmt.Sprintf("SIM%s%d", strings.ToUpper(b.name), b.keys))
		}
		body["tracking"] = numbers
	}
	return body
}

// label says who carries the shipment; sometimes it is unpacked once more.
func (b *bench) label(ctx context.Context, x shipment) error {
	if b.once(unpacked) {
		_, err := b.advance(ctx, x, "unpack", map[string]any{"reason": "a box of another size"})
		return err
	}
	c := b.known()
	switch {
	case x.Label != nil && !c.asked.IsZero():
		return b.waitForLabel(ctx, x, c)
	case c.wishes > 0 && !c.asked.IsZero(): // support has taken the wish back
		b.note(func(c *consignment) { c.route = byManual })
	case c.route != byManual:
		return b.wantLabel(ctx, x, c)
	}
	a, err := b.advance(ctx, x, "label", b.labelling(len(x.Parcels)))
	if a.applied() {
		b.shift.did(string(byManual))
	}
	return err
}

// takeOut reads the labels and hands the parcels over.
func (b *bench) takeOut(ctx context.Context, x shipment) error {
	c := b.known()
	if c.bought != "" {
		if b.chance(12) && !c.unpackedOnce {
			a, err := b.advance(ctx, x, "unpack", map[string]any{"reason": "the box has torn"})
			if a.applied() {
				b.shift.did("unpacked_with_a_carriers_label")
				b.note(func(c *consignment) { c.unpackedOnce = true })
			}
			return err
		}
		if b.chance(30) && b.nothingStops(ctx, x) {
			return b.byScan(ctx, x)
		}
	} else if !b.labelsSeen && b.chance(70) {
		b.labelsSeen = true
		if err := b.readLabels(ctx, x); err != nil {
			return err
		}
	}
	if c.bought == "" && b.once(labelledTwice) {
		_, err := b.advance(ctx, x, "unpack", map[string]any{"reason": "the box has torn"})
		b.labelsSeen = false
		return err
	}
	if b.chance(25) {
		return b.bothTakeOut(ctx, x)
	}
	_, err := b.advance(ctx, x, "handover", map[string]any{}, b.shift.lyingFor(b.id)...)
	return err
}

// readLabels prints the labels of a shipment and looks at them.
func (b *bench) readLabels(ctx context.Context, x shipment) error {
	path := shipmentsPath + "/" + b.id + "/labels.zpl"
	a, err := b.shop.insist(ctx, http.MethodGet, path, "", nil)
	switch {
	case err != nil:
		b.shift.trouble("unanswered", "%s: %v", b.person, err)
		return err
	case !a.ok():
		b.shift.trouble("unexpected_answer", "GET %s by %s: %s", path, b.person, a)
		return nil
	}
	b.shift.did("labels_read")
	for _, fault := range faultsOfLabels(string(a.body), x.Parcels) {
		b.shift.trouble("label_differs", "shipment %s: %s", b.id, fault)
	}
	return nil
}

// faultsOfLabels are what is wrong with the labels of parcels: each has a page of
// its own, with its reference.
func faultsOfLabels(zpl string, parcels []parcel) (faults []string) {
	pages := strings.Split(zpl, "^XA")[1:]
	if len(pages) != len(parcels) {
		return []string{fmt.Sprintf("%d labels for %d parcels", len(pages), len(parcels))}
	}
	for i, p := range parcels {
		if p.Reference == "" || !strings.Contains(pages[i], p.Reference) {
			faults = append(faults, fmt.Sprintf("the label of parcel %d does not have its reference %q", p.Position, p.Reference))
		}
	}
	return faults
}

// lyingFor are the units that were picked for a shipment, on their way out.
func (s *shift) lyingFor(id string) (loads []load) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sums := map[spot]int{}
	for at, n := range s.onList {
		if at.shipment == id && n > 0 {
			sums[at.at] += n
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(sums), spot.compare) {
		loads = append(loads, load{&at, nil, sums[at]})
	}
	return loads
}

// advance takes a step of a shipment: mostly as a scanner does, sometimes at a
// screen, which asks for it directly and under a key.
func (b *bench) advance(ctx context.Context, x shipment, kind string, body map[string]any, loads ...load) (taken, error) {
	named := b.chance(30)
	if named {
		b.shift.did("versions_named")
	}
	door := b.shift.goods.doors[x.Warehouse]
	door.RLock()
	defer door.RUnlock()
	if !b.shift.goods.pickUp(loads) {
		b.shift.trouble("packed_units_missing", "what was picked for shipment %s is not in its packing bins", b.id)
		return taken{}, ctx.Err()
	}
	sent := time.Now()
	if b.chance(25) {
		asked := maps.Clone(body)
		if named {
			asked["version"] = x.Version
		}
		a, err := b.directly(ctx, b.id, kind, asked)
		b.shift.goods.putDown(loads, err == nil && a.applied())
		if err == nil {
			b.told(kind, body, loads, a, sent, false)
		}
		return a, err
	}
	c := b.command(kind, b.task(), body, loads...)
	if named {
		c.ExpectedVersion = x.Version
	}
	answers, err := b.deliver(ctx, []command{c})
	a, answered := answers[c.ID]
	if answered {
		b.told(kind, body, loads, a, sent, false)
	}
	return a, err
}

// directly asks for a step at the shipment's own address, now and then twice with
// the same key, which must change nothing.
func (o *scanner) directly(ctx context.Context, id, kind string, body map[string]any) (taken, error) {
	path, key := shipmentsPath+"/"+id+"/"+kind, o.key()
	shop := o.shift.run.shop.as(o.person)
	first, err := shop.insist(ctx, http.MethodPost, path, key, body)
	if err != nil {
		o.shift.trouble("unanswered", "%s: %v", o.person, err)
		return taken{}, err
	}
	o.shift.did("asked_directly")
	a := o.takenOf(kind, path, first)
	if !first.ok() || !o.chance(30) {
		return a, nil
	}
	again, err := shop.insist(ctx, http.MethodPost, path, key, body)
	if err != nil {
		o.shift.trouble("unanswered", "%s: %v", o.person, err)
		return a, nil
	}
	o.shift.did("keys_used_twice")
	if again.status != first.status || !again.replayed {
		o.shift.trouble("command_not_once", "POST %s with the same key was answered %s, and then %s", path, first, again)
	}
	return a, nil
}

// takenOf reads the answer to a step that was asked for directly.
func (o *scanner) takenOf(kind, path string, first answer) taken {
	a := taken{Status: "applied", Current: first.body}
	if !first.ok() {
		a = taken{Status: "conflict", Code: first.problem.Code, Detail: first.problem.Detail}
		if first.status != http.StatusConflict || !slices.Contains(refusals[kind], a.Code) {
			o.shift.trouble("unexpected_answer", "POST %s by %s: %s", path, o.person, first)
		}
	}
	o.shift.count(kind, a)
	return a
}

// nothingStops reports whether the order of a shipment is one that nobody will stop
// before its parcels are away.
func (b *bench) nothingStops(ctx context.Context, x shipment) bool {
	var o order
	return x.Frozen == nil && b.shift.read(ctx, "/v1/orders/"+x.OrderID, &o) && plain(o.Metadata.Kind) && len(o.Refunds) == 0
}

// afterStep is where a step leaves a shipment.
var afterStep = map[string]string{"pack": "packed", "unpack": "picking", "label": "labelled", "handover": "handed_over"}

// told notes what a step has come to. Among others, steps may find the shipment
// elsewhere.
func (b *bench) told(kind string, scanned any, loads []load, a taken, sent time.Time, among bool) {
	if !a.applied() {
		if a.Code == "wrong_status" && !among || a.Code == "not_picked" && !among {
			b.shift.trouble("unexpected_answer", "%s of shipment %s, which only %s had in hand: %s %s", kind, b.id, b.person, a.Code, a.Detail)
		}
		stop := slices.Contains(stops, a.Code)
		if stop {
			b.shift.did("kept_" + a.Code)
		}
		b.note(func(c *consignment) {
			c.refusals = append(c.refusals, a.Code)
			c.stopped = c.stopped || stop
		})
		return
	}
	var now shipment
	body, _ := scanned.(map[string]any)
	// A carrier's label takes its time, and may be there at once.
	wanted := kind == "label" && body["carrier"] != "manual"
	if err := json.Unmarshal(a.Current, &now); err != nil || now.ID != b.id || now.Status != afterStep[kind] && !(wanted && slices.Contains([]string{"packed", "labelled"}, now.Status)) {
		b.shift.trouble("unexpected_answer", "%s of shipment %s was done, and the answer is %s (%v)", kind, b.id, clip(string(a.Current)), err)
	}
	b.note(func(c *consignment) {
		c.status, c.stopped = afterStep[kind], false
		if wanted {
			c.status = "packed" // until somebody has seen the label
			return
		}
		switch kind {
		case "pack":
			c.packed = nil
			for i, p := range body["parcels"].([]map[string]any) {
				c.packed = append(c.packed, parcel{Position: i + 1, WeightGrams: p["weight_grams"].(int), PackedBy: b.person})
			}
		case "unpack":
			c.packed, c.tracking, c.bought, c.asked = nil, nil, "", time.Time{}
		case "label":
			c.tracking, _ = body["tracking"].([]string)
		case "handover":
			c.handed++
			c.sent = sent
			if now.Frozen != nil {
				c.frozen = *now.Frozen
			}
			for _, l := range loads {
				c.left = append(c.left, gone{*l.from, l.units})
			}
		}
	})
	if kind == "handover" {
		b.shift.carriedOut(b.id, loads)
	}
}

// carriedOut notes that what was picked for a shipment is in the warehouse no more.
func (s *shift) carriedOut(id string, loads []load) {
	for _, l := range loads {
		s.goods.leave(l.from.sku, l.units)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.onList {
		if at.shipment == id {
			delete(s.onList, at)
		}
	}
}

// bothTakeOut has two people hand the same parcels over at the same moment: they are
// there once, and one of the two does it.
func (b *bench) bothTakeOut(ctx context.Context, x shipment) error {
	loads := b.shift.lyingFor(b.id)
	door := b.shift.goods.doors[x.Warehouse]
	door.RLock()
	defer door.RUnlock()
	if !b.shift.goods.pickUp(loads) {
		b.shift.trouble("packed_units_missing", "what was picked for shipment %s is not in its packing bins", b.id)
		return ctx.Err()
	}
	b.shift.did("two_handed_over")
	direct := b.chance(40)
	sent := time.Now()
	var answers [2]taken
	var answered [2]bool
	var errs [2]error
	var both sync.WaitGroup
	for i, o := range []*scanner{b.scanner, b.mate} {
		both.Go(func() {
			if direct && o == b.mate {
				answers[i], errs[i] = o.directly(ctx, b.id, "handover", map[string]any{})
				answered[i] = errs[i] == nil
				return
			}
			// The goods are in both people's hands: neither scanner moves them.
			c := o.command("handover", b.task(), map[string]any{})
			list, err := o.deliver(ctx, []command{c})
			answers[i], answered[i] = list[c.ID]
			errs[i] = err
		})
	}
	both.Wait()
	done := false
	for i, a := range answers {
		if answered[i] && a.applied() {
			carried := loads
			if done {
				carried = nil
			}
			b.told("handover", nil, carried, a, sent, true)
			done = true
		}
	}
	b.shift.goods.putDown(loads, done)
	for i, a := range answers {
		if answered[i] && !a.applied() && !done {
			b.told("handover", nil, nil, a, sent, true)
		}
	}
	return errs[0]
}

// sendOut packs and hands over what is left, and waits until all of it has arrived
// where its driver brings it. Nobody picks any more.
func (s *shift) sendOut(ctx context.Context) error {
	s.run.say("packing and delivering what was picked")
	s.awaitDisputes(ctx)
	for {
		if err := await(ctx, &s.out.packing); err != nil {
			return err
		}
		before := s.leftSoFar()
		list := s.waiting(ctx, "picking", "packed", "labelled")
		for _, c := range list {
			s.bring(c.shipment)
		}
		if err := await(ctx, &s.out.packing); err != nil {
			return err
		}
		if len(list) == 0 || s.leftSoFar() == before && !slices.ContainsFunc(list, consignment.waits) {
			break
		}
	}
	if err := await(ctx, &s.out.driving); err != nil {
		return err
	}
	return s.awaitCarriers(ctx)
}

// waits: a carrier's label is wanted, and nothing keeps the shipment.
func (c consignment) waits() bool { return !c.stopped && !c.asked.IsZero() }

func (s *shift) leftSoFar() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.record.consignments {
		n += c.handed
	}
	return n
}

// awaitDisputes waits until disputes that the shop has won no longer freeze their
// orders, for a while: banks' messages get lost.
func (s *shift) awaitDisputes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, r := range s.run.records {
		if r.order == nil || r.Dispute != "won" {
			continue
		}
		for rest(ctx, 200*time.Millisecond) == nil {
			var o order
			if err := s.run.shop.get(ctx, "/v1/orders/"+r.order.ID, &o); err != nil {
				return
			}
			if paid, ok := o.applied(); !ok || paid.Status != "disputed" {
				break
			}
		}
	}
}

// await waits for a group, or for the end of ctx.
func await(ctx context.Context, group *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		group.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
