package sandbox

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"justlogistics/internal/chile"
)

const chilexpressName = "chilexpress"

// chilexpress is Chilexpress's REST API behind its gateway: georeference, rating,
// transport orders. Fields: developers.wschilexpress.com and the source of
// Chilexpress's own modules, github.com/cxpdevelopers/WooCommerce_Chilexpress_Oficial
// and github.com/cxpdevelopers/prestashop_chilexpress_oficial. Each tenant has three
// keys, sandbox-coverage-{tenant}, sandbox-rating-{tenant} and
// sandbox-shipping-{tenant}: a key of one product is refused by another, as there.
//
// Where Chilexpress publishes nothing the sandbox chose the worse: an order that is
// sent again is made again; nobody at the door is told in words that stand in no list;
// an order that is not known is told with HTTP 400; an unknown field is refused, so that
// a misspelled one is noticed.
type chilexpress struct {
	parcelDesk
	places []carrierPlace
}

func newChilexpress(s *Server) *chilexpress {
	return &chilexpress{parcelDesk: parcelDesk{s, chilexpressName}, places: carrierPlaces(4, map[string]string{
		"Providencia": "PROV", "Pudahuel": "PUDA", "Santiago": "STGO", "Viña del Mar": "VINA", "Renca": "RENC",
	})}
}

// chilexpressRegion is the gateway's id of a region: the numeral, or RM.
func chilexpressRegion(r chile.Region) string {
	numerals := map[chile.Region]string{
		chile.Tarapaca: "R1", chile.Antofagasta: "R2", chile.Atacama: "R3", chile.Coquimbo: "R4", chile.Valparaiso: "R5", chile.OHiggins: "R6",
		chile.Maule: "R7", chile.Biobio: "R8", chile.Araucania: "R9", chile.LosLagos: "R10", chile.Aysen: "R11", chile.Magallanes: "R12",
		chile.Santiago: "RM", chile.LosRios: "R14", chile.Arica: "R15", chile.Nuble: "R16",
	}
	return numerals[r]
}

var chilexpressKey = regexp.MustCompile(`^sandbox-(coverage|rating|shipping)-([A-Za-z0-9_-]{1,64})$`)

// chilexpressHandler answers one call of an account.
type chilexpressHandler func(t *tx, c *call, account string) reply

func (p *chilexpress) route(c *call) endpoint {
	for _, o := range []struct {
		op, method, path, product string
		reads                     bool
		handle                    chilexpressHandler
	}{
		{"regions", http.MethodGet, "/georeference/api/v1.0/regions", "coverage", true, p.regions},
		{"coverage", http.MethodGet, "/georeference/api/v1.0/coverage-areas", "coverage", true, p.areas},
		{"offices", http.MethodGet, "/georeference/api/v1.0/offices", "coverage", true, p.offices},
		{"rate", http.MethodPost, "/rating/api/v1.0/rates/courier", "rating", true, p.rate},
		{"rate", http.MethodPost, "/rating/api/v1.0/rates/business", "rating", true, p.rate},
		{"create_order", http.MethodPost, "/transport-orders/api/v1.0/transport-orders", "shipping", false, p.create},
		{"label", http.MethodPost, "/transport-orders/api/v1.0/transport-orders-labels", "shipping", true, p.reprint},
		{"lookup", http.MethodPost, "/transport-orders/api/v1.0/tracking", "shipping", true, p.track},
		{"track", http.MethodPost, "/transport-orders/api/v1.0/tracking/bulk", "shipping", true, p.trackMany},
	} {
		if o.method == c.method && o.path == c.path {
			return endpoint{op: o.op, act: func() reply { return p.serve(c, o.product, o.reads, o.handle) }}
		}
	}
	return endpoint{act: func() reply {
		return carrierJSON(http.StatusNotFound, map[string]any{"statusCode": 404, "message": "Resource not found"})
	}}
}

func (p *chilexpress) serve(c *call, product string, reads bool, handle chilexpressHandler) reply {
	key := chilexpressKey.FindStringSubmatch(c.header.Get("Ocp-Apim-Subscription-Key"))
	if key == nil || key[1] != product {
		return carrierJSON(http.StatusUnauthorized, map[string]any{
			"statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription.",
		})
	}
	return p.act(reads, func() reply { return p.fault(faultError500, faultRule{}) }, func(t *tx) reply { return handle(t, c, key[2]) })
}

