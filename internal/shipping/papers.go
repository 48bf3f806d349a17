package shipping

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Papers are the labels of a shipment's or a return's parcels: those that are bought, those
// that are wanted, and those that are not wanted any more.
type Papers struct {
	Parcels  []PackedParcel
	Bookings []Kept
	// Wanted: labels are to be bought now, of Asked where a person has named a carrier. Nobody
	// had taken the parcels when NextRound is set: they are asked again then.
	Wanted    bool
	Asked     Name
	NextRound *time.Time
	Now       time.Time // the database's clock
}

// Due is what the run that looks after labels does next, at At (zero: now), with Carrier.
// Step is empty when there is nothing.
type Due struct {
	Step    string
	At      time.Time
	Carrier Name
}

// unsettled are statuses of a booking that is not wanted and may still cost money.
var unsettled = []string{Intended, InDoubt, IssuedLater, BookedNow}

// Unwanted is what is to be done about labels that are not wanted any more.
func (p Papers) Unwanted() (out Due) {
	for _, k := range p.Bookings {
		if k.VoidAt != nil && k.NextAt != nil && slices.Contains(unsettled, k.Status) {
			p.soonest(&out, NextVoid, k)
		}
	}
	return out
}

// Missing is what is to be done about labels that are wanted.
func (p Papers) Missing() (out Due) {
	if !p.Wanted {
		return out
	}
	missing, waiting := false, false
	for _, parcel := range p.Parcels {
		i := slices.IndexFunc(p.Bookings, func(k Kept) bool { return k.ParcelID == parcel.ID && k.Live() })
		switch {
		case i < 0:
			missing = true
		case p.Bookings[i].Status == BookedNow && p.Bookings[i].Labelled:
		case p.Bookings[i].NextAt != nil:
			p.soonest(&out, NextBook, p.Bookings[i])
			waiting = true
		default:
			waiting = true // for a person
		}
	}
	switch {
	case missing:
		// One that was refused takes its shipment to the next carrier before another
		// label is bought.
		out = Due{Step: NextChoose}
		if p.NextRound != nil && p.NextRound.After(p.Now) {
			out.At = p.NextRound.UTC()
		}
	case !waiting:
		out = Due{Step: NextFinish}
	}
	return out
}

func (p Papers) soonest(out *Due, step string, k Kept) {
	at := time.Time{}
	if k.NextAt.After(p.Now) {
		at = k.NextAt.UTC()
	}
	if out.Step != step || at.Before(out.At) {
		*out = Due{step, at, k.Carrier}
	}
}

// manyTries is after how many questions without an answer a person is told.
const manyTries = 6

// Doubts are bookings of which nobody knows enough: one case a step, the oldest.
func (p Papers) Doubts() (out []Trouble) {
	add := func(t Trouble) {
		if !slices.ContainsFunc(out, func(o Trouble) bool { return o.Step == t.Step }) {
			out = append(out, t)
		}
	}
	for _, k := range p.Bookings {
		if k.NextAt != nil && k.Tries < manyTries {
			continue
		}
		tried := fmt.Sprintf("%d times", k.Tries)
		what := fmt.Sprintf("our reference %s, service %s", k.Reference, k.Service)
		switch {
		case k.VoidAt != nil && slices.Contains([]string{InDoubt, IssuedLater, BookedNow}, k.Status):
			add(Trouble{Step: StepVoid, Reason: "label_not_voided", Tried: tried, Verbs: []string{"retry", "resolve", "skip"},
				Message: "A label of " + k.Carrier.Title() + " (" + what + ", number " + cmp.Or(k.Tracking, "not known") + ") is not wanted any more, and it is not known whether it is cancelled. Cancel it in the carrier's panel and resolve with outcome `voided`, or skip: it lapses unused."})
		case k.Live() && k.Status != BookedNow && k.TriedAt != nil:
			add(Trouble{Step: StepBooking, Reason: "booking_unknown", Tried: tried, Verbs: []string{"retry", "resolve"},
				Message: k.Carrier.Title() + " has not said whether it took a parcel (" + what + "). Look in its panel: print its label there and resolve with outcome `booked` and its number as reference, or, when it is not there, with `not_made`; then the parcel is booked anew." + said(k)})
		case k.Live() && k.Status == BookedNow && !k.Labelled && p.Wanted:
			add(Trouble{Step: StepBooking, Reason: "label_missing", Tried: tried, Verbs: []string{"retry", "resolve"},
				Message: k.Carrier.Title() + " took a parcel as " + k.Tracking + " and gives no label for it. Retry; print it in the carrier's panel and resolve with outcome `booked` and the number; or cancel it in the carrier's panel and resolve with outcome `not_made`; then the parcel is booked anew." + said(k)})
		}
	}
	return out
}

func said(k Kept) string {
	if k.Message == "" && k.Code == "" {
		return ""
	}
	return " It last said: " + strings.TrimSpace(k.Code+" "+k.Message) + "."
}

// Tried names what carriers said no to.
func (p Papers) Tried() string {
	var list []string
	for _, k := range p.Bookings {
		if k.Status == Refused || k.Status == Failed && k.Code != withdrawn {
			list = append(list, k.refusal())
		}
	}
	switch {
	case len(list) == 0 && p.Asked != "":
		return p.Asked.Title() + ", which was asked for"
	case len(list) == 0:
		return "all carriers that are set up"
	}
	return strings.Join(list[max(0, len(list)-6):], "; ")
}
