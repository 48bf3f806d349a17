package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"justlogistics/internal/checkout"
	"justlogistics/internal/idempotency"
	"justlogistics/internal/postgres"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/counting"
	"justlogistics/internal/warehouse/place"
	"justlogistics/internal/webhook"
)

// Sweeps is the safety net: what timers and messages should have done.
type Sweeps struct {
	DB        *postgres.DB
	Temporal  client.Client
	Namespace string
	Logger    *slog.Logger
	// Restart begins a new run for an open subject from its rows.
	Restart func(ctx context.Context, kind, tenant, subject string) error
	// TellShort tells the run of a hold that it lost units.
	TellShort func(ctx context.Context, tenant string, lost stock.Shorted) error
}

// sweepBatch bounds what one sweep looks at; what is left is the next one's.
const sweepBatch = 500

// Sweep does each part even when another fails, and reports all failures.
func (a *Sweeps) Sweep(ctx context.Context) error {
	parts := []struct {
		name string
		do   func(context.Context) error
	}{
		{"holds", a.holds}, {"lost starts", a.lostStarts}, {"runs past due", a.overdue}, {"runs that ended badly", a.endedBadly}, {"cured", a.cured}, {"old keys", a.oldKeys},
		{"lots past their day", a.endedLots}, {"counts", a.makeCounts}, {"old labels", a.oldLabels}, {"old deliveries", a.oldDeliveries},
	}
	var failed []error
	for _, p := range parts {
		if err := p.do(ctx); err != nil {
			failed = append(failed, fmt.Errorf("sweep %s: %w", p.name, err))
		}
		if activity.IsActivity(ctx) {
			activity.RecordHeartbeat(ctx, p.name)
		}
	}
	return classify(errors.Join(failed...))
}

