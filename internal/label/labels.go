package label

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/gs1"
)

// Sizes in millimetres. Bins, lots and picks share one roll.
const (
	smallWidth, smallHeight   = 100, 50
	parcelWidth, parcelHeight = 100, 150
)

// Print says how a label is printed.
type Print struct {
	DPI      int      // 203 or 300, the printer's
	Copies   int      // 1 to 999
	Language Language // of the captions; empty is Spanish
}

// Direction is where an arrow on a bin's label points.
type Direction string

// Labels of two levels often hang side by side on the beam between them, and the
// arrow says which of the levels is meant.
const (
	NoArrow Direction = ""
	Up      Direction = "up"
	Down    Direction = "down"
)

// Bin is the label of a place in the warehouse, 100 x 50 mm. Both its codes
// hold Code and nothing else.
type Bin struct {
	Code      string // required
	Warehouse string // its name
	Arrow     Direction
}

// ZPL writes the label.
func (b Bin) ZPL(p Print) (string, error) {
	l, _, err := p.begin(smallWidth, smallHeight)
	if err != nil {
		return "", fmt.Errorf("bin label: %w", err)
	}
	l.require("code", b.Code)
	l.Fit(Area{4, 4, 62, 18}, b.Code)
	l.Text(Area{4, 44, 62, 3}, b.Warehouse)
	l.Code128(Area{1, 24, 67, 18}, b.Code)
	switch b.Arrow {
	case NoArrow:
		l.QR(Area{67, 9, 31, 31}, b.Code)
	case Up, Down:
		l.QR(Area{67, 1, 31, 31}, b.Code)
		l.Arrow(Area{75, 33, 15, 14}, b.Arrow == Down)
	default:
		l.fail(fmt.Errorf("an arrow points up or down, not %q", b.Arrow))
	}
	return l.finish("bin")
}

// Lot is the label of goods of one lot, 100 x 50 mm. With a GTIN its barcode is
// a GS1 symbol with AIs 01, 17 and 10; without one, or with a lot that GS1
// doesn't allow, it holds LotCode.
type Lot struct {
	SKU    string // required
	Name   string
	Lot    string
	Expiry time.Time // a day in UTC; zero when the goods have none
	GTIN   string    // 8, 12, 13 or 14 digits, or empty
}

// ZPL writes the label. now is the day of printing, from which a scanner will
// count the century of the expiry.
func (o Lot) ZPL(p Print, now time.Time) (string, error) {
	l, say, err := p.begin(smallWidth, smallHeight)
	if err != nil {
		return "", fmt.Errorf("lot label: %w", err)
	}
	l.require("SKU", o.SKU)
	l.Fit(Area{4, 3, 92, 6}, o.SKU)
	l.Lines(Area{4, 9.5, 92, 7.5}, 2, o.Name)
	if o.Lot != "" {
		l.Text(Area{4, 17.5, 50, 2.3}, say.lot)
		l.Fit(Area{4, 20, 54, 5}, o.Lot)
	}
	if !o.Expiry.IsZero() {
		l.Text(Area{62, 17.5, 34, 2.3}, say.expires)
		l.Fit(Area{62, 20, 34, 5}, o.Expiry.Format("02-01-2006"))
	}
	o.barcode(l, Area{0, 26, smallWidth, 18}, Area{4, 45, 92, 2.8}, now)
	return l.finish("lot")
}

func (o Lot) barcode(l *Label, code, below Area, now time.Time) {
	gtin, ok := gs1.GTIN14(o.GTIN)
	switch {
	case o.GTIN != "" && !ok:
		l.fail(fmt.Errorf("%q is no GTIN: its check digit or length is wrong", o.GTIN))
		return
	case strings.Contains(o.SKU, lotMark):
		l.fail(fmt.Errorf("SKU %q has a %s, which ends the SKU in the barcode", o.SKU, lotMark))
		return
	}
	lot := gs1.Element{AI: "10", Value: o.Lot}
	_, err := gs1.Encode([]gs1.Element{lot}, now)
	if o.GTIN == "" || o.Lot != "" && err != nil {
		l.Code128(code, LotCode(o.SKU, o.Lot))
		l.Fit(below, LotCode(o.SKU, o.Lot))
		return
	}
	elements := []gs1.Element{{AI: "01", Value: gtin}}
	if !o.Expiry.IsZero() {
		elements = append(elements, gs1.On("17", o.Expiry))
	}
	if o.Lot != "" {
		elements = append(elements, lot)
	}
	l.GS1(code, elements, now)
	l.Fit(below, gs1.HumanReadable(elements))
}

// lotMark stands between SKU and lot. A SKU never has it.
const lotMark = "|"

// LotCode is what a lot's barcode holds when it isn't GS1: SKU|lot, and only
// the SKU when there is no lot.
func LotCode(sku, lot string) string {
	if lot == "" {
		return sku
	}
	return sku + lotMark + lot
}

// ReadLotCode takes a LotCode of a SKU and a lot apart, and reports whether it
// is one. What it refuses may be a bare SKU.
func ReadLotCode(code string) (sku, lot string, ok bool) {
	sku, lot, ok = strings.Cut(code, lotMark)
	return sku, lot, ok && sku != "" && lot != ""
}

