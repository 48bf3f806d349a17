package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Faults says how badly the providers behave during a run.
type Faults string

// The levels of faults.
const (
	NoFaults    Faults = "none"
	LightFaults Faults = "light"
	HeavyFaults Faults = "heavy"
)

// settings is what the sandbox is told, in its own words.
type settings struct {
	LatencyMS    int           `json:"latency_ms"`
	ErrorRate    float64       `json:"error_rate"`
	TimeoutRate  float64       `json:"timeout_after_effect_rate"`
	Duplicate    float64       `json:"duplicate_webhooks"`
	Reordered    float64       `json:"reordered_webhooks"`
	Drop         float64       `json:"drop_webhooks"`
	Outage       bool          `json:"outage"`
	Seed         uint64        `json:"seed"`
	OutageLength time.Duration `json:"-"`
}

var levels = map[Faults]settings{
	LightFaults: {LatencyMS: 40, ErrorRate: 0.02, TimeoutRate: 0.01, Duplicate: 0.1, Reordered: 0.1, Drop: 0.05, OutageLength: time.Second},
	HeavyFaults: {LatencyMS: 120, ErrorRate: 0.08, TimeoutRate: 0.04, Duplicate: 0.3, Reordered: 0.3, Drop: 0.2, OutageLength: 3 * time.Second},
}

// FaultKinds are the faults whose occurrence the sandbox counts. Duplicated and
// reordered notifications are set too; nobody counts them.
func FaultKinds() []string {
	return []string{"error_500", "timeout_after_effect", "outage", "dropped_webhook"}
}

// trouble makes the providers misbehave from start to end, with a short outage
// of each in turn.
type trouble struct {
	world     *world
	providers []string
	level     settings
	before    map[string]int
	done      chan struct{}
	stop      context.CancelFunc
	failed    error
}

// begin sets the faults and, over the time in which buyers arrive, the outages.
func (w *world) begin(ctx context.Context, level Faults, providers []string, seed uint64, arrivals time.Duration) (*trouble, error) {
	t := &trouble{world: w, providers: providers, done: make(chan struct{})}
	var err error
	if t.before, err = t.count(ctx); err != nil {
		return nil, err
	}
	t.level = levels[level]
	t.level.Seed = seed
	ctx, t.stop = context.WithCancel(ctx)
	if level == NoFaults {
		close(t.done)
		return t, nil
	}
	for _, p := range providers {
		if err := t.set(ctx, p, false); err != nil {
			t.stop()
			close(t.done)
			return t, err
		}
	}
	go t.outages(ctx, arrivals)
	return t, nil
}

func (t *trouble) set(ctx context.Context, provider string, outage bool) error {
	s := t.level
	s.Outage = outage
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return t.world.want(ctx, http.MethodPut, "/faults/"+provider, string(raw), nil)
}

// outages takes each provider away once while buyers arrive.
func (t *trouble) outages(ctx context.Context, arrivals time.Duration) {
	defer close(t.done)
	gap := arrivals / time.Duration(len(t.providers)+1)
	for _, p := range t.providers {
		if rest(ctx, gap) != nil {
			return
		}
		if err := t.set(ctx, p, true); err != nil {
			t.failed = errors.Join(t.failed, err)
			continue
		}
		if rest(ctx, t.level.OutageLength) != nil {
			return // end clears it
		}
		if err := t.set(ctx, p, false); err != nil && ctx.Err() == nil {
			t.failed = errors.Join(t.failed, err)
		}
	}
}

// end clears all faults, also when ctx has ended, and says which occurred.
func (t *trouble) end(ctx context.Context) (map[string]int, error) {
	t.stop()
	<-t.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	failed := []error{t.failed}
	after, err := t.count(ctx)
	failed = append(failed, err)
	for _, p := range t.providers {
		failed = append(failed, t.clear(ctx, p))
	}
	for kind := range after {
		after[kind] -= t.before[kind]
	}
	return after, errors.Join(failed...)
}

// clear insists: a sandbox that is being restarted would come back with them.
func (t *trouble) clear(ctx context.Context, provider string) error {
	for {
		err := t.world.want(ctx, http.MethodDelete, "/faults/"+provider, "", nil)
		if err == nil {
			return nil
		}
		if rest(ctx, 500*time.Millisecond) != nil {
			return fmt.Errorf("the faults of %s could not be cleared (curl -X DELETE %s/faults/%s): %w", provider, t.world.base, provider, err)
		}
	}
}

// count reads how often each kind of fault has occurred so far.
func (t *trouble) count(ctx context.Context) (map[string]int, error) {
	n := map[string]int{}
	for _, kind := range FaultKinds() {
		n[kind] = 0
	}
	for _, p := range t.providers {
		var state struct {
			Fired map[string]int `json:"fired"`
		}
		if err := t.world.want(ctx, http.MethodGet, "/faults/"+p, "", &state); err != nil {
			return nil, fmt.Errorf("faults of %s: %w", p, err)
		}
		for kind, fired := range state.Fired {
			// An outage cuts the connection before the provider acts.
			if kind == "cut_before" {
				kind = "outage"
			}
			if _, known := n[kind]; known {
				n[kind] += fired
			}
		}
		var sent struct {
			Dropped int `json:"dropped"`
		}
		if err := t.world.want(ctx, http.MethodGet, "/deliveries/"+p, "", &sent); err != nil {
			return nil, fmt.Errorf("notifications of %s: %w", p, err)
		}
		n["dropped_webhook"] += sent.Dropped
	}
	return n, nil
}

// ParseFaults reads a level of faults.
func ParseFaults(s string) (Faults, error) {
	f := Faults(s)
	if !slices.Contains([]Faults{NoFaults, LightFaults, HeavyFaults}, f) {
		return "", fmt.Errorf("faults are none, light or heavy, not %q", s)
	}
	return f, nil
}
