package activities_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/counting"
)

// engine is a Temporal that knows the runs it is told of.
type engine struct {
	client.Client
	runs map[string]*workflowservice.DescribeWorkflowExecutionResponse
	// bad and wedged are what its two searches find.
	bad, wedged []string
	away        error
}

func (e *engine) DescribeWorkflowExecution(_ context.Context, workflowID, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	if e.away != nil {
		return nil, e.away
	}
	if d, ok := e.runs[workflowID]; ok {
		return d, nil
	}
	return nil, serviceerror.NewNotFound("workflow not found")
}

func (e *engine) ListWorkflow(_ context.Context, in *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	if e.away != nil {
		return nil, e.away
	}
	ids := e.bad
	if strings.Contains(in.GetQuery(), "TemporalReportedProblems") {
		ids = e.wedged
	}
	out := &workflowservice.ListWorkflowExecutionsResponse{}
	for _, workflowID := range ids {
		out.Executions = append(out.Executions, &workflowpb.WorkflowExecutionInfo{Execution: &commonpb.WorkflowExecution{WorkflowId: workflowID}})
	}
	return out, nil
}

func run(status enumspb.WorkflowExecutionStatus, taskAttempts int32) *workflowservice.DescribeWorkflowExecutionResponse {
	d := &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: status}}
	if taskAttempts > 0 {
		d.PendingWorkflowTask = &workflowpb.PendingWorkflowTaskInfo{Attempt: taskAttempts}
	}
	return d
}

var running = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING

type sweeping struct {
	*shoptest.Shop
	*activities.Sweeps
	temporal *engine

	mu        sync.Mutex
	restarted []string
	told      []string
	fail      error
}

func newSweeping(t *testing.T) *sweeping {
	t.Helper()
	s := &sweeping{Shop: shoptest.New(t, func(r *tenant.Settings) { r.Limits = tenant.HoldLimits{} }), temporal: &engine{runs: map[string]*workflowservice.DescribeWorkflowExecutionResponse{}}}
	s.Product(t, "A", 10_000, 50)
	s.Sweeps = &activities.Sweeps{DB: s.Shop.DB, Temporal: s.temporal, Namespace: "default", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Restart: func(_ context.Context, kind, tenant, subject string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.restarted = append(s.restarted, kind+":"+tenant+":"+subject)
			return s.fail
		},
		TellShort: func(_ context.Context, tenant string, l stock.Shorted) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, fmt.Sprintf("%s %s %s %d", tenant, l.OrderID, l.CheckoutID, l.Units))
			return s.fail
		}}
	return s
}

func (s *sweeping) view(t *testing.T, checkoutID string) checkout.View {
	t.Helper()
	v, err := checkout.Load(t.Context(), s.Shop.DB, shoptest.Tenant, checkoutID)
	require.NoError(t, err)
	return v
}

func (s *sweeping) problems(t *testing.T) []string {
	t.Helper()
	return shoptest.List[string](t, s.Shop, `SELECT workflow_id || ' ' || problem FROM run_problems ORDER BY 1`)
}

func workflowID(checkoutID string) string { return "checkout:" + shoptest.Tenant + ":" + checkoutID }

func TestSweep_FreesHoldsThatOutlivedTheirTimeByThirtySeconds(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	reserved := func() int {
		return shoptest.Value[int](t, s.Shop, `SELECT reserved FROM stock_levels`)
	}
	var ids []string
	for range 3 {
		checkoutID, _ := s.Offer(t, shoptest.Submission("A", 2))
		ids = append(ids, checkoutID)
	}
	s.Age(t, s.view(t, ids[0]).HoldID, 31*time.Second)
	s.Age(t, s.view(t, ids[1]).HoldID, 20*time.Second) // its workflow may still be at it
	for range 2 {
		require.NoError(t, s.Sweep(t.Context()))
		require.Equal(t, checkout.Expired, s.view(t, ids[0]).Status)
		require.Equal(t, checkout.AwaitingPayment, s.view(t, ids[1]).Status)
		require.Equal(t, checkout.AwaitingPayment, s.view(t, ids[2]).Status)
		require.Equal(t, 4, reserved())
	}
	s.CheckBooks(t)
}

