package activities

import (
	"context"

	"justlogistics/internal/checkout"
	"justlogistics/internal/postgres"
)

// Reservations are the database steps of holds without a payment.
type Reservations struct {
	DB *postgres.DB
}

// ReservationRef names a reservation.
type ReservationRef struct {
	Tenant        string `json:"tenant"`
	ReservationID string `json:"reservation_id"`
}

// Reserve holds what the stored request asks for.
func (a *Reservations) Reserve(ctx context.Context, in ReservationRef) (checkout.ReservationView, error) {
	v, err := checkout.Reserve(ctx, a.DB, in.Tenant, in.ReservationID)
	return v, classify(err)
}

// LoadReservation reads the reservation.
func (a *Reservations) LoadReservation(ctx context.Context, in ReservationRef) (checkout.ReservationView, error) {
	v, err := checkout.LoadReservation(ctx, a.DB, in.Tenant, in.ReservationID)
	return v, classify(err)
}

// EndReservation releases the reservation, or expires it when its time is over.
func (a *Reservations) EndReservation(ctx context.Context, in ReservationRef, expire bool) (checkout.ReservationView, error) {
	v, err := checkout.EndReservation(ctx, a.DB, in.Tenant, in.ReservationID, expire)
	return v, classify(err)
}

// ExtendReservation sets a new end, seconds from now.
func (a *Reservations) ExtendReservation(ctx context.Context, in ReservationRef, seconds int) (checkout.ReservationView, error) {
	v, err := checkout.ExtendReservation(ctx, a.DB, in.Tenant, in.ReservationID, seconds)
	return v, classify(err)
}

// ConfirmReservation makes a paid order of the reservation.
func (a *Reservations) ConfirmReservation(ctx context.Context, in ReservationRef, requestID string) (checkout.ReservationView, error) {
	v, err := checkout.ConfirmReservation(ctx, a.DB, in.Tenant, in.ReservationID, requestID)
	return v, classify(err)
}
