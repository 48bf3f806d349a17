package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/checkout"
	"justlogistics/internal/gateways"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/temporalclient"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
	"justlogistics/workflows"
)

const (
	// answerIn is how long a storefront waits for stock and a payment; a little
	// of it is kept for reading what was decided.
	answerIn = 10 * time.Second
	readIn   = 400 * time.Millisecond
	// cancelIn is how long a cancel waits for an attempt in doubt.
	cancelIn = 8 * time.Second
	// tryLater is told to callers when a gateway is down.
	tryLater = 30 * time.Second
)

func checkoutPath(id string) string { return "/v1/checkouts/" + id }

// createCheckout writes the checkout, then has a workflow hold the stock and
// begin the payment, and answers with what came of it.
func (s *Server) createCheckout(r *request) (reply, error) {
	var in checkout.Submission
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	checkoutID, made, err := s.continueCheckout(r)
	if err != nil {
		return reply{}, err
	}
	if checkoutID == "" {
		if checkoutID, made, err = s.writeCheckout(r, in); err != nil {
			return reply{}, err
		}
	}
	runID := s.beginCheckout(r, checkoutID, made)
	c, err := s.readCheckout(r, checkoutID)
	if err != nil {
		return reply{}, err
	}
	if c.RunID == "" {
		c.RunID = runID
	}
	return s.answerCheckout(r, c)
}

// continueCheckout finds the checkout that a request which never answered has
// begun under the same key. One that was refused for a passing reason is left
// alone: the key tries again with a new one.
func (s *Server) continueCheckout(r *request) (string, checkout.Created, error) {
	checkoutID := r.begun()
	if checkoutID == "" {
		return "", checkout.Created{}, nil
	}
	c, err := s.readCheckout(r, checkoutID)
	if err != nil {
		return "", checkout.Created{}, err
	}
	if c.Refused() && (c.Failure.Code == checkout.FailGatewayUnavailable || c.Failure.Code == checkout.FailTooManyHolds) {
		return "", checkout.Created{}, nil
	}
	made := checkout.Created{Number: c.Number, Channel: c.Channel, Currency: money.Currency(c.Totals.Currency), Total: c.Totals.Total}
	for _, item := range c.Items {
		made.Units += item.Quantity
	}
	return checkoutID, made, nil
}

func (s *Server) writeCheckout(r *request, in checkout.Submission) (string, checkout.Created, error) {
	terms := checkout.Terms{Admin: r.admin()}
	if in.Payment != nil {
		var err error
		if terms.Gateway, err = s.capabilities(r.ctx, r.tenant, in.Payment.Gateway); err != nil {
			return "", checkout.Created{}, err
		}
	}
	checkoutID := id.New()
	var made checkout.Created
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		t, err := tenant.Get(r.ctx, tx, r.tenant)
		if err != nil {
			return err
		}
		if made, err = checkout.Create(r.ctx, tx, t, checkoutID, in, terms); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, checkoutID)
	})
	return checkoutID, made, err
}

// capabilities of the gateway that a caller names; nil for auto, for a name
// that does not exist, and for one that the tenant has not set up.
func (s *Server) capabilities(ctx context.Context, tenantID, name string) (*payment.Capabilities, error) {
	if name == checkout.GatewayAuto || !checkout.KnownGateway(name) {
		return nil, nil
	}
	g, err := s.gateways.Gateway(ctx, tenantID, payment.Name(name))
	if errors.Is(err, gateways.ErrNotConfigured) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := g.Capabilities()
	return &c, nil
}

