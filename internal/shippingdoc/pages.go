package shippingdoc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/pdfcpu/pdfcpu/pkg/api"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu/model"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu/types"

	"justlogistics/internal/paper"
)

// withoutFolder keeps the library from writing its settings into the home of
// whoever runs the program.
var withoutFolder = sync.OnceFunc(api.DisableConfigDir)

// reading is how PDF of others is read: what is only unusual in it is let through,
// and a small file can't become a large one in memory.
func reading() *model.Configuration {
	withoutFolder()
	c := model.NewDefaultConfiguration()
	c.ValidationMode = model.ValidationRelaxed
	c.Offline = true
	c.Optimize = false
	c.OptimizeBeforeWriting = false
	c.Limits.MaxStreamBytes = mostBytes
	c.Limits.MaxDecodeBytes = 8 * mostBytes
	c.Limits.MaxImagePixels = mostPixels
	c.Limits.MaxImageBytes = 4 * mostPixels
	c.Limits.MaxObjectCount = 100_000
	c.Limits.MaxObjectStreamCount = 100_000
	c.Limits.MaxXRefEntries = 100_000
	c.Limits.MaxRecursionDepth = 100
	return c
}

// guarded makes an error of a panic: the library reads what others have written, and
// one broken label must not take a request's goroutine along.
func guarded(do func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", ErrBroken, cause)
		}
	}()
	return do()
}

