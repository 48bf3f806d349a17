package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sort"
	"strings"

	"justlogistics/internal/problem"
)

// decode reads a JSON body into v, a pointer to a struct. What is not JSON, has
// an unknown field or a wrong type anywhere is refused with all such fields
// named by their paths; whether values are acceptable is for others to say.
func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		if errors.Is(err, io.EOF) {
			return problem.New(problem.Malformed, "not_json", "The body is empty; this request needs one.")
		}
		return problem.New(problem.Malformed, "not_json", "The body is not valid JSON: "+err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return problem.New(problem.Malformed, "not_json", "Something follows the end of the JSON value.")
	}
	var f problem.Fields
	shape(&f, "", tree, reflect.TypeOf(v).Elem())
	if len(f) > 0 {
		return &problem.Error{Kind: problem.Malformed, Code: f[0].Code, Detail: f[0].Field + ": " + f[0].Message, Fields: f}
	}
	if err := json.Unmarshal(body, v); err != nil {
		return problem.New(problem.Malformed, "wrong_type", "The body does not have the documented shape: "+err.Error())
	}
	return nil
}

// shape compares a JSON value with the Go type that is to hold it.
func shape(f *problem.Fields, path string, value any, t reflect.Type) {
	wrong := func(want string) {
		at := path
		if at == "" {
			at = "(body)"
		}
		f.Add(at, "wrong_type", "want %s", want)
	}
	if t.Kind() == reflect.Pointer {
		if value == nil {
			return
		}
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		object, ok := value.(map[string]any)
		if !ok {
			wrong("an object")
			return
		}
		fields := jsonFields(t)
		for _, name := range sortedNames(object) {
			at := name
			if path != "" {
				at = path + "." + name
			}
			field, known := fields[name]
			if !known {
				f.Add(clip(at), "unknown_field", "there is no such field")
				continue
			}
			shape(f, at, object[name], field)
		}
	case reflect.Map:
		object, ok := value.(map[string]any)
		switch {
		case value == nil:
		case !ok:
			wrong("an object")
		default:
			for _, name := range sortedNames(object) {
				shape(f, clip(path+"."+name), object[name], t.Elem())
			}
		}
	case reflect.Slice:
		list, ok := value.([]any)
		switch {
		case value == nil:
		case !ok:
			wrong("an array")
		default:
			for i, item := range list {
				shape(f, fmt.Sprintf("%s[%d]", path, i), item, t.Elem())
			}
		}
	case reflect.String:
		if _, ok := value.(string); !ok {
			wrong("a string")
		}
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			wrong("true or false")
		}
	case reflect.Int, reflect.Int64:
		n, ok := value.(json.Number)
		if !ok {
			wrong("a whole number")
			return
		}
		if _, err := n.Int64(); err != nil {
			wrong("a whole number of at most 64 bits")
		}
	}
}

func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			out[name] = t.Field(i).Type
		}
	}
	return out
}

func sortedNames(object map[string]any) []string {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// clip keeps a name that a caller chose from filling the answer.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
