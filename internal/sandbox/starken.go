package sandbox

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const starkenName = "starken"

// starken is Starken's gateway for shops' plugins (StarkenPro), which issues in its own
// time. Paths and fields: github.com/zenx5/swastarkencl and
// github.com/SoftwareAgil/magento-2-starkenpro, both written for Starken. A tenant's
// token is sandbox-bearer-{tenant}.
//
// As there, most errors come with HTTP 200 and a status inside, a quote with 201, and an
// issuance has the number 0 until it has one (issue_ms of the configuration). Where nothing
// is published the sandbox chose the worse: what is sent again is issued again, there is
// nothing to find it by but the id of its answer, and most of what happens is told in words
// that stand in no list.
type starken struct {
	parcelDesk
	places []carrierPlace
}

func newStarken(s *Server) *starken {
	return &starken{parcelDesk{s, starkenName}, carrierPlaces(4, nil)}
}

const bucketStarkenDue = "starken_due" // moment/sequence -> sequence

func (*starken) buckets() []string { return []string{bucketStarkenDue} }

func (p *starken) route(c *call) endpoint {
	for _, o := range []struct {
		op, method, path string
		reads            bool
		handle           func(t *tx, c *call, account, id string) reply
	}{
		{"cities", http.MethodGet, "/agency/city", true, p.cities},
		{"comunas", http.MethodGet, "/agency/comuna", true, p.comunas},
		{"agencies", http.MethodGet, "/agency/agency", true, p.agencies},
		{"quote", http.MethodPost, "/quote/cotizador-multiple", true, p.quote},
		{"issue", http.MethodPost, "/emision/emision", false, p.issue},
		{"lookup", http.MethodGet, "/emision/consulta/{}", false, p.consult},
		{"track", http.MethodGet, "/tracking/orden-flete/of/{}", true, p.track},
		{"label", http.MethodGet, "/etiquetas/{}", true, p.label},
	} {
		id, ok := matches(o.path, c.path)
		if !ok || o.method != c.method {
			continue
		}
		return endpoint{op: o.op, act: func() reply {
			account := tenantOf("bearer", strings.TrimPrefix(c.header.Get("Authorization"), "Bearer "))
			if account == "" && o.op != "label" {
				return carrierJSON(http.StatusUnauthorized, map[string]any{"status": 401, "error": "Unauthorized"})
			}
			return p.act(o.reads, func() reply { return p.fault(faultError500, faultRule{}) }, func(t *tx) reply { return o.handle(t, c, account, id) })
		}}
	}
	return endpoint{act: func() reply { return p.refuse(404, "Not found") }}
}

// refuse is how everything is refused: with HTTP 200.
func (p *starken) refuse(status int, message string) reply {
	return carrierJSON(http.StatusOK, map[string]any{"status": status, "error": message})
}

func (p *starken) fault(kind faultKind, rule faultRule) reply {
	switch kind {
	case faultError503:
		return carrierJSON(http.StatusServiceUnavailable, map[string]any{"status": 503, "error": "Service unavailable"})
	case faultRateLimited:
		answer := carrierJSON(http.StatusTooManyRequests, map[string]any{"status": 429, "error": "Too many requests"})
		answer.header.Set("Retry-After", "7")
		return answer
	case faultRefuse:
		return p.refuse(400, firstOr(rule.Message, "Datos no válidos"))
	}
	return p.refuse(500, "Internal server error")
}

// starkenCity is the city of a comuna: Santiago for the comunas of the city, else the
// comuna itself.
func starkenCity(x carrierPlace) (code int, name string) {
	if x.region == "RM" && x.official != "San Pedro" && x.official != "Melipilla" {
		return 1, "SANTIAGO"
	}
	return 10 + x.number, x.written
}

func starkenComuna(x carrierPlace) map[string]any {
	code, city := starkenCity(x)
	return map[string]any{
		"id": x.number, "code_dls": 3000 + x.number, "name": x.written, "city": map[string]any{"id": code, "code_dls": code, "name": city}, "retiro_habilitado": true,
	}
}

