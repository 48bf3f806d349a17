package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"justlogistics/api"
	"justlogistics/internal/carriers"
	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/stock"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

func TestMain(m *testing.M) {
	// The buyers' pages are HTML and maps are drawings: nothing to decode.
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.FileBodyDecoder)
	openapi3filter.RegisterBodyDecoder("image/svg+xml", openapi3filter.FileBodyDecoder)
	os.Exit(pgtest.Main(m))
}

const (
	shop          = "shop"
	otherShop     = "other"
	webhookSecret = "whsec_of_the_tests"
)

// bundle is one test's API on a database of its own.
type bundle struct {
	t        *testing.T
	db       *postgres.DB
	super    *pgx.Conn
	temporal *fakeTemporal
	server   *httptest.Server
	client   *http.Client
	keys     map[tenant.Scope]string
	otherKey string
	logs     *syncBuffer
	ring     *secretbox.Keyring
	registry *gateways.Registry
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func setup(t *testing.T) *bundle {
	t.Helper()
	ctx := t.Context()
	database := pgtest.New(t)
	db, err := postgres.Open(ctx, database.AppURL, postgres.Options{MaxConns: 12})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	super, err := pgx.Connect(ctx, database.SuperuserURL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, super.Close(context.Background())) })

	b := &bundle{t: t, db: db, super: super, keys: map[tenant.Scope]string{}, logs: &syncBuffer{}}
	b.temporal = &fakeTemporal{db: db, runs: map[string]bool{}}
	for _, name := range []string{shop, otherShop} {
		require.NoError(t, db.InTenant(ctx, name, func(tx pgx.Tx) error { return b.seed(ctx, tx, name) }))
	}

	registry := gateways.New(credentials, gateways.Options{Client: httpclient.New(httpclient.Options{}), DB: db})
	t.Cleanup(registry.Close)
	b.registry = registry
	b.ring, err = secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	couriers := carriers.New(db, b.ring)
	t.Cleanup(couriers.Close)
	s, err := api.New(api.Config{MetricsHere: true, PublicURL: "https://api.example", TemporalUIURL: "https://temporal.example", Namespace: "default", CredentialKeys: b.ring},
		api.Deps{DB: db, Temporal: b.temporal, Gateways: registry, Carriers: couriers, Metrics: telemetry.NewMetrics(), Logger: telemetry.Logger(b.logs, "debug")})
	require.NoError(t, err)
	b.server = httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		b.server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Close(ctx)
	})
	b.client = &http.Client{
		Transport:     checkedTransport{t: t, router: specRouter(t), base: b.server.URL},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return b
}

// credentials are those of the tests' shops: three gateways that nobody calls.
func credentials(_ context.Context, tenantID string, name payment.Name) ([]byte, int64, error) {
	if tenantID != shop {
		return nil, 0, gateways.ErrNotConfigured
	}
	switch name {
	case payment.Transbank:
		return []byte(`{"base_url":"http://127.0.0.1:1","commerce_code":"597055555532","api_key":"579B532A7440BB0C9079DED94D31EA1615BACEB56610332264630D42D0A36B1C"}`), 1, nil
	case payment.Stripe:
		return []byte(`{"base_url":"http://127.0.0.1:1","secret_key":"sk_test_of_the_tests","webhook_secret":"` + webhookSecret + `","account":"acct_1"}`), 1, nil
	case payment.Flow:
		return []byte(`{"base_url":"http://127.0.0.1:1","api_key":"key-of-the-tests","secret_key":"secret-of-the-tests"}`), 1, nil
	}
	return nil, 0, gateways.ErrNotConfigured
}

