package workflows_test

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// schedule is everything that is drawn for one run of the saga. Printed, it is
// the Go literal to be added to the regressions.
type schedule struct {
	Gateway string // transbank, stripe or auto
	// Token is what the storefront's token for the first attempt leads to, ""
	// for none; TokenTardy: the notification of it comes late.
	Token      string
	TokenTardy bool
	// Defers: the tenant only authorizes, and captures later.
	Defers      bool
	Units       int // of one SKU, that the buyer wants
	SCL, CCP    int // on the shelves
	Hold        int // seconds
	Skew        time.Duration
	Reservation int // units of a reservation beside the checkout; 0 for none
	Steps       []step
	Faults      []fault
	Outages     []outage
	// RefundTakes is how long the provider has a refund pending.
	RefundTakes   time.Duration
	RefundRefused bool
	// Untraced: a refund whose answer was lost cannot be asked for.
	Untraced bool
	// Lossy: the operator's cancel is a loss of the run instead, as when
	// Temporal's file is deleted: the sweeper begins it anew from its rows.
	Lossy bool
	// Ruling is how the person at the support desk rules: odd says no.
	Ruling int
	// BackOrders is how long the tenant has short orders wait for stock; 0 asks a
	// person at once.
	BackOrders time.Duration
}

// step is something that somebody does: at a time after the start, or in the
// Nth call of an activity.
type step struct {
	At   time.Duration
	In   string
	Nth  int
	When phase
	Do   act
	// On is the attempt that it concerns, counted from 1; 0 is the newest.
	On int
	N  int
}

// phase is a moment in a call: before anything, between the transaction that
// announces it and the call of the gateway, after its effect.
type phase string

const (
	before    phase = "before"
	announced phase = "announced"
	after     phase = "after"
)

type act string

const (
	approve      act = "approve"       // N&1: does not come back; N&2: the notification comes late; N&4: the API dies after storing the return
	approveWrong act = "approve wrong" // another amount than asked
	decline      act = "decline"
	abort        act = "abort"
	formTimeout  act = "form timeout"
	process      act = "process" // the provider works on it for N minutes, and approves unless N is odd
	returnAgain  act = "return again"
	notifyAgain  act = "notify again"
	cancel       act = "cancel"
	try          act = "try" // N: the gateway
	tryAgain     act = "try again"
	beginAgain   act = "begin again"
	othersBuy    act = "others buy"
	othersReturn act = "others return"
	count        act = "count" // N units are on the shelf of SCL-1
	restock      act = "restock"
	replace      act = "replace"  // by another checkout of the same buyer
	operator     act = "operator" // cancels the run in Temporal
	support      act = "support"
	wrongVerb    act = "wrong verb"
	giveBack     act = "give back"   // N: the kind of refund that support asks for
	refundLost   act = "refund lost" // the provider says that a refund which succeeded has failed
	refundTold   act = "refund told" // news of refunds
	captureIt    act = "capture"     // N: the whole, a half, a little
	voidIt       act = "void"
	panelCapture act = "panel capture" // at the provider, like the next ones; N: how much; N&2: told late
	panelVoid    act = "panel void"
	panelRefund  act = "panel refund"
	panelLost    act = "panel lost"   // the panel's refund fails
	loseCapture  act = "lose capture" // somebody cancels its run in Temporal
	dispute      act = "dispute"      // for N hours; lost when N is odd
	reserveMore  act = "extend"
	confirmIt    act = "confirm"
	releaseIt    act = "release"
)

var buyersActs = []act{approve, approve, approve, approve, decline, decline, abort, formTimeout, process, returnAgain, notifyAgain, approveWrong, cancel, try, try, tryAgain, beginAgain}

var othersActs = []act{othersBuy, othersReturn, count, restock, replace, operator, support, support, wrongVerb, giveBack, giveBack, refundLost, dispute, refundTold, panelRefund}

var authorizationActs = []act{captureIt, captureIt, captureIt, voidIt, voidIt, giveBack, giveBack, panelCapture, panelVoid, loseCapture, support, dispute}

var aftermathActs = []act{giveBack, giveBack, panelRefund, panelRefund, panelLost, refundLost, dispute, refundTold, support}

var reservationActs = []act{reserveMore, confirmIt, releaseIt}

// fault is what goes wrong in the Nth call of an activity and the Times - 1
// after it.
type fault struct {
	Call       string
	Nth, Times int
	When       phase
	As         failure
	For        time.Duration // slow, late and outlived
}

type failure string

