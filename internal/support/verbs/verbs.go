// Package verbs is what a person can do about a workflow: decide a step that is
// parked (retry, skip, resolve, cancel), or begin a run anew that is gone
// (restart). Every use is recorded with who and why before it takes effect.
package verbs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
	"justlogistics/internal/temporalclient"
	"justlogistics/internal/timeline"
	"justlogistics/workflows"
)

// Restart begins a run anew from the rows.
const Restart = "restart"

// All lists the verbs.
var All = []string{workflows.VerbRetry, workflows.VerbSkip, workflows.VerbResolve, workflows.VerbCancel, Restart}

// answerIn is how long a run may take to act on a decision.
const answerIn = 8 * time.Second

// Temporal is what the verbs need of Temporal's client.
type Temporal interface {
	UpdateWorkflow(ctx context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	DescribeWorkflow(ctx context.Context, workflowID, runID string) (*client.WorkflowExecutionDescription, error)
}

// Desk is where a person uses a verb.
type Desk struct {
	DB       *postgres.DB
	Temporal Temporal
}

// Use is one use of a verb.
type Use struct {
	Tenant     string
	WorkflowID string
	Verb       string
	// Who and why: Actor names the person, KeyID the API key (or cli).
	Actor, KeyID, Reason string
	// Step is needed when several parked steps take the verb.
	Step string
	// Outcome and Reference are what `resolve` states and what proves it.
	Outcome, Reference string
	// DryRun tells what would happen and changes nothing.
	DryRun bool
}

// Done is what a verb did, or would do.
type Done struct {
	WorkflowID string `json:"workflow_id"`
	Verb       string `json:"verb"`
	Step       string `json:"step"`
	DryRun     bool   `json:"dry_run"`
	// Status is done, sent (the run has it, and has not acted on it yet) or
	// would_apply.
	Status   string `json:"status"`
	Result   string `json:"result"`
	ActionID string `json:"action_id,omitempty"`
}

// parked is an open case of the workflow.
type parked struct {
	Step, Subject, Reason, Message string
	Verbs                          []string
}

// subject is what a workflow looks after, read for beginning it anew.
type subject struct {
	exists bool
	// open: there is still something for a run to do.
	open     bool
	workflow string
	input    any
	summary  string
	number   string
	// timelineOf is the checkout, order or reservation that the use is told of.
	timelineOf string
	problem    string // of run_problems
}

// Apply uses a verb. The refusals are problem.Errors: 404 for a workflow that
// this tenant does not have, 409 verb_not_applicable with those that do apply,
// 422, and 503 when Temporal does not answer.
func (d Desk) Apply(ctx context.Context, u Use) (Done, error) {
	if !slices.Contains(All, u.Verb) {
		return Done{}, problem.Missing("verb")
	}
	kind, tenant, subjectID, ok := workflows.ParseID(u.WorkflowID)
	if !ok || tenant != u.Tenant || !id.Valid(subjectID) {
		return Done{}, problem.Missing("workflow")
	}
	if err := u.check(); err != nil {
		return Done{}, err
	}
	var open []parked
	var of subject
	err := d.DB.InTenant(ctx, u.Tenant, func(tx pgx.Tx) (err error) {
		if open, err = openCases(ctx, tx, u.Tenant, u.WorkflowID); err != nil {
			return err
		}
		of, err = load(ctx, tx, kind, u.Tenant, subjectID)
		return err
	})
	if err != nil {
		return Done{}, err
	}
	if !of.exists && len(open) == 0 {
		return Done{}, problem.Missing("workflow")
	}
	// A case whose run is gone stays on the list until another run takes it off,
	// also when what it was about is over by now.
	of.open = of.open || len(open) > 0
	if u.Verb == Restart {
		return d.restart(ctx, u, of, open)
	}
	return d.decide(ctx, u, of, open)
}

func (u Use) check() error {
	var f problem.Fields
	for field, value := range map[string]string{"actor": u.Actor, "reason": u.Reason} {
		switch {
		case value == "":
			f.Add(field, "required", "must not be empty")
		case len(value) > 500:
			f.Add(field, "too_long", "at most 500 bytes")
		}
	}
	for field, value := range map[string]string{"step": u.Step, "outcome": u.Outcome, "reference": u.Reference} {
		if len(value) > 200 {
			f.Add(field, "too_long", "at most 200 bytes")
		}
	}
	slices.SortFunc(f, func(a, b problem.Field) int { return len(a.Field) - len(b.Field) })
	if kind, _, _, _ := workflows.ParseID(u.WorkflowID); kind == workflows.KindRefund && u.Verb == workflows.VerbResolve {
		switch {
		case u.Outcome != "succeeded" && u.Outcome != "failed" && u.Outcome != workflows.OutcomeNotMade:
			f.Add("outcome", "invalid", "succeeded (paid another way), failed (nothing goes back) or, of one whose answer was lost, not_made (it is made anew)")
		case u.Outcome == "succeeded" && u.Reference == "":
			f.Add("reference", "required", "the transfer's, which proves that it was paid")
		}
	}
	return f.Err()
}

func openCases(ctx context.Context, tx pgx.Tx, tenant, workflowID string) ([]parked, error) {
	rows, err := tx.Query(ctx, `SELECT step, subject, reason, message, verbs FROM parked WHERE tenant = $1 AND workflow_id = $2 AND resolved_at IS NULL ORDER BY since`, tenant, workflowID)
	if err != nil {
		return nil, fmt.Errorf("parked steps: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[parked])
	if err != nil {
		return nil, fmt.Errorf("parked steps: %w", err)
	}
	return list, nil
}

// load reads what a workflow looks after.
func load(ctx context.Context, tx pgx.Tx, kind, tenant, subjectID string) (subject, error) {
	s := subject{timelineOf: subjectID}
	var err error
	switch kind {
	case workflows.KindCheckout:
		s.workflow, s.input = workflows.CheckoutName, workflows.CheckoutInput{Tenant: tenant, CheckoutID: subjectID}
		err = tx.QueryRow(ctx, `SELECT closed_at IS NULL, number FROM checkouts WHERE tenant = $1 AND id = $2`, tenant, subjectID).Scan(&s.open, &s.number)
		s.summary = s.number
	case workflows.KindLatePayment:
		var returnID string
		err = tx.QueryRow(ctx, `SELECT p.due_at IS NOT NULL OR EXISTS (SELECT FROM inbox i WHERE i.tenant = $1 AND i.payment_id = $2 AND i.status = 'pending'), c.number, c.id,
		    coalesce((SELECT i.id FROM inbox i WHERE i.tenant = $1 AND i.payment_id = $2 AND i.status = 'pending' AND i.kind = 'return' ORDER BY i.id LIMIT 1), '')
		  FROM payments p JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id WHERE p.tenant = $1 AND p.id = $2`, tenant, subjectID).Scan(&s.open, &s.number, &s.timelineOf, &returnID)
		s.workflow, s.input = workflows.LatePaymentName, workflows.CheckoutInput{Tenant: tenant, CheckoutID: s.timelineOf, PaymentID: subjectID, ReturnID: returnID}
		s.summary = "late payment of " + s.number
	case workflows.KindReservation:
		s.workflow, s.input = workflows.ReservationName, workflows.ReservationInput{Tenant: tenant, ReservationID: subjectID}
		err = tx.QueryRow(ctx, `SELECT status IN ('held','short') AND confirmed_at IS NULL FROM holds WHERE tenant = $1 AND id = $2 AND checkout_id IS NULL`, tenant, subjectID).Scan(&s.open)
		s.summary = "reservation"
	case workflows.KindRefund:
		s.workflow, s.input = workflows.RefundName, workflows.RefundInput{Tenant: tenant, RefundID: subjectID}
		err = tx.QueryRow(ctx, `SELECT q.waits OR EXISTS (SELECT FROM refunds r WHERE r.tenant = q.tenant AND r.request_id = q.id AND r.status IN ('pending','unknown','needs_attention')), o.number, o.id
		  FROM refund_requests q JOIN orders o ON o.tenant = q.tenant AND o.id = q.order_id WHERE q.tenant = $1 AND q.id = $2
		UNION ALL
		SELECT r.status IN ('pending','unknown','needs_attention'), coalesce(c.number, ''), coalesce(p.checkout_id, r.order_id, r.id)
		  FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id LEFT JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id
		 WHERE r.tenant = $1 AND r.id = $2 AND r.request_id IS NULL`, tenant, subjectID).Scan(&s.open, &s.number, &s.timelineOf)
		s.summary = "refund for " + s.number
	case workflows.KindCapture:
		s.workflow, s.input = workflows.CaptureName, workflows.CaptureInput{Tenant: tenant, PaymentID: subjectID}
		err = tx.QueryRow(ctx, `SELECT p.status = 'authorized' AND (p.capture_amount IS NOT NULL OR p.void_reason IS NOT NULL), coalesce(c.number, ''), coalesce(p.checkout_id, p.id)
		  FROM payments p LEFT JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id WHERE p.tenant = $1 AND p.id = $2`, tenant, subjectID).Scan(&s.open, &s.number, &s.timelineOf)
		s.summary = "authorization of " + s.number
	case workflows.KindShortage:
		var holdID string
		err = tx.QueryRow(ctx, `SELECT h.status = 'short', o.number, h.id FROM orders o JOIN holds h ON h.tenant = o.tenant AND h.id = o.hold_id WHERE o.tenant = $1 AND o.id = $2`, tenant, subjectID).Scan(&s.open, &s.number, &holdID)
		s.workflow, s.input = workflows.ShortageName, workflows.ShortageInput{Tenant: tenant, OrderID: subjectID, HoldID: holdID}
		s.summary = "units missing for " + s.number
	case workflows.KindCount:
		var warehouse string
		s.workflow, s.input = workflows.CountName, workflows.CountInput{Tenant: tenant, CountID: subjectID}
		err = tx.QueryRow(ctx, `SELECT status = 'open', warehouse FROM counts WHERE tenant = $1 AND id = $2`, tenant, subjectID).Scan(&s.open, &warehouse)
		s.summary = "count of bins in " + warehouse
	case workflows.KindReconciliation:
		s.workflow, s.input = workflows.ReconciliationName, workflows.ReconciliationInput{Tenant: tenant, ReconciliationID: subjectID}
		err = tx.QueryRow(ctx, `SELECT status <> 'done' FROM reconciliations WHERE tenant = $1 AND id = $2`, tenant, subjectID).Scan(&s.open)
		s.summary = "reconciliation"
	case workflows.KindTransfer:
		s.workflow, s.input = workflows.TransferName, workflows.WatchInput{Tenant: tenant, ID: subjectID}
		err = tx.QueryRow(ctx, `SELECT status IN ('in_transit','partially_received'), 'transfer from ' || from_warehouse || ' to ' || to_warehouse FROM transfers WHERE tenant = $1 AND id = $2`, tenant, subjectID).Scan(&s.open, &s.summary)
	case workflows.KindReceipt:
		s.workflow, s.input = workflows.ReceiptName, workflows.WatchInput{Tenant: tenant, ID: subjectID}
		err = tx.QueryRow(ctx, `SELECT status = 'open', 'receipt in bin ' || bin || ' of ' || warehouse FROM receipts WHERE tenant = $1 AND id = $2`, tenant, subjectID).Scan(&s.open, &s.summary)
	case workflows.KindReturn:
		s.workflow, s.input = workflows.ReturnName, workflows.ReturnInput{Tenant: tenant, ReturnID: subjectID}
		err = tx.QueryRow(ctx, `SELECT due_at IS NOT NULL OR EXISTS (SELECT FROM bookings b WHERE b.tenant = r.tenant AND b.return_id = r.id AND b.void_at IS NOT NULL AND b.status IN ('intended','unknown','pending','booked')), number, order_id
		  FROM returns r WHERE tenant = $1 AND id = $2`, tenant, subjectID).Scan(&s.open, &s.number, &s.timelineOf)
		s.summary = "return " + s.number
	case workflows.KindFulfillment:
		s.workflow, s.input = workflows.FulfillmentName, workflows.FulfillmentInput{Tenant: tenant, ShipmentID: subjectID}
		err = tx.QueryRow(ctx, `SELECT s.due_at IS NOT NULL OR s.status IN ('lost','returned_to_sender') AND s.settled = '' OR EXISTS (SELECT FROM bookings b WHERE b.tenant = s.tenant AND b.shipment_id = s.id AND b.void_at IS NOT NULL AND b.status IN ('intended','unknown','pending','booked')), o.number, o.id
		  FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id WHERE s.tenant = $1 AND s.id = $2`, tenant, subjectID).Scan(&s.open, &s.number, &s.timelineOf)
		s.summary = "shipment of " + s.number
	default:
		return s, problem.Missing("workflow")
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("subject of %s %s: %w", kind, subjectID, err)
	}
	s.exists = true
	err = tx.QueryRow(ctx, `SELECT coalesce((SELECT problem FROM run_problems WHERE tenant = $1 AND workflow_id = $2), '')`, tenant, workflows.ID(kind, tenant, subjectID)).Scan(&s.problem)
	if err != nil {
		return s, fmt.Errorf("run of %s: %w", subjectID, err)
	}
	return s, nil
}

// decide sends a verb to the run that has parked a step.
func (d Desk) decide(ctx context.Context, u Use, of subject, open []parked) (Done, error) {
	var takes []parked
	for _, c := range open {
		if slices.Contains(c.Verbs, u.Verb) && (u.Step == "" || u.Step == c.Step) {
			takes = append(takes, c)
		}
	}
	switch {
	case len(takes) == 0:
		return Done{}, d.notApplicable(ctx, u, of, open)
	case len(takes) > 1:
		var f problem.Fields
		f.Add("step", "required", "several parked steps take this verb; name one")
		return Done{}, f.Err()
	}
	c := takes[0]
	kind, _, _, _ := workflows.ParseID(u.WorkflowID)
	if kind == workflows.KindFulfillment {
		if err := shipping.CheckDecision(shipping.Decision{Step: c.Step, Verb: u.Verb, Outcome: u.Outcome, Reference: u.Reference}); err != nil {
			return Done{}, err
		}
	} else if kind == workflows.KindReturn {
		if err := returns.CheckRuling(returns.Ruling{Step: c.Step, Verb: u.Verb, Outcome: u.Outcome, Reference: u.Reference}); err != nil {
			return Done{}, err
		}
	} else if u.Outcome == workflows.OutcomeNotMade && c.Reason != payment.CodeRefundUntraced {
		// Of any other the provider can be asked, or has spoken.
		var f problem.Fields
		f.Add("outcome", "invalid", "not_made is only for a refund whose answer was lost ("+payment.CodeRefundUntraced+")")
		return Done{}, f.Err()
	}
	done := Done{WorkflowID: u.WorkflowID, Verb: u.Verb, Step: c.Step, DryRun: u.DryRun}
	if u.DryRun {
		done.Status, done.Result = "would_apply", fmt.Sprintf("%s would be sent to step %s, which waits: %s", u.Verb, c.Step, c.Message)
		return done, nil
	}
	u.Step = c.Step
	actionID, err := d.record(ctx, u, c.Subject)
	if err != nil {
		return Done{}, err
	}
	done.ActionID = actionID
	asking, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	var answer workflows.SupportAnswer
	handle, err := d.Temporal.UpdateWorkflow(asking, client.UpdateWorkflowOptions{WorkflowID: u.WorkflowID, UpdateID: actionID, UpdateName: workflows.UpdateSupport, WaitForStage: client.WorkflowUpdateStageAccepted,
		Args: []any{workflows.SupportRequest{ActionID: actionID, Step: c.Step, Verb: u.Verb, Outcome: u.Outcome, Reference: u.Reference}}})
	accepted := err == nil
	if accepted {
		err = handle.Get(asking, &answer)
	}
	var refused *temporal.ApplicationError
	var missing *serviceerror.NotFound
	switch {
	case err == nil:
		done.Status, done.Result = "done", answer.Result
		return done, d.outcome(ctx, u, actionID, "done", answer.Result)
	case errors.As(err, &refused):
		return Done{}, errors.Join(d.outcome(ctx, u, actionID, "refused", refused.Message()), d.notApplicable(ctx, u, of, waiting(refused)))
	case errors.As(err, &missing):
		return Done{}, errors.Join(d.outcome(ctx, u, actionID, "refused", "the run is gone"), d.notApplicable(ctx, u, of, nil))
	case accepted:
		done.Status, done.Result = "sent", "the run has it and has not finished with it yet"
		return done, d.outcome(ctx, u, actionID, "sent", done.Result)
	}
	return Done{}, errors.Join(d.outcome(ctx, u, actionID, "not_delivered", "Temporal did not answer"), noTemporal())
}

// waiting is the word of a run that refused a verb: the verbs that its steps take
// now. The support list, which is written after it, may still name a step that has
// just been decided or cured by itself.
func waiting(refused *temporal.ApplicationError) []parked {
	var c parked
	if !refused.HasDetails() || refused.Details(&c.Verbs) != nil {
		return nil
	}
	return []parked{c}
}

func noTemporal() error {
	return problem.New(problem.Unavailable, "temporarily_unavailable", "Temporal does not answer. The same request may be sent again.").After(5 * time.Second)
}

// notApplicable is the refusal of a verb, with those that do apply.
func (d Desk) notApplicable(ctx context.Context, u Use, of subject, open []parked) error {
	apply := []string{}
	for _, c := range open {
		for _, v := range c.Verbs {
			if !slices.Contains(apply, v) {
				apply = append(apply, v)
			}
		}
	}
	if ok, _, _ := d.restartable(ctx, u, of); ok {
		apply = append(apply, Restart)
	}
	return problem.New(problem.Conflict, "verb_not_applicable", "This verb does not apply here.").With("applicable", apply)
}

// restartable reports whether a new run may begin: there is something left to
// do, and the run is gone, or can't go on.
func (d Desk) restartable(ctx context.Context, u Use, of subject) (ok, wedged bool, err error) {
	if !of.exists || !of.open {
		return false, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	run, err := d.Temporal.DescribeWorkflow(ctx, u.WorkflowID, "")
	var missing *serviceerror.NotFound
	switch {
	case errors.As(err, &missing):
		return true, false, nil
	case err != nil:
		return false, false, err
	case run.Status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING && run.Status != enumspb.WORKFLOW_EXECUTION_STATUS_PAUSED:
		return true, false, nil
	}
	return of.problem == "wedged", true, nil
}

// restart begins a new run with the same id.
func (d Desk) restart(ctx context.Context, u Use, of subject, open []parked) (Done, error) {
	ok, wedged, err := d.restartable(ctx, u, of)
	if err != nil {
		return Done{}, noTemporal()
	}
	if !ok {
		return Done{}, d.notApplicable(ctx, u, of, open)
	}
	done := Done{WorkflowID: u.WorkflowID, Verb: u.Verb, DryRun: u.DryRun}
	if u.DryRun {
		done.Status, done.Result = "would_apply", "a new run would begin from the rows"
		if wedged {
			done.Result = "the wedged run would be terminated, and a new one would begin from the rows"
		}
		return done, nil
	}
	if done.ActionID, err = d.record(ctx, u, of.timelineOf); err != nil {
		return Done{}, err
	}
	kind, _, subjectID, _ := workflows.ParseID(u.WorkflowID)
	options := workflows.StartOptions(kind, u.Tenant, subjectID)
	options.StaticSummary = of.summary + ", begun anew"
	options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	options.TypedSearchAttributes = temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet(u.Tenant), temporalclient.Number.ValueSet(of.number), temporalclient.Attention.ValueSet(false))
	if wedged {
		options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
	}
	// What the old run had parked, the new one parks again if it is still so.
	// This comes first: the new run may be quick.
	if err := d.forget(ctx, u); err != nil {
		return Done{}, err
	}
	starting, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	if _, err := d.Temporal.ExecuteWorkflow(starting, options, of.workflow, of.input); err != nil {
		return Done{}, errors.Join(d.outcome(ctx, u, done.ActionID, "not_delivered", "Temporal did not answer"), noTemporal())
	}
	done.Status, done.Result = "done", "a new run has begun from the rows"
	return done, d.outcome(ctx, u, done.ActionID, "done", done.Result)
}

// forget takes the gone run's cases and problem off the list. Where no new run
// comes about, the minute check finds the missing one again.
func (d Desk) forget(ctx context.Context, u Use) error {
	return d.DB.InTenant(ctx, u.Tenant, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(`UPDATE parked SET resolved_at = now(), resolution = 'the run was begun anew' WHERE tenant = $1 AND workflow_id = $2 AND resolved_at IS NULL`, u.Tenant, u.WorkflowID)
		b.Queue(`DELETE FROM run_problems WHERE tenant = $1 AND workflow_id = $2`, u.Tenant, u.WorkflowID)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("restart %s: %w", u.WorkflowID, err)
		}
		return nil
	})
}

// record writes who uses which verb and why, before anything comes of it.
func (d Desk) record(ctx context.Context, u Use, timelineOf string) (actionID string, err error) {
	actionID = id.New()
	detail, err := json.Marshal(map[string]string{"outcome": u.Outcome, "reference": u.Reference})
	if err != nil {
		return "", err
	}
	err = d.DB.InTenant(ctx, u.Tenant, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO support_actions (tenant, id, workflow_id, step, verb, actor, api_key_id, reason, detail, outcome) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,'requested')`,
			u.Tenant, actionID, u.WorkflowID, u.Step, u.Verb, u.Actor, u.KeyID, u.Reason, detail)
		if err != nil {
			return fmt.Errorf("record %s of %s: %w", u.Verb, u.WorkflowID, err)
		}
		return timeline.Add(ctx, tx, u.Tenant, timelineOf, "support_"+u.Verb, "support", map[string]any{"action_id": actionID, "workflow_id": u.WorkflowID, "step": u.Step})
	})
	return actionID, err
}

func (d Desk) outcome(ctx context.Context, u Use, actionID, outcome, result string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return d.DB.InTenant(ctx, u.Tenant, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE support_actions SET outcome = $3, detail = detail || jsonb_build_object('result', $4::text) WHERE tenant = $1 AND id = $2`, u.Tenant, actionID, outcome, result)
		if err != nil {
			return fmt.Errorf("outcome of %s of %s: %w", u.Verb, u.WorkflowID, err)
		}
		return nil
	})
}
