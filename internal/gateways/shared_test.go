package gateways_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/timeline"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// fleet are processes that share a database and call one provider.
type fleet struct {
	*shoptest.Shop
	t        *testing.T
	url      string
	status   atomic.Int64 // 0: act
	calls    atomic.Int64
	hold     chan struct{} // when not nil, the provider answers once it is closed
	settings gateways.Options
}

func newFleet(t *testing.T, change func(*gateways.Options)) *fleet {
	t.Helper()
	f := &fleet{Shop: shoptest.New(t), t: t}
	f.settings = gateways.Options{Client: httpclient.New(httpclient.Options{}), Recheck: time.Hour, MinCalls: minimum, Delay: 300 * time.Millisecond, DB: f.DB, ReadWithin: 20 * time.Second}
	if change != nil {
		change(&f.settings)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.calls.Add(1)
		if f.hold != nil {
			<-f.hold
		}
		if status := int(f.status.Load()); status != 0 {
			w.WriteHeader(status)
			return
		}
		_, _ = io.WriteString(w, webpay)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// process is one more registry.
func (f *fleet) process() *gateways.Registry {
	f.t.Helper()
	r := gateways.New(func(context.Context, string, payment.Name) ([]byte, int64, error) {
		raw, err := json.Marshal(map[string]string{"base_url": f.url, "commerce_code": "597055555532", "api_key": "k"})
		return raw, 1, err
	}, f.settings)
	f.t.Cleanup(r.Close)
	return r
}

func (f *fleet) begin(r *gateways.Registry) error {
	g, err := r.Gateway(f.t.Context(), shoptest.Tenant, payment.Transbank)
	if err != nil {
		return err
	}
	_, err = g.Begin(f.t.Context(), intent(), payment.Untried)
	return err
}

// breaks lets a process fail until the circuit is open for all.
func (f *fleet) breaks(r *gateways.Registry) {
	f.t.Helper()
	f.status.Store(http.StatusServiceUnavailable)
	for range minimum {
		require.Equal(f.t, payment.ClassUnavailable, class(f.t, f.begin(r)))
	}
	f.eventually(func() bool { return f.circuit().State != gateways.Closed })
}

func (f *fleet) eventually(fn func() bool) {
	f.t.Helper()
	require.Eventually(f.t, fn, 40*time.Second, 5*time.Millisecond)
}

func (f *fleet) open(r *gateways.Registry) bool {
	return r.Open(f.t.Context(), shoptest.Tenant, payment.Transbank)
}

// circuit is what the database says.
func (f *fleet) circuit() (c gateways.Circuit) {
	f.t.Helper()
	f.Do(f.t, func(tx pgx.Tx) error {
		all, err := gateways.TenantCircuits(f.t.Context(), tx, shoptest.Tenant)
		if c = all[payment.Transbank]; c.State == "" {
			c.State = gateways.Closed
		}
		return err
	})
	return c
}

func (f *fleet) events() (kinds []string) {
	f.t.Helper()
	f.Do(f.t, func(tx pgx.Tx) error {
		list, err := timeline.Of(f.t.Context(), tx, shoptest.Tenant, gateways.Subject(payment.Transbank))
		for _, e := range list {
			kinds = append(kinds, e.Kind)
		}
		return err
	})
	return kinds
}

func TestShared_WhatOneProcessSeesOpensTheCircuitForAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(o *gateways.Options) { o.Delay = time.Hour })
	a, b := f.process(), f.process()
	require.NoError(t, f.begin(b), "and what b has read is fresh")
	f.breaks(a)
	f.eventually(func() bool { return f.open(b) })
	made := f.calls.Load()
	err := f.begin(b)
	var failure *payment.Failure
	require.ErrorAs(t, err, &failure)
	require.Equal(t, "circuit_open", failure.Code)
	require.Greater(t, failure.RetryAfter, 50*time.Minute)
	require.Equal(t, made, f.calls.Load(), "refused without a call")

	g, err := b.Gateway(t.Context(), shoptest.Tenant, payment.Transbank)
	require.NoError(t, err)
	_, err = g.Lookup(t.Context(), payment.Attempt{Reference: "x"})
	require.Error(t, err)
	require.Equal(t, made+1, f.calls.Load(), "questions about money always pass")
	require.False(t, b.Open(t.Context(), shoptest.Tenant, payment.Stripe))
	require.False(t, b.Open(t.Context(), "other", payment.Transbank))
	list, err := b.Circuits(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, gateways.Open, list[0].State)
	require.EqualValues(t, 1, list[0].Opened)
	require.WithinDuration(t, time.Now().Add(time.Hour), list[0].RetryAt, time.Minute)
}

