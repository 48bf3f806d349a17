package correos

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// Book admits a parcel: POST generar-etiquetas with one parcel. Number and label come
// with the answer, the label only then. Each call admits one more: before says whether it
// was admitted already.
func (c *Carrier) Book(ctx context.Context, b shipping.Booking, before shipping.Looked) (shipping.Answer, error) {
	if a, settled := wire.Settled(before); settled {
		return a, nil
	}
	body, err := c.admission(b)
	if err != nil {
		return shipping.Answer{}, err
	}
	r := c.call(ctx, http.MethodPost, c.config.AdmissionPath, body)
	if !r.OK() {
		return effect(r, func(message string) string { return wire.Words(message, b) })
	}
	return admitted(r.Body, b.Reference), nil
}

// admission writes one parcel.
//
// Unconfirmed: data.codAdmision, codServicio, remitente and their like are from the page;
// the rest of the names are those that the pages of tarifas, retiros and trazabilidad have
// for the same things.
func (c *Carrier) admission(b shipping.Booking) (map[string]any, error) {
	from, knownFrom := comunaName(b.From.Comuna, b.From.Region)
	to, knownTo := comunaName(b.To.Comuna, b.To.Region)
	switch {
	case !knownFrom || !knownTo:
		return nil, wire.Invalid("comuna", "no such comuna in that region")
	case b.Method != shipping.ToDoor:
		return nil, wire.Invalid("method", "Correos is used for delivery to the door only")
	}
	format := b.Label
	if !slices.Contains(c.Capabilities().Labels, format) {
		format = shipping.PDF
	}
	document := b.Number
	if document == "" {
		document = b.Reference
	}
	return map[string]any{
		"nroDTE": document, "codCliente": c.config.ClientCode, "posicionInicial": 0, "formatoEtiqueta": strings.ToUpper(string(format)), "modo": "JSON",
		"data": []any{map[string]any{
			"codAdmision": b.Reference, "codServicio": b.Service, "remitente": party(b.From, from, b.Sender), "destinatario": party(b.To, to, b.Receiver),
			"referencia": b.Reference, "tipoPortes": "P", "bultos": 1, "kilos": json.Number(wire.Kilos(b.Parcel.WeightGrams)), "volumen": json.Number(volume(b.Parcel)),
			"importeReembolso": 0, "valorDeclarado": b.DeclaredValue, "contenido": wire.First(60, b.Contents),
		}},
	}, nil
}

// party is who sends or receives. Names and addresses have sixty characters, phones
// digits only.
func party(p shipping.Place, comuna string, c shipping.Contact) map[string]any {
	address := strings.TrimSpace(p.Street + " " + p.Number)
	if p.Unit != "" {
		address += " " + p.Unit
	}
	return map[string]any{
		"nombre": wire.First(60, c.Name), "codPais": "056", "comuna": comuna, "direccion": wire.First(60, address), "rut": c.RUT, "contacto": wire.First(60, c.Name),
		"telefono": wire.First(20, digits(c.Phone)), "email": c.Email,
	}
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

// admitted reads the answer of an admission.
//
// Unconfirmed: where number and label stand. The number is taken from data, or from the
// object itself, and must not come with another's codAdmision; the label is the text that
// decodes to one.
func admitted(raw []byte, reference string) shipping.Answer {
	type admittedParcel struct {
		Admission string    `json:"codAdmision"`
		Number    wire.Text `json:"numeroEnvio"`
	}
	var out struct {
		admittedParcel
		Data []admittedParcel `json:"data"`
	}
	if json.Unmarshal(raw, &out) != nil && json.Unmarshal(raw, &out.Data) != nil {
		return wire.Unread("an admission was answered with something else")
	}
	for _, p := range append(out.Data, out.admittedParcel) {
		if p.Number == "" || p.Admission != "" && p.Admission != reference {
			continue
		}
		a := shipping.Answer{Outcome: shipping.OutcomeBooked, Tracking: string(p.Number)}
		if label, known := labelIn(raw, 0); known {
			a.Label = &label
		}
		return a
	}
	return wire.Unread("an admission was answered without a number")
}

// labelIn finds the first text that is a label.
func labelIn(raw json.RawMessage, depth int) (shipping.Label, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if len(text) < 8 {
			return shipping.Label{}, false
		}
		return wire.Label(text)
	}
	var inner []json.RawMessage
	var object map[string]json.RawMessage
	if depth < 4 && json.Unmarshal(raw, &inner) != nil && json.Unmarshal(raw, &object) == nil {
		for _, v := range object {
			inner = append(inner, v)
		}
	}
	for _, v := range inner {
		if l, known := labelIn(v, depth+1); known {
			return l, true
		}
	}
	return shipping.Label{}, false
}

// Lookup asks for an admission by its number where it is known, else by our reference:
// GET trazabilidad, which takes both.
func (c *Carrier) Lookup(ctx context.Context, at shipping.Booked) (shipping.Looked, error) {
	name := at.Tracking
	if name == "" {
		name = at.Reference
	}
	h, found, err := c.history(ctx, name)
	switch {
	case err != nil:
		return shipping.Untried, err
	case !found:
		return shipping.Found(shipping.Answer{Outcome: shipping.OutcomeNotFound, Code: absentCode}), nil
	case h.Number != wire.Text(at.Tracking) && h.Reference != at.Reference:
		return shipping.Untried, &shipping.Failure{Reason: shipping.Unavailable, Code: wire.CodeUnreadable, Message: "the answer is about another parcel"}
	}
	a := shipping.Answer{Outcome: shipping.OutcomeBooked, Tracking: string(h.Number)}
	if h.voided() {
		a.Outcome = shipping.OutcomeVoided
	}
	return shipping.Found(a), nil
}

// history asks for a parcel; found is false when Correos has none of that name.
func (c *Carrier) history(ctx context.Context, name string) (h history, found bool, err error) {
	r := c.call(ctx, http.MethodGet, "/trazabilidad/"+url.PathEscape(name), nil)
	if code, _ := trouble(r); code == absentCode && r.Status == http.StatusBadRequest {
		return h, false, nil
	}
	if !r.OK() || !r.Read(&h) {
		return h, false, failed(r)
	}
	return h, h.Number != "", nil
}
