package carriers_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/carriers"
	"justlogistics/internal/circuit"
	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/sandbox"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

const minimum = 4

// fleet are processes that share a database and call one carrier, Correos, which the
// sandbox plays while the test lets it answer.
type fleet struct {
	*shoptest.Shop
	t      *testing.T
	keys   *secretbox.Keyring
	rules  circuit.Options
	status atomic.Int64 // 0: act
	calls  atomic.Int64
	hold   atomic.Pointer[chan struct{}] // when set, the carrier answers once it is closed
}

func newFleet(t *testing.T, delay time.Duration) *fleet {
	t.Helper()
	f := &fleet{Shop: shoptest.New(t), t: t, rules: circuit.Options{MinCalls: minimum, Delay: delay, ReadWithin: 20 * time.Second}}
	played, err := sandbox.Open(sandbox.Options{NoSync: true})
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.calls.Add(1)
		if hold := f.hold.Load(); hold != nil {
			<-*hold
		}
		if status := int(f.status.Load()); status != 0 {
			w.WriteHeader(status)
			return
		}
		played.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, played.Close())
	})
	f.keys, err = secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	credentials, err := json.Marshal(map[string]string{"base_url": server.URL + "/correos", "token": "sandbox-token-" + shoptest.Tenant, "client_code": "sap-" + shoptest.Tenant})
	require.NoError(t, err)
	f.Do(t, func(tx pgx.Tx) error {
		return tenant.SetCredentials(t.Context(), tx, f.keys, shoptest.Tenant, string(shipping.Correos), credentials)
	})
	return f
}

// process is one more registry.
func (f *fleet) process() *carriers.Registry {
	f.t.Helper()
	r := carriers.Tuned(f.DB, f.keys, f.rules)
	f.t.Cleanup(r.Close)
	return r
}

func (f *fleet) correos(r *carriers.Registry) shipping.Carrier {
	f.t.Helper()
	c, err := r.Carrier(f.t.Context(), shoptest.Tenant, shipping.Correos)
	require.NoError(f.t, err)
	return c
}

var question = shipping.QuoteRequest{
	From: shipping.Place{Comuna: "Quilicura", Region: "RM"}, To: shipping.Place{Comuna: "Concepción", Region: "BI"},
	Method: shipping.ToDoor, Parcel: shipping.Parcel{WeightGrams: 1200, LengthMM: 300, WidthMM: 200, HeightMM: 100}, DeclaredValue: 20_000,
}

func booking() shipping.Booking {
	return shipping.Booking{
		Reference: "ABCDEFGH23456789", Number: "A-1", Service: "24", Method: shipping.ToDoor,
		From:   shipping.Place{Street: "Los Aromos", Number: "10", Comuna: "Quilicura", Region: "RM"},
		To:     shipping.Place{Street: "O'Higgins", Number: "1", Comuna: "Concepción", Region: "BI"},
		Sender: shipping.Contact{Name: "Tienda", Phone: "+56222222222", Email: "tienda@example.cl"}, Receiver: shipping.Contact{Name: "Ana Soto", Phone: "+56911111111", Email: "ana@example.cl"},
		Parcel: question.Parcel, Contents: "ropa", DeclaredValue: 20_000, Label: shipping.PDF, At: time.Now().UTC(),
	}
}

func (f *fleet) quote(r *carriers.Registry) error {
	_, err := f.correos(r).Quote(f.t.Context(), question)
	return err
}

// breaks lets a process fail until the circuit is open for all.
func (f *fleet) breaks(r *carriers.Registry) {
	f.t.Helper()
	f.status.Store(http.StatusServiceUnavailable)
	for range minimum {
		require.Equal(f.t, shipping.Unavailable, failure(f.t, f.quote(r)).Reason)
	}
	f.eventually(func() bool { return f.circuit().State == circuit.Open })
}

func failure(t require.TestingT, err error) *shipping.Failure {
	var f *shipping.Failure
	require.ErrorAs(t, err, &f)
	return f
}

func (f *fleet) leavesOut(r *carriers.Registry) bool {
	err := f.quote(r)
	return err != nil && failure(f.t, err).Code == shipping.CodeCircuitOpen
}

func (f *fleet) eventually(fn func() bool) {
	f.t.Helper()
	require.Eventually(f.t, fn, 40*time.Second, 5*time.Millisecond)
}

// circuit is what the database says of Correos.
func (f *fleet) circuit() (c circuit.Standing) {
	f.t.Helper()
	f.Do(f.t, func(tx pgx.Tx) error {
		all, err := carriers.TenantCircuits(f.t.Context(), tx, shoptest.Tenant)
		c = all[shipping.Correos]
		return err
	})
	return c
}

