package sandbox

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // Flow dates in Chile's local time, also where the machine has no zones
)

const (
	flowName         = "flow"
	flowKeyPrefix    = "sandbox-key-"
	flowSecretPrefix = "sandbox-secret-"
	flowMinimum      = 350 // CLP
)

var (
	flowKey   = regexp.MustCompile(`^` + flowKeyPrefix + `([A-Za-z0-9_-]{1,100})$`)
	flowEmail = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)
)

// flow is Flow's API for payments and refunds. Names, statuses and shapes are
// those of the OpenAPI file (developers.flow.cl/es-openApiFlow.yaml, 3.0.1);
// texts as quoted in github.com/flowcl/PHP-API-CLIENT issues 2 and 10 and by
// integrators. The accounts are sandbox-key-{tenant} with the secret
// sandbox-secret-{tenant}.
//
// Where Flow publishes nothing the sandbox chose: the status of errors (401 for
// the key and the signature, else 400) and most of their codes; a rejected
// order is over; a buyer who goes back leaves it pending; only a payment is
// confirmed to urlConfirmation, not a rejection nor the end of its time; a
// refundCommerceOrder can be used twice; numbers come as text for every other
// order.
type flow struct {
	s       *Server
	courier *courier
	zone    *time.Location
}

func newFlow(s *Server) *flow {
	zone, err := time.LoadLocation("America/Santiago")
	if err != nil {
		panic("sandbox: " + err.Error()) // the zones are in the binary
	}
	p := &flow{s: s, zone: zone}
	p.courier = newCourier(s, p)
	return p
}

// The buckets of its state.
const (
	bucketFlowOrders  = "flow_orders"   // token -> flowOrder
	bucketFlowShops   = "flow_commerce" // account/commerceOrder -> token, the newest
	bucketFlowNumbers = "flow_numbers"  // flowOrder -> token
	bucketFlowDays    = "flow_days"     // kind/account/yyyy-mm-dd/sequence -> token
	bucketFlowRefunds = "flow_refunds"  // token -> flowRefund
	bucketFlowDue     = "flow_due"      // when/token of a refund -> token
	bucketFlowNews    = "flow_news"     // token -> address of the merchant's page
)

func (*flow) buckets() []string {
	return []string{bucketFlowOrders, bucketFlowShops, bucketFlowNumbers, bucketFlowDays, bucketFlowRefunds, bucketFlowDue, bucketFlowNews}
}

func (*flow) name() string { return flowName }

// flowConfig is what PUT /config/flow sets; zero values are defaults.
type flowConfig struct {
	// RefundSeconds is how long the receiver takes to decide on a refund (2); a
	// negative number waits for POST /ledger/refunds/{token}/succeed or fail.
	RefundSeconds int `json:"refund_seconds"`
	// RefundOutcome is what the receiver decides: refunded or rejected.
	RefundOutcome string `json:"refund_outcome"`
	// ConfirmationDelayMS holds the confirmation back, so that the browser is
	// back first.
	ConfirmationDelayMS int `json:"confirmation_delay_ms"`
	// NoFunds refuses refunds, as for a merchant without balance.
	NoFunds bool `json:"no_funds"`
}

func (p *flow) settings(t *tx) flowConfig {
	c, _ := get[flowConfig](t, bucketConfig, flowName)
	if c.RefundSeconds == 0 {
		c.RefundSeconds = 2
	}
	if c.RefundOutcome == "" {
		c.RefundOutcome = flowRefunded
	}
	return c
}

func (p *flow) configure(t *tx, raw []byte) (any, error) {
	var c flowConfig
	if err := decodeOwn(raw, &c); err != nil {
		return nil, err
	}
	if c.ConfirmationDelayMS < 0 || !slices.Contains([]string{"", flowRefunded, flowRefundRejected}, c.RefundOutcome) {
		return nil, invalidInput{"confirmation_delay_ms is not negative and refund_outcome is refunded or rejected"}
	}
	put(t, bucketConfig, flowName, c)
	return p.settings(t), nil
}

func (p *flow) configuration(t *tx, _ url.Values) (any, error) { return p.settings(t), nil }

// The statuses of an order.
const (
	flowPending   = 1
	flowPaid      = 2
	flowRejected  = 3
	flowCancelled = 4
)

