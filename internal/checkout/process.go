// Package checkout knows the way from a basket to a paid order: what is held,
// which attempts at payment there are, and what an answer of a gateway means.
//
// The functions of this file are the steps of the Checkout workflow. Each is
// one transaction, decides on rows that it has locked, and does nothing when
// it has been done before, so that a step may run any number of times.
package checkout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/chile"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// Status is where a checkout stands. Its moves are in package lifecycle.
type Status string

// The statuses of the API.
const (
	Reserving       Status = "reserving"
	AwaitingPayment Status = "awaiting_payment"
	Paid            Status = "paid"
	Expired         Status = "expired"
	Cancelled       Status = "cancelled"
	PaymentFailed   Status = "payment_failed"
)

// Open reports whether the buyer can still be asked for money.
func (s Status) Open() bool { return s == Reserving || s == AwaitingPayment }

// Failure codes of a checkout that ended without having been offered to the
// buyer, and their problem codes in the API.
const (
	FailInsufficientStock  = "insufficient_stock"
	FailTooManyHolds       = "too_many_holds"
	FailGatewayUnavailable = "gateway_unavailable"
	FailPaymentRefused     = "payment_refused"
	FailReplaceRefused     = "replaces_refused"
	FailAbandoned          = "abandoned"
)

// View is a checkout as its workflow sees it: ids, states and times, no
// personal data.
type View struct {
	Status      Status           `json:"status"`
	Number      string           `json:"number"`
	Channel     string           `json:"channel"`
	Currency    money.Currency   `json:"currency"`
	Total       int64            `json:"total"`
	HoldID      string           `json:"hold_id,omitempty"`
	HoldStatus  string           `json:"hold_status,omitempty"`
	Held        []stock.Line     `json:"held,omitempty"`
	ExpiresAt   time.Time        `json:"expires_at,omitzero"`
	HeldUntil   time.Time        `json:"held_until,omitzero"`
	Grace       int              `json:"grace_seconds"`
	Requested   string           `json:"requested_gateway"`
	Cancelling  bool             `json:"cancelling,omitempty"`
	FailureCode string           `json:"failure_code,omitempty"`
	Shortages   []stock.Shortage `json:"shortages,omitempty"`
	Replaces    string           `json:"replaces,omitempty"`
	Attempts    []AttemptView    `json:"attempts,omitempty"`
	ClosedAt    time.Time        `json:"closed_at,omitzero"`
}

// AttemptView is one attempt at payment.
type AttemptView struct {
	PaymentID    string         `json:"payment_id"`
	Gateway      payment.Name   `json:"gateway"`
	Status       payment.Status `json:"status"`
	Begun        bool           `json:"begun,omitempty"`
	Closed       bool           `json:"closed,omitempty"`
	Settling     bool           `json:"settling,omitempty"` // Settle was tried at least once
	PayableUntil time.Time      `json:"payable_until,omitzero"`
	Applied      bool           `json:"applied,omitempty"`
	Mismatch     string         `json:"mismatch,omitempty"`
}

// Attempt finds an attempt by its payment's id.
func (v View) Attempt(paymentID string) (AttemptView, bool) {
	for _, a := range v.Attempts {
		if a.PaymentID == paymentID {
			return a, true
		}
	}
	return AttemptView{}, false
}

// row is what the steps read of a checkout.
type row struct {
	View
	CustomerRef, Email, RUT, ClientIP string
	ReturnURL                         string
	HoldSeconds                       int
	Exempt                            bool
	DiscountCode                      string
	Discount, Shipping, Tax           int64
	Customer, ShippingTo, Metadata    []byte
	OrderID                           string
	Region                            string
}

func lock(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string) (row, error) {
	return read(ctx, tx, tenantID, checkoutID, " FOR UPDATE OF c")
}