func (p *chilexpress) fault(kind faultKind, rule faultRule) reply {
	switch kind {
	case faultError503:
		return carrierJSON(http.StatusServiceUnavailable, map[string]any{"statusCode": 503, "message": "Service unavailable"})
	case faultRateLimited:
		answer := carrierJSON(http.StatusTooManyRequests, map[string]any{"statusCode": 429, "message": "Rate limit is exceeded. Try again in 7 seconds."})
		answer.header.Set("Retry-After", "7")
		return answer
	case faultRefuse:
		// The gateway is content; what counts is inside.
		message := firstOr(rule.Message, "TCC no se encuentra vigente")
		return carrierJSON(http.StatusOK, map[string]any{
			"data": map[string]any{
				"header": map[string]any{"certificateNumber": 0, "countOfGeneratedOrders": 0},
				"detail": []any{map[string]any{"transportOrderNumber": 0, "statusCode": -1, "statusDescription": message}},
			},
			"statusCode": 0, "statusDescription": "Operación exitosa", "errors": nil,
		})
	}
	return carrierJSON(http.StatusInternalServerError, map[string]any{"statusCode": 500, "message": "Internal server error"})
}

func (p *chilexpress) refuse(code int, description string) reply {
	return carrierJSON(http.StatusBadRequest, map[string]any{"data": nil, "statusCode": code, "statusDescription": description, "errors": []string{description}})
}

func (p *chilexpress) flat(list string, v any) reply {
	return carrierJSON(http.StatusOK, map[string]any{list: v, "statusCode": 0, "statusDescription": "Consulta exitosa", "errors": nil})
}

func (p *chilexpress) data(v any) reply { return p.flat("data", v) }

func (p *chilexpress) regions(*tx, *call, string) reply {
	var list []any
	for i, r := range chile.Regions() {
		list = append(list, map[string]any{"regionId": chilexpressRegion(r), "regionName": strings.ToUpper(r.Name()), "ineRegionCode": i + 1})
	}
	return p.flat("regions", list)
}

// areas lists comunas and, where somebody asks for all, sectors. A comuna without
// service is a row all the same.
func (p *chilexpress) areas(_ *tx, c *call, _ string) reply {
	region, kind := c.query.Get("RegionCode"), c.query.Get("type")
	list := []any{}
	row := func(x carrierPlace, code, coverage string, mode int) {
		list = append(list, map[string]any{
			"countyCode": code, "countyName": x.written, "regionCode": region, "ineCountyCode": 1000 + x.number, "queryMode": mode,
			"coverageName": coverage, "ind_ppd": 0, "ind_rd": 1,
		})
	}
	for _, x := range p.places {
		switch {
		case chilexpressRegion(x.region) != region:
		case !x.served:
			row(x, "SCOB", "SIN COBERTURA", 1)
		default:
			row(x, x.code, x.written, 1)
			if x.official == "Viña del Mar" && kind != "1" {
				row(x, "RENA", "REÑACA", 2)
			}
		}
	}
	if len(list) == 0 {
		return p.refuse(-1, "No se encontraron coberturas")
	}
	return p.flat("coverageAreas", list)
}

func (p *chilexpress) offices(_ *tx, c *call, _ string) reply {
	region, county, kind := c.query.Get("RegionCode"), c.query.Get("CountyName"), c.query.Get("Type")
	place, found := placeWhere(p.places, func(x carrierPlace) bool {
		return chilexpressRegion(x.region) == region && x.written == county && x.served
	})
	officeType, title := 3, "SUCURSAL "
	if kind == "4" {
		officeType, title = 4, "PUNTO "
	}
	// Every third comuna has a branch of its own, every second one a partner.
	if !found || kind == "0" && place.number%3 != 0 && place.official != "Providencia" || kind == "4" && place.number%2 != 0 {
		return p.refuse(-1, "No se encontraron oficinas")
	}
	return p.flat("offices", []any{map[string]any{
		"addressId": 500_000 + place.number, "officeCode": 1000*officeType + place.number, "officeName": title + place.written, "officeType": officeType,
		"streetName": "ARTURO PRAT", "streetNumber": place.number, "businessHour": []string{"LUNES A VIERNES 09:00 - 18:30", "SABADO 10:00 - 13:00"},
		"officeServices": []string{"ADMISION", "ENTREGA"}, "latitude": -33.0, "longitude": -70.5, "countyName": place.written,
	}})
}

type chilexpressSize struct {
	Weight string `json:"weight"`
	Height string `json:"height"`
	Width  string `json:"width"`
	Length string `json:"length"`
}

