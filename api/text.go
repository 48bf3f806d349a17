package api

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"justlogistics/internal/problem"
)

// keepable reports whether PostgreSQL takes a text: UTF-8, without NUL.
func keepable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// refuseAddress ends a request whose address has text that no row can hold,
// before it fails as a question to the database.
func refuseAddress(c *gin.Context) error {
	for _, p := range c.Params {
		if !keepable(p.Value) {
			return problem.New(problem.NotFound, "not_found", "There is nothing at this address.")
		}
	}
	var names []string
	for name, values := range c.Request.URL.Query() {
		if !keepable(name) {
			names = append(names, "(query)")
		} else if slices.ContainsFunc(values, func(v string) bool { return !keepable(v) }) {
			names = append(names, clip(name))
		}
	}
	slices.Sort(names)
	return refuseText(names)
}

// refuseBody ends a request with NUL in a text of its body. That can only stand
// there escaped, and decoding turns what is not UTF-8 into replacement
// characters.
func refuseBody(body []byte) error {
	if !bytes.Contains(body, []byte(`\u0000`)) {
		return nil
	}
	w := walk{wanted: func(_, text string) bool { return strings.ContainsRune(text, 0) }}
	if err := w.through(body); err != nil {
		return nil // not JSON, which decoding tells better
	}
	return refuseText(w.found)
}

func refuseText(fields []string) error {
	var f problem.Fields
	for _, field := range fields[:min(len(fields), mostNamed)] {
		f.Add(field, "invalid_text", "want UTF-8 without the character NUL")
	}
	return f.Err()
}
