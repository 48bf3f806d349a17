package activities_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
)

// bundle is a checkout whose first attempt has not begun, and its gateway.
type bundle struct {
	*shoptest.Shop
	g        *provider
	payments *activities.Payments
	ref      activities.PaymentRef
	in       activities.CheckoutRef
}

func setup(t *testing.T) *bundle {
	t.Helper()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	g := newProvider(t)
	checkoutID, v := s.Start(t, shoptest.Submission("A", 2))
	return &bundle{Shop: s, g: g, payments: &activities.Payments{DB: s.DB, Gateways: g, PublicURL: "https://pay.example"},
		ref: activities.PaymentRef{Tenant: shoptest.Tenant, CheckoutID: checkoutID, PaymentID: v.Attempts[0].PaymentID},
		in:  activities.CheckoutRef{Tenant: shoptest.Tenant, CheckoutID: checkoutID}}
}

// tryBegin begins the attempt and answers only whether that went well.
func (b *bundle) tryBegin(ctx context.Context) error {
	_, err := b.payments.BeginPayment(ctx, b.ref)
	return err
}

func (b *bundle) begin(t *testing.T) (asked activities.Asked) {
	t.Helper()
	asked, err := b.payments.BeginPayment(t.Context(), b.ref)
	require.NoError(t, err)
	return asked
}

const total = 23_990

// begun is setup with a buyer who has paid at the gateway's page and comes back.
func returned(t *testing.T, kind payment.ReturnKind) *bundle {
	t.Helper()
	b := setup(t)
	b.begin(t)
	b.g.of(b.ref.PaymentID).paid = kind == payment.ReturnFinished
	b.Do(t, func(tx pgx.Tx) error {
		_, err := inbox.Store(t.Context(), tx, shoptest.Tenant, inbox.News{Gateway: payment.Transbank, Kind: inbox.Return, EventType: string(kind), PaymentID: b.ref.PaymentID, Detail: payment.Return{Kind: kind, Token: "token"}})
		return err
	})
	b.ref.MayCommit = true
	b.g.calls = nil
	return b
}

func (b *bundle) payment(t *testing.T) (p payment.Payment) {
	t.Helper()
	b.Do(t, func(tx pgx.Tx) (err error) {
		p, err = payment.Load(t.Context(), tx, shoptest.Tenant, b.ref.PaymentID)
		return err
	})
	return p
}

// halfway runs a step that is cut off between its effect and what it would
// have recorded or told, in every way that this can happen.
func halfway(t *testing.T, arrange func(t *testing.T) *bundle, step func(ctx context.Context, b *bundle) error, check func(t *testing.T, b *bundle)) {
	t.Helper()
	for name, cut := range map[string]func(b *bundle) error{
		"the answer is lost": func(b *bundle) error {
			b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
			return step(context.Background(), b)
		},
		"the worker dies": func(b *bundle) (err error) {
			b.g.after = func() (payment.Outcome, error) { panic("killed") }
			defer func() {
				if killed := recover(); killed != nil {
					err = errors.New("killed")
				}
			}()
			return step(context.Background(), b)
		},
		"the activity's time is over": func(b *bundle) error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			b.g.after = func() (payment.Outcome, error) { cancel(); return "", nil }
			return step(ctx, b)
		},
		"the adapter breaks": func(b *bundle) error {
			b.g.after = func() (payment.Outcome, error) { return "", errors.New("unexpected EOF in the answer") }
			return step(context.Background(), b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := arrange(t)
			_ = cut(b) // whatever it says, the step is run again
			for range 3 {
				require.NoError(t, step(t.Context(), b))
			}
			check(t, b)
		})
	}
}

func count(calls []string, call string) (n int) {
	for _, c := range calls {
		if c == call {
			n++
		}
	}
	return n
}

