package place

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// lotForm is that of lots and serials.
var lotForm = regexp.MustCompile(`^[!-~]{1,40}$`)

// Lot is a lot number with all SKUs that have it.
type Lot struct {
	Lot  string     `json:"lot"`
	SKUs []LotOfSKU `json:"skus"`
}

// LotOfSKU is a lot of one SKU and where its units lie.
type LotOfSKU struct {
	SKU        string    `json:"sku"`
	Name       string    `json:"name"`
	ExpiresOn  *string   `json:"expires_on"`
	Status     string    `json:"status"`
	Reason     string    `json:"reason"`
	ReceivedAt time.Time `json:"received_at"`
	Places     []LotSpot `json:"places"`
}

// LotSpot is units of a lot in a bin.
type LotSpot struct {
	Warehouse string `json:"warehouse"`
	Bin       string `json:"bin"`
	Status    string `json:"status"`
	Quantity  int    `json:"quantity"`
	Allocated int    `json:"allocated"`
	Version   int64  `json:"version"`
}

// GetLot reads what is known of a lot, by SKU. 404 when no SKU has it.
func GetLot(ctx context.Context, tx pgx.Tx, tenant, lot string) (Lot, error) {
	out := Lot{Lot: lot, SKUs: []LotOfSKU{}}
	rows, err := tx.Query(ctx, `SELECT l.sku, p.name, l.expires_on, l.status, l.reason, l.received_at FROM lots l JOIN products p ON p.tenant = l.tenant AND p.sku = l.sku
	   WHERE l.tenant = $1 AND l.lot = $2 ORDER BY l.sku`, tenant, lot)
	if err != nil {
		return out, fmt.Errorf("lot %s: %w", lot, err)
	}
	if out.SKUs, err = pgx.CollectRows(rows, scanLot); err != nil {
		return out, fmt.Errorf("lot %s: %w", lot, err)
	}
	if len(out.SKUs) == 0 {
		return out, problem.Missing("lot")
	}
	for i := range out.SKUs {
		if out.SKUs[i].Places, err = spotsOf(ctx, tx, tenant, out.SKUs[i].SKU, lot); err != nil {
			return out, err
		}
	}
	return out, nil
}

func scanLot(row pgx.CollectableRow) (LotOfSKU, error) {
	var l LotOfSKU
	var expires *time.Time
	err := row.Scan(&l.SKU, &l.Name, &expires, &l.Status, &l.Reason, &l.ReceivedAt)
	l.ExpiresOn = day(expires)
	return l, err
}

func spotsOf(ctx context.Context, tx pgx.Tx, tenant, sku, lot string) ([]LotSpot, error) {
	rows, err := tx.Query(ctx, `SELECT warehouse, bin, status, quantity, allocated, version FROM bin_stock
	   WHERE tenant = $1 AND sku = $2 AND lot = $3 AND quantity > 0 ORDER BY warehouse, bin, status`, tenant, sku, lot)
	if err != nil {
		return nil, fmt.Errorf("where lot %s lies: %w", lot, err)
	}
	spots, err := pgx.CollectRows(rows, pgx.RowToStructByPos[LotSpot])
	if err != nil {
		return nil, fmt.Errorf("where lot %s lies: %w", lot, err)
	}
	if spots == nil {
		spots = []LotSpot{}
	}
	return spots, nil
}

// LotOrder is what somebody decides about a lot.
type LotOrder struct {
	SKU, Lot string
	// Reason is why, in the words of who decides; required.
	Reason string
	stock.By
}

// LotChange is what became of it.
type LotChange struct {
	Lot string `json:"lot"`
	LotOfSKU
	// Moved is how many units changed their status.
	Moved   int             `json:"moved"`
	Shorted []stock.Shorted `json:"shorted"`
	Dropped []Lost          `json:"dropped"`
}

