package place

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/warehouse/floor"
)

// Chart draws the map of a warehouse: what lies in each bin of its plan, how full
// it is and how often it was picked from, and a walk with its stops where there is
// one. Bins without a position are left out. 404 when there is no such warehouse,
// or no plan of it.
func Chart(ctx context.Context, tx pgx.Tx, tenant, warehouse string, mode floor.Mode, lang string, route, stops []floor.Point) ([]byte, error) {
	plan, _, err := GetPlan(ctx, tx, tenant, warehouse)
	if err != nil {
		return nil, err
	}
	var name string
	if err := tx.QueryRow(ctx, `SELECT name FROM warehouses WHERE tenant = $1 AND code = $2`, tenant, warehouse).Scan(&name); err != nil {
		return nil, fmt.Errorf("warehouse %s: %w", warehouse, err)
	}
	bins, err := readBins(ctx, tx, tenant, warehouse, `b.active AND (b.stop_aisle IS NOT NULL OR b.stop_node IS NOT NULL) ORDER BY b.code`)
	if err != nil {
		return nil, err
	}
	contents, err := contentsOf(ctx, tx, tenant, warehouse)
	if err != nil {
		return nil, err
	}
	in := floor.MapInput{Name: name, Plan: plan, Mode: mode, Lang: lang, Route: route, Stops: stops}
	for _, b := range bins {
		m := floor.MapBin{Bin: b.onFloor(), FillPermille: floor.NoLimit, Picks: int(b.Picks), Contents: contents[b.Code]}
		if b.FillPermille != nil {
			m.FillPermille = *b.FillPermille
		}
		in.Bins = append(in.Bins, m)
	}
	return floor.Map(in)
}

// onFloor is a bin that has a position, as the plan knows it.
func (b Bin) onFloor() floor.Bin {
	rack, err := strconv.Atoi(b.Rack)
	if err != nil {
		rack = 0 // a code that says nothing of racks
	}
	out := floor.Bin{Code: b.Code, Zone: b.Zone, Kind: b.Kind, Aisle: b.Aisle, Rack: rack, Level: b.Level, LotRule: b.LotRule,
		Capacity: floor.Capacity{MaxUnits: b.MaxUnits, MaxWeightGrams: b.MaxWeightGrams, MaxVolumeMM3: b.MaxVolumeMM3}}
	if p := b.Position; p != nil {
		out.XMM, out.YMM, out.ZMM, out.Stop = p.XMM, p.YMM, p.ZMM, p.Stop
	}
	return out
}

// contentsOf says in a line each what lies in the bins of a warehouse.
func contentsOf(ctx context.Context, tx pgx.Tx, tenant, warehouse string) (map[string][]string, error) {
	rows, err := tx.Query(ctx, `SELECT bin, sku, lot, status, quantity FROM bin_stock WHERE tenant = $1 AND warehouse = $2 AND quantity > 0 ORDER BY bin, sku, lot, status`, tenant, warehouse)
	if err != nil {
		return nil, fmt.Errorf("what lies in %s: %w", warehouse, err)
	}
	defer rows.Close()
	out := map[string][]string{}
	for rows.Next() {
		var bin, sku, lot, status string
		var units int
		if err := rows.Scan(&bin, &sku, &lot, &status, &units); err != nil {
			return nil, fmt.Errorf("what lies in %s: %w", warehouse, err)
		}
		line := fmt.Sprintf("%s: %d", sku, units)
		if lot != "" {
			line = fmt.Sprintf("%s · %s: %d", sku, lot, units)
		}
		if status != "available" {
			line += " · " + status
		}
		out[bin] = append(out[bin], line)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("what lies in %s: %w", warehouse, err)
	}
	return out, nil
}
