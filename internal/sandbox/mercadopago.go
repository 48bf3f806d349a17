package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	mercadoPagoName = "mercadopago"
	mpTokenPrefix   = "TEST-sandbox-"
)

var mpToken = regexp.MustCompile(`^TEST-[A-Za-z0-9_-]{1,200}$`)

// mercadoPago is Mercado Pago's API for the site MLC: preferences with their
// hosted page, card tokens, payments, refunds, chargebacks, and notifications
// signed with x-signature. Shapes and texts: the public source and mocks of
// github.com/mercadopago/sdk-go v1.8.0 and mercadopago.cl/developers. Each test
// token is an account of its own.
//
// Where Mercado Pago publishes nothing the sandbox chose: an idempotency key
// holds for ever and answers 200 to a repetition, 409 to another body; a
// preference that was paid takes no second payment (unless payable_again is
// set); http addresses are taken, where the real one wants https; the test
// account sends notifications, where the real one sends none; a cardholder whose
// name is no known word is refused like OTHE; what a refund in process will
// give back is not in transaction_amount_refunded; an authorization lapses after
// five days, the shortest time that is published for a country.
type mercadoPago struct {
	s       *Server
	courier *courier
}

func newMercadoPago(s *Server) *mercadoPago {
	p := &mercadoPago{s: s}
	p.courier = newCourier(s, p)
	return p
}

// The buckets of its state.
const (
	bucketMPPreferences = "mp_preferences"
	bucketMPPayments    = "mp_payments"
	bucketMPTokens      = "mp_card_tokens"
	bucketMPKeys        = "mp_idempotency" // account/path/key -> mpKept
	bucketMPReferences  = "mp_references"  // account/external_reference/payment id -> payment id
	bucketMPTimeline    = "mp_timeline"    // account/payment id -> payment id
	bucketMPRefunds     = "mp_refunds"     // refund id -> payment id
	bucketMPNotices     = "mp_notices"
	bucketMPHeld        = "mp_held" // end of the authorization/payment id -> payment id
)

func (*mercadoPago) buckets() []string {
	return []string{
		bucketMPPreferences, bucketMPPayments, bucketMPTokens, bucketMPKeys, bucketMPReferences, bucketMPTimeline, bucketMPRefunds, bucketMPNotices,
		bucketMPHeld,
	}
}

func (*mercadoPago) name() string { return mercadoPagoName }

func (p *mercadoPago) start(ctx context.Context, running *sync.WaitGroup) error {
	running.Add(1)
	go func() {
		defer running.Done()
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := p.lapse(); err != nil {
				p.s.log.Error("release Mercado Pago authorizations", "error", err)
			}
		}
	}()
	return nil
}

// mercadoPagoConfig is what PUT /config/mercadopago sets for the account of
// access_token, or for every account that has none of its own when access_token
// is absent. Zero values are defaults; {tenant} is replaced in the secret.
type mercadoPagoConfig struct {
	AccessToken string `json:"access_token,omitempty"`
	// CollectorID is told, not set: the account's number.
	CollectorID int64 `json:"collector_id,omitempty"`
	// WebhookURL takes what has no notification_url of its own, and chargebacks.
	WebhookURL    string `json:"webhook_url"`
	WebhookSecret string `json:"webhook_secret"`
	// IPNCopies sends an unsigned ?topic=&id= with each notification, also where
	// the address asks for webhooks only.
	IPNCopies bool `json:"ipn_copies"`
	// RefundsInProcess makes refunds wait for POST /ledger/refunds/{id}/succeed.
	RefundsInProcess bool `json:"refunds_in_process"`
	// WholeRefundsOnly are payment methods that refuse partial refunds (3024).
	WholeRefundsOnly []string `json:"whole_refunds_only"`
	// PayableAgain lets a buyer pay a preference that is paid already.
	PayableAgain bool `json:"payable_again"`
}

func mpConfigKey(account string) string { return mercadoPagoName + "/" + account }

func mpAccount(token string) string {
	return strings.TrimPrefix(strings.TrimPrefix(token, mpTokenPrefix), "TEST-")
}