// HoldLot takes a lot of a SKU off sale: nothing of it may be picked, and all its
// available units in bins become held where they lie, those already picked for
// orders too. Holds and allocations that lose units are named. A lot that is held
// already is held again: units that came since are held too. 404 for an unknown
// lot, 409 lot_expired for one that is over.
func HoldLot(ctx context.Context, tx pgx.Tx, tenant string, o LotOrder) (LotChange, error) {
	return in(ctx, tx, func(tx pgx.Tx) (LotChange, error) {
		return turn(ctx, tx, tenant, o, stock.Held, o.Reason, []string{stock.Available}, "hold")
	})
}

// ReleaseLot puts a held lot on sale again, with all its units that are held,
// whether they were held with the lot or by hand. A lot that is on sale stays so.
// Errors as in HoldLot.
func ReleaseLot(ctx context.Context, tx pgx.Tx, tenant string, o LotOrder) (LotChange, error) {
	return in(ctx, tx, func(tx pgx.Tx) (LotChange, error) {
		return turn(ctx, tx, tenant, o, stock.Available, "", []string{stock.Held}, "release")
	})
}

// turn gives a lot another status, and its units in the statuses named.
func turn(ctx context.Context, tx pgx.Tx, tenant string, o LotOrder, to, reason string, from []string, why string) (LotChange, error) {
	if err := lockLevels(ctx, tx, tenant, o.SKU); err != nil {
		return LotChange{}, err
	}
	var status string
	err := tx.QueryRow(ctx, `SELECT status FROM lots WHERE tenant = $1 AND sku = $2 AND lot = $3 FOR UPDATE`, tenant, o.SKU, o.Lot).Scan(&status)
	if none(err) {
		return LotChange{}, problem.Missing("lot of this SKU")
	}
	if err != nil {
		return LotChange{}, fmt.Errorf("lot %s: %w", o.Lot, err)
	}
	if status == stock.Expired && to != stock.Expired {
		return LotChange{}, problem.New(problem.Conflict, "lot_expired", "The lot is past its day.").With("current", map[string]string{"status": status})
	}
	if _, err := tx.Exec(ctx, `UPDATE lots SET status = $4, reason = $5, updated_at = now() WHERE tenant = $1 AND sku = $2 AND lot = $3`, tenant, o.SKU, o.Lot, to, reason); err != nil {
		return LotChange{}, fmt.Errorf("lot %s: %w", o.Lot, err)
	}
	out := LotChange{Lot: o.Lot}
	var moved stock.Moved
	spots, err := spotsOf(ctx, tx, tenant, o.SKU, o.Lot)
	if err != nil {
		return LotChange{}, err
	}
	for _, at := range spots {
		for _, s := range from {
			if at.Status != s {
				continue
			}
			if err := restate(ctx, tx, tenant, o, at, to, why, &moved); err != nil {
				return LotChange{}, err
			}
			out.Moved += at.Quantity
		}
	}
	out.Shorted, out.Dropped = together(moved.Shorted), lostOf(moved.Dropped)
	rows, err := tx.Query(ctx, `SELECT l.sku, p.name, l.expires_on, l.status, l.reason, l.received_at FROM lots l JOIN products p ON p.tenant = l.tenant AND p.sku = l.sku
	   WHERE l.tenant = $1 AND l.sku = $2 AND l.lot = $3`, tenant, o.SKU, o.Lot)
	if err != nil {
		return LotChange{}, fmt.Errorf("lot %s: %w", o.Lot, err)
	}
	if out.LotOfSKU, err = pgx.CollectExactlyOneRow(rows, scanLot); err != nil {
		return LotChange{}, fmt.Errorf("lot %s: %w", o.Lot, err)
	}
	out.Places, err = spotsOf(ctx, tx, tenant, o.SKU, o.Lot)
	return out, err
}

