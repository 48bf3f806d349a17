package place

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// Trace is the way of a lot or of one unit, from where it came to who has it.
// It names orders and no people but those who worked.
type Trace struct {
	SKU    string `json:"sku"`
	Name   string `json:"name"`
	Lot    string `json:"lot"`
	Serial string `json:"serial,omitempty"`
	// ExpiresOn, Status and Reason are those of the lot; the status is null where
	// there is none.
	ExpiresOn *string `json:"expires_on"`
	Status    *string `json:"status"`
	Reason    string  `json:"reason"`
	// Origins are the movements that brought it in, Places where it lies now,
	// Buyers the orders that got it: all of them, whatever page of movements is
	// read.
	Origins   []Step    `json:"origins"`
	Places    []LotSpot `json:"places"`
	Buyers    []Buyer   `json:"buyers"`
	Movements []Step    `json:"movements"`
}

// Step is a movement of the ledger, as a trace tells it.
type Step struct {
	ID        int64     `json:"id"`
	At        time.Time `json:"at"`
	Warehouse string    `json:"warehouse"`
	Lot       string    `json:"lot"`
	Serial    string    `json:"serial,omitempty"`
	Quantity  int       `json:"quantity"`
	// From and To are null outside the warehouse.
	From     *StepSpot `json:"from"`
	To       *StepSpot `json:"to"`
	Reason   string    `json:"reason"`
	Document string    `json:"document"`
	Person   string    `json:"person"`
	Device   string    `json:"device"`
	Note     string    `json:"note"`
}

// StepSpot is an end of a movement; the bin is empty for units in no bin.
type StepSpot struct {
	Bin    string `json:"bin"`
	Status string `json:"status"`
}

// Buyer is an order that got units.
type Buyer struct {
	OrderID       string    `json:"order_id"`
	Number        string    `json:"number"`
	ReservationID string    `json:"reservation_id"`
	Warehouse     string    `json:"warehouse"`
	Quantity      int       `json:"quantity"`
	At            time.Time `json:"at"`
	// Presumed says that nobody scanned the units: they left with the order by
	// what the bins had.
	Presumed bool `json:"presumed"`
}

// TraceLot tells the way of a lot of a SKU, which may be left out when only one
// has the lot; movements come oldest first, those after the id given, at most
// limit. 404 for an unknown lot, 422 when several SKUs have it and none is named.
func TraceLot(ctx context.Context, tx pgx.Tx, tenant, lot, sku string, after int64, limit int) (Trace, error) {
	sku, err := theSKU(ctx, tx, "lot", `SELECT sku FROM lots WHERE tenant = $1 AND lot = $2 AND ($3 = '' OR sku = $3) ORDER BY sku`, tenant, lot, sku)
	if err != nil {
		return Trace{}, err
	}
	out := Trace{SKU: sku, Lot: lot}
	if err := out.describe(ctx, tx, tenant); err != nil {
		return Trace{}, err
	}
	if out.Places, err = spotsOf(ctx, tx, tenant, sku, lot); err != nil {
		return Trace{}, err
	}
	const of = `m.tenant = $1 AND m.sku = $2 AND m.lot = $3`
	if err := out.walk(ctx, tx, of, after, limit, tenant, sku, lot); err != nil {
		return Trace{}, err
	}
	// An index has those with a lot, which the parameter alone does not say.
	out.Buyers, err = buyers(ctx, tx, `a.lot = $3 AND a.lot <> ''`, of, tenant, sku, lot)
	return out, err
}

// TraceSerial is TraceLot for one unit.
func TraceSerial(ctx context.Context, tx pgx.Tx, tenant, serial, sku string, after int64, limit int) (Trace, error) {
	sku, err := theSKU(ctx, tx, "serial", `SELECT sku FROM serials WHERE tenant = $1 AND serial = $2 AND ($3 = '' OR sku = $3) ORDER BY sku`, tenant, serial, sku)
	if err != nil {
		return Trace{}, err
	}
	out := Trace{SKU: sku, Serial: serial, Places: []LotSpot{}}
	var in bool
	var at LotSpot
	err = tx.QueryRow(ctx, `SELECT s.lot, s.state = 'in_stock', s.warehouse, coalesce(s.bin, ''), coalesce(s.status, ''), coalesce(b.version, 0),
	     (SELECT count(*) FROM allocations a WHERE a.tenant = s.tenant AND a.sku = s.sku AND a.serial = s.serial AND a.state IN ('open','picked'))
	   FROM serials s LEFT JOIN bin_stock b ON (b.tenant, b.warehouse, b.bin, b.sku, b.lot, b.status) = (s.tenant, s.warehouse, s.bin, s.sku, s.lot, s.status)
	  WHERE s.tenant = $1 AND s.sku = $2 AND s.serial = $3`, tenant, sku, serial).Scan(&out.Lot, &in, &at.Warehouse, &at.Bin, &at.Status, &at.Version, &at.Allocated)
	if err != nil {
		return Trace{}, fmt.Errorf("serial %s: %w", serial, err)
	}
	if in {
		at.Quantity = 1
		out.Places = append(out.Places, at)
	}
	if err := out.describe(ctx, tx, tenant); err != nil {
		return Trace{}, err
	}
	const of = `m.tenant = $1 AND m.sku = $2 AND m.serial = $3`
	if err := out.walk(ctx, tx, of, after, limit, tenant, sku, serial); err != nil {
		return Trace{}, err
	}
	out.Buyers, err = buyers(ctx, tx, `a.serial = $3`, of, tenant, sku, serial)
	return out, err
}