// oldLabels forgets carriers' labels, which name buyers, once nobody prints them any more.
func (a *Sweeps) oldLabels(ctx context.Context) error {
	return a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM carrier_labels l USING (
		    SELECT l.tenant, l.booking_id FROM carrier_labels l JOIN bookings b ON b.tenant = l.tenant AND b.id = l.booking_id LEFT JOIN shipments s ON s.tenant = b.tenant AND s.id = b.shipment_id LEFT JOIN returns r ON r.tenant = b.tenant AND r.id = b.return_id
		     WHERE coalesce(s.ended_at, r.ended_at) < now() - interval '30 days' OR b.status IN ('voided','lapsed') AND b.updated_at < now() - interval '1 day' LIMIT $1) old
		  WHERE l.tenant = old.tenant AND l.booking_id = old.booking_id`, sweepBatch)
		return err
	})
}

// holds frees units whose time was over 30 s ago, one hold a transaction. A
// hold whose payment is under way or unknown is left: it is past due, and so
// on the support list. One that cannot be freed keeps no other from it.
func (a *Sweeps) holds(ctx context.Context) error {
	stuck := []string{}
	var failed []error
	for range sweepBatch {
		var tenantID, holdID, checkoutID, status string
		err := a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
			err := tx.QueryRow(ctx, `SELECT h.tenant, h.id, coalesce(h.checkout_id,''), coalesce(c.status,'') FROM holds h LEFT JOIN checkouts c ON c.tenant = h.tenant AND c.id = h.checkout_id
			   WHERE h.status IN ('held','short') AND h.confirmed_at IS NULL AND h.held_until < now() - interval '30 seconds' AND NOT h.id = ANY($1)
			     AND NOT EXISTS (SELECT FROM payments p WHERE p.tenant = h.tenant AND p.checkout_id = h.checkout_id
			           AND (p.status IN ('unknown','processing') OR p.status = 'pending' AND NOT p.closed AND p.settle_tried_at IS NOT NULL))
			   ORDER BY h.held_until LIMIT 1 FOR UPDATE OF h SKIP LOCKED`, stuck).Scan(&tenantID, &holdID, &checkoutID, &status)
			if errors.Is(err, pgx.ErrNoRows) {
				holdID = ""
				return nil
			}
			if err != nil {
				return err
			}
			if checkoutID != "" && checkout.Status(status).Open() {
				return checkout.SweepUnpaid(ctx, tx, tenantID, checkoutID)
			}
			_, err = stock.Expire(ctx, tx, tenantID, holdID)
			return err
		})
		switch {
		case err == nil && holdID == "":
			return errors.Join(failed...)
		case err == nil:
			a.Logger.Warn("the sweeper freed a hold that outlived its time", "tenant", tenantID, "reservation_id", holdID)
		case errors.Is(err, checkout.ErrBeingPaid):
			stuck = append(stuck, holdID)
		case holdID == "" || ctx.Err() != nil:
			return errors.Join(append(failed, err)...)
		default:
			stuck, failed = append(stuck, holdID), append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// lostStarts looks after checkouts whose row was written and whose workflow
// was never started: started while their caller may still wait, else closed.
func (a *Sweeps) lostStarts(ctx context.Context) error {
	type lost struct {
		Tenant, ID string
		Waited     bool
	}
	var rows []lost
	err := a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
		q, err := tx.Query(ctx, `SELECT tenant, id, caller_waits_until < now() - interval '10 minutes' FROM checkouts
		   WHERE status = 'reserving' AND hold_id IS NULL AND created_at < now() - interval '60 seconds' ORDER BY created_at LIMIT $1`, sweepBatch)
		if err != nil {
			return err
		}
		rows, err = pgx.CollectRows(q, pgx.RowToStructByPos[lost])
		return err
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, l := range rows {
		problem, _, err := a.describe(ctx, "checkout:"+l.Tenant+":"+l.ID)
		switch {
		case err != nil:
			return err
		case problem == "":
			continue // its run is at work
		case l.Waited:
			_, err = checkout.GiveUp(ctx, a.DB, l.Tenant, l.ID, checkout.FailAbandoned, "its caller stopped waiting before anything was held")
		default:
			err = a.restart(ctx, subject{l.Tenant, "checkout", l.ID})
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// subject is an open row whose run should be at work.
type subject struct {
	Tenant, Kind, ID string
}

func (s subject) workflowID() string { return s.Kind + ":" + s.Tenant + ":" + s.ID }

// openSubjects are all rows that a run must look after; what waits for a person
// needs a run too, which takes the verb.
const openSubjects = `
  SELECT tenant, 'checkout' AS kind, id, due_at FROM checkouts WHERE due_at IS NOT NULL AND (hold_id IS NOT NULL OR status <> 'reserving')
  UNION ALL
  SELECT tenant, 'reservation', id, due_at FROM holds WHERE checkout_id IS NULL AND due_at IS NOT NULL AND confirmed_at IS NULL
  UNION ALL
  SELECT tenant, 'shortage', order_id, due_at FROM holds WHERE status = 'short' AND confirmed_at IS NOT NULL AND due_at IS NOT NULL
  UNION ALL
  SELECT tenant, 'refund', coalesce(request_id, id), due_at FROM refunds WHERE due_at IS NOT NULL AND origin = 'ours'
  UNION ALL
  SELECT tenant, 'refund', id, due_at FROM refund_requests WHERE due_at IS NOT NULL
  UNION ALL
  SELECT tenant, 'checkout', checkout_id, due_at FROM payments WHERE due_at IS NOT NULL AND checkout_id IS NOT NULL AND status IN ('pending','processing','unknown')
  UNION ALL
  SELECT tenant, 'capture', id, due_at FROM payments WHERE due_at IS NOT NULL AND status = 'authorized' AND (capture_amount IS NOT NULL OR void_reason IS NOT NULL)
  UNION ALL
  SELECT tenant, 'reconciliation', id, due_at FROM reconciliations WHERE due_at IS NOT NULL
  UNION ALL
  SELECT tenant, 'transfer', id, due_at FROM transfers WHERE status IN ('in_transit','partially_received')
  UNION ALL
  SELECT tenant, 'receipt', id, due_at FROM receipts WHERE due_at IS NOT NULL
  UNION ALL
  SELECT tenant, 'return', id, due_at FROM returns WHERE due_at IS NOT NULL
  UNION ALL
  SELECT tenant, 'count', id, due_at FROM counts WHERE due_at IS NOT NULL
  UNION ALL
  SELECT tenant, 'fulfillment', id, due_at FROM shipments WHERE due_at IS NOT NULL OR status IN ('lost','returned_to_sender') AND settled = '' AND tracking_key IS NOT NULL
  UNION ALL
  SELECT tenant, CASE WHEN return_id IS NULL THEN 'fulfillment' ELSE 'return' END, coalesce(shipment_id, return_id), next_at + interval '10 minutes' FROM bookings WHERE next_at IS NOT NULL AND status IN ('intended','unknown','pending','booked') AND (status <> 'booked' OR void_at IS NOT NULL)
  UNION ALL
  SELECT tenant, split_part(workflow_id, ':', 1), split_part(workflow_id, ':', 3), due_at FROM parked WHERE resolved_at IS NULL`

// overdue asks Temporal about the runs of rows that are past due.
func (a *Sweeps) overdue(ctx context.Context) error {
	subjects, err := a.subjects(ctx, `SELECT DISTINCT tenant, kind, id FROM (`+openSubjects+`) s WHERE due_at < now() LIMIT $1`, sweepBatch)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		if err := a.check(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// CheckAll asks about the run of every open row, past due or not: for a
// Temporal that has lost its data, so that timers and polls go on at once and
// not when their rows are late.
func (a *Sweeps) CheckAll(ctx context.Context) error {
	all, err := a.subjects(ctx, `SELECT DISTINCT tenant, kind, id FROM (`+openSubjects+`) s`)
	if err != nil {
		return err
	}
	var failed []error
	for _, s := range all {
		if err := a.check(ctx, s); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (a *Sweeps) subjects(ctx context.Context, sql string, args ...any) (out []subject, err error) {
	err = a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
		q, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(q, pgx.RowToStructByPos[subject])
		return err
	})
	return out, err
}

// check notes what is wrong with the run of an open subject. A run of which
// Temporal knows nothing was lost with Temporal's own data: nobody decided
// that, and a new one goes on from the rows. The others wait for a person, who
// has the verb restart.
func (a *Sweeps) check(ctx context.Context, s subject) error {
	problem, detail, err := a.describe(ctx, s.workflowID())
	if err != nil || problem == "" {
		return err
	}
	if problem == "missing" {
		if err := a.restart(ctx, s); err == nil {
			a.Logger.Warn("restarted a run that Temporal had lost", "workflow_id", s.workflowID(), "tenant", s.Tenant)
			return nil
		}
		detail = "restarting it failed"
	}
	return a.note(ctx, s, problem, detail)
}

// restart begins a run anew, with nothing parked.
func (a *Sweeps) restart(ctx context.Context, s subject) error {
	err := a.DB.AsSystem(ctx, func(tx pgx.Tx) error { return inheritDesk(ctx, tx, s.Tenant, s.workflowID()) })
	if err != nil {
		return err
	}
	return a.Restart(ctx, s.Kind, s.Tenant, s.ID)
}

func (a *Sweeps) note(ctx context.Context, s subject, problem, detail string) error {
	return a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO run_problems (tenant, workflow_id, subject, problem, detail) VALUES ($1,$2,$3,$4,$5)
		   ON CONFLICT (tenant, workflow_id) DO UPDATE SET problem = excluded.problem, detail = excluded.detail, checked_at = now()`, s.Tenant, s.workflowID(), s.ID, problem, detail)
		return err
	})
}

