package wire

import (
	"bytes"
	"encoding/base64"
	"regexp"
	"strings"

	"justlogistics/internal/shipping"
)

// FormatOf tells a label's form by its first bytes, whatever the carrier calls it;
// false when it is none of those that we know.
func FormatOf(data []byte) (shipping.Format, bool) {
	text := bytes.TrimLeft(data, " \t\r\n\x00\xef\xbb\xbf")
	switch {
	case bytes.HasPrefix(text, []byte("%PDF-")):
		return shipping.PDF, true
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return shipping.JPEG, true
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		return shipping.PNG, true
	case zpl.Match(text):
		return shipping.ZPL, true
	case epl.Match(text):
		return shipping.EPL, true
	}
	return "", false
}

var (
	// A ZPL label begins with ^XA, perhaps after commands that set the printer up.
	zpl = regexp.MustCompile(`^(CT~~CD,~CC\^~CT~[\r\n]*|~[A-Z]{2}[^\^\r\n]{0,80}[\r\n]*)*\^XA`)
	// An EPL2 label begins with a clear image buffer, or with settings of the form.
	epl = regexp.MustCompile(`^(N[\r\n]|(I8|q[0-9]|Q[0-9]|O[A-Z]|R[0-9]|S[0-9]|D[0-9]|Z[BT])[^\r\n]{0,40}[\r\n])`)
)

// Label reads a label in base64; false when it is none.
func Label(text string) (shipping.Label, bool) {
	if _, rest, found := strings.Cut(text, ";base64,"); found {
		text = rest
	}
	text = strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == ' ' {
			return -1
		}
		return r
	}, text)
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		if data, err = base64.RawStdEncoding.DecodeString(text); err != nil {
			return shipping.Label{}, false
		}
	}
	format, known := FormatOf(data)
	return shipping.Label{Format: format, Data: data}, known
}
