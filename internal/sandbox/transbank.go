package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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

const (
	transbankName = "transbank"
	// transbankAPIKey is the integration environment's key, the same for every
	// commerce code and published for everyone
	// (transbankdevelopers.cl/documentacion/como_empezar#ambientes).
	transbankAPIKey = "579B532A7440BB0C9079DED94D31EA1615BACEB56610332264630D42D0A36B1C"
	webpayAPI       = "/rswebpaytransaction/api/webpay/"
	webpayVersion   = "v1.2"
)

var (
	commerceCode = regexp.MustCompile(`^597[0-9]{9}$`)
	buyOrderText = regexp.MustCompile(`^[A-Za-z0-9|_=&%.,~:/?\[+!@()>-]{1,26}$`)
)

// transbank is Webpay Plus REST 1.2 for single shops. Field names, limits,
// states and texts: transbankdevelopers.cl/referencia/webpay and the mocks of
// github.com/TransbankDevelopers/transbank-sdk-python.
//
// Where Transbank publishes nothing the sandbox chose: an approved form that is
// not committed within commit_window_seconds is given up and cannot be
// committed; the status of everything that was not committed is INITIALIZED,
// that of an authorization which nobody captured in 7 days REVERSED; the amount
// of a transaction captured in part stays what was authorized, and its balance
// is what is left of the capture; all amounts are Chilean pesos.
type transbank struct{ s *Server }

func newTransbank(s *Server) *transbank { return &transbank{s} }

// transbankConfig is what PUT /config/transbank sets; zero values are defaults.
type transbankConfig struct {
	// FormLifetimeSeconds is how long the buyer can pay after create (600).
	FormLifetimeSeconds int `json:"form_lifetime_seconds"`
	// CommitWindowSeconds is how long an approved form can be committed (3600).
	CommitWindowSeconds int `json:"commit_window_seconds"`
	// StrictBuyOrder refuses a buy_order that the commerce used before.
	StrictBuyOrder bool `json:"strict_buy_order"`
	// ReturnMethod is GET (the default, as API 1.1 and later) or POST.
	ReturnMethod string `json:"return_method"`
	// DeferredCodes capture apart; 597055555540 always does.
	DeferredCodes []string `json:"deferred_codes"`
}

type webpayStage string

const (
	webpayOpen      webpayStage = "open"      // the form waits for the buyer
	webpayApproved  webpayStage = "approved"  // paid on the form, not committed: no money yet
	webpayDeclined  webpayStage = "declined"  // refused by the issuer, not committed
	webpayAborted   webpayStage = "aborted"   // the buyer pressed "anular"
	webpayTimedOut  webpayStage = "timed_out" // the form's time ran out
	webpayBroken    webpayStage = "form_error"
	webpayDone      webpayStage = "authorized" // committed: money taken
	webpayFailed    webpayStage = "failed"     // committed after a decline
	webpayCaptured  webpayStage = "captured"
	webpayReversed  webpayStage = "reversed"
	webpayNullified webpayStage = "nullified"
	webpayPartly    webpayStage = "partially_nullified"
)

// webpayTransaction is the stored state of one token.
type webpayTransaction struct {
	Token       string      `json:"token"`
	Commerce    string      `json:"commerce"`
	BuyOrder    string      `json:"buy_order"`
	SessionID   string      `json:"session_id"`
	ReturnURL   string      `json:"return_url"`
	Amount      int64       `json:"amount"`
	Stage       webpayStage `json:"stage"`
	Deferred    bool        `json:"deferred"`
	CreatedAt   time.Time   `json:"created_at"`
	ClosesAt    time.Time   `json:"closes_at"`
	PaidAt      time.Time   `json:"paid_at"`
	CommitUntil time.Time   `json:"commit_until"`
	CommittedAt time.Time   `json:"committed_at"`
	PaymentType string      `json:"payment_type"`
	AuthCode    string      `json:"authorization_code"`
	CapturedAt  time.Time   `json:"captured_at"`
	Balance     int64       `json:"balance"` // not yet given back
	Refunds     int         `json:"refunds"`
	Parts       int         `json:"parts"` // instalments
}

