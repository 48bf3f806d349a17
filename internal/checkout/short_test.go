package checkout_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/picking"
)

// shortShop is a shop with a rule for missing units, and a paid order in it: 3 A of
// 3,333, 1 B of 1,000 and freight of 3,990, less 1,001.
type shortShop struct {
	*shoptest.Shop
	t     *testing.T
	order string
	ref   checkout.ShortRef
}

func ruled(rule string) func(*tenant.Settings) {
	return func(s *tenant.Settings) { s.Fulfillment.Short = rule }
}

func newShortShop(t *testing.T, rule string) *shortShop {
	t.Helper()
	s := &shortShop{Shop: shoptest.New(t, ruled(rule)), t: t}
	s.Product(t, "A", 3_333, 3)
	s.Product(t, "B", 1_000, 1)
	currency := "CLP"
	discount(t, s.Shop, "MIL", catalog.DiscountInput{Kind: "amount", Value: 1_001, Currency: &currency})
	sub := shoptest.Submission("A", 3)
	sub.Items = append(sub.Items, checkout.Item{SKU: "B", Quantity: 1})
	sub.DiscountCode = "MIL"
	s.pay(sub)
	return s
}

func (s *shortShop) pay(sub checkout.Submission) {
	s.t.Helper()
	checkoutID, paymentID := s.Offer(s.t, sub)
	require.True(s.t, approve(s.t, s.Shop, checkoutID, paymentID).Paid)
	s.order = checkoutID
	s.ref = checkout.ShortRef{Tenant: shoptest.Tenant, OrderID: checkoutID, HoldID: view(s.t, s.Shop, checkoutID).HoldID}
}

func ableAll(payment.Name) (payment.Capabilities, bool) {
	return payment.Capabilities{Refunds: true, PartialRefunds: true}, true
}

func ableWhole(payment.Name) (payment.Capabilities, bool) {
	return payment.Capabilities{Refunds: true}, true
}

// count is what somebody has found on a shelf.
func (s *shortShop) count(sku, warehouse string, units int) {
	s.t.Helper()
	s.Do(s.t, func(tx pgx.Tx) error {
		_, err := stock.Count(s.t.Context(), tx, shoptest.Tenant, sku, warehouse, units, time.Now(), "ana")
		return err
	})
}

func (s *shortShop) mend() checkout.ShortView {
	s.t.Helper()
	v, err := checkout.MendShort(s.t.Context(), s.DB, s.ref, ableAll)
	require.NoError(s.t, err)
	s.CheckBooks(s.t)
	return v
}

func (s *shortShop) decide(outcome string) checkout.ShortView {
	s.t.Helper()
	v, err := checkout.DecideShort(s.t.Context(), s.DB, s.ref, outcome, ableAll)
	require.NoError(s.t, err)
	s.CheckBooks(s.t)
	return v
}

func (s *shortShop) hold() string {
	return shoptest.Value[string](s.t, s.Shop, `SELECT status FROM holds WHERE id = $1`, s.ref.HoldID)
}

func (s *shortShop) shipments() []string {
	return shoptest.List[string](s.t, s.Shop, `SELECT warehouse || ' ' || status || ' ' || (SELECT string_agg((l->>'quantity') || ' ' || (l->>'sku'), ', ' ORDER BY l->>'sku') FROM jsonb_array_elements(lines) l) FROM shipments WHERE order_id = $1 ORDER BY 1`, s.order)
}

// woken is how often the shortage's run was told that stock has come in.
func (s *shortShop) woken() int {
	return shoptest.Value[int](s.t, s.Shop, `SELECT count(*)::int FROM wakes WHERE kind = 'shortage' AND subject = $1`, s.order)
}

func (s *shortShop) paidBack() []int64 {
	return shoptest.List[int64](s.t, s.Shop, `SELECT amount FROM refunds WHERE order_id = $1 ORDER BY created_at, id`, s.order)
}

