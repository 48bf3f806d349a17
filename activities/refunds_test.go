package activities_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/refund"
	"justlogistics/internal/shoptest"
)

// ordered is a paid order: captured, or with a token that only authorizes.
func ordered(t *testing.T, token string) *bundle {
	t.Helper()
	b := withToken(t, token)
	b.g.caps.Refunds, b.g.caps.PartialRefunds = true, true
	require.True(t, b.record(t, b.begin(t), "").Paid)
	return b
}

// asked books a refund on the order and returns its request and parts.
func (b *bundle) asked(t *testing.T, in refund.Request) (request activities.RefundRef, v activities.RefundView) {
	t.Helper()
	in.OrderID, in.Reason = b.ref.CheckoutID, "test"
	request = activities.RefundRef{Tenant: shoptest.Tenant, RefundID: id.New()}
	b.Do(t, func(tx pgx.Tx) error {
		_, err := refund.Book(t.Context(), tx, shoptest.Tenant, request.RefundID, in, nil, "test", func(payment.Name) (payment.Capabilities, bool) { return b.g.caps, true })
		return err
	})
	v, err := b.payments.LoadRefund(t.Context(), request)
	require.NoError(t, err)
	return request, v
}

func partOf(v activities.RefundView, i int) activities.RefundRef {
	return activities.RefundRef{Tenant: shoptest.Tenant, RefundID: v.Parts[i].ID}
}

func goodwill(n int64) refund.Request { return refund.Request{Amount: &n} }

func TestLoadRefund_OfARequestHasItsParts(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenApproved)
	request, v := b.asked(t, refund.Request{})
	require.True(t, v.Request)
	require.False(t, v.Waits)
	require.Equal(t, refund.Requested, v.Reason, "what people write is in no history")
	require.EqualValues(t, total, v.Amount)
	require.Equal(t, b.ref.CheckoutID, v.CheckoutID)
	require.Len(t, v.Parts, 1)
	require.Equal(t, payment.Transbank, v.Parts[0].Gateway)

	// The part alone is like a refund that nobody asked for.
	alone, err := b.payments.LoadRefund(t.Context(), partOf(v, 0))
	require.NoError(t, err)
	require.Equal(t, v.Parts[0].RefundView, alone)
	require.NotEqual(t, request, partOf(v, 0))
}

func TestVoidPayment_CutOffHalfWayVoidsOnce(t *testing.T) {
	t.Parallel()
	part := func(b *bundle) activities.RefundRef {
		return activities.RefundRef{Tenant: shoptest.Tenant, RefundID: shoptest.Value[string](t, b.Shop, `SELECT id FROM refunds`)}
	}
	halfway(t, func(t *testing.T) *bundle {
		b := ordered(t, tokenAuthorized)
		_, v := b.asked(t, refund.Request{})
		require.Equal(t, refund.Void, v.Parts[0].Method)
		return b
	}, func(ctx context.Context, b *bundle) error {
		_, err := b.payments.VoidPayment(ctx, part(b))
		return err
	}, func(t *testing.T, b *bundle) {
		require.Equal(t, 1, b.g.of(b.ref.PaymentID).voids)
		answer, err := b.payments.VoidPayment(t.Context(), part(b))
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeApproved, answer.Outcome)
		require.NoError(t, b.payments.PutRefund(t.Context(), part(b), "succeeded", answer, 0))
		require.Equal(t, payment.StatusCancelled, b.payment(t).Status)
		require.Empty(t, b.g.refunds)
		require.Empty(t, shoptest.List[string](t, b.Shop, `SELECT kind FROM notices WHERE kind LIKE '%refunded'`), "no money was taken, none went back")
	})
}

func TestVoidPayment_AfterTheCaptureBecomesARefund(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenAuthorized)
	_, v := b.asked(t, refund.Request{})
	b.Exec(t, `UPDATE payments SET status = 'captured', captured_amount = amount`)
	answer, err := b.payments.VoidPayment(t.Context(), partOf(v, 0))
	require.NoError(t, err)
	require.Equal(t, activities.CodeCaptured, answer.Code)
	require.Zero(t, b.g.of(b.ref.PaymentID).voids)
	require.EqualValues(t, total, b.payment(t).Refunded)
	answer, err = b.payments.RefundPayment(t.Context(), partOf(v, 0))
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, answer.Outcome)
}

func TestVoidPayment_WaitsForACaptureThatIsUnderWay(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenAuthorized)
	_, v := b.asked(t, refund.Request{})
	b.Exec(t, `UPDATE payments SET capture_amount = amount`)
	_, err := b.payments.VoidPayment(t.Context(), partOf(v, 0))
	require.Equal(t, activities.TypeRateLimited, activities.ErrorType(err))
	require.Zero(t, b.g.of(b.ref.PaymentID).voids)
	require.Nil(t, b.payment(t).VoidTriedAt)
}

