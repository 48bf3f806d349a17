package shippingdoc

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"time"

	"github.com/pdfcpu/pdfcpu/pkg/api"

	"justlogistics/internal/paper"
	"justlogistics/internal/shipping"
)

// Why a carrier's label can't be laid out; LabelError wraps one of them.
var (
	// ErrForPrinters: ZPL and EPL are commands that only a printer of labels draws.
	// Send them to one as they are.
	ErrForPrinters = errors.New("only a printer of labels draws it: send it there as it is")
	ErrBroken      = errors.New("it can't be read")
	ErrTooLarge    = errors.New("it is too large")
	ErrEncrypted   = errors.New("it is encrypted")
)

// LabelError says which label can't be laid out, by its place from 1, and why.
type LabelError struct {
	Number int
	Format shipping.Format
	Err    error
}

func (e *LabelError) Error() string {
	return fmt.Sprintf("label %d (%s): %v", e.Number, e.Format, e.Err)
}

func (e *LabelError) Unwrap() error { return e.Err }

// Limits of what comes from outside. A label of 100 x 150 mm has 8 million pixels
// on the finest printers, and carriers send a page for each parcel.
const (
	mostBytes  = 16 << 20
	mostPixels = 16_000_000
	mostPages  = 200
)

// Label10x15 lays labels of carriers out as pages of 100 x 150 mm. Pages of a PDF that
// have this size (or 4 x 6 inches, which printers take for the same) are passed on
// unchanged; a PDF of only such pages, alone, byte for byte. Other pages and pictures
// are scaled to the page, keep their proportions, and are turned when they lie on
// their side.
//
// The error is a *LabelError when a label is at fault. What was given is not changed.
func Label10x15(labels []shipping.Label) ([]byte, error) {
	if len(labels) == 0 {
		return nil, errors.New("there are no labels to lay out")
	}
	var pages [][]byte
	for i, l := range labels {
		pdf, err := laidOut(l)
		if err != nil {
			return nil, &LabelError{Number: i + 1, Format: l.Format, Err: err}
		}
		pages = append(pages, pdf)
	}
	return merged(pages)
}

func laidOut(l shipping.Label) ([]byte, error) {
	switch {
	case len(l.Data) > mostBytes:
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(l.Data))
	case len(l.Data) == 0:
		return nil, fmt.Errorf("%w: there is nothing in it", ErrBroken)
	}
	switch l.Format {
	case shipping.PDF:
		return fitted(l.Data)
	case shipping.JPEG:
		return jpegPage(l.Data)
	case shipping.PNG:
		return pngPage(l.Data)
	case shipping.ZPL, shipping.EPL:
		return nil, ErrForPrinters
	}
	return nil, fmt.Errorf("%w: there is no such format", ErrBroken)
}

// jpegPage keeps the picture as it was compressed. It is decoded all the same: what
// our decoder refuses would be an empty page at the printer.
func jpegPage(data []byte) ([]byte, error) {
	size, err := sizeOf(data, jpeg.DecodeConfig)
	if err != nil {
		return nil, err
	}
	if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return picturePage(size, "jpeg", bytes.NewReader(data))
}

// pngPage writes the picture anew, on white and in one of the kinds that PDF has:
// PNG has more (interlaced, 16 bits, transparent).
func pngPage(data []byte) ([]byte, error) {
	size, err := sizeOf(data, png.DecodeConfig)
	if err != nil {
		return nil, err
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	var flat draw.Image = image.NewGray(image.Rectangle{Max: size})
	if !grey(picture) {
		flat = image.NewRGBA(image.Rectangle{Max: size})
	}
	draw.Draw(flat, flat.Bounds(), image.White, image.Point{}, draw.Src)
	draw.Draw(flat, flat.Bounds(), picture, picture.Bounds().Min, draw.Over)
	var out bytes.Buffer
	if err := png.Encode(&out, flat); err != nil {
		return nil, fmt.Errorf("picture of a label: %w", err)
	}
	return picturePage(size, "png", &out)
}

// grey reports whether a picture is known to be without colours.
func grey(picture image.Image) bool {
	switch p := picture.(type) {
	case *image.Gray, *image.Gray16:
		return true
	case *image.Paletted:
		for _, c := range p.Palette {
			if r, g, b, _ := c.RGBA(); r != g || g != b {
				return false
			}
		}
		return true
	}
	return false
}

// sizeOf reads a picture's head before the rest is decoded: a few bytes may claim a
// picture that fills the memory.
func sizeOf(data []byte, head func(io.Reader) (image.Config, error)) (image.Point, error) {
	config, err := head(bytes.NewReader(data))
	switch {
	case err != nil:
		return image.Point{}, fmt.Errorf("%w: %w", ErrBroken, err)
	case config.Width < 1 || config.Height < 1:
		return image.Point{}, fmt.Errorf("%w: a picture without size", ErrBroken)
	case config.Width > mostPixels/config.Height:
		return image.Point{}, fmt.Errorf("%w: %d x %d pixels", ErrTooLarge, config.Width, config.Height)
	}
	return image.Pt(config.Width, config.Height), nil
}

func picturePage(size image.Point, kind string, picture io.Reader) ([]byte, error) {
	doc := paper.New(paper.Label, paper.About{Title: "Label", At: time.Unix(0, 0)})
	doc.Page()
	doc.Picture(placed(size), kind, picture, size.X > size.Y)
	var out bytes.Buffer
	if err := doc.Output(&out); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return out.Bytes(), nil
}

// placed is where a picture stands on the page, upright, as large as it fits.
func placed(size image.Point) paper.Area {
	width, height := float64(size.X), float64(size.Y)
	if width > height {
		width, height = height, width
	}
	scale := min(paper.Label.Width/width, paper.Label.Height/height)
	width, height = width*scale, height*scale
	return paper.Area{X: (paper.Label.Width - width) / 2, Y: (paper.Label.Height - height) / 2, Width: width, Height: height}
}

// merged puts files one behind the other. One alone stays as it is.
func merged(files [][]byte) ([]byte, error) {
	if len(files) == 1 {
		return files[0], nil
	}
	var readers []io.ReadSeeker
	for _, f := range files {
		readers = append(readers, bytes.NewReader(f))
	}
	var out bytes.Buffer
	err := guarded(func() error { return api.MergeRaw(readers, &out, false, reading()) })
	if err != nil {
		return nil, fmt.Errorf("put %d labels into one file: %w", len(files), err)
	}
	return out.Bytes(), nil
}

// carriersLabels lays stored labels out and tells a person what to do when that can't be.
func carriersLabels(stored []shipping.Label, refused func(code, detail string) error) ([]byte, error) {
	pdf, err := Label10x15(stored)
	var fault *LabelError
	switch {
	case err == nil:
		return pdf, nil
	case !errors.As(err, &fault):
		return nil, err
	case errors.Is(err, ErrForPrinters):
		return nil, refused("printer_label", "The carrier has given "+string(fault.Format)+", which only a printer of labels draws: send it there as it is (GET labels.raw of the shipment).")
	}
	return nil, refused("label_unreadable", "The carrier's label can't be laid out: "+fault.Error()+". Print it as it is (GET labels.raw of the shipment), or ask the carrier for another.")
}
