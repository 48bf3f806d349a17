package workers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"justlogistics/internal/carriers"
	"justlogistics/internal/id"
	"justlogistics/internal/order"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/workflows"
)

// engine notes which runs are told, unless it is away.
type engine struct {
	client.Client

	mu   sync.Mutex
	told map[string]int
	away bool
	// runs are refunds' that are at work, news counts what those were told.
	runs map[string]bool
	news map[string]int
	// wedged is a run that cannot be told.
	wedged string
}

func (c *engine) tell(workflowID string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.away:
		return serviceerror.NewUnavailable("connection refused")
	case workflowID == c.wedged:
		return serviceerror.NewInvalidArgument("it has too many signals")
	}
	c.told[workflowID]++
	return nil
}

func (c *engine) SignalWithStartWorkflow(_ context.Context, workflowID, signal string, _ any, _ client.StartWorkflowOptions, workflow any, _ ...any) (client.WorkflowRun, error) {
	if signal != workflows.SignalChanged || workflow != workflows.FulfillmentName {
		return nil, errors.New("another run is meant")
	}
	return nil, c.tell(workflowID)
}

func (c *engine) SignalWorkflow(_ context.Context, workflowID, runID, signal string, _ any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.away:
		return serviceerror.NewUnavailable("connection refused")
	case signal != workflows.SignalNews || runID != "":
		return errors.New("another signal is meant")
	case !c.runs[workflowID]:
		return serviceerror.NewNotFound("no such run")
	}
	c.news[workflowID]++
	return nil
}

func (c *engine) ExecuteWorkflow(_ context.Context, opts client.StartWorkflowOptions, _ any, _ ...any) (client.WorkflowRun, error) {
	return nil, c.tell(opts.ID)
}

func newWakes(t *testing.T) (*shoptest.Shop, *engine, *wakeLoop) {
	t.Helper()
	s := shoptest.New(t)
	c := &engine{told: map[string]int{}, runs: map[string]bool{}, news: map[string]int{}}
	return s, c, &wakeLoop{db: s.DB, temporal: c, log: slog.New(slog.DiscardHandler)}
}

func wakeUp(t *testing.T, s *shoptest.Shop, kind string, subjects ...string) {
	t.Helper()
	for _, subject := range subjects {
		s.Exec(t, `INSERT INTO wakes (tenant, kind, subject) VALUES ($1, $2, $3)`, shoptest.Tenant, kind, subject)
	}
}

func left(t *testing.T, s *shoptest.Shop) int {
	t.Helper()
	return shoptest.Value[int](t, s, `SELECT count(*)::int FROM wakes`)
}

func run(kind, subject string) string { return workflows.ID(kind, shoptest.Tenant, subject) }

