// Package carriers picks the adapter of a tenant's carrier, builds it from the
// tenant's credentials and leaves it out while the carrier is away. It is the one
// place that knows which adapters exist.
package carriers

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

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/circuit"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/postgres"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/bluexpress"
	"justlogistics/internal/shipping/chilexpress"
	"justlogistics/internal/shipping/correos"
	"justlogistics/internal/shipping/starken"
	"justlogistics/internal/tenant"
)

// ErrNotConfigured: the tenant has no credentials for the carrier, or this build
// has no adapter for it.
var ErrNotConfigured = errors.New("the carrier is not configured")

// adapters is the wiring: a new carrier is a new package and a line here.
var adapters = map[shipping.Name]adapter{
	shipping.Chilexpress: build(chilexpress.New),
	shipping.Starken:     build(starken.New),
	shipping.Correos:     build(correos.New),
	shipping.BlueExpress: build(bluexpress.New),
}

type adapter func(credentials []byte, strict bool, client *http.Client) (shipping.Carrier, error)

func build[C any, A shipping.Carrier](create func(C, *http.Client) (A, error)) adapter {
	return func(credentials []byte, strict bool, client *http.Client) (shipping.Carrier, error) {
		var cfg C
		fields := json.NewDecoder(bytes.NewReader(credentials))
		if strict {
			fields.DisallowUnknownFields()
		}
		if err := fields.Decode(&cfg); err != nil {
			// The error of encoding/json can quote what it read.
			return nil, errors.New("the credentials are not the JSON object that the carrier needs, with its fields and no others")
		}
		return create(cfg, client)
	}
}

// Adapters lists, in alphabetical order, the carriers that this build can ask.
func Adapters() []shipping.Name { return slices.Sorted(maps.Keys(adapters)) }

// Check tells whether credentials have the form that the carrier's adapter needs,
// without calling it. Its errors name no secret.
func Check(name shipping.Name, credentials []byte) error {
	create, ok := adapters[name]
	if !ok {
		return fmt.Errorf("%w: no adapter for %s", ErrNotConfigured, name)
	}
	_, err := create(credentials, true, http.DefaultClient)
	return err
}

// recheck is how long an adapter is used before its credentials' version is read
// again.
const recheck = 3 * time.Second

// Registry holds a carrier's adapter for each tenant, with what it has learned of
// the carrier (comunas, tokens), and its circuit. It is safe for concurrent use.
type Registry struct {
	db       *postgres.DB
	keys     *secretbox.Keyring
	client   *http.Client
	circuits *circuit.Set

	mu   sync.Mutex
	kept map[key]*kept
}

type key struct {
	tenant string
	name   shipping.Name
}

type kept struct {
	mu      sync.Mutex
	carrier shipping.Carrier
	version int64
	checked time.Time
}

// New makes a Registry of the credentials that tenants have stored. Changes of
// circuits go to slog.Default. Close it when nobody calls any more.
func New(db *postgres.DB, keys *secretbox.Keyring) *Registry {
	return tuned(db, keys, circuit.Options{})
}

// tuned is New with other rules for the circuits than the usual ones.
func tuned(db *postgres.DB, keys *secretbox.Keyring, o circuit.Options) *Registry {
	o.Kind, o.Lease, o.DB, o.Logger = kind, beginsWithin, db, slog.Default()
	for _, name := range Adapters() {
		o.Names = append(o.Names, string(name))
	}
	// Carriers are slow, and some answer with a catalogue of the whole country.
	client := httpclient.New(httpclient.Options{Timeout: 30 * time.Second, MaxAnswer: 16 << 20})
	return &Registry{db: db, keys: keys, client: client, circuits: circuit.New(o), kept: map[key]*kept{}}
}

func (r *Registry) credentials(ctx context.Context, of key) (value []byte, version int64, err error) {
	err = r.db.InTenant(ctx, of.tenant, func(tx pgx.Tx) (err error) {
		value, version, err = tenant.Credentials(ctx, tx, r.keys, of.tenant, string(of.name))
		return err
	})
	switch {
	case errors.Is(err, tenant.ErrNoCredentials):
		return nil, 0, fmt.Errorf("%w: %s of tenant %s", ErrNotConfigured, of.name, of.tenant)
	case err != nil:
		return nil, 0, fmt.Errorf("credentials of %s for %s: %w", of.tenant, of.name, err)
	}
	return value, version, nil
}

// Carrier returns the tenant's adapter, built anew when the credentials have
// changed since. It counts its calls for the carrier's circuit, and while that is
// open it refuses Quote, Points and a first Book at once, with a *shipping.Failure
// of shipping.CodeCircuitOpen that says when to come again. ErrNotConfigured: there
// are no credentials, or no adapter.
func (r *Registry) Carrier(ctx context.Context, tenantID string, name shipping.Name) (shipping.Carrier, error) {
	create, ok := adapters[name]
	if !ok {
		return nil, fmt.Errorf("%w: no adapter for %s", ErrNotConfigured, name)
	}
	of := key{tenantID, name}
	k := r.of(of)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.carrier != nil && time.Since(k.checked) < recheck {
		return k.carrier, nil
	}
	credentials, version, err := r.credentials(ctx, of)
	if err != nil {
		k.carrier = nil
		return nil, err
	}
	if k.carrier == nil || version != k.version {
		adapter, err := create(credentials, false, r.client)
		if err != nil {
			k.carrier = nil
			return nil, fmt.Errorf("%w: credentials of %s, version %d: %w", ErrNotConfigured, tenantID, version, err)
		}
		k.carrier, k.version = &guarded{adapter, r.circuits, circuit.Key{Tenant: tenantID, Name: string(name)}}, version
	}
	k.checked = time.Now()
	return k.carrier, nil
}

func (r *Registry) of(of key) *kept {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept[of] == nil {
		r.kept[of] = &kept{}
	}
	return r.kept[of]
}

// All returns the adapters of every carrier that the tenant has set up, those whose
// circuit is open too: they say so when they are asked.
func (r *Registry) All(ctx context.Context, tenantID string) (map[shipping.Name]shipping.Carrier, error) {
	out := map[shipping.Name]shipping.Carrier{}
	for _, name := range Adapters() {
		c, err := r.Carrier(ctx, tenantID, name)
		switch {
		case err == nil:
			out[name] = c
		case !errors.Is(err, ErrNotConfigured):
			return nil, err
		}
	}
	return out, nil
}
