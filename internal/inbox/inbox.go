// Package inbox keeps what the outside tells us (webhooks and buyers' returns)
// from the moment it arrives until what it caused is recorded.
//
// An entry is marked applied, or ignored with a reason, in the transaction of
// the change; sending a message to a workflow marks nothing.
package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
)

// Kind says how news came.
type Kind string

// The kinds.
const (
	Webhook Kind = "webhook"
	Return  Kind = "return"
)

// News is something that was said about a payment.
type News struct {
	Gateway   payment.Name
	Kind      Kind
	EventID   string // the provider's own; empty for a hint
	EventType string
	PaymentID string // ours; empty when only Reference names it
	Reference string
	Signed    bool
	Claim     payment.Outcome
	// Detail is what a return's parameters said; no personal data.
	Detail payment.Return
	// RefundID is the refund of ours that the news are about, if any.
	RefundID string
}

// Stored is the entry that holds the news.
type Stored struct {
	ID string
	// Duplicate: the entry was there before.
	Duplicate bool
	// Pending: nobody has applied it yet.
	Pending bool
}

// Store keeps news. A signed event is kept once for ever, by the provider's id;
// a hint is joined with an earlier one like it that nobody has applied yet.
func Store(ctx context.Context, tx pgx.Tx, tenant string, n News) (Stored, error) {
	detail := []byte(`{}`)
	if n.Detail != (payment.Return{}) {
		var err error
		if detail, err = json.Marshal(n.Detail); err != nil {
			return Stored{}, err
		}
	}
	claim := n.Claim
	if claim == "" {
		claim = payment.OutcomeUnknown
	}
	// Not more than three rounds: an entry that stops being pending between the
	// two statements makes room for ours.
	for range 3 {
		s := Stored{ID: id.New(), Pending: true}
		tag, err := tx.Exec(ctx, `INSERT INTO inbox (tenant, id, gateway, kind, event_id, event_type, payment_id, reference, signed, claim, detail, next_attempt_at, refund_id)
		  VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11, now() + $12::interval, $13) ON CONFLICT DO NOTHING`,
			tenant, s.ID, n.Gateway, n.Kind, n.EventID, n.EventType, n.PaymentID, n.Reference, n.Signed, claim, detail, firstTurn(n.Kind), n.RefundID)
		if err != nil {
			return Stored{}, fmt.Errorf("store news: %w", err)
		}
		if tag.RowsAffected() == 1 {
			return s, nil
		}
		s.Duplicate = true
		err = tx.QueryRow(ctx, `SELECT id, status = 'pending' FROM inbox WHERE tenant = $1 AND gateway = $2 AND
		    CASE WHEN $3 <> '' THEN event_id = $3
		         ELSE event_id = '' AND status = 'pending' AND kind = $4 AND payment_id = $5 AND reference = $6 AND event_type = $7 END`,
			tenant, n.Gateway, n.EventID, n.Kind, n.PaymentID, n.Reference, n.EventType).Scan(&s.ID, &s.Pending)
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return Stored{}, fmt.Errorf("find stored news: %w", err)
		}
	}
	return Stored{}, errors.New("store news: like news keep being applied at the same moment")
}

// ReasonRedundant is why news are ignored that Redundant is true of.
const ReasonRedundant = "the payment is captured and applied already"

// Redundant reports whether news say what is recorded and done already.
func Redundant(p payment.Payment, claim payment.Outcome) bool {
	return claim == payment.OutcomeApproved && p.Status == payment.StatusCaptured && p.Applied
}

// firstTurn is when the loop takes what its receiver did not get done: a webhook
// is handed on within a second, a return is waited for as long as a buyer waits.
func firstTurn(k Kind) time.Duration {
	if k == Return {
		return 9 * time.Second
	}
	return 3 * time.Second
}

