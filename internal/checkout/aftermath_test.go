package checkout_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/inbox"
	"justlogistics/internal/order"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
)

// bought is an order of two units that was paid with 23,990.
func bought(t *testing.T) (s *shoptest.Shop, checkoutID, paymentID string) {
	t.Helper()
	s = shoptest.New(t)
	s.Product(t, "A", 10_000, 1, 1)
	checkoutID, paymentID = s.Offer(t, shoptest.Submission("A", 2))
	approve(t, s, checkoutID, paymentID)
	return s, checkoutID, paymentID
}

// hear records an approval of the order's sum with what is told beside it.
func hear(t *testing.T, s *shoptest.Shop, checkoutID, paymentID string, change func(a *payment.Answer)) checkout.Ruling {
	t.Helper()
	a := shoptest.Approved(paymentID, 23_990)
	change(&a)
	return record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: a})
}

func disputed(status payment.DisputeStatus) func(a *payment.Answer) {
	return func(a *payment.Answer) {
		a.Dispute = &payment.Dispute{Reference: "dp_1", Status: status, Amount: 23_990, Currency: "CLP", Reason: "fraudulent"}
	}
}

func attention(t *testing.T, s *shoptest.Shop, orderID string) string {
	t.Helper()
	return shoptest.Value[string](t, s, `SELECT coalesce(attention, '') FROM orders WHERE id = $1`, orderID)
}

func frozen(t *testing.T, s *shoptest.Shop) []string {
	t.Helper()
	return shoptest.List[string](t, s, `SELECT coalesce(frozen_reason, '') FROM shipments ORDER BY warehouse`)
}

func TestRecord_ADisputeFreezesWhatHasNotLeftAndIsWon(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := bought(t)
	for _, step := range []string{`status = 'picking'`, `status = 'packed', packed_at = now()`, `status = 'labelled', labelled_at = now(), carrier = 'manual'`, `status = 'handed_over', handed_over_at = now()`} {
		s.Exec(t, `UPDATE shipments SET `+step+` WHERE warehouse = 'SCL-1'`)
	}
	hint := news(t, s, inbox.News{Kind: inbox.Webhook, EventID: "evt_dispute", EventType: "charge.dispute.created", PaymentID: paymentID, Signed: true})
	for i := range 3 {
		r := hear(t, s, orderID, paymentID, disputed(payment.DisputeOpen))
		require.Equal(t, i == 0, r.Changed)
		require.Equal(t, payment.StatusDisputed, r.View.Attempts[0].Status)
		require.True(t, r.Paid, "paid is never undone")
	}
	require.Equal(t, "applied", fate(t, s, hint))
	require.Equal(t, "disputed", attention(t, s, orderID))
	require.Equal(t, []string{"disputed", ""}, frozen(t, s), "what has left has left")

	r := hear(t, s, orderID, paymentID, disputed(payment.DisputeWon))
	require.Equal(t, payment.StatusCaptured, r.View.Attempts[0].Status)
	require.Empty(t, attention(t, s, orderID))
	require.Equal(t, []string{"", ""}, frozen(t, s))
	require.Equal(t, []string{"dispute_opened", "payment_disputed", "dispute_won", "payment_captured"}, events(t, s, orderID)[4:])
}

func TestRecord_AMediationEndsWhenItIsNotToldAnyMore(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		tell func(a *payment.Answer)
		is   payment.Status
	}{
		"it stays":                {func(*payment.Answer) {}, payment.StatusCaptured},
		"its buyer gets it back":  {func(a *payment.Answer) { a.Refunded = a.Amount }, payment.StatusRefunded},
		"its bank takes it back":  {disputed(payment.DisputeLost), payment.StatusChargedBack},
		"it becomes a chargeback": {disputed(payment.DisputeOpen), payment.StatusDisputed},
	} {
		s, orderID, paymentID := bought(t)
		mediation := func(a *payment.Answer) {
			disputed(payment.DisputeOpen)(a)
			a.Dispute.Reference = payment.MediationPrefix + "1"
		}
		for range 2 {
			require.Equal(t, payment.StatusDisputed, hear(t, s, orderID, paymentID, mediation).View.Attempts[0].Status, name)
		}
		r := hear(t, s, orderID, paymentID, end.tell)
		require.Equal(t, end.is, r.View.Attempts[0].Status, name)
		require.Equal(t, "won", shoptest.Value[string](t, s, `SELECT status FROM disputes WHERE starts_with(reference, 'mediation-')`), name)
	}
}

