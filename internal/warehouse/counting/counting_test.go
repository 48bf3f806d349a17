package counting_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/id"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/counting"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const scl = "SCL-1"

// floor is a shop with goods in bins and the people who count them.
type floor struct {
	*shoptest.Shop
	t testing.TB
}

// newFloor has five units of A and three of B in bin P-1, and an empty bin P-2.
func newFloor(t testing.TB) *floor {
	t.Helper()
	f := &floor{Shop: shoptest.New(t), t: t}
	f.Product(t, "A", 1000)
	f.Product(t, "B", 2000)
	f.Bin(t, scl, "P-1", "pick")
	f.Bin(t, scl, "P-2", "pick")
	f.move("A", 5, nil, stock.In("P-1", stock.Available))
	f.move("B", 3, nil, stock.In("P-1", stock.Available))
	return f
}

func person(name string) stock.By { return stock.By{Person: name, KeyID: "k"} }

func (f *floor) move(sku string, units int, from, to *stock.Spot, change ...func(*stock.BinMovement)) {
	f.t.Helper()
	m := stock.BinMovement{SKU: sku, Warehouse: scl, Quantity: units, From: from, To: to, Reason: "receipt", Document: "test:1", By: person("bodega")}
	for _, c := range change {
		c(&m)
	}
	f.Do(f.t, func(tx pgx.Tx) error {
		_, err := stock.Move(f.t.Context(), tx, shoptest.Tenant, m)
		return err
	})
}

func number(serial string) func(*stock.BinMovement) {
	return func(m *stock.BinMovement) { m.Serial = serial }
}

func ofLot(lot string) func(*stock.BinMovement) {
	return func(m *stock.BinMovement) { m.Lot = lot }
}

// count makes a count and returns the task of the first of its bins.
func (f *floor) count(change ...func(*counting.Request)) counting.Task {
	f.t.Helper()
	r := counting.Request{Warehouse: scl, Reason: "miscount", Selection: counting.Selection{Bins: []string{"P-1"}}}
	for _, c := range change {
		c(&r)
	}
	var tasks []counting.Task
	f.Do(f.t, func(tx pgx.Tx) error {
		d, err := counting.Create(f.t.Context(), tx, shoptest.Tenant, id.New(), r, person("jefa"))
		if err != nil {
			return err
		}
		tasks, err = counting.Tasks(f.t.Context(), tx, shoptest.Tenant, counting.TaskFilter{CountID: d.ID, Limit: 10})
		return err
	})
	require.NotEmpty(f.t, tasks)
	return tasks[0]
}

func tolerant(units int) func(*counting.Request) {
	return func(r *counting.Request) { r.ToleranceUnits = &units }
}

func once(r *counting.Request) { off := false; r.Recount = &off }

func saw(sku string, units int) counting.Line { return counting.Line{SKU: sku, Quantity: &units} }

func (f *floor) begin(taskID, who string) (t counting.Task, err error) {
	err = f.DB.InTenant(f.t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		t, err = counting.Begin(f.t.Context(), tx, shoptest.Tenant, taskID, 0, person(who))
		return err
	})
	return t, err
}

func (f *floor) try(taskID, who string, lines ...counting.Line) (out counting.Outcome, err error) {
	err = f.DB.InTenant(f.t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		out, err = counting.Submit(f.t.Context(), tx, shoptest.Tenant, taskID, counting.Counted{Lines: lines, Empty: len(lines) == 0}, person(who))
		return err
	})
	return out, err
}

func (f *floor) submit(taskID, who string, lines ...counting.Line) counting.Outcome {
	f.t.Helper()
	out, err := f.try(taskID, who, lines...)
	require.NoError(f.t, err)
	return out
}

func (f *floor) decide(taskID, who string, approve bool) (out counting.Outcome, err error) {
	err = f.DB.InTenant(f.t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		if approve {
			out, err = counting.Approve(f.t.Context(), tx, shoptest.Tenant, taskID, counting.Decision{}, person(who))
		} else {
			out, err = counting.Reject(f.t.Context(), tx, shoptest.Tenant, taskID, counting.Decision{}, person(who))
		}
		return err
	})
	return out, err
}

func (f *floor) has(bin, sku string) int {
	f.t.Helper()
	return shoptest.Value[int](f.t, f.Shop, `SELECT coalesce(sum(quantity), 0)::int FROM bin_stock WHERE bin = $1 AND sku = $2`, bin, sku)
}

func refused(t testing.TB, err error, code string) *problem.Error {
	t.Helper()
	p, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, p.Code)
	return p
}

func TestSubmit_WhatTheBooksSayIsRight(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count()
	out := f.submit(task.ID, "ana", saw("A", 5), saw("B", 3))
	require.Equal(t, counting.Done, out.Task.Status)
	require.Equal(t, "right", out.Task.Outcome)
	require.True(t, out.Changed, "it was the last bin")
	require.NotZero(t, shoptest.Value[int](t, f.Shop, `SELECT count(*) FROM bins WHERE counted_at IS NOT NULL`))
	again := f.submit(task.ID, "ana", saw("B", 3), saw("A", 5))
	require.Equal(t, out.Task, again.Task, "the same again is answered with what there is")
	_, err := f.try(task.ID, "ana", saw("A", 4))
	require.Equal(t, out.Task, refused(t, err, "count_task_over").More["current"])
	f.CheckBooks(t)
}

