package checkout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/notice"
	"justlogistics/internal/order"
	"justlogistics/internal/postgres"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// ReservationView is a reservation as its workflow sees it.
type ReservationView struct {
	Status    string           `json:"status"` // "" when nothing is held
	Held      []stock.Line     `json:"held,omitempty"`
	ExpiresAt time.Time        `json:"expires_at,omitzero"`
	HeldUntil time.Time        `json:"held_until,omitzero"`
	Confirmed bool             `json:"confirmed,omitempty"`
	OrderID   string           `json:"order_id,omitempty"`
	Refused   string           `json:"refused,omitempty"`
	Shortages []stock.Shortage `json:"shortages,omitempty"`
}

// Over reports whether the reservation can neither be confirmed nor released.
func (v ReservationView) Over() bool {
	return v.Confirmed || v.Status == "released" || v.Status == "expired" || v.Status == ""
}

// Reserve holds what a reservation request asks for. Repeated, it reads.
func Reserve(ctx context.Context, db *postgres.DB, tenantID, reservationID string) (v ReservationView, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		t, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		want, state, err := LockReservationRequest(ctx, tx, tenantID, reservationID)
		if err != nil {
			return err
		}
		if state.Status == "open" {
			if err := reserve(ctx, tx, t, reservationID, want); err != nil {
				return err
			}
		}
		v, err = reservation(ctx, tx, tenantID, reservationID)
		return err
	})
	return v, err
}

func reserve(ctx context.Context, tx pgx.Tx, t tenant.Tenant, reservationID string, want ReservationRequest) error {
	warehouses, err := Preference(ctx, tx, t, "")
	if err != nil {
		return err
	}
	details, err := json.Marshal(map[string]any{"currency": want.Currency, "customer": want.Customer, "metadata": want.Metadata})
	if err != nil {
		return err
	}
	placed, err := stock.Place(ctx, tx, t.ID, stock.Request{HoldID: reservationID, Channel: want.Channel, Buyer: want.CustomerRef, Wants: want.Items, Seconds: want.Seconds,
		Warehouses: warehouses, Balanced: t.Settings.Allocation.Rule == "balanced", Details: details})
	if err != nil {
		return err
	}
	if len(placed.Shortages) > 0 {
		_, err = EndReservationRequest(ctx, tx, t.ID, reservationID, "refused", FailInsufficientStock, placed.Shortages)
		return err
	}
	if _, err := EndReservationRequest(ctx, tx, t.ID, reservationID, "done", "", nil); err != nil {
		return err
	}
	return timeline.Add(ctx, tx, t.ID, reservationID, "stock_held", "system", map[string]any{"lines": placed.Lines, "expires_at": placed.ExpiresAt})
}

// LoadReservation reads a reservation's view.
func LoadReservation(ctx context.Context, db *postgres.DB, tenantID, reservationID string) (v ReservationView, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		v, err = reservation(ctx, tx, tenantID, reservationID)
		return err
	})
	return v, err
}

func reservation(ctx context.Context, tx pgx.Tx, tenantID, reservationID string) (ReservationView, error) {
	h, err := stock.Get(ctx, tx, tenantID, reservationID)
	if errors.Is(err, stock.ErrNoHold) {
		state, err := ReadRequest(ctx, tx, tenantID, reservationID)
		return ReservationView{Refused: state.FailureCode, Shortages: state.Shortages}, err
	}
	if err != nil {
		return ReservationView{}, err
	}
	v := ReservationView{Status: h.Status, ExpiresAt: h.ExpiresAt, HeldUntil: h.HeldUntil, Confirmed: h.ConfirmedAt != nil, OrderID: h.OrderID}
	for _, l := range h.Lines {
		if n := l.Quantity - l.Shorted - l.Left; n > 0 {
			v.Held = append(v.Held, stock.Line{SKU: l.SKU, Warehouse: l.Warehouse, Quantity: n})
		}
	}
	return v, nil
}

