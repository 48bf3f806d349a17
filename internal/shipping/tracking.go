package shipping

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/lifecycle"
	"justlogistics/internal/notice"
	"justlogistics/internal/order"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// firstLook is how long after its label a parcel is first asked about, at the usual
// pace; a faster pace of the poller brings it forward.
const firstLook = 5 * time.Second

// leftUntold is why a person is asked about a parcel that a carrier has and nobody has
// handed over.
const leftUntold = "left_without_handover"

// Followed is a parcel of which a carrier should be asked.
type Followed struct {
	Tenant, ParcelID string
	// ShipmentID or ReturnID is whose it is.
	ShipmentID, ReturnID string
	Carrier              Name
	Tracking             string
	State                State
	Quiet                int
}

// ClaimFollowed takes up to n parcels of a carrier that are due to be asked about, for as long as
// lease: whoever dies leaves them to others. tx is the system's.
func ClaimFollowed(ctx context.Context, tx pgx.Tx, carrier Name, n int, lease time.Duration) ([]Followed, error) {
	rows, err := tx.Query(ctx, `WITH due AS (
	    SELECT p.tenant, p.id FROM parcels p LEFT JOIN shipments s ON s.tenant = p.tenant AND s.id = p.shipment_id LEFT JOIN returns r ON r.tenant = p.tenant AND r.id = p.return_id
	     WHERE p.track_at <= now() AND coalesce(s.carrier, r.label_carrier) = $3 ORDER BY p.track_at LIMIT $1 FOR UPDATE OF p SKIP LOCKED)
	  UPDATE parcels p SET track_at = now() + $2::interval FROM due WHERE p.tenant = due.tenant AND p.id = due.id
	   RETURNING p.tenant, p.id, coalesce(p.shipment_id, ''), coalesce(p.return_id, ''), $3::text, p.tracking, p.state, p.quiet`, n, lease, carrier)
	if err != nil {
		return nil, fmt.Errorf("parcels to ask about: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Followed])
	return list, wrap(err, "parcels to ask about")
}

// Pace is how long a carrier is left alone about a parcel: least after news, longer and
// longer while it is quiet, at most longest.
type Pace struct{ Least, Longest time.Duration }

// After is when to ask again, by where the parcel is and for how many questions nothing
// was new; zero is never.
func (p Pace) After(state State, quiet int) time.Duration {
	wait := p.Least
	switch state {
	case Delivered, Returned, Voided:
		return 0
	case Announced, InTransit, AtPoint:
		wait *= 2
	case Lost, Damaged:
		wait *= 12
	}
	for range min(quiet, 16) {
		if wait = wait * 3 / 2; wait >= p.Longest {
			return p.Longest
		}
	}
	return min(wait, p.Longest)
}

// Postpone leaves a carrier alone that did not answer.
func (f Followed) Postpone(ctx context.Context, tx pgx.Tx, pace Pace) error {
	_, err := tx.Exec(ctx, `UPDATE parcels SET quiet = quiet + 1, track_at = now() + $3::interval WHERE tenant = $1 AND id = $2 AND track_at IS NOT NULL`, f.Tenant, f.ParcelID, max(pace.After(f.State, f.Quiet), pace.Least))
	return wrap(err, "parcel "+f.ParcelID)
}

// Heard keeps what a carrier says about a parcel and moves its shipment, once for each
// piece of news, however often it is told. A word that the adapter does not know is kept
// and moves nothing. The first scan of a labelled shipment hands it over where the
// tenant leaves that to the carrier.
func (f Followed) Heard(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, t Track, pace Pace) error {
	// The shipment first: two parcels of one shipment take turns.
	var status string
	if err := tx.QueryRow(ctx, `SELECT status FROM shipments WHERE tenant = $1 AND id = $2 FOR UPDATE`, f.Tenant, f.ShipmentID).Scan(&status); err != nil {
		return wrap(err, "shipment "+f.ShipmentID)
	}
	state, moved, err := f.Keep(ctx, tx, t, pace)
	if err != nil || !moved {
		return err
	}
	return f.move(ctx, tx, shop, state, pace)
}

// Keep writes down what a carrier says about a parcel, and where it is by that. The caller
// has the lock of what the parcel belongs to, and lets it follow when it has moved.
func (f *Followed) Keep(ctx context.Context, tx pgx.Tx, t Track, pace Pace) (state State, moved bool, err error) {
	// Another poll may have told of it since it was taken; of what was unpacked
	// meanwhile nothing matters any more.
	err = tx.QueryRow(ctx, `SELECT state, quiet FROM parcels WHERE tenant = $1 AND id = $2 AND unpacked_at IS NULL`, f.Tenant, f.ParcelID).Scan(&f.State, &f.Quiet)
	if errors.Is(err, pgx.ErrNoRows) {
		return f.State, false, nil
	}
	if err != nil {
		return f.State, false, wrap(err, "parcel "+f.ParcelID)
	}
	news, err := f.keep(ctx, tx, t.Events)
	if err != nil {
		return f.State, false, err
	}
	state = f.State
	quiet := f.Quiet + 1
	if news {
		quiet = 0
	}
	for _, e := range t.Events {
		if e.State != Unmapped {
			state = e.State
		}
	}
	var again *time.Duration
	if wait := pace.After(state, quiet); wait > 0 {
		again = &wait
	}
	_, err = tx.Exec(ctx, `UPDATE parcels SET state = $3, quiet = $4, told_at = CASE WHEN $5 THEN now() ELSE told_at END, track_at = now() + $6::interval WHERE tenant = $1 AND id = $2 AND unpacked_at IS NULL`,
		f.Tenant, f.ParcelID, state, quiet, news, again)
	return state, state != f.State, wrap(err, "parcel "+f.ParcelID)
}

// keep writes down what is new, and says whether anything is.
func (f Followed) keep(ctx context.Context, tx pgx.Tx, events []Event) (bool, error) {
	b := &pgx.Batch{}
	news := false
	for _, e := range events {
		var at *time.Time
		if !e.At.IsZero() {
			moment := e.At.UTC()
			at = &moment
		}
		b.Queue(`INSERT INTO tracking_events (tenant, parcel_id, digest, at, state, code, words, place) VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT DO NOTHING RETURNING 1`,
			f.Tenant, f.ParcelID, e.digest(), at, e.State, first(e.Code, 80), first(e.Text, 300), first(e.Where, 120)).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				news = true
			}
			return rows.Err()
		})
	}
	if b.Len() == 0 {
		return false, nil
	}
	return news, wrap(tx.SendBatch(ctx, b).Close(), "news of parcel "+f.ParcelID)
}

