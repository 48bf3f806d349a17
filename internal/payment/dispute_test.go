package payment_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
)

// dispute records a chargeback and restates its payment.
func dispute(t *testing.T, s *shoptest.Shop, paymentID string, d payment.Dispute) (before, after payment.DisputeStatus, status payment.Status) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		p, err := payment.Lock(t.Context(), tx, shoptest.Tenant, paymentID)
		require.NoError(t, err)
		before, after, err = payment.PutDispute(t.Context(), tx, shoptest.Tenant, p, d)
		require.NoError(t, err)
		status, err = payment.Restate(t.Context(), tx, shoptest.Tenant, paymentID)
		return err
	})
	return before, after, status
}

func chargeback(status payment.DisputeStatus) payment.Dispute {
	return payment.Dispute{Reference: "dp_1", Status: status, Amount: total, Currency: "CLP", Reason: "fraudulent"}
}

func TestDispute_OpensIsWonAndThePaymentIsAsBefore(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	for range 2 {
		_, after, status := dispute(t, s, paymentID, chargeback(payment.DisputeOpen))
		require.Equal(t, payment.DisputeOpen, after)
		require.Equal(t, payment.StatusDisputed, status)
	}
	require.WithinDuration(t, s.Now(t).Add(7*24*time.Hour), shoptest.Value[time.Time](t, s, `SELECT due_at FROM disputes`), time.Minute, "no day was named")
	by := s.Now(t).Add(3 * 24 * time.Hour).Truncate(time.Second)
	d := chargeback(payment.DisputeOpen)
	d.AnswerBy = by
	dispute(t, s, paymentID, d)
	require.True(t, by.Equal(shoptest.Value[time.Time](t, s, `SELECT due_at FROM disputes`)), "now one was")

	before, after, status := dispute(t, s, paymentID, chargeback(payment.DisputeWon))
	require.Equal(t, payment.DisputeOpen, before)
	require.Equal(t, payment.DisputeWon, after)
	require.Equal(t, payment.StatusCaptured, status)
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM disputes WHERE due_at IS NULL AND ended_at IS NOT NULL`))

	// Told again by news that were held up, it stays won; another one is new.
	before, after, status = dispute(t, s, paymentID, chargeback(payment.DisputeOpen))
	require.Equal(t, payment.DisputeWon, before)
	require.Equal(t, payment.DisputeWon, after)
	require.Equal(t, payment.StatusCaptured, status)
	d = chargeback(payment.DisputeOpen)
	d.Reference = "dp_2"
	_, _, status = dispute(t, s, paymentID, d)
	require.Equal(t, payment.StatusDisputed, status)
}

func TestDispute_LostIsTheEnd(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	_, _, status := dispute(t, s, paymentID, chargeback(payment.DisputeLost))
	require.Equal(t, payment.StatusChargedBack, status, "also when nobody told that it was open")
	d := chargeback(payment.DisputeOpen)
	d.Reference = "dp_2"
	for _, to := range []payment.DisputeStatus{payment.DisputeOpen, payment.DisputeWon} {
		d.Status = to
		_, _, status = dispute(t, s, paymentID, d)
		require.Equal(t, payment.StatusChargedBack, status)
	}
	require.Equal(t, []string{"dp_1 lost", "dp_2 won"}, shoptest.List[string](t, s, `SELECT reference || ' ' || status FROM disputes ORDER BY id`), "recorded all the same")
	s.Do(t, func(tx pgx.Tx) error { return put(t.Context(), tx, paymentID, shoptest.Approved(paymentID, total)) })
	require.Equal(t, payment.StatusChargedBack, load(t, s, paymentID).Status)
}

func TestDispute_OfAnAuthorizationThatIsWonLeavesIt(t *testing.T) {
	t.Parallel()
	s, paymentID := authorized(t)
	_, _, status := dispute(t, s, paymentID, chargeback(payment.DisputeOpen))
	require.Equal(t, payment.StatusDisputed, status)
	_, _, status = dispute(t, s, paymentID, chargeback(payment.DisputeWon))
	require.Equal(t, payment.StatusAuthorized, status)
	require.NotNil(t, shoptest.Value[*time.Time](t, s, `SELECT due_at FROM payments WHERE id = $1`, paymentID))
}

func TestDispute_WonAfterPartOfItWentBackIsPartlyRefunded(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	dispute(t, s, paymentID, chargeback(payment.DisputeOpen))
	found := told(t, s, paymentID, payment.Answer{Refunded: 1_000})
	require.Len(t, found.New, 1)
	_, _, status := dispute(t, s, paymentID, chargeback(payment.DisputeWon))
	require.Equal(t, payment.StatusPartiallyRefunded, status)
}

// told records what a provider says of refunds.
func told(t *testing.T, s *shoptest.Shop, paymentID string, a payment.Answer) (found payment.Elsewhere) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		p, err := payment.Lock(t.Context(), tx, shoptest.Tenant, paymentID)
		require.NoError(t, err)
		found, err = payment.RecordRefunds(t.Context(), tx, shoptest.Tenant, p, a)
		return err
	})
	return found
}

// ours books a refund of ours that was sent to the provider; a person is asked
// about one that has had no answer.
func ours(t *testing.T, s *shoptest.Shop, paymentID string, amount int64, status, reference string) string {
	t.Helper()
	refundID := id.New()
	s.Exec(t, `INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, reference, tried_at, code, due_at) VALUES ($1,$2,$3,$4,'CLP',$2,$5,$6, now(), CASE WHEN $5 = 'needs_attention' THEN 'refund_unanswered' ELSE '' END, CASE WHEN $5 IN ('pending','unknown') THEN now() + interval '10 minutes' END)`,
		shoptest.Tenant, refundID, paymentID, amount, status, reference)
	return refundID
}

func elsewhere(t *testing.T, s *shoptest.Shop) []string {
	t.Helper()
	return shoptest.List[string](t, s, `SELECT reference || ' ' || amount || ' ' || status FROM refunds WHERE origin = 'provider' ORDER BY id`)
}

func TestElsewhere_ARefundOfOursThatWasRefusedHidesNone(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]payment.Answer{
		"by sum":  {Refunded: 3_000},
		"by name": {Refunds: []payment.RefundSeen{{Reference: "re_panel", Amount: 3_000, Outcome: payment.OutcomeApproved}}},
	} {
		for code, hidden := range map[string]bool{"311": false, "refund_refused": false, "payment_disputed": false, "refund_unanswered": true, "refund_untraced": true, "refund_credentials": true} {
			t.Run(name+" "+code, func(t *testing.T) {
				t.Parallel()
				s, paymentID := captured(t)
				part := ours(t, s, paymentID, 3_000, "needs_attention", "")
				s.Exec(t, `UPDATE refunds SET code = $2 WHERE id = $1`, part, code)
				require.Equal(t, !hidden, told(t, s, paymentID, answer).Found())
			})
		}
		t.Run(name+", not tried", func(t *testing.T) {
			t.Parallel()
			s, paymentID := captured(t)
			part := ours(t, s, paymentID, 3_000, "needs_attention", "")
			s.Exec(t, `UPDATE refunds SET code = 'refund_invalid', tried_at = NULL WHERE id = $1`, part)
			require.True(t, told(t, s, paymentID, answer).Found())
		})
	}
}

func TestElsewhere_ARefundMadeInThePanelIsRecordedOnce(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	a := payment.Answer{Refunds: []payment.RefundSeen{{Reference: "re_panel", Amount: 5_000, Outcome: payment.OutcomeApproved}, {Reference: "re_no", Amount: 9, Outcome: payment.OutcomeDeclined}}}
	require.Len(t, told(t, s, paymentID, a).New, 1)
	for range 2 {
		require.False(t, told(t, s, paymentID, a).Found())
	}
	require.Equal(t, []string{"re_panel 5000 succeeded"}, elsewhere(t, s))
	require.EqualValues(t, 5_000, load(t, s, paymentID).RefundedElsewhere)

	a.Refunds[0].Outcome = payment.OutcomeDeclined // it failed, days later
	require.Len(t, told(t, s, paymentID, a).Withdrawn, 1)
	require.False(t, told(t, s, paymentID, a).Found())
	require.Zero(t, load(t, s, paymentID).RefundedElsewhere)
}

func TestElsewhere_MoreThanWasTakenIsRecordedAllTheSame(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	ours(t, s, paymentID, total, "succeeded", "re_ours")
	a := payment.Answer{Refunds: []payment.RefundSeen{{Reference: "re_ours", Amount: total, Outcome: payment.OutcomeApproved}, {Reference: "re_panel", Amount: total, Outcome: payment.OutcomeApproved}}}
	require.Len(t, told(t, s, paymentID, a).New, 1)
	p := load(t, s, paymentID)
	require.EqualValues(t, total, p.Refunded)
	require.EqualValues(t, total, p.RefundedElsewhere)
}

func TestElsewhere_ARefundOfOursWhoseAnswerWasLostIsNotTheirs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status string
		seen   func(refundID string) payment.RefundSeen
	}{
		"by our id": {"unknown", func(id string) payment.RefundSeen {
			return payment.RefundSeen{Reference: "re_1", RefundID: id, Amount: 5_000}
		}},
		"by its amount":         {"unknown", func(string) payment.RefundSeen { return payment.RefundSeen{Reference: "re_1", Amount: 5_000} }},
		"while it is under way": {"pending", func(string) payment.RefundSeen { return payment.RefundSeen{Reference: "re_1", Amount: 5_000} }},
		"while a person looks":  {"needs_attention", func(string) payment.RefundSeen { return payment.RefundSeen{Reference: "re_1", Amount: 5_000} }},
	} {
		s, paymentID := captured(t)
		r := c.seen(ours(t, s, paymentID, 5_000, c.status, ""))
		r.Outcome = payment.OutcomeApproved
		require.False(t, told(t, s, paymentID, payment.Answer{Refunds: []payment.RefundSeen{r}}).Found(), name)
		require.False(t, told(t, s, paymentID, payment.Answer{Refunded: 5_000}).Found(), name)
		require.Empty(t, elsewhere(t, s), name)
		// A second one of the same amount is somebody else's.
		other := payment.RefundSeen{Reference: "re_2", Amount: 5_000, Outcome: payment.OutcomeApproved}
		require.Len(t, told(t, s, paymentID, payment.Answer{Refunds: []payment.RefundSeen{r, other}}).New, 1, name)
	}
}

func TestElsewhere_OneThatWasNeverSentIsNotTheirsEither(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	refundID := ours(t, s, paymentID, 5_000, "pending", "")
	s.Exec(t, `UPDATE refunds SET tried_at = NULL WHERE id = $1`, refundID)
	require.Len(t, told(t, s, paymentID, payment.Answer{Refunded: 5_000}).New, 1, "ours cannot be it")
}

func TestElsewhere_ASumOfWhichLessIsOursThanWasThought(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	refundID := ours(t, s, paymentID, 2_000, "needs_attention", "")
	require.EqualValues(t, 3_000, told(t, s, paymentID, payment.Answer{Refunded: 5_000}).New[0].Amount)
	s.Exec(t, `UPDATE refunds SET status = 'failed', due_at = NULL WHERE id = $1`, refundID)
	require.EqualValues(t, 2_000, told(t, s, paymentID, payment.Answer{Refunded: 5_000}).New[0].Amount)
	require.False(t, told(t, s, paymentID, payment.Answer{Refunded: 5_000}).Found())
	require.EqualValues(t, 5_000, load(t, s, paymentID).RefundedElsewhere)
}

func TestElsewhere_ByItsSumFirstAndByItsNameLater(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	ours(t, s, paymentID, 2_000, "succeeded", "re_ours")
	require.Len(t, told(t, s, paymentID, payment.Answer{Refunded: 5_000}).New, 1)
	require.False(t, told(t, s, paymentID, payment.Answer{Refunded: 5_000}).Found())
	require.Equal(t, []string{"sum:5000 3000 succeeded"}, elsewhere(t, s))
	told(t, s, paymentID, payment.Answer{Refunds: []payment.RefundSeen{{Reference: "re_ours", Amount: 2_000, Outcome: payment.OutcomeApproved}, {Reference: "re_panel", Amount: 3_000, Outcome: payment.OutcomeApproved}}})
	require.Equal(t, []string{"re_panel 3000 succeeded"}, elsewhere(t, s))
	require.Len(t, told(t, s, paymentID, payment.Answer{Refunded: 6_000}).New, 1)
	require.EqualValues(t, 4_000, load(t, s, paymentID).RefundedElsewhere)
}

func TestElsewhere_WhatWentBackOutsideTheProviderIsNotInItsSum(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	refundID := ours(t, s, paymentID, 2_000, "succeeded", "transfer 7")
	s.Exec(t, `UPDATE refunds SET method = 'bank_transfer' WHERE id = $1`, refundID)
	require.Len(t, told(t, s, paymentID, payment.Answer{Refunded: 2_000}).New, 1)
}

func TestElsewhere_OursThatFailedLaterIsNamedAndOneThatWasGivenUpIsCounted(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	made := ours(t, s, paymentID, 5_000, "succeeded", "re_1")
	given := ours(t, s, paymentID, 3_000, "failed", "")
	found := told(t, s, paymentID, payment.Answer{Refunds: []payment.RefundSeen{
		{Reference: "re_1", Amount: 5_000, Outcome: payment.OutcomeDeclined}, {Reference: "re_2", RefundID: given, Amount: 3_000, Outcome: payment.OutcomeApproved}}})
	require.Len(t, found.Failed, 1)
	require.Equal(t, made, found.Failed[0].RefundID)
	require.Len(t, found.New, 1)
	require.EqualValues(t, 3_000, load(t, s, paymentID).RefundedElsewhere)
}

func TestPutTerms_KeepsWhatWasTold(t *testing.T) {
	t.Parallel()
	s, paymentID := captured(t)
	for _, a := range []payment.Answer{{Fee: 700}, {Risk: "elevated"}, {}} {
		s.Do(t, func(tx pgx.Tx) error {
			p, err := payment.Lock(t.Context(), tx, shoptest.Tenant, paymentID)
			require.NoError(t, err)
			return payment.PutTerms(t.Context(), tx, shoptest.Tenant, p, a)
		})
	}
	p := load(t, s, paymentID)
	require.EqualValues(t, 700, p.Fee)
	require.Equal(t, "elevated", p.Risk)
}

// authorized is an attempt at a gateway that takes nothing until it is asked
// to, within five days.
func authorized(t *testing.T) (s *shoptest.Shop, paymentID string) {
	t.Helper()
	s = shoptest.New(t)
	s.Product(t, "A", 10_000, 50)
	checkoutID, v := s.Start(t, shoptest.Submission("A", 2))
	paymentID = v.Attempts[0].PaymentID
	s.Do(t, func(tx pgx.Tx) error {
		return begunAuthorized(t.Context(), tx, paymentID)
	})
	_ = checkoutID
	return s, paymentID
}

func begunAuthorized(ctx context.Context, tx pgx.Tx, paymentID string) error {
	able := payment.Capabilities{PayableFor: time.Hour, DefersCapture: true, CaptureFor: 5 * 24 * time.Hour}
	if err := payment.Begun(ctx, tx, shoptest.Tenant, paymentID, payment.Answer{Reference: "token-" + paymentID}, able, shoptest.Account, false); err != nil {
		return err
	}
	a := shoptest.Approved(paymentID, total)
	a.Captured, a.ApprovedAt = false, time.Now().UTC().Add(30*time.Minute)
	return put(ctx, tx, paymentID, a)
}

func TestAskCapture_SaysWhatIsWantedOnce(t *testing.T) {
	t.Parallel()
	s, paymentID := authorized(t)
	p := load(t, s, paymentID)
	require.Equal(t, payment.StatusAuthorized, p.Status)
	require.WithinDuration(t, s.Now(t).Add(5*24*time.Hour+30*time.Minute), *p.CaptureUntil, time.Minute, "counted from the approval")
	due := func() time.Time {
		return shoptest.Value[time.Time](t, s, `SELECT due_at FROM payments WHERE id = $1`, paymentID)
	}
	require.WithinDuration(t, p.CaptureUntil.Add(-24*time.Hour), due(), time.Minute, "a day before it lapses a person hears of it")
	ask := func(amount int64) (done bool, err error) {
		err = s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, done, err = payment.AskCapture(t.Context(), tx, shoptest.Tenant, paymentID, amount)
			return err
		})
		return done, err
	}
	void := func() (done bool, err error) {
		err = s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, done, err = payment.AskVoid(t.Context(), tx, shoptest.Tenant, paymentID, "fraud")
			return err
		})
		return done, err
	}
	_, err := ask(total + 1)
	require.ErrorIs(t, err, payment.ErrCaptureAmount)
	for range 2 {
		done, err := ask(20_000)
		require.NoError(t, err)
		require.False(t, done)
	}
	require.WithinDuration(t, s.Now(t).Add(10*time.Minute), due(), time.Minute)
	_, err = ask(0)
	require.ErrorIs(t, err, payment.ErrCaptureAsked, "another amount")
	_, err = void()
	require.ErrorIs(t, err, payment.ErrCaptureAsked)
	s.Do(t, func(tx pgx.Tx) error { return payment.Unask(t.Context(), tx, shoptest.Tenant, paymentID) })
	require.WithinDuration(t, p.CaptureUntil.Add(-24*time.Hour), due(), time.Minute)
	_, err = void()
	require.NoError(t, err)
	_, err = ask(0)
	require.ErrorIs(t, err, payment.ErrVoidAsked)
	s.Do(t, func(tx pgx.Tx) error { return payment.Unask(t.Context(), tx, shoptest.Tenant, paymentID) })
	s.Exec(t, `UPDATE payments SET capture_until = now() - interval '1 second'`)
	_, err = ask(0)
	require.ErrorIs(t, err, payment.ErrCaptureWindowOver)
	s.Exec(t, `UPDATE payments SET capture_until = now() + interval '1 day'`)
	a := shoptest.Approved(paymentID, 20_000)
	s.Do(t, func(tx pgx.Tx) error { return put(t.Context(), tx, paymentID, a) })
	done, err := ask(20_000)
	require.NoError(t, err)
	require.True(t, done)
	_, err = ask(0)
	require.ErrorIs(t, err, payment.ErrCapturedOtherwise)
	_, err = void()
	require.ErrorIs(t, err, payment.ErrAlreadyCaptured)
	require.EqualValues(t, 20_000, load(t, s, paymentID).Captured)
}
