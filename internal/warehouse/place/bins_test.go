package place_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/place"
)

func putPlan(t *testing.T, s *shoptest.Shop, text string, retire bool) (out place.Planned, refused *problem.Error) {
	t.Helper()
	refused = try(t, s, func(tx pgx.Tx) (err error) {
		out, err = place.PutPlan(t.Context(), tx, shoptest.Tenant, "SCL-1", plan(t, text), retire)
		return err
	})
	return out, refused
}

func putBin(t *testing.T, s *shoptest.Shop, b floor.BinInput, active bool) (isNew bool, refused *problem.Error) {
	t.Helper()
	refused = try(t, s, func(tx pgx.Tx) (err error) {
		isNew, err = place.PutBin(t.Context(), tx, shoptest.Tenant, "SCL-1", b, active)
		return err
	})
	return isNew, refused
}

func getBin(t *testing.T, s *shoptest.Shop, code string) (b place.BinContents) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		b, err = place.GetBin(t.Context(), tx, shoptest.Tenant, "SCL-1", code)
		return err
	})
	return b
}

func mm(n int64) *int64 { return &n }

func codes(p *problem.Error) map[string]string {
	out := map[string]string{}
	for _, f := range p.Fields {
		out[f.Field] = f.Code
	}
	return out
}

func TestPutPlan_WritesItsBinsAndAgainChangesNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	out, refused := putPlan(t, s, twoAisles, false)
	require.Nil(t, refused)
	require.Equal(t, place.Planned{Warehouse: "SCL-1", Generated: 16, New: 16, Retired: []string{}}, out)
	b := getBin(t, s, "A-01-B")
	require.Equal(t, floor.Reserve, b.Kind)
	require.Equal(t, "Ropa", b.Zone)
	require.Equal(t, "1", b.Rack)
	require.Equal(t, &place.Position{XMM: 750, YMM: 1500, ZMM: 1500, Stop: floor.Stop{Aisle: 0, YMM: 1500}}, b.Position)
	require.Equal(t, 0, *b.FillPermille)

	before := shoptest.List[string](t, s, `SELECT xmin::text FROM bins ORDER BY code`)
	out, refused = putPlan(t, s, twoAisles, false)
	require.Nil(t, refused)
	require.Equal(t, 0, out.New)
	require.Equal(t, before, shoptest.List[string](t, s, `SELECT xmin::text FROM bins ORDER BY code`), "no row was written again")
}

func TestPutPlan_NamesBinsInUseThatCouldNotBeReachedAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	_, refused := putPlan(t, s, twoAisles, false)
	require.Nil(t, refused)
	_, refused = putBin(t, s, floor.BinInput{Code: "JAULA", XMM: mm(5600), YMM: mm(2000)}, true)
	require.Nil(t, refused)
	_, refused = putBin(t, s, floor.BinInput{Code: "CAJON"}, true)
	require.Nil(t, refused)
	moved(t, s, place.Moving{SKU: "A", Quantity: 5, From: spot("", ""), To: spot("B-01-A", ""), Reason: "put_away"})

	oneAisle := strings.Replace(twoAisles, `"count":2`, `"count":1`, 1)
	_, refused = putPlan(t, s, oneAisle, false)
	require.Equal(t, "bins_out_of_plan", refused.Code)
	require.Equal(t, problem.Conflict, refused.Kind)
	require.Len(t, refused.Fields, 9, "the 8 of the aisle and the one that was put by hand")
	require.Equal(t, "unreachable", codes(refused)["bins.JAULA.x_mm"])
	require.Equal(t, "unreachable", codes(refused)["bins.B-04-B.x_mm"])

	_, refused = putPlan(t, s, oneAisle, true)
	require.Equal(t, map[string]string{"bins.B-01-A.x_mm": "unreachable"}, codes(refused), "one with stock is never retired")
	require.Equal(t, 18, shoptest.Value[int](t, s, `SELECT count(*)::int FROM bins WHERE active`))

	moved(t, s, place.Moving{SKU: "A", Quantity: 5, From: spot("B-01-A", ""), To: spot("A-01-A", ""), Reason: "move"})
	out, refused := putPlan(t, s, oneAisle, true)
	require.Nil(t, refused)
	require.Len(t, out.Retired, 9)
	require.Equal(t, 0, out.Kept, "CAJON lies nowhere and is left alone")
	require.False(t, getBin(t, s, "JAULA").Active)
	require.Nil(t, getBin(t, s, "JAULA").Position)
	require.True(t, getBin(t, s, "CAJON").Active)
	require.Equal(t, 9, shoptest.Value[int](t, s, `SELECT count(*)::int FROM bins WHERE active`))
	s.CheckBooks(t)
}