func TestVoidPayment_AsksFirstWhenACaptureWasTried(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenAuthorized)
	_, v := b.asked(t, refund.Request{})
	b.Exec(t, `UPDATE payments SET capture_tried_at = now()`)
	c := b.g.of(b.ref.PaymentID)
	c.captured, c.captures = total, 1 // and its answer was lost
	answer, err := b.payments.VoidPayment(t.Context(), partOf(v, 0))
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, answer.Outcome)
	require.Equal(t, activities.CodeCaptureNotRecorded, answer.Code)
	require.Zero(t, count(b.g.called(), "cancel"))
}

func TestPutRefund_OfAVoidThatIsGivenUpAllowsACapture(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenAuthorized)
	_, v := b.asked(t, refund.Request{})
	b.g.before = func() error { return errSaysNothing }
	_, err := b.payments.VoidPayment(t.Context(), partOf(v, 0))
	require.Error(t, err)
	require.NotNil(t, b.payment(t).VoidTriedAt)
	for range 2 {
		require.NoError(t, b.payments.PutRefund(t.Context(), partOf(v, 0), "failed", payment.RefundAnswer{Code: payment.CodeGivenUp}, 0))
	}
	b.Do(t, func(tx pgx.Tx) error {
		_, _, err := payment.AskCapture(t.Context(), tx, shoptest.Tenant, b.ref.PaymentID, 0)
		return err
	})
}

func TestPutRefund_ToldAgainAfterItHasFailedLaterChangesNothing(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenApproved)
	request, v := b.asked(t, goodwill(500))
	part, made := partOf(v, 0), payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "re_1"}
	require.NoError(t, b.payments.PutRefund(t.Context(), part, "succeeded", made, 0))
	b.Do(t, func(tx pgx.Tx) error {
		run, err := payment.ReviveRefund(t.Context(), tx, shoptest.Tenant, part.RefundID, payment.RefundAnswer{Code: "failed_later"})
		require.Equal(t, request.RefundID, run)
		return err
	})
	// The first answer was lost: its run tells it again.
	require.NoError(t, b.payments.PutRefund(t.Context(), part, "succeeded", made, 0))
	require.NoError(t, b.payments.PutRefund(t.Context(), part, "failed", made, 0))
	v, err := b.payments.LoadRefund(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, v.Parts, 1, "the one that has taken its place")
	require.NotEqual(t, part.RefundID, v.Parts[0].ID)
	require.EqualValues(t, 500, b.payment(t).Refunded)
	require.EqualValues(t, 500, shoptest.Value[int64](t, b.Shop, `SELECT sum(amount) FROM refund_bookings WHERE NOT released`))
}

func TestPutRefund_TwiceAtOnceReleasesItsBookingsOnce(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenApproved)
	_, v := b.asked(t, goodwill(500))
	var both sync.WaitGroup
	for range 4 {
		both.Go(func() {
			assert.NoError(t, b.payments.PutRefund(t.Context(), partOf(v, 0), "failed", payment.RefundAnswer{Code: payment.CodeGivenUp}, 0))
		})
	}
	both.Wait()
	require.Equal(t, 1, shoptest.Value[int](t, b.Shop, `SELECT count(*) FROM events WHERE kind = 'refund_failed'`))
}

func TestRefundPayment_OfADisputedPaymentIsOnlyAskedFor(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenApproved)
	_, v := b.asked(t, goodwill(500))
	b.Exec(t, `UPDATE payments SET status = 'disputed'`)
	_, err := b.payments.RefundPayment(t.Context(), partOf(v, 0))
	require.Equal(t, activities.TypeFrozen, activities.ErrorType(err))
	b.Exec(t, `UPDATE payments SET status = 'charged_back'`)
	_, err = b.payments.RefundPayment(t.Context(), partOf(v, 0))
	require.Equal(t, activities.TypeChargedBack, activities.ErrorType(err))
	require.Zero(t, count(b.g.called(), "refund"))

	// One whose answer was lost before the dispute is found.
	b.Exec(t, `ALTER TABLE payments DISABLE TRIGGER check_move; UPDATE payments SET status = 'captured'`)
	b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
	_, err = b.payments.RefundPayment(t.Context(), partOf(v, 0))
	require.NoError(t, err)
	b.Exec(t, `UPDATE payments SET status = 'disputed'`)
	answer, err := b.payments.RefundPayment(t.Context(), partOf(v, 0))
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, answer.Outcome)
	require.Equal(t, 1, count(b.g.called(), "refund"))
}

