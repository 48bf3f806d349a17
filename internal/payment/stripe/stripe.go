// Package stripe is the adapter of Stripe Checkout
// (https://docs.stripe.com/payments/checkout) over stripe-go v76, which speaks
// the API version 2023-10-16.
//
// The buyer pays on a page of Stripe's; the money moves there, without a step
// of ours, so settling is asking. Each call with an effect carries an
// idempotency key made from our own ids: Stripe answers a repetition with the
// answer of the first (https://docs.stripe.com/api/idempotent_requests).
// Nothing global of stripe-go is read or written: each Gateway has its own
// backend, with the SDK's retries, telemetry and log off.
package stripe

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	stripesdk "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/charge"
	"github.com/stripe/stripe-go/v76/checkout/session"
	"github.com/stripe/stripe-go/v76/dispute"
	"github.com/stripe/stripe-go/v76/paymentintent"
	"github.com/stripe/stripe-go/v76/refund"

	"justlogistics/internal/payment"
)

// Codes of Answer.Code that are not Stripe's own.
const (
	CodeCanceled       = "canceled" // the payment intent was
	CodePaymentFailed  = "payment_failed"
	CodeUnreadable     = "unreadable_answer"
	CodeNoAnswer       = "no_answer"
	CodeNothingCharged = "nothing_charged"
)

// A session lives at least 30 minutes and at most 24 hours from its creation
// (https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-expires_at);
// a little is left on both sides for clocks that differ and for the way there.
const (
	shortestLife = 31 * time.Minute
	usualLife    = 35 * time.Minute
	longestLife  = 24*time.Hour - 5*time.Minute
)

// How the money of an approval is taken.
const (
	captureAutomatic = "automatic"
	captureManual    = "manual"
)

// authorizationLife is how long a card not present stays authorized
// (https://docs.stripe.com/payments/place-a-hold-on-a-payment-method); some
// networks give less, and the charge's capture_before has the date.
const authorizationLife = 7 * 24 * time.Hour

// Config is one tenant's account at Stripe.
type Config struct {
	// BaseURL is what stands before /v1; empty means https://api.stripe.com.
	BaseURL   string `json:"base_url"`
	SecretKey string `json:"secret_key"`
	// WebhookSecret signs the notifications of the tenant's endpoint.
	WebhookSecret string `json:"webhook_secret"`
	// Account is the id (acct_...) that receives the money; when empty it is
	// asked of Stripe once.
	Account string `json:"account"`
	// Capture is "automatic", as when empty, or "manual": cards are only
	// authorized, to be captured within 7 days.
	Capture string `json:"capture,omitempty"`
}

// Gateway is payment.Gateway for one account.
type Gateway struct {
	config  Config
	backend stripesdk.Backend
	now     func() time.Time

	mu      sync.Mutex
	account string // once known
}

var _ payment.Gateway = (*Gateway)(nil)

// New checks cfg without calling Stripe. client must come from httpclient.New:
// by its errors the adapter tells "not sent" from "no answer".
func New(cfg Config, client *http.Client) (*Gateway, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = stripesdk.APIURL
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, fmt.Errorf("stripe: base_url %q: want https://host", cfg.BaseURL)
	}
	if base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("stripe: base_url has more than scheme, host and path")
	}
	if strings.EqualFold(base.Hostname(), "api.stripe.com") && base.Scheme != "https" {
		return nil, errors.New("stripe: base_url of Stripe must be https")
	}
	if !strings.HasPrefix(cfg.SecretKey, "sk_") && !strings.HasPrefix(cfg.SecretKey, "rk_") || strings.ContainsAny(cfg.SecretKey, " \t\r\n") {
		return nil, errors.New("stripe: secret_key must begin with sk_ or rk_")
	}
	if !strings.HasPrefix(cfg.WebhookSecret, "whsec_") || strings.ContainsAny(cfg.WebhookSecret, " \t\r\n") {
		return nil, errors.New("stripe: webhook_secret must begin with whsec_")
	}
	if cfg.Account != "" && !strings.HasPrefix(cfg.Account, "acct_") {
		return nil, errors.New("stripe: account must begin with acct_")
	}
	if cfg.Capture != "" && cfg.Capture != captureAutomatic && cfg.Capture != captureManual {
		return nil, errors.New("stripe: capture must be automatic or manual")
	}
	if client == nil {
		return nil, errors.New("stripe: an HTTP client is needed")
	}
	backend := stripesdk.GetBackendWithConfig(stripesdk.APIBackend, &stripesdk.BackendConfig{
		EnableTelemetry:   stripesdk.Bool(false),
		HTTPClient:        client,
		LeveledLogger:     &stripesdk.LeveledLogger{Level: stripesdk.LevelNull},
		MaxNetworkRetries: stripesdk.Int64(0),
		URL:               stripesdk.String(base.String()),
	})
	return &Gateway{config: cfg, backend: backend, now: time.Now, account: cfg.Account}, nil
}