// grams reads a size in kilograms and centimetres; false when it is no size.
func (z chilexpressSize) grams() (weight, volumetric int, ok bool) {
	kilos, err := strconv.ParseFloat(z.Weight, 64)
	volume := 1.0
	for _, text := range []string{z.Height, z.Width, z.Length} {
		cm, bad := strconv.ParseFloat(text, 64)
		if bad != nil || cm <= 0 {
			return 0, 0, false
		}
		volume *= cm
	}
	return int(kilos * 1000), int(volume / 4), err == nil && kilos > 0
}

func (p *chilexpress) byCode(code string) (carrierPlace, bool) {
	return placeWhere(p.places, func(x carrierPlace) bool { return x.code == code && x.served })
}

func (p *chilexpress) rate(t *tx, c *call, _ string) reply {
	var in struct {
		Origin       string          `json:"originCountyCode"`
		Destination  string          `json:"destinationCountyCode"`
		Package      chilexpressSize `json:"package"`
		ProductType  int             `json:"productType"`
		ContentType  int             `json:"contentType"`
		Worth        string          `json:"declaredWorth"`
		DeliveryTime int             `json:"deliveryTime"`
		Card         json.Number     `json:"customerCardNumber"`
	}
	if err := readCarrier(c.body, &in); err != nil {
		return p.refuse(90, "JSON inválido")
	}
	from, knownFrom := p.byCode(in.Origin)
	to, knownTo := p.byCode(in.Destination)
	weight, volumetric, ok := in.Package.grams()
	switch {
	case !knownFrom || !knownTo:
		return p.refuse(-30, "No existe servicio entre las comunas consultadas")
	case !ok || in.ProductType != 3 || in.ContentType == 0:
		return p.refuse(-10, "Los datos del paquete no son válidos")
	}
	business := strings.HasSuffix(c.path, "/business")
	price := cost(weight, volumetric, from.region == to.region)
	var options []any
	offer := func(code int, name string, price int64) {
		option := map[string]any{
			"serviceTypeCode": code, "serviceDescription": name, "didUseVolumetricWeight": volumetric > weight,
			"finalWeight": strconv.FormatFloat(float64(max(weight, volumetric))/1000, 'f', 2, 64), "serviceValue": strconv.FormatInt(price, 10),
			"conditions": "", "deliveryType": 1, "additionalServices": []any{},
		}
		if business {
			option["serviceValueDiscount"] = strconv.FormatInt(price*9/10, 10)
		}
		options = append(options, option)
	}
	if p.settings(t).ZeroQuotes {
		offer(2, "PRIORITARIO", 0)
	} else {
		offer(2, "PRIORITARIO", price+1500)
	}
	offer(3, "EXPRESS", price)
	offer(41, "DEVOLUCION", price)
	return p.data(map[string]any{"courierServiceOptions": options})
}

type chilexpressOrder struct {
	Header struct {
		Certificate json.Number `json:"certificateNumber"`
		Card        string      `json:"customerCardNumber"`
		Origin      string      `json:"countyOfOriginCoverageCode"`
		LabelType   int         `json:"labelType"`
		Marketplace string      `json:"marketplaceRut"`
		Seller      string      `json:"sellerRut"`
	} `json:"header"`
	Details []struct {
		Addresses []struct {
			ID           json.Number `json:"addressId"`
			Coverage     string      `json:"countyCoverageCode"`
			Street       string      `json:"streetName"`
			Number       string      `json:"streetNumber"`
			Supplement   string      `json:"supplement"`
			Type         string      `json:"addressType"`
			ToOffice     bool        `json:"deliveryOnCommercialOffice"`
			Office       string      `json:"commercialOfficeId"`
			Observations string      `json:"observation"`
		} `json:"addresses"`
		Contacts []struct {
			Name  string `json:"name"`
			Phone string `json:"phoneNumber"`
			Mail  string `json:"mail"`
			Type  string `json:"contactType"`
		} `json:"contacts"`
		Packages []struct {
			chilexpressSize
			Service     string `json:"serviceDeliveryCode"`
			Product     string `json:"productCode"`
			Reference   string `json:"deliveryReference"`
			Group       string `json:"groupReference"`
			Value       string `json:"declaredValue"`
			Content     string `json:"declaredContent"`
			Description string `json:"descriptionContent"`
			Extended    bool   `json:"extendedCoverageAreaIndicator"`
			Receivable  string `json:"receivableAmountInDelivery"`
		} `json:"packages"`
	} `json:"details"`
}

