package picksheet

import (
	"strconv"
	"strings"

	"justlogistics/internal/paper"
)

// table is the lines of the list, with a box to tick at the end of each.
func (s *sheet) table() paper.Table[Line] {
	return paper.Table[Line]{X: margin, HeadHeight: headHeight, RowHeight: rowHeight, Columns: []paper.Column[Line]{
		{Title: s.say.position, Width: 9, Align: paper.Right, Text: func(position int, _ Line) string { return strconv.Itoa(position) }},
		{Title: s.say.bin, Width: 27, Bold: true, Text: func(_ int, line Line) string { return line.Bin }},
		{Title: "SKU", Width: 28, Text: func(_ int, line Line) string { return line.SKU }},
		{Title: s.say.name, Width: 40, Text: func(_ int, line Line) string { return line.Name }},
		{Title: s.say.lot, Width: 19, Text: func(_ int, line Line) string { return line.Lot }},
		{Title: s.say.expires, Width: 20.5, Text: func(_ int, line Line) string { return expiry(line) }},
		{Title: s.say.quantity, Width: 12, Align: paper.Right, Bold: true, Text: func(_ int, line Line) string { return strconv.Itoa(line.Quantity) }},
		{Title: s.say.order, Width: 26.5, Text: func(_ int, line Line) string { return destination(line) }},
	}}
}

// tickWidth is what the columns leave of the table's width.
const tickWidth = 8.0

func expiry(line Line) string {
	if line.Expiry.IsZero() {
		return ""
	}
	return line.Expiry.Format("02-01-2006")
}

func destination(line Line) string {
	return strings.Trim(line.Order+" / "+line.Box, " /")
}

// row is a line of the list.
func (s *sheet) row(table paper.Table[Line], y float64, position int, line Line) {
	table.Row(s.doc, y, tableWidth, position, line)
	const tick = 5.0
	s.doc.Frame(paper.Area{X: margin + table.Width() + (tickWidth-tick)/2, Y: y + (rowHeight-tick)/2, Width: tick, Height: tick}, 0.3)
}
