package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/checkout"
	"justlogistics/internal/gateways"
	"justlogistics/internal/money"
	"justlogistics/internal/notice"
	"justlogistics/internal/payment"
	"justlogistics/internal/refund"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// RefundRef names a refund: a request for LoadRefund and SettleRefund, a part,
// or a refund that nobody asked for, for the rest.
type RefundRef struct {
	Tenant   string `json:"tenant"`
	RefundID string `json:"refund_id"`
}

// RefundView is a refund as its workflow sees it. One that nobody asked for is
// its own only part, and Parts is empty.
type RefundView struct {
	Status     string         `json:"status"`
	Amount     int64          `json:"amount"`
	Currency   money.Currency `json:"currency"`
	Reason     string         `json:"reason"` // a code, never free text
	Gateway    payment.Name   `json:"gateway"`
	PaymentID  string         `json:"payment_id"`
	CheckoutID string         `json:"checkout_id"`
	// Code is why it has its status.
	Code   string `json:"code,omitempty"`
	Method string `json:"method,omitempty"`
	// FailedAgain: it takes the place of one that did so already, since both
	// failed after they had succeeded. It is not tried without a person.
	FailedAgain bool `json:"failed_again,omitempty"`
	// Request: somebody asked for it, and Parts pay it, those that another part
	// has taken the place of left out. Waits: there are none yet, because
	// PaymentID is not settled.
	Request bool         `json:"request,omitempty"`
	Waits   bool         `json:"waits,omitempty"`
	Parts   []RefundPart `json:"parts,omitempty"`
}

// RefundPart is what goes back by one payment.
type RefundPart struct {
	ID string `json:"id"`
	RefundView
}

// LoadRefund reads a request with its parts, or a refund that nobody asked for.
func (a *Payments) LoadRefund(ctx context.Context, in RefundRef) (v RefundView, err error) {
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		v, err = loadRequest(ctx, tx, in)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		v, err = loadPart(ctx, tx, in)
		return err
	})
	return v, classify(err)
}

func loadPart(ctx context.Context, tx pgx.Tx, in RefundRef) (RefundView, error) {
	r, p, err := payment.LoadRefund(ctx, tx, in.Tenant, in.RefundID)
	return RefundView{Status: r.Status, Amount: r.Amount, Currency: r.Currency, Reason: r.Reason, Gateway: p.Gateway, PaymentID: p.ID, CheckoutID: r.CheckoutID, Code: r.Code, Method: r.Method,
		FailedAgain: r.Revived && r.Status == "needs_attention" && r.TriedAt == nil}, err
}

func loadRequest(ctx context.Context, tx pgx.Tx, in RefundRef) (RefundView, error) {
	v := RefundView{Status: "pending", Reason: refund.Requested, Request: true}
	// An order has its checkout's id.
	err := tx.QueryRow(ctx, `SELECT amount, currency, coalesce(payment_id, ''), order_id, method, waits FROM refund_requests WHERE tenant = $1 AND id = $2`, in.Tenant, in.RefundID).
		Scan(&v.Amount, &v.Currency, &v.PaymentID, &v.CheckoutID, &v.Method, &v.Waits)
	if err != nil {
		return v, fmt.Errorf("refund %s: %w", in.RefundID, err)
	}
	rows, err := tx.Query(ctx, `SELECT id FROM refunds f WHERE tenant = $1 AND request_id = $2 AND NOT EXISTS (SELECT FROM refunds n WHERE n.tenant = f.tenant AND n.revives = f.id) ORDER BY id`, in.Tenant, in.RefundID)
	if err != nil {
		return v, fmt.Errorf("parts of refund %s: %w", in.RefundID, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return v, fmt.Errorf("parts of refund %s: %w", in.RefundID, err)
	}
	for _, partID := range ids {
		p, err := loadPart(ctx, tx, RefundRef{in.Tenant, partID})
		if err != nil {
			return v, err
		}
		v.Parts = append(v.Parts, RefundPart{ID: partID, RefundView: p})
	}
	return v, nil
}

// SettleRefund gives a request that waits for its payment the parts that pay it,
// or ends it, once the payment is settled; until then it moves the moment by
// which the request must have moved. giveUp ends one that still waits.
func (a *Payments) SettleRefund(ctx context.Context, in RefundRef, dueSeconds int, giveUp bool) (v RefundView, err error) {
	able, err := a.able(ctx, in)
	if err != nil {
		return v, classify(err)
	}
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		if giveUp {
			err = refund.GiveUp(ctx, tx, in.Tenant, in.RefundID)
		} else {
			err = refund.Settle(ctx, tx, in.Tenant, in.RefundID, able, time.Duration(dueSeconds)*time.Second)
		}
		if err != nil {
			return err
		}
		v, err = loadRequest(ctx, tx, in)
		return err
	})
	return v, classify(err)
}