func (x *webpayTransaction) committed() bool {
	switch x.Stage {
	case webpayDone, webpayFailed, webpayCaptured, webpayReversed, webpayNullified, webpayPartly:
		return true
	}
	return false
}

func (x *webpayTransaction) lapsed(now time.Time) bool {
	return x.Stage == webpayOpen && !now.Before(x.ClosesAt)
}

// captured: the money was taken, not only authorized.
func (x *webpayTransaction) captured() bool { return !x.Deferred || !x.CapturedAt.IsZero() }

// The buckets of its state.
const (
	bucketWebpay       = "webpay"        // token -> webpayTransaction
	bucketWebpayOrders = "webpay_orders" // commerce/buy_order -> token
	bucketWebpayHolds  = "webpay_holds"  // end of the authorization/token -> token
)

// authorizedFor is how long an authorization can be captured
// (transbankdevelopers.cl/producto/webpay).
const authorizedFor = 7 * 24 * time.Hour

func webpayHold(x webpayTransaction) string {
	return ordered(uint64(x.CommittedAt.Add(authorizedFor).UnixMilli())) + x.Token
}

func (*transbank) buckets() []string {
	return []string{bucketWebpay, bucketWebpayOrders, bucketWebpayHolds}
}

func (p *transbank) name() string { return transbankName }

// start lets the authorizations go whose time is over.
func (p *transbank) start(ctx context.Context, running *sync.WaitGroup) error {
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
				p.s.log.Error("let Webpay's authorizations go", "error", err)
			}
		}
	}()
	return nil
}

func (p *transbank) lapse() error {
	limit := ordered(uint64(p.s.now().UnixMilli()))
	var due map[string]string
	collect := func(t *tx) {
		due = map[string]string{}
		each(t, bucketWebpayHolds, "", func(key, token string) bool {
			if key >= limit || len(due) == 100 {
				return false
			}
			due[key] = token
			return true
		})
	}
	if err := p.s.store.view(collect); err != nil || len(due) == 0 {
		return err
	}
	return p.s.store.update(func(t *tx) {
		collect(t)
		for key, token := range due {
			t.remove(bucketWebpayHolds, key)
			x, found := get[webpayTransaction](t, bucketWebpay, token)
			if !found || x.Stage != webpayDone || x.captured() {
				continue
			}
			x.Stage, x.Balance = webpayReversed, 0
			put(t, bucketWebpay, token, x)
			t.rebook(transbankName, token, chargeVoided)
		}
	})
}

func (p *transbank) settings(t *tx) transbankConfig {
	c, _ := get[transbankConfig](t, bucketConfig, transbankName)
	if c.FormLifetimeSeconds == 0 {
		c.FormLifetimeSeconds = 600
	}
	if c.CommitWindowSeconds == 0 {
		c.CommitWindowSeconds = 3600
	}
	if c.ReturnMethod == "" {
		c.ReturnMethod = http.MethodGet
	}
	if c.DeferredCodes == nil {
		c.DeferredCodes = []string{}
	}
	return c
}

func (p *transbank) configure(t *tx, raw []byte) (any, error) {
	var c transbankConfig
	if err := decodeOwn(raw, &c); err != nil {
		return nil, err
	}
	if c.FormLifetimeSeconds < 0 || c.CommitWindowSeconds < 0 || !slices.Contains([]string{"", http.MethodGet, http.MethodPost}, c.ReturnMethod) {
		return nil, invalidInput{"seconds are not negative and return_method is GET or POST"}
	}
	put(t, bucketConfig, transbankName, c)
	return p.settings(t), nil
}

func (p *transbank) configuration(t *tx, _ url.Values) (any, error) { return p.settings(t), nil }