func TestSweep_FreesReservationsAndWhatWasHeldAgain(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	checkoutID, _ := s.Offer(t, shoptest.Submission("A", 2))
	s.Age(t, s.view(t, checkoutID).HoldID, time.Second)
	_, err := checkout.EndUnpaid(t.Context(), s.Shop.DB, shoptest.Tenant, checkoutID, checkout.Expired)
	require.NoError(t, err)
	v, ok, err := checkout.HoldAgain(t.Context(), s.Shop.DB, shoptest.Tenant, checkoutID)
	require.NoError(t, err)
	require.True(t, ok)
	alone := id.New()
	s.Exec(t, `INSERT INTO holds (tenant, id, channel, status, expires_at, held_until, due_at) VALUES ('acme', $1, 'b2b', 'held', now() - interval '1 minute', now() - interval '1 minute', now())`, alone)
	s.Age(t, v.HoldID, 31*time.Second)
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, []string{"expired", "expired", "expired"}, shoptest.List[string](t, s.Shop, `SELECT status FROM holds`))
	require.Equal(t, checkout.Expired, s.view(t, checkoutID).Status)
	s.CheckBooks(t)
}

func TestSweep_LeavesHoldsWhosePaymentIsInDoubt(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	for name, doubt := range map[string]string{
		"unknown":           `UPDATE payments SET status = 'unknown' WHERE id = $1`,
		"processing":        `UPDATE payments SET status = 'processing' WHERE id = $1`,
		"a commit was sent": `UPDATE payments SET settle_tried_at = now() WHERE id = $1`,
	} {
		checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
		s.Exec(t, doubt, paymentID)
		s.Age(t, s.view(t, checkoutID).HoldID, time.Hour)
		require.NoError(t, s.Sweep(t.Context()))
		require.Equal(t, checkout.AwaitingPayment, s.view(t, checkoutID).Status, name)
		require.Equal(t, "held", s.view(t, checkoutID).HoldStatus, name)
		s.Exec(t, `UPDATE payments SET status = 'declined', settle_tried_at = NULL, due_at = NULL WHERE id = $1`, paymentID)
		require.NoError(t, s.Sweep(t.Context()))
		require.Equal(t, checkout.PaymentFailed, s.view(t, checkoutID).Status, name)
	}
}

func TestSweep_OneHoldThatCanNotBeFreedKeepsNoOtherFromIt(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	s.Product(t, "B", 10_000, 5)
	broken, _ := s.Offer(t, shoptest.Submission("B", 2))
	good, _ := s.Offer(t, shoptest.Submission("A", 2))
	s.Age(t, s.view(t, broken).HoldID, 2*time.Hour)
	s.Age(t, s.view(t, good).HoldID, time.Hour)
	s.Exec(t, `UPDATE stock_levels SET reserved = 1 WHERE sku = 'B'`) // a counter that somebody has damaged
	require.ErrorContains(t, s.Sweep(t.Context()), "no_unit_promised_twice")
	require.Equal(t, checkout.Expired, s.view(t, good).Status)
	require.Equal(t, checkout.AwaitingPayment, s.view(t, broken).Status)
}

func TestSweep_TakesUpCheckoutsWhoseStartWasLost(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	fresh := s.Submit(t, shoptest.Submission("A", 1))
	waiting := s.Submit(t, shoptest.Submission("A", 1))
	atWork := s.Submit(t, shoptest.Submission("A", 1))
	given := s.Submit(t, shoptest.Submission("A", 1))
	s.Exec(t, `UPDATE checkouts SET created_at = now() - interval '2 minutes', due_at = now() - interval '1 minute' WHERE id <> $1`, fresh)
	s.Exec(t, `UPDATE checkouts SET caller_waits_until = now() - interval '11 minutes' WHERE id = $1`, given)
	s.temporal.runs[workflowID(atWork)] = run(running, 0)
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, []string{workflowID(waiting)}, s.restarted)
	v := s.view(t, given)
	require.Equal(t, checkout.Cancelled, v.Status)
	require.Equal(t, checkout.FailAbandoned, v.FailureCode)
	require.Equal(t, checkout.Reserving, s.view(t, fresh).Status)
}

