package stock_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
)

func TestCount_BelowWhatWasPickedTakesThePickedUnitsToo(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	s.Bin(t, "SCL-1", "A-01-A", "pick")
	s.Bin(t, "SCL-1", "PACK", "packing")
	holdID := confirmed(t, s, "A", 4)
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, shoptest.Tenant, stock.BinMovement{SKU: "A", Warehouse: "SCL-1", Quantity: 5, From: stock.Unplaced(), To: stock.In("A-01-A", stock.Available), Reason: "put_away", By: ana})
		require.NoError(t, err)
		list, missing, err := stock.Allocate(t.Context(), tx, shoptest.Tenant, "SCL-1", []stock.ToAllocate{{HoldID: holdID, SKU: "A", Warehouse: "SCL-1", Units: 4}}, today)
		require.NoError(t, err)
		require.Empty(t, missing)
		_, err = stock.Pick(t.Context(), tx, shoptest.Tenant, stock.Taken{AllocationID: list[0].ID, Units: 3, To: "PACK", By: ana})
		return err
	})
	var lost []stock.Shorted
	s.Do(t, func(tx pgx.Tx) (err error) {
		lost, err = stock.Count(t.Context(), tx, shoptest.Tenant, "A", "SCL-1", 1, time.Now(), "ana")
		return err
	})
	require.Equal(t, []stock.Shorted{{HoldID: holdID, OrderID: state(t, s, holdID).OrderID, Units: 3}}, lost)
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT picked FROM hold_lines WHERE hold_id = $1`, holdID), "what is left is still in the packer's hands")
	s.CheckBooks(t)
}
