package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options configure a sandbox. The zero value serves tests: state in a
// temporary folder, real time, no notifications.
type Options struct {
	// Dir holds the state; empty means a temporary folder that Close removes.
	Dir string
	// PublicURL is the sandbox's own address as a browser sees it, without a
	// slash at the end; empty means that of each request.
	PublicURL string
	// Logger takes one line per API call and notification; nil discards them.
	Logger *slog.Logger
	// Clock is the sandbox's time for whatever a provider dates or lets lapse;
	// nil is time.Now. Waits and back-offs are real.
	Clock func() time.Time
	// NoSync leaves out the fsync of each write: fast, and lost with a crash of
	// the machine (not of the process).
	NoSync bool
	// StripeWebhookURL and StripeWebhookSecret are where the events of an
	// account go that has no configuration of its own; {tenant} stands for the
	// account's tenant, the part of its key after sk_test_sandbox_. An empty
	// URL sends none; an empty secret is whsec_sandbox_{tenant}.
	StripeWebhookURL    string
	StripeWebhookSecret string
	// WebhookBackoff is the wait after the first failed delivery (default
	// 500 ms); each further one doubles it, up to WebhookBackoffLimit (30 s).
	WebhookBackoff      time.Duration
	WebhookBackoffLimit time.Duration
	// AnswerLimit is how long a call that is never answered keeps its
	// connection (default 120 s); then it is closed.
	AnswerLimit time.Duration
	// MailAddr is where Run catches mail by SMTP, host:port; not at all when empty.
	MailAddr string
	// Seed of the faults' draws until a PUT sets another.
	Seed uint64
}

// Server is a running sandbox. Serve its Handler, then Close it.
type Server struct {
	opts      Options
	log       *slog.Logger
	now       func() time.Time
	store     *store
	providers map[string]provider
	carriers  map[string]api
	texts     api
	couriers  map[string]*courier // of the providers that notify
	faults    map[string]*faults
	browser   *http.Client
	mux       *http.ServeMux
	stop      context.CancelFunc
	done      <-chan struct{}
	running   sync.WaitGroup
}

// api is the side of a stand-in that merchants' servers call.
type api interface {
	// name is the gateway's or carrier's name in the ledger and the first part of
	// its paths.
	name() string
	// buckets of the state file that are its own.
	buckets() []string
	// route finds the API call's operation; an empty op is a path that the
	// provider does not have, answered by act and left alone by faults.
	route(c *call) endpoint
	// fault is the provider's own wording of an error that a fault asks for.
	fault(kind faultKind, rule faultRule) reply

	// configure stores what PUT /config sends and answers what now holds.
	configure(t *tx, raw []byte) (any, error)
	// configuration answers what GET /config asks for.
	configuration(t *tx, query url.Values) (any, error)
	// start runs the provider's own clockwork until ctx ends; it returns at once.
	start(ctx context.Context, running *sync.WaitGroup) error
}

// provider is the stand-in of a payment gateway. A new one is one file and one line
// in Open.
type provider interface {
	api
	// hosted adds the pages to which the merchant sends the browser.
	hosted(mux *http.ServeMux)

	// page tells what the buyer sees of the payment with this key.
	page(t *tx, key string) (page, bool)
	// step lets the buyer act; errPageClosed when the page does not allow it.
	step(t *tx, key string, in stepInput) (stepResult, error)
	// returnAs builds the browser's return after step without taking it.
	returnAs(t *tx, key string, step buyerStep) (browserReturn, error)
	// refundByHand refunds amount (0: the rest) as the provider's panel would.
	refundByHand(t *tx, key string, amount int64) (ledgerRefund, error)
}

// endpoint is an API call that was found.
type endpoint struct {
	op string
	// enter runs before any delay and may refuse; leave runs when the effect
	// is durable, before the answer is written or withheld. May be nil.
	enter func() (leave func(), refused *reply)
	act   func() reply
}

// call is an API request, read whole.
type call struct {
	method string
	path   string // below the provider's base
	header http.Header
	query  url.Values
	body   []byte
	base   string // the sandbox's public URL
}

