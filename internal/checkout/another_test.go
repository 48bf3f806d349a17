package checkout_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/checkout"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
)

// further is an approval under the reference of paymentID that its provider calls name.
func further(paymentID, name string) payment.Answer {
	a := shoptest.Approved(paymentID, 23_990)
	a.Reference, a.CaptureRef, a.Fee = name, name, 714
	return a
}

func beside(others ...payment.Answer) func(a *payment.Answer) {
	return func(a *payment.Answer) { a.Others = others }
}

// payments are a shop's, the first attempt first.
func payments(t *testing.T, s *shoptest.Shop) []string {
	t.Helper()
	return shoptest.List[string](t, s, `SELECT attempt || ' ' || status || ' ' || captured_amount || ' ' || CASE WHEN applied THEN 'applied' ELSE coalesce(not_applied_reason, '-') END || ' ' || capture_ref FROM payments ORDER BY attempt`)
}

func TestRecord_ASecondApprovalUnderOneReferenceIsRecordedAndGoesBackWhole(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := bought(t)
	s.Exec(t, `UPDATE payments SET account = 'acc', live_mode = true`)
	hint := news(t, s, inbox.News{Kind: inbox.Webhook, EventID: "n_2", PaymentID: paymentID, Reference: "two", Signed: true})
	var first checkout.Ruling
	for i := range 3 {
		r := hear(t, s, orderID, paymentID, beside(further(paymentID, "two")))
		require.Equal(t, i == 0, r.Changed)
		require.Empty(t, r.RefundID)
		require.Len(t, r.RefundIDs, 1)
		if i == 0 {
			first = r
		}
		require.Equal(t, first.RefundIDs, r.RefundIDs, "named until it is over")
		require.Equal(t, []string{"duplicate_payment 23990 pending"}, refunds(t, s))
	}
	require.Equal(t, "applied", fate(t, s, hint))
	require.Equal(t, []string{"1 captured 23990 applied token-" + paymentID, "2 captured 23990 duplicate_payment two"}, payments(t, s))
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM payments WHERE under_payment = $1 AND reference = 'two' AND account = 'acc' AND live_mode AND closed AND begun_at IS NOT NULL AND fee_amount = 714 AND due_at IS NULL`, paymentID))
	require.Equal(t, []string{"two 23990"}, shoptest.List[string](t, s, `SELECT c.reference || ' ' || c.amount FROM captures c JOIN payments p ON p.id = c.payment_id WHERE p.under_payment IS NOT NULL`))
	require.Equal(t, []string{"payment_approved_again", "payment_not_applied", "refund_booked"}, events(t, s, orderID)[4:])
	require.Empty(t, attention(t, s, orderID))
	require.Len(t, first.View.Attempts, 2)
	require.True(t, first.View.Attempts[1].Closed)

	// Its provider is asked by our first payment's id and its own name, and what
	// it says of that changes nothing.
	otherID := shoptest.Value[string](t, s, `SELECT id FROM payments WHERE under_payment IS NOT NULL`)
	s.Do(t, func(tx pgx.Tx) error {
		p, err := payment.Load(t.Context(), tx, shoptest.Tenant, otherID)
		require.Equal(t, paymentID, p.At().PaymentID)
		require.Equal(t, "two", p.At().CaptureRef)
		require.Empty(t, payment.Mismatch(p, payment.Answer{PaymentID: paymentID, Amount: 23_990, Currency: "CLP", Account: "acc", LiveMode: true}))
		c, rerr := checkout.Read(t.Context(), tx, shoptest.Tenant, orderID)
		require.NoError(t, rerr)
		require.Equal(t, paymentID, c.Payment.ID, "the second approval is no attempt of the buyer's")
		require.Len(t, c.Payments, 2)
		require.Equal(t, paymentID, c.ForBuyers().Payment.ID)
		return err
	})
	own := record(t, s, orderID, checkout.News{PaymentID: otherID, Answer: further(paymentID, "two")})
	require.False(t, own.Changed)
	require.Equal(t, first.RefundIDs[0], own.RefundID)
	require.Equal(t, []string{"duplicate_payment 23990 pending"}, refunds(t, s))
	s.CheckBooks(t)
}

func TestRecord_TheSecondApprovalMayBeTheOneThatIsKnownFirst(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	answer := func(name string, others ...payment.Answer) payment.Answer {
		a := further(paymentID, name)
		a.Reference, a.Others = "token-"+paymentID, others
		return a
	}
	require.True(t, record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: answer("two")}).Paid)
	// Asked for before that was recorded: the first is the one, and beside it the
	// second, or nothing.
	for _, late := range []payment.Answer{answer("one"), answer("one", further(paymentID, "two")), answer("two", further(paymentID, "one"))} {
		r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: late})
		require.Len(t, r.RefundIDs, 1)
		require.Equal(t, []string{"1 captured 23990 applied two", "2 captured 23990 duplicate_payment one"}, payments(t, s))
	}
	require.Equal(t, []string{"duplicate_payment 23990 pending"}, refunds(t, s))
	s.CheckBooks(t)
}

func TestRecord_ApprovalsUnderOneReferenceAreOnePaymentEachHoweverManyTellOfThem(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	a := shoptest.Approved(paymentID, 23_990)
	a.Others = []payment.Answer{further(paymentID, "two"), further(paymentID, "three")}
	var g errgroup.Group
	for range 6 {
		g.Go(func() error {
			_, err := checkout.Record(t.Context(), s.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: paymentID, Answer: a})
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, []string{"1 captured 23990 applied token-" + paymentID, "2 captured 23990 duplicate_payment two", "3 captured 23990 duplicate_payment three"}, payments(t, s))
	require.Equal(t, []string{"duplicate_payment 23990 pending", "duplicate_payment 23990 pending"}, refunds(t, s))
}

func TestRecord_OfAFurtherApprovalOnlyWhatIsLeftGoesBack(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]struct {
		tell func(a *payment.Answer)
		left []string
		is   string
	}{
		"a part went back in the panel": {func(a *payment.Answer) {
			a.Refunded, a.Refunds = 990, []payment.RefundSeen{{Reference: "r", Amount: 990, Outcome: payment.OutcomeApproved}}
		}, []string{"provider_panel 990 succeeded", "duplicate_payment 23000 pending"}, "partially_refunded"},
		"all of it did": {func(a *payment.Answer) {
			a.Refunded, a.Refunds = 23_990, []payment.RefundSeen{{Reference: "r", Amount: 23_990, Outcome: payment.OutcomeApproved}}
		}, []string{"provider_panel 23990 succeeded"}, "refunded"},
		"its bank took it back": {disputed(payment.DisputeLost), []string{}, "charged_back"},
	} {
		s, orderID, paymentID := bought(t)
		a := further(paymentID, "two")
		other.tell(&a)
		for range 2 {
			hear(t, s, orderID, paymentID, beside(a))
			require.ElementsMatch(t, other.left, refunds(t, s), name)
		}
		require.Equal(t, other.is, shoptest.Value[string](t, s, `SELECT status FROM payments WHERE under_payment IS NOT NULL`), name)
		require.Empty(t, attention(t, s, orderID), "the order has its money: "+name)
	}
}

func TestRecord_ARefundThatAPersonGaveUpIsNotBookedAnew(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := bought(t)
	hear(t, s, orderID, paymentID, beside(further(paymentID, "two")))
	s.Exec(t, `UPDATE refunds SET status = 'failed', code = 'given_up_by_support', due_at = NULL`)
	r := hear(t, s, orderID, paymentID, beside(further(paymentID, "two")))
	require.Empty(t, r.RefundIDs)
	require.Equal(t, []string{"duplicate_payment 23990 failed"}, refunds(t, s))
}

func TestRecord_AFurtherAuthorizationIsVoided(t *testing.T) {
	t.Parallel()
	s, orderID, paymentID := bought(t)
	a := further(paymentID, "two")
	a.Captured = false
	for range 2 {
		r := hear(t, s, orderID, paymentID, beside(a))
		require.Equal(t, []string{shoptest.Value[string](t, s, `SELECT id FROM payments WHERE status = 'authorized' AND void_reason = 'duplicate_payment' AND due_at IS NOT NULL`)}, r.VoidIDs)
		require.Empty(t, refunds(t, s))
	}
}

func TestRecord_BesideALateApprovalTheFurtherOneGoesBackToo(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 2)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 2))
	_, err := checkout.EndUnpaid(t.Context(), s.DB, shoptest.Tenant, checkoutID, checkout.Cancelled)
	require.NoError(t, err)
	a := shoptest.Approved(paymentID, 23_990)
	a.Others = []payment.Answer{further(paymentID, "two")}
	r := record(t, s, checkoutID, checkout.News{PaymentID: paymentID, Answer: a})
	require.NotEmpty(t, r.RefundID)
	require.Len(t, r.RefundIDs, 1)
	require.Equal(t, []string{"cancelled_checkout 23990 pending", "duplicate_payment 23990 pending"}, refunds(t, s))
}
