package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
	"justlogistics/internal/temporalclient"
	"justlogistics/internal/timeline"
	"justlogistics/workflows"
)

// captureIn is how long a capture or void is waited for.
const captureIn = 8 * time.Second

func paymentPath(id string) string { return "/v1/payments/" + id }

func (s *Server) getPayment(r *request) (reply, error) {
	paymentID, err := idParam(r, "id", "payment")
	if err != nil {
		return reply{}, err
	}
	p, err := s.readPayment(r, paymentID)
	return ok(p), err
}

func (s *Server) readPayment(r *request, paymentID string) (p payment.Resource, err error) {
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		p, err = payment.Read(r.ctx, tx, r.tenant, paymentID)
		return err
	})
	if errors.Is(err, payment.ErrNoPayment) {
		return p, problem.Missing("payment")
	}
	return p, err
}

type captureBody struct {
	Amount *int64 `json:"amount"`
}

// capturePayment takes an authorization's money, all of it or less.
func (s *Server) capturePayment(r *request) (reply, error) {
	var in captureBody
	if len(r.body) > 0 {
		if err := decode(r.body, &in); err != nil {
			return reply{}, err
		}
	}
	amount := int64(0)
	if in.Amount != nil {
		if amount = *in.Amount; amount < 1 {
			var f problem.Fields
			f.Add("amount", "out_of_range", "more than zero, in minor units")
			return reply{}, f.Err()
		}
	}
	return s.actOnAuthorization(r, func(ctx context.Context, tx pgx.Tx, paymentID string) (bool, error) {
		p, done, err := payment.AskCapture(ctx, tx, r.tenant, paymentID, amount)
		if err != nil || done {
			return done, err
		}
		return false, timeline.Add(ctx, tx, r.tenant, p.CheckoutID, "capture_asked", r.actor(), map[string]any{"payment_id": p.ID, "amount": p.CaptureAmount})
	}, func(p payment.Resource) bool { return p.Captured > 0 })
}

type voidBody struct {
	Reason string `json:"reason"`
}

// voidPayment gives an authorization back.
func (s *Server) voidPayment(r *request) (reply, error) {
	var in voidBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	switch {
	case in.Reason == "":
		f.Add("reason", "required", "say why")
	case len(in.Reason) > 200:
		f.Add("reason", "too_long", "at most 200 bytes")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	return s.actOnAuthorization(r, func(ctx context.Context, tx pgx.Tx, paymentID string) (bool, error) {
		p, done, err := payment.AskVoid(ctx, tx, r.tenant, paymentID, in.Reason)
		if err != nil || done {
			return done, err
		}
		return false, timeline.Add(ctx, tx, r.tenant, p.CheckoutID, "void_asked", r.actor(), map[string]any{"payment_id": p.ID})
	}, func(p payment.Resource) bool { return p.Status == payment.StatusCancelled })
}

// actOnAuthorization writes what is wanted, has a run do it, and answers with
// the payment: 201 when it is done, 200 when it was done before, 202 while it
// is not known yet or a person was asked.
func (s *Server) actOnAuthorization(r *request, write func(ctx context.Context, tx pgx.Tx, paymentID string) (done bool, err error), succeeded func(p payment.Resource) bool) (reply, error) {
	paymentID, err := idParam(r, "id", "payment")
	if err != nil {
		return reply{}, err
	}
	done := false
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		done, err = write(r.ctx, tx, paymentID)
		return err
	})
	if err != nil {
		return reply{}, s.authorizationRefused(r, paymentID, err)
	}
	if !done {
		s.runCapture(r, paymentID)
	}
	p, err := s.readPayment(r, paymentID)
	switch {
	case err != nil:
		return reply{}, err
	case done:
		return ok(p), nil
	case succeeded(p):
		return created(paymentPath(p.ID), p), nil
	case p.Status != payment.StatusAuthorized:
		return reply{}, s.authorizationRefused(r, paymentID, payment.ErrNotAuthorized)
	}
	return reply{status: http.StatusAccepted, body: p, location: paymentPath(p.ID)}, nil
}

// runCapture starts the run, or finds it, and waits until it has something to
// say. When Temporal is away the workers begin it.
func (s *Server) runCapture(r *request, paymentID string) {
	ctx, cancel := context.WithTimeout(r.ctx, r.left(captureIn))
	defer cancel()
	options := start(workflows.KindCapture, r.tenant, paymentID, "authorization of payment "+paymentID,
		temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet(r.tenant), temporalclient.Attention.ValueSet(false)))
	options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	var answer workflows.CaptureAnswer
	_, err := s.startAndAsk(ctx, options, workflows.CaptureName, workflows.CaptureInput{Tenant: r.tenant, PaymentID: paymentID}, id.New(), workflows.UpdateBegin, nil, &answer)
	if err != nil && !gone(err) {
		s.leave(r.ctx, r.tenant, workflows.KindCapture, paymentID, err)
	}
}

// authorizationRefusals are what callers read; the codes are the errors' own.
var authorizationRefusals = []struct {
	code error
	says string
}{
	{payment.ErrNotAuthorized, "This payment is not authorized."},
	{payment.ErrCaptureWindowOver, "The time to capture it is over."},
	{payment.ErrCapturedOtherwise, "Another amount was captured."},
	{payment.ErrAlreadyCaptured, "It is captured: refund it instead."},
	{payment.ErrCaptureAsked, "A capture is under way: of another amount, or where a void is asked for."},
	{payment.ErrVoidAsked, "It is being given back."},
}

// authorizationRefused says why nothing can be captured or voided.
func (s *Server) authorizationRefused(r *request, paymentID string, err error) error {
	if errors.Is(err, payment.ErrNoPayment) {
		return problem.Missing("payment")
	}
	if errors.Is(err, payment.ErrCaptureAmount) {
		var f problem.Fields
		f.Add("amount", payment.ErrCaptureAmount.Error(), "more than was authorized")
		return f.Err()
	}
	for _, refusal := range authorizationRefusals {
		if !errors.Is(err, refusal.code) {
			continue
		}
		p, err := s.readPayment(r, paymentID)
		if err != nil {
			return err
		}
		return problem.New(problem.Conflict, refusal.code.Error(), refusal.says).With("payment_status", p.Status).With("captured", p.Captured)
	}
	return err
}
