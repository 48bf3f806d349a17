package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"justlogistics/internal/id"
	"justlogistics/internal/temporalclient"
)

// hollow is what Temporal and its SDK alone make of an order: two runs of the shape that
// a paid, labelled and delivered order has (its tasks, messages, timers, search
// attributes, and its activities on queues of their own), whose steps do nothing. What
// the product adds to it are the steps: the database, the gateways, the carriers.
type hollow struct {
	temporal client.Client
	seen     sync.Map // run's id -> chan struct{}: a look at the rows was taken
}

const hollowQueue, hollowCalls = "bench-hollow", "bench-hollow-calls"

// hollow runs workers for such orders and returns what runs one.
func (s *stack) hollow(b *testing.B) func(n int64) error {
	b.Helper()
	c := s.temporal(b)
	h := &hollow{temporal: c}
	own := worker.New(c, hollowQueue, worker.Options{MaxConcurrentWorkflowTaskPollers: 16})
	own.RegisterWorkflowWithOptions(h.checkout, workflow.RegisterOptions{Name: "HollowCheckout"})
	own.RegisterWorkflowWithOptions(h.fulfillment, workflow.RegisterOptions{Name: "HollowFulfillment"})
	calls := worker.New(c, hollowCalls, worker.Options{})
	calls.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: "HollowCall"})
	for _, w := range []worker.Worker{own, calls} {
		require.NoError(b, w.Start())
		b.Cleanup(w.Stop)
	}
	return h.order
}

// order takes one from its checkout to the door.
func (h *hollow) order(int64) error {
	ctx, key := context.Background(), id.New()
	attributes := temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet("bench"), temporalclient.Attention.ValueSet(false))
	begin := h.temporal.NewWithStartWorkflowOperation(client.StartWorkflowOptions{ID: "hollow-checkout:" + key, TaskQueue: hollowQueue, TypedSearchAttributes: temporal.NewSearchAttributes(
		attributes.Copy(), temporalclient.OrderState.ValueSet("awaiting_payment"), temporalclient.Channel.ValueSet("web"), temporalclient.Number.ValueSet(key)),
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING}, "HollowCheckout")
	update, err := h.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{StartWorkflowOperation: begin,
		UpdateOptions: client.UpdateWorkflowOptions{UpdateID: "begin", UpdateName: "begin", WaitForStage: client.WorkflowUpdateStageCompleted}})
	if err == nil {
		err = update.Get(ctx, nil)
	}
	if err != nil {
		return err
	}
	update, err = h.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: "hollow-checkout:" + key, UpdateID: id.New(), UpdateName: "return", WaitForStage: client.WorkflowUpdateStageCompleted})
	if err == nil {
		err = update.Get(ctx, nil)
	}
	if err != nil {
		return err
	}
	shipment := "hollow-fulfillment:" + key
	seen := make(chan struct{}, 8) // all its looks
	h.seen.Store(shipment, seen)
	defer h.seen.Delete(shipment)
	options := client.StartWorkflowOptions{ID: shipment, TaskQueue: hollowQueue, TypedSearchAttributes: attributes}
	if _, err = h.temporal.SignalWithStartWorkflow(ctx, shipment, "changed", nil, options, "HollowFulfillment"); err != nil {
		return err
	}
	for _, looks := range []int{1, 3} { // paid; wanted and labelled. What it is told last ends it
		for range looks {
			select {
			case <-seen:
			case <-time.After(time.Minute):
				return fmt.Errorf("%s stands still", shipment)
			}
		}
		if err := h.temporal.SignalWorkflow(ctx, shipment, "", "changed", nil); err != nil {
			return err
		}
	}
	return h.temporal.GetWorkflow(ctx, shipment, "").Get(ctx, nil)
}

// look stands for a step in the database.
func (h *hollow) look(ctx workflow.Context) error {
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: 5 * time.Second, Summary: "read the rows"})
	return workflow.ExecuteLocalActivity(ctx, h.looked).Get(ctx, nil)
}

func (h *hollow) looked(ctx context.Context) error {
	if seen, ok := h.seen.Load(activity.GetInfo(ctx).WorkflowExecution.ID); ok {
		seen.(chan struct{}) <- struct{}{}
	}
	return nil
}

// call stands for a call to a gateway or a carrier.
func (h *hollow) call(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: hollowCalls, StartToCloseTimeout: 12 * time.Second, Summary: "call somebody"})
	return workflow.ExecuteActivity(ctx, "HollowCall").Get(ctx, nil)
}

func (h *hollow) checkout(ctx workflow.Context) error {
	begun, paid := false, false
	in := func(name string, done *bool, steps ...func(workflow.Context) error) error {
		return workflow.SetUpdateHandler(ctx, name, func(ctx workflow.Context) error {
			err := each(ctx, steps...)
			*done = true
			return err
		})
	}
	if err := in("begin", &begun, h.look, h.call, h.look); err != nil {
		return err
	}
	if err := in("return", &paid, h.call, h.look); err != nil {
		return err
	}
	if err := workflow.Await(ctx, func() bool { return begun }); err != nil {
		return err
	}
	if err := h.wait(ctx, 40*time.Second, func() bool { return paid }); err != nil {
		return err
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, temporalclient.OrderState.ValueSet("paid")); err != nil {
		return err
	}
	return h.look(ctx)
}

func (h *hollow) fulfillment(ctx workflow.Context) error {
	changed := workflow.GetSignalChannel(ctx, "changed")
	for _, steps := range [][]func(workflow.Context) error{
		{h.look},                                 // paid
		{h.look, h.call, h.look, h.call, h.look}, // wanted, compared, booked and labelled
	} {
		changed.Receive(ctx, nil)
		if err := each(ctx, steps...); err != nil {
			return err
		}
		if err := h.wait(ctx, 24*time.Hour, func() bool { return changed.Len() > 0 }); err != nil {
			return err
		}
	}
	return h.look(ctx) // delivered
}

// wait is for a message, under a timer.
func (h *hollow) wait(ctx workflow.Context, limit time.Duration, until func() bool) error {
	timed, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(timed, limit, workflow.TimerOptions{Summary: "waits"})
	return workflow.Await(ctx, func() bool { return timer.IsReady() || until() })
}

func each(ctx workflow.Context, steps ...func(workflow.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
