package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"justlogistics/internal/gateways"
	"justlogistics/internal/id"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shippingdoc"
	"justlogistics/internal/stock"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/operator"
)

// rmaRoutes are goods that come back.
func (s *Server) rmaRoutes() {
	const (
		storefront = tenant.Storefront
		warehouse  = tenant.Warehouse
		support    = tenant.Support
	)
	s.handle(http.MethodGet, "/v1/policies/returns", s.getReturnPolicy, storefront, warehouse, support)
	s.handle(http.MethodPut, "/v1/policies/returns", s.putReturnPolicy)
	s.handle(http.MethodPost, "/v1/returns/eligibility", s.judgeReturn, storefront, support)
	s.handle(http.MethodPost, "/v1/returns", s.createReturn, storefront, support)
	s.handle(http.MethodGet, "/v1/returns", s.listReturns, storefront, warehouse, support)
	s.handle(http.MethodGet, "/v1/returns/:id", s.getReturn, storefront, warehouse, support)
	s.handle(http.MethodPost, "/v1/returns/:id/approve", s.changeReturn(returns.Approve), support)
	s.handle(http.MethodPost, "/v1/returns/:id/reject", s.changeReturn(returns.Reject), support)
	s.handle(http.MethodPost, "/v1/returns/:id/cancel", s.changeReturn(returns.Cancel), storefront, support)
	s.handle(http.MethodPost, "/v1/returns/:id/sent", s.forBuyers(change(s, "return", returns.Get, returns.Sent, func(in *returns.Sending, r *request) { in.By = r.by().Person })), storefront, support)
	s.handle(http.MethodPost, "/v1/returns/:id/label", s.forBuyers(s.labelReturn), storefront, support)
	s.handle(http.MethodPost, "/v1/returns/:id/cancel-label", s.changeReturn(returns.CancelLabel), support)
	s.handle(http.MethodGet, "/v1/returns/:id/labels.pdf", s.getReturnLabels, storefront, warehouse, support)
	s.handle(http.MethodGet, "/v1/returns/:id/tracking", s.getReturnPassages, storefront, warehouse, support)
	s.handleUpload("/v1/returns/:id/photos", photoFile, s.addReturnPhoto, storefront, warehouse, support)
	s.handle(http.MethodGet, "/v1/returns/:id/photos/:n", s.getReturnPhoto, storefront, warehouse, support)
	s.work("receive", http.MethodPost, "/v1/returns/:id/receive", change(s, "return", returns.Get, returns.Receive, func(in *returns.Reception, r *request) { in.By = r.by() }), warehouse)
	s.work("receive", http.MethodPost, "/v1/returns/:id/inspect", s.inspectReturn, warehouse)
}

func returnPath(id string) string { return "/v1/returns/" + id }

// forBuyers leaves out of a return what is meant for staff, where a storefront reads it.
func (s *Server) forBuyers(h endpoint) endpoint {
	return func(r *request) (reply, error) {
		out, err := h(r)
		if is, ok := out.body.(returns.Return); ok && r.shopper() {
			out.body = is.ForBuyers()
		}
		if p, is := problem.As(err); is && r.shopper() {
			if current, ok := p.More["current"].(returns.Return); ok {
				p.More["current"] = current.ForBuyers()
			}
		}
		return out, err
	}
}

// shopper: the key is a storefront's and no staff's.
func (r *request) shopper() bool {
	return !r.key.Has(tenant.Support) && !r.key.Has(tenant.Warehouse)
}

type policyBody struct {
	Version int            `json:"version"`
	Policy  returns.Policy `json:"policy"`
}

func (s *Server) getReturnPolicy(r *request) (reply, error) {
	var out policyBody
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out.Policy, out.Version, err = returns.Current(r.ctx, tx, r.tenant)
		return err
	})
	return ok(out), err
}

// putReturnPolicy makes rules the shop's own. Returns that have begun keep theirs.
func (s *Server) putReturnPolicy(r *request) (reply, error) {
	var out policyBody
	if err := decode(r.body, &out.Policy); err != nil {
		return reply{}, err
	}
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if out.Version, err = returns.PutPolicy(r.ctx, tx, r.tenant, out.Policy, r.by().Person); err != nil {
			return err
		}
		out.Policy, out.Version, err = returns.Current(r.ctx, tx, r.tenant)
		return err
	})
	return ok(out), err
}

// judgeReturn tries the rules on an order and writes nothing.
func (s *Server) judgeReturn(r *request) (reply, error) {
	in, err := returnRequest(r)
	if err != nil {
		return reply{}, err
	}
	var out returns.Verdict
	if in.Able, err = s.able(r, in); err != nil {
		return reply{}, err
	}
	err = s.inShop(r, func(tx pgx.Tx, shop tenant.Tenant) (err error) {
		out, err = returns.Judge(r.ctx, tx, shop, in)
		return err
	})
	return ok(out), err
}