const (
	databaseAway failure = "database away"
	timesOut     failure = "times out" // the worker dies: retried by Temporal
	bug          failure = "bug"
	unavailable  failure = "unavailable"
	rateLimited  failure = "rate limited"
	credentials  failure = "credentials"
	unknown      failure = "unknown"       // nothing was done, nobody knows
	unknownActed failure = "unknown acted" // it was done, nobody knows
	slow         failure = "slow"          // the answer takes For
	late         failure = "late"          // the effect takes For
	outlived     failure = "outlived"      // the worker is given up, and does the rest For later
	refusesIt    failure = "refuses"       // of a capture or void: the provider does not do it
)

// outage is a time in which something is not there.
type outage struct {
	What    string // database, transbank or stripe
	At, For time.Duration
}

var databaseCalls = []string{"HoldStock", "NextGateway", "AddAttempt", "ReadCheckout", "GiveUp", "Grace", "EndUnpaid", "EndRun", "RecordAnswer", "HoldAgain", "LetGo", "NotCommitted", "RefundStray", "CureShort", "MendShort", "DecideShort", "Shorted", "NotBegun",
	"LoadRefund", "PutRefund", "RemakeRefund", "SettleRefund", "LoadCapture", "WithdrawCapture", "PutCaptureOff", "ParkStep", "UnparkStep", "Reserve", "LoadReservation", "EndReservation", "ExtendReservation", "ConfirmReservation"}

var gatewayCalls = []string{"BeginPayment", "SettleReturn", "AskGateway", "CloseAttempt", "RefundPayment", "VoidPayment", "CapturePayment", "VoidAuthorization"}

// outagesLast bounds how long a database is away: a regular activity of the
// test environment is tried ten times, where Temporal tries for ever.
const outagesLast = 90 * time.Second

func schedules() *rapid.Generator[schedule] {
	return rapid.Custom(func(t *rapid.T) schedule {
		s := schedule{
			Gateway: rapid.SampledFrom([]string{"transbank", "stripe", "auto", "mercadopago"}).Draw(t, "gateway"),
			Units:   rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(t, "units"),
			SCL:     rapid.SampledFrom([]int{1, 2, 1, 3, 0, 4}).Draw(t, "scl"),
			CCP:     rapid.SampledFrom([]int{0, 1, 2, 3}).Draw(t, "ccp"),
			Hold:    rapid.SampledFrom([]int{900, 300, 60}).Draw(t, "hold"),
			Skew:    time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, -1, 2, -2}).Draw(t, "skew")) * time.Second,
		}
		if rapid.IntRange(0, 3).Draw(t, "refunds") == 3 {
			s.RefundRefused = rapid.Bool().Draw(t, "refund refused")
			s.RefundTakes = time.Duration(rapid.IntRange(0, 90).Draw(t, "refund takes")) * time.Minute
		}
		s.Lossy = rapid.IntRange(0, 2).Draw(t, "lossy") == 2
		s.Ruling = rapid.IntRange(0, 1).Draw(t, "ruling")
		s.BackOrders = time.Duration(rapid.SampledFrom([]int{0, 0, 1, 6}).Draw(t, "back orders")) * time.Hour
		acts := append(append([]act{}, buyersActs...), othersActs...)
		if s.Defers = rapid.IntRange(0, 4).Draw(t, "defers") == 4; s.Defers {
			acts = append(acts, authorizationActs...)
		}
		if rapid.IntRange(0, 4).Draw(t, "reservation") == 4 {
			s.Reservation = rapid.IntRange(1, 3).Draw(t, "reserved units")
			acts = append(acts, reservationActs...)
			acts = append(acts, reservationActs...)
		}
		s.Steps = rapid.SliceOfN(steps(s.Hold, acts), 0, 7).Draw(t, "steps")
		s.Faults = rapid.SliceOfN(faults(), 0, 3).Draw(t, "faults")
		s.Outages = rapid.SliceOfN(outages(s.Hold), 0, 1).Draw(t, "outages")
		themes[rapid.IntRange(0, len(themes)-1).Draw(t, "theme")](t, &s)
		return s
	})
}