// Name is payment.Stripe.
func (*Gateway) Name() payment.Name { return payment.Stripe }

// Capabilities of Stripe Checkout with cards.
func (g *Gateway) Capabilities() payment.Capabilities {
	c := payment.Capabilities{
		Currencies:     currencies,
		Notifications:  true,
		Signed:         true,
		Disputes:       true,
		Statement:      true,
		Refunds:        true,
		RefundsLater:   true,
		PayableFor:     24 * time.Hour,
		PartialRefunds: true,
		MinAmount:      smallest,
	}
	if g.config.Capture == captureManual {
		c.DefersCapture, c.CaptureFor = true, authorizationLife
	}
	return c
}

// Begin creates a Checkout Session: POST /v1/checkout/sessions. It moves no
// money, and a repetition yields the same session. The link should die with
// the hold, but Stripe allows no less than half an hour: the caller closes it.
//
// The time of expiry is part of what a repetition must repeat, so it is counted
// from Intent.At and not from the clock; a repetition that
// comes so late that Stripe would refuse that time asks for another one, and if
// the first was received is refused as invalid (idempotency_error): the buyer
// then needs a new payment of ours.
func (g *Gateway) Begin(ctx context.Context, in payment.Intent, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && (a.Outcome == payment.OutcomeApproved ||
		a.Outcome == payment.OutcomeDeclined && a.Code != payment.CodeNoSuchAttempt) {
		return a, nil
	}
	if in.PaymentID == "" || in.Amount <= 0 || in.ReturnURL == "" {
		return payment.Answer{}, invalid("parameter_missing", "payment id, amount and return address are needed")
	}
	amount, err := toStripe(in.Amount, in.Currency)
	if err != nil {
		return payment.Answer{}, invalid("amount", err.Error())
	}
	params := &stripesdk.CheckoutSessionParams{
		Mode:              stripesdk.String(string(stripesdk.CheckoutSessionModePayment)),
		ClientReferenceID: stripesdk.String(in.PaymentID),
		Metadata:          map[string]string{"payment_id": in.PaymentID},
		Locale:            stripesdk.String("es-419"),
		SuccessURL:        stripesdk.String(withQuery(in.ReturnURL, "session_id={CHECKOUT_SESSION_ID}")),
		// Stripe fills its template into success_url only.
		CancelURL: stripesdk.String(withQuery(in.ReturnURL, "cancelled=1")),
		ExpiresAt: stripesdk.Int64(g.expiry(in).Unix()),
		LineItems: []*stripesdk.CheckoutSessionLineItemParams{{
			Quantity: stripesdk.Int64(1),
			PriceData: &stripesdk.CheckoutSessionLineItemPriceDataParams{
				Currency:   stripesdk.String(strings.ToLower(string(in.Currency))),
				UnitAmount: stripesdk.Int64(amount),
				ProductData: &stripesdk.CheckoutSessionLineItemPriceDataProductDataParams{
					Name: stripesdk.String(firstOf(in.Description, in.Number, in.PaymentID)),
				},
			},
		}},
		PaymentIntentData: &stripesdk.CheckoutSessionPaymentIntentDataParams{
			Description: stripesdk.String(firstOf(in.Number, in.PaymentID)),
			Metadata:    map[string]string{"payment_id": in.PaymentID},
		},
	}
	if in.Email != "" {
		params.CustomerEmail = stripesdk.String(in.Email)
	}
	if g.config.Capture == captureManual {
		params.PaymentIntentData.CaptureMethod = stripesdk.String(captureManual)
	}
	seen := prepare(ctx, &params.Params, in.PaymentID+":begin")
	s, err := g.sessions().New(params)
	if v := judge(err, seen); !v.ok() {
		// A key that was used with other parameters: the session of that first
		// call exists, and nobody has its link.
		if f := v.failure(); f != nil {
			return payment.Answer{}, f
		}
		return v.unknown(payment.Answer{PaymentID: in.PaymentID}), nil
	}
	if s.ID == "" || s.URL == "" {
		return payment.Answer{
			Outcome: payment.OutcomeUnknown, PaymentID: in.PaymentID, Reference: s.ID,
			Code: CodeUnreadable, Message: "the session was created without an id or an address",
		}, nil
	}
	return payment.Answer{
		Outcome:   payment.OutcomePending,
		Reference: s.ID,
		PaymentID: in.PaymentID,
		Account:   g.known(),
		LiveMode:  s.Livemode,
		Redirect:  &payment.Redirect{URL: s.URL, Method: http.MethodGet, Fields: map[string]string{}},
		ExpiresAt: time.Unix(s.ExpiresAt, 0).UTC(),
	}, nil
}

