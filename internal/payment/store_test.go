package payment_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/shoptest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// attempt is a shop with one checkout of 23,990 that a buyer could pay.
func attempt(t *testing.T) (s *shoptest.Shop, checkoutID, paymentID string) {
	t.Helper()
	s = shoptest.New(t)
	s.Product(t, "A", 10_000, 50)
	checkoutID, paymentID = s.Offer(t, shoptest.Submission("A", 2))
	return s, checkoutID, paymentID
}

const total = 23_990 // two units and the freight to the Metropolitan Region

func load(t *testing.T, s *shoptest.Shop, paymentID string) (p payment.Payment) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		p, err = payment.Load(t.Context(), tx, shoptest.Tenant, paymentID)
		return err
	})
	return p
}

func put(ctx context.Context, tx pgx.Tx, paymentID string, a payment.Answer) error {
	p, err := payment.Lock(ctx, tx, shoptest.Tenant, paymentID)
	if err != nil {
		return err
	}
	return payment.Put(ctx, tx, shoptest.Tenant, p, a, payment.After(p.Status, a, payment.StatusExpired), a.Closed)
}

func captured(t *testing.T) (s *shoptest.Shop, paymentID string) {
	t.Helper()
	s, _, paymentID = attempt(t)
	s.Do(t, func(tx pgx.Tx) error { return put(t.Context(), tx, paymentID, shoptest.Approved(paymentID, total)) })
	return s, paymentID
}

func TestIntend_TwiceIsOneAttempt(t *testing.T) {
	t.Parallel()
	s, checkoutID, paymentID := attempt(t)
	again := payment.Payment{ID: paymentID, CheckoutID: checkoutID, Attempt: 1, Gateway: payment.Stripe, Amount: 1, Currency: "USD"}
	s.Do(t, func(tx pgx.Tx) error { return payment.Intend(t.Context(), tx, shoptest.Tenant, again) })
	p := load(t, s, paymentID)
	require.Equal(t, payment.Transbank, p.Gateway)
	require.EqualValues(t, total, p.Amount)
	other := again
	other.ID = id.New()
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error { return payment.Intend(t.Context(), tx, shoptest.Tenant, other) })
	require.True(t, postgres.Violates(err, "payments_tenant_checkout_id_attempt_key"), "another first attempt: %v", err)
	s.Do(t, func(tx pgx.Tx) error {
		_, err := payment.Load(t.Context(), tx, shoptest.Tenant, id.New())
		require.ErrorIs(t, err, payment.ErrNoPayment)
		return nil
	})
}

func TestBegun_IsWhatTheBuyerCanPay(t *testing.T) {
	t.Parallel()
	s, _, paymentID := attempt(t)
	p := load(t, s, paymentID)
	require.Equal(t, "token-"+paymentID, p.Reference)
	require.Equal(t, "token-"+paymentID, p.Redirect.Fields["token_ws"])
	require.Equal(t, shoptest.Account, p.Account)
	require.True(t, p.ExpiresAt.Add(2*time.Minute).Equal(*p.PayableUntil), "the link's end, with a margin, is nearer than the provider's")
	require.True(t, p.At().BegunAt.Equal(*p.BegunAt))
	// A try that was taken for dead brings another link: its buyer is at the first.
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		return payment.Begun(t.Context(), tx, shoptest.Tenant, paymentID, payment.Answer{Reference: "second"}, payment.Capabilities{PayableFor: time.Hour}, shoptest.Account, false)
	})
	require.ErrorIs(t, err, payment.ErrBegun)
	require.Equal(t, p, load(t, s, paymentID))
}

func TestBegun_WithoutAnEndOfTheLinkIsPayableForAsLongAsTheProviderSays(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	_, v := s.Start(t, shoptest.Submission("A", 1))
	paymentID := v.Attempts[0].PaymentID
	s.Do(t, func(tx pgx.Tx) error {
		return payment.Begun(t.Context(), tx, shoptest.Tenant, paymentID, payment.Answer{Reference: "one"}, payment.Capabilities{PayableFor: time.Hour}, shoptest.Account, false)
	})
	p := load(t, s, paymentID)
	require.True(t, p.BegunAt.Add(time.Hour).Equal(*p.PayableUntil))
	require.Nil(t, p.ExpiresAt)
	require.Nil(t, p.CaptureUntil)
}

