// Package khipu is the adapter of Khipu's instant payments, API v3
// (https://docs.khipu.com/apis/v3/instant-payments/openapi): the buyer pays by
// a bank transfer that Khipu prepares on its page and reconciles minutes later.
//
// The money moves at the buyer's bank, so settling is asking. There are no
// idempotency keys and no search: after a doubt the payment is asked for by
// Khipu's id. A payment whose creation was not answered has a link that nobody
// was given, so nobody can pay it.
package khipu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// ProductionURL is Khipu's only host: whether an account is a developer's, with
// test banks, is a property of the account.
const ProductionURL = "https://payment-api.khipu.com"

// Codes of Answer.Code and RefundAnswer.Code that are not Khipu's own.
const (
	CodeUnreadable     = "unreadable_answer"
	CodeNoSuchPayment  = "no_such_payment"
	CodeRejected       = "rejected_by_payer"
	CodeAbuse          = "marked_as_abuse"
	CodeRefundsUntold  = "refunded_amount_not_told" // some was given back, and Khipu does not say how much
	CodeRefundMismatch = "refund_mismatch"          // other money was given back than ours
	CodeAcceptedUnread = "accepted_unread"          // accepted, and its payment could not be read
	CodeRefundExpired  = "refund_expired"           // accepted, and not carried out
	CodeNotRefundable  = "not_refundable"           // paid out to the shop, too old, or given back already
	CodeRefundTooLarge = "refund_too_large"
	CodeRefundsOff     = "refunds_not_enabled" // not for this account
)

// attemptLife is how long a buyer who is at the bank may take, also past the
// payment's own expiry (expires_date in the API reference).
const attemptLife = 3 * time.Hour

// longestSubject is the limit of the field subject, from the API reference.
const longestSubject = 255

// Config is one tenant's receiver account at Khipu.
type Config struct {
	// BaseURL is what stands before /v3; empty means ProductionURL.
	BaseURL string `json:"base_url"`
	// APIKey authenticates calls; Secret signs notifications. They are two.
	APIKey string `json:"api_key"`
	Secret string `json:"secret"`
	// ReceiverID is the account that gets the money ("ID de cobrador"); when
	// set, payments to another one are told apart.
	ReceiverID text `json:"receiver_id,omitempty"`
	// Currencies that Khipu has enabled for the account; empty means CLP.
	Currencies []string `json:"currencies,omitempty"`
	// RefundWallet: Khipu has enabled the account's refund wallet, from which
	// refunds are paid for 180 days. Without it only money that was not yet
	// paid out to the shop can be given back.
	RefundWallet bool `json:"refund_wallet,omitempty"`
}

// offered are the currencies of the API reference.
var offered = []money.Currency{"CLP", "CLF", "ARS", "PEN", "MXN", "USD", "EUR", "BOB", "COP"}

var receiver = regexp.MustCompile(`^[0-9]{1,18}$`)

// Gateway is payment.Gateway for one account.
type Gateway struct {
	config     Config
	base       string
	live       bool
	currencies []money.Currency
	client     *http.Client
	now        func() time.Time
}

var _ payment.Gateway = (*Gateway)(nil)

// New checks cfg without calling Khipu. client must come from httpclient.New:
// by its errors the adapter tells "not sent" from "no answer".
func New(cfg Config, client *http.Client) (*Gateway, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = ProductionURL
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, fmt.Errorf("khipu: base_url %q: want https://host", cfg.BaseURL)
	}
	if base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("khipu: base_url has more than scheme, host and path")
	}
	live := strings.EqualFold(base.Hostname(), "payment-api.khipu.com")
	if live && base.Scheme != "https" {
		return nil, errors.New("khipu: base_url of Khipu must be https")
	}
	if cfg.APIKey == "" || strings.ContainsAny(cfg.APIKey, " \t\r\n") {
		return nil, errors.New("khipu: api_key is missing or has blanks")
	}
	if cfg.Secret == "" || strings.ContainsAny(cfg.Secret, " \t\r\n") {
		return nil, errors.New("khipu: secret is missing or has blanks")
	}
	if cfg.ReceiverID != "" && !receiver.MatchString(string(cfg.ReceiverID)) {
		return nil, errors.New("khipu: receiver_id must be a number")
	}
	currencies := []money.Currency{money.CLP}
	if len(cfg.Currencies) > 0 {
		currencies = nil
	}
	for _, code := range cfg.Currencies {
		c, err := money.ParseCurrency(code)
		if err != nil || !slices.Contains(offered, c) {
			return nil, fmt.Errorf("khipu: currencies: Khipu does not charge %q", code)
		}
		currencies = append(currencies, c)
	}
	if client == nil {
		return nil, errors.New("khipu: an HTTP client is needed")
	}
	return &Gateway{
		config: cfg, base: strings.TrimRight(base.String(), "/") + "/v3", live: live,
		currencies: currencies, client: client, now: time.Now,
	}, nil
}

