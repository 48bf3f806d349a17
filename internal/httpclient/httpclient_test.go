package httpclient_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
)

// dyingServer answers the first request of each connection and then, when a
// second request arrives on it, reads that request whole and hangs up without
// a word: the case in which net/http repeats "idempotent" requests.
func dyingServer(t *testing.T) (url string, seen *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	seen = &atomic.Int64{}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				r := bufio.NewReader(conn)
				for range 2 {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, req.Body); err != nil {
						return
					}
					if seen.Add(1) == 1 {
						if _, err := io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
							return
						}
						continue
					}
					return
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String(), seen
}

func TestClient_EffectIsNotRepeatedWhenAPooledConnectionDies(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		method string
		header string
		body   io.Reader
	}{
		"PUT without a body":                   {method: http.MethodPut},
		"PUT with a body":                      {method: http.MethodPut, body: strings.NewReader(`{}`)},
		"POST with an idempotency key":         {method: http.MethodPost, header: "Idempotency-Key", body: strings.NewReader("a=1")},
		"POST with a key and without a body":   {method: http.MethodPost, header: "Idempotency-Key"},
		"POST with an X- key":                  {method: http.MethodPost, header: "X-Idempotency-Key", body: strings.NewReader("a=1")},
		"DELETE":                               {method: http.MethodDelete},
		"DELETE with a key and without a body": {method: http.MethodDelete, header: "Idempotency-Key"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, seen := dyingServer(t)
			client := httpclient.New(httpclient.Options{Timeout: 5 * time.Second})

			first, err := http.NewRequest(http.MethodGet, url, nil)
			require.NoError(t, err)
			resp, err := client.Do(first)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())

			second, err := http.NewRequest(c.method, url, c.body)
			require.NoError(t, err)
			if c.header != "" {
				second.Header.Set(c.header, "k")
			}
			resp, err = client.Do(second)
			if resp != nil {
				require.NoError(t, resp.Body.Close())
			}
			require.Error(t, err)
			require.True(t, httpclient.Reached(err), "it was written: %v", err)
			require.EqualValues(t, 2, seen.Load(), "sent once")
		})
	}
}

func TestClient_BodylessEffectIsSentWithoutChunking(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r }))
	t.Cleanup(server.Close)
	req, err := http.NewRequest(http.MethodPut, server.URL, nil)
	require.NoError(t, err)
	resp, err := httpclient.New(httpclient.Options{}).Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	r := <-got
	require.Empty(t, r.TransferEncoding)
	require.EqualValues(t, 0, r.ContentLength)
}

func TestReached_TellsWhetherAnythingWasSent(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { <-hang }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(hang) })
	tlsServer := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(tlsServer.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := "http://" + closed.Addr().String()
	require.NoError(t, closed.Close())
	cut, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = cut.Close() })
	go func() {
		for {
			conn, err := cut.Accept()
			if err != nil {
				return
			}
			// Takes the request's first byte, then hangs up.
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()
	// A handshake that is never answered.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = mute.Close() })

	cases := map[string]struct {
		url     string
		options httpclient.Options
		ctx     func(context.Context) (context.Context, context.CancelFunc)
		reached bool
	}{
		"connection refused":      {url: refused},
		"name does not resolve":   {url: "http://no-such-host.invalid"},
		"certificate not trusted": {url: tlsServer.URL},
		"handshake times out": {
			url:     "https://" + mute.Addr().String(),
			options: httpclient.Options{TLSTimeout: 50 * time.Millisecond},
		},
		"cut after the first byte": {url: "http://" + cut.Addr().String(), reached: true},
		"no answer in time": {
			url:     slow.URL,
			options: httpclient.Options{Timeout: 50 * time.Millisecond},
			reached: true,
		},
		"no headers in time": {
			url:     slow.URL,
			options: httpclient.Options{HeaderTimeout: 50 * time.Millisecond},
			reached: true,
		},
		"the caller's deadline passes": {
			url: slow.URL,
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 50*time.Millisecond)
			},
			reached: true,
		},
		"the caller's context has ended before": {
			url: slow.URL,
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return ctx, cancel
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if c.ctx != nil {
				ctx, cancel = c.ctx(ctx)
			}
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader("{}"))
			require.NoError(t, err)
			resp, err := httpclient.New(c.options).Do(req)
			if resp != nil {
				require.NoError(t, resp.Body.Close())
			}
			require.Error(t, err)
			require.Equal(t, c.reached, httpclient.Reached(err), "%v", err)
		})
	}
}

func TestReached_AWaitForAFreeConnectionSendsNothing(t *testing.T) {
	t.Parallel()
	hang, entered := make(chan struct{}), make(chan struct{}, 2)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-hang
	}))
	t.Cleanup(server.Close)
	client := httpclient.New(httpclient.Options{MaxConnsPerHost: 1})
	done := make(chan error, 1)
	go func() {
		resp, err := client.Get(server.URL)
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	<-entered

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, server.URL, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	if resp != nil {
		require.NoError(t, resp.Body.Close())
	}
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, httpclient.Reached(err))

	close(hang)
	require.NoError(t, <-done)
}

func TestClient_LargeAnswerIsCutWithAnError(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", int(r.ContentLength)))
	}))
	t.Cleanup(server.Close)
	client := httpclient.New(httpclient.Options{MaxAnswer: 1000})
	read := func(size int) (int, error) {
		resp, err := client.Post(server.URL, "text/plain", strings.NewReader(strings.Repeat("x", size)))
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		body, err := io.ReadAll(resp.Body)
		return len(body), err
	}

	n, err := read(1000)
	require.NoError(t, err)
	require.Equal(t, 1000, n)

	n, err = read(1001)
	require.ErrorIs(t, err, httpclient.ErrAnswerTooLarge)
	require.True(t, httpclient.Reached(err))
	require.Equal(t, 1000, n)
}

func TestClient_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	resp, err := httpclient.New(httpclient.Options{}).Post(server.URL, "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusTemporaryRedirect, resp.StatusCode)
	require.EqualValues(t, 1, calls.Load())
}

func TestClient_TakesTLSSettings(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	client := httpclient.New(httpclient.Options{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	resp, err := client.Get(server.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 1, resp.ProtoMajor)
}

func TestObserve_ShowsTheStatusOfAnAnswerNobodyRead(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	ctx, seen := httpclient.Observe(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	require.NoError(t, err)
	resp, err := httpclient.New(httpclient.Options{}).Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, seen.Status)
	require.Equal(t, "7", seen.Header.Get("Retry-After"))
}

func TestNew_AsksBeforeItDialsAnAddress(t *testing.T) {
	t.Parallel()
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	forbidden := errors.New("not there")
	var asked []netip.AddrPort
	client := httpclient.New(httpclient.Options{Allow: func(to netip.AddrPort) error {
		asked = append(asked, to)
		return forbidden
	}})
	_, err := client.Get(server.URL)
	require.ErrorIs(t, err, forbidden)
	require.False(t, httpclient.Reached(err))
	require.False(t, reached)
	require.Equal(t, server.Listener.Addr().String(), asked[0].String())
}
