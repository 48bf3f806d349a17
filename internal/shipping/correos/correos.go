// Package correos is the adapter of Correos de Chile's REST API, version 2
// (https://developers.correos.cl): tarifas, generar-etiquetas, trazabilidad, anulacion.
//
// An admission is made at once, brings its label, and can be cancelled until Correos has
// the parcel; a label is given only once. An admission can be asked for by our reference
// (https://developers.correos.cl/v2/trazabilidad), though nobody says from when on. The
// pages show the fields and hardly an answer: what had to be guessed is in functions that
// say so.
package correos

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// Hosts of the API. One integrator has found production at port 443, another infers
// 8443; base_url decides.
const (
	ProductionURL    = "https://apib2bv2.correos.cl"
	CertificationURL = "https://cert-apib2bv2.correos.cl:8000"
)

// Config is one tenant's contract with Correos.
type Config struct {
	// BaseURL is what stands before /tarifas; empty means ProductionURL.
	BaseURL string `json:"base_url,omitempty"`
	// Token, or User and Password: which, the contract says.
	Token    string `json:"token,omitempty"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	// ClientCode is the SAP code of the contract.
	ClientCode string `json:"client_code"`
	// Services to the door that are offered, by their codes of two characters; empty
	// means 24, Paquete Express Domicilio.
	Services []string `json:"services,omitempty"`
	// AdmissionPath is the path of "generar etiquetas", where Correos has told another
	// than /generar-etiquetas.
	AdmissionPath string `json:"admission_path,omitempty"`
}

var (
	secret    = regexp.MustCompile(`^[!-~]{1,200}$`)
	service   = regexp.MustCompile(`^[0-9A-Z]{2}$`)
	admission = regexp.MustCompile(`^/[a-z0-9/_-]{1,60}$`)
)

// homeService is the parcel to the door (https://developers.correos.cl/v1/soap/admision).
const homeService = "24"

// Carrier is shipping.Carrier for one contract.
type Carrier struct {
	config        Config
	base          string
	authorization string
	caller        wire.Caller
}

var _ shipping.Carrier = (*Carrier)(nil)

// New checks cfg without calling Correos. client must come from httpclient.New.
func New(cfg Config, client *http.Client) (*Carrier, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = ProductionURL
	}
	base, err := wire.Base("correos", cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	c := &Carrier{base: base, caller: wire.Caller{Client: client, Now: time.Now}}
	switch {
	case cfg.Token != "" && cfg.User+cfg.Password == "" && secret.MatchString(cfg.Token):
		c.authorization = "token " + cfg.Token
	case cfg.Token == "" && secret.MatchString(cfg.User) && secret.MatchString(cfg.Password):
		c.authorization = "basic " + base64.StdEncoding.EncodeToString([]byte(cfg.User+":"+cfg.Password))
	default:
		return nil, errors.New("correos: either token, or user and password, without blanks")
	}
	if !secret.MatchString(cfg.ClientCode) {
		return nil, errors.New("correos: client_code is missing or has blanks")
	}
	if len(cfg.Services) == 0 {
		cfg.Services = []string{homeService}
	}
	for _, s := range cfg.Services {
		if !service.MatchString(s) {
			return nil, fmt.Errorf("correos: services: %q is no code of two characters", s)
		}
	}
	if cfg.AdmissionPath == "" {
		cfg.AdmissionPath = admissionPath()
	}
	if !admission.MatchString(cfg.AdmissionPath) {
		return nil, errors.New("correos: admission_path is no path")
	}
	if client == nil {
		return nil, errors.New("correos: an HTTP client is needed")
	}
	c.config = cfg
	return c, nil
}

// admissionPath is where admissions go.
//
// Unconfirmed: the page "generar-etiquetas" is known without its address; the other pages
// are named like their paths.
func admissionPath() string { return "/generar-etiquetas" }

// Name is shipping.Correos.
func (*Carrier) Name() shipping.Name { return shipping.Correos }

// Capabilities of Correos. LookupFinal is false: an admission that nobody has scanned may
// not be found. Branches are left out: the list of them is in the first version's SOAP.
func (*Carrier) Capabilities() shipping.Capabilities {
	return shipping.Capabilities{
		Methods:     []shipping.Method{shipping.ToDoor},
		Lookup:      true,
		Void:        true,
		TrackAtOnce: 1,
		Labels:      []shipping.Format{shipping.PDF, shipping.ZPL, shipping.EPL},
	}
}

func (c *Carrier) call(ctx context.Context, method, path string, body any) wire.Reply {
	return c.caller.Call(ctx, wire.Request{Method: method, URL: c.base + path, JSON: body, Header: map[string]string{"Authorization": c.authorization}})
}

// trouble is an error's code and message.
//
// Unconfirmed: the pages say that errors come with 400 or 500 and show no body. The
// codes are those of the first version.
func trouble(r wire.Reply) (code, message string) {
	var out struct {
		Codigo  wire.Text `json:"codigo"`
		Code    wire.Text `json:"code"`
		Error   wire.Text `json:"error"`
		Mensaje string    `json:"mensaje"`
		Message string    `json:"message"`
		Detalle string    `json:"detalle"`
	}
	if !r.Read(&out) {
		return "", ""
	}
	for _, s := range []wire.Text{out.Codigo, out.Code, out.Error} {
		if code == "" {
			code = string(s)
		}
	}
	for _, s := range []string{out.Mensaje, out.Message, out.Detalle} {
		if message == "" {
			message = s
		}
	}
	return code, message
}

// Codes of errors (https://developers.correos.cl/v1/soap/admision), by what they say.
var (
	credentialCodes = []string{"ERR_USR_INX", "ERR_PASS_INC", "ERR_LGIN_INC", "ERR_SRV_USU"}
	quotaCodes      = []string{"ERR_CUOT_MAX"}
	// Trouble of Correos's own, after which anything may have happened.
	troubledCodes = []string{"ERR_EXC_DAT", "ERR_CMNCN_OD", "ERR_STOU_XML", "ERR_ACT_TRANS"}
	absentCode    = "ERR_CON_INX"
)

// failed is the failure of a question, with the class that the code has: nearly
// everything comes with HTTP 400.
func failed(r wire.Reply) *shipping.Failure {
	if r.OK() {
		return r.Unreadable()
	}
	code, message := trouble(r)
	f := r.Failure(code, message)
	switch {
	case slices.Contains(credentialCodes, code):
		f.Reason = shipping.Credentials
	case slices.Contains(quotaCodes, code):
		f.Reason = shipping.RateLimited
	case slices.Contains(troubledCodes, code):
		f.Reason = shipping.Unavailable
	}
	return f
}

// effect is what an effect that did not succeed means.
func effect(r wire.Reply, words func(string) string) (shipping.Answer, error) {
	code, message := trouble(r)
	switch {
	case slices.Contains(troubledCodes, code):
		return shipping.Answer{Outcome: shipping.OutcomeUnknown, Code: code, Message: words(message)}, nil
	case slices.Contains(credentialCodes, code), slices.Contains(quotaCodes, code):
		return shipping.Answer{}, failed(r)
	}
	return r.Effect(code, words(message))
}

// comunaName is a comuna as Correos reads it.
//
// Unconfirmed: in capitals; whether with accents nobody says, and integrators send both.
func comunaName(comuna, region string) (string, bool) {
	c, known := wire.Comuna(comuna, region)
	return wire.Plain(c.Name), known
}

// Quote asks for the prices of the contract: POST tarifas. Insurance is not asked for.
func (c *Carrier) Quote(ctx context.Context, q shipping.QuoteRequest) ([]shipping.Offer, error) {
	from, knownFrom := comunaName(q.From.Comuna, q.From.Region)
	to, knownTo := comunaName(q.To.Comuna, q.To.Region)
	if !knownFrom || !knownTo || q.Method != shipping.ToDoor {
		return nil, nil
	}
	r := c.call(ctx, http.MethodPost, "/tarifas", map[string]any{
		"codServicio": "", "comunaRemitente": from, "comunaDestino": to, "tipoPortes": "P", "bultos": 1,
		"kilos": json.Number(wire.Kilos(q.Parcel.WeightGrams)), "volumen": json.Number(volume(q.Parcel)), "importeReembolso": 0, "valorAsegurado": 0,
	})
	if code, _ := trouble(r); code == absentCode && !r.OK() {
		return nil, nil
	}
	offers, read := offersOf(r.Body, c.config.Services)
	if !r.OK() || !read {
		return nil, failed(r)
	}
	return offers, nil
}

// offersOf reads the prices of the services that are offered; read is false when the
// answer is none.
func offersOf(raw []byte, offered []string) (offers []shipping.Offer, read bool) {
	var out []struct {
		Service wire.Text `json:"codServicio"`
		Total   wire.Text `json:"totalTasacion"`
	}
	if json.Unmarshal(raw, &out) != nil || out == nil {
		return nil, false
	}
	for _, o := range out {
		price, priced := o.Total.Pesos()
		if !priced || !slices.Contains(offered, string(o.Service)) {
			continue
		}
		name := "Servicio " + string(o.Service)
		if o.Service == homeService {
			name = "Paquete Express Domicilio"
		}
		offers = append(offers, shipping.Offer{Service: string(o.Service), Name: name, Method: shipping.ToDoor, Price: price})
	}
	return offers, true
}

// volume is a parcel's in cubic metres, to the fifth decimal, rounded up.
func volume(p shipping.Parcel) string {
	cubic := int64(wire.Centimetres(p.LengthMM)) * int64(wire.Centimetres(p.WidthMM)) * int64(wire.Centimetres(p.HeightMM))
	parts := max(1, (cubic+9)/10) // of a hundred thousandth
	return fmt.Sprintf("%d.%05d", parts/100_000, parts%100_000)
}

// Points: none are offered.
func (*Carrier) Points(context.Context, string, string) ([]shipping.Point, error) { return nil, nil }

// Label is not possible: a label comes with the admission, and no call gives it again.
func (*Carrier) Label(context.Context, shipping.Booked) (shipping.Label, error) {
	return shipping.Label{}, shipping.ErrNoReprint
}

// Void cancels an admission: DELETE anulacion/{number}. Cancelling twice is harmless, so
// it is tried again unless it is known to be cancelled.
func (c *Carrier) Void(ctx context.Context, at shipping.Booked, before shipping.Looked) (shipping.Answer, error) {
	if before.Tried() && before.Outcome == shipping.OutcomeVoided {
		return before.Answer, nil
	}
	if at.Tracking == "" {
		return shipping.Answer{}, wire.Invalid("numero_envio", "a parcel is cancelled by its number")
	}
	r := c.call(ctx, http.MethodDelete, "/anulacion/"+url.PathEscape(at.Tracking), nil)
	gone := shipping.Answer{Outcome: shipping.OutcomeVoided, Tracking: at.Tracking}
	if r.OK() {
		return gone, nil
	}
	a, err := effect(r, httpclient.Readable)
	if err != nil || a.Outcome != shipping.OutcomeRefused {
		return a, err
	}
	// Refused: perhaps because it was cancelled before, which the history tells.
	if h, found, err := c.history(ctx, at.Tracking); err == nil && found && h.voided() {
		return gone, nil
	}
	return a, nil
}

// annulled tells an event of a parcel that was cancelled.
//
// Unconfirmed: how Correos says so in the history.
func annulled(text string) bool { return voidedText.MatchString(wire.Plain(text)) }

var voidedText = regexp.MustCompile(`^(ENVIO )?ANULADO\b`)
