package shipping

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/stock"
)

// What a shipment's run can do next.
const (
	// NextChoose: find a carrier for a packed shipment.
	NextChoose = "choose"
	// NextCompare: the carriers' prices must be compared to find one.
	NextCompare = "compare"
	// NextBook: book, ask about, or fetch the label of one parcel.
	NextBook = "book"
	// NextFinish: every parcel has a label.
	NextFinish = "finish"
	// NextVoid: cancel a label that is not wanted any more.
	NextVoid = "void"
)

// Steps at which a shipment can wait for a person.
const (
	StepCarrier = "carrier" // nobody carries it
	StepBooking = "booking" // nobody knows whether a label was bought
	StepVoid    = "void"    // nobody knows whether a label was cancelled
	StepParcel  = "parcel"  // lost, or back at the warehouse
	StepLate    = "late"
)

// Standing is how far a shipment is, for the run that looks after it.
type Standing struct {
	OrderID string `json:"order_id"`
	Status  string `json:"status"`
	// WaitsFor says in words what is next, and who does it.
	WaitsFor string `json:"waits_for"`
	// Next is what the run does itself, at NextAt (zero: now), with Carrier.
	Next    string    `json:"next,omitempty"`
	NextAt  time.Time `json:"next_at,omitzero"`
	Carrier Name      `json:"carrier,omitempty"`
	// DueAt is when it is late where it is; zero: it isn't.
	DueAt time.Time `json:"due_at,omitzero"`
	// WakeAt is when its promise to the buyer is at risk, or then broken; zero: never.
	WakeAt time.Time `json:"wake_at,omitzero"`
	// Troubles wait for a person.
	Troubles []Trouble `json:"troubles,omitempty"`
	Over     bool      `json:"over,omitempty"`
}

// Trouble is what a person is asked, and with which verbs it is cured.
type Trouble struct {
	Step    string   `json:"step"`
	Reason  string   `json:"reason"`
	Message string   `json:"message"`
	Tried   string   `json:"tried"`
	Verbs   []string `json:"verbs"`
}

// standing is a shipment and its bookings, as they are read for Standing.
type standing struct {
	Shipment
	surroundings
	papers    Papers
	notBooked string
	// mustStay says why nothing of the order may leave now.
	mustStay string
	// withdrawn: the order is cancelled; back lies in packing bins meanwhile, and more
	// can be undone.
	withdrawn, more bool
	back            []stock.Want
}

// Stand reads how a shipment stands.
func Stand(ctx context.Context, tx pgx.Tx, tenantID, shipmentID string) (Standing, error) {
	var at standing
	b := &pgx.Batch{}
	get := queueGet(b, tenantID, shipmentID)
	queueAround(b, tenantID, shipmentID, &at.surroundings)
	queueBookings(b, tenantID, OfShipment(shipmentID), &at.papers.Bookings)
	s, err := get.found(tx.SendBatch(ctx, b).Close())
	if err != nil {
		return Standing{}, err
	}
	at.Shipment, at.papers.Parcels, at.papers.NextRound, at.papers.Now = s, s.Parcels, at.bookAt, at.now
	if s.Label != nil {
		at.papers.Wanted, at.notBooked = s.Status == Packed, s.Label.NotBooked
		at.papers.Asked = s.Label.Carrier
	}
	if at.withdrawn = at.cancelled && slices.Contains(inWarehouse, s.Status); at.withdrawn {
		if at.back, at.more, err = s.toPutBack(ctx, tx, tenantID); err != nil {
			return Standing{}, err
		}
	} else if at.Status == Packed || at.Status == Labelled || at.PromisedAt != nil {
		if why := s.stoppedBy(at.surroundings); why != nil {
			at.mustStay = why.Detail
		}
	}
	return at.stand(), nil
}

func (s standing) stand() Standing {
	out := Standing{OrderID: s.OrderID, Status: s.Status, WaitsFor: s.waits()}
	if s.DueAt != nil {
		out.DueAt = s.DueAt.UTC()
	}
	s.next(&out)
	if s.papers.Wanted && s.notBooked != "" {
		out.Troubles = append(out.Troubles, Trouble{Step: StepCarrier, Reason: "no_carrier", Message: s.notBooked, Tried: s.papers.Tried(), Verbs: []string{"retry", "cancel"}})
	}
	out.Troubles = append(out.Troubles, s.papers.Doubts()...)
	s.end(&out)
	if !out.Over && s.DueAt != nil && !s.DueAt.After(s.now) {
		out.Troubles = append(out.Troubles, s.late())
	}
	s.promise(&out)
	return out
}

