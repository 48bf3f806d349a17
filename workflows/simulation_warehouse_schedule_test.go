package workflows_test

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"justlogistics/workflows"
)

// shift is everything that is drawn for the life of one transfer, receipt or
// count. Printed, it is the Go literal to be added to the regressions.
//
// In its steps N says how the API's signal fares that should follow the row's
// change (signalLost, signalLate, signalTwice), and On which bin, how many units
// or which verb it is about.
type shift struct {
	Kind string
	// Due is after how long a transfer or a receipt is late; a count always is
	// after a day.
	Due   time.Duration
	Units int // of each SKU on the lorry, or bins to be counted
	// Recount: a bin that differs is counted again by another person.
	Recount bool
	// LostStart: the API dies between writing the row and starting its run.
	LostStart bool
	Skew      time.Duration // of the database's clock
	// Idle is when somebody brings it to its end at the door, whatever happened
	// before; Ending is how the signal of that fares.
	Idle    time.Duration
	Ending  int
	Steps   []step
	Faults  []fault
	Outages []outage
}

// How the signal fares that the API sends when a row has changed.
const (
	signalLost  = 1
	signalLate  = 2
	signalTwice = 4
)

const (
	arrive        act = "arrive"         // On units of each SKU; 0 is all
	arriveDamaged act = "arrive damaged" // the same, not for sale
	loseSome      act = "lose"
	recallSome    act = "recall"
	scanGoods     act = "scan"
	correctScan   act = "correct"
	orderGone     act = "order gone" // its purchase order is cancelled, which nobody tells the run
	closeReceipt  act = "close"
	giveItUp      act = "give up" // cancels a receipt, or what is left of a count
	countRight    act = "count right"
	countWrong    act = "count wrong"
	approveBin    act = "approve bin"
	rejectBin     act = "reject bin"
	useVerb       act = "use verb" // what the support list offers
	loseRun       act = "lose run" // with Temporal's data: the sweeper begins another
	endRun        act = "end run"  // somebody terminates it: a person begins another
	cancelRun     act = "cancel run"
	restartRun    act = "restart run" // the verb, if the run is gone
	startAgain    act = "start again" // the request that began it is repeated
	growLong      act = "grow long"   // the run's history is long enough now
)

// actsOf are what people do with one kind, and what happens to any.
var actsOf = map[string][]act{
	workflows.KindTransfer: {arrive, arrive, arrive, arriveDamaged, loseSome, recallSome},
	workflows.KindReceipt:  {scanGoods, scanGoods, correctScan, orderGone, closeReceipt, giveItUp},
	workflows.KindCount:    {countRight, countRight, countRight, countWrong, countWrong, countWrong, approveBin, rejectBin, giveItUp},
}

var actsOfAll = []act{useVerb, useVerb, useVerb, wrongVerb, loseRun, endRun, cancelRun, restartRun, startAgain, growLong}

// callsOf are the activities of a kind, the ones that change its row last.
var callsOf = map[string][]string{
	workflows.KindTransfer: {"LoadWatched", "ParkStep", "UnparkStep", "PostponeWatched", "ResolveWatched"},
	workflows.KindReceipt:  {"LoadWatched", "ParkStep", "UnparkStep", "PostponeWatched"},
	workflows.KindCount:    {"LookAtCount", "ParkStep", "UnparkStep", "ExtendCount", "CancelCount"},
}

func shifts() *rapid.Generator[shift] {
	return rapid.Custom(func(t *rapid.T) shift {
		s := shift{
			Kind:      rapid.SampledFrom([]string{workflows.KindTransfer, workflows.KindReceipt, workflows.KindCount}).Draw(t, "kind"),
			Due:       time.Duration(rapid.SampledFrom([]int{0, 10, 90, 300, 720}).Draw(t, "due")) * time.Minute,
			Units:     rapid.IntRange(1, 4).Draw(t, "units"),
			Recount:   rapid.Bool().Draw(t, "recount"),
			LostStart: rapid.IntRange(0, 7).Draw(t, "lost start") == 7,
			Skew:      time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, -1, 2, -2}).Draw(t, "skew")) * time.Second,
			Ending:    rapid.IntRange(0, 7).Draw(t, "ending"),
		}
		if s.Kind == workflows.KindCount {
			s.Due = 24 * time.Hour
		}
		s.Idle = rapid.SampledFrom([]time.Duration{time.Hour, s.Due + time.Hour, s.Due + 5*time.Hour, s.Due + 27*time.Hour}).Draw(t, "idle")
		acts := slices.Concat(actsOf[s.Kind], actsOf[s.Kind], actsOfAll)
		s.Steps = rapid.SliceOfN(shiftSteps(s, acts), 0, 6).Draw(t, "steps")
		s.Faults = rapid.SliceOfN(shiftFaults(s.Kind), 0, 2).Draw(t, "faults")
		if rapid.IntRange(0, 5).Draw(t, "outage") == 5 {
			s.Outages = []outage{{What: "database", At: shiftMoments(s).Draw(t, "away at"), For: time.Duration(rapid.IntRange(1, int(outagesLast/time.Second)).Draw(t, "away for")) * time.Second}}
		}
		stories[rapid.IntRange(0, len(stories)-1).Draw(t, "story")](t, &s)
		return s
	})
}

