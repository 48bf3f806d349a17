package returns_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/returns"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const acme = shoptest.Tenant

var (
	ana     = stock.By{Person: "ana"}
	shopper = "key:web"
	support = "sofia"
)

// home is a buyer who has an order: 3 A of 3,333, 1 B of 1,000 and freight of 3,990, less
// 1,001. All of it was delivered, unless it is said otherwise.
type home struct {
	*shoptest.Shop
	t     *testing.T
	order string
	lines map[string]string // of each SKU
	shop  tenant.Tenant
	ring  *secretbox.Keyring
}

func newHome(t *testing.T, policy ...func(*returns.Policy)) *home {
	t.Helper()
	h := &home{Shop: shoptest.New(t), t: t, lines: map[string]string{}}
	ring, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	h.ring = ring
	h.Product(t, "A", 3_333, 30)
	h.Product(t, "B", 1_000, 10)
	h.Bin(t, "SCL-1", "A-01", "pick")
	h.Bin(t, "SCL-1", "Q-01", "quarantine")
	h.Do(t, func(tx pgx.Tx) (err error) {
		h.shop, err = tenant.Get(t.Context(), tx, acme)
		return err
	})
	for _, change := range policy {
		p := returns.Defaults()
		change(&p)
		h.policy(p)
	}
	currency := "CLP"
	h.Do(t, func(tx pgx.Tx) error {
		_, err := catalog.PutDiscount(t.Context(), tx, acme, "MIL", catalog.DiscountInput{Kind: "amount", Value: 1_001, Currency: &currency})
		return err
	})
	sub := shoptest.Submission("A", 3)
	sub.Items = append(sub.Items, checkout.Item{SKU: "B", Quantity: 1})
	sub.DiscountCode = "MIL"
	h.order = h.bought(sub)
	h.delivered(h.order, 0)
	for _, sku := range []string{"A", "B"} {
		h.lines[sku] = shoptest.Value[string](t, h.Shop, `SELECT line_id FROM order_lines WHERE order_id = $1 AND sku = $2`, h.order, sku)
	}
	return h
}

func (h *home) policy(p returns.Policy) {
	h.t.Helper()
	h.Do(h.t, func(tx pgx.Tx) error {
		_, err := returns.PutPolicy(h.t.Context(), tx, acme, p, "admin")
		return err
	})
}

func (h *home) bought(sub checkout.Submission) (orderID string) {
	h.t.Helper()
	checkoutID, paymentID := h.Offer(h.t, sub)
	amount := shoptest.Value[int64](h.t, h.Shop, `SELECT amount FROM payments WHERE id = $1`, paymentID)
	r, err := checkout.Record(h.t.Context(), h.DB, acme, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, amount)})
	require.NoError(h.t, err)
	require.True(h.t, r.Paid)
	return checkoutID
}

// delivered brings an order's shipments home so many days ago: their units leave the
// shelves.
func (h *home) delivered(orderID string, daysAgo int) {
	h.t.Helper()
	for _, set := range []string{`status = 'picking'`, `status = 'packed', packed_at = now(), picked_at = now()`, `status = 'labelled', labelled_at = now(), carrier = 'manual'`,
		`status = 'handed_over', handed_over_at = now(), due_at = now() + interval '1 day'`, `status = 'delivered', due_at = NULL, ended_at = now() - make_interval(days => $2)`} {
		args := []any{orderID}
		if strings.Contains(set, "$2") {
			args = append(args, daysAgo)
		}
		h.Exec(h.t, `UPDATE shipments SET `+set+` WHERE order_id = $1`, args...)
	}
	list := shoptest.List[string](h.t, h.Shop, `SELECT DISTINCT hl.warehouse FROM orders o JOIN hold_lines hl ON hl.tenant = o.tenant AND hl.hold_id = o.hold_id WHERE o.id = $1`, orderID)
	hold := shoptest.Value[string](h.t, h.Shop, `SELECT hold_id FROM orders WHERE id = $1`, orderID)
	h.Do(h.t, func(tx pgx.Tx) error {
		for _, w := range list {
			if err := stock.HandOverFrom(h.t.Context(), tx, acme, hold, w, "test", ana); err != nil {
				return err
			}
		}
		return nil
	})
	for _, status := range []string{"in_fulfillment", "shipped", "delivered"} {
		h.Exec(h.t, `UPDATE orders SET status = $2 WHERE id = $1`, orderID, status)
	}
	h.CheckBooks(h.t)
}

func asked(h *home, units map[string]int, reason string) returns.Request {
	in := returns.Request{OrderID: h.order, Refund: "original"}
	for _, sku := range slices.Sorted(maps.Keys(units)) {
		in.Lines = append(in.Lines, returns.LineAsked{LineID: h.lines[sku], Quantity: units[sku], Reason: reason})
	}
	return in
}

func (h *home) open(in returns.Request, by ...string) (returns.Return, error) {
	h.t.Helper()
	who := shopper
	if len(by) > 0 {
		who = by[0]
	}
	return do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
		return returns.Open(ctx, tx, h.shop, id.New(), in, nil, who)
	})
}

