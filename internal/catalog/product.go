// Package catalog knows what a tenant sells, at what prices and discounts, and
// from which warehouses.
package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/money"
	"justlogistics/internal/problem"
)

// SKU is the form of every SKU.
var SKU = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Category is the form of every category; empty is none.
var Category = regexp.MustCompile(`^[a-z0-9._/-]{0,64}$`)

// MaxAmount bounds every amount of money that a caller may name, in minor
// units, so that sums over the largest order stay far from overflow.
const MaxAmount = 1_000_000_000_000

// Product is one thing that can be bought: a variant, with a SKU of its own.
type Product struct {
	SKU         string            `json:"sku"`
	Name        string            `json:"name"`
	Prices      []Price           `json:"prices"`
	WeightGrams int               `json:"weight_grams"`
	Dimensions  Dimensions        `json:"dimensions_mm"`
	Options     map[string]string `json:"options"`
	// Product groups the variants of one thing, Category what it is one of, in the shop's
	// own words (ropa/interior): rules for returns go by it.
	Product     string   `json:"product"`
	Category    string   `json:"category"`
	Barcodes    []string `json:"barcodes"`
	Images      []string `json:"images"`
	Tax         string   `json:"tax"` // iva or exempt
	Active      bool     `json:"active"`
	MaxPerOrder *int     `json:"max_per_order"`
	Tracking    string   `json:"tracking"` // none, lot or serial
	Removal     string   `json:"removal"`  // fefo or fifo
	// Days that a lot must have left when it comes in, and when it is picked.
	ReceiveDaysLeft int       `json:"receive_days_left"`
	PickDaysLeft    int       `json:"pick_days_left"`
	CreatedAt       time.Time `json:"created_at"`
	UpdatedAt       time.Time `json:"updated_at"`
}

// Price is what one unit costs, tax included, in minor units.
type Price struct {
	Currency string `json:"currency"`
	Amount   int64  `json:"amount"`
}

// Dimensions are in millimetres.
type Dimensions struct {
	Length int `json:"length"`
	Width  int `json:"width"`
	Height int `json:"height"`
}

// ProductInput is a product as its owner describes it. Only the name and the
// prices are required. How its units are told apart and leave the warehouse
// (Tracking and the three after it), and its Category, stay as they were where nothing is
// said: whoever keeps the catalogue need not know of it. A new product has none, none, fefo,
// 0 and 0.
type ProductInput struct {
	Name        string            `json:"name"`
	Prices      []Price           `json:"prices"`
	WeightGrams int               `json:"weight_grams"`
	Dimensions  *Dimensions       `json:"dimensions_mm"`
	Options     map[string]string `json:"options"`
	Product     string            `json:"product"`
	Barcodes    []string          `json:"barcodes"`
	Images      []string          `json:"images"`
	Tax         string            `json:"tax"`
	Active      *bool             `json:"active"`
	MaxPerOrder *int              `json:"max_per_order"`

	Category        *string `json:"category"`
	Tracking        *string `json:"tracking"`
	Removal         *string `json:"removal"`
	ReceiveDaysLeft *int    `json:"receive_days_left"`
	PickDaysLeft    *int    `json:"pick_days_left"`
}

// maxCount bounds quantities, weights and lengths to what the database keeps.
const maxCount = 1_000_000_000

