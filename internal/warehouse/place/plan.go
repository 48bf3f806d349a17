package place

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/warehouse/floor"
)

// lockPlan locks a warehouse against another plan and reads the one it has, as
// it is written too; both are nil when there is none.
func lockPlan(ctx context.Context, tx pgx.Tx, tenant, warehouse string) (*floor.Plan, json.RawMessage, error) {
	return readPlan(ctx, tx, tenant, warehouse, ` FOR NO KEY UPDATE`)
}

// GetPlan reads the plan of a warehouse, as it is written too. 404 when there is
// no such warehouse, or none of its plan.
func GetPlan(ctx context.Context, tx pgx.Tx, tenant, warehouse string) (*floor.Plan, json.RawMessage, error) {
	p, text, err := readPlan(ctx, tx, tenant, warehouse, "")
	if err == nil && p == nil {
		err = problem.Missing("plan")
	}
	return p, text, err
}

func readPlan(ctx context.Context, tx pgx.Tx, tenant, warehouse, lock string) (*floor.Plan, json.RawMessage, error) {
	var text []byte
	err := tx.QueryRow(ctx, `SELECT plan FROM warehouses WHERE tenant = $1 AND code = $2`+lock, tenant, warehouse).Scan(&text)
	if none(err) {
		return nil, nil, problem.Missing("warehouse")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("plan of %s: %w", warehouse, err)
	}
	if text == nil {
		return nil, nil, nil
	}
	p := new(floor.Plan)
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(p); err != nil {
		return nil, nil, fmt.Errorf("plan of %s: %w", warehouse, err)
	}
	return p, text, nil
}

// Planned says what a new plan did to the bins.
type Planned struct {
	Warehouse string `json:"warehouse"`
	// Generated bins come from the plan's racks, New are those of them that were
	// not there before.
	Generated int `json:"generated"`
	New       int `json:"new"`
	// Kept bins are in use and come from elsewhere.
	Kept int `json:"kept"`
	// Retired are empty bins that were switched off because nobody could reach
	// them any more.
	Retired []string `json:"retired"`
}

