package api

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/checkout"
	"justlogistics/internal/temporalclient"
	"justlogistics/workflows"
)

// start describes a run of a tenant's. Its id is used once: a closed run is not
// begun again by a repetition.
func start(kind, tenantID, subject, summary string, attributes temporal.SearchAttributes) client.StartWorkflowOptions {
	options := workflows.StartOptions(kind, tenantID, subject)
	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
	options.TypedSearchAttributes = attributes
	options.StaticSummary = summary
	return options
}

// startWithin bounds how long a caller waits for a run to begin: what the run looks
// after is written by then.
const startWithin = 3 * time.Second

// begin starts the run that looks after rows which are written, unless they have one.
// Temporal may be away or too slow for whoever waits; then the workers begin it.
func (s *Server) begin(r *request, kind, subject, summary, name string, input any) {
	ctx, cancel := context.WithTimeout(r.ctx, r.left(startWithin))
	defer cancel()
	options := start(kind, r.tenant, subject, summary, temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet(r.tenant), temporalclient.Attention.ValueSet(false)))
	_, err := s.temporal.ExecuteWorkflow(ctx, options, name, input)
	if err != nil && !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		s.leave(r.ctx, r.tenant, kind, subject, err)
	}
}

// leave has the workers begin a run, as soon as Temporal takes it, and why says what
// became of our own try. When not even the word can be written, the sweeper finds
// the rows once they are past due.
func (s *Server) leave(ctx context.Context, tenantID, kind, subject string, why error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := s.db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO wakes (tenant, kind, subject) VALUES ($1, $2, $3)`, tenantID, kind, subject)
		return err
	})
	s.log.WarnContext(ctx, "a run was not begun and is left to the workers", slog.String("kind", kind), slog.String("subject", subject), slog.Any("error", errors.Join(why, err)))
}

// ask sends an update to a run and waits for its answer.
func (s *Server) ask(ctx context.Context, workflowID, updateID, name string, arg, answer any) error {
	handle, err := s.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: workflowID, UpdateID: updateID, UpdateName: name, Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return err
	}
	return handle.Get(ctx, answer)
}

// startAndAsk begins a run, unless there is one, and waits for its answer to an
// update. It returns the run's id as soon as it is known.
func (s *Server) startAndAsk(ctx context.Context, options client.StartWorkflowOptions, workflow string, input any, updateID, name string, args []any, answer any) (runID string, err error) {
	operation := s.temporal.NewWithStartWorkflowOperation(options, workflow, input)
	handle, err := s.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: operation,
		UpdateOptions:          client.UpdateWorkflowOptions{UpdateID: updateID, UpdateName: name, Args: args, WaitForStage: client.WorkflowUpdateStageCompleted},
	})
	if err != nil {
		return "", err
	}
	return handle.RunID(), handle.Get(ctx, answer)
}

// gone reports whether a run does not exist, or is over and so can't answer.
func gone(err error) bool {
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) || temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return true
	}
	var failed *temporal.ApplicationError
	// An update that was accepted and not finished when its run ended.
	return errors.As(err, &failed) && failed.Type() == "AcceptedUpdateCompletedWorkflow"
}

// workflowOf is what support sees of a run.
func (s *Server) workflowOf(r *request, workflowID, runID string) *checkout.Workflow {
	if !r.seesWorkflows() {
		return nil
	}
	w := &checkout.Workflow{ID: workflowID, RunID: runID}
	if s.cfg.TemporalUIURL != "" {
		w.URL = s.cfg.TemporalUIURL + "/namespaces/" + url.PathEscape(s.cfg.Namespace) + "/workflows/" + url.PathEscape(workflowID)
		if runID != "" {
			w.URL += "/" + url.PathEscape(runID)
		}
	}
	return w
}
