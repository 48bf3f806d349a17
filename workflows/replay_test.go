package workflows_test

import (
	"compress/gzip"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"

	"justlogistics/activities"
	"justlogistics/internal/codec"
	"justlogistics/internal/payment"
	"justlogistics/internal/secretbox"
	"justlogistics/workers"
	"justlogistics/workflows"
)

const recorded = "testdata/histories"

// replayer runs histories with the product's own conversion of payloads.
func replayer(t *testing.T, register func(worker.WorkflowRegistry)) worker.WorkflowReplayer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(recorded, "keyring"))
	require.NoError(t, err)
	keys, err := secretbox.ParseKeyring(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	converter := codec.DataConverter(keys)
	r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: converter, FailureConverter: codec.FailureConverter(converter)})
	require.NoError(t, err)
	register(r)
	return r
}

func product(r worker.WorkflowRegistry) { workers.RegisterWorkflows(r, false) }

func replay(r worker.WorkflowReplayer, h *historypb.History) error {
	id := h.Events[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowId()
	return r.ReplayWorkflowHistoryWithOptions(log.NewStructuredLogger(slog.New(slog.DiscardHandler)), h, worker.ReplayWorkflowHistoryOptions{OriginalExecution: workflow.Execution{ID: id, RunID: "replayed"}})
}

// histories are all that are recorded, by their names.
func histories(t *testing.T) map[string]*historypb.History {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recorded, "*.json.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "run `make histories`")
	all := map[string]*historypb.History{}
	for _, f := range files {
		all[strings.TrimSuffix(filepath.Base(f), ".json.gz")] = history(t, f)
	}
	return all
}

func history(t *testing.T, path string) *historypb.History {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	zip, err := gzip.NewReader(f)
	require.NoError(t, err)
	text, err := io.ReadAll(zip)
	require.NoError(t, err)
	h := &historypb.History{}
	require.NoError(t, protojson.Unmarshal(text, h))
	return h
}

func TestReplay_EveryRecordedHistoryRunsThroughTodaysCode(t *testing.T) {
	t.Parallel()
	for name, h := range histories(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, replay(replayer(t, product), h))
		})
	}
}

// TestReplay_EveryRecordedHistoryRunsThroughTodaysCodeFromItsMiddle cuts each
// history where a worker that takes the run over would have found it: after each
// workflow task that was started.
func TestReplay_EveryRecordedHistoryRunsThroughTodaysCodeFromItsMiddle(t *testing.T) {
	t.Parallel()
	for name, h := range histories(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cuts := 0
			for i, e := range h.Events {
				if e.EventType != enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED {
					continue
				}
				require.NoError(t, replay(replayer(t, product), &historypb.History{Events: h.Events[:i+1]}), "up to event %d", e.EventId)
				cuts++
			}
			require.NotZero(t, cuts)
		})
	}
}

func TestReplay_ThereIsAHistoryOfEveryWorkflow(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, h := range histories(t) {
		seen[h.Events[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowType().GetName()]++
	}
	for _, name := range []string{workflows.CheckoutName, workflows.LatePaymentName, workflows.ReservationName, workflows.RefundName, workflows.ShortageName, workflows.SweeperName, workflows.CaptureName, workflows.ReconciliationName, workflows.TransferName, workflows.CountName, workflows.ReceiptName} {
		require.NotZero(t, seen[name], name)
	}
}

// TestReplay_FindsTwoSwappedSteps: what a refund does, as a copy of it in three
// steps, is found to differ from the record when two of them change places.
func TestReplay_FindsTwoSwappedSteps(t *testing.T) {
	t.Parallel()
	h := history(t, filepath.Join(recorded, "late-approval-refunded.refund.json.gz"))
	require.NoError(t, replay(replayer(t, refundCopy(false)), h), "the copy does what the refund does")
	err := replay(replayer(t, refundCopy(true)), h)
	require.Error(t, err)
	require.ErrorContains(t, err, "TMPRL1100", "a non-determinism error")
}

// refundCopy registers a copy of the Refund workflow for a gateway that approves
// at once.
func refundCopy(swapped bool) func(worker.WorkflowRegistry) {
	return func(r worker.WorkflowRegistry) {
		r.RegisterWorkflowWithOptions(func(ctx workflow.Context, in workflows.RefundInput) error {
			var payments *activities.Payments
			ref := activities.RefundRef{Tenant: in.Tenant, RefundID: in.RefundID}
			database := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Second})
			var view activities.RefundView
			var answer payment.RefundAnswer
			load := func() error { return workflow.ExecuteLocalActivity(database, payments.LoadRefund, ref).Get(ctx, &view) }
			refund := func() error {
				call := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: workflows.GatewayTaskQueue(payment.Stripe), StartToCloseTimeout: time.Second})
				return workflow.ExecuteActivity(call, payments.RefundPayment, ref).Get(ctx, &answer)
			}
			put := func() error {
				return workflow.ExecuteLocalActivity(database, payments.PutRefund, ref, "succeeded", answer, 0).Get(ctx, nil)
			}
			steps := []func() error{load, refund, put}
			if swapped {
				steps[0], steps[1] = steps[1], steps[0]
			}
			for _, step := range steps {
				if err := step(); err != nil {
					return err
				}
			}
			return nil
		}, workflow.RegisterOptions{Name: workflows.RefundName})
	}
}