// EndReservation releases a reservation, or expires it when its time is over
// by the database's clock.
func EndReservation(ctx context.Context, db *postgres.DB, tenantID, reservationID string, expire bool) (v ReservationView, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		end, kind := stock.Release, "released"
		if expire {
			end, kind = stock.Expire, "expired"
		}
		ended, err := end(ctx, tx, tenantID, reservationID)
		if err != nil {
			return err
		}
		if ended {
			if err := timeline.Add(ctx, tx, tenantID, reservationID, kind, "system", map[string]any{"stock": "freed"}); err != nil {
				return err
			}
		}
		v, err = reservation(ctx, tx, tenantID, reservationID)
		return err
	})
	return v, err
}

// ExtendReservation sets a new end, within the tenant's limit counted from the
// start.
func ExtendReservation(ctx context.Context, db *postgres.DB, tenantID, reservationID string, seconds int) (v ReservationView, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		t, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		until, ok, err := stock.Extend(ctx, tx, tenantID, reservationID, seconds, t.Settings.ReservationMaxSeconds)
		if err != nil {
			return err
		}
		if ok {
			if err := timeline.Add(ctx, tx, tenantID, reservationID, "hold_extended", "system", map[string]any{"expires_at": until}); err != nil {
				return err
			}
		}
		if v, err = reservation(ctx, tx, tenantID, reservationID); err != nil {
			return err
		}
		if !ok {
			v.Refused = "beyond_limit"
			if v.Over() {
				v.Refused = "reservation_over"
			}
		}
		return nil
	})
	return v, err
}

// ConfirmReservation makes a paid order of a live reservation, with the money
// that was taken outside. The order has the reservation's id. With Fulfilled
// its units leave the shelf in the same transaction. Repeated, it reads.
func ConfirmReservation(ctx context.Context, db *postgres.DB, tenantID, reservationID, requestID string) (v ReservationView, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		t, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		req, state, err := LockConfirmRequest(ctx, tx, tenantID, requestID)
		if err != nil {
			return err
		}
		refused := ""
		if state.Status == "open" {
			if refused, err = confirm(ctx, tx, t, reservationID, req); err != nil {
				return err
			}
			outcome := "done"
			if refused != "" {
				outcome = "refused"
			}
			if _, err := EndReservationRequest(ctx, tx, tenantID, requestID, outcome, refused, nil); err != nil {
				return err
			}
		}
		if v, err = reservation(ctx, tx, tenantID, reservationID); err != nil {
			return err
		}
		if v.Refused = refused; state.Status != "open" {
			v.Refused = state.FailureCode
		}
		return nil
	})
	return v, err
}

