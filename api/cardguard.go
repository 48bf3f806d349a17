package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"justlogistics/internal/cardnumber"
	"justlogistics/internal/id"
	"justlogistics/internal/problem"
)

// tradeNumbers are the fields and parameters in which an EAN or GTIN stands,
// scanned ones too, which may look like a card's number. accountNumbers have as many digits as a
// bank likes and are kept encrypted.
var (
	tradeNumbers   = []string{"sku", "barcodes", "code", "product", "lot", "serial", "serials"}
	accountNumbers = []string{"bank_account.number"}
)

// mostNamed is how many fields a refusal names.
const mostNamed = 20

// refuseCards ends a request that carries the number of a payment card in its
// address, in its idempotency key or in its body, before anything of it is
// logged, stored or handled. The answer names the fields and not their values.
func (s *Server) refuseCards(c *gin.Context, fields []string) error {
	if len(fields) == 0 {
		return nil
	}
	s.counts.cards.WithLabelValues(c.FullPath()).Inc()
	var f problem.Fields
	for _, field := range fields[:min(len(fields), mostNamed)] {
		f.Add(field, "card_number_refused", "this looks like the number of a payment card")
	}
	return &problem.Error{Kind: problem.Refused, Code: "card_number_refused",
		Detail: "Card numbers must not be sent here; nothing of this request was kept. Send the token that the gateway's own script makes of a card, or let its page ask for it.", Fields: f}
}

// cardsInAddress names what of a request's address carries a card number.
func cardsInAddress(c *gin.Context) (fields []string) {
	for _, p := range c.Params {
		if carriesCard(p.Key, p.Value) {
			fields = append(fields, p.Key)
		}
	}
	for name, values := range c.Request.URL.Query() {
		if cardnumber.In(name) {
			fields = append(fields, "(query)")
			continue
		}
		if slices.ContainsFunc(values, func(v string) bool { return carriesCard(name, v) }) {
			fields = append(fields, clip(name))
		}
	}
	if cardnumber.In(c.GetHeader("Idempotency-Key")) {
		fields = append(fields, "Idempotency-Key")
	}
	slices.Sort(fields)
	return fields
}

// cardsInBody names the fields of a JSON body that carry one, in their order. A
// body that is no JSON is looked at as one text.
func cardsInBody(body []byte) []string {
	w := walk{wanted: carriesCard, except: accountNumbers}
	if err := w.through(body); err != nil && cardnumber.In(string(body)) {
		return append(w.found, "(body)")
	}
	return w.found
}

// walk follows the tokens of a JSON text and finds values and names that are
// wanted. Unlike a decoded value it sees every member, also one that a later one
// of the same name hides.
type walk struct {
	wanted func(field, text string) bool // field is the nearest member's name, and empty for a name itself
	except []string                      // paths that are let pass
	at     []place
	found  []string
}

// through fails where the body ceases to be JSON.
func (w *walk) through(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		w.take(token)
	}
}

// place is an object or array that is open.
type place struct {
	array bool
	next  int    // of an array: the index of the next value
	name  string // of an object: the member whose value comes next
	value bool   // of an object: it does come next
}

func (w *walk) take(token json.Token) {
	switch token := token.(type) {
	case json.Delim:
		switch token {
		case '{', '[':
			w.at = append(w.at, place{array: token == '['})
		default:
			w.at = w.at[:len(w.at)-1]
			w.passed()
		}
		return
	case string:
		if in := w.in(); in != nil && !in.array && !in.value {
			in.name, in.value = token, true
			if w.wanted("", token) {
				in.name = "(name)"
				w.found = append(w.found, w.path())
			}
			return
		}
		w.check(token)
	case json.Number:
		w.check(plain(token))
	}
	w.passed()
}

func (w *walk) in() *place {
	if len(w.at) == 0 {
		return nil
	}
	return &w.at[len(w.at)-1]
}

// passed notes the end of a value.
func (w *walk) passed() {
	if in := w.in(); in != nil {
		in.value = false
		in.next++
	}
}

func (w *walk) check(value string) {
	field := "" // the nearest member's name
	for _, p := range w.at {
		if !p.array {
			field = p.name
		}
	}
	if len(w.found) < mostNamed && w.wanted(field, value) {
		if path := w.path(); !slices.Contains(w.except, path) {
			w.found = append(w.found, path)
		}
	}
}

// path is where the walk stands, as in items[0].sku.
func (w *walk) path() string {
	var b strings.Builder
	for _, p := range w.at {
		switch {
		case p.array:
			fmt.Fprintf(&b, "[%d]", p.next)
		case b.Len() > 0:
			b.WriteString("." + p.name)
		default:
			b.WriteString(p.name)
		}
		if b.Len() > 200 {
			break
		}
	}
	if b.Len() == 0 {
		return "(body)"
	}
	return clip(b.String())
}

// carriesCard reports whether a field's value has a card's number in it. Digits at the end of
// an id of ours are none, also where the id ends a workflow's: the ids of count tasks are
// hexadecimal there, and one in some hundred thousand looks like a card.
func carriesCard(field, value string) bool {
	if at := strings.LastIndexByte(value, ':') + 1; id.Valid(value[at:]) {
		value = value[:at]
	}
	return cardnumber.In(value) && !(slices.Contains(tradeNumbers, field) && cardnumber.GTIN(value))
}

// plain writes a whole number without exponent or fraction, so that
// 4.2e15 is seen for what it is.
func plain(n json.Number) string {
	text := n.String()
	if !strings.ContainsAny(text, ".eE") {
		return text
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1e19 {
		return text
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}
