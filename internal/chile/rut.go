// Package chile knows what is particular to the country: the RUT, its regions
// and comunas, and how far regions lie apart.
package chile

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// RUT is a Chilean tax number in its canonical form "12345678-5": no dots, no
// leading zeros, an upper-case K. It is personal data: errors of this package
// never repeat it, and logs must not.
type RUT string

// ErrRUTFormat tells that a text does not look like a RUT at all;
// ErrRUTCheckDigit that it does, and was mistyped.
var (
	ErrRUTFormat     = errors.New("RUT must look like 12.345.678-5")
	ErrRUTCheckDigit = errors.New("RUT check digit is wrong")
)

// Dots stand where thousands end, or nowhere.
var rutForm = regexp.MustCompile(`^(\d{1,8}|\d{1,2}(?:\.\d{3}){1,2}|\d{3}\.\d{3})-?([\dkK])$`)

var rutDashes = strings.NewReplacer("‐", "-", "–", "-", "−", "-")

// ParseRUT accepts a RUT with or without dots and hyphen, in either case, with
// space around it, and checks its last digit (modulo 11, weights 2 to 7 from
// the right). It returns ErrRUTFormat or ErrRUTCheckDigit otherwise.
func ParseRUT(s string) (RUT, error) {
	m := rutForm.FindStringSubmatch(rutDashes.Replace(strings.TrimSpace(s)))
	if m == nil {
		return "", ErrRUTFormat
	}
	number, err := strconv.Atoi(strings.ReplaceAll(m[1], ".", ""))
	if err != nil || number == 0 {
		return "", ErrRUTFormat
	}
	check := rutCheckDigit(number)
	if strings.ToUpper(m[2]) != check {
		return "", ErrRUTCheckDigit
	}
	return RUT(strconv.Itoa(number) + "-" + check), nil
}

// String returns the canonical form, for storing and comparing.
func (r RUT) String() string { return string(r) }

// Formatted returns the form people write, with dots: "12.345.678-5".
func (r RUT) Formatted() string {
	number, check, ok := strings.Cut(string(r), "-")
	if !ok {
		return string(r)
	}
	for i := len(number) - 3; i > 0; i -= 3 {
		number = number[:i] + "." + number[i:]
	}
	return number + "-" + check
}

func rutCheckDigit(number int) string {
	sum, weight := 0, 2
	for ; number > 0; number /= 10 {
		sum += number % 10 * weight
		if weight++; weight > 7 {
			weight = 2
		}
	}
	switch d := 11 - sum%11; d {
	case 11:
		return "0"
	case 10:
		return "K"
	default:
		return strconv.Itoa(d)
	}
}
