package checkout_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/inbox"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

func record(t *testing.T, s *shoptest.Shop, checkoutID string, n checkout.News) checkout.Ruling {
	t.Helper()
	if n.AskedAt.IsZero() {
		n.AskedAt = s.Now(t)
	}
	r, err := checkout.Record(t.Context(), s.DB, shoptest.Tenant, checkoutID, n)
	require.NoError(t, err)
	return r
}

// approve records that the gateway took exactly what was asked.
func approve(t *testing.T, s *shoptest.Shop, checkoutID, paymentID string) checkout.Ruling {
	t.Helper()
	amount := shoptest.Value[int64](t, s, `SELECT amount FROM payments WHERE id = $1`, paymentID)
	return record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, amount)})
}

func news(t *testing.T, s *shoptest.Shop, n inbox.News) (inboxID string) {
	t.Helper()
	if n.Gateway == "" {
		n.Gateway = payment.Transbank
	}
	s.Do(t, func(tx pgx.Tx) error {
		stored, err := inbox.Store(t.Context(), tx, shoptest.Tenant, n)
		inboxID = stored.ID
		return err
	})
	return inboxID
}

func fate(t *testing.T, s *shoptest.Shop, inboxID string) string {
	t.Helper()
	return shoptest.Value[string](t, s, `SELECT status FROM inbox WHERE id = $1`, inboxID)
}

func refunds(t *testing.T, s *shoptest.Shop) []string {
	t.Helper()
	return shoptest.List[string](t, s, `SELECT reason || ' ' || amount || ' ' || status FROM refunds ORDER BY id`)
}

func TestRecord_AnApprovalMakesThePaidOrder(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 3_333, 2, 5)
	s.Product(t, "B", 1_000, 5)
	s.Product(t, "C", 10, 5)
	off, currency := int64(1_000), "CLP"
	discount(t, s, "MIL", catalog.DiscountInput{Kind: "amount", Value: off, Currency: &currency})
	sub := shoptest.Submission("A", 3)
	sub.Items = append(sub.Items, checkout.Item{SKU: "B", Quantity: 1}, checkout.Item{SKU: "C", Quantity: 1})
	sub.DiscountCode = "MIL"
	sub.Metadata = map[string]any{"cart": "7"}
	checkoutID, paymentID := s.Offer(t, sub)
	hint := news(t, s, inbox.News{Kind: inbox.Return, EventType: "finished", PaymentID: paymentID, Detail: payment.Return{Kind: payment.ReturnFinished}})

	r := approve(t, s, checkoutID, paymentID)
	require.True(t, r.Paid)
	require.True(t, r.Changed)
	require.Empty(t, r.RefundID)
	require.Empty(t, r.Mismatch)
	require.Equal(t, checkout.Paid, r.View.Status)
	require.True(t, r.View.Attempts[0].Applied)
	require.True(t, r.View.Attempts[0].Closed)
	require.Equal(t, "confirmed", r.View.HoldStatus)
	require.Equal(t, "applied", fate(t, s, hint))

	// Items 9,999 + 1,000 + 10 less 1,000, spread by largest remainder, and
	// 3,990 of freight.
	total := int64(11_009 - 1_000 + 3_990)
	require.Equal(t, money.Spread(1_000, []int64{9_999, 1_000, 10}), shoptest.List[int64](t, s, `SELECT discount FROM order_lines WHERE order_id = $1 ORDER BY position`, checkoutID))
	require.EqualValues(t, 1_000, shoptest.Value[int64](t, s, `SELECT sum(discount) FROM order_lines`))
	require.Equal(t, total, shoptest.Value[int64](t, s, `SELECT total FROM orders WHERE id = $1 AND status = 'paid' AND attention IS NULL AND metadata = '{"cart":"7"}'`, checkoutID))
	require.Equal(t, total, shoptest.Value[int64](t, s, `SELECT captured_amount FROM payments WHERE order_id = $1 AND applied`, checkoutID))
	require.Equal(t, shoptest.Value[int64](t, s, `SELECT tax_total FROM checkouts`), shoptest.Value[int64](t, s, `SELECT tax_total FROM orders`))
	require.Equal(t, shoptest.Value[string](t, s, `SELECT number FROM checkouts`), shoptest.Value[string](t, s, `SELECT number FROM orders`))
	require.Equal(t, 1, used(t, s), "a paid order keeps its use")

	require.Equal(t, []string{
		`CCP-1 [{"sku": "A", "quantity": 1}]`,
		`SCL-1 [{"sku": "A", "quantity": 2}, {"sku": "B", "quantity": 1}, {"sku": "C", "quantity": 1}]`,
	}, shoptest.List[string](t, s, `SELECT warehouse || ' ' || lines FROM shipments WHERE order_id = $1 AND status = 'pending' AND due_at IS NOT NULL ORDER BY 1`, checkoutID))
	require.Equal(t, []string{"checkout_created", "stock_held", "payment_captured", "order_paid"}, events(t, s, checkoutID))
	require.Equal(t, 5, reserved(t, s), "until they are handed over")
	s.CheckBooks(t)
}

