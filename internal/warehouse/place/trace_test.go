package place_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/place"
)

func traceLot(t *testing.T, s *shoptest.Shop, lot, sku string) (out place.Trace, refused *problem.Error) {
	t.Helper()
	refused = try(t, s, func(tx pgx.Tx) (err error) {
		out, err = place.TraceLot(t.Context(), tx, shoptest.Tenant, lot, sku, 0, 100)
		return err
	})
	return out, refused
}

func reasons(steps []place.Step) (out []string) {
	for _, s := range steps {
		out = append(out, s.Reason)
	}
	return out
}

func TestTraceLot_GoesFromReceiptToTheOrdersThatGotIt(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "L", 1000)
	s.Tracked(t, "L", "lot", "fefo")
	received(t, s, "L", "L1", "RECV-1", 6, date(30))
	received(t, s, "L", "L2", "P-2", 9, date(60))
	moved(t, s, place.Moving{SKU: "L", Lot: "L1", Quantity: 6, From: spot("RECV-1", ""), To: spot("P-1", ""), Reason: "put_away"})
	holdID, orderID := ordered(t, s, "L", 4)
	for _, a := range allocated(t, s, holdID, "L", 4) {
		picked(t, s, a, "PACK-1")
	}
	shipment := id.New()
	s.Exec(t, `INSERT INTO shipments (tenant, id, order_id, warehouse, status, lines) VALUES ('acme', $1, $2, 'SCL-1', 'packed', '[]')`, shipment, orderID)
	s.Do(t, func(tx pgx.Tx) error {
		return stock.HandOverFrom(t.Context(), tx, shoptest.Tenant, holdID, "SCL-1", "shipment:"+shipment, ana)
	})

	out, refused := traceLot(t, s, "L1", "")
	require.Nil(t, refused)
	require.Equal(t, "L", out.SKU)
	require.Equal(t, "available", *out.Status)
	require.Equal(t, []string{"receipt", "put_away", "pick", "handed_over"}, reasons(out.Movements))
	first := out.Movements[0]
	require.Nil(t, first.From)
	require.Equal(t, &place.StepSpot{Bin: "RECV-1", Status: "available"}, first.To)
	require.Equal(t, []string{"receipt:01ARZ3NDEKTSV4RRFFQ69G5FAV", "ana", "scanner-1"}, []string{first.Document, first.Person, first.Device})
	require.Equal(t, []place.Step{first}, out.Origins)
	require.Nil(t, out.Movements[3].To)
	require.Equal(t, 2, out.Places[0].Quantity)
	require.Len(t, out.Buyers, 1)
	require.Equal(t, []any{orderID, "ACME-" + orderID, holdID, 4, false}, []any{out.Buyers[0].OrderID, out.Buyers[0].Number, out.Buyers[0].ReservationID, out.Buyers[0].Quantity, out.Buyers[0].Presumed})

	// What leaves without being scanned is presumed, by the document of its hold.
	loose, looseOrder := ordered(t, s, "L", 2)
	s.Do(t, func(tx pgx.Tx) error {
		return stock.HandOver(t.Context(), tx, shoptest.Tenant, loose, "handed_over", "ana")
	})
	byShipment, byShipmentOrder := ordered(t, s, "L", 1)
	parcel := id.New()
	s.Exec(t, `INSERT INTO shipments (tenant, id, order_id, warehouse, status, lines) VALUES ('acme', $1, $2, 'SCL-1', 'packed', '[]')`, parcel, byShipmentOrder)
	s.Do(t, func(tx pgx.Tx) error {
		return stock.HandOverFrom(t.Context(), tx, shoptest.Tenant, byShipment, "SCL-1", "shipment:"+parcel, ana)
	})
	byLot := map[string]int{}
	for _, lot := range []string{"L1", "L2"} {
		out, refused = traceLot(t, s, lot, "L")
		require.Nil(t, refused)
		for _, b := range out.Buyers {
			if b.OrderID == looseOrder || b.OrderID == byShipmentOrder {
				require.True(t, b.Presumed)
				byLot[lot] += b.Quantity
			}
		}
	}
	require.Equal(t, 3, byLot["L1"]+byLot["L2"])
	s.CheckBooks(t)
}

func TestTraceLot_AsksWhichSKUWhenSeveralHaveItAndPages(t *testing.T) {
	t.Parallel()
	s := house(t)
	for _, sku := range []string{"L", "M"} {
		s.Product(t, sku, 1000)
		s.Tracked(t, sku, "lot", "fefo")
		received(t, s, sku, "L1", "P-1", 3, nil)
	}
	moved(t, s, place.Moving{SKU: "M", Lot: "L1", Quantity: 1, From: spot("P-1", ""), To: spot("P-2", ""), Reason: "move"})
	_, refused := traceLot(t, s, "L1", "")
	require.Equal(t, map[string]string{"sku": "required"}, codes(refused))
	_, refused = traceLot(t, s, "NO", "")
	require.Equal(t, problem.NotFound, refused.Kind)
	out, refused := traceLot(t, s, "L1", "M")
	require.Nil(t, refused)
	s.Do(t, func(tx pgx.Tx) error {
		page, err := place.TraceLot(t.Context(), tx, shoptest.Tenant, "L1", "M", out.Movements[0].ID, 100)
		require.Equal(t, []string{"move"}, reasons(page.Movements))
		require.Equal(t, out.Origins, page.Origins)
		return err
	})
}

func TestTraceSerial_TellsWhereAUnitIsAndWhoGotIt(t *testing.T) {
	t.Parallel()
	s := house(t)
	s.Product(t, "N", 1000)
	s.Tracked(t, "N", "serial", "fifo")
	received(t, s, "N", "L1", "P-1", 1, nil, "S-1", "S-2")
	holdID, orderID := ordered(t, s, "N", 1)
	picked(t, s, allocated(t, s, holdID, "N", 1)[0], "PACK-1", "S-2")
	read := func(serial string) (out place.Trace) {
		s.Do(t, func(tx pgx.Tx) (err error) {
			out, err = place.TraceSerial(t.Context(), tx, shoptest.Tenant, serial, "", 0, 100)
			return err
		})
		return out
	}
	out := read("S-2")
	require.Equal(t, "L1", out.Lot)
	require.Equal(t, "PACK-1", out.Places[0].Bin)
	require.Equal(t, 1, out.Places[0].Allocated)
	require.Empty(t, out.Buyers)
	s.Do(t, func(tx pgx.Tx) error {
		return stock.HandOver(t.Context(), tx, shoptest.Tenant, holdID, "handed_over", "ana")
	})
	out = read("S-2")
	require.Empty(t, out.Places)
	require.Equal(t, []string{"receipt", "pick", "handed_over"}, reasons(out.Movements))
	require.Equal(t, orderID, out.Buyers[0].OrderID)
	require.Empty(t, read("S-1").Buyers)
	require.Equal(t, problem.NotFound, try(t, s, func(tx pgx.Tx) error {
		_, err := place.TraceSerial(t.Context(), tx, shoptest.Tenant, "NO", "", 0, 100)
		return err
	}).Kind)
}
