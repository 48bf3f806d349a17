package stock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Level is what one warehouse has of a SKU.
type Level struct {
	Warehouse string `json:"warehouse"`
	OnHand    int    `json:"on_hand"`
	Reserved  int    `json:"reserved"`
	Available int    `json:"available"`
	// Placed is how many of those on hand lie in a bin.
	Placed   int            `json:"placed,omitempty"`
	SetAside map[string]int `json:"set_aside,omitempty"`
}

// Levels reads a SKU's stock in every warehouse that has ever had it.
func Levels(ctx context.Context, tx pgx.Tx, tenant, sku string) ([]Level, error) {
	rows, err := tx.Query(ctx, `SELECT warehouse, on_hand, reserved, on_hand - reserved, placed, set_aside FROM stock_levels WHERE tenant = $1 AND sku = $2 ORDER BY warehouse`, tenant, sku)
	if err != nil {
		return nil, fmt.Errorf("stock of %s: %w", sku, err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Level, error) {
		var l Level
		var aside []byte
		if err := row.Scan(&l.Warehouse, &l.OnHand, &l.Reserved, &l.Available, &l.Placed, &aside); err != nil {
			return l, err
		}
		return l, json.Unmarshal(aside, &l.SetAside)
	})
}

// Movement is one line of the ledger.
type Movement struct {
	ID        int64     `json:"id"`
	Warehouse string    `json:"warehouse"`
	Delta     int       `json:"delta"`
	Reason    string    `json:"reason"`
	Note      string    `json:"note,omitempty"`
	Reference string    `json:"reference,omitempty"`
	Actor     string    `json:"actor,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Movements lists a SKU's movements, newest first, those before the id given
// (0: from the newest).
func Movements(ctx context.Context, tx pgx.Tx, tenant, sku string, before int64, limit int) ([]Movement, error) {
	rows, err := tx.Query(ctx, `SELECT id, warehouse, delta, reason, note, reference, actor, created_at FROM stock_movements
	  WHERE tenant = $1 AND sku = $2 AND ($3 = 0 OR id < $3) ORDER BY id DESC LIMIT $4`, tenant, sku, before, limit)
	if err != nil {
		return nil, fmt.Errorf("movements of %s: %w", sku, err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Movement])
}

// Shorted is a hold that lost units because the shelf had fewer than promised.
type Shorted struct {
	HoldID     string `json:"reservation_id"`
	CheckoutID string `json:"checkout_id,omitempty"`
	OrderID    string `json:"order_id,omitempty"`
	Units      int    `json:"units"`
}

// Change is a change of what lies on a shelf.
type Change struct {
	SKU       string
	Warehouse string
	Delta     int
	Reason    string // count, receipt, adjustment, damage, loss, ...
	Note      string
	Reference string
	Actor     string
}

// Errors of the ledger.
var (
	ErrNoSuchPlace = errors.New("no such SKU or warehouse")
	ErrBelowZero   = errors.New("there are not that many units on the shelf")
	ErrPromised    = errors.New("those units are promised to orders")
)

// Count sets what was counted on a shelf at countedAt; movements after that
// moment are added to it. When fewer units are there than were promised, the
// shelf wins: the newest unpaid holds lose theirs first, paid ones last, and
// all losers are returned and marked short in this transaction.
func Count(ctx context.Context, tx pgx.Tx, tenant, sku, warehouse string, counted int, countedAt time.Time, actor string) ([]Shorted, error) {
	if err := touch(ctx, tx, tenant, sku, warehouse); err != nil {
		return nil, err
	}
	var delta int
	err := tx.QueryRow(ctx, `SELECT $4::int + coalesce((SELECT sum(delta) FROM stock_movements WHERE tenant = $1 AND sku = $2 AND warehouse = $3 AND created_at > $5), 0)::int - on_hand
	   FROM stock_levels WHERE tenant = $1 AND sku = $2 AND warehouse = $3`, tenant, sku, warehouse, counted, countedAt).Scan(&delta)
	if err != nil {
		return nil, fmt.Errorf("count %s in %s: %w", sku, warehouse, err)
	}
	return apply(ctx, tx, tenant, Change{SKU: sku, Warehouse: warehouse, Delta: delta, Reason: "count", Actor: actor})
}

// Adjust books a change with its reason. Like Count, it takes the shortfall
// from holds when promised units are gone. ErrBelowZero when the shelf has
// fewer units than are to leave it.
func Adjust(ctx context.Context, tx pgx.Tx, tenant string, c Change) ([]Shorted, error) {
	if err := touch(ctx, tx, tenant, c.SKU, c.Warehouse); err != nil {
		return nil, err
	}
	return apply(ctx, tx, tenant, c)
}

// Transfer moves units that nobody was promised between two warehouses.
func Transfer(ctx context.Context, tx pgx.Tx, tenant, sku, from, to string, units int, note, actor string) error {
	// Both rows are locked in warehouse order before either is read.
	first, second := min(from, to), max(from, to)
	for _, w := range []string{first, second} {
		if err := touch(ctx, tx, tenant, sku, w); err != nil {
			return err
		}
	}
	var free int
	err := tx.QueryRow(ctx, `SELECT on_hand - reserved FROM stock_levels WHERE tenant = $1 AND sku = $2 AND warehouse = $3`, tenant, sku, from).Scan(&free)
	if err != nil {
		return fmt.Errorf("transfer %s: %w", sku, err)
	}
	if free < units {
		return fmt.Errorf("%w: %d of %s are free in %s", ErrPromised, free, sku, from)
	}
	for _, c := range []Change{
		{SKU: sku, Warehouse: from, Delta: -units, Reason: "transfer_out", Reference: to, Note: note, Actor: actor},
		{SKU: sku, Warehouse: to, Delta: units, Reason: "transfer_in", Reference: from, Note: note, Actor: actor},
	} {
		if _, err := apply(ctx, tx, tenant, c); err != nil {
			return err
		}
	}
	return nil
}

// SetAside keeps units for a channel: others are not given them. It counts
// what the channel does not hold yet.
func SetAside(ctx context.Context, tx pgx.Tx, tenant, sku, warehouse, channel string, units int) error {
	if err := touch(ctx, tx, tenant, sku, warehouse); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE stock_levels SET set_aside = CASE WHEN $5 = 0 THEN set_aside - $4 ELSE set_aside || jsonb_build_object($4::text, $5::int) END, updated_at = now()
	  WHERE tenant = $1 AND sku = $2 AND warehouse = $3`, tenant, sku, warehouse, channel, units)
	if err != nil {
		return fmt.Errorf("set aside %s for %s: %w", sku, channel, err)
	}
	return nil
}

