package activities_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/internal/reconcile"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/support"
)

// books is a provider whose side a test writes by hand.
type books struct {
	payment.Gateway
	able    payment.Capabilities
	pages   [][]payment.Transaction
	answers map[string]payment.Answer
	// bySum: it tells of refunds only how much went back in all.
	bySum bool
	// fails makes a page fail once; asked are the cursors and payments asked for.
	fails map[string]error
	asked []string
}

func (b *books) Capabilities() payment.Capabilities { return b.able }

func (b *books) Transactions(_ context.Context, q payment.StatementQuery) (payment.StatementPage, error) {
	b.asked = append(b.asked, q.Cursor)
	if err := b.fails[q.Cursor]; err != nil {
		delete(b.fails, q.Cursor)
		return payment.StatementPage{}, err
	}
	n := 0
	if q.Cursor != "" {
		var err error
		if n, err = strconv.Atoi(q.Cursor); err != nil {
			return payment.StatementPage{}, err
		}
	}
	page := payment.StatementPage{}
	if n < len(b.pages) {
		page.Transactions = b.pages[n]
	}
	if n+1 < len(b.pages) {
		page.Next = strconv.Itoa(n + 1)
	}
	return page, nil
}

func (b *books) Lookup(_ context.Context, at payment.Attempt) (payment.Looked, error) {
	b.asked = append(b.asked, at.PaymentID)
	a, known := b.answers[at.PaymentID]
	if !known {
		a = payment.Answer{Outcome: payment.OutcomePending}
	}
	return payment.Asked(a), nil
}

func (b *books) LookupRefund(_ context.Context, in payment.RefundIntent) (payment.LookedRefund, error) {
	b.asked = append(b.asked, "refund")
	if b.bySum {
		return payment.AskedRefund(payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: "refund_mismatch"}), nil
	}
	return payment.AskedRefund(payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "re-" + in.RefundID, Amount: in.Amount}), nil
}

type library struct{ *books }

func (l library) Gateway(context.Context, string, payment.Name) (payment.Gateway, error) {
	return l.books, nil
}

// audited is a shop with a reconciliation of today under way.
type audited struct {
	*shoptest.Shop
	t     *testing.T
	bank  *books
	do    *activities.Reconciliations
	day   reconcile.Day
	ref   activities.ReconciliationRef
	woken []string
}

func newAudited(t *testing.T, able payment.Capabilities) *audited {
	t.Helper()
	a := &audited{Shop: shoptest.New(t), t: t, bank: &books{able: able, answers: map[string]payment.Answer{}, fails: map[string]error{}}}
	a.Product(t, "A", 10_000, 50)
	a.do = &activities.Reconciliations{DB: a.DB, Gateways: library{a.bank}, Logger: slog.New(slog.DiscardHandler),
		WakeRefund: func(_ context.Context, _, requestID, refundID string) error {
			a.woken = append(a.woken, requestID+"/"+refundID)
			return nil
		}}
	a.open()
	return a
}

func (a *audited) open() {
	a.t.Helper()
	a.Do(a.t, func(tx pgx.Tx) error {
		zone, err := reconcile.Zone(a.t.Context(), tx, shoptest.Tenant)
		if err != nil {
			return err
		}
		a.day = reconcile.DayOf(time.Now(), zone)
		id, _, err := reconcile.Open(a.t.Context(), tx, shoptest.Tenant, payment.Transbank, a.day, "test", false)
		a.ref = activities.ReconciliationRef{Tenant: shoptest.Tenant, ReconciliationID: id}
		return err
	})
}

// fetch runs the activity as a worker would; reached is the last heartbeat of a
// worker that died.
func (a *audited) fetch(cursor, reached string) (got activities.Fetched, err error) {
	a.t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(a.do)
	if reached != "" {
		env.SetHeartbeatDetails(reached)
	}
	v, err := env.ExecuteActivity(a.do.FetchStatement, a.ref, cursor)
	if err != nil {
		return got, err
	}
	return got, v.Get(&got)
}

func (a *audited) compare(final bool) activities.Compared {
	a.t.Helper()
	got, err := a.fetch("", "")
	require.NoError(a.t, err)
	return a.again(got, final)
}

func (a *audited) again(got activities.Fetched, final bool) activities.Compared {
	a.t.Helper()
	done, err := a.do.CompareBooks(a.t.Context(), a.ref, got, final)
	require.NoError(a.t, err)
	return done
}