// able reads what the gateway of a request's payment can do, before the
// transaction that needs to know it.
func (a *Payments) able(ctx context.Context, in RefundRef) (refund.Able, error) {
	var name payment.Name
	err := a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT coalesce((SELECT p.gateway FROM refund_requests q JOIN payments p ON p.tenant = q.tenant AND p.id = q.payment_id WHERE q.tenant = $1 AND q.id = $2), '')`, in.Tenant, in.RefundID).Scan(&name)
	})
	if err != nil {
		return nil, fmt.Errorf("gateway of refund %s: %w", in.RefundID, err)
	}
	g, err := a.Gateways.Gateway(ctx, in.Tenant, name)
	if errors.Is(err, gateways.ErrNotConfigured) {
		return func(payment.Name) (payment.Capabilities, bool) { return payment.Capabilities{}, false }, nil
	}
	if err != nil {
		return nil, err
	}
	can := g.Capabilities()
	return func(n payment.Name) (payment.Capabilities, bool) { return can, n == name }, nil
}

// Remade is what RemakeRefund has done: OK that the word was taken, RefundID the
// refund whose run makes it anew, if anything is left to be given back.
type Remade struct {
	OK       bool   `json:"ok"`
	RefundID string `json:"refund_id,omitempty"`
}

// RemakeRefund takes a person's word that a refund whose answer was lost was not
// made: another takes its place. Told again it answers the same.
func (a *Payments) RemakeRefund(ctx context.Context, in RefundRef) (out Remade, err error) {
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		before, _, err := payment.LockRefund(ctx, tx, in.Tenant, in.RefundID)
		if err != nil {
			return err
		}
		if out.RefundID, out.OK, err = payment.RemakeRefund(ctx, tx, in.Tenant, in.RefundID); err != nil || !out.OK {
			return err
		}
		subject := before.CheckoutID
		if subject == "" {
			subject = before.OrderID
		}
		if before.Status == "failed" || subject == "" { // told before
			return nil
		}
		data := map[string]any{"refund_id": in.RefundID, "amount": before.Amount, "reason": before.Reason}
		if before.RequestID != "" {
			data["refund_id"], data["part_id"] = before.RequestID, in.RefundID
		}
		return timeline.Add(ctx, tx, in.Tenant, subject, "refund_not_made", "support", data)
	})
	return out, classify(err)
}

// RefundPayment gives the money back, or finds that it was given back already: a
// refund that was tried before is looked up first. It fails with TypeFrozen
// while the payment is disputed, and with TypeChargedBack when that was lost.
func (a *Payments) RefundPayment(ctx context.Context, in RefundRef) (payment.RefundAnswer, error) {
	intent, g, at, err := a.refund(ctx, in)
	tried, forbidden := at.tried, forbids(err)
	if err != nil && (!forbidden || !tried) {
		return payment.RefundAnswer{}, classify(err)
	}
	before, asked := payment.UntriedRefund, error(nil)
	if tried {
		if before, asked = a.lookUp(ctx, in, g, intent, at.hints); asked != nil {
			return payment.RefundAnswer{}, classify(asked)
		}
		if said, _ := before.Answer(); said.Code != payment.CodeNoSuchRefund {
			return said, nil
		}
	}
	if forbidden {
		return payment.RefundAnswer{}, classify(err)
	}
	answer, err := g.Refund(ctx, intent, before)
	// What it has refused without giving it a name was certainly not made, whatever
	// else has gone back of the payment: the next try needs no question.
	refused := err == nil && answer.Outcome == payment.OutcomeDeclined && answer.Reference == ""
	var certain *payment.Failure
	if errors.As(err, &certain) || refused {
		err = errors.Join(err, a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
			return payment.RefundNotTried(ctx, tx, in.Tenant, in.RefundID, at.announced)
		}))
	}
	return answer, classify(err)
}

// announced is a refund's try as it was written before the call: whether there
// was one before, and when this one was written; and the names that it may have.
type announced struct {
	tried     bool
	announced time.Time
	hints     []string
}

// lookUp asks what became of a refund that was tried. One whose name is not known
// is asked for under each of its hints, the newest first: anybody can send one,
// so it counts only if the provider tells of a refund of this amount, and is
// forgotten when the provider tells of another or of none.
func (a *Payments) lookUp(ctx context.Context, in RefundRef, g payment.Gateway, intent payment.RefundIntent, hints []string) (payment.LookedRefund, error) {
	if intent.Reference != "" {
		hints = nil
	}
	for _, hint := range slices.Backward(hints) {
		named := intent
		named.Reference = hint
		looked, err := g.LookupRefund(ctx, named)
		var wrong *payment.Failure
		if err != nil && (!errors.As(err, &wrong) || wrong.Class != payment.ClassInvalid) {
			return payment.UntriedRefund, err
		}
		said, _ := looked.Answer()
		genuine := err == nil && said.Outcome != payment.OutcomeUnknown && said.Code != payment.CodeNoSuchRefund && said.Amount == intent.Amount
		err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) (err error) {
			if genuine {
				genuine, err = payment.ConfirmHint(ctx, tx, in.Tenant, in.RefundID, hint)
			}
			if err != nil || genuine {
				return err
			}
			return payment.DropHint(ctx, tx, in.Tenant, in.RefundID, hint)
		})
		if err != nil {
			return payment.UntriedRefund, err
		}
		if genuine {
			return looked, nil
		}
	}
	return g.LookupRefund(ctx, intent)
}

// LookupRefund asks what became of a refund.
func (a *Payments) LookupRefund(ctx context.Context, in RefundRef) (payment.RefundAnswer, error) {
	intent, g, at, err := a.refund(ctx, in)
	if err != nil && !forbids(err) {
		return payment.RefundAnswer{}, classify(err)
	}
	looked, err := a.lookUp(ctx, in, g, intent, at.hints)
	if err != nil {
		return payment.RefundAnswer{}, classify(err)
	}
	answer, _ := looked.Answer()
	return answer, nil
}

// forbids reports whether nothing may be given back of a payment now. What was
// tried before can be asked for all the same.
func forbids(err error) bool {
	return errors.Is(err, payment.ErrFrozen) || errors.Is(err, payment.ErrBankGaveBack)
}

func (a *Payments) refund(ctx context.Context, in RefundRef) (intent payment.RefundIntent, g payment.Gateway, at announced, err error) {
	var p payment.Payment
	var forbidden error
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		r, pay, err := payment.LoadRefund(ctx, tx, in.Tenant, in.RefundID)
		if err != nil {
			return err
		}
		p = pay
		intent = payment.RefundIntent{RefundID: r.ID, Attempt: p.At(), Amount: r.Amount, Currency: r.Currency, Reason: r.Reason, Reference: r.Reference}
		at.hints = r.Hints
		at.tried, intent.RefundedBefore, err = payment.AnnounceRefund(ctx, tx, in.Tenant, in.RefundID)
		if forbidden = nil; forbids(err) {
			forbidden = err
		} else if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT coalesce((SELECT email FROM checkouts WHERE tenant = $1 AND id = $2), (SELECT email FROM orders WHERE tenant = $1 AND id = $3), ''),
		     (SELECT updated_at FROM refunds WHERE tenant = $1 AND id = $4)`, in.Tenant, p.CheckoutID, p.OrderID, in.RefundID).Scan(&intent.Email, &at.announced)
	})
	if err != nil {
		return intent, nil, at, err
	}
	if intent.NotifyURL, err = a.notifyURL(in.Tenant, p.Gateway); err != nil {
		return intent, nil, at, err
	}
	if g, err = a.Gateways.Gateway(ctx, in.Tenant, p.Gateway); err != nil {
		return intent, nil, at, err
	}
	return intent, g, at, forbidden
}