func TestSweep_RestartsRunsThatTemporalHasLost(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	open, _ := s.Offer(t, shoptest.Submission("A", 1))
	late, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	s.temporal.runs[workflowID(open)] = run(running, 0)
	require.NoError(t, s.Sweep(t.Context()))
	require.Empty(t, s.restarted, "nothing is past due")
	s.Exec(t, `UPDATE checkouts SET due_at = now() - interval '1 second'`)
	s.Exec(t, `UPDATE payments SET due_at = now() - interval '1 second' WHERE id = $1`, paymentID)
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, []string{workflowID(late)}, s.restarted, "once, though its payment is past due too")
	require.Empty(t, s.problems(t))

	// A run that completed while its row is open is begun again too.
	s.temporal.runs[workflowID(late)] = run(enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, 0)
	require.NoError(t, s.Sweep(t.Context()))
	require.Len(t, s.restarted, 2)

	s.fail = errors.New("no")
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, []string{workflowID(late) + " missing"}, s.problems(t), "what can't be restarted is listed")
}

func TestSweep_NamesWhatIsWrongWithARun(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	want := map[string]*workflowservice.DescribeWorkflowExecutionResponse{
		"terminated": run(enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, 0),
		"failed":     run(enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, 0),
		"timed_out":  run(enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, 0),
		"cancelled":  run(enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED, 0),
		"wedged":     run(running, 6),
		"":           run(running, 5),
	}
	var listed []string
	for problem, d := range want {
		checkoutID, _ := s.Offer(t, shoptest.Submission("A", 1))
		s.temporal.runs[workflowID(checkoutID)] = d
		if problem != "" {
			listed = append(listed, workflowID(checkoutID)+" "+problem)
		}
	}
	slices.Sort(listed)
	s.Exec(t, `UPDATE checkouts SET due_at = now() - interval '1 second'`)
	for range 2 {
		require.NoError(t, s.Sweep(t.Context()))
		require.Equal(t, listed, s.problems(t))
	}
	require.Empty(t, s.restarted, "somebody decided that: it waits for a person")

	// What is at work again, or settled, is forgotten.
	for workflowID := range s.temporal.runs {
		s.temporal.runs[workflowID] = run(running, 0)
	}
	s.Exec(t, `UPDATE run_problems SET checked_at = now() - interval '3 minutes'`)
	require.NoError(t, s.Sweep(t.Context()))
	require.Empty(t, s.problems(t))
}

func TestSweep_FindsRunsThatEndedBadlyBeforeTheirRowsAreLate(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	terminated, _ := s.Offer(t, shoptest.Submission("A", 1))
	wedged, _ := s.Offer(t, shoptest.Submission("A", 1))
	settled, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	_, err := checkout.Record(t.Context(), s.Shop.DB, shoptest.Tenant, settled, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 13_990)})
	require.NoError(t, err)
	require.NoError(t, checkout.Settled(t.Context(), s.Shop.DB, shoptest.Tenant, settled))
	s.temporal.runs[workflowID(terminated)] = run(enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, 0)
	s.temporal.runs[workflowID(settled)] = run(enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, 0)
	s.temporal.runs[workflowID(wedged)] = run(running, 1)
	s.temporal.bad = []string{workflowID(terminated), workflowID(settled), "somebody-elses", "checkout:nobody:" + id.New()}
	s.temporal.wedged = []string{workflowID(wedged)}
	require.NoError(t, s.Sweep(t.Context()))
	found := []string{workflowID(terminated) + " terminated", workflowID(wedged) + " wedged"}
	slices.Sort(found)
	require.Equal(t, found, s.problems(t))
}

