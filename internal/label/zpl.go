// Package label writes the warehouse's labels as ZPL II, the language of Zebra
// printers and of those that imitate them. The commands are those of Zebra's
// ZPL II Programming Guide (https://docs.zebra.com/us/en/printers/software/zpl-pg.html)
// that firmware of the last fifteen years has.
//
// Whatever stands in a product's name or an address is data and never a
// command: every field leaves through one function, which writes the
// characters that mean something to the printer in hexadecimal.
package label

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Area is a rectangle on a label, in millimetres from the upper left corner. A
// barcode's area includes the empty margin that scanners need.
type Area struct{ X, Y, Width, Height float64 }

// Label collects the fields of one label. The first field that can't be
// written is the error of ZPL; those after it change nothing.
type Label struct {
	widthMM, heightMM, dpi int
	copies                 int
	body                   strings.Builder
	err                    error
}

// New begins a label of that size in millimetres, for a printer with 203 or
// 300 dots an inch.
func New(widthMM, heightMM, dpi int) *Label {
	l := &Label{widthMM: widthMM, heightMM: heightMM, dpi: dpi, copies: 1}
	switch {
	case dpi != 203 && dpi != 300:
		l.fail(fmt.Errorf("a printer has 203 or 300 dpi, not %d", dpi))
	case widthMM < 10 || widthMM > 110 || heightMM < 10 || heightMM > 400:
		l.fail(fmt.Errorf("a label is 10 to 110 mm wide and 10 to 400 mm high, not %d x %d", widthMM, heightMM))
	}
	return l
}

// Copies is how many of the label are printed: 1 to 999.
func (l *Label) Copies(n int) {
	if n < 1 || n > 999 {
		l.fail(fmt.Errorf("1 to 999 copies are printed at once, not %d", n))
	}
	l.copies = n
}

// Box draws a frame with lines of that many millimetres. An area without height
// or width is a line.
func (l *Label) Box(a Area, line float64) {
	thick := max(1, l.dots(line))
	l.command("^FO%d,%d^GB%d,%d,%d^FS", l.dots(a.X), l.dots(a.Y), max(thick, l.dots(a.Width)), max(thick, l.dots(a.Height)), thick)
}

// Arrow draws a triangle that fills the area and points up or down.
func (l *Label) Arrow(a Area, down bool) {
	width, height := l.dots(a.Width), l.dots(a.Height)
	if width < 8 || height < 8 {
		l.fail(errors.New("an arrow needs more room"))
		return
	}
	row := (width + 7) / 8
	bitmap := make([]byte, row*height)
	for y := range height {
		black := (y + 1) * width / height
		line := y
		if down {
			line = height - 1 - y
		}
		for x := (width - black) / 2; x < (width+black)/2; x++ {
			bitmap[line*row+x/8] |= 0x80 >> (x % 8)
		}
	}
	l.command("^FO%d,%d^GFA,%d,%d,%d,%s^FS", l.dots(a.X), l.dots(a.Y), len(bitmap), len(bitmap), row, strings.ToUpper(hex.EncodeToString(bitmap)))
}

// ZPL is the whole label, ready to be sent to a printer.
func (l *Label) ZPL() (string, error) {
	if l.err != nil {
		return "", l.err
	}
	return fmt.Sprintf("^XA\n^CI28\n^PW%d\n^LL%d\n^LH0,0\n%s^PQ%d\n^XZ\n",
		l.dots(float64(l.widthMM)), l.dots(float64(l.heightMM)), l.body.String(), l.copies), nil
}

func (l *Label) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// command writes a line. Nothing that came from outside is among args: that
// goes through field.
func (l *Label) command(format string, args ...any) {
	fmt.Fprintf(&l.body, format+"\n", args...)
}

// field writes data at a place, behind the commands that say what is made of it.
func (l *Label) field(x, y int, as, data string) {
	l.command("^FO%d,%d%s^FH_^FD%s^FS", x, y, as, escaped(data))
}

func (l *Label) dots(mm float64) int { return int(mm * float64(l.dpi) / 25.4) }

// escaped writes data for ^FH_: what begins a command (^, ~), what begins a
// hexadecimal (_) and control characters become _ and two digits.
func escaped(data string) string {
	var b strings.Builder
	for i := range len(data) {
		switch c := data[i]; {
		case c < ' ' || c == '^' || c == '~' || c == '_' || c == 0x7f:
			fmt.Fprintf(&b, "_%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
