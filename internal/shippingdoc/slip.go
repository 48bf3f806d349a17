package shippingdoc

import (
	"fmt"
	"strconv"

	"justlogistics/internal/paper"
)

// Slip is the paper that lies in the box: what is in it, and what of the order is not.
// It has no prices: a parcel may be a present.
type Slip struct {
	Shop      string
	Warehouse string // its name
	Order     string // number; required, ASCII and at most 25 characters: it is the barcode
	Shipment  string // id
	Recipient string
	Address   []string // up to 5 lines
	Parcels   []SlipParcel
	Lines     []SlipLine
}

// SlipParcel is a parcel of the shipment.
type SlipParcel struct {
	Reference, Tracking string
	Grams               int
}

// SlipLine is a product of the order.
type SlipLine struct {
	SKU, Name string
	// Quantity is in this shipment; zero when the product is elsewhere as a whole.
	Quantity int
	// Follows are units in shipments that have not left yet, Sent in those that have,
	// OutOfStock in none.
	Follows, Sent, OutOfStock int
}

// Where things stand on sheets of A4, in millimetres.
const (
	margin     = 10.0
	wide       = 210.0 - 2*margin
	bottom     = 297.0 - 12
	footer     = 297.0 - 8
	headHeight = 7.0
	nextTable  = 20.0
)

// PDF is the slip on A4. The same slip makes the same bytes.
func (slip Slip) PDF(p Print) ([]byte, error) {
	say, err := p.begin()
	if err != nil {
		return nil, fmt.Errorf("packing slip: %w", err)
	}
	if slip.Order == "" || len(slip.Order) > longestCode {
		return nil, fmt.Errorf("packing slip: order %q: it must have 1 to %d characters", slip.Order, longestCode)
	}
	bars, err := paper.Code128(slip.Order)
	if err != nil {
		return nil, fmt.Errorf("packing slip: order %w", err)
	}
	doc := paper.New(paper.A4, paper.About{Title: say.slip + " " + slip.Order, Language: string(say.language), At: p.At})
	table := slipTable(say)
	top := 82.0
	pages := paper.Share(slip.Lines, table.Fit(top, bottom), table.Fit(nextTable, bottom))
	for i, part := range pages {
		doc.Page()
		if i == 0 {
			slip.heading(doc, say, bars)
		} else {
			top = nextTable
			running(doc, say.slip+" "+slip.Order, slip.Shop)
		}
		table.Head(doc, top, wide)
		for j, line := range part.Rows {
			table.Row(doc, top+headHeight+table.RowHeight*float64(j), wide, part.First+j, line)
		}
		foot(doc, p.stamp(say), fmt.Sprintf(say.page, i+1, len(pages)))
	}
	return output(doc)
}

func (slip Slip) heading(doc *paper.Document, say captions, bars paper.Code) {
	const half = 112.0
	codeAt := 210 - margin - 72.0
	doc.Write(paper.Cell{X: margin, Y: 9, Width: half, Size: 10}, say.slip)
	doc.Write(paper.Cell{X: margin, Y: 13.5, Width: half, Size: 18, Bold: true}, slip.Shop)
	doc.Write(paper.Cell{X: margin, Y: 22, Width: half, Size: 10}, slip.Warehouse)
	doc.Write(paper.Cell{X: margin, Y: 29, Width: half, Size: 12, Bold: true}, say.order+" "+slip.Order)
	doc.Write(paper.Cell{X: margin, Y: 35, Width: half, Size: 9}, say.shipment+" "+slip.Shipment)
	doc.Bars(paper.Area{X: codeAt, Y: 10, Width: 72, Height: 17}, bars)
	doc.Write(paper.Cell{X: codeAt, Y: 27.5, Width: 72, Size: 9, Align: paper.Centre}, slip.Order)

	doc.Write(paper.Cell{X: margin, Y: 42, Width: half, Size: 8}, say.to)
	doc.Block(paper.Cell{X: margin, Y: 45.5, Width: 92, Size: 11, Bold: true}, 5, slip.Recipient)
	for i, line := range slip.Address {
		doc.Block(paper.Cell{X: margin, Y: 51 + 4.6*float64(i), Width: 92, Size: 10}, 4.6, line)
	}
	for i, text := range slip.parcels(say) {
		doc.Write(paper.Cell{X: margin + 97, Y: 42 + 4.6*float64(i), Width: wide - 97, Size: 9, Align: paper.Right}, text)
	}
	units := 0
	for _, l := range slip.Lines {
		units += l.Quantity
	}
	doc.Write(paper.Cell{X: margin, Y: 75.5, Width: wide, Size: 10}, fmt.Sprintf(say.units, units))
}

// shownParcels is how many parcels have room beside the address.
const shownParcels = 6

// parcels names the parcels, a line each; of many only the first.
func (slip Slip) parcels(say captions) []string {
	var lines []string
	for i, parcel := range slip.Parcels {
		if i == shownParcels && len(slip.Parcels) > shownParcels+1 {
			return append(lines, fmt.Sprintf("… + %d", len(slip.Parcels)-shownParcels))
		}
		number := parcel.Reference
		if parcel.Tracking != "" && parcel.Tracking != parcel.Reference {
			number += " / " + parcel.Tracking
		}
		lines = append(lines, fmt.Sprintf("%s "+say.of+"   %s   %s kg", say.parcel, i+1, len(slip.Parcels), number, say.kilograms(int64(parcel.Grams))))
	}
	return lines
}

func slipTable(say captions) paper.Table[SlipLine] {
	return paper.Table[SlipLine]{X: margin, HeadHeight: headHeight, RowHeight: 9, Columns: []paper.Column[SlipLine]{
		{Title: say.position, Width: 10, Align: paper.Right, Text: func(position int, _ SlipLine) string { return strconv.Itoa(position) }},
		{Title: "SKU", Width: 40, Text: func(_ int, l SlipLine) string { return l.SKU }},
		{Title: say.name, Width: 86, Text: func(_ int, l SlipLine) string { return l.Name }},
		{Title: say.quantity, Width: 14, Align: paper.Right, Bold: true, Text: func(_ int, l SlipLine) string { return strconv.Itoa(l.Quantity) }},
		{Title: say.note, Width: 40, Text: func(_ int, l SlipLine) string { return l.note(say) }},
	}}
}

// note says where the units are that were ordered and are not in this shipment.
func (l SlipLine) note(say captions) string {
	counted := func(words string, n int) string {
		if n < 1 {
			return ""
		}
		return fmt.Sprintf(words, n)
	}
	return joined(", ", counted(say.sent, l.Sent), counted(say.follows, l.Follows), counted(say.outOfStock, l.OutOfStock))
}

// running is the line on top of the pages after the first.
func running(doc *paper.Document, what, whose string) {
	doc.Write(paper.Cell{X: margin, Y: 11, Width: 110, Size: 11, Bold: true}, what)
	doc.Write(paper.Cell{X: margin + 110, Y: 11, Width: wide - 110, Size: 10, Align: paper.Right}, whose)
}

func foot(doc *paper.Document, stamp, page string) {
	doc.Write(paper.Cell{X: margin, Y: footer, Width: 95, Size: 8}, stamp)
	doc.Write(paper.Cell{X: margin + 95, Y: footer, Width: wide - 95, Size: 9, Align: paper.Right}, page)
}
