package wire

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"justlogistics/internal/shipping"
)

// Text is what a carrier writes as a number in one place and as a string in the
// next. Nothing in it makes the rest of an answer unreadable; it is empty when
// absent.
type Text string

// UnmarshalJSON takes any scalar.
func (t *Text) UnmarshalJSON(raw []byte) error {
	s := string(raw)
	if strings.HasPrefix(s, `"`) {
		if unquoted, err := strconv.Unquote(s); err == nil {
			s = unquoted
		} else {
			s = strings.Trim(s, `"`)
		}
	}
	if s == "null" || strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[") {
		s = ""
	}
	*t = Text(strings.TrimSpace(s))
	return nil
}

// decimal bounds the exponent, so that no number takes more than a few digits.
var decimal = regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,15})?([eE]\+?[0-9]{1,2})?$`)

// Whole reads a whole number, in scientific notation too; false for anything else.
func (t Text) Whole() (int64, bool) {
	if !decimal.MatchString(string(t)) {
		return 0, false
	}
	n, ok := new(big.Rat).SetString(string(t))
	if !ok || !n.IsInt() || !n.Num().IsInt64() {
		return 0, false
	}
	return n.Num().Int64(), true
}

// Pesos reads a price; a fraction of a peso is rounded up, so that nobody pays less
// than the carrier asks. False for what is no price, and for zero, which carriers
// send by mistake.
func (t Text) Pesos() (int64, bool) {
	if !decimal.MatchString(string(t)) {
		return 0, false
	}
	n, ok := new(big.Rat).SetString(string(t))
	if !ok {
		return 0, false
	}
	up := new(big.Int).Add(n.Num(), new(big.Int).Sub(n.Denom(), big.NewInt(1)))
	if up.Quo(up, n.Denom()); !up.IsInt64() || up.Int64() <= 0 {
		return 0, false
	}
	return up.Int64(), true
}

// Digits is a number that names something, without an exponent; empty for zero and
// for anything else.
func (t Text) Digits() string {
	n, ok := t.Whole()
	if !ok || n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// Kilos writes grams in kilograms, exactly: 1.5.
func Kilos(grams int) string {
	text := strconv.Itoa(grams / 1000)
	if rest := grams % 1000; rest != 0 {
		text += "." + strings.TrimRight(strconv.Itoa(1000 + rest)[1:], "0")
	}
	return text
}

// Centimetres rounds up; what is not known counts as one, for carriers that demand a
// size.
func Centimetres(mm int) int { return max(1, (mm+9)/10) }

// Plain is a text in capitals without accents, with one space between its words: how
// carriers write states and comunas.
func Plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 0x300 && r < 0x370 {
			return -1 // what norm has taken off its letter
		}
		return r
	}, norm.NFKD.String(strings.ToUpper(s)))
	return strings.Join(strings.Fields(s), " ")
}

// First is the first n runes of a text: the carriers' fields have their limits.
func First(n int, s string) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n])
	}
	return s
}

// layouts in which the carriers write a moment, tried in this order; those without
// a zone are Chile's time.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04",
	"02-01-2006T15:04:05", "02-01-2006 15:04:05", "02-01-2006 15:04", "02/01/2006 15:04:05", "02/01/2006 15:04", "2006-01-02", "02-01-2006", "02/01/2006",
}

// Moment reads a carrier's date and time in UTC; zero when it cannot be read.
func Moment(s string) time.Time {
	s = strings.TrimSpace(s)
	for _, layout := range layouts {
		if at, err := time.ParseInLocation(layout, s, santiago()); err == nil && at.Year() > 2000 && at.Year() < 2200 {
			return at.UTC()
		}
	}
	return time.Time{}
}

// Day is the day of a carrier's date as midnight UTC; zero when it cannot be read.
func Day(s string) time.Time {
	at := Moment(s)
	if at.IsZero() {
		return at
	}
	at = at.In(santiago())
	return time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
}

// Ordered puts events in the order of time, the oldest first. Those of one moment,
// and those whose date cannot be read, keep the order that they have.
func Ordered(events []shipping.Event) []shipping.Event {
	// An insertion sort: a date that cannot be read compares with nobody.
	for i := 1; i < len(events); i++ {
		for j := i; j > 0 && !events[j].At.IsZero() && events[j].At.Before(events[j-1].At); j-- {
			events[j], events[j-1] = events[j-1], events[j]
		}
	}
	return events
}
