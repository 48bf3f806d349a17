package activities

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/timeline"
)

// Captures take the money of authorizations, or give them back.
type Captures struct {
	DB       *postgres.DB
	Gateways Gateways
}

// CaptureRef names an authorized payment.
type CaptureRef struct {
	Tenant    string `json:"tenant"`
	PaymentID string `json:"payment_id"`
}

// CaptureView is an authorized payment as its workflow sees it.
type CaptureView struct {
	CheckoutID string         `json:"checkout_id"`
	Gateway    payment.Name   `json:"gateway"`
	Status     payment.Status `json:"status"`
	Authorized int64          `json:"authorized"` // minor units
	Currency   money.Currency `json:"currency"`
	// Capture is what is to be captured, zero for nothing; Void says that the
	// authorization is to be given back.
	Capture int64 `json:"capture,omitempty"`
	Void    bool  `json:"void,omitempty"`
}

// LoadCapture reads what is to be done with an authorization.
func (a *Captures) LoadCapture(ctx context.Context, in CaptureRef) (v CaptureView, err error) {
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		p, err := payment.Load(ctx, tx, in.Tenant, in.PaymentID)
		v = CaptureView{CheckoutID: p.CheckoutID, Gateway: p.Gateway, Status: p.Status, Authorized: p.Amount, Currency: p.Currency, Capture: p.CaptureAmount, Void: p.VoidReason != ""}
		return err
	})
	return v, classify(err)
}

// CapturePayment takes what is to be captured of an authorization, or finds
// that it was taken: one that was tried before is looked up first. The answer
// is to be recorded (RecordAnswer).
func (a *Captures) CapturePayment(ctx context.Context, in CaptureRef) (Asked, error) {
	return a.effect(ctx, in, payment.EffectCapture, func(p payment.Payment, g payment.Gateway, before payment.Looked) (payment.Answer, error) {
		if p.CaptureAmount == 0 {
			return payment.Answer{}, &payment.Failure{Gateway: p.Gateway, Class: payment.ClassInvalid, Code: "nothing_to_capture", Message: "nobody wants anything of it captured"}
		}
		return g.Capture(ctx, p.At(), p.CaptureAmount, before)
	})
}

// VoidAuthorization gives an authorization back, or finds that it was given back or
// captured. The answer is to be recorded (RecordAnswer, with Lapse cancelled).
// A payment that is not merely authorized is only looked up.
func (a *Captures) VoidAuthorization(ctx context.Context, in CaptureRef) (Asked, error) {
	return a.effect(ctx, in, payment.EffectVoid, func(p payment.Payment, g payment.Gateway, before payment.Looked) (payment.Answer, error) {
		return g.Cancel(ctx, p.At(), before)
	})
}

// effect writes the intent, asks first what an earlier try has done, and then
// acts. While nobody can tell what the earlier try did, nothing is done.
func (a *Captures) effect(ctx context.Context, in CaptureRef, e payment.Effect, act func(payment.Payment, payment.Gateway, payment.Looked) (payment.Answer, error)) (out Asked, err error) {
	var p payment.Payment
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) (err error) {
		if p, err = payment.Lock(ctx, tx, in.Tenant, in.PaymentID); err != nil {
			return err
		}
		if p.Status != payment.StatusAuthorized { // only asked about: no intent
			return tx.QueryRow(ctx, `SELECT now()`).Scan(&out.AskedAt)
		}
		p, out.AskedAt, err = payment.Announce(ctx, tx, in.Tenant, in.PaymentID, e)
		return err
	})
	if err != nil {
		return out, classify(fmt.Errorf("%s payment %s: %w", e, in.PaymentID, err))
	}
	g, err := a.Gateways.Gateway(ctx, in.Tenant, p.Gateway)
	if err != nil {
		return out, classify(err)
	}
	before := payment.Untried
	if p.CaptureTriedAt != nil || p.VoidTriedAt != nil || p.Status != payment.StatusAuthorized {
		if before, err = g.Lookup(ctx, p.At()); err != nil {
			return out, classify(err)
		}
		// Only an authorization that stands is acted on: what else it has become,
		// or that nobody can tell, is the answer.
		said, _ := before.Answer()
		if said.Outcome != payment.OutcomeApproved || said.Captured || p.Status != payment.StatusAuthorized {
			out.Answer = said
			return out, nil
		}
	}
	out.Answer, err = act(p, g, before)
	return out, classify(err)
}

// WithdrawCapture forgets a capture or void that a person gave up: the
// authorization stands as before, and lapses unless somebody asks again.
func (a *Captures) WithdrawCapture(ctx context.Context, in CaptureRef) (v CaptureView, err error) {
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		p, err := payment.Lock(ctx, tx, in.Tenant, in.PaymentID)
		if err != nil || p.CaptureAmount == 0 && p.VoidReason == "" {
			return err
		}
		if err := payment.Unask(ctx, tx, in.Tenant, in.PaymentID); err != nil {
			return err
		}
		return timeline.Add(ctx, tx, in.Tenant, p.CheckoutID, "capture_given_up", "support", map[string]any{"payment_id": p.ID})
	})
	if err != nil {
		return v, classify(err)
	}
	return a.LoadCapture(ctx, in)
}

// PutCaptureOff moves the moment by which a capture or void that is under way
// must have happened.
func (a *Captures) PutCaptureOff(ctx context.Context, in CaptureRef, seconds int) error {
	return classify(a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE payments SET due_at = now() + make_interval(secs => $3), updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'authorized' AND (capture_amount IS NOT NULL OR void_reason IS NOT NULL)`,
			in.Tenant, in.PaymentID, seconds)
		return err
	}))
}
