package place

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/scancode"
)

// ground is the part of a tenant's warehouses on which moves happen, as it is when
// everything that they touch is locked, kept up with every move.
type ground struct {
	tx     pgx.Tx
	tenant string
	bins   map[binAt]*target
	piles  map[pileAt]*SpotNow
	loose  map[[2]string]int // units in no bin by warehouse and SKU
	sizes  map[string]load   // of a unit, by SKU
	lots   map[[2]string]lotNow
}

type binAt struct{ warehouse, code string }

type pileAt struct{ warehouse, bin, sku, lot, status string }

// target is a bin that takes units, with the units of each SKU and lot in it.
type target struct {
	Bin
	load
	contents map[[2]string]int
}

// lotNow is why a lot's units may not be offered, if they may not.
type lotNow struct{ status, reason string }

// lockGround locks what moves touch and reads it: stock before bins, as in every
// function that locks both, each in one order.
func lockGround(ctx context.Context, tx pgx.Tx, tenant string, list []Moving, items []scancode.Item) (*ground, error) {
	g := &ground{tx: tx, tenant: tenant, bins: map[binAt]*target{}, piles: map[pileAt]*SpotNow{}, loose: map[[2]string]int{}, sizes: map[string]load{}, lots: map[[2]string]lotNow{}}
	var warehouses, skus, lots []string // of each move
	var ends ends
	for i, m := range list {
		warehouses, skus, lots = append(warehouses, m.Warehouse), append(skus, items[i].SKU), append(lots, m.Lot)
		ends.add(m.Warehouse, m.From, false)
		ends.add(m.Warehouse, m.To, true)
	}
	b := &pgx.Batch{}
	g.queueLevels(b, warehouses, skus)
	g.queueTargets(b, ends)
	g.queueContents(b, ends, skus)
	g.queueLots(b, skus, lots)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("ground of moves: %w", err)
	}
	return g, nil
}

// ends are the bins between which units move, and those of them that take some.
type ends struct{ warehouses, bins, toWarehouses, toBins []string }

func (e *ends) add(warehouse string, at *stock.Spot, takes bool) {
	if at == nil || at.Bin == "" {
		return
	}
	if takes {
		e.toWarehouses, e.toBins = append(e.toWarehouses, warehouse), append(e.toBins, at.Bin)
	} else {
		e.warehouses, e.bins = append(e.warehouses, warehouse), append(e.bins, at.Bin)
	}
}

func (g *ground) queueLevels(b *pgx.Batch, warehouses, skus []string) {
	b.Queue(`SELECT FROM stock_levels WHERE tenant = $1 AND (sku, warehouse) IN (SELECT * FROM unnest($2::text[], $3::text[])) ORDER BY sku, warehouse FOR UPDATE`, g.tenant, skus, warehouses)
	// Each a statement of its own, since it must see what the locks have waited for.
	b.Queue(`SELECT warehouse, sku, on_hand - placed FROM stock_levels WHERE tenant = $1 AND (sku, warehouse) IN (SELECT * FROM unnest($2::text[], $3::text[]))`, g.tenant, skus, warehouses).
		Query(func(rows pgx.Rows) error {
			var key [2]string
			var loose int
			_, err := pgx.ForEachRow(rows, []any{&key[0], &key[1], &loose}, func() error {
				g.loose[key] = loose
				return nil
			})
			return err
		})
	b.Queue(`SELECT sku, weight_grams::bigint, length_mm::float8 * width_mm * height_mm FROM products WHERE tenant = $1 AND sku = ANY($2)`, g.tenant, skus).Query(func(rows pgx.Rows) error {
		var sku string
		unit := load{units: 1}
		_, err := pgx.ForEachRow(rows, []any{&sku, &unit.grams, &unit.mm3}, func() error {
			g.sizes[sku] = unit
			return nil
		})
		return err
	})
}

// queueTargets locks the bins that take units: two moves that fill the same bin
// take turns.
func (g *ground) queueTargets(b *pgx.Batch, of ends) {
	b.Queue(`SELECT FROM bins WHERE tenant = $1 AND (warehouse, code) IN (SELECT * FROM unnest($2::text[], $3::text[])) ORDER BY warehouse, code FOR NO KEY UPDATE`, g.tenant, of.toWarehouses, of.toBins)
	b.Queue(`SELECT warehouse, code, kind, active, lot_rule, max_units, max_weight_grams, max_volume_mm3 FROM bins
	  WHERE tenant = $1 AND (warehouse, code) IN (SELECT * FROM unnest($2::text[], $3::text[]))`, g.tenant, of.toWarehouses, of.toBins).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			t := &target{contents: map[[2]string]int{}}
			if err := rows.Scan(&t.Warehouse, &t.Code, &t.Kind, &t.Active, &t.LotRule, &t.MaxUnits, &t.MaxWeightGrams, &t.MaxVolumeMM3); err != nil {
				return err
			}
			g.bins[binAt{t.Warehouse, t.Code}] = t
		}
		return rows.Err()
	})
}

