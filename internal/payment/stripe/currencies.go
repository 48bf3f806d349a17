package stripe

import (
	"fmt"

	"justlogistics/internal/money"
)

// currencies that are charged. Stripe takes more than 135
// (https://docs.stripe.com/currencies); these are the ones whose amounts were
// checked against its rules.
var currencies = []money.Currency{
	money.CLP, money.USD, money.EUR, "GBP", "CAD", "AUD", "BRL", "MXN", "ARS", "PEN", "COP", "UYU",
	"JPY", "KRW", "PYG", "VND", "ISK", "UGX",
	"BHD", "JOD", "KWD", "OMR", "TND",
}

// smallest amounts in our minor units, where Stripe publishes them
// (https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts); the
// peso's is about half a US dollar. What is below another currency's is refused
// by Stripe itself, as amount_too_small.
var smallest = map[money.Currency]int64{
	money.CLP: 500, money.USD: 50, money.EUR: 50, "GBP": 30, "CAD": 50, "AUD": 50, "BRL": 50, "MXN": 1000, "JPY": 50,
}

// decimalsMore is how many decimals Stripe's interface has for a currency
// beyond those of ISO 4217: the króna and the Ugandan shilling have none any
// more, and their amounts are still written in hundredths
// (https://docs.stripe.com/currencies#special-cases).
func decimalsMore(c money.Currency) int64 {
	switch c {
	case "ISK", "UGX":
		return 100
	}
	return 1
}

// toStripe puts an amount in minor units into Stripe's. The error is an amount
// that Stripe can't pass on: the last of three decimals must be 0
// (https://docs.stripe.com/currencies#three-decimal).
func toStripe(amount int64, c money.Currency) (int64, error) {
	if c.Exponent() == 3 && amount%10 != 0 {
		return 0, fmt.Errorf("amounts in %s must end in 0: its smallest part can't be charged", c)
	}
	return amount * decimalsMore(c), nil
}

// fromStripe is the way back.
func fromStripe(amount int64, c money.Currency) int64 { return amount / decimalsMore(c) }
