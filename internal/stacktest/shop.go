package stacktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

// Product is what every shop of the tests sells: 20 units in Santiago and 10 in
// Concepción, each at 12990 CLP.
const Product = "POL-ROJO-S"

// The public integration credentials of Webpay Plus, the same for every merchant
// that tests: https://www.transbankdevelopers.cl/documentacion/como_empezar
const (
	TransbankCode = "597055555532"
	TransbankKey  = "579B532A7440BB0C9079DED94D31EA1615BACEB56610332264630D42D0A36B1C"
)

// Warehouses of every shop, in the order of their position.
var Warehouses = []string{"SCL-1", "CCP-1", "ANF-1"}

// Patience is how long a test waits for something that happens by itself: two rounds of the
// sweeper, which makes up for whatever a machine that was too busy has left undone. It is
// long, because only a test that fails ever waits for all of it.
const Patience = 150 * time.Second

// Shop is a test's own tenant with a sandbox of its own.
type Shop struct {
	*Stack
	Tenant string
	// Keys by scope.
	Keys    map[tenant.Scope]string
	Sandbox *Sandbox
	t       testing.TB
}

// Shop makes a tenant. change alters its rules.
func (s *Stack) Shop(t testing.TB, change ...func(*tenant.Settings)) *Shop {
	t.Helper()
	unique := id.New()
	shop := &Shop{Stack: s, Tenant: "t" + strings.ToLower(unique[len(unique)-12:]), Keys: map[tenant.Scope]string{}, t: t}
	if shop.Sandbox = (&Sandbox{URL: s.sandboxURL, t: t}); s.sandboxURL == "" {
		shop.Sandbox.URL = openSandbox(t, s.APIURL)
	}
	about := tenant.Tenant{ID: shop.Tenant, Name: t.Name(), Settings: tenant.Defaults(shop.Tenant)}
	about.Settings.AllowedOrigins = []string{"*"}
	// Every gateway is set up and can be named; auto has a short list.
	about.Settings.Gateways = []string{"transbank", "stripe"}
	for _, c := range change {
		c(&about.Settings)
	}
	shop.Do(func(tx pgx.Tx) error {
		if err := tenant.Put(t.Context(), tx, about); err != nil {
			return err
		}
		for _, scope := range tenant.Scopes {
			key, _, err := tenant.IssueKey(t.Context(), tx, shop.Tenant, string(scope), []tenant.Scope{scope}, nil)
			if err != nil {
				return err
			}
			shop.Keys[scope] = key
			secret(key)
		}
		for i, region := range []string{"RM", "BI", "AN"} {
			if _, err := catalog.PutWarehouse(t.Context(), tx, shop.Tenant, Warehouses[i], catalog.WarehouseInput{Name: Warehouses[i], Region: region, Position: i}); err != nil {
				return err
			}
		}
		return shop.credentials(tx)
	})
	shop.Product(Product, 12990, 20, 10)
	t.Cleanup(func() {
		if t.Failed() {
			s.logs.show(t, shop.Tenant)
			return
		}
		shop.leave()
	})
	return shop
}

// leave lets what the providers have told be read before they are gone: later
// nobody could be asked what became of it. What would wait for its minute (one
// unsigned hint a minute, longer after failures) has its turn at once. What they
// tell afterwards is told to nobody, and the audit of a shared stack leaves it out.
func (s *Shop) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 45*time.Second)
	defer cancel()
	defer func() { s.gone.Store(s.Tenant, time.Now()) }()
	for _, gateway := range payment.Names() {
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.Sandbox.URL+"/faults/"+string(gateway), nil)
		if err != nil {
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		_ = res.Body.Close()
	}
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for {
		var unread int
		err := s.DB.InTenant(ctx, s.Tenant, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE payment_hints SET asked_at = asked_at - interval '1 minute' WHERE tenant = $1 AND asked_at > now() - interval '1 minute'`, s.Tenant); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE inbox SET next_attempt_at = now() WHERE tenant = $1 AND status = 'pending' AND next_attempt_at > now() + interval '2 seconds'`, s.Tenant); err != nil {
				return err
			}
			return tx.QueryRow(ctx, `SELECT count(*) FROM inbox i JOIN payments p ON p.tenant = i.tenant AND p.id = i.payment_id WHERE i.tenant = $1 AND i.status = 'pending'`, s.Tenant).Scan(&unread)
		})
		if err != nil || unread == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// credentials points the adapters at the shop's sandbox.