// reply is an answer not yet sent: faults decide whether it ever is.
type reply struct {
	status int
	header http.Header
	body   []byte
}

const bodyLimit = 1 << 20

// Open opens or creates the state and starts the clockwork (notifications,
// expiries). A state that another process has open is an error.
func Open(opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.WebhookBackoff <= 0 {
		opts.WebhookBackoff = 500 * time.Millisecond
	}
	if opts.WebhookBackoffLimit <= 0 {
		opts.WebhookBackoffLimit = 30 * time.Second
	}
	if opts.AnswerLimit <= 0 {
		opts.AnswerLimit = 120 * time.Second
	}
	if opts.StripeWebhookSecret == "" {
		opts.StripeWebhookSecret = "whsec_sandbox_{tenant}"
	}
	opts.PublicURL = strings.TrimRight(opts.PublicURL, "/")
	st, err := openStore(opts.Dir, opts.NoSync)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		opts:      opts,
		log:       opts.Logger,
		now:       func() time.Time { return opts.Clock().UTC() },
		store:     st,
		providers: map[string]provider{},
		carriers:  map[string]api{},
		couriers:  map[string]*courier{},
		faults:    map[string]*faults{},
		browser: &http.Client{
			Timeout:       30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second},
		},
		mux:  http.NewServeMux(),
		stop: stop,
		done: ctx.Done(),
	}
	for _, p := range []provider{newTransbank(s), newStripe(s), newFlow(s), newKhipu(s), newMercadoPago(s)} {
		s.providers[p.name()] = p
		if err := s.open(ctx, p); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		p.hosted(s.mux)
	}
	for _, c := range []api{newChilexpress(s), newBluexpress(s), newCorreos(s), newStarken(s)} {
		s.carriers[c.name()] = c
		if err := s.open(ctx, c); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	s.texts = newTwilio(s)
	if err := s.open(ctx, s.texts); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.openMailbox(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.moveParcels(ctx)
	s.serveParcels()
	s.serveBuyer()
	s.serveFaults()
	s.serveLedger()
	s.serveDisputes()
	s.serveConfig()
	s.serveDeliveries()
	s.serveMailbox()
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		s.writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	return s, nil
}

// open readies a stand-in: its faults, its part of the state, its clockwork, its
// paths.
func (s *Server) open(ctx context.Context, p api) error {
	f, err := openFaults(s.store, p.name(), s.opts.Seed)
	if err != nil {
		return err
	}
	s.faults[p.name()] = f
	mine := p.buckets()
	if s.couriers[p.name()] != nil {
		mine = append(mine, deliveriesOf(p.name()), postedOf(p.name()))
	}
	if err := s.store.makeBuckets(mine); err != nil {
		return err
	}
	if c := s.couriers[p.name()]; c != nil {
		if err := c.start(ctx, &s.running); err != nil {
			return err
		}
	}
	if err := p.start(ctx, &s.running); err != nil {
		return err
	}
	s.mux.HandleFunc("/"+p.name()+"/", s.serveAPI(p))
	return nil
}

// Handler serves everything the package's documentation lists.
func (s *Server) Handler() http.Handler { return s.mux }

// Close cuts the answers that are held, stops the clockwork, and closes the
// state. What was answered before is on disk.
func (s *Server) Close() error {
	s.stop()
	s.running.Wait()
	s.browser.CloseIdleConnections()
	return s.store.close()
}

// Run serves a sandbox on addr until ctx ends. Its PublicURL defaults to
// http://addr. An address that is taken is an error that names it.
func Run(ctx context.Context, addr string, opts Options) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("sandbox: listen on %s: %w", addr, err)
	}
	if opts.PublicURL == "" {
		opts.PublicURL = "http://" + listener.Addr().String()
	}
	var mailListener net.Listener
	if opts.MailAddr != "" {
		if mailListener, err = net.Listen("tcp", opts.MailAddr); err != nil {
			return errors.Join(fmt.Errorf("sandbox: listen for mail on %s: %w", opts.MailAddr, err), listener.Close())
		}
	}
	s, err := Open(opts)
	if err != nil {
		if mailListener != nil {
			err = errors.Join(err, mailListener.Close())
		}
		return errors.Join(err, listener.Close())
	}
	if mailListener != nil {
		s.ServeMail(mailListener)
	}
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	s.log.Info("sandbox listens", "url", opts.PublicURL)
	select {
	case err = <-failed:
		return errors.Join(fmt.Errorf("sandbox: %w", err), s.Close())
	case <-ctx.Done():
	}
	s.stop() // held answers are cut, else Shutdown would wait for them
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	return errors.Join(err, s.Close())
}