// Name is payment.Khipu.
func (*Gateway) Name() payment.Name { return payment.Khipu }

// Capabilities of the account. Khipu has no statement, no authorization without
// a capture and no cards; the buyer chooses the bank on its page.
func (g *Gateway) Capabilities() payment.Capabilities {
	c := payment.Capabilities{
		Currencies:     slices.Clone(g.currencies),
		Notifications:  true,
		Signed:         true,
		Disputes:       true,
		PayableFor:     24*time.Hour + attemptLife,
		Refunds:        true,
		RefundsLater:   true,
		PartialRefunds: true,
	}
	if g.config.RefundWallet {
		// From the day of reconciliation
		// (https://github.com/khipu/prestashop-khipu, docs/manual-comercio.md).
		c.RefundFor = 180 * 24 * time.Hour
	}
	return c
}

// Begin creates a payment: POST /v3/payments. It moves no money. When its
// answer is lost the payment exists with a link that nobody has; a repetition
// creates another one under the same transaction_id. Should the first be paid
// all the same, its notification names our payment.
//
// The link dies at Intent.Deadline; a deadline that has passed is refused as
// invalid. Nothing is told of the buyer: Khipu asks for what it needs.
func (g *Gateway) Begin(ctx context.Context, in payment.Intent, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && a.Code != payment.CodeNoSuchAttempt {
		return a, nil
	}
	expires := in.Deadline.UTC().Truncate(time.Second)
	switch {
	case !slices.Contains(g.currencies, in.Currency):
		return payment.Answer{}, invalid("currency", fmt.Sprintf("this account does not charge %s", in.Currency))
	case in.Amount <= 0:
		return payment.Answer{}, invalid("amount", "the amount must be positive")
	case in.PaymentID == "" || in.ReturnURL == "":
		return payment.Answer{}, invalid("parameter_missing", "a payment needs an id and a return address")
	case !expires.After(g.now()):
		return payment.Answer{}, invalid("expires_date", "the hold has ended")
	}
	body := map[string]any{
		"amount":         json.Number(written(in.Amount, in.Currency)),
		"currency":       string(in.Currency),
		"subject":        firstRunes(firstOf(in.Description, in.Number, in.PaymentID), longestSubject),
		"transaction_id": in.PaymentID,
		"return_url":     wayBack(in.ReturnURL, in.PaymentID, finished),
		"cancel_url":     wayBack(in.ReturnURL, in.PaymentID, cancelled),
		"expires_date":   expires.Format(time.RFC3339),
	}
	if in.NotifyURL != "" {
		body["notify_url"], body["notify_api_version"] = in.NotifyURL, "3.0"
	}
	var created struct {
		PaymentID  string `json:"payment_id"`
		PaymentURL string `json:"payment_url"`
	}
	v := g.call(ctx, http.MethodPost, "/payments", body, &created)
	if !v.ok() {
		if f := v.failure(); f != nil {
			return payment.Answer{}, f
		}
		return v.unknown(payment.Answer{PaymentID: in.PaymentID}), nil
	}
	page, err := url.Parse(created.PaymentURL)
	if err != nil || page.Host == "" || (page.Scheme != "https" && page.Scheme != "http") || !reference.MatchString(created.PaymentID) {
		return payment.Answer{
			Outcome: payment.OutcomeUnknown, PaymentID: in.PaymentID, Code: CodeUnreadable,
			Message: "the payment was created without a usable id and address",
		}, nil
	}
	return payment.Answer{
		Outcome:    payment.OutcomePending,
		Reference:  created.PaymentID,
		CaptureRef: created.PaymentID,
		PaymentID:  in.PaymentID,
		Account:    string(g.config.ReceiverID),
		LiveMode:   g.live,
		Redirect:   &payment.Redirect{URL: created.PaymentURL, Method: http.MethodGet, Fields: map[string]string{}},
		ExpiresAt:  expires,
	}, nil
}

