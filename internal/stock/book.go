package stock

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// unknownWhich is the index of a movement that the database refused among
// others: it does not say which of them it was.
const unknownWhich = -1

// level and spot are keys of what a book has read.
type level struct{ sku, warehouse string }

type spot struct{ warehouse, bin, sku, lot, status string }

func (m BinMovement) level() level { return level{m.SKU, m.Warehouse} }

func (m BinMovement) at(s *Spot) spot { return spot{m.Warehouse, s.Bin, m.SKU, m.Lot, s.Status} }

// pile is what lies at a spot, and how much of it nobody waits for.
type pile struct{ there, free int }

// known is what a book knows of a level.
type known struct {
	loose    int    // units in no bin
	tracking string // of the SKU
}

// book is movements that are booked together: what they need to know is read
// once, when their levels are locked, and they are written at once.
type book struct {
	tx     pgx.Tx
	tenant string
	levels map[level]known
	piles  map[spot]pile
	// What is not written yet, in this order.
	reduced   []reduction
	movements []BinMovement
	kept      []Allocation
}

// MoveAll books movements one after the other, each as Move does, in few round
// trips however many there are. Their levels are locked at once, in the order of
// SKU and warehouse. It returns what each of them did.
//
// An error comes with the index of the movement that is refused, which is -1 where
// the database did not say. Then nothing of all may stay: the caller rolls back.
func MoveAll(ctx context.Context, tx pgx.Tx, tenant string, list []BinMovement) ([]Moved, int, error) {
	b := newBook(tx, tenant)
	if err := b.open(ctx, list); err != nil {
		return nil, which(list), err
	}
	out := make([]Moved, len(list))
	for i, m := range list {
		var err error
		if out[i], err = b.move(ctx, m); err != nil {
			return nil, i, err
		}
	}
	return out, which(list), b.write(ctx)
}

// which is the index of the one that is refused, where there is only one.
func which[T any](list []T) int {
	if len(list) == 1 {
		return 0
	}
	return unknownWhich
}

func newBook(tx pgx.Tx, tenant string) *book {
	return &book{tx: tx, tenant: tenant, levels: map[level]known{}, piles: map[spot]pile{}}
}

// open locks the levels of movements and reads what their spots have, in one round
// trip. A level that is not there yet is made.
func (b *book) open(ctx context.Context, list []BinMovement) error {
	if err := b.read(ctx, list); err != nil {
		return err
	}
	made := false
	for _, l := range levelsOf(list) {
		if _, there := b.levels[l]; there {
			continue
		}
		if err := touch(ctx, b.tx, b.tenant, l.sku, l.warehouse); err != nil {
			return err
		}
		made = true
	}
	if !made {
		return nil
	}
	return b.read(ctx, list)
}

// levelsOf lists the levels of movements, each once, in the order of locking.
func levelsOf(list []BinMovement) []level {
	out := make([]level, len(list))
	for i, m := range list {
		out[i] = m.level()
	}
	slices.SortFunc(out, func(a, b level) int {
		return cmp.Or(cmp.Compare(a.sku, b.sku), cmp.Compare(a.warehouse, b.warehouse))
	})
	return slices.Compact(out)
}

func (b *book) read(ctx context.Context, list []BinMovement) error {
	var skus, warehouses []string
	for _, l := range levelsOf(list) {
		skus, warehouses = append(skus, l.sku), append(warehouses, l.warehouse)
	}
	batch := &pgx.Batch{}
	batch.Queue(`SELECT l.sku, l.warehouse, l.on_hand - l.placed, p.tracking FROM stock_levels l JOIN products p ON p.tenant = l.tenant AND p.sku = l.sku
	  WHERE l.tenant = $1 AND (l.sku, l.warehouse) IN (SELECT * FROM unnest($2::text[], $3::text[])) ORDER BY l.sku, l.warehouse FOR UPDATE OF l`, b.tenant, skus, warehouses).
		Query(func(rows pgx.Rows) error {
			var l level
			var k known
			_, err := pgx.ForEachRow(rows, []any{&l.sku, &l.warehouse, &k.loose, &k.tracking}, func() error {
				b.levels[l] = k
				return nil
			})
			return err
		})
	var spots []spot
	for _, m := range list {
		if m.From != nil && m.From.Bin != "" {
			spots = append(spots, m.at(m.From))
		}
	}
	b.queuePiles(batch, spots)
	if err := b.tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("stock of movements: %w", err)
	}
	return nil
}