// able reads what the gateways of a return's order can give back.
func (s *Server) able(r *request, in returns.Request) (refund.Able, error) {
	var orderID string
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		orderID, err = returns.Find(r.ctx, tx, r.tenant, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	return gateways.Refundable(r.ctx, s.db, s.gateways, r.tenant, orderID)
}

func returnRequest(r *request) (in returns.Request, err error) {
	if err := decode(r.body, &in); err != nil {
		return in, err
	}
	return in, in.Check(r.seesWorkflows())
}

// inShop runs fn in a transaction of the tenant's, with its rules.
func (s *Server) inShop(r *request, fn func(tx pgx.Tx, shop tenant.Tenant) error) error {
	return s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(r.ctx, tx, r.tenant)
		if err != nil {
			return err
		}
		return fn(tx, shop)
	})
}

// createReturn begins a return. Its run begins with its row.
func (s *Server) createReturn(r *request) (reply, error) {
	in, err := returnRequest(r)
	if err != nil {
		return reply{}, err
	}
	var out returns.Return
	if in.Able, err = s.able(r, in); err != nil {
		return reply{}, err
	}
	err = s.inShop(r, func(tx pgx.Tx, shop tenant.Tenant) (err error) {
		if made := r.begun(); made != "" {
			out, err = returns.Get(r.ctx, tx, r.tenant, made)
			return err
		}
		returnID := id.New()
		var sealed []byte
		if in.BankAccount != nil {
			if sealed, err = in.BankAccount.Seal(s.cfg.CredentialKeys, r.tenant, returnID); err != nil {
				return err
			}
		}
		if out, err = returns.Open(r.ctx, tx, shop, returnID, in, sealed, r.by().Person); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, returnID)
	})
	// The order's lock lets one of two in; should they meet all the same, the database does.
	if postgres.Violates(err, "a_unit_comes_back_once") {
		err = problem.New(problem.Conflict, returns.CodeUnitTaken, "Another return has units of it.")
	}
	if err != nil {
		return reply{}, err
	}
	if r.shopper() {
		out = out.ForBuyers()
	}
	return created(returnPath(out.ID), out), nil
}

func (s *Server) getReturn(r *request) (reply, error) {
	returnID, err := idParam(r, "id", "return")
	if err != nil {
		return reply{}, err
	}
	var out returns.Return
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = returns.Get(r.ctx, tx, r.tenant, returnID)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	if r.shopper() {
		return ok(out.ForBuyers()), nil
	}
	shown := shownReturn{Return: out}
	if out.Account != nil && r.seesWorkflows() {
		if shown.BankAccount, err = refund.OpenAccount(s.cfg.CredentialKeys, r.tenant, out.ID, out.Account); err != nil {
			return reply{}, err
		}
	}
	return ok(shown), nil
}

// shownReturn is a return with what support alone may see.
type shownReturn struct {
	returns.Return
	BankAccount *refund.BankAccount `json:"bank_account,omitempty"`
}

func (s *Server) listReturns(r *request) (reply, error) {
	var f problem.Fields
	limit, before := afterID(r, &f)
	q := returns.Filter{Status: r.Query("status"), OrderID: r.Query("order_id"), Warehouse: inWarehouse(r, &f), Before: before, Limit: limit + 1}
	if q.Status != "" && !slices.Contains(returns.Statuses, q.Status) {
		f.Add("status", "invalid", "no such status of a return")
	}
	if q.OrderID != "" && !id.Valid(q.OrderID) {
		f.Add("order_id", "invalid", "not an id")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []returns.Return
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = returns.List(r.ctx, tx, r.tenant, q)
		return err
	})
	if r.shopper() {
		for i := range all {
			all[i] = all[i].ForBuyers()
		}
	}
	return ok(paged(all, limit, func(o returns.Return) string { return o.ID })), err
}

// changeReturn is a person's decision about a return.
func (s *Server) changeReturn(do func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, d returns.Decision) (returns.Return, error)) endpoint {
	step := func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, in signedDecision) (returns.Return, error) {
		return do(ctx, tx, shop, returnID, returns.Decision{By: in.by, Reason: in.Reason, Version: in.Version})
	}
	return s.forBuyers(change(s, "return", returns.Get, step, func(in *signedDecision, r *request) { in.by = r.by().Person }))
}

type signedDecision struct {
	Reason  string `json:"reason"`
	Version int64  `json:"version"`
	by      string
}

// inspectReturn books what becomes of units that came, and tells runs whose holds have lost
// units to a correction.
func (s *Server) inspectReturn(r *request) (reply, error) {
	var moved stock.Moved
	inspect := func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, in returns.Inspection) (out returns.Return, err error) {
		if slices.ContainsFunc(in.Units, func(u returns.InspectedUnits) bool { return len(u.Correct) > 0 }) {
			err := operator.Allow(ctx, tx, shop.ID, r.by().Person, "supervise")
			var refused *problem.Error
			if err != nil && !(errors.As(err, &refused) && r.admin() && r.GetHeader("X-Operator") == "") {
				return out, err
			}
			in.Supervisor = true
		}
		out, moved, err = returns.Inspect(ctx, tx, shop, returnID, in)
		return out, err
	}
	out, err := change(s, "return", returns.Get, inspect, func(in *returns.Inspection, r *request) { in.By = r.by() })(r)
	if err == nil {
		s.tellShorted(r, moved.Shorted)
	}
	return out, err
}

