package order_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/order"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func create(t *testing.T, s *shoptest.Shop, change func(*order.New), held ...stock.HeldLine) (orderID string) {
	t.Helper()
	n := order.New{ID: id.New(), Channel: "web", Currency: "CLP", Email: "ana@example.cl", HoldID: id.New(), ShippingTotal: 3_990, DispatchHours: 72,
		Lines: []order.NewLine{{SKU: "A", Name: "Uno", Quantity: 3, UnitPrice: 3_333, Tax: "iva"}, {SKU: "B", Name: "Dos", Quantity: 1, UnitPrice: 1, Tax: "exempt"}}}
	n.Number = "N-" + n.ID
	change(&n)
	s.Do(t, func(tx pgx.Tx) error { return order.Create(t.Context(), tx, shoptest.Tenant, n, held) })
	return n.ID
}

func held(sku, warehouse string, quantity, shorted int) stock.HeldLine {
	return stock.HeldLine{Line: stock.Line{SKU: sku, Warehouse: warehouse, Quantity: quantity}, Shorted: shorted}
}

func TestCreate_SpreadsTheDiscountToTheLastPeso(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	rapid.Check(t, func(rt *rapid.T) {
		var lines []order.NewLine
		var items int64
		for range rapid.IntRange(1, 6).Draw(rt, "lines") {
			l := order.NewLine{SKU: id.New(), Name: "x", Quantity: rapid.IntRange(1, 9).Draw(rt, "quantity"), UnitPrice: rapid.Int64Range(0, 99_999).Draw(rt, "price"), Tax: rapid.SampledFrom([]string{"iva", "exempt"}).Draw(rt, "tax")}
			items += l.UnitPrice * int64(l.Quantity)
			lines = append(lines, l)
		}
		off := rapid.Int64Range(0, items).Draw(rt, "discount")
		// The CHECKs of the tables refuse lines that do not add up.
		orderID := create(t, s, func(n *order.New) { n.Lines, n.Discount = lines, off })
		require.Equal(rt, off, shoptest.Value[int64](t, s, `SELECT sum(discount) FROM order_lines WHERE order_id = $1`, orderID))
		require.Equal(rt, items-off, shoptest.Value[int64](t, s, `SELECT sum(total) FROM order_lines WHERE order_id = $1`, orderID))
		require.Equal(rt, items-off+3_990, shoptest.Value[int64](t, s, `SELECT total FROM orders WHERE id = $1`, orderID))
		require.Zero(rt, shoptest.Value[int](t, s, `SELECT count(*) FROM order_lines WHERE order_id = $1 AND tax <> 0 AND name = 'exempt'`, orderID))
	})
}

func TestCreate_TaxIsInsideTheTaxedLinesOnly(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	orderID := create(t, s, func(n *order.New) { n.Discount = 1_000 })
	taxes := shoptest.List[int64](t, s, `SELECT tax FROM order_lines WHERE order_id = $1 ORDER BY position`, orderID)
	require.Equal(t, []int64{money.IncludedTax(8_999, order.IVA), 0}, taxes)
}

func TestCreate_ShipsFromEveryWarehouseThatHoldsUnits(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	orderID := create(t, s, func(*order.New) {}, held("A", "SCL-1", 2, 1), held("A", "CCP-1", 1, 1), held("B", "SCL-1", 1, 0))
	shipments := `SELECT warehouse || ' ' || lines FROM shipments WHERE order_id = $1 ORDER BY 1`
	require.Equal(t, []string{`SCL-1 [{"sku": "A", "quantity": 1}, {"sku": "B", "quantity": 1}]`}, shoptest.List[string](t, s, shipments, orderID), "what a count took is not shipped")
	require.True(t, shoptest.Value[bool](t, s, `SELECT due_at BETWEEN now() + interval '71 hours' AND now() + interval '73 hours' FROM shipments`))

	left := create(t, s, func(n *order.New) { n.Completed = true }, held("A", "SCL-1", 3, 0))
	require.Empty(t, shoptest.List[string](t, s, shipments, left), "it has left already")
	require.Equal(t, "completed", shoptest.Value[string](t, s, `SELECT status FROM orders WHERE id = $1`, left))
}

