package stock_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
)

func count(t *testing.T, s *shoptest.Shop, sku, warehouse string, units int) (lost []stock.Shorted) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		lost, err = stock.Count(t.Context(), tx, shoptest.Tenant, sku, warehouse, units, time.Now(), "ana")
		return err
	})
	return lost
}

func adjust(t *testing.T, s *shoptest.Shop, c stock.Change) (lost []stock.Shorted, err error) {
	t.Helper()
	err = s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) (err error) {
		lost, err = stock.Adjust(t.Context(), tx, shoptest.Tenant, c)
		return err
	})
	return lost, err
}

func cure(t *testing.T, s *shoptest.Shop, holdID string) (ok bool) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		ok, err = stock.Cure(t.Context(), tx, shoptest.Tenant, holdID, shoptest.Warehouses)
		return err
	})
	return ok
}

func transfer(t *testing.T, s *shoptest.Shop, sku, from, to string, units int) error {
	t.Helper()
	return s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		return stock.Transfer(t.Context(), tx, shoptest.Tenant, sku, from, to, units, "", "ana")
	})
}

func TestCount_BelowWhatIsPromisedTakesUnpaidBeforePaidAndNewestFirst(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 10)
	paid := confirmed(t, s, "A", 3)
	older := held(t, s, "A", 3)
	newer := held(t, s, "A", 3)
	free := held(t, s, "A", 1)
	require.True(t, do(t, s, stock.Release, free))
	// 9 promised, 5 there: 4 are missing, after the free one.
	lost := count(t, s, "A", "SCL-1", 5)
	require.ElementsMatch(t, []stock.Shorted{{HoldID: newer, Units: 3}, {HoldID: older, Units: 1}}, lost)
	require.Equal(t, "short", state(t, s, newer).Status)
	require.Zero(t, state(t, s, newer).Units())
	require.Equal(t, "short", state(t, s, older).Status)
	require.Equal(t, 2, state(t, s, older).Units())
	require.Equal(t, "confirmed", state(t, s, paid).Status)
	s.CheckBooks(t)
	l := level(t, s, "A", "SCL-1")
	require.Equal(t, [2]int{5, 5}, [2]int{l.OnHand, l.Reserved})

	// Then the paid ones too, and each loser is named with its order.
	lost = count(t, s, "A", "SCL-1", 1)
	require.ElementsMatch(t, []stock.Shorted{{HoldID: older, Units: 2}, {HoldID: paid, OrderID: paid, Units: 2}}, lost)
	require.Equal(t, "short", state(t, s, paid).Status)
	require.NotNil(t, state(t, s, paid).ConfirmedAt, "it is still paid")
	require.Equal(t, 1, state(t, s, paid).Units())
	s.CheckBooks(t)

	// What was lost does not come back when the hold ends.
	require.True(t, do(t, s, stock.Release, older))
	require.True(t, do(t, s, stock.Release, newer))
	s.CheckBooks(t)
	require.Equal(t, 1, level(t, s, "A", "SCL-1").Reserved)
}

func TestCount_KeepsEveryOpenRowOnTheListOfWhatMustMove(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 2)
	paid := confirmed(t, s, "A", 1)
	held(t, s, "A", 1)
	count(t, s, "A", "SCL-1", 0)
	require.Equal(t, 2, shoptest.Value[int](t, s, `SELECT count(*) FROM holds WHERE status = 'short' AND due_at IS NOT NULL`))
	require.Zero(t, state(t, s, paid).Units())
}

func TestCount_AddsTheMovementsAfterIt(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 20)
	// Counted an hour ago; since then 5 were received and 2 broke.
	s.Exec(t, `UPDATE stock_movements SET created_at = now() - interval '2 hours'`)
	_, err := adjust(t, s, stock.Change{SKU: "A", Warehouse: "SCL-1", Delta: 5, Reason: "receipt"})
	require.NoError(t, err)
	_, err = adjust(t, s, stock.Change{SKU: "A", Warehouse: "SCL-1", Delta: -2, Reason: "damage"})
	require.NoError(t, err)
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Count(t.Context(), tx, shoptest.Tenant, "A", "SCL-1", 18, time.Now().Add(-time.Hour), "ana")
		return err
	})
	require.Equal(t, 21, level(t, s, "A", "SCL-1").OnHand)
	s.Do(t, func(tx pgx.Tx) error {
		moves, err := stock.Movements(t.Context(), tx, shoptest.Tenant, "A", 0, 10)
		require.NoError(t, err)
		require.Equal(t, "count", moves[0].Reason)
		require.Equal(t, -2, moves[0].Delta, "a correction is a new entry")
		require.Len(t, moves, 4)
		older, err := stock.Movements(t.Context(), tx, shoptest.Tenant, "A", moves[1].ID, 1)
		require.NoError(t, err)
		require.Equal(t, moves[2:3], older)
		return nil
	})
	s.CheckBooks(t)
}

func TestCount_OfWhatIsThereWritesNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	require.Empty(t, count(t, s, "A", "SCL-1", 5))
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM stock_movements`))
}

func TestLedger_RefusesPlacesThatDoNotExist(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	s.AddTenant(t, "other")
	for _, c := range [][2]string{{"A", "NOWHERE"}, {"NOTHING", "SCL-1"}} {
		_, err := adjust(t, s, stock.Change{SKU: c[0], Warehouse: c[1], Delta: 1, Reason: "receipt"})
		require.ErrorIs(t, err, stock.ErrNoSuchPlace)
		require.ErrorIs(t, transfer(t, s, c[0], "SCL-1", c[1], 1), stock.ErrNoSuchPlace)
	}
	err := s.DB.InTenant(t.Context(), "other", func(tx pgx.Tx) error {
		_, err := stock.Count(t.Context(), tx, "other", "A", "SCL-1", 1, time.Now(), "")
		return err
	})
	require.ErrorIs(t, err, stock.ErrNoSuchPlace, "another tenant's SKU")
}

func TestAdjust_BooksWithItsReasonAndNeverBelowZero(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	holdID := held(t, s, "A", 4)
	_, err := adjust(t, s, stock.Change{SKU: "A", Warehouse: "SCL-1", Delta: -6, Reason: "loss"})
	require.ErrorIs(t, err, stock.ErrBelowZero)
	require.Equal(t, "held", state(t, s, holdID).Status, "nothing of a refused change stands")
	lost, err := adjust(t, s, stock.Change{SKU: "A", Warehouse: "SCL-1", Delta: -3, Reason: "damage", Note: "wet"})
	require.NoError(t, err)
	require.Equal(t, []stock.Shorted{{HoldID: holdID, Units: 2}}, lost)
	_, err = adjust(t, s, stock.Change{SKU: "A", Warehouse: "SCL-1", Delta: 1, Reason: "because"})
	require.Error(t, err)
	// A level appears with its first movement.
	_, err = adjust(t, s, stock.Change{SKU: "A", Warehouse: "ANF-1", Delta: 7, Reason: "receipt"})
	require.NoError(t, err)
	require.Equal(t, 7, level(t, s, "A", "ANF-1").Available)
	s.CheckBooks(t)
}

func TestTransfer_MovesOnlyWhatNobodyWasPromised(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5, 1)
	held(t, s, "A", 3)
	require.ErrorIs(t, transfer(t, s, "A", "SCL-1", "CCP-1", 3), stock.ErrPromised)
	require.NoError(t, transfer(t, s, "A", "SCL-1", "CCP-1", 2))
	require.Equal(t, 3, level(t, s, "A", "SCL-1").OnHand)
	require.Equal(t, 3, level(t, s, "A", "CCP-1").OnHand)
	require.ErrorIs(t, transfer(t, s, "A", "ANF-1", "SCL-1", 1), stock.ErrPromised)
	s.CheckBooks(t)
}

func TestCure_TakesFromOtherShelvesAllOrNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5, 0, 1)
	s.Product(t, "B", 1000, 5, 5)
	r := request(stock.Want{SKU: "A", Quantity: 4}, stock.Want{SKU: "B", Quantity: 2})
	require.Empty(t, place(t, s, r).Shortages)
	require.True(t, do(t, s, confirm, r.HoldID))
	count(t, s, "A", "SCL-1", 2)
	require.False(t, cure(t, s, r.HoldID), "one is left, two are missing")
	require.Equal(t, "short", state(t, s, r.HoldID).Status)
	s.CheckBooks(t)

	_, err := adjust(t, s, stock.Change{SKU: "A", Warehouse: "CCP-1", Delta: 1, Reason: "receipt"})
	require.NoError(t, err)
	require.True(t, cure(t, s, r.HoldID))
	h := state(t, s, r.HoldID)
	require.Equal(t, "confirmed", h.Status)
	require.Equal(t, 6, h.Units())
	require.Equal(t, []stock.HeldLine{
		{Line: stock.Line{SKU: "A", Warehouse: "ANF-1", Quantity: 1}}, {Line: stock.Line{SKU: "A", Warehouse: "CCP-1", Quantity: 1}},
		{Line: stock.Line{SKU: "A", Warehouse: "SCL-1", Quantity: 2}}, {Line: stock.Line{SKU: "B", Warehouse: "SCL-1", Quantity: 2}},
	}, h.Lines)
	require.True(t, cure(t, s, r.HoldID), "nothing is missing any more")
	s.CheckBooks(t)
	s.Do(t, func(tx pgx.Tx) error {
		return stock.HandOver(t.Context(), tx, shoptest.Tenant, r.HoldID, "handed_over", "ana")
	})
	s.CheckBooks(t)
}

func TestCure_OnTheSameShelfAndOfAnUnpaidHold(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 3)
	holdID := held(t, s, "A", 3)
	count(t, s, "A", "SCL-1", 0)
	require.Zero(t, state(t, s, holdID).Units())
	_, err := adjust(t, s, stock.Change{SKU: "A", Warehouse: "SCL-1", Delta: 5, Reason: "receipt"})
	require.NoError(t, err)
	require.True(t, cure(t, s, holdID))
	h := state(t, s, holdID)
	require.Equal(t, "held", h.Status)
	require.Equal(t, 3, h.Units())
	require.True(t, do(t, s, stock.Release, holdID))
	require.Equal(t, 5, level(t, s, "A", "SCL-1").Available)
	s.CheckBooks(t)
}

func TestCure_OfAHoldWhoseOtherUnitsHaveLeftHandsOverOnlyTheRest(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	holdID := confirmed(t, s, "A", 5)
	handOver := func() {
		s.Do(t, func(tx pgx.Tx) error {
			return stock.HandOver(t.Context(), tx, shoptest.Tenant, holdID, "handed_over", "ana")
		})
		s.CheckBooks(t)
	}
	count(t, s, "A", "SCL-1", 2) // three are lost
	handOver()                   // two leave
	require.Zero(t, level(t, s, "A", "SCL-1").OnHand)
	_, err := adjust(t, s, stock.Change{SKU: "A", Warehouse: "SCL-1", Delta: 10, Reason: "receipt"})
	require.NoError(t, err)
	other := confirmed(t, s, "A", 4)
	require.True(t, cure(t, s, holdID))
	s.CheckBooks(t)
	handOver() // the three that stood in
	l := level(t, s, "A", "SCL-1")
	require.Equal(t, [2]int{7, 4}, [2]int{l.OnHand, l.Reserved})
	require.Equal(t, 4, state(t, s, other).Units())
}

func TestCure_TakesWhatIsSetAsideForItsChannelAndLeavesOthers(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 2, 4)
	holdID := held(t, s, "A", 2)
	s.Do(t, func(tx pgx.Tx) error {
		if err := stock.SetAside(t.Context(), tx, shoptest.Tenant, "A", "CCP-1", "mercadolibre", 3); err != nil {
			return err
		}
		_, err := stock.Count(t.Context(), tx, shoptest.Tenant, "A", "SCL-1", 0, time.Now(), "ana")
		return err
	})
	require.False(t, cure(t, s, holdID), "three of the four are another channel's")
	s.Do(t, func(tx pgx.Tx) error {
		if err := stock.SetAside(t.Context(), tx, shoptest.Tenant, "A", "CCP-1", "mercadolibre", 2); err != nil {
			return err
		}
		return stock.SetAside(t.Context(), tx, shoptest.Tenant, "A", "CCP-1", "web", 1)
	})
	require.True(t, cure(t, s, holdID))
	require.Equal(t, map[string]int{"mercadolibre": 2}, without(level(t, s, "A", "CCP-1").SetAside), "the channel holds its own unit now")
	require.True(t, do(t, s, stock.Release, holdID))
	require.Equal(t, map[string]int{"mercadolibre": 2, "web": 1}, without(level(t, s, "A", "CCP-1").SetAside))
	s.CheckBooks(t)
}