func (s *Shop) credentials(tx pgx.Tx) error {
	keys, err := secretbox.ParseKeyring(s.CredentialKeys)
	if err != nil {
		return err
	}
	all := s.CarrierCredentials()
	for provider, value := range s.Credentials() {
		all[provider] = value
	}
	for provider, value := range all {
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if err := tenant.SetCredentials(s.t.Context(), tx, keys, s.Tenant, provider, raw); err != nil {
			return err
		}
	}
	return nil
}

// Credentials are the shop's at its sandbox, by gateway.
func (s *Shop) Credentials() map[string]map[string]string {
	at := func(gateway string, more map[string]string) map[string]string {
		more["base_url"] = s.Sandbox.URL + "/" + gateway
		return more
	}
	return map[string]map[string]string{
		"transbank":   at("transbank", map[string]string{"commerce_code": TransbankCode, "api_key": TransbankKey}),
		"stripe":      at("stripe", map[string]string{"secret_key": "sk_test_sandbox_" + s.Tenant, "webhook_secret": s.WebhookSecret()}),
		"mercadopago": at("mercadopago", map[string]string{"access_token": s.MercadoPagoToken(), "webhook_secret": "mpsec_sandbox_" + s.Tenant}),
		"flow":        at("flow", map[string]string{"api_key": "sandbox-key-" + s.Tenant, "secret_key": "sandbox-secret-" + s.Tenant}),
		"khipu":       at("khipu", map[string]string{"api_key": "sandbox-key-" + s.Tenant, "secret": "sandbox-secret-" + s.Tenant}),
	}
}

// CarrierCredentials are the shop's at its sandbox, by carrier.
func (s *Shop) CarrierCredentials() map[string]any {
	at := func(carrier string, more map[string]any) map[string]any {
		more["base_url"] = s.Sandbox.URL + "/" + carrier
		return more
	}
	return map[string]any{
		"chilexpress": at("chilexpress", map[string]any{"coverage_key": "sandbox-coverage-" + s.Tenant, "rating_key": "sandbox-rating-" + s.Tenant, "shipping_key": "sandbox-shipping-" + s.Tenant, "card": "18578680", "rut": "96756430-3"}),
		"bluexpress": at("bluexpress", map[string]any{"client_id": "sandbox-client-" + s.Tenant, "client_secret": "sandbox-secret-" + s.Tenant, "api_key": "sandbox-key-" + s.Tenant,
			"token": "sandbox-token-" + s.Tenant, "user_code": "sandbox-user-" + s.Tenant, "account": "account-" + s.Tenant}),
		"correos": at("correos", map[string]any{"token": "sandbox-token-" + s.Tenant, "client_code": "sap-" + s.Tenant}),
		"starken": at("starken", map[string]any{"token": "sandbox-bearer-" + s.Tenant, "rut": "76192083-9", "origin_agency": 1411, "current_account": "41966-8"}),
	}
}

// MercadoPagoToken is the access token of the shop's account.
func (s *Shop) MercadoPagoToken() string { return "TEST-sandbox-" + s.Tenant }

// Reference is the name that a payment has at its provider: Webpay's and Flow's
// token, Stripe's session, Mercado Pago's preference, Khipu's payment.
func (s *Shop) Reference(paymentID string) string {
	s.t.Helper()
	return Value[string](s.t, s.Stack, `SELECT reference FROM payments WHERE tenant = $1 AND id = $2`, s.Tenant, paymentID)
}