// themes are beginnings of stories that chance alone seldom tells; what is
// drawn besides may turn them any way.
var themes = []func(t *rapid.T, s *schedule){
	func(*rapid.T, *schedule) {},
	func(*rapid.T, *schedule) {},
	func(t *rapid.T, s *schedule) { // the buyer pays in time
		s.Steps = append(s.Steps, step{At: time.Duration(rapid.IntRange(2, s.Hold-1).Draw(t, "paid at")) * time.Second, Do: approve, N: rapid.IntRange(0, 7).Draw(t, "how")})
	},
	func(t *rapid.T, s *schedule) { // the bank says no
		s.Steps = append(s.Steps, step{At: time.Duration(rapid.IntRange(2, s.Hold-1).Draw(t, "declined at")) * time.Second, Do: decline})
	},
	func(t *rapid.T, s *schedule) { // the form is paid, and the buyer comes back late
		end := time.Duration(s.Hold) * time.Second
		s.Gateway = "transbank"
		s.Steps = append(s.Steps, step{At: end - 20*time.Second, Do: approve, N: 1}, step{At: end + time.Duration(rapid.IntRange(1, 200).Draw(t, "late by"))*time.Second, Do: returnAgain})
	},
	func(t *rapid.T, s *schedule) { // the gateway is away until the stock is gone, and the buyer pays
		end := time.Duration(s.Hold+graceLimit) * time.Second
		s.Gateway = "stripe"
		s.Outages = append(s.Outages, outage{What: "stripe", At: time.Duration(s.Hold-30) * time.Second, For: 900 * time.Second})
		if rapid.Bool().Draw(t, "sold out") {
			s.Steps = append(s.Steps, step{At: end + 35*time.Second, Do: othersBuy, N: s.SCL + s.CCP - 1})
		}
		s.Steps = append(s.Steps, step{At: end + 40*time.Second, Do: approve, N: rapid.IntRange(0, 7).Draw(t, "how")})
	},
	func(t *rapid.T, s *schedule) { // another attempt while the first can't be closed, and both are paid
		s.Gateway = "stripe"
		s.Faults = append(s.Faults, fault{Call: "CloseAttempt", Nth: 1, Times: 20, When: announced, As: unavailable})
		s.Steps = append(s.Steps, step{At: 20 * time.Second, Do: try, N: rapid.IntRange(0, 2).Draw(t, "with")})
		for i, n := range rapid.SampledFrom([][]int{{1, 2}, {2, 1}}).Draw(t, "order") {
			s.Steps = append(s.Steps, step{At: time.Duration(31+i*rapid.IntRange(0, 20).Draw(t, "apart")) * time.Second, Do: approve, On: n})
		}
	},
	func(t *rapid.T, s *schedule) { // nobody tells what became of the money
		at := time.Duration(rapid.IntRange(2, s.Hold).Draw(t, "paid at")) * time.Second
		s.Steps = append(s.Steps, step{At: at, Do: approve}, step{At: at + time.Second, Do: rapid.SampledFrom([]act{cancel, try, support, returnAgain, operator}).Draw(t, "then")})
		as := rapid.SampledFrom([]failure{unknown, unknownActed, timesOut, credentials, late}).Draw(t, "settled as")
		f := fault{Call: "SettleReturn", Nth: 1, Times: rapid.SampledFrom([]int{1, 3, 40}).Draw(t, "often"), When: after, As: as}
		if as == late {
			f.Times, f.For = 1, 10*time.Second
		}
		s.Faults = append(s.Faults, f, fault{Call: "AskGateway", Nth: 1, Times: rapid.SampledFrom([]int{1, 3, 40}).Draw(t, "often"), When: before, As: unavailable})
	},
	func(t *rapid.T, s *schedule) { // it is paid, and the shelf has less
		s.Steps = append(s.Steps, step{At: 5 * time.Second, Do: approve}, step{At: time.Duration(rapid.IntRange(4, 30).Draw(t, "counted at")) * time.Second, Do: count, N: rapid.IntRange(0, 2).Draw(t, "counted")})
	},
	func(t *rapid.T, s *schedule) { // cancelled and paid at once
		at := time.Duration(rapid.IntRange(2, s.Hold).Draw(t, "at")) * time.Second
		s.Steps = append(s.Steps, step{At: at, Do: rapid.SampledFrom([]act{cancel, replace, operator}).Draw(t, "ended by")},
			step{In: rapid.SampledFrom([]string{"CloseAttempt", "RecordAnswer", "EndUnpaid", "EndRun", "AskGateway"}).Draw(t, "in"), Nth: 1, When: rapid.SampledFrom([]phase{before, announced, after}).Draw(t, "when"), Do: approve})
	},
	func(t *rapid.T, s *schedule) { // the provider charged another amount
		s.Steps = append(s.Steps, step{At: 9 * time.Second, Do: approveWrong, N: rapid.IntRange(0, 7).Draw(t, "how")})
	},
	func(t *rapid.T, s *schedule) { // the first gateway of the route is away
		s.Gateway = "auto"
		s.Outages = append(s.Outages, outage{What: "transbank", For: time.Minute})
		s.Steps = append(s.Steps, step{At: time.Duration(rapid.IntRange(2, 90).Draw(t, "then at")) * time.Second, Do: rapid.SampledFrom([]act{approve, try, decline, cancel}).Draw(t, "then"), N: rapid.IntRange(0, 2).Draw(t, "how")})
	},
	func(t *rapid.T, s *schedule) { // it is paid, and support gives money back
		s.Steps = append(s.Steps, step{At: 5 * time.Second, Do: approve}, step{At: 40 * time.Second, Do: giveBack, N: rapid.IntRange(0, askKinds-1).Draw(t, "kind")})
		for i := range rapid.IntRange(0, 3).Draw(t, "then") {
			s.Steps = append(s.Steps, step{At: time.Duration(i+1) * time.Duration(rapid.SampledFrom([]int{20, 50, 600, 4000}).Draw(t, "apart")) * time.Second,
				Do: rapid.SampledFrom([]act{giveBack, refundLost, refundLost, dispute, refundTold, support}).Draw(t, "news"), N: rapid.IntRange(0, askKinds-1).Draw(t, "n")})
		}
		s.Faults = append(s.Faults, fault{Call: rapid.SampledFrom([]string{"RefundPayment", "VoidPayment", "PutRefund", "LoadRefund"}).Draw(t, "fails"), Nth: rapid.IntRange(1, 4).Draw(t, "nth"), Times: rapid.SampledFrom([]int{1, 2, 250}).Draw(t, "often"),
			When: rapid.SampledFrom([]phase{before, after}).Draw(t, "when"), As: rapid.SampledFrom([]failure{timesOut, databaseAway, timesOut}).Draw(t, "as")})
	},
	func(t *rapid.T, s *schedule) { // it is paid while another attempt is worked on, which support wants back
		s.Gateway = "stripe"
		s.Faults = append(s.Faults, fault{Call: "CloseAttempt", Nth: 1, Times: 20, When: announced, As: unavailable})
		s.Steps = append(s.Steps, step{At: 20 * time.Second, Do: try, N: 1}, step{At: 31 * time.Second, Do: process, On: 1, N: rapid.IntRange(2, 9).Draw(t, "minutes")}, step{At: 40 * time.Second, Do: approve, On: 2},
			step{At: time.Duration(rapid.IntRange(45, 100).Draw(t, "asked at")) * time.Second, Do: giveBack, N: askUnsettled})
	},
	func(t *rapid.T, s *schedule) { // somebody at the counter
		s.Reservation, s.CCP = max(s.Reservation, 1), max(s.CCP, 2)
		for i := range rapid.IntRange(1, 4).Draw(t, "acts") {
			s.Steps = append(s.Steps, step{At: time.Duration(s.Hold/4*(i+1)) * time.Second, Do: rapid.SampledFrom([]act{reserveMore, confirmIt, releaseIt, count}).Draw(t, "do"), N: rapid.IntRange(0, 2).Draw(t, "n")})
		}
	},
	byToken, byToken,
	authorization, authorization,
	func(t *rapid.T, s *schedule) { // it is authorized for an order that does not want it
		s.Defers, s.Gateway = true, rapid.SampledFrom([]string{"stripe", "mercadopago"}).Draw(t, "with")
		s.Steps = append(s.Steps, step{At: 20 * time.Second, Do: rapid.SampledFrom([]act{cancel, replace, try}).Draw(t, "ended by"), N: 1},
			step{In: "CloseAttempt", Nth: 1, When: rapid.SampledFrom([]phase{before, announced}).Draw(t, "when"), Do: rapid.SampledFrom([]act{approve, approve, approveWrong}).Draw(t, "paid"), On: 1},
			step{At: 50 * time.Second, Do: rapid.SampledFrom([]act{approve, voidIt, captureIt, panelCapture}).Draw(t, "then"), N: rapid.IntRange(0, 3).Draw(t, "n")},
			step{In: "VoidAuthorization", Nth: 1, When: rapid.SampledFrom([]phase{before, announced, after}).Draw(t, "voided"), Do: rapid.SampledFrom([]act{panelCapture, panelCapture, captureIt, loseCapture, giveBack}).Draw(t, "meanwhile"), N: rapid.IntRange(0, 3).Draw(t, "how")})
		s.Faults = append(s.Faults, fault{Call: "VoidAuthorization", Nth: 1, Times: rapid.SampledFrom([]int{1, 2, 300}).Draw(t, "often"), When: rapid.SampledFrom([]phase{before, announced, after}).Draw(t, "when"),
			As: rapid.SampledFrom([]failure{unavailable, timesOut, unknown, refusesIt}).Draw(t, "as")})
	},
	func(t *rapid.T, s *schedule) { // it is paid, and much happens to the money without us
		s.Gateway = rapid.SampledFrom([]string{"stripe", "mercadopago", "mercadopago", "transbank"}).Draw(t, "with")
		s.Steps = append(s.Steps, step{At: 5 * time.Second, Do: approve})
		at := 40 * time.Second
		for range rapid.IntRange(2, 5).Draw(t, "then") {
			s.Steps = append(s.Steps, step{At: at, Do: rapid.SampledFrom(aftermathActs).Draw(t, "comes"), N: rapid.IntRange(0, 5).Draw(t, "n")})
			at += time.Duration(rapid.SampledFrom([]int{0, 1, 20, 600, 4000, 9000}).Draw(t, "apart")) * time.Second
		}
		f := fault{Call: rapid.SampledFrom([]string{"RefundPayment", "RefundPayment", "PutRefund", "RecordAnswer"}).Draw(t, "fails"), Nth: rapid.IntRange(1, 3).Draw(t, "nth"), Times: rapid.SampledFrom([]int{1, 1, 3}).Draw(t, "often"),
			When: rapid.SampledFrom([]phase{before, after}).Draw(t, "when"), As: rapid.SampledFrom([]failure{timesOut, databaseAway}).Draw(t, "as")}
		if f.Call == "RefundPayment" {
			f.As = rapid.SampledFrom([]failure{timesOut, unknown, unknownActed, outlived, outlived}).Draw(t, "refunded as")
			f.For = time.Duration(rapid.SampledFrom([]int{1, 5, 20, 400, 9000}).Draw(t, "for")) * time.Second
		}
		s.Faults = append(s.Faults, f)
	},
	secondHalf, secondHalf,
	func(t *rapid.T, s *schedule) { // nobody can be asked for a refund whose answer was lost
		s.Untraced, s.RefundRefused = true, false
		s.Steps = append(s.Steps, step{At: 5 * time.Second, Do: approve}, step{At: 40 * time.Second, Do: giveBack, N: rapid.IntRange(0, askKinds-1).Draw(t, "kind")},
			step{At: time.Duration(rapid.SampledFrom([]int{60, 700, 900, 1000}).Draw(t, "then at")) * time.Second, Do: rapid.SampledFrom([]act{support, support, giveBack, panelRefund, dispute, refundTold}).Draw(t, "then"), N: rapid.IntRange(0, 5).Draw(t, "n")})
		s.Faults = append(s.Faults, fault{Call: "RefundPayment", Nth: rapid.IntRange(1, 2).Draw(t, "nth"), Times: rapid.SampledFrom([]int{1, 1, 2}).Draw(t, "often"), When: after, As: rapid.SampledFrom([]failure{unknown, unknownActed, timesOut}).Draw(t, "lost as")})
		if rapid.Bool().Draw(t, "and more fails") {
			s.Faults = append(s.Faults, fault{Call: rapid.SampledFrom([]string{"RemakeRefund", "PutRefund", "LoadRefund"}).Draw(t, "fails"), Nth: 1, Times: rapid.SampledFrom([]int{1, 2}).Draw(t, "times"),
				When: rapid.SampledFrom([]phase{before, after}).Draw(t, "when"), As: rapid.SampledFrom([]failure{timesOut, databaseAway, bug}).Draw(t, "as")})
		}
	},
	func(t *rapid.T, s *schedule) { // the panel gives back, and that fails
		s.Gateway = rapid.SampledFrom([]string{"stripe", "mercadopago"}).Draw(t, "with")
		s.Steps = append(s.Steps, step{At: 5 * time.Second, Do: approve}, step{At: 40 * time.Second, Do: panelRefund, N: rapid.IntRange(0, 5).Draw(t, "given back")},
			step{At: 2000 * time.Second, Do: rapid.SampledFrom([]act{giveBack, dispute, panelRefund, refundTold}).Draw(t, "then"), N: rapid.IntRange(0, 5).Draw(t, "n")},
			step{At: 3000 * time.Second, Do: rapid.SampledFrom([]act{panelLost, panelLost, refundLost}).Draw(t, "lost"), N: rapid.IntRange(0, 5).Draw(t, "how")})
	},
	func(t *rapid.T, s *schedule) { // money that may not be kept goes back in the panel, and that fails
		s.Gateway = rapid.SampledFrom([]string{"stripe", "mercadopago"}).Draw(t, "with")
		if rapid.Bool().Draw(t, "of another amount") {
			s.Steps = append(s.Steps, step{At: 5 * time.Second, Do: approveWrong})
		} else {
			s.Steps = append(s.Steps, step{At: 10 * time.Second, Do: replace}, step{In: "CloseAttempt", Nth: 1, When: before, Do: approve, N: 3})
		}
		s.Steps = append(s.Steps, step{At: 40 * time.Second, Do: panelRefund, N: rapid.IntRange(0, 2).Draw(t, "given back")},
			step{At: time.Duration(rapid.SampledFrom([]int{50, 2000, 9000}).Draw(t, "lost at")) * time.Second, Do: panelLost},
			step{At: time.Duration(rapid.SampledFrom([]int{1900, 9500}).Draw(t, "then at")) * time.Second, Do: rapid.SampledFrom([]act{support, panelRefund, dispute, panelLost}).Draw(t, "then"), N: rapid.IntRange(0, 5).Draw(t, "n")})
	},
	func(t *rapid.T, s *schedule) { // the run is lost in the middle
		s.Lossy = true
		s.Steps = append(s.Steps, step{At: 9 * time.Second, Do: approve, N: rapid.IntRange(0, 7).Draw(t, "how")},
			step{In: rapid.SampledFrom([]string{"BeginPayment", "SettleReturn", "AskGateway", "CloseAttempt", "RecordAnswer", "EndUnpaid", "EndRun"}).Draw(t, "in"), Nth: 1, When: rapid.SampledFrom([]phase{before, announced, after}).Draw(t, "when"), Do: operator})
	},
}

