// Package refund decides what goes back to a buyer: which units, freight or
// goodwill a refund is booked on, and from which captures it is paid. Nothing
// gets more back than was paid for it, which the database's constraints hold
// whatever is decided here. How the money then moves is the business of the
// refund's workflow.
package refund

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"justlogistics/internal/chile"
	"justlogistics/internal/contact"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
	"justlogistics/internal/secretbox"
)

// How money goes back.
const (
	Original     = "original"      // by the gateway that took it
	BankTransfer = "bank_transfer" // by a person, who states the transfer's reference
	Void         = "void"          // an authorization that is given up, of which nothing was taken
)

// Requested is the reason of parts that somebody asked for. What the request
// itself gives as its reason is free text and stays in its row.
const Requested = "requested"

// Codes of refusals.
const (
	CodeNothingLeft     = "nothing_left_to_refund"
	CodeDisputed        = "payment_disputed"
	CodeNotCaptured     = "payment_not_captured"
	CodeNotPossible     = "refund_not_possible"
	CodeNotApplied      = "payment_not_applied"
	CodeChargedBack     = "payment_charged_back"
	CodeOtherCurrency   = "other_currency"
	CodeNoGateway       = "gateway_not_configured"
	CodePartlyGivenBack = "partly_given_back"
)

// Request asks for money of an order to go back. Without lines, freight and
// amount it is everything that is left. Amounts are minor units of the order's
// currency.
type Request struct {
	OrderID string `json:"order_id"`
	// Reason is for people; it is shown to whoever may read the refund and
	// goes nowhere else.
	Reason string      `json:"reason"`
	Lines  []LineAsked `json:"lines"`
	// ShippingAmount is of the freight, Amount is goodwill: booked on nothing.
	ShippingAmount *int64 `json:"shipping_amount"`
	Amount         *int64 `json:"amount"`
	// PaymentID takes it from one payment; else the newest capture comes first.
	PaymentID   string       `json:"payment_id"`
	Method      string       `json:"method"` // original (default) or bank_transfer
	BankAccount *BankAccount `json:"bank_account"`
	// Units are single ones, for whoever knows which; nobody outside does.
	Units []UnitAsked `json:"-"`
	// AtMost takes less where the order's payments have less left, such as after
	// goodwill.
	AtMost bool `json:"-"`
}

// UnitAsked is some of what was paid for a unit, in minor units of the currency.
type UnitAsked struct {
	Line   string
	N      int
	Amount int64
}

// LineAsked is units of a line. Without an amount it is what they have left.
type LineAsked struct {
	LineID   string `json:"line_id"`
	Quantity int    `json:"quantity"`
	Amount   *int64 `json:"amount"`
}

// BankAccount is where a transfer goes. It is personal: encrypted at rest and
// shown to support alone.
type BankAccount struct {
	Holder string `json:"holder"`
	RUT    string `json:"rut"`
	Bank   string `json:"bank"`
	Type   string `json:"type"` // corriente, vista, ahorro or rut
	Number string `json:"number"`
	Email  string `json:"email,omitempty"`
}

// accountTypes are those that Chilean banks transfer to.
var accountTypes = []string{"corriente", "vista", "ahorro", "rut"}

// Check says what is wrong with a request by itself, and fills in defaults.
func (r *Request) Check() error {
	var f problem.Fields
	text(&f, "reason", r.Reason, 500)
	seen := map[string]bool{}
	for i, l := range r.Lines {
		at := fmt.Sprintf("lines[%d].", i)
		switch {
		case !id.Valid(l.LineID):
			f.Add(at+"line_id", "unknown_line", "the order has no such line")
		case seen[l.LineID]:
			f.Add(at+"line_id", "repeated", "named twice")
		}
		seen[l.LineID] = true
		if l.Quantity < 1 {
			f.Add(at+"quantity", "out_of_range", "1 or more")
		}
		positive(&f, at+"amount", l.Amount)
	}
	positive(&f, "shipping_amount", r.ShippingAmount)
	positive(&f, "amount", r.Amount)
	if r.PaymentID != "" && !id.Valid(r.PaymentID) {
		f.Add("payment_id", "unknown_payment", "the order has no such payment")
	}
	switch r.Method {
	case "":
		r.Method = Original
	case Original, BankTransfer:
	default:
		f.Add("method", "invalid", "original or bank_transfer")
	}
	if r.BankAccount != nil {
		if r.Method != BankTransfer {
			f.Add("bank_account", "invalid", "only for method bank_transfer")
		}
		r.BankAccount.check(&f)
	}
	return f.Err()
}