func (p *starken) cities(*tx, *call, string, string) reply {
	list, seen := []any{}, map[int]bool{}
	for _, x := range p.places {
		code, name := starkenCity(x)
		if !x.served || seen[code] {
			continue
		}
		seen[code] = true
		list = append(list, map[string]any{
			"id": code, "code_dls": code, "name": name, "region": map[string]any{"name": strings.ToUpper(x.region.Name())}, "comunas": []any{}, "destino_indirecto": false,
		})
	}
	return carrierJSON(http.StatusOK, list)
}

func (p *starken) comunas(*tx, *call, string, string) reply {
	list := []any{}
	for _, x := range p.places {
		if x.served {
			list = append(list, starkenComuna(x))
		}
	}
	return carrierJSON(http.StatusOK, list)
}

func (p *starken) agencies(*tx, *call, string, string) reply {
	list := []any{}
	for _, x := range p.places {
		if !x.served || x.number%2 == 1 && x.official != "Providencia" {
			continue
		}
		for i, status := range []string{"ACTIVE", "INACTIVE"} {
			list = append(list, map[string]any{
				"id": 500 + x.number, "code_dls": 2000 + 1000*i + x.number, "name": x.written + " CENTRO", "comuna": starkenComuna(x), "address": "Uno Sur 1000", "latitude": "-35.4264",
				"longitude": "-71.6554", "status": status, "shipping": true, "delivery": true, "weight_restriction": "MT", "largo_max_agencia": 0,
			})
		}
	}
	return carrierJSON(http.StatusOK, list)
}

func (p *starken) byCity(code int) (carrierPlace, bool) {
	return placeWhere(p.places, func(x carrierPlace) bool {
		n, _ := starkenCity(x)
		return n == code && x.served
	})
}

func (p *starken) quote(t *tx, c *call, _, _ string) reply {
	var in struct {
		Origin      int         `json:"origen"`
		Destination int         `json:"destino"`
		RUN         string      `json:"run"`
		Kind        string      `json:"bulto"`
		Height      int         `json:"alto"`
		Width       int         `json:"ancho"`
		Length      int         `json:"largo"`
		Kilos       json.Number `json:"kilos"`
		All         bool        `json:"todas_alternativas"`
		Account     string      `json:"ctacte"`
		Digit       string      `json:"ctacte_dv"`
	}
	err := readCarrier(c.body, &in)
	kilos := 0.0
	if err == nil {
		kilos, err = in.Kilos.Float64()
	}
	from, knownFrom := p.byCity(in.Origin)
	to, knownTo := p.byCity(in.Destination)
	switch {
	case err != nil || kilos <= 0 || in.Height < 1 || in.Width < 1 || in.Length < 1 || in.Kind != "BULTO" && in.Kind != "SOBRE":
		return p.refuse(400, "Datos de la cotización no válidos")
	case !knownFrom || !knownTo:
		return p.refuse(404, "No se encontraron alternativas")
	}
	price := cost(int(kilos*1000), in.Height*in.Width*in.Length/4, from.region == to.region)
	normal := price
	if p.settings(t).ZeroQuotes {
		normal = 0
	}
	var list []any
	offer := func(service, delivery string, payment int, price int64) {
		list = append(list, map[string]any{"servicio": service, "entrega": delivery, "codigo_tipo_pago": payment, "precio": price})
	}
	offer("NORMAL", "DOMICILIO", 2, normal)
	offer("EXPRESO", "DOMICILIO", 2, price+2000)
	offer("NORMAL", "AGENCIA", 2, price-600)
	offer("NORMAL", "DOMICILIO", 3, price+500)
	return carrierJSON(http.StatusCreated, map[string]any{"alternativas": list})
}

// starkenKind names something by its number.
type starkenKind struct {
	Code string `json:"codigo_dls"`
}

var sixteen = regexp.MustCompile(`[A-Z0-9]{16}`)

