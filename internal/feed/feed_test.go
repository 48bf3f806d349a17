package feed_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/feed"
	"justlogistics/internal/id"
	"justlogistics/internal/lifecycle"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/timeline"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// checkoutOf makes a bare checkout that entries may be about.
func checkoutOf(t testing.TB, s *shoptest.Shop, tenant string) string {
	t.Helper()
	checkoutID := id.New()
	s.Exec(t, `INSERT INTO checkouts (tenant, id, number, status, channel, currency, email, customer, shipping, gateway, return_url, hold_seconds, items_total, discount_total, shipping_total, tax_total, total, caller_waits_until, closed_at)
	  VALUES ($1, $2, 'N-' || right($2, 6), 'expired', 'web', 'CLP', 'ana@example.cl', '{}', '{}', 'stripe', '', 900, 1, 0, 0, 0, 1, now(), now())`, tenant, checkoutID)
	return checkoutID
}

func publish(ctx context.Context, s *shoptest.Shop, tenant string) (n int, err error) {
	err = s.DB.AsSystem(ctx, func(tx pgx.Tx) (err error) {
		n, err = feed.Publish(ctx, tx, tenant)
		return err
	})
	return n, err
}

// reader follows a tenant's events as a storefront does.
type reader struct {
	tenant string
	filter feed.Filter
	seen   []string // the entries' own names, in their order
}