func confirm(ctx context.Context, tx pgx.Tx, t tenant.Tenant, reservationID string, req ConfirmRequest) (refused string, err error) {
	h, err := stock.Get(ctx, tx, t.ID, reservationID)
	if err != nil {
		return "", err
	}
	if h.Status == "short" && h.ConfirmedAt == nil {
		return "short_stock", nil
	}
	var details struct {
		Currency money.Currency  `json:"currency"`
		Customer Customer        `json:"customer"`
		Metadata json.RawMessage `json:"metadata"`
	}
	if err := json.Unmarshal(h.Details, &details); err != nil {
		return "", fmt.Errorf("details of reservation %s: %w", reservationID, err)
	}
	if req.Customer != nil {
		details.Customer = *req.Customer
	}
	rows, err := tx.Query(ctx, `SELECT p.sku, p.name, sum(hl.quantity - hl.shorted)::int, coalesce(pr.amount, 0), p.tax
	   FROM hold_lines hl JOIN products p ON p.tenant = hl.tenant AND p.sku = hl.sku LEFT JOIN prices pr ON pr.tenant = p.tenant AND pr.sku = p.sku AND pr.currency = $3
	  WHERE hl.tenant = $1 AND hl.hold_id = $2 GROUP BY p.sku, p.name, pr.amount, p.tax ORDER BY p.sku`, t.ID, reservationID, details.Currency)
	if err != nil {
		return "", fmt.Errorf("lines of reservation %s: %w", reservationID, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[order.NewLine])
	if err != nil {
		return "", fmt.Errorf("lines of reservation %s: %w", reservationID, err)
	}
	// What was paid outside is what was agreed: less than the catalogue's sum
	// is a discount; more has no line to stand on.
	var items, taxed int64
	for _, l := range lines {
		items += l.UnitPrice * int64(l.Quantity)
	}
	paid := req.ExternalPayment.Amount
	if paid > items {
		return "amount_mismatch", nil
	}
	weights := make([]int64, len(lines))
	for i, l := range lines {
		weights[i] = l.UnitPrice * int64(l.Quantity)
	}
	for i, part := range money.Spread(paid, weights) {
		if lines[i].Tax == "iva" {
			taxed += part
		}
	}
	ok, err := stock.Confirm(ctx, tx, t.ID, reservationID, reservationID)
	if err != nil {
		return "", err
	}
	if !ok {
		return "reservation_over", nil
	}
	number, err := tenant.NextNumber(ctx, tx, t)
	if err != nil {
		return "", err
	}
	customer, err := json.Marshal(details.Customer)
	if err != nil {
		return "", err
	}
	err = order.Create(ctx, tx, t.ID, order.New{ID: reservationID, Number: number, Channel: req.Channel, Currency: details.Currency, Email: details.Customer.Email, Customer: customer,
		Metadata: details.Metadata, HoldID: reservationID, Lines: lines, Discount: items - paid, Tax: money.IncludedTax(taxed, order.IVA), Completed: req.Fulfilled, DispatchHours: t.Settings.DispatchHours}, h.Lines)
	if err != nil {
		return "", err
	}
	paymentID := id.New()
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO payments (tenant, id, order_id, attempt, gateway, method, amount, currency, status, reference, captured_amount, closed, applied, applied_at)
	   VALUES ($1,$2,$3,1,'external',$4,$5,$6,'captured',$7,$5,true,true,now())`, t.ID, paymentID, reservationID, req.ExternalPayment.Method, paid, details.Currency, req.ExternalPayment.Reference)
	b.Queue(`INSERT INTO captures (tenant, id, payment_id, amount, currency, reference, captured_at) VALUES ($1,$2,$3,$4,$5,$6,now())`, t.ID, id.New(), paymentID, paid, details.Currency, req.ExternalPayment.Reference)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return "", fmt.Errorf("external payment of %s: %w", reservationID, err)
	}
	if req.Fulfilled {
		if err := stock.HandOver(ctx, tx, t.ID, reservationID, "sold_at_counter", "counter"); err != nil {
			return "", err
		}
	}
	if !req.Fulfilled { // who buys at the counter has it in hand
		if err := notice.Queue(ctx, tx, t, reservationID, notice.OrderPaid, reservationID, notice.Data{}); err != nil {
			return "", err
		}
	}
	return "", timeline.Add(ctx, tx, t.ID, reservationID, "order_paid", "system", map[string]any{"payment_id": paymentID, "gateway": "external", "method": req.ExternalPayment.Method, "amount": paid, "number": number, "fulfilled": req.Fulfilled})
}

// MarkShorted notes that an unpaid checkout must be cancelled because the
// shelf has fewer units than were held.
func MarkShorted(ctx context.Context, db *postgres.DB, tenantID, checkoutID string) (v View, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE checkouts SET cancel_requested_at = coalesce(cancel_requested_at, now()), failure_code = $3, failure_message = 'the shelf has fewer units than were held', updated_at = now()
		  WHERE tenant = $1 AND id = $2 AND status IN ('reserving','awaiting_payment')`, tenantID, checkoutID, FailInsufficientStock)
		if err != nil {
			return fmt.Errorf("short checkout %s: %w", checkoutID, err)
		}
		if tag.RowsAffected() > 0 {
			if err := timeline.Add(ctx, tx, tenantID, checkoutID, "stock_lost", "system", nil); err != nil {
				return err
			}
		}
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, err
}
