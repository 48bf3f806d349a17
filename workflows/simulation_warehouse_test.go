package workflows_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"
	"pgregory.net/rapid"

	"justlogistics/activities"
	"justlogistics/internal/temporalclient"
	"justlogistics/workflows"
)

// TestSimulation_WarehouseKeepsItsInvariants draws the lives of transfers,
// receipts and counts, an eighth of what the checkout saga draws, and prints a
// shrunken one when an invariant breaks.
func TestSimulation_WarehouseKeepsItsInvariants(t *testing.T) {
	t.Parallel()
	n, given := draws(t)
	seen := map[string]int{}
	draw := func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			w := work(shifts().Draw(t, "shift"))
			if len(w.failed) > 0 {
				t.Log(w.story())
				t.Fatal("an invariant is broken")
			}
			for what, times := range w.sights {
				seen[what] += times
			}
		})
	}
	t.Run("shifts", draw)
	if given || n < manySchedules {
		return
	}
	for batch := 0; batch < moreBatches && !t.Failed() && notSeen(seen) != ""; batch++ {
		t.Run("more shifts", draw)
	}
	if !t.Failed() {
		require.Empty(t, notSeen(seen), "never seen; seen: %v", seen)
	}
	for _, k := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%6d %s", seen[k], k)
	}
}

// notSeen names something to which the shifts should have led and have not;
// empty when there is nothing.
func notSeen(seen map[string]int) string {
	want := []string{"transfer received", "transfer received_short", "transfer cancelled", "receipt closed", "receipt cancelled", "count done", "count cancelled",
		"lost start", "start repeated", "begun by the sweeper", "run lost", "run terminated", "run cancelled", "restarted", "restarted for its case alone",
		"compared while a person is asked", "signal lost", "signal late", "signal twice", "parked step_failed", "verb refused",
		"told waits another day", "told closed", "told the count has a day more", "told the count is cancelled: what was counted stays", "told nothing done: the count is over",
		"told nothing done: reception was decided already", "told nothing done: tasks was decided already", "told nothing done: approvals was decided already", "told retry of load is under way", "told retry of look is under way"}
	for _, reason := range []string{"transfer_overdue", "receipt_overdue", "count_past_due", "count_waits_for_approval"} {
		want = append(want, "parked "+reason, "other words for "+reason)
	}
	for kind, calls := range callsOf {
		want = append(want, "new history of a "+kind, "new history with a case of a "+kind)
		for _, call := range append(calls[3:], calls[0]) { // with an effect; not those that are tried for ever
			want = append(want, "second half of "+call)
		}
	}
	for _, w := range want {
		if seen[w] == 0 {
			return w
		}
	}
	return ""
}

// TestSimulation_KnowsEveryActivityOfTheWarehouse compares the simulated steps
// with the real ones.
func TestSimulation_KnowsEveryActivityOfTheWarehouse(t *testing.T) {
	t.Parallel()
	simulated := (&hands{}).activities()
	for _, real := range []any{&activities.Watches{}, &activities.Counts{}, &activities.Support{}} {
		for i := range reflect.TypeOf(real).NumMethod() {
			method := reflect.TypeOf(real).Method(i)
			require.Contains(t, simulated, method.Name)
			fake := reflect.TypeOf(simulated[method.Name])
			require.Equal(t, method.Type.NumIn()-1, fake.NumIn(), method.Name)
			for j := range fake.NumIn() {
				require.Equal(t, method.Type.In(j+1), fake.In(j), "%s: argument %d", method.Name, j)
			}
			for j := range fake.NumOut() {
				require.Equal(t, method.Type.Out(j), fake.Out(j), "%s: result %d", method.Name, j)
			}
		}
	}
}

// begunBefore has all runs go on as those that were begun before one of our gates.
func begunBefore(gate string) func(*yard) {
	return func(w *yard) { w.old = gate }
}

