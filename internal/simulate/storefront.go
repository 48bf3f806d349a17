package simulate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// storefront talks to the API as a shop's own program would: over HTTP, with
// an idempotency key for each POST, and again with the same key when it got no
// final answer.
type storefront struct {
	base   string // without /v1
	key    string
	client *http.Client
	// person is the operator who works, in a warehouse; empty elsewhere.
	person string

	mu        sync.Mutex
	latencies []time.Duration // of each answer to POST /v1/checkouts
	answers   map[string]int  // by status, "no answer" included
}

func newStorefront(base, key string, client *http.Client) *storefront {
	return &storefront{base: base, key: key, client: client, answers: map[string]int{}}
}

// as is the same storefront with an operator at work.
func (s *storefront) as(person string) *storefront {
	out := newStorefront(s.base, s.key, s.client)
	out.person = person
	return out
}

// answer is what the API said.
type answer struct {
	status   int
	location string
	replayed bool
	retry    time.Duration // Retry-After
	body     []byte
	problem  problem
}

// problem is the body of a refusal.
type problem struct {
	Code         string     `json:"code"`
	Detail       string     `json:"detail"`
	Lines        []shortage `json:"lines"`
	Alternatives []string   `json:"alternatives"`
	Errors       []struct {
		Field, Code, Message string
	} `json:"errors"`
}

type shortage struct {
	SKU       string `json:"sku"`
	Requested int    `json:"requested"`
	Available int    `json:"available"`
}

func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

func (a answer) into(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("an answer of status %d is not what was promised: %w", a.status, err)
	}
	return nil
}

func (a answer) String() string {
	if a.problem.Code == "" {
		return strconv.Itoa(a.status)
	}
	s := fmt.Sprintf("%d %s: %s", a.status, a.problem.Code, a.problem.Detail)
	for _, e := range a.problem.Errors {
		s += fmt.Sprintf(" [%s: %s %s]", e.Field, e.Code, e.Message)
	}
	return s
}

// once makes one request. An error means that there was no answer.
func (s *storefront) once(ctx context.Context, method, path, key string, body any) (answer, error) {
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, content)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if s.person != "" {
		req.Header.Set("X-Operator", s.person)
	}
	began := time.Now()
	a, err := s.exchange(req)
	if method == http.MethodPost && path == checkoutsPath {
		s.measured(a, err, time.Since(began))
	}
	return a, err
}

const checkoutsPath = "/v1/checkouts"

func (s *storefront) exchange(req *http.Request) (answer, error) {
	res, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, location: res.Header.Get("Location"), replayed: res.Header.Get("Idempotent-Replayed") == "true", body: body}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		a.retry = time.Duration(seconds) * time.Second
	}
	if a.status >= 400 && json.Unmarshal(body, &a.problem) != nil {
		a.problem = problem{Code: "no_problem_json", Detail: clip(string(body))}
	}
	return a, nil
}

func (s *storefront) measured(a answer, err error, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.answers["no answer"]++
		return
	}
	s.answers[strconv.Itoa(a.status)]++
	s.latencies = append(s.latencies, took)
}

// insist repeats a request with the same key until it has a final answer or ctx
// ends: a stack that is being restarted answers late, not never. A gateway that
// is down is an answer for the buyer to decide on.
func (s *storefront) insist(ctx context.Context, method, path, key string, body any) (answer, error) {
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 3*time.Second) {
		a, err := s.once(ctx, method, path, key, body)
		if err == nil && final(a) {
			return a, nil
		}
		if ctx.Err() != nil {
			if err == nil {
				err = fmt.Errorf("the last answer was %s", a)
			}
			return a, fmt.Errorf("%s %s: %w", method, path, err)
		}
		if err := rest(ctx, max(pause, min(a.retry, 2*time.Second))); err != nil {
			return a, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
}

// final reports whether repeating a request would not change its answer, or is
// the buyer's to decide.
func final(a answer) bool {
	switch a.status {
	case http.StatusRequestTimeout:
		return false
	case http.StatusTooManyRequests:
		return a.problem.Code == "too_many_holds"
	case http.StatusConflict:
		return a.problem.Code != "idempotency_key_in_progress"
	case http.StatusServiceUnavailable:
		return a.problem.Code == "gateway_unavailable"
	}
	return a.status < 500
}

// get reads a resource, again while there is no answer.
func (s *storefront) get(ctx context.Context, path string, into any) error {
	a, err := s.insist(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	if !a.ok() {
		return fmt.Errorf("GET %s: %s", path, a)
	}
	return a.into(into)
}

// put sets something up; a refusal is an error.
func (s *storefront) put(ctx context.Context, path string, body any) error {
	a, err := s.insist(ctx, http.MethodPut, path, "", body)
	if err == nil && !a.ok() {
		err = fmt.Errorf("PUT %s: %s", path, a)
	}
	return err
}

// rest waits for d or for the end of ctx.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200]
	}
	return s
}