// touch makes sure that the level exists and is locked.
func touch(ctx context.Context, tx pgx.Tx, tenant, sku, warehouse string) error {
	tag, err := tx.Exec(ctx, `INSERT INTO stock_levels (tenant, sku, warehouse)
	  SELECT p.tenant, p.sku, w.code FROM products p JOIN warehouses w ON w.tenant = p.tenant WHERE p.tenant = $1 AND p.sku = $2 AND w.code = $3
	  ON CONFLICT (tenant, sku, warehouse) DO UPDATE SET updated_at = now()`, tenant, sku, warehouse)
	if err != nil {
		return fmt.Errorf("stock level %s in %s: %w", sku, warehouse, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w: %s in %s", ErrNoSuchPlace, sku, warehouse)
	}
	return nil
}

// apply books a change on a level that is locked. It knows no bins: units that
// leave are taken from those in no bin, and from bins when there are too few.
func apply(ctx context.Context, tx pgx.Tx, tenant string, c Change) ([]Shorted, error) {
	if c.Delta == 0 {
		return nil, nil
	}
	var lost []Shorted
	var err error
	if c.Delta < 0 {
		by := By{Person: c.Actor}
		if by.Person == "" {
			by.Person = "system"
		}
		if err := enough(ctx, tx, tenant, c); err != nil {
			return nil, err
		}
		// Before holds lose units: where even picked ones are not there, they are
		// nobody's any more.
		if _, err := unplace(ctx, tx, tenant, c.SKU, c.Warehouse, -c.Delta, c.Reason, by); err != nil {
			return nil, err
		}
		if lost, err = makeRoom(ctx, tx, tenant, c.SKU, c.Warehouse, -c.Delta); err != nil {
			return nil, err
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO stock_movements (tenant, sku, warehouse, delta, reason, note, reference, actor) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)`,
		tenant, c.SKU, c.Warehouse, c.Delta, c.Reason, c.Note, c.Reference, c.Actor)
	if err != nil {
		return nil, fmt.Errorf("book %+d of %s in %s: %w", c.Delta, c.SKU, c.Warehouse, err)
	}
	return lost, nil
}

// enough demands that the shelf has the units that are to leave it.
func enough(ctx context.Context, tx pgx.Tx, tenant string, c Change) error {
	var onHand int
	err := tx.QueryRow(ctx, `SELECT on_hand FROM stock_levels WHERE tenant = $1 AND sku = $2 AND warehouse = $3`, tenant, c.SKU, c.Warehouse).Scan(&onHand)
	if err != nil {
		return fmt.Errorf("stock level %s in %s: %w", c.SKU, c.Warehouse, err)
	}
	if onHand+c.Delta < 0 {
		return fmt.Errorf("%w: %d of %s in %s", ErrBelowZero, onHand, c.SKU, c.Warehouse)
	}
	return nil
}

// shorten takes missing units from the holds on a level: unpaid before paid,
// the newest first. What was picked for a hold is in somebody's hands and stays
// with it; what is allocated beyond the rest is given up.
func shorten(ctx context.Context, tx pgx.Tx, tenant, sku, warehouse string, missing int) ([]Shorted, error) {
	if err := dropExcess(ctx, tx, tenant, sku, warehouse, missing); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, losers+`, line AS (
	  UPDATE hold_lines hl SET shorted = shorted + cut.units FROM cut WHERE hl.tenant = $1 AND hl.hold_id = cut.id AND hl.sku = $2 AND hl.warehouse = $3
	), hold AS (
	  UPDATE holds h SET status = 'short', updated_at = now(), due_at = coalesce(due_at, now() + interval '15 minutes'),
	         short_until = CASE status WHEN 'short' THEN short_until END, short_asked = status = 'short' AND short_asked FROM cut WHERE h.tenant = $1 AND h.id = cut.id
	  RETURNING h.id, coalesce(h.checkout_id, '') AS checkout_id, coalesce(h.order_id, '') AS order_id
	), level AS (
	  UPDATE stock_levels SET reserved = reserved - (SELECT sum(units) FROM cut)::int, updated_at = now() WHERE tenant = $1 AND sku = $2 AND warehouse = $3
	)
	SELECT hold.id, hold.checkout_id, hold.order_id, cut.units FROM hold JOIN cut USING (id) ORDER BY 1`, tenant, sku, warehouse, missing)
	if err != nil {
		return nil, fmt.Errorf("take %d of %s from holds: %w", missing, sku, err)
	}
	lost, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Shorted])
	if err != nil {
		return nil, fmt.Errorf("take %d of %s from holds: %w", missing, sku, err)
	}
	return lost, nil
}

// losers are the holds that lose $4 units of a level, and how many each.
const losers = `
	WITH loser AS (
	  SELECT h.id, hl.allocated, hl.quantity - hl.shorted - hl.left_stock AS kept, hl.quantity - hl.shorted - hl.left_stock - hl.picked AS units,
	         sum(hl.quantity - hl.shorted - hl.left_stock - hl.picked) OVER (ORDER BY h.confirmed_at IS NOT NULL, h.started_at DESC, h.id DESC ROWS UNBOUNDED PRECEDING)
	           - (hl.quantity - hl.shorted - hl.left_stock - hl.picked) AS before
	    FROM hold_lines hl JOIN holds h ON h.tenant = hl.tenant AND h.id = hl.hold_id
	   WHERE hl.tenant = $1 AND hl.sku = $2 AND hl.warehouse = $3 AND h.status IN ('held','confirmed','short') AND hl.quantity - hl.shorted - hl.left_stock > hl.picked
	), cut AS (
	  SELECT id, allocated, kept, least(units, $4 - before)::int AS units FROM loser WHERE before < $4
	)`

// dropExcess gives up open allocations of holds that are about to lose units, as
// far as they cover more than the hold keeps.
func dropExcess(ctx context.Context, tx pgx.Tx, tenant, sku, warehouse string, missing int) error {
	rows, err := tx.Query(ctx, losers+` SELECT id, allocated - (kept - units) FROM cut WHERE allocated > kept - units`, tenant, sku, warehouse, missing)
	if err != nil {
		return fmt.Errorf("allocations of %s: %w", sku, err)
	}
	type excess struct {
		HoldID string
		Units  int
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[excess])
	if err != nil {
		return fmt.Errorf("allocations of %s: %w", sku, err)
	}
	for _, e := range list {
		if _, err := closeUnits(ctx, tx, `tenant = $1 AND hold_id = $2 AND sku = $3 AND warehouse = $4 AND $5 = '' AND state = 'open'`, e.Units, tenant, e.HoldID, sku, warehouse, ""); err != nil {
			return err
		}
	}
	return nil
}

// Cure takes from other shelves what a short hold has lost, all of it or
// nothing, and reports whether the hold is whole again. The lost lines shrink
// to what they still keep.
func Cure(ctx context.Context, tx pgx.Tx, tenant, holdID string, warehouses []string) (bool, error) {
	rows, err := tx.Query(ctx, `SELECT sku, shorted FROM hold_lines WHERE tenant = $1 AND hold_id = $2 AND shorted > 0 ORDER BY sku`, tenant, holdID)
	if err != nil {
		return false, fmt.Errorf("short hold %s: %w", holdID, err)
	}
	wants, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Want])
	if err != nil {
		return false, fmt.Errorf("short hold %s: %w", holdID, err)
	}
	skus, quantities := split(wants)
	if len(skus) == 0 {
		return true, nil
	}
	whole := false
	b := &pgx.Batch{}
	b.Queue(lockLevels, tenant, skus)
	b.Queue(lockHold, tenant, holdID)
	b.Queue(`
	WITH hold AS (
	  SELECT channel FROM holds WHERE tenant = $1 AND id = $2 AND status = 'short' FOR UPDATE
	), wanted AS (
	  SELECT w.sku, w.quantity FROM unnest($3::text[], $4::int[]) AS w (sku, quantity)
	), level AS (
	  SELECT l.sku, l.warehouse, w.quantity, hold.channel, coalesce((l.set_aside ->> hold.channel)::int, 0) AS own,
	         greatest(0, l.on_hand - l.reserved - coalesce((SELECT sum(value::int) FROM jsonb_each_text(l.set_aside) WHERE key <> hold.channel), 0))::int AS free
	    FROM stock_levels l JOIN wanted w USING (sku), hold WHERE l.tenant = $1 AND l.warehouse = ANY($5)
	), ranked AS (
	  SELECT *, sum(free) OVER (PARTITION BY sku ORDER BY array_position($5, warehouse) ROWS UNBOUNDED PRECEDING) - free AS before FROM level
	), taken AS (
	  SELECT sku, warehouse, channel, least(free, quantity - before)::int AS units, least(own, free, quantity - before)::int AS from_set_aside
	    FROM ranked WHERE free > 0 AND before < quantity
	), enough AS (
	  SELECT NOT EXISTS (SELECT FROM wanted w WHERE w.quantity > coalesce((SELECT sum(units) FROM taken t WHERE t.sku = w.sku), 0)) AND EXISTS (SELECT FROM hold) AS ok
	), reserve AS (
	  UPDATE stock_levels l SET reserved = l.reserved + t.units, updated_at = now(),
	         set_aside = CASE WHEN t.from_set_aside = 0 THEN l.set_aside
	                          ELSE jsonb_set(l.set_aside, ARRAY[t.channel], to_jsonb((l.set_aside ->> t.channel)::int - t.from_set_aside)) END
	    FROM taken t, enough
	   WHERE enough.ok AND l.tenant = $1 AND l.sku = t.sku AND l.warehouse = t.warehouse
	), line AS (
	  INSERT INTO hold_lines (tenant, hold_id, sku, warehouse, quantity, from_set_aside)
	  SELECT $1, $2, t.sku, t.warehouse, t.units, t.from_set_aside FROM taken t, enough WHERE enough.ok
	  ON CONFLICT (tenant, hold_id, sku, warehouse) DO UPDATE SET quantity = hold_lines.quantity + excluded.quantity, from_set_aside = hold_lines.from_set_aside + excluded.from_set_aside
	)
	SELECT ok FROM enough`, tenant, holdID, skus, quantities, warehouses).QueryRow(func(row pgx.Row) error { return row.Scan(&whole) })
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, fmt.Errorf("cure hold %s: %w", holdID, err)
	}
	if !whole {
		return false, nil
	}
	b = &pgx.Batch{}
	// What was lost is told by the movements; the hold names only what it keeps.
	b.Queue(`UPDATE hold_lines SET quantity = quantity - shorted, shorted = 0, from_set_aside = least(from_set_aside, quantity - shorted) WHERE tenant = $1 AND hold_id = $2 AND shorted > 0`, tenant, holdID)
	b.Queue(`UPDATE holds SET status = CASE WHEN confirmed_at IS NULL THEN 'held' ELSE 'confirmed' END, updated_at = now(),
	   due_at = CASE WHEN confirmed_at IS NULL THEN held_until + interval '`+settleMargin+`' END WHERE tenant = $1 AND id = $2 AND status = 'short'`, tenant, holdID)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, fmt.Errorf("cure hold %s: %w", holdID, err)
	}
	return true, nil
}