func (s *shortShop) notices() []string {
	return shoptest.List[string](s.t, s.Shop, `SELECT kind FROM notices WHERE subject = $1 AND kind <> 'order_paid' ORDER BY id`, s.order)
}

// unitsOfA are what each of the three A's cost, the dearest first.
func (s *shortShop) unitsOfA() []int64 {
	total := shoptest.Value[int64](s.t, s.Shop, `SELECT total FROM order_lines WHERE order_id = $1 AND sku = 'A'`, s.order)
	units := money.Spread(total, []int64{1, 1, 1})
	slices.Sort(units)
	slices.Reverse(units)
	return units
}

func TestMendShort_RefundsTheMissingUnitsToThePesoAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.RefundShort)
	units := s.unitsOfA()
	require.NotEqual(t, units[0], units[2], "the discount leaves a peso over")
	s.count("A", "SCL-1", 2)
	require.Equal(t, "short", s.hold())
	v := s.mend()
	require.True(t, v.Over)
	require.Contains(t, v.WaitsFor, "1 unit of A taken off")
	require.Contains(t, v.Result, money.Format(units[0], "CLP"))
	require.Equal(t, []int64{units[0]}, s.paidBack())
	require.Equal(t, "confirmed", s.hold())
	require.Equal(t, []string{"SCL-1 pending 2 A, 1 B"}, s.shipments())
	require.Equal(t, []int{1, 0}, shoptest.List[int](t, s.Shop, `SELECT not_shipped FROM order_lines WHERE order_id = $1 ORDER BY position`, s.order))
	require.Equal(t, 1, shoptest.Value[int](t, s.Shop, `SELECT count(*) FROM wakes w JOIN refund_requests q ON q.id = w.subject WHERE w.kind = 'refund' AND q.order_id = $1`, s.order), "its run is begun with it")
	require.Contains(t, events(t, s.Shop, s.order), "units_taken_off")

	for range 2 {
		require.True(t, s.mend().Over)
	}
	require.Len(t, s.paidBack(), 1, "again it does nothing")
	s.count("A", "SCL-1", 9)
	require.True(t, s.mend().Over)
	require.Equal(t, 3, reserved(t, s.Shop), "what comes in afterwards is for others")

	s.count("A", "SCL-1", 0)
	require.True(t, s.mend().Over)
	require.Equal(t, []int64{units[0], units[1] + units[2]}, s.paidBack())
	require.Equal(t, []string{"SCL-1 pending 1 B"}, s.shipments())
	require.Empty(t, s.notices(), "the refund's run tells of it")
}

func TestMendShort_AnotherWarehouseComesBeforeTheRule(t *testing.T) {
	t.Parallel()
	for _, rule := range []string{tenant.AskWhenShort, tenant.BackOrder, tenant.RefundShort} {
		s := newShortShop(t, rule)
		s.count("A", "CCP-1", 5)
		s.count("A", "SCL-1", 1)
		v := s.mend()
		require.True(t, v.Over)
		require.Equal(t, "found", v.Result)
		require.Empty(t, s.paidBack())
		require.Equal(t, []string{"CCP-1 pending 2 A", "SCL-1 pending 1 A, 1 B"}, s.shipments())
	}
}

func TestMendShort_WithNothingLeftCancelsTheOrderAndGivesEverythingBack(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.RefundShort)
	s.count("A", "SCL-1", 0)
	s.count("B", "SCL-1", 0)
	v := s.mend()
	require.True(t, v.Over)
	require.Contains(t, v.WaitsFor, "cancelled")
	require.Equal(t, []int64{3*3_333 + 1_000 - 1_001 + 3_990}, s.paidBack(), "the freight too")
	require.Equal(t, "cancelled", shoptest.Value[string](t, s.Shop, `SELECT status FROM orders WHERE id = $1`, s.order))
	require.Equal(t, "released", s.hold())
	require.Equal(t, []string{"order_cancelled"}, s.notices())
	require.True(t, s.mend().Over)
	require.Len(t, s.paidBack(), 1)
	shipment := shoptest.Value[string](t, s.Shop, `SELECT id FROM shipments WHERE order_id = $1`, s.order)
	for range 2 {
		s.Do(t, func(tx pgx.Tx) error {
			shop, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
			require.NoError(t, err)
			return shipping.WithdrawShipment(t.Context(), tx, shop, shipment)
		})
	}
	require.Equal(t, []string{"SCL-1 cancelled 3 A, 1 B"}, s.shipments())
	s.CheckBooks(t)
}

