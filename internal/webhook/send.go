package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/secretbox"
)

// Timeout is how long one call may take, its answer included.
const Timeout = 15 * time.Second

// Together is how many calls one worker makes at a time.
const Together = 256

// Sender makes the calls. It is safe for concurrent use.
type Sender struct {
	ring   *secretbox.Keyring
	client *http.Client
	local  bool
}

// NewSender returns one that calls public addresses only; local lets it call any,
// for development.
func NewSender(ring *secretbox.Keyring, local bool) *Sender {
	o := httpclient.Options{Timeout: Timeout, DialTimeout: 5 * time.Second, MaxAnswer: 64 << 10, MaxConnsPerHost: Together}
	if !local {
		o.Allow = Allow
	}
	return &Sender{ring, httpclient.New(o), local}
}

// Send makes one call and tells how it ended. An error says that nothing was
// learnt about the endpoint: its secret can't be read by this process, or ctx
// ended; the delivery is to be released.
func (s *Sender) Send(ctx context.Context, c Claimed) (Result, error) {
	// What was allowed where it was written need not be so here.
	if CheckURL(c.URL, s.local) != nil {
		return Result{Problem: NotAllowed}, nil
	}
	req, err := s.request(ctx, c)
	if err != nil {
		return Result{}, err
	}
	begin := time.Now()
	answer, err := s.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		return Result{Problem: problemOf(err), Took: time.Since(begin)}, nil
	}
	defer answer.Body.Close()
	// What it says is nobody's business; reading it lets the connection be used
	// again. One that says too much has said its status.
	_, _ = io.CopyN(io.Discard, answer.Body, 16<<10)
	r := Result{Status: answer.StatusCode, Took: time.Since(begin)}
	if r.Status == http.StatusTooManyRequests || r.Status == http.StatusServiceUnavailable {
		r.RetryAfter = httpclient.RetryAfter(answer.Header, time.Now())
	}
	return r, nil
}

func (s *Sender) request(ctx context.Context, c Claimed) (*http.Request, error) {
	secrets, err := c.open(s.ring)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(c.Event)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", c.EventID, err)
	}
	now := time.Now()
	signature, err := sign(secrets, c.EventID, now, body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call of endpoint %s: %w", c.EndpointID, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "justlogistics")
	req.Header.Set("webhook-id", c.EventID)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", signature)
	return req, nil
}

// problemOf names why there was no answer, without the addresses and names that
// an error's text has.
func problemOf(err error) string {
	var timeout net.Error
	var name *net.DNSError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.Is(err, ErrAddress):
		return NotAllowed
	case errors.As(err, &name):
		return NoName
	case errors.As(err, &verify), errors.As(err, &authority), errors.As(err, &alert), errors.As(err, &record):
		return NoTLS
	case errors.As(err, &timeout) && timeout.Timeout():
		return NoAnswer
	case !httpclient.Reached(err):
		return NotReached
	}
	return BrokenOff
}
