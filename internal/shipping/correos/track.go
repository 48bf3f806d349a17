package correos

import (
	"context"
	"slices"
	"strings"
	"time"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// history is a parcel as trazabilidad tells it, the newest first
// (https://developers.correos.cl/v2/trazabilidad). Who received it is not read.
type history struct {
	Number    wire.Text `json:"numeroEnvio"`
	Reference string    `json:"referencia"`
	// Return is the number under which it goes back, if it does.
	Return wire.Text `json:"devolucion"`
	Events []scan    `json:"historial"`
}

type scan struct {
	Date   string    `json:"fecha"`
	Dated  string    `json:"fechaString"`
	Text   string    `json:"estado"`
	Office string    `json:"oficina"`
	Base   wire.Text `json:"estadoBase"`
}

// Track asks for each parcel by its number: GET trazabilidad/{number}.
func (c *Carrier) Track(ctx context.Context, numbers []string) (map[string]shipping.Track, error) {
	tracks := map[string]shipping.Track{}
	for _, number := range numbers {
		h, found, err := c.history(ctx, number)
		if err != nil {
			return nil, err
		}
		if found && string(h.Number) == number {
			tracks[number] = h.track()
		}
	}
	return tracks, nil
}

func (h history) track() shipping.Track {
	t := shipping.Track{Number: string(h.Number)}
	for _, s := range slices.Backward(h.Events) {
		t.Events = append(t.Events, s.event())
	}
	t.Events = wire.Ordered(t.Events)
	if n := h.Return.Digits(); n != "" {
		// The number is all that is told of a return; it is as old as the newest event.
		back := shipping.Event{State: shipping.Returning, Code: "devolucion", Text: "devolución " + n}
		if len(t.Events) > 0 {
			back.At = t.Events[len(t.Events)-1].At
		}
		t.Events = append(t.Events, back)
	}
	return t
}

// voided is true once the history says that the parcel was cancelled.
func (h history) voided() bool {
	return slices.ContainsFunc(h.Events, func(s scan) bool { return s.state() == shipping.Voided })
}

func (s scan) event() shipping.Event {
	return shipping.Event{At: s.at(), State: s.state(), Code: string(s.Base), Text: strings.TrimSpace(s.Text), Where: strings.TrimSpace(s.Office)}
}

// at reads fecha: ISO 8601 by the page, and day-month-year with a T in answers that
// others have seen; both in Chile's time.
func (s scan) at() time.Time {
	if at := wire.Moment(s.Date); !at.IsZero() {
		return at
	}
	return wire.Moment(s.Dated)
}

// state reads estadoBase: the codes are those by which Correos's own page of tracking
// groups parcels into delivered, not delivered and on the way.
//
// Unconfirmed: all other codes, which are Unmapped. Out for delivery is not told from on
// the way.
func (s scan) state() shipping.State {
	switch s.Base {
	case "006", "010":
		return shipping.Delivered
	case "007", "011":
		return shipping.DeliveryFailed
	case "003", "004", "005", "008":
		return shipping.InTransit
	case "":
		if annulled(s.Text) {
			return shipping.Voided
		}
	}
	return shipping.Unmapped
}
