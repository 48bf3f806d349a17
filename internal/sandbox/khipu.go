package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const khipuName = "khipu"

// khipu is Khipu's instant payments, API v3, with notifications 3.0. Fields and
// statuses: docs.khipu.com/apis/v3/instant-payments/openapi; errors, the refund
// wallet and what its refunds leave behind: github.com/khipu/prestashop-khipu
// (docs/manual-tecnico.md, classes/KhipuRefundRules.php and its tests). Each API
// key sandbox-key-{tenant} is a receiver account of its own, whose secret is
// sandbox-secret-{tenant}.
//
// Where Khipu publishes nothing the sandbox chose: a payment without
// expires_date lives a week; the scripted "decline" is the payer who says that
// nothing will be paid, which ends the payment, while DemoBank's error
// (coordinates 99 99 99: decline_code=bank_error, or the step "error") leaves
// the buyer on the page, who may try again; "timeout" lets the payment's time
// and that of the last buyer at the bank run out, three hours later; an unknown
// field is refused, so that a misspelled one is noticed.
type khipu struct {
	s       *Server
	courier *courier
}

func newKhipu(s *Server) *khipu {
	p := &khipu{s: s}
	p.courier = newCourier(s, p)
	return p
}

// khipuConfig is what PUT /config/khipu sets; what is absent is the default.
type khipuConfig struct {
	// VerifyingMS is how long a transfer is verified (1500); 0 is no time at all.
	VerifyingMS *int `json:"verifying_ms"`
	// RefundMS is how long an accepted refund takes (0: it is made at once).
	RefundMS *int `json:"refund_ms"`
	// PayoutSeconds is when the money is paid out to the shop, after which only
	// the refund wallet gives back (86400).
	PayoutSeconds *int `json:"payout_seconds"`
	// RefundWallet: accounts have one (true).
	RefundWallet *bool `json:"refund_wallet"`
}

// khipuPayment is the stored state of one payment. Amounts are in ten-thousandths
// of the currency's unit, as Khipu writes them.
type khipuPayment struct {
	ID            string        `json:"id"`
	Tenant        string        `json:"tenant"`
	TransactionID string        `json:"transaction_id"`
	Subject       string        `json:"subject"`
	Body          string        `json:"body"`
	Custom        string        `json:"custom"`
	Amount        int64         `json:"amount"`
	Currency      string        `json:"currency"`
	ReturnURL     string        `json:"return_url"`
	CancelURL     string        `json:"cancel_url"`
	NotifyURL     string        `json:"notify_url"`
	NotifyVersion string        `json:"notify_api_version"`
	Token         string        `json:"notification_token"`
	CreatedAt     time.Time     `json:"created_at"`
	ExpiresAt     time.Time     `json:"expires_at"`
	Status        string        `json:"status"`
	Detail        string        `json:"detail"`
	Notice        string        `json:"notice"` // on the buyer's page
	TimedOut      bool          `json:"timed_out"`
	ReconciledAt  time.Time     `json:"reconciled_at"`
	Operation     string        `json:"operation"` // the bank's code
	Refunds       []khipuRefund `json:"refunds"`
}

type khipuRefund struct {
	ID     string    `json:"id"`
	Amount int64     `json:"amount"`
	Status string    `json:"status"` // pending, paid or expired
	At     time.Time `json:"at"`
}

const (
	khipuPending   = "pending"
	khipuVerifying = "verifying"
	khipuDone      = "done"
	khipuDeleted   = "deleted"
)

// returned is what has gone back, or is about to.
func (x *khipuPayment) returned() int64 {
	var sum int64
	for _, r := range x.Refunds {
		if r.Status != "expired" {
			sum += r.Amount
		}
	}
	return sum
}

func (x *khipuPayment) lapsed(now time.Time) bool {
	return x.Status == khipuPending && !now.Before(x.ExpiresAt)
}