func TestCreate_TwiceIsRefused(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	orderID := create(t, s, func(*order.New) {})
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		return order.Create(t.Context(), tx, shoptest.Tenant, order.New{ID: orderID, Number: "other", Channel: "web", Currency: "CLP", HoldID: "x"}, nil)
	})
	require.ErrorContains(t, err, orderID)
}

func TestResplit_ReplacesOnlyWhatNobodyHasBegun(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	orderID := create(t, s, func(*order.New) {}, held("A", "SCL-1", 2, 0), held("A", "CCP-1", 1, 0), held("A", "ANF-1", 1, 0))
	s.Exec(t, `UPDATE shipments SET status = 'picking' WHERE warehouse = 'ANF-1'`)
	for range 2 {
		s.Do(t, func(tx pgx.Tx) error {
			return order.Resplit(t.Context(), tx, shoptest.Tenant, orderID, []stock.HeldLine{held("A", "SCL-1", 3, 0), held("A", "ANF-1", 9, 0)}, time.Now().Add(time.Hour))
		})
		require.Equal(t, []string{
			`ANF-1 picking [{"sku": "A", "quantity": 1}]`, `CCP-1 cancelled [{"sku": "A", "quantity": 1}]`, `SCL-1 pending [{"sku": "A", "quantity": 3}]`,
		}, shoptest.List[string](t, s, `SELECT warehouse || ' ' || status || ' ' || lines FROM shipments WHERE order_id = $1 ORDER BY 1`, orderID))
	}
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM shipments WHERE status = 'cancelled' AND due_at IS NOT NULL`))
}

func TestResplit_BackToAWarehouseThatWasCancelledShipsFromIt(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	orderID := create(t, s, func(*order.New) {}, held("A", "SCL-1", 2, 0))
	for _, warehouse := range []string{"CCP-1", "SCL-1"} {
		s.Do(t, func(tx pgx.Tx) error {
			return order.Resplit(t.Context(), tx, shoptest.Tenant, orderID, []stock.HeldLine{held("A", warehouse, 2, 0)}, time.Now().Add(time.Hour))
		})
		require.Equal(t, []string{warehouse}, shoptest.List[string](t, s, `SELECT warehouse FROM shipments WHERE order_id = $1 AND status = 'pending' AND due_at IS NOT NULL`, orderID))
	}
}

func TestAttention_KeepsItsFirstReason(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	orderID := create(t, s, func(*order.New) {})
	attention := func() *string {
		return shoptest.Value[*string](t, s, `SELECT attention FROM orders`)
	}
	s.Do(t, func(tx pgx.Tx) error {
		return errors.Join(order.RaiseAttention(t.Context(), tx, shoptest.Tenant, orderID, "short_stock"), order.RaiseAttention(t.Context(), tx, shoptest.Tenant, orderID, "later"))
	})
	require.Equal(t, "short_stock", *attention())
}

func TestRead_ShowsEverythingThatHappenedToTheOrder(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	stray := id.New()
	_, ok, err := checkout.AddAttempt(t.Context(), s.DB, shoptest.Tenant, checkoutID, stray, payment.Transbank, 0)
	require.NoError(t, err)
	require.True(t, ok)
	for _, p := range []string{paymentID, stray} {
		_, err := checkout.Record(t.Context(), s.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: p, Answer: shoptest.Approved(p, 23_990)})
		require.NoError(t, err)
	}
	s.Do(t, func(tx pgx.Tx) error {
		r, err := order.Read(t.Context(), tx, shoptest.Tenant, checkoutID)
		require.NoError(t, err)
		require.Equal(t, order.Totals{Items: 20_000, Shipping: 3_990, Tax: money.IncludedTax(23_990, 19), Total: 23_990, Currency: "CLP"}, r.Totals)
		require.Len(t, r.Lines, 1)
		require.True(t, id.Valid(r.Lines[0].LineID))
		require.Len(t, r.Payments, 2, "a payment that was not kept shows too")
		require.NotEqual(t, r.Payments[0].Applied, r.Payments[1].Applied)
		require.Len(t, r.Refunds, 1)
		require.Equal(t, payment.ReasonDuplicate, r.Refunds[0].Reason)
		require.Equal(t, stray, r.Refunds[0].Parts[0].PaymentID)
		require.Len(t, r.Shipments, 1)
		require.NotNil(t, r.Returns)
		require.Equal(t, "checkout_created", r.Timeline[0].Kind)
		raw, err := json.Marshal(r)
		require.NoError(t, err)
		require.NotContains(t, string(raw), ":null,\"lines\"", "lists are empty, not null")
		_, err = order.Read(t.Context(), tx, shoptest.Tenant, id.New())
		p, ok := problem.As(err)
		require.True(t, ok)
		require.Equal(t, problem.NotFound, p.Kind)
		return nil
	})
}

func TestList_FiltersAndPages(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.AddTenant(t, "other")
	var ids []string
	for i := range 5 {
		ids = append(ids, create(t, s, func(n *order.New) {
			n.Number = fmt.Sprintf("ACME-00000%d", i)
			if i == 3 {
				n.Channel, n.Email, n.Completed = "counter", "otra@example.cl", true
			}
		}, held("A", []string{"SCL-1", "CCP-1"}[i%2], 1, 0)))
	}
	s.Exec(t, `UPDATE orders SET paid_at = now() - interval '2 days' WHERE id = $1`, ids[0])
	list := func(f order.Filter) (got []string) {
		if f.Limit == 0 {
			f.Limit = 50
		}
		s.Do(t, func(tx pgx.Tx) error {
			page, err := order.List(t.Context(), tx, shoptest.Tenant, f)
			for _, o := range page {
				got = append(got, o.ID)
			}
			return err
		})
		return got
	}
	newest := []string{ids[4], ids[3], ids[2], ids[1], ids[0]}
	yesterday := time.Now().Add(-24 * time.Hour)
	require.Equal(t, newest, list(order.Filter{}))
	require.Equal(t, newest[:2], list(order.Filter{Limit: 2}))
	require.Equal(t, newest[2:4], list(order.Filter{Limit: 2, Before: ids[3]}))
	require.Equal(t, ids[3:4], list(order.Filter{Status: "completed"}))
	require.Equal(t, ids[3:4], list(order.Filter{Channel: "counter"}))
	require.Equal(t, ids[3:4], list(order.Filter{Search: "OTRA@example.cl"}))
	require.Equal(t, ids[2:3], list(order.Filter{Search: ids[2]}))
	require.Equal(t, ids[2:3], list(order.Filter{Search: "acme-000002"}))
	require.Equal(t, newest, list(order.Filter{Search: "acme"}))
	require.Equal(t, []string{ids[1]}, list(order.Filter{Warehouse: "CCP-1"}))
	require.Equal(t, newest[:4], list(order.Filter{From: &yesterday}))
	require.Equal(t, ids[:1], list(order.Filter{To: &yesterday}))
	require.Empty(t, list(order.Filter{Search: "%"}))
	require.NoError(t, s.DB.InTenant(t.Context(), "other", func(tx pgx.Tx) error {
		page, err := order.List(t.Context(), tx, "other", order.Filter{Limit: 50})
		require.Empty(t, page)
		return err
	}))
}

func TestAttention_TheEndOfOneReasonHidesNoOther(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	orderID := create(t, s, func(*order.New) {}, held("A", "SCL-1", 3, 0), held("B", "SCL-1", 1, 0))
	shown := func() string {
		return shoptest.Value[string](t, s, `SELECT coalesce(attention, '') FROM orders WHERE id = $1`, orderID)
	}
	change := func(do func(ctx context.Context, tx pgx.Tx, tenant, orderID, reason string) error, reason string) {
		s.Do(t, func(tx pgx.Tx) error { return do(t.Context(), tx, shoptest.Tenant, orderID, reason) })
	}
	change(order.RaiseAttention, "captured_less_than_total")
	change(order.RaiseAttention, "short_stock")
	change(order.RaiseAttention, "captured_less_than_total")
	require.Equal(t, "captured_less_than_total", shown(), "what has waited longest")
	change(order.RaiseAttention, "disputed")
	require.Equal(t, "disputed", shown(), "money comes first")
	change(order.LowerAttention, "disputed")
	require.Equal(t, "captured_less_than_total", shown())
	change(order.LowerAttention, "captured_less_than_total")
	require.Equal(t, "short_stock", shown())
	change(order.LowerAttention, "short_stock")
	require.Empty(t, shown())
	change(order.LowerAttention, "short_stock")
	require.Empty(t, shown())
}
