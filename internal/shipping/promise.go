package shipping

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/notice"
	"justlogistics/internal/problem"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// StepPromise is where a person is asked about a shipment that may not be with its buyer
// when it was promised.
const StepPromise = "promise"

// NextTell: the promise is broken, and the buyer does not know.
const NextTell = "tell"

// OutcomeAgreed states that the buyer agreed to another day, which is the reference.
const OutcomeAgreed = "agreed"

// keepable are the statuses in which a promise can still be kept or broken. Of a parcel
// that is lost or came back a person decides, and at a door where nobody was the carrier
// has been.
var keepable = []string{Pending, Picking, Packed, Labelled, HandedOver, OnTheWay, Delivering}

// PromisedAt is the end of the day, where the shop is, that lies so many working days
// after a moment: until then the buyer was told to have it. A moment on a weekend counts
// as the next working day's, since nobody carries anything before. In UTC.
func PromisedAt(from time.Time, days int, zone *time.Location) time.Time {
	day := from.In(zone)
	for weekend(day) {
		day = day.AddDate(0, 0, 1)
	}
	for range days {
		for day = day.AddDate(0, 0, 1); weekend(day); {
			day = day.AddDate(0, 0, 1)
		}
	}
	return endOf(day)
}

// latest is the end of the last day on which a carrier of so many working days can be
// given what is promised for a moment.
func latest(promised time.Time, days int, zone *time.Location) time.Time {
	day := promised.In(zone)
	for range days {
		for day = day.AddDate(0, 0, -1); weekend(day); {
			day = day.AddDate(0, 0, -1)
		}
	}
	return endOf(day)
}

// workingDays counts those after one day until another, which is included; at least one.
func workingDays(from, until time.Time) int {
	n := 0
	for day := from.AddDate(0, 0, 1); !day.After(until); day = day.AddDate(0, 0, 1) {
		if !weekend(day) {
			n++
		}
	}
	return max(n, 1)
}

func weekend(day time.Time) bool {
	return day.Weekday() == time.Saturday || day.Weekday() == time.Sunday
}

// endOf is the last second of a day, in UTC: people read the day that was meant.
func endOf(day time.Time) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day(), 23, 59, 59, 0, day.Location()).UTC()
}

// AtOrder is the promise of a paid order whose rate has so many working days, counted
// from the payment, and from when a shipment that has not left may miss it. Both are nil
// without days: nobody has told the buyer one.
func AtOrder(s tenant.Settings, paid time.Time, days int) (promised, risk *time.Time, err error) {
	if days == 0 {
		return nil, nil, nil
	}
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil {
		return nil, nil, fmt.Errorf("time zone: %w", err)
	}
	at := PromisedAt(paid, days, zone)
	return &at, outlook{status: Pending, promised: at, days: days}.riskAt(zone, s.PromiseMargin()), nil
}

// outlook is what of a shipment decides whether it can be there in time.
type outlook struct {
	status   string
	promised time.Time
	// handedOver is nil in the warehouse.
	handedOver *time.Time
	// days are the carrier's working days, 0 where they are not known.
	days int
	// waiting: the buyer can fetch all of it.
	waiting bool
}

// riskAt is from when a shipment, where it is, can no longer or only just be there in
// time; nil for never.
func (o outlook) riskAt(zone *time.Location, margin time.Duration) *time.Time {
	near := o.promised.Add(-margin)
	var at time.Time
	switch {
	case o.waiting || !slices.Contains(keepable, o.status):
		return nil
	case o.status == Delivering:
		at = o.promised
	case o.handedOver == nil:
		at = latest(o.promised, max(o.days, 1), zone).Add(-margin)
	case o.days > 0 && PromisedAt(*o.handedOver, o.days, zone).After(o.promised):
		at = *o.handedOver // as the carrier counts it comes too late
	case o.status == HandedOver:
		// A van that took it scans it within hours. One that does not, on the last day
		// before, has lost sight of it.
		at = latest(o.promised, 1, zone).Add(-margin)
		if soonest := o.handedOver.Add(margin); at.Before(soonest) {
			at = soonest
		}
		if near.Before(at) {
			at = near
		}
	default:
		at = near
	}
	if at.After(o.promised) {
		at = o.promised
	}
	at = at.UTC()
	return &at
}

