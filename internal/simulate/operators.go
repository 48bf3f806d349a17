package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// command is one thing that an operator did, as its scanner sends it.
type command struct {
	ID              string    `json:"id"`
	Seq             int64     `json:"seq"`
	Kind            string    `json:"kind"`
	Task            string    `json:"task,omitempty"`
	ExpectedVersion int64     `json:"expected_version,omitempty"`
	Operator        string    `json:"operator,omitempty"`
	At              time.Time `json:"at"`
	Scanned         any       `json:"scanned"`

	// loads are the units in the operator's hands, picks what they are for.
	loads []load
	picks []pickedUnits
}

// taken is what became of a command.
type taken struct {
	ID          string                                  `json:"id"`
	Status      string                                  `json:"status"`
	First       string                                  `json:"first"`
	Code        string                                  `json:"code"`
	Detail      string                                  `json:"detail"`
	ExceptionID string                                  `json:"exception_id"`
	Current     json.RawMessage                         `json:"current"`
	Fields      []struct{ Field, Code, Message string } `json:"errors"`
}

func (t taken) applied() bool { return t.Status == "applied" }

// refusals are the codes with which a command may be refused by what others have
// done meanwhile. Any other code is trouble.
var refusals = map[string][]string{
	"start_list":    {"list_claimed", "list_over", "task_taken"},
	"pick":          {"list_claimed", "list_over", "task_taken", "order_frozen", "order_refunded", "order_cancelled", "not_open", "wrong_bin", "too_many_units", "not_in_bin", "version_changed"},
	"short":         {"list_claimed", "list_over", "task_taken", "not_open", "wrong_bin", "nothing_missing", "scan_required", "version_changed"},
	"complete_list": {"list_claimed", "list_over", "task_taken", "lines_open"},
	"put_away":      {"not_in_bin", "bin_full"},
	"move":          {"not_in_bin", "units_allocated"},
	"begin_count":   {"count_task_over", "count_task_taken", "another_person_needed", "task_taken"},
	"count":         {"count_task_over", "count_task_taken", "another_person_needed", "task_taken"},
	"dispatch":      {"units_promised", "not_on_shelf"},
	"pack":          {"order_frozen", "order_refunded", "order_cancelled", "weight_differs", "version_changed"},
	"unpack":        {"version_changed"},
	"label":         {"order_frozen", "order_refunded", "order_cancelled", "wrong_status", "version_changed", "label_under_way"},
	"handover":      {"order_frozen", "order_refunded", "order_cancelled", "wrong_status", "not_picked", "version_changed"},
}

// carried are the kinds that move goods: one that is refused must leave a task
// for a person.
var carried = []string{"pick", "short", "receive", "put_away", "move", "count", "dispatch", "receive_transfer", "pack", "unpack", "label", "handover"}

// scanner is an operator with a device.
type scanner struct {
	shift  *shift
	name   string // the device's
	person string
	shop   *storefront
	rand   *rand.Rand
	// named: who works is named in each command, not in the header, as where a
	// device is shared.
	named bool
	seq   int64
	keys  int
}

// hire gives an operator a device. What it will decide by chance is drawn from
// the run's seed and its place among the operators.
func (s *shift) hire(job string) *scanner {
	s.hired++
	n := s.hired
	o := &scanner{shift: s, name: fmt.Sprintf("sim-%s-d%02d", s.run.id, n), person: fmt.Sprintf("sim-%s-%s-%d", s.run.id, job, n),
		rand: rand.New(rand.NewPCG(s.run.Seed, 0x5c00+uint64(n)))}
	o.named = o.rand.IntN(2) == 0
	o.shop = s.run.shop.as(o.person)
	if o.named {
		o.shop = s.run.shop.as("")
	}
	s.people = append(s.people, o.person)
	return o
}

// chance is true in so many of a hundred cases.
func (o *scanner) chance(percent int) bool { return o.rand.IntN(100) < percent }

// dawdle waits for a drawn time between the two.
func (o *scanner) dawdle(ctx context.Context, least, most time.Duration) {
	// A pause that is cut short is followed by steps that are.
	_ = rest(ctx, least+time.Duration(o.rand.Int64N(int64(most-least))))
}

// key is a new idempotency key of this operator.
func (o *scanner) key() string {
	o.keys++
	return fmt.Sprintf("%s-k%d", o.name, o.keys)
}

// command writes down what the operator does.
func (o *scanner) command(kind, task string, scanned any, loads ...load) command {
	o.seq++
	c := command{ID: fmt.Sprintf("%s-%05d", o.name, o.seq), Seq: o.seq, Kind: kind, Task: task, At: time.Now(), Scanned: scanned, loads: loads}
	if o.named {
		c.Operator = o.person
	}
	return c
}

const scansPath = "/v1/scans"

// work does things in a warehouse: the goods are taken, the commands are sent,
// and the goods lie where the answers say. Commands whose goods are not there any
// more are not sent; they have no answer.
func (o *scanner) work(ctx context.Context, warehouse string, list ...command) (map[string]taken, error) {
	door := o.shift.goods.doors[warehouse]
	door.RLock()
	defer door.RUnlock()
	list = slices.DeleteFunc(list, func(c command) bool { return !o.shift.goods.pickUp(c.loads) })
	return o.deliver(ctx, list)
}