// labelReturn asks for a label for the way back and waits some seconds for the carrier: 202
// with the approved return when it takes longer.
func (s *Server) labelReturn(r *request) (reply, error) {
	answer, err := change(s, "return", returns.Get, returns.AskLabel, func(in *returns.LabelAsked, r *request) { in.By, in.Shopper = r.by().Person, r.shopper() })(r)
	return whileLabelled(s, r, answer, err, returns.Get, func(out returns.Return) (string, bool) {
		return out.ID, out.Status == returns.Approved && out.Label != nil && out.Label.NotBooked == ""
	}, func(out returns.Return) bool { return out.Status == returns.Approved })
}

// getReturnLabels gives the carrier's labels for the way back, to be printed.
func (s *Server) getReturnLabels(r *request) (reply, error) {
	returnID, err := idParam(r, "id", "return")
	if err != nil {
		return reply{}, err
	}
	var pdf []byte
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		pdf, err = shippingdoc.ReturnLabels(r.ctx, tx, r.tenant, returnID)
		return err
	})
	if p, is := problem.As(err); is && r.shopper() {
		if current, ok := p.More["current"].(returns.Return); ok {
			p.More["current"] = current.ForBuyers()
		}
	}
	return reply{status: http.StatusOK, text: pdf, contentType: typePDF, filename: "return-" + returnID + ".pdf"}, err
}

// getReturnPassages is what the carrier has said about a return's parcels.
func (s *Server) getReturnPassages(r *request) (reply, error) {
	returnID, err := idParam(r, "id", "return")
	if err != nil {
		return reply{}, err
	}
	var list []shipping.Passage
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		if _, err := returns.Get(r.ctx, tx, r.tenant, returnID); err != nil {
			return err
		}
		list, err = shipping.Passages(r.ctx, tx, r.tenant, shipping.OfReturn(returnID))
		return err
	})
	return ok(map[string]any{"data": list}), err
}

// returnLabel gives the label of a return to whoever has its key, which nobody can guess,
// while the parcel is still with the buyer.
func (s *Server) returnLabel(c *gin.Context) {
	ctx := telemetry.With(c.Request.Context(), telemetry.Tenant(c.Param("tenant")))
	out := reply{status: http.StatusOK, contentType: typePDF, filename: "label.pdf"}
	var failure error = problem.Missing("label")
	if keyShape.MatchString(c.Param("key")) {
		failure = s.db.InTenant(ctx, c.Param("tenant"), func(tx pgx.Tx) error {
			returnID, err := returns.PublicLabel(ctx, tx, c.Param("tenant"), c.Param("key"))
			if err != nil {
				return err
			}
			out.text, err = shippingdoc.ReturnLabels(ctx, tx, c.Param("tenant"), returnID)
			return err
		})
	}
	if p, is := problem.As(failure); is {
		delete(p.More, "current") // it is for those with a key of the API
	}
	if errors.Is(failure, postgres.ErrNoTenant) {
		failure = problem.Missing("label")
	}
	h := c.Writer.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("X-Content-Type-Options", "nosniff")
	s.encode(c, out, failure).send(c)
}

// addReturnPhoto reads a picture and keeps it with its return.
func (s *Server) addReturnPhoto(r *request, file io.Reader) (endpoint, error) {
	returnID, err := idParam(r, "id", "return")
	if err != nil {
		return nil, err
	}
	if err := r.checkOperator(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	lineID := r.Query("line_id")
	return s.forBuyers(func(r *request) (reply, error) {
		var out returns.Return
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
			if out, err = returns.AddPhoto(r.ctx, tx, r.tenant, returnID, lineID, data, r.by().Person); err != nil {
				return err
			}
			return r.claim.Begun(r.ctx, tx, returnID)
		})
		return reply{status: http.StatusCreated, body: out, location: fmt.Sprintf("%s/photos/%d", returnPath(returnID), len(out.Photos))}, err
	}), nil
}

// getReturnPhoto gives a picture as it came.
func (s *Server) getReturnPhoto(r *request) (reply, error) {
	returnID, err := idParam(r, "id", "return")
	if err != nil {
		return reply{}, err
	}
	n, err := strconv.Atoi(r.Param("n"))
	if err != nil || n < 1 || n > returns.MostPhotos {
		return reply{}, problem.Missing("photo")
	}
	out := reply{status: http.StatusOK}
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out.contentType, out.text, err = returns.ReadPhoto(r.ctx, tx, r.tenant, returnID, n)
		return err
	})
	return out, err
}
