// Package contact brings e-mail addresses and phone numbers into the one form
// in which they are stored and compared. Both are personal data: the errors
// never repeat what was given.
package contact

import (
	"errors"
	"net/mail"
	"strings"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/net/idna"
)

// ErrEmail and ErrPhone tell that a text is not a usable address or number.
var (
	ErrEmail = errors.New("not a valid e-mail address")
	ErrPhone = errors.New("not a valid phone number")
)

// Limits in octets, RFC 5321 section 4.5.3.1; 254 is what fits in a path of 256.
const (
	maxLocalPart = 64
	maxAddress   = 254
)

// maxPhoneInput is generous for a number of 15 digits with its punctuation.
const maxPhoneInput = 40

// NormalizeEmail returns the address in lower case, with an international
// domain in its ASCII form, or ErrEmail. Case in front of the @ is dropped
// although RFC 5321 would allow it to matter: no provider in use tells such
// mailboxes apart, and one buyer must not count as two. Display names, quoted
// local parts, address literals and domains without a dot are refused.
//
// The result is a fixed point: normalizing it again returns it unchanged.
func NormalizeEmail(s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) > 2*maxAddress {
		return "", ErrEmail
	}
	parsed, err := mail.ParseAddress(s)
	// ParseAddress also takes "Ana <ana@example.cl>", comments and quotes; what
	// it then reports differs from what was written.
	if err != nil || parsed.Address != s {
		return "", ErrEmail
	}
	at := strings.LastIndexByte(s, '@')
	local := strings.ToLower(s[:at])
	if len(local) > maxLocalPart || !isASCII(local) || strings.ContainsAny(local, "\"\\ ") {
		return "", ErrEmail
	}
	domain, err := idna.Lookup.ToASCII(s[at+1:])
	if err != nil || !isHostname(domain) {
		return "", ErrEmail
	}
	address := local + "@" + domain
	if len(address) > maxAddress {
		return "", ErrEmail
	}
	return address, nil
}

// NormalizePhone returns the number in E.164 form ("+56961234567"), or
// ErrPhone. A number without a country code is read as one of defaultRegion, an
// ISO 3166-1 code such as "CL". An extension is dropped, since E.164 has none.
func NormalizePhone(s, defaultRegion string) (string, error) {
	s = strings.TrimSpace(s)
	// Letters are refused: the library would dial them as a keypad does.
	if len(s) > maxPhoneInput || strings.ContainsFunc(s, isLetter) {
		return "", ErrPhone
	}
	number, err := phonenumbers.Parse(s, defaultRegion)
	if err != nil || !phonenumbers.IsValidNumber(number) {
		return "", ErrPhone
	}
	return phonenumbers.Format(number, phonenumbers.E164), nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > 0x7e || s[i] < 0x21 {
			return false
		}
	}
	return true
}

// isHostname wants at least two labels of letters, digits and inner hyphens,
// the last one not a number.
func isHostname(domain string) bool {
	labels := strings.Split(domain, ".")
	if len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return strings.ContainsFunc(labels[len(labels)-1], isLetter)
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