func (a *audited) item(paymentID string) string {
	a.t.Helper()
	return shoptest.Value[string](a.t, a.Shop, `SELECT coalesce((SELECT string_agg(result || ' ' || resolution, ', ' ORDER BY kind, created_at, id) FROM reconciliation_items WHERE payment_id = $1), '')`, paymentID)
}

// sell pays an order and returns its payment.
func (a *audited) sell() (checkoutID, paymentID string, amount int64) {
	a.t.Helper()
	checkoutID, paymentID = a.Offer(a.t, shoptest.Submission("A", 1))
	amount = shoptest.Value[int64](a.t, a.Shop, `SELECT amount FROM payments WHERE id = $1`, paymentID)
	a.approve(checkoutID, paymentID, amount)
	return checkoutID, paymentID, amount
}

func (a *audited) approve(checkoutID, paymentID string, amount int64) {
	a.t.Helper()
	_, err := checkout.Record(a.t.Context(), a.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, amount), AskedAt: a.Now(a.t)})
	require.NoError(a.t, err)
}

func listed(paymentID string, amount, fee int64) payment.Transaction {
	return payment.Transaction{Kind: payment.ChargeTransaction, PaymentID: paymentID, CaptureRef: "token-" + paymentID, Amount: amount, Fee: fee, Currency: "CLP", Outcome: payment.OutcomeApproved, Captured: true, At: time.Now().UTC()}
}

func TestFetchStatement_GoesOnWhereAKilledWorkerHadStopped(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{Statement: true})
	for n := range 4 {
		a.bank.pages = append(a.bank.pages, []payment.Transaction{listed(fmt.Sprintf("x%d", n), 100, 1), listed(fmt.Sprintf("y%d", n), 100, 1)})
	}
	a.bank.fails["2"] = &payment.Failure{Gateway: payment.Transbank, Class: payment.ClassUnavailable}
	_, err := a.fetch("", "")
	require.Equal(t, activities.TypeUnavailable, activities.ErrorType(err))
	require.Equal(t, 4, shoptest.Value[int](t, a.Shop, `SELECT count(*) FROM provider_transactions`))
	a.bank.asked = nil
	got, err := a.fetch("", "2") // its last heartbeat
	require.NoError(t, err)
	require.Equal(t, activities.Fetched{Source: reconcile.FromAPI, Transactions: 4}, got)
	require.Equal(t, []string{"2", "3"}, a.bank.asked)
	got, err = a.fetch("1", "") // the same pages once more
	require.NoError(t, err)
	require.Equal(t, 6, got.Transactions)
	require.Equal(t, 8, shoptest.Value[int](t, a.Shop, `SELECT count(*) FROM provider_transactions`))
}

func TestFetchStatement_ProviderThatGoesInCirclesIsABug(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{Statement: true})
	a.bank.pages = [][]payment.Transaction{{}, {}, {}}
	a.bank.fails["1"] = nil
	a.do.Gateways = circling{a.bank}
	_, err := a.fetch("", "")
	require.Equal(t, activities.TypeBug, activities.ErrorType(err))
}

type circling struct{ *books }

func (c circling) Gateway(context.Context, string, payment.Name) (payment.Gateway, error) {
	return c, nil
}

func (c circling) Transactions(context.Context, payment.StatementQuery) (payment.StatementPage, error) {
	return payment.StatementPage{Next: "again"}, nil
}

func TestReconciliation_MissingApprovalIsAppliedLikeALateWebhook(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{Statement: true})
	_, known, amount := a.sell()
	checkoutID, lost := a.Offer(t, shoptest.Submission("A", 1))
	a.Exec(t, `UPDATE payments SET status = 'expired', due_at = NULL WHERE id = $1`, lost)
	a.bank.pages = [][]payment.Transaction{{listed(known, amount, 300), listed(lost, amount, 300)}}

	done := a.compare(false)
	require.Equal(t, activities.Compared{Transactions: 2, OnTheWay: 1}, done)
	require.Equal(t, "matched none", a.item(known))
	require.Equal(t, "missing_here repaired", a.item(lost))
	require.EqualValues(t, 300, shoptest.Value[int64](t, a.Shop, `SELECT fee_amount FROM payments WHERE id = $1`, known))
	require.Equal(t, "approved reconciliation pending", shoptest.Value[string](t, a.Shop, `SELECT claim || ' ' || event_type || ' ' || status FROM inbox WHERE payment_id = $1`, lost))

	a.approve(checkoutID, lost, amount) // what the inbox loop's run does
	require.Zero(t, a.compare(false).OnTheWay)
	require.Equal(t, "matched repaired", a.item(lost))
	require.Equal(t, "applied", shoptest.Value[string](t, a.Shop, `SELECT status FROM inbox WHERE payment_id = $1`, lost))
}