// queueContents reads what lies in bins that take units, and the piles of the
// moves' SKUs in all of them.
func (g *ground) queueContents(b *pgx.Batch, of ends, skus []string) {
	b.Queue(`SELECT s.warehouse, s.bin, s.sku, s.lot, s.status, s.quantity, s.version, p.weight_grams::bigint, p.length_mm::float8 * p.width_mm * p.height_mm
	    FROM (SELECT DISTINCT * FROM unnest($2::text[], $3::text[])) AS w (warehouse, bin)
	    JOIN bin_stock s ON s.tenant = $1 AND s.warehouse = w.warehouse AND s.bin = w.bin JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku
	   WHERE s.quantity > 0 OR s.sku = ANY($4)`, g.tenant, of.toWarehouses, of.toBins, skus).Query(func(rows pgx.Rows) error {
		var at pileAt
		var now SpotNow
		var unit load
		_, err := pgx.ForEachRow(rows, []any{&at.warehouse, &at.bin, &at.sku, &at.lot, &at.status, &now.Quantity, &now.Version, &unit.grams, &unit.mm3}, func() error {
			g.found(at, now)
			// A bin that was made between the statements is not there.
			if t := g.bins[binAt{at.warehouse, at.bin}]; t != nil {
				t.put(at.sku, at.lot, now.Quantity, unit)
			}
			return nil
		})
		return err
	})
	b.Queue(`SELECT s.warehouse, s.bin, s.sku, s.lot, s.status, s.quantity, s.version
	    FROM (SELECT DISTINCT * FROM unnest($2::text[], $3::text[])) AS w (warehouse, bin)
	    JOIN bin_stock s ON s.tenant = $1 AND s.warehouse = w.warehouse AND s.bin = w.bin AND s.sku = ANY($4)`, g.tenant, of.warehouses, of.bins, skus).Query(func(rows pgx.Rows) error {
		var at pileAt
		var now SpotNow
		_, err := pgx.ForEachRow(rows, []any{&at.warehouse, &at.bin, &at.sku, &at.lot, &at.status, &now.Quantity, &now.Version}, func() error {
			g.found(at, now)
			return nil
		})
		return err
	})
}

func (g *ground) found(at pileAt, now SpotNow) {
	now.Bin, now.Status = at.bin, at.status
	g.piles[at] = &now
}

func (g *ground) queueLots(b *pgx.Batch, skus, lots []string) {
	if !slices.ContainsFunc(lots, func(lot string) bool { return lot != "" }) {
		return
	}
	b.Queue(`SELECT sku, lot, status, reason FROM lots WHERE tenant = $1 AND (sku, lot) IN (SELECT * FROM unnest($2::text[], $3::text[]))`, g.tenant, skus, lots).Query(func(rows pgx.Rows) error {
		var key [2]string
		var now lotNow
		_, err := pgx.ForEachRow(rows, []any{&key[0], &key[1], &now.status, &now.reason}, func() error {
			g.lots[key] = now
			return nil
		})
		return err
	})
}

func (t *target) put(sku, lot string, units int, unit load) {
	t.contents[[2]string{sku, lot}] += units
	t.units += int64(units)
	t.grams += int64(units) * unit.grams
	t.mm3 += float64(units) * unit.mm3
}

func pileOf(m Moving, sku string, at *stock.Spot) pileAt {
	return pileAt{m.Warehouse, at.Bin, sku, m.Lot, at.Status}
}

// spotNow is what lies at an end of a move; nil outside the warehouse.
func (g *ground) spotNow(m Moving, sku string, at *stock.Spot) *SpotNow {
	switch {
	case at == nil:
		return nil
	case at.Bin == "":
		return &SpotNow{Status: at.Status, Quantity: g.loose[[2]string{m.Warehouse, sku}]}
	}
	if now := g.piles[pileOf(m, sku, at)]; now != nil {
		is := *now
		return &is
	}
	return &SpotNow{Bin: at.Bin, Status: at.Status}
}

// shift moves units as the ledger will; each movement is a version of both piles.
func (g *ground) shift(m Moving, sku string, units int) {
	g.add(m, sku, m.From, -units)
	g.add(m, sku, m.To, units)
}

func (g *ground) add(m Moving, sku string, at *stock.Spot, units int) {
	if at == nil {
		return
	}
	if at.Bin == "" {
		g.loose[[2]string{m.Warehouse, sku}] += units
		return
	}
	pile := pileOf(m, sku, at)
	if g.piles[pile] == nil {
		g.found(pile, SpotNow{})
	}
	g.piles[pile].Quantity += units
	g.piles[pile].Version++
	if t := g.bins[binAt{m.Warehouse, at.Bin}]; t != nil {
		t.put(sku, m.Lot, units, g.sizes[sku])
	}
}

// check refuses a move that the ground as it is now does not allow.
func (g *ground) check(ctx context.Context, m Moving, item scancode.Item) error {
	if err := g.checkFrom(m, item); err != nil {
		return err
	}
	if err := g.checkLot(ctx, m, item); err != nil {
		return err
	}
	return g.checkTo(m, item)
}

