package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
)

// withToken is setup with a storefront's token for the first attempt.
func withToken(t *testing.T, token string) *bundle {
	t.Helper()
	b := setup(t)
	b.g.caps.Tokens, b.g.caps.SettleMovesMoney, b.g.caps.CloseIsOurs = true, false, false
	b.Do(t, func(tx pgx.Tx) error {
		return payment.Choose(t.Context(), tx, shoptest.Tenant, b.ref.CheckoutID, b.ref.CheckoutID, payment.Choice{Gateway: payment.Transbank, Token: token})
	})
	return b
}

func (b *bundle) token(t *testing.T) string {
	t.Helper()
	return shoptest.Value[string](t, b.Shop, `SELECT coalesce(token, '') FROM payment_choices`)
}

func (b *bundle) record(t *testing.T, asked activities.Asked, lapse payment.Status) checkout.Ruling {
	t.Helper()
	r, err := checkout.Record(t.Context(), b.DB, shoptest.Tenant, b.ref.CheckoutID, checkout.News{PaymentID: b.ref.PaymentID, Answer: asked.Answer, AskedAt: asked.AskedAt, Lapse: lapse})
	require.NoError(t, err)
	return r
}

func TestBeginPayment_WithATokenTellsWhatBecameOfTheMoney(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]payment.Status{tokenApproved: payment.StatusCaptured, tokenDeclined: payment.StatusDeclined, tokenProcessing: payment.StatusProcessing, tokenAuthorized: payment.StatusAuthorized} {
		b := withToken(t, token)
		asked := b.begin(t)
		require.NotEmpty(t, asked.Answer.Outcome, token)
		require.Empty(t, b.token(t), "a token is good for one use")
		p := b.payment(t)
		require.True(t, p.ByToken)
		require.NotNil(t, p.BegunAt)
		r := b.record(t, asked, "")
		require.Equal(t, want, r.View.Attempts[0].Status, token)
		require.Equal(t, want.Approved(), r.Paid, token)

		// Told again, the rows have the answer.
		again := b.begin(t)
		require.Empty(t, again.Answer.Outcome)
		require.Equal(t, 1, b.g.of(p.ID).charges)
	}
}

func TestBeginPayment_WithATokenRepeatedBeforeItsAnswerWasRecordedAsksAgain(t *testing.T) {
	t.Parallel()
	b := withToken(t, tokenApproved)
	first := b.begin(t)
	again := b.begin(t)
	require.Equal(t, first.Answer.Outcome, again.Answer.Outcome)
	require.Equal(t, []string{"begin", "lookup"}, b.g.called())
	require.True(t, b.record(t, again, "").Paid)
	require.Equal(t, 1, b.g.of(b.ref.PaymentID).charges)
}

func TestBeginPayment_WithATokenCutOffHalfWayChargesOnce(t *testing.T) {
	t.Parallel()
	halfway(t, func(t *testing.T) *bundle { return withToken(t, tokenApproved) }, func(ctx context.Context, b *bundle) error { return b.tryBegin(ctx) }, func(t *testing.T, b *bundle) {
		require.Equal(t, 1, b.g.of(b.ref.PaymentID).charges)
		require.Equal(t, []string{"begin", "lookup"}, b.g.called()[:2], "the gateway is asked before it is tried again")
		require.Equal(t, 1, count(b.g.called(), "begin"), "what the gateway knows of is not begun again")
		require.True(t, b.record(t, b.begin(t), "").Paid)
		require.Empty(t, b.token(t))
	})
}

func TestBeginPayment_WithATokenWhileNobodyKnowsIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	b := withToken(t, tokenApproved)
	b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
	require.Equal(t, activities.TypeUnknown, activities.ErrorType(b.tryBegin(t.Context())))
	b.g.before = nil
	for range 2 {
		calls := 0
		b.g.before = func() error { calls++; return errSaysNothing }
		require.Equal(t, activities.TypeUnknown, activities.ErrorType(b.tryBegin(t.Context())))
	}
	require.Equal(t, 1, b.g.of(b.ref.PaymentID).charges)

	// Given up waiting for: in doubt, offered, its token gone; asking ends it.
	require.NoError(t, b.payments.NotBegun(t.Context(), b.ref, activities.TypeUnknown))
	require.Equal(t, payment.StatusUnknown, b.payment(t).Status)
	require.Empty(t, b.token(t))
	require.Equal(t, checkout.AwaitingPayment, b.view(t).Status)
	require.Equal(t, activities.TypeUnavailable, activities.ErrorType(b.tryBegin(t.Context())), "and never begun again")
	asked, err := b.payments.AskGateway(t.Context(), b.ref)
	require.NoError(t, err)
	r := b.record(t, asked, "")
	require.True(t, r.Paid)
	require.True(t, r.View.Attempts[0].Begun)
	require.Equal(t, 1, b.g.of(b.ref.PaymentID).charges)
}

