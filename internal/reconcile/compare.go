package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// Source says where the provider's side of a comparison came from.
type Source string

// The sources.
const (
	// FromAPI: the provider's own list of the account's transactions.
	FromAPI Source = "api"
	// FromQuestions: a Lookup of each of our payments; it finds nothing that we
	// do not know of.
	FromQuestions Source = "questions"
	// FromFile: the provider's settlement file.
	FromFile Source = "file"
)

// Charge is a payment as our books have it.
type Charge struct {
	PaymentID  string         `json:"payment_id"`
	Reference  string         `json:"reference,omitempty"`
	CaptureRef string         `json:"capture_ref,omitempty"`
	Status     payment.Status `json:"status"`
	Amount     int64          `json:"amount"` // captured, else asked for; minor units
	Captured   bool           `json:"captured"`
	Currency   money.Currency `json:"currency"`
	Fee        int64          `json:"fee"` // minor units; zero: not told
	// At is when the money was taken, else when the attempt began.
	At      time.Time `json:"at"`
	BegunAt time.Time `json:"begun_at"`
	// InMotion: a run is at work on it and not late.
	InMotion bool `json:"in_motion,omitempty"`
}

// Refund is money that our books say went back through the gateway, or is about
// to.
type Refund struct {
	RefundID  string         `json:"refund_id"`
	RequestID string         `json:"request_id,omitempty"`
	PaymentID string         `json:"payment_id"`
	Reference string         `json:"reference,omitempty"`
	Status    string         `json:"status"`
	Amount    int64          `json:"amount"` // minor units
	Currency  money.Currency `json:"currency"`
	At        time.Time      `json:"at"` // settled, else booked
	InMotion  bool           `json:"in_motion,omitempty"`
	// ByHand: support stated that it was paid back in another way.
	ByHand bool `json:"by_hand,omitempty"`
	// Told: nobody here asked for it, the provider told of it.
	Told bool `json:"told,omitempty"`
}

// Line is a transaction as a provider's books have it. Key is the provider's
// name for it, unique among the lines of its kind and source.
type Line struct {
	Source          Source                  `json:"source"`
	Kind            payment.TransactionKind `json:"kind"`
	Key             string                  `json:"key"`
	PaymentID       string                  `json:"payment_id,omitempty"`
	RefundID        string                  `json:"refund_id,omitempty"`
	Reference       string                  `json:"reference,omitempty"`
	CaptureRef      string                  `json:"capture_ref,omitempty"`
	RefundReference string                  `json:"refund_reference,omitempty"`
	Amount          int64                   `json:"amount"` // minor units
	Fee             int64                   `json:"fee"`    // minor units; zero: none, or not told
	Currency        money.Currency          `json:"currency"`
	Outcome         payment.Outcome         `json:"outcome"`
	Captured        bool                    `json:"captured"`
	// Dispute is how a chargeback of the payment stands, where the provider tells.
	Dispute payment.DisputeStatus `json:"dispute,omitempty"`
	At      time.Time             `json:"at"`
}

// moved reports whether the line is money that moved, or was set aside.
func (l Line) moved() bool { return l.Outcome == payment.OutcomeApproved }

// Books are the two sides of a day, each with what lies around it.
type Books struct {
	Day    Day
	Source Source
	// Now is the moment of the comparison.
	Now time.Time
	// AskableSince is when an attempt must have begun for its provider to still
	// answer questions about it; zero: always.
	AskableSince time.Time
	// NextKnown: the provider's side of the following day is here too, so that
	// what it dates after midnight would be too.
	NextKnown bool
	Charges   []Charge
	Refunds   []Refund
	Lines     []Line
}

// Result is how the two sides of a transaction compare.
type Result string

// The results.
const (
	Matched         Result = "matched"
	MissingHere     Result = "missing_here"  // the provider has it, we do not
	MissingThere    Result = "missing_there" // we have it, the provider does not
	DifferentAmount Result = "different_amount"
	DifferentState  Result = "different_state"
	DifferentFee    Result = "fee"
)

// Results lists the results.
func Results() []Result {
	return []Result{Matched, MissingHere, MissingThere, DifferentAmount, DifferentState, DifferentFee}
}

// Resolution says what became of a difference.
type Resolution string

