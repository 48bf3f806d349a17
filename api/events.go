package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/feed"
	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/tenant"
	"justlogistics/internal/webhook"
)

func (s *Server) eventRoutes() {
	s.handle(http.MethodGet, "/v1/events", s.listEvents, tenant.Storefront, tenant.Support)

	s.handle(http.MethodPost, "/v1/event-endpoints", s.createEndpoint)
	s.handle(http.MethodGet, "/v1/event-endpoints", s.listEndpoints)
	s.handle(http.MethodGet, "/v1/event-endpoints/:id", s.getEndpoint)
	s.handle(http.MethodPatch, "/v1/event-endpoints/:id", s.changeEndpoint)
	s.handle(http.MethodDelete, "/v1/event-endpoints/:id", s.deleteEndpoint)
	s.handle(http.MethodPost, "/v1/event-endpoints/:id/rotate-secret", s.rotateEndpointSecret)
	s.handle(http.MethodPost, "/v1/event-endpoints/:id/test", s.testEndpoint)
	s.handle(http.MethodPost, "/v1/event-endpoints/:id/resend", s.resendEvents)
	s.handle(http.MethodGet, "/v1/event-endpoints/:id/deliveries", s.listDeliveries)
}

// eventPage is not a list as the others are: whoever follows it goes from old to
// new, and needs a place to go on from when nothing is left.
type eventPage struct {
	Data  []feed.Event `json:"data"`
	After *string      `json:"after"`
	More  bool         `json:"more"`
}

func (s *Server) listEvents(r *request) (reply, error) {
	var f problem.Fields
	limit, _ := paging(r, &f)
	q := feed.Filter{After: r.Query("after"), Subject: r.Query("subject"), Limit: limit}
	if q.After != "" && !id.Valid(q.After) {
		f.Add("after", "invalid", "use the id of an event, or after as it was given")
	}
	if q.Subject != "" && !id.Valid(q.Subject) {
		f.Add("subject", "invalid", "want the id of a checkout or order")
	}
	if v := r.Query("types"); v != "" {
		q.Types = strings.Split(v, ",")
		checkTypes(&f, q.Types)
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var page feed.Page
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		page, err = feed.Read(r.ctx, tx, r.tenant, q)
		return err
	})
	if errors.Is(err, feed.ErrUnknown) {
		f.Add("after", "unknown_event", "there is no such event")
		return reply{}, f.Err()
	}
	if err != nil {
		return reply{}, err
	}
	out := eventPage{Data: page.Events, More: page.More}
	if out.Data == nil {
		out.Data = []feed.Event{}
	}
	if page.After != "" {
		out.After = &page.After
	}
	return ok(out), nil
}

func checkTypes(f *problem.Fields, types []string) {
	known := feed.Types()
	for i, t := range types {
		if !slices.Contains(known, t) {
			f.Add("types", "unknown_type", "%s: there are %s", clip(t), strings.Join(known, ", "))
			return
		}
		if slices.Contains(types[:i], t) {
			f.Add("types", "duplicate", "%s is named twice", t)
			return
		}
	}
}

type endpointBody struct {
	URL         *string   `json:"url"`
	Types       *[]string `json:"types"`
	Description *string   `json:"description"`
	Active      *bool     `json:"active"`
}

func (b endpointBody) check(f *problem.Fields, local bool) {
	if b.URL != nil {
		if err := webhook.CheckURL(*b.URL, local); err != nil {
			f.Add("url", "invalid_url", "%v", err)
		}
	}
	if b.Types != nil {
		checkTypes(f, *b.Types)
	}
	if b.Description != nil && len(*b.Description) > 200 {
		f.Add("description", "too_long", "at most 200 bytes")
	}
}

// endpointWithSecret is an endpoint in the one answer that tells its secret.
type endpointWithSecret struct {
	webhook.Endpoint
	Secret string `json:"secret"`
}

