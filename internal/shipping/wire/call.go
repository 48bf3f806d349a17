// Package wire is what the carriers' wire formats have in common: one call and what
// is certain of it, numbers that come as text, labels told by their first bytes,
// comunas by their names, and the dates of a country that writes no zone.
package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
)

// Caller makes calls with a client of httpclient.New: by its errors it tells "not
// sent" from "no answer". It repeats nothing.
type Caller struct {
	Client *http.Client
	Now    func() time.Time
}

// Request is one call. JSON or Form is its body; neither: it has none.
type Request struct {
	Method, URL string
	Header      map[string]string
	JSON        any
	Form        url.Values
}

// Reply is how a call ended, before anybody says what that means for a parcel.
type Reply struct {
	// Status is zero without an answer that was read whole.
	Status     int
	Body       []byte
	RetryAfter time.Duration
	reached    bool
	code       string
	err        error
}

// Call sends one request and reads the answer whole, whatever its status.
func (c Caller) Call(ctx context.Context, r Request) Reply {
	req, err := r.build(ctx)
	if err != nil {
		// Its text can quote an address with a parcel's data in it.
		return Reply{code: "request", err: errors.New("the call cannot be written")}
	}
	resp, err := c.Client.Do(req)
	if err != nil {
		return Reply{reached: httpclient.Reached(err), code: "no_answer", err: withoutAddress(err)}
	}
	defer func() { _ = resp.Body.Close() }() // read whole or given up: nothing left to lose
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Reply{reached: true, code: "no_answer", err: withoutAddress(err)}
	}
	return Reply{
		Status: resp.StatusCode, Body: body, reached: true, code: "http_" + strconv.Itoa(resp.StatusCode),
		RetryAfter: httpclient.RetryAfter(resp.Header, c.Now()),
	}
}

func (r Request) build(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	kind := ""
	switch {
	case r.JSON != nil:
		raw, err := json.Marshal(r.JSON)
		if err != nil {
			return nil, err
		}
		body, kind = bytes.NewReader(raw), "application/json"
	case r.Form != nil:
		body, kind = strings.NewReader(r.Form.Encode()), "application/x-www-form-urlencoded"
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	req.Header.Set("Accept", "application/json")
	for name, value := range r.Header {
		req.Header.Set(name, value)
	}
	return req, nil
}

// withoutAddress takes the URL out of net/http's error: references and keys can
// stand in it, and errors are kept.
func withoutAddress(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return fmt.Errorf("%s: %w", strings.ToLower(at.Op), at.Err)
	}
	return err
}

// OK is an answer of the 200s, read whole.
func (r Reply) OK() bool { return r.Status >= 200 && r.Status < 300 }

// Read puts the answer's JSON into out; false when there is none, or it does not
// have the shape.
func (r Reply) Read(out any) bool {
	return r.Status != 0 && json.Unmarshal(r.Body, out) == nil
}

// As is the answer with another status, for carriers that write it inside an answer of
// the 200s.
func (r Reply) As(status int) Reply {
	r.Status, r.code = status, "status_"+strconv.Itoa(status)
	return r
}

// Certain is true when the call surely did nothing: it was not sent, it was refused
// as it stands, or the service says that it is not there.
func (r Reply) Certain() bool {
	switch {
	case !r.reached:
		return true
	case r.Status == http.StatusRequestTimeout || r.Status == http.StatusConflict:
		return false
	case r.Status >= 400 && r.Status < 500:
		return true
	}
	return r.Status == http.StatusServiceUnavailable
}

// Reason is the class of a failure by the answer's status alone.
func (r Reply) Reason() shipping.Reason {
	switch {
	case r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden:
		return shipping.Credentials
	case r.Status == http.StatusTooManyRequests:
		return shipping.RateLimited
	case r.Status >= 400 && r.Status < 500 || r.code == "request":
		return shipping.Invalid
	}
	return shipping.Unavailable
}

