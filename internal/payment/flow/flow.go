// Package flow is the adapter of Flow (https://developers.flow.cl/api, OpenAPI
// file https://developers.flow.cl/es-openApiFlow.yaml, version 3.0.1). There is
// no official library for Go.
//
// An order is created with a life in seconds and answers a link with a token;
// whoever has the link can pay until that life is over, and nothing closes it
// before. The money is taken when the buyer pays, so settling is asking. Flow
// has no idempotency keys: a create whose answer is lost leaves an order that
// nobody has the link of, and is simply repeated; a refund whose answer is lost
// can neither be found nor safely repeated, and is left in doubt.
package flow

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // Flow's dates are Chile's local time, also where the machine has no zones

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// The public roots of the API; each has accounts of its own.
const (
	ProductionURL = "https://www.flow.cl/api"
	SandboxURL    = "https://sandbox.flow.cl/api"
)

// Codes of Answer.Code and RefundAnswer.Code that are not Flow's own.
const (
	CodeRejected        = "rejected"       // without a reason from Flow
	CodeUnknownStatus   = "unknown_status" // one that the documents do not have
	CodeUnreadable      = "unreadable_answer"
	CodeRefundRejected  = "rejected" // the receiver said no
	CodeRefundCancelled = "canceled"
)

// Flow's own codes on which a decision hangs.
const (
	codeBadSignature = "108"  // github.com/flowcl/PHP-API-CLIENT issue 2
	codeAlreadyPaid  = "1605" // the commerceOrder has been paid
)

// allMethods is the paymentMethod by which Flow's page asks the buyer.
const allMethods = 9

// payableFor bounds how long a link may be watched; its own life is shorter.
const payableFor = 31 * 24 * time.Hour

// Config is one tenant's account at Flow.
type Config struct {
	// BaseURL is the API's root; empty means ProductionURL.
	BaseURL   string `json:"base_url"`
	APIKey    string `json:"api_key"`
	SecretKey string `json:"secret_key"`
	// PaymentMethod is Flow's number of the one that is offered when the
	// storefront chooses none; zero means 9, all that the account has.
	PaymentMethod int `json:"payment_method,omitempty"`
	// PaymentMethods gives the numbers of the methods that a storefront may
	// choose by name, as in {"webpay": 1}. They differ by account and are shown
	// in its panel under "Medios de pago".
	PaymentMethods map[string]int `json:"payment_methods,omitempty"`
}

// Gateway is payment.Gateway for one account.
type Gateway struct {
	config Config
	base   string
	live   bool
	client *http.Client
	zone   *time.Location
	now    func() time.Time
}

var _ payment.Gateway = (*Gateway)(nil)

// New checks cfg without calling Flow. client must come from httpclient.New: by
// its errors the adapter tells "not sent" from "no answer".
func New(cfg Config, client *http.Client) (*Gateway, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = ProductionURL
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, fmt.Errorf("flow: base_url %q: want https://host/api", cfg.BaseURL)
	}
	if base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("flow: base_url has more than scheme, host and path")
	}
	host := strings.ToLower(base.Hostname())
	live := host == "flow.cl" || strings.HasSuffix(host, ".flow.cl") && host != "sandbox.flow.cl"
	if live && base.Scheme != "https" {
		return nil, errors.New("flow: base_url of production must be https")
	}
	for name, value := range map[string]string{"api_key": cfg.APIKey, "secret_key": cfg.SecretKey} {
		if value == "" || strings.ContainsAny(value, " \t\r\n") {
			return nil, fmt.Errorf("flow: %s is missing or has blanks", name)
		}
	}
	if cfg.PaymentMethod == 0 {
		cfg.PaymentMethod = allMethods
	}
	if cfg.PaymentMethod < 0 {
		return nil, errors.New("flow: payment_method is one of the numbers in the account's panel")
	}
	for name, number := range cfg.PaymentMethods {
		if name == "" || number <= 0 {
			return nil, errors.New("flow: payment_methods gives each name one of the numbers in the account's panel")
		}
	}
	if client == nil {
		return nil, errors.New("flow: an HTTP client is needed")
	}
	zone, err := time.LoadLocation("America/Santiago")
	if err != nil {
		return nil, fmt.Errorf("flow: %w", err)
	}
	return &Gateway{
		config: cfg, base: strings.TrimRight(base.String(), "/"), live: live, client: client, zone: zone, now: time.Now,
	}, nil
}

