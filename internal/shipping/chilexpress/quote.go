package chilexpress

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// notForBuyers are services that the rating lists beside those of a parcel to a buyer:
// the official module hides 14 to 16 and 43 to 48, others 11; 41 is the way back.
var notForBuyers = []int64{11, 14, 15, 16, 41, 43, 44, 45, 46, 47, 48}

// option is a service of the rating. Prices are text.
type option struct {
	Service     wire.Text `json:"serviceTypeCode"`
	Description string    `json:"serviceDescription"`
	Value       wire.Text `json:"serviceValue"`
	// Contract is the price of the contract, where it differs.
	Contract wire.Text `json:"serviceValueDiscount"`
}

type rated struct {
	envelope
	Data struct {
		Options []option `json:"courierServiceOptions"`
	} `json:"data"`
}

// Quote asks for the contract's prices: POST rates/business. The prices are those of the
// moment; Chilexpress charges by the volume where that is more than the weight.
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
	r := c.post(ctx, c.config.RatingKey, "/rating/api/v1.0/rates/business", map[string]any{
		"originCountyCode": from.code, "destinationCountyCode": to.code, "package": size(q.Parcel), "customerCardNumber": c.config.Card,
		"productType": 3, "contentType": 1, "declaredWorth": strconv.FormatInt(q.DeclaredValue, 10), "deliveryTime": 0,
	})
	offers, read := offersOf(r.Body, q.Method)
	if len(offers) > 0 || read && r.OK() {
		return offers, nil // HTTP 400 may carry them too
	}
	var e envelope
	if r.Read(&e) && r.Status == http.StatusBadRequest && noService(e.text()) {
		return nil, nil
	}
	return nil, failed(r)
}

// noService tells an answer that there is no service between two comunas from other
// refusals.
//
// Unconfirmed: no list of codes is published; the text is all there is.
func noService(text string) bool {
	text = wire.Plain(text)
	return strings.Contains(text, "SERVICIO ENTRE") || strings.Contains(text, "COBERTURA")
}

// offersOf reads the rating's answer; read is false when it is none. A price of zero,
// which is sent now and then, is no offer.
func offersOf(raw []byte, method shipping.Method) (offers []shipping.Offer, read bool) {
	var out rated
	if json.Unmarshal(raw, &out) != nil || out.Data.Options == nil {
		return nil, false
	}
	for _, o := range out.Data.Options {
		service, numbered := o.Service.Whole()
		price, priced := o.Contract.Pesos()
		if !priced {
			price, priced = o.Value.Pesos()
		}
		if !numbered || !priced || slices.Contains(notForBuyers, service) {
			continue
		}
		offers = append(offers, shipping.Offer{
			Service: strconv.FormatInt(service, 10), Name: strings.TrimSpace(o.Description), Method: method, Price: price,
		})
	}
	return offers, true
}

// size is a parcel as Chilexpress reads it: kilograms and centimetres, as text.
func size(p shipping.Parcel) map[string]any {
	cm := func(mm int) string { return strconv.Itoa(wire.Centimetres(mm)) }
	return map[string]any{"weight": wire.Kilos(p.WeightGrams), "height": cm(p.HeightMM), "width": cm(p.WidthMM), "length": cm(p.LengthMM)}
}