// canBeFetched reports whether all parcels are with the buyer or wait where they can be
// fetched: that is what was promised.
func (s Shipment) canBeFetched() bool {
	return len(s.Parcels) > 0 && !slices.ContainsFunc(s.Parcels, func(p PackedParcel) bool { return p.State != AtPoint && p.State != Delivered })
}

// reckon writes down from when the shipment may miss its promise, which its last step may
// have changed. Whoever does a step that changes where it is, or by whom it goes, calls
// it in the step's transaction. Without a promise it does nothing.
func (s *Shipment) reckon(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) error {
	if s.PromisedAt == nil {
		return nil
	}
	zone, err := time.LoadLocation(shop.Settings.TimeZone)
	if err != nil {
		return fmt.Errorf("time zone of %s: %w", shop.ID, err)
	}
	o := outlook{status: s.Status, promised: *s.PromisedAt, handedOver: s.HandedOverAt, days: s.orderDays, waiting: s.canBeFetched()}
	if s.carrierDays != nil {
		o.days = *s.carrierDays
	}
	risk := o.riskAt(zone, shop.Settings.PromiseMargin())
	if risk == nil && s.riskAt == nil || risk != nil && s.riskAt != nil && risk.Equal(*s.riskAt) {
		return nil // as it is written
	}
	err = tx.QueryRow(ctx, `UPDATE shipments SET risk_at = $3 WHERE tenant = $1 AND id = $2 RETURNING coalesce(risk_at <= now(), false)`, shop.ID, s.ID, risk).Scan(&s.AtRisk)
	if err != nil {
		return fmt.Errorf("promise of shipment %s: %w", s.ID, err)
	}
	s.riskAt = risk
	return nil
}

// promise adds what the shipment's promise asks of the run and of a person.
func (s standing) promise(out *Standing) {
	if s.PromisedAt == nil || out.Over || s.withdrawn || s.mustStay != "" || s.Frozen != nil || s.canBeFetched() || !slices.Contains(keepable, s.Status) {
		return
	}
	broken := !s.PromisedAt.After(s.now)
	for _, at := range []*time.Time{s.riskAt, s.PromisedAt} {
		if at != nil && at.After(s.now) && (out.WakeAt.IsZero() || at.Before(out.WakeAt)) {
			out.WakeAt = at.UTC()
		}
	}
	if broken && s.DelayedAt == nil {
		// It is done at once and once: what else is next comes after it.
		out.Next, out.NextAt, out.Carrier = NextTell, time.Time{}, ""
	}
	// Who is asked about what is late hurries it already.
	asked := slices.ContainsFunc(out.Troubles, func(t Trouble) bool { return t.Step == StepLate })
	if s.AtRisk && s.riskKnownAt == nil && !asked {
		out.Troubles = append(out.Troubles, s.risk(broken))
	}
}

// risk asks a person about a promise that may break, or has.
func (s standing) risk(broken bool) Trouble {
	t := Trouble{Step: StepPromise, Reason: "promise_at_risk", Tried: "waited until " + minute(s.riskAt), Verbs: []string{"resolve", "skip"}}
	t.Message = s.waits() + " It was promised to the buyer for " + minute(s.PromisedAt)
	if broken {
		t.Reason = "promise_broken"
		t.Message += ", which is over; the buyer is told."
	} else {
		t.Message += ", and can only just be there, or no longer."
	}
	if slices.Contains(inWarehouse, s.Status) {
		t.Message += " Let it leave now: that ends the case, unless it still comes too late."
	} else {
		t.Message += " Ask " + Name(s.Carrier).Title() + " where it is; the case ends when it is with the buyer."
		if s.Carrier != string(Manual) {
			t.Verbs = append(t.Verbs, "retry")
			t.Message += " `retry` asks the carrier's tracking at once."
		}
	}
	t.Message += " Or agree on another day with the buyer and resolve with outcome `agreed` and the day as reference (2026-12-31); `skip`: it is known, and nobody is asked again."
	return t
}