// expiry is the hold's end, held to what Stripe allows.
func (g *Gateway) expiry(in payment.Intent) time.Time {
	now := g.now().UTC()
	made := in.At
	if made.IsZero() || made.After(now) {
		made = now
	}
	at := in.Deadline
	if earliest := made.Add(usualLife); at.Before(earliest) {
		at = earliest
	}
	if latest := made.Add(longestLife); at.After(latest) {
		at = latest
	}
	if earliest := now.Add(shortestLife); at.Before(earliest) {
		at = earliest
	}
	return at
}

// Settle asks what became of the session: nothing of ours is needed for the
// money to move. A buyer who pressed "back" leaves the session open: the answer
// is then OutcomePending, and the attempt payable until it is closed.
func (g *Gateway) Settle(ctx context.Context, at payment.Attempt, _ payment.Return, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && a.Outcome == payment.OutcomeApproved {
		return a, nil
	}
	looked, err := g.Lookup(ctx, at)
	if err != nil {
		return payment.Answer{}, err
	}
	a, _ := looked.Answer()
	return a, nil
}

// Lookup reads the session with its payment intent, charge, fee, refunds and
// review: GET /v1/checkout/sessions/{id}; and the dispute, when the charge says
// that there is one: GET /v1/disputes.
//
// Without a session id (Begin's answer was lost) it says CodeNoSuchAttempt and
// Closed. That holds because the page's address was in the answer that was
// lost: nobody can pay a session that nobody has seen. Sessions can't be found
// by our id (the list has no such filter, and searching lags behind); Begin
// repeated with the same key brings the same session back, payable again.
//
// A declined card leaves an open session payable: OutcomeDeclined without
// Closed; and one that has ended since is OutcomeDeclined with the bank's code and
// Closed. A payment that was given back in full is OutcomeApproved with
// Refunded equal to Amount: it must not count as paid.
func (g *Gateway) Lookup(ctx context.Context, at payment.Attempt) (payment.Looked, error) {
	if at.Reference == "" {
		return payment.Asked(payment.Answer{
			Outcome: payment.OutcomeDeclined, Closed: true, PaymentID: at.PaymentID,
			Code: payment.CodeNoSuchAttempt, Message: "the page's address was never received, so nobody can pay there",
		}), nil
	}
	params := &stripesdk.CheckoutSessionParams{}
	for _, path := range ofIntent {
		params.AddExpand("payment_intent." + path)
	}
	seen := prepare(ctx, &params.Params, "")
	s, err := g.sessions().Get(at.Reference, params)
	if v := judge(err, seen); !v.ok() {
		return payment.Untried, v.unanswered()
	}
	if err := g.complete(ctx, s.PaymentIntent); err != nil {
		return payment.Untried, err
	}
	a := answer(s)
	if a.Outcome == payment.OutcomeApproved {
		if a.Account, err = g.receiver(ctx); err != nil {
			return payment.Untried, err
		}
		if disputed(s.PaymentIntent) {
			if a.Dispute, err = g.disputeOf(ctx, &stripesdk.DisputeListParams{PaymentIntent: stripesdk.String(a.CaptureRef)}); err != nil {
				return payment.Untried, err
			}
		}
	}
	return payment.Asked(a), nil
}

// ofIntent is what is asked for together with a payment intent.
var ofIntent = []string{"latest_charge", "latest_charge.balance_transaction", "latest_charge.refunds", "review"}

// complete reads the refunds that did not fit on the first page.
func (g *Gateway) complete(ctx context.Context, pi *stripesdk.PaymentIntent) error {
	if pi == nil || pi.LatestCharge == nil || pi.LatestCharge.Refunds == nil || !pi.LatestCharge.Refunds.HasMore {
		return nil
	}
	all, err := g.refundsOf(ctx, pi.ID)
	pi.LatestCharge.Refunds.Data = all
	return err
}

