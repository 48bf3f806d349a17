// Package picksheet writes a pick list as a PDF on A4 paper, for warehouses
// that pick with paper or whose scanners are being charged.
//
// The same list makes the same bytes: nothing is read from the clock.
package picksheet

import (
	"fmt"
	"io"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"justlogistics/internal/label"
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
	pageWidth, pageHeight = 210.0, 297.0
	margin                = 10.0
	tableWidth            = pageWidth - 2*margin
	firstTable            = 50.0 // where the table of the first page begins
	nextTable             = 20.0 // and that of the others
	footer                = pageHeight - 8
	headHeight            = 7.0
	rowHeight             = 9.0
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
	bars, err := barsOf(list.Number)
	if err != nil {
		return fmt.Errorf("pick list: %w", err)
	}
	s := newSheet(list, say)
	pages := pagesOf(list.Lines)
	for i, lines := range pages {
		s.pdf.AddPage()
		top := nextTable
		if i == 0 {
			s.heading(bars)
			top = firstTable
		} else {
			s.running()
		}
		s.head(top)
		for j, line := range lines.rows {
			s.row(top+headHeight+rowHeight*float64(j), lines.first+j, line)
		}
		if len(list.Lines) == 0 {
			s.write(cell{x: margin, y: top + headHeight + 5, width: tableWidth, size: 11, align: centre}, say.nothing)
		}
		s.foot(i+1, len(pages))
	}
	if err := s.pdf.Output(w); err != nil {
		return fmt.Errorf("write pick list %s: %w", list.Number, err)
	}
	return nil
}

// page is the lines of one page, and the position of the first, from 1.
type page struct {
	rows  []Line
	first int
}

// pagesOf shares lines among pages. Rows are all of one height, so the number of
// pages is known before the first is written. Without lines there is one page.
func pagesOf(lines []Line) []page {
	fit := func(top float64) int { return int((footer - 4 - top - headHeight) / rowHeight) }
	var pages []page
	for first, room := 0, fit(firstTable); first < len(lines) || first == 0; room = fit(nextTable) {
		end := min(len(lines), first+room)
		pages = append(pages, page{lines[first:end], first + 1})
		if first = end; first == 0 {
			break
		}
	}
	return pages
}

// sheet is a document that is being written.
type sheet struct {
	pdf  *fpdf.Fpdf
	list List
	say  captions
}

func newSheet(list List, say captions) *sheet {
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.SetAutoPageBreak(false, 0)
	pdf.SetMargins(margin, margin, margin)
	pdf.SetCatalogSort(true)
	pdf.SetCreationDate(list.PrintedAt.UTC())
	pdf.SetModificationDate(list.PrintedAt.UTC())
	pdf.SetTitle(say.title+" "+list.Number, true)
	pdf.SetLang(string(list.Language))
	return &sheet{pdf: pdf, list: list, say: say}
}

// heading is the upper part of the first page.
func (s *sheet) heading(bars []bar) {
	const textWidth, codeWidth = 116.0, 72.0
	codeAt := pageWidth - margin - codeWidth
	s.write(cell{x: margin, y: 9, width: textWidth, size: 10}, s.say.title)
	s.write(cell{x: margin, y: 14, width: textWidth, size: 22, bold: true}, s.list.Number)
	s.write(cell{x: margin, y: 24, width: textWidth, size: 11, bold: true}, s.list.Warehouse)
	s.write(cell{x: margin, y: 30, width: textWidth, size: 10}, s.list.Kind)
	s.write(cell{x: margin, y: 36, width: tableWidth, size: 10}, s.summary())
	s.write(cell{x: margin, y: 41.5, width: tableWidth, size: 10}, s.printed())
	s.bars(bars, codeAt, 10, codeWidth, 17)
	s.write(cell{x: codeAt, y: 27.5, width: codeWidth, size: 9, align: centre}, s.list.Number)
}

// running is the line on top of the other pages.
func (s *sheet) running() {
	s.write(cell{x: margin, y: 11, width: 95, size: 11, bold: true}, s.say.title+" "+s.list.Number)
	s.write(cell{x: margin + 95, y: 11, width: tableWidth - 95, size: 10, align: right}, s.list.Warehouse)
}

func (s *sheet) foot(page, of int) {
	s.write(cell{x: margin, y: footer, width: 95, size: 8}, s.printed())
	s.write(cell{x: margin + 95, y: footer, width: tableWidth - 95, size: 9, align: right}, fmt.Sprintf(s.say.page, page, of))
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
