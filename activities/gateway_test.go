package activities_test

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"time"

	"justlogistics/internal/gateways"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
)

// provider is a gateway with a memory of what it did. The test can make it
// act and then fail to say so.
type provider struct {
	t    *testing.T
	caps payment.Capabilities

	mu       sync.Mutex
	attempts map[string]*charge
	refunds  map[string]int64
	// calls names every call in its order.
	calls []string
	// after runs once, when the next effect has been carried out and before it
	// is answered: what it returns is the answer.
	after func() (payment.Outcome, error)
	// before runs instead of the next call.
	before func() error
	// hints are what calls were told that notifications name the payment.
	hints []string
}

// charge is what the provider did for one payment.
type charge struct {
	begun, commits int
	paid           bool // by the buyer, not yet committed
	closed         bool
	intent         payment.Intent
	// token is what the storefront's token made of it: "" until one came.
	token     string
	charges   int // each Begin with a token is one
	captured  int64
	captures  int
	voids     int
	refusesIt bool // captures and voids
}

// Tokens of the provider's published test data: what they make of an attempt.
const (
	tokenApproved   = "tok_approved"
	tokenDeclined   = "tok_declined"
	tokenProcessing = "tok_processing"
	tokenAuthorized = "tok_authorized"
)

func newProvider(t *testing.T) *provider {
	return &provider{t: t, attempts: map[string]*charge{}, refunds: map[string]int64{},
		caps: payment.Capabilities{Currencies: []money.Currency{"CLP"}, SettleMovesMoney: true, CloseIsOurs: true, PayableFor: 12 * time.Minute}}
}

func (g *provider) Gateway(_ context.Context, tenant string, name payment.Name) (payment.Gateway, error) {
	if tenant != shoptest.Tenant || name != payment.Transbank {
		return nil, gateways.ErrNotConfigured
	}
	return g, nil
}

func (g *provider) Name() payment.Name                 { return payment.Transbank }
func (g *provider) Capabilities() payment.Capabilities { return g.caps }

// enter notes a call and tells whether it fails before anything is done.
func (g *provider) enter(call string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, call)
	if fail := g.before; fail != nil {
		g.before = nil
		return fail()
	}
	return nil
}

// heard notes the hint of a call.
func (g *provider) heard(at payment.Attempt) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hints = append(g.hints, at.Hint)
}

// leave tells what is said about an effect that was carried out.
func (g *provider) leave() (payment.Outcome, error) {
	g.mu.Lock()
	fail := g.after
	g.after = nil
	g.mu.Unlock()
	if fail == nil {
		return "", nil
	}
	return fail()
}

func (g *provider) of(paymentID string) *charge {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.attempts[paymentID]
	if c == nil {
		c = &charge{}
		g.attempts[paymentID] = c
	}
	return c
}

func (g *provider) called() (calls []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append(calls, g.calls...)
}

func (g *provider) state(paymentID string) payment.Answer {
	c := g.of(paymentID)
	taken := shoptest.Approved(paymentID, c.intent.Amount)
	switch {
	case c.voids > 0:
		return payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: "voided", Reference: taken.Reference, PaymentID: paymentID}
	case c.captures > 0:
		taken.Amount = c.captured
		return taken
	case c.token == tokenApproved:
		return taken
	case c.token == tokenAuthorized:
		taken.Captured = false
		return taken
	case c.token == tokenDeclined:
		return payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: "cc_rejected_other_reason", Reference: taken.Reference, PaymentID: paymentID}
	case c.token == tokenProcessing:
		return payment.Answer{Outcome: payment.OutcomePending, Processing: true, Reference: taken.Reference, PaymentID: paymentID}
	case c.commits > 0:
		return shoptest.Approved(paymentID, c.intent.Amount)
	case c.begun == 0:
		return payment.Answer{Outcome: payment.OutcomeDeclined, Code: payment.CodeNoSuchAttempt, Closed: true}
	}
	return payment.Answer{Outcome: payment.OutcomePending, Reference: "token-" + paymentID}
}

func (g *provider) Begin(_ context.Context, in payment.Intent, before payment.Looked) (payment.Answer, error) {
	if err := g.enter("begin"); err != nil {
		return payment.Answer{}, err
	}
	c := g.of(in.PaymentID)
	if _, asked := before.Answer(); !asked || c.begun == 0 {
		c.begun++
	}
	c.intent = in
	if in.Token != "" {
		c.token = in.Token
		c.charges++
		if outcome, err := g.leave(); outcome != "" || err != nil {
			return payment.Answer{Outcome: outcome}, err
		}
		a := g.state(in.PaymentID)
		a.Account = shoptest.Account
		return a, nil
	}
	if outcome, err := g.leave(); outcome != "" && outcome != payment.OutcomePending || err != nil {
		return payment.Answer{Outcome: outcome}, err
	}
	return payment.Answer{Outcome: payment.OutcomePending, Reference: "token-" + in.PaymentID, Account: shoptest.Account, ExpiresAt: in.Deadline, Redirect: &payment.Redirect{URL: "https://webpay.example", Method: "POST"}}, nil
}