// HandedOn reports whether other news of a payment came so shortly before that
// the run is about to ask the gateway because of them. Unsigned ones may be
// waiting for their minute and do not count. The caller holds the payment's row,
// so that of two at once one is the first.
func HandedOn(ctx context.Context, tx pgx.Tx, tenant, paymentID, inboxID string) (bool, error) {
	var yes bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM inbox WHERE tenant = $1 AND payment_id = $2 AND id <> $3 AND status = 'pending' AND (signed OR kind = 'return') AND received_at > now() - interval '2 seconds')`, tenant, paymentID, inboxID).Scan(&yes)
	if err != nil {
		return false, fmt.Errorf("other news of payment %s: %w", paymentID, err)
	}
	return yes, nil
}

// StoreIgnored keeps news that change nothing, once per payment, kind of news
// and type, with the reason.
func StoreIgnored(ctx context.Context, tx pgx.Tx, tenant string, n News, reason string) error {
	_, err := tx.Exec(ctx, `INSERT INTO inbox (tenant, id, gateway, kind, event_id, event_type, payment_id, reference, signed, claim, status, reason, settled_at, due_at)
	  SELECT $1,$2,$3,$4,$5,$6,$7,$8,$9,$10,'ignored',$11, now(), NULL
	   WHERE NOT EXISTS (SELECT FROM inbox WHERE tenant = $1 AND payment_id = $7 AND payment_id <> '' AND kind = $4 AND event_type = $6 AND event_id = $5 AND status = 'ignored')
	  ON CONFLICT DO NOTHING`,
		tenant, id.New(), n.Gateway, n.Kind, n.EventID, n.EventType, n.PaymentID, n.Reference, n.Signed, payment.OutcomeUnknown, reason)
	if err != nil {
		return fmt.Errorf("store news: %w", err)
	}
	return nil
}

// Hint reports whether anybody could have sent the news.
func (r Row) Hint() bool { return r.Kind == Webhook && !r.Signed }

// Row is an entry that waits to be applied.
type Row struct {
	Tenant    string
	ID        string
	Gateway   payment.Name
	Kind      Kind
	EventType string
	// PaymentID and CheckoutID are empty while no payment of ours is known that
	// the news belong to.
	PaymentID  string
	CheckoutID string
	Claim      payment.Outcome
	Signed     bool
	Detail     payment.Return
	ReceivedAt time.Time
	// RefundRun is the subject of the run that gives back the refund which the
	// news are about; empty when they are about none of ours.
	RefundRun string
	// Attempts counts this one.
	Attempts int
}

// backOff is the wait for the next turn of an entry that had attempts.
const backOff = `least(interval '5 minutes', interval '2 seconds' * power(2, least(attempts, 10)))`

// Claim takes up to n entries of any tenant that are due, the oldest first, and
// puts off their next turn (2 s doubled up to 5 minutes), so that a failure
// needs no further word. Others' claims are skipped. tx is the system's.
func Claim(ctx context.Context, tx pgx.Tx, n int) ([]Row, error) {
	rows, err := tx.Query(ctx, `
	WITH due AS (
	  SELECT tenant, id FROM inbox WHERE status = 'pending' AND next_attempt_at <= now() ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED
	), named AS (
	  SELECT i.tenant, i.id, p.id AS payment_id, p.checkout_id, coalesce(r.request_id, r.id, '') AS refund_run
	    FROM due JOIN inbox i USING (tenant, id)
	    LEFT JOIN refunds r ON i.refund_id <> '' AND r.tenant = i.tenant AND r.id = i.refund_id
	    LEFT JOIN LATERAL (
	      SELECT p.id, p.checkout_id FROM payments p
	       WHERE p.tenant = i.tenant AND p.gateway = i.gateway
	         AND CASE WHEN i.payment_id <> '' THEN p.id = i.payment_id
	                  ELSE i.reference <> '' AND (p.reference = i.reference OR p.capture_ref = i.reference) END
	       LIMIT 1) p ON true
	)
	UPDATE inbox i SET attempts = attempts + 1, payment_id = coalesce(named.payment_id, i.payment_id),
	       next_attempt_at = now() + `+backOff+`
	  FROM named WHERE i.tenant = named.tenant AND i.id = named.id
	RETURNING i.tenant, i.id, i.gateway, i.kind, i.event_type, coalesce(named.payment_id, ''), coalesce(named.checkout_id, ''), i.claim, i.signed, i.detail, i.received_at, named.refund_run, i.attempts`, n)
	if err != nil {
		return nil, fmt.Errorf("claim news: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Row, error) {
		var r Row
		var detail []byte
		if err := row.Scan(&r.Tenant, &r.ID, &r.Gateway, &r.Kind, &r.EventType, &r.PaymentID, &r.CheckoutID, &r.Claim, &r.Signed, &detail, &r.ReceivedAt, &r.RefundRun, &r.Attempts); err != nil {
			return r, err
		}
		return r, json.Unmarshal(detail, &r.Detail)
	})
	if err != nil {
		return nil, fmt.Errorf("claim news: %w", err)
	}
	return list, nil
}

// FindPayment finds the payment that news belong to, by our id or either of the
// provider's names for it; ok is false when there is none (yet).
func FindPayment(ctx context.Context, tx pgx.Tx, tenant string, gateway payment.Name, paymentID, reference string) (p payment.Payment, ok bool, err error) {
	if paymentID == "" {
		if reference == "" {
			return p, false, nil
		}
		err := tx.QueryRow(ctx, `SELECT id FROM payments WHERE tenant = $1 AND gateway = $2 AND (reference = $3 OR capture_ref = $3) LIMIT 1`, tenant, gateway, reference).Scan(&paymentID)
		if errors.Is(err, pgx.ErrNoRows) {
			return p, false, nil
		}
		if err != nil {
			return p, false, fmt.Errorf("payment of the news: %w", err)
		}
	}
	p, err = payment.Load(ctx, tx, tenant, paymentID)
	switch {
	case errors.Is(err, payment.ErrNoPayment):
		return payment.Payment{}, false, nil
	case err != nil:
		return payment.Payment{}, false, err
	case p.Gateway != gateway:
		return payment.Payment{}, false, nil
	}
	return p, true, nil
}

// Hinted is the provider's name for a payment as the newest notification has it
// that waits and names one which our row does not know; "" when none does. Who
// sent it may have made it up.
func Hinted(ctx context.Context, tx pgx.Tx, tenant string, p payment.Payment) (reference string, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce((SELECT reference FROM inbox WHERE tenant = $1 AND payment_id = $2 AND status = 'pending' AND kind = 'webhook' AND reference NOT IN ('', $3, $4)
	    ORDER BY received_at DESC, id DESC LIMIT 1), '')`, tenant, p.ID, p.Reference, p.CaptureRef).Scan(&reference)
	if err != nil {
		return "", fmt.Errorf("what news call payment %s: %w", p.ID, err)
	}
	return reference, nil
}

