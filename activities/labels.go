package activities

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/carriers"
	"justlogistics/internal/postgres"
	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
)

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

// ChosenCarrier is what a choice of a carrier has found.
type ChosenCarrier struct {
	// Compare: the prices of several carriers must be compared first.
	Compare bool `json:"compare,omitempty"`
}

// labelDesk buys the labels of one shipment's or return's parcels, and cancels those that
// are not wanted any more.
type labelDesk struct {
	db       *postgres.DB
	carriers *carriers.Registry
	tenant   string
	of       shipping.Owner
	// read reads what is to be booked, order whose order it is.
	read  func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (shipping.Unbooked, error)
	order func(ctx context.Context, tx pgx.Tx) (string, error)
	// fetched labels what no carrier carries: the buyer fetches it. Nil where nobody does.
	fetched func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, u shipping.Unbooked) error
}

func (d labelDesk) in(ctx context.Context, do func(tx pgx.Tx, shop tenant.Tenant) error) error {
	return inShop(ctx, d.db, d.tenant, do)
}

// inShop is a transaction of a tenant, with its settings.
func inShop(ctx context.Context, db *postgres.DB, tenantID string, do func(tx pgx.Tx, shop tenant.Tenant) error) error {
	return db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		return do(tx, shop)
	})
}

// choose writes the intent to book with the carrier that a person or the buyer has chosen.
func (d labelDesk) choose(ctx context.Context) (out ChosenCarrier, err error) {
	err = d.in(ctx, func(tx pgx.Tx, shop tenant.Tenant) error {
		out, err = d.chooseIn(ctx, tx, shop)
		return err
	})
	return out, classify(err)
}

// chooseIn is choose in a transaction that is under way.
func (d labelDesk) chooseIn(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (out ChosenCarrier, err error) {
	u, err := d.read(ctx, tx, shop)
	if err != nil {
		return out, err
	}
	if u.Method == shipping.InShop && u.Carrier == "" && d.fetched != nil {
		return out, d.fetched(ctx, tx, shop, u)
	}
	choice, fixed := u.Fixed()
	if !fixed {
		return ChosenCarrier{Compare: true}, nil
	}
	if slices.Contains(u.Tried, choice.Carrier) {
		return out, u.Subject.NotBooked(ctx, tx, strings.Join(u.Refusals, "; ")+". No other carrier may be used: retry, or "+u.Else, notBookedFor)
	}
	full, ok, err := u.Intend(ctx, tx, []shipping.Choice{choice})
	if err != nil || ok {
		return out, err
	}
	if u.Carrier == "" { // the buyer's choice has no room: another may have
		return ChosenCarrier{Compare: true}, nil
	}
	return out, u.Subject.NotBooked(ctx, tx, full[0].Title()+" takes no more parcels today (carrier_capacity).", notBookedFor)
}

// compare asks all carriers for prices, each for at most some seconds, and writes the
// intent to book with the best that has room, or why nobody has.
func (d labelDesk) compare(ctx context.Context) error {
	var u shipping.Unbooked
	err := d.in(ctx, func(tx pgx.Tx, shop tenant.Tenant) (err error) {
		u, err = d.read(ctx, tx, shop)
		return err
	})
	if err != nil {
		return classify(err)
	}
	all, err := d.carriers.All(ctx, d.tenant)
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
	return classify(d.db.InTenant(ctx, d.tenant, func(tx pgx.Tx) error {
		full, ok, err := u.Intend(ctx, tx, choices)
		if err != nil || ok {
			return err
		}
		return u.Subject.NotBooked(ctx, tx, whyNobody(u, len(all), silent, full), notBookedFor)
	}))
}

// whyNobody says why no carrier takes parcels.
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
	return "Nobody carries it yet: " + strings.Join(why, "; ") + ". It is tried again by itself; or correct what is wrong and retry, or " + u.Else
}