// theSKU finds the one SKU that is meant.
func theSKU(ctx context.Context, tx pgx.Tx, what, sql string, args ...any) (string, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return "", fmt.Errorf("SKUs of a %s: %w", what, err)
	}
	skus, err := pgx.CollectRows(rows, pgx.RowTo[string])
	switch {
	case err != nil:
		return "", fmt.Errorf("SKUs of a %s: %w", what, err)
	case len(skus) == 0:
		return "", problem.Missing(what)
	case len(skus) > 1:
		var f problem.Fields
		f.Add("sku", "required", "several SKUs have this %s: %s", what, strings.Join(skus[:min(len(skus), 10)], ", "))
		return "", f.Err()
	}
	return skus[0], nil
}

// describe reads what the catalogue and the lot say.
func (t *Trace) describe(ctx context.Context, tx pgx.Tx, tenant string) error {
	var expires *time.Time
	err := tx.QueryRow(ctx, `SELECT p.name, l.expires_on, l.status, coalesce(l.reason, '') FROM products p LEFT JOIN lots l ON l.tenant = p.tenant AND l.sku = p.sku AND l.lot = $3
	   WHERE p.tenant = $1 AND p.sku = $2`, tenant, t.SKU, t.Lot).Scan(&t.Name, &expires, &t.Status, &t.Reason)
	if err != nil {
		return fmt.Errorf("product %s: %w", t.SKU, err)
	}
	t.ExpiresOn = day(expires)
	return nil
}

// walk reads the movements of a condition with the parameters $1 to $3.
func (t *Trace) walk(ctx context.Context, tx pgx.Tx, of string, after int64, limit int, args ...any) error {
	const step = `SELECT m.id, m.created_at, m.warehouse, m.lot, coalesce(m.serial, ''), m.quantity, m.from_bin, m.from_status, m.to_bin, m.to_status, m.reason, m.document, m.person, m.device, m.note
	  FROM bin_movements m WHERE `
	var err error
	if t.Origins, err = steps(ctx, tx, step+of+` AND coalesce(m.from_bin, '') = '' ORDER BY m.id`, args...); err != nil {
		return err
	}
	t.Movements, err = steps(ctx, tx, step+of+` AND m.id > $4 ORDER BY m.id LIMIT $5`, append(args, after, limit)...)
	return err
}

func steps(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]Step, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Step, error) {
		var s Step
		var fromBin, fromStatus, toBin, toStatus *string
		err := row.Scan(&s.ID, &s.At, &s.Warehouse, &s.Lot, &s.Serial, &s.Quantity, &fromBin, &fromStatus, &toBin, &toStatus, &s.Reason, &s.Document, &s.Person, &s.Device, &s.Note)
		s.From, s.To = end(fromBin, fromStatus), end(toBin, toStatus)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	if list == nil {
		list = []Step{}
	}
	return list, nil
}

func end(bin, status *string) *StepSpot {
	if bin == nil || status == nil {
		return nil
	}
	return &StepSpot{Bin: *bin, Status: *status}
}

// buyers are the orders that got units: by what was picked and shipped, and, for
// units that left without being picked, by the document that they left their bin
// for. allocated and moved are conditions with the parameters $1 to $3.
func buyers(ctx context.Context, tx pgx.Tx, allocated, moved string, args ...any) ([]Buyer, error) {
	rows, err := tx.Query(ctx, `
	SELECT o.id, o.number, x.hold_id, x.warehouse, sum(x.units)::int, max(x.at), x.presumed FROM (
	  SELECT a.hold_id, a.warehouse, a.quantity AS units, a.updated_at AS at, false AS presumed FROM allocations a WHERE a.tenant = $1 AND a.sku = $2 AND `+allocated+` AND a.state = 'shipped'
	  UNION ALL
	  SELECT coalesce(q.hold_id, split_part(m.document, ':', 2)), m.warehouse, m.quantity, m.created_at, true
	    FROM bin_movements m
	    LEFT JOIN shipments s ON s.tenant = $1 AND s.id = split_part(m.document, ':', 2) AND split_part(m.document, ':', 1) = 'shipment'
	    LEFT JOIN orders q ON q.tenant = s.tenant AND q.id = s.order_id
	   WHERE `+moved+` AND m.reason = 'unplaced' AND split_part(m.document, ':', 1) IN ('hold', 'shipment')
	) x JOIN holds h ON h.tenant = $1 AND h.id = x.hold_id JOIN orders o ON o.tenant = $1 AND o.id = h.order_id
	GROUP BY o.id, o.number, x.hold_id, x.warehouse, x.presumed ORDER BY max(x.at), o.id, x.warehouse, x.presumed`, args...)
	if err != nil {
		return nil, fmt.Errorf("buyers: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Buyer])
	if err != nil {
		return nil, fmt.Errorf("buyers: %w", err)
	}
	if list == nil {
		list = []Buyer{}
	}
	return list, nil
}
