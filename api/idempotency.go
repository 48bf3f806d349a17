package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"justlogistics/internal/idempotency"
	"justlogistics/internal/problem"
)

const (
	// longest is the most time that a POST may work, whatever it waits for.
	longest = 25 * time.Second
	// twinWaits is how long a request waits for another one with its key.
	twinWaits = 10 * time.Second
)

// once answers a POST. With an Idempotency-Key, the first final answer is kept
// and given to every repetition.
//
// The work goes on when the caller hangs up: what has begun is finished and its
// answer kept for the caller's next try.
func (s *Server) once(r *request, h endpoint) written {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), longest)
	defer cancel()
	r.ctx = ctx
	key := r.GetHeader("Idempotency-Key")
	if key == "" {
		return s.answer(r, h)
	}
	if !idempotency.ValidKey(key) {
		return s.problem(r.Context, problem.New(problem.Malformed, "bad_idempotency_key", "An Idempotency-Key is 1 to 255 visible ASCII characters."))
	}
	u := r.Request.URL
	path := u.Path
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	answered, err := s.take(r, idempotency.Request{Key: key, Method: http.MethodPost, Path: path, Hash: idempotency.Hash(http.MethodPost, path, r.body)})
	switch {
	case errors.Is(err, idempotency.ErrReused):
		return s.problem(r.Context, problem.New(problem.Refused, "idempotency_key_reused", "This Idempotency-Key was used for another request."))
	case errors.Is(err, idempotency.ErrInProgress):
		return s.problem(r.Context, problem.New(problem.Conflict, "idempotency_key_in_progress", "A request with this Idempotency-Key is still being worked on.").After(2*time.Second))
	case err != nil:
		return s.problem(r.Context, err)
	case answered != nil:
		body, err := s.openKept(r, answered.Body)
		if err != nil {
			return s.problem(r.Context, err)
		}
		return written{status: answered.Status, location: answered.Location, body: body, headers: map[string]string{"Idempotent-Replayed": "true"}}
	}
	return s.underClaim(r, h)
}

// take claims the key or waits for the answer of the request that has it.
func (s *Server) take(r *request, req idempotency.Request) (*idempotency.Answer, error) {
	pause := 25 * time.Millisecond
	for {
		claim, answered, err := idempotency.Take(r.ctx, s.db, r.tenant, req)
		if !errors.Is(err, idempotency.ErrInProgress) || time.Since(r.began) >= twinWaits {
			r.claim = claim
			return answered, err
		}
		select {
		case <-r.ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
		pause = min(2*pause, 250*time.Millisecond)
	}
}

// underClaim runs the handler while the lease is renewed, and keeps its answer.
func (s *Server) underClaim(r *request, h endpoint) (out written) {
	stop := s.keepClaim(r)
	defer func() {
		if cause := recover(); cause != nil {
			s.log.ErrorContext(r.ctx, "a handler panicked", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			out = s.describe(r.Context, problem.New(kindInternal, "internal_error", "Something broke on our side. The request id names it in our logs."))
		}
		stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 5*time.Second)
		defer cancel()
		body, err := s.kept(r, out)
		if err == nil {
			err = r.claim.Finish(ctx, s.db, idempotency.Answer{Status: out.status, Location: out.location, Body: body})
		}
		if err != nil {
			// The lease lapses, and a repetition finds what was begun.
			s.log.WarnContext(ctx, "an answer was not kept under its idempotency key", slog.Any("error", err))
		}
	}()
	return s.answer(r, h)
}

// sealedMark begins a kept answer that is encrypted; none begins so by itself.
const sealedMark = "sealed:"

// kept is what is stored of an answer: all of it, encrypted when it tells a secret.
func (s *Server) kept(r *request, out written) ([]byte, error) {
	if !out.secret {
		return out.body, nil
	}
	keyID, box, err := s.cfg.CredentialKeys.Seal(out.body, keptFor(r))
	if err != nil {
		return nil, fmt.Errorf("encrypt an answer: %w", err)
	}
	return append([]byte(sealedMark+keyID+":"), box...), nil
}

// openKept is what was answered.
func (s *Server) openKept(r *request, body []byte) ([]byte, error) {
	rest, sealed := bytes.CutPrefix(body, []byte(sealedMark))
	if !sealed {
		return body, nil
	}
	keyID, box, _ := bytes.Cut(rest, []byte(":"))
	clear, err := s.cfg.CredentialKeys.Open(string(keyID), box, keptFor(r))
	if err != nil {
		return nil, fmt.Errorf("open a kept answer: %w", err)
	}
	return clear, nil
}

func keptFor(r *request) []byte {
	return []byte("answer:" + r.tenant + ":" + r.GetHeader("Idempotency-Key"))
}

// keepClaim renews the lease until stop is called. When somebody else has taken
// over, the handler's context ends.
func (s *Server) keepClaim(r *request) (stop func()) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	r.ctx = ctx
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := r.claim.Renew(ctx, s.db); errors.Is(err, idempotency.ErrLost) {
				cancel(err)
				return
			} else if err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "an idempotency key's lease was not renewed", slog.Any("error", err))
			}
		}
	}()
	return func() {
		cancel(nil)
		<-done
	}
}