func read(ctx context.Context, tx pgx.Tx, tenantID, checkoutID, forUpdate string) (row, error) {
	var r row
	var cancel, closed *time.Time
	var shortages []byte
	err := tx.QueryRow(ctx, `SELECT c.status, c.number, c.channel, c.currency, c.total, coalesce(c.hold_id,''), c.gateway, c.cancel_requested_at, coalesce(c.failure_code,''), c.failure_lines, coalesce(c.replaces,''), c.closed_at,
	    c.customer_ref, c.email, c.rut, c.client_ip, c.return_url, c.hold_seconds, c.exempt_from_limits, coalesce(c.discount_code,''), c.discount_total, c.shipping_total, c.tax_total,
	    c.customer, c.shipping, c.metadata, coalesce(c.order_id,''), coalesce(c.shipping->>'region','')
	  FROM checkouts c WHERE c.tenant = $1 AND c.id = $2`+forUpdate, tenantID, checkoutID).
		Scan(&r.Status, &r.Number, &r.Channel, &r.Currency, &r.Total, &r.HoldID, &r.Requested, &cancel, &r.FailureCode, &shortages, &r.Replaces, &closed,
			&r.CustomerRef, &r.Email, &r.RUT, &r.ClientIP, &r.ReturnURL, &r.HoldSeconds, &r.Exempt, &r.DiscountCode, &r.Discount, &r.Shipping, &r.Tax,
			&r.Customer, &r.ShippingTo, &r.Metadata, &r.OrderID, &r.Region)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, fmt.Errorf("%w: %s", ErrNone, checkoutID)
	}
	if err != nil {
		return r, fmt.Errorf("checkout %s: %w", checkoutID, err)
	}
	r.Cancelling = cancel != nil
	if closed != nil {
		r.ClosedAt = *closed
	}
	if shortages != nil {
		if err := json.Unmarshal(shortages, &r.Shortages); err != nil {
			return r, fmt.Errorf("checkout %s: failure lines: %w", checkoutID, err)
		}
	}
	return r, nil
}

// ErrNone is returned for a checkout that does not exist.
var ErrNone = errors.New("no such checkout")

// fill adds the hold and the attempts to a view.
func fill(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, v View, grace int) (View, error) {
	v.Grace = grace
	if v.HoldID != "" {
		h, err := stock.Get(ctx, tx, tenantID, v.HoldID)
		if err != nil {
			return v, err
		}
		v.HoldStatus, v.ExpiresAt, v.HeldUntil, v.Held = h.Status, h.ExpiresAt, h.HeldUntil, nil
		for _, l := range h.Lines {
			if n := l.Quantity - l.Shorted - l.Left; n > 0 {
				v.Held = append(v.Held, stock.Line{SKU: l.SKU, Warehouse: l.Warehouse, Quantity: n})
			}
		}
	}
	attempts, err := payment.OfCheckout(ctx, tx, tenantID, checkoutID)
	if err != nil {
		return v, err
	}
	v.Attempts = nil
	for _, p := range attempts {
		a := AttemptView{PaymentID: p.ID, Gateway: p.Gateway, Status: p.Status, Begun: p.BegunAt != nil, Closed: p.Closed, Settling: p.SettleTriedAt != nil, Applied: p.Applied, Mismatch: p.NotAppliedReason}
		if p.PayableUntil != nil {
			a.PayableUntil = *p.PayableUntil
		}
		v.Attempts = append(v.Attempts, a)
	}
	return v, nil
}

// Load reads a checkout's view.
func Load(ctx context.Context, db *postgres.DB, tenantID, checkoutID string) (v View, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, err
}

func load(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string) (View, error) {
	t, err := tenant.Get(ctx, tx, tenantID)
	if err != nil {
		return View{}, err
	}
	r, err := read(ctx, tx, tenantID, checkoutID, "")
	if err != nil {
		return View{}, err
	}
	return fill(ctx, tx, tenantID, checkoutID, r.View, t.Settings.GraceSeconds)
}