// describe says what is wrong with a run: "" when it is at work.
func (a *Sweeps) describe(ctx context.Context, workflowID string) (problem, detail string, err error) {
	d, err := a.Temporal.DescribeWorkflowExecution(ctx, workflowID, "")
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return "missing", "Temporal knows no such run", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("describe %s: %w", workflowID, err)
	}
	info := d.GetWorkflowExecutionInfo()
	switch info.GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		if task := d.GetPendingWorkflowTask(); task.GetAttempt() > 5 {
			return "wedged", fmt.Sprintf("its workflow task has failed %d times: a build that cannot replay it?", task.GetAttempt()), nil
		}
		return "", "", nil
	case enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		return "terminated", "somebody terminated it", nil
	case enumspb.WORKFLOW_EXECUTION_STATUS_FAILED:
		return "failed", "it failed", nil
	case enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return "timed_out", "it ran out of time", nil
	case enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED:
		return "cancelled", "somebody cancelled it", nil
	}
	return "missing", "its run has ended and the row is open", nil
}

// endedBadly finds runs that were terminated, failed or wedged before their
// rows are past due: two look-ups a minute, whatever the number of orders.
func (a *Sweeps) endedBadly(ctx context.Context) error {
	since := time.Now().UTC().Add(-30 * time.Minute).Format(time.RFC3339)
	for _, query := range []string{
		`ExecutionStatus IN ('Terminated','Failed','TimedOut','Canceled') AND CloseTime > '` + since + `'`,
		`ExecutionStatus = 'Running' AND TemporalReportedProblems IS NOT NULL`,
	} {
		list, err := a.Temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Namespace: a.Namespace, PageSize: sweepBatch, Query: query})
		if err != nil {
			return fmt.Errorf("list runs: %w", err)
		}
		for _, e := range list.GetExecutions() {
			p := strings.Split(e.GetExecution().GetWorkflowId(), ":")
			if len(p) != 3 {
				continue
			}
			open, err := a.subjects(ctx, `SELECT DISTINCT tenant, kind, id FROM (`+openSubjects+`) s WHERE tenant = $1 AND kind = $2 AND id = $3`, p[1], p[0], p[2])
			if err != nil {
				return err
			}
			for _, s := range open {
				problem, detail, err := a.describe(ctx, s.workflowID())
				if err == nil && problem == "" && strings.Contains(query, "Reported") {
					problem, detail = "wedged", "its workflow task keeps failing"
				}
				if err != nil || problem == "" {
					continue // gone on meanwhile, or asked again in a minute
				}
				if err := a.note(ctx, s, problem, detail); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// cured forgets problems whose subject is settled or whose run is at work.
func (a *Sweeps) cured(ctx context.Context) error {
	noted, err := a.subjects(ctx, `SELECT tenant, split_part(workflow_id, ':', 1), subject FROM run_problems ORDER BY checked_at LIMIT $1`, sweepBatch)
	if err != nil {
		return err
	}
	for _, s := range noted {
		open, err := a.subjects(ctx, `SELECT DISTINCT tenant, kind, id FROM (`+openSubjects+`) s WHERE tenant = $1 AND kind = $2 AND id = $3`, s.Tenant, s.Kind, s.ID)
		if err != nil {
			return err
		}
		problem := ""
		if len(open) > 0 {
			if problem, _, err = a.describe(ctx, s.workflowID()); err != nil {
				return err
			}
		}
		if problem != "" {
			continue
		}
		err = a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM run_problems WHERE tenant = $1 AND workflow_id = $2 AND problem <> 'wedged' OR tenant = $1 AND workflow_id = $2 AND checked_at < now() - interval '2 minutes'`, s.Tenant, s.workflowID())
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Sweeps) oldKeys(ctx context.Context) error {
	return a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
		_, err := idempotency.Purge(ctx, tx)
		return err
	})
}

// oldDeliveries forgets what endpoints were told long ago.
func (a *Sweeps) oldDeliveries(ctx context.Context) error {
	return a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
		_, err := webhook.Forget(ctx, tx, 20*sweepBatch)
		return err
	})
}

// endedLots ends lots that are past their day by their tenant's clock, and tells
// the runs of holds that lose units to it.
func (a *Sweeps) endedLots(ctx context.Context) error {
	var tenants []string
	err := a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
		// No clock is more than 14 hours ahead of ours.
		q, err := tx.Query(ctx, `SELECT DISTINCT tenant FROM lots WHERE expires_on < (now() + interval '14 hours')::date AND status <> 'expired'
		   UNION SELECT DISTINCT s.tenant FROM bin_stock s JOIN lots l ON l.tenant = s.tenant AND l.sku = s.sku AND l.lot = s.lot
		    WHERE l.status = 'expired' AND s.lot <> '' AND s.quantity > 0 AND s.status IN ('available','held') ORDER BY 1`)
		if err != nil {
			return err
		}
		tenants, err = pgx.CollectRows(q, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, t := range tenants {
		if err := a.endLotsOf(ctx, t); err != nil {
			failed = append(failed, fmt.Errorf("tenant %s: %w", t, err))
		}
	}
	return errors.Join(failed...)
}

func (a *Sweeps) endLotsOf(ctx context.Context, tenantID string) error {
	for range sweepBatch {
		var out place.Expiry
		err := a.DB.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
			today, err := place.Today(ctx, tx, tenantID)
			if err != nil {
				return err
			}
			out, err = place.ExpireLots(ctx, tx, tenantID, today)
			return err
		})
		if err != nil {
			return err
		}
		for _, l := range out.Shorted {
			if err := a.TellShort(ctx, tenantID, l); err != nil {
				// Its row is overdue in a quarter of an hour, and then it is found.
				a.Logger.Warn("a run was not told that its hold lost units", "tenant", tenantID, "reservation_id", l.HoldID, "error", err)
			}
		}
		if out.Lots == 0 || len(out.Failed) > 0 {
			return errors.Join(out.Failed...)
		}
	}
	return nil
}

// makeCounts makes the day's tasks of the count plans, and begins the runs of
// counts that have none: those, and what pickers did not find.
func (a *Sweeps) makeCounts(ctx context.Context) error {
	type plan struct {
		Tenant, Name, Zone, LastDay string
	}
	var plans []plan
	var now time.Time
	err := a.DB.AsSystem(ctx, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
			return err
		}
		q, err := tx.Query(ctx, `SELECT p.tenant, p.name, t.settings ->> 'time_zone', coalesce((SELECT to_char(max(day), 'YYYY-MM-DD') FROM count_plan_days d WHERE d.tenant = p.tenant AND d.plan = p.name), '')
		  FROM count_plans p JOIN tenants t ON t.tenant = p.tenant WHERE p.active ORDER BY 1, 2`)
		if err != nil {
			return err
		}
		plans, err = pgx.CollectRows(q, pgx.RowToStructByPos[plan])
		return err
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, p := range plans {
		zone, err := time.LoadLocation(p.Zone)
		if err == nil && p.LastDay < now.In(zone).Format(time.DateOnly) {
			err = a.DB.InTenant(ctx, p.Tenant, func(tx pgx.Tx) error {
				_, err := counting.MakeDay(ctx, tx, p.Tenant, p.Name, zone, now)
				return err
			})
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(append(failed, a.watchCounts(ctx))...)
}

// watchCounts begins the runs of counts that no run has taken up yet. One whose
// run is at work and could not look so far, or that somebody has ended, is left.
func (a *Sweeps) watchCounts(ctx context.Context) error {
	alone, err := a.subjects(ctx, `SELECT tenant, 'count', id FROM counts WHERE status = 'open' AND NOT watched AND created_at < now() - interval '5 seconds' ORDER BY created_at LIMIT $1`, sweepBatch)
	if err != nil {
		return err
	}
	var failed []error
	for _, s := range alone {
		if err := a.check(ctx, s); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