// do runs a step in a transaction, which is undone when it is refused.
func do[T any](h *home, step func(ctx context.Context, tx pgx.Tx) (T, error)) (out T, err error) {
	h.t.Helper()
	err = h.DB.InTenant(h.t.Context(), acme, func(tx pgx.Tx) (err error) {
		out, err = step(h.t.Context(), tx)
		return err
	})
	return out, err
}

func (h *home) must(r returns.Return, err error) returns.Return {
	h.t.Helper()
	require.NoError(h.t, err)
	h.CheckBooks(h.t)
	return r
}

func (h *home) receive(r returns.Return, in returns.Reception) (returns.Return, error) {
	h.t.Helper()
	in.By = ana
	return do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
		return returns.Receive(ctx, tx, h.shop, r.ID, in)
	})
}

func (h *home) inspect(r returns.Return, supervisor bool, units ...returns.InspectedUnits) (returns.Return, error) {
	h.t.Helper()
	return do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
		out, _, err := returns.Inspect(ctx, tx, h.shop, r.ID, returns.Inspection{Units: units, By: ana, Supervisor: supervisor})
		return out, err
	})
}

func able(payment.Name) (payment.Capabilities, bool) {
	return payment.Capabilities{Refunds: true, PartialRefunds: true}, true
}

func (h *home) pay(r returns.Return) error {
	h.t.Helper()
	return h.DB.InTenant(h.t.Context(), acme, func(tx pgx.Tx) error { return returns.Pay(h.t.Context(), tx, h.shop, r.ID, h.ring, able) })
}

func (h *home) settle(r returns.Return) returns.Return {
	h.t.Helper()
	h.Do(h.t, func(tx pgx.Tx) error { return returns.Settle(h.t.Context(), tx, h.shop, r.ID) })
	return h.read(r)
}

func (h *home) read(r returns.Return) (out returns.Return) {
	h.t.Helper()
	h.Do(h.t, func(tx pgx.Tx) (err error) {
		out, err = returns.Get(h.t.Context(), tx, acme, r.ID)
		return err
	})
	return out
}

func (h *home) stand(r returns.Return) (out returns.Standing) {
	h.t.Helper()
	h.Do(h.t, func(tx pgx.Tx) (err error) {
		out, err = returns.Stand(h.t.Context(), tx, acme, r.ID)
		return err
	})
	return out
}

// refunds are what was booked for the order, in their order.
func (h *home) refunds() []int64 {
	h.t.Helper()
	return shoptest.List[int64](h.t, h.Shop, `SELECT amount FROM refund_requests WHERE order_id = $1 ORDER BY id`, h.order)
}

// gone has the gateway give back what was asked of it.
func (h *home) gone(status string) {
	h.t.Helper()
	h.Exec(h.t, `UPDATE refunds SET status = $2, code = CASE WHEN $2 = 'failed' THEN 'refused' ELSE '' END, due_at = NULL, settled_at = now() WHERE order_id = $1 AND status = 'pending'`, h.order, status)
}

func (h *home) onHand(sku string) int {
	return shoptest.Value[int](h.t, h.Shop, `SELECT on_hand FROM stock_levels WHERE sku = $1 AND warehouse = 'SCL-1'`, sku)
}

func (h *home) notices() []string {
	return shoptest.List[string](h.t, h.Shop, `SELECT kind FROM notices WHERE subject = $1 AND kind LIKE 'return%' ORDER BY id`, h.order)
}

func (h *home) code(err error) string {
	h.t.Helper()
	require.Error(h.t, err)
	var p *problem.Error
	require.True(h.t, errors.As(err, &p), "%v", err)
	return p.Code
}

func restock(h *home, sku string, n int) returns.InspectedUnits {
	return returns.InspectedUnits{LineID: h.lines[sku], Quantity: n, Grade: "A", Disposition: returns.Restock, Bin: "A-01"}
}

func arrived(h *home, sku string, n int) returns.Reception {
	return returns.Reception{Lines: []returns.ReceivedLine{{LineID: h.lines[sku], Quantity: n}}}
}