func TestRecord_TheSameNewsTwiceDecideTheSame(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	approve(t, s, checkoutID, paymentID)
	again := news(t, s, inbox.News{Kind: inbox.Webhook, EventID: "evt_2", PaymentID: paymentID, Signed: true, Claim: payment.OutcomeApproved})
	for range 3 {
		r := approve(t, s, checkoutID, paymentID)
		require.True(t, r.Paid)
		require.False(t, r.Changed)
		require.Empty(t, r.RefundID)
	}
	require.Equal(t, "ignored", fate(t, s, again))
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM orders`))
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM captures`))
	require.Empty(t, refunds(t, s))
	require.Len(t, events(t, s, checkoutID), 4)
}

// Complaint: a paid order is flipped to failed days later by a second, late or
// repeated result call.
func TestRecord_NothingTurnsAPaidOrderBack(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	approve(t, s, checkoutID, paymentID)
	for _, a := range []payment.Answer{
		{Outcome: payment.OutcomeDeclined, Code: "-1", Closed: true}, {Outcome: payment.OutcomeDeclined, Code: payment.CodeAborted}, {Outcome: payment.OutcomeDeclined, Code: payment.CodeExpired, Closed: true},
		{Outcome: payment.OutcomeUnknown}, {Outcome: payment.OutcomePending}, {Outcome: payment.OutcomePending, Processing: true},
	} {
		r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: a, Lapse: payment.StatusCancelled})
		require.Equal(t, checkout.Paid, r.View.Status, "%+v", a)
		require.Equal(t, payment.StatusCaptured, r.View.Attempts[0].Status)
		require.True(t, r.View.Attempts[0].Applied)
	}
}

