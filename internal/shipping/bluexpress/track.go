package bluexpress

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// order is a service order as tracking tells it. Its state and stateDesc stay at
// "printed" whatever happens, so they are not read.
type order struct {
	ID         wire.Text `json:"orderId"`
	References []string  `json:"references"`
	Packages   []struct {
		Trackings []scan `json:"trackings"`
	} `json:"packages"`
}

type scan struct {
	Type     string    `json:"eventType"`
	TypeText string    `json:"eventTypeDesc"`
	Code     wire.Text `json:"eventCode"`
	Text     string    `json:"eventCodeDesc"`
	Date     string    `json:"eventDate"`
	Location wire.Text `json:"location"`
}

// Track asks for each parcel by its number: GET tracking-pull-corp/v1/{number}.
func (c *Carrier) Track(ctx context.Context, numbers []string) (map[string]shipping.Track, error) {
	tracks := map[string]shipping.Track{}
	for _, number := range numbers {
		r, err := c.call(ctx, wire.Request{Method: http.MethodGet, URL: c.orders + "/cmkin/bff/tracking-pull-corp/v1/" + url.PathEscape(number)})
		if err != nil {
			return nil, err
		}
		if r.Status == http.StatusNotFound {
			continue
		}
		t, read := trackOf(r.Body)
		if !r.OK() || !read || t.Number != number {
			return nil, failed(r)
		}
		tracks[number] = t
	}
	return tracks, nil
}

// trackOf reads an order; read is false when it is none.
func trackOf(raw []byte) (shipping.Track, bool) {
	var out struct {
		order
		Data *order `json:"data"`
	}
	if json.Unmarshal(raw, &out) != nil {
		return shipping.Track{}, false
	}
	o := out.order
	if o.ID == "" && out.Data != nil {
		o = *out.Data
	}
	t := shipping.Track{Number: string(o.ID)}
	for _, p := range o.Packages {
		for _, s := range p.Trackings {
			t.Events = append(t.Events, s.event())
		}
	}
	t.Events = wire.Ordered(t.Events)
	return t, o.ID != ""
}

func (s scan) event() shipping.Event {
	kind, code := strings.ToUpper(strings.TrimSpace(s.Type)), strings.ToUpper(string(s.Code))
	text := strings.TrimSpace(s.Text)
	if text == "" {
		text = strings.TrimSpace(s.TypeText)
	}
	return shipping.Event{
		At: wire.Moment(s.Date), State: stateOf(kind, code), Code: strings.Trim(kind+" "+code, " "), Text: text, Where: strings.TrimSpace(string(s.Location)),
	}
}

// stateOf reads an event by its code, and by its type where the code is not known.
//
// Unconfirmed: the codes are those that integrators have listed. DLV is of the type of
// deliveries and is not one: the parcel is back with the sender. So an unknown code of
// that type is Unmapped, and so are exceptions (TS in resolution, MRC misrouted).
func stateOf(kind, code string) shipping.State {
	switch code {
	case "FI", "GE": // there is a number, and nobody has seen the parcel
		return shipping.Announced
	case "PU", "SOB", "PUH", "IC", "AS", "DA":
		return shipping.InTransit
	case "LD":
		return shipping.OutForDelivery
	case "DL":
		return shipping.Delivered
	case "NH", "RD":
		return shipping.DeliveryFailed
	case "DR":
		return shipping.Returning
	case "DLV":
		return shipping.Returned
	case "TS", "MRC":
		return shipping.Unmapped
	}
	switch kind {
	case "PR":
		return shipping.Announced
	case "IN":
		return shipping.InTransit
	case "ON":
		return shipping.OutForDelivery
	case "NE":
		return shipping.DeliveryFailed
	}
	return shipping.Unmapped
}
