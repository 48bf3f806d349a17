package flow

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// params are the plain values of a call, before they are encoded.
type params map[string]string

// sign is Flow's signature: the parameters sorted by the bytes of their names,
// each name followed by its value, HMAC-SHA256 in lower-case hexadecimal
// (https://developers.flow.cl/api, "¿Cómo firmar con su SecretKey?"). An empty
// value counts as its name alone, as in github.com/flowcl/PHP-API-CLIENT.
func sign(p params, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		mac.Write([]byte(name + p[name]))
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// signed is the form or query of a call. Parameters without a value are left
// out: whether Flow counts them is written nowhere.
func (g *Gateway) signed(p params) string {
	sent := params{"apiKey": g.config.APIKey}
	values := url.Values{"apiKey": {g.config.APIKey}}
	for name, value := range p {
		if value != "" {
			sent[name] = value
			values.Set(name, value)
		}
	}
	values.Set("s", sign(sent, g.config.SecretKey))
	return values.Encode()
}

// verdict is how one call ended, before anybody says what that means for money.
type verdict struct {
	status     int // 0 without an answer
	reached    bool
	code       string
	message    string
	retryAfter time.Duration
	err        error
}

func (g *Gateway) post(ctx context.Context, path string, p params, out any) verdict {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.base+path, strings.NewReader(g.signed(p)))
	if err != nil {
		return verdict{code: "request", err: errors.New("the parameters do not make a request")}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return g.call(req, out)
}

func (g *Gateway) get(ctx context.Context, path string, p params, out any) verdict {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base+path+"?"+g.signed(p), nil)
	if err != nil {
		return verdict{code: "request", err: errors.New("the parameters do not make a request")}
	}
	return g.call(req, out)
}

// call sends a request and reads the answer into out when it is a 200.
func (g *Gateway) call(req *http.Request, out any) verdict {
	req.Header.Set("Accept", "application/json")
	resp, err := g.client.Do(req)
	if err != nil {
		return verdict{reached: httpclient.Reached(err), code: "no_answer", err: withoutAddress(err)}
	}
	defer func() { _ = resp.Body.Close() }() // read whole or given up: nothing left to lose
	raw, err := io.ReadAll(resp.Body)
	v := verdict{status: resp.StatusCode, reached: true, retryAfter: httpclient.RetryAfter(resp.Header, g.now())}
	switch {
	case resp.StatusCode != http.StatusOK:
		v.explain(raw)
	case err != nil:
		v.status, v.code, v.err = 0, "no_answer", err
	default:
		if err := json.Unmarshal(raw, out); err != nil {
			v.status, v.code, v.err = 0, CodeUnreadable, errors.New("the answer is not the JSON that was expected")
		}
	}
	return v
}

// withoutAddress takes the request's address out of an error: the query of a
// GET has the API key in it.
func withoutAddress(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		return outer.Err
	}
	return err
}

// explain reads an error's body: {"code": 1605, "message": "..."}, or anything
// at all.
func (v *verdict) explain(raw []byte) {
	v.code = "http_" + strconv.Itoa(v.status)
	var body struct {
		Code    text `json:"code"`
		Message text `json:"message"`
	}
	if json.Unmarshal(raw, &body) != nil {
		return // a proxy's page: the status has to do
	}
	if body.Code != "" {
		v.code = httpclient.Readable(string(body.Code))
	}
	v.message = httpclient.Readable(string(body.Message))
}

func (v verdict) ok() bool { return v.status == http.StatusOK && v.code == "" }

// notFound: Flow knows no such order. Its documents do not have the text;
// integrators quote 400 "Transaction not found" for a commerceId that Flow does
// not know. UNCONFIRMED by Flow. A text that is not recognized is an error, and
// the attempt is asked about again: nothing is taken for absent by mistake.
func (v verdict) notFound() bool {
	return (v.status == http.StatusBadRequest || v.status == http.StatusUnauthorized || v.status == http.StatusNotFound) &&
		strings.Contains(strings.ToLower(v.message), "transaction not found")
}