func TestBeginPayment_OffersTheCheckoutToTheBuyer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begin(t)
	p := b.payment(t)
	require.Equal(t, "token-"+p.ID, p.Reference)
	require.Equal(t, "https://webpay.example", p.Redirect.URL)
	require.NotNil(t, p.BegunAt)
	in := b.g.of(p.ID).intent
	require.Equal(t, "https://pay.example/payments/acme/transbank/"+p.ID+"/return", in.ReturnURL)
	require.EqualValues(t, total, in.Amount)
	require.Equal(t, "Pedido ACME-000001", in.Description)
	require.Equal(t, "ana@example.cl", in.Email)
	v, err := checkout.Load(t.Context(), b.DB, shoptest.Tenant, b.ref.CheckoutID)
	require.NoError(t, err)
	require.Equal(t, checkout.AwaitingPayment, v.Status)
	require.True(t, in.Deadline.Equal(v.ExpiresAt), "the link lives no longer than the hold")

	b.begin(t)
	require.Equal(t, []string{"begin"}, b.g.called(), "it is begun")
}

func TestBeginPayment_CutOffHalfWayBeginsOneAttempt(t *testing.T) {
	t.Parallel()
	halfway(t, setup, func(ctx context.Context, b *bundle) error { return b.tryBegin(ctx) }, func(t *testing.T, b *bundle) {
		require.Equal(t, 1, b.g.of(b.ref.PaymentID).begun)
		require.Equal(t, []string{"begin", "lookup", "begin"}, b.g.called(), "the gateway is asked before it is tried again")
		require.NotNil(t, b.payment(t).BegunAt)
		require.Equal(t, 1, shoptest.Value[int](t, b.Shop, `SELECT count(*) FROM events WHERE kind = 'payment_begun'`))
	})
}

func TestBeginPayment_AsksForTheSameAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
	require.Equal(t, activities.TypeUnknown, activities.ErrorType(b.tryBegin(t.Context())))
	first := b.g.of(b.ref.PaymentID).intent
	b.begin(t)
	require.Equal(t, first, b.g.of(b.ref.PaymentID).intent, "what depends on the time of day is derived from the intent's")
}

func TestBeginPayment_SaysWhyTheBuyerCanNotPay(t *testing.T) {
	t.Parallel()
	for want, fail := range map[string]func(b *bundle){
		activities.TypeUnavailable: func(b *bundle) {
			b.g.before = func() error { return &payment.Failure{Gateway: payment.Transbank, Class: payment.ClassUnavailable} }
		},
		activities.TypeCredentials: func(b *bundle) { b.Exec(t, `UPDATE payments SET gateway = 'khipu'`) },
		activities.TypeInvalid: func(b *bundle) {
			b.g.after = func() (payment.Outcome, error) { return payment.OutcomeDeclined, nil }
		},
	} {
		b := setup(t)
		fail(b)
		err := b.tryBegin(t.Context())
		require.Equal(t, want, activities.ErrorType(err))
		require.Nil(t, b.payment(t).BegunAt)
		for range 2 {
			require.NoError(t, b.payments.NotBegun(t.Context(), b.ref, want))
		}
		p := b.payment(t)
		require.Equal(t, payment.StatusCancelled, p.Status)
		require.True(t, p.Closed)
		code := checkout.FailGatewayUnavailable
		if want == activities.TypeInvalid {
			code = checkout.FailPaymentRefused
		}
		require.Equal(t, code, p.Code)
		require.Equal(t, 1, shoptest.Value[int](t, b.Shop, `SELECT count(*) FROM events WHERE kind = 'payment_not_begun'`))
	}
}

func TestNotBegun_LeavesAnAttemptThatBegan(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begin(t)
	require.NoError(t, b.payments.NotBegun(t.Context(), b.ref, activities.TypeUnavailable))
	require.Equal(t, payment.StatusPending, b.payment(t).Status)
}

func TestSettleReturn_CommitsOnce(t *testing.T) {
	t.Parallel()
	b := returned(t, payment.ReturnFinished)
	asked, err := b.payments.SettleReturn(t.Context(), b.ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, asked.Answer.Outcome)
	require.False(t, asked.NotCommitted)
	require.WithinDuration(t, b.Now(t), asked.AskedAt, time.Minute)
	require.Equal(t, []string{"settle"}, b.g.called())
	again, err := b.payments.SettleReturn(t.Context(), b.ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, again.Answer.Outcome)
	require.Equal(t, 1, b.g.of(b.ref.PaymentID).commits)
}

