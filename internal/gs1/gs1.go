// Package gs1 reads what barcode scanners send and writes the payload of our
// own GS1 labels.
//
// Its source is the GS1 General Specifications
// (https://ref.gs1.org/standards/genspecs/): section 3 for the application
// identifiers (AIs), 7.8 for how element strings follow each other, 7.9 for
// check digits, 7.11 for the character set and 7.12 for the century of a date.
package gs1

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Form is what kind of thing was scanned.
type Form int

const (
	// Plain is a text without meaning for GS1: a bin, an order number, a code of
	// the shop's own.
	Plain Form = iota
	// Item is a bare GTIN: EAN-8, UPC-A, EAN-13 or GTIN-14 with a right check digit.
	Item
	// Elements is a chain of application identifiers with their values.
	Elements
)

// Element is one application identifier with its value.
type Element struct {
	AI    string
	Value string
	// Date is the day of a date's value at 00:00 UTC, and zero for other AIs.
	Date time.Time
}

// Code is a scan that was read.
type Code struct {
	Form Form
	// Text is what the symbol holds: the scan without the scanner's symbology
	// identifier and line end.
	Text string
	// GTIN has 14 digits when Form is Item, or Elements with AI 01.
	GTIN     string
	Elements []Element
}

// separator stands for FNC1 in what a scanner sends (7.8).
const separator = "\x1d"

// Parse reads a scan. It takes three spellings of element strings:
//
//   - with one of the symbology identifiers of GS1-128 (]C1), GS1 DataMatrix
//     (]d2), GS1 QR (]Q3) and GS1 DataBar (]e0), FNC1 as ASCII 29;
//   - without, as scanners send it where nobody has set them up, when there is
//     an FNC1 or the text begins with an AI 00, 01 or 02 whose check digit is right;
//   - as printed below a symbol: (01)09501101530003(10)AB-123.
//
// Then come bare GTINs, and whatever is left is Plain. now decides on the
// century of dates by its year.
//
// An error says what is wrong with an element string and names the AI: an AI
// that is not known has no known length, so nothing is guessed. Code.Text is
// set then too, because a shop's own code may happen to look like GS1: look the
// text up before refusing it.
func Parse(scan string, now time.Time) (Code, error) {
	identifier, text := cutIdentifier(strings.TrimSpace(scan))
	code := Code{Text: text}

	read := readChain
	switch {
	case isGS1(identifier):
	case identifier != "": // the scanner says that it is no GS1 symbol
		return bare(code), nil
	case startsBracketed(text):
		read = readBracketed
	case !strings.Contains(text, separator) && !startsWithKey(text):
		return bare(code), nil
	}

	elements, err := read(text, now)
	if err != nil {
		return code, fmt.Errorf("read GS1 code: %w", err)
	}
	code.Form, code.Elements = Elements, elements
	code.GTIN, _ = code.Value("01")
	return code, nil
}

// Value is the value of an AI, and whether the code has it.
func (c Code) Value(ai string) (string, bool) {
	for _, e := range c.Elements {
		if e.AI == ai {
			return e.Value, true
		}
	}
	return "", false
}

// Lot is AI 10, or empty.
func (c Code) Lot() string {
	lot, _ := c.Value("10")
	return lot
}

// Serial is AI 21, or empty.
func (c Code) Serial() string {
	serial, _ := c.Value("21")
	return serial
}

// Expiry is AI 17: the last day on which the goods may be used, at 00:00 UTC;
// zero when the code has none.
func (c Code) Expiry() time.Time {
	for _, e := range c.Elements {
		if e.AI == "17" {
			return e.Date
		}
	}
	return time.Time{}
}

// Count is AI 37 in units, and whether the code has it.
func (c Code) Count() (int, bool) {
	text, ok := c.Value("37")
	count, err := strconv.Atoi(text)
	return count, ok && err == nil
}

// cutIdentifier takes the symbology identifier (ISO/IEC 15424) off: a bracket,
// a letter and a modifier.
func cutIdentifier(scan string) (identifier, text string) {
	if len(scan) < 3 || scan[0] != ']' || !letter(scan[1]) || !alphanumeric(scan[2]) {
		return "", scan
	}
	return scan[:3], scan[3:]
}

func isGS1(identifier string) bool {
	switch identifier {
	case "]C1", "]d2", "]Q3", "]e0":
		return true
	}
	return false
}

// bare tells a GTIN from any other text.
func bare(code Code) Code {
	if gtin, ok := GTIN14(code.Text); ok {
		code.Form, code.GTIN = Item, gtin
	}
	return code
}

func letter(c byte) bool { return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

func alphanumeric(c byte) bool { return letter(c) || digit(c) }

func digits(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return s != ""
}
