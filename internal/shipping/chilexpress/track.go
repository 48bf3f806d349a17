package chilexpress

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// trackedOrder is an order as tracking tells it. Who received the parcel is not read.
type trackedOrder struct {
	Order struct {
		Number    wire.Text `json:"transportOrderNumber"` // text here, a number elsewhere
		Reference string    `json:"reference"`
	} `json:"transportOrderData"`
	Events []scan `json:"trackingEvents"`
}

type scan struct {
	Date     string `json:"eventDate"`
	Hour     string `json:"eventHour"`
	DateTime string `json:"eventDateTime"`
	Text     string `json:"description"`
	Location string `json:"location"`
	Code     struct {
		Event wire.Text `json:"eventCode"`
	} `json:"code"`
}

// Track asks for several orders at once: POST tracking/bulk.
func (c *Carrier) Track(ctx context.Context, numbers []string) (map[string]shipping.Track, error) {
	var input []any
	for _, text := range numbers {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue // not one of Chilexpress's: it does not know it
		}
		input = append(input, map[string]any{"reference": "", "transportOrderNumber": n})
	}
	if len(input) == 0 {
		return map[string]shipping.Track{}, nil
	}
	r := c.post(ctx, c.config.ShippingKey, "/transport-orders/api/v1.0/tracking/bulk",
		map[string]any{"rut": rutNumber(c.rut), "showTrackingEvents": 1, "trackingInput": input})
	tracks, read := tracksOf(r.Body)
	if !r.OK() || !read {
		return nil, failed(r)
	}
	return tracks, nil
}

// tracksOf reads the answer of the bulk; read is false when it is none.
func tracksOf(raw []byte) (map[string]shipping.Track, bool) {
	var out struct {
		envelope
		Data []trackedOrder `json:"data"`
	}
	if json.Unmarshal(raw, &out) != nil || out.code() != "" || out.Data == nil {
		return nil, false
	}
	tracks := map[string]shipping.Track{}
	for _, o := range out.Data {
		number := o.Order.Number.Digits()
		if number == "" {
			continue
		}
		t := shipping.Track{Number: number}
		for _, s := range o.Events {
			t.Events = append(t.Events, s.event())
		}
		t.Events = wire.Ordered(t.Events)
		tracks[number] = t
	}
	return tracks, true
}

func (s scan) event() shipping.Event {
	return shipping.Event{At: s.at(), State: state(s.Text), Code: string(s.Code.Event), Text: strings.TrimSpace(s.Text), Where: strings.TrimSpace(s.Location)}
}

// at is when it happened, in Chile's time.
//
// Unconfirmed: the form of the three fields.
func (s scan) at() time.Time {
	if at := wire.Moment(s.DateTime); !at.IsZero() {
		return at
	}
	return wire.Moment(s.Date + " " + s.Hour)
}

// state reads the text of an event.
//
// Unconfirmed: Chilexpress mails its list of states only on request. These were seen by
// others; any other text is Unmapped, and nothing that it says moves an order. No text
// for a try at the door that found nobody is known.
func state(text string) shipping.State {
	switch wire.Plain(text) {
	case "PRE-RECEPCION":
		return shipping.Announced
	case "PIEZA RECIBIDA EN CHILEXPRESS", "RECEPCIONADO", "PIEZA EN TRANSITO AL DESTINO", "EN PROCESO DE DESPACHO", "DESCARGADA", "EN TRANSFERENCIA":
		return shipping.InTransit
	case "PIEZA EN RUTA AL DESTINATARIO":
		return shipping.OutForDelivery
	case "PIEZA ENTREGADA A DESTINATARIO", "ENTREGADO":
		return shipping.Delivered
	case "DEVUELTO":
		return shipping.Returned
	case "EXTRAVIADO":
		return shipping.Lost
	}
	return shipping.Unmapped
}
