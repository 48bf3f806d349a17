package shipping

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// Journey is what anybody who has a shipment's key may know of it: where its parcels are,
// and nothing of the buyer.
type Journey struct {
	Number  string `json:"number"` // of the order
	Status  string `json:"status"`
	Carrier string `json:"carrier"`
	Parcels []struct {
		Tracking string `json:"tracking"`
		State    State  `json:"state"`
	} `json:"parcels"`
	Events       []Passage  `json:"events"`
	HandedOverAt *time.Time `json:"handed_over_at"`
	EndedAt      *time.Time `json:"ended_at"`
}

// Passage is one thing that a carrier says happened.
type Passage struct {
	Tracking string     `json:"tracking"`
	At       *time.Time `json:"at"` // null where the carrier's date could not be read
	// State is empty for a word of the carrier's that is not known.
	State State  `json:"state"`
	Code  string `json:"code"`
	Words string `json:"words"`
	Place string `json:"place"`
}

// Passages are what carriers have said about a shipment's or a return's parcels, the newest
// first.
func Passages(ctx context.Context, tx pgx.Tx, tenantID string, of Owner) ([]Passage, error) {
	rows, err := tx.Query(ctx, `SELECT p.tracking, e.at, e.state, e.code, e.words, e.place FROM tracking_events e JOIN parcels p ON p.tenant = e.tenant AND p.id = e.parcel_id
	  WHERE p.tenant = $1 AND p.`+of.column+` = $2 AND p.unpacked_at IS NULL ORDER BY coalesce(e.at, e.created_at) DESC, e.seq DESC LIMIT 500`, tenantID, of.ID)
	if err != nil {
		return nil, fmt.Errorf("what carriers said of %s: %w", of, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Passage])
	return list, wrap(err, "what carriers said of "+of.String())
}

// Public reads a shipment by its key. 404 for a key that is nobody's, and before the
// shipment has a label.
func Public(ctx context.Context, tx pgx.Tx, tenantID, key string) (Journey, error) {
	var shipmentID string
	err := tx.QueryRow(ctx, `SELECT id FROM shipments WHERE tenant = $1 AND tracking_key::text = $2 AND labelled_at IS NOT NULL`, tenantID, key).Scan(&shipmentID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Journey{}, problem.Missing("shipment")
	}
	if err != nil {
		return Journey{}, fmt.Errorf("shipment by its key: %w", err)
	}
	s, err := Get(ctx, tx, tenantID, shipmentID)
	if err != nil {
		return Journey{}, err
	}
	j := Journey{Number: s.Number, Status: s.Status, Carrier: Name(s.Carrier).Title(), HandedOverAt: s.HandedOverAt, EndedAt: s.EndedAt}
	for _, p := range s.Parcels {
		j.Parcels = append(j.Parcels, struct {
			Tracking string `json:"tracking"`
			State    State  `json:"state"`
		}{p.Tracking, p.State})
	}
	j.Events, err = Passages(ctx, tx, tenantID, OfShipment(shipmentID))
	return j, err
}

// mostHints bounds how many of a message's words are looked for.
const mostHints = 500

// Hint takes a carrier's message that proves nothing: the parcels that it names are asked
// about soon, each at most once a minute for such a message. It reports how many.
func Hint(ctx context.Context, tx pgx.Tx, tenantID string, carrier Name, words []string) (int, error) {
	tag, err := tx.Exec(ctx, `UPDATE parcels p SET track_at = now(), hinted_at = now()
	  WHERE p.tenant = $1 AND p.tracking = ANY($3) AND p.track_at > now() AND (p.hinted_at IS NULL OR p.hinted_at < now() - interval '1 minute')
	    AND (EXISTS (SELECT FROM shipments s WHERE s.tenant = p.tenant AND s.id = p.shipment_id AND s.carrier = $2) OR EXISTS (SELECT FROM returns r WHERE r.tenant = p.tenant AND r.id = p.return_id AND r.label_carrier = $2))`, tenantID, carrier, words[:min(len(words), mostHints)])
	if err != nil {
		return 0, fmt.Errorf("news of %s: %w", carrier, err)
	}
	return int(tag.RowsAffected()), nil
}

// ByCourier finds the shipment of own delivery that has a parcel of this number; "" when
// there is none.
func ByCourier(ctx context.Context, tx pgx.Tx, tenantID, tracking string) (shipmentID string, err error) {
	err = tx.QueryRow(ctx, `SELECT s.id FROM parcels p JOIN shipments s ON s.tenant = p.tenant AND s.id = p.shipment_id
	  WHERE p.tenant = $1 AND p.tracking = $2 AND p.unpacked_at IS NULL AND s.carrier = 'manual' ORDER BY s.id DESC LIMIT 1`, tenantID, tracking).Scan(&shipmentID)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return shipmentID, wrap(err, "parcel of a courier")
}
