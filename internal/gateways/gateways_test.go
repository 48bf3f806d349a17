package gateways_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

const (
	tenant  = "demo"
	oldKey  = "old-key"
	newKey  = "new-key"
	webpay  = `{"token":"01ab69087c923abf08331e7bc42b4af10140f2d3f2e54e53d7ae01aebe6ddc52","url":"https://webpay3gint.transbank.cl/webpayserver/initTransaction"}`
	delay   = 100 * time.Millisecond
	minimum = 4
)

// bundle is a registry over one provider, whose key and mood the test sets.
type bundle struct {
	*gateways.Registry
	loads, calls atomic.Int64
	status       atomic.Int64 // 0: act
	key          atomic.Value // the key that the provider takes
	url          string

	mu          sync.Mutex
	credentials []byte
	version     int64
	err         error
}

func setup(t *testing.T, recheck time.Duration) *bundle {
	t.Helper()
	b := &bundle{}
	b.key.Store(oldKey)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.calls.Add(1)
		switch status := int(b.status.Load()); {
		case status != 0:
			w.WriteHeader(status)
		case r.Header.Get("Tbk-Api-Key-Secret") != b.key.Load():
			w.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = io.WriteString(w, webpay)
		}
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	b.set(oldKey)
	b.Registry = gateways.New(func(_ context.Context, tenant string, name payment.Name) ([]byte, int64, error) {
		b.loads.Add(1)
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.err != nil || tenant == "nobody" {
			return nil, 0, errors.Join(b.err, gateways.ErrNotConfigured)
		}
		return b.credentials, b.version, nil
	}, gateways.Options{
		Client: httpclient.New(httpclient.Options{}), Recheck: recheck, MinCalls: minimum, Delay: delay,
	})
	return b
}

func (b *bundle) set(apiKey string) {
	raw, err := json.Marshal(map[string]string{"base_url": b.url, "commerce_code": "597055555532", "api_key": apiKey})
	if err != nil {
		panic(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.credentials, b.version = raw, b.version+1
}

func (b *bundle) begin(t *testing.T) (payment.Answer, error) {
	t.Helper()
	g, err := b.Gateway(t.Context(), tenant, payment.Transbank)
	require.NoError(t, err)
	return g.Begin(t.Context(), intent(), payment.Untried)
}

// state is that of the only circuit.
func (b *bundle) state(t *testing.T) gateways.State {
	t.Helper()
	list, err := b.Circuits(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, payment.Transbank, list[0].Gateway)
	return list[0].State
}

func intent() payment.Intent {
	return payment.Intent{PaymentID: id.New(), Amount: 1000, Currency: money.CLP, ReturnURL: "https://shop.example/return"}
}

func class(t *testing.T, err error) payment.Class {
	t.Helper()
	var f *payment.Failure
	require.ErrorAs(t, err, &f)
	return f.Class
}

func TestAdapters_AreThoseOfThisBuild(t *testing.T) {
	t.Parallel()
	require.ElementsMatch(t, payment.Names(), gateways.Adapters())
}

func TestCheck_TellsWhetherCredentialsCanWorkAndNamesNoSecret(t *testing.T) {
	t.Parallel()
	require.NoError(t, gateways.Check(payment.Transbank, []byte(`{"commerce_code":"597055555532","api_key":"k"}`)))
	require.NoError(t, gateways.Check(payment.Stripe, []byte(`{"secret_key":"sk_test_sandbox_demo","webhook_secret":"whsec_sandbox_demo"}`)))
	require.ErrorIs(t, gateways.Check("paypal", []byte(`{}`)), gateways.ErrNotConfigured)
	for _, text := range []string{`{"commerce_code":"1","api_key":"secret-77"}`, `{"commerce_code":"597055555532","api_key":"secret-77 x"}`, `"secret-77"`, `{"api_key":"secret-77`, `secret-77`} {
		err := gateways.Check(payment.Transbank, []byte(text))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret-77")
	}
}

func TestGateway_WithoutCredentialsOrAdapterIsNotConfigured(t *testing.T) {
	t.Parallel()
	b := setup(t, time.Hour)
	_, err := b.Gateway(t.Context(), "nobody", payment.Transbank)
	require.ErrorIs(t, err, gateways.ErrNotConfigured)
	_, err = b.Gateway(t.Context(), tenant, "paypal")
	require.ErrorIs(t, err, gateways.ErrNotConfigured)
	require.EqualValues(t, 1, b.loads.Load())

	_, err = b.Gateway(t.Context(), tenant, payment.Stripe)
	require.ErrorIs(t, err, gateways.ErrNotConfigured, "credentials of another shape")
}

func TestGateway_ReadsCredentialsSeldomAndAgainWhenTheyChange(t *testing.T) {
	t.Parallel()
	b := setup(t, 50*time.Millisecond)
	_, err := b.begin(t)
	require.NoError(t, err)
	require.LessOrEqual(t, b.loads.Load(), int64(2))

	b.key.Store(newKey)
	b.set(newKey)
	require.Eventually(t, func() bool {
		_, err := b.begin(t)
		return err == nil
	}, 5*time.Second, 10*time.Millisecond)

	b.mu.Lock()
	b.err = errors.New("database away")
	b.mu.Unlock()
	require.Eventually(t, func() bool {
		_, err := b.Gateway(t.Context(), tenant, payment.Transbank)
		return err != nil
	}, 5*time.Second, 10*time.Millisecond)
}

func TestGateway_RefusedCredentialsAreReadAgainAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, time.Hour)
	_, err := b.begin(t)
	require.NoError(t, err)

	b.key.Store(newKey)
	_, err = b.begin(t)
	require.Equal(t, payment.ClassCredentials, class(t, err), "nothing newer is there: the refusal stands")
	require.EqualValues(t, 2, b.calls.Load())

	b.set(newKey)
	a, err := b.begin(t)
	require.NoError(t, err, "within the same call, an hour before the next look")
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.EqualValues(t, 4, b.calls.Load())
}

