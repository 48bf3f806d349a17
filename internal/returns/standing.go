package returns

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/money"
	"justlogistics/internal/shipping"
)

// What a return's run can do next.
const (
	NextExpire = "expire" // it was not sent in time
	NextRemind = "remind" // tell the buyer until when
	NextPay    = "pay"    // have the money go
	NextSettle = "settle" // nothing is left to do
	// NextScan: the goods are there, and the carrier has said nothing of the label: ask
	// whether it has had it.
	NextScan = "scan"
	// Of the label for the way back, as of a shipment's.
	NextChoose = shipping.NextChoose
	NextBook   = shipping.NextBook
	NextFinish = shipping.NextFinish
	NextVoid   = shipping.NextVoid
)

// Steps at which a return can wait for a person.
const (
	StepDecision = "decision" // nobody has approved or rejected it
	StepGoods    = "goods"    // they do not come, or are others
	StepInspect  = "inspection"
	StepMoney    = "money" // it does not go
	StepLabel    = "label" // nobody carries it
	StepBooking  = shipping.StepBooking
	StepVoid     = shipping.StepVoid
)

// Standing is how far a return is, for the run that looks after it.
type Standing struct {
	OrderID string `json:"order_id"`
	Status  string `json:"status"`
	// WaitsFor says in words what is next, and who does it.
	WaitsFor string `json:"waits_for"`
	// Next is what the run does itself, at NextAt (zero: now).
	Next   string    `json:"next,omitempty"`
	NextAt time.Time `json:"next_at,omitzero"`
	// Carrier is whom the next step calls.
	Carrier shipping.Name `json:"carrier,omitempty"`
	// DueAt is when it is late where it is; zero: it isn't.
	DueAt    time.Time `json:"due_at,omitzero"`
	Troubles []Trouble `json:"troubles,omitempty"`
	Over     bool      `json:"over,omitempty"`
}

// Trouble is what a person is asked, and with which verbs it is cured.
type Trouble = shipping.Trouble

// Stand reads how a return stands.
func Stand(ctx context.Context, tx pgx.Tx, tenantID, returnID string) (Standing, error) {
	r, err := Get(ctx, tx, tenantID, returnID)
	if err != nil {
		return Standing{}, err
	}
	paid, err := moneyOf(ctx, tx, tenantID, returnID)
	if err != nil {
		return Standing{}, err
	}
	due, err := r.owes(ctx, tx, tenantID)
	if err != nil {
		return Standing{}, err
	}
	bookings, err := shipping.Bookings(ctx, tx, tenantID, shipping.OfReturn(returnID))
	if err != nil {
		return Standing{}, err
	}
	return r.stand(paid, due.total, bookings), nil
}

// papers are the labels for the way back.
func (r Return) papers(bookings []shipping.Kept) shipping.Papers {
	p := shipping.Papers{Parcels: r.Parcels, Bookings: bookings, Now: r.now}
	if r.Label != nil {
		p.Wanted, p.Asked, p.NextRound = r.Status == Approved, r.Label.Asked, r.Label.nextRound
	}
	return p
}

// stand is a function of what was read alone. due is what must still go back.
func (r Return) stand(paid gone, due int64, bookings []shipping.Kept) Standing {
	out := Standing{OrderID: r.OrderID, Status: r.Status, WaitsFor: r.waits(paid)}
	if r.DueAt != nil {
		out.DueAt = r.DueAt.UTC()
	}
	papers := r.papers(bookings)
	r.next(&out, paid, due, papers)
	r.trouble(&out, paid, papers)
	out.Over = slices.Contains([]string{Closed, Rejected, Cancelled, Expired}, r.Status) && out.Next == "" && len(out.Troubles) == 0 && paid.done
	return out
}

func minute(at *time.Time) string {
	if at == nil {
		return "no day"
	}
	return at.UTC().Format("2006-01-02 15:04 UTC")
}

