// Package scancode tells which product a scanned code means.
package scancode

import (
	"context"
	"fmt"
	"slices"
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

// Items are the products behind codes, as Find has found them.
type Items struct {
	now    time.Time
	codes  map[string]bool // that were asked for
	bySKU  map[string]Item
	byCode map[string][]Item // by a barcode, as it is written
}

// Resolve finds the product behind a code: the SKU itself, one of the product's
// barcodes, a GTIN among them whatever its length, or a GS1 label with lot,
// expiry, serial and count. A shop's own code wins over what it looks like. It is
// 422 unknown_item when no product of the tenant has the code, and 422
// ambiguous_item when several have.
func Resolve(ctx context.Context, tx pgx.Tx, tenant, scanned string, now time.Time) (Item, error) {
	items, err := Find(ctx, tx, tenant, []string{scanned}, now)
	if err != nil {
		return Item{}, err
	}
	return items.Resolve(scanned)
}

// Find reads the products behind codes for Items.Resolve, in two queries at most.
func Find(ctx context.Context, tx pgx.Tx, tenant string, codes []string, now time.Time) (Items, error) {
	found := Items{now: now, codes: map[string]bool{}, bySKU: map[string]Item{}, byCode: map[string][]Item{}}
	var skus []string
	for _, scanned := range codes {
		found.codes[scanned] = true
		if r := read(scanned, now); catalog.SKU.MatchString(r.text) {
			skus = append(skus, r.text)
		}
	}
	if len(skus) > 0 {
		list, err := products(ctx, tx, `sku = ANY($2)`, tenant, skus)
		if err != nil {
			return found, err
		}
		for _, p := range list {
			found.bySKU[p.SKU] = p.Item
		}
	}
	var barcodes []string
	for scanned := range found.codes {
		r := read(scanned, now)
		if _, isSKU := found.bySKU[r.text]; !isSKU && r.text != "" {
			barcodes = append(append(barcodes, r.text), r.gtins()...)
		}
	}
	if len(barcodes) == 0 {
		return found, nil
	}
	list, err := products(ctx, tx, `barcodes && $2::text[]`, tenant, barcodes)
	if err != nil {
		return found, err
	}
	for _, p := range list {
		slices.Sort(p.barcodes)
		for _, code := range slices.Compact(p.barcodes) {
			found.byCode[code] = append(found.byCode[code], p.Item)
		}
	}
	return found, nil
}

// Resolve is the product behind one of the codes that Find was asked for, or the
// refusal of Resolve.
func (f Items) Resolve(scanned string) (Item, error) {
	if !f.codes[scanned] {
		return Item{}, fmt.Errorf("the product of code %q was not read", scanned)
	}
	r := read(scanned, f.now)
	if item, is := f.bySKU[r.text]; is {
		return item, nil
	}
	if list := f.byCode[r.text]; r.text != "" && len(list) > 0 {
		return theOnly(list)
	}
	var list []Item
	for _, gtin := range r.gtins() {
		for _, item := range f.byCode[gtin] {
			if !slices.ContainsFunc(list, func(i Item) bool { return i.SKU == item.SKU }) {
				list = append(list, item)
			}
		}
	}
	if len(list) == 0 {
		return Item{}, unknown(scanned)
	}
	item, err := theOnly(list)
	item.Lot, item.Serial = r.code.Lot(), r.code.Serial()
	if day := r.code.Expiry(); !day.IsZero() {
		item.ExpiresOn = &day
	}
	item.Count, _ = r.code.Count()
	return item, err
}

// SKU is the product of a SKU that was among the codes.
func (f Items) SKU(sku string) (Item, bool) {
	item, there := f.bySKU[sku]
	return item, there
}

func theOnly(list []Item) (Item, error) {
	if len(list) > 1 {
		return Item{}, problem.New(problem.Refused, "ambiguous_item", "Several products have this code: "+list[0].SKU+" and "+list[1].SKU+".")
	}
	return list[0], nil
}

// reading is what a scanned code says by itself.
type reading struct {
	text string // empty for a code that can't be a product's
	code gs1.Code
}

func read(scanned string, now time.Time) reading {
	if scanned == "" || len(scanned) > longest {
		return reading{}
	}
	code, bad := gs1.Parse(scanned, now)
	r := reading{text: code.Text, code: code}
	if r.text == "" {
		r.text = scanned
	}
	if bad != nil {
		r.code.GTIN = ""
	}
	return r
}

// gtins are the forms of the code's GTIN, which barcodes write with fewer digits.
func (r reading) gtins() (forms []string) {
	if r.code.GTIN == "" {
		return nil
	}
	for cut := 0; cut <= 6; cut++ {
		forms = append(forms, r.code.GTIN[cut:])
		if r.code.GTIN[cut] != '0' {
			break
		}
	}
	return forms
}

func unknown(scanned string) error {
	if len(scanned) > 64 {
		scanned = scanned[:64]
	}
	return problem.New(problem.Refused, "unknown_item", "No product has this code.").With("scanned", scanned)
}

type product struct {
	Item
	barcodes []string
}

func products(ctx context.Context, tx pgx.Tx, which, tenant string, codes []string) ([]product, error) {
	rows, err := tx.Query(ctx, `SELECT sku, name, tracking, barcodes FROM products WHERE tenant = $1 AND `+which+` ORDER BY sku`, tenant, codes)
	if err != nil {
		return nil, fmt.Errorf("products of codes: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p product, err error) {
		return p, row.Scan(&p.SKU, &p.Name, &p.Tracking, &p.barcodes)
	})
	if err != nil {
		return nil, fmt.Errorf("products of codes: %w", err)
	}
	return list, nil
}
