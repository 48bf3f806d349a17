package receiving

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/gs1"
	"justlogistics/internal/label"
	"justlogistics/internal/problem"
)

// Labels writes the labels of what a receipt brought as ZPL, one SKU and lot
// after the other, p.Copies of each. A receipt that brought nothing has none.
func Labels(ctx context.Context, tx pgx.Tx, tenantID, receiptID string, p label.Print, now time.Time) (string, error) {
	if _, err := getReceipt(ctx, tx, tenantID, receiptID, ""); err != nil {
		return "", err
	}
	rows, err := tx.Query(ctx, net+`SELECT n.sku, p.name, n.lot, (SELECT l.expires_on FROM lots l WHERE l.tenant = $1 AND l.sku = n.sku AND l.lot = n.lot), p.barcodes
	  FROM net n JOIN products p ON p.tenant = n.tenant AND p.sku = n.sku GROUP BY n.sku, p.name, n.lot, p.barcodes HAVING sum(n.units) > 0 ORDER BY n.sku, n.lot`, tenantID, receiptID)
	if err != nil {
		return "", fmt.Errorf("labels of receipt %s: %w", receiptID, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l label.Lot, err error) {
		var expires *time.Time
		var barcodes []string
		if err := row.Scan(&l.SKU, &l.Name, &l.Lot, &expires, &barcodes); err != nil {
			return l, err
		}
		if expires != nil {
			l.Expiry = *expires
		}
		for _, code := range barcodes {
			if _, ok := gs1.GTIN14(code); ok {
				l.GTIN = code
				break
			}
		}
		return l, nil
	})
	if err != nil {
		return "", fmt.Errorf("labels of receipt %s: %w", receiptID, err)
	}
	var b strings.Builder
	for _, l := range list {
		zpl, err := l.ZPL(p, now)
		if err != nil {
			return "", fmt.Errorf("label of %s %s: %w", l.SKU, l.Lot, err)
		}
		b.WriteString(zpl)
	}
	return b.String(), nil
}

// BinLabel writes the label of a bin as ZPL.
func BinLabel(ctx context.Context, tx pgx.Tx, tenantID, warehouse, bin string, p label.Print, arrow label.Direction) (string, error) {
	l := label.Bin{Code: bin, Arrow: arrow}
	err := tx.QueryRow(ctx, `SELECT w.name FROM bins b JOIN warehouses w ON w.tenant = b.tenant AND w.code = b.warehouse WHERE b.tenant = $1 AND b.warehouse = $2 AND b.code = $3`, tenantID, warehouse, bin).Scan(&l.Warehouse)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", problem.Missing("bin")
	}
	if err != nil {
		return "", fmt.Errorf("label of bin %s: %w", bin, err)
	}
	zpl, err := l.ZPL(p)
	if err != nil {
		return "", fmt.Errorf("label of bin %s: %w", bin, err)
	}
	return zpl, nil
}