// book does the next thing about one parcel that is to be booked: it books, asks what
// became of a booking whose answer was lost, or fetches a label.
func (d labelDesk) book(ctx context.Context) error {
	var u shipping.Unbooked
	var k shipping.Kept
	found := false
	err := d.in(ctx, func(tx pgx.Tx, shop tenant.Tenant) (err error) {
		if u, err = d.read(ctx, tx, shop); err != nil {
			return err
		}
		k, found, err = d.next(ctx, tx, func(k shipping.Kept) bool { return k.Live() && (k.Status != shipping.BookedNow || !k.Labelled) })
		return err
	})
	if err != nil || !found || !u.Wanted {
		return classify(err)
	}
	c, err := d.carriers.Carrier(ctx, d.tenant, k.Carrier)
	if errors.Is(err, carriers.ErrNotConfigured) {
		return d.later(ctx, k, "credentials", "the credentials are missing or have a wrong form", longestWait)
	}
	if err != nil {
		return classify(err)
	}
	if k.Status == shipping.BookedNow {
		return d.fetchLabel(ctx, c, k)
	}
	before, err := d.before(ctx, c, k)
	if err != nil || before == nil {
		return err
	}
	booking, ok := u.Booking(k, form(c))
	if !ok {
		return nil // unpacked meanwhile
	}
	begun := false
	err = d.db.InTenant(ctx, d.tenant, func(tx pgx.Tx) (err error) {
		begun, err = k.Begin(ctx, tx, d.tenant, before.Tried())
		return err
	})
	if err != nil || !begun {
		return classify(err)
	}
	answer, err := c.Book(ctx, booking, *before)
	return d.save(ctx, c, k, answer, err)
}