// The buckets of its state.
const (
	bucketKhipu        = "khipu"         // payment id -> khipuPayment
	bucketKhipuDue     = "khipu_due"     // moment/what -> khipuDue
	bucketKhipuRefunds = "khipu_refunds" // refund id -> payment id
)

func (*khipu) buckets() []string { return []string{bucketKhipu, bucketKhipuDue, bucketKhipuRefunds} }

func (*khipu) name() string { return khipuName }

func (p *khipu) settings(t *tx) khipuConfig {
	c, _ := get[khipuConfig](t, bucketConfig, khipuName)
	for _, v := range []struct {
		of        **int
		otherwise int
	}{{&c.VerifyingMS, 1500}, {&c.RefundMS, 0}, {&c.PayoutSeconds, 86400}} {
		if *v.of == nil {
			*v.of = &v.otherwise
		}
	}
	if c.RefundWallet == nil {
		yes := true
		c.RefundWallet = &yes
	}
	return c
}

func (p *khipu) configure(t *tx, raw []byte) (any, error) {
	var c khipuConfig
	if err := decodeOwn(raw, &c); err != nil {
		return nil, err
	}
	for _, n := range []*int{c.VerifyingMS, c.RefundMS, c.PayoutSeconds} {
		if n != nil && *n < 0 {
			return nil, invalidInput{"a time is not negative"}
		}
	}
	put(t, bucketConfig, khipuName, c)
	return p.settings(t), nil
}

func (p *khipu) configuration(t *tx, _ url.Values) (any, error) { return p.settings(t), nil }

// khipuError is an answer that refuses.
type khipuError struct {
	status  int
	message string
	errors  []khipuFieldError
}

type khipuFieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

func khipuInvalid(field, message string) *khipuError {
	return &khipuError{http.StatusBadRequest, "Error de validación", []khipuFieldError{{field, message}}}
}

func (e *khipuError) reply() reply {
	body := map[string]any{"status": e.status, "message": e.message}
	if e.errors != nil {
		body["errors"] = e.errors
	}
	return khipuJSON(e.status, body)
}