func TestReconciliation_RepairThatDoesNotHelpIsRaised(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{Statement: true})
	_, lost := a.Offer(t, shoptest.Submission("A", 1))
	a.Exec(t, `UPDATE payments SET status = 'expired', due_at = NULL WHERE id = $1`, lost)
	a.bank.pages = [][]payment.Transaction{{listed(lost, 100, 0)}}
	require.Equal(t, 1, a.compare(false).OnTheWay)
	done := a.compare(true)
	require.Equal(t, activities.Compared{Transactions: 1, Raised: 1}, done)
	require.Equal(t, "missing_here raised", a.item(lost))
	require.Equal(t, 1, a.compare(false).Raised, "and stays so")
}

func TestReconciliation_WhatIsRaisedIsOnTheListUntilAPersonSaysWhatItIs(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{Statement: true})
	_, known, amount := a.sell()
	a.bank.pages = [][]payment.Transaction{{listed(known, amount-1, 0), listed("nobody", 500, 0)}}
	require.Equal(t, 2, a.compare(true).Raised)
	ids := shoptest.List[string](t, a.Shop, `SELECT id FROM reconciliation_items ORDER BY result`)
	a.Do(t, func(tx pgx.Tx) error {
		list, err := support.Stuck(t.Context(), tx, shoptest.Tenant, "", 10)
		require.NoError(t, err)
		require.Len(t, list, 2)
		for _, i := range list {
			require.Equal(t, "difference", i.Kind)
			require.Equal(t, []string{"resolve"}, i.Verbs)
			require.Contains(t, ids, i.Subject)
		}
		_, err = reconcile.Resolve(t.Context(), tx, reconcile.Use{Tenant: shoptest.Tenant, ItemID: ids[0], Actor: "ana", KeyID: "k", Reason: "the bank kept a peso"})
		return err
	})
	require.Equal(t, 1, a.compare(true).Raised)
	require.Equal(t, "different_amount resolved", a.item(known))
	a.bank.pages[0][0].Amount-- // another difference is not the one that was explained
	require.Equal(t, 2, a.compare(true).Raised)
	a.bank.pages[0] = a.bank.pages[0][:1]
	a.Exec(t, `UPDATE reconciliations SET started_at = now()`)
	require.Equal(t, activities.Compared{Transactions: 1, Raised: 1}, a.compare(true), "what the provider does not list any more is gone")
}

func TestReconciliation_RefundsAreWokenAskedForOrRaised(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{Statement: true})
	_, unsure, amount := a.sell()
	_, panel, _ := a.sell()
	_, odd, _ := a.sell()
	refund := func(of, status string) (id string) {
		a.Do(t, func(tx pgx.Tx) error {
			p, err := payment.Load(t.Context(), tx, shoptest.Tenant, of)
			require.NoError(t, err)
			id, err = payment.IntendRefund(t.Context(), tx, shoptest.Tenant, p, 1000, "goodwill")
			require.NoError(t, err)
			return payment.PutRefund(t.Context(), tx, shoptest.Tenant, id, status, payment.RefundAnswer{Reference: "re-" + of}, time.Hour)
		})
		return id
	}
	unknown := refund(unsure, "unknown")
	a.Exec(t, `UPDATE refunds SET due_at = now() - interval '1 minute' WHERE id = $1`, unknown)
	refund(odd, "succeeded")
	back := func(of string, amount int64) payment.Transaction {
		return payment.Transaction{Kind: payment.RefundTransaction, PaymentID: of, RefundReference: "re-" + of, Amount: amount, Currency: "CLP", Outcome: payment.OutcomeApproved, At: time.Now().UTC()}
	}
	a.bank.pages = [][]payment.Transaction{{listed(unsure, amount, 0), listed(panel, amount, 0), listed(odd, amount, 0), back(unsure, 1000), back(panel, 700), back(odd, 999)}}
	done := a.compare(false)
	require.Equal(t, activities.Compared{Transactions: 6, OnTheWay: 2, Raised: 1}, done)
	require.Equal(t, []string{"/" + unknown}, a.woken)
	require.Equal(t, "matched none, different_state repaired", a.item(unsure))
	require.Equal(t, "matched none, missing_here repaired", a.item(panel))
	require.Equal(t, "matched none, different_amount raised", a.item(odd))
	require.Equal(t, "unknown", shoptest.Value[string](t, a.Shop, `SELECT claim FROM inbox WHERE payment_id = $1 AND status = 'pending'`, panel))
}

