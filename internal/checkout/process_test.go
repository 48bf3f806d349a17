package checkout_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

func events(t *testing.T, s *shoptest.Shop, subject string) (kinds []string) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		list, err := timeline.Of(t.Context(), tx, shoptest.Tenant, subject)
		for _, e := range list {
			kinds = append(kinds, e.Kind)
		}
		return err
	})
	return kinds
}

func reserved(t *testing.T, s *shoptest.Shop) int {
	t.Helper()
	return shoptest.Value[int](t, s, `SELECT coalesce(sum(reserved), 0) FROM stock_levels`)
}

func view(t *testing.T, s *shoptest.Shop, checkoutID string) checkout.View {
	t.Helper()
	v, err := checkout.Load(t.Context(), s.DB, shoptest.Tenant, checkoutID)
	require.NoError(t, err)
	return v
}

func discount(t *testing.T, s *shoptest.Shop, code string, in catalog.DiscountInput) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		_, err := catalog.PutDiscount(t.Context(), tx, shoptest.Tenant, code, in)
		return err
	})
}

func used(t *testing.T, s *shoptest.Shop) int {
	t.Helper()
	return shoptest.Value[int](t, s, `SELECT used FROM discount_codes`)
}

func endUnpaid(t *testing.T, s *shoptest.Shop, checkoutID string, to checkout.Status) checkout.View {
	t.Helper()
	v, err := checkout.EndUnpaid(t.Context(), s.DB, shoptest.Tenant, checkoutID, to)
	require.NoError(t, err)
	return v
}

// lapse lets a checkout's time run out and ends it.
func lapse(t *testing.T, s *shoptest.Shop, checkoutID string) checkout.View {
	t.Helper()
	s.Age(t, view(t, s, checkoutID).HoldID, time.Second)
	return endUnpaid(t, s, checkoutID, checkout.Expired)
}

func TestStart_HoldsAndWritesTheIntentOnce(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3, 3)
	checkoutID, first := s.Start(t, shoptest.Submission("A", 4))
	require.Equal(t, checkout.Reserving, first.Status)
	require.Equal(t, []stock.Line{{SKU: "A", Warehouse: "CCP-1", Quantity: 1}, {SKU: "A", Warehouse: "SCL-1", Quantity: 3}}, first.Held)
	require.Len(t, first.Attempts, 1)
	require.Equal(t, payment.Transbank, first.Attempts[0].Gateway)
	require.False(t, first.Attempts[0].Begun)
	require.WithinDuration(t, s.Now(t).Add(15*time.Minute), first.ExpiresAt, time.Minute)
	require.Equal(t, first.ExpiresAt, first.HeldUntil)
	for range 3 {
		again, err := checkout.Start(t.Context(), s.DB, shoptest.Tenant, checkoutID, payment.Stripe)
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
	require.Equal(t, 4, reserved(t, s))
	require.Equal(t, []string{"checkout_created", "stock_held"}, events(t, s, checkoutID))
	_, err := checkout.Start(t.Context(), s.DB, shoptest.Tenant, id.New(), payment.Stripe)
	require.ErrorIs(t, err, checkout.ErrNone)
	s.CheckBooks(t)
}

