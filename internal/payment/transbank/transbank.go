// Package transbank is the adapter of Webpay Plus, REST API 1.2, of Transbank
// (https://www.transbankdevelopers.cl/referencia/webpay, sources at
// github.com/TransbankDevelopers/transbank-developers-docs).
//
// Webpay charges in two steps: the buyer pays on Transbank's page and comes
// back, and only the commit that we send then takes the money. Nothing else
// does, and Transbank sends no notifications, so a payment that is not
// committed is a payment that does not exist. There are no idempotency keys
// either: after a doubt the transaction's status is asked, by its token.
package transbank

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// The public hosts (https://www.transbankdevelopers.cl/documentacion/como_empezar).
const (
	ProductionURL  = "https://webpay3g.transbank.cl"
	IntegrationURL = "https://webpay3gint.transbank.cl"
)

// Codes of Answer.Code that are not Transbank's own.
const (
	CodeFormError      = "form_error"   // the form broke and the buyer went back
	CodeVoided         = "voided"       // an authorization given back
	CodeNotPaidYet     = "not_paid_yet" // the form was not completed
	CodeReversed       = "reversed"     // authorized, not committed in time, given up
	CodeLocked         = "locked"       // another call is at work on it
	CodeUnreadable     = "unreadable_answer"
	CodeStatusTooOld   = "status_too_old" // Transbank forgets after 7 days
	CodeNoSuchToken    = "no_such_token"
	CodeRefundMismatch = "refund_mismatch" // other money was given back than ours
)

// formLife is how long a token can be paid with: the documents say 5 minutes in
// one place and 10 in another
// (https://www.transbankdevelopers.cl/documentacion/webpay-plus), so the link
// counts as alive for the longer one.
const formLife = 10 * time.Minute

// Limits of the fields that are sent, from the API reference.
const (
	maxBuyOrder  = 26
	maxReturnURL = 255
)

// Config is one tenant's account at Transbank.
type Config struct {
	// BaseURL is what stands before /rswebpaytransaction; empty means
	// ProductionURL.
	BaseURL string `json:"base_url"`
	// CommerceCode has 12 digits and stands for an account in pesos.
	CommerceCode string `json:"commerce_code"`
	APIKey       string `json:"api_key"`
	// Capture is "automatic", as when empty, or "manual": the commerce code is one
	// of deferred capture, which authorizes at the commit and charges at the
	// capture, within 7 days.
	Capture string `json:"capture,omitempty"`
}

// How the money of an approval is taken.
const (
	captureAutomatic = "automatic"
	captureManual    = "manual"
)

// deferredCode is the integration environment's code of deferred capture, the
// only one that is known to be one
// (https://www.transbankdevelopers.cl/documentacion/como_empezar).
const deferredCode = "597055555540"

// authorizationLife is how long an authorization of a deferred code can be
// captured (https://www.transbankdevelopers.cl/producto/webpay); newer samples
// of the interface's version 1.3 show 30 days, which are not relied on.
const authorizationLife = 7 * 24 * time.Hour

// deferred: with these credentials approvals are only authorized.
func (g *Gateway) deferred() bool { return g.config.Capture == captureManual }

// Gateway is payment.Gateway for one account.
type Gateway struct {
	config Config
	base   string
	live   bool
	client *http.Client
	now    func() time.Time
}

var _ payment.Gateway = (*Gateway)(nil)

var commerceCode = regexp.MustCompile(`^[0-9]{12}$`)

