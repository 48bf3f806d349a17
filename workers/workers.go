// Package workers runs the lifecycles: which workflow and activity lives on
// which task queue, with which limits, and how a worker starts and stops.
package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/carriers"
	"justlogistics/internal/gateways"
	"justlogistics/internal/notice"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/refund"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/webhook"
	"justlogistics/workflows"
)

// Deps are what workers work with.
type Deps struct {
	DB        *postgres.DB
	Temporal  client.Client
	Namespace string
	Gateways  *gateways.Registry
	Carriers  *carriers.Registry
	// Tracking is how often carriers are asked about parcels.
	Tracking shipping.Pace
	// Webhooks calls the tenants' endpoints; nil leaves that to other workers.
	Webhooks  *webhook.Sender
	PublicURL string
	Logger    *slog.Logger
	// Mail takes notices to buyers; without one they are suppressed. CredentialKeys
	// open the tenants' credentials for texts.
	Mail           *notice.MailServer
	CredentialKeys *secretbox.Keyring
	// Queues limits the worker to some task queues; empty means all.
	Queues []string
	// BuildID turns worker versioning on: short workflows end on the build they
	// began with, long ones move on. For deployments that run two builds at
	// once.
	BuildID string
}

// Queues lists every task queue of this build.
func Queues() []string {
	all := []string{workflows.TaskQueue}
	for _, g := range gateways.Adapters() {
		all = append(all, workflows.GatewayTaskQueue(g))
	}
	for _, c := range carriers.Adapters() {
		all = append(all, workflows.CarrierTaskQueue(c))
	}
	return all
}

// stopTimeout is how long a stopping worker waits for what is under way; it is
// longer than the start-to-close time of a gateway's call.
const stopTimeout = 15 * time.Second

const (
	// sweepEvery is the period of the sweeper's schedule.
	sweepEvery = time.Minute
	// scheduleCheck is how often the schedule is looked for.
	scheduleCheck = 10 * time.Second
)

// Start begins to work and returns a function that stops. While Temporal is
// away it keeps trying; ctx ends that.
func Start(ctx context.Context, d Deps) (stop func(), err error) {
	for _, q := range d.Queues {
		if !slices.Contains(Queues(), q) {
			return nil, fmt.Errorf("no task queue %q; there are %s", q, strings.Join(Queues(), ", "))
		}
	}
	wanted := func(q string) bool { return len(d.Queues) == 0 || slices.Contains(d.Queues, q) }
	var started []worker.Worker
	stop = func() {
		var wg sync.WaitGroup
		for _, w := range started {
			wg.Go(w.Stop)
		}
		wg.Wait()
	}
	for _, q := range Queues() {
		if !wanted(q) {
			continue
		}
		w, err := startOne(ctx, d, q)
		if err != nil {
			stop()
			return nil, err
		}
		started = append(started, w)
	}
	if !wanted(workflows.TaskQueue) {
		return stop, nil
	}
	loops, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { (&inboxLoop{d.DB, d.Temporal, d.Logger}).run(loops) })
	wg.Go(func() { (&wakeLoop{d.DB, d.Temporal, d.Logger}).run(loops) })
	for _, c := range carriers.Adapters() {
		wg.Go(func() { (&trackingLoop{d.DB, d.Carriers, c, d.Tracking, d.Logger}).run(loops) })
	}
	wg.Go(func() { (&waveLoop{d.DB, d.Logger}).run(loops) })
	wg.Go(func() { (&feedLoop{d.DB, d.Logger}).run(loops) })
	if d.Webhooks != nil {
		wg.Go(func() { newDeliveryLoop(d.DB, d.Webhooks, d.Logger).run(loops) })
	}
	wg.Go(func() { keepSchedule(loops, d) })
	wg.Go(func() { sendNotices(loops, d) })
	stopWorkers := stop
	return func() {
		cancel()
		wg.Wait()
		stopWorkers()
	}, nil
}