func (b *bundle) view(t *testing.T) checkout.View {
	t.Helper()
	v, err := checkout.Load(t.Context(), b.DB, shoptest.Tenant, b.ref.CheckoutID)
	require.NoError(t, err)
	return v
}

func TestBeginPayment_WithATokenThatWasNeverUsedIsDeclinedWhenAskedFor(t *testing.T) {
	t.Parallel()
	b := withToken(t, tokenApproved)
	b.g.before = func() error { return context.DeadlineExceeded } // nothing is known, and nothing was done
	require.Error(t, b.tryBegin(t.Context()))
	b.Exec(t, `UPDATE payments SET by_token = true`) // as when the worker died right there
	require.NoError(t, b.payments.NotBegun(t.Context(), b.ref, activities.TypeUnavailable))
	require.Equal(t, payment.StatusUnknown, b.payment(t).Status)
	asked, err := b.payments.AskGateway(t.Context(), b.ref)
	require.NoError(t, err)
	require.Equal(t, payment.StatusExpired, b.record(t, asked, "").View.Attempts[0].Status)
	require.Zero(t, b.g.of(b.ref.PaymentID).charges)
}

func TestBeginPayment_WithATokenThatWasCertainlyNotUsedLeavesNoDoubt(t *testing.T) {
	t.Parallel()
	for want, class := range map[string]payment.Class{activities.TypeUnavailable: payment.ClassUnavailable, activities.TypeInvalid: payment.ClassInvalid} {
		b := withToken(t, tokenApproved)
		b.g.before = func() error { return &payment.Failure{Gateway: payment.Transbank, Class: class} }
		require.Equal(t, want, activities.ErrorType(b.tryBegin(t.Context())))
		require.False(t, b.payment(t).ByToken)
		require.NoError(t, b.payments.NotBegun(t.Context(), b.ref, want))
		require.Equal(t, payment.StatusCancelled, b.payment(t).Status)
		require.Empty(t, b.token(t))
	}
}

func TestBeginPayment_ThatEndsAfterItWasDoubtedSaysUnderWhichNameToAsk(t *testing.T) {
	t.Parallel()
	b := withToken(t, tokenApproved)
	b.g.after = func() (payment.Outcome, error) {
		return "", b.payments.NotBegun(t.Context(), b.ref, activities.TypeUnavailable)
	}
	b.begin(t) // nobody waits for its answer any more
	p := b.payment(t)
	require.Equal(t, payment.StatusUnknown, p.Status)
	require.Equal(t, "token-"+p.ID, p.Reference)
}

func TestBeginPayment_ATokenIsForTheAttemptThatItWasGivenFor(t *testing.T) {
	t.Parallel()
	b := withToken(t, tokenApproved)
	require.NoError(t, b.payments.NotBegun(t.Context(), b.ref, activities.TypeUnavailable))
	b.Exec(t, `UPDATE payment_choices SET token = $1`, tokenApproved) // as if it had been kept
	v, ok, err := checkout.AddAttempt(t.Context(), b.DB, shoptest.Tenant, b.ref.CheckoutID, "", payment.Transbank, 2)
	require.NoError(t, err)
	require.True(t, ok)
	b.ref.PaymentID = v.Attempts[1].PaymentID
	b.begin(t)
	require.Empty(t, b.g.of(b.ref.PaymentID).intent.Token, "the buyer has asked to pay in another way")
}

// authorized is an order whose money is authorized, and what somebody wants.
func authorized(t *testing.T, want string) (*bundle, *activities.Captures, activities.CaptureRef) {
	t.Helper()
	b := withToken(t, tokenAuthorized)
	b.g.caps.DefersCapture, b.g.caps.CaptureFor = true, 5*24*time.Hour
	require.True(t, b.record(t, b.begin(t), "").Paid)
	require.Equal(t, payment.StatusAuthorized, b.payment(t).Status)
	b.Do(t, func(tx pgx.Tx) (err error) {
		if want == "void" {
			_, _, err = payment.AskVoid(t.Context(), tx, shoptest.Tenant, b.ref.PaymentID, "fraud")
			return err
		}
		_, _, err = payment.AskCapture(t.Context(), tx, shoptest.Tenant, b.ref.PaymentID, 20_000)
		return err
	})
	b.g.calls = nil
	return b, &activities.Captures{DB: b.DB, Gateways: b.g}, activities.CaptureRef{Tenant: shoptest.Tenant, PaymentID: b.ref.PaymentID}
}

