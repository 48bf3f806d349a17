package sandbox

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// showPage is the provider's page for the buyer: open with its buttons, or
// closed with the way back to the merchant.
func (s *Server) showPage(w http.ResponseWriter, r *http.Request) {
	var p page
	var found, returned bool
	id := r.PathValue("id")
	err := s.store.view(func(t *tx) {
		if p, found = s.findPage(t, id); found {
			_, returned = get[browserReturn](t, bucketReturns, p.Provider+"/"+p.Key)
		}
	})
	if err != nil {
		s.fail(w, err)
		return
	}
	if !found {
		s.render(w, http.StatusNotFound, missingPage, nil)
		return
	}
	s.render(w, http.StatusOK, buyerPage, map[string]any{
		"Page": p, "ID": url.PathEscape(id), "Amount": showAmount(p.Amount, p.Currency), "Returned": returned,
		"Brand": brands[p.Provider], "Webpay": p.Provider == transbankName, "Cards": p.Provider == transbankName || p.Provider == flowName,
	})
}

// brands are what the providers' pages call themselves.
var brands = map[string]string{
	transbankName: "Webpay Plus", stripeName: "Stripe Checkout", flowName: "Flow", "mercadopago": "Mercado Pago", "khipu": "Khipu",
}

// sendBrowser ends a step taken with a button: a redirect, or a form that
// submits itself where the provider comes back with POST.
func (s *Server) sendBrowser(w http.ResponseWriter, r *http.Request, back browserReturn) {
	if back.Method == http.MethodGet {
		http.Redirect(w, r, back.location(), http.StatusSeeOther)
		return
	}
	s.render(w, http.StatusOK, returnPage, back)
}

func (s *Server) render(w http.ResponseWriter, status int, tmpl *template.Template, data any) {
	var out bytes.Buffer
	if err := tmpl.Execute(&out, data); err != nil {
		s.fail(w, err)
		return
	}
	s.send(w, reply{
		status: status,
		header: http.Header{"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-store"}},
		body:   out.Bytes(),
	})
}

// showAmount writes money as Chile does: $12.990, or US$129,90.
func showAmount(amount int64, currency string) string {
	whole, rest := amount, ""
	switch {
	case threeDecimal(currency):
		whole, rest = amount/1000, fmt.Sprintf(",%03d", amount%1000)
	case !zeroDecimal(currency):
		whole, rest = amount/100, fmt.Sprintf(",%02d", amount%100)
	}
	text := strconv.FormatInt(whole, 10)
	var grouped strings.Builder
	for i, digit := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			grouped.WriteByte('.')
		}
		grouped.WriteRune(digit)
	}
	switch strings.ToUpper(currency) {
	case "CLP":
		return "$" + grouped.String()
	case "USD":
		return "US$" + grouped.String() + rest
	}
	return strings.ToUpper(currency) + " " + grouped.String() + rest
}

// zeroDecimal: the currency has no minor unit in ISO 4217.
func zeroDecimal(currency string) bool {
	switch strings.ToUpper(currency) {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF":
		return true
	}
	return false
}

const pageStyle = `<style>
body{font-family:system-ui,sans-serif;margin:0;background:#f4f5f7;color:#1f2430}
header{padding:14px 20px;color:#fff;background:#635bff}
.webpay header{background:#6b1d6b}
main{max-width:26rem;margin:2rem auto;background:#fff;border-radius:8px;padding:1.5rem;box-shadow:0 1px 4px #0003}
.amount{font-size:2rem;margin:.3rem 0 1rem}
dl{display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem;font-size:.9rem}dd{margin:0;overflow-wrap:anywhere}
form{margin:.5rem 0}button{width:100%;padding:.7rem;border:1px solid #999;border-radius:6px;background:#fff;font-size:1rem;cursor:pointer}
button.pay{background:#635bff;color:#fff;border-color:#635bff}.webpay button.pay{background:#6b1d6b;border-color:#6b1d6b}
.notice{background:#fff3cd;padding:.6rem;border-radius:6px}footer{text-align:center;font-size:.8rem;color:#666}
</style>`

var buyerPage = template.Must(template.New("buyer").Parse(`<!doctype html>
<html lang="es"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Pago de prueba</title>` + pageStyle + `</head>
<body class="{{if .Webpay}}webpay{{else}}stripe{{end}}">
<header><strong>{{.Brand}}</strong> · página de prueba</header>
<main>
<p>{{.Page.Merchant}}</p>
<p class="amount">{{.Amount}}</p>
<dl><dt>Pago</dt><dd>{{.Page.PaymentID}}</dd>{{with .Page.Description}}<dt>Detalle</dt><dd>{{.}}</dd>{{end}}<dt>Estado</dt><dd>{{.Page.Status}}</dd></dl>
{{with .Page.Notice}}<p class="notice">{{.}}</p>{{end}}
{{if .Page.Open}}
<form method="post" action="/buyer/{{.ID}}/approve"><input type="hidden" name="browser" value="1">{{if .Cards}}<p><label>Tarjeta <select name="card"><option value="credit">Crédito</option><option value="debit">Débito</option><option value="prepaid">Prepago</option></select></label></p>{{end}}<button class="pay">Pagar</button></form>
<form method="post" action="/buyer/{{.ID}}/decline"><input type="hidden" name="browser" value="1"><button>Rechazar</button></form>
<form method="post" action="/buyer/{{.ID}}/abort"><input type="hidden" name="browser" value="1"><button>Anular</button></form>
<form method="post" action="/buyer/{{.ID}}/timeout"><input type="hidden" name="browser" value="1"><button>Dejar vencer</button></form>
{{else if .Page.Lapsed}}
<p>El tiempo para pagar se acabó. No se hizo ningún cobro.</p>
<form method="post" action="/buyer/{{.ID}}/timeout"><input type="hidden" name="browser" value="1"><button>Volver al comercio</button></form>
{{else}}
<p>Esta página ya no acepta pagos.</p>
{{if .Returned}}<form method="post" action="/buyer/{{.ID}}/return"><input type="hidden" name="browser" value="1"><button>Volver al comercio</button></form>{{end}}
{{end}}
</main><footer>Entorno de pruebas: no se mueve dinero real.</footer></body></html>
`))

var missingPage = template.Must(template.New("missing").Parse(`<!doctype html>
<html lang="es"><head><meta charset="utf-8"><title>Pago no encontrado</title>` + pageStyle + `</head>
<body><header><strong>Página de prueba</strong></header><main><p>No existe un pago con ese identificador.</p></main></body></html>
`))

var returnPage = template.Must(template.New("return").Parse(`<!doctype html>
<html lang="es"><head><meta charset="utf-8"><title>Volviendo al comercio</title>` + pageStyle + `</head>
<body class="webpay" onload="document.forms[0].submit()"><header><strong>Volviendo al comercio</strong></header><main>
<form method="post" action="{{.URL}}">{{range $name, $values := .Fields}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}<button>Volver al comercio</button></form>
</main></body></html>
`))