func (e Event) digest() string {
	at := ""
	if !e.At.IsZero() {
		at = e.At.UTC().Format(time.RFC3339)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s", at, e.Code, e.Text, e.Where))
	return hex.EncodeToString(sum[:16])
}

// move lets the shipment follow its parcels.
func (f Followed) move(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, state State, pace Pace) error {
	s, err := Get(ctx, tx, f.Tenant, f.ShipmentID)
	if err != nil {
		return err
	}
	switch state {
	case Damaged:
		if err := order.RaiseAttention(ctx, tx, f.Tenant, s.OrderID, "parcel_damaged"); err != nil {
			return err
		}
		if err := timeline.Add(ctx, tx, f.Tenant, s.OrderID, "parcel_damaged", "shipping", map[string]any{"shipment_id": s.ID, "carrier": s.Carrier, "tracking": f.Tracking}); err != nil {
			return err
		}
		return nil
	case AtPoint:
		if err := timeline.Add(ctx, tx, f.Tenant, s.OrderID, "ready_for_pickup", "shipping", map[string]any{"shipment_id": s.ID, "carrier": s.Carrier, "tracking": f.Tracking}); err != nil {
			return err
		}
		if err := s.tell(ctx, tx, shop, notice.ReadyForPickup, nil); err != nil {
			return err
		}
	}
	if s.canBeFetched() {
		if err := s.reckon(ctx, tx, shop); err != nil {
			return err
		}
	}
	to, err := OfShipment(s.ID).Together(ctx, tx, f.Tenant)
	if err != nil {
		return err
	}
	if to == "" || to == s.Status {
		return nil
	}
	if s.Status == Labelled {
		if s, err = f.handOver(ctx, tx, shop, s, pace); err != nil || s.Status == Labelled {
			return err
		}
	}
	if to == s.Status || !lifecycle.Allowed(lifecycle.Shipment, s.Status, to) {
		return nil
	}
	_, err = s.advance(ctx, tx, shop, to, map[string]any{"by": "carrier", "tracking": f.Tracking})
	return err
}

// handOver believes the carrier that it has the parcels, where the tenant wants that;
// else, and when the shipment must not leave, a person is told that it is gone.
func (f Followed) handOver(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, s Shipment, pace Pace) (Shipment, error) {
	if shop.Settings.Fulfillment.Handover == tenant.Automatic {
		nested, err := tx.Begin(ctx)
		if err != nil {
			return s, wrap(err, "shipment "+s.ID)
		}
		now, err := HandOver(ctx, nested, shop, s.ID, Handing{By: stock.By{Person: "carrier"}})
		if err == nil {
			return now, wrap(nested.Commit(ctx), "shipment "+s.ID)
		}
		if rollback := nested.Rollback(ctx); rollback != nil {
			return s, wrap(rollback, "shipment "+s.ID)
		}
		if !refused(err) {
			return s, err
		}
	}
	// Asked again it may be handed over by then, also when the carrier's word was its last.
	if _, err := tx.Exec(ctx, `UPDATE parcels SET state = 'announced', track_at = now() + $3::interval WHERE tenant = $1 AND id = $2`, f.Tenant, f.ParcelID, pace.After(Announced, f.Quiet)); err != nil {
		return s, wrap(err, "parcel "+f.ParcelID)
	}
	return s, order.RaiseAttention(ctx, tx, f.Tenant, s.OrderID, leftUntold)
}

// Together is the status of a shipment whose parcels are where these are by their
// carrier's word: trouble first, else as far as the last one. Empty: it has none.
func (o Owner) Together(ctx context.Context, tx pgx.Tx, tenantID string) (status string, err error) {
	rows, err := tx.Query(ctx, `SELECT state FROM parcels WHERE tenant = $1 AND `+o.column+` = $2 AND unpacked_at IS NULL`, tenantID, o.ID)
	if err != nil {
		return "", wrap(err, "parcels of "+o.String())
	}
	states, err := pgx.CollectRows(rows, pgx.RowTo[State])
	if err != nil {
		return "", wrap(err, "parcels of "+o.String())
	}
	return together(states), nil
}

// together is Together of these states.
func together(states []State) string {
	has := func(s ...State) bool {
		return slices.ContainsFunc(states, func(at State) bool { return slices.Contains(s, at) })
	}
	switch {
	case len(states) == 0:
		return ""
	case has(Lost):
		return Missing
	case has(Returned):
		return ReturnedToShop
	case has(DeliveryFailed, Returning):
		return NotDelivered
	case !has(Announced, Unmapped, InTransit, AtPoint, OutForDelivery, Damaged, Voided):
		return Arrived
	case has(InTransit, AtPoint):
		return OnTheWay
	case has(OutForDelivery):
		return Delivering
	case has(Delivered):
		return OnTheWay
	}
	return ""
}

// refused reports whether an error is the rules' no.
func refused(err error) bool {
	_, is := problem.As(err)
	return is
}
