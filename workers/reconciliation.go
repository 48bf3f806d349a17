package workers

import (
	"context"
	"time"

	"go.temporal.io/sdk/client"

	"justlogistics/activities"
	"justlogistics/workflows"
)

// The daily round begins when the providers' days in Chile are over and listed,
// and before people begin to work.
const (
	reconcileZone   = "America/Santiago"
	reconcileHour   = 6
	reconcileMinute = 10
)

func reconcileSchedule() client.ScheduleOptions {
	return client.ScheduleOptions{
		ID: "reconcile-all",
		Spec: client.ScheduleSpec{TimeZoneName: reconcileZone, Calendars: []client.ScheduleCalendarSpec{{
			Hour: []client.ScheduleRange{{Start: reconcileHour}}, Minute: []client.ScheduleRange{{Start: reconcileMinute}},
			Comment: "every morning",
		}}},
		Action: &client.ScheduleWorkflowAction{ID: "reconcile-all", Workflow: workflows.ReconcileAllName, TaskQueue: workflows.TaskQueue, Args: []any{workflows.ReconcileAllInput{}}},
		// A morning without Temporal is made up for on the same day.
		CatchupWindow: 18 * time.Hour,
		Note:          "compares the books of every tenant's gateways with ours, for the day before",
	}
}

func reconciliations(d Deps) *activities.Reconciliations {
	return &activities.Reconciliations{DB: d.DB, Gateways: d.Gateways, Logger: d.Logger,
		WakeRefund: func(ctx context.Context, tenant, requestID, refundID string) error {
			subject := requestID
			if subject == "" {
				subject = refundID
			}
			return workflows.WakeRefund(ctx, d.Temporal, tenant, subject)
		}}
}
