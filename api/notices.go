package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/notice"
	"justlogistics/internal/problem"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// noticeRoutes are what buyers were told, and who carries texts to them.
func (s *Server) noticeRoutes() {
	s.handle(http.MethodGet, "/v1/notices", s.listNotices, tenant.Support)
	s.handle(http.MethodPost, "/v1/notices/:id/resend", s.resendNotice, tenant.Support)
	s.handle(http.MethodPut, "/v1/text-providers/:provider/credentials", s.putTexts)
	s.handle(http.MethodDelete, "/v1/text-providers/:provider/credentials", s.deleteTexts)
}

func (s *Server) listNotices(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	filter := notice.Filter{OrderID: r.Query("order_id"), Status: r.Query("status"), Before: after, Limit: limit + 1}
	if filter.Status != "" && !slices.Contains(notice.Statuses, filter.Status) {
		f.Add("status", "invalid", "no such status of a notice")
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
	var all []notice.Resource
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = notice.List(r.ctx, tx, r.tenant, filter)
		return err
	})
	return ok(paged(all, limit, func(n notice.Resource) string { return n.ID })), err
}

// resendNotice queues a notice again that was given up or suppressed.
func (s *Server) resendNotice(r *request) (reply, error) {
	noticeID, err := idParam(r, "id", "notice")
	if err != nil {
		return reply{}, err
	}
	var n notice.Resource
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		n, err = notice.Resend(r.ctx, tx, r.tenant, noticeID, r.actor())
		return err
	})
	return ok(n), err
}

// textsParam reads the provider of texts from the path: there is one.
func textsParam(r *request) error {
	if r.Param("provider") != notice.Twilio {
		return problem.Missing("provider of texts")
	}
	return nil
}

// putTexts stores a tenant's credentials for SMS and WhatsApp, encrypted. The next
// batch uses them. Nothing of them is ever shown again.
func (s *Server) putTexts(r *request) (reply, error) {
	if err := textsParam(r); err != nil {
		return reply{}, err
	}
	if err := notice.CheckTwilio(r.body); err != nil {
		var f problem.Fields
		f.Add("(body)", "invalid_credentials", "%v", err)
		return reply{}, f.Err()
	}
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		if err := tenant.SetCredentials(r.ctx, tx, s.cfg.CredentialKeys, r.tenant, notice.Twilio, json.RawMessage(r.body)); err != nil {
			return err
		}
		return timeline.Add(r.ctx, tx, r.tenant, "texts:"+notice.Twilio, "credentials_set", r.actor(), nil)
	})
	return ok(map[string]any{"provider": notice.Twilio, "configured": true}), err
}

func (s *Server) deleteTexts(r *request) (reply, error) {
	if err := textsParam(r); err != nil {
		return reply{}, err
	}
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		if err := tenant.WithdrawCredentials(r.ctx, tx, r.tenant, notice.Twilio); err != nil {
			return err
		}
		return timeline.Add(r.ctx, tx, r.tenant, "texts:"+notice.Twilio, "credentials_withdrawn", r.actor(), nil)
	})
	if errors.Is(err, tenant.ErrNoCredentials) {
		return reply{}, problem.Missing("provider with credentials")
	}
	return ok(map[string]any{"provider": notice.Twilio, "configured": false}), err
}