func TestReturn_HalfOfAnOrderAndItsMoneyToThePeso(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	before := h.onHand("A")
	r := h.must(h.open(asked(h, map[string]int{"A": 2}, "changed_mind")))
	require.Equal(t, returns.Approved, r.Status)
	require.Equal(t, "buyer", r.FreightBy)
	require.NotNil(t, r.ExpiresAt)
	require.Contains(t, r.Number, "-R1")
	r = h.must(do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
		return returns.Sent(ctx, tx, h.shop, r.ID, returns.Sending{Carrier: "Starken", Tracking: "123", By: shopper})
	}))
	require.Equal(t, returns.InTransit, r.Status)
	require.Nil(t, r.ExpiresAt)
	r = h.must(h.receive(r, arrived(h, "A", 2)))
	require.Equal(t, returns.Received, r.Status)
	require.Equal(t, before, h.onHand("A"), "nothing is in stock before it was looked at")
	require.NoError(t, h.pay(r))
	require.Empty(t, h.refunds(), "nor does money go")
	r = h.must(h.inspect(r, false, restock(h, "A", 2)))
	require.Equal(t, returns.Inspected, r.Status)
	require.Equal(t, before+2, h.onHand("A"))
	require.Equal(t, returns.NextPay, h.stand(r).Next)
	require.NoError(t, h.pay(r))
	require.NoError(t, h.pay(r), "once, however often")
	owed := shoptest.List[int64](t, h.Shop, `SELECT f.paid FROM return_units u JOIN refundable f USING (tenant, order_id, line_id, unit) WHERE u.return_id = $1`, r.ID)
	require.Len(t, owed, 2)
	require.Equal(t, []int64{owed[0] + owed[1]}, h.refunds())
	require.Empty(t, h.stand(r).Next, "the money is on its way")
	h.gone("succeeded")
	require.Equal(t, returns.NextSettle, h.stand(r).Next)
	r = h.settle(r)
	require.Equal(t, returns.Closed, r.Status)
	require.Equal(t, owed[0]+owed[1], r.Refunded)
	require.True(t, h.stand(r).Over)
	require.Equal(t, []string{"return_approved", "return_received", "return_closed"}, h.notices())

	// What is left comes back in another return, and with it the freight.
	rest := h.must(h.open(asked(h, map[string]int{"A": 1, "B": 1}, "defective")))
	require.Equal(t, "shop", rest.FreightBy)
	rest = h.must(h.receive(rest, arrived(h, "A", 1)))
	rest = h.must(h.receive(rest, arrived(h, "B", 1)))
	rest = h.must(h.inspect(rest, false, restock(h, "A", 1), restock(h, "B", 1)))
	require.NoError(t, h.pay(rest))
	h.gone("succeeded")
	require.Equal(t, returns.Closed, h.settle(rest).Status)
	total := shoptest.Value[int64](t, h.Shop, `SELECT total FROM orders WHERE id = $1`, h.order)
	require.Equal(t, total, h.refunds()[0]+h.refunds()[1], "all of it, to the peso")
}

func TestReturn_WhatTheRulesForbid(t *testing.T) {
	t.Parallel()
	h := newHome(t, func(p *returns.Policy) {
		p.Goods = []returns.Goods{{SKU: "B*", FinalSale: true}}
	})
	refused := func(in returns.Request) string {
		t.Helper()
		_, err := h.open(in)
		require.Equal(t, returns.CodeNotEligible, h.code(err))
		var p *problem.Error
		errors.As(err, &p)
		for _, l := range p.More["verdict"].(returns.Verdict).Lines {
			if l.Code != nil {
				return *l.Code
			}
		}
		return ""
	}
	require.Equal(t, returns.CodeFinalSale, refused(asked(h, map[string]int{"B": 1}, "changed_mind")))
	require.Equal(t, returns.CodeTooMany, refused(asked(h, map[string]int{"A": 4}, "changed_mind")))
	require.Equal(t, returns.CodeUnknownReason, refused(asked(h, map[string]int{"A": 1}, "because")))
	h.must(h.open(asked(h, map[string]int{"B": 1}, "defective")))
	require.Equal(t, returns.CodeUnderWay, refused(asked(h, map[string]int{"B": 1}, "defective")))
	h.Exec(t, `UPDATE shipments SET ended_at = now() - interval '12 days' WHERE order_id = $1`, h.order)
	require.Equal(t, returns.CodeWindowOver, refused(asked(h, map[string]int{"A": 1}, "changed_mind")))

	late := asked(h, map[string]int{"A": 1}, "changed_mind")
	late.Exception = "a good customer"
	r := h.must(h.open(late, support))
	require.Equal(t, returns.Approved, r.Status)
	require.Equal(t, "sofia", r.DecidedBy)
	late.Lines[0].Quantity = 3
	require.Equal(t, returns.CodeWindowOver, refused(late), "no exception makes more units than were delivered")

	other := asked(h, map[string]int{"A": 1}, "changed_mind")
	other.OrderID, other.OrderNumber, other.Email = "", "ACME-000001", "somebody@example.cl"
	_, err := h.open(other)
	require.Equal(t, "not_found", h.code(err), "an order's number is no proof of being its buyer")
	other.Email = "ANA@example.cl"
	h.Exec(t, `UPDATE shipments SET ended_at = now() WHERE order_id = $1`, h.order)
	h.must(h.open(other))
}

func TestReturn_ACategoryHasRulesOfItsOwn(t *testing.T) {
	t.Parallel()
	h := newHome(t, func(p *returns.Policy) { p.Goods = []returns.Goods{{Category: "ropa/interior*", FinalSale: true}} })
	h.Exec(t, `UPDATE products SET category = 'ropa/interior/calcetines' WHERE sku = 'A'`)
	_, err := h.open(asked(h, map[string]int{"A": 1}, "changed_mind"))
	require.Equal(t, returns.CodeNotEligible, h.code(err))
	h.must(h.open(asked(h, map[string]int{"A": 1}, "defective")))
	h.must(h.open(asked(h, map[string]int{"B": 1}, "changed_mind")))
}

func TestReturn_NothingThatWasNotDeliveredComesBack(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.order = h.bought(shoptest.Submission("A", 2))
	h.lines["A"] = shoptest.Value[string](t, h.Shop, `SELECT line_id FROM order_lines WHERE order_id = $1`, h.order)
	in := asked(h, map[string]int{"A": 1}, "changed_mind")
	in.Exception = "support says so"
	_, err := h.open(in, support)
	require.Equal(t, returns.CodeNotEligible, h.code(err))
}

