package transbank

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// transaction is the answer of commit and status
// (https://www.transbankdevelopers.cl/referencia/webpay). Fields are missing
// until there is something to say in them.
type transaction struct {
	Amount     decimal `json:"amount"`
	Status     string  `json:"status"`
	BuyOrder   string  `json:"buy_order"`
	CardDetail struct {
		CardNumber string `json:"card_number"`
	} `json:"card_detail"`
	TransactionDate    string  `json:"transaction_date"`
	AuthorizationCode  string  `json:"authorization_code"`
	PaymentTypeCode    string  `json:"payment_type_code"`
	ResponseCode       integer `json:"response_code"`
	InstallmentsNumber integer `json:"installments_number"`
	Balance            decimal `json:"balance"`
}

// answer puts a transaction in our terms.
func (g *Gateway) answer(at payment.Attempt, t transaction) payment.Answer {
	a := payment.Answer{
		Reference:         at.Reference,
		CaptureRef:        at.Reference,
		PaymentID:         t.BuyOrder,
		Amount:            t.Amount.minor,
		Currency:          money.CLP,
		Account:           g.config.CommerceCode,
		LiveMode:          g.live,
		AuthorizationCode: t.AuthorizationCode,
		CardLast4:         lastFour(t.CardDetail.CardNumber),
		Method:            t.PaymentTypeCode,
		Installments:      t.InstallmentsNumber.value,
	}
	switch t.Status {
	case "INITIALIZED":
		a.Outcome = payment.OutcomePending
		return a
	case "FAILED":
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, "failed"
		if t.ResponseCode.set {
			a.Code = strconv.Itoa(t.ResponseCode.value)
		}
		return a
	case "AUTHORIZED", "CAPTURED", "PARTIALLY_NULLIFIED", "NULLIFIED", "REVERSED":
	default:
		a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, CodeUnreadable, "unknown status "+httpclient.Readable(t.Status)
		return a
	}
	taken := t.taken(at)
	refunded, known := t.refunded(taken)
	switch {
	case !t.ResponseCode.set || !t.Amount.set || !known:
		a.Outcome, a.Code = payment.OutcomeUnknown, CodeUnreadable
		a.Message = t.Status + " without a response code, an amount or a balance"
	case t.ResponseCode.value != 0:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, strconv.Itoa(t.ResponseCode.value)
	default:
		a.Outcome, a.Refunded = payment.OutcomeApproved, refunded
		a.Captured = t.Status != "AUTHORIZED" || !g.deferred()
		if a.Captured {
			a.Amount = taken
		}
		if g.deferred() && at.CaptureAmount == 0 && refunded >= taken {
			return voided(a) // nobody has captured it, so nothing was given back
		}
		if at, err := time.Parse(time.RFC3339, t.TransactionDate); err == nil {
			a.ApprovedAt = at.UTC()
		}
	}
	return a
}

// taken is how much of the transaction was charged. Whether the status of an
// authorization that was captured in part shows the one amount or the other is
// unconfirmed, so that what we asked for is believed: a capture happens once.
func (t transaction) taken(at payment.Attempt) int64 {
	if at.CaptureAmount > 0 && at.CaptureAmount < t.Amount.minor && t.Status != "AUTHORIZED" {
		return at.CaptureAmount
	}
	return t.Amount.minor
}

// refunded is how much of what was taken was given back, in pesos; known is
// false when the transaction says that some was, and not how much.
func (t transaction) refunded(taken int64) (amount int64, known bool) {
	switch t.Status {
	case "REVERSED":
		return taken, t.Amount.set
	case "NULLIFIED":
		// The balance is what is left of the sale, and is exact where present.
		return taken - t.Balance.minor, t.Amount.set
	case "PARTIALLY_NULLIFIED":
		return taken - t.Balance.minor, t.Amount.set && t.Balance.set
	default:
		return 0, true
	}
}

func lastFour(card string) string {
	if len(card) < 4 {
		return ""
	}
	card = card[len(card)-4:]
	for _, c := range card {
		if c < '0' || c > '9' {
			return ""
		}
	}
	return card
}

// decimal is an amount of whole pesos, which Transbank writes as 1000, as
// 1000.00, and here and there as a string. Other numbers are an error: a
// rounded amount would be a wrong one.
type decimal struct {
	minor int64
	set   bool
}

var pesos = regexp.MustCompile(`^([0-9]{1,17})(?:\.0*)?$`)

func (d *decimal) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" || text == "" {
		*d = decimal{}
		return nil
	}
	m := pesos.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("amount %s is not a number of whole pesos", httpclient.Readable(text))
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return fmt.Errorf("amount: %w", err)
	}
	*d = decimal{minor: n, set: true}
	return nil
}

// integer is a small number that the reference calls a string in one table and
// a number in the next.
type integer struct {
	value int
	set   bool
}

func (i *integer) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" || text == "" {
		*i = integer{}
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s is not a whole number", httpclient.Readable(text))
	}
	*i = integer{value: n, set: true}
	return nil
}