// refusedCredentials: the key is not known or the signature not right. Flow
// answers 401 to business errors too ("Error de negocio" in the OpenAPI file),
// so the status does not decide; code 108 is documented by
// github.com/flowcl/PHP-API-CLIENT issue 2. The other texts are UNCONFIRMED.
func (v verdict) refusedCredentials() bool {
	if v.status == http.StatusForbidden {
		return true
	}
	if v.status != http.StatusBadRequest && v.status != http.StatusUnauthorized {
		return false
	}
	message := strings.ToLower(v.message)
	return v.code == codeBadSignature && !strings.Contains(message, "decimal") ||
		v.status == http.StatusUnauthorized && (v.code == "401" || v.code == "http_401") ||
		strings.Contains(message, "apikey") || strings.Contains(message, "signature")
}

// certain is true when the call surely did nothing: it was not sent, or it was
// refused as it stands, or the service says that it is not there.
func (v verdict) certain() bool {
	switch {
	case !v.reached:
		return true
	case v.status == http.StatusRequestTimeout || v.status == http.StatusConflict:
		return false
	case v.status >= 400 && v.status < 500:
		return true
	default:
		return v.status == http.StatusServiceUnavailable
	}
}

// failure is the error of a call that surely did nothing, else nil.
func (v verdict) failure() *payment.Failure {
	if !v.certain() {
		return nil
	}
	f := &payment.Failure{Gateway: payment.Flow, Code: v.code, Message: v.message, RetryAfter: v.retryAfter, Err: v.err}
	switch {
	case v.refusedCredentials():
		f.Class = payment.ClassCredentials
	case v.status == http.StatusTooManyRequests:
		f.Class = payment.ClassRateLimited
	case v.status >= 400 && v.status < 500 || v.code == "request":
		f.Class = payment.ClassInvalid
	default:
		f.Class = payment.ClassUnavailable
	}
	return f
}

// unanswered is the failure of a question: it has no effect, so that no answer
// is a failure and not a doubt.
func (v verdict) unanswered() *payment.Failure {
	if f := v.failure(); f != nil {
		return f
	}
	return &payment.Failure{
		Gateway: payment.Flow, Class: payment.ClassUnavailable,
		Code: v.code, Message: v.message, RetryAfter: v.retryAfter, Err: v.err,
	}
}

// unknown is the answer to an effect that may have happened. The error's text
// stays out of it: it changes with each call, and an answer is kept.
func (v verdict) unknown(a payment.Answer) payment.Answer {
	a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, v.code, v.message
	return a
}

// The statuses of an order.
const (
	statusPending   text = "1"
	statusPaid      text = "2"
	statusRejected  text = "3"
	statusCancelled text = "4"
)

// order is PaymentStatus and PaymentStatusExtended; numbers come as strings
// here and there, and most of it is null before the payment.
type order struct {
	FlowOrder     text              `json:"flowOrder"`
	CommerceOrder text              `json:"commerceOrder"`
	Status        text              `json:"status"`
	Currency      text              `json:"currency"`
	Amount        text              `json:"amount"`
	RequestDate   text              `json:"requestDate"`
	Payment       object[paid]      `json:"paymentData"`
	LastError     object[lastError] `json:"lastError"`
}

type paid struct {
	Date          text `json:"date"`
	Media         text `json:"media"`
	Amount        text `json:"amount"`
	Currency      text `json:"currency"`
	Fee           text `json:"fee"`
	CardLast4     text `json:"cardLast4Numbers"`
	Installments  text `json:"installments"`
	Authorization text `json:"autorizationCode"` // sic
}

type lastError struct {
	Code    text `json:"code"`
	Message text `json:"message"`
}

