package shippingdoc

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
)

// RawLabels are the labels that a shipment's carrier gave, byte for byte, to be sent to a
// printer: of all parcels one after the other in their order, or of the parcel at a
// position; zero is all. What printers of labels read (ZPL, EPL) can follow one another;
// PDF and pictures are given of one parcel at a time.
//
// 404 for another tenant's shipment; 409 wrong_status without a carrier or after the end,
// no_label where the carrier has given none (our own for carrying by hand are
// shipping.Labels), labels_apart when several cannot be sent as one.
func RawLabels(ctx context.Context, tx pgx.Tx, tenantID, shipmentID string, position int) (shipping.Label, error) {
	s, err := shipping.Get(ctx, tx, tenantID, shipmentID)
	if err != nil {
		return shipping.Label{}, err
	}
	refused := func(code, detail string) error {
		return problem.New(problem.Conflict, code, detail).With("current", s)
	}
	if !slices.Contains(labelled, s.Status) {
		return shipping.Label{}, refused("wrong_status", "The shipment is "+s.Status+": it has no label.")
	}
	list, err := shipping.CarrierLabels(ctx, tx, tenantID, shipping.OfShipment(shipmentID), position)
	if err != nil {
		return shipping.Label{}, err
	}
	of := "this shipment"
	if position > 0 {
		of = fmt.Sprintf("parcel %d", position)
	}
	switch {
	case len(list) == 0 && s.Carrier == string(shipping.Manual):
		return shipping.Label{}, refused("no_label", "No carrier labels what is carried by hand: take labels.zpl or labels.pdf.")
	case len(list) == 0:
		return shipping.Label{}, refused("no_label", shipping.Name(s.Carrier).Title()+" has given no label for "+of+".")
	}
	joined, ok := join(list)
	if !ok {
		return shipping.Label{}, refused("labels_apart", "The labels are "+formats(list)+", which cannot be sent to a printer as one: ask for each parcel's by itself (parcel=1, 2, ...).")
	}
	return joined, nil
}

// join puts labels of one format behind one another. A printer's command ends with its
// line.
func join(list []shipping.Label) (shipping.Label, bool) {
	out := shipping.Label{Format: list[0].Format, Data: list[0].Data}
	if len(list) == 1 {
		return out, true
	}
	if out.Format != shipping.ZPL && out.Format != shipping.EPL {
		return out, false
	}
	var all bytes.Buffer
	for i, l := range list {
		if l.Format != out.Format {
			return out, false
		}
		if i > 0 && !bytes.HasSuffix(list[i-1].Data, []byte("\n")) {
			all.WriteByte('\n')
		}
		all.Write(l.Data)
	}
	out.Data = all.Bytes()
	return out, true
}

// formats names what several labels are, such as "zpl, pdf".
func formats(list []shipping.Label) string {
	var names []string
	for _, l := range list {
		if !slices.Contains(names, string(l.Format)) {
			names = append(names, string(l.Format))
		}
	}
	return strings.Join(names, ", ")
}