// New checks cfg without calling Transbank. client must come from
// httpclient.New: by its errors the adapter tells "not sent" from "no answer".
func New(cfg Config, client *http.Client) (*Gateway, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = ProductionURL
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, fmt.Errorf("transbank: base_url %q: want https://host", cfg.BaseURL)
	}
	if base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("transbank: base_url has more than scheme, host and path")
	}
	live := strings.EqualFold(base.Hostname(), "webpay3g.transbank.cl")
	if live && base.Scheme != "https" {
		return nil, errors.New("transbank: base_url of production must be https")
	}
	if !commerceCode.MatchString(cfg.CommerceCode) {
		return nil, errors.New("transbank: commerce_code must have 12 digits")
	}
	if cfg.APIKey == "" || strings.ContainsAny(cfg.APIKey, " \t\r\n") {
		return nil, errors.New("transbank: api_key is missing or has blanks")
	}
	switch {
	case cfg.Capture != "" && cfg.Capture != captureAutomatic && cfg.Capture != captureManual:
		return nil, errors.New("transbank: capture must be automatic or manual")
	case cfg.CommerceCode == deferredCode && cfg.Capture != captureManual:
		return nil, errors.New("transbank: this commerce_code only authorizes: set capture to manual")
	}
	if client == nil {
		return nil, errors.New("transbank: an HTTP client is needed")
	}
	return &Gateway{
		config: cfg,
		base:   strings.TrimRight(base.String(), "/") + "/rswebpaytransaction/api/webpay/v1.2/transactions",
		live:   live,
		client: client,
		now:    time.Now,
	}, nil
}

// Name is payment.Transbank.
func (*Gateway) Name() payment.Name { return payment.Transbank }

// Capabilities of Webpay Plus.
func (g *Gateway) Capabilities() payment.Capabilities {
	c := payment.Capabilities{
		Currencies:       []money.Currency{money.CLP},
		SettleMovesMoney: true,
		CloseIsOurs:      true,
		// The form, and time to come back from it.
		PayableFor:     formLife + 5*time.Minute,
		RefundFor:      90 * 24 * time.Hour,
		Refunds:        true,
		PartialRefunds: true,
		LookupFor:      7 * 24 * time.Hour,
		// Debit (VD), prepaid (VP) and instalments (VC, SI, S2, NC) go back whole
		// or not at all (https://www.transbankdevelopers.cl/producto/webpay).
		PartialRefundMethods: []string{"VN"},
	}
	if g.deferred() {
		c.DefersCapture, c.CaptureFor = true, authorizationLife
	}
	return c
}

// Begin creates a transaction: POST /transactions. It moves no money. When its
// answer is lost the transaction exists with a token that nobody has, so it can
// never be committed; a repetition creates another one under the same
// buy_order, or is refused as invalid where Transbank insists on unique ones,
// and then the buyer needs a new payment of ours.
func (g *Gateway) Begin(ctx context.Context, in payment.Intent, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && a.Code != payment.CodeNoSuchAttempt {
		return a, nil
	}
	switch {
	case in.Currency != money.CLP:
		return payment.Answer{}, g.invalid("currency", fmt.Sprintf("this account charges CLP, not %s", in.Currency))
	case in.Amount <= 0:
		return payment.Answer{}, g.invalid("amount", "the amount must be positive")
	case in.PaymentID == "" || len(in.PaymentID) > maxBuyOrder:
		return payment.Answer{}, g.invalid("buy_order", fmt.Sprintf("the payment id must have 1 to %d characters", maxBuyOrder))
	case in.ReturnURL == "" || len(in.ReturnURL) > maxReturnURL:
		return payment.Answer{}, g.invalid("return_url", fmt.Sprintf("the return address must have 1 to %d characters", maxReturnURL))
	}
	var created struct {
		Token string `json:"token"`
		URL   string `json:"url"`
	}
	verdict := g.call(ctx, http.MethodPost, "", map[string]any{
		"buy_order":  in.PaymentID,
		"session_id": in.PaymentID,
		"amount":     in.Amount,
		"return_url": in.ReturnURL,
	}, &created)
	if !verdict.ok() {
		if f := verdict.failure(); f != nil {
			return payment.Answer{}, f
		}
		return verdict.unknown(payment.Answer{PaymentID: in.PaymentID}), nil
	}
	page, err := url.Parse(created.URL)
	if err != nil || page.Host == "" || (page.Scheme != "https" && page.Scheme != "http") || !token.MatchString(created.Token) {
		return payment.Answer{
			Outcome: payment.OutcomeUnknown, PaymentID: in.PaymentID, Code: CodeUnreadable,
			Message: "the transaction was created without a usable token and address",
		}, nil
	}
	return payment.Answer{
		Outcome:    payment.OutcomePending,
		Reference:  created.Token,
		CaptureRef: created.Token,
		PaymentID:  in.PaymentID,
		Account:    g.config.CommerceCode,
		LiveMode:   g.live,
		Redirect: &payment.Redirect{
			URL:    created.URL,
			Method: http.MethodPost,
			Fields: map[string]string{"token_ws": created.Token},
		},
		ExpiresAt: g.now().UTC().Add(formLife),
	}, nil
}

