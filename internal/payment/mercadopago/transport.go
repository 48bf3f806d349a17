package mercadopago

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
)

// The only host that the SDK addresses. Whatever it sends there goes to
// Config.BaseURL instead.
const sdkHost = "api.mercadopago.com"

// Headers of Mercado Pago. The second makes a refund that waits for funds an
// answer in_process instead of an error
// (https://www.mercadopago.com.br/developers/en/docs/checkout-api/payment-management/cancellations-and-refunds/refund-pix).
const (
	idempotencyHeader      = "X-Idempotency-Key"
	renderInProcessRefunds = "X-Render-In-Process-Refunds"
)

// call is what one request needs and the SDK cannot say; it travels in the
// context. seen is filled in by the requester.
type call struct {
	key    string         // idempotency key; every call with an effect has one
	refund bool           // about refunds: those in process are to be shown
	patch  map[string]any // fields of the body that the SDK leaves out or writes otherwise

	seen exchange
}

// exchange is the answer as it came. The SDK decodes amounts as floats and gives
// up a whole answer for one date that it cannot read, after the effect; so it is
// read here a second time, by our own rules.
type exchange struct {
	sent   bool // the SDK got as far as sending
	status int  // 0 without an answer
	header http.Header
	body   []byte
	err    error // of the transport, or of reading the answer
}

type callKey struct{}

// requester stands between the SDK and the network: it sends each request once,
// to the configured address, with the key of the caller instead of the random
// one of the SDK. The SDK's own one (which it replaces) repeats a request up to
// three times after errors of the network and 5xx. The size of an answer is
// bounded by the client, which comes from httpclient.New.
type requester struct {
	base   *url.URL
	client *http.Client
}

// Do is called by the SDK.
func (r *requester) Do(req *http.Request) (*http.Response, error) {
	c, ok := req.Context().Value(callKey{}).(*call)
	if !ok || req.URL.Host != sdkHost {
		return nil, errors.New("mercadopago: a request that this adapter did not plan")
	}
	out, err := r.redirected(req, c)
	if err != nil {
		return nil, err
	}
	c.seen = exchange{sent: true}
	resp, err := r.client.Do(out)
	if err != nil {
		c.seen.err = err
		return nil, err
	}
	c.seen.status, c.seen.header = resp.StatusCode, resp.Header
	c.seen.body, c.seen.err = io.ReadAll(resp.Body)
	if err := errors.Join(c.seen.err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(c.seen.body))
	return resp, nil
}

func (r *requester) redirected(req *http.Request, c *call) (*http.Request, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		if body, err = patched(body, c.patch); err != nil {
			return nil, err
		}
	}
	address := *r.base
	address.Path = strings.TrimRight(r.base.Path, "/") + req.URL.Path
	address.RawQuery = req.URL.RawQuery
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	out, err := http.NewRequestWithContext(req.Context(), req.Method, address.String(), reader)
	if err != nil {
		return nil, errors.New("mercadopago: the request makes no address")
	}
	out.Header = req.Header.Clone()
	out.Header.Del(idempotencyHeader)
	switch {
	case req.Method == http.MethodGet:
	case c.key == "":
		return nil, errors.New("mercadopago: an effect without an idempotency key")
	default:
		out.Header.Set(idempotencyHeader, c.key)
	}
	if c.refund {
		out.Header.Set(renderInProcessRefunds, "true")
	}
	return out, nil
}

// patched sets fields of a JSON object, which must be one.
func patched(body []byte, patch map[string]any) ([]byte, error) {
	if len(patch) == 0 {
		return body, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, fmt.Errorf("patch the body: %w", err)
	}
	for name, value := range patch {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("patch the body: %w", err)
		}
		fields[name] = raw
	}
	return json.Marshal(fields)
}

// perform lets the SDK make one request and reads what came back as a T. The
// SDK's own reading of it, and its error, count for nothing once it was sent.
func perform[T any](ctx context.Context, c *call, send func(context.Context) error) (T, verdict) {
	var out T
	err := send(context.WithValue(ctx, callKey{}, c))
	v := judge(c.seen, err)
	if !v.answered {
		return out, v
	}
	if err := json.Unmarshal(c.seen.body, &out); err != nil {
		return out, verdict{reached: true, code: CodeUnreadable, err: fmt.Errorf("read answer: %w", err)}
	}
	return out, v
}

// verdict is how one call ended, before anybody says what that means for money.
type verdict struct {
	answered   bool // 2xx, read whole
	status     int  // 0 without an answer to go by
	reached    bool
	code       string
	message    string
	retryAfter time.Duration
	err        error
}