func TestBegun_DoesNotReviveAnAttemptThatEnded(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	_, v := s.Start(t, shoptest.Submission("A", 1))
	paymentID := v.Attempts[0].PaymentID
	s.Do(t, func(tx pgx.Tx) error {
		return put(t.Context(), tx, paymentID, payment.Answer{Outcome: payment.OutcomeDeclined, Code: payment.CodeAborted})
	})
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		return payment.Begun(t.Context(), tx, shoptest.Tenant, paymentID, payment.Answer{Reference: "late", Redirect: &payment.Redirect{URL: "https://x"}}, payment.Capabilities{}, "", false)
	})
	require.ErrorIs(t, err, payment.ErrGivenUp)
	p := load(t, s, paymentID)
	require.Equal(t, payment.StatusCancelled, p.Status)
	require.Nil(t, p.Redirect)
}

func TestAnnounce_ReturnsWhatStoodBefore(t *testing.T) {
	t.Parallel()
	s, _, paymentID := attempt(t)
	tried := map[payment.Effect]func(payment.Payment) *time.Time{
		payment.EffectBegin:  func(p payment.Payment) *time.Time { return p.BeginTriedAt },
		payment.EffectSettle: func(p payment.Payment) *time.Time { return p.SettleTriedAt },
		payment.EffectClose:  func(p payment.Payment) *time.Time { return p.CloseTriedAt },
	}
	for effect, at := range tried {
		var first time.Time
		s.Do(t, func(tx pgx.Tx) error {
			before, askedAt, err := payment.Announce(t.Context(), tx, shoptest.Tenant, paymentID, effect)
			require.NoError(t, err)
			require.Nil(t, at(before), "nobody has tried")
			require.WithinDuration(t, s.Now(t), askedAt, time.Minute)
			first = askedAt
			return nil
		})
		s.Do(t, func(tx pgx.Tx) error {
			before, askedAt, err := payment.Announce(t.Context(), tx, shoptest.Tenant, paymentID, effect)
			require.NoError(t, err)
			require.True(t, first.Equal(*at(before)), "the first try is remembered")
			require.True(t, askedAt.After(first))
			return nil
		})
	}
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		_, _, err := payment.Announce(t.Context(), tx, shoptest.Tenant, paymentID, "steal")
		return err
	})
	require.Error(t, err)
}

func TestAnnounce_OfTwoAtOnceOnlyOneIsTheFirst(t *testing.T) {
	t.Parallel()
	s, _, paymentID := attempt(t)
	var first atomic.Int64
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				before, _, err := payment.Announce(t.Context(), tx, shoptest.Tenant, paymentID, payment.EffectSettle)
				if err == nil && before.SettleTriedAt == nil {
					first.Add(1)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, first.Load())
}

