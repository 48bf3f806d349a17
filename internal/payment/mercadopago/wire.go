package mercadopago

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// charge is a payment of Mercado Pago, as far as it is used here
// (https://www.mercadopago.cl/developers/en/reference/payments/_payments_id/get).
// A preference can have several: each card that the buyer tries is one.
type charge struct {
	ID                identifier `json:"id"`
	Status            string     `json:"status"`
	Detail            string     `json:"status_detail"`
	LiveMode          bool       `json:"live_mode"`
	ExternalReference string     `json:"external_reference"`
	CollectorID       identifier `json:"collector_id"`
	Collector         struct {
		ID identifier `json:"id"` // where searches put it
	} `json:"collector"`
	Currency      string          `json:"currency_id"`
	Amount        decimal         `json:"transaction_amount"`
	Refunded      decimal         `json:"transaction_amount_refunded"`
	Created       date            `json:"date_created"`
	Approved      date            `json:"date_approved"`
	Method        string          `json:"payment_method_id"`
	Installments  int             `json:"installments"`
	Authorization string          `json:"authorization_code"`
	Refunds       []refundOfMoney `json:"refunds"`
	Fees          []struct {
		Payer  string  `json:"fee_payer"`
		Amount decimal `json:"amount"`
	} `json:"fee_details"`
	Card struct {
		LastFour string `json:"last_four_digits"`
	} `json:"card"`
	Challenge struct {
		URL  string `json:"external_resource_url"`
		Creq string `json:"creq"`
	} `json:"three_ds_info"`
}

// refundOfMoney is a refund in Mercado Pago's books. It has no reference of
// ours.
type refundOfMoney struct {
	ID      identifier `json:"id"`
	Amount  decimal    `json:"amount"`
	Status  string     `json:"status"`
	Created date       `json:"date_created"`
}

// preference is a page of Checkout Pro.
type preference struct {
	ID          string     `json:"id"`
	InitPoint   string     `json:"init_point"`
	CollectorID identifier `json:"collector_id"`
	Expires     bool       `json:"expires"`
	ExpiresAt   date       `json:"expiration_date_to"`
}

// chargeback is the bank's side of a payment in status charged_back.
type chargeback struct {
	Amount   decimal `json:"amount"`
	Currency string  `json:"currency"`
	Reason   string  `json:"reason"`
	AnswerBy date    `json:"date_documentation_deadline"`
	Created  date    `json:"date_created"`
}

// page is a page of a search.
type page[T any] struct {
	Paging struct {
		Total  int `json:"total"`
		Limit  int `json:"limit"`
		Offset int `json:"offset"`
	} `json:"paging"`
	Results []T `json:"results"`
}

// The statuses of a payment.
const (
	approved    = "approved"
	authorized  = "authorized"
	refunded    = "refunded"
	chargedBack = "charged_back"
	inMediation = "in_mediation"
	inProcess   = "in_process"
	pending     = "pending"
	rejected    = "rejected"
	cancelled   = "cancelled"
)

// paid: the buyer's money was taken or is held, or was and is given back since.
func (c charge) paid() bool {
	switch c.Status {
	case approved, authorized, refunded, chargedBack, inMediation:
		return true
	}
	return false
}

// underWay: it may still be approved, and can be cancelled.
func (c charge) underWay() bool { return c.Status == pending || c.Status == inProcess }

// rank orders the payments of one attempt by what they say of it: money that is
// held before money that was given back, a try that goes on before one that
// ended.
func (c charge) rank() int {
	switch {
	case c.paid() && c.Status != refunded:
		return 4
	case c.paid():
		return 3
	case c.underWay():
		return 2
	case c.Status == rejected:
		return 1
	}
	return 0
}

func (c charge) account() string {
	if c.CollectorID != "" {
		return string(c.CollectorID)
	}
	return string(c.Collector.ID)
}

// answer puts a payment in our terms. Closed is true of one that has ended: a
// page on which another card can be tried is its caller's to know.
func (c charge) answer(at payment.Attempt) payment.Answer {
	a := payment.Answer{
		Reference: at.Reference, PaymentID: c.ExternalReference, Account: c.account(), LiveMode: c.LiveMode,
		Method: c.Method, Installments: c.Installments, Currency: money.Currency(strings.ToUpper(c.Currency)),
	}
	if a.Reference == "" {
		a.Reference = string(c.ID)
	}
	var readable bool
	a.Amount, readable = c.Amount.minor(a.Currency)
	switch {
	case c.paid() && !readable:
		a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, CodeUnreadable, "a payment without an amount that can be read"
	case c.paid():
		c.fill(&a)
	case c.underWay():
		a.Outcome, a.Processing = payment.OutcomePending, c.Status == inProcess
	case c.Status == rejected:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, detail(c.Detail, rejected)
	case c.Status == cancelled && c.Detail == "expired":
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeExpired
	case c.Status == cancelled:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, detail(c.Detail, cancelled)
	default:
		a.Outcome, a.Code = payment.OutcomeUnknown, CodeUnreadable
		a.Message = "unknown status " + detail(c.Status, "(none)")
	}
	return a
}

