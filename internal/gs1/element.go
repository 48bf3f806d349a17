package gs1

import (
	"fmt"
	"strings"
	"time"
)

// kind is what an AI's value must be.
type kind int

const (
	key    kind = iota // digits, the last of which is a check digit
	date               // YYMMDD
	number             // digits
	text               // of the character set 82
)

// format is an AI's line in the table. Where least and most are the same the
// length is predefined, and no FNC1 need follow.
type format struct {
	ai          string
	kind        kind
	least, most int // characters
}

// formats are the AIs that a warehouse meets (section 3 of the specifications).
var formats = []format{
	{"00", key, 18, 18}, // SSCC of a pallet or parcel
	{"01", key, 14, 14}, // GTIN
	{"02", key, 14, 14}, // GTIN of what a box or pallet contains
	{"10", text, 1, 20}, // batch or lot
	{"11", date, 6, 6},  // production
	{"12", date, 6, 6},  // due date
	{"13", date, 6, 6},  // packaging
	{"15", date, 6, 6},  // best before
	{"16", date, 6, 6},  // sell by
	{"17", date, 6, 6},  // expiry
	{"21", text, 1, 20}, // serial
	{"37", number, 1, 8},
}

// formatAt is the line of the AI with which a chain begins. The error names
// the AI.
func formatAt(chain string) (format, error) {
	for _, f := range formats {
		if strings.HasPrefix(chain, f.ai) {
			return f, nil
		}
	}
	return format{}, fmt.Errorf("AI %s is not known here", leadingAI(chain))
}

// leadingAI names an AI that the table doesn't have. The first two digits say
// how many it has (figure "GS1 Application Identifiers in numerical order").
func leadingAI(chain string) string {
	length := 2
	switch {
	case len(chain) < 2 || !digits(chain[:2]):
		return fmt.Sprintf("%q", chain[:min(2, len(chain))])
	case strings.Contains("23 24 25 40 41 42 71", chain[:2]):
		length = 3
	case strings.Contains("31 32 33 34 35 36 39 43 70 72 80 81 82", chain[:2]):
		length = 4
	}
	if length > len(chain) || !digits(chain[:length]) {
		return fmt.Sprintf("%q", chain[:min(length, len(chain))])
	}
	return chain[:length]
}

func (f format) predefined() bool { return f.least == f.most }

// element checks a value.
func (f format) element(value string, now time.Time) (Element, error) {
	e := Element{AI: f.ai, Value: value}
	switch {
	case len(value) < f.least || len(value) > f.most:
		return e, fmt.Errorf("AI %s: %q has %d characters, must have %s", f.ai, value, len(value), f.lengths())
	case f.kind != text && !digits(value):
		return e, fmt.Errorf("AI %s: %q must be digits", f.ai, value)
	case f.kind == key && !checkDigitRight(value):
		return e, fmt.Errorf("AI %s: the check digit of %s is wrong", f.ai, value)
	}
	if f.kind == text {
		for i := range len(value) {
			if !in82(value[i]) {
				return e, fmt.Errorf("AI %s: %q has a character that GS1 doesn't allow, %q", f.ai, value, value[i])
			}
		}
	}
	if f.kind == date {
		day, ok := dayOf(value, now)
		if !ok {
			return e, fmt.Errorf("AI %s: %s is no date (YYMMDD)", f.ai, value)
		}
		e.Date = day
	}
	return e, nil
}

func (f format) lengths() string {
	if f.predefined() {
		return fmt.Sprint(f.most)
	}
	return fmt.Sprintf("%d to %d", f.least, f.most)
}

// in82 is the character set 82 (figure 7.11-1).
func in82(c byte) bool {
	return alphanumeric(c) || strings.IndexByte(`!"%&'()*+,-./:;<=>?_`, c) >= 0
}

// dayOf reads YYMMDD. Day 00 is the last of the month. The century is the one
// that brings the year into the 49 years before now or the 50 after it (7.12):
// a year 51 or more ahead of the current one belongs to the century before, and
// one 50 or more behind it to the century after.
func dayOf(yymmdd string, now time.Time) (time.Time, bool) {
	two := func(at int) int { return int(yymmdd[at]-'0')*10 + int(yymmdd[at+1]-'0') }
	year, month, day := two(0), two(2), two(4)
	year += now.Year() - now.Year()%100
	switch ahead := year - now.Year(); {
	case ahead >= 51:
		year -= 100
	case ahead <= -50:
		year += 100
	}
	if month < 1 || month > 12 {
		return time.Time{}, false
	}
	last := time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC)
	if day == 0 {
		return last, true
	}
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC), day <= last.Day()
}