// TestSimulation_WarehouseRegressions runs every shift that has ever found a bug.
func TestSimulation_WarehouseRegressions(t *testing.T) {
	t.Parallel()
	for name, plan := range map[string]shift{
		"a new history while goods are late": tardy(workflows.KindTransfer, step{At: 30 * time.Minute, Do: growLong}),
		"a new history of a count with both cases, and a verb in the middle": {Kind: workflows.KindCount, Due: 24 * time.Hour, Units: 2, Idle: 30 * time.Hour, Steps: []step{
			{At: time.Minute, Do: countWrong}, {At: 25 * time.Hour, Do: growLong}, {In: "UnparkStep", Nth: 1, When: before, Do: useVerb, On: 2}}},
		"a case of a count of which some bins are counted": {Kind: workflows.KindCount, Due: 24 * time.Hour, Units: 3, Idle: 30 * time.Hour, Steps: []step{
			{At: 25 * time.Hour, Do: countRight, On: 1}}},
		"a retry beside a cancel of the same count": bothCases(step{At: 25 * time.Hour, Do: useVerb, On: 1}, step{At: 25 * time.Hour, Do: useVerb, On: 2}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := work(plan)
			require.Empty(t, w.failed, w.story())
		})
	}
}

// tardy is something that is late after ten minutes, and that nobody looks at for
// six hours.
func tardy(kind string, steps ...step) shift {
	return shift{Kind: kind, Due: 10 * time.Minute, Units: 2, Idle: 6 * time.Hour, Steps: steps}
}

// bothCases is a count of two bins after a day: one is left, and a difference
// waits for approval.
func bothCases(steps ...step) shift {
	return shift{Kind: workflows.KindCount, Due: 24 * time.Hour, Units: 2, Idle: 30 * time.Hour, Steps: append([]step{{At: time.Minute, Do: countWrong}}, steps...)}
}