func TestPutPlan_FollowsTheNewPlanAndKeepsWhatTheOwnerSet(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	_, refused := putBin(t, s, floor.BinInput{Code: "A-02-A", MaxUnits: 3, LotRule: floor.OneSKU}, true)
	require.Nil(t, refused)
	require.Nil(t, getBin(t, s, "A-02-A").Position, "there is no plan yet")
	_, refused = putPlan(t, s, twoAisles, false)
	require.Nil(t, refused)
	require.NotNil(t, getBin(t, s, "A-02-A").Position)
	require.Equal(t, int64(3), getBin(t, s, "A-02-A").MaxUnits)
	_, refused = putBin(t, s, floor.BinInput{Code: "A-01-A", Zone: "Ropa", Kind: floor.Quarantine, MaxUnits: 10}, true)
	require.Nil(t, refused)

	out, refused := putPlan(t, s, strings.NewReplacer(`"max_units":10`, `"max_units":25`, `"first_x_mm":2000`, `"first_x_mm":2500`).Replace(twoAisles), false)
	require.Nil(t, refused)
	require.Equal(t, 0, out.New)
	a := getBin(t, s, "A-01-A")
	require.Equal(t, floor.Quarantine, a.Kind, "what its owner set stays")
	require.Equal(t, int64(25), a.MaxUnits, "what it had of the plan follows")
	require.Equal(t, int64(1250), a.Position.XMM)
	require.Equal(t, int64(3), getBin(t, s, "A-02-A").MaxUnits)
}

func TestPutBin_ChecksAgainstThePlanOrKeepsACodeAlone(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	isNew, refused := putBin(t, s, floor.BinInput{Code: "ESTANTE-1", Zone: "Sala"}, true)
	require.Nil(t, refused)
	require.True(t, isNew)
	b := getBin(t, s, "ESTANTE-1")
	require.Nil(t, b.Position)
	require.Nil(t, b.FillPermille)
	require.Equal(t, floor.Pick, b.Kind)
	require.Equal(t, floor.Mixed, b.LotRule)
	_, refused = putBin(t, s, floor.BinInput{Code: "no good", Zone: " ", Kind: "x", LotRule: "y", MaxUnits: -1, XMM: mm(1)}, true)
	require.Equal(t, map[string]string{"code": "invalid", "zone": "invalid", "kind": "invalid", "lot_rule": "invalid", "max_units": "out_of_range", "x_mm": "no_plan"}, codes(refused))

	_, refused = putPlan(t, s, twoAisles, false)
	require.Nil(t, refused)
	isNew, refused = putBin(t, s, floor.BinInput{Code: "ESTANTE-1", Zone: "Ropa"}, true)
	require.Nil(t, refused)
	require.False(t, isNew)
	_, refused = putBin(t, s, floor.BinInput{Code: "ESTANTE-1", Zone: "Sala"}, true)
	require.Equal(t, map[string]string{"zone": "unknown_zone"}, codes(refused))
	_, refused = putBin(t, s, floor.BinInput{Code: "A-09-A"}, true)
	require.Equal(t, map[string]string{"code": "unreachable"}, codes(refused))
	_, refused = putBin(t, s, floor.BinInput{Code: "FAR", XMM: mm(90000), YMM: mm(2000)}, true)
	require.Equal(t, map[string]string{"x_mm": "unreachable"}, codes(refused))
	_, refused = putBin(t, s, floor.BinInput{Code: "PACK-1", Kind: floor.Packing, XMM: mm(2000), YMM: mm(0)}, true)
	require.Nil(t, refused)
	require.NotNil(t, getBin(t, s, "PACK-1").Position)

	refused = try(t, s, func(tx pgx.Tx) error {
		_, err := place.PutBin(t.Context(), tx, shoptest.Tenant, "NO", floor.BinInput{Code: "X"}, true)
		return err
	})
	require.Equal(t, problem.NotFound, refused.Kind)
}

