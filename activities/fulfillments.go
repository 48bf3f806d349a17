package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/carriers"
	"justlogistics/internal/id"
	"justlogistics/internal/postgres"
	"justlogistics/internal/refund"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// Fulfillments are the steps of a shipment's run: reading how it stands, finding a
// carrier, buying its labels, cancelling those that are not wanted.
type Fulfillments struct {
	DB       *postgres.DB
	Carriers *carriers.Registry
	// Able tells what the gateways of an order's payments can give back.
	Able func(ctx context.Context, tenantID, orderID string) (refund.Able, error)
}

// FulfillmentRef names a shipment.
type FulfillmentRef struct {
	Tenant     string `json:"tenant"`
	ShipmentID string `json:"shipment_id"`
}

// Standing is how far a shipment is.
type Standing = shipping.Standing

// Waits between questions to a carrier about one booking.
const (
	// notBookedFor is how long a shipment waits that nobody carried.
	notBookedFor = 10 * time.Minute
	// quotesWithin is how long carriers are waited for when their prices are compared.
	quotesWithin = 8 * time.Second
	longestWait  = 10 * time.Minute
)

// askAgain is when a carrier is asked again after so many tries.
func askAgain(tries int) time.Duration {
	wait := 2 * time.Second
	for range min(tries, 12) {
		wait *= 2
	}
	return min(wait, longestWait)
}

func (a *Fulfillments) in(ctx context.Context, ref FulfillmentRef, do func(tx pgx.Tx, shop tenant.Tenant) error) error {
	return a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, ref.Tenant)
		if err != nil {
			return err
		}
		return do(tx, shop)
	})
}

// StandShipment reads how a shipment stands.
func (a *Fulfillments) StandShipment(ctx context.Context, ref FulfillmentRef) (out Standing, err error) {
	err = a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		out, err = shipping.Stand(ctx, tx, shop, ref.ShipmentID)
		return err
	})
	return out, classify(err)
}

// ChosenCarrier is what ChooseCarrier found.
type ChosenCarrier struct {
	// Compare: the prices of several carriers must be compared first.
	Compare bool `json:"compare,omitempty"`
}

// ChooseCarrier writes the intent to book a shipment's parcels with the carrier that a
// person or the buyer has chosen. It calls nobody. Where there is a choice, or the
// chosen one has said no, it says so.
func (a *Fulfillments) ChooseCarrier(ctx context.Context, ref FulfillmentRef) (out ChosenCarrier, err error) {
	err = a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		u, err := shipping.ToBook(ctx, tx, shop, ref.ShipmentID)
		if err != nil {
			return err
		}
		if u.Method == shipping.InShop && u.Carrier == "" {
			// Nobody carries what the buyer fetches.
			_, err := shipping.LabelParcels(ctx, tx, shop, ref.ShipmentID, shipping.Labelling{Carrier: shipping.Manual, By: stock.By{Person: u.Shipment.Label.WantedBy}})
			if refusedWith(err) != "" {
				return nil // changed meanwhile: it is read again
			}
			return err
		}
		choice, fixed := u.Fixed()
		if !fixed {
			out.Compare = true
			return nil
		}
		if slices.Contains(u.Tried, choice.Carrier) {
			return shipping.NotBooked(ctx, tx, ref.Tenant, ref.ShipmentID, strings.Join(u.Refusals, "; ")+". No other carrier may be used. Say who does (POST /v1/shipments/{id}/label), or retry.", notBookedFor)
		}
		full, ok, err := u.Intend(ctx, tx, ref.Tenant, []shipping.Choice{choice})
		if err != nil || ok {
			return err
		}
		if u.Carrier == "" { // the buyer's choice has no room: another may have
			out.Compare = true
			return nil
		}
		return shipping.NotBooked(ctx, tx, ref.Tenant, ref.ShipmentID, full[0].Title()+" takes no more parcels today (carrier_capacity).", notBookedFor)
	})
	return out, classify(err)
}

