package inbox_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
)

func (b bundle) mayAsk(paymentID, inboxID string) (may bool) {
	b.t.Helper()
	b.in(func(tx pgx.Tx) (err error) {
		may, err = inbox.MayAsk(b.t.Context(), tx, shop, paymentID, inboxID)
		return err
	})
	return may
}

func (b bundle) due(inboxID string) (seconds int) {
	b.t.Helper()
	b.in(func(tx pgx.Tx) error {
		return tx.QueryRow(b.t.Context(), `SELECT round(extract(epoch FROM next_attempt_at - now()))::int FROM inbox WHERE id = $1`, inboxID).Scan(&seconds)
	})
	return seconds
}

func TestMayAsk_GivesOneOfManyTheLeaveOncePerMinute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	paymentID, other := b.attempt("tok-1", ""), b.attempt("tok-2", "")
	entries := make([]string, 20)
	for i := range entries {
		entries[i] = b.store(inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, EventType: id.New(), PaymentID: paymentID}).ID
	}
	var given atomic.Int64
	var all sync.WaitGroup
	for _, e := range entries {
		all.Go(func() {
			if b.mayAsk(paymentID, e) {
				given.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, given.Load())
	for _, e := range entries {
		require.InDelta(t, 60, b.due(e), 5)
	}
	require.True(t, b.mayAsk(other, entries[0]), "another payment has its own minute")
	b.sql(`UPDATE payment_hints SET asked_at = asked_at - interval '1 minute'`)
	require.True(t, b.mayAsk(paymentID, entries[1]))
	require.False(t, b.mayAsk(paymentID, entries[2]))
}

func TestNotAsked_GivesTheLeaveBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	paymentID := b.attempt("tok-1", "")
	e := b.store(inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, PaymentID: paymentID}).ID
	require.True(t, b.mayAsk(paymentID, e))
	b.in(func(tx pgx.Tx) error { return inbox.NotAsked(t.Context(), tx, shop, paymentID, e) })
	require.InDelta(t, 3, b.due(e), 2)
	require.True(t, b.mayAsk(paymentID, e))
}

func TestClaim_TellsHintsFromProofsAndNamesTheRefundsRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	paymentID, refundID := b.attempt("tok-1", ""), id.New()
	b.sql(`UPDATE payments SET status = 'captured', captured_amount = 100`)
	b.sql(`INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, reference, due_at) VALUES ('shop',$1,$2,10,'CLP','goodwill','pending','re_1', now())`, refundID, paymentID)
	var found inbox.Refund
	for _, named := range [][2]string{{refundID, ""}, {"", "re_1"}, {"unheard of", "re_1"}} {
		b.in(func(tx pgx.Tx) error {
			r, ok, err := inbox.FindRefund(t.Context(), tx, shop, payment.Stripe, named[0], named[1])
			require.True(t, ok)
			found = r
			return err
		})
		require.Equal(t, inbox.Refund{ID: refundID, PaymentID: paymentID, Run: refundID}, found)
	}
	for _, named := range [][2]string{{"", ""}, {id.New(), ""}, {"", "re_2"}} {
		b.in(func(tx pgx.Tx) error {
			_, ok, err := inbox.FindRefund(t.Context(), tx, shop, payment.Stripe, named[0], named[1])
			require.False(t, ok)
			return err
		})
	}
	b.in(func(tx pgx.Tx) error {
		_, ok, err := inbox.FindRefund(t.Context(), tx, shop, payment.Flow, refundID, "")
		require.False(t, ok, "of another gateway")
		return err
	})
	b.store(inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: "evt", Signed: true, PaymentID: paymentID, RefundID: refundID})
	b.store(inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, PaymentID: paymentID})
	b.store(inbox.News{Gateway: payment.Stripe, Kind: inbox.Return, PaymentID: paymentID})
	b.sql(`UPDATE inbox SET next_attempt_at = now()`)
	runs, hints := map[string]int{}, 0
	for _, r := range b.claim(10) {
		runs[r.RefundRun]++
		if r.Hint() {
			hints++
		}
	}
	require.Equal(t, map[string]int{refundID: 1, "": 2}, runs)
	require.Equal(t, 1, hints)
}
