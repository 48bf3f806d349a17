package activities_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/internal/id"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/support"
	"justlogistics/internal/warehouse/transfer"
)

// onTheWay is a transfer of three units of A that was dispatched.
func onTheWay(t *testing.T, s *shoptest.Shop) (transferID string) {
	t.Helper()
	transferID = id.New()
	by := stock.By{Person: "ana"}
	s.Do(t, func(tx pgx.Tx) error {
		in := transfer.Request{From: "SCL-1", To: "CCP-1", Lines: []transfer.RequestLine{{SKU: "A", Quantity: 3}}}
		if err := transfer.Ask(t.Context(), tx, shoptest.Tenant, transferID, in, by); err != nil {
			return err
		}
		_, err := transfer.Dispatch(t.Context(), tx, shoptest.Tenant, transferID, transfer.Dispatching{Lines: []transfer.DispatchLine{{SKU: "A", Quantity: 3}}}, by)
		return err
	})
	return transferID
}

func TestWatches_ReadPostponeAndCloseATransfer(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 10_000, 5)
	transferID := onTheWay(t, s)
	w := &activities.Watches{DB: s.DB}
	ref := activities.WatchRef{Kind: "transfer", Tenant: shoptest.Tenant, ID: transferID}
	got, err := w.LoadWatched(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, "in_transit", got.Status)
	require.False(t, got.Over)
	require.Contains(t, got.WaitsFor, "3 of A")

	s.Exec(t, `UPDATE transfers SET due_at = now() - interval '1 hour'`)
	require.NoError(t, w.PostponeWatched(t.Context(), ref))
	got, err = w.LoadWatched(t.Context(), ref)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), got.DueAt, time.Minute)

	actionID := id.New()
	s.Exec(t, `INSERT INTO support_actions (tenant, id, workflow_id, verb, actor, api_key_id, reason, outcome) VALUES ('acme', $1, 'w', 'resolve', 'berta', 'k', 'r', 'done')`, actionID)
	for range 2 { // a worker that died after the effect
		require.NoError(t, w.ResolveWatched(t.Context(), ref, actionID))
	}
	got, err = w.LoadWatched(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, activities.Watched{Status: "received_short", Over: true}, got)
	require.Equal(t, []string{"berta 3"}, shoptest.List[string](t, s, `SELECT person || ' ' || quantity FROM transfer_entries WHERE kind = 'lost'`))
	s.CheckBooks(t)

	ref.Kind = "train"
	_, err = w.LoadWatched(t.Context(), ref)
	require.Equal(t, activities.TypeBug, activities.ErrorType(err))
}

// A worker, or the API, that dies between the dispatch and the start of its run
// leaves a row: whoever looks over all rows finds it at once, the sweep when it is
// due, and the support list shows it meanwhile.
func TestSweep_FindsGoodsOnTheWayThatNobodyLooksAfter(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	transferID := onTheWay(t, s.Shop)
	require.NoError(t, s.Sweep(t.Context()))
	require.Empty(t, s.restarted, "not due yet")
	require.NoError(t, s.CheckAll(t.Context()))
	require.Equal(t, []string{"transfer:acme:" + transferID}, s.restarted)

	s.restarted = nil
	s.Exec(t, `UPDATE transfers SET due_at = now() - interval '1 minute'`)
	s.Do(t, func(tx pgx.Tx) error {
		list, err := support.Stuck(t.Context(), tx, shoptest.Tenant, "", 10)
		require.Len(t, list, 1)
		require.Equal(t, "transfer", list[0].Of)
		require.Equal(t, "goods are on the way from SCL-1 to CCP-1 past their time", list[0].Why)
		return err
	})
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, []string{"transfer:acme:" + transferID}, s.restarted)

	s.restarted = nil
	s.temporal.runs["transfer:acme:"+transferID] = run(running, 0)
	require.NoError(t, s.Sweep(t.Context()))
	require.Empty(t, s.restarted)
}
