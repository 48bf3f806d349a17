package shippingdoc

import (
	"errors"
	"fmt"

	"justlogistics/internal/paper"
	"justlogistics/internal/shipping"
)

// ParcelLabel is our own label of a parcel, for those that no carrier labels. Both its
// codes hold the reference.
type ParcelLabel struct {
	Shop      string // required
	Warehouse string
	Order     string // number; required
	Carrier   shipping.Name
	Recipient string
	Address   []string // up to 5 lines
	// Reference is ours: 16 letters and digits.
	Reference string
	// Tracking is the number under which the courier knows the parcel; printed where
	// it is another than the reference.
	Tracking string
	Position int // of Of, from 1
	Of       int
	Grams    int
}

// ParcelLabels are labels as PDF, a page of 100 x 150 mm each. The same labels make the
// same bytes.
func ParcelLabels(labels []ParcelLabel, p Print) ([]byte, error) {
	say, err := p.begin()
	if err != nil {
		return nil, fmt.Errorf("parcel labels: %w", err)
	}
	if len(labels) == 0 {
		return nil, errors.New("parcel labels: there are no parcels")
	}
	doc := paper.New(paper.Label, paper.About{Title: labels[0].Order, Language: string(say.language), At: p.At})
	for _, l := range labels {
		if err := l.draw(doc, say); err != nil {
			return nil, fmt.Errorf("parcel label: %w", err)
		}
	}
	return output(doc)
}

func (l ParcelLabel) draw(doc *paper.Document, say captions) error {
	switch {
	case l.Shop == "" || l.Order == "":
		return errors.New("the shop or the order's number is missing")
	case len(l.Address) > 5:
		return fmt.Errorf("an address has up to 5 lines, not %d", len(l.Address))
	case l.Position < 1 || l.Position > l.Of:
		return fmt.Errorf("parcel %d of %d", l.Position, l.Of)
	case l.Reference == "" || len(l.Reference) > longestCode:
		return fmt.Errorf("reference %q: it must have 1 to %d characters", l.Reference, longestCode)
	}
	bars, err := paper.Code128(l.Reference)
	if err != nil {
		return fmt.Errorf("reference %w", err)
	}
	square, err := paper.QR(l.Reference)
	if err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	const left, width = 4.0, 92.0
	caption := func(x, y float64, text string) {
		doc.Write(paper.Cell{X: x, Y: y, Width: 50, Size: 7}, text)
	}
	doc.Page()
	caption(left, 4, say.from)
	doc.Write(paper.Cell{X: left, Y: 7, Width: width, Size: 12, Bold: true}, l.Shop)
	doc.Write(paper.Cell{X: left, Y: 12.5, Width: width, Size: 9}, l.Warehouse)
	doc.Rule(left, 18, width, 0.5)
	caption(left, 19.5, say.to)
	doc.Block(paper.Cell{X: left, Y: 22.5, Width: width, Size: 18, Bold: true}, 9, l.Recipient)
	for i, line := range l.Address {
		doc.Block(paper.Cell{X: left, Y: 32 + 6.7*float64(i), Width: width, Size: 13}, 6.7, line)
	}
	doc.Rule(left, 67, width, 0.5)
	caption(left, 68.5, say.order)
	doc.Block(paper.Cell{X: left, Y: 71.5, Width: 54, Size: 20, Bold: true}, 9, l.Order)
	caption(left, 82, say.parcel)
	doc.Write(paper.Cell{X: left, Y: 85, Width: 25, Size: 16, Bold: true}, fmt.Sprintf(say.of, l.Position, l.Of))
	caption(left+27, 82, say.weight)
	doc.Write(paper.Cell{X: left + 27, Y: 85, Width: 27, Size: 16}, say.kilograms(int64(l.Grams))+" kg")
	caption(left, 94, say.carrier)
	doc.Write(paper.Cell{X: left, Y: 97, Width: 54, Size: 14}, say.title(l.Carrier))
	doc.Square(paper.Area{X: 60, Y: 68, Width: 38, Height: 38}, square)
	doc.Rule(left, 107, width, 0.5)
	caption(left, 108.5, say.reference)
	doc.Bars(paper.Area{X: 0, Y: 113, Width: paper.Label.Width, Height: 22}, bars)
	doc.Write(paper.Cell{X: left, Y: 136, Width: width, Size: 13, Bold: true, Align: paper.Centre}, l.Reference)
	if l.Tracking != "" && l.Tracking != l.Reference {
		doc.Write(paper.Cell{X: left, Y: 142.5, Width: width, Size: 10, Align: paper.Centre}, say.tracking+": "+l.Tracking)
	}
	return nil
}

// longestCode is what fits into bars that a hand scanner reads.
const longestCode = 25