// token is Transbank's name of a transaction; "64 characters" in the reference,
// and always lower-case hexadecimal in its samples. What stands in a URL path
// is held to letters and digits.
var token = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Settle commits a finished form: PUT /transactions/{token}, which is what
// takes the money. It commits only when before is Untried or says that the
// transaction is not committed yet. For the other kinds of return it asks for
// the status and commits nothing.
//
// OutcomeUnknown follows a commit without an answer, a 5xx, and "already
// locked by another process", which is how a second commit is refused while or
// after the first one is at work.
func (g *Gateway) Settle(ctx context.Context, at payment.Attempt, ret payment.Return, before payment.Looked) (payment.Answer, error) {
	looked, asked := before.Answer()
	if asked && looked.Outcome != payment.OutcomePending {
		return looked, nil
	}
	if at.Reference == "" {
		return g.noSuchAttempt(at), nil
	}
	switch ret.Kind {
	case payment.ReturnFinished:
		return g.commit(ctx, at)
	case payment.ReturnCancelled:
		return g.abandon(ctx, at, payment.CodeAborted)
	case payment.ReturnTimedOut:
		return g.abandon(ctx, at, payment.CodeFormTimeout)
	case payment.ReturnFormError:
		return g.abandon(ctx, at, CodeFormError)
	default:
		return payment.Answer{}, g.invalid("return_kind", fmt.Sprintf("unknown kind of return %q", ret.Kind))
	}
}

func (g *Gateway) commit(ctx context.Context, at payment.Attempt) (payment.Answer, error) {
	var t transaction
	v := g.call(ctx, http.MethodPut, "/"+at.Reference, nil, &t)
	if v.ok() {
		return g.answer(at, t), nil
	}
	if v.status == http.StatusUnprocessableEntity {
		switch a := (payment.Answer{Reference: at.Reference, CaptureRef: at.Reference, PaymentID: at.PaymentID, Message: v.message}); v.reason {
		case reasonNotPaid:
			// Somebody opened the return address by hand; the form still lives.
			a.Outcome, a.Code = payment.OutcomePending, CodeNotPaidYet
			return a, nil
		case reasonAborted:
			a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, v.code
			return a, nil
		}
		// Locked, and every text not known: the texts change between versions,
		// and one of them may stand for "committed already".
		return v.unknown(named(at)), nil
	}
	if f := v.failure(); f != nil {
		return payment.Answer{}, f
	}
	return v.unknown(named(at)), nil
}

// abandon asks what became of an attempt that is not going to be committed.
func (g *Gateway) abandon(ctx context.Context, at payment.Attempt, code string) (payment.Answer, error) {
	looked, err := g.Lookup(ctx, at)
	if err != nil {
		return payment.Answer{}, err
	}
	a, _ := looked.Answer()
	if a.Outcome == payment.OutcomePending {
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, code
	}
	return a, nil
}

// Lookup asks for the status: GET /transactions/{token}, which Transbank
// answers for 7 days. Later the answer is OutcomeUnknown with CodeStatusTooOld.
//
// A transaction can't be asked for by our own id. Without a token (Begin's
// answer was lost) it says CodeNoSuchAttempt and Closed, which holds because
// only its token could be paid or committed, and nobody has it.
//
// A payment that was given back in full is OutcomeApproved with Refunded equal
// to Amount: it must not count as paid.
func (g *Gateway) Lookup(ctx context.Context, at payment.Attempt) (payment.Looked, error) {
	if at.Reference == "" {
		return payment.Asked(g.noSuchAttempt(at)), nil
	}
	t, tooOld, err := g.status(ctx, at.Reference)
	switch {
	case err != nil:
		return payment.Untried, err
	case tooOld != nil:
		a := named(at)
		a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, CodeStatusTooOld, tooOld.message
		return payment.Asked(a), nil
	}
	return payment.Asked(g.answer(at, t)), nil
}

