package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	stripeName       = "stripe"
	stripeAPIVersion = "2023-10-16"
	sandboxKeyPrefix = "sk_test_sandbox_"
)

var (
	stripeKey    = regexp.MustCompile(`^sk_test_[A-Za-z0-9_-]{1,200}$`)
	tenantInName = regexp.MustCompile(`[^A-Za-z0-9_-]`)
)

// stripe is Stripe's API of version 2023-10-16 for hosted Checkout in payment
// mode: sessions, payment intents, charges, refunds, events and signed
// webhooks. Shapes and texts: docs.stripe.com/api and the public source of
// github.com/stripe/stripe-go v76.25.0. Each test key is an account of its own.
//
// Where Stripe publishes nothing the sandbox chose: the smallest amounts
// (minimumAmount) and the fee (processingFee); an intent of a session that
// expires is canceled with reason automatic; refunds succeed at once unless
// PUT /config says pending; only lower-case currencies pass.
type stripe struct {
	s *Server

	mu       sync.Mutex
	inFlight map[string]bool // account/idempotency key

	courier *courier
}

func newStripe(s *Server) *stripe {
	p := &stripe{s: s, inFlight: map[string]bool{}}
	p.courier = newCourier(s, p)
	return p
}

// The buckets of its state.
const (
	bucketSessions      = "stripe_sessions"
	bucketIntents       = "stripe_intents"
	bucketStripeCharges = "stripe_charges"
	bucketStripeRefunds = "stripe_refunds"
	bucketEvents        = "stripe_events"
	bucketTimeline      = "stripe_timeline" // kind/account/sequence -> id
	bucketOpenSessions  = "stripe_open"     // expires_at/id -> id
	bucketIdempotency   = "stripe_idempotency"

	bucketStripeDisputes = "stripe_disputes"
	bucketStripeReviews  = "stripe_reviews"
	bucketStripeHolds    = "stripe_holds" // capture_before/charge -> intent
)

func (*stripe) buckets() []string {
	return []string{
		bucketSessions, bucketIntents, bucketStripeCharges, bucketStripeRefunds, bucketEvents, bucketTimeline, bucketOpenSessions, bucketIdempotency,
		bucketStripeDisputes, bucketStripeReviews, bucketStripeHolds,
	}
}

func (p *stripe) name() string { return stripeName }

func (p *stripe) start(ctx context.Context, running *sync.WaitGroup) error {
	running.Add(1)
	go func() {
		defer running.Done()
		p.runClock(ctx)
	}()
	return nil
}

// stripeAccountConfig is an account's webhook endpoint. PUT /config/stripe
// sets the account of secret_key, or of every account that has none of its own
// when secret_key is absent; {tenant} is replaced as in Options.
type stripeAccountConfig struct {
	SecretKey     string `json:"secret_key,omitempty"`
	Account       string `json:"account,omitempty"`
	WebhookURL    string `json:"webhook_url"`
	WebhookSecret string `json:"webhook_secret"`
	// Events are the types sent; empty means the default set.
	Events []string `json:"events"`
	// Refunds is what a refund is at first: succeeded (unless said) or pending,
	// as where the buyer's bank takes its time.
	Refunds string `json:"refunds,omitempty"`
}

var defaultEvents = []string{
	"checkout.session.completed", "checkout.session.expired", "payment_intent.payment_failed",
	"charge.captured", "charge.expired", "charge.refunded", "charge.refund.updated",
	"charge.dispute.created", "charge.dispute.closed", "review.opened", "review.closed",
}

// accountOf names a key's account: acct_sandbox_demo for sk_test_sandbox_demo.
func accountOf(key string) string {
	return "acct_" + strings.TrimPrefix(key, "sk_test_")
}

func configKey(account string) string { return stripeName + "/" + account }

func (p *stripe) configure(t *tx, raw []byte) (any, error) {
	var c stripeAccountConfig
	if err := decodeOwn(raw, &c); err != nil {
		return nil, err
	}
	switch {
	case c.SecretKey != "" && !stripeKey.MatchString(c.SecretKey):
		return nil, invalidInput{"secret_key begins with sk_test_"}
	case c.SecretKey != "" && c.Account != "" && c.Account != accountOf(c.SecretKey):
		return nil, invalidInput{"the account of this key is " + accountOf(c.SecretKey)}
	case c.Refunds != "" && c.Refunds != "succeeded" && c.Refunds != "pending":
		return nil, invalidInput{"refunds is succeeded or pending"}
	case c.WebhookURL != "" && !isWebURL(strings.ReplaceAll(c.WebhookURL, "{tenant}", "x")):
		return nil, invalidInput{"webhook_url is an http or https URL"}
	}
	if c.SecretKey != "" {
		c.Account = accountOf(c.SecretKey)
	}
	c.SecretKey = ""
	put(t, bucketConfig, configKey(c.Account), c)
	return p.webhook(t, c.Account), nil
}