func TestReturn_OneOfTwoAtOnceHasTheUnit(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			errs[i] = h.DB.InTenant(context.Background(), acme, func(tx pgx.Tx) error {
				_, err := returns.Open(context.Background(), tx, h.shop, id.New(), asked(h, map[string]int{"B": 1}, "changed_mind"), nil, shopper)
				return err
			})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		require.Equal(t, returns.CodeNotEligible, h.code(err))
	}
	require.Equal(t, 1, won)
	// And the database, whatever the program decides.
	_, err := h.Super.Exec(t.Context(), `INSERT INTO return_units (tenant, return_id, order_id, line_id, unit, sku, reason) SELECT tenant, return_id, order_id, $1, 0, sku, reason FROM return_units LIMIT 1`, h.lines["A"])
	require.NoError(t, err)
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	_, err = h.Super.Exec(t.Context(), `UPDATE return_units SET unit = 0 WHERE return_id = $1`, r.ID)
	require.ErrorContains(t, err, "a_unit_comes_back_once")
}

func TestReturn_APersonDecidesAboutMuch(t *testing.T) {
	t.Parallel()
	h := newHome(t, func(p *returns.Policy) { p.Review.AboveAmount = 5_000 })
	r := h.must(h.open(asked(h, map[string]int{"A": 3}, "changed_mind")))
	require.Equal(t, returns.Requested, r.Status)
	require.Equal(t, []string{returns.ReviewByAmount}, r.Review)
	require.Contains(t, h.stand(r).WaitsFor, "approve or reject")
	_, err := h.receive(r, arrived(h, "A", 1))
	require.Equal(t, returns.CodeWrongStatus, h.code(err))

	decide := func(step func(context.Context, pgx.Tx, tenant.Tenant, string, returns.Decision) (returns.Return, error), d returns.Decision) (returns.Return, error) {
		d.By = support
		return do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) { return step(ctx, tx, h.shop, r.ID, d) })
	}
	_, err = decide(returns.Approve, returns.Decision{Version: r.Version + 1})
	require.Equal(t, returns.CodeChanged, h.code(err))
	_, err = decide(returns.Reject, returns.Decision{})
	require.Equal(t, "required", h.code(err))
	rejected := h.must(decide(returns.Reject, returns.Decision{Reason: "it was worn"}))
	require.Equal(t, returns.Rejected, rejected.Status)
	require.True(t, h.stand(r).Over)
	_, err = decide(returns.Approve, returns.Decision{})
	require.Equal(t, returns.CodeWrongStatus, h.code(err))
	require.Equal(t, []string{"return_requested", "return_rejected"}, h.notices())

	// What was rejected can be asked for again, and be cancelled while nothing came.
	r = h.must(h.open(asked(h, map[string]int{"A": 3}, "changed_mind")))
	r = h.must(decide(returns.Approve, returns.Decision{}))
	require.Equal(t, returns.Approved, h.must(decide(returns.Approve, returns.Decision{})).Status, "once, however often")
	require.Equal(t, returns.Cancelled, h.must(decide(returns.Cancel, returns.Decision{})).Status)
}

func TestReturn_ARuleThatChangesInTheMiddleIsForLaterOnes(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	p := returns.Defaults()
	p.Reasons[0].FreightBack, p.SendWithinDays, p.RemindDays = returns.FreightNever, 3, nil
	h.policy(p)
	h.policy(p)
	require.Equal(t, 1, shoptest.Value[int](t, h.Shop, `SELECT max(version) FROM return_policies`), "the same rules are no new version")
	require.Equal(t, 14, h.read(r).Policy.SendWithinDays)
	later := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	require.Equal(t, 3, later.Policy.SendWithinDays)
	require.Equal(t, 1, later.PolicyVersion)
}

func TestReturn_WhatIsDeductedDoesNotGoBack(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 2}, "changed_mind")))
	r = h.must(h.receive(r, arrived(h, "A", 2)))
	_, err := h.inspect(r, false, returns.InspectedUnits{LineID: h.lines["A"], Quantity: 1, Grade: "B", Disposition: returns.Refurbish, Bin: "Q-01", Deducted: 500})
	require.Equal(t, "required", h.code(err), "a deduction has its reason")
	r = h.must(h.inspect(r, false, returns.InspectedUnits{LineID: h.lines["A"], Quantity: 1, Grade: "B", Disposition: returns.Refurbish, Bin: "Q-01", Deducted: 500, Deduction: "no box"}))
	require.Equal(t, returns.Received, r.Status, "one is not inspected yet")
	before := h.onHand("A")
	r = h.must(h.inspect(r, false, returns.InspectedUnits{LineID: h.lines["A"], Quantity: 1, Grade: "D", Disposition: returns.Scrap}))
	require.Equal(t, before, h.onHand("A"), "neither can be sold")
	require.NoError(t, h.pay(r))
	var owed int64
	for _, u := range r.Units {
		owed += u.Paid - u.Deducted
	}
	require.Equal(t, []int64{owed}, h.refunds())

	// A supervisor corrects it, before and after the money went.
	first := returns.InspectedUnits{LineID: h.lines["A"], Correct: []int{r.Units[0].Unit}, Grade: "A", Disposition: returns.Restock, Bin: "A-01"}
	_, err = h.inspect(r, false, first)
	require.Equal(t, "not_allowed", h.code(err))
	h.gone("succeeded")
	r = h.settle(r)
	require.Equal(t, returns.Closed, r.Status)
	r = h.must(h.inspect(r, true, first))
	require.Equal(t, before+1, h.onHand("A"), "from quarantine to the shelf")
	require.Equal(t, returns.NextPay, h.stand(r).Next)
	require.NoError(t, h.pay(r))
	require.NoError(t, h.pay(r))
	require.Equal(t, []int64{owed, 500}, h.refunds(), "the difference goes, once")
	h.gone("succeeded")
	require.True(t, h.stand(r).Over)
}

