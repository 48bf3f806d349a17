package sandbox

import (
	"fmt"
	"strings"
)

// minimumAmount are the currencies that the sandbox's accounts take, with what
// stands in for about half a US dollar, in Stripe's units
// (docs.stripe.com/currencies); the figures of the peso and of the currencies
// without a published minimum are the sandbox's choice.
var minimumAmount = map[string]int64{
	"clp": 500, "usd": 50, "eur": 50, "gbp": 30, "brl": 50, "mxn": 1000, "ars": 50000, "pen": 200, "cop": 200000, "uyu": 2000,
	"cad": 50, "aud": 50, "jpy": 50, "krw": 700, "pyg": 4000, "vnd": 13000, "isk": 7000, "ugx": 190000,
	"bhd": 190, "jod": 350, "kwd": 150, "omr": 190, "tnd": 1550,
}

const maximumAmount = 99_999_999

// wrongUnits refuses the amounts that Stripe cannot pass on: the last of three
// decimals must be 0, and two currencies have decimals in the interface only
// (docs.stripe.com/currencies#three-decimal and #special-cases; the text is that
// of support.stripe.com/questions/deprecation-of-fractional-isk-charges-and-refunds).
func wrongUnits(amount int64, currency, param string) *stripeError {
	switch {
	case threeDecimal(currency) && amount%10 != 0:
		return &stripeError{code: "invalid_charge_amount_no_decimal_compatible", param: param, message: fmt.Sprintf(
			"Invalid amount. Amounts in %s must be evenly divisible by 10. See https://stripe.com/docs/currencies#three-decimal for more information.", strings.ToUpper(currency))}
	case wholeOnly(currency) && amount%100 != 0:
		return &stripeError{code: "invalid_charge_amount_no_decimal_compatible", param: param, message: fmt.Sprintf(
			"Invalid amount. Currency %s has become effectively zero-decimal and charged amounts must be evenly divisible by 100. See https://stripe.com/docs/currencies#special-cases for more information.", strings.ToUpper(currency))}
	}
	return nil
}

// threeDecimal: the currency has a thousandth as its minor unit.
func threeDecimal(currency string) bool {
	switch strings.ToUpper(currency) {
	case "BHD", "JOD", "KWD", "OMR", "TND":
		return true
	}
	return false
}

// wholeOnly: the currency has no minor unit, and Stripe writes it with two
// decimals all the same.
func wholeOnly(currency string) bool {
	switch strings.ToUpper(currency) {
	case "ISK", "UGX":
		return true
	}
	return false
}

// isoAmount puts an amount of Stripe's in the minor units of ISO 4217, which
// the ledger is kept in.
func isoAmount(amount int64, currency string) int64 {
	if wholeOnly(currency) {
		return amount / 100
	}
	return amount
}

// stripeUnits is the way back.
func stripeUnits(amount int64, currency string) int64 {
	if wholeOnly(currency) {
		return amount * 100
	}
	return amount
}

// processingFee is what the sandbox's Stripe keeps of a charge: 3.6 %, rounded
// up, in the currency of the charge.
func processingFee(amount int64) int64 { return (amount*36 + 999) / 1000 }

// viewBalance is the balance_transaction of a charge or a refund.
func viewBalance(id, kind, source, currency string, amount, fee, created int64) map[string]any {
	details := []any{}
	if fee != 0 {
		details = append(details, map[string]any{"amount": fee, "application": nil, "currency": currency, "description": "Stripe processing fees", "type": "stripe_fee"})
	}
	return map[string]any{
		"id": id, "object": "balance_transaction", "amount": amount, "available_on": created + 2*24*3600, "created": created, "currency": currency,
		"description": nil, "exchange_rate": nil, "fee": fee, "fee_details": details, "net": amount - fee, "reporting_category": kind,
		"source": source, "status": "pending", "type": kind,
	}
}