// status returns the transaction, or the verdict by which Transbank says that
// it has forgotten it.
func (g *Gateway) status(ctx context.Context, reference string) (transaction, *verdict, error) {
	var t transaction
	v := g.call(ctx, http.MethodGet, "/"+reference, nil, &t)
	switch {
	case v.ok():
		return t, nil, nil
	case v.status == http.StatusUnprocessableEntity && v.reason == reasonTooOld:
		return transaction{}, &v, nil
	case v.certain():
		return transaction{}, nil, v.failure()
	default:
		// A question has no effect: no answer is a failure, not a doubt.
		return transaction{}, nil, v.unavailable()
	}
}

// Close makes no call that closes, for Webpay has none: an attempt dies by our
// not committing it, and the caller that closes must not settle it any more.
// The answer is that of the status.
func (g *Gateway) Close(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && a.Outcome == payment.OutcomeApproved {
		return a, nil
	}
	return g.abandon(ctx, at, payment.CodeClosed)
}

// Capture takes the money of an authorization made with a deferred commerce
// code: PUT /transactions/{token}/capture, once, the whole or a part, of which
// the rest is let go. It asks for the status first, which has the authorization
// code that the call needs. A refusal (after 7 days, say) is a failure with
// Transbank's code; one that says that it was captured already is
// OutcomeUnknown, for Lookup to tell.
func (g *Gateway) Capture(ctx context.Context, at payment.Attempt, amount int64, before payment.Looked) (payment.Answer, error) {
	if _, asked := before.Answer(); !asked {
		looked, err := g.Lookup(ctx, at)
		if err != nil {
			return payment.Answer{}, err
		}
		before = looked
	}
	authorized, _ := before.Answer()
	if authorized.Outcome == payment.OutcomeUnknown && authorized.Code == CodeStatusTooOld {
		return payment.Answer{}, g.invalid(CodeStatusTooOld, "the status is not told any more, and the time to capture is over with it")
	}
	if authorized.Outcome != payment.OutcomeApproved || authorized.Captured {
		return authorized, nil
	}
	if amount <= 0 || amount > authorized.Amount {
		return payment.Answer{}, g.invalid("capture_amount", "the amount must be positive and not above what was authorized")
	}
	var captured struct {
		AuthorizationCode string  `json:"authorization_code"`
		CapturedAmount    decimal `json:"captured_amount"`
		ResponseCode      integer `json:"response_code"`
	}
	v := g.call(ctx, http.MethodPut, "/"+at.Reference+"/capture", map[string]any{
		"buy_order":          at.PaymentID,
		"authorization_code": authorized.AuthorizationCode,
		"capture_amount":     amount,
	}, &captured)
	switch {
	case v.ok() && captured.ResponseCode == (integer{set: true}) && captured.CapturedAmount.set:
		a := authorized
		a.Captured, a.Amount = true, captured.CapturedAmount.minor
		if captured.AuthorizationCode != "" {
			a.AuthorizationCode = captured.AuthorizationCode
		}
		return a, nil
	case v.ok() && captured.ResponseCode.value != 0:
		return payment.Answer{}, g.invalid(fmt.Sprint(captured.ResponseCode.value), "the capture was refused")
	case v.ok():
		v.code, v.message = CodeUnreadable, "the capture's answer lacks its amount or result"
	case v.reason == reasonCaptured:
	case v.certain():
		return payment.Answer{}, v.failure()
	}
	return v.unknown(named(at)), nil
}

// Cancel gives back an authorization that was not captured, by refunding it
// whole. Success is OutcomeDeclined, Closed, with CodeVoided.
func (g *Gateway) Cancel(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	if _, asked := before.Answer(); !asked {
		looked, err := g.Lookup(ctx, at)
		if err != nil {
			return payment.Answer{}, err
		}
		before = looked
	}
	a, _ := before.Answer()
	switch {
	case a.Outcome != payment.OutcomeApproved:
		return a, nil
	case a.Captured:
		return payment.Answer{}, g.invalid("captured", "the payment is captured: refund it instead")
	}
	r, err := g.giveBack(ctx, at, a.Amount, a.Amount)
	switch {
	case err != nil:
		return payment.Answer{}, err
	case r.Outcome == payment.OutcomeApproved:
		return voided(a), nil
	case r.Outcome == payment.OutcomeDeclined:
		return payment.Answer{}, g.invalid(r.Code, r.Message)
	default:
		u := named(at)
		u.Outcome, u.Code, u.Message = r.Outcome, r.Code, r.Message
		return u, nil
	}
}

