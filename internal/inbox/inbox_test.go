package inbox_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const shop = "shop"

type bundle struct {
	t     *testing.T
	db    *postgres.DB
	super string
}

func setup(t *testing.T) bundle {
	t.Helper()
	database := pgtest.New(t)
	db, err := postgres.Open(t.Context(), database.AppURL, postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	b := bundle{t: t, db: db, super: database.SuperuserURL}
	b.in(func(tx pgx.Tx) error {
		return tenant.Put(t.Context(), tx, tenant.Tenant{ID: shop, Name: shop, Settings: tenant.Defaults(shop)})
	})
	return b
}

func (b bundle) in(fn func(tx pgx.Tx) error) {
	b.t.Helper()
	require.NoError(b.t, b.db.InTenant(b.t.Context(), shop, fn))
}

func (b bundle) store(n inbox.News) (s inbox.Stored) {
	b.t.Helper()
	b.in(func(tx pgx.Tx) (err error) { s, err = inbox.Store(b.t.Context(), tx, shop, n); return err })
	return s
}

func (b bundle) claim(n int) (rows []inbox.Row) {
	b.t.Helper()
	require.NoError(b.t, b.db.AsSystem(b.t.Context(), func(tx pgx.Tx) (err error) { rows, err = inbox.Claim(b.t.Context(), tx, n); return err }))
	return rows
}

func (b bundle) sql(query string, args ...any) {
	b.t.Helper()
	conn, err := pgx.Connect(b.t.Context(), b.super)
	require.NoError(b.t, err)
	_, err = conn.Exec(b.t.Context(), query, args...)
	require.NoError(b.t, err)
	require.NoError(b.t, conn.Close(b.t.Context()))
}

// attempt writes a payment without a checkout.
func (b bundle) attempt(reference, captureRef string) string {
	b.t.Helper()
	paymentID := id.New()
	b.sql(`INSERT INTO payments (tenant, id, attempt, gateway, amount, currency, status, reference, capture_ref, due_at) VALUES ('shop',$1,1,'stripe',100,'CLP','pending',$2,$3, now())`, paymentID, reference, captureRef)
	return paymentID
}

func TestStore_SignedEventsAreKeptOnceForEver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: "evt_1", EventType: "x", Signed: true, Claim: payment.OutcomeApproved}
	first := b.store(n)
	require.False(t, first.Duplicate)
	b.in(func(tx pgx.Tx) error { return inbox.MarkApplied(t.Context(), tx, shop, first.ID) })
	again := b.store(n)
	require.Equal(t, inbox.Stored{ID: first.ID, Duplicate: true, Pending: false}, again)
}

func TestStore_HintsJoinOnlyOneThatIsNotAppliedYet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := inbox.News{Gateway: payment.Transbank, Kind: inbox.Return, EventType: "finished", PaymentID: id.New(), Reference: "tok", Detail: payment.Return{Kind: payment.ReturnFinished, Token: "tok"}}
	var wg sync.WaitGroup
	ids := make([]string, 10)
	for i := range ids {
		wg.Go(func() { ids[i] = b.store(n).ID })
	}
	wg.Wait()
	for _, other := range ids {
		require.Equal(t, ids[0], other)
	}
	b.in(func(tx pgx.Tx) error { return inbox.MarkIgnored(t.Context(), tx, shop, ids[0], "nothing new") })
	require.False(t, b.store(n).Duplicate, "a later return is news again")
}

func TestClaim_FindsThePaymentAndBacksOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	early := b.store(inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: "evt_1", Reference: "pi_1", Signed: true, Claim: payment.OutcomeApproved})
	require.Empty(t, b.claim(10), "who received it goes first")
	b.sql(`UPDATE inbox SET next_attempt_at = now()`)
	rows := b.claim(10)
	require.Len(t, rows, 1)
	require.Empty(t, rows[0].PaymentID, "not known yet")
	require.Equal(t, 1, rows[0].Attempts)
	require.Empty(t, b.claim(10), "put off")

	paymentID := b.attempt("cs_1", "pi_1")
	b.sql(`UPDATE inbox SET next_attempt_at = now()`)
	rows = b.claim(10)
	require.Len(t, rows, 1)
	require.Equal(t, paymentID, rows[0].PaymentID)
	require.Equal(t, early.ID, rows[0].ID)
	require.Equal(t, payment.OutcomeApproved, rows[0].Claim)

	settle := func(askedAt time.Time, outcome payment.Outcome) (left int) {
		b.in(func(tx pgx.Tx) error {
			if err := inbox.SettleFor(t.Context(), tx, shop, paymentID, askedAt, outcome, true, ""); err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), `SELECT count(*) FROM inbox WHERE status = 'pending'`).Scan(&left)
		})
		return left
	}
	require.Equal(t, 1, settle(time.Now().Add(-time.Hour), payment.OutcomeDeclined), "what came after the question is not answered by it")
	require.Equal(t, 1, settle(time.Now().Add(time.Hour), payment.OutcomePending), "a claim of approval waits for an answer")
	require.Zero(t, settle(time.Now().Add(-time.Hour), payment.OutcomeApproved), "an approval covers the claim, whenever it came")
	b.sql(`UPDATE inbox SET next_attempt_at = now()`)
	require.Empty(t, b.claim(10))
}

func TestClaim_TwoLoopsNeverTakeTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 20 {
		b.store(inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: id.New(), Signed: true})
	}
	b.sql(`UPDATE inbox SET next_attempt_at = now()`)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	for range 4 {
		wg.Go(func() {
			for _, r := range b.claim(7) {
				mu.Lock()
				seen[r.ID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, n := range seen {
		require.Equal(t, 1, n)
	}
}

func TestFindPayment_ByIdReferenceOrCaptureAndOnlyOfItsGateway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	paymentID := b.attempt("cs_1", "pi_1")
	find := func(gateway payment.Name, byID, reference string) (ok bool) {
		b.in(func(tx pgx.Tx) (err error) {
			_, ok, err = inbox.FindPayment(t.Context(), tx, shop, gateway, byID, reference)
			return err
		})
		return ok
	}
	require.True(t, find(payment.Stripe, paymentID, ""))
	require.True(t, find(payment.Stripe, "", "cs_1"))
	require.True(t, find(payment.Stripe, "", "pi_1"))
	require.False(t, find(payment.Transbank, paymentID, ""))
	require.False(t, find(payment.Stripe, "", ""))
	require.False(t, find(payment.Stripe, id.New(), "pi_1"), "an id that is not ours is no payment of ours")
}

func TestSettleFor_AClaimThatTheProviderDoesNotConfirmIsIgnored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	paymentID := b.attempt("cs_1", "pi_1")
	lie := b.store(inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: "evt_1", PaymentID: paymentID, Signed: true, Claim: payment.OutcomeApproved})
	truth := b.store(inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: "evt_2", PaymentID: paymentID, Signed: true, Claim: payment.OutcomeDeclined})
	b.in(func(tx pgx.Tx) error {
		return inbox.SettleFor(t.Context(), tx, shop, paymentID, time.Now().Add(time.Hour), payment.OutcomeDeclined, true, "")
	})
	status := func(inboxID string) (s string) {
		b.in(func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT status || ' ' || reason FROM inbox WHERE id = $1`, inboxID).Scan(&s)
		})
		return s
	}
	require.Equal(t, "ignored the provider does not confirm it: declined", status(lie.ID))
	require.Equal(t, "applied ", status(truth.ID))
}
