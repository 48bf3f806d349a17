package picking

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/batch"
)

// MostOrders is how many shipments one wave takes at most.
const MostOrders = 2000

// Wave asks for pick lists of a warehouse's pending shipments.
type Wave struct {
	Warehouse string
	// ShipmentIDs are the shipments wanted; without them the oldest are taken, at
	// most MaxOrders (zero: MostOrders).
	ShipmentIDs []string
	MaxOrders   int
	// By is ByOrder, ByBatch or ByZone.
	By string
	// Trolley is what one list may carry; a zero in it is no limit. OneList puts
	// everything on one, whatever it carries.
	Trolley batch.Load
	OneList bool
	// Lot is a lot asked for, for the SKUs that have it.
	Lot string
	// Seed and Rounds make a wave repeatable; Budget ends the search for a better
	// batching. The stock of the wave's SKUs is locked meanwhile.
	Seed   uint64
	Rounds int
	Budget time.Duration
	Who    stock.By
}

// Released is what a wave has made.
type Released struct {
	ID        string    `json:"id"`
	Warehouse string    `json:"warehouse"`
	By        string    `json:"by"`
	CreatedAt time.Time `json:"created_at"`
	Lists     []Summary `json:"lists"`
	// TooLarge are orders that no trolley carries; they stay pending.
	TooLarge []Passed `json:"too_large"`
	// Skipped are shipments that were asked for by id and can't be listed now.
	Skipped     []Passed      `json:"skipped"`
	Unallocated []Unallocated `json:"unallocated"`
}

// Passed is a shipment that a wave has not taken, and why: unknown, not_pending,
// frozen, refunded, nothing_to_pick, taken by another wave at this moment; or
// too_large.
type Passed struct {
	ShipmentID string `json:"shipment_id"`
	OrderID    string `json:"order_id,omitempty"`
	Number     string `json:"number,omitempty"`
	Reason     string `json:"reason"`
}

// Unallocated is units of a line for which no bin has any: the promise stands. The
// list is empty when nothing of the shipment was found; it then stays pending.
type Unallocated struct {
	ShipmentID string `json:"shipment_id"`
	OrderID    string `json:"order_id"`
	SKU        string `json:"sku"`
	Units      int    `json:"units"`
	ListID     string `json:"list_id,omitempty"`
}

// shipment is one that a wave takes.
type shipment struct {
	ID, OrderID, Number, HoldID string
	DueAt                       *time.Time
	lines                       []need
}

// need is units of a line that nobody has allocated yet.
type need struct {
	SKU    string
	Units  int
	Grams  int64 // a unit's
	MM3    int64
	got    []stock.Allocation
	absent int
}

// part is what one list carries for a shipment: all of it, or that of a zone.
type part struct {
	shipment *shipment
	zone     string
	lines    []need
}

func (p part) load() batch.Load {
	out := batch.Load{Orders: 1}
	for _, n := range p.lines {
		for _, a := range n.got {
			out.Units += a.Quantity
			out.WeightGrams += n.Grams * int64(a.Quantity)
			out.VolumeMM3 += n.MM3 * int64(a.Quantity)
		}
	}
	return out
}

func (p part) bins() (bins []string) {
	for _, n := range p.lines {
		for _, a := range n.got {
			bins = append(bins, a.Bin)
		}
	}
	return bins
}