func TestMendShort_KilledBetweenTakingOffAndBookingDoesNeither(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.RefundShort)
	s.count("A", "SCL-1", 1)
	dying, kill := context.WithCancel(t.Context())
	defer kill()
	// What the gateway can do is asked for after the units were taken off.
	_, err := checkout.MendShort(dying, s.DB, s.ref, func(n payment.Name) (payment.Capabilities, bool) {
		kill()
		return ableAll(n)
	})
	require.Error(t, err)
	require.Equal(t, "short", s.hold())
	require.Empty(t, s.paidBack())
	require.Zero(t, shoptest.Value[int](t, s.Shop, `SELECT sum(not_shipped) FROM order_lines`))
	require.Equal(t, []string{"SCL-1 pending 3 A, 1 B"}, s.shipments())
	s.CheckBooks(t)
	s.mend()
	units := s.unitsOfA()
	require.Equal(t, []int64{units[0] + units[1]}, s.paidBack())
}

// Stock arrives, the run looks, a person states an outcome and a worker that was taken
// for dead looks too, all at the same moment: the units are for the order, or their money
// goes back, and never both.
func TestMendShort_StockAndSeveralDecisionsAtOnceEndInOneWay(t *testing.T) {
	t.Parallel()
	found, back := 0, 0
	for i := range 6 {
		s := newShortShop(t, tenant.RefundShort)
		units := s.unitsOfA()
		s.count("A", "SCL-1", 1)
		var all errgroup.Group
		for range i % 4 {
			all.Go(func() error {
				_, err := checkout.MendShort(t.Context(), s.DB, s.ref, ableAll)
				return err
			})
		}
		if i%3 == 0 {
			all.Go(func() error {
				_, err := checkout.DecideShort(t.Context(), s.DB, s.ref, checkout.ShortRefund, ableAll)
				return err
			})
		}
		all.Go(func() error {
			return s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				_, err := stock.Adjust(t.Context(), tx, shoptest.Tenant, stock.Change{SKU: "A", Warehouse: []string{"SCL-1", "CCP-1"}[i%2], Delta: 2, Reason: "receipt", Actor: "ana"})
				return err
			})
		})
		require.NoError(t, all.Wait())
		s.mend()
		require.Equal(t, "confirmed", s.hold())
		notShipped := shoptest.Value[int](t, s.Shop, `SELECT sum(not_shipped) FROM order_lines WHERE order_id = $1`, s.order)
		if len(s.paidBack()) == 0 {
			require.Zero(t, notShipped)
			require.Equal(t, 4, reserved(t, s.Shop))
			found++
			continue
		}
		require.Equal(t, []int64{units[0] + units[1]}, s.paidBack())
		require.Equal(t, 2, notShipped)
		require.Equal(t, 2, reserved(t, s.Shop))
		back++
	}
	t.Logf("found %d times, paid back %d times", found, back)
}

func TestMendShort_UnitsThatWerePaidBackBeforeAreNotPaidBackAgain(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.RefundShort)
	units := s.unitsOfA()
	line := shoptest.Value[string](t, s.Shop, `SELECT line_id FROM order_lines WHERE order_id = $1 AND sku = 'A'`, s.order)
	s.Do(t, func(tx pgx.Tx) error {
		_, err := refund.Book(t.Context(), tx, shoptest.Tenant, "01JCQZ5Y3N8W2K4T6V7X9ABCDF", refund.Request{OrderID: s.order, Reason: "agreed", Lines: []refund.LineAsked{{LineID: line, Quantity: 1}}}, nil, "test", ableAll)
		return err
	})
	s.count("A", "SCL-1", 2)
	require.Contains(t, s.mend().Result, "nothing is owed")
	require.Equal(t, []int64{units[0]}, s.paidBack())
	s.count("A", "SCL-1", 1)
	s.mend()
	require.Equal(t, []int64{units[0], units[1]}, s.paidBack())
}

