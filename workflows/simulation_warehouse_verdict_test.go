package workflows_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"justlogistics/activities"
	"justlogistics/internal/temporalclient"
	"justlogistics/workflows"
)

const (
	// looksWithin is how old a run's knowledge of its row may be: it looks once an
	// hour when nobody tells it anything.
	looksWithin = 61 * time.Minute
	// toldWithin is how long something may be late, or over, and nobody is told.
	toldWithin = 65 * time.Minute
	// settlesWithin is how long a run may take to do what follows from news.
	settlesWithin = 90 * time.Second
	// recoversWithin is the same after something has failed.
	recoversWithin = 10 * time.Minute
	inspectEvery   = 23 * time.Minute
)

// seen is what a run was told of its row.
type seen struct {
	words string
	over  bool
	wants map[string]string // step: how the words begin that a person is told
}

func (w *yard) sawWatched(v activities.Watched) {
	s := &seen{words: v.WaitsFor, over: v.Over, wants: map[string]string{}}
	if !v.Over && !v.DueAt.After(w.now()) {
		s.wants["reception"] = v.WaitsFor + " "
	}
	w.saw(s)
}

func (w *yard) sawCount(v activities.CountView) {
	s := &seen{words: fmt.Sprintf("Count in %s: %d of %d bins are left, %d wait for approval.", v.Warehouse, v.Left, v.Total, v.Waiting), over: v.Over, wants: map[string]string{}}
	if v.PastDue && !v.Over {
		if s.wants["tasks"] = fmt.Sprintf("%d bins are to be counted in ", v.Left); v.Left == 1 {
			s.wants["tasks"] = "1 bin is to be counted in "
		}
	}
	if v.Unapproved && !v.Over {
		which := v.Which
		if v.Waiting > 3 {
			which += fmt.Sprintf(" and %d more", v.Waiting-3)
		}
		n := fmt.Sprintf("%d bins wait", v.Waiting)
		if v.Waiting == 1 {
			n = "1 bin waits"
		}
		s.wants["approvals"] = n + " for somebody to approve or reject a difference in SCL-1: " + which + ". "
	}
	w.saw(s)
}

// saw notes a look. Each has a cause: a run that begins, news, a verb, a change
// that sets another time, or an hour that has passed.
func (w *yard) saw(s *seen) {
	w.seen, w.lookAt = s, w.now()
	w.looks++
	hours := int(w.now().Sub(dawn)/time.Hour) + 1
	if causes := 5 + 2*hours + 3*(w.runs+w.signals+len(w.asked)+w.changes); w.looks == causes+1 {
		w.broken("looked %d times in %d hours, with %d runs, %d signals, %d verbs and %d changes", w.looks, hours, w.runs, w.signals, len(w.asked), w.changes)
	}
}

// isTold looks whether a person is told of something twice.
func (w *yard) isTold(d *deskRow, c activities.ParkedCase, writer string) {
	verbs := []string{workflows.VerbRetry, workflows.VerbCancel, workflows.VerbResolve}
	switch {
	case writer == d.writer: // the same activity, which did not hear that it was done
	case d.open && d.Message == c.Message:
		w.broken("step %s was told twice: %s", c.Step, c.Message)
	case d.open:
		w.sight("other words for " + c.Reason)
	case d.Message == c.Message && w.now().Sub(d.closedAt) < time.Minute && !slices.Contains(verbs, d.resolution):
		w.broken("step %s was taken off the list (%s), and told again: %s", c.Step, d.resolution, c.Message)
	}
}

// inspectLater has the run that is at work inspected from time to time.
func (w *yard) inspectLater() {
	env := w.env
	env.RegisterDelayedCallback(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.env != env {
			return
		}
		w.inspect()
		w.inspectLater()
	}, inspectEvery)
}

// lasts is how long something has been so, as far as the inspections know.
func (w *yard) lasts(what string, so bool) time.Duration {
	if !so {
		delete(w.since, what)
		return 0
	}
	if _, known := w.since[what]; !known {
		w.since[what] = w.now()
	}
	return w.now().Sub(w.since[what])
}

// inspect compares what the run shows with the row while it waits.
func (w *yard) inspect() {
	if w.now().Sub(dawn) > w.horizon() {
		w.broken("after %s its run is still at work, and the row is %s", w.horizon(), w.row.status())
		w.kill(fateLost)
		return
	}
	wants := w.row.wants()
	late := map[string]time.Duration{}
	for _, step := range []string{"reception", "tasks", "approvals"} {
		late[step] = w.lasts(step, wants[step] != "")
	}
	over := w.lasts("over", !w.row.waits())
	if !w.settled() {
		return
	}
	switch {
	case w.seen == nil || w.now().Sub(w.lookAt) > looksWithin:
		w.broken("the run has not looked at its row since %s", w.lookAt.Sub(dawn))
		return
	case w.toldAt.After(w.lookAt):
		w.broken("the run was told that its row has changed, and has not looked")
		return
	case over > toldWithin:
		w.broken("the row is over (%s), and its run goes on", w.row.status())
		return
	}
	open := map[string]*deskRow{}
	for _, c := range w.open() {
		open[c.Step] = c
	}
	for step, d := range late {
		if d > toldWithin && open[step] == nil {
			w.broken("step %s is late, and nobody was told", step)
		}
	}
	w.compare(open)
}