// WebhookSecret is what the sandbox signs Stripe's events for this shop with.
func (s *Shop) WebhookSecret() string { return "whsec_sandbox_" + s.Tenant }

// Do runs fn in a transaction of the tenant's.
func (s *Shop) Do(fn func(tx pgx.Tx) error) {
	s.t.Helper()
	require.NoError(s.t, s.DB.InTenant(s.t.Context(), s.Tenant, fn))
}

// Product puts a SKU into the catalogue and units of it on the shelves of the
// warehouses, in their order. It costs price CLP.
func (s *Shop) Product(sku string, price int64, units ...int) {
	s.t.Helper()
	s.Do(func(tx pgx.Tx) error {
		in := catalog.ProductInput{Name: "Producto " + sku, WeightGrams: 100, Prices: []catalog.Price{{Currency: "CLP", Amount: price}}}
		if _, err := catalog.PutProduct(s.t.Context(), tx, s.Tenant, sku, in); err != nil {
			return err
		}
		for i, n := range units {
			if _, err := stock.Count(s.t.Context(), tx, s.Tenant, sku, Warehouses[i], n, time.Now(), "test"); err != nil {
				return err
			}
		}
		return nil
	})
}

// Answer is what the API said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Code is a problem's.
func (a Answer) Code() string {
	var p struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(a.Body, &p) != nil {
		return ""
	}
	return p.Code
}

// Decode reads the answer's JSON.
func Decode[T any](t testing.TB, a Answer) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a.Body, &v), "%d %s", a.Status, a.Body)
	return v
}

// Call sends a request with the shop's key of a scope; headers are pairs.
func (s *Shop) Call(scope tenant.Scope, method, path string, body any, headers ...string) Answer {
	s.t.Helper()
	a, err := s.Try(s.t.Context(), scope, method, path, body, headers...)
	require.NoError(s.t, err)
	return a
}

// Try is Call for other goroutines than the test's, and for an API that may not
// answer.
func (s *Shop) Try(ctx context.Context, scope tenant.Scope, method, path string, body any, headers ...string) (Answer, error) {
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return Answer{}, err
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.APIURL+path, reader)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+s.Keys[scope])
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return send(req)
}

func send(req *http.Request) (Answer, error) {
	res, err := httpClient.Do(req)
	if err != nil {
		return Answer{}, err
	}
	body, err := io.ReadAll(res.Body)
	return Answer{res.StatusCode, res.Header, body}, errors.Join(err, res.Body.Close())
}

// Basket is a good checkout; change spoils it.
func Basket(gateway string, change ...func(m map[string]any)) map[string]any {
	m := map[string]any{
		"items":    []any{map[string]any{"sku": Product, "quantity": 2}},
		"currency": "CLP",
		"customer": map[string]any{"name": "Ana Rojas", "email": "ana@example.cl", "phone": "+56961234567", "rut": "11.111.111-1"},
		"shipping": map[string]any{"street": "Av. Providencia", "number": "1234", "unit": "501", "comuna": "Providencia", "region": "RM", "country": "CL", "service": "standard"},
		"payment":  map[string]any{"gateway": gateway, "return_url": "https://shop.example/thanks"},
	}
	for _, c := range change {
		c(m)
	}
	return m
}

// Items replaces a basket's with quantity units of a SKU.
func Items(sku string, quantity int) func(map[string]any) {
	return func(m map[string]any) { m["items"] = []any{map[string]any{"sku": sku, "quantity": quantity}} }
}

// Hold asks for a hold of some seconds.
func Hold(seconds int) func(map[string]any) {
	return func(m map[string]any) { m["hold_seconds"] = seconds }
}

