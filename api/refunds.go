package api

import (
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/gateways"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/telemetry"
	"justlogistics/workflows"
)

func refundPath(id string) string { return "/v1/refunds/" + id }

// createRefund books a refund and has its workflow pay it. What the gateways
// can't do is known before anything is promised.
func (s *Server) createRefund(r *request) (reply, error) {
	var in refund.Request
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	refundID := r.begun()
	if refundID == "" {
		var err error
		if refundID, err = s.writeRefund(r, in); err != nil {
			return reply{}, err
		}
	}
	out, err := s.readRefund(r, refundID)
	if err != nil {
		return reply{}, err
	}
	s.beginRefund(r, out)
	return created(refundPath(refundID), out), nil
}

func (s *Server) writeRefund(r *request, in refund.Request) (string, error) {
	if err := checkRefund(&in); err != nil {
		return "", err
	}
	if !id.Valid(in.OrderID) {
		return "", problem.Missing("order")
	}
	r.ctx = telemetry.With(r.ctx, telemetry.OrderID(in.OrderID))
	able, err := gateways.Refundable(r.ctx, s.db, s.gateways, r.tenant, in.OrderID)
	if err != nil {
		return "", err
	}
	refundID := id.New()
	var sealed []byte
	if in.BankAccount != nil {
		if sealed, err = in.BankAccount.Seal(s.cfg.CredentialKeys, r.tenant, refundID); err != nil {
			return "", err
		}
	}
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		if _, err := refund.Book(r.ctx, tx, r.tenant, refundID, in, sealed, "key:"+r.key.ID, able); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, refundID)
	})
	return refundID, err
}

// checkRefund adds to what a request must be by itself that it says what it is
// about: an empty list of lines must not be taken for the whole order.
func checkRefund(in *refund.Request) error {
	var f problem.Fields
	if in.OrderID == "" {
		f.Add("order_id", "required", "name the order")
	}
	if in.Lines != nil && len(in.Lines) == 0 {
		f.Add("lines", "required", "name one at least, or leave lines out")
	}
	if err := in.Check(); err != nil {
		var refused *problem.Error
		if !errors.As(err, &refused) {
			return err
		}
		f = append(f, refused.Fields...)
	}
	return f.Err()
}

// beginRefund starts the refund's run, unless it has one.
func (s *Server) beginRefund(r *request, out refund.Resource) {
	if out.Status == "pending" {
		s.begin(r, workflows.KindRefund, out.ID, "refund of "+money.Format(out.Amount, money.Currency(out.Currency)), workflows.RefundName, workflows.RefundInput{Tenant: r.tenant, RefundID: out.ID})
	}
}

func (s *Server) readRefund(r *request, refundID string) (out refund.Resource, err error) {
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		out, err = refund.Read(r.ctx, tx, r.tenant, refundID)
		return err
	})
	if errors.Is(err, refund.ErrNone) {
		return out, problem.Missing("refund")
	}
	return out, err
}

// getRefund reads a refund; only here the account of a bank transfer is shown.
func (s *Server) getRefund(r *request) (reply, error) {
	refundID, err := idParam(r, "id", "refund")
	if err != nil {
		return reply{}, err
	}
	out, err := s.readRefund(r, refundID)
	if err != nil {
		return reply{}, err
	}
	if len(out.Account) > 0 {
		if out.BankAccount, err = refund.OpenAccount(s.cfg.CredentialKeys, r.tenant, refundID, out.Account); err != nil {
			return reply{}, err
		}
	}
	return ok(out), nil
}

var refundStatuses = []string{"pending", "succeeded", "failed", "needs_attention"}

func (s *Server) listRefunds(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	filter := refund.Filter{OrderID: r.Query("order_id"), Status: r.Query("status"), Before: after, Limit: limit + 1}
	if filter.Status != "" && !slices.Contains(refundStatuses, filter.Status) {
		f.Add("status", "invalid", "no such status of a refund")
	}
	if filter.OrderID != "" && !id.Valid(filter.OrderID) {
		f.Add("order_id", "invalid", "not an id")
	}
	if len(f) == 0 && after != "" && !id.Valid(after) {
		f.Add("cursor", "invalid", "use next_cursor as it was given")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []refund.Resource
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = refund.List(r.ctx, tx, r.tenant, filter)
		return err
	})
	return ok(paged(all, limit, func(o refund.Resource) string { return o.ID })), err
}