// fitted is a PDF whose pages have 100 x 150 mm: the file itself when they have.
func fitted(data []byte) (out []byte, err error) {
	err = guarded(func() error {
		ctx, err := api.ReadAndValidate(bytes.NewReader(data), reading())
		switch {
		case errors.Is(err, pdfcpu.ErrWrongPassword), errors.Is(err, pdfcpu.ErrMalformedEncryption), errors.Is(err, pdfcpu.ErrUnsupportedEncryptionFeature):
			return fmt.Errorf("%w: %w", ErrEncrypted, err)
		case err != nil:
			return fmt.Errorf("%w: %w", ErrBroken, err)
		case ctx.Encrypt != nil:
			return ErrEncrypted
		}
		if err := ctx.EnsurePageCount(); err != nil {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
		switch {
		case ctx.PageCount < 1:
			return fmt.Errorf("%w: it has no pages", ErrBroken)
		case ctx.PageCount > mostPages:
			return fmt.Errorf("%w: %d pages", ErrTooLarge, ctx.PageCount)
		}
		changed, err := fitPages(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
		if !changed {
			out = data
			return nil
		}
		var buffer bytes.Buffer
		if err := api.WriteContext(ctx, &buffer); err != nil {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
		out = buffer.Bytes()
		return nil
	})
	return out, err
}

func fitPages(ctx *model.Context) (changed bool, err error) {
	for n := 1; n <= ctx.PageCount; n++ {
		page, _, inherited, err := ctx.PageDict(n, false)
		if err != nil {
			return false, fmt.Errorf("page %d: %w", n, err)
		}
		sheet, err := sheetOf(inherited)
		if err != nil {
			return false, fmt.Errorf("page %d: %w", n, err)
		}
		if _, scaled := page.Find("UserUnit"); !scaled && sheet.isLabel() {
			continue
		}
		if err := wrap(ctx, page, sheet); err != nil {
			return false, fmt.Errorf("page %d: %w", n, err)
		}
		changed = true
	}
	return changed, nil
}

// sheet is what is seen of a page: a rectangle of its plane, in points, and the
// quarters by which a reader turns it, clockwise.
type sheet struct {
	x, y, width, height float64
	quarters            int
}

const pointMM = 25.4 / 72

func sheetOf(page *model.InheritedPageAttrs) (sheet, error) {
	box := page.MediaBox
	if page.CropBox != nil {
		box = page.CropBox
	}
	if box == nil {
		return sheet{}, errors.New("it has no size")
	}
	s := sheet{box.LL.X, box.LL.Y, box.Width(), box.Height(), (page.Rotate/90%4 + 4) % 4}
	// A page of more than 200 inches is none by the standard; below a centimetre it
	// is no label.
	for _, side := range []float64{s.width, s.height} {
		if !(side >= 28 && side <= 14_400) {
			return sheet{}, fmt.Errorf("its size is %.0f x %.0f points", s.width, s.height)
		}
	}
	if !(math.Abs(s.x) < 1e6 && math.Abs(s.y) < 1e6) {
		return sheet{}, errors.New("it lies far from its plane's origin")
	}
	return s, nil
}

// isLabel reports whether a printer of labels takes the page as it is.
func (s sheet) isLabel() bool {
	const tolerance = 3.0 // mm; 4 x 6 inches are 101.6 x 152.4 mm
	width, height := s.shown()
	return math.Abs(width*pointMM-paper.Label.Width) <= tolerance && math.Abs(height*pointMM-paper.Label.Height) <= tolerance
}

// shown is the page's size as a reader shows it.
func (s sheet) shown() (width, height float64) {
	if s.quarters%2 == 1 {
		return s.height, s.width
	}
	return s.width, s.height
}

// onLabel is the matrix that brings the page's plane to an upright label, in the
// middle and as large as it fits.
func (s sheet) onLabel() [6]float64 {
	quarters := s.quarters
	width, height := s.shown()
	if width > height {
		quarters++
		width, height = height, width
	}
	labelWidth, labelHeight := labelPoints()
	scale := min(labelWidth/width, labelHeight/height)
	sin, cos := math.Sincos(-float64(quarters) * math.Pi / 2)
	sin, cos = scale*math.Round(sin), scale*math.Round(cos)
	x, y := s.x+s.width/2, s.y+s.height/2
	return [6]float64{cos, sin, -sin, cos, labelWidth/2 - (cos*x - sin*y), labelHeight/2 - (sin*x + cos*y)}
}

func labelPoints() (width, height float64) {
	return paper.Label.Width / pointMM, paper.Label.Height / pointMM
}

// wrap draws a page, as it is, through a matrix. What lies outside of what was seen
// of it stays outside. Notes and links on it are dropped: nobody prints them.
func wrap(ctx *model.Context, page types.Dict, s sheet) error {
	m := s.onLabel()
	before := fmt.Sprintf("q %.6f %.6f %.6f %.6f %.4f %.4f cm %.4f %.4f %.4f %.4f re W n\n", m[0], m[1], m[2], m[3], m[4], m[5], s.x, s.y, s.width, s.height)
	first, err := content(ctx, before)
	if err != nil {
		return err
	}
	last, err := content(ctx, "\nQ\n")
	if err != nil {
		return err
	}
	drawing := types.Array{*first}
	if old, found := page.Find("Contents"); found {
		object, err := ctx.Dereference(old)
		if err != nil {
			return fmt.Errorf("its contents: %w", err)
		}
		if parts, several := object.(types.Array); several {
			drawing = append(drawing, parts...)
		} else if object != nil {
			drawing = append(drawing, old)
		}
	}
	page["Contents"] = append(drawing, *last)
	width, height := labelPoints()
	page["MediaBox"] = types.NewNumberArray(0, 0, width, height)
	page["CropBox"] = types.NewNumberArray(0, 0, width, height) // a page may inherit one
	page["Rotate"] = types.Integer(0)                           // and that
	for _, name := range []string{"TrimBox", "BleedBox", "ArtBox", "UserUnit", "Annots"} {
		page.Delete(name)
	}
	return nil
}

func content(ctx *model.Context, text string) (*types.IndirectRef, error) {
	stream, err := ctx.NewStreamDictForBuf([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("its contents: %w", err)
	}
	if err := stream.Encode(); err != nil {
		return nil, fmt.Errorf("its contents: %w", err)
	}
	return ctx.IndRefForNewObject(*stream)
}