// Checkout is one as the API shows it.
type Checkout struct {
	ID          string    `json:"id"`
	Status      string    `json:"status"`
	Number      string    `json:"number"`
	ExpiresAt   time.Time `json:"expires_at"`
	OrderID     *string   `json:"order_id"`
	Reservation *struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Lines  []struct {
			SKU       string `json:"sku"`
			Quantity  int    `json:"quantity"`
			Warehouse string `json:"warehouse"`
		} `json:"lines"`
	} `json:"reservation"`
	Totals struct {
		Total int64 `json:"total"`
	} `json:"totals"`
	Payment  *Payment  `json:"payment"`
	Payments []Payment `json:"payments"`
	Failure  *struct {
		Code string `json:"code"`
	} `json:"failure"`
	CancelRequestedAt *time.Time `json:"cancel_requested_at"`
	Workflow          *struct {
		ID    string `json:"id"`
		RunID string `json:"run_id"`
		URL   string `json:"url"`
	} `json:"workflow"`
}

// Payment is an attempt as the API shows it.
type Payment struct {
	ID       string `json:"id"`
	Gateway  string `json:"gateway"`
	Status   string `json:"status"`
	Amount   int64  `json:"amount"`
	Captured int64  `json:"captured"`
	Refunded int64  `json:"refunded"`
	Applied  bool   `json:"applied"`
	Redirect *struct {
		URL    string            `json:"url"`
		Method string            `json:"method"`
		Fields map[string]string `json:"fields"`
	} `json:"redirect"`
}

// Token is Webpay's of an attempt that the buyer can pay.
func (p Payment) Token() string {
	if p.Redirect == nil {
		return ""
	}
	return p.Redirect.Fields["token_ws"]
}

// Attempt finds a payment.
func (c Checkout) Attempt(paymentID string) Payment {
	for _, p := range c.Payments {
		if p.ID == paymentID {
			return p
		}
	}
	return Payment{}
}

// Checkout begins a checkout that the buyer can pay.
func (s *Shop) Checkout(gateway string, change ...func(map[string]any)) Checkout {
	s.t.Helper()
	a := s.Call(tenant.Storefront, http.MethodPost, "/v1/checkouts", Basket(gateway, change...))
	c := Decode[Checkout](s.t, a)
	if a.Status == http.StatusAccepted { // a machine that is busy
		c = s.AwaitStatus(c.ID, "awaiting_payment")
	} else {
		require.Equal(s.t, http.StatusCreated, a.Status, "%s", a.Body)
	}
	require.Equal(s.t, "awaiting_payment", c.Status)
	require.NotNil(s.t, c.Payment.Redirect)
	return c
}

// Get reads a checkout.
func (s *Shop) Get(checkoutID string) Checkout {
	s.t.Helper()
	a := s.Call(tenant.Admin, http.MethodGet, "/v1/checkouts/"+checkoutID, nil)
	require.Equal(s.t, http.StatusOK, a.Status, "%s", a.Body)
	return Decode[Checkout](s.t, a)
}

// Await waits until a checkout is as wanted.
func (s *Shop) Await(checkoutID string, wanted func(c Checkout) bool) (c Checkout) {
	s.t.Helper()
	s.Eventually(func() (string, bool) {
		a, err := s.Try(s.t.Context(), tenant.Admin, http.MethodGet, "/v1/checkouts/"+checkoutID, nil)
		if err != nil {
			return err.Error(), false
		}
		c = Checkout{}
		if err := json.Unmarshal(a.Body, &c); err != nil || a.Status != http.StatusOK {
			return fmt.Sprint(a.Status, " ", string(a.Body)), false
		}
		return string(a.Body), wanted(c)
	})
	return c
}

// AwaitStatus waits until a checkout has a status.
func (s *Shop) AwaitStatus(checkoutID, status string) Checkout {
	s.t.Helper()
	return s.Await(checkoutID, func(c Checkout) bool { return c.Status == status })
}