// Start holds the stock of a checkout that has none yet and writes the intent
// of its first attempt at payment with the gateway given. When there is not
// enough stock, or the buyer holds too much already, the checkout ends
// cancelled with the failure in its row and nothing is held. On a checkout
// that is past this it only reads.
func Start(ctx context.Context, db *postgres.DB, tenantID, checkoutID string, gateway payment.Name) (v View, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		t, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		r, err := lock(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		if r.Status == Reserving && r.HoldID == "" {
			if err := begin(ctx, tx, t, checkoutID, &r, gateway); err != nil {
				return err
			}
		}
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, err
}

func begin(ctx context.Context, tx pgx.Tx, t tenant.Tenant, checkoutID string, r *row, gateway payment.Name) error {
	if r.Cancelling {
		return fail(ctx, tx, t.ID, checkoutID, "cancelled_by_caller", "cancelled before anything was held", nil)
	}
	if !r.Exempt {
		tooMany, err := holdsTooMuch(ctx, tx, t, checkoutID, r)
		if err != nil {
			return err
		}
		if tooMany != "" {
			return fail(ctx, tx, t.ID, checkoutID, FailTooManyHolds, tooMany, nil)
		}
	}
	nested, err := tx.Begin(ctx) // what was handed over comes back when stock is short
	if err != nil {
		return err
	}
	if r.Replaces != "" {
		refused, err := takeOver(ctx, nested, t.ID, checkoutID, r)
		if err != nil {
			return err
		}
		if refused != "" {
			if err := nested.Rollback(ctx); err != nil {
				return err
			}
			return fail(ctx, tx, t.ID, checkoutID, FailReplaceRefused, refused, nil)
		}
	}
	placed, holdID, err := place(ctx, nested, t, checkoutID, r, r.HoldSeconds)
	if err != nil {
		return err
	}
	if len(placed.Shortages) > 0 {
		if err := nested.Rollback(ctx); err != nil {
			return err
		}
		return fail(ctx, tx, t.ID, checkoutID, FailInsufficientStock, "not enough stock", placed.Shortages)
	}
	if err := nested.Commit(ctx); err != nil {
		return err
	}
	if err := held(ctx, tx, t.ID, checkoutID, holdID, placed); err != nil {
		return err
	}
	return payment.Intend(ctx, tx, t.ID, payment.Payment{ID: id.New(), CheckoutID: checkoutID, Attempt: 1, Gateway: gateway, Amount: r.Total, Currency: r.Currency, ReturnURL: r.ReturnURL})
}

// held writes a placement into the checkout's row and timeline.
func held(ctx context.Context, tx pgx.Tx, tenantID, checkoutID, holdID string, p stock.Placement) error {
	_, err := tx.Exec(ctx, `UPDATE checkouts SET hold_id = $3, expires_at = $4, updated_at = now(), due_at = $4::timestamptz + interval '60 seconds' WHERE tenant = $1 AND id = $2`, tenantID, checkoutID, holdID, p.ExpiresAt)
	if err != nil {
		return fmt.Errorf("checkout %s held: %w", checkoutID, err)
	}
	return timeline.Add(ctx, tx, tenantID, checkoutID, "stock_held", "system", map[string]any{"reservation_id": holdID, "lines": p.Lines, "expires_at": p.ExpiresAt})
}

// place asks for a new hold of everything in the checkout.
func place(ctx context.Context, tx pgx.Tx, t tenant.Tenant, checkoutID string, r *row, seconds int) (stock.Placement, string, error) {
	rows, err := tx.Query(ctx, `SELECT sku, quantity FROM checkout_lines WHERE tenant = $1 AND checkout_id = $2 ORDER BY sku`, t.ID, checkoutID)
	if err != nil {
		return stock.Placement{}, "", fmt.Errorf("lines of %s: %w", checkoutID, err)
	}
	wants, err := pgx.CollectRows(rows, pgx.RowToStructByPos[stock.Want])
	if err != nil {
		return stock.Placement{}, "", fmt.Errorf("lines of %s: %w", checkoutID, err)
	}
	warehouses, err := Preference(ctx, tx, t, r.Region)
	if err != nil {
		return stock.Placement{}, "", err
	}
	holdID := id.New()
	p, err := stock.Place(ctx, tx, t.ID, stock.Request{HoldID: holdID, CheckoutID: checkoutID, Channel: r.Channel, Buyer: r.Email, Wants: wants, Seconds: seconds,
		Warehouses: warehouses, Balanced: t.Settings.Allocation.Rule == "balanced"})
	return p, holdID, err
}

// Preference lists the warehouses that may give to a buyer in a region, by the
// tenant's rule: nearest first, or in the tenant's fixed order (the rest
// follows by position).
func Preference(ctx context.Context, tx pgx.Tx, t tenant.Tenant, region string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT code, region FROM warehouses WHERE tenant = $1 AND active ORDER BY position, code`, t.ID)
	if err != nil {
		return nil, fmt.Errorf("warehouses: %w", err)
	}
	type place struct{ Code, Region string }
	places, err := pgx.CollectRows(rows, pgx.RowToStructByPos[place])
	if err != nil {
		return nil, fmt.Errorf("warehouses: %w", err)
	}
	rank := func(p place, position int) int { return position }
	switch t.Settings.Allocation.Rule {
	case "nearest":
		rank = func(p place, position int) int {
			return chile.Distance(chile.Region(region), chile.Region(p.Region))*1000 + position
		}
	case "fixed":
		order := map[string]int{}
		for i, code := range t.Settings.Allocation.Order {
			order[code] = i - len(t.Settings.Allocation.Order)
		}
		rank = func(p place, position int) int {
			if i, ok := order[p.Code]; ok {
				return i
			}
			return position
		}
	}
	return sortByRank(places, rank, func(p place) string { return p.Code }), nil
}

// holdsTooMuch says which limit a buyer who is not exempt has reached.
func holdsTooMuch(ctx context.Context, tx pgx.Tx, t tenant.Tenant, checkoutID string, r *row) (string, error) {
	l := t.Settings.Limits
	var open, units, unpaid int
	// Checkouts of one buyer take turns here, or two at once would both pass: one
	// lock for each name the buyer goes by, always in the same order.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(lock) FROM (SELECT DISTINCT hashtextextended($1 || name, 7) AS lock
	    FROM (VALUES (':email:' || $2), (nullif(':rut:' || $3, ':rut:')), (nullif(':ip:' || $4, ':ip:'))) AS names (name) WHERE name IS NOT NULL ORDER BY 1) locks`,
		t.ID, r.Email, r.RUT, r.ClientIP); err != nil {
		return "", fmt.Errorf("hold limits: %w", err)
	}
	err := tx.QueryRow(ctx, `
	WITH mine AS (
	  SELECT id, hold_id, status, created_at FROM checkouts WHERE tenant = $1 AND id <> $2 AND id <> coalesce($6, '')
	     AND (email = $3 OR ($4 <> '' AND rut = $4) OR ($5 <> '' AND client_ip = $5)) AND status IN ('reserving','awaiting_payment')
	), spent AS (
	  SELECT count(*) AS n FROM checkouts WHERE tenant = $1 AND email = $3 AND status IN ('expired','payment_failed','cancelled') AND hold_id IS NOT NULL AND created_at > now() - make_interval(secs => $7)
	     -- ended by a gateway or a shelf, not by the buyer
	     AND coalesce(failure_code, '') NOT IN ('`+FailGatewayUnavailable+`', '`+FailPaymentRefused+`', '`+FailInsufficientStock+`')
	)
	SELECT (SELECT count(*) FROM mine WHERE hold_id IS NOT NULL),
	       coalesce((SELECT sum(hl.quantity - hl.shorted - hl.left_stock) FROM mine m JOIN holds h ON h.tenant = $1 AND h.id = m.hold_id AND h.status IN ('held','short') JOIN hold_lines hl ON hl.tenant = $1 AND hl.hold_id = h.id), 0)
	         + (SELECT coalesce(sum(quantity), 0) FROM checkout_lines WHERE tenant = $1 AND checkout_id = $2),
	       (SELECT n FROM spent)`, t.ID, checkoutID, r.Email, r.RUT, r.ClientIP, r.Replaces, l.WindowSeconds).Scan(&open, &units, &unpaid)
	if err != nil {
		return "", fmt.Errorf("hold limits: %w", err)
	}
	switch {
	case l.OpenCheckouts > 0 && open >= l.OpenCheckouts:
		return "too many checkouts of this buyer are open", nil
	case l.UnitsHeld > 0 && units > l.UnitsHeld:
		return "this buyer would hold too many units", nil
	case l.UnpaidInWindow > 0 && unpaid >= l.UnpaidInWindow:
		return "too many checkouts of this buyer ended unpaid", nil
	}
	return "", nil
}