func TestReturn_GoodwillNeverMakesItFail(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	total := shoptest.Value[int64](t, h.Shop, `SELECT total FROM orders WHERE id = $1`, h.order)
	goodwill := int64(4_000)
	h.Do(t, func(tx pgx.Tx) error {
		_, err := refund.Book(t.Context(), tx, acme, id.New(), refund.Request{OrderID: h.order, Reason: "sorry", Amount: &goodwill}, nil, "sofia", able)
		return err
	})
	h.gone("succeeded")
	r := h.must(h.open(asked(h, map[string]int{"A": 3, "B": 1}, "defective")))
	in := arrived(h, "A", 3)
	in.Lines = append(in.Lines, returns.ReceivedLine{LineID: h.lines["B"], Quantity: 1})
	r = h.must(h.receive(r, in))
	r = h.must(h.inspect(r, false, restock(h, "A", 3), restock(h, "B", 1)))
	require.NoError(t, h.pay(r))
	require.Equal(t, []int64{goodwill, total - goodwill}, h.refunds(), "what is left, and no more")
	h.gone("succeeded")
	require.Equal(t, returns.Closed, h.settle(r).Status)
}

func TestReturn_MoneyBeforeTheGoodsForTheTrusted(t *testing.T) {
	t.Parallel()
	h := newHome(t, func(p *returns.Policy) { p.Trusted = returns.Trusted{Orders: 1, MostReturnedPercent: 50} })
	r := h.must(h.open(asked(h, map[string]int{"B": 1}, "changed_mind")))
	require.Equal(t, returns.OnInspection, r.Money, "their first order")
	first := h.order
	h.order = h.bought(shoptest.Submission("A", 1))
	h.delivered(h.order, 1)
	h.lines["A"] = shoptest.Value[string](t, h.Shop, `SELECT line_id FROM order_lines WHERE order_id = $1`, h.order)
	r = h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	require.Equal(t, returns.OnApproval, r.Money)
	require.NotEqual(t, first, r.OrderID)
	require.Equal(t, returns.NextPay, h.stand(r).Next)
	require.NoError(t, h.pay(r))
	require.Len(t, h.refunds(), 1)
	h.gone("succeeded")
	_, err := do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
		return returns.Cancel(ctx, tx, h.shop, r.ID, returns.Decision{By: shopper})
	})
	require.Equal(t, "refunded_already", h.code(err))

	// It never comes: it expires, and a person settles that.
	h.Exec(t, `UPDATE returns SET approved_at = now() - interval '15 days', expires_at = now() - interval '1 day' WHERE id = $1`, r.ID)
	require.Equal(t, returns.NextExpire, h.stand(r).Next)
	h.Do(t, func(tx pgx.Tx) error { return returns.Expire(t.Context(), tx, h.shop, r.ID) })
	at := h.stand(r)
	require.False(t, at.Over)
	require.Len(t, at.Troubles, 1)
	require.Equal(t, "refunded_and_never_came", at.Troubles[0].Reason)
	said, err := do(h, func(ctx context.Context, tx pgx.Tx) (string, error) {
		return returns.Rule(ctx, tx, h.shop, r.ID, returns.Ruling{Step: returns.StepGoods, Verb: "resolve", Outcome: returns.OutcomeClosed, Reference: "written off", By: "sofia"})
	})
	require.NoError(t, err)
	require.Equal(t, "settled", said)
	require.True(t, h.stand(r).Over)
}

func TestReturn_ExpiresUnlessItIsSentAndMayComeAfterAll(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	at := h.stand(r)
	require.Equal(t, returns.NextRemind, at.Next)
	require.WithinDuration(t, r.ExpiresAt.AddDate(0, 0, -7), at.NextAt, time.Second)
	for _, days := range []int{7, 2} {
		h.Exec(t, `UPDATE returns SET expires_at = now() + make_interval(days => $2) WHERE id = $1`, r.ID, days)
		for range 2 {
			h.Do(t, func(tx pgx.Tx) error { return returns.Remind(t.Context(), tx, h.shop, r.ID) })
		}
	}
	require.Equal(t, []string{"return_approved", "return_reminder", "return_reminder"}, h.notices(), "once for each day")
	h.Do(t, func(tx pgx.Tx) error { return returns.Expire(t.Context(), tx, h.shop, r.ID) })
	require.Equal(t, returns.Approved, h.read(r).Status, "not before its time")
	h.Exec(t, `UPDATE returns SET approved_at = now() - interval '20 days', expires_at = now() - interval '1 day' WHERE id = $1`, r.ID)
	h.Do(t, func(tx pgx.Tx) error { return returns.Expire(t.Context(), tx, h.shop, r.ID) })
	require.Equal(t, returns.Expired, h.read(r).Status)
	require.True(t, h.stand(r).Over)

	other := h.must(h.open(asked(h, map[string]int{"A": 3}, "changed_mind")))
	_, err := h.receive(r, arrived(h, "A", 1))
	require.Equal(t, returns.CodeUnitTaken, h.code(err), "another return has the unit by now")
	h.must(do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
		return returns.Cancel(ctx, tx, h.shop, other.ID, returns.Decision{By: shopper})
	}))
	h.Exec(t, `UPDATE returns SET approved_at = now() - interval '60 days' WHERE id = $1`, r.ID)
	_, err = h.receive(r, arrived(h, "A", 1))
	require.Equal(t, returns.CodeTooLate, h.code(err))
	late := arrived(h, "A", 1)
	late.Late = "the carrier had lost it"
	require.Equal(t, returns.Received, h.must(h.receive(r, late)).Status)
}