// Eventually waits until check is satisfied and shows what it saw last when that
// takes too long.
func (s *Shop) Eventually(check func() (saw string, ok bool)) {
	s.t.Helper()
	s.Within(Patience, check)
}

// Within is Eventually with another patience.
func (s *Shop) Within(limit time.Duration, check func() (saw string, ok bool)) {
	s.t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	// Soon at first, for what is quick, then seldom: many tests wait at once.
	for wait := 20 * time.Millisecond; ; wait = min(wait*3/2, 250*time.Millisecond) {
		saw, ok := check()
		if ok {
			return
		}
		again := time.NewTimer(wait)
		select {
		case <-end.C:
			again.Stop()
			require.FailNow(s.t, "waited too long", "%s; the last was: %s", limit, saw)
		case <-again.C:
		}
	}
}

// Order is one as the API shows it.
type Order struct {
	ID        string  `json:"id"`
	Number    string  `json:"number"`
	Status    string  `json:"status"`
	Attention *string `json:"attention"`
	Payments  []Payment
	Lines     []struct {
		LineID   string `json:"line_id"`
		SKU      string `json:"sku"`
		Quantity int    `json:"quantity"`
		Total    int64  `json:"total"`
	} `json:"lines"`
	Refunds   []Refund `json:"refunds"`
	Shipments []struct {
		ID     string  `json:"id"`
		Status string  `json:"status"`
		Frozen *string `json:"frozen"`
	} `json:"shipments"`
	Timeline []struct {
		Kind string `json:"kind"`
	} `json:"timeline"`
}

