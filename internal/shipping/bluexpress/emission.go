package bluexpress

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// companyID is the number of Blue Express's company for parcels within Chile.
const companyID = 2000

// Book emits a service order: POST emission. Number and label come with the answer. Each
// call emits one more: before says whether it was emitted already.
func (c *Carrier) Book(ctx context.Context, b shipping.Booking, before shipping.Looked) (shipping.Answer, error) {
	if a, settled := wire.Settled(before); settled {
		return a, nil
	}
	body, err := c.emission(ctx, b)
	if err != nil {
		return shipping.Answer{}, err
	}
	r, err := c.call(ctx, wire.Request{Method: http.MethodPost, URL: c.orders + "/cmkin/customer/corp/emission/v1/emission", JSON: body})
	if err != nil {
		return shipping.Answer{}, err
	}
	var t trouble
	read := r.Read(&t)
	code, message := t.told()
	switch {
	case !r.OK():
		return r.Effect(code, wire.Words(message, b))
	case read && t.no():
		if code == "" {
			code = "status_false"
		}
		return shipping.Answer{Outcome: shipping.OutcomeRefused, Code: code, Message: wire.Words(message, b)}, nil
	}
	return emitted(r.Body), nil
}

// emitted reads the answer of an emission, flat or under data.
func emitted(raw []byte) shipping.Answer {
	type order struct {
		Number wire.Text `json:"trackingNumber"`
	}
	var out struct {
		order
		Data json.RawMessage `json:"data"`
	}
	var inner order
	if json.Unmarshal(raw, &out) != nil {
		return wire.Unread("an emission was answered with something else")
	}
	if json.Unmarshal(out.Data, &inner) != nil || inner.Number == "" {
		inner = out.order
	}
	if inner.Number == "" {
		return wire.Unread("an emission was answered without a number")
	}
	a := shipping.Answer{Outcome: shipping.OutcomeBooked, Tracking: string(inner.Number)}
	if label, known := labelIn(raw); known {
		a.Label = &label
	}
	return a
}

func (c *Carrier) emission(ctx context.Context, b shipping.Booking) (map[string]any, error) {
	from, err := c.find(ctx, b.From.Comuna, b.From.Region)
	if err != nil {
		return nil, err
	}
	to, err := c.find(ctx, b.To.Comuna, b.To.Region)
	if err != nil {
		return nil, err
	}
	switch {
	case !from.served:
		return nil, wire.Invalid("origin", "Blue Express does not know the comuna that the parcel is sent from")
	case !to.served:
		return nil, wire.Invalid("destination", "Blue Express does not go to the comuna")
	case b.Method != shipping.ToDoor:
		return nil, wire.Invalid("method", "Blue Express is used for delivery to the door only")
	}
	return map[string]any{
		"printFormatCode": printFormat(b.Label, c.Capabilities().Labels), "clientAccount": c.config.Account, "clientIdentifier": b.Reference, "quantityPackages": 1,
		"references": []string{b.Reference}, "serviceType": b.Service, "productType": "P", "productCategory": "PAQU", "currency": "CLP",
		"shipmentCost": b.DeclaredValue, "extendedClaim": false, "companyId": companyID, "userName": c.config.UserCode,
		"pickup": end(b.From, from, b.Sender), "dropoff": end(b.To, to, b.Receiver),
		"packages": []any{map[string]any{
			"shipmentCost": b.DeclaredValue, "references": []string{b.Reference}, "weightUnit": "KG", "lengthUnit": "CM", "weight": json.Number(wire.Kilos(b.Parcel.WeightGrams)),
			"length": wire.Centimetres(b.Parcel.LengthMM), "width": wire.Centimetres(b.Parcel.WidthMM), "height": wire.Centimetres(b.Parcel.HeightMM), "quantity": 1,
		}},
		"comments": b.Number,
	}, nil
}

// end is where a parcel is fetched or brought. Address and name have their limits.
func end(p shipping.Place, at where, c shipping.Contact) map[string]any {
	address := p.Street + " " + p.Number
	if p.Unit != "" {
		address += ", " + p.Unit
	}
	return map[string]any{
		"location": map[string]any{"districtId": at.code, "districtName": at.name, "address": wire.First(80, address), "agencyId": nil, "geolocation": nil},
		"contact":  map[string]any{"fullname": wire.First(50, c.Name), "phone": c.Phone, "email": c.Email},
	}
}

// Lookup asks for an emission by our reference: GET tracking-pull-corp/v1/search, which
// matches references exactly.
func (c *Carrier) Lookup(ctx context.Context, at shipping.Booked) (shipping.Looked, error) {
	query := url.Values{"accounts": {c.config.Account}, "references": {at.Reference}}
	r, err := c.call(ctx, wire.Request{Method: http.MethodGet, URL: c.orders + "/cmkin/bff/tracking-pull-corp/v1/search?" + query.Encode()})
	if err != nil {
		return shipping.Untried, err
	}
	if !r.OK() {
		return shipping.Untried, failed(r)
	}
	a, read := found(r.Body, at.Reference)
	if !read {
		return shipping.Untried, failed(r)
	}
	return shipping.Found(a), nil
}

// found reads what a search by one reference answered; read is false when it is none.
//
// Unconfirmed: that an order without references in the answer is the one asked for; one
// with other references is left out. Of several the newest number counts.
func found(raw []byte, reference string) (a shipping.Answer, read bool) {
	var out struct {
		Data []order `json:"data"`
	}
	if json.Unmarshal(raw, &out) != nil {
		if json.Unmarshal(raw, &out.Data) != nil {
			return a, false
		}
	} else if out.Data == nil {
		return a, false
	}
	a.Outcome = shipping.OutcomeNotFound
	for _, o := range out.Data {
		if o.ID == "" || len(o.References) > 0 && !slices.Contains(o.References, reference) {
			continue
		}
		a = shipping.Answer{Outcome: shipping.OutcomeBooked, Tracking: string(o.ID)}
	}
	return a, true
}
