// Package mercadopago is the adapter of Mercado Pago in Chile
// (https://www.mercadopago.cl/developers/en/docs) over sdk-go v1.8.0: Checkout
// Pro, a page of Mercado Pago's, and payments with a card token that the
// storefront made with Mercado Pago's own script.
//
// A page is a "preference". Every card that the buyer tries on it is a payment
// of its own, found by external_reference, which is our payment's id; so one
// attempt of ours can have several payments there, and in the worst case two
// that are approved: Lookup then answers the one that is known, else the first,
// with the rest in Answer.Others, and Transactions lists them all.
//
// The SDK builds the requests; what it hides (host, idempotency key, retries,
// capture:false) is decided by the requester in transport.go.
package mercadopago

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mercadopago/sdk-go/pkg/config"
	mppayment "github.com/mercadopago/sdk-go/pkg/payment"
	mppreference "github.com/mercadopago/sdk-go/pkg/preference"
	mprefund "github.com/mercadopago/sdk-go/pkg/refund"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// Codes of Answer.Code and Failure.Code that are not Mercado Pago's own.
const (
	CodeUnreadable = "unreadable_answer"
	CodeNoAnswer   = "no_answer"
	// CodeNeedsToken: with capture "manual" only card tokens can be charged,
	// because Checkout Pro always captures.
	CodeNeedsToken = "manual_capture_needs_token"
)

// Values of Config.Capture.
const (
	CaptureAutomatic = "automatic"
	CaptureManual    = "manual"
)

// longestAddress is what notification_url may have
// (https://www.mercadopago.cl/developers/en/reference/preferences/_checkout_preferences/post).
const longestAddress = 248

// Config is one tenant's account at Mercado Pago.
type Config struct {
	// BaseURL is what stands before /v1; empty means https://api.mercadopago.com.
	BaseURL string `json:"base_url"`
	// AccessToken begins with TEST- or APP_USR-. Which environment it is follows
	// from it alone.
	AccessToken string `json:"access_token"`
	// WebhookSecret signs the notifications of the tenant's application.
	WebhookSecret string `json:"webhook_secret"`
	// CollectorID is the number of the account that receives the money. When it
	// is set, an answer to Begin that names another one is not offered to a buyer.
	CollectorID string `json:"collector_id"`
	// Capture is CaptureAutomatic (the default) or CaptureManual.
	Capture string `json:"capture"`
	// ThreeDSecure lets the bank challenge the buyer of a card token; the answer
	// to Begin then has a Redirect. Documented for Mexico and Brazil only.
	ThreeDSecure bool `json:"three_d_secure"`
}

// Gateway is payment.Gateway for one account.
type Gateway struct {
	config      Config
	requester   *requester
	payments    mppayment.Client
	preferences mppreference.Client
	refunds     mprefund.Client
	now         func() time.Time
}

var _ payment.Gateway = (*Gateway)(nil)

// New checks cfg without calling Mercado Pago. client must come from
// httpclient.New: by its errors the adapter tells "not sent" from "no answer",
// and it bounds what is read.
func New(cfg Config, client *http.Client) (*Gateway, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://" + sdkHost
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, errors.New("mercadopago: base_url: want https://host")
	}
	if base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("mercadopago: base_url has more than scheme, host and path")
	}
	if strings.EqualFold(base.Hostname(), sdkHost) && base.Scheme != "https" {
		return nil, errors.New("mercadopago: base_url of Mercado Pago must be https")
	}
	if !strings.HasPrefix(cfg.AccessToken, "TEST-") && !strings.HasPrefix(cfg.AccessToken, "APP_USR-") || strings.ContainsAny(cfg.AccessToken, " \t\r\n") {
		return nil, errors.New("mercadopago: access_token must begin with TEST- or APP_USR-")
	}
	if cfg.WebhookSecret == "" || strings.ContainsAny(cfg.WebhookSecret, " \t\r\n") {
		return nil, errors.New("mercadopago: webhook_secret is needed")
	}
	if cfg.CollectorID != "" && !digitsOnly.MatchString(cfg.CollectorID) {
		return nil, errors.New("mercadopago: collector_id must be a number")
	}
	if cfg.Capture == "" {
		cfg.Capture = CaptureAutomatic
	}
	if cfg.Capture != CaptureAutomatic && cfg.Capture != CaptureManual {
		return nil, errors.New("mercadopago: capture must be automatic or manual")
	}
	if client == nil {
		return nil, errors.New("mercadopago: an HTTP client is needed")
	}
	r := &requester{base: base, client: client}
	sdk, err := config.New(cfg.AccessToken, config.WithHTTPClient(r))
	if err != nil {
		return nil, fmt.Errorf("mercadopago: %w", err)
	}
	return &Gateway{
		config: cfg, requester: r, now: time.Now,
		payments: mppayment.NewClient(sdk), preferences: mppreference.NewClient(sdk), refunds: mprefund.NewClient(sdk),
	}, nil
}