func TestRecord_OfTwoApprovalsAtOnceOneIsAppliedAndTheOtherGoesBack(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(r *tenant.Settings) { r.Limits = tenant.HoldLimits{} })
	s.Product(t, "A", 10_000, 50)
	for range 5 {
		checkoutID, first := s.Offer(t, shoptest.Submission("A", 1))
		second := id.New()
		_, ok := addAttempt(t, s, checkoutID, second, 0)
		require.True(t, ok)
		s.Begun(t, checkoutID, second)
		rulings := make([]checkout.Ruling, 2)
		var g errgroup.Group
		for i, paymentID := range []string{first, second} {
			for range 2 { // each is told twice
				g.Go(func() error {
					r, err := checkout.Record(t.Context(), s.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 13_990)})
					if r.Changed {
						rulings[i] = r
					}
					return err
				})
			}
		}
		require.NoError(t, g.Wait())
		require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM payments WHERE checkout_id = $1 AND applied`, checkoutID))
		require.Equal(t, []string{"duplicate_payment 13990 pending"}, shoptest.List[string](t, s, `SELECT f.reason || ' ' || f.amount || ' ' || f.status FROM refunds f JOIN payments p ON p.id = f.payment_id WHERE p.checkout_id = $1 AND NOT p.applied AND p.not_applied_reason = f.reason`, checkoutID))
		require.True(t, rulings[0].Paid && rulings[1].Paid)
		require.NotEqual(t, rulings[0].RefundID == "", rulings[1].RefundID == "", "one of the two names the refund")
	}
	require.Equal(t, 5, reserved(t, s))
	s.CheckBooks(t)
}

func TestRecord_ALateApprovalHoldsAgain(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 2)
	discount(t, s, "UNO", catalog.DiscountInput{Kind: "percent", Value: 1000})
	sub := shoptest.Submission("A", 2)
	sub.DiscountCode = "UNO"
	checkoutID, paymentID := s.Offer(t, sub)
	old := lapse(t, s, checkoutID)
	require.Equal(t, checkout.Expired, old.Status)
	require.Zero(t, used(t, s))
	r := approve(t, s, checkoutID, paymentID)
	require.True(t, r.Paid)
	require.NotEqual(t, old.HoldID, r.View.HoldID)
	require.Equal(t, "confirmed", r.View.HoldStatus)
	require.Empty(t, r.View.FailureCode)
	require.Equal(t, 1, used(t, s), "the discount counts again")
	require.Equal(t, []string{"checkout_created", "stock_held", "expired", "payment_captured", "held_again", "order_paid"}, events(t, s, checkoutID))
	s.CheckBooks(t)
}

func TestRecord_ALateApprovalKeepsItsPriceWhenTheCodeIsUsedUp(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(r *tenant.Settings) { r.Limits = tenant.HoldLimits{} })
	s.Product(t, "A", 10_000, 9)
	once := 1
	discount(t, s, "UNO", catalog.DiscountInput{Kind: "percent", Value: 1000, MaxUses: &once})
	sub := shoptest.Submission("A", 2)
	sub.DiscountCode = "UNO"
	checkoutID, paymentID := s.Offer(t, sub)
	lapse(t, s, checkoutID)
	s.Offer(t, sub) // somebody else takes the last use
	r := approve(t, s, checkoutID, paymentID)
	require.True(t, r.Paid)
	require.Contains(t, events(t, s, checkoutID), "discount_beyond_its_uses")
	require.Equal(t, 1, used(t, s))
	require.EqualValues(t, 2_000, shoptest.Value[int64](t, s, `SELECT discount_total FROM orders`))
}

func TestRecord_LateApprovalWithoutStockIsRefunded(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *shoptest.Shop, string, string){
		"expired": func(t *testing.T, s *shoptest.Shop, checkoutID, _ string) { lapse(t, s, checkoutID) },
		"payment failed": func(t *testing.T, s *shoptest.Shop, checkoutID, paymentID string) {
			record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: payment.Answer{Outcome: payment.OutcomeDeclined, Code: "-1"}})
			lapse(t, s, checkoutID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shoptest.New(t)
			s.Product(t, "A", 10_000, 2)
			checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
			end(t, s, checkoutID, paymentID)
			ended := view(t, s, checkoutID).Status
			s.Offer(t, shoptest.Submission("A", 1)) // the shelf is not enough any more
			var refundID string
			for range 3 {
				r := approve(t, s, checkoutID, paymentID)
				require.False(t, r.Paid)
				require.Equal(t, ended, r.View.Status)
				require.NotEmpty(t, r.RefundID)
				require.True(t, refundID == "" || refundID == r.RefundID, "the same refund again")
				refundID = r.RefundID
				require.Equal(t, payment.StatusCaptured, r.View.Attempts[0].Status, "what happened is recorded")
				require.Equal(t, payment.ReasonLate, r.View.Attempts[0].Mismatch)
			}
			require.Equal(t, []string{"late_payment 23990 pending"}, refunds(t, s))
			require.Equal(t, 1, reserved(t, s))
			require.Contains(t, events(t, s, checkoutID), "refund_booked")
			s.CheckBooks(t)
		})
	}
}

func TestRecord_AnApprovalOfACancelledCheckoutIsRefunded(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 2)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	endUnpaid(t, s, checkoutID, checkout.Cancelled)
	r := approve(t, s, checkoutID, paymentID)
	require.Equal(t, checkout.Cancelled, r.View.Status)
	require.NotEmpty(t, r.RefundID)
	require.Equal(t, []string{"cancelled_checkout 13990 pending"}, refunds(t, s))
	require.Zero(t, reserved(t, s))
}

// News that come again after the refund has failed are no mismatch: the
// refund's own run has parked.
func TestRecord_AStrayPaymentWhoseRefundFailedIsNotRuledOnAgain(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 2)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	endUnpaid(t, s, checkoutID, checkout.Cancelled)
	r := approve(t, s, checkoutID, paymentID)
	s.Do(t, func(tx pgx.Tx) error {
		return payment.PutRefund(t.Context(), tx, shoptest.Tenant, r.RefundID, "failed", payment.RefundAnswer{Code: "expired_card"}, 0)
	})
	r = approve(t, s, checkoutID, paymentID)
	require.False(t, r.Changed)
	require.Empty(t, r.Mismatch)
	require.Empty(t, r.RefundID)
	require.Len(t, refunds(t, s), 1)
}

func TestRecord_MoneyThatIsNotAsWeAskedPaysNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t, func(r *tenant.Settings) { r.Limits = tenant.HoldLimits{} })
	s.Product(t, "A", 10_000, 50)
	for kind, change := range map[string]func(*payment.Answer){
		"reference": func(a *payment.Answer) { a.PaymentID = id.New() },
		"amount":    func(a *payment.Answer) { a.Amount = 1 },
		"currency":  func(a *payment.Answer) { a.Currency = "USD" },
		"account":   func(a *payment.Answer) { a.Account = "597000000000" },
		"live_mode": func(a *payment.Answer) { a.LiveMode = true },
		"refunded":  func(a *payment.Answer) { a.Refunded = 13_990 },
	} {
		checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
		a := shoptest.Approved(paymentID, 13_990)
		change(&a)
		for i := range 2 {
			r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: a})
			if i == 0 || kind != "refunded" { // all of it is back: nothing is left to decide
				require.Equal(t, "mismatch_"+kind, r.Mismatch)
			}
			require.Equal(t, i == 0, r.Changed, kind)
			require.False(t, r.Paid)
			require.Empty(t, r.RefundID, "a person is asked")
			require.Equal(t, checkout.AwaitingPayment, r.View.Status)
			status := payment.StatusCaptured
			if kind == "refunded" {
				status = payment.StatusRefunded
			}
			require.Equal(t, status, r.View.Attempts[0].Status)
			require.Equal(t, "mismatch_"+kind, r.View.Attempts[0].Mismatch)
		}
		require.Equal(t, a.Amount, shoptest.Value[int64](t, s, `SELECT captured_amount FROM payments WHERE id = $1`, paymentID), "recorded as it happened")
	}
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM orders`))
}

