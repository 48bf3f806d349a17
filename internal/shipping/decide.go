package shipping

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// Decision is what a person rules about a shipment that waits for one.
type Decision struct {
	Step, Verb         string
	Outcome, Reference string
	// By is who used the verb.
	By string
}

// Outcomes of a person's decisions.
const (
	OutcomeOfRefund  = "refund"
	OutcomeOfClosed  = "closed"
	OutcomeOfNotMade = "not_made"
)

// outcomes are what `resolve` may state at a step.
var outcomes = map[string][]string{
	StepBooking: {"booked", OutcomeOfNotMade}, StepVoid: {"voided"}, StepParcel: {OutcomeOfRefund, OutcomeOfClosed}, StepLate: {"delivered", "returned", "lost"}, StepPromise: {OutcomeAgreed},
}

// CheckDecision says what is wrong with a decision by itself.
func CheckDecision(d Decision) error {
	var f problem.Fields
	allowed, known := outcomes[d.Step]
	switch {
	case d.Verb != "resolve" || !known:
	case !slices.Contains(allowed, d.Outcome):
		f.Add("outcome", "invalid", "one of %v", allowed)
	case d.Outcome == "booked" && !printable(d.Reference, 40):
		f.Add("reference", "required", "the carrier's number of the parcel: 1 to 40 visible characters")
	case d.Outcome == OutcomeAgreed:
		checkAgreed(&f, d.Reference)
	}
	return f.Err()
}

// Decide carries a person's decision out, but for the money of OutcomeOfRefund, which the
// caller books in the same transaction. It says in words what was done. A decision about
// what is over meanwhile changes nothing.
func Decide(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, d Decision) (result string, err error) {
	if err := CheckDecision(d); err != nil {
		return "", err
	}
	s, err := Get(ctx, tx, shop.ID, shipmentID)
	if err != nil {
		return "", err
	}
	switch d.Step {
	case StepCarrier:
		return s.decideCarrier(ctx, tx, shop.ID, d)
	case StepBooking:
		return s.decideBooking(ctx, tx, shop.ID, d)
	case StepVoid:
		return OfShipment(s.ID).DecideVoid(ctx, tx, shop.ID, d)
	case StepParcel:
		return s.decideParcel(ctx, tx, shop.ID, d)
	case StepLate:
		return s.decideLate(ctx, tx, shop, d)
	case StepPromise:
		return s.decidePromise(ctx, tx, shop, d)
	}
	return "", fmt.Errorf("shipment %s does not wait at step %q", shipmentID, d.Step)
}

func (s Shipment) decideCarrier(ctx context.Context, tx pgx.Tx, tenantID string, d Decision) (string, error) {
	if d.Verb == "cancel" {
		tag, err := tx.Exec(ctx, `UPDATE shipments SET wanted_at = NULL, wanted_by = '', wanted_carrier = '', wanted_service = '', not_booked = '', book_at = NULL, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'packed'`, tenantID, s.ID)
		if err == nil && tag.RowsAffected() > 0 { // nor what a carrier has taken, or is to take, of its other parcels
			err = unwant(ctx, tx, tenantID, `shipment_id = $2`, s.ID)
		}
		return "no label is wanted: say who carries it by POST /v1/shipments/" + s.ID + "/label", wrap(err, "shipment "+s.ID)
	}
	_, err := tx.Exec(ctx, `UPDATE shipments SET wanted_at = clock_timestamp(), not_booked = '', book_at = NULL, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'packed' AND wanted_at IS NOT NULL`, tenantID, s.ID)
	return "all carriers are asked again", wrap(err, "shipment "+s.ID)
}

// doubtful is SQL that is true of a booking that StepBooking asks about.
const doubtful = `(status IN ('intended','unknown','pending') AND tried_at IS NOT NULL OR status = 'booked' AND NOT by_hand AND NOT EXISTS (SELECT FROM carrier_labels l WHERE l.tenant = bookings.tenant AND l.booking_id = bookings.id))`

