package floor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"justlogistics/internal/problem"
)

// ParsePlan reads a plan from JSON and checks it. Unknown fields are refused,
// and all faults of one kind are named at once: first those of the form, as a
// problem.Malformed, then those of the content, as Check has them.
func ParsePlan(body []byte) (*Plan, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, problem.New(problem.Malformed, "not_json", "The plan is not valid JSON: "+err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, problem.New(problem.Malformed, "not_json", "Something follows the end of the plan.")
	}
	var f faults
	compare(&f, "", tree, reflect.TypeFor[Plan]())
	if len(f.fields) > 0 {
		first := f.fields[0]
		return nil, &problem.Error{Kind: problem.Malformed, Code: first.Code, Detail: first.Field + ": " + first.Message, Fields: f.fields}
	}
	// What is read is what was compared: the body itself might name a field twice.
	compared, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("read a plan: %w", err)
	}
	p := new(Plan)
	if err := json.Unmarshal(compared, p); err != nil {
		return nil, problem.New(problem.Malformed, "wrong_type", "The plan does not have the documented shape: "+err.Error())
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return p, nil
}

// compare walks a JSON value beside the Go type that is to hold it, and notes
// every field that does not fit.
func compare(f *faults, path string, value any, t reflect.Type) {
	wrong := func(want string) {
		at := path
		if at == "" {
			at = "(plan)"
		}
		f.add(at, "wrong_type", "want %s", want)
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
		fields := fieldTypes(t)
		for _, name := range slices.Sorted(maps.Keys(object)) {
			at := strings.TrimPrefix(path+"."+clip(name), ".")
			if fields[name] == nil {
				f.add(at, "unknown_field", "there is no such field")
				continue
			}
			compare(f, at, object[name], fields[name])
		}
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok && value != nil {
			wrong("an array")
		}
		for i, v := range list {
			compare(f, item(path, i), v, t.Elem())
		}
	case reflect.String:
		if _, ok := value.(string); !ok {
			wrong("a string")
		}
	default:
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

func fieldTypes(t reflect.Type) map[string]reflect.Type {
	types := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		types[name] = t.Field(i).Type
	}
	return types
}
