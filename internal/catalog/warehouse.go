package catalog

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/chile"
	"justlogistics/internal/problem"
)

// WarehouseCode is the form of a warehouse's code.
var WarehouseCode = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)

// Warehouse is a place that keeps and ships stock.
type Warehouse struct {
	Code      string    `json:"code"`
	Name      string    `json:"name"`
	Region    string    `json:"region"`
	Comuna    string    `json:"comuna"`
	Street    string    `json:"street"` // where parcels go back to
	Number    string    `json:"number"`
	Position  int       `json:"position"`
	Active    bool      `json:"active"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// WarehouseInput is a warehouse as its owner describes it. Name and region are
// required; an inactive warehouse gives no stock to new holds.
type WarehouseInput struct {
	Name     string `json:"name"`
	Region   string `json:"region"`
	Comuna   string `json:"comuna"`
	Street   string `json:"street"`
	Number   string `json:"number"`
	Position int    `json:"position"`
	Active   *bool  `json:"active"`
}

// PutWarehouse creates a warehouse or replaces what is known of it.
func PutWarehouse(ctx context.Context, tx pgx.Tx, tenant, code string, in WarehouseInput) (created bool, err error) {
	var f problem.Fields
	if !WarehouseCode.MatchString(code) {
		f.Add("code", "invalid", "a code is 1 to 32 letters, digits, dots, underscores and hyphens")
	}
	text(&f, "name", in.Name, true, 200)
	region, err := chile.ParseRegion(in.Region)
	if err != nil {
		f.Add("region", "unknown_region", "not a region of Chile")
	}
	if len(in.Street) > 200 || len(in.Number) > 20 {
		f.Add("street", "too_long", "at most 200 bytes, and 20 of the number")
	}
	comuna := in.Comuna
	if err == nil && comuna != "" {
		c, err := chile.ValidatePlace(comuna, in.Region)
		if err != nil {
			f.Add("comuna", "unknown_comuna", "%v", err)
		}
		comuna = c.Name
	}
	count(&f, "position", in.Position, 0)
	if err := f.Err(); err != nil {
		return false, err
	}
	err = tx.QueryRow(ctx, `INSERT INTO warehouses (tenant, code, name, region, comuna, position, active, street, number) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)
	  ON CONFLICT (tenant, code) DO UPDATE SET name = excluded.name, region = excluded.region, comuna = excluded.comuna, position = excluded.position, active = excluded.active, street = excluded.street, number = excluded.number, updated_at = now()
	  RETURNING xmax = 0`, tenant, code, in.Name, region, comuna, in.Position, in.Active == nil || *in.Active, in.Street, in.Number).Scan(&created)
	if err != nil {
		return false, fmt.Errorf("warehouse %s: %w", code, err)
	}
	return created, nil
}

// GetWarehouse reads a warehouse.
func GetWarehouse(ctx context.Context, tx pgx.Tx, tenant, code string) (Warehouse, error) {
	w := Warehouse{Code: code}
	err := tx.QueryRow(ctx, `SELECT name, region, comuna, street, number, position, active, created_at, updated_at FROM warehouses WHERE tenant = $1 AND code = $2`, tenant, code).
		Scan(&w.Name, &w.Region, &w.Comuna, &w.Street, &w.Number, &w.Position, &w.Active, &w.CreatedAt, &w.UpdatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return w, problem.Missing("warehouse")
	}
	if err != nil {
		return w, fmt.Errorf("warehouse %s: %w", code, err)
	}
	return w, nil
}
