// Package paper draws the pages that warehouses print: texts that are never lost
// for want of room, tables over several pages, barcodes as shapes. Everything is in
// millimetres from a page's upper left corner, letters are in points.
//
// The same drawing makes the same bytes: nothing is read from the clock.
package paper

import (
	"fmt"
	"io"
	"time"

	"codeberg.org/go-pdf/fpdf"
)

// Size is a page's, in millimetres.
type Size struct{ Width, Height float64 }

// Sizes of paper: sheets, and labels of parcels as all carriers have them.
var (
	A4    = Size{210, 297}
	Label = Size{100, 150}
)

// About is what a file says of itself.
type About struct {
	Title    string
	Language string    // es, en
	At       time.Time // of printing; never zero, for which the clock would stand in
}

// Document is a PDF that is being drawn.
type Document struct {
	pdf *fpdf.Fpdf
}

// New begins a document without pages.
func New(size Size, about About) *Document {
	pdf := fpdf.NewCustom(&fpdf.InitType{OrientationStr: "P", UnitStr: "mm", Size: fpdf.SizeType{Wd: size.Width, Ht: size.Height}})
	pdf.SetAutoPageBreak(false, 0)
	pdf.SetMargins(0, 0, 0)
	pdf.SetCatalogSort(true)
	pdf.SetCreationDate(about.At.UTC())
	pdf.SetModificationDate(about.At.UTC())
	pdf.SetTitle(about.Title, true)
	pdf.SetLang(about.Language)
	return &Document{pdf}
}

// Page begins the next page.
func (d *Document) Page() { d.pdf.AddPage() }

// Output writes the file.
func (d *Document) Output(w io.Writer) error {
	if err := d.pdf.Output(w); err != nil {
		return fmt.Errorf("write PDF: %w", err)
	}
	return nil
}

// Area is a rectangle of a page.
type Area struct{ X, Y, Width, Height float64 }

// Shade fills an area with a grey: 0 is black and 255 white.
func (d *Document) Shade(a Area, grey int) {
	d.pdf.SetFillColor(grey, grey, grey)
	d.pdf.Rect(a.X, a.Y, a.Width, a.Height, "F")
}

// Frame draws an empty box with lines of that many millimetres.
func (d *Document) Frame(a Area, line float64) {
	d.pdf.SetLineWidth(line)
	d.pdf.SetFillColor(255, 255, 255)
	d.pdf.Rect(a.X, a.Y, a.Width, a.Height, "FD")
}

// Rule draws a horizontal line of that many millimetres.
func (d *Document) Rule(x, y, width, line float64) {
	d.pdf.SetLineWidth(line)
	d.pdf.Line(x, y, x+width, y)
}

// Picture places a JPEG or a PNG so that it fills the area. A picture that stands
// turned is turned by a quarter, clockwise: its own upper edge is then at the right.
// kind is jpeg or png; a broken one is Output's error.
func (d *Document) Picture(a Area, kind string, data io.Reader, turned bool) {
	options := fpdf.ImageOptions{ImageType: kind}
	name := fmt.Sprintf("picture of page %d", d.pdf.PageNo())
	d.pdf.RegisterImageOptionsReader(name, options, data)
	if !turned {
		d.pdf.ImageOptions(name, a.X, a.Y, a.Width, a.Height, false, options, 0, "")
		return
	}
	d.pdf.TransformBegin()
	x, y := a.X+a.Width/2, a.Y+a.Height/2
	d.pdf.TransformRotate(-90, x, y)
	d.pdf.ImageOptions(name, x-a.Height/2, y-a.Width/2, a.Height, a.Width, false, options, 0, "")
	d.pdf.TransformEnd()
}