// Release makes a wave: it takes pending shipments of paid orders, chooses bins
// and lots for all of them at once, puts them together on trolleys and plans the
// way of each. Shipments that another wave is taking are passed over, as are
// those that are frozen or of which everything is given back. It is 409
// nothing_to_pick when there is none, and 422 for a request that makes no sense.
//
// A wave that was made is read with ReadWave; calling again makes another one.
func Release(ctx context.Context, tx pgx.Tx, tenantID string, in Wave) (Released, error) {
	if err := in.check(ctx, tx, tenantID); err != nil {
		return Released{}, err
	}
	out := Released{ID: id.New(), Warehouse: in.Warehouse, By: in.By, Lists: []Summary{}, TooLarge: []Passed{}, Skipped: []Passed{}, Unallocated: []Unallocated{}}
	list, err := takeShipments(ctx, tx, tenantID, in)
	if err != nil {
		return out, err
	}
	if err := readNeeds(ctx, tx, tenantID, in.Warehouse, list); err != nil {
		return out, err
	}
	list = slices.DeleteFunc(list, func(s *shipment) bool { return len(s.lines) == 0 })
	if out.Skipped, err = skipped(ctx, tx, tenantID, in, list); err != nil {
		return out, err
	}
	if len(list) == 0 {
		return out, problem.New(problem.Conflict, "nothing_to_pick", "No shipment of this warehouse can be picked now.").With("skipped", out.Skipped)
	}
	if err := choose(ctx, tx, tenantID, in, list); err != nil {
		return out, err
	}
	var bins []string
	for _, s := range list {
		bins = append(bins, part{lines: s.lines}.bins()...)
	}
	w, err := loadWay(ctx, tx, tenantID, in.Warehouse, bins, in.Seed)
	if err != nil {
		return out, err
	}
	parts, err := in.parts(ctx, tx, tenantID, w, list, &out)
	if err != nil {
		return out, err
	}
	trolleys, rounds, err := in.batches(ctx, w, parts)
	if err != nil {
		return out, err
	}
	err = in.write(ctx, tx, tenantID, w, trolleys, rounds, &out)
	return out, err
}