// shiftMoments are times after the start, most of them near those at which a run
// does something by itself.
func shiftMoments(s shift) *rapid.Generator[time.Duration] {
	seconds := rapid.OneOf(rapid.IntRange(0, 7200), rapid.IntRange(-3, 3), rapid.IntRange(-3600, 7200), rapid.IntRange(0, 30*3600))
	return rapid.Custom(func(t *rapid.T) time.Duration {
		from := rapid.SampledFrom([]time.Duration{0, time.Hour, s.Due, s.Due, s.Due + time.Hour, 4 * time.Hour}).Draw(t, "near")
		return max(from+time.Duration(seconds.Draw(t, "off"))*time.Second, time.Second)
	})
}

func shiftSteps(s shift, acts []act) *rapid.Generator[step] {
	return rapid.Custom(func(t *rapid.T) step {
		st := step{Do: rapid.SampledFrom(acts).Draw(t, "do"), On: rapid.SampledFrom([]int{0, 1, 1, 2, 3}).Draw(t, "on"), N: rapid.SampledFrom([]int{0, 0, 0, signalLost, signalLost, signalLate, signalTwice, signalLate | signalTwice}).Draw(t, "n")}
		if rapid.IntRange(0, 3).Draw(t, "in a call") < 3 {
			st.At = shiftMoments(s).Draw(t, "at")
			return st
		}
		st.In = rapid.SampledFrom(callsOf[s.Kind]).Draw(t, "in")
		st.Nth = rapid.IntRange(1, 3).Draw(t, "nth")
		st.When = rapid.SampledFrom([]phase{before, after}).Draw(t, "when")
		return st
	})
}

func shiftFaults(kind string) *rapid.Generator[fault] {
	return rapid.Custom(func(t *rapid.T) fault {
		f := fault{Call: rapid.SampledFrom(callsOf[kind]).Draw(t, "call"), Nth: rapid.IntRange(1, 3).Draw(t, "nth"), Times: rapid.SampledFrom([]int{1, 1, 2, 20}).Draw(t, "times"),
			When: rapid.SampledFrom([]phase{before, after}).Draw(t, "when"), As: rapid.SampledFrom([]failure{databaseAway, timesOut, bug, outlived}).Draw(t, "as")}
		if f.Call == "ParkStep" || f.Call == "UnparkStep" { // tried for as long as it takes, which the environment does not
			f.As, f.Times = databaseAway, min(f.Times, 3)
		}
		if f.As == outlived {
			f.When, f.Times, f.For = before, 1, time.Duration(rapid.SampledFrom([]int{1, 5, 90, 4000}).Draw(t, "for"))*time.Second
		}
		return f
	})
}

