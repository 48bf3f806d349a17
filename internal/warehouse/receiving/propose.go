package receiving

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// Proposals are where a receipt's goods may be put.
type Proposals struct {
	ReceiptID string     `json:"receipt_id"`
	Warehouse string     `json:"warehouse"`
	Data      []Proposal `json:"data"`
	// Unplaced is what fits nowhere.
	Unplaced []Unplaced `json:"unplaced"`
}

// Proposal is units that may go from one bin to another.
type Proposal struct {
	SKU      string `json:"sku"`
	Name     string `json:"name"`
	Lot      string `json:"lot,omitempty"`
	Status   string `json:"status"`
	Class    string `json:"class"` // A, B or C
	Quantity int    `json:"quantity"`
	From     string `json:"from"`
	To       string `json:"to"`
	Kind     string `json:"kind"` // of the bin that they go to
	// DistanceMM is the way from the depot to that bin; null without a plan.
	DistanceMM *int64 `json:"distance_mm"`
	// Version is that of the units where they lie now, for PutAway.
	Version int64 `json:"version"`
}

// Unplaced is units for which no bin has room.
type Unplaced struct {
	SKU      string `json:"sku"`
	Lot      string `json:"lot,omitempty"`
	Status   string `json:"status"`
	Quantity int    `json:"quantity"`
	From     string `json:"from"`
	Why      string `json:"why"`
}

// load is a receipt's units that still lie where they were put down.
type load struct {
	sku, name, lot, status, bin string
	units                       int
	of                          size
	version                     int64
	class                       string
	picks                       int
}

// kindsFor are the kinds of bins that units of a status may lie in, the better
// ones first.
func kindsFor(status string) []string {
	switch status {
	case stock.Available:
		return []string{"pick", "reserve"}
	case stock.Damaged:
		return []string{"damaged", "quarantine"}
	}
	return []string{"quarantine"}
}

// Propose chooses bins for what was scanned for a receipt and is not put away
// yet. Units are chosen for as if all were put away at once; nothing is booked or
// kept free by it. Goods that other receipts put into the same bin can't be told
// apart from these.
func Propose(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, receiptID string, now time.Time) (Proposals, error) {
	r, err := getReceipt(ctx, tx, shop.ID, receiptID, "")
	if err != nil {
		return Proposals{}, err
	}
	out := Proposals{ReceiptID: r.ID, Warehouse: r.Warehouse, Data: []Proposal{}, Unplaced: []Unplaced{}}
	loads, err := loadsOf(ctx, tx, shop.ID, r)
	if err != nil {
		return out, err
	}
	abc, err := ReadABC(ctx, tx, shop.ID, r.Warehouse, now)
	if err != nil {
		return out, err
	}
	classes := map[string]Class{}
	for _, c := range abc.Data {
		classes[c.SKU] = c
	}
	for i := range loads {
		loads[i].class = "C"
		if c, ok := classes[loads[i].sku]; ok {
			loads[i].class, loads[i].picks = c.Class, c.Picks
		}
	}
	bins, err := shelves(ctx, tx, shop.ID, r.Warehouse, []string{"pick", "reserve", "quarantine", "damaged"})
	if err != nil {
		return out, err
	}
	if err := measure(ctx, tx, shop.ID, r.Warehouse, bins); err != nil {
		return out, err
	}
	distribute(&out, loads, bins)
	return out, nil
}