// startOne starts the worker of one queue, trying until Temporal answers.
func startOne(ctx context.Context, d Deps, queue string) (worker.Worker, error) {
	for told := false; ; {
		// A worker that failed to start cannot be started again.
		w := newWorker(d, queue)
		err := w.Start()
		if err == nil {
			return w, nil
		}
		if ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		if !told {
			d.Logger.Warn("Temporal cannot be used yet, trying again", "task_queue", queue, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func newWorker(d Deps, queue string) worker.Worker {
	least := 2
	if isCarriers(queue) {
		least = 1 // nobody waits at a screen for milliseconds
	}
	polling := func(most int) worker.PollerBehavior {
		return worker.NewPollerBehaviorAutoscaling(worker.PollerBehaviorAutoscalingOptions{InitialNumberOfPollers: 2 * least, MinimumNumberOfPollers: least, MaximumNumberOfPollers: most})
	}
	opts := worker.Options{
		WorkerStopTimeout:                       stopTimeout,
		WorkflowTaskPollerBehavior:              polling(32),
		ActivityTaskPollerBehavior:              polling(16),
		MaxConcurrentLocalActivityExecutionSize: 64,
		MaxConcurrentActivityExecutionSize:      64,
		MaxConcurrentWorkflowTaskExecutionSize:  200,
	}
	if d.BuildID != "" {
		opts.DeploymentOptions = worker.DeploymentOptions{UseVersioning: true, DefaultVersioningBehavior: workflow.VersioningBehaviorAutoUpgrade,
			Version: worker.WorkerDeploymentVersion{DeploymentName: "justlogistics", BuildID: d.BuildID}}
	}
	if queue != workflows.TaskQueue {
		opts.DisableWorkflowWorker = true
	}
	w := worker.New(d.Temporal, queue, opts)
	if queue == workflows.TaskQueue {
		RegisterWorkflows(w, d.BuildID != "")
		w.RegisterActivity(&activities.Checkouts{DB: d.DB, Route: Route(d.DB, d.Gateways)})
		w.RegisterActivity(&activities.Reservations{DB: d.DB})
		w.RegisterActivity(&activities.Support{DB: d.DB})
		w.RegisterActivity(&activities.Watches{DB: d.DB})
		w.RegisterActivity(&activities.Counts{DB: d.DB})
		w.RegisterActivity(sweeps(d))
		w.RegisterActivity(&activities.Shortages{DB: d.DB, Able: able(d)})
	}
	w.RegisterActivity(&activities.Returns{DB: d.DB, Keys: d.CredentialKeys, Carriers: d.Carriers, Able: able(d)})
	w.RegisterActivity(&activities.Fulfillments{DB: d.DB, Carriers: d.Carriers, Able: able(d)})
	if isCarriers(queue) {
		return w
	}
	w.RegisterActivity(reconciliations(d))
	w.RegisterActivity(&activities.Captures{DB: d.DB, Gateways: d.Gateways})
	w.RegisterActivity(&activities.Payments{DB: d.DB, Gateways: d.Gateways, PublicURL: d.PublicURL})
	return w
}

// able tells what the gateways of an order's payments can give back.
func able(d Deps) func(ctx context.Context, tenantID, orderID string) (refund.Able, error) {
	return func(ctx context.Context, tenantID, orderID string) (refund.Able, error) {
		return gateways.Refundable(ctx, d.DB, d.Gateways, tenantID, orderID)
	}
}

// isCarriers: only a carrier's calls come from the queue.
func isCarriers(queue string) bool {
	return slices.ContainsFunc(carriers.Adapters(), func(c shipping.Name) bool { return queue == workflows.CarrierTaskQueue(c) })
}

func sweeps(d Deps) *activities.Sweeps {
	return &activities.Sweeps{DB: d.DB, Temporal: d.Temporal, Namespace: d.Namespace, Logger: d.Logger,
		Restart: func(ctx context.Context, kind, tenant, subject string) error {
			return workflows.Restart(ctx, d.Temporal, kind, tenant, subject, false)
		},
		TellShort: func(ctx context.Context, tenant string, l stock.Shorted) error {
			switch {
			case l.OrderID != "":
				return workflows.Restart(ctx, d.Temporal, workflows.KindShortage, tenant, l.OrderID, false)
			case l.CheckoutID != "":
				return d.Temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindCheckout, tenant, l.CheckoutID), "", workflows.SignalShort, nil)
			}
			return d.Temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindReservation, tenant, l.HoldID), "", workflows.SignalShort, nil)
		}}
}

