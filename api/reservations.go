package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/temporalclient"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

// reservation is a hold without a payment, or the one behind a checkout.
type reservation struct {
	ID          string             `json:"id"`
	Status      string             `json:"status"`
	Channel     string             `json:"channel"`
	ExpiresAt   *time.Time         `json:"expires_at"`
	HeldUntil   *time.Time         `json:"held_until"`
	CheckoutID  *string            `json:"checkout_id"`
	OrderID     *string            `json:"order_id"`
	Lines       []stock.Line       `json:"lines"`
	CustomerRef string             `json:"customer_ref,omitempty"`
	Metadata    json.RawMessage    `json:"metadata"`
	CreatedAt   time.Time          `json:"created_at"`
	UpdatedAt   time.Time          `json:"updated_at"`
	Workflow    *checkout.Workflow `json:"workflow,omitempty"`
}

func reservationPath(id string) string { return "/v1/reservations/" + id }

// createReservation holds stock for somebody who pays elsewhere.
func (s *Server) createReservation(r *request) (reply, error) {
	var in checkout.ReservationSubmission
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	reservationID := r.begun()
	if reservationID == "" {
		reservationID = id.New()
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
			t, err := tenant.Get(r.ctx, tx, r.tenant)
			if err != nil {
				return err
			}
			if _, err := checkout.CreateReservation(r.ctx, tx, t, reservationID, in, r.admin()); err != nil {
				return err
			}
			return r.claim.Begun(r.ctx, tx, reservationID)
		})
		if err != nil {
			return reply{}, err
		}
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.left(answerIn-readIn))
	defer cancel()
	channel := in.Channel
	if channel == "" {
		channel = "b2b"
	}
	units := 0
	for _, i := range in.Items {
		units += i.Quantity
	}
	options := start(workflows.KindReservation, r.tenant, reservationID, fmt.Sprintf("reservation of %d units, %s", units, channel),
		temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet(r.tenant), temporalclient.Channel.ValueSet(channel), temporalclient.Attention.ValueSet(false)))
	var answer workflows.BeginAnswer
	_, asked := s.startAndAsk(ctx, options, workflows.ReservationName, workflows.ReservationInput{Tenant: r.tenant, ReservationID: reservationID},
		workflows.UpdateBegin, workflows.UpdateBegin, nil, &answer)
	if asked == nil && answer.FailureCode != "" {
		return reply{}, s.notReserved(r, reservationID, answer.FailureCode, answer.Shortages)
	}
	held, found, err := s.findHold(r, reservationID)
	if err != nil {
		return reply{}, err
	}
	if found {
		return created(reservationPath(reservationID), s.showReservation(r, held)), nil
	}
	if asked != nil {
		s.log.WarnContext(ctx, "no answer from the reservation's workflow", slog.Any("error", asked))
	}
	return s.giveUpReservation(r, reservationID)
}

// giveUpReservation ends a request that nobody has carried out in time, so that
// nobody does any more: a 503 leaves nothing held.
func (s *Server) giveUpReservation(r *request, reservationID string) (reply, error) {
	var held reservation
	var found bool
	var state checkout.RequestState
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		_, err := checkout.EndReservationRequest(r.ctx, tx, r.tenant, reservationID, "abandoned", "abandoned", nil)
		if err != nil {
			return err
		}
		if state, err = checkout.ReadRequest(r.ctx, tx, r.tenant, reservationID); err != nil {
			return err
		}
		held, found, err = readHold(r.ctx, tx, r.tenant, reservationID)
		return err
	})
	switch {
	case err != nil:
		return reply{}, err
	case found:
		return created(reservationPath(reservationID), s.showReservation(r, held)), nil
	case state.Status == "refused":
		return reply{}, s.notReserved(r, reservationID, state.FailureCode, state.Shortages)
	}
	return reply{}, unavailable("The stock could not be held in time. Nothing is held.")
}

func (s *Server) notReserved(r *request, reservationID, code string, shortages []stock.Shortage) error {
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		_, err := checkout.EndReservationRequest(r.ctx, tx, r.tenant, reservationID, "refused", code, shortages)
		return err
	})
	if err != nil {
		return err
	}
	if code == checkout.FailInsufficientStock {
		return problem.New(problem.Conflict, code, "There is not enough stock. Nothing is held.").With("lines", shortages)
	}
	return problem.New(problem.Conflict, code, "The stock can't be held.")
}

func (s *Server) getReservation(r *request) (reply, error) {
	reservationID, err := idParam(r, "id", "reservation")
	if err != nil {
		return reply{}, err
	}
	held, err := s.mustFindHold(r, reservationID)
	if err != nil {
		return reply{}, err
	}
	return ok(s.showReservation(r, held)), nil
}

func (s *Server) mustFindHold(r *request, reservationID string) (reservation, error) {
	held, found, err := s.findHold(r, reservationID)
	if err == nil && !found {
		err = problem.Missing("reservation")
	}
	return held, err
}

func (s *Server) findHold(r *request, reservationID string) (held reservation, found bool, err error) {
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		held, found, err = readHold(r.ctx, tx, r.tenant, reservationID)
		return err
	})
	return held, found, err
}