func endpointPath(endpointID string) string { return "/v1/event-endpoints/" + endpointID }

func (s *Server) createEndpoint(r *request) (reply, error) {
	var in endpointBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	if in.URL == nil {
		f.Add("url", "required", "say where")
	}
	if in.Active != nil {
		f.Add("active", "invalid", "a new endpoint is active")
	}
	in.check(&f, s.cfg.LocalEndpoints)
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var out endpointWithSecret
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if made := r.begun(); made != "" {
			out, err = s.endpointAgain(r, tx, made)
			return err
		}
		var types []string
		var description string
		if in.Types != nil {
			types = *in.Types
		}
		if in.Description != nil {
			description = *in.Description
		}
		out.Endpoint, out.Secret, err = webhook.Create(r.ctx, tx, s.cfg.CredentialKeys, r.tenant, id.New(), *in.URL, types, description)
		if err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, out.ID)
	})
	if errors.Is(err, webhook.ErrTooMany) {
		return reply{}, problem.New(problem.Conflict, "too_many_endpoints", "A tenant has at most 20 event endpoints: delete one first.")
	}
	answer := created(endpointPath(out.ID), out)
	answer.secret = true
	return answer, endpointProblem(err)
}

// endpointAgain is what an earlier request with the same idempotency key has made
// and could not tell any more.
func (s *Server) endpointAgain(r *request, tx pgx.Tx, endpointID string) (out endpointWithSecret, err error) {
	if out.Endpoint, err = webhook.Get(r.ctx, tx, r.tenant, endpointID); err != nil {
		return out, err
	}
	out.Secret, err = webhook.Secret(r.ctx, tx, s.cfg.CredentialKeys, r.tenant, endpointID)
	return out, err
}

func endpointProblem(err error) error {
	switch {
	case errors.Is(err, webhook.ErrNotFound):
		return problem.Missing("event endpoint")
	case errors.Is(err, webhook.ErrDisabled):
		return problem.New(problem.Conflict, "endpoint_disabled", "The endpoint is disabled: switch it on first (PATCH with active).")
	}
	return err
}

func (s *Server) listEndpoints(r *request) (reply, error) {
	var all []webhook.Endpoint
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = webhook.List(r.ctx, tx, r.tenant)
		return err
	})
	return ok(paged(all, webhook.MaxEndpoints, func(e webhook.Endpoint) string { return e.ID })), err
}

// onEndpoint runs fn about the endpoint of the path.
func (s *Server) onEndpoint(r *request, fn func(tx pgx.Tx, endpointID string) error) error {
	endpointID, err := idParam(r, "id", "event endpoint")
	if err != nil {
		return err
	}
	return endpointProblem(s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error { return fn(tx, endpointID) }))
}

func (s *Server) getEndpoint(r *request) (reply, error) {
	var out webhook.Endpoint
	err := s.onEndpoint(r, func(tx pgx.Tx, endpointID string) (err error) {
		out, err = webhook.Get(r.ctx, tx, r.tenant, endpointID)
		return err
	})
	return ok(out), err
}

func (s *Server) changeEndpoint(r *request) (reply, error) {
	var in endpointBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	in.check(&f, s.cfg.LocalEndpoints)
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var out webhook.Endpoint
	err := s.onEndpoint(r, func(tx pgx.Tx, endpointID string) (err error) {
		out, err = webhook.Update(r.ctx, tx, r.tenant, endpointID, webhook.Change{URL: in.URL, Types: in.Types, Description: in.Description, Active: in.Active})
		return err
	})
	return ok(out), err
}

func (s *Server) deleteEndpoint(r *request) (reply, error) {
	err := s.onEndpoint(r, func(tx pgx.Tx, endpointID string) error { return webhook.Delete(r.ctx, tx, r.tenant, endpointID) })
	return reply{status: http.StatusNoContent}, err
}