var flowStatusNames = map[int]string{flowPending: "pendiente de pago", flowPaid: "pagada", flowRejected: "rechazada", flowCancelled: "anulada"}

// flowOrder is the stored state of one order.
type flowOrder struct {
	Token        string    `json:"token"`
	Account      string    `json:"account"`
	Number       int64     `json:"number"`
	Commerce     string    `json:"commerce"`
	Subject      string    `json:"subject"`
	Amount       int64     `json:"amount"`
	Email        string    `json:"email"`
	Optional     string    `json:"optional"`
	Confirmation string    `json:"confirmation"`
	Return       string    `json:"return"`
	CreatedAt    time.Time `json:"created_at"`
	ClosesAt     time.Time `json:"closes_at"` // zero: never
	Status       int       `json:"status"`
	PaidAt       time.Time `json:"paid_at"`
	Paid         int64     `json:"paid"`
	CardType     string    `json:"card_type"`
	AuthCode     string    `json:"auth_code"`
	Back         int64     `json:"back"`     // given back, or under way
	Refunded     int64     `json:"refunded"` // given back
	ErrorCode    string    `json:"error_code"`
	ErrorText    string    `json:"error_text"`
}

// now is the order's status: one whose time is over is annulled.
func (x *flowOrder) now(at time.Time) int {
	if x.Status == flowPending && !x.ClosesAt.IsZero() && !at.Before(x.ClosesAt) {
		return flowCancelled
	}
	return x.Status
}

// flowCall is a call whose signature was good.
type flowCall struct {
	*call
	account string
	values  url.Values
}

type flowRefusal struct {
	status  int
	code    int
	message string
}

func (r flowRefusal) reply() reply {
	if r.status == 0 {
		r.status = http.StatusBadRequest
	}
	return flowJSON(r.status, map[string]any{"code": r.code, "message": r.message})
}

