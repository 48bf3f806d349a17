package api

import (
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/support"
	"justlogistics/internal/support/verbs"
)

func (s *Server) listStuck(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []support.Item
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = support.Stuck(r.ctx, tx, r.tenant, after, limit+1)
		return err
	})
	if errors.Is(err, support.ErrPosition) {
		f.Add("cursor", "invalid", "use next_cursor as it was given")
		return reply{}, f.Err()
	}
	return ok(paged(all, limit, support.Item.Position)), err
}

type verbBody struct {
	Reason    string `json:"reason"`
	Actor     string `json:"actor"`
	Step      string `json:"step"`
	Outcome   string `json:"outcome"`
	Reference string `json:"reference"`
}

// actOnWorkflow uses a verb; 202 when the run has it but has not acted yet.
func (s *Server) actOnWorkflow(r *request) (reply, error) {
	var in verbBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	dry := r.Query("dry_run")
	if dry != "" && dry != "true" && dry != "false" {
		var f problem.Fields
		f.Add("dry_run", "invalid", "true or false")
		return reply{}, f.Err()
	}
	done, err := verbs.Desk{DB: s.db, Temporal: s.temporal}.Apply(r.ctx, verbs.Use{
		Tenant: r.tenant, WorkflowID: r.Param("id"), Verb: r.Param("verb"), Actor: in.Actor, KeyID: r.key.ID, Reason: in.Reason,
		Step: in.Step, Outcome: in.Outcome, Reference: in.Reference, DryRun: dry == "true",
	})
	if err != nil {
		return reply{}, err
	}
	if done.Status == "sent" {
		return reply{status: http.StatusAccepted, body: done, location: "/v1/support/stuck"}, nil
	}
	return ok(done), nil
}
