package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"justlogistics/internal/gateways"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/telemetry"
	"justlogistics/workflows"
)

// signalIn is how long the handler tries to tell the workflow at once. What it
// does not manage the inbox loop does.
const signalIn = time.Second

// webhook takes what a provider says: checked, stored, acknowledged. What it
// means is decided by a workflow that asks the provider.
func (s *Server) webhook(c *gin.Context) {
	out, err := s.takeNotification(c)
	s.encode(c, out, err).send(c)
}

type received struct {
	Received bool `json:"received"`
}

func (s *Server) takeNotification(c *gin.Context) (reply, error) {
	tenantID, name := c.Param("tenant"), payment.Name(c.Param("gateway"))
	if carrier := shipping.Name(name); slices.Contains(shipping.Names(), carrier) {
		return s.takeCarrierNews(c, tenantID, carrier)
	}
	ctx := telemetry.With(c.Request.Context(), telemetry.Tenant(tenantID))
	gateway, err := s.gateways.Gateway(ctx, tenantID, name)
	if errors.Is(err, gateways.ErrNotConfigured) || errors.Is(err, postgres.ErrNoTenant) {
		return reply{}, problem.New(problem.NotFound, "not_found", "No notifications are taken at this address.")
	}
	if err != nil {
		return reply{}, err
	}
	if !gateway.Capabilities().Notifications {
		return reply{}, problem.New(problem.NotFound, "no_notifications", "This gateway sends no notifications.")
	}
	limitBody(c, maxBody)
	body, err := readRaw(c)
	if err != nil {
		return reply{}, err
	}
	n, err := gateway.ParseNotification(payment.Delivery{Header: c.Request.Header, Query: c.Request.URL.Query(), Body: body}, time.Now())
	if errors.Is(err, payment.ErrUnreadable) && !gateway.Capabilities().Signed {
		// Anybody can send it, and it names nothing: like one that names what
		// is not ours.
		s.counts.refused.WithLabelValues(string(name), "unreadable").Inc()
		return ok(received{true}), nil
	}
	if err != nil {
		return reply{}, s.refuseNotification(name, err)
	}
	if !n.Signed && !s.hints.allow(c.ClientIP(), time.Now()) {
		s.counts.refused.WithLabelValues(string(name), "too_many").Inc()
		return reply{}, problem.New(problem.TooMany, "too_many_requests", "Too many unsigned notifications from this address.").After(10 * time.Second)
	}
	return ok(received{true}), s.keepNotification(ctx, tenantID, name, n)
}

func readRaw(c *gin.Context) ([]byte, error) {
	body, err := c.GetRawData()
	if tooLarge(err) {
		return nil, problem.New(kindTooLarge, "body_too_large", "A body has at most 1 MiB.")
	}
	if err != nil {
		return nil, problem.New(problem.Malformed, "body_cut_off", "The body ended early.")
	}
	return body, nil
}

func (s *Server) refuseNotification(name payment.Name, err error) error {
	count := func(reason string) { s.counts.refused.WithLabelValues(string(name), reason).Inc() }
	switch {
	case errors.Is(err, payment.ErrForged):
		count("forged")
		return problem.New(kindUnauthorized, "bad_signature", "The signature is missing or wrong.")
	case errors.Is(err, payment.ErrStale):
		count("stale")
		return problem.New(kindUnauthorized, "stale_signature", "The notification is too old.")
	case errors.Is(err, payment.ErrNoNotifications):
		return problem.New(problem.NotFound, "no_notifications", "This gateway sends no notifications.")
	case errors.Is(err, payment.ErrUnreadable):
		count("unreadable")
		return problem.New(problem.Malformed, "unreadable", "The notification can't be read.")
	}
	return err
}

// kept is what became of a notification that was stored.
type kept struct {
	inboxID string
	payment payment.Payment
	// tell: the run of the payment's checkout is to be told now. leave: by the
	// leave that a hint has once a minute, to be given back if that fails.
	tell, leave bool
	// refundRun is the subject of the Refund run that is to be told; empty: none.
	refundRun string
}

