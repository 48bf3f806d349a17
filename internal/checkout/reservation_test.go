package checkout_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

func askReservation(t *testing.T, s *shoptest.Shop, sku string, quantity int) (reservationID string) {
	t.Helper()
	reservationID = id.New()
	s.Do(t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
		if err != nil {
			return err
		}
		sub := checkout.ReservationSubmission{Items: []checkout.Item{{SKU: sku, Quantity: quantity}}, Customer: checkout.Customer{Name: "Empresa", Email: "compras@example.cl"}, CustomerRef: "b2b-1",
			Metadata: map[string]any{"quote": "Q-7"}}
		_, err = checkout.CreateReservation(t.Context(), tx, shop, reservationID, sub, false)
		return err
	})
	return reservationID
}

func reserve(t *testing.T, s *shoptest.Shop, reservationID string) checkout.ReservationView {
	t.Helper()
	v, err := checkout.Reserve(t.Context(), s.DB, shoptest.Tenant, reservationID)
	require.NoError(t, err)
	return v
}

func reservation(t *testing.T, s *shoptest.Shop, sku string, quantity int) (reservationID string) {
	t.Helper()
	reservationID = askReservation(t, s, sku, quantity)
	require.Equal(t, "held", reserve(t, s, reservationID).Status)
	return reservationID
}

func askConfirm(t *testing.T, s *shoptest.Shop, reservationID string, amount int64, fulfilled bool) (requestID string) {
	t.Helper()
	requestID = id.New()
	s.Do(t, func(tx pgx.Tx) error {
		return checkout.RequestConfirm(t.Context(), tx, shoptest.Tenant, requestID, reservationID,
			checkout.ConfirmSubmission{Channel: "counter", ExternalPayment: &checkout.ExternalPayment{Method: "card_terminal", Reference: "T-1", Amount: amount}, Fulfilled: fulfilled})
	})
	return requestID
}

func confirmReservation(t *testing.T, s *shoptest.Shop, reservationID, requestID string) checkout.ReservationView {
	t.Helper()
	v, err := checkout.ConfirmReservation(t.Context(), s.DB, shoptest.Tenant, reservationID, requestID)
	require.NoError(t, err)
	return v
}

func extend(t *testing.T, s *shoptest.Shop, reservationID string, seconds int) checkout.ReservationView {
	t.Helper()
	v, err := checkout.ExtendReservation(t.Context(), s.DB, shoptest.Tenant, reservationID, seconds)
	require.NoError(t, err)
	return v
}

func endReservation(t *testing.T, s *shoptest.Shop, reservationID string, expire bool) checkout.ReservationView {
	t.Helper()
	v, err := checkout.EndReservation(t.Context(), s.DB, shoptest.Tenant, reservationID, expire)
	require.NoError(t, err)
	return v
}

func TestReserve_HoldsOnceAndReadsAfterwards(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3, 3)
	reservationID := askReservation(t, s, "A", 4)
	first := reserve(t, s, reservationID)
	require.Equal(t, []stock.Line{{SKU: "A", Warehouse: "CCP-1", Quantity: 1}, {SKU: "A", Warehouse: "SCL-1", Quantity: 3}}, first.Held)
	require.False(t, first.Over())
	require.Equal(t, first, reserve(t, s, reservationID))
	require.Equal(t, 4, reserved(t, s))
	loaded, err := checkout.LoadReservation(t.Context(), s.DB, shoptest.Tenant, reservationID)
	require.NoError(t, err)
	require.Equal(t, first, loaded)
	_, err = checkout.Reserve(t.Context(), s.DB, shoptest.Tenant, id.New())
	require.ErrorIs(t, err, checkout.ErrNoRequest)
}

func TestReserve_WithoutStockSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	reservationID := askReservation(t, s, "A", 4)
	for range 2 {
		v := reserve(t, s, reservationID)
		require.Equal(t, checkout.FailInsufficientStock, v.Refused)
		require.Equal(t, []stock.Shortage{{SKU: "A", Requested: 4, Available: 3}}, v.Shortages)
		require.True(t, v.Over())
	}
	s.Product(t, "A", 10_000, 30)
	require.Equal(t, checkout.FailInsufficientStock, reserve(t, s, reservationID).Refused, "it was answered")
	require.Zero(t, reserved(t, s))
}