func TestSettleReturn_CutOffHalfWayChargesOnce(t *testing.T) {
	t.Parallel()
	halfway(t, func(t *testing.T) *bundle { return returned(t, payment.ReturnFinished) }, func(ctx context.Context, b *bundle) error {
		_, err := b.payments.SettleReturn(ctx, b.ref)
		return err
	}, func(t *testing.T, b *bundle) {
		require.Equal(t, 1, b.g.of(b.ref.PaymentID).commits)
		require.Equal(t, []string{"settle", "lookup"}, b.g.called()[:2], "asked before anything else")
		asked, err := b.payments.SettleReturn(t.Context(), b.ref)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeApproved, asked.Answer.Outcome)
	})
}

// Complaint: a time-out on a charge is taken for "not charged".
func TestSettleReturn_ACommitThatNobodyKnowsOfIsNeverCalledNotCommitted(t *testing.T) {
	t.Parallel()
	b := returned(t, payment.ReturnFinished)
	b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
	asked, err := b.payments.SettleReturn(t.Context(), b.ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, asked.Answer.Outcome)
	for _, mayCommit := range []bool{true, false} {
		b.ref.MayCommit = mayCommit
		b.g.before = func() error { return errSaysNothing }
		asked, err = b.payments.SettleReturn(t.Context(), b.ref)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeUnknown, asked.Answer.Outcome)
		require.False(t, asked.NotCommitted, "the buyer may have been charged")
	}
	require.Equal(t, 1, b.g.of(b.ref.PaymentID).commits)
}

func TestSettleReturn_WithoutLeaveNothingIsCharged(t *testing.T) {
	t.Parallel()
	for name, arrange := range map[string]func(b *bundle){
		"the workflow forbids it": func(b *bundle) { b.ref.MayCommit = false },
		"the units are gone": func(b *bundle) {
			b.Do(t, func(tx pgx.Tx) error {
				_, err := stock.Release(t.Context(), tx, shoptest.Tenant, shoptest.Value[string](t, b.Shop, `SELECT id FROM holds`))
				return err
			})
		},
		"the checkout is cancelled": func(b *bundle) {
			_, err := checkout.EndUnpaid(t.Context(), b.DB, shoptest.Tenant, b.ref.CheckoutID, checkout.Cancelled)
			require.NoError(t, err)
		},
	} {
		b := returned(t, payment.ReturnFinished)
		arrange(b)
		asked, err := b.payments.SettleReturn(t.Context(), b.ref)
		require.NoError(t, err, name)
		require.True(t, asked.NotCommitted, name)
		require.Zero(t, b.g.of(b.ref.PaymentID).commits, name)
		require.Equal(t, []string{"lookup"}, b.g.called(), name)
	}
	// Money that moved all the same is told, not hidden.
	b := returned(t, payment.ReturnFinished)
	b.ref.MayCommit = false
	b.g.of(b.ref.PaymentID).commits = 1
	asked, err := b.payments.SettleReturn(t.Context(), b.ref)
	require.NoError(t, err)
	require.False(t, asked.NotCommitted)
	require.Equal(t, payment.OutcomeApproved, asked.Answer.Outcome)
}

func TestSettleReturn_OfABuyerWhoPressedCancel(t *testing.T) {
	t.Parallel()
	b := returned(t, payment.ReturnCancelled)
	asked, err := b.payments.SettleReturn(t.Context(), b.ref)
	require.NoError(t, err)
	require.Equal(t, payment.CodeAborted, asked.Answer.Code)
	require.Nil(t, b.payment(t).SettleTriedAt, "nothing was tried that could charge")
	// After a commit that succeeded the same return changes nothing.
	b = returned(t, payment.ReturnCancelled)
	b.g.of(b.ref.PaymentID).commits = 1
	b.Exec(t, `UPDATE payments SET settle_tried_at = now()`)
	asked, err = b.payments.SettleReturn(t.Context(), b.ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, asked.Answer.Outcome)
}

