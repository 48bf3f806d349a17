package place

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/floor"
)

// Whereabouts is where the units of a SKU lie.
type Whereabouts struct {
	SKU        string        `json:"sku"`
	Tracking   string        `json:"tracking"`
	Removal    string        `json:"removal"`
	Warehouses []InWarehouse `json:"warehouses"`
}

// InWarehouse is what one warehouse has of a SKU. Units on hand can be sold: those
// in bins that are available, and those in no bin.
type InWarehouse struct {
	Warehouse string  `json:"warehouse"`
	OnHand    int     `json:"on_hand"`
	Reserved  int     `json:"reserved"`
	Placed    int     `json:"placed"`
	InNoBin   int     `json:"in_no_bin"`
	Bins      []InBin `json:"bins"`
}

// InBin is units of a SKU in a bin.
type InBin struct {
	Bin  string        `json:"bin"`
	Zone string        `json:"zone"`
	Kind floor.BinKind `json:"kind"`
	Pile
}

// Where tells in which warehouses and bins the units of a SKU lie. 404 for an
// unknown SKU.
func Where(ctx context.Context, tx pgx.Tx, tenant, sku string) (Whereabouts, error) {
	out := Whereabouts{SKU: sku, Warehouses: []InWarehouse{}}
	err := tx.QueryRow(ctx, `SELECT tracking, removal FROM products WHERE tenant = $1 AND sku = $2`, tenant, sku).Scan(&out.Tracking, &out.Removal)
	if none(err) {
		return out, problem.Missing("product")
	}
	if err != nil {
		return out, fmt.Errorf("product %s: %w", sku, err)
	}
	levels, err := stock.Levels(ctx, tx, tenant, sku)
	if err != nil {
		return out, err
	}
	index := map[string]int{}
	for i, l := range levels {
		index[l.Warehouse] = i
		out.Warehouses = append(out.Warehouses, InWarehouse{Warehouse: l.Warehouse, OnHand: l.OnHand, Reserved: l.Reserved, Placed: l.Placed, InNoBin: l.OnHand - l.Placed, Bins: []InBin{}})
	}
	rows, err := tx.Query(ctx, `SELECT s.warehouse, s.bin, b.zone, b.kind, s.sku, s.lot, l.expires_on, l.status, s.status, s.quantity, s.allocated, s.since, s.version
	    FROM bin_stock s JOIN bins b ON b.tenant = s.tenant AND b.warehouse = s.warehouse AND b.code = s.bin
	    LEFT JOIN lots l ON l.tenant = s.tenant AND l.sku = s.sku AND l.lot = s.lot
	   WHERE s.tenant = $1 AND s.sku = $2 AND s.quantity > 0 ORDER BY s.warehouse, s.bin, s.lot, s.status`, tenant, sku)
	if err != nil {
		return out, fmt.Errorf("bins with %s: %w", sku, err)
	}
	defer rows.Close()
	for rows.Next() {
		var warehouse string
		var b InBin
		var expires *time.Time
		if err := rows.Scan(&warehouse, &b.Bin, &b.Zone, &b.Kind, &b.SKU, &b.Lot, &expires, &b.LotStatus, &b.Status, &b.Quantity, &b.Allocated, &b.Since, &b.Version); err != nil {
			return out, fmt.Errorf("bins with %s: %w", sku, err)
		}
		b.ExpiresOn = day(expires)
		at, known := index[warehouse]
		if !known {
			continue // its level was made between the two statements
		}
		out.Warehouses[at].Bins = append(out.Warehouses[at].Bins, b)
	}
	if err := rows.Err(); err != nil {
		return out, fmt.Errorf("bins with %s: %w", sku, err)
	}
	return out, nil
}