// CodeCaptured is the code of a VoidPayment that came after the capture: from
// now on the refund is one by the gateway.
const CodeCaptured = "captured"

// CodeCaptureNotRecorded is the code of a VoidPayment that finds the money
// captured of which our books do not know yet.
const CodeCaptureNotRecorded = "capture_not_recorded"

// VoidPayment gives an authorization up, or finds that it was given up already:
// one that was tried before is looked up first. When the money was captured
// meanwhile it answers OutcomeUnknown with CodeCaptured; while a capture is under
// way it fails with TypeRateLimited.
func (a *Payments) VoidPayment(ctx context.Context, in RefundRef) (payment.RefundAnswer, error) {
	var p payment.Payment
	var tried, captured bool
	err := a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) (err error) {
		if _, p, err = payment.LoadRefund(ctx, tx, in.Tenant, in.RefundID); err != nil {
			return err
		}
		tried, captured, err = payment.AnnounceVoid(ctx, tx, in.Tenant, in.RefundID)
		return err
	})
	if errors.Is(err, payment.ErrCaptureAsked) {
		return payment.RefundAnswer{}, temporal.NewApplicationErrorWithOptions(err.Error(), TypeRateLimited, temporal.ApplicationErrorOptions{NextRetryDelay: 5 * time.Second})
	}
	if err != nil {
		return payment.RefundAnswer{}, classify(err)
	}
	if captured {
		return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: CodeCaptured}, nil
	}
	g, err := a.Gateways.Gateway(ctx, in.Tenant, p.Gateway)
	if err != nil {
		return payment.RefundAnswer{}, classify(err)
	}
	before := payment.Untried
	if tried {
		if before, err = g.Lookup(ctx, p.At()); err != nil {
			return payment.RefundAnswer{}, classify(err)
		}
		if said, _ := before.Answer(); said.Outcome != payment.OutcomeApproved || said.Captured {
			return voidAnswer(said), nil
		}
	}
	answer, err := g.Cancel(ctx, p.At(), before)
	if err != nil {
		return payment.RefundAnswer{}, classify(err)
	}
	return voidAnswer(answer), nil
}

