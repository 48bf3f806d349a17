package shippingdoc

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"justlogistics/internal/label"
	"justlogistics/internal/paper"
	"justlogistics/internal/shipping"
)

// captions are the fixed words of the papers.
type captions struct {
	language                                                label.Language
	from, to, order, shipment, parcel, of, weight, carrier  string
	reference, tracking, own                                string
	slip, manifest, page, printed, position, name, quantity string
	note, follows, sent, outOfStock, units                  string
	parcels, total, comuna, handedOver, waiting, noParcels  string
	driver, rut, signature, hour, decimal                   string
}

var captionsOf = map[label.Language]captions{
	label.Spanish: {
		from: "Desde", to: "Para", order: "Pedido", shipment: "Envío", parcel: "Bulto", of: "%d de %d", weight: "Peso", carrier: "Transportista",
		reference: "Referencia", tracking: "Seguimiento", own: "Despacho propio",
		slip: "Lista de empaque", manifest: "Manifiesto de entrega", page: "Página %d de %d", printed: "Impreso el", position: "N°", name: "Producto", quantity: "Cant.",
		note: "Nota", follows: "%d en otro envío", sent: "%d ya enviadas", outOfStock: "%d sin stock", units: "Unidades en este envío: %d",
		parcels: "Bultos: %d   |   Envíos: %d   |   Peso: %s kg", total: "Total", comuna: "Comuna", handedOver: "Entregados el", waiting: "Listos para retiro el", noParcels: "No hay bultos",
		driver: "Nombre del conductor", rut: "RUT", signature: "Firma", hour: "Hora", decimal: ",",
	},
	label.English: {
		from: "From", to: "To", order: "Order", shipment: "Shipment", parcel: "Parcel", of: "%d of %d", weight: "Weight", carrier: "Carrier",
		reference: "Reference", tracking: "Tracking", own: "Own delivery",
		slip: "Packing slip", manifest: "Manifest", page: "Page %d of %d", printed: "Printed at", position: "No.", name: "Product", quantity: "Qty",
		note: "Note", follows: "%d will follow", sent: "%d sent before", outOfStock: "%d out of stock", units: "Units in this shipment: %d",
		parcels: "Parcels: %d   |   Shipments: %d   |   Weight: %s kg", total: "Total", comuna: "Comuna", handedOver: "Handed over on", waiting: "Ready for collection on", noParcels: "There are no parcels",
		driver: "Driver's name", rut: "RUT", signature: "Signature", hour: "Time", decimal: ".",
	},
}

// Print is how a paper is printed.
type Print struct {
	Language label.Language // of the captions; empty is Spanish
	At       time.Time      // required
	Zone     *time.Location // the tenant's; required
}

func (p Print) begin() (captions, error) {
	if p.Language == "" {
		p.Language = label.Spanish
	}
	say, ok := captionsOf[p.Language]
	switch {
	case !ok:
		return say, fmt.Errorf("papers are written in es or en, not %q", p.Language)
	case p.Zone == nil || p.At.IsZero():
		return say, fmt.Errorf("a paper needs the moment of printing and its time zone")
	}
	say.language = p.Language
	return say, nil
}

// stamp says when the paper was printed.
func (p Print) stamp(say captions) string {
	return say.printed + " " + p.At.In(p.Zone).Format("02-01-2006 15:04 MST")
}

// kilograms writes grams with three decimals, so that columns can be compared.
func (say captions) kilograms(grams int64) string {
	return fmt.Sprintf("%d%s%03d", grams/1000, say.decimal, grams%1000)
}

// title is what people call a carrier.
func (say captions) title(carrier shipping.Name) string {
	if carrier == shipping.Manual {
		return say.own
	}
	return carrier.Title()
}

// joined joins what is not empty.
func joined(with string, parts ...string) string {
	var full []string
	for _, p := range parts {
		if p != "" {
			full = append(full, p)
		}
	}
	return strings.Join(full, with)
}

func output(doc *paper.Document) ([]byte, error) {
	var out bytes.Buffer
	if err := doc.Output(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