func (p *starken) issue(t *tx, c *call, account, _ string) reply {
	var in struct {
		Delivery    starkenKind `json:"tipo_entrega"`
		Payment     starkenKind `json:"tipo_pago"`
		Service     starkenKind `json:"tipo_servicio"`
		Origin      int         `json:"codigo_agencia_origen"`
		Destination int         `json:"codigo_agencia_destino"`
		Account     string      `json:"cuenta_corriente"`
		Centre      string      `json:"centro_costo"`
		RUT         string      `json:"destinatario_rut"`
		Names       string      `json:"destinatario_nombres"`
		Father      string      `json:"destinatario_paterno"`
		Mother      string      `json:"destinatario_materno"`
		Phone       string      `json:"destinatario_telefono"`
		Email       string      `json:"destinatario_email"`
		Contact     string      `json:"destinatario_contacto"`
		Street      string      `json:"destinatario_direccion"`
		Number      string      `json:"destinatario_numeracion"`
		Flat        string      `json:"destinatario_departamento"`
		Comuna      int         `json:"destinatario_codigo_comuna"`
		Contents    string      `json:"contenido"`
		Value       int64       `json:"valor_declarado"`
		Kilos       json.Number `json:"kilos_total"`
		Pieces      []struct {
			Kind        string      `json:"tipo_encargo"`
			Description string      `json:"descripcion"`
			Kilos       json.Number `json:"kilos"`
			Height      int         `json:"alto"`
			Width       int         `json:"ancho"`
			Length      int         `json:"largo"`
			Document    starkenKind `json:"tipo_documento"`
			Paper       string      `json:"numero_documento"`
		} `json:"encargos"`
	}
	if err := readCarrier(c.body, &in); err != nil || len(in.Pieces) == 0 {
		return p.refuse(400, "Emisión no válida")
	}
	to, known := placeWhere(p.places, func(x carrierPlace) bool { return 3000+x.number == in.Comuna && x.served })
	kilos, err := in.Kilos.Float64()
	papers := 0
	for _, one := range in.Pieces {
		if one.Kind == "DOCUMENTO" && one.Document.Code == "1686" && one.Paper != "" {
			papers++
		}
	}
	switch {
	case !known:
		return p.refuse(404, "La comuna de "+in.Names+" no existe")
	case err != nil || kilos <= 0 || kilos > 500:
		return p.refuse(400, "El peso no es válido")
	case in.RUT == "" || in.Names == "" || in.Phone == "" || in.Origin == 0:
		return p.refuse(400, "Faltan datos del destinatario")
	case in.Delivery.Code == "1" && in.Destination == 0 || in.Delivery.Code == "2" && in.Destination != 0:
		return p.refuse(400, "La agencia de destino no es válida")
	case in.Payment.Code != "2" || in.Account == "":
		return p.refuse(400, "La cuenta corriente no es válida")
	case in.Value >= 50_000 && papers == 0:
		return p.refuse(400, "El valor declarado exige un documento")
	}
	x := p.book(t, parcel{
		Account: account, Reference: sixteen.FindString(in.Pieces[0].Description), Issue: strconv.FormatUint(5_000_000+t.next("starken_issues"), 10), From: "Santiago", To: to.official,
		Region: string(to.region), Service: in.Service.Code, Format: "pdf", Grams: int(kilos * 1000), Price: cost(int(kilos*1000), 0, false),
	})
	wait := time.Duration(*p.settings(t).IssueMS) * time.Millisecond
	put(t, bucketStarkenDue, ordered(uint64(x.CreatedAt.Add(wait).UnixMilli()))+ordered(x.Sequence), x.Sequence)
	return carrierJSON(http.StatusCreated, p.issuance(x, c.base))
}

// issuance is what issuing and asking answer.
func (p *starken) issuance(x parcel, base string) map[string]any {
	id, err := strconv.ParseInt(x.Issue, 10, 64)
	if err != nil {
		p.s.log.Error("sandbox state", "carrier", starkenName, "error", err)
	}
	out := map[string]any{
		"id": id, "orden_flete": 0, "estado": "ORIGEN", "status": "PENDIENTE", "etiqueta": nil, "queue_id": x.Sequence, "retry": 0, "observacion": "", "impresiones": 0,
		"valor": x.Price, "direccion_normalizada": nil, "latitud": nil, "longitud": nil, "created_at": x.CreatedAt.Format("2006-01-02T15:04:05.000Z"),
	}
	if x.Tracking != "" {
		number, err := strconv.ParseInt(x.Tracking, 10, 64)
		if err != nil {
			p.s.log.Error("sandbox state", "carrier", starkenName, "error", err)
		}
		out["orden_flete"], out["status"], out["etiqueta"] = number, "EMITIDA", base+"/"+starkenName+"/etiquetas/"+x.Tracking
	}
	return out
}

