package floor

import (
	"fmt"

	"justlogistics/internal/problem"
)

// mostFaults bounds a refusal: who has made more mistakes has made one of them
// many times.
const mostFaults = 100

// faults collects what is wrong, up to mostFaults.
type faults struct {
	fields problem.Fields
	more   bool
}

func (f *faults) add(field, code, format string, args ...any) {
	if f.full() {
		f.more = true
		return
	}
	f.fields.Add(field, code, format, args...)
}

func (f *faults) full() bool { return len(f.fields) >= mostFaults }

func (f *faults) err() error {
	if f.more {
		f.fields.Add("(more)", "too_many", "this list ends here, and there may be more")
		f.more = false
	}
	return f.fields.Err()
}

// within demands that a number lies between two others.
func (f *faults) within(field string, n, least, most int64) bool {
	if n >= least && n <= most {
		return true
	}
	f.add(field, "out_of_range", "%d to %d", least, most)
	return false
}

// empty demands that a field of the other kind of plan is left out.
func (f *faults) empty(field string, given bool, kind Kind) {
	if given {
		f.add(field, "not_of_this_kind", "a plan of kind %s has no such field", kind)
	}
}

func item(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