// CompareCarriers asks all carriers for prices, each for at most some seconds, and writes
// the intent to book with the best that has room. Nobody: it writes down why, and the
// shipment is tried again later.
func (a *Fulfillments) CompareCarriers(ctx context.Context, ref FulfillmentRef) error {
	var u shipping.Unbooked
	err := a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) (err error) {
		u, err = shipping.ToBook(ctx, tx, shop, ref.ShipmentID)
		return err
	})
	if err != nil {
		return classify(err)
	}
	all, err := a.Carriers.All(ctx, ref.Tenant)
	if err != nil {
		return classify(err)
	}
	for name := range all {
		if u.Carrier != "" && name != u.Carrier || slices.Contains(u.Tried, name) {
			delete(all, name)
		}
	}
	asking, cancel := context.WithTimeout(ctx, quotesWithin)
	rates, silent := shipping.Compare(asking, all, u.Quote())
	cancel()
	if ctx.Err() != nil {
		return classify(ctx.Err())
	}
	choices := u.Prefer(rates)
	return classify(a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error {
		full, ok, err := u.Intend(ctx, tx, ref.Tenant, choices)
		if err != nil || ok {
			return err
		}
		return shipping.NotBooked(ctx, tx, ref.Tenant, ref.ShipmentID, whyNobody(u, len(all), silent, full), notBookedFor)
	}))
}

// whyNobody says why no carrier takes a shipment.
func whyNobody(u shipping.Unbooked, asked int, silent []shipping.Silent, full []shipping.Name) string {
	var why []string
	for _, s := range silent {
		why = append(why, s.Carrier.Title()+" does not answer ("+strings.ReplaceAll(s.Why, "_", " ")+")")
	}
	for _, name := range full {
		why = append(why, name.Title()+" takes no more parcels today")
	}
	why = append(why, u.Refusals...)
	switch {
	case asked == 0 && len(why) == 0:
		why = append(why, "no carrier is set up (PUT /v1/carriers/{carrier}/credentials)")
	case len(why) == 0:
		why = append(why, "no carrier goes to "+u.To.Comuna+" with such a parcel")
	}
	return "Nobody carries it yet: " + strings.Join(why, "; ") + ". It is tried again by itself; or correct what is wrong and retry, or say who carries it (POST /v1/shipments/{id}/label, carrier manual for own delivery)."
}

// BookParcel does the next thing about one parcel of a shipment that is to be booked:
// it books, asks what became of a booking whose answer was lost, or fetches a label. The
// intent stands in the database before the carrier hears of it, and what was tried is
// asked about before it is tried again: however often this runs, and wherever it is
// killed, a parcel has one label.
func (a *Fulfillments) BookParcel(ctx context.Context, ref FulfillmentRef) error {
	var u shipping.Unbooked
	var k shipping.Kept
	found := false
	err := a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) (err error) {
		if u, err = shipping.ToBook(ctx, tx, shop, ref.ShipmentID); err != nil {
			return err
		}
		k, found, err = next(ctx, tx, ref, func(k shipping.Kept) bool { return k.Live() && (k.Status != shipping.BookedNow || !k.Labelled) })
		return err
	})
	if err != nil || !found || u.Shipment.Status != shipping.Packed {
		return classify(err)
	}
	c, err := a.Carriers.Carrier(ctx, ref.Tenant, k.Carrier)
	if errors.Is(err, carriers.ErrNotConfigured) {
		return a.later(ctx, ref, k, "credentials", "the credentials are missing or have a wrong form", longestWait)
	}
	if err != nil {
		return classify(err)
	}
	if k.Status == shipping.BookedNow {
		return a.fetchLabel(ctx, ref, c, k)
	}
	before, err := a.before(ctx, ref, c, k)
	if err != nil || before == nil {
		return err
	}
	booking, ok := u.Booking(k, form(c))
	if !ok {
		return nil // unpacked meanwhile
	}
	begun := false
	err = a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) (err error) {
		begun, err = k.Begin(ctx, tx, ref.Tenant, before.Tried())
		return err
	})
	if err != nil || !begun {
		return classify(err)
	}
	answer, err := c.Book(ctx, booking, *before)
	return a.save(ctx, ref, c, k, answer, err)
}

// next is the booking of a shipment whose turn has come.
func next(ctx context.Context, tx pgx.Tx, ref FulfillmentRef, which func(shipping.Kept) bool) (shipping.Kept, bool, error) {
	list, err := shipping.Bookings(ctx, tx, ref.Tenant, ref.ShipmentID)
	if err != nil {
		return shipping.Kept{}, false, err
	}
	var now time.Time
	if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return shipping.Kept{}, false, fmt.Errorf("clock of the database: %w", err)
	}
	for _, k := range list {
		if which(k) && k.NextAt != nil && !k.NextAt.After(now) {
			return k, true, nil
		}
	}
	return shipping.Kept{}, false, nil
}

