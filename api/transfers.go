package api

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/transfer"
	"justlogistics/workflows"
)

// transferRoutes are transfers between warehouses, with goods in transit.
func (s *Server) transferRoutes() {
	s.work("transfer", http.MethodPost, "/v1/transfers", s.createTransfer, tenant.Warehouse)
	s.handle(http.MethodGet, "/v1/transfers", s.listTransfers, tenant.Warehouse, tenant.Support)
	s.handle(http.MethodGet, "/v1/transfers/:id", s.getTransfer, tenant.Warehouse, tenant.Support)
	s.work("transfer", http.MethodPost, "/v1/transfers/:id/dispatch", s.dispatchTransfer, tenant.Warehouse)
	s.work("transfer", http.MethodPost, "/v1/transfers/:id/receive", changeTransfer(s, transfer.Receive), tenant.Warehouse)
	s.work("transfer", http.MethodPost, "/v1/transfers/:id/close", changeTransfer(s, transfer.Close), tenant.Warehouse)
	s.work("transfer", http.MethodPost, "/v1/transfers/:id/cancel", changeTransfer(s, transfer.Cancel), tenant.Warehouse)
}

// createTransfer asks for goods to be sent; nothing moves.
func (s *Server) createTransfer(r *request) (reply, error) {
	var in transfer.Request
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	checkOperator(r, &f)
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	transferID := r.begun()
	var out transfer.Transfer
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if transferID == "" {
			made := id.New()
			if err := transfer.Ask(r.ctx, tx, r.tenant, made, in, r.by()); err != nil {
				return err
			}
			if err := r.claim.Begun(r.ctx, tx, made); err != nil {
				return err
			}
			out, err = transfer.Get(r.ctx, tx, r.tenant, made)
			return err
		}
		out, err = transfer.Get(r.ctx, tx, r.tenant, transferID)
		return err
	})
	return created("/v1/transfers/"+out.ID, out), err
}

// transferDetails is a transfer with what people did.
type transferDetails struct {
	transfer.Transfer
	Entries []transfer.Entry `json:"entries"`
}

func (s *Server) getTransfer(r *request) (reply, error) {
	transferID, err := idParam(r, "id", "transfer")
	if err != nil {
		return reply{}, err
	}
	var out transferDetails
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if out.Transfer, err = transfer.Get(r.ctx, tx, r.tenant, transferID); err != nil {
			return err
		}
		out.Entries, err = transfer.Entries(r.ctx, tx, r.tenant, transferID)
		return err
	})
	return ok(out), err
}

func (s *Server) listTransfers(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	filter := transfer.Filter{Status: r.Query("status"), Warehouse: r.Query("warehouse"), Before: after, Limit: limit + 1}
	if filter.Status != "" && !slices.Contains(transfer.Statuses, filter.Status) {
		f.Add("status", "invalid", "no such status of a transfer")
	}
	if len(f) == 0 && after != "" && !id.Valid(after) {
		f.Add("cursor", "invalid", "use next_cursor as it was given")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []transfer.Transfer
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = transfer.List(r.ctx, tx, r.tenant, filter)
		return err
	})
	return ok(paged(all, limit, func(t transfer.Transfer) string { return t.ID })), err
}

// actOnTransfer runs an operator's action in a transaction of its own. One that
// was done by a request which never answered is answered as a duplicate.
func actOnTransfer[T any](s *Server, r *request, do func(ctx context.Context, tx pgx.Tx, tenant, transferID string, in T, by stock.By) (transfer.Result, error)) (out transfer.Result, err error) {
	var in T
	if err := decode(r.body, &in); err != nil {
		return out, err
	}
	transferID, err := idParam(r, "id", "transfer")
	if err != nil {
		return out, err
	}
	var f problem.Fields
	checkOperator(r, &f)
	if err := f.Err(); err != nil {
		return out, err
	}
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if r.begun() != "" {
			out = transfer.Result{Moved: []transfer.Placed{}, Duplicate: true}
			out.Transfer, err = transfer.Get(r.ctx, tx, r.tenant, transferID)
			return err
		}
		if out, err = do(r.ctx, tx, r.tenant, transferID, in, r.by()); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, transferID)
	})
	return out, err
}

// dispatchTransfer sends the goods off; from now on a run looks after them.
func (s *Server) dispatchTransfer(r *request) (reply, error) {
	out, err := actOnTransfer(s, r, transfer.Dispatch)
	if err != nil {
		return reply{}, err
	}
	s.watchTransfer(r, out.Transfer)
	return ok(out), nil
}

// changeTransfer answers an action after which the transfer's run looks again.
func changeTransfer[T any](s *Server, do func(ctx context.Context, tx pgx.Tx, tenant, transferID string, in T, by stock.By) (transfer.Result, error)) endpoint {
	return func(r *request) (reply, error) {
		out, err := actOnTransfer(s, r, do)
		if err != nil {
			return reply{}, err
		}
		if out.DispatchedAt != nil {
			s.tellTransfer(r, out.ID)
		}
		return ok(out), nil
	}
}

// watchTransfer starts the run that looks after goods on the way, unless they
// have one.
func (s *Server) watchTransfer(r *request, t transfer.Transfer) {
	if t.InTransit > 0 {
		s.begin(r, workflows.KindTransfer, t.ID, "goods from "+t.From+" to "+t.To, workflows.TransferName, workflows.WatchInput{Tenant: r.tenant, ID: t.ID})
	}
}

// tellTransfer wakes the transfer's run. One that can't be told now looks by
// itself within the hour.
func (s *Server) tellTransfer(r *request, transferID string) {
	s.later(r.ctx, 5*time.Second, func(ctx context.Context) {
		err := s.temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindTransfer, r.tenant, transferID), "", workflows.SignalChanged, nil)
		if err != nil && !gone(err) {
			s.log.WarnContext(ctx, "a run was not told that its transfer has changed", slog.String("transfer_id", transferID), slog.Any("error", err))
		}
	})
}