// promised says in a late shipment's case what its buyer was told.
func (s standing) promised() string {
	if s.PromisedAt == nil {
		return ""
	}
	return " It was promised to the buyer for " + minute(s.PromisedAt) + "."
}

// TellDelayed tells the buyer of a shipment that it is not there as was promised: once,
// however often it is called. It does nothing while the promise holds, and when the
// order must not leave or is cancelled.
func TellDelayed(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string) error {
	s, err := Get(ctx, tx, shop.ID, shipmentID)
	if err != nil {
		return err
	}
	if s.canBeFetched() {
		return nil
	}
	if err := s.stopped(ctx, tx, shop.ID); err != nil {
		if refused(err) {
			return nil
		}
		return err
	}
	tag, err := tx.Exec(ctx, `UPDATE shipments SET delayed_at = now(), updated_at = now() WHERE tenant = $1 AND id = $2 AND promised_at <= now() AND delayed_at IS NULL AND status = ANY($3)`, shop.ID, s.ID, keepable)
	if err != nil {
		return fmt.Errorf("shipment %s: %w", s.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	if err := s.tell(ctx, tx, shop, notice.Delayed, s.Lines); err != nil {
		return err
	}
	return timeline.Add(ctx, tx, shop.ID, s.OrderID, "delayed", "system", map[string]any{"shipment_id": s.ID, "carrier": s.Carrier, "promised_at": s.PromisedAt.UTC()})
}

// agreedDay is the day that a person states as reference.
func agreedDay(reference string) (time.Time, error) {
	return time.Parse(time.DateOnly, reference)
}

func (s Shipment) decidePromise(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, d Decision) (string, error) {
	if s.PromisedAt == nil || !slices.Contains(keepable, s.Status) {
		return "nothing done: the shipment is " + s.Status, nil
	}
	switch {
	case d.Verb == "retry":
		_, err := tx.Exec(ctx, `UPDATE parcels SET track_at = now(), quiet = 0 WHERE tenant = $1 AND shipment_id = $2 AND unpacked_at IS NULL AND tracking <> '' AND track_at IS NOT NULL`, shop.ID, s.ID)
		return "the carrier is asked again", wrap(err, "parcels of shipment "+s.ID)
	case d.Outcome == OutcomeAgreed:
		return s.agree(ctx, tx, shop, d)
	}
	_, err := tx.Exec(ctx, `UPDATE shipments SET risk_known_at = now(), updated_at = now() WHERE tenant = $1 AND id = $2`, shop.ID, s.ID)
	return "known: nobody is asked again, and the buyer is told when the promise breaks", wrap(err, "shipment "+s.ID)
}

// agree puts another day in the place of the promise.
func (s Shipment) agree(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, d Decision) (string, error) {
	day, err := agreedDay(d.Reference)
	if err != nil {
		return "", err
	}
	zone, err := time.LoadLocation(shop.Settings.TimeZone)
	if err != nil {
		return "", fmt.Errorf("time zone of %s: %w", shop.ID, err)
	}
	at := endOf(time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone))
	tag, err := tx.Exec(ctx, `UPDATE shipments SET promised_at = $3, risk_known_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2 AND $3 > now()`, shop.ID, s.ID, at)
	if err != nil {
		return "", fmt.Errorf("shipment %s: %w", s.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return "nothing done: " + d.Reference + " is over", nil
	}
	s.PromisedAt = &at
	if err := s.reckon(ctx, tx, shop); err != nil {
		return "", err
	}
	return "promised for " + d.Reference, timeline.Add(ctx, tx, shop.ID, s.OrderID, "promise_agreed", "support", map[string]any{"shipment_id": s.ID, "promised_at": at, "by": d.By})
}

// checkAgreed demands a day of OutcomeAgreed.
func checkAgreed(f *problem.Fields, reference string) {
	if _, err := agreedDay(reference); err != nil {
		f.Add("reference", "required", "the day that the buyer agreed to, such as 2026-12-31")
	}
}