func TestCapturePayment_CutOffHalfWayCapturesOnce(t *testing.T) {
	t.Parallel()
	halfway(t, func(t *testing.T) *bundle { b, _, _ := authorized(t, "capture"); return b }, func(ctx context.Context, b *bundle) error {
		_, err := (&activities.Captures{DB: b.DB, Gateways: b.g}).CapturePayment(ctx, activities.CaptureRef{Tenant: shoptest.Tenant, PaymentID: b.ref.PaymentID})
		return err
	}, func(t *testing.T, b *bundle) {
		require.Equal(t, 1, b.g.of(b.ref.PaymentID).captures)
		require.Equal(t, []string{"capture", "lookup"}, b.g.called()[:2])
		asked, err := (&activities.Captures{DB: b.DB, Gateways: b.g}).CapturePayment(t.Context(), activities.CaptureRef{Tenant: shoptest.Tenant, PaymentID: b.ref.PaymentID})
		require.NoError(t, err)
		b.record(t, asked, "")
		p := b.payment(t)
		require.Equal(t, payment.StatusCaptured, p.Status)
		require.EqualValues(t, 20_000, p.Captured)
	})
}

func TestVoidAuthorization_CutOffHalfWayVoidsOnce(t *testing.T) {
	t.Parallel()
	halfway(t, func(t *testing.T) *bundle { b, _, _ := authorized(t, "void"); return b }, func(ctx context.Context, b *bundle) error {
		_, err := (&activities.Captures{DB: b.DB, Gateways: b.g}).VoidAuthorization(ctx, activities.CaptureRef{Tenant: shoptest.Tenant, PaymentID: b.ref.PaymentID})
		return err
	}, func(t *testing.T, b *bundle) {
		require.Equal(t, 1, b.g.of(b.ref.PaymentID).voids)
		asked, err := (&activities.Captures{DB: b.DB, Gateways: b.g}).VoidAuthorization(t.Context(), activities.CaptureRef{Tenant: shoptest.Tenant, PaymentID: b.ref.PaymentID})
		require.NoError(t, err)
		r := b.record(t, asked, payment.StatusCancelled)
		require.Equal(t, payment.StatusCancelled, r.View.Attempts[0].Status)
		require.Equal(t, payment.ReasonVoided, shoptest.Value[string](t, b.Shop, `SELECT attention FROM orders`))
	})
}

func TestCapturePayment_WhileNobodyKnowsIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	b, captures, ref := authorized(t, "capture")
	b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
	asked, err := captures.CapturePayment(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, asked.Answer.Outcome)
	b.record(t, asked, "")
	require.Equal(t, payment.StatusAuthorized, b.payment(t).Status, "an answer that says nothing changes nothing")
	b.g.before = func() error { return errSaysNothing }
	asked, err = captures.CapturePayment(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, asked.Answer.Outcome)
	require.Equal(t, []string{"capture", "lookup"}, b.g.called())
}

func TestCapturePayment_OfWhatIsCapturedOrUnaskedTakesNothing(t *testing.T) {
	t.Parallel()
	b, captures, ref := authorized(t, "capture")
	asked, err := captures.CapturePayment(t.Context(), ref)
	require.NoError(t, err)
	b.record(t, asked, "")
	_, err = captures.CapturePayment(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, 1, b.g.of(b.ref.PaymentID).captures)

	b, captures, ref = authorized(t, "capture")
	v, err := captures.WithdrawCapture(t.Context(), ref)
	require.NoError(t, err)
	require.Zero(t, v.Capture)
	_, err = captures.CapturePayment(t.Context(), ref)
	require.Equal(t, activities.TypeInvalid, activities.ErrorType(err))
	require.Zero(t, b.g.of(b.ref.PaymentID).captures)
}

func TestSweep_BeginsACaptureWhoseRunIsLostAndLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	_, wanted := s.Offer(t, shoptest.Submission("A", 1))
	_, unwanted := s.Offer(t, shoptest.Submission("A", 1))
	s.Exec(t, `UPDATE checkouts SET due_at = NULL, status = 'expired', closed_at = now()`)
	s.Exec(t, `UPDATE holds SET due_at = NULL, status = 'expired'`)
	s.Exec(t, `UPDATE payments SET status = 'authorized', due_at = now() - interval '1 second', capture_until = now() + interval '1 day'`)
	s.Exec(t, `UPDATE payments SET capture_amount = amount WHERE id = $1`, wanted)
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, []string{"capture:" + shoptest.Tenant + ":" + wanted}, s.restarted, "of %s nothing is wanted: a person hears of it", unwanted)
}