func TestPut_CapturesOnceHoweverOftenItIsTold(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	for range 3 {
		s.Do(t, func(tx pgx.Tx) error { return put(t.Context(), tx, paymentID, shoptest.Approved(paymentID, total)) })
	}
	p := load(t, s, paymentID)
	require.Equal(t, payment.StatusCaptured, p.Status)
	require.EqualValues(t, total, p.Captured)
	require.Nil(t, p.Redirect, "nobody is sent to pay again")
	require.Equal(t, []int64{total}, shoptest.List[int64](t, s, `SELECT amount FROM captures WHERE payment_id = $1`, paymentID))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM payments WHERE due_at IS NOT NULL`))
}

func TestPut_WhatIsNotSettledHasAMomentByWhichItMustMove(t *testing.T) {
	t.Parallel()
	s, _, paymentID := attempt(t)
	due := func() *time.Time {
		return shoptest.Value[*time.Time](t, s, `SELECT due_at FROM payments WHERE id = $1`, paymentID)
	}
	for _, a := range []payment.Answer{{Outcome: payment.OutcomeUnknown}, {Outcome: payment.OutcomePending, Processing: true}, {Outcome: payment.OutcomePending}} {
		s.Do(t, func(tx pgx.Tx) error { return put(t.Context(), tx, paymentID, a) })
		require.NotNil(t, due(), "%+v", a)
	}
	s.Do(t, func(tx pgx.Tx) error {
		return put(t.Context(), tx, paymentID, payment.Answer{Outcome: payment.OutcomeDeclined, Code: "-1", Message: strings.Repeat("x", 1000)})
	})
	require.Nil(t, due())
	require.Len(t, load(t, s, paymentID).Message, 300)
}

func TestPut_AnAuthorizationIsCapturedLater(t *testing.T) {
	t.Parallel()
	s, _, paymentID := attempt(t)
	authorized := shoptest.Approved(paymentID, total)
	authorized.Captured = false
	s.Do(t, func(tx pgx.Tx) error { return put(t.Context(), tx, paymentID, authorized) })
	require.Zero(t, load(t, s, paymentID).Captured)
	s.Do(t, func(tx pgx.Tx) error { return put(t.Context(), tx, paymentID, shoptest.Approved(paymentID, total)) })
	p := load(t, s, paymentID)
	require.Equal(t, payment.StatusCaptured, p.Status)
	require.EqualValues(t, total, p.Captured)
}

func TestDatabase_RefusesMovesThatAreNotInTheTable(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	for _, sql := range []string{`UPDATE payments SET status = 'declined'`, `UPDATE payments SET status = 'expired'`, `UPDATE checkouts SET status = 'reserving'`} {
		err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		require.True(t, postgres.Violates(err, "status_moves"), "%s: %v", sql, err)
	}
	require.Equal(t, payment.StatusCaptured, load(t, s, paymentID).Status)
}

func intendRefund(ctx context.Context, s *shoptest.Shop, paymentID string, amount int64, reason string) (refundID string, err error) {
	err = s.DB.InTenant(ctx, shoptest.Tenant, func(tx pgx.Tx) error {
		p, err := payment.Lock(ctx, tx, shoptest.Tenant, paymentID)
		if err != nil {
			return err
		}
		refundID, err = payment.IntendRefund(ctx, tx, shoptest.Tenant, p, amount, reason)
		return err
	})
	return refundID, err
}

func putRefund(t *testing.T, s *shoptest.Shop, refundID, status string) error {
	t.Helper()
	return s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		return payment.PutRefund(t.Context(), tx, shoptest.Tenant, refundID, status, payment.RefundAnswer{Reference: "re_1"}, time.Minute)
	})
}

func TestIntendRefund_OfTheSameReasonIsTheSameRefund(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	first, err := intendRefund(t.Context(), s, paymentID, total, payment.ReasonLate)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			again, err := intendRefund(context.Background(), s, paymentID, total, payment.ReasonLate)
			if err != nil || again != first {
				t.Error(again, err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, total, load(t, s, paymentID).Refunded)

	// One that failed was not made: the next is another.
	require.NoError(t, putRefund(t, s, first, "failed"))
	second, err := intendRefund(t.Context(), s, paymentID, total, payment.ReasonLate)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
}

func TestIntendRefund_ThatNobodyLockedForIsStillMadeOnce(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	p := load(t, s, paymentID)
	var booked, refused atomic.Int64
	var wg sync.WaitGroup
	for _, reason := range []string{payment.ReasonLate, payment.ReasonDuplicate, payment.ReasonCancelled} {
		for range 3 {
			wg.Go(func() {
				err := s.DB.InTenant(context.Background(), shoptest.Tenant, func(tx pgx.Tx) error {
					_, err := payment.IntendRefund(context.Background(), tx, shoptest.Tenant, p, 1, reason)
					return err
				})
				switch {
				case err == nil:
					booked.Add(1)
				case postgres.Violates(err, "refunds_once_per_stray"):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	require.EqualValues(t, 9, booked.Load()+refused.Load())
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM refunds`))
}

