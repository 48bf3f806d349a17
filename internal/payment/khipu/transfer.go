package khipu

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// transfer is a payment as GET /v3/payments/{id} tells it
// (https://docs.khipu.com/apis/v3/instant-payments/openapi/other/getpaymentbyid).
// What it says of the payer is not read.
type transfer struct {
	PaymentID        string `json:"payment_id"`
	TransactionID    string `json:"transaction_id"`
	ReceiverID       text   `json:"receiver_id"`
	Amount           text   `json:"amount"`
	Currency         string `json:"currency"`
	Status           string `json:"status"`
	StatusDetail     string `json:"status_detail"`
	ConciliationDate string `json:"conciliation_date"`
	ExpiresDate      string `json:"expires_date"`
	PaymentMethod    string `json:"payment_method"`
	OperationCode    string `json:"authorizer_operation_code"`
	// TotalRefunded and Refunds are not in the reference: see givenBack.
	TotalRefunded text         `json:"total_refunded"`
	Refunds       []refundItem `json:"refunds"`
}

type refundItem struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Amount text   `json:"amount"`
}

// The statuses and details of a payment. The reference has pending, verifying
// and done, with pending, normal, marked-paid-by-receiver, rejected-by-payer,
// marked-as-abuse and reversed. Khipu's own module for PrestaShop adds
// partially-refunded and fully-refunded, which it has seen in answers
// (https://github.com/khipu/prestashop-khipu, classes/KhipuRefundRules.php).
const (
	statusPending   = "pending"
	statusVerifying = "verifying"
	statusDone      = "done"
	// Unconfirmed: seen by others after a DELETE; the reference does not list it.
	statusDeleted = "deleted"

	detailNormal   = "normal"
	detailByHand   = "marked-paid-by-receiver"
	detailRejected = "rejected-by-payer"
	detailAbuse    = "marked-as-abuse"
	detailReversed = "reversed"
	detailPartly   = "partially-refunded"
	detailFully    = "fully-refunded"
)

// answer puts a payment in our terms.
func (g *Gateway) answer(at payment.Attempt, p transfer) payment.Answer {
	a := named(at)
	a.PaymentID, a.Account, a.LiveMode = p.TransactionID, string(p.ReceiverID), g.live
	status, detail := word(p.Status), word(p.StatusDetail)
	switch {
	case detail == detailRejected:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, CodeRejected
		return a
	case detail == detailAbuse:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, CodeAbuse
		return a
	case status == statusDeleted:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeClosed
		return a
	case status == statusVerifying:
		a.Outcome, a.Processing = payment.OutcomePending, true
		return a
	case status == statusPending:
		a.Outcome = payment.OutcomePending
		if at, known := moment(p.ExpiresDate); known && !g.now().Before(at) {
			a.Outcome, a.Code = payment.OutcomeDeclined, payment.CodeExpired
			a.Closed = !g.now().Before(at.Add(attemptLife))
		}
		return a
	case status != statusDone:
		return unreadable(a, "unknown status "+httpclient.Readable(p.Status))
	}
	return g.paid(a, p, detail)
}

// paid completes the answer about a payment that was reconciled.
func (g *Gateway) paid(a payment.Answer, p transfer, detail string) payment.Answer {
	currency, err := money.ParseCurrency(p.Currency)
	if err != nil {
		return unreadable(a, "done without a currency")
	}
	taken, err := p.Amount.minor(currency)
	if err != nil {
		return unreadable(a, "done: "+err.Error())
	}
	back, err := p.givenBack(taken, currency)
	if err != nil {
		return unreadable(a, "done: "+err.Error())
	}
	switch detail {
	case detailNormal, detailFully, detailReversed:
	case detailByHand:
		a.Method = detailByHand
	case detailPartly, "":
		// An empty detail is how older versions of the API say that some was
		// given back (classes/KhipuRefundRules.php of Khipu's module).
		if !back.told {
			a.Code = CodeRefundsUntold
		}
	default:
		return unreadable(a, "unknown detail "+httpclient.Readable(p.StatusDetail))
	}
	a.Outcome, a.Captured = payment.OutcomeApproved, true
	a.Amount, a.Currency = taken, currency
	a.Refunded, a.Refunds = back.sum, back.single
	a.AuthorizationCode = httpclient.Readable(p.OperationCode)
	if a.Method == "" && p.PaymentMethod != "not_available" {
		a.Method = httpclient.Readable(p.PaymentMethod)
	}
	if at, known := moment(p.ConciliationDate); known {
		a.ApprovedAt = at
	}
	a.Dispute = reversal(p, detail, taken, back, currency)
	return a
}