// byToken: the storefront's token moves the money, and nobody may hear of it.
func byToken(t *rapid.T, s *schedule) {
	s.Gateway, s.TokenTardy = "mercadopago", rapid.Bool().Draw(t, "tardy")
	s.Token = rapid.SampledFrom([]string{tokenApproves, tokenApproves, tokenDeclines, tokenProcesses, tokenFails}).Draw(t, "token")
	f := fault{Call: "BeginPayment", Nth: 1, Times: rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(t, "often"), When: rapid.SampledFrom([]phase{before, announced, after}).Draw(t, "when"),
		As: rapid.SampledFrom([]failure{unknown, unknownActed, timesOut, unavailable, late, outlived, outlived}).Draw(t, "begun as")}
	if f.As == late || f.As == outlived {
		f.For = time.Duration(rapid.SampledFrom([]int{2, 9, 40, 400, 2000}).Draw(t, "for")) * time.Second
	}
	if f.As == late {
		f.For, f.Times = min(f.For, 11*time.Second), 1
	}
	s.Faults = append(s.Faults, f)
	if rapid.Bool().Draw(t, "nobody can be asked") {
		s.Faults = append(s.Faults, fault{Call: "AskGateway", Nth: 1, Times: rapid.SampledFrom([]int{1, 5, 40}).Draw(t, "asked"), When: announced, As: unavailable})
	}
	s.Steps = append(s.Steps, step{At: time.Duration(rapid.IntRange(2, 90).Draw(t, "then at")) * time.Second, Do: rapid.SampledFrom([]act{try, cancel, replace, operator, returnAgain, support, giveBack}).Draw(t, "then"), N: rapid.IntRange(0, 2).Draw(t, "n")})
}