// waits says in words what the shipment waits for.
func (s standing) waits() string {
	from := "the parcels of order " + s.Number + " from " + s.Warehouse
	on := " on " + minute(s.DueAt)
	switch {
	case s.withdrawn && len(s.back) == 0:
		return "The order is cancelled: what was done for it is being undone."
	case s.withdrawn:
		return "The order is cancelled. " + units(s.back) + " of it lie in a packing bin of " + s.Warehouse + " and go back into their bins (POST /v1/shipments/" + s.ID + "/put-back)."
	}
	if !s.backOrdered.IsZero() && (s.Status == Pending || s.Status == Picking) {
		return "Back-ordered: units of order " + s.Number + " are missing, and it is not packed before they are there. It waits for them until " + minute(&s.backOrdered) + "."
	}
	switch s.Status {
	case Pending:
		return "Waits for a wave in " + s.Warehouse + ": " + units(s.Lines) + " to pick for order " + s.Number + ", due" + on + "."
	case Picking:
		return "The units of order " + s.Number + " are being picked in " + s.Warehouse + ", due" + on + "."
	case Packed:
		switch {
		case s.mustStay != "":
			return "Packed in " + s.Warehouse + ", and must not leave: " + s.mustStay
		case s.papers.Wanted:
			return "Packed: a label is being bought for " + from + "."
		}
		return "Packed: waits for somebody in " + s.Warehouse + " to say who carries it."
	case Labelled:
		if s.mustStay != "" {
			return "Labelled in " + s.Warehouse + ", and must not leave: " + s.mustStay
		}
		return "Labelled: " + Name(s.Carrier).Title() + " takes " + from + " with it (" + numbers(s.Shipment) + "), due" + on + "; when it has them, GET /v1/shipments/" + s.ID + " tells where they are."
	case HandedOver, OnTheWay, Delivering:
		return Name(s.Carrier).Title() + " has " + from + " (" + numbers(s.Shipment) + "); where they are, GET /v1/shipments/" + s.ID + " tells. They are due" + on + "."
	case NotDelivered:
		return Name(s.Carrier).Title() + " found nobody at the door: it tries again until " + minute(s.DueAt) + "."
	case Arrived:
		return "Delivered by " + Name(s.Carrier).Title() + "."
	case ReturnedToShop:
		return Name(s.Carrier).Title() + " brings " + from + " back."
	case Missing:
		return Name(s.Carrier).Title() + " has lost " + from + "."
	}
	return "Cancelled."
}

func minute(at *time.Time) string {
	if at == nil {
		return "no day"
	}
	return at.UTC().Format("2006-01-02 15:04 UTC")
}

func units(list []stock.Want) string {
	n := 0
	for _, l := range list {
		n += l.Quantity
	}
	if n == 1 {
		return "1 unit"
	}
	return fmt.Sprintf("%d units", n)
}

func numbers(s Shipment) string {
	list := make([]string, 0, len(s.Parcels))
	for _, p := range s.Parcels {
		list = append(list, p.Tracking)
	}
	return strings.Join(list, ", ")
}

// next is what the run does itself. Labels that are not wanted come first: they cost
// money.
func (s standing) next(out *Standing) {
	due := s.papers.Unwanted()
	switch {
	case due.Step != "":
	case s.withdrawn:
		if s.more || len(s.back) == 0 || s.Status == Packed || s.Status == Labelled {
			due.Step = NextWithdraw
		}
	case s.mustStay == "":
		due = s.papers.Missing()
	}
	out.Next, out.NextAt, out.Carrier = due.Step, due.At, due.Carrier
}

// end says whether the shipment is over. What was lost or came back is, once a person
// has decided about it.
func (s standing) end(out *Standing) {
	idle := out.Next != NextVoid && !slices.ContainsFunc(out.Troubles, func(t Trouble) bool { return t.Step == StepVoid })
	verbs := []string{"resolve", "retry"}
	advice := " Resolve with outcome `refund` (the buyer gets the money for these goods) or `closed` (it was settled otherwise)."
	switch {
	case s.Status == Arrived || s.Status == Cancelled || s.Settled != "":
		out.Over = idle
	case s.Status == Missing:
		out.Troubles = append(out.Troubles, Trouble{Step: StepParcel, Reason: "parcel_lost", Verbs: verbs, Tried: "the carrier's tracking", Message: Name(s.Carrier).Title() + " says that " + numbers(s.Shipment) + " is lost. Claim it there." + advice + " `retry` asks the carrier again."})
	case s.Status == ReturnedToShop:
		out.Troubles = append(out.Troubles, Trouble{Step: StepParcel, Reason: "returned_to_sender", Verbs: verbs, Tried: "every delivery that the carrier makes", Message: Name(s.Carrier).Title() + " brings " + numbers(s.Shipment) + " back to " + s.Warehouse + ". Ask the buyer what went wrong." + advice + " `retry` asks the carrier again."})
	}
}

// late asks a person about a shipment past its time.
func (s standing) late() Trouble {
	t := Trouble{Step: StepLate, Reason: "shipment_late", Tried: "waited until " + minute(s.DueAt), Verbs: []string{"retry"}, Message: s.waits() + " It is late." + s.promised()}
	switch s.Status {
	case HandedOver, OnTheWay, Delivering, NotDelivered:
		t.Reason, t.Verbs = "delivery_late", []string{"retry", "resolve"}
		if s.Status == NotDelivered {
			t.Reason = "second_try_late"
		}
		t.Message += " Ask the carrier and resolve with outcome `delivered`, `returned` or `lost`; `retry` waits another day."
	default:
		t.Message += " See what holds it up; `retry` waits another day."
	}
	return t
}