func (a *BankAccount) check(f *problem.Fields) {
	text(f, "bank_account.holder", a.Holder, 200)
	text(f, "bank_account.bank", a.Bank, 100)
	rut, err := chile.ParseRUT(a.RUT)
	if err != nil {
		f.Add("bank_account.rut", "invalid_rut", "%v", err)
	} else {
		a.RUT = rut.String()
	}
	known := false
	for _, t := range accountTypes {
		known = known || a.Type == t
	}
	if !known {
		f.Add("bank_account.type", "invalid", "one of %s", strings.Join(accountTypes, ", "))
	}
	if len(a.Number) < 4 || len(a.Number) > 20 || strings.Trim(a.Number, "0123456789-") != "" {
		f.Add("bank_account.number", "invalid", "4 to 20 digits or dashes")
	}
	if a.Email != "" {
		if a.Email, err = contact.NormalizeEmail(a.Email); err != nil {
			f.Add("bank_account.email", "invalid_email", "%v", err)
		}
	}
}

func text(f *problem.Fields, field, value string, most int) {
	switch {
	case strings.TrimSpace(value) == "":
		f.Add(field, "required", "must not be empty")
	case len(value) > most:
		f.Add(field, "too_long", "at most %d bytes", most)
	}
}

func positive(f *problem.Fields, field string, amount *int64) {
	if amount != nil && *amount < 1 {
		f.Add(field, "out_of_range", "1 or more")
	}
}

// whole reports whether everything that is left is asked for.
func (r Request) whole() bool {
	return len(r.Lines) == 0 && r.ShippingAmount == nil && r.Amount == nil && r.Units == nil
}

// Able tells what a tenant's gateway can do; ok is false when it is not set up
// any more.
type Able func(payment.Name) (can payment.Capabilities, ok bool)

// Seal encrypts an account for the row of its request, or of the return whose money
// will be requested.
func (a BankAccount) Seal(ring *secretbox.Keyring, tenant, requestID string) ([]byte, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	keyID, box, err := ring.Seal(text, aad(tenant, requestID))
	if err != nil {
		return nil, fmt.Errorf("encrypt the account of refund %s: %w", requestID, err)
	}
	return append([]byte(keyID+":"), box...), nil
}

// OpenAccount is what Seal encrypted.
func OpenAccount(ring *secretbox.Keyring, tenant, requestID string, sealed []byte) (*BankAccount, error) {
	keyID, box, ok := strings.Cut(string(sealed), ":")
	if !ok {
		return nil, errors.New("an account that was not sealed")
	}
	text, err := ring.Open(keyID, []byte(box), aad(tenant, requestID))
	if err != nil {
		return nil, fmt.Errorf("decrypt the account of refund %s: %w", requestID, err)
	}
	var a BankAccount
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("the account of refund %s: %w", requestID, err)
	}
	return &a, nil
}

// Reseal is a sealed account for another row.
func Reseal(ring *secretbox.Keyring, tenant, from, to string, sealed []byte) ([]byte, error) {
	if sealed == nil {
		return nil, nil
	}
	account, err := OpenAccount(ring, tenant, from, sealed)
	if err != nil {
		return nil, err
	}
	return account.Seal(ring, tenant, to)
}

func aad(tenant, requestID string) []byte { return []byte("refund:" + tenant + ":" + requestID) }