func TestSubmit_DifferenceIsCountedByAnotherPersonAndStandsWhenBothAgree(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(tolerant(2))
	out := f.submit(task.ID, "ana", saw("A", 4), saw("B", 3))
	require.Equal(t, counting.Recount, out.Task.Status)
	require.False(t, out.Changed)
	require.Equal(t, 5, f.has("P-1", "A"), "nothing is booked on one word")
	_, err := f.begin(task.ID, "ana")
	refused(t, err, "another_person_needed")
	_, err = f.try(task.ID, "ana", saw("A", 3), saw("B", 3))
	refused(t, err, "another_person_needed")
	out = f.submit(task.ID, "beto", saw("A", 4), saw("B", 3))
	require.Equal(t, "adjusted", out.Task.Outcome)
	require.Equal(t, 4, f.has("P-1", "A"))
	require.Equal(t, []string{"miscount"}, shoptest.List[string](t, f.Shop, `SELECT note FROM bin_movements WHERE reason = 'count'`))
	require.Equal(t, 1, shoptest.Value[int](t, f.Shop, `SELECT units_under FROM count_tasks`))
	f.CheckBooks(t)
}

func TestSubmit_SecondCountThatFitsTheBooksDecides(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count()
	f.submit(task.ID, "ana", saw("A", 4), saw("B", 3))
	out := f.submit(task.ID, "beto", saw("A", 5), saw("B", 3))
	require.Equal(t, "right", out.Task.Outcome)
	require.Equal(t, 5, f.has("P-1", "A"))
}

func TestSubmit_TwoCountsThatDisagreeWaitForApproval(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(tolerant(100))
	f.submit(task.ID, "ana", saw("A", 4), saw("B", 3))
	out := f.submit(task.ID, "beto", saw("A", 3), saw("B", 3))
	require.Equal(t, counting.AwaitingApproval, out.Task.Status)
	require.True(t, out.Changed)
	require.Equal(t, 5, f.has("P-1", "A"))
	_, err := f.decide(task.ID, "ana", true)
	refused(t, err, "another_person_needed")
	out, err = f.decide(task.ID, "jefa", true)
	require.NoError(t, err)
	require.Equal(t, "adjusted", out.Task.Outcome)
	require.Equal(t, 3, f.has("P-1", "A"), "the last count is what is approved")
	again, err := f.decide(task.ID, "jefa", true)
	require.NoError(t, err)
	require.Equal(t, out.Task, again.Task)
	_, err = f.decide(task.ID, "otra", true)
	refused(t, err, "count_task_not_waiting")
	f.CheckBooks(t)
}

func TestSubmit_AboveTheToleranceWaitsAlsoWhenBothAgree(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(tolerant(1))
	f.submit(task.ID, "ana", saw("A", 3), saw("B", 3))
	require.Equal(t, counting.AwaitingApproval, f.submit(task.ID, "beto", saw("A", 3), saw("B", 3)).Task.Status)
}

func TestReject_HasTheBinCountedAnewByAnybody(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(once)
	require.Equal(t, counting.AwaitingApproval, f.submit(task.ID, "ana", saw("A", 1)).Task.Status)
	out, err := f.decide(task.ID, "jefa", false)
	require.NoError(t, err)
	require.Equal(t, counting.Open, out.Task.Status)
	again, err := f.decide(task.ID, "jefa", false)
	require.NoError(t, err)
	require.Equal(t, out.Task, again.Task)
	require.Equal(t, "right", f.submit(task.ID, "ana", saw("A", 5), saw("B", 3)).Task.Outcome)
}

func TestSubmit_WhatIsPickedMeanwhileIsNoDifference(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.Bin(t, scl, "PACK", "packing")
	task := f.count(once, tolerant(100))
	_, err := f.begin(task.ID, "ana")
	require.NoError(t, err)
	f.move("A", 2, stock.In("P-1", stock.Available), stock.In("PACK", stock.Available), func(m *stock.BinMovement) { m.Reason = "pick" })
	f.move("B", 3, stock.In("P-1", stock.Available), stock.In("P-2", stock.Available), func(m *stock.BinMovement) { m.Reason = "move" })
	f.move("B", 1, stock.In("P-2", stock.Available), stock.In("P-1", stock.Available), func(m *stock.BinMovement) { m.Reason = "move" })
	out := f.submit(task.ID, "ana", saw("A", 5), saw("B", 3))
	require.Equal(t, "right", out.Task.Outcome, "she counted before the picker came")
	require.Equal(t, 3, f.has("P-1", "A"))
	require.Equal(t, 1, f.has("P-1", "B"))
	f.CheckBooks(t)
}

func TestSubmit_PickersAtWorkWhileABinIsCounted(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.Bin(t, scl, "PACK", "packing")
	f.move("A", 95, nil, stock.In("P-1", stock.Available))
	task := f.count(once, tolerant(1000))
	_, err := f.begin(task.ID, "ana")
	require.NoError(t, err)
	// Two units are not there; the pickers take what is.
	var g errgroup.Group
	for range 12 {
		g.Go(func() error {
			return f.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				_, err := stock.Move(t.Context(), tx, shoptest.Tenant, stock.BinMovement{SKU: "A", Warehouse: scl, Quantity: 3, From: stock.In("P-1", stock.Available), To: stock.In("PACK", stock.Available), Reason: "pick", Document: "pick:1", By: person("p")})
				return err
			})
		})
	}
	g.Go(func() error {
		out, err := f.try(task.ID, "ana", saw("A", 98), saw("B", 3))
		if err == nil && out.Task.Status == counting.Recount {
			// Units moved: a second look is needed, which says the same.
			out, err = f.try(task.ID, "beto", saw("A", f.has("P-1", "A")-2), saw("B", 3))
		}
		return err
	})
	require.NoError(t, g.Wait())
	f.CheckBooks(t)
	require.Equal(t, 36, f.has("PACK", "A"), "no picker was held up")
	total := f.has("P-1", "A") + f.has("PACK", "A")
	require.Contains(t, []int{98, 100}, total, "the two units are booked once or wait, and nothing else is")
}

