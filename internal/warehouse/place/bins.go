package place

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/warehouse/floor"
)

// Bin is a bin as it is kept. Lengths are in millimetres, weights in grams.
type Bin struct {
	Warehouse string        `json:"warehouse"`
	Code      string        `json:"code"`
	Zone      string        `json:"zone"`
	Kind      floor.BinKind `json:"kind"`
	Aisle     string        `json:"aisle"`
	Rack      string        `json:"rack"`
	Level     string        `json:"level"`
	// Position is null for a bin that lies nowhere on a plan: it has a code and
	// nothing else, and no route leads to it.
	Position       *Position     `json:"position"`
	MaxUnits       int64         `json:"max_units"`
	MaxWeightGrams int64         `json:"max_weight_grams"`
	MaxVolumeMM3   int64         `json:"max_volume_mm3"`
	LotRule        floor.LotRule `json:"lot_rule"`
	Active         bool          `json:"active"`
	// Units is how many lie there, whatever their status, and FillPermille how
	// full they make it: by units, weight or volume, whichever is fullest. Null
	// without a limit.
	Units        int        `json:"units"`
	FillPermille *int       `json:"fill_permille"`
	Picks        int64      `json:"picks"`
	CountedAt    *time.Time `json:"counted_at"`
	CreatedAt    time.Time  `json:"created_at"`
	UpdatedAt    time.Time  `json:"updated_at"`
}

// Position is where a bin is, and where one stands to reach it.
type Position struct {
	XMM  int64      `json:"x_mm"`
	YMM  int64      `json:"y_mm"`
	ZMM  int64      `json:"z_mm"`
	Stop floor.Stop `json:"stop"`
}

// Pile is units of one SKU, lot and status in a bin.
type Pile struct {
	SKU       string  `json:"sku"`
	Lot       string  `json:"lot"`
	ExpiresOn *string `json:"expires_on"`
	// LotStatus is that of the whole lot; null where there is no lot.
	LotStatus *string   `json:"lot_status"`
	Status    string    `json:"status"`
	Quantity  int       `json:"quantity"`
	Allocated int       `json:"allocated"`
	Since     time.Time `json:"since"`
	// Version counts the changes of the pile; a move may demand the one that its
	// operator has seen.
	Version int64 `json:"version"`
}

// BinContents is a bin with what lies in it.
type BinContents struct {
	Bin
	Contents []Pile `json:"contents"`
}

// Filter narrows a list of bins; empty fields narrow nothing.
type Filter struct {
	Zone, Kind string
	// Text is part of a code, in any case.
	Text string
	// After is the code that the page before ended with.
	After string
	Limit int
}

