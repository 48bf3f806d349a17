package gs1

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// startsWithKey reports whether a text without symbology identifier is to be
// read as a chain: it begins with AI 00, 01 or 02, and the check digit is right.
func startsWithKey(chain string) bool {
	f, err := formatAt(chain)
	if err != nil || f.kind != key || len(chain) < len(f.ai)+f.most {
		return false
	}
	value := chain[len(f.ai):][:f.most]
	return digits(value) && checkDigitRight(value)
}

// readChain reads element strings as a scanner sends them. FNC1 in the first
// place, after a predefined length and at the end says nothing, and scanners
// differ in whether they send it.
func readChain(chain string, now time.Time) ([]Element, error) {
	var elements []Element
	chain = strings.TrimPrefix(chain, separator)
	for chain != "" {
		f, err := formatAt(chain)
		if err != nil {
			return nil, err
		}
		value := chain[len(f.ai):]
		if f.predefined() {
			value = value[:min(f.most, len(value))]
		}
		value, _, _ = strings.Cut(value, separator)
		if elements, err = add(elements, f, value, now); err != nil {
			return nil, err
		}
		chain = strings.TrimPrefix(chain[len(f.ai)+len(value):], separator)
	}
	if elements == nil {
		return nil, errors.New("it is empty")
	}
	return elements, nil
}

// bracketed is an AI of the human-readable form.
var bracketed = regexp.MustCompile(`\([0-9]{2,4}\)`)

func startsBracketed(text string) bool {
	at := bracketed.FindStringIndex(text)
	return at != nil && at[0] == 0
}

// readBracketed reads the human-readable form. Brackets are allowed in values
// too: a value that has digits in brackets can't be told from the next AI, and
// is an error unless it happens to be one.
func readBracketed(line string, now time.Time) ([]Element, error) {
	var elements []Element
	places := bracketed.FindAllStringIndex(line, -1)
	for i, at := range places {
		end := len(line)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		ai := line[at[0]+1 : at[1]-1]
		f, err := formatAt(ai)
		if err == nil && f.ai != ai {
			err = fmt.Errorf("AI %s is not known here", ai)
		}
		if err != nil {
			return nil, err
		}
		if elements, err = add(elements, f, strings.TrimSpace(line[at[1]:end]), now); err != nil {
			return nil, err
		}
	}
	return elements, nil
}

// add checks a value and puts it behind the others. An AI may come twice only
// with the same value.
func add(elements []Element, f format, value string, now time.Time) ([]Element, error) {
	element, err := f.element(value, now)
	if err != nil {
		return nil, err
	}
	for _, e := range elements {
		if e.AI == f.ai && e.Value != value {
			return nil, fmt.Errorf("AI %s has two values, %q and %q", f.ai, e.Value, value)
		}
	}
	return append(elements, element), nil
}

// On is a date's element, for Encode.
func On(ai string, day time.Time) Element {
	return Element{AI: ai, Value: day.Format("060102"), Date: day}
}

// Encode writes the payload of a GS1 symbol: the elements in their order, with
// ASCII 29 where an FNC1 must end a value. The FNC1 of the first place, which
// makes it a GS1 symbol, is the printer's business. Elements of predefined
// length make a shorter symbol when they come first.
//
// now is the day of printing: a date so far from it that readers would take it
// for one of another century is an error, as are values that Parse would refuse.
func Encode(elements []Element, now time.Time) (string, error) {
	if len(elements) == 0 {
		return "", errors.New("write GS1 code: no element")
	}
	var payload strings.Builder
	var known []Element
	for i, e := range elements {
		f, err := formatAt(e.AI)
		if err == nil && f.ai != e.AI {
			err = fmt.Errorf("AI %q is not known here", e.AI)
		}
		if err == nil {
			known, err = add(known, f, e.Value, now)
		}
		if err != nil {
			return "", fmt.Errorf("write GS1 code: %w", err)
		}
		if read := known[i].Date; !e.Date.IsZero() && read.Format(time.DateOnly) != e.Date.Format(time.DateOnly) {
			return "", fmt.Errorf("write GS1 code: AI %s: %s would be read as %s", e.AI, e.Date.Format(time.DateOnly), read.Format(time.DateOnly))
		}
		payload.WriteString(e.AI + e.Value)
		if !f.predefined() && i < len(elements)-1 {
			payload.WriteString(separator)
		}
	}
	return payload.String(), nil
}

// HumanReadable is the line below a GS1 symbol (4.14): AIs in brackets.
func HumanReadable(elements []Element) string {
	var line strings.Builder
	for _, e := range elements {
		line.WriteString("(" + e.AI + ")" + e.Value)
	}
	return line.String()
}