// DecideBooking carries out what a person has decided about the oldest label of which
// nobody knows whether it was bought. anew: it was not, and the parcels are booked again.
func (of Owner) DecideBooking(ctx context.Context, tx pgx.Tx, tenantID string, d Decision) (result string, anew bool, err error) {
	// The oldest: one case at a time is told.
	which := ` WHERE tenant = $1 AND id = (SELECT id FROM bookings WHERE tenant = $1 AND ` + of.column + ` = $2 AND void_at IS NULL AND ` + doubtful + ` AND (next_at IS NULL OR tries >= ` + fmt.Sprint(manyTries) + `) ORDER BY id LIMIT 1)`
	switch {
	case d.Verb == "retry":
		_, err := tx.Exec(ctx, `UPDATE bookings SET next_at = now(), tries = 1, updated_at = now()`+which, tenantID, of.ID)
		return "the carrier is asked again", false, wrap(err, "bookings of "+of.String())
	case d.Outcome == "booked":
		var other bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM bookings b JOIN (SELECT id, carrier FROM bookings`+which+`) mine ON b.id <> mine.id AND b.carrier = mine.carrier WHERE b.tenant = $1 AND b.tracking = $3)`, tenantID, of.ID, d.Reference).Scan(&other)
		if err != nil {
			return "", false, wrap(err, "number "+d.Reference)
		}
		if other {
			return "nothing done: " + d.Reference + " is the number of another parcel", false, nil
		}
		tag, err := tx.Exec(ctx, `UPDATE bookings SET status = 'booked', tracking = $3, booked_at = coalesce(booked_at, now()), by_hand = true, next_at = NULL, updated_at = now()`+which, tenantID, of.ID, d.Reference)
		if err == nil && tag.RowsAffected() == 0 {
			return "nothing done: no label is in doubt any more", false, nil
		}
		return "booked as " + d.Reference + ", with the label from the carrier's panel", false, wrap(err, "bookings of "+of.String())
	}
	// What was booked without a label is given up, what was not made has no effect.
	rows, err := tx.Query(ctx, `UPDATE bookings SET status = CASE WHEN status = 'booked' THEN 'voided' ELSE 'failed' END, void_at = CASE WHEN status = 'booked' THEN now() ELSE void_at END, code = 'not_made', next_at = NULL, updated_at = now()`+which+` RETURNING id`, tenantID, of.ID)
	if err != nil {
		return "", false, wrap(err, "bookings of "+of.String())
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", false, wrap(err, "bookings of "+of.String())
	}
	for _, bookingID := range ids {
		if err := (Kept{ID: bookingID}).giveBack(ctx, tx, tenantID); err != nil {
			return "", false, err
		}
	}
	return "not made: the parcel is booked anew", true, nil
}

func (s Shipment) decideBooking(ctx context.Context, tx pgx.Tx, tenantID string, d Decision) (string, error) {
	result, anew, err := OfShipment(s.ID).DecideBooking(ctx, tx, tenantID, d)
	if err != nil || !anew {
		return result, err
	}
	// The same carrier may be asked again: it has not refused.
	_, err = tx.Exec(ctx, `UPDATE shipments SET wanted_at = clock_timestamp(), book_at = NULL, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'packed' AND wanted_at IS NOT NULL`, tenantID, s.ID)
	return result, wrap(err, "shipment "+s.ID)
}

// DecideVoid carries out what a person has decided about the oldest label that is not
// wanted and of which nobody knows whether it is cancelled.
func (of Owner) DecideVoid(ctx context.Context, tx pgx.Tx, tenantID string, d Decision) (string, error) {
	// The oldest: one case at a time is told.
	which := ` WHERE tenant = $1 AND id = (SELECT id FROM bookings WHERE tenant = $1 AND ` + of.column + ` = $2 AND void_at IS NOT NULL AND status IN ('unknown','pending','booked') AND (next_at IS NULL OR tries >= ` + fmt.Sprint(manyTries) + `) ORDER BY id LIMIT 1)`
	to, result := `next_at = now(), tries = 1`, "the carrier is asked again"
	switch d.Verb {
	case "resolve":
		to, result = `status = 'voided', next_at = NULL`, "cancelled"
	case "skip":
		to, result = `status = 'lapsed', next_at = NULL`, "it lapses unused"
	}
	rows, err := tx.Query(ctx, `UPDATE bookings SET updated_at = now(), `+to+which+` RETURNING id, status`, tenantID, of.ID)
	if err != nil {
		return "", wrap(err, "bookings of "+of.String())
	}
	type changed struct{ ID, Status string }
	done, err := pgx.CollectRows(rows, pgx.RowToStructByPos[changed])
	if err != nil {
		return "", wrap(err, "bookings of "+of.String())
	}
	for _, k := range done {
		if k.Status != CancelledNow {
			continue
		}
		if err := (Kept{ID: k.ID}).giveBack(ctx, tx, tenantID); err != nil {
			return "", err
		}
	}
	return result, nil
}

func (s Shipment) decideParcel(ctx context.Context, tx pgx.Tx, tenantID string, d Decision) (string, error) {
	if d.Verb == "retry" {
		return "the carrier is asked again", OfShipment(s.ID).AskAgain(ctx, tx, tenantID)
	}
	settled, result := "closed", "settled"
	if d.Outcome == OutcomeOfRefund {
		settled, result = "refunded", "the buyer gets the money for these goods"
	}
	tag, err := tx.Exec(ctx, `UPDATE shipments SET settled = $3, due_at = NULL, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2 AND settled = '' AND status IN ('lost','returned_to_sender')`, tenantID, s.ID, settled)
	if err != nil {
		return "", wrap(err, "shipment "+s.ID)
	}
	if tag.RowsAffected() == 0 {
		return "nothing done: it is settled already, or the parcel was found", nil
	}
	if err := timeline.Add(ctx, tx, tenantID, s.OrderID, "shipment_settled", "support", map[string]any{"shipment_id": s.ID, "settled": settled, "by": d.By}); err != nil {
		return "", err
	}
	return result, order.Follow(ctx, tx, tenantID, s.OrderID)
}

func (s Shipment) decideLate(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, d Decision) (string, error) {
	if d.Verb == "retry" {
		_, err := tx.Exec(ctx, `UPDATE shipments SET due_at = greatest(due_at, now() + interval '1 day'), updated_at = now() WHERE tenant = $1 AND id = $2 AND due_at IS NOT NULL`, shop.ID, s.ID)
		return "waits another day", wrap(err, "shipment "+s.ID)
	}
	to := map[string]string{"delivered": Arrived, "returned": ReturnedToShop, "lost": Missing}[d.Outcome]
	if !slices.Contains(underWay, s.Status) || s.Status == to {
		return "nothing done: the shipment is " + s.Status, nil
	}
	_, err := s.advance(ctx, tx, shop, to, map[string]any{"by": d.By})
	return "the shipment is " + to, err
}
