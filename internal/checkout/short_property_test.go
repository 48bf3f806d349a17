package checkout_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

func init() {
	// Each step is several transactions on a real database.
	if f := flag.Lookup("rapid.checks"); f != nil {
		f.DefValue = "12"
		_ = f.Value.Set(f.DefValue)
	}
}

// Whatever is lost, found and given back by people before and between, units that leave
// were paid for, units that do not were given back, and with the last unit everything went
// back, to the peso.
func TestMendShort_MoneyAndUnitsAgreeWhateverIsLost(t *testing.T) {
	t.Parallel()
	s := &shortShop{Shop: shoptest.New(t, ruled(tenant.RefundShort)), t: t}
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		skus := []string{fmt.Sprintf("P%d", n), fmt.Sprintf("Q%d", n)}
		sold := []int{rapid.IntRange(1, 4).Draw(rt, "units of P"), rapid.IntRange(1, 3).Draw(rt, "units of Q")}
		for i, sku := range skus {
			s.Product(t, sku, rapid.Int64Range(1, 5_000).Draw(rt, "price of "+sku), sold[i])
		}
		off, currency, code := rapid.Int64Range(1, 3_000).Draw(rt, "discount"), "CLP", fmt.Sprintf("OFF%d", n)
		s.Do(t, func(tx pgx.Tx) error {
			_, err := catalog.PutDiscount(t.Context(), tx, shoptest.Tenant, code, catalog.DiscountInput{Kind: "amount", Value: off, Currency: &currency})
			return err
		})
		sub := shoptest.Submission(skus[0], sold[0])
		sub.Items = append(sub.Items, checkout.Item{SKU: skus[1], Quantity: sold[1]})
		sub.DiscountCode = code
		sub.Customer.Email = fmt.Sprintf("buyer%d@example.cl", n)
		s.pay(sub)
		left := []int{sold[0], sold[1]}
		for left[0]+left[1] > 0 {
			i := rapid.IntRange(0, 1).Draw(rt, "which")
			switch {
			case left[i] == 0:
				continue
			case rapid.IntRange(0, 3).Draw(rt, "a person gives one back") == 0:
				s.giveBack(skus[i])
				continue
			}
			lost := rapid.IntRange(1, left[i]).Draw(rt, "lost")
			left[i] -= lost
			s.Do(t, func(tx pgx.Tx) error {
				_, err := stock.Count(t.Context(), tx, shoptest.Tenant, skus[i], "SCL-1", left[i], time.Now(), "ana")
				return err
			})
			require.True(rt, s.mend().Over)
			for j, sku := range skus {
				back, whole := s.back(sku)
				require.GreaterOrEqual(rt, whole, sold[j]-left[j], "units of %s that went back whole", sku)
				require.LessOrEqual(rt, back, shoptest.Value[int64](t, s.Shop, `SELECT total FROM order_lines WHERE order_id = $1 AND sku = $2`, s.order, sku))
			}
		}
		require.Equal(rt, "cancelled", shoptest.Value[string](t, s.Shop, `SELECT status FROM orders WHERE id = $1`, s.order))
		require.Equal(rt, shoptest.Value[int64](t, s.Shop, `SELECT total FROM orders WHERE id = $1`, s.order), shoptest.Value[int64](t, s.Shop, `SELECT sum(amount)::bigint FROM refunds WHERE order_id = $1`, s.order))
		require.Zero(rt, shoptest.Value[int](t, s.Shop, `SELECT coalesce(sum(reserved), 0) FROM stock_levels`))
	})
}

// giveBack is a person who gives the money for a unit back, if there is any.
func (s *shortShop) giveBack(sku string) {
	line := shoptest.Value[string](s.t, s.Shop, `SELECT line_id FROM order_lines WHERE order_id = $1 AND sku = $2`, s.order, sku)
	err := s.DB.InTenant(s.t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		_, err := refund.Book(s.t.Context(), tx, shoptest.Tenant, id.New(), refund.Request{OrderID: s.order, Reason: "agreed", Lines: []refund.LineAsked{{LineID: line, Quantity: 1}}}, nil, "test", ableAll)
		return err
	})
	if _, refused := problem.As(err); !refused {
		require.NoError(s.t, err)
	}
}

// back is what of a SKU's money went back, and of how many units all of it.
func (s *shortShop) back(sku string) (money int64, whole int) {
	of := ` FROM refundable r JOIN order_lines l ON l.tenant = r.tenant AND l.line_id = r.line_id WHERE r.order_id = $1 AND l.sku = $2`
	if shoptest.Value[int](s.t, s.Shop, `SELECT count(*)`+of, s.order, sku) == 0 {
		return 0, 0
	}
	return shoptest.Value[int64](s.t, s.Shop, `SELECT sum(refunded)::bigint`+of, s.order, sku), shoptest.Value[int](s.t, s.Shop, `SELECT count(*) FILTER (WHERE refunded = paid)`+of, s.order, sku)
}