func TestRecord_APersonAcceptsOrReturnsAMismatch(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 50)
	mismatched := func() (checkoutID, paymentID string) {
		checkoutID, paymentID = s.Offer(t, shoptest.Submission("A", 1))
		record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 13_000)})
		return checkoutID, paymentID
	}
	checkoutID, paymentID := mismatched()
	r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 13_990), Person: true})
	require.True(t, r.Paid)
	require.Empty(t, r.View.Attempts[0].Mismatch)
	require.EqualValues(t, 13_000, shoptest.Value[int64](t, s, `SELECT captured_amount FROM payments WHERE id = $1`, paymentID), "no money is invented")

	checkoutID, paymentID = mismatched()
	var first string
	for range 3 {
		refundID, err := checkout.RefundStray(t.Context(), s.DB, shoptest.Tenant, checkoutID, paymentID)
		require.NoError(t, err)
		require.True(t, first == "" || first == refundID)
		first = refundID
	}
	require.Equal(t, []string{"mismatch 13000 pending"}, refunds(t, s))
	booked := 0
	for _, kind := range events(t, s, checkoutID) {
		if kind == "refund_booked" {
			booked++
		}
	}
	require.Equal(t, 1, booked, "told once")
	r = record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 13_000)})
	require.Equal(t, first, r.RefundID)
	require.Empty(t, r.Mismatch, "it is ruled on")
}

func TestRecord_AnUnknownOutcomeIsAStateOfItsOwn(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	hint := news(t, s, inbox.News{Kind: inbox.Return, EventType: "finished", PaymentID: paymentID})
	r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: payment.Answer{Outcome: payment.OutcomeUnknown}})
	require.True(t, r.Changed)
	require.Equal(t, payment.StatusUnknown, r.View.Attempts[0].Status)
	require.Equal(t, checkout.AwaitingPayment, r.View.Status)
	require.Equal(t, "pending", fate(t, s, hint), "nothing answers it yet")
	r = record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: payment.Answer{Outcome: payment.OutcomePending}})
	require.Equal(t, payment.StatusPending, r.View.Attempts[0].Status)
	require.Equal(t, "pending", fate(t, s, hint), "a return that asks to be settled stays")
	require.True(t, approve(t, s, checkoutID, paymentID).Paid)
	require.Equal(t, "applied", fate(t, s, hint))
}

