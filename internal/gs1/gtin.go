package gs1

import "strings"

// GTIN14 writes a GTIN of 8, 12, 13 or 14 digits with 14, and reports whether
// it is one: only digits, and a right check digit.
func GTIN14(gtin string) (string, bool) {
	switch len(gtin) {
	case 8, 12, 13, 14:
	default:
		return "", false
	}
	if !digits(gtin) || !checkDigitRight(gtin) {
		return "", false
	}
	return strings.Repeat("0", 14-len(gtin)) + gtin, true
}

// SameGTIN reports whether both are GTINs of the same item: an EAN-13 and the
// GTIN-14 that is the same number behind a zero are. What is no GTIN is the
// same as nothing.
func SameGTIN(a, b string) bool {
	first, ok := GTIN14(a)
	second, also := GTIN14(b)
	return ok && also && first == second
}

// checkDigitRight checks the last of the digits (7.9): from the right,
// before it, the digits weigh 3, 1, 3, 1, ...
func checkDigitRight(number string) bool {
	sum := 0
	for i := range len(number) {
		d := int(number[len(number)-1-i] - '0')
		if i%2 == 1 {
			d *= 3
		}
		sum += d
	}
	return sum%10 == 0
}
