package picksheet

import (
	"fmt"
	"image/color"

	"github.com/boombuler/barcode/code128"
)

// longestNumber is what fits into bars that a hand scanner reads from a
// clipboard.
const longestNumber = 25

// bar is a black bar: where it begins and how wide it is, in modules.
type bar struct{ at, width int }

// barsOf draws the list's number as Code 128: as shapes and not as a picture,
// so that it is sharp on every printer.
func barsOf(number string) ([]bar, error) {
	for _, r := range number {
		if r < ' ' || r > '~' {
			return nil, fmt.Errorf("number %q: a barcode has only ASCII", number)
		}
	}
	if number == "" || len(number) > longestNumber {
		return nil, fmt.Errorf("number %q: it must have 1 to %d characters", number, longestNumber)
	}
	code, err := code128.Encode(number)
	if err != nil {
		return nil, fmt.Errorf("number %q: %w", number, err)
	}
	var bars []bar
	dark := func(x int) bool { return code.At(x, 0) == color.Black }
	for x := 0; x < code.Bounds().Dx(); x++ {
		switch {
		case !dark(x):
		case x > 0 && dark(x-1):
			bars[len(bars)-1].width++
		default:
			bars = append(bars, bar{x, 1})
		}
	}
	return bars, nil
}

// bars draws them as wide as the room allows, with ten modules free on each side.
func (s *sheet) bars(bars []bar, x, y, width, height float64) {
	last := bars[len(bars)-1]
	modules := last.at + last.width
	module := min(0.4, width/float64(modules+20))
	x += (width - module*float64(modules)) / 2
	s.pdf.SetFillColor(0, 0, 0)
	for _, b := range bars {
		s.pdf.Rect(x+module*float64(b.at), y, module*float64(b.width), height, "F")
	}
}