func TestSettleReturn_OpenedByHandBeforeThePaymentLeavesNoDoubt(t *testing.T) {
	t.Parallel()
	b := returned(t, payment.ReturnFinished)
	b.g.of(b.ref.PaymentID).paid = false
	asked, err := b.payments.SettleReturn(t.Context(), b.ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, asked.Answer.Outcome)
	require.Nil(t, b.payment(t).SettleTriedAt)
}

func TestCloseAttempt_CutOffHalfWayStillTellsWhetherItWasPaid(t *testing.T) {
	t.Parallel()
	cancelled := func(t *testing.T) *bundle {
		b := returned(t, payment.ReturnFinished)
		b.Exec(t, `UPDATE checkouts SET cancel_requested_at = now()`)
		return b
	}
	halfway(t, cancelled, func(ctx context.Context, b *bundle) error {
		_, err := b.payments.CloseAttempt(ctx, b.ref)
		return err
	}, func(t *testing.T, b *bundle) {
		require.Equal(t, []string{"close", "lookup", "close"}, b.g.called()[:3])
		asked, err := b.payments.CloseAttempt(t.Context(), b.ref)
		require.NoError(t, err)
		require.True(t, asked.ByUs)
		require.True(t, asked.Answer.Closed)
		b.g.of(b.ref.PaymentID).commits = 1
		asked, err = b.payments.CloseAttempt(t.Context(), b.ref)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeApproved, asked.Answer.Outcome, "a close that is refused because the buyer paid")
		require.False(t, asked.ByUs)
	})
}

// Complaint: the buyer approved in time, and the shop let the order expire.
func TestCloseAttempt_OfABuyerWhoWasBackInTimeCommitsInstead(t *testing.T) {
	t.Parallel()
	b := returned(t, payment.ReturnFinished)
	for range 2 { // its answer was lost
		asked, err := b.payments.CloseAttempt(t.Context(), b.ref)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeApproved, asked.Answer.Outcome)
		require.False(t, asked.ByUs)
	}
	require.Equal(t, 1, b.g.of(b.ref.PaymentID).commits)
	require.NotContains(t, b.g.called(), "close")

	for name, arrange := range map[string]func(b *bundle){
		"cancelled": func(b *bundle) { b.Exec(t, `UPDATE checkouts SET cancel_requested_at = now()`) },
		"back too late": func(b *bundle) {
			b.Exec(t, `UPDATE inbox SET received_at = (SELECT expires_at FROM checkouts) + interval '1 second'`)
		},
		"settled":                   func(b *bundle) { b.Exec(t, `UPDATE inbox SET status = 'applied', settled_at = now(), due_at = NULL`) },
		"never approved":            func(b *bundle) { b.g.of(b.ref.PaymentID).paid = false },
		"no commit moves its money": func(b *bundle) { b.g.caps.SettleMovesMoney = false },
	} {
		b := returned(t, payment.ReturnFinished)
		arrange(b)
		_, err := b.payments.CloseAttempt(t.Context(), b.ref)
		require.NoError(t, err, name)
		require.Zero(t, b.g.of(b.ref.PaymentID).commits, name)
		require.Contains(t, b.g.called(), "close", name)
	}
}

func TestCloseAttempt_OfALinkThatNobodyCanCloseIsGivenUpAndOverAtItsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.g.caps.SettleMovesMoney = false
	b.begin(t)
	asked, err := b.payments.CloseAttempt(t.Context(), b.ref)
	require.NoError(t, err)
	require.True(t, asked.Lingers)
	require.False(t, asked.ByUs)
	require.Equal(t, payment.OutcomeDeclined, asked.Answer.Outcome)
	require.Equal(t, payment.CodeClosed, asked.Answer.Code)
	require.False(t, asked.Answer.Closed, "the buyer can still pay")

	b.Exec(t, `UPDATE payments SET payable_until = now() - interval '1 second'`)
	asked, err = b.payments.CloseAttempt(t.Context(), b.ref)
	require.NoError(t, err)
	require.False(t, asked.Lingers)
	require.True(t, asked.Answer.Closed, "also when the gateway still calls it pending")
	require.Equal(t, payment.CodeExpired, asked.Answer.Code)

	b.g.of(b.ref.PaymentID).commits = 1
	asked, err = b.payments.CloseAttempt(t.Context(), b.ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, asked.Answer.Outcome)
}

