package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/workflows"
)

const matterID = "01JCQZ5Y3N8W2K4T6V7X9ABCDF"

// What became of the last run, where it did not end by itself.
const (
	fateLost       = "lost" // Temporal knows nothing of it
	fateTerminated = "terminated"
	fateCancelled  = "cancelled"
)

// yard is the world of one transfer, receipt or count: its row, the people, the
// API, the sweeper and the support desk. Each run is a test environment of its
// own, which begins at the time at which the one before has ended; while none is
// at work, the world goes on by itself.
type yard struct {
	mu      sync.Mutex // guards everything below
	plan    shift
	row     matter
	omitted rule
	// wrong is a workflow that a test puts in the place of the real one.
	wrong any
	// old is the gate before which all runs were begun.
	old string

	env    *testsuite.TestWorkflowEnvironment // nil while no run is at work
	at     time.Time                          // while no run is at work
	events []*event
	next   *beginning // a run that is to begin
	runs   int
	fate   string // of the last run; empty while one is at work, or when it ended by itself
	killed string
	ill    bool // noted: its run is gone, and a person is asked to begin another
	shown  func() (details string, attributes temporal.SearchAttributes)

	list  []*deskRow
	asked []*verbUse
	seen  *seen
	calls map[string]int
	acted map[string]int // effects
	// lately is when each activity ran in the last seconds.
	lately                    map[string][]time.Time
	looks, signals, changes   int
	lookAt, stirred, troubled time.Time
	toldAt, beganAt, goneAt   time.Time
	since                     map[string]time.Time
	sights                    map[string]int
	failed, trace             []string
}

// event is something that is to happen in the world.
type event struct {
	at time.Time
	do func()
}

// beginning is how a run begins.
type beginning struct {
	input      any
	attributes temporal.SearchAttributes
}

// deskRow is a case on the support list.
type deskRow struct {
	activities.ParkedCase
	open       bool
	since      time.Time
	writer     string // the activity that wrote it
	closedAt   time.Time
	resolution string
}

// verbUse is a person's verb and what became of it.
type verbUse struct {
	step, verb     string
	accepted, done bool
	lost           bool
	acted          int // effects of all verbs until it was used
}

