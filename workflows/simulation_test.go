package workflows_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"
	"pgregory.net/rapid"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/inbox"
	"justlogistics/workflows"
)

// manySchedules is how many every test run draws. JL_SCHEDULES asks for more.
const (
	manySchedules = 4800
	shards        = 8
)

// drawsOnce sets how many schedules a shard draws, once for all simulations.
var drawsOnce = sync.OnceValues(func() (drawn, error) {
	d := drawn{n: manySchedules}
	if asked := os.Getenv("JL_SCHEDULES"); asked != "" {
		var err error
		if d.n, err = strconv.Atoi(asked); err != nil {
			return d, err
		}
	}
	flag.Visit(func(f *flag.Flag) { d.given = d.given || f.Name == "rapid.checks" })
	if !d.given {
		if err := flag.Set("rapid.checks", strconv.Itoa((d.n+shards-1)/shards)); err != nil {
			return d, err
		}
	}
	return d, flag.Set("rapid.nofailfile", "true")
})

type drawn struct {
	n     int
	given bool
}

// draws is how many schedules are asked for; given says that rapid's own flag
// tells how many a shard draws.
func draws(t *testing.T) (n int, given bool) {
	t.Helper()
	d, err := drawsOnce()
	require.NoError(t, err)
	return d.n, d.given
}

// TestSimulation_CheckoutSagaKeepsItsInvariants draws schedules at random and
// prints a shrunken one, as Go, when an invariant breaks. The failing seed is in
// the output: -run with the shard and -rapid.seed draw it again.
func TestSimulation_CheckoutSagaKeepsItsInvariants(t *testing.T) {
	t.Parallel()
	n, given := draws(t)
	var seen sightings
	draw := func(t *testing.T) {
		for i := range shards {
			t.Run(fmt.Sprintf("shard %d", i), func(t *testing.T) {
				t.Parallel()
				rapid.Check(t, func(t *rapid.T) {
					s := simulate(schedules().Draw(t, "schedule"))
					if len(s.failed) > 0 {
						t.Log(s.story())
						t.Fatal("an invariant is broken")
					}
					seen.add(s)
				})
			})
		}
	}
	t.Run("schedules", draw)
	if given || n < manySchedules {
		return
	}
	// What is seldom may be missing from one batch; it is not from many.
	for batch := 0; batch < moreBatches && !t.Failed() && seen.missing() != ""; batch++ {
		t.Run("more schedules", draw)
	}
	if !t.Failed() {
		seen.require(t)
	}
}

// moreBatches is how many more batches are drawn while something was not reached.
const moreBatches = 5

// sightings counts what the schedules have led to, so that a simulation that no
// longer reaches something is noticed.
type sightings struct {
	mu    sync.Mutex
	count map[string]int
}

func (c *sightings) add(s *simulation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = map[string]int{}
	}
	c.count["schedules"]++
	c.count["checkout "+string(s.db.checkout.Status)]++
	for name := range s.calls {
		c.count["step "+name]++
	}
	for _, r := range s.db.refunds {
		c.count["refund "+r.Reason]++
		if r.RequestID != "" {
			c.count["part "+r.Method+" "+r.Status]++
		}
		if r.Revived {
			c.count["refund revived"]++
		}
	}
	for _, p := range s.db.parkedEver {
		what, _, _ := cutStep(p.Step)
		c.count["parked "+what]++
	}
	for id := range s.running {
		kind, _, _, _ := workflows.ParseID(id)
		c.count["run "+kind]++
	}
	if !s.lostAt.IsZero() {
		c.count["lost run"]++
	}
	for _, p := range s.db.payments {
		if p.ByToken {
			c.count["token "+string(p.Status)]++
			if s.doubted[p.ID] {
				c.count["token in doubt, then "+string(p.Status)]++
			}
		}
	}
	for name, n := range s.orphans {
		c.count["second half of "+name] += n
	}
	c.aftermath(s)
	for _, x := range s.bank.sessions {
		if p := s.db.payment(x.paymentID); x.state == charged {
			c.count["charged "+string(x.gateway)]++
			if p.Applied && len(s.db.payments) > 1 {
				c.count["paid with several attempts"]++
			}
		}
	}
	if h := s.db.hold(s.db.checkout.HoldID); s.db.checkout.Status == checkout.Paid && h.startedAt.Sub(dawn) > time.Duration(s.plan.Hold)*time.Second {
		c.count["paid late with units held again"]++
	}
}