// checkFrom demands the version that the operator saw, and that the units are
// there.
func (g *ground) checkFrom(m Moving, item scancode.Item) error {
	now := g.spotNow(m, item.SKU, m.From)
	switch {
	case now == nil:
		return nil
	case m.Version != 0 && now.Version != m.Version:
		return problem.New(problem.Conflict, "version_changed", fmt.Sprintf("The bin %s has changed since.", now.Bin)).With("current", now)
	case now.Quantity < m.Quantity:
		return problem.New(problem.Conflict, "not_in_bin", fmt.Sprintf("%d units of %s lie there as %s.", now.Quantity, item.SKU, now.Status)).With("current", now)
	}
	return nil
}

// checkLot makes a lot known that comes in, and keeps units of one that is held
// or expired from being offered.
func (g *ground) checkLot(ctx context.Context, m Moving, item scancode.Item) error {
	if m.Lot == "" || m.To == nil || m.To.Bin == "" {
		return nil
	}
	if m.From == nil || m.From.Bin == "" {
		same, err := stock.PutLot(ctx, g.tx, g.tenant, stock.Lot{SKU: item.SKU, Lot: m.Lot, ExpiresOn: m.ExpiresOn})
		if err != nil {
			return err
		}
		if !same {
			return problem.New(problem.Conflict, "other_expiry", "The lot is known with another day of expiry.")
		}
	}
	if m.To.Status != stock.Available || m.From != nil && m.From.Bin != "" && m.From.Status == stock.Available {
		return nil
	}
	// A lot that is not known yet is neither.
	if lot := g.lots[[2]string{item.SKU, m.Lot}]; lot.status == stock.Held || lot.status == stock.Expired {
		return problem.New(problem.Conflict, "lot_not_available", "The lot is "+lot.status+": its units can't be offered.").With("current", map[string]string{"status": lot.status, "reason": lot.reason})
	}
	return nil
}

// kindsFor are the kinds of bins in which units of a status may be put by hand.
// Units may change their status where they lie.
var kindsFor = map[string][]floor.BinKind{
	stock.Available: forSale,
	stock.Held:      {floor.Pick, floor.Reserve, floor.Receiving, floor.Quarantine},
	stock.Expired:   {floor.Quarantine, floor.Damaged},
	stock.Damaged:   {floor.Quarantine, floor.Damaged},
}

// checkTo holds the rules of the bin that takes the units.
func (g *ground) checkTo(m Moving, item scancode.Item) error {
	if m.To == nil || m.To.Bin == "" {
		return nil
	}
	t := g.bins[binAt{m.Warehouse, m.To.Bin}]
	if t == nil {
		var f problem.Fields
		f.Add("to.bin", "unknown_bin", "the warehouse has no such bin")
		return f.Err()
	}
	stays := m.From != nil && m.From.Bin == m.To.Bin
	if !t.Active && !stays {
		return problem.New(problem.Conflict, "bin_inactive", "The bin "+m.To.Bin+" is switched off.")
	}
	if m.Force || stays {
		return nil
	}
	return t.fits(item.SKU, m.Lot, m.To.Status, m.Quantity, g.sizes[item.SKU])
}

// fits tells whether units may be put into a bin: its kind, its lot rule, and its
// limits of units, weight and volume. It is 409 wrong_bin_kind, lot_rule or
// bin_full when they may not, with `current`.
func (t *target) fits(sku, lot, status string, units int, unit load) error {
	if !slices.Contains(kindsFor[status], t.Kind) {
		return problem.New(problem.Conflict, "wrong_bin_kind", fmt.Sprintf("The bin %s is for %s: units that are %s do not belong there.", t.Code, t.Kind, status)).
			With("current", map[string]any{"kind": t.Kind})
	}
	if err := t.fitsRule(sku, lot); err != nil {
		return err
	}
	after := load{units: t.units + int64(units), grams: t.grams + int64(units)*unit.grams, mm3: t.mm3 + float64(units)*unit.mm3}
	if fill := after.fill(t.Bin); fill != nil && *fill > 1000 {
		return problem.New(problem.Conflict, "bin_full", fmt.Sprintf("The bin %s would be %d %% full.", t.Code, (*fill+9)/10)).
			With("current", map[string]any{"units": t.units, "max_units": t.MaxUnits, "max_weight_grams": t.MaxWeightGrams, "max_volume_mm3": t.MaxVolumeMM3, "fill_permille": *fill})
	}
	return nil
}

// fitsRule holds a bin's lot rule.
func (t *target) fitsRule(sku, lot string) error {
	var others [][2]string
	for pile, units := range t.contents {
		if units > 0 && (t.LotRule == floor.OneLot && pile[0] == sku && pile[1] != lot || t.LotRule == floor.OneSKU && pile[0] != sku) {
			others = append(others, pile)
		}
	}
	if len(others) == 0 {
		return nil
	}
	first := slices.MinFunc(others, func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	return problem.New(problem.Conflict, "lot_rule", fmt.Sprintf("The bin %s takes %s at a time.", t.Code, map[floor.LotRule]string{floor.OneLot: "one lot of a SKU", floor.OneSKU: "one SKU"}[t.LotRule])).
		With("current", map[string]any{"sku": first[0], "lot": first[1], "lot_rule": t.LotRule})
}