// before asks what an earlier try has done. It is nil when the answer is written down
// and there is nothing to book now.
func (a *Fulfillments) before(ctx context.Context, ref FulfillmentRef, c shipping.Carrier, k shipping.Kept) (*shipping.Looked, error) {
	if k.TriedAt == nil {
		untried := shipping.Untried
		return &untried, nil
	}
	looked, err := c.Lookup(ctx, k.Booked())
	can := c.Capabilities()
	switch {
	case errors.Is(err, shipping.ErrNoLookup):
		return nil, a.later(ctx, ref, k, "no_lookup", "the carrier cannot be asked for it", 0)
	case err != nil:
		return nil, a.later(ctx, ref, k, "lookup", told(err), askAgain(k.Tries))
	case looked.Outcome != shipping.OutcomeNotFound:
		return nil, a.save(ctx, ref, c, k, looked.Answer, nil)
	case can.LookupFinal && time.Since(*k.TriedAt) >= can.LookupAfter:
		return &looked, nil
	case can.LookupFinal:
		return nil, a.later(ctx, ref, k, "not_found", "it may still appear", min(can.LookupAfter-time.Since(*k.TriedAt)+time.Second, longestWait))
	}
	// That it is not found proves nothing at this carrier.
	return nil, a.later(ctx, ref, k, "not_found", "the carrier does not find it, which proves nothing", askAgain(k.Tries))
}

// told is a failure in words that name nobody.
func told(err error) string {
	var f *shipping.Failure
	if errors.As(err, &f) {
		return strings.TrimSpace(string(f.Reason) + " " + f.Code + " " + f.Message)
	}
	return "no answer"
}

// save writes down what a carrier said to a booking.
func (a *Fulfillments) save(ctx context.Context, ref FulfillmentRef, c shipping.Carrier, k shipping.Kept, answer shipping.Answer, failure error) error {
	var f *shipping.Failure
	if failure != nil && !errors.As(failure, &f) {
		return classify(failure)
	}
	// What a carrier has answered must be kept, also when the caller's time is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	again := askAgain(k.Tries)
	switch answer.Outcome {
	case shipping.OutcomeBooked:
		again = 0
	case shipping.OutcomePending:
		again = min(again, 30*time.Second)
	case shipping.OutcomeUnknown:
		if can := c.Capabilities(); !can.Lookup && k.CarrierID == "" && answer.CarrierID == "" {
			return a.later(ctx, ref, k, answer.Code, answer.Message, 0)
		}
	}
	return classify(a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error {
		if f != nil {
			return k.SaveFailure(ctx, tx, ref.Tenant, cmp.Or(f.Code, string(f.Reason)), f.Message)
		}
		return k.Save(ctx, tx, ref.Tenant, answer, again)
	}))
}

func (a *Fulfillments) later(ctx context.Context, ref FulfillmentRef, k shipping.Kept, code, message string, again time.Duration) error {
	return classify(a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error { return k.Later(ctx, tx, ref.Tenant, code, message, again) }))
}

// fetchLabel fetches a booking's label. Where a carrier gives one only with the booking
// and it was lost, the booking is given up and the parcel booked anew, if the carrier can
// cancel; else a person is asked.
func (a *Fulfillments) fetchLabel(ctx context.Context, ref FulfillmentRef, c shipping.Carrier, k shipping.Kept) error {
	can := c.Capabilities()
	if !can.Reprint && can.Void {
		return classify(a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error { return k.GiveUp(ctx, tx, ref.Tenant) }))
	}
	label, err := c.Label(ctx, k.Booked())
	switch {
	case errors.Is(err, shipping.ErrNoReprint):
		return a.later(ctx, ref, k, "no_reprint", "the carrier gives a label only with the booking", 0)
	case err != nil:
		return a.later(ctx, ref, k, "label", told(err), askAgain(k.Tries))
	}
	return classify(a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error { return k.KeepLabel(ctx, tx, ref.Tenant, label) }))
}

// form is the form of label that we ask a carrier for: the one that everybody can print.
func form(c shipping.Carrier) shipping.Format {
	all := c.Capabilities().Labels
	if slices.Contains(all, shipping.PDF) || len(all) == 0 {
		return shipping.PDF
	}
	return all[0]
}

// FinishLabels labels the shipment when every parcel has its label.
func (a *Fulfillments) FinishLabels(ctx context.Context, ref FulfillmentRef) error {
	return classify(a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error { return shipping.Finish(ctx, tx, shop, ref.ShipmentID) }))
}

// TellDelayed tells the buyer, once, that a shipment is not there as was promised.
func (a *Fulfillments) TellDelayed(ctx context.Context, ref FulfillmentRef) error {
	return classify(a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		return shipping.TellDelayed(ctx, tx, shop, ref.ShipmentID)
	}))
}

