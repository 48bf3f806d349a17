package shippingdoc

import (
	"fmt"
	"strconv"
	"time"

	"justlogistics/internal/paper"
	"justlogistics/internal/shipping"
)

// Manifest is what one carrier takes, or took, from one warehouse on a day by the
// tenant's clock.
type Manifest struct {
	Shop          string        `json:"shop"`
	Warehouse     string        `json:"warehouse"`
	WarehouseName string        `json:"warehouse_name"`
	Carrier       shipping.Name `json:"carrier"`
	Date          string        `json:"date"` // 2006-01-02
	TimeZone      string        `json:"time_zone"`
	// Status is handed_over or labelled: what has left on that day, or what waited at
	// its end and waits still.
	Status string   `json:"status"`
	Data   []Loaded `json:"data"`
	Totals Totals   `json:"totals"`
}

// Loaded is a parcel of a manifest.
type Loaded struct {
	ShipmentID  string `json:"shipment_id"`
	OrderID     string `json:"order_id"`
	OrderNumber string `json:"order_number"`
	ParcelID    string `json:"parcel_id"`
	Position    int    `json:"position"`
	Of          int    `json:"of"`
	Reference   string `json:"reference"`
	Tracking    string `json:"tracking"`
	WeightGrams int    `json:"weight_grams"`
	Comuna      string `json:"comuna"`
	// LabelledAt and HandedOverAt are in UTC.
	LabelledAt   time.Time  `json:"labelled_at"`
	HandedOverAt *time.Time `json:"handed_over_at"`
}

// Totals are of all parcels of a manifest.
type Totals struct {
	Parcels     int   `json:"parcels"`
	Shipments   int   `json:"shipments"`
	WeightGrams int64 `json:"weight_grams"`
}

// add makes the totals.
func (m *Manifest) add() {
	m.Totals = Totals{Parcels: len(m.Data)}
	seen := map[string]bool{}
	for _, p := range m.Data {
		m.Totals.WeightGrams += int64(p.WeightGrams)
		seen[p.ShipmentID] = true
	}
	m.Totals.Shipments = len(seen)
}

// signatureHeight is the room for what the driver writes, with the totals.
const signatureHeight = 48.0

// PDF is the manifest on A4, with a place for the driver's name, RUT, signature and time
// on the last page. The same manifest makes the same bytes.
func (m Manifest) PDF(p Print) ([]byte, error) {
	say, err := p.begin()
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	day, err := time.Parse(time.DateOnly, m.Date)
	if err != nil {
		return nil, fmt.Errorf("manifest: day: %w", err)
	}
	m.add()
	title := joined(" ", say.manifest, say.title(m.Carrier), day.Format("02-01-2006"))
	doc := paper.New(paper.A4, paper.About{Title: title, Language: string(say.language), At: p.At})
	table := manifestTable(say)
	const firstTable = 46.0
	top := firstTable
	pages := paper.Share(m.Data, table.Fit(firstTable, bottom), table.Fit(nextTable, bottom))
	// The signature stands below the last rows, or alone on a page.
	last := pages[len(pages)-1]
	lastTop := nextTable
	if len(pages) == 1 {
		lastTop = firstTable
	}
	if lastTop+headHeight+table.RowHeight*float64(len(last.Rows))+signatureHeight > bottom {
		pages = append(pages, paper.Part[Loaded]{First: last.First + len(last.Rows)})
	}
	for i, part := range pages {
		doc.Page()
		if i == 0 {
			m.heading(doc, say, day)
		} else {
			top = nextTable
			running(doc, title, joined(" · ", m.Shop, m.WarehouseName))
		}
		table.Head(doc, top, wide)
		for j, parcel := range part.Rows {
			table.Row(doc, top+headHeight+table.RowHeight*float64(j), wide, part.First+j, parcel)
		}
		if len(m.Data) == 0 {
			doc.Write(paper.Cell{X: margin, Y: top + headHeight + 5, Width: wide, Size: 11, Align: paper.Centre}, say.noParcels)
		}
		if i == len(pages)-1 {
			m.signature(doc, say, max(top+headHeight+table.RowHeight*float64(len(part.Rows)), top+20))
		}
		foot(doc, p.stamp(say), fmt.Sprintf(say.page, i+1, len(pages)))
	}
	return output(doc)
}

func (m Manifest) heading(doc *paper.Document, say captions, day time.Time) {
	moment := say.handedOver
	if m.Status == shipping.Labelled {
		moment = say.waiting
	}
	doc.Write(paper.Cell{X: margin, Y: 9, Width: wide, Size: 10}, say.manifest)
	doc.Write(paper.Cell{X: margin, Y: 13.5, Width: wide, Size: 20, Bold: true}, say.title(m.Carrier))
	doc.Write(paper.Cell{X: margin, Y: 23, Width: wide, Size: 12, Bold: true}, joined(" · ", m.Shop, m.WarehouseName))
	doc.Write(paper.Cell{X: margin, Y: 29.5, Width: wide, Size: 11}, moment+" "+day.Format("02-01-2006"))
	doc.Write(paper.Cell{X: margin, Y: 36, Width: wide, Size: 11}, m.summary(say))
}

func (m Manifest) summary(say captions) string {
	return fmt.Sprintf(say.parcels, m.Totals.Parcels, m.Totals.Shipments, say.kilograms(m.Totals.WeightGrams))
}

func manifestTable(say captions) paper.Table[Loaded] {
	return paper.Table[Loaded]{X: margin, HeadHeight: headHeight, RowHeight: 8, Columns: []paper.Column[Loaded]{
		{Title: say.position, Width: 11, Align: paper.Right, Text: func(position int, _ Loaded) string { return strconv.Itoa(position) }},
		{Title: say.order, Width: 32, Bold: true, Text: func(_ int, p Loaded) string { return p.OrderNumber }},
		{Title: say.parcel, Width: 17, Text: func(_ int, p Loaded) string { return fmt.Sprintf(say.of, p.Position, p.Of) }},
		{Title: say.tracking, Width: 40, Text: func(_ int, p Loaded) string { return p.Tracking }},
		{Title: say.reference, Width: 38, Text: func(_ int, p Loaded) string { return p.Reference }},
		{Title: say.comuna, Width: 34, Text: func(_ int, p Loaded) string { return p.Comuna }},
		{Title: "kg", Width: 18, Align: paper.Right, Text: func(_ int, p Loaded) string { return say.kilograms(int64(p.WeightGrams)) }},
	}}
}

// signature is what the driver fills in, under the totals.
func (m Manifest) signature(doc *paper.Document, say captions, y float64) {
	doc.Write(paper.Cell{X: margin, Y: y + 3, Width: wide, Size: 11, Bold: true, Align: paper.Right}, say.total+":   "+m.summary(say))
	for _, field := range []struct {
		caption string
		x, y    float64
		width   float64
	}{{say.driver, margin, 24, 110}, {say.rut, margin + 120, 24, 70}, {say.signature, margin, 42, 110}, {say.hour, margin + 120, 42, 70}} {
		doc.Rule(field.x, y+field.y, field.width, 0.3)
		doc.Write(paper.Cell{X: field.x, Y: y + field.y + 0.8, Width: field.width, Size: 8}, field.caption)
	}
}