// faults of an order's detail, in the order in which they are noticed.
func (p *chilexpress) faultOf(in chilexpressOrder) string {
	d := in.Details[0]
	size, _, ok := d.Packages[0].grams()
	_, from := p.byCode(in.Header.Origin)
	_, to := p.byCode(d.Addresses[0].Coverage)
	var roles string
	for _, c := range d.Contacts {
		if c.Name != "" && c.Phone != "" {
			roles += c.Type
		}
	}
	switch {
	case !regexp.MustCompile(`^[0-9]{8}$`).MatchString(in.Header.Card):
		return "Número de TCC desconocido"
	case !from || !to:
		return "No existe servicio entre las comunas"
	case !ok || size > 50_000:
		return "El peso o las dimensiones no son válidos"
	case !regexp.MustCompile(`^[0-9]{1,6}$`).MatchString(d.Addresses[0].Number):
		return "El número de la calle no es válido: " + d.Addresses[0].Street + " " + d.Addresses[0].Number
	case d.Addresses[0].Type != "DEST" || d.Addresses[1].Type != "DEV":
		return "Tipo de dirección no válido"
	case d.Addresses[0].ToOffice && d.Addresses[0].Office == "":
		return "Falta la oficina comercial"
	case !strings.Contains(roles, "R") || !strings.Contains(roles, "D"):
		return "Faltan contactos"
	case d.Packages[0].Content == "0" || d.Packages[0].Content == "":
		return "Contenido declarado no válido"
	case d.Packages[0].Service == "" || d.Packages[0].Product != "3":
		return "Servicio no habilitado para la TCC"
	}
	return ""
}

func (p *chilexpress) create(t *tx, c *call, account string) reply {
	var in chilexpressOrder
	if err := readCarrier(c.body, &in); err != nil {
		return p.refuse(90, "JSON inválido")
	}
	if len(in.Details) != 1 || len(in.Details[0].Addresses) != 2 || len(in.Details[0].Packages) != 1 {
		return p.refuse(-20, "La orden no es válida")
	}
	d := in.Details[0]
	if fault := p.faultOf(in); fault != "" {
		return p.fault(faultRefuse, faultRule{Message: fault})
	}
	from, _ := p.byCode(in.Header.Origin)
	to, _ := p.byCode(d.Addresses[0].Coverage)
	weight, volumetric, _ := d.Packages[0].grams()
	x := p.book(t, parcel{
		Account: account, Reference: d.Packages[0].Reference, Order: d.Packages[0].Group, Tracking: p.parcelNumber(t, "7", 11),
		From: from.official, To: to.official, Region: string(to.region), Service: d.Packages[0].Service, Point: d.Addresses[0].Office,
		Format: "jpeg", Grams: weight, Price: cost(weight, volumetric, from.region == to.region),
	})
	number, _ := strconv.ParseInt(x.Tracking, 10, 64)
	detail := map[string]any{
		"transportOrderNumber": number, "reference": x.Reference, "productDescription": "ENCOMIENDA", "serviceDescription": "EXP", "serviceDescriptionFull": "EXPRESS",
		"destinationCoverageAreaName": to.written, "barcode": x.Tracking + strings.Repeat("0", 23-len(x.Tracking)), "groupReference": x.Order,
		"recipient": d.Contacts[len(d.Contacts)-1].Name, "address": d.Addresses[0].Street, "createdDate": p.local(x.CreatedAt).Format("2006-01-02T15:04:05"),
		"statusCode": 0, "statusDescription": "Orden generada",
	}
	if in.Header.LabelType == 2 {
		detail["label"] = map[string]any{"labelData": base64Label(x, "jpeg"), "labelType": 2}
	}
	return p.data(map[string]any{"header": map[string]any{"certificateNumber": 6_000_000 + x.Sequence, "countOfGeneratedOrders": 1}, "detail": []any{detail}})
}

func (p *chilexpress) reprint(t *tx, c *call, account string) reply {
	var in struct {
		Number     json.Number `json:"transportOrderNumber"`
		LabelType  int         `json:"labelType"`
		ReportType int         `json:"reportType"`
	}
	if err := readCarrier(c.body, &in); err != nil {
		return p.refuse(90, "JSON inválido")
	}
	x, found := p.byTracking(t, account, in.Number.String())
	if !found {
		return p.refuse(-81, "La orden de transporte no existe")
	}
	return p.data(map[string]any{"detail": map[string]any{"reference": x.Reference}, "label": map[string]any{"labelData": base64Label(x, "jpeg"), "labelType": 2}})
}