func TestMendShort_RefundThatTheGatewayCannotMakeIsAskedAboutAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.RefundShort)
	s.count("A", "SCL-1", 2)
	v, err := checkout.MendShort(t.Context(), s.DB, s.ref, ableWhole)
	require.NoError(t, err)
	require.False(t, v.Over)
	require.Contains(t, v.Asks, refund.CodeNotPossible)
	require.Contains(t, v.Asks, "1 unit of A is missing")
	require.Equal(t, "short", s.hold())
	require.Empty(t, s.paidBack())
	require.Equal(t, []string{"SCL-1 pending 3 A, 1 B"}, s.shipments())
	s.CheckBooks(t)
	v, err = checkout.DecideShort(t.Context(), s.DB, s.ref, checkout.ShortRefund, ableWhole)
	require.NoError(t, err)
	require.Contains(t, v.Result, "nothing done")
	require.True(t, s.mend().Over, "the gateway can since")
	require.Len(t, s.paidBack(), 1)
}

func TestMendShort_AskedAnswersWhatIsMissingAndWaits(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.AskWhenShort)
	s.count("A", "SCL-1", 2)
	v := s.mend()
	require.Contains(t, v.Asks, "1 unit of A is missing")
	require.Empty(t, s.notices())
	require.Contains(t, s.decide(checkout.ShortRefund).Result, "taken off")
	require.Len(t, s.paidBack(), 1)
	require.Contains(t, s.decide(checkout.ShortRefund).Result, "nothing done")
	require.Len(t, s.paidBack(), 1)
}

func TestMendShort_BackOrderTellsTheBuyerOnceAndIsCuredByStock(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.BackOrder)
	s.count("A", "SCL-1", 2)
	v := s.mend()
	require.Empty(t, v.Asks)
	require.False(t, v.Over)
	require.WithinDuration(t, s.Now(t).Add(10*24*time.Hour), v.Until, time.Minute)
	require.Contains(t, v.WaitsFor, "Back-ordered until "+v.Until.Format("2006-01-02 15:04 UTC")+"; 1 unit of A is missing")
	require.Equal(t, v.Until, s.mend().Until, "its days count from the first look")
	require.Equal(t, []string{"back_ordered"}, s.notices())
	require.True(t, shoptest.Value[bool](t, s.Shop, `SELECT due_at > now() + interval '50 minutes' FROM holds WHERE id = $1`, s.ref.HoldID), "its run looks after it")
	require.True(t, shoptest.Value[bool](t, s.Shop, `SELECT due_at > now() + interval '10 days' FROM shipments WHERE order_id = $1`, s.order), "nothing is late meanwhile")
	require.Nil(t, shoptest.Value[*string](t, s.Shop, `SELECT attention FROM orders WHERE id = $1`, s.order))

	require.Zero(t, s.woken())
	s.count("A", "SCL-1", 7)
	require.Equal(t, 1, s.woken(), "its run is told of it")
	require.True(t, s.mend().Over)
	require.Equal(t, "confirmed", s.hold())
	s.count("A", "SCL-1", 8)
	require.Equal(t, 1, s.woken())
	require.Equal(t, []string{"SCL-1 pending 3 A, 1 B"}, s.shipments())
	require.True(t, shoptest.Value[bool](t, s.Shop, `SELECT due_at < now() + interval '4 days' FROM shipments WHERE order_id = $1`, s.order))
	require.Empty(t, s.paidBack())

	s.count("A", "SCL-1", 2)
	require.False(t, s.mend().Until.IsZero(), "the days of another shortage count anew")
	require.Equal(t, []string{"back_ordered"}, s.notices())
}