func TestReconciliation_GatewayWithoutAListIsAskedPaymentByPayment(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{LookupFor: 24 * time.Hour})
	checkouts := map[string]string{}
	var amount int64
	var sold []string
	for range 12 { // more than one batch
		checkoutID, paymentID, n := a.sell()
		checkouts[paymentID], amount = checkoutID, n
		sold = append(sold, paymentID)
		a.bank.answers[paymentID] = shoptest.Approved(paymentID, n)
	}
	_, lost := a.Offer(t, shoptest.Submission("A", 1))
	a.Exec(t, `UPDATE payments SET status = 'expired', due_at = NULL WHERE id = $1`, lost)
	a.bank.answers[lost] = shoptest.Approved(lost, amount)
	old, declined, panel := sold[0], sold[1], sold[2]
	a.Exec(t, `UPDATE payments SET begun_at = now() - interval '25 hours' WHERE id = $1`, old)
	a.bank.answers[declined] = payment.Answer{Outcome: payment.OutcomeDeclined, Code: "rejected"}
	given := a.bank.answers[panel]
	given.Refunded = 500
	a.bank.answers[panel] = given
	a.Exec(t, `UPDATE captures SET captured_at = captured_at - interval '16 minutes'`)
	from := a.day.From
	a.Exec(t, `UPDATE captures SET captured_at = greatest(captured_at, $1)`, from)

	done := a.compare(true)
	require.Equal(t, "missing_there explained", a.item(old))
	require.Equal(t, "different_state raised", a.item(declined))
	require.Equal(t, "matched none, missing_here repaired", a.item(panel))
	require.Equal(t, "missing_here repaired", a.item(lost))
	require.Equal(t, 14, done.Transactions)
	require.Equal(t, "questions", shoptest.Value[string](t, a.Shop, `SELECT source FROM reconciliations`))
}

func TestReconciliation_RefundsThatTheListDoesNotNameAreAskedFor(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{Statement: true})
	_, of, amount := a.sell()
	a.Do(t, func(tx pgx.Tx) error {
		p, err := payment.Load(t.Context(), tx, shoptest.Tenant, of)
		require.NoError(t, err)
		for n, reason := range []string{"listed", "unlisted"} {
			id, err := payment.IntendRefund(t.Context(), tx, shoptest.Tenant, p, int64(100+n), reason)
			require.NoError(t, err)
			_, _, err = payment.AnnounceRefund(t.Context(), tx, shoptest.Tenant, id)
			require.NoError(t, err)
			require.NoError(t, payment.PutRefund(t.Context(), tx, shoptest.Tenant, id, "succeeded", payment.RefundAnswer{Reference: reason}, 0))
		}
		return nil
	})
	a.bank.pages = [][]payment.Transaction{{listed(of, amount, 0)}}
	require.Equal(t, activities.Compared{Transactions: 3}, a.compare(false))
	require.Equal(t, "matched none, matched none, matched none", a.item(of))
	require.Equal(t, []string{"", "refund", "refund"}, a.bank.asked)
}

// given books refunds of 1000, 2000... of a payment, which have the statuses.
func (a *audited) given(paymentID string, statuses ...string) (ids []string) {
	a.t.Helper()
	a.Do(a.t, func(tx pgx.Tx) error {
		p, err := payment.Load(a.t.Context(), tx, shoptest.Tenant, paymentID)
		require.NoError(a.t, err)
		ids = nil
		for n, status := range statuses {
			id, err := payment.IntendRefund(a.t.Context(), tx, shoptest.Tenant, p, int64(n+1)*1000, fmt.Sprint("refund", n))
			require.NoError(a.t, err)
			_, _, err = payment.AnnounceRefund(a.t.Context(), tx, shoptest.Tenant, id)
			require.NoError(a.t, err)
			require.NoError(a.t, payment.PutRefund(a.t.Context(), tx, shoptest.Tenant, id, status, payment.RefundAnswer{Code: "311"}, 0))
			ids = append(ids, id)
		}
		return nil
	})
	return ids
}

