package checkout_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
)

// voidBooked is a refund that is to give the order's authorization up, and was
// tried once.
func voidBooked(t *testing.T, s *shoptest.Shop, orderID, paymentID string) (refundID string) {
	t.Helper()
	refundID = id.New()
	s.Exec(t, `INSERT INTO refunds (tenant, id, payment_id, order_id, amount, currency, reason, status, method, due_at) VALUES ($1,$2,$3,$4,23990,'CLP','requested','pending','void', now())`, shoptest.Tenant, refundID, paymentID, orderID)
	s.Do(t, func(tx pgx.Tx) error {
		_, _, err := payment.AnnounceVoid(t.Context(), tx, shoptest.Tenant, refundID)
		return err
	})
	return refundID
}

func notVoided(t *testing.T, s *shoptest.Shop, refundID, paymentID string) {
	t.Helper()
	s.Exec(t, `UPDATE refunds SET status = 'failed', due_at = NULL WHERE id = $1`, refundID)
	for range 2 {
		s.Do(t, func(tx pgx.Tx) error { return checkout.NotVoided(t.Context(), tx, shoptest.Tenant, paymentID) })
	}
}

func TestNotVoided_LeavesAnAuthorizationThatCanBeCaptured(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := allowed(t)
	notVoided(t, s, voidBooked(t, s, orderID, paymentID), paymentID)
	s.Do(t, func(tx pgx.Tx) error {
		_, done, err := payment.AskCapture(t.Context(), tx, shoptest.Tenant, paymentID, 0)
		require.False(t, done)
		return err
	})
	require.True(t, shoptest.Value[bool](t, s, `SELECT capture_tried_at IS NOT NULL AND void_tried_at IS NULL FROM payments`), "the gateway is asked before anything is tried")
	require.Empty(t, attention(t, s, orderID))
}

func TestNotVoided_AnOrderThatHasLostItsMoneyMeanwhileAsksForAPerson(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := allowed(t)
	refundID := voidBooked(t, s, orderID, paymentID)
	hear(t, s, orderID, paymentID, voidedThere)
	require.Empty(t, attention(t, s, orderID), "that is what the refund is for")
	notVoided(t, s, refundID, paymentID)
	require.Equal(t, "authorization_voided", attention(t, s, orderID))
	require.Equal(t, []string{"authorization_voided", "authorization_voided"}, frozen(t, s))
}

func TestRecord_NobodyAcceptsMoneyThatIsGone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gone func(a *payment.Answer)
		is   payment.Status
	}{
		"the authorization was given back": {voidedThere, payment.StatusExpired},
		"the bank took it back":            {disputed(payment.DisputeLost), payment.StatusChargedBack},
	} {
		s := shoptest.New(t)
		s.Product(t, "A", 10_000, 5)
		checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
		r := hear(t, s, checkoutID, paymentID, func(a *payment.Answer) { a.Captured, a.Amount = name == "the bank took it back", 23_000 })
		require.Equal(t, "mismatch_amount", r.Mismatch, name)
		hear(t, s, checkoutID, paymentID, c.gone)
		r = record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 23_990), Person: true})
		require.False(t, r.Paid, name)
		require.Equal(t, c.is, r.View.Attempts[0].Status, name)
	}
}

func TestRecord_WhoAcceptsADisputedPaymentMakesAFrozenOrder(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	hear(t, s, checkoutID, paymentID, func(a *payment.Answer) { disputed(payment.DisputeOpen)(a); a.Amount = 23_000 })
	r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 23_990), Person: true})
	require.True(t, r.Paid)
	require.Equal(t, "disputed", attention(t, s, checkoutID))
	require.Equal(t, []string{"disputed"}, frozen(t, s))
	hear(t, s, checkoutID, paymentID, disputed(payment.DisputeWon))
	require.Empty(t, attention(t, s, checkoutID))
}

func TestRecord_WhoStatesAnApprovalCapturesNothingWhereCapturesArePutOff(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	s.Exec(t, `UPDATE payments SET capture_until = now() + interval '5 days'`)
	record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: payment.Answer{Outcome: payment.OutcomeUnknown}})
	r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 23_990), AskedAt: time.Now(), Person: true})
	require.True(t, r.Paid)
	require.Equal(t, payment.StatusAuthorized, r.View.Attempts[0].Status)
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM captures`))
}
