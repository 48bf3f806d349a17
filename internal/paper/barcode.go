package paper

import (
	"fmt"
	"image/color"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/code128"
	"github.com/boombuler/barcode/qr"
)

// Code is a barcode in black modules: as shapes and not as a picture, so that it is
// sharp on every printer.
type Code struct {
	bars          []bar
	width, height int // in modules; the height of bars is 1
}

// bar is a run of black modules of one row.
type bar struct{ x, y, width int }

// Code128 makes bars of a text. Only what is ASCII can be read from them.
func Code128(text string) (Code, error) {
	for _, r := range text {
		if r < ' ' || r > '~' {
			return Code{}, fmt.Errorf("%q: a barcode has only ASCII", text)
		}
	}
	code, err := code128.Encode(text)
	if err != nil {
		return Code{}, fmt.Errorf("%q: %w", text, err)
	}
	return modules(code, 1), nil
}

// QR makes a QR code of a text, which may be damaged by 15 percent and is still read.
func QR(text string) (Code, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return Code{}, fmt.Errorf("QR code of %q: %w", text, err)
	}
	return modules(code, code.Bounds().Dy()), nil
}

func modules(code barcode.Barcode, height int) Code {
	c := Code{width: code.Bounds().Dx(), height: height}
	dark := func(x, y int) bool { return code.At(x, y) == color.Black }
	for y := range height {
		for x := range c.width {
			switch {
			case !dark(x, y):
			case x > 0 && dark(x-1, y):
				c.bars[len(c.bars)-1].width++
			default:
				c.bars = append(c.bars, bar{x, y, 1})
			}
		}
	}
	return c
}

// Bars draws a Code128 as wide as the area allows, with ten modules free on each
// side. A module of more than 0.4 mm gains nothing.
func (d *Document) Bars(a Area, c Code) {
	module := min(0.4, a.Width/float64(c.width+20))
	d.draw(a.X+(a.Width-module*float64(c.width))/2, a.Y, module, a.Height, c)
}

// Square draws a QR code in the middle of the area, with four modules free on each
// side.
func (d *Document) Square(a Area, c Code) {
	module := min(a.Width, a.Height) / float64(c.width+8)
	side := module * float64(c.width)
	d.draw(a.X+(a.Width-side)/2, a.Y+(a.Height-side)/2, module, module, c)
}

func (d *Document) draw(x, y, width, height float64, c Code) {
	d.pdf.SetFillColor(0, 0, 0)
	for _, b := range c.bars {
		d.pdf.Rect(x+width*float64(b.x), y+height*float64(b.y), width*float64(b.width), height, "F")
	}
}