func TestWakes_ARunIsToldOnceOfAllItsChanges(t *testing.T) {
	t.Parallel()
	s, c, l := newWakes(t)
	wakeUp(t, s, "fulfillment", "A", "B", "A", "A")
	wakeUp(t, s, "refund", "R")
	n, err := l.round(t.Context())
	require.NoError(t, err)
	require.Equal(t, 5, n)
	require.Equal(t, map[string]int{run("fulfillment", "A"): 1, run("fulfillment", "B"): 1, run("refund", "R"): 1}, c.told)
	require.Zero(t, left(t, s))
	n, err = l.round(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestWakes_ARefundAtWorkHearsOfItsPaymentAndOthersBegin(t *testing.T) {
	t.Parallel()
	s, c, l := newWakes(t)
	c.runs[run("refund", "R")] = true
	wakeUp(t, s, "refund", "R", "R", "S")
	_, err := l.round(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{run("refund", "R"): 1}, c.news)
	require.Equal(t, map[string]int{run("refund", "S"): 1}, c.told, "begun from its row")
	c.away = true
	wakeUp(t, s, "refund", "R")
	_, err = l.round(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, left(t, s))
}

func TestWakes_AreKeptWhileTemporalIsAway(t *testing.T) {
	t.Parallel()
	s, c, l := newWakes(t)
	c.away = true
	wakeUp(t, s, "fulfillment", "A", "B")
	for range 3 {
		n, err := l.round(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, 2, left(t, s))
	}
	c.away = false
	wakeUp(t, s, "fulfillment", "A")
	_, err := l.round(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{run("fulfillment", "A"): 1, run("fulfillment", "B"): 1}, c.told)
	require.Zero(t, left(t, s))
}

func TestWakes_ARunThatCannotBeToldHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s, c, l := newWakes(t)
	c.wedged = run("fulfillment", "A")
	wakeUp(t, s, "fulfillment", "A", "B")
	wakeUp(t, s, "nobody's", "X")
	wakeUp(t, s, "fulfillment", "C")
	n, err := l.round(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, map[string]int{run("fulfillment", "B"): 1, run("fulfillment", "C"): 1}, c.told)
	require.Equal(t, 2, left(t, s), "no word is lost")
}

func TestWakes_TwoWorkersTellEachOnce(t *testing.T) {
	t.Parallel()
	s, c, l := newWakes(t)
	s.Exec(t, `INSERT INTO wakes (tenant, kind, subject) SELECT $1, 'fulfillment', 'S' || n FROM generate_series(1, 300) n`, shoptest.Tenant)
	var wait sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wait.Go(func() {
			for n := 1; n > 0 && errs[i] == nil; {
				n, errs[i] = l.round(context.Background())
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Zero(t, left(t, s))
	require.Len(t, c.told, 300)
	for of, times := range c.told {
		require.Equal(t, 1, times, of)
	}
}

func TestTracking_ACarrierThatCannotBeAskedIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "MUG", 5000, 5)
	orderID := id.New()
	s.Do(t, func(tx pgx.Tx) error {
		p, err := stock.Place(t.Context(), tx, shoptest.Tenant, stock.Request{HoldID: orderID, Channel: "web", Wants: []stock.Want{{SKU: "MUG", Quantity: 1}}, Seconds: 900, Warehouses: []string{"SCL-1"}})
		if err != nil {
			return err
		}
		if _, err := stock.Confirm(t.Context(), tx, shoptest.Tenant, orderID, orderID); err != nil {
			return err
		}
		n := order.New{ID: orderID, Number: "N-1", Channel: "web", Currency: "CLP", HoldID: orderID, DispatchHours: 24, Customer: []byte(`{}`), Shipping: []byte(`{"comuna":"Providencia","region":"RM"}`)}
		var held []stock.HeldLine
		for _, l := range p.Lines {
			n.Lines = append(n.Lines, order.NewLine{SKU: l.SKU, Name: l.SKU, Quantity: l.Quantity, UnitPrice: 5000, Tax: "iva"})
			held = append(held, stock.HeldLine{Line: l})
		}
		return order.Create(t.Context(), tx, shoptest.Tenant, n, held)
	})
	s.Exec(t, `UPDATE shipments SET carrier = 'correos'`)
	s.Exec(t, `INSERT INTO parcels (tenant, id, shipment_id, position, reference, weight_grams, length_mm, width_mm, height_mm, packed_by, tracking, state, track_at)
	  SELECT tenant, $1, id, 1, 'AAAAAAAAAAAAAAAA', 100, 1, 1, 1, 'ana', 'T-1', 'announced', now() FROM shipments`, id.New())
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*)::int FROM parcels`))
	keys, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	l := &trackingLoop{db: s.DB, carriers: carriers.New(s.DB, keys), carrier: shipping.Correos, pace: shipping.Pace{Least: time.Minute, Longest: time.Hour}, log: slog.New(slog.DiscardHandler)}
	n, err := l.round(t.Context())
	require.ErrorContains(t, err, "not configured")
	require.Equal(t, 1, n)
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT quiet FROM parcels`))
	n, err = l.round(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "not at once")
	for range 20 {
		s.Exec(t, `UPDATE parcels SET track_at = now()`)
		_, err = l.round(t.Context())
		require.ErrorContains(t, err, "not configured")
	}
	require.True(t, shoptest.Value[bool](t, s, `SELECT track_at BETWEEN now() + interval '59 minutes' AND now() + interval '1 hour' FROM parcels`), "longer and longer")
}