// give numbers to issuances whose time has come.
func (p *starken) give(t *tx) {
	limit := ordered(uint64(p.s.now().UnixMilli()) + 1)
	due := map[string]uint64{}
	each(t, bucketStarkenDue, "", func(key string, n uint64) bool {
		if key >= limit {
			return false
		}
		due[key] = n
		return true
	})
	for _, key := range sortedKeys(due) {
		t.remove(bucketStarkenDue, key)
		if x, found := get[parcel](t, bucketParcels, ordered(due[key])); found && x.Tracking == "" {
			p.number(t, &x, p.parcelNumber(t, "9", 9))
			t.keep(x)
		}
	}
}

func (p *starken) start(ctx context.Context, running *sync.WaitGroup) error {
	running.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := p.giveDue(); err != nil {
				p.s.log.Error("issue freight orders", "error", err)
			}
		}
	})
	return nil
}

// giveDue writes only when something is due.
func (p *starken) giveDue() error {
	limit, due := ordered(uint64(p.s.now().UnixMilli())+1), false
	err := p.s.store.view(func(t *tx) {
		each(t, bucketStarkenDue, "", func(key string, _ uint64) bool {
			due = key < limit
			return false
		})
	})
	if err != nil || !due {
		return err
	}
	return p.s.store.update(p.give)
}

func (p *starken) consult(t *tx, c *call, account, id string) reply {
	p.give(t)
	for _, x := range t.parcelsBy(starkenName, "issue", account+"/"+id) {
		return carrierJSON(http.StatusOK, p.issuance(x, c.base))
	}
	return p.refuse(404, "La emisión no existe")
}

// starkenWords are the texts of what happens; some of them stand in no list.
var starkenWords = map[parcelStatus]string{
	parcelHanded: "RECIBIDO EN AGENCIA DE ORIGEN", parcelInTransit: "EN TRANSITO", parcelOut: "EN REPARTO", parcelDelivered: "ENTREGADO", parcelFailed: "SIN MORADORES",
	parcelReturned: "DEVUELTO AL CLIENTE", parcelLost: "CERRADO CON PROBLEMA CONTACTAR CON EJECUTIVO",
}

func (p *starken) track(t *tx, _ *call, account, number string) reply {
	x, found := p.byTracking(t, account, number)
	if !found {
		return p.refuse(404, "La orden de flete no existe")
	}
	history, status := []any{}, "ORIGEN"
	for _, m := range x.Moves {
		words := starkenWords[m.Status]
		if words == "" {
			continue
		}
		status = firstOr(m.Text, words)
		at := m.At.UTC().Format("2006-01-02T15:04:05.000Z")
		history = append(history, map[string]any{"status": status, "note": capitals(m.Where), "created_at": at, "updated_at": at})
	}
	return carrierJSON(http.StatusOK, map[string]any{
		"orden_flete": x.Tracking, "status": status, "origin": capitals(x.From), "destination": capitals(x.To), "issuer_name": "TIENDA", "receiver_name": "PERSONA QUE RECIBE",
		"receiver_rut": "11111111-1", "commitmen_date": x.CreatedAt.AddDate(0, 0, 3).Format("2006-01-02"), "history": history,
	})
}

func (p *starken) label(t *tx, _ *call, _, number string) reply {
	for _, x := range t.parcelsBy(starkenName, "tracking", number) {
		return reply{status: http.StatusOK, header: http.Header{"Content-Type": {"application/pdf"}}, body: carrierLabel(x, "pdf")}
	}
	return reply{status: http.StatusNotFound, header: http.Header{"Content-Type": {"text/plain"}}, body: []byte("Not found")}
}