// reference is Khipu's name of a payment: 12 letters and digits.
var reference = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// Settle asks what became of the payment: nothing of ours is needed for the
// money to move. A buyer who comes back from paying finds it in verification
// for some minutes (OutcomePending, Processing); one who pressed cancel leaves
// the link payable until it is closed.
func (g *Gateway) Settle(ctx context.Context, at payment.Attempt, _ payment.Return, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && a.Outcome != payment.OutcomePending {
		return a, nil
	}
	return g.ask(ctx, at)
}

// Lookup asks for the payment: GET /v3/payments/{id}.
//
// Khipu has no status for a payment whose time is over; it is told from
// expires_date: OutcomeDeclined with CodeExpired, and Closed once also the last
// buyer who was at the bank by then must be done, three hours later. A payment
// that Khipu no longer has is closed.
//
// Without a reference (Begin's answer was lost) it says CodeNoSuchAttempt and
// Closed, which holds because nobody was given the link; unless a notification
// names a payment of ours that was paid all the same.
func (g *Gateway) Lookup(ctx context.Context, at payment.Attempt) (payment.Looked, error) {
	a, err := g.ask(ctx, at)
	if err != nil {
		return payment.Untried, err
	}
	return payment.Asked(a), nil
}

// ask says what became of an attempt. When nobody has paid it, and a notification names
// another payment, that one is read too: a call to begin whose answer was lost may have
// left it behind. Whoever sent the notification may have made it up, so it counts only
// when it is ours and money has moved.
func (g *Gateway) ask(ctx context.Context, at payment.Attempt) (payment.Answer, error) {
	a, err := g.askAbout(ctx, at)
	if err != nil || at.Hint == "" || at.Hint == at.Reference || a.Outcome == payment.OutcomeApproved || a.Processing {
		return a, err
	}
	p, found, err := g.find(ctx, at.Hint)
	var refused *payment.Failure
	switch {
	case errors.As(err, &refused) && refused.Class == payment.ClassInvalid:
		return a, nil
	case err != nil:
		return payment.Answer{}, err
	case !found || p.TransactionID != at.PaymentID:
		return a, nil
	}
	left := at
	left.Reference = at.Hint
	if other := g.answer(left, p); other.Outcome == payment.OutcomeApproved || other.Processing {
		return other, nil
	}
	return a, nil
}

func (g *Gateway) askAbout(ctx context.Context, at payment.Attempt) (payment.Answer, error) {
	if at.Reference == "" {
		return noSuchAttempt(at), nil
	}
	p, found, err := g.find(ctx, at.Reference)
	switch {
	case err != nil:
		return payment.Answer{}, err
	case !found:
		return closed(at), nil
	}
	return g.answer(at, p), nil
}

// find reads a payment; found is false when Khipu does not have it (any more).
func (g *Gateway) find(ctx context.Context, id string) (p transfer, found bool, err error) {
	v := g.call(ctx, http.MethodGet, "/payments/"+url.PathEscape(id), nil, &p)
	switch {
	case v.ok() && p.PaymentID != id:
		v.code, v.message = CodeUnreadable, "the answer is about another payment, or about none"
		return transfer{}, false, v.unavailable()
	case v.ok():
		return p, true, nil
	case v.status == http.StatusNotFound:
		return transfer{}, false, nil
	case v.certain():
		return transfer{}, false, v.failure()
	}
	// A question has no effect: no answer is a failure, not a doubt.
	return transfer{}, false, v.unavailable()
}