func TestCloseAttempt_OfOneThatNeverBeganCallsNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked, err := b.payments.CloseAttempt(t.Context(), b.ref)
	require.NoError(t, err)
	require.True(t, asked.Answer.Closed)
	require.Equal(t, payment.CodeNoSuchAttempt, asked.Answer.Code)
	require.Empty(t, b.g.called())
}

func TestAskGateway_IsOnlyAQuestion(t *testing.T) {
	t.Parallel()
	b := returned(t, payment.ReturnFinished)
	before := b.payment(t)
	asked, err := b.payments.AskGateway(t.Context(), b.ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, asked.Answer.Outcome)
	require.Equal(t, before, b.payment(t))
	b.g.before = func() error { return &payment.Failure{Class: payment.ClassRateLimited, RetryAfter: time.Minute} }
	_, err = b.payments.AskGateway(t.Context(), b.ref)
	require.Equal(t, activities.TypeRateLimited, activities.ErrorType(err))
}

// stray is a payment that is refunded because its checkout was cancelled.
func stray(t *testing.T) (*bundle, activities.RefundRef) {
	t.Helper()
	b := returned(t, payment.ReturnFinished)
	_, err := checkout.EndUnpaid(t.Context(), b.DB, shoptest.Tenant, b.ref.CheckoutID, checkout.Cancelled)
	require.NoError(t, err)
	r, err := checkout.Record(t.Context(), b.DB, shoptest.Tenant, b.ref.CheckoutID, checkout.News{PaymentID: b.ref.PaymentID, Answer: shoptest.Approved(b.ref.PaymentID, total)})
	require.NoError(t, err)
	require.NotEmpty(t, r.RefundID)
	return b, activities.RefundRef{Tenant: shoptest.Tenant, RefundID: r.RefundID}
}

func TestRefundPayment_CutOffHalfWayGivesBackOnce(t *testing.T) {
	t.Parallel()
	refundOf := func(b *bundle) activities.RefundRef {
		return activities.RefundRef{Tenant: shoptest.Tenant, RefundID: shoptest.Value[string](t, b.Shop, `SELECT id FROM refunds`)}
	}
	halfway(t, func(t *testing.T) *bundle { b, _ := stray(t); return b }, func(ctx context.Context, b *bundle) error {
		_, err := b.payments.RefundPayment(ctx, refundOf(b))
		return err
	}, func(t *testing.T, b *bundle) {
		ref := refundOf(b)
		require.EqualValues(t, total, b.g.refunds[ref.RefundID])
		require.Equal(t, 1, count(b.g.called(), "refund"))
		answer, err := b.payments.RefundPayment(t.Context(), ref)
		require.NoError(t, err)
		require.Equal(t, payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "re-" + ref.RefundID, Amount: total}, answer)
	})
}

func TestRefundPayment_ThatWasCertainlyNotMadeIsTriedAgainWithoutAQuestion(t *testing.T) {
	t.Parallel()
	b, ref := stray(t)
	b.g.before = func() error { return &payment.Failure{Gateway: payment.Transbank, Class: payment.ClassUnavailable} }
	_, err := b.payments.RefundPayment(t.Context(), ref)
	require.Equal(t, activities.TypeUnavailable, activities.ErrorType(err))
	answer, err := b.payments.RefundPayment(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, answer.Outcome)
	require.Equal(t, []string{"refund", "refund"}, b.g.called())
	require.EqualValues(t, total, b.g.refunds[ref.RefundID])
}

