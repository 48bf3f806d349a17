// Package picksheet writes a pick list as a PDF on A4 paper, for warehouses
// that pick with paper or whose scanners are being charged.
//
// The same list makes the same bytes: nothing is read from the clock.
package picksheet

import (
	"fmt"
	"io"
	"time"

	"justlogistics/internal/label"
	"justlogistics/internal/paper"
)

// List is a pick list. Texts may be in any language: characters that the fonts
// of PDF itself don't have (they have those of Western Europe) become question marks.
type List struct {
	Number    string // required, ASCII and at most 25 characters: it is the barcode
	Warehouse string
	Kind      string // how the list was made up, in the reader's words
	// WalkMM and SShapeMM are how far one walks by this order and by going through
	// every aisle in turn, in millimetres. What isn't known is zero and not printed.
	WalkMM, SShapeMM int
	PrintedAt        time.Time      // required
	Zone             *time.Location // of the warehouse; required
	Language         label.Language // empty is Spanish
	Lines            []Line         // in walking order
}

// Line is one stop of the walk.
type Line struct {
	Bin      string
	SKU      string
	Name     string
	Lot      string
	Expiry   time.Time // a day in UTC; zero when the goods have none
	Quantity int       // units
	Order    string    // the order's number
	Box      string    // or tote into which the units go; empty when there is one order
}

// The page, in millimetres.
const (
	margin     = 10.0
	tableWidth = 210.0 - 2*margin
	firstTable = 50.0 // where the table of the first page begins
	nextTable  = 20.0 // and that of the others
	footer     = 297.0 - 8
	headHeight = 7.0
	rowHeight  = 9.0
)

// Write writes the PDF. An error of the list is found before the first byte.
func Write(w io.Writer, list List) error {
	if list.Language == "" {
		list.Language = label.Spanish
	}
	say, ok := captionsOf[list.Language]
	switch {
	case !ok:
		return fmt.Errorf("pick list %s: it is written in es or en, not %q", list.Number, list.Language)
	case list.Zone == nil:
		return fmt.Errorf("pick list %s: it needs the warehouse's time zone", list.Number)
	case list.PrintedAt.IsZero(): // the library would take the clock's
		return fmt.Errorf("pick list %s: it needs the moment of printing", list.Number)
	}
	if list.Number == "" || len(list.Number) > longestNumber {
		return fmt.Errorf("pick list: number %q: it must have 1 to %d characters", list.Number, longestNumber)
	}
	bars, err := paper.Code128(list.Number)
	if err != nil {
		return fmt.Errorf("pick list: number %w", err)
	}
	s := newSheet(list, say)
	table := s.table()
	pages := paper.Share(list.Lines, table.Fit(firstTable, footer-4), table.Fit(nextTable, footer-4))
	for i, lines := range pages {
		s.doc.Page()
		top := nextTable
		if i == 0 {
			s.heading(bars)
			top = firstTable
		} else {
			s.running()
		}
		table.Head(s.doc, top, tableWidth)
		for j, line := range lines.Rows {
			s.row(table, top+headHeight+rowHeight*float64(j), lines.First+j, line)
		}
		if len(list.Lines) == 0 {
			s.doc.Write(paper.Cell{X: margin, Y: top + headHeight + 5, Width: tableWidth, Size: 11, Align: paper.Centre}, say.nothing)
		}
		s.foot(i+1, len(pages))
	}
	if err := s.doc.Output(w); err != nil {
		return fmt.Errorf("pick list %s: %w", list.Number, err)
	}
	return nil
}

// longestNumber is what fits into bars that a hand scanner reads from a
// clipboard.
const longestNumber = 25

// sheet is a document that is being written.
type sheet struct {
	doc  *paper.Document
	list List
	say  captions
}

func newSheet(list List, say captions) *sheet {
	doc := paper.New(paper.A4, paper.About{Title: say.title + " " + list.Number, Language: string(list.Language), At: list.PrintedAt})
	return &sheet{doc: doc, list: list, say: say}
}

// heading is the upper part of the first page.
func (s *sheet) heading(bars paper.Code) {
	const textWidth, codeWidth = 116.0, 72.0
	codeAt := 210.0 - margin - codeWidth
	s.doc.Write(paper.Cell{X: margin, Y: 9, Width: textWidth, Size: 10}, s.say.title)
	s.doc.Write(paper.Cell{X: margin, Y: 14, Width: textWidth, Size: 22, Bold: true}, s.list.Number)
	s.doc.Write(paper.Cell{X: margin, Y: 24, Width: textWidth, Size: 11, Bold: true}, s.list.Warehouse)
	s.doc.Write(paper.Cell{X: margin, Y: 30, Width: textWidth, Size: 10}, s.list.Kind)
	s.doc.Write(paper.Cell{X: margin, Y: 36, Width: tableWidth, Size: 10}, s.summary())
	s.doc.Write(paper.Cell{X: margin, Y: 41.5, Width: tableWidth, Size: 10}, s.printed())
	s.doc.Bars(paper.Area{X: codeAt, Y: 10, Width: codeWidth, Height: 17}, bars)
	s.doc.Write(paper.Cell{X: codeAt, Y: 27.5, Width: codeWidth, Size: 9, Align: paper.Centre}, s.list.Number)
}

// running is the line on top of the other pages.
func (s *sheet) running() {
	s.doc.Write(paper.Cell{X: margin, Y: 11, Width: 95, Size: 11, Bold: true}, s.say.title+" "+s.list.Number)
	s.doc.Write(paper.Cell{X: margin + 95, Y: 11, Width: tableWidth - 95, Size: 10, Align: paper.Right}, s.list.Warehouse)
}

func (s *sheet) foot(page, of int) {
	s.doc.Write(paper.Cell{X: margin, Y: footer, Width: 95, Size: 8}, s.printed())
	s.doc.Write(paper.Cell{X: margin + 95, Y: footer, Width: tableWidth - 95, Size: 9, Align: paper.Right}, fmt.Sprintf(s.say.page, page, of))
}

// summary says how much there is to pick and to walk.
func (s *sheet) summary() string {
	units := 0
	for _, line := range s.list.Lines {
		units += line.Quantity
	}
	text := fmt.Sprintf(s.say.amount, len(s.list.Lines), units)
	if s.list.WalkMM > 0 {
		text += "   |   " + fmt.Sprintf(s.say.walk, metres(s.list.WalkMM))
	}
	if s.list.WalkMM > 0 && s.list.SShapeMM > 0 {
		text += "   |   " + fmt.Sprintf(s.say.saved, metres(s.list.SShapeMM-s.list.WalkMM))
	}
	return text
}

func (s *sheet) printed() string {
	return s.say.printed + " " + s.list.PrintedAt.In(s.list.Zone).Format("02-01-2006 15:04 MST")
}

// metres rounds millimetres to whole metres.
func metres(mm int) int {
	if mm < 0 {
		return -metres(-mm)
	}
	return (mm + 500) / 1000
}
