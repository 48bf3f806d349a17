package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// faultSettings is what PUT /faults/{provider} sets, all of it at once.
type faultSettings struct {
	LatencyMS              int         `json:"latency_ms"`
	ErrorRate              rate        `json:"error_rate"`
	TimeoutAfterEffectRate rate        `json:"timeout_after_effect_rate"`
	DuplicateWebhooks      rate        `json:"duplicate_webhooks"`
	ReorderedWebhooks      rate        `json:"reordered_webhooks"`
	ReorderDelayMS         int         `json:"reorder_delay_ms"`
	DropWebhooks           rate        `json:"drop_webhooks"`
	Outage                 rate        `json:"outage"`
	OutageMode             string      `json:"outage_mode"`
	Seed                   *uint64     `json:"seed,omitempty"`
	Next                   []faultRule `json:"next"`
}

// faultRule asks for one fault on the next Count calls of Op.
type faultRule struct {
	Op    string    `json:"op"`
	Kind  faultKind `json:"kind"`
	Count int       `json:"count"`
	// Status and Message reword a refuse; empty leaves the provider's default.
	Status  int    `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
}

type faultKind string

const (
	faultTimeout     faultKind = "timeout_after_effect"
	faultError500    faultKind = "error_500"
	faultError503    faultKind = "error_503"
	faultRateLimited faultKind = "rate_limited"
	faultRefuse      faultKind = "refuse"
	faultCutBefore   faultKind = "cut_before"
	faultCutDuring   faultKind = "cut_during"
	faultCutAfter    faultKind = "cut_after"
	faultHold        faultKind = "hold_answer"
)

var faultKinds = []faultKind{faultTimeout, faultError500, faultError503, faultRateLimited, faultRefuse, faultCutBefore, faultCutDuring, faultCutAfter, faultHold}

// beforeActing: the provider answers with an error and does nothing.
func (k faultKind) beforeActing() bool {
	return k == faultError500 || k == faultError503 || k == faultRateLimited || k == faultRefuse
}

// rate is a probability from 0 to 1; true and false are accepted for 1 and 0.
type rate float64

func (r *rate) UnmarshalJSON(raw []byte) error {
	var on bool
	if err := json.Unmarshal(raw, &on); err == nil {
		*r = 0
		if on {
			*r = 1
		}
		return nil
	}
	var f float64
	if err := json.Unmarshal(raw, &f); err != nil || f < 0 || f > 1 {
		return fmt.Errorf("a rate is true, false or from 0 to 1, not %s", raw)
	}
	*r = rate(f)
	return nil
}

// plan is what the faults decided for one call.
type plan struct {
	latency time.Duration
	kind    faultKind
	rule    faultRule
}

// faults are one provider's. Their settings are on disk before a PUT answers;
// the state of the random source is not.
type faults struct {
	store *store
	name  string

	mu       sync.Mutex
	settings faultSettings
	source   *rand.Rand
	seed     uint64
	held     int
	heldEver int
	fired    map[faultKind]int
	calls    map[string]int // by operation, whatever became of them
	release  chan struct{}  // closed by a release, then replaced
	changed  chan struct{}  // closed when held changes, then replaced
}

func openFaults(st *store, name string, seed uint64) (*faults, error) {
	f := &faults{store: st, name: name, seed: seed, fired: map[faultKind]int{}, calls: map[string]int{}, release: make(chan struct{}), changed: make(chan struct{})}
	err := st.view(func(t *tx) { f.settings, _ = get[faultSettings](t, bucketFaults, name) })
	f.reseed()
	return f, err
}

func (f *faults) reseed() {
	seed := f.seed
	if f.settings.Seed != nil {
		seed = *f.settings.Seed
	}
	f.source = rand.New(rand.NewPCG(seed, 0x5ab0))
}

func (f *faults) set(settings faultSettings) error {
	switch {
	case settings.LatencyMS < 0 || settings.ReorderDelayMS < 0:
		return invalidInput{"a delay is not negative"}
	case !slices.Contains([]string{"", "refuse", "503"}, settings.OutageMode):
		return invalidInput{"outage_mode is refuse or 503"}
	}
	for i := range settings.Next {
		rule := &settings.Next[i]
		if rule.Op == "" {
			rule.Op = "*"
		}
		if rule.Count == 0 {
			rule.Count = 1
		}
		if rule.Count < 0 || !slices.Contains(faultKinds, rule.Kind) {
			return invalidInput{fmt.Sprintf("next[%d]: kind is one of %v and count at least 1", i, faultKinds)}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.persist(settings); err != nil {
		return err
	}
	f.settings = settings
	f.reseed()
	return nil
}

// persist runs under f.mu so that what is on disk follows the order of changes.
func (f *faults) persist(settings faultSettings) error {
	return f.store.update(func(t *tx) { put(t, bucketFaults, f.name, settings) })
}

// draw decides the faults of one call of op, and uses up a rule of next.
func (f *faults) draw(op string) (plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	p := plan{latency: time.Duration(f.settings.LatencyMS) * time.Millisecond}
	defer func() {
		if p.kind != "" {
			f.fired[p.kind]++
		}
	}()
	for i, rule := range f.settings.Next {
		if rule.Op != "*" && rule.Op != op {
			continue
		}
		settings := f.settings
		settings.Next = slices.Clone(f.settings.Next)
		if settings.Next[i].Count--; settings.Next[i].Count == 0 {
			settings.Next = slices.Delete(settings.Next, i, i+1)
		}
		if err := f.persist(settings); err != nil {
			return plan{}, err
		}
		f.settings = settings
		p.kind, p.rule = rule.Kind, rule
		return p, nil
	}
	switch {
	case f.happens(f.settings.Outage):
		p.kind = faultCutBefore
		if f.settings.OutageMode == "503" {
			p.kind = faultError503
		}
	case f.happens(f.settings.ErrorRate):
		p.kind = faultError500
	case f.happens(f.settings.TimeoutAfterEffectRate):
		p.kind = faultTimeout
	}
	return p, nil
}

// happens draws only where a rate is set, so that a seed gives the same run
// whatever other faults exist.
func (f *faults) happens(r rate) bool {
	return r > 0 && (r >= 1 || f.source.Float64() < float64(r))
}

// notice decides how an event's notification goes wrong.
type notice struct {
	drop, duplicate bool
	delay           time.Duration
}

func (f *faults) drawNotice() notice {
	f.mu.Lock()
	defer f.mu.Unlock()
	var n notice
	n.drop = f.happens(f.settings.DropWebhooks)
	n.duplicate = f.happens(f.settings.DuplicateWebhooks)
	if f.happens(f.settings.ReorderedWebhooks) {
		limit := f.settings.ReorderDelayMS
		if limit == 0 {
			limit = 1500
		}
		n.delay = time.Duration(float64(limit)*f.source.Float64()) * time.Millisecond
	}
	return n
}

// hold waits for a release; false when the caller has gone or the sandbox
// closes.
func (f *faults) hold(ctx context.Context, done <-chan struct{}) bool {
	f.mu.Lock()
	release := f.release
	f.held++
	f.heldEver++
	f.signal()
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.held--
		f.signal()
		f.mu.Unlock()
	}()
	select {
	case <-release:
		return true
	case <-ctx.Done():
		return false
	case <-done:
		return false
	}
}

// signal runs under f.mu.
func (f *faults) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// faultState is what GET /faults/{provider} answers.
type faultState struct {
	faultSettings
	Held     int               `json:"held"`
	HeldEver int               `json:"held_ever"`
	Fired    map[faultKind]int `json:"fired"`
	// Calls counts the provider's operations since the sandbox was opened.
	Calls map[string]int `json:"calls"`
}

func (f *faults) state() (faultState, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := faultState{faultSettings: f.settings, Held: f.held, HeldEver: f.heldEver, Fired: maps.Clone(f.fired), Calls: maps.Clone(f.calls)}
	if st.Next == nil {
		st.Next = []faultRule{}
	}
	return st, f.changed
}

func (s *Server) serveFaults() {
	with := func(handle func(w http.ResponseWriter, r *http.Request, f *faults)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			f, ok := s.faults[r.PathValue("provider")]
			if !ok {
				s.problem(w, http.StatusNotFound, "unknown_provider", "no such provider: "+r.PathValue("provider"))
				return
			}
			handle(w, r, f)
		}
	}
	show := func(w http.ResponseWriter, f *faults) {
		state, _ := f.state()
		s.writeJSON(w, http.StatusOK, state)
	}
	s.mux.HandleFunc("GET /faults/{provider}", with(func(w http.ResponseWriter, _ *http.Request, f *faults) { show(w, f) }))
	s.mux.HandleFunc("PUT /faults/{provider}", with(func(w http.ResponseWriter, r *http.Request, f *faults) {
		raw, ok := s.readOwn(w, r)
		if !ok {
			return
		}
		var settings faultSettings
		err := decodeOwn(raw, &settings)
		if err == nil {
			err = f.set(settings)
		}
		if err != nil {
			s.refused(w, err)
			return
		}
		show(w, f)
	}))
	s.mux.HandleFunc("DELETE /faults/{provider}", with(func(w http.ResponseWriter, _ *http.Request, f *faults) {
		if err := f.set(faultSettings{}); err != nil {
			s.fail(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	s.mux.HandleFunc("POST /faults/{provider}/release", with(func(w http.ResponseWriter, _ *http.Request, f *faults) {
		f.mu.Lock()
		released := f.held
		close(f.release)
		f.release = make(chan struct{})
		f.mu.Unlock()
		s.writeJSON(w, http.StatusOK, map[string]int{"released": released})
	}))
	s.mux.HandleFunc("GET /faults/{provider}/held", with(s.awaitHeld))
}

// awaitHeld answers when at least ?min= (1) answers are held, or after
// ?timeout_ms= (10000) with the number there is.
func (s *Server) awaitHeld(w http.ResponseWriter, r *http.Request, f *faults) {
	atLeast, err1 := intParam(r, "min", 1)
	wait, err2 := intParam(r, "timeout_ms", 10_000)
	if err1 != nil || err2 != nil {
		s.problem(w, http.StatusBadRequest, "invalid", "min and timeout_ms are whole numbers, not negative")
		return
	}
	limit := time.NewTimer(time.Duration(wait) * time.Millisecond)
	defer limit.Stop()
	for {
		state, changed := f.state()
		if state.Held >= atLeast {
			s.writeJSON(w, http.StatusOK, map[string]any{"held": state.Held, "reached": true})
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			s.writeJSON(w, http.StatusOK, map[string]any{"held": state.Held, "reached": false})
			return
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		}
	}
}

func intParam(r *http.Request, name string, otherwise int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err == nil && n < 0 {
		err = invalidInput{name + " is negative"}
	}
	return n, err
}