// restate gives the units of a spot another status where they lie, one by one
// where they have serial numbers.
func restate(ctx context.Context, tx pgx.Tx, tenant string, o LotOrder, at LotSpot, to, why string, moved *stock.Moved) error {
	m := stock.BinMovement{SKU: o.SKU, Warehouse: at.Warehouse, Lot: o.Lot, Quantity: at.Quantity, From: stock.In(at.Bin, at.Status), To: stock.In(at.Bin, to),
		Reason: why, Document: "lot:" + o.Lot, Note: o.Reason, By: o.By}
	rows, err := tx.Query(ctx, `SELECT serial FROM serials WHERE tenant = $1 AND warehouse = $2 AND bin = $3 AND sku = $4 AND lot = $5 AND status = $6 AND state = 'in_stock' ORDER BY serial`,
		tenant, at.Warehouse, at.Bin, o.SKU, o.Lot, at.Status)
	if err != nil {
		return fmt.Errorf("serials in %s: %w", at.Bin, err)
	}
	serials, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("serials in %s: %w", at.Bin, err)
	}
	one := func() error {
		done, err := stock.Move(ctx, tx, tenant, m)
		moved.Shorted = append(moved.Shorted, done.Shorted...)
		moved.Dropped = append(moved.Dropped, done.Dropped...)
		return err
	}
	if len(serials) == 0 {
		return one()
	}
	m.Quantity = 1
	for _, m.Serial = range serials {
		if err := one(); err != nil {
			return err
		}
	}
	return nil
}

// Expiry is what ExpireLots did.
type Expiry struct {
	// Lots is how many ended.
	Lots    int
	Units   int
	Shorted []stock.Shorted
	Dropped []Lost
	// Failed are those that could not be ended; the others were all the same.
	Failed []error
}

// expireAtOnce bounds the lots that one transaction ends.
const expireAtOnce = 50

// ExpireLots ends lots whose day is before today (the tenant's, UTC midnight), at
// most 50 a call, the oldest first: their available and held units become expired
// where they lie, and whoever loses units is named. Units that came into a lot
// after its end are expired too. When Lots is 0, none is left that can be ended.
func ExpireLots(ctx context.Context, tx pgx.Tx, tenant string, today time.Time) (Expiry, error) {
	var out Expiry
	rows, err := tx.Query(ctx, dueLots, tenant, today, expireAtOnce)
	if err != nil {
		return out, fmt.Errorf("lots past their day: %w", err)
	}
	type due struct{ SKU, Lot string }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[due])
	if err != nil {
		return out, fmt.Errorf("lots past their day: %w", err)
	}
	for _, d := range list {
		o := LotOrder{SKU: d.SKU, Lot: d.Lot, By: stock.By{Person: "system"}}
		change, err := in(ctx, tx, func(tx pgx.Tx) (LotChange, error) {
			return turn(ctx, tx, tenant, o, stock.Expired, "past its day", []string{stock.Available, stock.Held}, "expiry")
		})
		if err != nil {
			if ctx.Err() != nil {
				return Expiry{}, errors.Join(ctx.Err(), err)
			}
			out.Failed = append(out.Failed, fmt.Errorf("end lot %s of %s: %w", d.Lot, d.SKU, err))
			continue
		}
		out.Lots++
		out.Units += change.Moved
		out.Shorted = append(out.Shorted, change.Shorted...)
		out.Dropped = append(out.Dropped, change.Dropped...)
	}
	out.Shorted = together(out.Shorted)
	return out, nil
}

// dueLots are in the order of their SKUs, in which stock is locked.
const dueLots = `
	WITH due AS (
	  SELECT sku, lot, expires_on FROM lots WHERE tenant = $1 AND expires_on < $2 AND status <> 'expired'
	  UNION
	  SELECT l.sku, l.lot, l.expires_on FROM bin_stock s JOIN lots l ON l.tenant = s.tenant AND l.sku = s.sku AND l.lot = s.lot
	   WHERE s.tenant = $1 AND s.quantity > 0 AND s.status IN ('available','held') AND s.lot <> '' AND l.status = 'expired'
	  ORDER BY expires_on LIMIT $3
	) SELECT sku, lot FROM due ORDER BY sku, lot`