// next is the booking whose turn has come.
func (d labelDesk) next(ctx context.Context, tx pgx.Tx, which func(shipping.Kept) bool) (shipping.Kept, bool, error) {
	list, now, err := shipping.BookingsNow(ctx, tx, d.tenant, d.of)
	if err != nil {
		return shipping.Kept{}, false, err
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
func (d labelDesk) before(ctx context.Context, c shipping.Carrier, k shipping.Kept) (*shipping.Looked, error) {
	if k.TriedAt == nil {
		untried := shipping.Untried
		return &untried, nil
	}
	looked, err := c.Lookup(ctx, k.Booked())
	can := c.Capabilities()
	switch {
	case errors.Is(err, shipping.ErrNoLookup):
		return nil, d.later(ctx, k, "no_lookup", "the carrier cannot be asked for it", 0)
	case err != nil:
		return nil, d.later(ctx, k, "lookup", told(err), askAgain(k.Tries))
	case looked.Outcome != shipping.OutcomeNotFound:
		return nil, d.save(ctx, c, k, looked.Answer, nil)
	case can.LookupFinal && time.Since(*k.TriedAt) >= can.LookupAfter:
		return &looked, nil
	case can.LookupFinal:
		return nil, d.later(ctx, k, "not_found", "it may still appear", min(can.LookupAfter-time.Since(*k.TriedAt)+time.Second, longestWait))
	}
	// That it is not found proves nothing at this carrier.
	return nil, d.later(ctx, k, "not_found", "the carrier does not find it, which proves nothing", askAgain(k.Tries))
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
func (d labelDesk) save(ctx context.Context, c shipping.Carrier, k shipping.Kept, answer shipping.Answer, failure error) error {
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
			return d.later(ctx, k, answer.Code, answer.Message, 0)
		}
	}
	return classify(d.db.InTenant(ctx, d.tenant, func(tx pgx.Tx) error {
		if f != nil {
			return k.SaveFailure(ctx, tx, d.tenant, cmp.Or(f.Code, string(f.Reason)), f.Message)
		}
		return k.Save(ctx, tx, d.tenant, answer, again)
	}))
}

func (d labelDesk) later(ctx context.Context, k shipping.Kept, code, message string, again time.Duration) error {
	return classify(d.db.InTenant(ctx, d.tenant, func(tx pgx.Tx) error { return k.Later(ctx, tx, d.tenant, code, message, again) }))
}

// fetchLabel fetches a booking's label. Where a carrier gives one only with the booking
// and it was lost, the booking is given up and the parcel booked anew, if the carrier can
// cancel; else a person is asked.
func (d labelDesk) fetchLabel(ctx context.Context, c shipping.Carrier, k shipping.Kept) error {
	can := c.Capabilities()
	if !can.Reprint && can.Void {
		return classify(d.db.InTenant(ctx, d.tenant, func(tx pgx.Tx) error { return k.GiveUp(ctx, tx, d.tenant) }))
	}
	label, err := c.Label(ctx, k.Booked())
	switch {
	case errors.Is(err, shipping.ErrNoReprint):
		return d.later(ctx, k, "no_reprint", "the carrier gives a label only with the booking", 0)
	case err != nil:
		return d.later(ctx, k, "label", told(err), askAgain(k.Tries))
	}
	return classify(d.db.InTenant(ctx, d.tenant, func(tx pgx.Tx) error { return k.KeepLabel(ctx, tx, d.tenant, label) }))
}

// form is the form of label that we ask a carrier for: the one that everybody can print.
func form(c shipping.Carrier) shipping.Format {
	all := c.Capabilities().Labels
	if slices.Contains(all, shipping.PDF) || len(all) == 0 {
		return shipping.PDF
	}
	return all[0]
}

// void cancels one label that is not wanted any more, asking first what became of it. What
// the carrier cannot cancel lapses unused.
func (d labelDesk) void(ctx context.Context) error {
	var k shipping.Kept
	var orderID string
	found := false
	err := d.db.InTenant(ctx, d.tenant, func(tx pgx.Tx) (err error) {
		if orderID, err = d.order(ctx, tx); err != nil {
			return err
		}
		k, found, err = d.next(ctx, tx, func(k shipping.Kept) bool {
			return k.VoidAt != nil && slices.Contains([]string{shipping.Intended, shipping.InDoubt, shipping.IssuedLater, shipping.BookedNow}, k.Status)
		})
		if err != nil || !found || k.TriedAt != nil {
			return err
		}
		found = false // the carrier never heard of it
		return k.Withdraw(ctx, tx, d.tenant)
	})
	if err != nil || !found {
		return classify(err)
	}
	c, err := d.carriers.Carrier(ctx, d.tenant, k.Carrier)
	if errors.Is(err, carriers.ErrNotConfigured) {
		return d.later(ctx, k, "credentials", "the credentials are missing or have a wrong form", longestWait)
	}
	if err != nil {
		return classify(err)
	}
	can := c.Capabilities()
	looked, err := c.Lookup(ctx, k.Booked())
	switch {
	case errors.Is(err, shipping.ErrNoLookup) && !can.Void:
		return d.lapse(ctx, k, orderID)
	case errors.Is(err, shipping.ErrNoLookup):
		return d.later(ctx, k, "no_lookup", "the carrier cannot be asked for it", 0)
	case err != nil:
		return d.later(ctx, k, "lookup", told(err), askAgain(k.Tries))
	}
	switch looked.Outcome {
	case shipping.OutcomeVoided, shipping.OutcomeRefused:
		looked.Outcome = shipping.OutcomeVoided // also where it was booked before
		return d.save(ctx, c, k, looked.Answer, nil)
	case shipping.OutcomeNotFound:
		switch {
		case k.Status == shipping.BookedNow && !can.Void:
			return d.lapse(ctx, k, orderID)
		case can.LookupFinal && k.Status != shipping.BookedNow && time.Since(k.Booked().At) >= can.LookupAfter:
			return d.save(ctx, c, k, shipping.Answer{}, &shipping.Failure{Reason: shipping.Unavailable, Code: "not_made", Message: "the carrier does not know of it"})
		case can.LookupFinal:
			return d.later(ctx, k, "not_found", "it may still appear", min(can.LookupAfter-time.Since(k.Booked().At)+time.Second, longestWait))
		}
		return d.later(ctx, k, "not_found", "the carrier does not find it, which proves nothing", askAgain(k.Tries))
	case shipping.OutcomePending, shipping.OutcomeUnknown:
		return d.later(ctx, k, looked.Code, looked.Message, min(askAgain(k.Tries), 30*time.Second))
	}
	k.Tracking, k.CarrierID = cmp.Or(looked.Tracking, k.Tracking), cmp.Or(looked.CarrierID, k.CarrierID)
	if !can.Void {
		return d.lapse(ctx, k, orderID)
	}
	at := k.Booked()
	answer, err := c.Void(ctx, at, looked)
	switch {
	case err != nil && !errors.As(err, new(*shipping.Failure)):
		return classify(err)
	case err != nil:
		return d.later(ctx, k, "void", told(err), askAgain(k.Tries))
	case answer.Outcome == shipping.OutcomeVoided:
		return d.save(ctx, c, k, answer, nil)
	case answer.Outcome == shipping.OutcomeRefused: // the carrier has the parcel, or what it thinks is one
		return d.later(ctx, k, answer.Code, answer.Message, 0)
	}
	return d.later(ctx, k, answer.Code, answer.Message, askAgain(k.Tries))
}

func (d labelDesk) lapse(ctx context.Context, k shipping.Kept, orderID string) error {
	return classify(d.db.InTenant(ctx, d.tenant, func(tx pgx.Tx) error { return k.Lapse(ctx, tx, d.tenant, orderID) }))
}