func TestApprove_TwoAtOnceBookOnce(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(once)
	f.submit(task.ID, "ana", saw("A", 3), saw("B", 3))
	var g errgroup.Group
	var mu sync.Mutex
	approved := 0
	for _, who := range []string{"jefa", "otra", "tercera"} {
		g.Go(func() error {
			_, err := f.decide(task.ID, who, true)
			if p, ok := problem.As(err); ok && p.Code == "count_task_not_waiting" {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			approved++
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, 1, approved)
	require.Equal(t, 3, f.has("P-1", "A"))
	f.CheckBooks(t)
}

func TestSubmit_DifferenceOfUnitsThatMovedIsNeverBookedOnOneCount(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(once, tolerant(100))
	_, err := f.begin(task.ID, "ana")
	require.NoError(t, err)
	f.move("A", 2, stock.In("P-1", stock.Available), stock.In("P-2", stock.Available), func(m *stock.BinMovement) { m.Reason = "move" })
	out := f.submit(task.ID, "ana", saw("A", 3), saw("B", 3))
	require.Equal(t, counting.Recount, out.Task.Status, "she counted after the picker came")
	require.Equal(t, 3, f.has("P-1", "A"))
	require.Equal(t, counting.Recount, f.submit(task.ID, "ana", saw("A", 3), saw("B", 3)).Task.Status, "the same again without a beginning is a repetition")
	_, err = f.begin(task.ID, "ana")
	require.NoError(t, err)
	require.Equal(t, "right", f.submit(task.ID, "ana", saw("A", 3), saw("B", 3)).Task.Outcome)
	f.CheckBooks(t)
}

func TestSubmit_TwoCountsAgreeAlthoughUnitsMovedBetweenThem(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(tolerant(5))
	f.submit(task.ID, "ana", saw("A", 4), saw("B", 3))
	f.move("A", 2, stock.In("P-1", stock.Available), stock.In("P-2", stock.Available), func(m *stock.BinMovement) { m.Reason = "move" })
	require.Equal(t, "adjusted", f.submit(task.ID, "beto", saw("A", 2), saw("B", 3)).Task.Outcome)
	require.Equal(t, 2, f.has("P-1", "A"))
	f.CheckBooks(t)
}

func TestSubmit_CountBelowThePromiseShortsHoldsAndNamesThem(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	hold := id.New()
	f.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Place(t.Context(), tx, shoptest.Tenant, stock.Request{HoldID: hold, Channel: "web", Buyer: "b", Wants: []stock.Want{{SKU: "A", Quantity: 4}}, Seconds: 900, Warehouses: shoptest.Warehouses})
		return err
	})
	task := f.count(once, tolerant(10))
	out := f.submit(task.ID, "ana", saw("A", 1), saw("B", 3))
	require.Equal(t, []stock.Shorted{{HoldID: hold, Units: 3}}, out.Moved.Shorted)
	f.CheckBooks(t)
}

func TestBegin_TwoCountersOfOneBin(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count()
	var mu sync.Mutex
	begun := 0
	var g errgroup.Group
	for _, who := range []string{"ana", "beto"} {
		g.Go(func() error {
			_, err := f.begin(task.ID, who)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				begun++
				return nil
			}
			if p, ok := problem.As(err); !ok || p.Code != "count_task_taken" {
				return err
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, 1, begun)
	holder := shoptest.Value[string](t, f.Shop, `SELECT person FROM count_tasks`)
	_, err := f.begin(task.ID, holder)
	require.NoError(t, err, "who has begun may begin again")
	other := map[string]string{"ana": "beto", "beto": "ana"}[holder]
	_, err = f.try(task.ID, other, saw("A", 5), saw("B", 3))
	refused(t, err, "count_task_taken")
	f.Exec(t, `UPDATE count_tasks SET began_at = now() - interval '31 minutes'`)
	_, err = f.begin(task.ID, other)
	require.NoError(t, err, "who went away loses it")
}

func TestSubmit_TwoResultsAtOnceAreTwoCounts(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(tolerant(5))
	var g errgroup.Group
	for _, who := range []string{"ana", "beto"} {
		g.Go(func() error {
			_, err := f.try(task.ID, who, saw("A", 4), saw("B", 3))
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, 4, f.has("P-1", "A"), "booked once")
	require.Equal(t, "adjusted", shoptest.Value[string](t, f.Shop, `SELECT outcome FROM count_tasks`))
	f.CheckBooks(t)
}

func TestSubmit_ProductThatShouldNotBeThereComesIn(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.Product(t, "C", 500)
	task := f.count(once, tolerant(2))
	require.Equal(t, "adjusted", f.submit(task.ID, "ana", saw("A", 5), saw("B", 3), saw("C", 2)).Task.Outcome)
	require.Equal(t, 2, f.has("P-1", "C"))
	f.CheckBooks(t)
}

func TestSubmit_ThingWithoutAProductWaitsForAPerson(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(once, tolerant(100))
	one := 1
	_, err := f.try(task.ID, "ana", saw("A", 5), saw("B", 3), counting.Line{Code: "NADIE-LO-SABE", Quantity: &one})
	refused(t, err, "unknown_item")
	out := f.submit(task.ID, "ana", saw("A", 5), saw("B", 3), counting.Line{Code: "NADIE-LO-SABE", Quantity: &one, Unknown: true})
	require.Equal(t, counting.AwaitingApproval, out.Task.Status)
	var seen counting.Result
	f.Do(t, func(tx pgx.Tx) (err error) {
		seen, err = counting.Read(t.Context(), tx, shoptest.Tenant, task.ID)
		return err
	})
	require.Equal(t, []string{"code NADIE-LO-SABE"}, seen.Counts[0].Strange)
	out, err = f.decide(task.ID, "jefa", true)
	require.NoError(t, err)
	require.Equal(t, "right", out.Task.Outcome)
}

func TestSubmit_LotThatShouldNotBeThere(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.Product(t, "L", 500)
	f.Tracked(t, "L", "lot", "fefo")
	f.Do(t, func(tx pgx.Tx) error {
		for _, lot := range []string{"L1", "L2"} {
			if _, err := stock.PutLot(t.Context(), tx, shoptest.Tenant, stock.Lot{SKU: "L", Lot: lot}); err != nil {
				return err
			}
		}
		return nil
	})
	f.move("L", 4, nil, stock.In("P-2", stock.Available), ofLot("L1"))
	hold := id.New()
	f.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Place(t.Context(), tx, shoptest.Tenant, stock.Request{HoldID: hold, Channel: "web", Buyer: "b", Wants: []stock.Want{{SKU: "L", Quantity: 4}}, Seconds: 900, Warehouses: shoptest.Warehouses})
		return err
	})
	task := f.count(once, tolerant(8), func(r *counting.Request) { r.Bins = []string{"P-2"} })
	four := 4
	out := f.submit(task.ID, "ana", counting.Line{SKU: "L", Lot: "L2", Quantity: &four})
	require.Equal(t, "adjusted", out.Task.Outcome)
	require.Empty(t, out.Moved.Shorted, "units that only have another lot break no promise")
	require.Equal(t, []string{"L2"}, shoptest.List[string](t, f.Shop, `SELECT lot FROM bin_stock WHERE sku = 'L' AND quantity > 0`))

	task = f.count(once, tolerant(8), func(r *counting.Request) { r.Bins = []string{"P-2"} })
	out = f.submit(task.ID, "ana", counting.Line{SKU: "L", Lot: "NUEVO", ExpiresOn: "2127-01-31", Quantity: &four})
	require.Equal(t, counting.AwaitingApproval, out.Task.Status, "a lot that nobody knows is not made up by one count")
	_, err := f.decide(task.ID, "jefa", true)
	require.NoError(t, err)
	require.Equal(t, "2127-01-31", shoptest.Value[string](t, f.Shop, `SELECT expires_on::text FROM lots WHERE lot = 'NUEVO'`))
	require.Equal(t, 4, f.has("P-2", "L"))

	task = f.count(once, tolerant(8), func(r *counting.Request) { r.Bins = []string{"P-2"} })
	out = f.submit(task.ID, "ana", counting.Line{SKU: "L", Lot: "NUEVO", ExpiresOn: "2127-02-28", Quantity: &four})
	require.Equal(t, counting.AwaitingApproval, out.Task.Status, "a label with another day is looked at")
	_, err = f.decide(task.ID, "jefa", true)
	require.NoError(t, err)
	require.Equal(t, "2127-01-31", shoptest.Value[string](t, f.Shop, `SELECT expires_on::text FROM lots WHERE lot = 'NUEVO'`))

	task = f.count(once, func(r *counting.Request) { r.Bins = []string{"P-1"} })
	_, err = f.try(task.ID, "ana", saw("A", 5), saw("B", 3), saw("L", 1))
	require.Equal(t, "lines[2].lot", refused(t, err, "required").Fields[0].Field)
	f.CheckBooks(t)
}

func TestSubmit_SerialsMissingAndFoundElsewhere(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.Product(t, "S", 90_000)
	f.Tracked(t, "S", "serial", "fifo")
	f.move("S", 1, nil, stock.In("P-1", stock.Available), number("S1"))
	f.move("S", 1, nil, stock.In("P-1", stock.Available), number("S2"))
	f.move("S", 1, nil, stock.In("P-2", stock.Available), number("S3"))
	task := f.count(once, tolerant(3))
	_, err := f.try(task.ID, "ana", saw("A", 5), saw("B", 3), saw("S", 2))
	require.Equal(t, "lines[2].serials", refused(t, err, "invalid").Fields[0].Field)
	out := f.submit(task.ID, "ana", saw("A", 5), saw("B", 3), counting.Line{SKU: "S", Serials: []string{"S1", "S3", "S9"}})
	require.Equal(t, "adjusted", out.Task.Outcome)
	require.Equal(t, []string{"S1 P-1", "S2 ", "S3 P-1", "S9 P-1"}, shoptest.List[string](t, f.Shop, `SELECT serial || ' ' || coalesce(bin, '') FROM serials ORDER BY 1`))
	require.Equal(t, []string{"P-2 open"}, shoptest.List[string](t, f.Shop, `SELECT t.bin || ' ' || t.status FROM count_tasks t JOIN counts c ON c.id = t.count_id WHERE c.origin = 'request'`), "the other bin is counted too")
	f.CheckBooks(t)
}

func TestSubmit_SerialInAnotherWarehouseComesHere(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.Product(t, "S", 90_000)
	f.Tracked(t, "S", "serial", "fifo")
	f.Bin(t, "CCP-1", "Q-1", "pick")
	f.move("S", 1, nil, stock.In("Q-1", stock.Available), number("S1"), func(m *stock.BinMovement) { m.Warehouse = "CCP-1" })
	task := f.count(once, tolerant(3))
	f.submit(task.ID, "ana", saw("A", 5), saw("B", 3), counting.Line{SKU: "S", Serials: []string{"S1"}})
	require.Equal(t, "SCL-1 P-1", shoptest.Value[string](t, f.Shop, `SELECT warehouse || ' ' || bin FROM serials`))
	require.Equal(t, 1, shoptest.Value[int](t, f.Shop, `SELECT count(*) FROM count_tasks WHERE warehouse = 'CCP-1' AND bin = 'Q-1'`))
	f.CheckBooks(t)
}

func TestSubmit_UnitsOfAnotherStatusAreNotTakenForAvailableOnes(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.move("A", 2, nil, stock.In("P-1", stock.Damaged))
	require.Equal(t, "right", f.submit(f.count(once).ID, "ana", saw("A", 7), saw("B", 3)).Task.Outcome)
	f.submit(f.count(once, tolerant(5)).ID, "ana", saw("A", 6), saw("B", 3))
	require.Equal(t, []string{"available 4", "damaged 2"}, shoptest.List[string](t, f.Shop, `SELECT status || ' ' || quantity FROM bin_stock WHERE sku = 'A' ORDER BY 1`))
	units := 3
	f.submit(f.count(once, tolerant(5)).ID, "ana", counting.Line{SKU: "A", Status: stock.Damaged, Quantity: &units}, saw("A", 3), saw("B", 3))
	require.Equal(t, []string{"available 3", "damaged 3"}, shoptest.List[string](t, f.Shop, `SELECT status || ' ' || quantity FROM bin_stock WHERE sku = 'A' ORDER BY 1`))
	f.CheckBooks(t)
}

func TestSubmit_EmptyBinAndFaults(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(once, tolerant(8))
	err := f.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		_, err := counting.Submit(t.Context(), tx, shoptest.Tenant, task.ID, counting.Counted{}, person("ana"))
		return err
	})
	refused(t, err, "required")
	bad := -1
	_, err = f.try(task.ID, "ana", counting.Line{SKU: "NADA", Quantity: &bad}, counting.Line{SKU: "A", Quantity: &bad, Status: "roto"}, counting.Line{SKU: "A"}, counting.Line{})
	fields := map[string]string{}
	for _, x := range refused(t, err, "invalid_request").Fields {
		fields[x.Field] = x.Code
	}
	require.Equal(t, map[string]string{"lines[0].sku": "unknown_sku", "lines[1].status": "invalid", "lines[1].quantity": "out_of_range", "lines[2].quantity": "required", "lines[3].code": "required"}, fields)
	f.submit(task.ID, "ana")
	require.Zero(t, f.has("P-1", "A")+f.has("P-1", "B"))
	_, err = f.try(id.New(), "ana")
	refused(t, err, "not_found")
	f.CheckBooks(t)
}

func TestCreate_ChoosesBinsAndLeavesOutThoseThatAreBeingCounted(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.Bin(t, scl, "Z-1", "reserve")
	f.Bin(t, scl, "PACK", "packing")
	made := func(change func(*counting.Request)) (list []string, err error) {
		r := counting.Request{Warehouse: scl, Reason: "miscount"}
		change(&r)
		countID := id.New()
		err = f.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, err := counting.Create(t.Context(), tx, shoptest.Tenant, countID, r, person("jefa"))
			return err
		})
		list = shoptest.List[string](t, f.Shop, `SELECT bin FROM count_tasks WHERE count_id = $1 ORDER BY 1`, countID)
		if err == nil {
			f.Do(t, func(tx pgx.Tx) error { return counting.Cancel(t.Context(), tx, shoptest.Tenant, countID) })
		}
		return list, err
	}
	list, err := made(func(*counting.Request) {})
	require.NoError(t, err)
	require.Equal(t, []string{"P-1", "P-2", "Z-1"}, list)
	list, err = made(func(r *counting.Request) { r.Zone = "Z" })
	require.NoError(t, err)
	require.Equal(t, []string{"Z-1"}, list)
	f.Bin(t, scl, "T-1", "packing")
	for range 9 {
		f.move("A", 1, nil, stock.In("P-2", stock.Available))
		f.move("A", 1, stock.In("P-2", stock.Available), stock.In("PACK", stock.Available), func(m *stock.BinMovement) { m.Reason = "pick" })
	}
	f.move("B", 1, stock.In("P-1", stock.Available), stock.In("PACK", stock.Available), func(m *stock.BinMovement) { m.Reason = "pick" })
	for class, want := range map[string][]string{"A": {"P-2"}, "B": {"P-1"}, "C": {"Z-1"}} {
		list, err = made(func(r *counting.Request) { r.Class = class })
		require.NoError(t, err)
		require.Equal(t, want, list, class)
	}
	f.Exec(t, `UPDATE bins SET counted_at = now() - interval '3 days' WHERE code = 'P-1'`)
	f.Exec(t, `UPDATE bins SET counted_at = now() WHERE code IN ('P-2', 'Z-1')`)
	list, err = made(func(r *counting.Request) { r.OlderThanDays = 2 })
	require.NoError(t, err)
	require.Equal(t, []string{"P-1"}, list)

	task := f.count()
	list, err = made(func(r *counting.Request) { r.Bins = []string{"P-1", "PACK"} })
	require.NoError(t, err)
	require.Equal(t, []string{"PACK"}, list, "a bin has one open task")
	_, err = made(func(r *counting.Request) { r.Bins = []string{task.Bin} })
	refused(t, err, "nothing_to_count")
	_, err = made(func(r *counting.Request) { r.Bins = []string{"NO"}; r.Reason = "porque_si" })
	require.Len(t, refused(t, err, "invalid_request").Fields, 2)
	_, err = made(func(r *counting.Request) { r.Warehouse = "NO-1" })
	refused(t, err, "unknown_warehouse")
}