func (in Wave) check(ctx context.Context, tx pgx.Tx, tenantID string) error {
	var f problem.Fields
	if !slices.Contains(Kinds, in.By) {
		f.Add("by", "invalid", "order, batch or zone")
	}
	if in.MaxOrders < 0 || in.MaxOrders > MostOrders {
		f.Add("max_orders", "out_of_range", "1 to %d", MostOrders)
	}
	if len(in.ShipmentIDs) > MostOrders {
		f.Add("shipment_ids", "too_many", "at most %d", MostOrders)
	}
	if t := in.Trolley; t.Orders < 0 || t.Units < 0 || t.WeightGrams < 0 || t.VolumeMM3 < 0 {
		f.Add("trolley", "out_of_range", "nothing below zero")
	}
	if in.Budget < 0 || in.Rounds < 0 {
		f.Add("budget_ms", "out_of_range", "not below zero")
	}
	var there bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM warehouses WHERE tenant = $1 AND code = $2)`, tenantID, in.Warehouse).Scan(&there); err != nil {
		return fmt.Errorf("warehouse %s: %w", in.Warehouse, err)
	}
	if !there {
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	}
	return f.Err()
}

// takeShipments locks the shipments that can be picked, the oldest first; those of
// which a wave has found nothing come after the others.
func takeShipments(ctx context.Context, tx pgx.Tx, tenantID string, in Wave) ([]*shipment, error) {
	most := in.MaxOrders
	if most == 0 {
		most = MostOrders
	}
	rows, err := tx.Query(ctx, `SELECT s.id, s.order_id, o.number, o.hold_id, s.due_at FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id
	  WHERE s.tenant = $1 AND s.warehouse = $2 AND s.status = 'pending' AND `+pickable+`
	    AND ($3::text[] IS NULL OR s.id = ANY($3))
	  ORDER BY s.unallocated_at NULLS FIRST, s.created_at, s.id LIMIT $4 FOR UPDATE OF s SKIP LOCKED`, tenantID, in.Warehouse, in.ShipmentIDs, most)
	if err != nil {
		return nil, fmt.Errorf("shipments of %s: %w", in.Warehouse, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*shipment, error) {
		s := &shipment{}
		return s, row.Scan(&s.ID, &s.OrderID, &s.Number, &s.HoldID, &s.DueAt)
	})
	if err != nil {
		return nil, fmt.Errorf("shipments of %s: %w", in.Warehouse, err)
	}
	return list, nil
}

// readNeeds locks the stock behind shipments and reads what each still needs of
// its hold: what an earlier list has picked for it stays picked.
func readNeeds(ctx context.Context, tx pgx.Tx, tenantID, warehouse string, list []*shipment) error {
	holds := make([]string, len(list))
	of := map[string]*shipment{}
	for i, s := range list {
		holds[i] = s.HoldID
		of[s.HoldID] = s
	}
	if _, err := tx.Exec(ctx, `SELECT FROM stock_levels WHERE tenant = $1 AND warehouse = $2 AND sku IN (SELECT sku FROM hold_lines WHERE tenant = $1 AND warehouse = $2 AND hold_id = ANY($3))
	  ORDER BY sku, warehouse FOR UPDATE`, tenantID, warehouse, holds); err != nil {
		return fmt.Errorf("stock of the wave: %w", err)
	}
	rows, err := tx.Query(ctx, `SELECT h.hold_id, h.sku, h.quantity - h.shorted - h.left_stock - h.allocated, p.weight_grams, p.length_mm::bigint * p.width_mm * p.height_mm
	    FROM hold_lines h JOIN products p ON p.tenant = h.tenant AND p.sku = h.sku
	   WHERE h.tenant = $1 AND h.warehouse = $2 AND h.hold_id = ANY($3) AND h.quantity - h.shorted - h.left_stock > h.allocated ORDER BY h.hold_id, h.sku`, tenantID, warehouse, holds)
	if err != nil {
		return fmt.Errorf("lines of the wave: %w", err)
	}
	var holdID string
	var n need
	_, err = pgx.ForEachRow(rows, []any{&holdID, &n.SKU, &n.Units, &n.Grams, &n.MM3}, func() error {
		of[holdID].lines = append(of[holdID].lines, n)
		return nil
	})
	if err != nil {
		return fmt.Errorf("lines of the wave: %w", err)
	}
	return nil
}

// skipped says why shipments that were asked for are not taken.
func skipped(ctx context.Context, tx pgx.Tx, tenantID string, in Wave, taken []*shipment) ([]Passed, error) {
	out := []Passed{}
	var rest []string
	for _, wanted := range in.ShipmentIDs {
		if !slices.ContainsFunc(taken, func(s *shipment) bool { return s.ID == wanted }) && !slices.Contains(rest, wanted) {
			rest = append(rest, wanted)
		}
	}
	if len(rest) == 0 {
		return out, nil
	}
	rows, err := tx.Query(ctx, `SELECT w.id, coalesce(o.id, ''), coalesce(o.number, ''), CASE WHEN s.id IS NULL OR s.warehouse <> $2 THEN 'unknown' WHEN s.frozen_reason IS NOT NULL THEN 'frozen'
	        WHEN `+order.WhollyRefunded+` THEN 'refunded' WHEN s.status <> 'pending' OR o.status NOT IN ('paid','in_fulfillment') THEN 'not_pending'
	        WHEN EXISTS (SELECT FROM hold_lines h WHERE h.tenant = s.tenant AND h.hold_id = o.hold_id AND h.warehouse = s.warehouse AND h.quantity - h.shorted - h.left_stock > h.allocated) THEN 'taken'
	        ELSE 'nothing_to_pick' END
	    FROM unnest($3::text[]) WITH ORDINALITY AS w (id, place) LEFT JOIN shipments s ON s.tenant = $1 AND s.id = w.id LEFT JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id ORDER BY w.place`,
		tenantID, in.Warehouse, rest)
	if err != nil {
		return nil, fmt.Errorf("shipments that are not taken: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Passed, err error) {
		return p, row.Scan(&p.ShipmentID, &p.OrderID, &p.Number, &p.Reason)
	})
	if err != nil {
		return nil, fmt.Errorf("shipments that are not taken: %w", err)
	}
	return append(out, list...), nil
}

// choose finds bins for all lines of a wave in one go.
func choose(ctx context.Context, tx pgx.Tx, tenantID string, in Wave, list []*shipment) error {
	_, today, err := rules(ctx, tx, tenantID)
	if err != nil {
		return err
	}
	withLot := map[string]bool{}
	if in.Lot != "" {
		rows, err := tx.Query(ctx, `SELECT sku FROM lots WHERE tenant = $1 AND lot = $2`, tenantID, in.Lot)
		if err != nil {
			return fmt.Errorf("lot %s: %w", in.Lot, err)
		}
		skus, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("lot %s: %w", in.Lot, err)
		}
		for _, sku := range skus {
			withLot[sku] = true
		}
	}
	var ask []stock.ToAllocate
	var of []*need
	at := map[[2]string]*need{}
	for _, s := range list {
		for i := range s.lines {
			n := &s.lines[i]
			a := stock.ToAllocate{HoldID: s.HoldID, SKU: n.SKU, Warehouse: in.Warehouse, Units: n.Units}
			if withLot[n.SKU] {
				a.Lot = in.Lot
			}
			ask, of = append(ask, a), append(of, n)
			at[[2]string{s.HoldID, n.SKU}] = n
		}
	}
	got, none, err := stock.Choose(ctx, tx, tenantID, in.Warehouse, ask, today)
	if err != nil {
		return err
	}
	for _, a := range got {
		n := at[[2]string{a.HoldID, a.SKU}]
		n.got = append(n.got, a)
	}
	for i, units := range none {
		of[i].absent = units
	}
	return nil
}

// parts divides shipments into what one list carries of each, and leaves out those
// of which nothing was found or that no trolley carries: they stay pending.
func (in Wave) parts(ctx context.Context, tx pgx.Tx, tenantID string, w *way, list []*shipment, out *Released) ([]part, error) {
	var parts []part
	var empty []string
	for _, s := range list {
		mine := []part{{shipment: s, lines: s.lines}}
		if in.By == ByZone {
			mine = byZone(s, w.zone)
		}
		if len(part{lines: s.lines}.bins()) == 0 {
			empty = append(empty, s.ID)
			for _, n := range s.lines {
				out.Unallocated = append(out.Unallocated, Unallocated{ShipmentID: s.ID, OrderID: s.OrderID, SKU: n.SKU, Units: n.absent})
			}
			continue
		}
		if !in.OneList && slices.ContainsFunc(mine, func(p part) bool { return !fits(p.load(), in.Trolley) }) {
			out.TooLarge = append(out.TooLarge, Passed{ShipmentID: s.ID, OrderID: s.OrderID, Number: s.Number, Reason: "too_large"})
			continue
		}
		parts = append(parts, mine...)
	}
	if _, err := tx.Exec(ctx, `UPDATE shipments SET unallocated_at = now() WHERE tenant = $1 AND id = ANY($2)`, tenantID, empty); err != nil {
		return nil, fmt.Errorf("shipments without units: %w", err)
	}
	return parts, nil
}

// fits reports whether a trolley carries a load, as batch sees it.
func fits(l, trolley batch.Load) bool {
	return (trolley.Units == 0 || l.Units <= trolley.Units) && (trolley.WeightGrams == 0 || l.WeightGrams <= trolley.WeightGrams) &&
		(trolley.VolumeMM3 == 0 || l.VolumeMM3 <= trolley.VolumeMM3) && (trolley.Orders == 0 || l.Orders <= trolley.Orders)
}

// byZone divides a shipment by the zones of its bins. Units without a bin go with
// other units of their SKU, or with the first zone.
func byZone(s *shipment, zone map[string]string) []part {
	at := map[string]*part{}
	in := func(z string) *part {
		if at[z] == nil {
			at[z] = &part{shipment: s, zone: z}
		}
		return at[z]
	}
	for _, n := range s.lines {
		of := map[string][]stock.Allocation{}
		for _, a := range n.got {
			of[zone[a.Bin]] = append(of[zone[a.Bin]], a)
		}
		for z, got := range of {
			one := n
			one.got, one.absent = got, 0
			p := in(z)
			p.lines = append(p.lines, one)
		}
	}
	var out []part
	for _, p := range at {
		slices.SortFunc(p.lines, func(a, b need) int { return cmp.Compare(a.SKU, b.SKU) })
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b part) int { return cmp.Compare(a.zone, b.zone) })
	if len(out) == 0 {
		return out
	}
	for _, n := range s.lines {
		if n.absent > 0 {
			addAbsent(out, n)
		}
	}
	return out
}

func addAbsent(parts []part, n need) {
	for _, p := range parts {
		if i := slices.IndexFunc(p.lines, func(l need) bool { return l.SKU == n.SKU }); i >= 0 {
			p.lines[i].absent = n.absent
			return
		}
	}
	n.got = nil
	parts[0].lines = append(parts[0].lines, n)
}

// batches puts parts on trolleys, each of one zone.
func (in Wave) batches(ctx context.Context, w *way, parts []part) ([][]part, int, error) {
	if in.OneList {
		return [][]part{parts}, 0, nil
	}
	var out [][]part
	if in.By == ByOrder {
		for _, p := range parts {
			out = append(out, []part{p})
		}
		return out, 0, nil
	}
	zones := map[string][]part{}
	var names []string
	for _, p := range parts {
		if zones[p.zone] == nil {
			names = append(names, p.zone)
		}
		zones[p.zone] = append(zones[p.zone], p)
	}
	slices.Sort(names)
	rounds := 0
	for _, name := range names {
		of := zones[name]
		orders := make([]batch.Order, len(of))
		for i, p := range of {
			orders[i] = batch.Order{ID: p.shipment.ID, Load: p.load(), Stops: w.stopsFor(p.bins())}
		}
		plan, err := batch.Build(ctx, orders, in.Trolley, w.measure, batch.Options{Seed: in.Seed, Rounds: in.Rounds, Budget: in.Budget / time.Duration(len(names))})
		if err != nil {
			return nil, 0, fmt.Errorf("batch the wave: %w", err)
		}
		rounds = max(rounds, plan.Rounds)
		for _, b := range plan.Batches {
			var on []part
			for _, i := range b.Orders {
				on = append(on, of[i])
			}
			out = append(out, on)
		}
	}
	return out, rounds, nil
}

// stopsFor are the places of bins that are on the floor.
func (w *way) stopsFor(bins []string) (stops []batch.Stop) {
	for _, b := range bins {
		if s, ok := w.at[b]; ok {
			stops = append(stops, s)
		}
	}
	return stops
}

// line is one that is about to be written.
type line struct {
	part  *part
	box   string
	need  need
	place int
}

// write keeps the wave and its lists.
func (in Wave) write(ctx context.Context, tx pgx.Tx, tenantID string, w *way, trolleys [][]part, rounds int, out *Released) error {
	trolleys = slices.DeleteFunc(trolleys, func(on []part) bool { return len(on) == 0 })
	last, err := lastNumber(ctx, tx, tenantID, len(trolleys))
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	var rows lineRows
	listOf := map[string]string{}
	for i, on := range trolleys {
		listID := id.New()
		if err := in.writeList(b, &rows, tenantID, out, listID, fmt.Sprintf("PL-%06d", last-len(trolleys)+i+1), w, on, rounds); err != nil {
			return err
		}
		for _, p := range on {
			if listOf[p.shipment.ID] == "" {
				listOf[p.shipment.ID] = listID
			}
		}
	}
	if err := in.writeWave(ctx, tx, tenantID, out); err != nil {
		return err
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("write pick lists: %w", err)
	}
	if err := rows.write(ctx, tx, tenantID, in.Warehouse); err != nil {
		return err
	}
	var shipments, lists []string
	for s, l := range listOf {
		shipments, lists = append(shipments, s), append(lists, l)
	}
	if _, err := tx.Exec(ctx, `UPDATE shipments s SET status = 'picking', pick_list = l.list, unallocated_at = NULL, updated_at = now() FROM unnest($2::text[], $3::text[]) AS l (shipment, list)
	  WHERE s.tenant = $1 AND s.id = l.shipment`, tenantID, shipments, lists); err != nil {
		return fmt.Errorf("shipments of the wave: %w", err)
	}
	if err := order.Begin(ctx, tx, tenantID, shipments); err != nil {
		return err
	}
	out.Lists, err = summaries(ctx, tx, tenantID, `l.wave_id = $2 ORDER BY l.id`, out.ID)
	return err
}

func (in Wave) writeWave(ctx context.Context, tx pgx.Tx, tenantID string, out *Released) error {
	parts := make([][]byte, 3)
	for i, v := range []any{out.Skipped, out.TooLarge, out.Unallocated} {
		var err error
		if parts[i], err = json.Marshal(v); err != nil {
			return err
		}
	}
	err := tx.QueryRow(ctx, `INSERT INTO waves (tenant, id, warehouse, kind, person, skipped, too_large, unallocated) VALUES ($1,$2,$3,$4,$5,$6,$7,$8) RETURNING created_at`,
		tenantID, out.ID, in.Warehouse, in.By, in.Who.Person, parts[0], parts[1], parts[2]).Scan(&out.CreatedAt)
	if err != nil {
		return fmt.Errorf("wave %s: %w", out.ID, err)
	}
	return nil
}

// lastNumber draws n numbers of lists and returns the last.
func lastNumber(ctx context.Context, tx pgx.Tx, tenantID string, n int) (last int, err error) {
	err = tx.QueryRow(ctx, `INSERT INTO tenant_counters (tenant, kind, value) VALUES ($1, 'pick_list', $2)
	  ON CONFLICT (tenant, kind) DO UPDATE SET value = tenant_counters.value + $2 RETURNING value`, tenantID, n).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("numbers of pick lists: %w", err)
	}
	return last, nil
}

// writeList plans the way of a list, numbers its lines along it, and queues what
// writes them.
func (in Wave) writeList(b *pgx.Batch, rows *lineRows, tenantID string, out *Released, listID, number string, w *way, on []part, rounds int) error {
	var bins []string
	var due *time.Time
	for _, p := range on {
		bins = append(bins, p.bins()...)
		if p.shipment.DueAt != nil && (due == nil || p.shipment.DueAt.Before(*due)) {
			due = p.shipment.DueAt
		}
	}
	t, err := w.tour(bins)
	if err != nil {
		return fmt.Errorf("wave %s: %w", out.ID, err)
	}
	at := places(t.stops)
	var lines []line
	for i := range on {
		l := line{part: &on[i]}
		if len(on) > 1 {
			l.box = strconv.Itoa(i + 1)
		}
		for _, n := range on[i].lines {
			l.need, l.place = n, math.MaxInt
			for _, a := range n.got {
				l.place = min(l.place, at(a.Bin))
			}
			lines = append(lines, l)
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.need.SKU, b.need.SKU)) })
	for i, l := range lines {
		rows.add(listID, i+1, l)
		if l.need.absent > 0 {
			out.Unallocated = append(out.Unallocated, Unallocated{ShipmentID: l.part.shipment.ID, OrderID: l.part.shipment.OrderID, SKU: l.need.SKU, Units: l.need.absent, ListID: listID})
		}
	}
	stops, err := json.Marshal(t.stops)
	if err != nil {
		return err
	}
	path, err := json.Marshal(t.path)
	if err != nil {
		return err
	}
	b.Queue(`INSERT INTO pick_lists (tenant, id, number, warehouse, kind, zone, wave_id, status, length_mm, sshape_mm, saved_mm, left_mm, path, stops, seed, rounds, due_at)
	  VALUES ($1,$2,$3,$4,$5,$6,$7,'open',$8,$9,$10,$8,$11,$12,$13,$14, coalesce($15, now() + interval '1 day'))`,
		tenantID, listID, number, in.Warehouse, in.By, on[0].zone, out.ID, t.length, t.sshape, t.saved(), path, stops, int64(in.Seed&math.MaxInt64), rounds, due) //nolint:gosec // masked
	return nil
}

// lineRows are the lines of a wave by column, and their allocations.
type lineRows struct {
	lists, holds, orders, shipments, skus, boxes []string
	lines, quantities                            []int
	allocations                                  []stock.Allocation
}

func (r *lineRows) add(listID string, number int, l line) {
	s := l.part.shipment
	units := l.need.absent
	for _, a := range l.need.got {
		units += a.Quantity
		a.ListID, a.Line = listID, number
		r.allocations = append(r.allocations, a)
	}
	r.lists, r.lines, r.holds, r.orders = append(r.lists, listID), append(r.lines, number), append(r.holds, s.HoldID), append(r.orders, s.OrderID)
	r.shipments, r.skus, r.quantities, r.boxes = append(r.shipments, s.ID), append(r.skus, l.need.SKU), append(r.quantities, units), append(r.boxes, l.box)
}

func (r *lineRows) write(ctx context.Context, tx pgx.Tx, tenantID, warehouse string) error {
	_, err := tx.Exec(ctx, `INSERT INTO pick_lines (tenant, list_id, line, hold_id, order_id, shipment_id, sku, warehouse, quantity, box)
	  SELECT $1, list_id, line, hold_id, order_id, shipment_id, sku, $2, quantity, box
	    FROM unnest($3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[], $10::text[]) AS l (list_id, line, hold_id, order_id, shipment_id, sku, quantity, box)`,
		tenantID, warehouse, r.lists, r.lines, r.holds, r.orders, r.shipments, r.skus, r.quantities, r.boxes)
	if err != nil {
		return fmt.Errorf("lines of the wave: %w", err)
	}
	return stock.Keep(ctx, tx, tenantID, r.allocations)
}