// answer is what Flow says about an order, in our terms. An amount that cannot
// be read is a failure to be asked again about, never a guess.
func (g *Gateway) answer(at payment.Attempt, o order) (payment.Answer, error) {
	a := payment.Answer{Reference: at.Reference, CaptureRef: string(o.FlowOrder), PaymentID: string(o.CommerceOrder), LiveMode: g.live}
	amount, currency := o.Amount, o.Currency
	if o.Status == statusPaid && o.Payment.value.Amount != "" {
		amount = o.Payment.value.Amount
		if o.Payment.value.Currency != "" {
			currency = o.Payment.value.Currency
		}
	}
	var err error
	if a.Currency, err = money.ParseCurrency(string(currency)); err == nil {
		a.Amount, err = minor(string(amount), a.Currency)
	}
	if err != nil {
		return payment.Answer{}, &payment.Failure{Gateway: payment.Flow, Class: payment.ClassUnavailable, Code: CodeUnreadable, Message: "the order's amount cannot be read", Err: err}
	}
	switch o.Status {
	case statusPending:
		a.Outcome = payment.OutcomePending
	case statusPaid:
		g.approved(&a, o.Payment.value)
	case statusRejected:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, rejectionEnds, CodeRejected
		if code := o.LastError.value.Code; code != "" {
			a.Code, a.Message = httpclient.Readable(string(code)), httpclient.Readable(string(o.LastError.value.Message))
		}
	case statusCancelled:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeExpired
	default:
		a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, CodeUnknownStatus, "Flow says "+httpclient.Readable(string(o.Status))
	}
	return a, nil
}

// rejectionEnds: an order that Flow calls rejected cannot be paid any more.
// UNCONFIRMED: the documents name the status and do not say whether its link
// lives on. If it does, the late approval is taken as every late approval is.
const rejectionEnds = true

func (g *Gateway) approved(a *payment.Answer, p paid) {
	a.Outcome, a.Captured, a.Closed = payment.OutcomeApproved, true, true
	a.Method = strings.ToLower(httpclient.Readable(string(p.Media)))
	a.AuthorizationCode = httpclient.Readable(string(p.Authorization))
	a.CardLast4 = lastFour(string(p.CardLast4))
	if n, err := strconv.Atoi(string(p.Installments)); err == nil && n > 0 {
		a.Installments = n
	}
	// What Flow keeps is told for reports; a form of it that is not understood
	// must not hold up the payment.
	if fee, err := minor(string(p.Fee), a.Currency); err == nil {
		a.Fee = fee
	}
	if at, err := g.date(string(p.Date)); err == nil {
		a.ApprovedAt = at
	}
}

// date reads Flow's local time of Chile, with or without a time of day.
func (g *Gateway) date(value string) (time.Time, error) {
	at, err := time.ParseInLocation(time.DateTime, value, g.zone)
	if err != nil {
		at, err = time.ParseInLocation(time.DateOnly, value, g.zone)
	}
	return at.UTC(), err
}

// minor reads an amount such as 12000, 12000.00 or 12.50 exactly into minor
// units of the currency. More decimals than the currency has must be zeros.
func minor(amount string, currency money.Currency) (int64, error) {
	whole, fraction, _ := strings.Cut(amount, ".")
	exponent := currency.Exponent()
	if len(fraction) > exponent {
		if strings.Trim(fraction[exponent:], "0") != "" {
			return 0, fmt.Errorf("%s has more decimals than %s", httpclient.Readable(amount), currency)
		}
		fraction = fraction[:exponent]
	}
	digits := whole + fraction + strings.Repeat("0", exponent-len(fraction))
	if whole == "" || strings.Trim(digits, "0123456789") != "" || len(digits) > 18 {
		return 0, fmt.Errorf("%q is not an amount", httpclient.Readable(amount))
	}
	return strconv.ParseInt(digits, 10, 64)
}

func lastFour(card string) string {
	if len(card) < 4 {
		return ""
	}
	card = card[len(card)-4:]
	if strings.Trim(card, "0123456789") != "" {
		return ""
	}
	return card
}

// text is a value that comes as a string, a number, a truth or null; a null is
// empty.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	*t = ""
	if bytes.Equal(raw, []byte("null")) {
		return nil
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		*t = text(strings.TrimSpace(s))
		return nil
	}
	if len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') {
		return errors.New("an object where a value is expected")
	}
	*t = text(raw)
	return nil
}

// object is a part that is null, or PHP's empty array, when there is none.
type object[T any] struct{ value T }

func (o *object[T]) UnmarshalJSON(raw []byte) error {
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	return json.Unmarshal(raw, &o.value)
}