func TestAsk_IsATaskAtOnceAndOnlyOne(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	ask := func(bin string) error {
		return f.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			return counting.Ask(t.Context(), tx, shoptest.Tenant, counting.Asked{Warehouse: scl, Bin: bin, SKU: "A", Reason: "short_pick", Document: "pick:1"})
		})
	}
	var g errgroup.Group
	for range 8 {
		g.Go(func() error { return ask("P-1") })
		g.Go(func() error { return ask("P-2") })
	}
	require.NoError(t, g.Wait())
	require.Equal(t, []string{"P-1", "P-2"}, shoptest.List[string](t, f.Shop, `SELECT bin FROM count_tasks ORDER BY 1`))
	require.Zero(t, shoptest.Value[int](t, f.Shop, `SELECT count(*) FROM count_requests r WHERE NOT EXISTS (SELECT FROM count_tasks t WHERE t.count_id = r.count_id AND t.bin = r.bin)`))
	taskID := shoptest.Value[string](t, f.Shop, `SELECT id FROM count_tasks WHERE bin = 'P-1'`)
	require.True(t, id.Valid(taskID))
	f.submit(taskID, "ana", saw("A", 5), saw("B", 3))
	require.NoError(t, ask("P-1"))
	require.Equal(t, 1, shoptest.Value[int](t, f.Shop, `SELECT count(*) FROM count_tasks WHERE bin = 'P-1' AND status = 'open'`), "it is counted anew")
	require.NoError(t, ask("NO-SUCH-BIN"))
}