func (b *bundle) seed(ctx context.Context, tx pgx.Tx, name string) error {
	settings := tenant.Defaults(name)
	settings.AllowedOrigins = []string{"https://shop.example"}
	if err := tenant.Put(ctx, tx, tenant.Tenant{ID: name, Name: name, Settings: settings}); err != nil {
		return err
	}
	for _, scope := range tenant.Scopes {
		key, _, err := tenant.IssueKey(ctx, tx, name, string(scope), []tenant.Scope{scope}, nil)
		if err != nil {
			return err
		}
		if name == shop {
			b.keys[scope] = key
		} else {
			b.otherKey = key
		}
	}
	if name != shop {
		return nil
	}
	for _, g := range []string{"transbank", "stripe", "flow"} {
		if _, err := tx.Exec(ctx, `INSERT INTO provider_credentials (tenant, provider, key_id, box) VALUES ($1,$2,'k','x')`, name, g); err != nil {
			return err
		}
	}
	for code, region := range map[string]string{"SCL-1": "RM", "CCP-1": "BI"} {
		if _, err := catalog.PutWarehouse(ctx, tx, name, code, catalog.WarehouseInput{Name: code, Region: region}); err != nil {
			return err
		}
	}
	most := 20
	off := false
	for sku, p := range map[string]catalog.ProductInput{
		"POL-ROJO-S": {Name: "Polera roja S", Prices: []catalog.Price{{Currency: "CLP", Amount: 12990}}, WeightGrams: 250, MaxPerOrder: &most},
		"TAZA":       {Name: "Taza", Prices: []catalog.Price{{Currency: "CLP", Amount: 6990}}, WeightGrams: 350},
		"LIBRO":      {Name: "Libro", Prices: []catalog.Price{{Currency: "CLP", Amount: 9990}}, Tax: "exempt"},
		"VIEJO":      {Name: "Viejo", Prices: []catalog.Price{{Currency: "CLP", Amount: 990}}, Active: &off},
	} {
		if _, err := catalog.PutProduct(ctx, tx, name, sku, p); err != nil {
			return err
		}
		if _, err := stock.Count(ctx, tx, name, sku, "SCL-1", 20, time.Now(), "test"); err != nil {
			return err
		}
	}
	return nil
}

// answer is what the API said.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

func (a answer) json() map[string]any {
	a.t.Helper()
	var v map[string]any
	require.NoError(a.t, json.Unmarshal([]byte(a.body), &v), a.body)
	return v
}

func (a answer) code() string { code, _ := a.json()["code"].(string); return code }

func (a answer) fields() map[string]string {
	out := map[string]string{}
	list, _ := a.json()["errors"].([]any)
	for _, f := range list {
		m, _ := f.(map[string]any)
		out[m["field"].(string)] = m["code"].(string)
	}
	return out
}

// do sends a request as the holder of the admin key; headers override.
func (b *bundle) do(method, path string, body any, headers ...string) answer {
	b.t.Helper()
	a, err := b.try(method, path, body, headers...)
	require.NoError(b.t, err)
	return a
}

func (b *bundle) try(method, path string, body any, headers ...string) (answer, error) {
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	default:
		raw, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, reader)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+b.keys[tenant.Admin])
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	return answer{t: b.t, status: res.StatusCode, header: res.Header, body: string(raw)}, err
}

func as(key string) []string { return []string{"Authorization", "Bearer " + key} }

// basket is a good checkout that a test spoils.
func basket(change func(m map[string]any)) map[string]any {
	m := map[string]any{
		"items":    []any{map[string]any{"sku": "POL-ROJO-S", "quantity": 2}},
		"currency": "CLP",
		"customer": map[string]any{"name": "Ana Rojas", "email": "Ana@Example.cl", "phone": "+56961234567", "rut": "11.111.111-1"},
		"shipping": map[string]any{"street": "Av. Providencia", "number": "1234", "unit": "501", "comuna": "Providencia", "region": "RM", "country": "CL", "service": "standard"},
		"payment":  map[string]any{"gateway": "transbank", "return_url": "https://shop.example/thanks?lang=es"},
	}
	if change != nil {
		change(m)
	}
	return m
}

func (b *bundle) checkout() map[string]any {
	b.t.Helper()
	a := b.do("POST", "/v1/checkouts", basket(nil))
	require.Equal(b.t, 201, a.status, a.body)
	return a.json()
}

func (b *bundle) sql(query string, args ...any) {
	b.t.Helper()
	_, err := b.super.Exec(b.t.Context(), query, args...)
	require.NoError(b.t, err)
}

func value[T any](b *bundle, query string, args ...any) (v T) {
	b.t.Helper()
	require.NoError(b.t, b.super.QueryRow(b.t.Context(), query, args...).Scan(&v))
	return v
}

// fakeTemporal stands in for the server and the workers: it carries out the
// steps of a checkout on the real database, at once, unless a test says
// otherwise.
type fakeTemporal struct {
	db *postgres.DB

	mu      sync.Mutex
	runs    map[string]bool // open runs
	calls   []string
	started []client.StartWorkflowOptions
	signals []string
	// down makes every call fail as if the server were away.
	down bool
	// silent makes updates wait until their context ends.
	silent bool
	// begin replaces the start of a checkout's run.
	begin func(ctx context.Context, in workflows.CheckoutInput) (any, error)
	// update answers updates by their name.
	update map[string]func(ctx context.Context, workflowID string, arg any) (any, error)
	status map[string]client.WorkflowExecutionDescription
}