// refundsOf lists every refund of a payment intent: GET /v1/refunds, which does
// not lag behind.
func (g *Gateway) refundsOf(ctx context.Context, intent string) (all []*stripesdk.Refund, err error) {
	list := &stripesdk.RefundListParams{PaymentIntent: stripesdk.String(intent)}
	list.Limit = stripesdk.Int64(pageSize)
	var seen *exchange
	list.Context, seen = observe(ctx)
	refunds := g.refunds().List(list)
	for refunds.Next() {
		all = append(all, refunds.Refund())
	}
	if v := judge(refunds.Err(), seen); !v.ok() {
		return nil, v.unanswered()
	}
	return all, nil
}

func disputed(pi *stripesdk.PaymentIntent) bool {
	return pi != nil && pi.LatestCharge != nil && pi.LatestCharge.Disputed
}

// disputeOf is the newest dispute that matches; nil when there is none.
func (g *Gateway) disputeOf(ctx context.Context, params *stripesdk.DisputeListParams) (*payment.Dispute, error) {
	seen := page(ctx, &params.ListParams, "")
	params.Limit = stripesdk.Int64(1)
	disputes := g.disputes().List(params)
	if disputes.Next() {
		return disputeSeen(disputes.Dispute()), nil
	}
	if v := judge(disputes.Err(), seen); !v.ok() {
		return nil, v.unanswered()
	}
	return nil, nil
}

// Close expires the session: POST /v1/checkout/sessions/{id}/expire. Stripe
// refuses that for a session which was paid, or has a payment in progress: the
// answer is then what Lookup says. A session whose last card was declined says so
// when it is closed: OutcomeDeclined and Closed with the bank's code. Closing
// twice does no harm.
func (g *Gateway) Close(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	key := at.PaymentID + ":expire"
	if a, asked := before.Answer(); asked {
		if a.Closed || a.Outcome == payment.OutcomeApproved {
			return a, nil
		}
		// Stripe stores refusals too: under the first key a session that could
		// not be expired while a payment ran could never be.
		key += ":" + strconv.FormatInt(g.now().Unix(), 10)
	}
	if at.Reference == "" {
		return g.ask(ctx, at)
	}
	params := &stripesdk.CheckoutSessionExpireParams{}
	params.AddExpand("payment_intent.latest_charge")
	seen := prepare(ctx, &params.Params, key)
	s, err := g.sessions().Expire(at.Reference, params)
	v := judge(err, seen)
	switch {
	case v.ok() && s.Status == stripesdk.CheckoutSessionStatusExpired:
		a := answer(s)
		if a.Code == payment.CodeExpired {
			a.Code = payment.CodeClosed
		}
		return a, nil
	case v.ok():
		return g.ask(ctx, at)
	case v.status == http.StatusBadRequest:
		return g.ask(ctx, at)
	case v.certain():
		return payment.Answer{}, v.failure()
	}
	return v.unknown(named(at)), nil
}

// ask is Lookup for methods that answer.
func (g *Gateway) ask(ctx context.Context, at payment.Attempt) (payment.Answer, error) {
	looked, err := g.Lookup(ctx, at)
	if err != nil {
		return payment.Answer{}, err
	}
	a, _ := looked.Answer()
	return a, nil
}

// Capture takes the money of an authorized payment: POST
// /v1/payment_intents/{id}/capture. What is not taken is released.
func (g *Gateway) Capture(ctx context.Context, at payment.Attempt, amount int64, before payment.Looked) (payment.Answer, error) {
	authorized, ok, err := g.authorized(ctx, at, before)
	if err != nil || !ok {
		return authorized, err
	}
	if amount <= 0 || amount > authorized.Amount {
		return payment.Answer{}, invalid("amount_to_capture", "the amount must be positive and not above what was authorized")
	}
	wanted, err := toStripe(amount, authorized.Currency)
	if err != nil {
		return payment.Answer{}, invalid("amount_to_capture", err.Error())
	}
	params := &stripesdk.PaymentIntentCaptureParams{AmountToCapture: stripesdk.Int64(wanted)}
	for _, path := range ofIntent {
		params.AddExpand(path)
	}
	seen := prepare(ctx, &params.Params, at.PaymentID+":capture")
	pi, err := g.intents().Capture(authorized.CaptureRef, params)
	if v := judge(err, seen); !v.ok() {
		if f := v.failure(); f != nil {
			return payment.Answer{}, f
		}
		return v.unknown(named(at)), nil
	}
	a := named(at)
	a.Account, a.PaymentID = authorized.Account, authorized.PaymentID
	fill(&a, pi)
	return a, nil
}