// work has a shift run to the end of everything and returns what was found.
func work(plan shift, options ...func(*yard)) *yard {
	w := &yard{plan: plan, at: dawn, calls: map[string]int{}, acted: map[string]int{}, lately: map[string][]time.Time{}, since: map[string]time.Time{}, sights: map[string]int{}}
	w.row = newMatter(plan, w.database, &w.omitted)
	for _, o := range options {
		o(w)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, st := range plan.Steps {
		if st.In == "" {
			// At no time at which a run does something by itself: two things at once
			// would come in any order. In the middle of a call they are drawn so.
			w.later(st.At+7*time.Millisecond, func() { w.do(st) })
		}
	}
	w.later(plan.Idle+7*time.Millisecond, func() {
		w.note("--- people bring it to its end")
		if w.row.finish() {
			w.changes++
			w.tell(plan.Ending)
		}
	})
	if plan.LostStart {
		w.fate = fateLost
		w.sight("lost start")
	} else {
		w.begin("it was asked for")
	}
	for w.goOn() {
	}
	w.verdict()
	return w
}

// now is Temporal's time, database that of the rows.
func (w *yard) now() time.Time {
	if w.env != nil {
		return w.env.Now()
	}
	return w.at
}

func (w *yard) database() time.Time { return w.now().Add(w.plan.Skew) }

func (w *yard) clock() string {
	d := w.now().Sub(dawn)
	return fmt.Sprintf("%02d:%02d:%02d ", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

func (w *yard) note(format string, args ...any) {
	if len(w.trace) < 2000 {
		w.trace = append(w.trace, w.clock()+fmt.Sprintf(format, args...))
	}
}

func (w *yard) broken(format string, args ...any) {
	if len(w.failed) < 20 {
		w.failed = append(w.failed, w.clock()+fmt.Sprintf(format, args...))
	}
}

func (w *yard) story() string {
	return "broken:\n  " + strings.Join(w.failed, "\n  ") + "\nshift:\n" + w.plan.String() + "\nwhat happened:\n  " + strings.Join(w.trace, "\n  ")
}

func (w *yard) sight(what string) { w.sights[what]++ }

// later has something happen after a time, whether or not a run is at work then.
func (w *yard) later(d time.Duration, do func()) {
	e := &event{at: w.now().Add(d), do: do}
	w.events = append(w.events, e)
	if w.env != nil {
		w.offer(e)
	}
}

// offer has the environment of the run that is at work carry out an event.
func (w *yard) offer(e *event) {
	w.env.RegisterDelayedCallback(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.happens(e)
	}, max(e.at.Sub(w.now()), 0))
}

func (w *yard) happens(e *event) {
	if i := slices.Index(w.events, e); i >= 0 {
		w.events = slices.Delete(w.events, i, i+1)
		e.do()
	}
}

// goOn has the next thing happen; false when nothing is to come any more.
func (w *yard) goOn() bool {
	if w.next != nil {
		w.host()
		return true
	}
	if w.at.Sub(dawn) > w.horizon() {
		return false
	}
	slices.SortStableFunc(w.events, func(a, b *event) int { return a.at.Compare(b.at) })
	at := w.sweepAt()
	switch {
	case len(w.events) > 0 && (at.IsZero() || !at.Before(w.events[0].at)):
		if w.events[0].at.After(w.at) {
			w.at = w.events[0].at
		}
		w.unattended()
		w.happens(w.events[0])
	case !at.IsZero():
		w.at = at
		w.sweep()
	default:
		return false
	}
	return true
}

// horizon is by when everything must be over: a run that is lost waits for its
// row to be late, and a person has a day's patience.
func (w *yard) horizon() time.Duration { return max(w.plan.Idle, w.plan.Due) + 60*time.Hour }

// begin has a run begin unless one is at work.
func (w *yard) begin(why string) {
	if w.env != nil || w.next != nil {
		return
	}
	w.note("a run begins: %s", why)
	options := workflows.StartOptions(w.plan.Kind, demo, matterID)
	w.next = &beginning{attributes: options.TypedSearchAttributes, input: workflows.WatchInput{Tenant: demo, ID: matterID}}
	if w.plan.Kind == workflows.KindCount {
		w.next.input = workflows.CountInput{Tenant: demo, CountID: matterID}
	}
}

// host runs one run to its end.
func (w *yard) host() {
	n := w.next
	w.next, w.fate, w.killed, w.seen = nil, "", "", nil
	w.runs++
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(w.at)
	env.SetTestTimeout(3 * time.Minute)
	env.SetStartWorkflowOptions(workflows.StartOptions(w.plan.Kind, demo, matterID))
	if err := env.SetTypedSearchAttributesOnStart(n.attributes); err != nil {
		w.broken("the simulation itself failed: %v", err)
	}
	for name, fn := range (&hands{w, w.runs}).activities() {
		env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	env.RegisterWorkflowWithOptions(w.hosted(), workflow.RegisterOptions{Name: w.plan.Kind})
	if w.old != "" {
		env.OnGetVersion(w.old, workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
	}
	w.env, w.beganAt, w.lookAt = env, w.at, w.at
	slices.SortStableFunc(w.events, func(a, b *event) int { return a.at.Compare(b.at) })
	for _, e := range slices.Clone(w.events) {
		w.offer(e)
	}
	w.inspectLater()
	w.mu.Unlock()
	env.ExecuteWorkflow(w.plan.Kind, n.input)
	w.mu.Lock()
	w.at, w.env = env.Now(), nil
	w.goneAt = w.at
	w.ended(env.GetWorkflowError())
}

// errKilled ends a run as Temporal does, without the workflow's doing.
var errKilled = errors.New("the run is gone")

// hosted is the workflow under test, in a run that can be lost or terminated.
func (w *yard) hosted() any {
	real := map[string]any{workflows.KindTransfer: workflows.Transfer, workflows.KindReceipt: workflows.Receipt, workflows.KindCount: workflows.Count}[w.plan.Kind]
	if w.wrong != nil {
		real = w.wrong
	}
	if fn, ok := real.(func(workflow.Context, workflows.CountInput) error); ok {
		return func(ctx workflow.Context, in workflows.CountInput) error {
			return w.mortal(ctx, func(ctx workflow.Context) error { return fn(ctx, in) })
		}
	}
	fn := real.(func(workflow.Context, workflows.WatchInput) error)
	return func(ctx workflow.Context, in workflows.WatchInput) error {
		return w.mortal(ctx, func(ctx workflow.Context) error { return fn(ctx, in) })
	}
}

func (w *yard) mortal(ctx workflow.Context, fn func(workflow.Context) error) (err error) {
	w.locked(func() {
		w.shown = func() (string, temporal.SearchAttributes) {
			return workflow.GetCurrentDetails(ctx), workflow.GetTypedSearchAttributes(ctx)
		}
	})
	ended, end := workflow.NewFuture(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) { end.Set(nil, fn(ctx)) })
	workflow.NewSelector(ctx).
		AddReceive(workflow.GetSignalChannel(ctx, "kill"), func(workflow.ReceiveChannel, bool) { err = errKilled }).
		AddFuture(ended, func(f workflow.Future) { err = f.Get(ctx, nil) }).Select(ctx)
	return err
}

func (w *yard) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// ended is what becomes of a run that is over.
func (w *yard) ended(err error) {
	w.note("the run has ended: %v", err)
	var anew *workflow.ContinueAsNewError
	switch {
	case err == nil:
		w.endedWell()
	case strings.Contains(err.Error(), errKilled.Error()):
		w.fate = w.killed
	case errors.As(err, &anew):
		w.continued(anew)
	case w.killed == fateCancelled && temporal.IsCanceledError(err):
		w.fate = fateCancelled
	default:
		w.broken("the run failed: %v", err)
		w.fate = fateTerminated
	}
	for _, u := range w.asked {
		if u.accepted && !u.done && !u.lost && w.fate == "" {
			w.broken("the verb %s of %s was never answered", u.verb, u.step)
		}
		u.lost = u.lost || !u.done
	}
}

// continued is a run that goes on with a new history.
func (w *yard) continued(anew *workflow.ContinueAsNewError) {
	_, attributes := w.shown()
	w.next = &beginning{attributes: attributes}
	var err error
	if w.plan.Kind == workflows.KindCount {
		var in workflows.CountInput
		err = converter.GetDefaultDataConverter().FromPayloads(anew.Input, &in)
		w.next.input = in
	} else {
		var in workflows.WatchInput
		err = converter.GetDefaultDataConverter().FromPayloads(anew.Input, &in)
		w.next.input = in
	}
	if err != nil {
		w.broken("the input of the next run: %v", err)
	}
	w.sight("new history of a " + w.plan.Kind)
	if len(w.open()) > 0 {
		w.sight("new history with a case of a " + w.plan.Kind)
	}
}

// open are the cases on the support list.
func (w *yard) open() (out []*deskRow) {
	for _, c := range w.list {
		if c.open {
			out = append(out, c)
		}
	}
	return out
}

// sweepAt is when the sweeper next finds something to do, which it does each
// minute; the zero time is never. While a run is at work it has nothing to do.
func (w *yard) sweepAt() time.Time {
	if w.ill || w.omitted == ruleSweep || !w.row.open() && len(w.open()) == 0 {
		return time.Time{}
	}
	var at time.Time
	add := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if w.row.open() {
		add(w.row.due())
		if c, ok := w.row.(*countRow); ok && !c.watched {
			add(c.begun.Add(5 * time.Second))
		}
	}
	for _, c := range w.open() {
		add(c.since.Add(time.Hour))
	}
	if w.fate == fateTerminated || w.fate == fateCancelled || at.Before(w.at) {
		at = w.at
	}
	return at.Truncate(time.Minute).Add(time.Minute)
}

// sweep is the sweeper's look at a row without a run.
func (w *yard) sweep() {
	switch {
	case w.fate == fateTerminated || w.fate == fateCancelled:
		w.note("the sweeper notes that the run is gone")
		w.ill = true
		w.later(50*time.Minute, w.restart)
		return
	default:
		w.inherit()
		w.begin("the sweeper found that it is missing")
	}
	w.sight("begun by the sweeper")
}

// restart is the verb: a person begins a run anew that is gone, while there is
// something left to do, or a case on the list that nobody can decide else.
func (w *yard) restart() {
	switch {
	case w.env != nil || w.next != nil:
	case !w.row.open() && len(w.open()) == 0:
		w.ill = false
	default:
		w.ill = false
		w.inherit()
		if !w.row.open() {
			w.sight("restarted for its case alone")
		}
		w.begin("a person restarts it")
		w.sight("restarted")
	}
}

// inherit takes the old run's cases off the list.
func (w *yard) inherit() {
	for _, c := range w.open() {
		if w.omitted != ruleInherit {
			c.open, c.closedAt, c.resolution = false, w.now(), workflows.VerbRetry
		}
	}
}

// do carries out a step of the shift.
func (w *yard) do(st step) {
	w.note("--- %s (on %d, n %d)", st.Do, st.On, st.N)
	switch st.Do {
	case useVerb:
		w.use(st.On)
	case wrongVerb:
		w.send(&verbUse{verb: []string{workflows.VerbSkip, "restart", "dance"}[st.On%3]})
	case loseRun:
		w.kill(fateLost)
	case endRun:
		w.kill(fateTerminated)
	case cancelRun:
		w.kill(fateCancelled)
	case restartRun:
		w.restart()
	case startAgain:
		w.startAgain()
	case growLong:
		w.later(0, func() {
			if w.env != nil {
				w.env.SetContinueAsNewSuggested(true)
				w.env.SetCurrentHistoryLength(5000)
			}
		})
	default:
		before := w.row.status()
		told := w.row.do(st)
		if told || w.row.status() != before {
			w.changes++
		}
		if told {
			w.tell(st.N)
		}
	}
}

// startAgain is the API's start when the request that made the row is repeated:
// of a run that Temporal knows it begins no second one.
func (w *yard) startAgain() {
	if w.row.open() && w.fate == fateLost && w.env == nil && w.runs == 0 {
		w.begin("the request is repeated")
		w.sight("start repeated")
	}
}

// kill has the run that is at work go. Of one that is lost or terminated nothing
// has an effect any more; one that is cancelled ends by itself.
func (w *yard) kill(fate string) {
	env := w.env
	if env == nil || w.killed != "" {
		return
	}
	w.killed = fate
	w.sight("run " + fate)
	env.RegisterDelayedCallback(func() {
		if fate == fateCancelled {
			env.CancelWorkflow()
			return
		}
		env.SignalWorkflow("kill", nil)
	}, 0)
}

// gone reports whether the run of so many is not at work any more, whatever is
// left of its workers.
func (w *yard) gone(run int) bool {
	return run != w.runs || w.killed == fateLost || w.killed == fateTerminated
}

// tell is the API's signal after a change; n says how it fares.
func (w *yard) tell(n int) {
	if n&signalLost != 0 {
		w.sight("signal lost")
		return
	}
	delay, times := time.Duration(0), 1
	if n&signalLate != 0 {
		delay = 40 * time.Second
		w.sight("signal late")
	}
	if n&signalTwice != 0 {
		times = 2
		w.sight("signal twice")
	}
	for range times {
		w.later(delay, func() {
			if w.env != nil && w.killed == "" {
				w.signals++
				w.toldAt, w.stirred = w.now(), w.now()
				w.env.SignalWorkflow(workflows.SignalChanged, nil)
			}
		})
	}
}

// use is a person's verb on a case of the list: the nth possibility of all.
func (w *yard) use(n int) {
	var all []*verbUse
	for _, c := range w.open() {
		for _, v := range c.Verbs {
			all = append(all, &verbUse{step: c.Step, verb: v})
		}
	}
	if len(all) > 0 {
		w.send(all[n%len(all)])
	}
}

// send sends a verb to the run; without a step it is one that does not apply.
func (w *yard) send(u *verbUse) {
	w.later(0, func() {
		if w.env == nil || w.killed != "" || w.calls["LoadWatched"]+w.calls["LookAtCount"] == 0 {
			return
		}
		u.acted, w.stirred = w.acted["verb of "+u.step], w.now()
		w.asked = append(w.asked, u)
		w.env.UpdateWorkflow(workflows.UpdateSupport, fmt.Sprintf("verb %d", len(w.asked)), &testsuite.TestUpdateCallback{
			OnAccept: func() {
				w.locked(func() {
					u.accepted = true
					if u.step == "" {
						w.broken("the verb %s was taken, which nobody offered", u.verb)
					}
				})
			},
			OnReject: func(error) {
				w.locked(func() {
					u.done = true
					w.sight("verb refused")
				})
			},
			OnComplete: func(answer any, err error) {
				w.locked(func() {
					u.done, w.stirred = true, w.now()
					if a, ok := answer.(workflows.SupportAnswer); ok && err == nil {
						w.answered(u, a.Result)
					} else if w.killed == "" {
						w.broken("the verb %s of %s was answered with %v, %v", u.verb, u.step, answer, err)
					}
				})
			},
		}, workflows.SupportRequest{ActionID: "ACTION", Step: u.step, Verb: u.verb})
	})
}

// fault is the error that the shift has for this moment of a call.
func (w *yard) fault(name string, n int, when phase) error {
	age := w.now().Sub(dawn)
	for _, o := range w.plan.Outages {
		if when == before && age >= o.At && age < o.At+o.For {
			return asError(databaseAway)
		}
	}
	for _, f := range w.plan.Faults {
		if f.hits(name, n) && f.When == when && f.As != outlived {
			w.note("%s #%d fails %s: %s", name, n, when, f.As)
			return asError(f.As)
		}
	}
	return nil
}

// perform is a call of an activity: what goes wrong with it, its effect, and then
// what the run learns from its answer.
func perform[T any](w *hands, name string, effect func() (T, error), learns func(T)) (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var none T
	if w.gone(w.run) {
		return none, errKilled
	}
	n := w.count(name)
	if w.happen(name, n, before); w.gone(w.run) {
		return none, errKilled
	}
	if err := w.fault(name, n, before); err != nil {
		w.troubled = w.now()
		return none, err
	}
	for _, f := range w.plan.Faults {
		if f.As == outlived && f.hits(name, n) {
			w.note("%s #%d is taken for dead", name, n)
			w.sight("second half of " + name)
			w.troubled = w.now()
			w.later(f.For, func() {
				w.note("the second half of %s #%d", name, n)
				if _, err := effect(); err != nil {
					w.note("fails: %v", err)
				}
			})
			return none, asError(timesOut)
		}
	}
	out, err := effect()
	if w.happen(name, n, after); w.gone(w.run) {
		return none, errKilled
	}
	if err == nil {
		err = w.fault(name, n, after)
	}
	if err != nil {
		w.troubled = w.now()
		return none, err
	}
	if w.stirred = w.now(); learns != nil {
		learns(out)
	}
	return out, nil
}

func (w *yard) happen(name string, n int, when phase) {
	for _, st := range w.plan.Steps {
		if st.In == name && st.Nth == n && st.When == when {
			w.do(st)
		}
	}
}

// count counts a call and looks whether something runs in circles.
func (w *yard) count(name string) int {
	w.calls[name]++
	w.note("%s #%d", name, w.calls[name])
	list := append(w.lately[name], w.now())
	for w.now().Sub(list[0]) > 10*time.Second {
		list = list[1:]
	}
	if w.lately[name] = list; len(list) == 60 {
		w.broken("%s ran 60 times in 10 seconds", name)
	}
	return w.calls[name]
}

// hands carry out the activities of one run.
type hands struct {
	*yard
	run int
}

// activities are those of the runs, by the names that histories have.
func (w *hands) activities() map[string]any {
	return map[string]any{"LoadWatched": w.load, "PostponeWatched": w.postpone, "ResolveWatched": w.resolve,
		"LookAtCount": w.look, "ExtendCount": w.extend, "CancelCount": w.cancelCount, "ParkStep": w.park, "UnparkStep": w.unpark}
}

func (w *hands) load(_ context.Context, ref activities.WatchRef) (activities.Watched, error) {
	if ref != (activities.WatchRef{Kind: w.plan.Kind, Tenant: demo, ID: matterID}) {
		return activities.Watched{}, asError(bug)
	}
	return perform(w, "LoadWatched", func() (activities.Watched, error) { return w.row.(watchedRow).view(), nil }, w.sawWatched)
}

func (w *hands) look(_ context.Context, ref activities.CountRef) (activities.CountView, error) {
	if ref != (activities.CountRef{Tenant: demo, CountID: matterID}) {
		return activities.CountView{}, asError(bug)
	}
	return perform(w, "LookAtCount", func() (activities.CountView, error) { return w.row.(*countRow).look(), nil }, w.sawCount)
}

// verbEffect is an activity that carries a verb out.
func (w *hands) verbEffect(name, step string, effect func() error) error {
	_, err := perform(w, name, func() (bool, error) {
		if w.row.open() {
			w.acted["verb of "+step]++
		}
		return true, effect()
	}, nil)
	return err
}

func (w *hands) postpone(context.Context, activities.WatchRef) error {
	return w.verbEffect("PostponeWatched", "reception", func() error {
		w.row.(watchedRow).postpone(24 * time.Hour)
		return nil
	})
}

func (w *hands) resolve(_ context.Context, _ activities.WatchRef, actionID string) error {
	return w.verbEffect("ResolveWatched", "reception", func() error {
		if actionID != "ACTION" || !w.row.(watchedRow).resolve() {
			return asError(bug)
		}
		return nil
	})
}

func (w *hands) extend(_ context.Context, _ activities.CountRef, approvals bool) error {
	step := "tasks"
	if approvals {
		step = "approvals"
	}
	return w.verbEffect("ExtendCount", step, func() error {
		w.row.(*countRow).extend(approvals)
		return nil
	})
}

func (w *hands) cancelCount(context.Context, activities.CountRef) error {
	return w.verbEffect("CancelCount", "tasks", func() error {
		if w.row.open() && w.row.(*countRow).cancel() {
			w.acted["cancelled"]++
		}
		return nil
	})
}

func (w *hands) park(ctx context.Context, c activities.ParkedCase) error {
	writer := fmt.Sprintf("%d/%s", w.runs, activity.GetInfo(ctx).ActivityID)
	_, err := perform(w, "ParkStep", func() (bool, error) { w.parks(c, writer); return true, nil }, nil)
	return err
}

func (w *hands) unpark(_ context.Context, c activities.ParkedCase, resolution string) error {
	_, err := perform(w, "UnparkStep", func() (bool, error) {
		for _, d := range w.open() {
			if d.Step == c.Step {
				d.open, d.closedAt, d.resolution = false, w.now(), resolution
			}
		}
		return true, nil
	}, nil)
	return err
}

// parks is support.ParkStep: the same case again only gets other words.
func (w *yard) parks(c activities.ParkedCase, writer string) {
	i := slices.IndexFunc(w.list, func(d *deskRow) bool { return d.Step == c.Step })
	if i < 0 {
		w.list = append(w.list, &deskRow{})
		i = len(w.list) - 1
	}
	d := w.list[i]
	w.isTold(d, c, writer)
	if !d.open {
		d.since = w.now()
	}
	d.ParkedCase, d.open, d.writer = c, true, writer
	w.sight("parked " + c.Reason)
	if c.Reason == "step_failed" { // nobody but a person lets it go on
		w.later(40*time.Minute, func() { w.send(&verbUse{step: c.Step, verb: workflows.VerbRetry}) })
	}
}
