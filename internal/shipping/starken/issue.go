package starken

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// issuance is what issuing and asking for it answer. Its number is 0 or null at first.
type issuance struct {
	ID     wire.Text `json:"id"`
	Number wire.Text `json:"orden_flete"`
	State  wire.Text `json:"estado"`
	Label  string    `json:"etiqueta"`
	Price  wire.Text `json:"valor"`
}

// answer puts an issuance in our terms: booked once it has a number, else pending. How
// long that takes nobody says.
//
// Unconfirmed: how an issuance looks that Starken gives up; it stays pending.
func (i issuance) answer() shipping.Answer {
	a := shipping.Answer{Outcome: shipping.OutcomePending, CarrierID: i.ID.Digits(), Code: string(i.State)}
	a.Price, _ = i.Price.Pesos() // zero where it isn't told
	if n := i.Number.Digits(); n != "" {
		a.Outcome, a.Tracking, a.Code = shipping.OutcomeBooked, n, ""
	}
	return a
}

// Book asks for an issuance: POST emision/emision. OutcomePending with the id by which
// Lookup asks; one whose answer was lost can't be asked for.
func (c *Carrier) Book(ctx context.Context, b shipping.Booking, before shipping.Looked) (shipping.Answer, error) {
	if a, settled := wire.Settled(before); settled {
		return a, nil
	}
	body, err := c.order(ctx, b)
	if err != nil {
		return shipping.Answer{}, err
	}
	r := c.call(ctx, http.MethodPost, "/emision/emision", body)
	if !r.OK() {
		var t told
		r.Read(&t)
		return r.Effect("", words(b)(t.Error))
	}
	i, read := issuanceOf(r.Body)
	if !read {
		return wire.Unread("an issuance was answered without an id"), nil
	}
	return i.answer(), nil
}

// issuanceOf reads an issuance; read is false when it has no id.
func issuanceOf(raw []byte) (i issuance, read bool) {
	return i, json.Unmarshal(raw, &i) == nil && i.ID.Digits() != ""
}

// documentFrom is the declared value, in pesos, from which a parcel needs a document.
const documentFrom = 50_000

func (c *Carrier) order(ctx context.Context, b shipping.Booking) (map[string]any, error) {
	to, err := c.find(ctx, b.To.Comuna, b.To.Region)
	if err != nil {
		return nil, err
	}
	service, badService := strconv.Atoi(b.Service)
	point, badPoint := strconv.Atoi(b.To.PointID)
	switch {
	case !to.served:
		return nil, wire.Invalid("destination", "Starken does not go to the comuna")
	case b.Receiver.RUT == "":
		return nil, wire.Invalid("receiver_rut", "Starken wants the RUT of who receives")
	case badService != nil:
		return nil, wire.Invalid("service", "Starken's services are 0 and 1")
	case b.Method == shipping.ToPoint && badPoint != nil:
		return nil, wire.Invalid("point", "a parcel to an agency needs the agency's code")
	}
	names, father, mother := nameParts(b.Receiver.Name)
	parcel := map[string]any{
		"tipo_encargo": kind(b.Parcel), "descripcion": wire.First(180, b.Contents) + " " + b.Reference, "kilos": json.Number(wire.Kilos(b.Parcel.WeightGrams)),
		"alto": wire.Centimetres(b.Parcel.HeightMM), "ancho": wire.Centimetres(b.Parcel.WidthMM), "largo": wire.Centimetres(b.Parcel.LengthMM),
	}
	order := map[string]any{
		"tipo_entrega": number(toHome), "tipo_pago": number(onAccount), "tipo_servicio": number(service), "codigo_agencia_origen": c.config.OriginAgency, "cuenta_corriente": c.account,
		"destinatario_rut": b.Receiver.RUT, "destinatario_nombres": names, "destinatario_paterno": father, "destinatario_materno": mother, "destinatario_telefono": b.Receiver.Phone,
		"destinatario_email": b.Receiver.Email, "destinatario_contacto": b.Receiver.Name, "destinatario_direccion": b.To.Street, "destinatario_numeracion": b.To.Number,
		"destinatario_departamento": b.To.Unit, "destinatario_codigo_comuna": to.comuna, "contenido": wire.First(200, b.Contents), "valor_declarado": b.DeclaredValue,
		"kilos_total": json.Number(wire.Kilos(b.Parcel.WeightGrams)), "encargos": []any{parcel},
	}
	if c.config.CostCentre != "" {
		order["centro_costo"] = c.config.CostCentre
	}
	if b.Method == shipping.ToPoint {
		order["tipo_entrega"], order["codigo_agencia_destino"] = number(toAgency), point
	}
	if b.DeclaredValue >= documentFrom {
		order["encargos"] = []any{parcel, document(b)}
	}
	return order, nil
}

// document is the purchase order that a declared value of 50,000 pesos or more wants,
// as Starken's modules send it.
func document(b shipping.Booking) map[string]any {
	paper := b.Number
	if paper == "" {
		paper = b.Reference
	}
	return map[string]any{
		"tipo_encargo": "DOCUMENTO", "tipo_documento": map[string]any{"codigo_dls": "1686"}, "descripcion": wire.First(200, b.Contents), "numero_documento": paper,
	}
}

// nameParts makes first names and two surnames of a name: the last two words of three or
// more are surnames, as Chileans write it.
func nameParts(name string) (names, father, mother string) {
	words := strings.Fields(name)
	switch n := len(words); {
	case n == 0:
		return "", "", ""
	case n == 1:
		return words[0], "", ""
	case n == 2:
		return words[0], words[1], ""
	default:
		return strings.Join(words[:n-2], " "), words[n-2], words[n-1]
	}
}

// Lookup asks for an issuance by its id: GET emision/consulta/{id}. ErrNoLookup without
// one: our reference finds nothing.
func (c *Carrier) Lookup(ctx context.Context, at shipping.Booked) (shipping.Looked, error) {
	if at.CarrierID == "" {
		return shipping.Untried, shipping.ErrNoLookup
	}
	i, err := c.issuance(ctx, at.CarrierID)
	if err != nil {
		return shipping.Untried, err
	}
	return shipping.Found(i.answer()), nil
}

func (c *Carrier) issuance(ctx context.Context, id string) (issuance, error) {
	r := c.call(ctx, http.MethodGet, "/emision/consulta/"+url.PathEscape(id), nil)
	i, read := issuanceOf(r.Body)
	if !r.OK() || !read || i.ID.Digits() != id {
		return issuance{}, failed(r)
	}
	return i, nil
}
