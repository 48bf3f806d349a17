// Package shipping is what a shop asks of carriers, and what it keeps of their
// answers. Weights are grams, lengths millimetres, money whole pesos (CLP has no
// minor unit), times UTC.
package shipping

import (
	"context"
	"errors"
	"time"
)

// Carrier is what the product asks of a company that carries parcels, for one
// tenant's account. No carrier has idempotency keys: a method with an effect
// answers with an Answer whose Outcome says what is known, and returns an error
// only when it is certain that nothing happened at the carrier (a *Failure says
// why). A booking whose effect may have been tried before is tried again only with
// what Lookup says now, which is why Book and Void take a Looked.
//
// Implementations hold no state of ours, never retry by themselves and are safe
// for concurrent use.
type Carrier interface {
	Name() Name
	Capabilities() Capabilities

	// Quote asks for prices. It has no effect. No offers means that the carrier
	// does not go there, or not with such a parcel.
	Quote(ctx context.Context, q QuoteRequest) ([]Offer, error)
	// Points lists the carrier's branches, points and lockers of a comuna where a
	// parcel can be picked up; none for a carrier that does not deliver to points.
	// It has no effect.
	Points(ctx context.Context, comuna, region string) ([]Point, error)

	// Book orders the transport of a parcel. OutcomeBooked has the tracking
	// number; OutcomePending says that the carrier gives it later: Lookup asks.
	Book(ctx context.Context, b Booking, before Looked) (Answer, error)
	// Lookup asks what became of a booking, by our reference or by the carrier's
	// own id. It has no effect and is the only method that turns OutcomeUnknown
	// into something else. ErrNoLookup where Capabilities.Lookup is false and the
	// carrier's id is not known.
	Lookup(ctx context.Context, at Booked) (Looked, error)
	// Label fetches a booking's label again. It has no effect. ErrNoReprint where
	// Capabilities.Reprint is false: the label came with Book's answer, or is lost.
	Label(ctx context.Context, at Booked) (Label, error)
	// Void cancels a booking that the carrier has not taken over. ErrCannotVoid
	// where Capabilities.Void is false: the booking then lapses unused.
	Void(ctx context.Context, at Booked, before Looked) (Answer, error)

	// Track reads what happened to parcels, at most Capabilities.TrackAtOnce of
	// them, by their tracking number. One that the carrier does not know is absent.
	Track(ctx context.Context, numbers []string) (map[string]Track, error)
}

// Name is a carrier's name in the API.
type Name string

// The carriers of the API.
const (
	Chilexpress Name = "chilexpress"
	Starken     Name = "starken"
	Correos     Name = "correos"
	BlueExpress Name = "bluexpress"
	// Manual is the shop's own fleet, or a courier whom somebody calls: nobody is
	// asked, people say what happened.
	Manual Name = "manual"
)

// Names lists the carriers of the API.
func Names() []Name { return []Name{Chilexpress, Starken, Correos, BlueExpress, Manual} }

// Title is what people call a carrier.
func (n Name) Title() string {
	switch n {
	case Chilexpress:
		return "Chilexpress"
	case Starken:
		return "Starken"
	case Correos:
		return "Correos de Chile"
	case BlueExpress:
		return "Blue Express"
	case Manual:
		return "Own delivery"
	}
	return string(n)
}

// Capabilities says what a carrier can do, so that nothing is promised that it
// cannot keep.
type Capabilities struct {
	// Methods of delivery: home, point.
	Methods []Method
	// Lookup: a booking can be found by our reference. Without it a booking whose
	// answer was lost waits for a person.
	Lookup bool
	// LookupFinal: what Lookup does not find was not booked, once LookupAfter has
	// passed since the call.
	LookupFinal bool
	LookupAfter time.Duration
	// Void: a booking can be cancelled through the carrier.
	Void bool
	// Reprint: a label can be fetched again after Book.
	Reprint bool
	// IssuesLater: the tracking number and the label come some time after Book.
	IssuesLater bool
	// TrackAtOnce is how many parcels one Track may ask for.
	TrackAtOnce int
	// Labels are the forms in which the carrier gives labels.
	Labels []Format
	// MaxWeightGrams of one parcel; zero: no known limit.
	MaxWeightGrams int
}

// Method is how a parcel reaches the buyer.
type Method string

// Ways to the buyer: the door; a branch, point or locker of the carrier; or the
// shop itself, which needs no carrier.
const (
	ToDoor  Method = "home"
	ToPoint Method = "pickup_point"
	InShop  Method = "pickup_in_shop"
)

// Parcel is a parcel's weight and outer size. A length of zero is not known.
type Parcel struct {
	WeightGrams                 int
	LengthMM, WidthMM, HeightMM int
}

// Place is an address in Chile. Comuna and Region are as the buyer wrote them:
// region a code of the shop's (RM, BI, ...), comuna its official name, whatever
// the case and accents. How a carrier calls them is the adapter's affair.
type Place struct {
	Street, Number, Unit string
	Comuna, Region       string
	// PointID is the carrier's own id of the point where the parcel is picked up,
	// for ToPoint.
	PointID string
}

// Contact is who sends or receives a parcel. It is personal: it goes to the
// carrier and nowhere else.
type Contact struct {
	Name, Phone, Email string
	RUT                string // with check digit, may be empty
}

// QuoteRequest asks what it costs to carry one parcel.
type QuoteRequest struct {
	From, To Place
	Method   Method
	Parcel   Parcel
	// DeclaredValue is what the goods are worth, in pesos.
	DeclaredValue int64
}