func TestMakeDay_OncePerDayFromTheTenantsMorning(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	f.Do(t, func(tx pgx.Tx) error {
		_, err := counting.PutPlan(t.Context(), tx, shoptest.Tenant, counting.Plan{Name: "diario", Warehouse: scl, EveryDays: 30, BinsPerDay: 1, Active: true})
		return err
	})
	day := func(hour int) string {
		var made string
		f.Do(t, func(tx pgx.Tx) (err error) {
			made, err = counting.MakeDay(t.Context(), tx, shoptest.Tenant, "diario", zone, time.Date(2126, 3, 1, hour, 30, 0, 0, zone))
			return err
		})
		return made
	}
	require.Empty(t, day(5))
	var g errgroup.Group
	for range 6 {
		g.Go(func() error {
			return f.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				_, err := counting.MakeDay(t.Context(), tx, shoptest.Tenant, "diario", zone, time.Date(2126, 3, 1, 6, 0, 0, 0, zone))
				return err
			})
		})
	}
	require.NoError(t, g.Wait())
	require.Empty(t, day(7))
	require.Equal(t, []string{"P-1"}, shoptest.List[string](t, f.Shop, `SELECT bin FROM count_tasks`))
	var p counting.Plan
	f.Do(t, func(tx pgx.Tx) (err error) {
		p, err = counting.GetPlan(t.Context(), tx, shoptest.Tenant, "diario")
		return err
	})
	require.Equal(t, "2126-03-01", *p.LastDay)
	f.Exec(t, `UPDATE bins SET counted_at = now()`)
	f.Do(t, func(tx pgx.Tx) error {
		made, err := counting.MakeDay(t.Context(), tx, shoptest.Tenant, "diario", zone, time.Date(2126, 3, 2, 9, 0, 0, 0, zone))
		require.Empty(t, made, "no bin is due: no document without tasks")
		return err
	})
	require.Equal(t, 1, shoptest.Value[int](t, f.Shop, `SELECT count(*) FROM counts`))
}