func (f *fakeTemporal) set(fn func(f *fakeTemporal)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(f)
}

func (f *fakeTemporal) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fakeTemporal) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

var errDown = serviceerror.NewUnavailable("nobody listens")

type fakeStart struct {
	options  client.StartWorkflowOptions
	workflow string
	input    any
}

func (fakeStart) Get(context.Context) (client.WorkflowRun, error) { return nil, nil }

func (f *fakeTemporal) NewWithStartWorkflowOperation(o client.StartWorkflowOptions, workflow any, args ...any) client.WithStartWorkflowOperation {
	return fakeStart{options: o, workflow: workflow.(string), input: args[0]}
}

func (f *fakeTemporal) state() (down, silent bool, begin func(context.Context, workflows.CheckoutInput) (any, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down, f.silent, f.begin
}

func (f *fakeTemporal) UpdateWithStartWorkflow(ctx context.Context, o client.UpdateWithStartWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	s := o.StartWorkflowOperation.(fakeStart)
	f.note("start-and-" + o.UpdateOptions.UpdateName + " " + s.options.ID)
	down, silent, begin := f.state()
	if down {
		return nil, errDown
	}
	if silent {
		<-ctx.Done()
		return nil, client.NewWorkflowUpdateServiceTimeoutOrCanceledError(ctx.Err())
	}
	f.mu.Lock()
	f.runs[s.options.ID] = true
	f.started = append(f.started, s.options)
	f.mu.Unlock()
	h := fakeHandle{workflowID: s.options.ID, updateID: o.UpdateOptions.UpdateID}
	switch s.workflow {
	case workflows.CheckoutName:
		if begin == nil {
			begin = f.beginCheckout
		}
		h.answer, h.err = begin(ctx, s.input.(workflows.CheckoutInput))
	case workflows.ReservationName:
		in := s.input.(workflows.ReservationInput)
		v, err := checkout.Reserve(ctx, f.db, in.Tenant, in.ReservationID)
		h.answer, h.err = workflows.BeginAnswer{Status: v.Status, FailureCode: v.Refused, Shortages: v.Shortages}, err
	default:
		return f.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: s.options.ID, UpdateID: o.UpdateOptions.UpdateID, UpdateName: o.UpdateOptions.UpdateName, Args: o.UpdateOptions.Args})
	}
	return h, nil
}

// beginCheckout holds the stock and pretends that the gateway gave a page.
func (f *fakeTemporal) beginCheckout(ctx context.Context, in workflows.CheckoutInput) (any, error) {
	name := payment.Transbank
	v, err := checkout.Load(ctx, f.db, in.Tenant, in.CheckoutID)
	if err != nil {
		return nil, err
	}
	if v.Requested != checkout.GatewayAuto {
		name = payment.Name(v.Requested)
	}
	if v, err = checkout.Start(ctx, f.db, in.Tenant, in.CheckoutID, name); err != nil {
		return nil, err
	}
	if v.Status == checkout.Reserving {
		err = f.db.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
			id := v.Attempts[0].PaymentID
			a := payment.Answer{Reference: "tok_" + id, Redirect: &payment.Redirect{URL: "https://gateway.example/pay", Method: "POST", Fields: map[string]string{"token_ws": "tok_" + id}}}
			if err := payment.Begun(ctx, tx, in.Tenant, id, a, payment.Capabilities{PayableFor: 5 * time.Minute}, "597055555532", false); err != nil {
				return err
			}
			return checkout.Offer(ctx, tx, in.Tenant, in.CheckoutID)
		})
		if err != nil {
			return nil, err
		}
		v, err = checkout.Load(ctx, f.db, in.Tenant, in.CheckoutID)
	}
	return workflows.BeginAnswer{Status: string(v.Status), FailureCode: v.FailureCode, Shortages: v.Shortages}, err
}

func (f *fakeTemporal) UpdateWorkflow(ctx context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	f.note(o.UpdateName + " " + o.WorkflowID + " " + o.UpdateID)
	down, silent, _ := f.state()
	f.mu.Lock()
	open, fn := f.runs[o.WorkflowID], f.update[o.UpdateName]
	f.mu.Unlock()
	switch {
	case down:
		return nil, errDown
	case !open:
		return nil, serviceerror.NewNotFound("workflow execution already completed")
	case silent:
		<-ctx.Done()
		return nil, client.NewWorkflowUpdateServiceTimeoutOrCanceledError(ctx.Err())
	case fn == nil:
		return nil, serviceerror.NewInvalidArgument("the test expects no " + o.UpdateName)
	}
	h := fakeHandle{workflowID: o.WorkflowID, updateID: o.UpdateID}
	var arg any
	if len(o.Args) > 0 {
		arg = o.Args[0]
	}
	h.answer, h.err = fn(ctx, o.WorkflowID, arg)
	return h, nil
}