// reversal reads status_detail reversed as a dispute that was lost: the money
// has gone back and the shop did not ask for it here.
//
// Unconfirmed: the reference says that "the payment was annulled by the shop,
// and the money returned", and older versions of the API used the word for
// refunds. So it counts as a dispute only as far as Khipu does not list the
// money as refunded.
func reversal(p transfer, detail string, taken int64, back returned, c money.Currency) *payment.Dispute {
	if detail != detailReversed || back.sum >= taken {
		return nil
	}
	return &payment.Dispute{
		Reference: p.PaymentID, Status: payment.DisputeLost, Amount: taken - back.sum, Currency: c, Reason: detailReversed,
	}
}

// returned is what a payment says of its refunds.
type returned struct {
	// told: the amounts are known; otherwise sum is zero.
	told   bool
	sum    int64 // minor units, without what expired
	single []payment.RefundSeen
}

// givenBack reads how much of taken went back.
//
// Unconfirmed: total_refunded and refunds[] (id, status pending, authorized,
// paid or expired, amount) are not in the published reference; they were seen
// by others. Without them the amount is known only when it is nothing
// (normal) or all (fully-refunded).
func (p transfer) givenBack(taken int64, c money.Currency) (returned, error) {
	r := returned{}
	for _, item := range p.Refunds {
		amount, err := item.Amount.minor(c)
		if err != nil {
			return r, fmt.Errorf("a refund: %w", err)
		}
		seen := payment.RefundSeen{Reference: item.ID, Amount: amount, Outcome: payment.OutcomePending}
		switch word(item.Status) {
		case "paid":
			seen.Outcome = payment.OutcomeApproved
		case "expired":
			seen.Outcome = payment.OutcomeDeclined
		}
		if r.single = append(r.single, seen); seen.Outcome != payment.OutcomeDeclined {
			r.sum += amount
		}
		r.told = true
	}
	if !r.told && p.TotalRefunded != "" {
		sum, err := p.TotalRefunded.minor(c)
		if err != nil {
			return r, fmt.Errorf("total_refunded: %w", err)
		}
		r.sum, r.told = sum, true
	}
	if r.told {
		return r, nil
	}
	switch word(p.StatusDetail) {
	case detailNormal, detailByHand:
		r.told = true
	case detailFully:
		r.sum, r.told = taken, true
	}
	return r, nil
}

// text is what Khipu writes as a number in one place and as a string in the
// next: 1000, "1000.0000", 1.0E7. Nothing in it makes the rest of an answer
// unreadable; it is empty when absent.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	s := strings.Trim(string(raw), `"`)
	if s == "null" {
		s = ""
	}
	*t = text(s)
	return nil
}

// decimal bounds the exponent, so that no amount takes more than a few digits.
var decimal = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,15})?([eE]\+?[0-9]{1,2})?$`)

// minor reads an amount in minor units of c. One that c cannot express is an
// error: a rounded amount would be a wrong one.
func (t text) minor(c money.Currency) (int64, error) {
	if !decimal.MatchString(string(t)) {
		return 0, fmt.Errorf("%q is not an amount", httpclient.Readable(string(t)))
	}
	n, ok := new(big.Rat).SetString(string(t))
	if !ok {
		return 0, errors.New("an amount cannot be read")
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.Exponent())), nil)
	if n.Mul(n, new(big.Rat).SetInt(scale)); !n.IsInt() || !n.Num().IsInt64() {
		return 0, fmt.Errorf("%s is not an amount of %s", t, c)
	}
	return n.Num().Int64(), nil
}

// written is an amount of minor units as Khipu reads it: a point before the
// decimals, and none where there are none.
func written(minor int64, c money.Currency) string {
	digits := strconv.FormatInt(minor, 10)
	exponent := c.Exponent()
	if exponent == 0 {
		return digits
	}
	if missing := exponent + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	return digits[:len(digits)-exponent] + "." + digits[len(digits)-exponent:]
}

func moment(s string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, s)
	return at.UTC(), err == nil
}

func word(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func unreadable(a payment.Answer, message string) payment.Answer {
	a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, CodeUnreadable, message
	return a
}