// Offer is one way of carrying a parcel and its price.
type Offer struct {
	// Service is the carrier's code of the service, given back when booking.
	Service string
	// Name is what the carrier calls it.
	Name   string
	Method Method
	// Price in pesos, with taxes. Never zero.
	Price int64
	// Days are working days until delivery, where the carrier says; zero: it doesn't.
	Days int
	// DeliverBy is the day that the carrier promises (midnight UTC), where it does.
	DeliverBy time.Time
}

// Point is where a parcel can be picked up.
type Point struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Kind   string   `json:"kind"` // branch, partner or locker
	Street string   `json:"street"`
	Comuna string   `json:"comuna"`
	Region string   `json:"region"`
	Hours  []string `json:"hours"`
	Lat    *float64 `json:"lat,omitempty"`
	Lng    *float64 `json:"lng,omitempty"`
}

// Booking is a parcel that we want carried, written to the database before the
// call.
type Booking struct {
	// Reference is ours, unique for the tenant: 16 characters of A-Z and 0-9, short
	// enough for every carrier's field.
	Reference string
	// Number is what people call the order, printed on labels.
	Number   string
	Service  string // of the Offer
	Method   Method
	From, To Place
	Sender   Contact
	Receiver Contact
	Parcel   Parcel
	// Contents in a few words, for the carrier's declaration.
	Contents      string
	DeclaredValue int64 // pesos
	// Label is the form in which we would like the label, where the carrier has it.
	Label Format
	// At is when the intent was written.
	At time.Time
}

// Booked names a booking that was tried.
type Booked struct {
	Reference string
	// Tracking is the carrier's number of the parcel; empty while it is not known.
	Tracking string
	// CarrierID is the carrier's own id of the booking, where it has one beside the
	// number.
	CarrierID string
	At        time.Time // when it was first tried
}

// Outcome is what is known of an effect at a carrier.
type Outcome string

// Outcomes. Refused is the carrier's no to this booking, in its own words (a
// *Failure is what did not get as far); NotFound is Lookup's word that there is no
// such booking, which is proof only under Capabilities.LookupFinal; Unknown is that
// nobody knows.
const (
	OutcomeBooked   Outcome = "booked"
	OutcomePending  Outcome = "pending"
	OutcomeRefused  Outcome = "refused"
	OutcomeVoided   Outcome = "voided"
	OutcomeNotFound Outcome = "not_found"
	OutcomeUnknown  Outcome = "unknown"
)

// Answer is what a carrier said.
type Answer struct {
	Outcome   Outcome
	Tracking  string
	CarrierID string
	Price     int64  // pesos, where it says
	Label     *Label // where it comes with the answer
	// Code and Message are the carrier's, of a refusal. Never a buyer's data.
	Code, Message string
}

// Looked is what Lookup said, or that nothing was tried yet (Untried).
type Looked struct {
	Answer
	tried bool
}

// Untried is for the first call of an effect.
var Untried = Looked{}

// Found wraps what Lookup found.
func Found(a Answer) Looked { return Looked{a, true} }

// Tried reports whether the effect may have been tried before.
func (l Looked) Tried() bool { return l.tried }

// Format is the form of a label.
type Format string

// Formats of labels, told by their first bytes.
const (
	PDF  Format = "pdf"
	ZPL  Format = "zpl"
	EPL  Format = "epl"
	JPEG Format = "jpeg"
	PNG  Format = "png"
)

// Label is a label as the carrier gave it.
type Label struct {
	Format Format
	Data   []byte
}

// State is where a parcel is by the carrier's word, in our terms. What an adapter
// does not know for certain is Unmapped: it is kept and shown and moves nothing.
type State string

// States of a parcel.
const (
	Unmapped       State = ""
	Announced      State = "announced" // a number and no parcel yet
	InTransit      State = "in_transit"
	OutForDelivery State = "out_for_delivery"
	Delivered      State = "delivered"
	DeliveryFailed State = "delivery_failed"
	AtPoint        State = "at_point" // waits for the buyer
	Returning      State = "returning"
	Returned       State = "returned_to_sender"
	Lost           State = "lost"
	Damaged        State = "damaged"
	Voided         State = "voided"
)

// Track is what happened to a parcel, the oldest first.
type Track struct {
	Number string
	Events []Event
}

// Event is one thing that a carrier says happened. At is zero where the carrier's
// date cannot be read.
type Event struct {
	At    time.Time
	State State
	// Code and Text are the carrier's own words; Where is a branch or a comuna.
	// Names of people who received a parcel are left out.
	Code, Text, Where string
}

// Errors of carriers beside *Failure.
var (
	ErrNoLookup   = errors.New("the carrier cannot be asked for this booking")
	ErrCannotVoid = errors.New("the carrier has no call to cancel a booking")
	ErrNoReprint  = errors.New("the carrier gives a label only with the booking")
)

// Reason is a class of failures.
type Reason string

// Classes. Invalid is our request's fault (an address the carrier does not know),
// Unavailable that the carrier does not work now, RateLimited that it wants us to
// wait, Credentials that it does not know the account.
const (
	Invalid     Reason = "invalid"
	Unavailable Reason = "unavailable"
	RateLimited Reason = "rate_limited"
	Credentials Reason = "credentials"
)

// CodeCircuitOpen is the code of a Failure of ours: the carrier has failed too often
// of late, and was not called.
const CodeCircuitOpen = "circuit_open"

// Failure is an error that says why a call had no effect.
type Failure struct {
	Reason Reason
	// Code and Message are the carrier's, but for CodeCircuitOpen.
	Code, Message string
	// RetryAfter is when the carrier wants to be asked again; zero: it doesn't say.
	RetryAfter time.Duration
	Err        error
}

func (f *Failure) Error() string {
	text := string(f.Reason)
	if f.Code != "" {
		text += " " + f.Code
	}
	if f.Message != "" {
		text += ": " + f.Message
	}
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

func (f *Failure) Unwrap() error { return f.Err }
