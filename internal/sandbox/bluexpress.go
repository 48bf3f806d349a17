package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/chile"
)

const bluexpressName = "bluexpress"

// bluexpress is Blue Express's corporate API of the newer generation, all its hosts
// under one address: the token of sso.blue.cl, emission and tracking of
// cmkin.api.blue.cl, pricing of eplin.api.blue.cl, and the places and labels that are
// still those of bx-tracking.bluex.cl. Blue Express publishes no reference; paths and
// fields are those of the public code of integrators, which can be found by the paths.
// A tenant is client sandbox-client-{tenant} with sandbox-secret-{tenant}, the key
// sandbox-key-{tenant} and the older headers sandbox-token-{tenant},
// sandbox-user-{tenant} and account-{tenant}.
//
// Where nothing is published the sandbox chose the worse: an emission that is sent again
// is made again; state and stateDesc stay at printed whatever happens, as integrators
// report; labels come as an object for one format and as a list for the others.
type bluexpress struct {
	parcelDesk
	places []carrierPlace
}

func newBluexpress(s *Server) *bluexpress {
	return &bluexpress{parcelDesk: parcelDesk{s, bluexpressName}, places: carrierPlaces(3, map[string]string{
		"Providencia": "PRO", "Pudahuel": "PUD", "La Florida": "LFD",
	})}
}

func (p *bluexpress) route(c *call) endpoint {
	for _, o := range []struct {
		op, method, path string
		guard            func(c *call) (string, *reply)
		reads            bool
		handle           func(t *tx, c *call, account, id string) reply
	}{
		{"geo", http.MethodGet, "/bx-geo/state/all", p.older, true, p.geo},
		{"price", http.MethodPost, "/eplin/external/ecommerce/bff/v1/legacy-pricing", p.priced, true, p.price},
		{"emit", http.MethodPost, "/cmkin/customer/corp/emission/v1/emission", p.bearer, false, p.emit},
		{"lookup", http.MethodGet, "/cmkin/bff/tracking-pull-corp/v1/search", p.bearer, true, p.search},
		{"track", http.MethodGet, "/cmkin/bff/tracking-pull-corp/v1/{}", p.bearer, true, p.track},
		{"label", http.MethodGet, "/bx-label/v1/{}", p.older, true, p.label},
	} {
		id, ok := matches(o.path, c.path)
		if !ok || o.method != c.method {
			continue
		}
		return endpoint{op: o.op, act: func() reply {
			account, refused := o.guard(c)
			if refused != nil {
				return *refused
			}
			return p.act(o.reads, func() reply { return p.fault(faultError500, faultRule{}) }, func(t *tx) reply { return o.handle(t, c, account, id) })
		}}
	}
	if c.method == http.MethodPost && c.path == "/oauth2/token" {
		return endpoint{op: "token", act: func() reply { return p.token(c) }}
	}
	return endpoint{act: func() reply { return bluexpressTrouble(http.StatusNotFound, "Not Found", "No route") }}
}

// bluexpressTrouble is an error in the way of RFC 7807.
func bluexpressTrouble(status int, title, detail string) reply {
	return carrierJSON(status, map[string]any{"type": "about:blank", "title": title, "status": status, "detail": detail})
}

func (p *bluexpress) fault(kind faultKind, rule faultRule) reply {
	switch kind {
	case faultError503:
		return bluexpressTrouble(http.StatusServiceUnavailable, "Service Unavailable", "upstream")
	case faultRateLimited:
		answer := bluexpressTrouble(http.StatusTooManyRequests, "Too Many Requests", "slow down")
		answer.header.Set("Retry-After", "7")
		return answer
	case faultRefuse:
		return p.refuse("AGENCY_NOT_VALID", firstOr(rule.Message, "La agencia no es válida"))
	}
	return bluexpressTrouble(http.StatusInternalServerError, "Internal Server Error", "unexpected")
}

// refuse is how a request is refused that was understood: with HTTP 200.
func (p *bluexpress) refuse(code, message string) reply {
	return carrierJSON(http.StatusOK, map[string]any{"status": false, "code": code, "message": message})
}