// queuePiles reads what lies at spots. It is a statement of its own, since it must
// see what the locks have waited for.
func (b *book) queuePiles(batch *pgx.Batch, spots []spot) {
	var warehouses, bins, skus, lots, statuses []string
	for _, at := range spots {
		if _, asked := b.piles[at]; asked {
			continue
		}
		b.piles[at] = pile{}
		warehouses, bins, skus, lots, statuses = append(warehouses, at.warehouse), append(bins, at.bin), append(skus, at.sku), append(lots, at.lot), append(statuses, at.status)
	}
	if len(bins) == 0 {
		return
	}
	batch.Queue(`SELECT s.warehouse, s.bin, s.sku, s.lot, s.status, s.quantity, s.quantity - s.allocated
	    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS w (warehouse, bin, sku, lot, status)
	    JOIN bin_stock s ON s.tenant = $1 AND s.warehouse = w.warehouse AND s.bin = w.bin AND s.sku = w.sku AND s.lot = w.lot AND s.status = w.status`,
		b.tenant, warehouses, bins, skus, lots, statuses).Query(func(rows pgx.Rows) error {
		var at spot
		var p pile
		_, err := pgx.ForEachRow(rows, []any{&at.warehouse, &at.bin, &at.sku, &at.lot, &at.status, &p.there, &p.free}, func() error {
			b.piles[at] = p
			return nil
		})
		return err
	})
}

// pile is what lies at a spot now.
func (b *book) pile(ctx context.Context, at spot) (pile, error) {
	if p, known := b.piles[at]; known {
		return p, nil
	}
	if err := b.write(ctx); err != nil {
		return pile{}, err
	}
	batch := &pgx.Batch{}
	b.queuePiles(batch, []spot{at})
	if err := b.tx.SendBatch(ctx, batch).Close(); err != nil {
		return pile{}, fmt.Errorf("what lies in %s: %w", at.bin, err)
	}
	return b.piles[at], nil
}

// move books one movement.
func (b *book) move(ctx context.Context, m BinMovement) (out Moved, err error) {
	if m.Quantity < 1 {
		return out, fmt.Errorf("move %d of %s: nothing to move", m.Quantity, m.SKU)
	}
	if out.Dropped, err = b.clearSpot(ctx, m); err != nil {
		return out, err
	}
	if b.levels[m.level()].tracking == "lot" && m.Lot == "" && m.To != nil && m.To.Bin != "" {
		return out, fmt.Errorf("%w: %s", ErrWrongLot, m.SKU)
	}
	if loss := sellable(m.From, m.Quantity) - sellable(m.To, m.Quantity); loss > 0 {
		if out.Shorted, err = b.makeRoom(ctx, m, loss); err != nil {
			return out, err
		}
	}
	b.movements = append(b.movements, m)
	b.shift(m)
	return out, nil
}

// clearSpot demands that the spot has the units, and takes them from allocations
// where all others have gone.
func (b *book) clearSpot(ctx context.Context, m BinMovement) ([]Dropped, error) {
	if m.From == nil {
		return nil, nil
	}
	if m.From.Bin == "" {
		if loose := b.levels[m.level()].loose; loose < m.Quantity {
			return nil, fmt.Errorf("%w: %d of %s in %s lie in no bin", ErrNotInBin, loose, m.SKU, m.Warehouse)
		}
		return nil, nil
	}
	p, err := b.pile(ctx, m.at(m.From))
	if err != nil {
		return nil, err
	}
	if p.there < m.Quantity {
		return nil, fmt.Errorf("%w: %d of %s %s in %s", ErrNotInBin, p.there, m.SKU, m.Lot, m.From.Bin)
	}
	if m.Serial == "" && p.free >= m.Quantity {
		return nil, nil
	}
	if err := b.write(ctx); err != nil {
		return nil, err
	}
	dropped, err := dropAllocations(ctx, b.tx, b.tenant, m, m.Quantity-p.free)
	for _, d := range dropped {
		p.free += d.Units
	}
	b.piles[m.at(m.From)] = p
	return dropped, err
}

// makeRoom takes from holds what they can't keep when a movement's units are not to
// be sold any more.
func (b *book) makeRoom(ctx context.Context, m BinMovement, loss int) ([]Shorted, error) {
	if err := b.write(ctx); err != nil {
		return nil, err
	}
	shorted, err := makeRoom(ctx, b.tx, b.tenant, m.SKU, m.Warehouse, loss)
	if len(shorted) > 0 {
		// Allocations were given up, wherever they are.
		clear(b.piles)
	}
	return shorted, err
}

// shift is what the movement's trigger does, as far as the book knows the spots.
func (b *book) shift(m BinMovement) {
	for _, end := range []struct {
		at    *Spot
		units int
	}{{m.From, -m.Quantity}, {m.To, m.Quantity}} {
		switch {
		case end.at == nil:
		case end.at.Bin == "":
			k := b.levels[m.level()]
			k.loose += end.units
			b.levels[m.level()] = k
		default:
			if p, known := b.piles[m.at(end.at)]; known {
				b.piles[m.at(end.at)] = pile{p.there + end.units, p.free + end.units}
			}
		}
	}
}

// write writes what was booked, in one round trip.
func (b *book) write(ctx context.Context) error {
	if len(b.reduced)+len(b.movements)+len(b.kept) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	if len(b.reduced) > 0 {
		reduce(batch, b.tenant, b.reduced)
	}
	if len(b.movements) > 0 {
		record(batch, b.tenant, b.movements)
	}
	if len(b.kept) > 0 {
		keep(batch, b.tenant, b.kept)
	}
	if err := b.tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("book %d movements: %w", len(b.movements), named(err))
	}
	b.reduced, b.movements, b.kept = nil, nil, nil
	return nil
}