// RegisterWorkflows names the workflows as histories know them.
func RegisterWorkflows(w worker.WorkflowRegistry, versioned bool) {
	for _, r := range []struct {
		name     string
		fn       any
		longLife bool
	}{
		{workflows.CheckoutName, workflows.Checkout, false},
		{workflows.LatePaymentName, workflows.LatePayment, false},
		{workflows.SweeperName, workflows.Sweeper, false},
		{workflows.ReservationName, workflows.Reservation, true},
		{workflows.RefundName, workflows.Refund, true},
		{workflows.ShortageName, workflows.Shortage, true},
		{workflows.ReconciliationName, workflows.Reconciliation, true},
		{workflows.ReconcileAllName, workflows.ReconcileAll, false},
		{workflows.CaptureName, workflows.Capture, true},
		{workflows.TransferName, workflows.Transfer, true},
		{workflows.ReceiptName, workflows.Receipt, true},
		{workflows.CountName, workflows.Count, true},
		{workflows.FulfillmentName, workflows.Fulfillment, true},
		{workflows.ReturnName, workflows.Return, true},
	} {
		opts := workflow.RegisterOptions{Name: r.name}
		if versioned {
			opts.VersioningBehavior = workflow.VersioningBehaviorPinned
			if r.longLife {
				opts.VersioningBehavior = workflow.VersioningBehaviorAutoUpgrade
			}
		}
		w.RegisterWorkflowWithOptions(r.fn, opts)
	}
}

// Route lists the gateways that `auto` may use for a payment now. When the
// circuits of all that take it are open the order stands as it is: a try is
// better than none.
func Route(db *postgres.DB, registry *gateways.Registry) activities.Route {
	return func(ctx context.Context, tenantID string, q tenant.RouteQuery) ([]payment.Name, error) {
		var t tenant.Tenant
		err := db.InTenant(ctx, tenantID, func(tx pgx.Tx) (err error) {
			t, err = tenant.Get(ctx, tx, tenantID)
			return err
		})
		if err != nil {
			return nil, err
		}
		ready, down, err := registry.Route(ctx, tenantID, t.Settings, q)
		if err != nil || len(ready) > 0 {
			return ready, err
		}
		return down, nil
	}
}

// keepSchedule makes sure that the schedules exist. A sweeper's that is not there
// is that of a new Temporal, or of one that has lost its data: then every open
// row is asked for its run at once.
func keepSchedule(ctx context.Context, d Deps) {
	for {
		created, err := ensureSchedule(ctx, d.Temporal, sweeperSchedule())
		if created {
			err = sweeps(d).CheckAll(ctx)
		}
		if err == nil {
			_, err = ensureSchedule(ctx, d.Temporal, reconcileSchedule())
		}
		if err != nil && ctx.Err() == nil {
			d.Logger.Warn("schedules: will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(scheduleCheck):
		}
	}
}

func sweeperSchedule() client.ScheduleOptions {
	return client.ScheduleOptions{
		ID:            "sweeper",
		Spec:          client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: sweepEvery}}},
		Action:        &client.ScheduleWorkflowAction{ID: "sweeper", Workflow: workflows.SweeperName, TaskQueue: workflows.TaskQueue},
		CatchupWindow: sweepEvery,
		Note:          "frees what outlived its time and looks after rows past due",
	}
}

func ensureSchedule(ctx context.Context, c client.Client, options client.ScheduleOptions) (created bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = c.ScheduleClient().Create(ctx, options)
	if errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return false, nil
	}
	return err == nil, err
}
