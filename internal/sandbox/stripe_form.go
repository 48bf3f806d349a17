package sandbox

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// formNode is a parameter: a text, or a hash of further ones. Arrays are hashes
// whose keys are numbers, as docs.stripe.com's form encoding writes them
// (line_items[0][quantity]=1, expand[]=payment_intent).
type formNode struct {
	name   string // as sent: line_items[0][quantity]
	text   string
	leaf   bool
	fields map[string]*formNode
}

const formDepth = 8

// parseForm reads a form or a query into nested parameters.
func parseForm(encoded string) (*formNode, *stripeError) {
	root := &formNode{fields: map[string]*formNode{}}
	for part := range strings.SplitSeq(encoded, "&") {
		if part == "" {
			continue
		}
		rawName, rawText, _ := strings.Cut(part, "=")
		name, err1 := url.QueryUnescape(rawName)
		text, err2 := url.QueryUnescape(rawText)
		if err1 != nil || err2 != nil {
			return nil, &stripeError{message: "Invalid URL encoding in the parameters."}
		}
		path, ok := splitName(name)
		if !ok {
			return nil, &stripeError{message: "Invalid parameter name: " + name, param: name}
		}
		if refused := root.put(path, name, text); refused != nil {
			return nil, refused
		}
	}
	return root, nil
}

// splitName takes a[b][0] apart.
func splitName(name string) ([]string, bool) {
	first, rest, nested := strings.Cut(name, "[")
	if first == "" || strings.Contains(first, "]") {
		return nil, false
	}
	path := []string{first}
	for nested {
		key, after, closed := strings.Cut(rest, "]")
		if !closed || strings.Contains(key, "[") || len(path) >= formDepth {
			return nil, false
		}
		path = append(path, key)
		if after == "" {
			return path, true
		}
		if after[0] != '[' {
			return nil, false
		}
		rest = after[1:]
	}
	return path, true
}

func (n *formNode) put(path []string, name, text string) *stripeError {
	at, prefix := n, ""
	for i, key := range path {
		if at.leaf {
			return &stripeError{message: "Invalid hash", param: at.name}
		}
		if key == "" { // an array's next element
			key = strconv.Itoa(len(at.fields))
		}
		if i == 0 {
			prefix = key
		} else {
			prefix += "[" + key + "]"
		}
		next, there := at.fields[key]
		if !there {
			next = &formNode{name: prefix, fields: map[string]*formNode{}}
			at.fields[key] = next
		}
		at = next
	}
	if len(at.fields) > 0 {
		return &stripeError{message: "Invalid string: " + name, param: at.name}
	}
	at.leaf, at.text = true, text
	return nil
}

// canonical is the same for forms with the same parameters in another order.
func (n *formNode) canonical() string {
	if n.leaf {
		return strconv.Quote(n.text)
	}
	var out strings.Builder
	for _, key := range sortedKeys(n.fields) {
		fmt.Fprintf(&out, "%q{%s}", key, n.fields[key].canonical())
	}
	return out.String()
}

// elements are the entries of an array, in the order of their numbers.
func (n *formNode) elements() []*formNode {
	if n == nil {
		return nil
	}
	keys := sortedKeys(n.fields)
	slices.SortStableFunc(keys, func(a, b string) int {
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		if errX != nil || errY != nil {
			return strings.Compare(a, b)
		}
		return x - y
	})
	out := make([]*formNode, len(keys))
	for i, key := range keys {
		out[i] = n.fields[key]
	}
	return out
}

// at finds a parameter below n; nil when it was not sent.
func (n *formNode) at(path ...string) *formNode {
	for _, key := range path {
		if n == nil {
			return nil
		}
		n = n.fields[key]
	}
	return n
}

// text is a parameter's text, empty when it was not sent.
func (n *formNode) str(path ...string) string {
	if found := n.at(path...); found != nil {
		return found.text
	}
	return ""
}

// shape says which parameters an endpoint knows. A nil shape is a text.
type shape struct {
	fields map[string]*shape
	// array: any number for a key, each of this shape.
	array *shape
	// free: any key with a text (metadata).
	free bool
	// real: known to Stripe, not to the sandbox.
	real bool
}

func hash(fields map[string]*shape) *shape { return &shape{fields: fields} }
func list(of *shape) *shape                { return &shape{array: of} }

var (
	freeText = &shape{free: true}
	texts    = &shape{array: nil, fields: nil}
	notHere  = &shape{real: true}
)

// with adds names that Stripe knows and the sandbox refuses to ignore.
func (s *shape) with(names ...string) *shape {
	for _, name := range names {
		if _, known := s.fields[name]; !known {
			s.fields[name] = notHere
		}
	}
	return s
}