// voidAnswer is what an attempt's state means for giving its authorization up: a
// declined, closed attempt is one of which nothing can be taken.
func voidAnswer(a payment.Answer) payment.RefundAnswer {
	out := payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: a.Code, Message: a.Message}
	switch {
	case a.Outcome == payment.OutcomeDeclined && a.Closed:
		out.Outcome, out.Amount = payment.OutcomeApproved, a.Amount
	case a.Outcome == payment.OutcomeApproved && a.Captured:
		out.Code, out.Message = CodeCaptureNotRecorded, "the provider has captured it"
	}
	return out
}

// PutRefund records a refund's status. dueSeconds is when it must have moved. One
// that has failed stays so: if it had succeeded, another has taken its place.
func (a *Payments) PutRefund(ctx context.Context, in RefundRef, status string, answer payment.RefundAnswer, dueSeconds int) error {
	return classify(a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		r, p, err := payment.LockRefund(ctx, tx, in.Tenant, in.RefundID)
		if err != nil {
			return err
		}
		if r.Status == "failed" || r.Status == status && status != "pending" && status != "unknown" {
			return nil
		}
		if err := payment.PutRefund(ctx, tx, in.Tenant, in.RefundID, status, answer, time.Duration(dueSeconds)*time.Second); err != nil {
			return err
		}
		if r.Method == payment.MethodVoid && status == "failed" {
			if err := checkout.NotVoided(ctx, tx, in.Tenant, p.ID); err != nil {
				return err
			}
		}
		if status == "succeeded" {
			if err := tellRefund(ctx, tx, in.Tenant, r); err != nil {
				return err
			}
		}
		subject := r.CheckoutID
		if subject == "" {
			subject = r.OrderID
		}
		if r.Status == status || subject == "" {
			return nil
		}
		data := map[string]any{"refund_id": in.RefundID, "amount": r.Amount, "reason": r.Reason}
		if r.RequestID != "" {
			data["refund_id"], data["part_id"] = r.RequestID, in.RefundID
		}
		return timeline.Add(ctx, tx, in.Tenant, subject, "refund_"+status, "system", data)
	}))
}

// tellRefund queues the notice of money that went back. An authorization that was
// given up took none.
func tellRefund(ctx context.Context, tx pgx.Tx, tenantID string, r payment.RefundRecord) error {
	p, err := payment.Load(ctx, tx, tenantID, r.PaymentID)
	if err != nil {
		return err
	}
	now, _, err := payment.LoadRefund(ctx, tx, tenantID, r.ID)
	if err != nil || now.Method == payment.MethodVoid {
		return err
	}
	shop, err := tenant.Get(ctx, tx, tenantID)
	if err != nil {
		return err
	}
	kind := notice.PartiallyRefunded
	if p.Status == payment.StatusRefunded || !p.Applied {
		kind = notice.Refunded
	}
	subject := p.OrderID
	if subject == "" {
		subject = p.CheckoutID
	}
	data := notice.Data{Amount: r.Amount, Currency: r.Currency, ByTransfer: now.Method == payment.MethodBankTransfer, Unused: !p.Applied}
	return notice.Queue(ctx, tx, shop, subject, kind, r.ID, data)
}