// beginCheckout starts the workflow, or finds it, and waits until it has
// something to say. Whatever happens here, the row tells the answer.
func (s *Server) beginCheckout(r *request, checkoutID string, made checkout.Created) (runID string) {
	ctx, cancel := context.WithTimeout(telemetry.With(r.ctx, telemetry.CheckoutID(checkoutID)), r.left(answerIn-readIn))
	defer cancel()
	noun := "units"
	if made.Units == 1 {
		noun = "unit"
	}
	options := start(workflows.KindCheckout, r.tenant, checkoutID, fmt.Sprintf("%s: %d %s, %s", made.Number, made.Units, noun, money.Format(made.Total, made.Currency)),
		temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet(r.tenant), temporalclient.OrderState.ValueSet(string(checkout.AwaitingPayment)),
			temporalclient.Channel.ValueSet(made.Channel), temporalclient.Number.ValueSet(made.Number), temporalclient.Attention.ValueSet(false)))
	var answer workflows.BeginAnswer
	runID, err := s.startAndAsk(ctx, options, workflows.CheckoutName, workflows.CheckoutInput{Tenant: r.tenant, CheckoutID: checkoutID},
		workflows.UpdateBegin, workflows.UpdateBegin, nil, &answer)
	if err != nil && !gone(err) {
		s.log.WarnContext(ctx, "no answer from the checkout's workflow", slog.Any("error", err))
	}
	return runID
}

func (s *Server) readCheckout(r *request, checkoutID string) (c checkout.Resource, err error) {
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		c, err = checkout.Read(r.ctx, tx, r.tenant, checkoutID)
		return err
	})
	if errors.Is(err, checkout.ErrNone) {
		return c, problem.Missing("checkout")
	}
	return c, err
}

// answerCheckout says what became of a checkout that was just begun.
func (s *Server) answerCheckout(r *request, c checkout.Resource) (reply, error) {
	if c.Refused() {
		return reply{}, s.refusal(r, c)
	}
	c = s.show(r, c)
	if c.Status == checkout.Reserving {
		s.counts.unstarted.Inc()
		return reply{status: http.StatusAccepted, body: c, location: checkoutPath(c.ID)}, nil
	}
	return created(checkoutPath(c.ID), c), nil
}

func (s *Server) show(r *request, c checkout.Resource) checkout.Resource {
	if !r.seesWorkflows() {
		c = c.ForBuyers()
	}
	c.Workflow = s.workflowOf(r, workflows.ID(workflows.KindCheckout, r.tenant, c.ID), c.RunID)
	return c
}

// refusal is the answer for a checkout that was not to be.
func (s *Server) refusal(r *request, c checkout.Resource) error {
	code, message := c.Failure.Code, c.Failure.Message
	switch code {
	case checkout.FailInsufficientStock:
		return problem.New(problem.Conflict, code, "There is not enough stock. Nothing is held.").With("lines", c.Shortages)
	case checkout.FailTooManyHolds:
		return problem.New(problem.TooMany, code, "This buyer holds too much without paying: "+message+".").After(time.Minute)
	case checkout.FailGatewayUnavailable:
		return s.gatewayDown(r, c, "", c.Gateway)
	case checkout.FailPaymentRefused:
		return problem.New(problem.Refused, code, "The gateway does not accept this payment: "+message+".")
	default: // FailReplaceRefused
		return problem.New(problem.Conflict, code, "The other checkout can't be replaced now: "+message+".")
	}
}

// gatewayDown is the answer when a payment could not begin. alternatives are the
// other gateways of the tenant's route that would take it and are not down.
func (s *Server) gatewayDown(r *request, c checkout.Resource, paymentID, named string) error {
	others := []payment.Name{}
	// With auto, every one has been tried.
	if named != checkout.GatewayAuto {
		var t tenant.Tenant
		var q tenant.RouteQuery
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
			if t, err = tenant.Get(r.ctx, tx, r.tenant); err != nil {
				return err
			}
			q, err = checkout.RouteQuery(r.ctx, tx, r.tenant, c.ID, paymentID)
			return err
		})
		if err != nil {
			return err
		}
		ready, _, err := s.gateways.Route(r.ctx, r.tenant, t.Settings, q)
		if err != nil {
			return err
		}
		others = append(others, gateways.Without(ready, payment.Name(named))...)
	}
	return problem.New(problem.Unavailable, checkout.FailGatewayUnavailable, "The gateway can't be reached. Nothing is held for it.").After(tryLater).With("alternatives", others)
}

func (s *Server) getCheckout(r *request) (reply, error) {
	checkoutID, err := idParam(r, "id", "checkout")
	if err != nil {
		return reply{}, err
	}
	r.ctx = telemetry.With(r.ctx, telemetry.CheckoutID(checkoutID))
	c, err := s.readCheckout(r, checkoutID)
	if err != nil {
		return reply{}, err
	}
	return ok(s.show(r, c)), nil
}

