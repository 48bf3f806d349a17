package audit

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/id"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/transfer"
)

// sendGoods has a transfer of which a part has arrived, one unit damaged and one
// lost, and one is on the way.
func (s *shop) sendGoods() {
	s.ids["lorry"] = id.New()
	lorry, by := s.ids["lorry"], stock.By{Person: "ana"}
	s.in(func(tx pgx.Tx) error {
		ctx := s.t.Context()
		_, err := tx.Exec(ctx, `INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', 'REC-1', 'receiving')`, shopID)
		require.NoError(s.t, err)
		_, err = catalog.PutProduct(ctx, tx, shopID, "CAJA", catalog.ProductInput{Name: "Caja", Prices: []catalog.Price{{Currency: "CLP", Amount: 990}}})
		require.NoError(s.t, err)
		_, err = catalog.PutProduct(ctx, tx, shopID, "VELA", catalog.ProductInput{Name: "Vela", Prices: []catalog.Price{{Currency: "CLP", Amount: 990}}})
		require.NoError(s.t, err)
		_, err = stock.Count(ctx, tx, shopID, "VELA", "CCP-1", 10, time.Now(), "ana")
		require.NoError(s.t, err)
		require.NoError(s.t, transfer.Ask(ctx, tx, shopID, lorry, transfer.Request{From: "CCP-1", To: "SCL-1", Lines: []transfer.RequestLine{{SKU: "VELA", Quantity: 5}}}, by))
		_, err = transfer.Dispatch(ctx, tx, shopID, lorry, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "VELA", Quantity: 5}}}, by)
		require.NoError(s.t, err)
		_, err = transfer.Receive(ctx, tx, shopID, lorry, transfer.Receiving{Bin: "REC-1", AcceptOver: true, Lines: []transfer.ArrivedLine{{SKU: "VELA", Quantity: 1}, {SKU: "VELA", Quantity: 1, Damaged: true}, {SKU: "CAJA", Quantity: 1}}}, by)
		require.NoError(s.t, err)
		_, err = transfer.Cancel(ctx, tx, shopID, lorry, transfer.Cancelling{Recall: true, Lines: []transfer.ArrivedLine{{SKU: "VELA", Quantity: 1}}}, by)
		require.NoError(s.t, err)
		_, err = transfer.Close(ctx, tx, shopID, lorry, transfer.Closing{Lost: []transfer.LostLine{{SKU: "VELA", Quantity: 1, Reason: "fell off"}}}, by)
		return err
	})
}

func TestAudit_NamesWhatWasBrokenOnTheRoad(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ check, breaks string }{
		{"transfers.units_are_their_movements", `UPDATE transfer_units SET sent = sent + 1 WHERE sku = 'VELA'`},
		{"transfers.units_are_their_movements", `UPDATE transfer_units SET received = received - 1, damaged = damaged + 1 WHERE sku = 'VELA'`},
		{"transfers.units_are_their_movements", `UPDATE transfer_units SET over = 0 WHERE sku = 'CAJA'`},
		{"transfers.units_are_their_movements", `DELETE FROM transfer_entries; DELETE FROM transfer_units`},
		{"transfers.no_more_arrives_than_left", `ALTER TABLE transfer_units DROP CONSTRAINT no_more_arrives_than_left; UPDATE transfer_units SET lost = lost + 2 WHERE sku = 'VELA'`},
		{"transfers.lost_units_are_named", `DELETE FROM transfer_entries WHERE kind = 'lost'`},
		{"transfers.status_tells_what_is_on_the_way", `UPDATE transfer_units SET lost = lost + 1 WHERE sku = 'VELA'`},
		{"due.everything_open_has_its_time", `ALTER TABLE transfers DROP CONSTRAINT open_transfer_has_due; UPDATE transfers SET due_at = NULL`},
	} {
		t.Run(tc.check, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			s.broken(tc.breaks)
			requireNamed(t, s.audit(), tc.check, s.ids["lorry"])
		})
	}
}

func TestAudit_LateGoodsAreOnTheSupportList(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.broken(`UPDATE transfers SET due_at = now() - interval '1 minute'`)
	require.True(t, s.audit().OK())
}
