package stock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Statuses of units in a bin. Only available ones are on hand: they can be sold.
const (
	Available = "available"
	Held      = "held"
	Expired   = "expired"
	Damaged   = "damaged"
)

// Spot is where units lie in a warehouse and in which status.
type Spot struct {
	// Bin is empty for units that are in the warehouse and in no bin; those are
	// available.
	Bin    string
	Status string
}

// In is a spot in a bin.
func In(bin, status string) *Spot { return &Spot{Bin: bin, Status: status} }

// Unplaced is the spot of units that are in the warehouse and in no bin.
func Unplaced() *Spot { return &Spot{Status: Available} }

// By is who changes stock, and with what.
type By struct {
	// Person is the operator's name, or what stands for one: "key:<id>", "system".
	Person string
	Device string
	KeyID  string
}

// BinMovement is units that go from one spot to another. A nil spot is outside the
// warehouse: a supplier, a buyer, a lorry, the bin for waste.
type BinMovement struct {
	SKU       string
	Warehouse string
	Lot       string
	// Serial is the unit's number; Quantity is then 1.
	Serial   string
	Quantity int
	From, To *Spot
	// Reason is one of the ledger's (receipt, put_away, move, pick, count, damage, ...),
	// Document what it was done for, as kind:id.
	Reason   string
	Document string
	Note     string
	By
}

// Moved is what a movement did to promises: holds that lost units, and
// allocations whose units are gone from their bin.
type Moved struct {
	Shorted []Shorted
	Dropped []Dropped
}

func (m *Moved) add(other Moved) {
	m.Shorted = append(m.Shorted, other.Shorted...)
	m.Dropped = append(m.Dropped, other.Dropped...)
}

// Dropped is units that an allocation has lost: its promise stands and needs
// another bin.
type Dropped struct {
	AllocationID string
	HoldID       string
	ListID       string
	Line         int
	Units        int
}

// Errors of movements.
var (
	ErrNoSuchBin    = errors.New("no such bin")
	ErrNotInBin     = errors.New("the bin does not have those units")
	ErrWrongLot     = errors.New("units of this SKU belong to lots")
	ErrNeedsSerial  = errors.New("units of this SKU have serial numbers")
	ErrSerialThere  = errors.New("this serial is in stock already")
	ErrSerialAbsent = errors.New("this serial is not in that bin")
)

// Lot is a lot of a SKU as it is known from now on. A day that was known before
// stays when none is given.
type Lot struct {
	SKU, Lot  string
	ExpiresOn *time.Time // a day, UTC midnight
}

// PutLot makes a lot known. It reports false, and changes nothing, when the lot
// is known with another day of expiry.
func PutLot(ctx context.Context, tx pgx.Tx, tenant string, l Lot) (bool, error) {
	var same bool
	err := tx.QueryRow(ctx, `INSERT INTO lots AS l (tenant, sku, lot, expires_on) VALUES ($1,$2,$3,$4)
	  ON CONFLICT (tenant, sku, lot) DO UPDATE SET expires_on = coalesce(l.expires_on, excluded.expires_on), updated_at = now()
	  RETURNING $4::date IS NULL OR expires_on = $4::date`, tenant, l.SKU, l.Lot, l.ExpiresOn).Scan(&same)
	if err != nil {
		return false, fmt.Errorf("lot %s of %s: %w", l.Lot, l.SKU, err)
	}
	return same, nil
}

// Move books a movement. Where fewer units can be sold afterwards than were
// promised, the shelf wins: holds lose units, as in Count, and are returned;
// allocations that lose their bin's units are returned too.
//
// ErrNotInBin when the spot has fewer units, ErrNoSuchPlace and ErrNoSuchBin,
// ErrWrongLot, ErrNeedsSerial, ErrSerialThere and ErrSerialAbsent by the SKU's
// tracking. After an error of the last four the transaction is over, so a caller
// that goes on takes a savepoint before.
func Move(ctx context.Context, tx pgx.Tx, tenant string, m BinMovement) (Moved, error) {
	out, _, err := MoveAll(ctx, tx, tenant, []BinMovement{m})
	if err != nil {
		return Moved{}, err
	}
	return out[0], nil
}

func sellable(s *Spot, units int) int {
	if s == nil || s.Status != Available {
		return 0
	}
	return units
}

// dropAllocations takes units from the allocations on a movement's spot: open
// ones before picked ones, the newest first. One that names the very serial goes
// first of all.
func dropAllocations(ctx context.Context, tx pgx.Tx, tenant string, m BinMovement, units int) ([]Dropped, error) {
	if m.Serial != "" && m.From.Status == Available {
		lost, err := closeUnits(ctx, tx, `tenant = $1 AND warehouse = $2 AND bin = $3 AND sku = $4 AND lot = $5 AND serial = $7`, 1, tenant, m.Warehouse, m.From.Bin, m.SKU, m.Lot, m.Serial)
		if err != nil || len(lost) > 0 {
			return lost, err
		}
	}
	if units <= 0 {
		return nil, nil
	}
	return closeUnits(ctx, tx, `tenant = $1 AND warehouse = $2 AND bin = $3 AND sku = $4 AND lot = $5`, units, tenant, m.Warehouse, m.From.Bin, m.SKU, m.Lot)
}