func TestRecord_SettlesOnlyNewsFromBeforeTheGatewayWasAsked(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	_, other := s.Offer(t, shoptest.Submission("A", 1))
	before := news(t, s, inbox.News{Kind: inbox.Webhook, EventID: "1", PaymentID: paymentID, Signed: true})
	another := news(t, s, inbox.News{Kind: inbox.Webhook, EventID: "2", PaymentID: other, Signed: true})
	askedAt := s.Now(t)
	after := news(t, s, inbox.News{Kind: inbox.Webhook, EventID: "3", PaymentID: paymentID, Signed: true})
	record(t, s, checkoutID, checkout.News{PaymentID: paymentID, AskedAt: askedAt, Answer: payment.Answer{Outcome: payment.OutcomeDeclined, Code: "-1"}})
	require.Equal(t, "applied", fate(t, s, before))
	require.Equal(t, "pending", fate(t, s, after))
	require.Equal(t, "pending", fate(t, s, another))
}

func TestRecord_ADeclinedAttemptMayStillBeApproved(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: payment.Answer{Outcome: payment.OutcomeDeclined, Code: "-1"}})
	require.Equal(t, payment.StatusDeclined, r.View.Attempts[0].Status)
	require.Equal(t, checkout.AwaitingPayment, r.View.Status, "the buyer may try again until the hold ends")
	require.Equal(t, 1, reserved(t, s))
	require.True(t, approve(t, s, checkoutID, paymentID).Paid)
}

func TestRecord_WhatNeedsAPersonIsSaidOnTheOrder(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	attention := func(checkoutID string) string {
		return shoptest.Value[string](t, s, `SELECT coalesce(attention, '') FROM orders WHERE id = $1`, checkoutID)
	}
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	a := shoptest.Approved(paymentID, 13_990)
	a.Review = true
	record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: a})
	require.Equal(t, "payment_under_review", attention(checkoutID))

	checkoutID, paymentID = s.Offer(t, shoptest.Submission("A", 4))
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Count(t.Context(), tx, shoptest.Tenant, "A", "SCL-1", 3, time.Now(), "ana")
		return err
	})
	r := approve(t, s, checkoutID, paymentID)
	require.True(t, r.Paid)
	require.Equal(t, "short", r.View.HoldStatus)
	require.Equal(t, "short_stock", attention(checkoutID))
	s.CheckBooks(t)
}

func TestRecord_RefusesAPaymentOfAnotherCheckout(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, _ := s.Offer(t, shoptest.Submission("A", 1))
	_, other := s.Offer(t, shoptest.Submission("A", 1))
	_, err := checkout.Record(t.Context(), s.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: other, Answer: shoptest.Approved(other, 13_990)})
	require.ErrorContains(t, err, "is not of checkout")
	s.AddTenant(t, "other")
	_, err = checkout.Record(t.Context(), s.DB, "other", checkoutID, checkout.News{PaymentID: other})
	require.ErrorIs(t, err, checkout.ErrNone)
}

func holdAgain(t *testing.T, s *shoptest.Shop, checkoutID string) (checkout.View, bool) {
	t.Helper()
	v, ok, err := checkout.HoldAgain(t.Context(), s.DB, shoptest.Tenant, checkoutID)
	require.NoError(t, err)
	return v, ok
}

func TestHoldAgain_ForALateBuyerBeforeAnythingIsCharged(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 2)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	open, ok := holdAgain(t, s, checkoutID)
	require.True(t, ok, "it still holds")
	old := lapse(t, s, checkoutID)
	require.Equal(t, open.HoldID, old.HoldID)
	v, ok := holdAgain(t, s, checkoutID)
	require.True(t, ok)
	require.Equal(t, checkout.Expired, v.Status)
	require.Equal(t, "held", v.HoldStatus)
	require.NotEqual(t, old.HoldID, v.HoldID)
	again, ok := holdAgain(t, s, checkoutID)
	require.True(t, ok)
	require.Equal(t, v.HoldID, again.HoldID)
	require.Equal(t, 2, reserved(t, s))
	r := approve(t, s, checkoutID, paymentID)
	require.True(t, r.Paid)
	require.Equal(t, v.HoldID, r.View.HoldID, "what was held again is what is paid")
	_, ok = holdAgain(t, s, checkoutID)
	require.False(t, ok, "a second attempt is not committed")
	s.CheckBooks(t)
}

