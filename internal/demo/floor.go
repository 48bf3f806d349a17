package demo

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/place"
)

// withBins is the warehouse that has a plan and bins; the other has neither, so
// that both ways of keeping stock can be seen.
const withBins = "SCL-1"

// santiago has two blocks: 5 aisles of 4 racks on each side, 3 levels, the top
// one for reserve.
const santiago = `{"kind":"aisles",
  "aisles":{"count":5,"first_name":"A","first_x_mm":2000,"pitch_mm":3600,"width_mm":1500},
  "cross_aisles":{"y_mm":[0,4000,8000],"width_mm":2000},
  "racks":{"width_mm":1000,"depth_mm":1000,"levels":3,"level_height_mm":1500,"pick_levels":2,"capacity":{"max_units":60}},
  "zones":[{"name":"Ropa","color":"#5b8def","aisles":["A","B"]},{"name":"Calzado","color":"#e08a4f","aisles":["C"]},{"name":"Regalos","color":"#6fae75","aisles":["D","E"]},{"name":"Operación"}],
  "depot":{"cross":0,"x_mm":9200}}`

// stations stand on the front cross aisle, the cages on the one at the back.
var stations = []struct {
	code string
	kind floor.BinKind
	x, y int64
}{
	{"RECV-1", floor.Receiving, 2000, 0}, {"RECV-2", floor.Receiving, 3800, 0}, {"PACK-1", floor.Packing, 9200, 0}, {"PACK-2", floor.Packing, 11000, 0},
	{"QUAR-1", floor.Quarantine, 14600, 8000}, {"DAM-1", floor.Damaged, 16400, 8000},
}

// homes are the bins that a variant's units lie in, as many as they fill.
var homes = map[string][]string{
	"POL-ROJO-S": {"A-01-A"}, "POL-ROJO-M": {"A-02-A"}, "POL-AZUL-M": {"B-03-A"}, "ZAP-NEGRO-40": {"C-01-A"}, "ZAP-NEGRO-42": {"C-02-A"},
	"MOCHILA-22L": {"D-06-A"}, "TAZA-CHILE": {"E-05-A", "E-05-C"}, "ULTIMA-UNIDAD": {"E-08-A"},
}

// floorOfSantiago gives the warehouse its plan and places what lies in it, once:
// a warehouse that has a plan is its owner's.
func floorOfSantiago(ctx context.Context, tx pgx.Tx) error {
	_, _, err := place.GetPlan(ctx, tx, Tenant, withBins)
	if p, ok := problem.As(err); !ok || p.Kind != problem.NotFound {
		return err
	}
	plan, err := floor.ParsePlan([]byte(santiago))
	if err != nil {
		return fmt.Errorf("plan of %s: %w", withBins, err)
	}
	if _, err := place.PutPlan(ctx, tx, Tenant, withBins, plan, false); err != nil {
		return fmt.Errorf("plan of %s: %w", withBins, err)
	}
	for _, s := range stations {
		b := floor.BinInput{Code: s.code, Zone: "Operación", Kind: s.kind, XMM: &s.x, YMM: &s.y}
		if _, err := place.PutBin(ctx, tx, Tenant, withBins, b, true); err != nil {
			return fmt.Errorf("bin %s: %w", s.code, err)
		}
	}
	for _, v := range variants {
		if err := putAway(ctx, tx, v.sku); err != nil {
			return fmt.Errorf("place %s: %w", v.sku, err)
		}
	}
	return nil
}

// putAway places the units of a SKU that lie in no bin, those first that fit; in
// a shop that was open before it had bins there may be fewer, or more.
func putAway(ctx context.Context, tx pgx.Tx, sku string) error {
	levels, err := stock.Levels(ctx, tx, Tenant, sku)
	if err != nil {
		return err
	}
	left := 0
	for _, l := range levels {
		if l.Warehouse == withBins {
			left = l.OnHand - l.Placed
		}
	}
	for i, bin := range homes[sku] {
		units := left
		if i < len(homes[sku])-1 {
			units = min(left, 60)
		}
		if units == 0 {
			return nil
		}
		_, err := place.MoveUnits(ctx, tx, Tenant, place.Moving{Warehouse: withBins, SKU: sku, Quantity: units, From: stock.Unplaced(), To: stock.In(bin, stock.Available),
			Reason: "put_away", Note: "demo", Force: true, By: stock.By{Person: "demo"}})
		if err != nil {
			return err
		}
		left -= units
	}
	return nil
}