func TestRefundPayment_ThatWasNotMadeIsTriedAgainOnlyAfterAsking(t *testing.T) {
	t.Parallel()
	b, ref := stray(t)
	b.g.before = func() error { return errors.New("cut off before it was sent") }
	_, err := b.payments.RefundPayment(t.Context(), ref)
	require.Error(t, err)
	// While nobody can tell whether it was made, it is not made.
	b.g.before = func() error { return errSaysNothing }
	answer, err := b.payments.RefundPayment(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, answer.Outcome)
	require.Zero(t, b.g.refunds[ref.RefundID])
	answer, err = b.payments.RefundPayment(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, answer.Outcome)
	require.Equal(t, []string{"refund", "lookup refund", "lookup refund", "refund"}, b.g.called())
	looked, err := b.payments.LookupRefund(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, answer, looked)
}

func TestPutRefund_IsToldOnce(t *testing.T) {
	t.Parallel()
	b, ref := stray(t)
	answer := payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "re"}
	for _, status := range []string{"pending", "unknown", "unknown", "succeeded", "succeeded"} {
		require.NoError(t, b.payments.PutRefund(t.Context(), ref, status, answer, 60))
	}
	require.Equal(t, []string{"refund_unknown", "refund_succeeded"}, shoptest.List[string](t, b.Shop, `SELECT kind FROM events WHERE kind LIKE 'refund\_%' AND kind <> 'refund_booked' ORDER BY seq`))
	require.Equal(t, payment.StatusRefunded, b.payment(t).Status)
	require.Equal(t, []string{"refunded"}, shoptest.List[string](t, b.Shop, `SELECT kind FROM notices WHERE dedupe = $1 AND (data->>'amount')::bigint > 0 AND (data->>'unused')::boolean`, ref.RefundID), "the buyer too")
	require.Equal(t, activities.TypeBug, activities.ErrorType(b.payments.PutRefund(t.Context(), ref, "pending", answer, 60)), "what succeeded may only fail")
}

func TestBeginPayment_OfAnAttemptThatWasGivenUpOffersNothing(t *testing.T) {
	t.Parallel()
	for when, giveUp := range map[string]func(b *bundle, end func() error){
		"before": func(_ *bundle, end func() error) { require.NoError(t, end()) },
		// The workflow has stopped waiting while the gateway was still at work.
		"meanwhile": func(b *bundle, end func() error) {
			b.g.after = func() (payment.Outcome, error) { return payment.OutcomePending, end() }
		},
	} {
		b := setup(t)
		giveUp(b, func() error { return b.payments.NotBegun(t.Context(), b.ref, activities.TypeUnavailable) })
		err := b.tryBegin(t.Context())
		require.Equal(t, activities.TypeUnavailable, activities.ErrorType(err), when)
		p := b.payment(t)
		require.Equal(t, payment.StatusCancelled, p.Status, when)
		require.Nil(t, p.BegunAt, when)
		v, err := checkout.Load(t.Context(), b.DB, shoptest.Tenant, b.ref.CheckoutID)
		require.NoError(t, err)
		require.Equal(t, checkout.Reserving, v.Status, "%s: the buyer would have nowhere to pay", when)
		require.Zero(t, shoptest.Value[int](t, b.Shop, `SELECT count(*) FROM events WHERE kind = 'payment_begun'`), when)
	}
}

// Notifications of some providers name a payment that our row does not know, and
// that their own search does not find yet.
func TestPayments_TheGatewayIsToldWhatWaitingNotificationsNameThePayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.begin(t)
	notify := func(kind inbox.Kind, event, reference string) {
		b.Do(t, func(tx pgx.Tx) error {
			_, err := inbox.Store(t.Context(), tx, shoptest.Tenant, inbox.News{Gateway: payment.Transbank, Kind: kind, EventID: event, EventType: "finished", PaymentID: b.ref.PaymentID, Reference: reference,
				Detail: payment.Return{Kind: payment.ReturnFinished, Token: "token"}})
			return err
		})
	}
	told := func(call func() error) string {
		t.Helper()
		b.g.hints = nil
		require.NoError(t, call())
		require.NotEmpty(t, b.g.hints)
		for _, h := range b.g.hints {
			require.Equal(t, b.g.hints[0], h)
		}
		return b.g.hints[0]
	}
	ask := func() error { _, err := b.payments.AskGateway(t.Context(), b.ref); return err }
	require.Empty(t, told(ask))
	notify(inbox.Webhook, "n1", b.payment(t).Reference)
	notify(inbox.Webhook, "n2", "")
	notify(inbox.Return, "", "777")
	require.Empty(t, told(ask), "what our row knows is no hint, and a return is no notification")
	notify(inbox.Webhook, "n3", "7")
	require.Equal(t, "7", told(ask))
	notify(inbox.Webhook, "n4", "8")
	require.Equal(t, "8", told(ask), "the newest")
	require.Equal(t, "8", told(func() error { _, err := b.payments.SettleReturn(t.Context(), b.ref); return err }))
	require.Equal(t, "8", told(func() error { _, err := b.payments.CloseAttempt(t.Context(), b.ref); return err }))
	b.Exec(t, `UPDATE inbox SET status = 'ignored', reason = 'x', settled_at = now(), due_at = NULL`)
	require.Empty(t, told(ask))
}