func TestShared_FailuresOfSeveralProcessesCountTogether(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(o *gateways.Options) { o.Delay = time.Hour })
	f.status.Store(http.StatusServiceUnavailable)
	for range minimum { // one call in each
		require.Error(t, f.begin(f.process()))
	}
	f.eventually(func() bool { return f.circuit().State == gateways.Open })
	require.Equal(t, []string{"circuit_opened"}, f.events())
}

func TestShared_SuccessesOfOthersKeepItClosed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	a, b := f.process(), f.process()
	for range 3 * minimum {
		require.NoError(t, f.begin(a))
	}
	f.eventually(func() bool {
		return shoptest.Value[int](t, f.Shop, `SELECT coalesce(sum(calls), 0)::int FROM gateway_calls`) == 3*minimum
	})
	f.status.Store(http.StatusServiceUnavailable)
	for range minimum {
		require.Error(t, f.begin(b))
	}
	f.eventually(func() bool {
		return shoptest.Value[int](t, f.Shop, `SELECT sum(failures)::int FROM gateway_calls`) == minimum
	})
	require.Equal(t, gateways.Closed, f.circuit().State, "%d of %d failed", minimum, 4*minimum)
}

func TestShared_EachChangeIsOneEventUnderConcurrency(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(o *gateways.Options) { o.Delay = time.Hour })
	f.status.Store(http.StatusServiceUnavailable)
	var all sync.WaitGroup
	for range 5 {
		r := f.process()
		all.Go(func() {
			for range 2 * minimum {
				_ = f.begin(r)
			}
		})
	}
	all.Wait()
	f.eventually(func() bool { return len(f.events()) > 0 })
	require.Equal(t, []string{"circuit_opened"}, f.events())
	require.EqualValues(t, 1, f.circuit().Opened)
}

func TestShared_OneCallOfAllProcessesTriesAndClosesIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	a, b := f.process(), f.process()
	f.breaks(a)
	require.False(t, f.circuit().RetryAt.IsZero())
	f.eventually(func() bool { return !f.circuit().RetryAt.After(time.Now()) })
	f.eventually(func() bool { return !f.open(a) && !f.open(b) })
	f.status.Store(0)
	f.hold = make(chan struct{})
	letGo := sync.OnceFunc(func() { close(f.hold) })
	t.Cleanup(letGo) // a test that fails leaves nobody waiting
	made := f.calls.Load()
	var refused, begun atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if f.begin([]*gateways.Registry{a, b}[i%2]) == nil {
				begun.Add(1)
			} else {
				refused.Add(1)
			}
		})
	}
	f.eventually(func() bool { return refused.Load() == 19 })
	require.Equal(t, gateways.HalfOpen, f.circuit().State)
	require.True(t, f.open(a), "the others go elsewhere")
	require.True(t, f.open(b))
	letGo()
	all.Wait()
	require.EqualValues(t, 1, begun.Load())
	require.Equal(t, made+1, f.calls.Load())
	f.eventually(func() bool { return f.circuit().State == gateways.Closed })
	require.Equal(t, []string{"circuit_opened", "circuit_half_open", "circuit_closed"}, f.events())
	f.eventually(func() bool { return f.begin(a) == nil && f.begin(b) == nil })
}