// PutPlan gives a warehouse its plan, or another one, and writes the bins that
// the plan generates. What the owner has said of a generated bin by itself stays
// (kind, zone, limits, lot rule, position); what it had from the plan before
// follows the new one.
//
// 409 bins_out_of_plan when bins that are in use could no longer be reached: all
// of them are named and nothing changes. With retire, empty ones are switched
// off instead. No bin is ever deleted. The same plan again changes nothing.
func PutPlan(ctx context.Context, tx pgx.Tx, tenant, warehouse string, p *floor.Plan, retire bool) (Planned, error) {
	before, _, err := lockPlan(ctx, tx, tenant, warehouse)
	if err != nil {
		return Planned{}, err
	}
	existing, err := locked(ctx, tx, tenant, warehouse)
	if err != nil {
		return Planned{}, err
	}
	out := Planned{Warehouse: warehouse, Retired: []string{}}
	planned, was := byCode(p.Bins()), map[string]floor.Bin{}
	if before != nil {
		was = byCode(before.Bins())
	}
	out.Generated = len(planned)
	var keep []floor.BinInput
	for _, e := range existing {
		old, oldPlan := was[e.Code]
		g, inPlan := planned[e.Code]
		switch {
		case inPlan:
			keep = append(keep, merge(e, old, oldPlan, g))
		case !e.Active || e.Position == nil:
		default:
			keep = append(keep, e.input())
			out.Kept++
		}
	}
	slices.SortFunc(keep, func(a, b floor.BinInput) int { return strings.Compare(a.Code, b.Code) })
	mayRetire := func(code string) bool {
		_, inPlan := planned[code]
		return retire && !inPlan && existing[code].Units == 0
	}
	fits, lost, err := accept(p, keep, mayRetire)
	if err != nil {
		return Planned{}, err
	}
	out.Retired = append(out.Retired, lost...)
	out.Kept -= len(lost)
	var fresh []placed
	for _, b := range p.Bins() {
		if _, there := existing[b.Code]; !there {
			fresh = append(fresh, placed{Bin: b})
		}
	}
	out.New = len(fresh)
	text, err := json.Marshal(p)
	if err != nil {
		return Planned{}, fmt.Errorf("plan of %s: %w", warehouse, err)
	}
	if _, err := tx.Exec(ctx, `UPDATE warehouses SET plan = $3, updated_at = now() WHERE tenant = $1 AND code = $2 AND plan IS DISTINCT FROM $3`, tenant, warehouse, text); err != nil {
		return Planned{}, fmt.Errorf("plan of %s: %w", warehouse, err)
	}
	// A bin that is switched off and not of the new plan has no place on it.
	if _, err := tx.Exec(ctx, `UPDATE bins SET active = false, stop_aisle = NULL, stop_y_mm = NULL, stop_node = NULL, updated_at = now()
	   WHERE tenant = $1 AND warehouse = $2 AND (code = ANY($3) OR NOT active AND NOT code = ANY($4) AND (stop_aisle IS NOT NULL OR stop_node IS NOT NULL))`,
		tenant, warehouse, out.Retired, codesOf(fits)); err != nil {
		return Planned{}, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	var on, off []placed
	for _, b := range fits {
		if e := existing[b.Code]; e.same(b) {
			continue
		} else if e.Active {
			on = append(on, placed{Bin: b})
		} else {
			off = append(off, placed{Bin: b})
		}
	}
	for _, part := range []struct {
		bins   []placed
		active bool
	}{{fresh, true}, {on, true}, {off, false}} {
		if err := write(ctx, tx, tenant, warehouse, part.bins, part.active); err != nil {
			return Planned{}, err
		}
	}
	return out, nil
}

func byCode(bins []floor.Bin) map[string]floor.Bin {
	out := make(map[string]floor.Bin, len(bins))
	for _, b := range bins {
		out[b.Code] = b
	}
	return out
}

func codesOf(bins []floor.Bin) []string {
	out := make([]string, len(bins))
	for i, b := range bins {
		out[i] = b.Code
	}
	return out
}

// input is what would make the bin again.
func (b Bin) input() floor.BinInput {
	in := floor.BinInput{Code: b.Code, Zone: b.Zone, Kind: b.Kind, MaxUnits: b.MaxUnits, MaxWeightGrams: b.MaxWeightGrams, MaxVolumeMM3: b.MaxVolumeMM3, LotRule: b.LotRule}
	if p := b.Position; p != nil {
		x, y, z := p.XMM, p.YMM, p.ZMM
		in.XMM, in.YMM, in.ZMM, in.Node = &x, &y, &z, p.Stop.Node
	}
	return in
}

// same tells whether a bin is already what a plan makes of it.
func (b Bin) same(f floor.Bin) bool {
	rack := ""
	if f.Rack > 0 {
		rack = fmt.Sprint(f.Rack)
	}
	return b.Position != nil && *b.Position == Position{f.XMM, f.YMM, f.ZMM, f.Stop} && b.Zone == f.Zone && b.Kind == f.Kind && b.LotRule == f.LotRule &&
		b.Aisle == f.Aisle && b.Rack == rack && b.Level == f.Level && b.MaxUnits == f.MaxUnits && b.MaxWeightGrams == f.MaxWeightGrams && b.MaxVolumeMM3 == f.MaxVolumeMM3
}

// merge is a bin that the new plan generates and that exists: what it has from
// the plan before follows the new one.
func merge(e Bin, old floor.Bin, hadOld bool, g floor.Bin) floor.BinInput {
	in := e.input()
	if e.Position == nil || hadOld && e.Position.XMM == old.XMM && e.Position.YMM == old.YMM && e.Position.ZMM == old.ZMM {
		// The plan finds it by its code.
		in.XMM, in.YMM, in.ZMM, in.Node = nil, nil, nil, ""
	}
	if !hadOld {
		return in
	}
	if e.Zone == old.Zone {
		in.Zone = g.Zone
	}
	// Units may lie where the new plan wants another kind; those two hold the same.
	if e.Kind == old.Kind {
		in.Kind = g.Kind
	}
	if e.LotRule == old.LotRule {
		in.LotRule = g.LotRule
	}
	if (floor.Capacity{MaxUnits: e.MaxUnits, MaxWeightGrams: e.MaxWeightGrams, MaxVolumeMM3: e.MaxVolumeMM3}) == old.Capacity {
		in.MaxUnits, in.MaxWeightGrams, in.MaxVolumeMM3 = g.MaxUnits, g.MaxWeightGrams, g.MaxVolumeMM3
	}
	return in
}

// accept tries bins against a plan: those that fit, and the codes of those that
// do not and may be retired. Whatever else does not fit is a refusal.
func accept(p *floor.Plan, keep []floor.BinInput, mayRetire func(code string) bool) (fits []floor.Bin, lost []string, err error) {
	if fits, err = p.Accept(keep); err == nil {
		return fits, nil, nil
	}
	var stay []floor.BinInput
	for _, b := range keep {
		// One by one: a list of faults ends at a hundred.
		if mayRetire(b.Code) {
			if _, wrong := p.Accept([]floor.BinInput{b}); wrong != nil {
				lost = append(lost, b.Code)
				continue
			}
		}
		stay = append(stay, b)
	}
	if fits, err = p.Accept(stay); err == nil {
		return fits, lost, nil
	}
	wrong, ok := problem.As(rename(err, func(i int) string { return "bins." + stay[i].Code + "." }))
	if !ok {
		return nil, nil, err
	}
	return nil, nil, &problem.Error{Kind: problem.Conflict, Code: "bins_out_of_plan", Detail: "The plan does not fit bins that are in use: " + wrong.Detail, Fields: wrong.Fields}
}