func TestSweep_GoesOnWithTheRestWhileTemporalIsAway(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	checkoutID, _ := s.Offer(t, shoptest.Submission("A", 1))
	s.Age(t, s.view(t, checkoutID).HoldID, time.Hour)
	s.Exec(t, `UPDATE checkouts SET due_at = now() - interval '1 second'`)
	s.Exec(t, `INSERT INTO idempotency_keys (tenant, key, method, path, body_hash, created_at) VALUES ('acme', 'old', 'POST', '/', '', now() - interval '30 days')`)
	s.temporal.away = serviceerror.NewUnavailable("connection refused")
	err := s.Sweep(t.Context())
	require.ErrorContains(t, err, "connection refused")
	require.Equal(t, checkout.Expired, s.view(t, checkoutID).Status, "holds end without Temporal")
	require.Zero(t, shoptest.Value[int](t, s.Shop, `SELECT count(*) FROM idempotency_keys`))
	require.Empty(t, s.problems(t), "a run that nobody could ask about is not called missing")
}

func TestCheckAll_AsksAboutEveryOpenRow(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	var want []string
	for range 3 {
		checkoutID, _ := s.Offer(t, shoptest.Submission("A", 1))
		want = append(want, workflowID(checkoutID))
	}
	cancelled, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	_, err := checkout.EndUnpaid(t.Context(), s.Shop.DB, shoptest.Tenant, cancelled, checkout.Cancelled)
	require.NoError(t, err)
	r, err := checkout.Record(t.Context(), s.Shop.DB, shoptest.Tenant, cancelled, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 13_990)})
	require.NoError(t, err)
	want = append(want, workflowID(cancelled), fmt.Sprintf("refund:%s:%s", shoptest.Tenant, r.RefundID))
	require.NoError(t, s.CheckAll(t.Context()))
	require.ElementsMatch(t, want, s.restarted)
}

// A payment that nobody closed may be approved after its checkout was swept.
func TestSweep_AnApprovalAfterItIsALateOne(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	checkoutID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	s.Age(t, s.view(t, checkoutID).HoldID, time.Hour)
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, payment.StatusExpired, s.view(t, checkoutID).Attempts[0].Status)
	r, err := checkout.Record(t.Context(), s.Shop.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, 13_990)})
	require.NoError(t, err)
	require.True(t, r.Paid)
	s.CheckBooks(t)
}

func TestSweep_EndsLotsPastTheirDayByTheTenantsClockAndTellsWhoLosesUnits(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	s.Bin(t, "SCL-1", "P-1", "pick")
	// In Kiritimati it is always one or two days later than in Niue.
	zone := func(name string) { s.Change(t, func(r *tenant.Settings) { r.TimeZone = name }) }
	zone("Pacific/Niue")
	today := shoptest.Value[time.Time](t, s.Shop, `SELECT (now() AT TIME ZONE 'Pacific/Niue')::date`)
	lots := 60
	for i := range lots {
		s.Do(t, func(tx pgx.Tx) error {
			lot := fmt.Sprintf("L%d", i)
			if _, err := stock.PutLot(t.Context(), tx, shoptest.Tenant, stock.Lot{SKU: "A", Lot: lot, ExpiresOn: &today}); err != nil {
				return err
			}
			_, err := stock.Move(t.Context(), tx, shoptest.Tenant, stock.BinMovement{SKU: "A", Warehouse: "SCL-1", Lot: lot, Quantity: 1, To: stock.In("P-1", stock.Available), Reason: "receipt", By: stock.By{Person: "ana"}})
			return err
		})
	}
	checkoutID, _ := s.Offer(t, shoptest.Submission("A", 52))
	s.fail = errors.New("nobody listens")
	require.NoError(t, s.Sweep(t.Context()))
	require.Empty(t, s.told, "a lot is good on its day")
	require.Equal(t, 110, shoptest.Value[int](t, s.Shop, `SELECT on_hand FROM stock_levels WHERE sku = 'A'`))

	zone("Pacific/Kiritimati")
	require.NoError(t, s.Sweep(t.Context()), "a run that can't be told is found later by its row")
	require.Equal(t, []string{"acme  " + checkoutID + " 2"}, s.told)
	require.Equal(t, 50, shoptest.Value[int](t, s.Shop, `SELECT on_hand FROM stock_levels WHERE sku = 'A'`))
	require.Equal(t, lots, shoptest.Value[int](t, s.Shop, `SELECT count(*)::int FROM lots WHERE status = 'expired'`))
	require.NoError(t, s.Sweep(t.Context()))
	require.Len(t, s.told, 1)
	s.CheckBooks(t)
}