func TestPutBin_OneWithStockIsNotSwitchedOffNorTurnedIntoAnother(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	s.Bin(t, "SCL-1", "P-1", "pick")
	moved(t, s, place.Moving{SKU: "A", Quantity: 2, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"})
	_, refused := putBin(t, s, floor.BinInput{Code: "P-1"}, false)
	require.Equal(t, "bin_not_empty", refused.Code)
	require.Equal(t, 2, refused.More["units"])
	_, refused = putBin(t, s, floor.BinInput{Code: "P-1", Kind: floor.Damaged}, true)
	require.Equal(t, "bin_not_empty", refused.Code)
	_, refused = putBin(t, s, floor.BinInput{Code: "P-1", Kind: floor.Reserve, MaxUnits: 4}, true)
	require.Nil(t, refused)
	require.Equal(t, 500, *getBin(t, s, "P-1").FillPermille)
	moved(t, s, place.Moving{SKU: "A", Quantity: 2, From: spot("P-1", ""), To: spot("", ""), Reason: "move"})
	_, refused = putBin(t, s, floor.BinInput{Code: "P-1"}, false)
	require.Nil(t, refused)
	_, refused = move(t, s, place.Moving{SKU: "A", Quantity: 2, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away", Force: true})
	require.Equal(t, "bin_inactive", refused.Code)
}

func TestImportBins_WritesAllOrNoneAgainstThePlanThatWasRead(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	_, refused := putPlan(t, s, twoAisles, false)
	require.Nil(t, refused)
	var text json.RawMessage
	var p *floor.Plan
	s.Do(t, func(tx pgx.Tx) (err error) {
		p, text, err = place.GetPlan(t.Context(), tx, shoptest.Tenant, "SCL-1")
		return err
	})
	bins, err := p.Accept([]floor.BinInput{{Code: "A-01-A", MaxUnits: 7}, {Code: "PACK-1", Kind: floor.Packing, XMM: mm(2000), YMM: mm(0)}})
	require.NoError(t, err)
	write := func(text json.RawMessage) (created int, refused *problem.Error) {
		refused = try(t, s, func(tx pgx.Tx) (err error) {
			created, err = place.ImportBins(t.Context(), tx, shoptest.Tenant, "SCL-1", text, bins)
			return err
		})
		return created, refused
	}
	created, refused := write(text)
	require.Nil(t, refused)
	require.Equal(t, 1, created)
	require.Equal(t, int64(7), getBin(t, s, "A-01-A").MaxUnits)
	require.Equal(t, 17, shoptest.Value[int](t, s, `SELECT count(*)::int FROM bins`), "others stay")
	_, refused = write(json.RawMessage(`{}`))
	require.Equal(t, "plan_changed", refused.Code)

	moved(t, s, place.Moving{SKU: "A", Quantity: 5, From: spot("", ""), To: spot("A-01-A", ""), Reason: "put_away"})
	bins[0].Kind, bins[1].MaxUnits = floor.Damaged, 9
	_, refused = write(text)
	require.Equal(t, "bin_not_empty", refused.Code)
	require.Equal(t, int64(0), getBin(t, s, "PACK-1").MaxUnits)
}

func TestListBins_FiltersAndGoesOnAfterACode(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	_, refused := putPlan(t, s, twoAisles, false)
	require.Nil(t, refused)
	s.Bin(t, "SCL-1", "x_1", "packing")
	list := func(f place.Filter) (out []string) {
		if f.Limit == 0 {
			f.Limit = 100
		}
		s.Do(t, func(tx pgx.Tx) error {
			bins, err := place.ListBins(t.Context(), tx, shoptest.Tenant, "SCL-1", f)
			for _, b := range bins {
				out = append(out, b.Code)
			}
			return err
		})
		return out
	}
	require.Len(t, list(place.Filter{}), 17)
	require.Len(t, list(place.Filter{Zone: "Ropa"}), 8)
	require.Equal(t, []string{"A-01-B", "A-02-B", "A-03-B", "A-04-B"}, list(place.Filter{Zone: "Ropa", Kind: "reserve"}))
	require.Equal(t, []string{"x_1"}, list(place.Filter{Text: "X_"}), "an underscore is one, and case does not count")
	require.Equal(t, []string{"A-01-B", "A-02-A"}, list(place.Filter{After: "A-01-A", Limit: 2}))
	require.Equal(t, problem.NotFound, try(t, s, func(tx pgx.Tx) error {
		_, err := place.ListBins(t.Context(), tx, shoptest.Tenant, "NO", place.Filter{Limit: 1})
		return err
	}).Kind)
}

func TestChart_DrawsWhatLiesWhereAndIsRefusedWithoutAPlan(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 20)
	draw := func(ctx context.Context, mode floor.Mode, lang string) (svg string, refused *problem.Error) {
		refused = try(t, s, func(tx pgx.Tx) error {
			b, err := place.Chart(ctx, tx, shoptest.Tenant, "SCL-1", mode, lang, nil, nil)
			svg = string(b)
			return err
		})
		return svg, refused
	}
	_, refused := draw(t.Context(), "", "")
	require.Equal(t, problem.NotFound, refused.Kind)
	_, refused = putPlan(t, s, twoAisles, false)
	require.Nil(t, refused)
	s.Bin(t, "SCL-1", "NOWHERE", "pick")
	moved(t, s, place.Moving{SKU: "A", Quantity: 12, From: spot("", ""), To: spot("A-01-A", ""), Reason: "put_away", Force: true})
	s.Exec(t, `UPDATE bins SET picks = 41 WHERE code = 'A-01-A'`)
	svg, refused := draw(t.Context(), floor.ByFill, "en")
	require.Nil(t, refused)
	for _, want := range []string{"A: 12", "120 %", "Picks: 41", "Warehouse map", "16 bins"} {
		require.Contains(t, svg, want)
	}
	require.NotContains(t, svg, "NOWHERE")
	svg, refused = draw(t.Context(), floor.ByPicks, "es")
	require.Nil(t, refused)
	require.Contains(t, svg, "Retiros")
}

func TestBins_FillIsTheFullestOfTheLimits(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 20) // 100 g
	s.Exec(t, `UPDATE products SET length_mm = 10, width_mm = 10, height_mm = 10`)
	for code, limits := range map[string][3]int64{"UNITS": {20, 5000, 100_000}, "WEIGHT": {100, 1000, 1_000_000}, "VOLUME": {100, 100_000, 10_000}} {
		_, refused := putBin(t, s, floor.BinInput{Code: code, MaxUnits: limits[0], MaxWeightGrams: limits[1], MaxVolumeMM3: limits[2]}, true)
		require.Nil(t, refused)
		moved(t, s, place.Moving{SKU: "A", Quantity: 5, From: spot("", ""), To: spot(code, ""), Reason: "put_away"})
	}
	got := map[string]int{}
	for _, code := range []string{"UNITS", "WEIGHT", "VOLUME"} {
		got[code] = *getBin(t, s, code).FillPermille
	}
	require.Equal(t, map[string]int{"UNITS": 250, "WEIGHT": 500, "VOLUME": 500}, got)
	for _, code := range []string{"WEIGHT", "VOLUME"} {
		_, refused := move(t, s, place.Moving{SKU: "A", Quantity: 6, From: spot("UNITS", ""), To: spot(code, ""), Reason: "move"})
		require.Equal(t, "not_in_bin", refused.Code)
		moved(t, s, place.Moving{SKU: "A", Quantity: 5, From: spot("", ""), To: spot(code, ""), Reason: "put_away"})
		_, refused = move(t, s, place.Moving{SKU: "A", Quantity: 1, From: spot("UNITS", ""), To: spot(code, ""), Reason: "move"})
		require.Equal(t, "bin_full", refused.Code)
		moved(t, s, place.Moving{SKU: "A", Quantity: 5, From: spot(code, ""), To: spot("", ""), Reason: "move"})
	}
	s.CheckBooks(t)
}