func TestRefundPayment_ThatWasRefusedIsTriedAnewWhateverElseWentBack(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenApproved)
	_, v := b.asked(t, goodwill(500))
	part := partOf(v, 0)
	for range 2 {
		b.g.after = func() (payment.Outcome, error) { return payment.OutcomeDeclined, nil }
		answer, err := b.payments.RefundPayment(t.Context(), part)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeDeclined, answer.Outcome)
		require.NoError(t, b.payments.PutRefund(t.Context(), part, "needs_attention", answer, 0))
		require.True(t, shoptest.Value[bool](t, b.Shop, `SELECT tried_at IS NULL FROM refunds WHERE id = $1`, part.RefundID))
		b.Do(t, func(tx pgx.Tx) error {
			p, err := payment.Lock(t.Context(), tx, shoptest.Tenant, b.ref.PaymentID)
			require.NoError(t, err)
			_, err = payment.RecordRefunds(t.Context(), tx, shoptest.Tenant, p, payment.Answer{Refunded: 700}) // in the panel
			return err
		})
		require.NoError(t, b.payments.PutRefund(t.Context(), part, "pending", payment.RefundAnswer{}, 60)) // a person says: again
	}
	require.Equal(t, 2, count(b.g.called(), "refund"))
	require.Zero(t, count(b.g.called(), "lookup refund"), "it is known that it was not made")
	require.EqualValues(t, 700, shoptest.Value[int64](t, b.Shop, `SELECT refunded_before FROM refunds WHERE id = $1`, part.RefundID))
}

func TestRefundPayment_WaitsForAnotherInDoubt(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenApproved)
	_, first := b.asked(t, goodwill(500))
	_, second := b.asked(t, goodwill(700))
	b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
	answer, err := b.payments.RefundPayment(t.Context(), partOf(first, 0))
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, answer.Outcome)
	_, err = b.payments.RefundPayment(t.Context(), partOf(second, 0))
	require.Equal(t, activities.TypeRateLimited, activities.ErrorType(err))
	answer, err = b.payments.RefundPayment(t.Context(), partOf(first, 0))
	require.NoError(t, err)
	require.NoError(t, b.payments.PutRefund(t.Context(), partOf(first, 0), "succeeded", answer, 0))
	_, err = b.payments.RefundPayment(t.Context(), partOf(second, 0))
	require.NoError(t, err)
	require.EqualValues(t, 500, b.g.refunds[first.Parts[0].ID])
	require.EqualValues(t, 700, b.g.refunds[second.Parts[0].ID])
}

func TestSettleRefund_BooksThePartsOnceThePaymentIsSettled(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenAuthorized)
	b.Do(t, func(tx pgx.Tx) error {
		_, _, err := payment.AskCapture(t.Context(), tx, shoptest.Tenant, b.ref.PaymentID, 0)
		return err
	})
	request, v := b.asked(t, goodwill(500))
	require.True(t, v.Waits, "it is not known yet what will have been taken")
	require.Empty(t, v.Parts)
	v, err := b.payments.SettleRefund(t.Context(), request, 60, false)
	require.NoError(t, err)
	require.True(t, v.Waits)
	require.True(t, shoptest.Value[bool](t, b.Shop, `SELECT due_at < now() + interval '2 minutes' FROM refund_requests`))

	b.record(t, activities.Asked{Answer: shoptest.Approved(b.ref.PaymentID, total), AskedAt: time.Now()}, "")
	v, err = b.payments.SettleRefund(t.Context(), request, 60, false)
	require.NoError(t, err)
	require.False(t, v.Waits)
	require.Len(t, v.Parts, 1)
	require.EqualValues(t, 500, v.Parts[0].Amount)
	again, err := b.payments.SettleRefund(t.Context(), request, 60, true)
	require.NoError(t, err)
	require.Equal(t, v, again, "there is nothing left to give up")
}

func TestSettleRefund_GivenUpEndsIt(t *testing.T) {
	t.Parallel()
	b := ordered(t, tokenAuthorized)
	b.Do(t, func(tx pgx.Tx) error {
		_, _, err := payment.AskCapture(t.Context(), tx, shoptest.Tenant, b.ref.PaymentID, 0)
		return err
	})
	request, _ := b.asked(t, refund.Request{})
	v, err := b.payments.SettleRefund(t.Context(), request, 60, true)
	require.NoError(t, err)
	require.False(t, v.Waits)
	require.Equal(t, "failed", v.Parts[0].Status)
	require.Equal(t, payment.CodeGivenUp, v.Parts[0].Code)
}