func (f *fakeTemporal) SignalWorkflow(_ context.Context, workflowID, _, name string, arg any) error {
	down, _, _ := f.state()
	if down {
		return errDown
	}
	f.set(func(f *fakeTemporal) { f.signals = append(f.signals, fmt.Sprintf("%s %s %+v", name, workflowID, arg)) })
	return nil
}

func (f *fakeTemporal) signalled() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.signals...)
}

func (f *fakeTemporal) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error) {
	down, _, _ := f.state()
	if down {
		return nil, errDown
	}
	f.note(fmt.Sprintf("execute %s %s %+v", workflow, o.ID, args[0]))
	f.set(func(f *fakeTemporal) { f.runs[o.ID] = true; f.started = append(f.started, o) })
	return nil, nil
}

func (f *fakeTemporal) DescribeWorkflow(_ context.Context, workflowID, _ string) (*client.WorkflowExecutionDescription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errDown
	}
	d, known := f.status[workflowID]
	if !known {
		return nil, serviceerror.NewNotFound("no such run")
	}
	return &d, nil
}

func (f *fakeTemporal) CheckHealth(context.Context, *client.CheckHealthRequest) (*client.CheckHealthResponse, error) {
	down, _, _ := f.state()
	if down {
		return nil, errDown
	}
	return &client.CheckHealthResponse{}, nil
}

type fakeHandle struct {
	workflowID, updateID string
	answer               any
	err                  error
}

func (h fakeHandle) WorkflowID() string { return h.workflowID }
func (h fakeHandle) RunID() string      { return "run-1" }
func (h fakeHandle) UpdateID() string   { return h.updateID }

func (h fakeHandle) Get(_ context.Context, to any) error {
	if h.err != nil {
		return h.err
	}
	raw, err := json.Marshal(h.answer)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, to)
}

// checkedTransport compares every answer of the API with its description.
type checkedTransport struct {
	t      *testing.T
	router routers.Router
	base   string
}

func (c checkedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, errors.Join(err, res.Body.Close())
	}
	if err := res.Body.Close(); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	if res.Header.Get("X-Request-Id") == "" {
		c.t.Errorf("%s %s: no X-Request-Id", req.Method, req.URL.Path)
	}
	c.documented(res, body)
	// What has no route has no description: 404 and 405 of the router.
	relative := req.Clone(req.Context())
	relative.URL.Scheme, relative.URL.Host, relative.Host = "", "", ""
	route, params, err := c.router.FindRoute(relative)
	if err != nil {
		if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusMethodNotAllowed {
			c.t.Errorf("%s %s answers %d and is not described: %v", req.Method, req.URL.Path, res.StatusCode, err)
		}
		return res, nil
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: relative, PathParams: params, Route: route},
		Status:                 res.StatusCode, Header: res.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	if err := openapi3filter.ValidateResponse(req.Context(), input); err != nil {
		c.t.Errorf("%s %s answers %d against its description: %v\n%s", req.Method, req.URL.Path, res.StatusCode, err, body)
	}
	return res, nil
}

// documented wants every code of a problem in the description.
func (c checkedTransport) documented(res *http.Response, body []byte) {
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		return
	}
	var p struct {
		Code   string `json:"code"`
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	doc, err := spec()
	if err = errors.Join(err, json.Unmarshal(body, &p)); err != nil {
		c.t.Errorf("a problem can't be read: %v\n%s", err, body)
		return
	}
	known, _ := doc.Extensions["x-problem-codes"].(map[string]any)
	codes := []string{p.Code}
	for _, f := range p.Errors {
		codes = append(codes, f.Code)
	}
	for _, code := range codes {
		if _, ok := known[code]; !ok {
			c.t.Errorf("the code %q is not described", code)
		}
	}
}

var spec = sync.OnceValues(api.Spec)

func specRouter(t *testing.T) routers.Router {
	t.Helper()
	doc, err := spec()
	require.NoError(t, err)
	loaded := *doc
	loaded.Servers = openapi3.Servers{&openapi3.Server{URL: "/"}}
	router, err := gorillamux.NewRouter(&loaded)
	require.NoError(t, err)
	return router
}