func TestCircuit_OpensRefusesToBeginAndLetsOneThroughLater(t *testing.T) {
	t.Parallel()
	b := setup(t, time.Hour)
	require.False(t, b.Open(t.Context(), tenant, payment.Transbank), "unused")
	b.status.Store(http.StatusServiceUnavailable)
	for range minimum {
		_, err := b.begin(t)
		require.Equal(t, payment.ClassUnavailable, class(t, err))
	}
	require.True(t, b.Open(t.Context(), tenant, payment.Transbank))
	require.False(t, b.Open(t.Context(), "other", payment.Transbank))
	require.Equal(t, gateways.Open, b.state(t))

	made := b.calls.Load()
	_, err := b.begin(t)
	var f *payment.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, "circuit_open", f.Code)
	require.Positive(t, f.RetryAfter)
	require.Equal(t, made, b.calls.Load(), "refused without a call")

	g, err := b.Gateway(t.Context(), tenant, payment.Transbank)
	require.NoError(t, err)
	_, err = g.Lookup(t.Context(), payment.Attempt{Reference: "x"})
	require.Error(t, err)
	require.Equal(t, made+1, b.calls.Load(), "questions about money always pass")

	require.Eventually(t, func() bool { return !b.Open(t.Context(), tenant, payment.Transbank) }, 5*time.Second, 5*time.Millisecond)
	require.Equal(t, gateways.HalfOpen, b.state(t))
	_, err = b.begin(t)
	require.Error(t, err)
	require.True(t, b.Open(t.Context(), tenant, payment.Transbank), "still away")

	b.status.Store(0)
	require.Eventually(t, func() bool {
		_, err := b.begin(t)
		return err == nil
	}, 5*time.Second, 5*time.Millisecond)
	require.Equal(t, gateways.Closed, b.state(t))
}

func TestCircuit_CountsDoubtsAndNotRefusals(t *testing.T) {
	t.Parallel()
	b := setup(t, time.Hour)
	for _, status := range []int64{http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusUnprocessableEntity} {
		b.status.Store(status)
		for range minimum {
			_, err := b.begin(t)
			require.Error(t, err)
		}
		require.False(t, b.Open(t.Context(), tenant, payment.Transbank))
	}

	doubtful := setup(t, time.Hour)
	doubtful.status.Store(http.StatusInternalServerError)
	for range minimum {
		a, err := doubtful.begin(t)
		require.NoError(t, err)
		require.Equal(t, payment.OutcomeUnknown, a.Outcome)
	}
	require.True(t, doubtful.Open(t.Context(), tenant, payment.Transbank))
}

func TestCircuit_WhatNeedsNoCallCountsForNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, time.Hour)
	b.status.Store(http.StatusServiceUnavailable)
	g, err := b.Gateway(t.Context(), tenant, payment.Transbank)
	require.NoError(t, err)
	for range minimum {
		for range 3 { // answered by the adapter itself
			_, err = g.Lookup(t.Context(), payment.Attempt{PaymentID: id.New()})
			require.NoError(t, err)
		}
		_, err = g.Begin(t.Context(), intent(), payment.Untried)
		require.Error(t, err)
	}
	require.True(t, b.Open(t.Context(), tenant, payment.Transbank))

	require.Eventually(t, func() bool { return !b.Open(t.Context(), tenant, payment.Transbank) }, 5*time.Second, 5*time.Millisecond)
	wrong := intent()
	wrong.Currency = money.USD
	for range 3 {
		_, err = g.Begin(t.Context(), wrong, payment.Untried)
		require.Equal(t, payment.ClassInvalid, class(t, err), "refused by us, each time anew: the one leave is given back")
	}
	b.status.Store(0)
	_, err = g.Begin(t.Context(), intent(), payment.Untried)
	require.NoError(t, err)
}

func TestGateway_IsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	b := setup(t, time.Nanosecond)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 10 {
				g, err := b.Gateway(context.Background(), tenant, payment.Transbank)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := g.Begin(context.Background(), intent(), payment.Untried); err != nil {
					t.Error(err)
				}
				b.set(oldKey)
				if _, err := b.Circuits(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