// idParam reads an id of the path; what is no id does not exist.
func idParam(r *request, name, what string) (string, error) {
	v := r.Param(name)
	if !id.Valid(v) {
		return "", problem.Missing(what)
	}
	return v, nil
}

// tryPayment begins another attempt while the hold lives.
func (s *Server) tryPayment(r *request) (reply, error) {
	checkoutID, err := idParam(r, "id", "checkout")
	if err != nil {
		return reply{}, err
	}
	var in checkout.PaymentChoice
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	paymentID := r.begun()
	if paymentID == "" {
		if paymentID, err = s.writeTry(r, checkoutID, in); err != nil {
			return reply{}, err
		}
	}
	ctx, cancel := context.WithTimeout(telemetry.With(r.ctx, telemetry.CheckoutID(checkoutID)), r.left(answerIn-readIn))
	defer cancel()
	var answer workflows.TryAnswer
	asked := s.ask(ctx, workflows.ID(workflows.KindCheckout, r.tenant, checkoutID), paymentID, workflows.UpdateTry, workflows.TryRequest{PaymentID: paymentID, Gateway: in.Gateway}, &answer)
	c, err := s.readCheckout(r, checkoutID)
	if err != nil {
		return reply{}, err
	}
	switch {
	case asked == nil && answer.Refused != "":
		return reply{}, s.tryRefused(r, c, paymentID, in.Gateway, answer.Refused)
	case asked == nil, hasBegun(c, paymentID):
		return created(checkoutPath(c.ID), s.show(r, c)), nil
	case gone(asked):
		if c.Status.Open() {
			s.log.ErrorContext(ctx, "an open checkout has no run", slog.Any("error", asked))
			return reply{}, unavailable("The checkout can't take another attempt at this moment.")
		}
		return reply{}, closedForTry(c)
	}
	s.log.WarnContext(ctx, "no answer to another attempt", slog.Any("error", asked))
	return reply{}, unavailable("There is no answer yet. The same request may be sent again.")
}

func unavailable(detail string) error {
	return problem.New(problem.Unavailable, "temporarily_unavailable", detail).After(2 * time.Second)
}

// hasBegun reports whether an attempt exists and can be paid, or was.
func hasBegun(c checkout.Resource, paymentID string) bool {
	for _, p := range c.Payments {
		if p.ID == paymentID {
			return p.Redirect != nil || p.Status.Approved() || p.Status == payment.StatusProcessing
		}
	}
	return false
}

func (s *Server) writeTry(r *request, checkoutID string, in checkout.PaymentChoice) (string, error) {
	terms := checkout.Terms{Admin: r.admin()}
	var err error
	if terms.Gateway, err = s.capabilities(r.ctx, r.tenant, in.Gateway); err != nil {
		return "", err
	}
	// Another attempt ends those before it. Where it is known that it can't begin,
	// it isn't asked for: what the buyer can pay with now stays.
	down := in.Gateway != checkout.GatewayAuto && s.gateways.Open(r.ctx, r.tenant, payment.Name(in.Gateway))
	var stays checkout.Resource
	paymentID := id.New()
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		t, err := tenant.Get(r.ctx, tx, r.tenant)
		if err != nil {
			return err
		}
		c, err := checkout.Read(r.ctx, tx, r.tenant, checkoutID)
		if errors.Is(err, checkout.ErrNone) {
			return problem.Missing("checkout")
		}
		if err != nil {
			return err
		}
		var f problem.Fields
		currency := money.Currency(c.Totals.Currency)
		if err := checkout.CheckGateway(r.ctx, tx, t, &f, "gateway", in.Gateway, currency, terms); err != nil {
			return err
		}
		checkout.CheckAmount(&f, "gateway", c.Totals.Total, currency, terms)
		if in.ReturnURL == "" {
			in.ReturnURL = c.ReturnURL
		}
		checkout.CheckReturnURL(&f, "return_url", t, in.ReturnURL)
		checkout.CheckChoice(&f, "", in, terms)
		if err := f.Err(); err != nil {
			return err
		}
		if c.Status != checkout.AwaitingPayment {
			return closedForTry(c)
		}
		if down {
			stays = c
			return nil
		}
		if err := checkout.SetReturnURL(r.ctx, tx, r.tenant, checkoutID, in.ReturnURL); err != nil {
			return err
		}
		if choice, made := in.Made(); made {
			if err := payment.Choose(r.ctx, tx, r.tenant, paymentID, checkoutID, choice); err != nil {
				return err
			}
		}
		return r.claim.Begun(r.ctx, tx, paymentID)
	})
	if err == nil && down {
		return "", s.gatewayDown(r, stays, "", in.Gateway)
	}
	return paymentID, err
}

