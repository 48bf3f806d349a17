package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/scancode"
)

// goods are units as a person or a scanner names them.
type goods struct {
	code, sku, lot string
	serials        []string
	quantity       int
}

// pile is units that an action is about: one unit where it has a serial.
type pile struct {
	key
	quantity  int
	tracking  string
	bin       string
	damaged   bool
	reason    string
	expiresOn *time.Time
	// field is the line that names them.
	field string
}

// piles finds what a line's goods are. What is wrong with them is added to f.
func (a *action) piles(ctx context.Context, f *problem.Fields, field string, g goods) ([]pile, error) {
	item, err := a.item(ctx, g)
	if refused, ok := problem.As(err); ok {
		at := ".sku"
		if g.code != "" {
			at = ".code"
		}
		f.Add(field+at, refused.Code, "%s", refused.Detail)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lot, serials, quantity := g.lot, g.serials, g.quantity
	if lot == "" && item.Tracking != "none" {
		lot = item.Lot
	}
	if len(serials) == 0 && item.Serial != "" && item.Tracking == "serial" {
		serials = []string{item.Serial}
	}
	if quantity == 0 {
		quantity = max(item.Count, len(serials))
	}
	p := pile{key: key{sku: item.SKU, lot: lot}, quantity: quantity, tracking: item.Tracking, expiresOn: item.ExpiresOn, field: field}
	switch {
	case quantity < 1 || quantity > mostUnits:
		f.Add(field+".quantity", "out_of_range", "1 to %d", mostUnits)
	case item.Tracking == "serial" && len(serials) != quantity:
		f.Add(field+".serials", "required", "name the serial of each unit of %s", item.SKU)
	case item.Tracking != "serial" && len(serials) > 0:
		f.Add(field+".serials", "invalid", "units of %s have no serials", item.SKU)
	case item.Tracking == "lot" && lot == "":
		f.Add(field+".lot", "required", "name the lot of %s", item.SKU)
	case len(serials) == 0:
		return []pile{p}, nil
	}
	var out []pile
	p.quantity = 1
	for _, serial := range serials {
		p.serial = serial
		out = append(out, p)
	}
	return out, nil
}

func (a *action) item(ctx context.Context, g goods) (scancode.Item, error) {
	switch {
	case (g.code == "") == (g.sku == ""):
		return scancode.Item{}, problem.New(problem.Refused, "required", "name either the code or the SKU")
	case g.code != "":
		return scancode.Resolve(ctx, a.tx, a.tenant, g.code, a.now)
	}
	item := scancode.Item{SKU: g.sku}
	err := a.tx.QueryRow(ctx, `SELECT tracking FROM products WHERE tenant = $1 AND sku = $2`, a.tenant, g.sku).Scan(&item.Tracking)
	if errors.Is(err, pgx.ErrNoRows) {
		return item, problem.New(problem.Refused, "unknown_sku", "there is no such SKU")
	}
	if err != nil {
		return item, fmt.Errorf("product %s: %w", g.sku, err)
	}
	return item, nil
}

// inOrder sorts piles as stock rows are locked, and refuses a serial that is
// named twice.
func inOrder(f *problem.Fields, all []pile) {
	slices.SortStableFunc(all, func(a, b pile) int {
		return cmp.Or(strings.Compare(a.sku, b.sku), strings.Compare(a.lot, b.lot), strings.Compare(a.serial, b.serial), strings.Compare(a.bin, b.bin))
	})
	for i := 1; i < len(all); i++ {
		if all[i].serial != "" && all[i].sku == all[i-1].sku && all[i].serial == all[i-1].serial {
			f.Add(all[i].field+".serials", "repeated", "serial %s is named twice", all[i].serial)
		}
	}
}

// knownUnit gives piles with a serial the lot with which they left.
func (a *action) knownUnit(p *pile) {
	if p.serial == "" || p.lot != "" {
		return
	}
	for k := range a.units {
		if k.sku == p.sku && k.serial == p.serial {
			p.lot = k.lot
			return
		}
	}
}

// left is how many units of a kind are on the way.
func (a *action) left(k key) int {
	if u := a.units[k]; u != nil {
		return u.InTransit
	}
	return 0
}

// excess are lines that name more than is on the way.
type excess struct {
	SKU      string `json:"sku"`
	Lot      string `json:"lot"`
	Serial   string `json:"serial"`
	Quantity int    `json:"quantity"`
	// InTransit is how many of them are on the way.
	InTransit int `json:"in_transit"`
}

func (a *action) moreThanSent(over []excess) error {
	return a.refuse("more_than_sent", "More than is on the way, or something that was not sent.").With("units", over)
}

// take counts a pile as arrived, lost or recalled and says how much of it is on
// the way.
func (a *action) take(p pile) int {
	n := min(p.quantity, a.left(p.key))
	if n > 0 {
		a.units[p.key].InTransit -= n
	}
	return n
}

// statusOf says in which status units of a lot come into a bin today.
func (a *action) statusOf(ctx context.Context, p pile) (string, error) {
	if p.damaged {
		return stock.Damaged, nil
	}
	today, err := a.today()
	if err != nil || p.lot == "" {
		return stock.Available, err
	}
	status := stock.Available
	err = a.tx.QueryRow(ctx, `SELECT CASE WHEN expires_on <= $4 THEN 'expired' ELSE status END FROM lots WHERE tenant = $1 AND sku = $2 AND lot = $3`, a.tenant, p.sku, p.lot, today).Scan(&status)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("lot %s of %s: %w", p.lot, p.sku, err)
	}
	return status, nil
}

// checkBin demands that a bin can take units.
func (a *action) checkBin(ctx context.Context, f *problem.Fields, warehouse, bin string) error {
	if bin == "" {
		return nil
	}
	var usable bool
	if err := a.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = $3 AND active)`, a.tenant, warehouse, bin).Scan(&usable); err != nil {
		return fmt.Errorf("bin %s: %w", bin, err)
	}
	if !usable {
		f.Add("bin", "unknown_bin", "%s has no such bin in use", warehouse)
	}
	return nil
}

// bringIn moves units from outside into a bin of a warehouse, or into the
// warehouse and no bin, in the status that they have by then.
func (a *action) bringIn(ctx context.Context, p pile, quantity int, warehouse, bin, reason, note string) error {
	status, err := a.statusOf(ctx, p)
	if err != nil {
		return err
	}
	if bin == "" && (p.serial != "" || status != stock.Available) {
		var f problem.Fields
		f.Add("bin", "required", "%s is %s and needs a bin", p.sku, describe(p, status))
		return f.Err()
	}
	_, err = stock.Move(ctx, a.tx, a.tenant, stock.BinMovement{SKU: p.sku, Warehouse: warehouse, Lot: p.lot, Serial: p.serial, Quantity: quantity,
		To: stock.In(bin, status), Reason: reason, Document: a.document(), Note: note, By: a.by})
	if errors.Is(err, stock.ErrSerialThere) {
		return a.refuse("more_than_sent", "Serial "+p.serial+" of "+p.sku+" is in stock already.")
	}
	if err != nil {
		return err
	}
	a.moved = append(a.moved, Placed{SKU: p.sku, Lot: p.lot, Serial: p.serial, Quantity: quantity, Bin: bin, Status: status})
	return nil
}

func describe(p pile, status string) string {
	if p.serial != "" {
		return "told apart by serials"
	}
	return status
}