func TestStart_TenAtOnceOfOneCheckoutHoldOnce(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 30)
	checkoutID := s.Submit(t, shoptest.Submission("A", 2))
	var g errgroup.Group
	for range 10 {
		g.Go(func() error {
			_, err := checkout.Start(t.Context(), s.DB, shoptest.Tenant, checkoutID, payment.Transbank)
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, 2, reserved(t, s))
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM payments`))
}

func TestStart_WithoutStockEndsCancelledAndHoldsNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 1, 1)
	s.Product(t, "B", 10_000, 5)
	discount(t, s, "DIEZ", catalog.DiscountInput{Kind: "percent", Value: 1000})
	sub := shoptest.Submission("A", 3)
	sub.Items = append(sub.Items, checkout.Item{SKU: "B", Quantity: 1})
	sub.DiscountCode = "diez"
	checkoutID := s.Submit(t, sub)
	require.Equal(t, 1, used(t, s))
	v, err := checkout.Start(t.Context(), s.DB, shoptest.Tenant, checkoutID, payment.Transbank)
	require.NoError(t, err)
	require.Equal(t, checkout.Cancelled, v.Status)
	require.Equal(t, checkout.FailInsufficientStock, v.FailureCode)
	require.Equal(t, []stock.Shortage{{SKU: "A", Requested: 3, Available: 2}}, v.Shortages)
	require.Empty(t, v.Attempts)
	require.Empty(t, v.HoldID)
	require.Zero(t, reserved(t, s))
	require.Zero(t, used(t, s), "the discount is given back")
	require.False(t, v.ClosedAt.IsZero())
}

func TestStart_OfACheckoutWhoseCallerHasCancelledHoldsNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 1)
	checkoutID := s.Submit(t, shoptest.Submission("A", 1))
	s.Exec(t, `UPDATE checkouts SET cancel_requested_at = now()`)
	v, err := checkout.Start(t.Context(), s.DB, shoptest.Tenant, checkoutID, payment.Transbank)
	require.NoError(t, err)
	require.Equal(t, checkout.Cancelled, v.Status)
	require.Zero(t, reserved(t, s))
}

func TestStart_LimitsWhatOneBuyerHoldsUnderAnyOfTheirNames(t *testing.T) {
	t.Parallel()
	for name, same := range map[string]func(*checkout.Submission){
		"e-mail": func(sub *checkout.Submission) { sub.Customer.Email = "same@example.cl" },
		"RUT":    func(sub *checkout.Submission) { sub.Customer.RUT = "11.111.111-1" },
		"ip":     func(sub *checkout.Submission) { sub.ClientIP = "203.0.113.7" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shoptest.New(t, func(r *tenant.Settings) { r.Limits = tenant.HoldLimits{OpenCheckouts: 2, WindowSeconds: 3600} })
			s.Product(t, "A", 10_000, 100)
			var started, refused atomic.Int64
			var g errgroup.Group
			for i := range 8 {
				sub := shoptest.Submission("A", 1)
				sub.Customer.Email = fmt.Sprintf("buyer%d@example.cl", i)
				same(&sub)
				checkoutID := s.Submit(t, sub)
				g.Go(func() error {
					v, err := checkout.Start(t.Context(), s.DB, shoptest.Tenant, checkoutID, payment.Transbank)
					switch {
					case err != nil:
						return err
					case v.FailureCode == checkout.FailTooManyHolds:
						refused.Add(1)
					case v.HoldID != "":
						started.Add(1)
					}
					return nil
				})
			}
			require.NoError(t, g.Wait())
			require.EqualValues(t, 2, started.Load())
			require.EqualValues(t, 6, refused.Load())
			require.Equal(t, 2, reserved(t, s))
			// Somebody else is not kept out by them, nor is a key with scope admin.
			_, v := s.Start(t, shoptest.Submission("A", 1))
			require.Empty(t, v.FailureCode)
			sub := shoptest.Submission("A", 1)
			same(&sub)
			free := s.Submit(t, sub)
			s.Exec(t, `UPDATE checkouts SET exempt_from_limits = true WHERE id = $1`, free)
			v, err := checkout.Start(t.Context(), s.DB, shoptest.Tenant, free, payment.Transbank)
			require.NoError(t, err)
			require.NotEmpty(t, v.HoldID)
		})
	}
}

func TestStart_LimitsUnitsAndThoseWhoNeverPay(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(r *tenant.Settings) {
		r.Limits = tenant.HoldLimits{UnitsHeld: 5, UnpaidInWindow: 2, WindowSeconds: 3600}
	})
	s.Product(t, "A", 10_000, 100)
	first, paymentID := s.Offer(t, shoptest.Submission("A", 3))
	_, v := s.Start(t, shoptest.Submission("A", 3))
	require.Equal(t, checkout.FailTooManyHolds, v.FailureCode)
	second, v := s.Start(t, shoptest.Submission("A", 2))
	require.Empty(t, v.FailureCode)
	// What was paid for is not held against the buyer.
	approve(t, s, first, paymentID)
	lapse(t, s, second)
	third, v := s.Start(t, shoptest.Submission("A", 5))
	require.Empty(t, v.FailureCode)
	lapse(t, s, third)
	_, v = s.Start(t, shoptest.Submission("A", 1))
	require.Equal(t, checkout.FailTooManyHolds, v.FailureCode, "two ended unpaid")
	s.Exec(t, `UPDATE checkouts SET failure_code = $1 WHERE id = $2`, checkout.FailGatewayUnavailable, third)
	unreachable, v := s.Start(t, shoptest.Submission("A", 1))
	require.Empty(t, v.FailureCode, "one of them for no fault of the buyer's")
	lapse(t, s, unreachable)
	s.Exec(t, `UPDATE checkouts SET created_at = now() - interval '2 hours'`)
	_, v = s.Start(t, shoptest.Submission("A", 1))
	require.Empty(t, v.FailureCode, "that is long ago")
}

// replacing is a submission of the same buyer in place of another checkout.
func replacing(sku string, quantity int, old string) checkout.Submission {
	sub := shoptest.Submission(sku, quantity)
	sub.CustomerRef, sub.Replaces = "cart-7", old
	return sub
}

func TestStart_TakesOverTheHoldOfTheCheckoutItReplaces(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(r *tenant.Settings) { r.Limits = tenant.HoldLimits{OpenCheckouts: 1, UnitsHeld: 3} })
	s.Product(t, "A", 10_000, 3)
	discount(t, s, "UNO", catalog.DiscountInput{Kind: "percent", Value: 1000})
	sub := replacing("A", 3, "")
	sub.DiscountCode = "UNO"
	old, _ := s.Offer(t, sub)
	before := view(t, s, old)
	checkoutID, v := s.Start(t, replacing("A", 2, old))
	require.Empty(t, v.FailureCode)
	require.Len(t, v.Held, 1)
	require.Equal(t, 2, reserved(t, s))
	gone := view(t, s, old)
	require.Equal(t, checkout.Cancelled, gone.Status)
	require.Equal(t, "replaced", gone.FailureCode)
	require.Equal(t, "released", gone.HoldStatus)
	require.Equal(t, before.HoldID, gone.HoldID)
	require.Zero(t, used(t, s))
	require.Contains(t, events(t, s, old), "replaced")
	require.NotEqual(t, before.HoldID, view(t, s, checkoutID).HoldID)
	s.CheckBooks(t)
}

func TestStart_KeepsTheReplacedCheckoutWhenItsOwnStockIsShort(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	old, _ := s.Offer(t, replacing("A", 2, ""))
	_, v := s.Start(t, replacing("A", 4, old))
	require.Equal(t, checkout.FailInsufficientStock, v.FailureCode)
	require.Equal(t, []stock.Shortage{{SKU: "A", Requested: 4, Available: 3}}, v.Shortages, "what the old one gives back counts")
	kept := view(t, s, old)
	require.Equal(t, checkout.AwaitingPayment, kept.Status)
	require.Equal(t, "held", kept.HoldStatus)
	require.Equal(t, 2, reserved(t, s))
	require.NotContains(t, events(t, s, old), "replaced")
	s.CheckBooks(t)
}

func TestStart_ReplacesOnlyAnOpenCheckoutOfTheSameBuyerThatNobodyIsPaying(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 50)
	for name, spoil := range map[string]func(old, paymentID, next string){
		"being paid": func(_, paymentID, _ string) {
			s.Exec(t, `UPDATE payments SET status = 'processing' WHERE id = $1`, paymentID)
		},
		"outcome unknown": func(_, paymentID, _ string) {
			s.Exec(t, `UPDATE payments SET status = 'unknown' WHERE id = $1`, paymentID)
		},
		"another buyer's": func(old, _, _ string) { s.Exec(t, `UPDATE checkouts SET customer_ref = 'cart-8' WHERE id = $1`, old) },
		"nobody's": func(old, _, next string) {
			s.Exec(t, `UPDATE checkouts SET customer_ref = '' WHERE id IN ($1, $2)`, old, next)
		},
		"over":                    func(old, _, _ string) { lapse(t, s, old) },
		"one that does not exist": func(_, _, next string) { s.Exec(t, `UPDATE checkouts SET replaces = $2 WHERE id = $1`, next, id.New()) },
	} {
		sub := replacing("A", 1, "")
		sub.Customer.Email = id.New() + "@example.cl"
		old, paymentID := s.Offer(t, sub)
		sub.Replaces = old
		next := s.Submit(t, sub)
		before := reserved(t, s)
		spoil(old, paymentID, next)
		if name == "over" {
			before--
		}
		v, err := checkout.Start(t.Context(), s.DB, shoptest.Tenant, next, payment.Transbank)
		require.NoError(t, err)
		require.Equal(t, checkout.FailReplaceRefused, v.FailureCode, name)
		require.Equal(t, checkout.Cancelled, v.Status)
		require.Equal(t, before, reserved(t, s), name)
	}
	s.CheckBooks(t)
}

// A late approval of a replaced checkout is money for something cancelled.
func TestStart_AnApprovalOfAReplacedCheckoutIsRefunded(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	old, paymentID := s.Offer(t, replacing("A", 2, ""))
	s.Start(t, replacing("A", 2, old))
	r := approve(t, s, old, paymentID)
	require.False(t, r.Paid)
	require.Equal(t, payment.ReasonCancelled, shoptest.Value[string](t, s, `SELECT reason FROM refunds WHERE id = $1`, r.RefundID))
}

func addAttempt(t *testing.T, s *shoptest.Shop, checkoutID, paymentID string, number int) (checkout.View, bool) {
	t.Helper()
	v, ok, err := checkout.AddAttempt(t.Context(), s.DB, shoptest.Tenant, checkoutID, paymentID, payment.Stripe, number)
	require.NoError(t, err)
	return v, ok
}

func TestAddAttempt_IsOneMoreWhileTheHoldLives(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	checkoutID, first := s.Offer(t, shoptest.Submission("A", 1))
	mine := id.New()
	for range 2 {
		v, ok := addAttempt(t, s, checkoutID, mine, 0)
		require.True(t, ok)
		require.Len(t, v.Attempts, 2)
		require.Equal(t, mine, v.Attempts[1].PaymentID)
		require.Equal(t, payment.Stripe, v.Attempts[1].Gateway)
		require.Equal(t, first, v.Attempts[0].PaymentID)
	}
	// The workflow's own next attempt is found again by its number.
	for range 2 {
		v, ok := addAttempt(t, s, checkoutID, "", 3)
		require.True(t, ok)
		require.Len(t, v.Attempts, 3)
	}
	require.EqualValues(t, 13_990, shoptest.Value[int64](t, s, `SELECT amount FROM payments WHERE id = $1`, mine))
}

func TestAddAttempt_IsRefusedWhenTheTimeIsOverOrTheCheckoutIs(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 30)
	for name, spoil := range map[string]func(checkoutID, paymentID string){
		"past its promised end": func(checkoutID, _ string) {
			s.Exec(t, `UPDATE holds SET expires_at = now() - interval '1 second' WHERE checkout_id = $1`, checkoutID)
		},
		"being cancelled": func(checkoutID, _ string) {
			s.Exec(t, `UPDATE checkouts SET cancel_requested_at = now() WHERE id = $1`, checkoutID)
		},
		"expired": func(checkoutID, _ string) { lapse(t, s, checkoutID) },
		"paid":    func(checkoutID, paymentID string) { approve(t, s, checkoutID, paymentID) },
	} {
		checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
		spoil(checkoutID, paymentID)
		v, ok := addAttempt(t, s, checkoutID, id.New(), 0)
		require.False(t, ok, name)
		require.Len(t, v.Attempts, 1, name)
		v, ok = addAttempt(t, s, checkoutID, "", 2)
		require.False(t, ok, name)
		require.Len(t, v.Attempts, 1, name)
	}
}

func TestGiveUp_LeavesNothingHeld(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	discount(t, s, "UNO", catalog.DiscountInput{Kind: "percent", Value: 1000})
	sub := shoptest.Submission("A", 2)
	sub.DiscountCode = "UNO"
	checkoutID, v := s.Start(t, sub)
	for range 2 {
		var err error
		v, err = checkout.GiveUp(t.Context(), s.DB, shoptest.Tenant, checkoutID, checkout.FailGatewayUnavailable, "no gateway answered")
		require.NoError(t, err)
	}
	require.Equal(t, checkout.Cancelled, v.Status)
	require.Equal(t, checkout.FailGatewayUnavailable, v.FailureCode)
	require.Equal(t, payment.StatusCancelled, v.Attempts[0].Status)
	require.Zero(t, reserved(t, s))
	require.Zero(t, used(t, s))

	offered, _ := s.Offer(t, shoptest.Submission("A", 1))
	v, err := checkout.GiveUp(t.Context(), s.DB, shoptest.Tenant, offered, checkout.FailAbandoned, "")
	require.NoError(t, err)
	require.Equal(t, checkout.AwaitingPayment, v.Status, "what the buyer was offered is not given up")
	s.CheckBooks(t)
}

func TestGrace_KeepsTheStockAndSaysSo(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	checkoutID, _ := s.Offer(t, shoptest.Submission("A", 2))
	promise := view(t, s, checkoutID)
	s.Age(t, promise.HoldID, time.Second)
	v, err := checkout.Grace(t.Context(), s.DB, shoptest.Tenant, checkoutID, 30)
	require.NoError(t, err)
	require.WithinDuration(t, s.Now(t).Add(30*time.Second), v.HeldUntil, 10*time.Second)
	require.True(t, v.HeldUntil.After(v.ExpiresAt))
	require.Contains(t, events(t, s, checkoutID), "hold_grace")
	v, err = checkout.Grace(t.Context(), s.DB, shoptest.Tenant, checkoutID, 10_000)
	require.NoError(t, err)
	require.Equal(t, v.ExpiresAt.Add(300*time.Second), v.HeldUntil, "at most the tenant's grace")
	require.True(t, shoptest.Value[bool](t, s, `SELECT c.due_at = h.held_until + interval '60 seconds' FROM checkouts c JOIN holds h ON h.id = c.hold_id`))
	require.Equal(t, checkout.AwaitingPayment, endUnpaid(t, s, checkoutID, checkout.Expired).Status, "its authority has moved")
}

func TestEndUnpaid_WaitsForTheDatabasesClock(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	checkoutID, _ := s.Offer(t, shoptest.Submission("A", 2))
	require.Equal(t, checkout.AwaitingPayment, endUnpaid(t, s, checkoutID, checkout.Expired).Status)
	require.Equal(t, 2, reserved(t, s))
	for range 2 {
		v := lapse(t, s, checkoutID)
		require.Equal(t, checkout.Expired, v.Status)
		require.Equal(t, "hold_expired", v.FailureCode)
		require.Equal(t, "expired", v.HoldStatus)
		require.Equal(t, payment.StatusExpired, v.Attempts[0].Status)
	}
	require.Zero(t, reserved(t, s))
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM events WHERE kind = 'expired'`))
	require.NotNil(t, shoptest.Value[*time.Time](t, s, `SELECT due_at FROM checkouts`), "its run is not over yet")
	s.CheckBooks(t)
}

