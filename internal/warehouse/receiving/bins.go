package receiving

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/route"
)

// size is what one unit takes: grams and cubic millimetres. Zero is not known and
// bounds nothing.
type size struct{ grams, mm3 int64 }

// pile is what lies in a bin of a SKU and lot.
type pile struct {
	SKU, Lot string
	Units    int
	Grams    int64 // of a unit
	MM3      int64
}

// shelf is a bin as put-away sees it.
type shelf struct {
	code, kind, rule              string
	maxUnits, maxGrams, maxMM3    int64
	usedUnits, usedGrams, usedMM3 int64
	stopAisle                     *int
	stopY                         *int64
	stopNode                      *string
	distance                      int64 // mm from the depot; farAway when nobody knows
	piles                         []pile
}

const farAway = math.MaxInt64

// room is how many more units of such a size the bin may hold.
func (s *shelf) room(of size) int {
	room := int64(mostUnits)
	limit := func(most, used, each int64) {
		if most > 0 && each > 0 {
			room = min(room, max(0, most-used)/each)
		}
	}
	limit(s.maxUnits, s.usedUnits, 1)
	limit(s.maxGrams, s.usedGrams, of.grams)
	limit(s.maxMM3, s.usedMM3, of.mm3)
	return int(room)
}

// suits reports whether the bin's rule lets a SKU and lot lie with what is there.
func (s *shelf) suits(sku, lot string) bool {
	for _, p := range s.piles {
		switch {
		case s.rule == string(floor.OneSKU) && p.SKU != sku,
			s.rule == string(floor.OneLot) && p.SKU == sku && p.Lot != lot:
			return false
		}
	}
	return true
}

func (s *shelf) has(sku, lot string) bool {
	return slices.ContainsFunc(s.piles, func(p pile) bool { return p.SKU == sku && p.Lot == lot })
}

func (s *shelf) hasSKU(sku string) bool {
	return slices.ContainsFunc(s.piles, func(p pile) bool { return p.SKU == sku })
}

// put adds units, or takes them away when they are below zero.
func (s *shelf) put(p pile) {
	at := slices.IndexFunc(s.piles, func(there pile) bool { return there.SKU == p.SKU && there.Lot == p.Lot })
	switch {
	case at < 0:
		s.piles = append(s.piles, p)
	case s.piles[at].Units+p.Units > 0:
		s.piles[at].Units += p.Units
	default:
		s.piles = slices.Delete(s.piles, at, at+1)
	}
	s.usedUnits += int64(p.Units)
	s.usedGrams += int64(p.Units) * p.Grams
	s.usedMM3 += int64(p.Units) * p.MM3
}

// shelves reads the bins in use of some kinds, and those of some codes, with what
// lies in them.
func shelves(ctx context.Context, tx pgx.Tx, tenantID, warehouse string, kinds []string, codes ...string) ([]*shelf, error) {
	rows, err := tx.Query(ctx, `SELECT code, kind, lot_rule, max_units, max_weight_grams, max_volume_mm3, stop_aisle, stop_y_mm, stop_node FROM bins
	  WHERE tenant = $1 AND warehouse = $2 AND active AND (kind = ANY($3) OR code = ANY($4)) ORDER BY code`, tenantID, warehouse, kinds, codes)
	if err != nil {
		return nil, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*shelf, error) {
		s := &shelf{distance: farAway}
		return s, row.Scan(&s.code, &s.kind, &s.rule, &s.maxUnits, &s.maxGrams, &s.maxMM3, &s.stopAisle, &s.stopY, &s.stopNode)
	})
	if err != nil {
		return nil, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	byCode := make(map[string]*shelf, len(list))
	for _, s := range list {
		byCode[s.code] = s
	}
	rows, err = tx.Query(ctx, `SELECT s.bin, s.sku, s.lot, sum(s.quantity)::int, p.weight_grams, p.length_mm::bigint * p.width_mm * p.height_mm
	  FROM bin_stock s JOIN bins b ON b.tenant = s.tenant AND b.warehouse = s.warehouse AND b.code = s.bin JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku
	  WHERE s.tenant = $1 AND s.warehouse = $2 AND b.active AND (b.kind = ANY($3) OR b.code = ANY($4)) AND s.quantity > 0 GROUP BY 1, 2, 3, 5, 6`, tenantID, warehouse, kinds, codes)
	if err != nil {
		return nil, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	var bin string
	var p pile
	_, err = pgx.ForEachRow(rows, []any{&bin, &p.SKU, &p.Lot, &p.Units, &p.Grams, &p.MM3}, func() error {
		// A bin that was made between the two statements is missing.
		if s := byCode[bin]; s != nil {
			s.put(p)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	return list, nil
}

// measure gives each bin its way from the depot where the warehouse has a plan,
// and sorts them by it; bins that nobody can measure are last, by their code.
func measure(ctx context.Context, tx pgx.Tx, tenantID, warehouse string, list []*shelf) error {
	var body []byte
	if err := tx.QueryRow(ctx, `SELECT plan FROM warehouses WHERE tenant = $1 AND code = $2`, tenantID, warehouse).Scan(&body); err != nil {
		return fmt.Errorf("plan of %s: %w", warehouse, err)
	}
	if body != nil {
		plan, err := floor.ParsePlan(body)
		if err != nil {
			return fmt.Errorf("plan of %s: %w", warehouse, err)
		}
		if err := walkTo(plan, list); err != nil {
			return fmt.Errorf("plan of %s: %w", warehouse, err)
		}
	}
	slices.SortFunc(list, func(a, b *shelf) int {
		switch {
		case a.distance < b.distance:
			return -1
		case a.distance > b.distance:
			return 1
		}
		return strings.Compare(a.code, b.code)
	})
	return nil
}

func walkTo(plan *floor.Plan, list []*shelf) error {
	if plan.Kind == floor.ByAisles {
		a := &route.Aisles{X: plan.AisleX(), Cross: plan.CrossY(), Depot: route.Depot{Cross: plan.Depot.Cross, X: plan.Depot.XMM}}
		if err := a.Check(); err != nil {
			return err
		}
		for _, s := range list {
			if s.stopAisle == nil {
				continue
			}
			// A bin that an older plan placed elsewhere stays unmeasured.
			if way, err := a.FromDepot(route.Stop{Aisle: *s.stopAisle, Y: *s.stopY}); err == nil {
				s.distance = way
			}
		}
		return nil
	}
	nodes := make([]route.Node, len(plan.Nodes))
	for i, n := range plan.Nodes {
		nodes[i] = route.Node{Name: n.Name, At: route.Point{X: n.XMM, Y: n.YMM}}
	}
	ways := plan.Ways()
	edges := make([]route.Edge, len(ways))
	for i, w := range ways {
		edges[i] = route.Edge{A: w.From, B: w.To, Length: w.LengthMM}
	}
	g, err := route.NewGraph(nodes, edges, plan.Depot.Node)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.stopNode == nil {
			continue
		}
		if way, err := g.FromDepot(*s.stopNode); err == nil {
			s.distance = way
		}
	}
	return nil
}
