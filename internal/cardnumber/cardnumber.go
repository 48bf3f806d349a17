// Package cardnumber recognizes payment card numbers in what callers send. They
// must never reach us: whoever stores or logs one is bound by PCI DSS, and
// nothing here needs them, since the gateways' pages and scripts take them.
package cardnumber

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A card number has 13 to 19 digits (ISO/IEC 7812-1 allows fewer; no card of
// today has them).
const (
	shortest = 13
	longest  = 19
)

// brand is a range of first digits and the lengths that its numbers have.
type brand struct {
	low, high string
	lengths   []int
}

// brands are those that acquirers in Chile take: Webpay names Visa, Mastercard,
// American Express, Diners, Magna, Redcompra and prepaid
// (https://www.transbankdevelopers.cl/documentacion/webpay-plus); of Redcompra
// (debit) and Magna the numbers are Visa's, Mastercard's and Maestro's. Ranges:
// Mastercard's 2-series https://www.mastercard.us/en-us/business/issuers/get-support/2-series-bin-expansion.html,
// Discover, Diners and JCB in Discover's IIN ranges
// https://www.discoverglobalnetwork.com/resources/businesses/iin-ranges/, and for
// all of them https://github.com/braintree/credit-card-type and
// https://en.wikipedia.org/wiki/Payment_card_number.
var brands = []brand{
	{"4", "4", []int{13, 16, 18, 19}},               // Visa
	{"51", "55", []int{16}},                         // Mastercard
	{"2221", "2720", []int{16}},                     // Mastercard
	{"34", "34", []int{15}},                         // American Express
	{"37", "37", []int{15}},                         // American Express
	{"300", "305", []int{14, 16, 17, 18, 19}},       // Diners Club
	{"3095", "3095", []int{14, 16, 17, 18, 19}},     // Diners Club
	{"36", "36", []int{14, 15, 16, 17, 18, 19}},     // Diners Club
	{"38", "39", []int{14, 16, 17, 18, 19}},         // Diners Club
	{"6011", "6011", []int{16, 17, 18, 19}},         // Discover
	{"644", "649", []int{16, 17, 18, 19}},           // Discover
	{"65", "65", []int{16, 17, 18, 19}},             // Discover
	{"3528", "3589", []int{16, 17, 18, 19}},         // JCB
	{"62", "62", []int{14, 15, 16, 17, 18, 19}},     // UnionPay
	{"81", "81", []int{16, 17, 18, 19}},             // UnionPay
	{"50", "50", []int{13, 14, 15, 16, 17, 18, 19}}, // Maestro
	{"56", "59", []int{13, 14, 15, 16, 17, 18, 19}}, // Maestro
	{"63", "63", []int{13, 14, 15, 16, 17, 18, 19}}, // Maestro
	{"67", "67", []int{13, 14, 15, 16, 17, 18, 19}}, // Maestro
	{"601", "603", []int{16, 17, 18, 19}},           // Maestro, and private cards of shops
}

// Is reports whether digits, and nothing else, are the number of a card: the
// first digits and the length of a brand, and a right check digit.
func Is(digits string) bool {
	return len(digits) >= shortest && len(digits) <= longest &&
		slices.ContainsFunc(brands, func(b brand) bool {
			return digits[:len(b.low)] >= b.low && digits[:len(b.high)] <= b.high && slices.Contains(b.lengths, len(digits))
		}) && luhn(digits)
}

// luhn checks the last digit (ISO/IEC 7812-1, annex B).
func luhn(digits string) bool {
	sum, double := 0, false
	for i := len(digits) - 1; i >= 0; i-- {
		d := int(digits[i] - '0')
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		double = !double
	}
	return sum%10 == 0
}

// In reports whether a text contains the number of a card: digits in one run,
// or in groups with one space or dash between two of them. A run that stands
// amid letters ("c4111111111111111f") is part of an identifier, and one behind
// a plus sign a phone number.
func In(text string) bool {
	var chain strings.Builder // the digits of groups that are one separator apart
	var ends []int            // of its groups
	for i := 0; i < len(text); {
		if !digit(text[i]) {
			i++
			continue
		}
		chain.Reset()
		ends = ends[:0]
		for more := true; more; more = i < len(text) && digit(text[i]) {
			end := i
			for end < len(text) && digit(text[end]) {
				end++
			}
			if !identifier(text, i, end) {
				chain.WriteString(text[i:end])
				ends = append(ends, chain.Len())
			}
			gap := separator(text[end:])
			if i = end + gap; gap == 0 {
				break
			}
		}
		if inChain(chain.String(), ends) {
			return true
		}
	}
	return false
}

// inChain looks at every succession of whole groups.
func inChain(digits string, ends []int) bool {
	start := 0
	for first, end := range ends {
		for _, to := range ends[first:] {
			if to-start > longest {
				break
			}
			if Is(digits[start:to]) {
				return true
			}
		}
		start = end
	}
	return false
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// separator is the length of the space or dash that a text begins with, 0 for
// none.
func separator(text string) int {
	r, n := utf8.DecodeRuneInString(text)
	if n > 0 && (unicode.Is(unicode.Zs, r) || unicode.Is(unicode.Pd, r) || r == '\u2212') {
		return n
	}
	return 0
}

// identifier reports whether the run text[from:to] is no number of its own.
func identifier(text string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:from])
	after, _ := utf8.DecodeRuneInString(text[to:])
	return before == '+' || wordy(before) && wordy(after)
}

func wordy(r rune) bool { return r == '_' || unicode.IsLetter(r) && r != utf8.RuneError }

// GTIN reports whether digits are a trade item's number (EAN-13, GTIN-14) by
// its own check digit (https://www.gs1.org/services/how-calculate-check-digit-manually).
// One in some hundred could be a card's as well.
func GTIN(digits string) bool {
	if len(digits) != 13 && len(digits) != 14 {
		return false
	}
	sum := 0
	for i := range len(digits) {
		if !digit(digits[i]) {
			return false
		}
		weight := 1
		if (len(digits)-i)%2 == 0 {
			weight = 3
		}
		sum += weight * int(digits[i]-'0')
	}
	return sum%10 == 0
}