// voided is an authorization that was given back, or whose time is over: no
// money was taken and none returned.
func voided(a payment.Answer) payment.Answer {
	a.Outcome, a.Captured, a.Closed, a.Code, a.Refunded = payment.OutcomeDeclined, false, true, CodeVoided, 0
	return a
}

// Refund gives back: POST /transactions/{token}/refunds. Transbank decides
// whether that is a reversal (the whole, within 3 hours) or a nullification.
// It is not idempotent: a repeated partial refund refunds again. So it is sent
// only when before is Untried or says CodeNoSuchRefund, and every 5xx, a 503
// too, is OutcomeUnknown. What Transbank refuses (too late, more than is left, a
// part of a debit) is OutcomeDeclined with its code.
func (g *Gateway) Refund(ctx context.Context, in payment.RefundIntent, before payment.LookedRefund) (payment.RefundAnswer, error) {
	if a, asked := before.Answer(); asked && (a.Outcome != payment.OutcomeDeclined || a.Code != payment.CodeNoSuchRefund) {
		return a, nil
	}
	switch {
	case in.Attempt.Reference == "":
		return payment.RefundAnswer{}, g.invalid("token", "a payment without a token was never charged")
	case in.Currency != money.CLP:
		return payment.RefundAnswer{}, g.invalid("currency", fmt.Sprintf("this account charges CLP, not %s", in.Currency))
	case in.Amount <= 0:
		return payment.RefundAnswer{}, g.invalid("amount", "the amount must be positive")
	}
	taken := in.Attempt.Amount
	if in.Attempt.CaptureAmount > 0 {
		taken = in.Attempt.CaptureAmount
	}
	return g.giveBack(ctx, in.Attempt, in.Amount, taken-in.RefundedBefore)
}

// giveBack refunds amount of a payment of which left has not been given back.
func (g *Gateway) giveBack(ctx context.Context, at payment.Attempt, amount, left int64) (payment.RefundAnswer, error) {
	var refunded struct {
		Type              string  `json:"type"`
		AuthorizationCode string  `json:"authorization_code"`
		NullifiedAmount   decimal `json:"nullified_amount"`
		ResponseCode      integer `json:"response_code"`
	}
	v := g.call(ctx, http.MethodPost, "/"+at.Reference+"/refunds", map[string]any{"amount": amount}, &refunded)
	switch {
	case v.ok() && refunded.Type == "REVERSED":
		// The sale as a whole is undone; the answer has nothing but its type.
		return payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: refunded.Type, Amount: max(amount, left)}, nil
	case v.ok() && refunded.ResponseCode.value != 0:
		return payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: strconv.Itoa(refunded.ResponseCode.value), Message: "the refund was refused"}, nil
	case v.ok() && refunded.Type == "NULLIFIED":
		a := payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: refunded.AuthorizationCode, Amount: amount}
		if refunded.NullifiedAmount.set {
			a.Amount = refunded.NullifiedAmount.minor
		}
		return a, nil
	case v.ok():
		v.code, v.message = CodeUnreadable, "the refund's answer lacks its type"
	case v.status == http.StatusUnprocessableEntity && v.certain():
		return payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: v.code, Message: v.message}, nil
	case v.certain() && v.status != http.StatusServiceUnavailable:
		return payment.RefundAnswer{}, v.failure()
	}
	return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: v.code, Message: v.message}, nil
}