// MarkApplied says that the change which the news asked for is made by tx.
func MarkApplied(ctx context.Context, tx pgx.Tx, tenant, inboxID string) error {
	return mark(ctx, tx, tenant, inboxID, "applied", "")
}

// MarkIgnored says why news change nothing.
func MarkIgnored(ctx context.Context, tx pgx.Tx, tenant, inboxID, reason string) error {
	return mark(ctx, tx, tenant, inboxID, "ignored", reason)
}

func mark(ctx context.Context, tx pgx.Tx, tenant, inboxID, status, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE inbox SET status = $3, reason = $4, settled_at = now(), due_at = NULL WHERE tenant = $1 AND id = $2 AND status = 'pending'`, tenant, inboxID, status, reason)
	if err != nil {
		return fmt.Errorf("mark news %s %s: %w", inboxID, status, err)
	}
	return nil
}

// SettleFor marks what was said about a payment before askedAt (the database's
// time at which the provider was asked), because the provider's answer covers
// it: applied when it changed something, else ignored with the reason. A claim
// of approval that the provider does not confirm changed nothing. An
// answer that the payment is approved covers whatever claims just that, also
// what came since. While the provider has no answer yet, an event that claims
// one stays, and so does a return that asks to be settled.
func SettleFor(ctx context.Context, tx pgx.Tx, tenant, paymentID string, askedAt time.Time, outcome payment.Outcome, applied bool, reason string) error {
	status := "ignored"
	if applied {
		status, reason = "applied", ""
	}
	_, err := tx.Exec(ctx, `UPDATE inbox SET settled_at = now(), due_at = NULL,
	     status = CASE WHEN claim = 'approved' AND $6 <> 'approved' THEN 'ignored' ELSE $3 END,
	     reason = CASE WHEN claim = 'approved' AND $6 <> 'approved' THEN 'the provider does not confirm it: ' || $6 ELSE $4 END
	  WHERE tenant = $1 AND payment_id = $2 AND status = 'pending' AND (received_at <= $5 OR $6 = 'approved' AND claim = 'approved')
	    AND NOT ($6 = 'pending' AND (claim = 'approved' OR kind = 'return' AND event_type = 'finished'))`, tenant, paymentID, status, reason, askedAt, string(outcome))
	if err != nil {
		return fmt.Errorf("settle news of payment %s: %w", paymentID, err)
	}
	return nil
}

// Settled reports whether an entry exists for this payment, and whether it
// still waits.
func Settled(ctx context.Context, tx pgx.Tx, tenant, paymentID, inboxID string) (exists, settled bool, err error) {
	var status string
	err = tx.QueryRow(ctx, `SELECT status FROM inbox WHERE tenant = $1 AND id = $2 AND payment_id = $3`, tenant, inboxID, paymentID).Scan(&status)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("news %s: %w", inboxID, err)
	}
	return true, status != "pending", nil
}
