package paper

// Column is one of a table's. Text is what it shows of a row, whose position in the
// whole table counts from 1.
type Column[R any] struct {
	Title string
	Width float64
	Align Align
	Bold  bool
	Text  func(position int, row R) string
}

// Table is drawn from X on, with rows of one height: so the number of pages is known
// before the first is written.
type Table[R any] struct {
	X          float64
	HeadHeight float64
	RowHeight  float64
	Columns    []Column[R]
}

// padding is free at both sides of a cell.
const padding = 1.25

// Width is that of all columns.
func (t Table[R]) Width() float64 {
	sum := 0.0
	for _, c := range t.Columns {
		sum += c.Width
	}
	return sum
}

// Head draws the row of titles.
func (t Table[R]) Head(d *Document, y, width float64) {
	d.Shade(Area{t.X, y, width, t.HeadHeight}, 60)
	x := t.X
	for _, c := range t.Columns {
		d.Write(Cell{X: x + padding, Y: y + 1.2, Width: c.Width - 2*padding, Size: 9, Bold: true, Align: c.Align, White: true}, c.Title)
		x += c.Width
	}
}

// Row draws a row. Every other one is grey, so that the eye stays in it. width is
// that of the ground, which may be wider than the columns.
func (t Table[R]) Row(d *Document, y, width float64, position int, row R) {
	if position%2 == 0 {
		d.Shade(Area{t.X, y, width, t.RowHeight}, 236)
	}
	x := t.X
	for _, c := range t.Columns {
		d.Fill(Cell{X: x + padding, Y: y, Width: c.Width - 2*padding, Bold: c.Bold, Align: c.Align}, t.RowHeight, c.Text(position, row))
		x += c.Width
	}
	d.Rule(t.X, y+t.RowHeight, width, 0.1)
}

// Fit is how many rows there is room for between two heights of a page.
func (t Table[R]) Fit(top, bottom float64) int {
	return int((bottom - top - t.HeadHeight) / t.RowHeight)
}

// Part is the rows of one page, and the position of the first, from 1.
type Part[R any] struct {
	Rows  []R
	First int
}

// Share shares rows among pages: so many on the first and on each of the others.
// Without rows there is one page.
func Share[R any](rows []R, first, other int) []Part[R] {
	parts := []Part[R]{{rows[:min(first, len(rows))], 1}}
	for at := first; at < len(rows); at += other {
		parts = append(parts, Part[R]{rows[at:min(at+other, len(rows))], at + 1})
	}
	return parts
}