func (p *stripe) configuration(t *tx, query url.Values) (any, error) {
	account := query.Get("account")
	if key := query.Get("secret_key"); key != "" {
		account = accountOf(key)
	}
	return p.webhook(t, account), nil
}

// webhook is where an account's events go: its own configuration, else that of
// all, else the Options.
func (p *stripe) webhook(t *tx, account string) stripeAccountConfig {
	c, own := get[stripeAccountConfig](t, bucketConfig, configKey(account))
	if !own {
		c, own = get[stripeAccountConfig](t, bucketConfig, configKey(""))
	}
	if !own {
		c = stripeAccountConfig{WebhookURL: p.s.opts.StripeWebhookURL}
	}
	if c.WebhookSecret == "" {
		c.WebhookSecret = p.s.opts.StripeWebhookSecret
	}
	if len(c.Events) == 0 {
		c.Events = defaultEvents
	}
	if account != "" {
		tenant := strings.TrimPrefix(account, accountOf(sandboxKeyPrefix))
		c.WebhookURL = strings.ReplaceAll(c.WebhookURL, "{tenant}", url.PathEscape(tenant))
		c.WebhookSecret = strings.ReplaceAll(c.WebhookSecret, "{tenant}", tenantInName.ReplaceAllString(tenant, "_"))
	}
	c.Account = account
	return c
}

// request is one call of an account.
type request struct {
	*call
	id      string // req_..., in every answer
	account string
	form    *formNode // of the body, or of the query of a GET
	// arg is the id in the path.
	arg string
}

// handler carries out a call inside one transaction: it checks everything
// before it writes anything.
type handler func(t *tx, r *request) (map[string]any, *stripeError)

// operation is one endpoint.
type operation struct {
	op     string
	method string
	path   string // {} stands for an id
	shape  *shape
	handle handler
}

func (p *stripe) operations() []operation {
	expandOnly := hash(map[string]*shape{"expand": texts})
	paging := func(names ...string) *shape {
		s := hash(map[string]*shape{"limit": nil, "starting_after": nil, "ending_before": notHere, "expand": texts,
			"created": hash(map[string]*shape{"gt": nil, "gte": nil, "lt": nil, "lte": nil})})
		for _, name := range names {
			s.fields[name] = nil
		}
		return s
	}
	return []operation{
		{"create_session", http.MethodPost, "/v1/checkout/sessions", sessionShape, p.createSession},
		{"list_sessions", http.MethodGet, "/v1/checkout/sessions", paging("payment_intent", "status").with("customer", "customer_details", "payment_link", "subscription"), p.listSessions},
		{"get_session", http.MethodGet, "/v1/checkout/sessions/{}", expandOnly, p.getSession},
		{"expire_session", http.MethodPost, "/v1/checkout/sessions/{}/expire", expandOnly, p.expireSession},
		{"search_intents", http.MethodGet, "/v1/payment_intents/search", hash(map[string]*shape{"query": nil, "limit": nil, "page": notHere, "expand": texts}), p.searchIntents},
		{"list_intents", http.MethodGet, "/v1/payment_intents", paging().with("customer"), p.listIntents},
		{"get_intent", http.MethodGet, "/v1/payment_intents/{}", hash(map[string]*shape{"expand": texts}).with("client_secret"), p.getIntent},
		{"capture_intent", http.MethodPost, "/v1/payment_intents/{}/capture", captureShape, p.captureIntent},
		{"cancel_intent", http.MethodPost, "/v1/payment_intents/{}/cancel", hash(map[string]*shape{"cancellation_reason": nil, "expand": texts}), p.cancelIntent},
		{"create_refund", http.MethodPost, "/v1/refunds", refundShape, p.createRefund},
		{"list_refunds", http.MethodGet, "/v1/refunds", paging("payment_intent", "charge"), p.listRefunds},
		{"get_refund", http.MethodGet, "/v1/refunds/{}", expandOnly, p.getRefund},
		{"list_charges", http.MethodGet, "/v1/charges", paging("payment_intent").with("customer", "transfer_group"), p.listCharges},
		{"get_charge", http.MethodGet, "/v1/charges/{}", expandOnly, p.getCharge},
		{"list_disputes", http.MethodGet, "/v1/disputes", paging("payment_intent", "charge"), p.listDisputes},
		{"get_dispute", http.MethodGet, "/v1/disputes/{}", expandOnly, p.getDispute},
		{"get_review", http.MethodGet, "/v1/reviews/{}", expandOnly, p.getReview},
		{"approve_review", http.MethodPost, "/v1/reviews/{}/approve", expandOnly, p.approveReview},
		{"list_events", http.MethodGet, "/v1/events", paging("type").with("types", "delivery_success"), p.listEvents},
		{"get_event", http.MethodGet, "/v1/events/{}", expandOnly, p.getEvent},
		{"get_account", http.MethodGet, "/v1/account", expandOnly, p.getAccount},
	}
}