// Close deletes the payment: DELETE /v3/payments/{id}, which Khipu takes only
// while nobody has paid. One that is refused is answered from Lookup: it was
// paid, or the transfer is being verified.
func (g *Gateway) Close(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && (a.Outcome == payment.OutcomeApproved || a.Processing || a.Closed) {
		return a, nil
	}
	if at.Reference == "" {
		return noSuchAttempt(at), nil
	}
	v := g.call(ctx, http.MethodDelete, "/payments/"+url.PathEscape(at.Reference), nil, &struct{}{})
	switch {
	case v.ok():
		return closed(at), nil
	case !v.certain():
		return v.unknown(named(at)), nil
	case !v.refused():
		return payment.Answer{}, v.failure()
	}
	a, err := g.ask(ctx, at)
	if err != nil {
		return payment.Answer{}, err
	}
	if a.Outcome == payment.OutcomePending && !a.Processing {
		// Refused, and still payable.
		return payment.Answer{}, v.failure()
	}
	return a, nil
}

// Capture has nothing to do: a transfer takes the money at once. The answer is
// that of Lookup.
func (g *Gateway) Capture(ctx context.Context, at payment.Attempt, _ int64, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked {
		return a, nil
	}
	return g.ask(ctx, at)
}

// Cancel finds no authorization to void: a payment that was made is refused as
// invalid, to be refunded instead, and any other is answered from Lookup.
func (g *Gateway) Cancel(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	a, err := g.Capture(ctx, at, 0, before)
	if err == nil && a.Outcome == payment.OutcomeApproved {
		return payment.Answer{}, invalid("captured", "a transfer takes the money at once: refund it instead")
	}
	return a, err
}

// What is added to the address of the buyer's return: Khipu adds nothing of its
// own. It names the payment and proves nothing.
const (
	returnKey  = "khipu"
	paymentKey = "khipu_payment"
	finished   = "finished"
	cancelled  = "cancelled"
)

func wayBack(address, paymentID, how string) string {
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + url.Values{returnKey: {how}, paymentKey: {paymentID}}.Encode()
}

// ParseReturn tells the two ways back apart by what Begin has put in their
// addresses. Khipu sends the buyer to the first when the transfer was made, to
// the second when the buyer gives up, and signs neither.
func (g *Gateway) ParseReturn(at payment.Attempt, params url.Values) (payment.Return, error) {
	if at.Reference == "" || len(params[paymentKey]) != 1 || params.Get(paymentKey) != at.PaymentID {
		return payment.Return{}, fmt.Errorf("%w: %s is not its own", payment.ErrForeignReturn, paymentKey)
	}
	switch params.Get(returnKey) {
	case finished:
		return payment.Return{Kind: payment.ReturnFinished, Token: at.Reference}, nil
	case cancelled:
		return payment.Return{Kind: payment.ReturnCancelled, Token: at.Reference}, nil
	default:
		return payment.Return{}, fmt.Errorf("%w: neither %s nor %s", payment.ErrForeignReturn, finished, cancelled)
	}
}

// Transactions always fails: Khipu's API has no list of payments.
func (*Gateway) Transactions(context.Context, payment.StatementQuery) (payment.StatementPage, error) {
	return payment.StatementPage{}, payment.ErrNoStatement
}

func noSuchAttempt(at payment.Attempt) payment.Answer {
	return payment.Answer{
		Outcome: payment.OutcomeDeclined, Closed: true, PaymentID: at.PaymentID,
		Code: payment.CodeNoSuchAttempt, Message: "no link was received, so nobody can pay it",
	}
}

func closed(at payment.Attempt) payment.Answer {
	a := named(at)
	a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeClosed
	return a
}

func named(at payment.Attempt) payment.Answer {
	return payment.Answer{Reference: at.Reference, CaptureRef: at.Reference, PaymentID: at.PaymentID}
}

func invalid(code, message string) *payment.Failure {
	return &payment.Failure{Gateway: payment.Khipu, Class: payment.ClassInvalid, Code: code, Message: message}
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func firstRunes(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most])
	}
	return text
}
