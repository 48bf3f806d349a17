package shippingdoc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"
	"time"

	"codeberg.org/go-pdf/fpdf"
	"github.com/pdfcpu/pdfcpu/pkg/api"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/paper"
	"justlogistics/internal/shipping"
)

func picture(t require.TestingT, width, height int, kind shipping.Format) shipping.Label {
	p := image.NewRGBA(image.Rect(0, 0, width, height))
	for x := range width {
		p.Set(x, x%height, color.RGBA{200, 0, 0, 255})
	}
	var out bytes.Buffer
	if kind == shipping.PNG {
		require.NoError(t, png.Encode(&out, p))
	} else {
		require.NoError(t, jpeg.Encode(&out, p, nil))
	}
	return shipping.Label{Format: kind, Data: out.Bytes()}
}

func carrierPDF(t require.TestingT, encrypted bool, sizes ...paper.Size) shipping.Label {
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.SetFont("Helvetica", "", 12)
	for _, s := range sizes {
		pdf.AddPageFormat("P", fpdf.SizeType{Wd: s.Width, Ht: s.Height})
		pdf.Text(20, 20, "label")
	}
	if encrypted {
		pdf.SetProtection(fpdf.CnProtectPrint, "buyer", "owner")
	}
	var out bytes.Buffer
	require.NoError(t, pdf.Output(&out))
	return shipping.Label{Format: shipping.PDF, Data: out.Bytes()}
}

// sizes are the pages' in millimetres, as another reader finds them.
func sizes(t require.TestingT, pdf []byte) (out []paper.Size) {
	dims, err := api.PageDims(bytes.NewReader(pdf), reading())
	require.NoError(t, err)
	for _, d := range dims {
		out = append(out, paper.Size{Width: d.Width * pointMM, Height: d.Height * pointMM})
	}
	return out
}

func TestLabel10x15_LaysOutAllThatCanBe(t *testing.T) {
	t.Parallel()
	pdf, err := Label10x15([]shipping.Label{
		picture(t, 400, 600, shipping.JPEG), picture(t, 900, 300, shipping.PNG), carrierPDF(t, false, paper.Label, paper.A4, paper.Size{Width: 150, Height: 100}),
	})
	require.NoError(t, err)
	pages := sizes(t, pdf)
	require.Len(t, pages, 5)
	for _, p := range pages {
		require.InDelta(t, 100, p.Width, 0.1)
		require.InDelta(t, 150, p.Height, 0.1)
	}
}

func TestLabel10x15_PassesOnWhatHasTheSize(t *testing.T) {
	t.Parallel()
	for _, size := range []paper.Size{paper.Label, {Width: 101.6, Height: 152.4}} {
		given := carrierPDF(t, false, size, size)
		pdf, err := Label10x15([]shipping.Label{given})
		require.NoError(t, err)
		require.Equal(t, given.Data, pdf)
	}
}

func TestLabel10x15_SaysWhatItCantLayOut(t *testing.T) {
	t.Parallel()
	bomb := picture(t, 10, 10, shipping.PNG).Data
	copy(bomb[16:24], []byte{0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0}) // 100000 x 100000
	bomb = append(bomb[:29:29], append(crcOf(bomb[12:29]), bomb[33:]...)...)
	cut := picture(t, 300, 300, shipping.JPEG).Data
	for name, c := range map[string]struct {
		label shipping.Label
		want  error
	}{
		"zpl":            {shipping.Label{Format: shipping.ZPL, Data: []byte("^XA^XZ")}, ErrForPrinters},
		"epl":            {shipping.Label{Format: shipping.EPL, Data: []byte("N\nP1\n")}, ErrForPrinters},
		"unknown format": {shipping.Label{Format: "gif", Data: []byte("GIF89a")}, ErrBroken},
		"nothing":        {shipping.Label{Format: shipping.PDF}, ErrBroken},
		"cut jpeg":       {shipping.Label{Format: shipping.JPEG, Data: cut[:len(cut)/2]}, ErrBroken},
		"png bomb":       {shipping.Label{Format: shipping.PNG, Data: bomb}, ErrTooLarge},
		"too many bytes": {shipping.Label{Format: shipping.PNG, Data: make([]byte, mostBytes+1)}, ErrTooLarge},
		"no pdf":         {shipping.Label{Format: shipping.PDF, Data: []byte("%PDF-1.4\nnothing\n%%EOF")}, ErrBroken},
		"encrypted":      {carrierPDF(t, true, paper.Label), ErrEncrypted},
	} {
		_, err := Label10x15([]shipping.Label{picture(t, 20, 30, shipping.PNG), c.label})
		var fault *LabelError
		require.ErrorAs(t, err, &fault, name)
		require.ErrorIs(t, err, c.want, name)
		require.Equal(t, 2, fault.Number)
		require.Equal(t, c.label.Format, fault.Format)
	}
	_, err := Label10x15(nil)
	require.Error(t, err)
}

func TestSheet_IsBroughtToTheMiddleOfTheLabel(t *testing.T) {
	t.Parallel()
	width, height := labelPoints()
	for _, s := range []sheet{{0, 0, 595, 842, 0}, {10, -20, 842, 595, 0}, {5, 5, 595, 842, 1}, {0, 0, 300, 300, 2}, {7, 9, 420, 290, 3}} {
		m := s.onLabel()
		var xs, ys []float64
		for _, c := range [][2]float64{{s.x, s.y}, {s.x + s.width, s.y}, {s.x, s.y + s.height}, {s.x + s.width, s.y + s.height}} {
			xs, ys = append(xs, m[0]*c[0]+m[2]*c[1]+m[4]), append(ys, m[1]*c[0]+m[3]*c[1]+m[5])
		}
		left, right, low, high := minOf(xs), -minOf(negated(xs)), minOf(ys), -minOf(negated(ys))
		require.InDelta(t, width/2, (left+right)/2, 1e-6)
		require.InDelta(t, height/2, (low+high)/2, 1e-6)
		require.GreaterOrEqual(t, left, -1e-6)
		require.GreaterOrEqual(t, low, -1e-6)
		require.True(t, left < 1e-6 || low < 1e-6, "as large as it fits")
	}
}

func minOf(list []float64) float64 {
	least := list[0]
	for _, v := range list {
		least = min(least, v)
	}
	return least
}

func negated(list []float64) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = -v
	}
	return out
}

func FuzzLabel10x15(f *testing.F) {
	for i, l := range []shipping.Label{picture(f, 30, 20, shipping.JPEG), picture(f, 20, 30, shipping.PNG), carrierPDF(f, false, paper.A4), carrierPDF(f, true, paper.Label)} {
		f.Add(i, l.Data)
	}
	f.Add(2, []byte("%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 1 0 R>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"))
	f.Fuzz(func(t *testing.T, kind int, data []byte) {
		format := []shipping.Format{shipping.JPEG, shipping.PNG, shipping.PDF}[uint(kind)%3]
		began := time.Now()
		pdf, err := Label10x15([]shipping.Label{{Format: format, Data: data}})
		require.Less(t, time.Since(began), 20*time.Second)
		var fault *LabelError
		if err != nil {
			require.True(t, errors.As(err, &fault), err)
			return
		}
		require.NotEmpty(t, pdf)
	})
}

func crcOf(chunk []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(chunk))
}
