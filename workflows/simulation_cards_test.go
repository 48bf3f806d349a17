package workflows_test

import (
	"context"
	"time"

	"go.temporal.io/sdk/temporal"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
)

// What the storefront's token makes of an attempt at Mercado Pago, which is
// like Stripe without one.
const (
	tokenApproves  = "approves"
	tokenDeclines  = "declines"
	tokenProcesses = "processes"         // and approves some minutes later
	tokenFails     = "processes to fail" // and declines
)

// begin is activities.Payments.BeginPayment.
func (s *simulation) begin(ctx context.Context, in activities.PaymentRef) (activities.Asked, error) {
	nobodyKnows := func() (activities.Asked, error) {
		return activities.Asked{}, temporal.NewApplicationError("the gateway did not say whether the attempt was created", activities.TypeUnknown)
	}
	token := ""
	return asking(ctx, s, "BeginPayment", in.PaymentID, func(p *payment.Payment) {
		now := s.db.now()
		if p.BeginTriedAt == nil {
			p.BeginTriedAt = &now
		}
		if token = s.db.tokenOf(p); token != "" && p.Status == payment.StatusPending {
			p.ByToken = true
		}
	}, func(p payment.Payment, at time.Time) (activities.Asked, error) {
		row, out := s.db.payment(p.ID), activities.Asked{AskedAt: at}
		p.ByToken = row.ByToken
		if p.BegunAt != nil && (!p.ByToken || p.Status != payment.StatusPending) {
			return out, nil
		}
		if p.Status != payment.StatusPending {
			return out, givenUp()
		}
		before := payment.Untried
		if p.BeginTriedAt != nil {
			before = s.looked(p)
			if said, _ := before.Answer(); p.BegunAt != nil {
				if said.Outcome != payment.OutcomePending || said.Processing {
					out.Answer = said
				}
				return out, nil
			}
		}
		a, found := before.Answer()
		if found = found && p.ByToken && a.Code != payment.CodeNoSuchAttempt; !found {
			a = s.bank.begin(p, token, before)
		}
		switch {
		case a.Outcome == payment.OutcomePending && !a.Processing:
		case p.ByToken && a.Code != payment.CodeNoSuchAttempt:
			out.Answer = a
		default:
			return out, temporal.NewNonRetryableApplicationError("refused", activities.TypeInvalid, nil)
		}
		if !s.db.begun(row, a) {
			return out, givenUp()
		}
		return out, nil
	}, nobodyKnows)
}

func givenUp() error {
	return temporal.NewNonRetryableApplicationError("the attempt was given up before it began", activities.TypeUnavailable, nil)
}

// begun is payment.Begun with what is written beside it.
func (d *database) begun(p *payment.Payment, a payment.Answer) bool {
	switch {
	case p.BegunAt != nil:
		return true // by another try, while this one was taken for dead
	case p.Status != payment.StatusPending && (p.Status != payment.StatusUnknown || !p.ByToken):
		return false
	}
	now := d.now()
	until := now.Add(capabilities(p.Gateway).PayableFor)
	p.Reference, p.BegunAt, p.PayableUntil = a.Reference, &now, &until
	if d.defers && p.Gateway != payment.Flow {
		lapses := now.Add(captureFor)
		p.CaptureUntil = &lapses
	}
	if p.ByToken {
		d.token = ""
	}
	d.offer()
	return true
}

func (d *database) offer() {
	if d.checkout.Status == checkout.Reserving {
		d.setCheckout(checkout.AwaitingPayment)
	}
}

// tokenOf is the token in payment.Chosen: for the checkout's first attempt, at
// the gateway that made it.
func (d *database) tokenOf(p *payment.Payment) string {
	if p.Attempt != 1 || p.Gateway != payment.MercadoPago {
		return ""
	}
	return d.token
}

// notBegun is activities.Payments.NotBegun.
func (s *simulation) notBegun(ctx context.Context, in activities.PaymentRef, class string) error {
	_, err := s.step(ctx, "NotBegun", func() {
		p := s.db.payment(in.PaymentID)
		if p.Attempt == 1 {
			s.db.token = ""
		}
		switch {
		case p.Status != payment.StatusPending:
		case p.ByToken:
			s.db.setPayment(p, payment.StatusUnknown)
			s.doubted[p.ID] = true
			s.db.offer()
		case p.BegunAt == nil:
			s.db.setPayment(p, payment.StatusCancelled)
			p.Closed, p.Code = true, checkout.FailGatewayUnavailable
			if class == activities.TypeInvalid {
				p.Code = checkout.FailPaymentRefused
			}
		}
	})
	return err
}

// charge is what Mercado Pago does with a token. Its idempotency key is the
// payment's id: the same again is the same payment.
func (s *simulation) charge(x *session, token string) {
	p := s.db.payment(x.paymentID)
	x.paidAt = s.env.Now()
	switch token {
	case tokenApproves:
		s.bank.take(x)
		s.notify(p, payment.OutcomeApproved, s.plan.TokenTardy)
	case tokenDeclines:
		x.state = failed
		s.notify(p, payment.OutcomeDeclined, s.plan.TokenTardy)
	default:
		x.state = processing
		s.notify(p, payment.OutcomeUnknown, s.plan.TokenTardy)
		s.later(7*time.Minute, func() {
			if x.paidAt = s.env.Now(); token == tokenFails {
				x.state = failed
			} else {
				s.bank.take(x)
			}
			s.notify(p, payment.OutcomeUnknown, s.plan.TokenTardy)
		})
	}
}

// outlives has the second half of a call happen after its worker was given up:
// the gateway is reached, and its answer recorded, when others have gone on.
func (s *simulation) outlives(name string, n int) (fault, bool) {
	return s.as(name, n, outlived)
}
