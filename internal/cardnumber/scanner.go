package cardnumber

import "slices"

// mostLines is how many lines a Scanner names.
const mostLines = 20

// A field of a file is looked at as a whole up to mostField bytes; of a longer
// one, overlap bytes are looked at twice, more than a card number in groups has.
const (
	mostField = 4096
	overlap   = 128
)

// Scanner finds the numbers of cards in a text of lines and fields (CSV with any
// of the usual separators) while it is written to, without keeping it: In is asked
// about each field. Its zero value is ready, and Write never fails.
type Scanner struct {
	line  int // from 0
	field []byte
	found []int
}

// Write looks at what follows what was written before.
func (s *Scanner) Write(p []byte) (int, error) {
	for _, c := range p {
		switch c {
		case 0: // of a text with two bytes a letter
		case ',', ';', '\t', '|', '"', '\r', '\n':
			s.look()
			s.field = s.field[:0]
			if c == '\n' {
				s.line++
			}
		default:
			if s.field = append(s.field, c); len(s.field) == mostField {
				s.look()
				s.field = append(s.field[:0], s.field[mostField-overlap:]...)
			}
		}
	}
	return len(p), nil
}

// Lines are the lines that carry the number of a card, counted from 1: at most
// the first 20. The field that is not finished yet counts.
func (s *Scanner) Lines() []int {
	s.look()
	return slices.Clone(s.found)
}

func (s *Scanner) look() {
	if len(s.field) < shortest || len(s.found) == mostLines || slices.Contains(s.found, s.line+1) {
		return
	}
	if In(string(s.field)) {
		s.found = append(s.found, s.line+1)
	}
}