// verdict is how one call ended, before anybody says what that means for money.
type verdict struct {
	status     int // 0 without an answer
	reached    bool
	reason     reason
	code       string
	message    string
	retryAfter time.Duration
	err        error
}

// reason is what Transbank's text of an error means, as far as a decision hangs
// on it.
type reason int

const (
	reasonOther reason = iota
	reasonLocked
	reasonNotPaid
	reasonAborted // or over in another way, without a charge
	reasonTooOld
	reasonCaptured // before
)

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
		return verdict{code: "request", err: errors.New("the token does not make an address")}
	}
	req.Header.Set("Tbk-Api-Key-Id", g.config.CommerceCode)
	req.Header.Set("Tbk-Api-Key-Secret", g.config.APIKey)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
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
		v.status, v.code, v.err = 0, "no_answer", err
	default:
		if err := json.Unmarshal(raw, out); err != nil {
			v.status, v.code, v.err = 0, CodeUnreadable, fmt.Errorf("read answer: %w", err)
		}
	}
	return v
}

// invalidStatus is how a commit is refused by the state of the payment form:
// 0 not paid, 10 aborted, 19 authentication abandoned. The quotes come and go
// between versions (transbank-sdk-python, tests/mocks; transbank-sdk-ruby
// issue 67; transbank-sdk-java issue 129).
var invalidStatus = regexp.MustCompile(`invalid status '?(-?[0-9]+)'?`)

// numbered finds the code of a refund's or capture's refusal in its text; the
// interface once told it apart and now rarely does
// (github.com/TransbankDevelopers/transbank-sdk-php issue 228).
var numbered = regexp.MustCompile(`(?i)(?:^|\(|code:? ?)(16|22|53|245|274|284|292|304|308|309|310|311|312|315|316)(?:$|[^0-9])`)

// explain reads an error's body: {"error_message": "..."}, or a description
// instead, or anything at all.
func (v *verdict) explain(raw []byte) {
	v.code = "http_" + strconv.Itoa(v.status)
	var body map[string]any
	if err := json.Unmarshal(raw, &body); err != nil {
		return // a proxy's page: the status has to do
	}
	for _, key := range []string{"error_message", "description", "message"} {
		if text, ok := body[key].(string); ok && text != "" {
			v.message = httpclient.Readable(text)
			break
		}
	}
	if v.message == "" {
		return
	}
	if v.code = refusalCode(body, v.message, v.code); v.code == "309" {
		v.reason = reasonCaptured
	}
	text := strings.ToLower(v.message)
	if m := invalidStatus.FindStringSubmatch(text); m != nil {
		switch m[1] {
		case "0":
			v.reason, v.code = reasonNotPaid, CodeNotPaidYet
			return
		case "10", "19":
			v.reason, v.code = reasonAborted, payment.CodeAborted
			return
		}
		v.code = "invalid_status_" + m[1]
		return
	}
	for _, known := range []struct {
		text   string
		reason reason
		code   string
	}{
		{"locked by another process", reasonLocked, CodeLocked},
		{"finished state: aborted", reasonAborted, payment.CodeAborted},
		{"finished state: reversed", reasonAborted, CodeReversed},
		{"max time", reasonTooOld, CodeStatusTooOld},
		{"parameter: token", reasonOther, CodeNoSuchToken},
		{"transaction not found", reasonOther, CodeNoSuchToken},
		{"already fully refunded", reasonOther, "310"},
		{"bigger than authorized", reasonOther, "311"},
		{"only allow reverses", reasonOther, "53"},
		{"already captured", reasonCaptured, "309"},
		{"is unfinished", reasonOther, "unfinished"},
		{"operation not allowed", reasonOther, "not_allowed"},
		{"api mismatch", reasonOther, "api_mismatch"},
	} {
		if strings.Contains(text, known.text) {
			v.reason, v.code = known.reason, known.code
			return
		}
	}
}

// refusalCode is the documented number of a refusal
// (https://www.transbankdevelopers.cl/referencia/webpay), from the field code or
// the text; otherwise what stands there now.
func refusalCode(body map[string]any, message, otherwise string) string {
	if code, there := body["code"]; there {
		if m := numbered.FindStringSubmatch(fmt.Sprint(code)); m != nil {
			return m[1]
		}
	}
	if m := numbered.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return otherwise
}

func (v verdict) ok() bool { return v.status == http.StatusOK }

// certain is true when the call surely did nothing: it was not sent, or it was
// refused as it stands, or the service says that it is not there.
func (v verdict) certain() bool {
	switch {
	case !v.reached:
		return true
	case v.reason == reasonLocked:
		return false
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
	f := &payment.Failure{
		Gateway: payment.Transbank, Code: v.code, Message: v.message, RetryAfter: v.retryAfter, Err: v.err,
	}
	switch {
	case v.status == http.StatusUnauthorized || v.status == http.StatusForbidden:
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

// unavailable is the failure of a question that got no usable answer.
func (v verdict) unavailable() *payment.Failure {
	return &payment.Failure{
		Gateway: payment.Transbank, Class: payment.ClassUnavailable,
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
