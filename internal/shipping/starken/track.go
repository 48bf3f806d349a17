package starken

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// scan is an entry of a history. Who sends and who receives is not read.
type scan struct {
	Status    string `json:"status"`
	Note      string `json:"note"`
	CreatedAt string `json:"created_at"`
	UpdatedAt string `json:"updated_at"`
}

// Track asks for each freight order by its number: GET tracking/orden-flete/of/{number}.
func (c *Carrier) Track(ctx context.Context, numbers []string) (map[string]shipping.Track, error) {
	tracks := map[string]shipping.Track{}
	for _, number := range numbers {
		r := c.call(ctx, http.MethodGet, "/tracking/orden-flete/of/"+url.PathEscape(number), nil)
		if r.Status == http.StatusNotFound {
			continue
		}
		events, read := eventsOf(r.Body)
		if !r.OK() || !read {
			return nil, failed(r)
		}
		tracks[number] = shipping.Track{Number: number, Events: events}
	}
	return tracks, nil
}

// eventsOf reads a history; read is false when there is none.
func eventsOf(raw []byte) (events []shipping.Event, read bool) {
	var out struct {
		History []scan `json:"history"`
	}
	if json.Unmarshal(raw, &out) != nil || out.History == nil {
		return nil, false
	}
	for _, s := range out.History {
		events = append(events, s.event())
	}
	return wire.Ordered(events), true
}

func (s scan) event() shipping.Event {
	at := wire.Moment(s.CreatedAt)
	if at.IsZero() {
		at = wire.Moment(s.UpdatedAt)
	}
	return shipping.Event{At: at, State: state(s.Status), Text: strings.TrimSpace(s.Status), Where: strings.TrimSpace(s.Note)}
}

// state reads the text of an entry.
//
// Unconfirmed: Starken's dictionary of states is a spreadsheet that is not public. These
// are named by its documents for companies (https://developers.starken.cl); any other text
// is Unmapped, among them those that end a journey in a way that only a person can judge
// (redirected, auctioned off, confiscated, closed with a problem).
func state(text string) shipping.State {
	switch wire.Plain(text) {
	case "EN TRANSITO", "EN DESTINO":
		return shipping.InTransit
	case "ENTREGADO":
		return shipping.Delivered
	case "DEVUELTO AL CLIENTE":
		return shipping.Returned
	case "ENVIO ANULADO":
		return shipping.Voided
	}
	return shipping.Unmapped
}