// missing names something that the schedules should have led to and have not;
// empty when there is nothing. What chance seldom tells has tests of its own
// (TestRefund_OfMoneyThatCameBackIsNeverAccepted).
func (c *sightings) missing() string {
	want := []string{"checkout paid", "checkout expired", "checkout cancelled", "checkout payment_failed",
		"refund requested", "refund revived", "part original succeeded", "part original failed", "part bank_transfer succeeded", "part void succeeded", "refund late_payment", "refund duplicate_payment", "refund cancelled_checkout", "refund mismatch",
		"parked doubt", "parked gateway", "parked mismatch", "refund refund_came_back", "parked record", "parked refund", "parked shortage",
		"run late-payment", "run reservation", "run refund", "run shortage", "lost run",
		"attention authorization_lapsed", "attention authorization_voided", "attention captured_less_than_total", "attention charged_back", "attention refunded_at_provider",
		"authorization captured", "authorization lapsed", "authorization voided", "captured in part", "dispute lost", "dispute won", "lost to its order: authorization_lapsed", "lost to its order: voided",
		"panel refund succeeded", "panel refund failed", "parked capture", "run capture", "refused capture_in_progress", "refused void_in_progress",
		"second half of BeginPayment", "second half of SettleReturn", "second half of CloseAttempt", "second half of RefundPayment", "second half of VoidPayment", "second half of CapturePayment", "second half of VoidAuthorization",
		"charged transbank", "charged stripe", "charged mercadopago", "token captured", "token declined", "token refunded", "token in doubt, then captured", "token in doubt, then expired", "paid with several attempts", "paid late with units held again"}
	for name := range new(simulation).activities() {
		if name != "LookupRefund" && name != "HoldOf" { // no workflow calls them alone
			want = append(want, "step "+name)
		}
	}
	for _, w := range want {
		if c.count[w] == 0 {
			return w
		}
	}
	return ""
}

func (c *sightings) require(t *testing.T) {
	t.Helper()
	require.Empty(t, c.missing(), "never seen; seen: %v", c.count)
	for _, k := range slices.Sorted(maps.Keys(c.count)) {
		t.Logf("%6d %s", c.count[k], k)
	}
}

