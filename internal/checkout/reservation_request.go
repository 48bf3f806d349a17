package checkout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/money"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// ReservationSubmission is what the caller of POST /v1/reservations sends.
type ReservationSubmission struct {
	Items       []Item         `json:"items"`
	Currency    string         `json:"currency"`
	Channel     string         `json:"channel"`
	HoldSeconds *int           `json:"hold_seconds"`
	Customer    Customer       `json:"customer"`
	CustomerRef string         `json:"customer_ref"`
	Metadata    map[string]any `json:"metadata"`
}

// ReservationRequest is a hold without a payment, as it was asked for: items
// are summed by SKU and the customer is in stored form.
type ReservationRequest struct {
	Items       []stock.Want   `json:"items"`
	Currency    money.Currency `json:"currency"`
	Channel     string         `json:"channel"`
	Seconds     int            `json:"seconds"`
	Customer    Customer       `json:"customer"`
	CustomerRef string         `json:"customer_ref,omitempty"`
	Metadata    map[string]any `json:"metadata,omitempty"`
}

// ConfirmSubmission is what makes a paid order of a reservation.
type ConfirmSubmission struct {
	Channel         string           `json:"channel"`
	ExternalPayment *ExternalPayment `json:"external_payment"`
	Fulfilled       bool             `json:"fulfilled"`
	Customer        *Customer        `json:"customer"`
}

// ExternalPayment is money that was taken elsewhere: a card terminal, a bank
// transfer, an invoice. Amount is in minor units of the reservation's currency.
type ExternalPayment struct {
	Method    string `json:"method"`
	Reference string `json:"reference"`
	Amount    int64  `json:"amount"`
}

// ConfirmRequest is a ConfirmSubmission that was found good.
type ConfirmRequest struct {
	Channel         string          `json:"channel"`
	ExternalPayment ExternalPayment `json:"external_payment"`
	// Fulfilled: the units leave at once.
	Fulfilled bool      `json:"fulfilled"`
	Customer  *Customer `json:"customer,omitempty"`
}

// CreateReservation checks a submission and stores it as an open request. Its
// id is the reservation's.
func CreateReservation(ctx context.Context, tx pgx.Tx, t tenant.Tenant, reservationID string, s ReservationSubmission, admin bool) (ReservationRequest, error) {
	var f problem.Fields
	r := ReservationRequest{CustomerRef: s.CustomerRef, Metadata: s.Metadata}
	r.Seconds = holdSeconds(&f, s.HoldSeconds, min(t.Settings.HoldSeconds, t.Settings.ReservationMaxSeconds), t.Settings.ReservationMaxSeconds, admin)
	if s.Currency == "" {
		s.Currency = string(money.CLP)
	}
	r.Currency = parseCurrency(&f, s.Currency)
	r.Customer = checkCustomer(&f, s.Customer, false)
	if s.Channel == "" {
		s.Channel = "b2b"
	}
	r.Channel = checkChannel(&f, s.Channel)
	tooLong(&f, "customer_ref", s.CustomerRef, 128)
	checkMetadata(&f, s.Metadata)
	lines, err := priceItems(ctx, tx, t.ID, &f, s.Items, r.Currency)
	if err != nil {
		return r, err
	}
	if err := f.Err(); err != nil {
		return r, err
	}
	for _, l := range lines.lines {
		r.Items = append(r.Items, stock.Want{SKU: l.sku, Quantity: l.quantity})
	}
	return r, storeRequest(ctx, tx, t.ID, reservationID, reservationID, "create", r)
}

var methodForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// RequestConfirm checks a confirm and stores it as an open request.
func RequestConfirm(ctx context.Context, tx pgx.Tx, tenantID, requestID, reservationID string, s ConfirmSubmission) error {
	var f problem.Fields
	r := ConfirmRequest{Channel: s.Channel, Fulfilled: s.Fulfilled}
	switch s.Channel {
	case "counter", "b2b", "phone":
	case "":
		f.Add("channel", "required", "counter, b2b or phone")
	default:
		f.Add("channel", "invalid", "counter, b2b or phone")
	}
	if p := s.ExternalPayment; p == nil {
		f.Add("external_payment", "required", "say how it was paid")
	} else {
		r.ExternalPayment = *p
		if !methodForm.MatchString(p.Method) {
			f.Add("external_payment.method", "invalid", "1 to 32 lower-case letters, digits, dots, underscores and hyphens")
		}
		if p.Reference == "" {
			f.Add("external_payment.reference", "required", "name what proves the payment")
		}
		tooLong(&f, "external_payment.reference", p.Reference, 128)
		if p.Amount < 1 || p.Amount > catalog.MaxAmount {
			f.Add("external_payment.amount", "out_of_range", "1 to %d minor units", int64(catalog.MaxAmount))
		}
	}
	if s.Customer != nil {
		c := checkCustomer(&f, *s.Customer, false)
		r.Customer = &c
	}
	if err := f.Err(); err != nil {
		return err
	}
	return storeRequest(ctx, tx, tenantID, requestID, reservationID, "confirm", r)
}