func TestLook_ClosesACountAndTellsWhatIsLate(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	task := f.count(once, func(r *counting.Request) { r.Bins = []string{"P-1", "P-2"} })
	look := func() (v counting.View) {
		f.Do(t, func(tx pgx.Tx) (err error) {
			v, err = counting.Look(t.Context(), tx, shoptest.Tenant, task.CountID)
			return err
		})
		return v
	}
	require.Equal(t, counting.View{Warehouse: scl, Total: 2, Left: 2, NextSeconds: 3600}, look())
	f.Exec(t, `UPDATE counts SET complete_by = now() - interval '1 second'`)
	require.True(t, look().PastDue)
	extend := func(approvals bool) {
		f.Do(t, func(tx pgx.Tx) error {
			return counting.Extend(t.Context(), tx, shoptest.Tenant, task.CountID, approvals)
		})
	}
	extend(false)
	require.False(t, look().PastDue)
	for _, bin := range []string{"P-1", "P-2"} {
		taskID := shoptest.Value[string](t, f.Shop, `SELECT id FROM count_tasks WHERE bin = $1`, bin)
		if bin == "P-1" {
			f.submit(taskID, "ana", saw("A", 1))
			continue
		}
		f.submit(taskID, "ana")
	}
	f.Exec(t, `UPDATE counts SET created_at = now() - interval '2 days'`)
	f.Exec(t, `UPDATE count_tasks SET waits_since = now() - interval '4 hours' WHERE bin = 'P-1'`)
	v := look()
	require.True(t, v.Unapproved)
	require.Equal(t, "P-1", v.Which)
	extend(true)
	require.False(t, look().Unapproved)
	_, err := f.decide(shoptest.Value[string](t, f.Shop, `SELECT id FROM count_tasks WHERE bin = 'P-1'`), "jefa", true)
	require.NoError(t, err)
	require.True(t, look().Over)
	require.True(t, look().Over)
	require.Equal(t, "done", shoptest.Value[string](t, f.Shop, `SELECT status FROM counts`))
	err = f.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error { return counting.Cancel(t.Context(), tx, shoptest.Tenant, task.CountID) })
	refused(t, err, "count_over")
}

