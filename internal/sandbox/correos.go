package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"justlogistics/internal/chile"
)

const correosName = "correos"

// correos is Correos de Chile's REST API, version 2. Calls and fields:
// developers.correos.cl/v2 (tarifas, generar-etiquetas, trazabilidad, anulacion,
// servicios); codes of errors: developers.correos.cl/v1. A tenant signs in as
// sandbox-user-{tenant} with sandbox-secret-{tenant}, or with the token
// sandbox-token-{tenant}, under the client code sap-{tenant}.
//
// Where the pages give no example the sandbox chose the worse: wrong credentials are
// told with HTTP 400, as everything is; an admission that is sent again is made again; the
// dates of the history are written in both ways that were seen, by turns; a return is told
// by the number of the return alone; a parcel that nobody has scanned has an empty
// history.
type correos struct {
	parcelDesk
	places []carrierPlace
}

func newCorreos(s *Server) *correos {
	return &correos{parcelDesk: parcelDesk{s, correosName}, places: carrierPlaces(4, nil)}
}

func (p *correos) route(c *call) endpoint {
	for _, o := range []struct {
		op, method, path string
		reads            bool
		handle           func(t *tx, c *call, account, id string) reply
	}{
		{"services", http.MethodGet, "/servicios", true, p.services},
		{"rate", http.MethodPost, "/tarifas", true, p.rate},
		{"admit", http.MethodPost, "/generar-etiquetas", false, p.admit},
		{"track", http.MethodGet, "/trazabilidad/{}", true, p.track},
		{"void", http.MethodDelete, "/anulacion/{}", false, p.void},
	} {
		id, ok := matches(o.path, c.path)
		if !ok || o.method != c.method {
			continue
		}
		return endpoint{op: o.op, act: func() reply {
			account, refused := p.account(c)
			if refused != nil {
				return *refused
			}
			return p.act(o.reads, func() reply { return p.fault(faultError500, faultRule{}) }, func(t *tx) reply { return o.handle(t, c, account, id) })
		}}
	}
	return endpoint{act: func() reply { return p.refuse("ERR_SRV_INX", "Servicio no existe") }}
}

func (p *correos) refuse(code, message string) reply {
	return carrierJSON(http.StatusBadRequest, map[string]any{"codigo": code, "mensaje": message})
}

func (p *correos) fault(kind faultKind, rule faultRule) reply {
	switch kind {
	case faultError503:
		return carrierJSON(http.StatusServiceUnavailable, map[string]any{"mensaje": "Servicio no disponible"})
	case faultRateLimited:
		answer := carrierJSON(http.StatusTooManyRequests, map[string]any{"codigo": "ERR_CUOT_MAX", "mensaje": "Se alcanzó la cuota límite"})
		answer.header.Set("Retry-After", "7")
		return answer
	case faultRefuse:
		return p.refuse("ERR_DATOS_OBLI", firstOr(rule.Message, "Faltan datos obligatorios"))
	}
	return carrierJSON(http.StatusInternalServerError, map[string]any{"codigo": "ERR_EXC_DAT", "mensaje": "Error en la ejecución del procedimiento"})
}

// account reads who calls: by user and password, or by a token.
func (p *correos) account(c *call) (string, *reply) {
	how, what, _ := strings.Cut(c.header.Get("Authorization"), " ")
	if how == "" {
		refused := carrierJSON(http.StatusUnauthorized, map[string]any{"mensaje": "Unauthorized"})
		return "", &refused
	}
	tenant := ""
	switch strings.ToLower(how) {
	case "token":
		tenant = tenantOf("token", what)
	case "basic":
		pair, err := base64.StdEncoding.DecodeString(what)
		user, password, _ := strings.Cut(string(pair), ":")
		if name := tenantOf("user", user); err == nil && password == "sandbox-secret-"+name {
			tenant = name
		}
	}
	if tenant == "" {
		refused := p.refuse("ERR_LGIN_INC", "Nombre usuario o contraseña incorrectos")
		return "", &refused
	}
	return tenant, nil
}

func (p *correos) services(*tx, *call, string, string) reply {
	return carrierJSON(http.StatusOK, []any{
		map[string]any{"codServicio": "24", "descripcion": "PAQUETE EXPRESS DOMICILIO"}, map[string]any{"codServicio": "07", "descripcion": "PAQUETE EXPRESS SUCURSAL"},
	})
}