func TestRefunds_NeverExceedWhatWasCaptured(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	// Twenty at once of a tenth each: ten fit.
	var booked, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := intendRefund(context.Background(), s, paymentID, total/10, "support-"+string(rune('a'+i)))
			switch {
			case err == nil:
				booked.Add(1)
			case payment.TooMuchBack(err):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 10, booked.Load())
	require.EqualValues(t, 10, refused.Load())
	require.EqualValues(t, total, load(t, s, paymentID).Refunded)
	require.EqualValues(t, total, shoptest.Value[int64](t, s, `SELECT sum(amount) FROM refunds`))
	for _, amount := range []int64{0, -1} {
		_, err := intendRefund(t.Context(), s, paymentID, amount, "nothing")
		require.True(t, postgres.Violates(err), "%v", err)
	}
}

func TestRefund_ThatFailsDaysLaterGivesItsAmountBack(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	half, err := intendRefund(t.Context(), s, paymentID, total/2, "one")
	require.NoError(t, err)
	rest, err := intendRefund(t.Context(), s, paymentID, total/2, "two")
	require.NoError(t, err)
	require.Equal(t, payment.StatusCaptured, load(t, s, paymentID).Status, "intended is not given")
	for _, step := range []struct {
		refundID, status string
		want             payment.Status
		back             int64
	}{
		{half, "unknown", payment.StatusCaptured, total},
		{half, "succeeded", payment.StatusPartiallyRefunded, total},
		{rest, "needs_attention", payment.StatusPartiallyRefunded, total},
		{rest, "succeeded", payment.StatusRefunded, total},
		{rest, "failed", payment.StatusPartiallyRefunded, total / 2},
		{half, "failed", payment.StatusCaptured, 0},
		{half, "pending", payment.StatusCaptured, total / 2},
		{half, "succeeded", payment.StatusPartiallyRefunded, total / 2},
	} {
		require.NoError(t, putRefund(t, s, step.refundID, step.status), step.status)
		p := load(t, s, paymentID)
		require.Equal(t, step.want, p.Status, step.status)
		require.Equal(t, step.back, p.Refunded, step.status)
	}
	// What failed and whose amount went elsewhere meanwhile can't be tried again.
	_, err = intendRefund(t.Context(), s, paymentID, total/2, "three")
	require.NoError(t, err)
	err = putRefund(t, s, rest, "pending")
	require.True(t, payment.TooMuchBack(err), "%v", err)
	require.True(t, postgres.Violates(putRefund(t, s, half, "pending"), "status_moves"), "what succeeded can only fail")
}

func TestRefund_MadeInTheProvidersPanelIsRecordedWhateverItIsAndLeavesLessForOurs(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	s.Do(t, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, origin) VALUES ($1, $2, $3, $4, 'CLP', 'provider', 'succeeded', 'provider')`, shoptest.Tenant, id.New(), paymentID, 2*total)
		return err
	})
	require.Zero(t, load(t, s, paymentID).Refunded, "what we are told is stored, whatever it is")
	_, err := intendRefund(t.Context(), s, paymentID, total, "ours")
	require.True(t, payment.TooMuchBack(err), "%v", err)
}

func TestAnnounceRefund_TellsWhetherSomebodyTried(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	refundID, err := intendRefund(t.Context(), s, paymentID, total, "one")
	require.NoError(t, err)
	for _, want := range []bool{false, true, true} {
		s.Do(t, func(tx pgx.Tx) error {
			tried, _, err := payment.AnnounceRefund(t.Context(), tx, shoptest.Tenant, refundID)
			require.NoError(t, err)
			require.Equal(t, want, tried)
			return nil
		})
	}
	s.Do(t, func(tx pgx.Tx) error {
		r, p, err := payment.LoadRefund(t.Context(), tx, shoptest.Tenant, refundID)
		require.NoError(t, err)
		require.Equal(t, paymentID, p.ID)
		require.Equal(t, p.CheckoutID, r.CheckoutID)
		require.NotNil(t, r.TriedAt)
		require.EqualValues(t, total, r.Amount)
		_, _, err = payment.LoadRefund(t.Context(), tx, shoptest.Tenant, id.New())
		require.True(t, errors.Is(err, pgx.ErrNoRows), "%v", err)
		return nil
	})
}
