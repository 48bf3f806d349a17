package refund_test

import (
	"context"
	"flag"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/shoptest"
)

func init() {
	// Each step is several transactions on a real database.
	if f := flag.Lookup("rapid.checks"); f != nil {
		f.DefValue = "20"
		_ = f.Value.Set(f.DefValue)
	}
}

// unbalanced is every way in which books can be wrong: more given back than was
// paid, a counter that is not its bookings, bookings that are not their parts.
const unbalanced = `
  SELECT 'unit ' || unit || ' of ' || line_id || ': ' || refunded || ' of ' || paid || ', booked ' || b.sum FROM refundable r,
    LATERAL (SELECT coalesce(sum(amount), 0) AS sum FROM refund_bookings b WHERE b.tenant = r.tenant AND b.order_id = r.order_id AND b.line_id = r.line_id AND b.unit = r.unit AND b.kind <> 'goodwill' AND NOT b.released) b
   WHERE refunded > paid OR refunded <> b.sum
  UNION ALL
  SELECT 'payment ' || id || ': ' || refunded_amount || ' of ' || captured_amount FROM payments p,
    LATERAL (SELECT coalesce(sum(amount), 0) AS sum FROM refunds f WHERE f.tenant = p.tenant AND f.payment_id = p.id AND f.status <> 'failed') f
   WHERE refunded_amount > captured_amount OR refunded_amount <> f.sum
  UNION ALL
  SELECT 'refund ' || q.id || ': ' || b.sum || ' booked, ' || f.sum || ' in parts' FROM refund_requests q,
    LATERAL (SELECT coalesce(sum(amount), 0) AS sum FROM refund_bookings b WHERE b.tenant = q.tenant AND b.request_id = q.id AND NOT b.released) b,
    LATERAL (SELECT coalesce(sum(amount), 0) AS sum FROM refunds f WHERE f.tenant = q.tenant AND f.request_id = q.id AND f.status <> 'failed') f
   WHERE b.sum <> f.sum`

// TestBook_NothingGetsMoreBackThanWasPaidForIt runs requests of every kind at
// once, beside providers that accept, refuse and change their mind.
func TestBook_NothingGetsMoreBackThanWasPaidForIt(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 9_999, 5_000)
	s.Product(t, "B", 3_333, 5_000)
	rapid.Check(t, func(rt *rapid.T) {
		orderID, lines := twoLines(t, s, rt)
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			asked := make([]refund.Request, rapid.IntRange(1, 4).Draw(rt, "at once"))
			for i := range asked {
				asked[i] = someRequest(rt, orderID, lines)
			}
			var wg sync.WaitGroup
			failed := make([]error, len(asked))
			for i := range asked {
				wg.Go(func() { _, failed[i] = ask(s, asked[i], able) })
			}
			wg.Wait()
			for _, err := range failed {
				if err != nil {
					p, ok := problem.As(err)
					require.True(rt, ok, "%v", err)
					require.Contains(rt, []string{refund.CodeNothingLeft, "out_of_range", "invalid_request"}, p.Code)
				}
			}
			someNews(t, s, rt, orderID)
			require.Empty(rt, shoptest.List[string](t, s, unbalanced))
		}
	})
}

func twoLines(t *testing.T, s *shoptest.Shop, rt *rapid.T) (orderID string, lines []string) {
	sub := shoptest.Submission("A", rapid.IntRange(1, 3).Draw(rt, "of A"))
	sub.Items = append(sub.Items, shoptest.Submission("B", rapid.IntRange(1, 3).Draw(rt, "of B")).Items...)
	orderID, _ = paidFor(t, s, sub)
	return orderID, shoptest.List[string](t, s, `SELECT line_id FROM order_lines WHERE order_id = $1 ORDER BY position`, orderID)
}

func someRequest(rt *rapid.T, orderID string, lines []string) refund.Request {
	in := refund.Request{OrderID: orderID}
	some := func(most int64, what string) *int64 {
		if rapid.Bool().Draw(rt, what+" given") {
			return minor(rapid.Int64Range(1, most).Draw(rt, what))
		}
		return nil
	}
	for _, l := range lines {
		if rapid.Bool().Draw(rt, "line") {
			in.Lines = append(in.Lines, refund.LineAsked{LineID: l, Quantity: rapid.IntRange(1, 2).Draw(rt, "units"), Amount: some(12_000, "amount")})
		}
	}
	in.ShippingAmount = some(4_500, "freight")
	in.Amount = some(9_000, "goodwill")
	if rapid.Bool().Draw(rt, "transfer") {
		in.Method = refund.BankTransfer
	}
	return in
}

// someNews settles parts of the order as a provider, or a person, might.
func someNews(t *testing.T, s *shoptest.Shop, rt *rapid.T, orderID string) {
	for _, partID := range shoptest.List[string](t, s, `SELECT id FROM refunds WHERE order_id = $1 AND status IN ('pending','succeeded') ORDER BY id`, orderID) {
		what := rapid.SampledFrom([]string{"", "succeeded", "failed", "needs_attention", "revived"}).Draw(rt, "news")
		err := s.DB.InTenant(context.Background(), shoptest.Tenant, func(tx pgx.Tx) error {
			r, _, err := payment.LoadRefund(context.Background(), tx, shoptest.Tenant, partID)
			switch {
			case err != nil || what == "" || what == r.Status:
				return err
			case r.Status == "succeeded":
				_, err = payment.ReviveRefund(context.Background(), tx, shoptest.Tenant, partID, payment.RefundAnswer{Code: "lost"})
				return err
			case what == "revived":
				return nil
			}
			return payment.PutRefund(context.Background(), tx, shoptest.Tenant, partID, what, payment.RefundAnswer{Code: what}, time.Minute)
		})
		require.NoError(rt, err)
	}
}