// authorization: the money is authorized, and wanted, or not.
func authorization(t *rapid.T, s *schedule) {
	s.Defers = true
	s.Gateway = rapid.SampledFrom([]string{"stripe", "mercadopago", "transbank"}).Draw(t, "with")
	s.Steps = append(s.Steps, step{At: 5 * time.Second, Do: approve})
	at := 40 * time.Second
	if rapid.IntRange(0, 2).Draw(t, "wanted twice") == 2 { // and not the same
		s.Steps = append(s.Steps, step{At: at, Do: captureIt}, step{At: at, Do: rapid.SampledFrom([]act{captureIt, voidIt}).Draw(t, "also"), N: 1})
	}
	for range rapid.IntRange(1, 4).Draw(t, "then") {
		s.Steps = append(s.Steps, step{At: at, Do: rapid.SampledFrom(authorizationActs).Draw(t, "asked"), N: rapid.IntRange(0, 5).Draw(t, "n")})
		at += time.Duration(rapid.SampledFrom([]int{0, 1, 5, 30, 900, 9000, 17960}).Draw(t, "apart")) * time.Second
	}
	f := fault{Call: rapid.SampledFrom([]string{"CapturePayment", "CapturePayment", "VoidAuthorization", "VoidPayment", "RecordAnswer"}).Draw(t, "fails"), Nth: rapid.IntRange(1, 3).Draw(t, "nth"), Times: rapid.SampledFrom([]int{1, 1, 3, 300, 300}).Draw(t, "often"),
		When: rapid.SampledFrom([]phase{before, announced, after}).Draw(t, "when"), As: rapid.SampledFrom([]failure{timesOut, unavailable, unknown, unknownActed, refusesIt, credentials, outlived, outlived}).Draw(t, "as")}
	if f.Call == "RecordAnswer" {
		f.As, f.Times = timesOut, min(f.Times, 3)
	}
	if f.As == outlived {
		f.For = time.Duration(rapid.SampledFrom([]int{1, 5, 20, 400, 9000}).Draw(t, "for")) * time.Second
	}
	s.Faults = append(s.Faults, f)
	if rapid.Bool().Draw(t, "in the middle") {
		s.Steps = append(s.Steps, step{In: f.Call, Nth: rapid.IntRange(1, 2).Draw(t, "of"), When: rapid.SampledFrom([]phase{before, announced, after}).Draw(t, "at"), Do: rapid.SampledFrom(authorizationActs).Draw(t, "meanwhile"), N: rapid.IntRange(0, 5).Draw(t, "how")})
	}
}