// LookupRefund compares what Transbank says was given back with what we knew
// before this refund. Equal to it: CodeNoSuchRefund. Equal to it and this
// refund: made. Anything else has been done by others and is OutcomeUnknown
// with CodeRefundMismatch, for a person to read.
func (g *Gateway) LookupRefund(ctx context.Context, in payment.RefundIntent) (payment.LookedRefund, error) {
	if in.Attempt.Reference == "" {
		return payment.AskedRefund(payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: payment.CodeNoSuchRefund}), nil
	}
	t, tooOld, err := g.status(ctx, in.Attempt.Reference)
	switch {
	case err != nil:
		return payment.UntriedRefund, err
	case tooOld != nil:
		return payment.AskedRefund(payment.RefundAnswer{
			Outcome: payment.OutcomeUnknown, Code: CodeStatusTooOld, Message: tooOld.message,
		}), nil
	}
	refunded, known := t.refunded(t.taken(in.Attempt))
	a := payment.RefundAnswer{Reference: in.Reference}
	switch {
	case !known:
		a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, CodeUnreadable, "the status does not say how much is left"
	case refunded == in.RefundedBefore+in.Amount:
		a.Outcome, a.Amount = payment.OutcomeApproved, in.Amount
	case refunded == in.RefundedBefore:
		a.Outcome, a.Code = payment.OutcomeDeclined, payment.CodeNoSuchRefund
	default:
		a.Outcome, a.Code = payment.OutcomeUnknown, CodeRefundMismatch
		a.Message = fmt.Sprintf("given back so far: %d; known before this refund of %d: %d", refunded, in.Amount, in.RefundedBefore)
	}
	return payment.AskedRefund(a), nil
}

// ParseReturn reads one of Webpay's four ways back, by GET or POST
// (https://www.transbankdevelopers.cl/documentacion/webpay-plus#flujos): token_ws
// alone, finished; TBK_TOKEN with the order, cancelled; the order without any
// token, timed out; both tokens, the form broke. Every token and order present
// must be this payment's.
func (g *Gateway) ParseReturn(at payment.Attempt, params url.Values) (payment.Return, error) {
	for name, own := range map[string]string{
		"token_ws": at.Reference, "TBK_TOKEN": at.Reference, "TBK_ORDEN_COMPRA": at.PaymentID,
	} {
		for _, value := range params[name] {
			if own == "" || subtle.ConstantTimeCompare([]byte(value), []byte(own)) != 1 {
				return payment.Return{}, fmt.Errorf("%w: %s is not its own", payment.ErrForeignReturn, name)
			}
		}
	}
	finished, aborted, ordered := params.Has("token_ws"), params.Has("TBK_TOKEN"), params.Has("TBK_ORDEN_COMPRA")
	switch {
	case finished && aborted:
		return payment.Return{Kind: payment.ReturnFormError, Token: at.Reference}, nil
	case aborted:
		return payment.Return{Kind: payment.ReturnCancelled, Token: at.Reference}, nil
	case finished && !ordered:
		return payment.Return{Kind: payment.ReturnFinished, Token: at.Reference}, nil
	case ordered && !finished:
		return payment.Return{Kind: payment.ReturnTimedOut}, nil
	default:
		return payment.Return{}, fmt.Errorf("%w: none of Webpay's combinations of parameters", payment.ErrForeignReturn)
	}
}

// ParseNotification always fails: Transbank sends none.
func (*Gateway) ParseNotification(payment.Delivery, time.Time) (payment.Notification, error) {
	return payment.Notification{}, payment.ErrNoNotifications
}

// Transactions always fails: Transbank's REST interface has no list of
// transactions; its books come as settlement files.
func (*Gateway) Transactions(context.Context, payment.StatementQuery) (payment.StatementPage, error) {
	return payment.StatementPage{}, payment.ErrNoStatement
}

func (g *Gateway) noSuchAttempt(at payment.Attempt) payment.Answer {
	return payment.Answer{
		Outcome: payment.OutcomeDeclined, Closed: true, PaymentID: at.PaymentID,
		Code: payment.CodeNoSuchAttempt, Message: "no token was received, so nothing can be charged",
	}
}

func (g *Gateway) invalid(code, message string) *payment.Failure {
	return &payment.Failure{Gateway: payment.Transbank, Class: payment.ClassInvalid, Code: code, Message: message}
}

func named(at payment.Attempt) payment.Answer {
	return payment.Answer{Reference: at.Reference, CaptureRef: at.Reference, PaymentID: at.PaymentID}
}