// matches compares a path with a pattern and yields the id in it.
func matches(pattern, path string) (string, bool) {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return "", false
	}
	arg := ""
	for i := range want {
		switch {
		case want[i] == "{}" && have[i] != "":
			arg = have[i]
		case want[i] != have[i]:
			return "", false
		}
	}
	return arg, true
}

func (p *stripe) route(c *call) endpoint {
	r := &request{call: c, id: "req_" + randomText(14, alphanumeric)}
	for _, o := range p.operations() {
		arg, ok := matches(o.path, c.path)
		if !ok || o.method != c.method {
			continue
		}
		r.arg = arg
		return endpoint{
			op:    o.op,
			enter: func() (func(), *reply) { return p.enter(o, r) },
			act:   func() reply { return p.act(o, r) },
		}
	}
	return endpoint{act: func() reply {
		if refused := p.authenticate(r); refused != nil {
			return p.finish(r, refused.reply())
		}
		return p.finish(r, (&stripeError{status: http.StatusNotFound, message: fmt.Sprintf(
			"Unrecognized request URL (%s: %s). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.", c.method, c.path)}).reply())
	}}
}

// enter checks the key, the version and the parameters, and takes the
// idempotency key: what is refused here was not executed, so no key keeps it.
func (p *stripe) enter(o operation, r *request) (func(), *reply) {
	refused := p.authenticate(r)
	if refused == nil {
		refused = p.read(o, r)
	}
	if refused != nil {
		answer := p.finish(r, refused.reply())
		return nil, &answer
	}
	key := r.header.Get("Idempotency-Key")
	if o.method != http.MethodPost || key == "" {
		return func() {}, nil
	}
	if len(key) > 255 {
		answer := p.finish(r, (&stripeError{kind: "idempotency_error", message: "Idempotency-Key is longer than 255 characters."}).reply())
		return nil, &answer
	}
	lock := r.account + "/" + key
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight[lock] {
		answer := p.finish(r, (&stripeError{status: http.StatusConflict, kind: "idempotency_error", code: "idempotency_key_in_use",
			message: "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through): " +
				key + ". Please try again later."}).reply())
		return nil, &answer
	}
	p.inFlight[lock] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.inFlight, lock)
	}, nil
}

func (p *stripe) authenticate(r *request) *stripeError {
	header := r.header.Get("Authorization")
	scheme, key, _ := strings.Cut(header, " ")
	key = strings.TrimSpace(key)
	if strings.EqualFold(scheme, "Basic") {
		basic := http.Request{Header: r.header}
		key, _, _ = basic.BasicAuth()
	}
	switch {
	case key == "":
		return &stripeError{status: http.StatusUnauthorized, message: "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/."}
	case !stripeKey.MatchString(key):
		return &stripeError{status: http.StatusUnauthorized, message: "Invalid API Key provided: " + maskKey(key)}
	}
	r.account = accountOf(key)
	if connected := r.header.Get("Stripe-Account"); connected != "" && connected != r.account {
		return &stripeError{status: http.StatusForbidden, code: "account_invalid",
			message: fmt.Sprintf("The provided key '%s' does not have access to account '%s' (or that account does not exist). Application access may have been revoked.", maskKey(key), connected)}
	}
	if version := r.header.Get("Stripe-Version"); version != "" && version != stripeAPIVersion {
		return &stripeError{message: "Invalid Stripe API version: " + version}
	}
	return nil
}

func maskKey(key string) string {
	if len(key) <= 12 {
		return strings.Repeat("*", len(key))
	}
	return key[:8] + strings.Repeat("*", len(key)-12) + key[len(key)-4:]
}

// read parses and checks the parameters.
func (p *stripe) read(o operation, r *request) *stripeError {
	encoded := r.query.Encode()
	if o.method == http.MethodPost {
		media, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
		if len(r.body) > 0 && !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
			return &stripeError{message: "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have any questions, we can help at https://support.stripe.com/."}
		}
		encoded = string(r.body)
	}
	form, refused := parseForm(encoded)
	if refused == nil {
		refused = form.check(o.shape)
	}
	r.form = form
	return refused
}