// readBins reads bins of a warehouse by a condition on b, whose parameters go on
// from $3, with what lies in them.
func readBins(ctx context.Context, tx pgx.Tx, tenant, warehouse, condition string, args ...any) ([]Bin, error) {
	rows, err := tx.Query(ctx, `SELECT b.warehouse, b.code, b.zone, b.kind, b.aisle, b.rack, b.level, b.x_mm, b.y_mm, b.z_mm, b.stop_aisle, b.stop_y_mm, b.stop_node,
	    b.max_units, b.max_weight_grams, b.max_volume_mm3, b.lot_rule, b.active, b.picks, b.counted_at, b.created_at, b.updated_at
	  FROM bins b WHERE b.tenant = $1 AND b.warehouse = $2 AND `+condition, append([]any{tenant, warehouse}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	bins, err := pgx.CollectRows(rows, scanBin)
	if err != nil {
		return nil, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	return bins, weigh(ctx, tx, tenant, warehouse, bins)
}

// weigh says how full bins are by what lies in them and what the catalogue says of
// it; a product without a weight or a size weighs nothing. It is a statement of its
// own: joined to the bins it is slow where the database has no statistics yet, as
// after an import of thousands.
func weigh(ctx context.Context, tx pgx.Tx, tenant, warehouse string, bins []Bin) error {
	var codes []string // nil: all, which costs less than naming so many
	if len(bins) <= 1000 {
		codes = make([]string, len(bins))
	}
	at := make(map[string]*Bin, len(bins))
	for i := range bins {
		at[bins[i].Code] = &bins[i]
		if codes != nil {
			codes[i] = bins[i].Code
		}
	}
	rows, err := tx.Query(ctx, `SELECT s.bin, sum(s.quantity)::bigint, sum(s.quantity::bigint * p.weight_grams)::bigint, sum(s.quantity::float8 * p.length_mm * p.width_mm * p.height_mm)
	    FROM bin_stock s JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku
	   WHERE s.tenant = $1 AND s.warehouse = $2 AND s.quantity > 0 AND ($3::text[] IS NULL OR s.bin = ANY($3)) GROUP BY s.bin`, tenant, warehouse, codes)
	if err != nil {
		return fmt.Errorf("what lies in %s: %w", warehouse, err)
	}
	defer rows.Close()
	loads := map[string]load{}
	for rows.Next() {
		var code string
		var l load
		if err := rows.Scan(&code, &l.units, &l.grams, &l.mm3); err != nil {
			return fmt.Errorf("what lies in %s: %w", warehouse, err)
		}
		loads[code] = l
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("what lies in %s: %w", warehouse, err)
	}
	for code, b := range at {
		b.Units, b.FillPermille = int(loads[code].units), loads[code].fill(*b)
	}
	return nil
}

func scanBin(row pgx.CollectableRow) (Bin, error) {
	var b Bin
	var p Position
	var stopAisle *int
	var stopY *int64
	var node *string
	err := row.Scan(&b.Warehouse, &b.Code, &b.Zone, &b.Kind, &b.Aisle, &b.Rack, &b.Level, &p.XMM, &p.YMM, &p.ZMM, &stopAisle, &stopY, &node,
		&b.MaxUnits, &b.MaxWeightGrams, &b.MaxVolumeMM3, &b.LotRule, &b.Active, &b.Picks, &b.CountedAt, &b.CreatedAt, &b.UpdatedAt)
	if err != nil {
		return b, err
	}
	switch {
	case stopAisle != nil && stopY != nil:
		p.Stop = floor.Stop{Aisle: *stopAisle, YMM: *stopY}
		b.Position = &p
	case node != nil:
		p.Stop = floor.Stop{Node: *node}
		b.Position = &p
	}
	return b, nil
}

// load is what the contents of a bin come to.
type load struct {
	units, grams int64
	mm3          float64
}

// fill is the fullest of a bin's limits, in thousandths; nil when it has none.
func (l load) fill(b Bin) *int {
	var most *int
	for _, x := range []struct {
		has   float64
		limit int64
	}{{float64(l.units), b.MaxUnits}, {float64(l.grams), b.MaxWeightGrams}, {l.mm3, b.MaxVolumeMM3}} {
		if x.limit == 0 {
			continue
		}
		permille := int(min(x.has*1000/float64(x.limit), 1e9))
		if most == nil || permille > *most {
			most = &permille
		}
	}
	return most
}

// ListBins lists the bins of a warehouse by their codes, at most Limit of them.
// 404 when there is no such warehouse.
func ListBins(ctx context.Context, tx pgx.Tx, tenant, warehouse string, f Filter) ([]Bin, error) {
	if err := exists(ctx, tx, tenant, warehouse); err != nil {
		return nil, err
	}
	like := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.Text) + "%"
	return readBins(ctx, tx, tenant, warehouse, `($3 = '' OR b.zone = $3) AND ($4 = '' OR b.kind = $4) AND b.code ILIKE $5 AND b.code > $6 ORDER BY b.code LIMIT $7`,
		f.Zone, f.Kind, like, f.After, f.Limit)
}

// GetBin reads a bin and its contents, by SKU, lot and status. 404 when there is
// no such warehouse or bin.
func GetBin(ctx context.Context, tx pgx.Tx, tenant, warehouse, code string) (BinContents, error) {
	if err := exists(ctx, tx, tenant, warehouse); err != nil {
		return BinContents{}, err
	}
	var out BinContents
	bin, err := theBin(ctx, tx, tenant, warehouse, code)
	if err != nil {
		return out, err
	}
	out.Bin = bin
	rows, err := tx.Query(ctx, `SELECT s.sku, s.lot, l.expires_on, l.status, s.status, s.quantity, s.allocated, s.since, s.version
	    FROM bin_stock s LEFT JOIN lots l ON l.tenant = s.tenant AND l.sku = s.sku AND l.lot = s.lot
	   WHERE s.tenant = $1 AND s.warehouse = $2 AND s.bin = $3 AND s.quantity > 0 ORDER BY s.sku, s.lot, s.status`, tenant, warehouse, code)
	if err != nil {
		return out, fmt.Errorf("contents of bin %s: %w", code, err)
	}
	out.Contents, err = pgx.CollectRows(rows, scanPile)
	if err != nil {
		return out, fmt.Errorf("contents of bin %s: %w", code, err)
	}
	if out.Contents == nil {
		out.Contents = []Pile{}
	}
	return out, nil
}

// theBin reads one bin; 404 when it is not there.
func theBin(ctx context.Context, tx pgx.Tx, tenant, warehouse, code string) (Bin, error) {
	bins, err := readBins(ctx, tx, tenant, warehouse, `b.code = $3`, code)
	if err != nil {
		return Bin{}, err
	}
	if len(bins) == 0 {
		return Bin{}, problem.Missing("bin")
	}
	return bins[0], nil
}

func scanPile(row pgx.CollectableRow) (Pile, error) {
	var p Pile
	var expires *time.Time
	err := row.Scan(&p.SKU, &p.Lot, &expires, &p.LotStatus, &p.Status, &p.Quantity, &p.Allocated, &p.Since, &p.Version)
	p.ExpiresOn = day(expires)
	return p, err
}

// PutBin creates a bin or replaces what is known of it; created tells which. A
// bin without coordinates whose code the plan does not know is kept without a
// position. Coordinates and nodes need a plan, and must be reachable.
//
// 409 bin_not_empty when it is switched off, or becomes a bin of another kind
// that its units may not lie in, while units lie in it.
func PutBin(ctx context.Context, tx pgx.Tx, tenant, warehouse string, b floor.BinInput, active bool) (created bool, err error) {
	plan, _, err := lockPlan(ctx, tx, tenant, warehouse)
	if err != nil {
		return false, err
	}
	bin, err := locate(plan, b)
	if err != nil {
		return false, err
	}
	now, found, err := lockBin(ctx, tx, tenant, warehouse, b.Code)
	if err != nil {
		return false, err
	}
	if found {
		if err := mayBecome(now, bin.Kind, active); err != nil {
			return false, err
		}
	}
	return !found, write(ctx, tx, tenant, warehouse, []placed{bin}, active)
}

// kept is a bin as others may have left it.
type kept struct {
	code  string
	kind  floor.BinKind
	units int
}

// lockBin locks a bin against new units, as far as those that move them ask for
// the bin first, and tells what lies in it.
func lockBin(ctx context.Context, tx pgx.Tx, tenant, warehouse, code string) (kept, bool, error) {
	k := kept{code: code}
	err := tx.QueryRow(ctx, `SELECT kind FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = $3 FOR UPDATE`, tenant, warehouse, code).Scan(&k.kind)
	if none(err) {
		return k, false, nil
	}
	if err == nil {
		err = tx.QueryRow(ctx, `SELECT coalesce(sum(quantity), 0) FROM bin_stock WHERE tenant = $1 AND warehouse = $2 AND bin = $3`, tenant, warehouse, code).Scan(&k.units)
	}
	if err != nil {
		return k, false, fmt.Errorf("bin %s: %w", code, err)
	}
	return k, true, nil
}

// forSale are the kinds of bins whose units are chosen for orders.
var forSale = []floor.BinKind{floor.Pick, floor.Reserve, floor.Receiving}

func mayBecome(now kept, kind floor.BinKind, active bool) error {
	if now.units == 0 {
		return nil
	}
	refused := problem.New(problem.Conflict, "bin_not_empty", fmt.Sprintf("%d units lie in bin %s: move them first.", now.units, now.code)).With("units", now.units)
	if !active {
		return refused
	}
	if now.kind != kind && (!slices.Contains(forSale, now.kind) || !slices.Contains(forSale, kind)) {
		return refused
	}
	return nil
}

// placed is a bin that passed the checks, and whether it is anywhere.
type placed struct {
	floor.Bin
	nowhere bool
}

var zoneForm = regexp.MustCompile(`^[\p{L}\p{N}]([\p{L}\p{M}\p{N} ._/-]{0,38}[\p{L}\p{M}\p{N}._/-])?$`)

// locate checks a bin alone, against the plan when there is one.
func locate(plan *floor.Plan, b floor.BinInput) (placed, error) {
	given := b.XMM != nil || b.YMM != nil || b.ZMM != nil || b.Node != ""
	if plan == nil {
		var f problem.Fields
		if given {
			f.Add("x_mm", "no_plan", "the warehouse has no plan to place it on")
		}
		if b.Zone != "" && !zoneForm.MatchString(b.Zone) {
			f.Add("zone", "invalid", "1 to 40 letters, digits, spaces, dots, slashes, underscores and hyphens, a letter or digit first and no space last")
		}
		bare := b
		bare.Zone, bare.XMM, bare.YMM, bare.ZMM, bare.Node = "", nil, nil, nil, ""
		_, wrong := (&floor.Plan{Kind: floor.ByGraph}).Accept([]floor.BinInput{bare})
		f = append(f, faultsOf(wrong, "node")...)
		if err := f.Err(); err != nil {
			return placed{}, err
		}
		return somewhere(b), nil
	}
	bins, err := plan.Accept([]floor.BinInput{b})
	if err == nil {
		return placed{Bin: bins[0]}, nil
	}
	if given {
		return placed{}, rename(err, func(int) string { return "" })
	}
	if f := faultsOf(err, "x_mm", "node"); len(f) > 0 {
		return placed{}, f.Err()
	}
	return somewhere(b), nil
}

// faultsOf lists what is wrong with the one bin that was checked, but for the
// fields named when they are only missing.
func faultsOf(err error, butFor ...string) problem.Fields {
	p, ok := problem.As(err)
	if !ok {
		return nil
	}
	var f problem.Fields
	for _, fault := range p.Fields {
		fault.Field = strings.TrimPrefix(fault.Field, "bins[0].")
		if fault.Code != "required" || !slices.Contains(butFor, fault.Field) {
			f = append(f, fault)
		}
	}
	return f
}

// somewhere is a bin of which only what its owner says is known.
func somewhere(b floor.BinInput) placed {
	bin := floor.Bin{Code: b.Code, Zone: b.Zone, Kind: b.Kind, LotRule: b.LotRule,
		Capacity: floor.Capacity{MaxUnits: b.MaxUnits, MaxWeightGrams: b.MaxWeightGrams, MaxVolumeMM3: b.MaxVolumeMM3}}
	if bin.Kind == "" {
		bin.Kind = floor.Pick
	}
	if bin.LotRule == "" {
		bin.LotRule = floor.Mixed
	}
	if spot, ok := floor.ParseCode(b.Code); ok {
		bin.Aisle, bin.Rack, bin.Level = spot.Aisle, spot.Rack, spot.Level
	}
	return placed{Bin: bin, nowhere: true}
}

var itemForm = regexp.MustCompile(`^bins\[(\d+)\]\.?`)

// rename says in the faults of a refusal which bin is meant, where the plan
// counts them.
func rename(err error, name func(i int) string) error {
	p, ok := problem.As(err)
	if !ok {
		return err
	}
	out := *p
	out.Fields = nil
	for _, f := range p.Fields {
		if m := itemForm.FindStringSubmatch(f.Field); m != nil {
			i, err := strconv.Atoi(m[1])
			if err != nil {
				return fmt.Errorf("fault of bin %s: %w", m[1], err)
			}
			f.Field = name(i) + f.Field[len(m[0]):]
		}
		out.Fields = append(out.Fields, f)
	}
	if len(out.Fields) == 1 {
		out.Detail = out.Fields[0].Field + ": " + out.Fields[0].Message
	}
	return &out
}

// ImportBins writes bins that Plan.ReadCSV has accepted, all or none of them,
// and switches them on. planText is the plan as GetPlan gave it to the reader:
// 409 plan_changed when it is another by now. 409 bin_not_empty as in PutBin.
// It returns how many are new.
func ImportBins(ctx context.Context, tx pgx.Tx, tenant, warehouse string, planText json.RawMessage, bins []floor.Bin) (created int, err error) {
	_, now, err := lockPlan(ctx, tx, tenant, warehouse)
	if err != nil {
		return 0, err
	}
	if string(now) != string(planText) {
		return 0, problem.New(problem.Conflict, "plan_changed", "The warehouse got another plan while the file was read. Send the file again.")
	}
	existing, err := locked(ctx, tx, tenant, warehouse)
	if err != nil {
		return 0, err
	}
	list := make([]placed, 0, len(bins))
	for _, b := range bins {
		list = append(list, placed{Bin: b})
		e, there := existing[b.Code]
		if !there {
			created++
			continue
		}
		if err := mayBecome(kept{b.Code, e.Kind, e.Units}, b.Kind, true); err != nil {
			return 0, err
		}
	}
	return created, write(ctx, tx, tenant, warehouse, list, true)
}

// locked locks all bins of a warehouse and reads them by their codes.
func locked(ctx context.Context, tx pgx.Tx, tenant, warehouse string) (map[string]Bin, error) {
	if _, err := tx.Exec(ctx, `SELECT FROM bins WHERE tenant = $1 AND warehouse = $2 ORDER BY code FOR UPDATE`, tenant, warehouse); err != nil {
		return nil, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	list, err := readBins(ctx, tx, tenant, warehouse, `true`)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Bin, len(list))
	for _, b := range list {
		out[b.Code] = b
	}
	return out, nil
}

// atOnce bounds the parameters of one statement.
const atOnce = 5000

// write inserts bins, or replaces all that is known of them but their history.
func write(ctx context.Context, tx pgx.Tx, tenant, warehouse string, bins []placed, active bool) error {
	for part := range slices.Chunk(bins, atOnce) {
		if err := writePart(ctx, tx, tenant, warehouse, part, active); err != nil {
			return fmt.Errorf("write bins of %s: %w", warehouse, err)
		}
	}
	return nil
}

func writePart(ctx context.Context, tx pgx.Tx, tenant, warehouse string, bins []placed, active bool) error {
	n := len(bins)
	var codes, zones, kinds, aisles, racks, levels, rules []string
	nodes, stopAisles, stopYs := make([]*string, n), make([]*int, n), make([]*int64, n)
	var xs, ys, zs, units, weights, volumes []int64
	for i, b := range bins {
		rack := ""
		if b.Rack > 0 {
			rack = strconv.Itoa(b.Rack)
		}
		codes, zones, kinds, rules = append(codes, b.Code), append(zones, b.Zone), append(kinds, string(b.Kind)), append(rules, string(b.LotRule))
		aisles, racks, levels = append(aisles, b.Aisle), append(racks, rack), append(levels, b.Level)
		xs, ys, zs = append(xs, b.XMM), append(ys, b.YMM), append(zs, b.ZMM)
		units, weights, volumes = append(units, b.MaxUnits), append(weights, b.MaxWeightGrams), append(volumes, b.MaxVolumeMM3)
		switch {
		case b.nowhere:
		case b.Stop.Node != "":
			nodes[i] = &bins[i].Stop.Node
		default:
			stopAisles[i], stopYs[i] = &bins[i].Stop.Aisle, &bins[i].Stop.YMM
		}
	}
	_, err := tx.Exec(ctx, `INSERT INTO bins (tenant, warehouse, code, zone, kind, aisle, rack, level, x_mm, y_mm, z_mm, stop_aisle, stop_y_mm, stop_node, max_units, max_weight_grams, max_volume_mm3, lot_rule, active)
	  SELECT $1, $2, n.*, $3 FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::int[], $14::bigint[], $15::text[],
	    $16::int[], $17::bigint[], $18::bigint[], $19::text[]) n
	  ON CONFLICT (tenant, warehouse, code) DO UPDATE SET zone = excluded.zone, kind = excluded.kind, aisle = excluded.aisle, rack = excluded.rack, level = excluded.level,
	    x_mm = excluded.x_mm, y_mm = excluded.y_mm, z_mm = excluded.z_mm, stop_aisle = excluded.stop_aisle, stop_y_mm = excluded.stop_y_mm, stop_node = excluded.stop_node,
	    max_units = excluded.max_units, max_weight_grams = excluded.max_weight_grams, max_volume_mm3 = excluded.max_volume_mm3, lot_rule = excluded.lot_rule, active = excluded.active, updated_at = now()`,
		tenant, warehouse, active, codes, zones, kinds, aisles, racks, levels, xs, ys, zs, stopAisles, stopYs, nodes, units, weights, volumes, rules)
	return err
}