// Name is payment.MercadoPago.
func (*Gateway) Name() payment.Name { return payment.MercadoPago }

// Capabilities of Mercado Pago in Chile. How long an authorization holds there
// is published for other countries only; CaptureFor is the shortest of them
// (5 days, Brazil). A payment that nobody cancels can stay pending for 30 days.
func (g *Gateway) Capabilities() payment.Capabilities {
	return payment.Capabilities{
		Currencies:      []money.Currency{money.CLP},
		Methods:         []string{"visa", "master", "amex", "debvisa", "debmaster"},
		Tokens:          true,
		MaxInstallments: 36,
		Notifications:   true,
		Signed:          true,
		DefersCapture:   g.config.Capture == CaptureManual,
		CaptureFor:      5 * 24 * time.Hour,
		Disputes:        true,
		Statement:       true,
		PayableFor:      30 * 24 * time.Hour,
		Refunds:         true,
		RefundsLater:    true,
		RefundFor:       180 * 24 * time.Hour,
		PartialRefunds:  true,
	}
}

// Begin creates a page (POST /checkout/preferences), or charges the token at
// once (POST /v1/payments). The key of both is the payment's id. A page that is
// created twice is two pages, of which nobody has the first one's address; a
// token charged twice is one payment.
//
// A charge answers OutcomeApproved, OutcomeDeclined (Mercado Pago answers 201 to
// a refused card) or OutcomePending with Processing; Redirect is then set only
// when the bank challenges the buyer.
func (g *Gateway) Begin(ctx context.Context, in payment.Intent, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && a.Code != payment.CodeNoSuchAttempt &&
		(in.Token != "" || a.Outcome == payment.OutcomeApproved || a.Outcome == payment.OutcomeDeclined) {
		return a, nil
	}
	switch {
	case in.PaymentID == "" || in.Amount <= 0 || in.ReturnURL == "":
		return payment.Answer{}, invalid("parameter_missing", "payment id, amount and return address are needed")
	case in.Currency != money.CLP || in.Amount >= 1<<53:
		return payment.Answer{}, invalid("invalid_amount", "only Chilean pesos can be charged")
	case in.Token == "" && g.config.Capture == CaptureManual:
		return payment.Answer{}, invalid(CodeNeedsToken, "Checkout Pro always captures: send a card token, or set capture to automatic")
	}
	notify, err := notifyURL(in)
	if err != nil {
		return payment.Answer{}, err
	}
	if in.Token != "" {
		return g.charge(ctx, in, notify)
	}
	return g.open(ctx, in, notify)
}

// notifyURL carries our payment's id, because a notification names Mercado
// Pago's payment, which did not exist when the page was made. The id there is
// not signed: it says whom to look up, and the answer says whose it is.
// source_news=webhooks keeps the unsigned copies (IPN) away.
func notifyURL(in payment.Intent) (string, error) {
	if in.NotifyURL == "" {
		return "", nil
	}
	address, err := url.Parse(in.NotifyURL)
	if err != nil {
		return "", invalid("notification_url", "the notification address cannot be read")
	}
	q := address.Query()
	q.Set("payment", in.PaymentID)
	q.Set("source_news", "webhooks")
	address.RawQuery = q.Encode()
	if len(address.String()) > longestAddress {
		return "", invalid("notification_url", "the notification address is longer than 248 characters")
	}
	return address.String(), nil
}