// secondHalf: a worker is taken for dead, and does the rest when others have gone
// on.
func secondHalf(t *rapid.T, s *schedule) {
	seconds := func(label string, of ...int) time.Duration {
		return time.Duration(rapid.SampledFrom(of).Draw(t, label)) * time.Second
	}
	calls := append([]string{"VoidPayment", "CapturePayment", "VoidAuthorization"}, gatewayCalls...)
	f := fault{Call: rapid.SampledFrom(calls).Draw(t, "call"), Nth: 1, Times: 1, When: announced, As: outlived, For: seconds("for", 1, 5, 20, 400, 9000)}
	s.Steps = append(s.Steps, step{At: 5 * time.Second, Do: approve})
	switch f.Call {
	case "CapturePayment", "VoidAuthorization", "VoidPayment":
		s.Defers = true
		s.Steps = append(s.Steps, step{At: 40 * time.Second, Do: map[string]act{"CapturePayment": captureIt, "VoidAuthorization": voidIt, "VoidPayment": giveBack}[f.Call], N: rapid.IntRange(0, 2).Draw(t, "n")})
		if rapid.Bool().Draw(t, "unanswered") { // until a person has done something else
			s.Faults = append(s.Faults, fault{Call: f.Call, Nth: 2, Times: 300, When: announced, As: unavailable})
		}
	case "RefundPayment":
		s.Steps = append(s.Steps, step{At: 40 * time.Second, Do: giveBack, N: rapid.IntRange(0, 2).Draw(t, "n")})
	case "CloseAttempt":
		s.Steps[len(s.Steps)-1].At = 22 * time.Second
		s.Steps = append(s.Steps, step{At: 20 * time.Second, Do: rapid.SampledFrom([]act{cancel, try, replace}).Draw(t, "closed by"), N: 1})
	}
	s.Steps = append(s.Steps, step{At: 40*time.Second + seconds("then at", 1, 3, 20, 500, 8000, 12000), Do: rapid.SampledFrom(append([]act{cancel, try, returnAgain, refundLost}, authorizationActs...)).Draw(t, "then"), N: rapid.IntRange(0, 5).Draw(t, "how")})
	s.Faults = append(s.Faults, f)
}

