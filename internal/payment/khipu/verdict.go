package khipu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
)

// verdict is how one call ended, before anybody says what that means for money.
type verdict struct {
	answered   bool // with what was asked for
	status     int  // 0 without an answer
	reached    bool
	code       string
	field      string // of the first error that names one
	message    string
	retryAfter time.Duration
	err        error
}

// call sends one request and reads the answer into out when it is a 200.
func (g *Gateway) call(ctx context.Context, method, path string, in, out any) verdict {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return verdict{code: "request", err: err}
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, g.base+path, body)
	if err != nil {
		return verdict{code: "request", err: errors.New("the payment's id does not make an address")}
	}
	req.Header.Set("X-Api-Key", g.config.APIKey)
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return verdict{reached: httpclient.Reached(err), code: "no_answer", err: err}
	}
	defer func() { _ = resp.Body.Close() }() // read whole or given up: nothing left to lose
	raw, err := io.ReadAll(resp.Body)
	v := verdict{status: resp.StatusCode, reached: true, retryAfter: httpclient.RetryAfter(resp.Header, g.now())}
	switch {
	case resp.StatusCode != http.StatusOK:
		v.explain(raw)
	case err != nil:
		v.code, v.err = "no_answer", err
	case json.Unmarshal(raw, out) != nil:
		// The error of encoding/json can quote what it read.
		v.code, v.err = CodeUnreadable, errors.New("the answer is not the JSON object that it should be")
	default:
		v.answered = true
	}
	return v
}

// explain reads an error's body: {"status", "message", "errors": [{"field",
// "message"}]}, a message alone, or anything at all. The reference does not
// give the shape; this one is what Khipu's own module has seen
// (https://github.com/khipu/prestashop-khipu, classes/KhipuRefundRules.php).
func (v *verdict) explain(raw []byte) {
	v.code = "http_" + strconv.Itoa(v.status)
	var body struct {
		Message any `json:"message"`
		Error   any `json:"error"`
		Errors  []struct {
			Field   string `json:"field"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(raw, &body) != nil {
		return // a proxy's page: the status has to do
	}
	var texts []string
	for _, e := range body.Errors {
		if v.field == "" && e.Field != "" {
			v.field = httpclient.Readable(e.Field)
			v.code = "invalid_" + v.field
		}
		if e.Message != "" {
			texts = append(texts, e.Message)
		}
	}
	for _, text := range []any{body.Message, body.Error} {
		if text, ok := text.(string); ok && len(texts) == 0 && text != "" {
			texts = append(texts, text)
		}
	}
	v.message = httpclient.Readable(strings.Join(texts, " "))
}

func (v verdict) ok() bool { return v.answered }

// certain is true when the call surely did nothing: it was not sent, it was
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

// refused is true when Khipu has understood the call and the payment's state
// forbids it.
func (v verdict) refused() bool {
	return v.status >= 400 && v.status < 500 && v.class() == payment.ClassInvalid
}

func (v verdict) class() payment.Class {
	switch {
	case v.status == http.StatusUnauthorized || v.status == http.StatusForbidden:
		return payment.ClassCredentials
	case v.status == http.StatusTooManyRequests:
		return payment.ClassRateLimited
	case v.status >= 400 && v.status < 500 || v.code == "request":
		return payment.ClassInvalid
	default:
		return payment.ClassUnavailable
	}
}

// failure is the error of a call that surely did nothing, else nil.
func (v verdict) failure() *payment.Failure {
	if !v.certain() {
		return nil
	}
	f := v.unavailable()
	f.Class = v.class()
	return f
}

// unavailable is the failure of a question that got no usable answer.
func (v verdict) unavailable() *payment.Failure {
	return &payment.Failure{
		Gateway: payment.Khipu, Class: payment.ClassUnavailable,
		Code: v.code, Message: v.message, RetryAfter: v.retryAfter, Err: v.err,
	}
}

// unknown is the answer to an effect that may have happened. The error's text
// stays out of it: it names hosts and addresses of ours and changes with each
// call, and an answer is kept.
func (v verdict) unknown(a payment.Answer) payment.Answer {
	a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, v.code, v.message
	return a
}