// fill adds what only an approval has.
func (c charge) fill(a *payment.Answer) {
	a.Outcome, a.CaptureRef = payment.OutcomeApproved, string(c.ID)
	a.Captured = c.Status != authorized // the field captured is false in published samples of approved payments too
	a.AuthorizationCode = c.Authorization
	a.CardLast4 = lastFour(c.Card.LastFour)
	a.ApprovedAt = c.Approved.Time
	if a.ApprovedAt.IsZero() {
		a.ApprovedAt = c.Created.Time
	}
	a.Fee = c.fee(a.Currency)
	a.Refunded, _ = c.Refunded.minor(a.Currency)
	if c.Status == refunded && a.Refunded == 0 {
		a.Refunded = a.Amount
	}
	for _, r := range c.Refunds {
		amount, ok := r.Amount.minor(a.Currency)
		if !ok {
			continue
		}
		a.Refunds = append(a.Refunds, payment.RefundSeen{Reference: string(r.ID), Amount: amount, Outcome: r.outcome()})
	}
	a.Dispute = c.dispute(a.Amount, a.Currency)
}

// fee is what the seller pays for the payment; the buyer's part (interest of
// instalments) is not the seller's.
func (c charge) fee(currency money.Currency) int64 {
	var sum int64
	for _, f := range c.Fees {
		if f.Payer == "collector" {
			sum += f.Amount.rounded(currency)
		}
	}
	return sum
}

// dispute is what a payment says of its chargeback or mediation. Its reference
// is made from the payment's id, so that it is the same whether or not the
// chargeback itself can be read. settled is a decision against the seller,
// reimbursed one for the seller
// (https://www.mercadopago.com.mx/developers/en/docs/checkout-api/response-handling/query-results).
func (c charge) dispute(amount int64, currency money.Currency) *payment.Dispute {
	d := &payment.Dispute{Reference: string(c.ID), Status: payment.DisputeOpen, Amount: amount, Currency: currency}
	switch {
	case c.Status == inMediation:
		d.Reference, d.Reason = "mediation-"+string(c.ID), "mediation"
	case c.Status != chargedBack:
		return nil
	case c.Detail == "settled":
		d.Status = payment.DisputeLost
	case c.Detail == "reimbursed":
		d.Status = payment.DisputeWon
	}
	return d
}

func (r refundOfMoney) outcome() payment.Outcome {
	switch r.Status {
	case approved:
		return payment.OutcomeApproved
	case inProcess, authorized, pending:
		return payment.OutcomePending
	case rejected, cancelled:
		return payment.OutcomeDeclined
	}
	return payment.OutcomeUnknown
}

func (r refundOfMoney) answer(currency money.Currency) payment.RefundAnswer {
	a := payment.RefundAnswer{Outcome: r.outcome(), Reference: string(r.ID)}
	amount, ok := r.Amount.minor(currency)
	switch {
	case r.ID == "" || !ok || a.Outcome == payment.OutcomeUnknown:
		a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, CodeUnreadable, "status "+detail(r.Status, "(none)")
	case a.Outcome == payment.OutcomeDeclined:
		a.Code = r.Status
	}
	a.Amount = amount
	return a
}

var word = regexp.MustCompile(`^[a-z0-9_]{1,60}$`)

// detail keeps a code of Mercado Pago's out of our records when it is no code.
func detail(code, otherwise string) string {
	if word.MatchString(code) {
		return code
	}
	return otherwise
}

func lastFour(text string) string {
	if len(text) != 4 || strings.Trim(text, "0123456789") != "" {
		return ""
	}
	return text
}

// identifier is a number that is sometimes sent as a text; null is "".
type identifier string

var digitsOnly = regexp.MustCompile(`^[0-9]{1,19}$`)

func (i *identifier) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" || text == "" {
		*i = ""
		return nil
	}
	if !digitsOnly.MatchString(text) {
		return fmt.Errorf("an id that is not a number")
	}
	*i = identifier(text)
	return nil
}

// decimal is an amount, kept as it is written: 29970, 29970.00, "29970" and
// 2.997E4 are the same.
type decimal struct{ text string }

var decimalText = regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,12})?([eE]\+?[0-9]{1,2})?$`)

func (d *decimal) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" || text == "" {
		*d = decimal{}
		return nil
	}
	if !decimalText.MatchString(text) {
		return fmt.Errorf("an amount that is not a number")
	}
	d.text = text
	return nil
}

func (d decimal) scaled(currency money.Currency) *big.Rat {
	r, ok := new(big.Rat).SetString(d.text)
	if !ok {
		return nil
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(currency.Exponent())), nil)
	return r.Mul(r, new(big.Rat).SetInt(scale))
}

// minor is the amount in minor units; false when there is none, or it is not a
// whole number of them: a rounded amount would be a wrong one.
func (d decimal) minor(currency money.Currency) (int64, bool) {
	r := d.scaled(currency)
	if r == nil || !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	return r.Num().Int64(), true
}

// rounded is the nearest whole number of minor units, for fees, which nobody is
// charged by us; 0 when there is none.
func (d decimal) rounded(currency money.Currency) int64 {
	r := d.scaled(currency)
	if r == nil {
		return 0
	}
	r.Add(r, big.NewRat(1, 2))
	whole := new(big.Int).Quo(r.Num(), r.Denom())
	if !whole.IsInt64() {
		return 0
	}
	return whole.Int64()
}

// date is a time in ISO 8601, in UTC; one that cannot be read is zero, for no
// decision hangs on it alone.
type date struct{ time.Time }

func (d *date) UnmarshalJSON(raw []byte) error {
	*d = date{}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700"} {
		if at, err := time.Parse(layout, text); err == nil {
			d.Time = at.UTC()
			return nil
		}
	}
	return nil
}

// stamp writes a time as Mercado Pago's parameters want it: yyyy-MM-dd'T'HH:mm:ss.SSSZ.
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000-07:00") }