// check refuses what the endpoint does not know: a misspelled name is an
// error, never ignored (docs.stripe.com/error-codes, parameter_unknown).
func (n *formNode) check(s *shape) *stripeError {
	switch {
	case s == nil: // a text
		if !n.leaf {
			return &stripeError{message: "Invalid string: " + n.name, param: n.name}
		}
		return nil
	case s.real:
		return &stripeError{code: "sandbox_unsupported", param: n.name,
			message: "The sandbox does not know what " + n.name + " does. Stripe may."}
	case s.free:
		return n.checkMetadata()
	case n.leaf:
		if n.text == "" {
			return &stripeError{code: "parameter_invalid_empty", param: n.name,
				message: "You passed an empty string for '" + n.name + "'. We assume empty values are an attempt to unset a parameter; however '" + n.name + "' cannot be unset."}
		}
		if s == texts || s.array != nil {
			return &stripeError{message: "Invalid array", param: n.name}
		}
		return &stripeError{message: "Invalid object", param: n.name}
	case s == texts || s.array != nil:
		for _, key := range sortedKeys(n.fields) {
			if _, err := strconv.ParseUint(key, 10, 16); err != nil {
				return &stripeError{message: "Invalid array", param: n.name}
			}
			if refused := n.fields[key].check(s.array); refused != nil {
				return refused
			}
		}
		return nil
	}
	for _, key := range sortedKeys(n.fields) {
		below, known := s.fields[key]
		if !known {
			child := n.fields[key]
			return &stripeError{code: "parameter_unknown", message: "Received unknown parameter: " + child.name, param: child.name}
		}
		if refused := n.fields[key].check(below); refused != nil {
			return refused
		}
	}
	return nil
}

// checkMetadata holds docs.stripe.com/api/metadata: 50 keys of 40 characters
// with 500 each.
func (n *formNode) checkMetadata() *stripeError {
	if n.leaf {
		return &stripeError{message: "Invalid object", param: n.name}
	}
	if len(n.fields) > 50 {
		return &stripeError{message: "Metadata can have at most 50 keys.", param: n.name}
	}
	for _, key := range sortedKeys(n.fields) {
		child := n.fields[key]
		switch {
		case !child.leaf:
			return &stripeError{message: "Metadata values must be strings, but for key '" + key + "' you passed in a value of type hash", param: child.name}
		case len([]rune(key)) > 40:
			return &stripeError{message: "Metadata keys must be under 40 characters long.", param: n.name}
		case len([]rune(child.text)) > 500:
			return &stripeError{message: "Metadata values can have up to 500 characters, but you passed in a value that is " +
				strconv.Itoa(len([]rune(child.text))) + " characters.", param: child.name}
		}
	}
	return nil
}

func (n *formNode) metadata() map[string]string {
	out := map[string]string{}
	if n == nil {
		return out
	}
	for key, child := range n.fields {
		if child.text != "" {
			out[key] = child.text
		}
	}
	return out
}

// required is a text that must be there and not be empty.
func (n *formNode) required(path ...string) (string, *stripeError) {
	name := path[0]
	if n != nil && n.name != "" {
		name = n.name + "[" + path[0] + "]"
	}
	for _, key := range path[1:] {
		name += "[" + key + "]"
	}
	found := n.at(path...)
	if found == nil {
		return "", &stripeError{code: "parameter_missing", message: "Missing required param: " + name + ".", param: name}
	}
	if found.leaf && found.text == "" {
		return "", &stripeError{code: "parameter_invalid_empty", param: name,
			message: "You passed an empty string for '" + name + "'. We assume empty values are an attempt to unset a parameter; however '" + name + "' cannot be unset. You should remove '" + name + "' from your request or supply a non-empty value."}
	}
	return found.text, nil
}

// integer reads a whole number; ok is false when it was not sent.
func (n *formNode) integer(path ...string) (value int64, ok bool, refused *stripeError) {
	found := n.at(path...)
	if found == nil {
		return 0, false, nil
	}
	value, err := strconv.ParseInt(found.text, 10, 64)
	if err != nil {
		return 0, false, &stripeError{code: "parameter_invalid_integer", message: "Invalid integer: " + found.text, param: found.name}
	}
	return value, true, nil
}

// oneOf refuses a text that is not among the values; "" when it was not sent.
func (n *formNode) oneOf(values []string, path ...string) (string, *stripeError) {
	found := n.at(path...)
	if found == nil {
		return "", nil
	}
	if slices.Contains(values, found.text) {
		return found.text, nil
	}
	return "", &stripeError{param: found.name,
		message: "Invalid " + found.name + ": must be one of " + strings.Join(values, ", ")}
}

// stripeError is an error of the API (docs.stripe.com/api/errors). Status 0 is
// 400, an empty kind invalid_request_error.
type stripeError struct {
	status  int
	kind    string
	code    string
	message string
	param   string
	// executed: the request began to be executed, so its idempotency key keeps
	// this answer.
	executed bool
}

func (e *stripeError) reply() reply {
	status, kind := e.status, e.kind
	if status == 0 {
		status = http.StatusBadRequest
	}
	if kind == "" {
		kind = "invalid_request_error"
	}
	body := map[string]any{"type": kind, "message": e.message}
	if e.code != "" {
		body["code"] = e.code
		body["doc_url"] = "https://stripe.com/docs/error-codes/" + strings.ReplaceAll(e.code, "_", "-")
	}
	if e.param != "" {
		body["param"] = e.param
	}
	return stripeJSON(status, map[string]any{"error": body})
}