func TestHoldAgain_WithoutStockOrAfterACancelNothingMayBeCharged(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 2)
	checkoutID, _ := s.Offer(t, shoptest.Submission("A", 2))
	lapse(t, s, checkoutID)
	other, _ := s.Offer(t, shoptest.Submission("A", 1))
	v, ok := holdAgain(t, s, checkoutID)
	require.False(t, ok)
	require.Equal(t, checkout.Expired, v.Status)
	require.Equal(t, 1, reserved(t, s))
	endUnpaid(t, s, other, checkout.Cancelled)
	_, ok = holdAgain(t, s, other)
	require.False(t, ok)
	require.Zero(t, reserved(t, s))
}

func TestLetGo_FreesWhatWasHeldAgainAndNothingElse(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 9)
	letGo := func(checkoutID string) {
		_, err := checkout.LetGo(t.Context(), s.DB, shoptest.Tenant, checkoutID)
		require.NoError(t, err)
	}
	late, _ := s.Offer(t, shoptest.Submission("A", 2))
	lapse(t, s, late)
	holdAgain(t, s, late)
	letGo(late)
	letGo(late)
	require.Zero(t, reserved(t, s))
	open, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	letGo(open)
	require.Equal(t, 2, reserved(t, s), "an open checkout keeps its hold")
	approve(t, s, open, paymentID)
	letGo(open)
	require.Equal(t, 2, reserved(t, s), "and so does a paid one")
	s.CheckBooks(t)
}

func TestNotCommitted_SettlesTheReturnAndSaysThatNothingWasCharged(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 9)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	ret := news(t, s, inbox.News{Kind: inbox.Return, EventType: "finished", PaymentID: paymentID})
	for range 2 {
		_, err := checkout.NotCommitted(t.Context(), s.DB, shoptest.Tenant, checkoutID, paymentID, "no stock is left")
		require.NoError(t, err)
	}
	require.Equal(t, "ignored", fate(t, s, ret))
	require.Equal(t, "no stock is left", shoptest.Value[string](t, s, `SELECT reason FROM inbox`))
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM events WHERE kind = 'late_return_not_committed' AND data->>'charged' = 'false'`))
}

func TestCureShort_MovesTheOrderToAnotherWarehouse(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3, 0, 3)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 3))
	approve(t, s, checkoutID, paymentID)
	holdID := view(t, s, checkoutID).HoldID
	count := func(warehouse string, units int) {
		s.Do(t, func(tx pgx.Tx) error {
			_, err := stock.Count(t.Context(), tx, shoptest.Tenant, "A", warehouse, units, time.Now(), "ana")
			return err
		})
	}
	cure := func() bool {
		ok, err := checkout.CureShort(t.Context(), s.DB, shoptest.Tenant, holdID)
		require.NoError(t, err)
		return ok
	}
	require.True(t, cure(), "nothing is missing")
	count("ANF-1", 1)
	count("SCL-1", 1)
	require.False(t, cure())
	count("ANF-1", 5)
	require.True(t, cure())
	shipments := func() []string {
		return shoptest.List[string](t, s, `SELECT warehouse || ' ' || status || ' ' || lines FROM shipments WHERE status <> 'cancelled' ORDER BY 1`)
	}
	require.Equal(t, []string{`ANF-1 pending [{"sku": "A", "quantity": 2}]`, `SCL-1 pending [{"sku": "A", "quantity": 1}]`}, shipments())
	count("SCL-1", 0)
	require.True(t, cure())
	require.Equal(t, []string{`ANF-1 pending [{"sku": "A", "quantity": 3}]`}, shipments())
	require.Contains(t, events(t, s, checkoutID), "held_elsewhere")
	s.CheckBooks(t)
}

func TestMarkShorted_AsksForTheCancellationOfAnUnpaidCheckout(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 3)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	v, err := checkout.MarkShorted(t.Context(), s.DB, shoptest.Tenant, checkoutID)
	require.NoError(t, err)
	require.True(t, v.Cancelling)
	require.Equal(t, checkout.FailInsufficientStock, v.FailureCode)
	v = endUnpaid(t, s, checkoutID, checkout.Cancelled)
	require.Equal(t, checkout.FailInsufficientStock, v.FailureCode, "the first reason is kept")
	require.NotEmpty(t, approve(t, s, checkoutID, paymentID).RefundID)

	paid, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	approve(t, s, paid, paymentID)
	v, err = checkout.MarkShorted(t.Context(), s.DB, shoptest.Tenant, paid)
	require.NoError(t, err)
	require.False(t, v.Cancelling)
}