// keepNotification stores a notification and tells the workflows of its payment
// and its refund.
func (s *Server) keepNotification(ctx context.Context, tenantID string, name payment.Name, n payment.Notification) error {
	var k kept
	err := s.db.InTenant(ctx, tenantID, func(tx pgx.Tx) (err error) {
		k, err = s.storeNotification(ctx, tx, tenantID, name, n)
		return err
	})
	if err != nil || !k.tell {
		return err
	}
	taken := s.later(ctx, signalIn, func(ctx context.Context) {
		news := workflows.News{PaymentID: k.payment.ID}
		if k.refundRun != "" {
			// A run that has ended hears nothing: its payment's look-up tells.
			if err := s.temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindRefund, tenantID, k.refundRun), "", workflows.SignalNews, news); err != nil && !gone(err) {
				s.log.InfoContext(ctx, "news of a refund are left to the inbox loop", slog.String("payment_id", k.payment.ID), slog.Any("error", err))
			}
		}
		err := s.temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindCheckout, tenantID, k.payment.CheckoutID), "", workflows.SignalNews, news)
		if err == nil {
			return
		}
		s.log.InfoContext(ctx, "news is left to the inbox loop", slog.String("payment_id", k.payment.ID), slog.Any("error", err))
		s.notAsked(context.WithoutCancel(ctx), tenantID, k)
	})
	if !taken {
		s.notAsked(ctx, tenantID, k)
	}
	return nil
}

// notAsked gives back a hint's leave; if that fails too it waits for its minute.
func (s *Server) notAsked(ctx context.Context, tenantID string, k kept) {
	if !k.leave {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, signalIn)
	defer cancel()
	err := s.db.InTenant(ctx, tenantID, func(tx pgx.Tx) error { return inbox.NotAsked(ctx, tx, tenantID, k.payment.ID, k.inboxID) })
	if err != nil {
		s.log.WarnContext(ctx, "an unsigned notification waits a minute longer", slog.String("payment_id", k.payment.ID), slog.Any("error", err))
	}
}

func (s *Server) storeNotification(ctx context.Context, tx pgx.Tx, tenantID string, name payment.Name, n payment.Notification) (k kept, err error) {
	refund, ofRefund, err := inbox.FindRefund(ctx, tx, tenantID, name, n.RefundID, n.RefundReference)
	if err != nil {
		return k, err
	}
	if ofRefund {
		n.PaymentID, n.Reference = refund.PaymentID, ""
		if err := payment.TraceRefund(ctx, tx, tenantID, refund.ID, n.RefundReference, n.Signed); err != nil {
			return k, err
		}
	}
	p, known, err := inbox.FindPayment(ctx, tx, tenantID, name, n.PaymentID, n.Reference)
	if err != nil {
		return k, err
	}
	news := inbox.News{Gateway: name, Kind: inbox.Webhook, EventID: n.EventID, EventType: n.Type, PaymentID: n.PaymentID, Reference: n.Reference, Signed: n.Signed, Claim: n.Claim, RefundID: refund.ID}
	if known {
		news.PaymentID = p.ID
	}
	switch {
	case !n.Relevant:
		return k, inbox.StoreIgnored(ctx, tx, tenantID, news, "this type of event changes nothing")
	case !known && !n.Signed:
		// Anybody can say anything of a payment that does not exist.
		s.counts.refused.WithLabelValues(string(name), "names_nothing_of_ours").Inc()
		return k, nil
	}
	stored, err := inbox.Store(ctx, tx, tenantID, news)
	if err != nil || !stored.Pending || !known {
		return k, err
	}
	// Providers send several events about one thing within milliseconds: the
	// first of them makes the run ask, and what it is told covers the others.
	if p, err = payment.Lock(ctx, tx, tenantID, p.ID); err != nil {
		return k, err
	}
	if !ofRefund && inbox.Redundant(p, n.Claim) {
		return k, inbox.MarkIgnored(ctx, tx, tenantID, stored.ID, inbox.ReasonRedundant)
	}
	told, err := inbox.HandedOn(ctx, tx, tenantID, p.ID, stored.ID)
	if err != nil || p.CheckoutID == "" || told && !ofRefund {
		return k, err
	}
	k = kept{inboxID: stored.ID, payment: p, tell: true, refundRun: refund.Run}
	if !n.Signed {
		// Anybody can send one: it makes us ask once a minute and no more.
		k.tell, err = inbox.MayAsk(ctx, tx, tenantID, p.ID, stored.ID)
		k.leave = k.tell
	}
	return k, err
}

// limitBody bounds a body that is read in other ways than by readBody.
func limitBody(c *gin.Context, most int64) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, most)
}
