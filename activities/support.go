package activities

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/order"
	"justlogistics/internal/postgres"
	"justlogistics/internal/timeline"
)

// Support are the rows that tell people what waits for them.
type Support struct {
	DB *postgres.DB
}

// ParkedCase is a step that cannot go on by itself.
type ParkedCase struct {
	Tenant     string   `json:"tenant"`
	WorkflowID string   `json:"workflow_id"`
	Step       string   `json:"step"`
	Subject    string   `json:"subject"` // the checkout's, order's or reservation's id
	Reason     string   `json:"reason"`  // a code
	Message    string   `json:"message"` // plain words
	Tried      string   `json:"tried"`
	Verbs      []string `json:"verbs"`
}

// ParkStep puts a case on the support list. Parking it again refreshes its words
// and keeps its since.
func (a *Support) ParkStep(ctx context.Context, c ParkedCase) error {
	return classify(a.DB.InTenant(ctx, c.Tenant, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO parked (tenant, workflow_id, step, subject, reason, message, tried, verbs, due_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8, now() + interval '1 hour')
		  ON CONFLICT (tenant, workflow_id, step) DO UPDATE SET reason = excluded.reason, message = excluded.message, tried = excluded.tried, verbs = excluded.verbs,
		    since = CASE WHEN parked.resolved_at IS NULL THEN parked.since ELSE now() END, due_at = excluded.due_at, resolved_at = NULL, resolution = NULL`,
			c.Tenant, c.WorkflowID, c.Step, c.Subject, c.Reason, c.Message, c.Tried, c.Verbs)
		if err != nil {
			return fmt.Errorf("park %s of %s: %w", c.Step, c.WorkflowID, err)
		}
		if err := order.RaiseAttention(ctx, tx, c.Tenant, c.Subject, c.Reason); err != nil {
			return err
		}
		return timeline.Add(ctx, tx, c.Tenant, c.Subject, "waits_for_a_person", "system", map[string]any{"step": c.Step, "reason": c.Reason, "workflow_id": c.WorkflowID})
	}))
}

// UnparkStep takes a case off the list, saying how it ended.
func (a *Support) UnparkStep(ctx context.Context, c ParkedCase, resolution string) error {
	return classify(a.DB.InTenant(ctx, c.Tenant, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE parked SET resolved_at = now(), resolution = $4 WHERE tenant = $1 AND workflow_id = $2 AND step = $3 AND resolved_at IS NULL`, c.Tenant, c.WorkflowID, c.Step, resolution)
		if err != nil {
			return fmt.Errorf("unpark %s of %s: %w", c.Step, c.WorkflowID, err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		_, err = tx.Exec(ctx, `DELETE FROM order_attention WHERE tenant = $1 AND order_id = $2 AND reason = $3
		   AND NOT EXISTS (SELECT FROM parked WHERE tenant = $1 AND subject = $2 AND reason = $3 AND resolved_at IS NULL)`, c.Tenant, c.Subject, c.Reason)
		if err != nil {
			return fmt.Errorf("attention of %s: %w", c.Subject, err)
		}
		return timeline.Add(ctx, tx, c.Tenant, c.Subject, "person_decided", "support", map[string]any{"step": c.Step, "resolution": resolution, "workflow_id": c.WorkflowID})
	}))
}

// inheritDesk takes what an earlier run of a workflow had parked off the list,
// when a new run begins from the rows: it parks again what still waits, and
// knows nothing of the rest.
func inheritDesk(ctx context.Context, tx pgx.Tx, tenant, workflowID string) error {
	_, err := tx.Exec(ctx, `WITH old AS (
	    UPDATE parked SET resolved_at = now(), resolution = 'the run was begun anew' WHERE tenant = $1 AND workflow_id = $2 AND resolved_at IS NULL RETURNING subject, reason)
	  DELETE FROM order_attention a USING old WHERE a.tenant = $1 AND a.order_id = old.subject AND a.reason = old.reason`, tenant, workflowID)
	if err != nil {
		return fmt.Errorf("cases of an earlier run of %s: %w", workflowID, err)
	}
	return nil
}