// route follows the paths of the REST API; what the credentials are is checked
// before whether a transaction exists.
func (p *transbank) route(c *call) endpoint {
	rest, ok := strings.CutPrefix(c.path, webpayAPI)
	if !ok {
		return endpoint{act: func() reply { return webpayError(http.StatusNotFound, "Not Found") }}
	}
	version, rest, _ := strings.Cut(rest, "/")
	parts := strings.Split(rest, "/")
	if parts[0] != "transactions" || len(parts) > 3 {
		return endpoint{act: func() reply { return webpayError(http.StatusNotFound, "Not Found") }}
	}
	var op, method string
	var handle func(c *call, commerce, token string) reply
	switch {
	case len(parts) == 1:
		op, method, handle = "create", http.MethodPost, p.create
	case len(parts) == 2 && c.method == http.MethodGet:
		op, method, handle = "status", http.MethodGet, p.status
	case len(parts) == 2:
		op, method, handle = "commit", http.MethodPut, p.commit
	case parts[2] == "refunds":
		op, method, handle = "refund", http.MethodPost, p.refund
	case parts[2] == "capture":
		op, method, handle = "capture", http.MethodPut, p.capture
	default:
		return endpoint{act: func() reply { return webpayError(http.StatusNotFound, "Not Found") }}
	}
	if c.method != method {
		return endpoint{act: func() reply { return webpayError(http.StatusMethodNotAllowed, "Method Not Allowed") }}
	}
	return endpoint{op: op, act: func() reply {
		commerce := c.header.Get("Tbk-Api-Key-Id")
		if !commerceCode.MatchString(commerce) || c.header.Get("Tbk-Api-Key-Secret") != transbankAPIKey {
			return webpayError(http.StatusUnauthorized, "Not Authorized")
		}
		if version != webpayVersion {
			return webpayError(http.StatusUnprocessableEntity, "Api mismatch error, required version is "+strings.TrimPrefix(webpayVersion, "v"))
		}
		if len(bytes.TrimSpace(c.body)) > 0 && !isJSON(c.header.Get("Content-Type")) {
			return webpayError(http.StatusUnsupportedMediaType, "Unsupported Media Type")
		}
		token := ""
		if len(parts) > 1 {
			token = parts[1]
		}
		return handle(c, commerce, token)
	}}
}

func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/json")
}

func webpayError(status int, message string) reply {
	return webpayJSON(status, map[string]string{"error_message": message})
}