// takeOver lets go of the hold of the checkout that this one replaces, in the
// same transaction that places the new one. A checkout whose payment is under
// way keeps its hold: refused says why.
func takeOver(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, r *row) (refused string, err error) {
	old, err := lock(ctx, tx, tenantID, r.Replaces)
	if errors.Is(err, ErrNone) {
		return "the checkout to replace does not exist", nil
	}
	if err != nil {
		return "", err
	}
	if !old.Status.Open() || old.CustomerRef == "" || old.CustomerRef != r.CustomerRef {
		return "the checkout to replace is not open, or of another buyer", nil
	}
	attempts, err := payment.OfCheckout(ctx, tx, tenantID, r.Replaces)
	if err != nil {
		return "", err
	}
	for _, p := range attempts {
		committing := p.Status == payment.StatusPending && !p.Closed && p.SettleTriedAt != nil
		if p.Status.InDoubt() || p.Status.Approved() || committing {
			return "the checkout to replace is being paid", nil
		}
	}
	if old.HoldID != "" {
		if _, err := stock.Release(ctx, tx, tenantID, old.HoldID); err != nil {
			return "", err
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE checkouts SET status = 'cancelled', cancel_requested_at = coalesce(cancel_requested_at, now()), failure_code = 'replaced', failure_message = $3, updated_at = now(),
	    due_at = now() + interval '5 minutes' WHERE tenant = $1 AND id = $2`, tenantID, r.Replaces, "replaced by "+checkoutID); err != nil {
		return "", fmt.Errorf("replace checkout %s: %w", r.Replaces, err)
	}
	// Its run closes what was begun; what was not shall not be.
	if _, err := tx.Exec(ctx, `UPDATE payments SET status = 'cancelled', closed = true, updated_at = now(), due_at = NULL WHERE tenant = $1 AND checkout_id = $2 AND status = 'pending' AND begun_at IS NULL`, tenantID, r.Replaces); err != nil {
		return "", fmt.Errorf("attempts of %s: %w", r.Replaces, err)
	}
	if err := giveDiscountBack(ctx, tx, tenantID, r.Replaces); err != nil {
		return "", err
	}
	return "", timeline.Add(ctx, tx, tenantID, r.Replaces, "replaced", "system", map[string]any{"by": checkoutID})
}

// fail ends a checkout that was never offered to its buyer.
func fail(ctx context.Context, tx pgx.Tx, tenantID, checkoutID, code, message string, lines []stock.Shortage) error {
	var raw []byte
	if lines != nil {
		var err error
		if raw, err = json.Marshal(lines); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE checkouts SET status = 'cancelled', failure_code = $3, failure_message = $4, failure_lines = $5, closed_at = now(), updated_at = now(), due_at = NULL
	   WHERE tenant = $1 AND id = $2 AND status IN ('reserving','awaiting_payment')`, tenantID, checkoutID, code, message, raw)
	if err != nil {
		return fmt.Errorf("fail checkout %s: %w", checkoutID, err)
	}
	if err := giveDiscountBack(ctx, tx, tenantID, checkoutID); err != nil {
		return err
	}
	return timeline.Add(ctx, tx, tenantID, checkoutID, "checkout_refused", "system", map[string]any{"code": code})
}

func giveDiscountBack(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string) error {
	if _, err := tx.Exec(ctx, `UPDATE discount_uses SET given_back = true WHERE tenant = $1 AND checkout_id = $2 AND NOT given_back`, tenantID, checkoutID); err != nil {
		return fmt.Errorf("give discount back: %w", err)
	}
	return nil
}

// takeDiscountAgain counts the discount of a checkout that is paid late. When
// the code is used up by then the buyer still has the price that was promised:
// it is told in the timeline.
func takeDiscountAgain(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string) error {
	nested, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = nested.Exec(ctx, `UPDATE discount_uses SET given_back = false WHERE tenant = $1 AND checkout_id = $2 AND given_back`, tenantID, checkoutID)
	if err == nil {
		return nested.Commit(ctx)
	}
	if !postgres.Violates(err) {
		return fmt.Errorf("count discount again: %w", err)
	}
	if err := nested.Rollback(ctx); err != nil {
		return err
	}
	return timeline.Add(ctx, tx, tenantID, checkoutID, "discount_beyond_its_uses", "system", nil)
}

// Offer makes a checkout whose first attempt has begun visible as
// awaiting_payment; it runs in the transaction that records the attempt.
func Offer(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string) error {
	_, err := tx.Exec(ctx, `UPDATE checkouts SET status = 'awaiting_payment', updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'reserving'`, tenantID, checkoutID)
	if err != nil {
		return fmt.Errorf("offer checkout %s: %w", checkoutID, err)
	}
	return nil
}

// SetRun notes which run of the workflow looks after the checkout, for links
// to Temporal's web UI.
func SetRun(ctx context.Context, tx pgx.Tx, tenantID, checkoutID, runID string) error {
	if runID == "" {
		return nil
	}
	if _, err := tx.Exec(ctx, `UPDATE checkouts SET run_id = $3 WHERE tenant = $1 AND id = $2 AND run_id <> $3`, tenantID, checkoutID, runID); err != nil {
		return fmt.Errorf("run of checkout %s: %w", checkoutID, err)
	}
	return nil
}

// AddAttempt writes the intent of another attempt while the hold lives. With
// an empty paymentID the attempt is the workflow's own (the next gateway of
// auto) and one that follows the last is found again by its number. A hold
// whose promised time is over takes no new attempt: ok is false.
func AddAttempt(ctx context.Context, db *postgres.DB, tenantID, checkoutID, paymentID string, gateway payment.Name, number int) (v View, ok bool, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		r, err := lock(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		attempts, err := payment.OfCheckout(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		known := false
		for _, a := range attempts {
			known = known || a.ID == paymentID || paymentID == "" && a.Attempt >= number && a.UnderPayment == ""
		}
		ok = known
		if !known && r.Status.Open() && !r.Cancelling {
			var live bool
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM holds WHERE tenant = $1 AND id = $2 AND status IN ('held','short') AND expires_at > now())`, tenantID, r.HoldID).Scan(&live); err != nil {
				return fmt.Errorf("hold of %s: %w", checkoutID, err)
			}
			if live {
				if paymentID == "" {
					paymentID = id.New()
				}
				p := payment.Payment{ID: paymentID, CheckoutID: checkoutID, Attempt: len(attempts) + 1, Gateway: gateway, Amount: r.Total, Currency: r.Currency, ReturnURL: r.ReturnURL}
				if err := payment.Intend(ctx, tx, tenantID, p); err != nil {
					return err
				}
				ok = true
			}
		}
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, ok, err
}

// GiveUp ends a checkout that could not be offered: no gateway took it, or the
// provider refused what we asked. Everything held goes back.
func GiveUp(ctx context.Context, db *postgres.DB, tenantID, checkoutID, code, message string) (v View, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		r, err := lock(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		if r.Status == Reserving {
			if r.HoldID != "" {
				if _, err := stock.Release(ctx, tx, tenantID, r.HoldID); err != nil {
					return err
				}
			}
			if err := endAttempts(ctx, tx, tenantID, checkoutID, payment.StatusCancelled); err != nil {
				return err
			}
			if err := fail(ctx, tx, tenantID, checkoutID, code, message, nil); err != nil {
				return err
			}
		}
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, err
}

// endAttempts gives the attempts that nobody is in doubt about (a commit that
// was tried and never recorded is a doubt) the status of a
// checkout's end.
func endAttempts(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, to payment.Status) error {
	_, err := tx.Exec(ctx, `UPDATE payments SET status = $3, redirect = NULL, updated_at = now(), due_at = NULL WHERE tenant = $1 AND checkout_id = $2 AND status = 'pending' AND (settle_tried_at IS NULL OR closed)`, tenantID, checkoutID, to)
	if err != nil {
		return fmt.Errorf("end attempts of %s: %w", checkoutID, err)
	}
	return nil
}

// Grace keeps the stock of a checkout whose payment is in doubt for seconds
// more, within the tenant's grace, and says so in the timeline.
func Grace(ctx context.Context, db *postgres.DB, tenantID, checkoutID string, seconds int) (v View, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		t, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		r, err := lock(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		if r.Status.Open() {
			until, err := stock.Grace(ctx, tx, tenantID, r.HoldID, seconds, t.Settings.GraceSeconds)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE checkouts SET due_at = $3::timestamptz + interval '60 seconds', updated_at = now() WHERE tenant = $1 AND id = $2`, tenantID, checkoutID, until); err != nil {
				return fmt.Errorf("grace for %s: %w", checkoutID, err)
			}
			if err := timeline.Add(ctx, tx, tenantID, checkoutID, "hold_grace", "system", map[string]any{"reservation_id": r.HoldID, "held_until": until}); err != nil {
				return err
			}
		}
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, err
}

// EndUnpaid frees the stock and gives the checkout its end: expired (or
// payment_failed, when the last attempt was declined or none could begin), or
// cancelled. Attempts in doubt keep their status; the run goes on asking.
// Paid checkouts stay as they are.
func EndUnpaid(ctx context.Context, db *postgres.DB, tenantID, checkoutID string, to Status) (v View, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		r, err := lock(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		if r.Status.Open() {
			if err := endUnpaid(ctx, tx, tenantID, checkoutID, &r, to); err != nil {
				return err
			}
		}
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, err
}

func endUnpaid(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, r *row, to Status) error {
	if r.HoldID != "" {
		end := stock.Release
		if to != Cancelled {
			end = stock.Expire
		}
		ended, err := end(ctx, tx, tenantID, r.HoldID)
		if err != nil {
			return err
		}
		if !ended {
			// Not yet its time by the database's clock, or ended by the sweeper.
			h, err := stock.Get(ctx, tx, tenantID, r.HoldID)
			if err != nil {
				return err
			}
			if h.Live() {
				return nil
			}
		}
	}
	lapse := payment.StatusExpired
	var code, message any
	switch to {
	case Cancelled:
		lapse = payment.StatusCancelled
		code, message = "cancelled", "cancelled on request"
	default:
		attempts, err := payment.OfCheckout(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		to = Expired
		code, message = "hold_expired", "the time to pay is over"
		if n := len(attempts); n > 0 {
			last := attempts[n-1]
			unreachable := last.BegunAt == nil && last.Code == FailGatewayUnavailable
			if last.Status == payment.StatusDeclined || unreachable {
				to = PaymentFailed
				code, message = "payment_declined", "the last attempt at payment was declined"
				if unreachable {
					code, message = FailGatewayUnavailable, "no gateway could be reached"
				}
			}
		}
	}
	if err := endAttempts(ctx, tx, tenantID, checkoutID, lapse); err != nil {
		return err
	}
	if err := giveDiscountBack(ctx, tx, tenantID, checkoutID); err != nil {
		return err
	}
	// The run is over when no attempt can be approved any more.
	_, err := tx.Exec(ctx, `UPDATE checkouts SET status = $3, failure_code = coalesce(failure_code, $4), failure_message = coalesce(failure_message, $5), updated_at = now(),
	    due_at = now() + interval '20 minutes' WHERE tenant = $1 AND id = $2`, tenantID, checkoutID, to, code, message)
	if err != nil {
		return fmt.Errorf("end checkout %s: %w", checkoutID, err)
	}
	return timeline.Add(ctx, tx, tenantID, checkoutID, string(to), "system", map[string]any{"stock": "freed"})
}

// Settled marks the end of the run: no attempt can be approved any more, and
// those that were intended and never begun shall not be.
func Settled(ctx context.Context, db *postgres.DB, tenantID, checkoutID string) error {
	return db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `WITH closed AS (
		    UPDATE checkouts SET closed_at = coalesce(closed_at, now()), due_at = NULL WHERE tenant = $1 AND id = $2 AND status NOT IN ('reserving','awaiting_payment') RETURNING id)
		  UPDATE payments p SET status = 'cancelled', closed = true, due_at = NULL, updated_at = now() FROM closed
		   WHERE p.tenant = $1 AND p.checkout_id = closed.id AND p.status = 'pending' AND p.begun_at IS NULL`, tenantID, checkoutID)
		if err != nil {
			return fmt.Errorf("close checkout %s: %w", checkoutID, err)
		}
		return nil
	})
}

// ErrBeingPaid is returned for a checkout whose stock is left alone because
// money may be moving.
var ErrBeingPaid = errors.New("the checkout is being paid")

// SweepUnpaid is EndUnpaid in a transaction of the sweeper's: the workflow
// that should have done it is late or gone. Attempts that can still be paid
// stay with their run; an approval that comes anyway is a late one.
func SweepUnpaid(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string) error {
	r, err := lock(ctx, tx, tenantID, checkoutID)
	if err != nil || !r.Status.Open() {
		return err
	}
	// Under the lock that a commit is announced under: one that has begun since
	// the sweeper chose this hold keeps it.
	attempts, err := payment.OfCheckout(ctx, tx, tenantID, checkoutID)
	if err != nil {
		return err
	}
	for _, p := range attempts {
		if p.Status.InDoubt() || p.Status == payment.StatusPending && !p.Closed && p.SettleTriedAt != nil {
			return fmt.Errorf("%w: %s", ErrBeingPaid, checkoutID)
		}
	}
	to := Expired
	if r.Cancelling {
		to = Cancelled
	}
	return endUnpaid(ctx, tx, tenantID, checkoutID, &r, to)
}