// Pick is the label that a picker puts on what was taken for an order, 100 x 50
// mm. Its code holds the order number, for the scan at the packing table.
type Pick struct {
	Order    string // the order's number; required
	Position int    // of Of, from 1: the line of the order
	Of       int
	SKU      string // required
	Name     string
	Bin      string // where it was taken; required
	Quantity int    // units
}

// ZPL writes the label.
func (k Pick) ZPL(p Print) (string, error) {
	l, say, err := p.begin(smallWidth, smallHeight)
	if err != nil {
		return "", fmt.Errorf("pick label: %w", err)
	}
	l.require("order", k.Order)
	l.require("SKU", k.SKU)
	l.require("bin", k.Bin)
	if k.Position < 1 || k.Position > k.Of {
		l.fail(fmt.Errorf("position %d of %d", k.Position, k.Of))
	}
	if k.Quantity < 1 {
		l.fail(fmt.Errorf("quantity %d", k.Quantity))
	}
	l.Text(Area{4, 2.5, 50, 2.3}, say.order)
	l.Fit(Area{4, 5, 64, 7}, k.Order)
	l.Fit(Area{72, 5, 24, 7}, fmt.Sprintf(say.position, k.Position, k.Of))
	l.Box(Area{4, 12.8, 92, 0}, 0.3)
	l.Fit(Area{4, 14, 92, 5}, k.SKU)
	l.Text(Area{4, 19.7, 92, 3.2}, k.Name)
	l.Text(Area{4, 24, 50, 2.3}, say.bin)
	l.Fit(Area{4, 26.5, 64, 6}, k.Bin)
	l.Text(Area{72, 24, 24, 2.3}, say.quantity)
	l.Fit(Area{72, 26.5, 24, 6}, strconv.Itoa(k.Quantity))
	l.Code128(Area{0, 34, smallWidth, 14.5}, k.Order)
	return l.finish("pick")
}

// Parcel is our own label of a parcel, 100 x 150 mm, for tenants whose carrier
// prints none. Both its codes hold the shipment's id. It shows of the buyer
// what the caller puts into Recipient and Address, and nothing else.
type Parcel struct {
	Shipment  string // id; required
	Order     string // number; required
	Grams     int    // weight
	Warehouse string // the sender's name; required
	Recipient string
	Address   []string // up to 5 lines
}

// ZPL writes the label.
func (c Parcel) ZPL(p Print) (string, error) {
	l, say, err := p.begin(parcelWidth, parcelHeight)
	if err != nil {
		return "", fmt.Errorf("parcel label: %w", err)
	}
	l.require("shipment", c.Shipment)
	l.require("order", c.Order)
	l.require("warehouse", c.Warehouse)
	if c.Grams < 1 {
		l.fail(fmt.Errorf("weight %d g", c.Grams))
	}
	if len(c.Address) > 5 {
		l.fail(fmt.Errorf("an address has up to 5 lines, not %d", len(c.Address)))
	}
	l.Text(Area{4, 4, 60, 2.8}, say.from)
	l.Fit(Area{4, 7.5, 92, 5}, c.Warehouse)
	l.Box(Area{4, 15, 92, 0}, 0.5)
	if c.Recipient != "" || len(c.Address) > 0 {
		l.Text(Area{4, 18, 60, 2.8}, say.to)
	}
	l.Fit(Area{4, 22, 92, 7}, c.Recipient)
	for i, line := range c.Address {
		l.Fit(Area{4, 31 + float64(7*i), 92, 5.5}, line)
	}
	l.Box(Area{4, 67, 92, 0}, 0.5)
	l.Text(Area{4, 70, 40, 2.8}, say.order)
	l.Fit(Area{4, 73.5, 54, 9}, c.Order)
	l.Text(Area{4, 88, 40, 2.8}, say.weight)
	l.Fit(Area{4, 91.5, 54, 9}, kilograms(c.Grams, say.decimal))
	l.QR(Area{60, 69, 39, 39}, c.Shipment)
	l.Box(Area{4, 109, 92, 0}, 0.5)
	l.Text(Area{4, 111.5, 60, 2.8}, say.shipment)
	l.Code128(Area{0, 116, parcelWidth, 24}, c.Shipment)
	l.Fit(Area{4, 142, 92, 5}, c.Shipment)
	return l.finish("parcel")
}

// kilograms writes grams as kilograms without zeros at the end: 1,25 kg.
func kilograms(grams int, decimal string) string {
	text := strings.TrimRight(fmt.Sprintf("%d%s%03d", grams/1000, decimal, grams%1000), "0")
	return strings.TrimSuffix(text, decimal) + " kg"
}

func (p Print) begin(width, height int) (*Label, captions, error) {
	if p.Language == "" {
		p.Language = Spanish
	}
	say, ok := captionsOf[p.Language]
	if !ok {
		return nil, captions{}, fmt.Errorf("labels are written in es or en, not %q", p.Language)
	}
	l := New(width, height, p.DPI)
	l.Copies(p.Copies)
	return l, say, nil
}

// require refuses a label without that field.
func (l *Label) require(name, value string) {
	if printable(value) == "" {
		l.fail(errors.New(name + " is missing"))
	}
}

func (l *Label) finish(kind string) (string, error) {
	zpl, err := l.ZPL()
	if err != nil {
		return "", fmt.Errorf("%s label: %w", kind, err)
	}
	return zpl, nil
}