func (in *ProductInput) check(sku string) error {
	var f problem.Fields
	if !SKU.MatchString(sku) {
		f.Add("sku", "invalid", "a SKU is 1 to 64 letters, digits, dots, underscores and hyphens")
	}
	text(&f, "name", in.Name, true, 200)
	text(&f, "product", in.Product, false, 200)
	if in.Category != nil && !Category.MatchString(*in.Category) {
		f.Add("category", "invalid", "at most 64 lower-case letters, digits, dots, underscores, hyphens and slashes")
	}
	if len(in.Prices) == 0 {
		f.Add("prices", "required", "name at least one price")
	}
	seen := map[string]bool{}
	for i, p := range in.Prices {
		at := fmt.Sprintf("prices[%d]", i)
		c, err := money.ParseCurrency(p.Currency)
		switch {
		case err != nil:
			f.Add(at+".currency", "unknown_currency", "not an ISO 4217 currency")
		case seen[string(c)]:
			f.Add(at+".currency", "repeated", "one price per currency")
		}
		seen[string(c)] = true
		in.Prices[i].Currency = string(c)
		if p.Amount < 0 || p.Amount > MaxAmount {
			f.Add(at+".amount", "out_of_range", "an amount is 0 to %d minor units", int64(MaxAmount))
		}
	}
	count(&f, "weight_grams", in.WeightGrams, 0)
	if d := in.Dimensions; d != nil {
		count(&f, "dimensions_mm.length", d.Length, 0)
		count(&f, "dimensions_mm.width", d.Width, 0)
		count(&f, "dimensions_mm.height", d.Height, 0)
	}
	if len(in.Options) > 20 {
		f.Add("options", "too_many", "at most 20 options")
	}
	list(&f, "barcodes", in.Barcodes, 20, 64)
	list(&f, "images", in.Images, 50, 2000)
	if !slices.Contains([]string{"", "iva", "exempt"}, in.Tax) {
		f.Add("tax", "invalid", "tax is iva or exempt")
	}
	if in.MaxPerOrder != nil {
		count(&f, "max_per_order", *in.MaxPerOrder, 1)
	}
	if in.Tracking != nil && !slices.Contains([]string{"none", "lot", "serial"}, *in.Tracking) {
		f.Add("tracking", "invalid", "tracking is none, lot or serial")
	}
	if in.Removal != nil && !slices.Contains([]string{"fefo", "fifo"}, *in.Removal) {
		f.Add("removal", "invalid", "removal is fefo or fifo")
	}
	days(&f, "receive_days_left", in.ReceiveDaysLeft)
	days(&f, "pick_days_left", in.PickDaysLeft)
	return f.Err()
}

// mostDays bounds the days that a lot must have left.
const mostDays = 10_000

func days(f *problem.Fields, field string, n *int) {
	if n != nil && (*n < 0 || *n > mostDays) {
		f.Add(field, "out_of_range", "0 to %d", mostDays)
	}
}

func text(f *problem.Fields, field, value string, required bool, longest int) {
	switch {
	case required && value == "":
		f.Add(field, "required", "must not be empty")
	case len(value) > longest:
		f.Add(field, "too_long", "at most %d bytes", longest)
	}
}

func count(f *problem.Fields, field string, n, least int) {
	if n < least || n > maxCount {
		f.Add(field, "out_of_range", "%d to %d", least, maxCount)
	}
}

func list(f *problem.Fields, field string, values []string, most, longest int) {
	if len(values) > most {
		f.Add(field, "too_many", "at most %d", most)
		return
	}
	for i, v := range values {
		text(f, fmt.Sprintf("%s[%d]", field, i), v, true, longest)
	}
}

// PutProduct creates a product or replaces everything about it; created tells
// which. Prices that are not named any more are gone. 409 units_in_bins when its
// units lie in bins and it would tell them apart in another way.
func PutProduct(ctx context.Context, tx pgx.Tx, tenant, sku string, in ProductInput) (created bool, err error) {
	if err := in.check(sku); err != nil {
		return false, err
	}
	if in.Product == "" {
		in.Product = sku
	}
	if in.Tax == "" {
		in.Tax = "iva"
	}
	var d Dimensions
	if in.Dimensions != nil {
		d = *in.Dimensions
	}
	options, err := json.Marshal(in.Options)
	if err != nil {
		return false, err
	}
	if in.Options == nil {
		options = []byte(`{}`)
	}
	active := in.Active == nil || *in.Active
	if in.Tracking != nil {
		if err := mayTrack(ctx, tx, tenant, sku, *in.Tracking); err != nil {
			return false, err
		}
	}
	// xmax is zero on a row that this statement inserted.
	err = tx.QueryRow(ctx, `INSERT INTO products (tenant, sku, name, product, options, weight_grams, length_mm, width_mm, height_mm, barcodes, images, tax, active, max_per_order,
	    tracking, removal, receive_days_left, pick_days_left, category)
	  VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,coalesce($15,'none'),coalesce($16,'fefo'),coalesce($17,0),coalesce($18,0),coalesce($19,''))
	  ON CONFLICT (tenant, sku) DO UPDATE SET name = excluded.name, product = excluded.product, options = excluded.options, weight_grams = excluded.weight_grams,
	    length_mm = excluded.length_mm, width_mm = excluded.width_mm, height_mm = excluded.height_mm, barcodes = excluded.barcodes, images = excluded.images,
	    tax = excluded.tax, active = excluded.active, max_per_order = excluded.max_per_order, category = coalesce($19, products.category), updated_at = now(),
	    tracking = coalesce($15, products.tracking), removal = coalesce($16, products.removal),
	    receive_days_left = coalesce($17, products.receive_days_left), pick_days_left = coalesce($18, products.pick_days_left)
	  RETURNING xmax = 0`, tenant, sku, in.Name, in.Product, options, in.WeightGrams, d.Length, d.Width, d.Height, nonNil(in.Barcodes), nonNil(in.Images), in.Tax, active, in.MaxPerOrder,
		in.Tracking, in.Removal, in.ReceiveDaysLeft, in.PickDaysLeft, in.Category).Scan(&created)
	if err != nil {
		return false, fmt.Errorf("product %s: %w", sku, err)
	}
	currencies := make([]string, len(in.Prices))
	amounts := make([]int64, len(in.Prices))
	for i, p := range in.Prices {
		currencies[i], amounts[i] = p.Currency, p.Amount
	}
	b := &pgx.Batch{}
	b.Queue(`DELETE FROM prices WHERE tenant = $1 AND sku = $2 AND NOT currency = ANY($3)`, tenant, sku, currencies)
	b.Queue(`INSERT INTO prices (tenant, sku, currency, amount) SELECT $1, $2, * FROM unnest($3::text[], $4::bigint[])
	  ON CONFLICT (tenant, sku, currency) DO UPDATE SET amount = excluded.amount`, tenant, sku, currencies, amounts)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, fmt.Errorf("prices of %s: %w", sku, err)
	}
	return created, nil
}