// The resolutions.
const (
	None      Resolution = "none"      // of what matches
	Repaired  Resolution = "repaired"  // put right by the normal paths, or on its way there
	Raised    Resolution = "raised"    // waits for a person
	Explained Resolution = "explained" // in motion, or not to be compared
	Resolved  Resolution = "resolved"  // a person said what it is
)

// Resolutions lists the resolutions.
func Resolutions() []Resolution { return []Resolution{None, Repaired, Raised, Explained, Resolved} }

// Repair is what can be done about a difference without a decision.
type Repair string

// The repairs.
const (
	NoRepair Repair = ""
	// ApplyApproval: the approval goes to the inbox like a late webhook.
	ApplyApproval Repair = "apply_approval"
	// AskPayment: the provider is asked about the payment, which records what it
	// has given back.
	AskPayment Repair = "ask_payment"
	// WakeRefund: the refund's run asks the provider.
	WakeRefund Repair = "wake_refund"
	// LearnFee: the provider's fee is written on the payment.
	LearnFee Repair = "learn_fee"
)

// Item is one transaction, seen from both sides.
type Item struct {
	Kind       payment.TransactionKind
	Result     Result
	Resolution Resolution
	Note       string
	Repair     Repair
	// Charge or Refund is ours, Line the provider's; at least one of them is there.
	Charge *Charge
	Refund *Refund
	Line   *Line
	// PaymentID is ours, where one is known.
	PaymentID string
}

// RefundID is our refund's, where one is known.
func (i Item) RefundID() string {
	switch {
	case i.Refund != nil:
		return i.Refund.RefundID
	case i.Line != nil:
		return i.Line.RefundID
	}
	return ""
}

// Currency is the provider's, else ours.
func (i Item) Currency() money.Currency {
	switch {
	case i.Line != nil:
		return i.Line.Currency
	case i.Charge != nil:
		return i.Charge.Currency
	}
	return i.Refund.Currency
}

// Difference names what differs, without what changes by itself: a difference
// that comes again is the same one.
func (i Item) Difference() string {
	if i.Result == Matched {
		return ""
	}
	parts := []string{string(i.Result)}
	if i.Charge != nil {
		parts = append(parts, fmt.Sprintf("ours:%d:%s:%t", i.Charge.Amount, i.Charge.Currency, i.Charge.Captured))
	}
	if i.Refund != nil {
		parts = append(parts, fmt.Sprintf("ours:%d:%s:%s", i.Refund.Amount, i.Refund.Currency, i.Refund.Status))
	}
	if i.Line != nil {
		parts = append(parts, fmt.Sprintf("theirs:%d:%s:%s:%t", i.Line.Amount, i.Line.Currency, i.Line.Outcome, i.Line.Captured))
		if i.Line.Dispute != "" {
			parts = append(parts, "dispute:"+string(i.Line.Dispute))
		}
		if i.Result == DifferentFee {
			parts = append(parts, fmt.Sprintf("fee:%d", i.Line.Fee))
		}
	}
	return strings.Join(parts, " ")
}

// Compare matches the two sides and returns an item for each transaction that
// belongs to the day: by the provider's date where it has it, else by ours. What
// never was money on either side has no item. The order is fixed.
func Compare(b Books) []Item {
	m := newMatcher(b)
	items := append(m.charges(), m.refunds()...)
	items = slices.DeleteFunc(items, func(i Item) bool { return !b.Day.Has(i.at()) })
	slices.SortStableFunc(items, func(x, y Item) int {
		return cmp.Or(x.at().Compare(y.at()), strings.Compare(x.PaymentID, y.PaymentID), strings.Compare(string(x.Kind), string(y.Kind)), strings.Compare(x.name(), y.name()))
	})
	return items
}

// at is the moment that decides to which day an item belongs.
func (i Item) at() time.Time {
	switch {
	case i.Line != nil:
		return i.Line.At
	case i.Charge != nil:
		return i.Charge.At
	}
	return i.Refund.At
}

func (i Item) name() string {
	if i.Line != nil {
		return string(i.Line.Source) + i.Line.Key
	}
	return i.RefundID()
}

type matcher struct {
	Books
	byID        map[string]*Charge
	byReference map[string]string // the provider's names of a payment to ours
}

