// Package httpclient makes the HTTP clients with which the product calls
// providers. A provider's call can move money, so a client made here does
// nothing of its own accord: it repeats no request, follows no redirect, reads
// no proxy from the environment, and after a failure it can tell whether the
// request may have reached the other side.
package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Options tunes New. A zero field takes its default.
type Options struct {
	// Timeout is for one call, from dialling to the last byte of the answer
	// (default 10 s). A call that needs less passes a context with a deadline.
	Timeout time.Duration
	// DialTimeout is for the TCP connection (default 3 s).
	DialTimeout time.Duration
	// TLSTimeout is for the TLS handshake (default 5 s).
	TLSTimeout time.Duration
	// HeaderTimeout is the wait for the answer's headers once the request is
	// written (default: Timeout).
	HeaderTimeout time.Duration
	// MaxAnswer is how many bytes of an answer are read at most (default
	// 1 MiB); the read after them fails with ErrAnswerTooLarge.
	MaxAnswer int64
	// MaxConnsPerHost bounds the connections to one host, idle ones included
	// (default 64). A call beyond them waits, within its deadline.
	MaxConnsPerHost int
	// Allow is asked about each address before it is dialled, after names were
	// resolved; its error ends the dial and is found in that of the call. Nil
	// allows all.
	Allow func(netip.AddrPort) error
	// TLS replaces the default TLS settings (TLS 1.2 or later, the system's
	// roots).
	TLS *tls.Config
}

// ErrAnswerTooLarge is the error of reading past Options.MaxAnswer. The request
// has been received, and what it did is not known.
var ErrAnswerTooLarge = errors.New("the answer is larger than allowed")

// New returns a client with a connection pool of its own. It is safe for
// concurrent use and meant to be shared by all callers of all providers.
//
// It speaks HTTP/1.1 only: there, "nothing of the request was written" is a
// fact of one connection, while HTTP/2 may move a request to another stream.
func New(o Options) *http.Client {
	o = o.withDefaults()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: o.DialTimeout, KeepAlive: 30 * time.Second}
	if o.Allow != nil {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return o.Allow(to)
		}
	}
	transport := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        o.TLS,
		TLSHandshakeTimeout:    o.TLSTimeout,
		ResponseHeaderTimeout:  o.HeaderTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost:        o.MaxConnsPerHost,
		MaxIdleConnsPerHost:    o.MaxConnsPerHost,
		MaxIdleConns:           4 * o.MaxConnsPerHost,
		// Below the idle limit of common load balancers (60 s), so that it is
		// nearly always this side that closes: a request written to a
		// connection that dies under it has an unknown outcome.
		IdleConnTimeout: 30 * time.Second,
		Protocols:       &protocols,
	}
	return &http.Client{
		Transport: &once{next: transport, maxAnswer: o.MaxAnswer},
		Timeout:   o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 3 * time.Second
	}
	if o.TLSTimeout == 0 {
		o.TLSTimeout = 5 * time.Second
	}
	if o.HeaderTimeout == 0 {
		o.HeaderTimeout = o.Timeout
	}
	if o.MaxAnswer == 0 {
		o.MaxAnswer = 1 << 20
	}
	if o.MaxConnsPerHost == 0 {
		o.MaxConnsPerHost = 64
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return o
}

// Reached tells whether the request that ended in err may have been received.
// It is false only when a client of New certainly wrote nothing of it: the name
// did not resolve, the connection was refused or timed out, the handshake
// failed, or the context ended before a connection was free. Any other error,
// one from elsewhere included, counts as reached.
func Reached(err error) bool {
	var unsent *unsentError
	return !errors.As(err, &unsent)
}

type unsentError struct{ err error }

func (e *unsentError) Error() string { return "nothing was sent: " + e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// Exchange is what is seen of one call from outside a library that hides it.
type Exchange struct {
	// Status of the answer; 0 when there was none.
	Status int
	// Header of the answer.
	Header http.Header
}

type exchangeKey struct{}

// Observe returns a context that records the call made with it by a client of
// New, for libraries that lose the status of an answer whose body they cannot
// read. The Exchange is complete when the call has returned; a context serves
// one call at a time.
func Observe(ctx context.Context) (context.Context, *Exchange) {
	seen := &Exchange{}
	return context.WithValue(ctx, exchangeKey{}, seen), seen
}

// once sends each request at most once and remembers whether it was sent.
type once struct {
	next      http.RoundTripper
	maxAnswer int64
}

func (o *once) RoundTrip(req *http.Request) (*http.Response, error) {
	var written, connected atomic.Bool
	trace := &httptrace.ClientTrace{
		// A new connection is asked for when the transport gives up a pooled
		// one to which nothing could be written: the slate is clean again.
		GetConn: func(string) {
			written.Store(false)
			connected.Store(false)
		},
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
		// The first header field goes into the write buffer before anything is
		// flushed to the network.
		WroteHeaderField: func(string, []string) { written.Store(true) },
	}
	ctx := httptrace.WithClientTrace(req.Context(), trace)
	resp, err := o.next.RoundTrip(unrepeatable(req.WithContext(ctx)))
	if err != nil {
		// When the context ends on a free connection, another goroutine may be
		// about to write.
		if !written.Load() && (!connected.Load() || req.Context().Err() == nil) {
			return nil, &unsentError{err: err}
		}
		return nil, err
	}
	if seen, ok := req.Context().Value(exchangeKey{}).(*Exchange); ok {
		seen.Status, seen.Header = resp.StatusCode, resp.Header
	}
	resp.Body = &limited{body: resp.Body, left: o.maxAnswer}
	return resp, nil
}

// unrepeatable takes from the transport the means to send req a second time.
// net/http repeats a request that was written to a pooled connection which then
// died, when it counts as idempotent: by its method, or by an Idempotency-Key
// header (https://pkg.go.dev/net/http#Transport). The first is harmless, GETs
// have no effect. The second is ours to decide: a repeated POST would hide that
// the first one may have taken effect.
func unrepeatable(req *http.Request) *http.Request {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return req
	}
	// WithContext in RoundTrip has made a copy already.
	req.GetBody = nil
	bodyless := req.Body == nil || req.Body == http.NoBody
	if bodyless && (req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil) {
		// A body that is present, though empty, cannot be rewound.
		req.Body = io.NopCloser(strings.NewReader(""))
	}
	return req
}

// limited reads at most left bytes and fails past them, so that an endless
// answer costs no memory and a cut one is not taken for whole.
type limited struct {
	body io.ReadCloser
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if l.left <= 0 {
		n, err := l.body.Read(p[:1])
		if n > 0 {
			return 0, ErrAnswerTooLarge
		}
		return 0, err
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.body.Read(p)
	l.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read answer: %w", err)
	}
	return n, err
}

func (l *limited) Close() error { return l.body.Close() }