func (r *reader) page(ctx context.Context, s *shoptest.Shop, limit int) (more bool, err error) {
	var p feed.Page
	err = s.DB.InTenant(ctx, r.tenant, func(tx pgx.Tx) (err error) {
		r.filter.Limit = limit
		p, err = feed.Read(ctx, tx, r.tenant, r.filter)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, e := range p.Events {
		r.seen = append(r.seen, fmt.Sprint(e.Data["refund_id"]))
	}
	if len(p.Events) > limit || p.More && len(p.Events) < limit {
		return false, fmt.Errorf("a page of %d events, limit %d, more: %v", len(p.Events), limit, p.More)
	}
	r.filter.After = p.After
	return p.More, nil
}

// writer is a transaction that is open.
type writer struct {
	tx    pgx.Tx
	names []string
}

// Writers begin, write and end in any order, publishers die in the middle, and
// readers look in between: each reader sees each event that was committed once.
func TestRead_FollowingItSeesEveryEventOnceWhateverTheInterleaving(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	ctx := t.Context()
	died := errors.New("killed")
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		tenant := fmt.Sprintf("t%d", run)
		s.AddTenant(t, tenant)
		subject := checkoutOf(t, s, tenant)
		var open []*writer
		var committed, failures []string
		all := &reader{tenant: tenant}
		failed := &reader{tenant: tenant, filter: feed.Filter{Types: []string{"refund.failed"}, Subject: subject}}
		n := 0
		pick := func() *writer {
			if len(open) == 0 {
				rt.Skip()
			}
			return open[rapid.IntRange(0, len(open)-1).Draw(rt, "writer")]
		}
		end := func(w *writer, commit bool) {
			open = slices.DeleteFunc(open, func(o *writer) bool { return o == w })
			if !commit {
				require.NoError(rt, w.tx.Rollback(ctx))
				return
			}
			require.NoError(rt, w.tx.Commit(ctx))
			for _, name := range w.names {
				if strings.HasPrefix(name, "internal") {
					continue
				}
				committed = append(committed, name)
				if strings.HasPrefix(name, "failed") {
					failures = append(failures, name)
				}
			}
		}
		look := func(r *reader) func(*rapid.T) {
			return func(rt *rapid.T) {
				_, err := r.page(ctx, s, rapid.IntRange(1, 4).Draw(rt, "limit"))
				require.NoError(rt, err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"begin": func(rt *rapid.T) {
				if len(open) == 3 {
					rt.Skip()
				}
				tx, err := s.Super.Begin(ctx)
				require.NoError(rt, err)
				open = append(open, &writer{tx: tx})
			},
			"write": func(rt *rapid.T) {
				w := pick()
				n++
				kind := rapid.SampledFrom([]string{"refund_failed", "refund_succeeded", "internal"}).Draw(rt, "kind")
				name := fmt.Sprintf("%s-%d", strings.TrimPrefix(kind, "refund_"), n)
				require.NoError(rt, timeline.Add(ctx, w.tx, tenant, subject, kind, "system", map[string]any{"refund_id": name}))
				w.names = append(w.names, name)
			},
			"commit":   func(*rapid.T) { end(pick(), true) },
			"rollback": func(*rapid.T) { end(pick(), false) },
			"publish": func(rt *rapid.T) {
				_, err := publish(ctx, s, tenant)
				require.NoError(rt, err)
			},
			"die": func(rt *rapid.T) {
				err := s.DB.AsSystem(ctx, func(tx pgx.Tx) error {
					_, err := feed.Publish(ctx, tx, tenant)
					require.NoError(rt, err)
					return died
				})
				require.ErrorIs(rt, err, died)
			},
			"read":        look(all),
			"read failed": look(failed),
		})
		for len(open) > 0 {
			end(open[0], true)
		}
		_, err := publish(ctx, s, tenant)
		require.NoError(rt, err)
		late := &reader{tenant: tenant}
		for _, r := range []*reader{all, failed, late} {
			for more := true; more; {
				more, err = r.page(ctx, s, 3)
				require.NoError(rt, err)
			}
		}
		require.ElementsMatch(rt, committed, all.seen)
		require.Equal(rt, all.seen, late.seen, "whoever comes late sees the same order")
		require.ElementsMatch(rt, failures, failed.seen)
	})
}

func TestPublish_ManyWritersPublishersAndReadersTogether(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	ctx := t.Context()
	subject := checkoutOf(t, s, shoptest.Tenant)
	const writers, each = 6, 50
	var writing, rest sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				err := s.DB.InTenant(ctx, shoptest.Tenant, func(tx pgx.Tx) error {
					return timeline.Add(ctx, tx, shoptest.Tenant, subject, "refund_failed", "system", map[string]any{"refund_id": fmt.Sprintf("%d-%d", w, i)})
				})
				if err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	readers := []*reader{{tenant: shoptest.Tenant}, {tenant: shoptest.Tenant}}
	over := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	for range 2 {
		rest.Go(func() {
			for last := false; !last; {
				last = over()
				if _, err := publish(ctx, s, shoptest.Tenant); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		})
	}
	for _, r := range readers {
		rest.Go(func() {
			for !over() {
				if _, err := r.page(ctx, s, 7); err != nil {
					t.Errorf("read: %v", err)
				}
			}
		})
	}
	writing.Wait()
	close(done)
	rest.Wait()
	for n := 1; n > 0; {
		var err error
		n, err = publish(ctx, s, shoptest.Tenant)
		require.NoError(t, err)
	}
	for _, r := range readers {
		for more := true; more; {
			var err error
			more, err = r.page(ctx, s, 200)
			require.NoError(t, err)
		}
		require.Len(t, r.seen, writers*each)
		once := slices.Compact(slices.Sorted(slices.Values(r.seen)))
		require.Len(t, once, writers*each, "an event was seen twice")
		// What one writer did one after the other comes in that order.
		for w := range writers {
			at := -1
			for i := range each {
				next := slices.Index(r.seen, fmt.Sprintf("%d-%d", w, i))
				require.Greater(t, next, at)
				at = next
			}
		}
	}
	require.Equal(t, readers[0].seen, readers[1].seen)
}

func TestPublish_TellsOnlyWhatIsPublicAndNothingPersonal(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	ctx := t.Context()
	s.Do(t, func(tx pgx.Tx) error {
		for _, e := range []struct {
			subject, kind string
			data          map[string]any
		}{
			{checkoutID, "dispute_opened", map[string]any{"payment_id": paymentID, "gateway": "stripe", "amount": 10, "reason": "secret", "reference": "secret"}},
			{checkoutID, "stock_held", nil},
			{id.New(), "expired", nil},    // a reservation
			{checkoutID, "lost", nil},     // no order yet
			{"gateway:flow", "lost", nil}, // about nothing that is public
			{checkoutID, "checkout_refused", map[string]any{"code": "insufficient_stock", "by": "Ana"}},
		} {
			if err := timeline.Add(ctx, tx, shoptest.Tenant, e.subject, e.kind, "system", e.data); err != nil {
				return err
			}
		}
		return nil
	})
	_, err := publish(ctx, s, shoptest.Tenant)
	require.NoError(t, err)
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM events WHERE outbound`))
	number := shoptest.Value[string](t, s, `SELECT number FROM checkouts`)
	s.Do(t, func(tx pgx.Tx) error {
		p, err := feed.Read(ctx, tx, shoptest.Tenant, feed.Filter{Limit: 10})
		require.NoError(t, err)
		require.Len(t, p.Events, 2)
		require.Equal(t, "payment.disputed", p.Events[0].Type)
		require.Equal(t, map[string]any{"checkout_id": checkoutID, "number": number, "payment_id": paymentID, "gateway": "stripe", "amount": 10.0, "currency": "CLP"}, p.Events[0].Data)
		require.Equal(t, map[string]any{"checkout_id": checkoutID, "number": number, "code": "insufficient_stock"}, p.Events[1].Data)
		return nil
	})
}

// A build that does not know of the feed leaves it to the publisher.
func TestPublish_TakesWhatAnotherBuildWrote(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	subject := checkoutOf(t, s, shoptest.Tenant)
	s.Exec(t, `INSERT INTO events (tenant, subject, kind) VALUES ('acme', $1, 'expired'), ('acme', $1, 'stock_held')`, subject)
	var tenants []string
	require.NoError(t, s.DB.AsSystem(t.Context(), func(tx pgx.Tx) (err error) {
		tenants, err = feed.Waiting(t.Context(), tx)
		return err
	}))
	require.Equal(t, []string{shoptest.Tenant}, tenants)
	n, err := publish(t.Context(), s, shoptest.Tenant)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, []string{"checkout.expired"}, shoptest.List[string](t, s, `SELECT type FROM public_events`))
}

func TestPublish_LeavesWhatAnotherWriterHasInHand(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	subject := checkoutOf(t, s, shoptest.Tenant)
	s.Do(t, func(tx pgx.Tx) error {
		return timeline.Add(t.Context(), tx, shoptest.Tenant, subject, "expired", "system", nil)
	})
	_, err := publish(t.Context(), s, shoptest.Tenant)
	require.NoError(t, err)
	s.Do(t, func(tx pgx.Tx) error {
		return timeline.Add(t.Context(), tx, shoptest.Tenant, subject, "cancelled", "system", nil)
	})
	require.NoError(t, s.DB.AsSystem(t.Context(), func(tx pgx.Tx) error {
		n, err := feed.Publish(t.Context(), tx, shoptest.Tenant)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		other, err := publish(t.Context(), s, shoptest.Tenant)
		require.Zero(t, other)
		return err
	}))
	require.Equal(t, []int64{1, 2}, shoptest.List[int64](t, s, `SELECT position FROM public_events ORDER BY position`))
}

func TestCatalogue_KnowsEveryStatusThatAnOrderOrParcelMayReach(t *testing.T) {
	t.Parallel()
	types := feed.Types()
	require.True(t, slices.IsSorted(types))
	for _, m := range lifecycle.Moves() {
		if m.Machine == lifecycle.Order {
			require.Contains(t, types, "order."+string(m.To))
		}
		if m.Machine == lifecycle.Return && m.To != "label_issued" { // nothing issues labels yet
			require.Contains(t, types, "return."+string(m.To))
		}
	}
	for _, status := range []string{"handed_over", "in_transit", "out_for_delivery", "delivered", "delivery_failed", "returned_to_sender", "lost"} {
		require.Contains(t, types, "shipment."+status)
		require.True(t, feed.Public(status))
	}
	require.False(t, feed.Public("stock_held"))
}
