package picksheet

import (
	"bytes"
	"compress/zlib"
	"image"
	"image/color"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/oned"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/charmap"
)

// readPage is a page that was read back: its texts in the order of writing, and its
// filled rectangles.
type readPage struct {
	texts []string
	// in points, from the lower left corner
	rectangles []rectangle
}

type rectangle struct{ x, y, width, height float64 }

var (
	stream   = regexp.MustCompile(`(?s)<<([^>]*)>>\s*stream\n(.*?)\nendstream`)
	shown    = regexp.MustCompile(`(?s)\(((?:\\.|[^\\)])*)\) Tj`)
	filled   = regexp.MustCompile(`(-?[0-9.]+) (-?[0-9.]+) (-?[0-9.]+) (-?[0-9.]+) re f\n`)
	pageType = regexp.MustCompile(`/Type /Page\b[^s]`)
	escape   = regexp.MustCompile(`(?s)\\(.)`)
)

// readBack inflates the pages of a PDF and takes their texts and rectangles out.
func readBack(t require.TestingT, pdf []byte) []readPage {
	require.True(t, bytes.HasPrefix(pdf, []byte("%PDF-")))
	require.True(t, bytes.HasSuffix(bytes.TrimSpace(pdf), []byte("%%EOF")))
	var pages []readPage
	for _, m := range stream.FindAllSubmatch(pdf, -1) {
		require.Contains(t, string(m[1]), "/FlateDecode")
		r, err := zlib.NewReader(bytes.NewReader(m[2]))
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		var p readPage
		for _, text := range shown.FindAllSubmatch(content, -1) {
			raw := escape.ReplaceAllFunc(text[1], func(e []byte) []byte {
				if e[1] == 'r' {
					return []byte("\r")
				}
				return e[1:]
			})
			utf8, err := charmap.Windows1252.NewDecoder().Bytes(raw)
			require.NoError(t, err)
			p.texts = append(p.texts, string(utf8))
		}
		for _, f := range filled.FindAllSubmatch(content, -1) {
			var n [4]float64
			for i := range n {
				n[i], err = strconv.ParseFloat(string(f[i+1]), 64)
				require.NoError(t, err)
			}
			p.rectangles = append(p.rectangles, rectangle{n[0], n[1], n[2], n[3]})
		}
		pages = append(pages, p)
	}
	require.Len(t, pages, len(pageType.FindAll(pdf, -1)), "a stream for each page")
	return pages
}

func (p readPage) all() string { return strings.Join(p.texts, "\n") }

// scan paints the bars of a page and has another library read them.
func (p readPage) scan(t *testing.T) string {
	const dots = 20 // a point
	picture := image.NewGray(image.Rect(0, 0, 600*dots, 40))
	for i := range picture.Pix {
		picture.Pix[i] = 0xff
	}
	for _, r := range p.rectangles {
		if height := -r.height; height < 40 || height > 60 { // the bars are 17 mm high
			continue
		}
		for x := int(r.x * dots); x < int((r.x+r.width)*dots); x++ {
			for y := range 40 {
				picture.SetGray(x, y, color.Gray{})
			}
		}
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	require.NoError(t, err)
	result, err := oned.NewCode128Reader().Decode(bitmap, nil)
	require.NoError(t, err)
	return result.GetText()
}
