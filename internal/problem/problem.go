// Package problem is the one kind of error that is meant for a caller of the
// API or the command line: a code for programs, a sentence for people, and
// which fields of the request are at fault. Everything else that goes wrong is
// an ordinary error and is shown to nobody outside.
package problem

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind decides the HTTP status.
type Kind int

// The kinds, in the order of their statuses.
const (
	Malformed   Kind = 400 // not JSON, an unknown field or a wrong type
	Forbidden   Kind = 403
	NotFound    Kind = 404
	Conflict    Kind = 409 // the state forbids it
	Refused     Kind = 422 // well-formed, but not acceptable
	TooMany     Kind = 429
	Unavailable Kind = 503 // nothing has happened; the same request may succeed later
)

// Field is what is wrong with one field.
type Field struct {
	Field   string `json:"field"` // as in items[0].quantity
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error is a refusal that its caller may read.
type Error struct {
	Kind   Kind
	Code   string
	Detail string
	Fields []Field
	// More are further members of the answer, such as order_id or lines.
	More map[string]any
	// RetryAfter tells when the same request may succeed; zero says nothing.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code)
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s: %s", f.Field, f.Message)
	}
	return b.String()
}

// New returns a refusal.
func New(kind Kind, code, detail string) *Error {
	return &Error{Kind: kind, Code: code, Detail: detail}
}

// With adds a member to the answer.
func (e *Error) With(name string, value any) *Error {
	if e.More == nil {
		e.More = map[string]any{}
	}
	e.More[name] = value
	return e
}

// After adds when to try again.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Missing is the answer for an id that does not exist for this tenant.
func Missing(what string) *Error {
	return New(NotFound, "not_found", "There is no such "+what+".")
}

// As finds the refusal in an error.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Fields collects what is wrong with a request, so that its sender learns all
// of it at once.
type Fields []Field

// Add notes a fault.
func (f *Fields) Add(field, code, format string, args ...any) {
	*f = append(*f, Field{Field: field, Code: code, Message: fmt.Sprintf(format, args...)})
}

// Err is nil when there are no faults, else the refusal of the request. Its
// code is the fault's own when there is only one.
func (f Fields) Err() error {
	if len(f) == 0 {
		return nil
	}
	code, detail := "invalid_request", "Some fields of the request are not acceptable."
	if len(f) == 1 {
		code, detail = f[0].Code, f[0].Field+": "+f[0].Message
	}
	return &Error{Kind: Refused, Code: code, Detail: detail, Fields: f}
}