func TestSweep_BeginsTheRunOfARequestOnceByTheRequestsID(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	orderID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	v, err := checkout.Load(t.Context(), s.Shop.DB, shoptest.Tenant, orderID)
	require.NoError(t, err)
	_, err = checkout.Record(t.Context(), s.Shop.DB, shoptest.Tenant, orderID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, v.Total)})
	require.NoError(t, err)
	requestID, amount := id.New(), int64(500)
	s.Do(t, func(tx pgx.Tx) error {
		_, err := refund.Book(t.Context(), tx, shoptest.Tenant, requestID, refund.Request{OrderID: orderID, Reason: "test", Amount: &amount}, nil, "test",
			func(payment.Name) (payment.Capabilities, bool) {
				return payment.Capabilities{Refunds: true, PartialRefunds: true}, true
			})
		return err
	})
	s.Exec(t, `UPDATE refunds SET due_at = now() - interval '1 second'`)
	s.Exec(t, `UPDATE refund_requests SET due_at = now() - interval '1 second'`)
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, []string{"refund:" + shoptest.Tenant + ":" + requestID}, s.restarted)
}

func TestRemakeRefund_TakesAPersonsWordOnceAndOnlyInThatDoubt(t *testing.T) {
	t.Parallel()
	b, g, part := lostRefund(t, nil)
	untraced := payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: payment.CodeRefundUntraced}
	says := func() activities.Remade {
		t.Helper()
		out, err := b.payments.RemakeRefund(t.Context(), part)
		require.NoError(t, err)
		return out
	}
	require.NoError(t, b.payments.PutRefund(t.Context(), part, "unknown", untraced, 60))
	require.False(t, says().OK, "its notification may still come")
	require.NoError(t, b.payments.PutRefund(t.Context(), part, "needs_attention", untraced, 0))
	b.hint(t, part, "named")
	require.False(t, says().OK, "a name that nobody has asked for yet")
	b.Do(t, func(tx pgx.Tx) error {
		return payment.DropHint(t.Context(), tx, shoptest.Tenant, part.RefundID, "named")
	})
	require.Len(t, shoptest.List[string](t, b.Shop, `SELECT id FROM refunds`), 1)

	request := shoptest.Value[string](t, b.Shop, `SELECT request_id FROM refunds`)
	for range 2 {
		require.Equal(t, activities.Remade{OK: true, RefundID: request}, says())
	}
	require.Equal(t, []string{"failed not_made_says_support true", "pending not_made_says_support false"}, shoptest.List[string](t, b.Shop, `SELECT status || ' ' || code || ' ' || (tried_at IS NOT NULL)::text FROM refunds ORDER BY id`))
	require.Equal(t, 1, shoptest.Value[int](t, b.Shop, `SELECT count(*) FROM events WHERE kind = 'refund_not_made' AND actor = 'support'`))
	require.EqualValues(t, 1_000, b.payment(t).Refunded)
	require.EqualValues(t, 1_000, shoptest.Value[int64](t, b.Shop, `SELECT sum(amount) FROM refund_bookings WHERE NOT released`))

	b.g.after = nil
	v, err := b.payments.LoadRefund(t.Context(), activities.RefundRef{Tenant: shoptest.Tenant, RefundID: request})
	require.NoError(t, err)
	require.Len(t, v.Parts, 1)
	answer, err := b.payments.RefundPayment(t.Context(), partOf(v, 0))
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, answer.Outcome)
	require.Empty(t, g.asked, "nothing of the first try is asked for")
}

func TestRemakeRefund_WhereTheBuyerHasTheMoneyOtherwiseBooksNothing(t *testing.T) {
	t.Parallel()
	b, _, part := lostRefund(t, nil)
	require.NoError(t, b.payments.PutRefund(t.Context(), part, "needs_attention", payment.RefundAnswer{Code: payment.CodeRefundUntraced}, 0))
	b.Exec(t, `UPDATE payments SET refunded_elsewhere = captured_amount`)
	out, err := b.payments.RemakeRefund(t.Context(), part)
	require.NoError(t, err)
	require.Equal(t, activities.Remade{OK: true}, out)
	require.Equal(t, []string{"failed"}, shoptest.List[string](t, b.Shop, `SELECT status FROM refunds`))
	require.Zero(t, shoptest.Value[int64](t, b.Shop, `SELECT coalesce(sum(amount), 0)::bigint FROM refund_bookings WHERE NOT released`))
}

func TestRemakeRefund_OfMoneyThatPaidNoOrderIsOfWhatIsLeftOfIt(t *testing.T) {
	t.Parallel()
	b, _, part := lostRefund(t, nil)
	require.NoError(t, b.payments.PutRefund(t.Context(), part, "needs_attention", payment.RefundAnswer{Code: payment.CodeRefundUntraced}, 0))
	b.Exec(t, `UPDATE refunds SET request_id = NULL`)
	b.Exec(t, `UPDATE payments SET refunded_elsewhere = captured_amount - 400`) // in the provider's panel, meanwhile
	out, err := b.payments.RemakeRefund(t.Context(), part)
	require.NoError(t, err)
	require.True(t, out.OK)
	require.NotEmpty(t, out.RefundID)
	require.Equal(t, []string{"failed 1000", "pending 400"}, shoptest.List[string](t, b.Shop, `SELECT status || ' ' || amount FROM refunds ORDER BY id`))
}