// comuna finds a comuna by its name alone: Correos asks for no region.
func (p *correos) comuna(name string) (carrierPlace, bool) {
	c, known := chile.LookupComuna(name)
	if !known || name != strings.ToUpper(name) {
		return carrierPlace{}, false
	}
	return placeWhere(p.places, func(x carrierPlace) bool { return x.official == c.Name && x.served })
}

func (p *correos) rate(t *tx, c *call, _, _ string) reply {
	var in struct {
		Service string      `json:"codServicio"`
		From    string      `json:"comunaRemitente"`
		To      string      `json:"comunaDestino"`
		Postage string      `json:"tipoPortes"`
		Pieces  int         `json:"bultos"`
		Kilos   json.Number `json:"kilos"`
		Volume  json.Number `json:"volumen"`
		Collect int         `json:"importeReembolso"`
		Insured int         `json:"valorAsegurado"`
	}
	kilos, volume := 0.0, 0.0
	err := readCarrier(c.body, &in)
	if err == nil {
		kilos, err = in.Kilos.Float64()
	}
	if err == nil {
		volume, err = in.Volume.Float64()
	}
	from, knownFrom := p.comuna(in.From)
	to, knownTo := p.comuna(in.To)
	switch {
	case err != nil || kilos <= 0 || volume <= 0 || in.Postage != "P":
		return p.refuse("ERR_DATOS_OBLI", "Faltan datos obligatorios")
	case !knownFrom || !knownTo:
		return p.refuse("ERR_CON_INX", "No se encontraron datos para la consulta")
	}
	total := float64(cost(int(kilos*1000), int(volume*250_000), from.region == to.region))
	home := strconv.FormatFloat(total, 'f', 2, 64)
	if p.settings(t).ZeroQuotes {
		home = "0"
	}
	list := []any{
		map[string]any{"codServicio": "24", "totalTasacion": home},
		map[string]any{"codServicio": "07", "totalTasacion": strconv.FormatFloat(total-800, 'f', 2, 64)},
	}
	return carrierJSON(http.StatusOK, list)
}

type correosParty struct {
	Name    string `json:"nombre"`
	Country string `json:"codPais"`
	Comuna  string `json:"comuna"`
	Address string `json:"direccion"`
	RUT     string `json:"rut"`
	Contact string `json:"contacto"`
	Phone   string `json:"telefono"`
	Email   string `json:"email"`
}

func (p *correos) admit(t *tx, c *call, account, _ string) reply {
	var in struct {
		Document string `json:"nroDTE"`
		Client   string `json:"codCliente"`
		Position int    `json:"posicionInicial"`
		Format   string `json:"formatoEtiqueta"`
		Mode     string `json:"modo"`
		Data     []struct {
			Admission string       `json:"codAdmision"`
			Service   string       `json:"codServicio"`
			Sender    correosParty `json:"remitente"`
			Receiver  correosParty `json:"destinatario"`
			Reference string       `json:"referencia"`
			Postage   string       `json:"tipoPortes"`
			Pieces    int          `json:"bultos"`
			Kilos     json.Number  `json:"kilos"`
			Volume    json.Number  `json:"volumen"`
			Collect   int          `json:"importeReembolso"`
			Declared  int64        `json:"valorDeclarado"`
			Contents  string       `json:"contenido"`
		} `json:"data"`
	}
	if err := readCarrier(c.body, &in); err != nil || len(in.Data) != 1 || in.Document == "" || in.Mode != "JSON" {
		return p.refuse("ERR_DATOS_OBLI", "Faltan datos obligatorios")
	}
	d := in.Data[0]
	from, knownFrom := p.comuna(d.Sender.Comuna)
	to, knownTo := p.comuna(d.Receiver.Comuna)
	kilos, err := d.Kilos.Float64()
	format := strings.ToLower(in.Format)
	switch {
	case in.Client != "sap-"+account:
		return p.refuse("ERR_SRV_USU", "Servicio no asociado al usuario")
	case !knownFrom || !knownTo:
		return p.refuse("ERR_NOR_CMNA", "La comuna "+d.Receiver.Comuna+" de "+d.Receiver.Name+" no es válida")
	case err != nil || kilos <= 0 || kilos > 200:
		return p.refuse("ERR_DATOS_OBLI", "El peso no es válido")
	case len([]rune(d.Receiver.Name)) > 60 || d.Receiver.Name == "" || len([]rune(d.Receiver.Address)) > 60 || d.Receiver.Address == "":
		return p.refuse("ERR_DATOS_OBLI", "Datos del destinatario no válidos")
	case !slices.Contains([]string{"pdf", "zpl", "epl"}, format):
		return p.refuse("ERR_DATOS_OBLI", "Formato de etiqueta no válido")
	}
	x := p.book(t, parcel{
		Account: account, Reference: d.Reference, Order: in.Document, Tracking: p.parcelNumber(t, "88", 12), From: from.official, To: to.official,
		Region: string(to.region), Service: d.Service, Format: format, Grams: int(kilos * 1000),
	})
	return carrierJSON(http.StatusOK, map[string]any{
		"data":    []any{map[string]any{"codAdmision": d.Admission, "numeroEnvio": x.Tracking, "codEncaminamiento": "0" + x.Tracking[:5], "referencia": d.Reference}},
		"archivo": base64Label(x, format),
	})
}