func TestReturn_WhatCameIsNotWhatWasSent(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 3}, "changed_mind")))
	_, err := h.receive(r, returns.Reception{})
	require.Equal(t, "required", h.code(err))
	_, err = h.receive(r, arrived(h, "A", 4))
	require.Equal(t, "out_of_range", h.code(err), "what is too much is an extra")
	r = h.must(h.receive(r, returns.Reception{Lines: []returns.ReceivedLine{{LineID: h.lines["A"], Quantity: 1}, {LineID: h.lines["A"], Quantity: 1, Came: returns.WrongItem}},
		Extras: []returns.Extra{{What: "a blue mug", Quantity: 1}}, RestMissing: true}))
	r = h.must(h.inspect(r, false, restock(h, "A", 1)))
	require.Equal(t, returns.Inspected, r.Status)
	require.NoError(t, h.pay(r))
	require.Len(t, h.refunds(), 1)
	require.Less(t, h.refunds()[0], int64(3_400), "for the one that came")
	h.gone("succeeded")
	at := h.stand(r)
	require.Empty(t, at.Next)
	require.Len(t, at.Troubles, 1)
	require.Equal(t, "unexpected_goods", at.Troubles[0].Reason)
	require.Contains(t, at.Troubles[0].Message, "blue mug")
	_, err = do(h, func(ctx context.Context, tx pgx.Tx) (string, error) {
		return returns.Rule(ctx, tx, h.shop, r.ID, returns.Ruling{Step: returns.StepGoods, Verb: "resolve", Outcome: returns.OutcomeClosed, Reference: "sent back to the buyer", By: "sofia"})
	})
	require.NoError(t, err)
	require.Equal(t, returns.Closed, h.settle(r).Status)
	h.must(h.open(asked(h, map[string]int{"A": 2}, "changed_mind"))) // what did not come can come later
}

func TestReturn_AnEmptyParcelHasNoMoney(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	r = h.must(h.receive(r, returns.Reception{RestMissing: true}))
	require.Equal(t, returns.Inspected, r.Status)
	require.Equal(t, returns.NextSettle, h.stand(r).Next)
	require.Equal(t, returns.Closed, h.settle(r).Status)
	require.Empty(t, h.refunds())
	require.Equal(t, 1, shoptest.Value[int](t, h.Shop, `SELECT (data->>'missing')::int FROM notices WHERE kind = 'return_closed'`), "the buyer is told why")
}

func TestReturn_ARefundThatComesToNothingWaitsForAPersonAndGoesAgain(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"B": 1}, "changed_mind")))
	r = h.must(h.receive(r, arrived(h, "B", 1)))
	r = h.must(h.inspect(r, false, restock(h, "B", 1)))
	require.NoError(t, h.pay(r))
	h.gone("failed")
	h.Do(t, func(tx pgx.Tx) error {
		refundID := shoptest.Value[string](t, h.Shop, `SELECT refund_id FROM return_refunds`)
		return payment.ReleaseBookings(t.Context(), tx, acme, refundID, h.refunds()[0])
	})
	at := h.stand(r)
	require.Empty(t, at.Next, "nothing goes again by itself")
	require.Equal(t, "return_not_refunded", at.Troubles[0].Reason)
	require.Equal(t, returns.Inspected, h.settle(r).Status)
	_, err := do(h, func(ctx context.Context, tx pgx.Tx) (string, error) {
		return returns.Rule(ctx, tx, h.shop, r.ID, returns.Ruling{Step: returns.StepMoney, Verb: "retry", By: "sofia"})
	})
	require.NoError(t, err)
	require.Equal(t, returns.NextPay, h.stand(r).Next)
	require.NoError(t, h.pay(r))
	require.Len(t, h.refunds(), 2)
	require.Equal(t, h.refunds()[0], h.refunds()[1])
	h.gone("succeeded")
	require.Equal(t, returns.Closed, h.settle(r).Status)
}