// waits says in words what the return waits for.
func (r Return) waits(paid gone) string {
	what := "return " + r.Number
	if n := len(r.Units); n == 1 {
		what += " (1 unit)"
	} else {
		what += fmt.Sprintf(" (%d units)", n)
	}
	switch r.Status {
	case Requested:
		return "Waits for a person to approve or reject " + what + " by " + minute(r.DueAt) + " (POST /v1/returns/" + r.ID + "/approve or /reject)."
	case Approved:
		if r.Label != nil {
			return "Approved: a label is being bought for " + what + "; the buyer sends it to " + r.Warehouse + " until " + minute(r.ExpiresAt) + "."
		}
		return "Approved: waits for the buyer to send " + what + " to " + r.Warehouse + " until " + minute(r.ExpiresAt) + "."
	case LabelIssued:
		return "The buyer has a label of " + r.Label.Carrier.Title() + " (" + r.Tracking + ") for " + what + " and sends it to " + r.Warehouse + " until " + minute(r.ExpiresAt) + "."
	case InTransit:
		if r.ArrivedAt != nil {
			return r.Label.Carrier.Title() + " has brought " + what + " to " + r.Warehouse + ": somebody opens it by " + minute(r.DueAt) + " (POST /v1/returns/" + r.ID + "/receive)."
		}
		return "On its way: " + what + " is expected in " + r.Warehouse + " by " + minute(r.DueAt) + "."
	case Received:
		came, seen := 0, 0
		for _, u := range r.Units {
			if u.Came != "" {
				came++
			}
			if u.Disposition != "" || u.Came != "" && u.Came != Arrived {
				seen++
			}
		}
		if came < len(r.Units) {
			return fmt.Sprintf("Received: %d of the %d units of %s; waits for the rest, or for somebody in %s to say that it is missing.", came, len(r.Units), what, r.Warehouse)
		}
		return fmt.Sprintf("Received: %d of %d units of %s are inspected in %s, the rest by %s.", seen, len(r.Units), what, r.Warehouse, minute(r.DueAt))
	case Inspected, Refunded:
		if !paid.done {
			return "Inspected: the money for " + what + " is on its way."
		}
		return "Inspected: " + what + " is being settled."
	case Expired:
		return "Expired: " + what + " was not sent in time."
	}
	return "Over: " + what + " is " + r.Status + "."
}

// next is what the run does itself.
func (r Return) next(out *Standing, paid gone, due int64, papers shipping.Papers) {
	later := func(step string, at time.Time) {
		if !at.After(r.now) {
			at = time.Time{}
		}
		if out.Next == "" || out.NextAt.After(at) {
			out.Next, out.NextAt, out.Carrier = step, at, ""
		}
	}
	// Labels that are not wanted come first: they cost money.
	for _, d := range []shipping.Due{papers.Unwanted(), papers.Missing()} {
		if d.Step != "" && (out.Next == "" || out.NextAt.After(d.At)) {
			later(d.Step, d.At)
			out.Carrier = d.Carrier
		}
	}
	if r.Status == Inspected && len(r.Unscanned()) > 0 && r.Label.IssuedAt != nil && r.Label.checkedAt == nil {
		later(NextScan, time.Time{})
		out.Carrier = r.Label.Carrier
		return
	}
	if due > 0 && paid.done && paid.failed == "" && r.Refused == "" {
		later(NextPay, time.Time{})
		return
	}
	switch r.Status {
	case Approved, LabelIssued:
		if r.ExpiresAt != nil {
			later(NextExpire, r.ExpiresAt.UTC())
		}
		if at, ok := r.remindAt(); ok {
			later(NextRemind, at)
		}
	case Inspected, Refunded:
		if paid.done && (paid.failed == "" && r.Refused == "" || r.MoneySettled != "") && due == 0 && r.odd(paid) == nil {
			later(NextSettle, time.Time{})
		}
	}
}

// odd is what a person must settle about the goods before the return can end: things that
// are others than were sold, or goods that did not come and whose money had gone.
func (r Return) odd(paid gone) *Trouble {
	if r.Settled != "" {
		return nil
	}
	wrong, text := 0, ""
	for _, u := range r.Units {
		if u.Came == WrongItem {
			wrong++
		}
	}
	if wrong > 0 {
		text = fmt.Sprintf("%d units are others than were sold. ", wrong)
	}
	for _, e := range r.Extras {
		text += fmt.Sprintf("Nobody had asked for %d x %s. ", e.Quantity, e.What)
	}
	early := r.Money != OnInspection && paid.gone > 0 && slices.ContainsFunc(r.Units, func(u Unit) bool { return u.Came == Gone && u.back > 0 })
	switch {
	case r.Status == Expired && paid.gone > 0:
		return &Trouble{Step: StepGoods, Reason: "refunded_and_never_came", Tried: fmt.Sprintf("reminded %d times", r.Reminded), Verbs: []string{verbResolve},
			Message: fmt.Sprintf("The buyer of return %s has had the money (%s) and has not sent the goods. Ask for them; receive them when they come, or resolve with outcome `closed` and how it was settled as reference.", r.Number, price(paid.gone, r.Currency))}
	case r.Status == Expired:
		return nil
	case text != "":
		return &Trouble{Step: StepGoods, Reason: "unexpected_goods", Tried: "it was looked at in " + r.Warehouse, Verbs: []string{verbResolve},
			Message: "In the parcel of return " + r.Number + ": " + text + "Agree with the buyer what becomes of that and resolve with outcome `closed` and how as reference."}
	case early:
		return &Trouble{Step: StepGoods, Reason: "refunded_and_never_came", Tried: "it was looked at in " + r.Warehouse, Verbs: []string{verbResolve},
			Message: "Money has gone for units of return " + r.Number + " that were not in the parcel. Settle that with the buyer and resolve with outcome `closed` and how as reference."}
	}
	return nil
}