func (p *bluexpress) token(c *call) reply {
	form, err := url.ParseQuery(string(c.body))
	request := &http.Request{Header: c.header}
	id, secret, basic := request.BasicAuth()
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	tenant := tenantOf("client", id)
	if err != nil || form.Get("grant_type") != "client_credentials" {
		return carrierJSON(http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
	}
	if tenant == "" || secret != "sandbox-secret-"+tenant {
		return carrierJSON(http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
	}
	until := p.s.now().Add(time.Hour).Unix()
	return carrierJSON(http.StatusOK, map[string]any{
		"access_token": fmt.Sprintf("sandbox-bearer-%s.%d", tenant, until), "token_type": "Bearer", "expires_in": 3600,
	})
}

// bearer checks the token and the key, which must be of one account.
func (p *bluexpress) bearer(c *call) (string, *reply) {
	name, until, _ := strings.Cut(strings.TrimPrefix(c.header.Get("Authorization"), "Bearer "), ".")
	tenant := tenantOf("bearer", name)
	end, err := strconv.ParseInt(until, 10, 64)
	if tenant == "" || err != nil || p.s.now().Unix() >= end {
		refused := bluexpressTrouble(http.StatusUnauthorized, "Unauthorized", "invalid token")
		return "", &refused
	}
	if tenantOf("key", c.header.Get("X-Api-Key")) != tenant {
		refused := carrierJSON(http.StatusForbidden, map[string]any{"message": "Forbidden"})
		return "", &refused
	}
	return tenant, nil
}

func (p *bluexpress) priced(c *call) (string, *reply) {
	tenant, refused := p.bearer(c)
	if refused == nil && tenantOf("token", c.header.Get("BX-TOKEN")) != tenant {
		no := p.refuse("01", "BX-TOKEN inválido")
		refused = &no
	}
	return tenant, refused
}

// older checks the three headers of the first generation.
func (p *bluexpress) older(c *call) (string, *reply) {
	tenant := tenantOf("token", c.header.Get("BX-TOKEN"))
	if tenant == "" || tenantOf("user", c.header.Get("BX-USERCODE")) != tenant || c.header.Get("BX-CLIENT_ACCOUNT") != "account-"+tenant {
		refused := carrierJSON(http.StatusUnauthorized, map[string]any{"status": false, "message": "Unauthorized"})
		return "", &refused
	}
	return tenant, nil
}

func (p *bluexpress) geo(*tx, *call, string, string) reply {
	var states []any
	for i, region := range chile.Regions() {
		var cities []any
		for _, x := range p.places {
			if x.region == region && x.served {
				cities = append(cities, map[string]any{
					"name": x.written, "code": x.code, "defaultDistrict": x.code,
					"districts": []any{map[string]any{"name": x.written, "code": x.code}, map[string]any{"name": "SECTOR " + x.written, "code": x.code + "9"}},
				})
			}
		}
		states = append(states, map[string]any{"code": i + 1, "name": strings.ToUpper(region.Name()), "ciudades": cities})
	}
	return carrierJSON(http.StatusOK, map[string]any{"status": true, "data": []any{map[string]any{"states": states}}})
}

func (p *bluexpress) byCode(code string) (carrierPlace, bool) {
	return placeWhere(p.places, func(x carrierPlace) bool { return x.code == code && x.served })
}

func (p *bluexpress) price(t *tx, c *call, _, _ string) reply {
	var in struct {
		From struct {
			Country  string `json:"country"`
			District string `json:"district"`
		} `json:"from"`
		To struct {
			Country  string `json:"country"`
			State    int    `json:"state"`
			District string `json:"district"`
		} `json:"to"`
		Service string `json:"serviceType"`
		Product struct {
			Product string `json:"producto"`
			Family  string `json:"familiaProducto"`
			Pieces  []struct {
				Length int `json:"largo"`
				Width  int `json:"ancho"`
				Height int `json:"alto"`
				Kilos  int `json:"pesoFisico"`
				Count  int `json:"cantidad"`
			} `json:"bultos"`
		} `json:"datosProducto"`
	}
	if err := readCarrier(c.body, &in); err != nil || len(in.Product.Pieces) != 1 || in.Product.Product != "P" || in.Product.Family != "PAQU" {
		return bluexpressTrouble(http.StatusBadRequest, "Bad Request", "payload inválido")
	}
	from, knownFrom := p.byCode(in.From.District)
	to, knownTo := p.byCode(in.To.District)
	one := in.Product.Pieces[0]
	switch {
	case !knownFrom || !knownTo:
		return p.refuse("COVERAGE", "No existe cobertura para el distrito")
	case one.Length < 1 || one.Width < 1 || one.Height < 1 || one.Kilos < 1 || one.Count != 1:
		return bluexpressTrouble(http.StatusBadRequest, "Bad Request", "bulto inválido")
	case !slices.Contains([]string{"EX", "PY", "PR"}, in.Service):
		return p.refuse("SERVICE", "Servicio no disponible")
	}
	total := cost(one.Kilos*1000, one.Length*one.Width*one.Height/4, from.region == to.region)
	days := 3
	if in.Service == "PY" {
		total, days = total+1200, 1
	}
	if p.settings(t).ZeroQuotes && in.Service == "EX" {
		total = 0
	}
	return carrierJSON(http.StatusOK, map[string]any{"status": true, "data": map[string]any{
		"tarifa": total, "flete": total, "servicioAdicional": 0, "total": total, "fechaEstimadaEntrega": p.local(p.s.now()).AddDate(0, 0, days).Format("2006-01-02"),
	}})
}

type bluexpressEnd struct {
	Location struct {
		State       json.Number `json:"stateId"`
		District    string      `json:"districtId"`
		Name        string      `json:"districtName"`
		Address     string      `json:"address"`
		Agency      *string     `json:"agencyId"`
		Geolocation any         `json:"geolocation"`
	} `json:"location"`
	Contact struct {
		Name  string `json:"fullname"`
		Phone string `json:"phone"`
		Email string `json:"email"`
	} `json:"contact"`
}

func (p *bluexpress) emit(t *tx, c *call, account, _ string) reply {
	var in struct {
		Format     int           `json:"printFormatCode"`
		Account    string        `json:"clientAccount"`
		Identifier string        `json:"clientIdentifier"`
		Count      int           `json:"quantityPackages"`
		References []string      `json:"references"`
		Service    string        `json:"serviceType"`
		Type       string        `json:"productType"`
		Category   string        `json:"productCategory"`
		Currency   string        `json:"currency"`
		Cost       int64         `json:"shipmentCost"`
		Claim      bool          `json:"extendedClaim"`
		Company    int           `json:"companyId"`
		User       string        `json:"userName"`
		Pickup     bluexpressEnd `json:"pickup"`
		Dropoff    bluexpressEnd `json:"dropoff"`
		Comments   *string       `json:"comments"`
		Packages   []struct {
			Cost       int64       `json:"shipmentCost"`
			References []string    `json:"references"`
			WeightUnit string      `json:"weightUnit"`
			LengthUnit string      `json:"lengthUnit"`
			Weight     json.Number `json:"weight"`
			Length     int         `json:"length"`
			Width      int         `json:"width"`
			Height     int         `json:"height"`
			Quantity   int         `json:"quantity"`
		} `json:"packages"`
	}
	if err := readCarrier(c.body, &in); err != nil || len(in.Packages) != 1 || len(in.References) == 0 {
		return bluexpressTrouble(http.StatusBadRequest, "Bad Request", "El cuerpo no es válido")
	}
	from, knownFrom := p.byCode(in.Pickup.Location.District)
	to, knownTo := p.byCode(in.Dropoff.Location.District)
	kilos, err := in.Packages[0].Weight.Float64()
	switch {
	case in.Account != "account-"+account || in.User != "sandbox-user-"+account || in.Company != 2000:
		return p.refuse("ACCOUNT_NOT_VALID", "La cuenta corriente no es válida")
	case !knownFrom || !knownTo:
		return p.refuse("DISTRICT_NOT_VALID", "El distrito no es válido")
	case len([]rune(in.Dropoff.Location.Address)) > 80 || in.Dropoff.Contact.Name == "" || len([]rune(in.Dropoff.Contact.Name)) > 50:
		return bluexpressTrouble(http.StatusUnprocessableEntity, "Unprocessable Entity", "La dirección "+in.Dropoff.Location.Address+" de "+in.Dropoff.Contact.Name+" no es válida")
	case err != nil || kilos <= 0 || kilos > 200:
		return p.refuse("WEIGHT_NOT_VALID", "El peso no es válido")
	case in.Dropoff.Location.Agency != nil:
		return p.refuse("AGENCY_NOT_VALID", "La agencia no es válida")
	case in.Type != "P" || in.Category != "PAQU" || in.Currency != "CLP":
		return p.refuse("PRODUCT_NOT_VALID", "El producto no es válido")
	}
	format, known := map[int]string{1: "epl", 2: "zpl", 3: "pdf", 4: "pdf"}[in.Format]
	if !known {
		return p.refuse("FORMAT_NOT_VALID", "El formato no es válido")
	}
	x := p.book(t, parcel{
		Account: account, Reference: in.References[0], Order: in.Identifier, Tracking: p.parcelNumber(t, "6", 10), From: from.official, To: to.official,
		Region: string(to.region), Service: in.Service, Format: format, Grams: int(kilos * 1000),
	})
	printed := any([]any{map[string]any{"contenido": base64Label(x, format)}})
	if format == "zpl" {
		printed = map[string]any{"contenido": base64Label(x, format)}
	}
	return carrierJSON(http.StatusCreated, map[string]any{"status": true, "data": map[string]any{"trackingNumber": x.Tracking, "labels": printed}})
}

func (p *bluexpress) search(t *tx, c *call, account, _ string) reply {
	list := []any{}
	if c.query.Get("accounts") == "account-"+account {
		for _, reference := range strings.Split(c.query.Get("references"), ",") {
			for _, x := range t.parcelsBy(bluexpressName, "reference", account+"/"+reference) {
				list = append(list, p.told(x))
			}
		}
	}
	return carrierJSON(http.StatusOK, map[string]any{"data": list})
}

func (p *bluexpress) track(t *tx, _ *call, account, number string) reply {
	x, found := p.byTracking(t, account, number)
	if !found {
		return bluexpressTrouble(http.StatusNotFound, "Not Found", "No se encontró la orden")
	}
	return carrierJSON(http.StatusOK, p.told(x))
}

// bluexpressEvents are type and code of what happens. A parcel that is lost has no code
// that is known.
var bluexpressEvents = map[parcelStatus][3]string{
	parcelAnnounced: {"PR", "FI", "FOLIO IMPRESO"}, parcelHanded: {"IN", "PU", "RETIRADO"}, parcelInTransit: {"IN", "IC", "EN TRANSITO"},
	parcelOut: {"ON", "LD", "EN REPARTO"}, parcelDelivered: {"DE", "DL", "ENTREGADO"}, parcelFailed: {"NE", "NH", "SIN MORADORES"},
	parcelReturned: {"DE", "DLV", "DEVOLUCION ENTREGADA"}, parcelLost: {"EX", "EXT", "EXTRAVIADO"},
}

func (p *bluexpress) told(x parcel) map[string]any {
	var events []any
	for _, m := range x.Moves {
		usual := bluexpressEvents[m.Status]
		kind, code := usual[0], firstOr(m.Code, usual[1])
		if m.Code != "" {
			kind = "EX"
		}
		events = append(events, map[string]any{
			"eventType": kind, "eventTypeDesc": "", "eventCode": code, "eventCodeDesc": firstOr(m.Text, usual[2]),
			"eventDate": p.local(m.At).Format("2006-01-02T15:04:05.000-07:00"), "location": capitals(m.Where),
		})
	}
	last := x.Moves[len(x.Moves)-1]
	return map[string]any{
		"orderId": x.Tracking, "emissionDate": x.CreatedAt.Format(time.RFC3339), "state": "PR", "stateDesc": "PRINTED",
		"deliveryAddress": map[string]any{"communeDesc": capitals(x.To)}, "references": []string{x.Reference},
		"packages": []any{map[string]any{
			"latestStatus": map[string]any{"statusCode": bluexpressEvents[last.Status][1], "statusDate": last.At.Format(time.RFC3339)}, "trackings": events,
		}},
	}
}

func (p *bluexpress) label(t *tx, _ *call, account, number string) reply {
	x, found := p.byTracking(t, account, number)
	if !found {
		return carrierJSON(http.StatusNotFound, map[string]any{"status": false, "message": "No existe"})
	}
	return carrierJSON(http.StatusOK, map[string]any{"status": true, "data": []any{map[string]any{"contenido": base64Label(x, x.Format)}}})
}