func TestShared_AFailedTryOpensItAnewAndWhatNeedsNoCallGivesTheLeaveBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	a, b := f.process(), f.process()
	f.breaks(a)
	f.eventually(func() bool { return payment.ClassUnavailable == class(t, f.begin(b)) && f.circuit().Opened == 2 })
	require.Equal(t, []string{"circuit_opened", "circuit_half_open", "circuit_opened"}, f.events())

	wrong := intent()
	wrong.Currency = "USD"
	g, err := b.Gateway(t.Context(), shoptest.Tenant, payment.Transbank)
	require.NoError(t, err)
	f.eventually(func() bool { // refused by us, once its leave is there
		_, err := g.Begin(t.Context(), wrong, payment.Untried)
		return class(t, err) == payment.ClassInvalid
	})
	f.eventually(func() bool {
		return shoptest.Value[bool](t, f.Shop, `SELECT probe IS NULL AND state = 'half_open' FROM gateway_circuits`)
	})
	f.status.Store(0)
	f.eventually(func() bool { return f.begin(a) == nil })
	f.eventually(func() bool { return f.circuit().State == gateways.Closed })
	require.Equal(t, []string{"circuit_opened", "circuit_half_open", "circuit_opened", "circuit_half_open", "circuit_closed"}, f.events())
}

func TestShared_ALeaveWhoseProcessDiedLapses(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	a := f.process()
	f.breaks(a)
	f.Exec(t, `UPDATE gateway_circuits SET state = 'half_open', probe = 'of the dead', probe_until = now() + interval '1 hour'`)
	f.status.Store(0)
	b := f.process()
	require.Equal(t, payment.ClassUnavailable, class(t, f.begin(b)))
	f.Exec(t, `UPDATE gateway_circuits SET probe_until = now()`)
	f.eventually(func() bool { return f.begin(b) == nil })
	f.eventually(func() bool { return f.circuit().State == gateways.Closed })
}

func TestShared_RefusedCredentialsAreNoOutage(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	a := f.process()
	f.status.Store(http.StatusUnauthorized)
	for range 2 * minimum {
		require.Equal(t, payment.ClassCredentials, class(t, f.begin(a)))
	}
	f.eventually(func() bool {
		return shoptest.Value[int](t, f.Shop, `SELECT coalesce(sum(calls), 0)::int FROM gateway_calls`) == 2*minimum
	})
	require.Equal(t, gateways.Closed, f.circuit().State)
	require.Empty(t, f.events())
}

func TestShared_WithoutTheDatabaseEachJudgesAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(o *gateways.Options) { o.Delay = time.Hour })
	a, b := f.process(), f.process()
	f.DB.Close()
	require.NoError(t, f.begin(a), "a payment is not held up")
	f.status.Store(http.StatusServiceUnavailable)
	for range minimum {
		require.Error(t, f.begin(a))
	}
	require.True(t, f.open(a))
	require.False(t, f.open(b))
	_, err := a.Circuits(t.Context())
	require.Error(t, err)
}

func TestShared_ACallThatWeGaveUpSaysNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(o *gateways.Options) { o.DB = nil })
	f.hold = make(chan struct{})
	letGo := sync.OnceFunc(func() { close(f.hold) })
	t.Cleanup(letGo) // nobody is left waiting, whether the test passes or fails
	r := f.process()
	g, err := r.Gateway(t.Context(), shoptest.Tenant, payment.Transbank)
	require.NoError(t, err)
	for range 2 * minimum {
		ctx, cancel := context.WithCancel(t.Context())
		made := f.calls.Load()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = g.Begin(ctx, intent(), payment.Untried)
		}()
		f.eventually(func() bool { return f.calls.Load() > made })
		cancel()
		<-done
	}
	require.False(t, f.open(r))
}