func readHold(ctx context.Context, tx pgx.Tx, tenantID, reservationID string) (reservation, bool, error) {
	h, err := stock.Get(ctx, tx, tenantID, reservationID)
	if errors.Is(err, stock.ErrNoHold) {
		return reservation{}, false, nil
	}
	if err != nil {
		return reservation{}, false, err
	}
	out := reservation{ID: h.ID, Status: h.Status, Channel: h.Channel, ExpiresAt: &h.ExpiresAt, HeldUntil: &h.HeldUntil, Lines: []stock.Line{},
		Metadata: json.RawMessage(`{}`), CreatedAt: h.CreatedAt, UpdatedAt: h.UpdatedAt}
	if h.CheckoutID != "" {
		out.CheckoutID = &h.CheckoutID
	}
	if h.OrderID != "" {
		out.OrderID = &h.OrderID
	}
	for _, l := range h.Lines {
		if n := l.Quantity - l.Shorted; n > 0 {
			out.Lines = append(out.Lines, stock.Line{SKU: l.SKU, Warehouse: l.Warehouse, Quantity: n})
		}
	}
	if h.CheckoutID != "" {
		return out, true, nil
	}
	asked, err := checkout.ReadReservationRequest(ctx, tx, tenantID, reservationID)
	if errors.Is(err, checkout.ErrNoRequest) {
		return out, true, nil
	}
	if err != nil {
		return out, true, err
	}
	out.CustomerRef = asked.CustomerRef
	if asked.Metadata != nil {
		out.Metadata, err = json.Marshal(asked.Metadata)
	}
	return out, true, err
}

func (s *Server) showReservation(r *request, held reservation) reservation {
	kind, subject := workflows.KindReservation, held.ID
	if held.CheckoutID != nil {
		kind, subject = workflows.KindCheckout, *held.CheckoutID
	}
	held.Workflow = s.workflowOf(r, workflows.ID(kind, r.tenant, subject), "")
	return held
}

// ownReservation finds a reservation that its caller may act on.
func (s *Server) ownReservation(r *request) (reservation, error) {
	reservationID, err := idParam(r, "id", "reservation")
	if err != nil {
		return reservation{}, err
	}
	held, err := s.mustFindHold(r, reservationID)
	if err != nil {
		return held, err
	}
	if held.CheckoutID != nil {
		return held, problem.New(problem.Conflict, "owned_by_checkout", "This reservation belongs to a checkout, which decides about it.").With("checkout_id", *held.CheckoutID)
	}
	return held, nil
}

// confirmReservation makes a paid order of a reservation.
func (s *Server) confirmReservation(r *request) (reply, error) {
	held, err := s.ownReservation(r)
	if err != nil {
		return reply{}, err
	}
	var in checkout.ConfirmSubmission
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	requestID := r.begun()
	if requestID == "" {
		requestID = id.New()
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
			if err := checkout.RequestConfirm(r.ctx, tx, r.tenant, requestID, held.ID, in); err != nil {
				return err
			}
			return r.claim.Begun(r.ctx, tx, requestID)
		})
		if err != nil {
			return reply{}, err
		}
	}
	return s.askReservation(r, held.ID, requestID, workflows.UpdateConfirm, workflows.ReservationRequest{RequestID: requestID}, "confirmed")
}

// releaseReservation frees the stock.
func (s *Server) releaseReservation(r *request) (reply, error) {
	held, err := s.ownReservation(r)
	if err != nil {
		return reply{}, err
	}
	if len(r.body) > 0 {
		if err := decode(r.body, &struct{}{}); err != nil {
			return reply{}, err
		}
	}
	return s.askReservation(r, held.ID, id.New(), workflows.UpdateRelease, workflows.ReservationRequest{}, "released")
}

type extendBody struct {
	HoldSeconds *int `json:"hold_seconds"`
}

// extendReservation sets a new end, counted from now.
func (s *Server) extendReservation(r *request) (reply, error) {
	held, err := s.ownReservation(r)
	if err != nil {
		return reply{}, err
	}
	var in extendBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	if in.HoldSeconds == nil || *in.HoldSeconds < 1 || *in.HoldSeconds > 10*366*24*3600 {
		var f problem.Fields
		f.Add("hold_seconds", "out_of_range", "how many seconds from now, 1 or more")
		return reply{}, f.Err()
	}
	return s.askReservation(r, held.ID, id.New(), workflows.UpdateExtend, workflows.ReservationRequest{Seconds: *in.HoldSeconds}, "")
}

// askReservation sends a verb to the reservation's run. wanted is the status
// that it leads to; a reservation that has it already is fine. An answer that
// does not come is a 503: every verb may be sent again.
func (s *Server) askReservation(r *request, reservationID, updateID, name string, in workflows.ReservationRequest, wanted string) (reply, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.left(cancelIn))
	defer cancel()
	var answer workflows.ReservationAnswer
	asked := s.ask(ctx, workflows.ID(workflows.KindReservation, r.tenant, reservationID), updateID, name, in, &answer)
	held, err := s.mustFindHold(r, reservationID)
	if err != nil {
		return reply{}, err
	}
	over := problem.New(problem.Conflict, "reservation_over", "This reservation is "+held.Status+".").With("reservation_status", held.Status)
	switch {
	case asked == nil && answer.Refused == "", wanted != "" && held.Status == wanted:
		return ok(s.showReservation(r, held)), nil
	case asked == nil:
		return reply{}, refusedVerb(answer.Refused, over)
	case gone(asked) && !slices.Contains([]string{"held", "short"}, held.Status):
		return reply{}, over
	}
	s.log.WarnContext(ctx, "no answer from the reservation's workflow", slog.String("update", name), slog.Any("error", asked))
	return reply{}, unavailable("The reservation did not answer in time. The same request may be sent again.")
}

func refusedVerb(code string, over *problem.Error) error {
	switch code {
	case "reservation_over":
		return over
	case "beyond_limit":
		return problem.New(problem.Refused, code, "The tenant's limit for reservations, counted from its start, does not allow that.")
	case "short_stock":
		return problem.New(problem.Conflict, code, "Units of this reservation were not found on the shelf.")
	}
	return problem.New(problem.Conflict, code, http.StatusText(http.StatusConflict))
}
