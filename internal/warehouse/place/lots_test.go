package place_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/place"
)

func holdLot(t *testing.T, s *shoptest.Shop, sku, lot string) (out place.LotChange, refused *problem.Error) {
	t.Helper()
	refused = try(t, s, func(tx pgx.Tx) (err error) {
		out, err = place.HoldLot(t.Context(), tx, shoptest.Tenant, place.LotOrder{SKU: sku, Lot: lot, Reason: "recall", By: ana})
		return err
	})
	return out, refused
}

func releaseLot(t *testing.T, s *shoptest.Shop, sku, lot string) (out place.LotChange, refused *problem.Error) {
	t.Helper()
	refused = try(t, s, func(tx pgx.Tx) (err error) {
		out, err = place.ReleaseLot(t.Context(), tx, shoptest.Tenant, place.LotOrder{SKU: sku, Lot: lot, Reason: "checked", By: ana})
		return err
	})
	return out, refused
}

func expire(t *testing.T, s *shoptest.Shop, today *time.Time) (out place.Expiry) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		out, err = place.ExpireLots(t.Context(), tx, shoptest.Tenant, *today)
		return err
	})
	return out
}

func onHand(t *testing.T, s *shoptest.Shop, sku string) int {
	t.Helper()
	return shoptest.Value[int](t, s, `SELECT on_hand FROM stock_levels WHERE sku = $1 AND warehouse = 'SCL-1'`, sku)
}

func TestHoldLot_TakesAllOfItOffSaleAndBack(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "L", 1000)
	s.Tracked(t, "L", "lot", "fefo")
	received(t, s, "L", "L1", "P-1", 5, date(30))
	received(t, s, "L", "L1", "P-2", 3, date(30))
	received(t, s, "L", "L2", "P-2", 2, date(60))
	holdID, orderID := ordered(t, s, "L", 6)
	for _, a := range allocated(t, s, holdID, "L", 6)[:1] {
		picked(t, s, a, "PACK-1")
	}

	out, refused := holdLot(t, s, "L", "L1")
	require.Nil(t, refused)
	require.Equal(t, 8, out.Moved)
	require.Equal(t, "held", out.Status)
	require.Equal(t, []stock.Shorted{{HoldID: holdID, OrderID: orderID, Units: 4}}, out.Shorted)
	require.NotEmpty(t, out.Dropped)
	require.Equal(t, 2, onHand(t, s, "L"))
	s.CheckBooks(t)
	again, refused := holdLot(t, s, "L", "L1")
	require.Nil(t, refused)
	require.Equal(t, 0, again.Moved)
	_, refused = move(t, s, place.Moving{SKU: "L", Lot: "L1", Quantity: 1, From: spot("P-1", "held"), Reason: "release", Force: true})
	require.Equal(t, "not_in_bin", refused.Code, "the picked units lie in the packing bin")
	_, refused = move(t, s, place.Moving{SKU: "L", Lot: "L1", Quantity: 1, From: spot("PACK-1", "held"), Reason: "release", Force: true})
	require.Equal(t, "lot_not_available", refused.Code)
	_, refused = move(t, s, place.Moving{SKU: "L", Lot: "L1", Quantity: 1, To: spot("P-1", ""), Reason: "adjustment", Force: true})
	require.Equal(t, "lot_not_available", refused.Code)

	out, refused = releaseLot(t, s, "L", "L1")
	require.Nil(t, refused)
	require.Equal(t, 8, out.Moved)
	require.Equal(t, "available", out.Status)
	require.Equal(t, "", out.Reason)
	require.Equal(t, 10, onHand(t, s, "L"))
	require.Equal(t, []string{"lot:L1 ana recall"}, shoptest.List[string](t, s, `SELECT DISTINCT document || ' ' || person || ' ' || note FROM bin_movements WHERE reason = 'hold'`))
	s.CheckBooks(t)

	_, refused = holdLot(t, s, "L", "NO")
	require.Equal(t, problem.NotFound, refused.Kind)
}

func TestHoldLot_MovesSerialsOneByOne(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "N", 1000)
	s.Tracked(t, "N", "serial", "fifo")
	received(t, s, "N", "L1", "P-1", 1, nil, "S-1", "S-2")
	received(t, s, "N", "L2", "P-1", 1, nil, "S-3")
	out, refused := holdLot(t, s, "N", "L1")
	require.Nil(t, refused)
	require.Equal(t, 2, out.Moved)
	require.Equal(t, []string{"S-1 held", "S-2 held", "S-3 available"}, shoptest.List[string](t, s, `SELECT serial || ' ' || status FROM serials ORDER BY serial`))
	s.CheckBooks(t)
}