func (g *provider) Settle(_ context.Context, at payment.Attempt, ret payment.Return, before payment.Looked) (payment.Answer, error) {
	g.heard(at)
	if err := g.enter("settle"); err != nil {
		return payment.Answer{}, err
	}
	if said, asked := before.Answer(); asked && said.Outcome != payment.OutcomePending {
		return said, nil
	}
	c := g.of(at.PaymentID)
	switch {
	case ret.Kind == payment.ReturnCancelled:
		return payment.Answer{Outcome: payment.OutcomeDeclined, Code: payment.CodeAborted, Closed: true}, nil
	case !c.paid:
		return g.state(at.PaymentID), nil
	}
	c.commits++ // each commit is a charge
	if outcome, err := g.leave(); outcome != "" || err != nil {
		return payment.Answer{Outcome: outcome}, err
	}
	return g.state(at.PaymentID), nil
}

func (g *provider) Lookup(_ context.Context, at payment.Attempt) (payment.Looked, error) {
	g.heard(at)
	if err := g.enter("lookup"); err != nil {
		if errors.Is(err, errSaysNothing) {
			return payment.Asked(payment.Answer{Outcome: payment.OutcomeUnknown}), nil
		}
		return payment.Looked{}, err
	}
	return payment.Asked(g.state(at.PaymentID)), nil
}

// errSaysNothing makes a Lookup answer that the outcome is still unknown.
var errSaysNothing = errors.New("says nothing")

func (g *provider) Close(_ context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	g.heard(at)
	if err := g.enter("close"); err != nil {
		return payment.Answer{}, err
	}
	if said, asked := before.Answer(); asked && said.Outcome == payment.OutcomeApproved {
		return said, nil
	}
	if g.caps.CloseIsOurs && !g.caps.SettleMovesMoney {
		return g.state(at.PaymentID), nil // nobody can close it
	}
	g.of(at.PaymentID).closed = true
	if outcome, err := g.leave(); outcome != "" || err != nil {
		return payment.Answer{Outcome: outcome}, err
	}
	if s := g.state(at.PaymentID); s.Outcome == payment.OutcomeApproved {
		return s, nil
	}
	return payment.Answer{Outcome: payment.OutcomeDeclined, Code: payment.CodeClosed, Closed: true}, nil
}

func (g *provider) Capture(_ context.Context, at payment.Attempt, amount int64, before payment.Looked) (payment.Answer, error) {
	if err := g.enter("capture"); err != nil {
		return payment.Answer{}, err
	}
	c := g.of(at.PaymentID)
	if said, asked := before.Answer(); asked && (said.Outcome != payment.OutcomeApproved || said.Captured) {
		return said, nil
	}
	if c.refusesIt {
		return payment.Answer{Outcome: payment.OutcomeDeclined, Code: "not_capturable"}, nil
	}
	c.captures++
	c.captured += amount // no idempotency key at this provider
	if outcome, err := g.leave(); outcome != "" || err != nil {
		return payment.Answer{Outcome: outcome}, err
	}
	return g.state(at.PaymentID), nil
}

func (g *provider) Cancel(_ context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	if err := g.enter("cancel"); err != nil {
		return payment.Answer{}, err
	}
	c := g.of(at.PaymentID)
	if said, asked := before.Answer(); asked && said.Outcome == payment.OutcomeDeclined {
		return said, nil
	}
	c.voids++
	if outcome, err := g.leave(); outcome != "" || err != nil {
		return payment.Answer{Outcome: outcome}, err
	}
	return g.state(at.PaymentID), nil
}

func (g *provider) Refund(_ context.Context, in payment.RefundIntent, _ payment.LookedRefund) (payment.RefundAnswer, error) {
	if err := g.enter("refund"); err != nil {
		return payment.RefundAnswer{}, err
	}
	g.mu.Lock()
	g.refunds[in.RefundID] += in.Amount // no idempotency key at this provider
	g.mu.Unlock()
	if outcome, err := g.leave(); outcome != "" || err != nil {
		return payment.RefundAnswer{Outcome: outcome}, err
	}
	return payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "re-" + in.RefundID, Amount: in.Amount}, nil
}

func (g *provider) LookupRefund(_ context.Context, in payment.RefundIntent) (payment.LookedRefund, error) {
	if err := g.enter("lookup refund"); err != nil {
		if errors.Is(err, errSaysNothing) {
			return payment.AskedRefund(payment.RefundAnswer{Outcome: payment.OutcomeUnknown}), nil
		}
		return payment.LookedRefund{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refunds[in.RefundID] > 0 {
		return payment.AskedRefund(payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "re-" + in.RefundID, Amount: g.refunds[in.RefundID]}), nil
	}
	return payment.AskedRefund(payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: payment.CodeNoSuchRefund}), nil
}

func (g *provider) ParseReturn(payment.Attempt, url.Values) (payment.Return, error) {
	return payment.Return{}, payment.ErrForeignReturn
}

func (g *provider) ParseNotification(payment.Delivery, time.Time) (payment.Notification, error) {
	return payment.Notification{}, payment.ErrNoNotifications
}

func (g *provider) Transactions(context.Context, payment.StatementQuery) (payment.StatementPage, error) {
	return payment.StatementPage{}, payment.ErrNoStatement
}