// WithdrawShipment undoes what was done for a shipment whose order is cancelled.
func (a *Fulfillments) WithdrawShipment(ctx context.Context, ref FulfillmentRef) error {
	return classify(a.in(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		return shipping.WithdrawShipment(ctx, tx, shop, ref.ShipmentID)
	}))
}

// VoidLabel cancels one label of a shipment that is not wanted any more, asking first
// what became of it. What the carrier cannot cancel lapses unused.
func (a *Fulfillments) VoidLabel(ctx context.Context, ref FulfillmentRef) error {
	var k shipping.Kept
	var orderID string
	found := false
	err := a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) (err error) {
		s, err := shipping.Get(ctx, tx, ref.Tenant, ref.ShipmentID)
		if err != nil {
			return err
		}
		orderID = s.OrderID
		k, found, err = next(ctx, tx, ref, func(k shipping.Kept) bool {
			return k.VoidAt != nil && slices.Contains([]string{shipping.Intended, shipping.InDoubt, shipping.IssuedLater, shipping.BookedNow}, k.Status)
		})
		if err != nil || !found || k.TriedAt != nil {
			return err
		}
		found = false // the carrier never heard of it
		return k.Withdraw(ctx, tx, ref.Tenant)
	})
	if err != nil || !found {
		return classify(err)
	}
	c, err := a.Carriers.Carrier(ctx, ref.Tenant, k.Carrier)
	if errors.Is(err, carriers.ErrNotConfigured) {
		return a.later(ctx, ref, k, "credentials", "the credentials are missing or have a wrong form", longestWait)
	}
	if err != nil {
		return classify(err)
	}
	can := c.Capabilities()
	looked, err := c.Lookup(ctx, k.Booked())
	switch {
	case errors.Is(err, shipping.ErrNoLookup) && !can.Void:
		return a.lapse(ctx, ref, k, orderID)
	case errors.Is(err, shipping.ErrNoLookup):
		return a.later(ctx, ref, k, "no_lookup", "the carrier cannot be asked for it", 0)
	case err != nil:
		return a.later(ctx, ref, k, "lookup", told(err), askAgain(k.Tries))
	}
	switch looked.Outcome {
	case shipping.OutcomeVoided, shipping.OutcomeRefused:
		looked.Outcome = shipping.OutcomeVoided // also where it was booked before
		return a.save(ctx, ref, c, k, looked.Answer, nil)
	case shipping.OutcomeNotFound:
		switch {
		case k.Status == shipping.BookedNow && !can.Void:
			return a.lapse(ctx, ref, k, orderID)
		case can.LookupFinal && k.Status != shipping.BookedNow && time.Since(k.Booked().At) >= can.LookupAfter:
			return a.save(ctx, ref, c, k, shipping.Answer{}, &shipping.Failure{Reason: shipping.Unavailable, Code: "not_made", Message: "the carrier does not know of it"})
		case can.LookupFinal:
			return a.later(ctx, ref, k, "not_found", "it may still appear", min(can.LookupAfter-time.Since(k.Booked().At)+time.Second, longestWait))
		}
		return a.later(ctx, ref, k, "not_found", "the carrier does not find it, which proves nothing", askAgain(k.Tries))
	case shipping.OutcomePending, shipping.OutcomeUnknown:
		return a.later(ctx, ref, k, looked.Code, looked.Message, min(askAgain(k.Tries), 30*time.Second))
	}
	k.Tracking, k.CarrierID = cmp.Or(looked.Tracking, k.Tracking), cmp.Or(looked.CarrierID, k.CarrierID)
	if !can.Void {
		return a.lapse(ctx, ref, k, orderID)
	}
	at := k.Booked()
	answer, err := c.Void(ctx, at, looked)
	switch {
	case err != nil && !errors.As(err, new(*shipping.Failure)):
		return classify(err)
	case err != nil:
		return a.later(ctx, ref, k, "void", told(err), askAgain(k.Tries))
	case answer.Outcome == shipping.OutcomeVoided:
		return a.save(ctx, ref, c, k, answer, nil)
	case answer.Outcome == shipping.OutcomeRefused: // the carrier has the parcel, or what it thinks is one
		return a.later(ctx, ref, k, answer.Code, answer.Message, 0)
	}
	return a.later(ctx, ref, k, answer.Code, answer.Message, askAgain(k.Tries))
}

