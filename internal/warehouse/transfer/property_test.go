package transfer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/warehouse/transfer"
)

// road is a machine of random transfers between two warehouses, of a SKU with
// lots, one with serials and one with neither.
type road struct {
	*world
	skus []string
	ids  []string
	sum  map[string]int
}

// units is where everything of some SKUs is: on hand, damaged or expired in bins,
// on the way, lost; less what came without having been sent.
const units = `SELECT p.sku, (SELECT coalesce(sum(on_hand - placed), 0) FROM stock_levels s WHERE s.tenant = p.tenant AND s.sku = p.sku)
     + (SELECT coalesce(sum(quantity), 0) FROM bin_stock s WHERE s.tenant = p.tenant AND s.sku = p.sku)
     + (SELECT coalesce(sum(sent - received - damaged - recalled - over), 0) FROM transfer_units u WHERE u.tenant = p.tenant AND u.sku = p.sku)
  FROM products p WHERE p.tenant = 'acme' AND p.sku = ANY($1)`

func (r *road) total(t require.TestingT) map[string]int {
	rows, err := r.Super.Query(context.Background(), units, r.skus)
	require.NoError(t, err)
	sum := map[string]int{}
	var sku string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&sku, &n}, func() error {
		sum[sku] = n
		return nil
	})
	require.NoError(t, err)
	return sum
}

// do runs an action; what is refused by name is no failure.
func (r *road) do(t *rapid.T, fn func(ctx context.Context, tx pgx.Tx) error) {
	err := r.DB.InTenant(context.Background(), shoptest.Tenant, func(tx pgx.Tx) error { return fn(context.Background(), tx) })
	if p, ok := problem.As(err); ok {
		require.Contains(t, []string{"more_than_sent", "units_promised", "not_on_shelf", "transfer_status", "more_than_requested"}, p.Code, p.Error())
		return
	}
	require.NoError(t, err)
}

// send dispatches a pile that lies in a bin of either warehouse.
func (r *road) send(t *rapid.T) {
	type pile struct {
		Warehouse, SKU, Bin, Lot, Serial string
		Quantity                         int
	}
	rows, err := r.Super.Query(context.Background(), `SELECT s.warehouse, s.sku, s.bin, s.lot, coalesce(n.serial, ''), CASE WHEN n.serial IS NULL THEN s.quantity ELSE 1 END
	    FROM bin_stock s LEFT JOIN serials n ON (n.tenant, n.warehouse, n.bin, n.sku, n.lot, n.status) = (s.tenant, s.warehouse, s.bin, s.sku, s.lot, s.status)
	   WHERE s.sku = ANY($1) AND s.quantity > 0 AND s.status = 'available' ORDER BY 1, 2, 3, 4, 5`, r.skus)
	require.NoError(t, err)
	piles, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pile])
	require.NoError(t, err)
	if len(piles) == 0 {
		t.Skip("everything is on the way")
	}
	p := rapid.SampledFrom(piles).Draw(t, "pile")
	n := rapid.IntRange(1, p.Quantity).Draw(t, "units")
	from, to := p.Warehouse, "CCP-1"
	if from == to {
		to = "SCL-1"
	}
	line := transfer.DispatchLine{SKU: p.SKU, Lot: p.Lot, Bin: p.Bin, Quantity: n}
	if p.Serial != "" {
		line.Serials = []string{p.Serial}
	}
	transferID := id.New()
	r.do(t, func(ctx context.Context, tx pgx.Tx) error {
		if err := transfer.Ask(ctx, tx, shoptest.Tenant, transferID, transfer.Request{From: from, To: to, Lines: []transfer.RequestLine{{SKU: p.SKU, Quantity: n}}}, ana); err != nil {
			return err
		}
		_, err := transfer.Dispatch(ctx, tx, shoptest.Tenant, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{line}}, ana)
		if err == nil {
			r.ids = append(r.ids, transferID)
		}
		return err
	})
}

// pick draws a transfer and units that it has sent.
func (r *road) pick(t *rapid.T) (transferID string, u transfer.Unit, line transfer.ArrivedLine) {
	if len(r.ids) == 0 {
		t.Skip("nothing was sent")
	}
	transferID = rapid.SampledFrom(r.ids).Draw(t, "transfer")
	require.NoError(t, r.DB.InTenant(context.Background(), shoptest.Tenant, func(tx pgx.Tx) error {
		got, err := transfer.Get(context.Background(), tx, shoptest.Tenant, transferID)
		if err == nil {
			u = got.Units[0]
		}
		return err
	}))
	line = transfer.ArrivedLine{SKU: u.SKU, Lot: u.Lot, Quantity: rapid.IntRange(1, u.Sent+1).Draw(t, "units")}
	if u.Serial != "" {
		line.Serials, line.Quantity = []string{u.Serial}, 1
	}
	return transferID, u, line
}

func (r *road) receive(t *rapid.T) {
	transferID, _, line := r.pick(t)
	line.Damaged = rapid.Bool().Draw(t, "damaged")
	in := transfer.Receiving{Bin: rapid.SampledFrom([]string{"REC-1", "A-01"}).Draw(t, "bin"), AcceptOver: rapid.Bool().Draw(t, "accept over"),
		Lines: []transfer.ArrivedLine{line}, OperationID: fmt.Sprintf("op-%d", rapid.IntRange(0, 3).Draw(t, "operation"))}
	r.do(t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := transfer.Receive(ctx, tx, shoptest.Tenant, transferID, in, ana)
		if p, ok := problem.As(err); ok && p.Code == "operation_reused" {
			return nil
		}
		return err
	})
}

func (r *road) lose(t *rapid.T) {
	transferID, _, line := r.pick(t)
	r.do(t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := transfer.Close(ctx, tx, shoptest.Tenant, transferID, transfer.Closing{Lost: []transfer.LostLine{{SKU: line.SKU, Lot: line.Lot, Serials: line.Serials, Quantity: line.Quantity, Reason: "lost"}}}, ana)
		return err
	})
}

func (r *road) recall(t *rapid.T) {
	transferID, _, line := r.pick(t)
	in := transfer.Cancelling{Recall: true, Bin: "A-01"}
	if rapid.Bool().Draw(t, "a part") {
		in.Lines = []transfer.ArrivedLine{line}
	}
	r.do(t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := transfer.Cancel(ctx, tx, shoptest.Tenant, transferID, in, ana)
		return err
	})
}

// check demands that no unit came from nowhere or went there.
func (r *road) check(t *rapid.T) {
	require.Equal(t, r.sum, r.total(t))
}

func TestTransfer_NoUnitComesFromNowhereOrGoesThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		r := &road{world: w}
		for _, tracking := range []string{"none", "lot", "serial"} {
			sku := fmt.Sprintf("%s-%d", tracking, round)
			w.Product(w.t, sku, 1_000)
			w.Tracked(w.t, sku, tracking, "fefo")
			switch tracking {
			case "serial":
				for i := range 3 {
					w.put(sku, "", fmt.Sprintf("N%d", i), 1)
				}
			case "lot":
				w.put(sku, "L1", "", 4)
				w.put(sku, "L2", "", 4)
			default:
				w.put(sku, "", "", 8)
			}
			r.skus = append(r.skus, sku)
		}
		r.sum = r.total(t)
		require.Equal(t, map[string]int{r.skus[0]: 8, r.skus[1]: 8, r.skus[2]: 3}, r.sum)
		t.Repeat(map[string]func(*rapid.T){"send": r.send, "receive": r.receive, "lose": r.lose, "recall": r.recall, "": r.check})
		r.CheckBooks(t)
	})
}