// serveAPI answers a provider's API calls, through its faults.
func (s *Server) serveAPI(p api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil {
			s.problem(w, http.StatusRequestEntityTooLarge, "body_too_large", "the body could not be read or is over 1 MiB")
			return
		}
		c := &call{
			method: r.Method,
			path:   strings.TrimPrefix(r.URL.Path, "/"+p.name()),
			header: r.Header,
			query:  r.URL.Query(),
			body:   body,
			base:   s.base(r),
		}
		ep := p.route(c)
		if ep.op == "" {
			s.send(w, ep.act())
			return
		}
		plan, err := s.faults[p.name()].draw(ep.op)
		if err != nil {
			s.fail(w, err)
			return
		}
		if plan.kind != "" {
			s.log.Info("fault", "provider", p.name(), "op", ep.op, "kind", plan.kind)
		}
		answer, deliver := s.perform(r.Context(), p, ep, plan)
		s.log.Debug("call", "provider", p.name(), "op", ep.op, "status", answer.status)
		if !deliver {
			panic(http.ErrAbortHandler) // closes the connection without an answer
		}
		if plan.kind == faultCutDuring {
			s.sendHalf(w, answer)
		}
		s.send(w, answer)
	}
}

// perform carries out a call under a fault; false means that the caller gets
// no answer.
func (s *Server) perform(ctx context.Context, p api, ep endpoint, plan plan) (reply, bool) {
	if plan.kind == faultCutBefore {
		return reply{}, false
	}
	leave := func() {}
	if ep.enter != nil {
		entered, refused := ep.enter()
		if refused != nil {
			return *refused, true
		}
		leave = entered
	}
	var answer reply
	awake := s.pause(plan.latency)
	switch {
	case !awake:
	case plan.kind.beforeActing():
		answer = p.fault(plan.kind, plan.rule)
	default:
		answer = ep.act()
	}
	leave()
	if !awake {
		return reply{}, false
	}
	switch plan.kind {
	case faultCutAfter:
		return answer, false
	case faultTimeout:
		limit := time.NewTimer(s.opts.AnswerLimit)
		defer limit.Stop()
		select {
		case <-ctx.Done():
		case <-s.done:
		case <-limit.C:
		}
		return answer, false
	case faultHold:
		return answer, s.faults[p.name()].hold(ctx, s.done)
	}
	return answer, true
}

// pause waits d although the caller may have given up: a slow provider acts
// all the same. False when the sandbox closes.
func (s *Server) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.done:
		return false
	}
}

func (s *Server) base(r *http.Request) string {
	if s.opts.PublicURL != "" {
		return s.opts.PublicURL
	}
	return "http://" + r.Host
}

func (s *Server) send(w http.ResponseWriter, answer reply) {
	for name, values := range answer.header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.status)
	if _, err := w.Write(answer.body); err != nil {
		s.log.Debug("answer not delivered", "error", err)
	}
}

// sendHalf begins an answer and closes the connection in the middle of it.
func (s *Server) sendHalf(w http.ResponseWriter, answer reply) {
	w.Header().Set("Content-Length", strconv.Itoa(len(answer.body)+1))
	answer.body = answer.body[:len(answer.body)/2]
	s.send(w, answer)
	if err := http.NewResponseController(w).Flush(); err != nil {
		s.log.Debug("answer not delivered", "error", err)
	}
	panic(http.ErrAbortHandler)
}