// Name is payment.Flow.
func (*Gateway) Name() payment.Name { return payment.Flow }

// Capabilities of Flow's payments and refunds.
func (g *Gateway) Capabilities() payment.Capabilities {
	var methods []string
	for name := range g.config.PaymentMethods {
		methods = append(methods, name)
	}
	slices.Sort(methods)
	return payment.Capabilities{
		Currencies:    []money.Currency{money.CLP},
		Methods:       methods,
		Notifications: true,
		Statement:     true,
		CloseIsOurs:   true, // by not settling nothing is closed: its time does it
		PayableFor:    payableFor,
		Refunds:       true,
		// The buyer accepts it by e-mail, within 10 days, and the money follows
		// (https://web.flow.cl/es-cl/reembolsos).
		RefundsLater:   true,
		PartialRefunds: true,
		MinAmount:      map[money.Currency]int64{money.CLP: 350},
	}
}

// Begin creates an order: POST /payment/create. It moves no money. When its
// answer is lost the order exists with a token that nobody has, so nobody can
// pay it, and a repetition creates another one under the same commerceOrder;
// Flow refuses that only once one of them is paid.
//
// The link's life is what was left until in.Deadline when the intent was
// written, so that it does not grow with each repetition.
func (g *Gateway) Begin(ctx context.Context, in payment.Intent, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && a.Code != payment.CodeNoSuchAttempt {
		return a, nil
	}
	life := in.Deadline.Sub(in.At).Truncate(time.Second)
	method, known := g.config.PaymentMethod, true
	if in.Method != "" {
		method, known = g.config.PaymentMethods[in.Method]
	}
	switch {
	case in.Currency != money.CLP:
		return payment.Answer{}, g.invalid("currency", fmt.Sprintf("this account charges CLP, not %s", in.Currency))
	case in.Amount <= 0:
		return payment.Answer{}, g.invalid("amount", "the amount must be positive")
	case in.PaymentID == "":
		return payment.Answer{}, g.invalid("commerceOrder", "the payment has no id")
	case in.Email == "":
		return payment.Answer{}, g.invalid("email", "Flow asks for the buyer's e-mail")
	case in.ReturnURL == "" || in.NotifyURL == "":
		return payment.Answer{}, g.invalid("urlReturn", "Flow asks for where to send the buyer and the confirmation")
	case !known:
		return payment.Answer{}, g.invalid("paymentMethod", "the account has no number for this method")
	case life < time.Second:
		// Without a timeout the link would live for ever.
		return payment.Answer{}, g.invalid("timeout", "there is no time left to pay")
	}
	subject := in.Description
	if subject == "" {
		subject = in.Number
	}
	var created struct {
		URL       string `json:"url"`
		Token     string `json:"token"`
		FlowOrder text   `json:"flowOrder"`
	}
	v := g.post(ctx, "/payment/create", params{
		"commerceOrder":   in.PaymentID,
		"subject":         subject,
		"currency":        string(in.Currency),
		"amount":          strconv.FormatInt(in.Amount, 10),
		"email":           in.Email,
		"paymentMethod":   strconv.Itoa(method),
		"urlConfirmation": in.NotifyURL,
		"urlReturn":       in.ReturnURL,
		"timeout":         strconv.FormatInt(int64(life/time.Second), 10),
	}, &created)
	if !v.ok() {
		if f := v.failure(); f != nil {
			return payment.Answer{}, f
		}
		return v.unknown(payment.Answer{PaymentID: in.PaymentID}), nil
	}
	page, err := url.Parse(created.URL)
	if err != nil || page.Host == "" || (page.Scheme != "https" && page.Scheme != "http") || !tokenText.MatchString(created.Token) {
		return payment.Answer{
			Outcome: payment.OutcomeUnknown, PaymentID: in.PaymentID, Code: CodeUnreadable,
			Message: "the order was created without a usable token and address",
		}, nil
	}
	query := page.Query()
	query.Set("token", created.Token)
	page.RawQuery = query.Encode()
	return payment.Answer{
		Outcome:    payment.OutcomePending,
		Reference:  created.Token,
		CaptureRef: string(created.FlowOrder),
		PaymentID:  in.PaymentID,
		LiveMode:   g.live,
		Redirect:   &payment.Redirect{URL: page.String(), Method: http.MethodGet, Fields: map[string]string{}},
		ExpiresAt:  g.now().UTC().Add(life),
	}, nil
}