// loadsOf reads what of a receipt lies in the bins where it was put down and was
// not put away under the receipt's name. Units that closing released are
// available by now.
func loadsOf(ctx context.Context, tx pgx.Tx, tenantID string, r Receipt) ([]load, error) {
	rows, err := tx.Query(ctx, net+`, booked AS (
	  SELECT sku, lot, bin, sum(units)::int AS units FROM net WHERE kind = 'scan' GROUP BY 1, 2, 3
	), away AS (
	  SELECT sku, lot, from_bin AS bin, sum(quantity)::int AS units FROM bin_movements WHERE tenant = $1 AND document = $3 AND reason = 'put_away' GROUP BY 1, 2, 3
	), lying AS (
	  SELECT s.sku, s.lot, s.bin, s.status, s.quantity, s.version, b.units - coalesce(a.units, 0) AS units,
	         coalesce(sum(s.quantity) OVER (PARTITION BY s.sku, s.lot, s.bin ORDER BY s.status ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::int AS before
	    FROM booked b LEFT JOIN away a USING (sku, lot, bin) JOIN bin_stock s ON s.tenant = $1 AND s.warehouse = $4 AND s.bin = b.bin AND s.sku = b.sku AND s.lot = b.lot AND s.quantity > 0
	)
	SELECT l.sku, p.name, l.lot, l.status, l.bin, least(l.quantity, l.units - l.before)::int, p.weight_grams, p.length_mm::bigint * p.width_mm * p.height_mm, l.version
	  FROM lying l JOIN products p ON p.tenant = $1 AND p.sku = l.sku JOIN bins b ON b.tenant = $1 AND b.warehouse = $4 AND b.code = l.bin
	 WHERE l.units > l.before AND NOT (l.status = 'damaged' AND b.kind = 'damaged') ORDER BY 1, 3, 4, 5`, tenantID, r.ID, document(r.ID), r.Warehouse)
	if err != nil {
		return nil, fmt.Errorf("goods of receipt %s: %w", r.ID, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l load, err error) {
		return l, row.Scan(&l.sku, &l.name, &l.lot, &l.status, &l.bin, &l.units, &l.of.grams, &l.of.mm3, &l.version)
	})
	if err != nil {
		return nil, fmt.Errorf("goods of receipt %s: %w", r.ID, err)
	}
	return list, nil
}

// distribute gives the goods that are picked most often their choice first. bins
// are sorted by their way from the depot.
func distribute(out *Proposals, loads []load, bins []*shelf) {
	slices.SortStableFunc(loads, func(a, b load) int { return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(b.picks, a.picks)) })
	for _, l := range loads {
		left := l.units
		refused := false
		for _, s := range choice(l, bins) {
			if left == 0 {
				break
			}
			if !s.suits(l.sku, l.lot) {
				refused = true
				continue
			}
			n := min(left, s.room(l.of))
			if n == 0 {
				continue
			}
			left -= n
			s.put(pile{SKU: l.sku, Lot: l.lot, Units: n, Grams: l.of.grams, MM3: l.of.mm3})
			p := Proposal{SKU: l.sku, Name: l.name, Lot: l.lot, Status: l.status, Class: l.class, Quantity: n, From: l.bin, To: s.code, Kind: s.kind, Version: l.version}
			if s.distance != farAway {
				p.DistanceMM = &s.distance
			}
			out.Data = append(out.Data, p)
		}
		if left > 0 {
			why := "no bin of the right kind has room for it"
			if refused {
				why = "the bins with room have a rule against what lies in them"
			}
			out.Unplaced = append(out.Unplaced, Unplaced{SKU: l.sku, Lot: l.lot, Status: l.status, Quantity: left, From: l.bin, Why: why})
		}
	}
}

// choice lists the bins for a load, the best first: kind by kind; of a kind those
// that have the same SKU and lot, then those that have the SKU, then the nearest
// of the class's part of the floor.
func choice(l load, bins []*shelf) []*shelf {
	var out []*shelf
	for _, kind := range kindsFor(l.status) {
		var same, alike, others []*shelf
		var all []*shelf
		for _, s := range bins {
			if s.kind == kind && s.code != l.bin {
				all = append(all, s)
			}
		}
		for _, s := range classOrder(l.class, all) {
			switch {
			case s.has(l.sku, l.lot):
				same = append(same, s)
			case s.hasSKU(l.sku):
				alike = append(alike, s)
			default:
				others = append(others, s)
			}
		}
		out = append(append(append(out, same...), alike...), others...)
	}
	return out
}

// classOrder begins where a class has its part of the floor: A at the depot, B
// behind the nearest fifth, C behind the nearer half. Behind the end come the bins
// before the part, the farthest first.
func classOrder(class string, sorted []*shelf) []*shelf {
	begin := 0
	switch class {
	case "B":
		begin = len(sorted) / 5
	case "C":
		begin = len(sorted) / 2
	}
	out := slices.Clone(sorted[begin:])
	for i := begin - 1; i >= 0; i-- {
		out = append(out, sorted[i])
	}
	return out
}