func TestRecord_ALostDisputeIsTheEnd(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := bought(t)
	s.Exec(t, `UPDATE orders SET attention = 'payment_under_review'`)
	hear(t, s, orderID, paymentID, disputed(payment.DisputeOpen))
	require.Equal(t, "disputed", attention(t, s, orderID), "money goes before other reasons")
	hear(t, s, orderID, paymentID, disputed(payment.DisputeLost))
	require.Equal(t, "charged_back", attention(t, s, orderID))
	require.Equal(t, []string{"disputed", "disputed"}, frozen(t, s), "they stay until a person decides")
	r := hear(t, s, orderID, paymentID, disputed(payment.DisputeWon))
	require.False(t, r.Changed)
	require.Equal(t, payment.StatusChargedBack, r.View.Attempts[0].Status)
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM orders WHERE status = 'paid'`))
}

// TestRecord_RefundsHearOfADispute: one that waits for the bank goes on when it has decided,
// and one that the provider refused because of it ends instead of waiting for a person.
func TestRecord_RefundsHearOfADispute(t *testing.T) {
	t.Parallel()
	for name, ways := range map[string][]payment.DisputeStatus{"won": {payment.DisputeOpen, payment.DisputeWon}, "lost": {payment.DisputeOpen, payment.DisputeLost}, "lost at once": {payment.DisputeLost}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, orderID, paymentID := bought(t)
			const book = `INSERT INTO refunds (tenant, id, payment_id, order_id, amount, currency, reason, status, due_at) VALUES ($1,$2,$3,$4,100,'CLP','r','needs_attention',NULL)`
			waits, done := id.New(), id.New()
			s.Exec(t, book, shoptest.Tenant, waits, paymentID, orderID)
			s.Exec(t, book, shoptest.Tenant, done, paymentID, orderID)
			s.Exec(t, `UPDATE refunds SET status = 'failed', settled_at = now() WHERE id = $1`, done)
			for _, status := range ways {
				s.Exec(t, `DELETE FROM wakes`)
				hear(t, s, orderID, paymentID, disputed(status))
				require.Equal(t, []string{waits}, shoptest.List[string](t, s, `SELECT subject FROM wakes WHERE kind = 'refund'`), status)
				s.Exec(t, `DELETE FROM wakes`)
				hear(t, s, orderID, paymentID, disputed(status))
				require.Empty(t, shoptest.List[string](t, s, `SELECT subject FROM wakes WHERE kind = 'refund'`), "heard twice")
			}
		})
	}
}

func TestRecord_AParcelThatIsSplitOffWhileDisputedIsFrozenToo(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := bought(t)
	hear(t, s, orderID, paymentID, disputed(payment.DisputeOpen))
	s.Do(t, func(tx pgx.Tx) error {
		held := []stock.HeldLine{{Line: stock.Line{SKU: "A", Warehouse: "ANF-1", Quantity: 2}}}
		return order.Resplit(t.Context(), tx, shoptest.Tenant, orderID, held, time.Now().Add(time.Hour))
	})
	require.Equal(t, "disputed", shoptest.Value[string](t, s, `SELECT frozen_reason FROM shipments WHERE warehouse = 'ANF-1'`))
}

func TestRecord_ADisputeOfAStrayPaymentLeavesTheOrderAlone(t *testing.T) {
	t.Parallel()
	s, orderID, _ := bought(t)
	stray := id.New()
	s.Exec(t, `INSERT INTO payments (tenant, id, checkout_id, attempt, gateway, amount, currency, status, account, due_at) VALUES ($1,$2,$3,2,'transbank',23990,'CLP','pending',$4, now())`, shoptest.Tenant, stray, orderID, shoptest.Account)
	r := hear(t, s, orderID, stray, disputed(payment.DisputeOpen))
	require.NotEmpty(t, r.RefundID, "booked; its run waits for the dispute's end")
	require.Equal(t, payment.StatusDisputed, r.View.Attempts[1].Status)
	require.Empty(t, attention(t, s, orderID))
	require.Equal(t, []string{"", ""}, frozen(t, s))
}

func TestRecord_AStrayThatWasChargedBackIsNotRefundedOnTop(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	endUnpaid(t, s, checkoutID, checkout.Cancelled)
	r := hear(t, s, checkoutID, paymentID, disputed(payment.DisputeLost))
	require.Empty(t, r.RefundID)
	require.Equal(t, payment.StatusChargedBack, r.View.Attempts[0].Status)
	require.Empty(t, refunds(t, s))
}

func TestRecord_ARefundInTheProvidersPanelIsCountedAndAPersonIsTold(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := bought(t)
	for i := range 2 {
		r := hear(t, s, orderID, paymentID, func(a *payment.Answer) {
			a.Refunded, a.Refunds = 3_990, []payment.RefundSeen{{Reference: "re_panel", Amount: 3_990, Outcome: payment.OutcomeApproved}}
		})
		require.Equal(t, i == 0, r.Changed)
		require.Empty(t, r.Mismatch, "the order stands")
		require.Equal(t, payment.StatusPartiallyRefunded, r.View.Attempts[0].Status)
	}
	require.Equal(t, "refunded_at_provider", attention(t, s, orderID))
	require.Equal(t, []string{"provider_panel 3990 succeeded"}, refunds(t, s))
	require.Contains(t, events(t, s, orderID), "refund_at_provider")
	hear(t, s, orderID, paymentID, func(a *payment.Answer) { a.Refunded = 23_990 })
	require.EqualValues(t, 23_990, shoptest.Value[int64](t, s, `SELECT refunded_elsewhere FROM payments`))
	require.Equal(t, "refunded", shoptest.Value[string](t, s, `SELECT status FROM payments`))
}

func TestRecord_ARefundThatFailsDaysLaterIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	endUnpaid(t, s, checkoutID, checkout.Cancelled)
	booked := approve(t, s, checkoutID, paymentID).RefundID
	s.Do(t, func(tx pgx.Tx) error {
		return payment.PutRefund(t.Context(), tx, shoptest.Tenant, booked, "succeeded", payment.RefundAnswer{Reference: "re_1"}, 0)
	})
	var again []string
	for range 2 {
		r := hear(t, s, checkoutID, paymentID, func(a *payment.Answer) {
			a.Refunds = []payment.RefundSeen{{Reference: "re_1", RefundID: booked, Amount: 23_990, Outcome: payment.OutcomeDeclined}}
		})
		require.Len(t, r.RefundIDs, 1)
		require.True(t, again == nil || again[0] == r.RefundIDs[0], "the same run again")
		again = r.RefundIDs
	}
	require.NotEqual(t, booked, again[0], "a provider's idempotency key is good for one refund")
	require.Equal(t, []string{"cancelled_checkout 23990 failed", "cancelled_checkout 23990 pending"}, refunds(t, s))
	require.Equal(t, "captured", shoptest.Value[string](t, s, `SELECT status FROM payments`))
	require.Contains(t, events(t, s, checkoutID), "refund_failed_later")
}

func TestRecord_KeepsFeeAndRisk(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	hear(t, s, checkoutID, paymentID, func(a *payment.Answer) { a.Fee, a.Risk, a.Review = 700, "highest", true })
	require.Equal(t, "700 highest true", shoptest.Value[string](t, s, `SELECT fee_amount || ' ' || risk || ' ' || review FROM payments`))
	r := hear(t, s, checkoutID, paymentID, func(a *payment.Answer) { a.Risk = "normal" })
	require.False(t, r.Changed)
	require.Equal(t, "700 normal false", shoptest.Value[string](t, s, `SELECT fee_amount || ' ' || risk || ' ' || review FROM payments`), "the review is over")
}

// allowed is an order of 23,990 whose money is authorized, to be captured
// within five days.
func allowed(t *testing.T) (s *shoptest.Shop, checkoutID, paymentID string) {
	t.Helper()
	s = shoptest.New(t)
	s.Product(t, "A", 10_000, 1, 1)
	checkoutID, paymentID = s.Offer(t, shoptest.Submission("A", 2))
	s.Exec(t, `UPDATE payments SET capture_until = begun_at + interval '5 days'`)
	r := hear(t, s, checkoutID, paymentID, authorizedOnly)
	require.True(t, r.Paid)
	require.Equal(t, payment.StatusAuthorized, r.View.Attempts[0].Status)
	return s, checkoutID, paymentID
}

func authorizedOnly(a *payment.Answer) { a.Captured = false }

func voidedThere(a *payment.Answer) {
	a.Outcome, a.Closed, a.Captured, a.Code = payment.OutcomeDeclined, true, false, "canceled"
}

func TestRecord_AnAuthorizationIsCapturedOnceAndLessIsSaid(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := allowed(t)
	for i := range 2 {
		r := hear(t, s, orderID, paymentID, func(a *payment.Answer) { a.Amount = 20_000 })
		require.Equal(t, i == 0, r.Changed)
		require.Equal(t, payment.StatusCaptured, r.View.Attempts[0].Status)
		require.Empty(t, r.Mismatch)
	}
	require.Equal(t, []int64{20_000}, shoptest.List[int64](t, s, `SELECT amount FROM captures`))
	require.Equal(t, "captured_less_than_total", attention(t, s, orderID))
}

func TestRecord_AnAuthorizationThatLapsesTakesTheOrdersMoneyAndKeepsItsParcels(t *testing.T) {
	t.Parallel()
	for reason, voids := range map[string]bool{"authorization_lapsed": false, "authorization_voided": true} {
		s, orderID, paymentID := allowed(t)
		status := payment.StatusExpired
		if voids {
			s.Exec(t, `UPDATE payments SET void_tried_at = now(), void_reason = 'fraud'`)
			status = payment.StatusCancelled
		}
		for range 2 {
			r := hear(t, s, orderID, paymentID, voidedThere)
			require.Equal(t, status, r.View.Attempts[0].Status)
			require.False(t, r.View.Attempts[0].Applied)
			require.Equal(t, checkout.Paid, r.View.Status)
		}
		require.Equal(t, reason, attention(t, s, orderID))
		require.Equal(t, []string{reason, reason}, frozen(t, s))
		// It was captured all the same: nothing needs a person any more.
		r := hear(t, s, orderID, paymentID, func(*payment.Answer) {})
		require.True(t, r.View.Attempts[0].Applied)
		require.Empty(t, r.RefundID)
		require.Empty(t, attention(t, s, orderID))
		require.Equal(t, []string{"", ""}, frozen(t, s))
	}
}

func TestRecord_AVoidThatItsProviderTellsAsARefundIsAVoid(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := allowed(t)
	s.Exec(t, `UPDATE payments SET void_tried_at = now()`)
	for range 2 {
		r := hear(t, s, orderID, paymentID, func(a *payment.Answer) { a.Refunded = 23_990 })
		require.Equal(t, payment.StatusCancelled, r.View.Attempts[0].Status)
		require.Empty(t, r.Mismatch)
	}
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM captures`))
	require.Empty(t, refunds(t, s))
}

