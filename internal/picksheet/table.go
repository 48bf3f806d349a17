package picksheet

import (
	"strconv"
	"strings"
)

// column is one of the table's, with its width in millimetres.
type column struct {
	title string
	width float64
	align align
	bold  bool
	text  func(position int, line Line) string
}

// columns add up to tableWidth with the tick box at the end.
func (s *sheet) columns() []column {
	return []column{
		{s.say.position, 9, right, false, func(position int, _ Line) string { return strconv.Itoa(position) }},
		{s.say.bin, 27, left, true, func(_ int, line Line) string { return line.Bin }},
		{"SKU", 28, left, false, func(_ int, line Line) string { return line.SKU }},
		{s.say.name, 40, left, false, func(_ int, line Line) string { return line.Name }},
		{s.say.lot, 19, left, false, func(_ int, line Line) string { return line.Lot }},
		{s.say.expires, 20.5, left, false, func(_ int, line Line) string { return expiry(line) }},
		{s.say.quantity, 12, right, true, func(_ int, line Line) string { return strconv.Itoa(line.Quantity) }},
		{s.say.order, 26.5, left, false, func(_ int, line Line) string { return destination(line) }},
	}
}

const (
	tickWidth = 8.0
	padding   = 1.25
)

func expiry(line Line) string {
	if line.Expiry.IsZero() {
		return ""
	}
	return line.Expiry.Format("02-01-2006")
}

func destination(line Line) string {
	return strings.Trim(line.Order+" / "+line.Box, " /")
}

// head is the table's first row.
func (s *sheet) head(y float64) {
	s.pdf.SetFillColor(60, 60, 60)
	s.pdf.Rect(margin, y, tableWidth, headHeight, "F")
	s.pdf.SetTextColor(255, 255, 255)
	x := margin
	for _, c := range s.columns() {
		s.write(cell{x: x + padding, y: y + 1.2, width: c.width - 2*padding, size: 9, bold: true, align: c.align}, c.title)
		x += c.width
	}
	s.pdf.SetTextColor(0, 0, 0)
}

// row is a line of the list. Every other one is grey, so that the eye stays in it.
func (s *sheet) row(y float64, position int, line Line) {
	if position%2 == 0 {
		s.pdf.SetFillColor(236, 236, 236)
		s.pdf.Rect(margin, y, tableWidth, rowHeight, "F")
	}
	x := margin
	for _, c := range s.columns() {
		s.fill(cell{x: x + padding, y: y, width: c.width - 2*padding, bold: c.bold, align: c.align}, c.text(position, line))
		x += c.width
	}
	const tick = 5.0
	s.pdf.SetLineWidth(0.3)
	s.pdf.SetFillColor(255, 255, 255)
	s.pdf.Rect(x+(tickWidth-tick)/2, y+(rowHeight-tick)/2, tick, tick, "FD")
	s.pdf.SetLineWidth(0.1)
	s.pdf.Line(margin, y+rowHeight, pageWidth-margin, y+rowHeight)
}