func newMatcher(b Books) *matcher {
	m := &matcher{Books: b, byID: map[string]*Charge{}, byReference: map[string]string{}}
	for i := range b.Charges {
		c := &b.Charges[i]
		m.byID[c.PaymentID] = c
		for _, name := range []string{c.Reference, c.CaptureRef} {
			if name != "" {
				m.byReference[name] = c.PaymentID
			}
		}
	}
	m.Lines = m.choose(b.Lines)
	return m
}

// paymentOf is our payment that a line belongs to; "" when we have none.
func (m *matcher) paymentOf(l Line) string {
	for _, name := range []string{l.CaptureRef, l.Reference} {
		if id := m.byReference[name]; name != "" && id != "" {
			return id
		}
	}
	if m.byID[l.PaymentID] != nil {
		return l.PaymentID
	}
	return ""
}

// choose leaves each transaction one line, where several sources tell of it: a
// settlement file is what the provider pays by, a list is next, an answer to a
// question last. Two lines of one source are two transactions.
func (m *matcher) choose(lines []Line) []Line {
	rank := func(s Source) int { return slices.Index([]Source{FromQuestions, FromAPI, FromFile}, s) }
	type subject struct {
		kind    payment.TransactionKind
		payment string
		key     string // of what belongs to no payment of ours
		today   bool   // of refunds: a payment has one charge, and refunds on several days
	}
	of := func(l Line) subject {
		s := subject{kind: l.Kind, payment: m.paymentOf(l), today: l.Kind == payment.RefundTransaction && m.Day.Has(l.At)}
		if s.payment == "" {
			s.key = l.Key
		}
		return s
	}
	best := map[subject]Source{}
	for _, l := range lines {
		if had, ok := best[of(l)]; !ok || rank(l.Source) > rank(had) {
			best[of(l)] = l.Source
		}
	}
	return slices.DeleteFunc(slices.Clone(lines), func(l Line) bool { return l.Source != best[of(l)] })
}

// charges pairs each charge line with our payment. A payment has one charge:
// the first line that is money, or the only one there is; further ones are money
// that we do not have.
func (m *matcher) charges() []Item {
	lines := map[string][]*Line{}
	var items []Item
	for i := range m.Lines {
		l := &m.Lines[i]
		if l.Kind != payment.ChargeTransaction {
			continue
		}
		if id := m.paymentOf(*l); id != "" {
			lines[id] = append(lines[id], l)
		} else if l.moved() {
			items = append(items, Item{Kind: l.Kind, Line: l, Result: MissingHere, Resolution: Raised, Note: "no payment of ours is named by it"})
		}
	}
	for i := range m.Charges {
		c := &m.Charges[i]
		first, further := pick(lines[c.PaymentID], *c)
		if first != nil || c.Captured {
			item := m.charge(c, first)
			if item.Result != "" {
				items = append(items, item)
			}
		}
		for _, l := range further {
			if l.moved() {
				items = append(items, second(c, l))
			}
		}
	}
	return items
}

// second is a further charge of a payment that has one. Where the provider tells
// the two apart by name, an answer to a question names both: the second is then
// recorded as a payment of its own, and given back.
func second(c *Charge, l *Line) Item {
	i := Item{Kind: l.Kind, Line: l, PaymentID: c.PaymentID, Result: MissingHere, Resolution: Raised, Note: "a second charge for a payment that has one"}
	if c.Captured && c.CaptureRef != "" && l.CaptureRef != "" && l.CaptureRef != c.CaptureRef {
		i.Resolution, i.Repair, i.Note = Repaired, AskPayment, "a second approval under the same reference; the provider is asked, and it is recorded and given back"
	}
	return i
}

// pick finds the line that is our payment's own among those that name it.
func pick(lines []*Line, c Charge) (first *Line, further []*Line) {
	if len(lines) == 0 {
		return nil, nil
	}
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, func(a, b *Line) int {
		return cmp.Or(byTruth(!a.moved(), !b.moved()), byTruth(!sameName(a, c), !sameName(b, c)), byTruth(!sameMoney(a, c), !sameMoney(b, c)), a.At.Compare(b.At), strings.Compare(a.Key, b.Key))
	})
	return lines[0], lines[1:]
}

func sameName(l *Line, c Charge) bool { return c.CaptureRef != "" && l.CaptureRef == c.CaptureRef }

func sameMoney(l *Line, c Charge) bool { return l.Amount == c.Amount && l.Currency == c.Currency }