// parcelIs reports whether a carrier says so of one of the parcels.
func (r Return) parcelIs(state shipping.State) bool {
	return slices.ContainsFunc(r.Parcels, func(p shipping.PackedParcel) bool { return p.State == state })
}

func price(amount int64, currency string) string {
	return money.Format(amount, money.Currency(currency))
}

// trouble is what a person is asked about.
func (r Return) trouble(out *Standing, paid gone, papers shipping.Papers) {
	late := r.DueAt != nil && !r.DueAt.After(r.now)
	waited := "waited until " + minute(r.DueAt)
	add := func(step, reason, message, tried string, verbs ...string) {
		out.Troubles = append(out.Troubles, Trouble{Step: step, Reason: reason, Message: message, Tried: tried, Verbs: verbs})
	}
	switch r.Status {
	case Requested:
		if late {
			add(StepDecision, "return_undecided", r.waits(paid)+" It is late. `retry` waits another day.", waited, verbRetry)
		}
	case Approved:
		if r.Label != nil && r.Label.NotBooked != "" {
			add(StepLabel, "no_return_label", r.Label.NotBooked, papers.Tried(), verbRetry, verbCancel)
		}
	case InTransit:
		switch {
		case r.parcelIs(shipping.Lost):
			add(StepGoods, "return_lost", r.Label.Carrier.Title()+" says that it has lost return "+r.Number+" ("+r.Tracking+"). Claim it there, and resolve with outcome `lost`: the buyer gets the money. `closed` (with how as reference) when it was settled otherwise; `retry` asks the carrier again.", "the carrier's tracking", verbResolve, verbRetry)
		case r.parcelIs(shipping.Returned):
			add(StepGoods, "return_went_back", r.Label.Carrier.Title()+" brings return "+r.Number+" ("+r.Tracking+") back to the buyer. See what was wrong; receive it when it comes all the same. Resolve with outcome `closed` and how it was settled as reference; `retry` asks the carrier again.", "the carrier's tracking", verbResolve, verbRetry)
		}
		if late {
			add(StepGoods, "return_late", r.waits(paid)+" It is late: ask the carrier and the buyer. `retry` waits another day; resolve with outcome `closed` when it does not come any more.", waited, verbRetry, verbResolve)
		}
	case Received:
		if late {
			add(StepInspect, "inspection_late", r.waits(paid)+" It is late. `retry` waits another day; resolve with outcome `closed` when the rest does not come any more.", waited, verbRetry, verbResolve)
		}
	case Expired, Inspected, Refunded:
		if odd := r.odd(paid); odd != nil {
			out.Troubles = append(out.Troubles, *odd)
		}
	}
	if late && !paid.done && (r.Status == Inspected || r.Status == Refunded) {
		add(StepMoney, "return_money_late", r.waits(paid)+" It is late: see the refund. `retry` waits another day.", waited, verbRetry)
	}
	if paid.failed != "" && r.MoneySettled == "" {
		add(StepMoney, "return_not_refunded", "The refund "+paid.failed+" of return "+r.Number+" came to nothing. `retry` has the money go again; resolve with outcome `closed` and how it was settled as reference.", "refund "+paid.failed, verbRetry, verbResolve)
	}
	if r.Refused != "" && r.MoneySettled == "" {
		add(StepMoney, "refund_refused", "The money for return "+r.Number+" can't go back: "+r.Refused+" `retry` tries again; resolve with outcome `closed` and how it was settled as reference.", "to book a refund", verbRetry, verbResolve)
	}
	out.Troubles = append(out.Troubles, papers.Doubts()...)
	// One case a step.
	seen := map[string]bool{}
	out.Troubles = slices.DeleteFunc(out.Troubles, func(t Trouble) bool {
		again := seen[t.Step]
		seen[t.Step] = true
		return again
	})
}