func webpayJSON(status int, v any) reply {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"description":"Internal server error"}`)
	}
	return reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: raw}
}

func (p *transbank) internal(err error) reply {
	p.s.log.Error("sandbox state", "provider", transbankName, "error", err)
	return webpayJSON(http.StatusInternalServerError, map[string]string{"description": "Internal server error"})
}

func (p *transbank) fault(kind faultKind, rule faultRule) reply {
	switch kind {
	case faultRateLimited:
		answer := webpayError(http.StatusTooManyRequests, "Too Many Requests")
		answer.header.Set("Retry-After", "1")
		return answer
	case faultError503:
		return webpayJSON(http.StatusServiceUnavailable, map[string]string{"description": "Service Unavailable"})
	case faultRefuse:
		status, message := http.StatusUnprocessableEntity, "Operation not allowed"
		if rule.Status != 0 {
			status = rule.Status
		}
		if rule.Message != "" {
			message = rule.Message
		}
		return webpayError(status, message)
	}
	return webpayJSON(http.StatusInternalServerError, map[string]string{"description": "Internal server error"})
}

// webpayFields reads a flat JSON object that may only have the allowed fields:
// the API answers 400 to JSON that it cannot read and to unexpected fields.
func webpayFields(body []byte, allowed ...string) (map[string]any, *reply) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var fields map[string]any
	err := decoder.Decode(&fields)
	if err == nil {
		if _, end := decoder.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("more than one value")
		}
	}
	if err != nil || fields == nil {
		r := webpayError(http.StatusBadRequest, "Malformed JSON")
		return nil, &r
	}
	for _, name := range sortedKeys(fields) {
		if !slices.Contains(allowed, name) {
			r := webpayError(http.StatusBadRequest, "Unexpected field: "+name)
			return nil, &r
		}
	}
	return fields, nil
}

// webpayText is a required text of at most limit characters.
func webpayText(fields map[string]any, name string, limit int) (string, *reply) {
	value, there := fields[name]
	text, isText := value.(string)
	if !there || value == nil || (isText && text == "") {
		r := webpayError(http.StatusUnprocessableEntity, name+" is required!")
		return "", &r
	}
	if !isText || utf8.RuneCountInString(text) > limit {
		r := webpayError(http.StatusUnprocessableEntity, "Invalid value for parameter: "+name)
		return "", &r
	}
	return text, nil
}

// webpayAmount is a required number of pesos: positive, whole, of at most 17
// characters.
func webpayAmount(fields map[string]any, name string) (int64, *reply) {
	value, there := fields[name]
	if !there || value == nil {
		r := webpayError(http.StatusUnprocessableEntity, name+" is required!")
		return 0, &r
	}
	number, isNumber := value.(json.Number)
	amount, err := wholeNumber(number.String())
	if !isNumber || err != nil || amount <= 0 || len(number.String()) > 17 {
		r := webpayError(http.StatusUnprocessableEntity, "Invalid value for parameter: "+name)
		return 0, &r
	}
	return amount, nil
}

// wholeNumber accepts 1000, 1000.0 and 1e3, which are one number in JSON.
func wholeNumber(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return int64(f), nil
}

func (p *transbank) create(c *call, commerce, _ string) reply {
	fields, refused := webpayFields(c.body, "buy_order", "session_id", "amount", "return_url")
	if refused != nil {
		return *refused
	}
	buyOrder, refused := webpayText(fields, "buy_order", 26)
	if refused == nil && !buyOrderText.MatchString(buyOrder) {
		r := webpayError(http.StatusUnprocessableEntity, "Invalid value for parameter: buy_order")
		refused = &r
	}
	if refused != nil {
		return *refused
	}
	sessionID, refused := webpayText(fields, "session_id", 61)
	if refused != nil {
		return *refused
	}
	amount, refused := webpayAmount(fields, "amount")
	if refused != nil {
		return *refused
	}
	returnURL, refused := webpayText(fields, "return_url", 255)
	if refused != nil {
		return *refused
	}
	if !isWebURL(returnURL) {
		return webpayError(http.StatusUnprocessableEntity, "Invalid value for parameter: return_url")
	}
	token := "01ab" + randomText(60, hexDigits)
	now := p.s.now()
	var answer reply
	err := p.s.store.update(func(t *tx) {
		conf := p.settings(t)
		_, used := get[string](t, bucketWebpayOrders, commerce+"/"+buyOrder)
		if used && conf.StrictBuyOrder {
			answer = webpayError(http.StatusUnprocessableEntity, "Invalid value for parameter: buy_order")
			return
		}
		put(t, bucketWebpayOrders, commerce+"/"+buyOrder, token)
		put(t, bucketWebpay, token, webpayTransaction{
			Token: token, Commerce: commerce, BuyOrder: buyOrder, SessionID: sessionID, ReturnURL: returnURL, Amount: amount,
			Stage: webpayOpen, CreatedAt: now, ClosesAt: now.Add(time.Duration(conf.FormLifetimeSeconds) * time.Second),
			Deferred: commerce == "597055555540" || slices.Contains(conf.DeferredCodes, commerce),
		})
		t.addPage(pageRef{transbankName, token}, buyOrder, token)
		answer = webpayJSON(http.StatusOK, map[string]string{
			"token": token, "url": c.base + "/" + transbankName + "/webpayserver/initTransaction",
		})
	})
	if err != nil {
		return p.internal(err)
	}
	return answer
}

func isWebURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// find reads a transaction of the commerce; an unknown token and one of another
// commerce have texts of their own.
func (p *transbank) find(t *tx, commerce, token string) (webpayTransaction, *reply) {
	x, found := get[webpayTransaction](t, bucketWebpay, token)
	text := ""
	switch {
	case !found:
		text = "Invalid value for parameter: token"
	case x.Commerce != commerce:
		text = "Invalid value for parameter: transaction not found"
	default:
		return x, nil
	}
	r := webpayError(http.StatusUnprocessableEntity, text)
	return x, &r
}

// change runs fn on a transaction; fn answers, and stores what it changed.
func (p *transbank) change(commerce, token string, fn func(t *tx, x webpayTransaction) reply) reply {
	var answer reply
	err := p.s.store.update(func(t *tx) {
		x, refused := p.find(t, commerce, token)
		if refused != nil {
			answer = *refused
			return
		}
		answer = fn(t, x)
	})
	if err != nil {
		return p.internal(err)
	}
	return answer
}

// commit takes the money of an approved form, once: of two at the same moment
// the second finds it done.
func (p *transbank) commit(c *call, commerce, token string) reply {
	if len(bytes.TrimSpace(c.body)) > 0 {
		if _, refused := webpayFields(c.body); refused != nil {
			return *refused
		}
	}
	now := p.s.now()
	return p.change(commerce, token, func(t *tx, x webpayTransaction) reply {
		switch {
		case x.committed():
			return webpayError(http.StatusUnprocessableEntity, "Transaction already locked by another process")
		case x.Stage == webpayAborted || x.Stage == webpayBroken:
			return webpayError(http.StatusUnprocessableEntity, "Transaction has an invalid finished state: aborted")
		case x.Stage == webpayOpen || x.Stage == webpayTimedOut:
			return webpayError(http.StatusUnprocessableEntity,
				"Invalid status '0' for transaction while authorizing. Commerce will be notified by webpay to authorize")
		case x.Stage == webpayApproved && !now.Before(x.CommitUntil):
			return webpayError(http.StatusUnprocessableEntity, "Transaction has an invalid finished state: reversed")
		}
		x.CommittedAt = now
		x.Stage = webpayFailed
		if x.AuthCode != "" {
			x.Stage, x.Balance = webpayDone, x.Amount
			status := chargeCaptured
			if x.Deferred {
				status = chargeAuthorized
				put(t, bucketWebpayHolds, webpayHold(x), token)
			}
			t.book(p.charge(x, status, x.Amount))
		}
		put(t, bucketWebpay, token, x)
		return webpayJSON(http.StatusOK, p.view(x))
	})
}

func (p *transbank) charge(x webpayTransaction, status chargeStatus, amount int64) ledgerCharge {
	at := x.CommittedAt
	if !x.CapturedAt.IsZero() {
		at = x.CapturedAt
	}
	return ledgerCharge{
		PaymentID: x.BuyOrder, Gateway: transbankName, Amount: amount, Currency: "CLP",
		Status: status, Reference: x.Token, CreatedAt: at, Account: x.Commerce,
	}
}

// status can be asked for seven days.
func (p *transbank) status(_ *call, commerce, token string) reply {
	var answer reply
	err := p.s.store.view(func(t *tx) {
		x, refused := p.find(t, commerce, token)
		switch {
		case refused != nil:
			answer = *refused
		case p.s.now().Sub(x.CreatedAt) > 7*24*time.Hour:
			answer = webpayError(http.StatusUnprocessableEntity, "The transactions's date has passed max time (7 days) to recover the status")
		default:
			answer = webpayJSON(http.StatusOK, p.view(x))
		}
	})
	if err != nil {
		return p.internal(err)
	}
	return answer
}

const webpayTime = "2006-01-02T15:04:05.000Z"

// view is the transaction as commit and status answer it. What the buyer did
// shows only once it is committed.
func (p *transbank) view(x webpayTransaction) map[string]any {
	out := map[string]any{
		"amount":              x.Amount,
		"status":              "INITIALIZED",
		"buy_order":           x.BuyOrder,
		"session_id":          x.SessionID,
		"accounting_date":     x.CreatedAt.Format("0102"),
		"transaction_date":    x.CreatedAt.Format(webpayTime),
		"installments_number": 0,
	}
	if !x.committed() {
		return out
	}
	out["card_detail"] = map[string]string{"card_number": webpayCard(x.PaymentType)}
	out["payment_type_code"] = x.PaymentType
	if x.Stage == webpayFailed {
		out["status"], out["vci"], out["response_code"] = "FAILED", "TSN", -1
		return out
	}
	out["vci"], out["response_code"], out["authorization_code"] = "TSY", 0, x.AuthCode
	if x.Parts > 0 {
		out["installments_number"], out["installments_amount"] = x.Parts, (x.Amount+int64(x.Parts)-1)/int64(x.Parts)
	}
	out["status"] = map[webpayStage]string{
		webpayDone: "AUTHORIZED", webpayCaptured: "CAPTURED", webpayReversed: "REVERSED",
		webpayNullified: "NULLIFIED", webpayPartly: "PARTIALLY_NULLIFIED",
	}[x.Stage]
	if x.Refunds > 0 {
		out["balance"] = x.Balance
	}
	return out
}

// webpayCard is the last digits of the integration environment's test card of
// a kind: debit, prepaid or credit.
func webpayCard(paymentType string) string {
	switch paymentType {
	case "VD":
		return "7763"
	case "VP":
		return "6590"
	}
	return "6623"
}

// webpayType is the payment_type_code of a card and its instalments: two and
// three are without interest, more with.
func webpayType(card string, parts int) string {
	switch {
	case card == "debit":
		return "VD"
	case card == "prepaid":
		return "VP"
	case parts == 0:
		return "VN"
	case parts == 2:
		return "S2"
	case parts == 3:
		return "SI"
	}
	return "VC"
}

func (p *transbank) refund(c *call, commerce, token string) reply {
	fields, refused := webpayFields(c.body, "amount")
	if refused != nil {
		return *refused
	}
	amount, refused := webpayAmount(fields, "amount")
	if refused != nil {
		return *refused
	}
	return p.change(commerce, token, func(t *tx, x webpayTransaction) reply {
		out, _, text := p.giveBack(t, x, amount)
		if text != "" {
			return webpayError(http.StatusUnprocessableEntity, text)
		}
		return webpayJSON(http.StatusOK, out)
	})
}

// giveBack reverses or nullifies: the gateway chooses. The whole within three
// hours of the commit is a reversal, the rest nullifications, which repeat. A
// text tells why not.
func (p *transbank) giveBack(t *tx, x webpayTransaction, amount int64) (map[string]any, ledgerRefund, string) {
	now := p.s.now()
	switch {
	case !x.committed():
		return nil, ledgerRefund{}, "Transaction is unfinished, it is not possible to refund it yet"
	case x.Stage == webpayFailed:
		return nil, ledgerRefund{}, "Invalid value for parameter: transaction not found"
	case x.Balance == 0:
		return nil, ledgerRefund{}, "Transaction already fully refunded"
	case amount > x.Balance:
		return nil, ledgerRefund{}, "Amount to refund is bigger than authorized"
	case now.Sub(x.CommittedAt) > 90*24*time.Hour:
		return nil, ledgerRefund{}, "Nullification period has expired (284)"
	case amount < x.Balance && (x.PaymentType == "VD" || x.PaymentType == "VP"):
		return nil, ledgerRefund{}, "Debit or prepaid transactions only allow reverses, not nullifications."
	case amount < x.Balance && x.PaymentType != "VN":
		return nil, ledgerRefund{}, "Partial nullification is not allowed with installments (53)"
	case amount < x.Balance && !x.captured():
		return nil, ledgerRefund{}, "Operation not allowed"
	}
	tookMoney := x.captured()
	whole := x.Refunds == 0 && amount == x.Balance
	x.Refunds++
	x.Balance -= amount
	refund := ledgerRefund{
		PaymentID: x.BuyOrder, Gateway: transbankName, Amount: amount, Currency: "CLP", Status: refundSucceeded,
		Reference: fmt.Sprintf("%s/%d", x.Token, x.Refunds), CreatedAt: now, Account: x.Commerce,
	}
	t.remove(bucketWebpayHolds, webpayHold(x))
	var out map[string]any
	status := chargePartiallyRefunded
	switch {
	case whole && now.Sub(x.CommittedAt) < 3*time.Hour:
		x.Stage, status = webpayReversed, chargeReversed
		out = map[string]any{"type": "REVERSED"}
	default:
		x.Stage = webpayPartly
		if x.Balance == 0 {
			x.Stage, status = webpayNullified, chargeRefunded
		}
		refund.Code = randomText(6, digits)
		out = map[string]any{
			"type": "NULLIFIED", "authorization_code": refund.Code, "authorization_date": now.Format(webpayTime),
			"nullified_amount": amount, "balance": x.Balance, "response_code": 0,
		}
	}
	if tookMoney {
		t.bookRefund(refund)
	} else {
		status = chargeVoided
	}
	t.rebook(transbankName, x.Token, status)
	put(t, bucketWebpay, x.Token, x)
	return out, refund, ""
}

func (p *transbank) capture(c *call, commerce, token string) reply {
	fields, refused := webpayFields(c.body, "buy_order", "authorization_code", "capture_amount")
	if refused != nil {
		return *refused
	}
	buyOrder, refused := webpayText(fields, "buy_order", 26)
	if refused != nil {
		return *refused
	}
	authCode, refused := webpayText(fields, "authorization_code", 6)
	if refused != nil {
		return *refused
	}
	amount, refused := webpayAmount(fields, "capture_amount")
	if refused != nil {
		return *refused
	}
	now := p.s.now()
	return p.change(commerce, token, func(t *tx, x webpayTransaction) reply {
		text := ""
		switch {
		case !x.Deferred:
			text = "Operation not allowed"
		case !x.CapturedAt.IsZero():
			text = "Transaction already captured"
		case x.committed() && now.Sub(x.CommittedAt) > authorizedFor:
			text = "Capture period has expired (284)"
		case x.Stage != webpayDone:
			text = "Transaction not found"
		case x.BuyOrder != buyOrder:
			text = "Invalid value for parameter: buy_order"
		case x.AuthCode != authCode:
			text = "Invalid value for parameter: authorization_code"
		case amount > x.Amount:
			text = "Invalid value for parameter: capture_amount"
		}
		if text != "" {
			return webpayError(http.StatusUnprocessableEntity, text)
		}
		t.remove(bucketWebpayHolds, webpayHold(x))
		x.Stage, x.CapturedAt, x.Balance = webpayCaptured, now, amount
		t.book(p.charge(x, chargeCaptured, amount))
		put(t, bucketWebpay, token, x)
		return webpayJSON(http.StatusOK, map[string]any{
			"authorization_code": x.AuthCode, "authorization_date": now.Format(webpayTime), "captured_amount": amount, "response_code": 0,
		})
	})
}

// hosted is the address that create answers: the browser comes with token_ws,
// by a form or (since API 1.1) a link, and is shown the buyer's page. Beside it
// stands the day's settlement.
func (p *transbank) hosted(mux *http.ServeMux) {
	mux.HandleFunc("GET /settlements/"+transbankName, p.serveSettlement)
	mux.HandleFunc("/"+transbankName+"/webpayserver/initTransaction", func(w http.ResponseWriter, r *http.Request) {
		token := r.FormValue("token_ws")
		found := false
		err := p.s.store.view(func(t *tx) { _, found = get[webpayTransaction](t, bucketWebpay, token) })
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

func (p *transbank) page(t *tx, token string) (page, bool) {
	x, found := get[webpayTransaction](t, bucketWebpay, token)
	lapsed := x.lapsed(p.s.now())
	status := string(x.Stage)
	if lapsed {
		status = string(webpayTimedOut)
	}
	return page{
		PaymentID: x.BuyOrder, Merchant: "Comercio " + x.Commerce, Amount: x.Amount, Currency: "CLP",
		Status: status, Open: x.Stage == webpayOpen && !lapsed, Lapsed: lapsed,
	}, found
}

func (p *transbank) step(t *tx, token string, in stepInput) (stepResult, error) {
	x, found := get[webpayTransaction](t, bucketWebpay, token)
	if !found {
		return stepResult{}, fmt.Errorf("transaction %s: %w", token, errNotFound)
	}
	now := p.s.now()
	if x.Stage != webpayOpen || (x.lapsed(now) && in.step != stepTimeout) {
		return stepResult{}, fmt.Errorf("%w: %s", errPageClosed, x.Stage)
	}
	conf := p.settings(t)
	x.PaidAt = now
	x.CommitUntil = now.Add(time.Duration(conf.CommitWindowSeconds) * time.Second)
	x.PaymentType, x.Parts = webpayType(in.card, in.parts), in.parts
	if x.Deferred && x.PaymentType != "VN" {
		return stepResult{}, invalidInput{"a deferred capture takes credit cards without instalments only"}
	}
	if in.amount != 0 {
		x.Amount = in.amount
	}
	switch in.step {
	case stepApprove:
		x.Stage, x.AuthCode = webpayApproved, randomText(6, digits)
	case stepDecline:
		x.Stage = webpayDeclined
	case stepAbort:
		x.Stage = webpayAborted
	case stepTimeout:
		x.Stage = webpayTimedOut
	case stepError:
		x.Stage = webpayBroken
	}
	put(t, bucketWebpay, token, x)
	back := p.goBack(x, in.step, conf)
	if in.postReturn {
		back.Method = http.MethodPost
	}
	return stepResult{Status: string(x.Stage), Return: &back}, nil
}

func (p *transbank) returnAs(t *tx, token string, step buyerStep) (browserReturn, error) {
	x, found := get[webpayTransaction](t, bucketWebpay, token)
	if !found {
		return browserReturn{}, fmt.Errorf("transaction %s: %w", token, errNotFound)
	}
	return p.goBack(x, step, p.settings(t)), nil
}

// goBack is the browser's return; which fields it carries tells the merchant
// what happened (transbankdevelopers.cl/documentacion/webpay-plus). The wire
// name is TBK_ID_SESION, with one S in the middle.
func (p *transbank) goBack(x webpayTransaction, step buyerStep, conf transbankConfig) browserReturn {
	fields := url.Values{}
	if step == stepApprove || step == stepDecline || step == stepError {
		fields.Set("token_ws", x.Token)
	}
	if step == stepAbort || step == stepError {
		fields.Set("TBK_TOKEN", x.Token)
	}
	if step == stepAbort || step == stepError || step == stepTimeout {
		fields.Set("TBK_ID_SESION", x.SessionID)
		fields.Set("TBK_ORDEN_COMPRA", x.BuyOrder)
	}
	return browserReturn{Method: conf.ReturnMethod, URL: x.ReturnURL, Fields: fields}
}

func (p *transbank) refundByHand(t *tx, token string, amount int64) (ledgerRefund, error) {
	x, found := get[webpayTransaction](t, bucketWebpay, token)
	if !found {
		return ledgerRefund{}, fmt.Errorf("transaction %s: %w", token, errNotFound)
	}
	if amount == 0 {
		amount = x.Balance
	}
	_, refund, text := p.giveBack(t, x, amount)
	if text != "" {
		return ledgerRefund{}, fmt.Errorf("%w: %s", errNotRefundable, text)
	}
	return refund, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