// unattended looks at a row without a run, while the world goes on by itself: at
// the latest when it is past due a run begins, or a person is told.
func (w *yard) unattended() {
	if w.row.open() && !w.ill && w.at.Sub(w.row.due()) > 5*time.Minute && w.at.Sub(w.goneAt) > 5*time.Minute {
		w.broken("the row is past due since %s, and nobody looks after it", w.row.due().Sub(dawn))
	}
}

// settled reports whether the run has had the time to do what follows from the
// last that has happened.
func (w *yard) settled() bool {
	age := w.now().Sub(dawn)
	for _, o := range w.plan.Outages {
		if age >= o.At && age < o.At+o.For+recoversWithin {
			return false
		}
	}
	for _, c := range w.open() {
		if c.Reason == "step_failed" {
			return false
		}
	}
	return w.killed == "" && w.now().Sub(w.stirred) >= settlesWithin && w.now().Sub(w.beganAt) >= settlesWithin && w.now().Sub(w.troubled) >= recoversWithin
}

// compare looks whether the support list, the attributes and the details say what
// the run knows.
func (w *yard) compare(open map[string]*deskRow) {
	details, attributes := w.shown()
	if w.sight("compared"); len(open) > 0 {
		w.sight("compared while a person is asked")
	}
	reasons := []string{}
	for step, c := range open {
		reasons = append(reasons, c.Reason)
		switch words, wanted := w.seen.wants[step]; {
		case !wanted:
			w.broken("step %s is on the support list, and it is not late", step)
		case !strings.HasPrefix(c.Message, words):
			w.broken("step %s is told as %q, and it is %q", step, c.Message, words)
		case !strings.Contains(details, c.Message):
			w.broken("step %s is told, and not in the details %q", step, details)
		}
	}
	for step := range w.seen.wants {
		if open[step] == nil {
			w.broken("step %s is late, and nobody was told", step)
		}
	}
	attention, _ := attributes.GetBool(temporalclient.Attention)
	reason, _ := attributes.GetKeyword(temporalclient.AttentionReason)
	if attention != (len(open) > 0) || attention && !slices.Contains(reasons, reason) || !attention && reason != "" {
		w.broken("the run's attention is %t (%s), on the list are %v", attention, reason, slices.Sorted(maps.Keys(open)))
	}
	if !strings.HasPrefix(details, w.seen.words) {
		w.broken("the details are %q, the row says %q", details, w.seen.words)
	}
}

// endedWell looks at a run that has ended by itself.
func (w *yard) endedWell() {
	w.sight(w.plan.Kind + " " + w.row.status())
	if w.row.open() {
		w.broken("the run has ended, and its row is %s", w.row.status())
	}
	for _, c := range w.open() {
		w.broken("step %s is on the support list, and its run has ended", c.Step)
	}
	details, attributes := w.shown()
	if attention, _ := attributes.GetBool(temporalclient.Attention); attention {
		w.broken("the run has ended, and asks for attention")
	}
	want := "Done."
	if w.plan.Kind != workflows.KindCount {
		want = "Over: " + w.row.status() + "."
	}
	if details != want {
		w.broken("the run has ended with the details %q", details)
	}
}

// answered looks whether what a person was told about a verb is so.
func (w *yard) answered(u *verbUse, result string) {
	w.note("the verb %s of %s: %s", u.verb, u.step, result)
	acted := w.acted["verb of "+u.step] > u.acted
	wrong := false
	switch {
	case result == "waits another day", result == "the count has a day more":
		wrong = w.row.open() && !acted || w.row.wants()[u.step] != "" || w.acted["cancelled"] > 0
	case result == "closed", strings.HasPrefix(result, "the count is cancelled"), strings.HasPrefix(result, "nothing done: the count is over"):
		wrong = w.row.open()
	case strings.HasPrefix(result, "nothing done"):
		wrong = w.row.wants()[u.step] != "" && !acted
	}
	if wrong {
		w.broken("a person was told %q of %s, and the row is %s and wants %v", result, u.step, w.row.status(), w.row.wants())
	}
	w.sight("told " + result)
}

// verdict looks at the world when nothing is to come any more.
func (w *yard) verdict() {
	if w.row.open() {
		w.broken("the row is still %s, and nobody looks after it", w.row.status())
	}
	for _, c := range w.open() {
		w.broken("step %s is on the support list, and nobody looks after it", c.Step)
	}
	if w.ill {
		w.broken("the run is on the list of those that are gone, and nobody can do anything about it")
	}
	if w.runs == 0 && !w.plan.LostStart {
		w.broken("no run has begun")
	}
}