func (a *Fulfillments) lapse(ctx context.Context, ref FulfillmentRef, k shipping.Kept, orderID string) error {
	return classify(a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error { return k.Lapse(ctx, tx, ref.Tenant, orderID) }))
}

// FulfillmentDecision is a person's verb at a step of a shipment's run.
type FulfillmentDecision struct {
	FulfillmentRef
	ActionID  string `json:"action_id"`
	Step      string `json:"step"`
	Verb      string `json:"verb"`
	Outcome   string `json:"outcome,omitempty"`
	Reference string `json:"reference,omitempty"`
}

// DecideShipment carries a person's decision out, once for each use of a verb, and says
// in words what it did. Money that goes back is booked in the same transaction; the
// refund's own run pays it.
func (a *Fulfillments) DecideShipment(ctx context.Context, in FulfillmentDecision) (result string, err error) {
	var able refund.Able
	var s shipping.Shipment
	if in.Step == shipping.StepParcel && in.Verb == "resolve" && in.Outcome == shipping.OutcomeOfRefund {
		err := a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) (err error) {
			s, err = shipping.Get(ctx, tx, in.Tenant, in.ShipmentID)
			return err
		})
		if err != nil {
			return "", classify(err)
		}
		if able, err = a.Able(ctx, in.Tenant, s.OrderID); err != nil {
			return "", classify(err)
		}
	}
	err = a.in(ctx, in.FulfillmentRef, func(tx pgx.Tx, shop tenant.Tenant) error {
		by := "support"
		err := tx.QueryRow(ctx, `SELECT actor FROM support_actions WHERE tenant = $1 AND id = $2`, in.Tenant, in.ActionID).Scan(&by)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("support action %s: %w", in.ActionID, err)
		}
		if able != nil {
			if result, err = refundShipment(ctx, tx, in.Tenant, s, able); err != nil || result != "" {
				return err
			}
		}
		result, err = shipping.Decide(ctx, tx, shop, in.ShipmentID, shipping.Decision{Step: in.Step, Verb: in.Verb, Outcome: in.Outcome, Reference: in.Reference, By: by})
		return err
	})
	if refused := refusedWith(err); refused != "" {
		return "nothing done: " + refused, nil
	}
	return result, classify(err)
}

// refundShipment books the money for a shipment's goods. result says why nothing can be
// given back; the shipment then waits on. Asked again after it was settled, it books
// nothing.
func refundShipment(ctx context.Context, tx pgx.Tx, tenantID string, s shipping.Shipment, able refund.Able) (result string, err error) {
	var open bool
	err = tx.QueryRow(ctx, `SELECT settled = '' AND status IN ('lost','returned_to_sender') FROM shipments WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenantID, s.ID).Scan(&open)
	if err != nil {
		return "", fmt.Errorf("shipment %s: %w", s.ID, err)
	}
	if !open {
		return "nothing done: it is settled already, or the parcel was found", nil
	}
	lines, err := linesOf(ctx, tx, tenantID, s)
	if err != nil {
		return "", err
	}
	requestID := id.New()
	if _, err := refund.Book(ctx, tx, tenantID, requestID, refund.Request{OrderID: s.OrderID, Reason: "parcel " + strings.ReplaceAll(s.Status, "_", " "), Lines: lines}, nil, "fulfillment", able); err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, `INSERT INTO wakes (tenant, kind, subject) VALUES ($1, 'refund', $2)`, tenantID, requestID)
	if err != nil {
		return "", fmt.Errorf("run of refund %s: %w", requestID, err)
	}
	return "", nil
}

// linesOf are a shipment's units by the order's lines.
func linesOf(ctx context.Context, tx pgx.Tx, tenantID string, s shipping.Shipment) ([]refund.LineAsked, error) {
	rows, err := tx.Query(ctx, `SELECT sku, line_id, quantity - not_shipped FROM order_lines WHERE tenant = $1 AND order_id = $2 ORDER BY position`, tenantID, s.OrderID)
	if err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", s.OrderID, err)
	}
	left := map[string]int{}
	for _, l := range s.Lines {
		left[l.SKU] += l.Quantity
	}
	var out []refund.LineAsked
	var sku, line string
	var quantity int
	_, err = pgx.ForEachRow(rows, []any{&sku, &line, &quantity}, func() error {
		if n := min(left[sku], quantity); n > 0 {
			left[sku] -= n
			out = append(out, refund.LineAsked{LineID: line, Quantity: n})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", s.OrderID, err)
	}
	return out, nil
}