// closeUnits takes units from live allocations that match, at most so many. The
// condition's parameters are $1 to $5 and from $7; $6 is the number of units.
func closeUnits(ctx context.Context, tx pgx.Tx, condition string, units int, args ...any) ([]Dropped, error) {
	all := append(append(append([]any{}, args[:5]...), units), args[5:]...)
	rows, err := tx.Query(ctx, `
	WITH live AS (
	  SELECT tenant, id, quantity, sum(quantity) OVER (ORDER BY state = 'picked', created_at DESC, id DESC ROWS UNBOUNDED PRECEDING) - quantity AS before
	    FROM allocations WHERE `+condition+` AND state IN ('open','picked') AND quantity > 0
	), cut AS (
	  SELECT tenant, id, least(quantity, $6 - before)::int AS units FROM live WHERE before < $6
	)
	UPDATE allocations a SET quantity = a.quantity - cut.units, state = CASE WHEN a.quantity = cut.units THEN 'closed' ELSE a.state END, updated_at = now()
	  FROM cut WHERE a.tenant = cut.tenant AND a.id = cut.id
	RETURNING a.id, a.hold_id, coalesce(a.list_id, ''), coalesce(a.line, 0), cut.units`, all...)
	if err != nil {
		return nil, fmt.Errorf("drop allocations: %w", err)
	}
	lost, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Dropped])
	if err != nil {
		return nil, fmt.Errorf("drop allocations: %w", err)
	}
	return lost, nil
}

// makeRoom takes from holds what they can't keep when loss units of a locked
// level are not to be sold any more.
func makeRoom(ctx context.Context, tx pgx.Tx, tenant, sku, warehouse string, loss int) ([]Shorted, error) {
	var onHand, reserved int
	err := tx.QueryRow(ctx, `SELECT on_hand, reserved FROM stock_levels WHERE tenant = $1 AND sku = $2 AND warehouse = $3`, tenant, sku, warehouse).Scan(&onHand, &reserved)
	if err != nil {
		return nil, fmt.Errorf("stock level %s in %s: %w", sku, warehouse, err)
	}
	if onHand < loss {
		return nil, fmt.Errorf("%w: %d of %s in %s", ErrBelowZero, onHand, sku, warehouse)
	}
	missing := reserved - (onHand - loss)
	if missing <= 0 {
		return nil, nil
	}
	return shorten(ctx, tx, tenant, sku, warehouse, missing)
}

// record writes movements in their order; a trigger moves the units.
func record(b *pgx.Batch, tenant string, list []BinMovement) {
	var warehouses, skus, lots, reasons, documents, persons, devices, keys, notes []string
	var serials, fromBins, fromStatuses, toBins, toStatuses []*string
	var quantities []int
	place := func(s *Spot) (bin, status *string) {
		if s == nil {
			return nil, nil
		}
		return &s.Bin, &s.Status
	}
	for i := range list {
		m := &list[i]
		var serial *string
		if m.Serial != "" {
			serial = &m.Serial
		}
		fromBin, fromStatus := place(m.From)
		toBin, toStatus := place(m.To)
		warehouses, skus, lots, serials, quantities = append(warehouses, m.Warehouse), append(skus, m.SKU), append(lots, m.Lot), append(serials, serial), append(quantities, m.Quantity)
		fromBins, fromStatuses, toBins, toStatuses = append(fromBins, fromBin), append(fromStatuses, fromStatus), append(toBins, toBin), append(toStatuses, toStatus)
		reasons, documents, notes = append(reasons, m.Reason), append(documents, m.Document), append(notes, m.Note)
		persons, devices, keys = append(persons, m.Person), append(devices, m.Device), append(keys, m.KeyID)
	}
	b.Queue(`INSERT INTO bin_movements (tenant, warehouse, sku, lot, serial, quantity, from_bin, from_status, to_bin, to_status, reason, document, person, device, key_id, note)
	  SELECT $1, warehouse, sku, lot, serial, quantity, from_bin, from_status, to_bin, to_status, reason, document, person, device, key_id, note
	    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[])
	      WITH ORDINALITY AS m (warehouse, sku, lot, serial, quantity, from_bin, from_status, to_bin, to_status, reason, document, person, device, key_id, note, nth)
	   ORDER BY nth`,
		tenant, warehouses, skus, lots, serials, quantities, fromBins, fromStatuses, toBins, toStatuses, reasons, documents, persons, devices, keys, notes)
}