// open makes the page. It takes cards and balance only: what is paid at a
// counter takes days, and the goods are held for minutes. In binary mode a
// payment is approved or rejected at once, so that a buyer whose card goes to a
// manual review of up to two days can try another one instead.
func (g *Gateway) open(ctx context.Context, in payment.Intent, notify string) (payment.Answer, error) {
	deadline := stamp(in.Deadline)
	request := mppreference.Request{
		Items: []mppreference.ItemRequest{{
			ID: in.PaymentID, Title: clip(firstOf(in.Description, in.Number, in.PaymentID), 256),
			Quantity: 1, CurrencyID: string(in.Currency), UnitPrice: float64(in.Amount),
		}},
		ExternalReference: in.PaymentID,
		BackURLs:          &mppreference.BackURLsRequest{Success: in.ReturnURL, Pending: in.ReturnURL, Failure: in.ReturnURL},
		AutoReturn:        "approved",
		NotificationURL:   notify,
		BinaryMode:        true,
		Expires:           true,
		PaymentMethods: &mppreference.PaymentMethodsRequest{
			ExcludedPaymentTypes:   []mppreference.ExcludedPaymentTypeRequest{{ID: "ticket"}, {ID: "atm"}},
			DefaultPaymentMethodID: in.Method,
			Installments:           in.Installments,
			DefaultInstallments:    in.Installments,
		},
	}
	if in.Email != "" {
		request.Payer = &mppreference.PayerRequest{Email: in.Email}
	}
	c := &call{key: in.PaymentID, patch: map[string]any{"expiration_date_to": deadline, "date_of_expiration": deadline}}
	p, v := perform[preference](ctx, c, func(ctx context.Context) error {
		_, err := g.preferences.Create(ctx, request)
		return err
	})
	switch {
	case v.certain(false):
		return payment.Answer{}, v.failure()
	case !v.answered:
		return v.unknown(payment.Answer{PaymentID: in.PaymentID}), nil
	case !preferenceID.MatchString(p.ID) || p.InitPoint == "":
		return payment.Answer{
			Outcome: payment.OutcomeUnknown, PaymentID: in.PaymentID,
			Code: CodeUnreadable, Message: "the preference was created without an id or an address",
		}, nil
	case g.config.CollectorID != "" && string(p.CollectorID) != g.config.CollectorID:
		return payment.Answer{}, invalid("collector_id", "the access token is of another account than collector_id")
	}
	expires := p.ExpiresAt.Time
	if expires.IsZero() {
		expires = in.Deadline.UTC()
	}
	return payment.Answer{
		Outcome: payment.OutcomePending, Reference: p.ID, PaymentID: in.PaymentID, Account: string(p.CollectorID),
		LiveMode:  strings.HasPrefix(g.config.AccessToken, "APP_USR-"),
		Redirect:  &payment.Redirect{URL: p.InitPoint, Method: http.MethodGet, Fields: map[string]string{}},
		ExpiresAt: expires,
	}, nil
}

var preferenceID = regexp.MustCompile(`^[0-9A-Za-z-]{1,80}$`)

// charge moves the buyer's money. A payment method that nobody chose is left for
// Mercado Pago to tell from the card: its documentation lists the error "Cannot
// infer Payment Method" (2131), so it tries.
func (g *Gateway) charge(ctx context.Context, in payment.Intent, notify string) (payment.Answer, error) {
	request := mppayment.Request{
		TransactionAmount: float64(in.Amount),
		Token:             in.Token,
		Installments:      max(in.Installments, 1),
		PaymentMethodID:   in.Method,
		Description:       clip(firstOf(in.Description, in.Number, in.PaymentID), 256),
		ExternalReference: in.PaymentID,
		NotificationURL:   notify,
		Payer:             &mppayment.PayerRequest{Email: in.Email, Identification: identification(in.RUT)},
	}
	if g.config.ThreeDSecure {
		request.ThreeDSecureMode = "optional"
	}
	c := &call{key: in.PaymentID}
	if g.config.Capture == CaptureManual {
		c.patch = map[string]any{"capture": false}
	}
	p, v := perform[charge](ctx, c, func(ctx context.Context) error {
		_, err := g.payments.Create(ctx, request)
		return err
	})
	none := payment.Answer{PaymentID: in.PaymentID}
	switch {
	case v.certain(true):
		return payment.Answer{}, v.failure()
	case !v.answered:
		return v.unknown(none), nil
	case p.ID == "":
		none.Outcome, none.Code, none.Message = payment.OutcomeUnknown, CodeUnreadable, "a payment without an id"
		return none, nil
	}
	a := p.answer(payment.Attempt{PaymentID: in.PaymentID, ByToken: true})
	if a.Outcome == payment.OutcomePending && p.Challenge.URL != "" {
		a.Redirect = &payment.Redirect{URL: p.Challenge.URL, Method: http.MethodGet, Fields: map[string]string{}}
		if p.Challenge.Creq != "" {
			a.Redirect.Method, a.Redirect.Fields = http.MethodPost, map[string]string{"creq": p.Challenge.Creq}
		}
		a.ExpiresAt = in.Deadline.UTC()
	}
	return a, nil
}