// moments are times after the start, most of them near those at which
// something happens by itself.
func moments(hold int) *rapid.Generator[time.Duration] {
	around := func(seconds int) *rapid.Generator[int] { return rapid.IntRange(seconds-3, seconds+3) }
	return rapid.Map(rapid.OneOf(rapid.IntRange(1, hold), rapid.IntRange(1, hold+60), around(hold), around(hold+30), around(hold+graceLimit), around(900), rapid.IntRange(hold, hold+1200), rapid.IntRange(1, 3*3600)),
		func(seconds int) time.Duration { return time.Duration(max(seconds, 1)) * time.Second })
}

func steps(hold int, acts []act) *rapid.Generator[step] {
	return rapid.Custom(func(t *rapid.T) step {
		st := step{Do: rapid.SampledFrom(acts).Draw(t, "do"), On: rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "on"), N: rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3, 4, 5}).Draw(t, "n")}
		if rapid.IntRange(0, 2).Draw(t, "in a call") < 2 {
			st.At = moments(hold).Draw(t, "at")
			return st
		}
		st.In = rapid.SampledFrom(append([]string{"CloseAttempt", "EndUnpaid", "RecordAnswer", "SettleReturn", "Grace", "HoldAgain"}, append(databaseCalls, gatewayCalls...)...)).Draw(t, "in")
		st.Nth = rapid.IntRange(1, 4).Draw(t, "nth")
		st.When = rapid.SampledFrom([]phase{before, announced, after}).Draw(t, "when")
		return st
	})
}