// act executes the call. A POST with an idempotency key is executed once: its
// answer is stored in the transaction of its effect, and sent again after a
// restart too.
func (p *stripe) act(o operation, r *request) reply {
	key := r.header.Get("Idempotency-Key")
	if o.method != http.MethodPost {
		key = ""
	}
	var answer reply
	execute := func(t *tx) {
		if key != "" {
			var known bool
			if answer, known = p.replay(t, r, key); known {
				return
			}
		}
		object, refused := o.handle(t, r)
		answer = stripeJSON(http.StatusOK, object)
		if refused != nil {
			answer = refused.reply()
		}
		if key != "" && (refused == nil || refused.executed) {
			p.remember(t, r, key, answer)
		}
	}
	var err error
	if o.method == http.MethodGet {
		err = p.s.store.view(execute)
	} else {
		err = p.s.store.update(execute)
	}
	if err != nil {
		p.s.log.Error("sandbox state", "provider", stripeName, "error", err)
		answer = p.fault(faultError500, faultRule{})
	}
	return p.finish(r, answer)
}

// keptAnswer is the first answer to an idempotency key.
type keptAnswer struct {
	Path      string    `json:"path"`
	Params    string    `json:"params"` // hash
	RequestID string    `json:"request_id"`
	Status    int       `json:"status"`
	Body      []byte    `json:"body"`
	At        time.Time `json:"at"`
}

// keptFor is how long a key holds at least (docs.stripe.com/api/idempotent_requests).
const keptFor = 24 * time.Hour

func (p *stripe) replay(t *tx, r *request, key string) (reply, bool) {
	kept, found := get[keptAnswer](t, bucketIdempotency, r.account+"/"+key)
	if !found || p.s.now().Sub(kept.At) > keptFor {
		return reply{}, false
	}
	advice := "Try using a key other than '" + key + "' if you meant to execute a different request."
	switch {
	case kept.Path != r.path:
		return (&stripeError{kind: "idempotency_error", message: fmt.Sprintf(
			"Keys for idempotent requests can only be used for the same endpoint they were first used for ('%s' vs '%s'). %s", r.path, kept.Path, advice)}).reply(), true
	case kept.Params != paramsHash(r.form):
		return (&stripeError{kind: "idempotency_error", message: "Keys for idempotent requests can only be used with the same parameters they were first used with. " + advice}).reply(), true
	}
	answer := reply{status: kept.Status, header: http.Header{"Content-Type": {"application/json"}}, body: kept.Body}
	answer.header.Set("Idempotent-Replayed", "true")
	answer.header.Set("Original-Request", kept.RequestID)
	return answer, true
}

func (p *stripe) remember(t *tx, r *request, key string, answer reply) {
	put(t, bucketIdempotency, r.account+"/"+key, keptAnswer{
		Path: r.path, Params: paramsHash(r.form), RequestID: r.id, Status: answer.status, Body: answer.body, At: p.s.now(),
	})
}

func paramsHash(form *formNode) string {
	sum := sha256.Sum256([]byte(form.canonical()))
	return hex.EncodeToString(sum[:])
}

// finish adds the headers of every answer.
func (p *stripe) finish(r *request, answer reply) reply {
	answer.header.Set("Request-Id", r.id)
	answer.header.Set("Stripe-Version", stripeAPIVersion)
	if key := r.header.Get("Idempotency-Key"); key != "" {
		answer.header.Set("Idempotency-Key", key)
	}
	return answer
}

// stripeJSON writes an object as the API does, indented by two blanks.
func stripeJSON(status int, v any) reply {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"error":{"type":"api_error","message":"An unknown error occurred"}}`)
	}
	return reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: raw}
}

func (p *stripe) fault(kind faultKind, rule faultRule) reply {
	e := &stripeError{status: http.StatusInternalServerError, kind: "api_error", message: "An unknown error occurred"}
	switch kind {
	case faultError503:
		e.status = http.StatusServiceUnavailable
	case faultRateLimited:
		e = &stripeError{status: http.StatusTooManyRequests, code: "rate_limit", message: "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."}
	case faultRefuse:
		e = &stripeError{status: rule.Status, message: "This request was refused."}
		if rule.Message != "" {
			e.message = rule.Message
		}
	}
	answer := e.reply()
	answer.header.Set("Request-Id", "req_"+randomText(14, alphanumeric))
	return answer
}