// Refund is one as the API shows it.
type Refund struct {
	ID             string `json:"id"`
	Status         string `json:"status"`
	Reason         string `json:"reason"`
	Amount         int64  `json:"amount"`
	Method         string `json:"method"`
	ShippingAmount int64  `json:"shipping_amount"`
	GoodwillAmount int64  `json:"goodwill_amount"`
	Lines          []struct {
		LineID   string `json:"line_id"`
		Quantity int    `json:"quantity"`
		Amount   int64  `json:"amount"`
	} `json:"lines"`
	Parts []struct {
		ID        string `json:"id"`
		PaymentID string `json:"payment_id"`
		Gateway   string `json:"gateway"`
		Amount    int64  `json:"amount"`
		Status    string `json:"status"`
		Reference string `json:"reference"`
		Method    string `json:"method"`
	} `json:"parts"`
	Failure *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"failure"`
}

// AskRefund asks for money of an order to go back; more is added to the request.
func (s *Shop) AskRefund(orderID string, more map[string]any) Answer {
	s.t.Helper()
	body := map[string]any{"order_id": orderID, "reason": "the buyer asked"}
	for k, v := range more {
		body[k] = v
	}
	return s.Call(tenant.Support, http.MethodPost, "/v1/refunds", body)
}

// Refund asks for a refund that is accepted.
func (s *Shop) Refund(orderID string, more map[string]any) Refund {
	s.t.Helper()
	a := s.AskRefund(orderID, more)
	require.Equal(s.t, http.StatusCreated, a.Status, "%s", a.Body)
	return Decode[Refund](s.t, a)
}

// AwaitRefund waits until a refund has a status.
func (s *Shop) AwaitRefund(refundID, status string) (r Refund) {
	s.t.Helper()
	s.Eventually(func() (string, bool) {
		a, err := s.Try(s.t.Context(), tenant.Support, http.MethodGet, "/v1/refunds/"+refundID, nil)
		if err != nil {
			return err.Error(), false
		}
		r = Refund{}
		if err := json.Unmarshal(a.Body, &r); err != nil || a.Status != http.StatusOK {
			return fmt.Sprint(a.Status, " ", string(a.Body)), false
		}
		return string(a.Body), r.Status == status
	})
	return r
}

// RefundRun is the workflow id of a refund.
func (s *Shop) RefundRun(refundID string) string { return s.WorkflowID(workflows.KindRefund, refundID) }

// Order reads an order.
func (s *Shop) Order(orderID string) Order {
	s.t.Helper()
	a := s.Call(tenant.Storefront, http.MethodGet, "/v1/orders/"+orderID, nil)
	require.Equal(s.t, http.StatusOK, a.Status, "%s", a.Body)
	return Decode[Order](s.t, a)
}

// Available is how many units of a SKU can be sold.
func (s *Shop) Available(sku string) int {
	s.t.Helper()
	a := s.Call(tenant.Storefront, http.MethodGet, "/v1/stock/"+sku, nil)
	require.Equal(s.t, http.StatusOK, a.Status, "%s", a.Body)
	return Decode[struct {
		Available int `json:"available"`
	}](s.t, a).Available
}

// Count sets what is on a shelf, as a warehouse does, and returns how many holds
// and orders lost units.
func (s *Shop) Count(sku, warehouse string, onHand int) (shorted int) {
	s.t.Helper()
	a := s.Call(tenant.Warehouse, http.MethodPut, "/v1/stock/"+sku, map[string]any{"warehouse": warehouse, "on_hand": onHand})
	require.Equal(s.t, http.StatusOK, a.Status, "%s", a.Body)
	return len(Decode[struct {
		Shorted []any `json:"shorted"`
	}](s.t, a).Shorted)
}

// Stuck is an item of the support list.
type Stuck struct {
	Kind       string   `json:"kind"`
	Of         string   `json:"of"`
	WorkflowID string   `json:"workflow_id"`
	Subject    string   `json:"subject"`
	Reason     string   `json:"reason"`
	Verbs      []string `json:"verbs"`
}

// Stuck reads the support list.
func (s *Shop) Stuck() []Stuck {
	s.t.Helper()
	a := s.Call(tenant.Support, http.MethodGet, "/v1/support/stuck", nil)
	require.Equal(s.t, http.StatusOK, a.Status, "%s", a.Body)
	return Decode[struct {
		Data []Stuck `json:"data"`
	}](s.t, a).Data
}

// Use has a person use a verb on a workflow.
func (s *Shop) Use(workflowID, verb string, more map[string]any) Answer {
	s.t.Helper()
	body := map[string]any{"actor": "ines", "reason": "a test"}
	for k, v := range more {
		body[k] = v
	}
	return s.Call(tenant.Support, http.MethodPost, "/v1/support/workflows/"+url.PathEscape(workflowID)+"/"+verb, body)
}

// Cancel cancels a checkout that nobody has paid, and waits until it is.
func (s *Shop) Cancel(checkoutID string) Checkout {
	s.t.Helper()
	a := s.Call(tenant.Storefront, http.MethodPost, "/v1/checkouts/"+checkoutID+"/cancel", nil)
	if a.Status == http.StatusAccepted { // not decided yet
		return s.AwaitStatus(checkoutID, "cancelled")
	}
	require.Equal(s.t, http.StatusOK, a.Status, "%s", a.Body)
	c := Decode[Checkout](s.t, a)
	require.Equal(s.t, "cancelled", c.Status)
	return c
}

// Return plays the buyer's browser coming back from a gateway.
func (s *Shop) Return(p Payment, params url.Values) Answer {
	s.t.Helper()
	a, err := s.TryReturn(s.t.Context(), p, params)
	require.NoError(s.t, err)
	return a
}

// TryReturn is Return for other goroutines than the test's.
func (s *Shop) TryReturn(ctx context.Context, p Payment, params url.Values) (Answer, error) {
	return s.Visit(ctx, "/payments/"+s.Tenant+"/"+p.Gateway+"/"+p.ID+"/return?"+params.Encode())
}

// Visit opens one of the API's pages as a browser does, without following where
// it is sent on.
func (s *Shop) Visit(ctx context.Context, path string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.APIURL+path, nil)
	if err != nil {
		return Answer{}, err
	}
	return send(req)
}
