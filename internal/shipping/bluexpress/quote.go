package bluexpress

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// Quote asks for the price of each service of the account: POST legacy-pricing, once for
// each. A service that is refused is left out when another has a price.
func (c *Carrier) Quote(ctx context.Context, q shipping.QuoteRequest) ([]shipping.Offer, error) {
	from, err := c.find(ctx, q.From.Comuna, q.From.Region)
	if err != nil {
		return nil, err
	}
	to, err := c.find(ctx, q.To.Comuna, q.To.Region)
	if err != nil {
		return nil, err
	}
	if !from.served || !to.served || q.Method != shipping.ToDoor {
		return nil, nil
	}
	var offers []shipping.Offer
	var refused error
	for _, service := range c.config.Services {
		r, err := c.call(ctx, wire.Request{
			Method: http.MethodPost, URL: c.pricing + "/eplin/external/ecommerce/bff/v1/legacy-pricing",
			Header: map[string]string{"BX-TOKEN": c.config.Token}, JSON: pricingBody(from, to, service, q.Parcel),
		})
		if err != nil {
			return nil, err
		}
		offer, priced := offerOf(r.Body, service)
		switch {
		case priced && r.OK() && !same(offers, offer):
			offers = append(offers, offer)
		case priced && r.OK() || noService(r): // PY is told with EX's price where it is not quicker
		case r.OK() && answered(r):
			// A price of nothing.
		case r.OK():
			refused = failed(r)
		default:
			return nil, failed(r)
		}
	}
	if len(offers) == 0 {
		return nil, refused
	}
	return offers, nil
}

// pricingBody asks for a price. Sizes are whole centimetres, weights whole kilograms.
//
// Unconfirmed: the shape is that of an integrator who quotes Blue Express's document,
// Pricing 1.0.0, and whose key was not enabled for it.
func pricingBody(from, to where, service string, p shipping.Parcel) map[string]any {
	destination := map[string]any{"country": "CL", "district": to.code}
	if n, numbered := to.state.Whole(); numbered && n > 0 {
		destination["state"] = n
	}
	return map[string]any{
		"from": map[string]any{"country": "CL", "district": from.code}, "to": destination, "serviceType": service,
		"datosProducto": map[string]any{"producto": "P", "familiaProducto": "PAQU", "bultos": []any{map[string]any{
			"largo": wire.Centimetres(p.LengthMM), "ancho": wire.Centimetres(p.WidthMM), "alto": wire.Centimetres(p.HeightMM),
			"pesoFisico": max(1, (p.WeightGrams+999)/1000), "cantidad": 1,
		}}},
	}
}

type priced struct {
	trouble
	Data struct {
		Total wire.Text `json:"total"`
		By    string    `json:"fechaEstimadaEntrega"`
	} `json:"data"`
}

// offerOf reads a price; false when there is none.
func offerOf(raw []byte, service string) (shipping.Offer, bool) {
	var out priced
	if json.Unmarshal(raw, &out) != nil || out.no() {
		return shipping.Offer{}, false
	}
	price, is := out.Data.Total.Pesos()
	if !is {
		return shipping.Offer{}, false
	}
	return shipping.Offer{Service: service, Name: services[service], Method: shipping.ToDoor, Price: price, DeliverBy: wire.Day(out.Data.By)}, true
}

// answered is true for an answer about a price, though the price be nothing.
func answered(r wire.Reply) bool {
	var out priced
	return r.Read(&out) && !out.no() && out.Data.Total != ""
}

func same(offers []shipping.Offer, o shipping.Offer) bool {
	for _, other := range offers {
		if other.Price == o.Price && other.DeliverBy.Equal(o.DeliverBy) {
			return true
		}
	}
	return false
}

// noService tells that Blue Express does not go there, or not by this service, from
// other refusals.
//
// Unconfirmed: no list of codes is known; the text is all there is.
func noService(r wire.Reply) bool {
	var t trouble
	if !r.OK() || !r.Read(&t) || !t.no() {
		return false
	}
	_, message := t.told()
	message = wire.Plain(message)
	return strings.Contains(message, "COBERTURA") || strings.Contains(message, "NO DISPONIBLE")
}