func TestGetLot_NamesAllSKUsThatHaveIt(t *testing.T) {
	t.Parallel()
	s := house(t)
	for _, sku := range []string{"L", "M"} {
		s.Product(t, sku, 1000)
		s.Tracked(t, sku, "lot", "fefo")
	}
	received(t, s, "L", "L1", "P-1", 5, date(30))
	received(t, s, "M", "L1", "P-2", 3, nil)
	s.Do(t, func(tx pgx.Tx) error {
		l, err := place.GetLot(t.Context(), tx, shoptest.Tenant, "L1")
		require.NoError(t, err)
		require.Len(t, l.SKUs, 2)
		require.Equal(t, date(30).Format(time.DateOnly), *l.SKUs[0].ExpiresOn)
		require.Nil(t, l.SKUs[1].ExpiresOn)
		require.Equal(t, []place.LotSpot{{Warehouse: "SCL-1", Bin: "P-2", Status: "available", Quantity: 3, Version: 1}}, l.SKUs[1].Places)
		return nil
	})
	require.Equal(t, problem.NotFound, try(t, s, func(tx pgx.Tx) error {
		_, err := place.GetLot(t.Context(), tx, shoptest.Tenant, "NO")
		return err
	}).Kind)
}

func TestExpireLots_EndsWhatIsPastItsDayAndNamesWhoLosesUnits(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "L", 1000)
	s.Product(t, "N", 1000)
	s.Tracked(t, "L", "lot", "fefo")
	s.Tracked(t, "N", "serial", "fefo")
	received(t, s, "L", "OLD", "P-1", 5, date(2))
	received(t, s, "L", "TODAY", "P-1", 5, date(5))
	received(t, s, "L", "NEW", "P-2", 5, date(50))
	received(t, s, "L", "NEVER", "P-2", 1, nil)
	received(t, s, "N", "SOON", "P-2", 1, date(2), "S-1")
	moved(t, s, place.Moving{SKU: "L", Lot: "OLD", Quantity: 1, From: spot("P-1", ""), Reason: "hold"})
	moved(t, s, place.Moving{SKU: "L", Lot: "OLD", Quantity: 1, From: spot("P-1", ""), To: spot("DAM-1", ""), Reason: "damage"})
	holdID, orderID := ordered(t, s, "L", 13)
	allocated(t, s, holdID, "L", 8)

	require.Equal(t, 0, expire(t, s, date(2)).Lots, "a lot is good on its day")
	out := expire(t, s, date(5))
	require.Equal(t, 2, out.Lots)
	require.Equal(t, 5, out.Units)
	require.Empty(t, out.Failed)
	require.Equal(t, []stock.Shorted{{HoldID: holdID, OrderID: orderID, Units: 2}}, out.Shorted)
	require.NotEmpty(t, out.Dropped)
	require.Equal(t, []string{"DAM-1 damaged 1", "P-1 expired 4"}, shoptest.List[string](t, s, `SELECT bin || ' ' || status || ' ' || quantity FROM bin_stock WHERE lot = 'OLD' AND quantity > 0 ORDER BY 1`))
	require.Equal(t, []string{"NEVER available", "NEW available", "OLD expired", "SOON expired", "TODAY available"}, shoptest.List[string](t, s, `SELECT lot || ' ' || status FROM lots ORDER BY 1`))
	require.Equal(t, []string{"system lot:OLD"}, shoptest.List[string](t, s, `SELECT DISTINCT person || ' ' || document FROM bin_movements WHERE reason = 'expiry' AND sku = 'L'`))
	s.CheckBooks(t)
	require.Equal(t, 0, expire(t, s, date(5)).Lots)

	received(t, s, "L", "OLD", "P-1", 2, nil)
	require.Equal(t, 2, expire(t, s, date(5)).Units, "units that came after its end")
	_, refused := holdLot(t, s, "L", "OLD")
	require.Equal(t, "lot_expired", refused.Code)
	_, refused = releaseLot(t, s, "L", "OLD")
	require.Equal(t, "lot_expired", refused.Code)
	s.CheckBooks(t)
}