// told is how many calls and failures stand in the database.
func (f *fleet) told() [2]int {
	f.t.Helper()
	return [2]int{shoptest.Value[int](f.t, f.Shop, `SELECT coalesce(sum(calls), 0)::int FROM gateway_calls`), shoptest.Value[int](f.t, f.Shop, `SELECT coalesce(sum(failures), 0)::int FROM gateway_calls`)}
}

func (f *fleet) events() (kinds []string) {
	f.t.Helper()
	f.Do(f.t, func(tx pgx.Tx) error {
		list, err := timeline.Of(f.t.Context(), tx, shoptest.Tenant, carriers.Subject(shipping.Correos))
		for _, e := range list {
			kinds = append(kinds, e.Kind)
		}
		return err
	})
	return kinds
}

func TestCircuit_WhatOneProcessSeesLeavesTheCarrierOutForAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t, time.Hour)
	a, b := f.process(), f.process()
	require.NoError(t, f.quote(b), "and what b has read is fresh")
	f.breaks(a)
	f.eventually(func() bool { return f.leavesOut(b) })
	made := f.calls.Load()
	c := f.correos(b)
	_, err := c.Quote(t.Context(), question)
	require.Equal(t, shipping.Unavailable, failure(t, err).Reason)
	require.Greater(t, failure(t, err).RetryAfter, 50*time.Minute)
	_, err = c.Points(t.Context(), "Concepción", "BI")
	require.Equal(t, shipping.CodeCircuitOpen, failure(t, err).Code)
	answer, err := c.Book(t.Context(), booking(), shipping.Untried)
	require.Equal(t, shipping.CodeCircuitOpen, failure(t, err).Code)
	require.Empty(t, answer)

	all, err := b.All(t.Context(), shoptest.Tenant)
	require.NoError(t, err)
	require.Contains(t, all, shipping.Correos)
	rates, silent := shipping.Compare(t.Context(), all, question)
	require.Empty(t, rates)
	require.Equal(t, []shipping.Silent{{Carrier: shipping.Correos, Why: "circuit_open"}}, silent)
	require.Equal(t, made, f.calls.Load(), "all refused without a call")
	require.Equal(t, []string{"circuit_opened"}, f.events())
}

func TestCircuit_WhatWasBegunIsBroughtToItsEndWhileItIsOpen(t *testing.T) {
	t.Parallel()
	f := newFleet(t, time.Hour)
	r := f.process()
	f.breaks(r)
	f.status.Store(0)
	f.eventually(func() bool { return f.leavesOut(r) })
	c := f.correos(r)
	made := f.calls.Load()
	calls := func(what string) {
		t.Helper()
		require.Greater(t, f.calls.Load(), made, what)
		made = f.calls.Load()
	}
	looked, err := c.Lookup(t.Context(), shipping.Booked{Reference: booking().Reference, At: time.Now()})
	require.NoError(t, err)
	require.Equal(t, shipping.OutcomeNotFound, looked.Outcome)
	calls("asking has no effect")
	answer, err := c.Book(t.Context(), booking(), looked)
	require.NoError(t, err)
	require.Equal(t, shipping.OutcomeBooked, answer.Outcome)
	calls("it was tried before, and is ended")
	_, err = c.Track(t.Context(), []string{answer.Tracking})
	require.NoError(t, err)
	calls("parcels are followed")
	looked, err = c.Lookup(t.Context(), shipping.Booked{Reference: booking().Reference, Tracking: answer.Tracking, At: time.Now()})
	require.NoError(t, err)
	calls("asked again")
	answer, err = c.Void(t.Context(), shipping.Booked{Reference: booking().Reference, Tracking: answer.Tracking, At: time.Now()}, looked)
	require.NoError(t, err)
	require.Equal(t, shipping.OutcomeVoided, answer.Outcome)
	calls("what is not wanted is cancelled")
	require.True(t, f.leavesOut(r), "none of it closes the circuit: only a call that has leave does")
}