func TestReserve_OfARequestThatItsCallerGaveUpHoldsNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	reservationID := askReservation(t, s, "A", 1)
	s.Do(t, func(tx pgx.Tx) error {
		ok, err := checkout.EndReservationRequest(t.Context(), tx, shoptest.Tenant, reservationID, "abandoned", checkout.FailAbandoned, nil)
		require.True(t, ok)
		return err
	})
	v := reserve(t, s, reservationID)
	require.Empty(t, v.Status)
	require.Equal(t, checkout.FailAbandoned, v.Refused)
	require.Zero(t, reserved(t, s))
}

func TestConfirmReservation_MakesAPaidOrderThatIsShippedLater(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3, 3)
	reservationID := reservation(t, s, "A", 4)
	requestID := askConfirm(t, s, reservationID, 40_000, false)
	for range 3 {
		v := confirmReservation(t, s, reservationID, requestID)
		require.True(t, v.Confirmed)
		require.True(t, v.Over())
		require.Empty(t, v.Refused)
		require.Equal(t, reservationID, v.OrderID)
	}
	require.Equal(t, "paid counter 40000 0 40000 ACME-000001 compras@example.cl Q-7", shoptest.Value[string](t, s,
		`SELECT concat_ws(' ', status, channel, items_total, discount_total, total, number, email, metadata->>'quote') FROM orders WHERE id = $1`, reservationID))
	require.Equal(t, "external card_terminal captured T-1 40000 t", shoptest.Value[string](t, s, `SELECT concat_ws(' ', gateway, method, status, reference, captured_amount, applied) FROM payments WHERE order_id = $1`, reservationID))
	require.EqualValues(t, 40_000, shoptest.Value[int64](t, s, `SELECT amount FROM captures`))
	require.Equal(t, []string{"CCP-1", "SCL-1"}, shoptest.List[string](t, s, `SELECT warehouse FROM shipments WHERE status = 'pending' ORDER BY 1`))
	require.Equal(t, 4, reserved(t, s))
	require.Equal(t, []string{"stock_held", "order_paid"}, events(t, s, reservationID))
	s.CheckBooks(t)
}

func TestConfirmReservation_FulfilledUnitsLeaveTheShelfAtOnce(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	reservationID := reservation(t, s, "A", 2)
	requestID := askConfirm(t, s, reservationID, 20_000, true)
	for range 2 {
		v := confirmReservation(t, s, reservationID, requestID)
		require.True(t, v.Confirmed)
		require.Empty(t, v.Held)
	}
	require.Equal(t, "completed", shoptest.Value[string](t, s, `SELECT status FROM orders`))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM shipments`))
	require.Equal(t, "3 0", shoptest.Value[string](t, s, `SELECT on_hand || ' ' || reserved FROM stock_levels`))
	require.Equal(t, -2, shoptest.Value[int](t, s, `SELECT delta FROM stock_movements WHERE reason = 'sold_at_counter' AND reference = $1`, reservationID))
	s.CheckBooks(t)
}

func TestConfirmReservation_LessThanTheCataloguesSumIsADiscount(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	reservationID := reservation(t, s, "A", 3)
	confirmReservation(t, s, reservationID, askConfirm(t, s, reservationID, 11_900, false))
	require.Equal(t, "30000 18100 11900 1900", shoptest.Value[string](t, s, `SELECT concat_ws(' ', items_total, discount_total, total, tax_total) FROM orders`))
	require.Equal(t, "18100 11900 1900", shoptest.Value[string](t, s, `SELECT concat_ws(' ', discount, total, tax) FROM order_lines`))
}

func TestConfirmReservation_MoreThanTheCataloguesSumIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	reservationID := reservation(t, s, "A", 1)
	requestID := askConfirm(t, s, reservationID, 10_001, true)
	for range 2 {
		v := confirmReservation(t, s, reservationID, requestID)
		require.Equal(t, "amount_mismatch", v.Refused)
		require.Equal(t, "held", v.Status)
		require.False(t, v.Confirmed)
	}
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM orders`))
	// Another try with the right sum.
	require.True(t, confirmReservation(t, s, reservationID, askConfirm(t, s, reservationID, 10_000, true)).Confirmed)
}