// TestSimulation_KnowsEveryActivity compares the names of the simulated steps
// with those of the real ones.
func TestSimulation_KnowsEveryActivity(t *testing.T) {
	t.Parallel()
	simulated := new(simulation).activities()
	for _, real := range []any{&activities.Checkouts{}, &activities.Payments{}, &activities.Reservations{}, &activities.Captures{}, &activities.Support{}} {
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

// TestSimulation_Regressions runs every schedule that has ever found a bug.
func TestSimulation_Regressions(t *testing.T) {
	t.Parallel()
	for name, plan := range map[string]schedule{
		"the database's clock behind Temporal's makes no circle": {Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Skew: -2 * time.Second, Reservation: 1, CCP: 1},
		"half of a stray payment went back in the panel, and its refund was never made": {Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Untraced: true, Steps: []step{
			{At: time.Second, Do: "approve"}, {In: "CloseAttempt", Nth: 1, When: "before", Do: "approve"}, {At: 407 * time.Second, Do: "form timeout", On: 2, N: 3},
			{At: 3 * time.Second, Do: "approve", On: 1}, {At: time.Second, Do: "replace", On: 2, N: 1}, {At: time.Second, Do: "approve", N: 3}, {At: 897 * time.Second, Do: "approve", On: 2},
			{At: 5 * time.Second, Do: "approve"}, {At: 40 * time.Second, Do: "give back", N: 5}, {At: 700 * time.Second, Do: "panel refund", N: 1}}, Faults: []fault{
			{Call: "RefundPayment", Nth: 1, Times: 2, When: "after", As: "unknown"}, {Call: "LoadRefund", Nth: 1, Times: 2, When: "after", As: "bug"}}},
		"a return opened by hand, then a lost run": {Gateway: "transbank", Units: 1, CCP: 1, Hold: 900, Lossy: true, Steps: []step{
			{At: time.Second, Do: returnAgain}, {At: 1198 * time.Second, Do: operator}}},
		"an attempt that began and whose answer was lost": {Gateway: "auto", Units: 1, CCP: 1, Hold: 900, Faults: []fault{
			{Call: "BeginPayment", Nth: 1, Times: 1, When: after, As: bug}}},
		"a buyer who returns while the run ends": {Gateway: "transbank", Units: 1, CCP: 1, Hold: 900, Steps: []step{
			{At: time.Second, Do: approve, N: 1}, {At: 897 * time.Second, Do: cancel}, {In: "EndUnpaid", Nth: 1, When: after, Do: returnAgain}}},
		"a lost run that had parked a step before it held anything": {Gateway: "transbank", Units: 1, Hold: 900, Lossy: true, Steps: []step{
			{At: time.Second, Do: operator}}, Faults: []fault{{Call: "HoldStock", Nth: 1, Times: 1, When: before, As: bug}}},
		"a lost run, ended by a late payment": {Gateway: "transbank", Units: 1, CCP: 1, Hold: 60, Lossy: true, Steps: []step{
			{At: time.Second, Do: operator}, {At: 57 * time.Second, Do: approve}}, Faults: []fault{{Call: "ReadCheckout", Nth: 1, Times: 1, When: after, As: bug}}},
		"a refund outlives the operator's cancel of its checkout": {Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Steps: []step{
			{In: "ReadCheckout", Nth: 1, When: before, Do: approveWrong}, {At: time.Second, Do: operator}}},
		"replaced before the first attempt began": {Gateway: "transbank", Units: 1, CCP: 1, Hold: 900, Steps: []step{
			{In: "HoldStock", Nth: 1, When: after, Do: replace}}},
		"replaced while a return is on its way to the workflow": {Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Steps: []step{
			{At: 3 * time.Second, Do: approve}, {At: 3 * time.Second, Do: replace}}},
		"replaced while a commit runs": {Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Steps: []step{
			{At: 3 * time.Second, Do: approve}, {In: "SettleReturn", Nth: 1, When: announced, Do: replace}}},
		"the operator cancels while a step parks": {Gateway: "transbank", Units: 1, CCP: 1, Hold: 900, Steps: []step{
			{In: "RecordAnswer", Nth: 2, When: after, Do: operator}}, Faults: []fault{{Call: "RecordAnswer", Nth: 1, Times: 2, When: after, As: bug}}},
		"a closed attempt that was in doubt is not pending again": {Gateway: "transbank", Units: 1, CCP: 1, Hold: 900, Steps: []step{
			{At: time.Second, Do: cancel}, {At: time.Second, Do: approve}}, Faults: []fault{{Call: "SettleReturn", Nth: 1, Times: 1, When: before, As: unknown}}},
		"a refund whose booking was not answered": {Gateway: "stripe", Units: 1, CCP: 1, Hold: 900, Steps: []step{
			{At: time.Second, Do: approveWrong}, {At: 495 * time.Second, Do: cancel}}, Faults: []fault{
			{Call: "RecordAnswer", Nth: 2, Times: 20, When: after, As: databaseAway}}},
		"a poll ends the doubt that a cancel waits for": {Gateway: "stripe", Units: 1, SCL: 1, Hold: 300, Steps: []step{
			{At: 99 * time.Second, Do: approve, N: 2}, {At: 100 * time.Second, Do: cancel}}, Faults: []fault{
			{Call: "SettleReturn", Nth: 1, Times: 8, When: after, As: unknownActed}}},
		"an attempt that was written and never begun": {Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Steps: []step{
			{In: "AddAttempt", Nth: 1, When: before, Do: operator}, {At: 20 * time.Second, Do: try, N: 2}, {At: 31 * time.Second, Do: approve, On: 1}},
			Faults: []fault{{Call: "CloseAttempt", Nth: 1, Times: 20, When: announced, As: unavailable}}},
		"a lost run that had told nobody of another amount": {Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Lossy: true, Steps: []step{
			{At: time.Second, Do: approveWrong}, {In: "RecordAnswer", Nth: 1, When: after, Do: operator}}},
		"a late payment beside a run that waits for a person": {Gateway: "transbank", Units: 1, SCL: 1, Hold: 300, Lossy: true, Steps: []step{
			{At: 280 * time.Second, Do: approve, N: 1}, {At: 298 * time.Second, Do: operator}, {At: 301 * time.Second, Do: returnAgain}},
			Faults: []fault{{Call: "Grace", Nth: 2, Times: 3, When: before, As: bug}}, Outages: []outage{{What: "transbank", At: 300 * time.Second, For: time.Minute}}},
		"a try of Begin that was taken for dead brings its link after the buyer was sent to another": {Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Steps: []step{
			{At: 2 * time.Second, Do: approve}}, Faults: []fault{{Call: "BeginPayment", Nth: 1, Times: 1, When: announced, As: outlived, For: 3 * time.Second},
			{Call: "SettleReturn", Nth: 1, Times: 40, When: after, As: credentials}}, Outages: []outage{{What: "transbank", At: 900 * time.Second, For: time.Hour}}},
		"a person accepts a mismatch whose authorization was voided": {Gateway: "stripe", Defers: true, Units: 1, SCL: 1, Hold: 900, Steps: []step{
			{At: 20 * time.Second, Do: cancel, N: 1}, {In: "CloseAttempt", Nth: 1, When: before, Do: approveWrong, On: 1}, {At: 50 * time.Second, Do: voidIt}},
			Faults: []fault{{Call: "VoidAuthorization", Nth: 1, Times: 2, When: announced, As: unknown}}},
		"a void that nobody answers until the authorization has lapsed": {Gateway: "mercadopago", Defers: true, Units: 1, SCL: 1, Hold: 900, Steps: []step{
			{At: 20 * time.Second, Do: replace, N: 1}, {In: "CloseAttempt", Nth: 1, When: announced, Do: approve, On: 1}},
			Faults: []fault{{Call: "VoidAuthorization", Nth: 1, Times: 300, When: announced, As: unknown}}},
		"a capture that is given up and was made": {Gateway: "mercadopago", Defers: true, Units: 1, SCL: 1, Hold: 900, Steps: []step{
			{At: 5 * time.Second, Do: approve}, {At: 40 * time.Second, Do: captureIt, N: 1}, {At: 9040 * time.Second, Do: giveBack}},
			Faults: []fault{{Call: "CapturePayment", Nth: 1, Times: 2, When: after, As: unknownActed}, {Call: "CapturePayment", Nth: 3, Times: 300, When: before, As: unknown}}},
		"a commit of a lost run after the next one has closed its attempt": {Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Lossy: true, Steps: []step{
			{At: 4 * time.Second, Do: try}, {At: 2 * time.Second, Do: approve}, {At: 3 * time.Second, Do: operator}},
			Faults: []fault{{Call: "SettleReturn", Nth: 1, Times: 1, When: after, As: late, For: 10 * time.Second}, {Call: "AskGateway", Nth: 1, Times: 40, When: before, As: unavailable}}},
		"a panel captures and gives back what a refund was to void": {Gateway: "mercadopago", Defers: true, Units: 1, SCL: 1, Hold: 300, Steps: []step{
			{At: 5 * time.Second, Do: approve}, {At: 322 * time.Second, Do: panelCapture, N: 3}, {At: 329 * time.Second, Do: giveBack, N: 2}, {At: 640 * time.Second, Do: panelRefund}}},
		"a person accepts a mismatch that was charged back": {Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Steps: []step{
			{At: time.Second, Do: approveWrong}, {At: time.Minute, Do: dispute, N: 3}, {At: 600 * time.Second, Do: support, N: 5}}},
		"a late run that waits for a person hears of the end of a dispute": {Gateway: "mercadopago", Defers: true, Units: 1, SCL: 1, Hold: 900, RefundTakes: 4 * time.Minute, RefundRefused: true, Lossy: true, Steps: []step{
			{At: 2 * time.Second, Do: replace, On: 1}, {At: 929 * time.Second, Do: dispute, On: 1}, {In: "CloseAttempt", Nth: 1, When: before, Do: approve, On: 1}, {At: 50 * time.Second, Do: panelCapture, N: 2}},
			Faults: []fault{{Call: "VoidAuthorization", Nth: 1, Times: 300, When: before, As: unknown}}},
		"two verbs at once on one step": {Gateway: "stripe", Units: 1, CCP: 1, Hold: 900, RefundRefused: true, Steps: []step{
			{At: time.Second, Do: approve, N: 1}, {At: time.Second, Do: cancel}, {At: 1500 * time.Second, Do: support}, {At: 1500 * time.Second, Do: support}},
			Faults: []fault{{Call: "RecordAnswer", Nth: 1, Times: 1, When: before, As: bug}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := simulate(plan)
			require.Empty(t, s.failed, s.story())
		})
	}
}

// TestSimulation_NoticesWhatIsBroken runs worlds and workflows that are wrong on
// purpose: a simulation that can't fail proves nothing.
func TestSimulation_NoticesWhatIsBroken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan   schedule
		broken func(*simulation)
		says   string
	}{
		"stock is freed before the gateway is asked": {
			plan: schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900},
			broken: func(s *simulation) {
				s.spoil = func(s *simulation, name string) {
					if name == "CloseAttempt" {
						s.freeing("expired", true)
						s.db.endUnpaid(checkout.Expired)
					}
				}
			},
			says: "stock is freed",
		},
		"a booked refund is not started": {
			plan: schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 5 * time.Second, Do: approve}, {In: "AskGateway", Nth: 1, When: before, Do: cancel}, {At: 4 * time.Second, Do: cancel}, {In: "CloseAttempt", Nth: 1, When: before, Do: approve}, {In: "CloseAttempt", Nth: 1, When: announced, Do: replace}}},
			broken: func(s *simulation) {
				s.workflows = map[string]any{workflows.RefundName: func(workflow.Context, workflows.RefundInput) error { return nil }}
			},
			says: "given back",
		},
		"a unit is promised twice": {
			plan: schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900},
			broken: func(s *simulation) {
				s.spoil = func(s *simulation, name string) {
					if name == "BeginPayment" {
						s.db.level(sku, "SCL-1").reserved++
					}
				}
			},
			says: "1 reserved, live holds have 0",
		},
		"a commit without units": {
			plan: schedule{Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 3 * time.Second, Do: approve}}},
			broken: func(s *simulation) {
				s.spoil = func(s *simulation, name string) {
					if name == "SettleReturn" {
						s.bank.committing = func(x *session) { s.db.release(s.db.checkout.HoldID); s.committing(x) }
					}
				}
			},
			says: "is charged and nothing is held",
		},
		"a paid checkout is undone": {
			plan: schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 3 * time.Second, Do: approve}}},
			broken: func(s *simulation) {
				s.spoil = func(s *simulation, name string) {
					if name == "EndRun" {
						s.db.setCheckout(checkout.Expired)
					}
				}
			},
			says: "may not go from paid to expired",
		},
		"news that are forgotten": {
			plan: schedule{Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 3 * time.Second, Do: approve}}},
			broken: func(s *simulation) {
				s.workflows = map[string]any{workflows.LatePaymentName: func(workflow.Context, workflows.CheckoutInput) error { return nil }}
				s.spoil = func(s *simulation, name string) {
					if name == "EndRun" {
						s.keep(newsRow{paymentID: s.db.payments[0].ID, kind: inbox.Webhook, eventID: "late"}, false)
					}
				}
			},
			says: "neither applied nor ignored",
		},
		"a run that waits for nothing": {
			plan: schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900},
			broken: func(s *simulation) {
				s.workflows = map[string]any{workflows.CheckoutName: func(ctx workflow.Context, in workflows.CheckoutInput) error {
					return workflow.Await(ctx, func() bool { return false })
				}}
			},
			says: "is at work",
		},
		"a capture whose answer was lost is made again": {
			plan: func() schedule {
				s := authorizedAndThen(step{At: time.Minute, Do: captureIt})
				s.Faults = []fault{{Call: "CapturePayment", Nth: 1, Times: 1, When: after, As: unknownActed}}
				return s
			}(),
			broken: func(s *simulation) { s.bank.blind, s.db.omitted = true, ruleAsk },
			says:   "was captured 2 times",
		},
		"an authorization lapses in silence": {
			plan: authorizedAndThen(), broken: omitting(ruleLapse), says: "does not pay its order any more",
		},
		"an authorization lapses while a refund was to void it, and the refund is given up": {
			plan: func() schedule {
				s := authorizedAndThen(step{At: time.Minute, Do: giveBack})
				s.RefundRefused, s.Ruling = true, 1
				return s
			}(),
			broken: omitting(ruleGivenUp), says: "does not pay its order any more",
		},
		"a person's word that it is approved captures an authorization": {
			plan: func() schedule {
				s := authorizedAndThen()
				s.Gateway, s.Faults = "transbank", []fault{{Call: "SettleReturn", Nth: 1, Times: 60, When: after, As: credentials}}
				return s
			}(),
			broken: omitting(ruleWord), says: "nothing was charged",
		},
		"what the panel gave back is not recorded": {
			plan:   schedule{Gateway: "mercadopago", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 5 * time.Second, Do: approve}, {At: time.Minute, Do: panelRefund}}},
			broken: omitting(rulePanel), says: "went back by the panel",
		},
		"a sum of which a part was taken for ours is not told again": {
			plan: schedule{Gateway: "transbank", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 5 * time.Second, Do: approve},
				{At: 40 * time.Second, Do: panelRefund}, {At: 40 * time.Second, Do: giveBack, N: askTwoParts}, {At: 164 * time.Second, Do: dispute, N: 2}},
				Faults: []fault{{Call: "RefundPayment", Nth: 1, Times: 900, When: announced, As: unavailable}}},
			broken: omitting(ruleSum), says: "went back by the panel",
		},
		"money that came back to a stray payment has nobody": {
			plan: func() schedule {
				s := strayMoney(schedule{Units: 1, SCL: 1, Hold: 900, RefundRefused: true, Ruling: 1})
				s.Steps = append(s.Steps, step{At: time.Minute, Do: panelRefund}, step{At: patience + 65*time.Minute, Do: panelLost})
				return s
			}(),
			broken: omitting(ruleCameBack), says: "came back from the panel",
		},
		"a lost dispute changes nothing": {
			plan:   schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 5 * time.Second, Do: approve}, {At: time.Minute, Do: dispute, N: 1}}},
			broken: omitting(ruleDispute), says: "lost dispute true",
		},
		"a refund that failed later is not made again": {
			plan: schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 5 * time.Second, Do: approve},
				{At: time.Minute, Do: giveBack}, {At: 3 * time.Hour, Do: refundLost}}},
			broken: omitting(ruleRevive), says: "are in our books",
		},
		"an update that is never answered": {
			plan: schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 5 * time.Second, Do: cancel}}},
			broken: func(s *simulation) {
				s.workflows = map[string]any{workflows.CheckoutName: func(ctx workflow.Context, in workflows.CheckoutInput) error {
					if err := workflow.SetUpdateHandler(ctx, workflows.UpdateCancel, func(ctx workflow.Context, _ workflows.CancelRequest) error {
						return workflow.Await(ctx, func() bool { return false })
					}); err != nil {
						return err
					}
					return workflow.Sleep(ctx, time.Minute)
				}}
			},
			says: "never answered",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := simulate(c.plan)
			require.Empty(t, s.failed, "without the mistake: %s", s.story())
			s = simulate(c.plan, c.broken)
			require.NotEmpty(t, s.failed, s.story())
			require.Contains(t, strings.Join(s.failed, "\n"), c.says)
		})
	}
}

// authorizedAndThen is an order whose money is only authorized.
func authorizedAndThen(steps ...step) schedule {
	return schedule{Gateway: "stripe", Defers: true, Units: 1, SCL: 1, Hold: 900, Steps: append([]step{{At: 5 * time.Second, Do: approve}}, steps...)}
}

func omitting(r rule) func(s *simulation) { return func(s *simulation) { s.db.omitted = r } }

// TestSimulation_DrawnSchedulesFindABrokenWorkflow shows that the schedules
// themselves come upon a mistake, without being told where it is.
func TestSimulation_DrawnSchedulesFindABrokenWorkflow(t *testing.T) {
	t.Parallel()
	noRefunds := func(s *simulation) {
		s.workflows = map[string]any{workflows.RefundName: func(workflow.Context, workflows.RefundInput) error { return nil }}
	}
	for seed := range 1500 {
		if s := simulate(schedules().Example(seed), noRefunds); len(s.failed) > 0 {
			require.Contains(t, strings.Join(s.failed, "\n"), "refund")
			return
		}
	}
	t.Fatal("no schedule noticed that refunds are never made")
}