func TestEndUnpaid_TellsExpiredFromPaymentFailed(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(r *tenant.Settings) { r.Limits = tenant.HoldLimits{} })
	s.Product(t, "A", 10_000, 30)
	declined := payment.Answer{Outcome: payment.OutcomeDeclined, Code: "-1"}
	for name, c := range map[string]struct {
		do   func(checkoutID, paymentID string)
		want checkout.Status
		code string
	}{
		"nobody paid": {func(string, string) {}, checkout.Expired, "hold_expired"},
		"declined": {func(checkoutID, paymentID string) {
			record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: declined})
		}, checkout.PaymentFailed, "payment_declined"},
		"declined on a page that was closed then": {func(checkoutID, paymentID string) {
			record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: "insufficient_funds"}})
		}, checkout.PaymentFailed, "payment_declined"},
		"aborted by the buyer": {func(checkoutID, paymentID string) {
			record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: payment.Answer{Outcome: payment.OutcomeDeclined, Code: payment.CodeAborted}})
		}, checkout.Expired, "hold_expired"},
		"declined, then another attempt": {func(checkoutID, paymentID string) {
			record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: declined})
			addAttempt(t, s, checkoutID, id.New(), 0)
		}, checkout.Expired, "hold_expired"},
		"no gateway could be reached": {func(checkoutID, paymentID string) {
			_, ok := addAttempt(t, s, checkoutID, id.New(), 0)
			require.True(t, ok)
			s.Exec(t, `UPDATE payments SET status = 'cancelled', closed = true, code = $2, due_at = NULL WHERE checkout_id = $1 AND begun_at IS NULL`, checkoutID, checkout.FailGatewayUnavailable)
		}, checkout.PaymentFailed, checkout.FailGatewayUnavailable},
	} {
		checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
		c.do(checkoutID, paymentID)
		require.Equal(t, checkout.AwaitingPayment, view(t, s, checkoutID).Status, name)
		v := lapse(t, s, checkoutID)
		require.Equal(t, c.want, v.Status, name)
		require.Equal(t, c.code, v.FailureCode, name)
	}
}