func storeRequest(ctx context.Context, tx pgx.Tx, tenantID, requestID, reservationID, kind string, payload any) error {
	raw, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO reservation_requests (tenant, id, reservation_id, kind, payload) VALUES ($1,$2,$3,$4,$5)`, tenantID, requestID, reservationID, kind, raw)
	if err != nil {
		return fmt.Errorf("store reservation request %s: %w", requestID, err)
	}
	return nil
}

// RequestState is how far a stored request has come.
type RequestState struct {
	Kind          string
	ReservationID string
	// Status is open, done, refused or abandoned. Only an open request may be
	// carried out.
	Status      string
	FailureCode string
	Shortages   []stock.Shortage
	payload     []byte
}

// LockReservationRequest reads what a reservation was asked to hold and locks
// the request, so that it can't be abandoned before the transaction ends.
func LockReservationRequest(ctx context.Context, tx pgx.Tx, tenantID, reservationID string) (ReservationRequest, RequestState, error) {
	var r ReservationRequest
	s, err := loadRequest(ctx, tx, tenantID, reservationID, " FOR UPDATE")
	if err == nil {
		err = json.Unmarshal(s.payload, &r)
	}
	return r, s, err
}

// ReadReservationRequest is LockReservationRequest without the lock.
func ReadReservationRequest(ctx context.Context, tx pgx.Tx, tenantID, reservationID string) (ReservationRequest, error) {
	var r ReservationRequest
	s, err := loadRequest(ctx, tx, tenantID, reservationID, "")
	if err == nil {
		err = json.Unmarshal(s.payload, &r)
	}
	return r, err
}

// LockConfirmRequest is LockReservationRequest for a confirm.
func LockConfirmRequest(ctx context.Context, tx pgx.Tx, tenantID, requestID string) (ConfirmRequest, RequestState, error) {
	var r ConfirmRequest
	s, err := loadRequest(ctx, tx, tenantID, requestID, " FOR UPDATE")
	if err == nil {
		err = json.Unmarshal(s.payload, &r)
	}
	return r, s, err
}

// ReadRequest reads how far a request has come.
func ReadRequest(ctx context.Context, tx pgx.Tx, tenantID, requestID string) (RequestState, error) {
	return loadRequest(ctx, tx, tenantID, requestID, "")
}

// ErrNoRequest is returned for a reservation request that does not exist.
var ErrNoRequest = errors.New("no such reservation request")

func loadRequest(ctx context.Context, tx pgx.Tx, tenantID, requestID, forUpdate string) (RequestState, error) {
	var s RequestState
	var lines []byte
	err := tx.QueryRow(ctx, `SELECT kind, reservation_id, status, coalesce(failure_code,''), failure_lines, payload FROM reservation_requests WHERE tenant = $1 AND id = $2`+forUpdate, tenantID, requestID).
		Scan(&s.Kind, &s.ReservationID, &s.Status, &s.FailureCode, &lines, &s.payload)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, fmt.Errorf("%w: %s", ErrNoRequest, requestID)
	}
	if err != nil {
		return s, fmt.Errorf("reservation request %s: %w", requestID, err)
	}
	if lines != nil {
		if err := json.Unmarshal(lines, &s.Shortages); err != nil {
			return s, fmt.Errorf("reservation request %s: %w", requestID, err)
		}
	}
	return s, nil
}

// EndReservationRequest moves an open request to done, refused or abandoned; ok
// is false, and nothing changes, when it was not open.
func EndReservationRequest(ctx context.Context, tx pgx.Tx, tenantID, requestID, status, failureCode string, shortages []stock.Shortage) (ok bool, err error) {
	var lines []byte
	if shortages != nil {
		if lines, err = json.Marshal(shortages); err != nil {
			return false, err
		}
	}
	tag, err := tx.Exec(ctx, `UPDATE reservation_requests SET status = $3, failure_code = nullif($4,''), failure_lines = $5, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'open'`,
		tenantID, requestID, status, failureCode, lines)
	if err != nil {
		return false, fmt.Errorf("reservation request %s: %w", requestID, err)
	}
	return tag.RowsAffected() == 1, nil
}