// identification is a RUT as Mercado Pago wants it. Unconfirmed: the
// documentation for Chile names the type RUT and no spelling; its own card form
// sends the characters without dots and dash.
func identification(rut string) *mppayment.IdentificationRequest {
	number := strings.ToUpper(strings.NewReplacer(".", "", "-", "", " ", "").Replace(rut))
	if number == "" {
		return nil
	}
	return &mppayment.IdentificationRequest{Type: "RUT", Number: number}
}

// Settle asks what became of the attempt: nothing of ours is needed for the
// money to move. The buyer's return names the payment, which the search may not
// know yet.
func (g *Gateway) Settle(ctx context.Context, at payment.Attempt, ret payment.Return, before payment.Looked) (payment.Answer, error) {
	if a, asked := before.Answer(); asked && a.Outcome == payment.OutcomeApproved {
		return a, nil
	}
	return g.ask(ctx, at, ret.Token, at.Hint)
}

// Lookup asks for the payments of an attempt: the one that is known by its id
// (GET /v1/payments/{id}), and of a page all with our reference (GET
// /v1/payments/search, which reaches back twelve months). An approval outweighs
// everything else; of two the one that the attempt knows, else the first, and the
// others beside it. What the search's index does not have yet is found by the
// attempt's hint, which counts only if its external_reference is ours.
//
// Without a preference's id (Begin's answer was lost) it says CodeNoSuchAttempt
// and Closed: the page's address was in that answer, so nobody can pay there.
// A token whose answer was lost is searched for.
//
// A rejected card leaves an open page payable: OutcomeDeclined without Closed, and
// with it once the page's time is over.
// A payment that was given back in full is OutcomeApproved with Refunded equal
// to Amount: it must not count as paid.
func (g *Gateway) Lookup(ctx context.Context, at payment.Attempt) (payment.Looked, error) {
	a, err := g.ask(ctx, at, at.Hint)
	if err != nil {
		return payment.Untried, err
	}
	return payment.Asked(a), nil
}

// ask is Lookup with payments' ids that somebody unproven has named.
func (g *Gateway) ask(ctx context.Context, at payment.Attempt, hints ...string) (payment.Answer, error) {
	hints = leads(hints...)
	if neverOpened(at) && len(hints) == 0 {
		return nothing(at, "the page's address was never received, so nobody can pay there"), nil
	}
	found, err := g.find(ctx, at, hints)
	if err != nil {
		return payment.Answer{}, err
	}
	if len(found) == 0 && !isPage(at) {
		return nothing(at, "no payment has this reference"), nil
	}
	if len(found) > 0 {
		best := found[0]
		a := best.answer(at)
		a.PaymentID = firstOf(a.PaymentID, at.PaymentID)
		switch {
		case a.Outcome == payment.OutcomeApproved:
			g.detailDispute(ctx, best, &a)
			a.Others, err = g.others(ctx, found[1:])
			return a, err
		case !isPage(at) || a.Outcome != payment.OutcomeDeclined:
			return a, nil
		}
	}
	return g.pageState(ctx, at, found)
}