func TestRecord_AnApprovalAfterADeclineOnAClosedPagePaysTheOrder(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 30)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: "insufficient_funds"}})
	v := lapse(t, s, checkoutID)
	require.Equal(t, checkout.PaymentFailed, v.Status)
	r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, v.Total)})
	require.True(t, r.Paid)
	s.CheckBooks(t)
}

func TestEndUnpaid_CancelsAtAnyTimeAndKeepsWhatIsInDoubt(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 30)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: payment.Answer{Outcome: payment.OutcomeUnknown}})
	addAttempt(t, s, checkoutID, id.New(), 0)
	v := endUnpaid(t, s, checkoutID, checkout.Cancelled)
	require.Equal(t, checkout.Cancelled, v.Status)
	require.Equal(t, payment.StatusUnknown, v.Attempts[0].Status, "the run goes on asking")
	require.Equal(t, payment.StatusCancelled, v.Attempts[1].Status)
	require.Zero(t, reserved(t, s))

	paid, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	approve(t, s, paid, paymentID)
	require.Equal(t, checkout.Paid, endUnpaid(t, s, paid, checkout.Cancelled).Status)
	require.Equal(t, "confirmed", view(t, s, paid).HoldStatus)
}

func TestEndUnpaid_AndAnApprovalAtOnceAgreeOnOneEnd(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(r *tenant.Settings) { r.Limits = tenant.HoldLimits{} })
	s.Product(t, "A", 10_000, 100)
	for range 8 {
		checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
		s.Age(t, view(t, s, checkoutID).HoldID, time.Second)
		var g errgroup.Group
		g.Go(func() error {
			_, err := checkout.EndUnpaid(t.Context(), s.DB, shoptest.Tenant, checkoutID, checkout.Expired)
			return err
		})
		g.Go(func() error {
			_, err := checkout.Record(t.Context(), s.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 13_990)})
			return err
		})
		require.NoError(t, g.Wait())
		v := view(t, s, checkoutID)
		require.Equal(t, checkout.Paid, v.Status, "there is stock for it either way")
		require.Equal(t, "confirmed", v.HoldStatus)
	}
	require.Equal(t, 8, reserved(t, s))
	s.CheckBooks(t)
}

