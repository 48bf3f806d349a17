// Package papertest reads back what package paper has drawn.
package papertest

import (
	"bytes"
	"compress/zlib"
	"image"
	"image/color"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/oned"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/charmap"
)

// Page is a page that was read back.
type Page struct {
	// Width and Height are in millimetres.
	Width, Height float64
	// Texts in the order of writing, and where each begins.
	Texts  []string
	Places []Place
	dark   []rectangle
}

// Place is where a text's base line begins, in millimetres from the upper left corner.
type Place struct{ X, Y float64 }

// rectangle is a black one, in millimetres from the upper left corner.
type rectangle struct{ x, y, width, height float64 }

const pointMM = 25.4 / 72

const number = `(-?[0-9.]+)`

var (
	stream   = regexp.MustCompile(`(?s)<<([^>]*)>>\s*stream\n(.*?)\nendstream`)
	operator = regexp.MustCompile(`(?ms)^` + number + ` g$|` +
		`BT ` + number + ` ` + number + ` Td \(((?:\\.|[^\\)])*)\) Tj|` +
		`^` + number + ` ` + number + ` ` + number + ` ` + number + ` re f$`)
	pageType = regexp.MustCompile(`/Type /Page\b[^s]`)
	mediaBox = regexp.MustCompile(`/MediaBox \[0 0 ` + number + ` ` + number + `\]`)
	escape   = regexp.MustCompile(`(?s)\\(.)`)
)

// Read inflates the pages of a PDF of package paper and takes their texts and black
// rectangles out.
func Read(t require.TestingT, pdf []byte) []Page {
	require.True(t, bytes.HasPrefix(pdf, []byte("%PDF-")))
	require.True(t, bytes.HasSuffix(bytes.TrimSpace(pdf), []byte("%%EOF")))
	size := mediaBox.FindSubmatch(pdf)
	require.NotNil(t, size)
	var pages []Page
	for _, m := range stream.FindAllSubmatch(pdf, -1) {
		if bytes.Contains(m[1], []byte("/XObject")) {
			continue
		}
		require.Contains(t, string(m[1]), "/FlateDecode")
		r, err := zlib.NewReader(bytes.NewReader(m[2]))
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		p := Page{Width: value(t, size[1]) * pointMM, Height: value(t, size[2]) * pointMM}
		p.read(t, content)
		pages = append(pages, p)
	}
	require.Len(t, pages, len(pageType.FindAll(pdf, -1)), "a stream for each page")
	return pages
}

func (p *Page) read(t require.TestingT, content []byte) {
	grey := 0.0
	for _, op := range operator.FindAllSubmatch(content, -1) {
		switch {
		case op[1] != nil:
			grey = value(t, op[1])
		case op[2] != nil:
			p.Texts = append(p.Texts, decoded(t, op[4]))
			p.Places = append(p.Places, Place{value(t, op[2]) * pointMM, p.Height - value(t, op[3])*pointMM})
		case grey == 0:
			r := rectangle{value(t, op[5]) * pointMM, p.Height - value(t, op[6])*pointMM, value(t, op[7]) * pointMM, -value(t, op[8]) * pointMM}
			p.dark = append(p.dark, r)
		}
	}
}

func value(t require.TestingT, text []byte) float64 {
	n, err := strconv.ParseFloat(string(text), 64)
	require.NoError(t, err)
	return n
}

func decoded(t require.TestingT, text []byte) string {
	raw := escape.ReplaceAllFunc(text, func(e []byte) []byte {
		if e[1] == 'r' {
			return []byte("\r")
		}
		return e[1:]
	})
	utf8, err := charmap.Windows1252.NewDecoder().Bytes(raw)
	require.NoError(t, err)
	return string(utf8)
}

// All is the page's texts, a line each.
func (p Page) All() string { return strings.Join(p.Texts, "\n") }

// Code128 has another library read the bars that are between so many millimetres
// from the upper edge.
func (p Page) Code128(t require.TestingT, top, bottom float64) string {
	result, err := oned.NewCode128Reader().Decode(p.painted(t, top, bottom), nil)
	require.NoError(t, err)
	return result.GetText()
}

// QR has another library read the QR code between so many millimetres from the
// upper edge.
func (p Page) QR(t require.TestingT, top, bottom float64) string {
	result, err := qrcode.NewQRCodeReader().Decode(p.painted(t, top, bottom), nil)
	require.NoError(t, err)
	return result.GetText()
}

// painted paints the black rectangles that lie as a whole between two heights.
func (p Page) painted(t require.TestingT, top, bottom float64) *gozxing.BinaryBitmap {
	const dots = 24 // a millimetre
	picture := image.NewGray(image.Rect(0, 0, int(p.Width*dots), int((bottom-top)*dots)))
	for i := range picture.Pix {
		picture.Pix[i] = 0xff
	}
	for _, r := range p.dark {
		if r.y < top-0.01 || r.y+r.height > bottom+0.01 {
			continue
		}
		for x := int(r.x * dots); x < int((r.x+r.width)*dots); x++ {
			for y := int((r.y - top) * dots); y < int((r.y-top+r.height)*dots); y++ {
				picture.SetGray(x, y, color.Gray{})
			}
		}
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	require.NoError(t, err)
	return bitmap
}