func byTruth(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// charge compares a payment with its line; an item without a result is for what
// never was money.
func (m *matcher) charge(c *Charge, l *Line) Item {
	i := Item{Kind: payment.ChargeTransaction, Charge: c, Line: l, PaymentID: c.PaymentID}
	differs := func(r Result, to Resolution, note string) Item {
		i.Result, i.Resolution, i.Note = r, to, note
		return i
	}
	switch {
	case l == nil || l.Outcome != payment.OutcomeApproved && !c.Captured:
		if !c.Captured {
			return i
		}
		if resolution, note := m.absent(c.At, c.BegunAt); resolution != "" {
			return differs(MissingThere, resolution, note)
		}
		return differs(MissingThere, Raised, "our books say that it was paid, the provider does not have it")
	case l.Outcome != payment.OutcomeApproved:
		return differs(DifferentState, Raised, "our books say that it was paid, the provider says "+string(l.Outcome))
	case !c.Status.Approved():
		if !m.AskableSince.IsZero() && c.BegunAt.Before(m.AskableSince) {
			return differs(MissingHere, Raised, "the provider was paid, and does not answer questions about a payment this old")
		}
		i.Repair = ApplyApproval
		if c.InMotion {
			return differs(MissingHere, Explained, "in motion: our payment is "+string(c.Status))
		}
		return differs(MissingHere, Repaired, "the approval is applied like a late notification")
	case l.Currency != c.Currency || l.Amount != c.Amount:
		return differs(DifferentAmount, Raised, fmt.Sprintf("our books say %s, the provider %s", money.Format(c.Amount, c.Currency), money.Format(l.Amount, l.Currency)))
	case l.Captured && !c.Captured:
		i.Repair = ApplyApproval
		return differs(DifferentState, Repaired, "the provider has taken what we have as authorized")
	case !l.Captured && c.Captured:
		return differs(DifferentState, Raised, "our books say that it was taken, the provider that it is authorized only")
	case l.disputed(c.Status):
		i.Repair = AskPayment
		return differs(DifferentState, Repaired, "the provider says that a dispute of it is "+string(l.Dispute)+"; it is asked and the dispute recorded")
	case m.Source == FromFile && l.Source == FromQuestions:
		if resolution, note := m.absent(c.At, c.BegunAt); resolution != "" {
			return differs(MissingThere, resolution, note)
		}
		return differs(MissingThere, Raised, "the provider says that it was paid, and its settlement file does not have it")
	case l.Fee != 0 && c.Fee != 0 && l.Fee != c.Fee:
		i.Repair = LearnFee
		return differs(DifferentFee, Repaired, fmt.Sprintf("our books said %s, the provider's fee stands now", money.Format(c.Fee, c.Currency)))
	case l.Fee != 0 && c.Fee == 0:
		i.Repair = LearnFee
	}
	return differs(Matched, None, "")
}

// disputed reports whether the provider tells of a dispute what our payment's
// status does not.
func (l *Line) disputed(ours payment.Status) bool {
	switch l.Dispute {
	case payment.DisputeOpen:
		return ours != payment.StatusDisputed && ours != payment.StatusChargedBack
	case payment.DisputeLost:
		return ours != payment.StatusChargedBack
	case payment.DisputeWon:
		return ours == payment.StatusDisputed
	}
	return false
}

// absent explains why the provider's side may rightly lack what happened at t;
// "" when it should be there.
func (m *matcher) absent(t, begunAt time.Time) (Resolution, string) {
	switch {
	case m.Source == FromQuestions && !m.AskableSince.IsZero() && begunAt.Before(m.AskableSince):
		return Explained, "the provider does not answer questions about a payment this old; its settlement file would tell"
	case m.Now.Sub(t) < lag:
		return Explained, "so new that the provider may not list it yet"
	case m.Source == FromFile && !m.NextKnown && m.Day.To.Sub(t) <= Margin:
		return Explained, "so late in the day that the provider may have it on the next one, whose file is not here yet"
	}
	return "", ""
}

// lag is how long a provider may take to list what has happened.
const lag = 15 * time.Minute

// refunds pairs each refund line with ours: by our id, by the provider's name of
// it, and else by payment and amount in the order of time, because some
// providers name neither and files name them in their own way.
func (m *matcher) refunds() []Item {
	ours := map[*Refund]*Line{}
	var left []*Line
	take := func(l *Line, is func(*Refund) bool) bool {
		var found *Refund
		for i := range m.Refunds {
			r := &m.Refunds[i]
			if ours[r] == nil && is(r) && (found == nil || betterRefund(r, found)) {
				found = r
			}
		}
		if found != nil {
			ours[found] = l
		}
		return found != nil
	}
	var lines []*Line
	for i := range m.Lines {
		if l := &m.Lines[i]; l.Kind == payment.RefundTransaction {
			lines = append(lines, l)
		}
	}
	slices.SortStableFunc(lines, func(a, b *Line) int {
		return cmp.Or(byTruth(!a.moved(), !b.moved()), a.At.Compare(b.At), strings.Compare(a.Key, b.Key))
	})
	for _, by := range []func(l *Line, r *Refund) bool{
		func(l *Line, r *Refund) bool { return l.RefundID != "" && l.RefundID == r.RefundID },
		func(l *Line, r *Refund) bool {
			return l.RefundReference != "" && l.RefundReference == r.Reference && m.paymentOf(*l) == r.PaymentID
		},
		func(l *Line, r *Refund) bool {
			return (l.RefundReference == "" || r.Reference == "") && m.alike(l, r)
		},
		// A settlement file may name a refund otherwise than the answer to it did.
		func(l *Line, r *Refund) bool { return l.Source == FromFile && m.alike(l, r) },
	} {
		left = nil
		for _, l := range lines {
			if !take(l, func(r *Refund) bool { return by(l, r) }) {
				left = append(left, l)
			}
		}
		lines = left
	}
	var items []Item
	for i := range m.Refunds {
		r := &m.Refunds[i]
		if item := m.refund(r, ours[r]); item.Result != "" {
			items = append(items, item)
		}
	}
	for _, l := range left {
		if l.Outcome == payment.OutcomeDeclined || l.Outcome == payment.OutcomeUnknown {
			continue
		}
		item := Item{Kind: l.Kind, Line: l, PaymentID: m.paymentOf(*l), Result: MissingHere, Resolution: Raised, Note: "a refund of a payment that is not ours"}
		if item.PaymentID != "" {
			item.Resolution, item.Repair, item.Note = Repaired, AskPayment, "given back at the provider; it is asked and the refund recorded"
		}
		items = append(items, item)
	}
	return items
}

// alike reports whether a line that is nobody's by name can be our refund.
func (m *matcher) alike(l *Line, r *Refund) bool {
	return l.RefundID == "" && l.Outcome != payment.OutcomeDeclined && r.Status != "failed" && !r.ByHand && m.paymentOf(*l) == r.PaymentID && l.Amount == r.Amount && l.Currency == r.Currency
}

// betterRefund prefers, of two of our refunds that a line could be, the one that
// went back earlier.
func betterRefund(a, b *Refund) bool {
	done := func(r *Refund) bool { return r.Status == "succeeded" }
	return cmp.Or(byTruth(!done(a), !done(b)), a.At.Compare(b.At), strings.Compare(a.RefundID, b.RefundID)) < 0
}

func (m *matcher) refund(r *Refund, l *Line) Item {
	i := Item{Kind: payment.RefundTransaction, Refund: r, Line: l, PaymentID: r.PaymentID}
	differs := func(result Result, to Resolution, note string) Item {
		i.Result, i.Resolution, i.Note = result, to, note
		return i
	}
	if l == nil || l.Outcome == payment.OutcomeUnknown {
		return m.refundAlone(i, differs)
	}
	switch {
	case l.Outcome == payment.OutcomeDeclined && r.Status == "failed":
		return i
	case l.Outcome == payment.OutcomeDeclined && r.Status == "succeeded":
		if r.ByHand {
			return differs(MissingThere, Explained, "support stated that it was paid back in another way")
		}
		i.Repair = AskPayment
		return differs(DifferentState, Repaired, "the provider's refund has failed; it is asked and the refund booked anew")
	case l.Outcome == payment.OutcomeDeclined:
		return m.refundAlone(i, differs)
	case l.Amount != r.Amount || l.Currency != r.Currency:
		return differs(DifferentAmount, Raised, fmt.Sprintf("our books say %s, the provider %s", money.Format(r.Amount, r.Currency), money.Format(l.Amount, l.Currency)))
	case l.Outcome == payment.OutcomePending && r.Status == "succeeded":
		return differs(DifferentState, Raised, "our books say that it went back, the provider that it is on its way")
	case l.Outcome == payment.OutcomePending && r.Status == "failed":
		return differs(DifferentState, Raised, "our books say that it failed, the provider that it is on its way")
	case l.Outcome == payment.OutcomePending:
		return differs(DifferentState, Explained, "in motion at the provider")
	case r.Status == "succeeded" && r.ByHand:
		return differs(DifferentState, Raised, "support stated that it was paid back in another way, and the provider gave it back too")
	case r.Status == "succeeded" && m.Source == FromFile && l.Source == FromQuestions:
		if resolution, note := m.absent(r.At, r.At); resolution != "" {
			return differs(MissingThere, resolution, note)
		}
		return differs(MissingThere, Raised, "the provider says that it went back, and its settlement file does not have it")
	case r.Status == "succeeded":
		return differs(Matched, None, "")
	case r.Status == "failed":
		return differs(DifferentState, Raised, "our books say that it failed, the provider that it went back")
	}
	i.Repair = WakeRefund
	if r.InMotion {
		return differs(DifferentState, Explained, "in motion: our refund is "+r.Status)
	}
	return differs(DifferentState, Repaired, "the provider has given it back; the refund's run is told")
}

// refundAlone is for a refund of ours that the provider does not have.
func (m *matcher) refundAlone(i Item, differs func(Result, Resolution, string) Item) Item {
	r := i.Refund
	switch r.Status {
	case "failed":
		return i
	case "succeeded":
	default:
		if r.InMotion {
			return differs(MissingThere, Explained, "in motion: our refund is "+r.Status)
		}
		// Late, or in need of a person: the refund's own case says so already.
		return differs(MissingThere, Explained, "our refund is "+r.Status+" and waits on the support list")
	}
	switch {
	case r.ByHand:
		return differs(MissingThere, Explained, "support stated that it was paid back in another way")
	case r.Told && m.Source == FromQuestions:
		return differs(MissingThere, Explained, "recorded from what the provider answered, which names no single refunds")
	}
	if c := m.byID[r.PaymentID]; c != nil {
		if resolution, note := m.absent(r.At, c.BegunAt); resolution != "" {
			return differs(MissingThere, resolution, note)
		}
	}
	return differs(MissingThere, Raised, "our books say that it went back, the provider does not have it")
}

// Total is one currency's sums of a day, in minor units.
type Total struct {
	Currency       money.Currency `json:"currency"`
	OursCharged    int64          `json:"ours_charged"`
	TheirsCharged  int64          `json:"theirs_charged"`
	OursRefunded   int64          `json:"ours_refunded"`
	TheirsRefunded int64          `json:"theirs_refunded"`
	Fees           int64          `json:"fees"`
	// Difference is theirs less ours, net of refunds.
	Difference int64 `json:"difference"`
}

// Totals adds items up by currency, in the order of the codes. Money counts
// where it has moved: captures and refunds that are done.
func Totals(items []Item) []Total {
	sums := map[money.Currency]*Total{}
	of := func(c money.Currency) *Total {
		if sums[c] == nil {
			sums[c] = &Total{Currency: c}
		}
		return sums[c]
	}
	for _, i := range items {
		if c := i.Charge; c != nil && c.Captured {
			of(c.Currency).OursCharged += c.Amount
		}
		if r := i.Refund; r != nil && r.Status == "succeeded" {
			of(r.Currency).OursRefunded += r.Amount
		}
		if l := i.Line; l != nil && l.moved() && !i.unsettled() {
			switch {
			case l.Kind == payment.RefundTransaction:
				of(l.Currency).TheirsRefunded += l.Amount
			case l.Captured:
				of(l.Currency).TheirsCharged += l.Amount
			}
			of(l.Currency).Fees += l.Fee
		}
	}
	out := make([]Total, 0, len(sums))
	for _, t := range sums {
		t.Difference = t.TheirsCharged - t.TheirsRefunded - t.OursCharged + t.OursRefunded
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b Total) int { return strings.Compare(string(a.Currency), string(b.Currency)) })
	return out
}

// unsettled: the line is an answer to a question, and the provider's file does
// not have it.
func (i Item) unsettled() bool { return i.Result == MissingThere && i.Line != nil }