// find answers by the number or by the reference, of several the newest.
func (p *correos) find(t *tx, account, name string) (parcel, bool) {
	if x, found := p.byTracking(t, account, name); found {
		return x, true
	}
	all := t.parcelsBy(correosName, "reference", account+"/"+name)
	if len(all) == 0 {
		return parcel{}, false
	}
	return all[len(all)-1], true
}

// correosStates are text and base code of what happens. Codes beyond those of delivery,
// failure and transit are not known.
var correosStates = map[parcelStatus][2]string{
	parcelHanded: {"RECIBIDO EN PLANTA DE ORIGEN", "003"}, parcelInTransit: {"EN TRANSITO A PLANTA DE DESTINO", "004"}, parcelOut: {"EN REPARTO", "005"},
	parcelDelivered: {"ENTREGADO", "006"}, parcelFailed: {"NO ENTREGADO", "007"}, parcelLost: {"EXTRAVIADO", "012"},
}

func (p *correos) track(t *tx, _ *call, account, name string) reply {
	x, found := p.find(t, account, name)
	if !found {
		return p.refuse("ERR_CON_INX", "No se encontraron datos para la consulta")
	}
	history := []any{}
	for i, m := range slices.Backward(x.Moves) {
		usual, told := correosStates[m.Status]
		if !told {
			continue
		}
		layout := "2006-01-02T15:04:05"
		if i%2 == 0 {
			layout = "02-01-2006T15:04:05"
		}
		at := p.local(m.At)
		history = append(history, map[string]any{
			"fecha": at.Format(layout), "fechaString": at.Format("02/01/2006 15:04"), "estado": firstOr(m.Text, usual[0]), "oficina": capitals(m.Where), "estadoBase": firstOr(m.Code, usual[1]),
		})
	}
	out := map[string]any{
		"numeroEnvio": x.Tracking, "servicio": x.Service, "rutEntrega": "", "nombreEntrega": "", "referencia": x.Reference, "encaminamiento": "0" + x.Tracking[:5],
		"devolucion": "", "fechaEntrega": "", "historial": history,
	}
	switch {
	case x.Voided:
		out["historial"] = []any{map[string]any{
			"fecha": p.local(p.s.now()).Format("2006-01-02T15:04:05"), "fechaString": "", "estado": "ENVIO ANULADO", "oficina": "", "estadoBase": "",
		}}
	case x.Status == parcelDelivered:
		out["nombreEntrega"], out["rutEntrega"] = "PERSONA QUE RECIBE", "11111111-1"
	case x.Status == parcelReturned:
		out["devolucion"] = fmt.Sprintf("89%010d", x.Sequence)
	}
	return carrierJSON(http.StatusOK, out)
}

func (p *correos) void(t *tx, _ *call, account, number string) reply {
	x, found := p.byTracking(t, account, number)
	switch {
	case !found:
		return p.refuse("ERR_CON_INX", "No se encontraron datos para la consulta")
	case x.Voided:
		return p.refuse("ERR_ANU", "El envío ya se encuentra anulado")
	case !t.cancel(x):
		return p.refuse("ERR_ANU", "El envío ya ingresó a la red y no se puede anular")
	}
	return carrierJSON(http.StatusOK, map[string]any{"mensaje": "Envío anulado"})
}