func TestSettled_MarksOnlyWhatHasEnded(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	checkoutID, _ := s.Offer(t, shoptest.Submission("A", 2))
	require.NoError(t, checkout.Settled(t.Context(), s.DB, shoptest.Tenant, checkoutID))
	require.True(t, view(t, s, checkoutID).ClosedAt.IsZero())
	lapse(t, s, checkoutID)
	require.NoError(t, checkout.Settled(t.Context(), s.DB, shoptest.Tenant, checkoutID))
	closed := view(t, s, checkoutID).ClosedAt
	require.False(t, closed.IsZero())
	require.NoError(t, checkout.Settled(t.Context(), s.DB, shoptest.Tenant, checkoutID))
	require.Equal(t, closed, view(t, s, checkoutID).ClosedAt)
	require.Nil(t, shoptest.Value[*time.Time](t, s, `SELECT due_at FROM checkouts`))
}

func TestSweepUnpaid_EndsWhatItsRunShouldHaveEnded(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 9)
	sweep := func(checkoutID string) {
		require.NoError(t, s.DB.AsSystem(t.Context(), func(tx pgx.Tx) error { return checkout.SweepUnpaid(t.Context(), tx, shoptest.Tenant, checkoutID) }))
	}
	expired, _ := s.Offer(t, shoptest.Submission("A", 1))
	cancelled, _ := s.Offer(t, shoptest.Submission("A", 1))
	paid, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	approve(t, s, paid, paymentID)
	s.Exec(t, `UPDATE checkouts SET cancel_requested_at = now() WHERE id = $1`, cancelled)
	s.Age(t, view(t, s, expired).HoldID, time.Minute)
	for _, checkoutID := range []string{expired, cancelled, paid, expired} {
		sweep(checkoutID)
	}
	require.Equal(t, checkout.Expired, view(t, s, expired).Status)
	require.Equal(t, checkout.Cancelled, view(t, s, cancelled).Status)
	require.Equal(t, checkout.Paid, view(t, s, paid).Status)
	require.Equal(t, 1, reserved(t, s))
	s.CheckBooks(t)
}