func faults() *rapid.Generator[fault] {
	return rapid.Custom(func(t *rapid.T) fault {
		f := fault{Nth: rapid.IntRange(1, 4).Draw(t, "nth"), Times: rapid.SampledFrom([]int{1, 1, 2, 3, 20}).Draw(t, "times")}
		if rapid.Bool().Draw(t, "of the database") {
			f.Call = rapid.SampledFrom(databaseCalls).Draw(t, "call")
			f.When = rapid.SampledFrom([]phase{before, after}).Draw(t, "when")
			f.As = rapid.SampledFrom([]failure{databaseAway, timesOut, bug}).Draw(t, "as")
			if f.Call == "ParkStep" || f.Call == "UnparkStep" {
				f.As, f.Times = databaseAway, min(f.Times, 3)
			}
			return f
		}
		f.Call = rapid.SampledFrom(gatewayCalls).Draw(t, "call")
		f.When = rapid.SampledFrom([]phase{before, announced, after}).Draw(t, "when")
		f.As = rapid.SampledFrom([]failure{databaseAway, timesOut, bug, unavailable, rateLimited, credentials, unknown, unknownActed, slow, late, outlived}).Draw(t, "as")
		if f.As == slow || f.As == late || f.As == outlived {
			f.For, f.Times = time.Duration(rapid.IntRange(1, 11).Draw(t, "for"))*time.Second, 1
		}
		return f
	})
}

func outages(hold int) *rapid.Generator[outage] {
	return rapid.Custom(func(t *rapid.T) outage {
		o := outage{What: rapid.SampledFrom([]string{"database", "transbank", "stripe", "mercadopago"}).Draw(t, "what"), At: moments(hold).Draw(t, "at")}
		if o.What == "database" {
			o.For = time.Duration(rapid.IntRange(1, int(outagesLast/time.Second)).Draw(t, "for")) * time.Second
		} else {
			o.For = time.Duration(rapid.SampledFrom([]int{10, 60, 300, 900, 3600}).Draw(t, "for")) * time.Second
		}
		return o
	})
}

// String is the schedule as Go.
func (s schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "schedule{Gateway: %q, Token: %q, TokenTardy: %t, Defers: %t, Units: %d, SCL: %d, CCP: %d, Hold: %d, Skew: %d, Reservation: %d, RefundTakes: %d, RefundRefused: %t, Untraced: %t, Lossy: %t, Ruling: %d, BackOrders: %d",
		s.Gateway, s.Token, s.TokenTardy, s.Defers, s.Units, s.SCL, s.CCP, s.Hold, s.Skew, s.Reservation, s.RefundTakes, s.RefundRefused, s.Untraced, s.Lossy, s.Ruling, s.BackOrders)
	b.WriteString(asGo(s.Steps, s.Faults, s.Outages))
	b.WriteString("}")
	return b.String()
}

// asGo is what happens in a schedule, as fields of a Go literal.
func asGo(steps []step, faults []fault, outages []outage) string {
	var b strings.Builder
	b.WriteString(", Steps: []step{")
	for _, st := range steps {
		if st.In == "" {
			fmt.Fprintf(&b, "\n\t{At: %d * time.Second, Do: %q, On: %d, N: %d},", st.At/time.Second, st.Do, st.On, st.N)
		} else {
			fmt.Fprintf(&b, "\n\t{In: %q, Nth: %d, When: %q, Do: %q, On: %d, N: %d},", st.In, st.Nth, st.When, st.Do, st.On, st.N)
		}
	}
	b.WriteString("}, Faults: []fault{")
	for _, f := range faults {
		fmt.Fprintf(&b, "\n\t{Call: %q, Nth: %d, Times: %d, When: %q, As: %q, For: %d},", f.Call, f.Nth, f.Times, f.When, f.As, f.For)
	}
	b.WriteString("}, Outages: []outage{")
	for _, o := range outages {
		fmt.Fprintf(&b, "\n\t{What: %q, At: %d * time.Second, For: %d * time.Second},", o.What, o.At/time.Second, o.For/time.Second)
	}
	b.WriteString("}")
	return b.String()
}