func TestReturn_ByTransferItsRefundHasTheAccount(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	account := refund.BankAccount{Holder: "Ana Rojas", RUT: "11111111-1", Bank: "Banco de Chile", Type: "vista", Number: "99887766554"}
	in := asked(h, map[string]int{"B": 1}, "changed_mind")
	in.Refund, in.BankAccount = "bank_transfer", &account
	require.NoError(t, in.Check(false))
	returnID := id.New()
	sealed, err := account.Seal(h.ring, acme, returnID)
	require.NoError(t, err)
	r := h.must(do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
		return returns.Open(ctx, tx, h.shop, returnID, in, sealed, shopper)
	}))
	r = h.must(h.receive(r, arrived(h, "B", 1)))
	r = h.must(h.inspect(r, false, restock(h, "B", 1)))
	require.NoError(t, h.pay(r))
	refundID := shoptest.Value[string](t, h.Shop, `SELECT refund_id FROM return_refunds`)
	opened, err := refund.OpenAccount(h.ring, acme, refundID, shoptest.Value[[]byte](t, h.Shop, `SELECT bank_account FROM refund_requests`))
	require.NoError(t, err)
	require.Equal(t, account, *opened)
	require.Equal(t, "bank_transfer", shoptest.Value[string](t, h.Shop, `SELECT method FROM refund_requests`))
}

func TestReturn_MoneyThatCannotGoWaitsForAPerson(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	r = h.must(h.receive(r, arrived(h, "A", 1)))
	r = h.must(h.inspect(r, false, restock(h, "A", 1)))
	whole := func(payment.Name) (payment.Capabilities, bool) { return payment.Capabilities{Refunds: true}, true }
	err := h.DB.InTenant(t.Context(), acme, func(tx pgx.Tx) error { return returns.Pay(t.Context(), tx, h.shop, r.ID, h.ring, whole) })
	require.Equal(t, refund.CodeNotPossible, h.code(err))
	require.Empty(t, h.refunds())
	h.Do(t, func(tx pgx.Tx) error { return returns.CannotPay(t.Context(), tx, acme, r.ID, "only whole.") })
	at := h.stand(r)
	require.Empty(t, at.Next)
	require.Equal(t, "refund_refused", at.Troubles[0].Reason)
	rule := func(verb, outcome, reference string) error {
		_, err := do(h, func(ctx context.Context, tx pgx.Tx) (string, error) {
			return returns.Rule(ctx, tx, h.shop, r.ID, returns.Ruling{Step: returns.StepMoney, Verb: verb, Outcome: outcome, Reference: reference, By: "sofia"})
		})
		return err
	}
	require.NoError(t, rule("retry", "", ""))
	require.Equal(t, returns.NextPay, h.stand(r).Next)
	h.Do(t, func(tx pgx.Tx) error { return returns.CannotPay(t.Context(), tx, acme, r.ID, "only whole.") })
	require.Equal(t, "required", h.code(rule("resolve", returns.OutcomeClosed, "")))
	require.NoError(t, rule("resolve", returns.OutcomeClosed, "paid in the shop"))
	require.Equal(t, returns.Closed, h.settle(r).Status)
}

func TestSummarize_CountsByTheDayOfDelivery(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 2}, "defective")))
	r = h.must(h.receive(r, arrived(h, "A", 2)))
	r = h.must(h.inspect(r, false, restock(h, "A", 1), returns.InspectedUnits{LineID: h.lines["A"], Quantity: 1, Grade: "D", Disposition: returns.Scrap}))
	require.NoError(t, h.pay(r))
	h.gone("succeeded")
	h.Exec(t, `UPDATE returns SET created_at = now() - interval '26 hours' WHERE id = $1`, r.ID)
	paid := shoptest.Value[int64](t, h.Shop, `SELECT sum(f.paid)::bigint FROM return_units u JOIN refundable f USING (tenant, order_id, line_id, unit)`)
	scrap := shoptest.Value[int64](t, h.Shop, `SELECT f.paid FROM return_units u JOIN refundable f USING (tenant, order_id, line_id, unit) WHERE u.disposition = 'scrap'`)
	summary := func(from, to time.Duration) (out returns.Report) {
		h.Do(t, func(tx pgx.Tx) (err error) {
			now := h.Now(t)
			out, err = returns.Summarize(t.Context(), tx, acme, now.Add(from), now.Add(to))
			return err
		})
		return out
	}
	out := summary(-48*time.Hour, time.Hour)
	require.Equal(t, []returns.Rate{{Of: "A", Currency: "CLP", Delivered: 3, Returned: 2, Percent: 66.7, Refunded: paid, NotRestocked: scrap}, {Of: "B", Currency: "CLP", Delivered: 1}}, out.SKUs)
	require.Equal(t, []returns.Rate{{Of: "manual", Currency: "CLP", Delivered: 4, Returned: 2, Percent: 50, Refunded: paid, NotRestocked: scrap}}, out.Carriers)
	require.Equal(t, []returns.Share{{Reason: "defective", Currency: "CLP", Returned: 2, Percent: 100, Refunded: paid, NotRestocked: scrap}}, out.Reasons)
	require.Equal(t, 1, out.Money.Returns)
	require.InDelta(t, 26, *out.Money.Median, 0.1)
	require.Len(t, out.Sheet(), 4)
	empty := summary(time.Hour, 2*time.Hour)
	require.Empty(t, empty.SKUs)
	require.Zero(t, empty.Money.Returns)
	require.Nil(t, empty.Money.Median)
}