// find lists the payments of an attempt, the one that counts first.
func (g *Gateway) find(ctx context.Context, at payment.Attempt, hints []string) ([]charge, error) {
	var found []charge
	known := firstOf(at.CaptureRef, at.Reference)
	if isCharge(known) {
		c, v := g.get(ctx, known)
		if !v.answered {
			return nil, v.failure()
		}
		found = append(found, c)
		if !isPage(at) {
			return found, nil
		}
	}
	rows, err := g.search(ctx, at)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if len(found) == 0 || found[0].ID != row.ID {
			found = append(found, row)
		}
	}
	for _, hint := range hints {
		if found, err = g.follow(ctx, at, found, known, hint); err != nil {
			return nil, err
		}
	}
	inOrder(found, known)
	// A search answers from an index: what counts is read by its id.
	if len(found) > 0 && found[0].paid() && string(found[0].ID) != known {
		c, v := g.get(ctx, string(found[0].ID))
		if !v.answered {
			return nil, v.failure()
		}
		found[0] = c
	}
	return found, nil
}

// inOrder sorts the payments of an attempt, the one that counts first: once one
// is known as the attempt's money it stays that, whatever became of it since.
func inOrder(found []charge, known string) {
	rank := func(c charge) int {
		if string(c.ID) == known && c.paid() {
			return 5
		}
		return c.rank()
	}
	slices.SortStableFunc(found, func(x, y charge) int {
		switch {
		case rank(x) != rank(y):
			return rank(y) - rank(x)
		case x.paid():
			return x.Approved.Compare(y.Approved.Time) // the first approval
		default:
			return y.Created.Compare(x.Created.Time) // the last try
		}
	})
}