func TestRecord_AnAuthorizationThatMayNotBeKeptIsToBeVoided(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	endUnpaid(t, s, checkoutID, checkout.Cancelled)
	for range 2 {
		r := hear(t, s, checkoutID, paymentID, authorizedOnly)
		require.True(t, r.Void)
		require.Empty(t, r.RefundID)
	}
	require.Equal(t, "cancelled_checkout", shoptest.Value[string](t, s, `SELECT void_reason FROM payments WHERE due_at IS NOT NULL`))
	// Somebody captures it in the provider's panel: then it goes back.
	r := hear(t, s, checkoutID, paymentID, func(*payment.Answer) {})
	require.NotEmpty(t, r.RefundID)
	require.Equal(t, []string{"cancelled_checkout 23990 pending"}, refunds(t, s))
}

func TestRecord_WhoAcceptsAnAuthorizationDoesNotCaptureIt(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	r := hear(t, s, checkoutID, paymentID, func(a *payment.Answer) { a.Captured, a.Amount = false, 23_000 })
	require.Equal(t, "mismatch_amount", r.Mismatch)
	r = record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 23_990), Person: true})
	require.True(t, r.Paid)
	require.Equal(t, payment.StatusAuthorized, r.View.Attempts[0].Status)
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM captures`))
}

func TestRefundStray_OfAnAuthorizationAsksForItsVoid(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	hear(t, s, checkoutID, paymentID, func(a *payment.Answer) { a.Captured, a.Amount = false, 23_000 })
	refundID, err := checkout.RefundStray(t.Context(), s.DB, shoptest.Tenant, checkoutID, paymentID)
	require.NoError(t, err)
	require.Empty(t, refundID)
	require.Equal(t, "mismatch", shoptest.Value[string](t, s, `SELECT void_reason FROM payments`))
}

func TestRecord_ARefundInThePanelThatFailsIsToldWhereverItsMoneyBelongs(t *testing.T) {
	t.Parallel()
	panel := func(amount int64, outcome payment.Outcome) func(a *payment.Answer) {
		return func(a *payment.Answer) {
			if a.Refunds = []payment.RefundSeen{{Reference: "re_panel", Amount: amount, Outcome: outcome}}; outcome == payment.OutcomeApproved {
				a.Refunded = amount
			}
		}
	}
	t.Run("to an order", func(t *testing.T) {
		t.Parallel()
		s, orderID, paymentID := bought(t)
		hear(t, s, orderID, paymentID, panel(3_990, payment.OutcomeApproved))
		s.Do(t, func(tx pgx.Tx) error {
			return order.LowerAttention(t.Context(), tx, shoptest.Tenant, orderID, checkout.ReasonRefundedElsewhere)
		})
		r := hear(t, s, orderID, paymentID, panel(3_990, payment.OutcomeDeclined))
		require.Equal(t, checkout.ReasonRefundedElsewhere, attention(t, s, orderID), "it asks again")
		require.Zero(t, r.CameBack)
	})
	t.Run("to nothing", func(t *testing.T) {
		t.Parallel()
		s := shoptest.New(t)
		s.Product(t, "A", 10_000, 1, 1)
		checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
		s.Exec(t, `UPDATE checkouts SET status = 'cancelled'`)
		stray := hear(t, s, checkoutID, paymentID, func(*payment.Answer) {})
		require.NotEmpty(t, stray.RefundID)
		hear(t, s, checkoutID, paymentID, panel(23_990, payment.OutcomeApproved))
		failed := panel(23_990, payment.OutcomeDeclined)
		require.Zero(t, hear(t, s, checkoutID, paymentID, failed).CameBack, "ours is at work")
		s.Do(t, func(tx pgx.Tx) error {
			return payment.PutRefund(t.Context(), tx, shoptest.Tenant, stray.RefundID, "failed", payment.RefundAnswer{Code: payment.CodeGivenUp}, 0)
		})
		for range 2 {
			require.EqualValues(t, 23_990, hear(t, s, checkoutID, paymentID, failed).CameBack, "told until it is decided")
		}
		refundID, err := checkout.RefundStray(t.Context(), s.DB, shoptest.Tenant, checkoutID, paymentID)
		require.NoError(t, err)
		again, err := checkout.RefundStray(t.Context(), s.DB, shoptest.Tenant, checkoutID, paymentID)
		require.NoError(t, err)
		require.Equal(t, refundID, again, "booked once")
		require.Zero(t, hear(t, s, checkoutID, paymentID, failed).CameBack)
		require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM refunds WHERE reason = 'refund_came_back' AND amount = 23990 AND status = 'pending'`))
	})
	t.Run("of another amount", func(t *testing.T) {
		t.Parallel()
		s := shoptest.New(t)
		s.Product(t, "A", 10_000, 1, 1)
		checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
		wrong := func(change func(a *payment.Answer)) checkout.Ruling {
			return hear(t, s, checkoutID, paymentID, func(a *payment.Answer) { a.Amount = 9_000; change(a) })
		}
		require.Equal(t, "mismatch_amount", wrong(func(*payment.Answer) {}).Mismatch)
		wrong(panel(9_000, payment.OutcomeApproved))
		require.Empty(t, wrong(panel(9_000, payment.OutcomeApproved)).Mismatch, "it went back")
		require.Equal(t, "mismatch_amount", wrong(panel(9_000, payment.OutcomeDeclined)).Mismatch, "told in the record that hears of it")
	})
}