func closedForTry(c checkout.Resource) error {
	if c.Status == checkout.Paid {
		return alreadyPaid(c)
	}
	return problem.New(problem.Conflict, "not_awaiting_payment", "This checkout is "+string(c.Status)+".").With("checkout_status", c.Status)
}

func alreadyPaid(c checkout.Resource) error {
	return problem.New(problem.Conflict, "already_paid", "This checkout is paid.").With("order_id", c.OrderID)
}

func (s *Server) tryRefused(r *request, c checkout.Resource, paymentID, gateway, code string) error {
	switch code {
	case "already_paid":
		return alreadyPaid(c)
	case checkout.FailGatewayUnavailable:
		return s.gatewayDown(r, c, paymentID, gateway)
	case checkout.FailPaymentRefused:
		return problem.New(problem.Refused, code, "The gateway does not accept this payment.")
	case "payment_in_progress":
		return problem.New(problem.Conflict, code, "An earlier attempt is being paid, or it is not known yet whether it was.").After(5 * time.Second)
	case "hold_ended":
		return problem.New(problem.Conflict, code, "The time to pay is over.")
	}
	return problem.New(problem.Conflict, code, "This checkout is "+string(c.Status)+".").With("checkout_status", c.Status)
}

type cancelBody struct {
	Reason string `json:"reason"`
}

// cancelCheckout asks the workflow, which rules the race with the money.
func (s *Server) cancelCheckout(r *request) (reply, error) {
	checkoutID, err := idParam(r, "id", "checkout")
	if err != nil {
		return reply{}, err
	}
	var in cancelBody
	if len(r.body) > 0 {
		if err := decode(r.body, &in); err != nil {
			return reply{}, err
		}
	}
	if len(in.Reason) > 500 {
		var f problem.Fields
		f.Add("reason", "too_long", "at most 500 bytes")
		return reply{}, f.Err()
	}
	r.ctx = telemetry.With(r.ctx, telemetry.CheckoutID(checkoutID))
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		asked, err := checkout.RequestCancel(r.ctx, tx, r.tenant, checkoutID, in.Reason)
		if errors.Is(err, checkout.ErrNone) {
			return problem.Missing("checkout")
		}
		if err != nil || !asked {
			return err
		}
		return timeline.Add(r.ctx, tx, r.tenant, checkoutID, "cancel_requested", "key:"+r.key.ID, nil)
	})
	if err != nil {
		return reply{}, err
	}
	c, err := s.readCheckout(r, checkoutID)
	if err != nil {
		return reply{}, err
	}
	if c.Status.Open() {
		ctx, cancel := context.WithTimeout(r.ctx, r.left(cancelIn))
		defer cancel()
		var answer workflows.CancelAnswer
		err := s.ask(ctx, workflows.ID(workflows.KindCheckout, r.tenant, checkoutID), id.New(), workflows.UpdateCancel, workflows.CancelRequest{}, &answer)
		if err != nil {
			s.log.InfoContext(ctx, "a cancel is not decided yet", slog.Any("error", err))
		}
		if c, err = s.readCheckout(r, checkoutID); err != nil {
			return reply{}, err
		}
	}
	switch c.Status {
	case checkout.Cancelled:
		return ok(s.show(r, c)), nil
	case checkout.Paid:
		return reply{}, alreadyPaid(c)
	case checkout.Expired, checkout.PaymentFailed:
		return reply{}, problem.New(problem.Conflict, "not_cancellable", "This checkout is over: "+string(c.Status)+".").With("checkout_status", c.Status)
	}
	return reply{status: http.StatusAccepted, body: s.show(r, c), location: checkoutPath(c.ID)}, nil
}