func judge(seen exchange, err error) verdict {
	v := verdict{status: seen.status, reached: true, retryAfter: httpclient.RetryAfter(seen.header, time.Now())}
	switch {
	case !seen.sent:
		v.reached, v.code, v.err = false, "request", err
	case seen.status == 0:
		v.reached, v.code, v.err = httpclient.Reached(seen.err), CodeNoAnswer, seen.err
	case seen.status >= 400:
		v.explain(seen.body)
	case seen.status >= 300:
		v.code, v.status = "http_"+strconv.Itoa(seen.status), 0
	case seen.err != nil:
		v.status, v.code, v.err = 0, CodeNoAnswer, seen.err
	default:
		v.answered = true
	}
	return v
}

// explain reads the body of an error: {message, error, status, cause: [{code,
// description}]}, where cause may be empty, missing, or one object, and codes
// are numbers or texts. The cause's code says most, and is what the
// documentation lists.
func (v *verdict) explain(raw []byte) {
	v.code = "http_" + strconv.Itoa(v.status)
	var body struct {
		Message string          `json:"message"`
		Error   string          `json:"error"`
		Code    json.RawMessage `json:"code"`
		Cause   json.RawMessage `json:"cause"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return // a proxy's page: the status has to do
	}
	type cause struct {
		Code        json.RawMessage `json:"code"`
		Description string          `json:"description"`
	}
	var causes []cause
	if err := json.Unmarshal(body.Cause, &causes); err != nil {
		var one cause
		if json.Unmarshal(body.Cause, &one) == nil {
			causes = []cause{one}
		}
	}
	v.message = readable(body.Message)
	for _, code := range []string{strings.Trim(string(body.Code), `"`), body.Error} {
		if code = readable(code); code != "" && code != "null" {
			v.code = code
		}
	}
	if len(causes) > 0 {
		if code := readable(strings.Trim(string(causes[0].Code), `"`)); code != "" && code != "null" {
			v.code = code
		}
		if text := readable(causes[0].Description); text != "" {
			v.message = text
		}
	}
	if v.status == http.StatusUnauthorized {
		v.message = "the access token is refused"
	}
}

// certain is true when the call surely did nothing: it was not sent, or it was
// refused as it stands. What a 503 did is published nowhere: where money moves
// it is a doubt. 409 and 423 may be another call at work under the same key.
func (v verdict) certain(money bool) bool {
	switch {
	case !v.reached:
		return true
	case v.status == http.StatusConflict, v.status == http.StatusRequestTimeout, v.status == http.StatusLocked:
		return false
	case v.status >= 400 && v.status < 500:
		return true
	default:
		return v.status == http.StatusServiceUnavailable && !money
	}
}

// failure is the error of a call that did nothing, or of a question that got no
// usable answer.
func (v verdict) failure() *payment.Failure {
	f := &payment.Failure{
		Gateway: payment.MercadoPago, Class: payment.ClassUnavailable,
		Code: v.code, Message: v.message, RetryAfter: v.retryAfter, Err: v.err,
	}
	switch {
	case v.status == http.StatusUnauthorized || v.status == http.StatusForbidden:
		f.Class = payment.ClassCredentials
	case v.status == http.StatusTooManyRequests:
		f.Class = payment.ClassRateLimited
	case v.status == http.StatusConflict || v.status == http.StatusRequestTimeout || v.status == http.StatusLocked:
	case v.status >= 400 && v.status < 500 || v.code == "request":
		f.Class = payment.ClassInvalid
	}
	return f
}

// unknown is the answer to an effect that may have happened. The error's text
// stays out of it: it names addresses and changes with each call, and an answer
// is kept.
func (v verdict) unknown(a payment.Answer) payment.Answer {
	a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, v.code, v.message
	return a
}

// readable shortens a text of Mercado Pago's and takes out what does not print,
// e-mail addresses, and numbers long enough to be a card or a person.
func readable(text string) string {
	words := strings.Fields(text)
	for i, word := range words {
		digits := 0
		for _, r := range word {
			if r >= '0' && r <= '9' {
				digits++
			}
		}
		if digits > 6 {
			words[i] = "…"
		}
	}
	return httpclient.Readable(strings.Join(words, " "))
}

func invalid(code, message string) *payment.Failure {
	return &payment.Failure{Gateway: payment.MercadoPago, Class: payment.ClassInvalid, Code: code, Message: message}
}