// mayTrack refuses to tell the units of a product apart in another way while
// some lie in bins. Its stock is locked, so that none comes into one meanwhile.
func mayTrack(ctx context.Context, tx pgx.Tx, tenant, sku, tracking string) error {
	var now string
	err := tx.QueryRow(ctx, `SELECT tracking FROM products WHERE tenant = $1 AND sku = $2`, tenant, sku).Scan(&now)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && now == tracking {
		return nil
	}
	var units int
	if err == nil {
		_, err = tx.Exec(ctx, `SELECT FROM stock_levels WHERE tenant = $1 AND sku = $2 ORDER BY warehouse FOR UPDATE`, tenant, sku)
	}
	if err == nil {
		err = tx.QueryRow(ctx, `SELECT coalesce(sum(quantity), 0) FROM bin_stock WHERE tenant = $1 AND sku = $2 AND quantity > 0`, tenant, sku).Scan(&units)
	}
	if err != nil {
		return fmt.Errorf("tracking of %s: %w", sku, err)
	}
	if units > 0 {
		return problem.New(problem.Conflict, "units_in_bins", fmt.Sprintf("%d units lie in bins and are told apart by %s. Take them out first.", units, now)).With("units", units)
	}
	return nil
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// GetProduct reads a product.
func GetProduct(ctx context.Context, tx pgx.Tx, tenant, sku string) (Product, error) {
	p := Product{SKU: sku}
	var options, prices []byte
	err := tx.QueryRow(ctx, `SELECT name, product, category, options, weight_grams, length_mm, width_mm, height_mm, barcodes, images, tax, active, max_per_order, tracking, removal, receive_days_left, pick_days_left, created_at, updated_at,
	    (SELECT coalesce(jsonb_agg(jsonb_build_object('currency', currency, 'amount', amount) ORDER BY currency), '[]') FROM prices WHERE tenant = $1 AND sku = $2)
	  FROM products WHERE tenant = $1 AND sku = $2`, tenant, sku).
		Scan(&p.Name, &p.Product, &p.Category, &options, &p.WeightGrams, &p.Dimensions.Length, &p.Dimensions.Width, &p.Dimensions.Height, &p.Barcodes, &p.Images, &p.Tax, &p.Active, &p.MaxPerOrder,
			&p.Tracking, &p.Removal, &p.ReceiveDaysLeft, &p.PickDaysLeft, &p.CreatedAt, &p.UpdatedAt, &prices)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, problem.Missing("product")
	}
	if err != nil {
		return p, fmt.Errorf("product %s: %w", sku, err)
	}
	if err := errors.Join(json.Unmarshal(options, &p.Options), json.Unmarshal(prices, &p.Prices)); err != nil {
		return p, fmt.Errorf("product %s: %w", sku, err)
	}
	return p, nil
}

// Exists reports whether the tenant has a product with this SKU.
func Exists(ctx context.Context, tx pgx.Tx, tenant, sku string) (bool, error) {
	var ok bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM products WHERE tenant = $1 AND sku = $2)`, tenant, sku).Scan(&ok)
	if err != nil {
		return false, fmt.Errorf("product %s: %w", sku, err)
	}
	return ok, nil
}