type chilexpressQuestion struct {
	Number    json.Number `json:"transportOrderNumber"`
	Reference string      `json:"reference"`
	RUT       json.Number `json:"rut"`
	Events    int         `json:"showTrackingEvents"`
}

// find answers by the number, or by the reference where there is none.
func (p *chilexpress) find(t *tx, account string, q chilexpressQuestion) (parcel, bool) {
	if n := q.Number.String(); n != "" && n != "0" {
		return p.byTracking(t, account, n)
	}
	all := t.parcelsBy(chilexpressName, "reference", account+"/"+q.Reference)
	if q.Reference == "" || len(all) == 0 {
		return parcel{}, false
	}
	return all[len(all)-1], true
}

func (p *chilexpress) track(t *tx, c *call, account string) reply {
	var q chilexpressQuestion
	if err := readCarrier(c.body, &q); err != nil {
		return p.refuse(90, "JSON inválido")
	}
	x, found := p.find(t, account, q)
	if !found {
		return p.refuse(-81, "La orden de transporte no existe en este ambiente")
	}
	return p.data(p.told(x, q.Events == 1))
}

func (p *chilexpress) trackMany(t *tx, c *call, account string) reply {
	var in struct {
		RUT    json.Number `json:"rut"`
		Events int         `json:"showTrackingEvents"`
		Input  []struct {
			Reference string      `json:"reference"`
			Number    json.Number `json:"transportOrderNumber"`
		} `json:"trackingInput"`
	}
	if err := readCarrier(c.body, &in); err != nil {
		return p.refuse(90, "JSON inválido")
	}
	list := []any{}
	for _, q := range in.Input {
		if x, found := p.find(t, account, chilexpressQuestion{Number: q.Number, Reference: q.Reference}); found {
			list = append(list, p.told(x, in.Events == 1))
		}
	}
	return p.data(list)
}

// chilexpressWords are the texts of the states. Nobody at the door is not among those
// that are known.
var chilexpressWords = map[parcelStatus]string{
	parcelAnnounced: "PRE-RECEPCION", parcelHanded: "PIEZA RECIBIDA EN CHILEXPRESS", parcelInTransit: "PIEZA EN TRÁNSITO AL DESTINO",
	parcelOut: "PIEZA EN RUTA AL DESTINATARIO", parcelDelivered: "PIEZA ENTREGADA A DESTINATARIO", parcelFailed: "DESTINATARIO AUSENTE",
	parcelReturned: "DEVUELTO", parcelLost: "EXTRAVIADO",
}

// told is a parcel as tracking tells it; here the order's number is a text.
func (p *chilexpress) told(x parcel, withEvents bool) map[string]any {
	var events []any
	for _, m := range x.Moves {
		at := p.local(m.At)
		events = append(events, map[string]any{
			"eventDate": at.Format("02-01-2006"), "eventHour": at.Format("15:04:05"), "eventDateTime": at.Format("2006-01-02T15:04:05.999"),
			"description": firstOr(m.Text, chilexpressWords[m.Status]), "motive": "", "location": capitals(m.Where), "latitude": nil, "longitude": nil,
			"code": map[string]any{"eventCode": m.Code, "compEventCode": nil},
		})
	}
	last := x.Moves[len(x.Moves)-1]
	out := map[string]any{
		"addressData": map[string]any{"address": "", "commune": capitals(x.To)}, "trackingEvents": nil,
		"deliveryData": map[string]any{"receptorRut": nil, "receptorName": nil, "deliveryDate": nil},
		"transportOrderData": map[string]any{
			"transportOrderNumber": x.Tracking, "certificateNumber": 6_000_000 + x.Sequence, "reference": x.Reference, "product": "ENCOMIENDA", "service": "EXPRESS",
			"dimensions": "10x10x10", "weight": float64(x.Grams) / 1000, "status": firstOr(last.Text, chilexpressWords[last.Status]), "locationStatus": capitals(last.Where),
		},
	}
	if x.Status == parcelDelivered {
		out["deliveryData"] = map[string]any{"receptorRut": "11111111-1", "receptorName": "PERSONA QUE RECIBE", "deliveryDate": p.local(last.At).Format("02-01-2006")}
	}
	if withEvents {
		out["trackingEvents"] = events
	}
	return out
}
