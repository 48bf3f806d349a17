package picking

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/label"
	"justlogistics/internal/picksheet"
)

// noBin stands on paper for units that are in the warehouse and in no bin.
const noBin = "-"

var kindOf = map[label.Language]map[string]string{
	label.Spanish: {ByOrder: "pedido", ByBatch: "lote de pedidos", ByZone: "zona"},
	label.English: {ByOrder: "order", ByBatch: "batch of orders", ByZone: "zone"},
}

// Sheet writes what is open of a list as a PDF, in walking order.
func Sheet(ctx context.Context, tx pgx.Tx, tenantID, listID string, language label.Language, now time.Time) ([]byte, error) {
	l, err := Read(ctx, tx, tenantID, listID)
	if err != nil {
		return nil, err
	}
	shop, _, err := rules(ctx, tx, tenantID)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(shop.Settings.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time zone: %w", err)
	}
	kind := kindOf[language][l.Kind]
	if l.Zone != "" {
		kind += " " + l.Zone
	}
	sheet := picksheet.List{Number: l.Number, Kind: kind, PrintedAt: now, Zone: zone, Language: language}
	if err := tx.QueryRow(ctx, `SELECT name FROM warehouses WHERE tenant = $1 AND code = $2`, tenantID, l.Warehouse).Scan(&sheet.Warehouse); err != nil {
		return nil, fmt.Errorf("warehouse %s: %w", l.Warehouse, err)
	}
	if l.LengthMM != nil {
		sheet.WalkMM = int(*l.LengthMM)
	}
	if l.SShapeMM != nil {
		sheet.SShapeMM = int(*l.SShapeMM)
	}
	type stop struct {
		bin  string
		line picksheet.Line
	}
	var stops []stop
	for _, n := range l.Work {
		one := picksheet.Line{SKU: n.SKU, Name: n.Name, Order: n.OrderNumber, Box: n.Box}
		for _, u := range n.Allocations {
			if u.State != "open" {
				continue
			}
			at := one
			at.Bin, at.Lot, at.Quantity = u.bin(), u.Lot, u.Quantity
			if u.ExpiresOn != nil {
				if at.Expiry, err = time.Parse(time.DateOnly, *u.ExpiresOn); err != nil {
					return nil, fmt.Errorf("expiry of %s: %w", u.Lot, err)
				}
			}
			stops = append(stops, stop{at.Bin, at})
		}
		if n.Unallocated > 0 {
			one.Quantity = n.Unallocated
			stops = append(stops, stop{"", one})
		}
	}
	inOrder(stops, places(l.Stops), func(s stop) string { return s.bin }, func(a, b stop) int { return strings.Compare(a.line.SKU, b.line.SKU) })
	for _, s := range stops {
		if s.line.Bin == "" {
			s.line.Bin = noBin
		}
		sheet.Lines = append(sheet.Lines, s.line)
	}
	var out bytes.Buffer
	if err := picksheet.Write(&out, sheet); err != nil {
		return nil, fmt.Errorf("pick list %s: %w", listID, err)
	}
	return out.Bytes(), nil
}

// Labels writes a label for what each stop of a list gives to each order, in
// walking order: what is open and what was picked.
func Labels(ctx context.Context, tx pgx.Tx, tenantID, listID string, p label.Print) (string, error) {
	l, err := Read(ctx, tx, tenantID, listID)
	if err != nil {
		return "", err
	}
	of := map[string]int{}
	for _, n := range l.Work {
		if !n.Cancelled {
			of[n.OrderID]++
		}
	}
	var out strings.Builder
	position := map[string]int{}
	for _, n := range l.Work {
		if n.Cancelled {
			continue
		}
		position[n.OrderID]++
		for _, u := range n.Allocations {
			k := label.Pick{Order: n.OrderNumber, Position: position[n.OrderID], Of: of[n.OrderID], SKU: n.SKU, Name: n.Name, Bin: u.bin(), Quantity: u.Quantity}
			if k.Bin == "" {
				k.Bin = noBin
			}
			zpl, err := k.ZPL(p)
			if err != nil {
				return "", fmt.Errorf("label of line %d of pick list %s: %w", n.Line, listID, err)
			}
			out.WriteString(zpl)
		}
	}
	return out.String(), nil
}