// mpCollector is the number of an account, the same at every start.
func mpCollector(account string) int64 {
	h := fnv.New32a()
	h.Write([]byte(account))
	return 100_000_000 + int64(h.Sum32())%900_000_000
}

func (p *mercadoPago) configure(t *tx, raw []byte) (any, error) {
	var c mercadoPagoConfig
	if err := decodeOwn(raw, &c); err != nil {
		return nil, err
	}
	switch {
	case c.AccessToken != "" && !mpToken.MatchString(c.AccessToken):
		return nil, invalidInput{"access_token begins with TEST-"}
	case c.WebhookURL != "" && !isWebURL(strings.ReplaceAll(c.WebhookURL, "{tenant}", "x")):
		return nil, invalidInput{"webhook_url is an http or https URL"}
	}
	account := mpAccount(c.AccessToken)
	c.AccessToken, c.CollectorID = "", 0
	put(t, bucketConfig, mpConfigKey(account), c)
	return p.settings(t, account), nil
}

func (p *mercadoPago) configuration(t *tx, query url.Values) (any, error) {
	return p.settings(t, mpAccount(query.Get("access_token"))), nil
}

func (p *mercadoPago) settings(t *tx, account string) mercadoPagoConfig {
	c, own := get[mercadoPagoConfig](t, bucketConfig, mpConfigKey(account))
	if !own {
		c, _ = get[mercadoPagoConfig](t, bucketConfig, mpConfigKey(""))
	}
	if c.WebhookSecret == "" {
		c.WebhookSecret = "mpsec_sandbox_{tenant}"
	}
	if c.WholeRefundsOnly == nil {
		c.WholeRefundsOnly = []string{}
	}
	if account != "" {
		c.CollectorID = mpCollector(account)
		c.WebhookURL = strings.ReplaceAll(c.WebhookURL, "{tenant}", url.PathEscape(account))
		c.WebhookSecret = strings.ReplaceAll(c.WebhookSecret, "{tenant}", tenantInName.ReplaceAllString(account, "_"))
	}
	return c
}

// mpRequest is one call of an account.
type mpRequest struct {
	*call
	account string
	args    []string // the ids in the path
}

// mpHandler carries out a call inside one transaction: it checks everything
// before it writes anything.
type mpHandler func(t *tx, r *mpRequest) (int, any, *mpError)

// mpOperation is one endpoint; {} in its path stands for an id.
type mpOperation struct {
	op, method, path string
	handle           mpHandler
	keyed            bool // demands an idempotency key
}

func (p *mercadoPago) operations() []mpOperation {
	return []mpOperation{
		{"create_preference", http.MethodPost, "/checkout/preferences", p.createPreference, false},
		{"search_preferences", http.MethodGet, "/checkout/preferences/search", p.searchPreferences, false},
		{"get_preference", http.MethodGet, "/checkout/preferences/{}", p.getPreference, false},
		{"update_preference", http.MethodPut, "/checkout/preferences/{}", p.updatePreference, false},
		{"create_card_token", http.MethodPost, "/v1/card_tokens", p.createCardToken, false},
		{"create_payment", http.MethodPost, "/v1/payments", p.createPayment, true},
		{"search_payments", http.MethodGet, "/v1/payments/search", p.searchPayments, false},
		{"get_payment", http.MethodGet, "/v1/payments/{}", p.getPayment, false},
		{"update_payment", http.MethodPut, "/v1/payments/{}", p.updatePayment, false},
		{"create_refund", http.MethodPost, "/v1/payments/{}/refunds", p.createRefund, true},
		{"list_refunds", http.MethodGet, "/v1/payments/{}/refunds", p.listRefunds, false},
		{"get_refund", http.MethodGet, "/v1/payments/{}/refunds/{}", p.getRefund, false},
		{"search_chargebacks", http.MethodGet, "/v1/chargebacks/search", p.searchChargebacks, false},
		{"get_chargeback", http.MethodGet, "/v1/chargebacks/{}", p.getChargeback, false},
	}
}

// mpError is {message, error, status, cause: [{code, description}]}.
type mpError struct {
	status  int
	code    int // of the cause; 0: the cause is empty
	message string
}

func mpRefused(code int, message string) *mpError {
	return &mpError{status: http.StatusBadRequest, code: code, message: message}
}

