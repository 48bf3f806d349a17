// Package gateways picks the adapter of a tenant's payment gateway and builds
// it from the tenant's credentials. It is the one place that knows which
// adapters exist.
package gateways

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"justlogistics/internal/circuit"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/flow"
	"justlogistics/internal/payment/khipu"
	"justlogistics/internal/payment/mercadopago"
	"justlogistics/internal/payment/stripe"
	"justlogistics/internal/payment/transbank"
	"justlogistics/internal/postgres"
)

// ErrNotConfigured: the tenant has no credentials for the gateway, or this
// build has no adapter for it.
var ErrNotConfigured = errors.New("the gateway is not configured")

// adapters is the wiring: a new provider is a new package and a line here.
var adapters = map[payment.Name]adapter{
	payment.Transbank:   build(transbank.New),
	payment.Stripe:      build(stripe.New),
	payment.MercadoPago: build(mercadopago.New),
	payment.Khipu:       build(khipu.New),
	payment.Flow:        build(flow.New),
}

// adapter makes a gateway of credentials. With strict, a field that it does not
// know is an error: somebody is about to store a misspelt one. Credentials that
// are stored already may be of another build.
type adapter func(credentials []byte, strict bool, client *http.Client) (payment.Gateway, error)

func build[C any, G payment.Gateway](create func(C, *http.Client) (G, error)) adapter {
	return func(credentials []byte, strict bool, client *http.Client) (payment.Gateway, error) {
		var cfg C
		fields := json.NewDecoder(bytes.NewReader(credentials))
		if strict {
			fields.DisallowUnknownFields()
		}
		if err := fields.Decode(&cfg); err != nil {
			// The error of encoding/json can quote what it read.
			return nil, errors.New("the credentials are not the JSON object that the gateway needs, with its fields and no others")
		}
		return create(cfg, client)
	}
}

// Adapters lists, in alphabetical order, the gateways that this build can use.
func Adapters() []payment.Name { return slices.Sorted(maps.Keys(adapters)) }

// Check tells whether credentials have the form that the gateway's adapter
// needs, without calling the provider. Its errors name no secret.
func Check(name payment.Name, credentials []byte) error {
	create, ok := adapters[name]
	if !ok {
		return fmt.Errorf("%w: no adapter for %s", ErrNotConfigured, name)
	}
	_, err := create(credentials, true, http.DefaultClient)
	return err
}

// Load reads a tenant's credentials and their version, which grows with every
// change. It returns ErrNotConfigured when there are none.
type Load func(ctx context.Context, tenant string, name payment.Name) (credentials []byte, version int64, err error)

// Options tunes a Registry. A zero field takes its default.
type Options struct {
	// Client is shared by all adapters; it must come from httpclient.New.
	Client *http.Client
	// Recheck is how long a gateway is used before its credentials' version is
	// read again (default 3 s).
	Recheck time.Duration
	// FailureRate (default 0.5) of at least MinCalls (default 10) within Window
	// (default 30 s) opens a circuit; after Delay (default 15 s) one call is
	// let through to see.
	FailureRate float64
	MinCalls    uint
	Window      time.Duration
	Delay       time.Duration
	// ReadWithin bounds how long a payment waits for the shared state of a circuit
	// (default 300 ms); after that the process judges alone.
	ReadWithin time.Duration
	// DB is where processes share what they see of the gateways; nil: each
	// judges alone.
	DB *postgres.DB
	// Logger takes each change of a circuit; nil discards them.
	Logger *slog.Logger
}

// Registry holds a gateway and a circuit for each tenant and provider. It is
// safe for concurrent use.
type Registry struct {
	load     Load
	options  Options
	now      func() time.Time
	circuits *circuit.Set

	mu      sync.Mutex
	entries map[key]*entry
}

type key struct {
	tenant string
	name   payment.Name
}

func (k key) circuit() circuit.Key { return circuit.Key{Tenant: k.tenant, Name: string(k.name)} }

// entry is one tenant's gateway.
type entry struct {
	key

	mu      sync.Mutex
	gateway payment.Gateway
	version int64
	checked time.Time
}

// New makes a Registry that reads credentials with load. Without a Client it
// panics: that is a mistake of the program's own wiring.
func New(load Load, o Options) *Registry {
	if o.Client == nil {
		panic("gateways: an HTTP client is needed")
	}
	if o.Recheck == 0 {
		o.Recheck = 3 * time.Second
	}
	names := make([]string, 0, len(payment.Names()))
	for _, name := range payment.Names() {
		names = append(names, string(name))
	}
	return &Registry{load: load, options: o, now: time.Now, entries: map[key]*entry{}, circuits: circuit.New(circuit.Options{
		Kind: kind, Names: names, Lease: beginsWithin, FailureRate: o.FailureRate, MinCalls: o.MinCalls, Window: o.Window, Delay: o.Delay, ReadWithin: o.ReadWithin, DB: o.DB, Logger: o.Logger,
	})}
}

// Gateway returns the tenant's gateway, rebuilt when the credentials have
// changed since. The one returned counts its calls for the circuit, refuses
// Begin while that is open, and, when the provider refuses its credentials,
// reads them again at once and repeats the call if they were replaced.
// ErrNotConfigured: there are none, or no adapter.
func (r *Registry) Gateway(ctx context.Context, tenant string, name payment.Name) (payment.Gateway, error) {
	if _, ok := adapters[name]; !ok {
		return nil, fmt.Errorf("%w: no adapter for %s", ErrNotConfigured, name)
	}
	e := r.entry(tenant, name)
	if _, err := r.current(ctx, e, r.options.Recheck); err != nil {
		return nil, err
	}
	return &guarded{registry: r, entry: e}, nil
}

func (r *Registry) entry(tenant string, name payment.Name) *entry {
	k := key{tenant, name}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[k]
	if e == nil {
		e = &entry{key: k}
		r.entries[k] = e
	}
	return e
}

// current is the adapter for the newest credentials, as of at most maxAge ago.
// Credentials that cannot be read are an error also when older ones are at
// hand: they may have been withdrawn.
func (r *Registry) current(ctx context.Context, e *entry, maxAge time.Duration) (payment.Gateway, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gateway != nil && r.now().Sub(e.checked) < maxAge {
		return e.gateway, nil
	}
	credentials, version, err := r.load(ctx, e.tenant, e.name)
	switch {
	case errors.Is(err, ErrNotConfigured):
		e.gateway = nil
		return nil, fmt.Errorf("%w: %s has no credentials for %s", ErrNotConfigured, e.tenant, e.name)
	case err != nil:
		return nil, fmt.Errorf("credentials of %s for %s: %w", e.tenant, e.name, err)
	}
	if e.gateway == nil || version != e.version {
		gateway, err := adapters[e.name](credentials, false, r.options.Client)
		if err != nil {
			e.gateway = nil
			return nil, fmt.Errorf("%w: credentials of %s, version %d: %w", ErrNotConfigured, e.tenant, version, err)
		}
		e.gateway, e.version = gateway, version
	}
	e.checked = r.now()
	return e.gateway, nil
}

// replaced reads the credentials again, after the provider has refused those
// of used; ok is false when they are still the same.
func (r *Registry) replaced(ctx context.Context, e *entry, used payment.Gateway) (newer payment.Gateway, ok bool) {
	newer, err := r.current(ctx, e, 0)
	return newer, err == nil && newer != used
}
