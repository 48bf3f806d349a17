package place_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/place"
)

func spot(bin, status string) *stock.Spot { return &stock.Spot{Bin: bin, Status: status} }

// house is a shop with a bin of every kind.
func house(t *testing.T) *shoptest.Shop {
	t.Helper()
	s := shoptest.New(t)
	for code, kind := range map[string]string{"P-1": "pick", "P-2": "pick", "RES-1": "reserve", "RECV-1": "receiving", "PACK-1": "packing", "QUAR-1": "quarantine", "DAM-1": "damaged", "TRAN-1": "in_transit"} {
		s.Bin(t, "SCL-1", code, kind)
	}
	return s
}

func TestMoveUnits_ByHandGoesTheWayOfItsReason(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "A", 1000, 20)
	out := moved(t, s, place.Moving{SKU: "A", Quantity: 10, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away", Note: "first", Document: "receipt:x"})
	require.Equal(t, place.Move{Warehouse: "SCL-1", SKU: "A", Serials: []string{}, Quantity: 10, Reason: "put_away", Shorted: []stock.Shorted{}, Dropped: []place.Lost{},
		From: &place.SpotNow{Status: "available", Quantity: 10}, To: &place.SpotNow{Bin: "P-1", Status: "available", Quantity: 10, Version: 1}}, out)
	moved(t, s, place.Moving{SKU: "A", Quantity: 4, From: spot("P-1", ""), To: spot("P-2", ""), Reason: "move"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 1, From: spot("P-1", ""), To: spot("DAM-1", ""), Reason: "damage"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 2, From: spot("P-1", ""), Reason: "hold"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 1, From: spot("P-1", ""), To: nil, Reason: "release"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 1, From: spot("P-1", "held"), To: spot("QUAR-1", ""), Reason: "move"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 1, From: spot("DAM-1", "damaged"), Reason: "damage"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 1, From: spot("P-2", ""), Reason: "loss"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 3, To: spot("P-2", ""), Reason: "adjustment", Note: "found"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 2, From: spot("P-2", ""), Reason: "adjustment"})
	require.Equal(t, []string{"P-1 available 4", "P-2 available 4", "QUAR-1 held 1"},
		shoptest.List[string](t, s, `SELECT bin || ' ' || status || ' ' || quantity FROM bin_stock WHERE quantity > 0 ORDER BY 1`))
	require.Equal(t, 18, shoptest.Value[int](t, s, `SELECT on_hand FROM stock_levels WHERE sku = 'A' AND warehouse = 'SCL-1'`))
	require.Equal(t, 8, shoptest.Value[int](t, s, `SELECT placed FROM stock_levels WHERE sku = 'A' AND warehouse = 'SCL-1'`))
	require.Equal(t, []string{"ana scanner-1 k receipt:x first"}, shoptest.List[string](t, s, `SELECT person || ' ' || device || ' ' || key_id || ' ' || document || ' ' || note FROM bin_movements ORDER BY id LIMIT 1`))
	s.CheckBooks(t)
}

func TestMoveUnits_RefusesWithAReasonUnlessItMustBe(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "A", 1000, 20)
	s.Product(t, "B", 1000, 20)
	s.Product(t, "L", 1000)
	s.Tracked(t, "L", "lot", "fefo")
	received(t, s, "L", "L1", "RECV-1", 5, date(30))
	received(t, s, "L", "L2", "RECV-1", 5, date(30))
	_, refused := putBin(t, s, floor.BinInput{Code: "ONE-SKU", LotRule: floor.OneSKU}, true)
	require.Nil(t, refused)
	_, refused = putBin(t, s, floor.BinInput{Code: "SMALL", MaxUnits: 1}, true)
	require.Nil(t, refused)
	_, refused = putBin(t, s, floor.BinInput{Code: "ONE-LOT", LotRule: floor.OneLot}, true)
	require.Nil(t, refused)
	moved(t, s, place.Moving{SKU: "A", Quantity: 5, From: spot("", ""), To: spot("ONE-SKU", ""), Reason: "put_away"})
	moved(t, s, place.Moving{SKU: "L", Lot: "L1", Quantity: 1, From: spot("RECV-1", ""), To: spot("ONE-LOT", ""), Reason: "put_away"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 1, From: spot("", ""), To: spot("ONE-LOT", ""), Reason: "put_away"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 5, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"})

	for name, tc := range map[string]struct {
		m    place.Moving
		code string
	}{
		"into a packing bin":    {place.Moving{SKU: "A", Quantity: 1, From: spot("P-1", ""), To: spot("PACK-1", ""), Reason: "move"}, "wrong_bin_kind"},
		"for sale in the cage":  {place.Moving{SKU: "A", Quantity: 1, From: spot("P-1", ""), To: spot("DAM-1", ""), Reason: "move"}, "wrong_bin_kind"},
		"damaged in a pick bin": {place.Moving{SKU: "A", Quantity: 1, From: spot("P-1", ""), To: spot("P-2", ""), Reason: "damage"}, "wrong_bin_kind"},
		"another SKU":           {place.Moving{SKU: "B", Quantity: 1, From: spot("", ""), To: spot("ONE-SKU", ""), Reason: "put_away"}, "lot_rule"},
		"another lot":           {place.Moving{SKU: "L", Lot: "L2", Quantity: 1, From: spot("RECV-1", ""), To: spot("ONE-LOT", ""), Reason: "put_away"}, "lot_rule"},
		"more than it holds":    {place.Moving{SKU: "A", Quantity: 2, From: spot("", ""), To: spot("SMALL", ""), Reason: "put_away"}, "bin_full"},
	} {
		_, refused := move(t, s, tc.m)
		require.NotNil(t, refused, name)
		require.Equal(t, tc.code, refused.Code, name)
		require.NotEmpty(t, refused.More["current"], name)
		tc.m.Force = true
		_, refused = move(t, s, tc.m)
		require.Nil(t, refused, name)
	}

	// What is impossible is not possible by force either.
	for name, tc := range map[string]struct {
		m    place.Moving
		code string
	}{
		"too few":        {place.Moving{SKU: "A", Quantity: 50, From: spot("P-1", ""), To: spot("P-2", ""), Reason: "move"}, "not_in_bin"},
		"too few loose":  {place.Moving{SKU: "A", Quantity: 50, From: spot("", ""), To: spot("P-2", ""), Reason: "put_away"}, "not_in_bin"},
		"no such bin":    {place.Moving{SKU: "A", Quantity: 1, From: spot("", ""), To: spot("NO", ""), Reason: "put_away"}, "unknown_bin"},
		"no such SKU":    {place.Moving{SKU: "NO", Quantity: 1, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"}, "unknown_sku"},
		"no such code":   {place.Moving{Scanned: "780", Quantity: 1, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"}, "unknown_item"},
		"wrong code":     {place.Moving{SKU: "A", Scanned: "B", Quantity: 1, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"}, "wrong_item"},
		"no warehouse":   {place.Moving{Warehouse: "NO", SKU: "A", Quantity: 1, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"}, "unknown_warehouse"},
		"other version":  {place.Moving{SKU: "A", Quantity: 1, From: spot("P-1", ""), To: spot("P-2", ""), Reason: "move", Version: 99}, "version_changed"},
		"no lot":         {place.Moving{SKU: "L", Quantity: 1, From: spot("RECV-1", ""), To: spot("P-1", ""), Reason: "put_away"}, "required"},
		"a lot too many": {place.Moving{SKU: "A", Lot: "L1", Quantity: 1, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"}, "not_tracked"},
		"other expiry":   {place.Moving{SKU: "L", Lot: "L1", ExpiresOn: date(3), Quantity: 1, To: spot("P-1", ""), Reason: "adjustment"}, "other_expiry"},
	} {
		tc.m.Force = true
		_, refused := move(t, s, tc.m)
		require.NotNil(t, refused, name)
		require.Equal(t, tc.code, refused.Code, name)
	}
	s.CheckBooks(t)
}

func TestMoveUnits_NamesEveryFaultOfARequest(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "A", 1000, 20)
	s.Product(t, "N", 1000)
	s.Tracked(t, "N", "serial", "fifo")
	for name, tc := range map[string]struct {
		m    place.Moving
		want map[string]string
	}{
		"no reason":            {place.Moving{SKU: "A"}, map[string]string{"reason": "invalid"}},
		"nothing":              {place.Moving{SKU: "A", Reason: "move"}, map[string]string{"from": "required", "quantity": "out_of_range"}},
		"nowhere":              {place.Moving{SKU: "A", Reason: "move", Quantity: 1, From: spot("P-1", "")}, map[string]string{"to": "required"}},
		"lost to a bin":        {place.Moving{SKU: "A", Reason: "loss", Quantity: 1, From: spot("P-1", ""), To: spot("P-2", "")}, map[string]string{"to": "wrong_direction"}},
		"to where it is":       {place.Moving{SKU: "A", Reason: "move", Quantity: 1, From: spot("P-1", ""), To: spot("P-1", "")}, map[string]string{"to": "invalid"}},
		"a status of its own":  {place.Moving{SKU: "A", Reason: "move", Quantity: 1, From: spot("P-1", "x"), To: spot("P-2", "held")}, map[string]string{"from.status": "invalid", "to.status": "wrong_direction"}},
		"held in no bin":       {place.Moving{SKU: "A", Reason: "hold", Quantity: 1, From: spot("", "")}, map[string]string{"from.bin": "required", "to.bin": "required"}},
		"from outside to none": {place.Moving{SKU: "A", Reason: "adjustment", Quantity: 1, To: spot("", "")}, map[string]string{"to.bin": "required"}},
		"a hold that frees":    {place.Moving{SKU: "A", Reason: "hold", Quantity: 1, From: spot("P-1", ""), To: spot("P-2", "available")}, map[string]string{"to.status": "wrong_direction"}},
		"serials of others":    {place.Moving{SKU: "A", Reason: "move", Serials: []string{"S"}, From: spot("P-1", ""), To: spot("P-2", "")}, map[string]string{"serials": "not_tracked"}},
		"serials twice":        {place.Moving{SKU: "N", Reason: "move", Quantity: 3, Serials: []string{"S", "S", " "}, From: spot("P-1", ""), To: spot("P-2", "")}, map[string]string{"serials[1]": "repeated", "serials[2]": "invalid"}},
		"fewer serials":        {place.Moving{SKU: "N", Reason: "move", Quantity: 3, Serials: []string{"S"}, From: spot("P-1", ""), To: spot("P-2", "")}, map[string]string{"quantity": "invalid"}},
		"no serials":           {place.Moving{SKU: "N", Reason: "move", Quantity: 3, From: spot("P-1", ""), To: spot("P-2", "")}, map[string]string{"serials": "required"}},
	} {
		_, refused := move(t, s, tc.m)
		require.NotNil(t, refused, name)
		require.Equal(t, tc.want, codes(refused), name)
	}
}

func TestMoveUnits_TheShelfWinsAndEveryLoserIsNamed(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "A", 1000, 5)
	moved(t, s, place.Moving{SKU: "A", Quantity: 5, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"})
	holdID, orderID := ordered(t, s, "A", 4)
	list := allocated(t, s, holdID, "A", 4)
	require.Len(t, list, 1)

	_, refused := move(t, s, place.Moving{SKU: "A", Quantity: 2, From: spot("P-1", ""), To: spot("P-2", ""), Reason: "move"})
	require.Equal(t, "units_allocated", refused.Code)
	require.Equal(t, 4, shoptest.Value[int](t, s, `SELECT allocated FROM bin_stock WHERE bin = 'P-1'`), "nothing was moved")
	out := moved(t, s, place.Moving{SKU: "A", Quantity: 2, From: spot("P-1", ""), To: spot("P-2", ""), Reason: "move", Force: true})
	require.Equal(t, []place.Lost{{AllocationID: list[0].ID, ReservationID: holdID, Units: 1}}, out.Dropped)
	require.Empty(t, out.Shorted)

	out = moved(t, s, place.Moving{SKU: "A", Quantity: 3, From: spot("P-1", ""), To: spot("DAM-1", ""), Reason: "damage"})
	require.Equal(t, []stock.Shorted{{HoldID: holdID, OrderID: orderID, Units: 2}}, out.Shorted)
	require.Equal(t, "short", shoptest.Value[string](t, s, `SELECT status FROM holds WHERE id = $1`, holdID))
	s.CheckBooks(t)
}

func TestMoveUnits_SerialsAreWhereTheyAre(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "N", 1000, 2)
	s.Tracked(t, "N", "serial", "fifo")
	s.Exec(t, `UPDATE products SET barcodes = '{9501101530003}'`)
	moved(t, s, place.Moving{Scanned: "(01)09501101530003(21)S-1", From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"})
	moved(t, s, place.Moving{SKU: "N", Serials: []string{"S-2"}, From: spot("", ""), To: spot("P-2", ""), Reason: "put_away"})
	_, refused := move(t, s, place.Moving{SKU: "N", Serials: []string{"S-2"}, From: spot("P-1", ""), To: spot("RES-1", ""), Reason: "move"})
	require.Equal(t, "serial_elsewhere", refused.Code)
	_, refused = move(t, s, place.Moving{SKU: "N", Serials: []string{"S-1"}, To: spot("RES-1", ""), Reason: "adjustment"})
	require.Equal(t, "serial_in_stock", refused.Code)
	out := moved(t, s, place.Moving{SKU: "N", Serials: []string{"S-2"}, From: spot("P-2", ""), To: spot("P-1", ""), Reason: "move"})
	require.Equal(t, 2, out.To.Quantity)
	moved(t, s, place.Moving{SKU: "N", Serials: []string{"S-1", "S-2"}, From: spot("P-1", ""), To: spot("QUAR-1", ""), Reason: "hold"})
	require.Equal(t, []string{"QUAR-1 held", "QUAR-1 held"}, shoptest.List[string](t, s, `SELECT bin || ' ' || status FROM serials ORDER BY serial`))
	s.CheckBooks(t)
}

func TestMoveUnits_ARefusalLeavesTheCallersTransactionAsItWas(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "N", 1000, 2)
	s.Tracked(t, "N", "serial", "fifo")
	s.Do(t, func(tx pgx.Tx) error {
		m := place.Moving{Warehouse: "SCL-1", SKU: "N", Serials: []string{"S-1"}, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away", By: ana}
		_, err := place.MoveUnits(t.Context(), tx, shoptest.Tenant, m)
		require.NoError(t, err)
		_, err = place.MoveUnits(t.Context(), tx, shoptest.Tenant, m)
		require.Error(t, err)
		m.Serials = []string{"S-2"}
		_, err = place.MoveUnits(t.Context(), tx, shoptest.Tenant, m)
		return err
	})
	require.Equal(t, 2, shoptest.Value[int](t, s, `SELECT count(*)::int FROM serials`))
	s.CheckBooks(t)
}

func TestWhere_TellsBinsAndWhatLiesInNone(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "A", 1000, 20, 7)
	moved(t, s, place.Moving{SKU: "A", Quantity: 12, From: spot("", ""), To: spot("P-1", ""), Reason: "put_away"})
	moved(t, s, place.Moving{SKU: "A", Quantity: 2, From: spot("P-1", ""), To: spot("QUAR-1", ""), Reason: "hold"})
	s.Do(t, func(tx pgx.Tx) error {
		w, err := place.Where(t.Context(), tx, shoptest.Tenant, "A")
		require.NoError(t, err)
		require.Equal(t, "none", w.Tracking)
		require.Len(t, w.Warehouses, 2)
		require.Equal(t, 7, w.Warehouses[0].InNoBin)
		require.Empty(t, w.Warehouses[0].Bins)
		scl := w.Warehouses[1]
		require.Equal(t, []int{18, 10, 8}, []int{scl.OnHand, scl.Placed, scl.InNoBin})
		require.Len(t, scl.Bins, 2)
		require.Equal(t, "held", scl.Bins[1].Status)
		require.Equal(t, floor.Quarantine, scl.Bins[1].Kind)
		return nil
	})
}