func (s *Server) rotateEndpointSecret(r *request) (reply, error) {
	if err := noFields(r); err != nil {
		return reply{}, err
	}
	var out endpointWithSecret
	err := s.onEndpoint(r, func(tx pgx.Tx, endpointID string) (err error) {
		if r.begun() != "" {
			out, err = s.endpointAgain(r, tx, endpointID)
			return err
		}
		if out.Endpoint, out.Secret, err = webhook.RotateSecret(r.ctx, tx, s.cfg.CredentialKeys, r.tenant, endpointID); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, endpointID)
	})
	answer := ok(out)
	answer.secret = true
	return answer, err
}

// noFields refuses a body that says something.
func noFields(r *request) error {
	if len(r.body) == 0 {
		return nil
	}
	return decode(r.body, &struct{}{})
}

func (s *Server) testEndpoint(r *request) (reply, error) {
	if err := noFields(r); err != nil {
		return reply{}, err
	}
	eventID, path := r.begun(), ""
	err := s.onEndpoint(r, func(tx pgx.Tx, endpointID string) (err error) {
		path = endpointPath(endpointID) + "/deliveries"
		if eventID != "" {
			return nil
		}
		made, err := webhook.Test(r.ctx, tx, r.tenant, endpointID)
		if err != nil {
			return err
		}
		eventID = made
		return r.claim.Begun(r.ctx, tx, made)
	})
	return reply{status: http.StatusAccepted, location: path, body: map[string]any{"event_id": eventID}}, err
}

type resendBody struct {
	EventID string `json:"event_id"`
	Since   string `json:"since"`
}

// resendDays is how far back events are told again; they can be read further.
const resendDays = 30

// check gives the moment since which events are wanted; zero when one is named.
func (b resendBody) check(f *problem.Fields) (since time.Time) {
	switch {
	case (b.EventID == "") == (b.Since == ""):
		f.Add("since", "invalid", "say either since or event_id")
	case b.EventID != "":
		if !id.Valid(b.EventID) {
			f.Add("event_id", "invalid", "want the id of an event")
		}
	default:
		at, err := time.Parse(time.RFC3339, b.Since)
		switch {
		case err != nil:
			f.Add("since", "invalid", "want a time like 2026-09-18T12:00:00Z")
		case time.Since(at) > resendDays*24*time.Hour:
			f.Add("since", "out_of_range", "at most %d days ago; older events are read with GET /v1/events", resendDays)
		}
		return at
	}
	return time.Time{}
}

func (s *Server) resendEvents(r *request) (reply, error) {
	var in resendBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	since := in.check(&f)
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	n, path := 1, ""
	err := s.onEndpoint(r, func(tx pgx.Tx, endpointID string) (err error) {
		path = endpointPath(endpointID) + "/deliveries"
		if in.EventID != "" {
			return webhook.ResendEvent(r.ctx, tx, r.tenant, endpointID, in.EventID)
		}
		n, err = webhook.ResendSince(r.ctx, tx, r.tenant, endpointID, since)
		return err
	})
	return reply{status: http.StatusAccepted, location: path, body: map[string]any{"events": n}}, err
}

func (s *Server) listDeliveries(r *request) (reply, error) {
	var f problem.Fields
	limit, before := paging(r, &f)
	status := r.Query("status")
	if status != "" && !slices.Contains([]string{"pending", "delivered", "given_up", "cancelled"}, status) {
		f.Add("status", "invalid", "want pending, delivered, given_up or cancelled")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var list []webhook.Delivery
	err := s.onEndpoint(r, func(tx pgx.Tx, endpointID string) (err error) {
		if _, err = webhook.Get(r.ctx, tx, r.tenant, endpointID); err != nil {
			return err
		}
		list, err = webhook.Deliveries(r.ctx, tx, r.tenant, endpointID, status, before, limit+1)
		return err
	})
	return ok(paged(list, limit, func(d webhook.Delivery) string { return d.EventID })), err
}
