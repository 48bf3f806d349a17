package audit

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// labelEntry is a label that a carrier has made.
type labelEntry struct {
	Carrier   string `json:"carrier"`
	Reference string `json:"reference"` // ours
	Tracking  string `json:"tracking"`  // the carrier's; empty until it is given
	Status    string `json:"status"`
	Voided    bool   `json:"voided"`
}

func (l labelEntry) violation(tenant, words, repair string) Violation {
	return Violation{Tenant: tenant, Subject: l.Reference, Data: map[string]any{"carrier": l.Carrier, "reference": l.Reference, "tracking": l.Tracking, "status": l.Status},
		Words: fmt.Sprintf("label %s of %s: %s", l.Tracking, l.Carrier, words), Repair: repair}
}

// bookedLabel is a booking of ours and where its parcel is.
type bookedLabel struct {
	Tenant, ShipmentID, ReturnID         string
	ParcelID                             string
	Carrier, Reference, Tracking, Status string
	// Unwanted: it is to be cancelled.
	Unwanted bool
	// State of the parcel by the carrier's word; Asked: the carrier will be asked again.
	State string
	Asked bool
}

// counts: the parcel goes by it.
func (b bookedLabel) counts() bool { return b.Status == "booked" && !b.Unwanted }

// open: what became of it is still asked, which bookings.doubts_have_their_time watches.
func (b bookedLabel) open() bool {
	return b.Unwanted && b.Status == "booked" || b.Status == "intended" || b.Status == "unknown" || b.Status == "pending"
}

func (b bookedLabel) violation(words, repair string) Violation {
	return Violation{Tenant: b.Tenant, Subject: b.Reference, Data: map[string]any{"shipment": b.ShipmentID, "return": b.ReturnID, "parcel": b.ParcelID, "carrier": b.Carrier, "reference": b.Reference, "tracking": b.Tracking, "status": b.Status, "state": b.State},
		Words: words, Repair: repair}
}

func readLabels(ctx context.Context, tx pgx.Tx) ([]bookedLabel, error) {
	rows, err := tx.Query(ctx, `SELECT b.tenant, coalesce(b.shipment_id, ''), coalesce(b.return_id, ''), b.parcel_id, b.carrier, b.reference, b.tracking, b.status, b.void_at IS NOT NULL, p.state, p.track_at IS NOT NULL
	  FROM bookings b JOIN parcels p ON p.tenant = b.tenant AND p.id = b.parcel_id ORDER BY b.tenant, b.id`)
	if err != nil {
		return nil, fmt.Errorf("audit: bookings: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[bookedLabel])
	if err != nil {
		return nil, fmt.Errorf("audit: bookings: %w", err)
	}
	return list, nil
}

// atCarrier is how both sides name a label.
type atCarrier struct{ carrier, reference string }

func (s statement) labelsBy() map[atCarrier][]labelEntry {
	out := map[atCarrier][]labelEntry{}
	for _, l := range s.Labels {
		if !l.Voided {
			out[atCarrier{l.Carrier, l.Reference}] = append(out[atCarrier{l.Carrier, l.Reference}], l)
		}
	}
	return out
}

// labelsAreKnown: every label that a carrier has made and not cancelled is on a parcel,
// lapses unused, or is being asked about; and there is one for each booking.
func (l look) labelsAreKnown() Check {
	c := Check{Invariant: 2, Name: "ledger.labels_are_known", Rule: "every label at a carrier is of one booking that counts, has lapsed, or is being asked about"}
	ours := map[atCarrier]bookedLabel{}
	for _, b := range l.labels {
		ours[atCarrier{b.Carrier, b.Reference}] = b
	}
	seen := map[atCarrier]bool{}
	for _, there := range l.before.Labels {
		if there.Voided {
			continue
		}
		c.Rows++
		at := atCarrier{there.Carrier, there.Reference}
		b, known := ours[at]
		words := ""
		switch {
		case !known:
			words = "no booking of ours has its reference " + there.Reference
		case seen[at]:
			words = "a second one for our booking " + there.Reference
		case b.Status == "lapsed", b.open():
		case !b.counts():
			words = "our booking " + there.Reference + " is " + b.Status
		case there.Tracking != b.Tracking:
			words = "our booking " + there.Reference + " has the number " + b.Tracking
		}
		seen[at] = true
		if words != "" {
			c.Violations = append(c.Violations, there.violation(b.Tenant, words, "cancel it in the carrier's panel, if no parcel goes by it"))
		}
	}
	return c
}

// bookingsAreThere: what we call booked, the carrier has.
func (l look) bookingsAreThere() Check {
	c := Check{Invariant: 3, Name: "ledger.bookings_are_there", Rule: "every booking that counts is a label at its carrier, by the same number, that is not cancelled"}
	there := l.after.labelsBy()
	for _, b := range l.labels {
		if !b.counts() {
			continue
		}
		c.Rows++
		found := there[atCarrier{b.Carrier, b.Reference}]
		if len(found) == 0 {
			c.Violations = append(c.Violations, b.violation(fmt.Sprintf("%s has no label %s for our booking %s", b.Carrier, b.Tracking, b.Reference), "unpack the shipment and label it again; one that has left: ask the carrier"))
		}
	}
	return c
}

// parcelsAreWhereCarriersSay: what has an end at the carrier has it here, unless the
// carrier is asked again; and nothing has an end here that it has not there.
func (l look) parcelsAreWhereCarriersSay() Check {
	c := Check{Invariant: 5, Name: "ledger.parcels_are_where_carriers_say", Rule: "what the carrier has delivered or brought back is so here, or the carrier is asked again; what it has not, is not"}
	before, after := l.before.labelsBy(), l.after.labelsBy()
	ends := map[string]string{"delivered": "delivered", "returned_to_sender": "returned_to_sender", "lost": "lost"}
	for _, b := range l.labels {
		at := atCarrier{b.Carrier, b.Reference}
		if !b.counts() || len(before[at]) != 1 || len(after[at]) != 1 {
			continue
		}
		c.Rows++
		was, is := ends[before[at][0].Status], ends[after[at][0].Status]
		words := ""
		switch {
		case was != "" && was != b.State && !b.Asked:
			words = fmt.Sprintf("%s says that %s (our reference %s) is %s, here it is %s and nobody asks", b.Carrier, b.Tracking, b.Reference, was, b.State)
		case (b.State == "delivered" || b.State == "returned_to_sender") && is != b.State:
			words = fmt.Sprintf("%s (our reference %s) is %s here, %s says that it is %s", b.Tracking, b.Reference, b.State, b.Carrier, after[at][0].Status)
		}
		if words != "" {
			c.Violations = append(c.Violations, b.violation(words, "ask the carrier again: set the parcel's track_at to now()"))
		}
	}
	return c
}