// Failure is the error of a question that was not answered, or of an effect that
// surely did not happen. Code and message are the carrier's; empty: it said none.
func (r Reply) Failure(code, message string) *shipping.Failure {
	return &shipping.Failure{
		Reason: r.Reason(), Code: or(code, r.code), Message: httpclient.Readable(message), RetryAfter: r.RetryAfter, Err: r.err,
	}
}

// Unreadable is the error of a question whose answer is not what it should be.
func (r Reply) Unreadable() *shipping.Failure {
	return &shipping.Failure{Reason: shipping.Unavailable, Code: CodeUnreadable, RetryAfter: r.RetryAfter, Err: r.err}
}

// Effect is the answer to an effect that did not succeed: the carrier's no when it
// said why, a *Failure when it is otherwise certain that nothing happened, else
// OutcomeUnknown. message must be free of personal data (see Words).
func (r Reply) Effect(code, message string) (shipping.Answer, error) {
	switch {
	case !r.Certain():
		return shipping.Answer{Outcome: shipping.OutcomeUnknown, Code: or(code, r.code), Message: message}, nil
	case r.Status != 0 && r.Reason() == shipping.Invalid && code+message != "":
		return shipping.Answer{Outcome: shipping.OutcomeRefused, Code: or(code, r.code), Message: message}, nil
	}
	return shipping.Answer{}, r.Failure(code, message)
}

// CodeUnreadable is the code of an answer that is not what it should be.
const CodeUnreadable = "unreadable_answer"

// Unread is the answer to an effect that was answered with what cannot be read.
func Unread(message string) shipping.Answer {
	return shipping.Answer{Outcome: shipping.OutcomeUnknown, Code: CodeUnreadable, Message: message}
}

// Invalid is the failure of a request that is not worth sending.
func Invalid(code, message string) *shipping.Failure {
	return &shipping.Failure{Reason: shipping.Invalid, Code: code, Message: message}
}

// Settled is what before says of an effect that needs no further try: all but that
// there is no such booking.
func Settled(before shipping.Looked) (shipping.Answer, bool) {
	return before.Answer, before.Tried() && before.Outcome != shipping.OutcomeNotFound
}

// Words makes a carrier's message about a booking fit to be kept: on one line, cut,
// and without what it repeats of the people and the address.
func Words(message string, b shipping.Booking) string {
	message = httpclient.Readable(message)
	for _, c := range []shipping.Contact{b.Receiver, b.Sender} {
		message = without(message, c.Name, c.Phone, c.Email, c.RUT)
		for _, word := range strings.Fields(c.Name) {
			message = without(message, word)
		}
	}
	return without(message, b.To.Street, b.To.Number, b.To.Unit)
}

// without leaves out what is long enough to say anything of anybody, also where the
// carrier writes it in capitals or without accents.
func without(message string, private ...string) string {
	for _, p := range private {
		wanted := []rune(strings.TrimSpace(p))
		if len(wanted) < 3 {
			continue
		}
		for {
			text := []rune(message)
			at := find(bare(text), bare(wanted))
			if at < 0 {
				break
			}
			message = string(text[:at]) + "…" + string(text[at+len(wanted):])
		}
	}
	return message
}

// bare is a text in capitals without accents, rune by rune.
func bare(text []rune) []rune {
	out := make([]rune, len(text))
	for i, r := range text {
		for _, base := range norm.NFKD.String(string(unicode.ToUpper(r))) {
			out[i] = base
			break
		}
	}
	return out
}

func find(text, wanted []rune) int {
	for i := 0; i+len(wanted) <= len(text); i++ {
		if slices.Equal(text[i:i+len(wanted)], wanted) {
			return i
		}
	}
	return -1
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Base checks the root of an API and returns it without a slash at the end. The
// carrier's own hosts must be https.
func Base(carrier, text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return "", fmt.Errorf("%s: base_url %q: want https://host", carrier, text)
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "", fmt.Errorf("%s: base_url has more than scheme, host and path", carrier)
	}
	return strings.TrimRight(u.String(), "/"), nil
}