func flowJSON(status int, v any) reply {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"code":500,"message":"Internal Server Error"}`)
	}
	return reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: raw}
}

type flowHandler func(t *tx, c *flowCall) (any, *flowRefusal)

func (p *flow) route(c *call) endpoint {
	for _, o := range []struct {
		path, method, op string
		handle           flowHandler
	}{
		{"/payment/create", http.MethodPost, "create", p.create},
		{"/payment/getStatus", http.MethodGet, "status", p.byToken(false)},
		{"/payment/getStatusExtended", http.MethodGet, "status", p.byToken(true)},
		{"/payment/getStatusByCommerceId", http.MethodGet, "status", p.byCommerce},
		{"/payment/getStatusByFlowOrder", http.MethodGet, "status", p.byNumber(false)},
		{"/payment/getStatusByFlowOrderExtended", http.MethodGet, "status", p.byNumber(true)},
		{"/payment/getPayments", http.MethodGet, "payments", p.list("paid")},
		{"/payment/getTransactions", http.MethodGet, "payments", p.list("made")},
		{"/refund/create", http.MethodPost, "refund", p.createRefund},
		{"/refund/cancel", http.MethodPost, "refund_cancel", p.cancelRefund},
		{"/refund/getStatus", http.MethodGet, "refund_status", p.refundStatus},
	} {
		if o.path == c.path && o.method == c.method {
			return endpoint{op: o.op, act: func() reply { return p.act(c, o.handle) }}
		}
	}
	return endpoint{act: func() reply {
		return flowRefusal{http.StatusNotFound, 105, "No services available"}.reply()
	}}
}

func (p *flow) act(c *call, handle flowHandler) reply {
	signed, refused := readFlow(c)
	if refused != nil {
		return refused.reply()
	}
	run := p.s.store.update
	if c.method == http.MethodGet {
		run = p.s.store.view
	}
	var out any
	err := run(func(t *tx) { out, refused = handle(t, signed) })
	switch {
	case err != nil:
		p.s.log.Error("sandbox state", "provider", flowName, "error", err)
		return p.fault(faultError500, faultRule{})
	case refused != nil:
		return refused.reply()
	}
	return flowJSON(http.StatusOK, out)
}

// readFlow checks the key and the signature over everything that was sent.
func readFlow(c *call) (*flowCall, *flowRefusal) {
	values := c.query
	if c.method == http.MethodPost {
		media, _, _ := strings.Cut(c.header.Get("Content-Type"), ";")
		form, err := url.ParseQuery(string(c.body))
		if err != nil || !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
			return nil, &flowRefusal{code: 100, message: "There's some missing params"}
		}
		values = form
	}
	m := flowKey.FindStringSubmatch(values.Get("apiKey"))
	if m == nil {
		return nil, &flowRefusal{http.StatusUnauthorized, 101, "apiKey not found"}
	}
	var names []string
	for name, all := range values {
		if len(all) != 1 {
			return nil, &flowRefusal{code: 100, message: "A parameter was sent twice: " + name}
		}
		if name != "s" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var text strings.Builder
	for _, name := range names {
		text.WriteString(name + values.Get(name))
	}
	if !hmac.Equal([]byte(values.Get("s")), []byte(flowMAC(text.String(), flowSecretPrefix+m[1]))) {
		return nil, &flowRefusal{http.StatusUnauthorized, 108, "Invalid Signature"}
	}
	return &flowCall{call: c, account: m[0], values: values}, nil
}

func flowMAC(text, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// need refuses a call that lacks one of the parameters.
func (c *flowCall) need(names ...string) *flowRefusal {
	for _, name := range names {
		if c.values.Get(name) == "" {
			return &flowRefusal{code: 100, message: "There's some missing params: " + name}
		}
	}
	return nil
}

// pesos is an amount of whole pesos.
func (c *flowCall) pesos(least int64) (int64, *flowRefusal) {
	amount, err := strconv.ParseInt(c.values.Get("amount"), 10, 64)
	switch {
	case err != nil && strings.Contains(c.values.Get("amount"), "."):
		return 0, &flowRefusal{code: 108, message: "Amount can not contain decimals"}
	case err != nil || amount <= 0:
		return 0, &flowRefusal{code: 107, message: "Invalid amount"}
	case amount < least:
		return 0, &flowRefusal{code: 109, message: fmt.Sprintf("The minimum amount is %d CLP", least)}
	}
	return amount, nil
}

func newFlowToken() string {
	return randomText(39, "0123456789ABCDEF") + randomText(1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

func (p *flow) create(t *tx, c *flowCall) (any, *flowRefusal) {
	refused := c.need("commerceOrder", "subject", "amount", "email", "urlConfirmation", "urlReturn")
	if refused != nil {
		return nil, refused
	}
	x := flowOrder{
		Token: newFlowToken(), Account: c.account, Commerce: c.values.Get("commerceOrder"), Subject: c.values.Get("subject"),
		Email: c.values.Get("email"), Optional: c.values.Get("optional"), Confirmation: c.values.Get("urlConfirmation"), Return: c.values.Get("urlReturn"),
		CreatedAt: p.s.now(), Status: flowPending,
	}
	if currency := c.values.Get("currency"); currency != "" && currency != "CLP" {
		return nil, &flowRefusal{code: 106, message: "The currency is not supported: " + currency}
	}
	if x.Amount, refused = c.pesos(flowMinimum); refused != nil {
		return nil, refused
	}
	for _, name := range []string{"timeout", "checkout_timeout", "paymentMethod"} {
		text := c.values.Get(name)
		n, err := strconv.Atoi(text)
		switch {
		case text == "":
		case err != nil || n <= 0:
			return nil, &flowRefusal{code: 107, message: "Invalid " + name}
		case name == "timeout":
			x.ClosesAt = x.CreatedAt.Add(time.Duration(n) * time.Second)
		}
	}
	switch {
	case !flowEmail.MatchString(x.Email):
		return nil, &flowRefusal{code: 1620, message: "The userEmail: " + x.Email + " is not valid"}
	case !isWebURL(x.Confirmation) || !isWebURL(x.Return):
		return nil, &flowRefusal{code: 107, message: "Invalid urlConfirmation or urlReturn"}
	case x.Optional != "" && !json.Valid([]byte(x.Optional)):
		return nil, &flowRefusal{code: 110, message: "The optional parameter is not JSON"}
	}
	shop := x.Account + "/" + x.Commerce
	if token, used := get[string](t, bucketFlowShops, shop); used {
		if before, _ := get[flowOrder](t, bucketFlowOrders, token); before.Status == flowPaid {
			return nil, &flowRefusal{code: 1605, message: "The commerceOrder " + x.Commerce + " has been previously paid"}
		}
	}
	x.Number = 1_000_000 + int64(t.next("flow_orders"))
	put(t, bucketFlowOrders, x.Token, x)
	put(t, bucketFlowShops, shop, x.Token)
	put(t, bucketFlowNumbers, strconv.FormatInt(x.Number, 10), x.Token)
	p.file(t, "made", x, x.CreatedAt)
	t.addPage(pageRef{flowName, x.Token}, x.Commerce, x.Token)
	return map[string]any{"url": c.base + "/" + flowName + "/app/web/pay.php", "token": x.Token, "flowOrder": x.Number}, nil
}

// file puts an order into the list of a day of Chile's calendar.
func (p *flow) file(t *tx, kind string, x flowOrder, at time.Time) {
	day := p.days(kind, x.Account, at.In(p.zone).Format(time.DateOnly))
	put(t, bucketFlowDays, day+ordered(t.next("flow_days")), x.Token)
}

func (*flow) days(kind, account, date string) string { return kind + "/" + account + "/" + date + "/" }

var flowMissing = &flowRefusal{code: 105, message: "Transaction not found"}

func (p *flow) order(t *tx, c *flowCall, token string) (flowOrder, *flowRefusal) {
	x, found := get[flowOrder](t, bucketFlowOrders, token)
	if !found || x.Account != c.account {
		return x, flowMissing
	}
	return x, nil
}

func (p *flow) byToken(extended bool) flowHandler {
	return func(t *tx, c *flowCall) (any, *flowRefusal) {
		if refused := c.need("token"); refused != nil {
			return nil, refused
		}
		x, refused := p.order(t, c, c.values.Get("token"))
		if refused != nil {
			return nil, refused
		}
		return p.view(x, extended), nil
	}
}

func (p *flow) byCommerce(t *tx, c *flowCall) (any, *flowRefusal) {
	if refused := c.need("commerceId"); refused != nil {
		return nil, refused
	}
	token, _ := get[string](t, bucketFlowShops, c.account+"/"+c.values.Get("commerceId"))
	x, refused := p.order(t, c, token)
	if refused != nil {
		return nil, refused
	}
	return p.view(x, false), nil
}

func (p *flow) byNumber(extended bool) flowHandler {
	return func(t *tx, c *flowCall) (any, *flowRefusal) {
		if refused := c.need("flowOrder"); refused != nil {
			return nil, refused
		}
		token, _ := get[string](t, bucketFlowNumbers, c.values.Get("flowOrder"))
		x, refused := p.order(t, c, token)
		if refused != nil {
			return nil, refused
		}
		return p.view(x, extended), nil
	}
}

// list answers a day's orders, by when they were paid or made.
func (p *flow) list(kind string) flowHandler {
	return func(t *tx, c *flowCall) (any, *flowRefusal) {
		date := c.values.Get("date")
		if _, err := time.Parse(time.DateOnly, date); err != nil {
			return nil, &flowRefusal{code: 107, message: "Invalid date"}
		}
		start, limit := 0, 10
		for name, n := range map[string]*int{"start": &start, "limit": &limit} {
			if text := c.values.Get(name); text != "" {
				value, err := strconv.Atoi(text)
				if err != nil || value < 0 {
					return nil, &flowRefusal{code: 107, message: "Invalid " + name}
				}
				*n = value
			}
		}
		if limit > 100 || limit == 0 {
			limit = 10
		}
		total, data := 0, []any{}
		each(t, bucketFlowDays, p.days(kind, c.account, date), func(_ string, token string) bool {
			if x, _ := get[flowOrder](t, bucketFlowOrders, token); total >= start && len(data) < limit {
				data = append(data, p.view(x, false))
			}
			total++
			return true
		})
		more := 0
		if start+len(data) < total {
			more = 1
		}
		return map[string]any{"total": total, "hasMore": more, "data": data}, nil
	}
}

func (p *flow) local(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.In(p.zone).Format(time.DateTime)
}

// view is PaymentStatus, or PaymentStatusExtended. Half of the orders have
// their numbers as text.
func (p *flow) view(x flowOrder, extended bool) map[string]any {
	number := func(n int64) any { return n }
	if x.Number%2 == 0 {
		number = func(n int64) any { return strconv.FormatInt(n, 10) + ".00" }
	}
	status := any(x.now(p.s.now()))
	if x.Number%2 == 0 {
		status = strconv.Itoa(x.now(p.s.now()))
	}
	var optional any
	if x.Optional != "" {
		optional = json.RawMessage(x.Optional)
	}
	paid := map[string]any{}
	for _, name := range []string{"date", "media", "conversionDate", "conversionRate", "amount", "currency", "fee", "balance", "transferDate"} {
		paid[name] = nil
	}
	if extended {
		for _, name := range []string{"mediaType", "cardLast4Numbers", "cardNumber", "taxes", "installments", "autorizationCode"} {
			paid[name] = nil
		}
	}
	if x.Status == flowPaid {
		fee := x.Paid * 289 / 10000
		taxes := fee * 19 / 100
		paid["date"], paid["media"], paid["amount"], paid["currency"] = p.local(x.PaidAt), "Webpay", number(x.Paid), "CLP"
		paid["fee"], paid["balance"] = number(fee), number(x.Paid-fee-taxes)
		paid["transferDate"] = x.PaidAt.AddDate(0, 0, 3).In(p.zone).Format(time.DateOnly)
		if extended {
			paid["mediaType"], paid["cardLast4Numbers"], paid["cardNumber"] = x.CardType, "6623", "405188 **** **** 6623"
			paid["taxes"], paid["installments"], paid["autorizationCode"] = number(taxes), 1, x.AuthCode
		}
	}
	out := map[string]any{
		"flowOrder": x.Number, "commerceOrder": x.Commerce, "requestDate": p.local(x.CreatedAt), "status": status,
		"subject": x.Subject, "currency": "CLP", "amount": number(x.Amount), "payer": x.Email, "optional": optional,
		"pending_info": map[string]any{"media": nil, "date": nil}, "paymentData": paid, "merchantId": nil,
	}
	if extended {
		last := map[string]any{"code": nil, "message": nil, "medioCode": nil}
		if x.ErrorCode != "" {
			last = map[string]any{"code": x.ErrorCode, "message": x.ErrorText, "medioCode": "005"}
		}
		out["lastError"] = last
	}
	return out
}

func (p *flow) fault(kind faultKind, rule faultRule) reply {
	switch kind {
	case faultRateLimited:
		answer := flowRefusal{http.StatusTooManyRequests, 429, "Too Many Requests"}.reply()
		answer.header.Set("Retry-After", "1")
		return answer
	case faultError503:
		return flowRefusal{http.StatusServiceUnavailable, 503, "Service Unavailable"}.reply()
	case faultRefuse:
		refusal := flowRefusal{rule.Status, 400, "Bad Request"}
		if rule.Message != "" {
			refusal.message = rule.Message
		}
		return refusal.reply()
	}
	return flowRefusal{http.StatusInternalServerError, 500, "Internal Server Error"}.reply()
}

// hosted is the page of the link: url + "?token=" + token.
func (p *flow) hosted(mux *http.ServeMux) {
	mux.HandleFunc("GET /"+flowName+"/app/web/pay.php", func(w http.ResponseWriter, r *http.Request) {
		token := r.FormValue("token")
		found := false
		err := p.s.store.view(func(t *tx) { _, found = get[flowOrder](t, bucketFlowOrders, token) })
		switch {
		case err != nil:
			p.s.fail(w, err)
		case !found:
			p.s.render(w, http.StatusNotFound, missingPage, nil)
		default:
			http.Redirect(w, r, "/buyer/"+token, http.StatusSeeOther)
		}
	})
}

func (p *flow) page(t *tx, token string) (page, bool) {
	x, found := get[flowOrder](t, bucketFlowOrders, token)
	status := x.now(p.s.now())
	out := page{
		PaymentID: x.Commerce, Merchant: "Comercio " + strings.TrimPrefix(x.Account, flowKeyPrefix), Description: x.Subject,
		Amount: x.Amount, Currency: "CLP", Status: flowStatusNames[status], Open: status == flowPending,
	}
	if out.Open && x.ErrorCode != "" {
		out.Notice = "El intento falló. Puede intentarlo otra vez."
	}
	return out, found
}

func (p *flow) step(t *tx, token string, in stepInput) (stepResult, error) {
	x, found := get[flowOrder](t, bucketFlowOrders, token)
	if !found {
		return stepResult{}, fmt.Errorf("order %s: %w", token, errNotFound)
	}
	now := p.s.now()
	if status := x.now(now); status != flowPending {
		return stepResult{}, fmt.Errorf("%w: %s", errPageClosed, flowStatusNames[status])
	}
	back := p.goBack(x)
	result := stepResult{Return: &back}
	switch in.step {
	case stepApprove:
		x.Status, x.PaidAt, x.Paid, x.AuthCode = flowPaid, now, x.Amount, randomText(6, digits)
		x.ErrorCode, x.ErrorText = "", ""
		x.CardType = map[string]string{"": "Crédito", "credit": "Crédito", "debit": "Débito", "prepaid": "Prepago"}[in.card]
		if in.amount != 0 {
			x.Paid = in.amount
		}
		t.book(p.charge(x, chargeCaptured))
		p.file(t, "paid", x, now)
		delay := time.Duration(p.settings(t).ConfirmationDelayMS) * time.Millisecond
		p.tell(t, x.Token, x.Confirmation, delay)
	case stepDecline:
		x.Status, x.ErrorCode, x.ErrorText = flowRejected, "-6", "Rechazo general"
	case stepError:
		x.ErrorCode, x.ErrorText = "-2", "Error de conexión"
		result.Return = nil // the buyer stays on the page
	case stepTimeout:
		x.Status = flowCancelled
		result.Return = nil
	}
	put(t, bucketFlowOrders, x.Token, x)
	result.Status = flowStatusNames[x.Status]
	return result, nil
}

func (p *flow) returnAs(t *tx, token string, step buyerStep) (browserReturn, error) {
	x, found := get[flowOrder](t, bucketFlowOrders, token)
	if !found {
		return browserReturn{}, fmt.Errorf("order %s: %w", token, errNotFound)
	}
	if step == stepTimeout || step == stepError {
		return browserReturn{}, fmt.Errorf("%w: Flow sends nobody back after %s", errPageClosed, step)
	}
	return p.goBack(x), nil
}

// goBack is the browser's return, which says nothing of what happened.
func (*flow) goBack(x flowOrder) browserReturn {
	return browserReturn{Method: http.MethodPost, URL: x.Return, Fields: url.Values{"token": {x.Token}}}
}

func (*flow) charge(x flowOrder, status chargeStatus) ledgerCharge {
	return ledgerCharge{
		PaymentID: x.Commerce, Gateway: flowName, Amount: x.Paid, Currency: "CLP",
		Status: status, Reference: x.Token, CreatedAt: x.PaidAt,
	}
}

// tell posts a token to a page of the merchant.
func (p *flow) tell(t *tx, token, address string, delay time.Duration) {
	put(t, bucketFlowNews, token, address)
	now := time.Now().UTC()
	p.courier.post(t, delivery{Event: token, CreatedAt: now, NextAt: now.Add(delay)})
}

// letter is the confirmation: a form with the token, and no signature.
func (p *flow) letter(t *tx, d delivery) (*http.Request, error) {
	address, found := get[string](t, bucketFlowNews, d.Event)
	if !found {
		return nil, errors.New("nobody is to be told of this token")
	}
	request, err := http.NewRequest(http.MethodPost, address, strings.NewReader(url.Values{"token": {d.Event}}.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return request, nil
}

func (*flow) delivered(*tx, delivery) {}

func (*flow) known(t *tx, token string) bool {
	_, found := get[string](t, bucketFlowNews, token)
	return found
}

// start lets the receivers of refunds decide when it is time.
func (p *flow) start(ctx context.Context, running *sync.WaitGroup) error {
	running.Add(1)
	go func() {
		defer running.Done()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := p.decideRefunds(); err != nil {
				p.s.log.Error("decide Flow refunds", "error", err)
			}
		}
	}()
	return nil
}