func TestMendShort_BackOrderIsAskedAboutWhenItsDaysAreOver(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.BackOrder)
	s.count("A", "SCL-1", 2)
	s.mend()
	s.Exec(t, `UPDATE holds SET short_until = now() - interval '1 minute' WHERE id = $1`, s.ref.HoldID)
	require.Contains(t, s.mend().Asks, "It was back-ordered until")
	v := s.decide(checkout.ShortBackOrder)
	require.Contains(t, v.Result, "back-ordered until")
	require.False(t, s.mend().Until.IsZero())
	require.Equal(t, []string{"back_ordered"}, s.notices(), "told once")
	s.Exec(t, `UPDATE holds SET short_until = now() - interval '1 minute' WHERE id = $1`, s.ref.HoldID)
	require.Contains(t, s.decide(checkout.ShortRefund).Result, "taken off")
	require.Len(t, s.paidBack(), 1)
	require.True(t, s.mend().Over)
}

func TestDecideShort_WhatAPersonHasSettledIsNoRulesAnyMore(t *testing.T) {
	t.Parallel()
	for _, rule := range []string{tenant.BackOrder, tenant.RefundShort} {
		s := newShortShop(t, rule)
		s.count("A", "SCL-1", 2)
		require.Empty(t, s.decide("").Result)
		require.NotEmpty(t, s.mend().Asks, "a run that begins anew asks, as ever")
		require.Empty(t, s.paidBack())
		require.Empty(t, s.notices())
		s.count("A", "SCL-1", 4)
		require.True(t, s.mend().Over)
		s.count("A", "SCL-1", 2)
		require.Empty(t, s.mend().Asks, "another loss goes by the rule")
	}
}

func TestMendShort_LeavesCancelledOrdersAlone(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.RefundShort)
	s.count("A", "SCL-1", 2)
	s.Do(t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
		require.NoError(t, err)
		_, err = shipping.CancelOrder(t.Context(), tx, shop, s.order, "", "ana")
		return err
	})
	require.True(t, s.mend().Over)
	require.Contains(t, s.decide(checkout.ShortRefund).Result, "nothing done")
	require.Empty(t, s.paidBack())
}

// picked has a picker take what there is of an order of 3 A: two of them. The third is
// not found, and counting its bin says so.
func (s *shortShop) picked() (shipment string) {
	t := s.t
	t.Helper()
	s.Product(t, "C", 500)
	s.Bin(t, "SCL-1", "A-01", "pick")
	s.Bin(t, "SCL-1", "PACK", "packing")
	s.put(3)
	s.pay(shoptest.Submission("C", 3))
	s.Do(t, func(tx pgx.Tx) error {
		list := s.wave(tx)
		if _, err := picking.Pick(t.Context(), tx, shoptest.Tenant, picking.Picking{ListID: list, Picks: []picking.Scan{{Line: 1, Bin: "A-01", Product: "C", Quantity: 2}}, To: "PACK", By: stock.By{Person: "ana"}}); err != nil {
			return err
		}
		if _, err := picking.Short(t.Context(), tx, shoptest.Tenant, picking.Shorting{ListID: list, Line: 1, Bin: "A-01", Reason: "not there", By: stock.By{Person: "ana"}}); err != nil {
			return err
		}
		_, err := picking.Complete(t.Context(), tx, shoptest.Tenant, list, stock.By{Person: "ana"}, 0)
		return err
	})
	require.Equal(t, "short_pick", shoptest.Value[string](t, s.Shop, `SELECT attention FROM orders WHERE id = $1`, s.order))
	require.Equal(t, "confirmed", s.hold(), "the promise stands until the bin was counted")
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Move(t.Context(), tx, shoptest.Tenant, stock.BinMovement{SKU: "C", Warehouse: "SCL-1", Quantity: 1, From: stock.In("A-01", stock.Available), Reason: "count", By: stock.By{Person: "ana"}})
		return err
	})
	s.Exec(t, `DELETE FROM count_requests`)
	require.Equal(t, "short", s.hold())
	return shoptest.Value[string](t, s.Shop, `SELECT id FROM shipments WHERE order_id = $1`, s.order)
}