var mpNotFound = &mpError{status: http.StatusNotFound, code: 2000, message: "Payment not found"}

func (e *mpError) reply() reply {
	kind := map[int]string{
		http.StatusBadRequest: "bad_request", http.StatusUnauthorized: "unauthorized", http.StatusForbidden: "forbidden",
		http.StatusNotFound: "not_found", http.StatusConflict: "conflict", http.StatusTooManyRequests: "too_many_requests",
		http.StatusServiceUnavailable: "service_unavailable",
	}[e.status]
	if kind == "" {
		kind = "internal_error"
	}
	cause := []map[string]any{}
	if e.code != 0 {
		cause = append(cause, map[string]any{"code": e.code, "description": e.message, "data": nil})
	}
	return mpJSON(e.status, map[string]any{"message": e.message, "error": kind, "status": e.status, "cause": cause})
}

func mpJSON(status int, v any) reply {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"message":"internal_error","error":"internal_error","status":500,"cause":[]}`)
	}
	return reply{status: status, header: http.Header{"Content-Type": {"application/json;charset=UTF-8"}}, body: raw}
}

func (p *mercadoPago) fault(kind faultKind, rule faultRule) reply {
	switch kind {
	case faultRateLimited:
		answer := (&mpError{status: http.StatusTooManyRequests, message: "too many requests"}).reply()
		answer.header.Set("Retry-After", "1")
		return answer
	case faultError503:
		return (&mpError{status: http.StatusServiceUnavailable, message: "service unavailable"}).reply()
	case faultRefuse:
		e := mpRefused(2063, "The action requested is not valid for the current payment state")
		if rule.Status != 0 {
			e.status = rule.Status
		}
		if rule.Message != "" {
			e.message = rule.Message
		}
		return e.reply()
	}
	return (&mpError{status: http.StatusInternalServerError, message: "internal_error"}).reply()
}

// mpMatches compares a path with a pattern and yields the ids in it.
func mpMatches(pattern, path string) ([]string, bool) {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, false
	}
	var args []string
	for i := range want {
		switch {
		case want[i] == "{}" && have[i] != "":
			args = append(args, have[i])
		case want[i] != have[i]:
			return nil, false
		}
	}
	return args, true
}

func (p *mercadoPago) route(c *call) endpoint {
	if c.method == http.MethodOptions && c.path == "/v1/card_tokens" {
		return endpoint{act: func() reply { return reply{status: http.StatusNoContent, header: anyOrigin(http.Header{})} }}
	}
	for _, o := range p.operations() {
		args, ok := mpMatches(o.path, c.path)
		if !ok || o.method != c.method {
			continue
		}
		r := &mpRequest{call: c, args: args}
		return endpoint{op: o.op, act: func() reply {
			if refused := p.enter(o, r); refused != nil {
				return refused.reply()
			}
			answer := p.act(o, r)
			if o.op == "create_card_token" {
				answer.header = anyOrigin(answer.header)
			}
			return answer
		}}
	}
	return endpoint{act: func() reply {
		return (&mpError{status: http.StatusNotFound, message: "Si quieres conocer los recursos de la API que se encuentran disponibles visita el Sitio de Desarrolladores de MercadoLibre"}).reply()
	}}
}

// anyOrigin lets the pages of a test storefront ask for card tokens.
func anyOrigin(h http.Header) http.Header {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	h.Set("Access-Control-Allow-Methods", "POST")
	return h
}

// enter checks who calls, and that a call which moves money has a key.
func (p *mercadoPago) enter(o mpOperation, r *mpRequest) *mpError {
	token, _ := strings.CutPrefix(r.header.Get("Authorization"), "Bearer ")
	if o.op == "create_card_token" && token == "" {
		token = r.query.Get("public_key") // the buyer's browser has no access token
	}
	switch {
	case !mpToken.MatchString(token):
		return &mpError{status: http.StatusUnauthorized, message: "invalid access token"}
	case len(r.body) > 0 && !isJSON(r.header.Get("Content-Type")):
		return &mpError{status: http.StatusBadRequest, message: "the content type is not application/json"}
	case o.keyed && r.header.Get("X-Idempotency-Key") == "":
		return mpRefused(4292, "Header X-Idempotency-Key can't be null")
	}
	r.account = mpAccount(token)
	return nil
}

// mpKept is the answer that a key has got.
type mpKept struct {
	Body   []byte `json:"body"`
	Asked  []byte `json:"asked"`
	Status int    `json:"status"`
}

// act executes the call. One that demands a key is executed once a key: its
// answer is stored in the transaction of its effect. Refusals are not stored.
func (p *mercadoPago) act(o mpOperation, r *mpRequest) reply {
	var answer reply
	execute := func(t *tx) {
		key := r.account + r.path + "/" + r.header.Get("X-Idempotency-Key")
		if o.keyed {
			if kept, found := get[mpKept](t, bucketMPKeys, key); found {
				answer = reply{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json;charset=UTF-8"}}, body: kept.Body}
				if kept.Status >= 400 {
					answer.status = kept.Status
				}
				if !bytes.Equal(bytes.TrimSpace(kept.Asked), bytes.TrimSpace(r.body)) {
					answer = (&mpError{status: http.StatusConflict, message: "the idempotency key was used with another body"}).reply()
				}
				return
			}
		}
		status, out, refused := o.handle(t, r)
		if refused != nil {
			answer = refused.reply()
			return
		}
		answer = mpJSON(status, out)
		if o.keyed {
			put(t, bucketMPKeys, key, mpKept{Body: answer.body, Asked: r.body, Status: status})
		}
	}
	var err error
	if o.method == http.MethodGet {
		err = p.s.store.view(execute)
	} else {
		err = p.s.store.update(execute)
	}
	if err != nil {
		p.s.log.Error("sandbox state", "provider", mercadoPagoName, "error", err)
		return p.fault(faultError500, faultRule{})
	}
	return answer
}

// mpDecode reads a body; fields it does not know are ignored, as the real API
// does.
func mpDecode(r *mpRequest, v any) *mpError {
	if err := json.Unmarshal(r.body, v); err != nil {
		return mpRefused(1, "Params Error: the body cannot be read")
	}
	return nil
}

// mpZone is how Mercado Pago writes times.
var mpZone = time.FixedZone("-04", -4*60*60)

func mpTime(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.In(mpZone).Format("2006-01-02T15:04:05.000-07:00")
}

func mpReadTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, errors.New("not a time")
}

// mpPesos reads an amount: pesos have no decimals.
func mpPesos(n json.Number) (int64, bool) {
	f, err := n.Float64()
	if err != nil || f != float64(int64(f)) || f <= 0 || f > 1e12 {
		return 0, false
	}
	return int64(f), true
}

// mpPreference is the stored state of one page.
type mpPreference struct {
	ID                string            `json:"id"`
	Account           string            `json:"account"`
	ExternalReference string            `json:"external_reference"`
	Title             string            `json:"title"`
	Amount            int64             `json:"amount"`
	BackURLs          map[string]string `json:"back_urls"`
	AutoReturn        string            `json:"auto_return"`
	NotificationURL   string            `json:"notification_url"`
	Binary            bool              `json:"binary_mode"`
	Expires           bool              `json:"expires"`
	ExpiresAt         time.Time         `json:"expires_at"`
	Installments      int               `json:"installments"`
	Created           time.Time         `json:"created"`
	Base              string            `json:"base"`
	Payments          []string          `json:"payments"` // in the order of the tries
	Echo              json.RawMessage   `json:"echo"`     // the request, shown again
}

func (x mpPreference) expired(now time.Time) bool {
	return x.Expires && !x.ExpiresAt.IsZero() && !now.Before(x.ExpiresAt)
}

// mpPreferenceIn is the request of a preference, as far as it is acted on.
type mpPreferenceIn struct {
	Items []struct {
		Title    string      `json:"title"`
		Quantity int64       `json:"quantity"`
		Currency string      `json:"currency_id"`
		Price    json.Number `json:"unit_price"`
	} `json:"items"`
	BackURLs          map[string]string `json:"back_urls"`
	AutoReturn        string            `json:"auto_return"`
	NotificationURL   string            `json:"notification_url"`
	ExternalReference string            `json:"external_reference"`
	Binary            bool              `json:"binary_mode"`
	Expires           *bool             `json:"expires"`
	ExpiresAt         string            `json:"expiration_date_to"`
	PaymentMethods    struct {
		Installments *int `json:"installments"`
	} `json:"payment_methods"`
}

var mpReference = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)

func (p *mercadoPago) createPreference(t *tx, r *mpRequest) (int, any, *mpError) {
	var in mpPreferenceIn
	if refused := mpDecode(r, &in); refused != nil {
		return 0, nil, refused
	}
	now := p.s.now()
	x := mpPreference{
		ID:      fmt.Sprintf("%d-%s-%s-%s-%s-%s", mpCollector(r.account), randomText(8, hexDigits), randomText(4, hexDigits), randomText(4, hexDigits), randomText(4, hexDigits), randomText(12, hexDigits)),
		Account: r.account, Created: now, Base: r.base, ExternalReference: in.ExternalReference, BackURLs: in.BackURLs, AutoReturn: in.AutoReturn,
		NotificationURL: in.NotificationURL, Binary: in.Binary, Echo: r.body, Installments: 36,
	}
	if len(in.Items) == 0 {
		return 0, nil, mpRefused(0, "items needed")
	}
	for _, item := range in.Items {
		price, ok := mpPesos(item.Price)
		switch {
		case !ok:
			return 0, nil, mpRefused(0, "unit_price invalid")
		case item.Quantity < 1 || item.Quantity > 10_000:
			return 0, nil, mpRefused(0, "quantity needed")
		case item.Title == "":
			return 0, nil, mpRefused(0, "title needed")
		case item.Currency != "" && item.Currency != "CLP":
			return 0, nil, mpRefused(0, "currency_id invalid")
		}
		x.Amount += price * item.Quantity
		if x.Title == "" {
			x.Title = item.Title
		}
	}
	switch {
	case in.AutoReturn != "" && !slices.Contains([]string{"approved", "all"}, in.AutoReturn), in.AutoReturn != "" && in.BackURLs["success"] == "":
		return 0, nil, mpRefused(0, "auto_return invalid. back_url.success must be defined")
	case in.NotificationURL != "" && (!isWebURL(in.NotificationURL) || len(in.NotificationURL) > 248):
		return 0, nil, mpRefused(0, "notification_url attribute must be url valid")
	case !mpReference.MatchString(in.ExternalReference):
		return 0, nil, mpRefused(0, "external_reference invalid")
	case in.PaymentMethods.Installments != nil && (*in.PaymentMethods.Installments < 1 || *in.PaymentMethods.Installments > 36):
		return 0, nil, mpRefused(0, "installments invalid")
	}
	for _, back := range in.BackURLs {
		if back != "" && !isWebURL(back) {
			return 0, nil, mpRefused(0, "back_urls invalid. Wrong format")
		}
	}
	if in.PaymentMethods.Installments != nil {
		x.Installments = *in.PaymentMethods.Installments
	}
	if refused := x.schedule(in); refused != nil {
		return 0, nil, refused
	}
	put(t, bucketMPPreferences, x.ID, x)
	t.addPage(pageRef{mercadoPagoName, x.ID}, x.ExternalReference, x.ID)
	return http.StatusCreated, x.view(), nil
}

func (x *mpPreference) schedule(in mpPreferenceIn) *mpError {
	if in.Expires != nil {
		x.Expires = *in.Expires
	}
	if in.ExpiresAt == "" {
		return nil
	}
	at, err := mpReadTime(in.ExpiresAt)
	if err != nil {
		return mpRefused(0, "expiration_date_to invalid")
	}
	x.ExpiresAt = at
	return nil
}

// view is the preference as every endpoint answers it: what was sent, and what
// Mercado Pago adds.
func (x mpPreference) view() map[string]any {
	out := map[string]any{}
	if err := json.Unmarshal(x.Echo, &out); err != nil {
		out = map[string]any{}
	}
	link := "/" + mercadoPagoName + "/checkout/v1/redirect?pref_id=" + x.ID
	for name, value := range map[string]any{
		"id": x.ID, "client_id": "4679935697572392", "collector_id": mpCollector(x.Account), "site_id": "MLC", "operation_type": "regular_payment",
		"date_created": mpTime(x.Created), "expires": x.Expires, "expiration_date_to": mpTime(x.ExpiresAt), "last_updated": nil,
		"init_point": x.Base + link, "sandbox_init_point": x.Base + link, "marketplace": "NONE", "marketplace_fee": 0,
	} {
		out[name] = value
	}
	return out
}

func (p *mercadoPago) preference(t *tx, r *mpRequest) (mpPreference, *mpError) {
	x, found := get[mpPreference](t, bucketMPPreferences, r.args[0])
	if !found || x.Account != r.account {
		return x, &mpError{status: http.StatusNotFound, message: "preference_id not found"}
	}
	return x, nil
}

func (p *mercadoPago) getPreference(t *tx, r *mpRequest) (int, any, *mpError) {
	x, refused := p.preference(t, r)
	if refused != nil {
		return 0, nil, refused
	}
	return http.StatusOK, x.view(), nil
}

// updatePreference changes the dates; the rest of what a preference has is not
// changed by anybody here.
func (p *mercadoPago) updatePreference(t *tx, r *mpRequest) (int, any, *mpError) {
	x, refused := p.preference(t, r)
	if refused != nil {
		return 0, nil, refused
	}
	var in mpPreferenceIn
	if refused := mpDecode(r, &in); refused != nil {
		return 0, nil, refused
	}
	if refused := x.schedule(in); refused != nil {
		return 0, nil, refused
	}
	put(t, bucketMPPreferences, x.ID, x)
	return http.StatusOK, x.view(), nil
}

func (p *mercadoPago) searchPreferences(t *tx, r *mpRequest) (int, any, *mpError) {
	elements := []any{}
	each(t, bucketMPPreferences, "", func(_ string, x mpPreference) bool {
		if wanted := r.query.Get("external_reference"); x.Account == r.account && (wanted == "" || wanted == x.ExternalReference) {
			elements = append(elements, map[string]any{
				"id": x.ID, "client_id": "4679935697572392", "collector_id": mpCollector(x.Account), "external_reference": x.ExternalReference,
				"date_created": mpTime(x.Created), "expires": x.Expires, "expiration_date_to": mpTime(x.ExpiresAt), "site_id": "MLC",
				"items": []string{x.Title}, "live_mode": false, "operation_type": "regular_payment",
			})
		}
		return len(elements) < 100
	})
	return http.StatusOK, map[string]any{"elements": elements, "next_offset": len(elements), "total": len(elements)}, nil
}

// hosted adds the address of init_point, and that of a bank's challenge.
func (p *mercadoPago) hosted(mux *http.ServeMux) {
	mux.HandleFunc("GET /"+mercadoPagoName+"/checkout/v1/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/buyer/"+url.PathEscape(r.URL.Query().Get("pref_id")), http.StatusSeeOther)
	})
	mux.HandleFunc("/"+mercadoPagoName+"/challenge/{payment}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/buyer/"+url.PathEscape(r.PathValue("payment")), http.StatusSeeOther)
	})
}

// page is that of a preference, or of a payment that waits for the bank's
// challenge or a review.
func (p *mercadoPago) page(t *tx, key string) (page, bool) {
	if x, found := get[mpPayment](t, bucketMPPayments, key); found {
		return page{
			PaymentID: x.ExternalReference, Merchant: "Comercio " + x.Account, Description: x.Description, Amount: x.Amount, Currency: "CLP",
			Status: x.Status, Open: x.open(),
		}, true
	}
	x, found := get[mpPreference](t, bucketMPPreferences, key)
	out := page{
		PaymentID: x.ExternalReference, Merchant: "Comercio " + x.Account, Description: x.Title, Amount: x.Amount, Currency: "CLP",
		Status: "open", Open: true,
	}
	for _, id := range x.Payments {
		payment, _ := get[mpPayment](t, bucketMPPayments, id)
		switch {
		case payment.paid() || payment.open():
			out.Status, out.Open = payment.Status, p.settings(t, x.Account).PayableAgain
		case out.Open:
			out.Notice = "La tarjeta fue rechazada. Puede intentarlo otra vez."
		}
	}
	if x.expired(p.s.now()) {
		out.Open = false
		if out.Status == "open" {
			out.Status = "expired"
		}
	}
	return out, found
}

func (p *mercadoPago) step(t *tx, key string, in stepInput) (stepResult, error) {
	if x, found := get[mpPayment](t, bucketMPPayments, key); found {
		return p.decide(t, x, in)
	}
	x, found := get[mpPreference](t, bucketMPPreferences, key)
	if !found {
		return stepResult{}, fmt.Errorf("preference %s: %w", key, errNotFound)
	}
	if shown, _ := p.page(t, key); !shown.Open {
		return stepResult{}, fmt.Errorf("%w: the preference is %s", errPageClosed, shown.Status)
	}
	switch in.step {
	case stepAbort:
		return stepResult{Status: "open", Return: x.back("failure", nil)}, nil
	case stepTimeout:
		x.Expires, x.ExpiresAt = true, p.s.now()
		put(t, bucketMPPreferences, x.ID, x)
		return stepResult{Status: "expired"}, nil
	case stepApprove:
		payment := p.pay(t, &x, in, "approved", "accredited")
		return stepResult{Status: "approved", Return: x.back("success", &payment)}, nil
	}
	reason := in.declineCode
	if reason == "" {
		reason = map[buyerStep]string{stepDecline: "cc_rejected_other_reason", stepError: "cc_rejected_card_error"}[in.step]
	}
	p.pay(t, &x, in, "rejected", reason)
	return stepResult{Status: "rejected"}, nil
}

// pay makes the payment of a buyer's try on the page.
func (p *mercadoPago) pay(t *tx, x *mpPreference, in stepInput, status, detail string) mpPayment {
	payment := mpPayment{
		Account: x.Account, ExternalReference: x.ExternalReference, NotificationURL: x.NotificationURL, Description: x.Title, Amount: x.Amount,
		Status: status, Detail: detail, Installments: 1, Preference: x.ID, Capture: true,
		Method: map[string]string{"": "visa", "credit": "visa", "debit": "debvisa", "prepaid": "visa"}[in.card], LastFour: "7115", FirstSix: "416881",
	}
	if in.amount != 0 {
		payment.Amount = in.amount
	}
	p.open(t, &payment)
	x.Payments = append(x.Payments, payment.ID)
	put(t, bucketMPPreferences, x.ID, *x)
	return payment
}

// back is the browser's return; without a payment every value is the text null,
// as logs of shops show it.
func (x mpPreference) back(to string, payment *mpPayment) *browserReturn {
	address := x.BackURLs[to]
	if address == "" {
		return nil
	}
	fields := url.Values{}
	for _, name := range []string{"collection_id", "collection_status", "payment_id", "status", "payment_type", "merchant_order_id", "merchant_account_id"} {
		fields.Set(name, "null")
	}
	fields.Set("external_reference", x.ExternalReference)
	fields.Set("preference_id", x.ID)
	fields.Set("site_id", "MLC")
	fields.Set("processing_mode", "aggregator")
	if payment != nil {
		fields.Set("collection_id", payment.ID)
		fields.Set("payment_id", payment.ID)
		fields.Set("collection_status", payment.Status)
		fields.Set("status", payment.Status)
		fields.Set("payment_type", payment.kind())
		fields.Set("merchant_order_id", strconv.FormatInt(mpCollector(x.ID), 10))
	}
	return &browserReturn{Method: http.MethodGet, URL: address, Fields: fields}
}

func (p *mercadoPago) returnAs(t *tx, key string, step buyerStep) (browserReturn, error) {
	x, found := get[mpPreference](t, bucketMPPreferences, key)
	if !found {
		return browserReturn{}, fmt.Errorf("preference %s: %w", key, errNotFound)
	}
	var back *browserReturn
	switch step {
	case stepAbort:
		back = x.back("failure", nil)
	case stepApprove:
		for _, id := range slices.Backward(x.Payments) {
			if payment, _ := get[mpPayment](t, bucketMPPayments, id); payment.paid() {
				back = x.back("success", &payment)
				break
			}
		}
	}
	if back == nil {
		return browserReturn{}, fmt.Errorf("%w: Mercado Pago sends nobody back after %s", errPageClosed, step)
	}
	return *back, nil
}