// Cancel voids an authorization: POST /v1/payment_intents/{id}/cancel. Success
// is OutcomeDeclined and Closed with CodeCanceled.
func (g *Gateway) Cancel(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	authorized, ok, err := g.authorized(ctx, at, before)
	switch {
	case err != nil:
		return payment.Answer{}, err
	case !ok && authorized.Outcome == payment.OutcomeApproved:
		return payment.Answer{}, invalid("captured", "the payment is captured: refund it instead")
	case !ok:
		return authorized, nil
	}
	params := &stripesdk.PaymentIntentCancelParams{CancellationReason: stripesdk.String("requested_by_customer")}
	seen := prepare(ctx, &params.Params, at.PaymentID+":cancel")
	pi, err := g.intents().Cancel(authorized.CaptureRef, params)
	if v := judge(err, seen); !v.ok() {
		if f := v.failure(); f != nil {
			return payment.Answer{}, f
		}
		return v.unknown(named(at)), nil
	}
	a := named(at)
	a.PaymentID = authorized.PaymentID
	fill(&a, pi)
	return a, nil
}

// authorized is the state of an attempt, asked when before does not have it; ok
// is true when there is an authorization to capture or to void.
func (g *Gateway) authorized(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, bool, error) {
	a, asked := before.Answer()
	if !asked {
		var err error
		if a, err = g.ask(ctx, at); err != nil {
			return payment.Answer{}, false, err
		}
	}
	if a.CaptureRef == "" {
		a.CaptureRef = at.CaptureRef
	}
	return a, a.Outcome == payment.OutcomeApproved && !a.Captured && a.CaptureRef != "", nil
}

// Refund gives back: POST /v1/refunds, under the refund's id as key, so that a
// repetition refunds nothing more. The key protects for at least 24 hours, and
// the question before a repetition protects after that. A refund that Stripe
// accepted may still fail days later, when LookupRefund says OutcomeDeclined.
// One that Stripe refuses (more than is left, a disputed charge) is
// OutcomeDeclined with its code; the key keeps that refusal for a day.
func (g *Gateway) Refund(ctx context.Context, in payment.RefundIntent, before payment.LookedRefund) (payment.RefundAnswer, error) {
	if a, asked := before.Answer(); asked && (a.Outcome != payment.OutcomeDeclined || a.Code != payment.CodeNoSuchRefund) {
		return a, nil
	}
	if in.RefundID == "" || in.Amount <= 0 {
		return payment.RefundAnswer{}, invalid("parameter_missing", "a refund needs an id and a positive amount")
	}
	amount, err := toStripe(in.Amount, in.Currency)
	if err != nil {
		return payment.RefundAnswer{}, invalid("amount", err.Error())
	}
	intent, err := g.intentOf(ctx, in.Attempt)
	if err != nil {
		return payment.RefundAnswer{}, err
	}
	if intent == "" {
		return payment.RefundAnswer{}, invalid(CodeNothingCharged, "the attempt has no payment to give back")
	}
	params := &stripesdk.RefundParams{
		PaymentIntent: stripesdk.String(intent),
		Amount:        stripesdk.Int64(amount),
		Reason:        stripesdk.String(reasonOf(in.Reason)),
		Metadata: map[string]string{
			"refund_id": in.RefundID, "payment_id": in.Attempt.PaymentID, "reason": in.Reason,
		},
	}
	seen := prepare(ctx, &params.Params, in.RefundID+":refund")
	r, err := g.refunds().New(params)
	v := judge(err, seen)
	switch {
	case v.ok():
		return refundAnswer(r), nil
	case v.idempotency:
		// Something was asked under this refund's id before, with other numbers.
		return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: v.code, Message: v.message}, nil
	case v.refused():
		return payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: v.code, Message: v.message}, nil
	case v.certain():
		return payment.RefundAnswer{}, v.failure()
	}
	return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: v.code, Message: v.message}, nil
}