func TestCircuit_OneCallOfAllProcessesTriesAndClosesIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 300*time.Millisecond)
	a, b := f.process(), f.process()
	f.breaks(a)
	f.eventually(func() bool { return !f.circuit().RetryAt.After(time.Now()) })
	f.status.Store(0)
	hold := make(chan struct{})
	f.hold.Store(&hold)
	letGo := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(letGo) // a test that fails leaves nobody waiting
	made := f.calls.Load()
	var refused, begun atomic.Int64
	var all sync.WaitGroup
	for range 6 {
		c := f.correos(f.process()) // of a process that has read nothing yet
		all.Go(func() {
			if _, err := c.Quote(t.Context(), question); err == nil {
				begun.Add(1)
			} else {
				refused.Add(1)
			}
		})
	}
	f.eventually(func() bool { return refused.Load() == 5 })
	require.Equal(t, circuit.HalfOpen, f.circuit().State)
	require.Equal(t, made+1, f.calls.Load())
	letGo()
	all.Wait()
	require.EqualValues(t, 1, begun.Load())
	f.eventually(func() bool { return f.circuit().State == circuit.Closed })
	require.Equal(t, []string{"circuit_opened", "circuit_half_open", "circuit_closed"}, f.events())
	f.eventually(func() bool { return f.quote(a) == nil && f.quote(b) == nil })
}

func TestCircuit_AFailedTryOpensItAnew(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 100*time.Millisecond)
	a, b := f.process(), f.process()
	f.breaks(a)
	f.eventually(func() bool { return f.quote(b) != nil && f.circuit().Opened >= 2 })
	require.Equal(t, []string{"circuit_opened", "circuit_half_open", "circuit_opened"}, f.events()[:3])
}

func TestCircuit_WhatTheCarrierAnsweredIsNoOutage(t *testing.T) {
	t.Parallel()
	f := newFleet(t, time.Hour)
	r := f.process()
	for status, reason := range map[int64]shipping.Reason{http.StatusUnauthorized: shipping.Credentials, http.StatusTooManyRequests: shipping.RateLimited, http.StatusUnprocessableEntity: shipping.Invalid} {
		f.status.Store(status)
		for range minimum {
			require.Equal(t, reason, failure(t, f.quote(r)).Reason)
		}
	}
	f.eventually(func() bool { return f.told() == [2]int{3 * minimum, 0} })
	require.Equal(t, circuit.Closed, f.circuit().State)
}

func TestCircuit_ABookingInDoubtCounts(t *testing.T) {
	t.Parallel()
	f := newFleet(t, time.Hour)
	r := f.process()
	f.status.Store(http.StatusInternalServerError)
	for range minimum {
		answer, err := f.correos(r).Book(t.Context(), booking(), shipping.Untried)
		require.NoError(t, err)
		require.Equal(t, shipping.OutcomeUnknown, answer.Outcome)
	}
	f.eventually(func() bool { return f.circuit().State == circuit.Open })
}

func TestCircuit_ACallThatWeGaveUpSaysNothingAndADeadlineDoes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, time.Hour)
	r := f.process()
	hold := make(chan struct{})
	f.hold.Store(&hold)
	t.Cleanup(func() { close(hold) }) // nobody is left waiting
	for range 2 * minimum {
		ctx, cancel := context.WithCancel(t.Context())
		made := f.calls.Load()
		done := make(chan struct{})
		c := f.correos(r)
		go func() {
			defer close(done)
			_, _ = c.Quote(ctx, question)
		}()
		f.eventually(func() bool { return f.calls.Load() > made })
		cancel()
		<-done
	}
	for range minimum {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := f.correos(r).Quote(ctx, question)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
	}
	f.eventually(func() bool { return f.circuit().State == circuit.Open })
	require.Equal(t, [2]int{minimum, minimum}, f.told())
}

func TestCircuit_OutlivesNewCredentialsAndIsTheTenantsOwn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, time.Hour)
	f.AddTenant(t, "other")
	a := f.process()
	f.breaks(a)
	list, err := a.Circuits(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, circuit.Key{Tenant: shoptest.Tenant, Name: "correos"}, circuit.Key{Tenant: list[0].Tenant, Name: list[0].Name})
	require.EqualValues(t, 1, list[0].Opened)

	payments := gateways.New(nil, gateways.Options{Client: httpclient.New(httpclient.Options{}), DB: f.DB})
	t.Cleanup(payments.Close)
	of, err := payments.Circuits(t.Context())
	require.NoError(t, err)
	require.Empty(t, of, "a carrier is no gateway, though they stand in one table")
	f.Do(t, func(tx pgx.Tx) error {
		of, err := gateways.TenantCircuits(t.Context(), tx, shoptest.Tenant)
		require.Empty(t, of)
		return err
	})

	f.Do(t, func(tx pgx.Tx) error {
		return tenant.SetCredentials(t.Context(), tx, f.keys, shoptest.Tenant, "correos", json.RawMessage(`{"token":"new","client_code":"c"}`))
	})
	b := f.process()
	require.True(t, f.leavesOut(b), "what another process has seen, whatever the credentials")
}
