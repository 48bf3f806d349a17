package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Sweeper is the safety net behind every timer, run each minute by a schedule:
// holds that outlived their time, checkouts whose start was lost, rows that
// are past due and whose run is gone, keys that are too old.
func Sweeper(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout:    50 * time.Second,
		ScheduleToCloseTimeout: 2 * time.Minute,
		HeartbeatTimeout:       20 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 10 * time.Second},
		Summary:                "release what outlived its time, look after rows past due",
	})
	return workflow.ExecuteActivity(ctx, sweeps.Sweep).Get(ctx, nil)
}
