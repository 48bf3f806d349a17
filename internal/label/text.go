package label

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// smallest is the height of letters, in millimetres, below which nobody reads
// them at arm's length.
const smallest = 2.0

// clipMark ends a text of which something is missing.
const clipMark = "..."

// Text writes one line of letters as high as the area. What is wider than the
// area is cut, and the cut shows as "...".
func (l *Label) Text(a Area, text string) {
	l.line(a, a.Height, clipped(printable(text), a.Width, a.Height))
}

// Fit writes one line in the largest letters that fit, for what must be read
// whole: a code, a number. Only when letters of 2 mm are still too wide is it cut.
func (l *Label) Fit(a Area, text string) {
	text = printable(text)
	height := a.Height
	if width := widthOf(text, 1); width > 0 {
		height = max(min(a.Height, a.Width/width), min(smallest, a.Height))
	}
	l.line(a, height, clipped(text, a.Width, height))
}

// Lines writes a text over that many lines, which share the area's height, and
// breaks it between words where it can. What is left over is cut from the last.
func (l *Label) Lines(a Area, lines int, text string) {
	step := a.Height / float64(lines)
	height := step * 0.85
	words := strings.Fields(printable(text))
	for i := range lines {
		if len(words) == 0 {
			return
		}
		n := 1
		for n < len(words) && (i == lines-1 || widthOf(strings.Join(words[:n+1], " "), height) <= a.Width) {
			n++
		}
		at := Area{X: a.X, Y: a.Y + float64(step*float64(i)), Width: a.Width, Height: height}
		l.line(at, height, clipped(strings.Join(words[:n], " "), a.Width, height))
		words = words[n:]
	}
}

// line writes what fits already.
func (l *Label) line(a Area, height float64, text string) {
	if dots := l.dots(height); text != "" && dots > 0 {
		l.field(l.dots(a.X), l.dots(a.Y), fmt.Sprintf("^A0N,%d,%d", dots, dots), text)
	}
}

// printable makes a line of a text: control characters and line ends become
// spaces, invisible ones (which could turn the direction of writing) go, and
// bytes that are no UTF-8 become question marks.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsSpace(r) || unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// clipped cuts a text to a width in letters of a height, both in millimetres.
func clipped(text string, width, height float64) string {
	const rounding = 0.001 // of Fit, whose letters are exactly as wide as the area
	if widthOf(text, height) <= width+rounding {
		return text
	}
	room := width - widthOf(clipMark, height)
	end := 0
	for at, r := range text {
		if room -= widthOf(string(r), height); room < 0 {
			break
		}
		end = at + utf8.RuneLen(r)
	}
	return strings.TrimRight(text[:end], " ") + clipMark
}

// widthOf estimates from above how wide a text is in the printer's font 0,
// which is bold and condensed. Printers don't tell, and imitations of the font
// differ, so it is a class of width per letter.
func widthOf(text string, height float64) float64 {
	sum := 0
	for _, r := range text {
		switch {
		case strings.ContainsRune(" .,:;!'|()[]-/ijlítrfI", r):
			sum += 35
		case strings.ContainsRune("MWmw@%&", r):
			sum += 90
		case unicode.IsUpper(r):
			sum += 68
		case r < 0x250:
			sum += 56
		default:
			sum += 100
		}
	}
	return float64(sum) * height / 100
}