func TestReasons_BuiltInOnesCanBeRenamedAndExtended(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	put := func(r counting.Reason) (created bool, err error) {
		err = f.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			created, err = counting.PutReason(t.Context(), tx, shoptest.Tenant, r)
			return err
		})
		return created, err
	}
	created, err := put(counting.Reason{Code: "ratones", NameES: "Ratones", NameEN: "Mice", Active: true})
	require.NoError(t, err)
	require.True(t, created)
	created, err = put(counting.Reason{Code: "theft", NameES: "Hurto", NameEN: "Theft"})
	require.NoError(t, err)
	require.False(t, created)
	f.count(func(r *counting.Request) { r.Reason = "ratones" })
	f.Do(t, func(tx pgx.Tx) error {
		_, err := counting.Create(t.Context(), tx, shoptest.Tenant, id.New(), counting.Request{Warehouse: scl, Reason: "theft"}, person("jefa"))
		refused(t, err, "unknown_reason")
		r, err := counting.GetReason(t.Context(), tx, shoptest.Tenant, "theft")
		require.Equal(t, counting.Reason{Code: "theft", NameES: "Hurto", NameEN: "Theft", BuiltIn: true}, r)
		return err
	})
	_, err = put(counting.Reason{Code: "No!"})
	require.Len(t, refused(t, err, "invalid_request").Fields, 3)
}

func TestMeasure_CountsBinsAndUnitsByClassAndZone(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.submit(f.count(once).ID, "ana", saw("A", 5), saw("B", 3))
	f.submit(f.count(once, tolerant(9)).ID, "ana", saw("A", 3), saw("B", 4))
	var r counting.Report
	f.Do(t, func(tx pgx.Tx) (err error) {
		r, err = counting.Measure(t.Context(), tx, shoptest.Tenant, scl, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		return err
	})
	half := 0.5
	want := counting.Accuracy{BinsCounted: 2, BinsRight: 1, Share: &half, UnitsExpected: 16, UnitsOver: 1, UnitsUnder: 2, UnitVariance: 3}
	require.Equal(t, counting.Report{Total: want, ByClass: []counting.AccuracyOf{{Name: "C", Accuracy: want}}, ByZone: []counting.AccuracyOf{{Name: "P", Accuracy: want}}}, r)
}

// manyBins has that many bins with stock.
func manyBins(t testing.TB, n int) *floor {
	f := newFloor(t)
	f.Exec(t, `INSERT INTO bins (tenant, warehouse, code, kind, zone) SELECT 'acme', 'SCL-1', 'M-' || i, 'pick', 'M' FROM generate_series(1, $1) i`, n)
	return f
}

func TestCreate_ThousandsOfBinsAreOneDocument(t *testing.T) {
	t.Parallel()
	f := manyBins(t, 10_000)
	var d counting.Document
	f.Do(t, func(tx pgx.Tx) (err error) {
		d, err = counting.Create(t.Context(), tx, shoptest.Tenant, id.New(), counting.Request{Warehouse: scl, Reason: "miscount", Selection: counting.Selection{Zone: "M"}}, person("jefa"))
		return err
	})
	require.Equal(t, counting.Tally{Total: 10_000, Open: 10_000}, d.Tasks)
}

func BenchmarkCreate_TenThousandBins(b *testing.B) {
	f := manyBins(b, 10_000)
	for b.Loop() {
		countID := id.New()
		f.Do(b, func(tx pgx.Tx) error {
			_, err := counting.Create(b.Context(), tx, shoptest.Tenant, countID, counting.Request{Warehouse: scl, Reason: "miscount", Selection: counting.Selection{Zone: "M"}}, person("jefa"))
			return err
		})
		b.StopTimer()
		f.Do(b, func(tx pgx.Tx) error { return counting.Cancel(b.Context(), tx, shoptest.Tenant, countID) })
		b.StartTimer()
	}
}

func TestAlerts_FiftyHoldsThatCrossAtOnceAreOneAlert(t *testing.T) {
	t.Parallel()
	f := newFloor(t)
	f.Product(t, "HOT", 1000, 60)
	limit := 40
	threshold := func(units *int) (out counting.Threshold) {
		f.Do(t, func(tx pgx.Tx) (err error) {
			out, err = counting.SetThreshold(t.Context(), tx, shoptest.Tenant, "HOT", scl, units)
			return err
		})
		return out
	}
	require.False(t, threshold(&limit).Alert)
	var g errgroup.Group
	for range 50 {
		g.Go(func() error {
			return f.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				_, err := stock.Place(t.Context(), tx, shoptest.Tenant, hold("HOT"))
				return err
			})
		})
	}
	require.NoError(t, g.Wait())
	alerts := func(open *bool) (list []counting.Alert) {
		f.Do(t, func(tx pgx.Tx) (err error) {
			list, err = counting.Alerts(t.Context(), tx, shoptest.Tenant, open, 0, 10)
			return err
		})
		return list
	}
	yes := true
	list := alerts(&yes)
	require.Len(t, list, 1)
	require.Equal(t, 39, list[0].Available)
	require.Equal(t, 10, list[0].Now)
	f.Product(t, "HOT", 1000, 95)
	require.Empty(t, alerts(&yes), "there is enough again")
	f.Product(t, "HOT", 1000, 70)
	require.Len(t, alerts(nil), 2, "another crossing")
	threshold(nil)
	require.Empty(t, alerts(&yes), "nobody wants to know")
	more := 21
	require.True(t, threshold(&more).Alert, "it is below from the start")
	require.Len(t, alerts(&yes), 1)
	f.Do(t, func(tx pgx.Tx) error {
		_, err := counting.SetThreshold(t.Context(), tx, shoptest.Tenant, "NADA", scl, &more)
		refused(t, err, "not_found")
		_, err = counting.SetThreshold(t.Context(), tx, shoptest.Tenant, "HOT", "NO-1", &more)
		refused(t, err, "unknown_warehouse")
		return nil
	})
	f.CheckBooks(t)
}