// writeJSON answers one of the sandbox's own endpoints.
func (s *Server) writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		s.fail(w, err)
		return
	}
	s.send(w, reply{status: status, header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body: append(raw, '\n')})
}

// problem is an error of one of the sandbox's own endpoints.
func (s *Server) problem(w http.ResponseWriter, status int, code, message string) {
	s.writeJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

// fail answers for a state that cannot be read or written.
func (s *Server) fail(w http.ResponseWriter, err error) {
	s.log.Error("sandbox state", "error", err)
	s.problem(w, http.StatusInternalServerError, "sandbox_state", err.Error())
}

// refused answers 400 for a mistake of whoever drives the sandbox, 404 or 409
// for a payment that is not there or not in that state, else 500.
func (s *Server) refused(w http.ResponseWriter, err error) {
	var invalid invalidInput
	switch {
	case errors.As(err, &invalid):
		s.problem(w, http.StatusBadRequest, "invalid", invalid.message)
	case errors.Is(err, errNotFound):
		s.problem(w, http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, errPageClosed), errors.Is(err, errNotRefundable), errors.Is(err, errNotDisputable), errors.Is(err, errParcelOver):
		s.problem(w, http.StatusConflict, "conflict", err.Error())
	default:
		s.fail(w, err)
	}
}

// readOwn reads the JSON body of one of the sandbox's own endpoints; false
// when it answered already.
func (s *Server) readOwn(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		s.problem(w, http.StatusRequestEntityTooLarge, "body_too_large", err.Error())
		return nil, false
	}
	return raw, true
}

// decodeOwn decodes strictly: a misspelled field of a test's fault or
// configuration must not pass unnoticed.
func decodeOwn(raw []byte, v any) error {
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return invalidInput{fmt.Sprintf("body: %v", err)}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return invalidInput{"body: more than one JSON value"}
	}
	return nil
}

// invalidInput is a mistake of whoever drives the sandbox; it answers 400.
type invalidInput struct{ message string }

func (e invalidInput) Error() string { return e.message }

// serveConfig adds PUT and GET /config/{provider}.
func (s *Server) serveConfig() {
	answer := func(w http.ResponseWriter, err, refused error, v any) {
		if err = errors.Join(err, refused); err != nil {
			s.refused(w, err)
			return
		}
		s.writeJSON(w, http.StatusOK, v)
	}
	s.mux.HandleFunc("PUT /config/{provider}", func(w http.ResponseWriter, r *http.Request) {
		p, raw, ok := s.configured(w, r)
		if !ok {
			return
		}
		var v any
		var refused error
		err := s.store.update(func(t *tx) { v, refused = p.configure(t, raw) })
		answer(w, err, refused, v)
	})
	s.mux.HandleFunc("GET /config/{provider}", func(w http.ResponseWriter, r *http.Request) {
		p, _, ok := s.configured(w, r)
		if !ok {
			return
		}
		var v any
		var refused error
		err := s.store.view(func(t *tx) { v, refused = p.configuration(t, r.URL.Query()) })
		answer(w, err, refused, v)
	})
}

func (s *Server) configured(w http.ResponseWriter, r *http.Request) (api, []byte, bool) {
	p, ok := s.carriers[r.PathValue("provider")]
	if gateway, is := s.providers[r.PathValue("provider")]; is {
		p, ok = gateway, true
	}
	if !ok {
		s.problem(w, http.StatusNotFound, "unknown_provider", "no such provider: "+r.PathValue("provider"))
		return nil, nil, false
	}
	raw, ok := s.readOwn(w, r)
	return p, raw, ok
}

// randomText is n characters of alphabet, unguessable.
func randomText(n int, alphabet string) string {
	raw := make([]byte, n)
	rand.Read(raw) // never fails: it ends the program instead
	for i, b := range raw {
		raw[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(raw)
}

const (
	hexDigits    = "0123456789abcdef"
	digits       = "0123456789"
	alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