// deliver sends commands whose goods are in hand. The door of the warehouse is
// held.
func (o *scanner) deliver(ctx context.Context, list []command) (map[string]taken, error) {
	answers := map[string]taken{}
	if len(list) == 0 {
		return answers, nil
	}
	sent := time.Now()
	err := o.send(ctx, list, answers)
	for _, c := range list {
		a, answered := answers[c.ID]
		o.shift.goods.putDown(c.loads, answered && a.applied())
		if !answered {
			continue
		}
		if a.applied() {
			o.shift.noted(c, sent)
		}
		o.judge(c, a)
	}
	return answers, err
}

// send sends commands, in any order within the request, and again when it
// pleases: what comes twice must be taken once.
func (o *scanner) send(ctx context.Context, list []command, answers map[string]taken) error {
	mixed := slices.Clone(list)
	o.rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	first, err := o.post(ctx, o.name, mixed)
	if err != nil {
		return err
	}
	for i, a := range first {
		if a.Status == "duplicate" { // an earlier answer was lost
			a.Status = a.First
			o.shift.did("answers_lost")
		}
		answers[mixed[i].ID] = a
	}
	if !o.chance(30) {
		return nil
	}
	device := o.name
	if o.chance(30) {
		device += "-twin"
	}
	again, err := o.post(ctx, device, list)
	if err != nil {
		return err
	}
	o.shift.did("batches_sent_twice")
	for i, a := range again {
		if want := answers[list[i].ID]; a.Status != "duplicate" || a.First != want.Status || a.Code != want.Code || a.ExceptionID != want.ExceptionID {
			o.shift.trouble("command_not_once", "%s %s of %s was %s %s, and sent again it is %s %s %s", list[i].Kind, list[i].ID, o.person, want.Status, want.Code, a.Status, a.First, a.Code)
		}
	}
	return nil
}

// post makes one request of commands until it is answered. There is no key: each
// command has its own.
func (o *scanner) post(ctx context.Context, device string, list []command) ([]taken, error) {
	a, err := o.shop.insist(ctx, http.MethodPost, scansPath, "", map[string]any{"device": device, "commands": list})
	if err != nil {
		o.shift.trouble("unanswered", "%s: %v", o.person, err)
		return nil, err
	}
	var out struct {
		Results []taken `json:"results"`
	}
	if a.ok() {
		err = a.into(&out)
	} else {
		err = fmt.Errorf("POST %s: %s", scansPath, a)
	}
	if err == nil && (len(out.Results) != len(list) || slices.ContainsFunc(out.Results, func(t taken) bool { return t.ID == "" })) {
		err = fmt.Errorf("POST %s: %d commands were sent, %d were answered", scansPath, len(list), len(out.Results))
	}
	for i := range out.Results {
		if err == nil && out.Results[i].ID != list[i].ID {
			err = fmt.Errorf("POST %s: the answers are not in the order of the commands", scansPath)
		}
	}
	if err != nil {
		o.shift.trouble("unexpected_answer", "%s: %v", o.person, err)
	}
	return out.Results, err
}

// judge counts what became of a command, and names what must not be.
func (o *scanner) judge(c command, a taken) {
	o.shift.count(c.Kind, a)
	if a.applied() {
		return
	}
	if a.Status != "conflict" || !slices.Contains(refusals[c.Kind], a.Code) {
		o.shift.trouble("unexpected_answer", "%s %s for %s by %s: %s %s: %s %v", c.Kind, c.ID, c.Task, o.person, a.Status, a.Code, a.Detail, a.Fields)
	}
	if slices.Contains(carried, c.Kind) != (a.ExceptionID != "") {
		o.shift.trouble("exception_missing", "%s %s was refused with %s, its exception is %q", c.Kind, c.ID, a.Code, a.ExceptionID)
	}
	if a.ExceptionID != "" {
		o.shift.remember(a.ExceptionID)
	}
}

// ask makes a request of the operator's until it has an answer. Refusals other
// than the codes given are trouble, and false is returned for any.
func (o *scanner) ask(ctx context.Context, path string, body, into any, codes ...string) (code string, ok bool) {
	a, err := o.shift.run.shop.as(o.person).insist(ctx, http.MethodPost, path, o.key(), body)
	switch {
	case err != nil:
		o.shift.trouble("unanswered", "%s: %v", o.person, err)
	case !a.ok():
		if !slices.Contains(codes, a.problem.Code) {
			o.shift.trouble("unexpected_answer", "POST %s by %s: %s", path, o.person, a)
		}
		return a.problem.Code, false
	case into != nil:
		if err := a.into(into); err != nil {
			o.shift.trouble("unexpected_answer", "POST %s by %s: %v", path, o.person, err)
			return "", false
		}
		return "", true
	default:
		return "", true
	}
	return "", false
}

// read reads a resource; what can't be read is trouble.
func (s *shift) read(ctx context.Context, path string, into any) bool {
	if err := s.run.shop.get(ctx, path, into); err != nil {
		s.trouble("unanswered", "%v", err)
		return false
	}
	return true
}