func TestPreference_FollowsTheTenantsRule(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	prefer := func(rule tenant.Allocation, region string) (got []string) {
		s.Do(t, func(tx pgx.Tx) (err error) {
			shop, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
			require.NoError(t, err)
			shop.Settings.Allocation = rule
			got, err = checkout.Preference(t.Context(), tx, shop, region)
			return err
		})
		return got
	}
	nearest := tenant.Allocation{Rule: "nearest"}
	require.Equal(t, "SCL-1", prefer(nearest, "RM")[0])
	require.Equal(t, "ANF-1", prefer(nearest, "TA")[0], "the north is served from the north")
	require.Equal(t, "CCP-1", prefer(nearest, "AR")[0], "the south from the south")
	require.Equal(t, []string{"ANF-1", "SCL-1", "CCP-1"}, prefer(tenant.Allocation{Rule: "fixed", Order: []string{"ANF-1"}}, "RM"), "the rest follows by position")
	require.Equal(t, []string{"ANF-1", "CCP-1", "SCL-1"}, prefer(tenant.Allocation{Rule: "fixed", Order: []string{"ANF-1", "GONE", "CCP-1", "SCL-1"}}, "RM"))
	require.Equal(t, shoptest.Warehouses, prefer(tenant.Allocation{Rule: "balanced"}, "AN"))
	closed := false
	s.Do(t, func(tx pgx.Tx) error {
		_, err := catalog.PutWarehouse(t.Context(), tx, shoptest.Tenant, "SCL-1", catalog.WarehouseInput{Name: "x", Region: "RM", Active: &closed})
		return err
	})
	require.Equal(t, []string{"CCP-1", "ANF-1"}, prefer(tenant.Allocation{Rule: "balanced"}, "RM"))
}