// LookupRefund reads the refund by its id where that is known, else finds it
// among the refunds of the payment by our id in its metadata (GET /v1/refunds,
// which does not lag behind). None there: CodeNoSuchRefund.
func (g *Gateway) LookupRefund(ctx context.Context, in payment.RefundIntent) (payment.LookedRefund, error) {
	if in.Reference != "" {
		params := &stripesdk.RefundParams{}
		seen := prepare(ctx, &params.Params, "")
		r, err := g.refunds().Get(in.Reference, params)
		if v := judge(err, seen); !v.ok() {
			return payment.UntriedRefund, v.unanswered()
		}
		return payment.AskedRefund(refundAnswer(r)), nil
	}
	none := payment.AskedRefund(payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: payment.CodeNoSuchRefund})
	intent, err := g.intentOf(ctx, in.Attempt)
	if err != nil {
		return payment.UntriedRefund, err
	}
	if intent == "" {
		return none, nil
	}
	refunds, err := g.refundsOf(ctx, intent)
	if err != nil {
		return payment.UntriedRefund, err
	}
	for _, r := range refunds {
		if r.Metadata["refund_id"] == in.RefundID {
			return payment.AskedRefund(refundAnswer(r)), nil
		}
	}
	return none, nil
}

// intentOf is the payment intent of an attempt, asked for when it was never
// stored; empty when nobody paid.
func (g *Gateway) intentOf(ctx context.Context, at payment.Attempt) (string, error) {
	if at.CaptureRef != "" {
		return at.CaptureRef, nil
	}
	a, err := g.ask(ctx, at)
	return a.CaptureRef, err
}

// ParseReturn reads the two ways back: session_id, which Stripe fills in when
// the buyer has paid, and cancelled=1, without a session, when the buyer
// pressed "back". The latter names the payment by the address's path alone; it
// is worth no more than a question, which is all that Settle makes of it.
func (g *Gateway) ParseReturn(at payment.Attempt, params url.Values) (payment.Return, error) {
	for _, value := range params["session_id"] {
		if at.Reference == "" || subtle.ConstantTimeCompare([]byte(value), []byte(at.Reference)) != 1 {
			return payment.Return{}, fmt.Errorf("%w: session_id is not its own", payment.ErrForeignReturn)
		}
	}
	switch {
	case params.Get("cancelled") == "1":
		return payment.Return{Kind: payment.ReturnCancelled, Token: params.Get("session_id")}, nil
	case params.Has("session_id"):
		return payment.Return{Kind: payment.ReturnFinished, Token: at.Reference}, nil
	default:
		return payment.Return{}, fmt.Errorf("%w: neither session_id nor cancelled", payment.ErrForeignReturn)
	}
}

// receiver is the account that gets the money: GET /v1/account, once.
func (g *Gateway) receiver(ctx context.Context) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.account != "" {
		return g.account, nil
	}
	params := &stripesdk.AccountParams{}
	seen := prepare(ctx, &params.Params, "")
	account := &stripesdk.Account{}
	err := g.backend.Call(http.MethodGet, "/v1/account", g.config.SecretKey, params, account)
	if v := judge(err, seen); !v.ok() {
		return "", v.unanswered()
	}
	if account.ID == "" {
		return "", (verdict{code: CodeUnreadable, message: "the account has no id"}).unanswered()
	}
	g.account = account.ID
	return g.account, nil
}

// known is the receiver's account as far as it was configured or asked for.
func (g *Gateway) known() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.account
}

func (g *Gateway) sessions() session.Client {
	return session.Client{B: g.backend, Key: g.config.SecretKey}
}

func (g *Gateway) intents() paymentintent.Client {
	return paymentintent.Client{B: g.backend, Key: g.config.SecretKey}
}

func (g *Gateway) refunds() refund.Client {
	return refund.Client{B: g.backend, Key: g.config.SecretKey}
}

func (g *Gateway) charges() charge.Client {
	return charge.Client{B: g.backend, Key: g.config.SecretKey}
}

func (g *Gateway) disputes() dispute.Client {
	return dispute.Client{B: g.backend, Key: g.config.SecretKey}
}

// reasonOf puts our reasons in the three words that Stripe takes; "fraudulent"
// would block the buyer's card and is never ours to say.
func reasonOf(ours string) string {
	if ours == "duplicate_payment" {
		return string(stripesdk.RefundReasonDuplicate)
	}
	return string(stripesdk.RefundReasonRequestedByCustomer)
}

func named(at payment.Attempt) payment.Answer {
	return payment.Answer{Reference: at.Reference, CaptureRef: at.CaptureRef, PaymentID: at.PaymentID}
}

func withQuery(address, query string) string {
	if strings.Contains(address, "?") {
		return address + "&" + query
	}
	return address + "?" + query
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func invalid(code, message string) *payment.Failure {
	return &payment.Failure{Gateway: payment.Stripe, Class: payment.ClassInvalid, Code: code, Message: message}
}
