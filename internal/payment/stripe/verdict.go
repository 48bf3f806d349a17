package stripe

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	stripesdk "github.com/stripe/stripe-go/v76"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
)

type exchange = httpclient.Exchange

func observe(ctx context.Context) (context.Context, *exchange) { return httpclient.Observe(ctx) }

// prepare gives a call its context and, when it has an effect, its key.
func prepare(ctx context.Context, p *stripesdk.Params, key string) *exchange {
	var seen *exchange
	p.Context, seen = observe(ctx)
	if key != "" {
		p.SetIdempotencyKey(key)
	}
	return seen
}

// verdict is how one call ended, before anybody says what that means for money.
type verdict struct {
	answered    bool // with what was asked for
	status      int  // 0 without an answer
	reached     bool
	idempotency bool // the key was used with other parameters
	code        string
	message     string
	retryAfter  time.Duration
	err         error
}

// judge reads the SDK's error, and the answer itself where the SDK could not
// (a proxy's page instead of JSON).
func judge(err error, seen *exchange) verdict {
	if err == nil {
		return verdict{answered: true, status: seen.Status, reached: true}
	}
	v := verdict{status: seen.Status, reached: true, retryAfter: httpclient.RetryAfter(seen.Header, time.Now())}
	var e *stripesdk.Error
	switch {
	case errors.As(err, &e):
		v.status = e.HTTPStatusCode
		v.idempotency = e.Type == stripesdk.ErrorTypeIdempotency
		v.code = firstOf(string(e.DeclineCode), string(e.Code), string(e.Type), "http_"+strconv.Itoa(v.status))
		v.message = httpclient.Readable(e.Msg)
		if v.status == http.StatusUnauthorized {
			v.message = "the secret key is refused" // Stripe's text shows part of the key
		}
	case v.status >= 400:
		v.code = "http_" + strconv.Itoa(v.status)
	case v.status >= 300:
		v.status, v.code = 0, "http_"+strconv.Itoa(v.status)
	case v.status >= 200:
		v.status, v.code, v.err = 0, CodeUnreadable, err
	default:
		v.reached, v.code, v.err = httpclient.Reached(err), CodeNoAnswer, err
	}
	return v
}

func (v verdict) ok() bool { return v.answered }

// certain is true when the call surely did nothing: it was not sent, it was
// refused as it stands, or the service says that it is not there. A 409 is
// another call at work under the same key, and what other 5xx did is not known
// (https://docs.stripe.com/error-low-level#server-errors).
func (v verdict) certain() bool {
	switch {
	case !v.reached:
		return true
	case v.status == http.StatusConflict || v.status == http.StatusRequestTimeout:
		return false
	case v.status >= 400 && v.status < 500:
		return true
	default:
		return v.status == http.StatusServiceUnavailable
	}
}

// refused is true when Stripe heard the request and says no to it.
func (v verdict) refused() bool {
	f := v.failure()
	return f != nil && f.Class == payment.ClassInvalid && v.status != 0
}

// failure is the error of a call that surely did nothing, else nil.
func (v verdict) failure() *payment.Failure {
	if !v.certain() {
		return nil
	}
	return v.unanswered()
}

// unanswered is the error of a question that got no usable answer.
func (v verdict) unanswered() *payment.Failure {
	f := &payment.Failure{
		Gateway: payment.Stripe, Class: payment.ClassUnavailable,
		Code: v.code, Message: v.message, RetryAfter: v.retryAfter, Err: v.err,
	}
	switch {
	case v.status == http.StatusUnauthorized || v.status == http.StatusForbidden:
		f.Class = payment.ClassCredentials
	case v.status == http.StatusTooManyRequests:
		f.Class = payment.ClassRateLimited
	case v.status == http.StatusConflict || v.status == http.StatusRequestTimeout:
	case v.status >= 400 && v.status < 500:
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