func TestReconciliation_RefundsToldOnlyByTheirSumAreThereIfTheSumIs(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{})
	a.bank.bySum = true
	_, whole, amount := a.sell()
	_, less, _ := a.sell()
	for _, of := range []string{whole, less} {
		a.given(of, "succeeded", "succeeded")
		answer := shoptest.Approved(of, amount)
		answer.Refunded = 3000
		a.bank.answers[of] = answer
	}
	a.bank.answers[less] = shoptest.Approved(less, amount)
	a.compare(false)
	require.Equal(t, "matched none, matched none, matched none", a.item(whole))
	require.NotContains(t, a.item(less), "matched none, matched none", "nothing has gone back of it")
	require.Equal(t, []string{whole, less}, slices.DeleteFunc(slices.Clone(a.bank.asked), func(what string) bool { return what == "refund" }), "each payment is asked about once")
}

func TestReconciliation_RefundOfOursThatWasRefusedHidesNoneInThePanel(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{})
	_, of, amount := a.sell()
	a.given(of, "needs_attention")
	answer := shoptest.Approved(of, amount)
	answer.Refunded = 1000 // in the panel
	a.bank.answers[of] = answer
	a.bank.bySum = true
	a.compare(false)
	require.Contains(t, a.item(of), "missing_here repaired")
	require.Equal(t, 1, shoptest.Value[int](t, a.Shop, `SELECT count(*) FROM inbox WHERE payment_id = $1 AND event_type = 'reconciliation'`, of))
}

func TestOpenYesterday_OpensEachConfiguredGatewayOfEachTenant(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{Statement: true})
	a.AddTenant(t, "other")
	for _, c := range [][2]string{{shoptest.Tenant, "transbank"}, {shoptest.Tenant, "stripe"}, {"other", "khipu"}, {"other", "chilexpress"}} {
		a.Exec(t, `INSERT INTO provider_credentials (tenant, provider, key_id, box) VALUES ($1,$2,'k','x')`, c[0], c[1])
	}
	now := a.day.From.Add(9 * time.Hour)
	for range 2 {
		page, err := a.do.OpenYesterday(t.Context(), now, reconcile.Due{})
		require.NoError(t, err)
		require.Len(t, page.Opened, 3)
		require.Nil(t, page.Next)
	}
	require.Equal(t, 3, shoptest.Value[int](t, a.Shop, `SELECT count(*) FROM reconciliations WHERE status = 'running' AND day = $1::date - 1`, a.day.Date))
	page, err := a.do.OpenYesterday(t.Context(), now, reconcile.Due{Tenant: shoptest.Tenant, Gateway: payment.Stripe})
	require.NoError(t, err)
	require.Len(t, page.Opened, 2)
}

func TestReconciliation_RunsToItsEndOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	a := newAudited(t, payment.Capabilities{Statement: true})
	state := func() string {
		return shoptest.Value[string](t, a.Shop, `SELECT status || ' ' || failure || ' ' || (due_at IS NOT NULL) FROM reconciliations`)
	}
	view, err := a.do.LoadReconciliation(t.Context(), a.ref)
	require.NoError(t, err)
	require.Equal(t, activities.ReconciliationView{Gateway: payment.Transbank, Date: a.day.Date}, view)
	require.NoError(t, a.do.FailReconciliation(t.Context(), a.ref, "no answer"))
	require.Equal(t, "failed no answer false", state())
	require.NoError(t, a.do.ResumeReconciliation(t.Context(), a.ref))
	require.Equal(t, "running  true", state())
	a.Do(t, func(tx pgx.Tx) error {
		_, _, err := reconcile.Open(t.Context(), tx, shoptest.Tenant, payment.Transbank, a.day, "file", true)
		return err
	})
	again, err := a.do.FinishReconciliation(t.Context(), a.ref)
	require.NoError(t, err)
	require.True(t, again)
	again, err = a.do.FinishReconciliation(t.Context(), a.ref)
	require.NoError(t, err)
	require.False(t, again)
	require.Equal(t, "done  false", state())
	_, err = a.do.LoadReconciliation(t.Context(), activities.ReconciliationRef{Tenant: shoptest.Tenant, ReconciliationID: "01JCQZ5Y3N8W2K4T6V7X9ABCDE"})
	require.Error(t, err)
	require.False(t, errors.Is(err, context.Canceled))
}
