package starken

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// Codes of ways to deliver, services and payment.
const (
	toAgency, toHome = 1, 2
	normal, express  = 0, 1
	onAccount        = 2 // 3 is paid by who receives, which is not offered
)

// Quote asks for prices between two cities: POST quote/cotizador-multiple, which answers
// 201.
func (c *Carrier) Quote(ctx context.Context, q shipping.QuoteRequest) ([]shipping.Offer, error) {
	from, err := c.find(ctx, q.From.Comuna, q.From.Region)
	if err != nil {
		return nil, err
	}
	to, err := c.find(ctx, q.To.Comuna, q.To.Region)
	if err != nil {
		return nil, err
	}
	if !from.served || !to.served {
		return nil, nil
	}
	r := c.call(ctx, http.MethodPost, "/quote/cotizador-multiple", map[string]any{
		"origen": from.city, "destino": to.city, "run": string(c.rut), "bulto": kind(q.Parcel), "alto": wire.Centimetres(q.Parcel.HeightMM), "ancho": wire.Centimetres(q.Parcel.WidthMM),
		"largo": wire.Centimetres(q.Parcel.LengthMM), "kilos": json.Number(wire.Kilos(q.Parcel.WeightGrams)), "todas_alternativas": true, "ctacte": c.account, "ctacte_dv": c.digit,
	})
	if r.Status == http.StatusNotFound {
		return nil, nil // no alternatives
	}
	offers, read := offersOf(r.Body, q.Method)
	if !r.OK() || !read {
		return nil, failed(r)
	}
	return offers, nil
}

// kind is an envelope up to 300 grams and 2,250 cubic centimetres, the rule of both
// modules; else a parcel.
func kind(p shipping.Parcel) string {
	volume := wire.Centimetres(p.LengthMM) * wire.Centimetres(p.WidthMM) * wire.Centimetres(p.HeightMM)
	if p.WeightGrams <= 300 && p.LengthMM > 0 && volume <= 2250 {
		return "SOBRE"
	}
	return "BULTO"
}

// offersOf reads the alternatives for a way of delivery, on the account; read is false
// when the answer is none.
func offersOf(raw []byte, method shipping.Method) (offers []shipping.Offer, read bool) {
	var out struct {
		Alternatives []struct {
			Service  string    `json:"servicio"`
			Delivery string    `json:"entrega"`
			Payment  wire.Text `json:"codigo_tipo_pago"`
			Price    wire.Text `json:"precio"`
		} `json:"alternativas"`
	}
	if json.Unmarshal(raw, &out) != nil || out.Alternatives == nil {
		return nil, false
	}
	for _, a := range out.Alternatives {
		way := shipping.Method("")
		switch wire.Plain(a.Delivery) {
		case "DOMICILIO":
			way = shipping.ToDoor
		case "AGENCIA", "SUCURSAL":
			way = shipping.ToPoint
		}
		price, priced := a.Price.Pesos()
		if way != method || string(a.Payment) != strconv.Itoa(onAccount) || !priced {
			continue
		}
		switch wire.Plain(a.Service) {
		case "NORMAL":
			offers = append(offers, shipping.Offer{Service: strconv.Itoa(normal), Name: "Normal", Method: method, Price: price})
		case "EXPRESO", "EXPRESS":
			offers = append(offers, shipping.Offer{Service: strconv.Itoa(express), Name: "Expreso", Method: method, Price: price})
		}
	}
	return offers, true
}