func TestSweep_MakesTheDaysCountsOnceAndBeginsTheirRuns(t *testing.T) {
	t.Parallel()
	s := newSweeping(t)
	s.Bin(t, "SCL-1", "P-1", "pick")
	s.Bin(t, "SCL-1", "P-2", "pick")
	// Whatever the hour is where the test runs, it is past the morning somewhere.
	s.Change(t, func(r *tenant.Settings) {
		r.TimeZone = "Etc/GMT-12"
		if h := time.Now().UTC().Hour(); h >= 6 {
			r.TimeZone = "Etc/UTC"
		}
	})
	s.Do(t, func(tx pgx.Tx) error {
		_, err := counting.PutPlan(t.Context(), tx, shoptest.Tenant, counting.Plan{Name: "diario", Warehouse: "SCL-1", EveryDays: 30, BinsPerDay: 1, Active: true})
		return err
	})
	require.NoError(t, s.Sweep(t.Context()))
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, []string{"plan"}, shoptest.List[string](t, s.Shop, `SELECT origin FROM counts`))
	require.Equal(t, 1, shoptest.Value[int](t, s.Shop, `SELECT count(*) FROM count_tasks`))

	s.Do(t, func(tx pgx.Tx) error {
		return counting.Ask(t.Context(), tx, shoptest.Tenant, counting.Asked{Warehouse: "SCL-1", Bin: "P-2", SKU: "A", Reason: "short_pick", Document: "pick:1"})
	})
	s.Exec(t, `UPDATE counts SET created_at = now() - interval '6 seconds'`)
	require.Empty(t, s.restarted)
	require.NoError(t, s.Sweep(t.Context()))
	want := shoptest.List[string](t, s.Shop, `SELECT 'count:acme:' || id FROM counts ORDER BY id`)
	require.ElementsMatch(t, want, s.restarted)
	require.Len(t, want, 2)

	// What a run that is gone has parked goes off the list with the next one; that
	// of a run at work stays.
	park := func(workflowID string) {
		s.Exec(t, `INSERT INTO parked (tenant, workflow_id, step, subject, reason, message, tried, verbs, due_at) VALUES ('acme',$1,'look',split_part($1, ':', 3),'step_failed','','','{retry}', now() + interval '1 hour')`, workflowID)
	}
	park(want[0])
	park(want[1])
	s.temporal.runs[want[1]] = run(running, 0)
	s.restarted = nil
	require.NoError(t, s.Sweep(t.Context()))
	require.Equal(t, want[:1], s.restarted)
	require.Equal(t, want[1:], shoptest.List[string](t, s.Shop, `SELECT workflow_id FROM parked WHERE resolved_at IS NULL`))
	delete(s.temporal.runs, want[1])

	s.Exec(t, `UPDATE counts SET watched = true, due_at = now() - interval '1 second'`)
	s.restarted = nil
	require.NoError(t, s.Sweep(t.Context()))
	require.ElementsMatch(t, want, s.restarted, "a run that Temporal has lost begins anew")
}

func TestSweep_ForgetsDeliveriesAfterThirtyDays(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Exec(t, `INSERT INTO event_endpoints (tenant, id, url, key_id, box) VALUES ('acme', '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'https://shop.example', 'k', '')`)
	s.Exec(t, `INSERT INTO event_deliveries (tenant, endpoint_id, event_id, status, next_try_at, ended_at) SELECT 'acme', '01ARZ3NDEKTSV4RRFFQ69G5FAV', lpad(d::text, 26, '0'), 'delivered', NULL, now() - make_interval(days => d) FROM generate_series(28, 33) d`)
	sweeps := &activities.Sweeps{DB: s.DB, Temporal: &engine{}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	require.NoError(t, sweeps.Sweep(t.Context()))
	require.Equal(t, 2, shoptest.Value[int](t, s, `SELECT count(*) FROM event_deliveries`))
}
