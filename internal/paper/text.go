package paper

import (
	"strings"
	"unicode"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// Align is where a text stands in its cell.
type Align int

// Alignments.
const (
	Left Align = iota
	Centre
	Right
)

// Cell is room for text: from its upper left corner, with the letters' size in
// points.
type Cell struct {
	X, Y, Width float64
	Size        float64
	Bold        bool
	Align       Align
	// White letters are for black ground.
	White bool
}

// pointMM is a typographic point in millimetres, and leading how far lines are
// apart in letter sizes.
const (
	pointMM = 25.4 / 72
	leading = 1.15
)

// smallest is the size of letters, in points, that Write goes down to.
const smallest = 7

// ellipsis ends a text of which something is missing, in Windows-1252.
const ellipsis = "\x85"

// Write writes one line, in smaller letters when it is too long. What is too long
// for letters of 7 points is cut, and the cut shows.
func (d *Document) Write(c Cell, text string) {
	line := encoded(text)
	for d.font(c); c.Size > smallest && d.pdf.GetStringWidth(line) > c.Width; d.font(c) {
		c.Size--
	}
	d.line(c, d.cut(line, c.Width))
}

// Fill writes a text into a row of a table: in large letters when they fit, else in
// smaller ones over up to four lines. Only what is too long for that is cut: a bin or
// a SKU of which a part is missing sends people to another. height is the row's;
// the cell's size is not looked at.
func (d *Document) Fill(c Cell, height float64, text string) {
	var lines []string
	most := 0
	for _, size := range []float64{9.5, 8, 6.5, 5.5} { // for 1, 2, 3 and 4 lines in a row's height
		c.Size = size
		d.font(c)
		most++
		if lines = d.wrapped(encoded(text), c.Width); len(lines) <= most {
			break
		}
	}
	if len(lines) > most {
		lines = append(lines[:most-1], d.cut(strings.Join(lines[most-1:], ""), c.Width))
	}
	step := c.Size * pointMM * leading
	c.Y += (height - step*float64(len(lines))) / 2
	for _, line := range lines {
		d.line(c, strings.TrimRight(line, " "))
		c.Y += step
	}
}

// Block writes a text over as many lines as there is room for, in the largest letters
// that do, from the cell's size down to 5.5 points. Only what is too long for those
// is cut.
func (d *Document) Block(c Cell, height float64, text string) {
	var lines []string
	room := 0
	for ; c.Size >= 5.5; c.Size -= 0.5 {
		d.font(c)
		room = max(1, int(height/(c.Size*pointMM*leading)))
		if lines = d.wrapped(encoded(text), c.Width); len(lines) <= room {
			break
		}
	}
	if len(lines) > room {
		lines = append(lines[:room-1], d.cut(strings.Join(lines[room-1:], ""), c.Width))
	}
	for _, line := range lines {
		d.line(c, strings.TrimRight(line, " "))
		c.Y += c.Size * pointMM * leading
	}
}

func (d *Document) font(c Cell) {
	style := ""
	if c.Bold {
		style = "B"
	}
	d.pdf.SetFont("Helvetica", style, c.Size)
}

// line writes what fits already, in the font that is set.
func (d *Document) line(c Cell, text string) {
	if text == "" {
		return
	}
	x, spare := c.X, c.Width-d.pdf.GetStringWidth(text)
	switch c.Align {
	case Centre:
		x += spare / 2
	case Right:
		x += spare
	}
	if c.White {
		d.pdf.SetTextColor(255, 255, 255)
		defer d.pdf.SetTextColor(0, 0, 0)
	}
	d.pdf.Text(x, c.Y+c.Size*pointMM*0.95, text)
}

// cut ends a line where the width does.
func (d *Document) cut(line string, width float64) string {
	if d.pdf.GetStringWidth(line) <= width {
		return line
	}
	for line != "" && d.pdf.GetStringWidth(line+ellipsis) > width {
		line = line[:len(line)-1]
	}
	return strings.TrimRight(line, " ") + ellipsis
}

// wrapped breaks a text into lines: behind a space or a mark that parts of a
// code are joined with, and anywhere when there is none.
func (d *Document) wrapped(text string, width float64) []string {
	var lines []string
	for text != "" {
		end := len(text)
		for end > 1 && d.pdf.GetStringWidth(strings.TrimRight(text[:end], " ")) > width {
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
