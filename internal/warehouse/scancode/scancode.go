// Package scancode tells which product a scanned code means.
package scancode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/gs1"
	"justlogistics/internal/problem"
)

// Item is a product as its label names it: what the code does not say is zero.
type Item struct {
	SKU       string
	Name      string
	Tracking  string // none, lot or serial
	Lot       string
	ExpiresOn *time.Time // a day, UTC midnight
	Serial    string
	Count     int
}

// longest is the most characters that a scanner sends for one label.
const longest = 200

// Resolve finds the product behind a code: the SKU itself, one of the product's
// barcodes, a GTIN among them whatever its length, or a GS1 label with lot,
// expiry, serial and count. A shop's own code wins over what it looks like. It is
// 422 unknown_item when no product of the tenant has the code, and 422
// ambiguous_item when several have.
func Resolve(ctx context.Context, tx pgx.Tx, tenant, scanned string, now time.Time) (Item, error) {
	if scanned == "" || len(scanned) > longest {
		return Item{}, unknown(scanned)
	}
	code, bad := gs1.Parse(scanned, now)
	text := code.Text
	if text == "" {
		text = scanned
	}
	item, err := byText(ctx, tx, tenant, text)
	if err == nil || !errors.Is(err, pgx.ErrNoRows) {
		return item, err
	}
	if bad != nil || code.GTIN == "" {
		return Item{}, unknown(scanned)
	}
	if item, err = byGTIN(ctx, tx, tenant, code.GTIN); errors.Is(err, pgx.ErrNoRows) {
		return Item{}, unknown(scanned)
	} else if err != nil {
		return Item{}, err
	}
	item.Lot, item.Serial = code.Lot(), code.Serial()
	if day := code.Expiry(); !day.IsZero() {
		item.ExpiresOn = &day
	}
	item.Count, _ = code.Count()
	return item, nil
}

func unknown(scanned string) error {
	if len(scanned) > 64 {
		scanned = scanned[:64]
	}
	return problem.New(problem.Refused, "unknown_item", "No product has this code.").With("scanned", scanned)
}

// byText finds a product by its SKU or by a barcode that is written just so.
func byText(ctx context.Context, tx pgx.Tx, tenant, text string) (Item, error) {
	if catalog.SKU.MatchString(text) {
		item, err := one(ctx, tx, `SELECT sku, name, tracking FROM products WHERE tenant = $1 AND sku = $2`, tenant, text)
		if err == nil || !errors.Is(err, pgx.ErrNoRows) {
			return item, err
		}
	}
	return one(ctx, tx, `SELECT sku, name, tracking FROM products WHERE tenant = $1 AND barcodes @> ARRAY[$2] LIMIT 2`, tenant, text)
}

// byGTIN finds a product by a GTIN of 14 digits, which barcodes write with fewer.
func byGTIN(ctx context.Context, tx pgx.Tx, tenant, gtin string) (Item, error) {
	var forms []string
	for cut := 0; cut <= 6; cut++ {
		forms = append(forms, gtin[cut:])
		if gtin[cut] != '0' {
			break
		}
	}
	return one(ctx, tx, `SELECT sku, name, tracking FROM products WHERE tenant = $1 AND barcodes && $2::text[] LIMIT 2`, tenant, forms)
}

func one(ctx context.Context, tx pgx.Tx, sql string, args ...any) (Item, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return Item{}, fmt.Errorf("product of a code: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i Item, err error) {
		return i, row.Scan(&i.SKU, &i.Name, &i.Tracking)
	})
	switch {
	case err != nil:
		return Item{}, fmt.Errorf("product of a code: %w", err)
	case len(list) == 0:
		return Item{}, pgx.ErrNoRows
	case len(list) > 1:
		return Item{}, problem.New(problem.Refused, "ambiguous_item", "Several products have this code: "+list[0].SKU+" and "+list[1].SKU+".")
	}
	return list[0], nil
}
