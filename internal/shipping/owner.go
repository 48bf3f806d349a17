package shipping

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/tenant"
)

// Owner is whose parcels are booked: a shipment's on their way to the buyer, or a return's
// on their way back.
type Owner struct {
	column string
	ID     string
}

// OfShipment names a shipment.
func OfShipment(id string) Owner { return Owner{"shipment_id", id} }

// OfReturn names a return.
func OfReturn(id string) Owner { return Owner{"return_id", id} }

func (o Owner) String() string {
	if o.column == "return_id" {
		return "return " + o.ID
	}
	return "shipment " + o.ID
}

// AddParcels writes down parcels that person has packed, or means to.
func (o Owner) AddParcels(ctx context.Context, tx pgx.Tx, tenantID string, parcels []ParcelInput, person string) error {
	for i, p := range parcels {
		_, err := tx.Exec(ctx, `INSERT INTO parcels (tenant, id, `+o.column+`, position, reference, weight_grams, length_mm, width_mm, height_mm, packed_by) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)`,
			tenantID, id.New(), o.ID, i+1, newReference(), p.WeightGrams, p.Dimensions.Length, p.Dimensions.Width, p.Dimensions.Height, person)
		if err != nil {
			return fmt.Errorf("parcels of %s: %w", o, err)
		}
	}
	return nil
}

// DropParcels undoes the parcels: their labels are not wanted any more, and nobody asks
// where they are.
func (o Owner) DropParcels(ctx context.Context, tx pgx.Tx, tenantID string) error {
	if err := unwant(ctx, tx, tenantID, o.column+` = $2`, o.ID); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE parcels SET unpacked_at = now(), track_at = NULL WHERE tenant = $1 AND `+o.column+` = $2 AND unpacked_at IS NULL`, tenantID, o.ID); err != nil {
		return fmt.Errorf("parcels of %s: %w", o, err)
	}
	return nil
}

// AskAgain has the carrier asked about the parcels at once.
func (o Owner) AskAgain(ctx context.Context, tx pgx.Tx, tenantID string) error {
	_, err := tx.Exec(ctx, `UPDATE parcels SET track_at = now(), quiet = 0 WHERE tenant = $1 AND `+o.column+` = $2 AND unpacked_at IS NULL AND tracking <> ''`, tenantID, o.ID)
	return wrap(err, "parcels of "+o.String())
}

// ParcelsOfReturns are the parcels of returns, by the return.
func ParcelsOfReturns(ctx context.Context, tx pgx.Tx, tenantID string, ids []string) (map[string][]PackedParcel, error) {
	out := map[string][]PackedParcel{}
	err := eachParcel(ctx, tx, tenantID, "return_id", ids, func(id string, p PackedParcel) { out[id] = append(out[id], p) })
	return out, err
}

// eachParcel reads the parcels of some shipments, or of some returns, in their order.
func eachParcel(ctx context.Context, tx pgx.Tx, tenantID, column string, ids []string, take func(id string, p PackedParcel)) error {
	query, args := parcelsOf(tenantID, column, ids)
	rows, err := tx.Query(ctx, query, args...)
	if err == nil {
		err = scanParcels(rows, take)
	}
	return wrap(err, "parcels")
}

// parcelsOf is the statement that reads them, scanParcels takes its rows.
func parcelsOf(tenantID, column string, ids []string) (query string, args []any) {
	// A list of ids is planned anew at every call, which costs more than reading one's
	// parcels; and most are read one by one.
	which, of := `= ANY($2)`, any(ids)
	if len(ids) == 1 {
		which, of = `= $2`, ids[0]
	}
	return `SELECT ` + column + `, id, position, reference, weight_grams, length_mm, width_mm, height_mm, tracking, state, told_at, packed_by
	  FROM parcels WHERE tenant = $1 AND ` + column + ` ` + which + ` AND unpacked_at IS NULL ORDER BY ` + column + `, position`, []any{tenantID, of}
}

func scanParcels(rows pgx.Rows, take func(id string, p PackedParcel)) error {
	var owner string
	var p PackedParcel
	_, err := pgx.ForEachRow(rows, []any{&owner, &p.ID, &p.Position, &p.Reference, &p.WeightGrams, &p.Dimensions.Length, &p.Dimensions.Width, &p.Dimensions.Height, &p.Tracking, &p.State, &p.ToldAt, &p.PackedBy}, func() error {
		take(owner, p)
		return nil
	})
	return err
}

// Subject is what parcels belong to, as far as their labels go.
type Subject interface {
	// StillWanted takes the lock of the subject's row, and says whether labels are wanted
	// for it as it was read.
	StillWanted(ctx context.Context, tx pgx.Tx) (bool, error)
	// Intended writes down whom the parcels will be booked with.
	Intended(ctx context.Context, tx pgx.Tx, c Choice) error
	// NotBooked writes down why nobody carries them now, in words for people, and when it
	// is tried again.
	NotBooked(ctx context.Context, tx pgx.Tx, why string, again time.Duration) error
}

// packed is a shipment whose parcels want labels.
type packed struct {
	Shipment
	shop tenant.Tenant
}

func (s packed) StillWanted(ctx context.Context, tx pgx.Tx) (wanted bool, err error) {
	err = tx.QueryRow(ctx, `SELECT status = 'packed' AND wanted_at IS NOT NULL AND version = $3 FROM shipments WHERE tenant = $1 AND id = $2 FOR UPDATE`, s.shop.ID, s.ID, s.Version).Scan(&wanted)
	return wanted, wrap(err, "shipment "+s.ID)
}

// Intended writes down how long the carrier takes. Where no rate has told the buyer a day
// the promise is the carrier's, after the time that the shop gives itself.
func (s packed) Intended(ctx context.Context, tx pgx.Tx, c Choice) error {
	if s.PromisedAt == nil && c.Days != nil {
		zone, err := time.LoadLocation(s.shop.Settings.TimeZone)
		if err != nil {
			return fmt.Errorf("time zone of %s: %w", s.shop.ID, err)
		}
		at := PromisedAt(s.CreatedAt.Add(time.Duration(s.shop.Settings.DispatchHours)*time.Hour), *c.Days, zone)
		s.PromisedAt = &at
	}
	// It is the run's own step, which reads the shipment next anyway.
	_, err := tx.Exec(ctx, `SELECT set_config('jl.own_run', $1, true)`, s.ID)
	if err != nil {
		return fmt.Errorf("promise of shipment %s: %w", s.ID, err)
	}
	// Another day may have been agreed on since it was read.
	err = tx.QueryRow(ctx, `UPDATE shipments SET not_booked = '', promised_days = $3, promised_at = coalesce(promised_at, $4), updated_at = now() WHERE tenant = $1 AND id = $2 RETURNING promised_at, risk_at`,
		s.shop.ID, s.ID, c.Days, s.PromisedAt).Scan(&s.PromisedAt, &s.riskAt)
	if err != nil {
		return fmt.Errorf("days of shipment %s: %w", s.ID, err)
	}
	s.carrierDays = c.Days
	return s.reckon(ctx, tx, s.shop)
}

func (s packed) NotBooked(ctx context.Context, tx pgx.Tx, why string, again time.Duration) error {
	_, err := tx.Exec(ctx, `UPDATE shipments SET not_booked = $3, book_at = now() + $4::interval, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'packed'`, s.shop.ID, s.ID, why, again)
	return wrap(err, "shipment "+s.ID)
}