func TestStart_AllocatesByTheTenantsRule(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5, 9, 7)
	from := func(rule tenant.Allocation) string {
		s.Change(t, func(r *tenant.Settings) { r.Allocation = rule })
		sub := shoptest.Submission("A", 1)
		_, v := s.Start(t, sub)
		require.Len(t, v.Held, 1)
		return v.Held[0].Warehouse
	}
	require.Equal(t, "SCL-1", from(tenant.Allocation{Rule: "nearest"}))
	require.Equal(t, "ANF-1", from(tenant.Allocation{Rule: "fixed", Order: []string{"ANF-1"}}))
	require.Equal(t, "CCP-1", from(tenant.Allocation{Rule: "balanced"}))
}

// Carts that replace each other's last unit never lose or double it.
func TestStart_ManyReplacementsAtOnceKeepTheBooks(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(r *tenant.Settings) { r.Limits = tenant.HoldLimits{} })
	s.Product(t, "A", 10_000, 2)
	s.Product(t, "B", 10_000, 2)
	var olds [2]string
	for i, sku := range []string{"A", "B"} {
		olds[i], _ = s.Offer(t, replacing(sku, 2, ""))
	}
	// Each wants what the other gives back, and only one can come first.
	ids := [2]string{s.Submit(t, replacing("B", 2, olds[0])), s.Submit(t, replacing("A", 2, olds[1]))}
	var g errgroup.Group
	for _, checkoutID := range ids {
		g.Go(func() error {
			_, err := checkout.Start(context.Background(), s.DB, shoptest.Tenant, checkoutID, payment.Transbank)
			return err
		})
	}
	require.NoError(t, g.Wait())
	s.CheckBooks(t)
	for i, checkoutID := range ids {
		v, old := view(t, s, checkoutID), view(t, s, olds[i])
		if v.FailureCode == "" {
			require.Equal(t, checkout.Cancelled, old.Status)
		} else {
			require.Equal(t, checkout.AwaitingPayment, old.Status)
			require.Equal(t, "held", old.HoldStatus)
		}
	}
}

