package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// Dispatching is what really left; it may be less than was asked for.
type Dispatching struct {
	Lines []DispatchLine `json:"lines"`
	// OperationID names the operation, which is then done once; Version refuses it
	// when the transfer has another one by now (0 does not).
	OperationID string `json:"operation_id"`
	Version     int64  `json:"version"`
}

// DispatchLine is units that leave a bin. Without one they leave from those in no
// bin; units with serials leave from where they are.
type DispatchLine struct {
	// Code is what was scanned; else SKU names the product. Lot and Serials are for
	// SKUs that have them. Quantity may be left out where the code counts, or
	// serials are given.
	Code     string   `json:"code"`
	SKU      string   `json:"sku"`
	Lot      string   `json:"lot"`
	Serials  []string `json:"serials"`
	Bin      string   `json:"bin"`
	Quantity int      `json:"quantity"`
}

func (l DispatchLine) goods() goods { return goods{l.Code, l.SKU, l.Lot, l.Serials, l.Quantity} }

// Dispatch takes the goods out of the sender's stock: from now on they are on the
// way. Only units leave that nobody was promised, and that are not chosen for an
// order: else it is a 409 units_promised with how many are free. A transfer is
// dispatched once.
func Dispatch(ctx context.Context, tx pgx.Tx, tenant, transferID string, in Dispatching, by stock.By) (Result, error) {
	a, err := begin(ctx, tx, tenant, transferID, "dispatch", operation{in.OperationID, in.Version}, in, by)
	if err != nil {
		return Result{}, err
	}
	if a.repeated {
		return a.duplicate()
	}
	if err := a.demand("it was dispatched or cancelled before.", Requested); err != nil {
		return Result{}, err
	}
	leave, err := a.leaving(ctx, in.Lines)
	if err != nil {
		return Result{}, err
	}
	if err := a.asRequested(leave); err != nil {
		return Result{}, err
	}
	if err := a.unpromised(ctx, leave); err != nil {
		return Result{}, err
	}
	for _, p := range leave {
		if err := a.send(ctx, p); err != nil {
			return Result{}, err
		}
	}
	expected := a.now.Add(usualJourney)
	if e := a.transfer.ExpectedAt; e != nil {
		expected = *e
		if expected.Before(a.now) {
			expected = a.now
		}
	}
	due := expected.Add(a.grace())
	return a.finish(ctx, &due)
}

// leaving finds out what leaves, and from where.
func (a *action) leaving(ctx context.Context, lines []DispatchLine) ([]pile, error) {
	var f problem.Fields
	var all []pile
	checkCount(&f, len(lines))
	for i, l := range lines[:min(len(lines), mostLines)] {
		list, err := a.piles(ctx, &f, fmt.Sprintf("lines[%d]", i), l.goods())
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			p.bin = l.Bin
			if p.serial != "" {
				if p.lot, p.bin, err = a.whereIs(ctx, p); err != nil {
					return nil, err
				}
			}
			all = append(all, p)
		}
	}
	inOrder(&f, all)
	return all, f.Err()
}

func checkCount(f *problem.Fields, lines int) {
	switch {
	case lines == 0:
		f.Add("lines", "required", "name one at least")
	case lines > mostLines:
		f.Add("lines", "too_many", "at most %d", mostLines)
	}
}

// whereIs finds a serial in the sending warehouse.
func (a *action) whereIs(ctx context.Context, p pile) (lot, bin string, err error) {
	err = a.tx.QueryRow(ctx, `SELECT lot, bin FROM serials WHERE tenant = $1 AND sku = $2 AND serial = $3 AND state = 'in_stock' AND warehouse = $4 AND status = 'available' AND ($5 = '' OR bin = $5) AND ($6 = '' OR lot = $6)`,
		a.tenant, p.sku, p.serial, a.transfer.From, p.bin, p.lot).Scan(&lot, &bin)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", "", a.refuse("not_on_shelf", "Serial "+p.serial+" of "+p.sku+" is not there.")
	}
	if err != nil {
		return "", "", fmt.Errorf("serial %s of %s: %w", p.serial, p.sku, err)
	}
	return lot, bin, nil
}

