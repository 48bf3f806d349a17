package picksheet

import (
	"strings"
	"unicode"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// align is where a text stands in its cell.
type align int

const (
	left align = iota
	centre
	right
)

// cell is room for text: from its upper left corner, in millimetres, with the
// letters' size in points.
type cell struct {
	x, y, width float64
	size        float64
	bold        bool
	align       align
}

// pointMM is a typographic point in millimetres, and leading how far lines are
// apart in letter sizes.
const (
	pointMM = 25.4 / 72
	leading = 1.15
)

// ellipsis ends a text of which something is missing, in Windows-1252.
const ellipsis = "\x85"

// write writes one line, in smaller letters when it is too long.
func (s *sheet) write(c cell, text string) {
	line := encoded(text)
	for s.font(c); c.size > 7 && s.pdf.GetStringWidth(line) > c.width; s.font(c) {
		c.size--
	}
	s.line(c, s.cut(line, c.width))
}

// fill writes a text into a row of the table: in large letters when they fit,
// else in smaller ones over up to four lines. Only what is too long for that
// is cut: a bin or a SKU of which a part is missing sends people to another.
func (s *sheet) fill(c cell, text string) {
	var lines []string
	most := 0
	for _, size := range []float64{9.5, 8, 6.5, 5.5} { // for 1, 2, 3 and 4 lines in a row's height
		c.size = size
		s.font(c)
		most++
		if lines = s.wrapped(encoded(text), c.width); len(lines) <= most {
			break
		}
	}
	if len(lines) > most {
		lines = append(lines[:most-1], s.cut(strings.Join(lines[most-1:], ""), c.width))
	}
	step := c.size * pointMM * leading
	c.y += (rowHeight - step*float64(len(lines))) / 2
	for _, line := range lines {
		s.line(c, strings.TrimRight(line, " "))
		c.y += step
	}
}

func (s *sheet) font(c cell) {
	style := ""
	if c.bold {
		style = "B"
	}
	s.pdf.SetFont("Helvetica", style, c.size)
}

// line writes what fits already, in the font that is set.
func (s *sheet) line(c cell, text string) {
	if text == "" {
		return
	}
	x, spare := c.x, c.width-s.pdf.GetStringWidth(text)
	switch c.align {
	case centre:
		x += spare / 2
	case right:
		x += spare
	}
	s.pdf.Text(x, c.y+c.size*pointMM*0.95, text)
}

// cut ends a line where the width does.
func (s *sheet) cut(line string, width float64) string {
	if s.pdf.GetStringWidth(line) <= width {
		return line
	}
	for line != "" && s.pdf.GetStringWidth(line+ellipsis) > width {
		line = line[:len(line)-1]
	}
	return strings.TrimRight(line, " ") + ellipsis
}

// wrapped breaks a text into lines: behind a space or a mark that parts of a
// code are joined with, and anywhere when there is none.
func (s *sheet) wrapped(text string, width float64) []string {
	var lines []string
	for text != "" {
		end := len(text)
		for end > 1 && s.pdf.GetStringWidth(strings.TrimRight(text[:end], " ")) > width {
			end--
		}
		if end < len(text) {
			if at := strings.LastIndexAny(text[:end], " -_./"); at > 0 {
				end = at + 1
			}
		}
		lines = append(lines, text[:end])
		text = strings.TrimLeft(text[end:], " ")
	}
	return lines
}

// encoded writes a text in Windows-1252, a byte a character, which is what the
// fonts of PDF itself have. Line ends and control characters become spaces.
func encoded(text string) string {
	var b strings.Builder
	for _, r := range norm.NFC.String(text) {
		c, ok := charmap.Windows1252.EncodeRune(r)
		switch {
		case unicode.IsControl(r) || unicode.IsSpace(r):
			b.WriteByte(' ')
		case !ok:
			b.WriteByte('?')
		default:
			b.WriteByte(c)
		}
	}
	return strings.TrimSpace(b.String())
}