// named says which rule of the ledger a movement breaks.
func named(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.ConstraintName {
	case "no_unit_allocated_twice", "placed_units_are_on_hand":
		return fmt.Errorf("%w (%w)", ErrNotInBin, err)
	case "bin_stock_tenant_warehouse_bin_fkey":
		return fmt.Errorf("%w (%w)", ErrNoSuchBin, err)
	case "tracked_by_lot":
		return fmt.Errorf("%w (%w)", ErrWrongLot, err)
	case "tracked_by_serial":
		return fmt.Errorf("%w (%w)", ErrNeedsSerial, err)
	case "a_serial_is_in_one_place":
		return fmt.Errorf("%w (%w)", ErrSerialThere, err)
	case "a_serial_is_where_it_is":
		return fmt.Errorf("%w (%w)", ErrSerialAbsent, err)
	}
	return err
}

// unplace makes sure that units of a locked level lie in no bin, for changes that
// know a SKU and a warehouse only. It takes first what nobody waits for: from
// receiving and reserve before pick bins, packing bins last.
func unplace(ctx context.Context, tx pgx.Tx, tenant, sku, warehouse string, units int, document string, by By) (Moved, error) {
	var loose int
	err := tx.QueryRow(ctx, `SELECT on_hand - placed FROM stock_levels WHERE tenant = $1 AND sku = $2 AND warehouse = $3`, tenant, sku, warehouse).Scan(&loose)
	if err != nil {
		return Moved{}, fmt.Errorf("stock level %s in %s: %w", sku, warehouse, err)
	}
	missing := units - loose
	if missing <= 0 {
		return Moved{}, nil
	}
	rows, err := tx.Query(ctx, `SELECT s.bin, s.lot, s.quantity, s.allocated, p.tracking = 'serial' FROM bin_stock s
	    JOIN bins b ON b.tenant = s.tenant AND b.warehouse = s.warehouse AND b.code = s.bin JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku
	  WHERE s.tenant = $1 AND s.sku = $2 AND s.warehouse = $3 AND s.status = 'available' AND s.quantity > 0
	  ORDER BY array_position(ARRAY['receiving','reserve','pick','quarantine','damaged','in_transit','packing'], b.kind), s.since DESC, s.bin, s.lot`, tenant, sku, warehouse)
	if err != nil {
		return Moved{}, fmt.Errorf("bins with %s: %w", sku, err)
	}
	type pile struct {
		Bin, Lot            string
		Quantity, Allocated int
		BySerial            bool
	}
	piles, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pile])
	if err != nil {
		return Moved{}, fmt.Errorf("bins with %s: %w", sku, err)
	}
	var out Moved
	take := func(p *pile, n int) error {
		m := BinMovement{SKU: sku, Warehouse: warehouse, Lot: p.Lot, Quantity: n, From: In(p.Bin, Available), To: Unplaced(), Reason: "unplaced", Document: document, By: by}
		missing -= n
		p.Quantity -= n
		if !p.BySerial {
			moved, err := Move(ctx, tx, tenant, m)
			out.add(moved)
			return err
		}
		serials, err := anySerials(ctx, tx, tenant, m, n)
		for _, m.Serial = range serials {
			m.Quantity = 1
			moved, err := Move(ctx, tx, tenant, m)
			out.add(moved)
			if err != nil {
				return err
			}
		}
		return err
	}
	for i := range piles {
		if n := min(missing, piles[i].Quantity-piles[i].Allocated); n > 0 {
			if err := take(&piles[i], n); err != nil {
				return out, err
			}
		}
	}
	for i := range piles {
		if n := min(missing, piles[i].Quantity); n > 0 {
			if err := take(&piles[i], n); err != nil {
				return out, err
			}
		}
	}
	if missing > 0 {
		return out, fmt.Errorf("%w: %d more of %s in %s", ErrNotInBin, missing, sku, warehouse)
	}
	return out, nil
}

// anySerials chooses n serials of a movement's spot, those that nobody has picked
// first.
func anySerials(ctx context.Context, tx pgx.Tx, tenant string, m BinMovement, n int) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT s.serial FROM serials s WHERE s.tenant = $1 AND s.warehouse = $2 AND s.bin = $3 AND s.sku = $4 AND s.lot = $5 AND s.status = $6 AND s.state = 'in_stock'
	  ORDER BY EXISTS (SELECT FROM allocations a WHERE a.tenant = s.tenant AND a.sku = s.sku AND a.serial = s.serial AND a.state IN ('open','picked')), s.serial LIMIT $7`,
		tenant, m.Warehouse, m.From.Bin, m.SKU, m.Lot, m.From.Status, n)
	if err != nil {
		return nil, fmt.Errorf("serials in %s: %w", m.From.Bin, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("serials in %s: %w", m.From.Bin, err)
	}
	if len(list) < n {
		return nil, fmt.Errorf("%w: %d serials of %s in %s", ErrNotInBin, len(list), m.SKU, m.From.Bin)
	}
	return list, nil
}