func TestSweepUnpaid_LeavesACheckoutWhoseCommitHasBegun(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 9)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	s.Age(t, view(t, s, checkoutID).HoldID, time.Minute)
	s.Do(t, func(tx pgx.Tx) error {
		_, _, err := payment.Announce(t.Context(), tx, shoptest.Tenant, paymentID, payment.EffectSettle)
		return err
	})
	err := s.DB.AsSystem(t.Context(), func(tx pgx.Tx) error { return checkout.SweepUnpaid(t.Context(), tx, shoptest.Tenant, checkoutID) })
	require.ErrorIs(t, err, checkout.ErrBeingPaid)
	require.Equal(t, checkout.AwaitingPayment, view(t, s, checkoutID).Status)
	require.Equal(t, 1, reserved(t, s))
}

func TestEndUnpaid_LeavesACommitThatWasTriedInDoubt(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 9)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	s.Do(t, func(tx pgx.Tx) error {
		_, _, err := payment.Announce(t.Context(), tx, shoptest.Tenant, paymentID, payment.EffectSettle)
		return err
	})
	v := lapse(t, s, checkoutID)
	require.Equal(t, checkout.Expired, v.Status)
	a, _ := v.Attempt(paymentID)
	require.Equal(t, payment.StatusPending, a.Status, "nobody knows yet whether the money moved")
	require.True(t, a.Settling)
	v, err := checkout.NotCommitted(t.Context(), s.DB, shoptest.Tenant, checkoutID, paymentID, "no stock is left; the buyer was not charged")
	require.NoError(t, err)
	a, _ = v.Attempt(paymentID)
	require.Equal(t, payment.StatusExpired, a.Status, "the gateway has said that nothing was charged")
	s.CheckBooks(t)
}