// Settle asks: whichever way the buyer comes back, Flow has charged or not.
func (g *Gateway) Settle(ctx context.Context, at payment.Attempt, _ payment.Return, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && a.Outcome != payment.OutcomePending {
		return a, nil
	}
	return g.ask(ctx, at)
}

// Lookup asks for the order: GET /payment/getStatusExtended by its token.
//
// Without a token (Begin's answer was lost) it is asked for by our id, GET
// /payment/getStatusByCommerceId. Only its link could pay an order, and nobody
// has that: unless it is paid all the same, the answer is CodeNoSuchAttempt and
// Closed.
func (g *Gateway) Lookup(ctx context.Context, at payment.Attempt) (payment.Looked, error) {
	a, err := g.ask(ctx, at)
	if err != nil {
		return payment.Untried, err
	}
	return payment.Asked(a), nil
}

func (g *Gateway) ask(ctx context.Context, at payment.Attempt) (payment.Answer, error) {
	if at.Reference == "" {
		return g.askUnlinked(ctx, at)
	}
	var o order
	v := g.get(ctx, "/payment/getStatusExtended", params{"token": at.Reference}, &o)
	if !v.ok() {
		return payment.Answer{}, v.unanswered()
	}
	return g.answer(at, o)
}

// askUnlinked asks for an order of which nobody has the link.
func (g *Gateway) askUnlinked(ctx context.Context, at payment.Attempt) (payment.Answer, error) {
	var o order
	v := g.get(ctx, "/payment/getStatusByCommerceId", params{"commerceId": at.PaymentID}, &o)
	switch {
	case v.notFound():
	case !v.ok():
		return payment.Answer{}, v.unanswered()
	case o.Status == statusPaid:
		return g.answer(at, o)
	}
	return payment.Answer{
		Outcome: payment.OutcomeDeclined, Closed: true, PaymentID: at.PaymentID,
		Code: payment.CodeNoSuchAttempt, Message: "no link was received, so nobody can pay it",
	}, nil
}

// Close makes no call that closes, for Flow has none: an order that is pending
// can be paid until its time is over. The answer is Lookup's, so it is Closed
// only when Flow says that the order is over.
func (g *Gateway) Close(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked {
		return a, nil
	}
	return g.ask(ctx, at)
}

// Capture finds the money taken: Flow authorizes nothing that is captured later.
func (g *Gateway) Capture(ctx context.Context, at payment.Attempt, _ int64, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked {
		return a, nil
	}
	return g.ask(ctx, at)
}

// Cancel is refused as invalid for a payment, which is always captured.
func (g *Gateway) Cancel(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	a, asked := before.Answer()
	if !asked {
		var err error
		if a, err = g.ask(ctx, at); err != nil {
			return payment.Answer{}, err
		}
	}
	if a.Outcome == payment.OutcomeApproved {
		return payment.Answer{}, g.invalid("captured", "the payment is captured: refund it instead")
	}
	return a, nil
}

// ParseReturn reads the token with which the browser is sent back (POST, every
// way of leaving Flow's page alike). It must be this payment's.
func (g *Gateway) ParseReturn(at payment.Attempt, values url.Values) (payment.Return, error) {
	tokens := values["token"]
	for _, token := range tokens {
		if at.Reference == "" || subtle.ConstantTimeCompare([]byte(token), []byte(at.Reference)) != 1 {
			return payment.Return{}, fmt.Errorf("%w: the token is not its own", payment.ErrForeignReturn)
		}
	}
	if len(tokens) == 0 {
		return payment.Return{}, fmt.Errorf("%w: no token", payment.ErrForeignReturn)
	}
	return payment.Return{Kind: payment.ReturnFinished, Token: at.Reference}, nil
}

func (g *Gateway) invalid(code, message string) *payment.Failure {
	return &payment.Failure{Gateway: payment.Flow, Class: payment.ClassInvalid, Code: code, Message: message}
}