// TestSimulation_WarehouseNoticesWhatIsBroken runs worlds and workflows that are
// wrong on purpose.
func TestSimulation_WarehouseNoticesWhatIsBroken(t *testing.T) {
	t.Parallel()
	leaving := func(r rule) func(*yard) { return func(w *yard) { w.omitted = r } }
	with := func(wrong any) func(*yard) { return func(w *yard) { w.wrong = wrong } }
	for name, c := range map[string]struct {
		plan   shift
		broken func(*yard)
		says   string
	}{
		"a run that is gone is not begun again":          {shift{Kind: workflows.KindTransfer, Due: time.Hour, Units: 1, Idle: 9 * time.Hour, LostStart: true, Steps: []step{{At: 2 * time.Hour, Do: arrive, On: 1}}}, leaving(ruleSweep), "is past due since 1h0m0s, and nobody looks after it"},
		"a new run knows nothing of the old one's case":  {tardy(workflows.KindReceipt, step{At: time.Hour, Do: loseRun}), leaving(ruleInherit), "was told twice"},
		"a retry gives a receipt no other day":           {tardy(workflows.KindReceipt, step{At: time.Hour, Do: useVerb}), leaving(rulePostpone), `a person was told "waits another day"`},
		"a retry gives a count no other day":             {bothCases(step{At: 25 * time.Hour, Do: useVerb}), leaving(rulePostpone), `a person was told "the count has a day more"`},
		"a count of which nothing is left is not closed": {bothCases(), leaving(ruleEndCount), "and its run goes on"},
		"a case is told again with each new history":     {tardy(workflows.KindTransfer, step{At: 30 * time.Minute, Do: growLong}), with(forgetful(workflows.Transfer)), "was told twice"},
		"a count's case is told again with each history": {bothCases(step{At: 25 * time.Hour, Do: growLong}), with(forgetfulCount), "was told twice"},
		"a case is taken off the list and told again":    {bothCases(step{At: 25 * time.Hour, Do: growLong}), begunBefore("count-hands-cases-on"), "was taken off the list"},
		"a case says what was left on the day before":    {bothCases(step{At: 25 * time.Hour, Do: countWrong, On: 1, N: signalLost}), begunBefore("count-rewords-case"), "step approvals is told as"},
		"a cancelled count is given a day more":          {bothCases(step{At: 25 * time.Hour, Do: useVerb, On: 1}, step{At: 25 * time.Hour, Do: useVerb, On: 2}), begunBefore("count-ends-with-cancel"), "a person was told"},
		"nobody is told of late goods":                   {tardy(workflows.KindTransfer), with(careless(tellsNobody)), "is late, and nobody was told"},
		"somebody is told with each look":                {tardy(workflows.KindTransfer), with(careless(tellsTwice)), "was told twice"},
		"a case outlives its run":                        {tardy(workflows.KindTransfer), with(careless(leavesCase)), "is on the support list, and its run has ended"},
		"a case outlives the delay":                      {tardy(workflows.KindTransfer, step{At: time.Hour, Do: arrive, On: 1}), with(careless(keepsCase)), "is on the support list, and it is not late"},
		"a run shows no attention":                       {tardy(workflows.KindTransfer), with(careless(asksQuietly)), "the run's attention is false"},
		"a run shows what was an hour ago":               {tardy(workflows.KindTransfer, step{At: time.Hour, Do: arrive, On: 1}), with(careless(showsTheFirst)), "the details are"},
		"a run is deaf":                                  {tardy(workflows.KindTransfer, step{At: 61 * time.Minute, Do: arrive, On: 1}), with(careless(hearsNothing)), "and has not looked"},
		"a run only looks when it is told to":            {tardy(workflows.KindTransfer), with(careless(looksSeldom)), "has not looked at its row since"},
		"a run looks all the time":                       {tardy(workflows.KindTransfer), with(careless(looksInCircles)), "ran 60 times in 10 seconds"},
		"a run looks each minute":                        {tardy(workflows.KindTransfer), with(careless(looksOften)), "looked "},
		"a run ends before its row":                      {tardy(workflows.KindTransfer), with(careless(endsEarly)), "has ended, and its row is in_transit"},
		"a run goes on when its row is over":             {tardy(workflows.KindTransfer), with(careless(goesOn)), "and its run goes on"},
		"a run fails":                                    {tardy(workflows.KindTransfer), with(careless(fails)), "the run failed"},
		"a verb is never answered":                       {tardy(workflows.KindTransfer, step{At: time.Hour, Do: useVerb}), with(careless(answersNobody)), "was never answered"},
		"a verb is taken that nobody offers":             {tardy(workflows.KindTransfer, step{At: time.Hour, Do: wrongVerb}), with(careless(answersNobody)), "which nobody offered"},
		"a verb is answered and nothing is done":         {tardy(workflows.KindTransfer, step{At: time.Hour, Do: useVerb}), with(careless(doesNothing)), `a person was told "waits another day"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := work(c.plan)
			require.Empty(t, w.failed, "without the mistake: %s", w.story())
			w = work(c.plan, c.broken)
			require.NotEmpty(t, w.failed, w.story())
			require.Contains(t, strings.Join(w.failed, "\n"), c.says)
		})
	}
}

// TestSimulation_DrawnShiftsFindABrokenRun shows that the shifts themselves come
// upon mistakes, without being told where they are.
func TestSimulation_DrawnShiftsFindABrokenRun(t *testing.T) {
	t.Parallel()
	for gate, says := range map[string]string{"count-hands-cases-on": "taken off the list", "count-rewords-case": "is told as", "count-ends-with-cancel": "a person was told"} {
		t.Run(gate, func(t *testing.T) {
			t.Parallel()
			for seed := range 1500 {
				if w := work(shifts().Example(seed), begunBefore(gate)); len(w.failed) > 0 {
					require.Contains(t, strings.Join(w.failed, "\n"), says, w.story())
					return
				}
			}
			t.Fatal("no shift noticed it")
		})
	}
}

// forgetful is a workflow that does not know what it has parked before.
func forgetful(fn func(workflow.Context, workflows.WatchInput) error) any {
	return func(ctx workflow.Context, in workflows.WatchInput) error {
		in.Parked, in.Told = false, ""
		return fn(ctx, in)
	}
}

func forgetfulCount(ctx workflow.Context, in workflows.CountInput) error {
	in.Told = nil
	return workflows.Count(ctx, in)
}

// mistake is what a careless run does wrong.
type mistake string

const (
	tellsNobody    mistake = "tells nobody"
	tellsTwice     mistake = "tells twice"
	leavesCase     mistake = "leaves its case when it ends"
	keepsCase      mistake = "keeps its case when it is not late any more"
	asksQuietly    mistake = "sets no attribute"
	showsTheFirst  mistake = "shows what it saw first"
	hearsNothing   mistake = "hears no signal"
	looksSeldom    mistake = "looks when it is told to"
	looksInCircles mistake = "looks in circles"
	looksOften     mistake = "looks each minute"
	endsEarly      mistake = "ends early"
	goesOn         mistake = "goes on"
	fails          mistake = "fails"
	answersNobody  mistake = "answers nobody"
	doesNothing    mistake = "does nothing"
)

// careless is a transfer's run that makes one mistake.
func careless(m mistake) any {
	return func(ctx workflow.Context, in workflows.WatchInput) error {
		var watches *activities.Watches
		var desk *activities.Support
		ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		err := workflow.SetUpdateHandler(ctx, workflows.UpdateSupport, func(ctx workflow.Context, _ workflows.SupportRequest) (workflows.SupportAnswer, error) {
			return workflows.SupportAnswer{Result: "waits another day"}, workflow.Await(ctx, func() bool { return m != answersNobody })
		})
		if err != nil || m == fails {
			return workflow.ErrSessionFailed
		}
		attend := func(reason string) error {
			if m == asksQuietly {
				return nil
			}
			return workflow.UpsertTypedSearchAttributes(ctx, temporalclient.Attention.ValueSet(reason != ""), temporalclient.AttentionReason.ValueSet(reason))
		}
		ref := activities.WatchRef{Kind: workflows.KindTransfer, Tenant: in.Tenant, ID: in.ID}
		c := activities.ParkedCase{Tenant: in.Tenant, Step: "reception", Subject: in.ID, Reason: "transfer_overdue", Verbs: []string{workflows.VerbRetry}}
		changed, first, parked := workflow.GetSignalChannel(ctx, workflows.SignalChanged), "", false
		for looks := 1; ; looks++ {
			var now activities.Watched
			if err := workflow.ExecuteLocalActivity(ctx, watches.LoadWatched, ref).Get(ctx, &now); err != nil {
				return err
			}
			isLate := !now.Over && !now.DueAt.After(workflow.Now(ctx))
			if over := now.Over && m != goesOn; over || m == endsEarly && looks > 2 {
				workflow.SetCurrentDetails(ctx, "Over: "+now.Status+".")
				if err := attend(""); err != nil || !parked || m == leavesCase {
					return err
				}
				return workflow.ExecuteActivity(ctx, desk.UnparkStep, c, "it is over").Get(ctx, nil)
			}
			if parked && !isLate && m != keepsCase {
				parked = false
				if err := attend(""); err != nil {
					return err
				}
				if err := workflow.ExecuteActivity(ctx, desk.UnparkStep, c, "it is waited for again").Get(ctx, nil); err != nil {
					return err
				}
			}
			if isLate && m != tellsNobody && (!parked || m == tellsTwice || c.Message != now.WaitsFor+" Receive them.") {
				parked, c.Message = true, now.WaitsFor+" Receive them."
				if err := attend(c.Reason); err != nil {
					return err
				}
				if err := workflow.ExecuteActivity(ctx, desk.ParkStep, c).Get(ctx, nil); err != nil {
					return err
				}
			}
			if first == "" {
				first = now.WaitsFor
			}
			words := now.WaitsFor
			if m == showsTheFirst {
				words = first
			}
			if parked {
				words += c.Message
			}
			workflow.SetCurrentDetails(ctx, words)
			wait := time.Hour
			if left := now.DueAt.Sub(workflow.Now(ctx)); left > 0 {
				wait = min(wait, left)
			}
			switch {
			case m == looksSeldom:
				wait = 100 * time.Hour
			case m == looksInCircles && looks < 100:
				wait = 50 * time.Millisecond
			case m == looksOften:
				wait = time.Minute
			}
			if _, err := workflow.AwaitWithTimeout(ctx, wait, func() bool { return changed.Len() > 0 && m != hearsNothing }); err != nil {
				return err
			}
			for changed.ReceiveAsync(nil) {
			}
		}
	}
}