// asRequested refuses what nobody has asked for. Units of a lot that was asked
// for fill that line before one that takes any.
func (a *action) asRequested(leave []pile) error {
	room := map[key]int{}
	for _, l := range a.transfer.Lines {
		room[key{sku: l.SKU, lot: l.Lot}] += l.Quantity
	}
	var over []map[string]any
	for _, p := range leave {
		rest := p.quantity
		for _, k := range []key{{sku: p.sku, lot: p.lot}, {sku: p.sku}} {
			n := min(rest, room[k])
			room[k] -= n
			rest -= n
		}
		if rest > 0 {
			over = append(over, map[string]any{"sku": p.sku, "lot": p.lot, "over": rest})
		}
	}
	if len(over) > 0 {
		return a.refuse("more_than_requested", "More than was asked for: ask for another transfer.").With("units", over)
	}
	return nil
}

// unpromised locks the levels that units leave and demands that each has so many
// that nobody was promised.
func (a *action) unpromised(ctx context.Context, leave []pile) error {
	wants := map[string]int{}
	var skus []string
	for _, p := range leave {
		if wants[p.sku] == 0 {
			skus = append(skus, p.sku)
		}
		wants[p.sku] += p.quantity
	}
	rows, err := a.tx.Query(ctx, `SELECT sku, on_hand - reserved FROM stock_levels WHERE tenant = $1 AND sku = ANY($2) AND warehouse = $3 ORDER BY sku FOR UPDATE`, a.tenant, skus, a.transfer.From)
	if err != nil {
		return fmt.Errorf("stock of transfer %s: %w", a.transfer.ID, err)
	}
	free := map[string]int{}
	var sku string
	var units int
	_, err = pgx.ForEachRow(rows, []any{&sku, &units}, func() error {
		free[sku] = units
		return nil
	})
	if err != nil {
		return fmt.Errorf("stock of transfer %s: %w", a.transfer.ID, err)
	}
	var short []map[string]any
	for _, sku := range skus {
		if free[sku] < wants[sku] {
			short = append(short, map[string]any{"sku": sku, "wanted": wants[sku], "free": free[sku]})
		}
	}
	if len(short) > 0 {
		return a.refuse("units_promised", "Fewer units are free in "+a.transfer.From+": the others are promised to orders, or not there.").With("units", short)
	}
	return nil
}

// send moves a pile out of its bin.
func (a *action) send(ctx context.Context, p pile) error {
	from := stock.Unplaced()
	if p.bin != "" {
		from = stock.In(p.bin, stock.Available)
	} else if p.lot != "" {
		if _, err := stock.PutLot(ctx, a.tx, a.tenant, stock.Lot{SKU: p.sku, Lot: p.lot}); err != nil {
			return err
		}
	}
	moved, err := stock.Move(ctx, a.tx, a.tenant, stock.BinMovement{SKU: p.sku, Warehouse: a.transfer.From, Lot: p.lot, Serial: p.serial, Quantity: p.quantity,
		From: from, Reason: "transfer_out", Document: a.document(), Note: "to " + a.transfer.To, By: a.by})
	switch {
	case errors.Is(err, stock.ErrNotInBin), errors.Is(err, stock.ErrSerialAbsent):
		return a.refuse("not_on_shelf", fmt.Sprintf("There are not %d of %s %s in %s.", p.quantity, p.sku, p.lot, place(p.bin)))
	case err != nil:
		return err
	case len(moved.Dropped) > 0:
		chosen := 0
		for _, d := range moved.Dropped {
			chosen += d.Units
		}
		return a.refuse("units_promised", "Units in "+place(p.bin)+" are chosen for orders.").With("units", []map[string]any{{"sku": p.sku, "bin": p.bin, "wanted": p.quantity, "free": p.quantity - chosen}})
	}
	a.moved = append(a.moved, Placed{SKU: p.sku, Lot: p.lot, Serial: p.serial, Quantity: p.quantity, Bin: p.bin, Status: stock.Available})
	return a.note(ctx, "sent", p.key, p.quantity, p.bin, "")
}

func place(bin string) string {
	if bin == "" {
		return "no bin"
	}
	return "bin " + bin
}