func TestBeginPayment_RepeatedAsksWithTheHint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
	require.Error(t, b.tryBegin(t.Context()))
	b.Do(t, func(tx pgx.Tx) error {
		_, err := inbox.Store(t.Context(), tx, shoptest.Tenant, inbox.News{Gateway: payment.Transbank, Kind: inbox.Webhook, EventID: "n", EventType: "payment", PaymentID: b.ref.PaymentID, Reference: "7", Signed: true})
		return err
	})
	require.NoError(t, b.tryBegin(t.Context()))
	require.Equal(t, []string{"7"}, b.g.hints)
}

func TestBeginPayment_AfterTheHoldsEndCallsNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, `UPDATE holds SET expires_at = now() - interval '1 second'`)
	err := b.tryBegin(t.Context())
	require.Equal(t, activities.TypeUnavailable, activities.ErrorType(err))
	require.Nil(t, b.payment(t).BegunAt)
	require.Empty(t, b.g.calls, "the gateway never heard of it")
}

func TestBeginPayment_InTheHoldsLastMomentIsTried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for b.payment(t).BegunAt == nil {
		ends := time.Now().Add(1900 * time.Millisecond)
		b.Exec(t, `UPDATE holds SET expires_at = $1`, ends)
		if err := b.tryBegin(t.Context()); !time.Now().After(ends) { // else a busy machine took all of it
			require.NoError(t, err, "a hold of a second or two can be paid")
		}
	}
}

func TestBeginPayment_AfterTheHoldsEndIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
	require.Equal(t, activities.TypeUnknown, activities.ErrorType(b.tryBegin(t.Context())))
	b.Exec(t, `UPDATE holds SET expires_at = now() - interval '1 second'`)
	require.Equal(t, activities.TypeUnavailable, activities.ErrorType(b.tryBegin(t.Context())))
	require.Equal(t, 1, b.g.of(b.ref.PaymentID).begun)
}

// TestBeginPayment_RefusedBecauseTheHoldEndedOnTheWay: gateways refuse a link that has
// ended already. The buyer did nothing wrong.
func TestBeginPayment_RefusedBecauseTheHoldEndedOnTheWay(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func() (payment.Outcome, error){
		"by an answer": func() (payment.Outcome, error) { return payment.OutcomeDeclined, nil },
		"by an error": func() (payment.Outcome, error) {
			return "", &payment.Failure{Gateway: payment.Khipu, Class: payment.ClassInvalid, Code: "http_400"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.g.after = func() (payment.Outcome, error) {
				// Half a second is left, of which a provider that counts whole ones sees none.
				b.Exec(t, `SELECT pg_sleep(greatest(0, extract(epoch FROM expires_at - now()) - 0.5)) FROM holds`)
				return refuse()
			}
			b.Exec(t, `UPDATE holds SET expires_at = now() + interval '4 seconds'`)
			require.Equal(t, activities.TypeUnavailable, activities.ErrorType(b.tryBegin(t.Context())))
			require.NotEmpty(t, b.g.calls)
			require.Nil(t, b.payment(t).BegunAt)
		})
	}
}
