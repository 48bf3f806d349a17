package label

import (
	"fmt"
	"strings"
	"time"

	"justlogistics/internal/gs1"
)

// Limits of a bar's or a square's width, in hundredths of a millimetre. Below the
// least a hand scanner at half a metre reads badly what a thermal printer prints.
const (
	leastBar    = 24
	mostBar     = 50
	leastSquare = 33
	mostSquare  = 125
)

// fnc1 stands for FNC1 in the data of a GS1 symbol.
const fnc1 = '\x1d'

// Code128 writes data as bars. What Code 128 can't hold (only ASCII is in it),
// or only in bars that are too thin for the area, becomes a QR code in the same
// place, which every scanner of today reads.
func (l *Label) Code128(a Area, data string) {
	if symbols, ok := code128(data); !ok || !l.bars(a, symbols) {
		l.QR(a, data)
	}
}

// GS1 writes elements as GS1-128, and as GS1 DataMatrix when the bars would be
// too thin. now is the day of printing (gs1.Encode).
func (l *Label) GS1(a Area, elements []gs1.Element, now time.Time) {
	payload, err := gs1.Encode(elements, now)
	if err != nil {
		l.fail(err)
		return
	}
	payload = string(fnc1) + payload
	if symbols, ok := code128(payload); !ok || !l.bars(a, symbols) {
		l.dataMatrix(a, payload)
	}
}

// QR writes data as a QR code, in the largest squares that fit. More than 213
// bytes, or too little room, is an error.
func (l *Label) QR(a Area, data string) {
	for _, level := range []struct {
		letter   string
		capacity []int // bytes in versions 1, 2, ... (ISO/IEC 18004, table 7)
	}{
		{"M", []int{14, 26, 42, 62, 84, 106, 122, 152, 180, 213}},
		{"L", []int{17, 32, 53, 78, 106, 134, 154, 192, 230, 271}},
	} {
		for i, bytes := range level.capacity {
			if data == "" || len(data) > bytes {
				continue
			}
			if square := l.square(a, 17+4*(i+1)+2*4); square > 0 {
				l.field(l.dots(a.X)+4*square, l.dots(a.Y)+4*square, fmt.Sprintf("^BQN,2,%d", min(square, 10)), level.letter+"A,"+data)
				return
			}
			break
		}
	}
	l.fail(fmt.Errorf("no barcode for %q: it is empty or too long for %.0f x %.0f mm", data, a.Width, a.Height))
}

// dataMatrix writes the payload of a GS1 symbol, in which _1 is FNC1 and __ the
// underscore (parameter g of ^BX, which must be given: its default differs
// between firmwares).
func (l *Label) dataMatrix(a Area, payload string) {
	// Codewords of the square sizes (ISO/IEC 16022, table 7).
	for _, size := range []struct{ modules, codewords int }{
		{10, 3}, {12, 5}, {14, 8}, {16, 12}, {18, 18}, {20, 22}, {22, 30}, {24, 36}, {26, 44}, {32, 62}, {36, 86}, {40, 114}, {44, 144},
	} {
		if codewords(payload) > size.codewords {
			continue
		}
		if square := l.square(a, size.modules+2*2); square > 0 {
			data := strings.ReplaceAll(payload, "_", "__")
			data = strings.ReplaceAll(data, string(fnc1), "_1")
			l.field(l.dots(a.X)+2*square, l.dots(a.Y)+2*square, fmt.Sprintf("^BXN,%d,200,,,,_", square), data)
			return
		}
		break
	}
	l.fail(fmt.Errorf("no barcode for %q: it is too long for %.0f x %.0f mm", payload, a.Width, a.Height))
}

// codewords is how many a payload needs at most: pairs of digits share one, and
// every other character and FNC1 has its own.
func codewords(payload string) int {
	n := 0
	for i := 0; i < len(payload); n++ {
		i += min(2, max(1, digitsAt(payload, i)))
	}
	return n
}

// square is the side in dots of the squares with which that many fit side by
// side, and 0 when they would be too small.
func (l *Label) square(a Area, modules int) int {
	side := min(l.dots(min(a.Width, a.Height))/modules, l.dots(mostSquare/100.0))
	if side < l.atLeast(leastSquare) {
		return 0
	}
	return side
}

// bars writes a Code 128 symbol in the widest bars that fit, in the middle of
// the area, and reports whether they do. The margin is ten bars on each side.
func (l *Label) bars(a Area, symbols []string) bool {
	modules := 11*len(symbols) + 11 + 13 // and the check symbol and the stop
	bar := min(l.dots(a.Width)/(modules+2*10), l.atLeast(mostBar))
	if bar < l.atLeast(leastBar) {
		return false
	}
	x := l.dots(a.X) + (l.dots(a.Width)-bar*modules)/2
	l.field(x, l.dots(a.Y), fmt.Sprintf("^BY%d^BCN,%d,N,N,N,N", bar, l.dots(a.Height)), strings.Join(symbols, ""))
	return true
}

// atLeast is that many hundredths of a millimetre in dots, to the nearest.
func (l *Label) atLeast(hundredths int) int { return (hundredths*l.dpi + 1270) / 2540 }

// Invocation codes of ^BC in mode N, which encodes exactly what it is told.
const (
	startB     = ">:"
	startC     = ">;"
	toB        = ">6"
	toC        = ">5"
	symbolFNC1 = ">8"
)

// code128 chooses the symbols, each as the printer wants it in ^FD: pairs of digits in set C where there are at least
// four together at an end of the data or six within, everything else in set B
// (ISO/IEC 15417, annex E). It reports false for characters that aren't in B.
func code128(data string) ([]string, bool) {
	if data == "" {
		return nil, false
	}
	inC := false
	var symbols []string
	for i := 0; i < len(data); {
		c, run := data[i], digitsAt(data, i)
		if c == fnc1 {
			run = digitsAt(data, i+1) // FNC1 is in both sets
		}
		enough := run >= 6 || run >= 4 && (i == 0 || data[i] == fnc1 || i+run == len(data)) || i == 0 && run == 2 && len(data) == 2
		switch {
		case i == 0 && enough:
			inC = true
			symbols = append(symbols, startC)
		case i == 0:
			symbols = append(symbols, startB)
		case inC && c != fnc1 && run < 2:
			inC = false
			symbols = append(symbols, toB)
		case !inC && enough && run%2 == 0:
			inC = true
			symbols = append(symbols, toC)
		}
		switch {
		case c == fnc1:
			symbols = append(symbols, symbolFNC1)
			i++
		case inC:
			symbols = append(symbols, data[i:i+2])
			i += 2
		case c < ' ' || c > '~':
			return nil, false
		default:
			symbols = append(symbols, inSetB(c))
			i++
		}
	}
	return symbols, true
}

// inSetB is a character of set B; three of them mean something to the printer.
func inSetB(c byte) string {
	switch c {
	case '>':
		return ">0"
	case '^':
		return "><"
	case '~':
		return ">="
	}
	return string(c)
}

// digitsAt counts the digits from a place on.
func digitsAt(s string, at int) int {
	n := 0
	for at+n < len(s) && s[at+n] >= '0' && s[at+n] <= '9' {
		n++
	}
	return n
}