// stories are beginnings that chance alone seldom tells.
var stories = []func(t *rapid.T, s *shift){
	func(*rapid.T, *shift) {},
	func(*rapid.T, *shift) {},
	func(t *rapid.T, s *shift) { // nobody does anything, and then a person decides
		s.Idle = max(s.Idle, s.Due+4*time.Hour)
		verb := rapid.IntRange(0, 1).Draw(t, "verb")
		s.Steps = append(s.Steps, step{At: s.Due + time.Duration(rapid.IntRange(1, 200).Draw(t, "decided after"))*time.Minute, Do: useVerb, On: verb})
		if rapid.Bool().Draw(t, "and a worker is taken for dead") {
			effects := callsOf[s.Kind][3:] // in the order of the verbs
			s.Faults = append(s.Faults, fault{Call: effects[verb%len(effects)], Nth: 1, Times: 1, When: before, As: outlived, For: time.Duration(rapid.SampledFrom([]int{1, 90, 4000}).Draw(t, "second half after")) * time.Second})
		}
	},
	func(t *rapid.T, s *shift) { // the request that began it dies, and is repeated
		s.LostStart = true
		s.Steps = append(s.Steps, step{At: time.Duration(rapid.IntRange(1, 20).Draw(t, "repeated after")) * time.Second, Do: startAgain})
	},
	func(t *rapid.T, s *shift) { // two people decide at once
		at := s.Due + time.Duration(rapid.IntRange(1, 100).Draw(t, "decided after"))*time.Minute
		s.Idle = max(s.Idle, at+time.Hour)
		s.Steps = append(s.Steps, step{At: at, Do: useVerb, On: rapid.IntRange(0, 3).Draw(t, "one")}, step{At: at, Do: useVerb, On: rapid.IntRange(0, 3).Draw(t, "other")})
	},
	func(t *rapid.T, s *shift) { // the run is lost, or ended, while a person is asked
		at := s.Due + time.Duration(rapid.IntRange(1, 100).Draw(t, "gone after"))*time.Minute
		s.Idle = max(s.Idle, at+3*time.Hour)
		s.Steps = append(s.Steps, step{At: at, Do: rapid.SampledFrom([]act{loseRun, endRun, cancelRun}).Draw(t, "gone")})
		if rapid.Bool().Draw(t, "and it comes to its end") {
			s.Idle = at + time.Duration(rapid.IntRange(-1, 2).Draw(t, "end at"))*time.Minute
		}
	},
	func(t *rapid.T, s *shift) { // a new history begins while a person is asked
		at := s.Due + time.Duration(rapid.IntRange(1, 100).Draw(t, "long after"))*time.Minute
		s.Idle = max(s.Idle, at+4*time.Hour)
		s.Steps = append(s.Steps, step{At: at, Do: growLong},
			step{At: at + time.Duration(rapid.IntRange(1, 100).Draw(t, "then after"))*time.Minute, Do: rapid.SampledFrom(append([]act{useVerb, useVerb}, actsOf[s.Kind]...)).Draw(t, "then"), On: rapid.IntRange(0, 2).Draw(t, "on")})
		if rapid.Bool().Draw(t, "in the middle") {
			s.Steps = append(s.Steps, step{In: rapid.SampledFrom([]string{"UnparkStep", "ParkStep", callsOf[s.Kind][0]}).Draw(t, "in"), Nth: rapid.IntRange(1, 2).Draw(t, "nth"), When: rapid.SampledFrom([]phase{before, after}).Draw(t, "when"), Do: useVerb, On: rapid.IntRange(0, 3).Draw(t, "verb")})
		}
	},
	func(t *rapid.T, s *shift) { // a difference waits for approval until somebody is asked
		s.Kind, s.Due, s.Recount, s.Units = workflows.KindCount, 24*time.Hour, rapid.Bool().Draw(t, "twice"), rapid.IntRange(2, 5).Draw(t, "bins")
		s.Steps, s.Faults = nil, nil
		for i := range 2 {
			s.Steps = append(s.Steps, step{At: time.Duration(60+i) * time.Second, Do: countWrong, On: 1})
		}
		at := time.Duration(rapid.SampledFrom([]int{200, 245, 300, 500, 24*60 + 30}).Draw(t, "then at")) * time.Minute
		s.Idle = max(s.Idle, at+3*time.Hour)
		s.Steps = append(s.Steps, step{At: at, Do: rapid.SampledFrom([]act{countWrong, countWrong, countWrong, useVerb, useVerb, approveBin, rejectBin, growLong}).Draw(t, "then"), On: rapid.IntRange(1, 2).Draw(t, "on")},
			step{At: at + 2*time.Hour, Do: rapid.SampledFrom([]act{useVerb, approveBin, countRight, loseRun}).Draw(t, "and then"), On: rapid.IntRange(0, 2).Draw(t, "and on")})
	},
	func(t *rapid.T, s *shift) { // bins are left and a difference waits, and two people decide
		s.Kind, s.Due, s.Recount, s.Units = workflows.KindCount, 24*time.Hour, false, rapid.IntRange(2, 4).Draw(t, "bins")
		s.Steps, s.Faults = []step{{At: time.Minute, Do: countWrong}}, nil
		at := 24*time.Hour + time.Duration(rapid.IntRange(1, 200).Draw(t, "decided after"))*time.Minute
		s.Idle = at + 3*time.Hour
		for _, who := range []string{"one", "other"} {
			s.Steps = append(s.Steps, step{At: at, Do: rapid.SampledFrom([]act{useVerb, useVerb, useVerb, growLong}).Draw(t, who), On: rapid.IntRange(0, 3).Draw(t, who+"'s verb")})
		}
		if rapid.Bool().Draw(t, "in the middle") {
			s.Steps = append(s.Steps, step{In: rapid.SampledFrom(callsOf[s.Kind][1:]).Draw(t, "in"), Nth: rapid.IntRange(1, 2).Draw(t, "nth"), When: rapid.SampledFrom([]phase{before, after}).Draw(t, "when"), Do: useVerb, On: rapid.IntRange(0, 3).Draw(t, "verb")})
		}
	},
}

// String is the shift as Go.
func (s shift) String() string {
	return fmt.Sprintf("shift{Kind: %q, Due: %d * time.Second, Units: %d, Recount: %t, LostStart: %t, Skew: %d, Idle: %d * time.Second, Ending: %d%s}",
		s.Kind, s.Due/time.Second, s.Units, s.Recount, s.LostStart, s.Skew, s.Idle/time.Second, s.Ending, asGo(s.Steps, s.Faults, s.Outages))
}
