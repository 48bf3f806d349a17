package catalog

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/money"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
)

var discountForm = regexp.MustCompile(`^[A-Z0-9._-]{1,40}$`)

// DiscountCode brings a code into the form in which it is stored: what buyers
// type in lower case is the same code.
func DiscountCode(s string) string { return strings.ToUpper(strings.TrimSpace(s)) }

// Discount is a code that makes an order cheaper.
type Discount struct {
	Code string `json:"code"`
	Kind string `json:"kind"` // percent or amount
	// Value is in hundredths of a percent (1050 is 10.5 %), or in minor units
	// of Currency.
	Value     int64      `json:"value"`
	Currency  *string    `json:"currency"`
	StartsAt  *time.Time `json:"starts_at"`
	EndsAt    *time.Time `json:"ends_at"`
	MaxUses   *int       `json:"max_uses"`
	Used      int        `json:"used"`
	Active    bool       `json:"active"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
}

// DiscountInput is a discount as its owner describes it.
type DiscountInput struct {
	Kind     string  `json:"kind"`
	Value    int64   `json:"value"`
	Currency *string `json:"currency"`
	StartsAt *string `json:"starts_at"`
	EndsAt   *string `json:"ends_at"`
	MaxUses  *int    `json:"max_uses"`
	Active   *bool   `json:"active"`
}

// PutDiscount creates a discount or replaces its rules; how often it was used
// stays.
func PutDiscount(ctx context.Context, tx pgx.Tx, tenant, code string, in DiscountInput) (created bool, err error) {
	var f problem.Fields
	code = DiscountCode(code)
	if !discountForm.MatchString(code) {
		f.Add("code", "invalid", "a code is 1 to 40 letters, digits, dots, underscores and hyphens")
	}
	switch in.Kind {
	case "percent":
		if in.Value < 1 || in.Value > 10000 {
			f.Add("value", "out_of_range", "1 to 10000 hundredths of a percent")
		}
	case "amount":
		if in.Value < 1 || in.Value > MaxAmount {
			f.Add("value", "out_of_range", "1 to %d minor units", int64(MaxAmount))
		}
		if in.Currency == nil {
			f.Add("currency", "required", "an amount has a currency")
		}
	default:
		f.Add("kind", "invalid", "kind is percent or amount")
	}
	if in.Currency != nil {
		c, err := money.ParseCurrency(*in.Currency)
		if err != nil {
			f.Add("currency", "unknown_currency", "not an ISO 4217 currency")
		}
		name := string(c)
		in.Currency = &name
	}
	starts, ends := Moment(&f, "starts_at", in.StartsAt), Moment(&f, "ends_at", in.EndsAt)
	if starts != nil && ends != nil && !ends.After(*starts) {
		f.Add("ends_at", "out_of_range", "must be after starts_at")
	}
	if in.MaxUses != nil {
		count(&f, "max_uses", *in.MaxUses, 1)
	}
	if err := f.Err(); err != nil {
		return false, err
	}
	err = tx.QueryRow(ctx, `INSERT INTO discount_codes (tenant, code, kind, value, currency, starts_at, ends_at, max_uses, active) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)
	  ON CONFLICT (tenant, code) DO UPDATE SET kind = excluded.kind, value = excluded.value, currency = excluded.currency, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
	    max_uses = excluded.max_uses, active = excluded.active, updated_at = now()
	  RETURNING xmax = 0`, tenant, code, in.Kind, in.Value, in.Currency, starts, ends, in.MaxUses, in.Active == nil || *in.Active).Scan(&created)
	if postgres.Violates(err) {
		f.Add("max_uses", "out_of_range", "the code has been used more often already")
		return false, f.Err()
	}
	if err != nil {
		return false, fmt.Errorf("discount %s: %w", code, err)
	}
	return created, nil
}

// Moment reads an optional RFC 3339 time.
func Moment(f *problem.Fields, field string, value *string) *time.Time {
	if value == nil {
		return nil
	}
	t, err := time.Parse(time.RFC3339, *value)
	if err != nil {
		f.Add(field, "invalid", "want a time like 2026-09-18T12:00:00Z")
		return nil
	}
	t = t.UTC()
	return &t
}

// GetDiscount reads a discount.
func GetDiscount(ctx context.Context, tx pgx.Tx, tenant, code string) (Discount, error) {
	d := Discount{Code: DiscountCode(code)}
	err := tx.QueryRow(ctx, `SELECT kind, value, currency, starts_at, ends_at, max_uses, used, active, created_at, updated_at FROM discount_codes WHERE tenant = $1 AND code = $2`, tenant, d.Code).
		Scan(&d.Kind, &d.Value, &d.Currency, &d.StartsAt, &d.EndsAt, &d.MaxUses, &d.Used, &d.Active, &d.CreatedAt, &d.UpdatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, problem.Missing("discount code")
	}
	if err != nil {
		return d, fmt.Errorf("discount %s: %w", code, err)
	}
	return d, nil
}

// Usable says why a discount does not apply now to an order in a currency, as a
// fault of the field discount_code; nothing when it applies. Whether uses are
// left is finally decided by the database when the use is counted.
func (d Discount) Usable(f *problem.Fields, field, currency string, now time.Time) {
	switch {
	case !d.Active:
		f.Add(field, "discount_inactive", "this code is not valid any more")
	case d.StartsAt != nil && now.Before(*d.StartsAt):
		f.Add(field, "discount_not_started", "this code is not valid yet")
	case d.EndsAt != nil && !now.Before(*d.EndsAt):
		f.Add(field, "discount_ended", "this code is not valid any more")
	case d.Currency != nil && *d.Currency != currency:
		f.Add(field, "discount_currency", "this code is for another currency")
	case d.MaxUses != nil && d.Used >= *d.MaxUses:
		f.Add(field, "discount_exhausted", "this code has been used up")
	}
}

// Of computes what the discount takes off items, in minor units: a percentage
// is rounded to the nearest unit, and nothing gets cheaper than free.
func (d Discount) Of(items int64) int64 {
	off := d.Value
	if d.Kind == "percent" {
		// Exact below 9e14, which is far above MaxAmount.
		off = (items*d.Value + 5000) / 10000
	}
	return min(off, items)
}