func TestPay_SeveralAtOnceBookOnce(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 2}, "changed_mind")))
	r = h.must(h.receive(r, arrived(h, "A", 2)))
	r = h.must(h.inspect(r, false, restock(h, "A", 2)))
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			errs[i] = h.DB.InTenant(context.Background(), acme, func(tx pgx.Tx) error {
				if err := returns.Pay(context.Background(), tx, h.shop, r.ID, h.ring, able); err != nil || i%2 == 0 {
					return err
				}
				return context.Canceled // a worker that dies before its commit
			})
		})
	}
	wg.Wait()
	for i, err := range errs {
		require.Equal(t, i%2 == 0, err == nil, "%v", err)
	}
	require.Len(t, h.refunds(), 1)
}

// rule is a person's verb at the support desk.
func (h *home) rule(r returns.Return, step, verb, reference string) string {
	h.t.Helper()
	outcome := ""
	if verb == "resolve" {
		outcome = returns.OutcomeClosed
	}
	return h.ruleAs(r, step, verb, outcome, reference)
}

func (h *home) ruleAs(r returns.Return, step, verb, outcome, reference string) string {
	h.t.Helper()
	d := returns.Ruling{Step: step, Verb: verb, Outcome: outcome, Reference: reference, By: "sofia"}
	said, err := do(h, func(ctx context.Context, tx pgx.Tx) (string, error) { return returns.Rule(ctx, tx, h.shop, r.ID, d) })
	require.NoError(h.t, err)
	return said
}

func TestReturn_WhatCameHasItsMoneyAlsoWhenTheRestNeverComes(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 3}, "changed_mind")))
	r = h.must(h.receive(r, arrived(h, "A", 2)))
	require.Contains(t, h.stand(r).WaitsFor, "2 of the 3 units")
	h.Exec(t, `UPDATE returns SET due_at = now() - interval '1 hour' WHERE id = $1`, r.ID)
	require.Equal(t, "inspection_late", h.stand(r).Troubles[0].Reason)
	require.Contains(t, h.rule(r, returns.StepInspect, "resolve", "lost by the carrier"), "must be inspected first")
	require.Zero(t, shoptest.Value[int](t, h.Shop, `SELECT count(*) FROM events WHERE kind = 'return_settled'`), "nothing was settled")
	require.Equal(t, "waits another day", h.rule(r, returns.StepInspect, "retry", ""))
	require.Empty(t, h.stand(r).Troubles)
	r = h.must(h.inspect(r, false, restock(h, "A", 2)))
	require.Equal(t, returns.Received, r.Status)
	h.rule(r, returns.StepInspect, "resolve", "lost by the carrier")
	r = h.read(r)
	require.Equal(t, returns.Inspected, r.Status)
	require.Equal(t, returns.NextPay, h.stand(r).Next)
	require.NoError(t, h.pay(r))
	owed := int64(0)
	for _, u := range r.Units {
		if u.Came == returns.Arrived {
			owed += u.Paid
		}
	}
	require.Equal(t, []int64{owed}, h.refunds())
	h.gone("succeeded")
	require.Equal(t, returns.Closed, h.settle(r).Status)
}

func TestReturn_MoneyForUnitsThatWereNotInTheParcelIsSettledByAPerson(t *testing.T) {
	t.Parallel()
	h := newHome(t, func(p *returns.Policy) { p.Reasons[0].Money = returns.OnApproval })
	r := h.must(h.open(asked(h, map[string]int{"A": 2}, "changed_mind")))
	require.NoError(t, h.pay(r))
	h.gone("succeeded")
	in := arrived(h, "A", 1)
	in.RestMissing = true
	r = h.must(h.receive(r, in))
	r = h.must(h.inspect(r, false, restock(h, "A", 1)))
	at := h.stand(r)
	require.Empty(t, at.Next, "it does not end by itself")
	require.Equal(t, "refunded_and_never_came", at.Troubles[0].Reason)
	require.Equal(t, returns.Inspected, h.settle(r).Status)
	h.rule(r, returns.StepGoods, "resolve", "paid by the buyer")
	require.Equal(t, returns.NextSettle, h.stand(r).Next)
	r = h.settle(r)
	require.Equal(t, returns.Closed, r.Status)
	require.Equal(t, "paid by the buyer", r.Settled)
	require.Empty(t, r.MoneySettled)
	require.Len(t, h.refunds(), 1)
}

func TestReturn_WrongGoodsDoNotKeepBackTheMoneyOfTheRightOnes(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 2}, "changed_mind")))
	in := arrived(h, "A", 1)
	in.Lines = append(in.Lines, returns.ReceivedLine{LineID: h.lines["A"], Quantity: 1, Came: returns.WrongItem})
	r = h.must(h.receive(r, in))
	r = h.must(h.inspect(r, false, restock(h, "A", 1)))
	h.rule(r, returns.StepGoods, "resolve", "sent back")
	require.Equal(t, returns.NextPay, h.stand(r).Next, "settled before the money went")
	require.NoError(t, h.pay(r))
	h.gone("succeeded")
	require.Equal(t, returns.Closed, h.settle(r).Status)
	require.Len(t, h.refunds(), 1)
}

func TestReturn_NoExceptionMakesUnits(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := asked(h, map[string]int{"A": 2}, "changed_mind")
	in.Lines = append(in.Lines, returns.LineAsked{LineID: h.lines["A"], Quantity: 2, Reason: "defective"})
	in.Exception = "all of it"
	_, err := h.open(in, support)
	require.Equal(t, returns.CodeNotEligible, h.code(err))
}