func hold(sku string) stock.Request {
	return stock.Request{HoldID: id.New(), Channel: "web", Buyer: "b", Wants: []stock.Want{{SKU: sku, Quantity: 1}}, Seconds: 900, Warehouses: shoptest.Warehouses}
}

// BenchmarkPlace shows what alerts cost a hold: without the trigger, without a
// threshold, and with one that is not crossed.
func BenchmarkPlace(b *testing.B) {
	for name, arrange := range map[string]string{
		"1_no_trigger":   `DROP TRIGGER mark_crossing ON stock_levels`,
		"2_no_threshold": `SELECT 1`,
		"3_threshold":    `UPDATE stock_levels SET alert_below = 1`,
	} {
		b.Run(name, func(b *testing.B) {
			f := newFloor(b)
			for i := range 20 {
				f.Product(b, fmt.Sprintf("HOT-%d", i), 1000, 1_000_000)
			}
			f.Exec(b, arrange)
			i := 0
			for b.Loop() {
				i++
				err := f.DB.InTenant(b.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
					_, err := stock.Place(b.Context(), tx, shoptest.Tenant, hold(fmt.Sprintf("HOT-%d", i%20)))
					return err
				})
				require.NoError(b, err)
			}
		})
	}
}

func TestTasks_OpenOnesAreFoundAmongManyThatAreDone(t *testing.T) {
	t.Parallel()
	f := manyBins(t, 4000)
	f.Exec(t, `INSERT INTO counts (tenant, id, warehouse, origin, reason, status, created_by, complete_by, ended_at) SELECT 'acme', lpad(n::text, 26, '0'), 'SCL-1', 'person', 'miscount', 'done', 'jefa', now(), now() FROM generate_series(1, 3) n`)
	f.Exec(t, `INSERT INTO count_tasks (tenant, count_id, bin, id, warehouse, status, outcome, ended_at)
	  SELECT 'acme', lpad(n::text, 26, '0'), 'M-' || i, '0000000000' || upper(substr(md5(n || ' ' || i), 1, 16)), 'SCL-1', 'done', 'right', now() FROM generate_series(1, 3) n, generate_series(1, 4000) i`)
	task := f.count()
	f.Exec(t, `ANALYZE count_tasks`)
	for name, sql := range map[string]string{
		"open":       `SELECT id FROM count_tasks t WHERE t.tenant = 'acme' AND t.status = 'open' AND t.id > '' AND t.status NOT IN ('done','cancelled') ORDER BY t.id LIMIT 50`,
		"of a count": `SELECT id FROM count_tasks t WHERE t.tenant = 'acme' AND t.count_id = '` + task.CountID + `' AND t.id > '' AND t.id BETWEEN left('` + task.CountID + `', 10) AND left('` + task.CountID + `', 10) || 'ZZZZZZZZZZZZZZZZ' ORDER BY t.id LIMIT 50`,
	} {
		plan := strings.Join(shoptest.List[string](t, f.Shop, `EXPLAIN `+sql), "\n")
		require.NotContains(t, plan, "Seq Scan", "%s: %s", name, plan)
	}
	var list []counting.Task
	f.Do(t, func(tx pgx.Tx) (err error) {
		list, err = counting.Tasks(t.Context(), tx, shoptest.Tenant, counting.TaskFilter{Status: counting.Open, Limit: 50})
		return err
	})
	require.Equal(t, []counting.Task{task}, list)
}
