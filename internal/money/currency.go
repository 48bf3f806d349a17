package money

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Currency is an ISO 4217 code in upper case, as ParseCurrency returns it.
type Currency string

// The currencies that Chilean shops price in.
const (
	CLP Currency = "CLP"
	USD Currency = "USD"
	EUR Currency = "EUR"
)

// ErrUnknownCurrency tells that a code is not an active ISO 4217 currency.
var ErrUnknownCurrency = errors.New("money: unknown currency")

// ParseCurrency accepts an active ISO 4217 code in either case (some gateways
// write them in lower case) and returns it in upper case, or
// ErrUnknownCurrency.
func ParseCurrency(s string) (Currency, error) {
	if len(s) == 3 {
		c := Currency(strings.ToUpper(s))
		if _, ok := exponents[c]; ok {
			return c, nil
		}
	}
	return "", fmt.Errorf("%w: want an ISO 4217 code such as CLP", ErrUnknownCurrency)
}

// Exponent is the number of decimals of the minor unit: 0 for CLP, 2 for USD,
// 4 for CLF (the UF). A code that ParseCurrency refuses counts as 2, which
// nearly every currency has.
func (c Currency) Exponent() int {
	if e, ok := exponents[c]; ok {
		return e
	}
	return 2
}

// Format writes amount, in minor units of c, as people in Chile read it: a
// point between thousands and a comma before decimals, "$12.990" or "US$12,34".
// A negative amount has its sign in front: "-$500". The text is for people and
// is never parsed back.
func Format(amount int64, c Currency) string {
	digits := strconv.FormatUint(magnitude(amount), 10)
	exponent := c.Exponent()
	if missing := exponent + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	whole, fraction := digits[:len(digits)-exponent], digits[len(digits)-exponent:]

	var b strings.Builder
	if amount < 0 {
		b.WriteByte('-')
	}
	b.WriteString(c.symbol())
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte('.')
		}
		b.WriteByte(whole[i])
	}
	if exponent > 0 {
		b.WriteByte(',')
		b.WriteString(fraction)
	}
	return b.String()
}

// symbol never gives two currencies the same sign: a bare "$" is the peso of
// the reader, every other dollar and peso says whose it is.
func (c Currency) symbol() string {
	if s, ok := symbols[c]; ok {
		return s
	}
	return string(c) + " "
}

var symbols = map[Currency]string{
	CLP: "$", USD: "US$", EUR: "€", "GBP": "£", "JPY": "¥", "BRL": "R$", "PEN": "S/ ",
	"ARS": "AR$", "MXN": "MX$", "COP": "CO$", "UYU": "UY$", "CLF": "UF ",
}

// exponents holds the active currencies of ISO 4217 list one
// (https://www.six-group.com/en/products-services/financial-information/data-standards.html).
var exponents = func() map[Currency]int {
	byExponent := map[int]string{
		0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
		2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY " +
			"COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF " +
			"IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR " +
			"MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD SAR SBD SCR SDG SEK " +
			"SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST " +
			"XCD YER ZAR ZMW ZWG",
		3: "BHD IQD JOD KWD LYD OMR TND",
		4: "CLF UYW",
	}
	table := map[Currency]int{}
	for exponent, codes := range byExponent {
		for code := range strings.FieldsSeq(codes) {
			table[Currency(code)] = exponent
		}
	}
	return table
}()