// leads are those of some hints that can be the id of a payment, each once.
func leads(hints ...string) []string {
	var out []string
	for _, h := range hints {
		if isCharge(h) && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// follow adds the payment that a hint names, if it is one of the attempt's. A
// hint that names nothing, or what is not ours, is nobody's: it is left alone.
func (g *Gateway) follow(ctx context.Context, at payment.Attempt, found []charge, known, hint string) ([]charge, error) {
	same := func(x charge) bool { return string(x.ID) == hint }
	if hint == known || slices.ContainsFunc(found, func(x charge) bool { return same(x) && x.paid() }) {
		return found, nil
	}
	c, v := g.get(ctx, hint)
	switch {
	case v.status == http.StatusNotFound, v.status == http.StatusBadRequest, v.status == http.StatusForbidden:
		return found, nil
	case !v.answered:
		return nil, v.failure()
	case string(c.ID) != hint || c.ExternalReference != at.PaymentID:
		return found, nil
	}
	return append(slices.DeleteFunc(found, same), c), nil
}

// others are the further approvals of an attempt, each read by its id.
func (g *Gateway) others(ctx context.Context, found []charge) ([]payment.Answer, error) {
	var others []payment.Answer
	for _, indexed := range found {
		if !indexed.paid() {
			continue
		}
		c, v := g.get(ctx, string(indexed.ID))
		if !v.answered {
			return nil, v.failure()
		}
		a := c.answer(payment.Attempt{})
		if a.Outcome != payment.OutcomeApproved {
			continue
		}
		g.detailDispute(ctx, c, &a)
		others = append(others, a)
	}
	return others, nil
}

// pageState answers for a page on which nothing is approved or under way.
func (g *Gateway) pageState(ctx context.Context, at payment.Attempt, found []charge) (payment.Answer, error) {
	p, v := perform[preference](ctx, &call{}, func(ctx context.Context) error {
		_, err := g.preferences.Get(ctx, at.Reference)
		return err
	})
	if !v.answered {
		return payment.Answer{}, v.failure()
	}
	a := payment.Answer{Outcome: payment.OutcomePending, Reference: at.Reference, PaymentID: at.PaymentID, Account: string(p.CollectorID)}
	closed := p.Expires && !p.ExpiresAt.IsZero() && !g.now().Before(p.ExpiresAt.Time)
	switch {
	case len(found) > 0:
		a = found[0].answer(at)
		a.PaymentID = firstOf(a.PaymentID, at.PaymentID)
		a.Closed = closed
	case closed:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeExpired
	}
	return a, nil
}

// neverOpened: a page whose address nobody was told.
func neverOpened(at payment.Attempt) bool {
	return at.Reference == "" && at.CaptureRef == "" && !at.ByToken
}

// isPage: begun without a token, on a page that is still to be looked at.
func isPage(at payment.Attempt) bool {
	return !at.ByToken && at.Reference != "" && !isCharge(at.Reference)
}

func nothing(at payment.Attempt, why string) payment.Answer {
	return payment.Answer{
		Outcome: payment.OutcomeDeclined, Closed: true, PaymentID: at.PaymentID, Code: payment.CodeNoSuchAttempt, Message: why,
	}
}

// isCharge tells a payment's id from a preference's, which has a dash.
func isCharge(reference string) bool { return digitsOnly.MatchString(reference) }

func (g *Gateway) get(ctx context.Context, charged string) (charge, verdict) {
	number, err := strconv.Atoi(charged)
	if err != nil {
		return charge{}, verdict{code: "request", err: errors.New("the payment's id is not a number")}
	}
	return perform[charge](ctx, &call{}, func(ctx context.Context) error {
		_, err := g.payments.Get(ctx, number)
		return err
	})
}

// search lists every payment with the attempt's reference: without a range
// Mercado Pago searches the last three months only
// (https://www.mercadopago.com.br/developers/es/reference/online-payments/checkout-pro/search-payments/get.md).
// What its index does not have yet is missing.
func (g *Gateway) search(ctx context.Context, at payment.Attempt) ([]charge, error) {
	filters := map[string]string{
		"external_reference": at.PaymentID, "range": "date_created", "begin_date": "NOW-12MONTHS", "end_date": "NOW",
		"sort": "date_created", "criteria": "asc",
	}
	var found []charge
	for {
		p, v := perform[page[charge]](ctx, &call{}, func(ctx context.Context) error {
			_, err := g.payments.Search(ctx, mppayment.SearchRequest{Limit: searchPage, Offset: len(found), Filters: filters})
			return err
		})
		if !v.answered {
			return nil, v.failure()
		}
		found = append(found, p.Results...)
		if len(p.Results) < searchPage || len(found) >= p.Paging.Total || len(found) >= mostTries {
			break
		}
	}
	return slices.DeleteFunc(found, func(c charge) bool { return c.ExternalReference != at.PaymentID || c.ID == "" }), nil
}

// searchPage keeps a page of whole payments well below what the HTTP client
// reads of an answer; nobody tries mostTries cards on one page.
const (
	searchPage = 50
	mostTries  = 500
)

// Close lets the page expire (PUT /checkout/preferences/{id}) and cancels the
// payments that are still under way (PUT /v1/payments/{id}). What was approved
// meanwhile is the answer; a page on which the last card was rejected says so, with
// Mercado Pago's reason for it. Closing twice does no harm.
func (g *Gateway) Close(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	a, asked := before.Answer()
	if asked && (a.Closed || a.Outcome == payment.OutcomeApproved) {
		return a, nil
	}
	if neverOpened(at) {
		return g.ask(ctx, at, at.Hint)
	}
	done := false // something has been changed: from here on no error says that nothing was
	if isPage(at) {
		v := g.expire(ctx, at, asked)
		switch {
		case v.answered:
			done = true
		case v.status == http.StatusBadRequest: // refused as it stands: what stands?
		case v.certain(false):
			return payment.Answer{}, v.failure()
		default:
			return v.unknown(named(at)), nil
		}
	}
	found, err := g.find(ctx, at, leads(at.Hint))
	if err != nil {
		return doubt(at, done, err)
	}
	for _, c := range found {
		if !c.underWay() {
			break // they are in order: what is paid, what is under way, the rest
		}
		v := g.cancelCharge(ctx, at, string(c.ID), asked)
		switch {
		case v.answered, v.status == http.StatusBadRequest:
			done = true
		case v.certain(true):
			return doubt(at, done, v.failure())
		default:
			return v.unknown(named(at)), nil
		}
	}
	a, err = g.ask(ctx, at, at.Hint)
	switch {
	case err != nil:
		return doubt(at, done, err)
	case a.Outcome != payment.OutcomeDeclined || !a.Closed || a.Code == payment.CodeNoSuchAttempt || !done:
	case !slices.ContainsFunc(found, func(c charge) bool { return c.Status == rejected }):
		a.Code, a.Message = payment.CodeClosed, ""
	}
	return a, nil
}

func doubt(at payment.Attempt, done bool, err error) (payment.Answer, error) {
	if !done {
		return payment.Answer{}, err
	}
	a := named(at)
	a.Outcome, a.Code = payment.OutcomeUnknown, CodeNoAnswer
	if f := (*payment.Failure)(nil); errors.As(err, &f) {
		a.Code = f.Code
	}
	return a, nil
}

// expire puts the end of the page's time into the past. Unconfirmed: that an
// update changes the fields it names and no others, and that a buyer who has
// the page open cannot pay after it.
func (g *Gateway) expire(ctx context.Context, at payment.Attempt, again bool) verdict {
	c := &call{key: g.key(at.PaymentID+"-close", again), patch: map[string]any{"expiration_date_to": stamp(g.now().Add(-time.Minute))}}
	_, v := perform[preference](ctx, c, func(ctx context.Context) error {
		_, err := g.preferences.Update(ctx, at.Reference, mppreference.Request{Expires: true})
		return err
	})
	return v
}

// key makes a key of a change that may be asked for again after a question.
// Whether Mercado Pago stores refusals under their key is not published: under
// the first key a change that was refused once might be refused for ever.
func (g *Gateway) key(base string, again bool) string {
	if again {
		base += "-" + strconv.FormatInt(g.now().Unix(), 10)
	}
	return base
}

func (g *Gateway) cancelCharge(ctx context.Context, at payment.Attempt, charged string, again bool) verdict {
	_, v := g.change(ctx, charged, g.key(at.PaymentID+"-cancel-"+charged, again), func(ctx context.Context, number int) error {
		_, err := g.payments.Cancel(ctx, number)
		return err
	})
	return v
}

// change is an update of a payment.
func (g *Gateway) change(ctx context.Context, charged, key string, send func(context.Context, int) error) (charge, verdict) {
	number, err := strconv.Atoi(charged)
	if err != nil {
		return charge{}, verdict{code: "request", err: errors.New("the payment's id is not a number")}
	}
	return perform[charge](ctx, &call{key: key}, func(ctx context.Context) error { return send(ctx, number) })
}

// Capture takes the money of an authorized payment, once: PUT /v1/payments/{id}
// with capture. What is not taken is released.
func (g *Gateway) Capture(ctx context.Context, at payment.Attempt, amount int64, before payment.Looked) (payment.Answer, error) {
	held, ok, err := g.held(ctx, at, before)
	if err != nil || !ok {
		return held, err
	}
	if amount <= 0 || amount > held.Amount {
		return payment.Answer{}, invalid("invalid_amount", "the amount must be positive and not above what was authorized")
	}
	_, again := before.Answer()
	c, v := g.change(ctx, held.CaptureRef, g.key(at.PaymentID+"-capture", again), func(ctx context.Context, number int) error {
		var err error
		if amount == held.Amount {
			_, err = g.payments.Capture(ctx, number)
		} else {
			_, err = g.payments.CaptureAmount(ctx, number, float64(amount))
		}
		return err
	})
	return g.changed(at, c, v)
}

// Cancel voids an authorization: PUT /v1/payments/{id} with status cancelled.
// Success is OutcomeDeclined and Closed.
func (g *Gateway) Cancel(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, error) {
	held, ok, err := g.held(ctx, at, before)
	switch {
	case err != nil:
		return payment.Answer{}, err
	case !ok && held.Outcome == payment.OutcomeApproved:
		return payment.Answer{}, invalid("captured", "the payment is captured: refund it instead")
	case !ok:
		return held, nil
	}
	_, again := before.Answer()
	c, v := g.change(ctx, held.CaptureRef, g.key(at.PaymentID+"-void", again), func(ctx context.Context, number int) error {
		_, err := g.payments.Cancel(ctx, number)
		return err
	})
	return g.changed(at, c, v)
}

func (g *Gateway) changed(at payment.Attempt, c charge, v verdict) (payment.Answer, error) {
	switch {
	case v.certain(true):
		return payment.Answer{}, v.failure()
	case !v.answered:
		return v.unknown(named(at)), nil
	}
	a := c.answer(at)
	a.PaymentID = firstOf(a.PaymentID, at.PaymentID)
	return a, nil
}

// held is the state of an attempt, asked when before does not have it; ok is
// true when there is an authorization to capture or to void.
func (g *Gateway) held(ctx context.Context, at payment.Attempt, before payment.Looked) (payment.Answer, bool, error) {
	a, asked := before.Answer()
	if !asked {
		var err error
		if a, err = g.ask(ctx, at, at.Hint); err != nil {
			return payment.Answer{}, false, err
		}
	}
	if a.CaptureRef == "" {
		a.CaptureRef = at.CaptureRef
	}
	return a, a.Outcome == payment.OutcomeApproved && !a.Captured && a.CaptureRef != "", nil
}

// detailDispute adds to a chargeback what only its own resource has: GET
// /v1/chargebacks/search, which the SDK does not know. What it does not answer
// stays as the payment tells it: the outcome does not depend on it.
func (g *Gateway) detailDispute(ctx context.Context, c charge, a *payment.Answer) {
	if a.Dispute == nil || c.Status != chargedBack {
		return
	}
	found, v := perform[page[chargeback]](ctx, &call{}, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+sdkHost+"/v1/chargebacks/search?payment_id="+string(c.ID), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+g.config.AccessToken)
		req.Header.Set("Accept", "application/json")
		resp, err := g.requester.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	if !v.answered || len(found.Results) == 0 {
		return
	}
	newest := slices.MaxFunc(found.Results, func(x, y chargeback) int { return x.Created.Compare(y.Created.Time) })
	currency := a.Dispute.Currency
	if newest.Currency != "" {
		currency = money.Currency(strings.ToUpper(newest.Currency))
	}
	if amount, ok := newest.Amount.minor(currency); ok {
		a.Dispute.Amount, a.Dispute.Currency = amount, currency
	}
	a.Dispute.Reason = detail(newest.Reason, a.Dispute.Reason)
	a.Dispute.AnswerBy = newest.AnswerBy.Time
}

// ParseReturn reads the query of the three back_urls. Who leaves the page
// without paying brings the text "null" for everything that does not exist
// (seen in public logs; not documented). Token is the id of Mercado Pago's
// payment, where there is one. An attempt whose Begin was asked twice, since the
// first answer was lost, has two preferences: its own reference in
// external_reference speaks for both.
func (g *Gateway) ParseReturn(at payment.Attempt, params url.Values) (payment.Return, error) {
	value := func(names ...string) string {
		for _, name := range names {
			if v := params.Get(name); v != "" && v != "null" {
				return v
			}
		}
		return ""
	}
	reference, page := value("external_reference"), value("preference_id")
	switch {
	case at.Reference == "":
		return payment.Return{}, fmt.Errorf("%w: the attempt has no page", payment.ErrForeignReturn)
	case reference == "" && page == "":
		return payment.Return{}, fmt.Errorf("%w: neither external_reference nor preference_id", payment.ErrForeignReturn)
	case reference != "" && reference != at.PaymentID:
		return payment.Return{}, fmt.Errorf("%w: external_reference is another's", payment.ErrForeignReturn)
	case reference == "" && !isCharge(at.Reference) && page != at.Reference:
		return payment.Return{}, fmt.Errorf("%w: preference_id is another's", payment.ErrForeignReturn)
	}
	charged := value("payment_id", "collection_id")
	if charged == "" {
		return payment.Return{Kind: payment.ReturnCancelled, Token: at.Reference}, nil
	}
	if !isCharge(charged) {
		return payment.Return{}, fmt.Errorf("%w: payment_id is not a number", payment.ErrForeignReturn)
	}
	return payment.Return{Kind: payment.ReturnFinished, Token: charged}, nil
}

func named(at payment.Attempt) payment.Answer {
	return payment.Answer{Reference: at.Reference, CaptureRef: at.CaptureRef, PaymentID: at.PaymentID}
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func clip(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most])
	}
	return text
}

// ours is a reference of Mercado Pago's that can be one of our ids; other
// programs may use the same account.
func ours(reference string) string {
	if id.Valid(reference) {
		return reference
	}
	return ""
}