func (s *shortShop) put(units int) {
	s.t.Helper()
	s.Do(s.t, func(tx pgx.Tx) error {
		_, err := stock.Move(s.t.Context(), tx, shoptest.Tenant, stock.BinMovement{SKU: "C", Warehouse: "SCL-1", Quantity: units, To: stock.In("A-01", stock.Available), Reason: "receipt", By: stock.By{Person: "ana"}})
		return err
	})
}

func (s *shortShop) wave(tx pgx.Tx) (listID string) {
	s.t.Helper()
	shipment := ""
	require.NoError(s.t, tx.QueryRow(s.t.Context(), `SELECT id FROM shipments WHERE order_id = $1`, s.order).Scan(&shipment))
	out, err := picking.Release(s.t.Context(), tx, shoptest.Tenant, picking.Wave{Warehouse: "SCL-1", ShipmentIDs: []string{shipment}, By: picking.ByOrder, Trolley: batch.Load{Orders: 10}, Seed: 1, Rounds: 1, Who: stock.By{Person: "ana"}})
	require.NoError(s.t, err)
	require.Len(s.t, out.Lists, 1)
	return out.Lists[0].ID
}

func (s *shortShop) pack(shipment string, grams int) error {
	return s.DB.InTenant(s.t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(s.t.Context(), tx, shoptest.Tenant)
		require.NoError(s.t, err)
		_, err = shipping.Pack(s.t.Context(), tx, shop, shipment, shipping.Packing{Parcels: []shipping.ParcelInput{{WeightGrams: grams}}, By: stock.By{Person: "ana"}})
		return err
	})
}

func TestMendShort_AfterAShortPickTheRestIsPackedAtItsWeight(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.RefundShort)
	shipment := s.picked()
	require.True(t, s.mend().Over)
	require.Equal(t, []int64{500}, s.paidBack())
	require.Equal(t, []string{"SCL-1 picking 2 C"}, s.shipments())
	require.Nil(t, shoptest.Value[*string](t, s.Shop, `SELECT attention FROM orders WHERE id = $1`, s.order), "the short pick is seen to")
	require.NoError(t, s.pack(shipment, 200+100))
	s.CheckBooks(t)
}

func TestMendShort_AfterAShortPickTheBackOrderLeavesAsAWhole(t *testing.T) {
	t.Parallel()
	s := newShortShop(t, tenant.BackOrder)
	shipment := s.picked()
	require.False(t, s.mend().Until.IsZero())
	require.Nil(t, shoptest.Value[*string](t, s.Shop, `SELECT attention FROM orders WHERE id = $1`, s.order))
	// Somebody has looked and says that the rest is all there.
	s.Do(t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
		require.NoError(t, err)
		return shipping.FollowHold(t.Context(), tx, shop, s.order)
	})
	require.Equal(t, []string{"SCL-1 picking 2 C"}, s.shipments())
	p, is := problem.As(s.pack(shipment, 300))
	require.True(t, is)
	require.Equal(t, "order_back_ordered", p.Code)

	s.put(1)
	require.True(t, s.mend().Over)
	require.Equal(t, []string{"SCL-1 pending 3 C"}, s.shipments(), "the next wave looks for what is missing")
	s.Do(t, func(tx pgx.Tx) error {
		list := s.wave(tx)
		if _, err := picking.Pick(t.Context(), tx, shoptest.Tenant, picking.Picking{ListID: list, Picks: []picking.Scan{{Line: 1, Bin: "A-01", Product: "C", Quantity: 1}}, To: "PACK", By: stock.By{Person: "ana"}}); err != nil {
			return err
		}
		_, err := picking.Complete(t.Context(), tx, shoptest.Tenant, list, stock.By{Person: "ana"}, 0)
		return err
	})
	require.NoError(t, s.pack(shipment, 300+100))
	s.CheckBooks(t)
}