func TestConfirmReservation_OfWhatIsOverIsRefused(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 9)
	released := reservation(t, s, "A", 1)
	endReservation(t, s, released, false)
	v := confirmReservation(t, s, released, askConfirm(t, s, released, 10_000, false))
	require.Equal(t, "reservation_over", v.Refused)
	require.Equal(t, "released", v.Status)

	short := reservation(t, s, "A", 2)
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Count(t.Context(), tx, shoptest.Tenant, "A", "SCL-1", 1, time.Now(), "ana")
		return err
	})
	v = confirmReservation(t, s, short, askConfirm(t, s, short, 10_000, false))
	require.Equal(t, "short_stock", v.Refused)
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM orders`))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM payments`))
}

func TestConfirmReservation_TwoCallersAtOnceMakeOneOrder(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 9)
	reservationID := reservation(t, s, "A", 2)
	views := make([]checkout.ReservationView, 4)
	var g errgroup.Group
	for i := range views {
		requestID := askConfirm(t, s, reservationID, 20_000, true)
		g.Go(func() (err error) {
			views[i], err = checkout.ConfirmReservation(t.Context(), s.DB, shoptest.Tenant, reservationID, requestID)
			return err
		})
	}
	require.NoError(t, g.Wait())
	done := 0
	for _, v := range views {
		if v.Refused == "" {
			done++
		} else {
			require.Equal(t, "reservation_over", v.Refused)
		}
	}
	require.Equal(t, 1, done)
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM payments`))
	require.Equal(t, 7, shoptest.Value[int](t, s, `SELECT on_hand FROM stock_levels`))
	s.CheckBooks(t)
}

func TestConfirmReservation_AndItsExpiryAtOnceAgree(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 50)
	for range 6 {
		reservationID := reservation(t, s, "A", 1)
		requestID := askConfirm(t, s, reservationID, 10_000, false)
		s.Age(t, reservationID, time.Second)
		var v checkout.ReservationView
		var g errgroup.Group
		g.Go(func() (err error) {
			v, err = checkout.ConfirmReservation(t.Context(), s.DB, shoptest.Tenant, reservationID, requestID)
			return err
		})
		g.Go(func() error {
			_, err := checkout.EndReservation(t.Context(), s.DB, shoptest.Tenant, reservationID, true)
			return err
		})
		require.NoError(t, g.Wait())
		now, err := checkout.LoadReservation(t.Context(), s.DB, shoptest.Tenant, reservationID)
		require.NoError(t, err)
		require.Equal(t, v.Refused == "", now.Confirmed)
		require.Equal(t, now.Confirmed, shoptest.Value[bool](t, s, `SELECT EXISTS (SELECT FROM orders WHERE id = $1)`, reservationID))
	}
	s.CheckBooks(t)
}

func TestExtendReservation_StaysWithinTheTenantsLimitFromTheStart(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(r *tenant.Settings) { r.ReservationMaxSeconds = 7200 })
	s.Product(t, "A", 10_000, 9)
	reservationID := reservation(t, s, "A", 1)
	v := extend(t, s, reservationID, 7000)
	require.Empty(t, v.Refused)
	require.WithinDuration(t, s.Now(t).Add(7000*time.Second), v.ExpiresAt, time.Minute)
	require.Contains(t, events(t, s, reservationID), "hold_extended")
	again := extend(t, s, reservationID, 7201)
	require.Equal(t, "beyond_limit", again.Refused)
	require.Equal(t, v.ExpiresAt, again.ExpiresAt)
	endReservation(t, s, reservationID, false)
	require.Equal(t, "reservation_over", extend(t, s, reservationID, 60).Refused)
}

func TestEndReservation_FreesOnceAndExpiresOnlyInTime(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 9)
	reservationID := reservation(t, s, "A", 2)
	require.Equal(t, "held", endReservation(t, s, reservationID, true).Status)
	s.Age(t, reservationID, time.Second)
	for range 2 {
		v := endReservation(t, s, reservationID, true)
		require.Equal(t, "expired", v.Status)
		require.True(t, v.Over())
	}
	require.Equal(t, "expired", endReservation(t, s, reservationID, false).Status)
	require.Equal(t, []string{"stock_held", "expired"}, events(t, s, reservationID))

	paid := reservation(t, s, "A", 2)
	confirmReservation(t, s, paid, askConfirm(t, s, paid, 20_000, false))
	require.True(t, endReservation(t, s, paid, false).Confirmed)
	require.Equal(t, 2, reserved(t, s))
	s.CheckBooks(t)
}