func khipuJSON(status int, v any) reply {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"status":500,"message":"Internal server error"}`)
	}
	return reply{status: status, header: http.Header{"Content-Type": {"application/json;charset=UTF-8"}}, body: raw}
}

func (p *khipu) fault(kind faultKind, rule faultRule) reply {
	e := &khipuError{status: http.StatusInternalServerError, message: "Internal server error"}
	switch kind {
	case faultError503:
		e = &khipuError{status: http.StatusServiceUnavailable, message: "Service unavailable"}
	case faultRateLimited:
		e = &khipuError{status: http.StatusTooManyRequests, message: "Too many requests"}
	case faultRefuse:
		e = khipuInvalid("payment_id", "La operación no está permitida")
		if rule.Status != 0 {
			e.status = rule.Status
		}
		if rule.Message != "" {
			e.errors[0].Message = rule.Message
		}
	}
	answer := e.reply()
	if kind == faultRateLimited {
		answer.header.Set("Retry-After", "1")
	}
	return answer
}

var (
	khipuKey = regexp.MustCompile(`^sandbox-key-([A-Za-z0-9_-]{1,64})$`)
	khipuID  = regexp.MustCompile(`^[a-z0-9]{12}$`)
)

// khipuHandler carries out a call of a tenant's account inside one transaction;
// id is the one in the path.
type khipuHandler func(t *tx, c *call, tenant, id string) (any, *khipuError)

// route checks the key before whether a payment exists.
func (p *khipu) route(c *call) endpoint {
	for _, o := range []struct {
		op, method, path string
		handle           khipuHandler
	}{
		{"create_payment", http.MethodPost, "/v3/payments", p.create},
		{"get_payment", http.MethodGet, "/v3/payments/{}", p.read},
		{"delete_payment", http.MethodDelete, "/v3/payments/{}", p.remove},
		{"refund_payment", http.MethodPost, "/v3/payments/{}/refunds", p.refund},
		{"create_refund", http.MethodPost, "/v3/refunds", p.refundFromWallet},
	} {
		id, ok := matches(o.path, c.path)
		if !ok || o.method != c.method {
			continue
		}
		return endpoint{op: o.op, act: func() reply { return p.act(c, id, o.method == http.MethodGet, o.handle) }}
	}
	return endpoint{act: func() reply { return (&khipuError{status: http.StatusNotFound, message: "Not found"}).reply() }}
}

func (p *khipu) act(c *call, id string, reads bool, handle khipuHandler) reply {
	key := khipuKey.FindStringSubmatch(c.header.Get("x-api-key"))
	if key == nil {
		return (&khipuError{status: http.StatusUnauthorized, message: "Unauthorized"}).reply()
	}
	if len(c.body) > 0 && !isJSON(c.header.Get("Content-Type")) {
		return (&khipuError{status: http.StatusBadRequest, message: "Bad request"}).reply()
	}
	var answer reply
	do := func(t *tx) {
		out, refused := handle(t, c, key[1], id)
		if answer = khipuJSON(http.StatusOK, out); refused != nil {
			answer = refused.reply()
		}
	}
	run := p.s.store.update
	if reads {
		run = p.s.store.view
	}
	if err := run(do); err != nil {
		p.s.log.Error("sandbox state", "provider", khipuName, "error", err)
		return p.fault(faultError500, faultRule{})
	}
	return answer
}

// khipuFields reads a flat JSON object that has only the allowed fields.
func khipuFields(body []byte, allowed ...string) (map[string]any, *khipuError) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var fields map[string]any
	err := decoder.Decode(&fields)
	if _, end := decoder.Token(); err != nil || fields == nil || !errors.Is(end, io.EOF) {
		return nil, &khipuError{status: http.StatusBadRequest, message: "Bad request"}
	}
	for _, name := range sortedKeys(fields) {
		if !slices.Contains(allowed, name) {
			return nil, khipuInvalid(name, "El campo "+name+" no existe")
		}
	}
	return fields, nil
}

var khipuCreateFields = []string{
	"amount", "currency", "subject", "transaction_id", "custom", "body", "bank_id", "return_url", "cancel_url", "picture_url",
	"notify_url", "contract_url", "notify_api_version", "expires_date", "send_email", "payer_name", "payer_email", "send_reminders",
	"responsible_user_email", "fixed_payer_personal_identifier", "integrator_fee", "collect_account_uuid", "confirm_timeout_date",
	"mandatory_payment_method", "psp_client_merchant_name",
}

// khipuDecimals are the currencies of the API and how many decimals they have.
var khipuDecimals = map[string]int{"CLP": 0, "CLF": 4, "ARS": 2, "PEN": 2, "MXN": 2, "USD": 2, "EUR": 2, "BOB": 2, "COP": 2}

var khipuNumber = regexp.MustCompile(`^([0-9]{1,12})(?:\.([0-9]{1,4}))?$`)

// khipuAmount reads a positive number in ten-thousandths; more decimals than the
// currency has are refused.
func khipuAmount(text, currency string) (int64, *khipuError) {
	m := khipuNumber.FindStringSubmatch(text)
	if m == nil {
		return 0, khipuInvalid("amount", "El monto no es válido")
	}
	fraction := m[2] + strings.Repeat("0", 4-len(m[2]))
	n, err := strconv.ParseInt(m[1]+fraction, 10, 64)
	if err != nil || n <= 0 || strings.Trim(fraction[khipuDecimals[currency]:], "0") != "" {
		return 0, khipuInvalid("amount", "El monto no es válido para la moneda "+currency)
	}
	return n, nil
}

// khipuText writes ten-thousandths as 1000.0000.
func khipuText(amount int64) string { return fmt.Sprintf("%d.%04d", amount/10000, amount%10000) }

// khipuMinor turns ten-thousandths into the ledger's minor units.
func khipuMinor(amount int64, currency string) int64 {
	for range 4 - khipuDecimals[currency] {
		amount /= 10
	}
	return amount
}

func khipuScale(minor int64, currency string) int64 {
	for range 4 - khipuDecimals[currency] {
		minor *= 10
	}
	return minor
}

func (p *khipu) create(t *tx, c *call, tenant, _ string) (any, *khipuError) {
	fields, refused := khipuFields(c.body, khipuCreateFields...)
	if refused != nil {
		return nil, refused
	}
	texts := map[string]string{}
	for _, name := range []string{"currency", "subject", "transaction_id", "custom", "body", "return_url", "cancel_url", "notify_url", "notify_api_version", "expires_date"} {
		text, isText := fields[name].(string)
		if fields[name] != nil && !isText {
			return nil, khipuInvalid(name, "El campo "+name+" debe ser un texto")
		}
		texts[name] = text
	}
	now := p.s.now()
	x := khipuPayment{
		ID: randomText(12, "abcdefghijklmnopqrstuvwxyz0123456789"), Tenant: tenant, TransactionID: texts["transaction_id"], Subject: texts["subject"],
		Body: texts["body"], Custom: texts["custom"], Currency: texts["currency"], ReturnURL: texts["return_url"], CancelURL: texts["cancel_url"],
		NotifyURL: texts["notify_url"], NotifyVersion: texts["notify_api_version"], Token: randomText(64, hexDigits),
		CreatedAt: now, ExpiresAt: now.Add(7 * 24 * time.Hour), Status: khipuPending, Detail: khipuPending,
	}
	if _, known := khipuDecimals[x.Currency]; !known {
		return nil, khipuInvalid("currency", "La moneda no es válida")
	}
	number, isNumber := fields["amount"].(json.Number)
	if !isNumber {
		return nil, khipuInvalid("amount", "El monto es obligatorio y debe ser un número")
	}
	if x.Amount, refused = khipuAmount(number.String(), x.Currency); refused != nil {
		return nil, refused
	}
	for name, text := range map[string]string{"subject": x.Subject, "transaction_id": x.TransactionID} {
		if utf8.RuneCountInString(text) > 255 || name == "subject" && text == "" {
			return nil, khipuInvalid(name, "El campo "+name+" debe tener entre 1 y 255 caracteres")
		}
	}
	for name, text := range map[string]string{"return_url": x.ReturnURL, "cancel_url": x.CancelURL, "notify_url": x.NotifyURL} {
		if text != "" && !isWebURL(text) {
			return nil, khipuInvalid(name, "La dirección no es válida")
		}
	}
	if x.NotifyURL != "" && x.NotifyVersion != "3.0" {
		return nil, khipuInvalid("notify_api_version", "Aquí solo hay notificaciones de la versión 3.0")
	}
	if text := texts["expires_date"]; text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || !at.After(now) {
			return nil, khipuInvalid("expires_date", "La fecha de expiración no es válida")
		}
		x.ExpiresAt = at.UTC()
	}
	put(t, bucketKhipu, x.ID, x)
	t.addPage(pageRef{khipuName, x.ID}, x.TransactionID, x.ID)
	return p.addresses(x, c.base), nil
}

// addresses are what creating a payment answers.
func (p *khipu) addresses(x khipuPayment, base string) map[string]any {
	base += "/" + khipuName + "/payment"
	return map[string]any{
		"payment_id": x.ID, "payment_url": base + "/info/" + x.ID, "simplified_transfer_url": base + "/simplified/" + x.ID,
		"transfer_url": base + "/manual/" + x.ID, "app_url": "khipu:///pos/" + x.ID, "ready_for_terminal": false,
	}
}

// find reads a payment of the account.
func (p *khipu) find(t *tx, tenant, id string) (khipuPayment, *khipuError) {
	x, found := get[khipuPayment](t, bucketKhipu, id)
	if !khipuID.MatchString(id) || !found || x.Tenant != tenant {
		return x, &khipuError{status: http.StatusNotFound, message: "No existe el pago " + id}
	}
	return x, nil
}

func (p *khipu) read(t *tx, c *call, tenant, id string) (any, *khipuError) {
	x, refused := p.find(t, tenant, id)
	if refused != nil {
		return nil, refused
	}
	out := p.addresses(x, c.base)
	for name, value := range map[string]any{
		"notification_token": x.Token, "receiver_id": khipuReceiver(tenant), "subject": x.Subject, "amount": khipuText(x.Amount), "currency": x.Currency,
		"status": x.Status, "status_detail": x.Detail, "body": x.Body, "custom": x.Custom, "transaction_id": x.TransactionID,
		"return_url": x.ReturnURL, "cancel_url": x.CancelURL, "notify_url": x.NotifyURL, "notify_api_version": x.NotifyVersion,
		"expires_date": x.ExpiresAt.Format(time.RFC3339), "picture_url": "", "receipt_url": "", "attachment_urls": []string{}, "bank": "", "bank_id": "",
		"payer_name": "", "payer_email": "", "personal_identifier": "", "bank_account_number": "", "responsible_user_email": "",
		"send_reminders": false, "send_email": false, "payment_method": "not_available", "funds_source": "not-available",
		"conciliation_date": nil, "out_of_date_conciliation": false, "discount": "0.0000",
	} {
		out[name] = value
	}
	if x.Status != khipuDone || x.ReconciledAt.IsZero() {
		return out, nil
	}
	for name, value := range p.transfer(x) {
		out[name] = value
	}
	out["funds_source"] = ""
	if len(x.Refunds) > 0 {
		list := []map[string]any{}
		for _, r := range x.Refunds {
			list = append(list, map[string]any{
				"id": r.ID, "status": r.Status, "amount": khipuText(r.Amount), "currency": x.Currency, "request_date": r.At.Format(khipuTime),
			})
		}
		out["refunds"], out["total_refunded"] = list, khipuText(x.returned())
	}
	return out, nil
}

const khipuTime = "2006-01-02T15:04:05.000Z"

// transfer is what a reconciled payment says of the transfer: the payer is
// DemoBank's.
func (p *khipu) transfer(x khipuPayment) map[string]any {
	return map[string]any{
		"receipt_url": "https://s3.amazonaws.com/staging.notifications.khipu.com/CPKH-" + x.ID + ".pdf",
		"bank":        "DemoBank", "bank_id": "Bawdf", "payer_name": "Comprador de prueba", "payer_email": "comprador@example.cl",
		"personal_identifier": "11.111.111-1", "bank_account_number": "000000000000111111111",
		"payment_method": "simplified_transfer", "conciliation_date": x.ReconciledAt.Format(khipuTime),
		"out_of_date_conciliation": x.ReconciledAt.After(x.ExpiresAt), "authorizer_operation_code": x.Operation,
	}
}

// khipuReceiver numbers a tenant's account: six digits, always the same.
func khipuReceiver(tenant string) int {
	sum := 0
	for _, b := range []byte(tenant) {
		sum = (sum*31 + int(b)) % 900000
	}
	return 100000 + sum
}

// remove deletes a payment that nobody has paid.
func (p *khipu) remove(t *tx, _ *call, tenant, id string) (any, *khipuError) {
	x, refused := p.find(t, tenant, id)
	switch {
	case refused != nil:
		return nil, refused
	case x.Status != khipuPending:
		return nil, khipuInvalid("payment_id", "El pago con ID "+id+" no se puede borrar")
	}
	x.Status = khipuDeleted
	put(t, bucketKhipu, x.ID, x)
	return map[string]string{"message": "El cobro ha sido borrado"}, nil
}

// refund gives back money that was not paid out yet; without an amount, the
// payment's whole.
func (p *khipu) refund(t *tx, c *call, tenant, id string) (any, *khipuError) {
	x, refused := p.find(t, tenant, id)
	if refused != nil {
		return nil, refused
	}
	amount := x.Amount
	if len(bytes.TrimSpace(c.body)) > 0 {
		fields, refused := khipuFields(c.body, "amount")
		if refused != nil {
			return nil, refused
		}
		if number, there := fields["amount"]; there {
			if amount, refused = khipuAmount(fmt.Sprint(number), x.Currency); refused != nil {
				return nil, refused
			}
		}
	}
	payout := time.Duration(*p.settings(t).PayoutSeconds) * time.Second
	if x.Status == khipuDone && !p.s.now().Before(x.ReconciledAt.Add(payout)) {
		return nil, khipuInvalid("payment_id", "El pago con ID "+x.ID+" no es reembolsable")
	}
	_, _, refused = p.giveBack(t, x, amount, false)
	if refused != nil {
		return nil, refused
	}
	return map[string]string{"message": "La devolución está en proceso."}, nil
}

// refundFromWallet gives back from the account's refund wallet, for 180 days.
func (p *khipu) refundFromWallet(t *tx, c *call, tenant, _ string) (any, *khipuError) {
	fields, refused := khipuFields(c.body, "type", "payment_id", "amount")
	if refused != nil {
		return nil, refused
	}
	if !*p.settings(t).RefundWallet {
		return nil, khipuInvalid("receiver_id", fmt.Sprintf("La cuenta de cobro con ID %d no está habilitada para hacer devoluciones.", khipuReceiver(tenant)))
	}
	id, _ := fields["payment_id"].(string)
	x, refused := p.find(t, tenant, id)
	if refused != nil {
		return nil, khipuInvalid("payment_id", "El pago con ID "+id+" no existe")
	}
	amount := x.Amount - x.returned()
	switch kind, text := fields["type"], fields["amount"]; {
	case kind == "full" && text == nil:
	case kind == "partial":
		written, isText := text.(string)
		if !isText {
			return nil, khipuInvalid("amount", "El monto es obligatorio")
		}
		if amount, refused = khipuAmount(written, x.Currency); refused != nil {
			return nil, refused
		}
	default:
		return nil, khipuInvalid("type", "El tipo debe ser full o partial")
	}
	if x.Status == khipuDone && p.s.now().Sub(x.ReconciledAt) > 180*24*time.Hour {
		return nil, khipuInvalid("payment_id", "El pago con ID "+x.ID+" no es reembolsable")
	}
	x, made, refused := p.giveBack(t, x, amount, false)
	if refused != nil {
		return nil, refused
	}
	out := map[string]string{
		"id": made.ID, "payment_id": x.ID, "refunded_amount": khipuText(made.Amount), "total_refunded": khipuText(x.returned()),
		"remaining": khipuText(x.Amount - x.returned()), "currency": x.Currency,
	}
	if made.Status == "pending" {
		out["message"] = "La reversa está en proceso."
	}
	return out, nil
}

// giveBack books a refund, which is made at once or, by refund_ms, later.
func (p *khipu) giveBack(t *tx, x khipuPayment, amount int64, atOnce bool) (khipuPayment, khipuRefund, *khipuError) {
	left := x.Amount - x.returned()
	if x.Status != khipuDone || x.ReconciledAt.IsZero() || x.Detail == "reversed" || left == 0 {
		e := khipuInvalid("payment_id", "El pago con ID "+x.ID+" no es reembolsable")
		return x, khipuRefund{}, e
	}
	if amount > left {
		return x, khipuRefund{}, khipuInvalid("amount", "El monto excede el saldo reembolsable del pago")
	}
	now := p.s.now()
	made := khipuRefund{ID: khipuUUID(), Amount: amount, Status: "pending", At: now}
	put(t, bucketKhipuRefunds, made.ID, x.ID)
	x.Refunds = append(x.Refunds, made)
	wait := time.Duration(*p.settings(t).RefundMS) * time.Millisecond
	if atOnce || wait == 0 {
		made.Status = "paid"
	} else {
		p.later(t, now.Add(wait), khipuDue{Payment: x.ID, Refund: made.ID})
	}
	x = p.settleOne(t, x, made.ID, made.Status)
	return x, made, nil
}

func khipuUUID() string {
	raw := randomText(32, hexDigits)
	return raw[:8] + "-" + raw[8:12] + "-4" + raw[13:16] + "-a" + raw[17:20] + "-" + raw[20:]
}

// settleOne gives a refund its status, and the payment and the ledger what
// follows from it.
func (p *khipu) settleOne(t *tx, x khipuPayment, id, status string) khipuPayment {
	var paid int64
	for i := range x.Refunds {
		if x.Refunds[i].ID == id {
			x.Refunds[i].Status = status
			t.bookRefund(p.entry(x, x.Refunds[i]))
		}
		if x.Refunds[i].Status == "paid" {
			paid += x.Refunds[i].Amount
		}
	}
	put(t, bucketKhipu, x.ID, x)
	if x.Detail == "reversed" {
		return x // and its charge stays charged back
	}
	switch x.returned() {
	case 0:
		x.Detail = "normal"
	case x.Amount:
		x.Detail = "fully-refunded"
	default:
		x.Detail = "partially-refunded"
	}
	charge := chargePartiallyRefunded
	switch paid {
	case 0:
		charge = chargeCaptured
	case x.Amount:
		charge = chargeRefunded
	}
	t.rebook(khipuName, x.ID, charge)
	put(t, bucketKhipu, x.ID, x)
	return x
}

// entry is a refund in the ledger.
func (p *khipu) entry(x khipuPayment, r khipuRefund) ledgerRefund {
	return ledgerRefund{
		PaymentID: x.TransactionID, Gateway: khipuName, Amount: khipuMinor(r.Amount, x.Currency), Currency: x.Currency, Reference: r.ID,
		Status:    map[string]refundStatus{"pending": refundPending, "paid": refundSucceeded, "expired": refundFailed}[r.Status],
		CreatedAt: r.At, Account: strconv.Itoa(khipuReceiver(x.Tenant)),
	}
}

// settleRefund ends a refund that is under way. reference is its id, or that of
// its payment, which is the only name that POST /v3/payments/{id}/refunds gives:
// then it is the newest one.
func (p *khipu) settleRefund(t *tx, reference string, succeed bool, _ string) (ledgerRefund, error) {
	owner, found := get[string](t, bucketKhipuRefunds, reference)
	if !found {
		owner = reference
	}
	x, known := get[khipuPayment](t, bucketKhipu, owner)
	if !known {
		return ledgerRefund{}, fmt.Errorf("refund %s: %w", reference, errNotFound)
	}
	status := map[bool]string{true: "paid", false: "expired"}[succeed]
	for _, r := range slices.Backward(x.Refunds) {
		if r.Status != "pending" || found && r.ID != reference {
			continue
		}
		p.settleOne(t, x, r.ID, status)
		r.Status = status
		return p.entry(x, r), nil
	}
	return ledgerRefund{}, fmt.Errorf("%w: no refund %s is under way", errNotRefundable, reference)
}

func (p *khipu) refundByHand(t *tx, id string, amount int64) (ledgerRefund, error) {
	x, found := get[khipuPayment](t, bucketKhipu, id)
	if !found {
		return ledgerRefund{}, fmt.Errorf("payment %s: %w", id, errNotFound)
	}
	wanted := khipuScale(amount, x.Currency)
	if amount == 0 {
		wanted = x.Amount - x.returned()
	}
	x, made, refused := p.giveBack(t, x, wanted, true)
	if refused != nil {
		return ledgerRefund{}, fmt.Errorf("%w: %s", errNotRefundable, refused.errors[0].Message)
	}
	return p.entry(x, made), nil
}

// dispute takes the money of a payment back: Khipu knows only the end of it,
// status_detail reversed, and notifies nobody.
func (p *khipu) dispute(t *tx, id, status string) error {
	x, found := get[khipuPayment](t, bucketKhipu, id)
	switch {
	case !found:
		return fmt.Errorf("payment %s: %w", id, errNotFound)
	case status != "lost":
		return fmt.Errorf("%w: Khipu tells of a dispute only when it is lost", errNotDisputable)
	case x.Status != khipuDone || x.ReconciledAt.IsZero() || x.Detail == "reversed" || x.returned() == x.Amount:
		return fmt.Errorf("%w: nothing is left of payment %s", errNotDisputable, id)
	}
	x.Detail = "reversed"
	put(t, bucketKhipu, x.ID, x)
	t.rebook(khipuName, x.ID, chargeChargedBack)
	return nil
}

// khipuDue is what becomes of a payment, or of one of its refunds, when its time
// has come; it is on disk, so that a restart goes on with it.
type khipuDue struct {
	Payment string `json:"payment"`
	Refund  string `json:"refund,omitempty"`
}

func (p *khipu) later(t *tx, at time.Time, d khipuDue) {
	put(t, bucketKhipuDue, ordered(uint64(at.UnixMilli()))+d.Payment+d.Refund, d)
}

func (p *khipu) start(ctx context.Context, running *sync.WaitGroup) error {
	running.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := p.doDue(); err != nil {
				p.s.log.Error("reconcile Khipu payments", "error", err)
			}
		}
	})
	return nil
}

// doDue does what is due: transfers are reconciled, refunds made.
func (p *khipu) doDue() error {
	limit := ordered(uint64(p.s.now().UnixMilli()) + 1)
	due := map[string]khipuDue{}
	err := p.s.store.view(func(t *tx) {
		each(t, bucketKhipuDue, "", func(key string, d khipuDue) bool {
			if key >= limit || len(due) == 100 {
				return false
			}
			due[key] = d
			return true
		})
	})
	if err != nil || len(due) == 0 {
		return err
	}
	return p.s.store.update(func(t *tx) {
		for _, key := range sortedKeys(due) {
			d := due[key]
			t.remove(bucketKhipuDue, key)
			x, found := get[khipuPayment](t, bucketKhipu, d.Payment)
			switch {
			case !found:
			case d.Refund == "" && x.Status == khipuVerifying:
				p.reconcile(t, x)
			case d.Refund != "" && slices.ContainsFunc(x.Refunds, func(r khipuRefund) bool { return r.ID == d.Refund && r.Status == "pending" }):
				p.settleOne(t, x, d.Refund, "paid")
			}
		}
	})
}

// reconcile ends a verification: the money is there, and the merchant is told.
func (p *khipu) reconcile(t *tx, x khipuPayment) khipuPayment {
	x.Status, x.Detail = khipuDone, "normal"
	x.ReconciledAt, x.Operation = p.s.now(), randomText(10, digits)
	put(t, bucketKhipu, x.ID, x)
	t.book(ledgerCharge{
		PaymentID: x.TransactionID, Gateway: khipuName, Amount: khipuMinor(x.Amount, x.Currency), Currency: x.Currency,
		Status: chargeCaptured, Reference: x.ID, CreatedAt: x.ReconciledAt, Account: strconv.Itoa(khipuReceiver(x.Tenant)),
	})
	if x.NotifyURL != "" {
		p.courier.post(t, delivery{Event: x.ID, CreatedAt: time.Now().UTC()})
	}
	return x
}
